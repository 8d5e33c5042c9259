// RaftSimLedger puts the embedded engine under the whole simulation: RaftWorld with the cluster's clocks, network and
// pauses around it, and the hub cores as its state machines.
//
// Calls to the host are queued in the world's instant, in order: a hub core may stand still for long, or die, in the
// middle of what it is told, and a member's driver must not be on the stack then. Only on_commit is called at once.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/ledger.h"
#include "sim/raft_world.h"

namespace tidelock::sim {

class RaftSimLedger : public SimLedger, private RaftApp, private RaftSurroundings {
 public:
  RaftSimLedger(World& world, LedgerHost& host, SimLedgerOptions options);

  void start(int hub, Index applied) override;
  void stop(int hub, bool power_lost) override;
  void append(int hub, CommandId id, Bytes command) override;
  void elect(int hub) override;
  void stall(int hub, Nanos until) override;
  void heal() override;
  int leader() const override;
  Index last() const override { return last_; }

 private:
  struct Hub {
    std::uint64_t boot = 0;
    Index applied;  // at its start
  };

  static RaftWorldOptions options(World& world, const SimLedgerOptions& options);
  template <class F>
  void tell(std::size_t member, F what);

  // RaftApp
  Index restarts(std::size_t member, Index snapshot) override;
  void on_committed(std::size_t member, const LedgerEntry& entry) override;
  void on_dropped(std::size_t member, CommandId id, Code code) override;
  void on_leadership(std::size_t member, bool leading, std::optional<std::size_t> leader) override;
  std::optional<std::pair<Index, std::any>> copy(std::size_t member) override;
  void install(std::size_t member, Index index, const std::any& state) override;
  void on_ended(std::size_t member, const std::string& why) override;

  // RaftSurroundings
  void added(std::size_t) override {}
  Nanos clock(std::size_t member) const override { return host_.clock(static_cast<int>(member)); }
  Nanos when(std::size_t member, Nanos reading) const override { return host_.when(static_cast<int>(member), reading); }
  Nanos paused_until(std::size_t member) const override { return host_.paused_until(static_cast<int>(member)); }
  void carry(std::size_t from, std::size_t to, bool bulk, std::function<void()> deliver) override;
  DiskFault disk_fault(std::size_t member) override;

  World& world_;
  LedgerHost& host_;
  std::vector<Hub> hubs_;
  RaftWorld raft_;
  Index last_;
};

}  // namespace tidelock::sim
