// What get and set ask, and what they make of every answer: of a scripted edge for what a sound one says only when
// something is wrong, and of a real one.

#include "cli/get_set.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cli/config.h"
#include "cli/dev.h"
#include "cli/run_fixture.h"
#include "client/scripted_edge_fixture.h"
#include "protocol/policy.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

using namespace std::string_literals;

// A RESP3 answer to TL.GET.
std::string answered(const std::string& value, const std::string& version, const std::string& bound_us,
                     const std::string& basis, const std::string& fallback = "0", const std::string& ttl_ms = "-1") {
  const auto bulk = [](const std::string& text) { return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n"; };
  return "%9\r\n+value\r\n" + (value == "(null)" ? "_\r\n" : bulk(value)) + "+version\r\n:" + version +
         "\r\n+bound_us\r\n:" + bound_us + "\r\n+basis\r\n" + bulk(basis) + "+source\r\n" + bulk("edge") +
         "+fallback\r\n:" + fallback + "\r\n+writers_ms\r\n:0\r\n+ttl_ms\r\n:" + ttl_ms + "\r\n+message\r\n$0\r\n\r\n";
}
const std::string kHash = "\0TLvh..."s;

class GetSetTest : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(at(name), std::ios::binary) << bytes;
    return at(name);
  }
  Ran asked(std::vector<std::string> words) const {
    words.insert(words.end(), {"--run-dir", edge_.run_dir()});
    return run(std::move(words));
  }
  static bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

  const TestFolder folder_;
  ScriptedEdge edge_;
};

