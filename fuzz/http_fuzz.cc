// HTTP requests of strangers. A head is refused with a status that says why, or it is understood in full: written again
// from what was understood, it is understood the same.
#include "fuzz/fuzz.h"
#include "wire/http/request.h"

namespace tidelock::fuzz {
namespace {

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    constexpr char kHex[] = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    out += {'%', kHex[byte >> 4], kHex[byte & 15]};
  }
  return out;
}

std::string written(const HttpRequest& request) {
  std::string out = request.method + " /" + percent_encoded(request.path.substr(1));
  char mark = '?';
  for (const auto& [name, value] : request.query) {
    out += mark + percent_encoded(name) + "=" + percent_encoded(value);
    mark = '&';
  }
  out += " HTTP/1.1";
  for (const auto& [name, value] : request.headers) out += "\r\n" + name + ": " + value;
  return out;
}

}  // namespace

std::vector<Seed> seeds() {
  return {{"get", "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: */*"},
          {"post", "POST /join HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nContent-Type: application/octet-stream"},
          {"query", "GET /v1/models/cam%20era?version=1.0.0&a=b+c&a=d&=&x HTTP/1.0"},
          {"twice", "GET / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 2"},
          {"chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 18446744073709551616"},
          {"folded", "GET / HTTP/1.1\r\nA: b\r\n c: d\r\nE:\tf\t"},
          {"nul", "GET /%00 HTTP/1.1"}};
}

void run(BytesView input) {
  HttpRequest request;
  if (const auto refused = parse_http_head(input, request)) {
    TIDELOCK_ASSERT(refused->status >= 400 && refused->status < 500 && !refused->body.empty());
    return;
  }
  TIDELOCK_ASSERT(request.path.starts_with('/') && !request.method.empty());
  TIDELOCK_ASSERT(request.path.find('\0') == std::string::npos);
  TIDELOCK_ASSERT(request.headers.size() <= kHttpHeadersMax);
  HttpRequest again;
  const std::string text = written(request);
  TIDELOCK_ASSERT(!parse_http_head(text, again));
  TIDELOCK_ASSERT(again.method == request.method && again.path == request.path && again.query == request.query);
  TIDELOCK_ASSERT(again.headers == request.headers);
  constexpr std::size_t kBodyMax = 1u << 20;
  std::size_t length = 0;
  if (const auto refused = parse_http_length(request, kBodyMax, length)) {
    TIDELOCK_ASSERT(refused->status == 400 || refused->status == 411 || refused->status == 413);
  } else {
    TIDELOCK_ASSERT(length <= kBodyMax);
  }
}

}  // namespace tidelock::fuzz
