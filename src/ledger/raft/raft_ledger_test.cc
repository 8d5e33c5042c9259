// Real ledgers in one process: real RocksDB in a temporary folder, real threads, real time; only the network is a
// function call, which can be cut. Nothing sleeps: conditions are awaited with a deadline.
#include "ledger/raft/raft_ledger.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <stdexcept>

#include "codec/archive.h"
#include "ledger/raft/raft_members.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

class SteadyClock : public Clock {
 public:
  Nanos now() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

// A listener with its state in memory: what was applied, in order.
class Machine : public LedgerListener {
 public:
  struct Saved {
    Index index;
    std::vector<std::pair<std::uint64_t, Bytes>> entries;
    template <class A>
    void fields(A& a) {
      a(index, entries);
    }
  };

  void on_committed(std::vector<LedgerEntry> entries) override {
    const std::lock_guard lock(mutex_);
    for (LedgerEntry& e : entries) {
      if (e.index <= state_.index) disorder_ = true;
      state_.index = e.index;
      state_.entries.emplace_back(e.index.value, std::move(e.command));
    }
    changed_.notify_all();
  }
  void on_dropped(CommandId id, Code code) override {
    const std::lock_guard lock(mutex_);
    dropped_[id] = code;
    changed_.notify_all();
  }
  void on_leadership(bool leading, NodeId leader) override {
    const std::lock_guard lock(mutex_);
    leading_ = leading;
    leader_ = std::move(leader);
    changed_.notify_all();
  }
  Result<void> on_install(const LedgerSnapshot& snapshot) override {
    std::ifstream in(snapshot.directory + "/deep/state", std::ios::binary);
    const Bytes bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    auto saved = decode<Saved>(bytes, "state");
    if (!saved) return fail(saved.error());
    if (fs::file_size(snapshot.directory + "/padding") != kPadding || !fs::exists(snapshot.directory + "/empty")) {
      return fail(Code::kCorrupt, "files of the snapshot are missing");
    }
    const std::lock_guard lock(mutex_);
    if (saved->index != snapshot.index) return fail(Code::kCorrupt, "another index");
    state_ = std::move(*saved);
    ++installs_;
    changed_.notify_all();
    return {};
  }
  Result<Index> on_snapshot(const std::string& directory) override {
    Saved saved;
    int trouble = 0;
    {
      const std::lock_guard lock(mutex_);
      saved = state_;
      trouble = snapshot_trouble_ > 0 ? snapshot_trouble_-- : 0;
    }
    if (trouble == 2) return fail(Code::kBusy, directory + ": no space left");
    if (trouble == 1) throw std::runtime_error("planted");
    fs::create_directories(directory + "/deep");
    std::ofstream(directory + "/deep/state", std::ios::binary) << encode(saved);
    std::ofstream(directory + "/padding", std::ios::binary) << Bytes(kPadding, 'p');  // several frames
    std::ofstream(directory + "/empty", std::ios::binary);
    return saved.index;
  }
  void on_failed(const Error& error) override {
    const std::lock_guard lock(mutex_);
    failures_.push_back(error);
    changed_.notify_all();
  }

  template <class Condition>
  bool wait(Condition condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return condition(*this); });
  }
  bool has(const Bytes& command) const {
    return std::any_of(state_.entries.begin(), state_.entries.end(),
                       [&](const auto& e) { return e.second == command; });
  }
  Saved copy() const {
    const std::lock_guard lock(mutex_);
    return state_;
  }

  static constexpr std::size_t kPadding = (9u << 20) + 17;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Saved state_;
  std::map<CommandId, Code> dropped_;
  std::vector<Error> failures_;
  bool leading_ = false, disorder_ = false;
  NodeId leader_;
  int installs_ = 0;
  int snapshot_trouble_ = 0;  // snapshots that fail first: the last of them throws
};

