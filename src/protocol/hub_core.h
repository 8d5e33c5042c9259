// HubCore decides everything a hub does: claiming a term and testing authority (A), sessions, feed and proofs (F),
// blocks and strong writes (S), model operations and recalls (M). It owns the state machine.
//
// Pure:     step(event, actions); the time is in the event and was read after the event was taken from its queue (C6).
//           Chance is not used. Rows are read through the StateRows given at construction.
// Order:    the shell carries out `rows` first and durably enough to resume (one batch), then the rest in field order.
// Threads:  one.
// Cost:     a step is O(what it touches); a record is O(sessions interested).
// Limits:   interest_max keys per session (beyond it whole slots are invalidated), ops_max requests waiting.
#pragma once

#include <bitset>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/mutant.h"
#include "base/result.h"
#include "base/time.h"
#include "protocol/admin.h"
#include "protocol/messages.h"
#include "protocol/state_machine.h"
#include "protocol/trust_check.h"

namespace tidelock {

using ConnId = Number<struct ConnTag>;   // one connection of an edge at this hub process; never reused
using AskToken = Number<struct AskTag>;  // whom the shell answers

struct LedgerReading {  // the ledger's clock showed this time, or more, at that instant of this hub's
  Nanos time = 0, at = kNever;
};
struct HubOptions {
  NodeId id;
  Boot boot;
  Seed seed;                                          // what an empty cluster starts with
  std::uint32_t protocol_version = kProtocolVersion;  // the highest to speak; lower in tests
  std::uint32_t ledger_version = kLedgerVersion;      // the highest to read; lower in tests
  Nanos rollout_quiet_ns = 60 * kSecond;              // A5: the lease is lengthened when no rollout moved for this long
  LedgerReading ledger_clock{};                       // what an earlier run of this hub knew
  std::size_t interest_max = 200'000;                 // I11: keys per session; beyond it whole slots are invalidated
  std::size_t interest_sweep_at = 1'024;              // of them, before expired ones are swept; 0: at each new one
  std::size_t ops_max = 20'000;                       // I11: requests that wait
  std::size_t ring_max = 8'192;                       // strong records kept for replay (F11)
};

// ---- events
struct HubTick {};
struct HubLeadership {  // the ledger's word on who may append
  bool leading = false;
  NodeId leader;
  std::string address = {};  // of `leader`, where it is known
};
struct HubVersions {  // the ledger version that every hub of the cluster reads, as far as all could be asked
  std::uint32_t all_read = 1;
};
struct HubDropped {  // an append of ours ended without commitment: kNotActive (never happened) or kMaybeApplied
  CommandId id;
  Code code = Code::kNotActive;
};
struct HubCommitted {
  Index index;
  Bytes command;
};
struct HubInstalled {};  // the rows were replaced by a snapshot
struct HubConnected {
  ConnId conn;
  NodeId peer;  // from its certificate
};
struct HubFrameIn {
  ConnId conn;
  EdgeFrame frame;
};
struct HubDisconnected {
  ConnId conn;
};
struct HubAsked {
  AskToken token;
  AdminRequest request;
  NodeId who = {};  // the operator, by the name in its certificate
};
struct HubDisrupted {};  // C2: this machine was suspended or its clock jumped

struct HubEvent {
  Nanos now = 0;
  std::variant<HubTick, HubLeadership, HubDropped, HubCommitted, HubInstalled, HubConnected, HubFrameIn,
               HubDisconnected, HubAsked, HubDisrupted, HubVersions>
      what;
  std::uint64_t wall_ms = 0;  // C4: dates what people read
};

// ---- actions, carried out in field order
struct HubActions {
  struct Append {
    CommandId id;
    Bytes command;
  };
  struct Send {
    ConnId conn;
    HubFrame frame;
  };
  struct Close {
    ConnId conn;
    std::string reason;
  };
  struct Answer {
    AskToken token;
    AdminAnswer answer;
  };
  struct Note {  // for log and metrics
    std::string event;
    std::string detail;
  };
  StateBatch rows;
  std::vector<Append> append;
  std::vector<Send> send;
  std::vector<Close> close;
  std::vector<Answer> answers;
  std::vector<Note> notes;
  std::optional<std::string> stop;  // the ledger holds what this build cannot read: end the process, and say why
  Nanos wake_at = kForever;         // a HubTick is due then
};

class HubCore {
 public:
  HubCore(HubOptions options, const StateRows& rows);
  void step(const HubEvent& event, HubActions& out);

