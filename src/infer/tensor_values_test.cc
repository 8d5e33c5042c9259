#include "infer/tensor_values.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace tidelock {
namespace {

template <class T>
Bytes raw(std::vector<T> values) {
  Bytes out(values.size() * sizeof(T), '\0');
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

TEST(TensorValues, ComeBackAsTheyWere) {
  struct Case {
    TensorType type;
    Bytes bytes;
    std::vector<float> values;
  };
  const Case cases[] = {
      {TensorType::kF32, raw<float>({0.1f, -3e30f}), {0.1f, -3e30f}},
      {TensorType::kU8, raw<std::uint8_t>({0, 127, 255}), {0, 127, 255}},
      {TensorType::kI64, raw<std::int64_t>({0, -7, 16'777'216, -(1ll << 62)}), {0, -7, 16'777'216, -0x1p62f}},
      // one, the largest, the smallest, minus two, a third
      {TensorType::kF16,
       raw<std::uint16_t>({0x3C00, 0x7BFF, 0x0001, 0xC000, 0x3555}),
       {1, 65'504, 0x1p-24f, -2, 0.33325195f}},
  };
  for (const Case& c : cases) {
    const auto values = floats_of(c.type, c.bytes, "x");
    ASSERT_TRUE(values) << tensor_type_name(c.type) << ": " << values.error().message;
    EXPECT_EQ(*values, c.values) << tensor_type_name(c.type);
    EXPECT_TRUE(check_values(c.type, *values, "x")) << tensor_type_name(c.type);
    EXPECT_EQ(bytes_of(c.type, *values), c.bytes) << tensor_type_name(c.type);
    EXPECT_TRUE(floats_of(c.type, {}, "x")->empty()) << tensor_type_name(c.type);
    EXPECT_TRUE(bytes_of(c.type, {}).empty()) << tensor_type_name(c.type);
  }
}

TEST(TensorValues, EveryHalfComesBack) {
  std::vector<std::uint16_t> numbers;
  for (std::uint32_t half = 0; half < 0x10000; ++half) {
    if ((half & 0x7C00) != 0x7C00 || (half & 0x3FF) == 0) numbers.push_back(static_cast<std::uint16_t>(half));
  }
  const Bytes bytes = raw(numbers);
  EXPECT_EQ(bytes_of(TensorType::kF16, *floats_of(TensorType::kF16, bytes, "x")), bytes);
  EXPECT_TRUE(std::isnan(floats_of(TensorType::kF16, raw<std::uint16_t>({0x7E01}), "x")->at(0)));
  EXPECT_TRUE(std::isnan(floats_of(TensorType::kF16, bytes_of(TensorType::kF16, std::vector{NAN}), "x")->at(0)));
}

TEST(TensorValues, AHalfIsTheNearestAndOfTwoTheEven) {
  struct Case {
    float value;
    float half;
  };
  const Case cases[] = {{1 + 0x1p-11f, 1},      {1 + 0x1.8p-10f, 1 + 0x1p-9f},   {2 - 0x1p-12f, 2}, {0x1p-25f, 0},
                        {0x1.8p-25f, 0x1p-24f}, {0x1p-14f - 0x1p-26f, 0x1p-14f}, {65'519, 65'504},  {65'520, INFINITY},
                        {-1e30f, -INFINITY}};
  for (const Case& c : cases) {
    const std::vector<float> one{c.value};
    EXPECT_EQ(floats_of(TensorType::kF16, bytes_of(TensorType::kF16, one), "x")->at(0), c.half) << c.value;
  }
}

TEST(TensorValues, WhatATypeDoesNotHoldIsNamed) {
  struct Case {
    TensorType type;
    float value;
    const char* message;
  };
  const Case cases[] = {
      {TensorType::kU8, 0.5f, "run: input 'x' element 1 is 0.500000, the model takes uint8: 0 to 255, whole"},
      {TensorType::kU8, -1, "run: input 'x' element 1 is -1.000000, the model takes uint8: 0 to 255, whole"},
      {TensorType::kU8, 256, "run: input 'x' element 1 is 256.000000, the model takes uint8: 0 to 255, whole"},
      {TensorType::kI64, 0.5f, "run: input 'x' element 1 is 0.500000, the model takes int64: whole numbers"},
      {TensorType::kI64, NAN, "run: input 'x' element 1 is nan, the model takes int64: whole numbers"},
      {TensorType::kI64, 0x1p63f,
       "run: input 'x' element 1 is 9223372036854775808.000000, the model takes int64: whole numbers"},
  };
  for (const Case& c : cases) {
    const std::vector<float> values{0, c.value};
    const auto refused = check_values(c.type, values, "x");
    ASSERT_FALSE(refused) << c.message;
    EXPECT_EQ(refused.error().code, Code::kInvalid);
    EXPECT_EQ(refused.error().message, c.message);
  }
  for (const std::int64_t large : {std::int64_t{16'777'217}, INT64_MAX}) {
    const auto refused = floats_of(TensorType::kI64, raw<std::int64_t>({1, large}), "x");
    ASSERT_FALSE(refused) << large;
    EXPECT_EQ(refused.error().code, Code::kCorrupt);
    EXPECT_EQ(refused.error().message, "tensor 'x' element 1 is " + std::to_string(large) +
                                           ", which float32 does not hold; whole numbers up to 16777216 always fit");
  }
  EXPECT_EQ(floats_of(TensorType::kI64, raw<std::int64_t>({INT64_MIN}), "x")->at(0), -0x1p63f);
}

}  // namespace
}  // namespace tidelock
