// String commands, lifetimes and moves of keys on a real edge, as a client of Redis 7.0 would see them.
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "codec/typed_value.h"
#include "edge/commands.h"
#include "edge/edge_fixture.h"

namespace tidelock {
namespace {

using StringsTest = EdgeFixture;

const std::string kWrongType = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
const std::string kNoInteger = "(error) ERR value is not an integer or out of range";
const std::string kNoFloat = "(error) ERR value is not a valid float";
const std::string kTooLong = "(error) ERR string exceeds maximum allowed size (proto-max-bulk-len)";
const std::string kSyntax = "(error) ERR syntax error";

// What a pipeline writes is stored as one batch; nobody can tell.
TEST_F(StringsTest, APipelineIsSeenInOrderAndKept) {
  start();
  const std::vector<Said> script = {
      {{"SET", "a", "1"}, "OK"},
      {{"GET", "a"}, "\"1\""},
      {{"SET", "a", "2"}, "OK"},
      {{"SET", "b", "1"}, "OK"},
      {{"DBSIZE"}, "2"},
      {{"SETNX", "a", "3"}, "0"},
      {{"SET", "a", "3", "NX"}, "null"},
      {{"SET", "c", "1", "XX"}, "null"},
      {{"SETEX", "c", "100", "v"}, "OK"},
      {{"TTL", "c"}, "100"},
      {{"SET", "c", "w", "KEEPTTL"}, "OK"},
      {{"TTL", "c"}, "100"},
      {{"DEL", "b"}, "1"},
      {{"SET", "d", "1", "PXAT", "1"}, "OK"},
      {{"DBSIZE"}, "2"},
      {{"WATCH", "a"}, "OK"},
      {{"MULTI"}, "OK"},
      {{"SET", "a", "4"}, "QUEUED"},
      {{"GET", "a"}, "QUEUED"},
      {{"EXEC"}, "[OK, \"4\"]"},
      {{"SET", "a", "5"}, "OK"},
      {{"WATCH", "a"}, "OK"},
      {{"SET", "a", "6"}, "OK"},
      {{"MULTI"}, "OK"},
      {{"EXEC"}, "null"},
  };
  std::vector<std::vector<std::string>> commands;
  for (const Said& said : script) commands.push_back(said.command);
  const auto replies = client_->pipeline(commands, kPatience);
  ASSERT_TRUE(replies) << replies.error().message;
  for (std::size_t i = 0; i < script.size(); ++i) {
    EXPECT_EQ(to_text((*replies)[i]), script[i].answer) << i << ": " << script[i].command[0];
  }
  start();
  expect({{{"GET", "a"}, "\"6\""}, {{"GET", "c"}, "\"w\""}, {{"EXISTS", "b", "d"}, "0"}});
}

// Large ones go from the arena to the socket. What the same pipeline writes, twice the arena, takes their place there;
// a pause sees to it that all of it arrives before any of it runs.
TEST_F(StringsTest, LargeValuesOfAPipelineAreThoseOfTheirInstant) {
  start();
  const std::string big(3000, 'b');
  ASSERT_EQ(client_->call({"SET", "big", big}, kPatience)->text, "OK");
  std::string wire;
  const auto say = [&](std::initializer_list<std::string_view> args) {
    append_request(wire, std::data(args), args.size());
  };
  const std::string other(200'000, 'o');
  say({"SET", "first", "1"});  // the pause stops it, and what is behind it
  const std::size_t first = wire.size();
  say({"GET", "big"}), say({"GET", "big"});
  for (int i = 0; i < 40; ++i) say({"SET", "other:" + std::to_string(i), other});
  say({"GET", "big"});

  auto other_client = RespClient::connect({.address = "unix:" + config_.run_dir + "/redis.sock"});
  ASSERT_TRUE(other_client);
  RespClient& pauser = *other_client;
  ASSERT_EQ(pauser.call({"CLIENT", "PAUSE", "600000", "WRITE"}, kPatience)->text, "OK");
  ASSERT_TRUE(client_->send_raw(wire, kPatience));
  const std::string waits = " qbuf=" + std::to_string(wire.size() - first);
  while (pauser.call({"CLIENT", "LIST"}, kPatience)->text.find(waits) == std::string::npos) std::this_thread::yield();
  ASSERT_EQ(pauser.call({"CLIENT", "UNPAUSE"}, kPatience)->text, "OK");
  for (int i = 0; i < 44; ++i) {
    const auto reply = client_->receive(kPatience);
    ASSERT_TRUE(reply) << i;
    ASSERT_EQ(reply->text, i == 1 || i == 2 || i == 43 ? big : "OK") << i;
  }
}

TEST_F(StringsTest, RangesAndLengths) {
  start();
  expect({
      {{"SET", "s", "Hello"}, "OK"},
      {{"GETRANGE", "s", "0", "-1"}, "\"Hello\""},
      {{"GETRANGE", "s", "1", "3"}, "\"ell\""},
      {{"GETRANGE", "s", "-3", "-2"}, "\"ll\""},
      {{"GETRANGE", "s", "-2", "-3"}, "\"\""},
      {{"GETRANGE", "s", "3", "1"}, "\"\""},
      {{"GETRANGE", "s", "-100", "0"}, "\"H\""},
      {{"GETRANGE", "s", "4", "9223372036854775807"}, "\"o\""},
      {{"GETRANGE", "s", "-9223372036854775808", "-9223372036854775808"}, "\"H\""},
      {{"GETRANGE", "s", "5", "9"}, "\"\""},
      {{"GETRANGE", "absent", "0", "-1"}, "\"\""},
      {{"GETRANGE", "absent", "x", "-1"}, kNoInteger},
      {{"SETRANGE", "s", "1", "ipp"}, "5"},
      {{"GET", "s"}, "\"Hippo\""},
      {{"SETRANGE", "s", "5", "s!"}, "7"},
      {{"SETRANGE", "s", "99", ""}, "7"},
      {{"GET", "s"}, "\"Hippos!\""},
      {{"SETRANGE", "absent", "5", ""}, "0"},
      {{"EXISTS", "absent"}, "0"},
      {{"SETRANGE", "padded", "2", "x"}, "3"},
      {{"GET", "padded"}, "\"\\x00\\x00x\""},
      {{"SETRANGE", "s", "-1", "x"}, "(error) ERR offset is out of range"},
      {{"SETRANGE", "s", "x", "x"}, kNoInteger},
      {{"SETRANGE", "s", "1048576", "x"}, kTooLong},
      {{"SETRANGE", "s", "9223372036854775807", "x"}, kTooLong},
      {{"SETRANGE", "s", "1048575", "x"}, "1048576"},
      {{"APPEND", "s", "y"}, kTooLong},
      {{"STRLEN", "s"}, "1048576"},
      {{"APPEND", "new", ""}, "0"},
      {{"EXISTS", "new"}, "1"},
      {{"STRLEN", "absent"}, "0"},
  });
}

TEST_F(StringsTest, CountersKeepTheirLifetimeAndOverflowIsRefused) {
  start();
  expect({
      {{"INCR", "n"}, "1"},
      {{"INCRBY", "n", "41"}, "42"},
      {{"DECR", "n"}, "41"},
      {{"DECRBY", "n", "50"}, "-9"},
      {{"EXPIRE", "n", "100"}, "1"},
      {{"INCRBY", "n", "-1"}, "-10"},
      {{"TTL", "n"}, "100"},
      {{"INCRBY", "n", "x"}, kNoInteger},
      {{"INCRBY", "n", "+1"}, kNoInteger},
      {{"DECRBY", "n", "-9223372036854775808"}, "(error) ERR decrement would overflow"},
      {{"SET", "n", "9223372036854775806"}, "OK"},
      {{"INCR", "n"}, "9223372036854775807"},
      {{"INCR", "n"}, "(error) ERR increment or decrement would overflow"},
      {{"GET", "n"}, "\"9223372036854775807\""},
      {{"SET", "n", "-9223372036854775808"}, "OK"},
      {{"DECR", "n"}, "(error) ERR increment or decrement would overflow"},
      {{"SET", "n", " 1"}, "OK"},
      {{"INCR", "n"}, kNoInteger},
      {{"SET", "f", "3.0e3"}, "OK"},
      {{"INCRBYFLOAT", "f", "200"}, "\"3200\""},
      {{"INCRBYFLOAT", "f", "-0.5"}, "\"3199.5\""},
      {{"GET", "f"}, "\"3199.5\""},
      {{"INCRBYFLOAT", "f", "0x10"}, "\"3215.5\""},
      {{"INCRBYFLOAT", "f", "nan"}, kNoFloat},
      {{"INCRBYFLOAT", "f", " 1"}, kNoFloat},
      {{"INCRBYFLOAT", "f", "1x"}, kNoFloat},
      {{"INCRBYFLOAT", "f", "-inf"}, "(error) ERR increment would produce NaN or Infinity"},
      {{"INCRBYFLOAT", "n", "1"}, kNoFloat},
      {{"INCRBYFLOAT", "zero", "-0.0"}, "\"0\""},
  });
}

TEST_F(StringsTest, OldValuesAndConditions) {
  start();
  expect({
      {{"GETSET", "k", "1"}, "null"},
      {{"EXPIRE", "k", "100"}, "1"},
      {{"GETSET", "k", "2"}, "\"1\""},
      {{"TTL", "k"}, "-1"},
      {{"GETDEL", "k"}, "\"2\""},
      {{"GETDEL", "k"}, "null"},
      {{"SETNX", "k", "1"}, "1"},
      {{"SETNX", "k", "2"}, "0"},
      {{"SETEX", "k", "10", "v"}, "OK"},
      {{"TTL", "k"}, "10"},
      {{"PSETEX", "k", "20000", "v"}, "OK"},
      {{"TTL", "k"}, "20"},
      {{"SETEX", "k", "0", "v"}, "(error) ERR invalid expire time in 'setex' command"},
      {{"MSETNX", "a", "1", "k", "2"}, "0"},
      {{"EXISTS", "a"}, "0"},
      {{"MSETNX", "a", "1", "b", "2", "a", "3"}, "1"},
      {{"MGET", "a", "b"}, "[\"3\", \"2\"]"},
      {{"MSETNX", "a", "1", "b"}, "(error) ERR wrong number of arguments for 'msetnx' command"},
      {{"MSETNX", "c", "1", "config:x", "2"},
       "(error) ERR MSETNX: some of these keys are written through the hub and some are not, so no instant is theirs: "
       "set "
       "them apart"},
      {{"MSETNX", "c", "1", "model:x", "2"},
       "(error) NOPERM key 'model:x': model keys are written by `tidelock model`"},
      {{"EXISTS", "c"}, "0"},
  });
}

TEST_F(StringsTest, WhatIsRefusedChangesNoOtherKeyOfItsCommand) {  // G9: feature keys need a joined edge
  start();
  expect({
      {{"MSET", "a", "1", "", "2"}, text({"SET", "", "2"})},
      {{"MSET", "a", "1", "b", std::string((1u << 20) + 1, 'x')}, text({"SET", "b", std::string((1u << 20) + 1, 'x')})},
      {{"MSET", "a", "1", "feature:x", "2"}, text({"SET", "feature:x", "2"})},
      {{"MSETNX", "a", "1", "feature:x", "2"}, text({"SET", "feature:x", "2"})},
      {{"EXISTS", "a"}, "0"},
      {{"SET", "a", "1"}, "OK"},
      {{"RENAME", "a", "model:x"}, "(error) NOPERM key 'model:x': model keys are written by `tidelock model`"},
      {{"RENAME", "a", "feature:x"}, text({"SET", "feature:x", "2"})},
      {{"GET", "a"}, "\"1\""},
  });
}

TEST_F(StringsTest, GetExLooksAtTheKeyBeforeTheTime) {
  start();
  const std::string bad_time = "(error) ERR invalid expire time in 'getex' command";
  expect({
      {{"SET", "k", "v"}, "OK"},
      {{"GETEX", "k"}, "\"v\""},
      {{"GETEX", "k", "EX", "100"}, "\"v\""},
      {{"TTL", "k"}, "100"},
      {{"GETEX", "k", "PX", "50000"}, "\"v\""},
      {{"TTL", "k"}, "50"},
      {{"GETEX", "k", "PERSIST"}, "\"v\""},
      {{"TTL", "k"}, "-1"},
      {{"GETEX", "k", "EX", "0"}, bad_time},
      {{"GETEX", "k", "EX", "x"}, kNoInteger},
      {{"GETEX", "absent", "EX", "0"}, "null"},
      {{"GETEX", "absent", "EX"}, kSyntax},
      {{"GETEX", "k", "PERSIST", "EX", "1"}, kSyntax},
      {{"GETEX", "k", "EX", "1", "PX", "1"}, kSyntax},
      {{"GETEX", "k", "KEEPTTL"}, kSyntax},
      {{"GETEX", "k", "PXAT", "1"}, "\"v\""},
      {{"GET", "k"}, "null"},
  });
}

TEST_F(StringsTest, LifetimesAreComparedAsInstants) {
  start();
  const std::int64_t then = static_cast<std::int64_t>(wall_ms_now() / 1000) + 5000;
  const auto at = [&](std::int64_t later) { return std::to_string(then + later); };
  expect({
      {{"SET", "k", "v"}, "OK"},
      {{"EXPIRETIME", "k"}, "-1"},
      {{"PEXPIRETIME", "absent"}, "-2"},
      {{"EXPIREAT", "k", at(0), "GT"}, "0"},  // no lifetime is the longest
      {{"EXPIREAT", "k", at(0), "XX"}, "0"},
      {{"EXPIREAT", "k", at(0), "LT"}, "1"},
      {{"EXPIRETIME", "k"}, at(0)},
      {{"EXPIREAT", "k", at(9), "NX"}, "0"},
      {{"EXPIREAT", "k", at(-9), "GT"}, "0"},
      {{"EXPIREAT", "k", at(9), "GT"}, "1"},
      {{"PEXPIREAT", "k", at(9) + "900", "LT"}, "0"},
      {{"PEXPIREAT", "k", at(1) + "900", "LT"}, "1"},
      {{"EXPIRETIME", "k"}, at(2)},  // rounded, as Redis does
      {{"PEXPIRE", "k", "10000000000"}, "1"},
      {{"EXPIRE", "k", "10", "FOO"}, "(error) ERR Unsupported option FOO"},
      {{"EXPIREAT", "k", "9223372036854775807"}, "(error) ERR invalid expire time in 'expireat' command"},
      {{"PEXPIREAT", "k", "x"}, kNoInteger},
      {{"EXPIREAT", "absent", at(0)}, "0"},
      {{"PERSIST", "k"}, "1"},
      {{"PEXPIREAT", "k", "-9223372036854775808"}, "1"},
      {{"EXISTS", "k"}, "0"},
  });
}

TEST(Lifetime, IsWhatIsLeftOfTheInstant) {
  struct Case {
    const char* why;
    std::int64_t at_ms, wall_ns;
    Nanos lifetime;
  };
  const Case cases[] = {
      {"a part of the millisecond has passed", 1500, 1000 * kMillisecond + 250'000, 500 * kMillisecond - 250'000},
      {"this millisecond has come: it has passed, as in Redis", 1000, 1000 * kMillisecond + 1, 0},
      {"long ago", std::numeric_limits<std::int64_t>::min(), 1000 * kMillisecond, 0},
  };
  for (const Case& c : cases) EXPECT_EQ(lifetime_until(c.at_ms, c.wall_ns), c.lifetime) << c.why;
  EXPECT_GT(lifetime_until(std::numeric_limits<std::int64_t>::max(), 1), 50LL * 365 * 24 * 3600 * kSecond);
}

TEST_F(StringsTest, MovesCarryValueAndLifetime) {
  start();
  expect({
      {{"SET", "a", "1", "EX", "100"}, "OK"},
      {{"RENAME", "a", "b"}, "OK"},
      {{"EXISTS", "a"}, "0"},
      {{"GET", "b"}, "\"1\""},
      {{"TTL", "b"}, "100"},
      {{"COPY", "b", "c"}, "1"},
      {{"TTL", "c"}, "100"},
      {{"SET", "d", "2"}, "OK"},
      {{"COPY", "d", "c"}, "0"},
      {{"COPY", "d", "c", "DB", "0", "REPLACE"}, "1"},
      {{"GET", "c"}, "\"2\""},
      {{"TTL", "c"}, "-1"},
      {{"RENAMENX", "b", "c"}, "0"},
      {{"GET", "b"}, "\"1\""},
      {{"RENAMENX", "b", "e"}, "1"},
      {{"RENAME", "e", "d"}, "OK"},  // over another
      {{"GET", "d"}, "\"1\""},
      {{"RENAME", "d", "d"}, "OK"},
      {{"RENAMENX", "d", "d"}, "0"},
      {{"RENAME", "absent", "d"}, "(error) ERR no such key"},
      {{"RENAME", "absent", "absent"}, "(error) ERR no such key"},
      {{"RENAMENX", "absent", "x"}, "(error) ERR no such key"},
      {{"GET", "d"}, "\"1\""},
      {{"COPY", "absent", "x"}, "0"},
      {{"COPY", "d", "d"}, "(error) ERR source and destination objects are the same"},
      {{"COPY", "d", "x", "DB", "1"}, "(error) ERR DB index is out of range"},
      {{"COPY", "d", "x", "DB", "x"}, kNoInteger},
      {{"COPY", "d", "x", "DB"}, kSyntax},
      {{"EXISTS", "x"}, "0"},
      {{"TOUCH", "c", "d", "absent"}, "2"},
  });
}

TEST_F(StringsTest, MovesBetweenTheOutboxAndTheGateway) {
  joined_before();
  start();
  expect({
      {{"SET", "feature:a", "1"}, "OK"},
      {{"INCR", "feature:a"}, "2"},
      {{"RENAME", "feature:a", "feature:b"}, "OK"},
      {{"RENAMENX", "feature:a", "x"}, "(error) ERR no such key"},
      {{"COPY", "feature:b", "own"}, "1"},
      {{"GET", "own"}, "\"2\""},
      {{"RENAME", "own", "feature:c"}, "OK"},
      {{"EXISTS", "own"}, "0"},
      {{"APPEND", "feature:c", "0"}, "2"},
      {{"INCRBY", "feature:c", "5"}, "25"},
  });
}

TEST_F(StringsTest, AHashIsNoString) {
  const Bytes hash = Bytes(kTypedValueMark) + "h";
  plant("h", hash, true);
  start();
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"GET", "h"},
           {"STRLEN", "h"},
           {"GETRANGE", "h", "0", "1"},
           {"SETRANGE", "h", "0", "x"},
           {"APPEND", "h", "x"},
           {"INCR", "h"},
           {"DECRBY", "h", "2"},
           {"INCRBYFLOAT", "h", "x"},
           {"GETSET", "h", "x"},
           {"GETDEL", "h"},
           {"GETEX", "h"},
           {"GETEX", "h", "EX", "0"},
           {"SET", "h", "x", "GET"},
           {"SET", "h", "x", "NX", "GET"},
           {"TL.GET", "h"},
       }) {
    EXPECT_EQ(text(command), kWrongType) << command[0];
  }
  expect({
      {{"SETRANGE", "h", "-1", "x"}, "(error) ERR offset is out of range"},
      {{"INCRBY", "h", "x"}, kNoInteger},
      {{"MGET", "h"}, "[null]"},
      {{"SETNX", "h", "x"}, "0"},
      {{"TYPE", "h"}, "hash"},
      {{"OBJECT", "ENCODING", "h"}, "\"listpack\""},
      {{"EXPIRE", "h", "100"}, "1"},
      {{"RENAME", "h", "g"}, "OK"},
      {{"COPY", "g", "h"}, "1"},
      {{"TYPE", "g"}, "hash"},
      {{"TTL", "h"}, "100"},
      {{"SET", "s", "x"}, "OK"},
      {{"SCAN", "0", "TYPE", "hash"}, "[\"0\", [\"g\", \"h\"]]"},
      {{"SCAN", "0", "TYPE", "STRING"}, "[\"0\", [\"s\"]]"},
      {{"SCAN", "0", "TYPE", "zset"}, "[\"0\", []]"},
      {{"SET", "h", "x"}, "OK"},
      {{"TYPE", "h"}, "string"},
  });
}