// Forwards to a real store, and fails from the moment it is told to.
class FailingKv : public Kv {
 public:
  explicit FailingKv(std::unique_ptr<Kv> kv) : kv_(std::move(kv)) {}
  Result<std::optional<Bytes>> get(const std::string& f, BytesView k) const override { return kv_->get(f, k); }
  Result<void> commit(const KvBatch& batch, Sync sync) override {
    if (fail_.load()) return fail(Code::kBusy, "/the/folder: write failed; free some space");
    if (throw_.load()) throw std::runtime_error("/the/folder: out of memory");
    return kv_->commit(batch, sync);
  }
  Result<void> sync() override { return kv_->sync(); }
  Result<void> scan(const std::string& f, BytesView b, BytesView e,
                    const std::function<bool(BytesView, BytesView)>& visit) const override {
    return kv_->scan(f, b, e, visit);
  }
  Result<std::optional<Bytes>> last_key(const std::string& f) const override { return kv_->last_key(f); }
  Result<void> export_family(const std::string& f, const std::string& d) override { return kv_->export_family(f, d); }
  Result<void> import_family(const std::string& f, const std::string& d) override { return kv_->import_family(f, d); }
  std::uint64_t approximate_bytes() const override { return kv_->approximate_bytes(); }
  std::atomic<bool> fail_{false}, throw_{false};

 private:
  std::unique_ptr<Kv> kv_;
};

class Net {
 public:
  void attach(const NodeId& id, RaftLedger* ledger) {
    const std::unique_lock lock(mutex_);
    if (ledger == nullptr) {
      ledgers_.erase(id);
    } else {
      ledgers_[id] = ledger;
    }
  }
  void cut(const NodeId& id, bool cut) {
    const std::unique_lock lock(mutex_);
    if (cut) {
      cut_.insert(id);
    } else {
      cut_.erase(id);
    }
  }
  void deliver(const NodeId& from, const NodeId& to, Bytes message) {
    const std::shared_lock lock(mutex_);
    const auto it = ledgers_.find(to);
    if (it == ledgers_.end() || cut_.count(from) != 0 || cut_.count(to) != 0) return;
    it->second->receive(from, std::move(message));
  }

 private:
  std::shared_mutex mutex_;
  std::map<NodeId, RaftLedger*> ledgers_;
  std::set<NodeId> cut_;
};

class Transport : public RaftTransport {
 public:
  Transport(Net& net, NodeId from) : net_(net), from_(std::move(from)) {}
  void send(const NodeId& peer, Bytes message) override { net_.deliver(from_, peer, std::move(message)); }

 private:
  Net& net_;
  const NodeId from_;
};

class RaftLedgerTest : public ::testing::Test {
 protected:
  struct Hub {
    NodeId id;
    std::unique_ptr<FailingKv> kv;
    std::unique_ptr<Transport> transport;
    std::unique_ptr<Machine> machine;
    std::unique_ptr<RaftLedger> ledger;
  };

  RaftLedgerTest() {
    std::string pattern = (fs::temp_directory_path() / "tidelock-raft-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~RaftLedgerTest() override {
    for (auto& [id, hub] : hubs_) stop(id);
    fs::remove_all(directory_);
  }
  RaftLedgerOptions options_of(const NodeId& id) {
    RaftLedgerOptions options = options_;
    options.id = id;
    for (const NodeId& m : members_) options.members.push_back({m, m + ":7400"});
    options.bootstrap = !joining_;
    options.directory = directory_ + "/" + id + "/snapshots";
    options.seed = ++starts_;
    return options;
  }
  Result<void> try_start(const NodeId& id) {
    Hub& hub = hubs_[id];
    hub.id = id;
    fs::create_directories(directory_ + "/" + id + "/snapshots");
    if (!hub.kv) {
      auto kv = Kv::open(directory_ + "/" + id + "/db", {kRaftLogFamily, kRaftStateFamily});
      if (!kv) return fail(kv.error());
      hub.kv = std::make_unique<FailingKv>(std::move(*kv));
    }
    hub.transport = std::make_unique<Transport>(net_, id);
    hub.machine = std::make_unique<Machine>();
    auto ledger = RaftLedger::open(options_of(id), *hub.kv, *hub.transport, *hub.machine, clock_);
    if (!ledger) {
      hub.kv.reset();
      return fail(ledger.error());
    }
    hub.ledger = std::move(*ledger);
    net_.attach(id, hub.ledger.get());
    return {};
  }
  void start(const NodeId& id) {
    const auto started = try_start(id);
    ASSERT_TRUE(started) << started.error().message;
  }
  void stop(const NodeId& id) {
    Hub& hub = hubs_[id];
    net_.attach(id, nullptr);
    if (hub.ledger) hub.ledger->stop();
    hub.ledger.reset();
    hub.kv.reset();
  }
  void start_three() {
    members_ = {"hub-1", "hub-2", "hub-3"};
    for (const NodeId& id : members_) start(id);
  }
  Machine& machine(const NodeId& id) { return *hubs_[id].machine; }
  RaftLedger& ledger(const NodeId& id) { return *hubs_[id].ledger; }
  // A leader that one of the living hubs follows.
  NodeId leader() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (std::chrono::steady_clock::now() < deadline) {
      for (auto& [id, hub] : hubs_) {
        if (hub.ledger && hub.ledger->status().leading) return id;
      }
      for (auto& [id, hub] : hubs_) {
        if (!hub.ledger) continue;
        std::unique_lock lock(hub.machine->mutex_);
        hub.machine->changed_.wait_for(lock, std::chrono::milliseconds(20));
        break;
      }
    }
    return {};
  }
  // Appends until it is committed: what a caller does who is told "not active" or "unknown". Answers who took it.
  NodeId write(const Bytes& command) {
    for (int attempt = 0; attempt < 100; ++attempt) {
      const NodeId at = leader();
      if (at.empty()) break;
      const CommandId id{1, ++sequence_};
      ledger(at).append(id, command);
      machine(at).wait([&](Machine& m) { return m.has(command) || m.dropped_.count(id) != 0; });
      const std::lock_guard lock(machine(at).mutex_);
      if (machine(at).has(command)) return at;
    }
    ADD_FAILURE() << "nobody committed " << command;
    return {};
  }
  bool everybody_has(const Bytes& command) {
    return std::all_of(members_.begin(), members_.end(),
                       [&](const NodeId& id) { return machine(id).wait([&](Machine& m) { return m.has(command); }); });
  }

