// Many keys under one look at the proofs (F5): beside read_in_order, which does the same for one key.
#include "protocol/read_many.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"

namespace tidelock {
namespace {

struct Page {
  Nanos suspended = 0, dropped = kNever, behind = kSecond, fresh = 0, lease = 0;
  Index last_applied{100};
  bool gone = false;
  std::uint64_t strong = 1, verified = 1;
  std::uint64_t word = 5;
  Nanos suspended_ns() const { return suspended; }
  Nanos proofs_from() const { return dropped; }
  Nanos behind_at() const { return behind; }
  Nanos fresh_at() const { return fresh; }
  Index applied() const { return last_applied; }
  Nanos lease_until() const { return lease; }
  bool revoked() const { return gone; }
  std::uint32_t rho_ppm() const { return 200; }
  std::uint64_t strong_epoch() const { return strong; }
  std::uint64_t verified_epoch() const { return verified; }
  std::uint64_t slot_word(std::uint16_t) const { return word; }
};
struct Reading {
  Nanos earliest = 0, latest = 0, suspended_ns = 0;
};
struct Clock {
  Nanos* at;
  Reading now() const { return {*at, *at, 0}; }
  Reading past() const { return now(); }
};
struct Values {
  static constexpr int kTiers = 2;
  Candidate tiers[2];
  Candidate lookup(int tier, std::uint64_t) const { return tiers[tier]; }
  Source source(int tier) const { return tier == 0 ? Source::kL1 : Source::kArena; }
};

// When no time passes both say the same, whatever page, value, policy and contract are; when some passes, the bound
// counts it.
TEST(ReadMany, SaysWhatReadingOneByOneSaysAndCountsTheTime) {
  for (std::uint64_t seed = 1; seed <= 20'000; ++seed) {
    Rng rng(seed);
    Nanos time = 10 * kSecond;
    Page page;
    page.fresh = time - static_cast<Nanos>(rng.below(8)) * kSecond;
    page.lease = time + (rng.one_in(2) ? kSecond : -kSecond);
    page.gone = rng.one_in(10);
    page.dropped = rng.one_in(4) ? time - static_cast<Nanos>(rng.below(8)) * kSecond : kNever;
    page.suspended = rng.one_in(10) ? kSecond : 0;
    page.word = 5 | (rng.one_in(4) ? 1ull << 56 : 0);
    page.strong = 1 + rng.below(2);
    page.verified = page.strong + rng.below(2);
    Values values;
    for (int tier = 0; tier < 2; ++tier) {
      Candidate& candidate = values.tiers[tier];
      candidate.state = rng.one_in(5)   ? Candidate::State::kNone
                        : rng.one_in(8) ? Candidate::State::kBusy
                                        : Candidate::State::kFound;
      candidate.negative = rng.one_in(8);
      candidate.local = rng.one_in(5);
      candidate.version = Index{rng.below(200)};
      candidate.epoch = rng.below(4);
      candidate.proven_at = rng.one_in(2) ? kNever : time - static_cast<Nanos>(rng.below(5)) * kSecond;
      candidate.expires_at = rng.one_in(4) ? time + static_cast<Nanos>(rng.below(3)) - 1 : kForever;
      candidate.slot_checked = tier == 0;
      candidate.slot_version = 4 + rng.below(2);
    }
    ReadPolicy policy;
    policy.scope = rng.one_in(4) ? Scope::kGateway : Scope::kRegion;
    policy.write_mode = rng.one_in(2) ? WriteMode::kBehind : WriteMode::kThrough;
    policy.consistency = rng.one_in(2) ? Consistency::kStrong : Consistency::kBounded;
    policy.bound_ns = static_cast<Nanos>(rng.below(6)) * kSecond;
    Contract wish;
    if (rng.one_in(3)) wish.token = Index{rng.below(200)};
    if (rng.one_in(3)) wish.consistency = Consistency::kEventual;
    const ReadContract contract = resolve(wish, policy);

    const Clock clock{&time};
    const ReadOutcome one = read_in_order(page, clock, values, 0, policy, contract);
    const ProvenOnce<Page, Clock> proven(page, clock);
    page.fresh = time;  // what comes later changes nothing
    page.lease = time + 100 * kSecond;
    ReadOutcome many;
    proven.read(values, 0, policy, contract, many);
    proven.age(many, clock.now(), policy, contract);
    ASSERT_EQ(must_ask_name(many.must_ask), must_ask_name(one.must_ask)) << "seed " << seed;
    ASSERT_EQ(many.receipt, one.receipt) << "seed " << seed;
    ASSERT_EQ(many.found, one.found) << "seed " << seed;
    ASSERT_EQ(many.negative, one.negative) << "seed " << seed;

    const Nanos waited = kSecond / 2;
    time += waited;
    ReadOutcome late;
    proven.read(values, 0, policy, contract, late);
    proven.age(late, clock.now(), policy, contract);
    if (!late.found && !late.negative) continue;
    ASSERT_LT(time, late.expires_at) << "seed " << seed;  // C5
    if (one.receipt.bound_ns == kForever) {
      ASSERT_EQ(late.receipt.bound_ns, kForever) << "seed " << seed;
      continue;
    }
    ASSERT_GE(late.receipt.bound_ns, one.receipt.bound_ns + stretch(waited, 200) - 2) << "seed " << seed;  // F6
    if (late.must_ask == MustAsk::kNo && contract.consistency == Consistency::kBounded &&
        policy.scope == Scope::kRegion) {
      ASSERT_LE(late.receipt.bound_ns, contract.bound_ns) << "seed " << seed;  // F3
    }
  }
}

TEST(ReadMany, TheOutcomeOfAllIsTheWorstOfEach) {
  const auto outcome = [](std::uint64_t version, Nanos bound, Basis basis, MustAsk must_ask) {
    ReadOutcome one;
    one.found = true;
    one.must_ask = must_ask;
    one.receipt.version = Index{version};
    one.receipt.bound_ns = bound;
    one.receipt.basis = basis;
    one.receipt.source = Source::kL1;
    return one;
  };
  std::vector<ReadOutcome> outcomes = {outcome(3, 10, Basis::kLease, MustAsk::kNo),
                                       outcome(9, 5, Basis::kProof, MustAsk::kNo)};
  ReadOutcome all = outcome_of_all(outcomes);
  EXPECT_TRUE(all.found);
  EXPECT_EQ(all.receipt.version, Index{9});
  EXPECT_EQ(all.receipt.bound_ns, 10);
  EXPECT_EQ(all.receipt.basis, Basis::kProof);
  outcomes.push_back(outcome(1, kForever, Basis::kNone, MustAsk::kTooOld));
  all = outcome_of_all(outcomes);
  EXPECT_FALSE(all.found);
  EXPECT_EQ(all.must_ask, MustAsk::kTooOld);
  EXPECT_EQ(all.receipt.bound_ns, kForever);
  EXPECT_EQ(all.receipt.basis, Basis::kNone);
}

}  // namespace
}  // namespace tidelock
