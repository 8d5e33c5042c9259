#include "sim/history.h"

#include <algorithm>

namespace tidelock::sim {
namespace {
std::string number(std::uint64_t value) { return std::to_string(value); }
}  // namespace

Applied History::commit(Index index, BytesView command) {
  StateBatch rows;
  Applied applied = state_.apply(index, command, rows);
  rows_.commit(rows);
  if (applied.effective && !std::holds_alternative<Batch>(applied.command.body)) {
    effective_.insert(applied.command.id);
    if (void_.contains(applied.command.id) && std::holds_alternative<Put>(applied.command.body)) {
      world_.violated("S1: a write that was declared void took effect at index " + number(index.value));
    }
  }
  if (!applied.effective) return applied;
  if (const auto* batch = std::get_if<Batch>(&applied.command.body))
    batches_[{batch->edge, batch->incarnation, batch->number}] = index;
  for (const ChangedValue& change : applied.changed) {
    Version version;
    version.index = index;
    version.committed_at = world_.now();
    version.value = change.now.value;
    version.expires_at = change.now.expires_at;
    version.stamp = change.now.stamp;
    versions_[change.key].push_back(version);
    changed_[index].push_back(change.key);
  }
  return applied;
}

void History::acknowledged(Index index) {
  if (index > last())
    return world_.violated("I7: index " + number(index.value) + " was acknowledged before it was committed");
  const auto it = changed_.find(index);
  if (it == changed_.end()) return;
  for (const std::string& key : it->second) {
    for (Version& version : versions_[key]) {
      if (version.index == index) version.acknowledged_at = std::min(version.acknowledged_at, world_.now());
    }
    Index& floor = floor_[key];
    floor = std::max(floor, index);
  }
}

void History::acknowledged_batch(const NodeId& edge, std::uint64_t incarnation, std::uint64_t number) {
  const auto it = batches_.find({edge, incarnation, number});
  if (it == batches_.end())
    return world_.violated("D5: a batch of " + edge + " was acknowledged before it was committed");
  acknowledged(it->second);
}

void History::declared_void(CommandId id) {
  world_.say("void: id " + number(id.client % 10'000) + " " + number(id.sequence));
  void_.insert(id);
  if (effective_.contains(id)) world_.violated("S1: a write that took effect was declared void");
}

void History::written_behind(const std::string& key, const std::optional<Bytes>& value, Stamp stamp) {
  behind_[{key, value.value_or("")}] = stamp;
}
void History::durable(const std::string& key, Stamp stamp) {
  Stamp& newest = durable_[key];
  newest = std::max(newest, stamp);
}

Index History::floor(const std::string& key) const {
  const auto it = floor_.find(key);
  return it == floor_.end() ? Index{} : it->second;
}

const std::vector<Version>& History::versions(const std::string& key) const {
  static const std::vector<Version> kNone;
  const auto it = versions_.find(key);
  return it == versions_.end() ? kNone : it->second;
}

const Version* History::version_of(const Told& told) const {
  for (const Version& version : versions(told.key)) {
    if (version.index == told.receipt.version && version.value.has_value() == told.found) return &version;
  }
  return nullptr;
}

void History::check_read(const Told& told, const std::string& where) {
  ++reads_;
  const auto& all = versions(told.key);
  const auto complain = [&](const std::string& what) {
    world_.violated(
        what + ": " + where + " read of '" + told.key + "' got " + (told.found ? "version " : "nothing, version ") +
        number(told.receipt.version.value) + " basis " + std::string(basis_name(told.receipt.basis)) + " source " +
        std::string(source_name(told.receipt.source)) + " bound " + std::to_string(told.receipt.bound_ns) + " floor " +
        number(told.floor.value) + " newest " + number(all.empty() ? 0 : all.back().index.value));
  };
  bool expires = false;
  for (const Version& version : all) expires = expires || version.expires_at != kForever;

  // Which version it was. An own write that is not sequenced is placed by its stamp; of "absent" the newest absence
  // counts.
  Index version = told.receipt.version;
  Stamp stamp;
  const bool local = told.receipt.basis == Basis::kLocal || (told.found && version.value == 0);
  if (local) {
    const auto it = behind_.find({told.key, told.value.value_or("")});
    if (told.found && it == behind_.end()) return complain("a value that nobody wrote");
    if (!told.found) return;  // an own delete: its stamp is not told
    stamp = it->second;
    version = {};
    for (const Version& one : all) {
      if (one.stamp <= stamp) version = std::max(version, one.index);
    }
  } else if (told.found) {
    const Version* known = version_of(told);
    if (known == nullptr || known->value != told.value) return complain("a value that this version never had");
  } else {
    if (expires) return;  // absent by expiry: the ledger's clock decides, which is stretched by a failover
    version = {};
    for (const Version& one : all) {
      if (!one.value) version = one.index;
    }
  }
  if (told.strong && !local) {
    Index seen = version;
    if (!told.found) {  // the earliest absence that would satisfy the floor is all that this read proves
      bool fits = told.floor.value == 0;
      seen = {};
      for (const Version& one : all) {
        if (!one.value && one.index >= told.floor && !fits) {
          fits = true;
          seen = one.index;
        }
      }
      if (!fits) return complain("I1: strong read is too old");
    } else if (version < told.floor) {
      return complain("I1: strong read is too old");
    }
    Index& floor = floor_[told.key];
    floor = std::max(floor, seen);
  }
  if (told.token.value != 0 && !local && told.found) {  // F10
    for (const Version& one : all) {
      if (one.index > version && one.index <= told.token) return complain("F10: older than the session token");
    }
  }
  if (told.receipt.bound_ns == kForever) return;
  for (const Version& one : all) {  // I2
    if (one.index <= version || one.acknowledged_at == kForever) continue;
    const Nanos staleness = told.ended_at - one.acknowledged_at;
    if (staleness > told.receipt.bound_ns) {
      return complain("I2: true staleness " + std::to_string(staleness) + " (version " + number(one.index.value) +
                      " was acknowledged earlier)");
    }
  }
}

void History::check_end() {
  for (const auto& [key, stamp] : durable_) {
    const auto& all = versions(key);
    if (all.empty() || all.back().stamp < stamp) world_.violated("I8: an acknowledged write of '" + key + "' is lost");
  }
}

}  // namespace tidelock::sim
