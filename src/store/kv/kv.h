// Kv is one RocksDB database with named column families, behind values and Results.
//
// Threads:   every method may be called from any thread.
// Durable:   commit(batch, Sync::kDisk) returns after the write-ahead log was synced; Sync::kNone after the write
// reached
//            the kernel (it survives kill -9, not a power cut). Batches are atomic across families.
// Errors:    a failed write or sync turns the store read-only for good (D3): commit answers kBusy with the first cause.
//            A checksum mismatch is kCorrupt. Opening a damaged or foreign directory is kCorrupt with the path; a
//            directory locked by another process is kConflict.
// Recovery:  a power cut leaves a prefix of the commits, without holes, that holds every synced one. Damage to anything
//            synced is found when the store is opened (log, manifest) or read (tables), see wal_check.h.
// Cost:      get about 2 us; synced commit about 0.2 ms on an SSD. Telling damage from a torn tail costs 38 bytes of
// log
//            for each commit, and one unsynced write of 57 bytes after each sync.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tidelock {

enum class Sync : std::uint8_t { kNone, kDisk };

// A list of writes, applied in order and all or none.
class KvBatch {
 public:
  struct Write {
    std::string family;
    Bytes key;
    std::optional<Bytes> value;  // nullopt erases
    std::optional<Bytes> end;    // with no value: erases [key, end)
  };
  void put(std::string family, Bytes key, Bytes value) {
    writes.push_back({std::move(family), std::move(key), std::move(value), {}});
  }
  void erase(std::string family, Bytes key) { writes.push_back({std::move(family), std::move(key), {}, {}}); }
  void erase_range(std::string family, Bytes begin, Bytes end) {
    writes.push_back({std::move(family), std::move(begin), {}, std::move(end)});
  }
  std::vector<Write> writes;
};

// A write of a row where it lies: it lives until the commit returns.
struct KvRow {
  BytesView key;
  std::optional<BytesView> value;  // nullopt erases
};

class Kv {
 public:
  // Creates the directory and missing families. Families on disk that are not named are opened as well.
  static Result<std::unique_ptr<Kv>> open(const std::string& directory, const std::vector<std::string>& families);
  virtual ~Kv() = default;

  virtual Result<std::optional<Bytes>> get(const std::string& family, BytesView key) const = 0;
  virtual Result<void> commit(const KvBatch& batch, Sync sync) = 0;
  // The same for many rows of one family, in order and behind those of `batch`, without a copy of each.
  virtual Result<void> commit_rows(const std::string& family, std::span<const KvRow> rows, KvBatch batch, Sync sync) {
    for (const KvRow& row : rows) {
      batch.writes.push_back({family, Bytes(row.key), row.value ? std::optional(Bytes(*row.value)) : std::nullopt, {}});
    }
    return commit(batch, sync);
  }
  // Makes everything committed so far durable (group commit: one sync for many kNone batches).
  virtual Result<void> sync() = 0;
  // Visits keys in [begin, end) in order until `visit` answers false. An empty `end` means to the end of the family.
  // `visit` must not call the store.
  virtual Result<void> scan(const std::string& family, BytesView begin, BytesView end,
                            const std::function<bool(BytesView key, BytesView value)>& visit) const = 0;
  virtual Result<std::optional<Bytes>> last_key(const std::string& family) const = 0;
  // Exports one family as a consistent set of files into `directory` (must not exist), and replaces a family by such a
  // set: a snapshot as RocksDB checkpoint files (ledger snapshots).
  virtual Result<void> export_family(const std::string& family, const std::string& directory) = 0;
  virtual Result<void> import_family(const std::string& family, const std::string& directory) = 0;
  virtual std::uint64_t approximate_bytes() const = 0;
};

}  // namespace tidelock
