// ClockGuard watches one node's elapsed clock: C2 (a suspend or a jump drops every proof) and C3 (two answered probes
// of one hub boot bound the relative rate of the two clocks; a rate that sound clocks cannot have is a fault).
//
// Pure; one thread; on_mark is O(log of the time watched). It decides, the owner acts: on `fault()` no proof is given
// or used, and an alarm is raised, until reset().
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/ids.h"
#include "base/time.h"

namespace tidelock {

class ClockGuard {
 public:
  explicit ClockGuard(std::uint32_t rho_ppm = 200) : rho_ppm_(rho_ppm) {}
  // When the cluster's settings arrive (A2). Marks seen so far are kept.
  void set_rho(std::uint32_t rho_ppm) { rho_ppm_ = rho_ppm; }

  // C2. The epoch is whatever the shell derives from suspend count and machine boot. True when it differs from the one
  // before: every lease and proof must be dropped. The first call only learns it.
  bool on_epoch(std::uint64_t epoch);
  // C2: a disruption the shell saw itself. The marks before it bound nothing any more.
  void disrupted();

  // C3. The answer to a probe of ours: the hub read `hub_h` after we sent (own clock) and before we received. True when
  // this mark *found* a fault; the fault then stays until reset(). Marks of another hub boot start afresh.
  bool on_mark(Boot hub_boot, Nanos hub_h, Nanos sent_at, Nanos received_at);

  bool fault() const { return fault_; }
  // By a person: the clock was repaired. Forgets the fault and the marks.
  void reset();

  // The relative rate (hub / own) in parts per million above or below 1 that the marks allow; for metrics and doctor.
  struct Rate {
    std::int64_t low_ppm = 0;
    std::int64_t high_ppm = 0;
  };
  std::optional<Rate> rate() const { return rate_; }

 private:
  friend struct StateDigest;  // of the simulator: has to know every field
  struct Seen {
    Nanos hub_h = 0, sent_at = 0, received_at = 0;
  };
  struct Level {  // marks about one span old: with both a quick change and a slow drift are found
    std::optional<Seen> older, newer;
  };
  static constexpr std::size_t kLevels = 13;  // spans of 0.25 s, doubling up to 17 minutes
  static constexpr Nanos kFirstSpan = 250 * kMillisecond;

  bool impossible(const Seen& a, const Seen& b);

  std::uint32_t rho_ppm_;
  std::optional<std::uint64_t> epoch_;
  Boot hub_boot_;
  std::array<Level, kLevels> levels_;
  std::optional<Rate> rate_;
  bool fault_ = false;
};

}  // namespace tidelock
