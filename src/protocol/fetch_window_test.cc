// M3: the serving end sends what was asked for, in pieces of the size that was asked for, and nothing else.
#include "protocol/fetch_window.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "codec/archive.h"

namespace tidelock {
namespace {

const Bytes kFile = "0123456789abcdef";
const Bytes kDigest(32, 'd');

std::optional<Bytes> next(FetchWindow& window, BytesView file = kFile) {
  return window
      .next([&](std::uint64_t offset, std::size_t bytes) -> Result<Bytes> { return Bytes(file.substr(offset, bytes)); })
      .value();
}
std::string all(FetchWindow& window) {
  std::string text;
  while (const auto piece = next(window)) text += "[" + *piece + "]";
  return text;
}

TEST(FetchWindow, SendsTheHeadAndThenNoMoreThanWasAskedFor) {
  auto window = FetchWindow::open(kDigest, kFile.size(), {2, 7, 3}).value();
  const auto head = decode<FetchHead>(next(window).value(), "head");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->sha256, kDigest);
  EXPECT_EQ(head->size_bytes, 16u);
  EXPECT_EQ(all(window), "[234][56]");
  EXPECT_EQ(all(window), "") << "until more is asked for";
  ASSERT_TRUE(window.take(encode(FetchMore{0, 12, 100})));
  EXPECT_EQ(all(window), "[789ab]") << "where to begin counts for the first byte only";
  ASSERT_TRUE(window.take(encode(FetchMore{0, 8, 1})));
  EXPECT_EQ(all(window), "") << "what was asked for is not taken back";
  ASSERT_TRUE(window.take(encode(FetchMore{0, 16, 1})));
  EXPECT_EQ(all(window), "[c][d][e][f]");
}

TEST(FetchWindow, BeginsWhereTheFirstByteIsAskedFor) {  // a delta's length is known with its head only
  auto window = FetchWindow::open(kDigest, kFile.size(), {0, 0, 4}).value();
  ASSERT_TRUE(next(window));
  EXPECT_EQ(all(window), "");
  ASSERT_TRUE(window.take(encode(FetchMore{10, 14, 4})));
  EXPECT_EQ(all(window), "[abcd]");
}

TEST(FetchWindow, RefusesBoundsThatTheFileDoesNotHave) {
  struct Case {
    const char* why;
    FetchMore more;
    std::string says;
  };
  const Case cases[] = {{"pieces of nothing", {0, 4, 0}, "piece_bytes = 0: must be 1 to 1048576"},
                        {"pieces too large", {0, 4, (1u << 20) + 1}, "piece_bytes = 1048577: must be 1 to 1048576"},
                        {"from beyond the end", {17, 17, 1}, "bytes 17 to 17: the blob has 16"},
                        {"to beyond the end", {0, 17, 1}, "bytes 0 to 17: the blob has 16"}};
  for (const Case& c : cases) {
    const auto opened = FetchWindow::open(kDigest, kFile.size(), c.more);
    ASSERT_FALSE(opened) << c.why;
    EXPECT_EQ(opened.error().code, Code::kInvalid) << c.why;
    EXPECT_EQ(opened.error().message, c.says) << c.why;
    auto window = FetchWindow::open(kDigest, kFile.size(), {0, 1, 1}).value();
    EXPECT_EQ(window.take(encode(c.more)).error().message, c.says) << c.why;
  }
  auto window = FetchWindow::open(kDigest, kFile.size(), {0, 1, 1}).value();
  EXPECT_EQ(window.take("nonsense").error().code, Code::kCorrupt);
  auto empty = FetchWindow::open(kDigest, 0, {0, 0, 1}).value();
  EXPECT_TRUE(next(empty, "")) << "an empty file has a head, too";
}

}  // namespace
}  // namespace tidelock
