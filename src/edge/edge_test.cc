// A real edge, with no hub to be had: what it serves alone, what it refuses, and what a restart keeps. Sessions with
// real hubs are in tests/system.
#include "edge/edge.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "codec/certificate.h"
#include "edge/edge_fixture.h"
#include "edge/edge_metrics.h"
#include "edge/model_keeper.h"
#include "memory/local_reader.h"
#include "wire/http/server.h"
#include "wire/http/server_fixture.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

using EdgeTest = EdgeFixture;

TEST_F(EdgeTest, ServesTheGatewaysOwnKeysWithoutAnyHub) {
  start();
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"SET", "a", "1"}, "OK"},
      {{"GET", "a"}, "\"1\""},
      {{"SET", "a", "2", "NX"}, "null"},
      {{"SET", "a", "2", "XX", "GET"}, "\"1\""},
      {{"SET", "absent", "2", "XX"}, "null"},
      {{"SET", "new", "2", "NX", "GET"}, "null"},
      {{"GET", "new"}, "\"2\""},
      {{"SETNX", "a", "3"}, "0"},
      {{"APPEND", "a", "34"}, "3"},
      {{"GET", "a"}, "\"234\""},
      {{"STRLEN", "a"}, "3"},
      {{"TTL", "a"}, "-1"},
      {{"TTL", "nowhere"}, "-2"},
      {{"EXPIRE", "a", "100"}, "1"},
      {{"TTL", "a"}, "100"},
      {{"EXPIRE", "a", "200", "LT"}, "0"},
      {{"PERSIST", "a"}, "1"},
      {{"PERSIST", "a"}, "0"},
      {{"SET", "a", "5", "EX", "50"}, "OK"},
      {{"SET", "a", "6", "KEEPTTL"}, "OK"},
      {{"TTL", "a"}, "50"},
      {{"SET", "gone", "6", "PXAT", "1"}, "OK"},
      {{"GET", "gone"}, "null"},
      {{"EXPIRE", "new", "0"}, "1"},
      {{"EXISTS", "new", "a", "a"}, "2"},
      {{"MSET", "x", "1", "y", "2"}, "OK"},
      {{"MGET", "x", "nowhere", "y"}, "[\"1\", null, \"2\"]"},
      {{"TYPE", "x"}, "string"},
      {{"TYPE", "nowhere"}, "none"},
      {{"DBSIZE"}, "3"},
      {{"GETDEL", "x"}, "\"1\""},
      {{"DEL", "x", "y"}, "1"},
      {{"KEYS", "*"}, "[\"a\"]"},
      {{"SCAN", "0", "MATCH", "a*", "TYPE", "string"}, "[\"0\", [\"a\"]]"},
      {{"SCAN", "0", "TYPE", "hash"}, "[\"0\", []]"},
      {{"FLUSHALL"}, "OK"},
      {{"DBSIZE"}, "0"},
  };
  for (const auto& [command, answer] : cases)
    EXPECT_EQ(text(command), answer) << command[0] << " " << (command.size() > 1 ? command[1] : "");
}

TEST_F(EdgeTest, ScanSeesEveryKeyOnce) {
  start();
  std::vector<std::vector<std::string>> sets;
  for (int i = 0; i < 300; ++i) sets.push_back({"SET", "key:" + std::to_string(1000 + i), "v"});
  ASSERT_TRUE(client_->pipeline(sets, kPatience));
  std::vector<std::string> seen;
  std::string cursor = "0";
  do {
    const RespValue page = ask({"SCAN", cursor, "COUNT", "37"});
    ASSERT_EQ(page.elements.size(), 2u);
    cursor = page.elements[0].text;
    for (const RespValue& key : page.elements[1].elements) seen.push_back(key.text);
  } while (cursor != "0");
  EXPECT_EQ(seen.size(), 300u);
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), 300u);
}

