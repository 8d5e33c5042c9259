// How a rollout goes on, step by step, in the ledger's time (M5). Nothing here has a clock, a thread or a network.
#include "protocol/rollout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "base/rng.h"
#include "codec/archive.h"
#include "protocol/pointer_in_force.h"

namespace tidelock {
namespace {

using Pointers = RolloutStep::Pointers;
using What = RolloutCommand::What;

RolloutPlan plan_of(const std::string& waves, const std::string& gate = "error_rate<0.01") {
  RolloutPlan plan;
  plan.version = "2.0.0";
  plan.waves = *parse_waves(waves);
  if (!gate.empty()) plan.gates = {*parse_gate(gate)};
  plan.dwell_ns = 10 * kSecond;
  plan.patience_ns = 60 * kSecond;
  plan.samples_min = 100;
  return plan;
}

// A fleet whose facts a test sets, and a rollout that steps through it as a hub would.
struct Bench {
  struct Edge {
    bool reachable = true, rings = true, staged = true;
    Labels labels;
    std::uint64_t link = 0;
    std::optional<ModelHealth> health;
  };
  std::map<NodeId, Edge> edges;
  std::optional<Rollout> rollout;
  std::vector<Pointers> pointers;  // of every step
  std::string said;
  Nanos now = 100 * kSecond;

