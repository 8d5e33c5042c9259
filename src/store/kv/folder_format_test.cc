#include "store/kv/folder_format.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace tidelock {
namespace {

class FolderFormat : public ::testing::Test {
 protected:
  FolderFormat() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tidelock-format-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~FolderFormat() override { std::filesystem::remove_all(folder_); }
  void write(const std::string& text) { std::ofstream(folder_ + "/format") << text; }
  std::string folder_;
};

TEST_F(FolderFormat, MarksAFreshFolderAndKnowsItAgain) {
  ASSERT_TRUE(claim_folder(folder_, "hub hub-1"));
  EXPECT_TRUE(claim_folder(folder_, "hub hub-1"));
  EXPECT_TRUE(claim_folder(folder_, "hub hub-1", kFolderFormat + 1)) << "the next build reads it, and says so";
  const auto older = claim_folder(folder_, "hub hub-1");
  ASSERT_FALSE(older) << "and from then on this one does not";
  EXPECT_NE(older.error().message.find("format 2, this build reads 1 to 1"), std::string::npos)
      << older.error().message;
}

TEST_F(FolderFormat, RefusesWhatIsNotItsOwn) {
  struct Case {
    const char* text;
    std::uint32_t format;
    Code code;
    const char* says;
  };
  const Case cases[] = {
      {"tidelock 1\nhub hub-2\n", 1, Code::kConflict, "belongs to hub hub-2"},
      {"tidelock 1\nedge hub-1\n", 1, Code::kConflict, "belongs to edge hub-1"},
      {"tidelock 7\nhub hub-1\n", 1, Code::kInvalid, "install the newer build"},
      {"tidelock 1\nhub hub-1\n", 3, Code::kInvalid, "go through the build between"},
      {"", 1, Code::kInvalid, "does not say"},
      {"tidelock one\nhub hub-1\n", 1, Code::kInvalid, "does not say"},
      {"something else 1\nhub hub-1\n", 1, Code::kInvalid, "does not say"},
  };
  for (const Case& c : cases) {
    write(c.text);
    const auto claimed = claim_folder(folder_, "hub hub-1", c.format);
    ASSERT_FALSE(claimed) << c.text;
    EXPECT_EQ(claimed.error().code, c.code) << c.text;
    EXPECT_NE(claimed.error().message.find(c.says), std::string::npos) << claimed.error().message;
  }
}

}  // namespace
}  // namespace tidelock
