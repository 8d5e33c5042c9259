// RaftWorld is a cluster of the product's RaftDrivers, log stores included, in one seed's virtual time: its own disks,
// network, clocks and processes. What happens inside is judged by RaftOracle at every step; what reaches the state
// machines goes to a RaftApp, which is a plain counter in the gates and the hub cores in the whole simulation.
//
// A process does what RaftLedger does, in the driver's order: it steps what has arrived into one set of actions and
// carries them out one by one. Between any two of them it may be killed, or stopped for a while; while it waits for its
// disk, everybody else goes on. Half of the worlds let entries' writes overlap with further steps, as the driver
// allows.
//
// Threads: one. Determinism: same seed, same calls, same trace (I12).
#pragma once

#include <algorithm>
#include <any>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ledger/raft/raft_driver.h"
#include "sim/raft_disk.h"
#include "sim/raft_net.h"
#include "sim/raft_oracle.h"
#include "sim/world.h"

namespace tidelock::sim {

// What the members' state machines are. Members are named by their place, from 0. Nothing here may call back.
class RaftApp {
 public:
  virtual ~RaftApp() = default;
  // The process starts: the index up to which its state machine has everything. At most what was handed out to it, and
  // not below `snapshot` unless an install may follow.
  virtual Index restarts(std::size_t member, Index snapshot) = 0;
  virtual void on_committed(std::size_t member, const LedgerEntry& entry) = 0;
  virtual void on_dropped(std::size_t member, CommandId id, Code code) = 0;
  virtual void on_leadership(std::size_t member, bool leading, std::optional<std::size_t> leader) = 0;
  virtual void on_change_ended(std::size_t /*member*/, const RaftEnded& /*end*/) {}
  // A copy of the state as applied, and the index it contains; nothing when it could not be made.
  virtual std::optional<std::pair<Index, std::any>> copy(std::size_t member) = 0;
  virtual void install(std::size_t member, Index index, const std::any& state) = 0;
  // The process has ended, and somebody will have to boot it: struck between two actions, or by its disk (D3).
  virtual void on_ended(std::size_t member, const std::string& why) = 0;
};

struct RaftWorldOptions {
  std::size_t members = 3;
  RaftDriverSettings settings;  // number, address, seed and applied are filled in
  bool commands_unique = true;
  bool overlap_writes = false;
  std::uint64_t batch_max = 1;      // events stepped into one set of actions
  std::uint64_t struck_one_in = 0;  // between two actions; 0 = never
  std::uint64_t paused_one_in = 0;  // the same, for 1 ms to 4 s
};

class RaftWorld {
 public:
  RaftWorld(World& world, RaftWorldOptions options, RaftApp& app, RaftSurroundings& surroundings);
  ~RaftWorld();

  // Processes. A crash may be the power's: what the disk had not synced is lost from a random write on.
  void boot(std::size_t member);
  void crash(std::size_t member);
  void pause(std::size_t member, Nanos span);
  void resume(std::size_t member);
  std::size_t add_machine();  // an empty one, for a member to come; not booted
  bool up(std::size_t member) const { return at(member).up; }
  bool damaged(std::size_t member) const { return at(member).damaged; }  // its store refused to load (D4)

  // Requests to a process; lost when it is down.
  void propose(std::size_t member, std::vector<RaftProposal> proposals);
  void ask(std::size_t member, decltype(RaftEvent::what) what);

  // Faults.
  void set_disk_pace(std::size_t member, Nanos low, Nanos high);
  void hold_disk(std::size_t member);  // syncs do not return until release
  void release_disk(std::size_t member);
  RaftDisk& disk(std::size_t member) { return at(member).disk; }
  RaftWorldOptions& options() { return options_; }
  // Messages for which it answers false are lost.
  std::function<bool(const RaftPeek&)> filter;

  // Looking.
  std::size_t size() const { return members_.size(); }
  std::uint64_t number(std::size_t member) const { return at(member).number; }
  const std::string& address(std::size_t member) const { return at(member).address; }
  std::optional<std::size_t> place(std::uint64_t number) const;
  const RaftDriver& driver(std::size_t member) const { return *at(member).driver; }  // while up
  // Of those who say so, the one with the highest term.
  std::optional<std::size_t> leader() const;
  const RaftOracle& oracle() const { return oracle_; }
  struct Counts {
    std::uint64_t boots = 0, crashes = 0, ended_by_disk = 0, refused_to_load = 0, snapshots = 0, installs = 0,
                  messages = 0, syncs = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Files {  // of a snapshot
    Index index;
    std::any state;
  };
  struct Input {
    decltype(RaftEvent::what) what;
    std::optional<Files> files;  // came with the message
  };
  enum class Stage : std::uint8_t {
    kVote,
    kSend,
    kSendSnapshot,
    kWrite,
    kCommitted,
    kDropped,
    kLeadership,
    kSnapshot,
    kInstall,
    kInstalled,
    kDone
  };
  struct Work {  // actions being carried out
    RaftActions actions;
    Stage stage = Stage::kVote;
    std::size_t next = 0;  // within the stage
    bool persisted = false;
    std::optional<Files> files;  // to install
    std::string directory;
  };
  struct Member {
    std::uint64_t number = 0;
    std::string address;
    RaftDisk disk;
    std::map<std::string, Files> files;  // synced, by directory
    std::unique_ptr<RaftDriver> driver;
    std::optional<Work> work;
    std::deque<Input> inbox;
    std::optional<Input> waiting;  // an arrived snapshot, while an own one is being made
    bool up = false, damaged = false, running = false, waits_for_disk = false, snapshotting = false;
    std::uint64_t life = 0;
    std::uint64_t directories = 0;
    Nanos paused_until = 0;
    Nanos wake_at = kForever;   // of its clock
    Nanos timer_at = kForever;  // of the world, as is the next
    Nanos resumes_at = kForever;
    Nanos disk_free = 0, disk_low = 50 * kMicrosecond, disk_high = kMillisecond;
    bool disk_held = false;
    std::size_t syncs_held = 0;
    struct UnderWay {
      std::uint64_t persist_no;
      bool blocks;
    };
    std::deque<UnderWay> under_way;
  };

  Member& at(std::size_t member) { return *members_[member]; }
  const Member& at(std::size_t member) const { return *members_[member]; }
  Nanos stopped_until(std::size_t i) const { return std::max(at(i).paused_until, around_.paused_until(i)); }

  void run(std::size_t i);
  bool take(std::size_t i);
  void step(std::size_t i, decltype(RaftEvent::what) what, RaftActions& out);
  bool carry_out(std::size_t i);
  bool struck(std::size_t i);
  bool write(std::size_t i, const RaftPersist& persist, std::uint64_t persist_no, bool blocks);
  void disk_done(std::size_t i);
  void end(std::size_t i, const std::string& why);
  void arm(std::size_t i);
  void send(std::size_t from, std::uint64_t to, const Bytes& message, std::optional<Files> files);
  void start_snapshot(std::size_t i);
  void judge(std::size_t i);
  void tell(std::size_t i, const std::string& what) const;

  World& world_;
  RaftWorldOptions options_;
  RaftApp& app_;
  RaftSurroundings& around_;
  RaftOracle oracle_;
  std::vector<std::unique_ptr<Member>> members_;
  std::vector<RaftServer> first_members_;
  std::map<std::uint64_t, std::size_t> places_;
  Counts counts_;
};

}  // namespace tidelock::sim
