#include "protocol/state_machine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/rng.h"
#include "codec/archive.h"
#include "protocol/map_rows_fixture.h"

namespace tidelock {
namespace {

using Body = decltype(Command::body);

KeyWrite set(std::string key, std::string value, Condition condition = Condition::kNone, Index expected = {}) {
  KeyWrite write;
  write.key = std::move(key);
  write.value = std::move(value);
  write.condition = condition;
  write.expected = expected;
  return write;
}
KeyWrite stays(std::string key, Index expected) {
  KeyWrite write;
  write.key = std::move(key);
  write.condition = Condition::kVersionStays;
  write.expected = expected;
  return write;
}
KeyWrite del(std::string key) {
  KeyWrite write;
  write.key = std::move(key);
  return write;
}
BatchRecord record(std::string key, std::optional<Bytes> value, std::uint64_t wall_ms, Nanos ttl_ns = 0,
                   std::uint64_t writer = 1) {
  return {std::move(key), std::move(value), Stamp{wall_ms, 0, writer}, ttl_ns};
}
Seed shipped_seed() { return Seed{{}, default_namespaces(), "key"}; }

// A hub in small: rows, the machine, and the ledger it was fed.
struct Hub {
  MapRows rows;
  StateMachine machine{rows};
  std::uint64_t index = 0;
  std::uint64_t sequence = 0;
  Term term;
  Nanos time = 0;
  std::vector<std::pair<Index, Bytes>> ledger;

