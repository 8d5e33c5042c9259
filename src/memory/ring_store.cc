// A record:  word 0   [8 bits mark | 8 bits: which of the words below are there, local | 24 bits value bytes | 24 bits
// key bytes]
//                 version; expires_at; [32 bits stamp: counter | 32 bits epoch]; proven_at; stamp: wall_ms, writer;
//                 key, padded; value, padded
// Each word between the first and the key is there only when it says something: a value of this gateway with a TTL has
// two.
// A pad fills the end of the log's memory when the next record would not fit there in one piece; it has a word 0 only:
// [8 bits mark | 56 bits words]. A record that left the index is marked as dead, so that nobody has to ask the index.
//
// All words are loaded and stored by atomics, relaxed; order comes from three places. (1) A record is written, then its
// index word is stored with release and loaded with acquire. (2) The tail is stored, then a release fence, then the
// room behind it is written; a reader copies, then an acquire fence, then loads the tail: if a copied word came from
// the new writer, the reader sees the new tail. (3) An index word leaves a record before the tail passes it, so an
// index word that points behind the tail is one that changed since it was loaded: try again.
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
#include <cstring>
#include <new>

#include "base/assert.h"

namespace tidelock {
namespace {

constexpr std::uint64_t kRecordMark = 0x7D;
constexpr std::uint64_t kPadMark = 0x7E;
constexpr std::uint64_t kDeadMark = 0x7B;
// Flags of a record. The first five each say that words are there; a negative entry has no value.
constexpr std::uint64_t kVersion = 1, kExpires = 2, kEpoch = 4, kProven = 8, kStamp = 16, kNegative = 32, kLocal = 64;
constexpr std::uint64_t kKnownFlags = 127;
constexpr std::uint64_t kEpochMax = 0xFFFF'FFFF;  // of a later one it is only known that it is verified no more
constexpr std::uint64_t kBlockWordsMax = 1024;
constexpr std::uint16_t kNoRecord = 0xFFFF;
constexpr std::uint64_t kPositionMask = (1ull << 52) - 1;
constexpr unsigned kBucketWords = 8;
constexpr std::uint64_t kDataWordsMin = 1024;
constexpr std::uint64_t kMoveWordsPerPut = 8192;  // what one put moves at most before it evicts instead
constexpr std::uint64_t kBucketsAtFirst = 64;
constexpr std::uint64_t kBucketsReservedAtOnce = 1024;  // 64 KiB
constexpr int kSplitsPerPut = 4;
constexpr std::uint64_t kPutsUntilRetry = 4096;  // to ask for room again, which is a system call

std::uint64_t load(const std::uint64_t* word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
void store(std::uint64_t* word, std::uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }

constexpr std::uint64_t words_of(std::uint64_t bytes) { return (bytes + 7) / 8; }

void copy_out(char* to, const std::uint64_t* from, std::size_t bytes) {
  std::size_t whole = bytes / 8;
  for (std::size_t i = 0; i < whole; ++i) {
    const std::uint64_t word = load(from + i);
    std::memcpy(to + i * 8, &word, 8);
  }
  if (const std::size_t rest = bytes % 8; rest != 0) {
    const std::uint64_t word = load(from + whole);
    std::memcpy(to + whole * 8, &word, rest);
  }
}

void copy_in(std::uint64_t* to, std::string_view from) {
  const std::size_t whole = from.size() / 8;
  for (std::size_t i = 0; i < whole; ++i) {
    std::uint64_t word;
    std::memcpy(&word, from.data() + i * 8, 8);
    store(to + i, word);
  }
  if (const std::size_t rest = from.size() % 8; rest != 0) {
    std::uint64_t word = 0;
    std::memcpy(&word, from.data() + whole * 8, rest);
    store(to + whole, word);
  }
}

bool same_bytes(const std::uint64_t* words, std::string_view bytes) {
  const std::size_t whole = bytes.size() / 8;
  for (std::size_t i = 0; i < whole; ++i) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + i * 8, 8);
    if (word != load(words + i)) return false;
  }
  const std::size_t rest = bytes.size() % 8;
  if (rest == 0) return true;
  std::uint64_t word = 0;
  std::memcpy(&word, bytes.data() + whole * 8, rest);
  return word == load(words + whole);  // padding is zero
}

// Bits of the slot: so the keys of a slot are found by their index words. The buckets come from the others.
constexpr std::uint64_t tag_of(std::uint64_t hash) { return hash & 0xFFF; }
// Of `buckets` in use, the last ones were split off those whose number lacks the highest bit.
std::uint64_t bucket_of(std::uint64_t place, std::uint64_t buckets) {
  const std::uint64_t mask = std::bit_ceil(buckets) - 1;
  const std::uint64_t bucket = place & mask;
  return bucket < buckets ? bucket : bucket & mask >> 1;
}
struct Buckets {
  std::uint64_t at[2];
};
// Never the same one twice: the lowest bit differs.
Buckets buckets_of(std::uint64_t hash, std::uint64_t buckets) {
  const std::uint64_t place = hash >> 16;
  return {{bucket_of(place, buckets), bucket_of(place ^ ((tag_of(hash) * 0x9E3779B1u) | 1), buckets)}};
}
bool tag_fits(std::uint64_t index_word, std::uint64_t hash) {
  return index_word != 0 && index_word >> 52 == tag_of(hash) && (index_word & kPositionMask) != 0;
}

}  // namespace

