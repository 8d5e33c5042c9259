// The step of an edge, and its entries: what is held, what covers it, and the order in which page and arena show a
// change.

#include "protocol/edge_core.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/mutant.h"

namespace tidelock {
namespace {
constexpr std::size_t kEndedEpochsMax = 64;

std::uint16_t slot_of_key(std::string_view key) { return static_cast<std::uint16_t>(hash64(key) & 0xFFFF); }
}  // namespace

EdgeCore::EdgeCore(EdgeOptions options, const EdgeMemory& memory, const EdgeStore& store, Outbox outbox, Rng rng)
    : options_(std::move(options)),
      memory_(&memory),
      store_(&store),
      outbox_(std::move(outbox)),
      hlc_(options_.writer),
      joined_(options_.joined),
      rng_(rng),
      settings_(options_.settings),
      namespaces_(options_.namespaces) {
  TIDELOCK_ASSERT(options_.boot.value != 0);
  hlc_.start_after(outbox_.newest_stamp());  // G8: stamps never go back across a restart
  guard_.set_rho(settings_.rho_ppm);
  if (!TIDELOCK_MUTANT(kUnrevokedPageIgnored)) connect_at_ = options_.session_after;  // F11
}

void EdgeCore::step(EdgeEvent&& event, EdgeActions& out) {
  if (auto* write = std::get_if<EdgeWrite>(&event.what)) given_ = &write->write;
  step(std::as_const(event), out);
  given_ = nullptr;
}

void EdgeCore::step(const EdgeEvent& event, EdgeActions& out) {
  if (!TIDELOCK_MUTANT(kEdgeClockReadPerTick) || std::holds_alternative<EdgeTick>(event.what)) now_ = event.now;  // C6
  out_ = &out;
  out.wake_at = kForever;
  if (out.ops.empty()) {  // else what is in it was decided before this and is not carried out yet
    indexed_ = 0;
    decided_.clear();
  }
  const auto* read = std::get_if<EdgeRead>(&event.what);
  const bool gathers = read != nullptr && read->more;
  std::visit(
      [this](const auto& what) {
        using What = std::decay_t<decltype(what)>;
        if constexpr (std::is_same_v<What, EdgeLinkUp>) {
          if (what.link != link_ || state_ != State::kConnecting) return;
          state_ = State::kGreeting;
          greeting_since_ = now_;
          session_ = SessionNo{session_.value + 1};
          next_in_ = next_out_ = 1;
          greeted_with_ = staged_;
          send(Hello{options_.protocol_version, options_.id, options_.site, options_.boot, highest_term_, resume_from(),
                     staged_, kProtocolVersionMin});
        }
        if constexpr (std::is_same_v<What, EdgeLinkDown>) on_link_down(what);
        if constexpr (std::is_same_v<What, EdgeFrameIn>) on_frame(what);
        if constexpr (std::is_same_v<What, EdgeRead>) on_read(what);
        if constexpr (std::is_same_v<What, EdgeWrite>) on_write(what);
        if constexpr (std::is_same_v<What, EdgeListKeys>) on_list(what);
        if constexpr (std::is_same_v<What, EdgeOutboxPersisted>) {
          OutboxActions actions;
          outbox_.persisted(now_, what.number, what.level, actions);
          drain_outbox(std::move(actions));
        }
        if constexpr (std::is_same_v<What, EdgeOutboxFailed>) {
          OutboxActions actions;
          outbox_.store_failed(now_, what.why, actions);
          drain_outbox(std::move(actions));
        }
        if constexpr (std::is_same_v<What, EdgeStagedModel>) {
          std::erase(staged_, what.model);  // failed again, or removed: it must be fetched anew
          if (what.error.empty()) staged_.push_back(what.model);
          if (state_ == State::kOpen) send(Staged{what.model, what.error});
        }
        if constexpr (std::is_same_v<What, EdgeReported>) {
          report_ = what.report;
          send_report();
        }
        if constexpr (std::is_same_v<What, EdgeDisrupted>) on_disrupted();
        if constexpr (std::is_same_v<What, EdgeForget>) {
          if (policy(what.key).consistency != Consistency::kStrong && !outbox_.pending(what.key))
            forget(what.key, true);
        }
      },
      event.what);

  if (state_ == State::kIdle) {
    if (now_ >= connect_at_)
      connect(std::exchange(hint_, {}));
    else
      wake(connect_at_);
  }
  if (state_ == State::kConnecting || state_ == State::kGreeting) {
    const Nanos deadline = saturating_add(greeting_since_, 3 * kSecond);
    if (now_ >= deadline)
      drop_session("no welcome within 3 s");
    else
      wake(deadline);
  }
  if (state_ == State::kOpen) {
    if (!gathers) flush_wanted();
    const Nanos patience = std::max<Nanos>(1500 * kMillisecond, 4 * round_trip_ns_);
    if (!probes_.empty()) {
      const Nanos oldest = std::min_element(probes_.begin(), probes_.end(), [](const auto& a, const auto& b) {
                             return a.second < b.second;
                           })->second;
      // I10: on a slow link the answer may wait behind a replay, which brings something all the time.
      const Nanos deadline = saturating_add(std::max(oldest, last_frame_at_), patience);
      if (now_ >= deadline)
        drop_session("a probe was not answered in time");
      else
        wake(deadline);
    }
  }
  if (state_ == State::kOpen) {
    const Nanos due = saturating_add(last_probe_at_, probe_interval());
    if (now_ >= due) probe();
    wake(saturating_add(last_probe_at_, probe_interval()));
  }
  OutboxActions flush;
  outbox_.tick(now_, flush);
  drain_outbox(std::move(flush));
  if (state_ == State::kOpen && !gathers) flush_wanted();
  if (holds_questions()) wake(now_);
  expire_waiting();
  asked_.clear();
  out_ = nullptr;
}

// ---- entries

std::optional<const EdgeEntry*> EdgeCore::decided(std::string_view key) {
  const auto& ops = out_->ops;
  const auto key_of = [&](std::size_t at) -> const std::string* {
    if (const auto* put = std::get_if<EntryPut>(&ops[at])) return &put->key;
    const auto* erase = std::get_if<EntryErase>(&ops[at]);
    return erase == nullptr ? nullptr : &erase->key;
  };
  for (; indexed_ < ops.size(); ++indexed_) {
    if (const std::string* changed = key_of(indexed_)) {
      decided_.put(hash64(*changed), static_cast<std::uint32_t>(indexed_),
                   [&](std::uint32_t at) { return *key_of(at) == *changed; });
    }
  }
  if (decided_.size() == 0) return std::nullopt;
  const auto last = decided_.find(hash64(key), [&](std::uint32_t at) { return *key_of(at) == key; });
  if (!last) return std::nullopt;
  const auto* put = std::get_if<EntryPut>(&ops[*last]);
  return put == nullptr ? nullptr : &put->entry;
}

std::optional<HeldView> EdgeCore::in_memory(std::string_view key) {
  if (const auto changed = decided(key)) {
    return *changed == nullptr ? std::nullopt : std::optional<HeldView>(**changed);
  }
  return memory_->peek(key);
}

std::optional<HeldView> EdgeCore::find(std::string_view key) {
  if (const auto changed = decided(key)) {
    return *changed == nullptr ? std::nullopt : std::optional<HeldView>(**changed);
  }
  if (auto held = memory_->find(key)) return held;
  std::optional<EdgeEntry> stored = store_->find(key);  // L2: unverified after a restart, a local value as it was
  if (!stored || now_ >= stored->expires_at) return std::nullopt;
  stored->epoch = TIDELOCK_MUTANT(kDiskTrusted) ? epoch_ : 0;
  const bool known = !stored->local || policy(key).scope != Scope::kRegion || outbox_.pending(key);
  if (!known) {
    stored->local = false;  // it was flushed, or lost against a newer stamp, while it rested in L2
    stored->version = Index{};
    stored->proven_at = kNever;
  } else if (stored->local && policy(key).scope == Scope::kRegion) {
    unsequenced_.insert(std::string(key));
  }
  hold(std::string(key), std::move(*stored), false, known);
  return HeldView(**decided(key));
}

// F5, writer order: generation odd, L2 and memory tier, slot version, generation even; blocks, applied and fresh_at
// come later, from the caller.
void EdgeCore::hold(std::string key, EdgeEntry entry, bool bump, bool known) {
  const std::uint16_t ns = namespace_number(namespaces_, key), slot = bump ? slot_of_key(key) : 0;
  if (entry.proven_at < proofs_from_) entry.proven_at = kNever;  // C2, C3
  if (!entry.local) newest_held_ = std::max(newest_held_, entry.stamp);
  asked_.erase(key);
  if (!in_record_) emit(PageBeginWrite{ns});
  if (bump && TIDELOCK_MUTANT(kSlotBumpedBeforeValue)) emit(PageBumpSlot{slot});
  emit(EntryPut{std::move(key), std::move(entry), known});
  bump = bump && !TIDELOCK_MUTANT(kSlotNotBumped) && !TIDELOCK_MUTANT(kSlotBumpedBeforeValue);
  if (bump) emit(PageBumpSlot{slot});
  if (!in_record_) emit(PageEndWrite{ns});
}

void EdgeCore::forget(const std::string& key, bool bump) {
  const std::uint16_t ns = namespace_number(namespaces_, key);
  if (!in_record_) emit(PageBeginWrite{ns});
  emit(EntryErase{key});
  if (bump) emit(PageBumpSlot{slot_of_key(key)});
  if (!in_record_) emit(PageEndWrite{ns});
}

bool EdgeCore::covered(std::string_view key, const EdgeMeta& entry) const {
  const bool strong = policy(key).consistency == Consistency::kStrong;
  return entry.epoch != 0 && entry.epoch >= (strong ? strong_epoch_ : epoch_);
}

// When it was last known to be the newest: by itself, or by the last mark that covered it.
Nanos EdgeCore::proof_of(std::string_view key, const EdgeMeta& entry) const {
  const Nanos own = entry.proven_at < proofs_from_ ? kNever : entry.proven_at;  // C2, C3
  if (covered(key, entry)) return std::max(fresh_at_, own);
  if (entry.epoch == 0) return own;
  const bool strong = policy(key).consistency == Consistency::kStrong;
  for (const Ended& ended : strong ? strong_ended_ : ended_) {
    if (entry.epoch < ended.below) return std::max(ended.fresh_at, own);
  }
  return own;
}

Nanos EdgeCore::bound_of(std::string_view key, const EdgeMeta& entry) const {
  return staleness_bound(now_, proof_of(key, entry), TIDELOCK_MUTANT(kBoundIgnoresDrift) ? 0 : settings_.rho_ppm);
}

bool EdgeCore::blocked(std::string_view key) const { return blocked_slots_.contains(slot_of_key(key)); }

// F8: the entries of the former session become unverified. Their proof is the `fresh_at` with which that session ended.
// Strong ones stay verified when every strong record is replayed.
void EdgeCore::raise_epochs(std::uint64_t verified, std::uint64_t strong) {
  if (TIDELOCK_MUTANT(kOldEntriesStayVerified)) verified = epoch_;
  if (verified > epoch_) end_epochs(ended_, verified);
  if (strong > strong_epoch_) end_epochs(strong_ended_, strong);
  epoch_ = verified;
  strong_epoch_ = strong;
  if (!TIDELOCK_MUTANT(kEpochsNotShown)) emit(PageEpochs{epoch_, strong_epoch_});
}

void EdgeCore::end_epochs(std::vector<Ended>& ended, std::uint64_t below) {
  ended.push_back({below, fresh_at_});
  if (ended.size() <= kEndedEpochsMax) return;
  ended.erase(ended.begin());
  ended.front().fresh_at = kNever;  // it stands for the forgotten ones too, whose proof was older
}

// C2, C3: no lease, no mark and no proven fetch of the time before counts any more, in this process or in an app's.
void EdgeCore::drop_proofs() {
  fresh_at_ = lease_until_ = kNever;
  proofs_from_ = saturating_add(now_, 1);  // what was proven at this very instant was proven before
  for (Ended& ended : ended_) ended.fresh_at = kNever;
  for (Ended& ended : strong_ended_) ended.fresh_at = kNever;
  emit(PageDropProofs{proofs_from_});
}

// F10. `applied_` speaks of covered entries only: an unverified one may be older than that.
bool EdgeCore::token_met(std::string_view key, const EdgeMeta& entry, Index token) const {
  return token.value == 0 || TIDELOCK_MUTANT(kTokenIgnored) || (covered(key, entry) && applied_ >= token) ||
         (!entry.local && entry.version >= token);
}

}  // namespace tidelock
