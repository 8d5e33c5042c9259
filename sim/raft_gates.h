// The gates of the embedded cluster (RAFT.md section 10): seeds of RaftWorld under load and faults of one mode, then
// mended, first a random majority of it, then all. RaftOracle judges every step; a trial adds what its clients were
// told: that nothing acknowledged is lost, nothing refused is applied, nothing ends twice, and all converges.
//
// The mode is drawn from the seed, so that any range of seeds goes through all of them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/time.h"

namespace tidelock::sim {

struct RaftMode {
  const char* name;
  std::size_t members;
  bool crash = false, partition = false, network = false, transfer = false, disk_error = false, slow_disk = false,
       membership = false, clock = false;
};

const std::vector<RaftMode>& raft_modes();

struct RaftTrialReport {
  std::string violation;  // empty: everything held
  const RaftMode* mode = nullptr;
  std::uint64_t trace_hash = 0, events = 0;
  std::uint64_t proposed = 0, acknowledged = 0, unknown = 0, refused = 0, terms = 0;
  std::uint64_t crashes = 0, ended_by_disk = 0, refused_to_load = 0, snapshots = 0, installs = 0, messages = 0;
  std::uint64_t transfers = 0, changes = 0, partitions = 0, jumps = 0;
  Nanos virtual_ns = 0;

  void add(const RaftTrialReport& other);
};

// Deterministic in its arguments.
RaftTrialReport run_raft_trial(std::uint64_t seed, bool verbose = false);

}  // namespace tidelock::sim
