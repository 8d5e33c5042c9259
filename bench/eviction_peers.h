// Policies that the project does not ship, for the bench of hit ratios to compare with: FIFO, CLOCK, LFU and ARC.
#pragma once

#include <algorithm>
#include <set>
#include <tuple>
#include <unordered_map>

#include "memory/eviction/policy.h"

namespace tidelock::bench {

class Fifo final : public EvictionPolicy {
 public:
  Fifo(Node nodes, std::uint64_t) : links_(nodes) {}
  void insert(Node node, std::uint64_t, std::uint32_t weight) override {
    links_[node].weight = weight;
    links_.push_front(list_, node);
  }
  void touch(Node) override {}
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

class ClockHand final : public EvictionPolicy {  // second chance
 public:
  ClockHand(Node nodes, std::uint64_t) : links_(nodes) {}
  void insert(Node node, std::uint64_t, std::uint32_t weight) override {
    links_[node].weight = weight;
    links_[node].credit = 0;
    links_.push_front(list_, node);
  }
  void touch(Node node) override { links_[node].credit = 1; }
  void reweigh(Node node, std::uint32_t weight) override { links_.reweigh(list_, node, weight); }
  void remove(Node node) override { links_.unlink(list_, node); }
  Node evict() override {
    while (list_.count != 0) {
      const Node last = list_.tail;
      links_.unlink(list_, last);
      if (links_[last].credit == 0) return last;
      links_[last].credit = 0;
      links_.push_front(list_, last);
    }
    return kNoNode;
  }

 private:
  NodeLinks links_;
  NodeList list_;
};

class Lfu final : public EvictionPolicy {  // of those with the fewest uses, the one used longest ago
 public:
  Lfu(Node nodes, std::uint64_t) : entries_(nodes) {}
  void insert(Node node, std::uint64_t, std::uint32_t) override {
    entries_[node] = {1, ++now_};
    order_.emplace(1, now_, node);
  }
  void touch(Node node) override {
    auto& [uses, at] = entries_[node];
    order_.erase({uses, at, node});
    ++uses;
    at = ++now_;
    order_.emplace(uses, at, node);
  }
  void reweigh(Node, std::uint32_t) override {}
  void remove(Node node) override { order_.erase({entries_[node].first, entries_[node].second, node}); }
  Node evict() override {
    if (order_.empty()) return kNoNode;
    const Node out = std::get<2>(*order_.begin());
    order_.erase(order_.begin());
    return out;
  }

 private:
  std::vector<std::pair<std::uint64_t, std::uint64_t>> entries_;
  std::set<std::tuple<std::uint64_t, std::uint64_t, Node>> order_;
  std::uint64_t now_ = 0;
};

class Arc final : public EvictionPolicy {  // Megiddo and Modha, 2003, with entries of equal weight
 public:
  Arc(Node nodes, std::uint64_t capacity) : links_(nodes), capacity_(capacity) {}
  void insert(Node node, std::uint64_t hash, std::uint32_t weight) override {
    links_[node].weight = weight;
    links_[node].mark = mark_of(hash);
    if (const auto ghost = ghosts_.find(mark_of(hash)); ghost != ghosts_.end()) {
      const bool recent = ghost->second.recent;
      const double b1 = static_cast<double>(count_[1]), b2 = static_cast<double>(count_[0]);
      if (recent) {
        target_ = std::min(static_cast<double>(capacity_), target_ + std::max(1.0, b2 / std::max(1.0, b1)));
      } else {
        target_ = std::max(0.0, target_ - std::max(1.0, b1 / std::max(1.0, b2)));
      }
      came_back_from_frequent_ = !recent;
      drop_ghost(ghost);
      put(node, 1);
    } else {
      came_back_from_frequent_ = false;
      put(node, 0);
    }
  }
  void touch(Node node) override {
    links_.unlink(lists_[links_[node].place], node);
    put(node, 1);
  }
  void reweigh(Node node, std::uint32_t weight) override { links_.reweigh(lists_[links_[node].place], node, weight); }
  void remove(Node node) override { links_.unlink(lists_[links_[node].place], node); }
  Node evict() override {
    const double recent = static_cast<double>(lists_[0].count);
    const bool from_recent =
        lists_[1].count == 0 ||
        (lists_[0].count > 0 && (recent > target_ || (came_back_from_frequent_ && recent >= target_ && recent > 0)));
    NodeList& list = lists_[from_recent ? 0 : 1];
    const Node out = list.tail;
    if (out == kNoNode) return out;
    links_.unlink(list, out);
    add_ghost(links_[out].mark, from_recent);
    return out;
  }

 private:
  struct Ghost {
    bool recent;
    std::uint64_t at;
  };
  using Ghosts = std::unordered_map<std::uint32_t, Ghost>;
  void put(Node node, std::uint8_t place) {
    links_[node].place = place;
    links_.push_front(lists_[place], node);
  }
  void drop_ghost(Ghosts::iterator ghost) {
    order_[ghost->second.recent].erase({ghost->second.at, ghost->first});
    --count_[ghost->second.recent];
    ghosts_.erase(ghost);
  }
  void add_ghost(std::uint32_t mark, bool recent) {
    if (const auto former = ghosts_.find(mark); former != ghosts_.end()) drop_ghost(former);
    ghosts_[mark] = {recent, ++now_};
    order_[recent].insert({now_, mark});
    ++count_[recent];
    // |T1| + |B1| <= c, and all four lists together <= 2 c.
    while (count_[1] > 0 && lists_[0].count + count_[1] > capacity_) drop_oldest(true);
    while (count_[0] > 0 && lists_[0].count + lists_[1].count + count_[0] + count_[1] > 2 * capacity_)
      drop_oldest(false);
  }
  void drop_oldest(bool recent) { drop_ghost(ghosts_.find(order_[recent].begin()->second)); }

  NodeLinks links_;
  const std::uint64_t capacity_;
  NodeList lists_[2];  // seen once, seen again
  double target_ = 0;
  bool came_back_from_frequent_ = false;
  Ghosts ghosts_;
  std::set<std::pair<std::uint64_t, std::uint32_t>> order_[2];
  std::uint64_t count_[2] = {0, 0};
  std::uint64_t now_ = 0;
};

}  // namespace tidelock::bench