  Applied feed(Index at, const Bytes& command) {
    StateBatch batch;
    Applied applied = machine.apply(at, command, batch);
    rows.commit(batch);
    return applied;
  }
  Applied apply(const Command& command) {
    const Index at{++index};
    ledger.emplace_back(at, encode(command));
    return feed(at, ledger.back().second);
  }
  CommandId next() { return {100, ++sequence}; }
  Applied run(Body body) { return apply({next(), term, time, std::move(body)}); }
  Applied put(std::vector<KeyWrite> writes) { return run(Put{std::move(writes), {}}); }
  Applied batch(std::uint64_t number, std::vector<BatchRecord> records, const NodeId& edge = "edge-1",
                std::uint64_t incarnation = 9) {
    return run(Batch{edge, incarnation, number, std::move(records)});
  }
  void claim(const NodeId& hub = "hub-1") {
    const Applied applied = apply({next(), {}, time, Claim{hub, Boot{7}}});
    ASSERT_TRUE(applied.effective);
    term = Term{applied.index.value};
  }
  void start() {
    claim();
    ASSERT_TRUE(run(shipped_seed()).effective);
  }
  std::string value(const std::string& key) const {
    const auto found = machine.find(key);
    return found ? *found->value : "-";
  }
};

TEST(StateMachine, NothingTakesEffectBeforeTheFirstClaim) {  // A1
  Hub hub;
  EXPECT_FALSE(hub.run(Beacon{}).effective) << "term 0 is not a term";
  EXPECT_FALSE(hub.run(shipped_seed()).effective);
  EXPECT_EQ(hub.machine.applied(), Index{2});
  EXPECT_FALSE(hub.machine.seeded());
}

TEST(StateMachine, AClaimsIndexIsItsTerm) {  // A1
  Hub hub;
  hub.start();
  EXPECT_EQ(hub.machine.term(), Term{1});
  EXPECT_EQ(hub.machine.claim_hub(), "hub-1");
  EXPECT_EQ(hub.machine.claim_boot(), Boot{7});
  hub.put({set("r", "1")});
  hub.claim("hub-2");
  EXPECT_EQ(hub.machine.term(), Term{4});
  EXPECT_EQ(hub.machine.claim_hub(), "hub-2");
  EXPECT_TRUE(hub.machine.seeded()) << "a claim resets nothing else";
  EXPECT_EQ(hub.value("r"), "1");
}

TEST(StateMachine, AFencedCommandLeavesNoTrace) {  // A1
  Hub hub;
  hub.start();
  const Term old = hub.term;
  hub.claim("hub-2");
  auto before = hub.rows.rows;
  struct Case {
    const char* why;
    Term term;
  };
  const Case cases[] = {
      {"the term before", old}, {"no term", Term{}}, {"a term that is not yet", Term{hub.term.value + 5}}};
  for (const Case& c : cases) {
    const Applied fenced = hub.apply({{5, 5}, c.term, 9 * kSecond, Put{{set("r", "x")}, {}}});
    EXPECT_FALSE(fenced.effective) << c.why;
    EXPECT_EQ(fenced.code, Code::kNotActive) << c.why;
    EXPECT_FALSE(fenced.applied_before.has_value()) << c.why;
    auto after = hub.rows.rows;
    before.erase("a");
    after.erase("a");
    EXPECT_EQ(before, after) << c.why << ": only the applied index may move";
    EXPECT_EQ(hub.machine.ledger_time(), 0) << c.why;
    EXPECT_FALSE(hub.machine.outcome({5, 5}).has_value()) << c.why;
  }
  EXPECT_TRUE(hub.apply({{5, 5}, hub.term, 0, Put{{set("r", "x")}, {}}}).effective) << "its id is still free";
}

TEST(StateMachine, AnIdIsAppliedOnce) {  // A1, 3.5
  Hub hub;
  hub.start();
  const CommandId id{8, 1};
  const Applied first = hub.apply({id, hub.term, 0, Put{{set("r", "1")}, {}}});
  ASSERT_TRUE(first.effective);
  hub.put({set("r", "2")});
  const Applied again = hub.apply({id, hub.term, 0, Put{{set("r", "1")}, {}}});
  EXPECT_FALSE(again.effective);
  EXPECT_EQ(again.applied_before, first.index);
  EXPECT_EQ(again.code, Code::kOk);
  EXPECT_EQ(hub.value("r"), "2");

  hub.claim("hub-2");  // a retry across terms is found by its id all the same
  EXPECT_EQ(hub.apply({id, hub.term, 0, Put{{set("r", "1")}, {}}}).applied_before, first.index);
  EXPECT_EQ(hub.apply({id, Term{1}, 0, Put{{set("r", "1")}, {}}}).applied_before, first.index)
      << "a fenced duplicate too";
  EXPECT_EQ(hub.machine.outcome(id), (std::pair{first.index, Code::kOk}));
}

TEST(StateMachine, ARepeatedClaimOpensNoTerm) {  // A1
  Hub hub;
  const Command claim{{8, 1}, {}, 0, Claim{"hub-1", Boot{7}}};
  ASSERT_TRUE(hub.apply(claim).effective);
  hub.term = Term{1};
  hub.run(Beacon{});
  EXPECT_FALSE(hub.apply(claim).effective);
  EXPECT_EQ(hub.machine.term(), Term{1});
}

TEST(StateMachine, BeaconsAreNotRemembered) {
  Hub hub;
  hub.start();
  const Command beacon{{8, 1}, hub.term, 0, Beacon{}};
  EXPECT_TRUE(hub.apply(beacon).effective);
  EXPECT_TRUE(hub.apply(beacon).effective);
  EXPECT_FALSE(hub.machine.outcome({8, 1}).has_value());
}

TEST(StateMachine, AFailedConditionIsAnOutcomeToo) {
  Hub hub;
  hub.start();
  const CommandId id{8, 1};
  const Applied failed = hub.apply({id, hub.term, 0, Put{{set("r", "1", Condition::kPresent)}, {}}});
  EXPECT_TRUE(failed.effective);
  EXPECT_EQ(failed.code, Code::kConflict);
  EXPECT_EQ(failed.message, "the condition on 'r' does not hold");
  EXPECT_TRUE(failed.changed.empty());
  hub.put({set("r", "0")});
  const Applied retry = hub.apply({id, hub.term, 0, Put{{set("r", "1", Condition::kPresent)}, {}}});
  EXPECT_FALSE(retry.effective) << "the answer to a retry does not change";
  EXPECT_EQ(retry.code, Code::kConflict);
  EXPECT_EQ(hub.value("r"), "0");
}

TEST(StateMachine, AWriteIsAllOrNothing) {  // S4
  struct Case {
    const char* why;
    std::vector<KeyWrite> writes;
    Code code;
    std::string a, b;  // afterwards; before: a = "1" (version 3), b absent
  };
  KeyWrite delete_b_if_present = del("b");
  delete_b_if_present.condition = Condition::kPresent;
  const Case cases[] = {
      {"two keys at one index", {set("a", "2"), set("b", "2")}, Code::kOk, "2", "2"},
      {"the second condition fails", {set("a", "2"), set("b", "2", Condition::kPresent)}, Code::kConflict, "1", "-"},
      {"the first condition fails", {set("a", "2", Condition::kAbsent), set("b", "2")}, Code::kConflict, "1", "-"},
      {"absent holds", {set("b", "2", Condition::kAbsent)}, Code::kOk, "1", "2"},
      {"present holds", {set("a", "2", Condition::kPresent)}, Code::kOk, "2", "-"},
      {"version holds", {set("a", "2", Condition::kVersionIs, Index{3})}, Code::kOk, "2", "-"},
      {"version differs", {set("a", "2", Condition::kVersionIs, Index{2})}, Code::kConflict, "1", "-"},
      {"version 0 demands absence, and it is absent", {set("b", "2", Condition::kVersionIs)}, Code::kOk, "1", "2"},
      {"version 0 demands absence, and it is there", {set("a", "2", Condition::kVersionIs)}, Code::kConflict, "1", "-"},
      {"another key stays", {stays("a", Index{3}), set("b", "2")}, Code::kOk, "1", "2"},
      {"another key was written", {stays("a", Index{2}), set("b", "2")}, Code::kConflict, "1", "-"},
      {"another key stays absent", {set("a", "2"), stays("b", {})}, Code::kOk, "2", "-"},
      {"another key is there by now", {stays("a", {}), set("b", "2")}, Code::kConflict, "1", "-"},
      {"immutable, new", {set("b", "2", Condition::kAbsentOrSame)}, Code::kOk, "1", "2"},
      {"immutable, the same again", {set("a", "1", Condition::kAbsentOrSame)}, Code::kOk, "1", "-"},
      {"immutable, other content", {set("a", "2", Condition::kAbsentOrSame), set("b", "2")}, Code::kConflict, "1", "-"},
      {"one key twice: conditions see the state before, the last write wins",
       {set("b", "2", Condition::kAbsent), set("b", "3", Condition::kAbsent)},
       Code::kOk,
       "1",
       "3"},
      {"a delete and a write", {del("a"), set("b", "2")}, Code::kOk, "-", "2"},
      {"a conditional delete", {del("a"), delete_b_if_present}, Code::kConflict, "1", "-"},
  };
  for (const Case& c : cases) {
    Hub hub;
    hub.start();
    ASSERT_EQ(hub.put({set("a", "1")}).index, Index{3});
    const Applied applied = hub.put(c.writes);
    EXPECT_TRUE(applied.effective) << c.why;
    EXPECT_EQ(applied.code, c.code) << c.why;
    EXPECT_EQ(hub.value("a"), c.a) << c.why;
    EXPECT_EQ(hub.value("b"), c.b) << c.why;
    for (const ChangedValue& changed : applied.changed) EXPECT_EQ(changed.now.version, applied.index) << c.why;
  }
}

TEST(StateMachine, TheSameImmutableContentKeepsItsVersion) {
  Hub hub;
  hub.start();
  const Applied first = hub.put({set("model:m:v1", "bytes", Condition::kAbsentOrSame)});
  const Applied again = hub.put({set("model:m:v1", "bytes", Condition::kAbsentOrSame)});
  EXPECT_TRUE(again.effective);
  EXPECT_TRUE(again.changed.empty());
  EXPECT_EQ(hub.machine.find("model:m:v1")->version, first.index);
}

TEST(StateMachine, AKeyThatIsOnlyAskedForIsNotChanged) {  // S4
  Hub hub;
  hub.start();
  const Index version = hub.put({set("a", "1")}).index;
  const Applied applied = hub.put({stays("a", version), set("b", "2"), stays("c", {})});
  ASSERT_EQ(applied.changed.size(), 1u);
  EXPECT_EQ(applied.changed[0].key, "b");
  EXPECT_EQ(hub.machine.find("a")->version, version);
  const Applied asked = hub.put({stays("a", version), stays("c", {})});
  EXPECT_EQ(asked.code, Code::kOk) << "nothing but questions: both held at this index";
  EXPECT_TRUE(asked.changed.empty());
}

TEST(StateMachine, ADeleteIsToldEvenOfAnAbsentKey) {
  Hub hub;
  hub.start();
  const Applied applied = hub.put({del("r")});
  ASSERT_EQ(applied.changed.size(), 1u);
  EXPECT_FALSE(applied.changed[0].now.value.has_value());
  EXPECT_EQ(applied.changed[0].now.version, applied.index);
}

TEST(StateMachine, WhatWasAppliedIsVisibleBeforeItIsCommitted) {
  Hub hub;
  hub.start();
  hub.put({set("k1", "1"), set("k3", "3")});
  StateBatch batch;
  hub.machine.apply(Index{50},
                    encode(Command{{8, 8}, hub.term, 0, Put{{set("k2", "2"), set("k4", "4"), del("k3")}, {}}}), batch);
  EXPECT_EQ(hub.value("k2"), "2");
  EXPECT_EQ(hub.value("k3"), "-");
  EXPECT_EQ(hub.machine.keys("k", 10), (std::vector<std::string>{"k1", "k2", "k4"}));
  EXPECT_EQ(hub.machine.keys("k", 2), (std::vector<std::string>{"k1", "k2"}));
  EXPECT_TRUE(hub.machine.keys("k", 0).empty());
  EXPECT_TRUE(hub.machine.outcome({8, 8}).has_value());
}

TEST(StateMachine, AnAbortTakesTheTargetsRightAway) {  // S1
  Hub hub;
  hub.start();
  const CommandId target{8, 1};
  const Applied abort = hub.run(Abort{target, BlockNo{1}});
  EXPECT_TRUE(abort.effective);
  EXPECT_FALSE(abort.applied_before.has_value());
  EXPECT_EQ(hub.machine.outcome(target), (std::pair{abort.index, Code::kUnavailable}));

  const Applied late = hub.apply({target, hub.term, 0, Put{{set("r", "1")}, {}}});
  EXPECT_FALSE(late.effective);
  EXPECT_FALSE(late.applied_before.has_value());
  EXPECT_EQ(late.code, Code::kUnavailable);
  EXPECT_EQ(hub.value("r"), "-");
  hub.claim("hub-2");
  EXPECT_FALSE(hub.apply({target, hub.term, 0, Put{{set("r", "1")}, {}}}).effective) << "in no later term either";
  EXPECT_TRUE(hub.run(Abort{target, BlockNo{1}}).effective) << "aborted twice is aborted";
}

TEST(StateMachine, AnAbortThatCameTooLateSaysSo) {  // S1
  Hub hub;
  hub.start();
  const CommandId target{8, 1}, conflicted{8, 2};
  const Applied write = hub.apply({target, hub.term, 0, Put{{set("r", "1")}, {}}});
  hub.apply({conflicted, hub.term, 0, Put{{set("r", "2", Condition::kAbsent)}, {}}});
  const CommandId abort_id = {8, 3};
  const Applied abort = hub.apply({abort_id, hub.term, 0, Abort{target, BlockNo{1}}});
  EXPECT_FALSE(abort.effective);
  EXPECT_EQ(abort.applied_before, write.index) << "of the target";
  EXPECT_EQ(abort.code, Code::kOk);
  EXPECT_EQ(hub.machine.outcome(target)->second, Code::kOk);
  EXPECT_EQ(hub.value("r"), "1");
  EXPECT_FALSE(hub.machine.outcome(abort_id).has_value());
  EXPECT_EQ(hub.run(Abort{conflicted, {}}).code, Code::kConflict);
}

TEST(StateMachine, AFencedAbortAbortsNothing) {  // A1, S1: the mutant "abort of a deposed hub"
  Hub hub;
  hub.start();
  const Term old = hub.term;
  hub.claim("hub-2");
  EXPECT_FALSE(hub.apply({{8, 2}, old, 0, Abort{{8, 1}, {}}}).effective);
  EXPECT_TRUE(hub.apply({{8, 1}, hub.term, 0, Put{{set("r", "1")}, {}}}).effective);
}

TEST(StateMachine, LeaseLengthIsLedgerState) {  // A5
  Hub hub;
  hub.claim();
  EXPECT_FALSE(hub.run(SetLease{true}).effective) << "no settings yet";
  hub.run(shipped_seed());
  EXPECT_EQ(hub.machine.lease_ns(), 2 * kSecond) << "a new cluster is about to be rolled out to";
  EXPECT_TRUE(hub.run(SetLease{false}).effective);
  EXPECT_EQ(hub.machine.lease_ns(), 30 * kSecond);
  EXPECT_TRUE(hub.run(SetLease{true}).effective);
  EXPECT_TRUE(hub.machine.lease_is_short());
  EXPECT_EQ(hub.machine.lease_ns(), 2 * kSecond);
  hub.claim("hub-2");
  EXPECT_TRUE(hub.machine.lease_is_short()) << "a successor finds it";
  hub.run(SetLease{false});
  EXPECT_EQ(hub.machine.lease_ns(), 30 * kSecond);
}

TEST(StateMachine, EdgesAreRegisteredAndRemoved) {  // A6
  Hub hub;
  hub.start();
  EXPECT_TRUE(hub.run(RegisterEdge{"edge-1", "north"}).effective);
  EXPECT_TRUE(hub.run(RegisterEdge{"edge-2", ""}).effective);
  EXPECT_TRUE(hub.run(RegisterEdge{"edge-1", "south"}).effective);
  EXPECT_EQ(hub.machine.edges(), (std::map<NodeId, std::string>{{"edge-1", "south"}, {"edge-2", ""}}));
  EXPECT_TRUE(hub.run(RemoveEdge{"edge-2"}).effective);
  EXPECT_TRUE(hub.run(RemoveEdge{"edge-2"}).effective);
  EXPECT_EQ(hub.machine.edges().size(), 1u);
  EXPECT_EQ(hub.run(RegisterEdge{"", "s"}).code, Code::kInvalid);
  EXPECT_EQ(hub.run(RegisterEdge{std::string(65, 'e'), "s"}).code, Code::kInvalid);
}

TEST(StateMachine, OnlyAnEmptyClusterIsSeeded) {
  Hub hub;
  hub.claim();
  Seed bad = shipped_seed();
  bad.settings.rho_ppm = 0;
  const Applied refused = hub.run(bad);
  EXPECT_FALSE(refused.effective);
  EXPECT_EQ(refused.code, Code::kInvalid);
  Seed long_key = shipped_seed();
  long_key.model_key = std::string((64u << 10) + 1, 'k');
  const Applied too_long = hub.run(long_key);
  EXPECT_FALSE(too_long.effective);
  EXPECT_EQ(too_long.code, Code::kInvalid);
  EXPECT_EQ(too_long.message, "model_key is 65537 bytes; it must be at most 65536");
  ASSERT_TRUE(hub.run(shipped_seed()).effective);
  EXPECT_EQ(hub.machine.namespaces(), default_namespaces());
  EXPECT_EQ(hub.machine.model_key(), "key");
  Seed other = shipped_seed();
  other.model_key = "another";
  EXPECT_EQ(hub.run(other).code, Code::kConflict);
  EXPECT_EQ(hub.machine.model_key(), "key");
}

TEST(StateMachine, BatchesOfAnIncarnationCountOnceAndInOrder) {  // D5
  Hub hub;
  hub.start();
  const auto one = std::vector{record("feature:1", "a", 10)};
  const Applied first = hub.batch(1, one);
  ASSERT_TRUE(first.effective);
  EXPECT_EQ(hub.machine.last_batch("edge-1", 9), 1u);

  const Applied again = hub.batch(1, {record("feature:1", "z", 99)});
  EXPECT_FALSE(again.effective) << "a lost reply";
  EXPECT_EQ(again.code, Code::kOk);
  EXPECT_EQ(again.applied_before, first.index);
  EXPECT_EQ(hub.value("feature:1"), "a");

  const Applied hole = hub.batch(3, {record("feature:1", "z", 99)});
  EXPECT_FALSE(hole.effective);
  EXPECT_EQ(hole.code, Code::kConflict);
  EXPECT_EQ(hub.machine.last_batch("edge-1", 9), 1u);

  EXPECT_TRUE(hub.batch(2, {}).effective) << "an empty one (everything expired) uses its number up";
  EXPECT_TRUE(hub.batch(3, {record("feature:1", "b", 11)}).effective);
  EXPECT_EQ(hub.batch(1, one).code, Code::kOk) << "long ago";
  EXPECT_FALSE(hub.batch(1, one).applied_before.has_value());

  EXPECT_EQ(hub.batch(2, one, "edge-1", 10).code, Code::kConflict) << "a new incarnation starts at 1";
  EXPECT_TRUE(hub.batch(1, one, "edge-1", 10).effective);
  EXPECT_TRUE(hub.batch(1, one, "edge-2").effective) << "numbers are each edge's own";
  EXPECT_EQ(hub.machine.last_batch("edge-1", 9), 3u);
  EXPECT_EQ(hub.machine.last_batch("edge-1", 11), 0u);
}

TEST(StateMachine, IncarnationsAreBounded) {  // I11
  Hub hub;
  hub.start();
  for (std::uint64_t i = 1; i <= 20; ++i) hub.batch(1, {record("feature:1", "a", 10 + i)}, "edge-1", i);
  EXPECT_EQ(hub.machine.last_batch("edge-1", 20), 1u);
  EXPECT_EQ(hub.machine.last_batch("edge-1", 13), 1u);
  EXPECT_EQ(hub.machine.last_batch("edge-1", 12), 0u);
}

TEST(StateMachine, TheNewerStampWins) {
  Hub hub;
  hub.start();
  hub.run(RegisterEdge{"edge-1", ""});
  hub.run(RegisterEdge{"edge-2", ""});
  hub.batch(1, {record("feature:1", "new", 100)});
  const Applied older =
      hub.batch(1, {record("feature:1", "old", 99, 0, 2), record("feature:2", "x", 99, 0, 2)}, "edge-2");
  EXPECT_EQ(older.superseded, 1u) << "a gateway that was away overwrites nothing newer";
  ASSERT_EQ(older.changed.size(), 1u);
  EXPECT_EQ(older.changed[0].key, "feature:2");
  EXPECT_EQ(hub.value("feature:1"), "new");
  EXPECT_EQ(hub.batch(2, {record("feature:1", "same", 100)}).superseded, 1u) << "the same stamp is the same record";
  EXPECT_EQ(hub.batch(2, {record("feature:1", "tie", 100, 0, 2)}, "edge-2").superseded, 0u)
      << "the writer breaks the tie";
  EXPECT_EQ(hub.value("feature:1"), "tie");
  EXPECT_EQ(hub.batch(3, {record("feature:3", "a", 200), record("feature:3", "b", 201), record("feature:3", "c", 199)})
                .superseded,
            1u)
      << "within one batch too";
  EXPECT_EQ(hub.value("feature:3"), "b");
}

TEST(StateMachine, ADeleteKeepsItsStampUntilNothingOlderCanCome) {  // G9
  Hub hub;
  hub.start();
  hub.run(RegisterEdge{"edge-1", ""});
  hub.run(RegisterEdge{"edge-2", ""});
  hub.batch(1, {record("feature:1", "v", 100), record("feature:1", std::nullopt, 101)});
  EXPECT_EQ(hub.value("feature:1"), "-");
  for (int i = 0; i < 50; ++i) {
    hub.time += 3600 * kSecond;
    hub.run(Beacon{});
  }
  EXPECT_EQ(hub.machine.uncollected(), 1u) << "two days later edge-2 may still come with something older";
  EXPECT_EQ(hub.batch(1, {record("feature:1", "resurrected", 50, 0, 2)}, "edge-2").superseded, 1u);
  EXPECT_EQ(hub.value("feature:1"), "-");

  hub.batch(2, {record("feature:9", "v", 102, 0, 2)}, "edge-2");
  hub.run(Beacon{});
  EXPECT_EQ(hub.machine.uncollected(), 0u) << "now both have sent everything that old";
}

TEST(StateMachine, TombstonesGoByProof) {  // G9
  struct Case {
    const char* why;
    std::uint64_t edge1_ms, edge2_ms;  // newest stamps after the delete at 101; 0: nothing
    bool remove_edge2;
    std::size_t left;
  };
  const Case cases[] = {{"nobody moved on but the deleter", 0, 0, false, 1},
                        {"the deleter moved on, the other never wrote", 150, 0, false, 1},
                        {"the other is behind", 150, 90, false, 1},
                        {"both are past it", 150, 150, false, 0},
                        {"the deleter's own batch proves its own", 0, 150, false, 0},
                        {"the silent one was removed", 150, 0, true, 0}};
  for (const Case& c : cases) {
    Hub hub;
    hub.start();
    hub.run(RegisterEdge{"edge-1", ""});
    hub.run(RegisterEdge{"edge-2", ""});
    hub.batch(1, {record("feature:1", std::nullopt, 101)});
    if (c.edge1_ms != 0) hub.batch(2, {record("feature:8", "v", c.edge1_ms)});
    if (c.edge2_ms != 0) hub.batch(1, {record("feature:9", "v", c.edge2_ms, 0, 2)}, "edge-2");
    if (c.remove_edge2) hub.run(RemoveEdge{"edge-2"});
    hub.run(Beacon{});
    EXPECT_EQ(hub.machine.uncollected(), c.left) << c.why;
    EXPECT_EQ(hub.rows.row("vfeature:1").has_value(), c.left == 1) << c.why;
  }
}

TEST(StateMachine, PoisonIsRefusedWholeAndKeepsTheNumberFree) {  // D6, D8
  struct Case {
    const char* why;
    BatchRecord poison;
    const char* message;
  };
  BatchRecord unstamped = record("feature:2", "v", 1);
  unstamped.stamp = {};
  const Case cases[] = {
      {"strong key", record("model:x", "v", 1), "'model:x' is not in a write-behind namespace of the region"},
      {"site key", record("bulk:x", "v", 1), "'bulk:x' is not in a write-behind namespace of the region"},
      {"local key", record("x", "v", 1), "'x' is not in a write-behind namespace of the region"},
      {"empty key", record("", "v", 1), "key is 0 bytes; it must be 1 to 4096 bytes"},
      {"no stamp", unstamped, "'feature:2': a write-behind record needs a stamp"},
      {"bad lifetime", record("feature:2", "v", 1, -1), "'feature:2': ttl_ns is -1; it must be 0 (none) or more"},
  };
  for (const Case& c : cases) {
    Hub hub;
    hub.start();
    const Applied applied = hub.batch(1, {record("feature:1", "v", 1), c.poison});
    EXPECT_FALSE(applied.effective) << c.why;
    EXPECT_EQ(applied.code, Code::kInvalid) << c.why;
    EXPECT_EQ(applied.message, c.message) << c.why;
    EXPECT_EQ(hub.value("feature:1"), "-") << c.why;
    EXPECT_EQ(hub.machine.last_batch("edge-1", 9), 0u) << c.why;
    EXPECT_TRUE(hub.batch(1, {record("feature:1", "v", 1)}).effective) << c.why;
  }
}

TEST(StateMachine, LifetimesCountInLedgerTime) {
  Hub hub;
  hub.start();
  hub.time = 10 * kSecond;
  KeyWrite write = set("r", "1");
  write.ttl_ns = 5 * kSecond;
  hub.put({write});
  EXPECT_EQ(hub.machine.find("r")->expires_at, 15 * kSecond);
  hub.time = 4 * kSecond;
  hub.run(Beacon{});
  EXPECT_EQ(hub.machine.ledger_time(), 10 * kSecond) << "ledger time never falls, whatever a new hub's clock says";
  KeyWrite kept = set("r", "2");
  kept.keep_ttl = true;
  hub.put({kept});
  EXPECT_EQ(hub.machine.find("r")->expires_at, 15 * kSecond);
  hub.time = 15 * kSecond - 1;
  hub.run(Beacon{});
  EXPECT_EQ(hub.value("r"), "2");
  hub.time = 15 * kSecond;
  EXPECT_EQ(hub.put({set("r", "3", Condition::kPresent)}).code, Code::kConflict) << "expired is absent, swept or not";
  EXPECT_EQ(hub.value("r"), "-");
  EXPECT_TRUE(hub.machine.keys("r", 10).empty());
  EXPECT_EQ(hub.put({kept}).code, Code::kOk);
  EXPECT_EQ(hub.machine.find("r")->expires_at, kForever) << "nothing to keep";
  KeyWrite again = set("r", "5");
  again.ttl_ns = kForever;
  hub.put({again});
  EXPECT_EQ(hub.machine.find("r")->expires_at, kForever) << "saturates";
}

TEST(StateMachine, ExpiredRowsAreSweptInBoundedSteps) {  // I11
  Hub hub;
  hub.start();
  hub.run(RegisterEdge{"edge-1", ""});
  for (int i = 0; i < 300; ++i) {
    KeyWrite write = set("r" + std::to_string(i), "v");
    write.ttl_ns = kSecond;
    hub.put({write});
  }
  std::vector<BatchRecord> records;
  for (int i = 0; i < 300; ++i) {
    records.push_back(
        record("feature:" + std::to_string(i), std::string(1000, 'v'), 100 + static_cast<std::uint64_t>(i), kSecond));
  }
  hub.batch(1, records);
  const std::size_t full = hub.rows.rows.size();
  hub.time = 2 * kSecond;
  hub.run(Beacon{});
  EXPECT_GE(hub.rows.rows.size() + 2 * 2 * StateMachine::kSweepMax, full) << "bounded";
  EXPECT_LT(hub.rows.rows.size(), full);
  for (int i = 0; i < 10; ++i) hub.run(Beacon{});
  EXPECT_EQ(hub.machine.uncollected(), 0u);
  EXPECT_TRUE(hub.machine.keys("", 10).empty());
  std::size_t values = 0;
  hub.rows.visit("v", "v", [&](std::string_view, std::string_view) { return ++values > 0; });
  EXPECT_EQ(values, 0u);
}

TEST(StateMachine, AListingNamesTheLivingKeysOfOneNamespacePageByPage) {  // TL.FLUSH
  Hub hub;
  hub.claim();
  Seed seed = shipped_seed();
  Namespace inner = namespace_of(seed.namespaces, "config:x");
  inner.prefix = "config:inner:";
  seed.namespaces.push_back(inner);
  ASSERT_TRUE(hub.run(seed).effective);
  hub.put({set("config:", "the prefix itself"), set("config:a", "1"), set("config:b", "2"), set("configurable", "no")});
  hub.put({set("config:inner:x", "of another namespace"), set("config:z", "3"), del("config:b")});
  KeyWrite brief = set("config:brief", "4");
  brief.ttl_ns = kSecond;
  hub.put({brief});
  hub.run(RegisterEdge{"edge-1", ""});
  hub.batch(1, {record("feature:f", "v", 700), record("feature:g", "v", 900), record("feature:h", std::nullopt, 950)});
  const auto listed = [&](const char* prefix, const char* after, Nanos now) {
    const auto page = hub.machine.list(prefix, after, now);
    std::string text;
    for (const std::string& key : page.keys) text += key + " ";
    return text + "|" + page.last + "|" + std::to_string(page.newest.wall_ms);
  };
  struct Case {
    const char* why;
    const char* prefix;
    const char* after;
    Nanos now;
    const char* keys;
  };
  for (const Case& c : {
           Case{"neither the deleted, nor those of longer and other prefixes", "config:", "", 0,
                "config: config:a config:brief config:z ||0"},
           Case{"nor the expired", "config:", "", kSecond, "config: config:a config:z ||0"},
           Case{"behind a key", "config:", "config:a", 0, "config:brief config:z ||0"},
           Case{"behind the last", "config:", "config:z", 0, "||0"},
           Case{"behind a key of elsewhere: all", "config:", "zzz", 0, "config: config:a config:brief config:z ||0"},
           Case{"the newest stamp among them (G8)", "feature:", "", 0, "feature:f feature:g ||900"},
           Case{"no such namespace", "none:", "", 0, "||0"},
       }) {
    EXPECT_EQ(listed(c.prefix, c.after, c.now), c.keys) << c.why;
  }
  std::set<std::string> all;
  for (int i = 0; i < 10; ++i) {
    std::vector<KeyWrite> many;
    for (int j = 0; j < 1000; ++j) many.push_back(set("config:inner:" + std::to_string(i * 1000 + j), "v"));
    hub.put(many);
  }
  std::string after;
  int pages = 0;
  do {
    const auto page = hub.machine.list("config:inner:", after, 0);
    EXPECT_LE(page.keys.size(), StateMachine::kListedRowsMax);
    for (const std::string& key : page.keys) EXPECT_TRUE(all.insert(key).second) << key << " twice";
    after = page.last;
    ++pages;
  } while (!after.empty());
  EXPECT_EQ(all.size(), 10'001u);
  EXPECT_EQ(pages, 3);
  for (const char* key : {"feature:1", "feature:2", "feature:3", "feature:4"}) {
    hub.put({set(key, std::string(kValueBytesMax, 'v'))});
  }
  const auto large = hub.machine.list("feature:", "", 0);
  EXPECT_EQ(large.keys.size(), 2u) << "I11: values are read too, so they bound a page as well";
  const auto next = hub.machine.list("feature:", large.last, 0);
  EXPECT_EQ(next.keys.size(), 2u);
  EXPECT_EQ(hub.machine.list("feature:", next.last, 0).keys.size(), 2u) << "feature:f and feature:g";
  EXPECT_EQ(hub.machine.list("config:", "", 0).keys.size(), 3u) << "the first page is full of another namespace's rows";
}

TEST(StateMachine, WritesSweepWhenNoBeaconIsNeeded) {  // I11
  Hub hub;
  hub.start();
  hub.run(RegisterEdge{"edge-1", ""});
  for (std::uint64_t i = 1; i <= 2000; ++i) {
    hub.time += 100 * kMillisecond;
    hub.batch(i, {record("feature:" + std::to_string(i), "v", 100 + i, kSecond)});
  }
  EXPECT_LE(hub.machine.uncollected(), 4u);
}

TEST(StateMachine, AWriteThroughOnAKeyClearsItsStamp) {
  Hub hub;
  hub.start();
  hub.batch(1, {record("feature:1", "behind", 100)});
  hub.put({set("feature:1", "through")});
  EXPECT_EQ(hub.machine.find("feature:1")->stamp, Stamp{});
}

TEST(StateMachine, BadBytesAreRefusedAndTheLedgerGoesOn) {
  Hub hub;
  hub.start();
  const Bytes good = encode(Command{{8, 1}, hub.term, 0, Put{{set("r", "1")}, {}}});
  for (std::size_t cut = 0; cut < good.size(); ++cut) {
    const Applied applied = hub.feed(Index{++hub.index}, good.substr(0, cut));
    EXPECT_FALSE(applied.effective);
    EXPECT_EQ(applied.code, Code::kCorrupt);
    EXPECT_EQ(hub.machine.applied(), Index{hub.index});
  }
  EXPECT_EQ(hub.feed(Index{++hub.index}, good + "x").code, Code::kCorrupt);
  EXPECT_TRUE(hub.feed(Index{++hub.index}, good).effective);

  struct Case {
    const char* why;
    Command command;
  };
  std::vector<KeyWrite> many(kKeysPerWriteMax + 1, set("r", "1"));
  const Case cases[] = {
      {"no id", {{0, 0}, hub.term, 0, Put{{set("r", "1")}, {}}}},
      {"no keys", {{9, 1}, hub.term, 0, Put{}}},
      {"too many keys", {{9, 2}, hub.term, 0, Put{many, {}}}},
      {"long key", {{9, 3}, hub.term, 0, Put{{set(std::string(5000, 'k'), "1")}, {}}}},
      {"large value", {{9, 4}, hub.term, 0, Put{{set("r", std::string(kValueBytesMax + 1, 'v'))}, {}}}},
      {"abort of nothing", {{9, 5}, hub.term, 0, Abort{}}},
      {"claim of nobody", {{9, 6}, {}, 0, Claim{}}},
      {"batch of nobody", {{9, 7}, hub.term, 0, Batch{"", 1, 1, {}}}},
      {"batch 0", {{9, 8}, hub.term, 0, Batch{"edge-1", 1, 0, {}}}},
      {"a batch has at most 65536 records, this one 65537",
       {{9, 9}, hub.term, 0, Batch{"edge-1", 1, 1, std::vector<BatchRecord>(StateMachine::kBatchRecordsMax + 1)}}},
  };
  for (const Case& c : cases) {
    const Applied applied = hub.apply(c.command);
    EXPECT_FALSE(applied.effective) << c.why;
    EXPECT_EQ(applied.code, Code::kInvalid) << c.why;
    EXPECT_FALSE(hub.machine.outcome(c.command.id).has_value()) << c.why;
  }
}

TEST(StateMachine, ARepeatedIndexChangesNothing) {
  Hub hub;
  hub.start();
  hub.put({set("r", "1")});
  const auto before = hub.rows.rows;
  for (const auto& [at, command] : hub.ledger) EXPECT_FALSE(hub.feed(at, command).effective);
  EXPECT_EQ(hub.rows.rows, before);
}

TEST(StateMachine, IdsAreForgottenOldestFirst) {  // I11
  Hub hub;
  hub.start();
  const CommandId first{8, 1};
  hub.apply({first, hub.term, 0, Abort{{7, 7}, {}}});  // remembers the target, then itself
  const std::uint64_t others = StateMachine::kIdsMax - 2;
  for (std::uint64_t i = 0; i < others; ++i) hub.run(RemoveEdge{"none"});
  EXPECT_TRUE(hub.machine.outcome({7, 7}).has_value());
  hub.run(RemoveEdge{"none"});
  EXPECT_FALSE(hub.machine.outcome({7, 7}).has_value());
  EXPECT_TRUE(hub.machine.outcome(first).has_value());
  hub.run(RemoveEdge{"none"});
  EXPECT_FALSE(hub.machine.outcome(first).has_value());
  std::size_t ids = 0, order = 0;
  hub.rows.visit("i", "i", [&](std::string_view, std::string_view) { return ++ids > 0; });
  hub.rows.visit("o", "o", [&](std::string_view, std::string_view) { return ++order > 0; });
  EXPECT_EQ(ids, StateMachine::kIdsMax);
  EXPECT_EQ(order, StateMachine::kIdsMax);
}

// ---- properties

Command any_command(Rng& rng, const Hub& hub) {
  Command command;
  command.id = {1 + rng.below(2), 1 + rng.below(60)};  // ids repeat often
  command.term = rng.one_in(10) ? Term{rng.below(8)} : hub.machine.term();
  command.ledger_time = static_cast<Nanos>(rng.below(100)) * 100 * kMillisecond;
  const auto key = [&](const char* prefix) { return prefix + std::to_string(rng.below(6)); };
  const auto ttl = [&] {
    return rng.one_in(2) ? Nanos{0} : static_cast<Nanos>(1 + rng.below(30)) * 100 * kMillisecond;
  };
  switch (rng.below(9)) {
    case 0: command.body = Claim{"hub-" + std::to_string(rng.below(3)), Boot{1 + rng.below(5)}}; break;
    case 1: command.body = Beacon{}; break;
    case 2: command.body = Abort{{1 + rng.below(2), 1 + rng.below(60)}, {}}; break;
    case 3: command.body = RegisterEdge{"edge-" + std::to_string(rng.below(3)), "s"}; break;
    case 4:
      command.body =
          rng.one_in(2) ? Body{SetLease{rng.one_in(2)}} : Body{RemoveEdge{"edge-" + std::to_string(rng.below(3))}};
      break;
    case 5: command.body = shipped_seed(); break;
    case 6: {
      Batch batch{"edge-" + std::to_string(rng.below(3)), 1 + rng.below(2), 0, {}};
      batch.number = hub.machine.last_batch(batch.edge, batch.incarnation) + rng.below(3);
      for (std::uint64_t n = rng.below(4); n > 0; --n) {
        batch.records.push_back(
            record(rng.one_in(30) ? key("model:") : key("feature:"),
                   rng.one_in(4) ? std::nullopt : std::optional<Bytes>(std::to_string(rng.below(9))),
                   1 + rng.below(200), ttl(), 1 + rng.below(3)));
      }
      command.body = std::move(batch);
      break;
    }
    default: {
      Put put;
      for (std::uint64_t n = 1 + rng.below(3); n > 0; --n) {
        KeyWrite write = rng.one_in(4) ? del(key("model:")) : set(key("model:"), std::to_string(rng.below(4)));
        write.condition = static_cast<Condition>(rng.below(5));
        write.expected = Index{rng.below(20)};
        write.keep_ttl = rng.one_in(4);
        write.ttl_ns = ttl();
        put.writes.push_back(std::move(write));
      }
      command.body = std::move(put);
    }
  }
  return command;
}

bool same(const Applied& a, const Applied& b) {
  const auto values = [](const Applied& x) {
    std::vector<std::pair<std::string, Bytes>> out;
    for (const ChangedValue& c : x.changed) out.emplace_back(c.key, encode(c.now));
    return out;
  };
  return a.index == b.index && a.effective == b.effective && a.applied_before == b.applied_before && a.code == b.code &&
         a.message == b.message && a.superseded == b.superseded && values(a) == values(b);
}

TEST(StateMachineProperty, HubsThatAreFedAlikeAreAlike) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    Hub one, two, three;  // two restarts now and then; three is installed from a snapshot half way
    const std::uint64_t install_at = 20 + rng.below(100);
    for (std::uint64_t i = 1; i <= 150; ++i) {
      const Bytes bytes = rng.one_in(50) ? Bytes("garbage") : encode(any_command(rng, one));
      const Index at{one.index += 1 + rng.below(2)};  // the engine's own entries leave holes
      const Applied a = one.feed(at, bytes);
      if (rng.one_in(10)) two.machine.load();
      const Applied b = two.feed(at, bytes);
      ASSERT_TRUE(same(a, b)) << "seed " << seed << " entry " << i;
      ASSERT_EQ(one.rows.rows, two.rows.rows) << "seed " << seed << " entry " << i;
      if (i == install_at) {
        three.rows.rows = one.rows.rows;
        three.machine.load();
      } else if (i > install_at) {
        ASSERT_TRUE(same(a, three.feed(at, bytes))) << "seed " << seed << " entry " << i;
        ASSERT_EQ(one.rows.rows, three.rows.rows) << "seed " << seed << " entry " << i;
      }
      ASSERT_EQ(one.machine.applied(), at);
      ASSERT_EQ(one.machine.edges(), two.machine.edges());
      if (!a.effective) {
        ASSERT_TRUE(a.changed.empty());
      }
    }
  }
}

TEST(StateMachineProperty, ReplayedIdsChangeNothing) {  // A1
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Rng rng(seed);
    Hub hub;
    hub.start();
    std::vector<Command> applied;
    for (int i = 0; i < 80; ++i) {
      Command command = any_command(rng, hub);
      if (hub.apply(command).effective && !std::holds_alternative<Beacon>(command.body)) applied.push_back(command);
    }
    auto before = hub.rows.rows;
    before.erase("a");
    const Nanos time = hub.machine.ledger_time();
    for (Command command : applied) {
      command.term = hub.machine.term();
      ASSERT_FALSE(hub.apply(command).effective) << "seed " << seed;
    }
    auto after = hub.rows.rows;
    after.erase("a");
    ASSERT_EQ(before, after) << "seed " << seed;
    ASSERT_EQ(hub.machine.ledger_time(), time);
  }
}

