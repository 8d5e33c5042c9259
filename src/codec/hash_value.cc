// Edits go through the stored bytes once and copy what stays: what is looked for is sorted, not what is stored, since
// commands name a few fields of many.
#include "codec/hash_value.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/assert.h"
#include "codec/typed_value.h"

namespace tidelock {
namespace {

constexpr char kHashVersion = 1;

tl::unexpected<Error> corrupt() { return fail(Code::kCorrupt, "the stored hash is truncated or malformed"); }

void put_number(Bytes& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

// The names of a command, each once, with the places where it stands there.
class Wanted {
 public:
  template <class NameOf>
  Wanted(std::size_t count, NameOf name_of) : order_(count) {
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    // Of equal names the order of the command stays.
    std::sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
      const auto order = name_of(a).compare(name_of(b));
      return order != 0 ? order < 0 : a < b;
    });
    for (std::size_t i = 0; i < order_.size(); ++i) {
      if (i == 0 || name_of(order_[i]) != names_.back()) {
        names_.push_back(name_of(order_[i]));
        starts_.push_back(i);
      }
    }
    starts_.push_back(order_.size());
  }

  std::size_t names() const { return names_.size(); }
  // The number of that name among the sorted ones.
  std::optional<std::size_t> find(BytesView name) const {
    const auto at = std::lower_bound(names_.begin(), names_.end(), name);
    if (at == names_.end() || *at != name) return std::nullopt;
    return static_cast<std::size_t>(at - names_.begin());
  }
  // Where the command names it, in the order of the command.
  std::span<const std::size_t> places(std::size_t number) const {
    return std::span(order_).subspan(starts_[number], starts_[number + 1] - starts_[number]);
  }

 private:
  std::vector<std::size_t> order_;
  std::vector<BytesView> names_;
  std::vector<std::size_t> starts_;
};

// Fields written one after the other; the head is put in front when their number is known. What is above the limit is
// counted and not copied.
class Builder {
 public:
  void add(const HashField& field) {
    ++fields_;
    bytes_ += field.name.size() + field.value.size();
    if (fields_ > kHashFieldsMax || bytes_ > kHashBytesMax) return;
    put_number(body_, field.name.size());
    body_.append(field.name);
    put_number(body_, field.value.size());
    body_.append(field.value);
  }
  bool empty() const { return fields_ == 0; }
  Result<Bytes> take() const {
    if (fields_ > kHashFieldsMax) {
      return fail(Code::kInvalid, "the hash would have " + std::to_string(fields_) + " fields; it may have at most " +
                                      std::to_string(kHashFieldsMax));
    }
    Bytes out(kTypedValueMark);
    out.push_back('h');
    out.push_back(kHashVersion);
    put_number(out, fields_);
    if (bytes_ > kHashBytesMax || out.size() + body_.size() > kHashBytesMax) {
      return fail(Code::kInvalid, "the hash would be above " + std::to_string(kHashBytesMax) +
                                      " bytes, the most that a value may have");
    }
    out += body_;
    return out;
  }

 private:
  Bytes body_;
  std::size_t fields_ = 0, bytes_ = 0;
};

}  // namespace

HashWalk::HashWalk(BytesView stored) : rest_(stored) {
  if (stored.size() > kHashBytesMax || kind_of(stored) != ValueKind::kHash || stored.size() == kTypedValueHeadBytes ||
      stored[kTypedValueHeadBytes] != kHashVersion) {
    broken();
    return;
  }
  rest_.remove_prefix(kTypedValueHeadBytes + 1);
  const auto count = number();
  // A field takes at least two bytes.
  if (!count || *count == 0 || *count > kHashFieldsMax || *count > rest_.size() / 2) {
    broken();
    return;
  }
  fields_ = left_ = static_cast<std::size_t>(*count);
}

bool HashWalk::broken() {
  damaged_ = true;
  left_ = 0;
  return false;
}

