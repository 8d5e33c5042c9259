// RowTable remembers where the last record of each key lies among records that are numbered by their place. A word for
// each: no node, no copy of the key, no allocation but when it grows.
//
// Threads: one at a time.
// Cost:    one cache line and one comparison of keys for a find or put, nearly always; 16 to 32 bytes a key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace tidelock {

class RowTable {
 public:
  // `is_of_key(place)` says whether the record there has the key that is meant.
  template <class IsOfKey>
  std::optional<std::uint32_t> find(std::uint64_t hash, const IsOfKey& is_of_key) const {
    if (size_ == 0) return std::nullopt;
    const Word word = words_[slot_of(tag_of(hash), is_of_key)];
    return word == kEmpty ? std::nullopt : std::optional(place_of(word));
  }
  template <class IsOfKey>
  void put(std::uint64_t hash, std::uint32_t place, const IsOfKey& is_of_key) {
    if (2 * (size_ + 1) > words_.size()) grow();
    Word& word = words_[slot_of(tag_of(hash), is_of_key)];
    if (word == kEmpty) ++size_;
    word = (Word{tag_of(hash)} << 32) | (Word{place} + 1);
  }
  std::size_t size() const { return size_; }
  void clear() {  // keeps its room, unless it is far more than what was there needed
    if (size_ == 0) return;
    if (words_.size() > kWordsKept && words_.size() > 32 * size_)
      words_ = {};
    else
      words_.assign(words_.size(), kEmpty);
    size_ = 0;
  }

 private:
  using Word = std::uint64_t;  // the tag above, and a place below, counted from 1
  static constexpr Word kEmpty = 0;
  static constexpr std::size_t kWordsMin = 64, kWordsKept = 1024;

  static std::uint32_t tag_of(std::uint64_t hash) { return static_cast<std::uint32_t>(hash); }
  static std::uint32_t tag_in(Word word) { return static_cast<std::uint32_t>(word >> 32); }
  static std::uint32_t place_of(Word word) { return static_cast<std::uint32_t>(word) - 1; }

  template <class IsOfKey>
  std::size_t slot_of(std::uint32_t tag, const IsOfKey& is_of_key) const {
    const std::size_t mask = words_.size() - 1;
    for (std::size_t at = tag & mask;; at = (at + 1) & mask) {  // ends: at least half of the words are empty
      const Word word = words_[at];
      if (word == kEmpty || (tag_in(word) == tag && is_of_key(place_of(word)))) return at;
    }
  }
  void grow() {
    std::vector<Word> before(words_.empty() ? kWordsMin : 2 * words_.size(), kEmpty);
    before.swap(words_);
    for (const Word word : before) {
      if (word != kEmpty) words_[slot_of(tag_in(word), [](std::uint32_t) { return false; })] = word;
    }
  }

  std::vector<Word> words_;  // a power of two of them
  std::size_t size_ = 0;
};

}  // namespace tidelock
