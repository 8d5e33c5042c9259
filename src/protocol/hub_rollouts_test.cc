// A rollout at the hub: what it writes, in one write; who may move it; and what a successor makes of it (M5).
#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "protocol/hub_core.h"
#include "protocol/map_rows_fixture.h"

namespace tidelock {
namespace {

using What = RolloutCommand::What;

// One hub after the other over one ledger, whose edges answer at once.
struct Bench {
  Bench() : key(*make_signing_key()) { start("hub-1"); }

  void start(const NodeId& id) {
    HubOptions options;
    options.id = id;
    options.boot = Boot{++boots};
    options.seed.namespaces = default_namespaces();
    options.seed.model_key = key.public_pem;
    core = std::make_unique<HubCore>(options, rows);
    sessions.clear();
    step(HubLeadership{true, id});
    now += 10 * kSecond;  // past A4, and past the time that edges have to come back
    step(HubTick{});
  }
  void step(decltype(HubEvent::what) what) {
    std::deque<decltype(HubEvent::what)> queue{std::move(what)};
    while (!queue.empty()) {
      HubActions actions;
      core->step(HubEvent{now, std::move(queue.front()), 1'000}, actions);
      queue.pop_front();
      rows.commit(actions.rows);
      for (auto& append : actions.append) {
        if (!lost) queue.push_back(HubCommitted{Index{++index}, append.command});
      }
      for (auto& answer : actions.answers) answers[answer.token.value] = answer.answer;
      for (auto& send : actions.send) {
        const auto* block = std::get_if<Block>(&send.frame.body);
        if (block != nullptr) queue.push_back(frame(send.conn.value, BlockAck{block->term, block->number}));
      }
    }
  }
  decltype(HubEvent::what) frame(std::uint64_t conn, decltype(EdgeFrame::body) body) {
    return HubFrameIn{ConnId{conn}, EdgeFrame{SessionNo{1}, ++sessions[conn], std::move(body)}};
  }
  void connect(int number, const Labels& labels = {}, std::uint32_t protocol = kProtocolVersion) {
    const auto conn = static_cast<std::uint64_t>(number);
    const NodeId id = "edge-" + std::to_string(number);
    step(HubConnected{ConnId{conn}, id});
    step(frame(conn, Hello{protocol, id, "site", Boot{1}, {}, {}, staged[id]}));
    if (protocol >= kProtocolVersionRings) step(frame(conn, EdgeReport{labels, 0, {}}));
  }
  void stage(int number, const std::string& version) {
    const NodeId id = "edge-" + std::to_string(number);
    staged[id].push_back({"m", version});
    step(frame(static_cast<std::uint64_t>(number), Staged{{"m", version}, ""}));
  }
  void report(int number, std::uint64_t frames, std::uint64_t errors, const std::string& version = "2.0.0") {
    ModelHealth health;
    health.name = "m";
    health.version = version;
    health.in_force = true;
    health.frames = frames;
    health.errors = errors;
    step(frame(static_cast<std::uint64_t>(number), EdgeReport{{}, 0, {health}}));
  }
  AdminAnswer ask(decltype(AdminRequest::body) body, const NodeId& who = "alice") {
    const std::uint64_t token = ++tokens;
    step(HubAsked{AskToken{token}, AdminRequest{CommandId{88, token}, std::move(body)}, who});
    return answers[token];
  }
  void publish(const std::string& version) {
    Manifest manifest;
    manifest.name = "m";
    manifest.version = version;
    manifest.files.push_back({"model.onnx", FileRole::kModel, 3, sha256(version)});
    ASSERT_EQ(ask(PublishModel{"m", version, encode(*sign_manifest(manifest, key.private_pem))}).code, Code::kOk);
  }
  // Four edges on 1.0.0, and 2.0.0 published.
  void ready() {
    step(HubVersions{kLedgerVersion});
    for (int i = 1; i <= 4; ++i) connect(i);
    publish("1.0.0");
    ASSERT_EQ(ask(StageModel{"m", "1.0.0"}).code, Code::kOk);
    for (int i = 1; i <= 4; ++i) stage(i, "1.0.0");
    ASSERT_EQ(ask(ActivateModel{"m", "1.0.0"}).code, Code::kOk);
    publish("2.0.0");
  }
  RolloutCommand start_of(const std::string& waves) {
    RolloutCommand command{What::kStart, "m", {}, false};
    command.plan.version = "2.0.0";
    command.plan.waves = *parse_waves(waves);
    command.plan.gates = {*parse_gate("error_rate<0.1")};
    command.plan.dwell_ns = 10 * kSecond;
    command.plan.patience_ns = 60 * kSecond;
    return command;
  }
  void after(Nanos span) {
    for (const Nanos until = now + span; now < until;) {
      now += 100 * kMillisecond;
      step(HubTick{});
    }
  }
  std::optional<StoredValue> value(const std::string& name) { return core->state().find(name); }
  Rollout rollout() { return *decode<Rollout>(*value(model_rollout_key("m"))->value, "rollout"); }
  std::vector<NodeId> ahead() {
    const auto stored = value(model_ring_key("m"));
    return stored ? decode<RingPointer>(*stored->value, "ring")->members : std::vector<NodeId>{};
  }
  std::string current() { return decode<ModelPointer>(*value(model_current_key("m"))->value, "pointer")->version; }

  SigningKey key;
  MapRows rows;
  std::unique_ptr<HubCore> core;
  Nanos now = 1'000 * kSecond;
  std::uint64_t index = 0, boots = 0, tokens = 0;
  bool lost = false;  // what is appended now never commits
  std::map<std::uint64_t, std::uint64_t> sessions;
  std::map<NodeId, std::vector<StagedModel>> staged;
  std::map<std::uint64_t, AdminAnswer> answers;
};

TEST(HubRollouts, AWaveMovesRecordPointersAndLogAtOneIndex) {  // M5, S4
  Bench bench;
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
  Bench bench;
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
  Bench bench;
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
  Bench bench;
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

TEST(HubRollouts, BuildsOfYesterdayAreNotTakenAhead) {  // M5
  Bench bench;
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

TEST(HubRollouts, ReportsHaveLimits) {
  Bench bench;
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
