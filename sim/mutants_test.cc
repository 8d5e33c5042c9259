// The simulator is tested by what it notices. The whole list takes minutes: `tidelock-sim --mutant all --seeds 1000`.

#include "sim/mutants.h"

#include <gtest/gtest.h>

#include <set>

#include "sim/hunt.h"
#include "sim/runner.h"

namespace tidelock::sim {
namespace {

TEST(Mutants, AreNamedOnce) {
  std::set<std::string_view> names;
  for (const MutantInfo& info : all_mutants()) {
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_EQ(find_mutant(info.name), &info);
  }
  EXPECT_GE(names.size(), 40u);  // RELIABILITY R4
  EXPECT_FALSE(set_mutant("no-such-mutant"));
  EXPECT_TRUE(set_mutant(""));
}

// One or more of each family that a handful of seeds notices: what fails here is the simulator, which has gone blind.
TEST(Mutants, TheGrossOnesAreNoticedWithinAFewSeeds) {
  constexpr std::string_view kGross[] = {"hub-clock-read-per-tick",
                                         "first-expiry-kept",
                                         "lease-dropped-with-session",
                                         "lease-from-receipt",
                                         "fresh-from-receipt",
                                         "append-without-acks",
                                         "mark-closes-own-term",
                                         "record-closes-all",
                                         "unknown-taken-for-never",
                                         "slot-not-bumped",
                                         "old-entries-stay-verified",
                                         "interest-cleared-by-push",
                                         "disk-trusted",
                                         "no-replay",
                                         "old-proof-for-strong",
                                         "token-ignored",
                                         "fallback-unflagged",
                                         "anyone-goes-on",
                                         "certificate-before-lapse"};
  for (const std::string_view name : kGross) {
    const MutantInfo* mutant = find_mutant(name);
    ASSERT_NE(mutant, nullptr) << name;
    SimOptions options;
    options.seeds = 40;
    options.jobs = 1;
    EXPECT_NE(hunt(*mutant, options, 1).median(), 0u) << name << ": " << mutant->what;
  }
}

// A scenario changes what happens and how often, never what is right. (More of them: `tidelock-sim --scenario NAME`.)
TEST(Scenarios, AreCleanWithoutAMutant) {
  for (const Scenario* scenario : all_scenarios()) {
    SimOptions options;
    options.scenario = scenario->name;
    options.cluster.shape = scenario->shape;
    options.seeds = 2;
    options.jobs = 1;
    const RunReport report = run_seeds(options, 1, [](const SeedResult&) {});
    EXPECT_EQ(report.violations, 0u) << scenario->name << ", seed " << report.first_failing_seed << ": "
                                     << (report.failures.empty() ? "" : report.failures.front().report.violation);
  }
}

}  // namespace
}  // namespace tidelock::sim
