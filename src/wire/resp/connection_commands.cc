// Commands that need no data: the connection's own state. Texts and argument orders are those of Redis 7.0.
#include <algorithm>
#include <string>

#include "base/assert.h"
#include "wire/resp/numbers.h"
#include "wire/resp/server_impl.h"

namespace tidelock {
namespace {

constexpr std::string_view kDefaultUser = "default";
constexpr std::size_t kClientNameBytesMax = 1024;
constexpr std::string_view kBadName = "ERR Client names cannot contain spaces, newlines or special characters.";
constexpr std::string_view kWrongPassword = "WRONGPASS invalid username-password pair or user is disabled.";

bool plain_text(std::string_view text) {
  return text.size() <= kClientNameBytesMax &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '!' && c <= '~'; });
}

// Seconds since `instant`, as CLIENT LIST shows them.
std::string seconds_since(Nanos instant, Nanos now) { return std::to_string(saturating_sub(now, instant) / kSecond); }

// As Redis shows them in CLIENT LIST.
std::string flags_of(const RespConnection& c) {
  std::string flags;
  if (c.subscriptions() > 0) flags.push_back('P');
  if (c.transaction.open) flags.push_back('x');
  if (c.tracking.on) flags.push_back('t');
  if (c.tracking.broken) flags.push_back('R');
  if (c.tracking.bcast) flags.push_back('B');
  if (c.transaction.changed) flags.push_back('d');
  if (c.close_when_sent) flags.push_back('c');
  if (c.unix_socket) flags.push_back('U');
  if (c.no_evict) flags.push_back('e');
  return flags.empty() ? "N" : flags;
}

constexpr std::string_view kClientHelp[] = {
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * ID <client-id>",
    "      Kill the connection with this id.",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID <client-id> ...]",
    "    Return information about client connections.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETINFO <attr> <value>",
    "    Set the lib-name or lib-ver of the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "HELP",
    "    Print this help."};

}  // namespace

bool RespServerImpl::execute_here(RespConnection& connection, const Arguments& args, RespReply& reply) {
  switch (connection.current->id) {
    case RespCommand::kPing: ping(connection, args, reply); return true;
    case RespCommand::kEcho: reply.bulk(args[1]); return true;
    case RespCommand::kHello: hello(connection, args); return true;
    case RespCommand::kAuth: auth(connection, args, reply); return true;
    case RespCommand::kSelect: select(args, reply); return true;
    case RespCommand::kReset:
      reset(connection);
      reply.simple("RESET");
      return true;
    case RespCommand::kQuit:
      reply.ok();
      connection.close_when_sent = true;
      return true;
    case RespCommand::kClient: client(connection, args, reply); return true;
    case RespCommand::kCommand: answer_command(args, reply); return true;
    case RespCommand::kMulti: multi(connection, reply); return true;
    case RespCommand::kExec: exec(connection, reply); return true;
    case RespCommand::kDiscard: discard(connection, reply); return true;
    case RespCommand::kWatch: watch_keys(connection, args, reply); return true;
    case RespCommand::kUnwatch:
      unwatch(connection);
      reply.ok();
      return true;
    case RespCommand::kSubscribe: subscribe(connection, args, false, reply); return true;
    case RespCommand::kUnsubscribe: unsubscribe(connection, args, false, reply); return true;
    case RespCommand::kPSubscribe: subscribe(connection, args, true, reply); return true;
    case RespCommand::kPUnsubscribe: unsubscribe(connection, args, true, reply); return true;
    case RespCommand::kPublish: publish(connection, args, reply); return true;
    case RespCommand::kPubSub: pubsub(connection, args, reply); return true;
    case RespCommand::kConfig:
      if (handler.has_config_file() && equal_ignoring_case(args[1], "REWRITE")) return false;
      config(args, reply);
      return true;
    case RespCommand::kAcl: acl_command(connection, args, reply); return true;
    case RespCommand::kSlowlog: slowlog(args, reply); return true;
    case RespCommand::kLatency: latency(args, reply); return true;
    case RespCommand::kMemory: return memory(args, reply);
    case RespCommand::kTime: tell_time(reply); return true;
    case RespCommand::kFunction: function(args, reply); return true;
    case RespCommand::kShutdown: shutdown(connection, args, reply); return true;
    default: return false;
  }
}

void RespServerImpl::ping(RespConnection& connection, const Arguments& args, RespReply& reply) {
  if (args.size() > 2) return reply.error(wrong_arity_error("ping"));
  if (connection.protocol_version == 2 && connection.subscriptions() > 0) {  // shaped like a message
    reply.array(2);
    reply.bulk("pong");
    return reply.bulk(args.size() == 2 ? args[1] : std::string_view());
  }
  if (args.size() == 2) return reply.bulk(args[1]);
  reply.simple("PONG");
}

void RespServerImpl::select(const Arguments& args, RespReply& reply) {
  const auto index = parse_resp_integer(args[1]);
  constexpr std::int64_t kIntMax = 2147483647;
  if (!index) return reply.error("ERR value is not an integer or out of range");
  if (*index > kIntMax || *index < -kIntMax - 1) {
    return reply.error("ERR value is out of range, value must between -2147483648 and 2147483647");
  }
  if (*index != 0) return reply.error("ERR DB index is out of range");
  reply.ok();
}

