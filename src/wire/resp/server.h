// RespServer answers Redis clients on an EventLoop. It does what needs no data itself (connection commands, COMMAND,
// CONFIG of its own parameters, limits); every other command goes to the CommandHandler, after its arity was checked.
//
// Threads:   all of it, the handler included, in the loop's thread. Construct, listen and destroy there or while it
// does not
//            run. Destroy the server before its loop and before its handler.
// Order:     answers keep the order of requests. A handler may defer an answer; later commands of that connection then
// wait
//            in its buffer (other connections go on).
// MULTI:     EXEC runs its commands one after another in one piece, as long as the handler answers them inside
// handle().
//            A command that would wait is refused when it is queued (refuse_in_transaction). If an answer is deferred
//            all the same, the EXEC waits for it, commands of other connections run meanwhile, and when the connection
//            ends the rest is not run.
// Tracking:  a key read by MGET or the like, whose answer waited, and that changed meanwhile, is invalidated right
// behind
//            that answer. BCAST says nothing of expiry: the others do (expires_at).
// Cost:      one read, and one write for all answers of a pipeline, per turn and connection; at most 1,024 commands of
// one
//            connection per turn. What a handler answers by reference goes from its memory to the socket uncopied.
// Limits:    X6: before authentication 10 arguments, 16 KiB, 1 MiB, 10 s, few connections per address; then RespLimits.
// A
//            reader that does not read: beyond output_soft_bytes its commands wait, after output_soft_ms so, or beyond
//            output_hard_bytes at once, it is disconnected. All buffers together: buffers_bytes_max.
// Security:  X4: without a password only loopback and Unix-socket peers are answered; constant-time compare, failure
// delay. Errors:    kConflict names an address in use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "wire/resp/command_table.h"
#include "wire/resp/event_loop.h"
#include "wire/resp/parser.h"
#include "wire/resp/reply.h"
#include "wire/resp/tls.h"

namespace tidelock {

class ReadableKeys;  // acl.h
struct AclLogEntry;

struct RespServerOptions {
  std::string password{};                  // empty: none (requirepass, of the user `default`); kept as a hash
  bool protected_mode = true;              // without a password, answer local peers only
  std::uint32_t connections_max = 10'000;  // maxclients
  std::int64_t idle_timeout_ms = 0;        // 0: never (CONFIG: timeout, in seconds)
  std::int64_t authentication_timeout_ms = 10'000;
  std::uint32_t unauthenticated_per_address_max = 64;  // local peers are not counted
  std::int64_t authentication_failure_delay_ms = 200;
  RespLimits limits{};  // after authentication
  std::size_t output_soft_bytes = 1u << 20;
  std::int64_t output_soft_ms = 60'000;
  std::size_t output_hard_bytes = 256u << 20;
  std::size_t buffers_bytes_max = 512u << 20;  // of all connections
  std::size_t patterns_max = 10'000;           // of PSUBSCRIBE, all connections together: PUBLISH tries each
  std::size_t prefixes_max = 256;              // of CLIENT TRACKING ... BCAST, one connection; 256 bytes each
  std::size_t tracking_keys_max = 1'000'000;   // remembered reads; beyond it keys are invalidated early
  std::size_t tracking_bytes_max = 64u << 20;  // the same, with names and readers
  // A cheaper reading of the loop's clock, at most a millisecond off: what commands are timed and idle times counted
  // with. Empty: the loop's clock.
  std::function<Nanos()> cheap_now{};
  // Hears of what an operator should mend while the server goes on: a certificate that was replaced and cannot be read.
  std::function<void(const std::string&)> complain{};
  // X4: hears of what ACL LOG takes up, each event once, and of at most kDenialsToldPerSecond a second; `untold` others
  // came before it. What a client chose in it is bytes of any kind, at most 1 KiB each.
  std::function<void(const AclLogEntry& entry, const std::string& peer, std::uint64_t untold)> denied{};
  static constexpr std::uint64_t kDenialsToldPerSecond = 10;
  std::string version = "7.0.15";  // of Redis, as HELLO reports it: clients choose features by it
};

struct ReplyToken {
  std::uint64_t connection = 0;
  std::uint64_t sequence = 0;
  friend bool operator==(const ReplyToken&, const ReplyToken&) = default;
};

// What a handler may know about the connection it answers. Valid during handle() only.
class ConnectionContext {
 public:
  virtual ~ConnectionContext() = default;
  virtual std::uint64_t id() const = 0;
  virtual int protocol() const = 0;  // 2 or 3: encode a deferred answer for it
  virtual const std::string& name() const = 0;
  virtual const std::string& peer() const = 0;  // "127.0.0.1:1234", or the socket's path
  virtual bool is_local() const = 0;            // loopback or Unix socket
  virtual const CommandSpec& command() const = 0;
  // X4: what a listing may show its user; null: every key. O(the user's patterns).
  virtual std::shared_ptr<const ReadableKeys> readable_keys() const = 0;
  // Take the answer out of handle(): what `reply` holds is dropped, and complete() must be called once with the token.
  // Once per command.
  virtual ReplyToken defer() = 0;
  // What earlier commands of this pipeline answered with bulk_reference is copied now: call it before anything that may
  // change or free those bytes. They need not outlive handle() of the last of these commands, and settle().
  virtual void copy_references() = 0;
  // For the handler's own use, one word for each connection: 0 at first, and after RESET.
  std::uint64_t handler_word = 0;
};

class CommandHandler {
 public:
  virtual ~CommandHandler() = default;
  // `args` (the name first) and `reply` are valid during the call. Write exactly one answer, or defer.
  virtual void handle(ConnectionContext& connection, const std::vector<std::string_view>& args, RespReply& reply) = 0;
  // A hint: the second words, mostly keys, of commands that will come next, unless something comes between.
  virtual void expect(std::span<const std::string_view> /*keys*/) {}
  // Between a run of commands of one connection and the writing of their answers: the last moment for what their
  // answers rest on. False: an answer since the last call is not true; the connection is closed without it.
  virtual bool settle() { return true; }
  // Asked when a command is to be queued after MULTI. Empty: fine. Else the error: the command is refused, and so will
  // be the EXEC. For commands whose answer would have to wait for somebody else.
  virtual std::string refuse_in_transaction(const CommandSpec&, const std::vector<std::string_view>& /*args*/) {
    return {};
  }
  // EXEC of these commands, none of which was refused, while `watched` did not change as far as anybody told. True:
  // `reply` is the answer of all of them, or it was deferred. False: they are run one after another. Not `allowed`: the
  // user may not run one of them any more.
  virtual bool execute_together(ConnectionContext&, const std::vector<std::vector<std::string>>& /*commands*/,
                                const std::vector<std::string>& /*watched*/, bool /*allowed*/, RespReply&) {
    return false;
  }
  // When the value of a key expires, on the loop's clock; kForever: never, or not known. WATCH and CLIENT TRACKING ask.
  virtual Nanos expires_at(std::string_view /*key*/) { return kForever; }
  // A connection with a deferred answer is gone: its token will be ignored; the work may be given up.
  virtual void abandoned(ReplyToken) {}
  // CONFIG GET: append each (name, value) of the handler's own; the server keeps those that were asked for.
  virtual void config_list(std::vector<std::pair<std::string, std::string>>&) {}
  // CONFIG SET: nullopt: no such parameter. Else what is wrong with the value, empty when it is good. Nothing changes
  // unless `apply`; with `apply` a value that was found good before must be taken.
  virtual std::optional<std::string> config_set(std::string_view /*name*/, std::string_view /*value*/, bool /*apply*/) {
    return std::nullopt;
  }
  // CONFIG REWRITE: whether there is a file to write. Then the command comes to handle(), which keeps
  // RespServer::settings().
  virtual bool has_config_file() const { return false; }
  // SHUTDOWN: asks for an orderly stop, which ends the connection without an answer; else why not, as an error reply.
  virtual std::optional<std::string> shutdown() { return "ERR this server is not stopped by its clients"; }
};

struct RespServerStats {
  std::uint64_t connections = 0, connections_total = 0, commands_total = 0, errors_total = 0;
  std::uint64_t refused_max = 0, refused_protected = 0, refused_unauthenticated = 0, refused_tls = 0;
  std::uint64_t closed_idle = 0, closed_slow_reader = 0, closed_protocol_error = 0, closed_memory = 0;
  std::uint64_t bytes_in = 0, bytes_out = 0, authentication_failures = 0, deferred = 0;
  std::size_t buffers_bytes = 0;
};

// What an operator changed while the server ran, and its users: for a configuration file.
struct RespSettings {
  std::vector<std::pair<std::string, std::string>> parameters;  // for set_parameter
  std::vector<std::string>
      users;  // for set_user; passwords as hashes. Without `default` while it is as the options said
};

struct RespServerImpl;

class RespServer {
 public:
  // `loop` and `handler` must outlive the server.
  RespServer(EventLoop& loop, CommandHandler& handler, RespServerOptions options);
  ~RespServer();  // closes every connection without an answer and every listener; removes its socket files
  RespServer(const RespServer&) = delete;
  RespServer& operator=(const RespServer&) = delete;

  // Returns the port: the one given, or the one the system picked for 0.
  Result<int> listen_tcp(const std::string& host, int port);
  // The same for TLS. Its peers are told nothing before their handshake, which takes authentication_timeout_ms at most.
  Result<int> listen_tls(const std::string& host, int port, RespTls files);
  // Mode 0660. A socket file that nobody answers is replaced; one of a live process is a kConflict.
  Result<void> listen_unix(const std::string& path);

  // Before serving, from a configuration file. kInvalid says what is wrong.
  Result<void> set_parameter(std::string_view name, std::string_view value);  // as CONFIG SET
  Result<void> set_user(std::string_view line);                               // "alice on #... ~features:* +@read"
  RespSettings settings() const;

  // The answer of a deferred command, encoded for that connection's protocol. Ignored when the connection is gone. Safe
  // inside handle(); later commands of the connection run at the end of the turn, never inside this call.
  void complete(ReplyToken token, std::string_view encoded);
  // The protocol to encode for; 0 when the connection is gone.
  int protocol_of(ReplyToken token) const;

  // The value of a key changed or was dropped, for whatever reason but its expiry: whoever watches it, or was told its
  // value under CLIENT TRACKING, hears of it. Call it before the answers that show the change. `origin` is the
  // connection that did it (NOLOOP); 0: the one inside handle(), if any. Cost: a few look-ups; one bool when nobody
  // listens. More calls than changes do no harm: a reader asks again, an EXEC is repeated.
  void key_changed(std::string_view key, std::uint64_t origin = 0);
  // The same for every key that `which` holds for; O(keys watched or tracked). BCAST clients are told to drop
  // everything.
  void keys_changed(const std::function<bool(std::string_view key)>& which);
  // The same for every key.
  void all_keys_changed();

  const RespServerStats& stats() const;
  // INFO sections "# Clients" and "# Stats" of this server, as Redis names them, for the handler's INFO.
  std::string info_sections() const;
  // "commandstats", "errorstats" or "latencystats".
  std::string statistics_section(std::string_view name) const;

 private:
  using Impl = RespServerImpl;
  std::shared_ptr<Impl> impl_;  // tasks of the loop hold it weakly
};

}  // namespace tidelock
