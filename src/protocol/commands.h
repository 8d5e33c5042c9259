// What is written into the ledger. Every command bears a term and an id (A1); the state machine ignores a command of
// another term, and an ignored command leaves no trace.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/time.h"
#include "protocol/policy.h"
#include "protocol/recall.h"

namespace tidelock {

// Hybrid logical clock (D, DESIGN 5): wall time of the writer in milliseconds with a counter, and the writer as
// tie-break.
struct Stamp {
  std::uint64_t wall_ms = 0;
  std::uint32_t counter = 0;
  std::uint64_t writer = 0;
  friend constexpr auto operator<=>(const Stamp&, const Stamp&) = default;
  template <class A>
  void fields(A& a) {
    a(wall_ms, counter, writer);
  }
};

enum class Condition : std::uint8_t {
  kNone,
  kAbsent,        // SET NX
  kPresent,       // SET XX
  kVersionIs,     // compare and set; expected = 0 demands absence
  kAbsentOrSame,  // immutable keys: the same content again is success, other content a conflict
  kVersionStays,  // as kVersionIs, and the key is not written: what was read of it holds when the others are written
};
constexpr Condition last_enumerator(Condition) { return Condition::kVersionStays; }

struct KeyWrite {
  std::string key;
  std::optional<Bytes> value;  // nullopt deletes
  Nanos ttl_ns = 0;            // 0 = lives until deleted
  bool keep_ttl = false;       // ttl_ns is ignored and the old expiry stays
  Condition condition = Condition::kNone;
  Index expected;  // kVersionIs, kVersionStays
  friend bool operator==(const KeyWrite&, const KeyWrite&) = default;
  template <class A>
  void fields(A& a) {
    a(key, value, ttl_ns, keep_ttl, condition, expected);
  }
};
constexpr bool only_asks(const KeyWrite& write) { return write.condition == Condition::kVersionStays; }

// S4: how much one write may be, so that it is one command of the ledger and one frame. Keys and values of one write
// count together, and 40 bytes for what else is said of a key. What a write only asks for it does not set as well.
inline constexpr std::size_t kWriteBytesMax = kValueBytesMax + (32u << 10);
inline Result<void> check_write_extent(const std::vector<KeyWrite>& writes) {
  if (writes.empty() || writes.size() > kKeysPerWriteMax) {
    return fail(Code::kInvalid, "a write has 1 to " + std::to_string(kKeysPerWriteMax) + " keys, this one has " +
                                    std::to_string(writes.size()));
  }
  std::size_t bytes = 0;
  for (const KeyWrite& write : writes) {
    bytes += write.key.size() + (write.value ? write.value->size() : 0) + 40;
    if (!only_asks(write)) continue;
    const auto named =
        std::count_if(writes.begin(), writes.end(), [&](const KeyWrite& one) { return one.key == write.key; });
    if (write.value || named > 1)
      return fail(Code::kInvalid, "key '" + write.key + "' is only asked for, so it cannot be set by the same write");
  }
  if (bytes <= kWriteBytesMax) return {};
  return fail(Code::kInvalid, "keys and values of one write are at most " + std::to_string(kWriteBytesMax) +
                                  " bytes together, these are " + std::to_string(bytes) + ": write them apart");
}

struct Claim {  // A1: its index is the term it opens
  NodeId hub;
  Boot boot;
  template <class A>
  void fields(A& a) {
    a(hub, boot);
  }
};
struct Beacon {  // A2
  template <class A>
  void fields(A&) {}
};
struct Put {  // S4: all keys at one index, or none when a condition fails
  std::vector<KeyWrite> writes;
  BlockNo block;  // S1: 0 when no strong key is touched
  template <class A>
  void fields(A& a) {
    a(writes, block);
  }
};
struct Abort {  // S1: once applied, `target` can no longer take effect
  CommandId target;
  BlockNo block;
  template <class A>
  void fields(A& a) {
    a(target, block);
  }
};
struct RegisterEdge {  // A6
  NodeId edge;
  std::string site;
  template <class A>
  void fields(A& a) {
    a(edge, site);
  }
};
struct RemoveEdge {  // A6
  NodeId edge;
  template <class A>
  void fields(A& a) {
    a(edge);
  }
};
struct SetLease {  // A5
  bool use_short = false;
  template <class A>
  void fields(A& a) {
    a(use_short);
  }
};
struct Seed {  // settings and namespaces of an empty cluster; ignored when the cluster has them already
  ClusterSettings settings;
  std::vector<Namespace> namespaces;
  Bytes model_key;  // public key (PEM) that manifests must be signed with; empty until the first is enrolled
  template <class A>
  void fields(A& a) {
    a(settings, namespaces, model_key);
  }
};
struct BatchRecord {
  std::string key;
  std::optional<Bytes> value;
  Stamp stamp;
  Nanos ttl_ns = 0;  // left when the batch was made; 0 = none
  friend bool operator==(const BatchRecord&, const BatchRecord&) = default;
  template <class A>
  void fields(A& a) {
    a(key, value, stamp, ttl_ns);
  }
};
struct Batch {  // D5: the same (edge, incarnation, number) counts once
  NodeId edge;
  std::uint64_t incarnation = 0;
  std::uint64_t number = 0;  // from 1, without holes
  std::vector<BatchRecord> records;
  template <class A>
  void fields(A& a) {
    a(edge, incarnation, number, records);
  }
};

// Which commands a ledger may hold. What came with a version is appended only once the ledger is at that version, which
// the active hub raises as soon as every hub reads it. 1: all above. 2: RaiseVersion, so a ledger without it is at 1;
// and a registration takes the floor of the others (G9). 3: rollouts, which are ordinary keys; but a hub that does not
// know of them would activate beside one (M5). 4: recalls (M7), kVersionStays (S4), and the number of its wave in each
// record of a rollout.
inline constexpr std::uint32_t kLedgerVersion = 4;
inline constexpr std::uint32_t kLedgerVersionRings = 3;
inline constexpr std::uint32_t kLedgerVersionRecalls = 4;
inline constexpr std::uint32_t kLedgerVersionStays = 4;
struct RaiseVersion {
  std::uint32_t version = 0;
  template <class A>
  void fields(A& a) {
    a(version);
  }
};

// M7: moves the pointers that still name a recalled version, all at this index, and certifies that nobody can use it as
// in force any more. Without writes when no pointer names it.
struct CertifyRecall {
  Put put;
  RecallCertificate certificate;
  template <class A>
  void fields(A& a) {
    a(put, certificate);
  }
};

struct Command {
  CommandId id;
  Term term;              // 0 for a claim
  Nanos ledger_time = 0;  // the active hub's ledger clock: expiries are judged by it, alike on every hub; never falls
  std::variant<Claim, Beacon, Put, Abort, RegisterEdge, RemoveEdge, SetLease, Seed, Batch, RaiseVersion, RecallVersion,
               CertifyRecall>
      body;
  template <class A>
  void fields(A& a) {
    a(id, term, ledger_time, body);
  }
};

// A value as the hubs keep it.
struct StoredValue {
  Index version;                // the index that wrote it
  std::optional<Bytes> value;   // nullopt: deleted (a tombstone of a write-behind key keeps its stamp)
  Nanos expires_at = kForever;  // ledger time
  Stamp stamp;                  // of a write-behind record; zero otherwise
  template <class A>
  void fields(A& a) {
    a(version, value, expires_at, stamp);
  }
};

}  // namespace tidelock
