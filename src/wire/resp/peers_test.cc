// The tools of Redis against our server, and our server against Redis itself. Skipped, loudly, where they are not
// installed.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "wire/resp/command_access.h"
#include "wire/resp/peer_fixture.h"
#include "wire/resp/server_fixture.h"
#include "wire/resp/socket.h"

namespace tidelock {
namespace {

TEST(Peers, RedisCli) {
  if (!installed("redis-cli")) GTEST_SKIP() << "NOT TESTED: redis-cli is not installed";
  RunningServer running;
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/redis.sock";
  ASSERT_TRUE(running.on_loop([&] { return running.server().listen_unix(path); }));
  const std::string port = std::to_string(running.port());
  struct Case {
    std::vector<std::string> words;
    const char* expected;
  };
  const Case cases[] = {
      {{"PING"}, "PONG\n"},
      {{"SET", "a key", "a value"}, "OK\n"},
      {{"GET", "a key"}, "a value\n"},
      {{"-3", "GET", "a key"}, "a value\n"},
      {{"-3", "CONFIG", "GET", "databases"}, "databases 1\n"},
      {{"nope"}, "ERR unknown command 'nope', with args beginning with: \n\n"},
      {{"EXISTS", "a key"}, "1\n"},
  };
  for (const Case& c : cases) {
    for (const std::vector<std::string>& where : {std::vector<std::string>{"-p", port}, {"-s", path}}) {
      std::vector<std::string> command{"redis-cli"};
      command.insert(command.end(), where.begin(), where.end());
      command.insert(command.end(), c.words.begin(), c.words.end());
      int status = 0;
      EXPECT_EQ(run(command, &status), c.expected);
    }
  }
}

TEST(Peers, RedisBenchmark) {
  if (!installed("redis-benchmark")) GTEST_SKIP() << "NOT TESTED: redis-benchmark is not installed";
  RunningServer running;
  const std::string port = std::to_string(running.port());
  int status = 0;
  for (const char* pipeline : {"1", "16"}) {
    const std::string text =
        run({"redis-benchmark", "-p", port, "-q", "-n", "2000", "-c", "20", "-P", pipeline, "-t", "ping,set,get,mset"},
            &status);
    EXPECT_EQ(status, 0) << text;
    for (const char* expected : {"SET:", "GET:", "PING_INLINE:", "MSET"}) {
      EXPECT_NE(text.find(expected), std::string::npos) << text;
    }
    for (const char* bad : {"WARNING", "Error", "ERR"}) EXPECT_EQ(text.find(bad), std::string::npos) << text;
  }
  EXPECT_GE(running.stats().commands_total, 16'000u);
}

// Sends raw bytes that end in a QUIT or an error, and reads until the other side closed.
std::string converse(const std::string& address, const std::string& bytes) {
  const auto fd = connect_socket(address, kPatience);
  if (!fd) return "! " + fd.error().message;
  ::fcntl(*fd, F_SETFL, ::fcntl(*fd, F_GETFL) & ~O_NONBLOCK);
  [[maybe_unused]] const auto sent = ::send(*fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  std::string seen;
  char buffer[4096];
  for (ssize_t got; (got = ::recv(*fd, buffer, sizeof buffer, 0)) > 0;)
    seen.append(buffer, static_cast<std::size_t>(got));
  ::close(*fd);
  return seen;
}

TEST(Peers, AnswersAsRedisDoes) {
  if (!installed("redis-server")) GTEST_SKIP() << "NOT TESTED: redis-server is not installed";
  const TemporaryFolder folder;
  Redis redis(folder);
  ASSERT_TRUE(redis.ready());
  RunningServer running;
  auto theirs = RespClient::connect({.address = redis.path()});
  ASSERT_TRUE(theirs) << theirs.error().message;
  RespClient ours = running.connect();
  const char* lines[] = {
      "PING",
      "PING a",
      "PING a b",
      "ECHO a",
      "ECHO",
      "SELECT 0",
      "SELECT -1",
      "SELECT 99",
      "SELECT x",
      "SELECT 99999999999",
      "SELECT 9223372036854775808",
      "nope",
      "nope a b c",
      "GET",
      "GET a b",
      "MSET a",
      "MSET a 1 b",
      "AUTH",
      "AUTH x",
      "AUTH default x",
      "AUTH nobody x y",
      "HELLO 4",
      "HELLO 1",
      "HELLO x",
      "HELLO 3 nope",
      "HELLO 3 AUTH x",
      "HELLO 3 SETNAME",
      "CLIENT",
      "CLIENT GETNAME",
      "CLIENT SETNAME me",
      "CLIENT GETNAME",
      "CLIENT SETNAME",
      "CLIENT ID x",
      "CLIENT nope",
      "CLIENT NO-EVICT",
      "CLIENT NO-EVICT ON",
      "CLIENT NO-EVICT x",
      "CLIENT LIST x",
      "CLIENT LIST TYPE x",
      "CLIENT LIST ID x",
      "CLIENT LIST TYPE master",
      "COMMAND COUNT x",
      "COMMAND nope",
      "COMMAND GETKEYS",
      "COMMAND GETKEYS get a",
      "COMMAND GETKEYS mset a 1 b 2",
      "COMMAND GETKEYS ping x",
      "COMMAND GETKEYS nope x",
      "COMMAND GETKEYS get",
      "COMMAND GETKEYS get a b",
      "COMMAND INFO nope",
      "COMMAND LIST x",
      "CONFIG",
      "CONFIG GET",
      "CONFIG GET databasesx",
      "CONFIG SET",
      "CONFIG SET maxclients",
      "CONFIG SET nope 1",
      "CONFIG SET maxclients 0",
      "CONFIG SET maxclients x",
      "CONFIG SET timeout -1",
      "CONFIG SET databases 1",
      "CONFIG SET protected-mode x",
      "CONFIG SET proto-max-bulk-len x",
      "CONFIG SET timeout 1 timeout 2",
      "CONFIG REWRITE",
      "CONFIG REWRITE x",
      "CONFIG RESETSTAT",
      "CONFIG nope",
      "CONFIG GET timeout",
      "CONFIG SET timeout 7",
      "CONFIG SET timeout 0",
      "CONFIG GET save",
      "CONFIG GET appendonly",
      "CONFIG SET proto-max-bulk-len 2mb",
      "CONFIG GET proto-max-bulk-len",
      "SET k v",
      "GET k",
      "SET k",
      "SET k v NX XX",
      "SET k v EX",
      "SET k v EX x",
      "SET k v EX 0",
      "SET k v EX -5",
      "SET k v PX 0",
      "SET k v PXAT -1",
      "SET k v EX 9223372036854775807",
      "SET k v EX 9223372036854775",
      "SET k v PX 9223372036854775807",
      "SET k v EX 10 PX 10",
      "SET k v EX 10 KEEPTTL",
      "SET k v KEEPTTL EX 10",
      "SET k v nope",
      "SET k v EX x nope",
      "SET k v EX 10 EX 20",
      "SET k v EX 1.5",
      "SET k v EX 010",
      "TYPE k",
      "TYPE none",
      "DEL k none",
      "EXISTS k",
      "GET none",
      "RESET",
      "CLIENT GETNAME",
  };
  for (const char* line : lines) EXPECT_EQ(ask(ours, line), ask(*theirs, line)) << line;

  const char* raw[] = {
      "*-10\r\nPING\r\nQUIT\r\n",
      "*0\r\nPING\r\nQUIT\r\n",
      "*3000000000\r\n",
      "*x\r\n",
      "*1\r\n$-10\r\n",
      "*1\r\n$2000000000\r\n",
      "*1\r\n$blabla\r\n",
      "*1\r\nfoo\r\n",
      "*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n",
      "SET \"a b\r\n",
      "SET 'a\r\n",
      "SET \"\"\"a\"\r\n",
      "\r\n\r\nPING\r\nQUIT\r\n",
      "PING\nQUIT\n",
      "ping \"\\x41\\n\"\r\nQUIT\r\n",
      "*1\r\n$0\r\n\r\nQUIT\r\n",
      "+PING\r\nQUIT\r\n",
      "QUIT\r\nPING\r\n",
  };
  for (const char* bytes : raw) {
    const std::string mine = converse(running.address(), bytes), peer = converse(redis.path(), bytes);
    EXPECT_EQ(mine, peer) << bytes;
  }
  for (const char* start : {"", "*", "*1\r\n$"}) {  // endless lines
    const std::string bytes = start + std::string(200'000, 'A');
    const std::string mine = converse(running.address(), bytes);
    EXPECT_EQ(mine.find("-ERR Protocol error: too big "), 0u) << start << ": " << mine;
  }
}

// Where Redis lists several single commands, their order is that of a hash table with a random seed: not asked here.
TEST(Peers, TellsOperatorsWhatRedisTells) {
  if (!installed("redis-server")) GTEST_SKIP() << "NOT TESTED: redis-server is not installed";
  const TemporaryFolder folder;
  Redis redis(folder);
  ASSERT_TRUE(redis.ready());
  RunningServer running;
  const char* lines[] = {
      "ACL LIST",
      "ACL USERS",
      "ACL WHOAMI",
      "ACL GETUSER default",
      "ACL GETUSER nope",
      "ACL GETUSER",
      "ACL SETUSER",
      "ACL SETUSER a",
      "ACL GETUSER a",
      "ACL SETUSER a on >p1 ~k:* %R~r:* %W~w:* %RW~x:* &ch +@all -@admin -get",
      "ACL GETUSER a",
      "ACL LIST",
      "ACL SETUSER a nocommands",
      "ACL SETUSER a +get +set -set +config|get -config",
      "ACL GETUSER a",
      "ACL SETUSER a allkeys",
      "ACL SETUSER a ~foo",
      "ACL SETUSER a resetkeys ~foo",
      "ACL SETUSER a allchannels",
      "ACL SETUSER a &c",
      "ACL SETUSER a +nope",
      "ACL SETUSER a +@nope",
      "ACL SETUSER a nope",
      "ACL SETUSER a +config|nope",
      "ACL SETUSER a <nope",
      "ACL SETUSER a !00",
      "ACL SETUSER a #00",
      "ACL SETUSER a %Z~x",
      "ACL SETUSER a %~x",
      "ACL SETUSER a reset",
      "ACL GETUSER a",
      "ACL SETUSER a on nopass",
      "ACL GETUSER a",
      "ACL SETUSER a >x",
      "ACL SETUSER a skip-sanitize-payload",
      "ACL LIST",
      "ACL SETUSER b +@hash +get",
      "ACL GETUSER b",
      "ACL SETUSER b -@all +client -client|kill",
      "ACL GETUSER b",
      "ACL SETUSER b +@all -@string",
      "ACL GETUSER b",
      "ACL DELUSER default",
      "ACL DELUSER b nope",
      "ACL DELUSER",
      "ACL CAT nope",
      "ACL CAT a b",
      "ACL CAT transaction x",
      "ACL GENPASS 0",
      "ACL GENPASS 4097",
      "ACL GENPASS x",
      "ACL GENPASS 1 2",
      "ACL DRYRUN",
      "ACL DRYRUN nope get a",
      "ACL DRYRUN default nope",
      "ACL DRYRUN default config nope x",
      "ACL DRYRUN default get",
      "ACL DRYRUN default get a",
      ("ACL SETUSER d on nopass ~a* %R~r* %W~w* +get +set +mset +copy +rename +exists &ch* +publish +subscribe "
       "+psubscribe"),
      "ACL DRYRUN d get a",
      "ACL DRYRUN d get b",
      "ACL DRYRUN d mset a 1 b 2",
      "ACL DRYRUN d del a",
      "ACL DRYRUN d config get x",
      "ACL DRYRUN d publish x y",
      "ACL DRYRUN d publish chx y",
      "ACL DRYRUN d subscribe chx y",
      "ACL DRYRUN d psubscribe ch*",
      "ACL DRYRUN d psubscribe chx*",
      "ACL DRYRUN d client id",
      "ACL DRYRUN d auth x",
      "ACL DRYRUN d copy r1 w1",
      "ACL DRYRUN d copy w1 r1",
      "ACL DRYRUN d rename r1 w1",
      "ACL DRYRUN d set r1 w1",
      "ACL DRYRUN d set w1 w1",
      "ACL DRYRUN d set w1 w1 get",
      "ACL DRYRUN d get w1",
      "ACL DRYRUN d exists w1",
      "ACL DRYRUN d exists b",
      "ACL LOG",
      "ACL LOG RESET",
      "ACL LOG x",
      "ACL LOG 1 2",
      "ACL NOPE",
      "ACL HELP",
      "ACL",
      "ACL SAVE",
      "ACL LOAD",
      "AUTH a b c",
      "AUTH d x",
      "ACL WHOAMI",
      "GET b",
      "GET a",
      "DEL a",
      "CONFIG GET x",
      "CONFIG NOPE",
      "NOPE",
      "MSET a 1 b 2",
      "PUBLISH x y",
      "CLIENT ID",
      "PING",
      "GET",
      "RESET",
      "ACL WHOAMI",
      "ACL DELUSER d a",
      "CONFIG GET slowlog-max-len",
      "CONFIG GET slowlog-log-slower-than",
      "CONFIG SET slowlog-max-len -1",
      "CONFIG SET slowlog-log-slower-than -2",
      "CONFIG SET slowlog-log-slower-than x",
      "CONFIG GET latency-monitor-threshold",
      "SLOWLOG RESET",
      "SLOWLOG LEN",
      "SLOWLOG GET",
      "SLOWLOG GET -2",
      "SLOWLOG GET x",
      "SLOWLOG GET 1 2",
      "SLOWLOG LEN x",
      "SLOWLOG NOPE",
      "SLOWLOG",
      "SLOWLOG HELP",
      "LATENCY LATEST",
      "LATENCY HISTORY command",
      "LATENCY HISTORY",
      "LATENCY RESET",
      "LATENCY RESET nope",
      "LATENCY DOCTOR x",
      "LATENCY NOPE",
      "LATENCY HISTOGRAM nope",
      "MEMORY",
      "MEMORY USAGE",
      "MEMORY USAGE k SAMPLES",
      "MEMORY STATS x",
      "MEMORY DOCTOR x",
      "MEMORY NOPE",
      "TIME x",
      "FUNCTION FLUSH",
      "FUNCTION FLUSH ASYNC",
      "FUNCTION FLUSH nope",
      "FUNCTION FLUSH SYNC x",
      "FUNCTION LIST",
      "FUNCTION LIST WITHCODE",
      "FUNCTION LIST LIBRARYNAME x",
      "FUNCTION LIST LIBRARYNAME",
      "FUNCTION LIST LIBRARYNAME x LIBRARYNAME y",
      "FUNCTION LIST nope",
      "FUNCTION NOPE",
      "FUNCTION",
      "SHUTDOWN nope",
      "SHUTDOWN SAVE NOSAVE",
      "SHUTDOWN ABORT",
      "SHUTDOWN ABORT NOW",
      "COMMAND INFO config|get",
      "COMMAND INFO config|nope",
      "COMMAND DOCS nope",
      "COMMAND LIST FILTERBY ACLCAT nope",
      "COMMAND LIST FILTERBY PATTERN config|g*",
      "COMMAND LIST FILTERBY MODULE x",
      "COMMAND LIST FILTERBY nope x",
      "COMMAND LIST FILTERBY PATTERN",
      "COMMAND GETKEYS object encoding x",
      "COMMAND GETKEYS memory usage x",
      "COMMAND GETKEYS config get x",
      "COMMAND GETKEYSANDFLAGS get a",
      "COMMAND GETKEYSANDFLAGS mset a 1 b 2",
      "COMMAND GETKEYSANDFLAGS set a 1",
      "COMMAND GETKEYSANDFLAGS set a 1 get",
      "COMMAND GETKEYSANDFLAGS rename a b",
      "COMMAND GETKEYSANDFLAGS renamenx a b",
      "COMMAND GETKEYSANDFLAGS copy a b",
      "COMMAND GETKEYSANDFLAGS getex a",
      "COMMAND GETKEYSANDFLAGS hdel a b",
      "COMMAND GETKEYSANDFLAGS append a b",
      "COMMAND GETKEYSANDFLAGS ping",
      "COMMAND HELP",
      "CONFIG SET maxclients 100 timeout x",
      "CONFIG SET timeout 5 nope 1",
      "CONFIG HELP",
      "CONFIG RESETSTAT x",
  };
  for (const int protocol : {2, 3}) {
    auto theirs = RespClient::connect({.address = redis.path(), .protocol = protocol});
    ASSERT_TRUE(theirs) << theirs.error().message;
    RespClient ours = running.connect({.protocol = protocol});
    ask(ours, "ACL LOG RESET");
    ask(*theirs, "ACL LOG RESET");
    for (const char* line : lines) {
      if (protocol == 3 && std::string(line) == "RESET") break;  // back to RESP2
      EXPECT_EQ(ask(ours, line), ask(*theirs, line)) << line;
    }
    ask(ours, "ACL DELUSER a b d");
    ask(*theirs, "ACL DELUSER a b d");
  }
  // The table itself: name, arity, flags, legacy keys, categories.
  auto theirs = RespClient::connect({.address = redis.path()});
  ASSERT_TRUE(theirs) << theirs.error().message;
  RespClient ours = running.connect();
  for (std::size_t entry = 0; entry < command_entries(); ++entry) {
    const std::string name = lookup_of_entry(entry).full_name();
    if (name.starts_with("tl.") || name == "client|setinfo") continue;  // ours, and of Redis 7.2
    auto mine = ours.call({"COMMAND", "INFO", name}, kPatience),
         peer = theirs->call({"COMMAND", "INFO", name}, kPatience);
    ASSERT_TRUE(mine && peer) << name;
    for (auto* info : {&*mine, &*peer}) {
      ASSERT_EQ(info->elements.size(), 1u) << name;
      ASSERT_EQ(info->elements[0].elements.size(), 10u) << name;
      info->elements[0].elements.resize(7);  // tips, the notes of key specifications, and all subcommands of Redis
    }
    EXPECT_EQ(to_text(*mine), to_text(*peer));
  }
}

}  // namespace
}  // namespace tidelock
