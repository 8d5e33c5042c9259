#include "sim/scenarios.h"

#include <algorithm>
#include <array>
#include <initializer_list>

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;

// Only these, one of them about `every`. (The cluster draws from all kinds, and one that is off costs its turn.)
void only(Plan& plan, Nanos every, std::initializer_list<Fault> faults) {
  plan.faults = FaultSet{};
  for (const Fault fault : faults) plan.faults.set(fault);
  plan.fault_gap = every * static_cast<Nanos>(faults.size()) / static_cast<Nanos>(kFaults);
}
void quiet_network(Plan& plan) {
  plan.delay_least = 50 * kMicrosecond;
  plan.delay_most = 3 * kMs;
  plan.byte_ns = 0;
  plan.loss_ppm = plan.duplicate_ppm = plan.reorder_ppm = 0;
}
void dense(Plan& plan) {
  plan.page_gap = 4 * kMs;
  plan.read_gap = 10 * kMs;
  plan.write_gap = 40 * kMs;
  plan.client_gap = 20 * kMs;
  plan.bound_least = std::min(plan.bound_least, 50 * kMs);
  plan.keys = 2;
}

// Nothing but these faults, on a network that is quiet otherwise.
void dense_and_only(Plan& plan, Nanos every, std::initializer_list<Fault> faults) {
  only(plan, every, faults);
  quiet_network(plan);
  dense(plan);
}

// Operators find a new leader before the edges do.
void operators_roam(Plan& plan) {
  plan.patience_most = 300 * kMs;
  plan.roam_per_mille = 300;
}

// Apps stay with the page of an edge that died unrevoked, and its lease: nobody can block there.
void orphans(Plan& plan) {
  plan.revoke_per_mille = 200;
  plan.move_on_per_mille = 5;
}

void failovers(Plan& plan) {
  dense_and_only(plan, 500 * kMs,
                 {Fault::kChurn, Fault::kStall, Fault::kUnknown, Fault::kPause, Fault::kPartition, Fault::kCrash});
  plan.hubs = std::max(plan.hubs, 3);
  plan.edges = std::max(plan.edges, 2);
  plan.astray_per_mille = 150;
}

