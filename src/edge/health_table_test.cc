// What apps say of a version becomes what the gates of a rollout are judged by (M5).
#include "edge/health_table.h"

#include <gtest/gtest.h>

#include "protocol/rollout.h"

namespace tidelock {
namespace {

using Verdict = HealthSample::Verdict;

ModelHealth figure(const std::string& version, bool in_force) {
  ModelHealth made;
  made.name = "detector";
  made.version = version;
  made.in_force = in_force;
  made.fetched_bytes = 7;
  return made;
}

TEST(HealthTable, AddsUpWhatAppsSayByVersion) {
  HealthTable table;
  const HealthSample samples[] = {{"detector", "2.0.0", Verdict::kOk, 90, 10'000, {}},
                                  {"detector", "2.0.0", Verdict::kBad, 10, 90'000, 100'000},
                                  {"detector", "2.0.0", Verdict::kSick, 1, {}, 300'000},
                                  {"detector", "1.0.0", Verdict::kOk, 5, {}, {}}};
  ASSERT_TRUE(table.report({figure("2.0.0", true)}).size() == 1) << "it is in force before anybody speaks";
  for (const HealthSample& sample : samples) ASSERT_TRUE(table.add(sample));
  const auto report = table.report({figure("2.0.0", true), figure("1.0.0", false)});
  ASSERT_EQ(report.size(), 2u);
  EXPECT_EQ(report[0].frames, 100u);
  EXPECT_EQ(report[0].errors, 10u);
  EXPECT_EQ(report[0].sick, 1u);
  EXPECT_EQ(report[0].drift_ppm, 200'000u) << "the mean of both";
  EXPECT_EQ(report[0].drift_reports, 2u);
  EXPECT_EQ(report[0].fetched_bytes, 7u) << "what the gateway knows stays";
  EXPECT_TRUE(report[0].in_force);
  ASSERT_EQ(report[0].latency.size(), 2u);
  EXPECT_EQ(report[0].latency[0], std::pair(latency_bucket(10'000), std::uint64_t{90}));
  EXPECT_EQ(report[1].frames, 5u);
  EXPECT_FALSE(report[1].in_force);
}

TEST(HealthTable, CountsAnewWhatComesIntoForceAnew) {
  HealthTable table;
  ASSERT_TRUE(table.add({"detector", "2.0.0", Verdict::kBad, 50, {}, {}}));
  EXPECT_EQ(table.report({figure("2.0.0", true)})[0].errors, 0u) << "said before it came into force";
  ASSERT_TRUE(table.add({"detector", "2.0.0", Verdict::kBad, 3, {}, {}}));
  EXPECT_EQ(table.report({figure("2.0.0", true)})[0].errors, 3u);
  EXPECT_EQ(table.report({figure("1.0.0", true), figure("2.0.0", false)})[1].errors, 3u) << "rolled back";
  EXPECT_EQ(table.report({figure("2.0.0", true)})[0].errors, 0u) << "a second try is judged by itself";
}

TEST(HealthTable, KeepsItsLimits) {
  HealthTable table;
  EXPECT_EQ(table.add({"A b", "1", Verdict::kOk, 1, {}, {}}).error().code, Code::kInvalid);
  EXPECT_EQ(table.add({"detector", "", Verdict::kOk, 1, {}, {}}).error().code, Code::kInvalid);
  for (std::size_t i = 0; i < HealthTable::kModelsMax; ++i)
    ASSERT_TRUE(table.add({"m" + std::to_string(i), "1", Verdict::kOk, 1, {}, {}}));
  EXPECT_EQ(table.add({"one-more", "1", Verdict::kOk, 1, {}, {}}).error().code, Code::kBusy);
  for (const char* version : {"1", "2", "3", "4"}) ASSERT_TRUE(table.add({"m0", version, Verdict::kOk, 1, {}, {}}));
  std::vector<ModelHealth> asked(4);
  for (std::size_t i = 0; i < 4; ++i) asked[i].name = "m0", asked[i].version = std::to_string(i + 1);
  const auto report = table.report(asked);
  EXPECT_EQ(report[0].frames + report[1].frames, 0u) << "the oldest of more than two are forgotten";
  EXPECT_EQ(report[2].frames + report[3].frames, 2u);
}

}  // namespace
}  // namespace tidelock
