// The arena: the edge's memory tier of values in shared memory, which any app of the gateway reads without waking the
// edge (DESIGN 6). One copy serves both: the edge's own lookups use it too.
//
// Layout:  a header, an index and a log of records (ring_store.h). Checked when mapped; every length and position that
// is
//          read afterwards is checked against the mapping before it is used.
// Threads: ArenaWriter: one thread. ArenaReader and ArenaView: any thread and process; no locks, no system calls.
// Readers: copy, then test that the log's tail has not passed the record: whoever lost the race tries again. A reader
// that
//          is killed holds nothing, and eviction waits for nobody.
// Cost:    get and find are O(1) plus the copy; put is O(1) amortised (it moves what stands in its way).
// Limits:  a key of kKeyBytesMax, a value of kValueBytesMax, an entry of a sixteenth of the arena.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "memory/ring_store.h"
#include "protocol/edge_entries.h"

namespace tidelock {

class SharedMapping;  // shared_mapping.h

inline constexpr std::uint32_t kArenaLayoutVersion = 3;

struct ArenaOptions {
  std::string path;
  Boot edge_boot;
  // Of the whole file, at least kArenaBytesMin. Room is reserved at once for all but what the index may still grow by.
  std::size_t size_bytes = 64u << 20;
};
inline constexpr std::size_t kArenaBytesMin = 1u << 20;
inline constexpr std::size_t kArenaBytesMax = 1ull << 40;

class ArenaWriter : public EdgeMemory {
 public:
  // A new, empty file, renamed into place. Make it before the page: a page announces its arena by equal edge boots.
  static Result<ArenaWriter> create(const ArenaOptions& options);
  ArenaWriter(ArenaWriter&&) noexcept;
  ArenaWriter& operator=(ArenaWriter&&) noexcept;
  ~ArenaWriter() override;

  // Replaces an older entry of the key. False, with the older entry gone, when the entry is over the limits above.
  bool put(std::string_view key, std::string_view value, const EntryMeta& meta);
  bool put(std::string_view key, const EdgeEntry& entry);
  bool erase(std::string_view key);
  // Views die with the next put, erase or clear.
  std::optional<HeldView> find(std::string_view key) const override;
  std::optional<HeldView> peek(std::string_view key) const override;
  // Brings what is held of these keys near the processor, all at the same time. Counts as no use.
  void warm(std::span<const std::string_view> keys) const;
  void each_of_slot(std::uint16_t slot, const std::function<void(std::string_view key)>& visit) const override;
  // What the entry of a key takes; 0 when there is none.
  std::size_t bytes_of(std::string_view key) const;
  // What has expired at `now` leaves, so that its bytes are back within 100 ms when this is called no later than it
  // asks for: it returns when to call again (kForever: nothing expires). Some milliseconds of work at most, and nothing
  // when it is called early. No reader takes what has expired (C5): its place among the stores to the page does not
  // matter.
  Nanos sweep(Nanos now);
  // In no order; `visit` must not change the arena. O(entries).
  void for_each(const std::function<void(const EntryView&)>& visit) const;
  void clear();
  // Called with each live entry that leaves for want of room, before it goes. Must not change the arena.
  void on_evict(std::function<void(const EntryView&)> evicted);

  std::size_t entries() const override;
  std::size_t bytes() const override { return live_bytes(); }
  std::size_t live_bytes() const;
  std::size_t capacity_bytes() const;
  // Beside the entries, and beside what the writer keeps on its heap (some 18 bytes for each 8 KiB).
  std::size_t fixed_bytes() const;
  std::uint64_t evictions() const;
  // For other threads of the edge. Dies with the writer.
  const RingView& view() const;
  const std::string& path() const;

 private:
  explicit ArenaWriter(std::unique_ptr<SharedMapping> mapping);
  std::unique_ptr<SharedMapping> mapping_;
  Nanos sweep_at_ = kNever;
  std::unique_ptr<RingWriter> ring_;
};

class ArenaReader {
 public:
  // Errors as PageReader::open; there is no test of clocks here, so pair it with a page of the same edge_boot.
  static Result<ArenaReader> open(const std::string& path);
  ArenaReader(ArenaReader&&) noexcept;
  ArenaReader& operator=(ArenaReader&&) noexcept;
  ~ArenaReader();

  Boot edge_boot() const;
  // Copies the value into `value` (allocates only when its capacity is too small) and what is known of it into `meta`.
  // kBusy after kLookupTries lost races.
  Lookup get(std::string_view key, std::string& value, EntryMeta& meta) const;
  const RingView& view() const;

 private:
  explicit ArenaReader(std::unique_ptr<SharedMapping> mapping);
  std::unique_ptr<SharedMapping> mapping_;
  RingView view_;
};

}  // namespace tidelock
