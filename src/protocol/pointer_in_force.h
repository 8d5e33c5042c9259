// Which version of a model is in force on one gateway (M5): what its ring's pointer says, and for whoever is in no ring
// what the pointer of all the others says.
//
// Order:   the ring's pointer is read first. Every write that changes the other one leaves the ring without members
//          (hub_rollouts.cc). So a gateway that was no member at the first read follows, at the second, what was in
//          force for it at some instant between the two: either the other pointer did not change since, or the write
//          that changed it put it in force for all. The other order would let a reader that is stopped in between take
//          a version that the ring has never followed.
// Unknown: a read of the ring's pointer that failed answers with no pointer at all, rather than with that of the rest.
// Cost:    two reads, one for a member.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/mutant.h"
#include "codec/archive.h"
#include "protocol/receipt.h"
#include "protocol/rollout.h"

namespace tidelock {

struct PointerRead {
  bool proven = false;  // read under the strong contract; an absence may be proven as well
  bool found = false;
  bool absent = false;  // known to be absent, though it may not be proven; a read that failed is neither
  Bytes value;
  Receipt receipt;
};
struct PointerInForce {
  bool proven = false;
  std::optional<ModelPointer> pointer;  // without `proven`: what was found
  bool ring_unknown = false;            // whether this gateway went ahead cannot be told: then there is no pointer
  Receipt receipt;                      // of the pointer that counts
};

// `read(key)` answers with a PointerRead. `edge` is the name of this gateway; empty while nobody has told it.
template <class Read>
PointerInForce pointer_in_force(const std::string& ring_key, const std::string& rest_key, const NodeId& edge,
                                Read&& read) {
  std::optional<PointerRead> early;
  if (TIDELOCK_MUTANT(kRingReadLast)) early = read(rest_key);
  PointerRead ring = read(ring_key);
  PointerInForce answer;
  answer.proven = ring.proven;
  if (!ring.found && !ring.proven && !ring.absent) answer.ring_unknown = true;
  if (ring.found) {
    auto decoded = decode<RingPointer>(ring.value, "ring pointer");
    if (!decoded || (edge.empty() && !decoded->members.empty())) {
      answer.proven = false;
      answer.ring_unknown = true;
    } else if (decoded->has(edge)) {
      answer.pointer = std::move(decoded->pointer);
      answer.receipt = ring.receipt;
      return answer;
    }
  }
  if (answer.ring_unknown) return answer;  // what the rest runs may be what this gateway has left behind (M6)
  PointerRead rest = early ? std::move(*early) : read(rest_key);
  answer.proven = answer.proven && rest.proven;
  answer.receipt = rest.receipt;
  answer.receipt.bound_ns = std::max(rest.receipt.bound_ns, ring.receipt.bound_ns);
  if (rest.found) {
    if (auto decoded = decode<ModelPointer>(rest.value, "model pointer")) answer.pointer = std::move(*decoded);
  }
  return answer;
}

}  // namespace tidelock
