#include "ledger/raft/log_store.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace tidelock {
namespace {

namespace fs = std::filesystem;

class LogStoreTest : public ::testing::Test {
 protected:
  LogStoreTest() {
    std::string pattern = (fs::temp_directory_path() / "tidelock-log-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    reopen();
  }
  ~LogStoreTest() override {
    store_.reset();
    kv_.reset();
    fs::remove_all(directory_);
  }
  // As after a restart.
  RaftLoaded reopen() {
    store_.reset();
    kv_.reset();
    auto kv = Kv::open(directory_ + "/db", {kRaftLogFamily, kRaftStateFamily});
    EXPECT_TRUE(kv.has_value()) << kv.error().message;
    kv_ = std::move(*kv);
    store_ = std::make_unique<LogStore>(*kv_);
    auto loaded = store_->load();
    EXPECT_TRUE(loaded.has_value()) << loaded.error().message;
    return loaded ? *loaded : RaftLoaded{};
  }
  void append(std::uint64_t first, std::vector<std::pair<std::uint64_t, const char*>> entries) {
    RaftPersist persist;
    persist.vote = RaftVote{9, 2};
    RaftAppend append{first, {}};
    for (const auto& [term, payload] : entries) append.entries.push_back({term, RaftEntryType::kCommand, payload});
    persist.appends.push_back(std::move(append));
    ASSERT_TRUE(store_->commit(persist));
  }
  static std::string text(const RaftLoaded& loaded) {
    std::string out = std::to_string(loaded.first_index) + ":";
    for (const RaftEntry& e : loaded.entries) out += " " + std::to_string(e.term) + e.payload;
    return out;
  }
  std::vector<Bytes> keys() {
    std::vector<Bytes> out;
    EXPECT_TRUE(kv_->scan(kRaftLogFamily, {}, {}, [&](BytesView key, BytesView) {
      out.emplace_back(key);
      return true;
    }));
    return out;
  }
  std::string directory_;
  std::unique_ptr<Kv> kv_;
  std::unique_ptr<LogStore> store_;
};

TEST_F(LogStoreTest, AnEmptyStoreIsPristine) { EXPECT_TRUE(reopen().pristine()); }

TEST_F(LogStoreTest, KeepsVoteAndEntriesAcrossARestart) {
  append(1, {{1, "a"}, {1, "b"}, {2, "c"}});
  const RaftLoaded loaded = reopen();
  EXPECT_EQ(text(loaded), "1: 1a 1b 2c");
  EXPECT_EQ(loaded.vote, (RaftVote{9, 2}));
  EXPECT_FALSE(loaded.pristine());
}

TEST_F(LogStoreTest, ARewriteDropsTheWholeOldSuffix) {
  append(1, {{1, "a"}, {1, "b"}, {1, "c"}, {1, "d"}});
  append(2, {{3, "B"}});
  EXPECT_EQ(text(reopen()), "1: 1a 3B");
  append(3, {{3, "C"}});  // after a restart the end of the log is known too
  append(2, {{4, "x"}});
  EXPECT_EQ(text(reopen()), "1: 1a 4x");
}

TEST_F(LogStoreTest, SeveralChangesOfOneCommitApplyInOrder) {
  RaftPersist persist;
  persist.vote = RaftVote{5, 0};
  persist.appends.push_back({1, {{1, RaftEntryType::kChange, "cfg"}, {1, RaftEntryType::kCommand, "a"}}});
  persist.appends.push_back({2, {{4, RaftEntryType::kCommand, "A"}}});
  persist.appends.push_back({3, {{5, RaftEntryType::kBarrier, ""}}});
  ASSERT_TRUE(store_->commit(persist));
  const RaftLoaded loaded = reopen();
  EXPECT_EQ(text(loaded), "1: 1cfg 4A 5");
  EXPECT_EQ(loaded.entries[0].type, RaftEntryType::kChange);
  EXPECT_EQ(loaded.entries[2].type, RaftEntryType::kBarrier);
}

TEST_F(LogStoreTest, OwnSnapshotTrimsThePrefixAndKeepsTheTrailingEntries) {
  append(1, {{1, "a"}, {1, "b"}, {1, "c"}, {1, "d"}, {1, "e"}});
  RaftPersist persist;
  persist.snapshot = RaftSnapshotMeta{4, 1, 1, "cfg", "snap-4"};
  persist.first_kept = 3;
  ASSERT_TRUE(store_->commit(persist));
  const RaftLoaded loaded = reopen();
  EXPECT_EQ(text(loaded), "3: 1c 1d 1e");
  ASSERT_TRUE(loaded.snapshot.has_value());
  EXPECT_EQ(*loaded.snapshot, *persist.snapshot);
}

TEST_F(LogStoreTest, InstalledSnapshotDropsTheWholeLog) {
  append(1, {{1, "a"}, {1, "b"}, {1, "c"}});
  RaftPersist persist;
  persist.snapshot = RaftSnapshotMeta{100, 7, 1, "cfg", "snap-100"};
  persist.reset_log = true;
  ASSERT_TRUE(store_->commit(persist));
  EXPECT_EQ(text(reopen()), "101:");
  append(101, {{8, "x"}});
  EXPECT_EQ(text(reopen()), "101: 8x");
}

TEST_F(LogStoreTest, DamageIsFoundAtLoadAndSaysWhatToDo) {  // D2, D4
  append(1, {{1, "aaaa"}, {2, "bbbb"}, {2, "cccc"}});
  const std::vector<Bytes> key = keys();
  ASSERT_EQ(key.size(), 3u);
  const auto get = [&](std::size_t i) { return **kv_->get(kRaftLogFamily, key[i]); };
  const Bytes first = get(0), second = get(1), third = get(2);
  const Bytes vote = **kv_->get(kRaftStateFamily, "vote");
  struct Case {
    const char* why;
    std::function<void(KvBatch&)> damage;
    const char* expected;
  };
  const auto flipped = [](Bytes b, std::size_t at) {
    b[at] = static_cast<char>(b[at] ^ 1);
    return b;
  };
  const Case cases[] = {
      {"a flipped bit in a payload", [&](KvBatch& b) { b.put(kRaftLogFamily, key[1], flipped(second, 11)); },
       "entry 2: checksum"},
      {"a flipped bit in a term", [&](KvBatch& b) { b.put(kRaftLogFamily, key[1], flipped(second, 3)); },
       "entry 2: checksum"},
      {"a record under another key", [&](KvBatch& b) { b.put(kRaftLogFamily, key[2], second); }, "entry 3: checksum"},
      {"a truncated record", [&](KvBatch& b) { b.put(kRaftLogFamily, key[2], third.substr(0, 3)); },
       "entry 3: checksum"},
      {"a hole", [&](KvBatch& b) { b.erase(kRaftLogFamily, key[1]); }, "entry 3: entries before it are missing"},
      {"the beginning is gone", [&](KvBatch& b) { b.erase(kRaftLogFamily, key[0]); },
       "entry 2: entries before it are missing"},
      {"a foreign key", [&](KvBatch& b) { b.put(kRaftLogFamily, "odd", second); }, "its key is not an index"},
      {"a damaged vote", [&](KvBatch& b) { b.put(kRaftStateFamily, "vote", flipped(vote, 0)); }, "raft vote: checksum"},
      {"a vote that is gone", [&](KvBatch& b) { b.erase(kRaftStateFamily, "vote"); },
       "last term 2 is above the stored term 0"},
      {"a damaged snapshot record", [&](KvBatch& b) { b.put(kRaftStateFamily, "snapshot", "xxxxxxxx"); },
       "raft snapshot: checksum"},
  };
  for (const Case& c : cases) {
    KvBatch damage;
    c.damage(damage);
    ASSERT_TRUE(kv_->commit(damage, Sync::kDisk));
    LogStore store(*kv_);
    const auto loaded = store.load();
    ASSERT_FALSE(loaded.has_value()) << c.why;
    EXPECT_EQ(loaded.error().code, Code::kCorrupt) << c.why;
    EXPECT_NE(loaded.error().message.find(c.expected), std::string::npos) << c.why << ": " << loaded.error().message;
    EXPECT_NE(loaded.error().message.find("must not vote"), std::string::npos) << c.why;
    KvBatch repair;
    repair.put(kRaftLogFamily, key[0], first);
    repair.put(kRaftLogFamily, key[1], second);
    repair.put(kRaftLogFamily, key[2], third);
    repair.erase(kRaftLogFamily, "odd");
    repair.put(kRaftStateFamily, "vote", vote);
    repair.erase(kRaftStateFamily, "snapshot");
    ASSERT_TRUE(kv_->commit(repair, Sync::kDisk));
    ASSERT_TRUE(LogStore(*kv_).load()) << c.why << ": repaired";
  }
}

TEST_F(LogStoreTest, ASnapshotAtAnIndexThatNoLedgerHasIsRefused) {  // found by the fuzzer: the next index was 0
  for (const std::uint64_t index : {std::uint64_t{0}, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    RaftPersist persist;
    persist.snapshot = RaftSnapshotMeta{index, 1, 1, "cfg", "snap"};
    persist.reset_log = true;
    ASSERT_TRUE(store_->commit(persist));
    const auto loaded = LogStore(*kv_).load();
    ASSERT_FALSE(loaded.has_value()) << index;
    EXPECT_EQ(loaded.error().code, Code::kCorrupt);
    EXPECT_NE(loaded.error().message.find("entry " + std::to_string(index)), std::string::npos);
  }
}

TEST_F(LogStoreTest, ALogThatEndsBelowItsSnapshotIsRefused) {
  append(1, {{1, "a"}, {1, "b"}});
  RaftPersist persist;
  persist.snapshot = RaftSnapshotMeta{5, 1, 1, "cfg", "snap-5"};
  ASSERT_TRUE(store_->commit(persist));
  const auto loaded = LogStore(*kv_).load();
  ASSERT_FALSE(loaded.has_value());
  EXPECT_EQ(loaded.error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace tidelock
