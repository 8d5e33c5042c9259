// What a gateway believes, against hubs that hand on what they like. The files themselves are tested in
// codec/trust_state_test.cc; here it is what a hub can do with them, and what a restart leaves.
#include "edge/model_trust.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "codec/trust_fixture.h"
#include "edge/l2_store.h"
#include "protocol/trust_push.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

struct Row {  // as Trust::save() writes it
  std::uint32_t format = kTrustFormat;
  Bytes root, timestamp, snapshot;
  std::vector<Bytes> targets;
  std::vector<std::pair<std::string, TrustFloor>> floors;
  template <class A>
  void fields(A& a) {
    a(format, root, timestamp, snapshot, targets, floors);
  }
};

class ModelTrustTest : public testing::Test {
 protected:
  void SetUp() override { open_kv(); }
  void open_kv() {
    kv_.reset();
    auto kv = Kv::open(folder_.path() + "/db", {kMetaFamily});
    ASSERT_TRUE(kv) << kv.error().message;
    kv_ = std::move(*kv);
    auto trust = ModelTrust::open(*kv_);
    ASSERT_TRUE(trust) << trust.error().message;
    trust_.emplace(std::move(*trust));
  }
  ModelTrust::Read reader() {
    return [this](const std::string& key) -> Result<std::optional<Bytes>> {
      asked_.push_back(key);
      if (down_) return fail(Code::kUnavailable, "no hub");
      const auto found = ledger_.find(key);
      return found == ledger_.end() ? std::optional<Bytes>{} : found->second;
    };
  }
  // As a sound hub carries it out.
  void push(const PushTrust& what) {
    const auto put = plan_trust_push(what, [this](const std::string& key) -> std::pair<std::optional<Bytes>, Index> {
      const auto found = ledger_.find(key);
      return {found == ledger_.end() ? std::optional<Bytes>{} : found->second, Index{}};
    });
    ASSERT_TRUE(put) << put.error().message;
    for (const KeyWrite& write : put->writes) ledger_[write.key] = *write.value;
  }
  void push_catalogue() {
    const TrustSet set = p_.set();
    push({{}, set.timestamp, set.snapshot, set.targets});
  }
  void refresh(bool changed, const char* why) {
    const auto done = trust_->refresh(reader());
    ASSERT_TRUE(done) << why << ": " << done.error().message;
    EXPECT_EQ(*done, changed) << why;
  }
  bool allows(const char* version) { return trust_->check("camera", version, "camera one").has_value(); }

  const TestFolder folder_;
  Publisher p_;
  std::map<std::string, Bytes> ledger_;
  std::vector<std::string> asked_;
  bool down_ = false;
  std::unique_ptr<Kv> kv_;
  std::optional<ModelTrust> trust_;
};

TEST_F(ModelTrustTest, WithoutTrustFilesEverythingPasses) {
  EXPECT_FALSE(trust_->known()) << "there may be some that were not read yet";
  down_ = true;
  EXPECT_EQ(trust_->refresh(reader()).error().code, Code::kUnavailable);
  EXPECT_FALSE(trust_->known());
  down_ = false;
  refresh(false, "the ledger has none");
  EXPECT_TRUE(trust_->known());
  EXPECT_TRUE(trust_->check("any", "1.0.0", "thing"));
  EXPECT_TRUE(trust_->check_fresh(kTrustNow));
}

TEST_F(ModelTrustTest, WhatWasTakenIsThereAfterARestartWithoutAnyHub) {  // X3
  push({{p_.signed_root()}, {}, {}, {}});
  refresh(true, "the first root");
  EXPECT_FALSE(allows("1.0.0")) << "a root, and no catalogue";
  EXPECT_EQ(trust_->check_fresh(kTrustNow).error().code, Code::kStale);
  push_catalogue();
  refresh(true, "the first catalogue");
  refresh(false, "the same again");
  EXPECT_TRUE(allows("1.0.0"));
  EXPECT_FALSE(allows("2.0.0"));
  open_kv();
  EXPECT_TRUE(trust_->known());
  EXPECT_TRUE(allows("1.0.0"));
  EXPECT_TRUE(trust_->check_fresh(kTrustNow));
}

