// Tells damage in RocksDB's write-ahead logs from what a power cut leaves, which RocksDB alone cannot: its reader takes
// a bad length in the middle for the end of the file, passes over zeros, does not miss the end of a log before the next
// one, and refuses a torn tail that is not short. So each record of ours begins with a mark that says how much was
// synced when it was written, and a mark of its own follows each sync.
//
// D2: a bad record, or a gap in the sequence numbers, ends the logs. If any sound record behind it says that the bad
// one had been synced, synced data is damaged and the store is refused. Otherwise nobody was promised what lies there
// (a power cut may keep any subset of it), and replay ends before it, so that what is recovered is a prefix without
// holes. Not seen: damage to the last synced record when the mark behind it was lost as well, to a power cut.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace tidelock {

// Sequence numbers are RocksDB's, one per row that a batch changes.
struct WalMark {
  std::uint64_t synced = 0;    // everything up to this sequence number is on disk
  std::uint64_t log_from = 0;  // the log that this record is in begins above this one, or above a later one
  std::uint64_t unlogged = 0;  // numbers up to this one may be missing from the logs: an import used some up
  std::uint64_t old_logs =
      0;  // logs up to this number are of earlier runs, whose recovery has finished, or flushed whole
  std::uint64_t manifest = 0;  // this manifest is on disk up to there, at least (manifest_mark); 0: nothing is known
};
constexpr std::uint64_t manifest_mark(std::uint64_t number, std::uint64_t bytes) { return number << 32 | bytes; }
Bytes encode_wal_mark(const WalMark& mark);

// Replay takes all logs below `log`, and `records` records of it.
struct WalEnd {
  std::uint64_t log = ~0ull;
  std::uint64_t records = 0;
  std::uint64_t newest_log = 0;  // the highest number of a log in the folder
  std::uint64_t manifest = 0;    // the furthest that any mark says
};

// Before the database is opened. kCorrupt with the file and the offset. Cost: reads every log of the folder once.
Result<WalEnd> check_write_ahead_logs(const std::string& directory);

// The same for the manifest, which RocksDB syncs before it acts on an entry, or on several: what a power cut left of
// those behind the last sync was acted on by nobody, and is cut off where RocksDB would refuse it. `synced` is
// WalEnd::manifest. kCorrupt for damage to what had been synced, and for what RocksDB takes for the end of the file.
// (When a synced entry is cut off because no later mark says that it was, RocksDB misses the files that it deleted
// since.)
Result<void> check_manifest(const std::string& directory, std::uint64_t synced);

// The numbers of the tables that the manifest names. Others are left over from what was not finished; RocksDB removes
// them.
std::set<std::uint64_t> tables_of_manifest(const std::string& directory);

}  // namespace tidelock