  explicit Bench(int count) {
    for (int i = 1; i <= count; ++i) edges["edge-" + std::to_string(i)];
  }
  Fleet fleet() const {
    Fleet fleet;
    for (const auto& [id, edge] : edges)
      fleet.push_back({id, edge.reachable, edge.rings, edge.staged, &edge.labels, edge.link,
                       edge.health ? &*edge.health : nullptr});
    return fleet;
  }
  Result<RolloutStep> ask(What what, const NodeId& who, RolloutPlan plan = {}, bool take_over = false) {
    const RolloutTarget target{{"2.0.0", "sha-2", {}}, {"1.0.0", "sha-1", "0.9.0"}, 1'000'000};
    auto step = command_rollout(rollout ? &*rollout : nullptr, {what, "m", std::move(plan), take_over}, who, target,
                                fleet(), now);
    if (step) take(*step);
    return step;
  }
  void take(const RolloutStep& step) {
    rollout = step.next;
    said = step.said;
    if (step.pointers != Pointers::kKeep) pointers.push_back(step.pointers);
  }
  // Looks as often as there is something to do now.
  void look() {
    for (;;) {
      const RolloutLook look = advance_rollout(*rollout, fleet(), now);
      if (!look.step) return;
      take(*look.step);
    }
  }
  void after(Nanos span) {
    now += span;
    look();
  }
  void report(const NodeId& edge, std::uint64_t frames, std::uint64_t errors, std::uint64_t latency_us = 1'000) {
    ModelHealth health;
    health.name = "m";
    health.version = "2.0.0";
    health.in_force = true;
    health.frames = frames;
    health.errors = errors;
    health.latency = {{latency_bucket(latency_us), frames}};
    edges[edge].health = health;
  }
  void all_well() {
    for (const auto& [id, edge] : edges) report(id, 1'000, 0);
  }
};

TEST(Rollout, GoesThroughItsWavesAndEndsWithEverybody) {  // M5
  Bench bench(10);
  bench.edges["edge-7"].labels = {{"canary", "yes"}};
  ASSERT_TRUE(bench.ask(What::kStart, "alice", plan_of("canary=yes,50%")));
  EXPECT_EQ(bench.pointers, (std::vector{Pointers::kStage})) << "staging begins";
  bench.look();
  ASSERT_EQ(bench.rollout->phase, RolloutPhase::kDwelling);
  EXPECT_EQ(bench.rollout->members(), (std::vector<NodeId>{"edge-7"})) << "who says canary=yes goes first";
  bench.report("edge-7", 1'000, 3);
  bench.after(9 * kSecond);
  EXPECT_EQ(bench.rollout->wave, 0u) << "the dwell time is not over";
  bench.after(kSecond);
  EXPECT_EQ(bench.rollout->wave, 1u);
  EXPECT_EQ(bench.rollout->members().size(), 5u) << "half of ten, the canary counts";
  bench.all_well();
  bench.after(10 * kSecond);
  EXPECT_EQ(bench.rollout->wave, 2u);
  EXPECT_EQ(bench.pointers.back(), Pointers::kAll);
  bench.after(10 * kSecond);
  EXPECT_EQ(bench.rollout->phase, RolloutPhase::kDone);
  EXPECT_EQ(bench.pointers, (std::vector{Pointers::kStage, Pointers::kRing, Pointers::kRing, Pointers::kAll}))
      << "a pointer moves once for each wave";
  ASSERT_EQ(bench.rollout->waves.size(), 3u);
  EXPECT_EQ(bench.rollout->waves[2].edges, 5u);
}

TEST(Rollout, AGateThatFailsTakesEverybodyBack) {  // M5, S5
  struct Case {
    const char* why;
    const char* gate;
    std::function<void(ModelHealth&)> spoil;
    bool fails;
  };
  const Case cases[] = {
      {"one frame in a hundred is the limit", "error_rate<0.01", [](ModelHealth& h) { h.errors = 10; }, true},
      {"just below it", "error_rate<0.01", [](ModelHealth& h) { h.errors = 9; }, false},
      {"slow frames", "p99_ms<50", [](ModelHealth& h) { h.latency = {{latency_bucket(80'000), 1'000}}; }, true},
      {"one slow frame in a hundred and one is not the 99th", "p99_ms<50",
       [](ModelHealth& h) { h.latency = {{latency_bucket(1'000), 1'000}, {latency_bucket(80'000), 10}}; }, false},
      {"inputs that drifted", "drift<0.2", [](ModelHealth& h) { h.drift_ppm = 250'000, h.drift_reports = 1; }, true},
      {"and did not", "drift<0.2", [](ModelHealth& h) { h.drift_ppm = 150'000, h.drift_reports = 1; }, false},
      {"an app that is not well", "sick<1", [](ModelHealth& h) { h.sick = 1; }, true},
      {"all are", "sick<1", [](ModelHealth&) {}, false},
  };
  for (const Case& c : cases) {
    for (const bool paused : {false, true}) {
      Bench bench(4);
      ASSERT_TRUE(bench.ask(What::kStart, "alice", plan_of("1", c.gate)));
      bench.look();
      ASSERT_EQ(bench.rollout->members().size(), 1u);
      const NodeId canary = bench.rollout->members()[0];
      bench.report(canary, 1'000, 0);
      c.spoil(*bench.edges[canary].health);
      if (paused) {
        ASSERT_TRUE(bench.ask(What::kPause, "bob"));
      }
      bench.look();
      EXPECT_EQ(bench.rollout->phase == RolloutPhase::kRolledBack, c.fails) << c.why << (paused ? ", paused" : "");
      EXPECT_EQ(bench.pointers.back(), c.fails ? Pointers::kBack : Pointers::kRing) << c.why;
      if (c.fails) {
        EXPECT_NE(bench.rollout->reason.find(c.gate), std::string::npos) << bench.rollout->reason;
      }
    }
  }
}

TEST(Rollout, ARecordSaysWhichWaveItIsOf) {  // M5
  Bench bench(10);
  ASSERT_TRUE(bench.ask(What::kStart, "alice", plan_of("2,20%,50%", "")));
  bench.look();
  bench.after(10 * kSecond);
  ASSERT_EQ(bench.rollout->waves.size(), 2u) << "20 % are ahead already: that wave adds nobody";
  EXPECT_EQ(bench.rollout->waves[1].wave, 2u);
  const auto again = decode_rollout(encode_rollout(*bench.rollout, kLedgerVersionRecalls));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->waves[1].wave, 2u);
  // A hub of a build before it must be able to read what is written while one is there.
  const Bytes before = encode_rollout(*bench.rollout, kLedgerVersionRecalls - 1);
  EXPECT_TRUE(decode<Rollout>(before, "rollout"));
  EXPECT_EQ(decode_rollout(before)->waves[1].wave, 1u);
  EXPECT_FALSE(decode_rollout(encode_rollout(*bench.rollout, kLedgerVersionRecalls) + "x"));
}

TEST(Rollout, AWaveThatFallsSilentDoesNotPass) {  // M5
  struct Case {
    const char* why;
    std::size_t silent;  // of the four of the wave
    bool passes;
  };
  for (const Case& c : {Case{"all say that they are well", 0, true}, Case{"half of them do", 2, true},
                        Case{"one of them does", 3, false}, Case{"nobody is left to say so", 4, false}}) {
    Bench bench(8);
    ASSERT_TRUE(bench.ask(What::kStart, "alice", plan_of("4", "sick<1")));
    bench.look();
    const std::vector<NodeId> wave = bench.rollout->members();
    ASSERT_EQ(wave.size(), 4u);
    bench.all_well();
    for (std::size_t i = 0; i < c.silent; ++i) bench.edges[wave[i]].health.reset();
    bench.after(11 * kSecond);
    EXPECT_EQ(bench.rollout->waves.size(), c.passes ? 2u : 1u) << c.why;
    if (c.passes) continue;
    bench.after(2 * bench.rollout->plan.patience_ns);
    EXPECT_EQ(bench.rollout->phase, RolloutPhase::kPaused) << c.why;
    EXPECT_NE(bench.rollout->reason.find("said nothing"), std::string::npos) << bench.rollout->reason;
  }
}

TEST(Rollout, TheLastWaveIsWatchedAlsoBehindOneThatAddedNobody) {  // M5
  Bench bench(10);
  ASSERT_TRUE(bench.ask(What::kStart, "alice", plan_of("2,20%", "error_rate<0.1")));
  bench.look();
  const std::vector<NodeId> ahead = bench.rollout->members();
  ASSERT_EQ(ahead.size(), 2u);
  bench.all_well();
  bench.after(10 * kSecond);
  ASSERT_EQ(bench.pointers.back(), Pointers::kAll) << "20 % are ahead already";
  ASSERT_EQ(bench.rollout->waves.size(), 2u);
  for (const auto& [id, edge] : bench.edges) {
    if (!std::binary_search(ahead.begin(), ahead.end(), id)) bench.report(id, 1'000, 500);
  }
  bench.look();
  EXPECT_EQ(bench.rollout->phase, RolloutPhase::kRolledBack);
}

TEST(Rollout, FiguresOfATimeBeforeSayNothing) {  // M5
  Bench bench(4);
  for (const auto& [id, edge] : bench.edges) {  // of a first try, which was taken back
    bench.report(id, 1'000, 900);
    bench.edges[id].health->in_force = false;
  }
  ASSERT_TRUE(bench.ask(What::kStart, "alice", plan_of("1", "error_rate<0.1")));
  bench.look();
  ASSERT_EQ(bench.rollout->phase, RolloutPhase::kDwelling);
  bench.report(bench.rollout->members()[0], 1'000, 500);
  bench.look();
  EXPECT_EQ(bench.rollout->phase, RolloutPhase::kRolledBack) << "what it does now counts";
}

TEST(Rollout, ManyGoodFramesOfEarlierWavesHideNothing) {  // M5
  Bench bench(10);
  ASSERT_TRUE(bench.ask(What::kStart, "alice", plan_of("1,3")));
  bench.look();
  const NodeId first = bench.rollout->members()[0];
  bench.report(first, 1'000'000, 0);
  bench.after(10 * kSecond);
  ASSERT_EQ(bench.rollout->wave, 1u);
  for (const NodeId& edge : bench.rollout->waves[1].added) bench.report(edge, 100, 50);
  bench.look();
  EXPECT_EQ(bench.rollout->phase, RolloutPhase::kRolledBack) << "half of the frames of the new ones failed";
}

TEST(Rollout, WithoutFiguresAWaveDoesNotPass) {  // M5
  Bench bench(4);
  ASSERT_TRUE(bench.ask(What::kStart, "alice", plan_of("1")));
  bench.look();
  const NodeId canary = bench.rollout->members()[0];
  bench.report(canary, 99, 0);
  bench.after(69 * kSecond);
  EXPECT_EQ(bench.rollout->phase, RolloutPhase::kDwelling) << "99 frames of 100: it waits";
  bench.after(kSecond);
  EXPECT_EQ(bench.rollout->phase, RolloutPhase::kPaused) << "and then a person has to look";
  EXPECT_NE(bench.rollout->reason.find("TL.HEALTH"), std::string::npos) << bench.rollout->reason;
  bench.report(canary, 100, 0);
  ASSERT_TRUE(bench.ask(What::kResume, "alice"));
  bench.look();
  EXPECT_EQ(bench.rollout->wave, 1u) << "the dwell time was over before";
  EXPECT_EQ(bench.pointers.back(), Pointers::kAll);
}

TEST(Rollout, AStuckGatewayHoldsNobodyUp) {  // M5
  struct Case {
    const char* why;
    const char* waves;
    std::function<void(Bench&)> spoil;
    Nanos waits;  // before the first wave is activated; kForever: it pauses
    std::size_t members;
    std::uint32_t stuck;
  };
  const Case cases[] = {
      {"all have staged it", "2", [](Bench&) {}, 0, 2, 0},
      {"two others have", "2", [](Bench& b) { b.edges["edge-1"].staged = b.edges["edge-2"].staged = false; }, 0, 2, 0},
      {"one of two wanted has", "2",
       [](Bench& b) {
         for (auto& [id, edge] : b.edges) edge.staged = id == "edge-3";
       },
       60 * kSecond, 1, 3},
      {"none has", "2",
       [](Bench& b) {
         for (auto& [id, edge] : b.edges) edge.staged = false;
       },
       kForever, 0, 0},
      {"away gateways are not waited for", "2",
       [](Bench& b) { b.edges["edge-1"].reachable = b.edges["edge-2"].reachable = false; }, 0, 2, 0},
      {"nor taken: they find out when they return", "3",
       [](Bench& b) { b.edges["edge-1"].reachable = b.edges["edge-2"].reachable = false; }, 60 * kSecond, 2, 0},
      {"builds of yesterday know of no ring", "4", [](Bench& b) { b.edges["edge-4"].rings = false; }, 60 * kSecond, 3,
       0},
      {"nobody says that he is a canary", "canary=yes", [](Bench&) {}, kForever, 0, 0},
  };
  for (const Case& c : cases) {
    Bench bench(4);
    c.spoil(bench);
    ASSERT_TRUE(bench.ask(What::kStart, "alice", plan_of(c.waves)));
    bench.look();
    if (c.waits > 0) {
      EXPECT_EQ(bench.rollout->phase, RolloutPhase::kStaging) << c.why;
      bench.after(60 * kSecond - 1);
      EXPECT_EQ(bench.rollout->phase, RolloutPhase::kStaging) << c.why;
      bench.after(1);
    }
    EXPECT_EQ(bench.rollout->phase, c.waits == kForever ? RolloutPhase::kPaused : RolloutPhase::kDwelling) << c.why;
    EXPECT_EQ(bench.rollout->members().size(), c.members) << c.why;
    if (c.members == 0) continue;
    EXPECT_EQ(bench.rollout->waves[0].stuck_count, c.stuck) << c.why;
    for (const NodeId& edge : bench.rollout->members()) EXPECT_TRUE(bench.edges[edge].staged) << c.why;
  }
}

TEST(Rollout, TheLastWaveWaitsForWhoeverCanBeReachedAndNoLonger) {  // M5
  Bench bench(4);
  bench.edges["edge-1"].staged = false;
  bench.edges["edge-2"].staged = bench.edges["edge-2"].reachable = false;
  bench.edges["edge-3"].rings = false;
  ASSERT_TRUE(bench.ask(What::kStart, "alice", plan_of("100%", "")));
  bench.after(59 * kSecond);
  EXPECT_EQ(bench.rollout->phase, RolloutPhase::kStaging);
  bench.after(kSecond);
  EXPECT_EQ(bench.pointers.back(), Pointers::kAll);
  EXPECT_EQ(bench.rollout->waves[0].stuck, (std::vector<NodeId>{"edge-1"}));
  bench.after(10 * kSecond);
  EXPECT_EQ(bench.rollout->phase, RolloutPhase::kDone);
}

TEST(Rollout, OneOperatorHoldsItAndEverybodyMayStopIt) {  // M5
  struct Case {
    const char* why;
    RolloutPhase phase;
    What what;
    NodeId who;
    bool take_over;
    Code code;
  };
  const Case cases[] = {
      {"another plans the same model", RolloutPhase::kDwelling, What::kPlan, "bob", false, Code::kConflict},
      {"nor may he who holds it", RolloutPhase::kDwelling, What::kPlan, "alice", false, Code::kConflict},
      {"nor by taking over: it has begun", RolloutPhase::kDwelling, What::kPlan, "bob", true, Code::kConflict},
      {"what is planned only is the planner's", RolloutPhase::kPlanned, What::kPlan, "bob", false, Code::kConflict},
      {"who may change his mind", RolloutPhase::kPlanned, What::kPlan, "alice", false, Code::kOk},
      {"another starts it", RolloutPhase::kPlanned, What::kStart, "bob", false, Code::kConflict},
      {"and says that he means to", RolloutPhase::kPlanned, What::kStart, "bob", true, Code::kOk},
      {"twice started", RolloutPhase::kDwelling, What::kStart, "alice", false, Code::kConflict},
      {"anybody may pause", RolloutPhase::kDwelling, What::kPause, "bob", false, Code::kOk},
      {"once", RolloutPhase::kPaused, What::kPause, "bob", false, Code::kConflict},
      {"not anybody may resume", RolloutPhase::kPaused, What::kResume, "bob", false, Code::kConflict},
      {"the holder may", RolloutPhase::kPaused, What::kResume, "alice", false, Code::kOk},
      {"only what is paused", RolloutPhase::kDwelling, What::kResume, "alice", false, Code::kConflict},
      {"anybody may abort", RolloutPhase::kDwelling, What::kAbort, "bob", false, Code::kOk},
      {"what has ended has ended", RolloutPhase::kDone, What::kAbort, "alice", false, Code::kConflict},
      {"and another may follow", RolloutPhase::kDone, What::kPlan, "bob", false, Code::kOk},
  };
  for (const Case& c : cases) {
    Bench bench(3);
    ASSERT_TRUE(bench.ask(What::kPlan, "alice", plan_of("1")));
    if (c.phase != RolloutPhase::kPlanned) {
      ASSERT_TRUE(bench.ask(What::kStart, "alice"));
      bench.look();
      ASSERT_EQ(bench.rollout->phase, RolloutPhase::kDwelling);
    }
    if (c.phase == RolloutPhase::kPaused) {
      ASSERT_TRUE(bench.ask(What::kPause, "alice"));
    }
    if (c.phase == RolloutPhase::kDone) {
      bench.all_well();
      bench.after(10 * kSecond);
      bench.after(10 * kSecond);
    }
    ASSERT_EQ(bench.rollout->phase, c.phase) << c.why;
    const auto step = bench.ask(c.what, c.who, c.what == What::kPlan ? plan_of("2") : RolloutPlan{}, c.take_over);
    EXPECT_EQ(step ? Code::kOk : step.error().code, c.code) << c.why;
    if (!step) {
      EXPECT_NE(step.error().message.find("held by 'alice'"), std::string::npos) << step.error().message;
    }
  }
}

TEST(Rollout, RefusesPlansThatCannotBeMeant) {
  struct Case {
    const char* why;
    std::function<void(RolloutPlan&)> spoil;
    const char* says;
  };
  const auto waves = [](const char* text) { return [text](RolloutPlan& p) { p.waves = *parse_waves(text); }; };
  const Case cases[] = {
      {"no version", [](RolloutPlan& p) { p.version.clear(); }, "needs a version"},
      {"no waves", [](RolloutPlan& p) { p.waves.clear(); }, "1 to 32 waves"},
      {"too many gates", [](RolloutPlan& p) { p.gates.resize(9); }, "at most 8 gates"},
      {"shares that fall", waves("50%,10%"), "they must rise"},
      {"a share of nobody", waves("0%"), "1% to 100%"},
      {"more than all", waves("101%"), "1% to 100%"},
      {"a count of nobody", waves("0"), "1 to 4096"},
      {"a label that is none", waves("Canary=yes"), "a-z, 0-9"},
      {"a label without a value", waves("canary="), "a-z, 0-9"},
      {"the rest is left out", [](RolloutPlan& p) { p.waves.pop_back(); }, "must be 100%"},
      {"years", [](RolloutPlan& p) { p.dwell_ns = kForever; }, "0 to 30 days"},
      {"before its time", [](RolloutPlan& p) { p.patience_ns = -1; }, "0 to 30 days"},
  };
  for (const Case& c : cases) {
    Bench bench(2);
    RolloutPlan plan = plan_of("1");
    c.spoil(plan);
    const auto step = bench.ask(What::kPlan, "alice", plan);
    ASSERT_FALSE(step) << c.why;
    EXPECT_EQ(step.error().code, Code::kInvalid) << c.why;
    EXPECT_NE(step.error().message.find(c.says), std::string::npos) << c.why << ": " << step.error().message;
  }
  for (const char* text : {"", "x", "5x", "-1", "10 %", "1,,2"}) EXPECT_FALSE(parse_waves(text)) << text;
  for (const char* text : {"", "sick", "sick>1", "speed<1", "error_rate<", "error_rate<x", "error_rate<-1"})
    EXPECT_FALSE(parse_gate(text)) << text;
  EXPECT_EQ(describe(*parse_gate("error_rate<0.01")), "error_rate<0.01");
  EXPECT_EQ(describe(*parse_gate("p99_ms<12.5")), "p99_ms<12.5");
}

TEST(Rollout, LabelsHaveLimits) {
  EXPECT_TRUE(validate_labels({{"site_type", "tunnel"}, {"canary", "yes"}}));
  EXPECT_FALSE(validate_labels({{"a", "1"}, {"a", "2"}})) << "twice";
  EXPECT_FALSE(validate_labels({{"", "1"}}));
  EXPECT_FALSE(validate_labels({{"a", "b c"}}));
  EXPECT_FALSE(validate_labels({{std::string(33, 'a'), "1"}}));
  EXPECT_FALSE(validate_labels(Labels(17, {"a", "1"})));
}

TEST(Rollout, ForeseesWhenWavesPassAndWhatTheyCost) {
  Bench bench(4);
  for (auto& [id, edge] : bench.edges) edge.staged = false;
  bench.edges["edge-1"].link = 1'000'000;  // the release of 1 MB takes it a second
  bench.edges["edge-2"].link = 100'000;
  bench.edges["edge-3"].link = 100'000;
  bench.edges["edge-4"].link = 0;  // nobody knows: the median
  ASSERT_TRUE(bench.ask(What::kStart, "alice", plan_of("1")));
  const auto& forecast = bench.rollout->forecast;
  ASSERT_EQ(forecast.size(), 2u);
  EXPECT_EQ(forecast[0].edges, 1u);
  EXPECT_EQ(forecast[0].bytes, 1'000'000u);
  EXPECT_EQ(forecast[0].activated_ns, kSecond) << "the first to have it is the fastest";
  EXPECT_EQ(forecast[0].ended_ns, 11 * kSecond);
  EXPECT_TRUE(forecast[0].measured);
  EXPECT_EQ(forecast[1].edges, 3u);
  EXPECT_EQ(forecast[1].bytes, 3'000'000u);
  EXPECT_EQ(forecast[1].activated_ns, 11 * kSecond) << "they staged it meanwhile";
  EXPECT_FALSE(forecast[1].measured);
}

TEST(Rollout, LatencyBucketsNeverTellLessThanTheTruth) {
  Rng rng(7);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t us = rng.next() >> (rng.below(40) + 24);
    const std::uint64_t top = latency_bucket_top_us(latency_bucket(us));
    if (us < (1ull << 31)) {
      EXPECT_GE(top, us);
      EXPECT_LE(top, us + us / 4 + 1);
    }
  }
}

// Whatever happens, in whatever order: what the pointers show follows from steps that may follow each other.
TEST(Rollout, NoSequenceOfEventsBreaksItsPromises) {  // M5
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    Rng rng(seed);
    Bench bench(static_cast<int>(1 + rng.below(8)));
    const char* kPlans[] = {"1", "canary=yes,50%", "1,2,3", "10%,50%", "100%"};
    std::size_t ring_steps = 0;
    bool forward = false;  // something was activated since the start
    for (auto& [id, edge] : bench.edges) {
      edge.staged = rng.below(2) == 0;
      edge.reachable = rng.below(4) != 0;
      if (rng.below(3) == 0) edge.labels = {{"canary", "yes"}};
    }
    for (int i = 0; i < 200; ++i) {
      const std::size_t before = bench.pointers.size();
      auto edge = std::next(bench.edges.begin(), static_cast<std::ptrdiff_t>(rng.below(bench.edges.size())));
      switch (rng.below(9)) {
        case 0: edge->second.staged = rng.below(4) != 0; break;
        case 1: edge->second.reachable = rng.below(4) != 0; break;
        case 2: bench.report(edge->first, rng.below(300), rng.below(3)); break;
        case 3: (void)bench.ask(What::kPause, "bob"); break;
        case 4: (void)bench.ask(What::kResume, "alice"); break;
        case 5:
          if (rng.below(8) == 0) (void)bench.ask(What::kAbort, "bob");
          break;
        case 6: (void)bench.ask(What::kStart, "alice", plan_of(kPlans[rng.below(5)])); break;
        default: bench.now += static_cast<Nanos>(rng.below(20)) * kSecond;
      }
      if (!bench.rollout) continue;
      if (const auto look = advance_rollout(*bench.rollout, bench.fleet(), bench.now); look.step) {
        const Fleet fleet = bench.fleet();
        const Rollout held = *bench.rollout;
        bench.take(*look.step);
        const Rollout& next = *bench.rollout;
        EXPECT_TRUE(next.wave == held.wave || next.wave == held.wave + 1) << "seed " << seed;
        if (next.wave != held.wave && !held.waves.empty() && held.phase == RolloutPhase::kDwelling) {
          EXPECT_GE(bench.now, held.since + held.plan.dwell_ns) << "seed " << seed;
          for (const GateFigure& figure : judge_gates(held, fleet))
            EXPECT_EQ(figure.verdict, GateVerdict::kHolds) << "seed " << seed;
        }
        for (const NodeId& member : next.members()) {
          const auto old = held.members();
          if (!std::binary_search(old.begin(), old.end(), member)) {
            EXPECT_TRUE(bench.edges[member].staged) << "seed " << seed;
          }
        }
      }
      for (std::size_t at = before; at < bench.pointers.size(); ++at) {
        switch (bench.pointers[at]) {
          case Pointers::kStage:
            EXPECT_FALSE(forward) << "seed " << seed << ": a rollout begins while another is out";
            ring_steps = 0;
            break;
          case Pointers::kRing:
          case Pointers::kAll:
            ++ring_steps;
            EXPECT_LE(ring_steps, bench.rollout->plan.waves.size()) << "seed " << seed;
            forward = true;
            break;
          case Pointers::kBack: EXPECT_TRUE(forward) << "seed " << seed; [[fallthrough]];
          case Pointers::kUnstage: forward = false; break;
          case Pointers::kKeep: break;
        }
      }
      if (bench.rollout->phase == RolloutPhase::kDone) forward = false;
      EXPECT_EQ(encode(*decode<Rollout>(encode(*bench.rollout), "rollout")), encode(*bench.rollout));
    }
  }
}

TEST(PointerInForce, TheRingCountsForItsMembersAndForNobodyElse) {  // M5
  const ModelPointer one{"1.0.0", "a", ""}, two{"2.0.0", "b", "1.0.0"};
  struct Case {
    const char* why;
    std::optional<RingPointer> ring;
    bool ring_proven, rest_proven;
    NodeId edge;
    std::string version;
    bool proven;
    int reads;
    bool absent_told = false;
  };
  const Case cases[] = {
      {"no rollout was ever on", std::nullopt, true, true, "edge-1", "1.0.0", true, 2},
      {"and that is not proven", std::nullopt, false, true, "edge-1", "1.0.0", false, 2, true},
      {"whether one is on cannot be read", std::nullopt, false, true, "edge-1", "", false, 1},
      {"a member", RingPointer{two, {"edge-1", "edge-2"}}, true, true, "edge-2", "2.0.0", true, 1},
      {"a member without a lease", RingPointer{two, {"edge-1"}}, false, true, "edge-1", "2.0.0", false, 1},
      {"not a member", RingPointer{two, {"edge-1"}}, true, true, "edge-3", "1.0.0", true, 2},
      {"nobody is ahead", RingPointer{two, {}}, true, true, "edge-1", "1.0.0", true, 2},
      {"who am I?", RingPointer{two, {"edge-1"}}, true, true, "", "", false, 1},
      {"it does not matter when nobody is ahead", RingPointer{two, {}}, true, true, "", "1.0.0", true, 2},
      {"the other one is not proven", RingPointer{two, {}}, true, false, "edge-1", "1.0.0", false, 2},
  };
  for (const Case& c : cases) {
    int reads = 0;
    const auto answer = pointer_in_force("ring", "rest", c.edge, [&](const std::string& key) {
      ++reads;
      PointerRead read;
      const bool ring = key == "ring";
      read.proven = ring ? c.ring_proven : c.rest_proven;
      read.found = !ring || c.ring;
      read.absent = ring && c.absent_told;
      read.value = !ring ? encode(one) : c.ring ? encode(*c.ring) : Bytes{};
      return read;
    });
    EXPECT_EQ(answer.pointer ? answer.pointer->version : "", c.version) << c.why;
    EXPECT_EQ(answer.ring_unknown, c.version.empty()) << c.why << ": then no version is named";
    EXPECT_EQ(answer.proven, c.proven) << c.why;
    EXPECT_EQ(reads, c.reads) << c.why;
  }
}

}  // namespace
}  // namespace tidelock