void RespServerImpl::reset(RespConnection& connection) {
  const bool was_required = auth_required(connection);
  forget_state(connection);
  connection.protocol_version = 2;
  connection.client_name.clear();
  connection.no_evict = false;
  connection.handler_word = 0;
  connection.user = acl.default_user();
  set_authenticated(connection, acl.open());
  // X6: ten seconds from now, for whoever had proven who it was
  if (auth_required(connection) && !was_required) connection.created_at = loop.clock().now();
}

bool RespServerImpl::authenticate(RespConnection& connection, std::string_view user, std::string_view password) {
  auto known = acl.authenticate(user, password);
  if (!known) {
    note_refusal(connection, "auth", connection.current->id == RespCommand::kAuth ? "AUTH" : "HELLO", user);
    return false;
  }
  connection.user = std::move(known);
  set_authenticated(connection, true);
  return true;
}

// X4: answered after a delay, and nothing else of this connection is executed until then.
void RespServerImpl::refuse_authentication(RespConnection& connection) {
  ++stats.authentication_failures;
  RespReply(connection.held, connection.protocol_version).error(kWrongPassword);
  note_error(kWrongPassword);
  connection.held_until = saturating_add(
      loop.clock().now(), std::min(options.authentication_failure_delay_ms, std::int64_t{60'000}) * kMillisecond);
}

void RespServerImpl::auth(RespConnection& connection, const Arguments& args, RespReply& reply) {
  if (args.size() > 3) return reply.error("ERR syntax error");
  if (args.size() == 2 && acl.default_user()->no_password()) {
    return reply.error(
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
        "configuration "
        "is correct?");
  }
  const std::string_view user = args.size() == 3 ? args[1] : kDefaultUser;
  if (!authenticate(connection, user, args.back())) return refuse_authentication(connection);
  reply.ok();
}

void RespServerImpl::hello(RespConnection& connection, const Arguments& args) {
  RespReply refusal(connection.out, connection.protocol_version);
  int version = connection.protocol_version;
  if (args.size() >= 2) {
    const auto wanted = parse_resp_integer(args[1]);
    if (!wanted) return refusal.error("ERR Protocol version is not an integer or out of range");
    if (*wanted < 2 || *wanted > 3) return refusal.error("NOPROTO unsupported protocol version");
    version = static_cast<int>(*wanted);
  }
  bool with_auth = false, with_name = false;
  std::string_view user, password, name;
  for (std::size_t i = 2; i < args.size(); ++i) {
    const std::size_t more = args.size() - 1 - i;
    if (equal_ignoring_case(args[i], "AUTH") && more >= 2) {
      with_auth = true;
      user = args[++i];
      password = args[++i];
    } else if (equal_ignoring_case(args[i], "SETNAME") && more >= 1) {
      with_name = true;
      name = args[++i];
      if (!plain_text(name)) return refusal.error(kBadName);
    } else {
      return refusal.error("ERR Syntax error in HELLO option '" + std::string(args[i].substr(0, 128)) + "'");
    }
  }
  if (with_auth && !authenticate(connection, user, password)) return refuse_authentication(connection);
  if (auth_required(connection)) {
    return refusal.error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> "
        "<pass> "
        "option can be used to authenticate the client and select the RESP protocol version at the same time");
  }
  if (with_name) connection.client_name = name;
  connection.protocol_version = version;
  RespReply reply(connection.out, version);
  reply.map(7);
  reply.bulk("server");
  reply.bulk("redis");  // what clients look for; INFO names Tidelock
  reply.bulk("version");
  reply.bulk(options.version);
  reply.bulk("proto");
  reply.integer(version);
  reply.bulk("id");
  reply.integer(static_cast<std::int64_t>(connection.number));
  reply.bulk("mode");
  reply.bulk("standalone");
  reply.bulk("role");
  reply.bulk("master");
  reply.bulk("modules");
  reply.array(0);
}

void RespServerImpl::client(RespConnection& connection, const Arguments& args, RespReply& reply) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[1], name); };
  const auto arity = [&](std::string_view name, std::size_t wanted) {
    connection.last_command = "client|" + std::string(name);
    if (args.size() == wanted) return true;
    reply.error(wrong_arity_error(connection.last_command));
    return false;
  };
  if (is("ID")) {
    if (arity("id", 2)) reply.integer(static_cast<std::int64_t>(connection.number));
  } else if (is("GETNAME")) {
    if (!arity("getname", 2)) return;
    connection.client_name.empty() ? reply.null() : reply.bulk(connection.client_name);
  } else if (is("SETNAME")) {
    if (!arity("setname", 3)) return;
    if (!plain_text(args[2])) return reply.error(kBadName);
    connection.client_name = args[2];
    reply.ok();
  } else if (is("INFO")) {
    if (arity("info", 2)) reply.verbatim("txt", describe(connection) + "\n");
  } else if (is("LIST")) {
    connection.last_command = "client|list";
    client_list(args, reply);
  } else if (is("SETINFO")) {
    if (!arity("setinfo", 4)) return;
    const bool lib_name = equal_ignoring_case(args[2], "LIB-NAME"),
               lib_version = equal_ignoring_case(args[2], "LIB-VER");
    if (!lib_name && !lib_version) {
      return reply.error("ERR Unrecognized option '" + std::string(args[2].substr(0, 128)) + "'");
    }
    if (!plain_text(args[3])) {
      return reply.error(std::string("ERR ") + (lib_name ? "lib-name" : "lib-ver") +
                         " cannot contain spaces, newlines or special characters.");
    }
    (lib_name ? connection.library_name : connection.library_version) = args[3];
    reply.ok();
  } else if (is("NO-EVICT")) {
    if (!arity("no-evict", 3)) return;
    const bool on = equal_ignoring_case(args[2], "ON");
    if (!on && !equal_ignoring_case(args[2], "OFF")) return reply.error("ERR syntax error");
    connection.no_evict = on;  // accepted and shown; I11: buffers_bytes_max holds for it too
    reply.ok();
  } else if (client_more(connection, args, reply)) {
    return;
  } else if (is("HELP")) {
    reply.array(std::size(kClientHelp));
    for (const std::string_view line : kClientHelp) reply.simple(line);
  } else {
    reply.error(unknown_subcommand_error("client", args[1]));
  }
}

