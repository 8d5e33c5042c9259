// Runs many seeds in several processes and adds up what they found. A process per job, because a seed may end in an
// assertion of the product, which is a finding like any other.
//
// Threads: one. Errors: a child that dies counts as a violation of the seed it was at.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sim/options.h"

namespace tidelock::sim {

struct SeedResult {
  std::uint64_t seed = 0;
  ClusterReport report;
};

struct RunReport {
  std::uint64_t seeds = 0, violations = 0;
  ClusterReport sum;
  std::uint64_t first_failing_seed = 0;         // the lowest; 0: none
  std::vector<SeedResult> failures;             // in order of seeds, the first few
  Nanos cpu_ns = 0;                             // of all processes
  double cluster_hours_per_cpu_minute() const;  // of load and faults; the time to heal is not counted
};

// `on_seed` sees each result as it comes, in no order. Stops early after `failures_most` failing seeds (0: never).
RunReport run_seeds(const SimOptions& options, std::uint64_t failures_most,
                    const std::function<void(const SeedResult&)>& on_seed);

std::string to_json(const RunReport& report);

// The whole command: parses, runs, prints. Answers the exit code.
int run_command(int argc, char** argv);

}  // namespace tidelock::sim
