// The tables that tokens of numeric blocks are coded with (M3): frequencies, how they travel, and which of them a
// number's base selects. Shared by the coder and the decoder of numeric blocks; used by nothing else.
//
// A frequency travels as a quarter of an octave, relative to its neighbour's, through an adaptive binary coder: a
// smooth distribution costs about three bits per token. Both sides make the same frequencies from it, in integers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/numeric_tokens.h"

namespace tidelock::numeric {

enum class Mode : std::uint8_t {
  kDenseDiff,    // a token per number: its difference to the base
  kSparseDiff,   // how many are as in the base, then one difference, and again
  kSparseValue,  // the same with values in place of differences
  kDenseValue,   // a token per number: its value; no base
};
constexpr Mode last_enumerator(Mode) { return Mode::kDenseValue; }
inline bool is_sparse(Mode mode) { return mode == Mode::kSparseDiff || mode == Mode::kSparseValue; }
inline bool is_diff(Mode mode) { return mode == Mode::kDenseDiff || mode == Mode::kSparseDiff; }

struct Frequencies {
  std::vector<std::uint16_t> levels;     // what travels: 0 absent, else 1 + quarters of an octave
  std::vector<std::uint16_t> frequency;  // sums up to kScale; all 0 when no token is present
  std::vector<std::uint16_t> cumulative;
};

struct Tables {
  Mode mode = Mode::kDenseDiff;
  std::vector<std::uint16_t> context_ends;  // keys below [i] use context i; the last end is the number of keys
  std::vector<Frequencies> values;          // one per context
  Frequencies runs;                         // sparse only
};

// From how often each token came. No counts: no token is present.
Frequencies frequencies_of(std::span<const std::uint32_t> counts);

Bytes write_tables(const Tables& tables);
// `keys`, `tokens`: how many there are for the type and mode. kCorrupt when the bytes say anything impossible.
Result<Tables> read_tables(BytesView bytes, Mode mode, std::size_t keys, std::size_t tokens);

}  // namespace tidelock::numeric
