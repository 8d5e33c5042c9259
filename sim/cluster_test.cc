// Seeds of the whole cluster, and that a seed is a seed.

#include "sim/cluster.h"

#include <gtest/gtest.h>

#include "sim/options.h"

namespace tidelock::sim {
namespace {

// I1-I5, I7, I8, I10, R15, R16: whatever breaks, nobody is told a lie, and when it is mended everything converges.
TEST(Cluster, NoSeedBreaksARule) {
  ClusterReport sum;
  constexpr std::uint64_t kSeeds = 60;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimOptions options;
    options.cluster.seed = seed;
    const ClusterReport report = Cluster(options.cluster).run();
    ASSERT_EQ(report.violation, "") << "replay: " << replay_line(options, seed);
    sum.page_reads += report.page_reads;
    sum.strong_page_reads += report.strong_page_reads;
    sum.writes += report.writes;
    sum.activations += report.activations;
    sum.lease_lapses_measured += report.lease_lapses_measured;
  }
  // Not a proof of anything when the load does nothing.
  EXPECT_GT(sum.page_reads, kSeeds * 20);
  EXPECT_GT(sum.strong_page_reads, kSeeds);
  EXPECT_GT(sum.writes, kSeeds * 5);
  EXPECT_GT(sum.activations, kSeeds);
  EXPECT_GT(sum.lease_lapses_measured, kSeeds / 4);
}

TEST(Cluster, TheSameSeedGivesTheSameTrace) {  // I12
  for (std::uint64_t seed = 1'000; seed < 1'040; ++seed) {
    ClusterOptions options;
    options.seed = seed;
    options.faults_ns = 4 * kSecond;
    const ClusterReport once = Cluster(options).run();
    const ClusterReport again = Cluster(options).run();
    EXPECT_EQ(once.trace_hash, again.trace_hash) << "seed " << seed;
    EXPECT_EQ(once.events, again.events) << "seed " << seed;
    EXPECT_EQ(once.reads, again.reads) << "seed " << seed;
  }
}

TEST(Cluster, AnotherSeedGivesAnotherTrace) {
  ClusterOptions options;
  options.faults_ns = 2 * kSecond;
  options.seed = 1;
  const ClusterReport one = Cluster(options).run();
  options.seed = 2;
  EXPECT_NE(one.trace_hash, Cluster(options).run().trace_hash);
}

TEST(Cluster, AHealthyClusterMeetsNoFaultAndServesFromItsPages) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    ClusterOptions options;
    options.seed = seed;
    options.faults = *parse_faults("none");
    const ClusterReport report = Cluster(options).run();
    EXPECT_EQ(report.violation, "") << "seed " << seed;
    EXPECT_EQ(report.faults, 0u);
    EXPECT_GT(report.strong_page_reads, 50u) << "seed " << seed;
  }
}

}  // namespace
}  // namespace tidelock::sim
