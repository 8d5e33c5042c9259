// A recall in a fleet of which some are cut off, as a figure: nothing else breaks, apps look at the pointer all the
// time.

#include "sim/recall_figures.h"

#include <algorithm>
#include <utility>

#include "codec/archive.h"
#include "sim/cluster.h"
#include "sim/models.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;
constexpr Nanos kOneWay = 50 * kMs;
constexpr Nanos kLookGap = 25 * kMs;  // of the apps of one gateway, in the mean

void fleet_with_links_of_100_ms(Plan& plan) {
  ClusterSettings& settings = plan.seed.settings;
  settings = ClusterSettings{};
  plan.delay_least = plan.delay_most = kOneWay;
  plan.page_gap = kLookGap;
  plan.rollout_quiet_ns = 5 * kSecond;
  plan.stretch = 1;
  plan.recalls = true;
}
}  // namespace

RecallFigures Cluster::recall_in_a_fleet(int cut_off) {
  RecallFigures figures;
  const auto version_used = [&](int number) { return model_version(number); };
  const auto fail_with = [&] {
    figures.violation = world_.violation();
    return figures;
  };
  faults_ = false;
  network_.heal();
  for (auto& hub : hubs_) {
    core_hubs_.insert(hub->number);
    start_hub(*hub);
  }
  ledger_->elect(0);
  for (auto& edge : edges_) {
    core_edges_.insert(edge->number);
    start_edge(*edge, true);
  }
  ledger_->heal();
  if (!settle("I10", settle_time(), [this] { return unsettled(true); })) return fail_with();
  clients_[2].hub = std::max(0, active_hub());
  for (int model = 1; model <= 2; ++model) {
    const std::string version = version_used(model);
    if (!activate_in(settle_time(), "I10", PublishModel{kModelName, version, signed_model(model)})) return fail_with();
    if (!activate_in(settle_time(), "I10", StageModel{kModelName, version})) return fail_with();
    const bool staged = settle("M4", settle_time(), [&]() -> std::string {
      const int hub = active_hub();
      return hub >= 0 && hub_of(hub).core->edges_ready({kModelName, version}) == edges_.size() ? "" : "not all staged";
    });
    if (!staged || !activate_in(settle_time(), "I10", ActivateModel{kModelName, version})) return fail_with();
  }
  // Long leases: what a gateway that is cut off may hold is the most there is.
  const auto state = [&]() -> const StateMachine& { return hub_of(std::max(0, active_hub())).core->state(); };
  if (!settle("A5", 60 * kSecond, [&] { return std::string(state().lease_is_short() ? "short leases" : ""); }))
    return fail_with();
  const std::string recalled = version_used(2);
  Nanos last_use = kNever;
  for (int i = 0; i < plan_.edges; ++i) fleet_reader(i, recalled, last_use, figures);
  world_.run_until(world_.now() + 2 * plan_.seed.settings.lease_long_ns);

  for (int i = 0; i < cut_off; ++i) {
    const Edge& edge = edge_of(i);
    for (const auto& hub : hubs_) {
      network_.shut(network_.edge(edge.number), network_.hub(hub->number), kForever / 4);
      network_.shut(network_.hub(hub->number), network_.edge(edge.number), kForever / 4);
    }
  }
  world_.run_until(world_.now() + 4 * kOneWay);  // what was on its way has arrived
  const int active = active_hub();
  if (active < 0) return fail_with();
  const Hub& hub = hub_of(active);

  // What the hub's table says of those that were cut off, and what their pages truly hold.
  Nanos provable = world_.now(), last_right = kNever;
  bool described = false;
  const Nanos asked_h = h(hub);  // or later: what is left was told after that
  ask(2, DescribeCluster{}, [&](const AdminAnswer& answer) {
    described = true;
    for (const EdgeView& view : answer.edges) {
      const auto edge =
          std::find_if(edges_.begin(), edges_.begin() + cut_off, [&](const auto& one) { return one->id == view.edge; });
      if (edge == edges_.begin() + cut_off) continue;
      provable = std::max(provable, hub.clock.when(asked_h + view.lease_left_ns));
    }
  });
  if (!settle("I10", kSecond, [&] { return std::string(described ? "" : "no answer"); })) return fail_with();
  for (int i = 0; i < cut_off; ++i)
    last_right = std::max(last_right, edge_of(i).clock.when(edge_of(i).page->lease_until));

  const Nanos asked = world_.now();
  if (!activate_in(5 * kSecond, "M7 (recall)", RecallModel{kModelName, recalled, false, {}, "a figure"}))
    return fail_with();
  const std::string what = std::string(kModelName) + " " + recalled;
  if (!settle("M7 (certificate)", 2 * plan_.seed.settings.lease_long_ns, [&]() -> std::string {
        return certified_at_.contains(what) ? "" : "there is no certificate of " + what;
      })) {
    return fail_with();
  }
  const Nanos certified = certified_at_.at(what);
  world_.run_until(certified + 2 * plan_.seed.settings.lease_long_ns);
  load_ = false;
  for (int i = cut_off; i < plan_.edges; ++i) {
    Edge& edge = edge_of(i);
    const PointerInForce look = look_at_pointers(edge, edge.page);
    figures.told_ns = std::max(figures.told_ns, edge.recalled.contains(recalled) ? edge.told_at - asked : kForever);
    figures.follow += look.proven && look.pointer && look.pointer->version != recalled;
  }
  figures.violation = world_.violation();
  figures.waited_ns = certified - asked;
  figures.after_provable_ns = certified - provable;
  figures.after_last_right_ns = certified - last_right;
  figures.after_last_use_ns = certified - last_use;
  return figures;
}

void Cluster::fleet_reader(int number, const std::string& recalled, Nanos& last_use, RecallFigures& figures) {
  Edge& edge = edge_of(number);
  if (!load_) return;
  const Nanos began = world_.now();
  const PointerInForce look = look_at_pointers(edge, edge.page);
  ++figures.looks;
  if (look.proven) {
    judge_use(edge, look, began);
    if (look.pointer && look.pointer->version == recalled) {
      last_use = std::max(last_use, began);
      const auto certified = certified_at_.find(std::string(kModelName) + " " + recalled);
      figures.uses_after += certified != certified_at_.end() && began > certified->second;
      ++figures.uses;
    }
  } else if (world_.chance(100)) {  // as the library does: the edge brings both into memory
    for (const std::string& key : {model_ring_key(kModelName), model_current_key(kModelName)})
      ask_edge(edge, key, Contract{Consistency::kStrong, {}, {}, {}});
  }
  world_.in(soon(plan_.page_gap),
            [this, number, recalled, &last_use, &figures] { fleet_reader(number, recalled, last_use, figures); });
}

RecallFigures recall_figures(int gateways, int cut_off, std::uint64_t seed) {
  ClusterOptions options;
  options.seed = seed;
  options.hubs = 3;
  options.edges = gateways;
  options.faults = FaultSet{};
  options.shape = fleet_with_links_of_100_ms;
  return Cluster(options).recall_in_a_fleet(cut_off);
}

}  // namespace tidelock::sim