void RespServerImpl::client_list(const Arguments& args, RespReply& reply) {
  std::vector<const RespConnection*> shown;
  if (args.size() == 4 && equal_ignoring_case(args[2], "TYPE")) {
    const auto is = [&](std::string_view type) { return equal_ignoring_case(args[3], type); };
    if (!is("normal") && !is("master") && !is("slave") && !is("replica") && !is("pubsub")) {
      return reply.error("ERR Unknown client type '" + std::string(args[3].substr(0, 128)) + "'");
    }
    if (!is("normal") && !is("pubsub")) return reply.verbatim("txt", "");
    for (const auto& [number, one] : connections) {
      if ((one->subscriptions() > 0) == is("pubsub")) shown.push_back(one.get());
    }
  } else if (args.size() > 3 && equal_ignoring_case(args[2], "ID")) {
    std::set<std::uint64_t> ids;  // X6: each once, however often it is named
    for (std::size_t i = 3; i < args.size(); ++i) {
      const auto wanted = parse_resp_integer(args[i]);
      if (!wanted) return reply.error("ERR Invalid client ID");
      const auto found = connections.find(static_cast<std::uint64_t>(*wanted));
      if (found != connections.end() && ids.insert(found->first).second) shown.push_back(found->second.get());
    }
    std::string text;
    for (const RespConnection* connection : shown) text += describe(*connection) + "\n";
    return reply.verbatim("txt", text);
  } else if (args.size() != 2) {
    return reply.error("ERR syntax error");
  }
  if (args.size() == 2) {
    for (const auto& [number, connection] : connections) shown.push_back(connection.get());
  }
  std::sort(shown.begin(), shown.end(), [](const auto* a, const auto* b) { return a->number < b->number; });
  std::string text;
  for (const RespConnection* connection : shown) text += describe(*connection) + "\n";
  reply.verbatim("txt", text);
}

std::string RespServerImpl::describe(const RespConnection& c) const {
  const Nanos now = loop.clock().now();
  const auto number = [](auto value) { return std::to_string(value); };
  const std::string_view unix_suffix = c.unix_socket ? ":0" : "";
  std::string text = "id=" + number(c.number);
  text.append(" addr=").append(c.peer_text).append(unix_suffix);
  text.append(" laddr=").append(c.local_text).append(unix_suffix);
  text.append(" fd=" + number(c.fd)).append(" name=").append(c.client_name);
  text.append(" age=" + seconds_since(c.created_at, now)).append(" idle=" + seconds_since(c.last_at, now));
  text.append(" flags=").append(flags_of(c)).append(" db=0 sub=" + number(c.channels.size()));
  text.append(" psub=" + number(c.patterns.size())).append(" ssub=0 multi=");
  text.append(c.transaction.open ? number(c.transaction.queued.size()) : "-1");
  text.append(" qbuf=" + number(c.parser.buffered()));
  text.append(" qbuf-free=" + number(c.parser.free_bytes()));
  text.append(" argv-mem=0 multi-mem=" + number(c.state_bytes) + " rbs=" + number(c.out.capacity()))
      .append(" rbp=0 obl=" + number(c.unsent()));
  text.append(" oll=0 omem=0 tot-mem=" + number(c.parser.memory_bytes() + c.out.capacity() + sizeof(RespConnection)));
  text.append((c.interest & ~1u) != 0 ? " events=rw" : " events=r").append(" cmd=").append(c.last_command);
  text.append(c.last_command.empty() ? "NULL" : "");
  text.append(" user=" + c.user->name() + " redir=" + (c.tracking.on ? number(c.tracking.redirect) : "-1"));
  text.append(" resp=" + number(c.protocol_version));
  text.append(" lib-name=").append(c.library_name).append(" lib-ver=").append(c.library_version);
  return text;
}

}  // namespace tidelock
