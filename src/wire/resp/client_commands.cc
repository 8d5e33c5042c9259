// CLIENT KILL, PAUSE, UNPAUSE, REPLY: what one connection may do to others, and to its answers. The rest of CLIENT is
// in connection_commands.cc and tracking.cc.
#include <algorithm>
#include <limits>
#include <utility>

#include "wire/resp/numbers.h"
#include "wire/resp/server_impl.h"

namespace tidelock {
namespace {

constexpr std::string_view kNoSuchClient = "ERR No such client";

// As CLIENT LIST shows them.
std::string shown_address(const RespConnection& c, const std::string& text) {
  return c.unix_socket ? text + ":0" : text;
}

struct KillFilter {
  std::optional<std::uint64_t> id;
  std::optional<std::string> address, local_address;
  std::shared_ptr<AclUser> user;
  std::optional<bool> pubsub;  // TYPE
  bool nobody = false;         // a TYPE that no connection here has
  bool skip_me = true;

  bool takes(const RespConnection& c) const {
    return !nobody && (!id || c.number == *id) && (!address || shown_address(c, c.peer_text) == *address) &&
           (!local_address || shown_address(c, c.local_text) == *local_address) && (!user || c.user == user) &&
           (!pubsub || (c.subscriptions() > 0) == *pubsub);
  }
};

// What is wrong with the options, or nothing.
std::string parse_kill(const Arguments& args, const Acl& users, KillFilter& filter) {
  for (std::size_t i = 2; i < args.size(); i += 2) {
    const auto is = [&](std::string_view name) { return equal_ignoring_case(args[i], name); };
    if (i + 1 >= args.size()) return "ERR syntax error";
    const std::string_view value = args[i + 1];
    const auto value_is = [&](std::string_view name) { return equal_ignoring_case(value, name); };
    if (is("ID")) {
      const auto id = parse_resp_integer(value);
      if (!id || *id < 1) return "ERR client-id should be greater than 0";
      filter.id = static_cast<std::uint64_t>(*id);
    } else if (is("TYPE")) {
      filter.nobody = value_is("master") || value_is("slave") || value_is("replica");
      if (!filter.nobody && !value_is("normal") && !value_is("pubsub")) {
        return "ERR Unknown client type '" + std::string(value.substr(0, 128)) + "'";
      }
      filter.pubsub = value_is("pubsub");
    } else if (is("ADDR")) {
      filter.address = value;
    } else if (is("LADDR")) {
      filter.local_address = value;
    } else if (is("USER")) {
      filter.user = users.find(value);
      if (!filter.user) return "ERR No such user '" + std::string(value.substr(0, 128)) + "'";
    } else if (is("SKIPME") && (value_is("yes") || value_is("no"))) {
      filter.skip_me = value_is("yes");
    } else {
      return "ERR syntax error";
    }
  }
  return {};
}

}  // namespace

bool RespServerImpl::client_more(RespConnection& c, const Arguments& args, RespReply& reply) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[1], name); };
  const auto fits = [&](std::string_view name, std::size_t least, std::size_t most) {
    c.last_command = "client|" + std::string(name);
    if (args.size() >= least && args.size() <= most) return true;
    reply.error(wrong_arity_error(c.last_command));
    return false;
  };
  constexpr std::size_t kAny = std::numeric_limits<std::size_t>::max();
  if (is("KILL")) {
    if (fits("kill", 3, kAny)) client_kill(c, args, reply);
  } else if (is("PAUSE")) {
    if (fits("pause", 3, kAny)) client_pause(args, reply);
  } else if (is("UNPAUSE")) {
    if (!fits("unpause", 2, 2)) return true;
    pause_until = kNever;
    end_pause();
    reply.ok();
  } else if (is("REPLY")) {
    if (fits("reply", 3, 3)) client_reply(c, args, reply);
  } else if (is("TRACKING")) {
    if (fits("tracking", 3, kAny)) client_tracking(c, args, reply);
  } else if (is("CACHING")) {
    if (fits("caching", 3, 3)) client_caching(c, args, reply);
  } else if (is("GETREDIR")) {
    if (fits("getredir", 2, 2)) reply.integer(c.tracking.on ? static_cast<std::int64_t>(c.tracking.redirect) : -1);
  } else if (is("TRACKINGINFO")) {
    if (fits("trackinginfo", 2, 2)) client_trackinginfo(c, reply);
  } else {
    return false;
  }
  return true;
}

