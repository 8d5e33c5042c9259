// What a record is, and in which order it is written and read: ring_record.h.
//
// A bucket is split by copying the words that belong to the new one, then the number of buckets is stored with release,
// then those words leave the old one. A reader that found nothing, and began with another number, tries again; with the
// same number it has looked where the words were all the time. Splitting begins while there is room in every bucket,
// and is done faster than entries come.
//
// Expiry: the writer keeps the earliest expiry of the records that begin in each block of the memory (some 8 KiB), and
// where the first of them begins. A block that is due is walked from there; live records that have expired leave the
// index, and their bytes are as free as those of any dead record. So nothing is kept for an entry that expires, and
// nothing but blocks with something to expire is looked at. The room behind the head is wider than a block, so the tail
// has passed all that a block held when the head comes into it.
#include "memory/ring_store.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>

#include "base/assert.h"
#include "memory/ring_record.h"

namespace tidelock {

using namespace ring;

namespace {

constexpr std::uint64_t kBlockWordsMax = 1024;
constexpr std::uint16_t kNoRecord = 0xFFFF;
constexpr std::uint64_t kMoveWordsPerPut = 8192;  // what one put moves at most before it evicts instead
constexpr std::uint64_t kBucketsAtFirst = 64;
constexpr std::uint64_t kBucketsReservedAtOnce = 1024;  // 64 KiB
constexpr int kSplitsPerPut = 4;
constexpr std::uint64_t kPutsUntilRetry = 4096;  // to ask for room again, which is a system call

std::uint8_t* untouched_zeros(std::size_t bytes) {
  void* pages = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::uint8_t*>(pages);
}

}  // namespace

void RingWriter::Unmap::operator()(std::uint8_t* pages) const { ::munmap(pages, bytes); }

std::size_t RingWriter::used_bytes_at_first(RingShape shape) {
  return shape.index_at() + std::min(kBucketsAtFirst, shape.buckets) * 64;
}

RingWriter::RingWriter(void* memory, RingShape shape, Reserve reserve)
    : shape_(shape),
      view_(memory, shape),
      reserve_(std::move(reserve)),
      buckets_(std::min(kBucketsAtFirst, shape.buckets)),
      buckets_wanted_(buckets_),
      reserved_buckets_(buckets_),
      used_(untouched_zeros(shape.buckets * kBucketWords), Unmap{shape.buckets * kBucketWords}),
      block_shift_(std::bit_width(std::min(kBlockWordsMax, shape.record_words_max())) - 1),
      first_record_(block_of(shape.data_words - 1) + 1, kNoRecord),
      expiries_(first_record_.size()),
      entered_(first_record_.size() - 1) {
  control_ = static_cast<std::uint64_t*>(memory);
  data_ = reinterpret_cast<std::uint64_t*>(static_cast<char*>(memory) + RingShape::kControlBytes);
  index_ = reinterpret_cast<std::uint64_t*>(static_cast<char*>(memory) + shape.index_at());
  __atomic_store_n(control_ + 1, buckets_, __ATOMIC_RELEASE);
}

std::uint64_t RingWriter::index_words() const { return buckets_ * kBucketWords; }

// Twice the buckets before one of them is likely to be full.
void RingWriter::grow() {
  if (buckets_ == buckets_wanted_ && entries_ > index_words() / 10 * 7 && buckets_ < shape_.buckets) {
    buckets_wanted_ *= 2;
  }
  if (puts_until_retry_ > 0) {
    --puts_until_retry_;
    return;
  }
  for (int i = 0; i < kSplitsPerPut && buckets_ < buckets_wanted_; ++i) {
    if (buckets_ == reserved_buckets_) {
      const std::uint64_t more = std::min(reserved_buckets_ + kBucketsReservedAtOnce, shape_.buckets);
      if (reserve_ && !reserve_(shape_.index_at() + more * 64)) {
        puts_until_retry_ = kPutsUntilRetry;
        return;
      }
      reserved_buckets_ = more;
    }
    split_next();
  }
}

void RingWriter::split_next() {
  const std::uint64_t to = buckets_, from = bucket_of(to, buckets_);
  unsigned moved = 0;
  for (unsigned i = 0; i < kBucketWords; ++i) {
    const std::uint64_t old_word = from * kBucketWords + i, new_word = to * kBucketWords + i;
    const std::uint64_t word = load(index_ + old_word);
    if (word == 0) continue;
    const std::uint64_t hash = hash_at((word & kPositionMask) - 1);
    const unsigned which = buckets_of(hash, buckets_).at[0] == from ? 0 : 1;
    if (buckets_of(hash, buckets_ + 1).at[which] != to) continue;
    moved |= 1u << i;
    set_mark(new_word, marked(old_word));
    store(index_ + new_word, word);
  }
  ++buckets_;
  __atomic_store_n(control_ + 1, buckets_, __ATOMIC_RELEASE);
  for (unsigned i = 0; i < kBucketWords; ++i) {
    if ((moved >> i & 1) != 0) __atomic_store_n(index_ + from * kBucketWords + i, 0, __ATOMIC_RELEASE);
  }
}

// Nobody finds it any more, and the tail need not ask.
void RingWriter::bury(std::uint64_t position) {
  std::uint64_t* at = data_ + offset_of(position);
  live_words_ -= size_of(load(at));
  // Behind the index word's change, which sends away whoever meets the mark.
  __atomic_store_n(at, (load(at) & ~(0xFFull << 56)) | kDeadMark << 56, __ATOMIC_RELEASE);
}

void RingWriter::store_tail(std::uint64_t tail) {
  tail_ = tail;
  store(control_, tail);
  std::atomic_thread_fence(std::memory_order_release);
}

void RingWriter::set_index(std::uint32_t word, std::uint64_t hash, std::uint64_t position) {
  TIDELOCK_ASSERT(position < kPositionMask);  // 32 petabytes written by one boot
  __atomic_store_n(index_ + word, tag_of(hash) << 52 | (position + 1), __ATOMIC_RELEASE);
}

struct RingWriter::Place {
  std::uint32_t word = 0;
  std::uint64_t position = 0;
  RingView::Header header;
};

RingView::Header RingWriter::header_at(std::uint64_t position) const {
  RingView::Header header;
  TIDELOCK_ASSERT(view_.load_header(position, offset_of(position), header));
  return header;
}

EntryView RingWriter::entry_at(std::uint64_t position) const { return entry_of(header_at(position)); }

EntryView RingWriter::entry_of(const RingView::Header& header) {
  EntryView entry{{reinterpret_cast<const char*>(header.key), header.key_bytes},
                  {reinterpret_cast<const char*>(header.value()), header.value_bytes},
                  {}};
  load_meta(header.at + 1, header.flags, entry.meta);
  return entry;
}

std::optional<RingWriter::Place> RingWriter::locate(std::string_view key, std::uint64_t hash) const {
  for (const std::uint64_t bucket : buckets_of(hash, buckets_).at) {
    for (unsigned i = 0; i < kBucketWords; ++i) {
      const auto word = static_cast<std::uint32_t>(bucket * kBucketWords + i);
      const std::uint64_t index_word = load(index_ + word);
      if (!tag_fits(index_word, hash)) continue;
      const std::uint64_t position = (index_word & kPositionMask) - 1;
      const RingView::Header header = header_at(position);
      if (header.key_bytes == key.size() && same_bytes(header.key, key)) return Place{word, position, header};
    }
  }
  return std::nullopt;
}

std::uint64_t RingWriter::size_at(std::uint64_t position) const { return size_of(load(data_ + offset_of(position))); }

std::uint64_t RingWriter::hash_at(std::uint64_t position) const {
  const RingView::Header header = header_at(position);
  return hash64({reinterpret_cast<const char*>(header.key), header.key_bytes});
}

std::optional<std::uint32_t> RingWriter::index_word_of(std::uint64_t position) const {
  const std::uint64_t hash = hash_at(position);
  for (const std::uint64_t bucket : buckets_of(hash, buckets_).at) {
    for (unsigned i = 0; i < kBucketWords; ++i) {
      const auto word = static_cast<std::uint32_t>(bucket * kBucketWords + i);
      if (load(index_ + word) == (tag_of(hash) << 52 | (position + 1))) return word;
    }
  }
  return std::nullopt;
}

void RingWriter::drop(std::uint32_t index_word, std::uint64_t position, bool evicted) {
  if (evicted) {
    if (evicted_) evicted_(entry_at(position));
    ++evictions_;
  }
  --entries_;
  set_mark(index_word, false);
  __atomic_store_n(index_ + index_word, 0, __ATOMIC_RELEASE);
  bury(position);
}

std::uint32_t RingWriter::claim_index_word(std::uint64_t hash) {
  std::optional<std::uint32_t> best;  // in the emptier bucket
  int best_free = 0;
  Place oldest{0, kPositionMask, {}}, oldest_unused{0, kPositionMask, {}};
  for (const std::uint64_t bucket : buckets_of(hash, buckets_).at) {
    int free_words = 0;
    std::uint32_t empty = 0;
    for (unsigned i = 0; i < kBucketWords; ++i) {
      const auto word = static_cast<std::uint32_t>(bucket * kBucketWords + i);
      const std::uint64_t index_word = load(index_ + word);
      if (index_word == 0) {
        ++free_words;
        empty = word;
        continue;
      }
      const Place place{word, (index_word & kPositionMask) - 1, {}};
      if (place.position < oldest.position) oldest = place;
      if (!marked(word) && place.position < oldest_unused.position) {
        oldest_unused = place;
      }
    }
    if (free_words > best_free) {
      best_free = free_words;
      best = empty;
    }
  }
  if (best) return *best;
  const Place victim = oldest_unused.position != kPositionMask ? oldest_unused : oldest;
  drop(victim.word, victim.position, true);
  return victim.word;
}

std::uint64_t RingWriter::append_gap(std::uint64_t words) {
  const std::uint64_t offset = head_ - lap_at_;
  if (offset + words > shape_.data_words) {
    const std::uint64_t pad = shape_.data_words - offset;
    store(data_ + offset, kPadMark << 56 | pad);
    enter_blocks(pad);
    move_head(pad);
  }
  const std::uint64_t position = head_;
  enter_blocks(words);
  move_head(words);
  return position;
}

void RingWriter::move_head(std::uint64_t words) {
  head_ += words;
  if (head_ - lap_at_ >= shape_.data_words) lap_at_ += shape_.data_words;
}

// The head is about to go on by `words`: what was known of the blocks that it comes into is over.
void RingWriter::enter_blocks(std::uint64_t words) {
  const std::uint64_t last = block_of(head_ - lap_at_ + words - 1);
  while (entered_ != last) {
    entered_ = entered_ + 1 == first_record_.size() ? 0 : entered_ + 1;
    first_record_[entered_] = kNoRecord;
    expiries_.set(entered_, kForever);
  }
}

void RingWriter::note_record(std::uint64_t position, Nanos expires_at) {
  const std::uint64_t offset = offset_of(position);
  std::uint16_t& first = first_record_[block_of(offset)];
  if (first == kNoRecord) first = static_cast<std::uint16_t>(offset - (block_of(offset) << block_shift_));
  expiries_.lower(block_of(offset), expires_at);
}

void RingWriter::expire_block(std::size_t block, Nanos now) {
  Nanos earliest = kForever;
  if (first_record_[block] != kNoRecord) {
    const std::uint64_t end = std::min<std::uint64_t>((block + 1) << block_shift_, shape_.data_words);
    std::uint64_t offset = (block << block_shift_) + first_record_[block];
    const std::uint64_t head_offset = head_ - lap_at_;
    std::uint64_t position = head_ - head_offset + offset;
    if (offset >= head_offset) position -= shape_.data_words;  // of the lap before
    // Records that the tail has passed still lie there, as long as the head has not come.
    while (offset < end && position < head_) {
      const std::uint64_t word0 = load(data_ + offset);
      if (word0 >> 56 == kRecordMark && (word0 >> 48 & kExpires) != 0 && position >= tail_) {
        const auto expires_at = static_cast<Nanos>(load(data_ + offset + 1 + (word0 >> 48 & kVersion)));
        if (expires_at > now) {
          earliest = std::min(earliest, expires_at);
        } else {
          const auto word = index_word_of(position);
          TIDELOCK_ASSERT(word);
          drop(*word, position, false);
        }
      }
      offset += size_of(word0);
      position += size_of(word0);
    }
  }
  expiries_.set(block, earliest);
}

std::size_t RingWriter::expire(Nanos now, std::size_t blocks_max) {
  std::size_t blocks = 0;
  for (; blocks < blocks_max && next_expiry() <= now; ++blocks) expire_block(expiries_.first(), now);
  return blocks;
}

std::uint64_t RingWriter::free_words() const { return shape_.data_words - (head_ - tail_); }

// Takes the record at the tail away: a dead one vanishes, a live one moves to the head while `budget` lasts, else it is
// evicted, if it may be. False: nothing was done.
bool RingWriter::take_tail(std::uint64_t& budget, bool may_evict) {
  const std::uint64_t* at = data_ + offset_of(tail_);
  const std::uint64_t word0 = load(at);
  const std::uint64_t size = size_of(word0);
  if (word0 >> 56 == kRecordMark) {
    const auto word = index_word_of(tail_);
    TIDELOCK_ASSERT(word);
    const bool used = marked(*word);
    const bool crowded = live_words_ > shape_.data_words / 4 * 3;
    const std::uint64_t seam = shape_.data_words - (head_ - lap_at_);
    const std::uint64_t needed = size <= seam ? size : size + seam;
    if ((used || !crowded) && size <= budget && needed <= free_words()) {
      budget -= size;
      const std::uint64_t position = append_gap(size);
      std::uint64_t* to = data_ + offset_of(position);
      for (std::uint64_t i = 0; i < size; ++i) store(to + i, load(at + i));
      note_record(position,
                  word0 >> 48 & kExpires ? static_cast<Nanos>(load(at + 1 + (word0 >> 48 & kVersion))) : kForever);
      if (crowded) set_mark(*word, false);
      set_index(*word, hash_at(position), position);
    } else if (may_evict) {
      drop(*word, tail_, true);
    } else {
      return false;
    }
  }
  store_tail(tail_ + size);
  return true;
}

// Leaves room for `words`, a pad before them, and for the largest record that the next call may have to move.
void RingWriter::make_room(std::uint64_t words) {
  std::uint64_t budget = std::max(kMoveWordsPerPut, 8 * words);
  while (free_words() < 2 * words + shape_.record_words_max()) {
    TIDELOCK_ASSERT(tail_ < head_);
    take_tail(budget, true);
  }
}

// Collects ahead of need, four words for each that was put: so a long run of live records at the tail is spread over
// many puts, and is not evicted because one of them met all of it.
void RingWriter::collect_ahead(std::uint64_t words) {
  std::uint64_t budget = 4 * words;
  for (std::uint64_t steps = 0; steps < 16 && tail_ < head_ && free_words() < shape_.data_words / 4; ++steps) {
    if (!take_tail(budget, false)) return;
  }
}

bool RingWriter::put(std::string_view key, std::uint64_t hash, std::string_view value, const EntryMeta& meta) {
  const std::uint64_t flags = flags_of(meta);
  const std::uint64_t words = meta_words(flags) + words_of(key.size()) + words_of(value.size());
  if (key.empty() || key.size() > kKeyBytesMax || value.size() > kValueBytesMax || words > shape_.record_words_max()) {
    erase(key, hash);
    return false;
  }
  make_room(words);
  const std::uint64_t position = append_gap(words);
  std::uint64_t* at = data_ + offset_of(position);
  store(at, kRecordMark << 56 | flags << 48 | value.size() << 24 | key.size());
  store_meta(at + 1, flags, meta);
  std::uint64_t* const key_at = at + meta_words(flags);
  copy_in(key_at, key);
  copy_in(key_at + words_of(key.size()), value);
  note_record(position, meta.expires_at);

  if (const auto place = locate(key, hash)) {
    set_index(place->word, hash, position);
    bury(place->position);
  } else {
    const std::uint32_t word = claim_index_word(hash);
    set_mark(word, false);
    set_index(word, hash, position);
    ++entries_;
  }
  live_words_ += words;
  grow();
  collect_ahead(words);
  return true;
}

bool RingWriter::erase(std::string_view key, std::uint64_t hash) {
  const auto place = locate(key, hash);
  if (!place) return false;
  drop(place->word, place->position, false);
  return true;
}

std::optional<EntryView> RingWriter::find(std::string_view key, std::uint64_t hash) {
  const auto place = locate(key, hash);
  if (!place) return std::nullopt;
  mark_used(place->word);
  return entry_of(place->header);
}

std::optional<EntryView> RingWriter::peek(std::string_view key, std::uint64_t hash) const {
  const auto place = locate(key, hash);
  return place ? std::optional(entry_of(place->header)) : std::nullopt;
}

void RingWriter::prefetch_record(std::uint64_t hash) const {
  for (const std::uint64_t bucket : buckets_of(hash, buckets_).at) {
    for (unsigned i = 0; i < kBucketWords; ++i) {
      const std::uint64_t index_word = load(index_ + bucket * kBucketWords + i);
      if (!tag_fits(index_word, hash)) continue;
      const std::uint64_t* record = data_ + offset_of((index_word & kPositionMask) - 1);
      __builtin_prefetch(record);
      __builtin_prefetch(record + 8);
      return;  // another one of this tag is rare
    }
  }
}

void RingWriter::each_of_slot(std::uint16_t slot, const std::function<void(std::string_view)>& visit) const {
  for (std::uint64_t word = 0; word < index_words(); ++word) {
    const std::uint64_t index_word = load(index_ + word);
    if (!tag_fits(index_word, slot)) continue;
    const std::string_view key = entry_at((index_word & kPositionMask) - 1).key;
    if (slot_of(key) == slot) visit(key);
  }
}

std::size_t RingWriter::bytes_of(std::string_view key, std::uint64_t hash) const {
  const auto place = locate(key, hash);
  return place ? size_at(place->position) * 8 : 0;
}

void RingWriter::for_each(const std::function<void(const EntryView&)>& visit) const {
  for (std::uint64_t word = 0; word < index_words(); ++word) {
    const std::uint64_t index_word = load(index_ + word);
    if (index_word != 0) visit(entry_at((index_word & kPositionMask) - 1));
  }
}

void RingWriter::clear() {
  for (std::uint64_t word = 0; word < index_words(); ++word) {
    __atomic_store_n(index_ + word, 0, __ATOMIC_RELEASE);
    set_mark(word, false);
  }
  store_tail(head_);
  live_words_ = 0;
  entries_ = 0;
}

}  // namespace tidelock