  SteadyClock clock_;
  std::string directory_;
  Net net_;
  RaftLedgerOptions options_;
  std::vector<NodeId> members_{"hub-1"};
  bool joining_ = false;
  std::map<NodeId, Hub> hubs_;
  std::uint64_t sequence_ = 0, starts_ = 0;
};

TEST_F(RaftLedgerTest, OneHubLeadsAtOnceAndKeepsItsLogAcrossARestart) {
  start("hub-1");
  for (int i = 0; i < 50; ++i) ledger("hub-1").append({1, static_cast<std::uint64_t>(i + 1)}, "c" + std::to_string(i));
  ASSERT_TRUE(machine("hub-1").wait([](Machine& m) { return m.has("c49"); }));
  const auto before = machine("hub-1").copy();
  EXPECT_EQ(before.entries.size(), 50u);
  const LedgerStatus status = ledger("hub-1").status();
  EXPECT_TRUE(status.leading);
  EXPECT_EQ(status.leader, "hub-1");
  EXPECT_EQ(status.leader_changes_total, 1u);
  stop("hub-1");
  start("hub-1");
  ASSERT_TRUE(machine("hub-1").wait([](Machine& m) { return m.has("c49"); }));
  EXPECT_EQ(machine("hub-1").copy().entries, before.entries);
  EXPECT_FALSE(machine("hub-1").disorder_);
}

TEST_F(RaftLedgerTest, ThreeHubsApplyTheSameAndOnlyTheLeaderAppends) {
  start_three();
  const NodeId first = write("hello");
  ASSERT_TRUE(everybody_has("hello"));
  for (const NodeId& id : members_) {
    if (id == first) continue;
    ledger(id).append({7, 1}, "at a follower");
    ASSERT_TRUE(machine(id).wait([](Machine& m) { return m.dropped_.count({7, 1}) != 0; }));
    EXPECT_EQ(machine(id).dropped_.at({7, 1}), Code::kNotActive);
    ASSERT_TRUE(machine(id).wait([&](Machine& m) { return m.leader_ == first; }));
  }
  for (int i = 0; i < 500; ++i) ledger(first).append({8, static_cast<std::uint64_t>(i + 1)}, "n" + std::to_string(i));
  ASSERT_TRUE(machine(first).wait([](Machine& m) { return m.has("n499") || !m.dropped_.empty(); }));
  write("end");
  ASSERT_TRUE(everybody_has("end"));
  const auto reference = machine(members_[0]).copy();
  for (const NodeId& id : members_) {
    EXPECT_EQ(machine(id).copy().entries, reference.entries);
    EXPECT_FALSE(machine(id).disorder_);
    EXPECT_FALSE(machine(id).has("at a follower"));
  }
}

