// A whole cluster of RaftDrivers in virtual time: one thread, one seed. Disks keep what was synced and lose the rest in
// a crash; the network delays, loses, doubles and cuts; clocks have their own offset and rate. After every step it
// checks: one leader per term, applied sequences that are prefixes of one another, nothing applied twice; at the end,
// that no acknowledged command is lost, that no refused one was applied, and that every command has ended (DESIGN 3.5,
// I7, I10, I12). Nodes beyond the first configuration start empty and become members by a change.
#include "ledger/raft/raft_driver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <queue>
#include <set>

#include "base/rng.h"
#include "codec/archive.h"

namespace tidelock {
namespace {

struct Applied {
  std::uint64_t index = 0;
  Bytes command;
  friend bool operator==(const Applied&, const Applied&) = default;
};

struct Profile {
  const char* why = "";
  int nodes = 3;
  int first_members = 0;  // of them; 0 = all
  bool changes = false;   // members come and go
  Nanos run = 15 * kSecond;
  bool crashes = false;
  bool partitions = false;
  std::uint64_t lose_one_in = 0;  // 0 = never
  Nanos disk_max = kMillisecond;
  double clock_rate_max = 0;  // each clock runs at 1 +- this
  std::uint32_t snapshot_every = 60;
};

class Cluster {
 public:
  Cluster(std::uint64_t seed, Profile profile)
      : rng_(seed), profile_(profile), nodes_(static_cast<std::size_t>(profile.nodes)) {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      servers_.push_back({100 + i, "hub-" + std::to_string(i), RaftRole::kVoter});
      nodes_[i].clock_offset = static_cast<Nanos>(rng_.below(1000)) * kSecond;
      const double unit = static_cast<double>(rng_.below(2001)) / 1000.0 - 1.0;
      nodes_[i].clock_rate = 1.0 + unit * profile_.clock_rate_max;
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) boot(i);
  }

  // --- driving ---
  void run_for(Nanos duration) {
    run_until(now_ + duration, [] { return false; });
  }
  template <class Done>
  bool run_until(Nanos end, Done done) {
    while (fault.empty() && !done()) {
      if (queue_.empty() || queue_.top().at > end) {
        now_ = end;
        return done();
      }
      Item item = queue_.top();
      queue_.pop();
      now_ = std::max(now_, item.at);
      item.action();
    }
    return fault.empty();
  }
  template <class Done>
  bool wait(Done done) {
    return run_until(now_ + 20 * kSecond, done);
  }
  void random_load_and_faults() {
    const Nanos end = now_ + profile_.run;
    schedule_load(end);
    if (profile_.crashes || profile_.partitions) schedule_faults(end);
    if (profile_.changes) schedule_changes(end);
    run_until(end, [] { return false; });
    heal();
    // I10: everybody converges, and a command written now reaches all.
    const Bytes last = "last";
    Nanos next_try = 0;
    const bool ok = run_until(now_ + 30 * kSecond, [&] {
      const int leader = the_leader();
      if (leader >= 0 && now_ >= next_try && !canonical_has(last)) {
        propose(static_cast<std::size_t>(leader), {last});
        next_try = now_ + kSecond;
      }
      for (std::size_t i = 0; i < nodes_.size(); ++i) {
        const Node& n = nodes_[i];
        if (!is_member(i)) continue;
        if (n.state.empty() || n.state.back().command != last || n.state.size() != canonical_.size()) return false;
      }
      return leader >= 0;
    });
    if (fault.empty() && !ok) fault = "the cluster did not converge after faults stopped:" + describe();
    run_for(2 * kSecond);
    if (fault.empty()) check_end();
  }

  void propose(std::size_t i, const std::vector<Bytes>& commands) {
    Node& node = nodes_[i];
    if (!node.driver) return;
    RaftProposed event;
    for (const Bytes& command : commands) {
      const CommandId id{i + 1, ++next_id_};
      event.proposals.push_back({id, command});
      node.open[id] = command;
      ++proposals_;
    }
    step(i, std::move(event));
  }
  // Answers the ticket, whose outcome comes into `outcomes`.
  std::uint64_t change(std::size_t leader, std::size_t subject, RaftRole role, bool remove = false) {
    RaftServer server = servers_[subject];
    server.role = role;
    return change(leader, server, remove);
  }
  std::uint64_t change(std::size_t leader, const RaftServer& server, bool remove = false) {
    step(leader, RaftChange{++last_ticket_, server, remove});
    return last_ticket_;
  }
  std::uint64_t add(std::size_t leader, std::size_t subject) { return change(leader, subject, RaftRole::kVoter); }
  std::uint64_t remove(std::size_t leader, std::size_t subject) {
    return change(leader, subject, RaftRole::kVoter, true);
  }
  std::uint64_t transfer(std::size_t leader, std::size_t to) {
    step(leader, RaftTransfer{++last_ticket_, servers_[to].number});
    return last_ticket_;
  }
  bool done(std::uint64_t ticket) {
    return wait([&] { return outcomes.count(ticket) != 0; }) && outcomes[ticket].code == Code::kOk;
  }
  std::size_t lead() {
    wait([&] { return the_leader() >= 0; });
    return static_cast<std::size_t>(the_leader());
  }
  std::string describe() const {
    std::string text;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const RaftDriver& d = *nodes_[i].driver;
      text += "\n  " + std::to_string(i) + (d.leading() ? " leads" : " follows ") + std::to_string(d.leader()) +
              ", term " + std::to_string(d.term()) + ", log " + std::to_string(d.first_index().value) + " to " +
              std::to_string(d.last_index().value) + ", commit " + std::to_string(d.commit_index().value) +
              ", applied " + std::to_string(d.applied().value) + ", members";
      for (const RaftServer& s : d.members()) {
        text += " " + s.address + "/" + std::to_string(static_cast<int>(s.role)) + "@" +
                std::to_string(d.leading() ? d.match(s.number).value : 0);
      }
    }
    return text;
  }
  // By the configuration of the newest leader; a spare gets nothing.
  bool is_member(std::size_t i) const {
    const int leader = the_leader();
    if (leader < 0) return false;
    const RaftServer* member = nodes_[static_cast<std::size_t>(leader)].driver->member(servers_[i].number);
    return member != nullptr && member->role != RaftRole::kSpare;
  }

