// Hashes and strings that look like one, through the library: from the memory that an edge shares, and from its
// answers.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/elapsed_clock.h"
#include "client/scripted_edge_fixture.h"
#include "codec/hash_value.h"
#include "codec/typed_value.h"
#include "memory/local_reader_fixture.h"
#include "tidelock/client.h"

namespace tidelock {
namespace {

using Values = std::vector<std::optional<std::string>>;

Bytes row() {
  const std::vector<HashField> fields = {{"x", "0.25"}, {"y", "-3"}, {"label", ""}};
  return hash_with({}, fields)->stored;
}

class ClientFieldsTest : public testing::Test {
 protected:
  // Page and arena of an edge that vouches for what is put into them; a client that found them.
  void share() {
    const std::vector<Namespace> namespaces = {{.prefix = "row:",
                                                .consistency = Consistency::kStrong,
                                                .scope = Scope::kRegion,
                                                .write_mode = WriteMode::kThrough},
                                               {.prefix = ""}};
    memory_ = std::make_unique<Edge>(Edge::Paths{edge_.run_dir() + "/page", edge_.run_dir() + "/arena"}, 1, namespaces);
    memory_->prove();
  }
  void put(const std::string& key, const Bytes& stored) { memory_->write(key, stored, 7); }
  void connect() {
    auto client =
        Client::connect({.run_dir = edge_.run_dir(), .connect_timeout_ms = 30'000, .call_timeout_ms = 30'000});
    ASSERT_TRUE(client) << client.error().message;
    client_ = std::move(*client);
  }

  ScriptedEdge edge_;
  std::unique_ptr<Edge> memory_;
  std::unique_ptr<Client> client_;
};

TEST_F(ClientFieldsTest, FieldsComeFromTheArenaAndThenFromL1UnderOneReceipt) {
  share();
  put("row:1", row());
  connect();
  const std::vector<std::string_view> names = {"y", "nothing", "x", "label", "x"};
  for (const Source source : {Source::kArena, Source::kL1}) {
    const auto got = client_->get_fields("row:1", names);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->values, (Values{"-3", std::nullopt, "0.25", "", "0.25"}));
    EXPECT_EQ(got->receipt.source, source);
    EXPECT_EQ(got->receipt.version, Index{7});
    EXPECT_EQ(got->receipt.basis, Basis::kLease);
  }
  EXPECT_EQ(client_->stats().edge_reads, 0u);
}

TEST_F(ClientFieldsTest, FromMemoryAStringIsWhatWasSetAndAHashIsNoString) {
  share();
  const Bytes like_a_hash = Bytes(kTypedValueMark) + "h\x01";
  put("row:string", "value");
  put("row:like", stored_string(like_a_hash));
  put("row:hash", row());
  put("row:damaged", row().substr(0, row().size() - 1));
  connect();
  const std::vector<std::string_view> names = {"label"};
  std::string out;
  for (const char* from : {"arena", "L1"}) {
    EXPECT_EQ(client_->get("row:string")->bytes, "value") << from;
    EXPECT_EQ(client_->get("row:like")->bytes, like_a_hash) << from;
    ASSERT_TRUE(client_->get_into("row:like", {}, out)) << from;
    EXPECT_EQ(out, like_a_hash) << from;
    ValueRef ref;
    ValueBatch batch;
    ASSERT_TRUE(client_->get_ref("row:like", {}, ref)) << from;
    EXPECT_EQ(ref.bytes(), like_a_hash) << from;
    ASSERT_TRUE(client_->get_many(std::array<std::string_view, 1>{"row:like"}, {}, batch)) << from;
    EXPECT_EQ(batch.values.at(0), like_a_hash) << from;
    const std::pair<Error, Error> cases[] = {
        {client_->get("row:hash").error(),
         {Code::kInvalid, "key 'row:hash' holds a hash; read it with get_fields", {}, 0}},
        {client_->get_into("row:hash", {}, out).error(),
         {Code::kInvalid, "key 'row:hash' holds a hash; read it with get_fields", {}, 0}},
        {client_->get_ref("row:hash", {}, ref).error(),
         {Code::kInvalid, "key 'row:hash' holds a hash; read it with get_fields", {}, 0}},
        {client_->get_many(std::array<std::string_view, 2>{"row:string", "row:hash"}, {}, batch).error(),
         {Code::kInvalid, "key 'row:hash' holds a hash; read it with get_fields", {}, 0}},
        {client_->get_fields("row:string", names).error(),
         {Code::kInvalid, "key 'row:string' holds a string; read it with get", {}, 0}},
        {client_->get_fields("row:damaged", names).error(),
         {Code::kCorrupt, "key 'row:damaged': the stored hash is truncated or malformed", {}, 0}},
    };
    for (const auto& [got, expected] : cases) {
      EXPECT_EQ(got.code, expected.code) << expected.message << ", from " << from;
      EXPECT_EQ(got.message, expected.message) << from;
    }
  }
  EXPECT_EQ(client_->stats().edge_reads, 0u);
}

TEST_F(ClientFieldsTest, TheEdgeIsAskedForTheFieldsUnderTheSameContract) {
  connect();
  edge_.answer("TL.GET",
               "%3\r\n$5\r\nvalue\r\n*3\r\n$4\r\n0.25\r\n_\r\n$0\r\n\r\n$7\r\nversion\r\n:9\r\n$5\r\nbasis\r\n"
               "$5\r\nproof\r\n");
  const std::vector<std::string_view> names = {"x", "nothing", "label"};
  Contract contract;
  contract.bound_ns = 500 * kMillisecond;
  const auto got = client_->get_fields("row:1", names, contract);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(edge_.last_command(), "TL.GET row:1 BOUND 500 FIELDS x nothing label");
  EXPECT_EQ(got->values, (Values{"0.25", std::nullopt, ""}));
  EXPECT_EQ(got->receipt.version, Index{9});
  EXPECT_EQ(got->receipt.basis, Basis::kProof);

  Receipt receipt;
  edge_.answer("TL.GET", "%2\r\n$5\r\nvalue\r\n_\r\n$7\r\nversion\r\n:41\r\n");
  const auto absent = client_->get_fields("row:1", names, {}, &receipt);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::kNotFound);
  EXPECT_EQ(absent.error().message, "no key 'row:1'");
  EXPECT_EQ(receipt.version, Index{41}) << "absence has a bound, too";
}