TEST_F(RaftLedgerTest, AcknowledgedCommandsSurviveTheLeaderAndARestartOfAll) {  // I7
  start_three();
  std::vector<Bytes> acknowledged;
  for (int i = 0; i < 3; ++i) {
    for (int k = 0; k < 20; ++k) {
      acknowledged.push_back("r" + std::to_string(i) + "-" + std::to_string(k));
      write(acknowledged.back());
    }
    const NodeId old = leader();
    stop(old);
    acknowledged.push_back("without " + old);
    write(acknowledged.back());
    start(old);
  }
  for (const NodeId& id : members_) stop(id);
  for (const NodeId& id : members_) start(id);
  write("end");
  ASSERT_TRUE(everybody_has("end"));
  for (const NodeId& id : members_) {
    for (const Bytes& command : acknowledged) EXPECT_TRUE(machine(id).has(command)) << id << " " << command;
    EXPECT_EQ(machine(id).copy().entries, machine(members_[0]).copy().entries);
  }
}

TEST_F(RaftLedgerTest, AHubThatWasDownForLongCatchesUpBySnapshot) {
  options_.snapshot_threshold_entries = 40;
  options_.snapshot_trailing_entries = 10;
  start_three();
  write("before");
  ASSERT_TRUE(everybody_has("before"));
  const NodeId at = leader();
  const NodeId away = members_[0] == at ? members_[1] : members_[0];
  stop(away);
  for (int i = 0; i < 200; ++i) write("w" + std::to_string(i));
  start(away);
  ASSERT_TRUE(machine(away).wait([](Machine& m) { return m.has("w199"); }));
  EXPECT_GE(machine(away).installs_, 1);
  write("after");
  ASSERT_TRUE(everybody_has("after"));
  EXPECT_GE(ledger(away).status().snapshots_installed_total, 1u);
  EXPECT_GT(ledger(away).status().first_index.value, 20u) << "it begins at some snapshot, whichever was the latest";
  EXPECT_EQ(machine(away).copy().entries, machine(at).copy().entries);
  EXPECT_FALSE(machine(away).disorder_);

  // And from its own disk again: the snapshot it was given is now its own.
  stop(away);
  start(away);
  ASSERT_TRUE(machine(away).wait([](Machine& m) { return m.has("after"); }));
  EXPECT_EQ(machine(away).installs_, 1);
  stop(away);
  const std::string folder = directory_ + "/" + away + "/snapshots/";
  const std::vector<std::string> leftovers = {"tmp-97", "in-98", "snap-7-99"};  // of a hub killed in the middle of it
  for (const std::string& name : leftovers) fs::create_directories(folder + name + "/files");
  start(away);
  for (const std::string& name : leftovers) EXPECT_FALSE(fs::exists(folder + name)) << name;
  ASSERT_TRUE(machine(away).wait([](Machine& m) { return m.has("after"); }));
}

TEST_F(RaftLedgerTest, ALeaderCutOffEndsItsCommandsUnknown) {
  start_three();
  write("before");
  const NodeId old = leader();
  net_.cut(old, true);
  ledger(old).append({9, 1}, "in the air");
  ASSERT_TRUE(machine(old).wait([](Machine& m) { return m.dropped_.count({9, 1}) != 0; }));
  EXPECT_EQ(machine(old).dropped_.at({9, 1}), Code::kMaybeApplied);
  ASSERT_TRUE(machine(old).wait([](Machine& m) { return !m.leading_; }));
  net_.cut(old, false);
  write("after");
  ASSERT_TRUE(everybody_has("after"));
}

TEST_F(RaftLedgerTest, TooManyUncommittedCommandsAreRefusedAtOnce) {  // I11
  options_.append_queue_entries_max = 10;
  start_three();
  write("before");
  const NodeId at = leader();
  // The leader's own queue is bounded whatever becomes of its leadership: of many commands only ten are ever accepted
  // at a time, and every one of them ends.
  net_.cut(at, true);
  for (std::uint64_t i = 1; i <= 1000; ++i) ledger(at).append({5, i}, "x" + std::to_string(i));
  ASSERT_TRUE(machine(at).wait([](Machine& m) { return m.dropped_.size() == 1000; }));
  std::size_t busy = 0;
  for (const auto& [id, code] : machine(at).dropped_) busy += code == Code::kBusy ? 1 : 0;
  EXPECT_GT(busy, 0u);
}