  void crash(std::size_t i) {
    Node& node = nodes_[i];
    if (!node.driver) return;
    ++crashes;
    ++node.life;  // everything scheduled for the old life is void
    leader_changes_total += node.driver->leader_changes_total();
    node.driver.reset();
    node.writes.clear();
    node.open.clear();
    node.state.clear();
    node.snapshots.clear();
    note(i, "crash", {});
  }
  void boot(std::size_t i) {
    Node& node = nodes_[i];
    if (node.driver) return;
    node.driver = std::make_unique<RaftDriver>();
    node.state.clear();
    node.snapshots.clear();
    if (node.disk.snapshot) {
      node.state = node.disk.snapshot_state;
      node.snapshots[node.disk.snapshot->index] = node.state;
    }
    RaftDriverSettings settings;
    settings.number = servers_[i].number;
    settings.address = servers_[i].address;
    settings.seed = static_cast<std::uint32_t>(rng_.next());
    settings.snapshot_threshold_entries = profile_.snapshot_every;
    settings.snapshot_trailing_entries = profile_.snapshot_every / 4;
    settings.snapshot_install_timeout_ms = 2000;
    settings.max_inflight_entries = 32;
    settings.message_bytes = 64;
    settings.burst_bytes = 512;
    RaftLoaded loaded;
    loaded.vote = node.disk.vote;
    loaded.snapshot = node.disk.snapshot;
    loaded.first_index =
        node.disk.log.empty() ? (loaded.snapshot ? loaded.snapshot->index + 1 : 1) : node.disk.log.begin()->first;
    for (const auto& [index, entry] : node.disk.log) loaded.entries.push_back(entry);
    RaftActions actions;
    std::vector<RaftServer> bootstrap = servers_;
    if (profile_.first_members != 0) bootstrap.resize(static_cast<std::size_t>(profile_.first_members));
    if (i >= bootstrap.size()) bootstrap.clear();  // waits to be told by a leader
    const auto started = node.driver->start(settings, std::move(loaded), bootstrap, local(node, now_), actions);
    if (!started) {
      fault = "start of " + std::to_string(i) + ": " + started.error().message;
      return;
    }
    perform(i, std::move(actions));
  }
  void isolate(std::size_t i) {
    for (std::size_t j = 0; j < nodes_.size(); ++j) {
      if (j != i) cut(i, j);
    }
  }
  void cut(std::size_t a, std::size_t b) { cuts_.insert({std::min(a, b), std::max(a, b)}); }
  void heal() {
    cuts_.clear();
    profile_.lose_one_in = 0;
    profile_.disk_max = kMillisecond;
    calm_ = true;
    for (std::size_t i = 0; i < nodes_.size(); ++i) boot(i);
  }
  void join_again() { cuts_.clear(); }

