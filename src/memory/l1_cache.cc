// What a put does, under busy_: hears what readers used, makes room, writes the entry, stores its index word, and has
// the policy take out what is too much. What leaves the index goes to `leaving_`, a batch of it at a time to `waiting_`
// with a grace of its own, and back to the heap when that has passed. A sixteenth of the cells belongs to no pool, so
// that room is there while some of it waits.
#include "memory/l1_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "base/assert.h"
#include "memory/eviction/lru.h"
#include "memory/eviction/s3_fifo.h"
#include "memory/eviction/sieve.h"
#include "memory/eviction/tiny_lfu.h"

namespace tidelock {
namespace {

constexpr std::size_t kCapacityMin = 64u << 10;
constexpr std::size_t kCapacityMax = std::size_t{64} << 30;  // cells and nodes have 28 bits
constexpr unsigned kBucketWords = 8;
constexpr std::size_t kCellsPerNode = 3;    // an entry of 64 B with its key; smaller ones find no more nodes
constexpr std::size_t kNodesPerBucket = 5;  // of eight words: that both buckets of a key are full hardly happens
constexpr std::size_t kLeavingMax = 4'096;  // and at most one for sixteen cells
constexpr std::size_t kLeavingBatch = 32;
constexpr std::size_t kSpare = 16;      // one cell in so many belongs to no pool
constexpr std::size_t kEntryShare = 8;  // an entry takes at most this part of its pool
constexpr int kRoomTries = 16;          // evictions for one put: then the room is in pieces, and it is refused
constexpr std::uint8_t kNegative = 1, kLocal = 2;

std::size_t policy_bytes(Eviction eviction, Node nodes) {
  switch (eviction) {
    case Eviction::kTinyLfu: return sizeof(TinyLfu) + TinyLfu::own_bytes(nodes);
    case Eviction::kLru: return sizeof(Lru) + Lru::own_bytes(nodes);
    case Eviction::kS3Fifo: return sizeof(S3Fifo) + S3Fifo::own_bytes(nodes);
    case Eviction::kSieve: break;
  }
  return sizeof(Sieve) + Sieve::own_bytes(nodes);
}

std::unique_ptr<EvictionPolicy> make_policy(Eviction eviction, Node nodes, std::uint64_t capacity) {
  switch (eviction) {
    case Eviction::kTinyLfu: return std::make_unique<TinyLfu>(nodes, capacity);
    case Eviction::kLru: return std::make_unique<Lru>(nodes, capacity);
    case Eviction::kS3Fifo: return std::make_unique<S3Fifo>(nodes, capacity);
    case Eviction::kSieve: break;
  }
  return std::make_unique<Sieve>(nodes, capacity);
}

constexpr std::uint64_t tag_of(std::uint64_t hash) { return hash >> 48; }
constexpr std::uint64_t word_for(std::uint64_t hash, std::uint64_t cell) { return tag_of(hash) << 48 | (cell + 1); }
constexpr std::uint32_t cell_in(std::uint64_t word) { return static_cast<std::uint32_t>(word) - 1; }

std::size_t leaving_max_for(std::size_t cells) { return std::clamp<std::size_t>(cells / 16, 128, kLeavingMax); }
Node nodes_for(std::size_t cells) { return static_cast<Node>(cells / kCellsPerNode + 1); }

void bump(std::atomic<std::uint64_t>& count) {  // under busy_
  count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

void L1Entry::load_meta(EntryMeta& meta) const {
  meta.version = Index{version_};
  meta.epoch = epoch_;
  meta.proven_at = proven_at_;
  meta.expires_at = expires_at_;
  meta.negative = (flags_ & kNegative) != 0;
  meta.local = (flags_ & kLocal) != 0;
  meta.slot_version = slot_version_;
  meta.era = era_;
}

struct L1Cache::Pool {
  Pool(Eviction eviction, Cell cells_max, std::uint8_t its_number)
      : number(its_number),
        limit(cells_max),
        policy(make_policy(eviction, nodes_for(cells_max), cells_max)),
        cell_of(nodes_for(cells_max), CellHeap::kNone) {
    free_nodes.reserve(cell_of.size());
    for (Node node = nodes_for(cells_max); node > 0; --node) free_nodes.push_back(node - 1);
  }
  static std::size_t own_bytes(Eviction eviction, std::size_t cells) {
    return sizeof(Pool) + policy_bytes(eviction, nodes_for(cells)) + nodes_for(cells) * (sizeof(Cell) + sizeof(Node));
  }
  const std::uint8_t number;
  const Cell limit;
  std::atomic<Cell> used{0};  // written under busy_
  std::unique_ptr<EvictionPolicy> policy;
  std::vector<Cell> cell_of;  // of a node
  std::vector<Node> free_nodes;
};

L1Cache::L1Cache(const L1Options& options, ReaderLanes& lanes) : lanes_(lanes) {
  const std::size_t capacity = std::min(options.capacity_bytes, kCapacityMax);
  if (capacity < kCapacityMin) return;
  // Of `cells`: what each pool has, the first at the end.
  const auto share = [&](std::size_t cells) {
    std::vector<std::size_t> pools(1);
    const std::size_t usable = cells - cells / kSpare;
    std::size_t given = 0;
    for (const std::size_t bytes : options.pool_bytes) {
      if (pools.size() > kPoolsMax) break;
      const std::size_t mine = std::min(bytes / CellHeap::kCellBytes, usable / 8 * 7 - given);
      pools.push_back(mine);
      given += mine;
    }
    pools[0] = usable - given;
    return pools;
  };
  const auto beside = [&](std::size_t cells) {
    std::size_t bytes = sizeof *this + sizeof(CellHeap) + cells / 8 + 2 * leaving_max_for(cells) * sizeof(Retired) +
                        ReaderLanes::kLanes * ReaderLanes::kHolds * sizeof(void*);
    for (const std::size_t mine : share(cells)) bytes += Pool::own_bytes(options.eviction, mine);
    return bytes;
  };
  const auto buckets_for = [](std::size_t cells) { return nodes_for(cells) / kNodesPerBucket + 2; };
  const auto mapped = [&](std::size_t cells) {
    return buckets_for(cells) * kBucketWords * sizeof(std::uint64_t) + cells * CellHeap::kCellBytes;
  };
  std::size_t cells = capacity / CellHeap::kCellBytes;
  while (cells > 128 && beside(cells) + mapped(cells) > capacity) cells -= std::max<std::size_t>(1, cells / 512);
  if (cells <= 128) return;
  memory_bytes_ = mapped(cells);
  // Anonymous memory is zero and is taken from the machine only as it is filled.
  memory_ = ::mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory_ == MAP_FAILED) {
    memory_ = nullptr;
    return;
  }
  buckets_ = buckets_for(cells);
  index_ = new (memory_) std::atomic<std::uint64_t>[buckets_ * kBucketWords]();
  heap_ = std::make_unique<CellHeap>(static_cast<char*>(memory_) + buckets_ * kBucketWords * sizeof(std::uint64_t),
                                     static_cast<Cell>(cells));
  for (const std::size_t mine : share(cells)) {
    pools_.push_back(
        std::make_unique<Pool>(options.eviction, static_cast<Cell>(mine), static_cast<std::uint8_t>(pools_.size())));
  }
  leaving_max_ = leaving_max_for(cells);
  leaving_.reserve(leaving_max_);
  waiting_.reserve(leaving_max_);
  held_.reserve(ReaderLanes::kLanes * ReaderLanes::kHolds);
  capacity_bytes_ = memory_bytes_ + beside(cells);
}

L1Cache::~L1Cache() {
  if (memory_ != nullptr) ::munmap(memory_, memory_bytes_);
}

L1Cache::Cell L1Cache::cells_of(std::size_t key_bytes, std::size_t value_bytes) {
  const std::size_t bytes = sizeof(L1Entry) + L1Entry::padded(key_bytes) + value_bytes;
  return static_cast<Cell>((bytes + CellHeap::kCellBytes - 1) / CellHeap::kCellBytes);
}

// By other bits than the slot and the tag.
std::atomic<std::uint64_t>* L1Cache::bucket(std::uint64_t hash, unsigned which) const {
  const std::uint64_t mixed = which == 0 ? hash >> 16 & 0xFFFF'FFFF : hash * 0x9E3779B97F4A7C15ull >> 32;
  return index_ + (mixed * buckets_ >> 32) * kBucketWords;
}

const L1Entry* L1Cache::find(std::string_view key, std::uint64_t hash) const {
  if (buckets_ == 0) return nullptr;
  for (const unsigned which : {0u, 1u}) {
    const std::atomic<std::uint64_t>* words = bucket(hash, which);
    for (unsigned i = 0; i < kBucketWords; ++i) {
      // Sequentially consistent, as the visit's beginning and the writer's store: see reader_lanes.h.
      const std::uint64_t word = words[i].load(std::memory_order_seq_cst);
      if (word >> 48 != tag_of(hash) || word == 0) continue;
      const L1Entry& found = entry(cell_in(word));
      if (found.hash_ == hash && found.key() == key) return &found;
    }
  }
  return nullptr;
}

void L1Cache::prefetch(std::uint64_t hash) const {
  if (buckets_ == 0) return;
  __builtin_prefetch(bucket(hash, 0));
  __builtin_prefetch(bucket(hash, 1));
}

void L1Cache::prefetch_entry(std::uint64_t hash) const {
  if (buckets_ == 0) return;
  for (const unsigned which : {0u, 1u}) {
    const std::atomic<std::uint64_t>* words = bucket(hash, which);
    for (unsigned i = 0; i < kBucketWords; ++i) {
      const std::uint64_t word = words[i].load(std::memory_order_relaxed);
      if (word >> 48 != tag_of(hash) || word == 0) continue;
      const char* at = heap_->at(cell_in(word));  // nothing is read through it
      for (unsigned line = 0; line < 3; ++line) __builtin_prefetch(at + line * 64);
      return;
    }
  }
}

// --------------------------------------------------------------------------------------------------- under busy_
std::atomic<std::uint64_t>* L1Cache::word_of(std::string_view key, std::uint64_t hash) const {
  for (const unsigned which : {0u, 1u}) {
    std::atomic<std::uint64_t>* words = bucket(hash, which);
    for (unsigned i = 0; i < kBucketWords; ++i) {
      const std::uint64_t word = words[i].load(std::memory_order_relaxed);
      if (word >> 48 != tag_of(hash) || word == 0) continue;
      const L1Entry& found = entry(cell_in(word));
      if (found.hash_ == hash && found.key() == key) return &words[i];
    }
  }
  return nullptr;
}

std::atomic<std::uint64_t>* L1Cache::word_of(const L1Entry& of, Cell cell) const {
  for (const unsigned which : {0u, 1u}) {
    std::atomic<std::uint64_t>* words = bucket(of.hash_, which);
    for (unsigned i = 0; i < kBucketWords; ++i) {
      if (words[i].load(std::memory_order_relaxed) == word_for(of.hash_, cell)) return &words[i];
    }
  }
  TIDELOCK_ASSERT(false);  // every node has an entry, and every entry a word
  return nullptr;
}

// In the emptier bucket. When both are full one of their sixteen has to go, whatever the policy says.
std::atomic<std::uint64_t>* L1Cache::free_word(std::uint64_t hash) {
  std::atomic<std::uint64_t>* best = nullptr;
  unsigned best_free = 0;
  for (const unsigned which : {0u, 1u}) {
    std::atomic<std::uint64_t>* words = bucket(hash, which);
    std::atomic<std::uint64_t>* empty = nullptr;
    unsigned free = 0;
    for (unsigned i = 0; i < kBucketWords; ++i) {
      if (words[i].load(std::memory_order_relaxed) != 0) continue;
      ++free;
      empty = &words[i];
    }
    if (free <= best_free) continue;
    best_free = free;
    best = empty;
  }
  if (best != nullptr) return best;
  best = bucket(hash, 0) + (hash >> 3 & (kBucketWords - 1));
  const L1Entry& victim = entry(cell_in(best->load(std::memory_order_relaxed)));
  pools_[victim.pool_]->policy->remove(victim.node_);
  drop(best, true);
  return best;
}

void L1Cache::hear_notes() {
  const std::uint64_t used = ReaderLanes::ever_used() & ~(1ull << ReaderLanes::kShared);
  for (std::uint64_t left = used; left != 0; left &= left - 1) {
    const auto number = static_cast<unsigned>(std::countr_zero(left));
    const ReaderLanes::Lane& lane = lanes_.lane(number);
    const std::uint32_t noted = lane.noted.load(std::memory_order_acquire);
    std::uint32_t at = heard_[number];
    if (noted - at > ReaderLanes::kNotes) at = noted - ReaderLanes::kNotes;
    for (; at != noted; ++at) {
      // May be of an entry that is gone, or half a round newer than `noted`: it is checked, and it is a hint.
      const std::uint64_t note = lane.notes[at % ReaderLanes::kNotes].load(std::memory_order_relaxed);
      const std::size_t pool = note >> 60;
      const std::size_t node = note >> 32 & 0xFFF'FFFF;
      if (pool >= pools_.size() || node >= pools_[pool]->cell_of.size()) continue;
      const Cell cell = pools_[pool]->cell_of[node];
      if (cell == CellHeap::kNone || entry(cell).hash_ >> 32 != (note & 0xFFFF'FFFF)) continue;
      pools_[pool]->policy->touch(static_cast<Node>(node));
    }
    heard_[number] = noted;
  }
}

void L1Cache::drop(std::atomic<std::uint64_t>* word, bool evicted) {
  const Cell first = cell_in(word->load(std::memory_order_relaxed));
  const L1Entry& gone = entry(first);
  const Cell cells = cells_of(gone.key_bytes_, gone.value_bytes_);
  Pool& pool = *pools_[gone.pool_];
  pool.cell_of[gone.node_] = CellHeap::kNone;
  pool.free_nodes.push_back(gone.node_);
  pool.used.store(pool.used.load(std::memory_order_relaxed) - cells, std::memory_order_relaxed);
  word->store(0, std::memory_order_seq_cst);
  entries_.store(entries_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  if (evicted) bump(evictions_);
  retire(first, cells);
}

bool L1Cache::evict_one(Pool& pool) {
  if (leaving_.size() + waiting_.size() >= leaving_max_)
    return false;  // readers keep too much: nothing would come of it
  const Node node = pool.policy->evict();
  if (node == kNoNode) return false;
  const Cell cell = pool.cell_of[node];
  drop(word_of(entry(cell), cell), true);
  return true;
}

void L1Cache::retire(Cell first, Cell cells) {
  TIDELOCK_ASSERT(leaving_.size() < leaving_.capacity());
  leaving_.push_back({first, cells});
  leaving_cells_ += cells;
}

void L1Cache::free_waiting() {
  held_.clear();
  const std::uint64_t used = ReaderLanes::ever_used();
  for (std::uint64_t left = used; left != 0; left &= left - 1) {
    for (const ReaderLanes::Hold& hold : lanes_.lane(static_cast<unsigned>(std::countr_zero(left))).holds) {
      if (const void* address = hold.load(std::memory_order_acquire)) held_.push_back(address);
    }
  }
  for (const Retired& gone : waiting_) {
    if (std::find(held_.begin(), held_.end(), heap_->at(gone.first)) != held_.end()) {
      retire(gone.first, gone.cells);  // to be asked about again
    } else {
      heap_->give(gone.first, gone.cells);
    }
  }
  waiting_.clear();
}

void L1Cache::release(unsigned except) {
  if (!waiting_.empty() && grace_->passed(lanes_, except)) free_waiting();
  if (!waiting_.empty() || leaving_.empty()) return;
  std::swap(leaving_, waiting_);
  leaving_cells_ = 0;
  grace_.emplace(lanes_);
  if (grace_->passed(lanes_, except)) free_waiting();
}

L1Cache::Cell L1Cache::room(Pool& pool, Cell cells, unsigned except) {
  for (int tries = 0; tries < kRoomTries; ++tries) {
    Cell first = heap_->take(cells);
    if (first != CellHeap::kNone) return first;
    release(except);
    first = heap_->take(cells);
    if (first != CellHeap::kNone) return first;
    if (!evict_one(pool)) break;
  }
  return CellHeap::kNone;
}

bool L1Cache::put_locked(std::string_view key, std::uint64_t hash, std::string_view value, const EntryMeta& meta,
                         Pool& pool, unsigned except) {
  hear_notes();
  if (leaving_.size() >= kLeavingBatch || leaving_cells_ > heap_->cells() / 64) release(except);
  // What this put may retire: its former entry, one of a full bucket, and what the policy takes out.
  if (leaving_.size() + waiting_.size() + kRoomTries + 4 > leaving_max_) return false;
  const Cell cells = cells_of(key.size(), value.size());
  const Cell first = room(pool, cells, except);
  if (first == CellHeap::kNone) return false;
  if (pool.free_nodes.empty() && !evict_one(pool)) {
    heap_->give(first, cells);
    return false;
  }

  L1Entry& made = *new (heap_->at(first)) L1Entry;
  made.value_bytes_ = static_cast<std::uint32_t>(value.size());
  made.era_ = meta.era;
  made.key_bytes_ = static_cast<std::uint16_t>(key.size());
  made.pool_ = pool.number;
  made.flags_ = static_cast<std::uint8_t>((meta.negative ? kNegative : 0) | (meta.local ? kLocal : 0));
  made.hash_ = hash;
  made.version_ = meta.version.value;
  made.epoch_ = meta.epoch;
  made.proven_at_ = meta.proven_at;
  made.expires_at_ = meta.expires_at;
  made.slot_version_ = meta.slot_version;
  char* bytes = heap_->at(first) + sizeof(L1Entry);
  std::memcpy(bytes, key.data(), key.size());
  if (!value.empty()) std::memcpy(bytes + L1Entry::padded(key.size()), value.data(), value.size());

  std::atomic<std::uint64_t>* word = word_of(key, hash);
  if (word != nullptr) {
    const L1Entry& former = entry(cell_in(word->load(std::memory_order_relaxed)));
    if (former.pool_ != pool.number) {  // the policies of the page changed
      pools_[former.pool_]->policy->remove(former.node_);
      drop(word, false);
      word = nullptr;
    }
  }
  Cell used = pool.used.load(std::memory_order_relaxed);
  if (word != nullptr) {
    const Cell former_first = cell_in(word->load(std::memory_order_relaxed));
    const L1Entry& former = entry(former_first);
    const Cell former_cells = cells_of(former.key_bytes_, former.value_bytes_);
    made.node_ = former.node_;
    pool.policy->reweigh(made.node_, cells);
    pool.policy->touch(made.node_);
    pool.cell_of[made.node_] = first;
    word->store(word_for(hash, first), std::memory_order_seq_cst);
    retire(former_first, former_cells);
    used = used - former_cells + cells;
  } else {
    word = free_word(hash);
    used = pool.used.load(std::memory_order_relaxed) + cells;  // it may have dropped one
    made.node_ = pool.free_nodes.back();
    pool.free_nodes.pop_back();
    pool.policy->insert(made.node_, hash, cells);
    pool.cell_of[made.node_] = first;
    entries_.store(entries_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    word->store(word_for(hash, first), std::memory_order_seq_cst);
  }
  pool.used.store(used, std::memory_order_relaxed);
  while (pool.used.load(std::memory_order_relaxed) > pool.limit) {
    if (!evict_one(pool)) break;
  }
  return true;
}

bool L1Cache::put(std::string_view key, std::uint64_t hash, std::string_view value, const EntryMeta& meta,
                  std::size_t pool, const ReaderLanes::Visit* visit) {
  if (buckets_ == 0 || pool >= pools_.size() || key.empty() || key.size() > kKeyBytesMax) return false;
  if (value.size() > value_bytes_max(key.size(), pool) || busy_.test_and_set(std::memory_order_acquire)) {
    refused_.fetch_add(1, std::memory_order_relaxed);  // not under busy_
    return false;
  }
  const bool done =
      put_locked(key, hash, value, meta, *pools_[pool], visit == nullptr ? ReaderLanes::kLanes : visit->number());
  if (done) bump(puts_);
  busy_.clear(std::memory_order_release);
  if (!done) refused_.fetch_add(1, std::memory_order_relaxed);
  return done;
}

std::size_t L1Cache::value_bytes_max(std::size_t key_bytes, std::size_t pool) const {
  if (pool >= pools_.size()) return 0;
  const std::size_t whole = pools_[pool]->limit / kEntryShare * CellHeap::kCellBytes;
  const std::size_t beside = sizeof(L1Entry) + L1Entry::padded(key_bytes);
  return whole > beside ? whole - beside : 0;
}

std::size_t L1Cache::pool_used_bytes(std::size_t pool) const {
  if (pool >= pools_.size()) return 0;
  return std::size_t{pools_[pool]->used.load(std::memory_order_relaxed)} * CellHeap::kCellBytes;
}

L1Stats L1Cache::stats() const {
  return {puts_.load(std::memory_order_relaxed), evictions_.load(std::memory_order_relaxed),
          refused_.load(std::memory_order_relaxed)};
}

}  // namespace tidelock