TEST_F(StringsTest, AStringThatLooksLikeAHashIsAString) {
  start();
  const std::string sly = std::string(kTypedValueMark) + "hash";
  EXPECT_EQ(text({"SET", "k", sly}), "OK");
  EXPECT_EQ(ask({"GET", "k"}).text, sly);
  EXPECT_EQ(ask({"GETRANGE", "k", "0", "3"}).text, kTypedValueMark);
  EXPECT_EQ(ask({"TL.GET", "k"}).find("value")->text, sly);
  EXPECT_EQ(ask({"TL.MGET", "KEYS", "k"}).elements.at(0).find("value")->text, sly);
  EXPECT_EQ(ask({"MGET", "k"}).elements.at(0).text, sly);
  expect({{{"TYPE", "k"}, "string"}, {{"STRLEN", "k"}, "8"}, {{"APPEND", "k", "!"}, "9"}});
  EXPECT_EQ(ask({"GETSET", "k", sly}).text, sly + "!");
  EXPECT_EQ(ask({"GETEX", "k", "EX", "100"}).text, sly);
  // One that becomes such in pieces, and one that stops being it.
  expect({{{"SET", "p", std::string(kTypedValueMark.substr(0, 3))}, "OK"}, {{"APPEND", "p", "vh"}, "5"}});
  EXPECT_EQ(ask({"GET", "p"}).text, std::string(kTypedValueMark) + "h");
  expect({{{"SETRANGE", "p", "0", "x"}, "5"}, {{"GET", "p"}, "\"xTLvh\""}, {{"MSET", "m", sly}, "OK"}});
  EXPECT_EQ(ask({"TL.SET", "t", sly}).type, RespType::kMap);
  EXPECT_EQ(ask({"MGET", "m", "t"}).elements.at(1).text, sly);
  EXPECT_EQ(ask({"GETDEL", "m"}).text, sly);
}

