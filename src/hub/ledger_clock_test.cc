#include "hub/ledger_clock.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tidelock {
namespace {

struct LedgerClockTest : testing::Test {
  std::string path = testing::TempDir() + "ledger-clock-" + std::to_string(::getpid());
  void TearDown() override { std::filesystem::remove(path); }
};

TEST_F(LedgerClockTest, HoldsWithinOneBootOfTheMachine) {
  EXPECT_EQ(LedgerClockFile(path, 7).load().at, kNever);
  LedgerClockFile(path, 7).note({100 * kSecond, 40 * kSecond});
  const auto seen = LedgerClockFile(path, 7).load();
  EXPECT_EQ(seen.time, 100 * kSecond);
  EXPECT_EQ(seen.at, 40 * kSecond);
  EXPECT_EQ(LedgerClockFile(path, 8).load().at, kNever) << "another boot: its elapsed clock began anew";
}

TEST_F(LedgerClockTest, IsWrittenOnceASecondAtMost) {
  LedgerClockFile file(path, 7);
  file.note({100 * kSecond, 40 * kSecond});
  file.note({101 * kSecond - 1, 41 * kSecond - 1});
  EXPECT_EQ(file.load().at, 40 * kSecond);
  file.note({101 * kSecond, 41 * kSecond});
  EXPECT_EQ(file.load().at, 41 * kSecond);
}

TEST_F(LedgerClockTest, DamageIsAsGoodAsNothing) {
  LedgerClockFile(path, 7).note({100 * kSecond, 40 * kSecond});
  for (const char* bytes : {"", "x", "\x01\x07\x01\x01\x01"}) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    EXPECT_EQ(LedgerClockFile(path, 7).load().at, kNever);
  }
}

}  // namespace
}  // namespace tidelock
