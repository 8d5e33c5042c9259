#include "wire/resp/reply.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace tidelock {
namespace {

constexpr std::size_t kPrefetchedBytes = 4096;

constexpr std::string_view kCrlf = "\r\n";

void append_line(std::string& out, char type, std::string_view text) {
  out.push_back(type);
  const std::size_t from = out.size();
  out.append(text);
  for (std::size_t i = from; i < out.size(); ++i) {
    if (out[i] == '\r' || out[i] == '\n') out[i] = ' ';
  }
  out.append(kCrlf);
}

void append_header(std::string& out, char type, std::int64_t value) {
  char digits[24];
  digits[0] = type;
  char* end = std::to_chars(digits + 1, digits + sizeof digits - 2, value).ptr;
  *end++ = '\r';
  *end++ = '\n';
  out.append(digits, static_cast<std::size_t>(end - digits));
}

void append_bulk(std::string& out, std::string_view bytes) {
  append_header(out, '$', static_cast<std::int64_t>(bytes.size()));
  out.append(bytes);
  out.append(kCrlf);
}

std::string_view number_text(double value, char (&buffer)[40]) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;  // the shortest that reads back the same
  return {buffer, static_cast<std::size_t>(end - buffer)};
}

}  // namespace

void RespReply::header(char type, std::int64_t value) { append_header(out_, type, value); }
void RespReply::simple(std::string_view text) { append_line(out_, '+', text); }
void RespReply::error(std::string_view text) { append_line(out_, '-', text); }
void RespReply::integer(std::int64_t value) { header(':', value); }
void RespReply::bulk(std::string_view bytes) { append_bulk(out_, bytes); }
void RespReply::bulk_reference(std::string_view bytes) {
  if (references_ == nullptr || bytes.size() < kReferenceBytesMin) return bulk(bytes);
  // The kernel copies them line after line; asked for now, they come side by side.
  for (std::size_t at = 0; at < std::min(bytes.size(), kPrefetchedBytes); at += 64)
    __builtin_prefetch(bytes.data() + at, 0, 2);
  header('$', static_cast<std::int64_t>(bytes.size()));
  references_->pieces.push_back({out_.size(), bytes});
  references_->bytes += bytes.size();
  out_.append(kCrlf);
}
void RespReply::null() { out_.append(protocol_ >= 3 ? "_\r\n" : "$-1\r\n"); }
void RespReply::null_array() { out_.append(protocol_ >= 3 ? "_\r\n" : "*-1\r\n"); }
void RespReply::array(std::size_t elements) { header('*', static_cast<std::int64_t>(elements)); }

void RespReply::map(std::size_t pairs) {
  if (protocol_ >= 3) {
    header('%', static_cast<std::int64_t>(pairs));
  } else {
    header('*', static_cast<std::int64_t>(pairs * 2));
  }
}

void RespReply::set(std::size_t elements) { header(protocol_ >= 3 ? '~' : '*', static_cast<std::int64_t>(elements)); }
void RespReply::push(std::size_t elements) { header(protocol_ >= 3 ? '>' : '*', static_cast<std::int64_t>(elements)); }

bool RespReply::attribute(std::size_t pairs) {
  if (protocol_ < 3) return false;
  header('|', static_cast<std::int64_t>(pairs));
  return true;
}

void RespReply::number(double value) {
  char buffer[40];
  const std::string_view text = number_text(value, buffer);
  if (protocol_ < 3) {
    append_bulk(out_, text);
  } else {
    append_line(out_, ',', text);
  }
}

void RespReply::boolean(bool value) {
  if (protocol_ < 3) {
    header(':', value ? 1 : 0);
  } else {
    out_.append(value ? "#t\r\n" : "#f\r\n");
  }
}

void RespReply::verbatim(std::string_view format, std::string_view text) {
  if (protocol_ < 3) {
    append_bulk(out_, text);
    return;
  }
  header('=', static_cast<std::int64_t>(text.size() + 4));
  std::string prefix(format.substr(0, 3));
  prefix.resize(3, ' ');
  out_.append(prefix).append(":").append(text).append(kCrlf);
}

void append_request(std::string& out, const std::string_view* args, std::size_t count) {
  append_header(out, '*', static_cast<std::int64_t>(count));
  for (std::size_t i = 0; i < count; ++i) append_bulk(out, args[i]);
}

}  // namespace tidelock
