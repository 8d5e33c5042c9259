// How a run ends. First only a random majority of the hubs is healed, with some edges that reach it: these must
// converge while the rest stays dead, cut off or deposed without knowing it (I10). Then everything is, and three bounds
// are measured that a healthy cluster must keep (R15, R16).

#include <algorithm>
#include <utility>

#include "sim/cluster.h"
#include "sim/models.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;
// What an election, a claim and the way of an edge to its new hub may take when nothing else is wrong.
constexpr Nanos kFailover = 2 * kSecond;
}  // namespace

// How long a healthy part may need: what a strong write waits for (A4), a lease that nobody gives back, a request's own
// deadlines (a write through an edge: 5 s; a batch: 5 s for an answer, then again), and failovers on the way.
Nanos Cluster::settle_time() const {
  const ClusterSettings& settings = plan_.seed.settings;
  const Nanos lease = stretch(settings.authority_window_ns + settings.lease_long_ns, settings.rho_ppm);
  return 3 * lease + 10 * kFailover + 20 * kSecond;
}

bool Cluster::settle(const std::string& rule, Nanos most, const std::function<std::string()>& left) {
  const Nanos until = world_.now() + most;
  std::string last;
  goal_ = ledger_->last();
  world_.run_until(world_.now() + 5 * kMs);
  while (!world_.failed()) {
    last = left();
    if (last.empty()) return true;
    if (world_.now() >= until) {
      world_.violated(rule + ": " + last + ", " + std::to_string(most / kMs) +
                      " ms after everything it needs was healed");
      return false;
    }
    goal_ = ledger_->last();
    world_.run_until(world_.now() + 50 * kMs);
  }
  return false;
}

// What has not converged among the healed; empty when all has.
std::string Cluster::unsettled(bool everybody) {
  int active = 0;
  for (const auto& hub : hubs_) {
    if (!everybody && !core_hubs_.contains(hub->number)) continue;
    if (!hub->up) return hub->id + " is down";
    active += hub->core->active();
    if (hub->core->state().applied() < goal_) return hub->id + " has not applied the whole log";
    if (hub->core->open_blocks() != 0) return "a block is open at " + hub->id;
  }
  if (active != 1) return std::to_string(active) + " hubs are active";
  for (std::size_t i = 0; i < clients_.size(); ++i) {
    if (clients_[i].request) return "operator " + std::to_string(i) + " waits";
  }
  if (auto left = unsettled_recalls(everybody); !left.empty()) return left;
  for (const auto& edge : edges_) {
    if (!everybody && !core_edges_.contains(edge->number)) continue;
    const std::string& id = edge->id;
    if (!edge->up) return id + " is down";
    if (!edge->core->session_open()) return id + " has no session";
    if (!edge->reads.empty()) return "a read waits at " + id;
    if (!edge->writes.empty()) return "a write waits at " + id;
    if (edge->core->open_blocks() != 0) return "a block is open at " + id;
    if (edge->core->outbox().counters().pending != 0) return "records are pending at " + id;
    if (!edge->core->has_proof(h(*edge))) return id + " has no proof";
    if (edge->core->lease_until() <= edge->core->fresh_at()) return id + " got no lease with its latest mark";
  }
  return {};
}

