// One description of a struct serves both directions: a struct lists its fields once,
//
//   struct Probe { Nonce nonce; bool wants_lease; template <class A> void fields(A& a) { a(nonce, wants_lease); } };
//
// and `encode` / `decode` walk that list. Format: little-endian base-128 varints for unsigned integers, zigzag varints
// for signed ones, one byte for bool and enum, length-prefixed bytes, count-prefixed vectors, index-prefixed variants,
// a presence byte for optionals. Unknown variant indexes, trailing bytes, padded numbers and counts beyond the bytes
// left are kCorrupt. So a value has one encoding, and a digest of the bytes names the value.
//
// Threads: pure functions. Cost: one pass. Limits: a vector never reserves more elements than bytes are left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace tidelock {

class Encoder {
 public:
  template <class... Fields>
  void operator()(Fields&... fields) {
    (put(fields), ...);
  }
  Bytes take() { return std::move(out_); }

 private:
  void put_varint(std::uint64_t v) {
    while (v >= 0x80) {
      out_.push_back(static_cast<char>(v | 0x80));
      v >>= 7;
    }
    out_.push_back(static_cast<char>(v));
  }
  void put(bool v) { out_.push_back(v ? 1 : 0); }
  void put(std::uint64_t v) { put_varint(v); }
  void put(std::uint32_t v) { put_varint(v); }
  void put(std::uint16_t v) { put_varint(v); }
  void put(std::int64_t v) { put_varint((static_cast<std::uint64_t>(v) << 1) ^ static_cast<std::uint64_t>(v >> 63)); }
  void put(const std::string& v) {
    put_varint(v.size());
    out_.append(v);
  }
  template <class Tag>
  void put(const Number<Tag>& v) {
    put_varint(v.value);
  }
  void put(const CommandId& v) {
    put_varint(v.client);
    put_varint(v.sequence);
  }
  template <class E>
    requires std::is_enum_v<E>
  void put(E v) {
    static_assert(sizeof(E) == 1);
    out_.push_back(static_cast<char>(v));
  }
  template <class T>
  void put(std::optional<T>& v) {
    put(v.has_value());
    if (v) put(*v);
  }
  template <class A, class B>
  void put(std::pair<A, B>& v) {
    put(v.first);
    put(v.second);
  }
  template <class T>
  void put(std::vector<T>& v) {
    put_varint(v.size());
    for (auto& element : v) put(element);
  }
  template <class... T>
  void put(std::variant<T...>& v) {
    put_varint(v.index());
    std::visit([this](auto& alternative) { this->put(alternative); }, v);
  }
  template <class T>
    requires requires(T& t, Encoder& e) { t.fields(e); }
  void put(T& v) {
    v.fields(*this);
  }

  Bytes out_;
};

class Decoder {
 public:
  explicit Decoder(BytesView in) : in_(in) {}

  template <class... Fields>
  void operator()(Fields&... fields) {
    (get(fields), ...);
  }
  bool ok() const { return ok_; }
  bool at_end() const { return at_ == in_.size(); }

 private:
  static constexpr int kDepthMax = 8;  // nesting of structs; ours need 5

  std::uint64_t get_varint() {
    std::uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ >= in_.size()) return broken();
      const auto byte = static_cast<unsigned char>(in_[at_++]);
      if (shift == 63 && byte > 1) return broken();
      if (shift > 0 && byte == 0) return broken();  // padded: a second encoding of the same number
      v |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return v;
    }
    return broken();
  }
  std::uint64_t broken() {
    ok_ = false;
    at_ = in_.size();
    return 0;
  }
  void get(bool& v) {
    const std::uint64_t raw = get_varint();
    if (raw > 1) broken();
    v = raw == 1;
  }
  void get(std::uint64_t& v) { v = get_varint(); }
  void get(std::uint32_t& v) {
    const std::uint64_t raw = get_varint();
    if (raw > 0xFFFFFFFFull) broken();
    v = static_cast<std::uint32_t>(raw);
  }
  void get(std::uint16_t& v) {
    const std::uint64_t raw = get_varint();
    if (raw > 0xFFFFull) broken();
    v = static_cast<std::uint16_t>(raw);
  }
  void get(std::int64_t& v) {
    const std::uint64_t raw = get_varint();
    v = static_cast<std::int64_t>((raw >> 1) ^ (~(raw & 1) + 1));
  }
  void get(std::string& v) {
    const std::uint64_t size = get_varint();
    if (!ok_ || size > in_.size() - at_) {
      broken();
      return;
    }
    v.assign(in_.data() + at_, size);
    at_ += size;
  }
  template <class Tag>
  void get(Number<Tag>& v) {
    v.value = get_varint();
  }
  void get(CommandId& v) {
    v.client = get_varint();
    v.sequence = get_varint();
  }
  // The enumeration states its last enumerator as `kLast`, so that a foreign value cannot enter a switch.
  template <class E>
    requires std::is_enum_v<E>
  void get(E& v) {
    static_assert(sizeof(E) == 1);
    if (at_ >= in_.size()) {
      broken();
      return;
    }
    const auto raw = static_cast<unsigned char>(in_[at_++]);
    if (raw > static_cast<unsigned char>(last_enumerator(E{}))) {
      broken();
      return;
    }
    v = static_cast<E>(raw);
  }
  template <class T>
  void get(std::optional<T>& v) {
    bool present = false;
    get(present);
    if (ok_ && present) get(v.emplace());
  }
  template <class A, class B>
  void get(std::pair<A, B>& v) {
    get(v.first);
    get(v.second);
  }
  template <class T>
  void get(std::vector<T>& v) {
    const std::uint64_t count = get_varint();
    if (!ok_ || count > in_.size() - at_) {  // every element takes at least one byte
      broken();
      return;
    }
    v.clear();
    for (std::uint64_t i = 0; i < count && ok_; ++i) get(v.emplace_back());
  }
  template <class... T>
  void get(std::variant<T...>& v) {
    const std::uint64_t index = get_varint();
    if (!ok_ || !emplace_at(v, index, std::index_sequence_for<T...>{})) broken();
  }
  template <class... T, std::size_t... I>
  bool emplace_at(std::variant<T...>& v, std::uint64_t index, std::index_sequence<I...>) {
    return ((index == I ? (get(v.template emplace<I>()), true) : false) || ...);
  }
  template <class T>
    requires requires(T& t, Decoder& d) { t.fields(d); }
  void get(T& v) {
    if (++depth_ > kDepthMax) {
      broken();
    } else {
      v.fields(*this);
    }
    --depth_;
  }

  BytesView in_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool ok_ = true;
};

constexpr Code last_enumerator(Code) { return Code::kDenied; }

template <class T>
Bytes encode(const T& value) {
  Encoder encoder;
  encoder(const_cast<T&>(value));  // `fields` serves both directions; the encoder only reads
  return encoder.take();
}

// `what` names the thing in the error: "edge frame", "ledger command".
template <class T>
Result<T> decode(BytesView bytes, const char* what) {
  T value{};
  Decoder decoder(bytes);
  decoder(value);
  if (!decoder.ok()) return fail(Code::kCorrupt, std::string(what) + ": truncated or malformed");
  if (!decoder.at_end()) return fail(Code::kCorrupt, std::string(what) + ": bytes after the end");
  return value;
}

}  // namespace tidelock