TEST_F(RaftLedgerTest, AFailedWriteEndsTheLedger) {  // D3
  start("hub-1");
  write("before");
  hubs_["hub-1"].kv->fail_ = true;
  ledger("hub-1").append({3, 1}, "never");
  ledger("hub-1").append({3, 2}, "never either");
  ASSERT_TRUE(machine("hub-1").wait([](Machine& m) { return !m.failures_.empty(); }));
  hubs_["hub-1"].kv->fail_ = false;
  ledger("hub-1").append({3, 3}, "after");
  stop("hub-1");
  EXPECT_EQ(machine("hub-1").failures_.size(), 1u);
  EXPECT_EQ(machine("hub-1").failures_[0].code, Code::kBusy);
  EXPECT_NE(machine("hub-1").failures_[0].message.find("/the/folder"), std::string::npos);
  EXPECT_FALSE(machine("hub-1").has("never"));
  EXPECT_FALSE(machine("hub-1").has("after")) << "nothing is tried again";
}

TEST_F(RaftLedgerTest, AStoreThatThrowsEndsTheLedgerToo) {  // D3
  start("hub-1");
  write("before");
  hubs_["hub-1"].kv->throw_ = true;
  ledger("hub-1").append({3, 1}, "never");
  ASSERT_TRUE(machine("hub-1").wait([](Machine& m) { return !m.failures_.empty(); }));
  hubs_["hub-1"].kv->throw_ = false;
  ledger("hub-1").append({3, 2}, "after");
  stop("hub-1");
  ASSERT_EQ(machine("hub-1").failures_.size(), 1u);
  EXPECT_EQ(machine("hub-1").failures_[0].code, Code::kUnavailable);
  EXPECT_EQ(machine("hub-1").failures_[0].message, "raft ledger: /the/folder: out of memory");
  EXPECT_FALSE(machine("hub-1").has("after")) << "nothing is tried again";
  start("hub-1");
  ASSERT_TRUE(machine("hub-1").wait([](Machine& m) { return m.has("before"); }));
}

TEST_F(RaftLedgerTest, ASnapshotThatFailsIsMadeAgain) {
  options_.snapshot_threshold_entries = 10;
  options_.snapshot_trailing_entries = 2;
  start("hub-1");
  {
    const std::lock_guard lock(machine("hub-1").mutex_);
    machine("hub-1").snapshot_trouble_ = 2;
  }
  for (int i = 0; i < 1000 && ledger("hub-1").status().first_index.value == 1; ++i) write("w" + std::to_string(i));
  EXPECT_GT(ledger("hub-1").status().first_index.value, 1u) << "the third try trims the log";
  stop("hub-1");
  EXPECT_EQ(machine("hub-1").snapshot_trouble_, 0) << "one said no, one threw";
  EXPECT_TRUE(machine("hub-1").failures_.empty()) << "the ledger goes on without a snapshot";
  EXPECT_FALSE(fs::exists(directory_ + "/hub-1/snapshots/tmp-1")) << "what was begun is removed";
  start("hub-1");
  EXPECT_FALSE(fs::exists(directory_ + "/hub-1/snapshots/tmp-2")) << "after a throw, at the next open";
}

TEST_F(RaftLedgerTest, TwoIdsOfOneNumberAreToldApartAtTheDoor) {
  // Made for the purpose: XXH3 maps both to one number, by which Raft would take the one hub for the other.
  const NodeId one = "\xb9\x39\x42\xea\x7b\x73\x82\x67\x2a\x70\x48\x64\x27\x6e\x47\x40";
  const NodeId two = "\xb8\x39\x42\xea\x7b\x73\x82\x67\x32\x43\x79\x3f\x35\x55\x5e\x58";
  ASSERT_EQ(raft_member_number(one), raft_member_number(two));
  start("hub-1");
  write("x");
  ledger("hub-1").meet({{one, "one:7400"}});
  std::promise<Result<void>> done;
  ledger("hub-1").change({LedgerChange::What::kAdd, two, "two:7400"}, [&](Result<void> r) { done.set_value(r); });
  const Result<void> refused = done.get_future().get();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kConflict);
  EXPECT_EQ(refused.error().message, "'" + two + "' and '" + one + "' have the same number; choose another id");

  RaftLedgerOptions options = options_of("hub-1");
  options.members.insert(options.members.end(), {{one, "one:7400"}, {two, "two:7400"}});
  const auto valid = options.validate();
  ASSERT_FALSE(valid);
  EXPECT_EQ(valid.error().code, Code::kInvalid);
  EXPECT_NE(valid.error().message.find("have the same number; rename one"), std::string::npos) << valid.error().message;
}