TEST_F(ClientFieldsTest, WhatTheEdgeRefusesIsSaidInTheLibrarysWords) {
  connect();
  const std::vector<std::string_view> names = {"x", "y"};
  edge_.answer("TL.GET", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
  EXPECT_EQ(client_->get("k").error().message, "key 'k' holds a hash; read it with get_fields");
  EXPECT_EQ(client_->get("k").error().code, Code::kInvalid);
  EXPECT_EQ(client_->get_fields("k", names).error().message, "key 'k' holds a string; read it with get");
  EXPECT_EQ(client_->get_fields("k", names).error().code, Code::kInvalid);

  for (const char* value : {"$1\r\nv\r\n", "*1\r\n$1\r\nv\r\n", "*3\r\n_\r\n_\r\n_\r\n"}) {
    edge_.answer("TL.GET", std::string("%1\r\n$5\r\nvalue\r\n") + value);
    const auto got = client_->get_fields("k", names);
    ASSERT_FALSE(got) << value;
    EXPECT_EQ(got.error().code, Code::kCorrupt) << value;
    EXPECT_EQ(got.error().message, "the edge's answer to TL.GET of 2 fields of key 'k' has not as many values");
  }
  const auto none = client_->get_fields("k", {});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::kInvalid);
  EXPECT_EQ(none.error().message, "fields is empty; it must name at least one field");
}

TEST_F(ClientFieldsTest, WithoutAnEdgeTheLastRowIsServedFlagged) {  // F3
  share();
  put("row:1", row());
  connect();
  const std::vector<std::string_view> names = {"x"};
  ASSERT_TRUE(client_->get_fields("row:1", names));
  memory_->page->publish_lease(kNever);
  edge_.stop();
  const auto got = client_->get_fields("row:1", names);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->values, (Values{"0.25"}));
  EXPECT_TRUE(got->receipt.fallback);
  EXPECT_EQ(client_->get("row:1").error().message, "key 'row:1' holds a hash; read it with get_fields");
}

}  // namespace
}  // namespace tidelock