void RespServerImpl::client_kill(RespConnection& c, const Arguments& args, RespReply& reply) {
  KillFilter filter;
  const bool old_form = args.size() == 3;  // CLIENT KILL addr
  if (old_form) {
    filter.address = args[2];
    filter.skip_me = false;
  } else if (const std::string wrong = parse_kill(args, acl, filter); !wrong.empty()) {
    return reply.error(wrong);
  }
  std::vector<std::shared_ptr<RespConnection>> killed;
  for (const auto& [number, connection] : connections) {
    if (filter.takes(*connection) && !(filter.skip_me && number == c.number)) killed.push_back(connection);
  }
  for (const auto& connection : killed) {
    if (connection.get() == &c) {
      c.close_when_sent = true;
    } else {
      close(*connection);
    }
  }
  if (!old_form) return reply.integer(static_cast<std::int64_t>(killed.size()));
  killed.empty() ? reply.error(kNoSuchClient) : reply.ok();
}

void RespServerImpl::client_pause(const Arguments& args, RespReply& reply) {
  if (args.size() > 4) {
    return reply.error("ERR unknown subcommand or wrong number of arguments for '" +
                       std::string(args[1].substr(0, 128)) + "'. Try CLIENT HELP.");
  }
  bool all = true;
  if (args.size() == 4) {
    all = equal_ignoring_case(args[3], "ALL");
    if (!all && !equal_ignoring_case(args[3], "WRITE"))
      return reply.error("ERR CLIENT PAUSE mode must be WRITE or ALL");
  }
  const auto ms = parse_resp_integer(args[2]);
  if (!ms) return reply.error("ERR timeout is not an integer or out of range");
  if (*ms < 0) return reply.error("ERR timeout is negative");
  const Nanos pause = *ms > kForever / kMillisecond ? kForever : *ms * kMillisecond;
  pause_until = saturating_add(loop.clock().now(), pause);
  pause_all = all;
  end_pause();  // a weaker one lets some go on
  loop.wake_at(pause_waker, pause_until);
  reply.ok();
}

bool RespServerImpl::paused_for(const RespConnection& c, std::string_view name, std::size_t words) const {
  if (pause_until == kNever || loop.clock().now() >= pause_until) return false;
  if (pause_all) return true;
  const CommandSpec* spec = find_command(name);
  if (spec == nullptr || !spec->arity_fits(words)) return false;
  return (spec->flags & CommandFlag::kWrite) != 0 || spec->id == RespCommand::kPublish ||
         (spec->id == RespCommand::kExec && c.transaction.writes);
}

// Whoever was held looks again whether it still is.
void RespServerImpl::end_pause() {
  if (loop.clock().now() >= pause_until) pause_until = kNever;
  for (const auto& [number, connection] : connections) {
    if (!connection->postponed.empty()) enqueue(*connection);
  }
}

void RespServerImpl::client_reply(RespConnection& c, const Arguments& args, RespReply& reply) {
  if (equal_ignoring_case(args[2], "ON")) {
    c.reply_mode = RespReplyMode::kOn;
    c.skips = false;
    reply.ok();
  } else if (equal_ignoring_case(args[2], "OFF")) {
    c.reply_mode = RespReplyMode::kOff;
  } else if (equal_ignoring_case(args[2], "SKIP")) {
    if (c.reply_mode == RespReplyMode::kOn) c.reply_mode = RespReplyMode::kSkipNext;
  } else {
    return reply.error("ERR syntax error");
  }
  // OFF and SKIP answer nothing; inside EXEC each command has its place in the array.
  if (c.transaction.running && c.reply_mode != RespReplyMode::kOn) reply.ok();
}

}  // namespace tidelock
