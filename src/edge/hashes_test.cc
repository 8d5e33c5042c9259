// Hashes at a real edge with no hub to be had. What they answer is as redis-server 7.0 answers the same commands.
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/wall_clock.h"
#include "codec/certificate.h"
#include "codec/hash_value.h"
#include "edge/edge.h"
#include "edge/policies_row.h"
#include "memory/local_reader.h"
#include "store/kv/kv.h"
#include "store/models/files.h"
#include "wire/resp/client.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
constexpr Nanos kPatience = 20 * kSecond;
constexpr std::string_view kWrongType = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";

class HashesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = (fs::temp_directory_path() / "tidelock-hashes-XXXXXX").string();
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    home_ = path;
    const auto now = static_cast<std::int64_t>(wall_ms_now() / 1000);
    const Validity validity{now - 3600, now + 3600};
    const auto ca = make_ca("test", validity);
    ASSERT_TRUE(ca);
    const auto pair = issue_certificate(*ca, {NodeRole::kEdge, "edge-1"}, {{"localhost"}, {"127.0.0.1"}}, validity);
    ASSERT_TRUE(pair);
    config_.id = "edge-1";
    config_.site = "site-1";
    config_.data_dir = home_ + "/data";
    config_.run_dir = home_ + "/run";
    config_.hubs = {{"hub-1", "127.0.0.1:1"}};  // nobody listens there
    config_.redis_address = "127.0.0.1:0";
    config_.http_address = "127.0.0.1:0";
    config_.tls = {home_ + "/ca.pem", home_ + "/cert.pem", home_ + "/key.pem"};
    config_.arena_bytes = 4u << 20;
    ASSERT_TRUE(files::replace(config_.tls.ca_file, ca->certificate_pem));
    ASSERT_TRUE(files::replace(config_.tls.certificate_file, pair->certificate_pem));
    ASSERT_TRUE(files::replace(config_.tls.key_file, pair->key_pem));
    // It has joined before: it takes features, too.
    fs::create_directories(config_.data_dir);
    {
      auto kv = Kv::open(config_.data_dir + "/db", {kL2Family, kOutboxFamily, kMetaFamily});
      ASSERT_TRUE(kv);
      KvBatch batch;
      keep_policies(batch, {{}, default_namespaces()});
      ASSERT_TRUE((*kv)->commit(batch, Sync::kNone));
    }
    start();
  }
  void TearDown() override {
    client_.reset();
    edge_.reset();
    fs::remove_all(home_);
  }
  void start() {
    client_.reset();
    edge_.reset();
    auto edge = Edge::start(config_);
    ASSERT_TRUE(edge) << edge.error().message;
    edge_ = std::move(*edge);
    connect(2);
  }
  void connect(int protocol) {
    auto client = RespClient::connect({.address = "unix:" + config_.run_dir + "/redis.sock", .protocol = protocol});
    ASSERT_TRUE(client) << client.error().message;
    client_.emplace(std::move(*client));
  }
  RespValue ask(const std::vector<std::string>& command) {
    auto reply = client_->call(command, kPatience);
    EXPECT_TRUE(reply) << reply.error().message;
    return reply ? *reply : RespValue{};
  }
  std::string text(const std::vector<std::string>& command) { return to_text(ask(command)); }

  std::string home_;
  EdgeConfig config_;
  std::unique_ptr<Edge> edge_;
  std::optional<RespClient> client_;
};

std::string words(const std::vector<std::string>& command) {
  std::string all;
  for (const std::string& word : command) all += word.substr(0, 40) + ' ';
  return all;
}

