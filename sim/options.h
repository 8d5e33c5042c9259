// The command line of `tidelock-sim`: long options, `--name value` or `--name=value`, each at most once.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "sim/cluster.h"

namespace tidelock::sim {

struct SimOptions {
  ClusterOptions cluster;  // its seed is the first one
  std::uint64_t seeds = 100;
  int jobs = 0;  // 0: one for each processor
  std::string mutant;
  std::string scenario;  // empty: none, or the mutant's own
  bool trace = false;
  bool list_faults = false, list_mutants = false, list_scenarios = false, help = false;
  std::string faults = "usual";  // as given, for the line that replays
  std::string json, hashes;      // files; empty: none, "-": stdout
};

// Errors name the option, the value and what would be right.
Result<SimOptions> parse_options(std::span<const std::string_view> arguments);
std::string_view help_text();
// What replays one seed of such a run.
std::string replay_line(const SimOptions& options, std::uint64_t seed);

}  // namespace tidelock::sim
