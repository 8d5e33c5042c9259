// What the judge of the small cluster sees: messages, page stores and ledger entries (search.h).
#include <algorithm>

#include "protocol/read_order.h"
#include "sim/small_scope/world.h"

namespace tidelock::sim {
namespace {

struct StillClock {
  struct Reading {
    Nanos earliest, latest, suspended_ns;
  };
  Reading now() const { return {at, at, 0}; }
  Reading past() const { return now(); }
  Nanos at;
};

struct OneTier {
  static constexpr int kTiers = 1;
  Candidate lookup(int, std::uint64_t) const {
    Candidate candidate;
    if (entry == nullptr) return candidate;
    candidate.state = Candidate::State::kFound;
    candidate.negative = !entry->value;
    candidate.local = entry->local;
    candidate.version = entry->version;
    candidate.epoch = entry->epoch;
    candidate.proven_at = entry->proven_at;
    candidate.expires_at = entry->expires_at;
    return candidate;
  }
  Source source(int) const { return Source::kArena; }
  const EdgeEntry* entry;
};

std::string number_of(std::size_t number) { return std::to_string(number); }

}  // namespace

void SmallWorld::judge_told(Edge& edge, const HubFrame& frame) {
  auto& promised = pages_[edge.page].promised;
  if (const auto* block = std::get_if<Block>(&frame.body)) {
    edge.told[{block->term, block->number}] = block->keys;
  } else if (const auto* record = std::get_if<Record>(&frame.body)) {
    promised.erase({record->term, record->block});
  } else if (const auto* unblock = std::get_if<Unblock>(&frame.body)) {
    promised.erase({unblock->term, unblock->number});
  } else if (const auto* welcome = std::get_if<Welcome>(&frame.body)) {  // weaker than F11, which waits for the mark
    std::erase_if(promised, [&](const auto& entry) {
      return entry.first.first < welcome->term || std::find(welcome->open_blocks.begin(), welcome->open_blocks.end(),
                                                            entry.first) == welcome->open_blocks.end();
    });
  }
}

void SmallWorld::judge_effect(Index index, const Put& put) {
  ++commits_;
  for (const KeyWrite& write : put.writes) {
    newest_[write.key] = index;
    for (std::size_t i = 0; i < pages_.size(); ++i) {
      const auto word = pages_[i].words.find(slot_of(write.key));
      const bool blocked = word != pages_[i].words.end() && slot_blocks(word->second) != 0;
      if (!pages_[i].revoked && now_ < pages_[i].lease_until && !blocked)
        violated("I3: a write of " + write.key + " takes effect at index " + number_of(index.value) + " while page " +
                 number_of(i) + " of edge-" + number_of(pages_[i].edge) + " has a lease and no block");
    }
  }
}

void SmallWorld::judge_reads() {
  struct PageView {
    const Page& page;
    Nanos fresh_at() const { return page.fresh_at; }
    Nanos behind_at() const { return page.fresh_at; }
    Nanos lease_until() const { return page.lease_until; }
    Index applied() const { return page.applied; }
    std::uint64_t verified_epoch() const { return page.verified_epoch; }
    std::uint64_t strong_epoch() const { return page.strong_epoch; }
    Nanos suspended_ns() const { return 0; }
    Nanos proofs_from() const { return page.proofs_from; }
    bool revoked() const { return page.revoked; }
    std::uint32_t rho_ppm() const { return 200; }
    std::uint64_t slot_word(std::uint16_t slot) const {
      const auto it = page.words.find(slot);
      return it == page.words.end() ? 0 : it->second;
    }
  };
  static const ReadPolicy policy = read_policy(small_seed().namespaces.front());
  const StillClock clock{now_};
  for (const std::string& key : kKeys) {
    Index newest = floor_[key], oldest{~0ull};
    for (const Page& page : pages_) {
      OneTier values{page.arena.look(key)};
      const ReadOutcome outcome = read_in_order(PageView{page}, clock, values, slot_of(key), policy,
                                                ReadContract{Consistency::kStrong, kForever, {}});
      if (outcome.must_ask != MustAsk::kNo) continue;
      ++reads_;
      newest = std::max(newest, outcome.receipt.version);
      oldest = std::min(oldest, outcome.receipt.version);
      for (const auto& [block, keys] : page.promised) {
        if (std::find(keys.begin(), keys.end(), key) != keys.end())
          violated("I5: edge-" + number_of(page.edge) + " acknowledged a block of " + key +
                   ", and its page serves a strong read before the block has ended");
      }
    }
    if (oldest < newest)  // the one that returned the newest may have been the first of them
      violated("I1: a strong read of " + key + " returned " + number_of(oldest.value) + ", and " +
               number_of(newest.value) + " was acknowledged or read before");
    if (newest > newest_[key]) violated("I1: a strong read of " + key + " returned what did not take effect");
    floor_[key] = newest;
  }
}

}  // namespace tidelock::sim
