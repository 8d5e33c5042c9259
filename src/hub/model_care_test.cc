// A hub's own store under an operator's hands: what is of no release goes only when no publish can be under way with
// it.
#include "hub/model_care.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/wall_clock.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "protocol/commands.h"
#include "protocol/map_rows_fixture.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

class HubModelCareTest : public testing::Test {
 protected:
  void SetUp() override {
    care_.reset();
    blobs_.reset();
    blobs_ = *BlobStore::open(folder_.path());
    const auto pull = [this](BytesView sha256) -> Result<void> {
      const auto there = elsewhere_.find(Bytes(sha256));
      if (there == elsewhere_.end()) return fail(Code::kNotFound, "it is on no hub");
      (void)blobs_->put(there->second);
      return {};
    };
    care_ = std::make_unique<HubModelCare>(HubModelCare::Parts{*blobs_, rows_, pull, [this] { return caught_up_(); }});
  }
  void publish(const std::string& version, const std::vector<std::string>& files) {
    Manifest manifest;
    manifest.name = "detector";
    manifest.version = version;
    for (const std::string& bytes : files) {
      manifest.files.push_back({manifest.files.empty() ? "model.onnx" : "f" + std::to_string(manifest.files.size()),
                                manifest.files.empty() ? FileRole::kModel : FileRole::kOther, bytes.size(),
                                sha256(bytes)});
    }
    const SigningKey key = *make_signing_key();
    set("detector:v" + version, encode(*sign_manifest(manifest, key.private_pem)));
  }
  void set(const std::string& key, const Bytes& value) {
    StoredValue stored;
    stored.value = value;
    rows_.rows["vmodel:" + key] = encode(stored);
  }
  Bytes put_old(const std::string& bytes) {
    const Bytes digest = *blobs_->put(bytes);
    const auto long_ago = static_cast<time_t>(wall_ms_now() / 1000 - 2 * HubModelCare::kPublishGrace / kSecond);
    const timespec times[2] = {{long_ago, 0}, {long_ago, 0}};
    EXPECT_EQ(::utimensat(AT_FDCWD, blobs_->path(digest)->c_str(), times, 0), 0);
    return digest;
  }
  std::string run(StoreCall::What what, bool dry_run = false) {
    const AdminAnswer begun = care_->answer({what, dry_run});
    EXPECT_EQ(begun.code, Code::kOk) << begun.message;
    EXPECT_TRUE(care_->wait(20'000));
    return *care_->answer({}).value;
  }
  static void expect(const std::string& json, const std::string& part) {
    EXPECT_NE(json.find(part), std::string::npos) << part << " in " << json;
  }

  const TestFolder folder_;
  MapRows rows_;
  std::map<Bytes, Bytes> elsewhere_;
  std::function<Result<void>()> caught_up_ = [] { return Result<void>(); };
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<HubModelCare> care_;
};

TEST_F(HubModelCareTest, EveryFileOfEveryPublishedReleaseShouldBeHere) {  // X3
  publish("1.0.0", {"model one", "labels"});
  publish("2.0.0", {"model two", "labels"});
  set("detector:current@default", "a pointer");
  set("@trust/state", "trust");
  for (const char* bytes : {"model one", "labels"}) ASSERT_TRUE(blobs_->put(bytes));
  expect(run(StoreCall::What::kVerify), "\"releases\":2,\"repaired\":0,\"sound\":false,\"ok\":3,\"missing\":1,");
  elsewhere_[sha256("model two")] = "model two";
  expect(run(StoreCall::What::kRepair), "\"repaired\":1,\"sound\":true,\"ok\":4,");
  set("detector:v3.0.0", "no manifest");
  expect(run(StoreCall::What::kVerify), "\"corrupt\":1,");
  expect(run(StoreCall::What::kCollect), "which files it needs is not known");
}

TEST_F(HubModelCareTest, WhatIsOnItsWayIntoTheLedgerStays) {  // M8
  publish("1.0.0", {"model one"});
  const Bytes of_a_release = put_old("model one"), stray = put_old("stray"), asked = put_old("asked");
  const Bytes fresh = *blobs_->put("uploaded just now");
  care_->asked({asked, sha256("not here")});
  expect(run(StoreCall::What::kCollect, true), "\"garbage\":1,\"garbage_bytes\":5,");
  EXPECT_TRUE(blobs_->has(stray));
  expect(run(StoreCall::What::kCollect), to_hex(stray));
  EXPECT_FALSE(blobs_->has(stray));
  for (const Bytes& kept : {of_a_release, asked, fresh}) EXPECT_TRUE(blobs_->has(kept));
}

// A publish was judged by what is here, and this hub starts anew before it hears of it: its manifest comes with the
// ledger.
TEST_F(HubModelCareTest, WhatAPublishAskedForStaysThoughTheHubStartsAnew) {  // M8, M2
  const Bytes asked = put_old("uploaded long ago, and asked for now"), stray = put_old("stray");
  care_->asked({asked});
  SetUp();
  expect(run(StoreCall::What::kCollect), "\"garbage\":1,");
  EXPECT_TRUE(blobs_->has(asked));
  EXPECT_FALSE(blobs_->has(stray));
}

// What was published since it was cut off may count on its files, old as they are.
TEST_F(HubModelCareTest, AHubThatIsCutOffRemovesNothing) {  // M8, M2
  const Bytes published = put_old("published, and this hub has not heard of it"), stray = put_old("stray");
  caught_up_ = [] { return Result<void>(fail(Code::kUnavailable, "only 1 of 3 hubs say what was published")); };
  expect(run(StoreCall::What::kCollect), "only 1 of 3 hubs");
  for (const Bytes& kept : {published, stray}) EXPECT_TRUE(blobs_->has(kept));
  caught_up_ = [this] {  // it hears of it while it waits
    publish("1.0.0", {"published, and this hub has not heard of it"});
    return Result<void>();
  };
  expect(run(StoreCall::What::kCollect), "\"garbage\":1,");
  EXPECT_TRUE(blobs_->has(published));
  EXPECT_FALSE(blobs_->has(stray));
}

}  // namespace
}  // namespace tidelock
