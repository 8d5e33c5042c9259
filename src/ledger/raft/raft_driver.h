// RaftDriver turns one event, with its time inside, into actions, on top of libraft's raft_step. It is pure: no thread,
// no clock, no socket, no file. The shell (RaftLedger) or a simulator carries the actions out.
//
// Threads:   one at a time.
// Contract with the shell, per RaftActions, in this order (RAFT 6):
//   1. When persist_first is set (term or vote changed), commit `persist`, synced, before anything is sent.
//   2. Send `send` and `snapshot_send`. Without persist_first this may overlap the commit of `persist`: raft_step emits
//   an
//      acknowledgement only after the Persisted event, so nothing that is sent relies on an unsynced entry.
//   3. Commit `persist`, synced, in order; then step RaftPersisted{persist_no}.
//   4. Hand `committed`, `dropped`, `ended`, `leadership` to the listener, in this order.
//   5. When `install` is set: carry out the above, make the snapshot's files and metadata (with reset_log) durable,
//   replace
//      the state machine, then step RaftSnapshotInstalled. Only votes may be committed in between.
//   Several events may be stepped into one RaftActions, except behind an `install`.
//   When `failed` is set nothing of these actions may be carried out, and no event stepped: the process stops (D3, D4).
// Applied:   `committed` never runs ahead of what this member itself has reported persisted.
// Members:   one change at a time (Raft's single-server changes), made on the leader. A new voter is first a standby,
//            which gets the log but has no vote; the driver promotes it once it has caught up. So adding never takes
//            the majority away, and a leader that dies in the middle leaves a standby: asking again goes on from there.
// Memory:    holds the log since the last snapshot and the trailing entries. `log_bytes()` says how much.
// Invariants checked at run time (the library's own assertions are compiled out): term, commit and applied index never
//            fall, entries are handed out once, in order, with the term they were appended with.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "ledger/ledger.h"
#include "ledger/raft/log_store.h"

struct tl_raft;

namespace tidelock {

struct WireVote;

enum class RaftRole : std::uint8_t { kStandby = 0, kVoter = 1, kSpare = 2 };

struct RaftServer {
  std::uint64_t number = 0;  // never 0
  std::string address;
  RaftRole role = RaftRole::kVoter;
  friend bool operator==(const RaftServer&, const RaftServer&) = default;
};

// libraft's own format. Decoding checks every bound first: the library's decoder trusts its input.
Bytes encode_configuration(const std::vector<RaftServer>& servers);
Result<std::vector<RaftServer>> decode_configuration(BytesView bytes);

struct RaftDriverSettings {
  std::uint64_t number = 0;  // of this member
  std::string address;
  std::uint32_t election_timeout_ms = 300;
  std::uint32_t heartbeat_ms = 30;
  std::uint32_t snapshot_install_timeout_ms = 60'000;
  std::uint32_t max_inflight_entries = 1024;
  std::uint32_t snapshot_threshold_entries = 8192;
  std::uint64_t snapshot_threshold_bytes = 64u << 20;
  std::uint32_t snapshot_trailing_entries = 2048;
  std::uint64_t snapshot_trailing_bytes = 16u << 20;
  std::uint64_t message_bytes = 2u << 20;  // entries per AppendEntries message; one entry always fits
  std::uint64_t burst_bytes = 8u << 20;    // entries per peer and step; the rest goes when the peer has answered
  std::uint32_t seed = 1;
  std::uint32_t catch_up_timeout_ms = 60'000;  // a new voter that gets no further in that time stays a standby
  Index applied;                               // the state machine already contains every entry up to here
};

// Events.
struct RaftTick {};
struct RaftReceived {
  std::uint64_t from = 0;
  Bytes message;
};
struct RaftProposal {
  CommandId id;
  Bytes command;
};
struct RaftProposed {
  std::vector<RaftProposal> proposals;  // not empty
};
struct RaftPersisted {
  std::uint64_t persist_no = 0;  // this persist and all before it are durable
};
struct RaftSnapshotTaken {
  Index index;            // the snapshot contains every entry up to here
  std::string directory;  // recorded in the metadata as is
};
struct RaftSnapshotFailed {};  // asked for again after an eighth of the threshold
struct RaftSnapshotInstalled {};
// Adds a member, gives one another role, or takes it out. Removing the member that is being added ends the adding.
struct RaftChange {
  std::uint64_t ticket = 0;  // names the outcome in RaftActions::ended
  RaftServer server;         // `address` counts for a new member only
  bool remove = false;
};
// Hands the leadership to a voter that has everything; commands are refused with kNotActive meanwhile.
struct RaftTransfer {
  std::uint64_t ticket = 0;
  std::uint64_t to = 0;
};

struct RaftEvent {
  Nanos now = 0;
  std::variant<RaftTick, RaftReceived, RaftProposed, RaftPersisted, RaftSnapshotTaken, RaftSnapshotFailed,
               RaftSnapshotInstalled, RaftChange, RaftTransfer>
      what;
};

// Actions.
struct RaftSend {
  std::uint64_t to = 0;
  Bytes message;
};
struct RaftSnapshotSend {
  std::uint64_t to = 0;
  Index index;    // bring the files of this snapshot to the peer first, then give `message` to its driver
  Bytes message;  // may be asked for many times while the peer is loading
};
struct RaftLeadership {
  bool leading = false;
  std::uint64_t leader = 0;  // 0 = none known
  friend bool operator==(const RaftLeadership&, const RaftLeadership&) = default;
};

// What became of a RaftChange or RaftTransfer. kOk: done (a change is committed). kNotActive, kBusy, kConflict,
// kNotFound, kInvalid: nothing was done, and `message` says why. kUnavailable: a new voter is a standby and did not
// catch up, or a transfer was given up. kMaybeApplied: the leadership was lost before the change was known to be
// committed.
struct RaftEnded {
  std::uint64_t ticket = 0;
  Code code = Code::kOk;
  std::string message;
};

struct RaftActions {
  RaftPersist persist;
  std::uint64_t persist_no = 0;  // 0: no entries in `persist`, no Persisted event wanted
  bool persist_first = false;
  std::vector<RaftSend> send;
  std::vector<RaftSnapshotSend> snapshot_send;
  std::vector<LedgerEntry> committed;
  std::vector<std::pair<CommandId, Code>> dropped;
  std::vector<RaftEnded> ended;
  std::optional<RaftLeadership> leadership;
  std::optional<RaftSnapshotMeta> install;
  bool take_snapshot = false;  // at any index that was handed out; answer with RaftSnapshotTaken or RaftSnapshotFailed
  std::optional<Error> failed;
  Nanos wake_at = kForever;  // step a RaftTick no later than this
};

class RaftDriver {
 public:
  RaftDriver();
  ~RaftDriver();
  RaftDriver(const RaftDriver&) = delete;
  RaftDriver& operator=(const RaftDriver&) = delete;