TEST_F(ModelTrustTest, AHubCannotTakeItBack) {  // X2
  push({{p_.signed_root()}, {}, {}, {}});
  push_catalogue();
  const auto old = ledger_;
  refresh(true, "the first catalogue");
  p_.advance();
  p_.camera.releases.clear();
  push_catalogue();
  refresh(true, "1.0.0 is withdrawn");
  EXPECT_FALSE(allows("1.0.0"));
  open_kv();
  ledger_ = old;  // restored from a backup, or broken into
  const auto back = trust_->refresh(reader());
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code, Code::kDenied);
  EXPECT_NE(back.error().message.find("(rollback)"), std::string::npos) << back.error().message;
  EXPECT_FALSE(allows("1.0.0"));

  Publisher other;  // a cluster of somebody else's files
  ledger_.clear();
  push({{other.signed_root()}, {}, {}, {}});
  EXPECT_EQ(trust_->refresh(reader()).error().code, Code::kDenied);
  ledger_.clear();
  refresh(false, "none at all");
  EXPECT_FALSE(allows("1.0.0")) << "what is believed stays";
  ledger_[kTrustStateKey] = "torn";
  EXPECT_EQ(trust_->refresh(reader()).error().code, Code::kCorrupt);
}

TEST_F(ModelTrustTest, AGatewayThatWasAwayGoesThroughEveryRoot) {  // X2
  push({{p_.signed_root()}, {}, {}, {}});
  refresh(true, "root 1");
  for (int i = 0; i < 3; ++i) {  // each generation of keys vouches only for the next
    std::vector<SigningKey> signers{p_.root_keys[0], p_.root_keys[1]};
    p_.root_keys = {Publisher::fresh_key(), Publisher::fresh_key()};
    ++p_.root.head.version;
    p_.root.root = trust_keys(p_.root_keys, 2, p_.root.head.version);
    signers.insert(signers.end(), p_.root_keys.begin(), p_.root_keys.end());
    push({{encode(sign_trust(p_.root, signers))}, {}, {}, {}});
  }
  push_catalogue();
  auto missing = ledger_.extract(trust_root_key(3));
  const auto gap = trust_->refresh(reader());
  ASSERT_FALSE(gap);
  EXPECT_TRUE(gap.error().message.ends_with("; the ledger has no 'model:@trust/root/3'")) << gap.error().message;
  ledger_.insert(std::move(missing));
  refresh(true, "roots 2, 3 and 4, and the catalogue");
  EXPECT_TRUE(allows("1.0.0"));
  open_kv();
  EXPECT_TRUE(allows("1.0.0"));
}

TEST_F(ModelTrustTest, ARootHoldsEvenWhenItsCatalogueDoesNot) {  // X2: a key that was taken away stays away
  push({{p_.signed_root()}, {}, {}, {}});
  push_catalogue();
  refresh(true, "the first catalogue");
  const TrustSet stolen = p_.set();
  ++p_.root.head.version;
  p_.root.timestamp = trust_keys({Publisher::fresh_key()}, 1, 2);
  push({{p_.signed_root()}, {}, {}, {}});
  // A hub joins the new root and the old catalogue.
  ledger_[kTrustStateKey] =
      encode(Row{kTrustFormat, p_.signed_root(), stolen.timestamp, stolen.snapshot, stolen.targets, {}});
  const auto refused = trust_->refresh(reader());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kDenied);
  open_kv();
  EXPECT_EQ(trust_->standing(kTrustNow).what, TrustStanding::kNoCatalogue);
  EXPECT_FALSE(allows("1.0.0"));
}

TEST_F(ModelTrustTest, AFreezeIsRememberedWhateverTheClockSaysLater) {  // X2, C4
  push({{p_.signed_root()}, {}, {}, {}});
  push_catalogue();
  refresh(true, "the first catalogue");
  const auto late = trust_->check_fresh(kTrustNow + 2 * kTrustDayMs);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kStale);
  EXPECT_NE(late.error().message.find("(freeze)"), std::string::npos) << late.error().message;
  open_kv();
  EXPECT_FALSE(trust_->check_fresh(kTrustNow)) << "the clock was set back";
  EXPECT_TRUE(allows("1.0.0")) << "what is in force stays so";
  p_.advance(2 * kTrustDayMs);
  push_catalogue();
  refresh(true, "a newer timestamp");
  EXPECT_TRUE(trust_->check_fresh(kTrustNow + 2 * kTrustDayMs));
}

