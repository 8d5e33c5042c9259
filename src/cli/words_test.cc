#include "cli/words.h"

#include <gtest/gtest.h>

namespace tidelock {
namespace {

TEST(Words, DurationsAreRoundedAgainstUs) {
  struct Case {
    Nanos duration;
    const char *up, *down;
  };
  const Case cases[] = {
      {0, "0 us", "0 us"},
      {-5, "0 us", "0 us"},
      {1, "1 us", "0 us"},
      {999'001, "1000 us", "999 us"},
      {kMillisecond, "1.0 ms", "1.0 ms"},
      {3'201'000, "3.3 ms", "3.2 ms"},
      {1'500 * kMillisecond + 1, "1.6 s", "1.5 s"},
      {120 * kSecond, "2.0 min", "2.0 min"},
      {7'200 * kSecond, "2.0 h", "2.0 h"},
      {3 * 86'400 * kSecond, "3.0 days", "3.0 days"},
      {kForever, "unbounded", "unbounded"},
      {kForever - 1, "106752.0 days", "106751.9 days"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(duration_words(c.duration), c.up) << c.duration;
    EXPECT_EQ(duration_words(c.duration, Rounding::kDown), c.down) << c.duration;
  }
}

TEST(Words, BytesAndCounts) {
  EXPECT_EQ(bytes_words(0), "0 B");
  EXPECT_EQ(bytes_words(1023), "1023 B");
  EXPECT_EQ(bytes_words(1536), "1.5 KiB");
  EXPECT_EQ(bytes_words(64u << 20), "64.0 MiB");
  EXPECT_EQ(bytes_words(~0ull), "16384.0 PiB");
  EXPECT_EQ(count_words(0), "0");
  EXPECT_EQ(count_words(0.34), "0.3");
  EXPECT_EQ(count_words(7), "7");
  EXPECT_EQ(count_words(9'999), "9999");
  EXPECT_EQ(count_words(12'345), "12.3k");
  EXPECT_EQ(count_words(4e6), "4.0M");
  EXPECT_EQ(count_words(-1), "0");
}

TEST(Words, BytesOfOthersDoNotDriveTheTerminal) {
  struct Case {
    const char* why;
    std::string_view bytes, shown;
  };
  using namespace std::string_view_literals;
  const Case cases[] = {
      {"plain", "hello\tworld\n"sv, "hello\tworld\n"sv},
      {"UTF-8 is text", "gr\xc3\xbc\xc3\x9f"sv, "gr\xc3\xbc\xc3\x9f"sv},
      {"an escape sequence", "a\x1b[2J"sv, "a\\x1b[2J"sv},
      {"the eight-bit form of one", "\xc2\x9b"sv, "\\xc2\\x9b"sv},
      {"a carriage return hides what stood there", "a\rb"sv, "a\\x0db"sv},
      {"a turn of the writing direction", "a\xe2\x80\xae"sv, "a\\xe2\\x80\\xae"sv},
      {"cut short", "\xe2\x82"sv, "\\xe2\\x82"sv},
      {"an overlong form", "\xc0\xaf"sv, "\\xc0\\xaf"sv},
      {"a surrogate", "\xed\xa0\x80"sv, "\\xed\\xa0\\x80"sv},
      {"a backslash cannot be mistaken", "\\x1b\0"sv, "\\\\x1b\\x00"sv},
  };
  for (const Case& c : cases) EXPECT_EQ(shown_text(c.bytes), c.shown) << c.why;
}

}  // namespace
}  // namespace tidelock
