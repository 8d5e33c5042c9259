// S3-FIFO (Yang et al., SOSP 2023): new entries wait in a small queue; those used more than once there go on to the
// main queue, the others are only remembered, as ghosts. A ghost that comes back enters the main queue at once.
#pragma once

#include <algorithm>

#include "memory/eviction/mark_index.h"
#include "memory/eviction/policy.h"

namespace tidelock {

class S3Fifo final : public EvictionPolicy {
 public:
  static constexpr std::uint8_t kCreditMax = 3;
  static constexpr std::uint32_t kGhostsMin = 16;

  S3Fifo(Node nodes, std::uint64_t capacity)
      : links_(nodes),
        small_max_(capacity / 10),
        ghosts_(std::max(nodes, kGhostsMin)),
        index_(std::max(nodes, kGhostsMin)) {}

  static std::size_t own_bytes(Node nodes) {
    const Node ghosts = std::max(nodes, kGhostsMin);
    return nodes * sizeof(NodeLinks::Link) + ghosts * 4 + MarkIndex::own_bytes(ghosts);
  }
  void insert(Node node, std::uint64_t hash, std::uint32_t weight) override {
    NodeLinks::Link& link = links_[node];
    link.weight = weight;
    link.mark = mark_of(hash);
    link.credit = 0;
    link.place = take_ghost(link.mark) ? kMain : kSmall;
    links_.push_front(list(node), node);
  }
  void touch(Node node) override {
    links_[node].credit = std::min<std::uint8_t>(kCreditMax, static_cast<std::uint8_t>(links_[node].credit + 1));
  }
  void reweigh(Node node, std::uint32_t weight) override { links_.reweigh(list(node), node, weight); }
  void remove(Node node) override { links_.unlink(list(node), node); }
  Node evict() override {
    while (small_.count != 0 && (small_.weight > small_max_ || main_.count == 0)) {
      const Node last = small_.tail;
      links_.unlink(small_, last);
      if (links_[last].credit <= 1) {
        add_ghost(links_[last].mark);
        return last;
      }
      links_[last].credit = 0;
      links_[last].place = kMain;
      links_.push_front(main_, last);
    }
    while (main_.count != 0) {  // ends: each round takes a credit
      const Node last = main_.tail;
      links_.unlink(main_, last);
      if (links_[last].credit == 0) return last;
      --links_[last].credit;
      links_.push_front(main_, last);
    }
    return kNoNode;
  }

 private:
  enum : std::uint8_t { kSmall, kMain };
  NodeList& list(Node node) { return links_[node].place == kMain ? main_ : small_; }

  // Ghosts: a ring of marks, as many as there are entries; the index says which of a mark's places is its last.
  void add_ghost(std::uint32_t mark) {
    const auto size = static_cast<std::uint32_t>(ghosts_.size());
    const std::uint32_t keep = std::min(size, std::max(kGhostsMin, small_.count + main_.count));
    while (ghost_count_ >= keep) {
      const std::uint32_t oldest = (ghost_next_ + size - ghost_count_) % size;
      if (index_.find(ghosts_[oldest]) == oldest) index_.erase(ghosts_[oldest]);
      --ghost_count_;
    }
    ghosts_[ghost_next_] = mark;
    index_.put(mark, ghost_next_);
    ghost_next_ = (ghost_next_ + 1) % size;
    ++ghost_count_;
  }
  bool take_ghost(std::uint32_t mark) {
    if (index_.find(mark) == MarkIndex::kNone) return false;
    index_.erase(mark);
    return true;
  }

  NodeLinks links_;
  const std::uint64_t small_max_;
  NodeList small_, main_;
  std::vector<std::uint32_t> ghosts_;
  std::uint32_t ghost_next_ = 0, ghost_count_ = 0;
  MarkIndex index_;
};

}  // namespace tidelock
