// What a data folder says of itself, in a small text file beside the database: whose it is, and in which format. Read
// before anything else is opened, so that a build never touches what it does not understand, nor another node's disk.
//
// Threads: one; the folder is the caller's alone.
#pragma once

#include <cstdint>
#include <string>

#include "base/ids.h"
#include "base/result.h"

namespace tidelock {

// Of everything below data_dir. A build reads its own and the one before, and writes its own. 1: the first.
inline constexpr std::uint32_t kFolderFormat = 1;
// Of an edge. 2: rows on their way to L2 may lie in l2.journal, which a build that knows only 1 would not miss.
inline constexpr std::uint32_t kEdgeFolderFormat = 2;

// Marks a folder that has no mark yet. kInvalid: a newer format, or no mark that can be read; kConflict: of another
// node
// ("hub hub-1"). Each names the file and what would be right.
Result<void> claim_folder(const std::string& folder, const std::string& node, std::uint32_t format = kFolderFormat);

}  // namespace tidelock
