// The clocks of a real process: the elapsed clock H (C1), its cheap form for readers, and what tells that the machine
// slept (C2). Everything else gets its time through base/clock.h or inside an event.
//
// Threads: every method may be called from any thread; none takes a lock.
// Cost:    clock reads are answered by the kernel's vDSO: no system call. ElapsedClock::now() is four reads (about 0.1
// us),
//          HotClock::now() one (about 25 ns), plus seven more once per millisecond and thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "base/time.h"

namespace tidelock {

// What a test build puts between the machine's clock and ours, so that nodes of one machine disagree as real ones do.
// The identity in production. Apps take their edge's from the page: H of an app must be H of its edge.
struct ClockShim {
  Nanos offset_ns = 0;
  static constexpr std::int64_t kRatePpbMax = 500'000'000;
  std::int64_t rate_ppb = 0;  // parts per billion by which the clock runs fast; apply() needs it within +-kRatePpbMax
  Nanos origin_ns = 0;        // the instant of H from which the rate counts

  constexpr Nanos apply(Nanos h) const {
    if (rate_ppb == 0) return saturating_add(h, offset_ns);
    const Nanos passed = saturating_sub(h, origin_ns);
    // In two parts, so that 64 bits do: whole seconds, then the rest.
    const Nanos drift = passed / kSecond * rate_ppb + passed % kSecond * rate_ppb / kSecond;
    return saturating_add(saturating_add(h, offset_ns), drift);
  }
  // For what comes from outside, a page above all: the clocks below take it so.
  constexpr ClockShim limited() const {
    ClockShim out = *this;
    if (rate_ppb > kRatePpbMax) out.rate_ppb = kRatePpbMax;
    if (rate_ppb < -kRatePpbMax) out.rate_ppb = -kRatePpbMax;
    return out;
  }
  friend bool operator==(const ClockShim&, const ClockShim&) = default;
};

// C1: H = MONOTONIC_RAW + (BOOTTIME - MONOTONIC). Never goes back.
class ElapsedClock : public Clock {
 public:
  explicit ElapsedClock(ClockShim shim = {});
  Nanos now() const override;
  const ClockShim& shim() const { return shim_; }

 private:
  const ClockShim shim_;
  mutable std::atomic<Nanos> asleep_;  // BOOTTIME - MONOTONIC as last measured
};

// H lies within [earliest, latest]. Whoever reads takes the side that hurts: `latest` for ages and expiries.
struct ClockReading {
  Nanos earliest = 0;
  Nanos latest = 0;
  Nanos suspended_ns = 0;  // BOOTTIME - MONOTONIC, within a microsecond: jumps by the length of each suspend (C2)
};

// C1, hot path: one BOOTTIME read against a reading of both clocks at most kPairAgeMax old, widened by a tenth of its
// age.
class HotClock {
 public:
  static constexpr Nanos kPairAgeMax = 1 * kMillisecond;  // C1 allows ten; one keeps the interval under 0.2 ms

  explicit HotClock(ClockShim shim = {}) : shim_(shim.limited()) {}
  ClockReading now() const;
  // When this thread last looked at any HotClock: an instant that is over, at no cost. `earliest` is kNever before
  // that.
  ClockReading past() const;
  const ClockShim& shim() const { return shim_; }

 private:
  ClockReading reading_at(Nanos age) const;
  ClockShim shim_;
};

// BOOTTIME - MONOTONIC now: how long this machine has slept since it booted. Two readings of one machine boot that
// differ by more than kSuspendTolerance have a suspend between them.
inline constexpr Nanos kSuspendTolerance = 1 * kMillisecond;
Nanos suspended_ns_now();

// C2: notices a suspend, and the disruption of a virtual machine (snapshot, migration) where the host offers
// /dev/vmclock0. One thread.
class DisruptionDetector {
 public:
  DisruptionDetector();
  ~DisruptionDetector();
  DisruptionDetector(const DisruptionDetector&) = delete;
  DisruptionDetector& operator=(const DisruptionDetector&) = delete;

  // True once after each disruption since construction or the last poll. Costs two clock reads: call it before every
  // event that could grant or use a proof.
  bool poll();
  std::uint64_t epoch() const { return epoch_; }        // counts disruptions
  Nanos suspended_ns() const { return suspended_ns_; }  // at the last poll
  bool watches_vm() const { return vm_page_ != nullptr; }

 private:
  std::uint64_t vm_marker() const;
  void* vm_page_ = nullptr;
  std::uint64_t vm_marker_ = 0;
  Nanos suspended_ns_ = 0;
  std::uint64_t epoch_ = 0;
};

// Who may share a clock: the same boot of the kernel and the same time namespace (DESIGN 6). Cost: a file is read.
Result<std::string> machine_boot_id();  // 36 characters
// Names a run of the elapsed clock: instants of two processes can be compared when it is the same.
Result<std::uint64_t> clock_run(const ClockShim& shim);
Result<std::uint64_t> time_namespace_id();  // 0 on a kernel without time namespaces

}  // namespace tidelock
