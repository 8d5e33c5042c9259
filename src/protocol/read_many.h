// F5 for many keys at once: one look at the proofs and one at the clock before all values, one at the clock after them.
//
// Each key is read by read_in_order over a page that says what it said in the beginning, and with a clock that stands
// still; then all of it is aged by the time that really passed. What is proven and the lease are loaded before any
// value, as F5 wants, and slot words and blocks still one by one, before the value of their key. U of each value only
// grows by that: it counts to the end of the last read, and its drift is rounded up twice.
#pragma once

#include <span>

#include "protocol/read_order.h"

namespace tidelock {

// Page and Clock as in read_order.h. A page to read_in_order whose proofs are those of the moment it was made.
template <class Page, class Clock>
class ProvenOnce {
 public:
  using Reading = decltype(std::declval<const Clock&>().now());
  class StoppedClock {
   public:
    explicit StoppedClock(const Reading& at) : at_(at) {}
    Reading now() const { return at_; }
    Reading past() const { return at_; }

   private:
    Reading at_;
  };

  // F5: in its order.
  ProvenOnce(const Page& page, const Clock& clock)
      : page_(page),
        suspended_ns_(page.suspended_ns()),
        behind_at_(page.behind_at()),
        fresh_at_(page.fresh_at()),
        applied_(page.applied()),
        before_(clock.now()),
        lease_until_(page.lease_until()),
        revoked_(page.revoked()),
        rho_ppm_(page.rho_ppm()) {}

  Nanos suspended_ns() const { return suspended_ns_; }
  Nanos behind_at() const { return behind_at_; }
  Nanos fresh_at() const { return fresh_at_; }
  Index applied() const { return applied_; }
  Nanos lease_until() const { return lease_until_; }
  bool revoked() const { return revoked_; }
  std::uint32_t rho_ppm() const { return rho_ppm_; }
  // Not kept: each key's epoch is looked at behind its blocks.
  std::uint64_t strong_epoch() const { return page_.strong_epoch(); }
  std::uint64_t verified_epoch() const { return page_.verified_epoch(); }
  std::uint64_t slot_word(std::uint16_t slot) const { return page_.slot_word(slot); }
  Nanos proofs_from() const { return page_.proofs_from(); }

  template <class Values>
  void read(Values& values, std::uint16_t slot, const ReadPolicy& policy, const ReadContract& contract,
            ReadOutcome& outcome) const {
    read_in_order(*this, StoppedClock(before_), values, slot, policy, contract, outcome);
  }
  // `after`: the clock when the last value was read.
  void age(ReadOutcome& outcome, const Reading& after, const ReadPolicy& policy, const ReadContract& contract) const {
    if (!outcome.found && !outcome.negative) return;
    if (after.latest >= outcome.expires_at) {  // C5
      outcome = ReadOutcome{};
      return;
    }
    if (outcome.receipt.bound_ns == kForever) return;
    const Nanos passed = saturating_sub(after.latest, before_.latest);
    outcome.receipt.bound_ns = saturating_add(outcome.receipt.bound_ns, stretch(passed, rho_ppm_));  // F6
    if (outcome.must_ask == MustAsk::kNo && policy.scope == Scope::kRegion &&
        contract.consistency == Consistency::kBounded && outcome.receipt.bound_ns > contract.bound_ns) {
      outcome.must_ask = MustAsk::kTooOld;  // F3
    }
  }

 private:
  const Page& page_;
  const Nanos suspended_ns_, behind_at_, fresh_at_;
  const Index applied_;
  const Reading before_;
  const Nanos lease_until_;
  const bool revoked_;
  const std::uint32_t rho_ppm_;
};

// One outcome for all: every value was the newest at most its bound ago. must_ask is that of the first key that says
// one; the basis is the weakest; the version the highest; found when no key has to be asked for.
ReadOutcome outcome_of_all(std::span<const ReadOutcome> outcomes);

}  // namespace tidelock
