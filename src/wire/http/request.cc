#include "wire/http/request.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace tidelock {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}
bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

// A bare line break in a value would be a header of its own to whoever reads lines differently.
bool is_control(char c) { return (static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 0x7F; }

std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_space) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      unsigned byte = 0;
      if (i + 2 >= text.size()) return std::nullopt;
      const auto [end, error] = std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16);
      if (error != std::errc() || end != text.data() + i + 3 || byte == 0) return std::nullopt;
      out += static_cast<char>(byte);
      i += 2;
    }
  }
  return out;
}

bool parse_target(std::string_view target, HttpRequest& request) {
  if (target.empty() || target.front() != '/') return false;
  // Visible ASCII; anything else comes as %XX. A NUL or a blank means one thing here and another elsewhere.
  if (!std::all_of(target.begin(), target.end(), [](char c) { return c > ' ' && c < 0x7F; })) return false;
  const std::size_t mark = std::min(target.find('?'), target.size());
  const auto path = percent_decoded(target.substr(0, mark), false);
  if (!path) return false;
  request.path = *path;
  std::string_view rest = target.substr(std::min(mark + 1, target.size()));
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const auto key = percent_decoded(pair.substr(0, equals), true);
    const auto value = percent_decoded(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!key || !value) return false;
    request.query.emplace(*key, *value);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return true;
}

}  // namespace

HttpResponse http_plain(int status, std::string text) {
  return {status, "text/plain; charset=utf-8", std::move(text) + "\n"};
}

std::string http_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

std::optional<HttpResponse> parse_http_head(std::string_view head, HttpRequest& request) {
  std::size_t at = std::min(head.find("\r\n"), head.size());
  const std::string_view line = head.substr(0, at);
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last || !is_token(line.substr(0, first))) {
    return http_plain(400, "request line: want METHOD /path HTTP/1.1");
  }
  const std::string_view version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return http_plain(400, "version: want HTTP/1.1");
  request.method = std::string(line.substr(0, first));
  if (!parse_target(line.substr(first + 1, last - first - 1), request)) {
    return http_plain(400, "target: want /path?query with whole %XX codes");
  }
  std::size_t count = 0;
  for (at += 2; at < head.size();) {
    const std::size_t end = std::min(head.find("\r\n", at), head.size());
    const std::string_view header = head.substr(at, end - at);
    at = end + 2;
    if (++count > kHttpHeadersMax) return http_plain(431, "more than " + std::to_string(kHttpHeadersMax) + " headers");
    const std::size_t colon = header.find(':');
    if (colon == std::string_view::npos || !is_token(header.substr(0, colon)))
      return http_plain(400, "header: want name: value");
    const std::string_view value = header.substr(colon + 1);
    if (std::any_of(value.begin(), value.end(), is_control)) return http_plain(400, "header: a control character");
    const std::string name = http_lower(header.substr(0, colon));
    const bool fresh = request.headers.emplace(name, std::string(trimmed(value))).second;
    if (!fresh && (name == "content-length" || name == "host")) return http_plain(400, name + " is there twice");
  }
  return std::nullopt;
}

std::optional<HttpResponse> parse_http_length(const HttpRequest& request, std::size_t body_bytes_max,
                                              std::size_t& length) {
  length = 0;
  if (request.headers.contains("transfer-encoding")) {
    return http_plain(411, "want Content-Length, not Transfer-Encoding");
  }
  if (const auto header = request.headers.find("content-length"); header != request.headers.end()) {
    const std::string& text = header->second;
    const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), length);
    if (error == std::errc::result_out_of_range) length = SIZE_MAX;
    if (text.empty() || at != text.data() + text.size()) return http_plain(400, "content-length: want a number");
  }
  if (length <= body_bytes_max) return std::nullopt;
  return http_plain(413, "body: more than " + std::to_string(body_bytes_max) + " bytes");
}

}  // namespace tidelock
