#include "sim/plan.h"

#include <algorithm>
#include <iterator>

#include "base/assert.h"
#include "sim/models.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;

template <class T, std::size_t N>
T one_of(World& world, const T (&choices)[N]) {
  return choices[world.rng().below(N)];
}

ClusterSettings draw_settings(World& world, bool extreme) {
  ClusterSettings settings;
  settings.rho_ppm = one_of<std::uint32_t>(world, {200, 200, 5'000, 30'000});
  settings.lease_long_ns = one_of<Nanos>(world, {4 * kSecond, 6 * kSecond, 6 * kSecond, 10 * kSecond});
  settings.lease_short_ns = one_of<Nanos>(world, {500 * kMs, 2 * kSecond});
  if (extreme) {
    settings.rho_ppm = one_of<std::uint32_t>(world, {1, 200, 50'000});
    settings.lease_long_ns = one_of<Nanos>(world, {500 * kMs, 2 * kSecond, 30 * kSecond});
    settings.lease_short_ns = one_of<Nanos>(world, {150 * kMs, 500 * kMs, 2 * kSecond});
    settings.lease_short_ns = std::min(settings.lease_short_ns, settings.lease_long_ns);
    settings.authority_window_ns = one_of<Nanos>(world, {50 * kMs, 300 * kMs, 2 * kSecond});
    settings.lease_margin_ns = one_of<Nanos>(world, {0, 5 * kMs, settings.lease_short_ns / 2});
  }
  TIDELOCK_ASSERT(validate_settings(settings).has_value());
  return settings;
}
}  // namespace

Plan draw_plan(World& world, const ClusterOptions& options) {
  Plan plan;
  plan.faults = options.faults;
  const bool extreme = plan.faults.has(Fault::kExtreme) && world.chance(350);
  plan.hubs = options.hubs != 0 ? options.hubs : one_of(world, {1, 3, 3, 3, 3, 5});
  plan.edges = options.edges != 0 ? options.edges : one_of(world, {1, 2, 2, 3, 3, 4, 6});
  plan.seed.settings = draw_settings(world, extreme);
  plan.seed.namespaces = {{"cfg:", Consistency::kStrong, 0, 0, Scope::kRegion, WriteMode::kThrough},
                          {"model:", Consistency::kStrong, 0, 0, Scope::kRegion, WriteMode::kThrough},
                          {"plain:", Consistency::kBounded, kSecond, kMs, Scope::kRegion, WriteMode::kThrough},
                          {"ttl:", Consistency::kBounded, kSecond, kMs, Scope::kRegion, WriteMode::kThrough},
                          {"feat:", Consistency::kBounded, kSecond, kMs, Scope::kRegion, WriteMode::kBehind, 200 * kMs},
                          Namespace{}};
  plan.seed.model_key = model_public_key();

  if (plan.faults.has(Fault::kCoarse) && world.chance(250)) plan.interest_max = one_of<std::size_t>(world, {0, 1, 3});
  if (plan.faults.has(Fault::kCompact) && world.chance(250)) plan.ring_max = one_of<std::size_t>(world, {1, 4, 16});
  if (extreme && world.chance(500)) plan.edge_memory_bytes = 900;  // a few entries only: the others rest in L2
  plan.rollout_quiet_ns = world.chance(500) ? kSecond : 4 * kSecond;
  plan.keys = one_of(world, {2, 3, 3, 8});

  // One dense seed finds what needs many readers, many thin ones find what needs many faults; larger clusters get the
  // same load in all.
  const Nanos crowd = std::max(1, plan.edges / 3);
  const std::uint64_t thin = world.rng().below(4);
  plan.page_gap = (Nanos{6} << thin) * crowd * kMs;
  plan.read_gap = (Nanos{16} << thin) * crowd * kMs;
  plan.write_gap = (Nanos{80} << thin) * crowd * kMs;
  plan.client_gap = world.spread(40 * kMs, 4);
  plan.rollout_gap = world.spread(200 * kMs, 3);
  plan.bound_least = one_of<Nanos>(world, {5 * kMs, 50 * kMs, 200 * kMs, 500 * kMs, 2 * kSecond});

  plan.fault_gap = world.spread(120 * kMs, 3);
  // The same load and as many faults in 32 times the time: leases, lives and patience end by themselves in
  // between.
  if (world.chance(250) && options.shape == nullptr) {
    plan.stretch = 32;
    for (Nanos* gap :
         {&plan.page_gap, &plan.read_gap, &plan.write_gap, &plan.client_gap, &plan.rollout_gap, &plan.fault_gap}) {
      *gap *= plan.stretch;
    }
    plan.bound_least = std::max(plan.bound_least, 500 * kMs);  // a tight bound is probed for all the time
  }
  plan.delay_least = 50 * kMicrosecond;
  plan.delay_most = 3 * kMs;
  if (plan.faults.has(Fault::kLte) && world.chance(250)) {
    plan.delay_least = 20 * kMs;
    plan.delay_most = 200 * kMs;
    plan.byte_ns = one_of<Nanos>(world, {2'000, 10'000, 20'000});
  }
  const auto odds = [&](Fault fault) -> std::uint64_t {
    return plan.faults.has(fault) && world.chance(200) ? one_of<std::uint64_t>(world, {300, 3'000, 20'000}) : 0;
  };
  plan.loss_ppm = odds(Fault::kLoss);
  plan.duplicate_ppm = odds(Fault::kDuplicate);
  plan.reorder_ppm = odds(Fault::kReorder);
  plan.astray_per_mille = plan.faults.has(Fault::kUnknown) ? one_of<std::uint64_t>(world, {0, 30, 150}) : 0;
  plan.waves = plan.faults.has(Fault::kRollout) && world.chance(300);
  if (options.shape != nullptr) options.shape(plan);
  return plan;
}

}  // namespace tidelock::sim
