// What the oracles are told: plain records in the words of DESIGN 3, without a type of the product. Whoever records
// them translates (sim/translate.h); nothing here knows what the product made of them.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/time.h"

namespace tidelock::oracle {

struct Stamp {  // of a write-behind record; all zero: none
  std::uint64_t wall_ms = 0;
  std::uint32_t counter = 0;
  std::uint64_t writer = 0;
  friend constexpr auto operator<=>(const Stamp&, const Stamp&) = default;
};

enum class When : std::uint8_t { kAlways, kAbsent, kPresent, kVersionIs, kAbsentOrSame, kVersionStays };

struct Write {
  std::string key;
  std::optional<Bytes> value;  // nullopt deletes
  Nanos ttl_ns = 0;            // 0: lives until deleted
  bool keep_ttl = false;
  When when = When::kAlways;
  Index expected;          // kVersionIs, kVersionStays; 0: absent
  std::string names = {};  // M7: "MODEL VERSION" that this pointer puts in force or stages; empty: it is none
};

struct BehindRecord {
  std::string key;
  std::optional<Bytes> value;
  Stamp stamp;
  Nanos ttl_ns = 0;
};

// What a namespace means for these rules; the longest prefix that matches counts.
struct Policy {
  std::string prefix;
  bool strong = false;
  bool behind = false;  // written behind, for the whole region
};

// One entry of the ledger.
struct Entry {
  struct Claim {
    NodeId hub;
  };
  struct Beacon {};
  struct Put {
    std::vector<Write> writes;
  };
  struct Abort {
    CommandId target;
  };
  struct Register {
    NodeId edge;
  };
  struct Remove {
    NodeId edge;
  };
  struct Lease {
    bool use_short = false;
  };
  struct Seed {
    std::uint32_t rho_ppm = 200;
    std::vector<Policy> policies;
    Nanos lease_long_ns = 0, lease_short_ns = 0;
  };
  struct Raise {
    std::uint32_t version = 1;
  };
  struct Recall {       // M7
    std::string what;   // "MODEL VERSION"
    bool sound = true;  // names and reason are within their limits
  };
  struct Certify {
    std::string what;
    std::vector<Write> writes;
  };
  struct Batch {
    NodeId edge;
    std::uint64_t incarnation = 0;
    std::uint64_t number = 0;
    std::vector<BehindRecord> records;
  };
  CommandId id;
  Term term;  // 0 of a claim
  Nanos ledger_time = 0;
  std::variant<Claim, Beacon, Put, Abort, Register, Remove, Lease, Seed, Batch, Raise, Recall, Certify> body;
};

using PageNo = Number<struct PageTag>;  // one boot of an edge: its page, living or orphaned

// What a reader was told.
struct Told {
  std::string where;
  std::string key;
  std::optional<Bytes> value;  // nullopt: "there is no such key"
  Index version;
  Nanos bound_ns = kForever;        // U
  bool local = false;               // an own write that is not sequenced
  bool strong = false;              // the contract was strong and it was met
  Nanos bound_asked_ns = kForever;  // of a bounded contract that was met
  Index token;                      // F10; 0: none was given, or the answer is a flagged fallback
  Index floor;                      // Judge::floor(key) when the read began (I1)
  Nanos looked_at = 0;              // the last look at a clock: until then an expiry must be obeyed
  Nanos ended_at = 0;
  // Of a read served under a lease: the page, and when lease and blocks were tested (I5).
  PageNo page;
  Nanos tested_at = 0;
};

// S4: what a snapshot said of one key.
struct Member {
  std::string key;
  bool found = false;
  Index version;
  Index floor;  // when the snapshot began
};

// I10: what is left when all was mended and some quiet time has passed.
struct HubAtRest {
  std::string who;
  bool active = false;
  Index applied;
  std::size_t open_blocks = 0;
};
struct EdgeAtRest {
  std::string who;
  bool session = false, lease = false;
  Index applied;
  std::size_t open_blocks = 0, pending_records = 0;
};

}  // namespace tidelock::oracle