  // Once, first. `loaded` is what the log store had; when it is pristine and `bootstrap` is not empty, the first entry
  // is made from it (and `out.persist` carries it). Fails with kCorrupt when `loaded` contradicts itself or
  // settings.applied.
  Result<void> start(const RaftDriverSettings& settings, RaftLoaded loaded, const std::vector<RaftServer>& bootstrap,
                     Nanos now, RaftActions& out);
  // Appends to `out`. `event.now` never falls; a lower one counts as the highest seen.
  void step(const RaftEvent& event, RaftActions& out) { step(RaftEvent(event), out); }
  void step(RaftEvent&& event, RaftActions& out);

  bool leading() const;
  std::uint64_t leader() const;
  std::uint64_t term() const;
  Index last_index() const;
  Index first_index() const { return {first_}; }
  Index commit_index() const;
  Index applied() const { return {applied_}; }
  Index snapshot_index() const { return {snapshot_ ? snapshot_->index : 0}; }
  std::uint64_t leader_changes_total() const { return leader_changes_; }
  std::uint64_t malformed_total() const { return malformed_; }
  std::uint64_t log_bytes() const { return log_bytes_; }
  // Commands submitted here and not yet handed out.
  std::size_t pending() const { return pending_.size(); }
  std::uint64_t pending_bytes() const { return pending_bytes_; }
  // Members by the newest configuration that this member has seen.
  const std::vector<RaftServer>& members() const { return members_; }
  const RaftServer* member(std::uint64_t number) const;
  // On a leader: when a member was last heard (kNever: not yet), and how much of the log it has synced.
  Nanos heard(std::uint64_t number) const;
  Index match(std::uint64_t number) const;
  // The entry at an index of the local log, for tests and checks. Null when it is not there.
  const RaftEntry* entry(Index index) const;

 private:
  struct Callbacks;
  struct Pending {
    std::uint64_t index;
    CommandId id;
    std::uint64_t bytes;
  };
  struct Write {
    std::uint64_t no;
    std::uint64_t first;
    std::vector<std::uint64_t> terms;
  };
  struct ChangeUnderWay {
    RaftChange wanted;
    bool waits = false;       // for an entry of this term to be committed
    std::uint64_t index = 0;  // of its entry in the log; 0: a standby catches up
    std::uint64_t term = 0;   // of that entry
    std::uint64_t round_target = 0;
    Nanos round_began = 0;
    std::uint64_t match = 0;
    Nanos progress_at = 0;
  };
  struct Configuration {
    std::uint64_t index;
    Bytes bytes;
  };

