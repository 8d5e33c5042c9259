// What a store holds against what it should hold, and what an operator has done with it.
#include "store/models/store_check.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>

#include "store/models/store_care.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
constexpr int kHangMs = 20'000;  // only turns a hang into a failure

void flip_a_bit(const std::string& path) {
  fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  char byte = 0;
  file.get(byte);
  file.seekp(0).put(static_cast<char>(byte ^ 0x10));
  ASSERT_TRUE(file.good()) << path;
}

class StoreCheckTest : public testing::Test {
 protected:
  void SetUp() override { blobs_ = *BlobStore::open(folder_.path()); }
  Bytes put(const std::string& bytes) { return *blobs_->put(bytes); }
  static ManifestFile file(const std::string& path, const std::string& bytes) {
    return {path, FileRole::kOther, bytes.size(), sha256(bytes)};
  }
  FileState state_of(const StoreReport& report, BytesView digest) {
    for (const CheckedFile& one : report.files) {
      if (one.sha256 == digest) return one.state;
    }
    ADD_FAILURE() << "no row for " << to_hex(digest);
    return FileState::kOk;
  }

  const TestFolder folder_;
  std::unique_ptr<BlobStore> blobs_;
};

TEST_F(StoreCheckTest, SaysOfEachFileHowItIs) {  // X3
  const Bytes good = put("good"), bad = put("bad"), shared = put("shared"), stray = put("stray"), gone = put("gone");
  const Bytes old = put("old damage");
  flip_a_bit(*blobs_->path(bad));
  flip_a_bit(*blobs_->path(old));
  ASSERT_EQ(blobs_->verify(old).error().code, Code::kCorrupt);
  fs::remove(*blobs_->path(gone));
  ASSERT_TRUE((*blobs_->put_stream(sha256("half of it"), 10))->write("half "));
  const std::vector<StoredRelease> releases = {
      {"detector", "1.0.0", {file("model.onnx", "good"), file("labels.txt", "shared"), file("gone.bin", "gone")}},
      {"detector", "2.0.0", {file("model.onnx", "bad"), file("labels.txt", "shared"), file("new.bin", "half of it")}},
      {"detector", "3.0.0", {}, "its signature does not hold"},
  };
  const auto report = check_store(*blobs_, releases);
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->sound());
  EXPECT_EQ(report->releases, 3u);
  EXPECT_EQ(state_of(*report, good), FileState::kOk);
  EXPECT_EQ(state_of(*report, bad), FileState::kCorrupt);
  EXPECT_EQ(state_of(*report, gone), FileState::kMissing) << "its file is gone from the folder";
  EXPECT_EQ(state_of(*report, sha256("half of it")), FileState::kMissing) << "what is not whole is not here";
  EXPECT_EQ(state_of(*report, stray), FileState::kUnreferenced);
  EXPECT_EQ(state_of(*report, old), FileState::kQuarantined);
  EXPECT_EQ(report->count(FileState::kOk), 3u) << "good, and the shared one for each of its releases";
  EXPECT_EQ(report->count(FileState::kCorrupt), 2u) << "bad, and a manifest";
  EXPECT_EQ(report->count(FileState::kMissing), 2u);
  EXPECT_EQ(report->count(FileState::kPartial), 1u);
  EXPECT_EQ(report->broken().size(), 4u);
  EXPECT_TRUE(blobs_->has(bad)) << "a check changes nothing";

  const std::vector<StoredRelease> sound = {{"detector", "1.0.0", {file("model.onnx", "good")}}};
  EXPECT_FALSE(check_store(*blobs_, sound)->sound()) << "a damaged file of no release is damage all the same";
  EXPECT_FALSE(blobs_->verify(bad));
  EXPECT_FALSE(blobs_->verify(gone));
  EXPECT_TRUE(check_store(*blobs_, sound)->sound());
  StoreCheckOptions copies;
  copies.missing_is_fine = true;
  EXPECT_TRUE(check_store(*blobs_, {{"x", "1.0.0", {file("elsewhere", "never here")}}}, copies)->sound());
  const std::vector<StoredRelease> lies = {{"x", "1.0.0", {{"model.onnx", FileRole::kModel, 5, good}}}};
  EXPECT_EQ(state_of(*check_store(*blobs_, lies), good), FileState::kCorrupt) << "another length than the release says";
}

