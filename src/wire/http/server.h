// A small HTTP/1.1 server for people and tools: /metrics, /healthz, /readyz, and what the shells add. Not a data path.
//
// Threads:  handlers run on `threads` threads of the server, concurrently; a slow one holds one of them.
// Limits:   16 KiB and 64 headers for the head of a request (431), `body_bytes_max` (413), `queued_max` connections
// waiting
//           for a thread (beyond: closed at once), one deadline for a whole request (408), one request a connection.
//           Bodies come with Content-Length (411 otherwise).
// Errors:   kConflict names an address that is in use. An exception in a handler becomes a 500.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace tidelock {

class Metrics;

struct HttpRequest {
  std::string method;
  std::string path;
  std::map<std::string, std::string> query;    // decoded; of a repeated name the first
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::string peer_address;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

struct HttpRoute {
  std::string method;  // "GET", "POST", "PUT" or "DELETE"
  std::string path;    // exact, or a prefix when it ends with '*': "/v1/models/*"
  HttpHandler handler;
};

// Healthy or ready: an empty string. Else why not, which is the body of a 503.
using HttpCheck = std::function<std::string()>;
// /metrics, /healthz and /readyz. `metrics` must outlive the server.
std::vector<HttpRoute> standard_routes(const Metrics& metrics, HttpCheck healthy, HttpCheck ready);

// The HTTP status for an error's code, and `{"error":"...","message":"..."}` as its body.
HttpResponse http_error(const Error& error);

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 0;  // 0: the system picks
  int threads = 2;
  std::size_t queued_max = 64;
  std::size_t body_bytes_max = 1u << 20;
  int timeout_ms = 5'000;  // to read a whole request; again to write its answer
};

class HttpServer {
 public:
  // Listens and serves when it returns.
  static Result<std::unique_ptr<HttpServer>> listen(HttpServerOptions options, std::vector<HttpRoute> routes);
  ~HttpServer();  // stops; when it returns no handler runs
  int port() const;
  std::string address() const;  // "host:port"

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// One request to such a server, for tools and tests: blocks up to `timeout_ms`. kUnavailable when nobody
// listens, kMaybeApplied when it was sent and no whole answer came.
Result<HttpResponse> http_request(const std::string& address, const std::string& method, const std::string& path,
                                  const std::string& body, const std::string& content_type, int timeout_ms);

}  // namespace tidelock