TEST_F(HashesTest, AnswerAsRedisDoes) {
  const std::string integer = "(error) ERR value is not an integer or out of range";
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"HSET", "h", "a", "1", "b", "2", "c", "3"}, "3"},
      {{"HSET", "h", "a", "1", "b"}, "(error) ERR wrong number of arguments for 'hset' command"},
      {{"HMSET", "h", "a", "1", "b"}, "(error) ERR wrong number of arguments for 'hmset' command"},
      {{"HSET", "h", "a", "9", "d", "4"}, "1"},
      {{"HSET", "h", "d", "4", "e", "5", "e", "10"}, "1"},
      {{"HSETNX", "h", "a", "10"}, "0"},
      {{"HSETNX", "h", "f", "10"}, "1"},
      {{"HMSET", "h", "a", "1", "f", "6"}, "OK"},
      {{"HGET", "h", "a"}, "\"1\""},
      {{"HGET", "h", "zz"}, "null"},
      {{"HGET", "nowhere", "a"}, "null"},
      {{"HMGET", "h", "a", "zz", "b", "a"}, "[\"1\", null, \"2\", \"1\"]"},
      {{"HMGET", "nowhere", "a", "b"}, "[null, null]"},
      {{"HGETALL", "h"}, "[\"a\", \"1\", \"b\", \"2\", \"c\", \"3\", \"d\", \"4\", \"e\", \"10\", \"f\", \"6\"]"},
      {{"HGETALL", "nowhere"}, "[]"},
      {{"HKEYS", "h"}, "[\"a\", \"b\", \"c\", \"d\", \"e\", \"f\"]"},
      {{"HVALS", "h"}, "[\"1\", \"2\", \"3\", \"4\", \"10\", \"6\"]"},
      {{"HDEL", "h", "zz"}, "0"},
      {{"HDEL", "h", "a", "zz", "a", "b"}, "2"},
      {{"HDEL", "nowhere", "a"}, "0"},
      {{"HEXISTS", "h", "c"}, "1"},
      {{"HEXISTS", "h", "a"}, "0"},
      {{"HLEN", "h"}, "4"},
      {{"HLEN", "nowhere"}, "0"},
      {{"HSTRLEN", "h", "e"}, "2"},
      {{"HSTRLEN", "nowhere", "e"}, "0"},
      {{"HINCRBY", "h", "c", "5"}, "8"},
      {{"HINCRBY", "h", "new", "5"}, "5"},
      {{"HINCRBY", "h", "new", "-15"}, "-10"},
      {{"HGET", "h", "new"}, "\"-10\""},
      {{"HINCRBY", "h", "new", "x"}, integer},
      {{"HINCRBY", "h", "new", "1.5"}, integer},
      {{"HSET", "h", "text", "abc", "big", "9223372036854775807"}, "2"},
      {{"HINCRBY", "h", "text", "1"}, "(error) ERR hash value is not an integer"},
      {{"HINCRBY", "h", "big", "1"}, "(error) ERR increment or decrement would overflow"},
      {{"HGET", "h", "big"}, "\"9223372036854775807\""},
      {{"HINCRBYFLOAT", "h", "text", "1"}, "(error) ERR hash value is not a float"},
      {{"HINCRBYFLOAT", "h", "text", "x"}, "(error) ERR value is not a valid float"},
      {{"HINCRBYFLOAT", "h", "f", "inf"}, "(error) ERR value is NaN or Infinity"},
      {{"HINCRBYFLOAT", "h", "f", "0.5"}, "\"6.5\""},
      {{"HINCRBYFLOAT", "h", "f", "1e2"}, "\"106.5\""},
      {{"HINCRBYFLOAT", "h", "float", "-0.25"}, "\"-0.25\""},
      {{"HGET", "h", "f"}, "\"106.5\""},
      {{"HSET", "h", "infinite", "inf"}, "1"},
      {{"HINCRBYFLOAT", "h", "infinite", "1"}, "(error) ERR increment would produce NaN or Infinity"},
      {{"DEL", "h"}, "1"},
      {{"HSET", "h", "", ""}, "1"},
      {{"HGET", "h", ""}, "\"\""},
      {{"HEXISTS", "h", ""}, "1"},
      {{"HRANDFIELD", "h"}, "\"\""},
      {{"HRANDFIELD", "h", "-2"}, "[\"\", \"\"]"},
      {{"HRANDFIELD", "h", "x"}, integer},
      {{"HRANDFIELD", "nowhere"}, "null"},
      {{"HSCAN", "h", "0"}, "[\"0\", [\"\", \"\"]]"},
      {{"HSCAN", "nowhere", "5", "COUNT", "x"}, "[\"0\", []]"},
      {{"HSCAN", "h", "5", "COUNT", "x"}, integer},
      {{"HSCAN", "nowhere", "x"}, "(error) ERR invalid cursor"},
      {{"HGET", "h"}, "(error) ERR wrong number of arguments for 'hget' command"},
  };
  for (const auto& [command, answer] : cases) EXPECT_EQ(text(command), answer) << words(command);
}

