// The life of a connection. Bytes in -> take_bytes -> process: commands are taken and answered into `out` until one
// defers, the output is full, or the turn's share is used -> flush: one write for all answers -> settle: interest,
// deadlines, memory. Whoever leaves work behind (a deferred answer that came, a share used up) enqueues the connection;
// run_ready goes on with it at the end of the turn, so process never runs inside complete() or handle().
#include "wire/resp/server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <utility>

#include "base/assert.h"
#include "wire/resp/server_impl.h"
#include "wire/resp/socket.h"

namespace tidelock {
namespace {

constexpr std::size_t kReadBytes = 64u << 10;
constexpr int kCommandsPerTurn = 1024;
constexpr std::size_t kExpectedAtOnce = 16;
constexpr int kAcceptsPerTurn = 64;
constexpr Nanos kSweepGranularity = 5 * kMillisecond;
constexpr std::size_t kLingerBytesMax = 4u << 20;
constexpr std::size_t kTlsBytes = 40u << 10;  // about what OpenSSL keeps of a connection

constexpr std::string_view kDenied =
    "-DENIED Tidelock is running in protected mode because protected mode is enabled and no password is set. In this "
    "mode "
    "connections are only accepted from the loopback interface and the Unix socket. To connect from other machines set "
    "a "
    "password (CONFIG SET requirepass, from this machine), or turn protected mode off (CONFIG SET protected-mode no) "
    "on a "
    "network that nobody else can reach.\r\n";

Nanos milliseconds(std::int64_t ms) { return ms > kForever / kMillisecond ? kForever : ms * kMillisecond; }

}  // namespace

ReplyToken RespConnection::defer() {
  TIDELOCK_ASSERT(handling && !deferred);
  deferred = true;
  return {number, sequence};
}

RespServerImpl::RespServerImpl(EventLoop& l, CommandHandler& h, RespServerOptions o)
    : loop(l), handler(h), options(std::move(o)) {
  waker = loop.add_waker([this](Nanos now) { sweep(now); });
  pause_waker = loop.add_waker([this](Nanos) { end_pause(); });
  expiry_waker = loop.add_waker([this](Nanos now) { expire_tracked(now); });
  acl.set_default_password(std::exchange(options.password, {}));
  first_default_user = acl.default_user()->rules_text();
  spare_fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

RespServerImpl::~RespServerImpl() {
  for (const auto& [number, connection] : connections) {
    loop.unwatch(connection->watch);
    connection->tls.reset();
    ::close(connection->fd);
  }
  for (const auto& [fd, listener] : listeners) {
    loop.unwatch(listener.watch);
    ::close(fd);
    struct stat info{};
    if (!listener.unix_path.empty() && ::lstat(listener.unix_path.c_str(), &info) == 0 &&
        info.st_dev == listener.device && info.st_ino == listener.inode) {  // still ours
      ::unlink(listener.unix_path.c_str());
    }
  }
  for (const auto one : {waker, pause_waker, expiry_waker}) loop.remove_waker(one);
  if (spare_fd >= 0) ::close(spare_fd);
}

// ---- sockets --------------------------------------------------------------------------------------------------------

Result<void> RespServerImpl::add_listener(Listener listener) {
  const int fd = listener.fd;
  auto watch = loop.watch(fd, EPOLLIN, [this, fd](std::uint32_t) { accept_all(listeners.at(fd)); });
  if (!watch) {
    ::close(fd);
    return fail(watch.error());
  }
  listener.watch = *watch;
  listeners.emplace(fd, std::move(listener));
  return {};
}

Result<int> RespServerImpl::listen(Listener listener, const std::string& host, int port) {
  listener.host = host;
  const auto fd = listen_tcp_socket(host, port, &listener.port);
  if (!fd) return fail(fd.error());
  listener.fd = *fd;
  const int bound = listener.port;
  if (const auto added = add_listener(std::move(listener)); !added) return fail(added.error());
  return bound;
}

void RespServerImpl::accept_all(const Listener& listener) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    const int fd = ::accept4(listener.fd, reinterpret_cast<sockaddr*>(&address), &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      admit(fd, listener, reinterpret_cast<const sockaddr*>(&address));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if ((errno == EMFILE || errno == ENFILE) && spare_fd >= 0) {
      // Without this the connection would stay in the queue and wake the loop for ever.
      ::close(spare_fd);
      const int refused = ::accept(listener.fd, nullptr, nullptr);
      if (refused >= 0) ::close(refused);
      spare_fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
      ++stats.refused_max;
    }
    return;
  }
}

// What a new connection is told instead of being served; empty: welcome.
std::string RespServerImpl::refusal(const RespConnection& connection) {
  if (connections.size() >= options.connections_max) {
    ++stats.refused_max;
    return "-ERR max number of clients reached\r\n";
  }
  if (acl.open() && options.protected_mode && !connection.local) {  // X4
    ++stats.refused_protected;
    return std::string(kDenied);
  }
  if (!connection.authenticated && !connection.local) {  // X6
    const auto found = unauthenticated.find(connection.host);
    if (found != unauthenticated.end() && found->second >= options.unauthenticated_per_address_max) {
      ++stats.refused_unauthenticated;
      return "-ERR max number of unauthenticated clients of one address reached\r\n";
    }
  }
  return {};
}

void RespServerImpl::admit(int fd, const Listener& listener, const sockaddr* peer) {
  auto connection = std::make_shared<RespConnection>();
  connection->fd = fd;
  connection->unix_socket = !listener.unix_path.empty();
  connection->local = connection->unix_socket || is_loopback(peer);
  connection->authenticated = acl.open() && listener.tls == nullptr;
  connection->user = acl.default_user();
  if (connection->unix_socket) {
    connection->peer_text = connection->local_text = connection->host = listener.unix_path;
  } else {
    connection->peer_text = address_text(peer);
    connection->host = host_text(peer);
    sockaddr_storage local{};
    socklen_t size = sizeof local;
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size);
    connection->local_text = address_text(reinterpret_cast<const sockaddr*>(&local));
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  }
  const std::string refused = refusal(*connection);
  if (!refused.empty()) {
    // Best effort: a fresh socket has room for this, and nobody waits here for a peer. Before a handshake there is
    // nothing that it would understand.
    if (listener.tls == nullptr) {
      [[maybe_unused]] const auto sent = ::send(fd, refused.data(), refused.size(), MSG_NOSIGNAL);
    }
    ::close(fd);
    return;
  }
  if (listener.tls != nullptr) {
    const std::string before = listener.tls->complaint();
    connection->tls = listener.tls->accept(fd, loop.clock().now());
    if (const std::string& now = listener.tls->complaint(); !now.empty() && now != before && options.complain) {
      options.complain(now);
    }
    if (connection->tls == nullptr) {
      ::close(fd);
      return;
    }
  }
  connection->number = next_connection++;
  connection->created_at = connection->last_at = loop.clock().now();
  connection->interest = EPOLLIN;
  const std::weak_ptr<RespConnection> weak = connection;
  const auto watch = connection->tls != nullptr
                         ? loop.watch(fd, EPOLLIN,
                                      [this, weak](std::uint32_t events) {
                                        if (const auto alive = weak.lock()) on_tls_event(alive, events);
                                      })
                         : loop.receive(fd, EPOLLIN, [this, weak](const EventLoop::Arrival& arrival) {
                             if (const auto alive = weak.lock()) on_arrival(alive, arrival);
                           });
  if (!watch) {
    ::close(fd);
    return;
  }
  connection->watch = *watch;
  connection->authenticated = true;
  set_authenticated(*connection, acl.open() && connection->tls == nullptr);  // of TLS: after its handshake
  ++stats.connections_total;
  connections.emplace(connection->number, connection);
  stats.connections = connections.size();
  settle(*connection);
}

