// The edge core by the book, part one: proofs and the order in which they are shown (F1-F8). One suite per rule of
// docs/protocol.md.

#include <gtest/gtest.h>

#include "protocol/edge_core_fixture.h"

namespace tidelock {
namespace {

using namespace edge_core_fixture;

TEST(EdgeF1, AMarkCountsFromTheSendOfItsOwnProbe) {
  Bench bench;
  bench.greet();
  const Nanos sent_at = bench.now;
  bench.now += 80 * kMs;  // the answer took its time
  bench.mark(Index{10});
  EXPECT_EQ(bench.core->fresh_at(), sent_at);
}

TEST(EdgeF1, WhatIsNotOutstandingIsDropped) {
  struct Case {
    const char* why;
    std::uint64_t nonce_ahead;
    bool twice;
  };
  for (const Case& c : {Case{"a nonce never sent", 1, false}, Case{"the same answer again", 0, true}}) {
    Bench bench;
    bench.greet();
    const Nonce nonce = bench.last<Probe>()->nonce;
    if (c.twice) bench.mark(Index{10});
    const Index applied = bench.core->applied();
    const Nanos fresh = bench.core->fresh_at();
    bench.now += kMs;
    bench.hub(Mark{Nonce{nonce.value + c.nonce_ahead}, Index{99}, true, kSecond, bench.now, 0});
    EXPECT_EQ(bench.core->applied(), applied) << c.why;
    EXPECT_EQ(bench.core->fresh_at(), fresh) << c.why;
  }
}

TEST(EdgeF1, AnAnswerOfAFormerSessionIsDropped) {
  Bench bench;
  bench.greet();
  const LinkNo old_link = bench.link;
  const HubFrame late{bench.session, 2, Mark{bench.last<Probe>()->nonce, Index{99}, true, kSecond, bench.now, 0}};
  bench.disconnect();
  bench.greet();
  bench.step(EdgeFrameIn{old_link, late});
  EXPECT_EQ(bench.core->applied(), Index{});
  bench.hub(late.body);  // even its nonce in the new session
  EXPECT_EQ(bench.core->applied(), Index{});
}

TEST(EdgeF1, AMarkWithoutProofProvesNothing) {  // A3
  Bench bench;
  bench.greet();
  bench.hub(Mark{bench.last<Probe>()->nonce, Index{10}, false, 0, bench.now, 0});
  EXPECT_EQ(bench.core->fresh_at(), kNever);
}

TEST(EdgeF2, AMarkTakesEffectInOneOrder) {
  Bench bench;
  bench.open(2 * kSecond, Term{1});
  bench.hub(Block{Term{1}, BlockNo{3}, {"cfg:k"}});
  bench.disconnect();
  bench.greet(Term{20}, Index{21});
  bench.mark(Index{21});  // F8, S2: a block of a lower term closes with the mark, after `applied`
  EXPECT_TRUE(bench.trace.starts_with("epochs applied close writers fresh lease")) << bench.trace;
}

TEST(EdgeF2, AHoleOrAForeignSessionEndsTheSession) {
  struct Case {
    const char* why;
    std::uint64_t session_ahead, number_ahead;
  };
  for (const Case& c : {Case{"a hole", 0, 1}, Case{"another session's number", 1, 0}}) {
    Bench bench;
    bench.open();
    bench.step(
        EdgeFrameIn{bench.link, HubFrame{SessionNo{bench.session.value + c.session_ahead},
                                         bench.number + 1 + c.number_ahead, Record{Index{11}, Term{1}, {}, {}, {}}}});
    EXPECT_FALSE(bench.core->session_open()) << c.why;
    EXPECT_TRUE(bench.trace.starts_with("hangup")) << c.why;
  }
}

TEST(EdgeF3, BoundedIsServedIffTheBoundHolds) {
  struct Case {
    const char* why;
    Nanos age;
    bool served;
  };
  const Nanos edge_of_it = 999'600'159;  // the largest age whose stretch by 2 rho is at most one second
  for (const Case& c :
       {Case{"fresh", 0, true}, Case{"just within", edge_of_it, true}, Case{"just beyond", edge_of_it + 1, false}}) {
    Bench bench;
    bench.open();
    bench.hold("plain:k", Index{7}, "v");
    const Nanos proven = bench.core->fresh_at();
    bench.now = proven + c.age;
    bench.read(1, "plain:k", bounded(kSecond));
    EXPECT_EQ(bench.answered(1), c.served) << c.why;
    if (c.served) {
      EXPECT_EQ(bench.reads[1].receipt.bound_ns, stretch(c.age, 200)) << c.why;
      EXPECT_EQ(bench.reads[1].receipt.basis, Basis::kProof) << c.why;
    }
  }
}

TEST(EdgeF3, RefreshAndWaitEndWithOneDeadline) {
  struct Case {
    const char* why;
    std::vector<OnStale> list;
    Nanos cap, deadline;
    Code code;
    bool fallback, at_once;
  };
  const Case cases[] = {
      {"fallback at the deadline", kAll, kForever, 100 * kMs, Code::kOk, true, false},
      {"no fallback allowed", {OnStale::kRefresh, OnStale::kFail}, kForever, 100 * kMs, Code::kStale, false, false},
      {"a fallback older than the cap", kAll, kSecond, 100 * kMs, Code::kStale, false, false},
      {"deadline zero: at once", kAll, kForever, 0, Code::kOk, true, true},
      {"nothing to wait for", {OnStale::kFallback}, kForever, 100 * kMs, Code::kOk, true, true}};
  for (const Case& c : cases) {
    Bench bench(kNever, c.list, c.cap);
    bench.open();
    bench.hold("plain:k", Index{7}, "v");
    bench.disconnect();
    const Nanos proven = bench.core->fresh_at();
    bench.now += 5 * kSecond;
    bench.read(1, "plain:k", bounded(10 * kMs, c.deadline));
    EXPECT_EQ(bench.answered(1), c.at_once) << c.why;
    bench.tick(99 * kMs);
    EXPECT_EQ(bench.answered(1), c.at_once) << c.why;
    bench.tick(kMs);
    ASSERT_TRUE(bench.answered(1)) << c.why;
    const ReadDone& done = bench.reads[1];
    EXPECT_EQ(done.code, c.code) << c.why;
    EXPECT_EQ(done.receipt.fallback, c.fallback) << c.why;
    const Nanos answered_at = c.at_once ? bench.now - 100 * kMs : bench.now;
    EXPECT_EQ(done.receipt.bound_ns, staleness_bound(answered_at, proven, 200))
        << c.why << ": the true bound, flagged or not";
  }
}

TEST(EdgeF3, ARefreshThatSucceedsServesWithinTheDeadline) {
  Bench bench;
  bench.open();
  bench.hold("plain:k", Index{7}, "v");
  bench.now += 3 * kSecond;
  const int probes = bench.count<Probe>();
  bench.read(1, "plain:k", bounded(100 * kMs));
  bench.read(2, "plain:k", bounded(100 * kMs));
  EXPECT_EQ(bench.count<Probe>(), probes + 1) << "single flight";
  bench.now += 20 * kMs;
  bench.mark(Index{10});
  ASSERT_TRUE(bench.answered(1) && bench.answered(2));
  EXPECT_FALSE(bench.reads[1].receipt.fallback);
  EXPECT_EQ(bench.reads[1].receipt.bound_ns, stretch(20 * kMs, 200));
}

// A hit is what a step would answer, found without one: whatever needs a step, or is not proven, is no hit.
TEST(EdgeF3, AHitIsWhatAStepWouldAnswer) {
  struct Case {
    const char* why;
    const char* key;
    Nanos age;  // since the last proof
    bool hit;
  };
  const Nanos edge_of_it = 999'600'159;  // see BoundedIsServedIffTheBoundHolds
  for (const Case& c :
       {Case{"fresh", "plain:k", 0, true}, Case{"just within the bound", "plain:k", edge_of_it, true},
        Case{"just beyond", "plain:k", edge_of_it + 1, false}, Case{"leased", "cfg:k", kMs, true},
        Case{"the lease has lapsed", "cfg:k", 3 * kSecond, false}, Case{"of this gateway", "own", kSecond, true},
        Case{"of this gateway, not there", "nothing", kSecond, false},
        Case{"of this gateway, expired", "short", 10 * kSecond, false}}) {
    Bench bench;
    bench.open();
    bench.hold("plain:k", Index{7}, "v");
    bench.hold("cfg:k", Index{7}, "v");
    bench.write(1, "own", "v");
    KeyWrite brief;
    brief.key = "short";
    brief.value = "v";
    brief.ttl_ns = 10 * kSecond;
    bench.step(EdgeWrite{WriteToken{2}, brief, {}, 1'000});
    const Nanos then = std::string_view(c.key) == "short" ? bench.now + c.age : bench.core->fresh_at() + c.age;
    const std::uint64_t reads = bench.core->counters().reads_total;
    const auto entry = bench.core->hit(c.key, then);
    ASSERT_EQ(entry.has_value(), c.hit) << c.why;
    EXPECT_EQ(bench.core->counters().reads_total, reads + c.hit) << c.why;
    if (!c.hit) continue;
    const std::optional<Bytes> value = entry->copy().value;
    bench.now = then;
    bench.read(3, c.key);
    ASSERT_TRUE(bench.answered(3)) << c.why;
    EXPECT_EQ(bench.reads[3].value, value) << c.why;
    EXPECT_FALSE(bench.reads[3].receipt.fallback) << c.why;
  }
}

TEST(EdgeF4, ABlockedKeyIsNoHit) {
  Bench bench;
  bench.open();
  bench.hold("cfg:k", Index{7}, "v");
  ASSERT_TRUE(bench.core->hit("cfg:k", bench.now));
  bench.hub(Block{Term{1}, BlockNo{1}, {"cfg:k"}});
  EXPECT_FALSE(bench.core->hit("cfg:k", bench.now));
}

TEST(EdgeF9, ADemandThatIsNewNeedsAStep) {
  Bench bench;
  bench.open();
  bench.hold("plain:k", Index{7}, "v");
  ASSERT_TRUE(bench.core->hit("plain:k", bench.now));
  bench.now += 61 * kSecond;  // what was asked for in that minute is no longer known
  bench.tick();
  bench.mark(Index{10});
  EXPECT_FALSE(bench.core->hit("plain:k", bench.now));
  bench.read(1, "plain:k");
  EXPECT_TRUE(bench.core->hit("plain:k", bench.now));
}

TEST(EdgeF4, TheLeaseCountsFromTheSend) {
  struct Case {
    const char* why;
    Nanos before_end;
    bool served;
  };
  for (const Case& c : {Case{"in its last nanosecond", 1, true}, Case{"at its end", 0, false}}) {
    Bench bench;
    bench.greet();
    const Nanos sent_at = bench.now;
    bench.now += 50 * kMs;
    bench.mark(Index{10}, 2 * kSecond);
    const Nanos until = sent_at + shrink(2 * kSecond, 200) - bench.settings.lease_margin_ns;
    EXPECT_EQ(bench.lease_shown, until);
    bench.hold("cfg:k", Index{7}, "v");
    bench.now = until - c.before_end;
    bench.read(1, "cfg:k", strong());
    EXPECT_EQ(bench.answered(1) && bench.reads[1].receipt.basis == Basis::kLease, c.served) << c.why;
  }
}

TEST(EdgeF4, TheLeaseIsShownBehindAppliedAndOutlivesItsSession) {
  Bench bench;
  bench.open();
  EXPECT_LT(bench.trace.find("applied"), bench.trace.find("lease"));
  bench.hold("cfg:k", Index{7}, "v");
  bench.disconnect();
  bench.read(1, "cfg:k", strong(0));
  EXPECT_EQ(bench.reads[1].receipt.basis, Basis::kLease);
  bench.now += 2 * kSecond;
  bench.read(2, "cfg:k", strong(0));
  EXPECT_TRUE(bench.reads[2].receipt.fallback) << "it ends by time";
}

TEST(EdgeF4, NoLeaseCoversANamespaceThatIsNotStrong) {
  Bench bench;
  bench.open();
  bench.hold("plain:k", Index{7}, "v");
  bench.now += kMs;
  const int fetches = bench.count<Fetch>();
  bench.read(1, "plain:k", strong());
  EXPECT_FALSE(bench.answered(1)) << "nobody blocks the writers of bounded keys: the hub is asked";
  EXPECT_EQ(bench.count<Fetch>(), fetches + 1);
  bench.answer(Index{12}, Index{12}, "w");
  ASSERT_TRUE(bench.answered(1));
  EXPECT_EQ(bench.reads[1].value, "w");
  EXPECT_EQ(bench.reads[1].receipt.source, Source::kHub);
}

TEST(EdgeF5, ARecordIsShownInTheWritersOrder) {
  Bench bench;
  bench.open();
  bench.hold("cfg:k", Index{7}, "v");
  bench.hub(Block{Term{1}, BlockNo{1}, {"cfg:k"}});
  bench.record(Index{11}, "cfg:k", "w", BlockNo{1});
  EXPECT_TRUE(bench.trace.starts_with("odd put bump strong even close")) << bench.trace;
  bench.now += kSecond;
  bench.tick();
  bench.mark(Index{11});
  EXPECT_TRUE(bench.trace.starts_with("applied writers fresh lease")) << bench.trace;
}

TEST(EdgeF5, AllKeysOfOneIndexChangeInsideOneOddGeneration) {  // S4
  Bench bench;
  bench.open();
  bench.hub(
      Record{Index{11}, Term{1}, {}, {{"cfg:a", false, "1", kForever, {}}, {"cfg:b", false, "1", kForever, {}}}, {}});
  EXPECT_TRUE(bench.trace.starts_with("odd put bump strong put bump strong even")) << bench.trace;
}

TEST(EdgeF6, TheBoundGrowsUntilTheAnswer) {
  Bench bench;
  bench.open();
  bench.hold("plain:k", Index{7}, "v");
  const Nanos proven = bench.core->fresh_at();
  for (const Nanos age : {10 * kMs, 400 * kMs, 900 * kMs}) {
    bench.now = proven + age;
    bench.read(1, "plain:k", bounded(kSecond));
    EXPECT_EQ(bench.reads[1].receipt.bound_ns, stretch(age, 200));
  }
}

TEST(EdgeF7, AnAnswerIsDroppedWhenSomethingNewerIsKnown) {
  struct Case {
    const char* why;
    Index read_at, invalidated_at;
    bool pushed;
    const char* value;  // held at the end; null: none
    bool refetched;
  };
  const Case cases[] = {{"invalidated above its index: fetched again", Index{11}, Index{12}, false, nullptr, true},
                        {"invalidated at its index: it is that version", Index{12}, Index{12}, false, "old", false},
                        {"a newer version came in the feed: kept", Index{11}, Index{12}, true, "new", true}};
  for (const Case& c : cases) {
    Bench bench;
    bench.open();
    bench.read(1, "plain:k", bounded(kSecond));
    const Fetch asked = *bench.last<Fetch>();
    const int fetches = bench.count<Fetch>();
    bench.hub(
        Record{c.invalidated_at,
               Term{1},
               {},
               {ChangedKey{"plain:k", false, c.pushed ? std::optional<Bytes>("new") : std::nullopt, kForever, {}}},
               {}});
    bench.hub(FetchAnswer{asked.request, c.read_at, true, {{"plain:k", c.read_at, false, "old", kForever, {}}}});
    const EdgeEntry* held = bench.arena.look("plain:k");
    EXPECT_EQ(held != nullptr, c.value != nullptr) << c.why;
    if (held != nullptr && c.value != nullptr) {
      EXPECT_EQ(held->value, c.value) << c.why;
    }
    EXPECT_EQ(bench.count<Fetch>() > fetches, c.refetched) << c.why;
  }
}

TEST(EdgeF7, AnAnswerOfAFormerSessionIsDropped) {
  Bench bench;
  bench.open();
  bench.read(1, "plain:k", bounded(kSecond, 10 * kSecond));
  const Fetch asked = *bench.last<Fetch>();
  bench.disconnect();
  bench.open();
  bench.hub(FetchAnswer{asked.request, Index{10}, true, {{"plain:k", Index{5}, false, "old", kForever, {}}}});
  EXPECT_FALSE(bench.arena.look("plain:k"));
}

TEST(EdgeF7, AbsenceAndExpiryObeyTheSameRules) {
  Bench bench;
  bench.open();
  bench.read(1, "plain:k");
  bench.answer(Index{10}, Index{}, std::nullopt);
  EXPECT_EQ(bench.reads[1].code, Code::kNotFound);
  EXPECT_NE(bench.reads[1].receipt.bound_ns, kForever) << "absence is proven too";
  bench.read(2, "plain:t");
  const Nanos asked_at = bench.now;
  bench.now += 100 * kMs;
  bench.answer(Index{10}, Index{3}, "v", 500 * kMs);
  EXPECT_EQ(bench.arena.look("plain:t")->expires_at, asked_at + shrink(500 * kMs, 200))
      << "C5: never later than the hub's";
}

TEST(EdgeF8, TheLossOfASessionChangesNothing) {
  Bench bench;
  bench.open();
  bench.hold("plain:k", Index{7}, "v");
  bench.hub(Block{Term{1}, BlockNo{1}, {"cfg:k"}});
  const Nanos fresh = bench.core->fresh_at(), lease = bench.core->lease_until();
  bench.disconnect();
  EXPECT_EQ(bench.core->fresh_at(), fresh);
  EXPECT_EQ(bench.core->lease_until(), lease);
  EXPECT_EQ(bench.core->open_blocks(), 1u);
  EXPECT_EQ(bench.trace.find("drop"), std::string::npos);
}

TEST(EdgeF8, TheFirstMarkOfTheNextSessionUnverifiesAndARevalidationBringsNoBytes) {
  Bench bench;
  bench.open();
  bench.hold("plain:k", Index{7}, "v");
  const Nanos former = bench.core->fresh_at();
  bench.disconnect();
  bench.greet();
  bench.read(1, "plain:k", bounded(60 * kSecond));
  EXPECT_EQ(bench.reads[1].receipt.bound_ns, staleness_bound(bench.now, former, 200))
      << "until then the old proof speaks";
  bench.mark(Index{10});
  bench.read(2, "plain:k", bounded(100 * kMs));
  EXPECT_FALSE(bench.answered(2)) << "the new mark does not vouch for it";
  ASSERT_NE(bench.last<Fetch>(), nullptr);
  EXPECT_EQ(bench.last<Fetch>()->wanted[0].known, Index{7});
  bench.hub(FetchAnswer{
      bench.last<Fetch>()->request, Index{10}, true, {{"plain:k", Index{7}, true, std::nullopt, kForever, {}}}});
  ASSERT_TRUE(bench.answered(2));
  EXPECT_EQ(bench.reads[2].value, "v");
}

TEST(EdgeF8, WhatManyReadsMustAskForTravelsTogether) {
  struct Case {
    const char* why;
    std::size_t keys, fetches;
    bool last_says_so;  // that it is the last
  };
  const Case cases[] = {{"one", 1, 1, true},
                        {"an MGET", 100, 1, true},
                        {"as many as one message takes", 256, 1, true},
                        {"one more", 257, 2, true},
                        {"a gateway that starts warm", 1'000, 4, true},
                        {"nobody says that it was the last", 300, 2, false}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.why);
    Bench bench;
    bench.open();
    for (std::size_t i = 0; i < c.keys; ++i) bench.hold("plain:" + std::to_string(i), Index{7}, "v");
    bench.disconnect();
    bench.open();
    bench.sent.clear();
    for (std::size_t i = 0; i < c.keys; ++i) {
      if (i > 0) {
        EXPECT_EQ(bench.wake_at, bench.now) << "a tick is due";
      }
      bench.read(i + 1, "plain:" + std::to_string(i), bounded(kMs), i + 1 < c.keys || !c.last_says_so);
    }
    if (!c.last_says_so) {
      EXPECT_EQ(bench.count<Fetch>(), 0);
      EXPECT_EQ(bench.wake_at, bench.now);
      bench.tick();
    }
    ASSERT_EQ(bench.count<Fetch>(), static_cast<int>(c.fetches));
    std::size_t asked = 0;
    const std::vector<EdgeFrame> sent = bench.sent;
    for (const EdgeFrame& frame : sent) {
      const auto* fetch = std::get_if<Fetch>(&frame.body);
      if (fetch == nullptr) continue;
      asked += fetch->wanted.size();
      FetchAnswer answer{fetch->request, Index{10}, true, {}};
      for (const auto& wanted : fetch->wanted) {
        EXPECT_EQ(wanted.known, Index{7}) << "its value does not travel again";
        answer.found.push_back({wanted.key, Index{7}, true, std::nullopt, kForever, {}});
      }
      bench.hub(std::move(answer));
    }
    EXPECT_EQ(asked, c.keys);
    for (std::size_t i = 0; i < c.keys; ++i) EXPECT_TRUE(bench.answered(i + 1)) << i;
  }
}

TEST(EdgeF8, EachEntryKeepsTheProofOfTheLastSessionThatCoveredIt) {
  Bench bench;
  std::vector<Nanos> ended;
  for (int session = 0; session < 100; ++session) {
    bench.open();
    bench.hold("plain:k" + std::to_string(session), Index{7}, "v");
    bench.arena.put("plain:k" + std::to_string(session), [&] {  // as if a record had brought it: no proof of its own
      EdgeEntry entry = *bench.arena.look("plain:k" + std::to_string(session));
      entry.proven_at = kNever;
      return entry;
    }());
    bench.tick(3 * kSecond);
    bench.mark(Index{10});
    ended.push_back(bench.core->fresh_at());
    bench.disconnect();
  }
  bench.open();
  for (std::size_t i = 0; i < ended.size(); ++i) {
    bench.read(i, "plain:k" + std::to_string(i), bounded(kMs, 0));
    const Nanos bound = bench.reads[i].receipt.bound_ns;
    if (i < 36) {
      EXPECT_EQ(bound, kForever) << "so many sessions ago: forgotten, never taken for a later one " << i;
    } else if (i > 36) {
      EXPECT_EQ(bound, staleness_bound(bench.now, ended[i], 200)) << i;
    }
  }
  bench.step(EdgeDisrupted{});  // C2
  bench.open();
  bench.read(200, "plain:k99", bounded(kMs, 0));
  EXPECT_EQ(bench.reads[200].receipt.bound_ns, kForever);
}

TEST(EdgeF8, WhatASessionVerifiedBeforeItsFirstMarkIsNotCoveredByTheNext) {
  Bench bench;
  bench.open();
  bench.hold("plain:k", Index{7}, "v");
  bench.disconnect();
  bench.greet();
  bench.record(Index{11}, "plain:k", "w");  // before any mark of that session, which then breaks
  bench.disconnect();
  bench.greet(Term{1}, Index{12});
  bench.mark(Index{12});
  bench.read(1, "plain:k", bounded(100 * kMs, 0));
  EXPECT_TRUE(bench.reads[1].receipt.fallback) << "nobody is registered for it in this session";
}

TEST(EdgeF8, StrongEntriesStayVerifiedUnlessTheReplayHasAHole) {
  for (const bool reset : {false, true}) {
    Bench bench;
    bench.open();
    bench.hold("cfg:k", Index{7}, "v");
    bench.disconnect();
    bench.greet(Term{1}, Index{10}, reset);
    bench.mark(Index{10});
    bench.read(1, "cfg:k", strong());
    EXPECT_EQ(bench.answered(1), !reset);
  }
}

TEST(EdgeF8, AReplayDoesNotBringBackWhatIsOlderThanL2) {
  Bench bench;
  bench.open();
  EdgeEntry newer;
  newer.version = Index{20};
  newer.value = "new";
  bench.store.rows["cfg:k"] = newer;  // left memory, rests in L2
  bench.record(Index{15}, "cfg:k", "old");
  bench.read(1, "cfg:k", Contract{Consistency::kEventual, {}, 0, {}});
  EXPECT_EQ(bench.reads[1].value, "new");
}

}  // namespace
}  // namespace tidelock
