// WebClient makes one HTTP request at a time for each caller, over libcurl: TLS checked, no redirects, answers bounded.
//
// Threads: any; connections are kept and shared. Blocking. Cost: one exchange.
// Errors:  kUnavailable nothing or not all came; kBusy stopped; the sink's own error. An HTTP status is no error here.
//          Messages name method, host and path, never a query, a header or a credential.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tidelock {

struct WebUrl {
  std::string scheme;  // "http" or "https"
  std::string host;
  std::string authority;  // host[:port] as it was written
  std::string path;       // as it was written, without a slash at its end
};
// kInvalid for anything but http(s)://HOST[:PORT][/PATH]: no user, query or fragment. Plain http only to this machine,
// unless allowed.
Result<WebUrl> parse_web_url(const std::string& field, const std::string& text, bool allow_plain_http);

// Everything but A-Z a-z 0-9 - . _ ~ becomes %XX; '/' too, unless kept.
std::string percent_encode(std::string_view text, bool keep_slashes = false);
// %XX becomes a byte; kCorrupt for a lone '%'. `plus_is_space` for form encoding.
Result<std::string> percent_decode(std::string_view text, bool plus_is_space = false);

struct WebSignature {  // SigV4 of libcurl: Amazon's protocol
  std::string region;
  std::string access_key;
  std::string secret;
};

struct WebAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  Bytes body;                                  // what no sink took
  std::string header(const std::string& name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? std::string() : it->second;
  }
};

struct WebRequest {
  std::string method = "GET";
  std::string url;  // path and query encoded already
  std::vector<std::pair<std::string, std::string>> headers;
  BytesView body;  // outlives the call
  const WebSignature* signature = nullptr;
  // The body of a 2xx answer, in pieces. Without it the body is collected.
  std::function<Result<void>(const WebAnswer& head, BytesView piece)> sink;
  std::size_t body_bytes_max = 1u << 20;  // of what is collected
  std::int64_t timeout_ms = 30'000;
};

struct WebOptions {
  std::string ca_file;  // empty: the system's
  std::int64_t connect_timeout_ms = 5'000;
  std::int64_t idle_timeout_ms = 15'000;
};

class WebClient {
 public:
  explicit WebClient(WebOptions options);
  ~WebClient();
  WebClient(const WebClient&) = delete;
  WebClient& operator=(const WebClient&) = delete;
  Result<WebAnswer> perform(const WebRequest& request);
  void stop() { stopping_.store(true, std::memory_order_release); }

 private:
  struct Exchange;
  void* take();
  void give_back(void* handle);

  const WebOptions options_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::vector<void*> idle_;  // handles with their open connections
};

}  // namespace tidelock