void RespServerImpl::on_arrival(const std::shared_ptr<RespConnection>& connection, const EventLoop::Arrival& arrival) {
  RespConnection& c = *connection;
  if (c.dead) return;
  if ((arrival.events & (EPOLLHUP | EPOLLERR)) != 0 && (c.interest & EPOLLIN) == 0) return close(c);
  if (arrival.error != 0) return close(c);
  if (!c.authenticated && acl.open()) set_authenticated(c, true);  // there is no password any more
  if (!arrival.bytes.empty() && !take_bytes(c, arrival.bytes)) return;
  if (arrival.end && !take_end(c)) return;
  if (!arrival.more) process(connection);  // else with what follows, so that its answers leave together
}

void RespServerImpl::on_tls_event(const std::shared_ptr<RespConnection>& connection, std::uint32_t events) {
  if (connection->dead) return;
  const bool reading = (connection->interest & EPOLLIN) != 0;
  if (!reading && (events & (EPOLLHUP | EPOLLERR)) != 0) return close(*connection);
  std::uint32_t readable = EPOLLIN | EPOLLHUP | EPOLLERR;
  if (connection->tls->recv_wants_write()) readable |= EPOLLOUT;
  if (reading && (events & readable) != 0 && !read_tls(*connection)) return;
  process(connection);
}

