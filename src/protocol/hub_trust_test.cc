// What the active hub says to an operator who stages, activates, rolls out or recalls to what the trust files in its
// ledger do not allow (X2). Each answer is given at once, before any gateway hears of the version.
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "codec/trust_fixture.h"
#include "protocol/hub_core.h"
#include "protocol/map_rows_fixture.h"
#include "protocol/trust_push.h"

namespace tidelock {
namespace {

// A hub alone, whose ledger commits at once.
class HubTrustTest : public testing::Test {
 protected:
  void SetUp() override {
    HubOptions options;
    options.id = "hub-1";
    options.boot = Boot{1};
    options.seed.namespaces = default_namespaces();
    options.seed.model_key = key_.public_pem;
    core_ = std::make_unique<HubCore>(options, rows_);
    step(HubLeadership{true, "hub-1"});
    now_ += 10 * kSecond;
    step(HubTick{});
    p_.camera.releases.clear();
    for (const char* version : {"1.0.0", "2.0.0"}) {
      EXPECT_EQ(ask(PublishModel{"camera", version, signed_manifest(version)}).code, Code::kOk) << version;
    }
  }
  Bytes signed_manifest(const std::string& version) {
    Manifest manifest;
    manifest.name = "camera";
    manifest.version = version;
    manifest.files = {{"model.onnx", FileRole::kModel, 5, sha256("bytes")}};
    return encode(*sign_manifest(manifest, key_.private_pem));
  }
  void allow(const std::string& version) {
    p_.camera.releases.push_back(Publisher::release("camera", version, signed_manifest(version)));
  }
  void push() {
    const TrustSet set = p_.set();
    const AdminAnswer pushed = ask(PushTrust{{p_.signed_root()}, set.timestamp, set.snapshot, set.targets});
    EXPECT_EQ(pushed.code, Code::kOk) << pushed.message;
    p_.advance(0);
  }
  AdminAnswer ask(decltype(AdminRequest::body) body) {
    const AskToken token{++asked_};
    step(HubAsked{token, AdminRequest{CommandId{7, asked_}, std::move(body)}, "ann"});
    for (int i = 0; i < 100 && !answers_.contains(asked_); ++i) {  // A4, A5: its own waits
      now_ += kSecond;
      step(HubTick{});
    }
    EXPECT_TRUE(answers_.contains(asked_));
    return answers_[asked_];
  }
  void step(decltype(HubEvent::what) what) {
    HubActions actions;
    core_->step(HubEvent{now_, std::move(what), wall_ms_}, actions);
    rows_.commit(actions.rows);
    for (const auto& answer : actions.answers) answers_[answer.token.value] = answer.answer;
    for (const auto& append : actions.append) step(HubCommitted{Index{++index_}, append.command});
  }
  void refused(const AdminAnswer& answer, Code code, const std::string& says) {
    EXPECT_EQ(answer.code, code) << answer.message;
    EXPECT_NE(answer.message.find(says), std::string::npos) << answer.message;
  }

