// A value as an array of numbers, where it lies: features and tensors without a copy.
//
//   auto boxes = tidelock::ArrayView<float>::over(value.bytes(), {100, 4});
//   if (boxes) use(*boxes->at({17, 3}), boxes->row({17}));
//
// Owns:    nothing; the bytes (a Value, a ValueRef) must outlive the view and stay as they are.
// Errors:  kInvalid when the shape does not describe exactly these bytes, or they do not lie at a multiple of the
//          number's size. Nothing is read outside of them: an index out of the shape answers nothing.
// Order:   row-major, the machine's own byte order.
// Cost:    no allocation, but for an error's message; at is O(dimensions).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/result.h"

namespace tidelock {

enum class DType : std::uint8_t { kF32, kF64, kI8, kU8, kI16, kU16, kI32, kU32, kI64, kU64 };
constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kI8:
    case DType::kU8: return 1;
    case DType::kI16:
    case DType::kU16: return 2;
    case DType::kF32:
    case DType::kI32:
    case DType::kU32: return 4;
    case DType::kF64:
    case DType::kI64:
    case DType::kU64: return 8;
  }
  return 0;
}
template <class T>
constexpr DType dtype_of() {
  static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && sizeof(T) <= 8, "not a number of an array");
  if constexpr (std::is_floating_point_v<T>) {
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

}  // namespace tidelock
