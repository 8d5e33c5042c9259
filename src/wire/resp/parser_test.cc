#include "wire/resp/parser.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "base/rng.h"
#include "wire/resp/heap_count.h"
#include "wire/resp/reply.h"

namespace {
thread_local std::uint64_t allocations = 0;
}
std::uint64_t tidelock::heap_allocations() { return allocations; }
// Counts what this thread takes from the heap. The thread sanitizer has operators of its own.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TIDELOCK_HEAP_NOT_COUNTED
#endif
#endif
#ifndef TIDELOCK_HEAP_NOT_COUNTED
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](std::size_t size) { return operator new(size); }
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace tidelock {
namespace {

using Status = RespParser::Status;

// Everything a client's bytes lead to: commands one a line, then the error if there is one.
std::string drain(RespParser& parser) {
  std::string seen;
  Status status;
  while ((status = parser.next()) == Status::kCommand) {
    for (const auto arg : parser.args()) seen.append("<").append(arg).append(">");
    seen.append("\n");
  }
  if (status == Status::kError) seen.append("! ").append(parser.error());
  return seen;
}

std::string glance(std::string_view bytes, std::size_t most) {
  RespParser parser;
  parser.feed(bytes);
  std::vector<std::string_view> words(most);
  std::string seen;
  const std::size_t count = parser.upcoming(words);
  for (std::size_t i = 0; i < count; ++i) seen.append("<").append(words[i]).append(">");
  return seen;
}

std::string whole(std::string_view bytes, const RespLimits& limits) {
  RespParser parser(limits);
  parser.feed(bytes);
  return drain(parser);
}

std::string in_pieces(std::string_view bytes, const RespLimits& limits, const std::vector<std::size_t>& cuts) {
  RespParser parser(limits);
  std::string seen;
  std::size_t from = 0;
  for (std::size_t i = 0; i <= cuts.size(); ++i) {
    const std::size_t to = i < cuts.size() ? cuts[i] : bytes.size();
    parser.feed(bytes.substr(from, to - from));
    from = to;
    seen += drain(parser);
    if (seen.find('!') != std::string::npos) return seen;
  }
  return seen;
}

void expect_same_at_every_split(std::string_view bytes, const RespLimits& limits, const std::string& expected,
                                const char* why) {
  EXPECT_EQ(whole(bytes, limits), expected) << why;
  const std::size_t step = bytes.size() > 600 ? bytes.size() / 101 : 1;  // long inputs: a sample, their ends below
  for (std::size_t cut = 1; cut < bytes.size(); cut += step) {
    ASSERT_EQ(in_pieces(bytes, limits, {cut}), expected) << why << ", cut at " << cut;
  }
  if (bytes.size() > 600) {
    for (std::size_t back = 1; back < 8; ++back) {
      ASSERT_EQ(in_pieces(bytes, limits, {bytes.size() - back}), expected)
          << why << ", cut " << back << " before the end";
    }
    return;
  }
  std::vector<std::size_t> every;
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) every.push_back(cut);
  EXPECT_EQ(in_pieces(bytes, limits, every), expected) << why << ", byte by byte";
}

std::string bulk_request(const std::vector<std::string>& args) {
  std::string out;
  const std::vector<std::string_view> views(args.begin(), args.end());
  append_request(out, views.data(), views.size());
  return out;
}

// RELIABILITY 7, RESP; X6, X7. Each at every split.
TEST(RespParser, RefusesWhatRedisRefusesWithItsWords) {
  using namespace std::string_literals;
  struct Case {
    const char* why;
    std::string bytes;
    std::string expected;
  };
  const std::string bad_bulk = "! Protocol error: invalid bulk length";
  const std::string bad_count = "! Protocol error: invalid multibulk length";
  const std::string quotes = "! Protocol error: unbalanced quotes in request";
  const Case cases[] = {
      {"more arguments than an int", "*3000000000\r\n", bad_count},
      {"more arguments than the cap", "*2000000\r\n", bad_count},
      {"a negative count is an empty command", "*-10\r\nPING\r\n", "<PING>\n"},
      {"no arguments", "*0\r\n*-1\r\nPING\r\n", "<PING>\n"},
      {"a count beyond 64 bits", "*9223372036854775808\r\n", bad_count},
      {"2^63 - 1", "*9223372036854775807\r\n", bad_count},
      {"minus zero is no integer", "*-0\r\n", bad_count},
      {"a plus is no integer", "*+1\r\n", bad_count},
      {"leading zero", "*01\r\n", bad_count},
      {"an empty count", "*\r\n", bad_count},
      {"blanks in a count", "* 1\r\n", bad_count},
      {"letters in a count", "*blabla\r\n", bad_count},
      {"negative bulk", "*1\r\n$-10\r\n", bad_bulk},
      {"a null bulk as an argument", "*1\r\n$-1\r\n", bad_bulk},
      {"bulk above the cap", "*1\r\n$2000000000\r\n", bad_bulk},
      {"bulk of letters", "*1\r\n$blabla\r\n", bad_bulk},
      {"bulk length 2^63", "*1\r\n$9223372036854775808\r\n", bad_bulk},
      {"bulk length minus zero", "*1\r\n$-0\r\n", bad_bulk},
      {"no bulk where one was promised", "*1\r\nfoo\r\n", "! Protocol error: expected '$', got 'f'"},
      {"an integer as an argument", "*1\r\n:1\r\n", "! Protocol error: expected '$', got ':'"},
      {"a nested array", "*1\r\n*1\r\n", "! Protocol error: expected '$', got '*'"},
      {"NUL instead of a bulk", "*1\r\n\0"s, "! Protocol error: expected '$', got '\\x00'"},
      {"the second argument is broken", "*2\r\n$3\r\nGET\r\nx", "! Protocol error: expected '$', got 'x'"},
      {"bare LF after a count: no line ends here", "*1\n$4\nPING\n", ""},
      {"CR without LF after a count", "*1\rX", bad_count},
      {"CR without LF after a length", "*1\r\n$4\rX", bad_bulk},
      {"a bulk longer than it said", "*1\r\n$4\r\nPINGS\r\n",
       "! Protocol error: expected CRLF after a bulk of the given length"},
      {"a bulk that ends with a bare CR", "*1\r\n$4\r\nPING\rX",
       "! Protocol error: expected CRLF after a bulk of the given length"},
      {"simple string as a request is an inline command", "+OK\r\n", "<+OK>\n"},
      {"error as a request", "-ERR x\r\n", "<-ERR><x>\n"},
      {"attribute from a client", "|1\r\n", "<|1>\n"},
      {"push from a client", ">1\r\n", "<>1>\n"},
      {"map from a client", "%3\r\n", "<%3>\n"},
      {"a NUL first byte is a name like any other", "\0abc\r\n"s, "<\0abc>\n"s},
      {"unbalanced double quote", "set \"a b\r\n", quotes},
      {"unbalanced single quote", "set 'a b\r\n", quotes},
      {"text right after a closing quote", "set \"a\"b\r\n", quotes},
      {"an escape at the end", "set \"a\\\r\n", quotes},
      {"a lone LF ends an inline command", "PING\n", "<PING>\n"},
      {"empty lines", "\r\n\n  \r\nPING\r\n", "<PING>\n"},
      {"blanks around", "  get\t a  \r\n", "<get><a>\n"},
      {"escapes", "set \"\\x41\\n\\\"\" 'it\\'s' \"\"\r\n", "<set><A\n\"><it's><>\n"},
      {"an unfinished hex escape is plain", "echo \"\\x4\" \"\\xzz\"\r\n", "<echo><x4><xzz>\n"},
      {"quotes inside of a word", "a\"b c\"\r\n", "<ab c>\n"},
      {"CR inside of an inline command is a blank", "get\ra\r\n", "<get><a>\n"},
      {"bytes of any kind in a bulk", "*2\r\n$3\r\nGET\r\n$6\r\na\0\xff\r\nb\r\n"s, "<GET><a\0\xff\r\nb>\n"s},
      {"an empty argument", "*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "<GET><>\n"},
      {"a pipeline of both kinds", "PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n", "<PING>\n<PING>\n<PING>\n"},
      {"good commands before a bad one are served", "PING\r\n*1\r\n$x\r\n", "<PING>\n" + bad_bulk},
  };
  for (const Case& c : cases) expect_same_at_every_split(c.bytes, {}, c.expected, c.why);
}

TEST(RespParser, LinesWithoutAnEndAreRefusedAt64KiB) {
  using namespace std::string_literals;
  struct Case {
    const char* why;
    std::string start;
    std::string expected;
  };
  const Case cases[] = {
      {"inline", "a", "! Protocol error: too big inline request"},
      {"NUL first", "\0"s, "! Protocol error: too big inline request"},
      {"count and NUL", "*\0"s, "! Protocol error: too big mbulk count string"},
      {"length and NUL", "*1\r\n$\0"s, "! Protocol error: too big bulk count string"},
  };
  const RespLimits limits;
  for (const Case& c : cases) {
    expect_same_at_every_split(c.start + std::string(limits.inline_bytes_max + 2, 'A'), limits, c.expected, c.why);
    RespParser parser;
    parser.feed(c.start + std::string(limits.inline_bytes_max - c.start.size(), 'A'));
    EXPECT_EQ(parser.next(), Status::kNeedMore) << c.why;
  }
  const std::string longest(limits.inline_bytes_max, 'k');
  expect_same_at_every_split(longest + "\r\n", limits, "<" + longest + ">\n", "the longest line");
  expect_same_at_every_split(longest + "k\r\n", limits, "! Protocol error: too big inline request", "one more byte");
}

TEST(RespParser, TightLimitsBeforeAuthentication) {  // X6
  const RespLimits before = RespLimits::before_authentication();
  struct Case {
    const char* why;
    std::string bytes;
    std::string expected;
  };
  const std::string password(1u << 20, 'p');
  const Case cases[] = {
      {"ten arguments are allowed", "*10\r\n", ""},
      {"eleven are not", "*11\r\n", "! Protocol error: unauthenticated multibulk length"},
      {"eleven inline", "a a a a a a a a a a a\r\n", "! Protocol error: unauthenticated multibulk length"},
      {"16 KiB are allowed", "*1\r\n$16384\r\n", ""},
      {"a byte more is not", "*1\r\n$16385\r\n", "! Protocol error: unauthenticated bulk length"},
      {"AUTH with a password of 1 MiB", bulk_request({"AUTH", password}),
       "! Protocol error: unauthenticated bulk length"},
  };
  for (const Case& c : cases) expect_same_at_every_split(c.bytes, before, c.expected, c.why);
}

TEST(RespParser, OneRequestIsCappedAsAWhole) {  // X6
  RespLimits limits;
  limits.request_bytes_max = 100;
  const std::string fits = bulk_request({"SET", "key", std::string(66, 'v')});
  ASSERT_LE(fits.size(), 100u);
  EXPECT_EQ(whole(fits + fits + fits, limits).find('!'), std::string::npos);
  expect_same_at_every_split(bulk_request({"SET", "key", std::string(80, 'v')}), limits,
                             "! Protocol error: request larger than 100 bytes", "one argument too many bytes");
}

TEST(RespParser, AnnouncedLengthsCostNothing) {  // X7
  RespParser parser;
  parser.feed("*1000000\r\n$60000000\r\nabc");
  EXPECT_EQ(parser.next(), Status::kNeedMore);
  EXPECT_LE(parser.memory_bytes(), 8192u);
}

TEST(RespParser, ACommandAllocatesNothingInSteadyState) {
#ifdef TIDELOCK_HEAP_NOT_COUNTED
  GTEST_SKIP() << "NOT TESTED: this build cannot count";
#endif
  const std::string request = bulk_request({"SET", "a key of some length", std::string(2048, 'v')}) + "GET 'a key'\r\n";
  RespParser parser;
  std::string out;
  const auto turn = [&] {
    parser.feed(request);
    std::size_t bytes = 0;
    while (parser.next() == Status::kCommand) {
      RespReply(out, 3).bulk(parser.args().back());
      bytes += parser.args().size();
    }
    parser.shrink();
    out.clear();
    return bytes;
  };
  for (int i = 0; i < 10; ++i) turn();
  const std::uint64_t before = allocations;
  std::size_t seen = 0;
  for (int i = 0; i < 1000; ++i) seen += turn();
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(seen, 5000u);
}

TEST(RespParser, DeadAfterAnError) {
  RespParser parser;
  parser.feed("*1\r\n$x\r\nPING\r\n");
  EXPECT_EQ(parser.next(), Status::kError);
  parser.feed("PING\r\n");
  EXPECT_EQ(parser.next(), Status::kError);
}

TEST(RespParser, TenThousandArgumentsAndBackToSmall) {
  std::vector<std::string> args{"MSET"};
  for (int i = 0; i < 10'000; ++i) args.push_back("key" + std::to_string(i));
  RespParser parser;
  parser.feed(bulk_request(args));
  ASSERT_EQ(parser.next(), Status::kCommand);
  EXPECT_EQ(parser.args().size(), args.size());
  EXPECT_EQ(parser.args().back(), args.back());
  EXPECT_EQ(parser.next(), Status::kNeedMore);
  parser.shrink();
  EXPECT_LE(parser.memory_bytes(), 64u << 10);
}

TEST(RespParser, MillionsOfOpenedArraysAreRefusedAtTheFirst) {
  std::string nested;
  for (int i = 0; i < 1'000'000; ++i) nested += "*1\r\n";
  EXPECT_EQ(whole(nested, {}), "! Protocol error: expected '$', got '*'");
}

TEST(RespParser, RandomStreamsInRandomPiecesGiveTheSame) {
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    Rng rng(seed);
    std::string bytes;
    const std::uint64_t commands = 1 + rng.below(6);
    for (std::uint64_t i = 0; i < commands; ++i) {
      std::vector<std::string> args;
      for (std::uint64_t n = 1 + rng.below(4); n > 0; --n) {
        std::string arg;
        for (std::uint64_t size = rng.below(rng.one_in(10) ? 300 : 8); size > 0; --size) {
          arg.push_back("ab\r\n$*\0\"' 19"[rng.below(13)]);
        }
        args.push_back(std::move(arg));
      }
      if (rng.one_in(4)) {
        bytes += "get \"a\\x41 b\" '" + std::string(rng.below(30), 'q') + "'\r\n";
      } else {
        bytes += bulk_request(args);
      }
    }
    for (std::uint64_t i = rng.below(4); i > 0 && rng.one_in(2); --i) {  // and some damage
      bytes[rng.below(bytes.size())] = "\r\n*$-09x\"\0"[rng.below(10)];
    }
    RespLimits limits;
    limits.inline_bytes_max = 64;
    limits.bulk_bytes_max = 256;
    limits.request_bytes_max = 600;
    limits.arguments_max = 20;
    std::vector<std::size_t> cuts;
    for (std::size_t at = 0; at < bytes.size(); at += 1 + rng.below(20)) cuts.push_back(at);
    ASSERT_EQ(in_pieces(bytes, limits, cuts), whole(bytes, limits)) << "seed " << seed;
  }
}

TEST(RespParser, AGlanceSeesTheKeysOfWholeCommands) {
  const std::string get = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", set = "*3\r\n$3\r\nSET\r\n$2\r\nbb\r\n$1\r\nv\r\n";
  struct Case {
    const char* why;
    std::string bytes;
    std::string seen;
  };
  for (const Case& c : {Case{"nothing", "", ""}, Case{"two", get + set, "<a><bb>"},
                        Case{"the second is half there", get + set.substr(0, set.size() - 1), "<a>"},
                        Case{"as many as asked for", get + get + get + get, "<a><a><a>"},
                        Case{"one word ends it", get + "*1\r\n$4\r\nPING\r\n" + get, "<a>"},
                        Case{"so does an inline command", get + "GET b\r\n" + get, "<a>"},
                        Case{"a length beyond all bytes", get + "*2\r\n$999999999\r\nGET", "<a>"},
                        Case{"more digits than a glance reads", get + "*2\r\n$18446744073709551615\r\nGET", "<a>"},
                        Case{"no digits", get + "*\r\n", "<a>"}, Case{"negative", get + "*-1\r\n" + get, "<a>"}}) {
    EXPECT_EQ(glance(c.bytes, 3), c.seen) << c.why;
    for (std::size_t cut = 0; cut < c.bytes.size(); ++cut) {  // never more than the whole shows
      EXPECT_TRUE(c.seen.starts_with(glance(std::string_view(c.bytes).substr(0, cut), 3))) << c.why << cut;
    }
  }
}

}  // namespace
}  // namespace tidelock
