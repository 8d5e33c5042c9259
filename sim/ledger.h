// SimLedger is the replicated log as the cluster of a simulation sees it: a model of it, or the real engine on virtual
// disks and network. It is told who lives and what breaks, and tells each hub what the engine's own shell would tell
// it.
//
// Threads:   one; everything happens in the world's queue. A ledger draws chance from world.rng() and reads no clock
// but
//            LedgerHost::clock, so that a seed replays.
// Hubs:      are named by number, 0 <= hub < hubs. A hub's boot lies between start() and stop(); nothing reaches a boot
//            that has ended (LedgerHost sees to it as well).
// Pauses:    a hub that is stopped does nothing: before a ledger acts as a hub it looks at paused_until(hub) and, when
//            that is ahead, comes back then. What the ledger hands over is queued by the host, which may run it later.
// Ownership: bytes are copied in and out.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "sim/world.h"

namespace tidelock::sim {

using SimRows = std::map<std::string, Bytes, std::less<>>;  // of one state machine

// A committed state of the machine behind the log.
struct SimSnapshot {
  Index index;  // every entry up to here is contained
  std::shared_ptr<const SimRows> rows;
};

// What a ledger may ask and must tell. Implemented by the cluster.
class LedgerHost {
 public:
  virtual ~LedgerHost() = default;
  // ---- the world as it is for a hub
  virtual Nanos clock(int hub) const = 0;  // its elapsed clock, now
  virtual Nanos when(int hub,
                     Nanos reading) const = 0;  // the instant at which that clock shows `reading`, as it runs now
  virtual Nanos paused_until(int hub) const = 0;
  // When a message that leaves `from` now arrives at `to`: after the delay and whatever partition lies between;
  // kForever when it is lost. Order between two messages is not kept: who needs a stream keeps it itself.
  virtual Nanos arrival(int from, int to) = 0;
  // From when on the link passes messages; an instant that is past when it does now. Draws no chance.
  virtual Nanos link_opens(int from, int to) const = 0;
  // Chance, by the faults that are on: this write to the hub's disk fails (ENOSPC, EIO); this append may end unknown.
  virtual bool disk_fails(int hub) = 0;
  virtual bool append_goes_astray(int hub) = 0;
  // Of a hub that is up: what its state machine holds now, made durable in the same instant, and up to which index.
  virtual SimSnapshot snapshot(int hub) = 0;

  // ---- what happened
  // Linearization: `index` is committed. Once for each index that carries a command, in order of indexes, before
  // anybody is told of it (indexes of the engine's own entries are skipped).
  virtual void on_commit(Index index, const Bytes& command) = 0;
  // To one hub, in order, each once per boot, from behind what it had applied when it started.
  virtual void on_committed(int hub, Index index, const Bytes& command) = 0;
  virtual void on_dropped(int hub, CommandId id, Code code) = 0;
  virtual void on_leadership(int hub, bool leading, int leader) = 0;  // -1: none is known
  virtual void on_install(int hub, const SimSnapshot& snapshot) = 0;  // entries behind snapshot.index follow
  // D3: the hub's own store failed; its process ends. It is started again later (start).
  virtual void on_failed(int hub, const std::string& why) = 0;
};

class SimLedger {
 public:
  virtual ~SimLedger() = default;

  // A boot of the hub begins; its state machine holds every entry up to `applied`.
  virtual void start(int hub, Index applied) = 0;
  // ... and ends. With `power_lost` any part of what was not synced is gone, and the last sector may be torn.
  virtual void stop(int hub, bool power_lost) = 0;
  // Ends by on_committed of the entry, or by on_dropped, or (the boot ended) by neither.
  virtual void append(int hub, CommandId id, Bytes command) = 0;

  // ---- faults of the ledger's own. Links and clocks are broken by the host.
  virtual void elect(int hub) = 0;               // churn: this hub tries to lead, whoever leads now
  virtual void stall(int hub, Nanos until) = 0;  // its ledger thread and disk are slow until then, its core is not
  // Links may have changed (a partition began or ended): for a model that has no messages of its own.
  virtual void links_changed() {}
  // From now on nothing of its own goes wrong.
  virtual void heal() = 0;

  virtual int leader() const = 0;  // who leads in truth; -1: nobody
  virtual Index last() const = 0;  // committed so far
};

struct SimLedgerOptions {
  int hubs = 3;
  bool snapshots = true;  // a hub that is far behind may be given one instead of entries
  // Of the model only: how often an append, or an entry on its way to a hub, is late, and by how much.
  std::uint64_t append_late_per_mille = 50, deliver_late_per_mille = 30;
  Nanos append_late_most = 300 * kMillisecond, deliver_late_most = 200 * kMillisecond;
  std::uint64_t drop_late_per_mille = 200;  // ... or the word that an append came to nothing, by up to a second
  std::uint64_t claim_late_per_mille = 0;   // of claims instead, when it is not 0
  // Whoever is told to lead, an append of any hub commits: a log service with members of its own.
  bool leaderless = false;
};
enum class LedgerKind : std::uint8_t { kModel, kRaft };
// Both must outlive the ledger.
std::unique_ptr<SimLedger> make_ledger(LedgerKind kind, World& world, LedgerHost& host, SimLedgerOptions options);

}  // namespace tidelock::sim
