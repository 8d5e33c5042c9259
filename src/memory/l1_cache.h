// The first-level cache inside an app: copies of what the arena held, each with the slot version that was loaded before
// the copy was made (F5). Whether a copy may be served is decided in protocol/read_order.h, never here.
//
// Threads: every method from any thread. get takes no lock and writes nothing shared once an entry is marked as used;
// put
//          takes one shard's spin lock and gives up, rather than wait, when another thread holds it.
// Cost:    get is O(1) plus the copy and allocates only when `value` is too small; no method but the constructor makes
// a
//          system call.
// Bound:   capacity_bytes covers keys, values, index, marks and unused room. An entry takes at most a sixteenth of a
// shard.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "memory/ring_store.h"

namespace tidelock {

struct L1Options {
  std::size_t capacity_bytes = 10u << 20;  // under 64 KiB: no cache, every get misses
  std::size_t shards = 8;                  // a power of two up to 64; fewer when the capacity is small
};

class L1Cache {
 public:
  explicit L1Cache(L1Options options = {});
  ~L1Cache();
  L1Cache(const L1Cache&) = delete;
  L1Cache& operator=(const L1Cache&) = delete;

  Lookup get(std::string_view key, std::uint64_t hash, std::string& value, EntryMeta& meta);
  void prefetch(std::uint64_t hash) const {
    if (!shards_.empty()) prefetch_shard(hash);
  }
  // False when the entry is too large or the shard was busy: the older entry may then still be there.
  bool put(std::string_view key, std::uint64_t hash, std::string_view value, const EntryMeta& meta);
  void clear();

  std::size_t entries() const;
  std::size_t capacity_bytes() const { return capacity_bytes_; }  // as really taken
  std::size_t entry_bytes_max() const;

 private:
  struct Shard;
  Shard& shard_of(std::uint64_t hash) const;
  void prefetch_shard(std::uint64_t hash) const;

  std::size_t capacity_bytes_ = 0;
  void* memory_ = nullptr;
  std::size_t memory_bytes_ = 0;
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace tidelock
