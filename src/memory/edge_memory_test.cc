// The contract of the memory tier (protocol/edge_entries.h), for the arena of the product and for its plain twin.
#include <gtest/gtest.h>
#include <unistd.h>

#include <set>
#include <string>

#include "base/bytes.h"
#include "base/rng.h"
#include "memory/arena.h"
#include "protocol/map_memory_fixture.h"

namespace tidelock {
namespace {

constexpr std::size_t kBytes = kArenaBytesMin;

struct OfMap {
  MapMemory memory{kBytes};
  bool put(const std::string& key, const EdgeEntry& entry) { return memory.put(key, entry); }
  void expire(Nanos now) { memory.expire(now); }
  static std::size_t entry_bytes_max() { return kBytes; }
};

struct OfArena {
  std::string path = testing::TempDir() + "tidelock_edge_memory_" + std::to_string(::getpid());
  ArenaWriter memory = *ArenaWriter::create({path, Boot{7}, kBytes});
  ~OfArena() { ::unlink(path.c_str()); }
  bool put(const std::string& key, const EdgeEntry& entry) { return memory.put(key, entry); }
  void expire(Nanos now) {
    while (memory.sweep(now) <= now) {
    }
  }
  static std::size_t entry_bytes_max() { return kBytes / 16; }
};

EdgeEntry entry_of(std::string value, std::uint64_t version = 1) {
  EdgeEntry entry;
  entry.version = Index{version};
  entry.value = std::move(value);
  return entry;
}

template <class Kind>
struct EdgeMemoryTest : testing::Test {
  Kind tier;
  EdgeMemory& memory = tier.memory;
};
using Kinds = testing::Types<OfMap, OfArena>;
TYPED_TEST_SUITE(EdgeMemoryTest, Kinds);

TYPED_TEST(EdgeMemoryTest, GivesTheLastThatWasPut) {
  EdgeEntry entry = entry_of("first", 7);
  entry.expires_at = 99;
  entry.epoch = 3;
  entry.proven_at = -5;
  entry.stamp = {1, 2, 3};
  entry.local = true;
  EXPECT_FALSE(this->memory.find("k"));
  ASSERT_TRUE(this->tier.put("k", entry));
  for (const auto& held : {this->memory.find("k"), this->memory.peek("k")}) {
    ASSERT_TRUE(held);
    EXPECT_EQ(held->version, entry.version);
    EXPECT_EQ(held->expires_at, entry.expires_at);
    EXPECT_EQ(held->epoch, entry.epoch);
    EXPECT_EQ(held->proven_at, entry.proven_at);
    EXPECT_EQ(held->stamp, entry.stamp);
    EXPECT_EQ(held->local, entry.local);
    EXPECT_EQ(held->value, "first");
  }
  ASSERT_TRUE(this->tier.put("k", entry_of("")));
  EXPECT_EQ(this->memory.find("k")->value, "") << "an empty value is a value";
  ASSERT_TRUE(this->tier.put("k", EdgeEntry{}));
  EXPECT_FALSE(this->memory.find("k")->value) << "known to be absent";
  EXPECT_EQ(this->memory.entries(), 1u);
  this->tier.memory.erase("k");
  EXPECT_FALSE(this->memory.find("k"));
  EXPECT_EQ(this->memory.entries(), 0u);
}

TYPED_TEST(EdgeMemoryTest, WhatIsTooLargeTakesTheOlderValueWithIt) {
  ASSERT_TRUE(this->tier.put("k", entry_of("old")));
  EXPECT_FALSE(this->tier.put("k", entry_of(std::string(this->tier.entry_bytes_max(), 'v'), 2)));
  EXPECT_FALSE(this->memory.find("k")) << "never older than the last that it was told to hold";
}

TYPED_TEST(EdgeMemoryTest, KeepsToItsLimitAndKeepsWhatIsUsed) {
  ASSERT_TRUE(this->tier.put("used", entry_of("v")));
  for (int i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(this->tier.put("once:" + std::to_string(i), entry_of(std::string(200, 'v'))));
    ASSERT_TRUE(this->memory.find("used"));
    ASSERT_LE(this->memory.bytes(), kBytes);
  }
  EXPECT_FALSE(this->memory.find("once:0"));
  EXPECT_LT(this->memory.entries(), 20'000u);
}

TYPED_TEST(EdgeMemoryTest, WhatHasExpiredLeavesAndNothingElse) {
  Rng rng(3);
  std::set<std::string> lasts;
  for (int i = 0; i < 1'000; ++i) {
    EdgeEntry entry = entry_of("v");
    if (!rng.one_in(3)) entry.expires_at = static_cast<Nanos>(rng.below(2'000));
    const std::string key = "k" + std::to_string(i);
    if (entry.expires_at > 1'000) lasts.insert(key);
    ASSERT_TRUE(this->tier.put(key, entry));
  }
  this->tier.expire(1'000);
  EXPECT_EQ(this->memory.entries(), lasts.size());
  for (const std::string& key : lasts) EXPECT_TRUE(this->memory.peek(key)) << key;
}

TYPED_TEST(EdgeMemoryTest, KnowsTheKeysOfASlot) {
  for (int i = 0; i < 2'000; ++i) ASSERT_TRUE(this->tier.put("k" + std::to_string(i), entry_of("v")));
  for (int i = 0; i < 2'000; i += 100) {
    const std::string key = "k" + std::to_string(i);
    std::set<std::string> seen;
    this->memory.each_of_slot(slot_of(key), [&](std::string_view one) { seen.emplace(one); });
    EXPECT_TRUE(seen.contains(key));
    for (const std::string& one : seen) EXPECT_EQ(slot_of(one), slot_of(key));
  }
}

}  // namespace
}  // namespace tidelock
