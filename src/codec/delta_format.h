// The bytes of a delta (M3). Shared by the planner and the applier; used by nothing else.
//
//   front   "TLd1", varint size of the target, its SHA-256, varint number of bases, for each: varint size, SHA-256
//   orders  in the target's order, until the target is whole; each is a byte (kind | element type << 3) and
//             kCopy         base, place, varint bytes
//             kNumeric      base, place, varint elements, varint payload bytes, payload (numeric_block.h)
//             kValues                    varint elements, varint payload bytes, payload
//             kPatch        base, place, varint prefix bytes, varint bytes, varint payload bytes, payload (zstd)
//             kCompressed                varint bytes, varint payload bytes, payload (zstd)
//             kPlain                     varint bytes, the bytes
//   end     CRC-32C of all before it, four bytes, little-endian
//
// `base` is a byte, and left out when there is one base only. `place` is where in the base, as a zigzag varint relative
// to where the bytes would be if this base went on as it did when it was used last: zero for most orders. Numbers have
// one encoding; all varints are little-endian base 128 without padding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "codec/delta.h"
#include "codec/numeric_block.h"

namespace tidelock::delta {

inline constexpr BytesView kMagic{"TLd1", 4};
inline constexpr std::size_t kCrcBytes = 4;

enum class Order : std::uint8_t { kCopy, kNumeric, kValues, kPatch, kCompressed, kPlain };
inline constexpr unsigned kOrders = 6;
inline bool has_base(Order order) {
  return order == Order::kCopy || order == Order::kNumeric || order == Order::kPatch;
}
inline bool has_payload(Order order) { return order != Order::kCopy && order != Order::kPlain; }

// What one order may make, so that an applier's memory is bounded.
inline constexpr std::size_t kZstdBytesMax = 1u << 20;
inline constexpr std::size_t kZstdPayloadBytesMax = kZstdBytesMax + (64u << 10);
inline constexpr std::size_t kPatchPrefixBytesMax = 8u << 20;
inline constexpr std::size_t kOrderHeadBytesMax = 1 + 1 + 5 * 10;

inline void put_varint(Bytes& out, std::uint64_t v) {
  while (v >= 0x80) {
    out.push_back(static_cast<char>(v | 0x80));
    v >>= 7;
  }
  out.push_back(static_cast<char>(v));
}
inline void put_signed(Bytes& out, std::int64_t v) {
  put_varint(out, (static_cast<std::uint64_t>(v) << 1) ^ static_cast<std::uint64_t>(v >> 63));
}

// Reads numbers off the front of bytes that may go on later.
class Head {
 public:
  explicit Head(BytesView in) : in_(in) {}
  std::uint8_t byte() {
    if (at_ >= in_.size()) {
      short_ = true;
      return 0;
    }
    return static_cast<std::uint8_t>(in_[at_++]);
  }
  std::uint64_t number() {
    std::uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint8_t next = byte();
      if (short_) return 0;
      if ((shift > 0 && next == 0) || (shift == 63 && next > 1)) break;  // padded, or above 64 bits
      v |= static_cast<std::uint64_t>(next & 0x7F) << shift;
      if ((next & 0x80) == 0) return v;
    }
    bad_ = true;
    return 0;
  }
  std::int64_t signed_number() {
    const std::uint64_t raw = number();
    return static_cast<std::int64_t>((raw >> 1) ^ (~(raw & 1) + 1));
  }
  BytesView take(std::size_t size) {
    if (size > in_.size() - at_) {
      short_ = true;
      return {};
    }
    at_ += size;
    return in_.substr(at_ - size, size);
  }
  bool needs_more() const { return short_; }
  bool bad() const { return bad_; }
  std::size_t used() const { return at_; }

 private:
  BytesView in_;
  std::size_t at_ = 0;
  bool short_ = false, bad_ = false;
};

// Where a base would go on: it was used last for the target at `target`, from `base`.
struct Cursor {
  std::uint64_t target = 0, base = 0;
  std::int64_t expected(std::uint64_t at) const { return static_cast<std::int64_t>(base + (at - target)); }
};

void put_front(Bytes& out, const DeltaHeader& header);
// Nothing when more bytes are needed; `used` is how many the front has.
Result<std::optional<DeltaHeader>> take_front(BytesView in, std::size_t& used);

}  // namespace tidelock::delta
