#include "memory/l1_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "base/rng.h"
#include "memory/cell_heap.h"

namespace tidelock {
namespace {

std::string key_of(std::uint64_t key) { return "key:" + std::to_string(key); }
// Says of itself which key and version it is of, in every byte.
std::string value_of(std::uint64_t key, std::uint64_t version, std::size_t bytes) {
  return std::string(bytes, static_cast<char>('a' + (key * 7 + version) % 26));
}
EntryMeta meta_of(std::uint64_t version) {
  EntryMeta meta;
  meta.version = Index{version};
  return meta;
}

// ---------------------------------------------------------------------------------------------------------- CellHeap
TEST(CellHeap, GivesEachCellOnceAndGetsThemAllBack) {
  constexpr CellHeap::Cell kCells = 3'000;
  const std::unique_ptr<char[], void (*)(char*)> memory(static_cast<char*>(std::aligned_alloc(64, kCells * 64)),
                                                        [](char* p) { std::free(p); });
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CellHeap heap(memory.get(), kCells);
    Rng rng(seed);
    std::map<CellHeap::Cell, CellHeap::Cell> taken;  // first, cells
    CellHeap::Cell in_use = 0;
    for (int i = 0; i < 5'000; ++i) {
      if (!taken.empty() && rng.below(100) < 45) {
        const auto it = std::next(taken.begin(), static_cast<std::ptrdiff_t>(rng.below(taken.size())));
        std::memset(heap.at(it->first), 0xEE, it->second * 64);  // it is ours, to the last byte
        heap.give(it->first, it->second);
        in_use -= it->second;
        taken.erase(it);
      } else {
        const auto cells = static_cast<CellHeap::Cell>(1 + rng.below(rng.one_in(10) ? 300 : 12));
        const CellHeap::Cell first = heap.take(cells);
        if (first == CellHeap::kNone) continue;
        const auto after = taken.lower_bound(first);
        ASSERT_LE(first + cells, after == taken.end() ? kCells : after->first) << "seed " << seed;
        if (after != taken.begin()) {
          ASSERT_GE(first, std::prev(after)->first + std::prev(after)->second) << "seed " << seed;
        }
        taken[first] = cells;
        in_use += cells;
      }
      ASSERT_EQ(heap.free_cells(), kCells - in_use);
    }
    for (const auto& [first, cells] : taken) heap.give(first, cells);
    EXPECT_EQ(heap.take(kCells), 0u) << "neighbours became one again; seed " << seed;
  }
}

// ----------------------------------------------------------------------------------------------------------- L1Cache
struct L1 {
  explicit L1(L1Options options) : cache(options, lanes) {}
  bool put(std::uint64_t key, std::string_view value, std::uint64_t version = 0, std::size_t pool = 0) {
    return cache.put(key_of(key), hash64(key_of(key)), value, meta_of(version), pool);
  }
  // The value, or "-": absent.
  std::string get(std::uint64_t key) {
    ReaderLanes::Visit visit(lanes);
    const L1Entry* entry = cache.find(key_of(key), hash64(key_of(key)));
    if (entry == nullptr) return "-";
    cache.used(visit, *entry);
    return std::string(entry->value());
  }
  ReaderLanes lanes;
  L1Cache cache;
};

constexpr Eviction kAll[] = {Eviction::kTinyLfu, Eviction::kLru, Eviction::kS3Fifo, Eviction::kSieve};

TEST(L1Cache, StaysWithinItsBytesAndUsesThem) {
  for (const Eviction eviction : kAll) {
    for (const std::size_t bytes : {std::size_t{100'000}, std::size_t{1} << 20, std::size_t{10} << 20}) {
      L1 l1({.capacity_bytes = bytes, .eviction = eviction});
      EXPECT_LE(l1.cache.capacity_bytes(), bytes);
      EXPECT_GT(l1.cache.capacity_bytes(), bytes * 9 / 10);
      for (std::uint64_t i = 0; i < 60'000; ++i) l1.put(i, value_of(i, 1, 64));
      EXPECT_LE(l1.cache.pool_used_bytes(0), bytes);
      EXPECT_GT(l1.cache.entries(), bytes / 500) << static_cast<int>(eviction) << " " << bytes;
      std::uint64_t held = 0;
      for (std::uint64_t i = 0; i < 60'000; ++i) {
        const std::string value = l1.get(i);
        held += value != "-";
        ASSERT_TRUE(value == "-" || value == value_of(i, 1, 64)) << i;
      }
      EXPECT_EQ(held, l1.cache.entries());
      EXPECT_EQ(l1.cache.stats().puts - l1.cache.stats().evictions, held);
    }
  }
}

TEST(L1Cache, HoldsTheNewestOfEachKeyWhateverTheSizes) {
  for (const Eviction eviction : kAll) {
    L1 l1({.capacity_bytes = 512 << 10, .eviction = eviction});
    Rng rng(7);
    std::map<std::uint64_t, std::string> newest;
    for (std::uint64_t version = 1; version <= 30'000; ++version) {
      const std::uint64_t key = rng.below(3'000);
      const std::string value = value_of(key, version, rng.one_in(10) ? rng.below(20'000) : rng.below(300));
      // Refused when the room that is free is in pieces: then the older value is still there.
      if (l1.put(key, value, version)) newest[key] = value;
      const std::uint64_t other = rng.below(3'000);
      const std::string found = l1.get(other);
      ASSERT_TRUE(found == "-" || found == newest[other]) << other;
    }
    EXPECT_GT(l1.cache.entries(), 50u);
    EXPECT_LT(l1.cache.stats().refused, 1'800u) << "6 % of the puts, when one in ten is a hundred times as long";
  }
}

TEST(L1Cache, RefusesWhatCannotFit) {
  L1 l1({.capacity_bytes = 1 << 20});
  const std::size_t most = l1.cache.value_bytes_max(key_of(1).size());
  EXPECT_TRUE(l1.put(1, std::string(most, 'x')));
  EXPECT_EQ(l1.get(1).size(), most);
  EXPECT_FALSE(l1.put(2, std::string(most + 1, 'x')));
  EXPECT_EQ(l1.cache.stats().refused, 1u);
  EXPECT_FALSE(l1.cache.put("", 0, "x", {}));
  EXPECT_FALSE(l1.put(3, "x", 1, 7)) << "no such pool";
  L1 off({.capacity_bytes = 0});
  EXPECT_FALSE(off.put(1, "x"));
  EXPECT_EQ(off.get(1), "-");
}

TEST(L1Cache, APoolWithABudgetNeitherEvictsNorIsEvicted) {
  L1 l1({.capacity_bytes = 2 << 20, .pool_bytes = {256 << 10}});
  for (std::uint64_t key = 0; key < 500; ++key) ASSERT_TRUE(l1.put(key, value_of(key, 1, 100), 1, 1));
  for (std::uint64_t key = 1'000; key < 40'000; ++key) l1.put(key, value_of(key, 1, 100));  // a flood elsewhere
  for (std::uint64_t key = 0; key < 500; ++key) ASSERT_EQ(l1.get(key), value_of(key, 1, 100)) << key;
  const std::size_t others = l1.cache.pool_used_bytes(0);
  for (std::uint64_t key = 50'000; key < 60'000; ++key) l1.put(key, value_of(key, 1, 100), 1, 1);
  EXPECT_LE(l1.cache.pool_used_bytes(1), 256u << 10);
  EXPECT_GE(l1.cache.pool_used_bytes(0), others - others / 200);
  ASSERT_TRUE(l1.put(0, "moved", 2, 0)) << "its namespace lost its budget";
  EXPECT_EQ(l1.get(0), "moved");
}

TEST(L1Cache, WhatAHoldNamesStaysAfterEvictionAndLeavesWithIt) {
  L1 l1({.capacity_bytes = 256 << 10, .eviction = Eviction::kLru});
  ASSERT_TRUE(l1.put(1, value_of(1, 1, 2'048)));
  ReaderLanes::Hold* hold = nullptr;
  std::string_view bytes;
  {
    ReaderLanes::Visit visit(l1.lanes);
    const L1Entry* entry = l1.cache.find(key_of(1), hash64(key_of(1)));
    ASSERT_NE(entry, nullptr);
    hold = visit.hold(entry);
    bytes = entry->value();
  }
  ASSERT_NE(hold, nullptr);
  for (std::uint64_t key = 2; key < 5'000; ++key) ASSERT_TRUE(l1.put(key, value_of(key, 2, 2'048)));
  EXPECT_EQ(l1.get(1), "-") << "evicted long ago";
  EXPECT_EQ(bytes, value_of(1, 1, 2'048));
  hold->store(nullptr);
  std::size_t changed = 0;
  for (std::uint64_t key = 5'000; key < 10'000 && changed == 0; ++key) {
    ASSERT_TRUE(l1.put(key, value_of(key, 9, 2'048)));
    changed = bytes != value_of(1, 1, 2'048);
  }
  EXPECT_EQ(changed, 1u) << "its cells are used again";
}

TEST(L1Cache, AVisitThatDoesNotEndKeepsWhatItMaySee) {
  L1 l1({.capacity_bytes = 256 << 10, .eviction = Eviction::kLru});
  ASSERT_TRUE(l1.put(1, value_of(1, 1, 2'048)));
  std::uint64_t refused = 0;
  {
    ReaderLanes::Visit visit(l1.lanes);
    const L1Entry* entry = l1.cache.find(key_of(1), hash64(key_of(1)));
    ASSERT_NE(entry, nullptr);
    std::thread([&] {
      for (std::uint64_t key = 2; key < 2'000; ++key) refused += !l1.put(key, value_of(key, 2, 2'048));
    }).join();
    EXPECT_EQ(entry->value(), value_of(1, 1, 2'048));
  }
  EXPECT_GT(refused, 0u) << "the bytes are bounded: there was no room without what the visit may see";
  EXPECT_TRUE(l1.put(3'000, value_of(3'000, 2, 2'048))) << "and now there is";
}

// What readers used is known to the policy though they write to nothing shared.
TEST(L1Cache, NotesOfReadersKeepWhatTheyUse) {
  L1 l1({.capacity_bytes = 256 << 10, .eviction = Eviction::kLru});
  ASSERT_TRUE(l1.put(1, "used"));
  for (std::uint64_t key = 2; key < 20'000; ++key) {
    ASSERT_EQ(l1.get(1), "used") << key;
    ASSERT_TRUE(l1.put(key, value_of(key, 1, 64)));
  }
  EXPECT_EQ(l1.get(2), "-");
}

// Readers copy, compare and hold while writers replace and evict: no value is torn, none is of another key, and what
// is held stays. Counted reads, not time; and each reader goes on until it has found and held, for on a slow machine
// the writers may not have begun when the reads are done.
TEST(L1Cache, ReadersSeeWholeValuesBesideWriters) {
  for (const Eviction eviction : kAll) {
    L1 l1({.capacity_bytes = 96 << 10, .eviction = eviction});
    constexpr std::uint64_t kKeys = 300;
    constexpr int kReads = 30'000;
    std::atomic<int> reading{3};
    std::atomic<std::uint64_t> torn{0}, found{0}, held{0};
    std::vector<std::thread> readers;
    for (std::uint64_t t = 0; t < 3; ++t) {
      readers.emplace_back([&, t] {
        Rng rng(t + 1);
        ReaderLanes::Hold* hold = nullptr;
        std::string_view bytes;
        std::string expected;
        bool has_held = false;
        for (int i = 0; i < kReads || !has_held; ++i) {
          const std::uint64_t key = rng.below(kKeys);
          const std::string name = key_of(key);
          ReaderLanes::Visit visit(l1.lanes);
          if (const L1Entry* entry = l1.cache.find(name, hash64(name)); entry != nullptr) {
            EntryMeta meta;
            entry->load_meta(meta);
            const std::string right = value_of(key, meta.version.value, entry->value().size());
            torn.fetch_add(entry->value() != right || entry->key() != name, std::memory_order_relaxed);
            found.fetch_add(1, std::memory_order_relaxed);
            l1.cache.used(visit, *entry);
            if (hold == nullptr && entry->value().size() > 100) {
              hold = visit.hold(entry);
              bytes = entry->value();
              expected = right;
            }
          }
          if (hold != nullptr && rng.one_in(20)) {
            torn.fetch_add(bytes != expected, std::memory_order_relaxed);
            held.fetch_add(1, std::memory_order_relaxed);
            has_held = true;
            hold->store(nullptr, std::memory_order_release);
            hold = nullptr;
          }
        }
        if (hold != nullptr) hold->store(nullptr, std::memory_order_release);
        reading.fetch_sub(1);
      });
    }
    std::thread second([&] {
      Rng rng(98);
      for (std::uint64_t version = 1; reading.load() > 0; version += 2) {
        const std::uint64_t key = rng.below(kKeys);
        l1.put(key, value_of(key, version, rng.below(1'500)), version);
        if (version % 64 == 1) std::this_thread::yield();
      }
    });
    Rng rng(99);
    for (std::uint64_t version = 2; reading.load() > 0; version += 2) {
      const std::uint64_t key = rng.below(kKeys);
      l1.put(key, value_of(key, version, rng.below(1'500)), version);
      if (version % 64 == 0) std::this_thread::yield();
    }
    second.join();
    for (std::thread& reader : readers) reader.join();
    EXPECT_EQ(torn.load(), 0u);
    EXPECT_GT(found.load(), 0u);
    EXPECT_GT(held.load(), 0u);
  }
}

TEST(ReaderLanes, ThreadsBeyondTheLanesShareTheLast) {
  ReaderLanes lanes;
  std::atomic<int> inside{0}, owners{0};
  std::atomic<bool> leave{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 80; ++i) {
    threads.emplace_back([&] {
      ReaderLanes::Visit visit(lanes);
      owners.fetch_add(visit.own());
      EXPECT_EQ(visit.hold(&lanes) != nullptr, visit.own());
      inside.fetch_add(1);
      inside.notify_one();
      leave.wait(false);
    });
  }
  for (int now = inside.load(); now < 80; now = inside.load()) inside.wait(now);
  ReaderLanes::Grace grace(lanes);
  EXPECT_FALSE(grace.passed(lanes));
  EXPECT_LE(owners.load(), 63);
  leave.store(true);
  leave.notify_all();
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(grace.passed(lanes));
}

// A writer that has no lane of its own is inside the shared one itself: that alone must not hold up what it retired.
TEST(ReaderLanes, AGraceOfTheSharedLaneDoesNotWaitForItsCaller) {
  ReaderLanes lanes;
  std::vector<std::thread> owners;  // of all the others, until the end
  std::atomic<int> inside{0};
  std::atomic<bool> leave{false};
  for (int i = 0; i < 63; ++i) {
    owners.emplace_back([&] {
      {
        const ReaderLanes::Visit visit(lanes);
      }
      inside.fetch_add(1);
      inside.notify_one();
      leave.wait(false);
    });
  }
  for (int now = inside.load(); now < 63; now = inside.load()) inside.wait(now);
  std::thread([&] {
    const ReaderLanes::Visit own(lanes);
    if (own.own()) return;  // a lane was left: by a thread of an earlier test that ended
    ReaderLanes::Grace grace(lanes);
    EXPECT_TRUE(grace.passed(lanes, own.number()));
    const ReaderLanes::Visit another(lanes);
    EXPECT_FALSE(ReaderLanes::Grace(lanes).passed(lanes, own.number())) << "somebody else is inside";
  }).join();
  leave.store(true);
  leave.notify_all();
  for (std::thread& thread : owners) thread.join();
}

TEST(ReaderLanes, AGracePassesWhenAReaderCameBack) {
  ReaderLanes lanes;
  auto first = std::make_unique<ReaderLanes::Visit>(lanes);
  ReaderLanes::Grace grace(lanes);
  EXPECT_FALSE(grace.passed(lanes));
  EXPECT_TRUE(ReaderLanes::Grace(lanes).passed(lanes, first->number())) << "the caller's own visit";
  first.reset();
  const ReaderLanes::Visit later(lanes);
  EXPECT_TRUE(grace.passed(lanes)) << "the later visit saw that the pointer was gone";
}

}  // namespace
}  // namespace tidelock