TEST_F(ModelTrustTest, APinnedRootIsNotTakenFromWhoeverComesFirst) {  // X2
  Publisher other;                                                    // a hub that is broken into brings its own
  const Bytes own = p_.signed_root();
  const Bytes digest = trust_content_sha256(*parse_trust(own));
  for (const TrustPin& pin : {TrustPin{own, {}}, TrustPin{{}, digest}}) {
    const char* const why = pin.root.empty() ? "by its digest" : "as a file";
    KvBatch forget;
    forget.erase(kMetaFamily, "model_trust");
    forget.erase(kMetaFamily, "model_trust_pin");
    ASSERT_TRUE(kv_->commit(forget, Sync::kNone));
    ledger_.clear();
    trust_.emplace(*ModelTrust::open(*kv_, pin));
    EXPECT_FALSE(trust_->check("camera", "1.0.0", "camera one")) << why << ": no catalogue yet";
    refresh(false, why);
    EXPECT_FALSE(trust_->check("any", "1.0.0", "thing")) << why << ": a hub that hides the files gains nothing";
    EXPECT_EQ(trust_->standing(kTrustNow).what, TrustStanding::kNoCatalogue) << why;
    EXPECT_EQ(trust_->check_fresh(kTrustNow).error().code, Code::kStale) << why;
    push({{other.signed_root()}, {}, {}, {}});
    const TrustSet theirs = other.set();
    push({{}, theirs.timestamp, theirs.snapshot, theirs.targets});
    const auto foreign = trust_->refresh(reader());
    ASSERT_FALSE(foreign) << why;
    EXPECT_EQ(foreign.error().code, Code::kDenied) << why << ": " << foreign.error().message;
    EXPECT_FALSE(trust_->check("camera", "1.0.0", "camera one")) << why;
    ledger_.clear();
    push({{own}, {}, {}, {}});
    push_catalogue();
    refresh(true, why);
    EXPECT_TRUE(allows("1.0.0")) << why;
    trust_.emplace(*ModelTrust::open(*kv_, pin));
    EXPECT_TRUE(trust_->known()) << why << ": kept across a restart";
    EXPECT_TRUE(allows("1.0.0")) << why;
  }
  EXPECT_FALSE(ModelTrust::open(*kv_, {"no root", {}})) << "a file that is none stops the start";
}

TEST_F(ModelTrustTest, APinFindsItsRootAmongThoseThatCameBefore) {  // X2
  const Bytes first = p_.signed_root();
  push({{first}, {}, {}, {}});
  std::vector<SigningKey> signers{p_.root_keys[0], p_.root_keys[1]};
  p_.root_keys = {Publisher::fresh_key(), Publisher::fresh_key()};
  ++p_.root.head.version;
  p_.root.root = trust_keys(p_.root_keys, 2, p_.root.head.version);
  signers.insert(signers.end(), p_.root_keys.begin(), p_.root_keys.end());
  push({{encode(sign_trust(p_.root, signers))}, {}, {}, {}});
  push_catalogue();
  const TrustPin pin{{}, trust_content_sha256(*parse_trust(first))};
  trust_.emplace(*ModelTrust::open(*kv_, pin));
  refresh(true, "root 1, and root 2 after it");
  EXPECT_TRUE(allows("1.0.0"));

  // Another pin is another word of whoever wrote the file: what is trusted begins anew, unless it is that very root.
  const Bytes second = Trust::files_in(ledger_[kTrustStateKey])->root;
  trust_.emplace(*ModelTrust::open(*kv_, {second, {}}));
  EXPECT_TRUE(allows("1.0.0")) << "root 2 is the one that is trusted";
  Publisher other;
  trust_.emplace(*ModelTrust::open(*kv_, {other.signed_root(), {}}));
  EXPECT_FALSE(allows("1.0.0")) << "root 2 counts no more";
  EXPECT_EQ(trust_->refresh(reader()).error().code, Code::kDenied);
  trust_.emplace(*ModelTrust::open(*kv_, {other.signed_root(), {}}));
  EXPECT_FALSE(allows("1.0.0")) << "nor after a restart";
}

TEST_F(ModelTrustTest, WhatWasKeptAndIsTornIsRefused) {  // D2
  KvBatch batch;
  batch.put(kMetaFamily, "model_trust", "torn");
  ASSERT_TRUE(kv_->commit(batch, Sync::kNone));
  const auto opened = ModelTrust::open(*kv_);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace tidelock
