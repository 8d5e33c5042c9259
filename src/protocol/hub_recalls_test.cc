// A recall at the hub (M7): what is refused from its first moment on, when there is a certificate and what it says,
// what becomes of pointers and rollouts, and how a successor goes on.
#include <gtest/gtest.h>

#include <algorithm>

#include "protocol/hub_models_fixture.h"

namespace tidelock {
namespace {

struct RecallBench : ModelBench {
  // 1.0.0 was in force everywhere, then 2.0.0.
  void ready_with_two() {
    ready();
    ASSERT_EQ(ask(StageModel{"m", "2.0.0"}).code, Code::kOk);
    for (int i = 1; i <= 4; ++i) stage(i, "2.0.0");
    ASSERT_EQ(ask(ActivateModel{"m", "2.0.0"}).code, Code::kOk);
    ASSERT_EQ(current(), "2.0.0");
  }
  AdminAnswer recall(const std::string& version, const std::string& to = {}, bool none = false) {
    return ask(RecallModel{"m", version, none, to, "misses trucks"}, "carol");
  }
  std::optional<RecallCertificate> certificate(const std::string& version) {
    return core->state().certificate("m", version);
  }
  RecallView view(const std::string& version) {
    const AdminAnswer answer = ask(DescribeRecalls{"m", version});
    const auto views = answer.value ? decode<std::vector<RecallView>>(*answer.value, "recalls")
                                    : Result<std::vector<RecallView>>(fail(Code::kNotFound, "no value"));
    EXPECT_TRUE(views && views->size() == 1) << version;
    return views && views->size() == 1 ? views->front() : RecallView{};
  }
  // The versions that a connection was told of.
  std::set<std::string> told(std::uint64_t conn) {
    std::set<std::string> all;
    for (const HubFrame& one : sent[conn]) {
      if (const auto* recalled = std::get_if<Recalled>(&one.body)) {
        for (const StagedModel& model : recalled->versions) all.insert(model.version);
      }
    }
    return all;
  }
};

TEST(HubRecalls, EverythingMovesAtTheIndexOfTheCertificate) {  // M7
  RecallBench bench;
  bench.ready_with_two();
  for (int i = 1; i <= 4; ++i) bench.lease(i);
  const AdminAnswer asked = bench.recall("2.0.0");
  ASSERT_EQ(asked.code, Code::kOk) << asked.message;
  const auto certificate = bench.certificate("2.0.0");
  ASSERT_TRUE(certificate) << "everybody answered at once";
  EXPECT_EQ(certificate->recalled, asked.index);
  EXPECT_GT(certificate->index, asked.index);
  EXPECT_EQ(bench.current(), "1.0.0");
  EXPECT_EQ(bench.pointer(model_staged_key("m")), "1.0.0");
  EXPECT_EQ(bench.value(model_current_key("m"))->version, certificate->index);
  EXPECT_TRUE(certificate->moved);
  EXPECT_EQ(certificate->to, "1.0.0");
  EXPECT_EQ(certificate->answered_count, 4u);
  EXPECT_EQ(certificate->lapsed_count, 0u);
  EXPECT_EQ(certificate->answered.front(), "edge-1");
  for (std::uint64_t conn = 1; conn <= 4; ++conn) EXPECT_EQ(bench.told(conn).count("2.0.0"), 1u) << conn;

  const auto rollout = bench.ask(DescribeRollout{"m"});
  const auto seen = decode<RolloutView>(*rollout.value, "view");
  const auto said = [&](const std::string& words) {
    return std::any_of(seen->history.begin(), seen->history.end(),
                       [&](const HistoryEntry& one) { return one.what.starts_with(words); });
  };
  EXPECT_TRUE(said("recalled 2.0.0: misses trucks"));
  EXPECT_TRUE(said("certified that nobody uses 2.0.0"));
}

TEST(HubRecalls, TheCertificateComesWhenTheLastLeaseHasLapsedAndNotBefore) {  // M7, S3
  RecallBench bench;
  bench.ready_with_two();
  for (int i = 1; i <= 4; ++i) bench.lease(i);
  const Nanos latest = bench.core->latest_lease();
  bench.silent = {3};
  bench.step(HubDisconnected{ConnId{4}});
  ASSERT_EQ(bench.recall("2.0.0").code, Code::kOk);
  EXPECT_EQ(bench.told(1).count("2.0.0"), 1u) << "who can be reached knows at once";
  EXPECT_EQ(bench.current(), "2.0.0");
  RecallView view = bench.view("2.0.0");
  EXPECT_FALSE(view.certificate);
  EXPECT_EQ(view.answered, 2u);
  ASSERT_EQ(view.holders.size(), 2u);
  EXPECT_EQ(view.wait_ns, latest - bench.now);
  for (const RecallHolder& one : view.holders) EXPECT_EQ(one.connected, one.edge == "edge-3") << one.edge;

  bench.now = latest - 1;
  bench.step(HubTick{});
  EXPECT_FALSE(bench.certificate("2.0.0")) << "one nanosecond is left of a right";
  bench.now = latest;
  bench.step(HubTick{});
  const auto certificate = bench.certificate("2.0.0");
  ASSERT_TRUE(certificate);
  EXPECT_EQ(certificate->answered, (std::vector<NodeId>{"edge-1", "edge-2"}));
  EXPECT_EQ(certificate->lapsed, (std::vector<NodeId>{"edge-3", "edge-4"}));
  EXPECT_EQ(bench.current(), "1.0.0");
}

// The second recall of a model waits for the first. What gateways answered to that one is no answer to this.
TEST(HubRecalls, ASecondRecallOfTheModelIsNotShownWithTheAnswersToTheFirst) {  // M7, S3
  RecallBench bench;
  bench.ready_with_two();
  bench.publish("3.0.0");
  ASSERT_EQ(bench.ask(StageModel{"m", "3.0.0"}).code, Code::kOk);
  for (int i = 1; i <= 4; ++i) bench.stage(i, "3.0.0"), bench.lease(i);
  bench.silent = {4};
  const Nanos first_ends = bench.core->latest_lease();
  ASSERT_EQ(bench.recall("2.0.0", "1.0.0").code, Code::kOk);
  ASSERT_EQ(bench.recall("3.0.0").code, Code::kOk);
  struct Case {
    const char* version;
    std::uint32_t answered;
    std::size_t holders;
    Nanos wait_ns;
  };
  const Nanos lease = bench.core->state().lease_ns();
  const Case cases[] = {{"2.0.0", 3, 1, first_ends - bench.now}, {"3.0.0", 0, 4, first_ends - bench.now + lease}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.version);
    const RecallView view = bench.view(c.version);
    EXPECT_FALSE(view.certificate);
    EXPECT_EQ(view.answered, c.answered);
    EXPECT_EQ(view.holders.size(), c.holders);
    EXPECT_EQ(view.wait_ns, c.wait_ns);
  }
  const Nanos promised = bench.now + bench.view("3.0.0").wait_ns;
  bench.now = first_ends - 1;
  for (int i = 1; i <= 3; ++i) bench.lease(i);  // who acknowledged goes on, and renews
  bench.step(HubTick{});
  bench.now = first_ends;
  bench.step(HubTick{});
  ASSERT_TRUE(bench.certificate("2.0.0"));
  while (!bench.certificate("3.0.0") && bench.now < promised) bench.after(100 * kMillisecond);
  EXPECT_TRUE(bench.certificate("3.0.0")) << "within what was said";
}

TEST(HubRecalls, NothingPutsARecalledVersionInForceAgain) {  // M7
  RecallBench bench;
  bench.ready_with_two();
  ASSERT_EQ(bench.recall("2.0.0").code, Code::kOk);
  ASSERT_TRUE(bench.certificate("2.0.0"));
  EXPECT_EQ(bench.ask(StageModel{"m", "2.0.0"}).code, Code::kConflict);
  EXPECT_EQ(bench.ask(ActivateModel{"m", "2.0.0"}).code, Code::kConflict);
  EXPECT_EQ(bench.ask(bench.start_of("1")).code, Code::kConflict);
  EXPECT_EQ(bench.try_publish("2.0.0").code, Code::kConflict);
  EXPECT_EQ(bench.recall("2.0.0").code, Code::kConflict);
  EXPECT_EQ(bench.ask(RollbackModel{"m"}).code, Code::kConflict);
  EXPECT_EQ(bench.current(), "1.0.0");
}

TEST(HubRecalls, ARollbackDoesNotReturnToOne) {  // M7, S5
  RecallBench bench;
  bench.ready_with_two();
  ASSERT_EQ(bench.recall("1.0.0").code, Code::kOk);
  const auto certificate = bench.certificate("1.0.0");
  ASSERT_TRUE(certificate);
  EXPECT_FALSE(certificate->moved) << "no pointer named it: nobody was waited for";
  EXPECT_EQ(bench.current(), "2.0.0");
  const AdminAnswer back = bench.ask(RollbackModel{"m"});
  EXPECT_EQ(back.code, Code::kConflict);
  EXPECT_NE(back.message.find("was recalled"), std::string::npos) << back.message;
  // Nor does the next recall, which has nowhere to go but where it is told.
  EXPECT_EQ(bench.recall("2.0.0").code, Code::kConflict);
  EXPECT_EQ(bench.recall("2.0.0", {}, true).code, Code::kOk);
  EXPECT_EQ(bench.current(), "");
  EXPECT_EQ(bench.certificate("2.0.0")->to, "");
  EXPECT_EQ(bench.pointer(model_staged_key("m")), "");
}

TEST(HubRecalls, NorDoesARecallReturnToWhatWasRolledBack) {  // M7, S5
  RecallBench bench;
  bench.ready_with_two();
  ASSERT_EQ(bench.ask(RollbackModel{"m"}).code, Code::kOk);
  ASSERT_EQ(bench.current(), "1.0.0");
  const AdminAnswer again = bench.recall("1.0.0");
  EXPECT_EQ(again.code, Code::kConflict);
  EXPECT_NE(again.message.find("because 2.0.0 was rolled back"), std::string::npos) << again.message;
  EXPECT_EQ(bench.current(), "1.0.0");
  EXPECT_EQ(bench.recall("1.0.0", "2.0.0").code, Code::kOk) << "unless somebody says so";
}

TEST(HubRecalls, AWriteThatWasOnItsWayIsRefusedByTheLedger) {  // M7
  RecallBench bench;
  bench.ready_with_two();
  bench.publish("3.0.0");
  ASSERT_EQ(bench.ask(StageModel{"m", "3.0.0"}).code, Code::kOk);
  for (int i = 1; i <= 4; ++i) bench.stage(i, "3.0.0"), bench.lease(i);
  bench.silent = {4};
  const std::uint64_t token = ++bench.tokens;
  bench.step(HubAsked{AskToken{token}, AdminRequest{CommandId{88, token}, ActivateModel{"m", "3.0.0"}}, "alice"});
  ASSERT_FALSE(bench.answers.contains(token)) << "it waits for edge-4";
  ASSERT_EQ(bench.recall("3.0.0").code, Code::kOk);
  bench.now = bench.core->latest_lease();
  bench.step(HubTick{});
  bench.step(HubTick{});
  ASSERT_TRUE(bench.answers.contains(token));
  EXPECT_NE(bench.answers[token].code, Code::kOk);
  EXPECT_EQ(bench.current(), "2.0.0");
  ASSERT_TRUE(bench.certificate("3.0.0"));
  EXPECT_EQ(bench.pointer(model_staged_key("m")), "2.0.0");
}

TEST(HubRecalls, ARolloutOfItEnds) {  // M7, M5
  RecallBench bench;
  bench.ready();
  ASSERT_EQ(bench.ask(bench.start_of("1,3")).code, Code::kOk);
  for (int i = 1; i <= 4; ++i) bench.stage(i, "2.0.0");
  bench.after(kSecond);
  ASSERT_EQ(bench.ahead().size(), 1u);
  ASSERT_EQ(bench.recall("2.0.0").code, Code::kOk);
  ASSERT_TRUE(bench.certificate("2.0.0"));
  EXPECT_TRUE(bench.certificate("2.0.0")->moved);
  EXPECT_EQ(bench.rollout().phase, RolloutPhase::kAborted);
  EXPECT_TRUE(bench.ahead().empty());
  EXPECT_EQ(bench.current(), "1.0.0");
  EXPECT_EQ(bench.value(model_rollout_key("m"))->version, bench.certificate("2.0.0")->index);
  bench.after(kSecond);
  EXPECT_EQ(bench.rollout().phase, RolloutPhase::kAborted);
}

TEST(HubRecalls, ARolloutAwayFromItEndsWhereTheOperatorSaid) {  // M7, M5
  RecallBench bench;
  bench.ready();
  ASSERT_EQ(bench.ask(bench.start_of("1,3")).code, Code::kOk);
  for (int i = 1; i <= 4; ++i) bench.stage(i, "2.0.0");
  bench.after(kSecond);
  ASSERT_EQ(bench.ahead().size(), 1u);
  // What everybody would return to is gone: so it goes on to where some are already.
  EXPECT_EQ(bench.recall("1.0.0").code, Code::kConflict) << "nothing was before it";
  ASSERT_EQ(bench.recall("1.0.0", "2.0.0").code, Code::kOk);
  ASSERT_TRUE(bench.certificate("1.0.0"));
  EXPECT_EQ(bench.rollout().phase, RolloutPhase::kAborted);
  EXPECT_EQ(bench.current(), "2.0.0");
  EXPECT_TRUE(bench.ahead().empty());
}

TEST(HubRecalls, ASuccessorGoesOnWithIt) {  // M7, A4
  RecallBench bench;
  bench.ready_with_two();
  for (int i = 1; i <= 4; ++i) bench.lease(i);
  bench.silent = {2};
  ASSERT_EQ(bench.recall("2.0.0").code, Code::kOk);
  ASSERT_FALSE(bench.certificate("2.0.0"));
  bench.silent.clear();
  bench.start("hub-2");  // which knows nothing of the leases, and waits them out
  const auto certificate = bench.certificate("2.0.0");
  if (!certificate) bench.after(60 * kSecond);
  const auto later = bench.certificate("2.0.0");
  ASSERT_TRUE(later);
  EXPECT_EQ(later->hub, "hub-2");
  EXPECT_EQ(later->without_count, 4u);
  EXPECT_EQ(bench.current(), "1.0.0");
}

TEST(HubRecalls, AGatewayThatReturnsIsToldAll) {  // M7
  RecallBench bench;
  bench.ready_with_two();
  ASSERT_EQ(bench.recall("2.0.0").code, Code::kOk);
  bench.step(HubDisconnected{ConnId{4}});
  bench.sent[4].clear();
  bench.sessions[4] = 0;
  bench.connect(4);
  EXPECT_EQ(bench.told(4), (std::set<std::string>{"2.0.0"}));
  bench.step(HubDisconnected{ConnId{3}});
  bench.sent[3].clear();
  bench.sessions[3] = 0;
  bench.connect(3, {}, kProtocolVersionRecalls - 1);
  EXPECT_TRUE(bench.told(3).empty()) << "it would not know the message";
}

TEST(HubRecalls, WhatCannotBeRecalledIsSaidWithWhatWouldBeRight) {  // M7
  RecallBench bench;
  bench.ready_with_two();
  bench.publish("3.0.0");
  EXPECT_EQ(bench.recall("9.9.9").code, Code::kNotFound);
  EXPECT_EQ(bench.ask(RecallModel{"m", "2.0.0", true, "1.0.0", ""}).code, Code::kInvalid);
  EXPECT_EQ(bench.ask(RecallModel{"m", "2.0.0", false, "", std::string(kRecallReasonMax + 1, 'x')}).code,
            Code::kInvalid);
  EXPECT_EQ(bench.recall("2.0.0", "2.0.0").code, Code::kConflict) << "itself";
  const AdminAnswer unstaged = bench.recall("2.0.0", "3.0.0");
  EXPECT_EQ(unstaged.code, Code::kConflict);
  EXPECT_NE(unstaged.message.find("stage it first"), std::string::npos) << unstaged.message;
  EXPECT_EQ(bench.current(), "2.0.0");
  EXPECT_TRUE(bench.core->state().recalls().empty());
}

TEST(HubRecalls, WaitUntilEveryHubKnowsOfThem) {  // M7
  RecallBench bench;
  bench.step(HubVersions{kLedgerVersionRecalls - 1});
  for (int i = 1; i <= 4; ++i) bench.connect(i);
  bench.publish("1.0.0");
  EXPECT_EQ(bench.recall("1.0.0", {}, true).code, Code::kUnavailable);
}

TEST(StateRecalls, SurviveARestartAndAreJudgedAlikeAgain) {  // M7
  RecallBench bench;
  bench.ready_with_two();
  ASSERT_EQ(bench.recall("2.0.0").code, Code::kOk);
  ASSERT_TRUE(bench.certificate("2.0.0"));
  StateMachine again(bench.rows);
  ASSERT_EQ(again.recalls().size(), 1u);
  EXPECT_TRUE(again.is_recalled("m", "2.0.0"));
  EXPECT_TRUE(again.uncertified().empty());
  EXPECT_EQ(again.certificate("m", "2.0.0")->index, bench.certificate("2.0.0")->index);
  const auto apply = [&](std::uint64_t sequence, decltype(Command::body) body) {
    Command command;
    command.id = {99, sequence};
    command.term = again.term();
    command.body = std::move(body);
    StateBatch out;
    const Applied applied = again.apply(Index{again.applied().value + 1}, encode(command), out);
    bench.rows.commit(out);
    return applied;
  };
  KeyWrite write;
  write.key = model_current_key("m");
  write.value = encode(ModelPointer{"2.0.0", "digest", {}});
  EXPECT_FALSE(apply(1, Put{{write}, {}}).effective) << "whoever wrote it";
  write.key = model_ring_key("m");
  write.value = encode(RingPointer{{"2.0.0", "digest", {}}, {}});
  EXPECT_FALSE(apply(2, Put{{write}, {}}).effective);
  // A certificate beside a pointer that still names the version is none.
  RecallVersion recall;
  recall.name = "m";
  recall.version = "1.0.0";
  EXPECT_TRUE(apply(3, recall).effective);
  CertifyRecall certify;
  certify.certificate.name = "m";
  certify.certificate.version = "1.0.0";
  EXPECT_FALSE(apply(4, certify).effective);
  EXPECT_EQ(again.uncertified().size(), 1u);
}

}  // namespace
}  // namespace tidelock
