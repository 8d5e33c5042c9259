// M3: heartbeats ahead of bulk. The controller drives a link here that is a line of known rate with a queue in front.
#include "protocol/transfer_pace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <vector>

#include "base/rng.h"

namespace tidelock {
namespace {

struct Line {
  std::uint64_t rate;  // bytes/s
  Nanos round_trip;
  Nanos free_at = 0;
};

struct Outcome {
  double used = 0;      // share of the line's rate, after the first seconds
  Nanos queue_p99 = 0;  // that a heartbeat would have met
  std::uint64_t window = 0;
};

// Asks in pieces as the window allows; each piece waits for those before it in the line.
Outcome drive(TransferPace& pace, Line line, Nanos seconds, std::uint64_t piece, Rng& rng, Nanos jitter = 0) {
  struct Sent {
    Nanos asked, due;
  };
  std::deque<Sent> under_way;
  std::vector<Nanos> queues;
  std::uint64_t arrived = 0, outstanding = 0;
  const Nanos warm = 8 * kSecond;
  for (Nanos now = 0; now < seconds * kSecond; now += 2 * kMillisecond) {
    while (!under_way.empty() && under_way.front().due <= now) {
      pace.on_arrival(now, now - under_way.front().asked, piece);
      outstanding -= piece;
      if (now > warm) arrived += piece;
      under_way.pop_front();
    }
    while (outstanding + piece <= pace.window_bytes()) {
      line.free_at = std::max(now, line.free_at) + static_cast<Nanos>(piece * 1'000'000'000 / line.rate);
      const Nanos extra = jitter > 0 ? static_cast<Nanos>(rng.below(static_cast<std::uint64_t>(jitter))) : 0;
      const Nanos due = std::max(line.free_at + line.round_trip + extra, under_way.empty() ? 0 : under_way.back().due);
      under_way.push_back({now, due});
      outstanding += piece;
    }
    if (now > warm) queues.push_back(std::max<Nanos>(0, line.free_at - now));
  }
  std::sort(queues.begin(), queues.end());
  return {static_cast<double>(arrived) / (static_cast<double>(seconds) - 8) / static_cast<double>(line.rate),
          queues[queues.size() * 99 / 100], pace.window_bytes()};
}

TEST(TransferPace, FillsALinkAndLeavesItsQueueShort) {  // M3
  struct Case {
    const char* why;
    Line line;
    std::uint64_t piece;
    Nanos jitter;
    double used_min;
    double queue_max = 1;  // in round trips
  };
  const Case cases[] = {
      {"LTE at its worst: 1 Mbit/s, 300 ms", {125'000, 300 * kMillisecond}, 4096, 0, 0.85},
      {"the same, shaken", {125'000, 300 * kMillisecond}, 4096, 20 * kMillisecond, 0.7},
      {"20 Mbit/s, 60 ms", {2'500'000, 60 * kMillisecond}, 8192, 0, 0.8},
      {"a slow radio: 64 kbit/s, 800 ms", {8'000, 800 * kMillisecond}, 4096, 0, 0.5, 2.2},
  };
  for (const Case& c : cases) {
    Rng rng(1);
    TransferPace pace;
    const Outcome outcome = drive(pace, c.line, 60, c.piece, rng, c.jitter);
    EXPECT_GE(outcome.used, c.used_min) << c.why << ", window " << outcome.window;
    // A heartbeat takes no longer than twice its round trip; a line that two pieces fill for longer is excused.
    EXPECT_LE(static_cast<double>(outcome.queue_p99), c.queue_max * static_cast<double>(c.line.round_trip))
        << c.why << ", window " << outcome.window;
  }
}

TEST(TransferPace, KeepsWhatItLearntOverABreak) {  // M3
  Rng rng(2);
  TransferPace pace;
  drive(pace, {125'000, 300 * kMillisecond}, 30, 4096, rng);
  const std::uint64_t window = pace.window_bytes();
  EXPECT_GT(window, TransferPace::kWindowBytesFirst);
  pace.on_break();
  pace.begin();
  EXPECT_LE(pace.window_bytes(), 32u << 10) << "the link may be another one";
  for (int i = 0; i < 8; ++i) pace.on_arrival((31 + i) * kSecond, 310 * kMillisecond, 8 << 10);
  EXPECT_GE(pace.window_bytes(), window * 9 / 10) << "it is the same";
  EXPECT_EQ(pace.piece_bytes(), 4096u) << "but it breaks: small messages again";
}

TEST(TransferPace, PiecesGrowWhileAConnectionHolds) {
  TransferPace pace;
  std::uint32_t before = pace.piece_bytes();
  EXPECT_EQ(before, 4096u);
  for (int i = 0; i < 1'000; ++i) {
    pace.on_arrival(i * kMillisecond, kMillisecond, 100'000);
    ASSERT_GE(pace.piece_bytes(), before);
    before = pace.piece_bytes();
  }
  EXPECT_EQ(before, 64u << 10);
}

TEST(TransferPace, AHeartbeatThatWaitsShrinksTheWindow) {  // M3
  TransferPace pace;
  for (int i = 0; i < 20; ++i) pace.on_arrival(i * 100 * kMillisecond, 100 * kMillisecond, 64 << 10);
  const std::uint64_t window = pace.window_bytes();
  pace.on_round_trip(101 * kMillisecond);
  EXPECT_EQ(pace.window_bytes(), window) << "as quick as ever";
  pace.on_round_trip(400 * kMillisecond);
  EXPECT_LT(pace.window_bytes(), window);
}

TEST(TransferPace, AGatewayThatMovesToASlowLinkIsQuickAgain) {  // M3
  Rng rng(3);
  TransferPace pace;
  drive(pace, {50'000'000, kMillisecond}, 20, 4096, rng);
  pace.begin();
  const Outcome outcome = drive(pace, {125'000, 300 * kMillisecond}, 60, 4096, rng);
  EXPECT_GE(outcome.used, 0.8) << "window " << outcome.window << ": 300 ms are not taken for a queue for ever";
  EXPECT_LE(outcome.queue_p99, 300 * kMillisecond);
}

TEST(TransferPace, ALongerRoundTripIsBelievedInTheEnd) {
  TransferPace pace;
  pace.on_arrival(0, 20 * kMillisecond, 1000);
  EXPECT_EQ(pace.round_trip_ns(), 20 * kMillisecond);
  for (int second = 1; second < 300; ++second) pace.on_arrival(second * kSecond, 300 * kMillisecond, 1000);
  EXPECT_EQ(pace.round_trip_ns(), 300 * kMillisecond) << "the route changed four minutes ago";
}

TEST(TransferPace, StaysWithinItsBoundsWhateverItIsTold) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Rng rng(seed);
    TransferPace pace;
    for (int i = 0; i < 500; ++i) {
      const auto now = static_cast<Nanos>(rng.next()), wait = static_cast<Nanos>(rng.next());
      if (rng.one_in(3)) pace.on_round_trip(wait);
      if (rng.one_in(9)) pace.on_break();
      pace.on_arrival(now, wait, rng.next());
      ASSERT_GE(pace.window_bytes(), TransferPace::kWindowBytesMin);
      ASSERT_LE(pace.window_bytes(), TransferPace::kWindowBytesMax);
      ASSERT_GE(pace.piece_bytes(), 4096u);
      ASSERT_LE(pace.piece_bytes(), 64u << 10);
    }
  }
}

}  // namespace
}  // namespace tidelock
