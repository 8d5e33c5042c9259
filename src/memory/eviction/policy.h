// What leaves a cache first. A policy knows entries by small numbers (nodes) that its owner gives out; keys, bytes and
// the bound itself are the owner's. Policies here: Lru, Sieve, S3Fifo, TinyLfu.
//
// Threads: one at a time. No method allocates once the policy is made, or makes a system call.
// Cost:    O(1), amortised for evict.
// Units:   weights and capacity in bytes, or in whatever else the owner bounds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tidelock {

using Node = std::uint32_t;
inline constexpr Node kNoNode = ~0u;

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  // After a miss: `node` is not held now, and below the number that the policy was made for.
  virtual void insert(Node node, std::uint64_t hash, std::uint32_t weight) = 0;
  virtual void touch(Node node) = 0;  // a hit
  virtual void reweigh(Node node, std::uint32_t weight) = 0;
  virtual void remove(Node node) = 0;  // not by choice: erased, or its place was needed
  // Takes out what is worth least, the newest one included: that is admission. kNoNode when nothing is held. To be
  // called while the owner holds more than the capacity, until it does not.
  virtual Node evict() = 0;
};

// Doubly linked lists of nodes over one table.
struct NodeList {
  Node head = kNoNode, tail = kNoNode;
  std::uint64_t weight = 0;
  std::uint32_t count = 0;
};

class NodeLinks {
 public:
  struct Link {
    Node prev = kNoNode, next = kNoNode;
    std::uint32_t weight = 0;
    std::uint32_t mark = 0;   // of the key's hash
    std::uint8_t place = 0;   // the policy's own: which list
    std::uint8_t credit = 0;  // the policy's own: uses
  };
  explicit NodeLinks(Node nodes) : links_(nodes) {}
  Link& operator[](Node node) { return links_[node]; }
  const Link& operator[](Node node) const { return links_[node]; }
  Node size() const { return static_cast<Node>(links_.size()); }

  void push_front(NodeList& list, Node node) {
    Link& link = links_[node];
    link.prev = kNoNode;
    link.next = list.head;
    (list.head == kNoNode ? list.tail : links_[list.head].prev) = node;
    list.head = node;
    list.weight += link.weight;
    ++list.count;
  }
  void unlink(NodeList& list, Node node) {
    const Link& link = links_[node];
    (link.prev == kNoNode ? list.head : links_[link.prev].next) = link.next;
    (link.next == kNoNode ? list.tail : links_[link.next].prev) = link.prev;
    list.weight -= link.weight;
    --list.count;
  }
  void to_front(NodeList& list, Node node) {
    if (list.head == node) return;
    unlink(list, node);
    push_front(list, node);
  }
  void reweigh(NodeList& list, Node node, std::uint32_t weight) {
    list.weight += weight;
    list.weight -= links_[node].weight;
    links_[node].weight = weight;
  }

 private:
  std::vector<Link> links_;
};

// 32 bits of a key's hash, for ghosts and sketches. Keys that share them share a fate, no more.
constexpr std::uint32_t mark_of(std::uint64_t hash) { return static_cast<std::uint32_t>(hash ^ hash >> 32); }

}  // namespace tidelock
