// The reader of F5 against every interleaving with a writer. A story is what hub and edge do, step by step; a schedule
// says before which load of the reader each step falls, so "paused between any two loads" is every schedule there is.
// The truth is kept beside it: what was acknowledged when. A lie is a strong read older than a write acknowledged
// before it began (I1), or a bound below the true staleness (I2). Then the same with planted wrong orders, which must
// be caught.
#include "protocol/read_order.h"

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace tidelock {
namespace {

constexpr std::uint32_t kRho = 200;

// ------------------------------------------------------------------------------------------------ a world in virtual
// time
struct Reading {
  Nanos earliest = 0, latest = 0, suspended_ns = 0;
};

struct World {
  Nanos now = 1'000'000;
  // the page
  Nanos fresh_at = 999'000;
  Nanos behind_at = 998'000;
  Nanos lease_until = 2'000'000;
  Index applied{1};
  std::uint64_t epoch = 1, word = 7, generation = 0;
  bool revoked = false;
  Nanos page_suspended = 0, machine_suspended = 0, proofs_from = kNever;
  // the arena and L1
  Candidate arena = found(1);
  std::optional<Candidate> l1;
  // the truth
  Nanos second_acknowledged_at = kForever;
  Nanos probe_sent_at = 0;

  std::vector<std::function<void(World&)>> story;
  std::vector<int> schedule;  // step i falls before load schedule[i]
  int loads = 0;
  std::size_t told = 0;
  bool looked_lately = true;  // this thread had just looked at its clock when it began

  static Candidate found(std::uint64_t version) {
    Candidate c;
    c.state = Candidate::State::kFound;
    c.version = Index{version};
    c.epoch = 1;
    return c;
  }
  void load() {
    now += 1;
    while (told < story.size() && schedule[told] <= loads) {
      now += 100;
      story[told++](*this);
    }
    ++loads;
  }
};

struct FakePage {
  World* w;
  Nanos suspended_ns() const { return w->load(), w->page_suspended; }
  Nanos behind_at() const { return w->load(), w->behind_at; }
  Nanos proofs_from() const { return w->load(), w->proofs_from; }
  Nanos fresh_at() const { return w->load(), w->fresh_at; }
  Nanos lease_until() const { return w->load(), w->lease_until; }
  Index applied() const { return w->load(), w->applied; }
  std::uint64_t verified_epoch() const { return w->load(), w->epoch; }
  std::uint64_t strong_epoch() const { return w->load(), w->epoch; }
  bool revoked() const { return w->load(), w->revoked; }
  std::uint32_t rho_ppm() const { return kRho; }
  std::uint64_t slot_word(std::uint16_t) const { return w->load(), w->word; }
  std::uint64_t generation(std::uint16_t) const { return w->load(), w->generation; }
};
struct FakeClock {
  World* w;
  Reading now() const { return w->load(), Reading{w->now, w->now, w->machine_suspended}; }
  Reading past() const {
    return w->looked_lately ? Reading{w->now, w->now, w->machine_suspended} : Reading{kNever, kNever, 0};
  }
};
struct FakeValues {
  World* w;
  static constexpr int kTiers = 2;
  Candidate lookup(int tier, std::uint64_t) {
    w->load();
    if (tier == 1) return w->arena;
    if (!w->l1) return {};
    Candidate c = *w->l1;
    c.slot_checked = true;
    return c;
  }
  Source source(int tier) const { return tier == 0 ? Source::kL1 : Source::kArena; }
};

using Reader = std::function<ReadOutcome(World&, const ReadPolicy&, const ReadContract&)>;

ReadOutcome read_right(World& w, const ReadPolicy& policy, const ReadContract& contract) {
  FakeValues values{&w};
  return read_in_order(FakePage{&w}, FakeClock{&w}, values, 3, policy, contract);
}
// Fills L1 from the arena as LocalReader does, then reads again.
ReadOutcome fill_then_read(World& w, const ReadPolicy& policy, const ReadContract& contract) {
  const std::uint64_t word = FakePage{&w}.slot_word(3);
  Candidate copy = FakeValues{&w}.lookup(1, word);
  copy.slot_version = slot_version(word);
  w.l1 = copy;
  return read_right(w, policy, contract);
}

// ---- planted faults: each is one place of F5 broken
ReadOutcome fresh_at_after_value(World& w, const ReadPolicy&, const ReadContract& contract) {
  const FakePage page{&w};
  const Candidate c = FakeValues{&w}.lookup(1, page.slot_word(3));
  ReadOutcome o;
  o.receipt.version = c.version;
  const Nanos fresh_at = page.fresh_at();
  o.receipt.bound_ns = staleness_bound(FakeClock{&w}.now().latest, fresh_at, kRho);
  o.must_ask = o.receipt.bound_ns <= contract.bound_ns ? MustAsk::kNo : MustAsk::kTooOld;
  return o;
}
ReadOutcome value_before_lease_test(World& w, const ReadPolicy&, const ReadContract&) {
  const FakePage page{&w};
  const Candidate c = FakeValues{&w}.lookup(1, 0);
  const Nanos now = FakeClock{&w}.now().latest;
  ReadOutcome o;
  o.receipt.version = c.version;
  const bool leased = now < page.lease_until() && slot_blocks(page.slot_word(3)) == 0;
  o.receipt.bound_ns = stretch(FakeClock{&w}.now().latest - now, kRho);
  o.must_ask = leased ? MustAsk::kNo : MustAsk::kNoLease;
  return o;
}
ReadOutcome clock_only_once(World& w, const ReadPolicy&, const ReadContract& contract) {
  const FakePage page{&w};
  const Nanos fresh_at = page.fresh_at();
  const Nanos now = FakeClock{&w}.now().latest;
  const Candidate c = FakeValues{&w}.lookup(1, page.slot_word(3));
  ReadOutcome o;
  o.receipt.version = c.version;
  o.receipt.bound_ns = staleness_bound(now, fresh_at, kRho);
  o.must_ask = o.receipt.bound_ns <= contract.bound_ns ? MustAsk::kNo : MustAsk::kTooOld;
  return o;
}
ReadOutcome slot_loaded_after_value(World& w, const ReadPolicy& policy, const ReadContract& contract) {
  Candidate copy = FakeValues{&w}.lookup(1, 0);
  copy.slot_version = slot_version(FakePage{&w}.slot_word(3));
  w.l1 = copy;
  return read_right(w, policy, contract);
}
ReadOutcome blocks_not_tested(World& w, const ReadPolicy& policy, const ReadContract& contract) {
  struct Blind : FakePage {
    std::uint64_t slot_word(std::uint16_t slot) const { return slot_version(FakePage::slot_word(slot)); }
  };
  FakeValues values{&w};
  return read_in_order(Blind{{&w}}, FakeClock{&w}, values, 3, policy, contract);
}

ReadOutcome epoch_before_blocks(World& w, const ReadPolicy& policy, const ReadContract& contract) {
  struct Early : FakePage {
    std::uint64_t epoch = 0;
    std::uint64_t strong_epoch() const { return epoch; }
  };
  Early page{{&w}};
  page.epoch = page.FakePage::strong_epoch();
  FakeValues values{&w};
  return read_in_order(page, FakeClock{&w}, values, 3, policy, contract);
}
ReadOutcome past_behind_the_value(World& w, const ReadPolicy&, const ReadContract&) {
  const FakePage page{&w};
  const Nanos lease_until = page.lease_until();
  const bool blocked = slot_blocks(page.slot_word(3)) != 0;
  const Candidate c = FakeValues{&w}.lookup(1, 0);
  const Nanos past = FakeClock{&w}.now().latest, now = FakeClock{&w}.now().latest;
  ReadOutcome o;
  o.receipt.version = c.version;
  o.receipt.bound_ns = stretch(now - past, kRho);
  o.must_ask = now < lease_until && !blocked ? MustAsk::kNo : MustAsk::kNoLease;
  return o;
}

// ---- stories
using Story = std::vector<std::function<void(World&)>>;
const auto kOpenBlock = [](World& w) { w.word += 1ull << 56; };
const auto kAcknowledge = [](World& w) { w.second_acknowledged_at = w.now; };
const auto kSendProbe = [](World& w) { w.probe_sent_at = w.now; };
const auto kArena = [](World& w) { w.arena = World::found(2); };
const auto kBumpSlot = [](World& w) { w.word += 1; };
const auto kCloseBlock = [](World& w) { w.word -= 1ull << 56; };
const auto kApplied = [](World& w) { w.applied = Index{2}; };
const auto kFresh = [](World& w) { w.fresh_at = w.probe_sent_at; };
const auto kLease = [](World& w) { w.lease_until = w.probe_sent_at + 1'000'000; };

const Story kStrongWrite = {kOpenBlock, kAcknowledge, kSendProbe, kArena, kBumpSlot, kCloseBlock, kFresh};
// The record was lost with its session, and the hub cannot replay it: the next session says so, and then that nothing
// is open any more (F11).
const Story kMissedRecord = {kOpenBlock, kAcknowledge, [](World& w) { w.epoch = 2; }, kCloseBlock};
const Story kBoundedWrite = {kAcknowledge, kSendProbe, kArena, kBumpSlot, kApplied, kFresh};
const Story kEdgeDeadLeaseWaitedOut = {[](World& w) { w.now = w.lease_until + 1; }, kAcknowledge};
const Story kAcknowledgeThenPause = {kAcknowledge, [](World& w) { w.now += 10'000; }};
const Story kBumpAfterFresh = {kAcknowledge, kSendProbe, kArena, kFresh, kBumpSlot};  // a wrong writer
// A write while the edge was away, then a new session: replay, then its first mark with a lease.
const Story kLapseThenNewLease = {
    [](World& w) { w.now = w.lease_until + 1; }, kAcknowledge, kSendProbe, kArena, kBumpSlot, kFresh, kLease};

struct Lies {
  std::uint64_t schedules = 0, served = 0, lies = 0;
};

void check(World& w, Nanos began, const ReadOutcome& o, bool strong, Lies& lies) {
  ++lies.schedules;
  if (o.must_ask != MustAsk::kNo) return;
  ++lies.served;
  const bool old = o.receipt.version == Index{1};
  const bool i1 = strong && old && w.second_acknowledged_at < began;
  const bool i2 = old && w.second_acknowledged_at <= w.now && w.now - w.second_acknowledged_at > o.receipt.bound_ns;
  if (i1 || i2) ++lies.lies;
}

// Every way to lay `story` over the first `loads` loads of the reader.
Lies run_all(const Reader& reader, const Story& story, int loads, const ReadPolicy& policy,
             const ReadContract& contract, bool with_l1, bool looked_lately = true) {
  Lies lies;
  std::vector<int> schedule(story.size(), -1);
  for (;;) {
    World w;
    w.story = story;
    w.schedule = schedule;
    w.looked_lately = looked_lately;
    if (with_l1) {
      w.l1 = World::found(1);
      w.l1->slot_version = 7;
    }
    while (w.told < story.size() && schedule[w.told] < 0) w.story[w.told++](w);  // before the read began
    const Nanos began = ++w.now;
    const ReadOutcome outcome = reader(w, policy, contract);
    check(w, began, outcome, contract.consistency == Consistency::kStrong, lies);
    // the next non-decreasing schedule over -1..loads
    std::size_t i = story.size();
    while (i > 0 && schedule[i - 1] == loads) --i;
    if (i == 0) return lies;
    const int next = schedule[i - 1] + 1;
    for (std::size_t k = i - 1; k < story.size(); ++k) schedule[k] = next;
    if (lies.schedules > 5'000'000) return lies;
  }
}

const ReadPolicy kStrongKey{Consistency::kStrong, Scope::kRegion, WriteMode::kThrough, 0, 0};
const ReadPolicy kBoundedKey{Consistency::kBounded, Scope::kRegion, WriteMode::kThrough, 5'000, 0};
const ReadContract kStrong{Consistency::kStrong, kForever, {}};
const ReadContract kBounded{Consistency::kBounded, 5'000, {}};

TEST(ReadOrder, NeverLiesWhereverTheReaderIsPaused) {  // F4, F5, I1, I2, I5
  struct Case {
    const char* why;
    Reader reader;
    Story story;
    int loads;
    ReadPolicy policy;
    ReadContract contract;
    bool with_l1;
  };
  const Case cases[] = {
      {"strong write, arena", read_right, kStrongWrite, 13, kStrongKey, kStrong, false},
      {"strong write, copy in L1", read_right, kStrongWrite, 13, kStrongKey, kStrong, true},
      {"strong write, bounded read of a strong key", read_right, kStrongWrite, 13, kStrongKey, kBounded, true},
      {"strong write, fill and read", fill_then_read, kStrongWrite, 15, kStrongKey, kStrong, false},
      {"bounded write, arena", read_right, kBoundedWrite, 13, kBoundedKey, kBounded, false},
      {"bounded write, copy in L1", read_right, kBoundedWrite, 13, kBoundedKey, kBounded, true},
      {"bounded write, fill and read", fill_then_read, kBoundedWrite, 15, kBoundedKey, kBounded, false},
      {"missed record, arena", read_right, kMissedRecord, 13, kStrongKey, kStrong, false},
      {"missed record, copy in L1", read_right, kMissedRecord, 13, kStrongKey, kStrong, true},
      {"edge dead, strong", read_right, kEdgeDeadLeaseWaitedOut, 13, kStrongKey, kStrong, true},
      {"edge dead, bounded", read_right, kEdgeDeadLeaseWaitedOut, 13, kBoundedKey, kBounded, true},
      {"lease lapsed and a new one came", read_right, kLapseThenNewLease, 13, kStrongKey, kStrong, true},
  };
  for (const Case& c : cases) {
    for (const bool looked_lately : {true, false}) {  // one try, or two
      const int loads = looked_lately ? c.loads : c.loads + (c.story.size() < 5 ? 9 : 6);
      const Lies lies = run_all(c.reader, c.story, loads, c.policy, c.contract, c.with_l1, looked_lately);
      EXPECT_EQ(lies.lies, 0u) << c.why << (looked_lately ? "" : ", second try");
      EXPECT_GT(lies.served, 0u) << c.why << ": nothing was served, nothing was tested";
    }
  }
}

TEST(ReadOrder, WrongOrdersAreCaught) {  // F5: "any other order is a bug"
  struct Case {
    const char* why;
    Reader reader;
    Story story;
    int loads;
    ReadPolicy policy;
    ReadContract contract;
  };
  const Case cases[] = {
      {"fresh_at loaded after the value: the newer proof vouches for the older value", fresh_at_after_value,
       kBoundedWrite, 5, kBoundedKey, kBounded},
      {"value before the lease test: its block comes and goes in between",
       value_before_lease_test,
       {kOpenBlock, kAcknowledge, kArena, kBumpSlot, kCloseBlock},
       6,
       kStrongKey,
       kStrong},
      {"one clock read: a pause before the value is not counted", clock_only_once, kAcknowledgeThenPause, 5,
       kBoundedKey, kBounded},
      {"slot version loaded after the value was asked for", slot_loaded_after_value, kBoundedWrite, 15, kBoundedKey,
       kBounded},
      {"slot bumped after fresh_at (writer)", fill_then_read, kBumpAfterFresh, 15, kBoundedKey, kBounded},
      {"blocks not tested", blocks_not_tested, kStrongWrite, 13, kStrongKey, kStrong},
      {"epoch loaded before the blocks", epoch_before_blocks, kMissedRecord, 13, kStrongKey, kStrong},
      {"U counted from an instant behind the value", past_behind_the_value, kStrongWrite, 6, kStrongKey, kStrong},
  };
  for (const Case& c : cases) {
    const Lies lies = run_all(c.reader, c.story, c.loads, c.policy, c.contract, false);
    EXPECT_GT(lies.lies, 0u) << c.why << " was not caught in " << lies.schedules << " schedules";
  }
}

TEST(ReadOrder, SaysWhyTheEdgeMustBeAsked) {
  struct Case {
    const char* why;
    std::function<void(World&)> change;
    ReadPolicy policy;
    ReadContract contract;
    MustAsk expected;
    Basis basis;
  };
  const auto nothing = [](World&) {};
  const Case cases[] = {
      {"a lease and no block (F4)", nothing, kStrongKey, kStrong, MustAsk::kNo, Basis::kLease},
      {"within the bound (F3)", nothing, kBoundedKey, kBounded, MustAsk::kNo, Basis::kProof},
      {"lapsed", [](World& w) { w.lease_until = w.now; }, kStrongKey, kStrong, MustAsk::kNoLease, Basis::kProof},
      {"blocked (S2)", kOpenBlock, kStrongKey, kStrong, MustAsk::kBlocked, Basis::kProof},
      {"no lease covers a bounded key", nothing, kBoundedKey, kStrong, MustAsk::kNotStrong, Basis::kProof},
      {"verified in a former session (F8)", [](World& w) { w.epoch = 2; }, kStrongKey, kStrong, MustAsk::kUnverified,
       Basis::kNone},
      {"verified in the session whose first mark is on its way (F8)", [](World& w) { w.arena.epoch = 2; }, kStrongKey,
       kStrong, MustAsk::kNo, Basis::kLease},
      {"never verified", [](World& w) { w.arena.epoch = 0; }, kBoundedKey, kBounded, MustAsk::kUnverified,
       Basis::kNone},
      {"unverified, but its own proof is young enough (F7)",
       [](World& w) {
         w.arena.epoch = 0;
         w.arena.proven_at = w.now - 10;
       },
       kBoundedKey, kBounded, MustAsk::kNo, Basis::kProof},
      {"the same, but proofs were dropped since (C2, C3)",
       [](World& w) {
         w.arena.epoch = 0;
         w.arena.proven_at = w.now - 10;
         w.proofs_from = w.now - 9;
       },
       kBoundedKey, kBounded, MustAsk::kUnverified, Basis::kNone},
      {"too old (F3)", [](World& w) { w.fresh_at = w.now - 6'000; }, kBoundedKey, kBounded, MustAsk::kTooOld,
       Basis::kProof},
      {"no proof at all", [](World& w) { w.fresh_at = kNever; }, kBoundedKey, kBounded, MustAsk::kTooOld, Basis::kNone},
      {"the machine slept (C2), strong", [](World& w) { w.machine_suspended = kSecond; }, kStrongKey, kStrong,
       MustAsk::kClock, Basis::kNone},
      {"the machine slept (C2), bounded", [](World& w) { w.machine_suspended = kSecond; }, kBoundedKey, kBounded,
       MustAsk::kClock, Basis::kNone},
      {"the page was revoked (F11)", [](World& w) { w.revoked = true; }, kStrongKey, kStrong, MustAsk::kDetached,
       Basis::kNone},
      {"not here", [](World& w) { w.arena = {}; }, kStrongKey, kStrong, MustAsk::kMiss, Basis::kNone},
      {"expired (C5: at its instant it is gone)", [](World& w) { w.arena.expires_at = w.now; }, kStrongKey, kStrong,
       MustAsk::kMiss, Basis::kNone},
      {"the writer was faster", [](World& w) { w.arena.state = Candidate::State::kBusy; }, kStrongKey, kStrong,
       MustAsk::kBusy, Basis::kNone},
      {"token not applied (F10)",
       nothing,
       kStrongKey,
       {Consistency::kStrong, kForever, Index{9}},
       MustAsk::kToken,
       Basis::kLease},
      {"token not applied, but this very value is as new (F10)",
       [](World& w) { w.arena.version = Index{9}; },
       kStrongKey,
       {Consistency::kStrong, kForever, Index{9}},
       MustAsk::kNo,
       Basis::kLease},
      {"a local version counts nothing against a token",
       [](World& w) {
         w.arena.version = Index{9};
         w.arena.local = true;
       },
       kBoundedKey,
       {Consistency::kBounded, 5'000, Index{9}},
       MustAsk::kToken,
       Basis::kLocal},
      {"an own write that is not sequenced is no strong answer", [](World& w) { w.arena.local = true; }, kStrongKey,
       kStrong, MustAsk::kUnverified, Basis::kLocal},
      {"eventual: served without a test",
       [](World& w) { w.fresh_at = kNever; },
       kBoundedKey,
       {Consistency::kEventual, kForever, {}},
       MustAsk::kNo,
       Basis::kEventual},
      {"gateway scope: here is the truth, whatever became of the session",
       [](World& w) {
         w.fresh_at = kNever;
         w.epoch = 5;
       },
       {Consistency::kEventual, Scope::kGateway, WriteMode::kLocal, 0, 0},
       kStrong,
       MustAsk::kNo,
       Basis::kLocal},
  };
  for (const Case& c : cases) {
    World w;
    c.change(w);
    const ReadOutcome outcome = read_right(w, c.policy, c.contract);
    EXPECT_EQ(must_ask_name(outcome.must_ask), must_ask_name(c.expected)) << c.why;
    EXPECT_EQ(basis_name(outcome.receipt.basis), basis_name(c.basis)) << c.why;
  }
}

TEST(ReadOrder, TellsWhatWritersMayHoldBack) {
  const ReadPolicy behind{Consistency::kBounded, Scope::kRegion, WriteMode::kBehind, 5'000, 0};
  World w;
  EXPECT_EQ(read_right(w, behind, kBounded).receipt.writers_ns, 1'000);
  w.behind_at = kNever;  // a writer is away
  EXPECT_EQ(read_right(w, behind, kBounded).receipt.writers_ns, kForever);
}

TEST(ReadOrder, ABufferThatALaterTierTookIsNotOffered) {
  World w;
  w.l1 = World::found(1);
  w.l1->slot_version = 7;
  w.l1->epoch = 0;              // L1 has a value, unverified
  w.arena.expires_at = kNever;  // the arena has one too, expired: its bytes are in the buffer now
  const ReadOutcome outcome = read_right(w, kBoundedKey, kBounded);
  EXPECT_EQ(outcome.must_ask, MustAsk::kMiss);
  EXPECT_FALSE(outcome.found);
}

TEST(Resolve, FillsInTheNamespaceAndItsFloor) {
  const ReadPolicy policy{Consistency::kBounded, Scope::kRegion, WriteMode::kThrough, 5'000, 500};
  Contract contract;
  EXPECT_EQ(resolve(contract, policy).bound_ns, 5'000);
  contract.bound_ns = 10;
  EXPECT_EQ(resolve(contract, policy).bound_ns, 500) << "no tighter than the floor";
  const ReadPolicy strong{Consistency::kStrong, Scope::kRegion, WriteMode::kThrough, 0, 0};
  EXPECT_EQ(resolve(contract, strong).consistency, Consistency::kBounded) << "a bound asks for a bounded read";
}

// -------------------------------------------------------------------------------------------------------------
// snapshots
struct One {
  World* w;
  int key;
  static constexpr int kTiers = 1;
  Candidate lookup(int, std::uint64_t) {
    w->load();
    return key == 0 ? w->arena : *w->l1;
  }
  Source source(int) const { return Source::kArena; }
};

TEST(Snapshot, NeverMixesVersions) {  // S4
  // One write sets both keys; the arena changes one key at a time, inside an odd generation. One key may be ahead (F7).
  for (const bool ahead : {false, true}) {
    std::uint64_t served = 0;
    const Story story = {[](World& w) { w.generation += 1; },      [](World& w) { w.arena = World::found(2); },
                         [](World& w) { w.l1 = World::found(2); }, [](World& w) { w.word += 1; },
                         [](World& w) { w.generation += 1; },      kApplied};
    std::vector<int> schedule(story.size(), 0);
    for (bool more = true; more;) {
      World w;
      w.story = story;
      w.schedule = schedule;
      w.l1 = World::found(1);                // stands for the second key's entry in the arena
      if (ahead) w.arena = World::found(2);  // a fetch answer that overtook the feed
      One ones[2] = {{&w, 0}, {&w, 1}};
      const SnapshotKey keys[2] = {{3, 0, Consistency::kStrong}, {4, 0, Consistency::kStrong}};
      ReadOutcome outcomes[2];
      const ReadOutcome group = snapshot_in_order(
          FakePage{&w}, FakeClock{&w}, [&](std::size_t i) -> One& { return ones[i]; }, keys, outcomes);
      if (group.must_ask == MustAsk::kNo) {
        ++served;
        ASSERT_EQ(outcomes[0].receipt.version, outcomes[1].receipt.version) << "mixed";
      }
      std::size_t i = story.size();
      while (i > 0 && schedule[i - 1] == 16) --i;
      more = i != 0;
      if (more) {
        const int next = schedule[i - 1] + 1;
        for (std::size_t k = i - 1; k < story.size(); ++k) schedule[k] = next;
      }
    }
    EXPECT_GT(served, 0u);
  }
}

TEST(Slots, WordsCarryBlocksAndVersion) {
  EXPECT_EQ(slot_version(0xFF00'0000'0000'0005ull), 5u);
  EXPECT_EQ(slot_blocks(0xFF00'0000'0000'0005ull), 255u);
  EXPECT_EQ(slot_of("model:yolo:current"), static_cast<std::uint16_t>(hash64("model:yolo:current") & 0xFFFF));
}

}  // namespace
}  // namespace tidelock
