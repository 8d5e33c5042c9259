// W-TinyLFU (Einziger, Friedman, Manes, 2017) with a window that adapts. New entries live in a window (an LRU); what
// falls out of it is admitted to the main region only if it was asked for more often lately than what would have to go.
// The main region is a segmented LRU: probation, and 80 % protected.
//
// How large the window should be depends on the load: next to nothing for skewed keys and scans, everything for tracks
// that come and go. So small shadow caches, each with a window of its own, play the same load on a sample of the keys
// (Einziger et al., "Adaptive Software Cache Management", 2018), and the real window follows the best of them. One
// shadow is all window, which is LRU: the policy does not stay behind LRU for longer than it takes to notice.
#pragma once

#include <array>
#include <memory>

#include "memory/eviction/frequency_sketch.h"
#include "memory/eviction/mark_index.h"
#include "memory/eviction/policy.h"

namespace tidelock {

// The regions alone, with a window that is told.
class WindowRegions {
 public:
  WindowRegions(Node nodes, std::uint64_t capacity, std::uint32_t window_permille)
      : links_(nodes), capacity_(capacity) {
    set_window(window_permille);
  }
  void set_window(std::uint32_t permille) {
    window_max_ = capacity_ * permille / 1'000;
    protected_max_ = (capacity_ - window_max_) / 5 * 4;
  }
  void set_capacity(std::uint64_t capacity, std::uint32_t window_permille) {
    capacity_ = capacity;
    set_window(window_permille);
  }
  std::uint32_t count() const { return window_.count + probation_.count + protected_.count; }
  std::uint64_t weight() const { return window_.weight + probation_.weight + protected_.weight; }
  const NodeLinks::Link& link(Node node) const { return links_[node]; }

  void insert(Node node, std::uint32_t mark, std::uint32_t weight) {
    links_[node].weight = weight;
    links_[node].mark = mark;
    move(node, kWindow);
  }
  void touch(Node node) {
    if (links_[node].place != kProbation) return links_.to_front(list(node), node);
    links_.unlink(probation_, node);
    move(node, kProtected);
    demote();
  }
  void reweigh(Node node, std::uint32_t weight) { links_.reweigh(list(node), node, weight); }
  void remove(Node node) { links_.unlink(list(node), node); }
  Node evict(const FrequencySketch& asked) {
    const std::uint64_t main_max = capacity_ - window_max_;
    demote();  // the window may have grown since
    while (window_.count != 0 && window_.weight > window_max_) {
      const Node candidate = window_.tail;
      const NodeLinks::Link& link = links_[candidate];
      const bool room = probation_.weight + protected_.weight + link.weight <= main_max;
      const Node victim = probation_.count != 0 ? probation_.tail : protected_.tail;
      if (!room && (victim == kNoNode || asked.estimate(link.mark) <= asked.estimate(links_[victim].mark))) {
        return take(candidate);
      }
      links_.unlink(window_, candidate);
      move(candidate, kProbation);
      if (!room) return take(victim);
    }
    for (const NodeList* region : {&probation_, &protected_, &window_}) {
      if (region->count != 0) return take(region->tail);
    }
    return kNoNode;
  }