void Cluster::heal_some() {
  faults_ = false;
  world_.set_pauses(false);
  Rng& rng = world_.rng();
  std::vector<int> order(hubs_.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
  const std::size_t majority = hubs_.size() / 2 + 1;
  for (std::size_t i = 0; i < majority; ++i) core_hubs_.insert(order[i]);
  core_edges_.insert(static_cast<int>(rng.below(edges_.size())));
  for (const auto& edge : edges_) {
    if (world_.chance(600)) core_edges_.insert(edge->number);
  }

  network_.heal();
  ledger_->heal();
  for (auto& hub : hubs_) {
    const bool core = core_hubs_.contains(hub->number);
    if (core) {
      hub->paused_until = std::min(hub->paused_until, world_.now());
      drain(*hub);
      if (!hub->up) start_hub(*hub);
      continue;
    }
    // The others: dead, standing still, or cut off from the hubs while edges and operators still reach them.
    if (world_.chance(300)) {
      if (hub->up) crash_hub(*hub, false);
    } else {
      if (world_.chance(300)) pause(*hub, 100'000 * kSecond);
      for (const auto& other : hubs_) {
        if (!core_hubs_.contains(other->number)) continue;
        network_.shut(network_.hub(hub->number), network_.hub(other->number), kForever / 4);
        network_.shut(network_.hub(other->number), network_.hub(hub->number), kForever / 4);
      }
    }
  }
  for (auto& edge : edges_) {
    edge->crash_after_ops = -1;
    edge->disk_fails_until = 0;
    const bool core = core_edges_.contains(edge->number);
    if (core) {
      edge->paused_until = std::min(edge->paused_until, world_.now());
      if (edge->unsound_since != kForever) {  // somebody came with another machine
        crash_edge(*edge, true);  // and another disk: what rests in its L2 was aged by the clock that ran wrong
        edge->unsound_since = kForever;
        judge_.clock_mended(edge->id);
        edge->clock.run_at(world_.now(), 0);
      }
      drain(*edge);
      if (!edge->up) start_edge(*edge, true);
    } else if (world_.chance(500)) {
      if (edge->up) crash_edge(*edge, false);
    } else {
      for (const auto& hub : hubs_) {
        network_.shut(network_.edge(edge->number), network_.hub(hub->number), kForever / 4);
        network_.shut(network_.hub(hub->number), network_.edge(edge->number), kForever / 4);
      }
    }
  }
  ledger_->links_changed();
  if (world_.verbose()) {
    std::string who;
    for (const int hub : core_hubs_) who += " " + hub_of(hub).id;
    for (const int edge : core_edges_) who += " " + edge_of(edge).id;
    world_.say("world", "healed:" + who);
  }
  world_.in(kSecond, [this] { load_ = false; });
  world_.run_until(world_.now() + kSecond + kMs);
  settle("I10", settle_time(), [this] { return unsettled(false); });
}

void Cluster::heal_all() {
  world_.say("world", "healed: everybody");
  network_.heal();
  for (auto& hub : hubs_) {
    core_hubs_.insert(hub->number);
    hub->paused_until = std::min(hub->paused_until, world_.now());
    drain(*hub);
    if (!hub->up) start_hub(*hub);
  }
  for (auto& edge : edges_) {
    core_edges_.insert(edge->number);
    edge->paused_until = std::min(edge->paused_until, world_.now());
    if (edge->unsound_since != kForever) {
      crash_edge(*edge, true);
      edge->unsound_since = kForever;
      judge_.clock_mended(edge->id);
      edge->clock.run_at(world_.now(), 0);
    }
    drain(*edge);
    if (!edge->up) start_edge(*edge, true);
  }
  ledger_->links_changed();
  settle("I10", settle_time(), [this] { return unsettled(true); });
}

// One strong write by an operator that knows whom to ask; answered within `most`.
bool Cluster::activate_in(Nanos most, const std::string& rule, decltype(AdminRequest::body) body) {
  Code code = Code::kBusy;
  std::string message;
  ask(2, std::move(body), [&](const AdminAnswer& answer) {
    code = answer.code;
    message = answer.message;
  });
  if (!settle(rule, most, [&] { return code == Code::kBusy ? std::string("an activation is not done") : ""; }))
    return false;
  if (code != Code::kOk) world_.violated(rule + ": an activation was refused: " + message);
  return code == Code::kOk;
}

// R15: with dead edges an activation takes at most what a lease of theirs can last, which during a rollout is
//      lease_short on the hub's clock, and 1 s for round trips and the commit: stretch(lease_short) + 1 s.
//      After the leader's death: a successor (kFailover), then its wait by A4, stretch(authority + lease), the lease
//      being the ledger's setting at its claim. Of edges it needs no word by then.
// R16: a lease that has more than kFailover left when the leader dies does not lapse: the successor may grant at once
//      (A4), so it needs an election, a claim, and the edge's way to it.
void Cluster::measure_bounds() {
  const ClusterSettings& settings = plan_.seed.settings;
  Client& operator_ = clients_[2];
  const auto state = [&]() -> const StateMachine& { return hub_of(std::max(0, active_hub())).core->state(); };
  const auto publish = [&] {
    ++operator_.model;
    const std::string version = model_version(operator_.model);
    if (!activate_in(settle_time(), "I10", PublishModel{kModelName, version, signed_model(operator_.model)}))
      return false;
    if (!activate_in(settle_time(), "I10", StageModel{kModelName, version})) return false;
    return settle("A5", settle_time(), [&]() -> std::string {
      if (!state().lease_is_short()) return "a rollout is on and the leases are still long";
      for (const auto& edge : edges_) {
        const bool staged = std::any_of(edge->models.begin(), edge->models.end(),
                                        [&](const StagedModel& model) { return model.version == version; });
        if (!staged) return edge->id + " has not staged " + version;
      }
      const int hub = active_hub();
      if (hub < 0 || hub_of(hub).core->edges_ready({kModelName, version}) < edges_.size())
        return "the hub has not heard from all that they staged " + version;
      return unsettled(true);
    });
  };

  const auto rollout_goes_on = [this] {
    const auto held = rollout_of_ledger();
    return held && held->under_way();
  };
  if (rollout_goes_on()) {  // what is measured is done by hand
    Code code = Code::kBusy;
    ask(2, RolloutCommand{RolloutCommand::What::kAbort, kModelName, {}, false},
        [&code](const AdminAnswer& answer) { code = answer.code; });
    // It may have ended by itself meanwhile, and then the abort is refused.
    const bool ended = settle("I10", settle_time(), [&]() -> std::string {
      if (code == Code::kBusy) return "an operator waits for the answer to an abort";
      return rollout_goes_on() ? "a rollout goes on though it was aborted" : "";
    });
    if (!ended) return;
  }
  // Radio links may be slow beyond what the bounds leave for the way.
  const Nanos way = 6 * (plan_.delay_most + 1'000 * plan_.byte_ns);
  // The current leader's own wait must be over before its bound is that of dead edges alone.
  const Nanos own_wait = stretch(settings.authority_window_ns + settings.lease_long_ns, settings.rho_ppm);
  if (!publish()) return;
  // Nor may it begin anew meanwhile: by then an append whose outcome nobody knew has landed, or never will.
  world_.run_until(world_.now() + 4 * kSecond + way);
  int active = active_hub();
  while (active >= 0 && world_.now() < hub_of(active).active_since + own_wait) {
    world_.run_until(hub_of(active).active_since + own_wait);  // a claim that was on its way for long may begin it anew
    active = active_hub();
  }
  if (active < 0) return;
  operator_.hub = active;
  const std::size_t dead = world_.rng().below(edges_.size());  // one stays: somebody must have staged the version
  for (std::size_t i = 0; i < dead; ++i) crash_edge(*edges_[i], false);
  if (!activate_in(stretch(settings.lease_short_ns, settings.rho_ppm) + kSecond + way, "R15 (dead edges)",
                   ActivateModel{kModelName, model_version(operator_.model)})) {
    return;
  }
  for (std::size_t i = 0; i < dead; ++i) start_edge(*edges_[i], true);
  if (!settle("I10", settle_time(), [this] { return unsettled(true); })) return;

  if (plan_.recalls) {
    measure_recall(way);
    if (world_.failed()) return;
  }
  if (plan_.hubs < 3) return;
  if (!publish()) return;
  world_.run_until(world_.now() + kSecond + way);
  active = active_hub();
  if (active < 0) return;
  const Nanos lease = state().lease_ns();
  crash_hub(hub_of(active), false);
  operator_.hub = (active + 1) % plan_.hubs;
  // Who has staged the version is told by edges; those need their way to the successor too.
  if (!activate_in(stretch(settings.authority_window_ns + lease, settings.rho_ppm) + kFailover + way,
                   "R15 (leader killed)", ActivateModel{kModelName, model_version(operator_.model)})) {
    return;
  }
  start_hub(hub_of(active));
  const Nanos lengthened = plan_.rollout_quiet_ns + settings.lease_long_ns;
  if (!settle("A5", settle_time() + lengthened, [&]() -> std::string {
        return state().lease_is_short() ? "no rollout is on and the leases are still short" : unsettled(true);
      })) {
    return;
  }
  world_.run_until(world_.now() + settings.lease_short_ns);  // so that each edge has renewed once since
  active = active_hub();
  if (active < 0) return;
  for (const auto& edge : edges_) {
    if (edge->page->lease_until - h(*edge) > stretch(kFailover + way, settings.rho_ppm)) watched_.insert(edge->number);
  }
  report_.lease_lapses_measured += watched_.size();
  watch_lapses_after_ = world_.now();
  crash_hub(hub_of(active), false);
  world_.run_until(world_.now() + 2 * kFailover);
  for (const int number : watched_) {
    const Edge& edge = edge_of(number);
    if (edge.page->lease_until <= h(edge)) world_.violated("R16: " + edge.id + " has no lease after a leader died");
  }
  start_hub(hub_of(active));
  settle("I10", settle_time(), [this] { return unsettled(true); });
}

}  // namespace tidelock::sim