TEST_F(EdgeTest, ACursorThatWasDroppedIsAnErrorAndNoEnd) {  // X6
  const auto cursor_of = [](const RespValue& page) { return page.elements.empty() ? "" : page.elements[0].text; };
  const auto unknown = [](const std::string& cursor) {
    return "(error) ERR cursor " + cursor +
           " is not open at this edge (any more): it keeps the newest 4096; begin again with SCAN 0";
  };
  start();
  expect({{{"MSET", "a", "1", "b", "1", "c", "1", "d", "1"}, "OK"}});
  const std::string first = cursor_of(ask({"SCAN", "0", "COUNT", "1"}));
  EXPECT_EQ(std::stoull(first) >> 53, 0u) << "a double holds it";
  const std::string second = cursor_of(ask({"SCAN", first, "COUNT", "1"}));
  // The answer of `first` was lost: it may be asked for again. Whoever went on had it.
  EXPECT_TRUE(text({"SCAN", first, "COUNT", "1"}).ends_with(", [\"b\"]]"));
  const std::string third = cursor_of(ask({"SCAN", second, "COUNT", "1"}));
  EXPECT_EQ(text({"SCAN", first, "COUNT", "1"}), unknown(first));
  EXPECT_TRUE(text({"SCAN", second, "COUNT", "1"}).ends_with(", [\"c\"]]"));
  // Others begin, and never end: the oldest goes, and hears of it. Who goes on stays.
  const std::vector<std::vector<std::string>> begins(4096 / 2, {"SCAN", "0", "COUNT", "1"});
  ASSERT_TRUE(client_->pipeline(begins, kPatience));
  const std::string goes_on = cursor_of(ask({"SCAN", second, "COUNT", "1"}));
  ASSERT_TRUE(client_->pipeline(begins, kPatience));
  EXPECT_EQ(text({"SCAN", third, "COUNT", "1"}), unknown(third));
  EXPECT_EQ(text({"SCAN", goes_on, "COUNT", "9"}), "[\"0\", [\"d\"]]");
  EXPECT_EQ(text({"SCAN", "7"}), unknown("7"));
  start();
  EXPECT_EQ(text({"SCAN", goes_on}), unknown(goes_on)) << "of an earlier run";
}

TEST_F(EdgeTest, ListsOfAUserHaveTheKeysThatItMayRead) {  // X4
  config_.users = {"alice on nopass ~a:* %W~w:* +@all", "nobody on nopass +@all",
                   "slow on nopass ~*" + std::string(2000, 'a') + "b +@all"};
  start();
  const std::string aaa(4000, 'a');
  expect({{{"MSET", "a:1", "1", "a:2", "2", "b:1", "3", "w:1", "4"}, "OK"},
          {{"HSET", "a:h", "f", "1"}, "1"},
          {{"DBSIZE"}, "5"},
          {{"AUTH", "alice", "x"}, "OK"},
          {{"KEYS", "*"}, "[\"a:1\", \"a:2\", \"a:h\"]"},
          {{"KEYS", "*:1"}, "[\"a:1\"]"},
          {{"KEYS", "b:*"}, "[]"},
          {{"DBSIZE"}, "3"},
          {{"SCAN", "0"}, "[\"0\", [\"a:1\", \"a:2\", \"a:h\"]]"},
          {{"SCAN", "0", "TYPE", "hash"}, "[\"0\", [\"a:h\"]]"},
          {{"MULTI"}, "OK"},
          {{"KEYS", "*1"}, "QUEUED"},
          {{"EXEC"}, "[[\"a:1\"]]"},
          {{"FLUSHALL"}, "(error) NOPERM this user has no permissions to access one of the keys used as arguments"},
          {{"DEL", "a:1", "a:2"}, "2"}});
  for (int i = 0; i < 20; ++i) EXPECT_EQ(text({"RANDOMKEY"}), "\"a:h\"");
  expect({{{"AUTH", "nobody", "x"}, "OK"},
          {{"KEYS", "*"}, "[]"},
          {{"SCAN", "0"}, "[\"0\", []]"},
          {{"RANDOMKEY"}, "null"},
          {{"DBSIZE"}, "0"},
          {{"AUTH", "default", "x"}, "OK"},
          {{"KEYS", "*"}, "[\"a:h\", \"b:1\", \"w:1\"]"},
          {{"MSET", aaa + "c", "x", aaa + "d", "x", aaa + "e", "x"}, "OK"},
          {{"AUTH", "slow", "x"}, "OK"}});
  const std::string slow = "(error) ERR the key patterns of this user take too long; make them simpler";  // X6
  expect({{{"KEYS", "*"}, slow}, {{"DBSIZE"}, slow}, {{"SCAN", "0"}, slow}, {{"RANDOMKEY"}, slow}});
}