RingShape RingShape::within(std::size_t bytes) {
  RingShape shape;
  // Six to twelve index words for each KiB, whatever `bytes` is: an entry of 64 bytes takes some 110.
  const std::uint64_t buckets = std::max<std::uint64_t>(2, std::bit_ceil(bytes / 1024 * 3 / 4));
  const std::uint64_t beside = kControlBytes + buckets * 64;
  if (bytes < beside + kDataWordsMin * 8) return shape;
  shape.buckets = buckets;
  shape.data_words = (bytes - beside) / 64 * 8;
  return shape;
}

bool RingShape::fits(std::size_t bytes) const {
  if (buckets < 2 || buckets > (1ull << 28) || !std::has_single_bit(buckets)) return false;
  if (data_words < kDataWordsMin || data_words > (1ull << 40)) return false;
  return size_bytes() <= bytes;
}

// ---------------------------------------------------------------------------------------------------------- RingView

namespace {

std::uint64_t flags_of(const EntryMeta& meta) {
  const bool stamped = meta.stamp != Stamp{};
  const bool verified = meta.epoch != 0 && meta.epoch <= kEpochMax;
  return (meta.version.value != 0 ? kVersion : 0) | (meta.expires_at != kForever ? kExpires : 0) |
         (verified || stamped ? kEpoch : 0) | (meta.proven_at != kNever ? kProven : 0) | (stamped ? kStamp : 0) |
         (meta.negative ? kNegative : 0) | (meta.local ? kLocal : 0);
}
// Words before the key.
constexpr std::uint64_t meta_words(std::uint64_t flags) {
  return 1 + (flags & kVersion) + (flags >> 1 & 1) + (flags >> 2 & 1) + (flags >> 3 & 1) + (flags >> 4 & 1) * 2;
}
static_assert(meta_words(kKnownFlags) == 7 && meta_words(kVersion | kExpires) == 3);

// Field by field to where it is wanted: a struct copied on the way costs more than all these loads.
// `flags` are those whose words were found to lie inside the memory: word 0 may have changed since.
void load_meta(const std::uint64_t* at, std::uint64_t flags, EntryMeta& meta) {
  meta.version = Index{flags & kVersion ? load(at++) : 0};
  meta.expires_at = flags & kExpires ? static_cast<Nanos>(load(at++)) : kForever;
  const std::uint64_t epoch_word = flags & kEpoch ? load(at++) : 0;
  meta.epoch = epoch_word & kEpochMax;
  meta.proven_at = flags & kProven ? static_cast<Nanos>(load(at++)) : kNever;
  meta.stamp.counter = static_cast<std::uint32_t>(epoch_word >> 32);
  meta.stamp.wall_ms = flags & kStamp ? load(at) : 0;
  meta.stamp.writer = flags & kStamp ? load(at + 1) : 0;
  meta.negative = (flags & kNegative) != 0;
  meta.local = (flags & kLocal) != 0;
}
void store_meta(std::uint64_t* at, std::uint64_t flags, const EntryMeta& meta) {
  if (flags & kVersion) store(at++, meta.version.value);
  if (flags & kExpires) store(at++, static_cast<std::uint64_t>(meta.expires_at));
  if (flags & kEpoch) store(at++, std::uint64_t{meta.stamp.counter} << 32 | (meta.epoch <= kEpochMax ? meta.epoch : 0));
  if (flags & kProven) store(at++, static_cast<std::uint64_t>(meta.proven_at));
  if (flags & kStamp) {
    store(at, meta.stamp.wall_ms);
    store(at + 1, meta.stamp.writer);
  }
}

// What word 0 says of a record's size, record or pad. For the writer, whose records are sound.
std::uint64_t size_of(std::uint64_t word0) {
  if (word0 >> 56 == kPadMark) return word0 & 0xFF'FFFF'FFFF'FFFF;
  return meta_words(word0 >> 48 & 0xFF) + words_of(word0 & 0xFF'FFFF) + words_of(word0 >> 24 & 0xFF'FFFF);
}

}  // namespace