  // --- looking ---
  int the_leader() const {
    int found = -1;
    std::uint64_t term = 0;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const Node& n = nodes_[i];
      if (n.driver && n.driver->leading() && n.driver->term() > term) {
        found = static_cast<int>(i);
        term = n.driver->term();
      }
    }
    return found;
  }
  RaftDriver& driver(std::size_t i) { return *nodes_[i].driver; }
  const std::vector<Applied>& state(std::size_t i) const { return nodes_[i].state; }
  bool has(std::size_t i, const Bytes& command) const {
    return std::any_of(nodes_[i].state.begin(), nodes_[i].state.end(),
                       [&](const Applied& a) { return a.command == command; });
  }
  bool everybody_has(const Bytes& command) const {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (is_member(i) && !has(i, command)) return false;
    }
    return the_leader() >= 0;
  }
  bool canonical_has(const Bytes& command) const {
    return std::any_of(canonical_.begin(), canonical_.end(), [&](const Applied& a) { return a.command == command; });
  }

  std::string fault;  // the first violation
  std::uint64_t trace = 0;
  int crashes = 0, installs = 0, snapshots_taken = 0, changes_done = 0;
  std::uint64_t leader_changes_total = 0;
  std::map<Bytes, Code> ended;  // last outcome that was not "committed"
  std::set<Bytes> acknowledged;
  std::map<std::uint64_t, RaftEnded> outcomes;

 private:
  struct QueuedWrite {
    RaftPersist persist;
    std::uint64_t no;
  };
  struct Disk {
    RaftVote vote;
    std::map<std::uint64_t, RaftEntry> log;
    std::optional<RaftSnapshotMeta> snapshot;
    std::vector<Applied> snapshot_state;
  };
  struct Node {
    std::unique_ptr<RaftDriver> driver;
    int life = 0;
    Disk disk;
    std::deque<QueuedWrite> writes;
    std::vector<Applied> state;
    std::map<std::uint64_t, std::vector<Applied>> snapshots;
    std::map<CommandId, Bytes> open;  // proposed here and not ended
    Nanos clock_offset = 0;
    double clock_rate = 1;
    std::uint64_t wake_no = 0;
  };
  struct Item {
    Nanos at;
    std::uint64_t no;
    std::function<void()> action;
    bool operator<(const Item& o) const { return std::tie(o.at, o.no) < std::tie(at, no); }
  };

  Nanos local(const Node& n, Nanos t) const {
    return n.clock_offset + static_cast<Nanos>(static_cast<double>(t) * n.clock_rate);
  }
  Nanos global(const Node& n, Nanos t) const {
    return static_cast<Nanos>(static_cast<double>(t - n.clock_offset) / n.clock_rate) + 1000;
  }
  void at(Nanos when, std::function<void()> action) { queue_.push({when, ++item_no_, std::move(action)}); }
  void note(std::size_t i, const char* what, BytesView bytes) {
    trace = hash64(std::to_string(trace) + "|" + std::to_string(now_) + "|" + std::to_string(i) + what + Bytes(bytes));
  }
  Nanos jitter(Nanos low, Nanos high) {
    return low + static_cast<Nanos>(rng_.below(static_cast<std::uint64_t>(high - low)));
  }

  template <class What>
  void step(std::size_t i, What what) {
    Node& node = nodes_[i];
    if (!node.driver || !fault.empty()) return;
    RaftActions actions;
    node.driver->step(RaftEvent{local(node, now_), std::move(what)}, actions);
    perform(i, std::move(actions));
  }

  void apply_to_disk(Node& node, const RaftPersist& p) {
    Disk& disk = node.disk;
    if (p.vote) disk.vote = *p.vote;
    for (const RaftAppend& append : p.appends) {
      disk.log.erase(disk.log.lower_bound(append.first), disk.log.end());
      for (std::size_t k = 0; k < append.entries.size(); ++k) disk.log[append.first + k] = append.entries[k];
    }
    if (p.reset_log) disk.log.clear();
    if (p.snapshot) {
      disk.snapshot = p.snapshot;
      disk.snapshot_state = node.snapshots[p.snapshot->index];
    }
    if (p.first_kept > 0) disk.log.erase(disk.log.begin(), disk.log.lower_bound(p.first_kept));
  }

  void perform(std::size_t i, RaftActions actions) {
    Node& node = nodes_[i];
    if (actions.failed) {
      fault = "node " + std::to_string(i) + " failed: " + actions.failed->message;
      return;
    }
    check_leader(i);
    const int life = node.life;
    // A crash may strike between any two of the actions.
    const auto struck = [&] {
      if (calm_ || !profile_.crashes || !rng_.one_in(4000)) return false;
      crash(i);
      at(now_ + jitter(10 * kMillisecond, 800 * kMillisecond), [this, i] { boot(i); });
      return true;
    };
    if (struck()) return;
    std::uint64_t persisted_now = 0;
    if (actions.persist_first) {
      for (const QueuedWrite& w : node.writes) {
        apply_to_disk(node, w.persist);
        persisted_now = std::max(persisted_now, w.no);
      }
      node.writes.clear();
      apply_to_disk(node, actions.persist);
      persisted_now = std::max(persisted_now, actions.persist_no);
      if (struck()) return;
    }
    for (RaftSend& s : actions.send) send(i, s.to, std::move(s.message), {}, 0);
    for (RaftSnapshotSend& s : actions.snapshot_send) {
      if (node.snapshots.count(s.index.value) == 0) {
        fault = "asked to ship a snapshot that was never made";
        return;
      }
      send(i, s.to, std::move(s.message), node.snapshots[s.index.value], s.index.value);
    }
    if (struck()) return;
    if (!actions.persist_first && !actions.persist.empty()) {
      node.writes.push_back({actions.persist, actions.persist_no});
      const Nanos latency = jitter(50 * kMicrosecond, profile_.disk_max);
      disk_free_[i] = std::max(disk_free_[i], now_) + latency;
      at(disk_free_[i], [this, i, life] { write_done(i, life); });
    }
    for (const LedgerEntry& e : actions.committed) apply(i, e);
    for (const auto& [id, code] : actions.dropped) {
      const auto it = node.open.find(id);
      if (it == node.open.end()) {
        fault = "a command ended twice";
        return;
      }
      ended[it->second] = code;
      if (code == Code::kNotActive) refused_.insert(it->second);
      node.open.erase(it);
    }
    for (const RaftEnded& e : actions.ended) {
      if (!outcomes.emplace(e.ticket, e).second) fault = "a change ended twice";
      changes_done += e.code == Code::kOk ? 1 : 0;
    }
    if (actions.take_snapshot) {
      const std::uint64_t index = node.driver->applied().value;
      node.snapshots[index] = node.state;
      at(now_ + jitter(kMillisecond, 20 * kMillisecond), [this, i, life, index] {
        if (nodes_[i].life != life || !nodes_[i].driver) return;
        ++snapshots_taken;
        if (rng_.one_in(10)) {
          step(i, RaftSnapshotFailed{});
        } else {
          step(i, RaftSnapshotTaken{Index{index}, ""});
        }
      });
    }
    if (actions.install) {
      const RaftSnapshotMeta meta = *actions.install;
      at(now_ + jitter(kMillisecond, 50 * kMillisecond), [this, i, life, meta] { installed(i, life, meta); });
    }
    if (persisted_now > 0) step(i, RaftPersisted{persisted_now});
    if (nodes_[i].life == life) arm(i, actions.wake_at);
  }

  void arm(std::size_t i, Nanos wake_at) {
    Node& node = nodes_[i];
    if (wake_at == kForever || !node.driver) return;
    const std::uint64_t no = ++node.wake_no;
    const int life = node.life;
    at(std::max(global(node, wake_at), now_), [this, i, life, no] {
      if (nodes_[i].life == life && nodes_[i].wake_no == no) step(i, RaftTick{});
    });
  }

  void write_done(std::size_t i, int life) {
    Node& node = nodes_[i];
    if (node.life != life || node.writes.empty()) return;
    const QueuedWrite write = std::move(node.writes.front());
    node.writes.pop_front();
    apply_to_disk(node, write.persist);
    note(i, "disk", {});
    if (write.no > 0) step(i, RaftPersisted{write.no});
  }

  void installed(std::size_t i, int life, const RaftSnapshotMeta& meta) {
    Node& node = nodes_[i];
    if (node.life != life || !node.driver) return;
    for (const QueuedWrite& w : node.writes) apply_to_disk(node, w.persist);
    node.writes.clear();
    RaftPersist persist;
    persist.snapshot = meta;
    persist.reset_log = true;
    apply_to_disk(node, persist);
    node.state = node.snapshots[meta.index];
    for (std::size_t k = 0; k < node.state.size() && fault.empty(); ++k) check_prefix(i, k);
    ++installs;
    step(i, RaftSnapshotInstalled{});
  }

  void send(std::size_t from, std::uint64_t to_number, Bytes message, std::vector<Applied> files, std::uint64_t index) {
    const std::size_t to = to_number - 100;
    const int copies = rng_.one_in(50) ? 2 : 1;
    for (int c = 0; c < copies; ++c) {
      const bool lost = profile_.lose_one_in != 0 && rng_.one_in(profile_.lose_one_in);
      const Nanos delay = jitter(100 * kMicrosecond, rng_.one_in(20) ? 30 * kMillisecond : 2 * kMillisecond);
      if (lost) continue;
      at(now_ + delay, [this, from, to, message, files, index] {
        Node& node = nodes_[to];
        if (!node.driver || cuts_.count({std::min(from, to), std::max(from, to)}) != 0) return;
        note(to, "recv", message);
        if (index > 0 && node.snapshots.count(index) == 0) node.snapshots[index] = files;
        step(to, RaftReceived{100 + from, message});
      });
    }
  }

  void check_leader(std::size_t i) {
    const RaftDriver& d = *nodes_[i].driver;
    if (!d.leading()) return;
    const auto [it, fresh] = leaders_.emplace(d.term(), i);
    if (!fresh && it->second != i) fault = "two leaders in term " + std::to_string(d.term());
  }

  void check_prefix(std::size_t i, std::size_t k) {
    const Applied& a = nodes_[i].state[k];
    if (k < canonical_.size()) {
      if (!(canonical_[k] == a)) {
        fault = "node " + std::to_string(i) + " applied '" + a.command + "' at " + std::to_string(a.index) +
                ", others '" + canonical_[k].command + "' at " + std::to_string(canonical_[k].index);
      }
      return;
    }
    if (!canonical_.empty() && canonical_.back().index >= a.index) fault = "indexes do not rise";
    if (!once_.insert(a.command).second && a.command != "last") fault = "'" + a.command + "' was applied twice";
    if (refused_.count(a.command) != 0 && a.command != "last") fault = "'" + a.command + "' was refused and applied";
    canonical_.push_back(a);
  }

  void apply(std::size_t i, const LedgerEntry& entry) {
    Node& node = nodes_[i];
    node.state.push_back({entry.index.value, entry.command});
    check_prefix(i, node.state.size() - 1);
    const auto it =
        std::find_if(node.open.begin(), node.open.end(), [&](const auto& o) { return o.second == entry.command; });
    if (it != node.open.end()) {
      acknowledged.insert(entry.command);
      node.open.erase(it);
    }
  }

  void check_end() {
    for (const Bytes& command : acknowledged) {
      if (!everybody_has(command)) fault = "acknowledged '" + command + "' is lost";
    }
    for (const Bytes& command : refused_) {
      if (canonical_has(command) && command != "last") fault = "refused '" + command + "' was applied";
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_[i].open.empty()) fault = "a command on node " + std::to_string(i) + " never ended";
      leader_changes_total += nodes_[i].driver->leader_changes_total();
    }
  }

  void schedule_load(Nanos end) {
    at(now_ + jitter(kMillisecond, 40 * kMillisecond), [this, end] {
      if (now_ >= end) return;
      const int leader = the_leader();
      const std::size_t target =
          leader >= 0 && !rng_.one_in(8) ? static_cast<std::size_t>(leader) : rng_.below(nodes_.size());
      std::vector<Bytes> commands;
      for (std::uint64_t n = 1 + rng_.below(4); n > 0; --n) {
        commands.push_back("c" + std::to_string(++command_no_) + Bytes(rng_.below(40), '.'));
      }
      propose(target, commands);
      schedule_load(end);
    });
  }

  void schedule_changes(Nanos end) {
    at(now_ + jitter(100 * kMillisecond, 900 * kMillisecond), [this, end] {
      if (now_ >= end) return;
      const int leader = the_leader();
      if (leader >= 0) {
        const auto at_leader = static_cast<std::size_t>(leader);
        const std::size_t subject = rng_.below(nodes_.size());
        switch (rng_.below(4)) {
          case 0: transfer(at_leader, subject); break;
          case 1: change(at_leader, subject, static_cast<RaftRole>(rng_.below(3))); break;
          default:
            if (is_member(subject)) {
              remove(at_leader, subject);
            } else {
              add(at_leader, subject);
            }
        }
      }
      schedule_changes(end);
    });
  }

  void schedule_faults(Nanos end) {
    at(now_ + jitter(200 * kMillisecond, 1500 * kMillisecond), [this, end] {
      if (now_ >= end) return;
      const std::size_t victim = rng_.below(nodes_.size());
      if (profile_.crashes && rng_.one_in(2)) {
        crash(victim);
        at(now_ + jitter(10 * kMillisecond, 2 * kSecond), [this, victim] { boot(victim); });
      } else if (profile_.partitions) {
        if (rng_.one_in(3)) {
          cut(victim, rng_.below(nodes_.size()));
        } else {
          isolate(victim);
        }
        at(now_ + jitter(100 * kMillisecond, 2 * kSecond), [this] { cuts_.clear(); });
      }
      schedule_faults(end);
    });
  }

  Rng rng_;
  Profile profile_;
  std::vector<RaftServer> servers_;
  std::vector<Node> nodes_;
  std::map<std::size_t, Nanos> disk_free_;
  std::priority_queue<Item> queue_;
  std::uint64_t item_no_ = 0;
  Nanos now_ = 0;
  bool calm_ = false;
  std::set<std::pair<std::size_t, std::size_t>> cuts_;
  std::uint64_t next_id_ = 0, command_no_ = 0, proposals_ = 0, last_ticket_ = 0;
  std::map<std::uint64_t, std::size_t> leaders_;
  std::vector<Applied> canonical_;
  std::set<Bytes> once_, refused_;
};

