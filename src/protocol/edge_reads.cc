// Reads at the edge: serve when the contract holds, else refresh, wait, fall back or fail, in the namespace's order and
// within one deadline (F3, F4, F6, F10).

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/mutant.h"
#include "protocol/edge_core.h"

namespace tidelock {
namespace {

constexpr Nanos kDemandTime = 60 * kSecond;
constexpr Nanos kListPatience = 5 * kSecond;
constexpr std::size_t kListsMax = 64;
constexpr std::uint32_t kListsSinceProtocol = 3;

bool allows(const Namespace& ns, OnStale what) {
  return std::find(ns.on_stale.begin(), ns.on_stale.end(), what) != ns.on_stale.end();
}

struct Demand {
  Consistency consistency;
  Nanos bound_ns;
};
Demand demand_of(const Contract& contract, const Namespace& ns) {
  Demand demand{contract.consistency.value_or(contract.bound_ns ? Consistency::kBounded : ns.consistency), kForever};
  if (demand.consistency == Consistency::kBounded) {
    demand.bound_ns = std::max(contract.bound_ns.value_or(ns.bound_ns), ns.bound_floor_ns);
  }
  return demand;
}

}  // namespace

ReadDone EdgeCore::answer_from(const EdgeRead& read, const HeldView& entry, Basis basis, Nanos bound) const {
  ReadDone done;
  done.token = read.token;
  done.code = entry.value ? Code::kOk : Code::kNotFound;
  if (entry.value) done.value.emplace(*entry.value);
  if (entry.expires_at != kForever) done.ttl_left_ns = saturating_sub(entry.expires_at, now_);
  done.receipt.version = entry.version;
  done.receipt.bound_ns = bound;
  done.receipt.basis = basis;
  done.receipt.source = Source::kEdge;
  const Namespace& ns = policy(read.key);
  if (ns.write_mode == WriteMode::kBehind && ns.scope == Scope::kRegion) done.receipt.writers_ns = writers_ns_;
  return done;
}

void EdgeCore::note_demand(const Namespace& ns, Consistency consistency, Nanos bound) {  // F9
  if (ns.scope != Scope::kRegion || consistency != Consistency::kBounded) return;
  if (now_ >= saturating_add(demand_since_, kDemandTime)) {
    demand_before_ns_ =
        demand_since_ == kNever || now_ >= saturating_add(demand_since_, 2 * kDemandTime) ? kForever : demand_ns_;
    demand_ns_ = kForever;
    demand_since_ = now_;
  }
  demand_ns_ = std::min(demand_ns_, bound);
}

std::optional<HeldView> EdgeCore::hit(std::string_view key, Nanos now) {
  now_ = now;  // C6
  const auto entry = memory_->find(key);
  if (!entry || now >= entry->expires_at) return std::nullopt;
  const Namespace& ns = policy(key);
  if (ns.scope == Scope::kRegion) {
    // Who would not wait starts a refresh for the next reader, and a new demand changes when to probe: both need a
    // step.
    if (ns.deadline_ns <= 0 || (!allows(ns, OnStale::kRefresh) && !allows(ns, OnStale::kWait))) return std::nullopt;
    const Demand demand = demand_of({}, ns);
    switch (demand.consistency) {
      case Consistency::kStrong:  // F4, F5
        if (now >= lease_until_ || (blocked(key) && !TIDELOCK_MUTANT(kHitIgnoresBlocks)) || !covered(key, *entry)) {
          return std::nullopt;
        }
        break;
      case Consistency::kBounded:  // F3, F9
        if ((bound_of(key, *entry) > demand.bound_ns && !TIDELOCK_MUTANT(kHitIgnoresBound)) ||
            demand.bound_ns < demand_ns_ || now >= saturating_add(demand_since_, kDemandTime)) {
          return std::nullopt;
        }
        break;
      case Consistency::kEventual: break;
    }
  }
  ++counters_.reads_total;
  ++counters_.hits_total;
  return entry;
}

void EdgeCore::on_read(const EdgeRead& read) {
  ++counters_.reads_total;
  if (const auto ok = validate_key(read.key); !ok) {
    ReadDone done;
    done.token = read.token;
    done.code = Code::kInvalid;
    done.message = ok.error().message;
    emit(std::move(done));
    return;
  }
  const Namespace& ns = policy(read.key);
  const Demand demand = demand_of(read.contract, ns);
  note_demand(ns, demand.consistency, demand.bound_ns);
  WaitingRead waiting{read, now_, saturating_add(now_, read.contract.deadline_ns.value_or(ns.deadline_ns))};
  const bool patient = waiting.deadline > now_ && (allows(ns, OnStale::kRefresh) || allows(ns, OnStale::kWait));
  if (auto done = try_read(waiting, !patient)) {
    counters_.hits_total += done->code == Code::kOk || done->code == Code::kNotFound;
    emit(std::move(*done));
    if (!patient) ask_for(waiting);  // for the next reader
    return;
  }
  if (reads_.size() >= options_.reads_max) {
    ReadDone done;
    done.token = read.token;
    done.code = Code::kBusy;
    done.message = "too many reads are waiting at this edge";
    emit(std::move(done));
    return;
  }
  ask_for(waiting);
  wake(waiting.deadline);
  reads_.push_back(std::move(waiting));
}

std::optional<ReadDone> EdgeCore::try_read(const WaitingRead& waiting, bool last_chance) {
  const EdgeRead& read = waiting.read;
  const Namespace& ns = policy(read.key);
  const Demand demand = demand_of(read.contract, ns);
  std::optional<HeldView> entry = find(read.key);
  if (entry && now_ >= entry->expires_at) entry.reset();

  if (ns.scope != Scope::kRegion) {  // this gateway is the only writer: what it holds is the truth
    return answer_from(read, entry.value_or(HeldView(EdgeEntry{})), Basis::kLocal, 0);
  }
  if (entry && token_met(read.key, *entry, read.contract.token)) {
    const Nanos bound = bound_of(read.key, *entry);
    const auto asked = asked_.find(read.key);
    switch (demand.consistency) {
      case Consistency::kStrong:
        // F4, F5: lease and blocks together, then the value; or a proven read at the hub that was sent after this read
        // began, at an instant with no own write in flight there (A3). A mark is no such proof: it vouches for what was
        // acknowledged, and a deposed hub's own append may have been shown by its successor.
        // A lease covers keys of strong namespaces only: nobody blocks the writers of others.
        if (ns.consistency == Consistency::kStrong && now_ < lease_until_ && !blocked(read.key) &&
            covered(read.key, *entry)) {
          return answer_from(read, *entry, Basis::kLease, 0);
        }
        // An own write that is not sequenced yet is no answer to a strong read: it waits until the hub has it.
        if (const Nanos asked_at = TIDELOCK_MUTANT(kUnsequencedForStrong) && entry->local ? entry->proven_at
                                   : asked == asked_.end()                                ? kNever
                                                                                          : asked->second;
            asked_at != kNever && (asked_at >= waiting.began || TIDELOCK_MUTANT(kOldProofForStrong))) {
          ReadDone done = answer_from(read, *entry, Basis::kProof, bound);
          done.receipt.source = Source::kHub;
          return done;
        }
        break;
      case Consistency::kBounded:  // F3
        if (bound <= demand.bound_ns)
          return answer_from(read, *entry, entry->local ? Basis::kLocal : Basis::kProof, bound);
        break;
      case Consistency::kEventual:
        return answer_from(read, *entry, entry->local ? Basis::kLocal : Basis::kEventual, bound);
    }
  }
  if (!last_chance) return std::nullopt;

  // F3: the last verified value, flagged, with its true bound and a hard cap
  if (entry && entry->value && allows(ns, OnStale::kFallback)) {
    const Nanos bound = bound_of(read.key, *entry);
    if (ns.fallback_cap_ns == kForever || bound <= ns.fallback_cap_ns) {
      ++counters_.fallbacks_total;
      ReadDone done = answer_from(read, *entry,
                                  entry->local        ? Basis::kLocal
                                  : bound == kForever ? Basis::kNone
                                                      : Basis::kProof,
                                  bound);
      done.receipt.fallback = !TIDELOCK_MUTANT(kFallbackUnflagged);
      return done;
    }
  }
  ++counters_.stale_total;
  ReadDone done;
  done.token = read.token;
  done.code = Code::kStale;
  done.receipt.bound_ns = entry ? bound_of(read.key, *entry) : kForever;
  done.message = state_ == State::kOpen ? "the contract could not be met within the deadline"
                                        : "no session with a hub, and no value within the contract";
  return done;
}

// What would let this read be served: a proof, or the value itself. Single flight per key and per probe.
void EdgeCore::ask_for(const WaitingRead& waiting) {
  if (state_ != State::kOpen) return;
  const std::string& key = waiting.read.key;
  const Namespace& ns = policy(key);
  if (ns.scope != Scope::kRegion) return;
  const Demand demand = demand_of(waiting.read.contract, ns);
  std::optional<HeldView> entry = in_memory(key);
  if (entry && now_ >= entry->expires_at) entry.reset();
  const bool strong = demand.consistency == Consistency::kStrong;
  if (strong && entry && entry->local && outbox_.pending(key)) return;  // its record will come
  const bool leased = ns.consistency == Consistency::kStrong && !blocked(key);
  if (entry && covered(key, *entry) && (!strong || leased)) {
    const Nanos within = strong ? 100 * kMillisecond : demand.bound_ns / 2;
    const bool in_flight =
        std::any_of(probes_.begin(), probes_.end(), [&](const auto& probe) { return now_ - probe.second <= within; });
    if (!in_flight && probes_.size() < 16) probe();
    return;
  }
  const bool in_flight = std::any_of(requests_.begin(), requests_.end(), [&](const auto& request) {
    return request.second.invalidated.contains(key) && (!strong || request.second.sent_at >= waiting.began);
  });
  if (!in_flight) wanted_.try_emplace(key, !entry || entry->local ? Index{} : entry->version);
}

void EdgeCore::flush_wanted() {
  while (!wanted_.empty()) {
    Fetch fetch;
    fetch.request = RequestNo{++last_request_};
    Request& request = requests_[fetch.request];
    request.sent_at = now_;
    while (!wanted_.empty() && fetch.wanted.size() < 256) {
      auto node = wanted_.extract(wanted_.begin());
      request.invalidated.emplace(node.key(), Index{});
      fetch.wanted.push_back({std::move(node.key()), node.mapped()});
    }
    ++counters_.fetches_total;
    send(std::move(fetch));
  }
}

void EdgeCore::retry_reads() {
  std::vector<WaitingRead> still;
  for (WaitingRead& waiting : reads_) {
    if (auto done = try_read(waiting, false)) {
      emit(std::move(*done));
    } else {
      ask_for(waiting);
      still.push_back(std::move(waiting));
    }
  }
  reads_ = std::move(still);
}

// ---- TL.FLUSH: what the hub has of a namespace

void EdgeCore::on_list(const EdgeListKeys& list) {
  WaitingList waiting{list, {}, saturating_add(now_, kListPatience)};
  if (lists_.size() >= kListsMax) return refuse_list(waiting, "too many listings are waiting at this edge");
  wake(waiting.deadline);
  lists_.push_back(std::move(waiting));
  ask_for_keys(lists_.back());
}

void EdgeCore::ask_for_keys(WaitingList& waiting) {
  if (state_ != State::kOpen) return;
  if (welcome_.protocol_version < kListsSinceProtocol) {
    waiting.deadline = now_;
    return;
  }
  waiting.request = RequestNo{++last_request_};
  send(ListKeys{waiting.request, waiting.list.prefix, waiting.list.after});
}

void EdgeCore::on_keys_listed(const KeysListed& listed) {
  const auto it = std::find_if(lists_.begin(), lists_.end(),
                               [&](const WaitingList& waiting) { return waiting.request == listed.request; });
  if (it == lists_.end() || listed.request.value == 0) return;  // F1: not outstanding in this session
  newest_held_ = std::max(newest_held_, listed.newest);         // G8: what is deleted now is deleted after that
  if (!listed.last.empty() && listed.last <= it->list.after) {
    refuse_list(*it, "the hub listed the same keys again");
  } else {
    emit(KeysListedOp{it->list.token, Code::kOk, {}, listed.keys, listed.last});
  }
  lists_.erase(it);
}

void EdgeCore::refuse_list(WaitingList& waiting, std::string why) {
  emit(KeysListedOp{waiting.list.token, Code::kUnavailable, std::move(why), {}, {}});
}

void EdgeCore::expire_waiting() {
  bool due = false;  // mostly none is, and each step looks
  for (const WaitingRead& waiting : reads_) {
    due |= now_ >= waiting.deadline;
    if (now_ < waiting.deadline) wake(waiting.deadline);
  }
  if (due) {
    std::erase_if(reads_, [this](WaitingRead& waiting) {
      if (now_ < waiting.deadline) return false;
      if (auto done = try_read(waiting, true)) emit(std::move(*done));
      return true;
    });
  }
  for (WaitingList& waiting : lists_) {
    if (now_ < waiting.deadline) {
      wake(waiting.deadline);
    } else if (state_ == State::kOpen && welcome_.protocol_version < kListsSinceProtocol) {
      refuse_list(waiting, "the hub is of an older version and cannot list keys; update all hubs first");
    } else {
      refuse_list(waiting, "no hub told in time which keys there are");
    }
  }
  std::erase_if(lists_, [this](const WaitingList& waiting) { return now_ >= waiting.deadline; });
  std::vector<WriteToken> late;
  for (const auto& [token, waiting] : writes_) {
    if (now_ >= waiting.deadline)
      late.push_back(token);
    else
      wake(waiting.deadline);
  }
  for (const WriteToken token : late) {
    const WaitingWrite& waiting = writes_.at(token);
    WriteDoneOp done;
    done.token = token;
    done.code = waiting.sent ? Code::kMaybeApplied : Code::kUnavailable;
    done.message = waiting.sent             ? "the hub did not answer in time; read before repeating"
                   : state_ != State::kOpen ? "no session with a hub; nothing happened"
                                            : "the hub is of an older version and cannot take this write; nothing "
                                              "happened; try again";
    emit(std::move(done));
    writes_.erase(token);
  }
}

}  // namespace tidelock
