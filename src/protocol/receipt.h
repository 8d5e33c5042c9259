// What a reader asks for and what it gets back with the value (DESIGN 3, F6).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/ids.h"
#include "base/time.h"
#include "protocol/policy.h"

namespace tidelock {

// The contract of one read. Unset fields come from the key's namespace.
struct Contract {
  std::optional<Consistency> consistency;
  std::optional<Nanos> bound_ns;     // kBounded
  std::optional<Nanos> deadline_ns;  // F3: 0 = answer at once, with a fallback if need be
  Index token;                       // F10: serve only a state that has applied this index

  friend bool operator==(const Contract&, const Contract&) = default;
};

enum class Basis : std::uint8_t {
  kNone,      // nothing proves an age: bound_ns is unbounded
  kLease,     // strong: no newer write was acknowledged when the lease was tested (F4)
  kProof,     // bounded: an answered probe or a proven fetch (F3)
  kEventual,  // served without a test; bound_ns is what happens to be provable
  kLocal,     // a write of this gateway that is not sequenced yet, or never will be (gateway scope)
};
enum class Source : std::uint8_t { kL1, kArena, kEdge, kHub };

struct Receipt {
  Index version;              // ledger index that wrote the value; of a local value: the edge's own count
  Nanos bound_ns = kForever;  // U: the value was the newest sequenced one at most this long before the read ended
  Nanos writers_ns = 0;       // write-behind namespaces: what live writers may still hold back; kForever: one is away
  Basis basis = Basis::kNone;
  Source source = Source::kEdge;
  bool fallback = false;  // F3: served although the contract could not be met; bound_ns is true all the same

  friend bool operator==(const Receipt&, const Receipt&) = default;
};

std::string_view basis_name(Basis basis);  // "lease", "proof", ...
std::string_view source_name(Source source);

}  // namespace tidelock
