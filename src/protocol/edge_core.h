// EdgeCore decides everything an edge does: its session (F11), probes and proofs (F1-F4, F9), blocks and leases (S2),
// fetches and revalidations (F7, F8), reads and writes of its apps, and what the shared page shows in which order (F5).
//
// Pure:    step(event, actions); the time is in the event and was read after the event was taken from its queue (C6).
// Order:   the shell carries out `ops` strictly in order, on one thread; a Send follows the page stores before it.
// Threads: one.
// Entries: in the memory tier and in L2, which are handed in (edge_entries.h). Of a key the core itself keeps only what
//          is in motion: own unsequenced writes, what is asked for, who waits.
// Cost:    a read that hits is one lookup and allocates only its answer; a step is O(what it touches), but for a record
//          of whole slots, which looks through the memory tier.
// Limits:  reads_max waiting reads; the memory tier keeps its own.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/rng.h"
#include "base/row_table.h"
#include "base/time.h"
#include "protocol/clock_guard.h"
#include "protocol/edge_entries.h"
#include "protocol/hlc.h"
#include "protocol/messages.h"
#include "protocol/outbox.h"
#include "protocol/receipt.h"

namespace tidelock {

using LinkNo = Number<struct LinkTag>;     // one attempt to connect; never reused within a boot
using ReadToken = Number<struct ReadTag>;  // whom the shell answers
using WriteToken = Number<struct WriteTag>;

struct EdgeOptions {
  NodeId id;
  std::string site;
  Boot boot;
  std::uint32_t protocol_version = kProtocolVersion;  // the highest to speak; lower in tests
  std::uint64_t writer = 0;                           // tie-break of stamps: hash of the edge id
  std::size_t reads_max = 10'000;
  Nanos session_after = kNever;  // F11: a former page could not be revoked; open no session before this instant
  // Until the first welcome: whether an earlier run was ever welcomed, and what the last one was told. An edge cannot
  // change policy.
  bool joined = false;
  std::vector<Namespace> namespaces = default_namespaces();
  ClusterSettings settings{};  // proofs that were kept in L2 are judged by its rho
};

// ---- events
struct EdgeTick {};
struct EdgeLinkUp {
  LinkNo link;
};
struct EdgeLinkDown {
  LinkNo link;
  std::string reason;
};
struct EdgeFrameIn {
  LinkNo link;
  HubFrame frame;
};
struct EdgeRead {
  ReadToken token;
  std::string key;
  Contract contract;
  // Others come at once (MGET): what the hub must be asked for is asked for with theirs, by the next event (F8). Should
  // none come, a tick is due now.
  bool more = false;
};
struct EdgeWrite {
  WriteToken token;
  KeyWrite write;
  std::optional<AckLevel> level;  // D1; the namespace's default when unset
  std::uint64_t wall_ms = 0;      // for the stamp (C4: never for safety)
  // S4: further keys of this write, at the same index and all or nothing. All keys are then written through.
  std::vector<KeyWrite> others = {};
};
struct EdgeListKeys {  // TL.FLUSH: a page of the keys that the namespace `prefix` has at the hub
  ReadToken token;
  std::string prefix;
  std::string after;
};
struct EdgeOutboxPersisted {  // the rows of earlier OutboxPersist ops are stored, up to this number
  std::uint64_t number = 0;
  AckLevel level = AckLevel::kOs;
};
struct EdgeOutboxFailed {  // D3: the outbox's store failed; for good
  std::string why;
};
struct EdgeStagedModel {  // M4
  StagedModel model;
  std::string error;
};
struct EdgeReported {  // what the shell has to say of this gateway; it sees to it that this is rare
  EdgeReport report;
};
struct EdgeDisrupted {};  // C2
struct EdgeForget {       // FLUSHALL: drop this edge's copy. Strong keys and own writes that are still pending stay
  std::string key;
};

struct EdgeEvent {
  Nanos now = 0;
  std::variant<EdgeTick, EdgeLinkUp, EdgeLinkDown, EdgeFrameIn, EdgeRead, EdgeWrite, EdgeOutboxPersisted,
               EdgeOutboxFailed, EdgeStagedModel, EdgeDisrupted, EdgeForget, EdgeListKeys, EdgeReported>
      what;
};

// ---- actions
struct PageBeginWrite {
  std::uint16_t ns;
};  // generation odd
struct PageEndWrite {
  std::uint16_t ns;
};  // generation even
struct PageBumpSlot {  // of one key, behind its EntryPut or EntryErase; or of all keys there
  std::uint16_t slot;
  bool whole = false;
};
struct PageOpenBlock {
  std::vector<std::uint16_t> slots;
};
struct PageCloseBlock {
  std::vector<std::uint16_t> slots;
};
struct PageApplied {
  Index applied;
};
struct PageFresh {
  Nanos fresh_at;
};
struct PageLease {
  Nanos until;
};
struct PageDropProofs {  // C2: no proof of an instant before `from` counts, those of entries included
  Nanos from;
};
struct PageEpochs {
  std::uint64_t verified, strong;
};  // F8: entries of lower epochs are unverified
struct PagePolicies {
  std::vector<Namespace> namespaces;
  ClusterSettings settings;
};
struct PageWriters {
  Nanos writers_ns;
};
struct EntryPut {  // into the memory tier and into L2; with `known`, it comes from L2 and is there
  std::string key;
  EdgeEntry entry;
  bool known = false;
};
struct EntryErase {  // in both
  std::string key;
};
struct OutboxPersist {
  OutboxRows rows;
  std::uint64_t number;
  bool sync;
};  // answered by EdgeOutboxPersisted
struct LinkOpen {
  LinkNo link;
  std::string hint;
};  // connect to `hint` (a hub id) or, empty, to the next hub of the list
struct LinkClose {
  LinkNo link;
  std::string reason;
};
struct LinkSend {
  LinkNo link;
  EdgeFrame frame;
};
struct SessionOpened {
  NodeId hub;
  Term term;
  bool reset;
  Bytes model_key;
};
struct StrongChanged {
  std::string key;
  std::optional<Bytes> value;
  Index version;
};
struct ReadDone {
  ReadToken token;
  Code code = Code::kOk;  // kOk, kNotFound (with a receipt), kStale (bound in receipt), kUnavailable, kInvalid, kBusy
  std::string message;
  std::optional<Bytes> value;
  Nanos ttl_left_ns = kForever;
  Receipt receipt;
};
struct WriteDoneOp {
  WriteToken token;
  Code code = Code::kOk;
  std::string message;
  Index index;  // write-through: where it is visible (durable at a majority of hubs)
  AckLevel level = AckLevel::kOs;
  Nanos retry_after_ns = 0;  // kBusy
  bool changed = true;       // a delete found something; a condition held
};
struct VersionsRecalled {  // M7: of each there is nothing to keep; in a new session, all that there ever were
  std::vector<StagedModel> versions;
};
struct KeysListedOp {
  ReadToken token;
  Code code = Code::kOk;  // or kUnavailable
  std::string message;
  std::vector<std::string> keys;
  std::string last;  // the next page begins behind it; empty: there is none
};
struct EdgeNote {
  std::string event;
  std::string detail;
};

struct EdgeActions {
  using Op = std::variant<PageBeginWrite, PageEndWrite, PageBumpSlot, PageOpenBlock, PageCloseBlock, PageApplied,
                          PageFresh, PageLease, PageDropProofs, PageEpochs, PagePolicies, PageWriters, EntryPut,
                          EntryErase, OutboxPersist, LinkOpen, LinkClose, LinkSend, SessionOpened, StrongChanged,
                          ReadDone, WriteDoneOp, EdgeNote, KeysListedOp, VersionsRecalled>;
  std::vector<Op> ops;
  Nanos wake_at = kForever;  // an EdgeTick is due then
};

struct EdgeCounters {
  std::uint64_t reads_total = 0, hits_total = 0, fallbacks_total = 0, stale_total = 0;
  std::uint64_t invalidations_total = 0, fetches_total = 0, probes_total = 0, sessions_total = 0;
};

class EdgeCore {
 public:
  // `memory` is empty, and outlives the core, as `store` does. `rng` only spreads reconnects and refreshes.
  EdgeCore(EdgeOptions options, const EdgeMemory& memory, const EdgeStore& store, Outbox outbox, Rng rng);
  // `out` is empty, or holds what earlier events decided and nobody carried out yet.
  void step(const EdgeEvent& event, EdgeActions& out);
  // The same, and key and value of a write that is kept here go on into the operations: they are not copied.
  void step(EdgeEvent&& event, EdgeActions& out);

