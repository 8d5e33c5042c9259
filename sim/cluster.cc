// Nodes, ledger, hubs and network of the model cluster.
//
// A node takes one event at a time from its inbox, and reads its clock after it took it (C6). While it carries out
// actions it may be stopped between any two of them: everybody else goes on meanwhile. A crash drops the rest of them.

#include "sim/cluster.h"

#include <algorithm>
#include <utility>

#include "codec/archive.h"
#include "sim/describe.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;
}

Cluster::Cluster(ClusterOptions options) : options_(options), world_(options.seed), history_(world_) {
  world_.set_verbose(options.verbose);
  Rng& rng = world_.rng();
  constexpr std::uint32_t kRhos[] = {200, 5'000, 30'000};
  seed_.settings.rho_ppm = kRhos[rng.below(3)];
  seed_.settings.lease_long_ns = 6 * kSecond;
  seed_.settings.lease_short_ns = rng.one_in(2) ? 2 * kSecond : 500 * kMs;
  seed_.namespaces = {{"cfg:", Consistency::kStrong, 0, 0, Scope::kRegion, WriteMode::kThrough},
                      {"plain:", Consistency::kBounded, kSecond, kMs, Scope::kRegion, WriteMode::kThrough},
                      {"ttl:", Consistency::kBounded, kSecond, kMs, Scope::kRegion, WriteMode::kThrough},
                      {"feat:", Consistency::kBounded, kSecond, kMs, Scope::kRegion, WriteMode::kBehind, 200 * kMs},
                      Namespace{}};
  const auto clock = [&] {
    const auto rho = static_cast<std::int64_t>(seed_.settings.rho_ppm);
    return NodeClock{world_.between(kSecond, 1'000'000 * kSecond), world_.between(-rho, rho)};
  };
  for (int i = 0; i < options_.hubs; ++i) {
    auto hub = std::make_unique<Hub>();
    hub->number = i;
    hub->id = "hub-" + std::to_string(i);
    hub->clock = clock();
    hubs_.push_back(std::move(hub));
  }
  const int edges = options_.edges != 0 ? options_.edges : 2 + static_cast<int>(rng.below(3));
  for (int i = 0; i < edges; ++i) {
    auto edge = std::make_unique<Edge>();
    edge->number = i;
    edge->id = "edge-" + std::to_string(i);
    edge->clock = clock();
    edge->wall_offset_ms = world_.between(0, 300);
    edge->apps.resize(2);
    edge->app_pages.resize(2);
    edge->next_hub = static_cast<int>(rng.below(static_cast<std::uint64_t>(options_.hubs)));
    edges_.push_back(std::move(edge));
  }
  ledger_ = make_model_ledger(world_, *this, {options_.hubs});
  for (int i = 0; i < 2; ++i) clients_.push_back({rng.next() | 1, 0, 0, 0, {}, 0, false, {}, {}});
}
Cluster::~Cluster() = default;

// ---- nodes

void Cluster::post(Node& node, std::uint64_t incarnation, std::function<void()> what) {
  if (!node.up || node.incarnation != incarnation) return;
  node.inbox.push_back(std::move(what));
  drain(node);
}

void Cluster::drain(Node& node) {
  if (node.busy || world_.now() < node.paused_until) return;
  const std::uint64_t incarnation = node.incarnation;
  node.busy = true;
  while (node.incarnation == incarnation && node.up && !node.inbox.empty() && world_.now() >= node.paused_until) {
    const auto what = std::move(node.inbox.front());
    node.inbox.pop_front();
    what();
  }
  if (node.incarnation == incarnation) node.busy = false;
}

void Cluster::pause(Node& node, Nanos span) {
  node.paused_until = std::max(node.paused_until, world_.now() + span);
  world_.at(node.paused_until, [this, &node] { drain(node); });
}

// ---- what the ledger asks and tells

Nanos Cluster::clock(int hub) const { return h(hub_of(hub)); }
Nanos Cluster::when(int hub, Nanos reading) const { return hub_of(hub).clock.when(reading); }
Nanos Cluster::paused_until(int hub) const { return hub_of(hub).paused_until; }
Nanos Cluster::arrival(int from, int to) { return std::max(world_.now() + network_delay(), link_opens(from, to)); }
Nanos Cluster::link_opens(int from, int to) const {
  const auto it = hubs_apart_until_.find({from, to});
  return it == hubs_apart_until_.end() ? 0 : it->second;
}
bool Cluster::disk_fails(int) { return false; }
bool Cluster::append_goes_astray(int) { return faults_ && world_.chance(30); }

SimSnapshot Cluster::snapshot(int number) {
  const Hub& hub = hub_of(number);
  return {hub.core->state().applied(), std::make_shared<SimRows>(hub.rows.rows)};
}

