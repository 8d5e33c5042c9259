// RespClient: one blocking connection to an edge (or to Redis), over TCP or a Unix socket.
//
//   auto client = RespClient::connect({.address = "unix:/run/tidelock/edge-1/redis.sock"});
//   auto reply = client->call({"GET", "key"}, 2 * kSecond);   // an error *reply* is a value: reply->is_error()
//
// Threads:   one at a time.
// Timeouts:  relative, measured on the elapsed clock. Name resolution is not covered: give numeric addresses or
// localhost. Errors:    kUnavailable: nothing was sent, or the connection was broken before. kMaybeApplied: sent, but
// no answer came in
//            time or the connection broke. kCorrupt: the answer was not RESP or beyond the limits. kInvalid: the
//            address. After any of these the connection is closed (an answer that comes late would be taken for
//            another's); connect again.
// Ownership: values own their bytes.
#pragma once

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "wire/resp/value.h"

namespace tidelock {

struct RespClientOptions {
  std::string address{};                   // "host:port", "[::1]:6379", "unix:/path" or "/path"
  Nanos connect_timeout_ns = 2 * kSecond;  // HELLO and AUTH included
  int protocol = 2;                        // 3: HELLO 3 is sent first
  std::string password{};                  // empty: no AUTH
  std::string name{};                      // empty: no CLIENT SETNAME
  RespReplyLimits limits{};
};

class RespClient {
 public:
  static Result<RespClient> connect(const RespClientOptions& options);
  RespClient(RespClient&& other) noexcept;
  RespClient& operator=(RespClient&& other) noexcept;
  ~RespClient();

  Result<RespValue> call(std::initializer_list<std::string_view> args, Nanos timeout_ns);
  Result<RespValue> call(const std::vector<std::string>& args, Nanos timeout_ns);
  // All commands in one write where the kernel takes them; replies in order. Reads while it writes, so any number is
  // safe.
  Result<std::vector<RespValue>> pipeline(const std::vector<std::vector<std::string>>& commands, Nanos timeout_ns);

  // Raw bytes out, one reply in: for tests and tools.
  Result<void> send_raw(std::string_view bytes, Nanos timeout_ns);
  Result<RespValue> receive(Nanos timeout_ns);

  bool connected() const { return fd_ >= 0; }
  void close();
  // RESP3 pushes that came between replies: the oldest are dropped beyond 1,024.
  std::vector<RespValue> take_pushes();

 private:
  RespClient(int fd, const RespReplyLimits& limits);
  Result<void> exchange(std::string_view out, std::size_t replies, Nanos timeout_ns, std::vector<RespValue>* in);
  Result<RespValue> call_encoded(std::string_view request, Nanos timeout_ns);

  int fd_ = -1;
  RespReplyParser parser_;
  std::deque<RespValue> pushes_;
};

}  // namespace tidelock
