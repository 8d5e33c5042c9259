// What a hub knew of the ledger's clock (docs/protocol.md), kept across its restarts: without it an outage of all hubs
// would stretch every time to live. It holds within one boot of the machine only, whose elapsed clock goes on
// meanwhile.
//
// Threads: one. Cost: note() writes a file of some 60 bytes, not synced, at most once a second; what is lost stretches.
#pragma once

#include <cstdint>
#include <string>

#include "base/time.h"
#include "protocol/hub_core.h"

namespace tidelock {

class LedgerClockFile {
 public:
  // `clock_run` names the run of the elapsed clock (base/elapsed_clock.h); 0: nobody knows, and nothing is loaded.
  LedgerClockFile(std::string path, std::uint64_t clock_run) : path_(std::move(path)), clock_run_(clock_run) {}

  // Nothing when there is no file, or it is of another run or damaged.
  LedgerReading load() const;
  // A disk that refuses is left alone: the ledger's own store will say so.
  void note(const LedgerReading& seen);

 private:
  const std::string path_;
  const std::uint64_t clock_run_;
  Nanos noted_at_ = kNever;
};

}  // namespace tidelock
