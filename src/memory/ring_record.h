// Inner header of the memory room: what a record and an index word of the ring are, for who writes and who reads them
// (ring_store.h).
//
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
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "memory/ring_store.h"

namespace tidelock {
namespace ring {

inline constexpr std::uint64_t kRecordMark = 0x7D;
inline constexpr std::uint64_t kPadMark = 0x7E;
inline constexpr std::uint64_t kDeadMark = 0x7B;
// Flags of a record. The first five each say that words are there; a negative entry has no value.
inline constexpr std::uint64_t kVersion = 1, kExpires = 2, kEpoch = 4, kProven = 8, kStamp = 16, kNegative = 32,
                               kLocal = 64;
inline constexpr std::uint64_t kKnownFlags = 127;
inline constexpr std::uint64_t kEpochMax = 0xFFFF'FFFF;  // of a later one it is only known that it is verified no more
inline constexpr std::uint64_t kPositionMask = (1ull << 52) - 1;
inline constexpr unsigned kBucketWords = 8;
inline constexpr std::uint64_t kDataWordsMin = 1024;

inline std::uint64_t load(const std::uint64_t* word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
inline void store(std::uint64_t* word, std::uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }

constexpr std::uint64_t words_of(std::uint64_t bytes) { return (bytes + 7) / 8; }

inline void copy_out(char* to, const std::uint64_t* from, std::size_t bytes) {
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

inline void copy_in(std::uint64_t* to, std::string_view from) {
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

inline bool same_bytes(const std::uint64_t* words, std::string_view bytes) {
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
inline std::uint64_t bucket_of(std::uint64_t place, std::uint64_t buckets) {
  const std::uint64_t mask = std::bit_ceil(buckets) - 1;
  const std::uint64_t bucket = place & mask;
  return bucket < buckets ? bucket : bucket & mask >> 1;
}
struct Buckets {
  std::uint64_t at[2];
};
// Never the same one twice: the lowest bit differs.
inline Buckets buckets_of(std::uint64_t hash, std::uint64_t buckets) {
  const std::uint64_t place = hash >> 16;
  return {{bucket_of(place, buckets), bucket_of(place ^ ((tag_of(hash) * 0x9E3779B1u) | 1), buckets)}};
}
inline bool tag_fits(std::uint64_t index_word, std::uint64_t hash) {
  return index_word != 0 && index_word >> 52 == tag_of(hash) && (index_word & kPositionMask) != 0;
}

inline std::uint64_t flags_of(const EntryMeta& meta) {
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
inline void load_meta(const std::uint64_t* at, std::uint64_t flags, EntryMeta& meta) {
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
inline void store_meta(std::uint64_t* at, std::uint64_t flags, const EntryMeta& meta) {
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
inline std::uint64_t size_of(std::uint64_t word0) {
  if (word0 >> 56 == kPadMark) return word0 & 0xFF'FFFF'FFFF'FFFF;
  return meta_words(word0 >> 48 & 0xFF) + words_of(word0 & 0xFF'FFFF) + words_of(word0 >> 24 & 0xFF'FFFF);
}

}  // namespace ring

struct RingView::Header {
  std::uint64_t key_bytes = 0;
  std::uint64_t value_bytes = 0;
  std::uint64_t flags = 0;
  const std::uint64_t* at = nullptr;
  const std::uint64_t* key = nullptr;
  const std::uint64_t* value() const { return key + ring::words_of(key_bytes); }
};

}  // namespace tidelock
