// A record:  word 0   [16 bits mark | 16 bits key bytes | 32 bits words of the record]
//                 1   hash of the key
//                 2   [16 bits namespace | 8 bits flags | 24 bits value bytes, low]
//                 3   version
//                 4   epoch         4 to 6 may be stored again by revalidate
//                 5   proven_at
//                 6   expires_at
//                 7   slot version (L1)
//                 8   stamp: wall_ms
//                 9   [32 bits era (L1) | 32 bits stamp: counter]
//                10   stamp: writer
//                11.. key, padded; value, padded
// A pad fills the end of the memory when the next record would not fit there in one piece; it has a word 0 only.
//
// All words are loaded and stored by atomics, relaxed; order comes from three places. (1) A record is written, then its
// index word is stored with release and loaded with acquire. (2) The tail is stored, then a release fence, then the
// room behind it is written; a reader copies, then an acquire fence, then loads the tail: if a copied word came from
// the new writer, the reader sees the new tail. (3) An index word leaves a record before the tail passes it, so an
// index word that points behind the tail is one that changed since it was loaded: try again.
#include "memory/ring_store.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/assert.h"

namespace tidelock {
namespace {

constexpr std::uint64_t kRecordMark = 0x7D1C;
constexpr std::uint64_t kPadMark = 0x7D1D;
constexpr std::uint64_t kHeaderWords = 11;
constexpr std::uint64_t kEpochWord = 4, kProvenWord = 5, kExpiresWord = 6;
constexpr std::uint64_t kNegative = 1, kLocal = 2;
constexpr std::uint64_t kPositionMask = (1ull << 52) - 1;
constexpr unsigned kBucketWords = 8;
constexpr std::uint64_t kDataWordsMin = 1024;
constexpr std::uint64_t kMoveWordsPerPut = 8192;  // what one put moves at most before it evicts instead

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

constexpr std::uint64_t tag_of(std::uint64_t hash) { return hash >> 52; }
std::uint64_t first_bucket(std::uint64_t hash, std::uint64_t buckets) { return (hash >> 16) & (buckets - 1); }
// Never the first one: the lowest bit differs.
std::uint64_t other_bucket(std::uint64_t first, std::uint64_t hash, std::uint64_t buckets) {
  return first ^ (((tag_of(hash) * 0x9E3779B1u) | 1) & (buckets - 1));
}
bool tag_fits(std::uint64_t index_word, std::uint64_t hash) {
  return index_word != 0 && index_word >> 52 == tag_of(hash) && (index_word & kPositionMask) != 0;
}

}  // namespace

RingShape RingShape::within(std::size_t bytes) {
  RingShape shape;
  const std::uint64_t buckets = std::max<std::uint64_t>(2, std::bit_floor(bytes / 1024));
  const std::uint64_t beside = kControlBytes + buckets * 64;
  if (bytes < beside + kDataWordsMin * 8) return shape;
  shape.buckets = buckets;
  shape.data_words = (bytes - beside) / 8;
  return shape;
}

bool RingShape::fits(std::size_t bytes) const {
  if (buckets < 2 || buckets > (1ull << 28) || !std::has_single_bit(buckets)) return false;
  if (data_words < kDataWordsMin || data_words > (1ull << 40)) return false;
  return size_bytes() <= bytes;
}

// ---------------------------------------------------------------------------------------------------------- RingView

struct RingView::Header {
  std::uint64_t words = 0;
  std::uint64_t hash = 0;
  std::uint64_t key_bytes = 0;
  std::uint64_t value_bytes = 0;
  const std::uint64_t* at = nullptr;
  const std::uint64_t* key() const { return at + kHeaderWords; }
  const std::uint64_t* value() const { return at + kHeaderWords + words_of(key_bytes); }
};

RingView::RingView(const void* memory, RingShape shape) : shape_(shape) {
  const char* base = static_cast<const char*>(memory);
  control_ = reinterpret_cast<const std::uint64_t*>(base);
  index_ = reinterpret_cast<const std::uint64_t*>(base + RingShape::kControlBytes);
  data_ = index_ + shape.buckets * kBucketWords;
}

bool RingView::still_there(std::uint64_t position) const {
  std::atomic_thread_fence(std::memory_order_acquire);
  return position >= load(control_);
}

bool RingView::load_header(std::uint64_t position, Header& header) const {
  const std::uint64_t offset = position % shape_.data_words;
  const std::uint64_t room = shape_.data_words - offset;
  if (room < kHeaderWords) return false;
  const std::uint64_t* at = data_ + offset;
  __builtin_prefetch(at + 8);  // the lines that follow: they are wanted if this is the key
  __builtin_prefetch(at + 16);
  const std::uint64_t word0 = load(at);
  header.at = at;
  header.words = word0 & 0xFFFF'FFFF;
  header.key_bytes = word0 >> 32 & 0xFFFF;
  header.value_bytes = load(at + 2) & 0xFF'FFFF;
  // Shared memory may hold anything: no length is used that does not lie inside the mapping.
  if (word0 >> 48 != kRecordMark || header.key_bytes > kKeyBytesMax || header.value_bytes > kValueBytesMax)
    return false;
  if (header.words != kHeaderWords + words_of(header.key_bytes) + words_of(header.value_bytes) || header.words > room) {
    return false;
  }
  header.hash = load(at + 1);
  return still_there(position);
}

namespace {

// Field by field to where it is wanted: a struct copied on the way costs more than all these loads.
void load_meta(const std::uint64_t* at, EntryMeta& meta) {
  const std::uint64_t word2 = load(at + 2);
  const std::uint64_t word9 = load(at + 9);
  const std::uint64_t flags = word2 >> 24 & 0xFF;
  meta.version = Index{load(at + 3)};
  meta.epoch = load(at + kEpochWord);
  meta.proven_at = static_cast<Nanos>(load(at + kProvenWord));
  meta.expires_at = static_cast<Nanos>(load(at + kExpiresWord));
  meta.slot_version = load(at + 7);
  meta.stamp.wall_ms = load(at + 8);
  meta.stamp.counter = static_cast<std::uint32_t>(word9);
  meta.stamp.writer = load(at + 10);
  meta.era = static_cast<std::uint32_t>(word9 >> 32);
  meta.ns = static_cast<std::uint16_t>(word2 >> 32 & 0xFFFF);
  meta.negative = (flags & kNegative) != 0;
  meta.local = (flags & kLocal) != 0;
}

}  // namespace

void RingView::prefetch(std::uint64_t hash) const {
  const std::uint64_t first = first_bucket(hash, shape_.buckets);
  __builtin_prefetch(index_ + first * kBucketWords);
  __builtin_prefetch(index_ + other_bucket(first, hash, shape_.buckets) * kBucketWords);
}

Lookup RingView::get(std::string_view key, std::uint64_t hash, std::string& value, EntryMeta& meta,
                     std::uint32_t* used) const {
  const std::uint64_t first = first_bucket(hash, shape_.buckets);
  const std::uint64_t buckets[2] = {first, other_bucket(first, hash, shape_.buckets)};
  for (int tries = 0; tries < kLookupTries; ++tries) {
    bool lost = false;
    for (const std::uint64_t bucket : buckets) {
      for (unsigned i = 0; i < kBucketWords; ++i) {
        const std::uint64_t* word = index_ + bucket * kBucketWords + i;
        const std::uint64_t index_word = __atomic_load_n(word, __ATOMIC_ACQUIRE);
        if (!tag_fits(index_word, hash)) continue;
        const std::uint64_t position = (index_word & kPositionMask) - 1;
        Header header;
        if (!load_header(position, header)) {
          lost = true;
          continue;
        }
        if (header.hash != hash || header.key_bytes != key.size()) continue;
        if (!same_bytes(header.key(), key)) {
          lost |= !still_there(position);
          continue;
        }
        value.resize(header.value_bytes);
        copy_out(value.data(), header.value(), header.value_bytes);
        load_meta(header.at, meta);
        if (!still_there(position)) {
          lost = true;
          continue;
        }
        if (used != nullptr) *used = static_cast<std::uint32_t>(bucket * kBucketWords + i);
        return Lookup::kFound;
      }
    }
    if (!lost) return Lookup::kAbsent;
  }
  return Lookup::kBusy;
}

// -------------------------------------------------------------------------------------------------------- RingWriter

RingWriter::RingWriter(void* memory, RingShape shape)
    : shape_(shape), view_(memory, shape), used_(new std::atomic<std::uint8_t>[shape.buckets * kBucketWords]()) {
  control_ = static_cast<std::uint64_t*>(memory);
  index_ = reinterpret_cast<std::uint64_t*>(static_cast<char*>(memory) + RingShape::kControlBytes);
  data_ = index_ + shape.buckets * kBucketWords;
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

EntryView RingWriter::entry_at(std::uint64_t position) const {
  RingView::Header header;
  TIDELOCK_ASSERT(view_.load_header(position, header));
  EntryView entry{{reinterpret_cast<const char*>(header.key()), header.key_bytes},
                  {reinterpret_cast<const char*>(header.value()), header.value_bytes},
                  {}};
  load_meta(header.at, entry.meta);
  return entry;
}

std::optional<RingWriter::Place> RingWriter::locate(std::string_view key, std::uint64_t hash) const {
  const std::uint64_t first = first_bucket(hash, shape_.buckets);
  for (const std::uint64_t bucket : {first, other_bucket(first, hash, shape_.buckets)}) {
    for (unsigned i = 0; i < kBucketWords; ++i) {
      const auto word = static_cast<std::uint32_t>(bucket * kBucketWords + i);
      const std::uint64_t index_word = load(index_ + word);
      if (!tag_fits(index_word, hash)) continue;
      const std::uint64_t position = (index_word & kPositionMask) - 1;
      RingView::Header header;
      TIDELOCK_ASSERT(view_.load_header(position, header));
      if (header.hash == hash && header.key_bytes == key.size() && same_bytes(header.key(), key)) {
        return Place{word, position};
      }
    }
  }
  return std::nullopt;
}

std::optional<std::uint32_t> RingWriter::index_word_of(std::uint64_t hash, std::uint64_t position) const {
  const std::uint64_t first = first_bucket(hash, shape_.buckets);
  for (const std::uint64_t bucket : {first, other_bucket(first, hash, shape_.buckets)}) {
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
  live_words_ -= load(data_ + position % shape_.data_words) & 0xFFFF'FFFF;
  --entries_;
  used_[index_word].store(0, std::memory_order_relaxed);
  __atomic_store_n(index_ + index_word, 0, __ATOMIC_RELEASE);
}

std::uint32_t RingWriter::claim_index_word(std::uint64_t hash) {
  const std::uint64_t first = first_bucket(hash, shape_.buckets);
  std::optional<std::uint32_t> best;  // in the emptier bucket
  int best_free = 0;
  Place oldest{0, kPositionMask}, oldest_unused{0, kPositionMask};
  for (const std::uint64_t bucket : {first, other_bucket(first, hash, shape_.buckets)}) {
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
      const Place place{word, (index_word & kPositionMask) - 1};
      if (place.position < oldest.position) oldest = place;
      if (used_[word].load(std::memory_order_relaxed) == 0 && place.position < oldest_unused.position) {
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
  const std::uint64_t offset = head_ % shape_.data_words;
  if (offset + words > shape_.data_words) {
    const std::uint64_t pad = shape_.data_words - offset;
    store(data_ + offset, kPadMark << 48 | pad);
    head_ += pad;
  }
  const std::uint64_t position = head_;
  head_ += words;
  return position;
}

std::uint64_t RingWriter::free_words() const { return shape_.data_words - (head_ - tail_); }

// Takes the record at the tail away: a dead one vanishes, a live one moves to the head while `budget` lasts, else it is
// evicted, if it may be. False: nothing was done.
bool RingWriter::take_tail(std::uint64_t& budget, bool may_evict) {
  const std::uint64_t* at = data_ + tail_ % shape_.data_words;
  const std::uint64_t word0 = load(at);
  const std::uint64_t size = word0 & 0xFFFF'FFFF;
  const std::uint64_t hash = word0 >> 48 == kRecordMark ? load(at + 1) : 0;
  const auto word = word0 >> 48 == kRecordMark ? index_word_of(hash, tail_) : std::nullopt;
  if (word) {
    const bool used = used_[*word].load(std::memory_order_relaxed) != 0;
    const bool crowded = live_words_ > shape_.data_words / 4 * 3;
    const std::uint64_t seam = shape_.data_words - head_ % shape_.data_words;
    const std::uint64_t needed = size <= seam ? size : size + seam;
    if ((used || !crowded) && size <= budget && needed <= free_words()) {
      budget -= size;
      const std::uint64_t position = append_gap(size);
      std::uint64_t* to = data_ + position % shape_.data_words;
      for (std::uint64_t i = 0; i < size; ++i) store(to + i, load(at + i));
      if (crowded) used_[*word].store(0, std::memory_order_relaxed);
      set_index(*word, hash, position);
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
  const std::uint64_t words = kHeaderWords + words_of(key.size()) + words_of(value.size());
  if (key.empty() || key.size() > kKeyBytesMax || value.size() > kValueBytesMax || words > shape_.record_words_max()) {
    erase(key, hash);
    return false;
  }
  make_room(words);
  const std::uint64_t position = append_gap(words);
  std::uint64_t* at = data_ + position % shape_.data_words;
  store(at, kRecordMark << 48 | key.size() << 32 | words);
  store(at + 1, hash);
  store(at + 2, value.size() | (meta.negative ? kNegative : 0) << 24 | (meta.local ? kLocal : 0) << 24 |
                    static_cast<std::uint64_t>(meta.ns) << 32);
  store(at + 3, meta.version.value);
  store(at + kEpochWord, meta.epoch);
  store(at + kProvenWord, static_cast<std::uint64_t>(meta.proven_at));
  store(at + kExpiresWord, static_cast<std::uint64_t>(meta.expires_at));
  store(at + 7, meta.slot_version);
  store(at + 8, meta.stamp.wall_ms);
  store(at + 9, static_cast<std::uint64_t>(meta.era) << 32 | meta.stamp.counter);
  store(at + 10, meta.stamp.writer);
  copy_in(at + kHeaderWords, key);
  copy_in(at + kHeaderWords + words_of(key.size()), value);

  if (const auto place = locate(key, hash)) {
    live_words_ -= load(data_ + place->position % shape_.data_words) & 0xFFFF'FFFF;
    set_index(place->word, hash, position);
  } else {
    const std::uint32_t word = claim_index_word(hash);
    used_[word].store(0, std::memory_order_relaxed);
    set_index(word, hash, position);
    ++entries_;
  }
  live_words_ += words;
  collect_ahead(words);
  return true;
}

bool RingWriter::erase(std::string_view key, std::uint64_t hash) {
  const auto place = locate(key, hash);
  if (!place) return false;
  drop(place->word, place->position, false);
  return true;
}

bool RingWriter::revalidate(std::string_view key, std::uint64_t hash, std::uint64_t epoch, Nanos proven_at,
                            Nanos expires_at) {
  const auto place = locate(key, hash);
  if (!place) return false;
  std::uint64_t* at = data_ + place->position % shape_.data_words;
  store(at + kExpiresWord, static_cast<std::uint64_t>(expires_at));
  store(at + kProvenWord, static_cast<std::uint64_t>(proven_at));
  store(at + kEpochWord, epoch);
  return true;
}

std::optional<EntryView> RingWriter::find(std::string_view key, std::uint64_t hash) {
  const auto place = locate(key, hash);
  if (!place) return std::nullopt;
  mark_used(place->word);
  return entry_at(place->position);
}

void RingWriter::for_each(const std::function<void(const EntryView&)>& visit) const {
  for (std::uint64_t word = 0; word < shape_.buckets * kBucketWords; ++word) {
    const std::uint64_t index_word = load(index_ + word);
    if (index_word != 0) visit(entry_at((index_word & kPositionMask) - 1));
  }
}

void RingWriter::clear() {
  for (std::uint64_t word = 0; word < shape_.buckets * kBucketWords; ++word) {
    __atomic_store_n(index_ + word, 0, __ATOMIC_RELEASE);
    used_[word].store(0, std::memory_order_relaxed);
  }
  store_tail(head_);
  live_words_ = 0;
  entries_ = 0;
}

}  // namespace tidelock
