// A hash table from marks to small numbers, of fixed size: linear probing, no graves. For ghosts and shadows.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tidelock {

class MarkIndex {
 public:
  static constexpr std::uint32_t kNone = ~0u;
  explicit MarkIndex(std::uint32_t entries_max) : slots_(slots_for(entries_max)), mask_(slots_.size() - 1) {}
  static std::size_t own_bytes(std::uint32_t entries_max) { return slots_for(entries_max) * sizeof(Slot); }

  std::uint32_t find(std::uint32_t mark) const {
    for (std::uint64_t at = home(mark);; at = (at + 1) & mask_) {
      if (slots_[at].value == kNone) return kNone;
      if (slots_[at].mark == mark) return slots_[at].value;
    }
  }
  // Replaces an older value. The owner keeps to `entries_max`.
  void put(std::uint32_t mark, std::uint32_t value) {
    std::uint64_t at = home(mark);
    while (slots_[at].value != kNone && slots_[at].mark != mark) at = (at + 1) & mask_;
    slots_[at] = {mark, value};
  }
  void erase(std::uint32_t mark) {
    std::uint64_t hole = home(mark);
    while (slots_[hole].value != kNone && slots_[hole].mark != mark) hole = (hole + 1) & mask_;
    if (slots_[hole].value == kNone) return;
    for (std::uint64_t at = (hole + 1) & mask_; slots_[at].value != kNone; at = (at + 1) & mask_) {
      // Moves back whatever would not be found from its home across the hole.
      if (((at - home(slots_[at].mark)) & mask_) >= ((at - hole) & mask_)) {
        slots_[hole] = slots_[at];
        hole = at;
      }
    }
    slots_[hole] = {};
  }

 private:
  struct Slot {
    std::uint32_t mark = 0;
    std::uint32_t value = kNone;
  };
  static std::uint64_t slots_for(std::uint32_t entries_max) {
    return std::bit_ceil(std::uint64_t{entries_max} * 3 / 2 + 2);
  }
  std::uint64_t home(std::uint32_t mark) const { return (mark * 0x9E3779B97F4A7C15ull >> 32) & mask_; }
  std::vector<Slot> slots_;
  std::uint64_t mask_;
};

}  // namespace tidelock
