// CONFIG for the server's own parameters, and for those that the handler adds. Texts are those of Redis 7.0.
#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "wire/resp/command_answers.h"
#include "wire/resp/glob.h"
#include "wire/resp/numbers.h"
#include "wire/resp/server_impl.h"

namespace tidelock {
namespace {

constexpr std::int64_t kInt64Max = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kPasswordBytesMax = 512;
constexpr std::size_t kPairsMax = 256;  // of one CONFIG SET: pairs are compared with each other

// What is wrong with a value; empty: nothing, and it was stored if it was to be.
using Setter = std::function<std::string(std::string_view value, bool apply)>;

struct Parameter {
  std::string_view name;
  std::function<std::string()> get;  // empty: write only
  Setter set;                        // empty: cannot be changed while running
};

std::string out_of_range(std::int64_t low, std::int64_t high) {
  return "argument must be between " + std::to_string(low) + " and " + std::to_string(high) + " inclusive";
}

template <class T>
Setter integer(T& target, std::int64_t low, std::int64_t high, std::int64_t unit = 1) {
  return [&target, low, high, unit](std::string_view text, bool apply) -> std::string {
    const auto value = parse_resp_integer(text);
    if (!value) return "argument couldn't be parsed into an integer";
    if (*value < low || *value > high) return out_of_range(low, high);
    if (apply) target = static_cast<T>(*value * unit);
    return {};
  };
}

// "64mb": k, kb, m, mb, g, gb; b or nothing for bytes.
std::optional<std::int64_t> parse_memory(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto value = parse_resp_integer(text.substr(0, digits));
  if (!value) return std::nullopt;
  constexpr std::pair<std::string_view, std::int64_t> kUnits[] = {
      {"", 1},          {"b", 1},        {"k", 1000},          {"kb", 1 << 10},
      {"m", 1'000'000}, {"mb", 1 << 20}, {"g", 1'000'000'000}, {"gb", 1 << 30}};
  for (const auto& [name, factor] : kUnits) {
    if (!equal_ignoring_case(text.substr(digits), name)) continue;
    if (*value > kInt64Max / factor) return std::nullopt;
    return *value * factor;
  }
  return std::nullopt;
}

Setter memory(std::size_t& target, std::int64_t low, std::int64_t high) {
  return [&target, low, high](std::string_view text, bool apply) -> std::string {
    const auto value = parse_memory(text);
    if (!value) return "argument must be a memory value";
    if (*value < low || *value > high) return out_of_range(low, high);
    if (apply) target = static_cast<std::size_t>(*value);
    return {};
  };
}

Setter yes_or_no(bool& target) {
  return [&target](std::string_view text, bool apply) -> std::string {
    const bool yes = equal_ignoring_case(text, "yes");
    if (!yes && !equal_ignoring_case(text, "no")) return "argument must be 'yes' or 'no'";
    if (apply) target = yes;
    return {};
  };
}

constexpr std::int64_t kOutputBytesMin = 1 << 16, kOutputBytesMax = std::int64_t{64} << 30;
constexpr std::int64_t kOutputSecondsMax = 86'400;

// "normal 256mb 1mb 60": hard limit, soft limit, seconds. X6, I11: none of them is 0, which is no limit in Redis.
std::string set_output_limits(RespServerOptions& options, std::string_view text, bool apply) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (end > 0) words.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (words.size() != 4) return "Wrong number of arguments in buffer limit configuration.";
  if (!equal_ignoring_case(words[0], "normal")) {
    return "Invalid client class specified in buffer limit configuration. All clients are of class normal here";
  }
  const auto hard = parse_memory(words[1]), soft = parse_memory(words[2]);
  const auto seconds = parse_resp_integer(words[3]);
  const auto wrong = [](std::string_view what, const std::string& range) {
    return "Error in hard, soft or soft_seconds setting in buffer limit configuration. " + std::string(what) + ": " +
           range;
  };
  if (!hard || *hard < kOutputBytesMin || *hard > kOutputBytesMax)
    return wrong("hard", out_of_range(kOutputBytesMin, kOutputBytesMax));
  if (!soft || *soft < kOutputBytesMin || *soft > *hard) return wrong("soft", out_of_range(kOutputBytesMin, *hard));
  if (!seconds || *seconds < 1 || *seconds > kOutputSecondsMax)
    return wrong("soft_seconds", out_of_range(1, kOutputSecondsMax));
  if (!apply) return {};
  options.output_hard_bytes = static_cast<std::size_t>(*hard);
  options.output_soft_bytes = static_cast<std::size_t>(*soft);
  options.output_soft_ms = *seconds * 1000;
  return {};
}

enum class Door : std::uint8_t { kTcp, kTls, kUnix };

Door door_of(const RespServerImpl::Listener& listener) {
  if (!listener.unix_path.empty()) return Door::kUnix;
  return listener.tls != nullptr ? Door::kTls : Door::kTcp;
}

std::string first_listener(const std::map<int, RespServerImpl::Listener>& listeners, Door door,
                           std::string (*text)(const RespServerImpl::Listener&)) {
  for (const auto& [fd, listener] : listeners) {
    if (door_of(listener) == door) return text(listener);
  }
  return door == Door::kUnix ? "" : "0";
}

std::vector<Parameter> parameters_of(RespServerImpl& server) {
  RespServerOptions& o = server.options;
  const auto fixed = [](std::string text) { return [text = std::move(text)] { return text; }; };
  const auto& listeners = server.listeners;
  using Listener = RespServerImpl::Listener;
  const auto size_text = [](const std::size_t& value) { return [&value] { return std::to_string(value); }; };
  std::vector<Parameter> all;
  all.push_back({"maxclients", [&o] { return std::to_string(o.connections_max); },
                 integer(o.connections_max, 1, std::numeric_limits<std::uint32_t>::max())});
  all.push_back({"timeout", [&o] { return std::to_string(o.idle_timeout_ms / 1000); },
                 integer(o.idle_timeout_ms, 0, std::numeric_limits<std::int32_t>::max(), 1000)});
  all.push_back({"requirepass", nullptr, [&server](std::string_view text, bool apply) -> std::string {
                   if (text.size() > static_cast<std::size_t>(kPasswordBytesMax)) {
                     return "argument must be at most " + std::to_string(kPasswordBytesMax) + " bytes long";
                   }
                   if (apply) server.acl.set_default_password(text);
                   return {};
                 }});
  all.push_back({"protected-mode", [&o] { return o.protected_mode ? "yes" : "no"; }, yes_or_no(o.protected_mode)});
  all.push_back(
      {"proto-max-bulk-len", size_text(o.limits.bulk_bytes_max), memory(o.limits.bulk_bytes_max, 1 << 20, 1 << 30)});
  all.push_back({"client-query-buffer-limit", size_text(o.limits.request_bytes_max),
                 memory(o.limits.request_bytes_max, 1 << 20, std::int64_t{2} << 30)});
  all.push_back({"client-output-buffer-limit",
                 [&o] {
                   return "normal " + std::to_string(o.output_hard_bytes) + " " + std::to_string(o.output_soft_bytes) +
                          " " + std::to_string(o.output_soft_ms / 1000);
                 },
                 [&o](std::string_view text, bool apply) { return set_output_limits(o, text, apply); }});
  all.push_back(
      {"maxmemory-clients", size_text(o.buffers_bytes_max), memory(o.buffers_bytes_max, 16 << 20, kOutputBytesMax)});
  SlowLog& slow = server.slow_log;
  all.push_back({"slowlog-log-slower-than", [&slow] { return std::to_string(slow.slower_than_us); },
                 integer(slow.slower_than_us, -1, kInt64Max)});
  all.push_back({"slowlog-max-len", size_text(slow.length_max), integer(slow.length_max, 0, kInt64Max)});
  auto& threshold = server.latency_events.threshold_ms;
  all.push_back({"latency-monitor-threshold", [&threshold] { return std::to_string(threshold); },
                 integer(threshold, 0, kInt64Max)});
  all.push_back({"acllog-max-len", size_text(server.acl.log_max), integer(server.acl.log_max, 0, 10'000)});
  all.push_back({"databases", fixed("1"), nullptr});
  all.push_back({"save", fixed(""), nullptr});  // redis-benchmark asks for these two
  all.push_back({"appendonly", fixed("no"), nullptr});
  const auto first = [&listeners](Door door, std::string (*text)(const Listener&)) {
    return [&listeners, door, text] { return first_listener(listeners, door, text); };
  };
  all.push_back({"port", first(Door::kTcp, [](const Listener& l) { return std::to_string(l.port); }), nullptr});
  all.push_back({"tls-port", first(Door::kTls, [](const Listener& l) { return std::to_string(l.port); }), nullptr});
  all.push_back({"bind", first(Door::kTcp, [](const Listener& l) { return l.host; }), nullptr});
  all.push_back({"unixsocket", first(Door::kUnix, [](const Listener& l) { return l.unix_path; }), nullptr});
  all.push_back({"unixsocketperm", fixed("660"), nullptr});
  return all;
}

std::string set_failed(std::string_view name, std::string_view why) {
  return "ERR CONFIG SET failed (possibly related to argument '" + std::string(name.substr(0, 128)) + "') - " +
         std::string(why);
}

constexpr std::string_view kHelp[] = {"CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                                      "GET <pattern>",
                                      "    Return parameters matching the glob-like <pattern> and their values.",
                                      "SET <directive> <value>",
                                      "    Set the configuration <directive> to <value>.",
                                      "RESETSTAT",
                                      "    Reset statistics reported by the INFO command.",
                                      "REWRITE",
                                      "    Rewrite the configuration file."};

}  // namespace

void RespServerImpl::config(const Arguments& args, RespReply& reply) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[1], name); };
  if (is("GET")) {
    if (args.size() < 3) return reply.error(wrong_arity_error("config|get"));
    config_get(args, reply);
  } else if (is("SET")) {
    if (args.size() < 4) return reply.error(wrong_arity_error("config|set"));
    if (args.size() % 2 != 0) return reply.error("ERR syntax error");
    config_set(args, reply);
  } else if (is("RESETSTAT")) {
    if (args.size() != 2) return reply.error(wrong_arity_error("config|resetstat"));
    RespServerStats fresh;
    fresh.connections = stats.connections;
    fresh.buffers_bytes = stats.buffers_bytes;
    stats = fresh;
    statistics.reset();
    reply.ok();
  } else if (is("REWRITE")) {
    if (args.size() != 2) return reply.error(wrong_arity_error("config|rewrite"));
    reply.error("ERR The server is running without a config file");
  } else if (is("HELP")) {
    write_help(kHelp, reply);
  } else {
    reply.error(unknown_subcommand_error("config", args[1]));
  }
}

void RespServerImpl::config_get(const Arguments& args, RespReply& reply) {
  std::vector<std::pair<std::string, std::string>> known;
  for (const Parameter& parameter : parameters_of(*this)) {
    if (parameter.get) known.emplace_back(parameter.name, parameter.get());  // a password is never shown
  }
  handler.config_list(known);
  std::uint64_t work = kGlobWorkDefault;
  std::vector<const std::pair<std::string, std::string>*> wanted;
  for (const auto& entry : known) {
    const bool matches = std::any_of(args.begin() + 2, args.end(), [&](std::string_view pattern) {
      return glob_match(pattern.substr(0, kGlobPatternBytesMax), entry.first, &work, true);
    });
    if (work == 0) return reply.error("ERR patterns too complex");
    if (matches) wanted.push_back(&entry);
  }
  reply.map(wanted.size());
  for (const auto* entry : wanted) {
    reply.bulk(entry->first);
    reply.bulk(entry->second);
  }
}

// The whole error reply; empty when the value is good, and then it was stored if it was to be.
std::string RespServerImpl::set_parameter(std::string_view name, std::string_view value, bool apply) {
  const std::vector<Parameter> parameters = parameters_of(*this);
  const auto found = std::find_if(parameters.begin(), parameters.end(), [&](const Parameter& parameter) {
    return equal_ignoring_case(parameter.name, name);
  });
  std::string wrong;
  if (found == parameters.end()) {
    const auto answer = handler.config_set(name, value, apply);
    if (!answer) {
      return "ERR Unknown option or number of arguments for CONFIG SET - '" + std::string(name.substr(0, 128)) + "'";
    }
    wrong = *answer;
  } else {
    wrong = found->set ? found->set(value, apply) : "can't set immutable config";
    if (wrong.empty() && apply && found->get) set_parameters.emplace(found->name);
  }
  return wrong.empty() ? wrong : set_failed(name, wrong);
}

void RespServerImpl::config_set(const Arguments& args, RespReply& reply) {
  if (args.size() > 2 + 2 * kPairsMax) return reply.error(wrong_arity_error("config|set"));
  // All or nothing: every pair is looked at before any is applied.
  for (const bool apply : {false, true}) {
    for (std::size_t i = 2; i < args.size(); i += 2) {
      for (std::size_t j = 2; !apply && j < i; j += 2) {
        if (equal_ignoring_case(args[j], args[i])) return reply.error(set_failed(args[i], "duplicate parameter"));
      }
      if (const std::string wrong = set_parameter(args[i], args[i + 1], apply); !wrong.empty()) {
        return reply.error(wrong);
      }
    }
  }
  after_settings();
  reply.ok();
}

void RespServerImpl::after_settings() {
  slow_log.trim();
  for (const auto& [number, connection] : connections) {
    apply_limits(*connection);
    note_deadline(*connection);
  }
}

RespSettings RespServerImpl::settings() const {
  RespSettings settings;
  // parameters_of is written for one that may change; here only the readers are used.
  for (const Parameter& parameter : parameters_of(const_cast<RespServerImpl&>(*this))) {
    if (set_parameters.contains(parameter.name)) settings.parameters.emplace_back(parameter.name, parameter.get());
  }
  for (const auto& [name, user] : acl.users()) {
    std::string rules = user->rules_text();
    if (user == acl.default_user() && rules == first_default_user) continue;
    settings.users.push_back(name + " " + std::move(rules));
  }
  return settings;
}

std::string RespServerImpl::info_sections() const {
  const auto line = [](std::string_view name, std::uint64_t value) {
    return std::string(name) + ":" + std::to_string(value) + "\r\n";
  };
  std::uint64_t deferred = 0;
  for (const auto& [number, connection] : connections) deferred += connection->deferred;
  return "# Clients\r\n" + line("connected_clients", stats.connections) + line("maxclients", options.connections_max) +
         line("blocked_clients", deferred) + line("tracking_clients", tracking_count) +
         line("client_buffers_bytes", stats.buffers_bytes) + "\r\n# Stats\r\n" +
         line("total_connections_received", stats.connections_total) +
         line("total_commands_processed", stats.commands_total) + line("total_net_input_bytes", stats.bytes_in) +
         line("total_net_output_bytes", stats.bytes_out) +
         line("rejected_connections", stats.refused_max + stats.refused_protected + stats.refused_unauthenticated) +
         line("rejected_tls_handshakes", stats.refused_tls) + line("total_error_replies", stats.errors_total) +
         line("client_output_buffer_limit_disconnections", stats.closed_slow_reader) +
         line("pubsub_channels", channels.size()) + line("pubsub_patterns", patterns.size()) +
         line("tracking_total_keys", tracked.size()) + line("tracking_total_prefixes", prefixes.size()) +
         line("acl_access_denied_auth", stats.authentication_failures);
}

}  // namespace tidelock
