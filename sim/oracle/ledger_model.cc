#include "sim/oracle/ledger_model.h"

#include <algorithm>

namespace tidelock::oracle {
namespace {

constexpr std::size_t kKeyMax = 4'096, kValueMax = 1u << 20, kWritesMax = 1'024, kNameMax = 64, kRecordsMax = 65'536;

bool named(const NodeId& id) { return !id.empty() && id.size() <= kNameMax; }
bool sound(const std::string& key, const std::optional<Bytes>& value, Nanos ttl_ns) {
  return !key.empty() && key.size() <= kKeyMax && (!value || value->size() <= kValueMax) && ttl_ns >= 0;
}
Nanos expiry(Nanos from, Nanos ttl_ns) { return ttl_ns == 0 ? kForever : saturating_add(from, ttl_ns); }

}  // namespace

const Policy* LedgerModel::policy(std::string_view key) const {
  const Policy* best = nullptr;
  for (const Policy& one : policies_) {
    if (key.starts_with(one.prefix) && (best == nullptr || one.prefix.size() > best->prefix.size())) best = &one;
  }
  return best;
}

bool LedgerModel::strong(std::string_view key) const {
  const Policy* of = policy(key);
  return of != nullptr && of->strong;
}

std::optional<Index> LedgerModel::first_registered(const NodeId& edge) const {
  const auto it = first_registered_.find(edge);
  return it == first_registered_.end() ? std::nullopt : std::optional(it->second);
}

Nanos LedgerModel::lease_at(Index index) const {
  const auto after = leases_.upper_bound(index);
  return after == leases_.begin() ? 0 : std::prev(after)->second;
}

const std::vector<Version>& LedgerModel::versions(std::string_view key) const {
  static const std::vector<Version> kNone;
  const auto it = versions_.find(key);
  return it == versions_.end() ? kNone : it->second;
}

const Version* LedgerModel::newest(std::string_view key) const {
  const auto& all = versions(key);
  const auto sure = std::find_if(all.rbegin(), all.rend(), [](const Version& one) { return !one.perhaps; });
  return sure == all.rend() ? nullptr : &*sure;
}

const Version* LedgerModel::live(std::string_view key) const {
  const Version* version = newest(key);
  return version != nullptr && version->value && version->expires_at > time_ ? version : nullptr;
}

std::optional<Outcome> LedgerModel::outcome(CommandId id) const {
  const auto it = outcomes_.find(id);
  return it == outcomes_.end() ? std::nullopt : std::optional(it->second);
}

std::optional<LedgerModel::Counted> LedgerModel::batch(const NodeId& edge, std::uint64_t incarnation,
                                                       std::uint64_t number) const {
  const auto lane = lanes_.find({edge, incarnation});
  if (lane == lanes_.end() || number == 0 || number > lane->second.size()) return std::nullopt;
  return lane->second[number - 1];
}

void LedgerModel::add(Effect& effect, const std::string& key, Version version) {
  version.index = last_;
  auto& all = versions_[key];
  if (!all.empty() && all.back().index == last_) {  // named twice in one entry: the later word counts
    all.back() = std::move(version);
    return;
  }
  if (!version.perhaps) effect.changed.push_back(key);
  all.push_back(std::move(version));
}

Effect LedgerModel::commit(Index index, const Entry* entry) {
  Effect effect;
  last_ = index;
  if (entry == nullptr || entry->id.client == 0 || entry->id.sequence == 0) return effect;
  const bool claim = std::holds_alternative<Entry::Claim>(entry->body);
  const bool beacon = std::holds_alternative<Entry::Beacon>(entry->body);
  if (!beacon && outcomes_.contains(entry->id)) return effect;              // each id once, an aborted one never
  if (!claim && (term_.value == 0 || entry->term != term_)) return effect;  // A1
  const Nanos before = time_;
  time_ = std::max(time_, entry->ledger_time);
  effect.effective = std::visit(
      [&](const auto& body) {
        using Body = std::decay_t<decltype(body)>;
        if constexpr (std::is_same_v<Body, Entry::Beacon>) return true;
        if constexpr (std::is_same_v<Body, Entry::Register>)
          return named(body.edge) &&
                 (registered_.try_emplace(body.edge, index), first_registered_.try_emplace(body.edge, index), true);
        if constexpr (std::is_same_v<Body, Entry::Remove>) return registered_.erase(body.edge), true;
        if constexpr (std::is_same_v<Body, Entry::Lease>) {
          if (seeded_) leases_[index] = body.use_short ? lease_short_ns_ : lease_long_ns_;
          return seeded_;
        }
        if constexpr (std::is_same_v<Body, Entry::Raise>)
          return body.version > version_ && (version_ = body.version, true);
        if constexpr (std::is_same_v<Body, Entry::Claim> || std::is_same_v<Body, Entry::Put> ||
                      std::is_same_v<Body, Entry::Abort> || std::is_same_v<Body, Entry::Seed> ||
                      std::is_same_v<Body, Entry::Batch> || std::is_same_v<Body, Entry::Recall> ||
                      std::is_same_v<Body, Entry::Certify>)
          return run(effect, *entry, body);
      },
      entry->body);
  if (!effect.effective) {
    time_ = before;
  } else if (!beacon) {
    outcomes_[entry->id] = {index, effect.conflict ? Outcome::Kind::kConflict : Outcome::Kind::kDone};
  }
  return effect;
}

bool LedgerModel::run(Effect&, const Entry&, const Entry::Claim& claim) {
  if (!named(claim.hub)) return false;
  term_ = Term{last_.value};
  return true;
}

bool LedgerModel::run(Effect& effect, const Entry& entry, const Entry::Put& put) {
  if (put.writes.empty() || put.writes.size() > kWritesMax) return false;
  std::map<std::string, std::optional<Version>> before;  // all conditions speak of the state before this entry
  for (const Write& write : put.writes) {
    if (!sound(write.key, write.value, write.ttl_ns)) return false;
    if (write.value && recalls_.contains(write.names)) return false;  // M7
    const Version* now = live(write.key);
    before[write.key] = now == nullptr ? std::nullopt : std::optional(*now);
  }
  for (const Write& write : put.writes) {
    const auto& now = before.at(write.key);
    bool holds = true;
    if (write.when == When::kAbsent) holds = !now;
    if (write.when == When::kPresent) holds = now.has_value();
    if (write.when == When::kVersionIs || write.when == When::kVersionStays)
      holds = (now ? now->index : Index{}) == write.expected;
    if (write.when == When::kAbsentOrSame) holds = !now || now->value == write.value;
    if (!holds) {
      effect.conflict = true;
      return true;
    }
  }
  for (const Write& write : put.writes) {
    const auto& now = before.at(write.key);
    if (write.when == When::kVersionStays || (write.when == When::kAbsentOrSame && now)) continue;
    Version version;
    version.value = write.value;
    version.names = write.value ? write.names : std::string();
    if (write.value)
      version.expires_at =
          write.keep_ttl ? (now ? now->expires_at : kForever) : expiry(entry.ledger_time, write.ttl_ns);
    add(effect, write.key, std::move(version));
  }
  return true;
}

bool LedgerModel::run(Effect&, const Entry&, const Entry::Abort& abort) {
  const auto known = outcomes_.find(abort.target);
  if (known != outcomes_.end()) return known->second.kind == Outcome::Kind::kAborted;  // too late: it took effect
  if (abort.target.client == 0 || abort.target.sequence == 0) return false;
  outcomes_[abort.target] = {last_, Outcome::Kind::kAborted};
  return true;
}

bool LedgerModel::run(Effect&, const Entry&, const Entry::Seed& seed) {
  if (seeded_) return false;
  seeded_ = true;
  rho_ppm_ = seed.rho_ppm;
  policies_ = seed.policies;
  lease_long_ns_ = seed.lease_long_ns;
  lease_short_ns_ = seed.lease_short_ns;
  leases_[last_] = lease_short_ns_;  // nothing has been rolled out yet
  return true;
}

bool LedgerModel::run(Effect& effect, const Entry&, const Entry::Recall& recall) {
  if (!seeded_ || !recall.sound) return false;
  effect.conflict = !recalls_.try_emplace(recall.what).second;
  return true;
}

bool LedgerModel::run(Effect& effect, const Entry& entry, const Entry::Certify& certify) {
  const auto recall = recalls_.find(certify.what);
  if (recall == recalls_.end()) return false;
  if (recall->second.value != 0) return effect.conflict = true;
  for (const auto& [key, all] : versions_) {
    const bool moved = std::any_of(certify.writes.begin(), certify.writes.end(), [&](const Write& write) {
      return write.key == key && write.when != When::kVersionStays;
    });
    const Version* now = moved ? nullptr : live(key);
    if (now != nullptr && now->names == certify.what) return false;  // it is in force still
  }
  if (!certify.writes.empty() && !run(effect, entry, Entry::Put{certify.writes})) return false;
  if (!effect.conflict) recall->second = last_;
  return true;
}

bool LedgerModel::run(Effect& effect, const Entry& entry, const Entry::Batch& batch) {
  if (!seeded_ || !named(batch.edge) || batch.number == 0 || batch.records.size() > kRecordsMax) return false;
  for (const BehindRecord& record : batch.records) {
    const Policy* of = policy(record.key);
    if (!sound(record.key, record.value, record.ttl_ns) || record.stamp == Stamp{} || of == nullptr || !of->behind)
      return false;
  }
  auto& lane = lanes_[{batch.edge, batch.incarnation}];
  if (batch.number != lane.size() + 1) return false;  // counted before, or a hole
  lane.push_back({last_, 0});
  auto& superseded = lane.back().superseded;
  for (const BehindRecord& record : batch.records) {
    const Version* held = newest(record.key);
    if (!versions(record.key).empty() && versions(record.key).back().perhaps) superseded.reset();
    const bool older = held != nullptr && record.stamp <= held->stamp;  // the newer stamp wins, deleted or not
    const auto since = registered_.find(batch.edge);
    const bool kept = older && ((held->value && held->expires_at > time_) ||
                                (since != registered_.end() && since->second <= held->index));
    if (kept) {
      if (superseded) ++*superseded;
      continue;
    }
    if (older) superseded.reset();  // whether it counts is not known
    Version version;
    version.value = record.value;
    version.stamp = record.stamp;
    version.perhaps = older;
    if (record.value) version.expires_at = expiry(entry.ledger_time, record.ttl_ns);
    add(effect, record.key, std::move(version));
  }
  return true;
}

}  // namespace tidelock::oracle