TEST_F(EdgeTest, SaysSoWhenNoContractCanBeMet) {
  start();
  EXPECT_TRUE(text({"TL.GET", "feature:1", "BOUND", "500", "DEADLINE", "0"}).starts_with("(error) STALE bound_us=-1 "));
  EXPECT_TRUE(text({"TL.GET", "model:m:current@default", "STRONG", "DEADLINE", "10"}).starts_with("(error) STALE "));
  EXPECT_TRUE(text({"SET", "model:m:current@default", "x"}).starts_with("(error) NOPERM "));
  EXPECT_TRUE(text({"SET", "", "x"}).starts_with("(error) ERR "));
  EXPECT_TRUE(text({"TL.GET", "k", "SOON"}).starts_with("(error) ERR syntax error"));
}

TEST_F(EdgeTest, WhoNeverJoinedTakesNoFeatures) {  // G9
  start();
  EXPECT_TRUE(
      text({"SET", "feature:track:1", "vector"}).starts_with("(error) BUSY this edge has not joined its cluster"))
      << text({"SET", "feature:track:1", "vector"});
}

TEST_F(EdgeTest, OwnFeaturesAreReadBackWithATrueReceiptAndSurviveARestart) {  // D8, I8
  joined_before();
  start();
  const RespValue set = ask({"TL.SET", "feature:track:1", "vector", "ACK", "DISK"});
  ASSERT_NE(set.find("ack"), nullptr) << to_text(set);
  EXPECT_EQ(set.find("ack")->text, "disk");
  EXPECT_EQ(set.find("version")->integer, 0) << "not sequenced yet";
  for (const char* when : {"before a restart", "after a restart"}) {
    const RespValue got = ask({"TL.GET", "feature:track:1", "EVENTUAL"});
    ASSERT_NE(got.find("value"), nullptr) << to_text(got);
    EXPECT_EQ(got.find("value")->text, "vector") << when;
    EXPECT_EQ(got.find("basis")->text, "local") << when;
    EXPECT_EQ(got.find("bound_us")->integer, -1) << "another gateway may have written: nothing is proven, " << when;
    EXPECT_NE(text({"TL.INFO"}).find("\\\"pending\\\":1"), std::string::npos) << text({"TL.INFO"});
    start();
  }
}

TEST_F(EdgeTest, ARestartKeepsTheGatewaysKeysAndRevokesTheFormerPage) {  // F11
  start();
  EXPECT_EQ(text({"SET", "a", "1"}), "OK");
  EXPECT_EQ(text({"SET", "b", "1", "EX", "1000"}), "OK");
  auto former = PageReader::open(config_.run_dir + "/page");
  ASSERT_TRUE(former);
  start();
  EXPECT_TRUE(former->view().revoked());
  EXPECT_TRUE(former->replaced());
  EXPECT_EQ(text({"MGET", "a", "b"}), "[\"1\", \"1\"]");
  const RespValue left = ask({"TTL", "b"});
  EXPECT_GT(left.integer, 900);
  EXPECT_LE(left.integer, 1000);
}

