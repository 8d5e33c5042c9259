// Ledger is the replicated log of the hubs: append commands, receive the committed entries in order.
//
// Threads:   append, change and status may be called from any thread. The listener is called from the ledger's
// own
//            thread, never concurrently, never from inside append.
// Durable:   an entry handed to on_committed is on the disks of a majority of hubs (synced writes).
// Unknown:   an append may end unknown: on_dropped(kMaybeApplied) means that the entry may still be committed later, by
//            this or another hub; on_dropped(kNotActive) means that it never entered any log;
//            on_dropped(kBusy) the same, because too much is queued here: retry later.
// Ownership: bytes are copied in and out.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"

namespace tidelock {

struct LedgerEntry {
  Index index;
  Bytes command;  // as it was handed to append
};

// A committed state of the machine behind the log, in files: what a hub that was down for long installs instead of
// entries.
struct LedgerSnapshot {
  Index index;            // every entry up to here is contained
  std::string directory;  // holds the files; owned by whoever made it
};

class LedgerListener {
 public:
  virtual ~LedgerListener() = default;
  // In order, without holes in what was appended (engine-internal entries consume indexes silently).
  virtual void on_committed(std::vector<LedgerEntry> entries) = 0;
  // An append of this process ended without being committed as far as this process can tell. See "Unknown" above.
  virtual void on_dropped(CommandId id, Code code) = 0;
  // This hub may (or may no longer) append. `leader` is the hub to ask instead, empty while there is none.
  virtual void on_leadership(bool leading, NodeId leader) = 0;
  // Replaces the whole state by the snapshot; entries after snapshot.index follow. Called with nothing in flight.
  virtual Result<void> on_install(const LedgerSnapshot& snapshot) = 0;
  // Makes a snapshot of the state as applied by the listener, under `directory` (exists, empty). Answers the index it
  // contains. Called from a background thread of the ledger.
  virtual Result<Index> on_snapshot(const std::string& directory) = 0;
  // The store failed (fsync, disk full beyond the reserve, corruption): the process must stop. `error` says what to do.
  virtual void on_failed(const Error& error) = 0;
};

// One of the processes that share the ledger.
struct LedgerMember {
  NodeId id;
  std::string address;        // opaque here
  bool voter = false;         // false: gets everything, decides nothing
  Nanos heard_ns = kForever;  // leader only: since it was last heard; 0 for the leader itself
  Index synced;               // leader only: what it has on its disk
};

struct LedgerStatus {
  bool leading = false;
  NodeId leader;
  std::uint64_t raft_term = 0;
  Index last_index;                        // last entry in the local log
  Index commit_index;                      // known to be committed
  Index first_index;                       // oldest entry still in the local log
  std::uint64_t leader_changes_total = 0;  // raft_leader_changes_total
  std::uint64_t snapshots_installed_total = 0;
  std::vector<LedgerMember> members;  // by the newest configuration seen here
};

// Who shares the ledger can change while it runs, one member at a time, and only at the leader.
struct LedgerChange {
  enum class What : std::uint8_t {
    kAdd,       // `id` comes in at `address`, catches up, and gets a vote
    kRemove,    // `id` leaves
    kTransfer,  // `id` leads from now on; empty: the voter that has the most
  };
  What what = What::kAdd;
  NodeId id;
  std::string address;
};
// Called once, from the ledger's thread. kNotActive: ask the leader (a leader that is to be removed first hands the
// leadership over and answers that). kMaybeApplied: look at the members. Other errors say what was not done and why.
using LedgerChanged = std::function<void(Result<void>)>;

class Ledger {
 public:
  virtual ~Ledger() = default;
  // Queues one command of at most kCommandBytesMax. The outcome comes through the listener.
  virtual void append(CommandId id, Bytes command) = 0;
  // Adding lasts until the new member has caught up; a catch-up that stands still ends with kUnavailable after a minute
  // and leaves a member without a vote.
  virtual void change(LedgerChange change, LedgerChanged done) = 0;
  virtual LedgerStatus status() const = 0;
  // Ends all threads; no listener call after it returns.
  virtual void stop() = 0;
};

inline constexpr std::size_t kCommandBytesMax = (1u << 20) + (1u << 16);  // a batch of 1 MiB and its envelope

}  // namespace tidelock