  const SigningKey key_ = *make_signing_key();
  Publisher p_;
  MapRows rows_;
  std::unique_ptr<HubCore> core_;
  Nanos now_ = 1'000 * kSecond;
  std::uint64_t wall_ms_ = kTrustNow + 1, index_ = 0, asked_ = 0;
  std::map<std::uint64_t, AdminAnswer> answers_;
};

TEST_F(HubTrustTest, WithoutTrustFilesTheModelKeyAloneDecides) {
  EXPECT_EQ(ask(StageModel{"camera", "1.0.0"}).code, Code::kOk);
}

TEST_F(HubTrustTest, WhatTheCatalogueDoesNotAllowIsRefusedBeforeAnyGatewayHearsOfIt) {  // X2
  allow("1.0.0");
  push();
  EXPECT_EQ(ask(StageModel{"camera", "1.0.0"}).code, Code::kOk);
  refused(ask(StageModel{"camera", "2.0.0"}), Code::kDenied,
          "release camera 2.0.0: not among those of targets 'camera'");
  refused(ask(ActivateModel{"camera", "2.0.0"}), Code::kDenied, "withdrawn or never signed (arbitrary install)");
  RolloutCommand rollout;
  rollout.what = RolloutCommand::What::kStart;
  rollout.name = "camera";
  rollout.plan.version = "2.0.0";
  refused(ask(rollout), Code::kDenied, "withdrawn or never signed (arbitrary install)");
  refused(ask(StageModel{"camera", "3.0.0"}), Code::kNotFound, "no published version '3.0.0'");
  allow("2.0.0");
  push();
  EXPECT_EQ(ask(StageModel{"camera", "2.0.0"}).code, Code::kOk) << "now it is in the catalogue";
}

TEST_F(HubTrustTest, WhileTheFilesAreExpiredNothingNewIsBroughtIntoUse) {  // X2: freeze
  allow("1.0.0");
  push();
  wall_ms_ = kTrustNow + 2 * kTrustDayMs;  // the timestamp lives for one
  refused(ask(StageModel{"camera", "1.0.0"}), Code::kStale,
          "newer files may be held back (freeze): push a newer timestamp");
  refused(ask(ActivateModel{"camera", "1.0.0"}), Code::kStale, "(freeze)");
  p_.timestamp.head.expires_ms = wall_ms_ + kTrustDayMs;
  push();
  EXPECT_EQ(ask(StageModel{"camera", "1.0.0"}).code, Code::kOk);
}

TEST_F(HubTrustTest, APushIsInTheLogWithWhoAndWhat) {  // X2
  const auto log = [&] {
    const AdminAnswer answer = ask(ReadKey{kTrustHistoryKey});
    return answer.value ? *decode<std::vector<HistoryEntry>>(*answer.value, "history") : std::vector<HistoryEntry>{};
  };
  EXPECT_TRUE(log().empty());
  allow("1.0.0");
  push();
  p_.camera.releases.clear();
  allow("2.0.0");
  push();
  EXPECT_NE(ask(PushTrust{{"no root"}, {}, {}, {}}).code, Code::kOk) << "what was refused did not happen";
  const std::vector<HistoryEntry> said = log();
  ASSERT_EQ(said.size(), 2u);
  EXPECT_EQ(said[0].who, "ann");
  EXPECT_EQ(said[0].wall_ms, wall_ms_);
  EXPECT_TRUE(said[0].what.starts_with("pushed trust files: root 1, timestamp 1, snapshot 1, targets "))
      << said[0].what;
  EXPECT_TRUE(said[0].what.ends_with("; allows camera 1.0.0, lidar-front 1.0.0")) << said[0].what;
  EXPECT_EQ(said[1].what.find("root"), std::string::npos) << "it is the same: " << said[1].what;
  EXPECT_TRUE(said[1].what.ends_with("; allows camera 2.0.0; no longer allows camera 1.0.0")) << said[1].what;
}

// An edge that has staged what the catalogue does not allow (any more) makes it no target of a recall.
TEST_F(HubTrustTest, ARecallGoesToNothingThatTheFilesDoNotAllow) {  // X2, M7
  step(HubVersions{kLedgerVersion});
  step(HubConnected{ConnId{1}, "edge-1"});
  step(HubFrameIn{ConnId{1},
                  EdgeFrame{SessionNo{1}, 1, Hello{kProtocolVersion, "edge-1", "site", Boot{1}, {}, {}, {}}}});
  std::uint64_t sequence = 1;
  for (const char* version : {"1.0.0", "2.0.0", "3.0.0"}) {
    ASSERT_EQ(ask(PublishModel{"camera", version, signed_manifest(version)}).code, Code::kOk);
    step(HubFrameIn{ConnId{1}, EdgeFrame{SessionNo{1}, ++sequence, Staged{{"camera", version}, ""}}});
  }
  for (const char* version : {"1.0.0", "2.0.0"}) {
    const AdminAnswer activated = ask(ActivateModel{"camera", version});
    ASSERT_EQ(activated.code, Code::kOk) << activated.message;
  }
  const auto to = [](const char* version) { return RecallModel{"camera", "2.0.0", false, version, ""}; };
  struct Case {
    const char* why;
    RecallModel recall;
    std::vector<const char*> catalogue;
    std::uint64_t wall_ms;
    Code code;
    const char* says;
  };
  const std::uint64_t fresh = wall_ms_, expired = kTrustNow + 2 * kTrustDayMs;
  const Case cases[] = {
      {"never in the catalogue",
       to("3.0.0"),
       {"2.0.0"},
       fresh,
       Code::kDenied,
       "camera 3.0.0: not among those of targets"},
      {"taken out of it, though it was in force",
       to("1.0.0"),
       {"2.0.0"},
       fresh,
       Code::kDenied,
       "camera 1.0.0: not among"},
      {"the same, though nobody named it", to(""), {"2.0.0"}, fresh, Code::kDenied, "camera 1.0.0: not among"},
      {"and what to do is said", to(""), {"2.0.0"}, fresh, Code::kDenied, "say what does (--to VERSION), or that"},
      {"new, by an old catalogue", to("3.0.0"), {"1.0.0", "2.0.0", "3.0.0"}, expired, Code::kStale, "(freeze)"},
      {"what was in force before, by an old catalogue",
       to("1.0.0"),
       {"1.0.0", "2.0.0", "3.0.0"},
       expired,
       Code::kOk,
       ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.why);
    ASSERT_TRUE(core_->state().recalls().empty()) << "one that is let through is the last";
    wall_ms_ = fresh;
    p_.camera.releases.clear();
    for (const char* version : c.catalogue) allow(version);
    push();
    wall_ms_ = c.wall_ms;
    refused(ask(c.recall), c.code, c.says);
    EXPECT_EQ(core_->state().recalls().size(), c.code == Code::kOk ? 1u : 0u);
  }
}

}  // namespace
}  // namespace tidelock
