// Least recently used.
#pragma once

#include "memory/eviction/policy.h"

namespace tidelock {

class Lru final : public EvictionPolicy {
 public:
  Lru(Node nodes, std::uint64_t /*capacity*/) : links_(nodes) {}
  static std::size_t own_bytes(Node nodes) { return nodes * sizeof(NodeLinks::Link); }
  void insert(Node node, std::uint64_t, std::uint32_t weight) override {
    links_[node].weight = weight;
    links_.push_front(list_, node);
  }
  void touch(Node node) override { links_.to_front(list_, node); }
  void reweigh(Node node, std::uint32_t weight) override { links_.reweigh(list_, node, weight); }
  void remove(Node node) override { links_.unlink(list_, node); }
  Node evict() override {
    const Node last = list_.tail;
    if (last != kNoNode) links_.unlink(list_, last);
    return last;
  }

 private:
  NodeLinks links_;
  NodeList list_;
};

}  // namespace tidelock
