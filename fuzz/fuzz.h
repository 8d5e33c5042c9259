// What the targets share. A target is one file, NAME_fuzz.cc, that defines `seeds` and `run`; libfuzzer.cc and smoke.cc
// are the two programs made from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"
#include "codec/archive.h"

namespace tidelock::fuzz {

struct Seed {
  std::string name;  // of its file in fuzz/corpus/NAME
  Bytes bytes;
};

// Real encodings, and what once went wrong: the corpus that is committed is written from it.
std::vector<Seed> seeds();
// One execution. It must return whatever the input, and asserts what must be true of it.
void run(BytesView input);

// Reads decisions off the front of an input; zeros once it is used up.
class Input {
 public:
  explicit Input(BytesView bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  std::uint8_t byte() {
    if (bytes_.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(bytes_[0]);
    bytes_.remove_prefix(1);
    return value;
  }
  std::uint64_t number(int bytes) {
    std::uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= static_cast<std::uint64_t>(byte()) << (8 * i);
    return value;
  }
  BytesView take(std::size_t size) {
    const BytesView taken = bytes_.substr(0, size);
    bytes_.remove_prefix(taken.size());
    return taken;
  }
  // A piece with its length (two bytes) in front: how `piece` below writes it.
  BytesView piece() { return take(static_cast<std::size_t>(number(2))); }
  BytesView rest() { return take(bytes_.size()); }

 private:
  BytesView bytes_;
};

inline Bytes number(std::uint64_t value, int bytes) {
  Bytes out;
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}
inline Bytes piece(BytesView bytes) { return number(bytes.size(), 2) + Bytes(bytes); }

// Every value has one encoding: what decodes, encodes to the very bytes it came from. So a digest of the bytes names
// the content, and no two hubs can keep the same thing differently.
template <class T>
std::optional<T> decode_checked(BytesView bytes) {
  auto value = decode<T>(bytes, "fuzzed bytes");
  if (!value) return std::nullopt;
  TIDELOCK_ASSERT(encode(*value) == bytes);
  return std::move(*value);
}

}  // namespace tidelock::fuzz
