#include "sim/faults.h"

#include <algorithm>
#include <array>

namespace tidelock::sim {
namespace {
constexpr std::array<FaultInfo, kFaults> kInfo = {{
    {Fault::kCrash, "crash", "kill -9 of a hub or an edge, between any two of its actions; apps keep the old page"},
    {Fault::kPower, "power", "power lost: what was not synced is gone from some write on, the last one torn"},
    {Fault::kPause, "pause", "a hub, an edge or an app in the middle of a read stands still for 1 ns to 4 s"},
    {Fault::kSuspend, "suspend", "a gateway sleeps; its clock counts that (C2)"},
    {Fault::kStep, "step", "the wall clock of a gateway jumps by up to an hour (C4)"},
    {Fault::kSlew, "slew", "the rate of a clock changes within rho"},
    {Fault::kDrift, "drift", "the clock of a gateway runs up to 8 % wrong, outside rho (C3)"},
    {Fault::kDisrupt, "disrupt",
     "a machine stands still and its clock jumps: a hub's term ends, an edge drops proofs (C2)"},
    {Fault::kPartition, "partition",
     "links between hubs, or of an edge, pass nothing: both ways, one way, flapping, clog"},
    {Fault::kCut, "cut", "the connection of an edge breaks and loses its tail; each side learns it when it learns it"},
    {Fault::kDelay, "delay", "a link is slow for a while, up to 2 s a message"},
    {Fault::kLte, "lte", "gateways on radio links: 20 to 200 ms, 50 to 500 kB/s"},
    {Fault::kLoss, "loss", "a message inside a session is lost: the hole must end the session (F2)"},
    {Fault::kDuplicate, "duplicate", "a message inside a session comes twice (F2)"},
    {Fault::kReorder, "reorder", "a message inside a session is overtaken (F2)"},
    {Fault::kStall, "stall", "a hub's ledger is cut off or slow for up to 4 s while its core runs on"},
    {Fault::kUnknown, "unknown", "an append ends unknown, and may commit much later"},
    {Fault::kChurn, "churn", "another hub leads, and the old one may not know it"},
    {Fault::kDisk, "disk", "ENOSPC or EIO in an edge's outbox, or in a hub's ledger (D3)"},
    {Fault::kFleet, "fleet", "edges come late, are removed by an operator, and return under the same name"},
    {Fault::kCoarse, "coarse", "the table of interests holds a few keys: whole slots are invalidated"},
    {Fault::kCompact, "compact", "the ring of strong records is a few entries long: sessions are told to reset (F11)"},
    {Fault::kSnapshot, "snapshot", "a hub that is behind gets a snapshot instead of entries"},
    {Fault::kRollout, "rollout",
     "models are published, staged, activated, rolled back; leases shorten and lengthen (A5)"},
    {Fault::kExtreme, "extreme", "odd settings: rho to 5 %, tiny and huge windows and leases, memory of a few entries"},
}};
}  // namespace

std::span<const FaultInfo> all_faults() { return kInfo; }

Result<FaultSet> parse_faults(std::string_view list) {
  FaultSet set;
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    std::string_view name = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    const bool on = !name.starts_with('-');
    if (!on) name.remove_prefix(1);
    if (name == "all" && on) {
      set = FaultSet::all();
    } else if (name == "usual" && on) {
      set = FaultSet::usual();
    } else if (name == "none" && on) {
      set = FaultSet{};
    } else {
      const auto it =
          std::find_if(kInfo.begin(), kInfo.end(), [&](const FaultInfo& info) { return info.name == name; });
      if (it == kInfo.end()) {
        return fail(Code::kInvalid, "no fault '" + std::string(name) + "'; `--faults list` names them");
      }
      set.set(it->fault, on);
    }
  }
  return set;
}

}  // namespace tidelock::sim
