// A slice of the gates for every build. The whole: build/dev/bin/tidelock-raft-gates --seeds 10000 --jobs 2

#include "sim/raft_gates.h"

#include <gtest/gtest.h>

namespace tidelock::sim {
namespace {

TEST(RaftGates, NoSeedOfASliceBreaksAPromise) {  // I7, I10, I11
  RaftTrialReport sum;
  const std::uint64_t seeds = 10 * raft_modes().size();
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const RaftTrialReport report = run_raft_trial(seed);
    ASSERT_EQ(report.violation, "") << "mode '" << report.mode->name << "'; replay: tidelock-raft-gates --seed " << seed
                                    << " --trace";
    sum.add(report);
  }
  // The faults did happen: a sweep that exercises nothing proves nothing.
  EXPECT_GT(sum.acknowledged, 200 * seeds);
  EXPECT_GT(sum.unknown, 5 * seeds);
  EXPECT_GT(sum.refused, 50 * seeds);
  EXPECT_GT(sum.crashes, 5 * seeds);
  EXPECT_GT(sum.terms, 3 * seeds);
  EXPECT_GT(sum.ended_by_disk, seeds / 2);
  EXPECT_GT(sum.refused_to_load, seeds / 20);
  EXPECT_GT(sum.partitions, 2 * seeds);
  EXPECT_GT(sum.jumps, seeds / 2);
  EXPECT_GT(sum.snapshots, 10 * seeds);
  EXPECT_GT(sum.installs, 2 * seeds);
}

// Each found a fault, of the driver or of the gates.
TEST(RaftGates, SeedsThatFoundSomethingStayClean) {
  const struct {
    std::uint64_t seed;
    const char* what;
  } kept[] = {
      {4122, "a leader was taken out while its slow disk was far behind; its clients were not given their time"},
      {5184, "a standby whose log was all in its snapshot gave no vote"},
  };
  for (const auto& [seed, what] : kept) EXPECT_EQ(run_raft_trial(seed).violation, "") << what << ", seed " << seed;
}

TEST(RaftGates, TheSameSeedGivesTheSameTrace) {  // I12
  for (std::uint64_t seed = 101; seed < 101 + raft_modes().size(); ++seed) {
    const RaftTrialReport once = run_raft_trial(seed);
    const RaftTrialReport again = run_raft_trial(seed);
    EXPECT_EQ(once.trace_hash, again.trace_hash) << "seed " << seed;
    EXPECT_EQ(once.events, again.events) << "seed " << seed;
    EXPECT_NE(once.trace_hash, run_raft_trial(seed + raft_modes().size()).trace_hash) << "it must tell runs apart";
  }
}

}  // namespace
}  // namespace tidelock::sim
