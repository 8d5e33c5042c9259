#include "sim/raft_gates.h"

#include <algorithm>
#include <set>

#include "sim/raft_world.h"

namespace tidelock::sim {
namespace {

constexpr Nanos kMs = kMillisecond;
constexpr Nanos kFaultsFor = 8 * kSecond;
constexpr Nanos kConvergesWithin = 60 * kSecond;

const std::vector<RaftMode> kModes = {
    {.name = "crash", .members = 3, .crash = true},
    {.name = "crash, five", .members = 5, .crash = true},
    {.name = "crash, alone", .members = 1, .crash = true, .disk_error = true},
    {.name = "partition", .members = 3, .partition = true},
    {.name = "partition, five", .members = 5, .partition = true},
    {.name = "network", .members = 3, .partition = true, .network = true},
    {.name = "disk error", .members = 3, .crash = true, .disk_error = true},
    {.name = "disk error, five", .members = 5, .partition = true, .disk_error = true},
    {.name = "slow disk", .members = 3, .crash = true, .partition = true, .slow_disk = true},
    {.name = "slow disk, five", .members = 5, .crash = true, .network = true, .slow_disk = true},
    {.name = "clocks", .members = 3, .crash = true, .clock = true},
    {.name = "clocks, five", .members = 5, .partition = true, .clock = true},
    {.name = "transfer", .members = 3, .crash = true, .partition = true, .transfer = true},
    {.name = "transfer, five", .members = 5, .partition = true, .network = true, .transfer = true},
    {.name = "membership", .members = 3, .crash = true, .membership = true},
    {.name = "membership, five", .members = 5, .partition = true, .transfer = true, .membership = true},
    {.name = "membership, alone", .members = 1, .crash = true, .network = true, .membership = true},
    {.name = "all",
     .members = 3,
     .crash = true,
     .partition = true,
     .network = true,
     .transfer = true,
     .disk_error = true,
     .slow_disk = true,
     .membership = true,
     .clock = true},
    {.name = "all, five",
     .members = 5,
     .crash = true,
     .partition = true,
     .network = true,
     .transfer = true,
     .disk_error = true,
     .slow_disk = true,
     .membership = true,
     .clock = true},
};

template <class T>
T any_of(Rng& rng, std::initializer_list<T> values) {
  return *(values.begin() + static_cast<std::ptrdiff_t>(rng.below(values.size())));
}

class Trial : public RaftApp {
 public:
  Trial(std::uint64_t seed, bool verbose)
      : world_(seed),
        mode_(kModes[seed % kModes.size()]),
        net_(world_, clock_ppm_max()),
        raft_(world_, options(), *this, net_) {
    world_.set_verbose(verbose);
    states_.resize(raft_.size());
    rebooting_.resize(raft_.size());
    flipped_.resize(raft_.size());
  }
  RaftTrialReport run();

  // RaftApp: a state machine is the index up to which it has applied everything; the oracle knows what that means.
  Index restarts(std::size_t i, Index snapshot) override;
  void on_committed(std::size_t i, const LedgerEntry& entry) override;
  void on_dropped(std::size_t i, CommandId id, Code code) override;
  void on_leadership(std::size_t, bool, std::optional<std::size_t>) override {}
  void on_change_ended(std::size_t i, const RaftEnded& end) override;
  std::optional<std::pair<Index, std::any>> copy(std::size_t i) override;
  void install(std::size_t i, Index index, const std::any& state) override;
  void on_ended(std::size_t i, const std::string&) override { boot_later(i, 2 * kSecond); }

 private:
  struct Open {
    Bytes command;
    Index floor;  // acknowledged before it was proposed: it must come behind
  };
  struct State {
    Index applied;
    std::map<CommandId, Open> open;
    std::map<Bytes, CommandId> by_command;
    std::set<CommandId> known;  // to be committed
    std::set<std::uint64_t> changes;
    bool retired = false;  // no member any more, or never again to be one
  };

  std::int64_t clock_ppm_max();
  RaftWorldOptions options();
  void load();
  void fault();
  void boot_later(std::size_t i, Nanos most);
  void propose(std::size_t i, const std::vector<Bytes>& commands);
  void transfer();
  void change_members();
  void retire_the_removed();
  std::vector<std::size_t> members() const;
  void calm(const std::vector<std::size_t>& those);
  bool converges(const std::vector<std::size_t>& those);
  void let_disks_finish();
  void check_end();

