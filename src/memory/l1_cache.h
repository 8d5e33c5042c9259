// The first-level cache inside an app: copies of what the arena held, each with the slot version that was loaded before
// the copy was made (F5). Whether a copy may be served is decided in protocol/read_order.h, never here.
//
//   index    buckets of eight words, [16 bits tag | 32 bits cell + 1]; a key may be in either of two buckets
//   entries  each in one row of a CellHeap: 64 bytes of header, key, value. Never changed once its index word is set.
//
// Why no reader sees torn or freed bytes: an entry is written before its index word is stored, and never after. To
// replace or evict it the writer stores the index word first and gives the cells back only after a grace
// (reader_lanes.h) in which every reader that may have loaded the former word counted itself out, and only if no hold
// names the entry.
//
// A reader writes to nothing that another thread reads often: what it used goes into the notes of its own lane, and
// whoever puts next tells the policy. So a policy sees hits a little late, and not all of them when a thread hits more
// than 64 times between two puts: then it hardly matters.
//
// Threads: find: any thread, inside a Visit of the same lanes, takes no lock. put: any thread; a spin lock that it
// gives
//          up on, rather than wait, when another thread holds it. The counters are exact, and read at any time.
// Cost:    find is O(1), two lines for the index and the entry itself; put O(1) amortised and the copy. No method but
//          the constructor makes a system call or allocates.
// Bound:   capacity_bytes covers keys, values, index, what the policies know and unused room. What a hold keeps counts
//          as well: when holds leave no room, or what is free is in too small pieces, put refuses. An entry takes at
//          most an eighth of its pool.
// Pools:   a namespace with a budget is a cache of its own within the bytes: nothing else evicts its entries, and they
//          evict nothing else (but for a key that finds both its buckets full). Pool 0 is everybody else's and has the
//          rest.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "memory/cell_heap.h"
#include "memory/eviction/policy.h"
#include "memory/reader_lanes.h"
#include "memory/ring_store.h"

namespace tidelock {

enum class Eviction : std::uint8_t {
  kTinyLfu,  // never far from the best, and never long behind LRU
  kLru,
  kS3Fifo,
  kSieve,  // good for skewed keys; collapses when keys come and go
};

struct L1Options {
  std::size_t capacity_bytes = 10u << 20;  // under 64 KiB: no cache, every find misses
  Eviction eviction = Eviction::kTinyLfu;
  std::vector<std::size_t> pool_bytes =
      {};  // of pools 1, 2, ...; at most kPoolsMax, together at most 7/8 of the capacity
};

struct L1Stats {
  std::uint64_t puts = 0, evictions = 0;
  std::uint64_t refused = 0;  // too large, no room that readers let go of, or another thread was putting
};

class L1Entry {
 public:
  std::string_view key() const { return {bytes(), key_bytes_}; }
  std::string_view value() const { return {bytes() + padded(key_bytes_), value_bytes_}; }  // aligned to 16 bytes
  std::uint64_t hash() const { return hash_; }
  void load_meta(EntryMeta& meta) const;  // all that a read needs: no stamp, no namespace

 private:
  friend class L1Cache;
  static constexpr std::size_t padded(std::size_t key_bytes) { return (key_bytes + 15) & ~std::size_t{15}; }
  const char* bytes() const { return reinterpret_cast<const char*>(this + 1); }
  std::uint32_t node_, value_bytes_;
  std::uint32_t era_;
  std::uint16_t key_bytes_;
  std::uint8_t pool_, flags_;
  std::uint64_t hash_, version_, epoch_;
  Nanos proven_at_, expires_at_;
  std::uint64_t slot_version_;
};
static_assert(sizeof(L1Entry) == 64);

class L1Cache {
 public:
  static constexpr std::size_t kPoolsMax = 15;

  // `lanes` outlives the cache.
  L1Cache(const L1Options& options, ReaderLanes& lanes);
  ~L1Cache();
  L1Cache(const L1Cache&) = delete;
  L1Cache& operator=(const L1Cache&) = delete;

  // Null: not held. What is found stays as it is while the visit lasts.
  const L1Entry* find(std::string_view key, std::uint64_t hash) const;
  // That it was of use; not for what was found and not served.
  void used(ReaderLanes::Visit& visit, const L1Entry& entry) const {
    visit.note(std::uint64_t{entry.pool_} << 60 | std::uint64_t{entry.node_} << 32 | (entry.hash_ >> 32));
  }
  void prefetch(std::uint64_t hash) const;        // the index
  void prefetch_entry(std::uint64_t hash) const;  // what the index says, once that has arrived

  // False when the entry is refused: the older one may then still be there. `visit`: the caller's, who must not use
  // after this what it found before; null when it is in none.
  bool put(std::string_view key, std::uint64_t hash, std::string_view value, const EntryMeta& meta,
           std::size_t pool = 0, const ReaderLanes::Visit* visit = nullptr);

  std::size_t entries() const { return entries_.load(std::memory_order_relaxed); }
  std::size_t capacity_bytes() const { return capacity_bytes_; }  // as really taken
  std::size_t pool_used_bytes(std::size_t pool) const;
  std::size_t value_bytes_max(std::size_t key_bytes, std::size_t pool = 0) const;
  L1Stats stats() const;

 private:
  using Cell = CellHeap::Cell;
  struct Pool;
  struct Retired {
    Cell first, cells;
  };
  const L1Entry& entry(Cell cell) const { return *reinterpret_cast<const L1Entry*>(heap_->at(cell)); }
  static Cell cells_of(std::size_t key_bytes, std::size_t value_bytes);
  std::atomic<std::uint64_t>* bucket(std::uint64_t hash, unsigned which) const;
  std::atomic<std::uint64_t>* word_of(std::string_view key, std::uint64_t hash) const;
  std::atomic<std::uint64_t>* word_of(const L1Entry& entry, Cell cell) const;
  std::atomic<std::uint64_t>* free_word(std::uint64_t hash);
  void hear_notes();
  void drop(std::atomic<std::uint64_t>* word, bool evicted);  // the policy knows already
  bool evict_one(Pool& pool);
  void retire(Cell first, Cell cells);
  void release(unsigned except);
  void free_waiting();
  Cell room(Pool& pool, Cell cells, unsigned except);
  bool put_locked(std::string_view key, std::uint64_t hash, std::string_view value, const EntryMeta& meta, Pool& pool,
                  unsigned except);

  ReaderLanes& lanes_;
  // fixed once built
  std::size_t capacity_bytes_ = 0;
  void* memory_ = nullptr;
  std::size_t memory_bytes_ = 0;
  std::atomic<std::uint64_t>* index_ = nullptr;
  std::uint64_t buckets_ = 0;
  std::size_t leaving_max_ = 0;
  // under busy_
  alignas(64) mutable std::atomic_flag busy_;
  std::unique_ptr<CellHeap> heap_;
  std::vector<std::unique_ptr<Pool>> pools_;
  std::vector<Retired> leaving_, waiting_;  // leaving: no grace begun; waiting: for `grace_`
  Cell leaving_cells_ = 0;
  std::optional<ReaderLanes::Grace> grace_;
  std::vector<const void*> held_;
  std::array<std::uint32_t, ReaderLanes::kLanes> heard_{};
  std::atomic<std::uint64_t> puts_{0}, evictions_{0}, entries_{0};
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace tidelock
