#include "tidelock/array_view.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidelock {
namespace {

alignas(8) constexpr float kNumbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
const std::string_view kBytes(reinterpret_cast<const char*>(kNumbers), sizeof kNumbers);

TEST(ArrayView, IsTheBytesThemselves) {
  const auto view = ArrayView<float>::over(kBytes, {2, 3, 2});
  ASSERT_TRUE(view) << view.error().message;
  EXPECT_EQ(view->flat().data(), kNumbers);
  EXPECT_EQ(view->at({1, 2, 1}), 11.0f);
  EXPECT_EQ(view->at({0, 1, 0}), 2.0f);
  EXPECT_EQ(view->row({1}).size(), 6u);
  EXPECT_EQ(view->row({1, 1}).front(), 8.0f);
  EXPECT_EQ(view->row({}).size(), 12u);
  EXPECT_EQ(ArrayView<float>::kDType, DType::kF32);
  EXPECT_EQ(size_of(dtype_of<std::int16_t>()), 2u);
  EXPECT_TRUE(ArrayView<double>::over({}, {4, 0, 3})) << "nothing is an array too";
}

TEST(ArrayView, AnswersNothingOutsideOfItsShape) {
  const auto view = ArrayView<float>::over(kBytes, {3, 4});
  ASSERT_TRUE(view);
  EXPECT_FALSE(view->at({3, 0}));
  EXPECT_FALSE(view->at({0, 4})) << "inside of the bytes, and another row";
  EXPECT_FALSE(view->at({0}));
  EXPECT_FALSE(view->at({0, 0, 0}));
  EXPECT_TRUE(view->row({static_cast<std::size_t>(-1)}).empty());
}

TEST(ArrayView, RefusesWhatDoesNotDescribeTheBytes) {
  struct Case {
    const char* why;
    std::string_view bytes;
    std::vector<std::size_t> shape;
    const char* message;
  };
  const Case cases[] = {
      {"too few", kBytes, {3, 3}, "shape describes 36 bytes; the value has 48"},
      {"too many", kBytes, {13}, "shape describes 52 bytes; the value has 48"},
      {"half a number", kBytes.substr(0, 47), {12}, "shape describes 48 bytes; the value has 47"},
      {"overflow", kBytes, {1ull << 32, 1ull << 32}, "shape describes more bytes than there can be"},
      {"overflow in bytes", kBytes, {(1ull << 62) + 12}, "shape describes more bytes than there can be"},
      {"no shape", kBytes, {}, "shape has 0 dimensions; 1 to 8 are right"},
      {"a deep one", kBytes, {1, 1, 1, 1, 1, 1, 1, 1, 12}, "shape has 9 dimensions; 1 to 8 are right"},
      {"askew", kBytes.substr(1, 4), {1}, "the value does not lie at a multiple of 4"},
  };
  for (const Case& c : cases) {
    const auto view = ArrayView<float>::over(c.bytes, c.shape);
    ASSERT_FALSE(view) << c.why;
    EXPECT_EQ(view.error().code, Code::kInvalid) << c.why;
    EXPECT_EQ(view.error().message, c.message) << c.why;
  }
}

}  // namespace
}  // namespace tidelock
