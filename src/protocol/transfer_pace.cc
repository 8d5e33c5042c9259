#include "protocol/transfer_pace.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tidelock {
namespace {

constexpr Nanos kSpan = 120 * kSecond;  // after two of them an old round trip is forgotten: routes change
constexpr Nanos kTargetMin = 5 * kMillisecond;
constexpr Nanos kTargetMax = 75 * kMillisecond;
constexpr double kGrowBytes = 8u << 10;  // in one round trip, when there is no queue at all
constexpr std::uint64_t kWindowBytesBegin = 32u << 10;
constexpr int kBelievedAfter = 8;         // arrivals with the window at its least
constexpr double kShrinkMost = 0.5;       // in one round trip
constexpr double kMessageCostBytes = 44;  // TLS record, HTTP/2 and gRPC framing
constexpr double kPieceBytesMin = 4u << 10;
constexpr double kPieceBytesMax = 64u << 10;

}  // namespace

Nanos TransferPace::round_trip_ns() const {
  const Nanos lowest = std::min(lowest_ns_, lowest_before_ns_);
  return lowest == kForever ? 0 : lowest;
}

Nanos TransferPace::target_ns() const { return std::clamp(round_trip_ns() / 4, kTargetMin, kTargetMax); }

void TransferPace::learn(Nanos now, Nanos wait_ns) {
  if (span_since_ == kNever || saturating_sub(now, span_since_) >= kSpan) {
    if (span_since_ != kNever) lowest_before_ns_ = lowest_ns_;
    lowest_ns_ = kForever;
    span_since_ = now;
  }
  lowest_ns_ = std::min(lowest_ns_, wait_ns);
}

void TransferPace::on_arrival(Nanos now, Nanos wait_ns, std::uint64_t bytes) {
  wait_ns = std::max<Nanos>(1, wait_ns);
  unbroken_bytes_ += std::min<std::uint64_t>(bytes, 1ull << 30);
  learn(now, wait_ns);
  if (window_bytes_ > kWindowBytesMin) {
    at_least_ = 0;
    lowest_at_least_ns_ = kForever;
  } else {
    lowest_at_least_ns_ = std::min(lowest_at_least_ns_, wait_ns);
    if (++at_least_ >= kBelievedAfter) {
      lowest_before_ns_ = kForever;
      lowest_ns_ = std::exchange(lowest_at_least_ns_, kForever);
      span_since_ = now;
      at_least_ = 0;
      starting_ = true;
      former_bytes_ = kWindowBytesMax;
    }
  }
  recent_ns_[recent_at_++ % recent_ns_.size()] = wait_ns;
  adjust(*std::min_element(recent_ns_.begin(), recent_ns_.end()), bytes);
}

void TransferPace::on_round_trip(Nanos wait_ns) {
  wait_ns = std::max<Nanos>(1, wait_ns);
  if (round_trip_ns() == 0) return;
  // Only a queue that is surely too long says something about the window: the heartbeat may have waited for others.
  if (saturating_sub(wait_ns, round_trip_ns()) > 2 * target_ns()) adjust(wait_ns, window_bytes_ / 4);
}

void TransferPace::adjust(Nanos wait_ns, std::uint64_t bytes) {
  const auto queue = static_cast<double>(saturating_sub(wait_ns, round_trip_ns()));
  const double off = (static_cast<double>(target_ns()) - queue) / static_cast<double>(target_ns());
  const auto window = static_cast<double>(window_bytes_);
  const double share = std::min(1.0, static_cast<double>(bytes) / window);  // of a round trip
  if (starting_ && off < 0.5) starting_ = false;
  double next = window;
  if (starting_) {
    next += static_cast<double>(bytes);
    if (next >= static_cast<double>(former_bytes_)) {
      next = static_cast<double>(former_bytes_);
      starting_ = false;
    }
  } else if (off >= 0) {
    next += off * share * kGrowBytes;
  } else {
    next -= window * std::min(kShrinkMost, -off * kShrinkMost) * share;
  }
  window_bytes_ = static_cast<std::uint64_t>(
      std::clamp(next, static_cast<double>(kWindowBytesMin), static_cast<double>(kWindowBytesMax)));
}

void TransferPace::begin() {
  recent_ns_.fill(kForever);
  if (window_bytes_ <= kWindowBytesBegin) return;
  former_bytes_ = window_bytes_;
  window_bytes_ = kWindowBytesBegin;
  starting_ = true;
}

void TransferPace::on_break() { unbroken_bytes_ = 0; }

std::uint32_t TransferPace::piece_bytes() const {
  // Lost with a break: half a message. Spent until then: a message's cost for each of them. The sum is least here, if
  // the connection holds for as long again as it has held.
  const double best = std::sqrt(2 * kMessageCostBytes * static_cast<double>(unbroken_bytes_));
  return static_cast<std::uint32_t>(std::clamp(best, kPieceBytesMin, kPieceBytesMax));
}

}  // namespace tidelock