TEST(GetSetReceipt, SaysInWordsWhatIsProven) {
  EdgeReceipt proof{17, 3'201'000, 0, "proof", "edge", false, kForever, ""};
  EdgeReceipt fallback{17, kForever, kForever, "none", "edge", true, 1'999 * kMillisecond, "no \x1b[31mhub"};
  EdgeReceipt local{0, kForever, 0, "local", "edge", false, kForever, ""};
  EdgeReceipt fetched{3, kMillisecond, 0, "proof", "hub", false, kForever, ""};
  EXPECT_EQ(receipt_words(fetched, true),
            "  version 3, at most 1.0 ms old\n  proven by the hub, which answered under its authority\n"
            "  from the hub, asked for this read");
  EXPECT_EQ(receipt_words(local, false),
            "  absent\n  this gateway alone decides about the key\n  from the edge's memory");
  EdgeReceipt writers{9, 1, 250 * kMillisecond, "lease", "hub", false, kForever, ""};
  EXPECT_EQ(receipt_words(proof, true),
            "  version 17, at most 3.3 ms old\n  proven by an answered probe of the hub\n  from the edge's memory");
  EXPECT_EQ(receipt_words(proof, false),
            "  absent, as of at most 3.3 ms ago\n  proven by an answered probe of the hub\n  from the edge's memory");
  EXPECT_EQ(receipt_words(fallback, true),
            "  version 17, of unknown age\n  nothing proves its age\n  from the edge's memory\n"
            "  FLAGGED: the contract could not be met; this is the last value that was verified\n"
            "  a gateway that writes here is away: what it holds back is not bounded\n"
            "  expires in 1.9 s\n  no \\x1b[31mhub");
  EXPECT_EQ(receipt_words(local, true),
            "  not sequenced\n  written on this gateway, and not sequenced by a hub\n  from the edge's memory");
  EXPECT_EQ(receipt_words(writers, true),
            "  version 9, at most 1 us old\n  proven by a lease: no newer write had been acknowledged anywhere\n"
            "  from the hub, asked for this read\n  gateways that write here may hold back up to 250.0 ms more");
}

TEST_F(GetSetTest, AValueComesWithItsReceipt) {
  edge_.answer("TL.GET", answered("hello", "17", "3000", "proof", "0", "30000"));
  const Ran text = asked({"get", "k"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_TRUE(text.out.starts_with("hello\n  version 17, at most ")) << text.out;
  EXPECT_TRUE(holds(text.out, "expires in 30.0 s")) << text.out;
  const Json json = asked({"--json", "get", "k"}).json();
  ASSERT_TRUE(json.is_object());
  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["type"], "string");
  EXPECT_EQ(json["value"], "hello");
  EXPECT_EQ(json["receipt"]["version"], 17);
  EXPECT_EQ(json["receipt"]["basis"], "proof");
  EXPECT_GT(json["receipt"]["bound_us"], 3000) << "F6: the wait for the answer is part of the age";
}

TEST_F(GetSetTest, TheContractOfTheLineIsTheContractOfTheQuestion) {
  edge_.answer("TL.GET", answered("v", "1", "0", "proof"));
  struct Case {
    std::vector<std::string> words;
    const char* command;
  };
  const Case cases[] = {{{}, "TL.GET k"},
                        {{"--bound", "500"}, "TL.GET k BOUND 500"},
                        {{"--bound", "0", "--deadline", "20"}, "TL.GET k BOUND 0 DEADLINE 20"},
                        {{"--strong"}, "TL.GET k STRONG"},
                        {{"--eventual"}, "TL.GET k EVENTUAL"}};
  for (const Case& c : cases) {
    std::vector<std::string> words = {"get", "k"};
    words.insert(words.end(), c.words.begin(), c.words.end());
    EXPECT_EQ(asked(words).code, 0) << c.command;
    EXPECT_EQ(edge_.last_command(), c.command);
  }
  for (const std::vector<std::string>& words : {std::vector<std::string>{"get", "k", "--strong", "--eventual"},
                                                {"get", "k", "--bound", "5", "--strong"},
                                                {"get", "k", "--bound", "-1"},
                                                {"get", "k", "--bound", "soon"},
                                                {"get", "k", "--socket", "s"},
                                                {"set", "k", "v", "--ack", "maybe"},
                                                {"set", "k", "v", "--ttl", "-5"}}) {
    EXPECT_EQ(asked(words).code, 2) << words.back();
  }
}

TEST_F(GetSetTest, BytesThatAreNoTextAreShownEscapedAndGivenRaw) {
  edge_.answer("TL.GET", answered("a\x1b[2J\xff"s, "1", "0", "proof"));
  const Ran text = asked({"get", "k"});
  EXPECT_TRUE(text.out.starts_with("a\\x1b[2J\\xff\n  6 bytes that are no text")) << text.out;
  EXPECT_EQ(asked({"get", "k", "--raw"}).out, "a\x1b[2J\xff"s);
  const Json json = asked({"--json", "get", "k"}).json();
  EXPECT_EQ(json["value"], nullptr);
  EXPECT_EQ(json["value_hex"], "611b5b324aff");
}

TEST_F(GetSetTest, AbsenceHasAReceiptToo) {
  edge_.answer("TL.GET", answered("(null)", "0", "5000", "proof"));
  const Ran text = asked({"get", "k"});
  EXPECT_EQ(text.code, 1);
  EXPECT_EQ(text.out, "");
  EXPECT_TRUE(text.err.starts_with("tidelock: no key 'k'\n  absent, as of at most ")) << text.err;
  const Json json = asked({"--json", "get", "k"}).json();
  EXPECT_EQ(json["code"], "not_found");
  EXPECT_EQ(json["receipt"]["basis"], "proof");
}

TEST_F(GetSetTest, AHashIsShownByItsFieldsUnderOneVersion) {
  edge_.answer("HGETALL", "%2\r\n$1\r\na\r\n$1\r\n1\r\n$2\r\n\x1b[\r\n$1\r\n2\r\n");
  edge_.answer("TL.GET", answered(kHash, "5", "100", "proof"));
  const Ran text = asked({"get", "row"});
  EXPECT_TRUE(text.out.starts_with("a = 1\n\\x1b[ = 2\n  version 5")) << text.out << text.err;
  const Json json = asked({"--json", "get", "row"}).json();
  EXPECT_EQ(json["type"], "hash");
  EXPECT_EQ(json["fields"][0], (Json{{"field", "a"}, {"value", "1"}}));
  EXPECT_FALSE(json.contains("value"));

  edge_.answer("TL.GET", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
  const Ran without = asked({"get", "row"});
  EXPECT_EQ(without.code, 0) << without.err;
  EXPECT_TRUE(holds(without.out, "this edge gives no receipt for a hash")) << without.out;
  EXPECT_FALSE(asked({"--json", "get", "row"}).json().contains("receipt"))
      << "none is better than one of another moment";

  edge_.answer("HGETALL", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
  edge_.answer("TL.GET", answered(kHash, "5", "100", "proof"));
  EXPECT_EQ(asked({"get", "row", "--raw"}).out, kHash) << "a string may look like a hash";
}

// Answers one version after the other.
class Moving : public CommandHandler {
 public:
  void handle(ConnectionContext&, const std::vector<std::string_view>& args, RespReply& reply) override {
    if (args[0] == "HGETALL") return reply.raw("%1\r\n$1\r\na\r\n$1\r\n1\r\n");
    reply.raw(answered(kHash, std::to_string(++version), "100", "proof"));
  }
  int version = 0;
};
TEST_F(GetSetTest, AHashThatNeverRestsIsNotGivenTheReceiptOfAnotherVersion) {
  Moving moving;
  const ElapsedClock clock;
  auto loop = std::move(*EventLoop::create(clock));
  auto server = std::make_unique<RespServer>(*loop, moving, RespServerOptions{});
  ASSERT_TRUE(server->listen_unix(at("moving.sock")));
  std::thread thread([&] { loop->run(); });
  const Json json = run({"--json", "get", "row", "--socket", at("moving.sock")}).json();
  loop->stop();
  thread.join();
  server.reset();
  EXPECT_EQ(json["code"], "busy") << json;
}

TEST_F(GetSetTest, EveryRefusalHasItsCodeAndANextStep) {
  struct Case {
    const char *reply, *code, *says, *next;
  };
  const Case cases[] = {
      {"-STALE bound_us=70000 no proof\r\n", "stale", "bound_us=70000", "a larger --bound, or --eventual"},
      {"-UNAVAILABLE no hub\r\n", "unavailable", "no hub", "is the edge running?"},
      {"-NOAUTH Authentication required.\r\n", "denied", "NOAUTH", "--password-file"},
      {"-BUSY later\r\n", "busy", "later", "repeat in a moment"},
      {"-MAYBEAPPLIED who knows\r\n", "maybe_applied", "who knows", "read the key before repeating"},
      {"-ERR odd\r\n", "invalid", "ERR odd", ""},
      {"+OK\r\n", "corrupt", "is this socket an edge's", ""},
      {"%1\r\n+version\r\n:1\r\n", "corrupt", "bound_us", ""},
  };
  for (const Case& c : cases) {
    edge_.answer("TL.GET", c.reply);
    const Json json = asked({"--json", "get", "k"}).json();
    EXPECT_EQ(json["ok"], false) << c.reply;
    EXPECT_EQ(json["code"], c.code) << c.reply;
    EXPECT_TRUE(holds(json.value("message", ""), c.says)) << json;
    EXPECT_TRUE(holds(asked({"get", "k"}).err, c.next)) << c.reply;
  }
  edge_.stop();
  const Ran gone = asked({"get", "k"});
  EXPECT_EQ(gone.code, 1);
  EXPECT_TRUE(holds(gone.err, "no edge at unix:" + edge_.run_dir() + "/redis.sock")) << gone.err;
}

TEST_F(GetSetTest, SetSaysHowWellTheWriteIsKept) {
  edge_.answer("TL.SET", "%2\r\n+version\r\n:7\r\n+ack\r\n$4\r\ndisk\r\n");
  const Ran text = asked({"set", "k", "v", "--ttl", "30000", "--ack", "disk"});
  EXPECT_EQ(text.out,
            "written, version 7\n  acknowledged: disk: it is synced to this gateway's disk, and goes to the hubs from "
            "there\n");
  EXPECT_EQ(edge_.last_command(), "TL.SET k v PX 30000 ACK disk");
  const Json json = asked({"--json", "set", "k", "v", "--ttl-ms", "5"}).json();
  EXPECT_EQ(json["version"], 7);
  EXPECT_EQ(json["ack"], "disk");
  EXPECT_EQ(edge_.last_command(), "TL.SET k v PX 5");

  edge_.answer("TL.SET", "%2\r\n+version\r\n:0\r\n+ack\r\n$2\r\nos\r\n");
  EXPECT_EQ(asked({"set", "k", "--file", write("value", "from a file")}).code, 0);
  EXPECT_EQ(edge_.last_command(), "TL.SET k from a file");
  EXPECT_TRUE(asked({"set", "k", ""}).out.starts_with("written, not sequenced yet\n  acknowledged: os: "));
  EXPECT_EQ(edge_.last_command(), "TL.SET k ") << "an empty value is a value";
  edge_.answer("TL.SET", "%2\r\n+version\r\n:0\r\n+ack\r\n$6\r\norigin\r\n");
  EXPECT_TRUE(asked({"set", "k", "v"}).out.starts_with("written\n  acknowledged: origin: "))
      << "the hubs have sequenced it";
}

TEST_F(GetSetTest, WhatCannotBeAskedIsRefusedBeforeAnythingIsSent) {
  const std::string large = write("large", std::string(kValueBytesMax + 1, 'x'));
  struct Case {
    const char* why;
    std::vector<std::string> words;
    const char* says;
  };
  const std::string to = edge_.run_dir();
  const Case cases[] = {
      {"no place", {"get", "k"}, "no configuration; give --config client.toml"},
      {"no place to write", {"set", "k", "v"}, "no configuration"},
      {"a key of no bytes", {"get", "", "--run-dir", to}, "key"},
      {"a key too long", {"set", std::string(kKeyBytesMax + 1, 'k'), "v", "--run-dir", to}, "4096"},
      {"no value", {"set", "k", "--run-dir", to}, "no value; write it after the key, or give --file FILE"},
      {"two values", {"set", "k", "v", "--file", large, "--run-dir", to}, "a value and --file were given"},
      {"a file too large",
       {"set", "k", "--file", large, "--run-dir", to},
       "1048577 bytes; a value has at most 1048576"},
      {"no such file", {"set", "k", "--file", at("no"), "--run-dir", to}, "--file "},
      {"no such password file", {"get", "k", "--password-file", at("no"), "--run-dir", to}, "--password-file "},
      {"no password in it",
       {"get", "k", "--password-file", write("empty", "\n"), "--run-dir", to},
       "first line is empty"},
      {"a level of an outbox, at the hubs",
       {"set", "k", "v", "--ack", "disk"},
       "--ack disk is a level of an edge's outbox"},
  };
  for (const Case& c : cases) {
    std::vector<std::string> words = c.words;
    words.insert(words.begin(), "--json");
    const Json json = run(words).json();
    ASSERT_TRUE(json.is_object()) << c.why;
    EXPECT_EQ(json["code"], "invalid") << c.why << ": " << json;
    EXPECT_TRUE(holds(json["message"], c.says)) << c.why << ": " << json;
  }
  EXPECT_EQ(edge_.last_command(), "");
  EXPECT_TRUE(holds(run({"get", "k"}).err, "give --run-dir of an edge on this machine")) << "the next step";
}

TEST_F(GetSetTest, ARealEdgeAloneAnswersForItsOwnKeys) {
  ASSERT_TRUE(make_dev_cluster({at("cluster"), 1, 1, 1}));
  auto settings = read_edge_config(at("cluster/edge-1/edge.toml"));
  ASSERT_TRUE(settings) << settings.error().message;
  settings->edge.arena_bytes = 4u << 20;
  settings->edge.requirepass = "secret";
  const auto edge = Edge::start(settings->edge);
  ASSERT_TRUE(edge) << edge.error().message;
  const std::string run_dir = settings->edge.run_dir, password = write("password", "secret\n");
  const auto here = [&](std::vector<std::string> words) {
    words.insert(words.end(), {"--run-dir", run_dir, "--password-file", password});
    return run(std::move(words));
  };
  EXPECT_EQ(run({"--json", "get", "local:x", "--run-dir", run_dir}).json()["code"], "denied");
  const Ran set = here({"set", "local:x", "1", "--ttl", "60000"});
  EXPECT_EQ(set.code, 0) << set.err;
  const Ran get = here({"get", "local:x"});
  EXPECT_EQ(get.code, 0) << get.err;
  EXPECT_TRUE(get.out.starts_with("1\n  ")) << get.out;
  EXPECT_TRUE(holds(get.out, "written on this gateway")) << get.out;
  EXPECT_TRUE(holds(get.out, "expires in ")) << get.out;
  EXPECT_EQ(here({"--json", "get", "local:y"}).json()["code"], "not_found");
}

}  // namespace
}  // namespace tidelock
