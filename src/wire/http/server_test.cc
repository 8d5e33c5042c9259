// Real sockets on loopback; raw bytes where a well-behaved client would not send them.
#include "wire/http/server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "telemetry/metrics.h"

namespace tidelock {
namespace {

constexpr int kHangMs = 20'000;  // only turns a hang into a failure

int dial(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return fd;
}
std::string read_to_end(int fd) {
  std::string all;
  char buffer[4'096];
  for (ssize_t got = 0; (got = read(fd, buffer, sizeof buffer)) > 0;) all.append(buffer, static_cast<std::size_t>(got));
  return all;
}
// Sends raw bytes, piece by piece, and reads until the server closes.
std::string exchange(int port, const std::vector<std::string>& pieces) {
  const int fd = dial(port);
  for (const std::string& piece : pieces) static_cast<void>(!send(fd, piece.data(), piece.size(), MSG_NOSIGNAL));
  const std::string all = read_to_end(fd);
  close(fd);
  return all;
}

HttpRoute echo(const std::string& method, const std::string& path) {
  return {method, path, [](const HttpRequest& request) {
            HttpResponse response;
            response.body = request.method + " " + request.path + "|" + request.body;
            for (const auto& [key, value] : request.query) response.body += "|" + key + "=" + value;
            return response;
          }};
}

TEST(HttpServer, ServesTheStandardRoutes) {
  Metrics metrics;
  metrics.counter("tidelock_test_total", "A test.").add(7);
  std::string not_ready = "no session with a hub";
  const auto server = HttpServer::listen({}, standard_routes(metrics, {}, [&] { return not_ready; }));
  ASSERT_TRUE(server) << server.error().message;
  const auto get = [&](const std::string& path) {
    return http_request((*server)->address(), "GET", path, "", "text/plain", kHangMs).value();
  };
  const HttpResponse text = get("/metrics");
  EXPECT_EQ(text.status, 200);
  EXPECT_EQ(text.content_type, "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(text.body.find("tidelock_test_total 7\n"), std::string::npos);
  EXPECT_EQ(get("/healthz").status, 200);
  EXPECT_EQ(get("/readyz").status, 503);
  EXPECT_EQ(get("/readyz").body, "no session with a hub\n");
  EXPECT_EQ(get("/nothing").status, 404);
  not_ready.clear();
  EXPECT_EQ(get("/readyz").status, 200);
  EXPECT_EQ(http_request((*server)->address(), "POST", "/metrics", "", "text/plain", kHangMs).value().status, 405);
  const std::string head = exchange((*server)->port(), {"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n"});
  EXPECT_TRUE(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n")) << head;
}

TEST(HttpServer, ReadsRequestsInWhateverPieces) {
  const auto server = HttpServer::listen({}, {echo("POST", "/v1/models/*"), echo("GET", "/q")}).value();
  struct Case {
    const char* why;
    std::vector<std::string> pieces;
    std::string answer;  // its body
  };
  const std::string post = "POST /v1/models/a%20b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
  std::vector<std::string> bytes;
  for (const char c : post) bytes.emplace_back(1, c);
  const Case cases[] = {{"at once", {post}, "POST /v1/models/a b|hello"},
                        {"byte by byte", bytes, "POST /v1/models/a b|hello"},
                        {"a second request on the connection is not read", {post + post}, "POST /v1/models/a b|hello"},
                        {"query", {"GET /q?a=1&b=x+y%26z&a=2&c HTTP/1.1\r\n\r\n"}, "GET /q||a=1|b=x y&z|c="},
                        {"expect",
                         {"POST /v1/models/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", "ab"},
                         "POST /v1/models/|ab"}};
  for (const Case& c : cases) {
    const std::string all = exchange(server->port(), c.pieces);
    EXPECT_TRUE(all.ends_with("\r\n\r\n" + c.answer)) << c.why << ": " << all;
  }
}

TEST(HttpServer, RefusesWhatItDoesNotUnderstand) {
  HttpServerOptions options;
  options.body_bytes_max = 10;
  const auto server = HttpServer::listen(options, {echo("POST", "/p"), echo("GET", "/g")}).value();
  struct Case {
    const char* why;
    std::string bytes;
    int status;
  };
  std::string many = "GET /g HTTP/1.1\r\n";
  for (int i = 0; i < 65; ++i) many += "a" + std::to_string(i) + ": b\r\n";
  const Case cases[] = {
      {"no request line", "hello\r\n\r\n", 400},
      {"no version", "GET /g\r\n\r\n", 400},
      {"another version", "GET /g HTTP/2.0\r\n\r\n", 400},
      {"no path", "GET http://x/ HTTP/1.1\r\n\r\n", 400},
      {"half a code", "GET /g%2 HTTP/1.1\r\n\r\n", 400},
      {"a zero byte", "GET /g%00 HTTP/1.1\r\n\r\n", 400},
      {"a raw zero byte", std::string("GET /g\0 HTTP/1.1\r\n\r\n", 20), 400},
      {"a raw zero byte in the query", std::string("GET /g?a=\0 HTTP/1.1\r\n\r\n", 23), 400},
      {"a blank inside", "GET /g /h HTTP/1.1\r\n\r\n", 400},
      {"a header inside a header", "GET /g HTTP/1.1\r\na: b\nContent-Length: 1\r\n\r\n", 400},
      {"bad code in the query", "GET /g?a=%zz HTTP/1.1\r\n\r\n", 400},
      {"header without a colon", "GET /g HTTP/1.1\r\nhost\r\n\r\n", 400},
      {"header continued", "GET /g HTTP/1.1\r\na: b\r\n c\r\n\r\n", 400},
      {"two lengths", "POST /p HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\nab", 400},
      {"negative length", "POST /p HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
      {"length with a plus", "POST /p HTTP/1.1\r\nContent-Length: +1\r\n\r\na", 400},
      {"no length at all", "POST /p HTTP/1.1\r\nContent-Length:\r\n\r\n", 400},
      {"chunked", "POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411},
      {"body too large", "POST /p HTTP/1.1\r\nContent-Length: 11\r\n\r\n12345678901", 413},
      {"length beyond 64 bits", "POST /p HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 413},
      {"too many headers", many + "\r\n", 431},
      {"head too long", "GET /g HTTP/1.1\r\na: " + std::string(20'000, 'x') + "\r\n\r\n", 431},
      {"a target without an end", "GET /" + std::string(20'000, 'x'), 431},
      {"body of the largest size", "POST /p HTTP/1.1\r\nContent-Length: 10\r\n\r\n1234567890", 200}};
  for (const Case& c : cases) {
    const std::string all = exchange(server->port(), {c.bytes});
    EXPECT_TRUE(all.starts_with("HTTP/1.1 " + std::to_string(c.status) + " ")) << c.why << ": " << all.substr(0, 200);
  }
}

TEST(HttpServer, ASlowRequestEndsAtItsDeadline) {
  HttpServerOptions options;
  options.timeout_ms = 50;
  options.threads = 1;
  const auto server = HttpServer::listen(options, {echo("GET", "/g")}).value();
  const int silent = dial(server->port());
  EXPECT_EQ(read_to_end(silent), "") << "who never spoke hears nothing";
  close(silent);
  // A loaded machine may use up a deadline this short before the first byte is looked at: then it is another try.
  const auto try_for = [&](const std::string& bytes, const char* status) {
    for (int i = 0; i < 100; ++i) {
      if (exchange(server->port(), {bytes}).starts_with(status)) return true;
    }
    return false;
  };
  EXPECT_TRUE(try_for("GET /g HT", "HTTP/1.1 408 "));
  EXPECT_TRUE(try_for("GET /g HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ")) << "the thread is back";
}

TEST(HttpServer, PortInUseIsAConflictThatNamesTheAddress) {
  const auto server = HttpServer::listen({}, {}).value();
  HttpServerOptions options;
  options.port = server->port();
  const auto second = HttpServer::listen(options, {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
  EXPECT_NE(second.error().message.find(server->address()), std::string::npos);
}

TEST(HttpServer, RefusesOptionsThatItCannotServeAndNamesThem) {
  const std::string endless(64, 'x');  // a label of a name has at most 63 bytes, so nobody is asked for it
  struct Case {
    std::string host;
    int port;
    int threads;
    std::string says;
  };
  const Case cases[] = {{"192.0.2.1", 0, 1, "listen address 192.0.2.1:0: Cannot assign requested address"},
                        {endless, 0, 1, "listen address " + endless + ":0: "},
                        {"127.0.0.1", 65'536, 1, "listen port 65536: want 0 to 65535"},
                        {"127.0.0.1", -1, 1, "listen port -1: want 0 to 65535"},
                        {"127.0.0.1", 0, 0, "threads 0: want 1 to 64"},
                        {"127.0.0.1", 0, 65, "threads 65: want 1 to 64"}};
  for (const Case& c : cases) {
    HttpServerOptions options;
    options.host = c.host;
    options.port = c.port;
    options.threads = c.threads;
    const auto refused = HttpServer::listen(options, {});
    ASSERT_FALSE(refused) << c.says;
    EXPECT_EQ(refused.error().code, Code::kInvalid) << c.says;
    EXPECT_TRUE(refused.error().message.starts_with(c.says)) << refused.error().message;
  }
}

TEST(HttpServer, QueueIsBounded) {  // I11
  std::mutex mutex;
  std::condition_variable changed;
  bool inside = false;
  bool let_go = false;
  HttpServerOptions options;
  options.threads = 1;
  options.queued_max = 1;
  const auto server = HttpServer::listen(options, {{"GET", "/slow",
                                                    [&](const HttpRequest&) {
                                                      std::unique_lock lock(mutex);
                                                      inside = true;
                                                      changed.notify_all();
                                                      changed.wait(lock, [&] { return let_go; });
                                                      return HttpResponse{};
                                                    }}})
                          .value();
  std::thread first(
      [&] { EXPECT_TRUE(exchange(server->port(), {"GET /slow HTTP/1.1\r\n\r\n"}).starts_with("HTTP/1.1 200")); });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return inside; });
  }
  const int waiting = dial(server->port());  // takes the one place
  const int third = dial(server->port());
  EXPECT_EQ(read_to_end(third), "") << "closed at once";
  close(third);
  {
    const std::lock_guard lock(mutex);
    let_go = true;
  }
  changed.notify_all();
  first.join();
  static_cast<void>(!send(waiting, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL));
  EXPECT_TRUE(read_to_end(waiting).starts_with("HTTP/1.1 404"));
  close(waiting);
}

TEST(HttpServer, StopEndsWaitingConnections) {
  auto server = HttpServer::listen({}, {echo("GET", "/g")}).value();
  const int idle = dial(server->port());
  static_cast<void>(!send(idle, "GET", 3, MSG_NOSIGNAL));
  const std::string address = server->address();
  server.reset();
  read_to_end(idle);  // ends, with an answer or without
  close(idle);
  const auto none = http_request(address, "GET", "/g", "", "text/plain", kHangMs);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::kUnavailable);
}

// Answers one connection with raw bytes, whatever it is asked, and closes it.
class RawServer {
 public:
  explicit RawServer(std::string answer) : answer_(std::move(answer)), listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this] {
      const int fd = accept(listener_, nullptr, nullptr);
      std::string request;
      char buffer[4'096];
      while (request.find("\r\n\r\n") == std::string::npos) {
        const ssize_t got = read(fd, buffer, sizeof buffer);
        if (got <= 0) break;
        request.append(buffer, static_cast<std::size_t>(got));
      }
      static_cast<void>(!send(fd, answer_.data(), answer_.size(), MSG_NOSIGNAL));
      close(fd);
    });
  }
  ~RawServer() {
    shutdown(listener_, SHUT_RDWR);  // also wakes an accept that nobody came for
    thread_.join();
    close(listener_);
  }
  const std::string& address() const { return address_; }

 private:
  const std::string answer_;
  const int listener_;
  std::string address_;
  std::thread thread_;
};

TEST(HttpRequest, SaysWhetherTheRequestMayHaveCounted) {
  struct Case {
    const char* why;
    std::string answer;
    std::string says;
  };
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
  const Case cases[] = {{"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", ": no HTTP answer"},
                        {"another version", "HTTP/1.0 200 OK\r\n\r\n", ": no HTTP answer"},
                        {"no number", "HTTP/1.1 OK\r\n\r\n", ": no HTTP answer"},
                        {"half a head", head.substr(0, 20), ": no HTTP answer"},
                        {"nothing", "", ": no HTTP answer"},
                        {"half a body", head + "hel", ": the answer was cut short"},
                        {"more than was promised", head + "hello!", ": the answer was cut short"}};
  for (const Case& c : cases) {
    const RawServer server(c.answer);
    const auto lost = http_request(server.address(), "POST", "/", "body", "text/plain", kHangMs);
    ASSERT_FALSE(lost) << c.why;
    EXPECT_EQ(lost.error().code, Code::kMaybeApplied) << c.why;
    EXPECT_EQ(lost.error().message, server.address() + c.says) << c.why;
  }
  const RawServer whole(head + "hello");
  EXPECT_EQ(http_request(whole.address(), "POST", "/", "body", "text/plain", kHangMs).value().body, "hello");

  const std::string nowhere = std::string(64, 'x') + ":80";
  const auto unsent = http_request(nowhere, "GET", "/", "", "", kHangMs);
  ASSERT_FALSE(unsent);
  EXPECT_EQ(unsent.error().code, Code::kUnavailable) << "nothing was sent";
  EXPECT_TRUE(unsent.error().message.starts_with(nowhere + ": ")) << unsent.error().message;
}

TEST(HttpServer, HandlersThatThrowAndErrorsBecomeAnswers) {
  const auto server =
      HttpServer::listen({},
                         {{"GET", "/throw", [](const HttpRequest&) -> HttpResponse { throw std::runtime_error("oh"); }},
                          {"GET", "/error",
                           [](const HttpRequest&) {
                             return http_error(Error{Code::kNotActive, "ask \"hub-2\"\n", "127.0.0.1:1", 0});
                           }}})
          .value();
  EXPECT_EQ(http_request(server->address(), "GET", "/throw", "", "", kHangMs).value().status, 500);
  const HttpResponse error = http_request(server->address(), "GET", "/error", "", "", kHangMs).value();
  EXPECT_EQ(error.status, 421);
  EXPECT_EQ(error.body,
            "{\"error\":\"not_active\",\"message\":\"ask \\\"hub-2\\\"\\u000a\",\"hint\":\"127.0.0.1:1\"}\n");
}

}  // namespace
}  // namespace tidelock