TEST_F(RaftLedgerTest, StrangersAndNonsenseAreDropped) {
  start("hub-1");
  ASSERT_EQ(leader(), "hub-1");
  ledger("hub-1").receive("hub-9", "R");
  ledger("hub-1").receive("hub-1", "R");  // a hub does not write to itself
  ledger("hub-1").receive("hub-9", "");
  ledger("hub-1").receive("hub-9", Bytes(kRaftMessageBytesMax + 1, 'R'));
  EXPECT_EQ(ledger("hub-1").dropped_messages_total(), 4u);
  write("still here");
}

TEST_F(RaftLedgerTest, NonsenseFromAMemberHarmsNothing) {
  start_three();
  write("before");
  for (const NodeId& id : members_) {
    const NodeId peer = id == members_[0] ? members_[1] : members_[0];
    for (const char* message : {"R", "S", "X", "garbageR", "garbageS", "\3\1\1S"}) ledger(id).receive(peer, message);
  }
  write("after");
  ASSERT_TRUE(everybody_has("after"));
}

TEST_F(RaftLedgerTest, OpenRefusesWhatCannotBeRight) {
  struct Case {
    const char* why;
    std::function<void(RaftLedgerOptions&)> change;
    const char* expected;
  };
  const Case cases[] = {
      {"no id", [](RaftLedgerOptions& o) { o.id.clear(); }, "id ''"},
      {"not a member", [](RaftLedgerOptions& o) { o.id = "hub-7"; }, "'hub-7', this hub"},
      {"two members", [](RaftLedgerOptions& o) { o.members.push_back({"hub-2", "b"}); }, "1, 3 or 5"},
      {"a member twice",
       [](RaftLedgerOptions& o) { o.members.insert(o.members.end(), {{"hub-2", "b"}, {"hub-2", "c"}}); },
       "'hub-2' appears twice"},
      {"an address twice",
       [](RaftLedgerOptions& o) { o.members.insert(o.members.end(), {{"hub-2", "b"}, {"hub-3", "b"}}); },
       "address 'b' appears twice"},
      {"an id with a separator", [](RaftLedgerOptions& o) { o.id = o.members[0].id = "hub=1"; },
       "members: id 'hub=1': 1 to 128 bytes, none of them '='"},
      {"a member without an id", [](RaftLedgerOptions& o) { o.members[0].id.clear(); },
       "members: id '': 1 to 128 bytes"},
      {"a long address", [](RaftLedgerOptions& o) { o.members[0].address.assign(129, 'a'); },
       "members: address of 'hub-1' has 129 bytes: at most 128, none zero"},
      {"a zero byte", [](RaftLedgerOptions& o) { o.members[0].address.assign(3, '\0'); },
       "members: address of 'hub-1' has 3 bytes: at most 128, none zero"},
      {"no folder", [](RaftLedgerOptions& o) { o.directory.clear(); }, "directory"},
      {"heartbeat above the timeout", [](RaftLedgerOptions& o) { o.heartbeat_ms = 400; }, "heartbeat_ms 400"},
      {"no inflight", [](RaftLedgerOptions& o) { o.max_inflight_entries = 0; }, "max_inflight_entries"},
      {"no threshold", [](RaftLedgerOptions& o) { o.snapshot_threshold_entries = 0; }, "threshold"},
      {"a queue no command fits", [](RaftLedgerOptions& o) { o.append_queue_bytes_max = 1000; }, "append queue"},
  };
  for (const Case& c : cases) {
    RaftLedgerOptions options = options_of("hub-1");
    c.change(options);
    const auto valid = options.validate();
    ASSERT_FALSE(valid) << c.why;
    EXPECT_EQ(valid.error().code, Code::kInvalid) << c.why;
    EXPECT_NE(valid.error().message.find(c.expected), std::string::npos) << c.why << ": " << valid.error().message;
  }
  EXPECT_TRUE(options_of("hub-1").validate());
}

