// When frames are refused, for how long, and what ends it (DESIGN 9, M10).
#include "protocol/breaker.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "base/rng.h"

namespace tidelock {
namespace {

using Frames = BreakerEvent::Frames;

BreakerSettings settings() {
  BreakerSettings made;
  made.late_after_ns = 100 * kMillisecond;
  return made;
}

struct Bench {
  explicit Bench(const BreakerSettings& of = settings()) : breaker(of) {}
  BreakerActions step(Nanos now, decltype(BreakerEvent::what) what) {
    BreakerActions out;
    breaker.step({now, what}, out);
    return out;
  }
  // Open since second 1.
  void open() {
    step(1 * kSecond, Frames{20, 20, 0});
    ASSERT_EQ(breaker.state(), Breaker::kOpen);
  }
  CircuitBreaker breaker;
};

TEST(CircuitBreaker, OpensOnWhatTheWindowHolds) {  // M10
  struct Told {
    Nanos at;
    Frames frames;
  };
  struct Case {
    const char* why;
    std::vector<Told> told;
    Breaker state;
    std::string says;
  };
  const Case cases[] = {
      {"all is well", {{0, {1'000, 0, 0}}}, Breaker::kClosed, ""},
      {"half of them failed", {{0, {20, 10, 0}}}, Breaker::kOpen, "10 of 20 frames failed"},
      {"not quite half", {{0, {21, 10, 0}}}, Breaker::kClosed, ""},
      {"too few to tell", {{0, {19, 19, 0}}}, Breaker::kClosed, ""},
      {"the twentieth tells", {{0, {19, 19, 0}}, {kSecond, {1, 0, 0}}}, Breaker::kOpen, "19 of 20 frames failed"},
      {"half of them were late", {{0, {20, 0, 10}}}, Breaker::kOpen, "10 of 20 frames were late"},
      {"failed and late are judged each by itself", {{0, {20, 9, 9}}}, Breaker::kClosed, ""},
      {"a second of the window",
       {{0, {10, 10, 0}}, {9 * kSecond, {10, 0, 0}}},
       Breaker::kOpen,
       "10 of 20 frames failed"},
      {"what is older than the window is forgotten",
       {{0, {19, 19, 0}}, {11 * kSecond, {19, 0, 0}}},
       Breaker::kClosed,
       ""},
      {"more failures than frames are taken for all", {{0, {20, 1'000, 0}}}, Breaker::kOpen, "20 of 20 frames failed"},
      {"a frame that failed is not late as well", {{0, {20, 15, 15}}}, Breaker::kOpen, "15 of 20 frames failed"},
      {"time that goes back is no time",
       {{9 * kSecond, {10, 10, 0}}, {0, {10, 0, 0}}},
       Breaker::kOpen,
       "10 of 20 frames failed"},
  };
  for (const Case& c : cases) {
    Bench bench;
    BreakerActions last;
    for (const Told& told : c.told) last = bench.step(told.at, told.frames);
    EXPECT_EQ(bench.breaker.state(), c.state) << c.why;
    EXPECT_EQ(last.changed, c.state != Breaker::kClosed) << c.why;
    EXPECT_EQ(last.why, c.says) << c.why;
    EXPECT_EQ(bench.breaker.opened(), c.state == Breaker::kOpen ? 1u : 0u) << c.why;
  }
}

TEST(CircuitBreaker, WhatIsSwitchedOffOpensNothing) {
  BreakerSettings off = settings();
  off.failed_percent = off.late_percent = 0;
  Bench bench(off);
  bench.step(0, Frames{100, 100, 0});
  bench.step(0, Frames{100, 0, 100});
  EXPECT_EQ(bench.breaker.state(), Breaker::kClosed);
  BreakerSettings no_deadline;
  Bench never_late(no_deadline);
  never_late.step(0, Frames{100, 0, 100});
  EXPECT_EQ(never_late.breaker.state(), Breaker::kClosed) << "late_after_ns is 0: no frame is late";
}

TEST(CircuitBreaker, ProbesCloseItOrOpenItAgain) {  // M10
  struct Case {
    const char* why;
    std::vector<Frames> probes;
    Breaker state;
    std::uint64_t opened;
  };
  const Case cases[] = {
      {"nobody has probed yet", {}, Breaker::kHalfOpen, 1},
      {"four are too few", {{3, 0, 0}, {1, 0, 0}}, Breaker::kHalfOpen, 1},
      {"the fifth closes it", {{3, 0, 0}, {1, 0, 0}, {1, 0, 0}}, Breaker::kClosed, 1},
      {"one that fails opens it again", {{4, 0, 0}, {1, 1, 0}}, Breaker::kOpen, 2},
      {"one that is late, too", {{4, 0, 0}, {1, 0, 1}}, Breaker::kOpen, 2},
      {"a word about no frame says nothing", {{0, 0, 0}, {0, 5, 0}}, Breaker::kHalfOpen, 1},
  };
  for (const Case& c : cases) {
    Bench bench;
    bench.open();
    EXPECT_EQ(bench.step(2 * kSecond, Frames{50, 0, 0}).wake_at, 6 * kSecond) << "told of frames from before it opened";
    EXPECT_EQ(bench.breaker.state(), Breaker::kOpen);
    bench.step(6 * kSecond - 1, BreakerEvent::Tick{});
    ASSERT_EQ(bench.breaker.state(), Breaker::kOpen) << "its time is not over";
    const BreakerActions half = bench.step(6 * kSecond, BreakerEvent::Tick{});
    ASSERT_EQ(bench.breaker.state(), Breaker::kHalfOpen);
    EXPECT_TRUE(half.changed);
    const BreakerSettings of = settings();
    EXPECT_EQ(half.wake_at, 6 * kSecond + std::max(of.window_ns, of.open_ns)) << "nobody may be there to probe";
    for (const Frames& probe : c.probes) bench.step(7 * kSecond, probe);
    EXPECT_EQ(bench.breaker.state(), c.state) << c.why;
    EXPECT_EQ(bench.breaker.opened(), c.opened) << c.why;
    if (c.state == Breaker::kOpen) {
      EXPECT_EQ(bench.step(8 * kSecond, BreakerEvent::Tick{}).wake_at, 12 * kSecond)
          << c.why << ": its whole time again";
    }
    if (c.state == Breaker::kClosed) {
      EXPECT_EQ(bench.breaker.window().count, 0u) << c.why << ": it begins with a clean sheet";
    }
  }
}

TEST(CircuitBreaker, AnotherVersionInForceIsJudgedByItself) {  // M5, M10
  Bench open;
  open.open();
  EXPECT_TRUE(open.step(2 * kSecond, BreakerEvent::Renewed{}).changed);
  EXPECT_EQ(open.breaker.state(), Breaker::kHalfOpen) << "a rollback need not wait for the time to pass";
  open.step(2 * kSecond, Frames{4, 0, 0});
  open.step(3 * kSecond, BreakerEvent::Renewed{});
  open.step(3 * kSecond, Frames{4, 0, 0});
  EXPECT_EQ(open.breaker.state(), Breaker::kHalfOpen) << "probes of the version before count no more";
  Bench closed;
  closed.step(0, Frames{19, 19, 0});
  EXPECT_FALSE(closed.step(0, BreakerEvent::Renewed{}).changed);
  closed.step(0, Frames{19, 0, 0});
  EXPECT_EQ(closed.breaker.state(), Breaker::kClosed);
}

TEST(CircuitBreaker, SettingsAreHeldToTheirRange) {
  EXPECT_TRUE(validate_breaker({}));
  EXPECT_TRUE(validate_breaker(settings()));
  struct Case {
    void (*spoil)(BreakerSettings&);
    const char* says;
  };
  const Case cases[] = {
      {[](BreakerSettings& s) { s.window_ns = 999 * kMillisecond; },
       "breaker.window_ms = 999: must be 1000 to 3600000"},
      {[](BreakerSettings& s) { s.frames_min = 0; }, "breaker.frames_min = 0: must be 1 to 1000000"},
      {[](BreakerSettings& s) { s.failed_percent = 101; }, "breaker.failed_percent = 101: must be 0 to 100"},
      {[](BreakerSettings& s) { s.late_after_ns = -kMillisecond; }, "breaker.late_after_ms = -1: must be 0 to 3600000"},
      {[](BreakerSettings& s) { s.late_percent = 200; }, "breaker.late_percent = 200: must be 0 to 100"},
      {[](BreakerSettings& s) { s.open_ns = 0; }, "breaker.open_ms = 0: must be 100 to 3600000"},
      {[](BreakerSettings& s) { s.probes = 0; }, "breaker.probes = 0: must be 1 to 1000"},
  };
  for (const Case& c : cases) {
    BreakerSettings spoilt;
    c.spoil(spoilt);
    const auto refused = validate_breaker(spoilt);
    ASSERT_FALSE(refused) << c.says;
    EXPECT_EQ(refused.error().message, c.says);
  }
}

TEST(CircuitBreaker, ClosesWhenNobodyIsThereToProbe) {  // M10: the app that failed has gone, the others do not tell
  Bench bench;
  bench.open();
  const BreakerActions half = bench.step(6 * kSecond, BreakerEvent::Tick{});
  ASSERT_EQ(bench.breaker.state(), Breaker::kHalfOpen);
  bench.step(half.wake_at - 1, BreakerEvent::Tick{});
  EXPECT_EQ(bench.breaker.state(), Breaker::kHalfOpen);
  const BreakerActions over = bench.step(half.wake_at, BreakerEvent::Tick{});
  EXPECT_EQ(bench.breaker.state(), Breaker::kClosed);
  EXPECT_TRUE(over.changed);
  EXPECT_EQ(over.wake_at, kForever);
}

// Against a plain twin that keeps every frame it was told of.
TEST(CircuitBreaker, AgreesWithATwinThatForgetsNothing) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Rng rng(seed);
    const BreakerSettings of = settings();
    const Nanos slice = of.window_ns / static_cast<Nanos>(CircuitBreaker::kSlices);
    Bench bench(of);
    Breaker state = Breaker::kClosed;
    Nanos now = 0, since = 0;
    std::uint64_t good = 0;
    struct Kept {
      Nanos at;
      Frames frames;
    };
    std::vector<Kept> kept;
    const auto go = [&](Breaker next) {
      state = next;
      since = now;
      good = 0;
      kept.clear();
    };
    for (int i = 0; i < 200; ++i) {
      now += static_cast<Nanos>(rng.below(2 * kSecond));
      Frames frames{rng.below(8), 0, 0};
      if (frames.count > 0 && rng.one_in(2)) frames.failed = rng.below(frames.count + 1);
      if (rng.one_in(2)) frames.late = rng.below(frames.count - frames.failed + 1);
      bench.step(now, frames);
      if (state == Breaker::kOpen && now >= since + of.open_ns) {
        go(Breaker::kHalfOpen);
      } else if (state == Breaker::kHalfOpen && good == 0 && now >= since + std::max(of.window_ns, of.open_ns)) {
        go(Breaker::kClosed);
      }
      if (frames.count > 0 && state == Breaker::kClosed) {
        kept.push_back({now, frames});
        Frames sum;
        for (const Kept& one : kept) {
          if (one.at / slice <= now / slice - static_cast<Nanos>(CircuitBreaker::kSlices)) continue;
          sum.count += one.frames.count;
          sum.failed += one.frames.failed;
          sum.late += one.frames.late;
        }
        if (sum.count >= 20 && (2 * sum.failed >= sum.count || 2 * sum.late >= sum.count)) go(Breaker::kOpen);
      } else if (frames.count > 0 && state == Breaker::kHalfOpen) {
        if (frames.failed + frames.late > 0) {
          go(Breaker::kOpen);
        } else if (good += frames.count; good >= of.probes) {
          go(Breaker::kClosed);
        }
      }
      ASSERT_EQ(bench.breaker.state(), state) << "seed " << seed << ", step " << i;
    }
  }
}

}  // namespace
}  // namespace tidelock
