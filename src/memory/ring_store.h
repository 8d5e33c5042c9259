// A bounded store of entries in one block of memory, private or shared: the inside of the arena.
//
//   tail ... head   positions in words of an endless log; the last `data_words` of them exist, at position % data_words
//   index           buckets of eight words, [12 bits tag | 52 bits position + 1]; a key may be in either of two
//   buckets.
//                   It lies at the end of the memory and grows with the entries: each bucket in use is split in two,
//                   one after the other, and the number in use tells a reader which have been (linear hashing, W.
//                   Litwin 1980)
//
// A record never changes where it lies. A new value is a new record at the head, and then its index word. To make room
// the writer takes records from the tail: dead ones vanish; live ones move to the head while the log is not full of
// live bytes, or when they were used since they came there; else they are evicted. The tail moves *before* the room
// behind it is written, so a reader that copied a record and then finds `position >= tail` has copied it whole. No
// reader writes to the memory, waits, or can be waited for.
//
// Threads: RingWriter: one at a time. RingView: any, in any process, beside the writer.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "memory/expiry_index.h"
#include "protocol/commands.h"
#include "protocol/policy.h"
#include "protocol/read_order.h"

namespace tidelock {

// What is known of a value beside its bytes.
struct EntryMeta {
  Index version;
  std::uint64_t epoch = 0;      // F8: in which it was verified; 0 = never
  Nanos proven_at = kNever;     // it was the newest sequenced value at this instant
  Nanos expires_at = kForever;  // TTL, on H
  Stamp stamp;
  bool negative = false;  // known to be absent; the value is empty
  bool local = false;     // an own write that is not sequenced (yet)
  // L1 only
  std::uint64_t slot_version = 0;  // of the page, loaded before the value was asked for (F5)
  std::uint32_t era = 0;           // of the page that slot_version belongs to

  friend bool operator==(const EntryMeta&, const EntryMeta&) = default;
};

struct EntryView {
  std::string_view key;
  std::string_view value;
  EntryMeta meta;
};

enum class Lookup : std::uint8_t { kFound, kAbsent, kBusy };
inline constexpr int kLookupTries = 16;  // lost races before a reader gives up with kBusy

// A value where it lies, not copied: a newer record may take its place, whole or in pieces, while somebody looks at it.
// What was seen of it counts when RingView::still_there(position) says so after the last look.
struct RecordInPlace {
  std::string_view bytes;  // inside of the memory, at a multiple of 8
  std::uint64_t position = 0;
};
inline constexpr int kInPlaceTries = 4;  // the same for what runs on the bytes in place, which takes longer than a copy

// Where the parts lie. Every field was checked against the size of the memory (`fits`) before a view is made.
struct RingShape {
  std::uint64_t buckets = 0;  // at most so many; a power of two, at least 2
  std::uint64_t data_words = 0;
  static constexpr std::size_t kControlBytes = 64;  // the tail; the number of buckets in use
  std::size_t index_at() const { return kControlBytes + (data_words + 7) / 8 * 64; }  // a line of its own for a bucket
  std::size_t size_bytes() const { return index_at() + buckets * 64; }
  // The largest shape within `bytes`; buckets = 0 when it is too little to be of use.
  static RingShape within(std::size_t bytes);
  bool fits(std::size_t bytes) const;
  std::uint64_t record_words_max() const { return data_words / 16; }
};

class RingView {
 public:
  RingView() = default;
  // `memory` is 64-byte aligned and holds shape.size_bytes() bytes; it outlives the view.
  RingView(const void* memory, RingShape shape);

