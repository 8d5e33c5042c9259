// RespValue is one reply, and RespReplyParser reads replies of a server that need not be trusted.
//
// Threads: one.
// Limits:  depth 8, elements and bytes of one reply capped; nothing is allocated by an announced length (X7). No
// recursion. Errors:  after kError the parser is dead: the connection is out of step and must be closed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tidelock {

enum class RespType : std::uint8_t {
  kNull,
  kSimple,
  kError,
  kInteger,
  kDouble,
  kBoolean,
  kBulk,
  kVerbatim,  // text without its "txt:" prefix
  kBigNumber,
  kArray,
  kMap,  // elements: key, value, key, value, ...
  kSet,
  kPush,
};
std::string_view resp_type_name(RespType type);

struct RespValue {
  RespType type = RespType::kNull;
  std::int64_t integer = 0;  // kInteger; kBoolean: 0 or 1
  double number = 0;         // kDouble
  std::string text;          // kSimple, kError, kBulk, kVerbatim, kBigNumber
  std::vector<RespValue> elements;

  bool is_null() const { return type == RespType::kNull; }
  bool is_error() const { return type == RespType::kError; }
  bool is_text() const { return type == RespType::kSimple || type == RespType::kBulk || type == RespType::kVerbatim; }
  bool is_list() const { return type >= RespType::kArray; }
  // The value beside `key` in a map, or in a flat array as RESP2 sends maps. Null when there is none.
  const RespValue* find(std::string_view key) const;

  friend bool operator==(const RespValue&, const RespValue&) = default;
};

// One line for people and tests: `[1, "two", null]`, errors as `(error) ERR ...`.
std::string to_text(const RespValue& value);

struct RespReplyLimits {
  std::size_t depth_max = 8;
  std::size_t elements_max = 1u << 20;  // of one reply, all levels together
  std::size_t bytes_max = 128u << 20;   // of one reply on the wire
};

class RespReplyParser {
 public:
  enum class Status : std::uint8_t { kNeedMore, kValue, kError };

  explicit RespReplyParser(RespReplyLimits limits = {}) : limits_(limits) {}

  void feed(std::string_view bytes);
  // kValue: `*out` is the next reply. Attributes are read and dropped.
  Status next(RespValue* out);
  const std::string& error() const { return error_; }

 private:
  struct Frame {
    RespValue value;
    std::size_t left = 0;  // elements still to come
    bool attribute = false;
  };
  Status fail_with(std::string text);
  Status step(RespValue* out, bool* done);
  Status open(char type, std::int64_t count, RespValue* out, bool* done);
  void close_value(RespValue value, RespValue* out, bool* done);

  RespReplyLimits limits_;
  std::string buffer_;
  std::size_t at_ = 0;       // next byte to look at
  std::size_t scanned_ = 0;  // no line end before this
  std::size_t reply_bytes_ = 0;
  std::size_t elements_ = 0;
  std::vector<Frame> stack_;
  bool dead_ = false;
  std::string error_;
};

}  // namespace tidelock
