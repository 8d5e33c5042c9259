#include "sim/oracle/judge.h"

#include <algorithm>

namespace tidelock::oracle {
namespace {

constexpr Nanos kRounding = 100;  // each conversion between clocks rounds by a nanosecond or two
constexpr std::size_t kIntervalsMax = 64;

std::string text(std::uint64_t value) { return std::to_string(value); }
std::string text(Nanos value) { return value == kForever ? "unbounded" : std::to_string(value); }
std::uint16_t slot_of(const std::string& key) { return static_cast<std::uint16_t>(hash64(key) & 0xFFFF); }

// The indexes from `first` on, until before `end`, at which a key had what a reader was told.
struct Span {
  Index first, end;
};

}  // namespace

// ------------------------------------------------------------------------------------------------------ the ledger

void Judge::appended(CommandId id, Nanos ledger_time) { appended_.try_emplace({id, ledger_time}, now_()); }

Effect Judge::committed(Index index, const Entry* entry) {
  if (index <= ledger_.last()) violated("I7: index " + text(index.value) + " was committed twice");
  const Nanos time_before = ledger_.time();
  Effect effect = ledger_.commit(index, entry);
  if (!effect.effective) return effect;
  const auto appended = appended_.find({entry->id, entry->ledger_time});
  const Nanos at = appended == appended_.end() ? now_() : appended->second;
  if (ledger_.time() > time_before) moved_[index] = {ledger_.time(), at};
  // The first claim too, which shows nothing yet: whoever made it drives the clock on, and may claim again much later.
  if (entry->ledger_time > ledger_at_most(at)) fastest_ = Reading{entry->ledger_time, at};
  if (const auto* claim = std::get_if<Entry::Claim>(&entry->body)) claims_[index] = claim->hub;
  const bool put =
      std::holds_alternative<Entry::Put>(entry->body) || std::holds_alternative<Entry::Certify>(entry->body);
  if (put && void_.contains(entry->id))
    violated("S1: a write that was declared void took effect at index " + text(index.value));
  if (const auto* batch = std::get_if<Entry::Batch>(&entry->body)) check_stamps(*batch);
  if (effect.changed.empty()) return effect;
  changed_[index] = effect.changed;
  for (const std::string& key : effect.changed) {
    if (put && ledger_.strong(key)) check_leases(key, index);
  }
  check_lifetimes(effect, *entry);
  return effect;
}

// G9: what a hub knows of an edge's newest stamp says how far that edge is, so nothing may come behind it.
void Judge::check_stamps(const Entry::Batch& batch) {
  Stamp& newest = newest_flushed_[{batch.edge, batch.incarnation}];
  for (const BehindRecord& record : batch.records) {
    if (record.stamp <= newest) {
      violated("G9: batch " + text(batch.number) + " of " + batch.edge + " brings a stamp of '" + record.key +
               "' that is not above those before it");
    }
    newest = std::max(newest, record.stamp);
  }
}

// I3. (A batch cannot hold a strong key: those are never written behind.)
void Judge::check_leases(const std::string& key, Index index) {
  bool any = false;
  for (const auto& [number, page] : pages_) {
    if (page.slept || page.lease_until == kNever) continue;
    const Nanos left = saturating_sub(page.lease_until, page.clock());
    if (left <= 0) continue;
    any = true;
    const auto slot = page.slots.find(slot_of(key));
    if (slot != page.slots.end() && slot->second.open > 0) continue;
    violated("I3: index " + text(index.value) + " writes '" + key + "' while " + page.who +
             " has a lease for another " + text(left) + " ns and no block");
  }
  counts_.leases_tested += any;
}

// What was accepted with a time to live may have, in the ledger, only what is left of it.
void Judge::check_lifetimes(const Effect& effect, const Entry& entry) {
  const auto appended = appended_.find({entry.id, entry.ledger_time});
  const Nanos at = appended == appended_.end() ? now_() : appended->second;
  for (const std::string& key : effect.changed) {
    const Version& version = ledger_.versions(key).back();
    if (!version.value) continue;
    const auto found = accepted_.find({key, *version.value});
    if (found == accepted_.end()) continue;
    Accepted& accepted = found->second;
    accepted.sequenced = true;
    if (accepted.ttl_ns == 0) continue;
    const Nanos age = shrink(at - accepted.at, ledger_.rho_ppm());
    const Nanos left = std::max<Nanos>(0, accepted.ttl_ns - age);
    if (version.expires_at == kForever || version.expires_at - entry.ledger_time > left + kRounding) {
      violated("TTL: index " + text(version.index.value) + " gives '" + key + "' " +
               text(version.expires_at == kForever ? kForever : version.expires_at - entry.ledger_time) + " ns, of " +
               text(accepted.ttl_ns) + " at its acceptance " + text(left) + " are left");
    }
  }
}

void Judge::applied(const NodeId& hub, std::uint64_t run, Index index, std::uint64_t digest) {
  const auto [known, first] = digests_.try_emplace(index, digest);
  if (known->second != digest) violated("I7: " + hub + " has another entry at index " + text(index.value));
  if (index > ledger_.last()) return violated("I7: " + hub + " applied index " + text(index.value) + " before it was");
  const auto rate = ledger_.rho_ppm();
  auto& seen = seen_[{hub, run}];
  if (const auto moved = moved_.find(index); moved != moved_.end()) {
    const Reading reading{moved->second.ledger_time, now_()};
    if (!seen || reading.ledger_time >= seen->ledger_time + shrink(now_() - seen->at, rate)) seen = reading;
  }
  const auto claim = claims_.find(index);
  if (claim == claims_.end() || claim->second != hub) return;
  // It takes office: where is its ledger clock, and where would it be had somebody carried it on all the time?
  const auto after = moved_.upper_bound(index);
  if (after == moved_.begin()) return;
  const Reading& newest = std::prev(after)->second;
  Nanos knows = newest.ledger_time;
  if (seen) {
    const Nanos passed = shrink(shrink(now_() - seen->at, rate), rate);  // measured by a clock that may be slow
    knows = std::max(knows, seen->ledger_time + passed);
  }
  const Nanos carried_on = newest.ledger_time + stretch(now_() - newest.at, rate);
  auto& [when, lacks] = lapses_[index];
  when = now_();
  lacks = std::max(lacks, std::max<Nanos>(0, carried_on - knows));
}

void Judge::lease_sent(const NodeId& edge, Index index, Nanos lease_ns) {
  const auto since = ledger_.first_registered(edge);
  if (!since || *since > index) {
    violated("A6: a lease at index " + text(index.value) + " for " + edge + ", which was not registered");
  } else if (lease_ns > ledger_.lease_at(index)) {
    violated("A5: a lease of " + text(lease_ns) + " ns at index " + text(index.value) + ", where " +
             text(ledger_.lease_at(index)) + " is the most");
  }
}

// Above every reading of the ledger's clock that anybody can have had then.
Nanos Judge::ledger_at_most(Nanos at) const {
  if (!fastest_) return kNever;
  return saturating_add(fastest_->ledger_time, stretch(at - fastest_->at, ledger_.rho_ppm()));
}

Nanos Judge::stretched_since(Nanos from, Nanos to) const {
  Nanos sum = 0;
  for (const auto& [index, lapse] : lapses_) {
    if (lapse.first > from && lapse.first <= to) sum += lapse.second;
  }
  return sum;
}

// --------------------------------------------------------------------------------------------------------- writers

void Judge::accepted(const NodeId& writer, const std::string& key, const std::optional<Bytes>& value, Nanos ttl_ns) {
  if (!value) return;
  Accepted& accepted = accepted_[{key, *value}];
  if (!accepted.sequenced) accepted = {now_(), broken_.contains(writer) ? 0 : ttl_ns, false, writer};
}

void Judge::clock_broken(const NodeId& writer) {
  broken_.insert(writer);
  for (auto& [what, accepted] : accepted_) {
    if (accepted.writer == writer && !accepted.sequenced) accepted.ttl_ns = 0;
  }
  for (auto& [key, all] : own_writes_) {
    for (Behind& own : all) {
      if (own.writer == writer && own.ends_at != kForever) own.ends_at = std::min(own.ends_at, now_());
    }
  }
}

void Judge::written_behind(const NodeId& writer, const std::string& key, const std::optional<Bytes>& value, Stamp stamp,
                           Nanos ttl_ns) {
  if (value)
    behind_[{key, *value}] = stamp;
  else
    newest_delete_[key] = std::max(newest_delete_[key], stamp);
  const Nanos lives = broken_.contains(writer) ? 0 : shrink(ttl_ns, ledger_.rho_ppm());
  own_writes_[key].push_back({stamp, ttl_ns == 0 ? kForever : now_() + lives, writer});
}

void Judge::durable(const std::string& key, Stamp stamp) { durable_[key] = std::max(durable_[key], stamp); }

void Judge::sequenced(const std::string& key, Stamp stamp) {
  const auto& all = ledger_.versions(key);
  if (std::none_of(all.begin(), all.end(), [&](const Version& one) { return one.stamp >= stamp; }))
    violated("I8: a write of '" + key + "' was acknowledged as sequenced, and the ledger has nothing of it");
}

void Judge::batch_sent(const NodeId& edge, std::uint64_t incarnation, std::uint64_t number,
                       const std::vector<Stamp>& stamps) {
  const auto [first, is_new] = sent_.try_emplace({{edge, incarnation}, number}, stamps.begin(), stamps.end());
  if (is_new) return;
  const std::set<Stamp>& had = first->second;
  if (!std::all_of(stamps.begin(), stamps.end(), [&](const Stamp& one) { return had.contains(one); }))
    violated("D5: batch " + text(number) + " of " + edge + " was sent again with something else in it");
}

void Judge::batch_refused(const NodeId& edge, std::uint64_t incarnation, std::uint64_t number) {
  sent_.erase({{edge, incarnation}, number});
}

void Judge::acknowledged_now(Index index) {
  acknowledged_at_.try_emplace(index, now_());
  const auto it = changed_.find(index);
  if (it == changed_.end()) return;
  for (const std::string& key : it->second) floor_[key] = std::max(floor_[key], index);
}

void Judge::acknowledged(Index index) {
  if (index > ledger_.last())
    return violated("I7: index " + text(index.value) + " was acknowledged before it was committed");
  acknowledged_now(index);
}

void Judge::acknowledged(CommandId id, Index index) {  // A1
  const auto outcome = ledger_.outcome(id);
  if (!outcome || outcome->kind != Outcome::Kind::kDone || outcome->index != index) {
    return violated("A1: a write was acknowledged at index " + text(index.value) + ", where it did not take effect");
  }
  acknowledged_now(index);
}

void Judge::acknowledged_batch(const NodeId& edge, std::uint64_t incarnation, std::uint64_t number,
                               std::uint64_t superseded) {
  const auto batch = ledger_.batch(edge, incarnation, number);
  if (!batch)
    return violated("D5: batch " + text(number) + " of " + edge + " was acknowledged before it was committed");
  if (superseded != 0 && batch->superseded && superseded != *batch->superseded)
    violated("D5: batch " + text(number) + " of " + edge + " is said to have lost " + text(superseded) +
             " records against newer ones, it lost " + text(*batch->superseded));
  acknowledged_now(batch->index);
}

void Judge::refused(CommandId id) {
  const auto outcome = ledger_.outcome(id);
  if (!outcome || outcome->kind != Outcome::Kind::kConflict)
    violated("A1: a write was refused by a condition that held, or was never tried");
}

void Judge::declared_void(CommandId id) {
  void_.insert(id);
  const auto outcome = ledger_.outcome(id);
  if (outcome && outcome->kind != Outcome::Kind::kAborted) violated("S1: a write that took effect was declared void");
}

void Judge::session_opened(const NodeId& edge, std::uint64_t run, Term term) {
  Term& newest = sessions_[{edge, run}];
  if (term < newest) {
    violated("F11: " + edge + " opened a session in term " + text(term.value) + " after one in term " +
             text(newest.value));
  }
  newest = std::max(newest, term);
}

// ----------------------------------------------------------------------------------------------------------- pages

void Judge::page_opened(PageNo page, std::string who, std::function<Nanos()> clock) {
  Page& fresh = pages_[page];
  fresh.who = std::move(who);
  fresh.clock = std::move(clock);
}
void Judge::page_revoked(PageNo page) { pages_.erase(page); }
void Judge::page_gone(PageNo page) { pages_.erase(page); }

void Judge::page_slept(PageNo page) {
  if (const auto it = pages_.find(page); it != pages_.end()) it->second.slept = true;
}

void Judge::page_dropped_proofs(PageNo number) {
  const auto it = pages_.find(number);
  if (it == pages_.end()) return;
  it->second.slept = false;
  it->second.fresh_at = it->second.lease_until = kNever;
}

void Judge::page_applied(PageNo number, Index index) {
  const auto it = pages_.find(number);
  if (it == pages_.end()) return;
  if (index < it->second.applied) violated("I4: applied went back on " + it->second.who);
  if (index > ledger_.last()) violated("I4: " + it->second.who + " has applied what does not exist");
  it->second.applied = index;
}

void Judge::page_fresh(PageNo number, Nanos fresh_at) {
  const auto it = pages_.find(number);
  if (it == pages_.end()) return;
  if (fresh_at < it->second.fresh_at) violated("I4: fresh_at went back on " + it->second.who);
  if (fresh_at > it->second.clock()) violated("F2: " + it->second.who + " is proven fresh in the future");
  it->second.fresh_at = fresh_at;
}

void Judge::page_lease(PageNo number, Nanos until) {
  const auto it = pages_.find(number);
  if (it == pages_.end()) return;
  if (until < it->second.lease_until) violated("I4: the lease went back on " + it->second.who);
  it->second.lease_until = until;
}

void Judge::page_blocked(PageNo number, const std::vector<std::uint16_t>& slots) {
  const auto it = pages_.find(number);
  if (it == pages_.end()) return;
  for (const std::uint16_t one : slots) {
    Page::Slot& slot = it->second.slots[one];
    if (slot.open++ == 0) slot.since = now_();
  }
}

void Judge::page_unblocked(PageNo number, const std::vector<std::uint16_t>& slots) {
  const auto it = pages_.find(number);
  if (it == pages_.end()) return;
  for (const std::uint16_t one : slots) {
    Page::Slot& slot = it->second.slots[one];
    if (slot.open == 0) {
      violated("S2: a block closed on " + it->second.who + " that was not open");
      continue;
    }
    if (--slot.open > 0) continue;
    if (slot.before.size() == kIntervalsMax) slot.before.erase(slot.before.begin());
    slot.before.emplace_back(slot.since, now_());
  }
}

void Judge::block_announced(Term term, BlockNo number, const std::vector<std::string>& keys) {
  blocks_.try_emplace({term, number}, keys);
}

void Judge::block_acknowledged(PageNo number, Term term, BlockNo block) {
  const auto it = pages_.find(number);
  const auto keys = blocks_.find({term, block});
  if (it == pages_.end()) return;
  if (keys == blocks_.end()) return violated("S2: " + it->second.who + " acknowledges a block that nobody opened");
  for (const std::string& key : keys->second) {
    const auto slot = it->second.slots.find(slot_of(key));
    if (slot == it->second.slots.end() || slot->second.open == 0)
      violated("S2: " + it->second.who + " acknowledged a block of '" + key + "' that its page does not show");
  }
}

void Judge::activated(PageNo number, const std::string& key, Index index) {
  const auto it = pages_.find(number);
  if (it == pages_.end() || index.value == 0) return;  // 0: there is no pointer
  Index& before = it->second.pointers[key];
  if (index < before) violated("I4: '" + key + "' went back on " + it->second.who);
  before = std::max(before, index);
}

// --------------------------------------------------------------------------------------------------------- readers

Index Judge::floor(const std::string& key) const {
  const auto it = floor_.find(key);
  return it == floor_.end() ? Index{} : it->second;
}

// Deleted there, or expired as far as anybody's reading of the ledger's clock can tell.
bool Judge::may_be_absent(const std::vector<Version>& all, std::size_t i, Nanos at) const {
  return !all[i].value || (all[i].expires_at != kForever && ledger_at_most(at) >= all[i].expires_at);
}

void Judge::read(const Told& told) {
  ++counts_.reads;
  counts_.strong_reads += told.strong;
  counts_.bounded_reads += told.bound_asked_ns != kForever;
  const auto& all = ledger_.versions(told.key);
  const auto complain = [&](const std::string& what) {
    violated(what + ": " + told.where + " read of '" + told.key + "' got " +
             (told.value ? "version " : "nothing, version ") + text(told.version.value) + (told.local ? " (own)" : "") +
             " bound " + text(told.bound_ns) + " floor " + text(told.floor.value) + " newest " +
             text(all.empty() ? 0 : all.back().index.value) +
             (all.empty() || all.back().expires_at == kForever
                  ? ""
                  : ", which ends at " + text(all.back().expires_at) + " of at most " +
                        text(ledger_at_most(told.ended_at))));
  };
  if (told.bound_ns > told.bound_asked_ns) complain("F3: the bound that was asked for is not met");
  if (told.page.value != 0) {  // I5
    const auto page = pages_.find(told.page);
    const auto slot = page == pages_.end() ? std::map<std::uint16_t, Page::Slot>::const_iterator{}
                                           : page->second.slots.find(slot_of(told.key));
    if (page != pages_.end() && slot != page->second.slots.end()) {
      bool blocked = slot->second.open > 0 && told.tested_at > slot->second.since;
      for (const auto& [from, to] : slot->second.before) blocked |= told.tested_at > from && told.tested_at < to;
      if (blocked) complain("I5: a block was open when the lease was tested");
    }
  }

  // Which version it was. An own write is placed by its stamp; of several absences the newest counts.
  Index version = told.version;
  if (told.local) {
    Stamp stamp;
    if (told.value) {
      const auto own = behind_.find({told.key, *told.value});
      if (own == behind_.end()) return complain("I2: a value that nobody wrote");
      stamp = own->second;
    } else {
      const auto own = newest_delete_.find(told.key);
      if (own == newest_delete_.end()) return complain("I2: a deletion that nobody asked for");
      stamp = own->second;
    }
    version = {};
    for (const Version& one : all) {
      if (one.stamp <= stamp) version = std::max(version, one.index);
    }
  } else if (told.value) {
    const auto known =
        std::find_if(all.begin(), all.end(), [&](const Version& one) { return one.index == told.version; });
    if (known == all.end() || known->value != told.value) return complain("I2: a value that this version never had");
  } else {
    version = {};
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (may_be_absent(all, i, told.ended_at)) version = all[i].index;
    }
  }
  check_lifetime(told);
  if (told.strong && told.local) complain("I1: an own write that is not sequenced answers a strong read");
  if (told.strong && !told.local) {  // I1
    Index seen = version;
    if (!told.value && told.floor.value != 0) {  // the earliest absence that fits is all that this read proves
      seen = {};
      for (std::size_t i = 0; i < all.size() && seen.value == 0; ++i) {
        if (all[i].index >= told.floor && may_be_absent(all, i, told.ended_at)) seen = all[i].index;
      }
    } else if (!told.value) {
      seen = {};
    }
    if (seen < told.floor) return complain("I1: strong read is too old");
    floor_[told.key] = std::max(floor_[told.key], seen);
  }
  if (told.token.value != 0 && !told.local && told.value) {  // F10
    for (const Version& one : all) {
      if (one.index > version && one.index <= told.token && !one.perhaps)
        return complain("F10: older than the session token");
    }
  }
  check_age(told, version);
}

