// Replies are built with an explicit stack of open aggregates, so that depth costs no stack of ours and is capped.
#include "wire/resp/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

constexpr std::size_t kLineBytesMax = 64u << 10;
constexpr std::size_t kCompactBytes = 64u << 10;

bool parse_double(std::string_view text, double* out) {
  if (text == "inf" || text == "+inf") return *out = std::numeric_limits<double>::infinity(), true;
  if (text == "-inf") return *out = -std::numeric_limits<double>::infinity(), true;
  if (text == "nan" || text == "-nan") return *out = std::numeric_limits<double>::quiet_NaN(), true;
  if (!text.empty() && text[0] == '+') text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

RespType aggregate_type(char type) {
  switch (type) {
    case '%': return RespType::kMap;
    case '~': return RespType::kSet;
    case '>': return RespType::kPush;
    default: return RespType::kArray;
  }
}

void append_quoted(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.append({'\\', c});
    } else if (c == '\n') {
      out.append("\\n");
    } else if (c == '\r') {
      out.append("\\r");
    } else if (byte < 0x20 || byte >= 0x7f) {
      out.append({'\\', 'x', kHex[byte >> 4], kHex[byte & 15]});
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

void append_text(std::string& out, const RespValue& value) {  // as deep as the parser lets values be
  switch (value.type) {
    case RespType::kNull: out.append("null"); return;
    case RespType::kSimple:
    case RespType::kBigNumber: out.append(value.text); return;
    case RespType::kError: out.append("(error) ").append(value.text); return;
    case RespType::kInteger: out.append(std::to_string(value.integer)); return;
    case RespType::kDouble: {
      char buffer[40];
      out.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, value.number).ptr);
      return;
    }
    case RespType::kBoolean: out.append(value.integer != 0 ? "true" : "false"); return;
    case RespType::kBulk:
    case RespType::kVerbatim: append_quoted(out, value.text); return;
    case RespType::kArray:
    case RespType::kPush:
    case RespType::kSet:
    case RespType::kMap: break;
  }
  const bool map = value.type == RespType::kMap;
  out.push_back(map || value.type == RespType::kSet ? '{' : '[');
  for (std::size_t i = 0; i < value.elements.size(); ++i) {
    if (i > 0) out.append(map && i % 2 == 1 ? ": " : ", ");
    append_text(out, value.elements[i]);
  }
  out.push_back(map || value.type == RespType::kSet ? '}' : ']');
}

}  // namespace

std::string_view resp_type_name(RespType type) {
  constexpr std::string_view kNames[] = {"null",     "simple",     "error", "integer", "double", "boolean", "bulk",
                                         "verbatim", "big number", "array", "map",     "set",    "push"};
  return kNames[static_cast<std::size_t>(type)];
}

const RespValue* RespValue::find(std::string_view key) const {
  if (type != RespType::kMap && type != RespType::kArray) return nullptr;
  for (std::size_t i = 0; i + 1 < elements.size(); i += 2) {
    if (elements[i].is_text() && elements[i].text == key) return &elements[i + 1];
  }
  return nullptr;
}

std::string to_text(const RespValue& value) {
  std::string out;
  append_text(out, value);
  return out;
}

void RespReplyParser::feed(std::string_view bytes) {
  if (at_ == buffer_.size()) {
    buffer_.clear();
    at_ = scanned_ = 0;
  } else if (at_ > kCompactBytes && at_ > buffer_.size() / 2) {
    buffer_.erase(0, at_);
    scanned_ -= std::min(scanned_, at_);
    at_ = 0;
  }
  buffer_.append(bytes);
}

RespReplyParser::Status RespReplyParser::fail_with(std::string text) {
  dead_ = true;
  error_ = "reply is not RESP: " + std::move(text);
  stack_.clear();
  return Status::kError;
}

RespReplyParser::Status RespReplyParser::next(RespValue* out) {
  bool done = false;
  while (!dead_) {
    const Status status = step(out, &done);
    if (status != Status::kValue) return status;
    if (done) {
      reply_bytes_ = elements_ = 0;
      return Status::kValue;
    }
  }
  return Status::kError;
}

