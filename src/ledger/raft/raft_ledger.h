// RaftLedger is the embedded ledger engine (DESIGN 3.5): libraft's pure `raft_step` behind RaftDriver, the log in a Kv,
// messages through a RaftTransport that somebody else owns (the gRPC room in the product).
//
// Threads:   append, receive, status and stop may be called from any thread; stop once. The listener is called from the
//            ledger's own thread only, with one exception: on_snapshot comes from the ledger's background thread. No
//            listener call comes from inside append, receive or open, and none after stop() returned. The listener may
//            call append and status, never stop. `transport.send` is called from both threads of the ledger.
// Cost:      append copies nothing and wakes one thread. Everything queued meanwhile shares one submit and one synced
//            commit, so a busy leader syncs once for many commands.
// Units:     times are milliseconds of `clock` (the elapsed clock); sizes are bytes.
// Memory:    the log since the last snapshot is held in memory; `snapshot_threshold_bytes` and `append_queue_bytes_max`
//            bound it (I11). Beyond the bound appends are dropped with kBusy.
// Durable:   votes, terms and entries are synced before anything that relies on them leaves this process. A failed
// write
//            ends the ledger: on_failed is called once, nothing is sent or delivered after it (D3).
// Ownership: kv, transport, listener and clock must outlive the ledger. The Kv may be shared with others; the ledger
//            writes only its own families (kRaftLogFamily, kRaftStateFamily).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "ledger/ledger.h"
#include "ledger/raft/log_store.h"  // names of the families
#include "store/kv/kv.h"

namespace tidelock {

struct RaftMember {
  NodeId id;
  std::string address;  // opaque here; kept in the replicated configuration, at most 128 bytes
  friend bool operator==(const RaftMember&, const RaftMember&) = default;
};

// Takes messages of at most kRaftMessageBytesMax to the peers. Loss, doubling and reordering are allowed: Raft and the
// snapshot sub-protocol resend. The receiving side hands each message to RaftLedger::receive with the authenticated
// name of the sender.
class RaftTransport {
 public:
  virtual ~RaftTransport() = default;
  // Never blocks: a bounded queue per peer that drops its oldest message when it is full. An unknown or unreachable
  // peer is not an error.
  virtual void send(const NodeId& peer, Bytes message) = 0;
  // From now on, this hub not among them: whom `send` may name, and which of those share the ledger (others are where
  // hubs may be found, as configured). From the ledger's own thread, and from open.
  virtual void peers(const std::vector<RaftMember>& /*reachable*/, const std::vector<RaftMember>& /*members*/) {}
};

inline constexpr std::size_t kRaftMessageBytesMax = 4u << 20;

struct RaftLedgerOptions {
  NodeId id;  // must be one of `members` when they are the first
  // With an empty store and `bootstrap`: the first members, this one included, all with a vote: 1, 3 or 5. Otherwise
  // only where other hubs may be found: who is a member is in the log, and changes there.
  std::vector<RaftMember> members;
  std::string directory;  // existing folder of this ledger alone: snapshot files
  // With an empty store: true writes `members` as the first configuration. All hubs of a new cluster may do so,
  // provided that their lists agree. False waits to be told by a leader. A store that is not empty keeps what it has.
  bool bootstrap = true;
  // The listener's state already contains every entry up to here: delivery starts behind it. A listener that keeps its
  // state in memory says 0. When the newest snapshot of this ledger lies above, on_install comes first.
  Index applied;
  std::uint32_t election_timeout_ms = 300;  // drawn anew between 1x and 2x for each wait
  std::uint32_t heartbeat_ms = 30;
  std::uint32_t max_inflight_entries = 1024;
  std::uint32_t snapshot_threshold_entries = 8192;     // a snapshot after so many entries ...
  std::uint64_t snapshot_threshold_bytes = 64u << 20;  // ... or so many bytes of commands, whichever comes first
  std::uint32_t snapshot_trailing_entries = 2048;      // kept behind a snapshot for followers that lag a little,
  std::uint64_t snapshot_trailing_bytes = 16u << 20;   // and at most so many bytes of them
  std::uint32_t snapshot_install_timeout_ms = 60'000;  // a follower that got no further in that time is tried afresh
  std::uint64_t append_queue_bytes_max = 64u << 20;    // commands accepted but not yet committed
  std::uint32_t append_queue_entries_max = 65'536;
  std::uint64_t seed = 1;  // of the election jitter: give each hub and each start another one

  // kInvalid with the field, its value and what would be right.
  Result<void> validate() const;
};

// Raft knows members by number: a stable hash of the name (positions in a list would shift when a member leaves). Two
// members whose numbers collide are refused by validate.
std::uint64_t raft_member_number(const NodeId& id);
// Who stands in a configuration as the log store keeps it; empty when it is malformed.
std::vector<NodeId> raft_member_ids(BytesView configuration);

class RaftLedger : public Ledger {
 public:
  // Loads and checks the whole log, then starts the threads. kCorrupt when the stored log fails a check (the message
  // says what to do).
  static Result<std::unique_ptr<RaftLedger>> open(RaftLedgerOptions options, Kv& kv, RaftTransport& transport,
                                                  LedgerListener& listener, const Clock& clock);
  // Makes the store of a ledger that begins behind `base` with options.id as its only member, in place of whatever log
  // is there: for a restore, or when the majority is lost for good. `term` above every one that was ever used in it, if
  // it had one. `snapshot` writes the state (its on_snapshot must answer `base`). Nothing may use the store meanwhile;
  // a crash in the middle leaves the old log.
  static Result<void> found(const RaftLedgerOptions& options, Kv& kv, Index base, std::uint64_t term,
                            LedgerListener& snapshot);
  // Where the files of a snapshot named in the log store lie.
  static std::string snapshot_files(const std::string& directory, const std::string& name);
  // Calls stop().
  ~RaftLedger() override;

  // An empty command is refused by assertion, as is one above kCommandBytesMax.
  void append(CommandId id, Bytes command) override;
  void change(LedgerChange change, LedgerChanged done) override;
  LedgerStatus status() const override;
  void stop() override;

  // Where other hubs may be found, by the word of one that shares the ledger: whoever is about to join must be able to
  // answer each of them, whichever leads. What is known already stays.
  void meet(std::vector<RaftMember> hubs);
  // One message from a peer, as its ledger gave it to send. `from` is the name in the peer's certificate; messages of
  // non-members and malformed bytes are counted and dropped. Never blocks; bounded, drops the newest when full.
  void receive(const NodeId& from, Bytes message);
  // Messages dropped by receive: malformed, of strangers, or beyond the queue.
  std::uint64_t dropped_messages_total() const;

 private:
  class Impl;
  explicit RaftLedger(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidelock
