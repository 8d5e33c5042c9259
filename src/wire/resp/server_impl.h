// The inside of RespServer, shared by server.cc (sockets, order, limits), connection_commands.cc, client_commands.cc,
// config_commands.cc, transactions.cc, pubsub.cc and tracking.cc. Not for other rooms.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "wire/resp/acl.h"
#include "wire/resp/command_access.h"
#include "wire/resp/latency.h"
#include "wire/resp/server.h"
#include "wire/resp/slow_log.h"

struct sockaddr;

namespace tidelock {

struct RespStringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
template <class T>
using RespByName = std::unordered_map<std::string, T, RespStringHash, std::equal_to<>>;
using RespNames = std::set<std::string, std::less<>>;

// MULTI ... EXEC of one connection (transactions.cc).
struct RespTransaction {
  bool open = false;     // after MULTI
  bool broken = false;   // a command was refused: EXEC will be too
  bool writes = false;   // a queued command writes
  bool changed = false;  // a watched key changed
  bool running = false;  // EXEC is under way; beyond one turn when a command's answer was deferred
  bool dropped = false;  // its answers outgrew the output limit: the connection will be closed
  std::vector<std::vector<std::string>> queued;
  std::size_t next = 0;                               // of `queued`, while running
  std::string answers;                                // while running
  std::map<std::string, Nanos, std::less<>> watched;  // -> when the value expires
};

// CLIENT TRACKING of one connection (tracking.cc).
struct RespTracking {
  bool on = false, bcast = false, optin = false, optout = false, noloop = false;
  bool caching = false;             // CLIENT CACHING speaks of the next command
  bool broken = false;              // who the messages go to is gone
  std::uint64_t redirect = 0;       // 0: to itself
  RespNames prefixes;               // of BCAST
  std::vector<std::string> unread;  // keys of a read whose answer is deferred
};

enum class RespReplyMode : std::uint8_t { kOn, kOff, kSkipNext };

struct RespConnection final : ConnectionContext {
  // Fixed once accepted.
  std::uint64_t number = 0;
  int fd = -1;
  EventLoop::Watch watch = 0;
  std::unique_ptr<TlsStream> tls;  // null: the bytes go as they are
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
  RespReferences references;  // beside `out`, while its commands are processed
  std::string copy;           // of their bytes, once that was needed: then this turn makes no more references
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

  // What outlives a command (transactions.cc, pubsub.cc, tracking.cc, client_commands.cc).
  RespTransaction transaction;
  RespTracking tracking;
  RespNames channels, patterns;  // subscriptions
  RespReplyMode reply_mode = RespReplyMode::kOn;
  bool admitted = false;               // the command under way passed every check
  bool skips = false;                  // its answer is dropped: CLIENT REPLY SKIP
  bool drops_owed = false;             // so will be the answer it deferred
  bool overflowed = false;             // it does not read what is pushed to it: closed at its next turn
  std::string pushes;                  // wait for the end of the command under way
  std::vector<std::string> postponed;  // a command that CLIENT PAUSE holds
  std::size_t state_bytes = 0;         // of names and queued commands above

  std::size_t subscriptions() const { return channels.size() + patterns.size(); }
  // A deferred command, for the statistics.
  CommandLookup pending;
  Nanos pending_began = 0;
  std::vector<std::string> pending_args;  // as the slow log keeps them

  std::size_t unsent() const { return out.size() - out_sent + references.bytes; }
  void cut_answers(std::size_t size);  // what was written beyond it is not said
  void copy_references() override;     // `out` stays as it is
  void merge_references();             // into `out`
  RespReferences* reference_sink() {
    return tls != nullptr || transaction.running || !copy.empty() ? nullptr : &references;
  }
  bool waits() const { return deferred || held_until != kForever; }

  std::uint64_t id() const override { return number; }
  int protocol() const override { return protocol_version; }
  const std::string& name() const override { return client_name; }
  const std::string& peer() const override { return peer_text; }
  bool is_local() const override { return local; }
  const CommandSpec& command() const override { return *current; }
  std::shared_ptr<const ReadableKeys> readable_keys() const override { return user->readable_keys(); }
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
    std::shared_ptr<TlsContext> tls;  // null: none
  };

  // server.cc: sockets
  Result<void> add_listener(Listener listener);
  Result<int> listen(Listener listener, const std::string& host, int port);
  void accept_all(const Listener& listener);
  void admit(int fd, const Listener& listener, const sockaddr* peer);
  std::string refusal(const RespConnection& connection);
  void on_arrival(const std::shared_ptr<RespConnection>& connection, const EventLoop::Arrival& arrival);
  void on_tls_event(const std::shared_ptr<RespConnection>& connection, std::uint32_t events);
  bool read_tls(RespConnection& connection);
  bool take_bytes(RespConnection& connection, std::string_view bytes);
  bool take_end(RespConnection& connection);
  void process(const std::shared_ptr<RespConnection>& connection);
  bool can_execute(const RespConnection& connection) const;
  void settle(RespConnection& connection);
  void close(RespConnection& connection);
  void enqueue(RespConnection& connection);
  void run_ready();

  // output.cc
  void flush(RespConnection& connection);
  void send_gathered(RespConnection& connection);
  static void give_back(std::string& used, std::string& spare);

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
  void call_handler(RespConnection& connection, RespReply& reply, const std::function<void()>& call);
  bool exec_together(RespConnection& c, RespReply& reply);
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
  bool client_more(RespConnection& connection, const Arguments& args, RespReply& reply);
  void client_list(const Arguments& args, RespReply& reply);
  std::string describe(const RespConnection& connection) const;