void deposed(Plan& plan) {
  failovers(plan);
  only(plan, 3'000 * kMs, {Fault::kStall, Fault::kCut});
  operators_roam(plan);
  plan.depose = true;
  plan.keys = 8;
  plan.long_per_mille = 900;
  plan.astray_per_mille = 30;
  plan.seed.settings.authority_window_ns = kSecond;
  plan.seed.settings.lease_long_ns = kSecond;
  plan.seed.settings.lease_short_ns = 300 * kMs;
  plan.seed.settings.lease_margin_ns = 0;
  plan.ledger.append_late_per_mille = 100;
  plan.ledger.deliver_late_per_mille = 10;
  plan.ledger.append_late_most = plan.ledger.deliver_late_most = kSecond;
}

void laggards(Plan& plan) {
  failovers(plan);
  only(plan, 300 * kMs, {Fault::kStall, Fault::kUnknown, Fault::kCrash, Fault::kCut});
  plan.seed.settings.authority_window_ns = 2 * kSecond;
  plan.seed.settings.lease_long_ns = 500 * kMs;
  plan.seed.settings.lease_short_ns = 150 * kMs;
  plan.seed.settings.lease_margin_ns = 0;
  plan.ledger.append_late_per_mille = plan.ledger.deliver_late_per_mille = 200;
  plan.ledger.append_late_most = plan.ledger.deliver_late_most = kSecond;
}

void stragglers(Plan& plan) {
  failovers(plan);
  only(plan, 250 * kMs, {Fault::kChurn, Fault::kUnknown, Fault::kCut, Fault::kPartition});
  operators_roam(plan);
  plan.seed.settings.authority_window_ns = 300 * kMs;
  plan.ledger.append_late_per_mille = plan.ledger.deliver_late_per_mille = 20;
  plan.ledger.claim_late_per_mille = 500;
  plan.ledger.append_late_most = kSecond;
  plan.ledger.deliver_late_most = 500 * kMs;
  plan.ledger.leaderless = true;
}

void flip_flop(Plan& plan) {
  dense_and_only(plan, 100 * kMs, {Fault::kChurn});
  operators_roam(plan);
  plan.hubs = 3;
  plan.edges = std::max(plan.edges, 3);
  plan.seed.settings.authority_window_ns = 50 * kMs;
  plan.seed.settings.lease_long_ns = plan.seed.settings.lease_short_ns = 150 * kMs;
  plan.seed.settings.lease_margin_ns = 0;
  plan.ledger.append_late_per_mille = 300;
  plan.ledger.append_late_most = 200 * kMs;
  plan.ledger.drop_late_per_mille = 900;
}

void restarts(Plan& plan) {
  dense_and_only(plan, 250 * kMs, {Fault::kCrash, Fault::kPower, Fault::kCut, Fault::kPause});
  orphans(plan);
  plan.edges = std::max(plan.edges, 3);
}

void rollouts(Plan& plan) {
  failovers(plan);
  orphans(plan);
  plan.faults.set(Fault::kRollout);
  plan.rollout_gap = 500 * kMs;
  plan.rollout_quiet_ns = 300 * kMs;
  plan.seed.settings.lease_long_ns = 4 * kSecond;
  plan.seed.settings.lease_short_ns = 150 * kMs;
  plan.seed.settings.lease_margin_ns = 0;
}

// Dense looks at the pointers, by apps that are stopped between two loads.
void waves(Plan& plan) {
  dense_and_only(plan, 1'500 * kMs,
                 {Fault::kChurn, Fault::kStall, Fault::kUnknown, Fault::kPause, Fault::kCut, Fault::kCrash});
  plan.faults.set(Fault::kRollout);
  plan.waves = true;
  plan.hubs = std::max(plan.hubs, 3);
  plan.edges = std::max(plan.edges, 4);
  plan.rollout_gap = 150 * kMs;
  plan.rollout_quiet_ns = 2 * kSecond;
  plan.pauses = 4;
  plan.look_pauses = 12;
  plan.write_gap = 200 * kMs;
  plan.seed.settings.lease_long_ns = kSecond;
  plan.seed.settings.lease_short_ns = 200 * kMs;
  plan.seed.settings.authority_window_ns = 100 * kMs;
  plan.seed.settings.lease_margin_ns = 0;
}

// Whoever cannot be reached keeps its lease, and its page when it dies.
void recalls(Plan& plan) {
  waves(plan);
  orphans(plan);
  only(plan, 500 * kMs,
       {Fault::kChurn, Fault::kStall, Fault::kUnknown, Fault::kPause, Fault::kCut, Fault::kCrash, Fault::kPartition});
  plan.faults.set(Fault::kRollout);
  plan.recalls = true;
}

void fleet(Plan& plan) {
  failovers(plan);
  orphans(plan);
  plan.faults.set(Fault::kFleet);
  plan.faults.set(Fault::kCut);
  plan.remove_per_mille = 200;
  plan.edges = std::max(plan.edges, 3);
}

void few_copies(Plan& plan) {
  dense(plan);
  plan.keys = 8;
  plan.interest_max = 1;
  plan.ring_max = 4;
  plan.edge_memory_bytes = 900;
  plan.pauses = 4;
}

// Of few writes: else a strong key is hardly ever without a block.
void slow(Plan& plan) {
  dense_and_only(plan, 500 * kMs, {Fault::kPause, Fault::kCut});
  plan.edges = std::min(plan.edges, 2);
  plan.keys = 4;
  plan.page_gap = 2 * kMs;
  plan.read_gap = plan.write_gap = 100 * kMs;
  plan.client_gap = 50 * kMs;
  plan.pause_most = 20 * kMs;
}

void replays(Plan& plan) {
  slow(plan);
  only(plan, 300 * kMs, {Fault::kCut, Fault::kPause});
  plan.write_gap = 60 * kMs;
  plan.edge_pauses = 50;
  plan.bound_least = 2 * kSecond;  // few marks: much is fed since the last one
}

// What is written behind waits for long, while the value before it ends.
void lifetimes(Plan& plan) {
  dense_and_only(plan, 1'000 * kMs, {Fault::kChurn, Fault::kCut});
  plan.edges = std::max(plan.edges, 3);
  plan.write_gap = 15 * kMs;
  plan.interest_sweep_at = 0;
  for (Namespace& ns : plan.seed.namespaces) {
    if (ns.write_mode == WriteMode::kBehind) ns.flush_age_ns = 2 * kSecond;
  }
}

// Edges that are removed while what they wrote waits, and return with it.
void returns(Plan& plan) {
  lifetimes(plan);
  only(plan, 300 * kMs, {Fault::kFleet, Fault::kCut});
  plan.remove_per_mille = 500;
  plan.write_gap = 60 * kMs;
}

void wrong_rates(Plan& plan) {
  dense_and_only(plan, 400 * kMs, {Fault::kChurn, Fault::kCut, Fault::kPartition, Fault::kPause, Fault::kCrash});
  orphans(plan);
  plan.edges = std::max(plan.edges, 2);
  plan.rates_at_limits = true;
  plan.seed.settings.rho_ppm = 50'000;
  plan.seed.settings.lease_margin_ns = 0;
}

void slow_writers(Plan& plan) {
  slow(plan);
  plan.edge_pauses = 150;
}

void slow_readers(Plan& plan) {
  slow(plan);
  plan.pauses = 20;
}

void outboxes(Plan& plan) {
  dense_and_only(plan, 250 * kMs, {Fault::kPower, Fault::kCrash, Fault::kDisk, Fault::kCut, Fault::kChurn});
  plan.write_gap = 15 * kMs;
  plan.edges = std::max(plan.edges, 3);
}

// Many keys: what is lost is not written again soon.
void power_cuts(Plan& plan) {
  dense_and_only(plan, 100 * kMs, {Fault::kPower, Fault::kCrash, Fault::kCut});
  plan.write_gap = 8 * kMs;
  plan.edges = std::max(plan.edges, 3);
  plan.keys = 100;
  plan.long_per_mille = 0;
  plan.sync_most = 60 * kMs;
}

void far_away(Plan& plan) {
  dense_and_only(plan, 120 * kMs, {Fault::kCut, Fault::kChurn});
  plan.write_gap = 10 * kMs;
  plan.edges = std::max(plan.edges, 3);
  plan.keys = 100;
  plan.delay_least = 5 * kMs;
  plan.delay_most = 50 * kMs;
  plan.ledger.append_late_per_mille = 600;
  plan.ledger.append_late_most = 400 * kMs;
}

void lossy(Plan& plan) {
  dense(plan);
  plan.loss_ppm = plan.duplicate_ppm = plan.reorder_ppm = 3'000;
}

void wall_clocks(Plan& plan) {
  dense_and_only(plan, 250 * kMs, {Fault::kStep, Fault::kCut, Fault::kChurn});
  plan.edges = std::max(plan.edges, 2);
}

void given_up(Plan& plan) {
  dense_and_only(plan, 500 * kMs, {Fault::kUnknown, Fault::kCut, Fault::kPause});
  plan.astray_per_mille = 300;
}

void moved(Plan& plan) {
  dense_and_only(plan, 300 * kMs, {Fault::kDisrupt, Fault::kCut, Fault::kPartition, Fault::kCrash, Fault::kChurn});
  orphans(plan);
  plan.edges = std::max(plan.edges, 2);
}

}  // namespace

const Scenario kFailovers{"failovers", "hubs that lose their lead without knowing it, under dense strong writes",
                          failovers};
const Scenario kDeposed{"deposed", "and go on for long: a wide window, short leases, entries that reach a hub late",
                        deposed};
const Scenario kLaggards{"laggards", "hubs that are told of everything late, in wide windows", laggards};
const Scenario kStragglers{"stragglers", "a ledger that commits whosever append, late, in narrow windows", stragglers};
const Scenario kFlipFlop{"flip-flop", "who leads leads again, before it learns what became of its former appends",
                         flip_flop};
const Scenario kRestarts{"restarts", "edges that die and return, often without revoking their page", restarts};
const Scenario kRollouts{"rollouts", "the lease is shortened and lengthened all the time, between failovers", rollouts};
const Scenario kWaves{"waves", "versions come out in waves, which two operators hold and stop, between failovers",
                      waves};
const Scenario kRecalls{"recalls", "and are recalled, in force or not, while gateways are cut off or dead", recalls};
const Scenario kFleet{"fleet", "edges are registered and removed all the time, between failovers", fleet};
const Scenario kFewCopies{"few-copies", "small memory, small interest tables, short replay rings", few_copies};
const Scenario kReplays{"replays", "slow links that break, and all that was missed comes again", replays};
const Scenario kWrongRates{"wrong-rates", "clocks at the limits of a large rho, links that break for about a lease",
                           wrong_rates};
const Scenario kSlowWriters{"slow-writers", "edges that are stopped between two stores of a page", slow_writers};
const Scenario kSlowReaders{"slow-readers", "apps that are stopped between two loads of a read", slow_readers};
const Scenario kOutboxes{"outboxes", "power cuts, full disks and broken links under dense write-behind load", outboxes};
const Scenario kLifetimes{"lifetimes", "write-behind values that wait for long, over values that expire", lifetimes};
const Scenario kReturns{"returns", "and whoever wrote them is removed meanwhile, and registered again", returns};
const Scenario kPowerCuts{"power-cuts", "gateways with slow disks lose power under dense write-behind load",
                          power_cuts};
const Scenario kFarAway{"far-away", "links of long delay that break while answers are on their way", far_away};
const Scenario kLossy{"lossy", "messages inside a session are lost, repeated and reordered", lossy};
const Scenario kWallClocks{"wall-clocks", "wall clocks jump by up to an hour", wall_clocks};
const Scenario kGivenUp{"given-up", "appends of unknown outcome in long terms", given_up};
const Scenario kMoved{"moved", "machines of hubs stand still, and their clocks jump", moved};

std::span<const Scenario* const> all_scenarios() {
  static constexpr std::array kAll = {&kFailovers,  &kDeposed,     &kLaggards,    &kStragglers, &kFlipFlop,  &kRestarts,
                                      &kRollouts,   &kWaves,       &kRecalls,     &kFleet,      &kFewCopies, &kReplays,
                                      &kWrongRates, &kSlowWriters, &kSlowReaders, &kOutboxes,   &kLifetimes, &kReturns,
                                      &kPowerCuts,  &kFarAway,     &kLossy,       &kWallClocks, &kGivenUp,   &kMoved};
  return kAll;
}

const Scenario* find_scenario(std::string_view name) {
  for (const Scenario* one : all_scenarios()) {
    if (one->name == name) return one;
  }
  return nullptr;
}

}  // namespace tidelock::sim
