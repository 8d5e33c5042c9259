// One suite over all policies, and each of them decision for decision beside a twin that is written to be obvious:
// standard lists, searched from end to end.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/rng.h"
#include "memory/eviction/lru.h"
#include "memory/eviction/s3_fifo.h"
#include "memory/eviction/sieve.h"
#include "memory/eviction/tiny_lfu.h"

namespace tidelock {
namespace {

std::uint64_t hash_of(std::uint64_t key) {
  Rng rng(key);
  return rng.next();
}

// ------------------------------------------------------------------------------------------------------------- twins
struct Item {
  Node node;
  std::uint64_t hash;
  std::uint64_t weight;
  int credit = 0;
};
using Items = std::list<Item>;  // the newest first

Items::iterator at(Items& items, Node node) {
  return std::find_if(items.begin(), items.end(), [&](const Item& item) { return item.node == node; });
}
std::uint64_t weight_of(const Items& items) {
  std::uint64_t sum = 0;
  for (const Item& item : items) sum += item.weight;
  return sum;
}
void to_front(Items& from, Items& to, Items::iterator item) { to.splice(to.begin(), from, item); }
Node take_last(Items& items) {
  const Node node = items.back().node;
  items.pop_back();
  return node;
}

template <class Policy>
class Twin;

template <>
class Twin<Lru> {
 public:
  explicit Twin(std::uint64_t) {}
  void insert(Node node, std::uint64_t hash, std::uint64_t weight) { items_.push_front({node, hash, weight}); }
  void touch(Node node) { to_front(items_, items_, at(items_, node)); }
  void reweigh(Node node, std::uint64_t weight) { at(items_, node)->weight = weight; }
  void remove(Node node) { items_.erase(at(items_, node)); }
  Node evict(const Lru&) { return items_.empty() ? kNoNode : take_last(items_); }

 private:
  Items items_;
};

template <>
class Twin<Sieve> {
 public:
  explicit Twin(std::uint64_t) {}
  void insert(Node node, std::uint64_t hash, std::uint64_t weight) { items_.push_front({node, hash, weight}); }
  void touch(Node node) { at(items_, node)->credit = 1; }
  void reweigh(Node node, std::uint64_t weight) { at(items_, node)->weight = weight; }
  void remove(Node node) {
    if (hand_ == node) hand_ = newer_than(node);
    items_.erase(at(items_, node));
  }
  Node evict(const Sieve&) {
    if (items_.empty()) return kNoNode;
    for (;;) {
      const Node here = hand_.value_or(items_.back().node);
      hand_ = newer_than(here);
      const auto item = at(items_, here);
      if (item->credit == 0) {
        items_.erase(item);
        return here;
      }
      item->credit = 0;
    }
  }

 private:
  std::optional<Node> newer_than(Node node) {
    const auto item = at(items_, node);
    if (item == items_.begin()) return std::nullopt;
    return std::prev(item)->node;
  }
  Items items_;
  std::optional<Node> hand_;
};

template <>
class Twin<S3Fifo> {
 public:
  explicit Twin(std::uint64_t capacity) : capacity_(capacity) {}
  void insert(Node node, std::uint64_t hash, std::uint64_t weight) {
    const auto ghost =
        std::find_if(ghosts_.rbegin(), ghosts_.rend(), [&](const Ghost& g) { return g.hash == hash && g.live; });
    Items& to = ghost == ghosts_.rend() ? small_ : main_;
    for (Ghost& g : ghosts_) g.live = g.live && g.hash != hash;
    to.push_front({node, hash, weight});
  }
  void touch(Node node) {
    Item& item = *at(in(node), node);
    item.credit = std::min(3, item.credit + 1);
  }
  void reweigh(Node node, std::uint64_t weight) { at(in(node), node)->weight = weight; }
  void remove(Node node) {
    Items& items = in(node);
    items.erase(at(items, node));
  }
  Node evict(const S3Fifo&) {
    while (!small_.empty() && (weight_of(small_) > capacity_ / 10 || main_.empty())) {
      if (small_.back().credit <= 1) {
        const std::uint64_t hash = small_.back().hash;
        const Node out = take_last(small_);
        while (!ghosts_.empty() && ghosts_.size() >= std::max<std::size_t>(16, small_.size() + main_.size())) {
          ghosts_.pop_front();
        }
        for (Ghost& g : ghosts_) g.live = g.live && g.hash != hash;
        ghosts_.push_back({hash, true});
        return out;
      }
      small_.back().credit = 0;
      to_front(small_, main_, std::prev(small_.end()));
    }
    while (!main_.empty()) {
      if (main_.back().credit == 0) return take_last(main_);
      --main_.back().credit;
      to_front(main_, main_, std::prev(main_.end()));
    }
    return kNoNode;
  }

