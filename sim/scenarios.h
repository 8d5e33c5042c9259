// Directed scenarios: plans bent towards what a seed of all faults meets too rarely. A scenario changes which things
// happen and how often, never what is right.
#pragma once

#include <span>
#include <string_view>

#include "sim/plan.h"

namespace tidelock::sim {

struct Scenario {
  std::string_view name, what;
  void (*shape)(Plan&);
};

extern const Scenario kFailovers, kDeposed, kLaggards, kStragglers, kFlipFlop, kRestarts, kRollouts, kWaves, kRecalls,
    kFleet, kFewCopies, kReplays, kWrongRates, kSlowWriters, kSlowReaders, kOutboxes, kLifetimes, kReturns, kPowerCuts,
    kFarAway, kLossy, kWallClocks, kGivenUp, kMoved;

std::span<const Scenario* const> all_scenarios();
const Scenario* find_scenario(std::string_view name);  // nullptr: there is none of this name

}  // namespace tidelock::sim