  // `used`, when given, gets the number of the index word: what RingWriter::mark_used takes.
  Lookup get(std::string_view key, std::uint64_t hash, std::string& value, EntryMeta& meta,
             std::uint32_t* used = nullptr) const;
  // The same without a copy: `meta` is sound, and `record` says where the value lies. kFound promises that all of its
  // bytes lie inside of the memory, and nothing of what they will be by the time that they are looked at.
  Lookup find_in_place(std::string_view key, std::uint64_t hash, RecordInPlace& record, EntryMeta& meta) const;
  // Whether nothing was written over the record at `position` before this call. A record never changes where it lies,
  // and no other one ever gets its position: so all that was seen of it until now was of it.
  bool still_there(std::uint64_t position) const;
  // Runs `look(bytes)` on the value in the memory until one run of it was undisturbed: kFound, and that was the last
  // one. kBusy after kInPlaceTries that were not, or when the record cannot be found for as long. What is known to be
  // absent has no bytes to look at.
  template <class Look>
  Lookup read_in_place(std::string_view key, std::uint64_t hash, EntryMeta& meta, Look&& look) const {
    for (int tries = 0; tries < kInPlaceTries; ++tries) {
      RecordInPlace record;
      const Lookup found = find_in_place(key, hash, record, meta);
      if (found != Lookup::kFound || meta.negative) return found;
      look(record.bytes);
      if (still_there(record.position)) return Lookup::kFound;
    }
    return Lookup::kBusy;
  }
  // Asks for the memory that get will touch first. Worth it when something else, a clock read say, comes in between.
  void prefetch(std::uint64_t hash) const;

 protected:
  friend class RingWriter;
  struct Header;
  // Copies and checks the header of the record at `position`, which lies at `offset` of the memory; false: overwritten
  // meanwhile, or not a record.
  bool load_header(std::uint64_t position, std::uint64_t offset, Header& header) const;
  template <class Take>
  Lookup look_up(std::string_view key, std::uint64_t hash, Take&& take) const;
  std::uint64_t buckets_in_use() const;

  const std::uint64_t* control_ = nullptr;
  const std::uint64_t* index_ = nullptr;
  const std::uint64_t* data_ = nullptr;
  RingShape shape_;
};

class RingWriter {
 public:
  // Is asked before the first `bytes` of the memory are used, where more of them are used than before. False: there is
  // no room for them, and the index does not grow.
  using Reserve = std::function<bool(std::size_t bytes)>;
  // `memory` is all zeros, 64-byte aligned, and outlives the writer. `used_bytes_at_first` are there without asking.
  RingWriter(void* memory, RingShape shape, Reserve reserve = {});
  static std::size_t used_bytes_at_first(RingShape shape);

  const RingView& view() const { return view_; }
  bool put(std::string_view key, std::uint64_t hash, std::string_view value, const EntryMeta& meta);
  bool erase(std::string_view key, std::uint64_t hash);
  std::optional<EntryView> find(std::string_view key, std::uint64_t hash);  // marks it as used
  std::optional<EntryView> peek(std::string_view key, std::uint64_t hash) const;
  // Asks for the memory of the record that this hash is probably of. After RingView::prefetch.
  void prefetch_record(std::uint64_t hash) const;
  // The keys of a slot, by the low bits of their hashes. One look at each index word.
  void each_of_slot(std::uint16_t slot, const std::function<void(std::string_view key)>& visit) const;
  std::size_t bytes_of(std::string_view key, std::uint64_t hash) const;  // 0: not held
  void for_each(const std::function<void(const EntryView&)>& visit) const;
  void clear();
  void on_evict(std::function<void(const EntryView&)> evicted) { evicted_ = std::move(evicted); }

  // Entries that have expired at `now` leave, those that expired first before others, from at most `blocks_max` blocks
  // of some 8 KiB; what they took is free at once for what comes. How many blocks were looked at. O(records in them).
  std::size_t expire(Nanos now, std::size_t blocks_max);
  Nanos next_expiry() const { return expiries_.earliest(); }  // no entry expires before it; kForever: none does

  // Any thread: the entry behind this index word was used. Writes only if it was not marked yet.
  void mark_used(std::uint32_t index_word) {
    if (!marked(index_word)) set_mark(index_word, true);
  }