 private:
  struct Ghost {
    std::uint64_t hash;
    bool live;  // a ghost that came back keeps its place in the queue
  };
  Items& in(Node node) { return at(small_, node) != small_.end() ? small_ : main_; }
  const std::uint64_t capacity_;
  Items small_, main_;
  std::deque<Ghost> ghosts_;
};

// The window is what the policy says: how it is chosen is tested further below, and so is the sketch.
template <>
class Twin<TinyLfu> {
 public:
  explicit Twin(std::uint64_t capacity) : capacity_(capacity), asked_(256) {}
  void insert(Node node, std::uint64_t hash, std::uint64_t weight) {
    window_.push_front({node, hash, weight});
    ask(hash);
  }
  void touch(Node node) {
    Items& from = in(node);
    const auto item = at(from, node);
    const std::uint64_t hash = item->hash;
    to_front(from, &from == &window_ ? window_ : protected_, item);
    if (&from == &probation_) demote();
    ask(hash);
  }
  void reweigh(Node node, std::uint64_t weight) { at(in(node), node)->weight = weight; }
  void remove(Node node) {
    Items& items = in(node);
    items.erase(at(items, node));
  }
  Node evict(const TinyLfu& policy) {
    permille_ = policy.window_permille();
    const std::uint64_t main_max = capacity_ - window_max();
    demote();
    while (!window_.empty() && weight_of(window_) > window_max()) {
      const Item candidate = window_.back();
      if (weight_of(probation_) + weight_of(protected_) + candidate.weight > main_max) {
        Items& main = probation_.empty() ? protected_ : probation_;
        if (main.empty() || asked_.estimate(mark_of(candidate.hash)) <= asked_.estimate(mark_of(main.back().hash))) {
          return take_last(window_);
        }
        const Node out = take_last(main);
        to_front(window_, probation_, std::prev(window_.end()));
        return out;
      }
      to_front(window_, probation_, std::prev(window_.end()));
    }
    for (Items* items : {&probation_, &protected_, &window_}) {
      if (!items->empty()) return take_last(*items);
    }
    return kNoNode;
  }
  void follow(const TinyLfu& policy) { permille_ = policy.window_permille(); }

