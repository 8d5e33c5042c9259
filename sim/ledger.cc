#include "sim/ledger.h"

#include "sim/model_ledger.h"
#include "sim/raft_ledger.h"

namespace tidelock::sim {

std::unique_ptr<SimLedger> make_ledger(LedgerKind kind, World& world, LedgerHost& host, SimLedgerOptions options) {
  if (kind == LedgerKind::kRaft) return std::make_unique<RaftSimLedger>(world, host, options);
  return std::make_unique<ModelLedger>(world, host, options);
}

}  // namespace tidelock::sim