TEST_F(StringsTest, AnAnswerOfManyKeysHasALimit) {
  start();
  EXPECT_EQ(text({"SET", "k", std::string(1u << 20, 'x')}), "OK");
  std::vector<std::string> keys(128, "k");
  const auto with = [&](std::vector<std::string> command) {
    command.insert(command.end(), keys.begin(), keys.end());
    return command;
  };
  const std::string refused = "(error) ERR the values of these keys are above 134217728 bytes; ask for fewer";
  keys.push_back("k");
  EXPECT_EQ(text(with({"MGET"})), refused);
  EXPECT_EQ(text(with({"TL.MGET", "KEYS"})), refused);
  keys.resize(100);
  EXPECT_EQ(ask(with({"MGET"})).elements.size(), 100u);
}

TEST_F(StringsTest, ObjectAndRandomKey) {
  start();
  expect({
      {{"RANDOMKEY"}, "null"},
      {{"SET", "n", "12"}, "OK"},
      {{"RANDOMKEY"}, "\"n\""},
      {{"SET", "s", std::string(44, 'x')}, "OK"},
      {{"SET", "l", std::string(45, 'x')}, "OK"},
      {{"OBJECT", "ENCODING", "n"}, "\"int\""},
      {{"OBJECT", "encoding", "s"}, "\"embstr\""},
      {{"OBJECT", "ENCODING", "l"}, "\"raw\""},
      {{"OBJECT", "ENCODING", "absent"}, "null"},
      {{"OBJECT", "REFCOUNT", "s"}, "1"},
      {{"OBJECT", "IDLETIME", "s"}, "(error) ERR idle time is not tracked by this edge"},
      {{"OBJECT", "IDLETIME", "absent"}, "null"},
      {{"OBJECT", "ENCODING"}, "(error) ERR wrong number of arguments for 'object|encoding' command"},
      {{"OBJECT", "HELP", "x"}, "(error) ERR wrong number of arguments for 'object|help' command"},
      {{"OBJECT", "nope", "x"}, "(error) ERR unknown subcommand 'nope'. Try OBJECT HELP."},
  });
  EXPECT_TRUE(text({"OBJECT", "FREQ", "s"}).starts_with("(error) ERR An LFU maxmemory policy is not selected"));
  EXPECT_EQ(ask({"OBJECT", "HELP"}).elements.size(), 15u);
  std::set<std::string> drawn;
  for (int i = 0; i < 200; ++i) drawn.insert(ask({"RANDOMKEY"}).text);
  EXPECT_EQ(drawn, (std::set<std::string>{"n", "s", "l"})) << "each is as likely: missing one is (2/3)^200";
}

}  // namespace
}  // namespace tidelock
