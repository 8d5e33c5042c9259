// SIEVE (Zhang et al., NSDI 2024): a queue that nobody moves in; a hand goes from the oldest to the newest, spares once
// what was used since it last came by, and takes the first that was not.
#pragma once

#include "memory/eviction/policy.h"

namespace tidelock {

class Sieve final : public EvictionPolicy {
 public:
  Sieve(Node nodes, std::uint64_t /*capacity*/) : links_(nodes) {}
  static std::size_t own_bytes(Node nodes) { return nodes * sizeof(NodeLinks::Link); }
  void insert(Node node, std::uint64_t, std::uint32_t weight) override {
    links_[node].weight = weight;
    links_[node].credit = 0;
    links_.push_front(list_, node);
  }
  void touch(Node node) override { links_[node].credit = 1; }
  void reweigh(Node node, std::uint32_t weight) override { links_.reweigh(list_, node, weight); }
  void remove(Node node) override {
    if (hand_ == node) hand_ = links_[node].prev;
    links_.unlink(list_, node);
  }
  Node evict() override {
    if (list_.count == 0) return kNoNode;
    if (hand_ == kNoNode) hand_ = list_.tail;
    while (links_[hand_].credit != 0) {  // ends: each one passed loses its credit
      links_[hand_].credit = 0;
      hand_ = links_[hand_].prev == kNoNode ? list_.tail : links_[hand_].prev;
    }
    const Node out = hand_;
    remove(out);
    return out;
  }

 private:
  NodeLinks links_;
  NodeList list_;
  Node hand_ = kNoNode;  // the next to be looked at; none: the oldest
};

}  // namespace tidelock