  bool active() const { return active_; }
  // A3: may a proof be given at `now`?
  bool has_authority(Nanos now) const {
    return active_ && (now < authority_until_ || TIDELOCK_MUTANT(kProofWithoutAuthority));
  }
  const StateMachine& state() const { return state_; }
  std::size_t sessions() const { return by_edge_.size(); }
  // Connected edges that have said that they staged the version.
  std::size_t edges_ready(const ActivateModel& activate) const;
  std::size_t open_blocks() const { return blocks_.size(); }
  // What the ledger's clock surely shows at `now`; for the next run of this hub.
  Nanos ledger_clock(Nanos now) const;
  // The latest instant at which any lease in the table ends; kNever when there is none (for tests and metrics).
  Nanos latest_lease() const;

 private:
  friend struct StateDigest;  // of the simulator: has to know every field
  struct Session {
    ConnId conn;
    NodeId peer;
    bool open = false;  // Hello was accepted
    SessionNo number;
    std::uint32_t protocol_version = kProtocolVersionMin;
    NodeId edge;
    std::string site;
    Boot boot;
    Nanos opened_at = kNever;
    std::uint64_t next_in = 1;
    std::uint64_t next_out = 1;
    std::unordered_map<std::string, Nanos> interest;  // key -> ledger time at which the value handed out has expired
    std::size_t sweep_at = 0;                         // expired interest is swept when the table has grown to this
    std::bitset<65536> slot_interest;                 // F7: coarse, once `interest` is full
    std::set<BlockNo> acked;
    Nanos flush_age_ns = kForever;
    bool flushed = false;
    Index applied;
    std::vector<StagedModel> staged;
    std::vector<Staged> troubles;      // M3: why others are not; in this session
    std::optional<EdgeReport> report;  // the newest
    std::optional<Hello> waiting;      // A6: until its registration was applied
  };
  struct EdgeRequest {  // F1: numbers are not reused within a boot; another boot counts anew
    NodeId edge;
    Boot boot;
    RequestNo number;
  };
  // One write from whoever asked until its outcome is known.
  struct Op {
    enum class State : std::uint8_t { kQueued, kBlocking, kAppended, kAborting };
    CommandId id;
    State state = State::kQueued;
    Nanos began = 0;  // when the writing node handed it over, or earlier: its times to live count from there
    bool strong = false;
    BlockNo block;
    std::variant<Put, Batch, RemoveEdge, RecallVersion> body;
    std::optional<RecallCertificate> certifies;  // M7: the writes of `body` are what it moves
    std::optional<AskToken> asked;               // an operator waits
    std::optional<EdgeRequest> edge_request;     // an edge waits, in its current session
    std::string model_operation;                 // "activate", ... for notes
    std::uint64_t append_number = 0;             // A3: of its append; 0 before
    std::vector<std::string> keys;               // of an appended write
    Stamp newest_stamp{};                        // of a batch
    std::optional<CommandId> abort;              // kAborting: the attempt on its way
  };
  struct OpenBlock {
    CommandId op;
    std::vector<std::string> keys;
    std::map<NodeId, Boot> acked;  // S3: by the current session only
  };
  struct Parked {
    std::variant<std::pair<ConnId, Probe>, std::pair<ConnId, Fetch>, std::pair<AskToken, AdminRequest>,
                 std::pair<ConnId, ListKeys>>
        what;
    std::uint64_t appends = 0;  // A3: it waits for own writes up to this one; later ones nobody can have seen before it
  };

  // authority (hub_core.cc)
  void on_leadership(const HubLeadership& event);
  void on_versions(const HubVersions& event);
  void on_dropped(const HubDropped& event);
  void on_committed(const HubCommitted& event);
  void claim();
  void become_active(Index index, Nanos tb);
  void step_down(const std::string& why);
  void append(CommandId id, decltype(Command::body) body);
  CommandId next_id() { return {options_.boot.value, ++sequence_}; }
  Nanos ledger_now() const;
  void repeat_aborts();
  void keep_authority();
  void shorten_or_lengthen_lease();
  void want_short_lease();

