// Stored hashes from anywhere. What decodes, with each name once, has one encoding, and every way to read or edit it
// agrees with the plain list of its fields; all else is read and edited without harm.
#include <algorithm>
#include <iterator>

#include "codec/hash_value.h"
#include "codec/typed_value.h"
#include "fuzz/fuzz.h"

namespace tidelock::fuzz {
namespace {

Bytes hash_of(std::vector<HashField> fields) { return hash_with({}, fields)->stored; }

}  // namespace

std::vector<Seed> seeds() {
  const Bytes row = hash_of({{"x", "0.25"}, {"y", "-3"}, {"label", "car"}, {"", ""}});
  const Bytes long_value(300, 'v');
  const Bytes damaged = row.substr(0, row.size() - 1);
  const Bytes twice = Bytes(kTypedValueMark) +
                      "h\x01\x02"
                      "\x01"
                      "a\x01"
                      "1\x01"
                      "a\x01"
                      "2";
  return {{"row", piece(row) + piece("x") + piece("label") + piece("7")},
          {"one", piece(hash_of({{"a", "1"}})) + piece("a") + piece("b") + piece("")},
          {"long", piece(hash_of({{"a", long_value}, {long_value, "1"}})) + piece(long_value)},
          {"damaged", piece(damaged) + piece("x")},
          {"twice", piece(twice) + piece("a") + piece("a") + piece("3")},
          {"string", piece("value") + piece("x")},
          {"empty", ""}};
}

void run(BytesView input) {
  Input in(input);
  const BytesView stored = in.piece();
  const BytesView names[] = {in.piece(), in.piece()};
  const BytesView value = in.piece();
  const HashField set[] = {{names[0], value}, {names[1], names[0]}};
  const auto size = hash_size(stored);
  const auto one = hash_field(stored, names[0]);
  const auto both = hash_fields(stored, names);
  const auto with = hash_with(stored, set);
  const auto without = hash_without(stored, names);
  const auto fields = decode_hash(stored);
  TIDELOCK_ASSERT(!without || fields);  // both go through the whole
  if (!fields) return;
  std::vector<BytesView> sorted;
  for (const HashField& field : *fields) sorted.push_back(field.name);
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) return;

  TIDELOCK_ASSERT(kind_of(stored) == ValueKind::kHash);
  TIDELOCK_ASSERT(hash_with({}, *fields)->stored == stored);  // one encoding
  TIDELOCK_ASSERT(*size == fields->size() && *size > 0);
  const auto place = [&](BytesView name) {
    return std::find_if(fields->begin(), fields->end(), [&](const HashField& field) { return field.name == name; });
  };
  const auto plain = [&](BytesView name) {
    const auto at = place(name);
    return at == fields->end() ? std::optional<BytesView>() : at->value;
  };
  TIDELOCK_ASSERT(*one == plain(names[0]));
  TIDELOCK_ASSERT((*both)[0] == plain(names[0]) && (*both)[1] == plain(names[1]));

  std::vector<HashField> left;
  std::copy_if(fields->begin(), fields->end(), std::back_inserter(left),
               [&](const HashField& field) { return field.name != names[0] && field.name != names[1]; });
  TIDELOCK_ASSERT(without->changed == fields->size() - left.size());
  TIDELOCK_ASSERT(without->stored == (left.empty() ? Bytes() : hash_of(left)));

  std::vector<HashField> more = *fields;
  std::size_t added = 0;
  for (const HashField& field : set) {
    const auto at = std::find_if(more.begin(), more.end(), [&](const HashField& f) { return f.name == field.name; });
    if (at == more.end())
      more.push_back(field), ++added;
    else
      at->value = field.value;
  }
  TIDELOCK_ASSERT(with->changed == added && with->stored == hash_of(more));
}

}  // namespace tidelock::fuzz