// These three: false: the connection is gone.
bool RespServerImpl::read_tls(RespConnection& connection) {
  TlsStream& tls = *connection.tls;
  if (tls_buffer == nullptr) tls_buffer = std::make_unique_for_overwrite<char[]>(kReadBytes);
  const ssize_t got = tls.recv(tls_buffer.get(), kReadBytes);
  const int why = errno;
  // Its handshake is over, whether or not it has asked for anything yet.
  if (!connection.authenticated && acl.open() && tls.established()) set_authenticated(connection, true);
  if (got > 0) return take_bytes(connection, {tls_buffer.get(), static_cast<std::size_t>(got)});
  if (got == 0) return take_end(connection);
  if (why == EAGAIN || why == EINTR) return true;
  if (!tls.established()) ++stats.refused_tls;
  close(connection);
  return false;
}

bool RespServerImpl::take_bytes(RespConnection& connection, std::string_view bytes) {
  stats.bytes_in += bytes.size();
  connection.last_at = cheap_now();
  if (connection.linger_until != kForever) {
    connection.lingered_bytes += bytes.size();
    if (connection.lingered_bytes <= kLingerBytesMax) return true;
    close(connection);
    return false;
  }
  // Of a connection that is about to end, bytes may come that were on their way when it was said.
  if (!connection.close_when_sent) connection.parser.feed(bytes);
  return true;
}

bool RespServerImpl::take_end(RespConnection& connection) {
  if (connection.linger_until != kForever) {
    close(connection);
    return false;
  }
  connection.input_closed = true;  // answers to what was sent before are still wanted
  return true;
}

bool RespServerImpl::can_execute(const RespConnection& connection) const {
  return !connection.dead && !connection.overflowed && !connection.waits() && !connection.transaction.running &&
         connection.postponed.empty() && !connection.close_when_sent && connection.unsent() < options.output_soft_bytes;
}

void RespServerImpl::process(const std::shared_ptr<RespConnection>& connection) {
  RespConnection& c = *connection;
  command_began = cheap_now();
  if (c.out.empty()) c.out.swap(spare_output);
  c.copy.swap(spare_copy);
  go_on(c);
  bool starved = false;  // of bytes: everything whole was executed
  std::size_t expected = 0;
  for (int share = kCommandsPerTurn; share > 0 && can_execute(c); --share) {
    if (expected == 0) {
      std::array<std::string_view, kExpectedAtOnce> keys;
      expected = c.parser.upcoming(keys);
      if (expected > 1) handler.expect(std::span(keys).first(expected));
      if (expected < 2) expected = kExpectedAtOnce;  // no pipeline that a glance understands
    }
    --expected;
    const RespParser::Status status = c.parser.next();
    if (status == RespParser::Status::kCommand) {
      take_command(c, c.parser.args());
      continue;
    }
    if (status == RespParser::Status::kError) {
      ++stats.closed_protocol_error;
      RespReply(c.out, c.protocol_version).error("ERR " + c.parser.error());
      c.close_when_sent = c.linger_when_sent = true;
    }
    starved = true;
    break;
  }
  const bool stands = handler.settle();
  if (c.dead) return;
  if (!stands) return close(c);
  if (starved && c.input_closed) c.close_when_sent = true;
  flush(c);
  give_back(c.copy, spare_copy);
  if (c.dead) return;
  if (!starved && can_execute(c)) enqueue(c);  // its share is used up, or the flush made room for more answers
  settle(c);
}

