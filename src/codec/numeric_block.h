// One stretch of numbers, written as what differs from the same stretch of a base (M3), in blocks of at most
// kNumericBlockBytesMax. Entropy coding with tables made for the stretch: rANS over tokens, the other bits as they are.
//
// Threads:   an object belongs to one thread at a time. Cost: about 15 ns per number to plan and write, 3 to read; a
//            decoder holds at most 3 MiB of tables.
// Errors:    kCorrupt a block that does not decode to exactly the numbers it should, uses bytes it should not or leaves
// any
//            over.
// No promise: that what decodes is what was encoded when the base is another: the caller hashes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/tensor_map.h"

namespace tidelock {

inline constexpr std::size_t kNumericBlockBytesMax = 1u << 20;
inline constexpr std::size_t kNumericPayloadBytesMax = kNumericBlockBytesMax + (64u << 10);

// What to do with a stretch, and what that will cost.
struct NumericPlan;
struct DropNumericPlan {
  void operator()(NumericPlan* plan) const;
};
using NumericPlanPtr = std::unique_ptr<NumericPlan, DropNumericPlan>;
std::uint64_t planned_bytes(const NumericPlan& plan);
bool plan_needs_base(const NumericPlan& plan);

class NumericEncoder {
 public:
  NumericEncoder();
  ~NumericEncoder();
  // The cheapest way for `target`: whole elements of `type`. `base` is as long, or empty: then values travel.
  NumericPlanPtr plan(ElementType type, BytesView target, BytesView base);
  // Writes one block of the planned stretch; blocks in order, the first one also carries the tables unless the decoder
  // has them from the stretch before. The plan must be the last one that was begun.
  Bytes block(NumericPlan& plan, BytesView target, BytesView base);

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

// Bytes that a stretch would cost, from its counts alone: for choosing between bases and types.
std::uint64_t estimate_numeric_bytes(ElementType type, BytesView target, BytesView base);

class NumericDecoder {
 public:
  NumericDecoder();
  ~NumericDecoder();
  NumericDecoder(NumericDecoder&&) noexcept;
  NumericDecoder& operator=(NumericDecoder&&) noexcept;
  // Fills `out` with `bytes` bytes: whole elements, at most kNumericBlockBytesMax. `base` is as long, or empty.
  Result<void> decode(ElementType type, BytesView payload, BytesView base, char* out, std::size_t bytes);

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

}  // namespace tidelock
