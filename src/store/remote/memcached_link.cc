// Memcached's text protocol over one socket, by hand: libmemcached counts its timeouts in milliseconds and hides its
// sockets, and what is needed of the protocol is three commands.
//
// A key may have 250 bytes without blanks, so ours travel as hash and length. Two keys that meet in one name take each
// other's place, which the caller sees as one more lost value.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string>
#include <utility>

#include "base/elapsed_clock.h"
#include "store/remote/cache_link.h"
#include "wire/resp/socket.h"

namespace tidelock {
namespace {

constexpr std::size_t kLineBytesMax = 1024;
constexpr std::size_t kReadBytes = 64u << 10;
constexpr Nanos kRelativeMax = Nanos{30} * 24 * 3600 * kSecond;  // a longer lifetime would be read as a Unix time

class MemcachedLink : public CacheLink {
 public:
  MemcachedLink(int fd, std::string prefix) : fd_(fd), prefix_(std::move(prefix)) {}
  ~MemcachedLink() override { ::close(fd_); }
  MemcachedLink(const MemcachedLink&) = delete;
  MemcachedLink& operator=(const MemcachedLink&) = delete;

  Result<std::optional<Bytes>> get(BytesView key, Nanos timeout_ns) override {
    const std::string name = name_of(key);
    begin("get " + name + "\r\n", timeout_ns);
    auto line = read_line();
    if (!line) return fail(line.error());
    if (*line == "END") return std::optional<Bytes>{};
    const std::string head = "VALUE " + name + " 0 ";
    std::size_t size = 0;
    const char* end = line->data() + line->size();
    if (!line->starts_with(head)) return strange(*line);
    const auto number = std::from_chars(line->data() + head.size(), end, size);
    if (number.ec != std::errc() || number.ptr != end || size > kCacheValueBytesMax) return strange(*line);
    auto value = read_bytes(size + 2);
    if (!value) return fail(value.error());
    if (!value->ends_with("\r\n")) return strange("a value without its end");
    value->resize(size);
    line = read_line();
    if (!line) return fail(line.error());
    if (*line != "END") return strange(*line);
    return std::optional<Bytes>(std::move(*value));
  }

  Result<std::size_t> write(const std::vector<CacheWrite>& writes, Nanos timeout_ns) override {
    std::string request;
    for (const CacheWrite& one : writes) {
      const std::string name = name_of(one.key);
      if (!one.value) {
        request += "delete " + name + "\r\n";
        continue;
      }
      const Nanos seconds = one.ttl_ns > kRelativeMax ? 0 : std::max<Nanos>(one.ttl_ns / kSecond, 1);  // 0: no expiry
      request += "set " + name + " 0 " + std::to_string(seconds) + " " + std::to_string(one.value->size()) + "\r\n" +
                 *one.value + "\r\n";
    }
    begin(std::move(request), timeout_ns);
    std::vector<CacheWrite> refused;
    for (const CacheWrite& one : writes) {
      const auto line = read_line();
      if (!line) return fail(line.error());
      const bool good = one.value ? *line == "STORED" : *line == "DELETED" || *line == "NOT_FOUND";
      if (good) continue;
      if (!one.value || !line->starts_with("SERVER_ERROR")) return strange(*line);
      refused.push_back({one.key, std::nullopt});
    }
    if (refused.empty()) return std::size_t{0};
    if (const auto erased = write(refused, timeout_ns); !erased) return erased;
    return refused.size();
  }

 private:
  std::string name_of(BytesView key) const {
    char text[48];
    char* to = std::to_chars(text, text + sizeof text, hash64(key), 16).ptr;
    *to++ = '.';
    to = std::to_chars(to, text + sizeof text, key.size()).ptr;
    return prefix_ + std::string(text, to);
  }
  static tl::unexpected<Error> strange(std::string line) {
    return fail(Code::kCorrupt, "memcached: not an answer to the question: \"" + line + "\"");
  }

  void begin(std::string request, Nanos timeout_ns) {
    out_ = std::move(request);
    sent_ = 0;
    deadline_ = saturating_add(clock_.now(), timeout_ns);
  }
  // Sends what is left while it waits for more to read, so that a long batch cannot block both sides.
  Result<void> more() {
    char buffer[kReadBytes];
    if (clock_.now() >= deadline_) return lost("no answer in time");  // however much comes
    for (;;) {
      if (sent_ < out_.size()) {
        const ssize_t sent = ::send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) return lost(std::strerror(errno));
        if (sent > 0) sent_ += static_cast<std::size_t>(sent);
      }
      const ssize_t got = ::recv(fd_, buffer, sizeof buffer, 0);
      if (got > 0) {
        in_.append(buffer, static_cast<std::size_t>(got));
        return {};
      }
      if (got == 0) return lost("the server closed the connection");
      if (errno != EAGAIN && errno != EINTR) return lost(std::strerror(errno));
      const Nanos left = saturating_sub(deadline_, clock_.now());
      if (left <= 0) return lost("no answer in time");
      pollfd wait{fd_, static_cast<short>(sent_ < out_.size() ? POLLIN | POLLOUT : POLLIN), 0};
      const timespec span{left / kSecond, left % kSecond};
      if (::ppoll(&wait, 1, &span, nullptr) < 0 && errno != EINTR) return lost(std::strerror(errno));
    }
  }
  static tl::unexpected<Error> lost(const std::string& why) { return fail(Code::kUnavailable, "memcached: " + why); }

  Result<std::string> read_line() {
    for (;;) {
      if (const std::size_t end = in_.find("\r\n", at_); end != std::string::npos) {
        std::string line = in_.substr(at_, end - at_);
        take(end + 2);
        return line;
      }
      if (in_.size() - at_ > kLineBytesMax) return strange("a line without an end");
      if (const auto good = more(); !good) return fail(good.error());
    }
  }
  Result<Bytes> read_bytes(std::size_t size) {
    while (in_.size() - at_ < size) {
      if (const auto good = more(); !good) return fail(good.error());
    }
    Bytes bytes = in_.substr(at_, size);
    take(at_ + size);
    return bytes;
  }
  void take(std::size_t end) {
    at_ = end;
    if (at_ == in_.size()) in_.clear(), at_ = 0;
  }

  const int fd_;
  const std::string prefix_;
  ElapsedClock clock_;
  std::string out_, in_;
  std::size_t sent_ = 0, at_ = 0;
  Nanos deadline_ = 0;
};

}  // namespace

Result<std::unique_ptr<CacheLink>> connect_memcached(const CacheAddress& address) {
  const auto fd = connect_socket(address.address, address.connect_timeout_ns);
  if (!fd) return fail(fd.error());
  return std::unique_ptr<CacheLink>(new MemcachedLink(*fd, address.space + ":"));
}

}  // namespace tidelock
