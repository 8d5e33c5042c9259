// World is one seed's universe: virtual time, one queue of things to happen, one generator of chance, one trace.
//
// Threads: one. Ownership: what is scheduled must stay valid until it ran; nodes check their incarnation instead.
// I12: nothing here or above reads a real clock, an address or an unordered container's order.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "base/time.h"

namespace tidelock::sim {

class World {
 public:
  explicit World(std::uint64_t seed) : seed_(seed), rng_(seed) {}

  Nanos now() const { return now_; }
  std::uint64_t seed() const { return seed_; }
  Rng& rng() { return rng_; }
  Nanos between(Nanos low, Nanos high) {
    return low + static_cast<Nanos>(rng_.below(static_cast<std::uint64_t>(high - low) + 1));
  }
  bool chance(std::uint64_t per_mille) { return rng_.below(1'000) < per_mille; }

  void at(Nanos when, std::function<void()> what) {
    queue_.emplace(std::pair{when > now_ ? when : now_, ++sequence_}, std::move(what));
  }
  void in(Nanos delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }
  // Everything due until `when`, in order. May be called by something that is running: it then waits meanwhile.
  void run_until(Nanos when) {
    while (!queue_.empty() && queue_.begin()->first.first <= when && !failed()) {
      auto node = queue_.extract(queue_.begin());
      now_ = node.key().first > now_ ? node.key().first : now_;
      ++events_;
      node.mapped()();
    }
    if (when > now_) now_ = when;
  }
  // Whoever runs is stopped here for a moment, or for long, while the others go on.
  void maybe_pause(std::uint64_t one_in) {
    if (depth_ >= kDepthMax || !pauses_ || !rng_.one_in(one_in)) return;
    const std::uint64_t kind = rng_.below(100);
    const Nanos span = kind < 70   ? between(1, kMillisecond)
                       : kind < 95 ? between(1, 100 * kMillisecond)
                                   : between(1, 4 * kSecond);
    ++depth_;
    run_until(now_ + span);
    --depth_;
  }
  void stop_pauses() { pauses_ = false; }

  void trace(std::uint64_t a, std::uint64_t b = 0, std::uint64_t c = 0) {
    for (const std::uint64_t word : {static_cast<std::uint64_t>(now_), a, b, c}) {
      hash_ = (hash_ ^ word) * 0x100000001B3ull;
      hash_ ^= hash_ >> 29;
    }
  }
  std::uint64_t trace_hash() const { return hash_; }
  std::uint64_t events() const { return events_; }

  // For a person who replays one seed.
  void set_verbose(bool verbose) { verbose_ = verbose; }
  bool verbose() const { return verbose_; }
  void say(const std::string& what) const {
    if (verbose_) std::printf("%13lld %s\n", static_cast<long long>(now_), what.c_str());
  }

  // A rule was broken. The run ends; the first message counts.
  void violated(std::string what) {
    if (violation_.empty())
      violation_ = "seed " + std::to_string(seed_) + " at " + std::to_string(now_) + " ns: " + std::move(what);
  }
  bool failed() const { return !violation_.empty(); }
  const std::string& violation() const { return violation_; }

 private:
  static constexpr int kDepthMax = 4;
  std::uint64_t seed_;
  Rng rng_;
  Nanos now_ = 0;
  std::uint64_t sequence_ = 0, events_ = 0;
  std::uint64_t hash_ = 0xCBF29CE484222325ull;
  int depth_ = 0;
  bool pauses_ = true;
  bool verbose_ = false;
  std::string violation_;
  std::map<std::pair<Nanos, std::uint64_t>, std::function<void()>> queue_;
};

// A node's elapsed clock: some offset, and a rate within rho (C3).
struct NodeClock {
  Nanos offset = 0;
  std::int64_t ppm = 0;
  Nanos at(Nanos true_time) const {
    return offset + true_time + static_cast<Nanos>(static_cast<__int128>(true_time) * ppm / 1'000'000);
  }
  // True time at which this clock surely shows `reading`.
  Nanos when(Nanos reading) const {
    if (reading >= kForever / 2) return kForever / 2;
    return static_cast<Nanos>(static_cast<__int128>(reading - offset) * 1'000'000 / (1'000'000 + ppm)) + 2;
  }
};

}  // namespace tidelock::sim
