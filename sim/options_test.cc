#include "sim/options.h"

#include <gtest/gtest.h>

#include <vector>

#include "sim/faults.h"
#include "sim/scenarios.h"

namespace tidelock::sim {
namespace {

TEST(SimOptions, ReadsWhatIsGivenInBothForms) {
  const std::vector<std::string_view> arguments = {"--seed=17", "--seeds",  "3",        "--edges",
                                                   "8",         "--faults", "crash,cut"};
  const auto options = parse_options(arguments);
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->cluster.seed, 17u);
  EXPECT_EQ(options->seeds, 3u);
  EXPECT_EQ(options->cluster.edges, 8);
  EXPECT_TRUE(options->cluster.faults.has(Fault::kCut));
  EXPECT_FALSE(options->cluster.faults.has(Fault::kPower));
  EXPECT_EQ(replay_line(*options, 18), "tidelock-sim --seed 18 --edges 8 --seconds 12 --faults crash,cut --trace");
}

TEST(SimOptions, AScenarioBendsThePlanAndIsReplayed) {
  for (const Scenario* scenario : all_scenarios()) {
    const std::vector<std::string_view> arguments = {"--scenario", scenario->name};
    const auto options = parse_options(arguments);
    ASSERT_TRUE(options) << options.error().message;
    EXPECT_EQ(options->cluster.shape, scenario->shape);
    EXPECT_EQ(replay_line(*options, 2),
              "tidelock-sim --seed 2 --seconds 12 --scenario " + std::string(scenario->name) + " --trace");
  }
}

TEST(SimOptions, RefusesAndSaysWhatWouldBeRight) {
  struct Case {
    const char* why;
    std::vector<std::string_view> arguments;
    const char* message;
  };
  const Case cases[] = {
      {"an unknown option", {"--sed", "1"}, "no option '--sed'; --help lists them"},
      {"no value", {"--seeds"}, "--seeds needs a value"},
      {"no number", {"--seeds", "many"}, "--seeds 'many': give a whole number from 1"},
      {"a number with a tail", {"--hubs", "3x"}, "--hubs '3x': give 1 to 7"},
      {"too many", {"--hubs", "9"}, "--hubs '9': give 1 to 7"},
      {"twice", {"--seed", "1", "--seed", "2"}, "--seed is given twice"},
      {"an unknown fault", {"--faults", "crash,fire"}, "--faults: no fault 'fire'; `--faults list` names them"},
      {"an unknown scenario", {"--scenario", "calm"}, "--scenario: no scenario 'calm'; `--scenario list` names them"},
      {"an unknown ledger", {"--ledger", "etcd"}, "--ledger 'etcd': give model or raft"},
  };
  for (const Case& c : cases) {
    const auto options = parse_options(c.arguments);
    ASSERT_FALSE(options) << c.why;
    EXPECT_EQ(options.error().message, c.message) << c.why;
  }
}

TEST(Faults, AListNamesThemAndTakesAway) {
  EXPECT_EQ(*parse_faults("all"), FaultSet::all());
  const auto some = parse_faults("all,-drift,-rollout");
  ASSERT_TRUE(some);
  EXPECT_FALSE(some->has(Fault::kDrift));
  EXPECT_TRUE(some->has(Fault::kCrash));
  EXPECT_EQ(all_faults().size(), kFaults);
  for (std::size_t i = 0; i < kFaults; ++i) {
    EXPECT_EQ(static_cast<std::size_t>(all_faults()[i].fault), i);
    EXPECT_TRUE(parse_faults(all_faults()[i].name).has_value());
  }
}

}  // namespace
}  // namespace tidelock::sim
