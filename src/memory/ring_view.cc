#include <algorithm>
#include <bit>

#include "memory/ring_record.h"

namespace tidelock {

using namespace ring;

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

// `take(header, position, index word)` looks at a record of this key, whose lengths lie inside of the memory; what it
// saw counts when the record is still there after it.
template <class Take>
Lookup RingView::look_up(std::string_view key, std::uint64_t hash, Take&& take) const {
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
        take(header, position, static_cast<std::uint32_t>(bucket * kBucketWords + i));
        if (!still_there(position)) {
          lost = true;
          continue;
        }
        return Lookup::kFound;
      }
    }
    if (!lost && in_use == buckets_in_use()) return Lookup::kAbsent;
  }
  return Lookup::kBusy;
}

Lookup RingView::get(std::string_view key, std::uint64_t hash, std::string& value, EntryMeta& meta,
                     std::uint32_t* used) const {
  return look_up(key, hash, [&](const Header& header, std::uint64_t, std::uint32_t index_word) {
    value.resize(header.value_bytes);
    copy_out(value.data(), header.value(), header.value_bytes);
    load_meta(header.at + 1, header.flags, meta);
    if (used != nullptr) *used = index_word;
  });
}

Lookup RingView::find_in_place(std::string_view key, std::uint64_t hash, RecordInPlace& record, EntryMeta& meta) const {
  return look_up(key, hash, [&](const Header& header, std::uint64_t position, std::uint32_t) {
    record = {{reinterpret_cast<const char*>(header.value()), header.value_bytes}, position};
    load_meta(header.at + 1, header.flags, meta);
  });
}

}  // namespace tidelock