void Judge::check_age(const Told& told, Index version) {  // I2
  Nanos staleness = 0;
  Index newer;
  for (const Version& one : ledger_.versions(told.key)) {
    if (one.index <= version || one.perhaps) continue;
    const auto acknowledged = acknowledged_at_.find(one.index);
    if (acknowledged == acknowledged_at_.end() || told.ended_at - acknowledged->second <= staleness) continue;
    staleness = told.ended_at - acknowledged->second;
    newer = one.index;
  }
  counts_.stale_reads += staleness > 0 && told.bound_ns != kForever;
  counts_.tight_reads += staleness > 0 && told.bound_ns != kForever && staleness >= told.bound_ns / 5;
  if (staleness > told.bound_ns) {
    violated("I2: " + told.where + " read of '" + told.key + "' got version " + text(version.value) + " with bound " +
             text(told.bound_ns) + ", but version " + text(newer.value) + " was acknowledged " + text(staleness) +
             " ns earlier");
  }
}

void Judge::check_lifetime(const Told& told) {
  if (!told.value) return;
  const auto found = accepted_.find({told.key, *told.value});
  if (found == accepted_.end() || found->second.ttl_ns == 0) return;
  const Accepted& accepted = found->second;
  // Until the end of the read: what it found may have been brought between its last look at a clock and then.
  const Nanos allowed = stretched_since(accepted.at, told.ended_at);
  const Nanos limit = accepted.at + stretch(accepted.ttl_ns + allowed, ledger_.rho_ppm()) + kRounding;
  counts_.near_expiry += told.looked_at > accepted.at + accepted.ttl_ns / 10 * 9;
  if (told.looked_at > limit) {
    violated("TTL: " + told.where + " read of '" + told.key + "' got version " + text(told.version.value) + " " +
             text(told.looked_at - accepted.at) + " ns after its acceptance; it lives " + text(accepted.ttl_ns) +
             " ns, and " + text(allowed) + " more for what hubs could not see");
  }
}

