#include "wire/http/web_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>

#include "base/assert.h"

namespace tidelock {
namespace {

constexpr std::size_t kIdleHandlesMax = 8;
constexpr std::size_t kHeadersMax = 100;
constexpr std::size_t kHeaderBytesMax = 8u << 10;
constexpr std::size_t kUrlBytesMax = 2'048;

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "[::1]" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos);
}

struct CurlText {
  char* text = nullptr;
  ~CurlText() { curl_free(text); }
};

void start_libcurl() {  // once, before any handle; a static makes it safe for threads
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  TIDELOCK_ASSERT(started == CURLE_OK);
}

}  // namespace

Result<WebUrl> parse_web_url(const std::string& field, const std::string& text, bool allow_plain_http) {
  const auto wrong = [&](const std::string& why) {  // the text may hold a secret that somebody put there: not repeated
    return fail(Code::kInvalid, field + ": " + why + "; write https://HOST[:PORT]/PATH");
  };
  if (text.size() > kUrlBytesMax) return wrong("longer than " + std::to_string(kUrlBytesMax) + " bytes");
  start_libcurl();
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> url(curl_url(), &curl_url_cleanup);
  if (!url ||
      curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME | CURLU_PATH_AS_IS) != CURLUE_OK)
    return wrong("not a URL");
  const auto part = [&](CURLUPart which) {
    CurlText got;
    return curl_url_get(url.get(), which, &got.text, 0) == CURLUE_OK ? std::string(got.text) : std::string();
  };
  WebUrl out{part(CURLUPART_SCHEME), part(CURLUPART_HOST), {}, part(CURLUPART_PATH)};
  if (out.scheme != "http" && out.scheme != "https") return wrong("its scheme is '" + out.scheme.substr(0, 16) + "'");
  if (!part(CURLUPART_USER).empty() || !part(CURLUPART_PASSWORD).empty())
    return wrong("credentials do not belong into it: see `credentials`");
  if (text.find_first_of("?#") != std::string::npos) return wrong("no query belongs into it");
  if (out.scheme == "http" && !allow_plain_http && !is_loopback(out.host)) {
    return wrong("plain http to " + out.host +
                 " would show its secrets to the network (allow_plain_http = true allows it)");
  }
  const std::string port = part(CURLUPART_PORT);
  out.authority = out.host + (port.empty() ? "" : ":" + port);
  while (out.path.ends_with('/')) out.path.pop_back();
  return out;
}

std::string percent_encode(std::string_view text, bool keep_slashes) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~' || (keep_slashes && c == '/');
    if (plain)
      out += c;
    else
      out.append({'%', kHex[byte >> 4], kHex[byte & 15]});
  }
  return out;
}

Result<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  const auto nibble = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
  };
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[at] != '%') {
      out += text[at];
    } else {
      const int high = at + 2 < text.size() ? nibble(text[at + 1]) : -1;
      const int low = at + 2 < text.size() ? nibble(text[at + 2]) : -1;
      if (high < 0 || low < 0) return fail(Code::kCorrupt, "percent encoding: '%' without two hex digits");
      out += static_cast<char>(high << 4 | low);
      at += 2;
    }
  }
  return out;
}

// What the callbacks of one transfer share.
struct WebClient::Exchange {
  const WebRequest& request;
  const std::atomic<bool>& stopping;
  WebAnswer answer;
  std::size_t header_count = 0;
  Result<void> verdict{};  // of the sink, or of a limit

  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self) {
    auto& exchange = *static_cast<Exchange*>(self);
    std::string_view line(data, size * count);
    if (line.starts_with("HTTP/")) {  // a further head, behind 100 Continue
      exchange.answer.headers.clear();
      const std::size_t space = line.find(' ');
      exchange.answer.status = 0;
      for (std::size_t i = space + 1; space != line.npos && i < line.size() && i < space + 4; ++i)
        exchange.answer.status = exchange.answer.status * 10 + (line[i] >= '0' && line[i] <= '9' ? line[i] - '0' : 0);
      return line.size();
    }
    if (++exchange.header_count > kHeadersMax || line.size() > kHeaderBytesMax) {
      exchange.verdict =
          fail(Code::kCorrupt, "more than " + std::to_string(kHeadersMax) + " headers, or a header above " +
                                   std::to_string(kHeaderBytesMax) + " bytes");
      return 0;
    }
    const std::size_t colon = line.find(':');
    if (colon == line.npos) return size * count;
    std::string name(line.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    std::string_view value = line.substr(colon + 1);
    const std::size_t begin = value.find_first_not_of(" \t\r\n");
    const std::size_t end = value.find_last_not_of(" \t\r\n");
    exchange.answer.headers[name] = begin == value.npos ? "" : std::string(value.substr(begin, end - begin + 1));
    return size * count;
  }
  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self) {
    auto& exchange = *static_cast<Exchange*>(self);
    const BytesView piece(data, size * count);
    const bool good = exchange.answer.status >= 200 && exchange.answer.status < 300;
    if (good && exchange.request.sink) {
      exchange.verdict = exchange.request.sink(exchange.answer, piece);
    } else if (exchange.answer.body.size() + piece.size() > exchange.request.body_bytes_max) {
      exchange.verdict =
          fail(Code::kCorrupt, "an answer above " + std::to_string(exchange.request.body_bytes_max) + " bytes");
    } else {
      exchange.answer.body += piece;
    }
    return exchange.verdict ? piece.size() : 0;
  }
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Exchange*>(self)->stopping.load(std::memory_order_acquire) ? 1 : 0;
  }
};

