// The step of an edge, and its entries: what is held, what covers it, and the order in which page and arena show a
// change.

#include "protocol/edge_core.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/mutant.h"

namespace tidelock {
namespace {
constexpr std::size_t kEntryOverheadBytes = 160;

std::uint16_t slot_of_key(std::string_view key) { return static_cast<std::uint16_t>(hash64(key) & 0xFFFF); }
std::size_t charge(std::string_view key, const EdgeEntry& entry) {
  return 2 * key.size() + (entry.value ? entry.value->size() : 0) + kEntryOverheadBytes;
}
}  // namespace

EdgeCore::EdgeCore(EdgeOptions options, const EdgeStore& store, Outbox outbox, Rng rng)
    : options_(std::move(options)),
      store_(store),
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

void EdgeCore::step(const EdgeEvent& event, EdgeActions& out) {
  if (!TIDELOCK_MUTANT(kEdgeClockReadPerTick) || std::holds_alternative<EdgeTick>(event.what)) now_ = event.now;  // C6
  out_ = &out;
  out.wake_at = kForever;
  std::visit(
      [this](const auto& what) {
        using What = std::decay_t<decltype(what)>;
        if constexpr (std::is_same_v<What, EdgeLinkUp>) {
          if (what.link != link_ || state_ != State::kConnecting) return;
          state_ = State::kGreeting;
          greeting_since_ = now_;
          session_ = SessionNo{session_.value + 1};
          next_in_ = next_out_ = 1;
          send(Hello{options_.protocol_version, options_.id, options_.site, options_.boot, highest_term_, resume_from(),
                     staged_, kProtocolVersionMin});
        }
        if constexpr (std::is_same_v<What, EdgeLinkDown>) on_link_down(what);
        if constexpr (std::is_same_v<What, EdgeFrameIn>) on_frame(what);
        if constexpr (std::is_same_v<What, EdgeRead>) on_read(what);
        if constexpr (std::is_same_v<What, EdgeWrite>) on_write(what);
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
          std::erase_if(staged_, [&](const StagedModel& one) {  // failed again, or removed: it must be fetched anew
            return one.name == what.model.name && one.version == what.model.version;
          });
          if (what.error.empty()) staged_.push_back(what.model);
          if (state_ == State::kOpen) send(Staged{what.model, what.error});
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
    flush_wanted();
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
  if (state_ == State::kOpen) flush_wanted();
  expire_waiting();
  out_ = nullptr;
}

// ---- entries

EdgeCore::Held* EdgeCore::find(std::string_view key) {
  auto it = entries_.find(key);
  if (it == entries_.end()) {
    std::optional<EdgeEntry> stored = store_.find(key);  // L2: unverified after a restart, a local value as it was
    if (!stored) return nullptr;
    if (now_ >= stored->expires_at) return nullptr;
    stored->epoch = TIDELOCK_MUTANT(kDiskTrusted) ? epoch_ : 0;
    if (stored->proven_at < proofs_from_) stored->proven_at = kNever;  // C2, C3
    if (stored->local && policy(key).scope == Scope::kRegion && !outbox_.pending(key)) {
      stored->local = false;  // it was flushed, or lost against a newer stamp, while it rested in L2
      stored->version = Index{};
      stored->proven_at = kNever;
    } else if (stored->local && policy(key).scope == Scope::kRegion) {
      unsequenced_.insert(std::string(key));
    }
    const std::string owned(key);
    hold(owned, std::move(*stored), false);
    it = entries_.find(key);
    if (it == entries_.end()) return nullptr;  // larger than the whole memory tier
  }
  used_.splice(used_.end(), used_, it->second.used);
  return &it->second;
}

// F5, writer order: generation odd, L2 and arena, slot version, generation even; blocks, applied and fresh_at come
// later, from the caller.
void EdgeCore::hold(const std::string& key, EdgeEntry entry, bool bump) {
  const std::uint16_t ns = namespace_number(namespaces_, key);
  if (!in_record_) emit(PageBeginWrite{ns});
  if (const auto it = entries_.find(key); it != entries_.end()) {
    memory_used_ -= charge(key, it->second.entry);
    it->second.entry = entry;
    it->second.asked_at = kNever;
    used_.splice(used_.end(), used_, it->second.used);
  } else {
    used_.push_back(key);
    entries_.emplace(key, Held{entry, std::prev(used_.end())});
  }
  memory_used_ += charge(key, entry);
  if (bump && TIDELOCK_MUTANT(kSlotBumpedBeforeValue)) emit(PageBumpSlot{slot_of_key(key)});
  emit(ArenaPut{key, entry, ns});
  emit(StorePut{key, std::move(entry)});
  bump = bump && !TIDELOCK_MUTANT(kSlotNotBumped) && !TIDELOCK_MUTANT(kSlotBumpedBeforeValue);
  if (bump) emit(PageBumpSlot{slot_of_key(key)});
  if (!in_record_) emit(PageEndWrite{ns});
  evict();
}

std::size_t EdgeCore::held_bytes(std::string_view key, Nanos now) const {
  const auto it = entries_.find(key);
  if (it == entries_.end() || !it->second.entry.value || it->second.entry.expires_at <= now) return 0;
  return charge(key, it->second.entry);
}

void EdgeCore::forget(const std::string& key, bool bump) {
  const std::uint16_t ns = namespace_number(namespaces_, key);
  if (!in_record_) emit(PageBeginWrite{ns});
  if (const auto it = entries_.find(key); it != entries_.end()) {
    memory_used_ -= charge(key, it->second.entry);
    used_.erase(it->second.used);
    entries_.erase(it);
  }
  emit(ArenaErase{key});
  emit(StoreErase{key});
  if (bump) emit(PageBumpSlot{slot_of_key(key)});
  if (!in_record_) emit(PageEndWrite{ns});
}

void EdgeCore::evict() {  // I11
  while (memory_used_ > options_.memory_bytes && !used_.empty()) {
    const auto it = entries_.find(used_.front());
    TIDELOCK_ASSERT(it != entries_.end());
    if (std::exchange(it->second.hit, false)) {
      used_.splice(used_.end(), used_, it->second.used);
      continue;
    }
    memory_used_ -= charge(it->first, it->second.entry);
    emit(ArenaErase{it->first});  // it stays in L2
    used_.pop_front();
    entries_.erase(it);
  }
}

bool EdgeCore::covered(std::string_view key, const EdgeEntry& entry) const {
  const bool strong = policy(key).consistency == Consistency::kStrong;
  return entry.epoch != 0 && entry.epoch >= (strong ? strong_epoch_ : epoch_);
}

Nanos EdgeCore::bound_of(std::string_view key, const EdgeEntry& entry) const {
  const Nanos since = covered(key, entry) ? std::max(fresh_at_, entry.proven_at) : entry.proven_at;
  return staleness_bound(now_, since, TIDELOCK_MUTANT(kBoundIgnoresDrift) ? 0 : settings_.rho_ppm);
}

bool EdgeCore::blocked(std::string_view key) const { return blocked_slots_.contains(slot_of_key(key)); }

// F8: the entries of the former session become unverified. Their proof is the `fresh_at` with which that session ended.
// Strong ones stay verified when every strong record is replayed.
void EdgeCore::raise_epochs(std::uint64_t verified, std::uint64_t strong) {
  for (auto& [key, held] : entries_) {
    if (covered(key, held.entry)) held.entry.proven_at = std::max(held.entry.proven_at, fresh_at_);
  }
  epoch_ = TIDELOCK_MUTANT(kOldEntriesStayVerified) ? epoch_ : verified;
  strong_epoch_ = strong;
  if (!TIDELOCK_MUTANT(kEpochsNotShown)) emit(PageEpochs{epoch_, strong_epoch_});
}

// C2, C3: no lease, no mark and no proven fetch of the time before counts any more, in this process or in an app's.
void EdgeCore::drop_proofs() {
  fresh_at_ = lease_until_ = kNever;
  proofs_from_ = now_;
  emit(PageDropProofs{});
  std::vector<std::string> proven;
  for (const auto& [key, held] : entries_) {
    if (held.entry.proven_at != kNever) proven.push_back(key);
  }
  std::sort(proven.begin(), proven.end());
  for (const std::string& key : proven) {
    const auto it = entries_.find(key);
    if (it == entries_.end()) continue;
    EdgeEntry entry = it->second.entry;
    entry.proven_at = kNever;
    hold(key, std::move(entry), true);
  }
}

// F10. `applied_` speaks of covered entries only: an unverified one may be older than that.
bool EdgeCore::token_met(std::string_view key, const EdgeEntry& entry, Index token) const {
  return token.value == 0 || TIDELOCK_MUTANT(kTokenIgnored) || (covered(key, entry) && applied_ >= token) ||
         (!entry.local && entry.version >= token);
}

}  // namespace tidelock
