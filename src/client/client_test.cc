// The library against a scripted edge: what it makes of each answer. Reads from shared memory are tested in memory/,
// sessions with real edges in tests/system.
#include "tidelock/client.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "client/scripted_edge_fixture.h"

namespace tidelock {
namespace {

class ClientTest : public testing::Test {
 protected:
  void SetUp() override {
    ClientOptions options;
    options.run_dir = edge_.run_dir();
    options.connect_timeout_ms = options.call_timeout_ms = 30'000;  // never waited out when all is well
    auto client = Client::connect(options);
    ASSERT_TRUE(client) << client.error().message;
    client_ = std::move(*client);
  }
  ScriptedEdge edge_;
  std::unique_ptr<Client> client_;
};

TEST(ClientConnect, SaysWhereItLookedForAnEdge) {
  const auto nameless = Client::connect({});
  ASSERT_FALSE(nameless);
  EXPECT_EQ(nameless.error().code, Code::kInvalid);
  EXPECT_EQ(nameless.error().message, "run_dir is empty; it must be the edge's run folder (run_dir in edge.toml)");

  ScriptedEdge edge;
  edge.stop();
  const auto nobody = Client::connect({.run_dir = edge.run_dir()});
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code, Code::kUnavailable);
  EXPECT_TRUE(nobody.error().message.starts_with("no edge at " + edge.run_dir() + ": ")) << nobody.error().message;
}

TEST(ClientConnect, RefusesOptionsThatCannotBe) {
  struct Case {
    const char* message;
    std::function<void(ClientOptions&)> change;
  };
  const Case cases[] = {
      {"l1_eviction is 'fifo'; it must be \"w-tinylfu\", \"lru\", \"s3-fifo\" or \"sieve\"",
       [](ClientOptions& o) { o.l1_eviction = "fifo"; }},
      {"l1_value_bytes_max is 0; it must be 1 to 1048576", [](ClientOptions& o) { o.l1_value_bytes_max = 0; }},
      {"l1_value_bytes_max is 1048577; it must be 1 to 1048576",
       [](ClientOptions& o) { o.l1_value_bytes_max = 1'048'577; }},
      {"l1_budgets has 16 entries; it must have at most 15", [](ClientOptions& o) { o.l1_budgets.resize(16); }},
      {"l1_budgets are above 896 bytes together with that of 'b:'; they must be at most 7/8 of l1_bytes",
       [](ClientOptions& o) {
         o.l1_bytes = 1'024;
         o.l1_budgets = {{"a:", 800}, {"b:", 97}};
       }},
  };
  ScriptedEdge edge;
  for (const Case& c : cases) {
    ClientOptions options;
    options.run_dir = edge.run_dir();
    c.change(options);
    const auto refused = Client::connect(options);
    ASSERT_FALSE(refused) << c.message;
    EXPECT_EQ(refused.error().code, Code::kInvalid);
    EXPECT_EQ(refused.error().message, c.message);
  }
  for (const char* eviction : {"w-tinylfu", "lru", "s3-fifo", "sieve"}) {
    ClientOptions options;
    options.run_dir = edge.run_dir();
    options.l1_eviction = eviction;
    options.l1_value_bytes_max = 1'048'576;
    EXPECT_TRUE(Client::connect(options)) << eviction;
  }
}

TEST_F(ClientTest, AnErrorOfTheEdgeKeepsItsMeaningInEveryCall) {
  struct Case {
    const char* answer;
    Code code;
    Nanos detail_ns;
  };
  const Case cases[] = {
      {"STALE bound_us=1500 the newest that is provable", Code::kStale, 1'500 * kMicrosecond},
      {"STALE bound_us=-1 nothing is provable", Code::kStale, kForever},
      {"STALE bound_us=9223372036854775807 beyond any clock", Code::kStale, kForever},
      {"STALE bound_us=soon", Code::kStale, kForever},
      {"STALE without a bound", Code::kStale, kForever},
      {"BUSY too many writes wait", Code::kBusy, 100 * kMillisecond},
      {"UNAVAILABLE no hub", Code::kUnavailable, 0},
      {"MAYBEAPPLIED the hub went away", Code::kMaybeApplied, 0},
      {"NOPERM models are activated at a hub", Code::kDenied, 0},
      {"NOAUTH Authentication required.", Code::kDenied, 0},
      {"DENIED not for this edge", Code::kDenied, 0},
      {"ERR syntax error", Code::kInvalid, 0},
      {"STALEMATE is another word", Code::kInvalid, 0},
  };
  std::string out = "as it was";
  const std::pair<const char*, std::function<Error()>> calls[] = {
      {"get", [&] { return client_->get("k").error(); }},
      {"get_into", [&] { return client_->get_into("k", {}, out).error(); }},
      {"set", [&] { return client_->set("k", "v").error(); }},
      {"erase", [&] { return client_->erase("k").error(); }},
  };
  for (const Case& c : cases) {
    for (const char* command : {"TL.GET", "TL.SET", "DEL"}) edge_.answer(command, "-" + std::string(c.answer) + "\r\n");
    for (const auto& [call, ask] : calls) {
      const Error error = ask();
      EXPECT_EQ(error.code, c.code) << call << ": " << c.answer;
      EXPECT_EQ(error.detail_ns, c.detail_ns) << call << ": " << c.answer;
      EXPECT_EQ(error.message, c.answer) << call;
    }
  }
  EXPECT_EQ(out, "as it was");
}

TEST_F(ClientTest, AbsenceIsAnErrorWithAReceipt) {
  edge_.answer(
      "TL.GET",
      "%4\r\n$5\r\nvalue\r\n_\r\n$7\r\nversion\r\n:41\r\n$8\r\nbound_us\r\n:0\r\n$5\r\nbasis\r\n$5\r\nlease\r\n");
  Receipt receipt;
  const auto absent = client_->get("k", {}, &receipt);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::kNotFound);
  EXPECT_EQ(absent.error().message, "no key 'k'");
  EXPECT_EQ(receipt.version, Index{41});
  EXPECT_EQ(receipt.basis, Basis::kLease);
  EXPECT_GE(receipt.bound_ns, kMicrosecond) << "rounded up, with the time of the question on top (F6)";
  EXPECT_LT(receipt.bound_ns, kForever);
  std::string out;
  const auto again = client_->get_into("k", {}, out);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kNotFound);
  EXPECT_EQ(again.error().message, "no key 'k'");
}

