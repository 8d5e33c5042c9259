// What surrounds the members of a RaftWorld: clocks, links, and whoever stops a process. RaftNet is a network of its
// own with every fault there is; in the whole simulation the cluster's network stands here.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "sim/raft_disk.h"
#include "sim/world.h"

namespace tidelock::sim {

class RaftSurroundings {
 public:
  virtual ~RaftSurroundings() = default;
  virtual void added(std::size_t member) = 0;  // from now on it may be asked about
  virtual Nanos clock(std::size_t member) const = 0;
  virtual Nanos when(std::size_t member, Nanos reading) const = 0;  // its clock shows that, if nothing happens to it
  virtual Nanos paused_until(std::size_t member) const = 0;
  // Calls `deliver` later, never, or more than once. `bulk`: files travel with it.
  virtual void carry(std::size_t from, std::size_t to, bool bulk, std::function<void()> deliver) = 0;
  virtual DiskFault disk_fault(std::size_t member) = 0;  // of its next write
};

class RaftNet : public RaftSurroundings {
 public:
  struct Weather {
    Nanos delay_low = 100 * kMicrosecond, delay_high = 2 * kMillisecond;
    std::uint64_t lost_per_mille = 0, doubled_per_mille = 0;
    std::uint64_t late_per_mille = 0;  // of them take up to late_max
    Nanos late_max = 30 * kMillisecond;
  };

  explicit RaftNet(World& world, std::int64_t clock_ppm_max = 200) : world_(world), ppm_max_(clock_ppm_max) {}

  Weather weather;

  void cut(std::size_t from, std::size_t to, Nanos until);  // one direction
  void isolate(std::size_t member, Nanos until);
  void mend() { cuts_.clear(); }
  void jump_clock(std::size_t member, Nanos by) { clocks_[member].jump(by); }
  void fail_next_write(std::size_t member, DiskFault how) { disk_faults_[member] = how; }

  void added(std::size_t member) override;
  Nanos clock(std::size_t member) const override { return clocks_[member].at(world_.now()); }
  Nanos when(std::size_t member, Nanos reading) const override { return clocks_[member].when(reading); }
  Nanos paused_until(std::size_t) const override { return 0; }
  void carry(std::size_t from, std::size_t to, bool bulk, std::function<void()> deliver) override;
  DiskFault disk_fault(std::size_t member) override;

 private:
  World& world_;
  const std::int64_t ppm_max_;
  std::vector<NodeClock> clocks_;
  std::map<std::pair<std::size_t, std::size_t>, Nanos> cuts_;
  std::map<std::size_t, DiskFault> disk_faults_;
};

}  // namespace tidelock::sim
