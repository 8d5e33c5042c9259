// One exchange: write what is left, read what comes, until all replies are in or the deadline has passed. Reading goes
// on while writing waits, so a pipeline of any length cannot block both sides.
#include "wire/resp/client.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/elapsed_clock.h"
#include "wire/resp/reply.h"
#include "wire/resp/socket.h"

namespace tidelock {
namespace {

constexpr std::size_t kPushesMax = 1024;
constexpr std::size_t kReadBytes = 64u << 10;

std::string encode_request(const std::vector<std::string_view>& args) {
  std::string request;
  append_request(request, args.data(), args.size());
  return request;
}

}  // namespace

RespClient::RespClient(int fd, const RespReplyLimits& limits) : fd_(fd), parser_(limits) {}

RespClient::RespClient(RespClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), parser_(std::move(other.parser_)), pushes_(std::move(other.pushes_)) {}

RespClient& RespClient::operator=(RespClient&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    parser_ = std::move(other.parser_);
    pushes_ = std::move(other.pushes_);
  }
  return *this;
}

RespClient::~RespClient() { close(); }

void RespClient::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<RespClient> RespClient::connect(const RespClientOptions& options) {
  if (options.protocol != 2 && options.protocol != 3) {
    return fail(Code::kInvalid, "protocol " + std::to_string(options.protocol) + ": must be 2 or 3");
  }
  const ElapsedClock clock;
  const Nanos deadline = saturating_add(clock.now(), options.connect_timeout_ns);
  const auto fd = connect_socket(options.address, options.connect_timeout_ns);
  if (!fd) return fail(fd.error());
  RespClient client(*fd, options.limits);
  std::vector<std::vector<std::string>> greeting;
  if (options.protocol == 3) {
    greeting.push_back({"HELLO", "3"});
    if (!options.password.empty()) {
      for (const char* part : {"AUTH", "default"}) greeting.back().emplace_back(part);
      greeting.back().push_back(options.password);
    }
  } else if (!options.password.empty()) {
    greeting.push_back({"AUTH", options.password});
  }
  if (!options.name.empty()) greeting.push_back({"CLIENT", "SETNAME", options.name});
  if (greeting.empty()) return client;
  const auto replies = client.pipeline(greeting, saturating_sub(deadline, clock.now()));
  if (!replies) {
    Error error = replies.error();
    if (error.code == Code::kMaybeApplied) error.code = Code::kUnavailable;  // a greeting changes nothing
    return fail(std::move(error));
  }
  for (const RespValue& reply : *replies) {
    if (!reply.is_error()) continue;
    const bool denied =
        reply.text.starts_with("WRONGPASS") || reply.text.starts_with("NOAUTH") || reply.text.starts_with("DENIED");
    // Some servers repeat the command they do not know, password and all.
    const bool tells = !options.password.empty() && reply.text.find(options.password) != std::string::npos;
    const std::string text =
        tells ? reply.text.substr(0, reply.text.find(' ')) + " (it repeats the password)" : reply.text;
    return fail(denied ? Code::kDenied : Code::kInvalid, options.address + ": " + text.substr(0, 200));
  }
  return client;
}

Result<void> RespClient::exchange(std::string_view out, std::size_t replies, Nanos timeout_ns,
                                  std::vector<RespValue>* in) {
  if (fd_ < 0) return fail(Code::kUnavailable, "not connected");
  const ElapsedClock clock;
  const Nanos deadline = saturating_add(clock.now(), timeout_ns);
  bool sent_any = false;
  const auto broken = [&](Code code, std::string why) {
    close();
    if (code == Code::kUnavailable && (sent_any || out.empty())) code = Code::kMaybeApplied;
    return fail(code, std::move(why));
  };
  char buffer[kReadBytes];
  while (true) {
    RespValue value;
    auto status = RespReplyParser::Status::kNeedMore;
    while (in->size() < replies && (status = parser_.next(&value)) == RespReplyParser::Status::kValue) {
      if (value.type != RespType::kPush) {
        in->push_back(std::move(value));
      } else {
        if (pushes_.size() >= kPushesMax) pushes_.pop_front();
        pushes_.push_back(std::move(value));
      }
      value = RespValue{};
    }
    if (status == RespReplyParser::Status::kError) return broken(Code::kCorrupt, parser_.error());
    if (out.empty() && in->size() >= replies) return {};

    if (!out.empty()) {
      const ssize_t sent = ::send(fd_, out.data(), out.size(), MSG_NOSIGNAL);
      if (sent > 0) {
        sent_any = true;
        out.remove_prefix(static_cast<std::size_t>(sent));
      } else if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        return broken(Code::kUnavailable, std::string("connection lost while sending: ") + std::strerror(errno));
      }
      if (out.empty() && in->size() >= replies) return {};
    }
    const Nanos left = saturating_sub(deadline, clock.now());
    if (left <= 0) return broken(Code::kUnavailable, "no answer in time");
    pollfd wait{fd_, static_cast<short>(out.empty() ? POLLIN : POLLIN | POLLOUT), 0};
    const Nanos turn = std::min(left, 60 * kSecond);
    const timespec span{turn / kSecond, turn % kSecond};
    const int ready = ::ppoll(&wait, 1, &span, nullptr);
    if (ready < 0 && errno != EINTR) return broken(Code::kUnavailable, std::string("ppoll: ") + std::strerror(errno));
    if (ready <= 0 || (wait.revents & ~POLLOUT) == 0) continue;
    const ssize_t got = ::recv(fd_, buffer, sizeof buffer, 0);
    if (got > 0) {
      parser_.feed({buffer, static_cast<std::size_t>(got)});
    } else if (got == 0) {
      return broken(Code::kUnavailable, "the server closed the connection");
    } else if (errno != EAGAIN && errno != EINTR) {
      return broken(Code::kUnavailable, std::string("connection lost: ") + std::strerror(errno));
    }
  }
}

Result<RespValue> RespClient::call_encoded(std::string_view request, Nanos timeout_ns) {
  std::vector<RespValue> in;
  if (const auto done = exchange(request, 1, timeout_ns, &in); !done) return fail(done.error());
  return std::move(in.front());
}

Result<RespValue> RespClient::call(std::initializer_list<std::string_view> args, Nanos timeout_ns) {
  std::string request;
  append_request(request, args.begin(), args.size());
  return call_encoded(request, timeout_ns);
}

Result<RespValue> RespClient::call(const std::vector<std::string>& args, Nanos timeout_ns) {
  return call_encoded(encode_request({args.begin(), args.end()}), timeout_ns);
}

Result<std::vector<RespValue>> RespClient::pipeline(const std::vector<std::vector<std::string>>& commands,
                                                    Nanos timeout_ns) {
  std::string request;
  for (const auto& command : commands) request += encode_request({command.begin(), command.end()});
  std::vector<RespValue> in;
  if (const auto done = exchange(request, commands.size(), timeout_ns, &in); !done) return fail(done.error());
  return in;
}

Result<void> RespClient::send_raw(std::string_view bytes, Nanos timeout_ns) {
  std::vector<RespValue> in;
  return exchange(bytes, 0, timeout_ns, &in);
}

Result<RespValue> RespClient::receive(Nanos timeout_ns) { return call_encoded({}, timeout_ns); }

std::vector<RespValue> RespClient::take_pushes() {
  std::vector<RespValue> pushes(std::make_move_iterator(pushes_.begin()), std::make_move_iterator(pushes_.end()));
  pushes_.clear();
  return pushes;
}

}  // namespace tidelock
