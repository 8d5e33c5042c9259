#include "base/elapsed_clock.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

namespace tidelock {
namespace {

TEST(ClockShim, AppliesOffsetAndRateFromItsOrigin) {
  struct Case {
    const char* why;
    ClockShim shim;
    Nanos h;
    Nanos shown;
  };
  const Case cases[] = {
      {"the identity in production", {}, 123, 123},
      {"an offset only", {.offset_ns = -5 * kSecond}, 7 * kSecond, 2 * kSecond},
      {"200 ppm fast for ten seconds is 2 ms", {.rate_ppb = 200'000}, 10 * kSecond, 10 * kSecond + 2 * kMillisecond},
      {"the rate counts from the origin", {.rate_ppb = 200'000, .origin_ns = 10 * kSecond}, 10 * kSecond, 10 * kSecond},
      {"slow", {.rate_ppb = -1'000'000}, kSecond, kSecond - kMillisecond},
      {"saturates (C5)", {.offset_ns = kForever}, kSecond, kForever},
  };
  for (const Case& c : cases) EXPECT_EQ(c.shim.apply(c.h), c.shown) << c.why;
  // A page of a broken writer may hold anything; the clock of its reader must not overflow.
  const ClockShim absurd{.rate_ppb = std::numeric_limits<std::int64_t>::max(), .origin_ns = kNever};
  EXPECT_EQ(HotClock(absurd).shim().rate_ppb, ClockShim::kRatePpbMax);
  EXPECT_EQ(absurd.limited().apply(kForever), kForever);
}

TEST(ElapsedClock, NeverGoesBack) {  // C1
  const ElapsedClock clock;
  Nanos last = clock.now();
  for (int i = 0; i < 20'000; ++i) {
    const Nanos now = clock.now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(HotClock, HoldsTheElapsedClockInItsInterval) {  // C1
  const ClockShim shim{.offset_ns = 3 * kSecond, .rate_ppb = 150'000};
  const ElapsedClock elapsed(shim);
  const HotClock hot(shim);
  for (int i = 0; i < 20'000; ++i) {
    const ClockReading first = hot.now();
    const Nanos now = elapsed.now();
    const ClockReading second = hot.now();
    ASSERT_LE(first.earliest, first.latest);
    ASSERT_LE(first.earliest, now) << "a reading taken before is no later";
    ASSERT_GE(second.latest, now) << "a reading taken after is no earlier";
  }
}

TEST(HotClock, ThePastIsWhatThisThreadSawLast) {
  const HotClock hot;
  std::thread([&] { EXPECT_EQ(hot.past().earliest, kNever) << "it has not looked yet"; }).join();
  const ElapsedClock elapsed;
  for (int i = 0; i < 20'000; ++i) {
    const ClockReading now = hot.now(), past = hot.past();
    ASSERT_EQ(past.earliest, now.earliest);
    ASSERT_EQ(past.latest, now.latest);
    ASSERT_LE(past.earliest, elapsed.now());
  }
}

TEST(HotClock, ThreadsAgree) {
  const HotClock hot;
  const ClockReading here = hot.now();
  ClockReading there;
  std::thread([&] { there = hot.now(); }).join();
  EXPECT_GE(there.latest, here.earliest);
  EXPECT_LT(there.suspended_ns - here.suspended_ns, kSuspendTolerance);
}

TEST(DisruptionDetector, IsQuietWhileNothingHappens) {  // C2
  DisruptionDetector detector;
  for (int i = 0; i < 10'000; ++i) ASSERT_FALSE(detector.poll());
  EXPECT_EQ(detector.epoch(), 0u);
}

TEST(WhoSharesAClock, IsKnown) {
  const auto boot = machine_boot_id();
  ASSERT_TRUE(boot.has_value()) << boot.error().message;
  EXPECT_EQ(boot->size(), 36u);
  EXPECT_TRUE(time_namespace_id().has_value());
}

TEST(WhoSharesAClock, CannotBeToldWhereProcIsSomethingElse) {
  std::string root = (std::filesystem::temp_directory_path() / "tidelock-base-XXXXXX").string();
  ASSERT_NE(::mkdtemp(root.data()), nullptr);
  std::filesystem::create_directories(root + "/proc");
  std::ofstream(root + "/proc/self") << "a file where a folder belongs";
  bool entered = false;
  Result<std::uint64_t> id = 0;
  std::thread([&] {  // a root folder of this thread alone, gone with it
    entered = ::unshare(CLONE_FS) == 0 && ::chroot(root.c_str()) == 0;
    if (entered) id = time_namespace_id();
  })
      .join();
  std::filesystem::remove_all(root);
  if (!entered) GTEST_SKIP() << "needs root";
  ASSERT_FALSE(id) << "0 would pass for a kernel without time namespaces";
  EXPECT_EQ(id.error().code, Code::kUnavailable);
  EXPECT_EQ(id.error().message, "/proc/self/ns/time: Not a directory");
}

}  // namespace
}  // namespace tidelock