TEST_F(EdgeTest, AppsReadTheGatewaysKeysFromSharedMemory) {
  start();
  EXPECT_EQ(text({"SET", "shared", "value"}), "OK");
  LocalReader reader({config_.run_dir + "/page", config_.run_dir + "/arena", {}, 64u << 10});
  std::string value;
  const ReadOutcome outcome = reader.read("shared", {}, value);
  EXPECT_EQ(outcome.must_ask, MustAsk::kNo);
  EXPECT_TRUE(outcome.found);
  EXPECT_EQ(value, "value");
  EXPECT_EQ(outcome.receipt.basis, Basis::kLocal);
}

TEST_F(EdgeTest, TooManyFramesThatFailOpenTheBreaker) {  // M10
  config_.breaker.open_ns = 100 * kMillisecond;
  start();
  LocalReader reader({config_.run_dir + "/page", config_.run_dir + "/arena", {}, 64u << 10});
  const std::string key = "model:detector:current@default";
  ASSERT_EQ(reader.breaker(key), Breaker::kClosed);
  EXPECT_EQ(text({"TL.HEALTH", "detector", "1.0.0", "BAD", "COUNT", "20"}), "OK");
  // It was open before the answer, and is half-open by itself a moment later.
  EXPECT_NE(ask({"TL.INFO"}).text.find("\"breakers\":{\"model:\":{\"state\":\""), std::string::npos);
  EXPECT_NE(ask({"INFO", "tidelock"}).text.find("open_breakers:1"), std::string::npos);
  ASSERT_TRUE(comes_up([&] { return reader.breaker(key) == Breaker::kHalfOpen; }));
  EXPECT_EQ(reader.breaker("feature:x"), Breaker::kClosed);
  EXPECT_EQ(text({"TL.HEALTH", "detector", "1.0.0", "OK", "COUNT", "5"}), "OK");
  EXPECT_EQ(reader.breaker(key), Breaker::kClosed);
  EXPECT_EQ(reader.policy_of(key)->consistency, Consistency::kStrong);
  config_.breaker.probes = 0;
  const auto refused = Edge::start(config_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "breaker.probes = 0: must be 1 to 1000");
}

TEST_F(EdgeTest, OneProcessPerFolder) {  // F11
  start();
  EdgeConfig second = config_;
  second.run_dir = home_ + "/run2";
  const auto refused = Edge::start(second);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kConflict);
  EXPECT_NE(refused.error().message.find(config_.data_dir), std::string::npos);
}

TEST_F(EdgeTest, NamesWhatIsWrongWithTheConfiguration) {
  const auto start_with = [&](const std::function<void(EdgeConfig&)>& spoil) {
    EdgeConfig config = config_;
    spoil(config);
    const auto edge = Edge::start(config);
    return edge ? std::string("started") : edge.error().message;
  };
  EXPECT_NE(start_with([](EdgeConfig& c) { c.id = "Edge One"; }).find("id = \"Edge One\""), std::string::npos);
  EXPECT_NE(start_with([](EdgeConfig& c) { c.run_dir.clear(); }).find("run_dir"), std::string::npos);
  EXPECT_NE(start_with([](EdgeConfig& c) { c.redis_address = "localhost"; }).find("redis = \"localhost\""),
            std::string::npos);
  EXPECT_NE(start_with([](EdgeConfig& c) { c.http_address = "x:99999"; }).find("http = \"x:99999\""),
            std::string::npos);
  fs::create_directories(home_ + "/run3/models/detector");
  const std::string no_link = start_with([&](EdgeConfig& c) { c.run_dir = home_ + "/run3"; });
  EXPECT_NE(no_link.find("run_dir = \"" + home_ + "/run3\": cannot place the link `models`: "), std::string::npos)
      << no_link;
  EXPECT_TRUE(fs::is_directory(home_ + "/run3/models/detector")) << "what somebody put there is not ours to remove";
  start();
  const std::string taken = edge_->redis_address();
  EXPECT_NE(start_with([&](EdgeConfig& c) {
              c.data_dir = home_ + "/data2";
              c.run_dir = home_ + "/run2";
              c.redis_address = taken;
            }).find(taken.substr(taken.find(':'))),
            std::string::npos);
}

