#include "edge/tl_reply.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "codec/typed_value.h"
#include "wire/resp/value.h"

namespace tidelock {
namespace {

using Words = std::vector<std::string_view>;

TEST(TlGet, Options) {
  struct Case {
    const char* why;
    Words args;
    Contract contract;
  };
  const Case cases[] = {
      {"the namespace's default", {"TL.GET", "k"}, {}},
      {"strong", {"TL.GET", "k", "strong"}, {Consistency::kStrong, {}, {}, {}}},
      {"a bound and a deadline",
       {"TL.GET", "k", "BOUND", "500", "DEADLINE", "0"},
       {Consistency::kBounded, 500 * kMillisecond, 0, {}}},
      {"F10: a session token", {"TL.GET", "k", "EVENTUAL", "TOKEN", "77"}, {Consistency::kEventual, {}, {}, Index{77}}},
  };
  for (const Case& c : cases) {
    const auto get = parse_tl_get(c.args);
    ASSERT_TRUE(get) << c.why;
    EXPECT_EQ(get->key, "k") << c.why;
    EXPECT_EQ(get->contract, c.contract) << c.why;
  }
}

TEST(TlGet, RefusesWithTheFieldAndWhatWouldBeRight) {
  const std::pair<Words, std::string> cases[] = {
      {{"TL.GET"}, "ERR wrong number of arguments for 'tl.get' command"},
      {{"TL.GET", "k", "BOUND"}, "ERR syntax error: BOUND needs a number"},
      {{"TL.GET", "k", "BOUND", "-1"}, "ERR BOUND '-1' must be an integer, at least 0"},
      {{"TL.GET", "k", "BOUND", "soon"}, "ERR BOUND 'soon' must be an integer, at least 0"},
      {{"TL.GET", "k", "STRONG", "EVENTUAL"}, "ERR syntax error: one of STRONG, EVENTUAL and BOUND"},
      {{"TL.GET", "k", "FAST"},
       "ERR syntax error: unknown option 'FAST', must be STRONG, EVENTUAL, BOUND ms, DEADLINE ms or TOKEN index"},
      {{"TL.GET", "k", "FIELDS"}, "ERR syntax error: FIELDS needs the names of fields"},
  };
  for (const auto& [args, text] : cases) {
    const auto get = parse_tl_get(args);
    ASSERT_FALSE(get) << text;
    EXPECT_EQ(get.error().message, text);
  }
}

TEST(TlMGet, OptionsComeBeforeKeys) {
  const auto get = parse_tl_mget(Words{"TL.MGET", "BOUND", "500", "TOKEN", "7", "keys", "a", "KEYS", "STRONG"});
  ASSERT_TRUE(get);
  EXPECT_EQ(get->contract, (Contract{Consistency::kBounded, 500 * kMillisecond, {}, Index{7}}));
  EXPECT_EQ(Words(get->keys.begin(), get->keys.end()), (Words{"a", "KEYS", "STRONG"})) << "after KEYS all are keys";
  const std::string no_keys = "ERR syntax error: KEYS and at least one key must follow the options";
  const std::pair<Words, std::string> cases[] = {
      {{"TL.MGET", "STRONG"}, no_keys},
      {{"TL.MGET", "STRONG", "KEYS"}, no_keys},
      {{"TL.MGET", "STRONG", "EVENTUAL", "KEYS", "a"}, "ERR syntax error: one of STRONG, EVENTUAL and BOUND"},
      {{"TL.MGET", "BOUND", "KEYS", "a"}, "ERR BOUND 'KEYS' must be an integer, at least 0"},
  };
  for (const auto& [args, text] : cases) {
    const auto refused = parse_tl_mget(args);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().message, text);
  }
  Words many(kTlMGetKeysMax + 2, "k");
  many[1] = "KEYS";
  EXPECT_TRUE(parse_tl_mget(many));
  many.push_back("k");
  EXPECT_EQ(parse_tl_mget(many).error().message, "ERR 4097 keys are too many for one TL.MGET, must be at most 4096");
}

TEST(TlSet, Options) {
  const Words args = {"TL.SET", "k", "v", "ACK", "origin", "PX", "1500"};
  const auto set = parse_tl_set(args);
  ASSERT_TRUE(set);
  EXPECT_EQ(set->ttl_ms, 1500);
  EXPECT_EQ(set->level, AckLevel::kOrigin);
  for (const Words& wrong :
       {Words{"TL.SET", "k"}, Words{"TL.SET", "k", "v", "PX", "0"}, Words{"TL.SET", "k", "v", "ACK", "moon"},
        Words{"TL.SET", "k", "v", "ACK"}, Words{"TL.SET", "k", "v", "EX", "1"}}) {
    EXPECT_FALSE(parse_tl_set(wrong));
  }
}

RespValue parsed(const std::string& bytes) {
  RespReplyParser parser;
  parser.feed(bytes);
  RespValue value;
  EXPECT_EQ(parser.next(&value), RespReplyParser::Status::kValue);
  return value;
}

TEST(TlReply, CarriesTheWholeReceipt) {  // F6
  ReadDone done;
  done.value = "v";
  done.ttl_left_ns = 1'500'001;
  done.receipt = {Index{41}, 1001, 3 * kSecond, Basis::kProof, Source::kHub, true};
  for (const int protocol : {2, 3}) {
    std::string out;
    RespReply reply(out, protocol);
    write_tl_get(done, reply);
    const RespValue value = parsed(out);
    EXPECT_EQ(value.find("value")->text, "v");
    EXPECT_EQ(value.find("version")->integer, 41);
    EXPECT_EQ(value.find("bound_us")->integer, 2) << "rounded up: never smaller than the truth";
    EXPECT_EQ(value.find("basis")->text, "proof");
    EXPECT_EQ(value.find("source")->text, "hub");
    EXPECT_EQ(value.find("fallback")->integer, 1);
    EXPECT_EQ(value.find("writers_ms")->integer, 3000);
    EXPECT_EQ(value.find("ttl_ms")->integer, 2);
  }
}

TEST(TlReply, AHashIsNoValueOfTlGet) {
  ReadDone done;
  done.value = Bytes(kTypedValueMark) + "h";
  std::string out;
  RespReply reply(out, 3);
  write_tl_get(done, reply);
  EXPECT_EQ(parsed(out).text, kWrongTypeError);
}

TEST(TlReply, AnAttributeIsForResp3Only) {
  std::string out;
  RespReply two(out, 2);
  write_receipt_attribute({}, two);
  EXPECT_EQ(out, "");
  RespReply three(out, 3);
  write_receipt_attribute({}, three);
  EXPECT_TRUE(out.starts_with("|7\r\n$7\r\nversion\r\n:0\r\n$8\r\nbound_us\r\n:-1\r\n")) << out;
}

TEST(TlReply, AbsenceHasAReceiptAndUnboundedIsMinusOne) {
  ReadDone done;
  done.code = Code::kNotFound;
  done.receipt.writers_ns = kForever;
  std::string out;
  RespReply reply(out, 3);
  write_tl_get(done, reply);
  const RespValue value = parsed(out);
  EXPECT_TRUE(value.find("value")->is_null());
  EXPECT_EQ(value.find("bound_us")->integer, -1);
  EXPECT_EQ(value.find("writers_ms")->integer, -1);
  EXPECT_EQ(value.find("ttl_ms")->integer, -1);
}

TEST(TlReply, ErrorsHaveTheirWord) {
  const std::tuple<Code, Nanos, std::string> cases[] = {
      {Code::kStale, 1500, "STALE bound_us=2 why"},
      {Code::kStale, kForever, "STALE bound_us=-1 why"},
      {Code::kBusy, 0, "BUSY why"},
      {Code::kUnavailable, 0, "UNAVAILABLE why"},
      {Code::kMaybeApplied, 0, "MAYBEAPPLIED why"},
      {Code::kDenied, 0, "NOPERM why"},
      {Code::kConflict, 0, "CONFLICT why"},
      {Code::kInvalid, 0, "ERR why"},
  };
  for (const auto& [code, bound, text] : cases) EXPECT_EQ(error_reply(code, "why", bound), text);
}

TEST(TlReply, DurationsFromOutsideAreCapped) {
  EXPECT_EQ(duration_of_ms(1500), 1500 * kMillisecond);
  EXPECT_GT(duration_of_ms(std::numeric_limits<std::int64_t>::max()), 50LL * 365 * 24 * 3600 * kSecond);
  EXPECT_LT(duration_of_ms(std::numeric_limits<std::int64_t>::max()), kForever / 2);
}

}  // namespace
}  // namespace tidelock