// Takes one scalar or one aggregate header; kValue: taken.
RespReplyParser::Status RespReplyParser::step(RespValue* out, bool* done) {
  if (at_ >= buffer_.size()) return Status::kNeedMore;
  const std::size_t from = std::max(at_, scanned_);
  const std::size_t cr = buffer_.find('\r', from);
  const std::size_t line_end = cr == std::string::npos ? buffer_.size() : cr;
  if (line_end - at_ > kLineBytesMax)
    return fail_with("a line longer than " + std::to_string(kLineBytesMax) + " bytes");
  if (cr == std::string::npos || cr + 1 >= buffer_.size()) {
    scanned_ = line_end;
    return Status::kNeedMore;
  }
  if (buffer_[cr + 1] != '\n') return fail_with("CR without LF");
  const char type = buffer_[at_];
  const std::string_view line(buffer_.data() + at_ + 1, cr - at_ - 1);
  std::size_t next_at = cr + 2;
  RespValue value;
  switch (type) {
    case '+':
      value.type = RespType::kSimple;
      value.text = line;
      break;
    case '-':
      value.type = RespType::kError;
      value.text = line;
      break;
    case '(':
      value.type = RespType::kBigNumber;
      value.text = line;
      break;
    case '_':
      if (!line.empty()) return fail_with("a null with content");
      break;
    case '#':
      if (line != "t" && line != "f") return fail_with("a boolean that is neither t nor f");
      value.type = RespType::kBoolean;
      value.integer = line == "t" ? 1 : 0;
      break;
    case ',':
      value.type = RespType::kDouble;
      if (!parse_double(line, &value.number)) return fail_with("a double that is no number");
      break;
    case ':': {
      const auto integer = parse_resp_integer(line);
      if (!integer) return fail_with("an integer that is none, or beyond 64 bits");
      value.type = RespType::kInteger;
      value.integer = *integer;
      break;
    }
    case '$':
    case '=':
    case '!': {
      const auto length = parse_resp_integer(line);
      if (!length || *length < -1 || (*length == -1 && type != '$')) return fail_with("an invalid bulk length");
      if (*length == -1) break;
      const auto size = static_cast<std::size_t>(*length);
      if (size > limits_.bytes_max || reply_bytes_ + size > limits_.bytes_max) {
        return fail_with("a reply longer than " + std::to_string(limits_.bytes_max) + " bytes");
      }
      if (buffer_.size() - next_at < size + 2) {  // X7: nothing is allocated before the bytes are here
        scanned_ = cr;
        return Status::kNeedMore;
      }
      if (buffer_.compare(next_at + size, 2, "\r\n") != 0) return fail_with("a bulk that does not end with CRLF");
      value.text.assign(buffer_, next_at, size);
      value.type = type == '$' ? RespType::kBulk : type == '!' ? RespType::kError : RespType::kVerbatim;
      if (type == '=') {
        if (size < 4 || value.text[3] != ':') return fail_with("a verbatim string without its format");
        value.text.erase(0, 4);
      }
      next_at += size + 2;
      break;
    }
    case '*':
    case '%':
    case '~':
    case '>':
    case '|': {
      const auto count = parse_resp_integer(line);
      if (!count || *count < -1 || (*count == -1 && type != '*')) return fail_with("an invalid element count");
      reply_bytes_ += next_at - at_;
      at_ = scanned_ = next_at;
      if (*count == -1) {
        close_value(RespValue{}, out, done);
        return Status::kValue;
      }
      return open(type, *count, out, done);
    }
    default: return fail_with("an unknown type byte " + std::to_string(static_cast<unsigned char>(type)));
  }
  reply_bytes_ += next_at - at_;
  at_ = scanned_ = next_at;
  if (reply_bytes_ > limits_.bytes_max) {
    return fail_with("a reply longer than " + std::to_string(limits_.bytes_max) + " bytes");
  }
  close_value(std::move(value), out, done);
  return Status::kValue;
}

RespReplyParser::Status RespReplyParser::open(char type, std::int64_t count, RespValue* out, bool* done) {
  const bool pairs = type == '%' || type == '|';
  const auto wanted = static_cast<std::uint64_t>(count);
  if (wanted > limits_.elements_max || wanted * (pairs ? 2 : 1) > limits_.elements_max - elements_) {
    return fail_with("more than " + std::to_string(limits_.elements_max) + " elements in one reply");
  }
  const std::size_t left = wanted * (pairs ? 2 : 1);
  elements_ += left;
  if (type == '|' && left == 0) return Status::kValue;
  RespValue value;
  value.type = aggregate_type(type);
  if (left == 0) {
    close_value(std::move(value), out, done);
    return Status::kValue;
  }
  if (stack_.size() >= limits_.depth_max) {
    return fail_with("nested deeper than " + std::to_string(limits_.depth_max));
  }
  stack_.push_back({std::move(value), left, type == '|'});
  return Status::kValue;
}

void RespReplyParser::close_value(RespValue value, RespValue* out, bool* done) {
  while (!stack_.empty()) {
    Frame& top = stack_.back();
    top.value.elements.push_back(std::move(value));
    if (--top.left > 0) return;
    Frame finished = std::move(top);
    stack_.pop_back();
    if (finished.attribute) return;  // dropped: what it describes comes next
    value = std::move(finished.value);
  }
  *out = std::move(value);
  *done = true;
}

}  // namespace tidelock
