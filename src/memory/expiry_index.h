// Which block of a store holds the record that expires first: the earliest expiry of each block, and a tree of minima
// above them. An expiry kept here may be too early (its record died meanwhile), never too late.
//
// Threads: one at a time.
// Cost:    earliest and first are O(1) and O(log blocks), set O(log blocks), lower O(1) unless it is a new minimum. 16
// bytes
//          a block.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <vector>

#include "base/time.h"

namespace tidelock {

class ExpiryIndex {
 public:
  explicit ExpiryIndex(std::size_t blocks)
      : leaves_(std::bit_ceil(std::max<std::size_t>(blocks, 2))), nodes_(2 * leaves_, kForever) {}

  Nanos earliest() const { return nodes_[1]; }  // kForever: nothing expires
  // The block that earliest() belongs to.
  std::size_t first() const {
    std::size_t node = 1;
    while (node < leaves_) node = nodes_[2 * node] == nodes_[node] ? 2 * node : 2 * node + 1;
    return node - leaves_;
  }
  void lower(std::size_t block, Nanos expires_at) {
    for (std::size_t node = block + leaves_; node != 0 && expires_at < nodes_[node]; node /= 2) {
      nodes_[node] = expires_at;
    }
  }
  void set(std::size_t block, Nanos expires_at) {
    std::size_t node = block + leaves_;
    if (nodes_[node] == expires_at) return;
    nodes_[node] = expires_at;
    for (node /= 2; node != 0; node /= 2) {
      const Nanos earlier = std::min(nodes_[2 * node], nodes_[2 * node + 1]);
      if (nodes_[node] == earlier) return;
      nodes_[node] = earlier;
    }
  }

 private:
  std::size_t leaves_;
  std::vector<Nanos> nodes_;  // 1 is the root, the children of n are 2n and 2n + 1
};

}  // namespace tidelock
