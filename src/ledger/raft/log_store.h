// LogStore keeps what Raft must never forget, in two families of a Kv: the current term and vote, the log entries, and
// which snapshot the log stands on.
//
// Threads:   one at a time (the ledger's thread).
// Durable:   commit returns after everything given to it is synced. All of it, or none, is there after a crash.
// Format:    kRaftLogFamily: key = index, big-endian 8 bytes; value = version byte, type, term, payload, crc32c over
// key
//            and value. kRaftStateFamily: "state" and "snapshot", each with a crc32c.
// Errors:    load answers kCorrupt for a bad checksum, a hole or a falling term, with the index and what to do. Nothing
// is
//            ever cut or repaired here on corruption (D2): a hub with a damaged log neither votes nor acknowledges
//            (D4).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "store/kv/kv.h"

namespace tidelock {

inline constexpr char kRaftLogFamily[] = "raft_log";
inline constexpr char kRaftStateFamily[] = "raft_state";

enum class RaftEntryType : std::uint8_t { kCommand = 1, kBarrier = 2, kChange = 3 };
constexpr RaftEntryType last_enumerator(RaftEntryType) { return RaftEntryType::kChange; }

struct RaftEntry {
  std::uint64_t term = 0;
  RaftEntryType type = RaftEntryType::kCommand;
  Bytes payload;

  template <class A>
  void fields(A& a) {
    a(term, type, payload);
  }
  friend bool operator==(const RaftEntry&, const RaftEntry&) = default;
};

struct RaftVote {
  std::uint64_t term = 0;
  std::uint64_t voted_for = 0;  // member number; 0 = nobody in this term

  template <class A>
  void fields(A& a) {
    a(term, voted_for);
  }
  friend bool operator==(const RaftVote&, const RaftVote&) = default;
};

// What a snapshot stands for. `configuration` is libraft's encoding of the members as of configuration_index.
struct RaftSnapshotMeta {
  std::uint64_t index = 0;
  std::uint64_t term = 0;
  std::uint64_t configuration_index = 0;
  Bytes configuration;
  std::string directory;  // name of the folder with the files, below the ledger's own; empty inside the pure driver

  template <class A>
  void fields(A& a) {
    a(index, term, configuration_index, configuration, directory);
  }
  friend bool operator==(const RaftSnapshotMeta&, const RaftSnapshotMeta&) = default;
};

// One change of the log: drop everything from `first` on, then put `entries` there.
struct RaftAppend {
  std::uint64_t first = 0;
  std::vector<RaftEntry> entries;
};

// What one synced commit makes durable, applied in the order of the members.
struct RaftPersist {
  std::optional<RaftVote> vote;
  std::vector<RaftAppend> appends;
  // A snapshot that this hub took itself: entries below `first_kept` are dropped.
  std::optional<RaftSnapshotMeta> snapshot;
  std::uint64_t first_kept = 0;
  // A snapshot installed from a leader: the whole log is dropped, the next entry is snapshot.index + 1.
  bool reset_log = false;

  bool empty() const { return !vote && appends.empty() && !snapshot && first_kept == 0 && !reset_log; }
};

struct RaftLoaded {
  RaftVote vote;
  std::optional<RaftSnapshotMeta> snapshot;
  std::uint64_t first_index = 1;  // of entries[0]
  std::vector<RaftEntry> entries;
  bool pristine() const { return vote.term == 0 && !snapshot && entries.empty(); }
};

class LogStore {
 public:
  // `kv` must have both families and outlive the store.
  explicit LogStore(Kv& kv) : kv_(kv) {}
  // Once, first. Reads and checks everything.
  Result<RaftLoaded> load();
  // Any error is final: the caller stops (D3).
  Result<void> commit(const RaftPersist& persist);

 private:
  Kv& kv_;
  std::uint64_t last_ = 0;  // highest index that may be in the log family
};

}  // namespace tidelock