TEST_F(ClientTest, AnAnswerWithoutAValueIsNoAbsence) {
  struct Case {
    const char* why;
    const char* answer;
  };
  const Case cases[] = {{"a receipt alone", "%1\r\n$7\r\nversion\r\n:41\r\n"},
                        {"no map", "+OK\r\n"},
                        {"null", "_\r\n"},
                        {"an empty map", "%0\r\n"}};
  for (const Case& c : cases) {
    edge_.answer("TL.GET", c.answer);
    const auto got = client_->get("k");
    ASSERT_FALSE(got) << c.why;
    EXPECT_EQ(got.error().code, Code::kCorrupt) << c.why;
    EXPECT_EQ(got.error().message, "the edge's answer to TL.GET has no value") << c.why;
  }
}

TEST_F(ClientTest, AsksForWhatTheContractSaysAndTellsWhatCame) {
  edge_.answer("TL.GET",
               "%5\r\n$5\r\nvalue\r\n$1\r\nv\r\n$7\r\nversion\r\n:9\r\n$8\r\nbound_us\r\n:-1\r\n$6\r\nsource\r\n"
               "$3\r\nhub\r\n$8\r\nfallback\r\n:1\r\n");
  struct Case {
    Contract contract;
    const char* asked;
  };
  const Case cases[] = {
      {{}, "TL.GET k"},
      {{{}, 500 * kMillisecond, {}, {}}, "TL.GET k BOUND 500"},
      {{Consistency::kStrong, {}, 20'000 * kMillisecond, {}}, "TL.GET k STRONG DEADLINE 20000"},
      {{Consistency::kEventual, {}, {}, Index{7}}, "TL.GET k EVENTUAL TOKEN 7"},
  };
  for (const Case& c : cases) {
    const auto got = client_->get("k", c.contract);
    ASSERT_TRUE(got) << c.asked << ": " << got.error().message;
    EXPECT_EQ(edge_.last_command(), c.asked);
    EXPECT_EQ(got->bytes, "v");
    EXPECT_EQ(got->receipt.version, Index{9});
    EXPECT_EQ(got->receipt.bound_ns, kForever);
    EXPECT_EQ(got->receipt.source, Source::kHub);
    EXPECT_TRUE(got->receipt.fallback);
  }
  EXPECT_EQ(client_->stats().edge_reads, 4u);
  EXPECT_EQ(client_->stats().fallbacks, 4u);
  edge_.answer("TL.SET", "%2\r\n$7\r\nversion\r\n:10\r\n$3\r\nack\r\n$4\r\ndisk\r\n");
  const auto written = client_->set("k", "v", {.ttl_ms = 50, .ack = "disk"});
  ASSERT_TRUE(written) << written.error().message;
  EXPECT_EQ(edge_.last_command(), "TL.SET k v PX 50 ACK disk");
  EXPECT_EQ(written->version, Index{10});
  EXPECT_EQ(written->ack, "disk");
  for (const auto& [count, erased] : {std::pair{":1\r\n", true}, {":0\r\n", false}}) {
    edge_.answer("DEL", count);
    EXPECT_EQ(*client_->erase("k"), erased);
  }
}

TEST_F(ClientTest, ManyKeysHaveOneReceipt) {
  const auto answer = [](const std::string& value, int version, int bound_us, const char* basis) {
    return "%4\r\n$5\r\nvalue\r\n" + value + "$7\r\nversion\r\n:" + std::to_string(version) +
           "\r\n$8\r\nbound_us\r\n:" + std::to_string(bound_us) + "\r\n$5\r\nbasis\r\n$5\r\n" + basis + "\r\n";
  };
  edge_.answer("TL.GET a", answer("$1\r\nA\r\n", 7, 100, "lease"));
  edge_.answer("TL.GET b", answer("_\r\n", 9, 5'000, "proof"));
  edge_.answer("TL.GET c", answer("$1\r\nC\r\n", 8, 10, "lease"));
  const std::string_view keys[] = {"a", "b", "c"};
  ValueBatch batch;
  const auto got = client_->get_many(keys, {}, batch);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(batch.values, (std::vector<std::string>{"A", "", "C"}));
  EXPECT_EQ(batch.found, (std::vector<bool>{true, false, true}));
  EXPECT_EQ(batch.receipt.version, Index{9});
  EXPECT_EQ(batch.receipt.basis, Basis::kProof) << "the weakest";
  EXPECT_GE(batch.receipt.bound_ns, 5'000 * kMicrosecond) << "the largest";

  // An edge that answers them together is asked once.
  edge_.answer("TL.MGET KEYS", "*3\r\n" + answer("$1\r\nA\r\n", 7, 100, "lease") + answer("_\r\n", 9, 6'000, "proof") +
                                   answer("$1\r\nD\r\n", 8, 10, "lease"));
  const std::size_t asked = edge_.commands("TL.").size();
  const auto together = client_->get_many(keys, {}, batch);
  ASSERT_TRUE(together) << together.error().message;
  EXPECT_EQ(edge_.commands("TL.").size() - asked, 1u);
  EXPECT_EQ(batch.values, (std::vector<std::string>{"A", "", "D"}));
  EXPECT_EQ(batch.found, (std::vector<bool>{true, false, true}));
  EXPECT_GE(batch.receipt.bound_ns, 6'000 * kMicrosecond);
  edge_.answer("TL.MGET KEYS", "*3\r\n" + answer("$1\r\nA\r\n", 7, 100, "lease") + "-STALE bound_us=1500 no\r\n" +
                                   answer("$1\r\nD\r\n", 8, 10, "lease"));
  EXPECT_EQ(client_->get_many(keys, {}, batch).error().code, Code::kStale) << "one of them";
  edge_.answer("TL.MGET KEYS", "-ERR the answers take more than one reply may\r\n");
  ASSERT_TRUE(client_->get_many(keys, {}, batch)) << "one by one";
  EXPECT_EQ(batch.values, (std::vector<std::string>{"A", "", "C"}));

  Contract contract;
  contract.bound_ns = 1;  // whatever is asked for after another comes too late for that one
  const auto late = client_->get_many(keys, contract, batch);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kStale);
  EXPECT_EQ(late.error().message, "the keys of this batch cannot be had within one bound");
  EXPECT_GE(late.error().detail_ns, 5'000 * kMicrosecond);

  edge_.answer("TL.GET b", "-STALE bound_us=1500 no\r\n");
  EXPECT_EQ(client_->get_many(keys, {}, batch).error().code, Code::kStale);
  const auto none = client_->get_many({}, {}, batch);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::kInvalid);
  EXPECT_EQ(none.error().message, "0 keys; 1 to 4096 are right");
  EXPECT_EQ(client_->get_many(std::vector<std::string_view>(4'097, "a"), {}, batch).error().code, Code::kInvalid);
}

TEST_F(ClientTest, VeryManyKeysAreAskedForInSeveralQuestions) {
  const std::string found = "%1\r\n$5\r\nvalue\r\n$1\r\nA\r\n";
  std::string answer = "*1024\r\n";
  for (int i = 0; i < 1'024; ++i) answer += found;
  edge_.answer("TL.MGET KEYS", answer);  // to the second question, about 476, it is no answer: those are asked singly
  edge_.answer("TL.GET", found);
  std::vector<std::string> names;
  for (int i = 0; i < 1'500; ++i) names.push_back("k" + std::to_string(i));
  const std::vector<std::string_view> keys(names.begin(), names.end());
  ValueBatch batch;
  const auto got = client_->get_many(keys, {}, batch);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(batch.values, std::vector<std::string>(1'500, "A"));
  const std::vector<std::string> asked = edge_.commands("TL.MGET");
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_TRUE(asked[0].starts_with("TL.MGET KEYS k0 ") && asked[0].ends_with(" k1023"));
  EXPECT_TRUE(asked[1].starts_with("TL.MGET KEYS k1024 ") && asked[1].ends_with(" k1499"));
  EXPECT_EQ(edge_.commands("TL.GET").size(), 476u);
}

TEST_F(ClientTest, AReferenceToWhatTheEdgeAnswered) {
  edge_.answer("TL.GET a", "%1\r\n$5\r\nvalue\r\n$1\r\nA\r\n");
  edge_.answer("TL.GET b", "%1\r\n$5\r\nvalue\r\n_\r\n");
  ValueRef value;
  ASSERT_TRUE(client_->get_ref("a", {}, value));
  EXPECT_EQ(value.bytes(), "A");
  EXPECT_TRUE(value.copied());
  const auto absent = client_->get_ref("b", {}, value);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::kNotFound);
  EXPECT_EQ(absent.error().message, "no key 'b'");
}

TEST_F(ClientTest, AVisitorRunsOnWhatTheEdgeAnswered) {  // where memory may not answer
  edge_.answer("TL.GET a", "%2\r\n$5\r\nvalue\r\n$3\r\nABC\r\n$7\r\nversion\r\n:7\r\n");
  edge_.answer("TL.GET b", "%1\r\n$5\r\nvalue\r\n_\r\n");
  edge_.answer("TL.GET h", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
  edge_.answer("TL.GET s", "-STALE bound_us=1500 the newest that is provable\r\n");
  int runs = 0;
  const auto length = [&](std::string_view bytes) {
    ++runs;
    return std::to_string(bytes.size());
  };
  const auto got = client_->get_in_place("a", {}, length);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->result, "3");
  EXPECT_EQ(got->receipt.version, Index{7});
  EXPECT_EQ(client_->get_in_place("b", {}, length).error().code, Code::kNotFound);
  EXPECT_EQ(client_->get_in_place("h", {}, length).error().code, Code::kInvalid);
  EXPECT_EQ(client_->get_in_place("s", {}, length).error().detail_ns, 1'500 * kMicrosecond);
  EXPECT_EQ(runs, 1);
}

TEST_F(ClientTest, ASnapshotIsRefusedWhereNobodyKnowsWhatIsStrong) {  // S4
  ValueBatch batch;
  const std::string_view keys[] = {"model:a", "model:b"};
  const auto refused = client_->snapshot(keys, batch);  // the scripted edge has no page
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_TRUE(edge_.commands("GET").empty()) << "keys of no strong namespace would be of no one index";
  EXPECT_EQ(client_->snapshot({}, batch).error().message, "0 keys; 1 to 256 are right");
  const std::vector<std::string_view> many(257, "model:a");
  EXPECT_EQ(client_->snapshot(many, batch).error().message, "257 keys; 1 to 256 are right");
}

TEST_F(ClientTest, FollowsARestartedEdgeAndNamesTheSocketOfOneThatIsGone) {
  edge_.answer("DEL", ":1\r\n");
  EXPECT_TRUE(client_->erase("k"));
  edge_.stop();
  const auto gone = client_->erase("k");
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Code::kUnavailable);
  EXPECT_NE(gone.error().message.find(edge_.run_dir() + "/redis.sock"), std::string::npos) << gone.error().message;
  edge_.start();
  EXPECT_TRUE(client_->erase("k"));
  edge_.stop();
  edge_.start();
  const auto again = client_->erase("k");
  EXPECT_TRUE(again) << "on a connection to the former edge: " << again.error().message;
}

}  // namespace
}  // namespace tidelock
