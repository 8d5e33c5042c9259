// The simulator is tested by what it notices. The whole list takes minutes: `tidelock-sim --mutant all --seeds 1000`.

#include "sim/mutants.h"

#include <gtest/gtest.h>

#include <set>

#include "sim/hunt.h"

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

}  // namespace
}  // namespace tidelock::sim