  // sessions and feed (hub_sessions.cc)
  void on_connected(const HubConnected& event);
  void on_frame(const HubFrameIn& event);
  void on_disconnected(ConnId conn);
  void on_hello(Session& session, SessionNo number, const Hello& hello);
  bool on_probe(Session& session, const Probe& probe);                         // false: park
  bool on_fetch(Session& session, const Fetch& fetch, std::uint64_t appends);  // false: park
  bool on_list_keys(Session& session, const ListKeys& list, std::uint64_t appends);
  void send(Session& session, decltype(HubFrame::body) body);
  void end_session(ConnId conn, const std::string& reason);
  void close_all_sessions(const std::string& reason);
  void feed(const Applied& applied, BlockNo block);
  void keep_for_replay(const Applied& applied, BlockNo block);
  ChangedKey changed_key(const ChangedValue& change) const;
  void register_interest(Session& session, const std::string& key, Nanos expires_at);
  Nanos writers_ns() const;
  Stamp newest_stamp_of(const NodeId& edge) const;
  void retry_parked();
  Session* session_of(const NodeId& edge);

  // writes (hub_writes.cc)
  void write_anew(Put& put) const;
  void start_write(Op op);
  void advance_ops();
  bool block_satisfied(const OpenBlock& block) const;
  bool lease_holds(const OpenBlock& block, const NodeId& edge, Nanos ends) const;
  void open_block(Op& op);
  void close_block(BlockNo number, bool tell_edges);
  void append_op(Op& op);
  void finish(Op& op, Code code, std::string message, Index index);
  void on_write_applied(const Applied& applied);
  void on_batch_applied(const Applied& applied);
  void on_block_ack(Session& session, const BlockAck& ack);
  Nanos sent_at(const Session& session, const SentAt& sent) const;
  void on_write_through(Session& session, const WriteThrough& write);
  void on_write_batch(Session& session, const WriteBatch& batch);
  bool own_write_in_flight(const std::string& key, std::uint64_t appends) const;
  void forget_op(CommandId id);
  void open_session(Session& session, const Hello& hello);
  bool ensure_registered(const Hello& hello);
  void on_registered(const NodeId& edge);
  void on_registration_dropped(CommandId id);
  bool is_strong(std::string_view key) const;
  Nanos short_wait_until() const;   // A4: ordinary writes
  Nanos strong_wait_until() const;  // A4, S6: strong writes

  // operators (hub_models.cc)
  void on_asked(const HubAsked& asked);
  bool answer_read(AskToken token, const AdminRequest& request, std::uint64_t appends);  // false: park
  Result<Op> model_write(const AdminRequest& request, const NodeId& who);
  std::vector<ModelView> describe_models() const;
  std::vector<EdgeView> describe_edges() const;
  std::vector<EdgeStaging> describe_staging() const;
  TransferView describe_transfer(const DescribeTransfer& request) const;
  void answer(AskToken token, AdminAnswer answer);
  std::optional<ModelPointer> pointer(const std::string& key, Index* version) const;
  TrustRead trust_read() const;
  Result<void> trusted(const std::string& name, const std::string& version, BytesView signed_manifest,
                       TrustUse use) const;  // X2: by the files in the ledger
  bool rollout_open() const;
  Nanos edges_back_until() const;  // after a claim edges need a moment to come here
  void retry_deferred();

  // rollouts (hub_rollouts.cc)
  std::optional<Rollout> rollout(const std::string& name, Index* version) const;
  void note_rollouts(const std::vector<ChangedValue>& changed);
  void find_rollouts();
  Fleet fleet(const std::string& name, const std::string& version) const;  // points into sessions_ and state_
  std::uint64_t release_bytes(const std::string& name, const std::string& version) const;  // 0: not published
  std::vector<HistoryEntry> history(const std::string& key) const;
  // `key`: of a log, model_history_key(name) or kTrustHistoryKey.
  KeyWrite history_write(const std::string& key, const NodeId& who, std::string what) const;
  Op rollout_write(const std::string& name, const RolloutStep& step, const NodeId& who);
  bool model_busy(const std::string& name, CommandId but) const;
  Result<Op> rollout_command(const RolloutCommand& command, const NodeId& who);
  Result<void> not_rolled_out(const std::string& name) const;
  void drive_rollouts();
  RolloutView describe_rollout(const std::string& name) const;
  void on_report(Session& session, const EdgeReport& report);

