#include "memory/arena.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "memory/shared_mapping.h"

namespace tidelock {
namespace {

constexpr std::uint64_t kArenaMagic = 0x31414e4552414c54ull;  // "TLARENA1" as bytes

struct ArenaHeader {  // written once, before the file gets its name
  std::uint64_t magic;
  std::uint32_t layout_version;
  std::uint32_t header_bytes;
  std::uint64_t file_bytes;
  std::uint64_t edge_boot;
  std::uint64_t buckets;
  std::uint64_t data_words;
};
constexpr Nanos kSweepEvery = 20 * kMillisecond;
constexpr std::size_t kSweepBlocks = 1'024;
constexpr std::size_t kHeaderBytes = 64;
static_assert(sizeof(ArenaHeader) <= kHeaderBytes);

std::optional<HeldView> seen(const std::optional<EntryView>& entry) {
  if (!entry) return std::nullopt;
  const EntryMeta& meta = entry->meta;
  return HeldView({meta.version, meta.expires_at, meta.epoch, meta.proven_at, meta.stamp, meta.local},
                  meta.negative ? std::nullopt : std::optional(entry->value));
}

char* ring_memory(const SharedMapping& mapping) { return static_cast<char*>(mapping.data()) + kHeaderBytes; }

}  // namespace

// ------------------------------------------------------------------------------------------------------- ArenaWriter

ArenaWriter::ArenaWriter(std::unique_ptr<SharedMapping> mapping) : mapping_(std::move(mapping)) {}
ArenaWriter::ArenaWriter(ArenaWriter&&) noexcept = default;
ArenaWriter& ArenaWriter::operator=(ArenaWriter&&) noexcept = default;
ArenaWriter::~ArenaWriter() = default;

Result<ArenaWriter> ArenaWriter::create(const ArenaOptions& options) {
  if (options.size_bytes < kArenaBytesMin || options.size_bytes > kArenaBytesMax) {
    return fail(Code::kInvalid, "arena: size_bytes is " + std::to_string(options.size_bytes) + ", expected " +
                                    std::to_string(kArenaBytesMin) + ".." + std::to_string(kArenaBytesMax));
  }
  const RingShape shape = RingShape::within(options.size_bytes - kHeaderBytes);
  const std::size_t at_first = kHeaderBytes + RingWriter::used_bytes_at_first(shape);
  auto mapping = SharedMapping::create(options.path, options.size_bytes, at_first);
  if (!mapping) return tl::unexpected(std::move(mapping.error()));
  ArenaHeader header{};
  header.magic = kArenaMagic;
  header.layout_version = kArenaLayoutVersion;
  header.header_bytes = kHeaderBytes;
  header.file_bytes = options.size_bytes;
  header.edge_boot = options.edge_boot.value;
  header.buckets = shape.buckets;
  header.data_words = shape.data_words;
  std::memcpy((*mapping)->data(), &header, sizeof header);
  ArenaWriter writer(*std::move(mapping));
  writer.ring_ = std::make_unique<RingWriter>(
      ring_memory(*writer.mapping_), shape,
      [file = writer.mapping_.get()](std::size_t bytes) { return file->reserve(kHeaderBytes + bytes).has_value(); });
  if (auto ok = writer.mapping_->publish(); !ok) return tl::unexpected(ok.error());
  return writer;
}

bool ArenaWriter::put(std::string_view key, std::string_view value, const EntryMeta& meta) {
  return ring_->put(key, hash64(key), value, meta);
}
bool ArenaWriter::put(std::string_view key, const EdgeEntry& entry) {
  EntryMeta meta;
  meta.version = entry.version;
  meta.epoch = entry.epoch;
  meta.proven_at = entry.proven_at;
  meta.expires_at = entry.expires_at;
  meta.stamp = entry.stamp;
  meta.negative = !entry.value.has_value();
  meta.local = entry.local;
  return put(key, entry.value ? std::string_view(*entry.value) : std::string_view(), meta);
}
bool ArenaWriter::erase(std::string_view key) { return ring_->erase(key, hash64(key)); }
Nanos ArenaWriter::sweep(Nanos now) {
  if (now >= sweep_at_ && ring_->next_expiry() <= now) {
    const bool all = ring_->expire(now, kSweepBlocks) < kSweepBlocks;
    sweep_at_ = all ? saturating_add(now, kSweepEvery) : now;  // the rest of it after whoever else waits
  }
  return std::max(ring_->next_expiry(), sweep_at_);
}
std::optional<HeldView> ArenaWriter::find(std::string_view key) const { return seen(ring_->find(key, hash64(key))); }
std::optional<HeldView> ArenaWriter::peek(std::string_view key) const { return seen(ring_->peek(key, hash64(key))); }

void ArenaWriter::warm(std::span<const std::string_view> keys) const {
  for (const std::string_view key : keys) ring_->view().prefetch(hash64(key));
  for (const std::string_view key : keys) ring_->prefetch_record(hash64(key));
}
void ArenaWriter::each_of_slot(std::uint16_t slot, const std::function<void(std::string_view)>& visit) const {
  ring_->each_of_slot(slot, visit);
}
std::size_t ArenaWriter::bytes_of(std::string_view key) const { return ring_->bytes_of(key, hash64(key)); }
void ArenaWriter::for_each(const std::function<void(const EntryView&)>& visit) const { ring_->for_each(visit); }
void ArenaWriter::clear() { ring_->clear(); }
void ArenaWriter::on_evict(std::function<void(const EntryView&)> evicted) { ring_->on_evict(std::move(evicted)); }
std::size_t ArenaWriter::entries() const { return ring_->entries(); }
std::size_t ArenaWriter::live_bytes() const { return ring_->live_bytes(); }
std::size_t ArenaWriter::capacity_bytes() const { return ring_->capacity_bytes(); }
std::size_t ArenaWriter::fixed_bytes() const { return kHeaderBytes + ring_->index_bytes(); }
std::uint64_t ArenaWriter::evictions() const { return ring_->evictions(); }
const RingView& ArenaWriter::view() const { return ring_->view(); }
const std::string& ArenaWriter::path() const { return mapping_->path(); }

// ------------------------------------------------------------------------------------------------------- ArenaReader

ArenaReader::ArenaReader(std::unique_ptr<SharedMapping> mapping) : mapping_(std::move(mapping)) {}
ArenaReader::ArenaReader(ArenaReader&&) noexcept = default;
ArenaReader& ArenaReader::operator=(ArenaReader&&) noexcept = default;
ArenaReader::~ArenaReader() = default;

Result<ArenaReader> ArenaReader::open(const std::string& path) {
  auto mapping = SharedMapping::open(path, false, kArenaBytesMin, kArenaBytesMax);
  if (!mapping) return tl::unexpected(std::move(mapping.error()));
  // One copy is checked and used: the file may change under us.
  ArenaHeader header;
  std::memcpy(&header, (*mapping)->data(), sizeof header);
  if (header.magic != kArenaMagic) return fail(Code::kCorrupt, path + ": not a Tidelock arena");
  if (header.layout_version != kArenaLayoutVersion || header.header_bytes != kHeaderBytes) {
    return fail(Code::kCorrupt, path + ": arena layout " + std::to_string(header.layout_version) +
                                    ", this build knows layout " + std::to_string(kArenaLayoutVersion));
  }
  const RingShape shape{header.buckets, header.data_words};
  if (header.file_bytes != (*mapping)->size_bytes() || !shape.fits(header.file_bytes - kHeaderBytes)) {
    return fail(Code::kCorrupt,
                path + ": the arena's header does not fit its " + std::to_string((*mapping)->size_bytes()) + " bytes");
  }
  ArenaReader reader(*std::move(mapping));
  reader.view_ = RingView(ring_memory(*reader.mapping_), shape);
  return reader;
}

Boot ArenaReader::edge_boot() const {
  ArenaHeader header;
  std::memcpy(&header, mapping_->data(), sizeof header);
  return Boot{header.edge_boot};
}
Lookup ArenaReader::get(std::string_view key, std::string& value, EntryMeta& meta) const {
  return view_.get(key, hash64(key), value, meta);
}
const RingView& ArenaReader::view() const { return view_; }

}  // namespace tidelock