const Profile kProfiles[] = {
    {.why = "nothing goes wrong", .nodes = 3, .run = 5 * kSecond},
    {.why = "loss", .nodes = 3, .run = 5 * kSecond, .lose_one_in = 10},
    {.why = "crashes", .nodes = 3, .crashes = true},
    {.why = "partitions", .nodes = 3, .partitions = true},
    {.why = "all of it", .nodes = 3, .crashes = true, .partitions = true, .lose_one_in = 20, .clock_rate_max = 0.05},
    {.why = "all of it, five",
     .nodes = 5,
     .crashes = true,
     .partitions = true,
     .lose_one_in = 20,
     .clock_rate_max = 0.05},
    {.why = "slow disk", .nodes = 3, .crashes = true, .partitions = true, .disk_max = 60 * kMillisecond},
    {.why = "rare snapshots", .nodes = 3, .crashes = true, .partitions = true, .snapshot_every = 400},
};

// TIDELOCK_RAFT_SEEDS=1000 makes a long sweep of it.
std::uint64_t seeds_per_profile() {
  const char* wanted = std::getenv("TIDELOCK_RAFT_SEEDS");
  return wanted == nullptr ? 30 : std::max<std::uint64_t>(30, std::strtoull(wanted, nullptr, 10));
}

TEST(RaftCluster, KeepsItsPromisesUnderRandomFaults) {  // I7, I10, I11
  int crashes = 0, installs = 0, snapshots = 0;
  std::size_t acknowledged = 0;
  for (const Profile& profile : kProfiles) {
    for (std::uint64_t seed = 1; seed <= seeds_per_profile(); ++seed) {
      Cluster cluster(seed, profile);
      cluster.random_load_and_faults();
      ASSERT_EQ(cluster.fault, "") << profile.why << ", seed " << seed;
      ASSERT_GT(cluster.acknowledged.size(), 20u) << profile.why << ", seed " << seed;
      crashes += cluster.crashes;
      installs += cluster.installs;
      snapshots += cluster.snapshots_taken;
      acknowledged += cluster.acknowledged.size();
    }
  }
  // The faults did happen: a sweep that exercises nothing proves nothing.
  EXPECT_GT(crashes, 500);
  EXPECT_GT(installs, 50);
  EXPECT_GT(snapshots, 500);
  EXPECT_GT(acknowledged, 20'000u);
}

// Found by KeepTheirPromisesWhileTheyComeAndGo: 0.22.1 lets an only voter lead in the term that it already has.
TEST(RaftDriver, AnOnlyVoterLeadsInATermOfItsOwn) {
  const Bytes alone = encode_configuration({{1, "a", RaftRole::kVoter}, {2, "b", RaftRole::kStandby}});
  RaftLoaded loaded;
  loaded.vote = {5, 2};  // in term 5 it has voted for another
  loaded.entries = {{1, RaftEntryType::kChange, alone}, {5, RaftEntryType::kCommand, "x"}};
  RaftDriver driver;
  RaftActions out;
  RaftDriverSettings settings;
  settings.number = 1;
  settings.address = "a";
  ASSERT_TRUE(driver.start(settings, loaded, {}, 0, out));
  EXPECT_TRUE(driver.leading());
  EXPECT_EQ(driver.term(), 6u);
  EXPECT_TRUE(out.persist_first);
  ASSERT_TRUE(out.persist.vote);
  EXPECT_EQ(*out.persist.vote, (RaftVote{6, 1}));
}

TEST(RaftCluster, SameSeedGivesTheSameTrace) {  // I12
  for (const Profile& profile : {kProfiles[4], kProfiles[6]}) {
    std::uint64_t traces[2];
    for (std::uint64_t& trace : traces) {
      Cluster cluster(7, profile);
      cluster.random_load_and_faults();
      ASSERT_EQ(cluster.fault, "");
      trace = cluster.trace;
    }
    EXPECT_EQ(traces[0], traces[1]) << profile.why;
    Cluster other(8, profile);
    other.random_load_and_faults();
    EXPECT_NE(other.trace, traces[0]) << "the hash must tell runs apart";
  }
}

// RAFT 4: libraft 0.15 acknowledged a write with one copy on disk in exactly this story.
TEST(RaftCluster, AnOldLeaderWithUnreplicatedEntriesLosesThemAndOnlyThem) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Cluster cluster(seed, {.nodes = 3});
    ASSERT_TRUE(cluster.wait([&] { return cluster.the_leader() >= 0; }));
    const auto old = static_cast<std::size_t>(cluster.the_leader());
    cluster.propose(old, {"before"});
    ASSERT_TRUE(cluster.wait([&] { return cluster.everybody_has("before"); })) << cluster.fault;
    cluster.isolate(old);
    cluster.propose(old, {"lost-1", "lost-2", "lost-3"});
    cluster.run_for(50 * kMillisecond);  // on its disk, and on no other
    cluster.crash(old);
    ASSERT_TRUE(cluster.wait([&] { return cluster.the_leader() >= 0; }));
    cluster.boot(old);
    cluster.join_again();
    const auto leader = static_cast<std::size_t>(cluster.the_leader());
    cluster.propose(leader, {"after"});
    ASSERT_TRUE(cluster.wait([&] { return cluster.everybody_has("after"); })) << "seed " << seed << cluster.fault;
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_FALSE(cluster.has(i, "lost-1")) << "seed " << seed;
      ASSERT_EQ(cluster.state(i).size(), 2u);
    }
    EXPECT_EQ(cluster.fault, "");
  }
}

