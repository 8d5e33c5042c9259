// An edge's session: hello and welcome, the numbered feed, marks, blocks, fetch answers (F1, F2, F7, F8, F11, S2).

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/mutant.h"
#include "protocol/edge_core.h"

namespace tidelock {
namespace {
constexpr Nanos kBackoffFirst = 20 * kMillisecond;
constexpr Nanos kBackoffMost = 500 * kMillisecond;

std::uint16_t slot_of_key(std::string_view key) { return static_cast<std::uint16_t>(hash64(key) & 0xFFFF); }
}  // namespace

void EdgeCore::connect(std::string hint) {
  state_ = State::kConnecting;
  greeting_since_ = now_;
  link_ = LinkNo{++last_link_};
  emit(LinkOpen{link_, std::move(hint)});
}

void EdgeCore::send(decltype(EdgeFrame::body) body) {
  emit(LinkSend{link_, EdgeFrame{session_, next_out_++, std::move(body)}});
}

void EdgeCore::on_link_down(const EdgeLinkDown& event) {
  if (event.link == link_ && state_ != State::kIdle) drop_session(event.reason);
}

// F8: the loss of a session changes nothing: proofs age, the lease runs out by time, blocks stay.
void EdgeCore::drop_session(const std::string& reason) {
  if (state_ == State::kOpen) {
    note("session_lost", reason);
    backoff_ns_ = 0;
  }
  emit(LinkClose{link_, reason});
  state_ = State::kIdle;
  probes_.clear();  // F1: an answer that is not outstanding in this session is dropped
  requests_.clear();
  wanted_.clear();
  outbox_.session_closed();
  for (auto& [token, waiting] : writes_) waiting.request = {};
  for (WaitingList& waiting : lists_) waiting.request = {};
  // I10: jittered reconnect, for ever
  backoff_ns_ = backoff_ns_ == 0 ? kBackoffFirst : std::min(backoff_ns_ * 2, kBackoffMost);
  const Nanos wait = backoff_ns_ / 2 + static_cast<Nanos>(rng_.below(static_cast<std::uint64_t>(backoff_ns_ / 2) + 1));
  connect_at_ = std::max(saturating_add(now_, wait), options_.session_after);
  wake(connect_at_);
}

void EdgeCore::on_frame(const EdgeFrameIn& event) {
  if (event.link != link_ || (state_ != State::kOpen && state_ != State::kGreeting)) return;
  const HubFrame& frame = event.frame;
  if (frame.session != session_ ||
      (frame.number != next_in_ && !TIDELOCK_MUTANT(kHoleAccepted))) {  // F2: a hole ends the session
    drop_session("message " + std::to_string(frame.number) + " of session " + std::to_string(frame.session.value) +
                 " where " + std::to_string(next_in_) + " was due");
    return;
  }
  ++next_in_;
  last_frame_at_ = now_;
  if (const auto* goodbye = std::get_if<Goodbye>(&frame.body)) {
    hint_ = goodbye->hint;
    drop_session(goodbye->reason);
    return;
  }
  if (state_ == State::kGreeting) {
    const auto* welcome = std::get_if<Welcome>(&frame.body);
    if (welcome == nullptr)
      drop_session("the first message of a session must be a welcome");
    else
      on_welcome(*welcome);
    return;
  }
  std::visit(
      [this](const auto& body) {
        using Body = std::decay_t<decltype(body)>;
        if constexpr (std::is_same_v<Body, Record>) on_record(body);
        if constexpr (std::is_same_v<Body, Mark>) on_mark(body);
        if constexpr (std::is_same_v<Body, Block>) on_block(body);
        if constexpr (std::is_same_v<Body, Unblock>)
          close_blocks({{body.term, body.number}});  // S2: same term, same number
        if constexpr (std::is_same_v<Body, FetchAnswer>) {
          FetchAnswer answer = body;
          on_fetch_answer(answer);
        }
        if constexpr (std::is_same_v<Body, WriteDone>) on_write_done(body);
        if constexpr (std::is_same_v<Body, KeysListed>) on_keys_listed(body);
        if constexpr (std::is_same_v<Body, Recalled>) emit(VersionsRecalled{body.versions});  // M7
        if constexpr (std::is_same_v<Body, BatchDone>) {
          OutboxActions actions;
          outbox_.batch_done(now_, body, actions);
          drain_outbox(std::move(actions));
          drop_superseded();
        }
        if constexpr (std::is_same_v<Body, Welcome>) drop_session("a second welcome in one session");
      },
      frame.body);
  retry_reads();
}

void EdgeCore::on_welcome(const Welcome& welcome) {  // F11
  if (welcome.protocol_version < kProtocolVersionMin || welcome.protocol_version > options_.protocol_version) {
    drop_session("the hub chose protocol version " + std::to_string(welcome.protocol_version) + ", this edge speaks " +
                 std::to_string(kProtocolVersionMin) + " to " + std::to_string(options_.protocol_version));
    return;
  }
  if ((welcome.term < highest_term_ || welcome.h0 < resume_from()) && !TIDELOCK_MUTANT(kNoTermTestAtOpen)) {
    drop_session("the hub is behind: term " + std::to_string(welcome.term.value) + " index " +
                 std::to_string(welcome.h0.value));
    return;
  }
  if (!validate_namespaces(welcome.namespaces) || !validate_settings(welcome.settings)) {
    drop_session("the hub sent invalid namespaces or settings");
    return;
  }
  state_ = State::kOpen;
  ++counters_.sessions_total;
  welcome_ = welcome;
  joined_ = true;
  hlc_.start_after(welcome.newest_stamp);  // G8
  heard_h_ = welcome.hub_h;
  heard_at_ = now_;
  first_mark_done_ = false;
  // F8: what a session verified before its first mark is not covered by the marks of the next one, where nobody is
  // registered for it. So each session has an epoch of its own, whether or not a mark ever comes.
  if (!TIDELOCK_MUTANT(kSessionsShareEpoch) || session_epoch_ == epoch_) ++session_epoch_;
  highest_term_ = welcome.term;
  if (welcome.reset && !TIDELOCK_MUTANT(kResetIgnored)) {  // F11: a hole in the strong records. Not with the first
                                                           // mark: this session may end before it
    raise_epochs(epoch_, session_epoch_);
    fed_ = welcome.h0;
  }
  unlisted_.clear();  // F11: held in this term, but not open at the hub any more
  for (const auto& [key, keys] : blocks_) {
    const bool listed =
        std::find(welcome.open_blocks.begin(), welcome.open_blocks.end(), key) != welcome.open_blocks.end();
    if (key.first == welcome.term && !listed) unlisted_.push_back(key);
  }
  if (TIDELOCK_MUTANT(kWelcomeClosesBlocks)) close_blocks(std::exchange(unlisted_, {}));
  backoff_ns_ = 0;
  settings_ = welcome.settings;
  namespaces_ = welcome.namespaces;
  guard_.set_rho(settings_.rho_ppm);
  emit(PagePolicies{namespaces_, settings_});
  emit(SessionOpened{welcome.hub, welcome.term, welcome.reset, welcome.model_key});
  note("session_open", welcome.hub + " term " + std::to_string(welcome.term.value));
  // M4: what came or went between the hello and this.
  const auto among = [](const std::vector<StagedModel>& models, const StagedModel& model) {
    return std::find(models.begin(), models.end(), model) != models.end();
  };
  for (const StagedModel& model : greeted_with_) {
    if (!among(staged_, model)) send(Staged{model, "it is not staged any more"});
  }
  for (const StagedModel& model : staged_) {
    if (!among(greeted_with_, model)) send(Staged{model, {}});
  }
  spoken_ = welcome.protocol_version;
  send_report();
  OutboxActions resend;
  outbox_.session_open(now_, resend);
  drain_outbox(std::move(resend));
  last_probe_at_ = kNever;
  probe();
  for (auto& [token, waiting] : writes_) send_through(waiting);
  for (const WaitingRead& waiting : reads_) ask_for(waiting);
  for (WaitingList& waiting : lists_) ask_for_keys(waiting);
}

void EdgeCore::send_report() {
  if (report_ && state_ == State::kOpen && spoken_ >= kProtocolVersionRings) send(*report_);
}

Index EdgeCore::resume_from() const { return TIDELOCK_MUTANT(kReplayShownAgain) ? applied_ : std::max(applied_, fed_); }

void EdgeCore::on_record(const Record& record) {
  // F11: a replay begins at the last mark, and we may have been fed further. Carried out once more, it would show older
  // values again, one after the other, under a lease that is still alive.
  if (record.index <= fed_ && !TIDELOCK_MUTANT(kReplayShownAgain)) return;
  fed_ = record.index;
  if (TIDELOCK_MUTANT(kBlockClosedBeforeValue)) close_blocks({{record.term, record.block}});
  // S4: the keys of one index change inside one odd generation of every namespace touched.
  std::set<std::uint16_t> touched;
  for (const ChangedKey& changed : record.keys) touched.insert(namespace_number(namespaces_, changed.key));
  for (const std::uint16_t ns : touched) emit(PageBeginWrite{ns});
  in_record_ = true;
  for (const ChangedKey& changed : record.keys) {
    ++counters_.invalidations_total;
    for (auto& [number, request] : requests_) {  // F7
      const auto it = request.invalidated.find(changed.key);
      if (it != request.invalidated.end()) it->second = std::max(it->second, record.index);
    }
    const auto held = find(changed.key);  // in L2 as well: a replay must not bring back what is older than that
    if (held && !held->local && held->version >= record.index && !TIDELOCK_MUTANT(kReplayShownAgain))
      continue;  // a newer version is held
    if (held && held->local && changed.stamp < held->stamp && outbox_.pending(changed.key)) {  // D8: overlay
      if (changed.ttl_left_ns != kForever && held->epoch != 0) {  // the hub's interest ends with that value
        EdgeEntry uncovered = held->copy();
        uncovered.epoch = 0;
        hold(changed.key, std::move(uncovered), true);
      }
      continue;
    }
    const bool strong = policy(changed.key).consistency == Consistency::kStrong;
    EdgeEntry entry;
    entry.version = record.index;
    entry.stamp = changed.stamp;
    entry.epoch = session_epoch_;
    if (changed.ttl_left_ns != kForever) {  // C5: told after the hello, and behind every mark so far
      entry.expires_at =
          saturating_add(std::max(fresh_at_, greeting_since_), shrink(changed.ttl_left_ns, settings_.rho_ppm));
    }
    if (changed.value) {
      entry.value = changed.value;
      hold(changed.key, std::move(entry), true);
    } else if (changed.deleted) {
      hold(changed.key, std::move(entry), true);  // known to be absent; the hub keeps us registered
    } else if (held && held->local && held->stamp == changed.stamp && changed.stamp != Stamp{}) {
      if (held->value)
        entry.value.emplace(*held->value);  // our own write came back sequenced: adopt it, the bytes did not travel
      if (entry.expires_at == kForever) entry.expires_at = held->expires_at;
      hold(changed.key, std::move(entry), false);
    } else {
      forget(changed.key, true);
    }
    if (strong) emit(StrongChanged{changed.key, changed.value, record.index});
  }
  for (const std::uint16_t slot : record.slots) {  // the hub's interest table was full: coarser, never wrong
    ++counters_.invalidations_total;
    for (auto& [number, request] : requests_) {
      for (auto& [key, index] : request.invalidated) {
        if (slot_of_key(key) == slot) index = std::max(index, record.index);
      }
    }
    std::set<std::string> hit;
    memory_->each_of_slot(slot, [&](std::string_view key) { hit.emplace(key); });
    for (const ChangedKey& changed : record.keys) {  // what this step brings, and nobody has carried out
      if (slot_of_key(changed.key) == slot) hit.insert(changed.key);
    }
    for (const std::string& key : hit) {
      const auto held = in_memory(key);
      if (!held || policy(key).consistency == Consistency::kStrong) continue;
      if (held->local && policy(key).scope != Scope::kRegion) continue;
      if (held->local && outbox_.pending(key)) {  // D8: it stays, but nobody is registered for it any more
        EdgeEntry uncovered = held->copy();
        uncovered.epoch = 0;
        hold(key, std::move(uncovered), true);
      } else {
        forget(key, true);
      }
    }
    emit(PageBumpSlot{slot, true});  // a key that left the memory tier may still be held by an app (L1)
  }
  in_record_ = false;
  for (const std::uint16_t ns : touched) emit(PageEndWrite{ns});
  // F5: after the values and slots, close the block. `applied` and `fresh_at` follow with the next mark.
  if (record.block.value != 0) close_blocks({{record.term, record.block}});  // S2: its own record
  if (TIDELOCK_MUTANT(kRecordClosesAll)) {
    while (!blocks_.empty()) close_blocks({blocks_.begin()->first});
  }
  if (TIDELOCK_MUTANT(kHigherNumberClosesLower)) {
    while (!blocks_.empty() && blocks_.begin()->first < BlockKey{record.term, record.block})
      close_blocks({blocks_.begin()->first});
  }
}

void EdgeCore::on_block(const Block& block) {  // S2
  const BlockKey key{block.term, block.number};
  if (TIDELOCK_MUTANT(kAckBeforePage)) send(BlockAck{block.term, block.number});
  if (!blocks_.contains(key)) {
    std::vector<std::uint16_t> slots;
    for (const std::string& one : block.keys) slots.push_back(slot_of_key(one));
    for (const std::uint16_t slot : slots) ++blocked_slots_[slot];
    blocks_.emplace(key, block.keys);
    emit(PageOpenBlock{std::move(slots)});
  }
  if (!TIDELOCK_MUTANT(kAckBeforePage)) send(BlockAck{block.term, block.number});  // after the page shows it
}

void EdgeCore::close_blocks(const std::vector<BlockKey>& closing) {
  for (const BlockKey& key : closing) {
    const auto it = blocks_.find(key);
    if (it == blocks_.end()) continue;
    std::vector<std::uint16_t> slots;
    for (const std::string& one : it->second) slots.push_back(slot_of_key(one));
    for (const std::uint16_t slot : slots) {
      if (--blocked_slots_[slot] == 0 || TIDELOCK_MUTANT(kBlocksNotCounted)) blocked_slots_.erase(slot);
    }
    blocks_.erase(it);
    emit(PageCloseBlock{std::move(slots)});
  }
}

void EdgeCore::on_mark(const Mark& mark) {  // F2, F4
  const auto it = TIDELOCK_MUTANT(kMarkMatchesNewestProbe) && !probes_.empty() ? std::prev(probes_.end())
                                                                               : probes_.find(mark.nonce);
  if (it == probes_.end()) return;  // F1: not outstanding in this session
  const Nanos t0 = it->second;
  probes_.erase(it);
  heard_h_ = mark.hub_h;
  heard_at_ = now_;
  round_trip_ns_ = round_trip_ns_ == 0 ? now_ - t0 : (7 * round_trip_ns_ + (now_ - t0)) / 8;
  if (!mark.proof) return;
  guard_.on_mark(welcome_.hub_boot, mark.hub_h, t0, now_);
  if (guard_.fault() && !TIDELOCK_MUTANT(kClockFaultIgnored)) {  // C3: no proofs until reset
    if (!fault_shown_) {
      fault_shown_ = true;
      drop_proofs();
      note("clock_fault", "the relative rate of this clock and the hub's is outside 1 +- 2 rho");
    }
    return;
  }
  if (!first_mark_done_) {  // F8: before the first mark takes effect
    raise_epochs(session_epoch_, strong_epoch_);
    first_mark_done_ = true;
    close_blocks(std::exchange(unlisted_, {}));  // F11: h0 is applied now
  }
  applied_ = std::max(applied_, mark.index);
  emit(PageApplied{applied_});
  std::vector<BlockKey> lower;  // S2: by a mark of a strictly higher term
  for (const auto& [key, keys] : blocks_) {
    if (key.first < welcome_.term || TIDELOCK_MUTANT(kMarkClosesOwnTerm)) lower.push_back(key);
  }
  close_blocks(lower);
  fresh_at_ = std::max(fresh_at_, TIDELOCK_MUTANT(kFreshFromReceipt) ? now_ : t0);
  writers_ns_ = mark.writers_ns;
  emit(PageWriters{writers_ns_});
  emit(PageFresh{fresh_at_});
  if (mark.lease_ns > 0) {  // F4: counted from send, and shown only now that `applied` has reached its floor
    const Nanos from = TIDELOCK_MUTANT(kLeaseFromReceipt) ? now_ : t0;
    const Nanos granted = TIDELOCK_MUTANT(kLeaseTooLong) ? mark.lease_ns * 13 / 10 : mark.lease_ns;
    const std::uint32_t rho_ppm = TIDELOCK_MUTANT(kLeaseIgnoresDrift) ? 0 : settings_.rho_ppm;
    const Nanos until = saturating_sub(saturating_add(from, shrink(granted, rho_ppm)), settings_.lease_margin_ns);
    lease_until_ = std::max(lease_until_, until);
    emit(PageLease{lease_until_});
  }
}

void EdgeCore::on_fetch_answer(FetchAnswer& answer) {  // F7
  const auto it = requests_.find(answer.request);
  if (it == requests_.end()) return;
  const Request request = std::move(it->second);
  requests_.erase(it);
  for (FetchAnswer::Found& found : answer.found) {
    const auto wanted = request.invalidated.find(found.key);
    if (wanted == request.invalidated.end()) continue;
    if (wanted->second > answer.index) {  // invalidated above the answer's index: discard and fetch again
      wanted_[found.key] = Index{};
      continue;
    }
    const auto held = find(found.key);
    const auto pending = held && held->local ? outbox_.pending(found.key) : std::nullopt;
    if (pending && held->stamp > found.stamp) {
      // D8: our own newer write stays, and now it is known that the hub has none that is newer still. Unless something
      // newer may have come, ended, and been collected: because ours was applied meanwhile, or because this edge was
      // removed, and returned with ours. Then "no such key" without a stamp says nothing about it, nor, to one that
      // returned, what another one brought that did (G9).
      EdgeEntry own = held->copy();
      const bool passed = own.stamp <= welcome_.newest_stamp && !TIDELOCK_MUTANT(kReturnedWriteVouchedFor);
      const bool unknown = passed || (pending->in_flight && found.version.value == 0 && found.stamp == Stamp{});
      own.epoch = unknown || found.ttl_left_ns != kForever ? 0 : session_epoch_;
      if (!unknown && answer.proof && !guard_.fault()) own.proven_at = std::max(own.proven_at, request.sent_at);
      hold(found.key, std::move(own), false);
      continue;
    }
    if (held && !held->local && held->version > answer.index) continue;  // newer than the answer
    EdgeEntry entry;
    entry.version = found.version;
    entry.stamp = found.stamp;
    entry.epoch = session_epoch_;  // verified in this session, whose first mark may be on its way
    if (answer.proof && !guard_.fault())
      entry.proven_at = TIDELOCK_MUTANT(kFillProvenAtReceipt) ? now_ : request.sent_at;
    if (found.ttl_left_ns != kForever) {
      const Nanos from = TIDELOCK_MUTANT(kExpiryFromReceipt) ? now_ : request.sent_at;
      entry.expires_at = saturating_add(from, shrink(found.ttl_left_ns, settings_.rho_ppm));
    }
    bool changed = !held || held->version != found.version || held->local;
    if (found.same) {
      if (!held || held->version != found.version) {  // evicted meanwhile: ask for the bytes
        wanted_[found.key] = Index{};
        continue;
      }
      if (held->value) entry.value.emplace(*held->value);
      changed = false;
    } else {
      entry.value = std::move(found.value);
    }
    const bool strong = policy(found.key).consistency == Consistency::kStrong;
    const std::optional<Bytes> value = entry.value;
    const Nanos proven_at = entry.proven_at;
    hold(found.key, std::move(entry), changed);
    asked_[found.key] = proven_at;
    if (strong && changed) emit(StrongChanged{found.key, value, found.version});
  }
}

void EdgeCore::probe() {  // F1
  const Nonce nonce{++last_nonce_};
  probes_[nonce] = now_;
  last_probe_at_ = now_;
  ++counters_.probes_total;
  Probe message;
  message.nonce = nonce;
  message.wants_lease = true;
  for (const Namespace& ns : namespaces_) {
    if (ns.write_mode == WriteMode::kBehind && ns.scope == Scope::kRegion) {
      message.flush_age_ns = std::max(message.flush_age_ns, ns.flush_age_ns);
    }
  }
  message.flushed = outbox_.flushed_in_time(now_, message.flush_age_ns);
  send(message);
}

Nanos EdgeCore::probe_interval() const {  // F9
  const Nanos renewal =
      std::max<Nanos>(500 * kMillisecond, lease_until_ == kNever ? kSecond : (lease_until_ - fresh_at_) / 2);
  const Nanos tightest = std::min(demand_ns_, demand_before_ns_);
  if (tightest == kForever) return renewal;
  const Nanos third = std::max<Nanos>(20 * kMillisecond, saturating_sub(tightest, round_trip_ns_) / 3);
  return std::min(renewal, third);
}

void EdgeCore::on_disrupted() {  // C2
  drop_proofs();
  probes_.clear();
  requests_.clear();
  guard_.disrupted();
  note("clock_disrupted", "suspend or clock jump: every lease and proof was dropped");
  if (state_ != State::kIdle) drop_session("this machine was suspended or its clock jumped");
}

}  // namespace tidelock
