// Bytes travel as std::string (owned) and std::string_view (borrowed).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tidelock {

using Bytes = std::string;
using BytesView = std::string_view;

// CRC-32C (Castagnoli), chained through `seed`.
std::uint32_t crc32c(BytesView bytes, std::uint32_t seed = 0);
// 64-bit hash of a key (xxh3): stable across machines and builds, for slots and shards, never for security.
std::uint64_t hash64(BytesView bytes);
std::string to_hex(BytesView bytes);

}  // namespace tidelock
