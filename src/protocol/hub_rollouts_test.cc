// A rollout at the hub: what it writes, in one write; who may move it; and what a successor makes of it (M5).
#include <gtest/gtest.h>

#include "protocol/hub_models_fixture.h"

namespace tidelock {
namespace {

using What = RolloutCommand::What;

TEST(HubRollouts, AWaveMovesRecordPointersAndLogAtOneIndex) {  // M5, S4
  ModelBench bench;
  bench.ready();
  const AdminAnswer started = bench.ask(bench.start_of("1,3"));
  ASSERT_EQ(started.code, Code::kOk) << started.message;
  EXPECT_EQ(bench.value(model_staged_key("m"))->version, started.index) << "staging begins with it";
  for (int i = 1; i <= 4; ++i) bench.stage(i, "2.0.0");
  bench.after(kSecond);
  ASSERT_EQ(bench.ahead().size(), 1u);
  EXPECT_EQ(bench.current(), "1.0.0");
  for (int i = 1; i <= 4; ++i) bench.report(i, 1'000, 0);
  bench.after(11 * kSecond);
  ASSERT_EQ(bench.ahead().size(), 3u);
  EXPECT_EQ(bench.value(model_ring_key("m"))->version, bench.value(model_history_key("m"))->version);
  bench.after(11 * kSecond);
  EXPECT_EQ(bench.current(), "2.0.0");
  EXPECT_TRUE(bench.ahead().empty()) << "nobody is ahead of everybody";
  EXPECT_EQ(bench.value(model_ring_key("m"))->version, bench.value(model_current_key("m"))->version);
  bench.after(11 * kSecond);
  EXPECT_EQ(bench.rollout().phase, RolloutPhase::kDone);
  const auto view = bench.ask(DescribeRollout{"m"});
  const auto shown = decode<RolloutView>(*view.value, "view");
  ASSERT_TRUE(shown);
  EXPECT_EQ(shown->adopted, 4u);
  ASSERT_GE(shown->history.size(), 5u);
  EXPECT_EQ(shown->history[0].who, "alice");
  EXPECT_EQ(shown->history[0].what, "published 1.0.0");
  EXPECT_EQ(shown->history[0].wall_ms, 1'000u);
  EXPECT_EQ(shown->history.back().who, "hub-1") << "what it did by itself";
  const Index before = bench.value(model_history_key("m"))->version;
  bench.publish("2.0.0");
  EXPECT_EQ(bench.value(model_history_key("m"))->version, before) << "the same again is nothing that was done";
}

TEST(HubRollouts, AFailedGateTakesAllBackAtAHigherIndex) {  // M5, S5, I4
  ModelBench bench;
  bench.ready();
  ASSERT_EQ(bench.ask(bench.start_of("2")).code, Code::kOk);
  for (int i = 1; i <= 4; ++i) bench.stage(i, "2.0.0");
  bench.after(kSecond);
  ASSERT_EQ(bench.ahead().size(), 2u);
  const Index joined = bench.value(model_ring_key("m"))->version;
  for (int i = 1; i <= 4; ++i) bench.report(i, 1'000, 500);
  bench.after(kSecond);
  EXPECT_EQ(bench.rollout().phase, RolloutPhase::kRolledBack);
  EXPECT_TRUE(bench.ahead().empty());
  EXPECT_EQ(bench.current(), "1.0.0");
  EXPECT_GT(bench.value(model_current_key("m"))->version, joined) << "for whoever was ahead it is newer";
  EXPECT_EQ(bench.ask(ActivateModel{"m", "2.0.0"}).code, Code::kOk) << "by hand it may be activated all the same";
}

TEST(HubRollouts, WhileOneIsUnderWayNothingElseMovesThePointers) {  // M5
  ModelBench bench;
  bench.ready();
  bench.publish("3.0.0");
  ASSERT_EQ(bench.ask(bench.start_of("1")).code, Code::kOk);
  for (int i = 1; i <= 4; ++i) bench.stage(i, "3.0.0");
  const decltype(AdminRequest::body) refused[] = {StageModel{"m", "3.0.0"}, ActivateModel{"m", "3.0.0"},
                                                  RollbackModel{"m"}, bench.start_of("2")};
  for (const auto& body : refused) {
    const AdminAnswer answer = bench.ask(body, "bob");
    EXPECT_EQ(answer.code, Code::kConflict) << answer.message;
    EXPECT_NE(answer.message.find("held by 'alice'"), std::string::npos) << answer.message;
  }
  ASSERT_EQ(bench.ask(RolloutCommand{What::kAbort, "m", {}, false}, "bob").code, Code::kOk);
  EXPECT_EQ(bench.ask(ActivateModel{"m", "3.0.0"}).code, Code::kOk);
}

TEST(HubRollouts, ASuccessorGoesOnWhereTheFormerHubStopped) {  // M5, A1
  ModelBench bench;
  bench.ready();
  ASSERT_EQ(bench.ask(bench.start_of("1")).code, Code::kOk);
  for (int i = 1; i <= 4; ++i) bench.stage(i, "2.0.0");
  bench.after(kSecond);
  const auto first = bench.ahead();
  ASSERT_EQ(first.size(), 1u);
  bench.lost = true;  // the step after the dwell time leaves the hub and goes nowhere
  for (int i = 1; i <= 4; ++i) bench.report(i, 1'000, 0);
  bench.after(11 * kSecond);
  EXPECT_EQ(bench.current(), "1.0.0");
  bench.lost = false;
  bench.start("hub-2");
  EXPECT_EQ(bench.ahead(), first);
  bench.after(20 * kSecond);
  EXPECT_EQ(bench.rollout().wave, 0u) << "no edge has told it anything yet: no gate is skipped";
  for (int i = 1; i <= 4; ++i) bench.connect(i);
  for (int i = 1; i <= 4; ++i) bench.report(i, 1'000, 0);
  bench.after(kSecond);
  EXPECT_EQ(bench.rollout().wave, 1u);
  EXPECT_EQ(bench.current(), "2.0.0");
  EXPECT_EQ(bench.rollout().waves.size(), 2u) << "each wave once";
}

TEST(HubRollouts, ARingTravelsWithItsRecordWhateverItsSize) {  // M5, I11
  ModelBench bench;
  bench.ready();
  constexpr int kEdges = 700;
  for (int i = 5; i <= kEdges; ++i) bench.connect(i);
  for (int i = 1; i <= kEdges; ++i) bench.stage(i, "2.0.0");
  const auto rings_sent = [&] {
    std::vector<ChangedKey> found;
    for (const HubFrame& frame : bench.sent[1]) {
      const auto* record = std::get_if<Record>(&frame.body);
      for (const ChangedKey& changed : record == nullptr ? std::vector<ChangedKey>{} : record->keys) {
        if (changed.key == model_ring_key("m")) found.push_back(changed);
      }
    }
    return found;
  };
  bench.sent.clear();
  ASSERT_EQ(bench.ask(bench.start_of("650")).code, Code::kOk);
  bench.after(kSecond);
  ASSERT_EQ(bench.ahead().size(), 650u);
  auto rings = rings_sent();
  ASSERT_EQ(rings.size(), 1u);
  ASSERT_TRUE(rings[0].value) << "or each of them asks for it at once";
  EXPECT_GT(rings[0].value->size(), kPushValueBytesMax);
  bench.step(HubDisconnected{ConnId{1}});
  bench.sessions[1] = 0;
  bench.sent.clear();
  bench.connect(1);
  rings = rings_sent();
  ASSERT_EQ(rings.size(), 1u) << "it is replayed";
  EXPECT_FALSE(rings[0].value) << "but thousands of them are not kept for that";
  EXPECT_FALSE(rings[0].deleted);
}

TEST(HubRollouts, BuildsOfYesterdayAreNotTakenAhead) {  // M5
  ModelBench bench;
  EXPECT_EQ(bench.ask(bench.start_of("1")).code, Code::kUnavailable) << "a hub may not know of rollouts";
  bench.ready();
  bench.step(HubDisconnected{ConnId{1}});
  bench.sessions[1] = 0;
  bench.connect(1, {}, 2);
  for (int i = 1; i <= 4; ++i) bench.stage(i, "2.0.0");
  ASSERT_EQ(bench.ask(bench.start_of("4")).code, Code::kOk);
  bench.after(62 * kSecond);
  EXPECT_EQ(bench.ahead(), (std::vector<NodeId>{"edge-2", "edge-3", "edge-4"}));
}

TEST(HubRollouts, ARollbackIsNotUndoneByAnother) {  // S5
  ModelBench bench;
  bench.ready();
  for (int i = 1; i <= 4; ++i) bench.stage(i, "2.0.0");
  ASSERT_EQ(bench.ask(ActivateModel{"m", "2.0.0"}).code, Code::kOk);
  ASSERT_EQ(bench.ask(RollbackModel{"m"}, "alice").code, Code::kOk);
  EXPECT_EQ(bench.current(), "1.0.0");
  const AdminAnswer again = bench.ask(RollbackModel{"m"}, "bob");
  EXPECT_EQ(again.code, Code::kConflict);
  EXPECT_EQ(again.message,
            "'m' 1.0.0 is in force since 'alice' rolled back from 2.0.0 (1970-01-01 00:00 UTC), and another rollback "
            "would return to that; to use 2.0.0 again, or another version, say so with `tidelock model activate m "
            "VERSION`");
  EXPECT_EQ(bench.current(), "1.0.0");
  // A rollout that goes back puts the pointer there again, with what was before it.
  ASSERT_EQ(bench.ask(bench.start_of("2")).code, Code::kOk);
  bench.after(kSecond);
  ASSERT_EQ(bench.ahead().size(), 2u);
  ASSERT_EQ(bench.ask(RolloutCommand{What::kAbort, "m", {}, false}).code, Code::kOk);
  EXPECT_EQ(bench.ask(RollbackModel{"m"}).code, Code::kConflict);
  // By name it may be used again; and what was activated may be rolled back.
  ASSERT_EQ(bench.ask(ActivateModel{"m", "2.0.0"}).code, Code::kOk);
  ASSERT_EQ(bench.ask(ActivateModel{"m", "1.0.0"}).code, Code::kOk);
  EXPECT_EQ(bench.ask(RollbackModel{"m"}).code, Code::kOk) << "1.0.0 was activated, not rolled back to";
  EXPECT_EQ(bench.current(), "2.0.0");
}

TEST(Rollout, KnowsARollbackByTheLog) {  // S5
  const auto line = [](std::string what) { return HistoryEntry{1, "alice", std::move(what)}; };
  struct Case {
    const char* why;
    std::vector<HistoryEntry> log;
    bool back;
  };
  const Case cases[] = {
      {"nothing is known", {}, false},
      {"the last step was one", {line("activated 2.0.0"), line("rolled back to 1.0.0 from 2.0.0")}, true},
      {"an older build wrote less", {line("activated 2.0.0"), line("rolled back to 1.0.0")}, true},
      {"what does not move the pointer changes nothing",
       {line("rolled back to 1.0.0 from 2.0.0"), line("published 3.0.0"), line("staged 3.0.0")},
       true},
      {"nor does a rollout that went back",
       {line("rolled back to 1.0.0 from 2.0.0"), line("planned 3.0.0 in waves 100%; started 3.0.0"),
        line("rolled back, every gateway returns to 1.0.0: gate")},
       true},
      {"it was of another step",
       {line("rolled back to 1.0.0 from 2.0.0"), line("activated 2.0.0"), line("activated 1.0.0")},
       false},
      {"a rollout brought it since",
       {line("rolled back to 1.0.0 from 2.0.0"), line("planned 1.0.0 in waves 100%; started 1.0.0")},
       false},
      {"it went back from another version", {line("rolled back to 1.0.0 from 3.0.0")}, false},
      {"it went back to another version", {line("rolled back to 0.9.0 from 2.0.0")}, false},
  };
  for (const Case& c : cases)
    EXPECT_EQ(rolled_back_to(c.log, ModelPointer{"1.0.0", "sha", "2.0.0"}) != nullptr, c.back) << c.why;
}

TEST(HubRollouts, TellsHowFarAVersionHasCome) {  // M3
  ModelBench bench;
  bench.ready();
  ASSERT_EQ(bench.ask(StageModel{"m", "2.0.0"}).code, Code::kOk);
  const auto fetched = [&](int number, std::uint64_t bytes) {
    ModelHealth health;
    health.name = "m";
    health.version = "2.0.0";
    health.fetched_bytes = bytes;
    bench.step(bench.frame(static_cast<std::uint64_t>(number), EdgeReport{{}, 10, {health}}));
  };
  fetched(1, 2);
  bench.stage(1, "2.0.0");
  bench.step(bench.frame(2, Staged{{"m", "2.0.0"}, "paused: the daily budget; goes on in 3 min at the latest"}));
  bench.step(HubDisconnected{ConnId{4}});
  const auto told = [&] {
    const AdminAnswer answer = bench.ask(DescribeTransfer{"m", "2.0.0"});
    return *decode<TransferView>(*answer.value, "transfer view");
  };
  const TransferView view = told();
  EXPECT_EQ(view.release_bytes, 3u);
  ASSERT_EQ(view.edges.size(), 4u);
  EXPECT_TRUE(view.edges[0].staged);
  EXPECT_EQ(view.edges[0].fetched_bytes, 2u);
  EXPECT_EQ(view.edges[0].expected_bytes, 2u);
  EXPECT_EQ(view.edges[0].link_bytes_per_s, 10u);
  EXPECT_FALSE(view.edges[1].staged);
  EXPECT_EQ(view.edges[1].expected_bytes, 0u) << "its neighbour has the file";
  EXPECT_EQ(view.edges[1].why, "paused: the daily budget; goes on in 3 min at the latest");
  EXPECT_TRUE(view.edges[2].connected);
  EXPECT_FALSE(view.edges[3].connected) << "it is away";
  // Of a plan the pause counts, where the bytes must come over that link.
  bench.publish("3.0.0");
  RolloutCommand plan = bench.start_of("4");
  plan.what = What::kPlan;
  plan.plan.version = "3.0.0";
  ASSERT_EQ(bench.ask(plan).code, Code::kOk);
  ASSERT_EQ(bench.rollout().forecast.size(), 2u);
  EXPECT_GE(bench.rollout().forecast[0].activated_ns, 180 * kSecond);
  EXPECT_EQ(bench.ask(DescribeTransfer{"m", "9.9.9"}).code, Code::kOk);
}

TEST(HubRollouts, ReportsHaveLimits) {
  ModelBench bench;
  bench.ready();
  EdgeReport report;
  report.labels = {{"Not a label", "x"}};
  bench.step(bench.frame(1, report));
  report.labels.clear();
  report.models.resize(65);
  bench.step(bench.frame(1, report));
  report.models.resize(1);
  report.models[0].latency.resize(257);
  bench.step(bench.frame(1, report));
  ASSERT_EQ(bench.ask(bench.start_of("1")).code, Code::kOk) << "the session lives, what it said before counts";
}

}  // namespace
}  // namespace tidelock
