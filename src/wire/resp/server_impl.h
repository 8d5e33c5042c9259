// The inside of RespServer, shared by server.cc (sockets, order, limits), connection_commands.cc and
// config_commands.cc. Not for other rooms.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "wire/resp/acl.h"
#include "wire/resp/command_access.h"
#include "wire/resp/latency.h"
#include "wire/resp/server.h"
#include "wire/resp/slow_log.h"

struct sockaddr;

namespace tidelock {

struct RespConnection final : ConnectionContext {
  // Fixed once accepted.
  std::uint64_t number = 0;
  int fd = -1;
  EventLoop::Watch watch = 0;
  std::string peer_text, local_text, host;
  bool unix_socket = false, local = false;
  Nanos created_at = 0;

  // What its commands set.
  std::string client_name, library_name, library_version;
  int protocol_version = 2;
  bool authenticated = false;
  std::shared_ptr<AclUser> user;  // `default` until it authenticates as another
  bool no_evict = false;
  const CommandSpec* current = nullptr;  // the last command
  std::string last_command;              // "client|list"

  // Bytes.
  RespParser parser;
  std::string out;
  std::size_t out_sent = 0;
  std::uint32_t interest = 0;
  std::size_t accounted_bytes = 0;
  Nanos last_at = 0;              // of the last bytes in
  Nanos soft_since = kNever;      // since when more than output_soft_bytes wait
  bool input_closed = false;      // the peer will send nothing more
  bool close_when_sent = false;   // nothing more is executed
  bool linger_when_sent = false;  // then swallow what the peer still sends, so that it can read why
  Nanos linger_until = kForever;
  std::size_t lingered_bytes = 0;
  bool queued = false;  // stands in Impl::ready
  bool dead = false;

  // The command under way.
  std::uint64_t sequence = 0;
  bool handling = false;        // inside handle()
  bool deferred = false;        // an answer is owed
  std::string early;            // complete() was called inside handle()
  Nanos held_until = kForever;  // X4: a failed AUTH is answered then
  std::string held;

  // A deferred command, for the statistics.
  CommandLookup pending;
  Nanos pending_began = 0;
  std::vector<std::string> pending_args;  // as the slow log keeps them

  std::size_t unsent() const { return out.size() - out_sent; }
  bool waits() const { return deferred || held_until != kForever; }

  std::uint64_t id() const override { return number; }
  int protocol() const override { return protocol_version; }
  const std::string& name() const override { return client_name; }
  const std::string& peer() const override { return peer_text; }
  bool is_local() const override { return local; }
  const CommandSpec& command() const override { return *current; }
  ReplyToken defer() override;
};

using Arguments = std::vector<std::string_view>;

struct RespServerImpl : std::enable_shared_from_this<RespServerImpl> {
  RespServerImpl(EventLoop& l, CommandHandler& h, RespServerOptions o);
  ~RespServerImpl();

  struct Listener {
    int fd = -1;
    EventLoop::Watch watch = 0;
    std::string unix_path;  // empty: TCP
    std::uint64_t device = 0, inode = 0;
    std::string host;
    int port = 0;
  };

  // server.cc: sockets
  Result<void> add_listener(Listener listener);
  void accept_all(const Listener& listener);
  void admit(int fd, const Listener& listener, const sockaddr* peer);
  std::string refusal(const RespConnection& connection);
  void on_event(const std::shared_ptr<RespConnection>& connection, std::uint32_t events);
  bool read_some(RespConnection& connection);
  void process(const std::shared_ptr<RespConnection>& connection);
  bool can_execute(const RespConnection& connection) const;
  void flush(RespConnection& connection);
  void settle(RespConnection& connection);
  void close(RespConnection& connection);
  void enqueue(RespConnection& connection);
  void run_ready();

  // server.cc: time and limits
  Nanos deadline_of(const RespConnection& connection) const;
  void note_deadline(const RespConnection& connection);
  void sweep(Nanos now);
  void account(RespConnection& connection);
  bool auth_required(const RespConnection& connection) const;
  void set_authenticated(RespConnection& connection, bool authenticated);
  void apply_limits(RespConnection& connection);

  // server.cc: dispatch
  void execute(RespConnection& c, const Arguments& args);
  void hand_over(RespConnection& connection, const Arguments& args, RespReply& reply);
  void complete(ReplyToken token, std::string_view encoded);

  // connection_commands.cc; true: the command was one of this room's
  bool execute_here(RespConnection& connection, const Arguments& args, RespReply& reply);
  void ping(RespConnection& connection, const Arguments& args, RespReply& reply);
  void select(const Arguments& args, RespReply& reply);
  void reset(RespConnection& connection);
  void auth(RespConnection& connection, const Arguments& args, RespReply& reply);
  void hello(RespConnection& connection, const Arguments& args);
  bool authenticate(RespConnection& connection, std::string_view user, std::string_view password);
  void refuse_authentication(RespConnection& connection);
  void client(RespConnection& connection, const Arguments& args, RespReply& reply);
  void client_list(const Arguments& args, RespReply& reply);
  std::string describe(const RespConnection& connection) const;

  // acl_commands.cc
  std::string refuse(RespConnection& connection, const CommandLookup& command, const Arguments& args);
  void note_refusal(const RespConnection& connection, std::string_view reason, std::string_view object,
                    std::string_view user);
  void disconnect(const AclUser& gone);
  void acl_command(RespConnection& connection, const Arguments& args, RespReply& reply);

  // operator_commands.cc
  void note_error(std::string_view text);  // an error that is answered, without the '-'
  void observe(RespConnection& c, const CommandLookup& command, const Arguments& args, std::size_t before, bool ran);
  void finished(const RespConnection& c, const CommandLookup& command, Nanos took, bool failed,
                std::vector<std::string> args);
  void slowlog(const Arguments& args, RespReply& reply);
  void latency(const Arguments& args, RespReply& reply);
  void latency_histogram(const Arguments& args, RespReply& reply);
  std::string latency_report() const;
  bool memory(const Arguments& args, RespReply& reply);  // false: the handler's
  void tell_time(RespReply& reply);
  void function(const Arguments& args, RespReply& reply);
  void shutdown(RespConnection& connection, const Arguments& args, RespReply& reply);
  std::string statistics_section(std::string_view name) const;

  // config_commands.cc
  std::string set_parameter(std::string_view name, std::string_view value, bool apply);  // what is wrong
  void after_settings();
  RespSettings settings() const;
  void config(const Arguments& args, RespReply& reply);
  void config_get(const Arguments& args, RespReply& reply);
  void config_set(const Arguments& args, RespReply& reply);
  std::string info_sections() const;

  EventLoop& loop;
  CommandHandler& handler;
  RespServerOptions options;
  RespServerStats stats;
  Acl acl;
  std::string first_default_user;              // its rules as the options made them
  std::set<std::string, std::less<>> changed;  // parameters that were set since
  SlowLog slow_log;
  LatencyEvents latency_events;
  CommandStatistics statistics;
  Nanos command_began = 0;
  EventLoop::Waker waker = 0;
  Nanos next_sweep_at = kForever;
  std::map<int, Listener> listeners;  // by fd
  std::unordered_map<std::uint64_t, std::shared_ptr<RespConnection>> connections;
  std::unordered_map<std::string, std::uint32_t> unauthenticated;  // remote connections by address
  std::uint64_t next_connection = 1;
  std::vector<std::uint64_t> ready;  // connections with something to do at the end of the turn
  bool ready_scheduled = false;
  int spare_fd = -1;  // given up for a moment to refuse a connection when descriptors run out
  std::unique_ptr<char[]> read_buffer;
};

}  // namespace tidelock
