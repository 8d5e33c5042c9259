#include "protocol/clock_guard.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace tidelock {
namespace {

// True time runs; each clock shows offset + rate * true time.
struct World {
  double own_rate = 1.0;
  double hub_rate = 1.0;
  Nanos own_at(Nanos t) const { return 5'000'000'000 + static_cast<Nanos>(own_rate * static_cast<double>(t)); }
  Nanos hub_at(Nanos t) const { return 77'000'000'000 + static_cast<Nanos>(hub_rate * static_cast<double>(t)); }
};

// Probes every `every` for `lasting`; the answer is made somewhere inside the round trip. The instant of the fault.
Nanos fault_after(ClockGuard& guard, const World& world, Nanos every, Nanos trip, Nanos lasting, std::uint64_t seed,
                  Nanos from = 0) {
  Rng rng(seed);
  for (Nanos t = from; t < from + lasting; t += every) {
    const Nanos round = trip / 2 + static_cast<Nanos>(rng.below(static_cast<std::uint64_t>(trip)));
    const Nanos answered = t + static_cast<Nanos>(rng.below(static_cast<std::uint64_t>(round)));
    guard.on_mark(Boot{1}, world.hub_at(answered), world.own_at(t), world.own_at(t + round));
    if (guard.fault()) return t - from;
  }
  return kForever;
}

TEST(ClockGuard, RatesInsideAndOutsideTheBand) {  // C3
  struct Case {
    const char* why;
    double own, hub;
    Nanos trip;
    Nanos found_within;  // kForever: never
  };
  const Nanos ms = kMillisecond;
  const Case cases[] = {
      {"equal clocks", 1.0, 1.0, 60 * ms, kForever},
      {"honest drift at both limits, own fast", 1.000199, 0.999801, 2 * ms, kForever},
      {"honest drift at both limits, own slow", 0.999801, 1.000199, 2 * ms, kForever},
      {"slewed 8 % fast on a LAN: before the first second is over", 1.08, 1.0, 2 * ms, kSecond},
      {"slewed 8 % slow on LTE", 0.92, 1.0, 60 * ms, 4 * kSecond},
      {"the hub is the one that is slewed", 1.0, 1.08, 60 * ms, 4 * kSecond},
      {"a tenth of a percent needs longer", 1.001, 1.0, 20 * ms, 120 * kSecond},
      {"a clock that stands still", 0.0, 1.0, 20 * ms, kSecond},
      {"a hub clock that runs backwards", 1.0, -1.0, 20 * ms, kSecond},
      {"8 % behind round trips of 3 s: the interval is wide, and wider baselines find it", 1.08, 1.0, 3 * kSecond,
       400 * kSecond},
  };
  for (const Case& c : cases) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      ClockGuard guard(200);
      const Nanos found = fault_after(guard, {c.own, c.hub}, 200 * ms, c.trip, 1200 * kSecond, seed);
      if (c.found_within == kForever) {
        EXPECT_EQ(found, kForever) << c.why << ", seed " << seed;
      } else {
        EXPECT_LE(found, c.found_within) << c.why << ", seed " << seed;
      }
    }
  }
}

TEST(ClockGuard, LongRoundTripsWidenTheInterval) {
  ClockGuard guard(200);
  // Hub says 1.08 s passed. Own clock: at least 1.0 - 0.1, at most 1.1 s. Nothing is proven.
  EXPECT_FALSE(guard.on_mark(Boot{1}, 0, 0, 100 * kMillisecond));
  EXPECT_FALSE(guard.on_mark(Boot{1}, 1080 * kMillisecond, 1000 * kMillisecond, 1100 * kMillisecond));
  EXPECT_FALSE(guard.fault());

  ClockGuard quick(200);  // the same rate, with round trips of 10 ms
  EXPECT_FALSE(quick.on_mark(Boot{1}, 0, 0, 10 * kMillisecond));
  EXPECT_TRUE(quick.on_mark(Boot{1}, 1080 * kMillisecond, 1000 * kMillisecond, 1010 * kMillisecond));
  EXPECT_TRUE(quick.fault());
  EXPECT_FALSE(quick.on_mark(Boot{1}, 2160 * kMillisecond, 2000 * kMillisecond, 2010 * kMillisecond))
      << "found only once";
}

TEST(ClockGuard, TheEdgeOfTheBandIsExact) {
  // No round trip at all: own 1'000'000 us against what (1 + rho)/(1 - rho) allows, rho = 200 ppm: 1.000400080016...
  struct Case {
    const char* why;
    Nanos hub;
    bool fault;
  };
  const Case cases[] = {{"just inside, fast", 1'000'400'080, false},
                        {"just outside, fast", 1'000'400'081, true},
                        {"just inside, slow", 999'600'080, false},
                        {"just outside, slow", 999'600'079, true}};
  for (const Case& c : cases) {
    ClockGuard guard(200);
    guard.on_mark(Boot{1}, 0, 0, 0);
    EXPECT_EQ(guard.on_mark(Boot{1}, c.hub, kSecond, kSecond), c.fault) << c.why;
  }
}

TEST(ClockGuard, AClockThatTurnsBadLateIsFoundQuickly) {
  ClockGuard guard(200);
  const World good;
  ASSERT_EQ(fault_after(guard, good, 200 * kMillisecond, 40 * kMillisecond, 900 * kSecond, 3), kForever);
  World bad;  // continues at 900 s with 8 %
  Nanos t = 900 * kSecond;
  const Nanos own_start = good.own_at(t);
  for (; t < 905 * kSecond && !guard.fault(); t += 200 * kMillisecond) {
    const auto own = [&](Nanos at) { return own_start + (at - 900 * kSecond) * 108 / 100; };
    guard.on_mark(Boot{1}, bad.hub_at(t + 20 * kMillisecond), own(t), own(t + 40 * kMillisecond));
  }
  EXPECT_TRUE(guard.fault());
  EXPECT_LE(t, 903 * kSecond);
}

TEST(ClockGuard, AHubRebootStartsAfresh) {
  ClockGuard guard(200);
  guard.on_mark(Boot{1}, 900 * kSecond, 0, kMillisecond);
  EXPECT_FALSE(guard.on_mark(Boot{2}, 3 * kSecond, kSecond, kSecond + kMillisecond))
      << "another boot's H is another clock";
  EXPECT_FALSE(guard.on_mark(Boot{2}, 4 * kSecond, 2 * kSecond, 2 * kSecond + kMillisecond));
  EXPECT_TRUE(guard.on_mark(Boot{2}, 9 * kSecond, 3 * kSecond, 3 * kSecond + kMillisecond));
}

TEST(ClockGuard, TheFaultIsLatchedUntilReset) {
  ClockGuard guard(200);
  guard.on_mark(Boot{1}, 0, 0, 0);
  ASSERT_TRUE(guard.on_mark(Boot{1}, 2 * kSecond, kSecond, kSecond));
  EXPECT_FALSE(guard.on_epoch(5));
  EXPECT_TRUE(guard.on_epoch(6));
  EXPECT_TRUE(guard.fault()) << "a suspend does not repair a clock";
  guard.on_mark(Boot{2}, 0, 3 * kSecond, 3 * kSecond);
  EXPECT_TRUE(guard.fault()) << "nor does another hub";
  guard.reset();
  EXPECT_FALSE(guard.fault());
  EXPECT_FALSE(guard.on_mark(Boot{2}, kSecond, 4 * kSecond, 4 * kSecond));
}

TEST(ClockGuard, EpochsDropEverything) {  // C2
  ClockGuard guard(200);
  EXPECT_FALSE(guard.on_epoch(1)) << "the first is only learnt";
  EXPECT_FALSE(guard.on_epoch(1));
  guard.on_mark(Boot{1}, 0, 0, 0);
  EXPECT_TRUE(guard.on_epoch(2)) << "suspended";
  EXPECT_FALSE(guard.on_mark(Boot{1}, 50 * kSecond, kSecond, kSecond)) << "marks from before bound nothing";
  EXPECT_TRUE(guard.on_mark(Boot{1}, 60 * kSecond, 2 * kSecond, 2 * kSecond));
}

TEST(ClockGuard, OwnClockGoingBackIsAFault) {
  ClockGuard guard(200);
  EXPECT_TRUE(guard.on_mark(Boot{1}, 0, 10, 9));
}

TEST(ClockGuard, TheRateIsReported) {
  ClockGuard guard(200);
  EXPECT_FALSE(guard.rate().has_value());
  guard.on_mark(Boot{1}, 0, 0, 0);
  guard.on_mark(Boot{1}, 10'001'000'000, 10 * kSecond, 10 * kSecond + kMillisecond);
  ASSERT_TRUE(guard.rate().has_value());
  EXPECT_LE(guard.rate()->low_ppm, 100);
  EXPECT_GE(guard.rate()->high_ppm, 100);
}

}  // namespace
}  // namespace tidelock
