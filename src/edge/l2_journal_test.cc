// L2 with rows on the way: what find and scan see at each moment, against a plain map; and what is there after a kill.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "base/rng.h"
#include "edge/l2_store.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
constexpr L2Run kRun{1, 1, 0, 0};
constexpr Nanos kNow = 100 * kSecond;

EdgeEntry own(std::string value) {
  EdgeEntry entry;
  entry.local = true;
  entry.value = std::move(value);
  return entry;
}

struct L2JournalTest : testing::Test {
  L2JournalTest() {
    std::string folder = (fs::temp_directory_path() / "tidelock-l2-XXXXXX").string();
    EXPECT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    options.journal_path = folder_ + "/journal";
    options.journal_half_bytes = 64u << 10;
  }
  ~L2JournalTest() override {
    store.reset();
    kv.reset();
    fs::remove_all(folder_);
  }
  void open() {
    store.reset();
    kv.reset();
    auto opened = Kv::open(folder_ + "/db", {kL2Family, kOutboxFamily, kMetaFamily});
    ASSERT_TRUE(opened) << opened.error().message;
    kv = std::move(*opened);
    store = std::make_unique<L2Store>(*kv, kRun, options);
    const auto ready = store->open();
    ASSERT_TRUE(ready) << ready.error().message;
  }
  void commit(const EdgeActions& step, bool is_own, Nanos now = kNow) const {
    const auto done = store->commit(step, now, is_own);
    ASSERT_TRUE(done) << done.error().message;
  }
  static EdgeActions put(const std::string& key, const std::string& value) {
    EdgeActions step;
    step.ops.emplace_back(EntryPut{key, own(value)});
    return step;
  }
  static EdgeActions erase(const std::string& key) {
    EdgeActions step;
    step.ops.emplace_back(EntryErase{key});
    return step;
  }
  std::string value(const std::string& key) const {
    const auto entry = store->find(key);
    return entry ? entry->value.value_or("(absent)") : "(none)";
  }
  std::map<std::string, std::string> listed() const {  // as another thread lists it
    std::map<std::string, std::string> all;
    const auto done = store->scan("", 1'000'000, kNow, [&](const L2Store::Listed& entry) {
      all[std::string(entry.key)] = value(std::string(entry.key));
      return true;
    });
    EXPECT_TRUE(done);
    return all;
  }

  std::uint64_t bytes_in_rows() const {
    std::uint64_t bytes = 0;
    EXPECT_TRUE(kv->scan(kL2Family, {}, {}, [&](BytesView key, BytesView row) {
      bytes += key.size() + row.size();
      return true;
    }));
    return bytes;
  }

  L2Options options;
  std::unique_ptr<Kv> kv;
  std::unique_ptr<L2Store> store;

 private:
  std::string folder_;
};

TEST_F(L2JournalTest, IsSeenAtOnceAndStoredOnce) {
  open();
  for (int i = 0; i < 100; ++i) commit(put("hot", std::to_string(i)), true);
  commit(put("cold", "c"), true);
  EXPECT_EQ(value("hot"), "99");
  EXPECT_TRUE(listed().empty()) << "it is on its way";
  EXPECT_EQ(store->commit_at(kNow), kNow + kL2JournalAge);
  commit({}, false, kNow + kL2JournalAge);
  EXPECT_EQ(store->commit_at(kNow + kL2JournalAge), kNow + kL2JournalAge + kMillisecond);
  EXPECT_FALSE(store->take_wants_sync());
  commit({}, false, kNow + kL2JournalAge + kMillisecond);
  EXPECT_EQ(listed(), (std::map<std::string, std::string>{{"cold", "c"}, {"hot", "99"}}));
  EXPECT_EQ(store->counters().journaled, 101u);
  EXPECT_EQ(store->counters().carried_on, 2u) << "of each key the last row only";
  EXPECT_TRUE(store->take_wants_sync()) << "D9";
  EXPECT_FALSE(store->take_wants_sync());
  EXPECT_EQ(store->commit_at(kNow), kForever);
  commit(erase("hot"), true);
  EXPECT_EQ(value("hot"), "(none)") << "an erasure on its way hides the row below";
  EXPECT_EQ(listed().size(), 2u);
  ASSERT_TRUE(store->store_all());
  EXPECT_EQ(listed(), (std::map<std::string, std::string>{{"cold", "c"}}));
}

TEST_F(L2JournalTest, ARowThatCannotBeReadDoesNotCostTheOneThatReplacesIt) {
  open();
  KvBatch garbage;
  garbage.put(kL2Family, "k", "no row");
  ASSERT_TRUE(kv->commit(garbage, Sync::kNone));
  EXPECT_EQ(value("k"), "(none)");
  commit(put("k", "v"), true);
  for (int tick = 0; tick < 3; ++tick) commit({}, false, kNow + (1 + tick) * kL2JournalAge);
  EXPECT_EQ(listed(), (std::map<std::string, std::string>{{"k", "v"}}));
  open();
  EXPECT_EQ(value("k"), "v");
}