// After every piece of work on a connection: what it waits for next.
void RespServerImpl::settle(RespConnection& connection) {
  const bool full = connection.unsent() >= options.output_soft_bytes;
  if (full && connection.soft_since == kNever) connection.soft_since = loop.clock().now();
  if (!full) connection.soft_since = kNever;
  std::uint32_t interest = 0;
  const bool lingering = connection.linger_until != kForever;
  if (!connection.input_closed && (lingering || (!connection.close_when_sent && connection.parser.wants_bytes()))) {
    interest |= EPOLLIN;
  }
  if (connection.unsent() > 0) interest |= EPOLLOUT;
  if (connection.tls != nullptr && (interest & EPOLLIN) != 0) {
    if (connection.tls->recv_wants_write()) interest |= EPOLLOUT;
    if (connection.tls->has_more()) enqueue(connection);
  }
  if (interest != connection.interest) {
    connection.interest = interest;
    loop.change(connection.watch, interest);
  }
  if (connection.parser.buffered() == 0) connection.parser.shrink();
  account(connection);
  if (!connection.dead) note_deadline(connection);
}

void RespServerImpl::close(RespConnection& connection) {
  if (connection.dead) return;
  connection.dead = true;
  loop.unwatch(connection.watch);
  connection.tls.reset();
  ::close(connection.fd);
  stats.buffers_bytes -= connection.accounted_bytes;
  forget_state(connection);
  set_authenticated(connection, true);  // no longer counted among those who are not
  const bool owed = connection.deferred;
  const ReplyToken token{connection.number, connection.sequence};
  connections.erase(connection.number);  // the caller holds a shared_ptr
  stats.connections = connections.size();
  if (owed) handler.abandoned(token);
}

void RespServerImpl::enqueue(RespConnection& connection) {
  if (!connection.queued) {
    connection.queued = true;
    ready.push_back(connection.number);
  }
  if (ready_scheduled) return;
  ready_scheduled = true;
  // Through post, not soon: between two shares of one busy connection the others get their turn.
  loop.post([weak = weak_from_this()] {
    if (const auto server = weak.lock()) server->run_ready();
  });
}

void RespServerImpl::run_ready() {
  ready_scheduled = false;
  std::vector<std::uint64_t> numbers;
  numbers.swap(ready);
  for (const std::uint64_t number : numbers) {
    const auto found = connections.find(number);
    if (found == connections.end()) continue;
    const std::shared_ptr<RespConnection> connection = found->second;
    connection->queued = false;
    const bool more = connection->tls != nullptr && connection->tls->has_more();
    if (more && (connection->interest & EPOLLIN) != 0 && !read_tls(*connection)) continue;
    process(connection);
  }
}

// ---- time and limits ------------------------------------------------------------------------------------------------

bool RespServerImpl::auth_required(const RespConnection& connection) const {
  return !acl.open() && !connection.authenticated;
}

void RespServerImpl::set_authenticated(RespConnection& connection, bool authenticated) {
  if (connection.authenticated != authenticated && !connection.local) {
    std::uint32_t& count = unauthenticated[connection.host];
    count += authenticated ? ~std::uint32_t{0} : 1;
    if (count == 0) unauthenticated.erase(connection.host);
  }
  connection.authenticated = authenticated;
  apply_limits(connection);
}

void RespServerImpl::apply_limits(RespConnection& connection) {  // X6
  if (!auth_required(connection)) return connection.parser.set_limits(options.limits);
  RespLimits limits = RespLimits::before_authentication();
  limits.arguments_max = std::min(limits.arguments_max, options.limits.arguments_max);
  limits.bulk_bytes_max = std::min(limits.bulk_bytes_max, options.limits.bulk_bytes_max);
  limits.request_bytes_max = std::min(limits.request_bytes_max, options.limits.request_bytes_max);
  limits.inline_bytes_max = std::min(limits.inline_bytes_max, options.limits.inline_bytes_max);
  connection.parser.set_limits(limits);
}

Nanos RespServerImpl::deadline_of(const RespConnection& connection) const {
  Nanos deadline = std::min(connection.held_until, connection.linger_until);
  if (auth_required(connection) || (connection.tls != nullptr && !connection.tls->established())) {
    deadline =
        std::min(deadline, saturating_add(connection.created_at, milliseconds(options.authentication_timeout_ms)));
  }
  const bool waits_for_us = connection.deferred || !connection.postponed.empty() || connection.subscriptions() > 0;
  if (options.idle_timeout_ms > 0 && !waits_for_us) {
    deadline = std::min(deadline, saturating_add(connection.last_at, milliseconds(options.idle_timeout_ms)));
  }
  if (connection.soft_since != kNever) {
    deadline = std::min(deadline, saturating_add(connection.soft_since, milliseconds(options.output_soft_ms)));
  }
  return deadline;
}

