#include "sim/model_ledger.h"

#include <algorithm>
#include <utility>

#include "codec/archive.h"
#include "protocol/commands.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;
}

ModelLedger::ModelLedger(World& world, LedgerHost& host, SimLedgerOptions options)
    : world_(world), host_(host), options_(options), members_(static_cast<std::size_t>(options.hubs)) {}

bool ModelLedger::has_majority(int hub) const {
  std::size_t heard = 0;
  for (int other = 0; other < static_cast<int>(members_.size()); ++other) {
    const bool linked =
        other == hub || (host_.link_opens(hub, other) <= world_.now() && host_.link_opens(other, hub) <= world_.now());
    heard += members_[static_cast<std::size_t>(other)].up && linked;
  }
  return heard * 2 > members_.size();
}

Nanos ModelLedger::reachable_at(int hub) {
  return std::max(world_.now(), member(hub).stalled_until);  // a pause is the inbox's: what is told waits there
}

// ---- who leads

void ModelLedger::elect(int number) {
  leader_ = number;
  const std::uint64_t election = ++election_;
  world_.trace(1, static_cast<std::uint64_t>(number));
  for (int hub = 0; hub < static_cast<int>(members_.size()); ++hub) {
    // A service with members of its own has no leader to tell of: who wants to lead claims.
    if (options_.leaderless && faults_ && hub != number && world_.chance(700)) continue;
    const Nanos late = faults_ && !world_.chance(700) ? 2 * kSecond : 20 * kMs;
    world_.at(reachable_at(hub) + world_.between(0, late), [this, hub, number, election] {
      if (election != election_ || !member(hub).up) return;  // a later word is on its way
      host_.on_leadership(hub, hub == number, number);
    });
  }
  watch_leader();
}

// A leader that is gone, or hears no majority, is replaced after an election's time.
void ModelLedger::watch_leader() {
  if (watching_) return;
  const auto sound = [this] { return leader_ >= 0 && member(leader_).up && has_majority(leader_); };
  if (sound()) return;
  watching_ = true;
  world_.in(world_.between(150 * kMs, faults_ ? 600 * kMs : 300 * kMs), [this, sound] {
    watching_ = false;
    if (sound()) return;
    std::vector<int> able;
    for (int hub = 0; hub < static_cast<int>(members_.size()); ++hub) {
      if (member(hub).up && has_majority(hub)) able.push_back(hub);
    }
    if (able.empty()) return watch_leader();
    elect(able[world_.rng().below(able.size())]);
  });
}

void ModelLedger::links_changed() { watch_leader(); }
void ModelLedger::stall(int hub, Nanos until) {
  member(hub).stalled_until = std::max(member(hub).stalled_until, until);
}

void ModelLedger::heal() {
  faults_ = false;
  for (Member& one : members_) one.stalled_until = 0;
  if (options_.leaderless && leader_ >= 0) elect(leader_);  // the rivals end
  watch_leader();
}

// ---- boots

void ModelLedger::start(int hub, Index applied) {
  Member& one = member(hub);
  one.up = true;
  ++one.boot;
  one.told = applied.value;
  one.retrying = false;
  one.last_delivery = world_.now();
  if (!log_.empty()) deliver(hub);
  if (leader_ >= 0) host_.on_leadership(hub, hub == leader_, leader_);
  watch_leader();
}

void ModelLedger::stop(int hub, bool) {
  member(hub).up = false;
  ++member(hub).boot;
  watch_leader();
}

// ---- appends

std::uint64_t ModelLedger::late_per_mille(std::uint64_t usual, const Bytes& command) const {
  if (options_.claim_late_per_mille == 0) return usual;
  const auto decoded = decode<Command>(command, "command");
  return decoded && std::holds_alternative<Claim>(decoded->body) ? options_.claim_late_per_mille : usual;
}

void ModelLedger::append(int hub, CommandId id, Bytes command) {
  const bool late = faults_ && world_.chance(late_per_mille(options_.append_late_per_mille, command));
  const Nanos delay = world_.between(10 * kMicrosecond, late ? options_.append_late_most : kMs);
  world_.at(
      reachable_at(hub) + delay,
      [this, append = Append{hub, member(hub).boot, id, std::move(command)}]() mutable { arrive(std::move(append)); });
}

void ModelLedger::arrive(Append append) {
  const bool leads = leader_ == append.hub || (options_.leaderless && faults_);
  if (leads && !has_majority(append.hub)) {  // nobody knows yet; it may be long
    world_.in(20 * kMs, [this, append = std::move(append)]() mutable { arrive(std::move(append)); });
    return;
  }
  if (leads && !host_.append_goes_astray(append.hub)) return commit(append.command);
  if (!leads && world_.chance(600)) return drop(append, Code::kNotActive);
  drop(append, Code::kMaybeApplied);
  if (has_majority(append.hub) && world_.chance(500)) {
    world_.in(world_.between(0, 3 * kSecond), [this, command = std::move(append.command)] { commit(command); });
  }
}

void ModelLedger::drop(const Append& append, Code code) {
  const Nanos late = faults_ && !world_.chance(1'000 - options_.drop_late_per_mille) ? kSecond : 5 * kMs;
  world_.at(reachable_at(append.hub) + world_.between(0, late),
            [this, hub = append.hub, boot = append.boot, id = append.id, code] {
              if (member(hub).boot == boot) host_.on_dropped(hub, id, code);
            });
}

void ModelLedger::commit(const Bytes& command) {
  log_.push_back(command);
  const std::uint64_t index = log_.size();
  world_.trace(2, index, hash64(command));
  host_.on_commit(Index{index}, log_.back());
  for (int hub = 0; hub < static_cast<int>(members_.size()); ++hub) {
    if (member(hub).up) deliver(hub);
  }
}

// The hub learns that the log has grown, and takes what it has not been told, in order.
void ModelLedger::deliver(int hub) {
  const bool late = faults_ && world_.chance(late_per_mille(options_.deliver_late_per_mille, log_.back()));
  const Nanos delay = world_.between(10 * kMicrosecond, late ? options_.deliver_late_most : kMs);
  Member& one = member(hub);
  one.last_delivery = std::max(one.last_delivery, std::max(world_.now(), one.stalled_until) + delay);
  world_.at(one.last_delivery, [this, hub, boot = one.boot, index = log_.size()] {
    if (member(hub).boot == boot) hand_over(hub, index);
  });
}

// Cut off while it was under way: what was committed without it waits too.
void ModelLedger::retry(int hub) {
  Member& one = member(hub);
  if (one.retrying) return;
  one.retrying = true;
  world_.in(20 * kMs, [this, hub, boot = one.boot] {
    if (member(hub).boot != boot) return;
    member(hub).retrying = false;
    hand_over(hub, log_.size());
  });
}

void ModelLedger::hand_over(int hub, std::uint64_t index) {
  Member& one = member(hub);
  if (world_.now() < one.stalled_until || !has_majority(hub)) return retry(hub);
  if (options_.snapshots && one.told + 20 < index && world_.chance(300)) {  // a snapshot of another hub that is ahead
    for (int other = 0; other < static_cast<int>(members_.size()); ++other) {
      if (other == hub || !member(other).up) continue;
      const SimSnapshot snapshot = host_.snapshot(other);
      if (snapshot.index.value <= one.told) continue;
      one.told = snapshot.index.value;
      host_.on_install(hub, snapshot);
      break;
    }
  }
  while (one.told < index) {
    ++one.told;
    host_.on_committed(hub, Index{one.told}, log_[one.told - 1]);
  }
}

}  // namespace tidelock::sim
