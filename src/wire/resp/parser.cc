// The buffer holds [begin_, end_). A command under way starts at begin_ and is known up to at_; all positions are kept
// relative to begin_, so that moving or growing the buffer changes nothing. Each verdict depends on the bytes up to
// some position of the command alone, never on how many more arrived: that is why every split gives the same result.
#include "wire/resp/parser.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/assert.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

constexpr std::size_t kBufferBytesMin = 4096;
constexpr std::size_t kKeptBytes = 64u << 10;  // shrink() leaves buffers up to this size alone
constexpr std::size_t kKeptArguments = 1024;
constexpr std::size_t kGlanceArguments = 16;
constexpr std::size_t kGlanceDigits = 9;

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

char unescaped(char c) {
  switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return c;
  }
}

std::string printable(char c) {
  if (c >= ' ' && c <= '~') return std::string(1, c);
  constexpr char kHex[] = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  return {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
}

}  // namespace

RespLimits RespLimits::before_authentication() {
  RespLimits limits;
  limits.arguments_max = 10;
  limits.bulk_bytes_max = 16u << 10;
  limits.request_bytes_max = 1u << 20;
  limits.authenticated = false;
  return limits;
}

char* RespParser::prepare(std::size_t bytes) {
  args_.clear();
  if (begin_ == end_) begin_ = end_ = 0;
  if (capacity_ - end_ >= bytes) return buffer_.get() + end_;
  const std::size_t used = end_ - begin_;
  // Moving is worth it only when it frees half: so the bytes moved stay below the bytes that were parsed.
  if (capacity_ - used >= bytes && begin_ >= capacity_ / 2) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, used);
  } else {
    const std::size_t wanted = std::max({kBufferBytesMin, used + bytes, used * 2});
    auto grown = std::make_unique_for_overwrite<char[]>(wanted);
    if (used > 0) std::memcpy(grown.get(), buffer_.get() + begin_, used);
    buffer_ = std::move(grown);
    capacity_ = wanted;
  }
  begin_ = 0;
  end_ = used;
  return buffer_.get() + end_;
}

void RespParser::commit(std::size_t bytes) {
  TIDELOCK_ASSERT(bytes <= capacity_ - end_);
  end_ += bytes;
}

void RespParser::feed(std::string_view bytes) {
  if (bytes.empty()) return;
  std::memcpy(prepare(bytes.size()), bytes.data(), bytes.size());
  commit(bytes.size());
}

std::size_t RespParser::memory_bytes() const {
  return capacity_ + spans_.capacity() * sizeof(Span) + args_.capacity() * sizeof(std::string_view);
}

void RespParser::shrink() {
  args_.clear();
  if (begin_ == end_ && capacity_ > kKeptBytes) {
    buffer_.reset();
    capacity_ = begin_ = end_ = 0;
  }
  if (arguments_left_ == 0 && spans_.capacity() > kKeptArguments) std::vector<Span>().swap(spans_);
  if (args_.capacity() > kKeptArguments) std::vector<std::string_view>().swap(args_);
}

RespParser::Status RespParser::fail_with(std::string text) {
  dead_ = true;
  error_ = "Protocol error: " + std::move(text);
  args_.clear();
  return Status::kError;
}

// A command of spans_ ends `consumed` bytes after begin_.
RespParser::Status RespParser::finish(std::size_t consumed) {
  const char* base = buffer_.get() + begin_;
  for (const Span& span : spans_) args_.emplace_back(base + span.at, span.size);
  spans_.clear();
  begin_ += consumed;
  at_ = scanned_ = 0;
  arguments_left_ = 0;
  bulk_size_ = -1;
  return args_.empty() ? Status::kNeedMore : Status::kCommand;
}

