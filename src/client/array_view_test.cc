#include "tidelock/array_view.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
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

TEST(AnyArrayView, ItsTypeIsKnownWhenTheProgramRuns) {
  struct Case {
    DType dtype;
    std::vector<unsigned char> bytes;  // of two numbers, little-endian
    double first, second;
  };
  const Case cases[] = {
      {DType::kF32, {0, 0, 0x80, 0x3F, 0, 0, 0x20, 0xC1}, 1, -10},
      {DType::kF64, {0, 0, 0, 0, 0, 0, 0xF0, 0x3F, 0, 0, 0, 0, 0, 0, 0, 0x80}, 1, 0},
      {DType::kI8, {0x7F, 0x80}, 127, -128},
      {DType::kU8, {0x7F, 0x80}, 127, 128},
      {DType::kI16, {1, 0, 0xFF, 0xFF}, 1, -1},
      {DType::kU16, {1, 0, 0xFF, 0xFF}, 1, 65535},
      {DType::kI32, {2, 0, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF}, 2, -2},
      {DType::kU32, {2, 0, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF}, 2, 4294967294.0},
      {DType::kI64, {3, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 3, -1},
      {DType::kU64, {3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80}, 3, 9223372036854775808.0},
      {DType::kF16, {0x00, 0x3C, 0x00, 0xC9}, 1, -10},
      {DType::kBF16, {0x80, 0x3F, 0x20, 0xC1}, 1, -10},
  };
  for (const Case& c : cases) {
    alignas(8) std::array<char, 16> place{};
    std::copy(c.bytes.begin(), c.bytes.end(), place.begin());
    const std::string_view bytes(place.data(), c.bytes.size());
    const std::string name(dtype_name(c.dtype));
    const auto view = AnyArrayView::over(bytes, c.dtype, {2, 1});
    ASSERT_TRUE(view) << name << ": " << view.error().message;
    EXPECT_EQ(view->bytes().data(), place.data()) << name << ": no copy";
    EXPECT_EQ(view->count(), 2u) << name;
    EXPECT_EQ(view->at({0, 0}), c.first) << name;
    EXPECT_EQ(view->at({1, 0}), c.second) << name;
    EXPECT_FALSE(view->at({2, 0})) << name;
    EXPECT_FALSE(view->at({1})) << name;
    const auto other = AnyArrayView::over(bytes, c.dtype, {3});
    ASSERT_FALSE(other) << name;
    EXPECT_EQ(other.error().code, Code::kInvalid) << name;
    EXPECT_EQ(view->as<float>().has_value(), c.dtype == DType::kF32) << name;
    EXPECT_EQ(view->as<BFloat16>().has_value(), c.dtype == DType::kBF16) << name;
  }
  const auto view = AnyArrayView::over(kBytes, DType::kF32, {12});
  ASSERT_TRUE(view);
  EXPECT_EQ(view->as<float>()->flat().data(), kNumbers);
  EXPECT_EQ(view->as<double>().error().message, "the tensor is f32, not f64");
  EXPECT_EQ(AnyArrayView::over(kBytes, static_cast<DType>(12), {12}).error().message, "dtype 12 is none; 0 to 11 are");
}

TEST(AnyArrayView, HalvesAreTheNumbersThatTheyStandFor) {
  struct Case {
    std::uint16_t bits;
    float f16, bf16;
  };
  const float infinity = std::numeric_limits<float>::infinity();
  const Case cases[] = {
      {0x0000, 0.0f, 0.0f},          {0x3C00, 1.0f, 0.0078125f},
      {0x0001, 0x1p-24f, 0x1p-133f}, {0x03FF, 0x3FFp-24f, 0xFFp-127f},
      {0x0400, 0x1p-14f, 0x1p-119f}, {0x7BFF, 65504.0f, 0x1.FEp120f},
      {0x7C00, infinity, 0x1p121f},  {0xFC00, -infinity, -0x1p121f},
      {0x3F80, 1.875f, 1.0f},        {0x7F80, std::numeric_limits<float>::quiet_NaN(), infinity},
  };
  for (const Case& c : cases) {
    const float half = Float16{c.bits}, brain = BFloat16{c.bits};
    if (std::isnan(c.f16))
      EXPECT_TRUE(std::isnan(half)) << c.bits;
    else
      EXPECT_EQ(half, c.f16) << c.bits;
    EXPECT_EQ(brain, c.bf16) << c.bits;
  }
  EXPECT_TRUE(std::signbit(static_cast<float>(Float16{0x8000}))) << "minus nothing";
}

}  // namespace
}  // namespace tidelock
