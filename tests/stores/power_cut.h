// What a power cut may leave on a disk, made from the story of a FaultDisk.
//
// Kept:   bytes up to the last sync of their file, and the name that it had then (as ext4, XFS and btrfs do); names as
// of
//         the last sync of their folder.
// Unsure: everything else. Each creation, rename, removal and link since the folder's last sync is there or is not,
// each
//         by itself. Of the bytes since the file's last sync: none; or all up to some byte; or any subset of the
//         writes, with zeros where a lost one was, and the last sector that came through torn: its end is zeros.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/rng.h"
#include "tests/stores/fault_disk.h"

namespace tidelock::stores {

inline constexpr std::size_t kSectorBytes = 512;

// The commits that a story vouches for at some point: everything up to `durable` was acknowledged as synced, nothing
// above `issued` had begun.
struct Vouched {
  std::uint64_t durable = 0, issued = 0;
};

// Writes into `to` (made anew) what may be left of the files below `from` when the power goes after the first `length`
// operations of the story.
Vouched cut_power(const std::vector<DiskOp>& story, std::size_t length, const std::string& from, const std::string& to,
                  Rng& rng);

}  // namespace tidelock::stores
