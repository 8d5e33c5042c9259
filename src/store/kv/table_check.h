// Looks at those blocks of RocksDB's tables that it takes apart before it tests their checksum: in 7.8 that is the
// block of properties, and a flipped bit in it ends the process by an assertion of the library, at each start anew.
//
// Threads: any. Cost: three small reads a table. Errors: kCorrupt with the file. What is no table, or of a format that
// is not known here, is left to RocksDB.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "base/result.h"

namespace tidelock {

// Before the database is opened; `named` are the tables that belong to it.
Result<void> check_tables(const std::string& directory, const std::set<std::uint64_t>& named);

}  // namespace tidelock
