// The archive's one promise beside round trips (every user of it tests those): a value has one encoding.
#include "codec/archive.h"

#include <gtest/gtest.h>

namespace tidelock {
namespace {

struct Pair {
  std::uint64_t number = 0;
  std::optional<std::string> text;
  template <class A>
  void fields(A& a) {
    a(number, text);
  }
};

// Found by fuzzing: a number padded with zero bytes decoded too, so the same manifest had many digests.
TEST(Archive, AValueHasOneEncoding) {
  struct Case {
    const char* why;
    Bytes bytes;
    bool good;
  };
  const Case cases[] = {{"as encoded", {"\x05\x01\x02hi", 5}, true},
                        {"zero is one byte", {"\x00\x00", 2}, true},
                        {"the largest number", {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x00", 11}, true},
                        {"a number with a zero behind it", {"\x85\x00\x00", 3}, false},
                        {"zero in ten bytes", {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00\x00", 11}, false},
                        {"beyond 64 bits", {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02\x00", 11}, false},
                        {"a padded presence", {"\x05\x81\x00\x02hi", 6}, false},
                        {"bytes behind it", {"\x00\x00\x00", 3}, false},
                        {"longer than what is there", {"\x00\x01\x7F", 3}, false}};
  for (const Case& c : cases) {
    const auto value = decode<Pair>(c.bytes, "pair");
    ASSERT_EQ(value.has_value(), c.good) << c.why;
    if (value) {
      EXPECT_EQ(encode(*value), c.bytes) << c.why;
    }
  }
}

}  // namespace
}  // namespace tidelock
