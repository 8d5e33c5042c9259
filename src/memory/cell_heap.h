// Blocks of any length out of one piece of memory, in cells of 64 bytes: what the entries of L1 lie in. Neighbours that
// are free are one block again at once; a block is taken from the smallest class that surely fits.
//
// Threads: one at a time. Readers of a block may go on while others come and go.
// Cost:    O(1), no system call and no allocation after construction.
// Bound:   memory beside the cells is a bit a cell and three kilobytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tidelock {

class CellHeap {
 public:
  using Cell = std::uint32_t;
  static constexpr std::size_t kCellBytes = 64;
  static constexpr Cell kNone = ~0u;

  // `memory` is 64-byte aligned, `cells` long, and outlives the heap.
  CellHeap(void* memory, Cell cells);

  // The first of `cells` cells in a row; kNone: there is no such row, or it hides among others of its class.
  Cell take(Cell cells);
  void give(Cell first, Cell cells);  // exactly what was taken

  char* at(Cell cell) const { return memory_ + std::size_t{cell} * kCellBytes; }
  Cell free_cells() const { return free_cells_; }
  Cell cells() const { return cells_; }

 private:
  static constexpr Cell kExact = 64;  // rows shorter than this have a class each
  static constexpr unsigned kClasses = kExact + 8 * 26;
  struct Row {  // lies in the first cell of a free row
    Cell cells, prev, next;
  };
  static unsigned class_of(Cell cells);  // in which a free row of that length is kept
  Row& row(Cell first) const { return *reinterpret_cast<Row*>(at(first)); }
  // The length again, in the last word of the last cell of a free row.
  Cell& length_at_end(Cell last) const { return *reinterpret_cast<Cell*>(at(last) + kCellBytes - sizeof(Cell)); }
  bool edge(Cell cell) const { return (edges_[cell / 64] >> cell % 64 & 1) != 0; }
  void mark_edge(Cell cell, bool on);
  void link(Cell first, Cell cells);
  void unlink(Cell first);

  char* memory_;
  Cell cells_, free_cells_ = 0;
  std::vector<std::uint64_t> edges_;  // a bit for each first and last cell of a free row
  std::array<Cell, kClasses> heads_;
  std::array<std::uint64_t, (kClasses + 63) / 64> filled_{};
};

}  // namespace tidelock