void Judge::snapshot(const std::string& where, const std::vector<Member>& members) {  // S4, I1
  ++counts_.snapshots;
  Index floor;
  std::vector<Span> together = {{Index{}, Index{~0ull}}};  // indexes that fit every member so far
  for (const Member& member : members) {
    floor = std::max(floor, member.floor);
    const auto& all = ledger_.versions(member.key);
    std::vector<Span> spans;
    if (!member.found) spans.push_back({Index{}, all.empty() ? Index{~0ull} : all.front().index});
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool fits = member.found ? all[i].index == member.version && all[i].value : may_be_absent(all, i, now_());
      if (fits) spans.push_back({all[i].index, i + 1 < all.size() ? all[i + 1].index : Index{~0ull}});
    }
    std::vector<Span> both;
    for (const Span& a : together) {
      for (const Span& b : spans) {
        const Span overlap{std::max(a.first, b.first), std::min(a.end, b.end)};
        if (overlap.first < overlap.end) both.push_back(overlap);
      }
    }
    together = std::move(both);
  }
  if (together.empty()) return violated("S4: " + where + ": a snapshot mixes indexes");
  const bool recent = std::any_of(together.begin(), together.end(), [&](const Span& span) { return span.end > floor; });
  if (!recent) return violated("I1: " + where + ": a snapshot is too old");
  for (const Member& member : members) {
    if (member.found) floor_[member.key] = std::max(floor_[member.key], member.version);
  }
}

