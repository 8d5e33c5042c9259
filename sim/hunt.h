// The hunt for planted mutants: how many seeds it takes until the simulator notices each of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/mutants.h"
#include "sim/options.h"
#include "sim/runner.h"

namespace tidelock::sim {

inline constexpr int kRanges = 5;  // of disjoint seeds; the median counts

struct Hunted {
  const MutantInfo* mutant = nullptr;
  std::vector<std::uint64_t> seeds;  // until it was noticed, one of each range; 0: by none of options.seeds
  std::string violation;             // the first that was noticed
  std::vector<SeedResult> unsound;  // seeds that break a rule without the mutant: a fault of the product, or of a judge
  std::uint64_t median() const;     // 0: most ranges noticed nothing
};
// Over `ranges` ranges of options.seeds seeds each, in the mutant's scenario.
Hunted hunt(const MutantInfo& mutant, SimOptions options, int ranges);

// One object: mutants, caught, median_seeds (of the medians), and the table of docs/mutants.md.
std::string to_json(const std::vector<Hunted>& hunted, const SimOptions& options);

}  // namespace tidelock::sim