  World world_;
  const RaftMode& mode_;
  bool snapshots_fail_ = false;  // drawn by options()
  RaftNet net_;
  RaftWorld raft_;
  std::vector<State> states_;
  std::vector<bool> rebooting_;
  std::vector<std::optional<std::uint64_t>> flipped_;  // which bit of its disk has turned over
  std::map<Bytes, Index> acknowledged_;
  std::set<Bytes> refused_;
  Index highest_acknowledged_;
  bool faults_ = true, loading_ = true;
  std::uint64_t commands_ = 0, sequence_ = 0, tickets_ = 0;
  RaftTrialReport report_;
};

std::int64_t Trial::clock_ppm_max() {
  return mode_.clock ? any_of<std::int64_t>(world_.rng(), {200, 50'000, 300'000}) : 200;
}

RaftWorldOptions Trial::options() {
  Rng& rng = world_.rng();
  RaftWorldOptions out;
  out.members = mode_.members;
  const bool extreme = rng.one_in(3);
  RaftDriverSettings& s = out.settings;
  s.election_timeout_ms = extreme ? any_of<std::uint32_t>(rng, {60, 150, 1000}) : 300;
  s.heartbeat_ms = s.election_timeout_ms / 10;
  s.snapshot_install_timeout_ms = any_of<std::uint32_t>(rng, {500, 2000, 60'000});
  s.max_inflight_entries = any_of<std::uint32_t>(rng, {1, 8, 32, 1024});
  s.snapshot_threshold_entries = any_of<std::uint32_t>(rng, {20, 60, 400, 8192});
  s.snapshot_threshold_bytes = any_of<std::uint64_t>(rng, {500, 64u << 20});
  s.snapshot_trailing_entries = any_of<std::uint32_t>(rng, {0, 5, 50, 2048});
  s.snapshot_trailing_bytes = any_of<std::uint64_t>(rng, {100, 16u << 20});
  s.message_bytes = any_of<std::uint64_t>(rng, {1, 64, 2u << 20});
  s.burst_bytes = any_of<std::uint64_t>(rng, {1, 512, 8u << 20});
  out.overlap_writes = rng.one_in(2);
  out.batch_max = any_of<std::uint64_t>(rng, {1, 4, 32});
  snapshots_fail_ = rng.one_in(2);
  if (mode_.crash) out.struck_one_in = any_of<std::uint64_t>(rng, {0, 2'000, 10'000});
  if (mode_.slow_disk || mode_.clock) out.paused_one_in = any_of<std::uint64_t>(rng, {0, 2'000});
  return out;
}

// --- what members tell their state machines

Index Trial::restarts(std::size_t i, Index) {
  State& state = states_[i];
  state.open.clear();
  state.by_command.clear();
  state.known.clear();
  state.changes.clear();
  // Its database is not synced with every entry: after a power cut it has an older state, and the log the rest.
  if (!world_.chance(500)) state.applied = {world_.rng().below(state.applied.value + 1)};
  return state.applied;
}

void Trial::on_committed(std::size_t i, const LedgerEntry& entry) {
  State& state = states_[i];
  state.applied = entry.index;
  if (refused_.count(entry.command) != 0) world_.violated("'" + entry.command + "' was refused and then applied");
  const auto mine = state.by_command.find(entry.command);
  if (mine == state.by_command.end()) return;
  const auto open = state.open.find(mine->second);
  if (entry.index <= open->second.floor) world_.violated("'" + entry.command + "' was put before what was known");
  acknowledged_[entry.command] = entry.index;
  highest_acknowledged_ = std::max(highest_acknowledged_, entry.index);
  ++report_.acknowledged;
  state.known.insert(open->first);
  state.open.erase(open);
  state.by_command.erase(mine);
}

void Trial::on_dropped(std::size_t i, CommandId id, Code code) {
  State& state = states_[i];
  const auto it = state.open.find(id);
  if (it == state.open.end()) {
    // A leader that lost its place and learns in the same breath that the entry was committed says both; the weaker
    // word changes nothing.
    if (code != Code::kMaybeApplied || state.known.erase(id) == 0) world_.violated("a command ended twice");
    return;
  }
  if (code == Code::kMaybeApplied) {
    ++report_.unknown;
  } else if (code == Code::kNotActive || code == Code::kBusy) {
    ++report_.refused;
    refused_.insert(it->second.command);
    if (raft_.oracle().index_of(it->second.command)) {
      world_.violated("'" + it->second.command + "' was applied and then refused");
    }
  } else {
    world_.violated("a command ended with a code that says nothing");
  }
  state.by_command.erase(it->second.command);
  state.open.erase(it);
}

void Trial::on_change_ended(std::size_t i, const RaftEnded& end) {
  if (states_[i].changes.erase(end.ticket) == 0) world_.violated("a change of the members ended twice");
  if (end.code == Code::kOk) ++report_.changes;
}

void Trial::install(std::size_t i, Index index, const std::any& state) {
  if (std::any_cast<Index>(state) != index) world_.violated("a snapshot contains another index than it says");
  states_[i].applied = index;
}

std::optional<std::pair<Index, std::any>> Trial::copy(std::size_t i) {
  if (snapshots_fail_ && world_.chance(250)) return std::nullopt;
  return std::pair<Index, std::any>{states_[i].applied, states_[i].applied};
}

// --- load and faults

void Trial::propose(std::size_t i, const std::vector<Bytes>& commands) {
  if (!raft_.up(i)) return;
  std::vector<RaftProposal> proposals;
  for (const Bytes& command : commands) {
    const CommandId id{i + 1, ++sequence_};
    states_[i].open[id] = {command, highest_acknowledged_};
    states_[i].by_command[command] = id;
    proposals.push_back({id, command});
    ++report_.proposed;
  }
  raft_.propose(i, std::move(proposals));
}

void Trial::load() {
  if (!loading_) return;
  Rng& rng = world_.rng();
  const auto leader = raft_.leader();
  const std::size_t target = leader && !rng.one_in(8) ? *leader : rng.below(raft_.size());
  std::vector<Bytes> commands;
  for (std::uint64_t n = 1 + rng.below(4); n > 0; --n) {
    commands.push_back("c" + std::to_string(++commands_) + Bytes(rng.below(rng.one_in(50) ? 3'000 : 40), '.'));
  }
  propose(target, commands);
  world_.in(world_.between(kMs, 50 * kMs), [this] { load(); });
}

void Trial::boot_later(std::size_t i, Nanos most) {
  if (rebooting_[i]) return;
  rebooting_[i] = true;
  world_.in(world_.between(kMs, world_.chance(700) ? most / 8 : most), [this, i] {
    rebooting_[i] = false;
    if (faults_ && mode_.disk_error && !flipped_[i] && world_.chance(50)) {
      const std::uint64_t bit = world_.rng().next();
      if (raft_.disk(i).flip(bit)) flipped_[i] = bit;
    }
    raft_.boot(i);
    if (flipped_[i]) {
      if (raft_.up(i)) world_.violated(raft_.address(i) + " started on a damaged log");
      raft_.disk(i).flip(*flipped_[i]);  // the folder comes back from where it was kept, as it was
      flipped_[i].reset();
      boot_later(i, 4 * kSecond);
    }
  });
}

void Trial::fault() {
  if (!faults_) return;
  Rng& rng = world_.rng();
  const std::size_t i = rng.below(raft_.size());
  const std::size_t j = rng.below(raft_.size());
  const auto span = [&](Nanos most) { return world_.between(kMs, world_.chance(700) ? most / 8 : most); };
  const std::size_t target = world_.chance(500) ? raft_.leader().value_or(i) : i;
  std::vector<int> kinds;
  if (mode_.crash) kinds.insert(kinds.end(), {0, 0, 1});
  if (mode_.partition) kinds.insert(kinds.end(), {2, 3, 4});
  if (mode_.network) kinds.insert(kinds.end(), {5, 6});
  if (mode_.disk_error) kinds.insert(kinds.end(), {7, 7});
  if (mode_.slow_disk) kinds.insert(kinds.end(), {8, 8});
  if (mode_.clock) kinds.insert(kinds.end(), {9, 9, 10});
  if (mode_.transfer) kinds.insert(kinds.end(), {11, 11});
  if (mode_.membership) kinds.insert(kinds.end(), {12, 12, 12});
  switch (kinds[rng.below(kinds.size())]) {
    case 0:
      raft_.crash(target);
      boot_later(target, 3 * kSecond);
      break;
    case 1:  // the power of all of them
      for (std::size_t k = 0; k < raft_.size(); ++k) {
        raft_.crash(k);
        boot_later(k, kSecond);
      }
      break;
    case 2:
      ++report_.partitions;
      net_.isolate(target, world_.now() + span(4 * kSecond));
      break;
    case 3:  // deaf or mute towards one
      ++report_.partitions;
      if (i != j) net_.cut(i, j, world_.now() + span(6 * kSecond));
      break;
    case 4:  // two sides
      ++report_.partitions;
      for (std::size_t a = 0, side = rng.next(), until = static_cast<std::size_t>(world_.now() + span(3 * kSecond));
           a < raft_.size(); ++a) {
        for (std::size_t b = 0; b < raft_.size(); ++b) {
          if (((side >> a) & 1) != ((side >> b) & 1)) net_.cut(a, b, static_cast<Nanos>(until));
        }
      }
      break;
    case 5:
      net_.weather.lost_per_mille = any_of<std::uint64_t>(rng, {0, 20, 200, 500});
      net_.weather.doubled_per_mille = any_of<std::uint64_t>(rng, {0, 20, 300});
      break;
    case 6:
      net_.weather.late_per_mille = any_of<std::uint64_t>(rng, {0, 50, 500});
      net_.weather.late_max = any_of<Nanos>(rng, {20 * kMs, 300 * kMs, 5 * kSecond});
      break;
    case 7: net_.fail_next_write(target, rng.one_in(2) ? DiskFault::kRefused : DiskFault::kSyncFailed); break;
    case 8:
      raft_.set_disk_pace(target, kMs, any_of<Nanos>(rng, {kMs, 60 * kMs, 400 * kMs}));
      if (rng.one_in(4) && raft_.up(i)) {
        raft_.hold_disk(i);
        world_.in(span(2 * kSecond), [this, i] { raft_.release_disk(i); });
      }
      break;
    case 9:
      ++report_.jumps;
      net_.jump_clock(target, world_.chance(800) ? span(10 * kSecond) : -span(kSecond));
      break;
    case 10: raft_.pause(target, span(3 * kSecond)); break;
    case 11: transfer(); break;
    default: change_members(); break;
  }
  world_.in(world_.between(20 * kMs, 800 * kMs), [this] { fault(); });
}

void Trial::transfer() {
  const auto leader = raft_.leader();
  if (!leader) return;
  ++report_.transfers;
  states_[*leader].changes.insert(++tickets_);
  raft_.ask(*leader, RaftTransfer{tickets_, raft_.number(world_.rng().below(raft_.size()))});
}

// Adds a new machine, or takes out whoever it may be; what must not be is for the driver to refuse.
void Trial::change_members() {
  const auto leader = raft_.leader();
  if (!leader) return;
  Rng& rng = world_.rng();
  retire_the_removed();
  std::size_t who = rng.below(raft_.size());
  const bool remove = rng.one_in(2);
  if (!remove && raft_.size() < 8) {
    who = raft_.add_machine();
    states_.resize(raft_.size());
    rebooting_.resize(raft_.size());
    flipped_.resize(raft_.size());
    raft_.boot(who);
  }
  if (states_[who].retired) return;
  states_[*leader].changes.insert(++tickets_);
  raft_.ask(*leader, RaftChange{tickets_, {raft_.number(who), raft_.address(who), RaftRole::kVoter}, remove});
}

// Whoever was a member and is none by the leader's committed configuration is switched off for good after a while.
void Trial::retire_the_removed() {
  const auto leader = raft_.leader();
  if (!leader) return;
  const RaftDriver& driver = raft_.driver(*leader);
  for (std::size_t i = 0; i < raft_.size(); ++i) {
    const bool was = !raft_.disk(i).image().log.empty() || raft_.disk(i).image().snapshot;
    if (!was || driver.member(raft_.number(i)) != nullptr || driver.commit_index() != driver.last_index()) continue;
    states_[i].retired = true;
  }
}

// --- the end

// By the newest configuration of the leader; everybody while there is none.
std::vector<std::size_t> Trial::members() const {
  std::vector<std::size_t> out;
  const auto leader = raft_.leader();
  for (std::size_t i = 0; i < raft_.size(); ++i) {
    if (!leader || raft_.driver(*leader).member(raft_.number(i)) != nullptr) out.push_back(i);
  }
  return out;
}

void Trial::calm(const std::vector<std::size_t>& those) {
  net_.weather = {};
  raft_.options().struck_one_in = raft_.options().paused_one_in = 0;
  for (const std::size_t i : those) {
    raft_.set_disk_pace(i, 50 * kMicrosecond, kMs);
    raft_.release_disk(i);
    net_.fail_next_write(i, DiskFault::kNone);
    if (!raft_.up(i)) raft_.boot(i);
  }
}

// Something written now reaches all of those, and with it everything that was ever acknowledged.
bool Trial::converges(const std::vector<std::size_t>& those) {
  const Nanos end = world_.now() + kConvergesWithin;
  std::vector<Bytes> written;
  Nanos next_try = world_.now();
  while (world_.now() < end && !world_.failed()) {
    world_.run_until(world_.now() + 10 * kMs);
    const auto leader = raft_.leader();
    if (leader && world_.now() >= next_try) {
      written.push_back("last" + std::to_string(++commands_));
      propose(*leader, {written.back()});
      next_try = world_.now() + kSecond;
    }
    const bool reached = std::any_of(written.begin(), written.end(),
                                     [&](const Bytes& w) { return raft_.oracle().index_of(w).has_value(); });
    const std::vector<std::size_t> wanted = mode_.membership ? members() : those;
    const bool all = std::all_of(wanted.begin(), wanted.end(), [&](std::size_t i) {
      return raft_.up(i) && states_[i].applied == raft_.oracle().last();
    });
    if (reached && all) return true;
  }
  return false;
}

// Who was taken out is waited for by nobody, but owes its clients their ends all the same. They come when its disk,
// perhaps a slow one with a long queue, has what is committed: it hands out nothing that it has not synced.
void Trial::let_disks_finish() {
  const auto busy = [&] {
    for (std::size_t i = 0; i < raft_.size(); ++i) {
      if (raft_.up(i) && raft_.disk(i).under_way() > 0) return true;
    }
    return false;
  };
  for (const Nanos end = world_.now() + 10 * kConvergesWithin; busy() && world_.now() < end && !world_.failed();) {
    world_.run_until(world_.now() + 10 * kMs);
  }
}

void Trial::check_end() {
  for (const auto& [command, index] : acknowledged_) {
    if (raft_.oracle().index_of(command) != index) world_.violated("acknowledged '" + command + "' is lost");
  }
  for (std::size_t i = 0; i < raft_.size(); ++i) {
    if (!states_[i].open.empty()) {
      world_.violated("'" + states_[i].open.begin()->second.command + "' never ended at " + raft_.address(i));
    }
    if (!states_[i].changes.empty()) world_.violated("a change of the members never ended at " + raft_.address(i));
  }
}

RaftTrialReport Trial::run() {
  for (std::size_t i = 0; i < raft_.size(); ++i) raft_.boot(i);
  world_.in(50 * kMs, [this] { load(); });
  world_.in(world_.between(300 * kMs, kSecond), [this] { fault(); });
  world_.run_until(kFaultsFor);

  faults_ = loading_ = false;
  // A random majority that hears one another, while the others are gone or talk into the void.
  std::vector<std::size_t> everybody, some;
  for (std::size_t i = 0; i < raft_.size(); ++i) everybody.push_back(i);
  some = everybody;
  while (!mode_.membership && some.size() > raft_.size() / 2 + 1)
    some.erase(some.begin() + static_cast<std::ptrdiff_t>(world_.rng().below(some.size())));
  net_.mend();
  for (const std::size_t i : everybody) {
    if (std::find(some.begin(), some.end(), i) != some.end()) continue;
    if (world_.chance(500)) raft_.crash(i);
    net_.isolate(i, kForever);
  }
  calm(some);
  if (!converges(some)) world_.violated("a majority that hears one another does not converge");
  if (!world_.failed()) {
    net_.mend();
    calm(everybody);
    if (!converges(everybody)) world_.violated("mended, the members do not converge");
    let_disks_finish();
    world_.run_until(world_.now() + kSecond);
    if (!world_.failed()) check_end();
  }

  report_.violation = world_.violation();
  report_.mode = &mode_;
  report_.trace_hash = world_.trace_hash();
  report_.events = world_.events();
  report_.terms = raft_.oracle().terms();
  const RaftWorld::Counts& counts = raft_.counts();
  report_.crashes = counts.crashes;
  report_.ended_by_disk = counts.ended_by_disk;
  report_.refused_to_load = counts.refused_to_load;
  report_.snapshots = counts.snapshots;
  report_.installs = counts.installs;
  report_.messages = counts.messages;
  report_.virtual_ns = world_.now();
  return report_;
}

}  // namespace

const std::vector<RaftMode>& raft_modes() { return kModes; }

void RaftTrialReport::add(const RaftTrialReport& other) {
  events += other.events;
  proposed += other.proposed;
  acknowledged += other.acknowledged;
  unknown += other.unknown;
  refused += other.refused;
  terms += other.terms;
  crashes += other.crashes;
  ended_by_disk += other.ended_by_disk;
  refused_to_load += other.refused_to_load;
  snapshots += other.snapshots;
  installs += other.installs;
  messages += other.messages;
  transfers += other.transfers;
  changes += other.changes;
  partitions += other.partitions;
  jumps += other.jumps;
  virtual_ns += other.virtual_ns;
}

RaftTrialReport run_raft_trial(std::uint64_t seed, bool verbose) { return Trial(seed, verbose).run(); }

}  // namespace tidelock::sim