// The rows that wait for time or proof are exactly those that the values call for.
TEST(StateMachineProperty, IndexRowsMatchTheValues) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Rng rng(seed);
    Hub hub;
    hub.start();
    for (int i = 0; i < 120; ++i) hub.apply(any_command(rng, hub));
    std::size_t ending = 0, tombstones = 0, x = 0, t = 0;
    hub.rows.visit("v", "v", [&](std::string_view, std::string_view bytes) {
      const auto value = decode<StoredValue>(bytes, "value");
      if (!value->value) {
        ++tombstones;
      } else if (value->expires_at != kForever) {
        ++ending;
      }
      return true;
    });
    hub.rows.visit("x", "x", [&](std::string_view, std::string_view) { return ++x > 0; });
    hub.rows.visit("t", "t", [&](std::string_view, std::string_view) { return ++t > 0; });
    ASSERT_EQ(x, ending) << "seed " << seed;
    ASSERT_EQ(t, tombstones) << "seed " << seed;
  }
}

// F11: an index of the former ledger means nothing in the next one, so nothing keeps one.
TEST(Rebase, EveryValueGetsTheFirstIndexOfTheNextLedger) {
  Hub former;
  former.claim();
  former.run(shipped_seed());
  former.put({set("config:kept", "v")});
  former.put({set("config:gone", "v")});
  former.put({del("config:gone")});
  former.batch(1, {record("feature:k", "f", 5)});
  const Index last = former.machine.applied();
  const Index base = next_ledger_base(last);
  EXPECT_GT(base, last);
  EXPECT_EQ(next_ledger_base(base), (Index{2 * base.value})) << "and once more";
  ASSERT_EQ(applied_of_row(former.rows.rows.at(Bytes(kAppliedRow))), last);
  EXPECT_EQ(former.rows.rows.begin()->first, kAppliedRow) << "a backup begins with it";

  MapRows rows;
  for (const auto& [key, value] : former.rows.rows) rows.rows[key] = rebased_row(key, value, base);
  StateMachine next(rows);
  EXPECT_EQ(next.applied(), base);
  EXPECT_TRUE(next.seeded());
  EXPECT_EQ(next.edges(), former.machine.edges());
  for (const char* key : {"config:kept", "feature:k"}) {
    ASSERT_TRUE(next.find(key)) << key;
    EXPECT_EQ(next.find(key)->version, base) << key;
    EXPECT_EQ(next.find(key)->value, former.machine.find(key)->value) << key;
    EXPECT_EQ(next.find(key)->stamp, former.machine.find(key)->stamp) << key;
  }
  EXPECT_FALSE(next.find("config:gone"));
  EXPECT_EQ(next.last_batch("edge-1", 9), 1u);
  StateBatch batch;
  const Applied claim =
      next.apply(Index{base.value + 1}, encode(Command{{200, 1}, {}, 0, Claim{"hub-1", Boot{8}}}), batch);
  EXPECT_TRUE(claim.effective);
  EXPECT_GT(next.term().value, last.value) << "terms go on above all former ones";
}

}  // namespace
}  // namespace tidelock
