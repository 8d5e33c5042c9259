// Finds damage in RocksDB's write-ahead logs that RocksDB takes for a torn tail: when the length field of a record in
// the middle is hit, its reader stops there as if the file ended, and synced records behind it are lost in silence. D2
// allows stopping at a bad record only if nothing valid follows.
#pragma once

#include <string>

#include "base/result.h"

namespace tidelock {

// Before the database is opened. kCorrupt with the file and the offset. Cost: reads every log of the folder once.
Result<void> check_write_ahead_logs(const std::string& directory);

}  // namespace tidelock