struct RingView::Header {
  std::uint64_t key_bytes = 0;
  std::uint64_t value_bytes = 0;
  std::uint64_t flags = 0;
  const std::uint64_t* at = nullptr;
  const std::uint64_t* key = nullptr;
  const std::uint64_t* value() const { return key + words_of(key_bytes); }
};

RingView::RingView(const void* memory, RingShape shape) : shape_(shape) {
  const char* base = static_cast<const char*>(memory);
  control_ = reinterpret_cast<const std::uint64_t*>(base);
  data_ = reinterpret_cast<const std::uint64_t*>(base + RingShape::kControlBytes);
  index_ = reinterpret_cast<const std::uint64_t*>(base + shape.index_at());
}

// Shared memory may hold anything: never more than there are.
std::uint64_t RingView::buckets_in_use() const {
  return std::clamp<std::uint64_t>(__atomic_load_n(control_ + 1, __ATOMIC_ACQUIRE), 2, shape_.buckets);
}

bool RingView::still_there(std::uint64_t position) const {
  std::atomic_thread_fence(std::memory_order_acquire);
  return position >= load(control_);
}

bool RingView::load_header(std::uint64_t position, std::uint64_t offset, Header& header) const {
  const std::uint64_t room = shape_.data_words - offset;
  const std::uint64_t* at = data_ + offset;
  __builtin_prefetch(at + 8);  // the lines that follow: they are wanted if this is the key
  __builtin_prefetch(at + 16);
  const std::uint64_t word0 = load(at);
  const std::uint64_t flags = word0 >> 48 & 0xFF;
  header.at = at;
  header.flags = flags;
  header.key = at + meta_words(flags);
  header.key_bytes = word0 & 0xFF'FFFF;
  header.value_bytes = word0 >> 24 & 0xFF'FFFF;
  // Shared memory may hold anything: no length is used that does not lie inside the mapping.
  if (word0 >> 56 != kRecordMark || flags > kKnownFlags || header.key_bytes > kKeyBytesMax ||
      header.value_bytes > kValueBytesMax || size_of(word0) > room) {
    return false;
  }
  return still_there(position);
}

void RingView::prefetch(std::uint64_t hash) const {
  for (const std::uint64_t bucket : buckets_of(hash, buckets_in_use()).at) {
    __builtin_prefetch(index_ + bucket * kBucketWords);
  }
}

Lookup RingView::get(std::string_view key, std::uint64_t hash, std::string& value, EntryMeta& meta,
                     std::uint32_t* used) const {
  for (int tries = 0; tries < kLookupTries; ++tries) {
    bool lost = false;
    const std::uint64_t in_use = buckets_in_use();
    for (const std::uint64_t bucket : buckets_of(hash, in_use).at) {
      for (unsigned i = 0; i < kBucketWords; ++i) {
        const std::uint64_t* word = index_ + bucket * kBucketWords + i;
        const std::uint64_t index_word = __atomic_load_n(word, __ATOMIC_ACQUIRE);
        if (!tag_fits(index_word, hash)) continue;
        const std::uint64_t position = (index_word & kPositionMask) - 1;
        Header header;
        if (!load_header(position, position % shape_.data_words, header)) {
          lost = true;
          continue;
        }
        if (header.key_bytes != key.size() || !same_bytes(header.key, key)) {
          lost |= !still_there(position);
          continue;
        }
        value.resize(header.value_bytes);
        copy_out(value.data(), header.value(), header.value_bytes);
        load_meta(header.at + 1, header.flags, meta);
        if (!still_there(position)) {
          lost = true;
          continue;
        }
        if (used != nullptr) *used = static_cast<std::uint32_t>(bucket * kBucketWords + i);
        return Lookup::kFound;
      }
    }
    if (!lost && in_use == buckets_in_use()) return Lookup::kAbsent;
  }
  return Lookup::kBusy;
}

// -------------------------------------------------------------------------------------------------------- RingWriter

namespace {

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
