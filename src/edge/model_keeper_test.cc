// The keeper against a hub that says what a sound one does not: each version that does not hold is reported with its
// cause, and none of it stays. Sessions with real hubs are in tests/system.
#include "edge/model_keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "edge/model_keeper_fixture.h"

namespace tidelock {
namespace {

TEST_F(ModelKeeperTest, ReportsWhyAVersionIsNotStagedAndKeepsNoneOfIt) {  // M4
  const Bytes first = published("1.0.0"), second = published("2.0.0");
  struct Case {
    const char* why;
    std::string version;  // each its own, so that each is a cause of its own
    Bytes held;           // by the ledger under that version; empty: nothing
    Bytes named;          // by the pointer
    std::string says;
  };
  const Case cases[] = {
      {"the ledger holds another manifest", "3.0.0", first, second,
       "the manifest of detector 3.0.0 is not the one the pointer names"},
      {"the ledger holds none", "4.0.0", "", second, "the ledger has no manifest of detector 4.0.0"},
      {"the manifest is that of another version", "5.0.0", first, first,
       "the manifest under detector 5.0.0 speaks of detector 1.0.0"},
      {"no hub has the file", "2.0.0", second, second, "this hub holds no such file"},
  };
  start();
  keeper_->on_session("hub-1", key().public_pem);
  std::uint64_t index = 0;
  for (const Case& c : cases) {
    if (!c.held.empty()) hub_.hold(model_version_key("detector", c.version), c.held);
    keeper_->on_strong_changed(model_staged_key("detector"), encode(ModelPointer{c.version, sha256(c.named), ""}),
                               Index{++index});
    ASSERT_TRUE(wait([&] { return reports_.size() >= index; })) << c.why;
    EXPECT_EQ(reports_.back().model.name, "detector") << c.why;
    EXPECT_EQ(reports_.back().model.version, c.version) << c.why;
    EXPECT_NE(reports_.back().error.find(c.says), std::string::npos) << c.why << ": " << reports_.back().error;
    EXPECT_FALSE(fs::exists(room(c.version))) << c.why;
  }
  hub_.have_files();
  keeper_->on_session("hub-1", key().public_pem);  // what failed is tried again in each session
  ASSERT_TRUE(wait([&] { return reports_.size() > index; }));
  EXPECT_EQ(reports_.back().model.version, "2.0.0");
  EXPECT_EQ(reports_.back().error, "") << "the pointer, the manifest and the file were right all the time";
  EXPECT_TRUE(fs::exists(room("2.0.0") + "/" + kVerifiedMark));
}

TEST_F(ModelKeeperTest, StagesOnlyWhatTheTrustFilesAllow) {  // X2, X3
  const std::uint64_t now = wall_ms_now();
  Publisher p = publisher(now);
  const auto hold = [&](const std::vector<std::string>& versions) { allow(p, versions); };
  hub_.have_files();
  for (const char* version : {"1.0.0", "2.0.0"}) hub_.hold(model_version_key("detector", version), published(version));
  const auto stage = [&](const std::string& version, std::uint64_t index) {
    keeper_->on_strong_changed(model_staged_key("detector"),
                               encode(ModelPointer{version, sha256(published(version)), ""}), Index{index});
  };
  const auto said = [&](std::size_t count, const std::string& version, const std::string& part) {
    ASSERT_TRUE(wait([&] { return reports_.size() >= count; })) << part;
    EXPECT_EQ(reports_.back().model.version, version);
    if (part.empty())
      EXPECT_EQ(reports_.back().error, "");
    else
      EXPECT_NE(reports_.back().error.find(part), std::string::npos) << reports_.back().error;
  };
  start();
  hold({"1.0.0"});
  keeper_->on_session("hub-1", key().public_pem);
  stage("2.0.0", 1);
  said(1, "2.0.0", "withdrawn or never signed (arbitrary install)");
  EXPECT_FALSE(fs::exists(room("2.0.0"))) << "not a byte of it was fetched";
  stage("1.0.0", 2);
  said(2, "1.0.0", "");
  stage("2.0.0", 3);
  hold({"1.0.0", "2.0.0"});  // now it is allowed, and the keeper tries again by itself
  ASSERT_TRUE(wait(
      [&] { return !reports_.empty() && reports_.back().model.version == "2.0.0" && reports_.back().error.empty(); }));
  const std::size_t before = reports_.size();
  hold({"1.0.0"});  // and withdrawn: nobody loads it any more
  said(before + 1, "2.0.0", "withdrawn or never signed");
  EXPECT_FALSE(fs::exists(room("2.0.0") + "/" + kVerifiedMark));
  keeper_.reset();
  p.timestamp.head.expires_ms = now - 1;  // frozen: what is new may be an old one
  p.timestamp.head.made_ms = now - 2;
  start();
  hold({"1.0.0", "2.0.0"});
  keeper_->on_session("hub-1", key().public_pem);
  stage("2.0.0", 4);
  ASSERT_TRUE(wait([&] { return reports_.back().error.find("(freeze)") != std::string::npos; }));
  // And whoever uses what is in force can tell.
  const std::string flag = config_.data_dir + "/models/room/" + kExpiredFlag;
  EXPECT_TRUE(fs::exists(flag));
  EXPECT_NE(keeper_->json().find("\"trust\":\"expired\""), std::string::npos) << keeper_->json();
  EXPECT_NE(metrics_.expose().find("tidelock_edge_model_trust_expired 1"), std::string::npos);
  p.timestamp.head.made_ms = now;
  p.timestamp.head.expires_ms = now + kTrustDayMs;
  hold({"1.0.0", "2.0.0"});
  ASSERT_TRUE(wait([&] { return reports_.back().model.version == "2.0.0" && reports_.back().error.empty(); }));
  EXPECT_FALSE(fs::exists(flag));
}

TEST_F(ModelKeeperTest, ARecallEndsTheTransferThatIsUnderWay) {  // M7, M3
  hub_.have_files();
  for (const char* version : {"2.0.0", "3.0.0"}) hub_.hold(model_version_key("detector", version), published(version));
  const auto stage = [&](const std::string& version, std::uint64_t index) {
    keeper_->on_strong_changed(model_staged_key("detector"),
                               encode(ModelPointer{version, sha256(published(version)), ""}), Index{index});
  };
  hub_.stop_halfway();
  start();
  keeper_->on_session("hub-1", key().public_pem);
  stage("2.0.0", 1);
  ASSERT_TRUE(hub_.wait_halfway());
  keeper_->on_recalled({{"detector", "2.0.0"}});
  hub_.let_go();
  stage("3.0.0", 2);  // the same file: what came of it is not thrown away
  ASSERT_TRUE(wait([&] { return !reports_.empty(); }));
  EXPECT_EQ(reports_.front().model.version, "3.0.0") << "2.0.0 never became whole, and nothing is wrong with it";
  EXPECT_EQ(reports_.front().error, "");
  EXPECT_FALSE(fs::exists(room("2.0.0")));
  EXPECT_EQ(*files::read_all(config_.data_dir + "/models/room/detector/" + kRecalledList, 100), "2.0.0\n");
}

TEST_F(ModelKeeperTest, ARecalledVersionIsNothingHereAnyMore) {  // M7, M8
  hub_.have_files();
  for (const char* version : {"2.0.0", "3.0.0"}) hub_.hold(model_version_key("detector", version), published(version));
  std::uint64_t index = 0;
  const auto names = [&](const std::string& pointer_key, const std::string& version) {
    ModelPointer pointer{version, sha256(published(version)), ""};
    keeper_->on_strong_changed(
        pointer_key, pointer_key == model_ring_key("detector") ? encode(RingPointer{pointer, {}}) : encode(pointer),
        Index{++index});
  };
  const auto has_done_all = [&] {  // what was asked of it so far: a round of work lies between two reads
    for (int round = 0; round < 2; ++round) {
      int before = 0;
      change([&] { before = reads_; });
      keeper_->on_strong_changed(model_staged_key("detector"), std::nullopt, Index{1});
      ASSERT_TRUE(wait([&] { return reads_ > before; }));
    }
  };
  const auto verified = [&](const std::string& version) {
    return std::count_if(reports_.begin(), reports_.end(),
                         [&](const EdgeStagedModel& one) { return one.model.version == version && one.error.empty(); });
  };
  start();
  keeper_->on_session("hub-1", key().public_pem);
  names(model_current_key("detector"), "2.0.0");
  ASSERT_TRUE(wait([&] { return verified("2.0.0") == 1; }));
  keeper_->on_recalled({{"detector", "2.0.0"}});
  ASSERT_TRUE(wait([&] { return reports_.back().error == "it was recalled"; }));
  EXPECT_FALSE(fs::exists(room("2.0.0") + "/" + kVerifiedMark)) << "although a pointer names it still";
  EXPECT_EQ(*files::read_all(config_.data_dir + "/models/room/detector/" + kRecalledList, 100), "2.0.0\n");
  names(model_staged_key("detector"), "2.0.0");
  ASSERT_NO_FATAL_FAILURE(has_done_all());
  EXPECT_TRUE(fs::exists(room("2.0.0")));
  names(model_staged_key("detector"), "3.0.0");
  names(model_current_key("detector"), "3.0.0");
  names(model_ring_key("detector"), "3.0.0");
  ASSERT_TRUE(wait([&] { return verified("3.0.0") == 1; }));
  ASSERT_NO_FATAL_FAILURE(has_done_all());
  EXPECT_FALSE(fs::exists(room("2.0.0"))) << "no pointer names it";
  EXPECT_TRUE(fs::exists(room("3.0.0") + "/" + kVerifiedMark));

  keeper_.reset();
  reports_.clear();
  start();  // and no hub has told it again
  names(model_staged_key("detector"), "2.0.0");
  ASSERT_TRUE(wait([&] { return verified("3.0.0") == 1; }));
  ASSERT_NO_FATAL_FAILURE(has_done_all());
  EXPECT_EQ(verified("2.0.0"), 0);
  EXPECT_FALSE(fs::exists(room("2.0.0")));
}

TEST_F(ModelKeeperTest, RemovesAPlacedVersionThatHoldsTheManifestOfAnother) {  // M4
  {
    const auto blobs = BlobStore::open(config_.data_dir + "/models/blobs");
    const auto layout = ModelLayout::open(config_.data_dir + "/models/room");
    ASSERT_TRUE(blobs && layout && (*blobs)->put(small_model()));
    ASSERT_TRUE((*layout)->place(published("1.0.0"), manifest_of("1.0.0"), **blobs));
  }
  fs::copy(room("1.0.0"), room("2.0.0"));  // its signature holds, its files are whole: but it is not 2.0.0
  KvBatch batch;
  batch.put(kMetaFamily, "model_key", key().public_pem);  // of a session before
  ASSERT_TRUE(kv_->commit(batch, Sync::kNone));
  const std::string log_file = home_ + "/log";
  const int log_fd = ::open(log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  set_log_options({.format = LogFormat::kJson, .node = "edge-1", .fd = log_fd});
  start();
  // What is placed is looked at first, then what came.
  keeper_->on_strong_changed(model_staged_key("detector"), std::nullopt, Index{1});
  const bool looked = wait([&] { return reads_ > 0; });
  keeper_.reset();
  set_log_options({});
  ::close(log_fd);
  ASSERT_TRUE(looked);
  EXPECT_FALSE(fs::exists(room("2.0.0")));
  EXPECT_TRUE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_EQ(reports_[0].model.version, "1.0.0");
  std::ifstream in(log_file);
  const std::string log(std::istreambuf_iterator<char>(in), {});
  EXPECT_NE(log.find(room("2.0.0") + " holds the manifest of another version"), std::string::npos) << log;
}

}  // namespace
}  // namespace tidelock
