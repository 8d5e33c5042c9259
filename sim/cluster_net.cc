// The connections between edges and hubs: streams that may break, and, when asked to, streams that are none.

#include <algorithm>
#include <utility>

#include "sim/cluster.h"
#include "sim/describe.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;
constexpr std::size_t kFrameBytes = 340;  // DESIGN 2: of a probe and its mark, framing and TLS included
}  // namespace

// One message of a stream: in order, unless the faults inside a session are on.
template <class Deliver>
void Cluster::pass(Nanos& last, int from, int to, std::size_t bytes, Deliver deliver) {
  const Nanos arrives = std::max(last, network_.arrival(from, to, bytes));
  if (faults_ && (plan_.loss_ppm | plan_.duplicate_ppm | plan_.reorder_ppm) != 0) {
    const std::uint64_t kind = world_.rng().below(1'000'000);
    if (kind < plan_.loss_ppm) return;
    if (kind < plan_.loss_ppm + plan_.duplicate_ppm) {
      world_.at(arrives, deliver);
    } else if (kind < plan_.loss_ppm + plan_.duplicate_ppm + plan_.reorder_ppm) {
      world_.at(arrives + world_.between(0, 20 * kMs), std::move(deliver));
      return;
    }
  }
  last = arrives;
  world_.at(arrives, std::move(deliver));
}

void Cluster::send_to_edge(ConnId id, HubFrame frame) {
  Conn& conn = conn_of(id);
  judge_sent(conn, frame);
  if (world_.verbose()) world_.say(hub_of(conn.hub).id, "to " + edge_of(conn.edge).id + ": " + describe(frame));
  if (!conn.open) return;
  pass(conn.last_to_edge, network_.hub(conn.hub), network_.edge(conn.edge), kFrameBytes,
       [this, &conn, frame = std::move(frame)]() mutable {
         if (world_.now() > conn.cut_to_edge) return;
         Edge& edge = edge_of(conn.edge);
         post(edge, conn.edge_incarnation, [this, &edge, link = conn.link, frame = std::move(frame)]() mutable {
           step_edge(edge, EdgeFrameIn{link, std::move(frame)});
         });
       });
}

void Cluster::send_to_hub(Edge& edge, LinkNo link, EdgeFrame frame) {
  judge_edge_sent(edge, frame);
  if (edge.conn == 0 || edge.link != link) return;
  Conn& conn = conn_of(ConnId{edge.conn});
  if (!conn.open || conn.link != link) return;
  pass(conn.last_to_hub, network_.edge(conn.edge), network_.hub(conn.hub), kFrameBytes,
       [this, &conn, frame = std::move(frame)]() mutable {
         if (world_.now() > conn.cut_to_hub) return;
         Hub& hub = hub_of(conn.hub);
         post(hub, conn.hub_incarnation, [this, &hub, id = conn.id, frame = std::move(frame)]() mutable {
           step_hub(hub, HubFrameIn{id, std::move(frame)});
         });
       });
}

void Cluster::open_link(Edge& edge, LinkNo link, const std::string& hint) {
  int target = -1;
  for (const auto& hub : hubs_) {
    if (hub->id == hint) target = hub->number;
  }
  if (target < 0) target = edge.next_hub++ % plan_.hubs;
  edge.link = link;
  edge.conn = 0;
  const std::uint64_t incarnation = edge.incarnation;
  const int here = network_.edge(edge.number), there = network_.hub(target);
  network_.reset(here, there);
  world_.at(network_.arrival(here, there, kFrameBytes), [this, &edge, incarnation, link, target, here, there] {
    if (edge.incarnation != incarnation || edge.link != link) return;
    Hub& hub = hub_of(target);
    const Nanos back = network_.arrival(there, here, kFrameBytes);
    if (!hub.up) {
      world_.at(back, [this, &edge, incarnation, link] {
        post(edge, incarnation, [this, &edge, link] { step_edge(edge, EdgeLinkDown{link, "refused"}); });
      });
      return;
    }
    Conn conn;
    conn.id = ConnId{conns_.size() + 1};
    conn.edge = edge.number;
    conn.hub = target;
    conn.edge_incarnation = incarnation;
    conn.hub_incarnation = hub.incarnation;
    conn.link = link;
    conn.last_to_edge = back;
    conns_.push_back(conn);
    open_.push_back(conn.id.value);
    edge.conn = conn.id.value;
    post(hub, hub.incarnation, [this, &hub, id = conn.id, peer = edge.id] { step_hub(hub, HubConnected{id, peer}); });
    world_.at(back, [this, &edge, incarnation, link] {
      post(edge, incarnation, [this, &edge, link] { step_edge(edge, EdgeLinkUp{link}); });
    });
  });
}

void Cluster::close_link(Edge& edge, LinkNo link) {
  if (edge.link != link) return;
  edge.link = {};
  if (edge.conn == 0) return;
  Conn& conn = conn_of(ConnId{std::exchange(edge.conn, 0)});
  if (!conn.open) return;
  conn.open = false;
  conn.cut_to_edge = world_.now();
  conn.last_to_hub =
      std::max(conn.last_to_hub, network_.arrival(network_.edge(conn.edge), network_.hub(conn.hub), kFrameBytes));
  world_.at(conn.last_to_hub, [this, &conn] {
    Hub& hub = hub_of(conn.hub);
    post(hub, conn.hub_incarnation, [this, &hub, id = conn.id] { step_hub(hub, HubDisconnected{id}); });
  });
}

void Cluster::close_by_hub(ConnId id) {
  Conn& conn = conn_of(id);
  if (!conn.open) return;
  conn.open = false;
  conn.last_to_edge =
      std::max(conn.last_to_edge, network_.arrival(network_.hub(conn.hub), network_.edge(conn.edge), kFrameBytes));
  world_.at(conn.last_to_edge, [this, &conn] {
    Edge& edge = edge_of(conn.edge);
    post(edge, conn.edge_incarnation,
         [this, &edge, link = conn.link] { step_edge(edge, EdgeLinkDown{link, "closed by the hub"}); });
  });
}

// Both directions lose what had not arrived at some instant; each side learns it when it learns it.
void Cluster::cut(Conn& conn) {
  conn.open = false;
  const Nanos now = world_.now();
  conn.cut_to_edge = world_.between(now, std::max(now, std::min(conn.last_to_edge, now + 4 * kSecond)));
  conn.cut_to_hub = world_.between(now, std::max(now, std::min(conn.last_to_hub, now + 4 * kSecond)));
  const auto later = [&] { return world_.between(0, !faults_ || world_.chance(700) ? 20 * kMs : 2 * kSecond); };
  world_.at(conn.cut_to_edge + later(), [this, &conn] {
    Edge& edge = edge_of(conn.edge);
    post(edge, conn.edge_incarnation,
         [this, &edge, link = conn.link] { step_edge(edge, EdgeLinkDown{link, "broken"}); });
  });
  world_.at(conn.cut_to_hub + later(), [this, &conn] {
    Hub& hub = hub_of(conn.hub);
    post(hub, conn.hub_incarnation, [this, &hub, id = conn.id] { step_hub(hub, HubDisconnected{id}); });
  });
}

void Cluster::cut_all(const Node& node, bool is_hub) {
  std::erase_if(open_, [&](std::uint64_t id) { return !conn_of(ConnId{id}).open; });
  for (const std::uint64_t id : std::vector<std::uint64_t>(open_)) {
    Conn& conn = conn_of(ConnId{id});
    if (conn.open && (is_hub ? conn.hub : conn.edge) == node.number) cut(conn);
  }
}

}  // namespace tidelock::sim
