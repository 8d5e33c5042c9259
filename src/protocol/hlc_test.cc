#include "protocol/hlc.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/rng.h"

namespace tidelock {
namespace {

TEST(Hlc, StampsRiseWhateverTheWallClockDoes) {
  struct Case {
    const char* why;
    std::uint64_t wall_ms;
    Stamp expected;
  };
  const Case cases[] = {{"the wall clock leads", 1000, {1000, 0, 7}},
                        {"two in one millisecond", 1000, {1000, 1, 7}},
                        {"the clock moved on", 1001, {1001, 0, 7}},
                        {"the clock was set back: the counter carries on", 10, {1001, 1, 7}},
                        {"and again", 11, {1001, 2, 7}},
                        {"it caught up", 1002, {1002, 0, 7}}};
  Hlc hlc(7);
  for (const Case& c : cases) EXPECT_EQ(hlc.tick(c.wall_ms), c.expected) << c.why;
}

TEST(Hlc, ACounterThatIsFullBecomesAMillisecond) {
  Hlc hlc(7);
  hlc.start_after({50, std::numeric_limits<std::uint32_t>::max(), 7});
  EXPECT_EQ(hlc.tick(50), (Stamp{51, 0, 7}));
}

TEST(Hlc, ForeignStampsMoveItUnlessTheyAreTooFarAhead) {  // G8
  Hlc hlc(1);
  hlc.tick(1000);
  EXPECT_TRUE(hlc.observe({1500, 3, 9}, 1000).has_value()) << "500 ms ahead is the limit, and within it";
  EXPECT_EQ(hlc.tick(1001), (Stamp{1500, 4, 1}));

  const auto refused = hlc.observe({1502, 0, 9}, 1001);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_EQ(refused.error().message, "stamp is 501 ms ahead of this node's clock; at most 500 ms is accepted");
  EXPECT_EQ(hlc.tick(1001), (Stamp{1500, 5, 1})) << "a refused stamp never advances the clock";
  EXPECT_EQ(hlc.refused(), 1u);
  EXPECT_FALSE(hlc.observe({std::numeric_limits<std::uint64_t>::max(), 0, 9}, 0).has_value());

  EXPECT_TRUE(hlc.observe({3, 0, 9}, 1001).has_value()) << "an old stamp is fine and changes nothing";
  EXPECT_EQ(hlc.tick(1001), (Stamp{1500, 6, 1}));
}

TEST(Hlc, TheBoundIsPersistedAheadAndARestartBeginsAtIt) {
  Hlc first(1);
  const Stamp a = first.tick(1000);
  EXPECT_EQ(first.take_bound_to_persist(), 1000 + Hlc::kBoundStepMs);
  EXPECT_EQ(first.take_bound_to_persist(), std::nullopt) << "said once";
  const Stamp b = first.tick(1000 + Hlc::kBoundStepMs - 1);
  EXPECT_EQ(first.take_bound_to_persist(), std::nullopt) << "one bound serves many stamps";
  EXPECT_LT(a, b);

  Hlc second(1, 1000 + Hlc::kBoundStepMs);  // and the wall clock of the new run is hours behind
  EXPECT_GT(second.tick(5), b);
  EXPECT_TRUE(second.take_bound_to_persist().has_value()) << "its first stamp is at the bound already";
}

TEST(Hlc, NoRestartEverGoesBack) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Rng rng(seed);
    std::uint64_t persisted = 0;
    Hlc hlc(1);
    Stamp newest;
    std::uint64_t wall_ms = 1'000'000;
    for (int i = 0; i < 200; ++i) {
      wall_ms = wall_ms + rng.below(4'000) - 1'500;
      if (rng.one_in(20)) hlc = Hlc(1, persisted);
      if (rng.one_in(3)) (void)hlc.observe({wall_ms + rng.below(1'000), 0, 2}, wall_ms);
      const Stamp stamp = hlc.tick(wall_ms);
      if (const auto bound = hlc.take_bound_to_persist()) persisted = *bound;
      ASSERT_GT(stamp, newest) << "seed " << seed;
      ASSERT_LT(stamp.wall_ms, persisted) << "seed " << seed;
      newest = stamp;
    }
  }
}

}  // namespace
}  // namespace tidelock
