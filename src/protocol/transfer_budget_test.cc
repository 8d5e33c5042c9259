// M3: a byte rate and hard budgets. What is granted is counted here by a plain twin, over kills and clocks that step.
#include "protocol/transfer_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>

#include "base/rng.h"
#include "codec/archive.h"

namespace tidelock {
namespace {

constexpr std::uint64_t kMinuteMs = 60'000, kHourMs = 60 * kMinuteMs, kDayMs = 24 * kHourMs;
constexpr std::uint64_t kNoonMs = 20'000 * kDayMs + 12 * kHourMs;  // 4 October 2024, 12:00 UTC
constexpr std::uint64_t kMiB = 1u << 20;

TransferBudget::Time at(std::uint64_t wall_ms, Nanos now = 0) { return {now, wall_ms}; }

TEST(TransferBudget, WindowsAreWrittenAsTimesOfTheDay) {  // M3
  struct Case {
    const char* why;
    const char* text;
    std::optional<TransferWindow> means;
  };
  const Case cases[] = {
      {"over midnight", "22:00-06:00", TransferWindow{1320, 360}},
      {"until midnight", "00:00-24:00", TransferWindow{0, 1440}},
      {"the same twice: never or always?", "06:00-06:00", std::nullopt},
      {"24:00 begins nothing", "24:00-06:00", std::nullopt},
      {"no such minute", "22:60-06:00", std::nullopt},
      {"no such hour", "22:00-25:00", std::nullopt},
      {"past the last minute", "22:00-24:01", std::nullopt},
      {"one digit", "2:00-06:00", std::nullopt},
      {"words", "night-day!!", std::nullopt},
      {"nothing", "", std::nullopt},
  };
  for (const Case& c : cases) {
    const auto window = parse_transfer_window(c.text);
    ASSERT_EQ(window.has_value(), c.means.has_value()) << c.why;
    if (window) {
      EXPECT_EQ(*window, *c.means) << c.why;
      EXPECT_EQ(transfer_window_text(*window), c.text) << c.why;
    } else {
      EXPECT_NE(window.error().message.find("22:00-06:00"), std::string::npos) << c.why << ": says what would be right";
    }
  }
}

TEST(TransferBudget, SaysWhatIsInTheWayAndForHowLong) {  // M3
  struct Case {
    const char* why;
    TransferLimits limits;
    TransferSpent spent;
    std::uint64_t wall_ms;
    std::uint64_t bytes;  // of a MiB that is wanted
    TransferWait wait = TransferWait::kNone;
    std::uint64_t wait_ms = 0;
  };
  const std::uint64_t day = kNoonMs / kDayMs, month = 2024 * 12 + 9;
  const TransferLimits none, daily{0, 10 * kMiB, 0, {}}, both{0, 10 * kMiB, 20 * kMiB, {}},
      night{0, 0, 0, {{1320, 360}}};
  const auto spent = [&](std::uint64_t of_day, std::uint64_t of_month) {
    return TransferSpent{kNoonMs, day, of_day, month, of_month};
  };
  const Case cases[] = {
      {"no limits", none, {}, kNoonMs, kMiB},
      {"the first bytes of a day", daily, {}, kNoonMs, kMiB},
      {"the last bytes of a day: the grant is cut", daily, spent(10 * kMiB - 100, 0), kNoonMs, 100},
      {"the day is spent", daily, spent(10 * kMiB, 0), kNoonMs, 0, TransferWait::kDaily, 12 * kHourMs},
      {"more than the budget was spent before it was lowered", daily, spent(50 * kMiB, 0), kNoonMs, 0,
       TransferWait::kDaily, 12 * kHourMs},
      {"the next day", daily, spent(10 * kMiB, 0), kNoonMs + 12 * kHourMs, kMiB},
      {"a clock that stepped back gives no second budget", daily, spent(10 * kMiB, 0), kNoonMs - 5 * kDayMs, 0,  // C4
       TransferWait::kDaily, 12 * kHourMs},
      {"the month is spent, the day is not", both, spent(0, 20 * kMiB), kNoonMs, 0, TransferWait::kMonthly,
       27 * kDayMs + 12 * kHourMs},
      {"the month cuts the grant", both, spent(0, 20 * kMiB - 7), kNoonMs, 7},
      {"the next month", both, spent(10 * kMiB, 20 * kMiB), kNoonMs + 28 * kDayMs, kMiB},
      {"outside the hours", night, {}, kNoonMs, 0, TransferWait::kWindow, 10 * kHourMs},
      {"inside, before midnight", night, {}, kNoonMs + 11 * kHourMs, kMiB},
      {"inside, after midnight", night, {}, kNoonMs + 17 * kHourMs, kMiB},
      {"the first minute outside", night, {}, kNoonMs + 18 * kHourMs, 0, TransferWait::kWindow, 16 * kHourMs},
      {"a clock that was never set", both, {}, 0, kMiB},
      {"a clock beyond all time", both, {}, ~0ull, kMiB},
      {"a stored row that is nonsense",
       daily,
       {~0ull, ~0ull, ~0ull, ~0ull, ~0ull},
       kNoonMs,
       0,
       TransferWait::kDaily,
       kDayMs - (2 * 253'402'300'800'000 % kDayMs)},
  };
  for (const Case& c : cases) {
    TransferBudget budget(c.limits, c.spent);
    const TransferGrant grant = budget.take(at(c.wall_ms), kMiB);
    EXPECT_EQ(grant.bytes, c.bytes) << c.why;
    EXPECT_EQ(static_cast<int>(grant.why), static_cast<int>(c.wait)) << c.why;
    EXPECT_EQ(grant.wait_ns, static_cast<Nanos>(c.wait_ms) * kMillisecond) << c.why;
    EXPECT_EQ(transfer_wait_text(grant.why, c.limits).empty(), false) << c.why;
  }
}

TEST(TransferBudget, MonthsAreThoseOfTheCalendar) {
  struct Case {
    const char* why;
    std::uint64_t day;                     // since 1970-01-01
    std::uint64_t year, month, days_left;  // this one included
  };
  const Case cases[] = {
      {"the first", 0, 1970, 1, 31},       {"the last of a year", 364, 1970, 12, 1},
      {"a leap day", 19'782, 2024, 2, 1},  {"no leap day in 2100", 47'540, 2100, 2, 1},
      {"one in 2000", 11'016, 2000, 2, 1}, {"the first of March", 19'783, 2024, 3, 31},
      {"New Year", 19'723, 2024, 1, 31},
  };
  for (const Case& c : cases) {
    TransferBudget budget({0, 0, 1, {}}, {});
    budget.take(at(c.day * kDayMs), 1);
    EXPECT_EQ(budget.spent().month, c.year * 12 + c.month - 1) << c.why;
    EXPECT_EQ(budget.look(at(c.day * kDayMs)).wait_ns, static_cast<Nanos>(c.days_left * kDayMs) * kMillisecond)
        << c.why;
  }
}

TEST(TransferBudget, AWallClockThatStandsStillEndsNoTransferForLongerThanADay) {  // C4
  TransferBudget budget({0, 100, 0, {}}, {});
  EXPECT_EQ(budget.take(at(kNoonMs + 9 * kDayMs), 1'000).bytes, 100u) << "a clock that is nine days ahead";
  // It is set right, and does not reach that day for long; the elapsed clock ends the day all the same.
  EXPECT_EQ(budget.take(at(kNoonMs, kSecond), 1'000).bytes, 0u);
  EXPECT_EQ(budget.take(at(kNoonMs, 11 * 3'600 * kSecond), 1'000).bytes, 0u);
  EXPECT_EQ(budget.take(at(kNoonMs, 13 * 3'600 * kSecond), 1'000).bytes, 100u);
}

TEST(TransferBudget, GivesBackOnlyWhatWasChargedToTheSameDay) {  // M3
  TransferBudget budget({0, 100, 150, {}}, {});
  const TransferGrant first = budget.take(at(kNoonMs), 100);
  budget.give_back(at(kNoonMs), first.day, 60);
  EXPECT_EQ(budget.day_bytes(), 40u);
  EXPECT_EQ(budget.take(at(kNoonMs), 100).bytes, 60u);
  EXPECT_EQ(budget.take(at(kNoonMs + kDayMs), 100).bytes, 50u) << "what is left of the month";
  budget.give_back(at(kNoonMs + kDayMs), first.day, 40);
  EXPECT_EQ(budget.take(at(kNoonMs + kDayMs), 100).bytes, 0u) << "yesterday's bytes are no room for today";
}

TEST(TransferBudget, WhatCameUnaskedIsChargedInFull) {  // M3
  TransferBudget budget({1'000, 5'000, 0, {}}, {});
  budget.charge(at(kNoonMs), 4'000);
  TransferGrant grant = budget.take(at(kNoonMs), 10);
  EXPECT_EQ(static_cast<int>(grant.why), static_cast<int>(TransferWait::kRate));
  EXPECT_EQ(grant.wait_ns / kMillisecond, 3'001) << "three seconds of debt, and one byte";
  budget.charge(at(kNoonMs), 4'000);
  EXPECT_EQ(budget.spent().day_bytes, 8'000u) << "more than the budget, and truly so";
  grant = budget.take(at(kNoonMs, 60 * kSecond), 10);
  EXPECT_EQ(static_cast<int>(grant.why), static_cast<int>(TransferWait::kDaily));
}

// Over any stretch: no more than the rate allows, a burst of one second and one grant.
TEST(TransferBudget, TheRateHoldsOverEveryStretch) {  // M3
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    const std::uint64_t rate = 1 + rng.below(200'000), largest = 1 + rng.below(64'000);
    TransferBudget budget({rate, 0, 0, {}}, {});
    Nanos now = static_cast<Nanos>(rng.below(1'000'000'000));
    const Nanos begin = now;
    std::uint64_t sum = 0;
    for (int step = 0; step < 400; ++step) {
      const TransferGrant grant = budget.take({now, kNoonMs}, 1 + rng.below(largest));
      sum += grant.bytes;
      const double allowed =
          static_cast<double>(rate) * static_cast<double>(now - begin) / 1e9 + static_cast<double>(rate + largest);
      ASSERT_LE(static_cast<double>(sum), allowed + 1) << "seed " << seed << " step " << step;
      if (grant.bytes == 0) {
        ASSERT_EQ(static_cast<int>(grant.why), static_cast<int>(TransferWait::kRate));
        ASSERT_GT(grant.wait_ns, 0);
        now += grant.wait_ns;
        ASSERT_GT(budget.take({now, kNoonMs}, 1).bytes, 0u) << "the wait it named was long enough, seed " << seed;
        ++sum;
      } else {
        now += static_cast<Nanos>(rng.below(300'000'000));
      }
    }
    // And it is used: who always waits as told loses nothing.
    const double earned = static_cast<double>(rate) * static_cast<double>(now - begin) / 1e9;
    if (largest > rate) {
      EXPECT_GE(static_cast<double>(sum), earned * 0.5 - 2) << "seed " << seed;
    }
  }
}

// A gateway that is killed at any time, whose clock jumps either way: no day and no month ever gets more than its
// budget.
TEST(TransferBudget, NoKillAndNoClockGivesABudgetTwice) {  // M3 C4
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Rng rng(seed);
    const TransferLimits limits{0, 1 + rng.below(2 * kMiB), 1 + rng.below(20 * kMiB), {}};
    TransferSpent stored;
    std::map<std::uint64_t, std::uint64_t> days;
    std::map<std::uint64_t, std::uint64_t> months;
    std::uint64_t wall_ms = kNoonMs;
    std::uint64_t best = 0;
    for (int run = 0; run < 12; ++run) {
      TransferBudget budget(limits, stored);
      Nanos now = 0;
      for (int step = 0; step < 30; ++step) {
        const std::uint64_t jump = rng.below(4 * kHourMs);
        now += static_cast<Nanos>(rng.below(4 * kHourMs)) * kMillisecond;
        wall_ms = rng.one_in(5) ? wall_ms - std::min<std::uint64_t>(wall_ms, jump * 20) : wall_ms + jump;
        const TransferGrant grant = budget.take({now, wall_ms}, 1 + rng.below(kMiB));
        if (grant.store) {
          stored = *decode<TransferSpent>(encode(budget.spent()), "spent");
          if (rng.one_in(20)) break;  // killed: stored, never asked for
        }
        days[budget.spent().day] += grant.bytes;
        months[budget.spent().month] += grant.bytes;
        best = std::max(best, days[budget.spent().day]);
        if (rng.one_in(15)) break;  // killed
        if (rng.one_in(15)) {       // stopped
          stored = budget.settle();
          break;
        }
      }
    }
    for (const auto& [day, bytes] : days)
      EXPECT_LE(bytes, limits.daily_budget_bytes) << "seed " << seed << " day " << day;
    for (const auto& [month, bytes] : months) EXPECT_LE(bytes, limits.monthly_budget_bytes) << "seed " << seed;
    EXPECT_GT(best, 0u) << "seed " << seed;
  }
}

TEST(TransferBudget, AKillCostsAReserveAndNoMore) {  // M3
  const TransferLimits limits{0, 10 * kMiB, 0, {}};
  TransferBudget budget(limits, {});
  std::uint64_t asked = 0;
  int stores = 0;
  for (int i = 0; i < 100; ++i) {
    const TransferGrant grant = budget.take(at(kNoonMs), 16 << 10);
    asked += grant.bytes;
    stores += grant.store;
  }
  EXPECT_LE(stores, 12) << "a sync each 160 KiB, not each grant";
  TransferBudget again(limits, budget.spent());
  std::uint64_t rest = 0;
  while (const std::uint64_t bytes = again.take(at(kNoonMs), 16 << 10).bytes) rest += bytes;
  EXPECT_LE(asked + rest, limits.daily_budget_bytes);
  EXPECT_GE(asked + rest, limits.daily_budget_bytes - limits.daily_budget_bytes / 32);
}

}  // namespace
}  // namespace tidelock
