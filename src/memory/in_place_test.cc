// Values are looked at where they lie: what a reader makes of them counts only when they were left alone to its end.
#include "memory/in_place.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "base/rng.h"
#include "memory/local_reader_fixture.h"
#include "memory/ring_store.h"

namespace tidelock {
namespace {

struct Block {
  explicit Block(std::size_t bytes) : shape(RingShape::within(bytes)), words(shape.size_bytes() / 8 + 8) {
    const auto at = reinterpret_cast<std::uintptr_t>(words.data());
    data = reinterpret_cast<char*>((at + 63) / 64 * 64);
  }
  bool holds(std::string_view bytes) const {
    return bytes.data() >= data && bytes.data() + bytes.size() <= data + shape.size_bytes();
  }
  RingShape shape;
  std::vector<std::uint64_t> words;
  char* data = nullptr;
};

std::string key_of(std::uint64_t n) { return "key:" + std::to_string(n); }
std::string value_of(std::uint64_t key, std::uint64_t version, std::size_t bytes) {
  std::string value(bytes, '\0');
  Rng rng(key * 1'000'003 + version);
  for (char& c : value) c = static_cast<char>(rng.next());
  return value;
}
bool put(RingWriter& ring, std::string_view key, std::string_view value, EntryMeta meta = {}) {
  return ring.put(key, hash64(key), value, meta);
}
// Until nothing is left of what was there.
void flood(RingWriter& ring) {
  for (std::uint64_t i = 0; i < 2 * ring.capacity_bytes() / 1'000; ++i)
    ASSERT_TRUE(put(ring, "flood:" + std::to_string(i), std::string(1'000, 'f')));
}

TEST(RingInPlace, TheBytesAreThoseOfTheRecord) {
  Block block(64 << 10);
  RingWriter ring(block.data, block.shape);
  EntryMeta meta;
  meta.version = Index{5};
  meta.expires_at = 77;
  ASSERT_TRUE(put(ring, "a", value_of(1, 1, 2'048), meta));
  meta.negative = true;
  ASSERT_TRUE(put(ring, "none", "", meta));
  int runs = 0;
  const auto look = [&](std::string_view bytes) {
    ++runs;
    EXPECT_TRUE(block.holds(bytes)) << "no copy";
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % 8, 0u);
    EXPECT_EQ(bytes, value_of(1, 1, 2'048));
  };
  EntryMeta got;
  EXPECT_EQ(ring.view().read_in_place("a", hash64("a"), got, look), Lookup::kFound);
  EXPECT_EQ(got.version, Index{5});
  EXPECT_EQ(got.expires_at, 77);
  EXPECT_EQ(ring.view().read_in_place("b", hash64("b"), got, look), Lookup::kAbsent);
  EXPECT_EQ(ring.view().read_in_place("none", hash64("none"), got, look), Lookup::kFound);
  EXPECT_TRUE(got.negative);
  EXPECT_EQ(runs, 1) << "what is absent has no bytes";
}

TEST(RingInPlace, WhatIsWrittenOverItMeanwhileIsNoticed) {
  struct Case {
    const char* why;
    std::function<void(RingWriter&, int run)> meanwhile;
    Lookup expected;
    int runs;
    std::uint64_t version;  // that the last run saw
  };
  const auto put_version = [](RingWriter& ring, std::uint64_t version) {
    EntryMeta meta;
    meta.version = Index{version};
    ASSERT_TRUE(put(ring, "a", value_of(1, version, 500), meta));
  };
  const Case cases[] = {
      {"nothing happens", [](RingWriter&, int) {}, Lookup::kFound, 1, 1},
      {"a new value: the former record is as it was", [&](RingWriter& ring, int) { put_version(ring, 2); },
       Lookup::kFound, 1, 1},
      {"it is erased, and not written over", [](RingWriter& ring, int) { ring.erase("a", hash64("a")); },
       Lookup::kFound, 1, 1},
      {"written over once, and put anew",
       [&](RingWriter& ring, int run) {
         if (run > 1) return;
         flood(ring);
         put_version(ring, 2);
       },
       Lookup::kFound, 2, 2},
      {"written over, and gone", [](RingWriter& ring, int) { flood(ring); }, Lookup::kAbsent, 1, 0},
      {"written over in each run",
       [&](RingWriter& ring, int run) {
         flood(ring);
         put_version(ring, 1 + static_cast<std::uint64_t>(run));
       },
       Lookup::kBusy, kInPlaceTries, 0},
  };
  for (const Case& c : cases) {
    Block block(64 << 10);
    RingWriter ring(block.data, block.shape);
    put_version(ring, 1);
    int runs = 0;
    bool whole = false;
    EntryMeta meta;
    const Lookup found = ring.view().read_in_place("a", hash64("a"), meta, [&](std::string_view bytes) {
      c.meanwhile(ring, ++runs);
      whole = bytes == value_of(1, c.version, 500);  // looked at behind the change
    });
    EXPECT_EQ(static_cast<int>(found), static_cast<int>(c.expected)) << c.why;
    EXPECT_EQ(runs, c.runs) << c.why;
    if (found != Lookup::kFound) continue;
    EXPECT_TRUE(whole) << c.why;
    EXPECT_EQ(meta.version, Index{c.version}) << c.why;
  }
}

TEST(RingInPlace, MemoryThatHoldsAnythingLeadsNobodyOutOfIt) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Block block(64 << 10);
    RingWriter ring(block.data, block.shape);
    for (std::uint64_t i = 0; i < 200; ++i) ASSERT_TRUE(put(ring, key_of(i), value_of(i, 1, i)));
    Rng rng(seed);
    auto* words = reinterpret_cast<std::uint64_t*>(block.data);
    const std::uint64_t count = block.shape.size_bytes() / 8;
    for (int i = 0; i < 2'000; ++i) {
      std::uint64_t& word = words[rng.below(count)];
      word = rng.one_in(2) ? rng.next() : word ^ (1ull << rng.below(64));
    }
    if (seed % 2 == 0) words[0] = 0;  // the tail: let positions pass
    EntryMeta meta;
    for (std::uint64_t i = 0; i < 400; ++i) {
      const std::string key = key_of(i);
      (void)ring.view().read_in_place(key, hash64(key), meta, [&](std::string_view bytes) {
        ASSERT_TRUE(block.holds(bytes)) << "seed " << seed;
        ASSERT_LE(bytes.size(), kValueBytesMax) << "seed " << seed;
      });
    }
  }
}

TEST(RingInPlace, NobodySeesATornValueBesideAWriterAtFullSpeed) {
  Block block(64 << 10);
  RingWriter ring(block.data, block.shape);
  constexpr std::uint64_t kKeys = 64;
  constexpr std::uint64_t kReads = 30'000;
  std::atomic<int> reading{2};
  std::atomic<std::uint64_t> found{0}, torn{0};
  for (std::uint64_t key = 0; key < kKeys; ++key) ASSERT_TRUE(put(ring, key_of(key), value_of(key, 0, 100)));
  std::vector<std::thread> readers;
  for (std::uint64_t r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      Rng rng(r + 1);
      std::uint64_t seen = 0;
      std::string copy;
      for (std::uint64_t i = 0; i < kReads || seen == 0; ++i) {
        const std::uint64_t key = rng.below(kKeys);
        EntryMeta meta;
        const std::string name = key_of(key);
        if (ring.view().read_in_place(name, hash64(name), meta, [&](std::string_view bytes) {
              copy.resize(bytes.size());  // byte after byte, by loads that a race detector knows
              for (std::size_t b = 0; b < bytes.size(); ++b)
                copy[b] = __atomic_load_n(bytes.data() + b, __ATOMIC_RELAXED);
            }) != Lookup::kFound)
          continue;
        ++seen;
        if (copy != value_of(key, meta.version.value, copy.size())) torn.fetch_add(1, std::memory_order_relaxed);
      }
      found.fetch_add(seen);
      reading.fetch_sub(1);
    });
  }
  Rng rng(99);
  for (std::uint64_t version = 1; reading.load() > 0; ++version) {
    const std::uint64_t key = rng.below(kKeys);
    EntryMeta meta;
    meta.version = Index{version};
    ASSERT_TRUE(put(ring, key_of(key), value_of(key, version, rng.below(2'000)), meta));
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(torn.load(), 0u);
  EXPECT_GT(found.load(), 0u);
}

// ---------------------------------------------------------------------------------------------- under the page's
// proofs

struct InPlaceTest : LocalReaderTest {
  void flood(Edge& edge) const {
    for (int i = 0; i < 2'000; ++i) edge.write("flood:" + std::to_string(i), std::string(1'000, 'f'), 1);
  }
};

TEST_F(InPlaceTest, ReadsTheArenaAndFillsNoCache) {
  Edge edge(base, 1);
  edge.prove();
  const std::string large(20'000, 'x');
  edge.write("model:a", large, 10);
  LocalReader reader(options);
  std::string seen;
  int runs = 0;
  const auto look = [&](std::string_view bytes) {
    ++runs;
    seen = bytes;
  };
  for (int i = 1; i <= 3; ++i) {
    const ReadOutcome outcome = reader.read_in_place("model:a", {}, look);
    EXPECT_EQ(outcome.must_ask, MustAsk::kNo) << must_ask_name(outcome.must_ask);
    EXPECT_TRUE(outcome.found);
    EXPECT_EQ(outcome.receipt.source, Source::kArena);
    EXPECT_EQ(outcome.receipt.basis, Basis::kLease);
    EXPECT_EQ(outcome.receipt.version, Index{10});
    EXPECT_EQ(outcome.value_bytes, large.size());
    EXPECT_EQ(seen, large);
    EXPECT_EQ(runs, i) << "once for each read, also when F5 has it look twice at the proofs";
  }
  EXPECT_EQ(reader.counters().l1_entries, 0u);
  EXPECT_EQ(reader.counters().hits_arena, 3u);
  ASSERT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kNo);  // this one does
  EXPECT_EQ(reader.read_in_place("model:a", {}, look).receipt.source, Source::kL1);
  edge.write("model:a", "new", 11);
  EXPECT_EQ(reader.read_in_place("model:a", {}, look).receipt.source, Source::kArena);
  EXPECT_EQ(seen, "new") << "not what L1 holds of an older slot version (F5)";
  EXPECT_EQ(reader.read_in_place("model:none", {}, look).must_ask, MustAsk::kMiss);
  EXPECT_EQ(reader.read_in_place("", {}, look).must_ask, MustAsk::kInvalidKey);
  EXPECT_EQ(runs, 5);
}

TEST_F(InPlaceTest, IsJudgedOnlyByBytesThatWereLeftAlone) {  // F5
  Edge edge(base, 1);
  edge.prove();
  LocalReader reader(options);
  for (const int disturbed : {0, 1, kInPlaceTries - 1, kInPlaceTries}) {
    edge.write("model:a", "0", 20);
    int runs = 0;
    std::string seen;
    const ReadOutcome outcome = reader.read_in_place("model:a", {}, [&](std::string_view bytes) {
      if (runs++ < disturbed) {
        flood(edge);
        edge.write("model:a", std::to_string(runs), 20 + static_cast<std::uint64_t>(runs));
      }
      seen = bytes;
    });
    if (disturbed == kInPlaceTries) {
      EXPECT_EQ(outcome.must_ask, MustAsk::kBusy);
      EXPECT_FALSE(outcome.found);
      EXPECT_EQ(runs, kInPlaceTries);
      continue;
    }
    EXPECT_EQ(outcome.must_ask, MustAsk::kNo) << disturbed;
    EXPECT_EQ(seen, std::to_string(disturbed));
    EXPECT_EQ(outcome.receipt.version, Index{20 + static_cast<std::uint64_t>(disturbed)});
    EXPECT_EQ(runs, disturbed + 1);
  }
}

TEST_F(InPlaceTest, ItsTimeCountsAndTheContractIsJudgedBehindIt) {  // F6, F3
  Edge edge(base, 1);
  const Nanos made_at = edge.clock.now();
  edge.prove();
  edge.write("feature:a", "old", 1);
  edge.write("model:a", "strong", 2);
  LocalReader reader(options);
  const auto until = [&](Nanos at) {
    return [&edge, at](std::string_view) {
      while (edge.clock.now() < at) {
      }
    };
  };
  Contract contract;
  contract.bound_ns = kSecond / 2;  // the floor
  const auto too_long = until(made_at + kSecond);
  ReadOutcome outcome = reader.read_in_place("feature:a", contract, too_long);
  EXPECT_EQ(outcome.must_ask, MustAsk::kTooOld);
  EXPECT_TRUE(outcome.found) << "to fall back on, and what was made of it stands";
  EXPECT_GT(outcome.receipt.bound_ns, kSecond / 2);

  int runs = 0;
  const auto a_while = [&](std::string_view bytes) {
    ++runs;
    until(edge.clock.now() + 3 * kPastMost)(bytes);
  };
  outcome = reader.read_in_place("model:a", {}, a_while);
  EXPECT_EQ(outcome.must_ask, MustAsk::kNo);
  EXPECT_EQ(runs, 1) << "the same record was found behind a second look at the blocks: it was seen already";
  EXPECT_GT(outcome.receipt.bound_ns, 0) << "counted from that look";
}

TEST_F(InPlaceTest, TheMappingStaysWhileTheEdgeIsReplaced) {  // F11
  auto former = std::make_unique<Edge>(base, 1);
  former->prove();
  former->write("feature:a", std::string(2'048, 'o'), 1);
  LocalReader reader(options);
  std::unique_ptr<Edge> next;
  const ReadOutcome outcome = reader.read_in_place("feature:a", {}, [&](std::string_view bytes) {
    former.reset();
    next = std::make_unique<Edge>(base, 2);
    next->prove();
    next->write("feature:a", "new", 2);
    EXPECT_TRUE(reader.maintain()) << "the new page is mapped; the former one waits for this reader";
    (void)reader.maintain();
    EXPECT_EQ(bytes, std::string(2'048, 'o'));
    EXPECT_EQ(reader.read("feature:a", {}, value).receipt.version, Index{2}) << "a read inside of a read";
    EXPECT_EQ(bytes, std::string(2'048, 'o'));
  });
  EXPECT_EQ(outcome.must_ask, MustAsk::kNo) << "as a read that began before the restart and was held up";
  EXPECT_EQ(outcome.receipt.version, Index{1});
  std::string seen;
  EXPECT_EQ(reader.read_in_place("feature:a", {}, [&](std::string_view bytes) { seen = bytes; }).must_ask,
            MustAsk::kNo);
  EXPECT_EQ(seen, "new");
}

TEST_F(InPlaceTest, AReadInsideOfAReadLeavesWhatTheOuterOneLooksAt) {
  Edge edge(base, 1);
  edge.prove();
  options.l1.capacity_bytes = 64 << 10;
  LocalReader reader(options);
  edge.write("model:a", std::string(1'000, 'a'), 1);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kNo);
  for (int i = 0; i < 200; ++i) edge.write("model:" + std::to_string(i), std::string(1'000, 'b'), 2);
  ASSERT_EQ(reader.read("model:a", {}, value).receipt.source, Source::kL1);
  const std::uint64_t before = reader.counters().reads;
  const ReadOutcome outcome = reader.read_in_place("model:a", {}, [&](std::string_view bytes) {
    for (int i = 0; i < 200; ++i)
      ASSERT_EQ(reader.read("model:" + std::to_string(i), {}, value).must_ask, MustAsk::kNo);
    EXPECT_EQ(bytes, std::string(1'000, 'a')) << "its room in L1 was not given away";
  });
  EXPECT_EQ(outcome.receipt.source, Source::kL1);
  EXPECT_EQ(reader.counters().reads - before, 201u);
  EXPECT_EQ(reader.counters().l1_entries, 1u) << "the inner ones put nothing there";
  try {
    (void)reader.read_in_place("model:a", {}, [](std::string_view) { throw std::runtime_error("mine"); });
    FAIL() << "what a visitor throws passes through";
  } catch (const std::runtime_error&) {
  }
  ASSERT_EQ(reader.read("model:1", {}, value).must_ask, MustAsk::kNo);
  EXPECT_EQ(reader.counters().l1_entries, 2u) << "and the visit is over all the same";
}

TEST_F(InPlaceTest, NothingIsLeftToFallBackOnWhenTheLastRunWasDisturbed) {
  Edge edge(base, 1);
  edge.prove();
  edge.write("feature:a", "held", 1);
  LocalReader reader(options);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(reader.read("feature:a", {}, value).must_ask, MustAsk::kNo);  // now in L1
  edge.prove(10 * kSecond);
  for (const bool disturbed : {false, true}) {
    int runs = 0;
    const ReadOutcome outcome = reader.read_in_place("feature:a", {}, [&](std::string_view) {
      if (++runs < 2 || !disturbed) return;  // L1 first, then the arena
      flood(edge);
    });
    EXPECT_EQ(runs, 2);
    EXPECT_EQ(outcome.must_ask, MustAsk::kTooOld);
    EXPECT_EQ(outcome.found, !disturbed);
  }
}

}  // namespace
}  // namespace tidelock
