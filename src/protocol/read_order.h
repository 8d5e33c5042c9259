// F5: the one order in which a reader looks at its page, its clock and its values, for the library and for whoever
// reads beside the edge. Pure: page, clock and values are template parameters, so the simulator and a table can stop a
// reader between any two loads.
//
// The order and why each place in it matters:
//   1. `behind_at`, `fresh_at`, `applied` (acquire). Before anything the proof speaks of: a value looked up first could
//   be
//      replaced, and the newer proof would then vouch for the older value.
//   2. The clock (t1). Before the lease test: a clock read after it would judge a lease that lapsed during a pause.
//   3. Lease, page state, epochs and the slot word (blocks and version in one load). The lease comes first of them:
//   whoever
//      sees a new lease sees the blocks that were shown before it was granted (S1).
//   4. The value with its version. After the blocks: a value read before the test could be replaced, its block shown
//   and
//      closed, and the test would find nothing (I5).
//   5. The clock again (t2). U counts to the end of the read, so that a pause anywhere inside is counted (F6).
//
// An entry of L1 keeps the slot version that was loaded before its value was asked for. It is used iff the slot version
// in the page is the same; it is proven iff its epoch is not below the page's (F8).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/time.h"
#include "protocol/policy.h"
#include "protocol/receipt.h"

namespace tidelock {

// ---- slots
inline constexpr std::size_t kSlots = 65'536;
constexpr std::uint16_t slot_of_hash(std::uint64_t hash) { return static_cast<std::uint16_t>(hash & 0xFFFF); }
inline std::uint16_t slot_of(BytesView key) { return slot_of_hash(hash64(key)); }

// A slot word: 8 bits that count open blocks (saturating), 56 bits of version.
inline constexpr std::uint64_t kSlotVersionMask = (1ull << 56) - 1;
constexpr std::uint64_t slot_version(std::uint64_t word) { return word & kSlotVersionMask; }
constexpr std::uint32_t slot_blocks(std::uint64_t word) { return static_cast<std::uint32_t>(word >> 56); }

// ---- what is read
// A copy of a value as some tier holds it.
struct Candidate {
  enum class State : std::uint8_t {
    kNone,   // this tier does not hold the key
    kBusy,   // the writer was faster than this reader, several times over
    kFound,  // `value_bytes` were copied to the caller, or `negative`
  };
  State state = State::kNone;
  bool negative = false;  // known to be absent
  bool local = false;     // an own write that is not sequenced (yet)
  Index version;
  std::uint64_t epoch = 0;   // in which it was verified; 0 = never (F8)
  Nanos proven_at = kNever;  // it was the newest sequenced value at this instant
  Nanos expires_at = kForever;
  std::uint64_t slot_version = 0;  // with `slot_checked`: loaded before the value was asked for
  bool slot_checked = false;       // L1
  std::size_t value_bytes = 0;
};

// What of the key's namespace decides a read.
struct ReadPolicy {
  Consistency consistency = Consistency::kEventual;
  Scope scope = Scope::kGateway;
  WriteMode write_mode = WriteMode::kLocal;
};
// A Contract with the namespace's defaults filled in.
struct ReadContract {
  Consistency consistency = Consistency::kEventual;
  Nanos bound_ns = 0;
  Index token;
};
constexpr ReadContract resolve(const Contract& contract, Consistency consistency, Nanos bound_ns) {
  return {contract.consistency.value_or(consistency), contract.bound_ns.value_or(bound_ns), contract.token};
}

// Why a read cannot be answered from memory; the edge must be asked.
enum class MustAsk : std::uint8_t {
  kNo,
  kMiss,        // no tier holds the key, or it expired
  kBusy,        // see Candidate::State::kBusy
  kDetached,    // no page, or its edge was replaced
  kClock,       // this machine slept since the edge's proofs were made (C2)
  kToken,       // the edge has not applied the session token (F10)
  kNotStrong,   // a strong read of a key that no lease covers
  kNoLease,     // F4
  kBlocked,     // S2
  kUnverified,  // F8
  kTooOld,      // F3: U is above the bound
  kInvalidKey,
};
std::string_view must_ask_name(MustAsk reason);

// With must_ask != kNo the caller's buffer may still hold a value: `found` or `negative` with its true receipt, to fall
// back on, flagged, when the edge cannot be reached (F3).
struct ReadOutcome {
  MustAsk must_ask = MustAsk::kMiss;
  bool found = false;     // a value is in the caller's buffer
  bool negative = false;  // the key is known to be absent
  Nanos expires_at = kForever;
  std::size_t value_bytes = 0;
  Receipt receipt;
};

// Page:   fresh_at() behind_at() lease_until() applied() verified_epoch() strong_epoch() suspended_ns() revoked()
//         rho_ppm() slot_word(slot); each an acquire load. (memory/page.h: PageView)
// Clock:  now() -> a thing with earliest, latest, suspended_ns. (base/elapsed_clock.h: HotClock)
// Values: lookup(tier, slot_word) -> Candidate, for tiers 0, 1, ... below kTiers, with source(tier); copies the value
// to
//         the caller. (memory/local_reader.h)
template <class Page, class Clock, class Values>
ReadOutcome read_in_order(const Page& page, const Clock& clock, Values& values, std::uint16_t slot,
                          const ReadPolicy& policy, const ReadContract& contract);

}  // namespace tidelock

#include "protocol/read_order_impl.h"
