#include "memory/cell_heap.h"

#include <bit>

#include "base/assert.h"

namespace tidelock {

CellHeap::CellHeap(void* memory, Cell cells)
    : memory_(static_cast<char*>(memory)), cells_(cells), edges_(cells / 64 + 1) {
  heads_.fill(kNone);
  if (cells > 0) link(0, cells);
}

// Eight classes to each power of two from kExact on.
unsigned CellHeap::class_of(Cell cells) {
  if (cells < kExact) return cells;
  const auto power = static_cast<unsigned>(std::bit_width(cells)) - 1;  // at least 6
  return kExact + (power - 6) * 8 + (cells >> (power - 3) & 7);
}

void CellHeap::mark_edge(Cell cell, bool on) {
  const std::uint64_t bit = 1ull << cell % 64;
  edges_[cell / 64] = on ? edges_[cell / 64] | bit : edges_[cell / 64] & ~bit;
}

void CellHeap::link(Cell first, Cell cells) {
  const unsigned in = class_of(cells);
  row(first) = {cells, kNone, heads_[in]};
  if (heads_[in] != kNone) row(heads_[in]).prev = first;
  heads_[in] = first;
  filled_[in / 64] |= 1ull << in % 64;
  length_at_end(first + cells - 1) = cells;
  mark_edge(first, true);
  mark_edge(first + cells - 1, true);
  free_cells_ += cells;
}

void CellHeap::unlink(Cell first) {
  const Row gone = row(first);
  const unsigned in = class_of(gone.cells);
  (gone.prev == kNone ? heads_[in] : row(gone.prev).next) = gone.next;
  if (gone.next != kNone) row(gone.next).prev = gone.prev;
  if (heads_[in] == kNone) filled_[in / 64] &= ~(1ull << in % 64);
  mark_edge(first, false);
  mark_edge(first + gone.cells - 1, false);
  free_cells_ -= gone.cells;
}

CellHeap::Cell CellHeap::take(Cell cells) {
  TIDELOCK_ASSERT(cells > 0);
  if (cells > free_cells_) return kNone;
  const unsigned own = class_of(cells);
  Cell first = kNone;
  if (heads_[own] != kNone && row(heads_[own]).cells >= cells) first = heads_[own];
  for (unsigned in = own + 1; first == kNone && in < kClasses;) {
    const std::uint64_t here = filled_[in / 64] >> in % 64;
    if (here != 0) {
      first = heads_[in + static_cast<unsigned>(std::countr_zero(here))];
    } else {
      in = (in / 64 + 1) * 64;
    }
  }
  if (first == kNone) return kNone;
  const Cell whole = row(first).cells;
  unlink(first);
  if (whole > cells) link(first + cells, whole - cells);
  return first;
}

void CellHeap::give(Cell first, Cell cells) {
  TIDELOCK_ASSERT(cells > 0 && first + cells <= cells_);
  if (first > 0 && edge(first - 1)) {
    const Cell before = length_at_end(first - 1);
    first -= before;
    cells += before;
    unlink(first);
  }
  if (first + cells < cells_ && edge(first + cells)) {
    const Cell after = row(first + cells).cells;
    unlink(first + cells);
    cells += after;
  }
  link(first, cells);
}

}  // namespace tidelock