 private:
  std::uint64_t window_max() const { return capacity_ * permille_ / 1'000; }
  void ask(std::uint64_t hash) {
    asked_.add(mark_of(hash), static_cast<std::uint32_t>(window_.size() + probation_.size() + protected_.size()));
  }
  void demote() {
    while (protected_.size() > 1 && weight_of(protected_) > (capacity_ - window_max()) / 5 * 4) {
      to_front(protected_, probation_, std::prev(protected_.end()));
    }
  }
  Items& in(Node node) {
    for (Items* items : {&window_, &probation_}) {
      if (at(*items, node) != items->end()) return *items;
    }
    return protected_;
  }
  const std::uint64_t capacity_;
  std::uint64_t permille_ = WindowShadows::kWindows[WindowShadows::kLru];
  FrequencySketch asked_;
  Items window_, probation_, protected_;
};

// -------------------------------------------------------------------------------------------------- the shared suite
constexpr Node kNodes = 256;

// A cache as its owner keeps it, bounded by weight.
template <class Policy>
struct Owner {
  explicit Owner(std::uint64_t capacity_units) : capacity(capacity_units), policy(kNodes, capacity), twin(capacity) {
    for (Node node = kNodes; node > 0; --node) free_nodes.push_back(node - 1);
  }
  bool ask(std::uint64_t key, std::uint32_t new_weight) {
    if (const auto found = node_of.find(key); found != node_of.end()) {
      policy.touch(found->second);
      twin.touch(found->second);
      sync();
      return true;
    }
    const Node node = free_nodes.back();
    free_nodes.pop_back();
    policy.insert(node, hash_of(key), new_weight);
    twin.insert(node, hash_of(key), new_weight);
    sync();
    node_of[key] = node;
    key_of[node] = key;
    weight[node] = new_weight;
    held += new_weight;
    return false;
  }
  void sync() {
    if constexpr (std::is_same_v<Policy, TinyLfu>) twin.follow(policy);
  }
  void forget(Node node) {
    held -= weight[node];
    node_of.erase(key_of[node]);
    key_of.erase(node);
    weight.erase(node);
    free_nodes.push_back(node);
  }
  // What the policy and its twin take out until the capacity is kept.
  void keep() {
    while (held > capacity) {
      const Node out = policy.evict();
      ASSERT_EQ(out, twin.evict(policy));
      ASSERT_TRUE(key_of.contains(out)) << "what is evicted was held";
      forget(out);
    }
  }
  std::uint64_t capacity;
  Policy policy;
  Twin<Policy> twin;
  std::vector<Node> free_nodes;
  std::map<std::uint64_t, Node> node_of;
  std::map<Node, std::uint64_t> key_of;
  std::map<Node, std::uint32_t> weight;
  std::uint64_t held = 0;
};

template <class Policy>
class EvictionTest : public testing::Test {};
using Policies = testing::Types<Lru, Sieve, S3Fifo, TinyLfu>;
TYPED_TEST_SUITE(EvictionTest, Policies);

TYPED_TEST(EvictionTest, DecidesAsItsTwin) {
  for (std::uint64_t seed = 1; seed <= 25; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Rng rng(seed);
    Owner<TypeParam> owner(50 + rng.below(150));
    const std::uint32_t heaviest = seed % 2 == 0 ? 1 : 20;
    for (int i = 0; i < 2'000; ++i) {
      // Skewed, and what is liked changes half way.
      const std::uint64_t key = std::min(rng.below(400), rng.below(400)) + (i > 1'000 ? 200 : 0);
      owner.ask(key, 1 + static_cast<std::uint32_t>(rng.below(heaviest)));
      if (!owner.node_of.empty() && rng.one_in(20)) {
        const auto it = std::next(owner.node_of.begin(), static_cast<std::ptrdiff_t>(rng.below(owner.node_of.size())));
        const Node node = it->second;
        if (rng.one_in(2)) {
          owner.policy.remove(node);
          owner.twin.remove(node);
          owner.forget(node);
        } else {
          const auto weight = 1 + static_cast<std::uint32_t>(rng.below(heaviest));
          owner.policy.reweigh(node, weight);
          owner.twin.reweigh(node, weight);
          owner.held += weight;
          owner.held -= owner.weight[node];
          owner.weight[node] = weight;
        }
      }
      owner.keep();
      if (this->HasFatalFailure()) return;
    }
  }
}

TYPED_TEST(EvictionTest, GivesOutEveryNodeOnceAndThenNone) {
  TypeParam policy(kNodes, 100);
  for (Node node = 0; node < 100; ++node) policy.insert(node, hash_of(node), 1);
  for (Node node = 0; node < 100; node += 3) policy.touch(node);
  policy.remove(50);
  std::set<Node> out;
  for (Node node = policy.evict(); node != kNoNode; node = policy.evict()) EXPECT_TRUE(out.insert(node).second);
  EXPECT_EQ(out.size(), 99u);
  EXPECT_FALSE(out.contains(50));
  policy.insert(7, 1, 1);  // and it can be filled again
  EXPECT_EQ(policy.evict(), 7u);
  EXPECT_EQ(policy.evict(), kNoNode);
}

TYPED_TEST(EvictionTest, OneEntryHeavierThanTheCapacityGoesAtOnce) {
  TypeParam policy(kNodes, 100);
  policy.insert(3, hash_of(3), 1'000);
  EXPECT_EQ(policy.evict(), 3u);
}

// ----------------------------------------------------------------------------------------- what each is there for
template <class Policy>
double hits_after_scan() {
  Owner<Policy> owner(100);
  for (int round = 0; round < 200; ++round) {
    for (std::uint64_t key = 0; key < 50; ++key) {
      owner.ask(key, 1);
      owner.keep();
    }
  }
  for (std::uint64_t key = 1'000; key < 1'500; ++key) {
    owner.ask(key, 1);
    owner.keep();
  }
  int hits = 0;
  for (std::uint64_t key = 0; key < 50; ++key) hits += owner.node_of.contains(key);
  return hits / 50.0;
}

TEST(Eviction, AScanOfKeysThatComeOnceDoesNotEmptyTheCache) {
  EXPECT_EQ(hits_after_scan<Lru>(), 0) << "LRU is why the others exist";
  EXPECT_EQ(hits_after_scan<S3Fifo>(), 1);
  EXPECT_GT(hits_after_scan<Sieve>(), 0.9);
}

// The window follows the load: scans and skew shrink it, tracks that come and go make it all there is.
TEST(TinyLfuWindow, FollowsTheLoad) {
  Owner<TinyLfu> owner(200);
  Rng rng(1);
  std::uint64_t fresh = 1'000'000;
  for (int i = 0; i < 30'000; ++i) {
    owner.ask(rng.one_in(2) ? std::min(rng.below(2'000), rng.below(2'000)) : fresh++, 1);
    owner.keep();
  }
  EXPECT_LE(owner.policy.window_permille(), 100u) << "every second ask is part of a scan";
  std::vector<std::uint64_t> tracks;
  for (int frame = 0; frame < 800; ++frame) {
    while (tracks.size() < 90) tracks.push_back(fresh++);
    for (std::uint64_t& track : tracks) {
      owner.ask(track, 1);
      owner.keep();
      if (rng.one_in(10)) track = fresh++;
    }
  }
  EXPECT_GE(owner.policy.window_permille(), 600u) << "90 tracks are in view and change every ten frames";
}

// Far more entries than a shadow holds: the sample thins, and says the same.
TEST(TinyLfuWindow, ShadowsOfALargeCacheSampleIt) {
  constexpr Node kLarge = 6'000;
  TinyLfu policy(kLarge + 1, kLarge);
  std::map<std::uint64_t, Node> node_of;
  std::vector<std::uint64_t> key_of(kLarge + 1);
  std::vector<Node> free_nodes;
  for (Node node = 0; node <= kLarge; ++node) free_nodes.push_back(node);
  Rng rng(3);
  std::uint64_t fresh = 1'000'000;
  for (int i = 0; i < 120'000; ++i) {
    const std::uint64_t key = rng.one_in(2) ? fresh++ : std::min(rng.below(12'000), rng.below(12'000));
    if (const auto found = node_of.find(key); found != node_of.end()) {
      policy.touch(found->second);
      continue;
    }
    const Node node = free_nodes.back();
    free_nodes.pop_back();
    node_of[key] = node;
    key_of[node] = key;
    policy.insert(node, hash_of(key), 1);
    if (node_of.size() <= kLarge) continue;
    const Node out = policy.evict();
    node_of.erase(key_of[out]);
    free_nodes.push_back(out);
  }
  EXPECT_LE(policy.window_permille(), 300u);
}

TEST(FrequencySketch, NeverCountsTooLittleAndForgets) {
  FrequencySketch sketch(1'000);
  std::map<std::uint32_t, std::uint32_t> exact;
  Rng rng(5);
  std::uint64_t over = 0;
  for (int i = 0; i < 4'000; ++i) {
    const auto mark = static_cast<std::uint32_t>(hash_of(std::min(rng.below(500), rng.below(500))));
    sketch.add(mark, 1'000);
    ++exact[mark];
  }
  ASSERT_EQ(sketch.halvings(), 0u);
  for (const auto& [mark, count] : exact) {
    EXPECT_GE(sketch.estimate(mark), std::min(15u, count));
    over += sketch.estimate(mark) > std::min(15u, count);
  }
  EXPECT_LT(over, exact.size() / 10) << "and seldom too much";
  const std::uint32_t hot = 42;
  for (int i = 0; i < 15; ++i) sketch.add(hot, 1'000);
  ASSERT_EQ(sketch.estimate(hot), 15u);
  for (std::uint32_t i = 0; sketch.halvings() < 2; ++i) sketch.add(static_cast<std::uint32_t>(hash_of(i)), 16);
  EXPECT_LT(sketch.estimate(hot), 8u);
}

TEST(MarkIndex, IsAMap) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    MarkIndex index(64);
    std::map<std::uint32_t, std::uint32_t> model;
    for (int i = 0; i < 2'000; ++i) {
      const auto mark = static_cast<std::uint32_t>(rng.below(100));
      if (rng.one_in(2)) {
        index.erase(mark);
        model.erase(mark);
      } else if (model.size() < 64 || model.contains(mark)) {
        const auto value = static_cast<std::uint32_t>(rng.below(1'000));
        index.put(mark, value);
        model[mark] = value;
      }
      for (std::uint32_t m = 0; m < 100; ++m) {
        const auto found = model.find(m);
        ASSERT_EQ(index.find(m), found == model.end() ? MarkIndex::kNone : found->second) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace tidelock
