// How often a key was asked for lately, for all keys, held or not: a count-min sketch of four-bit counters that ages by
// halving. An estimate is never below the true count (up to 15) since the last halving. The four counters of a mark lie
// in one line of 64 bytes.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tidelock {

class FrequencySketch {
 public:
  static constexpr std::uint32_t kMax = 15;
  static constexpr std::uint64_t kAgeFactor = 10;

  // Sixteen counters, eight bytes, for each entry that may be held.
  explicit FrequencySketch(std::uint32_t entries_max)
      : words_(own_bytes(entries_max) / 8), blocks_(words_.size() / 8) {}
  static std::size_t own_bytes(std::uint32_t entries_max) {
    return std::bit_ceil(std::max<std::size_t>(entries_max, 8)) * 8;
  }

  // `held`: entries now; all counters are halved after ten times as many asks.
  void add(std::uint32_t mark, std::uint32_t held) {
    const std::uint64_t spread = spread_of(mark);
    bool added = false;
    for (unsigned row = 0; row < 4; ++row) {
      std::uint64_t& word = words_[word_of(spread, row)];
      const unsigned shift = shift_of(spread, row);
      if ((word >> shift & 15) == kMax) continue;
      word += std::uint64_t{1} << shift;
      added = true;
    }
    if (added && ++added_ >= kAgeFactor * std::max<std::uint64_t>(held, 16)) age();
  }
  std::uint32_t estimate(std::uint32_t mark) const {
    const std::uint64_t spread = spread_of(mark);
    std::uint64_t least = kMax;
    for (unsigned row = 0; row < 4; ++row) {
      least = std::min(least, words_[word_of(spread, row)] >> shift_of(spread, row) & 15);
    }
    return static_cast<std::uint32_t>(least);
  }
  std::uint64_t halvings() const { return halvings_; }

 private:
  static std::uint64_t spread_of(std::uint32_t mark) {
    std::uint64_t z = mark * 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 32) * 0xD6E8FEB86659FD93ull;
    return z ^ z >> 32;
  }
  std::uint64_t word_of(std::uint64_t spread, unsigned row) const {
    return (spread >> 32 & (blocks_ - 1)) * 8 + row * 2 + (spread >> row * 8 & 1);
  }
  static unsigned shift_of(std::uint64_t spread, unsigned row) {
    return static_cast<unsigned>(spread >> (row * 8 + 1) & 15) * 4;
  }
  void age() {
    for (std::uint64_t& word : words_) word = word >> 1 & 0x7777'7777'7777'7777ull;
    added_ /= 2;
    ++halvings_;
  }
  std::vector<std::uint64_t> words_;
  std::uint64_t blocks_;
  std::uint64_t added_ = 0, halvings_ = 0;
};

}  // namespace tidelock
