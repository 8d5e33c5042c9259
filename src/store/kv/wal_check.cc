// The format (RocksDB's log_format.h): blocks of 32 KiB; fragments of crc (4), length (2), type (1), payload; a
// fragment never crosses a block, a record that does is cut into first, middle and last. The crc is CRC-32C over type
// and payload, masked. A record is a batch: sequence number (8), count (4), entries; a mark is the first entry (log
// data).
#include "store/kv/wal_check.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "store/kv/manifest_edit.h"

namespace tidelock {

namespace fs = std::filesystem;

constexpr std::size_t kBlockBytes = 32768;
constexpr std::size_t kHeaderBytes = 7;
constexpr std::size_t kBatchHeaderBytes = 12;
constexpr std::size_t kTornBytesMax = 4096;
constexpr char kLogData = 3;
constexpr BytesView kMagic = "TLK2", kMagicBefore = "TLK1";  // TLK1 ends before WalMark::manifest
constexpr std::size_t kMarkBytes = 4 + 5 * 8, kMarkBytesBefore = 4 + 4 * 8;
enum FragmentType : unsigned char { kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

static std::uint64_t little(BytesView in) {
  std::uint64_t v = 0;
  for (std::size_t i = in.size(); i-- > 0;) v = (v << 8) | static_cast<unsigned char>(in[i]);
  return v;
}

static std::uint32_t masked(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

Bytes encode_wal_mark(const WalMark& mark) {
  Bytes out(kMagic);
  for (const std::uint64_t v : {mark.synced, mark.log_from, mark.unlogged, mark.old_logs, mark.manifest})
    for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>(v >> shift));
  return out;
}

namespace {

struct Fragment {
  FragmentType type;
  BytesView payload;
};
// The sound fragment at `at`, if there is one.
std::optional<Fragment> fragment_at(BytesView log, std::size_t at) {
  const std::size_t left = std::min(kBlockBytes - at % kBlockBytes, log.size() - at);
  if (left < kHeaderBytes) return std::nullopt;
  const auto type = static_cast<unsigned char>(log[at + 6]);
  const std::size_t length = little(log.substr(at + 4, 2));
  if (type < kFull || type > kLast || kHeaderBytes + length > left) return std::nullopt;
  if (masked(crc32c(log.substr(at + 6, 1 + length))) != little(log.substr(at, 4))) return std::nullopt;
  return Fragment{static_cast<FragmentType>(type), log.substr(at + kHeaderBytes, length)};
}

struct Record {
  Bytes batch;
  std::size_t begin = 0, end = 0;  // in the log
  // Of a log: a record of it is a batch.
  std::uint64_t first_sequence() const { return little(BytesView(batch).substr(0, 8)); }
  std::uint64_t next_sequence() const {
    return first_sequence() + (batch.size() < kBatchHeaderBytes ? 0 : little(BytesView(batch).substr(8, 4)));
  }
  std::optional<WalMark> mark() const {
    BytesView in = batch;
    if (in.size() < kBatchHeaderBytes + 2 || in[kBatchHeaderBytes] != kLogData) return std::nullopt;
    const auto bytes = static_cast<unsigned char>(in[kBatchHeaderBytes + 1]);
    in.remove_prefix(kBatchHeaderBytes + 2);
    if (in.size() < bytes) return std::nullopt;
    const bool now = bytes == kMarkBytes && in.substr(0, 4) == kMagic;
    if (!now && !(bytes == kMarkBytesBefore && in.substr(0, 4) == kMagicBefore)) return std::nullopt;
    return WalMark{little(in.substr(4, 8)), little(in.substr(12, 8)), little(in.substr(20, 8)),
                   little(in.substr(28, 8)), now ? little(in.substr(36, 8)) : 0};
  }
};
// The sound record that begins at `at`, which is no padding.
std::optional<Record> record_at(BytesView log, std::size_t at) {
  Record record;
  record.begin = at;
  for (bool begun = false;; begun = true) {
    if (const std::size_t left = kBlockBytes - at % kBlockBytes; left < kHeaderBytes) at += left;
    if (at >= log.size()) return std::nullopt;
    const auto fragment = fragment_at(log, at);
    if (!fragment || (fragment->type >= kMiddle) != begun) return std::nullopt;
    record.batch += fragment->payload;
    at += kHeaderBytes + fragment->payload.size();
    record.end = at;
    if (fragment->type != kFull && fragment->type != kLast) continue;
    return record;
  }
}

struct Log {
  std::string path;
  Bytes bytes;
  std::vector<Record> sound;  // from the beginning on
  std::size_t bad_at = 0;     // where they end
};

}  // namespace

static void read_sound(Log& log) {
  std::size_t at = 0;
  while (at < log.bytes.size()) {
    if (const std::size_t left = kBlockBytes - at % kBlockBytes; left < kHeaderBytes) {  // padding
      at = std::min(at + left, log.bytes.size());
      continue;
    }
    auto record = record_at(log.bytes, at);
    if (!record) break;
    at = record->end;
    log.sound.push_back(std::move(*record));
  }
  log.bad_at = at;
}

// The marks in sound records from byte `from` on: the furthest of each kind. A record without one is of no run of ours,
// so what lies before it must be whole.
static WalMark marks_behind(const Log& log, std::size_t from) {
  WalMark most;
  for (std::size_t at = from; at + kHeaderBytes <= log.bytes.size(); ++at) {
    const auto type = static_cast<unsigned char>(log.bytes[at + 6]);
    if (type != kFull && type != kFirst) continue;
    const auto record = record_at(log.bytes, at);
    if (!record) continue;
    const auto mark = record->mark();
    most.synced = std::max(most.synced, mark ? mark->synced : ~std::uint64_t{0});
    if (mark) most.log_from = std::max(most.log_from, mark->log_from);
    if (mark) most.manifest = std::max(most.manifest, mark->manifest);
    if (mark) most.old_logs = std::max(most.old_logs, mark->old_logs);
    at = record->end - 1;
  }
  return most;
}

static Result<std::map<std::uint64_t, Log>> read_logs(const std::string& directory) {
  std::map<std::uint64_t, Log> logs;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().extension() != ".log") continue;
    const std::string stem = entry.path().stem().string();
    std::uint64_t number = 0;
    if (std::from_chars(stem.data(), stem.data() + stem.size(), number).ptr != stem.data() + stem.size()) continue;
    Log& log = logs[number];
    log.path = entry.path().string();
    std::ifstream in(entry.path(), std::ios::binary);
    log.bytes.assign(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    if (in.bad()) return fail(Code::kUnavailable, log.path + ": cannot be read");
    read_sound(log);
  }
  if (error) return fail(Code::kUnavailable, directory + ": " + error.message());
  return logs;
}

// The manifest that CURRENT names, if both are there.
static std::optional<Log> read_manifest(const std::string& directory) {
  std::ifstream current(fs::path(directory) / "CURRENT", std::ios::binary);
  std::string name;
  std::getline(current, name);
  Log manifest;
  manifest.path = (fs::path(directory) / name).string();
  std::error_code error;
  if (name.empty() || !fs::is_regular_file(manifest.path, error)) return std::nullopt;
  std::ifstream in(manifest.path, std::ios::binary);
  manifest.bytes.assign(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  read_sound(manifest);
  return manifest;
}

Result<WalEnd> check_write_ahead_logs(const std::string& directory) {
  auto logs = read_logs(directory);
  if (!logs) return fail(logs.error());
  WalEnd end;
  if (logs->empty()) return end;
  end.newest_log = logs->rbegin()->first;
  // RocksDB removes logs from the newest to the oldest: a process killed meanwhile leaves a hole below those it needs.
  std::uint64_t old_logs = 0;
  if (const auto manifest = read_manifest(directory)) {
    for (const Record& entry : manifest->sound) {
      if (const std::uint64_t needed = min_log_to_keep(entry.batch); needed != 0)
        old_logs = std::max(old_logs, needed - 1);
    }
  }
  for (const auto& [number, log] : *logs) {
    const auto take = [&](const WalMark& mark) {
      old_logs = std::max(old_logs, mark.old_logs);
      end.manifest = std::max(end.manifest, mark.manifest);
    };
    for (const Record& record : log.sound) {
      if (const auto mark = record.mark()) take(*mark);
    }
    if (log.bad_at < log.bytes.size()) take(marks_behind(log, log.bad_at + 1));
  }

  const Log* bad = nullptr;
  std::size_t bad_at = 0;
  std::uint64_t next = 0;  // the sequence number that follows the sound ones; 0: none was seen
  for (const auto& [number, log] : *logs) {
    if (number <= old_logs) continue;  // not removed yet: an earlier run's, or what it held lies in synced tables
    std::size_t behind = 0;            // where to look for marks behind the bad place
    if (bad == nullptr) {
      std::size_t sound = 0;
      for (; sound < log.sound.size(); ++sound) {
        const Record& record = log.sound[sound];
        const auto mark = record.mark();
        if (next != 0 && record.first_sequence() > std::max(next, mark ? mark->unlogged + 1 : 0)) break;
        next = std::max(next, record.next_sequence());
      }
      if (sound == log.sound.size() && log.bad_at == log.bytes.size()) continue;
      bad = &log;
      bad_at = sound == log.sound.size() ? log.bad_at : log.sound[sound].begin;
      end.log = number;
      end.records = sound;
      behind = bad_at + (bad_at == log.bad_at ? 1 : 0);
    }
    const WalMark told = marks_behind(log, behind);
    if (next == 0 && bad == &log) next = told.log_from + 1;
    if (told.synced >= std::max<std::uint64_t>(next, 1)) {
      return fail(Code::kCorrupt, bad->path + ": what stood at byte " + std::to_string(bad_at) +
                                      " had been synced, and is damaged or gone: sound records behind it say so; "
                                      "restore the folder");
    }
  }
  return end;
}

// A record that is whole but for one bit, or for its length: damaged, not torn.
static bool one_bit_away(BytesView tail) {
  if (tail.size() < kHeaderBytes) return false;
  Bytes record(tail);
  const auto sound = [&record] {
    const auto type = static_cast<unsigned char>(record[6]);
    return type >= kFull && type <= kLast &&
           masked(crc32c(BytesView(record).substr(6))) == little(BytesView(record).substr(0, 4));
  };
  if (sound()) return true;
  for (std::size_t bit = 0; bit < record.size() * 8; ++bit) {
    char& byte = record[bit / 8];
    byte = static_cast<char>(byte ^ (1 << bit % 8));
    if (sound()) return true;
    byte = static_cast<char>(byte ^ (1 << bit % 8));
  }
  return false;
}

std::set<std::uint64_t> tables_of_manifest(const std::string& directory) {
  std::set<std::uint64_t> tables;
  const auto manifest = read_manifest(directory);
  if (!manifest) return tables;
  for (const Record& entry : manifest->sound) {
    const auto edit = read_manifest_edit(entry.batch);
    if (!edit) continue;
    for (const std::uint64_t table : edit->deleted_tables) tables.erase(table);
    tables.insert(edit->new_tables.begin(), edit->new_tables.end());
  }
  return tables;
}

Result<void> check_manifest(const std::string& directory, std::uint64_t synced) {
  const auto read = read_manifest(directory);
  if (!read) return {};  // RocksDB says what is wrong
  const Log& manifest = *read;
  const BytesView tail = BytesView(manifest.bytes).substr(manifest.bad_at);
  if (tail.empty()) return {};
  bool more = false;  // sound entries behind the bad one
  for (std::size_t at = manifest.bad_at + 1; !more && at < manifest.bytes.size(); ++at)
    more = record_at(manifest.bytes, at).has_value();
  std::uint64_t number = 0;
  const std::string name = fs::path(manifest.path).filename().string();
  const std::size_t dash = std::min(name.find('-'), name.size() - 1);
  std::from_chars(name.data() + dash + 1, name.data() + name.size(), number);
  const bool known = synced != 0 && synced >> 32 == number;
  const bool torn = known && manifest.bad_at >= (synced & 0xFFFF'FFFF);  // of entries that were written together
  const bool short_enough = tail.size() <= kTornBytesMax;  // to try every bit; no last entry of ours is longer
  if ((more && !torn) || (!more && short_enough && one_bit_away(tail))) {
    return fail(Code::kCorrupt, manifest.path + ": a damaged record at byte " + std::to_string(manifest.bad_at) +
                                    "; restore the folder");
  }
  if (!more && (!short_enough || tail.back() != '\0'))
    return {};  // RocksDB forgives a short record, refuses a wrong one
  std::error_code error;
  fs::resize_file(manifest.path, manifest.bad_at, error);
  if (error) return fail(Code::kUnavailable, manifest.path + ": cut a torn record: " + error.message());
  return {};
}

}  // namespace tidelock
