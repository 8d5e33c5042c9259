// A real server asked by an operator: users and what they are refused, SLOWLOG, LATENCY, MEMORY, FUNCTION, SHUTDOWN,
// CONFIG. Texts were taken from redis-server 7.0.15.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "wire/resp/acl.h"
#include "wire/resp/server_fixture.h"

namespace tidelock {
namespace {

struct Case {
  const char* line;
  const char* expected;
};

TEST(Operator, AclAsRedis) {
  RunningServer running;
  RespClient client = running.connect();
  const Case cases[] = {
      {"ACL LIST", "[\"user default on nopass ~* &* +@all\"]"},
      {"ACL USERS", "[\"default\"]"},
      {"ACL WHOAMI", "\"default\""},
      {"ACL GETUSER default",
       "[\"flags\", [\"on\", \"nopass\"], \"passwords\", [], \"commands\", \"+@all\", \"keys\", \"~*\", \"channels\", "
       "\"&*\", "
       "\"selectors\", []]"},
      {"ACL GETUSER nope", "null"},
      {"ACL GETUSER", "(error) ERR wrong number of arguments for 'acl|getuser' command"},
      {"ACL SETUSER", "(error) ERR wrong number of arguments for 'acl|setuser' command"},
      {"ACL SETUSER a", "OK"},
      {"ACL SETUSER a on >p1 ~k:* %R~r:* &ch +@all -@admin -get", "OK"},
      {"ACL GETUSER a",
       "[\"flags\", [\"on\"], \"passwords\", [\"f64551fcd6f07823cb87971cfb91446425da18286b3ab1ef935e0cbd7a69f68a\"], "
       "\"commands\", \"+@all -@admin -get\", \"keys\", \"~k:* %R~r:*\", \"channels\", \"&ch\", \"selectors\", []]"},
      {"ACL SETUSER a +nope",
       "(error) ERR Error in ACL SETUSER modifier '+nope': Unknown command or category name in ACL"},
      {"ACL DELUSER default", "(error) ERR The 'default' user cannot be removed"},
      {"ACL DELUSER a nope", "1"},
      {"ACL DELUSER", "(error) ERR wrong number of arguments for 'acl|deluser' command"},
      {"ACL CAT nope", "(error) ERR Unknown category 'nope'"},
      {"ACL CAT transaction", "[\"multi\", \"exec\", \"discard\", \"watch\", \"unwatch\"]"},
      {"ACL CAT a b", "(error) ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP."},
      {"ACL GENPASS 0",
       "(error) ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to "
       "4096"},
      {"ACL GENPASS 4097",
       "(error) ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to "
       "4096"},
      {"ACL GENPASS x", "(error) ERR value is not an integer or out of range"},
      {"ACL GENPASS 1 2", "(error) ERR unknown subcommand or wrong number of arguments for 'GENPASS'. Try ACL HELP."},
      {"ACL DRYRUN nope get a", "(error) ERR User 'nope' not found"},
      {"ACL DRYRUN default nope", "(error) ERR Command 'nope' not found"},
      {"ACL DRYRUN default config nope x", "(error) ERR Command 'config' not found"},
      {"ACL DRYRUN default get", "(error) ERR wrong number of arguments for 'get' command"},
      {"ACL DRYRUN default get a", "OK"},
      {"ACL SETUSER d on nopass ~a* +get &ch* +publish", "OK"},
      {"ACL DRYRUN d get b", "\"This user has no permissions to access the 'b' key\""},
      {"ACL DRYRUN d del a", "\"This user has no permissions to run the 'del' command\""},
      {"ACL DRYRUN d publish x y", "\"This user has no permissions to access the 'x' channel\""},
      {"ACL LOG", "[]"},
      {"ACL LOG RESET", "OK"},
      {"ACL LOG x", "(error) ERR value is not an integer or out of range"},
      {"ACL LOG 1 2", "(error) ERR unknown subcommand or wrong number of arguments for 'LOG'. Try ACL HELP."},
      {"ACL NOPE", "(error) ERR unknown subcommand 'NOPE'. Try ACL HELP."},
      {"ACL", "(error) ERR wrong number of arguments for 'acl' command"},
      {"AUTH a b c", "(error) ERR syntax error"},
  };
  for (const Case& c : cases) EXPECT_EQ(ask(client, c.line), c.expected) << c.line;
  EXPECT_EQ(ask(client, "ACL GENPASS").size(), 64u + 2);
  EXPECT_EQ(ask(client, "ACL GENPASS 5").size(), 2u + 2);
  EXPECT_EQ(ask(client, "ACL GENPASS 4096").size(), 1024u + 2);
  EXPECT_NE(ask(client, "ACL GENPASS"), ask(client, "ACL GENPASS"));
  EXPECT_NE(ask(client, "ACL SAVE").find("not configured to use an ACL file"), std::string::npos);
}

TEST(Operator, AUserIsHeldToItsRules) {
  RunningServer running({.authentication_failure_delay_ms = 0});
  RespClient admin = running.connect();
  ASSERT_EQ(ask(admin, "ACL SETUSER d on >pw ~a* +get +mset &ch* +publish +subscribe"), "OK");
  RespClient user = running.connect();
  const Case cases[] = {
      {"AUTH d wrong", "(error) WRONGPASS invalid username-password pair or user is disabled."},
      {"AUTH nobody pw", "(error) WRONGPASS invalid username-password pair or user is disabled."},
      {"AUTH d pw", "OK"},
      {"GET a", "null"},
      {"MSET a 1 ab 2", "OK"},
      {"MSET a 1 b 2", "(error) NOPERM this user has no permissions to access one of the keys used as arguments"},
      {"GET b", "(error) NOPERM this user has no permissions to access one of the keys used as arguments"},
      {"DEL a", "(error) NOPERM this user has no permissions to run the 'del' command"},
      {"CONFIG GET x", "(error) NOPERM this user has no permissions to run the 'config|get' command"},
      {"CONFIG NOPE", "(error) ERR unknown subcommand 'NOPE'. Try CONFIG HELP."},
      {"CONFIG", "(error) ERR wrong number of arguments for 'config' command"},
      {"NOPE", "(error) ERR unknown command 'NOPE', with args beginning with: "},
      {"PUBLISH x y", "(error) NOPERM this user has no permissions to access one of the channels used as arguments"},
      {"ACL WHOAMI", "(error) NOPERM this user has no permissions to run the 'acl|whoami' command"},
      {"PING", "(error) NOPERM this user has no permissions to run the 'ping' command"},
      {"GET", "(error) ERR wrong number of arguments for 'get' command"},
  };
  for (const Case& c : cases) EXPECT_EQ(ask(user, c.line), c.expected) << c.line;
  // What was refused is on record, the newest first, and the store never saw it.
  const std::string log = ask(admin, "ACL LOG 2");
  EXPECT_EQ(log.find("[[\"count\", 1, \"reason\", \"command\", \"context\", \"toplevel\", \"object\", \"ping\", "
                     "\"username\", \"d\""),
            0u)
      << log;
  EXPECT_NE(log.find(" cmd=ping user=d "), std::string::npos) << log;
  EXPECT_NE(ask(admin, "ACL LOG 20")
                .find("\"reason\", \"auth\", \"context\", \"toplevel\", \"object\", \"AUTH\", \"username\", "
                      "\"nobody\""),
            std::string::npos);
  EXPECT_EQ(ask(admin, "EXISTS b"), "0");
  // A change holds at once for who is logged in; RESET makes it the default user again.
  ASSERT_EQ(ask(admin, "ACL SETUSER d +acl|whoami -get"), "OK");
  EXPECT_EQ(ask(user, "ACL WHOAMI"), "\"d\"");
  EXPECT_EQ(ask(user, "GET a"), "(error) NOPERM this user has no permissions to run the 'get' command");
  EXPECT_EQ(ask(user, "RESET"), "RESET");
  EXPECT_EQ(ask(user, "ACL WHOAMI"), "\"default\"");
  // A deleted user's connections end.
  EXPECT_EQ(ask(user, "HELLO 3 AUTH d pw").find("(error)"), std::string::npos);
  EXPECT_EQ(ask(admin, "ACL DELUSER d"), "1");
  EXPECT_EQ(ask(user, "ACL WHOAMI").find("! "), 0u);
  EXPECT_EQ(ask(admin, "PING"), "PONG");
}

TEST(Operator, RefusalsAreToldOnceAndNotTooOften) {  // X4
  MovedClock clock;
  std::vector<std::string> told;  // on the loop
  RespServerOptions options;
  options.authentication_failure_delay_ms = 0;
  options.denied = [&](const AclLogEntry& entry, const std::string& peer, std::uint64_t untold) {
    EXPECT_TRUE(peer.starts_with("127.0.0.1:")) << peer;
    told.push_back(entry.reason + " " + entry.object + " " + entry.user + " " + std::to_string(untold));
  };
  RunningServer running(options, &clock);
  RespClient admin = running.connect(), user = running.connect();
  ASSERT_EQ(ask(admin, "ACL SETUSER d on >pw ~a* +get +auth"), "OK");
  ask(user, "AUTH d wrong");
  ask(user, "AUTH d pw");
  for (int i = 0; i < 3; ++i) ask(user, "GET b");
  ask(user, "PING");
  for (int i = 0; i < 100; ++i) ask(user, "GET c" + std::to_string(i));
  running.on_loop([&] {
    ASSERT_EQ(told.size(), RespServerOptions::kDenialsToldPerSecond);
    EXPECT_EQ(told[0], "auth AUTH d 0");
    EXPECT_EQ(told[1], "key b d 0");
    EXPECT_EQ(told[2], "command ping d 0");
    EXPECT_EQ(told[9], "key c6 d 0");
  });
  clock.advance(kSecond);
  ask(user, "GET d");
  running.on_loop([&] {
    ASSERT_EQ(told.size(), RespServerOptions::kDenialsToldPerSecond + 1);
    EXPECT_EQ(told.back(), "key d d 93");
  });
}

TEST(Operator, ListsTheChannelsOfTheUser) {  // X4
  RunningServer running;
  RespClient admin = running.connect(), user = running.connect();
  ASSERT_EQ(ask(admin, "ACL SETUSER d on nopass resetchannels &ch* +pubsub"), "OK");
  ASSERT_EQ(ask(user, "AUTH d x"), "OK");
  RespClient listener = running.connect();
  ASSERT_TRUE(listener.send_raw("SUBSCRIBE ch1\r\n", kPatience) && listener.receive(kPatience));
  ASSERT_TRUE(listener.send_raw("SUBSCRIBE other\r\n", kPatience) && listener.receive(kPatience));
  EXPECT_EQ(ask(user, "PUBSUB CHANNELS"), "[\"ch1\"]");
  EXPECT_EQ(ask(user, "PUBSUB CHANNELS o*"), "[]");
  EXPECT_EQ(ask(admin, "PUBSUB CHANNELS o*"), "[\"other\"]");
}

TEST(Operator, WhoDeletesItselfGetsItsAnswer) {
  RunningServer running;
  RespClient user = running.connect();
  ASSERT_EQ(ask(user, "ACL SETUSER me on nopass ~* +@all"), "OK");
  ASSERT_EQ(ask(user, "AUTH me x"), "OK");
  EXPECT_EQ(ask(user, "ACL DELUSER me"), "1");
  EXPECT_EQ(ask(user, "PING").find("! "), 0u);
}

TEST(Operator, RequirepassIsTheDefaultUsersPassword) {
  RunningServer running({.password = "secret", .authentication_failure_delay_ms = 0});
  RespClient client = running.connect({.password = "secret"});
  EXPECT_EQ(ask(client, "ACL LIST"),
            "[\"user default on #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ~* &* +@all\"]");
  EXPECT_EQ(ask(client, "CONFIG SET requirepass other"), "OK");
  RespClient late = running.connect();
  EXPECT_EQ(ask(late, "GET a"), "(error) NOAUTH Authentication required.");
  EXPECT_EQ(ask(late, "AUTH secret"), "(error) WRONGPASS invalid username-password pair or user is disabled.");
  EXPECT_EQ(ask(late, "AUTH other"), "OK");
  EXPECT_EQ(ask(client, "ACL SETUSER default nopass"), "OK");
  EXPECT_EQ(ask(running.connect().call({"GET", "a"}, kPatience) ? client : late, "PING"), "PONG");
  EXPECT_EQ(ask(client, "ACL SETUSER default off"), "OK");  // whoever is in stays in; others name another user
  RespClient outside = running.connect();
  EXPECT_EQ(ask(outside, "GET a"), "(error) NOAUTH Authentication required.");
}

TEST(Operator, SlowlogAsRedis) {
  RunningServer running;
  RespClient client = running.connect();
  const Case cases[] = {
      {"CONFIG GET slowlog*", "[\"slowlog-log-slower-than\", \"10000\", \"slowlog-max-len\", \"128\"]"},
      {"CONFIG SET slowlog-log-slower-than -2",
       "(error) ERR CONFIG SET failed (possibly related to argument 'slowlog-log-slower-than') - argument must be "
       "between "
       "-1 and 9223372036854775807 inclusive"},
      {"SLOWLOG RESET", "OK"},
      {"SLOWLOG LEN", "0"},
      {"CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 3", "OK"},
      {"SLOWLOG GET -2", "(error) ERR count should be greater than or equal to -1"},
      {"SLOWLOG GET x", "(error) ERR count should be greater than or equal to -1"},
      {"SLOWLOG GET 1 2", "(error) ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP."},
      {"SLOWLOG LEN x", "(error) ERR wrong number of arguments for 'slowlog|len' command"},
      {"SLOWLOG NOPE", "(error) ERR unknown subcommand 'NOPE'. Try SLOWLOG HELP."},
      {"SLOWLOG LEN", "3"},
      {"CLIENT SETNAME me", "OK"},
      {"SET k v", "OK"},
      {"CONFIG SET slowlog-log-slower-than -1", "OK"},
  };
  for (const Case& c : cases) EXPECT_EQ(ask(client, c.line), c.expected) << c.line;
  const auto slow = client.call({"SLOWLOG", "GET", "-1"}, kPatience);
  ASSERT_TRUE(slow);
  ASSERT_EQ(slow->elements.size(), 3u);
  const RespValue& entry = slow->elements[0];  // of the three after the limit: SLOWLOG LEN, CLIENT SETNAME, SET
  ASSERT_EQ(entry.elements.size(), 6u);
  EXPECT_EQ(to_text(entry.elements[3]), "[\"SET\", \"k\", \"v\"]");
  EXPECT_EQ(to_text(entry.elements[4]).find("\"127.0.0.1:"), 0u);
  EXPECT_EQ(to_text(entry.elements[5]), "\"me\"");
  EXPECT_EQ(entry.elements[0].integer, slow->elements[1].elements[0].integer + 1);
  EXPECT_EQ(ask(client, "CONFIG SET slowlog-max-len 1"), "OK");
  EXPECT_EQ(ask(client, "SLOWLOG LEN"), "1");
}

// What waits for an answer from elsewhere is slow until it comes.
TEST(Operator, DeferredCommandsAreMeasuredToTheirAnswer) {
  MovedClock clock;
  RunningServer running({}, &clock);
  RespClient client = running.connect();
  ASSERT_EQ(ask(client, "CONFIG SET latency-monitor-threshold 100"), "OK");
  std::thread answering([&] {
    EXPECT_TRUE(running.eventually([&] { return !running.store.waiting.empty(); }));
    clock.advance(2 * kSecond);
    running.on_loop([&] { running.store.answer_next(); });
  });
  EXPECT_EQ(ask(client, "TL.GET key"), "null");
  answering.join();
  const auto slow = client.call({"SLOWLOG", "GET"}, kPatience);
  ASSERT_TRUE(slow && slow->elements.size() == 1);
  EXPECT_EQ(slow->elements[0].elements[2].integer, 2'000'000);
  EXPECT_EQ(to_text(slow->elements[0].elements[3]), "[\"TL.GET\", \"key\"]");
  EXPECT_EQ(ask(client, "LATENCY HISTOGRAM tl.get"), "[\"tl.get\", [\"calls\", 1, \"histogram_usec\", [1082130, 1]]]");
  const auto latest = client.call({"LATENCY", "LATEST"}, kPatience);
  ASSERT_TRUE(latest && latest->elements.size() == 1);
  EXPECT_EQ(to_text(latest->elements[0].elements[0]), "\"fast-command\"");
  EXPECT_EQ(latest->elements[0].elements[2].integer, 2000);
  EXPECT_EQ(latest->elements[0].elements[3].integer, 2000);
  const auto history = client.call({"LATENCY", "HISTORY", "fast-command"}, kPatience);
  ASSERT_TRUE(history && history->elements.size() == 1);
  EXPECT_EQ(history->elements[0].elements[1].integer, 2000);
  EXPECT_EQ(ask(client, "LATENCY RESET fast-command nope"), "1");
  EXPECT_EQ(ask(client, "LATENCY LATEST"), "[]");
}

TEST(Operator, StatisticsCountCallsRejectionsAndFailures) {
  RunningServer running;
  RespClient client = running.connect();
  const Case cases[] = {
      {"CONFIG RESETSTAT", "OK"},
      {"GET", "(error) ERR wrong number of arguments for 'get' command"},
      {"GET k", "null"},
      {"SET k v EX 0", "(error) ERR invalid expire time in 'set' command"},
      {"CONFIG GET", "(error) ERR wrong number of arguments for 'config|get' command"},
      {"CONFIG NOPE", "(error) ERR unknown subcommand 'NOPE'. Try CONFIG HELP."},
      {"NOPE", "(error) ERR unknown command 'NOPE', with args beginning with: "},
  };
  for (const Case& c : cases) EXPECT_EQ(ask(client, c.line), c.expected) << c.line;
  const auto section = [&](const char* name) {
    return running.on_loop([&] { return running.server().statistics_section(name); });
  };
  const std::string commands = section("commandstats");
  for (const char* part : {"cmdstat_get:calls=1,", "cmdstat_set:calls=1,", "cmdstat_config|get:calls=0,usec=0,",
                           "cmdstat_config|resetstat:calls=1,"}) {
    EXPECT_NE(commands.find(part), std::string::npos) << part << " in " << commands;
  }
  EXPECT_NE(commands.find(",rejected_calls=1,failed_calls=0\r\n"), std::string::npos);
  EXPECT_NE(commands.find(",rejected_calls=0,failed_calls=1\r\n"), std::string::npos);
  EXPECT_EQ(commands.find("cmdstat_config:"), std::string::npos);
  EXPECT_EQ(section("errorstats"), "# Errorstats\r\nerrorstat_ERR:count=5\r\n");
  EXPECT_NE(section("latencystats").find("latency_percentiles_usec_get:p50="), std::string::npos);
  EXPECT_EQ(section("nope"), "");
  EXPECT_EQ(running.stats().errors_total, 5u);
}

TEST(Operator, TheRestAsRedis) {
  RunningServer running;
  RespClient client = running.connect();
  const Case cases[] = {
      {"LATENCY LATEST", "[]"},
      {"LATENCY HISTORY command", "[]"},
      {"LATENCY HISTORY", "(error) ERR wrong number of arguments for 'latency|history' command"},
      {"LATENCY RESET", "0"},
      {"LATENCY DOCTOR x", "(error) ERR wrong number of arguments for 'latency|doctor' command"},
      {"LATENCY NOPE", "(error) ERR unknown subcommand 'NOPE'. Try LATENCY HELP."},
      {"LATENCY HISTOGRAM nope", "[]"},
      {"LATENCY HISTOGRAM set", "[]"},
      {"MEMORY", "(error) ERR wrong number of arguments for 'memory' command"},
      {"MEMORY USAGE", "(error) ERR wrong number of arguments for 'memory|usage' command"},
      {"MEMORY USAGE k SAMPLES -1", "(error) ERR syntax error"},
      {"MEMORY USAGE k SAMPLES x", "(error) ERR value is not an integer or out of range"},
      {"MEMORY USAGE k NOPE 5", "(error) ERR syntax error"},
      {"MEMORY USAGE k SAMPLES", "(error) ERR syntax error"},
      {"MEMORY USAGE k SAMPLES 5", "(error) ERR not in this store"},  // the handler's to answer
      {"MEMORY STATS x", "(error) ERR wrong number of arguments for 'memory|stats' command"},
      {"MEMORY NOPE", "(error) ERR unknown subcommand 'NOPE'. Try MEMORY HELP."},
      {"TIME x", "(error) ERR wrong number of arguments for 'time' command"},
      {"FUNCTION FLUSH", "OK"},
      {"FUNCTION FLUSH async", "OK"},
      {"FUNCTION FLUSH nope", "(error) ERR FUNCTION FLUSH only supports SYNC|ASYNC option"},
      {"FUNCTION FLUSH SYNC x",
       "(error) ERR unknown subcommand or wrong number of arguments for 'FLUSH'. Try FUNCTION HELP."},
      {"FUNCTION LIST", "[]"},
      {"FUNCTION LIST WITHCODE LIBRARYNAME x", "[]"},
      {"FUNCTION LIST LIBRARYNAME", "(error) ERR library name argument was not given"},
      {"FUNCTION LIST WITHCODE WITHCODE", "(error) ERR Unknown argument WITHCODE"},
      {"FUNCTION LIST nope", "(error) ERR Unknown argument nope"},
      {"FUNCTION NOPE", "(error) ERR unknown subcommand 'NOPE'. Try FUNCTION HELP."},
      {"SHUTDOWN nope", "(error) ERR syntax error"},
      {"SHUTDOWN SAVE NOSAVE", "(error) ERR syntax error"},
      {"SHUTDOWN ABORT", "(error) ERR No shutdown in progress."},
      {"SHUTDOWN ABORT NOW", "(error) ERR syntax error"},
      {"SHUTDOWN NOSAVE", "(error) ERR this server is not stopped by its clients"},
      {"CONFIG REWRITE", "(error) ERR The server is running without a config file"},
      {"CONFIG SET maxclients 100 timeout x",
       "(error) ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an "
       "integer"},
      {"CONFIG SET timeout 5 nope 1", "(error) ERR Unknown option or number of arguments for CONFIG SET - 'nope'"},
      {"CONFIG GET maxclients timeout", "[\"maxclients\", \"10000\", \"timeout\", \"0\"]"},
      {"CONFIG SET maxclients 99 timeout 7", "OK"},
      {"CONFIG GET timeout max??????s", "[\"maxclients\", \"99\", \"timeout\", \"7\"]"},
  };
  for (const Case& c : cases) EXPECT_EQ(ask(client, c.line), c.expected) << c.line;
  for (const char* line : {"SLOWLOG HELP", "LATENCY HELP", "MEMORY HELP", "FUNCTION HELP", "ACL HELP", "CONFIG HELP"}) {
    const std::string text = ask(client, line);
    EXPECT_NE(text.find("<subcommand> [<arg> [value] [opt] ...]. Subcommands are:"), std::string::npos) << text;
    EXPECT_NE(text.find(", HELP,     Prints this help.]"), std::string::npos) << text;
  }
  EXPECT_NE(ask(client, "LATENCY DOCTOR").find("commands ran since"), std::string::npos);
  const auto time = client.call({"TIME"}, kPatience);
  ASSERT_TRUE(time && time->elements.size() == 2);
  EXPECT_GT(time->elements[0].text, "1600000000");
}

TEST(Operator, SettingsAreWhatAFileWouldKeep) {
  RunningServer running({.password = "secret"});
  RespClient client = running.connect({.password = "secret"});
  const auto settings = [&] { return running.on_loop([&] { return running.server().settings(); }); };
  EXPECT_TRUE(settings().parameters.empty());
  EXPECT_TRUE(settings().users.empty());
  ASSERT_EQ(ask(client, "CONFIG SET TimeOut 5 slowlog-max-len 7"), "OK");
  ASSERT_EQ(ask(client, "ACL SETUSER alice on >pw ~features:* +get"), "OK");
  const RespSettings kept = settings();
  EXPECT_EQ(kept.parameters,
            (std::vector<std::pair<std::string, std::string>>{{"timeout", "5"}, {"slowlog-max-len", "7"}}));
  ASSERT_EQ(kept.users.size(), 1u);
  EXPECT_EQ(kept.users[0],
            "alice on #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 ~features:* "
            "resetchannels -@all +get");
  ASSERT_EQ(ask(client, "CONFIG SET requirepass other"), "OK");
  EXPECT_EQ(settings().users.size(), 2u);
  EXPECT_EQ(settings().parameters.size(), 2u);  // a password is no parameter of a file
  // And another server takes them.
  RunningServer next;
  next.on_loop([&] {
    for (const auto& [name, value] : kept.parameters) EXPECT_TRUE(next.server().set_parameter(name, value));
    for (const std::string& user : kept.users) EXPECT_TRUE(next.server().set_user(user));
    EXPECT_EQ(next.server().set_user("bob on +nope").error().message,
              "user 'bob', rule '+nope': Unknown command or category name in ACL");
    EXPECT_EQ(next.server().set_parameter("nope", "1").error().code, Code::kInvalid);
    EXPECT_EQ(next.server().settings().users, kept.users);
    return true;
  });
  RespClient other = next.connect();
  EXPECT_EQ(ask(other, "AUTH alice pw"), "OK");
  EXPECT_EQ(ask(other, "GET models:1"),
            "(error) NOPERM this user has no permissions to access one of the keys used as arguments");
}

}  // namespace
}  // namespace tidelock
