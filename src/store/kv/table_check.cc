// A table ends in a footer of 53 bytes: [type of the checksums, 1][handle of the metaindex][handle of the index, both
// padded to 40][format, 4][magic, 8]. A handle is two varints, offset and size. A block is followed by one byte that
// says how it is compressed, and by four of checksum over both. The metaindex is a block of (name, handle).
#include "store/kv/table_check.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/bytes.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMagic = 0x88e241b785f4cff7ull;
constexpr std::size_t kFooterBytes = 53, kTrailerBytes = 5, kBlockBytesMax = 16u << 20;
constexpr char kCrc32c = 1, kXxh3 = 4;

template <class T>
T little_endian(BytesView bytes) {
  T number = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    number |= static_cast<T>(static_cast<T>(static_cast<std::uint8_t>(bytes[i])) << (8 * i));
  }
  return number;
}

std::optional<std::uint64_t> take_varint(BytesView& bytes) {
  std::uint64_t number = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    number |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return number;
  }
  return std::nullopt;
}

struct Handle {
  std::uint64_t offset = 0, size = 0;
};
std::optional<Handle> take_handle(BytesView& bytes) {
  const auto offset = take_varint(bytes);
  const auto size = offset ? take_varint(bytes) : std::nullopt;
  return size ? std::optional(Handle{*offset, *size}) : std::nullopt;
}

std::optional<Bytes> read(std::ifstream& in, std::uint64_t file_bytes, std::uint64_t offset, std::uint64_t size) {
  if (size > kBlockBytesMax || offset > file_bytes || size > file_bytes - offset) return std::nullopt;
  Bytes bytes(size, '\0');
  in.seekg(static_cast<std::streamoff>(offset));
  in.read(bytes.data(), static_cast<std::streamsize>(size));
  return in ? std::optional(std::move(bytes)) : std::nullopt;
}

bool sound(BytesView block_and_trailer, char kind) {
  const BytesView summed = block_and_trailer.substr(0, block_and_trailer.size() - 4);
  const auto kept = little_endian<std::uint32_t>(block_and_trailer.substr(summed.size()));
  if (kind == kCrc32c) {
    const std::uint32_t crc = crc32c(summed);
    return kept == (crc >> 15 | crc << 17) + 0xa282ead8u;
  }
  const auto last = static_cast<std::uint8_t>(summed.back());
  return kept == (static_cast<std::uint32_t>(hash64(summed.substr(0, summed.size() - 1))) ^ last * 0x6b9083d9u);
}

// The handle of the properties, by the names of a metaindex.
std::optional<Handle> properties_of(BytesView block) {
  if (block.size() < 4) return std::nullopt;
  const std::size_t restarts = little_endian<std::uint32_t>(block.substr(block.size() - 4)) & 0x0FFF'FFFF;
  if (restarts > (block.size() - 4) / 4) return std::nullopt;
  BytesView entries = block.substr(0, block.size() - 4 - 4 * restarts);
  Bytes name;
  while (!entries.empty()) {
    const auto shared = take_varint(entries), fresh = take_varint(entries), value_bytes = take_varint(entries);
    if (!shared || !fresh || !value_bytes || *shared > name.size() || *fresh > entries.size() ||
        *value_bytes > entries.size() - *fresh) {
      return std::nullopt;
    }
    name.resize(*shared);
    name += entries.substr(0, *fresh);
    BytesView value = entries.substr(*fresh, *value_bytes);
    if (name == "rocksdb.properties") return take_handle(value);
    entries.remove_prefix(*fresh + *value_bytes);
  }
  return std::nullopt;
}

// What is damaged; empty: nothing that is known of.
std::string damage_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return {};
  const auto bytes = static_cast<std::uint64_t>(in.tellg());
  if (bytes < kFooterBytes) return {};
  const auto footer = read(in, bytes, bytes - kFooterBytes, kFooterBytes);
  if (!footer || little_endian<std::uint64_t>(BytesView(*footer).substr(45)) != kMagic) return {};
  const char kind = footer->front();
  const auto format = little_endian<std::uint32_t>(BytesView(*footer).substr(41));
  if ((kind != kCrc32c && kind != kXxh3) || format < 2 || format > 5) return {};
  BytesView handles = BytesView(*footer).substr(1, 40);
  const auto meta = take_handle(handles);
  const auto metaindex = meta ? read(in, bytes, meta->offset, meta->size + kTrailerBytes) : std::nullopt;
  if (!metaindex || meta->size > kBlockBytesMax) return {};
  if (!sound(*metaindex, kind)) return "checksum mismatch in the metaindex";
  if ((*metaindex)[meta->size] != 0) return {};  // compressed: never written so
  const auto properties = properties_of(BytesView(*metaindex).substr(0, meta->size));
  const auto block = properties ? read(in, bytes, properties->offset, properties->size + kTrailerBytes) : std::nullopt;
  if (!block || properties->size > kBlockBytesMax) return {};
  return sound(*block, kind) ? std::string() : "checksum mismatch in the properties";
}

}  // namespace

Result<void> check_tables(const std::string& directory, const std::set<std::uint64_t>& named) {
  for (const std::uint64_t number : named) {
    char name[32];
    std::snprintf(name, sizeof name, "%06llu.sst", static_cast<unsigned long long>(number));
    const fs::path table = fs::path(directory) / name;
    if (const std::string damage = damage_of(table); !damage.empty()) {
      return fail(Code::kCorrupt, table.string() + ": " + damage + "; restore the folder");
    }
  }
  return {};  // a table that is not there is RocksDB's to miss
}

}  // namespace tidelock
