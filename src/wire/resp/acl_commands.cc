// ACL, and what a command is refused for. Texts and shapes are those of Redis 7.0.
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "wire/resp/command_answers.h"
#include "wire/resp/numbers.h"
#include "wire/resp/server_impl.h"

namespace tidelock {
namespace {

constexpr std::int64_t kPasswordBitsMax = 4096, kPasswordBitsDefault = 256;
constexpr std::size_t kObjectBytesMax = 1024;  // of a key or channel in the log

constexpr std::string_view kNoFile =
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER "
    "command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store "
    "users "
    "in the Redis configuration.";

constexpr std::string_view kHelp[] = {
    "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username."};

std::string wrong_arguments(std::string_view subcommand) {
  return "ERR unknown subcommand or wrong number of arguments for '" + std::string(subcommand) + "'. Try ACL HELP.";
}

void generate_password(const std::vector<std::string_view>& args, RespReply& reply) {
  if (args.size() > 3) return reply.error(wrong_arguments(args[1]));
  std::int64_t bits = kPasswordBitsDefault;
  if (args.size() == 3) {
    const auto wanted = parse_resp_integer(args[2]);
    if (!wanted) return reply.error("ERR value is not an integer or out of range");
    if (*wanted <= 0 || *wanted > kPasswordBitsMax) {
      return reply.error(
          "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096");
    }
    bits = *wanted;
  }
  std::array<unsigned char, kPasswordBitsMax / 8> bytes;
  const auto digits = static_cast<std::size_t>((bits + 3) / 4);
  const std::size_t wanted = (digits + 1) / 2;
  for (std::size_t got = 0; got < wanted;) {  // whole up to 256 bytes, unless a signal comes
    const ssize_t some = ::getrandom(bytes.data() + got, std::min<std::size_t>(wanted - got, 256), 0);
    if (some > 0) got += static_cast<std::size_t>(some);
  }
  std::string text;
  for (std::size_t i = 0; i < digits; ++i) {
    text += "0123456789abcdef"[i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15];
  }
  reply.bulk(text);
}

void list_categories(const std::vector<std::string_view>& args, RespReply& reply) {
  if (args.size() > 3) return reply.error(wrong_arguments(args[1]));
  if (args.size() == 2) {
    reply.array(category_names().size());
    for (const std::string_view name : category_names()) reply.bulk(name);
    return;
  }
  const CategoryBits category = category_bit(args[2]);
  if (category == 0) return reply.error("ERR Unknown category '" + std::string(args[2].substr(0, 128)) + "'");
  std::vector<std::string> names;
  for (std::size_t entry = 0; entry < command_entries(); ++entry) {
    const CommandLookup command = lookup_of_entry(entry);
    if ((categories_of(command) & category) != 0) names.push_back(command.full_name());
  }
  reply.array(names.size());
  for (const std::string& name : names) reply.bulk(name);
}

void show_user(const AclUser* user, RespReply& reply) {
  if (user == nullptr) return reply.null();
  reply.map(6);
  reply.bulk("flags");
  const auto flags = user->flags();
  reply.set(flags.size());
  for (const std::string& flag : flags) reply.bulk(flag);
  reply.bulk("passwords");
  reply.array(user->passwords().size());
  for (const std::string& password : user->passwords()) reply.bulk(password);
  reply.bulk("commands");
  reply.bulk(user->commands_text());
  reply.bulk("keys");
  reply.bulk(user->keys_text());
  reply.bulk("channels");
  reply.bulk(user->channels_text());
  reply.bulk("selectors");
  reply.array(0);
}

void dry_run(const Acl& users, const std::vector<std::string_view>& args, RespReply& reply) {
  const auto user = users.find(args[2]);
  if (!user) return reply.error("ERR User '" + std::string(args[2].substr(0, 128)) + "' not found");
  const std::span<const std::string_view> asked = std::span(args).subspan(3);
  const CommandLookup command = look_up(asked);
  if (!command || command.unknown_subcommand) {
    return reply.error("ERR Command '" + std::string(asked[0].substr(0, 128)) + "' not found");
  }
  if (!command.arity_fits(asked.size())) return reply.error(wrong_arity_error(command.full_name()));
  const auto denied = user->check(command, asked);
  if (!denied) return reply.ok();
  const std::string object = "'" + denied->object + "'";
  switch (denied->reason) {
    case AclDenial::Reason::kCommand:
      return reply.bulk("This user has no permissions to run the " + object + " command");
    case AclDenial::Reason::kKey: return reply.bulk("This user has no permissions to access the " + object + " key");
    case AclDenial::Reason::kChannel:
      return reply.bulk("This user has no permissions to access the " + object + " channel");
  }
}

void show_log(Acl& users, const std::vector<std::string_view>& args, Nanos now, RespReply& reply) {
  std::size_t count = 10;
  if (args.size() > 3) return reply.error(wrong_arguments(args[1]));
  if (args.size() == 3) {
    if (equal_ignoring_case(args[2], "RESET")) {
      users.clear_log();
      return reply.ok();
    }
    const auto wanted = parse_resp_integer(args[2]);
    if (!wanted) return reply.error("ERR value is not an integer or out of range");
    count = static_cast<std::size_t>(std::max<std::int64_t>(*wanted, 0));
  }
  count = std::min(count, users.log().size());
  reply.array(count);
  for (std::size_t i = 0; i < count; ++i) {
    const AclLogEntry& entry = users.log()[i];
    reply.map(7);
    reply.bulk("count");
    reply.integer(entry.count);
    for (const auto& [name, value] : {std::pair<std::string_view, const std::string&>{"reason", entry.reason},
                                      {"context", entry.context},
                                      {"object", entry.object},
                                      {"username", entry.user}}) {
      reply.bulk(name);
      reply.bulk(value);
    }
    reply.bulk("age-seconds");
    reply.number(static_cast<double>(saturating_sub(now, entry.at) / kMillisecond) / 1000.0);
    reply.bulk("client-info");
    reply.bulk(entry.client);
  }
}

}  // namespace

void RespServerImpl::note_refusal(const RespConnection& connection, std::string_view reason, std::string_view object,
                                  std::string_view user) {
  AclLogEntry entry;
  entry.reason = reason;
  entry.context = "toplevel";
  entry.object = object.substr(0, kObjectBytesMax);
  entry.user = user.substr(0, kObjectBytesMax);
  entry.client = describe(connection);
  entry.at = loop.clock().now();
  const bool fresh = acl.note(entry);
  if (!fresh || !options.denied) return;
  if (denials_since == kNever || saturating_sub(entry.at, denials_since) >= kSecond) {
    denials_since = entry.at;
    denials_told = 0;
  }
  if (denials_told >= RespServerOptions::kDenialsToldPerSecond) {
    ++denials_untold;
    return;
  }
  ++denials_told;
  if (acl.find(entry.user) == nullptr) entry.user = "(unknown)";  // X8: words that changed places make it a password
  options.denied(entry, connection.peer_text, std::exchange(denials_untold, 0));
}

std::string RespServerImpl::refuse(RespConnection& connection, const CommandLookup& command, const Arguments& args) {
  const auto denied = connection.user->check(command, args);
  if (!denied) return {};
  connection.last_command = command.full_name();  // the log shows what was tried
  const std::string& user = connection.user->name();
  switch (denied->reason) {
    case AclDenial::Reason::kCommand:
      if (command.unknown_subcommand) return unknown_subcommand_error(command.spec->name, args[1]);
      note_refusal(connection, "command", denied->object, user);
      return "NOPERM this user has no permissions to run the '" + denied->object + "' command";
    case AclDenial::Reason::kKey:
      note_refusal(connection, "key", denied->object, user);
      return "NOPERM this user has no permissions to access one of the keys used as arguments";
    case AclDenial::Reason::kChannel: break;
  }
  note_refusal(connection, "channel", denied->object, user);
  return "NOPERM this user has no permissions to access one of the channels used as arguments";
}

// Whoever is a deleted user is nobody any more, and goes.
void RespServerImpl::disconnect(const AclUser& gone) {
  for (const auto& [number, connection] : connections) {
    if (connection->user.get() != &gone) continue;
    connection->user = acl.default_user();
    set_authenticated(*connection, false);
    connection->close_when_sent = true;
    enqueue(*connection);
  }
}

void RespServerImpl::acl_command(RespConnection& connection, const Arguments& args, RespReply& reply) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[1], name); };
  if (is("WHOAMI")) {
    reply.bulk(connection.user->name());
  } else if (is("USERS") || is("LIST")) {
    reply.array(acl.users().size());
    for (const auto& [name, user] : acl.users()) {
      reply.bulk(is("USERS") ? name : "user " + name + " " + user->rules_text());
    }
  } else if (is("GETUSER")) {
    show_user(acl.find(args[2]).get(), reply);
  } else if (is("SETUSER")) {
    const std::string wrong = acl.set_user(args[2], std::span(args).subspan(3));
    if (!wrong.empty()) return reply.error(wrong);
    after_settings();
    reply.ok();
  } else if (is("DELUSER")) {
    if (std::find(args.begin() + 2, args.end(), "default") != args.end()) {
      return reply.error("ERR The 'default' user cannot be removed");
    }
    std::int64_t removed = 0;
    for (std::size_t i = 2; i < args.size(); ++i) {
      const auto user = acl.find(args[i]);
      if (!user || !acl.remove_user(args[i])) continue;
      ++removed;
      disconnect(*user);
    }
    reply.integer(removed);
  } else if (is("CAT")) {
    list_categories(args, reply);
  } else if (is("GENPASS")) {
    generate_password(args, reply);
  } else if (is("DRYRUN")) {
    dry_run(acl, args, reply);
  } else if (is("LOG")) {
    show_log(acl, args, loop.clock().now(), reply);
  } else if (is("LOAD") || is("SAVE")) {
    reply.error(kNoFile);
  } else if (is("HELP")) {
    write_help(kHelp, reply);
  } else {
    reply.error(unknown_subcommand_error("acl", args[1]));
  }
}

}  // namespace tidelock
