// Keys that name all that a result rests on, and a cache that asks a scripted edge.
#include "tidelock/result_cache.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "client/scripted_edge_fixture.h"

namespace tidelock {
namespace {

ModelReceipt of_model(char fill) {
  ModelReceipt receipt;
  receipt.version = "1.0.0";
  receipt.digest = std::string(32, fill);
  return receipt;
}

std::string key_of(const ModelReceipt& model, std::string_view preprocessing, std::string_view input) {
  const auto key = result_key(model, preprocessing, input);
  EXPECT_TRUE(key.has_value());
  return key ? *key : std::string();
}

TEST(ResultKey, NamesModelPreprocessingAndInput) {
  const std::set<std::string> different = {
      key_of(of_model('a'), "p", "i"), key_of(of_model('b'), "p", "i"),
      key_of(of_model('a'), "q", "i"), key_of(of_model('a'), "p", "j"),
      key_of(of_model('a'), "pi", ""), key_of(of_model('a'), "", "pi"),
      key_of(of_model('a'), "", ""),   key_of(of_model('a'), "p", std::string("i\0", 2)),
  };
  EXPECT_EQ(different.size(), 8u);
  EXPECT_EQ(key_of(of_model('a'), "p", "i"), key_of(of_model('a'), "p", "i"));
  ModelReceipt renamed = of_model('a');
  renamed.version = "2.0.0";
  EXPECT_EQ(key_of(renamed, "p", "i"), key_of(of_model('a'), "p", "i")) << "the same bytes under another name";
}

TEST(ResultKey, SaysWhatIsMissing) {
  EXPECT_EQ(result_key({}, "p", "i").error().message,
            "the receipt's digest has 0 bytes; take the receipt of a ModelUse, whose digest has 32");
  EXPECT_EQ(result_key(of_model('a'), std::string(4'097, 'p'), "i").error().message,
            "preprocessing is 4097 bytes; it must be at most 4096");
}

class ResultCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    ClientOptions options;
    options.run_dir = edge_.run_dir();
    options.connect_timeout_ms = options.call_timeout_ms = 30'000;
    auto client = Client::connect(options);
    ASSERT_TRUE(client) << client.error().message;
    client_ = std::move(*client);
  }
  ScriptedEdge edge_;
  std::unique_ptr<Client> client_;
  const std::string key_ = key_of(of_model('a'), "p", "i");
};

TEST_F(ResultCacheTest, AsksForWhatItHasWithoutWaitingForAnybodyElse) {
  edge_.answer("TL.GET", "_\r\n");
  ResultCache results(*client_, {});
  ValueRef out;
  const auto found = results.find(key_, out);
  ASSERT_FALSE(found);
  EXPECT_TRUE(edge_.last_command().starts_with("TL.GET " + key_ + " EVENTUAL")) << edge_.last_command();
}

TEST_F(ResultCacheTest, KeepsAResultForItsTime) {
  edge_.answer("TL.SET", "*2\r\n:0\r\n$2\r\nos\r\n");
  ResultCache results(*client_, {.ttl_ms = 5'000, .bytes_max = 3});
  const auto kept = results.keep(key_, "abc");
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_TRUE(edge_.last_command().starts_with("TL.SET " + key_ + " abc")) << edge_.last_command();
  EXPECT_NE(edge_.last_command().find("PX 5000"), std::string::npos) << edge_.last_command();
  EXPECT_EQ(results.keep(key_, "abcd").error().message, "the result is 4 bytes; bytes_max is 3");
  EXPECT_EQ(results.keep("model:x", "a").error().message, "'model:x' is no key of a result; result_key() makes them");
  EXPECT_EQ(ResultCache(*client_, {.ttl_ms = 0}).keep(key_, "a").error().message, "ttl_ms is 0; it must be at least 1");
}

}  // namespace
}  // namespace tidelock
