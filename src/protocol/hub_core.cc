// The hub's authority: claims, terms, beacons, lease lengths. Everything a proof rests on is decided here from the
// ledger alone (A1-A6); the ledger engine's own idea of a leader only tells who may append.

#include "protocol/hub_core.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/mutant.h"
#include "codec/archive.h"

namespace tidelock {
namespace {
constexpr Nanos kAgainAfter = 20 * kMillisecond;  // a ledger that refuses everything must not be flooded
}

HubCore::HubCore(HubOptions options, const StateRows& rows) : options_(std::move(options)), state_(rows) {
  TIDELOCK_ASSERT(options_.boot.value != 0);
  ring_from_ = state_.applied();  // A1: nothing of an earlier boot is resumed, the replay ring included
  ledger_base_ = options_.ledger_clock.time;
  ledger_base_h_ = options_.ledger_clock.at;
}

void HubCore::step(const HubEvent& event, HubActions& out) {
  if (!TIDELOCK_MUTANT(kHubClockReadPerTick) || std::holds_alternative<HubTick>(event.what)) now_ = event.now;  // C6
  wall_ms_ = event.wall_ms;
  out_ = &out;
  out.wake_at = kForever;
  std::visit(
      [this](const auto& what) {
        using What = std::decay_t<decltype(what)>;
        if constexpr (std::is_same_v<What, HubLeadership>) on_leadership(what);
        if constexpr (std::is_same_v<What, HubDropped>) on_dropped(what);
        if constexpr (std::is_same_v<What, HubCommitted>) on_committed(what);
        if constexpr (std::is_same_v<What, HubInstalled>) {
          state_.load();
          writers_known_.reset();
          ring_.clear();
          ring_from_ = state_.applied();
          claim_.reset();  // I10: it may be inside, and would be waited for in vain; one more claim does no harm
          if (active_) step_down("a snapshot replaced the state");
        }
        if constexpr (std::is_same_v<What, HubConnected>) on_connected(what);
        if constexpr (std::is_same_v<What, HubFrameIn>) on_frame(what);
        if constexpr (std::is_same_v<What, HubDisconnected>) on_disconnected(what.conn);
        if constexpr (std::is_same_v<What, HubAsked>) on_asked(what);
        if constexpr (std::is_same_v<What, HubVersions>) on_versions(what);
        if constexpr (std::is_same_v<What, HubDisrupted>) {  // C2
          if (TIDELOCK_MUTANT(kHubIgnoresSuspend)) return;
          ++disruptions_;
          step_down("the machine was suspended or its clock jumped");
          leases_.clear();
          // Nor can it be told how much of the ledger's time has passed meanwhile: what was applied counts alone, which
          // stretches times to live and never shortens them.
          ledger_base_h_ = TIDELOCK_MUTANT(kJumpedTimeCounts) ? now_ : kNever;
        }
      },
      event.what);
  if (leading_ && !active_ && !claim_) {
    if (now_ >= claim_after_)
      claim();
    else
      wake(claim_after_);
  }
  if (active_) {
    if (!state_.seeded() && !seed_) {
      seed_ = next_id();
      append(*seed_, options_.seed);
    }
    retry_deferred();
    repeat_aborts();
    drive_rollouts();
    drive_recalls();
    advance_ops();
    retry_parked();
    keep_authority();
    shorten_or_lengthen_lease();
  }
  out_ = nullptr;
}

void HubCore::on_leadership(const HubLeadership& event) {
  leading_ = event.leading;
  leader_ = event.leader;
  leader_address_ = event.address;
  if (!leading_) {
    claim_.reset();
    if (active_) step_down("another hub leads the ledger");
  }
}

void HubCore::claim() {  // A1
  if (TIDELOCK_MUTANT(kTermResumed) && state_.claim_hub() == options_.id)
    return become_active(Index{state_.term().value}, now_);
  claim_ = next_id();
  append(*claim_, Claim{options_.id, options_.boot});
}

void HubCore::append(CommandId id, decltype(Command::body) body) {
  Command command;
  command.id = id;
  command.term = std::holds_alternative<Claim>(body) ? Term{} : term_;
  command.ledger_time = ledger_now();
  command.body = std::move(body);
  first_attempt_.try_emplace(id, now_);  // A2: retries do not move tb
  ++outstanding_[id];
  out_->append.push_back({id, encode(command)});
}

Nanos HubCore::ledger_now() const {
  if (!active_) return state_.ledger_time();
  return saturating_add(ledger_base_, std::max<Nanos>(0, saturating_sub(now_, ledger_base_h_)));
}

// What the ledger's clock surely shows by now, from all that was applied here. Entries of a dead hub are often applied
// late, after its successor has committed its claim; so it is not the newest of them that tells most.
Nanos HubCore::ledger_clock(Nanos now) const {
  if (ledger_base_h_ == kNever) return state_.ledger_time();
  const Nanos passed = shrink(saturating_sub(now, ledger_base_h_), state_.settings().rho_ppm);
  return std::max(state_.ledger_time(), saturating_add(ledger_base_, passed));
}

void HubCore::on_dropped(const HubDropped& event) {
  // An id may have been appended in an earlier term as well (an edge repeats it in its new session). Of which of the
  // two this is the word cannot be told, so then nothing is known.
  bool alone = true;
  if (const auto it = outstanding_.find(event.id); it != outstanding_.end()) {
    alone = --it->second == 0 || TIDELOCK_MUTANT(kOneDropSpeaksForAll);
    if (alone) outstanding_.erase(it);
  }
  const bool never_happened = (event.code != Code::kMaybeApplied || TIDELOCK_MUTANT(kUnknownTakenForNever)) && alone;
  if (never_happened) first_attempt_.erase(event.id);
  if (claim_ == event.id) {
    claim_.reset();
    claim_after_ = saturating_add(now_, kAgainAfter);
    return;
  }
  if (raising_ == event.id) raising_.reset();
  if (beacon_ == event.id) beacon_.reset();
  if (lease_change_ == event.id) {
    if (never_happened || !active_)
      lease_change_.reset();
    else
      lease_abort_at_ = now_;
  }
  if (lease_abort_ == event.id) lease_abort_at_ = saturating_add(now_, kAgainAfter);
  if (seed_ == event.id) seed_.reset();
  on_registration_dropped(event.id);
  if (active_) {
    for (auto& [id, op] : ops_) {  // S1: the abort itself came to nothing, or may have: an abort can be repeated
      if (op.abort != event.id) continue;
      op.abort.reset();
      aborts_due_.emplace_back(saturating_add(now_, kAgainAfter), id);
    }
  }
  const auto it = ops_.find(event.id);
  if (it == ops_.end()) return;
  Op& op = it->second;
  // What still waits was not appended in this term: the word is of an earlier append, and another hub may have applied
  // the same id since.
  if (op.state == Op::State::kQueued || op.state == Op::State::kBlocking) return;
  if (never_happened) {  // it never entered a log
    if (op.block.value != 0) close_block(op.block, true);
    finish(op, Code::kUnavailable, "the ledger refused the write; nothing happened", {});
  } else if (TIDELOCK_MUTANT(kUnknownTakenForDone)) {
    finish(op, Code::kOk, {}, state_.applied());
  } else if (op.state == Op::State::kAppended && active_) {  // S1: with an unknown outcome the hub appends an abort
    op.state = Op::State::kAborting;
    op.abort = next_id();
    append(*op.abort, Abort{op.id, op.block});
  }
}

// What came with a version enters the ledger only when every hub reads it: one that does not would skip it, and hold
// another state from then on.
void HubCore::on_versions(const HubVersions& event) {
  const std::uint32_t version = std::min(event.all_read, options_.ledger_version);
  if (!active_ || !state_.seeded() || raising_ || version <= state_.ledger_version()) return;
  raising_ = next_id();
  append(*raising_, RaiseVersion{version});
}

void HubCore::on_committed(const HubCommitted& event) {
  const Nanos ledger_before = state_.ledger_time();
  const Applied applied = state_.apply(event.index, event.command, out_->rows);
  const Command& command = applied.command;
  if (std::holds_alternative<RegisterEdge>(command.body) || std::holds_alternative<RemoveEdge>(command.body)) {
    writers_known_.reset();
  }
  if (applied.effective && std::holds_alternative<RaiseVersion>(command.body)) {
    note("ledger_version", std::to_string(state_.ledger_version()));
    if (state_.ledger_version() > options_.ledger_version) {
      out_->stop = "the ledger is at version " + std::to_string(state_.ledger_version()) + ", this build reads up to " +
                   std::to_string(options_.ledger_version) + "; install a newer build";
    }
  }
  if (!active_ && state_.ledger_time() > ledger_before && state_.ledger_time() >= ledger_clock(now_)) {
    ledger_base_ = state_.ledger_time();
    ledger_base_h_ = now_;
  }

  if (const auto it = outstanding_.find(command.id); it != outstanding_.end() && --it->second == 0)
    outstanding_.erase(it);
  Nanos tb = kNever;
  if (const auto it = first_attempt_.find(command.id); it != first_attempt_.end()) {
    tb = it->second;
    first_attempt_.erase(it);
  }
  if (std::holds_alternative<Claim>(command.body)) {
    if (!applied.effective) return;
    const auto& claim = std::get<Claim>(command.body);
    const bool ours = claim.hub == options_.id && claim.boot == options_.boot;
    if (active_) step_down("a newer claim was applied");  // A1, F11: sessions of the old term end here
    if (ours && claim_ == command.id && tb != kNever) become_active(event.index, tb);
    return;
  }
  const bool in_our_term = active_ && command.term == term_;
  if (in_our_term && applied.effective && tb != kNever) {  // A2
    if (TIDELOCK_MUTANT(kAuthorityFromApply)) tb = now_;
    authority_until_ = std::max(
        authority_until_, saturating_add(tb, shrink(state_.settings().authority_window_ns, state_.settings().rho_ppm)));
  }
  if (raising_ == command.id) raising_.reset();
  if (beacon_ == command.id) beacon_.reset();
  const auto* given_up = std::get_if<Abort>(&command.body);
  if (lease_change_ == command.id || (given_up != nullptr && in_our_term && lease_change_ == given_up->target)) {
    lease_change_.reset();
    lease_abort_.reset();
    lease_abort_at_ = kForever;
  }
  if (seed_ == command.id) seed_.reset();

  const auto* put = std::get_if<Put>(&command.body);
  if (const auto* certify = std::get_if<CertifyRecall>(&command.body)) put = &certify->put;
  if (put != nullptr) {
    const BlockNo block = in_our_term ? put->block : BlockNo{};
    if (applied.effective) {
      keep_for_replay(applied, block);
      if (active_) feed(applied, block);
      if (active_) note_rollouts(applied.changed);
    }
    on_write_applied(applied);
  } else if (std::holds_alternative<Batch>(command.body)) {
    if (applied.effective) {
      keep_for_replay(applied, {});
      if (active_) feed(applied, {});
    }
    on_batch_applied(applied);
  } else if (const auto* abort = std::get_if<Abort>(&command.body)) {  // S1
    const auto it = ops_.find(abort->target);
    if (it != ops_.end() && in_our_term) {
      Op& op = it->second;
      if (const auto outcome = state_.outcome(abort->target); outcome && outcome->second == Code::kOk) {
        finish(op, Code::kOk, {}, outcome->first);  // it had been applied after all; its record closed the block
      } else {
        if (op.block.value != 0) close_block(op.block, true);
        finish(op, Code::kUnavailable, "the write was given up; nothing happened", {});
      }
    }
  } else if (std::holds_alternative<RecallVersion>(command.body)) {
    on_recalled(applied);
    on_write_applied(applied);
  } else if (const auto* added = std::get_if<RegisterEdge>(&command.body)) {
    on_registered(added->edge);
  } else if (const auto* removed = std::get_if<RemoveEdge>(&command.body)) {
    if (applied.effective ||
        TIDELOCK_MUTANT(kFencedRemovalCounts)) {  // A1: a fenced one removes nothing, and the edge's lease goes on (S3)
      leases_.erase(removed->edge);
      if (Session* session = session_of(removed->edge))
        end_session(session->conn, "this edge was removed from the cluster");
    }
    on_write_applied(applied);
  }
}

void HubCore::become_active(Index index, Nanos tb) {
  active_ = true;
  claim_.reset();
  term_ = Term{index.value};
  claimed_at_ = TIDELOCK_MUTANT(kWaitFromProposal) ? tb : now_;  // A4: local time of application, not of proposal
  // A4: the ledger's setting at the claim. An empty cluster has granted nothing: no session opens before it is seeded.
  lease_at_claim_ns_ = state_.seeded() ? state_.lease_ns() : 0;
  authority_until_ = saturating_add(tb, shrink(state_.settings().authority_window_ns, state_.settings().rho_ppm));
  // The ledger's clock goes on from what this hub saw of it, so that a failover does not stretch times to live. A hub
  // that has seen none of it (it just started) goes on from the ledger itself.
  ledger_base_ = ledger_clock(now_);
  ledger_base_h_ = now_;
  last_block_ = {};
  find_rollouts();
  recalls_look_at_ = kNever;
  shortening_ = !state_.lease_is_short() && rollout_open();  // A5: what the deposed hub had begun
  rollout_moved_at_ = now_;
  last_demand_ = now_;
  note("became_active", "term " + std::to_string(term_.value));
}

void HubCore::step_down(const std::string& why) {
  if (!active_) return;
  ledger_base_ = ledger_now();  // the clock that it drove so far, it sees from here on
  ledger_base_h_ = now_;
  active_ = false;
  authority_until_ = kNever;
  note("stepped_down", why);
  close_all_sessions(why);
  blocks_.clear();
  queue_.clear();
  for (auto& [id, op] : ops_) {
    const bool appended = op.state == Op::State::kAppended || op.state == Op::State::kAborting;
    if (op.asked) {
      AdminAnswer reply;
      reply.code = appended ? Code::kMaybeApplied : Code::kNotActive;
      reply.message =
          appended
              ? "the hub lost its term while the write was on its way; repeat with the same id to learn the outcome"
              : "this hub is no longer active; nothing happened";
      answer(*op.asked, std::move(reply));
    }
  }
  ops_.clear();
  aborts_due_.clear();
  in_flight_.clear();
  for (HubAsked& asked : std::exchange(deferred_, {}))
    parked_.push_back({std::pair{asked.token, std::move(asked.request)}, 0});
  for (const Parked& parked : parked_) {
    if (const auto* asked = std::get_if<std::pair<AskToken, AdminRequest>>(&parked.what)) {
      AdminAnswer reply;
      reply.code = Code::kNotActive;
      reply.message = "this hub is no longer active; nothing happened";
      answer(asked->first, std::move(reply));
    }
  }
  parked_.clear();
  beacon_.reset();
  lease_change_.reset();
  lease_abort_.reset();
  lease_abort_at_ = kForever;
  seed_.reset();
  registering_.clear();
  removing_.clear();
}

void HubCore::repeat_aborts() {  // S1
  while (!aborts_due_.empty() && now_ >= aborts_due_.front().first) {
    const auto it = ops_.find(aborts_due_.front().second);
    aborts_due_.pop_front();
    if (it == ops_.end() || it->second.state != Op::State::kAborting || it->second.abort) continue;
    it->second.abort = next_id();
    append(*it->second.abort, Abort{it->second.id, it->second.block});
  }
  if (!aborts_due_.empty()) wake(aborts_due_.front().first);
}

// A2: a beacon every third of the window while proofs are asked for; one at once when a request waits for authority.
void HubCore::keep_authority() {
  const Nanos third = state_.settings().authority_window_ns / 3;
  const bool wanted = now_ < saturating_add(last_demand_, 2 * kSecond);
  const bool due = authority_until_ == kNever || now_ >= saturating_sub(authority_until_, 2 * third);
  if (!beacon_ && ((wanted && due) || !parked_.empty())) {
    beacon_ = next_id();
    append(*beacon_, Beacon{});
  }
  if (wanted) wake(std::max(saturating_sub(authority_until_, 2 * third), saturating_add(now_, third / 4)));
}

void HubCore::want_short_lease() {
  rollout_moved_at_ = now_;
  if (!state_.lease_is_short() || lease_change_) shortening_ = true;  // a change on its way may be the other one
}

void HubCore::shorten_or_lengthen_lease() {  // A5
  if (!state_.seeded()) return;
  if (lease_change_) {  // one at a time: one of unknown outcome is voided (S1) before the next
    if (now_ >= lease_abort_at_) {
      lease_abort_at_ = kForever;
      lease_abort_ = next_id();
      append(*lease_abort_, Abort{*lease_change_, {}});
    } else if (lease_abort_at_ != kForever) {
      wake(lease_abort_at_);
    }
    return;
  }
  if (shortening_) {
    if (state_.lease_is_short()) {
      shortening_ = false;
      return;
    }
    const Nanos latest_end =
        std::max(latest_lease(), TIDELOCK_MUTANT(kShortenIgnoresOwnWait) ? kNever : strong_wait_until());
    const Nanos allowed = saturating_add(now_, state_.settings().lease_short_ns);
    if (latest_end > allowed && !TIDELOCK_MUTANT(kShortenWithoutWaiting)) {
      wake(saturating_sub(latest_end, state_.settings().lease_short_ns));
      return;
    }
    lease_change_ = next_id();
    append(*lease_change_, SetLease{true});
  } else if (state_.lease_is_short()) {
    const Nanos due = saturating_add(rollout_moved_at_, options_.rollout_quiet_ns);
    if (now_ < due || now_ < short_wait_until()) {
      wake(std::max(due, short_wait_until()));
    } else if (rollout_open()) {
      rollout_moved_at_ = now_;
    } else {
      lease_change_ = next_id();
      append(*lease_change_, SetLease{false});
    }
  }
}

Nanos HubCore::latest_lease() const {
  Nanos latest = kNever;
  for (const auto& [edge, ends] : leases_) latest = std::max(latest, ends);
  return latest;
}

}  // namespace tidelock