TEST(RaftCluster, ALeaderThatLosesItsPlaceEndsItsCommandsUnknown) {
  Cluster cluster(3, {.nodes = 3});
  ASSERT_TRUE(cluster.wait([&] { return cluster.the_leader() >= 0; }));
  const auto leader = static_cast<std::size_t>(cluster.the_leader());
  cluster.isolate(leader);
  cluster.propose(leader, {"in the air"});
  EXPECT_EQ(cluster.driver(leader).pending(), 1u);
  ASSERT_TRUE(cluster.wait([&] { return cluster.ended.count("in the air") != 0; })) << cluster.fault;
  EXPECT_EQ(cluster.ended["in the air"], Code::kMaybeApplied);
  EXPECT_EQ(cluster.driver(leader).pending(), 0u);
  EXPECT_FALSE(cluster.driver(leader).leading());
  cluster.propose(leader, {"never entered"});
  EXPECT_EQ(cluster.ended["never entered"], Code::kNotActive);
  cluster.join_again();
  cluster.run_for(5 * kSecond);
  EXPECT_EQ(cluster.fault, "");
  EXPECT_FALSE(cluster.canonical_has("never entered"));
}

TEST(RaftCluster, AFollowerFarBehindCatchesUpBySnapshotWithoutAnElection) {
  Cluster cluster(5, {.nodes = 3, .snapshot_every = 40});
  ASSERT_TRUE(cluster.wait([&] { return cluster.the_leader() >= 0; }));
  const auto leader = static_cast<std::size_t>(cluster.the_leader());
  const std::size_t behind = (leader + 1) % 3;
  cluster.isolate(behind);
  for (int i = 0; i < 200; ++i) {
    cluster.propose(leader, {"w" + std::to_string(i)});
    cluster.run_for(5 * kMillisecond);
  }
  EXPECT_GT(cluster.driver(leader).first_index().value, 100u) << "the log is trimmed behind a snapshot";
  const std::uint64_t term = cluster.driver(leader).term();
  cluster.join_again();
  ASSERT_TRUE(cluster.wait([&] { return cluster.has(behind, "w199"); })) << cluster.fault;
  EXPECT_GE(cluster.installs, 1);
  EXPECT_EQ(cluster.driver(leader).term(), term) << "pre-vote: a returning member deposes nobody";
  EXPECT_EQ(cluster.state(behind), cluster.state(leader));
}

// --- members
// -------------------------------------------------------------------------------------------------------------

TEST(RaftMembers, ComeByLogOrBySnapshotAndTakeOver) {  // I7
  for (const int written : {3, 200}) {                 // 200 entries are behind a snapshot by then
    Cluster cluster(7, {.nodes = 5, .first_members = 3, .snapshot_every = 40});
    const std::size_t leader = cluster.lead();
    for (int i = 0; i < written; ++i) {
      cluster.propose(leader, {"w" + std::to_string(i)});
      cluster.run_for(5 * kMillisecond);
    }
    for (const std::size_t joiner : {3u, 4u}) {
      ASSERT_TRUE(cluster.done(cluster.add(leader, joiner))) << cluster.fault;
      const RaftServer* member = cluster.driver(leader).member(100 + joiner);
      ASSERT_NE(member, nullptr);
      EXPECT_EQ(member->role, RaftRole::kVoter);
    }
    EXPECT_EQ(cluster.installs > 0, written == 200) << "by snapshot when the log does not reach back";
    ASSERT_TRUE(cluster.wait([&] { return cluster.state(3).size() == static_cast<std::size_t>(written); }));
    EXPECT_EQ(cluster.state(3), cluster.state(leader));
    // Two of the first three die: those who came are now needed for the majority, and are enough.
    cluster.crash(leader);
    cluster.crash((leader + 1) % 3);
    const std::size_t next = cluster.lead();
    cluster.propose(next, {"after"});
    EXPECT_TRUE(cluster.wait([&] { return cluster.has(3, "after") && cluster.has(4, "after"); })) << cluster.fault;
    EXPECT_EQ(cluster.fault, "");
  }
}

TEST(RaftMembers, KeepTheirPromisesWhileTheyComeAndGo) {  // I7, I10
  const Profile profiles[] = {
      {.why = "changes", .nodes = 5, .first_members = 3, .changes = true, .lose_one_in = 50},
      {.why = "changes and crashes", .nodes = 5, .first_members = 3, .changes = true, .crashes = true},
      {.why = "all of it, from one",
       .nodes = 4,
       .first_members = 1,
       .changes = true,
       .crashes = true,
       .partitions = true,
       .lose_one_in = 20,
       .clock_rate_max = 0.05},
      {.why = "all of it",
       .nodes = 5,
       .first_members = 3,
       .changes = true,
       .crashes = true,
       .partitions = true,
       .lose_one_in = 20,
       .disk_max = 20 * kMillisecond,
       .clock_rate_max = 0.05},
  };
  int changes = 0;
  for (const Profile& profile : profiles) {
    for (std::uint64_t seed = 1; seed <= seeds_per_profile() / 2; ++seed) {
      Cluster cluster(seed, profile);
      cluster.random_load_and_faults();
      ASSERT_EQ(cluster.fault, "") << profile.why << ", seed " << seed;
      changes += cluster.changes_done;
    }
  }
  EXPECT_GT(changes, 500);
}

TEST(RaftMembers, ALeaderThatRemovesItselfLeavesOnceThatIsCommitted) {
  Cluster cluster(9, {.nodes = 3});
  const std::size_t leader = cluster.lead();
  cluster.propose(leader, {"before"});
  ASSERT_TRUE(cluster.wait([&] { return cluster.everybody_has("before"); }));
  ASSERT_TRUE(cluster.done(cluster.remove(leader, leader))) << cluster.fault;
  EXPECT_FALSE(cluster.driver(leader).leading());
  ASSERT_TRUE(cluster.wait(
      [&] { return cluster.the_leader() >= 0 && static_cast<std::size_t>(cluster.the_leader()) != leader; }));
  const std::size_t next = cluster.lead();
  cluster.propose(next, {"after"});
  ASSERT_TRUE(cluster.wait([&] { return cluster.everybody_has("after"); })) << cluster.fault;
  EXPECT_FALSE(cluster.has(leader, "after")) << "nothing is sent to who left";
  const std::uint64_t term = cluster.driver(next).term();
  cluster.run_for(5 * kSecond);
  EXPECT_EQ(cluster.driver(next).term(), term) << "and who left disturbs nobody";
  EXPECT_EQ(cluster.fault, "");
}

TEST(RaftMembers, ALeaderThatDiesInTheMiddleLeavesAChangeThatCanBeRepeated) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Cluster cluster(seed, {.nodes = 4, .first_members = 3, .snapshot_every = 40});
    const std::size_t leader = cluster.lead();
    for (int i = 0; i < 60; ++i) {
      cluster.propose(leader, {"w" + std::to_string(i)});
      cluster.run_for(2 * kMillisecond);
    }
    cluster.add(leader, 3);
    cluster.run_for(static_cast<Nanos>(seed) * kMillisecond / 2);  // another moment for each seed
    cluster.crash(leader);
    for (int attempt = 0; attempt < 20; ++attempt) {
      const std::uint64_t ticket = cluster.add(cluster.lead(), 3);
      if (cluster.done(ticket)) break;
      cluster.run_for(200 * kMillisecond);
    }
    const RaftServer* member = cluster.driver(cluster.lead()).member(103);
    ASSERT_NE(member, nullptr) << "seed " << seed << cluster.fault;
    EXPECT_EQ(member->role, RaftRole::kVoter) << "seed " << seed;
    cluster.boot(leader);
    cluster.propose(cluster.lead(), {"after"});
    ASSERT_TRUE(cluster.wait([&] { return cluster.everybody_has("after"); })) << "seed " << seed << cluster.fault;
  }
}

