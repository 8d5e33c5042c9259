#include "sim/scenarios.h"

#include <algorithm>
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

void failovers(Plan& plan) {
  only(plan, 500 * kMs,
       {Fault::kChurn, Fault::kStall, Fault::kUnknown, Fault::kPause, Fault::kPartition, Fault::kCrash});
  quiet_network(plan);
  dense(plan);
  plan.hubs = std::max(plan.hubs, 3);
  plan.edges = std::max(plan.edges, 2);
  plan.astray_per_mille = 150;
}

void restarts(Plan& plan) {
  only(plan, 250 * kMs, {Fault::kCrash, Fault::kPower, Fault::kCut, Fault::kPause});
  quiet_network(plan);
  dense(plan);
  plan.edges = std::max(plan.edges, 3);
}

void rollouts(Plan& plan) {
  failovers(plan);
  plan.faults.set(Fault::kRollout);
  plan.rollout_gap = 100 * kMs;
  plan.rollout_quiet_ns = kSecond;
}

void fleet(Plan& plan) {
  failovers(plan);
  plan.faults.set(Fault::kFleet);
  plan.faults.set(Fault::kCut);
  plan.edges = std::max(plan.edges, 3);
}

void few_copies(Plan& plan) {
  dense(plan);
  plan.keys = 8;
  plan.interest_max = 1;
  plan.ring_max = 4;
  plan.edge_memory_bytes = 900;
}

void wrong_rates(Plan& plan) {
  only(plan, 400 * kMs, {Fault::kChurn, Fault::kCut, Fault::kPartition, Fault::kPause});
  quiet_network(plan);
  dense(plan);
  plan.edges = std::max(plan.edges, 2);
  plan.seed.settings.rho_ppm = 50'000;
  plan.seed.settings.lease_margin_ns = 0;
}

void slow_writers(Plan& plan) {
  only(plan, 500 * kMs, {Fault::kPause, Fault::kCut});
  quiet_network(plan);
  dense(plan);
  plan.page_gap = 2 * kMs;
  plan.write_gap = 20 * kMs;
  plan.keys = 2;
}

void outboxes(Plan& plan) {
  only(plan, 250 * kMs, {Fault::kPower, Fault::kCrash, Fault::kDisk, Fault::kCut, Fault::kChurn});
  quiet_network(plan);
  dense(plan);
  plan.write_gap = 15 * kMs;
  plan.edges = std::max(plan.edges, 3);
}

void lossy(Plan& plan) {
  dense(plan);
  plan.loss_ppm = plan.duplicate_ppm = plan.reorder_ppm = 3'000;
}

}  // namespace

const Scenario kFailovers{"failovers", failovers};
const Scenario kRestarts{"restarts", restarts};
const Scenario kRollouts{"rollouts", rollouts};
const Scenario kFleet{"fleet", fleet};
const Scenario kFewCopies{"few-copies", few_copies};
const Scenario kWrongRates{"wrong-rates", wrong_rates};
const Scenario kSlowWriters{"slow-writers", slow_writers};
const Scenario kOutboxes{"outboxes", outboxes};
const Scenario kLossy{"lossy", lossy};

}  // namespace tidelock::sim
