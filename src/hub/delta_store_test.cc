// What a hub keeps of deltas: each pair is made once, room is bounded, and what comes out is what went in (M3).
#include "hub/delta_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/noise_fixture.h"
#include "codec/delta.h"
#include "codec/signature.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

Result<DeltaStore::Made> ask(DeltaStore& store, const Bytes& base, const Bytes& target) {
  return store.delta(sha256(base), base, sha256(target), target);
}
Bytes bytes_of(const DeltaStore::Made& made) { return made.file.read(0, made.file.size_bytes()).value_or(Bytes()); }

TEST(DeltaStoreTest, GivesTheSameDeltaEachTimeAndItMakesTheTarget) {  // M3
  const TestFolder folder;
  const Bytes base = noise(1, 200'000);
  const Bytes target = base.substr(0, 100'000) + noise(2, 5'000) + base.substr(100'000);
  Bytes first;
  for (const char* run : {"made", "kept", "made again after a restart"}) {
    static std::unique_ptr<DeltaStore> store;
    if (!store || std::string(run).starts_with("made again")) {
      store.reset();
      auto opened = DeltaStore::open(folder.path() + "/deltas");
      ASSERT_TRUE(opened) << opened.error().message;
      store = std::move(*opened);
    }
    const auto made = ask(*store, base, target);
    ASSERT_TRUE(made) << run << ": " << made.error().message;
    if (first.empty()) first = made->sha256;
    EXPECT_EQ(made->sha256, first) << run << ": so a transfer goes on at the byte";
    const Bytes delta = bytes_of(*made);
    EXPECT_EQ(sha256(delta), first) << run;
    EXPECT_LT(delta.size(), 8'000u) << run;
    const auto out =
        apply_delta(delta, [&](const DeltaBase&) -> Result<BytesView> { return BytesView(base); }, target.size());
    ASSERT_TRUE(out) << run << ": " << out.error().message;
    EXPECT_EQ(*out, target) << run;
    if (std::string(run).starts_with("made again")) store.reset();
  }
}

TEST(DeltaStoreTest, WhatSavesNothingIsSaidTwice) {
  const TestFolder folder;
  const auto store = DeltaStore::open(folder.path() + "/deltas");
  ASSERT_TRUE(store) << store.error().message;
  for (const char* time : {"made", "remembered"}) {
    const auto made = ask(**store, noise(3, 50'000), noise(4, 50'000));
    ASSERT_FALSE(made) << time;
    EXPECT_EQ(made.error().code, Code::kNotFound) << time << ": " << made.error().message;
  }
}

TEST(DeltaStoreTest, NothingIsMadeAnyMoreOnceItIsStopped) {
  const TestFolder folder;
  const auto store = DeltaStore::open(folder.path() + "/deltas");
  ASSERT_TRUE(store) << store.error().message;
  const Bytes base = noise(8, 50'000);
  const auto here = [&](const Bytes& target) {
    return (*store)->find(sha256(base), sha256(target)).value().has_value();
  };
  EXPECT_FALSE(here(base + "x"));
  ASSERT_TRUE(ask(**store, base, base + "x"));
  EXPECT_TRUE(here(base + "x"));
  (*store)->stop();
  EXPECT_EQ(ask(**store, base, base + "y").error().code, Code::kUnavailable);
  EXPECT_FALSE(here(base + "y")) << "which says nothing of the two files";
  EXPECT_TRUE(ask(**store, base, base + "x")) << "what is there is given";
}

// What a look found is open: it may go for want of room before its first byte is read.
TEST(DeltaStoreTest, WhatWasFoundStaysReadableThoughItGoes) {  // M3
  const TestFolder folder;
  const auto store = DeltaStore::open(folder.path() + "/deltas", 100'000);
  ASSERT_TRUE(store) << store.error().message;
  const Bytes base = noise(5, 300'000), target = base + noise(100, 30'000);
  ASSERT_TRUE(ask(**store, base, target));
  const auto found = (*store)->find(sha256(base), sha256(target));
  ASSERT_TRUE(found && *found);
  for (std::uint64_t version = 1; version < 6; ++version) {
    ASSERT_TRUE(ask(**store, base, base + noise(100 + version, 30'000))) << version;
  }
  EXPECT_FALSE((*store)->find(sha256(base), sha256(target)).value()) << "it went";
  EXPECT_EQ(sha256(bytes_of(**found)), (*found)->sha256);
}

// Somebody has emptied the folder, or a disk cut a file short: a delta is made again, and not taken for one that would
// save nothing.
TEST(DeltaStoreTest, WhatIsGoneOrCutShortIsMadeAgain) {  // M3
  const TestFolder folder;
  const Bytes base = noise(5, 100'000), target = base + "a little more";
  std::unique_ptr<DeltaStore> store;
  const auto open = [&] {
    store.reset();
    auto opened = DeltaStore::open(folder.path() + "/deltas");
    ASSERT_TRUE(opened) << opened.error().message;
    store = std::move(*opened);
  };
  open();
  const auto first = ask(*store, base, target);
  ASSERT_TRUE(first) << first.error().message;
  const std::string hex = to_hex(first->sha256), path = folder.path() + "/deltas/blobs/" + hex.substr(0, 2) + "/" + hex;
  const auto again = [&](const char* why) {
    EXPECT_FALSE(store->find(sha256(base), sha256(target)).value()) << why;
    const auto made = ask(*store, base, target);
    ASSERT_TRUE(made) << why << ": " << made.error().message;
    EXPECT_EQ(sha256(bytes_of(*made)), first->sha256) << why;
    EXPECT_TRUE(store->find(sha256(base), sha256(target)).value()) << why;
  };
  std::filesystem::remove(path);
  again("it is gone");
  std::filesystem::resize_file(path, 5);
  again("it is cut short");
  std::filesystem::remove(path);
  ASSERT_TRUE(ask(*store, base, target)) << "and nobody looked before";
  std::filesystem::resize_file(path, 5);
  open();
  again("it was cut short while nobody looked");
}

TEST(DeltaStoreTest, OldDeltasGoWhenRoomIsNeeded) {
  const TestFolder folder;
  constexpr std::uint64_t kQuota = 100'000;
  const auto store = DeltaStore::open(folder.path() + "/deltas", kQuota);
  ASSERT_TRUE(store) << store.error().message;
  const Bytes base = noise(5, 300'000);
  for (std::uint64_t version = 0; version < 6; ++version) {
    const auto made = ask(**store, base, base + noise(100 + version, 30'000));
    ASSERT_TRUE(made) << version << ": " << made.error().message;
    EXPECT_GE(made->file.size_bytes(), 30'000u);
  }
  EXPECT_TRUE(ask(**store, base, base + noise(100, 30'000))) << "one that went is made again";
  EXPECT_EQ(ask(**store, base, base + noise(7, 60'000)).error().code, Code::kNotFound) << "more than half of the room";
}

}  // namespace
}  // namespace tidelock
