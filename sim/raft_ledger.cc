#include "sim/raft_ledger.h"

#include <utility>

namespace tidelock::sim {

RaftSimLedger::RaftSimLedger(World& world, LedgerHost& host, SimLedgerOptions wanted)
    : world_(world),
      host_(host),
      hubs_(static_cast<std::size_t>(wanted.hubs)),
      raft_(world, options(world, wanted), *this, *this) {}

RaftWorldOptions RaftSimLedger::options(World& world, const SimLedgerOptions& wanted) {
  RaftWorldOptions out;
  out.members = static_cast<std::size_t>(wanted.hubs);
  out.commands_unique = false;  // a client repeats a command until it knows; the state machine applies it once
  out.overlap_writes = world.chance(500);
  out.batch_max = world.chance(500) ? 1 : 16;
  out.settings.snapshot_threshold_entries = wanted.snapshots ? (world.chance(500) ? 30 : 300) : 1'000'000;
  out.settings.snapshot_trailing_entries = world.chance(500) ? 5 : 100;
  out.settings.snapshot_install_timeout_ms = 2'000;
  return out;
}

// To this boot of the hub, after whatever it was told before.
template <class F>
void RaftSimLedger::tell(std::size_t member, F what) {
  world_.at(world_.now(), [this, member, boot = hubs_[member].boot, what = std::move(what)] {
    if (hubs_[member].boot == boot) what(static_cast<int>(member));
  });
}

void RaftSimLedger::start(int hub, Index applied) {
  const auto member = static_cast<std::size_t>(hub);
  ++hubs_[member].boot;
  hubs_[member].applied = applied;
  raft_.boot(member);
}

void RaftSimLedger::stop(int hub, bool) {  // all it writes is synced, so that a kill loses what a power cut loses
  const auto member = static_cast<std::size_t>(hub);
  ++hubs_[member].boot;
  raft_.crash(member);
}

void RaftSimLedger::append(int hub, CommandId id, Bytes command) {
  std::vector<RaftProposal> proposals;
  proposals.push_back({id, std::move(command)});
  raft_.propose(static_cast<std::size_t>(hub), std::move(proposals));
}

void RaftSimLedger::elect(int hub) {  // whoever leads falls silent for an election's time
  const auto leads = raft_.leader();
  if (leads && *leads != static_cast<std::size_t>(hub)) raft_.pause(*leads, kSecond);
}

void RaftSimLedger::stall(int hub, Nanos until) { raft_.pause(static_cast<std::size_t>(hub), until - world_.now()); }

void RaftSimLedger::heal() {
  for (std::size_t member = 0; member < hubs_.size(); ++member) raft_.resume(member);
}

int RaftSimLedger::leader() const {
  const auto leads = raft_.leader();
  return leads ? static_cast<int>(*leads) : -1;
}

// --- from the members

Index RaftSimLedger::restarts(std::size_t member, Index) { return hubs_[member].applied; }

void RaftSimLedger::on_committed(std::size_t member, const LedgerEntry& entry) {
  if (entry.index > last_) {
    last_ = entry.index;
    host_.on_commit(entry.index, entry.command);
  }
  tell(member, [this, entry](int hub) { host_.on_committed(hub, entry.index, entry.command); });
}

void RaftSimLedger::on_dropped(std::size_t member, CommandId id, Code code) {
  tell(member, [this, id, code](int hub) { host_.on_dropped(hub, id, code); });
}

void RaftSimLedger::on_leadership(std::size_t member, bool leading, std::optional<std::size_t> leader) {
  tell(member, [this, leading, leader = leader ? static_cast<int>(*leader) : -1](int hub) {
    host_.on_leadership(hub, leading, leader);
  });
}

std::optional<std::pair<Index, std::any>> RaftSimLedger::copy(std::size_t member) {
  SimSnapshot made = host_.snapshot(static_cast<int>(member));
  return std::pair<Index, std::any>{made.index, std::move(made)};
}

void RaftSimLedger::install(std::size_t member, Index, const std::any& state) {
  tell(member, [this, snapshot = std::any_cast<SimSnapshot>(state)](int hub) { host_.on_install(hub, snapshot); });
}

void RaftSimLedger::on_ended(std::size_t member, const std::string& why) {
  tell(member, [this, why](int hub) { host_.on_failed(hub, why); });
}

// --- what surrounds them

void RaftSimLedger::carry(std::size_t from, std::size_t to, bool bulk, std::function<void()> deliver) {
  const Nanos arrives = host_.arrival(static_cast<int>(from), static_cast<int>(to));
  if (arrives == kForever) return;
  world_.at(arrives + (bulk ? 20 * kMillisecond : 0), std::move(deliver));
}

DiskFault RaftSimLedger::disk_fault(std::size_t member) {
  if (!host_.disk_fails(static_cast<int>(member))) return DiskFault::kNone;
  return world_.chance(500) ? DiskFault::kRefused : DiskFault::kSyncFailed;
}

}  // namespace tidelock::sim
