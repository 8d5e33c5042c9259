// The wire format of protobuf, read by hand: a message is a list of fields, each a varint key (number << 3 | wire type)
// and a payload. Enough for files whose schema we know; no protobuf library.
//
// Threads: pure. Ownership: a field's bytes are a view into the message that was given.
// Limits:  allocates nothing; a length that passes the end makes the message malformed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace tidelock {

struct ProtobufField {
  int number = 0;
  std::uint64_t varint = 0;  // wire type 0
  BytesView bytes;           // wire types 1 (8 bytes), 2 (as long as it says) and 5 (4 bytes)
  int wire_type = 0;
};

class ProtobufFields {
 public:
  explicit ProtobufFields(BytesView in) : in_(in) {}
  // False at the end and at the first malformed byte; ok() tells them apart.
  bool next(ProtobufField& field) {
    if (!ok_ || at_ == in_.size()) return false;
    const std::uint64_t key = varint();
    field = {static_cast<int>(key >> 3 & 0x1FFFFFFF), 0, {}, static_cast<int>(key & 7)};
    switch (field.wire_type) {
      case 0: field.varint = varint(); break;
      case 1: field.bytes = take(8); break;
      case 2: field.bytes = take(varint()); break;
      case 5: field.bytes = take(4); break;
      default: ok_ = false;
    }
    if (field.number == 0) ok_ = false;
    return ok_;
  }
  bool ok() const { return ok_; }

 private:
  std::uint64_t varint() {
    std::uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ >= in_.size()) break;
      const auto byte = static_cast<unsigned char>(in_[at_++]);
      v |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return v;
    }
    ok_ = false;
    return 0;
  }
  BytesView take(std::uint64_t size) {
    if (!ok_ || size > in_.size() - at_) {
      ok_ = false;
      return {};
    }
    const BytesView out = in_.substr(at_, static_cast<std::size_t>(size));
    at_ += static_cast<std::size_t>(size);
    return out;
  }

  BytesView in_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace tidelock
