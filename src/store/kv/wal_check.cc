// The format (RocksDB's log_format.h): blocks of 32 KiB; records of crc (4), length (2), type (1), payload; a record
// never crosses a block, a write that does is cut into first, middle and last. The crc is CRC-32C over type and
// payload, masked.
#include "store/kv/wal_check.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/bytes.h"

namespace tidelock {

namespace fs = std::filesystem;

constexpr std::size_t kBlockBytes = 32768;
constexpr std::size_t kHeaderBytes = 7;
enum RecordType : unsigned char { kZero = 0, kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

static std::uint32_t little(BytesView in) {
  std::uint32_t v = 0;
  for (std::size_t i = in.size(); i-- > 0;) v = (v << 8) | static_cast<unsigned char>(in[i]);
  return v;
}

static std::uint32_t masked(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

// The size of the whole record at `at`, or nullopt when there is no sound one.
static std::optional<std::size_t> record_at(BytesView log, std::size_t at) {
  const std::size_t left = std::min(kBlockBytes - at % kBlockBytes, log.size() - at);
  if (left < kHeaderBytes) return std::nullopt;
  const auto type = static_cast<unsigned char>(log[at + 6]);
  const std::size_t length = little(log.substr(at + 4, 2));
  if (type < kFull || type > kLast || kHeaderBytes + length > left) return std::nullopt;
  if (masked(crc32c(log.substr(at + 6, 1 + length))) != little(log.substr(at, 4))) return std::nullopt;
  return kHeaderBytes + length;
}

// Where the sound records end: the size of the log, or the first bad record.
static std::size_t end_of_sound(BytesView log) {
  std::size_t at = 0;
  while (at < log.size()) {
    const std::size_t left = kBlockBytes - at % kBlockBytes;
    if (left < kHeaderBytes) {  // too small for a record: padding
      at += left;
      continue;
    }
    const auto size = record_at(log, at);
    if (!size) return at;
    at += *size;
  }
  return log.size();
}

Result<void> check_write_ahead_logs(const std::string& directory) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().extension() != ".log") continue;
    std::ifstream in(entry.path(), std::ios::binary);
    const Bytes log((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const std::size_t bad = end_of_sound(log);
    for (std::size_t at = bad + 1; at + kHeaderBytes <= log.size(); ++at) {
      const auto type = static_cast<unsigned char>(log[at + 6]);
      // Only the start of a later write counts: fragments of the torn write itself may have reached the disk.
      if ((type == kFull || type == kFirst) && record_at(log, at)) {
        return fail(Code::kCorrupt, entry.path().string() + ": a damaged record at byte " + std::to_string(bad) +
                                        " with sound ones behind it; restore the folder");
      }
    }
  }
  if (error) return fail(Code::kUnavailable, directory + ": " + error.message());
  return {};
}

}  // namespace tidelock
