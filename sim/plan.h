// Plan is what a seed decides before anything happens: how large the cluster is, its settings and limits, how fast the
// network, how dense the load, how often something breaks.
#pragma once

#include <cstdint>

#include "protocol/commands.h"
#include "sim/faults.h"
#include "sim/ledger.h"
#include "sim/world.h"

namespace tidelock::sim {

struct Plan;
struct ClusterOptions {
  std::uint64_t seed = 1;
  int hubs = 0;   // 0: one, three or five, by chance
  int edges = 0;  // 0: one to six, by chance
  Nanos faults_ns = 12 * kSecond;
  FaultSet faults = FaultSet::usual();
  LedgerKind ledger = LedgerKind::kModel;
  bool verbose = false;
  void (*shape)(Plan&) = nullptr;  // a directed scenario bends what was drawn (sim/scenarios.h)
};

struct Plan {
  int hubs = 3, edges = 3;
  FaultSet faults;
  Seed seed;  // of the empty cluster

  // limits
  std::size_t interest_max = 200'000, interest_sweep_at = 1'024, ring_max = 8'192;
  std::size_t edge_memory_bytes = 1u << 20;
  Nanos rollout_quiet_ns = 4 * kSecond;
  int keys = 3;                   // of each family
  std::uint64_t look_pauses = 1;  // so many times as often is an app stopped between the two pointers of its look
  bool waves = false;             // versions come out by rollouts, which two operators hold and stop
  bool recalls = false;           // ... and are recalled now and then

  // A long and sparse run: the time of load and faults, and every mean gap, times this.
  int stretch = 1;

  // load: mean time between two of a kind
  Nanos page_gap = 0, read_gap = 0, write_gap = 0, client_gap = 0, rollout_gap = 0;
  std::uint64_t roam_per_mille = 0;   // of the operators' requests: to any hub, whoever answered the last
  Nanos patience_most = 8 * kSecond;  // of an operator with a hub that does not answer, while there are faults
  Nanos bound_least = 0;              // the tightest bound that a reader asks for

  // what breaks
  Nanos fault_gap = 0;
  Nanos delay_least = 0, delay_most = 0;                           // of a message between an edge and a hub
  Nanos byte_ns = 0;                                               // of a radio link
  Nanos sync_most = 5 * kMillisecond;                              // of a gateway's disk
  std::uint64_t loss_ppm = 0, duplicate_ppm = 0, reorder_ppm = 0;  // of messages inside a session
  bool depose = false;                   // a stall is always the leader's, and another hub leads at once
  std::uint64_t long_per_mille = 300;    // of the faults that last: as long as they may
  std::uint64_t astray_per_mille = 0;    // appends with unknown outcome
  std::uint64_t pauses = 1;              // times as often whoever runs is stopped between two loads or actions
  std::uint64_t edge_pauses = 1;         // ... and an edge in particular, at most 1,500
  Nanos pause_most = 0;                  // none of them longer; 0: most are short, a few take seconds
  std::uint64_t revoke_per_mille = 700;  // of the restarts of an edge: the page before it is revoked
  std::uint64_t move_on_per_mille = 50;  // of an app's reads: it looks for a newer page first
  std::uint64_t remove_per_mille = 20;   // of the operators' requests: an edge is removed
  bool rates_at_limits = false;          // each clock runs rho too fast or rho too slow
  SimLedgerOptions ledger;
};

Plan draw_plan(World& world, const ClusterOptions& options);

}  // namespace tidelock::sim
