#include "wire/resp/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/elapsed_clock.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

constexpr int kBacklog = 511;

std::string because(const std::string& what) { return what + ": " + std::strerror(errno); }

struct FdCloser {
  int fd;
  ~FdCloser() {
    if (fd >= 0) ::close(fd);
  }
  int release() { return std::exchange(fd, -1); }
};

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return fail(Code::kInvalid, "unix socket '" + path + "': the path must have 1 to " +
                                    std::to_string(sizeof address.sun_path - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// Waits until `fd` is connected. Empty: it is; else why not.
std::string finish_connect(int fd, Nanos deadline, const Clock& clock) {
  while (true) {
    const Nanos left = saturating_sub(deadline, clock.now());
    if (left <= 0) return "timed out";
    pollfd wait{fd, POLLOUT, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(std::min<Nanos>(left / kMillisecond + 1, 60'000)));
    if (ready < 0 && errno != EINTR) return std::strerror(errno);
    if (ready <= 0) continue;
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error == 0 ? std::string() : std::string(std::strerror(error));
  }
}

std::string connect_one(int fd, const sockaddr* address, socklen_t size, Nanos deadline, const Clock& clock) {
  while (::connect(fd, address, size) != 0) {
    if (errno == EINPROGRESS) return finish_connect(fd, deadline, clock);
    if (errno == EAGAIN) return "the listener's queue is full";  // Unix sockets
    if (errno != EINTR) return std::strerror(errno);
  }
  return {};
}

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Result<Addresses> resolve(const std::string& host, int port, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) {
    return fail(Code::kInvalid, "address '" + host + ":" + std::to_string(port) + "': " + ::gai_strerror(error));
  }
  return Addresses(found, &::freeaddrinfo);
}

}  // namespace

Result<SocketAddress> parse_address(const std::string& text) {
  SocketAddress address;
  if (text.starts_with("unix:") || text.starts_with("/")) {
    address.unix_path = text.starts_with("unix:") ? text.substr(5) : text;
    if (!address.unix_path.empty()) return address;
  }
  const std::size_t colon = text.rfind(':');
  if (colon != std::string::npos && colon > 0) {
    address.host = text.substr(0, colon);
    if (address.host.size() > 2 && address.host.front() == '[' && address.host.back() == ']') {
      address.host = address.host.substr(1, address.host.size() - 2);
    }
    const auto port = parse_resp_integer(std::string_view(text).substr(colon + 1));
    if (port && *port >= 1 && *port <= 65535) {
      address.port = static_cast<int>(*port);
      return address;
    }
  }
  return fail(Code::kInvalid, "address '" + text + "': must be host:port with a port of 1 to 65535, or unix:/path");
}

Result<int> connect_socket(const std::string& address_string, Nanos timeout_ns) {
  const auto parsed = parse_address(address_string);
  if (!parsed) return fail(parsed.error());
  const ElapsedClock clock;
  const Nanos deadline = saturating_add(clock.now(), timeout_ns);
  if (!parsed->unix_path.empty()) {
    const auto address = unix_address(parsed->unix_path);
    if (!address) return fail(address.error());
    FdCloser fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (fd.fd < 0) return fail(Code::kUnavailable, because("socket"));
    const std::string error =
        connect_one(fd.fd, reinterpret_cast<const sockaddr*>(&*address), sizeof *address, deadline, clock);
    if (error.empty()) return fd.release();
    return fail(Code::kUnavailable, "cannot connect to " + address_string + ": " + error);
  }
  const auto addresses = resolve(parsed->host, parsed->port, 0);
  if (!addresses) return fail(addresses.error());
  std::string error = "no address";
  for (const addrinfo* at = addresses->get(); at != nullptr; at = at->ai_next) {
    FdCloser fd{::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (fd.fd < 0) continue;
    error = connect_one(fd.fd, at->ai_addr, at->ai_addrlen, deadline, clock);
    if (!error.empty()) continue;
    const int on = 1;
    ::setsockopt(fd.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd.release();
  }
  return fail(Code::kUnavailable, "cannot connect to " + address_string + ": " + error);
}

Result<int> listen_tcp_socket(const std::string& host, int port, int* bound_port) {
  if (port < 0 || port > 65535) {
    return fail(Code::kInvalid, "port " + std::to_string(port) + ": must be 0 (any) to 65535");
  }
  const auto addresses = resolve(host, port, AI_PASSIVE);
  if (!addresses) return fail(addresses.error());
  const std::string name = host + ":" + std::to_string(port);
  std::string error = "no address";
  for (const addrinfo* at = addresses->get(); at != nullptr; at = at->ai_next) {
    FdCloser fd{::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (fd.fd < 0) continue;
    const int on = 1;
    ::setsockopt(fd.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(fd.fd, at->ai_addr, at->ai_addrlen) != 0 || ::listen(fd.fd, kBacklog) != 0) {
      if (errno == EADDRINUSE) {
        return fail(Code::kConflict,
                    "address " + name + " is in use by another process: stop it or choose another port");
      }
      error = std::strerror(errno);
      continue;
    }
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    ::getsockname(fd.fd, reinterpret_cast<sockaddr*>(&bound), &size);
    *bound_port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                                    : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
    return fd.release();
  }
  return fail(Code::kUnavailable, "cannot listen on " + name + ": " + error);
}

Result<int> listen_unix_socket(const std::string& path) {
  const auto address = unix_address(path);
  if (!address) return fail(address.error());
  const auto* raw = reinterpret_cast<const sockaddr*>(&*address);
  struct stat info{};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) {
      return fail(Code::kConflict, "unix socket '" + path + "': a file that is no socket is there; it is left alone");
    }
    const FdCloser probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (probe.fd < 0) return fail(Code::kUnavailable, because("socket"));
    if (::connect(probe.fd, raw, sizeof *address) == 0 || errno != ECONNREFUSED) {
      return fail(Code::kConflict, "unix socket '" + path + "' is in use by a live process");
    }
    ::unlink(path.c_str());  // left behind by a process that is gone
  }
  FdCloser fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (fd.fd < 0) return fail(Code::kUnavailable, because("socket"));
  if (::bind(fd.fd, raw, sizeof *address) != 0) {
    const Code code = errno == EADDRINUSE ? Code::kConflict : Code::kUnavailable;
    return fail(code, because("cannot listen on unix socket '" + path + "'"));
  }
  // Nobody can connect before listen(), so the mode of the umask was never in force.
  if (::chmod(path.c_str(), 0660) != 0 || ::listen(fd.fd, kBacklog) != 0) {
    return fail(Code::kUnavailable, because("cannot listen on unix socket '" + path + "'"));
  }
  return fd.release();
}

std::string host_text(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address->sa_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  } else if (address->sa_family == AF_INET6) {
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text, sizeof text);
  } else if (address->sa_family == AF_UNIX) {
    return reinterpret_cast<const sockaddr_un*>(address)->sun_path;
  }
  return text;
}

std::string address_text(const sockaddr* address) {
  const std::string host = host_text(address);
  if (address->sa_family == AF_INET) {
    return host + ":" + std::to_string(ntohs(reinterpret_cast<const sockaddr_in*>(address)->sin_port));
  }
  if (address->sa_family == AF_INET6) {
    return "[" + host + "]:" + std::to_string(ntohs(reinterpret_cast<const sockaddr_in6*>(address)->sin6_port));
  }
  return host;
}

bool is_loopback(const sockaddr* address) {
  if (address->sa_family == AF_UNIX) return true;
  if (address->sa_family == AF_INET) {
    return (ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr) >> 24) == 127;
  }
  if (address->sa_family == AF_INET6) {
    const in6_addr& ip = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(&ip) || (IN6_IS_ADDR_V4MAPPED(&ip) && ip.s6_addr[12] == 127);
  }
  return false;
}

}  // namespace tidelock
