#include "wire/resp/command_table.h"

#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

using F = CommandFlag;
using C = RespCommand;
constexpr std::uint32_t kConnection = F::kFast | F::kLoading | F::kStale | F::kNoScript;

// clang-format off
constexpr std::array kCommands = std::to_array<CommandSpec>({
    // name, id, arity, flags, first, last, step, summary, since, group, arguments
    {"ping", C::kPing, -1, F::kFast, 0, 0, 0, "Ping the server", "1.0.0", "connection", "[message]"},
    {"echo", C::kEcho, 2, F::kFast | F::kLoading | F::kStale, 0, 0, 0, "Echo the given string", "1.0.0", "connection", "message"},
    {"hello", C::kHello, -1, kConnection | F::kNoAuth, 0, 0, 0, "Handshake: protocol version, authentication, name", "6.0.0", "connection", "[protover [AUTH username password] [SETNAME clientname]]"},
    {"auth", C::kAuth, -2, kConnection | F::kNoAuth, 0, 0, 0, "Authenticate to the server", "1.0.0", "connection", "[username] password"},
    {"select", C::kSelect, 2, F::kFast | F::kLoading | F::kStale, 0, 0, 0, "Select the database: there is one, 0", "1.0.0", "connection", "index"},
    {"quit", C::kQuit, -1, kConnection | F::kNoAuth, 0, 0, 0, "Close the connection", "1.0.0", "connection", ""},
    {"reset", C::kReset, 1, kConnection | F::kNoAuth, 0, 0, 0, "Reset the connection", "6.2.0", "connection", ""},
    {"client", C::kClient, -2, F::kLoading | F::kStale | F::kNoScript, 0, 0, 0, "Inspect and name connections", "2.4.0", "connection", "ID | SETNAME name | GETNAME | INFO | LIST | SETINFO attr value | NO-EVICT ON|OFF | HELP"},
    {"command", C::kCommand, -1, F::kLoading | F::kStale, 0, 0, 0, "Get details about commands", "2.8.13", "server", "[COUNT | INFO name ... | DOCS name ... | LIST | GETKEYS command ... | HELP]"},
    {"config", C::kConfig, -2, F::kAdmin | F::kNoScript | F::kLoading | F::kStale, 0, 0, 0, "Read and change parameters of this edge", "2.0.0", "server", "GET pattern ... | SET name value ... | RESETSTAT | REWRITE | HELP"},
    {"info", C::kInfo, -1, F::kLoading | F::kStale, 0, 0, 0, "Information and statistics about this edge", "1.0.0", "server", "[section ...]"},
    {"get", C::kGet, 2, F::kReadOnly | F::kFast, 1, 1, 1, "Get the value of a key", "1.0.0", "string", "key"},
    {"set", C::kSet, -3, F::kWrite | F::kDenyOom, 1, 1, 1, "Set the value of a key", "1.0.0", "string", "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]"},
    {"setex", C::kSetEx, 4, F::kWrite | F::kDenyOom, 1, 1, 1, "Set the value and expiration of a key", "2.0.0", "string", "key seconds value"},
    {"psetex", C::kPSetEx, 4, F::kWrite | F::kDenyOom, 1, 1, 1, "Set the value and expiration in milliseconds of a key", "2.6.0", "string", "key milliseconds value"},
    {"setnx", C::kSetNx, 3, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Set the value of a key, only if the key does not exist", "1.0.0", "string", "key value"},
    {"getdel", C::kGetDel, 2, F::kWrite | F::kFast, 1, 1, 1, "Get the value of a key and delete the key", "6.2.0", "string", "key"},
    {"strlen", C::kStrlen, 2, F::kReadOnly | F::kFast, 1, 1, 1, "Get the length of the value stored in a key", "2.2.0", "string", "key"},
    {"append", C::kAppend, 3, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Append a value to a key", "2.0.0", "string", "key value"},
    {"mget", C::kMGet, -2, F::kReadOnly | F::kFast, 1, -1, 1, "Get the values of all the given keys", "1.0.0", "string", "key [key ...]"},
    {"mset", C::kMSet, -3, F::kWrite | F::kDenyOom, 1, -1, 2, "Set multiple keys to multiple values", "1.0.1", "string", "key value [key value ...]"},
    {"del", C::kDel, -2, F::kWrite, 1, -1, 1, "Delete a key", "1.0.0", "generic", "key [key ...]"},
    {"unlink", C::kUnlink, -2, F::kWrite | F::kFast, 1, -1, 1, "Delete a key; its memory is freed later", "4.0.0", "generic", "key [key ...]"},
    {"exists", C::kExists, -2, F::kReadOnly | F::kFast, 1, -1, 1, "Determine if a key exists", "1.0.0", "generic", "key [key ...]"},
    {"expire", C::kExpire, -3, F::kWrite | F::kFast, 1, 1, 1, "Set a key's time to live in seconds", "1.0.0", "generic", "key seconds [NX | XX | GT | LT]"},
    {"pexpire", C::kPExpire, -3, F::kWrite | F::kFast, 1, 1, 1, "Set a key's time to live in milliseconds", "2.6.0", "generic", "key milliseconds [NX | XX | GT | LT]"},
    {"ttl", C::kTtl, 2, F::kReadOnly | F::kFast, 1, 1, 1, "Get the time to live of a key in seconds", "1.0.0", "generic", "key"},
    {"pttl", C::kPTtl, 2, F::kReadOnly | F::kFast, 1, 1, 1, "Get the time to live of a key in milliseconds", "2.6.0", "generic", "key"},
    {"persist", C::kPersist, 2, F::kWrite | F::kFast, 1, 1, 1, "Remove the expiration from a key", "2.2.0", "generic", "key"},
    {"type", C::kType, 2, F::kReadOnly | F::kFast, 1, 1, 1, "Determine the type stored at a key", "1.0.0", "generic", "key"},
    {"scan", C::kScan, -2, F::kReadOnly, 0, 0, 0, "Iterate the keys of this edge's copies", "2.8.0", "generic", "cursor [MATCH pattern] [COUNT count] [TYPE type]"},
    {"keys", C::kKeys, 2, F::kReadOnly, 0, 0, 0, "Find the keys of this edge's copies that match a pattern", "1.0.0", "generic", "pattern"},
    {"dbsize", C::kDbSize, 1, F::kReadOnly | F::kFast, 0, 0, 0, "Number of keys of this edge's copies", "1.0.0", "server", ""},
    {"flushall", C::kFlushAll, -1, F::kWrite, 0, 0, 0, "Drop this edge's copies", "1.0.0", "server", "[ASYNC | SYNC]"},
    {"flushdb", C::kFlushDb, -1, F::kWrite, 0, 0, 0, "Drop this edge's copies", "1.0.0", "server", "[ASYNC | SYNC]"},
    {"tl.get", C::kTlGet, -2, F::kReadOnly | F::kFast, 1, 1, 1, "Get a value with its receipt: value, version, bound, basis, source", "tidelock 0.1", "tidelock", "key [BOUND ms] [STRONG] [EVENTUAL] [DEADLINE ms] [TOKEN index]"},
    {"tl.set", C::kTlSet, -3, F::kWrite | F::kDenyOom, 1, 1, 1, "Set a value; answers its version and the level of its acknowledgement", "tidelock 0.1", "tidelock", "key value [PX ms] [ACK level]"},
    {"tl.info", C::kTlInfo, -1, F::kFast, 0, 0, 0, "State of this edge: session, proofs, lease, namespaces", "tidelock 0.1", "tidelock", "[section]"},
});
// clang-format on

constexpr std::size_t kNameBytesMax = 16;
constexpr std::size_t kSlots = 128;  // a power of two, well above the number of commands

constexpr std::size_t slot_of(std::string_view lower_name) {
  std::uint32_t hash = 2166136261u;  // FNV-1a
  for (const char c : lower_name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return (hash ^ (hash >> 15)) % kSlots;
}

constexpr std::array<std::uint8_t, kSlots> kIndex = [] {
  std::array<std::uint8_t, kSlots> slots{};  // 0: empty, else position + 1
  for (std::size_t i = 0; i < kCommands.size(); ++i) {
    std::size_t slot = slot_of(kCommands[i].name);
    while (slots[slot] != 0) slot = (slot + 1) % kSlots;
    slots[slot] = static_cast<std::uint8_t>(i + 1);
  }
  return slots;
}();

constexpr std::pair<std::uint32_t, std::string_view> kFlagNames[] = {
    {F::kWrite, "write"},       {F::kReadOnly, "readonly"},      {F::kDenyOom, "denyoom"}, {F::kAdmin, "admin"},
    {F::kNoScript, "noscript"}, {F::kLoading, "loading"},        {F::kStale, "stale"},     {F::kFast, "fast"},
    {F::kNoAuth, "no_auth"},    {F::kMovableKeys, "movablekeys"}};

std::vector<std::string_view> categories_of(const CommandSpec& spec) {
  std::vector<std::string_view> categories;
  if (spec.flags & F::kWrite) categories.push_back("@write");
  if (spec.flags & F::kReadOnly) categories.push_back("@read");
  if (spec.group == "string") categories.push_back("@string");
  if (spec.group == "generic" || spec.id == C::kDbSize || spec.id == C::kFlushAll || spec.id == C::kFlushDb) {
    categories.push_back("@keyspace");
  }
  if (spec.group == "connection") categories.push_back("@connection");
  if (spec.flags & F::kAdmin) categories.push_back("@admin");
  if (spec.id == C::kFlushAll || spec.id == C::kFlushDb || spec.id == C::kKeys || spec.id == C::kConfig) {
    categories.push_back("@dangerous");
  }
  categories.push_back(spec.flags & F::kFast ? "@fast" : "@slow");
  return categories;
}

void write_info(const CommandSpec& spec, RespReply& reply) {
  reply.array(10);
  reply.bulk(spec.name);
  reply.integer(spec.arity);
  std::size_t flags = 0;
  for (const auto& [flag, name] : kFlagNames) flags += (spec.flags & flag) != 0;
  reply.set(flags);
  for (const auto& [flag, name] : kFlagNames) {
    if (spec.flags & flag) reply.simple(name);
  }
  reply.integer(spec.first_key);
  reply.integer(spec.last_key);
  reply.integer(spec.key_step);
  const auto categories = categories_of(spec);
  reply.set(categories.size());
  for (const std::string_view category : categories) reply.simple(category);
  reply.array(0);  // tips
  reply.array(0);  // key specifications: first, last and step say it all
  reply.array(0);  // subcommands
}

void write_docs(const CommandSpec& spec, RespReply& reply) {
  reply.bulk(spec.name);
  reply.map(4);
  reply.bulk("summary");
  reply.bulk(spec.summary);
  reply.bulk("since");
  reply.bulk(spec.since);
  reply.bulk("group");
  reply.bulk(spec.group);
  reply.bulk("syntax");
  reply.bulk(spec.arguments);
}

void answer_getkeys(std::span<const std::string_view> args, RespReply& reply) {
  const CommandSpec* spec = find_command(args[0]);
  if (spec == nullptr) return reply.error("ERR Invalid command specified");
  if (spec->first_key == 0) return reply.error("ERR The command has no key arguments");
  if (!spec->arity_fits(args.size())) return reply.error("ERR Invalid number of arguments specified for command");
  const std::size_t last = spec->last_key < 0 ? args.size() - 1 : static_cast<std::size_t>(spec->last_key);
  const auto first = static_cast<std::size_t>(spec->first_key), step = static_cast<std::size_t>(spec->key_step);
  reply.array((last - first) / step + 1);
  for (std::size_t i = first; i <= last; i += step) reply.bulk(args[i]);
}

// Redis writes at most 128 bytes of what a client sent into an error.
constexpr std::size_t kEchoBytesMax = 128;

}  // namespace

bool CommandSpec::arity_fits(std::size_t arguments_with_name) const {
  return arity >= 0 ? arguments_with_name == static_cast<std::size_t>(arity)
                    : arguments_with_name >= static_cast<std::size_t>(-arity);
}

std::span<const CommandSpec> command_table() { return kCommands; }

const CommandSpec* find_command(std::string_view name) {
  if (name.size() > kNameBytesMax) return nullptr;
  std::array<char, kNameBytesMax> lower;
  for (std::size_t i = 0; i < name.size(); ++i) {
    lower[i] = name[i] >= 'A' && name[i] <= 'Z' ? static_cast<char>(name[i] + 32) : name[i];
  }
  const std::string_view wanted(lower.data(), name.size());
  for (std::size_t slot = slot_of(wanted); kIndex[slot] != 0; slot = (slot + 1) % kSlots) {
    const CommandSpec& spec = kCommands[kIndex[slot] - 1u];
    if (spec.name == wanted) return &spec;
  }
  return nullptr;
}

const CommandSpec& spec_of(RespCommand id) {
  const CommandSpec& spec = kCommands[static_cast<std::size_t>(id)];
  TIDELOCK_ASSERT(spec.id == id);  // the table keeps the order of the enumeration
  return spec;
}

void answer_command(std::span<const std::string_view> args, RespReply& reply) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[1], name); };
  if (args.size() == 1) {
    reply.array(kCommands.size());
    for (const CommandSpec& spec : kCommands) write_info(spec, reply);
  } else if (is("COUNT")) {
    if (args.size() != 2) return reply.error(wrong_arity_error("command|count"));
    reply.integer(static_cast<std::int64_t>(kCommands.size()));
  } else if (is("INFO")) {
    const bool all = args.size() == 2;
    reply.array(all ? kCommands.size() : args.size() - 2);
    if (all) {
      for (const CommandSpec& spec : kCommands) write_info(spec, reply);
    }
    for (const std::string_view name : args.subspan(2)) {
      if (const CommandSpec* spec = find_command(name)) {
        write_info(*spec, reply);
      } else {
        reply.null_array();
      }
    }
  } else if (is("DOCS")) {
    std::vector<const CommandSpec*> wanted;
    for (const std::string_view name : args.subspan(2)) {
      if (const CommandSpec* spec = find_command(name)) wanted.push_back(spec);
    }
    if (args.size() == 2) {
      for (const CommandSpec& spec : kCommands) wanted.push_back(&spec);
    }
    reply.map(wanted.size());
    for (const CommandSpec* spec : wanted) write_docs(*spec, reply);
  } else if (is("LIST")) {
    if (args.size() != 2) return reply.error("ERR syntax error");
    reply.array(kCommands.size());
    for (const CommandSpec& spec : kCommands) reply.bulk(spec.name);
  } else if (is("GETKEYS")) {
    if (args.size() < 4) return reply.error(wrong_arity_error("command|getkeys"));
    answer_getkeys(args.subspan(2), reply);
  } else if (is("HELP")) {
    constexpr std::string_view kHelp[] = {"COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                                          "(no subcommand)",
                                          "    Return details about all commands.",
                                          "COUNT",
                                          "    Return the number of commands.",
                                          "LIST",
                                          "    Return the names of all commands.",
                                          "INFO [<command-name> ...]",
                                          "    Return details about the given commands.",
                                          "DOCS [<command-name> ...]",
                                          "    Return documentation of the given commands.",
                                          "GETKEYS <full-command>",
                                          "    Return the keys of a full command.",
                                          "HELP",
                                          "    Print this help."};
    reply.array(std::size(kHelp));
    for (const std::string_view line : kHelp) reply.simple(line);
  } else {
    reply.error(unknown_subcommand_error("command", args[1]));
  }
}

std::string unknown_command_error(std::span<const std::string_view> args) {
  std::string shown;
  for (std::size_t i = 1; i < args.size() && shown.size() < kEchoBytesMax; ++i) {
    const std::string_view part = args[i].substr(0, kEchoBytesMax - shown.size());
    shown.append("'").append(part).append("' ");
  }
  return "ERR unknown command '" + std::string(args[0].substr(0, kEchoBytesMax)) +
         "', with args beginning with: " + shown;
}

std::string wrong_arity_error(std::string_view name) {
  return "ERR wrong number of arguments for '" + std::string(name) + "' command";
}

std::string unknown_subcommand_error(std::string_view command, std::string_view subcommand) {
  std::string upper(command);
  for (char& c : upper) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  }
  return "ERR unknown subcommand '" + std::string(subcommand.substr(0, kEchoBytesMax)) + "'. Try " + upper + " HELP.";
}

}  // namespace tidelock