 private:
  enum : std::uint8_t { kWindow, kProbation, kProtected };
  NodeList& list(Node node) {
    const std::uint8_t place = links_[node].place;
    return place == kWindow ? window_ : place == kProbation ? probation_ : protected_;
  }
  void move(Node node, std::uint8_t place) {
    links_[node].place = place;
    links_.push_front(list(node), node);
  }
  void demote() {
    while (protected_.weight > protected_max_ && protected_.count > 1) {
      const Node last = protected_.tail;
      links_.unlink(protected_, last);
      move(last, kProbation);
    }
  }
  Node take(Node node) {
    links_.unlink(list(node), node);
    return node;
  }
  NodeLinks links_;
  std::uint64_t capacity_, window_max_ = 0, protected_max_ = 0;
  NodeList window_, probation_, protected_;
};

// The shadows, and what they say.
class WindowShadows {
 public:
  static constexpr std::array<std::uint32_t, 5> kWindows = {10, 100, 300, 600, 1'000};  // permille
  static constexpr std::size_t kLru = 4;                                                // until something is known
  static constexpr Node kNodes = 1'024;                                                 // entries of a shadow at most
  static constexpr std::uint32_t kRound = 256;                                          // asks between two decisions
  static constexpr std::uint64_t kMemory = 12;                                          // rounds that count

  WindowShadows(Node nodes, std::uint64_t capacity) : capacity_(capacity) {
    const Node each = nodes_of_each(nodes);
    nodes_ = each;
    for (const std::uint32_t window : kWindows) shadows_.push_back(std::make_unique<Shadow>(each, capacity, window));
  }
  static std::size_t own_bytes(Node nodes) {
    const Node each = nodes_of_each(nodes);
    return kWindows.size() * (sizeof(Shadow) + each * (sizeof(NodeLinks::Link) + 4) + MarkIndex::own_bytes(each));
  }
  // One ask. `held`: entries in the real cache. True when the window should be another one now.
  bool ask(std::uint32_t mark, std::uint32_t weight, std::uint32_t held, const FrequencySketch& asked) {
    if (!sampled(mark, sparse_)) return false;
    for (const auto& shadow : shadows_) shadow->ask(mark, weight, asked);
    if (++asks_ < kRound) return false;
    asks_ = 0;
    rescale(held, asked);
    return decide();
  }
  std::uint32_t window_permille() const { return kWindows[chosen_]; }

 private:
  // One key in 2^sparse, by other bits than any table here uses.
  static bool sampled(std::uint32_t mark, std::uint32_t sparse) {
    return ((mark * 0x85EBCA6Bu) >> 16 & ((1u << sparse) - 1)) == 0;
  }
  struct Shadow {
    Shadow(Node entries, std::uint64_t capacity_bytes, std::uint32_t window_permille)
        : nodes(entries),
          capacity(capacity_bytes),
          window(window_permille),
          regions(entries, capacity, window),
          index(entries) {
      free_nodes.reserve(nodes);
      for (Node node = nodes; node > 0; --node) free_nodes.push_back(node - 1);
    }
    void ask(std::uint32_t mark, std::uint32_t weight, const FrequencySketch& asked) {
      const std::uint32_t node = index.find(mark);
      if (node != MarkIndex::kNone) {
        ++hits;
        return regions.touch(node);
      }
      if (free_nodes.empty()) drop_one(asked);
      const Node taken = free_nodes.back();
      free_nodes.pop_back();
      regions.insert(taken, mark, weight);
      index.put(mark, taken);
      while (regions.weight() > capacity) drop_one(asked);
    }
    void drop_one(const FrequencySketch& asked) {
      const Node out = regions.evict(asked);
      index.erase(regions.link(out).mark);
      free_nodes.push_back(out);
    }
    // What is no longer sampled must go: nobody would ask for it here, and its frequency would keep it for ever.
    void resize(std::uint64_t to, std::uint32_t sparse, const FrequencySketch& asked) {
      for (Node node = 0; node < nodes; ++node) {
        const std::uint32_t mark = regions.link(node).mark;
        if (index.find(mark) != node || sampled(mark, sparse)) continue;
        regions.remove(node);
        index.erase(mark);
        free_nodes.push_back(node);
      }
      capacity = to;
      regions.set_capacity(to, window);
      while (regions.count() != 0 && regions.weight() > capacity) drop_one(asked);
    }
    Node nodes;
    std::uint64_t capacity;
    std::uint32_t window;
    WindowRegions regions;
    MarkIndex index;
    std::vector<Node> free_nodes;
    std::uint64_t hits = 0, score = 0;
  };

  // A cache of a thousand entries is played whole; of fewer, half, since shadows cost bytes as well.
  static Node nodes_of_each(Node nodes) { return nodes >= 1'000 ? std::min(nodes, kNodes) : (nodes + 1) / 2; }
  // As sparse a sample as lets the shadows hold what a cache of `held` entries holds of it.
  void rescale(std::uint32_t held, const FrequencySketch& asked) {
    std::uint32_t sparse = 0;
    while (held >> sparse > nodes_ / 8 * 7 && sparse < 16) ++sparse;
    if (sparse <= sparse_) return;  // never denser: what was not sampled so far would count as misses
    sparse_ = sparse;
    for (const auto& shadow : shadows_) shadow->resize(capacity_ >> sparse_, sparse_, asked);
  }
  bool decide() {
    std::size_t best = chosen_;
    for (std::size_t i = 0; i < shadows_.size(); ++i) {
      Shadow& shadow = *shadows_[i];
      shadow.score = shadow.score * (kMemory - 1) / kMemory + shadow.hits * kMemory;
      shadow.hits = 0;
    }
    for (std::size_t i = 0; i < shadows_.size(); ++i) {
      if (shadows_[i]->score > shadows_[best]->score) best = i;
    }
    // A change costs misses, and a small difference is chance. To LRU it takes less: a load that stays the same must
    // not keep the window where LRU would do better.
    const std::uint64_t whole = std::uint64_t{kRound} * kMemory * kMemory;  // the score of nothing but hits
    if (shadows_[best]->score <= shadows_[chosen_]->score + whole / (best == kLru ? 800 : 70)) return false;
    chosen_ = best;
    return true;
  }
  const std::uint64_t capacity_;
  Node nodes_ = 0;  // of each shadow
  std::vector<std::unique_ptr<Shadow>> shadows_;
  std::size_t chosen_ = kLru;
  std::uint32_t sparse_ = 0, asks_ = 0;
};

class TinyLfu final : public EvictionPolicy {
 public:
  TinyLfu(Node nodes, std::uint64_t capacity)
      : regions_(nodes, capacity, WindowShadows::kWindows[WindowShadows::kLru]),
        asked_(nodes),
        shadows_(nodes, capacity) {}
  static std::size_t own_bytes(Node nodes) {
    return nodes * sizeof(NodeLinks::Link) + FrequencySketch::own_bytes(nodes) + WindowShadows::own_bytes(nodes);
  }
  void insert(Node node, std::uint64_t hash, std::uint32_t weight) override {
    regions_.insert(node, mark_of(hash), weight);
    note(node);
  }
  void touch(Node node) override {
    regions_.touch(node);
    note(node);
  }
  void reweigh(Node node, std::uint32_t weight) override { regions_.reweigh(node, weight); }
  void remove(Node node) override { regions_.remove(node); }
  Node evict() override { return regions_.evict(asked_); }
  std::uint32_t window_permille() const { return shadows_.window_permille(); }

 private:
  void note(Node node) {
    const NodeLinks::Link& link = regions_.link(node);
    asked_.add(link.mark, regions_.count());
    if (shadows_.ask(link.mark, link.weight, regions_.count(), asked_)) regions_.set_window(window_permille());
  }
  WindowRegions regions_;
  FrequencySketch asked_;
  WindowShadows shadows_;
};

}  // namespace tidelock
