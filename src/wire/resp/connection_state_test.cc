// What conversations with Redis cannot show: answers that come late, limits, and the clock. See conversations_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "wire/resp/conversation_fixture.h"
#include "wire/resp/server_fixture.h"

namespace tidelock {
namespace {

const std::string kAborted = "(error) EXECABORT Transaction discarded because of previous errors.";

void wait_for_deferred(RunningServer& running, std::size_t count) {
  ASSERT_TRUE(running.eventually([&] { return running.store.waiting.size() == count; }));
}

TEST(Transaction, RunsInOnePieceBetweenOthers) {
  RunningServer running;
  RespClient other = running.connect();
  RespClient client = running.connect();
  std::string pipeline = "MULTI\r\n";
  for (int i = 0; i < 3000; ++i) pipeline += "SET k " + std::to_string(i) + "\r\n";
  pipeline += "SET k done\r\nGET k\r\nEXEC\r\nPING\r\n";
  ASSERT_TRUE(client.send_raw(pipeline, kPatience));
  for (;;) {  // the other never sees a value from the middle
    const std::string seen = ask(other, "GET k");
    ASSERT_TRUE(seen == "null" || seen == "\"done\"") << seen;
    if (seen != "null") break;
  }
  for (int i = 0; i < 3003; ++i) ASSERT_TRUE(client.receive(kPatience));
  const auto exec = client.receive(kPatience);
  ASSERT_TRUE(exec);
  ASSERT_EQ(exec->elements.size(), 3002u);
  EXPECT_EQ(exec->elements.back().text, "done");
  EXPECT_EQ(client.receive(kPatience)->text, "PONG");
}

TEST(Transaction, WaitsForAnAnswerThatWasDeferred) {
  RunningServer running;
  Conversation talk(running.address());
  talk.run({{"a3", "SUBSCRIBE c", {">[\"subscribe\", \"c\", 1]"}},
            {"b", "SET k 1", {"OK"}},
            {"a3", "MULTI", {"OK"}},
            {"a3", "SET k 2", {"QUEUED"}},
            {"a3", "TL.GET k", {"QUEUED"}},
            {"a3", "TL.SET k v", {"QUEUED"}},
            {"a3", "GET k", {"QUEUED"}},
            {"a3", "EXEC", {}},
            {"a3", "PING", {}}});
  wait_for_deferred(running, 1);
  // Others go on meanwhile, and what they push does not stand inside the array.
  talk.run({{"b", "GET k", {"\"2\""}}, {"b", "SET k 3", {"OK"}}, {"b", "PUBLISH c m", {"1"}}});
  running.on_loop([&] { running.store.answer_next(); });
  talk.run({{"a3", "", {"[OK, \"3\", early, \"3\"]", ">[\"message\", \"c\", \"m\"]", "PONG"}}});
}

TEST(Transaction, OfAConnectionThatGoesIsNotGoneOnWith) {
  RunningServer running;
  Conversation talk(running.address());
  talk.run({{"a", "MULTI", {"OK"}},
            {"a", "SET k 1", {"QUEUED"}},
            {"a", "TL.GET k", {"QUEUED"}},
            {"a", "SET k 2", {"QUEUED"}},
            {"a", "EXEC", {}}});
  wait_for_deferred(running, 1);
  talk.run({{"b", "CLIENT KILL ID $a", {"1"}}, {"a", "", {"closed"}}, {"b", "GET k", {"\"1\""}}});
  EXPECT_EQ(running.on_loop([&] { return running.store.abandoned_tokens.size(); }), 1u);
  running.on_loop([&] { running.store.answer_next(); });
  talk.run({{"b", "GET k", {"\"1\""}}});
}

TEST(Transaction, RefusesAtQueueingWhatWouldWait) {
  RunningServer running;
  Conversation talk(running.address());
  talk.run({{"a", "SET far:k 1", {"OK"}},
            {"a", "MULTI", {"OK"}},
            {"a", "SET k 1", {"QUEUED"}},
            {"a", "SET far:k 2", {"(error) ERR key 'far:k' is far"}},
            {"a", "EXEC", {kAborted}},
            {"a", "MGET k far:k", {"[null, \"1\"]"}},
            // Redis queues these, and their confirmations break the count of the array.
            {"a", "MULTI", {"OK"}},
            {"a", "SUBSCRIBE c d", {"(error) ERR Command not allowed inside a transaction"}},
            {"a", "EXEC", {kAborted}},
            {"a", "PING", {"PONG"}}});
}

TEST(Transaction, HasLimits) {  // X6
  RunningServer running({.limits = {.request_bytes_max = 4u << 20}, .output_hard_bytes = 2u << 20});
  RespClient client = running.connect();
  const std::string big(1u << 20, 'v');
  ASSERT_EQ(ask(client, "MULTI"), "OK");
  for (int i = 0; i < 3; ++i) ASSERT_EQ(client.call({"SET", "k", big}, kPatience)->text, "QUEUED");
  EXPECT_EQ(client.call({"SET", "k", big}, kPatience)->text,
            "ERR the transaction is too large: at most 4194304 bytes can be queued");
  EXPECT_EQ(ask(client, "EXEC"), kAborted);
  EXPECT_EQ(ask(client, "GET k"), "null");
  // Answers beyond the output limit are not kept; the transaction is whole all the same.
  ASSERT_EQ(client.call({"SET", "k", big}, kPatience)->text, "OK");
  std::string pipeline = "MULTI\r\n";
  for (int i = 0; i < 30; ++i) pipeline += "GET k\r\n";
  ASSERT_TRUE(client.send_raw(pipeline + "SET last 1\r\nEXEC\r\n", kPatience));
  for (int i = 0; i < 32; ++i) ASSERT_TRUE(client.receive(kPatience));
  EXPECT_FALSE(client.receive(kPatience)) << "closed";
  RespClient next = running.connect();
  EXPECT_EQ(ask(next, "GET last"), "\"1\"");
  EXPECT_EQ(running.stats().closed_slow_reader, 1u);
}

TEST(Transaction, AWatchedKeyThatExpiresChanges) {
  MovedClock clock;
  RunningServer running({}, &clock);
  running.on_loop([&] { running.store.expiries["k"] = clock.now() + kSecond; });
  Conversation talk(running.address());
  talk.run({{"a", "SET k 1", {"OK"}},
            {"a", "WATCH k", {"OK"}},
            {"a", "MULTI", {"OK"}},
            {"a", "EXEC", {"[]"}},
            {"a", "WATCH k", {"OK"}},
            {"a", "MULTI", {"OK"}}});
  clock.advance(kSecond);
  talk.run({{"a", "EXEC", {"null"}},
            {"a", "WATCH k", {"OK"}},  // what is gone already does not change
            {"a", "MULTI", {"OK"}},
            {"a", "EXEC", {"[]"}}});
}

TEST(Transaction, AWatchedKeyOfAChangedGroupChanges) {
  RunningServer running;
  Conversation talk(running.address());
  talk.run({{"a", "WATCH k", {"OK"}}, {"b", "WATCH j", {"OK"}}});
  running.on_loop([&] { running.server().keys_changed([](std::string_view key) { return key == "k"; }); });
  talk.run({{"a", "MULTI", {"OK"}}, {"a", "EXEC", {"null"}}, {"b", "MULTI", {"OK"}}, {"b", "EXEC", {"[]"}}});
}

TEST(PubSub, Limits) {  // X6, I11
  RunningServer running({.patterns_max = 2});
  RespClient client = running.connect();
  EXPECT_EQ(client.call({"PSUBSCRIBE", std::string(4097, 'p')}, kPatience)->text, "ERR the pattern is too long");
  EXPECT_EQ(ask(client, "PSUBSCRIBE a b c"), "(error) ERR too many patterns: at most 2 are matched against a message");
  EXPECT_EQ(ask(client, "PUBSUB NUMPAT"), "0") << "nothing changed";
  EXPECT_EQ(client.call({"PUBSUB", "CHANNELS", std::string(4097, 'p')}, kPatience)->text,
            "ERR the pattern is too long");
}

TEST(OneCommand, HasNoAnswerWithoutBounds) {  // X6
  RunningServer running;
  RespClient client = running.connect();
  std::vector<std::string> patterns = {"PSUBSCRIBE"}, names = {"COMMAND", "INFO"}, ids = {"CLIENT", "LIST", "ID"};
  for (int i = 0; i < 1025; ++i) {
    patterns.push_back("p" + std::to_string(i));
    names.emplace_back("get");
    ids.emplace_back("1");
  }
  EXPECT_EQ(client.call(patterns, kPatience)->text, "ERR too many patterns: at most 1024 of one client");
  EXPECT_EQ(client.call(names, kPatience)->text, "ERR too many names: at most 1024 of one command");
  const std::string listed = client.call(ids, kPatience)->text;
  EXPECT_EQ(std::count(listed.begin(), listed.end(), '\n'), 1) << "each connection once";
}

TEST(PubSub, AHostilePatternCostsOneMessageNotTheLoop) {  // X6
  RunningServer running;
  const std::string pattern = "*[" + std::string(4000, 'x') + "]", channel(100'000, 'y');
  Conversation talk(running.address());
  talk.run({{"s", "PSUBSCRIBE " + pattern, {"[\"psubscribe\", \"" + pattern + "\", 1]"}},
            {"s", "SUBSCRIBE " + channel, {"[\"subscribe\", \"" + channel + "\", 2]"}},
            {"a",
             "PUBLISH " + channel + " m",
             {"(error) ERR the patterns of the subscribers take too long for this channel name"}},
            {"s", "PING", {"[\"pong\", \"\"]"}}});  // nothing was delivered
}

TEST(PubSub, ASubscriberThatDoesNotReadIsClosedAndNobodyElse) {  // X6, I11
  RunningServer running({.output_hard_bytes = 4u << 20});
  Conversation talk(running.address());
  talk.run(
      {{"deaf", "SUBSCRIBE c", {"[\"subscribe\", \"c\", 1]"}}, {"b", "SUBSCRIBE d", {"[\"subscribe\", \"d\", 1]"}}});
  RespClient loud = running.connect();
  const std::string message(1u << 20, 'm');
  for (int i = 0; i < 1000; ++i) {
    const auto heard = loud.call({"PUBLISH", "c", message}, kPatience);
    ASSERT_TRUE(heard);
    if (heard->integer == 0) break;
  }
  EXPECT_EQ(ask(loud, "PUBLISH c m"), "0");
  EXPECT_EQ(running.stats().closed_slow_reader, 1u);
  EXPECT_LT(running.stats().buffers_bytes, 8u << 20);
  EXPECT_EQ(ask(loud, "PUBLISH d m"), "1");
  talk.run({{"b", "", {"[\"message\", \"d\", \"m\"]"}}});
}

TEST(PubSub, SubscribersAreNotIdle) {
  MovedClock clock;
  RunningServer running({.idle_timeout_ms = 5000}, &clock);
  Conversation talk(running.address());
  talk.run({{"s", "SUBSCRIBE c", {"[\"subscribe\", \"c\", 1]"}}, {"idle", "PING", {"PONG"}}});
  clock.advance(6 * kSecond);
  running.on_loop([] {});
  talk.run({{"idle", "", {"closed"}}, {"b", "PUBLISH c m", {"1"}}, {"s", "", {"[\"message\", \"c\", \"m\"]"}}});
}

TEST(Tracking, OfReadsWhoseAnswerIsDeferred) {
  RunningServer running;
  Conversation talk(running.address());
  talk.run({{"a", "SET k 1", {"OK"}}, {"t3", "CLIENT TRACKING ON", {"OK"}}, {"t3", "TL.GET k", {}}});
  wait_for_deferred(running, 1);
  // One key: what changes before the answer is in the answer. The fetch that brings a value here is such a change.
  talk.run({{"a", "SET k 2", {"OK"}}});
  running.on_loop([&] { running.store.answer_next(); });
  talk.run({{"t3", "", {"\"2\""}},
            {"a", "SET k 3", {"OK"}},
            {"t3", "", {">[\"invalidate\", [\"k\"]]"}},
            {"t3", "TL.MGET KEYS k j", {}}});
  wait_for_deferred(running, 1);
  // Several: one may be older than the answer. It is told at once, and again where nobody can take it for older.
  talk.run({{"a", "SET j 1", {"OK"}}});
  running.on_loop([&] { running.store.answer_next(); });
  talk.run({{"t3", "", {">[\"invalidate\", [\"j\"]]", "\"3\"", ">[\"invalidate\", [\"j\"]]"}},
            {"a", "SET k 4", {"OK"}},
            {"t3", "", {">[\"invalidate\", [\"k\"]]"}}});
}

TEST(Tracking, ATableThatIsFullInvalidatesEarly) {  // I11
  for (const RespServerOptions& options :
       {RespServerOptions{.tracking_keys_max = 10}, RespServerOptions{.tracking_bytes_max = 2000}}) {
    RunningServer running(options);
    RespClient client = running.connect({.protocol = 3});
    ASSERT_EQ(ask(client, "CLIENT TRACKING ON"), "OK");
    for (int i = 0; i < 100; ++i) ask(client, "GET key:" + std::to_string(i));
    ASSERT_EQ(ask(client, "PING"), "PONG");
    const std::size_t told = client.take_pushes().size();
    EXPECT_GE(told, 88u);
    // Of the others a change is still told: no key is in neither group.
    for (int i = 0; i < 100; ++i) ask(client, "SET key:" + std::to_string(i) + " 1");
    ASSERT_EQ(ask(client, "PING"), "PONG");
    EXPECT_EQ(told + client.take_pushes().size(), 100u);
    const std::string info = running.on_loop([&] { return running.server().info_sections(); });
    EXPECT_NE(info.find("tracking_total_keys:0\r\n"), std::string::npos);
  }
}

TEST(Tracking, AValueThatExpiresIsInvalidated) {
  MovedClock clock;
  RunningServer running({}, &clock);
  running.on_loop([&] {
    running.store.expiries["k"] = clock.now() + 2 * kSecond;
    running.store.expiries["j"] = clock.now() + 1 * kSecond;
  });
  Conversation talk(running.address());
  talk.run(
      {{"t3", "CLIENT TRACKING ON", {"OK"}}, {"t3", "MGET k j x", {"[null, null, null]"}}, {"t3", "PING", {"PONG"}}});
  clock.advance(1 * kSecond);
  running.on_loop([] {});
  talk.run({{"t3", "", {">[\"invalidate\", [\"j\"]]"}}});
  clock.advance(1 * kSecond);
  running.on_loop([] {});
  talk.run({{"t3", "", {">[\"invalidate\", [\"k\"]]"}}, {"t3", "PING", {"PONG"}}});
}

TEST(Tracking, GroupsOfKeys) {
  RunningServer running;
  Conversation talk(running.address());
  talk.run({{"t3", "CLIENT TRACKING ON", {"OK"}},
            {"t3", "MGET a1 a2 b1", {"[null, null, null]"}},
            {"p3", "CLIENT TRACKING ON BCAST PREFIX a", {"OK"}}});
  running.on_loop([&] { running.server().keys_changed([](std::string_view key) { return key == "a1"; }); });
  talk.run({{"t3", "", {">[\"invalidate\", [\"a1\"]]"}},
            {"p3", "", {">[\"invalidate\", null]"}}});  // nobody knows which of them it holds
}

TEST(Tracking, ChangesOfNoConnectionAreToldToAll) {
  RunningServer running;
  Conversation talk(running.address());
  talk.run({{"t3", "CLIENT TRACKING ON NOLOOP", {"OK"}},
            {"t3", "MGET a b", {"[null, null]"}},
            {"p3", "CLIENT TRACKING ON BCAST NOLOOP", {"OK"}}});
  const auto t3 = static_cast<std::uint64_t>(talk.id_of("t3"));
  running.on_loop([&] {
    running.server().key_changed("b");
    running.server().key_changed("a");
    running.server().key_changed("a", t3);
  });
  talk.run({{"t3", "", {">[\"invalidate\", [\"b\"]]", ">[\"invalidate\", [\"a\"]]"}},
            {"p3", "", {">[\"invalidate\", [\"a\", \"b\"]]"}},
            {"t3", "GET a", {"null"}}});
  running.on_loop([&] { running.server().key_changed("a", t3); });
  talk.run({{"t3", "PING", {"PONG"}}, {"p3", "", {">[\"invalidate\", [\"a\"]]"}}});
}

TEST(Tracking, BroadcastsNameWhatTheUserMayRead) {  // X4
  RunningServer running;
  Conversation talk(running.address());
  const std::string costly = "*" + std::string(2000, 'a') + "b";
  talk.run({{"a", "ACL SETUSER bob on >pw ~b:* %W~w:* +client|tracking +ping", {"OK"}},
            {"a", "ACL SETUSER slow on >pw ~" + costly + " +client|tracking +ping", {"OK"}},
            {"b3", "AUTH bob pw", {"OK"}},
            {"s3", "AUTH slow pw", {"OK"}},
            {"b3", "CLIENT TRACKING ON BCAST", {"OK"}},
            {"s3", "CLIENT TRACKING ON BCAST PREFIX a", {"OK"}},
            {"all3", "CLIENT TRACKING ON BCAST", {"OK"}},
            {"a", "MSET a:1 1 b:1 1 w:1 1", {"OK"}},
            {"b3", "", {">[\"invalidate\", [\"b:1\"]]"}},
            {"all3", "", {">[\"invalidate\", [\"a:1\", \"b:1\", \"w:1\"]]"}},
            {"a", "SET a:1 2", {"OK"}},
            {"b3", "PING", {"PONG"}},
            // Its prefix names a namespace that it may not read: it hears nothing.
            {"s3", "PING", {"PONG"}},
            // A change of its rights holds at once.
            {"a", "ACL SETUSER bob resetkeys ~a:*", {"OK"}},
            {"a", "MSET a:1 3 b:1 3", {"OK"}},
            {"b3", "", {">[\"invalidate\", [\"a:1\"]]"}},
            // What names no key is told to all.
            {"a", "FLUSHALL", {"OK"}},
            {"b3", "", {">[\"invalidate\", null]"}}});
  // X6: a pattern that costs too much names nothing, and leaves nothing out.
  running.on_loop([&] {
    for (const char* end : {"c", "d", "e"}) running.server().key_changed(std::string(4000, 'a') + end);
  });
  talk.run({{"s3", "", {">[\"invalidate\", null]", ">[\"invalidate\", null]"}}});
}

TEST(Tracking, ARedirectionToNobodyIsTold) {
  RunningServer running;
  Conversation talk(running.address());
  talk.run({{"s3", "PING", {"PONG"}},
            {"r3", "CLIENT TRACKING ON REDIRECT $s3", {"OK"}},
            {"r3", "CLIENT GETREDIR", {std::to_string(talk.id_of("s3"))}},
            {"r3", "GET k", {"null"}},
            {"a", "SET k 1", {"OK"}},
            {"s3", "", {">[\"invalidate\", [\"k\"]]"}},
            {"r3", "GET k", {"\"1\""}}});
  const std::string id = std::to_string(talk.id_of("s3"));
  talk.run({{"a", "CLIENT KILL ID $s3", {"1"}},
            {"a", "SET k 2", {"OK"}},
            {"r3", "", {">[\"tracking-redir-broken\", " + id + "]"}},
            {"r3",
             "CLIENT TRACKINGINFO",
             {"{\"flags\": {\"on\", \"broken_redirect\"}, \"redirect\": " + id + ", \"prefixes\": []}"}}});
}

TEST(Tracking, PrefixesHaveLimits) {  // X6
  RunningServer running({.prefixes_max = 2});
  RespClient client = running.connect();
  EXPECT_EQ(ask(client, "CLIENT TRACKING ON BCAST PREFIX a PREFIX b PREFIX c"),
            "(error) ERR too many prefixes: at most 2 for a client");
  EXPECT_EQ(ask(client, "CLIENT TRACKING ON BCAST PREFIX " + std::string(257, 'a')),
            "(error) ERR the prefix is too long: at most 256 bytes");
  EXPECT_EQ(ask(client, "CLIENT GETREDIR"), "-1") << "nothing changed";
}

TEST(ClientCommand, PauseHoldsCommandsUntilItsEnd) {
  MovedClock clock;
  RunningServer running({.idle_timeout_ms = 1000}, &clock);
  Conversation talk(running.address());
  talk.run({{"b", "PING", {"PONG"}}, {"a", "CLIENT PAUSE 5000", {"OK"}}});
  const auto before = running.stats().bytes_in;
  talk.run({{"b", "PING", {}}, {"b", "ECHO later", {}}, {"a", "CLIENT UNPAUSE", {}}});
  ASSERT_TRUE(running.eventually([&] { return running.server().stats().bytes_in == before + 14 + 25 + 29; }));
  const auto commands = running.stats().commands_total;
  clock.advance(4999 * kMillisecond);
  running.on_loop([] {});
  EXPECT_EQ(running.stats().commands_total, commands) << "who is held is not idle, and not served";
  clock.advance(1 * kMillisecond);
  running.on_loop([] {});
  talk.run({{"b", "", {"PONG", "\"later\""}}, {"a", "", {"OK"}}});
  // Of a transaction the writes, and so the EXEC, wait.
  talk.run({{"b", "MULTI", {"OK"}},
            {"b", "SET k 1", {"QUEUED"}},
            {"a", "CLIENT PAUSE 5000 WRITE", {"OK"}},
            {"b", "EXEC", {}},
            {"c", "GET k", {"null"}},
            {"c", "PUBLISH c m", {}},
            {"a", "GET k", {"null"}},
            {"a", "CLIENT UNPAUSE", {"OK"}},
            {"b", "", {"[OK]"}},
            {"c", "", {"0"}}});
}

TEST(ClientCommand, ReplyOffDropsLateAnswersAndKeepsPushes) {
  RunningServer running;
  Conversation talk(running.address());
  talk.run(
      {{"a3", "SUBSCRIBE c", {">[\"subscribe\", \"c\", 1]"}}, {"a3", "CLIENT REPLY OFF", {}}, {"a3", "TL.GET k", {}}});
  wait_for_deferred(running, 1);
  running.on_loop([&] { running.store.answer_next(); });
  talk.run(
      {{"a3", "SET k 1", {}}, {"a3", "MULTI", {}}, {"a3", "GET k", {}}, {"a3", "TL.GET k", {}}, {"a3", "EXEC", {}}});
  wait_for_deferred(running, 1);
  running.on_loop([&] { running.store.answer_next(); });
  talk.run(
      {{"b", "PUBLISH c m", {"1"}}, {"a3", "", {">[\"message\", \"c\", \"m\"]"}}, {"a3", "CLIENT REPLY ON", {"OK"}}});
}

TEST(ClientCommand, ListShowsWhatAConnectionIs) {
  RunningServer running;
  Conversation talk(running.address());
  talk.run({{"s", "SUBSCRIBE c d", {"[\"subscribe\", \"c\", 1]", "[\"subscribe\", \"d\", 2]"}},
            {"s", "PSUBSCRIBE *", {"[\"psubscribe\", \"*\", 3]"}},
            {"x", "WATCH k", {"OK"}},
            {"x", "SET k 1", {"OK"}},
            {"x", "MULTI", {"OK"}},
            {"x", "GET k", {"QUEUED"}},
            {"t", "CLIENT TRACKING ON BCAST REDIRECT $s", {"OK"}}});
  RespClient client = running.connect();
  const auto shown = [&](const std::string& who) {
    return ask(client, "CLIENT LIST ID " + std::to_string(talk.id_of(who)));
  };
  EXPECT_NE(shown("s").find(" flags=P db=0 sub=2 psub=1 ssub=0 multi=-1 "), std::string::npos) << shown("s");
  EXPECT_NE(shown("x").find(" flags=xd db=0 sub=0 psub=0 ssub=0 multi=1 "), std::string::npos) << shown("x");
  EXPECT_NE(shown("t").find(" flags=tB "), std::string::npos) << shown("t");
  EXPECT_NE(shown("t").find(" redir=" + std::to_string(talk.id_of("s")) + " "), std::string::npos) << shown("t");
  const std::string subscribers = ask(client, "CLIENT LIST TYPE pubsub");
  EXPECT_EQ(subscribers.find("\"id=" + std::to_string(talk.id_of("s")) + " "), 0u) << subscribers;
  EXPECT_EQ(subscribers.find("id=", 4), std::string::npos) << subscribers;
}

}  // namespace
}  // namespace tidelock
