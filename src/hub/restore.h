// Backup of a cluster's state at one index, and the two ways in which a ledger begins anew: from a backup, or from the
// disk of one survivor after the majority was lost for good.
//
// A new ledger begins at an index above everything the former one can have handed out (F11, next_ledger_base), and
// every value gets that index as its version. So an edge accepts the new ledger as newer than what it knows, asks anew
// for every value it holds, and a fencing token taken from an index never falls.
//
// Format:   a file of records: length (4 bytes, little-endian), payload, crc32c of payload chained over all before it
//           (4 bytes). First a BackupHeader, then rows, at last a BackupEnd.
// Threads:  any; blocking. write_backup may run while the hub works; the others need the folder for themselves.
// Errors:   kConflict when the data folder is in use or not empty, kCorrupt when a file is damaged; each says what to
// do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "hub/hub.h"
#include "store/kv/kv.h"

namespace tidelock {

inline constexpr std::uint32_t kBackupFormat = 1;

struct BackupHeader {
  std::uint32_t format = kBackupFormat;
  Index index;  // every entry up to here is contained
  NodeId hub;   // that made it
  template <class A>
  void fields(A& a) {
    a(format, index, hub);
  }
};
struct BackupEnd {
  std::uint64_t rows = 0;
  template <class A>
  void fields(A& a) {
    a(rows);
  }
};
struct BackupInfo {
  BackupHeader header;
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string> models;  // "NAME VERSION" of every published version; their files are not in the backup
};

// What a download request must be for a backup, in place of a blob's.
inline constexpr char kBackupRequest[] = "backup";

// Writes the rows of kStateFamily as of one instant.
Result<void> write_backup(const Kv& kv, const NodeId& hub, const std::string& path);
// Reads and checks the whole file.
Result<BackupInfo> check_backup(const std::string& path);

struct Founded {
  Index base;  // the new ledger's first index
  Index last;  // the last entry of the former ledger that is contained
  std::uint64_t rows = 0;
  std::vector<NodeId> former;  // recover: members that are no longer
  std::vector<std::string> models;
};
// Into an empty data folder: this hub alone is the cluster then, and others join it.
Result<Founded> restore_hub(const HubConfig& config, const std::string& path);
// With what this hub has, committed or not: it alone is the cluster then. `dry` only says what would be.
Result<Founded> recover_hub(const HubConfig& config, bool dry);

}  // namespace tidelock
