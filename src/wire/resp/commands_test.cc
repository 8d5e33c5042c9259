// The command table, the options of SET, EXPIRE and SCAN, and globs.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "wire/resp/command_table.h"
#include "wire/resp/glob.h"
#include "wire/resp/numbers.h"
#include "wire/resp/set_options.h"
#include "wire/resp/value.h"

namespace tidelock {
namespace {

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> out;
  while (!line.empty()) {
    const std::size_t space = std::min(line.find(' '), line.size());
    if (space > 0) out.push_back(line.substr(0, space));
    line.remove_prefix(std::min(space + 1, line.size()));
  }
  return out;
}

TEST(CommandTable, EveryEntryIsSoundAndFound) {
  std::set<std::string_view> names;
  for (const CommandSpec& spec : command_table()) {
    EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
    EXPECT_EQ(find_command(spec.name), &spec);
    std::string upper(spec.name);
    for (char& c : upper) c = static_cast<char>(std::toupper(c));
    EXPECT_EQ(find_command(upper), &spec);
    EXPECT_EQ(&spec_of(spec.id), &spec) << spec.name;
    EXPECT_NE(spec.arity, 0) << spec.name;
    EXPECT_FALSE(spec.summary.empty() || spec.since.empty() || spec.group.empty()) << spec.name;
    EXPECT_EQ(spec.first_key == 0, spec.key_step == 0) << spec.name;
  }
  for (const char* unknown : {"", "nope", "gett", "ge", "a_name_that_is_longer_than_any_of_them"}) {
    EXPECT_EQ(find_command(unknown), nullptr) << unknown;
  }
}

std::string answer(std::string_view line, int protocol = 2) {
  std::string bytes;
  RespReply reply(bytes, protocol);
  answer_command(words(line), reply);
  RespReplyParser parser;
  RespValue value;
  parser.feed(bytes);
  EXPECT_EQ(parser.next(&value), RespReplyParser::Status::kValue) << line;
  return to_text(value);
}

TEST(CommandTable, AnswersCommand) {
  EXPECT_EQ(answer("command count"), std::to_string(command_table().size()));
  EXPECT_EQ(answer("command info get nope"),
            "[[\"get\", 2, [readonly, fast], 1, 1, 1, [@read, @string, @fast], [], [[\"flags\", [RO, access], "
            "\"begin_search\", [\"type\", \"index\", \"spec\", [\"index\", 1]], \"find_keys\", [\"type\", \"range\", "
            "\"spec\", [\"lastkey\", 0, \"keystep\", 1, \"limit\", 0]]]], []], null]");
  EXPECT_EQ(answer("command docs ttl", 3),
            "{\"ttl\": {\"summary\": \"Get the time to live of a key in seconds\", \"since\": \"1.0.0\", \"group\": "
            "\"generic\", \"arguments\": [{\"name\": \"key\", \"type\": \"key\", \"key_spec_index\": 0}]}}");
  EXPECT_EQ(answer("command getkeys mset a 1 b 2"), "[\"a\", \"b\"]");
  EXPECT_EQ(answer("command getkeys tl.mget bound 5 keys a b"), "[\"a\", \"b\"]");
  EXPECT_EQ(answer("command getkeys tl.mget bound 5"), "(error) ERR Invalid arguments specified for command");
  EXPECT_EQ(answer("command getkeys object encoding k"), "[\"k\"]");
  EXPECT_EQ(answer("command getkeys object help"), "(error) ERR The command has no key arguments");
  EXPECT_EQ(answer("command getkeys ping x"), "(error) ERR The command has no key arguments");
  EXPECT_EQ(answer("command getkeys nope x"), "(error) ERR Invalid command specified");
  EXPECT_EQ(answer("command getkeys get a b"), "(error) ERR Invalid number of arguments specified for command");
  EXPECT_EQ(answer("command nope"), "(error) ERR unknown subcommand 'nope'. Try COMMAND HELP.");
  for (const char* line : {"command", "command info", "command docs", "command list", "command help"}) {
    EXPECT_EQ(answer(line).find("(error)"), std::string::npos) << line;
  }
}

TEST(CommandTable, ErrorsShowAtMost128Bytes) {
  const std::string longest(1000, 'x');
  const std::vector<std::string_view> args{"nope", longest, longest};
  EXPECT_EQ(unknown_command_error(args),
            "ERR unknown command 'nope', with args beginning with: '" + std::string(128, 'x') + "' ");
}

TEST(SetOptions, AsRedis) {
  struct Case {
    const char* line;
    const char* expected;  // an error, or the options
  };
  const Case cases[] = {
      {"set k v", ""},
      {"set k v nx", "nx"},
      {"set k v XX get", "xx get"},
      {"set k v NX GET", "nx get"},
      {"set k v NX XX", "ERR syntax error"},
      {"set k v XX NX", "ERR syntax error"},
      {"set k v EX 10", "ttl=10000"},
      {"set k v px 10", "ttl=10"},
      {"set k v EXAT 10", "at=10000"},
      {"set k v PXAT 10", "at=10"},
      {"set k v KEEPTTL", "keepttl"},
      {"set k v KEEPTTL EX 1", "ERR syntax error"},
      {"set k v EX 1 KEEPTTL", "ERR syntax error"},
      {"set k v EX 1 PX 1", "ERR syntax error"},
      {"set k v EX 1 EX 2", "ttl=2000"},
      {"set k v EX", "ERR syntax error"},
      {"set k v nope", "ERR syntax error"},
      {"set k v EX ten", "ERR value is not an integer or out of range"},
      {"set k v EX 9223372036854775808", "ERR value is not an integer or out of range"},
      {"set k v EX 1.5", "ERR value is not an integer or out of range"},
      {"set k v EX 0", "ERR invalid expire time in 'set' command"},
      {"set k v PX -1", "ERR invalid expire time in 'set' command"},
      {"set k v EX 9223372036854775807", "ERR invalid expire time in 'set' command"},
      {"set k v PX 9223372036854775807", "ERR invalid expire time in 'set' command"},
      {"set k v PXAT 9223372036854775807", "at=9223372036854775807"},
      {"set k v EX 1 nope", "ERR syntax error"},
      {"set k v EX ten nope", "ERR syntax error"},
      {"setex k 10 v", "ttl=10000"},
      {"SETEX k 0 v", "ERR invalid expire time in 'setex' command"},
      {"psetex k 10 v", "ttl=10"},
      {"psetex k -5 v", "ERR invalid expire time in 'psetex' command"},
      {"psetex k x v", "ERR value is not an integer or out of range"},
      {"setnx k v", "nx"},
  };
  for (const Case& c : cases) {
    const auto args = words(c.line);
    const auto set = args[0] == "set" ? parse_set(args) : parse_setex(args);
    std::string seen;
    if (!set) {
      seen = set.error().message;
    } else {
      EXPECT_EQ(set->key, "k") << c.line;
      EXPECT_EQ(set->value, "v") << c.line;
      const auto note = [&](const std::string& word) { seen += (seen.empty() ? "" : " ") + word; };
      if (set->only_if_absent) note("nx");
      if (set->only_if_present) note("xx");
      if (set->get) note("get");
      if (set->keep_ttl) note("keepttl");
      if (set->ttl_ms) note("ttl=" + std::to_string(*set->ttl_ms));
      if (set->expires_at_ms) note("at=" + std::to_string(*set->expires_at_ms));
    }
    EXPECT_EQ(seen, c.expected) << c.line;
  }
}

TEST(ExpireOptions, AsRedis) {
  struct Case {
    const char* line;
    const char* error;
    std::int64_t ttl_ms;
  };
  const Case cases[] = {
      {"expire k 10", "", 10'000},
      {"pexpire k 10", "", 10},
      {"expire k -1", "", -1000},
      {"expire k 10 NX", "", 10'000},
      {"expire k 10 gt", "", 10'000},
      {"expire k 10 XX LT", "", 10'000},
      {"expire k 10 NX XX", "ERR NX and XX, GT or LT options at the same time are not compatible", 0},
      {"expire k 10 GT LT", "ERR GT and LT options at the same time are not compatible", 0},
      {"expire k 10 nope", "ERR Unsupported option nope", 0},
      {"expire k ten", "ERR value is not an integer or out of range", 0},
      {"expire k 9223372036854775807", "ERR invalid expire time in 'expire' command", 0},
      {"expire k -9223372036854775808", "ERR invalid expire time in 'expire' command", 0},
      {"pexpire k 9223372036854775807", "ERR invalid expire time in 'pexpire' command", 0},
      {"expireat k 10", "", 10'000},
      {"PEXPIREAT k -10 XX", "", -10},
      {"pexpireat k 9223372036854775807", "", 9223372036854775807},
      {"expireat k 9223372036854775807", "ERR invalid expire time in 'expireat' command", 0},
      {"pexpireat k x", "ERR value is not an integer or out of range", 0},
  };
  for (const Case& c : cases) {
    const auto expire = parse_expire(words(c.line));
    EXPECT_EQ(expire ? "" : expire.error().message, c.error) << c.line;
    if (expire) {
      EXPECT_EQ(expire->expires_at_ms.value_or(expire->ttl_ms), c.ttl_ms) << c.line;
      EXPECT_EQ(expire->expires_at_ms.has_value(), words(c.line)[0].size() > 7) << c.line;
    }
  }
}

TEST(GetExOptions, AsRedis) {
  struct Case {
    const char* line;
    const char* expected;  // an error, or the options; a bad time is told later
  };
  const Case cases[] = {
      {"getex k", ""},
      {"getex k persist", "persist"},
      {"getex k PERSIST PERSIST", "persist"},
      {"getex k EX 10", "ttl=10000"},
      {"getex k px 10", "ttl=10"},
      {"getex k EXAT 10", "at=10000"},
      {"getex k PXAT 10", "at=10"},
      {"getex k EX 1 EX 2", "ttl=2000"},
      {"getex k EX 1 PX 2", "ERR syntax error"},
      {"getex k EX 1 PERSIST", "ERR syntax error"},
      {"getex k PERSIST EX 1", "ERR syntax error"},
      {"getex k EX", "ERR syntax error"},
      {"getex k NX", "ERR syntax error"},
      {"getex k EX 0", "bad: ERR invalid expire time in 'getex' command"},
      {"getex k EX x", "bad: ERR value is not an integer or out of range"},
  };
  for (const Case& c : cases) {
    const auto get = parse_getex(words(c.line));
    std::string seen = get ? "" : get.error().message;
    if (get) {
      EXPECT_EQ(get->key, "k") << c.line;
      if (get->persist) seen = "persist";
      if (get->ttl_ms) seen = "ttl=" + std::to_string(*get->ttl_ms);
      if (get->expires_at_ms) seen = "at=" + std::to_string(*get->expires_at_ms);
      if (!get->bad_time.empty()) seen = "bad: " + get->bad_time;
      EXPECT_EQ(get->changes(), !seen.empty()) << c.line;
    }
    EXPECT_EQ(seen, c.expected) << c.line;
  }
}

TEST(CopyOptions, AsRedis) {
  const std::pair<const char*, const char*> cases[] = {
      {"copy a b", ""},
      {"copy a b replace db 0", ""},
      {"copy a a", "ERR source and destination objects are the same"},
      {"copy a a nope", "ERR syntax error"},
      {"copy a b db", "ERR syntax error"},
      {"copy a b db 1", "ERR DB index is out of range"},
      {"copy a b db x", "ERR value is not an integer or out of range"},
      {"copy a b db 99999999999", "ERR value is out of range, value must between -2147483648 and 2147483647"},
  };
  for (const auto& [line, error] : cases) {
    const auto copy = parse_copy(words(line));
    EXPECT_EQ(copy ? "" : copy.error().message, error) << line;
  }
  EXPECT_TRUE(parse_copy(words("copy a b REPLACE"))->replace);
}

TEST(Floats, AsRedis) {
  const std::pair<const char*, const char*> cases[] = {
      {"3.0e3", "3000"},
      {"10.5", "10.5"},
      {"-0.0", "0"},
      {"0x10", "16"},
      {"+1", "1"},
      {".5", "0.5"},
      {"inf", "inf"},
      {"-Infinity", "-inf"},
      {"1e-17", "0.00000000000000001"},
      {"1e-18", "0"},
      {"5", "5"},
      {"0.1", "0.1"},
      {"1e400000", ""},
      {"1e-400000", ""},
      {"nan", ""},
      {"", ""},
      {" 1", ""},
      {"1 ", ""},
      {"\t1", ""},
      {"x", ""},
      {"1,5", ""},
  };
  for (const auto& [text, written] : cases) {
    const auto number = parse_resp_float(text);
    EXPECT_EQ(number ? resp_float_text(*number) : "", written) << text;
  }
  EXPECT_FALSE(parse_resp_float(std::string_view("1\0", 2)));
  EXPECT_FALSE(parse_resp_float(std::string(kRespFloatBytesMax, '1')));
  EXPECT_TRUE(parse_resp_float(std::string(4000, '1')));
  EXPECT_EQ(resp_float_text(*parse_resp_float("1e4932")).size(), 4933u) << "the longest there is";
}

TEST(ScanOptions, AsRedis) {
  struct Case {
    const char* line;
    const char* error;
  };
  const Case cases[] = {
      {"scan 0", ""},
      {"scan 18446744073709551615 MATCH a* COUNT 5 TYPE string", ""},
      {"scan 18446744073709551616", "ERR invalid cursor"},
      {"scan -1", ""},  // strtoul
      {"scan -", "ERR invalid cursor"},
      {"scan x", "ERR invalid cursor"},
      {"scan 0 MATCH", "ERR syntax error"},
      {"scan 0 COUNT 0", "ERR syntax error"},
      {"scan 0 COUNT x", "ERR value is not an integer or out of range"},
      {"scan 0 nope 1", "ERR syntax error"},
  };
  for (const Case& c : cases) {
    const auto scan = parse_scan(words(c.line));
    EXPECT_EQ(scan ? "" : scan.error().message, c.error) << c.line;
  }
  const auto scan = parse_scan(words("scan 7 match a* count 5"));
  ASSERT_TRUE(scan);
  EXPECT_EQ(scan->cursor, 7u);
  EXPECT_EQ(scan->match, "a*");
  EXPECT_EQ(scan->count, 5);
}

bool matches(std::string_view pattern, std::string_view text, bool ignore_case = false) {
  std::uint64_t work = kGlobWorkDefault;
  return glob_match(pattern, text, &work, ignore_case);
}

TEST(Glob, AsRedis) {
  struct Case {
    const char* pattern;
    const char* text;
    bool expected;
  };
  const Case cases[] = {
      {"*", "", true},
      {"*", "anything", true},
      {"", "", true},
      {"", "a", false},
      {"a", "a", true},
      {"a", "ab", false},
      {"h?llo", "hello", true},
      {"h?llo", "hllo", false},
      {"h*llo", "heeeello", true},
      {"h*llo", "hell", false},
      {"h[ae]llo", "hallo", true},
      {"h[ae]llo", "hillo", false},
      {"h[^e]llo", "hallo", true},
      {"h[^e]llo", "hello", false},
      {"h[a-c]llo", "hbllo", true},
      {"h[c-a]llo", "hbllo", true},
      {"\\*", "*", true},
      {"\\*", "a", false},
      {"a\\", "a\\", true},
      {"[\\]]", "]", true},
      {"[abc", "b", true},
      {"[", "x", false},
      {"*a*b*c", "xxaxxbxxc", true},
      {"*a*b*c", "xxaxxbxxcx", false},
      {"**a**", "bab", true},
      {"a*", "ba", false},
      {"feature:*:[0-9]", "feature:track:7", true},
  };
  for (const Case& c : cases) EXPECT_EQ(matches(c.pattern, c.text), c.expected) << c.pattern << " " << c.text;
  EXPECT_TRUE(matches("HeL[L]O", "hello", true));
  EXPECT_FALSE(matches("HELLO", "hello", false));
}

TEST(Glob, AHostilePatternEndsAtTheWorkLimit) {  // X6, CVE-2022-36021
  std::string pattern;
  for (int i = 0; i < 1000; ++i) pattern += "a*";
  pattern += "b";
  const std::string text(100'000, 'a');
  std::uint64_t work = 100'000;
  EXPECT_FALSE(glob_match(pattern, text, &work));
  EXPECT_EQ(work, 0u);
  // A long class is charged for its length.
  work = 10'000;
  EXPECT_FALSE(glob_match("*[" + std::string(4000, 'x') + "]", std::string(1000, 'y'), &work));
  EXPECT_EQ(work, 0u);
}

// The plain twin: recursion over `*`, one byte at a time.
bool plain(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') return plain(pattern.substr(1), text) || (!text.empty() && plain(pattern, text.substr(1)));
  return !text.empty() && (pattern[0] == '?' || pattern[0] == text[0]) && plain(pattern.substr(1), text.substr(1));
}

TEST(Glob, AgreesWithItsPlainTwin) {
  for (std::uint64_t seed = 1; seed <= 200'000; ++seed) {
    Rng rng(seed);
    std::string pattern, text;
    for (std::uint64_t n = rng.below(8); n > 0; --n) pattern.push_back("ab*?*"[rng.below(5)]);
    for (std::uint64_t n = rng.below(9); n > 0; --n) text.push_back("ab"[rng.below(2)]);
    ASSERT_EQ(matches(pattern, text), plain(pattern, text)) << pattern << " " << text;
  }
}

}  // namespace
}  // namespace tidelock
