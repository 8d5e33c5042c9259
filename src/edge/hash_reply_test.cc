// The bytes of the answers, as redis-server 7.0 gives them, and what is ours: limits, damage, the walk of HSCAN.
#include "edge/hash_reply.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "codec/hash_value.h"
#include "wire/resp/value.h"

namespace tidelock {
namespace {

using Words = std::vector<std::string_view>;
using Pairs = std::vector<std::pair<std::string, std::string>>;

Bytes hash_of(const Pairs& pairs) {
  std::vector<HashField> fields;
  for (const auto& [name, value] : pairs) fields.push_back({name, value});
  return hash_with({}, fields)->stored;
}
std::string written(int protocol, const std::function<void(RespReply&)>& write) {
  std::string out;
  RespReply reply(out, protocol);
  write(reply);
  return out;
}
RespValue parsed(const std::string& bytes) {
  RespReplyParser parser;
  parser.feed(bytes);
  RespValue value;
  EXPECT_EQ(parser.next(&value), RespReplyParser::Status::kValue);
  return value;
}

const Bytes kTwo = hash_of({{"a", "1"}, {"b", ""}});

TEST(HashReply, HasTheShapesOfRedis) {
  const HashRandomArguments all{5, false, false, false}, all_with_values{5, false, false, true},
      none{0, true, false, true};
  struct Case {
    const char* what;
    std::function<void(RespReply&)> write;
    const char* resp2;
    const char* resp3;
  };
  const Words fields = {"b", "zz", "a"};
  const Case cases[] = {
      {"HGETALL", [](RespReply& r) { write_hash_all(r, RespCommand::kHGetAll, kTwo); },
       "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$0\r\n\r\n", "%2\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$0\r\n\r\n"},
      {"HGETALL of nothing", [](RespReply& r) { write_hash_all(r, RespCommand::kHGetAll, {}); }, "*0\r\n", "%0\r\n"},
      {"HKEYS", [](RespReply& r) { write_hash_all(r, RespCommand::kHKeys, kTwo); }, "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
       "*2\r\n$1\r\na\r\n$1\r\nb\r\n"},
      {"HVALS", [](RespReply& r) { write_hash_all(r, RespCommand::kHVals, kTwo); }, "*2\r\n$1\r\n1\r\n$0\r\n\r\n",
       "*2\r\n$1\r\n1\r\n$0\r\n\r\n"},
      {"HVALS of nothing", [](RespReply& r) { write_hash_all(r, RespCommand::kHVals, {}); }, "*0\r\n", "*0\r\n"},
      {"HLEN", [](RespReply& r) { write_hash_size(r, kTwo); }, ":2\r\n", ":2\r\n"},
      {"HLEN of nothing", [](RespReply& r) { write_hash_size(r, {}); }, ":0\r\n", ":0\r\n"},
      {"HGET", [](RespReply& r) { write_hash_field(r, RespCommand::kHGet, kTwo, "a"); }, "$1\r\n1\r\n", "$1\r\n1\r\n"},
      {"HGET without the field", [](RespReply& r) { write_hash_field(r, RespCommand::kHGet, kTwo, "zz"); }, "$-1\r\n",
       "_\r\n"},
      {"HGET of nothing", [](RespReply& r) { write_hash_field(r, RespCommand::kHGet, {}, "a"); }, "$-1\r\n", "_\r\n"},
      {"HEXISTS", [](RespReply& r) { write_hash_field(r, RespCommand::kHExists, kTwo, "b"); }, ":1\r\n", ":1\r\n"},
      {"HEXISTS without", [](RespReply& r) { write_hash_field(r, RespCommand::kHExists, kTwo, ""); }, ":0\r\n",
       ":0\r\n"},
      {"HSTRLEN", [](RespReply& r) { write_hash_field(r, RespCommand::kHStrlen, kTwo, "a"); }, ":1\r\n", ":1\r\n"},
      {"HSTRLEN of nothing", [](RespReply& r) { write_hash_field(r, RespCommand::kHStrlen, {}, "a"); }, ":0\r\n",
       ":0\r\n"},
      {"HMGET", [&](RespReply& r) { write_hash_fields(r, kTwo, fields); }, "*3\r\n$0\r\n\r\n$-1\r\n$1\r\n1\r\n",
       "*3\r\n$0\r\n\r\n_\r\n$1\r\n1\r\n"},
      {"HMGET of nothing", [&](RespReply& r) { write_hash_fields(r, {}, fields); }, "*3\r\n$-1\r\n$-1\r\n$-1\r\n",
       "*3\r\n_\r\n_\r\n_\r\n"},
      {"HRANDFIELD of nothing", [](RespReply& r) { write_hash_random(r, {}, {}, Rng(1)); }, "$-1\r\n", "_\r\n"},
      {"HRANDFIELD 5 of nothing", [&](RespReply& r) { write_hash_random(r, {}, all, Rng(1)); }, "*0\r\n", "*0\r\n"},
      {"HRANDFIELD 0", [&](RespReply& r) { write_hash_random(r, kTwo, none, Rng(1)); }, "*0\r\n", "*0\r\n"},
      {"HRANDFIELD 5", [&](RespReply& r) { write_hash_random(r, kTwo, all, Rng(1)); }, "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
       "*2\r\n$1\r\na\r\n$1\r\nb\r\n"},
      {"HRANDFIELD 5 WITHVALUES", [&](RespReply& r) { write_hash_random(r, kTwo, all_with_values, Rng(1)); },
       "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$0\r\n\r\n",
       "*2\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$1\r\nb\r\n$0\r\n\r\n"},
      {"HSCAN", [](RespReply& r) { write_hash_scan(r, kTwo, {}); },
       "*2\r\n$1\r\n0\r\n*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$0\r\n\r\n",
       "*2\r\n$1\r\n0\r\n*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$0\r\n\r\n"},
      {"HSCAN of nothing", [](RespReply& r) { write_hash_scan(r, {}, {}); }, "*2\r\n$1\r\n0\r\n*0\r\n",
       "*2\r\n$1\r\n0\r\n*0\r\n"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(written(2, c.write), c.resp2) << c.what;
    EXPECT_EQ(written(3, c.write), c.resp3) << c.what;
  }
}

TEST(HashReply, ADamagedHashIsAnErrorAndNothingBesides) {
  const Bytes damaged = kTwo.substr(0, kTwo.size() - 1), headless = kTwo.substr(0, 5);
  const Words fields = {"b"};
  const std::function<void(RespReply&)> writes[] = {
      [&](RespReply& r) { write_hash_all(r, RespCommand::kHGetAll, damaged); },
      [&](RespReply& r) { write_hash_size(r, headless); },
      [&](RespReply& r) { write_hash_field(r, RespCommand::kHGet, damaged, "b"); },
      [&](RespReply& r) { write_hash_fields(r, damaged, fields); },
      [&](RespReply& r) { write_hash_random(r, damaged, {}, Rng(1)); },
      [&](RespReply& r) { write_hash_scan(r, damaged, {}); },
  };
  for (const auto& write : writes)
    EXPECT_EQ(written(3, write), "-ERR the stored hash is truncated or malformed\r\n") << &write - writes;
}

TEST(HashReply, RandomOptionsAreThoseOfRedis) {
  struct Case {
    Words args;
    std::string error;  // empty: taken
  };
  const Case cases[] = {
      {{"HRANDFIELD", "k"}, ""},
      {{"HRANDFIELD", "k", "3", "withvalues"}, ""},
      {{"HRANDFIELD", "k", "-9223372036854775807"}, ""},
      {{"HRANDFIELD", "k", "-0"}, "ERR value is not an integer or out of range"},
      {{"HRANDFIELD", "k", "x", "WITHVALUES"}, "ERR value is not an integer or out of range"},
      {{"HRANDFIELD", "k", "-9223372036854775808"},
       "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"},
      {{"HRANDFIELD", "k", "9223372036854775807", "foo"}, "ERR syntax error"},
      {{"HRANDFIELD", "k", "5", "WITHVALUES", "x"}, "ERR syntax error"},
      {{"HRANDFIELD", "k", "4611686018427387903", "WITHVALUES"}, ""},
      {{"HRANDFIELD", "k", "4611686018427387904", "WITHVALUES"}, "ERR value is out of range"},
      {{"HRANDFIELD", "k", "-4611686018427387904", "WITHVALUES"}, "ERR value is out of range"},
  };
  for (const Case& c : cases) {
    const auto wanted = parse_hash_random(c.args);
    EXPECT_EQ(wanted ? std::string() : wanted.error().message, c.error) << c.args.back();
  }
  EXPECT_TRUE(parse_hash_random(Words{"HRANDFIELD", "k"})->alone);
  const auto minus = parse_hash_random(Words{"HRANDFIELD", "k", "-7", "WITHVALUES"});
  EXPECT_EQ(minus->count, 7u);
  EXPECT_TRUE(minus->repeats && minus->with_values && !minus->alone);
}

TEST(HashReply, EveryFieldIsPickedAsOftenAsAnyOther) {
  const Bytes five = hash_of({{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}, {"e", "5"}});
  const HashRandomArguments alone, two{2, false, false, false}, seven{7, true, false, true};
  std::map<std::string, int> as_one, as_two, repeated;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    const auto one = parsed(written(2, [&](RespReply& r) { write_hash_random(r, five, alone, Rng(seed)); }));
    ++as_one[one.text];
    const auto pair = parsed(written(2, [&](RespReply& r) { write_hash_random(r, five, two, Rng(seed)); }));
    ASSERT_EQ(pair.elements.size(), 2u) << "seed " << seed;
    EXPECT_NE(pair.elements[0].text, pair.elements[1].text) << "seed " << seed;
    for (const RespValue& name : pair.elements) ++as_two[name.text];
    const auto many = parsed(written(3, [&](RespReply& r) { write_hash_random(r, five, seven, Rng(seed)); }));
    ASSERT_EQ(many.elements.size(), 7u) << "more than there are: seed " << seed;
    for (const RespValue& field : many.elements) {
      ASSERT_EQ(field.elements.size(), 2u);
      EXPECT_EQ(field.elements[1].text[0] - '1', field.elements[0].text[0] - 'a') << "its own value";
      ++repeated[field.elements[0].text];
    }
  }
  for (const auto& [counts, expected] :
       {std::pair{&as_one, 200}, {&as_two, 400}, {&repeated, 1400}}) {  // these seeds are within 15 %
    ASSERT_EQ(counts->size(), 5u);
    for (const auto& [name, count] : *counts) EXPECT_NEAR(count, expected, expected * 0.15) << name;
  }
}

TEST(HashReply, ASmallRequestCannotAskForAnAnswerOfAnySize) {
  const Bytes big_value(1'000'000, 'v');
  const Bytes big = hash_of({{"a", big_value}});
  const Words again(17, "a");
  EXPECT_EQ(written(2, [&](RespReply& r) { write_hash_fields(r, big, again); }),
            "-ERR the answer would have 17000000 bytes of values; it may have at most 16777216\r\n");
  EXPECT_EQ(parsed(written(2, [&](RespReply& r) { write_hash_fields(r, big, Words(16, "a")); })).elements.size(), 16u);
  EXPECT_EQ(written(2, [&](RespReply& r) { write_hash_random(r, big, {17, true, false, true}, Rng(1)); }),
            "-ERR the answer would have 17000017 bytes of fields; it may have at most 16777216\r\n");
  EXPECT_EQ(parsed(written(2, [&](RespReply& r) { write_hash_random(r, big, {17, true, false, false}, Rng(1)); }))
                .elements.size(),
            17u)
      << "names alone are small";
  EXPECT_EQ(
      written(2, [&](RespReply& r) { write_hash_random(r, kTwo, {kHashRepeatsMax + 1, true, false, false}, Rng(1)); }),
      "-ERR value is out of range, at most 100000 fields that may repeat are answered\r\n");

  Words most(2 + kHashFieldsMax, "f");
  EXPECT_EQ(too_many_fields(most, 1), "");
  most.push_back("f");
  EXPECT_EQ(too_many_fields(most, 1), "ERR 65537 fields in one command; it may name at most 65536");
  EXPECT_EQ(too_many_fields(most, 2), "");
  const std::string long_name(kHashBytesMax, 'n');
  EXPECT_EQ(too_many_fields(Words{"HDEL", "k", long_name}, 1), "");
  EXPECT_EQ(too_many_fields(Words{"HDEL", "k", long_name, "n"}, 1),
            "ERR 1048577 bytes of fields in one command; a hash may have at most 1048576 bytes");
}

TEST(HashScan, OptionsAreThoseOfRedisAndSaidOnlyWhenThereIsAHash) {
  struct Case {
    Words args;
    std::string answer;
  };
  const std::string all = "*2\r\n$1\r\n0\r\n*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$0\r\n\r\n";
  const std::string a = "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n", none = "*2\r\n$1\r\n0\r\n*0\r\n";
  const std::string syntax = "-ERR syntax error\r\n", integer = "-ERR value is not an integer or out of range\r\n";
  const std::string long_pattern(5000, 'a');
  const Case cases[] = {
      {{"HSCAN", "k", "0"}, all},
      {{"HSCAN", "k", "17"}, all},
      {{"HSCAN", "k", ""}, all},
      {{"HSCAN", "k", "-1"}, all},
      {{"HSCAN", "k", "+01"}, all},
      {{"HSCAN", "k", "18446744073709551615"}, all},
      {{"HSCAN", "k", "0", "COUNT", "1"}, all},
      {{"HSCAN", "k", "0", "match", "a*", "COUNT", "100"}, a},
      {{"HSCAN", "k", "0", "MATCH", "*"}, all},
      {{"HSCAN", "k", "0", "MATCH", ""}, none},
      {{"HSCAN", "k", "0", "MATCH", "zz", "MATCH", "a"}, a},
      {{"HSCAN", "k", "0", "COUNT"}, syntax},
      {{"HSCAN", "k", "0", "COUNT", "0"}, syntax},
      {{"HSCAN", "k", "0", "COUNT", "-1"}, syntax},
      {{"HSCAN", "k", "0", "COUNT", "ten"}, integer},
      {{"HSCAN", "k", "0", "NOVALUES"}, syntax},
      {{"HSCAN", "k", "0", "TYPE", "hash"}, syntax},
      {{"HSCAN", "k", "0", "MATCH", long_pattern}, "-ERR the pattern is too long\r\n"},
  };
  for (const Case& c : cases) {
    const auto wanted = parse_hash_scan(c.args);
    ASSERT_TRUE(wanted) << c.args.back();
    EXPECT_EQ(written(2, [&](RespReply& r) { write_hash_scan(r, kTwo, *wanted); }), c.answer) << c.args.back();
    EXPECT_EQ(written(2, [&](RespReply& r) { write_hash_scan(r, {}, *wanted); }), none) << c.args.back();
  }
  for (const std::string_view cursor : {"x", "1x", " 1", "18446744073709551616", "0x10", "-"}) {
    const auto wanted = parse_hash_scan(Words{"HSCAN", "k", cursor});
    ASSERT_FALSE(wanted) << cursor;
    EXPECT_EQ(wanted.error().message, "ERR invalid cursor") << cursor;
  }
  EXPECT_FALSE(parse_hash_scan(Words{"HSCAN", "k", std::string(65, '0')}));
}

TEST(HashScan, APatternThatTakesTooLongIsRefused) {
  Pairs pairs;
  for (int i = 0; i < 100; ++i) pairs.emplace_back(std::string(9000, 'a') + std::to_string(i), "");
  HashScanArguments wanted;
  wanted.all = false;
  wanted.count = 1000;
  wanted.match = std::string("*") + std::string(40, 'a') + "b" + "*c";
  EXPECT_EQ(written(2, [&](RespReply& r) { write_hash_scan(r, hash_of(pairs), wanted); }),
            "-ERR the pattern takes too long; make it simpler\r\n");
}

// One walk of a hash that `change` changes after each part: the names in the order they came, and the number of parts.
std::vector<std::string> walk(Pairs& pairs, std::size_t count, const std::function<void(Pairs&)>& change,
                              std::size_t* parts) {
  std::vector<std::string> names;
  HashScanArguments wanted;
  wanted.count = count;
  for (*parts = 0;;) {
    const RespValue page = parsed(written(2, [&](RespReply& r) { write_hash_scan(r, hash_of(pairs), wanted); }));
    for (std::size_t i = 0; i + 1 < page.elements[1].elements.size(); i += 2) {
      const std::string& name = page.elements[1].elements[i].text;
      EXPECT_EQ(page.elements[1].elements[i + 1].text, "of " + name);
      names.push_back(name);
    }
    ++*parts;
    const auto next = parse_hash_scan(Words{"HSCAN", "k", page.elements[0].text});
    EXPECT_TRUE(next);
    if (!next || next->cursor == 0 || *parts > 10'000) return names;
    EXPECT_GT(next->cursor, wanted.cursor) << "it gets on";
    EXPECT_LT(next->cursor, std::uint64_t{1} << 53) << "exact in the numbers of every client";
    wanted.cursor = next->cursor;
    change(pairs);
  }
}
Pairs numbered(int from, int to) {
  Pairs pairs;
  for (int i = from; i < to; ++i) pairs.emplace_back("field:" + std::to_string(i), "of field:" + std::to_string(i));
  return pairs;
}

TEST(HashScan, ABigHashComesInPartsAndEveryFieldOnce) {
  struct Case {
    const char* why;
    int fields;
    std::size_t count, parts;
  };
  const Case cases[] = {{"small: whole, whatever the count", 128, 1, 1},
                        {"as many as asked for", 300, 50, 6},
                        {"more than there are", 300, 1000, 1},
                        {"at most 64 parts, lest a walk be quadratic", 6'400, 1, 64}};
  for (const Case& c : cases) {
    Pairs pairs = numbered(0, c.fields);
    std::size_t parts = 0;
    const auto names = walk(pairs, c.count, [](Pairs&) {}, &parts);
    EXPECT_EQ(parts, c.parts) << c.why;
    EXPECT_EQ(names.size(), static_cast<std::size_t>(c.fields)) << c.why;
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size()) << c.why;
  }
  Pairs one_long = {{"a", "of a"}, {"b", "of b"}, {"c", "of c"}};
  one_long.emplace_back(std::string(65, 'n'), "of " + std::string(65, 'n'));
  std::size_t parts = 0;
  EXPECT_EQ(walk(one_long, 2, [](Pairs&) {}, &parts).size(), 4u);
  EXPECT_EQ(parts, 2u) << "few fields, but not all of them short";
}

TEST(HashScan, WhatIsThereThroughoutAWalkIsAnsweredWhateverComesAndGoes) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    Rng rng(seed);
    Pairs pairs = numbered(0, 400);
    int next = 400;
    const auto change = [&](Pairs& now) {  // odd ones go, new ones come, at any place
      for (int n = 0; n < 10; ++n) {
        const auto at = static_cast<std::ptrdiff_t>(rng.below(now.size()));
        const std::string& name = now[static_cast<std::size_t>(at)].first;
        if ((name.back() - '0') % 2 == 1) now.erase(now.begin() + at);
        const auto more = numbered(next, next + 1);
        ++next;
        now.insert(now.begin() + static_cast<std::ptrdiff_t>(rng.below(now.size())), more.begin(), more.end());
      }
    };
    std::size_t parts = 0;
    const auto names = walk(pairs, 20, change, &parts);
    const std::set<std::string> seen(names.begin(), names.end());
    EXPECT_EQ(seen.size(), names.size()) << "none twice, seed " << seed;
    for (int i = 0; i < 400; i += 2) EXPECT_TRUE(seen.contains("field:" + std::to_string(i))) << "seed " << seed;
  }
}

}  // namespace
}  // namespace tidelock
