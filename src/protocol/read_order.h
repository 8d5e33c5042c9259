// F5: the one order in which a reader looks at its page, its clock and its values, for the library and for whoever
// reads beside the edge. Pure: page, clock and values are template parameters, so the simulator and a table can stop a
// reader between any two loads.
//
// The order and why each place in it matters:
//   1. `suspended_ns`, then `behind_at`, `fresh_at`, `applied` (acquire). Before anything the proof speaks of: a value
//      looked up first could be replaced, and the newer proof would then vouch for the older value. `suspended_ns`
//      first of all: a proof or lease seen after it is of that clock epoch or a later one (C2).
//   2. Lease, page state, the slot word (blocks and version in one load) and the epochs. The lease comes first of them:
//      whoever sees a new lease sees the blocks that were shown before it was granted (S1). The epochs come last: a
//      session that missed a record raises them first and closes its block after (F11).
//   3. The value with its version. After the blocks: a value read before the test could be replaced, its block shown
//      and closed, and the test would find nothing (I5).
//      Behind it `proofs_from`: who sees an entry of the time before proofs were dropped (C2, C3) may see that too.
//   4. The clock. U counts to the end of the read, so that a pause anywhere inside is counted (F6). A lease that lives
//      now lived when the blocks were looked at: a pause in between can only make it look lapsed.
//
// What a lease vouches for was the newest when the blocks were looked at, and U counts from an instant before that:
// what this thread's clock said last, when that was at most kPastMost ago; else the read is done once more, and counts
// from the end of the first try. So whoever reads often looks at one clock a read.
//
// An entry of L1 keeps the slot version that was loaded before its value was asked for. It is used iff the slot version
// in the page is the same; it is proven iff its epoch is not below the page's (F8).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/mutant.h"
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
  Nanos bound_ns = 0;
  Nanos bound_floor_ns = 0;
};
inline ReadPolicy read_policy(const Namespace& ns) {
  return {ns.consistency, ns.scope, ns.write_mode, ns.bound_ns, ns.bound_floor_ns};
}
// A Contract with the namespace's defaults filled in.
struct ReadContract {
  Consistency consistency = Consistency::kEventual;
  Nanos bound_ns = kForever;
  Index token;
};
constexpr ReadContract resolve(const Contract& contract, const ReadPolicy& policy) {
  ReadContract resolved;
  resolved.consistency = contract.consistency.value_or(contract.bound_ns ? Consistency::kBounded : policy.consistency);
  if (resolved.consistency == Consistency::kBounded) {
    const Nanos asked = contract.bound_ns.value_or(policy.bound_ns);
    resolved.bound_ns = asked > policy.bound_floor_ns ? asked : policy.bound_floor_ns;
  }
  resolved.token = contract.token;
  return resolved;
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

// The instant from which a leased value's U may count lies at most this far back. (The interval within which HotClock
// knows the time takes up to 0.2 ms of it.)
inline constexpr Nanos kPastMost = 300 * kMicrosecond;

// Page:   fresh_at() behind_at() lease_until() applied() verified_epoch() strong_epoch() suspended_ns() revoked()
//         rho_ppm() proofs_from() slot_word(slot); each an acquire load. (memory/page.h: PageView)
// Clock:  now() -> a thing with earliest, latest, suspended_ns; past() -> the same of an instant that is over, at no
//         cost: when this thread looked last. (base/elapsed_clock.h: HotClock)
// Values: lookup(tier, slot_word) -> Candidate, for tiers 0, 1, ... below kTiers, with source(tier); copies the value
// to
//         the caller. (memory/local_reader.h)
// `outcome` is written where it stays: to copy what was just stored in pieces, the processor waits for the stores.
template <class Page, class Clock, class Values>
void read_in_order(const Page& page, const Clock& clock, Values& values, std::uint16_t slot, const ReadPolicy& policy,
                   const ReadContract& contract, ReadOutcome& outcome) {
  using Reading = decltype(clock.now());
  const bool strong = policy.consistency == Consistency::kStrong;
  const bool here_is_truth = policy.scope != Scope::kRegion;  // this gateway's writes are all there are
  Reading past{};
  if (strong || here_is_truth) past = clock.past();
  for (bool again = false;; again = true) {
    // 1. what is proven
    const Nanos suspended_ns = page.suspended_ns();
    const Nanos behind_at = page.behind_at();
    const Nanos fresh_at = page.fresh_at();
    const Index applied = page.applied();
    const Reading too_early = TIDELOCK_MUTANT(kBoundFromFirstClock) ? clock.now() : Reading{};
    // 2. lease, blocks, epochs
    const Nanos lease_until = page.lease_until();
    const bool revoked = page.revoked();
    const std::uint32_t rho_ppm = page.rho_ppm();
    const std::uint64_t word = page.slot_word(slot);
    const std::uint64_t epoch = strong ? page.strong_epoch() : page.verified_epoch();

    outcome = ReadOutcome{};
    if (revoked) {  // F11: what this page says is over, its slot versions included
      outcome.must_ask = MustAsk::kDetached;
      return;
    }
    bool once_more = false;
    Nanos told_at = kNever;  // when the bound in `outcome` was counted
    for (int tier = 0; tier < Values::kTiers; ++tier) {
      // 3. the value
      const Candidate candidate = values.lookup(tier, word);
      if (candidate.state == Candidate::State::kNone) continue;
      outcome = ReadOutcome{};  // the caller's buffer no longer holds what an earlier tier put there
      if (candidate.state == Candidate::State::kBusy) {
        outcome.must_ask = MustAsk::kBusy;
        continue;
      }
      if (candidate.slot_checked && candidate.slot_version != slot_version(word)) continue;  // F5: invalidated
      const bool dropped = candidate.proven_at < page.proofs_from() && !TIDELOCK_MUTANT(kDroppedProofsCount);
      const Nanos own_proof = dropped ? kNever : candidate.proven_at;  // C2, C3
      // 4. the clock
      const Reading now = clock.now();
      if (now.latest >= candidate.expires_at) continue;  // C5
      told_at = now.latest;

      const Nanos slept_ns = saturating_sub(now.suspended_ns, suspended_ns);
      const bool clock_sound = slept_ns < kMillisecond && slept_ns > -kMillisecond;  // C2
      const std::uint32_t blocks = slot_blocks(TIDELOCK_MUTANT(kValueBeforeBlocks) ? page.slot_word(slot) : word);
      const bool covered = candidate.epoch != 0 && candidate.epoch >= epoch;  // F8
      const bool leased =
          clock_sound && strong && now.latest < lease_until && blocks == 0 && covered && !candidate.local;  // F4
      outcome.found = !candidate.negative;
      outcome.negative = candidate.negative;
      outcome.expires_at = candidate.expires_at;
      outcome.value_bytes = candidate.value_bytes;
      outcome.receipt.version = candidate.version;
      outcome.receipt.source = values.source(tier);

      Nanos bound = kForever;
      if (clock_sound) {
        // F3. A proven fetch vouches for its value as a mark does for all, whatever became of the session since.
        const Nanos proven = TIDELOCK_MUTANT(kFreshAfterValue) ? page.fresh_at() : fresh_at;
        const Nanos since = covered && proven > own_proof ? proven : own_proof;
        bound = staleness_bound(TIDELOCK_MUTANT(kBoundFromFirstClock) ? too_early.latest : now.latest, since,
                                TIDELOCK_MUTANT(kBoundIgnoresDrift) ? 0 : rho_ppm);
      }
      if (leased || here_is_truth) {  // the newest when the blocks were looked at; all since then is counted (F6)
        const Nanos passed = saturating_sub(now.latest, past.earliest);
        if (passed > kPastMost && !again) {
          past = now;
          once_more = true;
          break;
        }
        bound = std::min(bound, TIDELOCK_MUTANT(kLeasedBoundIsZero) ? 0 : stretch(passed, rho_ppm));
      }
      outcome.receipt.bound_ns = bound;
      if (policy.write_mode == WriteMode::kBehind && !here_is_truth) {
        // `behind_at` was loaded before `fresh_at`: the difference is never less than what belongs to this proof.
        outcome.receipt.writers_ns = behind_at == kNever ? kForever : saturating_sub(fresh_at, behind_at);
      }

      if (here_is_truth) {
        outcome.must_ask = MustAsk::kNo;
        outcome.receipt.basis = Basis::kLocal;
        return;
      }
      outcome.receipt.basis = candidate.local     ? Basis::kLocal
                              : leased            ? Basis::kLease
                              : bound != kForever ? Basis::kProof
                                                  : Basis::kNone;
      // F10: `applied` speaks of covered entries only: an unverified one may be older than that.
      if (!TIDELOCK_MUTANT(kTokenIgnored) && (contract.token > applied || !covered) && contract.token.value != 0 &&
          (candidate.local || contract.token > candidate.version)) {
        outcome.must_ask = MustAsk::kToken;
        continue;
      }
      switch (contract.consistency) {
        case Consistency::kStrong:
          if (leased) {
            outcome.must_ask = MustAsk::kNo;
            return;
          }
          outcome.must_ask = !strong                     ? MustAsk::kNotStrong
                             : !clock_sound              ? MustAsk::kClock
                             : now.latest >= lease_until ? MustAsk::kNoLease
                             : blocks != 0               ? MustAsk::kBlocked
                                                         : MustAsk::kUnverified;
          break;
        case Consistency::kBounded:
          if (bound != kForever && bound <= contract.bound_ns) {
            outcome.must_ask = MustAsk::kNo;
            return;
          }
          outcome.must_ask = !clock_sound ? MustAsk::kClock : covered ? MustAsk::kTooOld : MustAsk::kUnverified;
          break;
        case Consistency::kEventual:
          if (outcome.receipt.basis != Basis::kLocal) outcome.receipt.basis = Basis::kEventual;
          outcome.must_ask = MustAsk::kNo;
          return;
      }
    }
    if (once_more) continue;
    // F6: what is left to fall back on came from one tier, and then others were looked at: that time counts as well.
    if (outcome.receipt.bound_ns != kForever && told_at != kNever && !TIDELOCK_MUTANT(kFallbackNotAged)) {
      const Nanos passed = saturating_sub(clock.now().latest, told_at);
      outcome.receipt.bound_ns = saturating_add(outcome.receipt.bound_ns, stretch(passed, rho_ppm));
    }
    return;
  }
}

template <class Page, class Clock, class Values>
ReadOutcome read_in_order(const Page& page, const Clock& clock, Values& values, std::uint16_t slot,
                          const ReadPolicy& policy, const ReadContract& contract) {
  ReadOutcome outcome;
  read_in_order(page, clock, values, slot, policy, contract, outcome);
  return outcome;
}

// S4: several strong keys at one index. Lease and blocks of all keys first; then all values inside one even, unchanged
// generation of every namespace touched; no version above `applied`, which is loaded *before* the values: an entry may
// be ahead of the feed (F7), and its fellows must have been applied when they were read.
struct SnapshotKey {
  std::uint16_t slot = 0;
  std::uint16_t ns = 0;
  Consistency consistency = Consistency::kStrong;
};
inline constexpr int kSnapshotTries = 8;

// Page also needs generation(ns). `values_at(i)` gives the Values of key i. Fills `outcomes[i]` for each key; returns
// the outcome of the group: highest version, largest bound, and why the snapshot must be taken elsewhere.
template <class Page, class Clock, class ValuesAt>
ReadOutcome snapshot_in_order(const Page& page, const Clock& clock, ValuesAt&& values_at,
                              std::span<const SnapshotKey> keys, std::span<ReadOutcome> outcomes) {
  ReadOutcome group;
  for (int tries = 0; tries < kSnapshotTries; ++tries) {
    group = ReadOutcome{};
    const Nanos suspended_ns = page.suspended_ns();
    const Index applied = page.applied();
    const auto before = clock.now();
    const Nanos lease_until = page.lease_until();
    const std::uint32_t rho_ppm = page.rho_ppm();
    const Nanos slept_ns = saturating_sub(before.suspended_ns, suspended_ns);
    group.must_ask = page.revoked()                                          ? MustAsk::kDetached
                     : slept_ns >= kMillisecond || slept_ns <= -kMillisecond ? MustAsk::kClock
                     : before.latest >= lease_until                          ? MustAsk::kNoLease
                                                                             : MustAsk::kNo;
    for (std::size_t i = 0; i < keys.size() && group.must_ask == MustAsk::kNo; ++i) {
      if (keys[i].consistency != Consistency::kStrong) group.must_ask = MustAsk::kNotStrong;
      if (slot_blocks(page.slot_word(keys[i].slot)) != 0 && !TIDELOCK_MUTANT(kSnapshotIgnoresBlocks))
        group.must_ask = MustAsk::kBlocked;
    }
    if (group.must_ask != MustAsk::kNo) return group;
    const std::uint64_t epoch = page.strong_epoch();  // behind the blocks, as in a single read

    std::array<std::uint64_t, kNamespacesMax> generations{};
    bool writing = false;
    for (const SnapshotKey& key : keys) {
      generations[key.ns] = page.generation(key.ns);
      writing |= (generations[key.ns] & 1) != 0;
    }
    if (writing) {
      group.must_ask = MustAsk::kBusy;
      continue;
    }
    for (std::size_t i = 0; i < keys.size(); ++i) {
      auto&& values = values_at(i);
      // Loaded again, inside the generation: an entry of L1 is then of this generation too.
      const std::uint64_t word = page.slot_word(keys[i].slot);
      ReadOutcome& outcome = outcomes[i];
      outcome = ReadOutcome{};
      for (int tier = 0; tier < std::remove_cvref_t<decltype(values)>::kTiers; ++tier) {
        const Candidate candidate = values.lookup(tier, word);
        if (candidate.state == Candidate::State::kNone) continue;
        outcome = ReadOutcome{};
        if (candidate.state == Candidate::State::kBusy) {
          outcome.must_ask = MustAsk::kBusy;
          continue;
        }
        if (candidate.slot_checked && candidate.slot_version != slot_version(word)) continue;
        if (before.latest >= candidate.expires_at) continue;
        outcome.found = !candidate.negative;
        outcome.negative = candidate.negative;
        outcome.expires_at = candidate.expires_at;
        outcome.value_bytes = candidate.value_bytes;
        outcome.receipt.version = candidate.version;
        outcome.receipt.source = values.source(tier);
        outcome.receipt.basis = Basis::kLease;
        const bool covered = candidate.epoch != 0 && candidate.epoch >= epoch && !candidate.local;
        const bool ahead = candidate.version > applied && !TIDELOCK_MUTANT(kSnapshotMixed);
        outcome.must_ask = !covered ? MustAsk::kUnverified : ahead ? MustAsk::kToken : MustAsk::kNo;
        if (outcome.must_ask == MustAsk::kNo) break;
      }
      if (outcome.must_ask != MustAsk::kNo) group.must_ask = outcome.must_ask;
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    bool changed = false;
    for (const SnapshotKey& key : keys) changed |= page.generation(key.ns) != generations[key.ns];
    if (changed && !TIDELOCK_MUTANT(kSnapshotMixed)) {
      group.must_ask = MustAsk::kBusy;
      continue;
    }
    const Nanos bound = stretch(saturating_sub(clock.now().latest, before.earliest), rho_ppm);
    group.found = group.must_ask == MustAsk::kNo;
    group.receipt.basis = group.found ? Basis::kLease : Basis::kNone;
    group.receipt.bound_ns = group.found ? bound : kForever;
    for (ReadOutcome& outcome : outcomes.first(keys.size())) {
      outcome.receipt.bound_ns = group.receipt.bound_ns;
      if (outcome.receipt.version > group.receipt.version) group.receipt.version = outcome.receipt.version;
    }
    return group;
  }
  return group;
}

}  // namespace tidelock