void RespServerImpl::note_deadline(const RespConnection& connection) {
  const Nanos deadline = deadline_of(connection);
  if (deadline >= next_sweep_at) return;
  next_sweep_at = deadline;
  loop.wake_at(waker, next_sweep_at);
}

void RespServerImpl::sweep(Nanos now) {
  std::vector<std::shared_ptr<RespConnection>> due;
  Nanos first = kForever;
  for (const auto& [number, connection] : connections) {
    const Nanos deadline = deadline_of(*connection);
    if (deadline <= now) {
      due.push_back(connection);
    } else {
      first = std::min(first, deadline);
    }
  }
  next_sweep_at = first == kForever ? kForever : std::max(first, saturating_add(now, kSweepGranularity));
  loop.wake_at(waker, next_sweep_at);
  for (const auto& connection : due) {
    RespConnection& c = *connection;
    if (c.dead) continue;
    if (c.linger_until <= now) {
      close(c);
    } else if (c.soft_since != kNever && saturating_add(c.soft_since, milliseconds(options.output_soft_ms)) <= now) {
      ++stats.closed_slow_reader;
      close(c);
    } else if (c.held_until <= now) {
      answers_of(c).append(c.held);
      c.held.clear();
      c.held_until = kForever;
      process(connection);
    } else {
      c.tls != nullptr && !c.tls->established() ? ++stats.refused_tls : ++stats.closed_idle;
      close(c);
    }
  }
}

void RespServerImpl::account(RespConnection& connection) {
  const std::size_t bytes = connection.parser.memory_bytes() + connection.out.capacity() +
                            connection.pushes.capacity() + connection.transaction.answers.capacity() +
                            connection.state_bytes + (connection.tls != nullptr ? kTlsBytes : 0);
  const bool grew = bytes > connection.accounted_bytes;
  stats.buffers_bytes += bytes - connection.accounted_bytes;
  connection.accounted_bytes = bytes;
  if (!grew || bytes <= kReadBytes || stats.buffers_bytes <= options.buffers_bytes_max) return;
  ++stats.closed_memory;  // X6, I11: the one that asks for more when there is no more
  close(connection);
}

// ---- dispatch -------------------------------------------------------------------------------------------------------

void RespServerImpl::execute(RespConnection& c, const Arguments& args) {
  ++stats.commands_total;
  ++c.sequence;
  const CommandLookup command = look_up(args);
  const CommandSpec* spec = command.spec;
  if (spec == nullptr || spec->id != RespCommand::kGet) c.copy_references();  // before GET the handler sees to it
  const std::size_t before = c.out.size();
  RespReply reply(c.out, c.protocol_version, c.reference_sink());
  bool ran = false;
  const auto reject = [&](std::string_view why) {
    if (spec == nullptr || spec->id != RespCommand::kExec) return reply.error(why);
    if (why.starts_with("ERR ")) why.remove_prefix(4);
    end_transaction(c);
    reply.error("EXECABORT Transaction discarded because of: " + std::string(why));
  };
  if (spec == nullptr) {
    reject(unknown_command_error(args));
  } else if (!command.arity_fits(args.size()) || (spec->id == RespCommand::kMSet && args.size() % 2 == 0)) {
    reject(wrong_arity_error(command.full_name()));
  } else if (auth_required(c) && (spec->flags & CommandFlag::kNoAuth) == 0) {
    reply.error("NOAUTH Authentication required.");
  } else if (const std::string refused = c.user->unrestricted() ? std::string() : refuse(c, command, args);
             !refused.empty()) {
    reject(refused);
  } else {
    ran = true;
    c.current = spec;
    c.last_command.assign(spec->name);
    if (command.sub != nullptr) c.last_command.append("|").append(command.sub->name);
    if (!intercept(c, args, reply) && !execute_here(c, args, reply)) hand_over(c, args, reply);
  }
  observe(c, command, args, before, ran);
}

void RespServerImpl::hand_over(RespConnection& connection, const Arguments& args, RespReply& reply) {
  const std::size_t before = connection.out.size();
  executing_args = &args;
  const auto handle = [&] { handler.handle(connection, args, reply); };
  call_handler(connection, reply, std::ref(handle));  // by reference: takes nothing from the heap
  note_read(connection, *connection.current, args);
  TIDELOCK_ASSERT(connection.deferred || connection.out.size() > before);  // every command gets an answer
}

