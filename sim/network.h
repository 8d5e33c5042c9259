// Network is who can reach whom, and how fast. Links are directed and lie between two hubs, or a hub and an edge.
//
// A link that is shut keeps what is sent until it opens (a stream sends again); what is lost for good is lost with its
// connection, or by the faults inside a session, which the cluster draws.
#pragma once

#include <algorithm>
#include <vector>

#include "sim/plan.h"
#include "sim/world.h"

namespace tidelock::sim {

class Network {
 public:
  Network(World& world, const Plan& plan)
      : world_(world), plan_(plan), nodes_(plan.hubs + plan.edges), links_(static_cast<std::size_t>(nodes_ * nodes_)) {}

  int hub(int number) const { return number; }
  int edge(int number) const { return plan_.hubs + number; }

  // When something of `bytes` that leaves now arrives.
  Nanos arrival(int from, int to, std::size_t bytes) {
    Link& link = at(from, to);
    Nanos sent = world_.now();
    const bool radio = from >= plan_.hubs || to >= plan_.hubs;
    if (radio && plan_.byte_ns != 0) {
      sent = link.busy_until = std::max(sent, link.busy_until) + static_cast<Nanos>(bytes) * plan_.byte_ns;
    }
    Nanos delay = 0;
    if (radio) {
      const bool hiccup = faults_ && world_.chance(50);
      delay = world_.between(plan_.delay_least, hiccup ? plan_.delay_most + 150 * kMillisecond : plan_.delay_most);
    } else {
      delay = world_.between(50 * kMicrosecond, faults_ && world_.chance(30) ? 50 * kMillisecond : kMillisecond);
    }
    if (link.slow_until > world_.now()) delay += world_.between(0, link.slow_by);
    return std::max(sent + delay, link.opens);
  }
  Nanos opens(int from, int to) const { return links_[index(from, to)].opens; }
  void shut(int from, int to, Nanos until) {
    Link& link = at(from, to);
    link.opens = std::max(link.opens, until);
  }
  void slow(int from, int to, Nanos until, Nanos by) {
    Link& link = at(from, to);
    link.slow_until = until;
    link.slow_by = by;
  }
  // A new connection: what the old one still had to send is forgotten.
  void reset(int from, int to) {
    at(from, to).busy_until = 0;
    at(to, from).busy_until = 0;
  }
  // Everything is mended, and nothing goes wrong any more.
  void heal() {
    for (Link& link : links_) link = {};
    faults_ = false;
  }

 private:
  struct Link {
    Nanos opens = 0;
    Nanos slow_until = 0, slow_by = 0;
    Nanos busy_until = 0;
  };
  std::size_t index(int from, int to) const { return static_cast<std::size_t>(from * nodes_ + to); }
  Link& at(int from, int to) { return links_[index(from, to)]; }

  World& world_;
  const Plan& plan_;
  int nodes_;
  std::vector<Link> links_;
  bool faults_ = true;
};

}  // namespace tidelock::sim
