#include "wire/resp/slow_log.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidelock {
namespace {

using Words = std::vector<std::string>;

Words cut(const Words& words) {
  const std::vector<std::string_view> args(words.begin(), words.end());
  return SlowLog::cut(args);
}

TEST(SlowLog, CutsAsRedis) {
  Words many{"MGET"};
  for (int i = 0; i < 40; ++i) many.push_back("k" + std::to_string(i));
  const Words kept = cut(many);
  ASSERT_EQ(kept.size(), 32u);
  EXPECT_EQ(kept[30], "k29");
  EXPECT_EQ(kept[31], "... (10 more arguments)");
  EXPECT_EQ(cut(Words(32, "x")).back(), "x");
  EXPECT_EQ(cut({"SET", "k", std::string(200, 'x')})[2], std::string(128, 'x') + "... (72 more bytes)");
  EXPECT_EQ(cut({"SET", "k", std::string(128, 'x')})[2], std::string(128, 'x'));
}

TEST(SlowLog, KeepsNoSecrets) {
  const std::string r = "(redacted)";
  const std::pair<Words, Words> cases[] = {
      {{"AUTH", "foo"}, {"AUTH", r}},
      {{"auth", "foo", "bar"}, {"auth", r, r}},
      {{"HELLO", "3", "AUTH", "u", "p", "SETNAME", "q"}, {"HELLO", "3", "AUTH", r, r, "SETNAME", "q"}},
      {{"ACL", "SETUSER", "foo", ">bar"}, {"ACL", "SETUSER", r, r}},
      {{"ACL", "GETUSER", "foo"}, {"ACL", "GETUSER", "foo"}},
      {{"CONFIG", "SET", "requirepass", "x", "maxclients", "9"},
       {"CONFIG", "SET", "requirepass", r, "maxclients", "9"}},
      {{"config", "set", "timeout", "9", "REQUIREPASS", "x"}, {"config", "set", "timeout", "9", "REQUIREPASS", r}},
      {{"SET", "requirepass", "x"}, {"SET", "requirepass", "x"}},
  };
  for (const auto& [given, kept] : cases) EXPECT_EQ(cut(given), kept) << given[0];
}

TEST(SlowLog, TheOldestGo) {
  SlowLog log;
  log.length_max = 2;
  for (int i = 0; i < 3; ++i) log.add({});
  ASSERT_EQ(log.entries().size(), 2u);
  EXPECT_EQ(log.entries()[0].id, 2u);
  EXPECT_EQ(log.entries()[1].id, 1u);
  log.length_max = 1;
  log.trim();
  EXPECT_EQ(log.entries().size(), 1u);
  log.reset();
  log.add({});
  EXPECT_EQ(log.entries()[0].id, 3u);  // numbers go on
  log.length_max = 1u << 30;
  SlowLogEntry large;
  large.args.emplace_back(std::string(SlowLog::kBytesMax / 4, 'x'));
  for (int i = 0; i < 10; ++i) log.add(large);
  EXPECT_LT(log.entries().size(), 5u);  // bytes are bounded too
  EXPECT_GT(log.entries().size(), 1u);
}

TEST(SlowLog, WantsByMicroseconds) {
  SlowLog log;
  EXPECT_FALSE(log.wants(9'999'999));
  EXPECT_TRUE(log.wants(10'000'000));
  log.slower_than_us = 0;
  EXPECT_TRUE(log.wants(0));
  log.slower_than_us = -1;
  EXPECT_FALSE(log.wants(kForever));
}

}  // namespace
}  // namespace tidelock