RespParser::Status RespParser::next() {
  args_.clear();
  while (!dead_) {
    const std::size_t before = begin_;
    if (begin_ == end_) return Status::kNeedMore;
    const Status status = arguments_left_ > 0 || buffer_[begin_] == '*' ? next_multibulk() : next_inline();
    if (status != Status::kNeedMore) return status;
    if (begin_ != before) continue;  // an empty command was skipped
    // Only when limits were lowered in the middle of a command: it would wait for bytes that nobody reads.
    return wants_bytes() ? status : fail_with("request larger than the limit");
  }
  return Status::kError;
}

// Takes "<type><digits>\r\n" from the front; false, and nothing is promised of `text`, when it is not there.
static bool take_header(std::string_view& text, char type, std::size_t* value) {
  if (text.empty() || text[0] != type) return false;
  std::size_t at = 1;
  *value = 0;
  for (; at < text.size() && at < kGlanceDigits && text[at] >= '0' && text[at] <= '9'; ++at) {
    *value = *value * 10 + static_cast<std::size_t>(text[at] - '0');
  }
  if (at == 1 || at + 2 > text.size() || text[at] != '\r') return false;
  text.remove_prefix(at + 2);
  return true;
}

std::size_t RespParser::upcoming(std::span<std::string_view> words) const {
  if (arguments_left_ > 0) return 0;
  std::string_view text(buffer_.get() + begin_, end_ - begin_);
  std::size_t found = 0, count = 0, size = 0;
  while (found < words.size() && take_header(text, '*', &count) && count >= 2 && count <= kGlanceArguments) {
    std::string_view second;
    for (std::size_t i = 0; i < count; ++i) {
      if (!take_header(text, '$', &size) || text.size() < size + 2) return found;
      if (i == 1) second = text.substr(0, size);
      text.remove_prefix(size + 2);
    }
    words[found++] = second;
  }
  return found;
}

// Looks from at_ for CR LF; `*size` is the length of the line before it.
RespParser::Line RespParser::find_line(std::size_t* size) {
  const char* base = buffer_.get() + begin_;
  const std::size_t have = std::min(end_ - begin_, at_ + limits_.inline_bytes_max + 2);
  const std::size_t from = std::max(scanned_, at_);
  const char* cr = have > from ? static_cast<const char*>(std::memchr(base + from, '\r', have - from)) : nullptr;
  if (cr == nullptr) {
    scanned_ = have;
    return have - at_ > limits_.inline_bytes_max ? Line::kTooLong : Line::kPartial;
  }
  const auto end = static_cast<std::size_t>(cr - base);
  if (end - at_ > limits_.inline_bytes_max) return Line::kTooLong;
  scanned_ = end;
  if (end + 1 >= end_ - begin_) return Line::kPartial;
  if (base[end + 1] != '\n') return Line::kNoLineFeed;
  *size = end - at_;
  return Line::kFound;
}

RespParser::Status RespParser::next_multibulk() {
  const char* base = buffer_.get() + begin_;
  std::size_t size = 0;
  if (arguments_left_ == 0) {
    const Line line = find_line(&size);
    if (line == Line::kTooLong) return fail_with("too big mbulk count string");
    if (line == Line::kPartial) return Status::kNeedMore;
    const auto count = line == Line::kFound ? parse_resp_integer({base + 1, size - 1}) : std::nullopt;
    if (!count || *count > std::numeric_limits<std::int32_t>::max()) return fail_with("invalid multibulk length");
    if (*count > 0 && static_cast<std::uint64_t>(*count) > limits_.arguments_max) {  // X6
      return fail_with(limits_.authenticated ? "invalid multibulk length" : "unauthenticated multibulk length");
    }
    if (*count <= 0) return finish(size + 2);
    at_ = scanned_ = size + 2;
    arguments_left_ = *count;  // X7: a number only; nothing is allocated for it
  }
  while (arguments_left_ > 0) {
    if (bulk_size_ < 0) {
      if (at_ >= end_ - begin_) return Status::kNeedMore;
      if (base[at_] != '$') return fail_with("expected '$', got '" + printable(base[at_]) + "'");
      const Line line = find_line(&size);
      if (line == Line::kTooLong) return fail_with("too big bulk count string");
      if (line == Line::kPartial) return Status::kNeedMore;
      const auto length = line == Line::kFound ? parse_resp_integer({base + at_ + 1, size - 1}) : std::nullopt;
      if (!length || *length < 0) return fail_with("invalid bulk length");
      if (static_cast<std::uint64_t>(*length) > limits_.bulk_bytes_max) {  // X6
        return fail_with(limits_.authenticated ? "invalid bulk length" : "unauthenticated bulk length");
      }
      at_ += size + 2;
      scanned_ = at_;
      bulk_size_ = *length;
      if (at_ + static_cast<std::size_t>(bulk_size_) + 2 > limits_.request_bytes_max) {  // X6
        return fail_with("request larger than " + std::to_string(limits_.request_bytes_max) + " bytes");
      }
    }
    const auto length = static_cast<std::size_t>(bulk_size_);
    const std::size_t have = end_ - begin_ - at_;
    if (have > length && base[at_ + length] != '\r') return fail_with("expected CRLF after a bulk of the given length");
    if (have < length + 2) return Status::kNeedMore;
    if (base[at_ + length + 1] != '\n') return fail_with("expected CRLF after a bulk of the given length");
    spans_.push_back({at_, length});
    at_ += length + 2;
    scanned_ = at_;
    bulk_size_ = -1;
    --arguments_left_;
  }
  return finish(at_);
}

