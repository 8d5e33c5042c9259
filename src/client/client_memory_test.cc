// The library over a page and an arena that are driven by hand, beside a scripted edge: what memory answers, and when
// the edge is asked instead.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "client/scripted_edge_fixture.h"
#include "codec/typed_value.h"
#include "memory/local_reader_fixture.h"
#include "tidelock/client.h"

namespace tidelock {
namespace {

class ClientMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    memory_.prove(0, 100'000 * kSecond);
    edge_.answer("PING", "+PONG\r\n");
    ClientOptions options_of_client;
    options_of_client.run_dir = edge_.run_dir();
    auto client = Client::connect(options_of_client);
    ASSERT_TRUE(client) << client.error().message;
    client_ = std::move(*client);
  }
  void write(const std::string& key, const std::string& value, std::uint64_t version) {
    memory_.write(key, value, version);
  }
  ScriptedEdge edge_;
  Edge memory_{{edge_.run_dir() + "/page", edge_.run_dir() + "/arena"}, 1, tidelock::namespaces()};
  std::unique_ptr<Client> client_;
};

TEST_F(ClientMemoryTest, AVisitorRunsInTheArena) {
  write("model:frame", std::string(40'000, 'x'), 9);
  write("model:odd", stored_string(std::string(kTypedValueMark) + " begins"), 10);
  write("model:row", std::string(kTypedValueMark) + "h", 11);
  const char* at = nullptr;
  const auto got = client_->get_in_place("model:frame", {}, [&](std::string_view bytes) {
    at = bytes.data();
    return bytes.size();
  });
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->result, 40'000u);
  EXPECT_EQ(got->receipt.version, Index{9});
  EXPECT_EQ(got->receipt.source, Source::kArena);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(at) % 8, 0u);
  EXPECT_EQ(client_->stats().edge_reads, 0u);
  EXPECT_EQ(client_->stats().l1_fills, 0u);
  const auto odd = client_->get_in_place("model:odd", {}, [](std::string_view bytes) { return std::string(bytes); });
  ASSERT_TRUE(odd) << odd.error().message;
  EXPECT_EQ(odd->result, std::string(kTypedValueMark) + " begins") << "as it was written, not as it is stored";
  const auto hash = client_->get_in_place("model:row", {}, [](std::string_view) { return 0; });
  ASSERT_FALSE(hash);
  EXPECT_EQ(hash.error().message, "key 'model:row' holds a hash; read it with get_fields");

  // Written over in each run: the edge is asked, and the visitor runs on its answer.
  edge_.answer("TL.GET model:frame", "%2\r\n$5\r\nvalue\r\n$3\r\nABC\r\n$7\r\nversion\r\n:12\r\n");
  int runs = 0;
  const auto late = client_->get_in_place("model:frame", {}, [&](std::string_view bytes) {
    ++runs;
    std::string seen(bytes);
    for (int i = 0; i < 2'000 && runs <= kInPlaceTries; ++i)
      write("f:" + std::to_string(i), std::string(1'000, 'f'), 1);
    if (runs <= kInPlaceTries) write("model:frame", "again", 11);
    return seen;
  });
  ASSERT_TRUE(late) << late.error().message;
  EXPECT_EQ(late->result, "ABC");
  EXPECT_EQ(late->receipt.version, Index{12});
  EXPECT_EQ(runs, kInPlaceTries + 1);

  // The edge is gone and the contract cannot be met: what the last sound run made stands, flagged (F3).
  memory_.page->publish_lease(0);
  edge_.stop();
  const auto fallback = client_->get_in_place("model:frame", {Consistency::kStrong, {}, {}, {}},
                                              [](std::string_view bytes) { return std::string(bytes); });
  ASSERT_TRUE(fallback) << fallback.error().message;
  EXPECT_EQ(fallback->result, "again");
  EXPECT_TRUE(fallback->receipt.fallback);
}

TEST_F(ClientMemoryTest, ASnapshotIsOfOneIndex) {  // S4
  write("model:a", "a1", 5);
  write("model:b", "b1", 6);
  const std::string_view keys[] = {"model:a", "model:b"};
  ValueBatch batch;
  auto taken = client_->snapshot(keys, batch);
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_EQ(batch.values, (std::vector<std::string>{"a1", "b1"}));
  EXPECT_EQ(batch.found, (std::vector<bool>{true, true}));
  EXPECT_EQ(batch.receipt.version, Index{6});
  EXPECT_EQ(batch.receipt.basis, Basis::kLease);
  EXPECT_EQ(client_->stats().edge_reads, 0u);

  const std::uint16_t slots[] = {slot_of("model:b")};  // an activation is under way
  memory_.page->open_block(slots);
  edge_.answer("GET model:a", "$2\r\na2\r\n");  // the server itself has MULTI and EXEC
  edge_.answer("GET model:b", "_\r\n");
  taken = client_->snapshot(keys, batch);
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_EQ(batch.values, (std::vector<std::string>{"a2", ""}));
  EXPECT_EQ(batch.found, (std::vector<bool>{true, false}));
  EXPECT_EQ(batch.receipt.basis, Basis::kProof);
  EXPECT_EQ(batch.receipt.source, Source::kHub);
  EXPECT_LT(batch.receipt.bound_ns, kForever);

  struct Case {
    const char* answer;
    Code code;
  };
  const Case cases[] = {{"-BUSY too many writers of these keys\r\n", Code::kBusy},
                        {"-UNAVAILABLE no hub\r\n", Code::kUnavailable},
                        {"-WRONGTYPE Operation against a key\r\n", Code::kInvalid}};
  for (const Case& c : cases) {
    edge_.answer("GET model:b", c.answer);
    taken = client_->snapshot(keys, batch);
    ASSERT_FALSE(taken) << c.answer;
    EXPECT_EQ(taken.error().code, c.code) << c.answer;
  }
  const std::size_t asked = edge_.commands("GET").size();
  const std::string_view mixed[] = {"model:a", "other"};
  taken = client_->snapshot(mixed, batch);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().message, "key 'other' is in namespace '', which is not strong; a snapshot is of strong keys");
  EXPECT_EQ(edge_.commands("GET").size(), asked) << "it would be of no one index";
}

TEST_F(ClientMemoryTest, TheLongestValueOfL1IsTheCallersChoice) {
  write("model:a", std::string(50'000, 'x'), 1);
  for (const bool cached : {true, false}) {
    ClientOptions options;
    options.run_dir = edge_.run_dir();
    options.l1_value_bytes_max = cached ? 50'000 : 49'999;
    const auto client = Client::connect(options);
    ASSERT_TRUE(client) << client.error().message;
    for (int i = 0; i < 2; ++i) ASSERT_TRUE((*client)->get("model:a"));
    EXPECT_EQ((*client)->stats().l1_hits, cached ? 1u : 0u);
    EXPECT_EQ((*client)->stats().arena_hits, cached ? 1u : 2u);
  }
}

}  // namespace
}  // namespace tidelock
