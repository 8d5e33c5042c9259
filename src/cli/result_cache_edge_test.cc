// Results of models between two clients of one real edge, each with a cache and mappings of its own: nothing is
// scripted here.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cli/config.h"
#include "cli/dev.h"
#include "edge/edge.h"
#include "store/models/test_folder.h"
#include "tidelock/array_view.h"
#include "tidelock/result_cache.h"

namespace tidelock {
namespace {

class ResultsOfARealEdge : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(make_dev_cluster({folder_.path() + "/cluster", 1, 1, 1}));
    auto settings = read_edge_config(folder_.path() + "/cluster/edge-1/edge.toml");
    ASSERT_TRUE(settings) << settings.error().message;
    settings->edge.arena_bytes = 4u << 20;
    run_dir_ = settings->edge.run_dir;
    auto edge = Edge::start(settings->edge);  // no hub: results are of this gateway alone
    ASSERT_TRUE(edge) << edge.error().message;
    edge_ = std::move(*edge);
  }
  std::unique_ptr<Client> client() const {
    ClientOptions options;
    options.run_dir = run_dir_;
    auto made = Client::connect(options);
    EXPECT_TRUE(made) << made.error().message;
    return made ? std::move(*made) : nullptr;
  }
  static ModelReceipt model(char digest) {
    ModelReceipt receipt;
    receipt.digest = std::string(32, digest);
    return receipt;
  }
  const TestFolder folder_;
  std::string run_dir_;
  std::unique_ptr<Edge> edge_;
};

TEST_F(ResultsOfARealEdge, WhatOneKeptTheOtherFindsInTheArena) {
  const auto first = client(), second = client();
  ASSERT_TRUE(first && second);
  ResultCache kept(*first, {}), found(*second, {});
  const std::vector<float> numbers(2'000, 0.5f);
  const std::string result(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float));
  const auto key = result_key(model('a'), "letterbox", "frame 1");
  ASSERT_TRUE(key);
  ValueRef value;
  EXPECT_EQ(found.find(*key, value).error().code, Code::kNotFound);
  const auto stored = kept.keep(*key, result);
  ASSERT_TRUE(stored) << stored.error().message;

  const ClientStats before = second->stats();
  const auto receipt = found.find(*key, value);
  ASSERT_TRUE(receipt) << receipt.error().message;
  EXPECT_EQ(receipt->source, Source::kArena);
  EXPECT_EQ(receipt->basis, Basis::kLocal);
  EXPECT_EQ(value.bytes(), result);
  EXPECT_EQ(second->stats().edge_reads, before.edge_reads) << "the edge was not asked";
  const auto tensor = AnyArrayView::over(value.bytes(), DType::kF32, {50, 40});
  ASSERT_TRUE(tensor) << tensor.error().message;
  EXPECT_EQ(tensor->at({49, 39}), 0.5);
  const auto sum = second->get_in_place(*key, {}, [](std::string_view bytes) { return bytes.size(); });
  ASSERT_TRUE(sum) << sum.error().message;
  EXPECT_EQ(sum->result, result.size());

  // Another version, another preprocessing, another input: never the result of this one.
  for (const auto& other : {result_key(model('b'), "letterbox", "frame 1"), result_key(model('a'), "crop", "frame 1"),
                            result_key(model('a'), "letterbox", "frame 2")}) {
    ASSERT_TRUE(other);
    EXPECT_EQ(found.find(*other, value).error().code, Code::kNotFound);
  }
}

TEST_F(ResultsOfARealEdge, WhatWasEvictedIsFoundBelowOrComputedAgainButNeverWrong) {
  const auto first = client(), second = client();
  ASSERT_TRUE(first && second);
  ResultCache kept(*first, {}), found(*second, {});
  const auto key_of = [&](int i) { return *result_key(model('a'), "", "frame " + std::to_string(i)); };
  const auto result_of = [](int i) { return std::string(20'000, static_cast<char>('a' + i % 26)) + std::to_string(i); };
  constexpr int kResults = 400;  // twice what the arena can hold
  for (int i = 0; i < kResults; ++i) {
    const auto stored = kept.keep(key_of(i), result_of(i));
    ASSERT_TRUE(stored) << i << ": " << stored.error().message;
  }
  int right = 0;
  for (int i = 0; i < kResults; ++i) {
    ValueRef value;
    const auto receipt = found.find(key_of(i), value);
    if (!receipt) {
      ASSERT_EQ(receipt.error().code, Code::kNotFound) << receipt.error().message;
      continue;
    }
    ASSERT_EQ(value.bytes(), result_of(i));
    ++right;
  }
  EXPECT_GT(right, 0);
  EXPECT_LT(second->stats().arena_hits, static_cast<std::uint64_t>(kResults)) << "some had left the arena";
  const auto stored = kept.keep(key_of(0), result_of(0));
  ASSERT_TRUE(stored) << stored.error().message;
  ValueRef value;
  ASSERT_TRUE(found.find(key_of(0), value));
  EXPECT_EQ(value.bytes(), result_of(0));
}

}  // namespace
}  // namespace tidelock
