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

// What may happen, so that each fault of the table is within reach of few choices.
constexpr SmallScope kOneWrite{1, 0, 0, 0, 0, 0, 0, 0, 0};
constexpr SmallScope kOneWriteOneJump{1, 0, 0, 1, 0, 0, 0, 0, 0};
constexpr SmallScope kOneWriteOneFailover{1, 0, 0, 1, 0, 1, 0, 0, 0};
constexpr SmallScope kOneWriteOneEdgeCrash{1, 0, 0, 0, 0, 0, 1, 0, 1};

struct Case {
  const char* name;
  SmallScope scope;
  const char* mutant;
  const char* rule;  // that notices it
};
const Case kCases[] = {
    {"OneWrite", kOneWrite, "append-without-acks", "I3"},
    {"OneJump", kOneWriteOneJump, "mark-closes-own-term", "I"},
    {"OneFailover", kOneWriteOneFailover, "no-lease-wait", "I3"},
    {"OneEdgeCrash", kOneWriteOneEdgeCrash, "unrevoked-page-ignored", "I3"},
};

class SmallScopeSearch : public ::testing::TestWithParam<Case> {};

TEST_P(SmallScopeSearch, FindsThePlantedFault) {
  const Planted planted(GetParam().mutant);
  const SmallReport report = search_small_scope(GetParam().scope, {});
  tell(GetParam().mutant, report);
  EXPECT_EQ(report.violation.rfind(GetParam().rule, 0), 0u) << report.violation;
  EXPECT_FALSE(report.story.empty());
}

TEST_P(SmallScopeSearch, FindsNothingInTheProduct) {
  const SmallReport report = search_small_scope(GetParam().scope, {});
  tell(GetParam().name, report);
  EXPECT_EQ(report.violation, "");
}

INSTANTIATE_TEST_SUITE_P(Scopes, SmallScopeSearch, ::testing::ValuesIn(kCases),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(SmallScope, TheWholeScopeKeepsTheRules) {
  const char* seconds = std::getenv("TIDELOCK_SMALL_SCOPE_SECONDS");
  SmallLimits limits;
  if (seconds != nullptr) limits.seconds = std::atof(seconds);
  const SmallReport report = search_small_scope({}, limits);
  tell("the whole scope", report);
  EXPECT_EQ(report.violation, "");
}

}  // namespace
}  // namespace tidelock::sim