TEST_F(EdgeTest, SaysWhatItsClientsWaitOn) {
  for (const LoopBackEnd asked : {LoopBackEnd::kEpoll, LoopBackEnd::kIoUring}) {
    config_.redis_io = asked;
    start();
    EXPECT_EQ(text({"SET", "key", "value"}), "OK");
    EXPECT_EQ(text({"GET", "key"}), "\"value\"");
    const std::string info = ask({"INFO", "server"}).text;
    const bool refused = info.find("multiplexing_refusal:io_uring: ") != std::string::npos;
    if (asked == LoopBackEnd::kIoUring && refused) GTEST_SKIP() << "NOT TESTED: " << info;
    EXPECT_FALSE(refused) << info;
    EXPECT_NE(info.find("multiplexing_api:" + std::string(back_end_name(asked)) + "\r\n"), std::string::npos) << info;
  }
}

TEST_F(EdgeTest, TellsPeopleHowItIs) {
  start();
  (void)ask({"SET", "a", "1"});
  const auto get = [&](const std::string& path) {
    auto response = http_request(edge_->http_address(), "GET", path, "", "", 10'000);
    EXPECT_TRUE(response);
    return response ? *response : HttpResponse{};
  };
  EXPECT_EQ(get("/healthz").status, 200);
  EXPECT_EQ(get("/readyz").status, 503) << "a first start that never met a hub";
  const std::string metrics = get("/metrics").body;
  for (const char* name :
       {"tidelock_cache_hit_ratio{level=\"edge\"}", "tidelock_invalidations_total{reason=\"feed\"}",
        "tidelock_features_written_total", "tidelock_features_flushed_total", "tidelock_features_superseded_total",
        "tidelock_features_expired_total", "tidelock_features_pending", "tidelock_features_shed_total",
        "tidelock_features_lost_total", "tidelock_edge_link_bytes_total{direction=\"sent\"}",
        "tidelock_redis_connections ", "tidelock_redis_refused_total{reason=\"maxclients\"}"}) {
    EXPECT_NE(metrics.find(name), std::string::npos) << name;
  }
  const std::string info = ask({"INFO"}).text;
  for (const char* line : {"# Server", "# Clients", "# Memory", "# Stats", "# Replication", "# Keyspace", "db0:keys=1",
                           "# Tidelock", "edge:edge-1", "session:none", "features_pending:0"}) {
    EXPECT_NE(info.find(line), std::string::npos) << line;
  }
  EXPECT_EQ(ask({"INFO", "tidelock"}).text.find("# Server"), std::string::npos);
  start();
  EXPECT_EQ(get("/readyz").status, 200) << "it has data of an earlier run";
}

TEST_F(EdgeTest, InfoCountsReadsThatFindAndThatDoNot) {
  start();
  const auto found_and_missing = [&] {
    const std::string stats = ask({"INFO", "stats"}).text;
    const std::size_t at = stats.find("keyspace_hits:");
    EXPECT_NE(stats.find("evicted_keys:0\r\n"), std::string::npos);
    return at == std::string::npos ? stats : stats.substr(at, stats.find("evicted_keys") - at);
  };
  EXPECT_EQ(found_and_missing(), "keyspace_hits:0\r\nkeyspace_misses:0\r\n");
  expect({{{"SET", "a", "1"}, "OK"},
          {{"GET", "a"}, "\"1\""},  // held in memory
          {{"GET", "b"}, "null"},
          {{"MGET", "a", "b", "c"}, "[\"1\", null, null]"},
          {{"EXISTS", "a"}, "1"}});
  EXPECT_EQ(found_and_missing(), "keyspace_hits:3\r\nkeyspace_misses:3\r\n");
}

TEST(RedisGauges, EveryFigureIsExposedUnderItsName) {
  RespServerStats stats;
  std::uint64_t next = 0;
  for (std::uint64_t* field :
       {&stats.connections, &stats.connections_total, &stats.commands_total, &stats.errors_total, &stats.refused_max,
        &stats.refused_protected, &stats.refused_unauthenticated, &stats.refused_tls, &stats.closed_idle,
        &stats.closed_slow_reader, &stats.closed_protocol_error, &stats.closed_memory, &stats.bytes_in,
        &stats.bytes_out, &stats.authentication_failures, &stats.deferred}) {
    *field = ++next;
  }
  stats.buffers_bytes = 17;
  RedisGauges gauges;
  Metrics metrics;
  add_redis_metrics(metrics, gauges);
  gauges.publish(stats);
  const std::string text = metrics.expose();
  for (const char* line : {"connections 1", "connections_total 2", "commands_total 3", "errors_total 4",
                           "refused_total{reason=\"maxclients\"} 5", "refused_total{reason=\"protected\"} 6",
                           "refused_total{reason=\"unauthenticated\"} 7", "refused_total{reason=\"tls\"} 8",
                           "closed_total{reason=\"idle\"} 9", "closed_total{reason=\"slow_reader\"} 10",
                           "closed_total{reason=\"protocol_error\"} 11", "closed_total{reason=\"buffers_full\"} 12",
                           "bytes_total{direction=\"received\"} 13", "bytes_total{direction=\"sent\"} 14",
                           "authentication_failures_total 15", "deferred_total 16", "buffers_bytes 17"}) {
    EXPECT_NE(text.find("\ntidelock_redis_" + std::string(line) + "\n"), std::string::npos) << line << " in " << text;
  }
}

TEST_F(EdgeTest, TransactionsOfTheGatewaysOwnKeys) {
  start();
  auto connected = RespClient::connect({.address = "unix:" + config_.run_dir + "/redis.sock"});
  ASSERT_TRUE(connected);
  RespClient other = std::move(*connected);
  struct Turn {
    bool by_other;
    std::vector<std::string> command;
    std::string answer;
  };
  const std::string aborted = "(error) EXECABORT Transaction discarded because of previous errors.";
  const Turn turns[] = {
      {false, {"MULTI"}, "OK"},
      {false, {"SET", "a", "1"}, "QUEUED"},
      {false, {"APPEND", "a", "2"}, "QUEUED"},
      {false, {"GET", "a"}, "QUEUED"},
      {true, {"GET", "a"}, "null"},
      {false, {"EXEC"}, "[OK, 2, \"12\"]"},
      // What changes a watched key
      {false, {"WATCH", "a"}, "OK"},
      {true, {"SET", "b", "1"}, "OK"},
      {true, {"GET", "a"}, "\"12\""},
      {true, {"SET", "a", "3", "NX"}, "null"},
      {false, {"MULTI"}, "OK"},
      {false, {"EXEC"}, "[]"},
      {false, {"WATCH", "a"}, "OK"},
      {true, {"DEL", "a"}, "1"},
      {false, {"MULTI"}, "OK"},
      {false, {"EXEC"}, "null"},
      {false, {"WATCH", "a"}, "OK"},
      {true, {"SET", "a", "1"}, "OK"},
      {false, {"MULTI"}, "OK"},
      {false, {"EXEC"}, "null"},
      {false, {"WATCH", "a"}, "OK"},
      {true, {"FLUSHALL"}, "OK"},
      {false, {"MULTI"}, "OK"},
      {false, {"EXEC"}, "null"},
      // Listings wait for a worker: EXEC waits for them.
      {false, {"MULTI"}, "OK"},
      {false, {"SET", "k", "1"}, "QUEUED"},
      {false, {"KEYS", "*"}, "QUEUED"},
      {false, {"DBSIZE"}, "QUEUED"},
      {false, {"EXEC"}, "[OK, [\"k\"], 1]"},
      // Keys that are written through the hub
      {false, {"MULTI"}, "OK"},
      {false, {"SET", "k", "2"}, "QUEUED"},
      {false, {"MGET", "k", "model:m:current@default"}, "QUEUED"},
      {false,
       {"EXEC"},
       "(error) EXECABORT Transaction discarded because some of its commands, or of the watched keys, are of keys "
       "that are written through the hub and some are not, so no instant is theirs"},
      {false, {"MULTI"}, "OK"},
      {false,
       {"RENAME", "k", "model:m:current@default"},
       "(error) ERR key 'model:m:current@default' is in namespace 'model:', which is written through the hub: rename "
       "of "
       "such keys cannot be part of a transaction"},
      {false, {"EXEC"}, aborted},
      {false, {"WATCH", "config:unknown"}, "OK"},
      {false, {"MULTI"}, "OK"},
      {false, {"SET", "config:a", "1"}, "QUEUED"},
      {false,
       {"EXEC"},
       "(error) EXECABORT Transaction discarded because this edge does not hold the watched key 'config:unknown': read "
       "it between WATCH and MULTI"},
      {false, {"GET", "k"}, "\"1\""},
  };
  for (std::size_t i = 0; i < std::size(turns); ++i) {
    const auto reply = (turns[i].by_other ? other : *client_).call(turns[i].command, kPatience);
    ASSERT_TRUE(reply) << i;
    EXPECT_EQ(to_text(*reply), turns[i].answer) << "turn " << i << ": " << turns[i].command[0];
  }
}

TEST_F(EdgeTest, TellsClientsThatTrackWhatChanged) {
  start();
  auto connected = RespClient::connect({.address = "unix:" + config_.run_dir + "/redis.sock"});
  ASSERT_TRUE(connected);
  RespClient other = std::move(*connected);
  const auto told = [&] {  // the pushes stand before the answer of what is asked after them
    (void)ask({"PING"});
    std::string all;
    for (const RespValue& push : client_->take_pushes()) all += to_text(push);
    return all;
  };
  const auto by_other = [&](const std::vector<std::string>& command) {
    ASSERT_TRUE(other.call(command, kPatience)) << command[0];
  };
  ASSERT_EQ(text({"CLIENT", "TRACKING", "ON", "NOLOOP"}), "OK");
  by_other({"SET", "a", "1"});
  EXPECT_EQ(told(), "");
  const std::string invalidated = "[\"invalidate\", [\"a\"]]";
  const std::vector<std::string> changes[] = {
      {"SET", "a", "2"}, {"APPEND", "a", "3"}, {"EXPIRE", "a", "100"},       {"SET", "a", "4", "KEEPTTL"},
      {"PERSIST", "a"},  {"DEL", "a"},         {"MSET", "b", "1", "a", "1"}, {"FLUSHALL"}};
  for (const auto& change : changes) {
    (void)ask({"GET", "a"});
    by_other({"GET", "a"});
    EXPECT_EQ(told(), "") << change[0];
    by_other(change);
    EXPECT_EQ(told(), invalidated) << change[0];
  }
  (void)ask({"GET", "a"});
  (void)ask({"SET", "a", "5"});
  EXPECT_EQ(told(), "") << "NOLOOP";
  // What expires is said, too, although nothing is done to the key.
  by_other({"SET", "a", "6", "PX", "5"});
  (void)ask({"GET", "a"});
  std::string heard;
  for (const Nanos until = ElapsedClock().now() + kPatience; heard.empty() && ElapsedClock().now() < until;)
    heard = told();
  EXPECT_EQ(heard, invalidated);
  EXPECT_EQ(text({"GET", "a"}), "null");
}

TEST_F(EdgeTest, AnswersItsOperator) {
  std::vector<EdgeRedisSettings> kept;  // touched by the edge's worker, read after its answer
  std::atomic<int> stops{0};
  config_.users = {"alice on nopass ~feature:* +@read"};
  config_.parameters = {{"slowlog-max-len", "9"}};
  start();
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"CONFIG", "GET", "slowlog-max-len"}, "{\"slowlog-max-len\": \"9\"}"},
      {{"ACL", "USERS"}, "[\"alice\", \"default\"]"},
      {{"ACL", "DRYRUN", "alice", "GET", "model:x"}, "\"This user has no permissions to access the 'model:x' key\""},
      {{"CONFIG", "REWRITE"}, "(error) ERR The server is running without a config file"},
      {{"SHUTDOWN"}, "(error) ERR this server is not stopped by its clients"},
      {{"MEMORY", "USAGE", "a"}, "null"},
      {{"SET", "a", std::string(1000, 'x')}, "OK"},
      {{"MEMORY", "PURGE"}, "OK"},
  };
  for (const auto& [command, expected] : cases) EXPECT_EQ(text(command), expected) << command[0];
  const auto bytes = ask({"MEMORY", "USAGE", "a", "SAMPLES", "0"}).integer;
  EXPECT_GT(bytes, 1000);
  EXPECT_LT(bytes, 1100) << "one copy";
  const RespValue stats = ask({"MEMORY", "STATS"});
  ASSERT_NE(stats.find("keys.count"), nullptr);
  EXPECT_EQ(stats.find("keys.count")->integer, 1);
  EXPECT_GT(stats.find("tidelock.arena.bytes")->integer, 1000);
  EXPECT_EQ(ask({"MEMORY", "DOCTOR"}).text.find("1 entries take "), 0u);
  EXPECT_NE(ask({"INFO", "commandstats"}).text.find("cmdstat_memory|usage:calls=2,"), std::string::npos);
  EXPECT_EQ(ask({"INFO"}).text.find("# Commandstats"), std::string::npos) << "long: only when asked for";
  EXPECT_NE(ask({"INFO"}).text.find("# Errorstats\r\nerrorstat_ERR:count=2\r\n"), std::string::npos);

  config_.rewrite_config = [&](const EdgeRedisSettings& settings) -> Result<void> {
    kept.push_back(settings);
    return kept.size() == 1 ? Result<void>{} : fail(Code::kBusy, "the disk is full");
  };
  config_.on_shutdown = [&] { ++stops; };
  start();
  EXPECT_EQ(text({"CONFIG", "SET", "timeout", "5"}), "OK");
  EXPECT_EQ(text({"CONFIG", "REWRITE"}), "OK");
  EXPECT_EQ(text({"CONFIG", "REWRITE"}), "(error) ERR Rewriting config file: the disk is full");
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0].parameters,
            (std::vector<std::pair<std::string, std::string>>{{"timeout", "5"}, {"slowlog-max-len", "9"}}));
  EXPECT_EQ(kept[0].users, (std::vector<std::string>{"alice on nopass ~feature:* resetchannels -@all +@read"}));
  EXPECT_FALSE(client_->call({"SHUTDOWN", "NOSAVE"}, kPatience)) << "no answer: the connection ends";
  EXPECT_EQ(stops, 1);

  config_.users = {"alice on +nope"};
  client_.reset();
  edge_.reset();
  const auto wrong = Edge::start(config_);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message, "user 'alice', rule '+nope': Unknown command or category name in ACL");
}

TEST(PointerKey, Parses) {
  EXPECT_EQ(parse_pointer_key("model:detector:staged@default")->name, "detector");
  EXPECT_TRUE(parse_pointer_key("model:detector:staged@default")->staged);
  EXPECT_FALSE(parse_pointer_key("model:detector:current@default")->staged);
  for (const char* key : {"model:detector:v1.0.0", "model::current@default", "model:A B:current@default",
                          "feature:current@default", "model:x:current@canary"}) {
    EXPECT_FALSE(parse_pointer_key(key)) << key;
  }
}

}  // namespace
}  // namespace tidelock
