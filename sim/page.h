// The page and arena of one edge boot as plain memory, and a reader that may be stopped before each of its loads. It
// obeys src/protocol/read_order.h, the very order that the library uses.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutant.h"
#include "protocol/edge_core.h"
#include "protocol/map_memory_fixture.h"
#include "protocol/read_order.h"
#include "sim/oracle/facts.h"
#include "sim/world.h"

namespace tidelock::sim {

struct Page {
  explicit Page(std::size_t arena_bytes) : arena(arena_bytes) {}
  oracle::PageNo number;  // under which the oracles know it
  Nanos fresh_at = kNever, behind_at = kNever, lease_until = kNever, proofs_from = kNever, suspended_ns = 0,
        writers_ns = kForever;
  Index applied;
  std::uint64_t verified_epoch = 1, strong_epoch = 1;
  std::uint32_t rho_ppm = 200;
  bool revoked = false;
  bool clock_fault = false;  // for the judge: its edge knew of one when it dropped the proofs
  std::uint64_t first_slot_version = 0;
  std::map<std::uint16_t, std::uint64_t> slots;
  std::map<std::uint16_t, std::uint32_t> blocks;
  std::map<std::uint16_t, std::uint64_t> generations;
  MapMemory arena;
  std::vector<Namespace> namespaces;

  std::uint64_t slot_word(std::uint16_t slot) const {
    const auto version = slots.find(slot);
    const auto open = blocks.find(slot);
    const std::uint64_t count = open == blocks.end() ? 0 : std::min<std::uint64_t>(255, open->second);  // saturates
    return count << 56 | (first_slot_version + (version == slots.end() ? 0 : version->second));
  }
};

// What a reader of some gateway sees of its page, one load at a time.
class PageLoads {
 public:
  PageLoads(World& world, const Page& page) : world_(world), page_(page) {}
  Nanos fresh_at() const { return load(page_.fresh_at); }
  Nanos behind_at() const { return load(page_.behind_at); }
  Nanos lease_until() const { return load(page_.lease_until); }
  Index applied() const { return load(page_.applied); }
  std::uint64_t verified_epoch() const { return load(page_.verified_epoch); }
  std::uint64_t strong_epoch() const { return load(page_.strong_epoch); }
  Nanos suspended_ns() const { return load(page_.suspended_ns); }
  Nanos proofs_from() const { return load(page_.proofs_from); }
  bool revoked() const { return load(page_.revoked); }
  std::uint32_t rho_ppm() const { return load(page_.rho_ppm); }
  std::uint64_t slot_word(std::uint16_t slot) const {
    pause();
    tested_at_ = world_.now();
    return page_.slot_word(slot);
  }
  std::uint64_t generation(std::uint16_t ns) const {
    pause();
    const auto it = page_.generations.find(ns);
    return it == page_.generations.end() ? 0 : it->second;
  }
  void pause() const { world_.maybe_pause(120); }
  // When the slot was last looked at: the test of lease and blocks is complete then.
  Nanos tested_at() const { return tested_at_; }

 private:
  template <class T>
  T load(const T& word) const {
    pause();
    return word;
  }
  World& world_;
  const Page& page_;
  mutable Nanos tested_at_ = 0;
};

// The first-level cache of one app.
struct L1 {
  std::map<std::string, std::pair<EdgeEntry, std::uint64_t>> entries;  // with the slot version loaded before
};

class PageValues {
 public:
  static constexpr int kTiers = 2;
  PageValues(const PageLoads& loads, const Page& page, L1* l1, std::string key)
      : loads_(loads), page_(page), l1_(l1), key_(std::move(key)) {}

  Candidate lookup(int tier, std::uint64_t word) {
    loads_.pause();
    Candidate candidate;
    const EdgeEntry* entry = nullptr;
    if (tier == 0) {
      if (l1_ == nullptr) return candidate;
      const auto it = l1_->entries.find(key_);
      if (it == l1_->entries.end()) return candidate;
      entry = &it->second.first;
      candidate.slot_checked = true;
      candidate.slot_version = it->second.second;
    } else {
      entry = page_.arena.look(key_);
      if (entry == nullptr) return candidate;
      if (l1_ != nullptr) {  // F5: the version loaded before the value
        auto& kept = l1_->entries[key_] = {*entry, slot_version(word)};
        if (TIDELOCK_MUTANT(kSlotLoadedAfterValue)) kept.second = slot_version(loads_.slot_word(slot_of(key_)));
        entry = &kept.first;
      }
    }
    candidate.state = Candidate::State::kFound;
    candidate.negative = !entry->value;
    candidate.local = entry->local;
    candidate.version = entry->version;
    candidate.epoch = entry->epoch;
    candidate.proven_at = entry->proven_at;
    candidate.expires_at = entry->expires_at;
    value = entry->value;
    return candidate;
  }
  Source source(int tier) const { return tier == 0 ? Source::kL1 : Source::kArena; }

  std::optional<Bytes> value;

 private:
  const PageLoads& loads_;
  const Page& page_;
  L1* l1_;
  std::string key_;
};

}  // namespace tidelock::sim
