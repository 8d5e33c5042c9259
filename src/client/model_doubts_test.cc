#include "client/model_doubts.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace tidelock {
namespace {

namespace fs = std::filesystem;

TEST(ModelDoubts, AreWhatTheEdgeSaysOfTheVersionInUse) {  // X2, X3
  std::string folder = (fs::temp_directory_path() / "tidelock-doubts-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string mark = folder + "/detector/1.0.0/tidelock.verified", flag = folder + "/.trust-expired";
  fs::create_directories(folder + "/detector/1.0.0");
  std::ofstream(mark) << "verified\n";
  ModelDoubts doubts(folder, "detector");
  struct Step {
    const char* why;
    bool mark, flag;
    std::int64_t after_ns;
    bool unverified, expired;
  };
  const Step steps[] = {
      {"verified, and the trust files are fresh", true, false, 0, false, false},
      {"they expire", true, true, ModelDoubts::kEveryNs, false, true},
      {"and are fresh again, which is not looked at that soon", true, false, 1, false, true},
      {"but then", true, false, ModelDoubts::kEveryNs, false, false},
      {"a file of it was damaged on disk", false, false, ModelDoubts::kEveryNs, true, false},
      {"and came again", true, false, ModelDoubts::kEveryNs, false, false},
  };
  std::int64_t now_ns = 1;
  for (const Step& step : steps) {
    if (step.mark)
      std::ofstream(mark) << "verified\n";
    else
      fs::remove(mark);
    if (step.flag)
      std::ofstream(flag) << "why\n";
    else
      fs::remove(flag);
    now_ns += step.after_ns;
    doubts.look(now_ns, "1.0.0");
    EXPECT_EQ(doubts.unverified(), step.unverified) << step.why;
    EXPECT_EQ(doubts.trust_expired(), step.expired) << step.why;
    EXPECT_EQ(doubts.any(), step.unverified || step.expired) << step.why;
  }
  EXPECT_FALSE(doubts.recalled("1.0.0"));
  std::ofstream(folder + "/detector/tidelock.recalled") << "0.9.0\n1.0.0\n";  // M7
  doubts.look(now_ns + ModelDoubts::kEveryNs, "1.0.0");
  EXPECT_TRUE(doubts.recalled("1.0.0") && doubts.recalled("0.9.0"));
  EXPECT_FALSE(doubts.recalled("1.0"));
  doubts.look(now_ns + 2 * ModelDoubts::kEveryNs, "");
  EXPECT_FALSE(doubts.unverified()) << "nothing is in use";
  fs::remove_all(folder);
}

}  // namespace
}  // namespace tidelock
