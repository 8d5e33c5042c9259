// A value as an array of numbers, where it lies: features and tensors without a copy.
//
//   auto boxes = tidelock::ArrayView<float>::over(value.bytes(), {100, 4});
//   if (boxes) use(*boxes->at({17, 3}), boxes->row({17}));
//
// A AnyArrayView is the same with a type that is known only when the program runs, say from a model's description:
//
//   tidelock::ValueRef value;
//   client->get_ref("embedding:17", {}, value);
//   auto tensor = tidelock::AnyArrayView::over(value.bytes(), tidelock::DType::kBF16, {1, 768});
//   if (tensor) use(*tensor->at({0, 5}));
//
// Owns:    nothing; the bytes (a Value, a ValueRef) must outlive the view and stay as they are.
// Errors:  kInvalid when the shape does not describe exactly these bytes, or they do not lie at a multiple of the
//          number's size. Nothing is read outside of them: an index out of the shape answers nothing.
// Order:   row-major, the machine's own byte order.
// Cost:    no allocation, but for an error's message; at is O(dimensions).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/result.h"

namespace tidelock {

// Numbers of two bytes as models store them: kept as they are, and turned into a float when they are asked for.
struct Float16 {  // IEEE 754 binary16: 5 bits of exponent, 10 of fraction
  std::uint16_t bits = 0;
  constexpr operator float() const {  // NOLINT(google-explicit-constructor): it is the same number
    const std::uint32_t sign = std::uint32_t{bits} >> 15 << 31, fraction = bits & 0x3FFu;
    const std::uint32_t exponent = bits >> 10 & 0x1Fu;
    if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F80'0000u | fraction << 13);  // infinity, no number
    if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
    const float small = static_cast<float>(fraction) * 0x1p-24f;  // zero, subnormal
    return sign != 0 ? -small : small;
  }
};
struct BFloat16 {  // the upper half of a float
  std::uint16_t bits = 0;
  constexpr operator float() const {  // NOLINT(google-explicit-constructor)
    return std::bit_cast<float>(std::uint32_t{bits} << 16);
  }
};

enum class DType : std::uint8_t { kF32, kF64, kI8, kU8, kI16, kU16, kI32, kU32, kI64, kU64, kF16, kBF16 };
constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kI8:
    case DType::kU8: return 1;
    case DType::kI16:
    case DType::kU16:
    case DType::kF16:
    case DType::kBF16: return 2;
    case DType::kF32:
    case DType::kI32:
    case DType::kU32: return 4;
    case DType::kF64:
    case DType::kI64:
    case DType::kU64: return 8;
  }
  return 0;
}
// "f32", "bf16", ...; "?" of what is no DType.
constexpr std::string_view dtype_name(DType dtype) {
  constexpr std::string_view kNames[] = {"f32", "f64", "i8",  "u8",  "i16", "u16",
                                         "i32", "u32", "i64", "u64", "f16", "bf16"};
  const auto at = static_cast<std::size_t>(dtype);
  return at < std::size(kNames) ? kNames[at] : "?";
}
template <class T>
constexpr DType dtype_of() {
  constexpr bool kHalf = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;
  static_assert(kHalf || (std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && sizeof(T) <= 8),
                "not a number of an array");
  if constexpr (kHalf) {
    return std::is_same_v<T, Float16> ? DType::kF16 : DType::kBF16;
  } else if constexpr (std::is_floating_point_v<T>) {
    return sizeof(T) == 4 ? DType::kF32 : DType::kF64;
  } else {
    constexpr bool kSigned = std::is_signed_v<T>;
    return sizeof(T) == 1   ? (kSigned ? DType::kI8 : DType::kU8)
           : sizeof(T) == 2 ? (kSigned ? DType::kI16 : DType::kU16)
           : sizeof(T) == 4 ? (kSigned ? DType::kI32 : DType::kU32)
                            : (kSigned ? DType::kI64 : DType::kU64);
  }
}

template <class T>
class ArrayView {
 public:
  static constexpr std::size_t kDimensionsMax = 8;
  static constexpr DType kDType = dtype_of<T>();

  static Result<ArrayView> over(std::string_view bytes, std::span<const std::size_t> shape) {
    if (shape.empty() || shape.size() > kDimensionsMax) {
      return fail(Code::kInvalid, "shape has " + std::to_string(shape.size()) + " dimensions; 1 to 8 are right");
    }
    std::size_t count = 1;
    bool overflows = false;
    for (const std::size_t extent : shape) overflows |= __builtin_mul_overflow(count, extent, &count);
    if (overflows || count > std::numeric_limits<std::size_t>::max() / sizeof(T)) {
      return fail(Code::kInvalid, "shape describes more bytes than there can be");
    }
    if (count * sizeof(T) != bytes.size()) {
      return fail(Code::kInvalid, "shape describes " + std::to_string(count * sizeof(T)) + " bytes; the value has " +
                                      std::to_string(bytes.size()));
    }
    if (count != 0 && reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(T) != 0) {
      return fail(Code::kInvalid, "the value does not lie at a multiple of " + std::to_string(alignof(T)));
    }
    ArrayView view;
    view.data_ = reinterpret_cast<const T*>(bytes.data());
    view.count_ = count;
    view.dimensions_ = shape.size();
    for (std::size_t i = 0; i < shape.size(); ++i) view.shape_[i] = shape[i];
    return view;
  }
  static Result<ArrayView> over(std::string_view bytes, std::initializer_list<std::size_t> shape) {
    return over(bytes, std::span<const std::size_t>(shape.begin(), shape.size()));
  }

