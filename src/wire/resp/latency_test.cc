#include "wire/resp/latency.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/rng.h"

namespace tidelock {
namespace {

using Levels = std::vector<std::pair<std::int64_t, std::uint64_t>>;

Levels levels(const LatencyHistogram& histogram) {
  Levels out;
  histogram.cumulative([&](std::int64_t us, std::uint64_t count) { out.emplace_back(us, count); });
  return out;
}

TEST(LatencyHistogram, ShowsTheLevelsOfRedis) {
  LatencyHistogram none;
  EXPECT_TRUE(levels(none).empty());
  EXPECT_EQ(none.percentile(99), 0);
  struct Case {
    Nanos took;
    std::int64_t level;
  };
  // Each level ends where HdrHistogram's bucket of 1,024 ns, doubled, ends: 1.031 us, 2.063 us ... 132.095 us.
  const Case cases[] = {{0, 1},
                        {1, 1},
                        {1'031, 1},
                        {1'032, 2},
                        {8'000, 8},
                        {8'255, 8},
                        {8'256, 16},
                        {33'000, 33},
                        {120'000, 132},
                        {260'000, 264},
                        {1'000'000, 1056},
                        {900'000'000, 1'082'130},
                        {1'000'000'000, 1'082'130},
                        {kForever, 1'082'130},
                        {-5, 1}};
  for (const Case& c : cases) {
    LatencyHistogram histogram;
    histogram.record(c.took);
    EXPECT_EQ(levels(histogram), (Levels{{c.level, 1}})) << c.took;
  }
  LatencyHistogram two;
  two.record(8'000);
  two.record(120'000);
  EXPECT_EQ(levels(two), (Levels{{8, 1}, {132, 2}}));
}

// Against the sorted durations themselves: never less, and at most a 128th more.
TEST(LatencyHistogram, PercentilesAgreeWithTheirPlainTwin) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    LatencyHistogram histogram;
    std::vector<Nanos> all;
    for (int i = 0; i < 500; ++i) {
      all.push_back(static_cast<Nanos>(1 + rng.below(std::uint64_t{1} << (1 + rng.below(29)))));
      histogram.record(all.back());
    }
    std::sort(all.begin(), all.end());
    for (const double percent : {50.0, 90.0, 99.0, 100.0}) {
      const Nanos exact = all[static_cast<std::size_t>(percent / 100 * 500) - 1];
      EXPECT_GE(histogram.percentile(percent), exact) << "seed " << seed;
      EXPECT_LE(histogram.percentile(percent), exact + exact / 128) << "seed " << seed;
    }
    const Levels seen = levels(histogram);
    EXPECT_EQ(seen.back().second, 500u);
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  }
}

TEST(CommandStatistics, SectionsAsRedis) {
  CommandStatistics statistics;
  EXPECT_EQ(statistics.commandstats(), "# Commandstats\r\n");
  EXPECT_EQ(statistics.errorstats(), "# Errorstats\r\n");
  const auto entry = [](const char* name) { return look_up_name(name).entry(); };
  statistics.ran(entry("get"), 7'000, false);
  statistics.ran(entry("get"), 8'500, true);
  statistics.rejected(entry("get"));
  statistics.ran(entry("config|get"), 5'000, false);
  statistics.rejected(entry("config"));
  statistics.error("ERR syntax error\r\n");
  statistics.error("ERR other\r\n");
  statistics.error("WRONGTYPE Operation\r\n");
  EXPECT_EQ(statistics.commandstats(),
            "# Commandstats\r\n"
            "cmdstat_config:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0\r\n"
            "cmdstat_get:calls=2,usec=15,usec_per_call=7.75,rejected_calls=1,failed_calls=1\r\n"
            "cmdstat_config|get:calls=1,usec=5,usec_per_call=5.00,rejected_calls=0,failed_calls=0\r\n");
  EXPECT_EQ(statistics.errorstats(), "# Errorstats\r\nerrorstat_ERR:count=2\r\nerrorstat_WRONGTYPE:count=1\r\n");
  EXPECT_EQ(statistics.latencystats(),
            "# Latencystats\r\n"
            "latency_percentiles_usec_get:p50=7.007,p99=8.511,p99.9=8.511\r\n"
            "latency_percentiles_usec_config|get:p50=5.023,p99=5.023,p99.9=5.023\r\n");
  for (int i = 0; i < 1000; ++i) statistics.error("E" + std::to_string(i) + " x");
  const std::string errors = statistics.errorstats();
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1 + 128);  // what peers can cause is bounded
  statistics.reset();
  EXPECT_EQ(statistics.commandstats(), "# Commandstats\r\n");
}

TEST(LatencyEvents, OneSampleASecondAndABoundedHistory) {
  LatencyEvents events;
  EXPECT_FALSE(events.wants(kForever));  // off
  events.threshold_ms = 10;
  EXPECT_FALSE(events.wants(10 * kMillisecond - 1));
  EXPECT_TRUE(events.wants(10 * kMillisecond));
  events.add("command", 100, 12);
  events.add("command", 100, 30);
  events.add("command", 100, 20);
  events.add("command", 101, 15);
  const auto& event = events.events().at("command");
  ASSERT_EQ(event.samples.size(), 2u);
  EXPECT_EQ(event.samples[0].milliseconds, 30);
  EXPECT_EQ(event.longest_ms, 30);
  for (int i = 0; i < 500; ++i) events.add("command", 200 + i, 11);
  EXPECT_EQ(event.samples.size(), LatencyEvents::kSamplesMax);
  EXPECT_EQ(event.longest_ms, 30);
  EXPECT_FALSE(events.reset("nope"));
  EXPECT_TRUE(events.reset("command"));
  events.add("a", 1, 1);
  events.add("b", 1, 1);
  EXPECT_EQ(events.reset_all(), 2u);
}

}  // namespace
}  // namespace tidelock
