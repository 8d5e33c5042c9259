// What an app that starts in the dark is told was in force on this gateway (M6).
#include "edge/in_force_marks.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "store/models/files.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

TEST(InForceMarks, TheNewestActivationIsNotedAndNeverAnOlderOne) {  // I4
  const TestFolder folder;
  const std::string path = folder.path() + "/cam/" + std::string(kInForceMark);
  const auto noted = [&]() -> std::optional<std::string> {
    const auto bytes = files::read_all(path, 4'096);
    const auto mark = bytes ? decode<InForceMark>(*bytes, "mark") : Result<InForceMark>(fail(bytes.error()));
    if (!mark) return std::nullopt;
    return mark->pointer.version + "@" + std::to_string(mark->activation.value);
  };
  {
    InForceMarks marks(folder.path());
    marks.note("cam", {"1.0.0", "a", ""}, Index{5});
    EXPECT_EQ(noted(), std::nullopt) << "its folder is not there: nothing is noted, and nothing breaks";
    std::filesystem::create_directory(folder.path() + "/cam");
    marks.note("cam", {"1.0.0", "a", ""}, Index{5});
    EXPECT_EQ(noted(), "1.0.0@5");
    marks.note("cam", {"2.0.0", "b", "1.0.0"}, Index{9});
    marks.note("cam", {"1.0.0", "a", ""}, Index{5});
    EXPECT_EQ(noted(), "2.0.0@9");
  }
  InForceMarks restarted(folder.path());
  restarted.note("cam", {"1.0.0", "a", ""}, Index{5});
  EXPECT_EQ(noted(), "2.0.0@9") << "a pointer that came back from an older disk";
  restarted.note("cam", {"1.0.0", "a", "2.0.0"}, Index{12});
  EXPECT_EQ(noted(), "1.0.0@12") << "a rollback is a newer activation (S5)";
  ASSERT_TRUE(files::replace(path, "torn"));
  InForceMarks mended(folder.path());
  mended.note("cam", {"3.0.0", "c", ""}, Index{1});
  EXPECT_EQ(noted(), "3.0.0@1") << "what cannot be read is replaced";
}

}  // namespace
}  // namespace tidelock
