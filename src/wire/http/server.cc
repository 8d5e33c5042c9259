// One accepting thread, a bounded queue of connections, a few threads that each serve one request and close.
//
// Written here rather than taken from cpp-httplib: its 0.11 bounds a header line but not their number, and its
// time-outs count from the last byte, so a client that drips one header a second would hold a thread and memory for
// ever. Here one deadline covers the whole request and everything has a cap (I11). What is not plain HTTP/1.1 is
// refused, not guessed.
#include "wire/http/server.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <set>
#include <string_view>
#include <thread>

#include "telemetry/metrics.h"
#include "wire/http/request.h"

namespace tidelock {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;  // deadlines of I/O; nothing of the protocol hangs on them

constexpr std::size_t kAnswerBytesMax = 64u << 20;  // of http_request
constexpr std::size_t kDrainBytesMax = 64u << 10;
constexpr auto kDrainTime = std::chrono::milliseconds(100);

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

bool wait_for(int fd, short what, SteadyTime deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd poll_fd{fd, what, 0};
    const int ready = ::poll(&poll_fd, 1, static_cast<int>(std::min<long long>(left, 60'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

// Appends what there is, at most `room` bytes. 0 at the end, on an error and when the deadline passes.
std::size_t read_some(int fd, std::string& into, std::size_t room, SteadyTime deadline) {
  std::array<char, 16'384> buffer;
  for (;;) {
    if (!wait_for(fd, POLLIN, deadline)) return 0;
    const ssize_t got = ::recv(fd, buffer.data(), std::min(room, buffer.size()), MSG_DONTWAIT);
    if (got > 0) into.append(buffer.data(), static_cast<std::size_t>(got));
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EAGAIN && errno != EINTR) return 0;
  }
}

bool write_all(int fd, std::string_view bytes, SteadyTime deadline) {
  while (!bytes.empty()) {
    if (!wait_for(fd, POLLOUT, deadline)) return false;
    const ssize_t done = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (done > 0) bytes.remove_prefix(static_cast<std::size_t>(done));
    if (done < 0 && errno != EAGAIN && errno != EINTR) return false;
  }
  return true;
}

const char* reason_of(int status) {
  switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    default: return status >= 500 ? "Internal Server Error" : "Status";
  }
}

bool route_matches(const HttpRoute& route, const std::string& path) {
  if (!route.path.ends_with('*')) return route.path == path;
  return path.starts_with(std::string_view(route.path).substr(0, route.path.size() - 1));
}

struct Bound {
  Fd fd;
  int port = 0;
};
Result<Bound> bind_to(const std::string& host, int port) {
  const std::string address = host + ":" + std::to_string(port);
  if (port < 0 || port > 65'535)
    return fail(Code::kInvalid, "listen port " + std::to_string(port) + ": want 0 to 65535");
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0) {
    return fail(Code::kInvalid, "listen address " + address + ": " + gai_strerror(error));
  }
  Fd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int one = 1;
  int error = 0;
  if (fd.get() < 0) {
    error = errno;
  } else {
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (::bind(fd.get(), found->ai_addr, found->ai_addrlen) != 0 || ::listen(fd.get(), 64) != 0) error = errno;
  }
  freeaddrinfo(found);
  if (error == EADDRINUSE) return fail(Code::kConflict, "listen address " + address + " is in use");
  if (error != 0) return fail(Code::kInvalid, "listen address " + address + ": " + std::strerror(error));
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &size);
  const int got = bound.ss_family == AF_INET6 ? ntohs(reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port)
                                              : ntohs(reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  return Bound{std::move(fd), got};
}

std::string address_of(const sockaddr_storage& peer, socklen_t size) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (getnameinfo(reinterpret_cast<const sockaddr*>(&peer), size, host.data(), host.size(), port.data(), port.size(),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "unknown";
  }
  return std::string(host.data()) + ":" + port.data();
}

}  // namespace

// ------------------------------------------------------------------------------------------------- server

struct HttpServer::Impl {
  struct Connection {
    Fd fd;
    std::string peer;
  };

  HttpServerOptions options;
  std::vector<HttpRoute> routes;
  Fd listener;
  Fd wake_acceptor;
  int port = 0;

  std::mutex mutex;  // guards what follows
  std::condition_variable work;
  std::deque<Connection> queue;
  std::set<int> active;  // file descriptors being served, so that stopping can shut them
  bool stopping = false;

  std::vector<std::thread> threads;

  void accept_loop();
  void serve_loop();
  void serve(const Connection& connection);
  HttpResponse read_request(const Connection& connection, HttpRequest& request, SteadyTime deadline);
  HttpResponse answer(const HttpRequest& request);
  void stop();
};

void HttpServer::Impl::accept_loop() {
  for (;;) {
    std::array<pollfd, 2> fds{pollfd{listener.get(), POLLIN, 0}, pollfd{wake_acceptor.get(), POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[1].revents != 0) return;
    if (fds[0].revents == 0) continue;
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    Fd fd(::accept4(listener.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.get() < 0) {
      // Out of descriptors: the connection stays in the backlog and poll would spin. Wait, but wake up for a stop.
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) ::poll(&fds[1], 1, 100);
      continue;
    }
    const std::lock_guard lock(mutex);
    if (queue.size() >= options.queued_max) continue;  // full: closed at once
    queue.push_back({std::move(fd), address_of(peer, size)});
    work.notify_one();
  }
}

void HttpServer::Impl::serve_loop() {
  std::unique_lock lock(mutex);
  for (;;) {
    work.wait(lock, [this] { return stopping || !queue.empty(); });
    if (stopping) return;
    const Connection connection = std::move(queue.front());
    queue.pop_front();
    active.insert(connection.fd.get());
    lock.unlock();
    serve(connection);
    lock.lock();
    active.erase(connection.fd.get());  // before the descriptor is closed, and perhaps reused
  }
}

void HttpServer::Impl::serve(const Connection& connection) {
  const int fd = connection.fd.get();
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  const auto limit = std::chrono::milliseconds(options.timeout_ms);
  HttpRequest request;
  request.peer_address = connection.peer;
  HttpResponse response = read_request(connection, request, std::chrono::steady_clock::now() + limit);
  if (response.status == 0) return;  // the client went away, or never said a word
  if (response.status == 200) response = answer(request);
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " " + reason_of(response.status) +
                     "\r\nContent-Type: " + response.content_type +
                     "\r\nContent-Length: " + std::to_string(response.body.size()) + "\r\nConnection: close\r\n\r\n";
  if (request.method != "HEAD") head += response.body;
  if (!write_all(fd, head, std::chrono::steady_clock::now() + limit)) return;
  // Closing with unread bytes would reset the connection and could take the answer with it.
  ::shutdown(fd, SHUT_WR);
  std::string rest;
  const SteadyTime until = std::chrono::steady_clock::now() + kDrainTime;
  while (rest.size() < kDrainBytesMax && read_some(fd, rest, kDrainBytesMax, until) > 0) {
  }
}

// Status 200: the request is there. 0: nothing to answer. Anything else is the answer.
HttpResponse HttpServer::Impl::read_request(const Connection& connection, HttpRequest& request, SteadyTime deadline) {
  const int fd = connection.fd.get();
  std::string bytes;
  std::size_t end = std::string::npos;
  while (end == std::string::npos) {
    const std::size_t before = bytes.size();
    if (before >= kHttpHeadBytesMax) {
      return http_plain(431, "request line and headers: more than " + std::to_string(kHttpHeadBytesMax) + " bytes");
    }
    if (read_some(fd, bytes, kHttpHeadBytesMax - before, deadline) == 0) {
      const bool late = std::chrono::steady_clock::now() >= deadline;
      return late && !bytes.empty() ? http_plain(408, "the request took too long") : HttpResponse{0, "", ""};
    }
    end = bytes.find("\r\n\r\n", before < 3 ? 0 : before - 3);
  }
  if (auto refused = parse_http_head(std::string_view(bytes).substr(0, end), request)) return *refused;
  std::size_t length = 0;
  if (auto refused = parse_http_length(request, options.body_bytes_max, length)) return *refused;
  request.body = bytes.substr(end + 4, length);
  if (request.body.size() < length && http_lower(request.headers["expect"]) == "100-continue" &&
      !write_all(fd, "HTTP/1.1 100 Continue\r\n\r\n", deadline)) {
    return {0, "", ""};
  }
  while (request.body.size() < length) {
    if (read_some(fd, request.body, length - request.body.size(), deadline) == 0) {
      return std::chrono::steady_clock::now() >= deadline ? http_plain(408, "the request took too long")
                                                          : HttpResponse{0, "", ""};
    }
  }
  return {200, "", ""};
}

HttpResponse HttpServer::Impl::answer(const HttpRequest& request) {
  bool path_known = false;
  for (const HttpRoute& route : routes) {
    if (!route_matches(route, request.path)) continue;
    path_known = true;
    if (route.method != request.method && !(route.method == "GET" && request.method == "HEAD")) continue;
    try {
      return route.handler(request);
    } catch (const std::exception& error) {  // exceptions end at the room's edge
      return http_plain(500, std::string("internal error: ") + error.what());
    } catch (...) {
      return http_plain(500, "internal error");
    }
  }
  return path_known ? http_plain(405, request.method + " is not for this path") : http_plain(404, "no such path");
}

void HttpServer::Impl::stop() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
    for (const int fd : active) ::shutdown(fd, SHUT_RDWR);
  }
  work.notify_all();
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wake_acceptor.get(), &one, sizeof one));
  for (std::thread& thread : threads) thread.join();
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { impl_->stop(); }
int HttpServer::port() const { return impl_->port; }
std::string HttpServer::address() const {
  const std::string& host = impl_->options.host;
  return (host.find(':') != std::string::npos ? "[" + host + "]" : host) + ":" + std::to_string(impl_->port);
}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(HttpServerOptions options, std::vector<HttpRoute> routes) {
  if (options.threads < 1 || options.threads > 64) {
    return fail(Code::kInvalid, "threads " + std::to_string(options.threads) + ": want 1 to 64");
  }
  auto bound = bind_to(options.host, options.port);
  if (!bound) return fail(bound.error());
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  impl->routes = std::move(routes);
  impl->listener = std::move(bound->fd);
  impl->port = bound->port;
  impl->wake_acceptor = Fd(::eventfd(0, EFD_CLOEXEC));
  if (impl->wake_acceptor.get() < 0) return fail(Code::kUnavailable, std::string("eventfd: ") + std::strerror(errno));
  Impl* raw = impl.get();
  impl->threads.emplace_back([raw] { raw->accept_loop(); });
  for (int i = 0; i < raw->options.threads; ++i) impl->threads.emplace_back([raw] { raw->serve_loop(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

std::vector<HttpRoute> standard_routes(const Metrics& metrics, HttpCheck healthy, HttpCheck ready) {
  const auto check = [](HttpCheck ask) {
    return [ask = std::move(ask)](const HttpRequest&) {
      const std::string why = ask ? ask() : std::string();
      return why.empty() ? http_plain(200, "ok") : http_plain(503, why);
    };
  };
  return {{"GET", "/metrics",
           [&metrics](const HttpRequest&) {
             return HttpResponse{200, "text/plain; version=0.0.4; charset=utf-8", metrics.expose()};
           }},
          {"GET", "/healthz", check(std::move(healthy))},
          {"GET", "/readyz", check(std::move(ready))}};
}

HttpResponse http_error(const Error& error) {
  int status = 500;
  switch (error.code) {
    case Code::kOk: status = 200; break;
    case Code::kUnavailable: status = 503; break;
    case Code::kNotActive: status = 421; break;
    case Code::kMaybeApplied: status = 504; break;
    case Code::kConflict: status = 409; break;
    case Code::kNotFound: status = 404; break;
    case Code::kInvalid: status = 400; break;
    case Code::kBusy: status = 503; break;
    case Code::kStale: status = 503; break;
    case Code::kCorrupt: status = 422; break;
    case Code::kDenied: status = 403; break;
  }
  const auto quoted = [](std::string_view text) {
    constexpr char kHex[] = "0123456789abcdef";
    std::string out = "\"";
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (c == '"' || c == '\\') {
        out += '\\';
        out += c;
      } else if (byte < 0x20) {
        out += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
      } else {
        out += c;
      }
    }
    return out + "\"";
  };
  std::string body = "{\"error\":" + quoted(code_name(error.code)) + ",\"message\":" + quoted(error.message);
  if (!error.hint.empty()) body += ",\"hint\":" + quoted(error.hint);
  if (error.detail_ns != 0) body += ",\"detail_ns\":" + std::to_string(error.detail_ns);
  return {status, "application/json", body + "}\n"};
}

// ------------------------------------------------------------------------------------------------- client

Result<HttpResponse> http_request(const std::string& address, const std::string& method, const std::string& path,
                                  const std::string& body, const std::string& content_type, int timeout_ms) {
  const SteadyTime deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos) return fail(Code::kInvalid, "address \"" + address + "\": want host:port");
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found); error != 0) {
    return fail(Code::kUnavailable, address + ": " + gai_strerror(error));
  }
  const Fd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int error = fd.get() < 0 ? errno : 0;
  if (error == 0 && ::connect(fd.get(), found->ai_addr, found->ai_addrlen) != 0) error = errno;
  freeaddrinfo(found);
  if (error == EINPROGRESS) {
    socklen_t size = sizeof error;
    error = wait_for(fd.get(), POLLOUT, deadline) ? 0 : ETIMEDOUT;
    if (error == 0) ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  }
  if (error != 0) return fail(Code::kUnavailable, address + ": " + std::strerror(error));
  const std::string request = method + " " + path + " HTTP/1.1\r\nHost: " + address +
                              "\r\nConnection: close\r\nContent-Type: " + content_type +
                              "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  // A server that refuses a body answers before it has read it all, so an answer is looked for even then.
  const bool sent = write_all(fd.get(), request, deadline);
  std::string answer;
  while (answer.size() < kAnswerBytesMax &&
         read_some(fd.get(), answer, kAnswerBytesMax - answer.size(), deadline) > 0) {
  }
  const std::size_t end = answer.find("\r\n\r\n");
  HttpResponse response;
  HttpRequest headers;  // only its header map is used
  if (end == std::string::npos || !answer.starts_with("HTTP/1.1 ") ||
      std::from_chars(answer.data() + 9, answer.data() + 12, response.status).ec != std::errc() ||
      parse_http_head("GET / HTTP/1.1" + answer.substr(answer.find("\r\n"), end - answer.find("\r\n")), headers)) {
    return fail(sent ? Code::kMaybeApplied : Code::kUnavailable, address + ": no HTTP answer");
  }
  response.content_type = headers.headers["content-type"];
  response.body = answer.substr(end + 4);
  if (method != "HEAD" && headers.headers.count("content-length") != 0 &&
      headers.headers["content-length"] != std::to_string(response.body.size())) {
    return fail(Code::kMaybeApplied, address + ": the answer was cut short");
  }
  return response;
}

}  // namespace tidelock
