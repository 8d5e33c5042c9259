// What a history of reads and writes must obey, judged from the records alone. Versions are totally ordered and every
// read returns one, so each rule is a lookup in the sorted writes of a key: "was a newer one certainly there before?" A
// judgement is passed only where the order of two events is certain; what overlaps counts as simultaneous.
//
// Rules: linearizable strong reads (I1), true staleness <= U for every read (I2), session tokens (F10), own writes
// visible at their gateway (D8), acknowledged writes there at the end (I7, I8), lifetimes, values that somebody wrote,
// versions that rise with real time.
//
// Threads: one. Cost: O(n log w) for n records and w writes of a key, in practice a few memory reads a record.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "history.h"

namespace chaos {

struct Violation {
  std::string rule;
  Record record;     // the read (or write) that breaks it
  Record witness;    // the record that proves it; kind kNone when there is none
  std::string what;  // in words
};

struct Verdict {
  std::uint64_t checked = 0;  // records judged: reads with an answer, and writes
  std::uint64_t strong_reads = 0, bounded_reads = 0, local_reads = 0, other_reads = 0, refused_reads = 0,
                flagged_reads = 0;
  std::uint64_t reads_unplaced = 0;  // their write has no known version, so only its existence was checked
  std::uint64_t in_process_reads = 0, token_reads = 0, absent_reads = 0, final_reads = 0;
  std::uint64_t writes_acknowledged = 0, writes_unknown = 0, writes_refused = 0;
  std::uint64_t finals_undecided = 0;  // keys with acknowledged writes that no final read could speak for
  std::uint64_t violations = 0;
  std::map<std::string, std::uint64_t> by_rule;
  std::vector<Violation> first;  // the first few of each rule
};

inline constexpr std::size_t kShownPerRule = 5;
inline constexpr std::uint32_t kKeysMax = 1u << 16;

Verdict judge(const std::vector<std::span<const Record>>& logs);

// Searches for an order of a small history of one register that explains it (Wing & Gong, with the states already seen
// remembered). Knows nothing of sorting by version beyond "a write installs its version, which must be newer; a read
// shows the one in force". At most 60 records; every write has a version, an open end means that it may never have
// happened.
bool linearizable(std::span<const Record> history);

}  // namespace chaos