void Cluster::on_commit(Index index, const Bytes& command) {
  const Applied applied = history_.commit(index, command);
  if (world_.verbose()) {
    world_.say("ledger " + std::to_string(index.value) + (applied.effective ? " " : " ignored ") +
               describe(applied.command));
  }
  check_lease(applied);
}

void Cluster::on_committed(int number, Index index, const Bytes& command) {
  Hub& hub = hub_of(number);
  post(hub, hub.incarnation, [this, &hub, index, command] { step_hub(hub, HubCommitted{index, command}); });
}

void Cluster::on_dropped(int number, CommandId id, Code code) {
  Hub& hub = hub_of(number);
  post(hub, hub.incarnation, [this, &hub, id, code] { step_hub(hub, HubDropped{id, code}); });
}

void Cluster::on_leadership(int number, bool leading, int leader) {
  Hub& hub = hub_of(number);
  const NodeId name = leader < 0 ? NodeId{} : hub_of(leader).id;
  post(hub, hub.incarnation, [this, &hub, leading, name] { step_hub(hub, HubLeadership{leading, name}); });
}

void Cluster::on_install(int number, const SimSnapshot& snapshot) {
  Hub& hub = hub_of(number);
  post(hub, hub.incarnation, [this, &hub, rows = snapshot.rows] {
    hub.rows.rows = *rows;
    step_hub(hub, HubInstalled{});
  });
}

void Cluster::on_failed(int number, const std::string& why) {
  Hub& hub = hub_of(number);
  world_.say(hub.id + " stops: " + why);
  crash_hub(hub);
  world_.in(world_.between(100 * kMs, 3 * kSecond), [this, &hub] {
    if (!hub.up) start_hub(hub);
  });
}

// ---- hubs

void Cluster::start_hub(Hub& hub) {
  hub.up = true;
  hub.busy = false;
  ++hub.incarnation;
  hub.inbox.clear();
  HubOptions options;
  options.id = hub.id;
  options.boot = Boot{world_.rng().next() | 1};
  options.seed = seed_;
  options.rollout_quiet_ns = 4 * kSecond;
  hub.core = std::make_unique<HubCore>(options, hub.rows);
  world_.trace(3, static_cast<std::uint64_t>(hub.number), hub.core->state().applied().value);
  ledger_->start(hub.number, hub.core->state().applied());
}

void Cluster::crash_hub(Hub& hub) {
  world_.trace(4, static_cast<std::uint64_t>(hub.number));
  world_.say(hub.id + " crashes");
  hub.up = false;
  hub.busy = false;
  ++hub.incarnation;
  hub.inbox.clear();
  ledger_->stop(hub.number, false);
  for (auto& [id, conn] : conns_) {
    if (conn.open && conn.hub == hub.number) cut(conn);
  }
}

void Cluster::step_hub(Hub& hub, decltype(HubEvent::what) what) {
  const std::uint64_t incarnation = hub.incarnation;
  const auto stopped = [&] {
    world_.maybe_pause(400);
    return hub.incarnation != incarnation || world_.failed();
  };
  const bool claims = hub.core->active();
  HubActions actions;
  hub.core->step(HubEvent{h(hub), std::move(what)}, actions);
  if (!claims && hub.core->active()) ++report_.terms;
  if (world_.verbose()) {
    for (const auto& note : actions.notes) world_.say(hub.id + " " + note.event + " " + note.detail);
  }
  hub.rows.commit(actions.rows);
  world_.trace(5, static_cast<std::uint64_t>(hub.number), hub.core->state().applied().value);
  for (auto& append : actions.append) {
    if (stopped()) return;
    ledger_->append(hub.number, append.id, std::move(append.command));
  }
  for (auto& send : actions.send) {
    if (stopped()) return;
    const auto it = conns_.find(send.conn.value);
    if (it == conns_.end()) continue;
    Conn& conn = it->second;
    if (const auto* done = std::get_if<WriteDone>(&send.frame.body)) {
      if (done->code == Code::kOk) history_.acknowledged(done->index);
    } else if (const auto* batch = std::get_if<BatchDone>(&send.frame.body)) {
      if (batch->code == Code::kOk)
        history_.acknowledged_batch(edges_[static_cast<std::size_t>(conn.edge)]->id, batch->incarnation, batch->number);
    }
    if (world_.verbose()) world_.say(hub.id + " to edge-" + std::to_string(conn.edge) + ": " + describe(send.frame));
    conn.last_to_edge = std::max({conn.last_to_edge, world_.now() + network_delay(), reach(conn.edge, conn.hub)});
    world_.at(conn.last_to_edge, [this, id = conn.id.value, frame = std::move(send.frame)] {
      const Conn& over = conns_.at(id);
      if (world_.now() > over.cut_to_edge) return;
      Edge& edge = *edges_[static_cast<std::size_t>(over.edge)];
      post(edge, over.edge_incarnation,
           [this, &edge, link = over.link, frame] { step_edge(edge, EdgeFrameIn{link, frame}); });
    });
  }
  for (const auto& close : actions.close) {
    if (stopped()) return;
    const auto it = conns_.find(close.conn.value);
    if (it == conns_.end() || !it->second.open) continue;
    Conn& conn = it->second;
    conn.open = false;
    conn.last_to_edge = std::max(conn.last_to_edge, world_.now() + network_delay());
    world_.at(conn.last_to_edge, [this, id = conn.id.value] {
      const Conn& over = conns_.at(id);
      Edge& edge = *edges_[static_cast<std::size_t>(over.edge)];
      post(edge, over.edge_incarnation,
           [this, &edge, link = over.link] { step_edge(edge, EdgeLinkDown{link, "closed by the hub"}); });
    });
  }
  for (const auto& answer : actions.answers) {
    if (stopped()) return;
    const auto it = asked_.find(answer.token.value);
    if (it == asked_.end()) continue;
    const Asked& asked = it->second;
    if (asked.write && answer.answer.code == Code::kOk) history_.acknowledged(answer.answer.index);
    world_.in(network_delay(), [this, client = asked.client, attempt = asked.attempt, from = hub.number,
                                reply = answer.answer] { client_answer(client, attempt, from, reply); });
  }
  if (hub.core && actions.wake_at != kForever) {
    const std::uint64_t wake = ++hub.wake_no;
    world_.at(hub.clock.when(actions.wake_at), [this, &hub, incarnation, wake] {
      if (hub.wake_no != wake) return;
      post(hub, incarnation, [this, &hub] { step_hub(hub, HubTick{}); });
    });
  } else {
    ++hub.wake_no;
  }
}

