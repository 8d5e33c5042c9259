// How large the rows are that L2 carried on last, by key: so that a key that is carried on again and again is not read
// from RocksDB each time, only to know what its former row gives back. What is not known here is read there.
//
// Threads: one at a time.
// Cost:    a cache line for find, keep and forget; kBytes of memory, from the first keep on. Two keys are taken for one
//          when 64 bits of their hashes are the same: then the count of bytes is off by the difference of two rows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace tidelock {

class L2RowSizes {
 public:
  static constexpr std::size_t kBytes = 1u << 20;

  // nullopt: not known. Of what is known: the row's bytes, or nullopt when there is no row.
  std::optional<std::optional<std::size_t>> find(std::uint64_t hash) const {
    if (sets_.empty()) return std::nullopt;
    for (const Word& word : sets_[set_of(hash)]) {
      if (word.hash == hash && word.is != kUnknown)
        return word.is == kNoRow ? std::optional<std::size_t>{} : std::optional<std::size_t>(word.is - kRow);
    }
    return std::nullopt;
  }
  void keep(std::uint64_t hash, std::optional<std::size_t> row_bytes) {
    if (sets_.empty()) sets_.resize(kSets);
    Set& set = sets_[set_of(hash)];
    forget(hash);
    Word* place = &set[next_++ % kWays];  // any: what is forgotten is read again
    for (Word& word : set) {
      if (word.is == kUnknown) place = &word;
    }
    *place = {hash, row_bytes ? kRow + *row_bytes : kNoRow};
  }
  void forget(std::uint64_t hash) {
    if (sets_.empty()) return;
    for (Word& word : sets_[set_of(hash)]) {
      if (word.hash == hash) word.is = kUnknown;
    }
  }

 private:
  static constexpr std::uint64_t kUnknown = 0, kNoRow = 1, kRow = 2;
  struct Word {
    std::uint64_t hash = 0;
    std::uint64_t is = kUnknown;
  };
  static constexpr std::size_t kWays = 4;
  using Set = std::array<Word, kWays>;
  static constexpr std::size_t kSets = kBytes / sizeof(Set);
  static_assert((kSets & (kSets - 1)) == 0);
  static std::size_t set_of(std::uint64_t hash) { return (hash >> 20) & (kSets - 1); }

  std::vector<Set> sets_;
  std::size_t next_ = 0;
};

}  // namespace tidelock