  // A read under the namespace's own contract that needs no step: the entry, when it is in memory and a step at `now`
  // would answer with it and do nothing else. Nothing otherwise, then EdgeRead. Valid until the next step. Counts as a
  // read. O(1), allocates nothing.
  std::optional<HeldView> hit(std::string_view key, Nanos now);

  bool session_open() const { return state_ == State::kOpen; }
  bool holds_questions() const { return !wanted_.empty(); }  // of reads with `more`: any event sends them
  Index applied() const { return applied_; }
  Term highest_term() const { return highest_term_; }
  Nanos fresh_at() const { return fresh_at_; }
  Nanos lease_until() const { return lease_until_; }
  Nanos round_trip_ns() const { return round_trip_ns_; }  // of probes, smoothed; 0: none was answered yet
  std::size_t open_blocks() const { return blocks_.size(); }
  bool clock_fault() const { return guard_.fault(); }
  const EdgeCounters& counters() const { return counters_; }
  const Outbox& outbox() const { return outbox_; }
  const std::vector<Namespace>& namespaces() const { return namespaces_; }
  const EdgeMemory& memory() const { return *memory_; }
  // Of the value in the memory tier; kForever: it does not expire, or is not there. (CLIENT TRACKING, WATCH)
  Nanos expires_at(std::string_view key) const {
    const auto held = memory_->peek(key);
    return held ? held->expires_at : kForever;
  }
  // Whether the hub of the session knows kVersionStays (S4).
  bool hub_keeps_unwritten() const { return welcome_.protocol_version >= kProtocolVersionStays; }
  bool has_proof(Nanos now) const { return state_ == State::kOpen && fresh_at_ != kNever && now >= fresh_at_; }