TEST_F(RaftLedgerTest, WhoIsAMemberStandsInTheLogAndNotInTheConfiguration) {
  start("hub-1");
  write("x");
  stop("hub-1");
  members_ = {"hub-1", "hub-2", "hub-3"};
  start("hub-1");
  write("alone as before");
  ASSERT_EQ(ledger("hub-1").status().members.size(), 1u);
  EXPECT_EQ(ledger("hub-1").status().members[0].id, "hub-1");
}

TEST_F(RaftLedgerTest, HubsComeAndGoWhileCommandsAreWritten) {  // I7
  start_three();
  for (int i = 0; i < 100; ++i) write("w" + std::to_string(i));
  const auto change = [&](LedgerChange::What what, const NodeId& id) {
    Result<void> end = fail(Code::kNotActive, "nobody was asked");
    // As a person would: what is refused for the moment (an election, a leader that has not heard all) is repeated.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!end && end.error().code != Code::kConflict && std::chrono::steady_clock::now() < deadline) {
      std::promise<Result<void>> done;
      ledger(leader()).change({what, id, id + ":7400"}, [&](Result<void> r) { done.set_value(std::move(r)); });
      end = done.get_future().get();
    }
    return end;
  };
  for (const NodeId joiner : {"hub-4", "hub-5"}) {
    joining_ = true;
    start(joiner);
    joining_ = false;
    const auto added = change(LedgerChange::What::kAdd, joiner);
    ASSERT_TRUE(added) << added.error().message;
    members_.push_back(joiner);
    write("with " + joiner);
    ASSERT_TRUE(everybody_has("with " + joiner));
  }
  const NodeId old = leader();
  const auto removed = change(LedgerChange::What::kRemove, old);
  ASSERT_TRUE(removed) << removed.error().message;
  std::erase(members_, old);
  stop(old);
  write("without " + old);
  ASSERT_TRUE(everybody_has("without " + old));
  const NodeId next = leader() == "hub-4" ? "hub-5" : "hub-4";
  ASSERT_TRUE(change(LedgerChange::What::kTransfer, next));
  ASSERT_TRUE(machine(next).wait([](Machine& m) { return m.leading_; }));
  write("end");
  ASSERT_TRUE(everybody_has("end"));
  for (const NodeId& id : members_) {
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(machine(id).has("w" + std::to_string(i))) << id;
    EXPECT_EQ(ledger(id).status().members.size(), 4u);
    stop(id);  // and from their own disks, whatever their configuration still says
  }
  for (const NodeId& id : members_) start(id);
  write("again");
  ASSERT_TRUE(everybody_has("again"));
}

TEST_F(RaftLedgerTest, AStoreWithDamageIsNotOpened) {
  start("hub-1");
  write("x");
  stop("hub-1");
  {
    auto kv = Kv::open(directory_ + "/hub-1/db", {kRaftLogFamily, kRaftStateFamily});
    ASSERT_TRUE(kv);
    const Bytes key = **(*kv)->last_key(kRaftLogFamily);
    KvBatch damage;
    damage.put(kRaftLogFamily, key, "not what was written");
    ASSERT_TRUE((*kv)->commit(damage, Sync::kDisk));
  }
  const auto started = try_start("hub-1");
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kCorrupt);  // D4
  EXPECT_NE(started.error().message.find("must not vote"), std::string::npos) << started.error().message;
}

TEST_F(RaftLedgerTest, ASnapshotWithMissingFilesIsFoundAtOpen) {
  options_.snapshot_threshold_entries = 10;
  options_.snapshot_trailing_entries = 2;
  start("hub-1");
  for (int i = 0; i < 40; ++i) write("w" + std::to_string(i));
  const auto trimmed = [&] { return ledger("hub-1").status().first_index.value; };
  for (int i = 0; i < 1000 && trimmed() == 1; ++i) write("more" + std::to_string(i));
  stop("hub-1");
  for (const auto& entry : fs::recursive_directory_iterator(directory_ + "/hub-1/snapshots")) {
    if (entry.path().filename() == "padding") fs::resize_file(entry.path(), 100);
  }
  const auto started = try_start("hub-1");
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kCorrupt);
  EXPECT_NE(started.error().message.find("padding"), std::string::npos) << started.error().message;
}

}  // namespace
}  // namespace tidelock
