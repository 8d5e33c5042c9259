// What an entry of RocksDB's manifest says about logs and tables: what the checks of both need, and what no public call
// tells of a database that is not open.
//
// Source: RocksDB's VersionEdit (db/version_edit.h, 6.x to 9.x), whose tags below 2^13 have fixed shapes.
// Threads: any. Cost: O(bytes of the entry). Errors: none: an entry that is not understood says nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"

namespace tidelock {

struct ManifestEdit {
  // Logs below this number hold nothing that is not in synced tables; 0: the entry does not say.
  std::uint64_t min_log_to_keep = 0;
  std::vector<std::uint64_t> deleted_tables, new_tables;  // a table that moves to another level is in both
};
// nullopt: it is not understood.
std::optional<ManifestEdit> read_manifest_edit(BytesView entry);

// 0: the entry does not say, or is not understood.
std::uint64_t min_log_to_keep(BytesView entry);

}  // namespace tidelock