// What it throws is answered; what it defers, or completes at once, takes the place of what it wrote.
void RespServerImpl::call_handler(RespConnection& connection, RespReply& reply, const std::function<void()>& call) {
  const std::size_t before = connection.out.size();
  connection.handling = true;
  try {
    call();
  } catch (const std::exception& error) {
    connection.cut_answers(before);
    connection.early.clear();
    connection.deferred = false;
    reply.error(std::string("ERR internal error: ") + error.what());
  }
  connection.handling = false;
  if (connection.deferred || !connection.early.empty()) {
    connection.cut_answers(before);
    if (connection.deferred) {
      ++stats.deferred;
    } else {
      connection.out.append(connection.early);
    }
  }
  connection.early.clear();
}

void RespServerImpl::complete(ReplyToken token, std::string_view encoded) {
  TIDELOCK_ASSERT(!encoded.empty());
  const auto found = connections.find(token.connection);
  if (found == connections.end()) return;
  RespConnection& connection = *found->second;
  if (!connection.deferred || connection.sequence != token.sequence) return;
  connection.deferred = false;
  connection.last_at = loop.clock().now();  // the wait was ours, not the client's
  if (connection.handling) {
    connection.early.assign(encoded);
    return;
  }
  if (encoded[0] == '-') note_error(encoded.substr(1));
  if (const CommandLookup pending = std::exchange(connection.pending, {})) {
    finished(connection, pending, saturating_sub(connection.last_at, connection.pending_began), encoded[0] == '-',
             std::exchange(connection.pending_args, {}));
  }
  answers_of(connection).append(encoded);
  finish_read(connection);
  enqueue(connection);
}

// ---- the public face ------------------------------------------------------------------------------------------------

RespServer::RespServer(EventLoop& loop, CommandHandler& handler, RespServerOptions options)
    : impl_(std::make_shared<Impl>(loop, handler, std::move(options))) {}

RespServer::~RespServer() = default;

Result<int> RespServer::listen_tcp(const std::string& host, int port) { return impl_->listen({}, host, port); }

Result<int> RespServer::listen_tls(const std::string& host, int port, RespTls files) {
  auto context = TlsContext::make(std::move(files));
  if (!context) return fail(context.error());
  RespServerImpl::Listener listener;
  listener.tls = *std::move(context);
  return impl_->listen(std::move(listener), host, port);
}

Result<void> RespServer::listen_unix(const std::string& path) {
  const auto fd = listen_unix_socket(path);
  if (!fd) return fail(fd.error());
  RespServerImpl::Listener listener;
  listener.fd = *fd;
  listener.unix_path = path;
  struct stat info{};
  if (::lstat(path.c_str(), &info) == 0) {
    listener.device = info.st_dev;
    listener.inode = info.st_ino;
  }
  return impl_->add_listener(std::move(listener));
}

void RespServer::complete(ReplyToken token, std::string_view encoded) { impl_->complete(token, encoded); }

int RespServer::protocol_of(ReplyToken token) const {
  const auto found = impl_->connections.find(token.connection);
  return found == impl_->connections.end() ? 0 : found->second->protocol_version;
}

void RespServer::key_changed(std::string_view key, std::uint64_t origin) { impl_->key_changed(key, origin); }
void RespServer::keys_changed(const std::function<bool(std::string_view)>& which) { impl_->keys_changed(which); }
void RespServer::all_keys_changed() { impl_->all_keys_changed(); }

const RespServerStats& RespServer::stats() const { return impl_->stats; }

std::string RespServer::info_sections() const { return impl_->info_sections(); }

std::string RespServer::statistics_section(std::string_view name) const { return impl_->statistics_section(name); }

Result<void> RespServer::set_parameter(std::string_view name, std::string_view value) {
  std::string wrong = impl_->set_parameter(name, value, false);
  if (wrong.empty()) wrong = impl_->set_parameter(name, value, true);
  impl_->after_settings();
  return wrong.empty() ? Result<void>{} : fail(Code::kInvalid, wrong);
}

Result<void> RespServer::set_user(std::string_view line) {
  const std::string wrong = impl_->acl.replace_user(line);
  return wrong.empty() ? Result<void>{} : fail(Code::kInvalid, wrong.substr(wrong.find(' ') + 1));
}

RespSettings RespServer::settings() const { return impl_->settings(); }

}  // namespace tidelock
