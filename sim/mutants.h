// Planted faults of the product (base/mutant.h), by name: each breaks one rule. Only the simulator's own build of the
// protocol floor has them.
#pragma once

#include <span>
#include <string_view>

#include "base/mutant.h"
#include "sim/scenarios.h"

namespace tidelock::sim {

struct MutantInfo {
  Mutant mutant;
  std::string_view name;
  std::string_view rule;  // the rule it breaks: "S3"
  std::string_view what;
  const Scenario* scenario = nullptr;  // where it is noticed soonest; nullptr: anywhere
};
std::span<const MutantInfo> all_mutants();  // in the order of the enumeration
const MutantInfo* find_mutant(std::string_view name);
// On for every core of this thread from now on; empty: none. False: there is none of this name.
bool set_mutant(std::string_view name);

}  // namespace tidelock::sim
