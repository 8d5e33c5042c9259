// Reads of an app from the memory of its gateway: L1, then the arena, under the proofs of the page (DESIGN 6). It says
// when the edge must be asked; it never asks itself.
//
// Threads: every method from any thread. read takes no lock; attach and maintain take a mutex.
// Cost:    read makes no system call, and allocates nothing when `value` has the room. attach maps files.
// Replaced: when the edge restarts, read answers kDetached until maintain() has mapped its new page and arena. The
// former
//          mappings go when no read is inside them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/elapsed_clock.h"
#include "base/result.h"
#include "memory/arena.h"
#include "memory/in_place.h"
#include "memory/l1_cache.h"
#include "memory/page.h"
#include "memory/reader_lanes.h"
#include "memory/value_ref.h"
#include "protocol/read_many.h"
#include "protocol/read_order.h"

namespace tidelock {

struct LocalReaderOptions {
  std::string page_path;
  std::string arena_path;                      // empty: no arena, so every read is kMiss
  L1Options l1 = {};                           // its pools come from `l1_budgets`
  std::size_t l1_value_bytes_max = 64u << 10;  // larger values are read from the arena each time
  // Namespaces that are a cache of their own within L1, by their exact prefix.
  struct Budget {
    std::string prefix;
    std::size_t bytes = 0;
  };
  std::vector<Budget> l1_budgets = {};  // at most L1Cache::kPoolsMax; together at most 7/8 of L1
};

struct LocalReaderCounters {
  std::uint64_t reads = 0, hits_l1 = 0, hits_arena = 0;  // what is missing to `reads` had to be asked for
  L1Stats l1;
  std::size_t l1_entries = 0, l1_bytes = 0;
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

  // The same without a copy of a long value that L1 holds.
  ReadOutcome read(std::string_view key, const Contract& contract, ValueRef& value);

  // The same without any copy: `look` runs on the value where it lies, in the place that the copy has in F5's order, so
  // what is judged is what it saw, and U counts to its end (F6). in_place.h says what it must stand. When the outcome
  // says `found`, its last run saw the value that the receipt speaks of, whole; otherwise what it made means nothing.
  // kBusy after kInPlaceTries runs that the edge's writes disturbed. Fills no L1.
  ReadOutcome read_in_place(std::string_view key, const Contract& contract, InPlaceVisitor look);

  // The tightest bound that these keys must be read within by this contract and their namespaces; kForever: none.
  Nanos bound_asked(std::span<const std::string_view> keys, const Contract& contract);

  // All keys under one look at the proofs, as read() each: faster, and their bounds count to the end of the last one.
  // `values` and `outcomes` are made as long as `keys`; they allocate only while they grow. The outcome is that of all
  // (outcome_of_all); a key that must be asked for does not spoil the others. O(keys).
  ReadOutcome read_many(std::span<const std::string_view> keys, const Contract& contract,
                        std::vector<std::string>& values, std::vector<ReadOutcome>& outcomes);

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

  // Of the key's namespace, as the page shows it now: whether frames may run (M10). Closed without a page. No lock, no
  // system call.
  Breaker breaker(std::string_view key);
  // The policy of the key's namespace. Nothing without a page, or while it changes.
  std::optional<Namespace> policy_of(std::string_view key);

  bool attached() const { return current_.load(std::memory_order_acquire) != nullptr; }
  Boot edge_boot() const;  // 0 when detached
  // Over all threads, summed when asked for; a little low when more than 63 threads read.
  LocalReaderCounters counters() const;

 private:
  struct Attachment;
  struct Values;
  struct Retired {
    std::unique_ptr<const Attachment> attachment;
    ReaderLanes::Grace grace;
  };

  class Visit;
  template <class Out>
  ReadOutcome read_one(std::string_view key, const Contract& contract, Out& value);
  void replace(std::unique_ptr<const Attachment> next);  // mutex_ held
  void reclaim();                                        // mutex_ held

  const LocalReaderOptions options_;
  ReaderLanes lanes_;
  L1Cache l1_;
  std::atomic<const Attachment*> current_{nullptr};

  std::mutex mutex_;
  std::unique_ptr<const Attachment> owned_;
  std::vector<Retired> retired_;
  std::uint32_t last_era_ = 0;
};
inline constexpr std::size_t kSnapshotKeysMax = 256;

}  // namespace tidelock
