#include "sim/world.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "sim/disk.h"

namespace tidelock::sim {
namespace {

TEST(World, RunsWhatIsDueInOrderOfTimeAndThenOfScheduling) {
  World world(1);
  std::string story;
  world.at(20, [&] { story += "c"; });
  world.at(10, [&] {
    story += "a";
    world.in(0, [&] { story += "b"; });
  });
  world.at(20, [&] { story += "d"; });
  world.at(31, [&] { story += "late"; });
  world.run_until(30);
  EXPECT_EQ(story, "abcd");
  EXPECT_EQ(world.now(), 30);
}

TEST(World, WhoWaitsInsideLetsTheOthersGoOn) {
  World world(1);
  std::string story;
  world.at(10, [&] {
    world.run_until(20);
    story += "b";
  });
  world.at(15, [&] { story += "a"; });
  world.run_until(30);
  EXPECT_EQ(story, "ab");
}

TEST(NodeClock, ShowsAReadingNoLaterThanItSaysAndNeverGoesBackWhenItsRateChanges) {
  World world(7);
  for (int i = 0; i < 200; ++i) {
    NodeClock clock(world.between(0, kSecond), world.between(-50'000, 50'000));
    Nanos now = world.between(0, 100 * kSecond);
    const Nanos reading = clock.at(now);
    EXPECT_GE(clock.at(clock.when(reading + kSecond)), reading + kSecond);
    clock.run_at(now, world.between(-50'000, 50'000));
    EXPECT_EQ(clock.at(now), reading);
    EXPECT_GE(clock.at(now + 1), reading);
    EXPECT_GE(clock.at(clock.when(reading + kSecond)), reading + kSecond);
  }
}

TEST(SimDisk, APowerCutKeepsWhatWasSyncedAndSomePrefixOfTheRest) {
  Rng rng(3);
  bool lost = false, kept = false;
  for (int i = 0; i < 50; ++i) {
    SimDisk disk;
    for (std::uint64_t n = 1; n <= 4; ++n) disk.write(n, {{std::to_string(n), "x"}});
    disk.sync(2);
    disk.power_cut(rng);
    EXPECT_TRUE(disk.rows().contains("1") && disk.rows().contains("2"));
    EXPECT_TRUE(!disk.rows().contains("4") || disk.rows().contains("3")) << "a hole";
    lost = lost || !disk.rows().contains("3");
    kept = kept || disk.rows().contains("4");
  }
  EXPECT_TRUE(lost && kept);
}

}  // namespace
}  // namespace tidelock::sim
