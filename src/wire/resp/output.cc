// Answers on their way out: what commands wrote into `out`, and the large values that they only referred to, which go
// from their place to the socket in the same write (server.h, copy_references).
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "wire/resp/server_impl.h"

namespace tidelock {
namespace {

constexpr std::size_t kKeptOutputBytes = 64u << 10;
constexpr std::size_t kVectorsAtOnce = 64;
constexpr Nanos kLingerTime = 1 * kSecond;

}  // namespace

void RespConnection::cut_answers(std::size_t size) {
  out.resize(std::min(size, out.size()));
  if (transaction.running) return;  // `out` holds its answers, which have no references
  for (auto& pieces = references.pieces; !pieces.empty() && pieces.back().at > out.size(); pieces.pop_back())
    references.bytes -= pieces.back().bytes.size();
}

void RespConnection::copy_references() {
  if (references.pieces.empty() || !copy.empty()) return;
  copy.reserve(references.bytes);  // so that it does not move
  for (RespReferences::Piece& piece : references.pieces) {
    const std::size_t at = copy.size();
    copy.append(piece.bytes);
    piece.bytes = std::string_view(copy).substr(at);
  }
}

void RespConnection::merge_references() {
  if (!references.pieces.empty()) {
    std::string whole;
    whole.reserve(unsent());
    std::size_t at = out_sent;
    for (const RespReferences::Piece& piece : references.pieces) {
      whole.append(out, at, piece.at - at).append(piece.bytes);
      at = piece.at;
    }
    whole.append(out, at);
    out = std::move(whole);
    out_sent = 0;
  }
  references.pieces.clear();
  references.bytes = 0;
  copy.clear();
}

// What was written there is done with. The larger of the two is kept, within reason.
void RespServerImpl::give_back(std::string& used, std::string& spare) {
  used.clear();
  if (used.capacity() > spare.capacity()) used.swap(spare);
  std::string().swap(used);
  if (spare.capacity() > kKeptOutputBytes) std::string().swap(spare);
}

// Text and referenced bytes in one write; what the socket does not take is copied, since it has to wait.
void RespServerImpl::send_gathered(RespConnection& c) {
  std::vector<RespReferences::Piece>& all = c.references.pieces;
  std::size_t next = 0;  // the first of them that was not sent whole
  while (next < all.size()) {
    std::array<iovec, kVectorsAtOnce> vectors;
    std::size_t count = 0, at = c.out_sent, i = next;
    const auto add = [&](std::string_view bytes) {
      if (!bytes.empty()) vectors[count++] = {const_cast<char*>(bytes.data()), bytes.size()};
    };
    const std::string_view text = c.out;
    for (; i < all.size() && count + 3 <= vectors.size(); at = all[i++].at) {
      add(text.substr(at, all[i].at - at));
      add(all[i].bytes);
    }
    if (i == all.size()) add(text.substr(at));
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = count;
    const ssize_t sent = ::sendmsg(c.fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) break;
    if (sent < 0) return close(c);
    stats.bytes_out += static_cast<std::uint64_t>(sent);
    auto left = static_cast<std::size_t>(sent);
    const auto take = [&left](std::size_t most) {
      const std::size_t taken = std::min(left, most);
      left -= taken;
      return taken;
    };
    for (; next < all.size(); ++next) {
      c.out_sent += take(all[next].at - c.out_sent);
      const std::size_t taken = take(all[next].bytes.size());
      all[next].bytes.remove_prefix(taken);
      c.references.bytes -= taken;
      if (!all[next].bytes.empty()) break;
    }
    c.out_sent += left;  // behind the last of them
  }
  all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(next));
  c.merge_references();
}

void RespServerImpl::flush(RespConnection& connection) {
  if (!connection.references.pieces.empty()) send_gathered(connection);
  if (connection.dead) return;
  while (connection.unsent() > 0) {
    const char* const from = connection.out.data() + connection.out_sent;
    const ssize_t sent = connection.tls != nullptr ? connection.tls->send(from, connection.unsent())
                                                   : ::send(connection.fd, from, connection.unsent(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      return close(connection);
    }
    stats.bytes_out += static_cast<std::uint64_t>(sent);
    connection.out_sent += static_cast<std::size_t>(sent);
  }
  if (connection.unsent() > options.output_hard_bytes) {  // X6
    ++stats.closed_slow_reader;
    return close(connection);
  }
  if (connection.unsent() == 0) {
    connection.out_sent = 0;
    give_back(connection.out, spare_output);
    if (connection.close_when_sent && connection.linger_until == kForever) {
      if (!connection.linger_when_sent || connection.input_closed) return close(connection);
      if (connection.tls != nullptr) connection.tls->finish_sending();
      ::shutdown(connection.fd, SHUT_WR);
      connection.linger_until = saturating_add(loop.clock().now(), kLingerTime);
    }
  } else if (connection.out_sent > kKeptOutputBytes && connection.out_sent > connection.out.size() / 2) {
    connection.out.erase(0, connection.out_sent);
    connection.out_sent = 0;
  }
}

}  // namespace tidelock