WebClient::WebClient(WebOptions options) : options_(std::move(options)) { start_libcurl(); }
WebClient::~WebClient() {
  for (void* handle : idle_) curl_easy_cleanup(handle);
}

void* WebClient::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      void* handle = idle_.back();
      idle_.pop_back();
      return handle;
    }
  }
  return curl_easy_init();
}

void WebClient::give_back(void* handle) {
  curl_easy_reset(handle);  // drops credentials and headers, keeps connections
  {
    const std::lock_guard lock(mutex_);
    if (idle_.size() < kIdleHandlesMax) {
      idle_.push_back(handle);
      return;
    }
  }
  curl_easy_cleanup(handle);
}

Result<WebAnswer> WebClient::perform(const WebRequest& request) {
  const std::string_view url = request.url;
  const std::string named = request.method + " " + std::string(url.substr(0, url.find('?')));  // a query may be a token
  if (stopping_.load(std::memory_order_acquire)) return fail(Code::kBusy, named + ": stopped");
  CURL* curl = take();
  if (curl == nullptr) return fail(Code::kUnavailable, named + ": no memory for a connection");
  Exchange exchange{request, stopping_, {}, 0, {}};
  curl_slist* headers = nullptr;
  for (const auto& [name, value] : request.headers) {
    if (auto* more = curl_slist_append(headers, (name + ": " + value).c_str()); more != nullptr) headers = more;
  }
  const auto set = [&](CURLoption option, auto value) { (void)curl_easy_setopt(curl, option, value); };
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PATH_AS_IS, 1L);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_NOPROXY, "localhost,127.0.0.1,::1,169.254.169.254");
  set(CURLOPT_HTTPHEADER, headers);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout_ms));
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<std::int64_t>(1, request.timeout_ms)));
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(std::max<std::int64_t>(1, options_.idle_timeout_ms / 1'000)));
  set(CURLOPT_HEADERFUNCTION, &Exchange::on_header);
  set(CURLOPT_HEADERDATA, &exchange);
  set(CURLOPT_WRITEFUNCTION, &Exchange::on_body);
  set(CURLOPT_WRITEDATA, &exchange);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &Exchange::on_progress);
  set(CURLOPT_XFERINFODATA, &exchange);
  if (!options_.ca_file.empty()) set(CURLOPT_CAINFO, options_.ca_file.c_str());
  if (request.method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET") {
    set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
    if (request.method != "DELETE") {
      set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      set(CURLOPT_POSTFIELDS, request.body.empty() ? "" : request.body.data());
    }
  }
  if (request.signature != nullptr) {
    set(CURLOPT_AWS_SIGV4, ("aws:amz:" + request.signature->region + ":s3").c_str());
    set(CURLOPT_USERNAME, request.signature->access_key.c_str());  // not USERPWD: a key may hold a colon
    set(CURLOPT_PASSWORD, request.signature->secret.c_str());
  }
  const CURLcode code = curl_easy_perform(curl);
  give_back(curl);
  curl_slist_free_all(headers);
  if (!exchange.verdict) return fail(exchange.verdict.error());
  if (code == CURLE_ABORTED_BY_CALLBACK) return fail(Code::kBusy, named + ": stopped");
  if (code != CURLE_OK) return fail(Code::kUnavailable, named + ": " + curl_easy_strerror(code));
  return std::move(exchange.answer);
}

}  // namespace tidelock
