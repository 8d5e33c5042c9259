#include "memory/l1_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

#include "base/assert.h"

namespace tidelock {
namespace {
constexpr std::size_t kShardBytesMin = 64u << 10;
constexpr std::size_t kShardsMax = 64;
}  // namespace

struct alignas(64) L1Cache::Shard {
  Shard(void* memory, RingShape shape) : ring(memory, shape) {}
  RingWriter ring;
  std::atomic_flag busy;

  bool try_lock() { return !busy.test_and_set(std::memory_order_acquire); }
  void unlock() { busy.clear(std::memory_order_release); }
};

L1Cache::L1Cache(L1Options options) {
  std::size_t shards = std::bit_floor(std::clamp<std::size_t>(options.shards, 1, kShardsMax));
  while (shards > 1 && options.capacity_bytes / shards < kShardBytesMin) shards /= 2;
  const std::size_t each = options.capacity_bytes / shards & ~std::size_t{63};
  if (each < kShardBytesMin) return;
  // The marks that the ring keeps beside its memory count as well: shrink until both fit.
  RingShape shape = RingShape::within(each);
  const std::size_t beside = RingWriter::own_bytes(shape) + sizeof(Shard);
  shape = RingShape::within(each - beside);
  if (shape.buckets == 0) return;
  const std::size_t stride = (shape.size_bytes() + 63) & ~std::size_t{63};
  memory_bytes_ = stride * shards;
  // Anonymous memory is zero and is taken from the machine only as it is filled.
  memory_ = ::mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory_ == MAP_FAILED) {
    memory_ = nullptr;
    return;
  }
  for (std::size_t i = 0; i < shards; ++i) {
    shards_.push_back(std::make_unique<Shard>(static_cast<char*>(memory_) + i * stride, shape));
  }
  capacity_bytes_ = memory_bytes_ + shards * (RingWriter::own_bytes(shape) + sizeof(Shard));
}

L1Cache::~L1Cache() {
  shards_.clear();
  if (memory_ != nullptr) ::munmap(memory_, memory_bytes_);
}

L1Cache::Shard& L1Cache::shard_of(std::uint64_t hash) const { return *shards_[(hash >> 44) & (shards_.size() - 1)]; }

void L1Cache::prefetch_shard(std::uint64_t hash) const { shard_of(hash).ring.view().prefetch(hash); }

Lookup L1Cache::get(std::string_view key, std::uint64_t hash, std::string& value, EntryMeta& meta) {
  if (shards_.empty()) return Lookup::kAbsent;
  RingWriter& ring = shard_of(hash).ring;
  std::uint32_t index_word = 0;
  const Lookup found = ring.view().get(key, hash, value, meta, &index_word);
  if (found == Lookup::kFound) ring.mark_used(index_word);
  return found;
}

bool L1Cache::put(std::string_view key, std::uint64_t hash, std::string_view value, const EntryMeta& meta) {
  if (shards_.empty()) return false;
  Shard& shard = shard_of(hash);
  if (!shard.try_lock()) return false;
  const bool done = shard.ring.put(key, hash, value, meta);
  shard.unlock();
  return done;
}

void L1Cache::clear() {
  for (const auto& shard : shards_) {
    while (!shard->try_lock()) {
    }
    shard->ring.clear();
    shard->unlock();
  }
}

std::size_t L1Cache::entries() const {
  std::size_t entries = 0;
  for (const auto& shard : shards_) {
    while (!shard->try_lock()) {
    }
    entries += shard->ring.entries();
    shard->unlock();
  }
  return entries;
}

std::size_t L1Cache::entry_bytes_max() const {
  return shards_.empty() ? 0 : shards_.front()->ring.capacity_bytes() / 16;
}

}  // namespace tidelock