 private:
  friend struct StateDigest;  // of the simulator: has to know every field
  enum class State : std::uint8_t { kIdle, kConnecting, kGreeting, kOpen };
  struct Ended {  // F8: a mark no longer covers entries of epochs below this one; the last that did was of `fresh_at`
    std::uint64_t below = 0;
    Nanos fresh_at = kNever;
  };
  struct Request {  // F7: outstanding in this session
    Nanos sent_at = 0;
    std::map<std::string, Index> invalidated;  // wanted key -> highest invalidation seen since (0: none)
  };
  struct WaitingRead {
    EdgeRead read;
    Nanos began = 0;
    Nanos deadline = 0;
  };
  struct WaitingWrite {  // write-through
    EdgeWrite write;
    CommandId id;
    RequestNo request;
    Nanos accepted_at = 0;
    Nanos deadline = 0;
    bool sent = false;
  };
  struct WaitingList {
    EdgeListKeys list;
    RequestNo request;  // 0: not asked in this session
    Nanos deadline = 0;
  };
  using BlockKey = std::pair<Term, BlockNo>;

  // session (edge_session.cc)
  void connect(std::string hint);
  void on_link_down(const EdgeLinkDown& event);
  void on_frame(const EdgeFrameIn& event);
  void on_welcome(const Welcome& welcome);
  void on_record(const Record& record);
  void on_mark(const Mark& mark);
  void on_block(const Block& block);
  void close_blocks(const std::vector<BlockKey>& closing);
  void on_fetch_answer(FetchAnswer& answer);
  void drop_session(const std::string& reason);
  void raise_epochs(std::uint64_t verified, std::uint64_t strong);
  void end_epochs(std::vector<Ended>& ended, std::uint64_t below);
  void drop_proofs();
  void probe();
  Index resume_from() const;  // F11
  void send_report();
  Nanos probe_interval() const;
  void send(decltype(EdgeFrame::body) body);
  void on_disrupted();

  // entries (edge_core.cc). Views live until the next operation is emitted.
  std::optional<HeldView> find(std::string_view key);       // in memory, else in L2, from where it comes into memory
  std::optional<HeldView> in_memory(std::string_view key);  // does not count as a use
  // What this step decided about the key and nobody has carried out yet: null for "erased".
  std::optional<const EdgeEntry*> decided(std::string_view key);
  void hold(std::string key, EdgeEntry entry, bool bump, bool known = false);
  void forget(const std::string& key, bool bump);
  bool covered(std::string_view key, const EdgeMeta& entry) const;                 // F8
  bool token_met(std::string_view key, const EdgeMeta& entry, Index token) const;  // F10
  Nanos proof_of(std::string_view key, const EdgeMeta& entry) const;
  Nanos bound_of(std::string_view key, const EdgeMeta& entry) const;
  const Namespace& policy(std::string_view key) const { return namespace_of(namespaces_, key); }
  bool blocked(std::string_view key) const;

  // reads and writes (edge_reads.cc, edge_writes.cc)
  void on_read(const EdgeRead& read);
  // The answer, when the contract holds now or the deadline has passed.
  std::optional<ReadDone> try_read(const WaitingRead& waiting, bool last_chance);
  void ask_for(const WaitingRead& waiting);
  void retry_reads();
  void on_list(const EdgeListKeys& list);
  void ask_for_keys(WaitingList& waiting);
  void on_keys_listed(const KeysListed& listed);
  void refuse_list(WaitingList& waiting, std::string why);
  void flush_wanted();
  ReadDone answer_from(const EdgeRead& read, const HeldView& entry, Basis basis, Nanos bound) const;
  void note_demand(const Namespace& ns, Consistency consistency, Nanos bound);
  void on_write(const EdgeWrite& write);
  void write_local(const EdgeWrite& write, const Namespace& ns, Nanos ttl);
  void write_behind(const EdgeWrite& write, const Namespace& ns, Nanos ttl);
  Nanos lifetime_of(const KeyWrite& write) const;
  Result<void> allowed(const KeyWrite& write) const;
  void write_through(const EdgeWrite& write);
  // The conditions of a local or write-behind write, and when what it replaces would have expired; false: a condition
  // failed and the write was answered.
  bool admit(const EdgeWrite& write, Nanos* expires_at);
  void send_through(WaitingWrite& waiting);
  SentAt sent_now() const { return {heard_h_, saturating_sub(now_, heard_at_)}; }
  void on_write_done(const WriteDone& done);
  void expire_waiting();
  void drain_outbox(OutboxActions actions);
  void drop_superseded();

