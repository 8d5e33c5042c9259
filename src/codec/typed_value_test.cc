#include "codec/typed_value.h"

#include <gtest/gtest.h>

#include <string>

namespace tidelock {
namespace {

TEST(TypedValue, AnyBytesCanBeAStringAndMostAreStoredAsTheyAre) {
  const Bytes mark(kTypedValueMark);
  for (const Bytes& text : {Bytes(), Bytes("value"), Bytes("\0", 1), Bytes("\0TL", 3), mark, mark + "h", mark + "s",
                            mark + "hash or not", mark + "s" + mark + "h"}) {
    const Bytes stored = stored_string(text);
    EXPECT_EQ(kind_of(stored), ValueKind::kString) << text;
    EXPECT_EQ(string_of(stored), text);
    EXPECT_EQ(stored == text, !text.starts_with(kTypedValueMark));
  }
}

TEST(TypedValue, AHashIsToldByItsHead) {
  EXPECT_EQ(kind_of(Bytes(kTypedValueMark) + "h"), ValueKind::kHash);
  EXPECT_EQ(kind_of(Bytes(kTypedValueMark) + "H"), ValueKind::kString);
}

}  // namespace
}  // namespace tidelock
