// The ring against a plain map, beside concurrent readers, and over memory that holds anything.
#include "memory/ring_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "base/rng.h"

namespace tidelock {
namespace {

struct Block {  // exactly as long as the ring, so that a sanitizer sees any step beside it
  explicit Block(std::size_t bytes) : shape(RingShape::within(bytes)) {
    size = shape.size_bytes();
    data = static_cast<char*>(std::aligned_alloc(64, (size + 63) & ~std::size_t{63}));
    std::memset(data, 0, (size + 63) & ~std::size_t{63});
  }
  ~Block() { std::free(data); }
  RingShape shape;
  std::size_t size = 0;
  char* data = nullptr;
};

std::string key_of(std::uint64_t n) { return "key:" + std::to_string(n); }
// Tells from its bytes whether it is whole, and of which key and version.
std::string value_of(std::uint64_t key, std::uint64_t version, std::size_t bytes) {
  std::string value(bytes, '\0');
  Rng rng(key * 1'000'003 + version);
  for (char& c : value) c = static_cast<char>(rng.next());
  return value;
}

bool put(RingWriter& ring, std::string_view key, std::string_view value, EntryMeta meta = {}) {
  return ring.put(key, hash64(key), value, meta);
}
Lookup get(const RingView& view, std::string_view key, std::string& value, EntryMeta& meta) {
  return view.get(key, hash64(key), value, meta);
}

TEST(RingStore, KeepsWhatWasPut) {
  Block block(64 << 10);
  RingWriter ring(block.data, block.shape);
  EntryMeta meta;
  meta.version = Index{7};
  meta.epoch = 3;
  meta.proven_at = -5;
  meta.expires_at = 99;
  meta.stamp = {1, 2, 3};
  meta.local = true;
  std::string value;
  EntryMeta got;
  EXPECT_EQ(get(ring.view(), "a", value, got), Lookup::kAbsent);
  for (const std::size_t bytes : {0, 1, 7, 8, 9, 64, 1000}) {
    const std::string sent = value_of(1, bytes, bytes);
    ASSERT_TRUE(put(ring, "a", sent, meta));
    ASSERT_EQ(get(ring.view(), "a", value, got), Lookup::kFound);
    EXPECT_EQ(value, sent);
    EXPECT_EQ(got, meta);
    EXPECT_EQ(ring.find("a", hash64("a"))->value, sent);
  }
  EXPECT_EQ(ring.entries(), 1u);
  for (unsigned which = 0; which < 128; ++which) {  // each with and without each of the others
    EntryMeta some;
    if (which & 1) some.version = Index{~0ull};
    if (which & 2) some.epoch = 0xFFFF'FFFF;
    if (which & 4) some.proven_at = -5;
    if (which & 8) some.expires_at = 99;
    if (which & 16) some.stamp = {~0ull, 2, 3};
    some.local = (which & 32) != 0;
    some.negative = (which & 64) != 0;
    const std::string sent = some.negative ? "" : "value";
    ASSERT_TRUE(put(ring, "a", sent, some));
    ASSERT_EQ(get(ring.view(), "a", value, got), Lookup::kFound);
    EXPECT_EQ(value, sent);
    EXPECT_EQ(got, some) << which;
  }
  meta.epoch = 1ull << 32;
  ASSERT_TRUE(put(ring, "a", "x", meta));
  EXPECT_EQ(ring.peek("a", hash64("a"))->meta.epoch, 0u) << "an epoch that does not fit is no epoch: unverified";
  EXPECT_TRUE(ring.erase("a", hash64("a")));
  EXPECT_FALSE(ring.erase("a", hash64("a")));
  EXPECT_EQ(get(ring.view(), "a", value, got), Lookup::kAbsent);
  EXPECT_EQ(ring.live_bytes(), 0u);
}

TEST(RingStore, RefusesWhatIsTooLarge) {
  Block block(64 << 10);
  RingWriter ring(block.data, block.shape);
  ASSERT_TRUE(put(ring, "a", "old"));
  EXPECT_FALSE(put(ring, "a", std::string(block.shape.record_words_max() * 8, 'x')));
  std::string value;
  EntryMeta meta;
  EXPECT_EQ(get(ring.view(), "a", value, meta), Lookup::kAbsent) << "an old value must not outlive a newer one";
  EXPECT_FALSE(put(ring, "", "x"));
  EXPECT_FALSE(put(ring, std::string(kKeyBytesMax + 1, 'k'), "x"));
}

TEST(RingStore, AgreesWithAMapUntilItMustEvict) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    Block block(256 << 10);
    RingWriter ring(block.data, block.shape);
    std::map<std::string, std::string> twin;
    ring.on_evict([&](const EntryView& entry) {
      const auto it = twin.find(std::string(entry.key));
      ASSERT_NE(it, twin.end());
      ASSERT_EQ(it->second, entry.value);
      twin.erase(it);
    });
    const std::uint64_t keys = 50 + rng.below(2'000);
    for (std::uint64_t i = 0; i < 20'000; ++i) {
      const std::string key = key_of(rng.below(keys));
      std::string value;
      EntryMeta meta;
      switch (rng.below(4)) {
        case 0:
        case 1: {
          const std::string sent = value_of(i, seed, rng.below(rng.one_in(20) ? 4'000 : 200));
          // What is replaced is not evicted, but room is made first: the older value may go that way.
          ASSERT_TRUE(put(ring, key, sent));
          twin[key] = sent;
          break;
        }
        case 2: ASSERT_EQ(ring.erase(key, hash64(key)), twin.erase(key) == 1); break;
        default: {
          const Lookup found = get(ring.view(), key, value, meta);
          ASSERT_EQ(found == Lookup::kFound, twin.contains(key)) << key << " seed " << seed;
          if (found == Lookup::kFound) {
            ASSERT_EQ(value, twin[key]);
            ring.find(key, hash64(key));
          }
        }
      }
      ASSERT_EQ(ring.entries(), twin.size());
    }
    std::size_t visited = 0;
    ring.for_each([&](const EntryView& entry) {
      ++visited;
      ASSERT_EQ(twin.at(std::string(entry.key)), entry.value);
    });
    EXPECT_EQ(visited, twin.size());
    EXPECT_LE(ring.live_bytes(), ring.capacity_bytes());
    ring.clear();
    twin.clear();
    EXPECT_EQ(ring.entries(), 0u);
  }
}

// Beside a twin that looks at everything: what has expired is gone, whatever was written over, moved or evicted before,
// and nothing else is.
TEST(RingStore, WhatHasExpiredLeaves) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Rng rng(seed);
    Block block((64u << 10) << rng.below(4));
    RingWriter ring(block.data, block.shape);
    std::map<std::string, Nanos> twin;  // key -> when it expires
    ring.on_evict([&](const EntryView& entry) { twin.erase(std::string(entry.key)); });
    const std::uint64_t keys = 20 + rng.below(1'500);
    const std::uint64_t longest = 1 + rng.below(3'000);
    for (Nanos now = 1; now < 8'000; ++now) {
      const std::string key = key_of(rng.below(keys));
      EntryMeta meta;
      if (!rng.one_in(4)) meta.expires_at = now + static_cast<Nanos>(rng.below(longest));
      if (rng.one_in(2)) meta.version = Index{1};
      ASSERT_TRUE(put(ring, key, std::string(rng.below(rng.one_in(20) ? 3'000 : 200), 'v'), meta));
      twin[key] = meta.expires_at;
      if (rng.one_in(9)) {
        const std::string gone = key_of(rng.below(keys));
        ASSERT_EQ(ring.erase(gone, hash64(gone)), twin.erase(gone) == 1);
      }
      if (!rng.one_in(5)) continue;
      while (ring.next_expiry() <= now) ASSERT_GT(ring.expire(now, 3), 0u);
      std::erase_if(twin, [&](const auto& one) { return one.second <= now; });
      ASSERT_EQ(ring.entries(), twin.size()) << "seed " << seed << " at " << now;
    }
    std::size_t bytes = 0;
    ring.for_each([&](const EntryView& entry) {
      ASSERT_EQ(twin.at(std::string(entry.key)), entry.meta.expires_at);
      bytes += ring.bytes_of(entry.key, hash64(entry.key));
    });
    EXPECT_EQ(ring.live_bytes(), bytes);
    while (ring.next_expiry() < kForever) ring.expire(ring.next_expiry(), 1);
    std::erase_if(twin, [](const auto& one) { return one.second != kForever; });
    EXPECT_EQ(ring.entries(), twin.size());
  }
}

TEST(RingStore, BytesOfWhatHasExpiredAreFreeForOthers) {
  Block block(1 << 20);
  RingWriter ring(block.data, block.shape);
  for (std::uint64_t round = 1; round <= 50; ++round) {  // each fills more than half of it
    EntryMeta meta;
    meta.expires_at = static_cast<Nanos>(round);
    for (std::uint64_t i = 0; i < 2'500; ++i)
      ASSERT_TRUE(put(ring, key_of(i + round * 10'000), value_of(i, 0, 200), meta));
    ASSERT_EQ(ring.entries(), 2'500u);
    ring.expire(static_cast<Nanos>(round), 1'000'000);
    ASSERT_EQ(ring.entries(), 0u);
    ASSERT_EQ(ring.live_bytes(), 0u);
  }
  EXPECT_EQ(ring.evictions(), 0u);
}

TEST(RingStore, KnowsTheKeysOfASlot) {
  Block block(256 << 10);
  RingWriter ring(block.data, block.shape);
  std::map<std::uint16_t, std::size_t> in_slot;
  for (std::uint64_t i = 0; i < 1'000; ++i) {
    ASSERT_TRUE(put(ring, key_of(i), "v"));
    ++in_slot[slot_of(key_of(i))];
  }
  for (const auto& [slot, count] : in_slot) {
    std::size_t seen = 0;
    ring.each_of_slot(slot, [&, one = slot](std::string_view key) { seen += slot_of(key) == one; });
    EXPECT_EQ(seen, count);
  }
}

TEST(RingStore, OverwritesOfOneKeyDoNotPushOutTheOthers) {
  Block block(1 << 20);
  RingWriter ring(block.data, block.shape);
  for (std::uint64_t i = 0; i < 1'000; ++i) ASSERT_TRUE(put(ring, key_of(i), value_of(i, 0, 200)));
  for (std::uint64_t i = 0; i < 100'000; ++i) ASSERT_TRUE(put(ring, "hot", value_of(i, 1, 100)));
  EXPECT_EQ(ring.evictions(), 0u) << "30 % of the room is live: the rest is collected, not evicted";
  EXPECT_EQ(ring.entries(), 1'001u);
}

TEST(RingStore, KeepsWhatIsUsed) {
  Block block(256 << 10);
  RingWriter ring(block.data, block.shape);
  int hits = 0;
  for (std::uint64_t i = 0; i < 40'000; ++i) {
    const std::string hot = key_of(i % 50);
    if (ring.find(hot, hash64(hot)))
      ++hits;
    else
      ASSERT_TRUE(put(ring, hot, value_of(1, 1, 100)));
    const std::string once = "once:" + std::to_string(i);
    ASSERT_TRUE(put(ring, once, value_of(2, 2, 100)));
  }
  EXPECT_GT(hits, 39'900) << "a scan does not push out what is read again and again";
  EXPECT_GT(ring.evictions(), 30'000u);
}

// The writer works at full speed through a ring so small that every read races with eviction; the bounded loops of the
// readers see whole values of the right key, or none.
TEST(RingStore, ReadersNeverSeeATornValue) {
  Block block(64 << 10);
  RingWriter ring(block.data, block.shape);
  constexpr std::uint64_t kKeys = 64;
  constexpr std::uint64_t kReads = 60'000;
  std::atomic<int> reading{2};
  std::atomic<std::uint64_t> found{0}, torn{0};
  for (std::uint64_t key = 0; key < kKeys; ++key) ASSERT_TRUE(put(ring, key_of(key), value_of(key, 0, 100)));
  std::vector<std::thread> readers;
  for (std::uint64_t r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      Rng rng(r + 1);
      std::string value;
      EntryMeta meta;
      std::uint64_t seen = 0;
      for (std::uint64_t i = 0; i < kReads || seen == 0; ++i) {
        const std::uint64_t key = rng.below(kKeys);
        if (get(ring.view(), key_of(key), value, meta) != Lookup::kFound) continue;
        ++seen;
        if (value != value_of(key, meta.version.value, value.size())) torn.fetch_add(1, std::memory_order_relaxed);
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
    meta.expires_at = static_cast<Nanos>(version + rng.below(200));
    const std::size_t bytes = rng.below(2'000);
    ASSERT_TRUE(put(ring, key_of(key), value_of(key, version, bytes), meta));
    if (rng.one_in(8)) {
      const std::string gone = key_of(rng.below(kKeys));
      ring.erase(gone, hash64(gone));
    }
    if (rng.one_in(8)) ring.expire(static_cast<Nanos>(version), 4);
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(torn.load(), 0u);
  EXPECT_GT(found.load(), 0u);
}

TEST(RingStore, MemoryThatHoldsAnythingNeverCrashesAReader) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Block block(64 << 10);
    RingWriter ring(block.data, block.shape);
    for (std::uint64_t i = 0; i < 200; ++i) ASSERT_TRUE(put(ring, key_of(i), value_of(i, 1, i)));
    Rng rng(seed);
    auto* words = reinterpret_cast<std::uint64_t*>(block.data);
    const std::uint64_t count = block.size / 8;
    if (seed % 3 == 0) {  // all of it
      for (std::uint64_t i = 0; i < count; ++i) words[i] = rng.next();
    } else {  // some words, of which some only a little
      for (int i = 0; i < 2'000; ++i) {
        std::uint64_t& word = words[rng.below(count)];
        word = rng.one_in(2) ? rng.next() : word ^ (1ull << rng.below(64));
      }
    }
    if (seed % 2 == 0) words[0] = 0;  // the tail: let positions pass
    std::string value;
    EntryMeta meta;
    for (std::uint64_t i = 0; i < 400; ++i) {
      if (get(ring.view(), key_of(i), value, meta) == Lookup::kFound) {
        ASSERT_LE(value.size(), kValueBytesMax);
      }
    }
  }
}

TEST(RingStore, TheIndexGrowsWithTheEntries) {
  Block block(4 << 20);
  RingWriter ring(block.data, block.shape);
  const std::size_t at_first = ring.index_bytes();
  EXPECT_LE(at_first, 8u << 10);
  EntryMeta meta;
  std::string value;
  constexpr std::uint64_t kEntries = 20'000;
  for (std::uint64_t i = 0; i < kEntries; ++i) {
    ASSERT_TRUE(put(ring, key_of(i), value_of(i, 1, 32)));
    for (const std::uint64_t asked : {i, i / 2, i * 7 / 11, std::uint64_t{0}}) {
      ASSERT_EQ(get(ring.view(), key_of(asked), value, meta), Lookup::kFound) << asked << " of " << i;
      ASSERT_EQ(value, value_of(asked, 1, 32));
    }
  }
  EXPECT_EQ(ring.entries(), kEntries);
  EXPECT_EQ(ring.evictions(), 0u);
  EXPECT_GE(ring.index_bytes(), kEntries * 8) << "a word for each";
  EXPECT_LE(ring.index_bytes(), kEntries * 8 * 4 + (64u << 10)) << "not much more";
  std::size_t visited = 0;
  ring.for_each([&](const EntryView&) { ++visited; });
  EXPECT_EQ(visited, kEntries) << "none twice";
}

TEST(RingStore, AReaderMissesNothingWhileTheIndexGrows) {
  Block block(4 << 20);
  RingWriter ring(block.data, block.shape);
  constexpr std::uint64_t kThere = 200;
  for (std::uint64_t i = 0; i < kThere; ++i) ASSERT_TRUE(put(ring, key_of(i), value_of(i, 1, 16)));
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> missed{0}, wrong{0};
  std::thread reader([&] {
    const RingView view(block.data, block.shape);
    std::string value;
    EntryMeta meta;
    while (!stop.load()) {
      for (std::uint64_t i = 0; i < kThere; ++i) {
        const Lookup found = get(view, key_of(i), value, meta);
        if (found == Lookup::kAbsent) ++missed;
        if (found == Lookup::kFound && value != value_of(i, 1, 16)) ++wrong;
      }
    }
  });
  for (std::uint64_t i = kThere; i < 20'000; ++i) put(ring, key_of(i), value_of(i, 1, 32));
  stop.store(true);
  reader.join();
  EXPECT_EQ(ring.evictions(), 0u);
  EXPECT_EQ(missed.load(), 0u);
  EXPECT_EQ(wrong.load(), 0u);
}

TEST(RingStore, WhereThereIsNoRoomForMoreIndexEntriesLeaveEarlier) {
  Block block(4 << 20);
  std::size_t asked = 0, reserved = RingWriter::used_bytes_at_first(block.shape);
  RingWriter ring(block.data, block.shape, [&](std::size_t bytes) {
    EXPECT_GT(bytes, reserved);
    EXPECT_LE(bytes, block.size);
    if (++asked > 1) return false;
    reserved = bytes;
    return true;
  });
  std::map<std::string, std::string> twin;
  ring.on_evict([&](const EntryView& entry) { twin.erase(std::string(entry.key)); });
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    twin[key_of(i)] = value_of(i, 1, 32);
    ASSERT_TRUE(put(ring, key_of(i), twin[key_of(i)]));
  }
  EXPECT_GT(asked, 1u);
  EXPECT_GT(ring.evictions(), 0u);
  EXPECT_EQ(ring.entries(), twin.size());
  for (const auto& [key, value] : twin) EXPECT_EQ(ring.peek(key, hash64(key))->value, value);
}

TEST(RingShape, ChecksWhatAHeaderClaims) {
  struct Case {
    const char* why;
    RingShape shape;
    bool fits;
  };
  const Case cases[] = {
      {"as made", RingShape::within(1 << 20), true}, {"no buckets", {0, 2048}, false},
      {"not a power of two", {3, 2048}, false},      {"no room", {2, 0}, false},
      {"more than there is", {2, 1 << 20}, false},   {"sizes that overflow", {1ull << 63, 1ull << 61}, false},
  };
  for (const Case& c : cases) EXPECT_EQ(c.shape.fits(1 << 20), c.fits) << c.why;
  EXPECT_EQ(RingShape::within(1'000).buckets, 0u) << "too little to be of use";
}

}  // namespace
}  // namespace tidelock
