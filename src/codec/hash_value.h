// A hash as it is stored: one value with one version, so that a feature row is read and written whole.
//
//   NUL "TLv" 'h'    codec/typed_value.h
//   1                the version of what follows
//   count            1 to kHashFieldsMax
//   count times:     bytes of the name, name, bytes of the value, value
//
// Numbers are little-endian base-128 varints without padding. Fields stand in the order in which they were first set,
// each name once. There is no empty hash: without its last field a key is gone. So a hash has one encoding.
// {"a": "1", "bc": ""} is 00 54 4C 76 68  01  02  01 61 01 31  02 62 63 00.
//
// Threads:   any; pure functions.
// Ownership: views point into the bytes handed in.
// Limits:    kHashFieldsMax fields, kHashBytesMax as stored. Nothing is allocated by a count alone.
// Errors:    kCorrupt: not a hash as above, in the part that was read. A name that stands twice is not looked for,
// which
//            would need a sort: no edit makes one; reads find the first, edits treat both alike.
//            kInvalid: the result would be above a limit; the message says which.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tidelock {

inline constexpr std::size_t kHashFieldsMax = 65'536;
inline constexpr std::size_t kHashBytesMax = 1u << 20;

struct HashField {
  BytesView name, value;
  friend bool operator==(const HashField&, const HashField&) = default;
};

// Goes through a stored hash, field by field, and never beyond its bytes:
//   HashWalk walk(stored);
//   for (HashField field; walk.next(field);) ...
//   if (walk.damaged()) ...
// Cost: O(1) a field; nothing is copied.
class HashWalk {
 public:
  explicit HashWalk(BytesView stored);
  bool next(HashField& field);  // false at the end, and at the first byte that is wrong
  bool damaged() const { return damaged_; }
  std::size_t fields() const { return fields_; }  // as the head says; 0 when that is damaged

 private:
  std::optional<std::uint64_t> number();
  std::optional<BytesView> piece();
  bool broken();

  BytesView rest_;
  std::size_t fields_ = 0, left_ = 0;
  bool damaged_ = false;
};

// Every field. O(fields).
Result<std::vector<HashField>> decode_hash(BytesView stored);
// How many fields the head says there are. O(1).
Result<std::size_t> hash_size(BytesView stored);
// One field, without looking at those behind it; nothing when there is none of that name.
Result<std::optional<BytesView>> hash_field(BytesView stored, BytesView name);
// Several, in the order asked for; a name may be asked for twice. One pass: O(bytes + (fields + names) log names).
Result<std::vector<std::optional<BytesView>>> hash_fields(BytesView stored, std::span<const BytesView> names);

struct HashEdit {
  Bytes stored;             // empty: no field is left
  std::size_t changed = 0;  // with: fields that are new; without: fields that went
};
// `stored` (empty: there is no hash yet) with these fields set; of a name that comes twice the last value counts.
// A field that was there keeps its place. One pass: O(bytes + (fields + set) log set). `set` must not be empty.
Result<HashEdit> hash_with(BytesView stored, std::span<const HashField> set);
// `stored` without these fields. One pass, as above.
Result<HashEdit> hash_without(BytesView stored, std::span<const BytesView> names);

}  // namespace tidelock
