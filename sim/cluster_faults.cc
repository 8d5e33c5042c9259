// What breaks, one thing at a time: the plan says how often, chance says what.

#include <algorithm>
#include <utility>

#include "sim/cluster.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;
}

Nanos Cluster::span(Nanos most) {
  return world_.between(kMs, world_.chance(1'000 - plan_.long_per_mille) ? most / 8 : most);
}

void Cluster::restart_later(Hub& hub, Nanos least, Nanos most) {
  world_.in(world_.between(least, most), [this, &hub] {
    if (!hub.up && (core_hubs_.empty() || core_hubs_.contains(hub.number))) start_hub(hub);
  });
}

void Cluster::restart_later(Edge& edge, Nanos least, Nanos most) {
  const bool revoke = world_.chance(plan_.revoke_per_mille);
  world_.in(world_.between(least, most), [this, &edge, revoke] {
    if (!edge.up && (core_hubs_.empty() || core_edges_.contains(edge.number))) start_edge(edge, revoke);
  });
}

void Cluster::fault() {
  if (!faults_) return;
  world_.in(soon(plan_.fault_gap), [this] { fault(); });
  Rng& rng = world_.rng();
  Hub& hub = hub_of(static_cast<int>(rng.below(hubs_.size())));
  Edge& edge = edge_of(static_cast<int>(rng.below(edges_.size())));
  const auto kind = static_cast<Fault>(rng.below(kFaults));
  if (!has(kind)) return;
  ++report_.faults;
  const auto rho = static_cast<std::int64_t>(plan_.seed.settings.rho_ppm);
  switch (kind) {
    case Fault::kCrash:
      if (world_.chance(400)) {
        if (hub.up) {
          crash_hub(hub, false);
          restart_later(hub, kMs, span(4 * kSecond));
        }
      } else if (edge.up && world_.chance(500)) {
        edge.crash_after_ops = static_cast<int>(rng.below(30));
      } else if (edge.up) {
        crash_edge(edge, false);
        restart_later(edge, kMs, span(3 * kSecond));
      }
      break;
    case Fault::kPower:
      if (world_.chance(400)) {
        if (hub.up) {
          crash_hub(hub, true);
          restart_later(hub, kMs, span(4 * kSecond));
        }
      } else if (edge.up) {
        crash_edge(edge, true);
        restart_later(edge, kMs, span(3 * kSecond));
      }
      break;
    case Fault::kPause:
      if (world_.chance(500))
        pause(hub, span(4 * kSecond));
      else
        pause(edge, span(4 * kSecond));
      break;
    case Fault::kSuspend:
      if (edge.up) {
        const Nanos slept = span(8 * kSecond);
        world_.say(edge.id, "sleeps");
        pause(edge, slept);
        edge.suspended_ns += slept;
        judge_pages_of(edge, [this](oracle::PageNo page) { judge_.page_slept(page); });
        edge.inbox.push_front([this, &edge] {
          for (auto& [key, entry] : edge.store.rows) entry.proven_at = kNever;
          step_edge(edge, EdgeDisrupted{});
        });
      }
      break;
    case Fault::kStep:
      edge.wall_offset_ms = world_.chance(300) ? world_.between(0, 300) : world_.between(-3'600'000, 3'600'000);
      break;
    case Fault::kSlew: {
      Node& node = world_.chance(500) ? static_cast<Node&>(hub) : static_cast<Node&>(edge);
      if (node.number == edge.number && &node == &edge && edge.unsound_since != kForever) break;
      node.clock.run_at(world_.now(), world_.between(-rho, rho));
      break;
    }
    case Fault::kDrift:
      if (edge.unsound_since == kForever && world_.chance(300)) {
        const std::int64_t wrong = world_.between(4 * rho + 10'000, std::max<std::int64_t>(80'000, 8 * rho));
        edge.clock.run_at(world_.now(), world_.chance(500) ? wrong : -std::min<std::int64_t>(wrong, 500'000));
        edge.unsound_since = world_.now();
        judge_.clock_broken(edge.id);
        judge_pages_of(edge, [this](oracle::PageNo page) { judge_.page_gone(page); });
        world_.say(edge.id, "its clock runs wrong");
      }
      break;
    case Fault::kDisrupt:
      if (hub.up && world_.chance(500))
        disrupt(hub);
      else if (edge.up)
        post(edge, edge.incarnation, [this, &edge] {
          for (auto& [key, entry] : edge.store.rows) entry.proven_at = kNever;
          step_edge(edge, EdgeDisrupted{});
        });
      break;
    case Fault::kPartition: partition(span(8 * kSecond)); break;
    case Fault::kCut: cut_all(edge, false); break;
    case Fault::kDelay: {
      const int e = network_.edge(edge.number), to = network_.hub(hub.number);
      const Nanos until = world_.now() + span(8 * kSecond), by = span(2 * kSecond);
      if (world_.chance(600)) network_.slow(e, to, until, by);
      if (world_.chance(600)) network_.slow(to, e, until, by);
      break;
    }
    case Fault::kStall: {
      const int leader = ledger_->leader();
      const bool of_leader = (plan_.depose || world_.chance(600)) && leader >= 0;
      const int stalled = of_leader ? leader : hub.number;
      ledger_->stall(stalled, world_.now() + span(4 * kSecond));
      if (plan_.depose)
        ledger_->elect((stalled + 1) % plan_.hubs);
      else if (world_.chance(700))
        ledger_->elect(static_cast<int>(rng.below(hubs_.size())));
      break;
    }
    case Fault::kChurn: {
      std::vector<int> up;
      for (const auto& one : hubs_) {
        if (one->up) up.push_back(one->number);
      }
      if (!up.empty()) ledger_->elect(up[rng.below(up.size())]);
      break;
    }
    case Fault::kDisk: edge.disk_fails_until = world_.now() + span(2 * kSecond); break;
    case Fault::kFleet:  // gone for long; it may be removed meanwhile, and returns under its name
      if (edge.up && world_.chance(200)) {
        crash_edge(edge, world_.chance(500));
        restart_later(edge, kSecond, 8 * kSecond);
      }
      break;
    // Drawn with the plan, or everywhere: nothing begins now.
    case Fault::kLte:
    case Fault::kLoss:
    case Fault::kDuplicate:
    case Fault::kReorder:
    case Fault::kUnknown:
    case Fault::kCoarse:
    case Fault::kCompact:
    case Fault::kSnapshot:
    case Fault::kRollout:
    case Fault::kExtreme: break;
  }
}

// C2: its machine was moved, or set back to where it was and on again. It stood still and its clock with it, or the
// clock was set on meanwhile; that this happened is the first thing it learns.
void Cluster::disrupt(Hub& hub) {
  const Nanos still = span(4 * kSecond);
  const Nanos by = world_.chance(500) ? -still : world_.between(0, 10 * kSecond);
  world_.say(hub.id, "stands still, and its clock jumps");
  pause(hub, still);
  hub.clock.jump(by);
  judge_.clock_jumped(hub.id, hub.incarnation);
  ledger_clock_lagged_ = true;
  hub.inbox.push_front([this, &hub] { step_hub(hub, HubDisrupted{}); });
}

// Links between hubs, or of one edge: both ways, one way, flapping, or all of a node's one after the other, healed in
// another order ("swizzle-clog").
void Cluster::partition(Nanos span) {
  Rng& rng = world_.rng();
  const bool of_hub = world_.chance(500);
  const auto number = static_cast<int>(rng.below(of_hub ? hubs_.size() : edges_.size()));
  const int node = of_hub ? network_.hub(number) : network_.edge(number);
  const auto shut = [&](int other, Nanos until) {
    const std::uint64_t way = rng.below(4);
    if (way != 1) network_.shut(node, other, until);
    if (way != 2) network_.shut(other, node, until);
  };
  std::vector<int> others;
  for (int hub = 0; hub < plan_.hubs; ++hub) {
    if (!of_hub || hub != number) others.push_back(hub);
  }
  if (others.empty()) return;
  if (world_.verbose()) world_.say(of_hub ? hub_of(number).id : edge_of(number).id, "is partitioned");
  Nanos longest = world_.now() + span;
  switch (rng.below(4)) {
    case 0: shut(others[rng.below(others.size())], longest); break;
    case 1:
      for (const int other : others) shut(other, longest);
      break;
    case 2:  // one by one, mended in any order
      for (const int other : others) {
        const Nanos begins = world_.between(0, kSecond), lasts = world_.between(kMs, span);
        longest = std::max(longest, world_.now() + begins + lasts);
        world_.in(begins, [this, node, other, lasts] {
          if (!faults_) return;
          network_.shut(node, other, world_.now() + lasts);
          network_.shut(other, node, world_.now() + lasts);
          ledger_->links_changed();
        });
      }
      break;
    default: {  // flapping
      const int other = others[rng.below(others.size())];
      Nanos at = 0;
      for (int i = 0; i < 6; ++i) {
        at += world_.between(20 * kMs, 800 * kMs);
        world_.in(at, [this, node, other] {
          if (faults_) network_.shut(node, other, world_.now() + 300 * kMs);
        });
      }
      longest = world_.now() + at + kSecond;
    }
  }
  ledger_->links_changed();
  world_.at(longest + 1, [this] { ledger_->links_changed(); });
}

}  // namespace tidelock::sim