std::optional<std::uint64_t> HashWalk::number() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 28; shift += 7) {  // no number here needs more than 21 bits
    if (rest_.empty()) return std::nullopt;
    const auto byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    if (shift > 0 && byte == 0) return std::nullopt;  // padded: a second encoding of the same number
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

std::optional<BytesView> HashWalk::piece() {
  const auto size = number();
  if (!size || *size > rest_.size()) return std::nullopt;
  const BytesView bytes = rest_.substr(0, static_cast<std::size_t>(*size));
  rest_.remove_prefix(bytes.size());
  return bytes;
}

bool HashWalk::next(HashField& field) {
  if (left_ == 0) return false;
  const auto name = piece();
  const auto value = name ? piece() : std::nullopt;
  if (!value) return broken();
  field = {*name, *value};
  if (--left_ == 0 && !rest_.empty()) return broken();  // bytes after the end: this field is not to be trusted either
  return true;
}

Result<std::vector<HashField>> decode_hash(BytesView stored) {
  HashWalk walk(stored);
  std::vector<HashField> fields;
  fields.reserve(walk.fields());
  for (HashField field; walk.next(field);) fields.push_back(field);
  if (walk.damaged()) return corrupt();
  return fields;
}

Result<std::size_t> hash_size(BytesView stored) {
  const HashWalk walk(stored);
  if (walk.damaged()) return corrupt();
  return walk.fields();
}

Result<std::optional<BytesView>> hash_field(BytesView stored, BytesView name) {
  HashWalk walk(stored);
  for (HashField field; walk.next(field);) {
    if (field.name == name) return field.value;
  }
  if (walk.damaged()) return corrupt();
  return std::optional<BytesView>();
}

Result<std::vector<std::optional<BytesView>>> hash_fields(BytesView stored, std::span<const BytesView> names) {
  const Wanted wanted(names.size(), [&](std::size_t i) { return names[i]; });
  std::vector<std::optional<BytesView>> values(names.size());
  HashWalk walk(stored);
  for (HashField field; walk.next(field);) {
    const auto number = wanted.find(field.name);
    if (!number) continue;
    for (const std::size_t place : wanted.places(*number)) {
      if (!values[place]) values[place] = field.value;
    }
  }
  if (walk.damaged()) return corrupt();
  return values;
}

Result<HashEdit> hash_with(BytesView stored, std::span<const HashField> set) {
  TIDELOCK_ASSERT(!set.empty());
  const Wanted wanted(set.size(), [&](std::size_t i) { return set[i].name; });
  std::vector<bool> was_there(wanted.names(), false);
  Builder builder;
  if (!stored.empty()) {
    HashWalk walk(stored);
    for (HashField field; walk.next(field);) {
      if (const auto number = wanted.find(field.name)) {
        was_there[*number] = true;
        field.value = set[wanted.places(*number).back()].value;
      }
      builder.add(field);
    }
    if (walk.damaged()) return corrupt();
  }
  HashEdit edit;
  for (std::size_t i = 0; i < set.size(); ++i) {
    const std::size_t number = *wanted.find(set[i].name);
    if (was_there[number]) continue;
    was_there[number] = true;
    builder.add({set[i].name, set[wanted.places(number).back()].value});
    ++edit.changed;
  }
  auto bytes = builder.take();
  if (!bytes) return fail(bytes.error());
  edit.stored = std::move(*bytes);
  return edit;
}

Result<HashEdit> hash_without(BytesView stored, std::span<const BytesView> names) {
  const Wanted wanted(names.size(), [&](std::size_t i) { return names[i]; });
  Builder builder;
  HashEdit edit;
  HashWalk walk(stored);
  for (HashField field; walk.next(field);) {
    if (wanted.find(field.name))
      ++edit.changed;
    else
      builder.add(field);
  }
  if (walk.damaged()) return corrupt();
  if (builder.empty()) return edit;
  auto bytes = builder.take();
  if (!bytes) return fail(bytes.error());
  edit.stored = std::move(*bytes);
  return edit;
}

}  // namespace tidelock
