// COMMAND: what the table says, in the shapes of Redis 7.0.
#include "wire/resp/command_answers.h"

#include <algorithm>
#include <string>
#include <vector>

#include "wire/resp/glob.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

void write_spec(const KeySpec& spec, RespReply& reply) {
  reply.map(3);
  reply.bulk("flags");
  write_key_flag_names(spec.flags, reply);
  reply.bulk("begin_search");
  reply.map(2);
  reply.bulk("type");
  reply.bulk("index");
  reply.bulk("spec");
  reply.map(1);
  reply.bulk("index");
  reply.integer(spec.first);
  reply.bulk("find_keys");
  reply.map(2);
  reply.bulk("type");
  reply.bulk("range");
  reply.bulk("spec");
  reply.map(3);
  reply.bulk("lastkey");
  reply.integer(spec.last);
  reply.bulk("keystep");
  reply.integer(spec.step);
  reply.bulk("limit");
  reply.integer(0);
}

void write_info(const CommandLookup& command, RespReply& reply) {
  reply.array(10);
  reply.bulk(command.full_name());
  reply.integer(command.arity());
  write_flag_names(command, reply);
  const auto specs = key_specs(command);
  // The legacy triple: the first key, the last, and the step between them.
  const int first = specs.empty() ? 0 : specs[0].first;
  const int last = specs.empty() ? 0 : specs.back().last < 0 ? -1 : specs.back().first;
  reply.integer(first);
  reply.integer(last);
  reply.integer(specs.empty() ? 0 : specs[0].step);
  const CategoryBits categories = categories_of(command);
  const auto names = category_names();
  std::size_t count = 0;
  for (std::size_t i = 0; i < names.size(); ++i) count += (categories >> i) & 1u;
  reply.set(count);
  for (std::size_t i = 0; i < names.size(); ++i) {
    if ((categories >> i) & 1u) reply.simple("@" + std::string(names[i]));
  }
  reply.set(0);  // tips
  reply.set(specs.size());
  for (const KeySpec& spec : specs) write_spec(spec, reply);
  count = 0;
  for (const SubcommandSpec& sub : subcommand_table())
    count += command.sub == nullptr && sub.parent == command.spec->id;
  reply.set(count);
  for (const SubcommandSpec& sub : subcommand_table()) {
    if (command.sub == nullptr && sub.parent == command.spec->id) write_info({command.spec, &sub}, reply);
  }
}

void answer_getkeys(std::span<const std::string_view> args, bool with_flags, RespReply& reply) {
  const CommandLookup command = look_up(args);
  if (!command || command.unknown_subcommand) return reply.error("ERR Invalid command specified");
  const bool moves = command.spec->id == RespCommand::kTlMGet;
  if (!moves && key_specs(command).empty()) return reply.error("ERR The command has no key arguments");
  if (!command.arity_fits(args.size())) return reply.error("ERR Invalid number of arguments specified for command");
  std::vector<std::pair<std::string_view, std::uint32_t>> keys;
  for_each_key(command, args, [&](std::string_view key, std::uint32_t flags) {
    keys.emplace_back(key, flags);
    return true;
  });
  if (keys.empty()) return reply.error("ERR Invalid arguments specified for command");
  reply.array(keys.size());
  for (const auto& [key, flags] : keys) {
    if (with_flags) reply.array(2);
    reply.bulk(key);
    if (with_flags) write_key_flag_names(flags, reply);
  }
}

void answer_list(std::span<const std::string_view> args, RespReply& reply) {
  std::vector<std::string> names;
  if (args.size() == 2) {
    for (const CommandSpec& spec : command_table()) names.emplace_back(spec.name);
  } else if (args.size() == 5 && equal_ignoring_case(args[2], "FILTERBY")) {
    const auto by = [&](std::string_view what) { return equal_ignoring_case(args[3], what); };
    const bool module = by("MODULE"), category = by("ACLCAT"), pattern = by("PATTERN");
    if (!module && !category && !pattern) return reply.error("ERR syntax error");
    const CategoryBits wanted = category ? category_bit(args[4]) : 0;
    std::uint64_t work = kGlobWorkDefault;
    for (std::size_t entry = 0; entry < command_entries() && !module; ++entry) {  // there are no modules
      const CommandLookup command = lookup_of_entry(entry);
      const std::string name = command.full_name();
      if (category ? (categories_of(command) & wanted) != 0
                   : glob_match(args[4].substr(0, kGlobPatternBytesMax), name, &work, true)) {
        names.push_back(name);
      }
      if (work == 0) return reply.error("ERR pattern too complex");
    }
  } else {
    return reply.error("ERR syntax error");
  }
  reply.array(names.size());
  for (const std::string& name : names) reply.bulk(name);
}

constexpr std::string_view kHelp[] = {"COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                                      "(no subcommand)",
                                      "    Return details about all Redis commands.",
                                      "COUNT",
                                      "    Return the total number of commands in this Redis server.",
                                      "LIST",
                                      "    Return a list of all commands in this Redis server.",
                                      "INFO [<command-name> ...]",
                                      "    Return details about multiple Redis commands.",
                                      "    If no command names are given, documentation details for all",
                                      "    commands are returned.",
                                      "DOCS [<command-name> ...]",
                                      "    Return documentation details about multiple Redis commands.",
                                      "    If no command names are given, documentation details for all",
                                      "    commands are returned.",
                                      "GETKEYS <full-command>",
                                      "    Return the keys from a full Redis command.",
                                      "GETKEYSANDFLAGS <full-command>",
                                      "    Return the keys and the access flags from a full Redis command."};

}  // namespace

constexpr std::size_t kNamesMax = 1'024;  // each is answered with some kilobytes

void answer_command(std::span<const std::string_view> args, RespReply& reply) {
  const auto table = command_table();
  const auto is = [&](std::string_view name) { return args.size() > 1 && equal_ignoring_case(args[1], name); };
  if (args.size() == 1 || (is("INFO") && args.size() == 2)) {
    reply.array(table.size());
    for (const CommandSpec& spec : table) write_info({&spec}, reply);
    return;
  }
  const SubcommandSpec* sub = find_subcommand(RespCommand::kCommand, args[1]);
  if (sub == nullptr) return reply.error(unknown_subcommand_error("command", args[1]));
  if (!sub->arity_fits(args.size())) return reply.error(wrong_arity_error("command|" + std::string(sub->name)));
  if ((is("INFO") || is("DOCS")) && args.size() > 2 + kNamesMax) {
    reply.error("ERR too many names: at most " + std::to_string(kNamesMax) + " of one command");  // X6
  } else if (is("COUNT")) {
    reply.integer(static_cast<std::int64_t>(table.size()));
  } else if (is("INFO")) {
    reply.array(args.size() - 2);
    for (const std::string_view name : args.subspan(2)) {
      const CommandLookup command = look_up_name(name);
      command ? write_info(command, reply) : reply.null();
    }
  } else if (is("DOCS")) {
    std::vector<CommandLookup> wanted;
    for (const std::string_view name : args.subspan(2)) {
      if (const CommandLookup command = look_up_name(name)) wanted.push_back(command);
    }
    for (std::size_t i = 0; args.size() == 2 && i < table.size(); ++i) wanted.push_back({&table[i]});
    reply.map(wanted.size());
    for (const CommandLookup& command : wanted) write_docs(command, reply);
  } else if (is("LIST")) {
    answer_list(args, reply);
  } else if (is("HELP")) {
    write_help(kHelp, reply);
  } else {
    answer_getkeys(args.subspan(2), is("GETKEYSANDFLAGS"), reply);
  }
}

}  // namespace tidelock
