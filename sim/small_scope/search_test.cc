#include "sim/small_scope/search.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "sim/mutants.h"

namespace tidelock::sim {
namespace {

struct Planted {
  explicit Planted(std::string_view name) { EXPECT_TRUE(set_mutant(name)) << name; }
  ~Planted() { set_mutant({}); }
};

void tell(std::string_view what, const SmallReport& report) {
  std::cout << what << ": " << report.states << " states, " << report.transitions
            << " transitions, every state of less than " << report.depth << " choices expanded, deepest "
            << report.deepest << (report.exhausted ? ", exhausted" : "") << "; " << report.reads << " strong reads, "
            << report.commits << " strong writes, " << report.acknowledged << " acknowledgements\n";
  for (const std::string& line : report.story) std::cout << "  " << line << "\n";
  if (!report.violation.empty()) std::cout << "  " << report.violation << "\n";
}

// Parts of the whole scope, so that each fault of the table is within reach of few choices. In the order of SmallScope:
// writes, retries, reads at a hub, jumps, unknown outcomes, failovers, crashes of an edge, of a hub, of both together.
constexpr SmallScope kOneWrite{1, 0, 0, 0, 0, 0, 0, 0, 0};
constexpr SmallScope kOneUnknown{1, 0, 0, 0, 1, 0, 0, 0, 0};
constexpr SmallScope kOneEdgeCrash{1, 0, 0, 0, 0, 0, 1, 0, 1};

struct Case {
  const char* name;
  SmallScope scope;
  const char* mutant;
  const char* rule;  // that notices it
};
const Case kCases[] = {
    {"OneWrite", kOneWrite, "append-without-acks", "I3"},
    {"OneEdgeCrash", kOneEdgeCrash, "lease-dropped-with-session", "I3"},
    {"OneUnknown", kOneUnknown, "unknown-taken-for-never", "I3"},
    {"OneUnknownDone", kOneUnknown, "unknown-taken-for-done", "I1"},
};

class SmallScopeSearch : public ::testing::TestWithParam<Case> {};

TEST_P(SmallScopeSearch, FindsThePlantedFault) {
  const Planted planted(GetParam().mutant);
  const SmallReport report = search_small_scope(GetParam().scope, {1'000, 60'000, 100});
  tell(GetParam().mutant, report);
  EXPECT_EQ(report.violation.rfind(GetParam().rule, 0), 0u) << report.violation;
  EXPECT_FALSE(report.story.empty());
}

TEST_P(SmallScopeSearch, FindsNothingInTheProduct) {
  const SmallReport report = search_small_scope(GetParam().scope, {1'000, 4'000, 60});
  tell(GetParam().name, report);
  EXPECT_EQ(report.violation, "");
}

INSTANTIATE_TEST_SUITE_P(Scopes, SmallScopeSearch, ::testing::ValuesIn(kCases),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(SmallScope, TheWholeScopeKeepsTheRules) {
  const char* seconds = std::getenv("TIDELOCK_SMALL_SCOPE_SECONDS");
  SmallLimits limits{1'000, 20'000, 100};
  if (seconds != nullptr) limits = {1'000, 50'000'000, std::atof(seconds)};
  const SmallReport report = search_small_scope({}, limits);
  tell("the whole scope", report);
  EXPECT_EQ(report.violation, "");
  if (seconds == nullptr) {
    // About 5 s; fewer would mean that choices were lost, or states merged. No write takes effect that shallow: the
    // smaller scopes reach those.
    EXPECT_GE(report.states, 20'000u);
    EXPECT_GE(report.depth, 3);
  }
}

}  // namespace
}  // namespace tidelock::sim