// ---- network

Nanos Cluster::network_delay() { return world_.between(50 * kMicrosecond, world_.chance(950) ? 3 * kMs : 150 * kMs); }

Nanos Cluster::reach(int edge, int hub) const {
  const auto it = partitioned_until_.find({edge, hub});
  return it == partitioned_until_.end() ? 0 : it->second;
}

void Cluster::open_link(Edge& edge, LinkNo link, const std::string& hint) {
  int target = -1;
  for (const auto& hub : hubs_) {
    if (hub->id == hint) target = hub->number;
  }
  if (target < 0) target = edge.next_hub++ % options_.hubs;
  const std::uint64_t incarnation = edge.incarnation;
  const Nanos arrives = std::max(world_.now() + network_delay(), reach(edge.number, target));
  world_.at(arrives, [this, &edge, incarnation, link, target] {
    if (edge.incarnation != incarnation) return;
    Hub& hub = *hubs_[static_cast<std::size_t>(target)];
    if (!hub.up) {
      world_.in(network_delay(), [this, &edge, incarnation, link] {
        post(edge, incarnation, [this, &edge, link] { step_edge(edge, EdgeLinkDown{link, "refused"}); });
      });
      return;
    }
    Conn conn;
    conn.id = ConnId{++next_conn_};
    conn.edge = edge.number;
    conn.hub = target;
    conn.edge_incarnation = incarnation;
    conn.hub_incarnation = hub.incarnation;
    conn.link = link;
    conns_[conn.id.value] = conn;
    post(hub, hub.incarnation, [this, &hub, id = conn.id, peer = edge.id] { step_hub(hub, HubConnected{id, peer}); });
    world_.in(network_delay(), [this, &edge, incarnation, link] {
      post(edge, incarnation, [this, &edge, link] { step_edge(edge, EdgeLinkUp{link}); });
    });
  });
}

// Both directions lose what had not arrived at some instant; each side learns it when it learns it.
void Cluster::cut(Conn& conn) {
  conn.open = false;
  const Nanos now = world_.now();
  conn.cut_to_edge = world_.between(now, std::max(now, conn.last_to_edge));
  conn.cut_to_hub = world_.between(now, std::max(now, conn.last_to_hub));
  const auto later = [&] { return world_.between(0, world_.chance(700) ? 20 * kMs : 2 * kSecond); };
  world_.at(conn.cut_to_edge + later(), [this, id = conn.id.value] {
    const Conn& over = conns_.at(id);
    Edge& edge = *edges_[static_cast<std::size_t>(over.edge)];
    post(edge, over.edge_incarnation,
         [this, &edge, link = over.link] { step_edge(edge, EdgeLinkDown{link, "broken"}); });
  });
  world_.at(conn.cut_to_hub + later(), [this, id = conn.id] {
    const Conn& over = conns_.at(id.value);
    Hub& hub = *hubs_[static_cast<std::size_t>(over.hub)];
    post(hub, over.hub_incarnation, [this, &hub, id] { step_hub(hub, HubDisconnected{id}); });
  });
}

}  // namespace tidelock::sim
