// ModelLedger is a linearizable log without an engine: one list of commands, one hub that may append to it. Who leads
// is told late, so that several hubs may believe that they lead; an append of anybody may end unknown and commit much
// later; entries reach each hub late and sometimes as another hub's snapshot. Without a majority that hears each other
// nothing commits.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/ledger.h"

namespace tidelock::sim {

class ModelLedger : public SimLedger {
 public:
  ModelLedger(World& world, LedgerHost& host, SimLedgerOptions options);

  void start(int hub, Index applied) override;
  void stop(int hub, bool power_lost) override;
  void append(int hub, CommandId id, Bytes command) override;
  void elect(int hub) override;
  void stall(int hub, Nanos until) override;
  void links_changed() override;
  void heal() override;
  int leader() const override { return leader_; }
  Index last() const override { return {log_.size()}; }

 private:
  struct Member {
    bool up = false;
    std::uint64_t boot = 0;
    Nanos stalled_until = 0;
    Nanos last_delivery = 0;
    std::uint64_t told = 0;  // the last index handed over in this boot
    bool retrying = false;
  };
  struct Append {
    int hub = 0;
    std::uint64_t boot = 0;
    CommandId id;
    Bytes command;
  };

  Member& member(int hub) { return members_[static_cast<std::size_t>(hub)]; }
  bool has_majority(int hub) const;
  Nanos reachable_at(int hub);
  std::uint64_t late_per_mille(std::uint64_t usual, const Bytes& command) const;  // not before its stall ends
  void arrive(Append append);
  void drop(const Append& append, Code code);
  void commit(const Bytes& command);
  void deliver(int hub);
  void retry(int hub);
  void hand_over(int hub, std::uint64_t index);
  void watch_leader();

  World& world_;
  LedgerHost& host_;
  SimLedgerOptions options_;
  std::vector<Member> members_;
  std::vector<Bytes> log_;
  int leader_ = -1;
  std::uint64_t election_ = 0;
  bool watching_ = false;
  bool faults_ = true;
};

}  // namespace tidelock::sim
