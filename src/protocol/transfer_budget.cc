#include "protocol/transfer_budget.h"

#include <algorithm>
#include <limits>

namespace tidelock {
namespace {

constexpr std::uint64_t kMsOfMinute = 60'000;
constexpr std::uint64_t kMsOfDay = kMinutesOfDay * kMsOfMinute;
constexpr std::uint64_t kReserveBytesMax = 256u << 10;
constexpr std::uint64_t kReserveBytesMin = 4u << 10;
constexpr std::uint64_t kWallMsMax = 253'402'300'800'000;  // the year 10000: arithmetic stays small

bool leap(std::uint64_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }
std::uint64_t days_of(std::uint64_t month) {
  constexpr std::uint64_t kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return kDays[month % 12] + (month % 12 == 1 && leap(month / 12) ? 1 : 0);
}
// Of the Gregorian calendar; days count from 1970-01-01, months from January of the year 0.
std::uint64_t first_day_of(std::uint64_t month) {
  const auto leaps_until = [](std::uint64_t year) { return year / 4 - year / 100 + year / 400; };
  const std::uint64_t year = month / 12;
  std::uint64_t day = (year - 1970) * 365 + leaps_until(year - 1) - leaps_until(1969);
  for (std::uint64_t before = year * 12; before < month; ++before) day += days_of(before);
  return day;
}
std::uint64_t month_of_day(std::uint64_t day) {
  std::uint64_t year = 1970 + day / 366;  // never too late, and hardly ever more than one year in a thousand too early
  while (first_day_of((year + 1) * 12) <= day) ++year;
  std::uint64_t month = year * 12;
  while (first_day_of(month + 1) <= day) ++month;
  return month;
}
Nanos ms_to_ns(std::uint64_t ms) { return static_cast<Nanos>(ms) * kMillisecond; }

bool inside(const TransferWindow& window, std::uint64_t minute) {
  if (window.from_min < window.to_min) return minute >= window.from_min && minute < window.to_min;
  return minute >= window.from_min || minute < window.to_min;
}

// Two digits each, "HH:MM"; 24:00 only as an end.
std::optional<std::uint32_t> minute_of(std::string_view text) {
  if (text.size() != 5 || text[2] != ':') return std::nullopt;
  std::uint32_t numbers[2] = {0, 0};
  for (const std::size_t at : {0u, 1u, 3u, 4u}) {
    if (text[at] < '0' || text[at] > '9') return std::nullopt;
    std::uint32_t& number = numbers[at > 2];
    number = number * 10 + static_cast<std::uint32_t>(text[at] - '0');
  }
  const std::uint32_t minute = numbers[0] * 60 + numbers[1];
  if (numbers[1] > 59 || minute > kMinutesOfDay) return std::nullopt;
  return minute;
}

}  // namespace

Result<TransferWindow> parse_transfer_window(std::string_view text) {
  const auto from = text.size() == 11 && text[5] == '-' ? minute_of(text.substr(0, 5)) : std::nullopt;
  const auto to = from ? minute_of(text.substr(6)) : std::nullopt;
  if (!to || *from == kMinutesOfDay || *from == *to) {
    return fail(Code::kInvalid, "\"" + std::string(text.substr(0, 64)) +
                                    "\": must be two different times of the day, UTC, as in \"22:00-06:00\"");
  }
  return TransferWindow{*from, *to};
}

std::string transfer_window_text(const TransferWindow& window) {
  const auto two = [](std::uint32_t number) { return (number < 10 ? "0" : "") + std::to_string(number); };
  const auto time = [&](std::uint32_t minute) { return two(minute / 60) + ":" + two(minute % 60); };
  return time(window.from_min) + "-" + time(window.to_min);
}

std::string transfer_wait_text(TransferWait why, const TransferLimits& limits) {
  switch (why) {
    case TransferWait::kDaily:
      return "the daily budget of " + std::to_string(limits.daily_budget_bytes) + " bytes is spent";
    case TransferWait::kMonthly:
      return "the monthly budget of " + std::to_string(limits.monthly_budget_bytes) + " bytes is spent";
    case TransferWait::kWindow: {
      std::string text = "transfers run at";
      for (const TransferWindow& window : limits.windows) text += " " + transfer_window_text(window);
      return text + " UTC only";
    }
    case TransferWait::kRate: return "the rate of " + std::to_string(limits.rate_bytes_per_s) + " bytes/s";
    case TransferWait::kNone: break;
  }
  return "nothing is in the way";
}

TransferBudget::TransferBudget(TransferLimits limits, const TransferSpent& spent)
    : limits_(std::move(limits)), exact_(spent), stored_(spent) {
  // What is stored may be anything: a time that is not one would stop the clock of the days.
  exact_.wall_floor_ms = std::min(exact_.wall_floor_ms, 2 * kWallMsMax);
  exact_.day = std::min(exact_.day, exact_.wall_floor_ms / kMsOfDay);
  exact_.month = std::min(exact_.month, month_of_day(exact_.day));
}

std::uint64_t TransferBudget::reserve() const {
  std::uint64_t least = kReserveBytesMax;
  for (const std::uint64_t budget : {limits_.daily_budget_bytes, limits_.monthly_budget_bytes}) {
    if (budget > 0) least = std::min(least, std::max(kReserveBytesMin, budget / 64));
  }
  return least;
}

void TransferBudget::move_on(const Time& time) {
  if (!timed_) {
    timed_ = true;
    floor_at_ = tokens_at_ = time.now;
    tokens_ = static_cast<std::int64_t>(std::min<std::uint64_t>(limits_.rate_bytes_per_s, 1ull << 40));
  }
  // C4: the later of the wall clock and of what it said before, moved on by the elapsed clock.
  const Nanos passed = std::max<Nanos>(0, saturating_sub(time.now, floor_at_));
  const std::uint64_t floor_ms = exact_.wall_floor_ms + static_cast<std::uint64_t>(passed / kMillisecond);
  const std::uint64_t wall_ms = std::max(floor_ms, std::min(time.wall_ms, kWallMsMax));
  if (wall_ms != exact_.wall_floor_ms) {
    // What is less than a millisecond stays to be counted, unless the wall clock said more.
    floor_at_ = wall_ms == floor_ms ? saturating_add(floor_at_, passed / kMillisecond * kMillisecond) : time.now;
    exact_.wall_floor_ms = wall_ms;
  }
  const std::uint64_t day = wall_ms / kMsOfDay;
  if (day > exact_.day || exact_.month == 0) {
    if (day > exact_.day) exact_.day_bytes = 0;
    exact_.day = std::max(day, exact_.day);
    if (const std::uint64_t month = month_of_day(exact_.day); month > exact_.month) {
      exact_.month = month;
      exact_.month_bytes = 0;
    }
  }
  if (limits_.rate_bytes_per_s > 0) {
    const Nanos since = std::max<Nanos>(0, saturating_sub(time.now, tokens_at_));
    const auto rate = static_cast<unsigned __int128>(limits_.rate_bytes_per_s);
    const auto earned = rate * static_cast<unsigned __int128>(since) / static_cast<unsigned __int128>(kSecond);
    if (earned > 0) {
      // Time is used up only as far as it made whole bytes.
      const auto used = earned * static_cast<unsigned __int128>(kSecond) / rate;
      tokens_at_ = saturating_add(
          tokens_at_, static_cast<Nanos>(std::min<unsigned __int128>(used, static_cast<unsigned __int128>(since))));
      const auto most = static_cast<std::int64_t>(std::min<std::uint64_t>(limits_.rate_bytes_per_s, 1ull << 40));
      const auto more = static_cast<std::int64_t>(std::min<unsigned __int128>(earned, 1ull << 41));
      tokens_ = std::min(most, tokens_ + more);
    }
  }
}

TransferGrant TransferBudget::look(const Time& time) {
  move_on(time);
  TransferGrant no;
  // The month first: it is the longer wait.
  if (limits_.monthly_budget_bytes > 0 && exact_.month_bytes >= limits_.monthly_budget_bytes) {
    no.why = TransferWait::kMonthly;
    no.wait_ns = ms_to_ns(first_day_of(exact_.month + 1) * kMsOfDay - exact_.wall_floor_ms);
    return no;
  }
  if (limits_.daily_budget_bytes > 0 && exact_.day_bytes >= limits_.daily_budget_bytes) {
    no.why = TransferWait::kDaily;
    no.wait_ns = ms_to_ns((exact_.day + 1) * kMsOfDay - exact_.wall_floor_ms);
    return no;
  }
  const std::uint64_t in_day_ms = time.wall_ms % kMsOfDay;
  const std::uint64_t minute = in_day_ms / kMsOfMinute;
  std::uint64_t least_ms = kMsOfDay;
  for (const TransferWindow& window : limits_.windows) {
    if (inside(window, minute)) return no;
    least_ms = std::min(least_ms, (window.from_min * kMsOfMinute + kMsOfDay - in_day_ms) % kMsOfDay);
  }
  if (limits_.windows.empty()) return no;
  no.why = TransferWait::kWindow;
  no.wait_ns = ms_to_ns(std::max<std::uint64_t>(1, least_ms));
  return no;
}

TransferGrant TransferBudget::take(const Time& time, std::uint64_t wanted) {
  TransferGrant grant = look(time);
  if (grant.why != TransferWait::kNone || wanted == 0) return grant;
  if (limits_.rate_bytes_per_s > 0 && tokens_ <= 0) {
    grant.why = TransferWait::kRate;
    const auto missing = static_cast<unsigned __int128>(1 - tokens_) * static_cast<unsigned __int128>(kSecond);
    const auto wait = missing / limits_.rate_bytes_per_s + 1;
    grant.wait_ns = static_cast<Nanos>(std::min<unsigned __int128>(wait, static_cast<unsigned __int128>(kForever)));
    return grant;
  }
  grant.bytes = std::min<std::uint64_t>(wanted, 1ull << 40);
  grant.day = exact_.day;
  if (limits_.daily_budget_bytes > 0)
    grant.bytes = std::min(grant.bytes, limits_.daily_budget_bytes - exact_.day_bytes);
  if (limits_.monthly_budget_bytes > 0)
    grant.bytes = std::min(grant.bytes, limits_.monthly_budget_bytes - exact_.month_bytes);
  tokens_ -= limits_.rate_bytes_per_s > 0 ? static_cast<std::int64_t>(grant.bytes) : 0;
  exact_.day_bytes += grant.bytes;
  exact_.month_bytes += grant.bytes;
  // M3: what is stored covers what is granted, before it is asked for. A day that only the stored row does not know
  // yet is stored too: a restart must find it begun.
  if (stored_.day != exact_.day || stored_.month != exact_.month || stored_.day_bytes < exact_.day_bytes ||
      stored_.month_bytes < exact_.month_bytes) {
    stored_ = exact_;
    // No further than a budget goes: beyond it nothing is granted anyway.
    const auto reserved = [&](std::uint64_t bytes, std::uint64_t budget) {
      return budget > 0 ? std::max(bytes, std::min(bytes + reserve(), budget)) : bytes + reserve();
    };
    stored_.day_bytes = reserved(exact_.day_bytes, limits_.daily_budget_bytes);
    stored_.month_bytes = reserved(exact_.month_bytes, limits_.monthly_budget_bytes);
    grant.store = true;
  }
  return grant;
}

void TransferBudget::charge(const Time& time, std::uint64_t bytes) {
  move_on(time);
  bytes = std::min<std::uint64_t>(bytes, 1ull << 40);
  tokens_ -= limits_.rate_bytes_per_s > 0 ? static_cast<std::int64_t>(bytes) : 0;
  exact_.day_bytes += bytes;
  exact_.month_bytes += bytes;
  stored_ = exact_;
}

void TransferBudget::give_back(const Time& time, std::uint64_t day, std::uint64_t bytes) {
  move_on(time);
  if (day != exact_.day) return;
  exact_.day_bytes -= std::min(exact_.day_bytes, bytes);
  exact_.month_bytes -= std::min(exact_.month_bytes, bytes);
  if (limits_.rate_bytes_per_s > 0) {
    const auto most = static_cast<std::int64_t>(std::min<std::uint64_t>(limits_.rate_bytes_per_s, 1ull << 40));
    tokens_ = std::min(most, tokens_ + static_cast<std::int64_t>(std::min<std::uint64_t>(bytes, 1ull << 40)));
  }
}

TransferSpent TransferBudget::settle() {
  stored_ = exact_;
  return exact_;
}

}  // namespace tidelock
