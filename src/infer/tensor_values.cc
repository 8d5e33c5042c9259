#include "infer/tensor_values.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

namespace tidelock {
namespace {

static_assert(std::endian::native == std::endian::little, "elements are little-endian and copied as they are");

template <class T>
T element(BytesView bytes, std::size_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}
template <class T>
void put(Bytes& out, std::size_t i, T value) {
  std::memcpy(out.data() + i * sizeof(T), &value, sizeof(T));
}

// IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction.
float float_of_half(std::uint16_t half) {
  const int exponent = half >> 10 & 0x1F;
  const int fraction = half & 0x3FF;
  float value = 0;
  if (exponent == 0x1F) {
    value = fraction == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(fraction), -24);
  } else {
    value = std::ldexp(static_cast<float>(fraction | 0x400), exponent - 25);
  }
  return (half & 0x8000) != 0 ? -value : value;
}
// To the nearest, ties to even; too large is infinite.
std::uint16_t half_of_float(float value) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return 0x7E00;
  const float size = std::abs(value);
  if (size >= 65'520.0f)
    return static_cast<std::uint16_t>(sign | 0x7C00);  // halfway between the largest and what would be next
  int exponent = 0;
  (void)std::frexp(size, &exponent);                                            // size < 2^exponent
  const int last = std::max(exponent - 11, -24);                                // of the last bit that is kept
  const auto kept = static_cast<int>(std::nearbyint(std::ldexp(size, -last)));  // at most 2^11
  // Below 2^10 it is zero or subnormal. A fraction that rounds up to 2^11 carries into the exponent by itself.
  return static_cast<std::uint16_t>(sign | (kept < 0x400 ? kept : ((last + 24) << 10) + kept));
}

}  // namespace

Result<std::vector<float>> floats_of(TensorType type, BytesView bytes, std::string_view tensor) {
  const std::size_t count = bytes.size() / tensor_element_bytes(type);
  std::vector<float> out(count);
  if (count == 0) return out;  // an output may be of any extent
  switch (type) {
    case TensorType::kF32: std::memcpy(out.data(), bytes.data(), count * sizeof(float)); break;
    case TensorType::kU8:
      for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<float>(element<std::uint8_t>(bytes, i));
      break;
    case TensorType::kF16:
      for (std::size_t i = 0; i < count; ++i) out[i] = float_of_half(element<std::uint16_t>(bytes, i));
      break;
    case TensorType::kI64:
      for (std::size_t i = 0; i < count; ++i) {
        const auto value = element<std::int64_t>(bytes, i);
        out[i] = static_cast<float>(value);
        // As double, whose range holds 2^63: the cast back of a float that was rounded up to it would overflow.
        if (static_cast<double>(out[i]) >= 0x1p63 || static_cast<std::int64_t>(out[i]) != value) {
          return fail(Code::kCorrupt, "tensor '" + std::string(tensor) + "' element " + std::to_string(i) + " is " +
                                          std::to_string(value) +
                                          ", which float32 does not hold; whole numbers up to 16777216 always fit");
        }
      }
      break;
  }
  return out;
}

Result<void> check_values(TensorType type, std::span<const float> values, std::string_view input) {
  if (type == TensorType::kF32 || type == TensorType::kF16) return {};
  const float least = type == TensorType::kU8 ? 0.0f : -0x1p63f, end = type == TensorType::kU8 ? 256.0f : 0x1p63f;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float value = values[i];
    if (value >= least && value < end && value == std::floor(value)) continue;  // false for NaN as well
    return fail(Code::kInvalid, "run: input '" + std::string(input) + "' element " + std::to_string(i) + " is " +
                                    std::to_string(value) + ", the model takes " +
                                    (type == TensorType::kU8 ? "uint8: 0 to 255, whole" : "int64: whole numbers"));
  }
  return {};
}

Bytes bytes_of(TensorType type, std::span<const float> values) {
  Bytes out(values.size() * tensor_element_bytes(type), '\0');
  if (out.empty()) return out;
  switch (type) {
    case TensorType::kF32: std::memcpy(out.data(), values.data(), out.size()); break;
    case TensorType::kU8:
      for (std::size_t i = 0; i < values.size(); ++i) put(out, i, static_cast<std::uint8_t>(values[i]));
      break;
    case TensorType::kI64:
      for (std::size_t i = 0; i < values.size(); ++i) put(out, i, static_cast<std::int64_t>(values[i]));
      break;
    case TensorType::kF16:
      for (std::size_t i = 0; i < values.size(); ++i) put(out, i, half_of_float(values[i]));
      break;
  }
  return out;
}

}  // namespace tidelock