  std::size_t entries() const { return entries_; }
  std::size_t live_bytes() const { return live_words_ * 8; }
  std::size_t capacity_bytes() const { return shape_.data_words * 8; }
  std::uint64_t evictions() const { return evictions_; }
  // What is used of `memory` beside the log, and a mark for each word of it.
  std::size_t index_bytes() const { return RingShape::kControlBytes + reserved_buckets_ * 64 + buckets_ * 8; }

 private:
  struct Place;  // of a key: its index word, and where its record lies
  std::optional<Place> locate(std::string_view key, std::uint64_t hash) const;
  RingView::Header header_at(std::uint64_t position) const;
  static EntryView entry_of(const RingView::Header& header);
  EntryView entry_at(std::uint64_t position) const;
  // Of a position between tail and head, without a division.
  std::uint64_t offset_of(std::uint64_t position) const {
    return position >= lap_at_ ? position - lap_at_ : position + shape_.data_words - lap_at_;
  }
  void move_head(std::uint64_t words);
  std::uint64_t block_of(std::uint64_t offset) const { return offset >> block_shift_; }
  // The index word that points to `position`; none: the record is dead.
  std::optional<std::uint32_t> index_word_of(std::uint64_t position) const;
  std::uint64_t hash_at(std::uint64_t position) const;
  std::uint64_t index_words() const;  // in use
  void grow();
  void split_next();
  void bury(std::uint64_t position);
  std::uint64_t size_at(std::uint64_t position) const;  // in words
  std::uint32_t claim_index_word(std::uint64_t hash);
  void drop(std::uint32_t index_word, std::uint64_t position, bool evicted);
  std::uint64_t free_words() const;
  bool take_tail(std::uint64_t& budget, bool may_evict);
  void make_room(std::uint64_t words);
  void collect_ahead(std::uint64_t words);
  std::uint64_t append_gap(std::uint64_t words);  // position where `words` lie without a seam
  void set_index(std::uint32_t word, std::uint64_t hash, std::uint64_t position);
  void store_tail(std::uint64_t tail);
  void enter_blocks(std::uint64_t words);
  void note_record(std::uint64_t position, Nanos expires_at);
  void expire_block(std::size_t block, Nanos now);

  RingShape shape_;
  RingView view_;
  std::uint64_t* control_;
  std::uint64_t* index_;
  std::uint64_t* data_;
  Reserve reserve_;
  std::uint64_t buckets_ = 0;         // in use: readers find them in the memory
  std::uint64_t buckets_wanted_ = 0;  // a power of two: splitting goes on until there are so many
  std::uint64_t reserved_buckets_ = 0;
  std::uint64_t puts_until_retry_ = 0;
  std::uint64_t head_ = 0;
  std::uint64_t lap_at_ = 0;  // the position at which the head was at the beginning of the memory
  std::uint64_t tail_ = 0;
  std::uint64_t live_words_ = 0;
  std::size_t entries_ = 0;
  std::uint64_t evictions_ = 0;
  bool marked(std::uint64_t index_word) const { return __atomic_load_n(&used_[index_word], __ATOMIC_RELAXED) != 0; }
  void set_mark(std::uint64_t index_word, bool mark) {
    __atomic_store_n(&used_[index_word], static_cast<std::uint8_t>(mark), __ATOMIC_RELAXED);
  }

  struct Unmap {
    std::size_t bytes;
    void operator()(std::uint8_t* pages) const;
  };
  // For all buckets there may be, since other threads mark: of those not in use no page was ever touched.
  std::unique_ptr<std::uint8_t[], Unmap> used_;
  std::function<void(const EntryView&)> evicted_;
  int block_shift_;                          // a block is 2^block_shift_ words
  std::vector<std::uint16_t> first_record_;  // where in each block the first record of this lap begins
  ExpiryIndex expiries_;
  std::size_t entered_;  // the last block that the head came into
};

}  // namespace tidelock
