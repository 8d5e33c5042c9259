// One suite for every kind of server, against the real one.
#include "store/remote/cache_link.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "store/remote/cache_server_fixture.h"

namespace tidelock {
namespace {

class CacheLinkTest : public testing::TestWithParam<CacheKind> {
 protected:
  void SetUp() override {
    if (!installed(CacheServer::program(GetParam()))) GTEST_SKIP() << CacheServer::missing(GetParam());
    server_.run();
    link_ = connect();
  }
  std::unique_ptr<CacheLink> connect(const std::string& space = "tidelock1:edge-1") {
    auto link = server_.connect(space);
    EXPECT_TRUE(link) << link.error().message;
    return std::move(*link);
  }
  std::string value(const std::string& key) { return value(*link_, key); }
  static std::string value(CacheLink& link, const std::string& key) {
    const auto found = link.get(key, 5 * kSecond);
    if (!found) return "error: " + found.error().message;
    return *found ? **found : "(none)";
  }
  std::size_t write(const std::vector<CacheWrite>& writes) {
    const auto refused = link_->write(writes, 5 * kSecond);
    EXPECT_TRUE(refused) << refused.error().message;
    return refused.value_or(999);
  }
  CacheServer server_{GetParam()};
  std::unique_ptr<CacheLink> link_;
};

TEST_P(CacheLinkTest, KeepsAnyBytes) {
  Bytes all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const struct {
    const char* why;
    Bytes key, value;
  } cases[] = {
      {"plain", "k", "v"},
      {"empty value", "empty", ""},
      {"every byte in both", all, all},
      {"protocol in both", "a b\r\nget x\r\n", "END\r\nSTORED\r\nVALUE x 0 1\r\n$-1\r\n"},
      {"a long key", Bytes(60'000, 'k'), "long"},
      {"a large value", "large", Bytes(900'000, 'x') + "y"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(value(c.key), "(none)") << c.why;
    EXPECT_EQ(write({{c.key, c.value}}), 0u) << c.why;
  }
  for (const auto& c : cases) EXPECT_EQ(value(c.key), c.value) << c.why;
}

TEST_P(CacheLinkTest, ABatchCountsInItsOrder) {
  EXPECT_EQ(
      write({{"a", "1"}, {"b", "1"}, {"a", std::nullopt}, {"c", "1"}, {"c", "2"}, {"b", std::nullopt}, {"b", "3"}}),
      0u);
  EXPECT_EQ(value("a"), "(none)");
  EXPECT_EQ(value("b"), "3");
  EXPECT_EQ(value("c"), "2");
  EXPECT_EQ(write({{"never there", std::nullopt}}), 0u);
}

TEST_P(CacheLinkTest, ABatchLargerThanTheSocketsGoesThrough) {
  std::vector<CacheWrite> writes;
  Rng rng(3);
  for (int i = 0; i < 20'000; ++i) writes.push_back({"k" + std::to_string(i), Bytes(rng.below(500), 'v')});
  EXPECT_EQ(write(writes), 0u);
  for (int i = 0; i < 20'000; i += 997)
    EXPECT_EQ(value("k" + std::to_string(i)), *writes[static_cast<std::size_t>(i)].value);
}

TEST_P(CacheLinkTest, TouchesNothingOfOthers) {
  const auto other = connect("tidelock1:edge-2");
  ASSERT_TRUE(other->write({{"k", "theirs"}}, 5 * kSecond));
  EXPECT_EQ(value("k"), "(none)");
  write({{"k", "ours"}});
  EXPECT_EQ(value(*other, "k"), "theirs");
  write({{"k", std::nullopt}});
  EXPECT_EQ(value(*other, "k"), "theirs");
}

TEST_P(CacheLinkTest, GivesTheBytesOfAnExpiredValueBack) {
  write({{"short", "v", kSecond}, {"long", "v", 3600 * kSecond}, {"very long", "v", Nanos{400} * 24 * 3600 * kSecond}});
  EXPECT_EQ(value("long"), "v");
  EXPECT_EQ(value("very long"), "v");
  EXPECT_TRUE(comes_true([&] { return value("short") == "(none)"; }));
}

TEST_P(CacheLinkTest, WhatIsRefusedLeavesNothingOld) {
  if (GetParam() == CacheKind::kRedis) {
    server_.kill();
    server_.run({"--maxmemory", "2mb", "--maxmemory-policy", "noeviction"});
    link_ = connect();
  }
  ASSERT_EQ(write({{"k", "old"}}), 0u);
  std::vector<CacheWrite> writes;
  for (int i = 0; i < 4; ++i) writes.push_back({"fill" + std::to_string(i), Bytes(2u << 20, 'f')});
  writes.push_back({"k", Bytes(2u << 20, 'n')});
  EXPECT_GE(write(writes), 1u);
  EXPECT_EQ(value("k"), "(none)") << "neither the old one nor half of the new one";
}

TEST_P(CacheLinkTest, AServerThatHangsOrGoesIsAnErrorInTime) {
  const ElapsedClock clock;
  server_.hang();
  const Nanos asked = clock.now();
  const auto late = link_->get("k", 5 * kMillisecond);
  const Nanos waited = clock.now() - asked;
  server_.go_on();
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kUnavailable) << late.error().message;
  EXPECT_GE(waited, 5 * kMillisecond);
  link_ = connect();
  server_.kill();
  EXPECT_EQ(link_->get("k", kSecond).error().code, Code::kUnavailable);
  EXPECT_EQ(server_.connect().error().code, Code::kUnavailable);
}

INSTANTIATE_TEST_SUITE_P(Servers, CacheLinkTest, testing::Values(CacheKind::kRedis, CacheKind::kMemcached), cache_name);

TEST(RedisLink, AWrongPasswordIsDenied) {
  if (!installed("redis-server")) GTEST_SKIP() << CacheServer::missing(CacheKind::kRedis);
  CacheServer server(CacheKind::kRedis);
  server.run();
  CacheAddress address{"unix:" + server.socket(), "wrong", "tidelock1:edge-1"};
  const auto link = connect_redis(address);
  ASSERT_FALSE(link);
  EXPECT_NE(link.error().message.find("AUTH"), std::string::npos) << link.error().message;
}

}  // namespace
}  // namespace tidelock
