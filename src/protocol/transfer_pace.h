// TransferPace keeps a transfer from filling the link's queue, so that what matters more is not held up by it (M3). It
// says how many bytes may be asked for and not yet here: the window.
//
// The wait for bytes that were asked for is the link's round trip plus what waits in its queues. The smallest wait of
// the last minutes is taken for the round trip; what is above it is queue, and the window moves towards a queue of
// `target_ns()`, a quarter of the round trip within bounds: the more it is below, the faster the window grows, and it
// shrinks while it is above. A window at its least makes no queue of its own: what is waited for then, a while long, is
// the round trip, whatever was believed before. (The idea of LEDBAT, RFC 6817, with a target that a heartbeat can
// bear.)
//
// Pure; one thread; O(1). What it learnt survives a break of the connection, not the process.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace tidelock {

class TransferPace {
 public:
  static constexpr std::uint64_t kWindowBytesFirst = 16u << 10;
  static constexpr std::uint64_t kWindowBytesMin = 4u << 10;
  static constexpr std::uint64_t kWindowBytesMax = 1u << 20;

  // `bytes` that came after a wait of `wait_ns` since they were asked for.
  void on_arrival(Nanos now, Nanos wait_ns, std::uint64_t bytes);
  // A heartbeat's round trip on the same link, smoothed as the session keeps it: so it is no measure of the least.
  void on_round_trip(Nanos wait_ns);
  // A transfer begins, perhaps after a rest: the link may be another one by now, so the window begins low, and quickly
  // reaches what it was.
  void begin();
  // The connection broke.
  void on_break();

  std::uint64_t window_bytes() const { return window_bytes_; }
  Nanos round_trip_ns() const;  // 0: not known yet
  Nanos target_ns() const;      // of the queue

  // How large one message may be. What of a message is on its way when a connection breaks travels again, each message
  // costs a little: so small ones at first, larger ones the longer the connection holds.
  std::uint32_t piece_bytes() const;

 private:
  void learn(Nanos now, Nanos wait_ns);
  void adjust(Nanos wait_ns, std::uint64_t bytes);

  std::uint64_t window_bytes_ = kWindowBytesFirst;
  bool starting_ = true;  // the window doubles with each round trip until there is a queue, or it is what it was
  std::uint64_t former_bytes_ = kWindowBytesMax;
  Nanos lowest_ns_ = kForever, lowest_before_ns_ = kForever;  // of this span of time, and of the one before
  Nanos span_since_ = kNever;
  std::array<Nanos, 3> recent_ns_{kForever, kForever, kForever};  // the least of them counts: one wait is often noise
  std::size_t recent_at_ = 0;
  int at_least_ = 0;  // arrivals in a row with the window at its least
  Nanos lowest_at_least_ns_ = kForever;
  std::uint64_t unbroken_bytes_ = 0;
};

}  // namespace tidelock