  template <class Op>
  void emit(Op op) {
    out_->ops.emplace_back(std::move(op));
  }
  void note(std::string event, std::string detail) { emit(EdgeNote{std::move(event), std::move(detail)}); }
  void wake(Nanos at) { out_->wake_at = out_->wake_at < at ? out_->wake_at : at; }

  const EdgeOptions options_;
  const EdgeMemory* memory_;
  const EdgeStore* store_;
  Outbox outbox_;
  Hlc hlc_;
  Stamp newest_held_;  // G8: of all that this process held, whether or not it is still there
  bool joined_;        // G9: registered, so what it writes behind holds tombstones back
  Rng rng_;
  ClockGuard guard_;
  EdgeCounters counters_;

  // of the step under way
  Nanos now_ = 0;
  EdgeActions* out_ = nullptr;
  KeyWrite* given_ = nullptr;                        // the write of its event, when its bytes may be taken
  std::size_t indexed_ = 0;                          // operations that decided_ knows of
  RowTable decided_;                                 // of each key the last of them that puts or erases it
  std::map<std::string, Nanos, std::less<>> asked_;  // A3: the hub answered for this key alone, to a request sent then

  // proofs
  Index applied_;
  Index fed_;  // F11: every record of a strong key up to here was carried out, in this session or an earlier one
  Term highest_term_;
  Nanos fresh_at_ = kNever;
  Nanos lease_until_ = kNever;
  Nanos proofs_from_ = kNever;  // C2, C3: older proofs do not count, those of entries in memory and L2 included
  Nanos writers_ns_ = kForever;
  std::map<BlockKey, std::vector<std::string>> blocks_;
  std::map<std::uint16_t, int> blocked_slots_;
  std::uint64_t epoch_ = 1;                  // F8: of the newest session whose first mark took effect
  std::uint64_t session_epoch_ = 1;          // F8: of this session; one that ended before its first mark leaves a gap
  std::uint64_t strong_epoch_ = 1;           // F8: rises only when the replay of strong records had a hole
  std::vector<Ended> ended_, strong_ended_;  // by epoch, the oldest first
  ClusterSettings settings_;
  std::vector<Namespace> namespaces_;

  // session
  State state_ = State::kIdle;
  LinkNo link_;
  SessionNo session_;
  std::uint64_t next_in_ = 1, next_out_ = 1;
  Welcome welcome_;
  Nanos heard_h_ = 0, heard_at_ = 0;  // the hub's clock as this session last told it, and when that came
  bool first_mark_done_ = false;
  bool fault_shown_ = false;        // C3: proofs were dropped for it
  bool in_record_ = false;          // generations are held odd by on_record
  std::vector<BlockKey> unlisted_;  // F11: close with the first mark
  Nanos connect_at_ = kNever;
  Nanos greeting_since_ = kNever;  // the hello was sent then: whatever this session tells was computed later
  Nanos backoff_ns_ = 0;
  std::string hint_;
  std::uint64_t last_nonce_ = 0, last_request_ = 0, last_link_ = 0, last_command_ = 0, last_local_ = 0;
  std::map<Nonce, Nanos> probes_;  // outstanding: nonce -> t0
  Nanos last_probe_at_ = kNever;
  Nanos last_frame_at_ = kNever;
  Nanos round_trip_ns_ = 0;
  std::map<RequestNo, Request> requests_;
  std::map<std::string, Index, std::less<>> wanted_;  // collected in a step, sent as one Fetch
  std::vector<StagedModel> staged_, greeted_with_;    // those of the last hello
  std::optional<EdgeReport> report_;
  std::uint32_t spoken_ = 0;  // of the session

  // demand (F9): the tightest bound asked for in this minute and the one before
  Nanos demand_ns_ = kForever, demand_before_ns_ = kForever, demand_since_ = kNever;

  std::vector<WaitingRead> reads_;
  std::map<WriteToken, WaitingWrite> writes_;
  std::vector<WaitingList> lists_;
  std::set<std::string, std::less<>> unsequenced_;  // held write-behind values the hub has not confirmed
};

}  // namespace tidelock