TEST_F(HashesTest, Resp3HasMapsAndPairs) {
  connect(3);
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"HSET", "h", "a", "1", "b", "2"}, "2"},
      {{"HGETALL", "h"}, "{\"a\": \"1\", \"b\": \"2\"}"},
      {{"HGETALL", "nowhere"}, "{}"},
      {{"HRANDFIELD", "h", "5", "WITHVALUES"}, "[[\"a\", \"1\"], [\"b\", \"2\"]]"},
      {{"HSCAN", "h", "0"}, "[\"0\", [\"a\", \"1\", \"b\", \"2\"]]"},
      {{"HINCRBYFLOAT", "h", "a", "0.5"}, "\"1.5\""},
  };
  for (const auto& [command, answer] : cases) EXPECT_EQ(text(command), answer) << words(command);
}

TEST_F(HashesTest, AStringIsNoHashAndStaysWhatItIs) {
  ASSERT_EQ(text({"SET", "s", "x"}), "OK");
  const std::vector<std::string> commands[] = {
      {"HSET", "s", "a", "1"},
      {"HSETNX", "s", "a", "1"},
      {"HMSET", "s", "a", "1"},
      {"HGET", "s", "a"},
      {"HMGET", "s", "a", "b"},
      {"HGETALL", "s"},
      {"HDEL", "s", "a"},
      {"HEXISTS", "s", "a"},
      {"HLEN", "s"},
      {"HSTRLEN", "s", "a"},
      {"HKEYS", "s"},
      {"HVALS", "s"},
      {"HINCRBY", "s", "a", "1"},
      {"HRANDFIELD", "s"},
      {"HINCRBYFLOAT", "s", "a", "1"},
      {"HRANDFIELD", "s", "1"},
      {"HSCAN", "s", "0"},
      {"HSCAN", "s", "5", "FOO"},
      {"TL.GET", "s", "FIELDS", "a"},
  };
  for (const auto& command : commands) EXPECT_EQ(text(command), kWrongType) << words(command);
  // What is wrong with the arguments is said first.
  EXPECT_EQ(text({"HINCRBY", "s", "a", "x"}), "(error) ERR value is not an integer or out of range");
  EXPECT_EQ(text({"HINCRBYFLOAT", "s", "a", "x"}), "(error) ERR value is not a valid float");
  EXPECT_EQ(text({"HRANDFIELD", "s", "x"}), "(error) ERR value is not an integer or out of range");
  EXPECT_EQ(text({"HSCAN", "s", "x"}), "(error) ERR invalid cursor");
  EXPECT_EQ(text({"GET", "s"}), "\"x\"");
}

