// World is one seed's universe: virtual time, one queue of things to happen, one generator of chance, one trace.
//
// Threads: one. Ownership: what is scheduled must stay valid until it ran; nodes check their incarnation instead.
// Cost:    an event is one allocation and O(log queue).
// I12:     nothing here or above reads a real clock, an address or an unordered container's order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "base/time.h"

namespace tidelock::sim {

// Something to do once. Unlike std::function it may hold what cannot be copied.
class Task {
 public:
  Task() = default;
  template <class F, class = std::enable_if_t<!std::is_same_v<std::decay_t<F>, Task>>>
  Task(F&& what) : what_(std::make_unique<Of<std::decay_t<F>>>(std::forward<F>(what))) {}
  void operator()() { what_->run(); }

 private:
  struct Any {
    virtual ~Any() = default;
    virtual void run() = 0;
  };
  template <class F>
  struct Of : Any {
    template <class G>
    explicit Of(G&& f) : what(std::forward<G>(f)) {}
    void run() override { what(); }
    F what;
  };
  std::unique_ptr<Any> what_;
};

class World {
 public:
  explicit World(std::uint64_t seed) : seed_(seed), rng_(seed) {}

  Nanos now() const { return now_; }
  std::uint64_t seed() const { return seed_; }
  Rng& rng() { return rng_; }
  Nanos between(Nanos low, Nanos high) {
    return low + static_cast<Nanos>(rng_.below(static_cast<std::uint64_t>(high - low) + 1));
  }
  // From `low` up to about low * 2^doublings, each octave as likely as any other.
  Nanos spread(Nanos low, std::uint64_t doublings) {
    const Nanos base = low << rng_.below(doublings + 1);
    return between(base - base / 4, base + base / 4);
  }
  bool chance(std::uint64_t per_mille) { return rng_.below(1'000) < per_mille; }

  void at(Nanos when, Task what) {
    std::uint32_t slot = 0;
    if (free_.empty()) {
      slot = static_cast<std::uint32_t>(tasks_.size());
      tasks_.push_back(std::move(what));
    } else {
      slot = free_.back();
      free_.pop_back();
      tasks_[slot] = std::move(what);
    }
    queue_.push_back({when > now_ ? when : now_, ++sequence_, slot});
    std::push_heap(queue_.begin(), queue_.end());
  }
  void in(Nanos delay, Task what) { at(now_ + delay, std::move(what)); }
  // Everything due until `when`, in order. May be called by something that is running: it then waits meanwhile.
  void run_until(Nanos when) {
    while (!queue_.empty() && queue_.front().when <= when && !failed()) {
      std::pop_heap(queue_.begin(), queue_.end());
      const Due due = queue_.back();
      queue_.pop_back();
      Task what = std::move(tasks_[due.slot]);
      free_.push_back(due.slot);
      now_ = due.when > now_ ? due.when : now_;
      if (++events_ > kEventsMax) return violated("I10: something goes on for ever: too many events");
      what();
    }
    if (when > now_ && !failed()) now_ = when;
  }
  // Whoever runs is stopped here for a moment, or for long, while the others go on.
  void maybe_pause(std::uint64_t one_in) {
    if (depth_ >= kDepthMax || pauses_ == 0 || !rng_.one_in(std::max<std::uint64_t>(1, one_in / pauses_))) return;
    const std::uint64_t kind = rng_.below(100);
    const Nanos span = pause_most_ != 0 ? between(1, pause_most_)
                       : kind < 70      ? between(1, kMillisecond)
                       : kind < 95      ? between(1, 100 * kMillisecond)
                                        : between(1, 4 * kSecond);
    ++depth_;
    run_until(now_ + span);
    --depth_;
  }
  // `most`: none longer than this; 0: most are short, a few take seconds.
  void set_pauses(bool on, std::uint64_t as_often = 1, Nanos most = 0) {
    pauses_ = on ? as_often : 0;
    pause_most_ = most;
  }

  void trace(std::uint64_t a, std::uint64_t b = 0, std::uint64_t c = 0) {
    for (const std::uint64_t word : {static_cast<std::uint64_t>(now_), a, b, c}) {
      hash_ = (hash_ ^ word) * 0x100000001B3ull;
      hash_ ^= hash_ >> 29;
    }
  }
  std::uint64_t trace_hash() const { return hash_; }
  std::uint64_t events() const { return events_; }

  // For a person who replays one seed: virtual milliseconds, node, what.
  void set_verbose(bool verbose) { verbose_ = verbose; }
  bool verbose() const { return verbose_; }
  void say(std::string_view node, std::string_view what) const {
    if (verbose_) {
      std::printf("%13.6f  %-8.*s %.*s\n", static_cast<double>(now_) / kMillisecond, static_cast<int>(node.size()),
                  node.data(), static_cast<int>(what.size()), what.data());
    }
  }
  void say(std::string_view what) const { say("judge", what); }

  // A rule was broken. The run ends; the first message counts.
  void violated(std::string what) {
    if (!violation_.empty()) return;
    violation_ = std::move(what);
    violated_at_ = now_;
    say("judge", violation_);
  }
  bool failed() const { return !violation_.empty(); }
  const std::string& violation() const { return violation_; }
  Nanos violated_at() const { return violated_at_; }

 private:
  static constexpr int kDepthMax = 4;
  static constexpr std::uint64_t kEventsMax = 50'000'000;
  struct Due {
    Nanos when;
    std::uint64_t sequence;
    std::uint32_t slot;
    bool operator<(const Due& other) const {  // the heap's top is the earliest
      return when != other.when ? when > other.when : sequence > other.sequence;
    }
  };
  std::uint64_t seed_;
  Rng rng_;
  Nanos now_ = 0;
  std::uint64_t sequence_ = 0, events_ = 0;
  std::uint64_t hash_ = 0xCBF29CE484222325ull;
  int depth_ = 0;
  std::uint64_t pauses_ = 1;  // 0: off; else how many times as often as asked
  Nanos pause_most_ = 0;
  bool verbose_ = false;
  std::string violation_;
  Nanos violated_at_ = 0;
  std::vector<Due> queue_;
  std::vector<Task> tasks_;
  std::vector<std::uint32_t> free_;
};

// A node's elapsed clock: some offset, and a rate that may change (C3). It never steps: suspends are counted in (C1).
class NodeClock {
 public:
  NodeClock() = default;
  NodeClock(Nanos offset, std::int64_t ppm) : reading_(offset), ppm_(ppm) {}
  Nanos at(Nanos true_time) const {
    const Nanos passed = true_time - since_;
    return reading_ + passed + static_cast<Nanos>(static_cast<__int128>(passed) * ppm_ / 1'000'000);
  }
  // True time at which this clock surely shows `reading`, as it runs now.
  Nanos when(Nanos reading) const {
    if (reading >= kForever / 2) return kForever / 2;
    return since_ + static_cast<Nanos>(static_cast<__int128>(reading - reading_) * 1'000'000 / (1'000'000 + ppm_)) + 2;
  }
  void run_at(Nanos true_time, std::int64_t ppm) {
    reading_ = at(true_time);
    since_ = true_time;
    ppm_ = ppm;
  }
  void jump(Nanos by) { reading_ += by; }
  std::int64_t ppm() const { return ppm_; }

 private:
  Nanos reading_ = 0;  // at `since_`
  Nanos since_ = 0;
  std::int64_t ppm_ = 0;
};

}  // namespace tidelock::sim
