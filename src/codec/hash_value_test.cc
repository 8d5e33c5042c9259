#include "codec/hash_value.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "codec/typed_value.h"

namespace tidelock {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

std::vector<HashField> views_of(const Pairs& pairs) {
  std::vector<HashField> fields;
  for (const auto& [name, value] : pairs) fields.push_back({name, value});
  return fields;
}
Bytes hash_of(const Pairs& pairs) {
  const auto fields = views_of(pairs);
  auto edit = hash_with({}, fields);
  EXPECT_TRUE(edit) << edit.error().message;
  return edit ? edit->stored : Bytes();
}
Pairs pairs_of(BytesView stored) {
  Pairs pairs;
  const auto fields = decode_hash(stored);
  EXPECT_TRUE(fields) << fields.error().message;
  if (!fields) return pairs;
  for (const HashField& field : *fields) pairs.emplace_back(field.name, field.value);
  return pairs;
}
template <class T>
Error error_of(const Result<T>& result) {
  return result ? Error{Code::kOk, "no error", {}, 0} : result.error();
}
// "\0" in the middle: a literal with its length.
template <std::size_t N>
Bytes bytes(const char (&text)[N]) {
  return Bytes(text, N - 1);
}
const Bytes kHead = Bytes(kTypedValueMark) + "h\x01";

TEST(HashValue, HasTheseBytes) {
  const Bytes stored = hash_of({{"a", "1"}, {"bc", ""}});
  EXPECT_EQ(stored, bytes("\x00TLvh\x01\x02\x01"
                          "a\x01"
                          "1\x02"
                          "bc\x00"));
  EXPECT_EQ(kind_of(stored), ValueKind::kHash);
  EXPECT_EQ(*hash_size(stored), 2u);
}

TEST(HashValue, FieldsKeepTheOrderInWhichTheyWereFirstSet) {
  struct Case {
    const char* why;
    Pairs before, set, after;
    std::size_t added;
  };
  const Case cases[] = {
      {"a first field", {}, {{"a", "1"}}, {{"a", "1"}}, 1},
      {"behind the others", {{"b", "1"}}, {{"a", "2"}, {"c", "3"}}, {{"b", "1"}, {"a", "2"}, {"c", "3"}}, 2},
      {"a known one keeps its place", {{"b", "1"}, {"a", "2"}}, {{"b", "9"}}, {{"b", "9"}, {"a", "2"}}, 0},
      {"twice in one command: the last value, and one field",
       {{"b", "1"}},
       {{"a", "1"}, {"b", "7"}, {"c", ""}, {"a", "2"}, {"b", "8"}},
       {{"b", "8"}, {"a", "2"}, {"c", ""}},
       2},
      {"empty names and values are names and values", {{"a", ""}}, {{"", ""}}, {{"a", ""}, {"", ""}}, 1},
      {"a name that begins another is not it",
       {{"ab", "1"}},
       {{"a", "2"}, {"abc", "3"}},
       {{"ab", "1"}, {"a", "2"}, {"abc", "3"}},
       2},
  };
  for (const Case& c : cases) {
    const Bytes before = c.before.empty() ? Bytes() : hash_of(c.before);
    const auto set = views_of(c.set);
    const auto edit = hash_with(before, set);
    ASSERT_TRUE(edit) << c.why << ": " << edit.error().message;
    EXPECT_EQ(pairs_of(edit->stored), c.after) << c.why;
    EXPECT_EQ(edit->changed, c.added) << c.why;
  }
}

TEST(HashValue, WithoutItsLastFieldThereIsNoHash) {
  struct Case {
    const char* why;
    std::vector<BytesView> names;
    Pairs after;
    std::size_t gone;
  };
  const Case cases[] = {{"one", {"b"}, {{"a", "1"}, {"c", "3"}}, 1},
                        {"one that is named twice goes once", {"a", "a"}, {{"b", "2"}, {"c", "3"}}, 1},
                        {"one that is not there", {"zz", ""}, {{"a", "1"}, {"b", "2"}, {"c", "3"}}, 0},
                        {"all", {"c", "zz", "b", "a"}, {}, 3}};
  const Bytes before = hash_of({{"a", "1"}, {"b", "2"}, {"c", "3"}});
  for (const Case& c : cases) {
    const auto edit = hash_without(before, c.names);
    ASSERT_TRUE(edit) << c.why << ": " << edit.error().message;
    EXPECT_EQ(edit->changed, c.gone) << c.why;
    if (c.after.empty())
      EXPECT_EQ(edit->stored, "") << c.why;
    else
      EXPECT_EQ(pairs_of(edit->stored), c.after) << c.why;
  }
}

TEST(HashValue, ManyFieldsAreFoundInOnePassInTheOrderAskedFor) {
  const Bytes stored = hash_of({{"a", "1"}, {"b", ""}, {"c", "3"}});
  const std::vector<BytesView> names = {"c", "zz", "a", "c", "b", ""};
  const auto values = hash_fields(stored, names);
  ASSERT_TRUE(values);
  const std::vector<std::optional<BytesView>> expected = {"3", std::nullopt, "1", "3", "", std::nullopt};
  EXPECT_EQ(*values, expected);
  EXPECT_EQ(hash_fields(stored, {})->size(), 0u);
}

TEST(HashValue, OneFieldIsFoundWithoutLookingAtThoseBehindIt) {
  Bytes stored = hash_of({{"a", "1"}, {"b", "2"}, {"c", "3"}});
  EXPECT_EQ(*hash_field(stored, "c"), "3");
  EXPECT_EQ(*hash_field(stored, "zz"), std::nullopt);
  stored.resize(stored.size() - 3);  // c is damaged
  EXPECT_EQ(*hash_field(stored, "a"), "1");
  EXPECT_EQ(hash_field(stored, "zz").error().code, Code::kCorrupt);
}

TEST(HashValue, DamagedBytesAreRefusedByAllThatMeetTheDamage) {
  struct Case {
    const char* why;
    Bytes stored;
  };
  const Bytes max_number = bytes("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01");
  const Case cases[] = {
      {"nothing", ""},
      {"a string", "value"},
      {"a string that begins like one", Bytes(kTypedValueMark) + "s" + kHead},
      {"a head alone", Bytes(kTypedValueMark) + "h"},
      {"another version", Bytes(kTypedValueMark) + bytes("h\x02\x01\x01"
                                                         "a\x01"
                                                         "1")},
      {"no count", kHead},
      {"a count that goes on", kHead + "\x81"},
      {"a padded count", kHead + bytes("\x81\x00\x01"
                                       "a\x01"
                                       "1")},
      {"no fields", kHead + bytes("\x00")},
      {"no fields, and bytes", kHead + bytes("\x00\x01"
                                             "a\x01"
                                             "1")},
      {"more fields than bytes", kHead + bytes("\x03\x00\x00\x00\x00")},
      {"above the most fields", kHead + bytes("\x81\x80\x04") + Bytes(2 * (kHashFieldsMax + 1), '\0')},
      {"a count of 64 bits", kHead + max_number + Bytes(100, '\0')},
      {"a name beyond the end", kHead + bytes("\x01\x05"
                                              "a\x01"
                                              "1")},
      {"a name of 64 bits", kHead + bytes("\x01") + max_number + "abc"},
      {"a name and no value", kHead + bytes("\x01\x02"
                                            "ab")},
      {"a padded length of a name", kHead + bytes("\x01\x81\x00"
                                                  "a\x01"
                                                  "1")},
      {"a value beyond the end", kHead + bytes("\x01\x01"
                                               "a\x02"
                                               "1")},
      {"a value of 64 bits", kHead +
                                 bytes("\x01\x01"
                                       "a") +
                                 max_number},
      {"a padded length of a value", kHead + bytes("\x01\x01"
                                                   "a\x81\x00"
                                                   "1")},
      {"one field too few", kHead + bytes("\x02\x01"
                                          "a\x01"
                                          "1")},
      {"bytes after the end", kHead + bytes("\x01\x01"
                                            "a\x01"
                                            "1\x00")},
      {"too many bytes", kHead +
                             bytes("\x01\x01"
                                   "a\xF7\xFF\x3F") +
                             Bytes(kHashBytesMax - 9, 'v')},
  };
  const std::vector<BytesView> names = {"nothing of that name"};
  const std::vector<HashField> set = {{"b", "2"}};
  for (const Case& c : cases) {
    const std::pair<const char*, Error> errors[] = {{"decode_hash", error_of(decode_hash(c.stored))},
                                                    {"hash_field", error_of(hash_field(c.stored, names[0]))},
                                                    {"hash_fields", error_of(hash_fields(c.stored, names))},
                                                    {"hash_without", error_of(hash_without(c.stored, names))}};
    for (const auto& [call, error] : errors) {
      EXPECT_EQ(error.code, Code::kCorrupt) << call << ": " << c.why;
      EXPECT_EQ(error.message, "the stored hash is truncated or malformed") << call << ": " << c.why;
    }
    if (c.stored.empty()) continue;  // that is no hash yet
    EXPECT_EQ(error_of(hash_with(c.stored, set)).code, Code::kCorrupt) << c.why;
  }
  EXPECT_EQ(error_of(hash_size(kHead + bytes("\x00"))).code, Code::kCorrupt);
}

TEST(HashValue, ANameTwiceIsReadAsItsFirstAndEditedAsOne) {  // no edit makes one, but bytes from elsewhere may have it
  const Bytes stored = kHead + bytes(
                                   "\x03\x01"
                                   "a\x01"
                                   "1\x01"
                                   "b\x01"
                                   "2\x01"
                                   "a\x01"
                                   "3");
  const std::vector<BytesView> names = {"a", "a"};
  EXPECT_EQ(*hash_field(stored, "a"), "1");
  EXPECT_EQ(hash_fields(stored, names)->at(1), "1");
  EXPECT_EQ(pairs_of(hash_without(stored, names)->stored), (Pairs{{"b", "2"}}));
  const std::vector<HashField> set = {{"a", "9"}};
  EXPECT_EQ(pairs_of(hash_with(stored, set)->stored), (Pairs{{"a", "9"}, {"b", "2"}, {"a", "9"}}));
}

TEST(HashValue, EveryCutIsRefused) {
  const Bytes stored = hash_of({{"alpha", std::string(200, 'v')}, {"", ""}, {"b", "2"}});
  for (std::size_t size = 0; size < stored.size(); ++size) {
    EXPECT_EQ(error_of(decode_hash(BytesView(stored).substr(0, size))).code, Code::kCorrupt) << size;
  }
}

TEST(HashValue, GrowsToItsLimitsAndNotBeyond) {
  Pairs pairs;
  for (std::size_t i = 0; i < kHashFieldsMax; ++i) pairs.emplace_back(std::to_string(i), "");
  const Bytes full = hash_of(pairs);
  EXPECT_EQ(*hash_size(full), kHashFieldsMax);
  EXPECT_TRUE(decode_hash(full));
  const std::vector<HashField> known = {{"17", "v"}}, another = {{"another", ""}};
  EXPECT_TRUE(hash_with(full, known));
  const auto wide = hash_with(full, another);
  ASSERT_FALSE(wide);
  EXPECT_EQ(wide.error().code, Code::kInvalid);
  EXPECT_EQ(wide.error().message, "the hash would have 65537 fields; it may have at most 65536");

  const std::size_t most = kHashBytesMax - kHead.size() - 1 - 2 - 3;  // the count, a name of one byte, a long length
  for (const auto& [size, fits] : {std::pair{most, true}, {most + 1, false}, {most * 3, false}}) {
    const Bytes value(size, 'v');
    const std::vector<HashField> set = {{"a", value}};
    const auto edit = hash_with({}, set);
    ASSERT_EQ(edit.has_value(), fits) << size;
    if (fits) {
      EXPECT_EQ(edit->stored.size(), kHashBytesMax);
      EXPECT_TRUE(decode_hash(edit->stored));
    } else {
      EXPECT_EQ(edit.error().code, Code::kInvalid);
      EXPECT_EQ(edit.error().message, "the hash would be above 1048576 bytes, the most that a value may have");
    }
  }
}

// Against a plain list of pairs.
TEST(HashValue, AnyHistoryReadsBackAsAPlainListWould) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Rng rng(seed);
    const auto some_bytes = [&](std::size_t kinds) {
      return std::string(rng.one_in(20) ? 100 + rng.below(300) : rng.below(4),
                         static_cast<char>('a' + static_cast<char>(rng.below(kinds))));
    };
    Pairs twin;
    Bytes stored;
    for (int step = 0; step < 40; ++step) {
      Pairs named;
      for (std::uint64_t n = 1 + rng.below(6); n > 0; --n) named.emplace_back(some_bytes(3), some_bytes(26));
      const auto at = [&](const std::string& name) {
        return std::find_if(twin.begin(), twin.end(), [&](const auto& pair) { return pair.first == name; });
      };
      if (rng.one_in(3) && !stored.empty()) {
        std::vector<BytesView> names;
        std::size_t gone = 0;
        for (const auto& [name, value] : named) {
          names.push_back(name);
          if (at(name) != twin.end()) twin.erase(at(name)), ++gone;
        }
        const auto edit = hash_without(stored, names);
        ASSERT_TRUE(edit) << "seed " << seed;
        EXPECT_EQ(edit->changed, gone) << "seed " << seed;
        stored = edit->stored;
      } else {
        const auto set = views_of(named);
        std::size_t added = 0;
        for (const auto& [name, value] : named) {
          if (at(name) == twin.end())
            twin.emplace_back(name, value), ++added;
          else
            at(name)->second = value;
        }
        const auto edit = hash_with(stored, set);
        ASSERT_TRUE(edit) << "seed " << seed;
        EXPECT_EQ(edit->changed, added) << "seed " << seed;
        stored = edit->stored;
      }
      ASSERT_EQ(stored.empty(), twin.empty()) << "seed " << seed;
      if (twin.empty()) continue;
      ASSERT_EQ(pairs_of(stored), twin) << "seed " << seed;
      ASSERT_EQ(stored, hash_of(twin)) << "one encoding, whatever the history; seed " << seed;
      for (const auto& [name, value] : named) {
        const auto found = hash_field(stored, name);
        ASSERT_TRUE(found) << "seed " << seed;
        const std::optional<BytesView> held =
            at(name) == twin.end() ? std::nullopt : std::optional<BytesView>(at(name)->second);
        ASSERT_EQ(*found, held) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace tidelock