TEST_F(HashesTest, AHashKeepsItsLifetimeAndIsGoneWithItsLastField) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"HSET", "h", "a", "1", "b", "2"}, "2"},
      {{"TTL", "h"}, "-1"},
      {{"EXPIRE", "h", "100"}, "1"},
      {{"HSET", "h", "c", "3"}, "1"},
      {{"TTL", "h"}, "100"},
      {{"HINCRBY", "h", "a", "1"}, "2"},
      {{"HINCRBYFLOAT", "h", "a", "1"}, "\"3\""},
      {{"HSETNX", "h", "d", "4"}, "1"},
      {{"HDEL", "h", "a"}, "1"},
      {{"TTL", "h"}, "100"},
      {{"HDEL", "h", "b", "c", "d"}, "3"},
      {{"EXISTS", "h"}, "0"},
      {{"HLEN", "h"}, "0"},
      {{"TTL", "h"}, "-2"},
      {{"HSET", "h", "a", "1"}, "1"},
      {{"TTL", "h"}, "-1"},
  };
  for (const auto& [command, answer] : cases) EXPECT_EQ(text(command), answer) << words(command);
}

TEST_F(HashesTest, WhatIsTooLargeIsRefusedAndChangesNothing) {
  ASSERT_EQ(text({"HSET", "h", "a", "1"}), "1");
  const std::string half(600'000, 'v');
  ASSERT_EQ(text({"HSET", "h", "half", half}), "1");
  EXPECT_EQ(text({"HSET", "h", "another", half}),
            "(error) ERR the hash would be above 1048576 bytes, the most that a value may have");
  EXPECT_EQ(text({"HSET", "h", "b", half, "c", half}),
            "(error) ERR 1200002 bytes of fields in one command; a hash may have at most 1048576 bytes");
  std::vector<std::string> names = {"HMGET", "h"};
  names.resize(2 + 65'537, "f");
  EXPECT_EQ(text(names), "(error) ERR 65537 fields in one command; it may name at most 65536");
  names[0] = "HDEL";
  EXPECT_EQ(text(names), "(error) ERR 65537 fields in one command; it may name at most 65536");
  EXPECT_EQ(text({"HSET", "", "a", "1"}).substr(0, 11), "(error) ERR");
  EXPECT_EQ(text({"HKEYS", "h"}), "[\"a\", \"half\"]");
}

TEST_F(HashesTest, AFeatureRowIsReadWithItsReceiptAndSurvivesARestart) {  // D8
  const std::string key = "feature:track:17";
  ASSERT_EQ(text({"DEL", key}), "0");  // what this edge decided itself it need not ask a hub for
  ASSERT_EQ(text({"HSET", key, "x", "0.25", "label", ""}), "2");
  ASSERT_EQ(text({"HINCRBYFLOAT", key, "x", "0.5"}), "\"0.75\"");
  for (const char* when : {"before a restart", "after a restart"}) {
    connect(3);
    const RespValue got = ask({"TL.GET", key, "EVENTUAL", "FIELDS", "x", "nothing", "label"});
    ASSERT_NE(got.find("value"), nullptr) << to_text(got);
    EXPECT_EQ(to_text(*got.find("value")), "[\"0.75\", null, \"\"]") << when;
    EXPECT_EQ(got.find("basis")->text, "local") << when;
    EXPECT_EQ(text({"TL.GET", key, "EVENTUAL"}), kWrongType) << when;
    start();
  }
  connect(3);
  const RespValue absent = ask({"TL.GET", "nowhere", "FIELDS", "x"});
  ASSERT_NE(absent.find("value"), nullptr) << to_text(absent);
  EXPECT_TRUE(absent.find("value")->is_null());
  EXPECT_EQ(text({"TL.GET", key, "FIELDS"}), "(error) ERR syntax error: FIELDS needs the names of fields");
}

TEST_F(HashesTest, AppsFindTheWholeRowInSharedMemory) {
  ASSERT_EQ(text({"HSET", "row", "x", "1", "y", "2"}), "2");
  LocalReader reader({config_.run_dir + "/page", config_.run_dir + "/arena", {}, 64u << 10});
  std::string stored;
  const ReadOutcome outcome = reader.read("row", {}, stored);
  ASSERT_TRUE(outcome.found);
  EXPECT_EQ(outcome.must_ask, MustAsk::kNo);
  EXPECT_EQ(*hash_field(stored, "y"), "2");
}

}  // namespace
}  // namespace tidelock