// Found by KeepTheirPromisesWhileTheyComeAndGo: the vote of a member that does not know yet that it has one.
TEST(RaftMembers, ALeaderThatDiesWithThePromotionOnItsDiskOnlyComesBack) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Cluster cluster(seed, {.nodes = 2, .first_members = 1});
    const std::size_t leader = cluster.lead();
    const std::uint64_t ticket = cluster.add(leader, 1);
    const auto promoted = [&] {
      return cluster.driver(leader).member(101) != nullptr &&
             cluster.driver(leader).member(101)->role == RaftRole::kVoter;
    };
    ASSERT_TRUE(cluster.wait(promoted)) << cluster.fault;
    cluster.cut(0, 1);
    cluster.run_for(5 * kMillisecond);  // on its disk, and on no other
    cluster.crash(leader);
    cluster.join_again();
    cluster.boot(leader);
    ASSERT_TRUE(cluster.wait([&] { return cluster.the_leader() >= 0; })) << "seed " << seed << cluster.describe();
    cluster.propose(cluster.lead(), {"after"});
    ASSERT_TRUE(cluster.wait([&] { return cluster.everybody_has("after"); })) << "seed " << seed << cluster.describe();
    EXPECT_EQ(cluster.outcomes.count(ticket), 0u);
    EXPECT_EQ(cluster.fault, "");
  }
}

TEST(RaftMembers, RefusesWhatWouldBreakTheMajorityAndSaysWhatWouldBeRight) {
  Cluster cluster(3, {.nodes = 5, .first_members = 3});
  const std::size_t leader = cluster.lead();
  const std::size_t other = (leader + 1) % 3, dead = (leader + 2) % 3;
  cluster.run_for(kSecond);
  cluster.crash(dead);
  cluster.run_for(2 * kSecond);
  const auto refused = [&](std::uint64_t ticket) {
    return cluster.outcomes.count(ticket) != 0 ? cluster.outcomes[ticket] : RaftEnded{};
  };
  RaftEnded end = refused(cluster.remove(leader, other));
  EXPECT_EQ(end.code, Code::kConflict);
  EXPECT_NE(end.message.find("hub-" + std::to_string(dead)), std::string::npos) << end.message;
  EXPECT_EQ(refused(cluster.remove(leader, 4)).code, Code::kNotFound);
  EXPECT_EQ(refused(cluster.remove(other, dead)).code, Code::kNotActive);
  EXPECT_EQ(refused(cluster.add(leader, other)).code, Code::kOk) << "it is one already";
  for (const RaftServer& nobody :
       {RaftServer{0, "hub-9", RaftRole::kVoter}, RaftServer{9, std::string(257, 'a'), RaftRole::kVoter},
        RaftServer{9, std::string(3, '\0'), RaftRole::kVoter}}) {
    end = refused(cluster.change(leader, nobody));
    EXPECT_EQ(end.code, Code::kInvalid);
    EXPECT_EQ(end.message, "member " + std::to_string(nobody.number) + " has an address of " +
                               std::to_string(nobody.address.size()) +
                               " bytes: want a number above 0 and at most 256 bytes, none zero");
  }
  // Nobody answers there: it becomes a standby, and holds nobody up. Meanwhile there is no second change.
  cluster.isolate(4);
  const std::uint64_t joining = cluster.add(leader, 4);
  cluster.run_for(kSecond);
  EXPECT_EQ(refused(cluster.add(leader, 3)).code, Code::kBusy);
  EXPECT_EQ(refused(cluster.transfer(leader, 4)).code, Code::kConflict) << "a standby cannot lead";
  cluster.propose(leader, {"goes on"});
  ASSERT_TRUE(cluster.wait([&] { return cluster.has(leader, "goes on"); }));
  ASSERT_TRUE(cluster.done(cluster.remove(leader, 4))) << "taking it out ends the adding";
  EXPECT_EQ(cluster.outcomes[joining].code, Code::kConflict);
  ASSERT_TRUE(cluster.done(cluster.remove(leader, dead))) << "a dead one may go while two of two answer";
  ASSERT_TRUE(cluster.done(cluster.remove(leader, other)));
  EXPECT_EQ(refused(cluster.remove(leader, leader)).code, Code::kConflict) << "the last voter stays";
  EXPECT_EQ(cluster.fault, "");
}

TEST(RaftMembers, ALeaderOfAMomentDoesNotCallSilentWhomItHasNotHeardYet) {
  Cluster cluster(3, {.nodes = 5});
  cluster.isolate(3);
  cluster.isolate(4);
  const std::size_t leader = cluster.lead();
  const std::size_t other = (leader + 1) % 3;
  const auto answer = [&](std::uint64_t ticket) {
    return cluster.outcomes.count(ticket) != 0 ? cluster.outcomes[ticket] : RaftEnded{};
  };
  EXPECT_EQ(answer(cluster.remove(leader, other)).code, Code::kBusy) << "two of the four may just be slow";
  cluster.run_for(kSecond);
  EXPECT_EQ(answer(cluster.remove(leader, other)).code, Code::kConflict) << "now they are silent";
  cluster.join_again();
  cluster.run_for(kSecond);
  EXPECT_TRUE(cluster.done(cluster.remove(leader, other)));
}

TEST(RaftMembers, AMemberThatDoesNotCatchUpStaysAStandby) {
  Cluster cluster(3, {.nodes = 4, .first_members = 3});
  const std::size_t leader = cluster.lead();
  cluster.isolate(3);
  const std::uint64_t ticket = cluster.add(leader, 3);
  cluster.run_for(61 * kSecond);
  ASSERT_EQ(cluster.outcomes.count(ticket), 1u);
  EXPECT_EQ(cluster.outcomes[ticket].code, Code::kUnavailable);
  EXPECT_EQ(cluster.driver(leader).member(103)->role, RaftRole::kStandby);
  cluster.join_again();
  ASSERT_TRUE(cluster.done(cluster.add(leader, 3))) << "repeating it goes on from there";
  EXPECT_EQ(cluster.driver(leader).member(103)->role, RaftRole::kVoter);
}

TEST(RaftMembers, ATransferMovesTheLeadershipAndLosesNothing) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Cluster cluster(seed, {.nodes = 3});
    const std::size_t leader = cluster.lead();
    const std::size_t to = (leader + 1) % 3;
    cluster.run_for(kSecond);
    for (int i = 0; i < 20; ++i) cluster.propose(leader, {"w" + std::to_string(i)});
    std::uint64_t moved = cluster.transfer(leader, to);
    // Given up when the network is slow just then; the leader goes on, and whoever asked may ask again.
    for (int attempt = 0; attempt < 5 && !cluster.done(moved); ++attempt) moved = cluster.transfer(leader, to);
    ASSERT_TRUE(cluster.done(moved)) << "seed " << seed << cluster.fault << cluster.outcomes[moved].message;
    ASSERT_TRUE(cluster.wait([&] { return cluster.driver(to).leading(); })) << "seed " << seed;
    cluster.propose(to, {"after"});
    ASSERT_TRUE(cluster.wait([&] { return cluster.everybody_has("after"); })) << "seed " << seed;
    for (const Bytes& command : cluster.acknowledged) EXPECT_TRUE(cluster.everybody_has(command));
    // To one that is down: given up after an election timeout, and commands go on here.
    cluster.crash(leader);
    const std::uint64_t ticket = cluster.transfer(to, leader);
    ASSERT_TRUE(cluster.wait([&] { return cluster.outcomes.count(ticket) != 0; }));
    EXPECT_EQ(cluster.outcomes[ticket].code, Code::kUnavailable) << "seed " << seed;
    cluster.propose(to, {"still here"});
    ASSERT_TRUE(cluster.wait([&] { return cluster.has(to, "still here"); })) << "seed " << seed;
  }
}