  std::span<const T> flat() const { return {data_, count_}; }
  std::span<const std::size_t> shape() const { return {shape_.data(), dimensions_}; }
  std::optional<T> at(std::initializer_list<std::size_t> index) const {
    const std::span<const T> one = row(index);
    if (index.size() != dimensions_ || one.empty()) return std::nullopt;
    return one.front();
  }
  // All numbers behind the first indices: row({}) is flat(). Empty when an index is out of the shape.
  std::span<const T> row(std::initializer_list<std::size_t> index) const {
    if (index.size() > dimensions_) return {};
    std::size_t first = 0, each = count_;
    std::size_t dimension = 0;
    for (const std::size_t i : index) {
      if (i >= shape_[dimension]) return {};
      each /= shape_[dimension++];
      first += i * each;
    }
    return {data_ + first, each};
  }

 private:
  ArrayView() = default;
  const T* data_ = nullptr;
  std::size_t count_ = 0, dimensions_ = 0;
  std::array<std::size_t, kDimensionsMax> shape_{};
};

// act(T{}), of the type that `dtype` names.
template <class Do>
auto with_number_of(DType dtype, Do&& act) {
  switch (dtype) {
    case DType::kF32: return act(float{});
    case DType::kF64: return act(double{});
    case DType::kI8: return act(std::int8_t{});
    case DType::kU8: return act(std::uint8_t{});
    case DType::kI16: return act(std::int16_t{});
    case DType::kU16: return act(std::uint16_t{});
    case DType::kI32: return act(std::int32_t{});
    case DType::kU32: return act(std::uint32_t{});
    case DType::kI64: return act(std::int64_t{});
    case DType::kU64: return act(std::uint64_t{});
    case DType::kF16: return act(Float16{});
    case DType::kBF16: break;
  }
  return act(BFloat16{});
}

class AnyArrayView {
 public:
  // kInvalid also for a `dtype` that is none.
  static Result<AnyArrayView> over(std::string_view bytes, DType dtype, std::span<const std::size_t> shape) {
    if (size_of(dtype) == 0) {
      return fail(Code::kInvalid, "dtype " + std::to_string(static_cast<unsigned>(dtype)) + " is none; 0 to " +
                                      std::to_string(static_cast<unsigned>(DType::kBF16)) + " are");
    }
    return with_number_of(dtype, [&]<class T>(T) -> Result<AnyArrayView> {
      const auto typed = ArrayView<T>::over(bytes, shape);
      if (!typed) return tl::unexpected(typed.error());
      AnyArrayView view;
      view.bytes_ = bytes;
      view.dtype_ = dtype;
      view.dimensions_ = shape.size();
      for (std::size_t i = 0; i < shape.size(); ++i) view.shape_[i] = shape[i];
      return view;
    });
  }
  static Result<AnyArrayView> over(std::string_view bytes, DType dtype, std::initializer_list<std::size_t> shape) {
    return over(bytes, dtype, std::span<const std::size_t>(shape.begin(), shape.size()));
  }

  DType dtype() const { return dtype_; }
  std::span<const std::size_t> shape() const { return {shape_.data(), dimensions_}; }
  std::string_view bytes() const { return bytes_; }
  std::size_t count() const { return bytes_.size() / size_of(dtype_); }
  // The same numbers with their type; kInvalid when they have another one.
  template <class T>
  Result<ArrayView<T>> as() const {
    if (dtype_of<T>() != dtype_) {
      return fail(Code::kInvalid, "the tensor is " + std::string(dtype_name(dtype_)) + ", not " +
                                      std::string(dtype_name(dtype_of<T>())));
    }
    return ArrayView<T>::over(bytes_, shape());
  }
  // One number, whatever its type; of an integer beyond 2^53 the nearest there is. Nothing outside of the shape.
  std::optional<double> at(std::initializer_list<std::size_t> index) const {
    return with_number_of(dtype_, [&]<class T>(T) -> std::optional<double> {
      const auto typed = as<T>();
      const std::optional<T> number = typed ? typed->at(index) : std::nullopt;
      if (!number) return std::nullopt;
      if constexpr (sizeof(T) == 2 && !std::is_arithmetic_v<T>)
        return static_cast<double>(static_cast<float>(*number));
      else
        return static_cast<double>(*number);
    });
  }

 private:
  AnyArrayView() = default;
  std::string_view bytes_;
  DType dtype_ = DType::kU8;
  std::size_t dimensions_ = 0;
  std::array<std::size_t, ArrayView<float>::kDimensionsMax> shape_{};
};

}  // namespace tidelock
