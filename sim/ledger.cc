#include "sim/ledger.h"

#include "base/assert.h"
#include "sim/model_ledger.h"

namespace tidelock::sim {

std::unique_ptr<SimLedger> make_ledger(LedgerKind kind, World& world, LedgerHost& host, SimLedgerOptions options) {
  TIDELOCK_ASSERT(kind == LedgerKind::kModel);
  return std::make_unique<ModelLedger>(world, host, options);
}

}  // namespace tidelock::sim