  // recalls (hub_recalls.cc)
  std::optional<std::string> recall_into(const RecallModel& command) const;
  Result<Op> recall_command(const RecallModel& command, const NodeId& who);
  Result<void> not_recalled(const std::string& name, const std::string& version) const;
  void drive_recalls();
  std::optional<ModelPointer> instead_of(const RecallVersion& recall) const;
  Op certify_write(const RecallState& recall) const;
  void complete(RecallCertificate& certificate, const Op& op) const;
  void on_recalled(const Applied& applied);
  void tell_recalls(Session& session);
  bool recall_open(const std::string& name) const;  // one of this model without a certificate; empty: of any
  std::vector<RecallView> describe_recalls(const DescribeRecalls& request) const;
  void add_recalls(const std::string& name, std::vector<HistoryEntry>& history) const;

  void note(std::string event, std::string detail) { out_->notes.push_back({std::move(event), std::move(detail)}); }
  void wake(Nanos at) { out_->wake_at = out_->wake_at < at ? out_->wake_at : at; }

  const HubOptions options_;
  StateMachine state_;

  // valid during a step
  Nanos now_ = 0;
  std::uint64_t wall_ms_ = 0;
  HubActions* out_ = nullptr;

  bool leading_ = false;
  NodeId leader_;
  std::string leader_address_;
  std::optional<CommandId> raising_;  // of a RaiseVersion under way
  bool active_ = false;
  Term term_;
  Nanos claimed_at_ = 0;         // A4: when our claim was applied here
  Nanos lease_at_claim_ns_ = 0;  // A4: the ledger's setting at our claim
  Nanos authority_until_ = kNever;
  std::optional<CommandId> claim_;
  Nanos claim_after_ = kNever;
  std::optional<CommandId> beacon_;
  Nanos last_demand_ = kNever;                      // when a proof was last asked for (A2)
  Nanos ledger_base_ = 0, ledger_base_h_ = kNever;  // the ledger's clock showed this, or more, at that instant
  std::uint64_t sequence_ = 0;
  std::uint64_t disruptions_ = 0;             // C2: in this boot
  std::map<CommandId, Nanos> first_attempt_;  // A2: tb of every own append
  std::map<CommandId, int> outstanding_;      // appends of an id that have neither committed nor been dropped
  bool shortening_ = false;                   // A5
  std::optional<CommandId> lease_change_;
  std::optional<CommandId> lease_abort_;  // of that change, when its outcome is unknown
  Nanos lease_abort_at_ = kForever;       // it is due then (again)
  Nanos rollout_moved_at_ = kNever;
  std::optional<CommandId> seed_;
  std::map<NodeId, CommandId> registering_;
  std::map<NodeId, ConnId> waiting_;  // their hellos (Session::waiting)
  std::set<NodeId> removing_;

  std::map<NodeId, Nanos> leases_;  // A3: edge -> hub instant at which its lease has ended
  std::map<ConnId, Session> sessions_;
  std::map<NodeId, ConnId> by_edge_;
  // writers_ns(), until a session, what it declared, or the set of edges changes: each probe asks, among all edges.
  mutable std::optional<Nanos> writers_known_;
  std::map<CommandId, Op> ops_;
  std::uint64_t appends_ = 0;                                 // A3: own writes appended so far
  std::map<std::string, std::set<std::uint64_t>> in_flight_;  // A3: key -> numbers of own appends without an outcome
  std::deque<std::pair<Nanos, CommandId>> aborts_due_;        // S1: writes whose abort was dropped, and when it is due
  std::deque<CommandId> queue_;                               // ops in arrival order that are not yet appended
  std::map<BlockNo, OpenBlock> blocks_;
  BlockNo last_block_;
  std::vector<Parked> parked_;
  std::vector<HubAsked> deferred_;  // that wait for edges to come back, or for a write of the same model
  std::set<std::string> rollouts_;  // models with one under way, and perhaps some more
  Nanos rollouts_look_at_ = kNever;
  Nanos recalls_look_at_ = kNever;
  struct Kept {
    Record record;
    Nanos ledger_time = 0;  // at which its times to live were told
  };
  std::deque<Kept> ring_;  // F11: strong records, newest last
  Index ring_from_;        // every strong record above it is in the ring
};

}  // namespace tidelock
