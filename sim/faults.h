// The faults that a run may meet, by name. What is listed here is what `tidelock-sim --faults LIST` knows.
#pragma once

#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tidelock::sim {

enum class Fault : std::uint8_t {
  kCrash,
  kPower,
  kPause,
  kSuspend,
  kStep,
  kSlew,
  kDrift,
  kDisrupt,
  kPartition,
  kCut,
  kDelay,
  kLte,
  kLoss,
  kDuplicate,
  kReorder,
  kStall,
  kUnknown,
  kChurn,
  kDisk,
  kFleet,
  kCoarse,
  kCompact,
  kSnapshot,
  kRollout,
  kExtreme,
};
inline constexpr std::size_t kFaults = static_cast<std::size_t>(Fault::kExtreme) + 1;

struct FaultInfo {
  Fault fault;
  std::string_view name;
  std::string_view what;
};
std::span<const FaultInfo> all_faults();

class FaultSet {
 public:
  static FaultSet all() {
    FaultSet set;
    set.bits_.set();
    return set;
  }
  // All but `step`: docs/protocol.md orders write-behind values by wall clocks, and a gateway that registers with a
  // clock far behind may bring back a value whose deletion was collected. Until a registration brings a floor for its
  // stamps, seeds with it fail.
  static FaultSet usual() {
    FaultSet set = all();
    set.set(Fault::kStep, false);
    return set;
  }
  bool has(Fault fault) const { return bits_.test(static_cast<std::size_t>(fault)); }
  void set(Fault fault, bool on = true) { bits_.set(static_cast<std::size_t>(fault), on); }
  friend bool operator==(const FaultSet&, const FaultSet&) = default;

 private:
  std::bitset<kFaults> bits_;
};

// "usual", "all", "none", or names with commas between; "-NAME" takes one away ("all,-drift"). kInvalid names what is
// wrong.
Result<FaultSet> parse_faults(std::string_view list);

}  // namespace tidelock::sim