TEST_F(L2JournalTest, WhatPassesItByIsSyncedAsSoon) {  // D9
  open();
  commit(put("k", std::string(100'000, 'x')), true);
  EXPECT_FALSE(store->take_wants_sync());
  EXPECT_EQ(store->commit_at(kNow), kNow + kL2JournalAge);
  commit({}, false, kNow + kL2JournalAge);
  EXPECT_TRUE(store->take_wants_sync());
}

TEST_F(L2JournalTest, WhatIsTooLargeForItGoesDirectly) {
  open();
  commit(put("k", "small"), true);
  const std::string large(100'000, 'x');
  commit(put("k", large), true);
  EXPECT_EQ(value("k"), large);
  open();
  EXPECT_EQ(value("k"), large) << "the smaller, older row did not come behind it";
}

// Own writes and others, ticks, and processes that end in order, against a map.
TEST_F(L2JournalTest, AgreesWithAMapThroughRestarts) {
  options.bytes_max = 64u << 20;  // so that bytes are counted; none is evicted
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    open();
    Rng rng(seed);
    std::map<std::string, std::string> twin = listed();
    Nanos now = kNow;
    for (int i = 0; i < 1'500; ++i) {
      const std::string key = "key" + std::to_string(rng.below(60));
      const bool is_own = !rng.one_in(8);
      now += static_cast<Nanos>(rng.below(30)) * kMillisecond;
      switch (rng.below(8)) {
        case 0:
          commit(erase(key), is_own, now);
          twin.erase(key);
          break;
        case 1: commit({}, false, now); break;
        case 2: {
          const auto at = twin.find(key);
          ASSERT_EQ(value(key), at == twin.end() ? "(none)" : at->second) << "seed " << seed << " step " << i;
          break;
        }
        case 3:
          if (rng.one_in(40)) open();
          if (rng.one_in(20)) {
            ASSERT_TRUE(store->store_all());
            ASSERT_EQ(listed(), twin) << "seed " << seed << " step " << i;
          }
          ASSERT_EQ(store->counters().bytes, bytes_in_rows()) << "seed " << seed << " step " << i;
          break;
        default:
          twin[key] = std::string(rng.below(400), static_cast<char>('a' + i % 26));
          commit(put(key, twin[key]), is_own, now);
      }
    }
    open();
    ASSERT_EQ(listed(), twin) << seed;
  }
}

// D1: acknowledged means that a kill does not take it, wherever it was on its way.
TEST_F(L2JournalTest, AKillTakesNothingThatWasAcknowledged) {
  auto* acknowledged =
      static_cast<std::uint64_t*>(::mmap(nullptr, 4'096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(acknowledged, MAP_FAILED);
  const auto row_of = [](std::uint64_t step) {
    return std::pair("key" + std::to_string(step * 7 % 50), std::to_string(step) + std::string(step % 300, 'x'));
  };
  Rng chance(9);
  std::map<std::string, std::uint64_t> last;  // key -> the step that wrote it last
  std::uint64_t first = 0;
  for (int cycle = 0; cycle < 12; ++cycle) {
    store.reset();
    kv.reset();
    __atomic_store_n(acknowledged, first, __ATOMIC_SEQ_CST);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      open();
      for (std::uint64_t step = first;; ++step) {
        const auto [key, text] = row_of(step);
        // Each fifth of another kind than the others, each ninth with time to carry some on.
        const auto done = store->commit(put(key, text), kNow + static_cast<Nanos>(step / 9) * kSecond, step % 5 != 0);
        if (!done) ::_exit(1);
        __atomic_store_n(acknowledged, step + 1, __ATOMIC_SEQ_CST);
      }
    }
    const std::uint64_t until = first + 1 + chance.below(2'000);
    while (__atomic_load_n(acknowledged, __ATOMIC_SEQ_CST) < until) {
      ASSERT_EQ(::waitpid(child, nullptr, WNOHANG), 0) << "it ended by itself";
      ::sched_yield();
    }
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    const std::uint64_t done = __atomic_load_n(acknowledged, __ATOMIC_SEQ_CST);
    for (std::uint64_t step = first; step < done; ++step) last[row_of(step).first] = step;
    open();
    EXPECT_EQ(store->counters().damaged, 0u);
    const std::string under_way = row_of(done).first;
    for (const auto& [key, step] : last) {
      const std::string found = value(key);
      ASSERT_TRUE(found == row_of(step).second || (key == under_way && found == row_of(done).second))
          << "cycle " << cycle << ": " << key << " should hold step " << step << ", holds " << found.substr(0, 12);
    }
    if (value(under_way) == row_of(done).second) last[under_way] = done;
    first = done + 1;
  }
  ::munmap(acknowledged, 4'096);
}

TEST_F(L2JournalTest, ADamagedJournalIsReportedAndBegunAnew) {
  open();
  commit(put("below", "b"), true);
  ASSERT_TRUE(store->store_all());
  const pid_t child = ::fork();
  if (child == 0) {
    commit(put("lost", "l"), true);
    ::raise(SIGKILL);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  {
    std::fstream file(options.journal_path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp((64 << 10) + 64 + 30);  // in the half that filled last
    file.put('?');
    file.seekp(64 + 30);
    file.put('?');
  }
  store.reset();
  kv.reset();
  open();
  EXPECT_EQ(value("below"), "b");
  EXPECT_EQ(value("lost"), "(none)");
  EXPECT_EQ(store->counters().damaged, 1u);
  store.reset();
  std::ofstream(options.journal_path, std::ios::binary) << "not a journal";
  open();
  EXPECT_EQ(store->counters().damaged, 1u);
  commit(put("k", "v"), true);
  open();
  EXPECT_EQ(value("k"), "v");
}

}  // namespace
}  // namespace tidelock
