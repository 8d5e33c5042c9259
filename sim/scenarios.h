// Directed scenarios: plans bent towards what a seed of all faults meets too rarely. A scenario changes which things
// happen and how often, never what is right.
#pragma once

#include <string_view>

#include "sim/plan.h"

namespace tidelock::sim {

struct Scenario {
  std::string_view name;
  void (*shape)(Plan&);
};

extern const Scenario kFailovers;    // hubs that lose their lead without knowing it, under dense strong writes
extern const Scenario kRestarts;     // edges that die and return, often without revoking their page
extern const Scenario kRollouts;     // the lease is shortened and lengthened all the time, between failovers
extern const Scenario kFleet;        // edges are registered and removed all the time, between failovers
extern const Scenario kFewCopies;    // small memory, small interest tables, short replay rings
extern const Scenario kWrongRates;   // clocks at the limits of a large rho, links that break for about a lease
extern const Scenario kSlowWriters;  // stopped between two loads of a read, or two stores of a page
extern const Scenario kOutboxes;     // power cuts, full disks and broken links under dense write-behind load
extern const Scenario kLossy;        // messages inside a session are lost, repeated and reordered

}  // namespace tidelock::sim