// --- one driver by hand
// --------------------------------------------------------------------------------------------------

RaftDriverSettings settings_of(std::uint64_t number) {
  RaftDriverSettings s;
  s.number = number;
  s.address = "hub-" + std::to_string(number);
  return s;
}

TEST(RaftDriver, AHubAloneLeadsAtOnceAndCommitsWhenItsDiskHasIt) {
  RaftDriver driver;
  RaftActions out;
  ASSERT_TRUE(driver.start(settings_of(1), {}, {{1, "a", RaftRole::kVoter}}, 0, out));
  EXPECT_TRUE(out.persist_first) << "the first configuration and term are synced before anything else";
  EXPECT_TRUE(driver.leading());
  ASSERT_TRUE(out.leadership.has_value());
  EXPECT_TRUE(out.leadership->leading);
  out = {};
  driver.step(RaftEvent{1, RaftProposed{{{{1, 1}, "x"}, {{1, 2}, "y"}}}}, out);
  ASSERT_EQ(out.persist.appends.size(), 1u) << "commands proposed together share one write";
  EXPECT_EQ(out.persist.appends[0].entries.size(), 2u);
  EXPECT_TRUE(out.committed.empty()) << "not before it is durable";
  const std::uint64_t no = out.persist_no;
  out = {};
  driver.step(RaftEvent{2, RaftPersisted{no}}, out);
  ASSERT_EQ(out.committed.size(), 2u);
  EXPECT_EQ(out.committed[0].command, "x");
  EXPECT_EQ(out.committed[1].index.value, out.committed[0].index.value + 1);
  EXPECT_EQ(driver.pending(), 0u);
}

// Two drivers of three, wired by hand: shows what is sent before and after a write.
TEST(RaftDriver, AFollowerAcknowledgesOnlyWhatItsDiskHas) {
  const std::vector<RaftServer> servers = {
      {1, "a", RaftRole::kVoter}, {2, "b", RaftRole::kVoter}, {3, "c", RaftRole::kVoter}};
  RaftDriver a, b;
  RaftActions out_a, out_b;
  ASSERT_TRUE(a.start(settings_of(1), {}, servers, 0, out_a));
  ASSERT_TRUE(b.start(settings_of(2), {}, servers, 0, out_b));
  Nanos now = out_a.wake_at;
  const auto pass = [&](RaftDriver& to, std::uint64_t from, std::uint64_t number, const RaftActions& sent,
                        RaftActions& got) {
    for (const RaftSend& s : sent.send) {
      if (s.to == number) to.step(RaftEvent{now, RaftReceived{from, s.message}}, got);
    }
  };
  out_a = {};
  for (int i = 0; i < 20 && !a.leading(); ++i) {  // pre-vote, vote, and the write of both
    a.step(RaftEvent{now, RaftTick{}}, out_a);
    out_b = {};
    pass(b, 1, 2, out_a, out_b);
    out_a = {};
    pass(a, 2, 1, out_b, out_a);
    now += 10 * kMillisecond;
  }
  ASSERT_TRUE(a.leading());
  RaftActions proposed;
  a.step(RaftEvent{now, RaftProposed{{{{1, 1}, "x"}}}}, proposed);
  proposed.send.insert(proposed.send.begin(), out_a.send.begin(), out_a.send.end());
  for (int i = 0; i < 5; ++i) {
    out_b = {};
    pass(b, 1, 2, proposed, out_b);
    if (out_b.persist_no != 0) break;
    proposed = {};
    now += 30 * kMillisecond;
    pass(a, 2, 1, out_b, proposed);
    a.step(RaftEvent{now, RaftTick{}}, proposed);
  }
  ASSERT_NE(out_b.persist_no, 0u);
  const std::size_t sent_before = out_b.send.size();
  RaftActions after;
  b.step(RaftEvent{now, RaftPersisted{out_b.persist_no}}, after);
  EXPECT_EQ(after.send.size(), 1u) << "the acknowledgement comes with the disk's answer";
  RaftActions early, late;
  for (std::size_t i = 0; i < sent_before; ++i) a.step(RaftEvent{now, RaftReceived{2, out_b.send[i].message}}, early);
  EXPECT_TRUE(early.committed.empty());
  // The leader's own disk has said nothing yet: two of three have it not before the leader has.
  a.step(RaftEvent{now, RaftReceived{2, after.send[0].message}}, late);
  EXPECT_TRUE(late.committed.empty());
  RaftActions done;
  a.step(RaftEvent{now, RaftPersisted{~0ull}}, done);
  ASSERT_EQ(done.committed.size(), 1u);
  EXPECT_EQ(done.committed[0].command, "x");
}

// Seed 5184 of the gates: the standby had just installed a snapshot, and no entry behind it.
TEST(RaftDriver, AStandbyWhoseLogIsAllInItsSnapshotVotesByIt) {
  const std::vector<RaftServer> servers = {{1, "a", RaftRole::kVoter}, {2, "b", RaftRole::kStandby}};
  RaftLoaded loaded;
  loaded.vote = {5, 0};
  loaded.snapshot = RaftSnapshotMeta{367, 4, 360, encode_configuration(servers), "snap"};
  loaded.first_index = 368;
  RaftDriverSettings settings = settings_of(2);
  settings.applied = {367};
  RaftDriver driver;
  RaftActions out;
  ASSERT_TRUE(driver.start(settings, loaded, {}, 0, out));
  const auto granted = [&](std::uint64_t at_term, std::uint64_t last_index, std::uint64_t last_term, bool pre_vote) {
    std::uint16_t version = 1;
    std::uint64_t from = 1, to = 2, alternative = 0;
    bool disrupt = false;
    Encoder asked;
    asked(version, from, to, alternative, at_term, last_index, last_term, disrupt, pre_vote);
    RaftActions got;
    driver.step(RaftEvent{kSecond, RaftReceived{1, asked.take()}}, got);
    if (got.send.size() != 1) return false;
    bool yes = false, answers_pre_vote = false;
    Decoder answer(got.send[0].message);
    answer(version, from, to, alternative, at_term, yes, answers_pre_vote);
    EXPECT_TRUE(answer.ok() && alternative == 1 && answers_pre_vote == pre_vote);
    return yes;
  };
  EXPECT_FALSE(granted(6, 366, 4, true)) << "behind its snapshot";
  EXPECT_FALSE(granted(6, 370, 3, true)) << "of an older term";
  EXPECT_TRUE(granted(6, 370, 5, true));
  EXPECT_FALSE(granted(6, 366, 4, false));
  EXPECT_TRUE(granted(6, 367, 4, false)) << "as far as its snapshot";
}

// Found by fuzzing: node 1 answered a message of node 1, to node 1.
TEST(RaftDriver, AMessageOfItsOwnNumberIsNone) {
  RaftDriver driver;
  RaftActions out;
  ASSERT_TRUE(driver.start(settings_of(2), {}, {{1, "a", RaftRole::kVoter}, {2, "b", RaftRole::kVoter}}, 0, out));
  for (const std::uint64_t from : {std::uint64_t{2}, std::uint64_t{1}}) {
    const std::uint16_t version = 1;
    const std::uint64_t to = 2, alternative = 0, term = 5, last_index = 9, last_term = 4;
    const bool disrupt = false, pre_vote = true;
    Encoder asked;
    asked(version, from, to, alternative, term, last_index, last_term, disrupt, pre_vote);
    RaftActions got;
    driver.step(RaftEvent{kSecond, RaftReceived{from, asked.take()}}, got);
    EXPECT_EQ(got.send.empty(), from == 2) << from;
    EXPECT_EQ(driver.malformed_total(), 1u);
  }
}