RespParser::Status RespParser::next_inline() {
  char* base = buffer_.get() + begin_;
  const std::size_t have = std::min(end_ - begin_, limits_.inline_bytes_max + 2);
  const char* lf =
      have > scanned_ ? static_cast<const char*>(std::memchr(base + scanned_, '\n', have - scanned_)) : nullptr;
  std::size_t size = lf != nullptr ? static_cast<std::size_t>(lf - base) : have;
  if (lf == nullptr && have < limits_.inline_bytes_max + 2) {
    scanned_ = have;
    return Status::kNeedMore;
  }
  const std::size_t consumed = size + 1;
  if (lf != nullptr && size > 0 && base[size - 1] == '\r') --size;
  if (lf == nullptr || size > limits_.inline_bytes_max) return fail_with("too big inline request");
  if (!split_inline(base, size)) return fail_with("unbalanced quotes in request");
  if (spans_.size() > limits_.arguments_max) {  // X6
    return fail_with(limits_.authenticated ? "invalid multibulk length" : "unauthenticated multibulk length");
  }
  return finish(consumed);
}

// Redis's sdssplitargs, unescaping in place: what is written never overtakes what is read.
bool RespParser::split_inline(char* line, std::size_t size) {
  std::size_t in = 0;
  while (true) {
    while (in < size && is_blank(line[in])) ++in;
    if (in >= size) return true;
    const std::size_t start = in;
    std::size_t out = in;
    char quote = '\0';
    for (; in < size && (quote != '\0' || !is_blank(line[in])); ++in) {
      const char c = line[in];
      if (quote == '\0' && (c == '"' || c == '\'')) {
        quote = c;
      } else if (quote != '\0' && c == quote) {
        // A closing quote must be followed by a blank or the end.
        if (in + 1 < size && !is_blank(line[in + 1])) return false;
        quote = '\0';
      } else if (quote == '"' && c == '\\' && in + 3 < size && line[in + 1] == 'x' && hex_digit(line[in + 2]) >= 0 &&
                 hex_digit(line[in + 3]) >= 0) {
        line[out++] = static_cast<char>(hex_digit(line[in + 2]) * 16 + hex_digit(line[in + 3]));
        in += 3;
      } else if (quote == '"' && c == '\\' && in + 1 < size) {
        line[out++] = unescaped(line[++in]);
      } else if (quote == '\'' && c == '\\' && in + 1 < size && line[in + 1] == '\'') {
        line[out++] = '\'';
        ++in;
      } else {
        line[out++] = c;
      }
    }
    if (quote != '\0') return false;
    spans_.push_back({start, out - start});
  }
}

}  // namespace tidelock