TEST_F(StoreCheckTest, CanBeStopped) {
  put("first");
  put("second");
  StoreCheckOptions options;
  options.progress = [](std::uint64_t done, std::uint64_t) { return done == 0; };
  const auto stopped = check_store(*blobs_, {}, options);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Code::kUnavailable);
}

class StoreCareTest : public StoreCheckTest {
 protected:
  StoreCareOwner owner() {
    StoreCareOwner owner;
    owner.releases = []() -> Result<std::vector<StoredRelease>> {
      return std::vector<StoredRelease>{{"detector", "1.0.0", {file("model.onnx", "model"), file("b", "other")}}};
    };
    owner.mend = [this](const std::vector<CheckedFile>& broken) {
      std::vector<std::string> why;
      for (const CheckedFile& one : broken) {
        (void)blobs_->verify(one.sha256);
        if (one.path == "model.onnx") put("model");
        why.push_back(one.path == "model.onnx" ? "" : "no hub has it");
      }
      return why;
    };
    owner.collect = [this](bool remove) {
      return blobs_->collect([](const Garbage& one) { return one.bytes != 5; }, remove);
    };
    return owner;
  }
  std::string run(StoreCare& care, StoreWork work, bool dry_run = false) {
    const auto begun = care.start(work, dry_run);
    EXPECT_TRUE(begun) << begun.error().message;
    return care.wait(kHangMs) ? care.json() : "hangs";
  }
  static void expect(const std::string& json, const std::string& part) {
    EXPECT_NE(json.find(part), std::string::npos) << part << " in " << json;
  }
};

TEST_F(StoreCareTest, ARepairIsReadAgainBeforeItCounts) {  // X3
  const Bytes model = put("model");
  flip_a_bit(*blobs_->path(model));
  StoreCare care(*blobs_, owner());
  EXPECT_EQ(care.json(), "{}");
  std::string json = run(care, StoreWork::kVerify);
  expect(json, "\"work\":\"verify\"");
  expect(json, "\"sound\":false,\"ok\":0,\"missing\":1,\"corrupt\":1,");
  json = run(care, StoreWork::kRepair, true);
  expect(json, "\"corrupt\":1");
  EXPECT_TRUE(blobs_->has(model)) << "a dry run changes nothing";
  json = run(care, StoreWork::kRepair);
  expect(json, "\"repaired\":1,\"sound\":false,\"ok\":1,\"missing\":1,\"corrupt\":0,");
  expect(json, "\"quarantined\":1");
  expect(json, "\"why\":\"no hub has it\"");
  expect(json, "\"path\":\"model.onnx\",\"why\":\"repaired\"");
  EXPECT_TRUE(blobs_->verify(model));
}

TEST_F(StoreCareTest, CollectsWhatItsOwnerLetsGo) {  // M8
  put("stray");
  StoreCare care(*blobs_, owner());
  expect(run(care, StoreWork::kCollect, true), "\"garbage\":1,\"garbage_bytes\":5,");
  EXPECT_TRUE(blobs_->has(sha256("stray")));
  expect(run(care, StoreWork::kCollect), "\"garbage\":1,");
  EXPECT_FALSE(blobs_->has(sha256("stray")));
  expect(run(care, StoreWork::kCollect), "\"garbage\":0,");
}

TEST_F(StoreCareTest, DoesOneThingAtATimeAndEndsWhenTold) {
  std::promise<void> entered, let_go;
  StoreCareOwner slow = owner();
  slow.collect = [&](bool) -> Result<std::vector<Garbage>> {
    entered.set_value();
    let_go.get_future().wait();
    return fail(Code::kBusy, "the disk \"is\" gone");
  };
  StoreCare care(*blobs_, std::move(slow));
  ASSERT_TRUE(care.start(StoreWork::kCollect, false));
  ASSERT_EQ(entered.get_future().wait_for(std::chrono::milliseconds(kHangMs)), std::future_status::ready);
  const auto second = care.start(StoreWork::kVerify, false);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kBusy);
  EXPECT_NE(second.error().message.find("a gc of this store is under way"), std::string::npos);
  let_go.set_value();
  care.stop();
  expect(care.json(), "\"error\":{\"code\":\"busy\",\"message\":\"the disk ?is? gone\"}");
  EXPECT_EQ(care.start(StoreWork::kVerify, false).error().code, Code::kUnavailable) << "stopped is stopped";
}

}  // namespace
}  // namespace tidelock
