// Encoder and reply parser against each other, and the reply parser against hostile servers.
#include "wire/resp/value.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "base/rng.h"
#include "wire/resp/numbers.h"
#include "wire/resp/reply.h"

namespace tidelock {
namespace {

using Status = RespReplyParser::Status;

std::string parse(std::string_view bytes, RespReplyLimits limits = {}) {
  RespReplyParser parser(limits);
  std::string seen;
  RespValue value;
  // Byte by byte: any state between two bytes is a state it must survive.
  for (const char c : bytes) {
    parser.feed({&c, 1});
    Status status;
    while ((status = parser.next(&value)) == Status::kValue) seen += to_text(value) + "\n";
    if (status == Status::kError) return seen + "! " + parser.error();
  }
  RespReplyParser at_once(limits);
  at_once.feed(bytes);
  std::string again;
  while (at_once.next(&value) == Status::kValue) again += to_text(value) + "\n";
  EXPECT_EQ(seen, again);
  return seen;
}

TEST(RespReply, WritesBothProtocols) {
  struct Case {
    const char* why;
    void (*write)(RespReply&);
    const char* resp2;
    const char* resp3;
  };
  const Case cases[] = {
      {"simple", [](RespReply& r) { r.ok(); }, "+OK\r\n", "+OK\r\n"},
      {"line ends inside of an error become blanks", [](RespReply& r) { r.error("ERR a\r\nb"); }, "-ERR a  b\r\n",
       "-ERR a  b\r\n"},
      {"integer", [](RespReply& r) { r.integer(std::numeric_limits<std::int64_t>::min()); },
       ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"},
      {"bulk", [](RespReply& r) { r.bulk("a\r\nb"); }, "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"},
      {"null", [](RespReply& r) { r.null(); }, "$-1\r\n", "_\r\n"},
      {"null array", [](RespReply& r) { r.null_array(); }, "*-1\r\n", "_\r\n"},
      {"array", [](RespReply& r) { r.array(0); }, "*0\r\n", "*0\r\n"},
      {"map", [](RespReply& r) { r.map(2); }, "*4\r\n", "%2\r\n"},
      {"set", [](RespReply& r) { r.set(2); }, "*2\r\n", "~2\r\n"},
      {"push", [](RespReply& r) { r.push(3); }, "*3\r\n", ">3\r\n"},
      {"double", [](RespReply& r) { r.number(0.1); }, "$3\r\n0.1\r\n", ",0.1\r\n"},
      {"infinity", [](RespReply& r) { r.number(-INFINITY); }, "$4\r\n-inf\r\n", ",-inf\r\n"},
      {"boolean", [](RespReply& r) { r.boolean(true); }, ":1\r\n", "#t\r\n"},
      {"verbatim", [](RespReply& r) { r.verbatim("txt", "hi"); }, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"},
      {"attribute",
       [](RespReply& r) {
         if (r.attribute(1)) r.null(), r.null();
         r.ok();
       },
       "+OK\r\n", "|1\r\n_\r\n_\r\n+OK\r\n"},
  };
  for (const Case& c : cases) {
    std::string two, three;
    RespReply reply2(two, 2), reply3(three, 3);
    c.write(reply2);
    c.write(reply3);
    EXPECT_EQ(two, c.resp2) << c.why;
    EXPECT_EQ(three, c.resp3) << c.why;
  }
}

TEST(RespReplyParser, ReadsEveryType) {
  struct Case {
    const char* bytes;
    const char* expected;
  };
  const Case cases[] = {
      {"+OK\r\n-ERR no\r\n:12\r\n", "OK\n(error) ERR no\n12\n"},
      {"$3\r\na\nb\r\n$-1\r\n*-1\r\n_\r\n", "\"a\\nb\"\nnull\nnull\nnull\n"},
      {"*2\r\n:1\r\n*1\r\n+x\r\n", "[1, [x]]\n"},
      {"%1\r\n+k\r\n,1.5\r\n~1\r\n#t\r\n", "{k: 1.5}\n{true}\n"},
      {"=6\r\ntxt:hi\r\n(123456789012345678901\r\n!5\r\nERR x\r\n", "\"hi\"\n123456789012345678901\n(error) ERR x\n"},
      {">1\r\n+p\r\n*0\r\n%0\r\n", "[p]\n[]\n{}\n"},
      {"|1\r\n+a\r\n:1\r\n*1\r\n|0\r\n|1\r\n+b\r\n:2\r\n:7\r\n", "[7]\n"},
      {",inf\r\n,-inf\r\n,1e3\r\n", "inf\n-inf\n1000\n"},
  };
  for (const Case& c : cases) EXPECT_EQ(parse(c.bytes), c.expected) << c.bytes;
}

TEST(RespReplyParser, HostileRepliesAreRefused) {  // X6, X7
  const RespReplyLimits limits{.depth_max = 3, .elements_max = 10, .bytes_max = 100};
  struct Case {
    const char* why;
    std::string bytes;
    const char* says;
  };
  const Case cases[] = {
      {"unknown type", "@1\r\n", "an unknown type byte 64"},
      {"too deep", "*1\r\n*1\r\n*1\r\n*1\r\n", "nested deeper than 3"},
      {"too many at once", "*11\r\n", "more than 10 elements"},
      {"too many together", "*5\r\n*5\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n*1\r\n", "more than 10 elements"},
      {"a map's count doubles", "%6\r\n", "more than 10 elements"},
      {"a count that would overflow when doubled", "%9223372036854775807\r\n", "more than 10 elements"},
      {"too long", "$101\r\n", "longer than 100 bytes"},
      {"long together", "*3\r\n$60\r\n" + std::string(60, 'a') + "\r\n$60\r\n", "longer than 100 bytes"},
      {"negative bulk", "$-2\r\n", "an invalid bulk length"},
      {"negative array", "*-2\r\n", "an invalid element count"},
      {"streamed aggregates are not spoken", "*?\r\n", "an invalid element count"},
      {"integer beyond 64 bits", ":9223372036854775808\r\n", "an integer that is none"},
      {"minus zero", ":-0\r\n", "an integer that is none"},
      {"bulk without its end", "$1\r\nabc\r\n", "does not end with CRLF"},
      {"CR without LF", "+OK\rX", "CR without LF"},
      {"boolean", "#x\r\n", "a boolean"},
      {"double", ",1.5x\r\n", "a double"},
      {"null with content", "_x\r\n", "a null with content"},
      {"verbatim without a format", "=2\r\nab\r\n", "a verbatim string"},
      {"an endless line", "+" + std::string((64u << 10) + 1, 'a'), "a line longer"},
  };
  for (const Case& c : cases) {
    const std::string seen = parse(c.bytes, limits);
    EXPECT_NE(seen.find("! reply is not RESP"), std::string::npos) << c.why << ": " << seen;
    EXPECT_NE(seen.find(c.says), std::string::npos) << c.why << ": " << seen;
  }
}

RespValue any_value(Rng& rng, int depth) {
  RespValue v;
  switch (rng.below(depth > 0 ? 9 : 6)) {
    case 0: v.type = RespType::kNull; break;
    case 1:
      v.type = RespType::kSimple;
      v.text = "simple";
      break;
    case 2:
      v.type = RespType::kInteger;
      v.integer = static_cast<std::int64_t>(rng.next());
      break;
    case 3:
      v.type = RespType::kDouble;
      v.number = static_cast<double>(rng.next()) / 7;
      break;
    case 4:
      v.type = RespType::kBoolean;
      v.integer = static_cast<std::int64_t>(rng.below(2));
      break;
    case 5:
      v.type = RespType::kBulk;
      v.text = std::string(rng.below(20), '\r');
      break;
    case 6: v.type = RespType::kArray; break;
    case 7: v.type = RespType::kSet; break;
    default: v.type = RespType::kMap; break;
  }
  if (v.type >= RespType::kArray) {
    std::uint64_t count = rng.below(4) * (v.type == RespType::kMap ? 2 : 1);
    for (; count > 0; --count) v.elements.push_back(any_value(rng, depth - 1));
  }
  return v;
}

void write(const RespValue& v, RespReply& reply) {
  switch (v.type) {
    case RespType::kNull: reply.null(); break;
    case RespType::kSimple: reply.simple(v.text); break;
    case RespType::kInteger: reply.integer(v.integer); break;
    case RespType::kDouble: reply.number(v.number); break;
    case RespType::kBoolean: reply.boolean(v.integer != 0); break;
    case RespType::kBulk: reply.bulk(v.text); break;
    case RespType::kSet: reply.set(v.elements.size()); break;
    case RespType::kMap: reply.map(v.elements.size() / 2); break;
    default: reply.array(v.elements.size()); break;
  }
  for (const RespValue& element : v.elements) write(element, reply);
}

TEST(RespReplyParser, ReadsBackWhatTheEncoderWrote) {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    Rng rng(seed);
    const RespValue sent = any_value(rng, 5);
    std::string bytes;
    RespReply reply(bytes, 3);
    write(sent, reply);
    RespReplyParser parser;
    RespValue got;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t size = 1 + rng.below(9);
      parser.feed(std::string_view(bytes).substr(at, size));
      at += size;
      const Status status = parser.next(&got);
      ASSERT_EQ(status, at < bytes.size() ? Status::kNeedMore : Status::kValue) << "seed " << seed;
    }
    ASSERT_EQ(got, sent) << "seed " << seed;
  }
}

TEST(RespNumbers, IntegersAsRedisReadsThem) {
  struct Case {
    const char* text;
    bool good;
    std::int64_t value;
  };
  const Case cases[] = {{"0", true, 0},
                        {"-1", true, -1},
                        {"9223372036854775807", true, std::numeric_limits<std::int64_t>::max()},
                        {"-9223372036854775808", true, std::numeric_limits<std::int64_t>::min()},
                        {"9223372036854775808", false, 0},
                        {"-9223372036854775809", false, 0},
                        {"99999999999999999999", false, 0},
                        {"999999999999999999999", false, 0},
                        {"", false, 0},
                        {"-", false, 0},
                        {"-0", false, 0},
                        {"+1", false, 0},
                        {"007", false, 0},
                        {" 1", false, 0},
                        {"1 ", false, 0},
                        {"0x10", false, 0},
                        {"1.5", false, 0}};
  for (const Case& c : cases) {
    const auto value = parse_resp_integer(c.text);
    EXPECT_EQ(value.has_value(), c.good) << c.text;
    if (value && c.good) {
      EXPECT_EQ(*value, c.value);
    }
  }
}

TEST(RespNumbers, ConstantTimeEqualIsEqual) {  // X4
  EXPECT_TRUE(constant_time_equal("secret", "secret"));
  EXPECT_TRUE(constant_time_equal("", ""));
  for (const char* wrong : {"", "s", "secre", "secret1", "secretsecret", "Secret", "secreT"}) {
    EXPECT_FALSE(constant_time_equal(wrong, "secret")) << wrong;
  }
  EXPECT_FALSE(constant_time_equal("x", ""));
}

}  // namespace
}  // namespace tidelock