// ------------------------------------------------------------------------------------------- requests, caps, the end

void Judge::asked(const NodeId& node, std::uint64_t run, std::uint64_t request) {
  if (!waiting_[node].emplace(run, request).second) violated("I10: " + node + " used a request twice");
}
void Judge::answered(const NodeId& node, std::uint64_t run, std::uint64_t request) {
  if (waiting_[node].erase({run, request}) == 0) violated("I10: a request was answered twice at " + node);
}
void Judge::died(const NodeId& node) { waiting_.erase(node); }

void Judge::sized(const std::string& what, std::uint64_t size, std::uint64_t cap) {
  if (size > cap) violated("I11: " + what + " is " + text(size) + ", its cap " + text(cap));
}

void Judge::holds(const std::string& hub, Index applied, const std::string& key, const std::optional<Bytes>& value,
                  Index version) {
  if (applied != ledger_.last()) return;  // what it was at earlier indexes is not kept
  const auto& all = ledger_.versions(key);
  if (!all.empty() && all.back().perhaps) return;
  const Version* live = ledger_.live(key);
  const bool same = live == nullptr ? !value : value == live->value && version == live->index;
  if (!same) violated("I7: " + hub + " does not hold what the ledger made of '" + key + "'");
}

void Judge::at_rest(Index settled, const std::vector<HubAtRest>& hubs, const std::vector<EdgeAtRest>& edges) {
  for (const auto& [key, stamp] : durable_) {  // I8
    const auto& all = ledger_.versions(key);
    bool there = std::any_of(all.begin(), all.end(), [&](const Version& one) { return one.stamp >= stamp; });
    for (const Behind& own : own_writes_[key]) there |= own.stamp >= stamp && own.ends_at <= now_();
    if (!there) violated("I8: an acknowledged write of '" + key + "' is lost");
  }
  for (const auto& [node, requests] : waiting_) {  // I10
    if (!requests.empty()) violated("I10: a request waits for ever at " + node);
  }
  std::size_t active = 0;
  for (const HubAtRest& hub : hubs) {
    active += hub.active;
    if (hub.applied < settled) violated("I10: " + hub.who + " has not applied the whole ledger");
    if (hub.open_blocks != 0) violated("I10: a block is open for ever at " + hub.who);
  }
  if (active != 1) violated("I10: " + text(active) + " hubs are active at the end");
  for (const EdgeAtRest& edge : edges) {
    if (!edge.session) violated("I10: " + edge.who + " has no session");
    if (!edge.lease) violated("I10: " + edge.who + " has no lease");
    if (edge.open_blocks != 0) violated("I10: a block is open for ever at " + edge.who);
    if (edge.pending_records != 0) violated("I10: records are pending for ever at " + edge.who);
    if (edge.applied > ledger_.last()) violated("I4: " + edge.who + " has applied what does not exist");
  }
}

}  // namespace tidelock::oracle
