#include "store/models/files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "store/models/test_folder.h"

namespace tidelock {
namespace {

TEST(Files, AreReadWholeOrNotAtAll) {
  const TestFolder folder;
  const std::string path = folder.path() + "/file";
  ASSERT_TRUE(files::replace(path, "12345"));
  EXPECT_EQ(*files::read_all(path, 5), "12345");
  const auto refused = files::read_all(path, 4);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_EQ(refused.error().message, path + ": 5 bytes, at most 4 are allowed");
}

TEST(Files, AFailedSyncIsNoSuccessAndNamesTheFile) {  // D3
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const files::Fd out(ends[0]), in(ends[1]);
  const auto refused = files::sync_fd(in.get(), "a pipe");  // which no system can sync
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kBusy);
  EXPECT_EQ(refused.error().message, "sync a pipe: Invalid argument");
}

}  // namespace
}  // namespace tidelock