  // client_commands.cc
  void client_kill(RespConnection& connection, const Arguments& args, RespReply& reply);
  void client_pause(const Arguments& args, RespReply& reply);
  void client_reply(RespConnection& connection, const Arguments& args, RespReply& reply);
  bool paused_for(const RespConnection& connection, std::string_view name, std::size_t words) const;
  void end_pause();

  // transactions.cc
  void take_command(RespConnection& connection, const Arguments& args);  // execute, and what belongs around it
  void go_on(RespConnection& connection);                                // with what waited for an answer or a pause
  void end_command(RespConnection& connection, std::size_t before);
  bool intercept(RespConnection& connection, const Arguments& args, RespReply& reply);  // true: answered
  void queue_command(RespConnection& connection, const Arguments& args, RespReply& reply);
  void multi(RespConnection& connection, RespReply& reply);
  void exec(RespConnection& connection, RespReply& reply);
  void run_queued(RespConnection& connection);
  void discard(RespConnection& connection, RespReply& reply);
  void end_transaction(RespConnection& connection);
  void watch_keys(RespConnection& connection, const Arguments& args, RespReply& reply);
  void unwatch(RespConnection& connection);
  std::string& answers_of(RespConnection& connection);  // where a late answer goes
  void forget_state(RespConnection& connection);        // RESET, and the end of a connection
  void push_to(RespConnection& connection, std::string_view encoded);

  // pubsub.cc
  void subscribe(RespConnection& connection, const Arguments& args, bool pattern, RespReply& reply);
  void unsubscribe(RespConnection& connection, const Arguments& args, bool pattern, RespReply& reply);
  void unsubscribe_all(RespConnection& connection);
  void drop_subscription(RespConnection& connection, const std::string& name, bool pattern);
  void publish(RespConnection& connection, const Arguments& args, RespReply& reply);
  void pubsub(const RespConnection& connection, const Arguments& args, RespReply& reply);

  // tracking.cc
  void client_tracking(RespConnection& connection, const Arguments& args, RespReply& reply);
  void client_caching(RespConnection& connection, const Arguments& args, RespReply& reply);
  void client_trackinginfo(const RespConnection& connection, RespReply& reply);
  void stop_tracking(RespConnection& connection);
  std::string wrong_prefixes(const RespConnection& connection, const std::vector<std::string_view>& fresh) const;
  void note_read(RespConnection& c, const CommandSpec& spec, const Arguments& args);  // after handle()
  void finish_read(RespConnection& connection);                                       // a deferred answer is here
  void remember(RespConnection& connection, std::string_view key);
  bool hears_changes() const { return !watchers.empty() || tracking_count > 0; }
  void key_changed(std::string_view key, std::uint64_t origin);
  void keys_changed(const std::function<bool(std::string_view)>& which);
  void all_keys_changed();
  void invalidate(std::string_view key, std::uint64_t origin);
  void send_invalidation(RespConnection& connection, const std::vector<std::string_view>* keys);  // null: everything
  void flush_broadcasts();
  void expire_tracked(Nanos now);

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

  Nanos cheap_now() const { return options.cheap_now ? options.cheap_now() : loop.clock().now(); }

  EventLoop& loop;
  CommandHandler& handler;
  RespServerOptions options;
  RespServerStats stats;
  Acl acl;
  std::string first_default_user;                     // its rules as the options made them
  std::set<std::string, std::less<>> set_parameters;  // parameters that were set since
  SlowLog slow_log;
  Nanos denials_since = kNever;  // the second in which `denials_told` were told
  std::uint64_t denials_told = 0, denials_untold = 0;
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
  std::unique_ptr<char[]> tls_buffer;
  // Where connections write their answers until they are sent, one after the other: so it stays in the processor's
  // cache, and a connection that waits keeps no room for answers.
  std::string spare_output, spare_copy;

  RespConnection* executing = nullptr;        // whose command is under way
  const Arguments* executing_args = nullptr;  // inside handle()
  std::string dropped_answer;                 // where answers go that nobody wants
  Nanos pause_until = kNever;                 // CLIENT PAUSE
  bool pause_all = false;
  EventLoop::Waker pause_waker = 0, expiry_waker = 0;
  RespByName<std::set<std::uint64_t>> channels;  // -> connections, by number
  std::map<std::string, std::set<std::uint64_t>> patterns;
  RespByName<std::set<std::uint64_t>> watchers;
  struct Tracked {
    std::vector<std::uint64_t> readers;  // sorted; some may be gone
    Nanos expires_at = kForever;
  };
  RespByName<Tracked> tracked;  // bounded: tracking_keys_max, tracking_bytes_max
  std::size_t tracked_bytes = 0, tracking_count = 0;
  std::set<std::pair<Nanos, std::string>> tracked_expiries;
  RespByName<std::set<std::uint64_t>> prefixes;     // BCAST
  std::map<std::size_t, std::size_t> prefix_sizes;  // -> how many prefixes have it
  struct Broadcast {
    std::string key;
    std::uint64_t origin = 0;
  };
  std::map<std::string, std::vector<Broadcast>> broadcasts;  // by prefix, until the command or the turn ends
  std::size_t broadcast_bytes = 0;
  bool broadcasts_scheduled = false;
};

}  // namespace tidelock
