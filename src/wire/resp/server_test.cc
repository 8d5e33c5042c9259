#include "wire/resp/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "wire/resp/server_fixture.h"
#include "wire/resp/socket.h"

namespace tidelock {
namespace {

TEST(RespServer, ConnectionCommands) {
  RunningServer running;
  RespClient client = running.connect();
  struct Case {
    const char* line;
    const char* expected;
  };
  const Case cases[] = {
      {"PING", "PONG"},
      {"ping hi", "\"hi\""},
      {"ping a b", "(error) ERR wrong number of arguments for 'ping' command"},
      {"ECHO hi", "\"hi\""},
      {"echo", "(error) ERR wrong number of arguments for 'echo' command"},
      {"SELECT 0", "OK"},
      {"SELECT 1", "(error) ERR DB index is out of range"},
      {"SELECT -1", "(error) ERR DB index is out of range"},
      {"SELECT x", "(error) ERR value is not an integer or out of range"},
      {"nope a b", "(error) ERR unknown command 'nope', with args beginning with: 'a' 'b' "},
      {"GET", "(error) ERR wrong number of arguments for 'get' command"},
      {"MSET a 1 b", "(error) ERR wrong number of arguments for 'mset' command"},
      {"AUTH x",
       "(error) ERR AUTH <password> called without any password configured for the default user. Are you sure your "
       "configuration is correct?"},
      {"AUTH default x", "OK"},
      {"AUTH a b c", "(error) ERR syntax error"},
      {"HELLO 4", "(error) NOPROTO unsupported protocol version"},
      {"HELLO x", "(error) ERR Protocol version is not an integer or out of range"},
      {"HELLO 3 nope", "(error) ERR Syntax error in HELLO option 'nope'"},
      {"HELLO 3 AUTH x", "(error) ERR Syntax error in HELLO option 'AUTH'"},
      {"CLIENT GETNAME", "null"},
      {"CLIENT SETNAME me", "OK"},
      {"CLIENT GETNAME", "\"me\""},
      {"CLIENT SETNAME", "(error) ERR wrong number of arguments for 'client|setname' command"},
      {"CLIENT NO-EVICT ON", "OK"},
      {"CLIENT NO-EVICT maybe", "(error) ERR syntax error"},
      {"CLIENT SETINFO LIB-NAME lib", "OK"},
      {"CLIENT SETINFO nope lib", "(error) ERR Unrecognized option 'nope'"},
      {"CLIENT nope", "(error) ERR unknown subcommand 'nope'. Try CLIENT HELP."},
      {"CLIENT LIST nope", "(error) ERR syntax error"},
      {"CLIENT LIST TYPE master", "\"\""},
      {"COMMAND COUNT x", "(error) ERR wrong number of arguments for 'command|count' command"},
      {"TL.INFO", "(error) ERR internal error: planted"},
      {"TL.INFO clients", "(error) ERR wrong number of arguments for 'tl.info' command"},
      {"TL.SET k v", "early"},
      {"SET k v", "OK"},
      {"GET k", "\"v\""},
      {"SET k v EX 0", "(error) ERR invalid expire time in 'set' command"},
  };
  for (const Case& c : cases) EXPECT_EQ(ask(client, c.line), c.expected) << c.line;
  const std::string id = ask(client, "CLIENT ID");
  const std::string info = ask(client, "CLIENT INFO");
  EXPECT_EQ(info.find("\"id=" + id + " addr=127.0.0.1:"), 0u) << info;
  for (const char* part : {" name=me ", " flags=e ", " cmd=client|info ", " resp=2 ", " lib-name=lib "}) {
    EXPECT_NE(info.find(part), std::string::npos) << part << " in " << info;
  }
  RespClient other = running.connect({.name = "you"});
  const std::string list = ask(client, "CLIENT LIST");
  EXPECT_NE(list.find(" name=me "), std::string::npos) << list;
  EXPECT_NE(list.find(" name=you "), std::string::npos) << list;
  EXPECT_EQ(ask(client, "CLIENT LIST ID " + id).find(" name=you "), std::string::npos);
  EXPECT_EQ(client.call({"CLIENT", "SETNAME", "a b"}, kPatience)->text,
            "ERR Client names cannot contain spaces, newlines or special characters.");
  EXPECT_EQ(ask(client, "RESET"), "RESET");
  EXPECT_EQ(ask(client, "CLIENT GETNAME"), "null");
  EXPECT_EQ(ask(client, "QUIT"), "OK");
  EXPECT_FALSE(client.call({"PING"}, kPatience));
}

TEST(RespServer, SpeaksResp3AfterHello) {
  RunningServer running;
  RespClient client = running.connect();
  EXPECT_EQ(ask(client, "GET none"), "null");
  const auto hello = client.call({"HELLO", "3", "SETNAME", "three"}, kPatience);
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->type, RespType::kMap);
  EXPECT_EQ(hello->find("proto")->integer, 3);
  EXPECT_EQ(client.call({"CONFIG", "GET", "maxclients"}, kPatience)->type, RespType::kMap);
  EXPECT_EQ(client.call({"CLIENT", "INFO"}, kPatience)->type, RespType::kVerbatim);
  EXPECT_EQ(ask(client, "CLIENT GETNAME"), "\"three\"");
  EXPECT_EQ(client.call({"HELLO", "2"}, kPatience)->type, RespType::kArray);
  EXPECT_EQ(client.call({"CONFIG", "GET", "maxclients"}, kPatience)->type, RespType::kArray);
}

TEST(RespServer, Config) {
  RunningServer running;
  RespClient client = running.connect();
  const std::string failed = "(error) ERR CONFIG SET failed (possibly related to argument '";
  const std::pair<std::string, std::string> cases[] = {
      {"CONFIG GET maxclients", "[\"maxclients\", \"10000\"]"},
      {"CONFIG SET maxclients 50 timeout 60", "OK"},
      {"CONFIG GET MAXCLI*", "[\"maxclients\", \"50\"]"},
      {"CONFIG GET timeout", "[\"timeout\", \"60\"]"},
      {"CONFIG SET maxclients 7 timeout x", failed + "timeout') - argument couldn't be parsed into an integer"},
      {"CONFIG GET maxclients", "[\"maxclients\", \"50\"]"},
      {"CONFIG SET maxclients 0", failed + "maxclients') - argument must be between 1 and 4294967295 inclusive"},
      {"CONFIG SET maxclients 5 maxclients 6", failed + "maxclients') - duplicate parameter"},
      {"CONFIG SET databases 2", failed + "databases') - can't set immutable config"},
      {"CONFIG SET protected-mode maybe", failed + "protected-mode') - argument must be 'yes' or 'no'"},
      {"CONFIG SET proto-max-bulk-len 2mb", "OK"},
      {"CONFIG GET proto-max-bulk-len", "[\"proto-max-bulk-len\", \"2097152\"]"},
      {"CONFIG SET proto-max-bulk-len 2xb", failed + "proto-max-bulk-len') - argument must be a memory value"},
      {"CONFIG SET nope 1", "(error) ERR Unknown option or number of arguments for CONFIG SET - 'nope'"},
      {"CONFIG SET maxclients", "(error) ERR wrong number of arguments for 'config|set' command"},
      {"CONFIG GET", "(error) ERR wrong number of arguments for 'config|get' command"},
      {"CONFIG GET knob nope", "[\"knob\", \"1\"]"},
      {"CONFIG SET knob 2", "OK"},
      {"CONFIG GET knob", "[\"knob\", \"2\"]"},
      {"CONFIG GET maxmemory-clients", "[\"maxmemory-clients\", \"536870912\"]"},
      {"CONFIG SET maxmemory-clients 64mb", "OK"},
      {"CONFIG GET maxmemory-clients", "[\"maxmemory-clients\", \"67108864\"]"},
      {"CONFIG SET maxmemory-clients 0",
       failed + "maxmemory-clients') - argument must be between 16777216 and 68719476736 inclusive"},
      {"CONFIG RESETSTAT", "OK"},
      {"CONFIG REWRITE", "(error) ERR The server is running without a config file"},
      {"CONFIG nope", "(error) ERR unknown subcommand 'nope'. Try CONFIG HELP."},
      {"CONFIG SET requirepass secret", "OK"},
      {"CONFIG GET requirepass", "[]"},
  };
  for (const auto& [line, expected] : cases) EXPECT_EQ(ask(client, line), expected) << line;
  EXPECT_EQ(ask(client, "CONFIG GET *").find("secret"), std::string::npos);
  EXPECT_EQ(ask(client, "PING"), "PONG");  // who was here before stays
  RespClient later = running.connect();
  EXPECT_EQ(ask(later, "PING"), "(error) NOAUTH Authentication required.");
}

TEST(RespServer, OutputLimitsAreSet) {  // X6, I11
  RunningServer running;
  RespClient client = running.connect();
  const std::string name = "client-output-buffer-limit";
  const std::string failed = "(error) ERR CONFIG SET failed (possibly related to argument '" + name + "') - ";
  const std::string error = failed + "Error in hard, soft or soft_seconds setting in buffer limit configuration. ";
  const auto set = [&](const std::string& value) {
    const auto reply = client.call({"CONFIG", "SET", name, value}, kPatience);
    return reply ? to_text(*reply) : reply.error().message;
  };
  const std::string first = "[\"" + name + "\", \"normal 268435456 1048576 60\"]";
  EXPECT_EQ(ask(client, "CONFIG GET " + name), first);
  const std::pair<std::string, std::string> refused[] = {
      {"", failed + "Wrong number of arguments in buffer limit configuration."},
      {"normal 1mb 1mb", failed + "Wrong number of arguments in buffer limit configuration."},
      {"normal 1mb 1mb 60 pubsub 1mb 1mb 60", failed + "Wrong number of arguments in buffer limit configuration."},
      {"pubsub 1mb 1mb 60",
       failed + "Invalid client class specified in buffer limit configuration. All clients are of class normal here"},
      {"normal 0 1mb 60", error + "hard: argument must be between 65536 and 68719476736 inclusive"},
      {"normal 1mb 0 60", error + "soft: argument must be between 65536 and 1048576 inclusive"},
      {"normal 1mb 2mb 60", error + "soft: argument must be between 65536 and 1048576 inclusive"},
      {"normal 1mb x 60", error + "soft: argument must be between 65536 and 1048576 inclusive"},
      {"normal 1mb 1mb 0", error + "soft_seconds: argument must be between 1 and 86400 inclusive"}};
  for (const auto& [value, expected] : refused) EXPECT_EQ(set(value), expected) << value;
  EXPECT_EQ(ask(client, "CONFIG GET " + name), first) << "nothing changed";
  EXPECT_EQ(set("normal 128kb  64kb 5"), "OK");
  EXPECT_EQ(ask(client, "CONFIG GET " + name), "[\"" + name + "\", \"normal 131072 65536 5\"]");
  // It holds: a message beyond the hard limit ends the subscriber, and nobody else.
  RespClient subscriber = running.connect();
  ASSERT_TRUE(subscriber.send_raw("SUBSCRIBE c\r\n", kPatience) && subscriber.receive(kPatience));
  EXPECT_TRUE(client.call({"PUBLISH", "c", std::string(200'000, 'x')}, kPatience));
  EXPECT_FALSE(subscriber.receive(kPatience));
  EXPECT_EQ(running.stats().closed_slow_reader, 1u);
  EXPECT_EQ(ask(client, "PING"), "PONG");
}

TEST(RespServer, PipelinesKeepTheirOrderInOneWrite) {
  RunningServer running;
  RespClient client = running.connect();
  std::vector<std::vector<std::string>> commands;
  for (int i = 0; i < 5000; ++i) {
    commands.push_back({"SET", "k" + std::to_string(i), std::to_string(i)});
    commands.push_back({"GET", "k" + std::to_string(i)});
  }
  const auto replies = client.pipeline(commands, kPatience);
  ASSERT_TRUE(replies) << replies.error().message;
  ASSERT_EQ(replies->size(), commands.size());
  for (int i = 0; i < 5000; ++i) ASSERT_EQ((*replies)[static_cast<std::size_t>(i) * 2 + 1].text, std::to_string(i));
}

TEST(RespServer, DeferredAnswersKeepTheOrder) {
  RunningServer running;
  RespClient client = running.connect();
  RespClient other = running.connect();
  ASSERT_TRUE(client.send_raw("SET a 1\r\nTL.GET a\r\nSET a 2\r\nTL.GET a\r\nGET a\r\n", kPatience));
  EXPECT_EQ(client.receive(kPatience)->text, "OK");
  ASSERT_TRUE(running.eventually([&] { return running.store.waiting.size() == 1; }));
  EXPECT_EQ(ask(other, "GET a"), "\"1\"");  // other connections go on; later commands of the first one wait
  running.on_loop([&] {
    running.store.answer_next();
    EXPECT_EQ(running.store.values["a"], "1");  // nothing ran inside complete()
  });
  EXPECT_EQ(client.receive(kPatience)->text, "1");
  EXPECT_EQ(client.receive(kPatience)->text, "OK");
  ASSERT_TRUE(running.eventually([&] { return running.store.waiting.size() == 1; }));
  running.on_loop([&] { running.store.answer_next(); });
  EXPECT_EQ(client.receive(kPatience)->text, "2");
  EXPECT_EQ(client.receive(kPatience)->text, "2");
}

TEST(RespServer, TokensOfClosedConnectionsAreIgnored) {
  RunningServer running;
  RespClient client = running.connect();
  ASSERT_TRUE(client.send_raw("TL.GET a\r\n", kPatience));
  ASSERT_TRUE(running.eventually([&] { return running.store.waiting.size() == 1; }));
  // A reset, so that the server sees the end and not just a closed direction.
  client.close();
  running.on_loop([&] {
    running.store.answer_next();
    running.server().complete({12345, 1}, "+x\r\n");
  });
  ASSERT_TRUE(running.eventually([&] { return running.server().stats().connections == 0; }));
  RespClient next = running.connect();
  EXPECT_EQ(ask(next, "PING"), "PONG");
}

TEST(RespServer, AnswersAfterTheClientClosedItsDirection) {
  RunningServer running;
  const int fd = connect_socket(running.address(), kPatience).value();
  const std::string_view request = "PING\r\nTL.GET a\r\nPING\r\n";
  ASSERT_EQ(::send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  ::shutdown(fd, SHUT_WR);
  ASSERT_TRUE(running.eventually([&] { return running.store.waiting.size() == 1; }));
  running.on_loop([&] { running.store.answer_next(); });
  const int flags = ::fcntl(fd, F_GETFL);
  ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  std::string seen;
  char buffer[256];
  for (ssize_t got; (got = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
    seen.append(buffer, static_cast<std::size_t>(got));
  EXPECT_EQ(seen, "+PONG\r\n$-1\r\n+PONG\r\n");
  ::close(fd);
}

TEST(RespServer, BadProtocolIsAnsweredThenClosed) {  // RELIABILITY 7
  RunningServer running;
  struct Case {
    const char* why;
    std::string bytes;
    const char* expected;
  };
  const Case cases[] = {
      {"bad length", "*1\r\n$x\r\n", "ERR Protocol error: invalid bulk length"},
      {"endless line", "*" + std::string(200'000, 'A'), "ERR Protocol error: too big mbulk count string"},
      {"nested", "*1\r\n*1\r\n*1\r\n", "ERR Protocol error: expected '$', got '*'"},
  };
  for (const Case& c : cases) {
    RespClient client = running.connect();
    ASSERT_TRUE(client.send_raw(c.bytes, kPatience)) << c.why;
    const auto reply = client.receive(kPatience);
    ASSERT_TRUE(reply) << c.why << ": " << reply.error().message;
    EXPECT_EQ(reply->text, c.expected) << c.why;
    EXPECT_FALSE(client.receive(kPatience)) << c.why << ": closed";
  }
  EXPECT_EQ(running.stats().closed_protocol_error, std::size(cases));
}

TEST(RespServer, PasswordProtects) {  // X4, X6
  MovedClock clock;
  RunningServer running({.password = "secret"}, &clock);
  RespClient client = running.connect();
  EXPECT_EQ(ask(client, "PING"), "(error) NOAUTH Authentication required.");
  EXPECT_EQ(ask(client, "GET a"), "(error) NOAUTH Authentication required.");
  EXPECT_EQ(ask(client, "HELLO 3").find("(error) NOAUTH HELLO must be called"), 0u);
  // A wrong password is answered only after a delay, and what follows waits behind it.
  ASSERT_TRUE(client.send_raw("AUTH wrong\r\nAUTH secret\r\nPING\r\n", kPatience));
  ASSERT_TRUE(running.eventually([&] { return running.server().stats().authentication_failures == 1; }));
  EXPECT_EQ(running.stats().commands_total, 4u);
  clock.advance(201 * kMillisecond);
  running.on_loop([] {});
  EXPECT_EQ(client.receive(kPatience)->text, "WRONGPASS invalid username-password pair or user is disabled.");
  EXPECT_EQ(client.receive(kPatience)->text, "OK");
  EXPECT_EQ(client.receive(kPatience)->text, "PONG");
  EXPECT_EQ(ask(client, "RESET"), "RESET");
  EXPECT_EQ(ask(client, "PING"), "(error) NOAUTH Authentication required.");
  RespClient through_hello = running.connect({.protocol = 3, .password = "secret", .name = "x"});
  EXPECT_EQ(ask(through_hello, "CLIENT GETNAME"), "\"x\"");
  // Tight limits before, the configured ones after.
  RespClient eager = running.connect();
  const auto refused = eager.call({"SET", "k", std::string(20'000, 'v')}, kPatience);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->text, "ERR Protocol error: unauthenticated bulk length");
  EXPECT_EQ(through_hello.call({"SET", "k", std::string(20'000, 'v')}, kPatience)->text, "OK");
}

TEST(RespServer, WhoDoesNotAuthenticateInTimeIsClosed) {  // X6
  MovedClock clock;
  RunningServer running({.password = "secret"}, &clock);
  RespClient silent = running.connect();
  RespClient known = running.connect({.password = "secret"});
  ASSERT_TRUE(running.eventually([&] { return running.server().stats().connections == 2; }));
  clock.advance(9 * kSecond);
  running.on_loop([] {});
  EXPECT_EQ(running.stats().connections, 2u);
  clock.advance(2 * kSecond);
  running.on_loop([] {});
  EXPECT_FALSE(silent.receive(kPatience));
  EXPECT_EQ(ask(known, "PING"), "PONG");
}

TEST(RespServer, IdleConnectionsAreClosed) {
  MovedClock clock;
  RunningServer running({.idle_timeout_ms = 5000}, &clock);
  RespClient idle = running.connect(), busy = running.connect(), owed = running.connect();
  ASSERT_EQ(ask(idle, "PING"), "PONG");
  ASSERT_TRUE(owed.send_raw("TL.GET a\r\n", kPatience));
  ASSERT_TRUE(running.eventually([&] { return running.store.waiting.size() == 1; }));
  clock.advance(4 * kSecond);
  ASSERT_EQ(ask(busy, "PING"), "PONG");
  clock.advance(2 * kSecond);
  running.on_loop([] {});
  EXPECT_FALSE(idle.receive(kPatience));
  EXPECT_EQ(ask(busy, "PING"), "PONG");
  running.on_loop([&] { running.store.answer_next(); });
  EXPECT_TRUE(owed.receive(kPatience)) << "who waits for us is not idle";
  EXPECT_EQ(running.stats().closed_idle, 1u);
}

TEST(RespServer, MaxClients) {
  RunningServer running({.connections_max = 2});
  RespClient a = running.connect(), b = running.connect();
  ASSERT_EQ(ask(a, "PING"), "PONG");
  ASSERT_EQ(ask(b, "PING"), "PONG");
  RespClient c = running.connect();
  EXPECT_EQ(c.receive(kPatience)->text, "ERR max number of clients reached");
  b.close();
  ASSERT_TRUE(running.eventually([&] { return running.server().stats().connections == 1; }));
  RespClient d = running.connect();
  EXPECT_EQ(ask(d, "PING"), "PONG");
}

TEST(RespServer, AReaderThatNeverReadsIsDisconnected) {  // X6, I11
  MovedClock clock;
  RunningServer running({}, &clock);
  RespClient reader = running.connect();
  ASSERT_EQ(reader.call({"SET", "big", std::string(100'000, 'v')}, kPatience)->text, "OK");
  const int fd = connect_socket(running.address(), kPatience).value();
  std::string flood;
  for (int i = 0; i < 1000; ++i) flood += "GET big\r\n";
  ASSERT_EQ(::send(fd, flood.data(), flood.size(), 0), static_cast<ssize_t>(flood.size()));
  ASSERT_TRUE(running.eventually([&] { return running.server().stats().buffers_bytes > (1u << 20); }));
  EXPECT_LT(running.stats().buffers_bytes, 4u << 20) << "its other commands wait: 100 MB are not made";
  EXPECT_EQ(ask(reader, "PING"), "PONG");
  EXPECT_EQ(running.stats().connections, 2u);
  clock.advance(61 * kSecond);
  ASSERT_TRUE(running.eventually([&] { return running.server().stats().connections == 1; }));
  EXPECT_EQ(running.stats().closed_slow_reader, 1u);
  EXPECT_EQ(ask(reader, "PING"), "PONG");
  ::close(fd);
}

TEST(RespServer, ALateReaderGetsEverything) {
  RunningServer running;
  RespClient client = running.connect();
  ASSERT_EQ(client.call({"SET", "big", std::string(100'000, 'v')}, kPatience)->text, "OK");
  std::vector<std::vector<std::string>> commands(1000, {"GET", "big"});
  std::string flood;
  for (int i = 0; i < 1000; ++i) flood += "GET big\r\n";
  ASSERT_TRUE(client.send_raw(flood, kPatience));
  ASSERT_TRUE(running.eventually([&] { return running.server().stats().buffers_bytes > (1u << 20); }));
  running.on_loop([&] { return running.store.values["big"].assign(100'000, 'w').size(); });
  char last = 'v';  // what was answered by reference before the change, and waits, is what it was
  for (int i = 0; i < 1000; ++i) {
    const std::string text = client.receive(kPatience)->text;
    ASSERT_EQ(text.size(), 100'000u) << i;
    ASSERT_TRUE(text[0] == last || (last == 'v' && text[0] == 'w')) << i;
    last = text[0];
    ASSERT_EQ(text.find_first_not_of(last), std::string::npos) << i;
  }
  EXPECT_EQ(last, 'w');
}

TEST(RespServer, LargeAnswersOfAPipelineAreThoseOfTheirInstant) {
  RunningServer running;
  RespClient client = running.connect();
  const std::string x(3000, 'x'), y(2000, 'y'), shown_x = '"' + x + '"', shown_y = '"' + y + '"';
  struct Said {
    std::vector<std::string> command;
    std::string answer;  // empty: none
  };
  const std::vector<Said> script = {
      {{"SET", "a", x}, "OK"},
      {{"GET", "a"}, shown_x},
      {{"GET", "a"}, shown_x},
      {{"PING"}, "PONG"},
      {{"GET", "a"}, shown_x},
      {{"SET", "a", y}, "OK"},
      {{"GET", "a"}, shown_y},
      {{"GET", "none"}, "null"},
      {{"SET", "small", "1"}, "OK"},
      {{"GET", "small"}, "\"1\""},
      {{"GET", "a"}, shown_y},
      {{"CLIENT", "REPLY", "SKIP"}, ""},
      {{"GET", "a"}, ""},
      {{"GET", "a"}, shown_y},
      {{"CLIENT", "REPLY", "SKIP"}, ""},
      {{"SET", "a", x}, ""},
      {{"GET", "a"}, shown_x},
      {{"CLIENT", "REPLY", "OFF"}, ""},
      {{"GET", "a"}, ""},
      {{"CLIENT", "REPLY", "ON"}, "OK"},
      {{"GET", "a"}, shown_x},
      {{"MULTI"}, "OK"},
      {{"GET", "a"}, "QUEUED"},
      {{"TL.SET", "k", "v"}, "QUEUED"},
      {{"GET", "a"}, "QUEUED"},
      {{"EXEC"}, "[" + shown_x + ", early, " + shown_x + "]"},
      {{"TL.INFO"}, "(error) ERR internal error: planted"},
      {{"GET", "a"}, shown_x},
      {{"DEL", "a"}, "1"},
      {{"GET", "a"}, "null"},
  };
  std::string wire;
  for (const Said& said : script) {
    const std::vector<std::string_view> args(said.command.begin(), said.command.end());
    append_request(wire, args.data(), args.size());
  }
  ASSERT_TRUE(client.send_raw(wire, kPatience));
  for (const Said& said : script) {
    if (said.answer.empty()) continue;
    const auto reply = client.receive(kPatience);
    ASSERT_TRUE(reply) << said.command[0];
    EXPECT_EQ(to_text(*reply), said.answer) << said.command[0];
  }
}

TEST(RespServer, MemoryOfAllConnectionsIsCapped) {  // I11
  RunningServer running({.buffers_bytes_max = 8u << 20});
  RespClient hungry = running.connect(), modest = running.connect();
  const auto lost = hungry.call({"SET", "k", std::string(32u << 20, 'v')}, kPatience);
  EXPECT_FALSE(lost);
  EXPECT_EQ(running.stats().closed_memory, 1u);
  EXPECT_EQ(ask(modest, "PING"), "PONG");
}

TEST(RespServer, LargeKeysAndValues) {
  RunningServer running;
  RespClient client = running.connect();
  using namespace std::string_literals;
  for (const std::string& key : {""s, "a\0\xff\r\nb"s, std::string(4u << 20, 'k')}) {
    EXPECT_EQ(client.call({"SET", key, "v"}, kPatience)->text, "OK");
    EXPECT_EQ(client.call({"GET", key}, kPatience)->text, "v");
  }
  std::string head = "*2\r\n$3\r\nGET\r\n$536870912\r\n";  // 512 MiB: refused at the length, not after half a gigabyte
  ASSERT_TRUE(client.send_raw(head, kPatience));
  EXPECT_EQ(client.receive(kPatience)->text, "ERR Protocol error: invalid bulk length");
}

TEST(RespServer, UnixSocket) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/redis.sock";
  {
    RunningServer running;
    ASSERT_TRUE(running.on_loop([&] { return running.server().listen_unix(path); }));
    struct stat info{};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777u, 0660u);
    auto client = RespClient::connect({.address = "unix:" + path, .protocol = 3});
    ASSERT_TRUE(client) << client.error().message;
    EXPECT_EQ(ask(*client, "PING"), "PONG");
    EXPECT_NE(ask(*client, "CLIENT INFO").find(" flags=U "), std::string::npos);

    RunningServer second;
    const auto refused = second.on_loop([&] { return second.server().listen_unix(path); });
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kConflict);
    EXPECT_NE(refused.error().message.find(path), std::string::npos);
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0) << "the socket file went with its server";
}

TEST(RespServer, StaleSocketFilesAreReplacedAndOthersLeftAlone) {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/redis.sock";
  ::close(listen_unix_socket(path).value());  // a process that died: the file stays, nobody answers
  RunningServer running;
  EXPECT_TRUE(running.on_loop([&] { return running.server().listen_unix(path); }));
  const std::string file = folder.path() + "/file";
  ::fclose(::fopen(file.c_str(), "w"));
  const auto refused = running.on_loop([&] { return running.server().listen_unix(file); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kConflict);
  EXPECT_EQ(::access(file.c_str(), F_OK), 0);
  const auto too_long = running.on_loop([&] { return running.server().listen_unix("/" + std::string(200, 'x')); });
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().code, Code::kInvalid);
}

TEST(RespServer, PortInUseIsNamed) {
  RunningServer running, second;
  const auto refused = second.on_loop([&] { return second.server().listen_tcp("127.0.0.1", running.port()); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kConflict);
  EXPECT_NE(refused.error().message.find(running.address()), std::string::npos) << refused.error().message;
  EXPECT_FALSE(second.on_loop([&] { return second.server().listen_tcp("127.0.0.1", 70000); }));
  EXPECT_FALSE(second.on_loop([&] { return second.server().listen_tcp("no such host", 1); }));
}

// An IPv4 address of this machine that is not loopback; empty: none.
std::string outer_address() {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return {};
  std::string found;
  for (const ifaddrs* at = all; at != nullptr && found.empty(); at = at->ifa_next) {
    if (at->ifa_addr != nullptr && at->ifa_addr->sa_family == AF_INET && (at->ifa_flags & IFF_UP) != 0 &&
        !is_loopback(at->ifa_addr)) {
      found = host_text(at->ifa_addr);
    }
  }
  ::freeifaddrs(all);
  return found;
}

TEST(RespServer, ProtectedModeAnswersLocalPeersOnly) {  // X4
  const std::string host = outer_address();
  if (host.empty()) GTEST_SKIP() << "NOT TESTED: this machine has no address but loopback";
  RunningServer running;
  const int port = running.on_loop([&] { return running.server().listen_tcp(host, 0); }).value();
  const std::string outside = host + ":" + std::to_string(port);
  auto refused = RespClient::connect({.address = outside});
  ASSERT_TRUE(refused);
  const auto text = refused->receive(kPatience);
  ASSERT_TRUE(text);
  EXPECT_EQ(text->text.find("DENIED"), 0u) << text->text;
  RespClient local = running.connect();
  EXPECT_EQ(ask(local, "CONFIG SET requirepass secret"), "OK");
  auto welcome = RespClient::connect({.address = outside, .password = "secret"});
  ASSERT_TRUE(welcome) << welcome.error().message;
  EXPECT_EQ(ask(*welcome, "PING"), "PONG");
  const auto wrong = RespClient::connect({.address = outside, .password = "wrong"});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Code::kDenied);
}

TEST(RespServer, FewUnauthenticatedConnectionsPerRemoteAddress) {  // X6
  const std::string host = outer_address();
  if (host.empty()) GTEST_SKIP() << "NOT TESTED: this machine has no address but loopback";
  RunningServer running({.password = "secret", .unauthenticated_per_address_max = 2});
  const int port = running.on_loop([&] { return running.server().listen_tcp(host, 0); }).value();
  const std::string outside = host + ":" + std::to_string(port);
  auto a = RespClient::connect({.address = outside}), b = RespClient::connect({.address = outside});
  ASSERT_TRUE(running.eventually([&] { return running.server().stats().connections == 2; }));
  auto c = RespClient::connect({.address = outside});
  EXPECT_EQ(c->receive(kPatience)->text, "ERR max number of unauthenticated clients of one address reached");
  EXPECT_EQ(ask(*a, "AUTH secret"), "OK");  // makes room for another
  auto d = RespClient::connect({.address = outside, .password = "secret"});
  ASSERT_TRUE(d) << d.error().message;
}

TEST(RespClient, SaysWhatHappened) {
  const TemporaryFolder folder;
  EXPECT_EQ(RespClient::connect({.address = "nonsense"}).error().code, Code::kInvalid);
  EXPECT_EQ(RespClient::connect({.address = "unix:" + folder.path() + "/none"}).error().code, Code::kUnavailable);
  RunningServer running;
  RespClient client = running.connect();
  // No answer in time: nobody knows whether it was done, and the connection is out of step.
  const auto late = client.call({"TL.GET", "a"}, 1 * kMillisecond);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kMaybeApplied);
  EXPECT_FALSE(client.connected());
  EXPECT_EQ(client.call({"PING"}, kPatience).error().code, Code::kUnavailable);
}

}  // namespace
}  // namespace tidelock
