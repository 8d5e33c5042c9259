#include "protocol/rehash.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/rng.h"

namespace tidelock {
namespace {

constexpr std::uint64_t kSlice = Rehash::kSliceBytes;

RehashFile file(const char* name, std::uint64_t bytes) { return {Bytes(name), bytes}; }

TEST(Rehash, ReadsEachFileThroughInSlicesAtItsRate) {  // X3
  Rehash rehash(kSlice);                               // a slice a second
  EXPECT_EQ(rehash.wake_at(), kForever) << "nothing is in use";
  EXPECT_FALSE(rehash.due(5 * kSecond));
  rehash.set_files({file("a", 2 * kSlice + 1), file("b", 10), file("empty", 0)});
  EXPECT_EQ(rehash.round_ns(), 2 * kSecond + 11 * kSecond / static_cast<Nanos>(kSlice));
  struct Step {
    const char* why;
    Nanos now;
    const char* name;  // null: nothing is due
    std::uint64_t offset, bytes;
    bool last;
  };
  const Nanos byte_ns = kSecond / static_cast<Nanos>(kSlice) + 1;  // rounded up
  const Step steps[] = {
      {"the first slice at once", 10 * kSecond, "a", 0, kSlice, false},
      {"the next when a second has paid for it", 11 * kSecond - 1, nullptr, 0, 0, false},
      {"and not later", 11 * kSecond, "a", kSlice, kSlice, false},
      {"a pause is not made up for", 60 * kSecond, "a", 2 * kSlice, 1, true},
      {"a byte costs its share", 60 * kSecond + byte_ns - 1, nullptr, 0, 0, false},
      {"the other file", 60 * kSecond + byte_ns, "b", 0, 10, true},
      {"and the first again", 70 * kSecond, "a", 0, kSlice, false},
  };
  for (const Step& step : steps) {
    const auto slice = rehash.due(step.now);
    ASSERT_EQ(slice.has_value(), step.name != nullptr) << step.why;
    if (!slice) {
      EXPECT_GT(rehash.wake_at(), step.now) << step.why;
      continue;
    }
    EXPECT_EQ(slice->sha256, step.name) << step.why;
    EXPECT_EQ(slice->offset, step.offset) << step.why;
    EXPECT_EQ(slice->bytes, step.bytes) << step.why;
    EXPECT_EQ(slice->last, step.last) << step.why;
  }
}

TEST(Rehash, AFileThatIsNoLongerInUseIsLeftAndOneThatStaysIsReadOn) {
  Rehash rehash(kSlice);
  rehash.set_files({file("a", 3 * kSlice), file("b", kSlice)});
  EXPECT_EQ(rehash.due(1 * kSecond)->sha256, "a");
  rehash.set_files({file("c", kSlice), file("a", 3 * kSlice)});
  EXPECT_EQ(rehash.due(2 * kSecond)->offset, kSlice) << "a goes on";
  rehash.set_files({file("c", kSlice), file("b", kSlice)});
  EXPECT_EQ(rehash.due(3 * kSecond)->sha256, "c") << "a is gone";
  EXPECT_EQ(rehash.due(4 * kSecond)->sha256, "b");
  rehash.set_files({});
  EXPECT_EQ(rehash.wake_at(), kForever);
  EXPECT_FALSE(rehash.due(9 * kSecond));
}

TEST(Rehash, WhatCannotBeReadDoesNotHoldUpTheOthers) {
  Rehash rehash(kSlice);
  rehash.set_files({file("a", 2 * kSlice), file("b", kSlice)});
  EXPECT_EQ(rehash.due(1 * kSecond)->sha256, "a");
  rehash.give_up(1 * kSecond);
  EXPECT_EQ(rehash.due(2 * kSecond)->sha256, "b");
  const auto again = rehash.due(3 * kSecond);
  EXPECT_EQ(again->sha256, "a");
  EXPECT_EQ(again->offset, 0u) << "from its beginning";
}

TEST(Rehash, ARateOfZeroTurnsItOff) {
  Rehash rehash(0);
  rehash.set_files({file("a", 10)});
  EXPECT_EQ(rehash.wake_at(), kForever);
  EXPECT_FALSE(rehash.due(kForever - 1));
  EXPECT_EQ(rehash.round_ns(), 0);
}

// Whatever comes and goes: a file that stays in use is read through, whole and in order, within two rounds of the most
// that was ever in use, and the rate is never exceeded.
TEST(Rehash, DamageIsFoundWithinTwoRoundsAtMost) {  // X3
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    const std::uint64_t rate = 1'000 + rng.below(4 * kSlice);
    Rehash rehash(rate);
    std::vector<RehashFile> files;
    files.reserve(6);
    for (std::uint64_t i = 0; i < 1 + rng.below(6); ++i)
      files.push_back(file(std::to_string(i).c_str(), 1 + rng.below(4 * kSlice)));
    rehash.set_files(files);
    const Nanos round = rehash.round_ns();
    const Nanos slack = static_cast<Nanos>((kSlice + 1) * static_cast<std::uint64_t>(kSecond) / rate) + kSecond;
    std::map<Bytes, Nanos> read_through;
    std::map<Bytes, std::uint64_t> at;
    std::uint64_t total = 0;
    for (Nanos now = 0; now <= 4 * round + 2 * slack; now = std::max(now + 1, rehash.wake_at())) {
      const auto slice = rehash.due(now);
      ASSERT_TRUE(slice) << "seed " << seed;
      ASSERT_EQ(slice->offset, at[slice->sha256]) << "seed " << seed;
      at[slice->sha256] = slice->last ? 0 : slice->offset + slice->bytes;
      if (slice->last) {
        const Nanos before = read_through.contains(slice->sha256) ? read_through[slice->sha256] : 0;
        ASSERT_LE(now - before, 2 * round + slack) << "seed " << seed;
        read_through[slice->sha256] = now;
      }
      total += slice->bytes;
      ASSERT_LE(static_cast<double>(total - slice->bytes),
                static_cast<double>(now) / kSecond * static_cast<double>(rate) + 1)
          << "seed " << seed;
    }
    ASSERT_EQ(read_through.size(), files.size()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace tidelock
