// TransferBudget decides how many bytes of models a gateway may bring over its link now, and when more (M3): a rate, a
// budget for each day and each month, and the hours in which transfers may run.
//
// Pure; one thread; every call is O(windows). It decides, the owner asks for the bytes and stores what is spent.
//
// Hard:      what a budget allows is never exceeded: bytes are charged before they are asked for, and the last grant is
//            cut to what is left. What a broken connection lost on its way stays charged.
// Durable:   `spent()` holds a reserve beyond what was granted. It must be stored before bytes of an answer that says
//            `store` are asked for; then a kill at any instruction costs some of a budget and never gives any back.
// Time:      the elapsed clock paces. The wall clock, in UTC, says which day, month and hour it is. Days never go back
// (C4):
//            the day is that of the latest wall time ever seen, moved on by the elapsed clock, so a wall clock that
//            steps back gives no second budget for a day, and one that was wrong ends no transfer for longer than a
//            day. The hours are those of the wall clock as it is.
// Units:     bytes on the wire, as far as the owner can tell (it adds what TLS and framing cost).
// No promise: that bytes which the link carried twice are counted twice.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace tidelock {

inline constexpr std::uint32_t kMinutesOfDay = 24 * 60;
inline constexpr std::size_t kTransferWindowsMax = 16;

struct TransferWindow {        // of each day, UTC; a window may pass midnight
  std::uint32_t from_min = 0;  // minute of the day, first one inside
  std::uint32_t to_min = 0;    // first one outside; kMinutesOfDay = midnight
  friend bool operator==(const TransferWindow&, const TransferWindow&) = default;
};
// "22:00-06:00". kInvalid says what would be right.
Result<TransferWindow> parse_transfer_window(std::string_view text);
std::string transfer_window_text(const TransferWindow& window);

struct TransferLimits {                    // 0 = unlimited
  std::uint64_t rate_bytes_per_s = 0;      // on average; bursts of a second, or one grant
  std::uint64_t daily_budget_bytes = 0;    // of a day, UTC
  std::uint64_t monthly_budget_bytes = 0;  // of a calendar month, UTC
  std::vector<TransferWindow> windows;     // none: at all times
  friend bool operator==(const TransferLimits&, const TransferLimits&) = default;
};

struct TransferSpent {              // what is stored (codec/archive.h)
  std::uint64_t wall_floor_ms = 0;  // C4: the latest time these counters belong to
  std::uint64_t day = 0, day_bytes = 0;
  std::uint64_t month = 0, month_bytes = 0;  // month: of the year 0 on
  template <class A>
  void fields(A& a) {
    a(wall_floor_ms, day, day_bytes, month, month_bytes);
  }
  friend bool operator==(const TransferSpent&, const TransferSpent&) = default;
};

enum class TransferWait : std::uint8_t { kNone, kRate, kDaily, kMonthly, kWindow };

struct TransferGrant {
  std::uint64_t bytes = 0;                 // charged; 0: not now
  bool store = false;                      // first store spent()
  TransferWait why = TransferWait::kNone;  // bytes == 0: what is in the way
  Nanos wait_ns = 0;                       // and for how long, as far as can be told
  std::uint64_t day = 0;                   // that they are charged to
};

class TransferBudget {
 public:
  struct Time {
    Nanos now = 0;              // elapsed clock
    std::uint64_t wall_ms = 0;  // Unix epoch
  };
  // `spent` as it was stored last; empty at the first start.
  TransferBudget(TransferLimits limits, const TransferSpent& spent);

  // At most `wanted` bytes, charged. Less than `wanted` only where a budget ends.
  TransferGrant take(const Time& time, std::uint64_t wanted);
  // Bytes that were granted on `day` and surely never asked for. Those of an earlier day are forgotten.
  void give_back(const Time& time, std::uint64_t day, std::uint64_t bytes);
  // Bytes that came without having been granted: a peer that cannot be told how much to send. All are charged; store
  // spent().
  void charge(const Time& time, std::uint64_t bytes);
  // Whether a budget or the hours forbid any byte now; the rate does not count.
  TransferGrant look(const Time& time);

  // To be stored: what was granted and the reserve.
  const TransferSpent& spent() const { return stored_; }
  // Without the reserve: for an orderly end, after which nothing is granted.
  TransferSpent settle();
  // What is charged of this day and month so far.
  std::uint64_t day_bytes() const { return exact_.day_bytes; }
  std::uint64_t month_bytes() const { return exact_.month_bytes; }
  const TransferLimits& limits() const { return limits_; }

 private:
  void move_on(const Time& time);
  std::uint64_t reserve() const;

  const TransferLimits limits_;
  TransferSpent exact_;
  TransferSpent stored_;
  bool timed_ = false;
  Nanos floor_at_ = 0;       // when exact_.wall_floor_ms was right, on the elapsed clock
  Nanos tokens_at_ = 0;      // of the rate
  std::int64_t tokens_ = 0;  // bytes; negative: a grant that is not paid for yet
};

// "the daily budget of 10485760 bytes is spent": for reports and logs.
std::string transfer_wait_text(TransferWait why, const TransferLimits& limits);

}  // namespace tidelock
