// How one number of a tensor becomes a token that is worth modelling and bits that are not (M3). Shared by the coder
// and the decoder of numeric blocks; used by nothing else.
//
// A difference is taken between ordered integers: a float's bits with the order of its values, so that neighbours
// differ by one. Zigzag folds the sign in; up to 16 each value is a token, above it the token is the position of the
// highest bit with the two bits below, and the rest travels as it is: within a quarter of an octave the values are as
// good as equally likely. A value that has nothing to be compared with gives its highest bits (sign, exponent, two of
// the mantissa) as the token.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "codec/tensor_map.h"

namespace tidelock::numeric {

inline constexpr std::size_t kKeysMax = 512;     // classes of the base's magnitude, see Numbers::key
inline constexpr std::size_t kContextsMax = 12;  // tables that a block may choose from by key
inline constexpr std::size_t kTokensMax = 2048;  // of any table
inline constexpr int kScaleBits = 12;            // frequencies of a table sum up to this power of two
inline constexpr std::uint32_t kScale = 1u << kScaleBits;
inline constexpr std::uint32_t kStateLow = 1u << 16;  // a state of the coder is at least this, and below 2^32
inline constexpr std::size_t kStates = 4;
// How many states take turns over so many tokens.
inline constexpr std::size_t states_for(std::size_t tokens) { return tokens < 1024 ? 1 : kStates; }
inline constexpr std::uint32_t kDirect = 16;  // values below are tokens of their own

struct Token {
  std::uint32_t token;
  std::uint32_t bits;   // how many follow as they are
  std::uint32_t extra;  // those bits
};
// Of an unsigned number of at most 32 bits: 0..127.
inline Token magnitude_token(std::uint32_t value) {
  if (value < kDirect) return {value, 0, 0};
  const auto top = static_cast<std::uint32_t>(std::bit_width(value)) - 1;
  const std::uint32_t bits = top - 2, lead = value >> bits & 3;
  return {kDirect + (top - 4) * 4 + lead, bits, value & ((1u << bits) - 1)};
}
inline constexpr std::size_t kMagnitudeTokens = 128;
struct TokenBase {
  std::uint32_t base;
  std::uint32_t bits;
};
inline TokenBase magnitude_base(std::uint32_t token) {
  if (token < kDirect) return {token, 0};
  const std::uint32_t bits = (token - kDirect) / 4 + 2;
  return {(4 + (token - kDirect) % 4) << bits, bits};
}

// What a type of element needs: Word, its width; kKeyShift, kValueShift as below; kKeys, kValueTokens how many there
// are.
template <class WordType, bool kIsFloat, int kKeyShiftBits, int kValueShiftBits>
struct Numbers {
  using Word = WordType;
  using Signed = std::make_signed_t<Word>;
  static constexpr int kBits = static_cast<int>(sizeof(Word)) * 8;
  static constexpr std::size_t kKeys = (std::size_t{1} << (kBits - 1 - kKeyShiftBits)) + (kIsFloat ? 0 : 1);
  static constexpr bool kValueIsMagnitude = kValueShiftBits < 0;
  static constexpr std::size_t kDiffTokens = kBits == 32 ? 128 : kBits == 16 ? 64 : 32;
  static constexpr std::size_t kValueTokens =
      kValueIsMagnitude ? kDiffTokens : std::size_t{1} << (kBits - (kValueIsMagnitude ? 0 : kValueShiftBits));
  static_assert(kKeys <= kKeysMax && kValueTokens <= kTokensMax);

  static Word load(const char* at) {
    Word word;
    std::memcpy(&word, at, sizeof word);
    return word;
  }
  static void store(char* at, Word word) { std::memcpy(at, &word, sizeof word); }

  // Its own inverse.
  static Word ordered(Word x) {
    if constexpr (!kIsFloat) return x;
    const auto mask = static_cast<Word>(static_cast<Signed>(x) >> (kBits - 1));
    return static_cast<Word>(x ^ static_cast<Word>(mask >> 1));
  }
  static Word zigzag(Word x) {
    return static_cast<Word>(static_cast<Word>(x << 1) ^ static_cast<Word>(static_cast<Signed>(x) >> (kBits - 1)));
  }
  static Word unzigzag(Word z) { return static_cast<Word>((z >> 1) ^ static_cast<Word>(-static_cast<Signed>(z & 1))); }
  static Word difference(Word value, Word base) { return zigzag(static_cast<Word>(ordered(value) - ordered(base))); }
  static Word apply(Word z, Word base) { return ordered(static_cast<Word>(ordered(base) + unzigzag(z))); }

  // The magnitude of the base, coarsely: it says how large a difference is to be expected, and the receiver has it.
  static std::uint32_t key(Word base) {
    if constexpr (kIsFloat) return static_cast<std::uint32_t>(static_cast<Word>(base << 1) >> 1) >> kKeyShiftBits;
    const Word negative = static_cast<Word>(static_cast<Signed>(base) >> (kBits - 1));
    return static_cast<std::uint32_t>(static_cast<Word>((base ^ negative) - negative)) >> kKeyShiftBits;
  }
  static Token value_token(Word value) {
    if constexpr (kValueIsMagnitude) return magnitude_token(zigzag(value));
    constexpr int kShift = kValueIsMagnitude ? 0 : kValueShiftBits;
    const auto raised = static_cast<std::uint32_t>(static_cast<Word>(ordered(value) ^ kTop));
    return {raised >> kShift, kShift, raised & ((1u << kShift) - 1)};
  }
  static TokenBase value_base(std::uint32_t token) {
    if constexpr (kValueIsMagnitude) return magnitude_base(token);
    constexpr int kShift = kValueIsMagnitude ? 0 : kValueShiftBits;
    return {token << kShift, kShift};
  }
  static Word value_of(std::uint32_t sum) {
    if constexpr (kValueIsMagnitude) return unzigzag(static_cast<Word>(sum));
    return ordered(static_cast<Word>(static_cast<Word>(sum) ^ kTop));
  }

 private:
  static constexpr Word kTop = static_cast<Word>(Word{1} << (kBits - 1));
};

using I8 = Numbers<std::uint8_t, false, 3, 0>;
using I16 = Numbers<std::uint16_t, false, 8, -1>;
using F16 = Numbers<std::uint16_t, true, 8, 8>;
using Bf16 = Numbers<std::uint16_t, true, 6, 5>;
using I32 = Numbers<std::uint32_t, false, 23, -1>;
using F32 = Numbers<std::uint32_t, true, 22, 21>;

// Calls f(Numbers<...>{}) for the type; bytes are treated as int8.
template <class F>
decltype(auto) with_numbers(ElementType type, F&& f) {
  switch (type) {
    case ElementType::kI16: return f(I16{});
    case ElementType::kF16: return f(F16{});
    case ElementType::kBf16: return f(Bf16{});
    case ElementType::kI32: return f(I32{});
    case ElementType::kF32: return f(F32{});
    case ElementType::kOpaque:
    case ElementType::kI8: break;
  }
  return f(I8{});
}

}  // namespace tidelock::numeric
