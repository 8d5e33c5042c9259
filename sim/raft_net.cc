#include "sim/raft_net.h"

#include <algorithm>

namespace tidelock::sim {

void RaftNet::added(std::size_t member) {
  if (member < clocks_.size()) return;
  clocks_.push_back({world_.between(kSecond, 1'000'000 * kSecond), world_.between(-ppm_max_, ppm_max_)});
}

void RaftNet::cut(std::size_t from, std::size_t to, Nanos until) {
  Nanos& known = cuts_[{from, to}];
  known = std::max(known, until);
}

void RaftNet::isolate(std::size_t member, Nanos until) {
  for (std::size_t other = 0; other < clocks_.size(); ++other) {
    if (other == member) continue;
    cut(member, other, until);
    cut(other, member, until);
  }
}

void RaftNet::carry(std::size_t from, std::size_t to, bool bulk, std::function<void()> deliver) {
  for (int copies = world_.chance(weather.doubled_per_mille) ? 2 : 1; copies > 0; --copies) {
    if (world_.chance(weather.lost_per_mille)) continue;
    const bool late = world_.chance(weather.late_per_mille);
    Nanos delay = world_.between(weather.delay_low, late ? weather.late_max : weather.delay_high);
    if (bulk) delay += world_.between(kMillisecond, 50 * kMillisecond);
    world_.in(delay, [this, from, to, deliver] {
      const auto until = cuts_.find({from, to});
      if (until == cuts_.end() || world_.now() >= until->second) deliver();
    });
  }
}

DiskFault RaftNet::disk_fault(std::size_t member) {
  const auto it = disk_faults_.find(member);
  if (it == disk_faults_.end()) return DiskFault::kNone;
  const DiskFault fault = it->second;
  disk_faults_.erase(it);
  return fault;
}

}  // namespace tidelock::sim