TEST(RaftDriver, StartRefusesAStoreThatContradictsItself) {
  const Bytes configuration = encode_configuration({{1, "a", RaftRole::kVoter}, {2, "b", RaftRole::kVoter}});
  const RaftEntry first{1, RaftEntryType::kChange, configuration};
  const auto loaded = [&](RaftVote vote, std::vector<RaftEntry> entries) {
    RaftLoaded out;
    out.vote = vote;
    out.entries = std::move(entries);
    return out;
  };
  RaftLoaded hole = loaded({3, 0}, {first});
  hole.snapshot = RaftSnapshotMeta{10, 1, 1, configuration, "snap"};
  struct Case {
    const char* why;
    RaftLoaded loaded;
    std::uint64_t applied;
    bool ok;
  };
  const Case cases[] = {
      {"a sound log", loaded({3, 0}, {first, {2, RaftEntryType::kCommand, "x"}}), 2, true},
      {"state machine ahead of the log", loaded({3, 0}, {first}), 2, false},
      {"falling terms", loaded({3, 0}, {first, {3, RaftEntryType::kCommand, "x"}, {2, RaftEntryType::kCommand, "y"}}),
       0, false},
      {"an entry above the stored term", loaded({1, 0}, {first, {2, RaftEntryType::kCommand, "x"}}), 0, false},
      {"first entry is no configuration", loaded({1, 0}, {{1, RaftEntryType::kCommand, "x"}}), 0, false},
      {"malformed configuration", loaded({1, 0}, {{1, RaftEntryType::kChange, "\1"}}), 0, false},
      {"log ends below its snapshot", hole, 0, false},
  };
  for (const Case& c : cases) {
    RaftDriver driver;
    RaftActions out;
    RaftDriverSettings s = settings_of(1);
    s.applied = {c.applied};
    const auto result = driver.start(s, c.loaded, {}, 0, out);
    EXPECT_EQ(result.has_value(), c.ok) << c.why;
    if (!result) {
      EXPECT_EQ(result.error().code, Code::kCorrupt) << c.why;
    }
  }
}

TEST(RaftConfiguration, RoundTripsAndRefusesHostileBytes) {
  const std::vector<RaftServer> servers = {{1, "hub-1:7400", RaftRole::kVoter}, {~0ull, "", RaftRole::kSpare}};
  const Bytes good = encode_configuration(servers);
  EXPECT_EQ(good.size() % 8, 0u);
  const auto back = decode_configuration(good);
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, servers);
  for (std::size_t n = 0; n < good.size() - 7; ++n)
    EXPECT_FALSE(decode_configuration(good.substr(0, n))) << "cut at " << n;
  const auto with = [&](std::size_t at, char c) {
    Bytes b = good;
    b[at] = c;
    return b;
  };
  struct Case {
    const char* why;
    Bytes bytes;
  };
  const Case cases[] = {
      {"version", with(0, 2)},
      {"no members", with(1, 0)},
      {"more members than bytes", with(1, 60)},
      {"absurd count", with(8, 1)},
      {"number 0", with(9, 0)},
      {"bytes after the end", good + Bytes(8, '\0')},
      {"padding that is not zero", with(good.size() - 1, 1)},
      {"same number twice", encode_configuration({{1, "a", RaftRole::kVoter}, {1, "b", RaftRole::kVoter}})},
      {"same address twice", encode_configuration({{1, "a", RaftRole::kVoter}, {2, "a", RaftRole::kVoter}})},
      {"address too long", encode_configuration({{1, Bytes(257, 'a'), RaftRole::kVoter}})},
  };
  for (const Case& c : cases) EXPECT_FALSE(decode_configuration(c.bytes)) << c.why;
}

// Whatever a peer sends, the driver survives: it drops it, or fails by saying so. Run under the address sanitizer too.
TEST(RaftDriver, SurvivesHostileBytes) {
  const std::vector<RaftServer> servers = {
      {1, "a", RaftRole::kVoter}, {2, "b", RaftRole::kVoter}, {3, "c", RaftRole::kVoter}};
  RaftDriver source;
  RaftActions seed_messages;
  ASSERT_TRUE(source.start(settings_of(2), {}, servers, 0, seed_messages));
  std::vector<Bytes> corpus;
  source.step(RaftEvent{seed_messages.wake_at, RaftTick{}}, seed_messages);
  for (const RaftSend& s : seed_messages.send) {
    if (s.to == 1) corpus.push_back(s.message);
  }
  {  // an append with entries, and an answer, written by hand in the archive's format
    Encoder e;
    std::uint16_t version = 0;
    std::uint64_t from = 2, to = 1, alternative = 2, term = 2, prev = 1, prev_term = 1, commit = 2, n = 2;
    RaftEntry command{2, RaftEntryType::kCommand, "payload"};
    RaftEntry change{2, RaftEntryType::kChange, encode_configuration(servers)};
    e(version, from, to, alternative, term, prev, prev_term, commit, n, command, change);
    corpus.push_back(e.take());
    Encoder r;
    alternative = 3;
    std::uint16_t features = 1, capacity = 0;
    r(version, from, to, alternative, term, prev, commit, features, capacity);
    corpus.push_back(r.take());
    Encoder s;
    alternative = 4;
    Bytes configuration = encode_configuration(servers);
    s(version, from, to, alternative, term, commit, prev_term, prev, configuration);
    corpus.push_back(s.take());
  }
  ASSERT_GE(corpus.size(), 4u);
  Rng rng(11);
  std::uint64_t malformed = 0;
  for (int round = 0; round < 300; ++round) {
    RaftDriver driver;
    RaftActions out;
    ASSERT_TRUE(driver.start(settings_of(1), {}, servers, 0, out));
    Nanos now = out.wake_at;
    bool alive = true;
    for (int i = 0; i < 60 && alive; ++i) {
      Bytes message = corpus[rng.below(corpus.size())];
      switch (rng.below(4)) {
        case 0: message.resize(rng.below(message.size() + 1)); break;
        case 1: message[rng.below(message.size())] = static_cast<char>(rng.next()); break;
        case 2:
          for (char& c : message) {
            if (rng.one_in(8)) c = static_cast<char>(rng.next());
          }
          break;
        default: break;
      }
      RaftActions got;
      driver.step(RaftEvent{now, RaftReceived{2, message}}, got);
      if (!got.failed && got.persist_no != 0 && rng.one_in(2))
        driver.step(RaftEvent{now, RaftPersisted{got.persist_no}}, got);
      if (!got.failed && got.install) driver.step(RaftEvent{now, RaftSnapshotInstalled{}}, got);
      now += static_cast<Nanos>(rng.below(40)) * kMillisecond;
      if (!got.failed) driver.step(RaftEvent{now, RaftTick{}}, got);
      alive = !got.failed.has_value();
    }
    malformed += driver.malformed_total();
  }
  EXPECT_GT(malformed, 1000u);
}

}  // namespace
}  // namespace tidelock
