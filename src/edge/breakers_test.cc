// What apps tell of their frames opens and closes the breaker that every app of the gateway sees in the page (M10).
#include "edge/breakers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "store/models/test_folder.h"

namespace tidelock {
namespace {

using Verdict = HealthSample::Verdict;

HealthSample sample(Verdict verdict, std::uint64_t count, std::optional<std::uint64_t> latency_us = {},
                    const std::string& model = "detector") {
  return {model, "1.0.0", verdict, count, latency_us, {}};
}

class BreakersTest : public testing::Test {
 protected:
  BreakersTest() {
    settings_.late_after_ns = 100 * kMillisecond;
    PageOptions options;
    options.path = folder_.path() + "/page";
    options.edge_boot = Boot{7};
    options.namespaces = namespaces_;
    page_.emplace(std::move(*PageWriter::create(options)));
    breakers_ = std::make_unique<Breakers>(settings_, *page_, metrics_, [this](Nanos at) { wake_at_ = at; });
  }
  Breaker shown(const std::string& key = "model:detector:current@default") const {
    return page_->view().breaker(namespace_number(namespaces_, key));
  }
  void told(Nanos now, const HealthSample& what) { breakers_->told(namespaces_, what, now); }

  TestFolder folder_;
  Metrics metrics_;
  BreakerSettings settings_;
  std::vector<Namespace> namespaces_ = default_namespaces();
  std::optional<PageWriter> page_;
  std::unique_ptr<Breakers> breakers_;
  Nanos wake_at_ = kForever;
};

TEST_F(BreakersTest, EveryAppSeesItInThePage) {
  EXPECT_EQ(breakers_->json(), "{}") << "nobody has told anything";
  told(0, sample(Verdict::kOk, 10, 99'999));
  EXPECT_EQ(breakers_->json(),
            "{\"model:\":{\"state\":\"closed\",\"opened\":0,\"frames\":10,\"failed\":0,\"late\":0,\"why\":\"\"}}");
  told(0, sample(Verdict::kSick, 1));
  told(1 * kSecond, sample(Verdict::kOk, 5, 100'000));
  told(1 * kSecond, sample(Verdict::kBad, 3, 200'000));
  EXPECT_EQ(breakers_->json(),
            "{\"model:\":{\"state\":\"closed\",\"opened\":0,\"frames\":18,\"failed\":3,\"late\":5,\"why\":\"\"}}");
  EXPECT_EQ(wake_at_, kForever);
  told(2 * kSecond, sample(Verdict::kBad, 15));
  EXPECT_EQ(shown(), Breaker::kOpen);
  EXPECT_EQ(shown("feature:x"), Breaker::kClosed) << "each namespace has its own";
  EXPECT_EQ(breakers_->open(), 1u);
  EXPECT_NE(breakers_->json().find("\"why\":\"18 of 33 frames failed\""), std::string::npos) << breakers_->json();
  EXPECT_EQ(wake_at_, 7 * kSecond);
  EXPECT_NE(metrics_.expose().find("tidelock_edge_breaker_state{namespace=\"model:\"} 1\n"), std::string::npos);
  EXPECT_NE(metrics_.expose().find("tidelock_edge_breaker_opened_total{namespace=\"model:\"} 1\n"), std::string::npos);
  breakers_->tick(7 * kSecond);
  EXPECT_EQ(shown(), Breaker::kHalfOpen);
  EXPECT_EQ(wake_at_, 7 * kSecond + std::max(settings_.window_ns, settings_.open_ns));
  told(8 * kSecond, sample(Verdict::kOk, 5, 10'000));
  EXPECT_EQ(shown(), Breaker::kClosed);
  EXPECT_EQ(breakers_->open(), 0u);
  EXPECT_NE(metrics_.expose().find("tidelock_edge_breaker_state{namespace=\"model:\"} 0\n"), std::string::npos);
}

TEST_F(BreakersTest, WithoutADeadlineNoFrameIsLate) {
  settings_.late_after_ns = 0;
  breakers_ = std::make_unique<Breakers>(settings_, *page_, metrics_, [](Nanos) {});
  told(0, sample(Verdict::kOk, 100, 3'600'000'000));
  EXPECT_EQ(shown(), Breaker::kClosed);
}

TEST_F(BreakersTest, AnotherVersionInForceIsGivenAChanceAtOnce) {  // M5
  breakers_->renewed(namespaces_, "detector", 0);
  EXPECT_EQ(breakers_->json(), "{}") << "no breaker is made for it";
  told(0, sample(Verdict::kBad, 20));
  ASSERT_EQ(shown(), Breaker::kOpen);
  breakers_->renewed(namespaces_, "detector", 1 * kSecond);
  EXPECT_EQ(shown(), Breaker::kHalfOpen);
}

TEST_F(BreakersTest, ItFollowsItsNamespaceToAnotherNumberInThePage) {
  Namespace own;
  own.prefix = "model:slow:";
  namespaces_.insert(namespaces_.begin(), own);
  ASSERT_TRUE(page_->set_policies(namespaces_, {}));
  told(0, sample(Verdict::kBad, 20, {}, "slow"));
  told(1 * kSecond, sample(Verdict::kBad, 20));
  ASSERT_EQ(shown("model:slow:current@default"), Breaker::kOpen);
  ASSERT_EQ(shown(), Breaker::kOpen);
  EXPECT_EQ(wake_at_, 5 * kSecond) << "the first of both";
  namespaces_.erase(namespaces_.begin());
  ASSERT_TRUE(page_->set_policies(namespaces_, {}));
  breakers_->place(namespaces_);
  EXPECT_EQ(shown(), Breaker::kOpen);
  for (const std::string key : {"feature:x", "config:x", "bulk:x", "other"})
    EXPECT_EQ(shown(key), Breaker::kClosed) << key;
  EXPECT_EQ(breakers_->open(), 1u) << "the other one's namespace is gone";
  EXPECT_NE(metrics_.expose().find("tidelock_edge_breaker_state{namespace=\"model:slow:\"} 0\n"), std::string::npos);
  breakers_->tick(6 * kSecond);
  EXPECT_EQ(shown(), Breaker::kHalfOpen);
}

}  // namespace
}  // namespace tidelock
