// Addresses and sockets of this room: parsing, connecting, listening.
//
// Threads: any. Ownership: a returned fd is the caller's. Errors: name the address.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"

struct sockaddr;

namespace tidelock {

struct SocketAddress {
  std::string unix_path;  // empty: TCP
  std::string host;
  int port = 0;
};
// "host:port", "[::1]:6379", "unix:/path", "/path".
Result<SocketAddress> parse_address(const std::string& text);

// A non-blocking, connected socket. kUnavailable when nobody listens or the time is over.
Result<int> connect_socket(const std::string& address, Nanos timeout_ns);

// Non-blocking listeners. kConflict: in use. See RespServer.
Result<int> listen_tcp_socket(const std::string& host, int port, int* bound_port);
Result<int> listen_unix_socket(const std::string& path);

// "127.0.0.1:1234", "[::1]:1234"; of a Unix socket its path, or empty.
std::string address_text(const sockaddr* address);
std::string host_text(const sockaddr* address);  // without the port
bool is_loopback(const sockaddr* address);       // Unix sockets too

}  // namespace tidelock
