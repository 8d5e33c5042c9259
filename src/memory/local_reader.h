// Reads of an app from the memory of its gateway: L1, then the arena, under the proofs of the page (DESIGN 6). It says
// when the edge must be asked; it never asks itself.
//
// Threads: every method from any thread. read takes no lock; attach and maintain take a mutex.
// Cost:    read makes no system call, and allocates nothing when `value` has the room. attach maps files.
// Replaced: when the edge restarts, read answers kDetached until maintain() has mapped its new page and arena. The
// former
//          mappings go when no read is inside them.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/elapsed_clock.h"
#include "base/result.h"
#include "memory/arena.h"
#include "memory/l1_cache.h"
#include "memory/page.h"
#include "protocol/read_order.h"

namespace tidelock {

struct LocalReaderOptions {
  std::string page_path;
  std::string arena_path;  // empty: no arena, so every read is kMiss
  L1Options l1;
  std::size_t l1_value_bytes_max = 64u << 10;  // larger values are read from the arena each time
};

struct LocalReaderCounters {
  std::uint64_t reads = 0, hits_l1 = 0, hits_arena = 0;
};

class LocalReader {
 public:
  // Attaches if it can; otherwise every read is kDetached until attach or maintain succeeds.
  explicit LocalReader(LocalReaderOptions options);
  ~LocalReader();
  LocalReader(const LocalReader&) = delete;
  LocalReader& operator=(const LocalReader&) = delete;

  // F5. Copies the value into `value`. With must_ask == kNo the contract holds; otherwise the outcome says why the edge
  // must be asked, and what `value` holds to fall back on, if anything.
  ReadOutcome read(std::string_view key, const Contract& contract, std::string& value);

  // S4: all keys at one index: every value was in force at one instant under one lease. Strong keys only; `values` is
  // made as long as `keys`. The outcome is that of the group: its version is the highest, its bound the largest, and
  // must_ask tells why the snapshot must be taken at the hub. O(keys); at most kSnapshotKeysMax.
  ReadOutcome snapshot(std::span<const std::string_view> keys, std::vector<std::string>& values,
                       std::vector<ReadOutcome>& outcomes);

  // Maps the page and arena that lie at the paths now. Errors as PageReader::open.
  Result<void> attach();
  // To be called now and then, and after kDetached: attaches anew when the page was revoked or replaced, or its
  // policies changed, and unmaps what nobody reads any more. True when something changed.
  bool maintain();

  bool attached() const { return current_.load(std::memory_order_acquire) != nullptr; }
  Boot edge_boot() const;  // 0 when detached
  // Over all threads; hits are a little low when more than kLanes threads read.
  LocalReaderCounters counters() const;

 private:
  struct Attachment;
  struct Values;
  // Readers inside, counted on a line per thread; the last line is shared by the threads beyond the first 63.
  struct alignas(64) Lane {
    std::atomic<std::uint64_t> reads_and_inside{0};  // [48 bits reads so far | 16 bits readers inside]
    // Stored without a read-modify-write: threads that share a lane may lose counts of each other.
    std::atomic<std::uint64_t> hits_l1{0}, hits_arena{0};
  };
  static constexpr std::size_t kLanes = 64;
  struct Retired {
    std::unique_ptr<const Attachment> attachment;
    std::uint64_t lanes_to_see_empty = ~0ull;
  };

  class Visit;
  void replace(std::unique_ptr<const Attachment> next);  // mutex_ held
  void reclaim();                                        // mutex_ held

  const LocalReaderOptions options_;
  L1Cache l1_;
  std::array<Lane, kLanes> lanes_;
  std::atomic<const Attachment*> current_{nullptr};

  std::mutex mutex_;
  std::unique_ptr<const Attachment> owned_;
  std::vector<Retired> retired_;
  std::uint32_t last_era_ = 0;
};
inline constexpr std::size_t kSnapshotKeysMax = 256;

}  // namespace tidelock