  void on(const RaftTick&);
  void on(RaftReceived& event);
  void on(RaftProposed& event);
  void on(const RaftPersisted& event);
  void on(const RaftSnapshotTaken& event);
  void on(const RaftSnapshotFailed&);
  void on(const RaftSnapshotInstalled&);
  void on(const RaftChange& event);
  void on(const RaftTransfer& event);
  Result<void> may_change(const RaftChange& event) const;
  Result<void> submit_members(std::vector<RaftServer> servers);
  Result<void> submit_change(const RaftChange& event);
  bool decides_itself(const WireVote& asked) const;
  bool grant(std::uint64_t to);
  bool settled() const;
  void advance_change();
  void end_change(Code code, std::string message);
  void advance_transfer();
  int submit(std::vector<RaftEntry>& entries);
  void after_step();
  void apply_committed();
  void note_leadership();
  void drop_pending(std::uint64_t index);
  void fail_with(Code code, std::string message);
  bool check(int code, const char* what);

  void skip_compacted(std::uint64_t& prev_index, std::uint64_t& prev_term, std::vector<RaftEntry>& entries) const;
  void put_vote(std::uint64_t term, std::uint64_t voted_for);
  void put_entries(std::uint64_t index, std::vector<RaftEntry> entries);
  void truncate(std::uint64_t index);
  void drop_prefix(std::uint64_t first);
  void send_append(std::uint64_t to, std::uint16_t version, std::uint64_t term, std::uint64_t prev_index,
                   std::uint64_t prev_term, std::uint64_t commit, std::uint64_t count);
  void send_install(std::uint64_t to, std::uint16_t version, std::uint64_t term);
  std::uint64_t term_at(std::uint64_t index) const;
  const Configuration* configuration_at(std::uint64_t index) const;
  void refresh_members();

  RaftDriverSettings settings_;
  struct Close {
    void operator()(tl_raft* r) const;
  };
  std::unique_ptr<tl_raft, Close> raft_;
  bool started_ = false;
  bool failed_ = false;
  RaftVote vote_;  // as last persisted
  std::uint64_t now_ms_ = 0;
  Nanos now_ = 0;

  std::deque<RaftEntry> log_;  // log_[0] is the entry at first_
  std::uint64_t first_ = 1;
  std::uint64_t log_bytes_ = 0;
  std::optional<RaftSnapshotMeta> snapshot_;    // what the log stands on
  std::optional<RaftSnapshotMeta> installing_;  // handed to the shell, not yet reported installed
  std::deque<Configuration> configurations_;    // of the snapshot and of the log, by index
  std::vector<RaftServer> members_;

  std::uint64_t applied_ = 0;
  std::uint64_t configured_ = 0;  // committed configurations up to here were reported to the library
  std::uint64_t commit_seen_ = 0;
  std::uint64_t term_seen_ = 0;
  std::uint64_t term_applied_ = 0;
  std::optional<ChangeUnderWay> change_;
  std::optional<RaftTransfer> transfer_;
  Nanos led_at_ = kNever;                 // when a message of a leader last came
  Nanos leads_since_ = kNever;            // on a leader: when it became one
  std::map<std::uint64_t, Nanos> heard_;  // when a message of a member last came
  std::deque<Pending> pending_;
  std::uint64_t pending_bytes_ = 0;
  std::deque<Write> writes_;
  std::uint64_t writes_total_ = 0;
  bool snapshot_asked_ = false;
  std::uint64_t snapshot_retry_at_ = 0;     // not before this index is applied
  std::uint64_t bytes_since_snapshot_ = 0;  // of what was applied

  std::optional<RaftLeadership> leadership_;
  std::uint64_t leader_seen_ = 0;
  std::uint64_t leader_term_seen_ = 0;
  std::uint64_t leader_changes_ = 0;
  std::uint64_t malformed_ = 0;

  // Only during one step.
  RaftActions* out_ = nullptr;
  std::vector<RaftEntry>* incoming_ =
      nullptr;  // entries handed to the library, to be taken back without their payloads
  std::uint64_t incoming_first_ = 0;
  bool answering_stale_ = false;
  const WireVote* asked_ = nullptr;  // a vote that grant() decides
};

}  // namespace tidelock
