// A run of the cluster, and its nodes: a node takes one event at a time from its inbox, and reads its clock after it
// took it (C6). While it carries out actions it may be stopped between any two of them: everybody else goes on
// meanwhile. A crash drops the rest of them.

#include "sim/cluster.h"

#include <algorithm>
#include <utility>

#include "codec/archive.h"
#include "sim/describe.h"

namespace tidelock::sim {

Cluster::Cluster(ClusterOptions options)
    : options_(options),
      world_(options.seed),
      plan_(draw_plan(world_, options)),
      network_(world_, plan_),
      judge_([this] { return world_.now(); }, [this](std::string what) { world_.violated(std::move(what)); }) {
  world_.set_verbose(options.verbose);
  world_.set_pauses(has(Fault::kPause), plan_.pauses, plan_.pause_most);
  const auto clock = [&] {
    const auto rho = static_cast<std::int64_t>(plan_.seed.settings.rho_ppm);
    const Nanos offset = world_.between(kSecond, 1'000'000 * kSecond);
    const std::int64_t ppm = world_.between(-rho, rho);
    return NodeClock(offset, !plan_.rates_at_limits ? ppm : ppm < 0 ? -rho : rho);
  };
  for (int i = 0; i < plan_.hubs; ++i) {
    auto hub = std::make_unique<Hub>();
    hub->number = i;
    hub->id = hub->name = "hub-" + std::to_string(i);
    hub->clock = clock();
    hub->rows.disk.replace(
        SimRows{{"n", encode(kLedgerVersion)}});  // every hub reads the newest, and the ledger is there
    hubs_.push_back(std::move(hub));
  }
  for (int i = 0; i < plan_.edges; ++i) {
    auto edge = std::make_unique<Edge>();
    edge->number = i;
    edge->id = edge->name = "edge-" + std::to_string(i);
    edge->clock = clock();
    edge->wall_offset_ms = world_.between(0, 300);
    edge->apps.resize(2);
    edge->app_pages.resize(2);
    edge->next_hub = static_cast<int>(world_.rng().below(static_cast<std::uint64_t>(plan_.hubs)));
    edges_.push_back(std::move(edge));
  }
  SimLedgerOptions ledger = plan_.ledger;
  ledger.hubs = plan_.hubs;
  ledger.snapshots = has(Fault::kSnapshot);
  ledger_ = make_ledger(options.ledger, world_, *this, ledger);
  for (int i = 0; i < 3; ++i) {
    Client client;
    client.boot = world_.rng().next() | 1;
    client.rollout = i == 2;
    clients_.push_back(std::move(client));
  }
}
Cluster::~Cluster() = default;

ClusterReport Cluster::run() {
  world_.say("world", describe(plan_));
  const Nanos faults_ns = options_.faults_ns * plan_.stretch;
  for (auto& hub : hubs_) start_hub(*hub);
  ledger_->elect(static_cast<int>(world_.rng().below(hubs_.size())));
  for (auto& edge : edges_) {
    const bool late = has(Fault::kFleet) && edge->number > 0 && world_.chance(200);
    if (late)
      restart_later(*edge, kSecond, faults_ns / 2 + kSecond);
    else
      start_edge(*edge, true);
  }
  start_load();
  world_.in(world_.between(kSecond, 3 * kSecond), [this] { fault(); });
  world_.run_until(faults_ns);
  report_.faults_ns = world_.now();

  if (!world_.failed()) heal_some();
  if (!world_.failed()) heal_all();
  if (!world_.failed()) judge_end();
  if (!world_.failed()) judge_rollouts_end();
  if (!world_.failed()) measure_bounds();

  report_.violation = world_.violation();
  report_.violated_at = world_.violated_at();
  report_.trace_hash = world_.trace_hash();
  report_.events = world_.events();
  report_.judged = judge_.counts();
  report_.reads = report_.judged.reads;
  report_.virtual_ns = world_.now();
  return report_;
}

void Cluster::post(Node& node, std::uint64_t incarnation, Task what) {
  if (!node.up || node.incarnation != incarnation) return;
  node.inbox.push_back(std::move(what));
  drain(node);
}

void Cluster::drain(Node& node) {
  if (node.busy || world_.now() < node.paused_until) return;
  const std::uint64_t incarnation = node.incarnation;
  node.busy = true;
  while (node.incarnation == incarnation && node.up && !node.inbox.empty() && world_.now() >= node.paused_until &&
         !world_.failed()) {
    Task what = std::move(node.inbox.front());
    node.inbox.pop_front();
    what();
  }
  if (node.incarnation == incarnation) node.busy = false;
}

void Cluster::pause(Node& node, Nanos span) {
  node.paused_until = std::max(node.paused_until, world_.now() + span);
  world_.at(node.paused_until, [this, &node] { drain(node); });
}

}  // namespace tidelock::sim
