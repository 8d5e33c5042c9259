// What an entry of RocksDB's manifest says about logs: the one fact that the check of the logs needs and that no public
// call tells of a database that is not open.
//
// Source: RocksDB's VersionEdit (db/version_edit.h, 6.x to 9.x), whose tags below 2^13 have fixed shapes.
// Threads: any. Cost: O(bytes of the entry). Errors: none: an entry that is not understood says nothing.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace tidelock {

// Logs below this number hold nothing that is not in synced tables; 0: the entry does not say.
std::uint64_t min_log_to_keep(BytesView entry);

}  // namespace tidelock
