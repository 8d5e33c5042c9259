#include "wire/resp/command_access.h"

#include <algorithm>
#include <array>

#include "base/assert.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

using F = CommandFlag;
using C = RespCommand;
using K = KeyFlag;
constexpr std::uint32_t kHelpFlags = F::kLoading | F::kStale;
constexpr std::uint32_t kAnyone = F::kNoScript | F::kLoading | F::kStale;
constexpr std::uint32_t kOperator = F::kAdmin | kAnyone;

// clang-format off
constexpr auto kSubcommands = std::to_array<SubcommandSpec>({
    // parent, name, arity, flags, key, summary, since
    {C::kClient, "caching", 3, kAnyone, 0, "Instruct the server about tracking or not keys in the next request", "6.0.0"},
    {C::kClient, "getname", 2, kAnyone, 0, "Get the current connection name", "2.6.9"},
    {C::kClient, "getredir", 2, kAnyone, 0, "Get tracking notifications redirection client ID if any", "6.0.0"},
    {C::kClient, "help", 2, kHelpFlags, 0, "Show helpful text about the different subcommands", "5.0.0"},
    {C::kClient, "id", 2, kAnyone, 0, "Returns the client ID for the current connection", "5.0.0"},
    {C::kClient, "info", 2, kAnyone, 0, "Returns information about the current client connection.", "6.2.0"},
    {C::kClient, "kill", -3, kOperator, 0, "Kill the connection of a client", "2.4.0"},
    {C::kClient, "list", -2, kOperator, 0, "Get the list of client connections", "2.4.0"},
    {C::kClient, "no-evict", 3, kOperator, 0, "Set client eviction mode for the current connection", "7.0.0"},
    {C::kClient, "pause", -3, kOperator, 0, "Stop processing commands from clients for some time", "2.9.50"},
    {C::kClient, "reply", 3, kAnyone, 0, "Instruct the server whether to reply to commands", "3.2.0"},
    {C::kClient, "setinfo", 4, kAnyone, 0, "Set client or connection specific info", "7.2.0"},
    {C::kClient, "setname", 3, kAnyone, 0, "Set the current connection name", "2.6.9"},
    {C::kClient, "tracking", -3, kAnyone, 0, "Enable or disable server assisted client side caching support", "6.0.0"},
    {C::kClient, "trackinginfo", 2, kAnyone, 0, "Return information about server assisted client side caching for the current connection", "6.2.0"},
    {C::kClient, "unpause", 2, kOperator, 0, "Resume processing of clients that were paused", "6.2.0"},
    {C::kCommand, "count", 2, kHelpFlags, 0, "Get total number of commands", "2.8.13"},
    {C::kCommand, "docs", -2, kHelpFlags, 0, "Get array of specific command documentation", "7.0.0"},
    {C::kCommand, "getkeys", -4, kHelpFlags, 0, "Extract keys given a full command", "2.8.13"},
    {C::kCommand, "getkeysandflags", -4, kHelpFlags, 0, "Extract keys and access flags given a full command", "7.0.0"},
    {C::kCommand, "help", 2, kHelpFlags, 0, "Show helpful text about the different subcommands", "5.0.0"},
    {C::kCommand, "info", -2, kHelpFlags, 0, "Get array of specific command details, or all when no argument is given.", "2.8.13"},
    {C::kCommand, "list", -2, kHelpFlags, 0, "Get an array of command names", "7.0.0"},
    {C::kConfig, "get", -3, kOperator, 0, "Get the values of configuration parameters", "2.0.0"},
    {C::kConfig, "help", 2, kHelpFlags, 0, "Show helpful text about the different subcommands", "5.0.0"},
    {C::kConfig, "resetstat", 2, kOperator, 0, "Reset the stats returned by INFO", "2.0.0"},
    {C::kConfig, "rewrite", 2, kOperator, 0, "Rewrite the configuration file with the in memory configuration", "2.8.0"},
    {C::kConfig, "set", -4, kOperator, 0, "Set configuration parameters to the given values", "2.0.0"},
    {C::kAcl, "cat", -2, kAnyone, 0, "List the ACL categories or the commands inside a category", "6.0.0"},
    {C::kAcl, "deluser", -3, kOperator, 0, "Remove the specified ACL users and the associated rules", "6.0.0"},
    {C::kAcl, "dryrun", -4, kOperator, 0, "Returns whether the user can execute the given command without executing the command.", "7.0.0"},
    {C::kAcl, "genpass", -2, kAnyone, 0, "Generate a pseudorandom secure password to use for ACL users", "6.0.0"},
    {C::kAcl, "getuser", 3, kOperator, 0, "Get the rules for a specific ACL user", "6.0.0"},
    {C::kAcl, "help", 2, kHelpFlags, 0, "Show helpful text about the different subcommands", "6.0.0"},
    {C::kAcl, "list", 2, kOperator, 0, "List the current ACL rules in ACL config file format", "6.0.0"},
    {C::kAcl, "load", 2, kOperator, 0, "Reload the ACLs from the configured ACL file", "6.0.0"},
    {C::kAcl, "log", -2, kOperator, 0, "List latest events denied because of ACLs in place", "6.0.0"},
    {C::kAcl, "save", 2, kOperator, 0, "Save the current ACL rules in the configured ACL file", "6.0.0"},
    {C::kAcl, "setuser", -3, kOperator, 0, "Modify or create the rules for a specific ACL user", "6.0.0"},
    {C::kAcl, "users", 2, kOperator, 0, "List the username of all the configured ACL rules", "6.0.0"},
    {C::kAcl, "whoami", 2, kAnyone, 0, "Return the name of the user associated to the current connection", "6.0.0"},
    {C::kMemory, "doctor", 2, 0, 0, "Outputs memory problems report", "4.0.0"},
    {C::kMemory, "help", 2, kHelpFlags, 0, "Show helpful text about the different subcommands", "4.0.0"},
    {C::kMemory, "purge", 2, 0, 0, "Ask the allocator to release memory", "4.0.0"},
    {C::kMemory, "stats", 2, 0, 0, "Show memory usage details", "4.0.0"},
    {C::kMemory, "usage", -3, F::kReadOnly, 2, "Estimate the memory usage of a key", "4.0.0"},
    {C::kSlowlog, "get", -2, F::kAdmin | kHelpFlags, 0, "Get the slow log's entries", "2.2.12"},
    {C::kSlowlog, "help", 2, kHelpFlags, 0, "Show helpful text about the different subcommands", "6.2.0"},
    {C::kSlowlog, "len", 2, F::kAdmin | kHelpFlags, 0, "Get the slow log's length", "2.2.12"},
    {C::kSlowlog, "reset", 2, F::kAdmin | kHelpFlags, 0, "Clear all entries from the slow log", "2.2.12"},
    {C::kLatency, "doctor", 2, kOperator, 0, "Return a human readable latency analysis report.", "2.8.13"},
    {C::kLatency, "help", 2, kHelpFlags, 0, "Show helpful text about the different subcommands.", "2.8.13"},
    {C::kLatency, "histogram", -2, kOperator, 0, "Return the cumulative distribution of latencies of a subset of commands or all.", "7.0.0"},
    {C::kLatency, "history", 3, kOperator, 0, "Return timestamp-latency samples for the event.", "2.8.13"},
    {C::kLatency, "latest", 2, kOperator, 0, "Return the latest latency samples for all events.", "2.8.13"},
    {C::kLatency, "reset", -2, kOperator, 0, "Reset latency data for one or more events.", "2.8.13"},
    {C::kFunction, "flush", -2, F::kWrite | F::kNoScript, 0, "Deleting all functions", "7.0.0"},
    {C::kFunction, "help", 2, kHelpFlags, 0, "Show helpful text about the different subcommands", "7.0.0"},
    {C::kFunction, "list", -2, F::kNoScript, 0, "List information about all the functions", "7.0.0"},
    {C::kObject, "encoding", 3, F::kReadOnly, 2, "Inspect the internal encoding of a Redis object", "2.2.3"},
    {C::kObject, "freq", 3, F::kReadOnly, 2, "Get the logarithmic access frequency counter of a Redis object", "4.0.0"},
    {C::kObject, "help", 2, kHelpFlags, 0, "Show helpful text about the different subcommands", "6.2.0"},
    {C::kObject, "idletime", 3, F::kReadOnly, 2, "Get the time since a Redis object was last accessed", "2.2.3"},
    {C::kObject, "refcount", 3, F::kReadOnly, 2, "Get the number of references to the value of the key", "2.2.3"},
    {C::kPubSub, "channels", -2, F::kPubSub | kHelpFlags, 0, "List active channels", "2.8.0"},
    {C::kPubSub, "help", 2, kHelpFlags, 0, "Show helpful text about the different subcommands", "6.2.0"},
    {C::kPubSub, "numpat", 2, F::kPubSub | kHelpFlags, 0, "Get the count of unique patterns pattern subscriptions", "2.8.0"},
    {C::kPubSub, "numsub", -2, F::kPubSub | kHelpFlags, 0, "Get the count of subscribers for channels", "2.8.0"},
});
// clang-format on

constexpr std::array<bool, 256> kContainers = [] {
  std::array<bool, 256> containers{};
  for (const SubcommandSpec& sub : kSubcommands) containers[static_cast<std::size_t>(sub.parent)] = true;
  return containers;
}();

constexpr std::string_view kCategories[] = {
    "keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
    "string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
    "fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting"};

constexpr CategoryBits category(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kCategories); ++i) {
    if (kCategories[i] == name) return CategoryBits{1} << i;
  }
  return 0;
}

CategoryBits categories_of_flags(std::uint32_t flags) {
  CategoryBits bits = category(flags & F::kFast ? "fast" : "slow");
  if (flags & F::kWrite) bits |= category("write");
  if (flags & F::kReadOnly) bits |= category("read");
  if (flags & F::kAdmin) bits |= category("admin") | category("dangerous");
  if (flags & F::kPubSub) bits |= category("pubsub");
  return bits;
}

CategoryBits categories_of_group(std::string_view group) {
  if (group == "string") return category("string");
  if (group == "hash") return category("hash");
  if (group == "generic") return category("keyspace");
  if (group == "connection") return category("connection");
  if (group == "transactions") return category("transaction");
  if (group == "scripting") return category("scripting");
  return 0;
}

// One specification for each kind of access that a command has.
constexpr KeySpec kReadOne[] = {{1, 0, 1, K::kRO | K::kAccess}};
constexpr KeySpec kLookAtOne[] = {{1, 0, 1, K::kRO}};
constexpr KeySpec kLookAtSecond[] = {{2, 0, 1, K::kRO}};
constexpr KeySpec kReadAll[] = {{1, -1, 1, K::kRO | K::kAccess}};
constexpr KeySpec kLookAtAll[] = {{1, -1, 1, K::kRO}};
constexpr KeySpec kSet[] = {{1, 0, 1, K::kRW | K::kAccess | K::kUpdate | K::kVariable}};
constexpr KeySpec kOverwrite[] = {{1, 0, 1, K::kOW | K::kUpdate}};
constexpr KeySpec kOverwriteNew[] = {{1, 0, 1, K::kOW | K::kInsert}};
constexpr KeySpec kTakeOut[] = {{1, 0, 1, K::kRW | K::kAccess | K::kDelete}};
constexpr KeySpec kAddTo[] = {{1, 0, 1, K::kRW | K::kInsert}};
constexpr KeySpec kOverwritePairs[] = {{1, -1, 2, K::kOW | K::kUpdate}};
constexpr KeySpec kOverwriteNewPairs[] = {{1, -1, 2, K::kOW | K::kInsert}};
constexpr KeySpec kReadAndUpdate[] = {{1, 0, 1, K::kRW | K::kAccess | K::kUpdate}};
constexpr KeySpec kUpdate[] = {{1, 0, 1, K::kRW | K::kUpdate}};
constexpr KeySpec kRemoveAll[] = {{1, -1, 1, K::kRM | K::kDelete}};
constexpr KeySpec kRemovePart[] = {{1, 0, 1, K::kRW | K::kDelete}};
constexpr KeySpec kCopy[] = {{1, 0, 1, K::kRO | K::kAccess}, {2, 0, 1, K::kOW | K::kUpdate}};
constexpr KeySpec kRename[] = {{1, 0, 1, K::kRW | K::kAccess | K::kDelete}, {2, 0, 1, K::kOW | K::kUpdate}};
constexpr KeySpec kRenameNew[] = {{1, 0, 1, K::kRW | K::kAccess | K::kDelete}, {2, 0, 1, K::kOW | K::kInsert}};
constexpr KeySpec kPrefixRemoved[] = {{1, 0, 1, K::kRM | K::kDelete | K::kPrefix}};

std::span<const KeySpec> specs_of_command(C id) {
  switch (id) {
    case C::kGet:
    case C::kGetRange:
    case C::kTtl:
    case C::kPTtl:
    case C::kExpireTime:
    case C::kPExpireTime:
    case C::kHGet:
    case C::kHMGet:
    case C::kHGetAll:
    case C::kHKeys:
    case C::kHVals:
    case C::kHRandField:
    case C::kHScan:
    case C::kTlGet: return kReadOne;
    case C::kStrlen:
    case C::kType:
    case C::kHExists:
    case C::kHLen:
    case C::kHStrlen: return kLookAtOne;
    case C::kMGet: return kReadAll;
    case C::kExists:
    case C::kTouch:
    case C::kWatch: return kLookAtAll;
    case C::kSet: return kSet;
    case C::kSetEx:
    case C::kPSetEx:
    case C::kTlSet: return kOverwrite;
    case C::kSetNx: return kOverwriteNew;
    case C::kGetDel: return kTakeOut;
    case C::kAppend:
    case C::kHSetNx: return kAddTo;
    case C::kMSet: return kOverwritePairs;
    case C::kMSetNx: return kOverwriteNewPairs;
    case C::kGetSet:
    case C::kGetEx:
    case C::kIncr:
    case C::kDecr:
    case C::kIncrBy:
    case C::kDecrBy:
    case C::kIncrByFloat:
    case C::kHIncrBy:
    case C::kHIncrByFloat: return kReadAndUpdate;
    case C::kSetRange:
    case C::kExpire:
    case C::kPExpire:
    case C::kExpireAt:
    case C::kPExpireAt:
    case C::kPersist:
    case C::kHSet:
    case C::kHMSet: return kUpdate;
    case C::kDel:
    case C::kUnlink: return kRemoveAll;
    case C::kHDel: return kRemovePart;
    case C::kCopy: return kCopy;
    case C::kRename: return kRename;
    case C::kRenameNx: return kRenameNew;
    case C::kTlFlush:
    case C::kTlInvalidate: return kPrefixRemoved;
    default: return {};
  }
}

constexpr std::pair<std::uint32_t, std::string_view> kKeyFlagNames[] = {
    {K::kRO, "RO"},         {K::kRW, "RW"},         {K::kOW, "OW"},
    {K::kRM, "RM"},         {K::kAccess, "access"}, {K::kUpdate, "update"},
    {K::kInsert, "insert"}, {K::kDelete, "delete"}, {K::kVariable, "variable_flags"}};

constexpr std::pair<std::uint32_t, std::string_view> kFlagNames[] = {
    {F::kWrite, "write"},   {F::kReadOnly, "readonly"}, {F::kDenyOom, "denyoom"}, {F::kAdmin, "admin"},
    {F::kPubSub, "pubsub"}, {F::kNoScript, "noscript"}, {F::kLoading, "loading"}, {F::kStale, "stale"},
    {F::kFast, "fast"},     {F::kNoAuth, "no_auth"},    {F::kNoMulti, "no_multi"}};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

}  // namespace

bool SubcommandSpec::arity_fits(std::size_t arguments) const {
  return arity >= 0 ? arguments == static_cast<std::size_t>(arity) : arguments >= static_cast<std::size_t>(-arity);
}

std::span<const SubcommandSpec> subcommand_table() { return kSubcommands; }

bool is_container(RespCommand id) { return kContainers[static_cast<std::size_t>(id)]; }

const SubcommandSpec* find_subcommand(RespCommand parent, std::string_view name) {
  for (const SubcommandSpec& sub : kSubcommands) {
    if (sub.parent == parent && equal_ignoring_case(sub.name, name)) return &sub;
  }
  return nullptr;
}

std::size_t command_entries() {
  static_assert(kSubcommands.size() < kCommandEntriesMax / 2);
  const std::size_t entries = command_table().size() + kSubcommands.size();
  TIDELOCK_ASSERT(entries <= kCommandEntriesMax);
  return entries;
}

std::size_t CommandLookup::entry() const {
  return sub ? command_table().size() + static_cast<std::size_t>(sub - kSubcommands.data())
             : static_cast<std::size_t>(spec->id);
}

std::string CommandLookup::full_name() const {
  return sub ? std::string(spec->name) + "|" + std::string(sub->name) : std::string(spec->name);
}

std::uint32_t CommandLookup::flags() const {
  if (sub) return sub->flags;
  if (spec->id == C::kCommand) return kHelpFlags;
  return is_container(spec->id) ? 0 : spec->flags;
}

CommandLookup look_up(std::span<const std::string_view> args) {
  CommandLookup found{find_command(args[0])};
  if (found.spec == nullptr || args.size() < 2 || !is_container(found.spec->id)) return found;
  found.sub = find_subcommand(found.spec->id, args[1]);
  found.unknown_subcommand = found.sub == nullptr;
  return found;
}

CommandLookup look_up_name(std::string_view full_name) {
  const std::size_t bar = full_name.find('|');
  if (bar == std::string_view::npos) return {find_command(full_name)};
  CommandLookup found{find_command(full_name.substr(0, bar))};
  if (found.spec) found.sub = find_subcommand(found.spec->id, full_name.substr(bar + 1));
  return found.sub ? found : CommandLookup{};
}

CommandLookup lookup_of_entry(std::size_t entry) {
  if (entry < command_table().size()) return {&command_table()[entry]};
  const SubcommandSpec& sub = kSubcommands[entry - command_table().size()];
  return {&spec_of(sub.parent), &sub};
}

std::span<const std::string_view> category_names() { return kCategories; }
CategoryBits category_bit(std::string_view name) { return category(lower(name)); }

CategoryBits categories_of(const CommandLookup& command) {
  const CommandSpec& spec = *command.spec;
  const CategoryBits own = categories_of_flags(command.flags());
  const bool talks = spec.id == C::kCommand || spec.id == C::kClient;
  if (command.sub) {
    return own | (talks ? category("connection") : 0) |
           (spec.id == C::kObject || spec.id == C::kFunction ? categories_of_group(spec.group) : 0);
  }
  if (is_container(spec.id)) return own | (spec.id == C::kCommand ? category("connection") : 0);
  CategoryBits bits = own | categories_of_group(spec.group);
  switch (spec.id) {
    case C::kDbSize: return bits | category("keyspace");
    case C::kFlushAll:
    case C::kFlushDb: return bits | category("keyspace") | category("dangerous");
    case C::kKeys:
    case C::kInfo:
    case C::kTlFlush:
    case C::kTlInvalidate: return bits | category("dangerous");
    default: return bits;
  }
}

std::span<const KeySpec> key_specs(const CommandLookup& command) {
  if (command.sub) {
    if (command.sub->key_at == 0) return {};
    TIDELOCK_ASSERT(command.sub->key_at == 2);
    return kLookAtSecond;
  }
  return is_container(command.spec->id) ? std::span<const KeySpec>{} : specs_of_command(command.spec->id);
}

bool for_each_key(const CommandLookup& command, std::span<const std::string_view> args, const KeyVisitor& visit) {
  if (command.spec->id == C::kTlMGet) {  // the only one whose keys come after options
    const auto keys = std::find_if(args.begin() + 1, args.end(),
                                   [](std::string_view word) { return equal_ignoring_case(word, "KEYS"); });
    for (auto key = keys == args.end() ? keys : keys + 1; key != args.end(); ++key) {
      if (!visit(*key, K::kRO | K::kAccess)) return false;
    }
    return true;
  }
  for (const KeySpec& spec : key_specs(command)) {
    std::uint32_t flags = spec.flags;
    if (flags & K::kVariable) {  // SET reads only when it has GET
      const bool reads = args.size() > 3 && std::any_of(args.begin() + 3, args.end(), [](std::string_view option) {
                           return equal_ignoring_case(option, "GET");
                         });
      flags = reads ? flags & ~std::uint32_t{K::kVariable} : std::uint32_t{K::kOW | K::kUpdate};
    }
    const auto first = static_cast<std::size_t>(spec.first), step = static_cast<std::size_t>(spec.step);
    const std::size_t last = spec.last < 0 ? args.size() - 1 : first;
    for (std::size_t i = first; i <= last && i < args.size(); i += step) {
      if (!visit(args[i], flags)) return false;
    }
  }
  return true;
}

bool for_each_channel(const CommandLookup& command, std::span<const std::string_view> args,
                      const ChannelVisitor& visit) {
  const C id = command.spec->id;
  if (id == C::kPublish) return visit(args[1], false);
  if (id != C::kSubscribe && id != C::kPSubscribe) return true;
  return std::all_of(args.begin() + 1, args.end(),
                     [&](std::string_view channel) { return visit(channel, id == C::kPSubscribe); });
}

void write_flag_names(const CommandLookup& command, RespReply& reply) {
  std::uint32_t flags = command.flags();
  const C id = command.spec->id;
  const bool transaction = command.spec->group == "transactions";
  // Redis refuses these inside MULTI by hand, and lets all of them through while a script is busy.
  if (transaction) flags &= ~std::uint32_t{F::kNoMulti};
  const bool allow_busy = (transaction && id != C::kExec) || (flags & F::kNoAuth) != 0 || id == C::kShutdown;
  std::size_t count = allow_busy + (id == C::kExec);
  for (const auto& [flag, name] : kFlagNames) count += (flags & flag) != 0;
  reply.set(count);
  for (const auto& [flag, name] : kFlagNames) {
    if (flags & flag) reply.simple(name);
  }
  if (id == C::kExec) reply.simple("skip_slowlog");
  if (allow_busy) reply.simple("allow_busy");
}

void write_key_flag_names(std::uint32_t flags, RespReply& reply) {
  std::size_t count = 0;
  for (const auto& [flag, name] : kKeyFlagNames) count += (flags & flag) != 0;
  reply.set(count);
  for (const auto& [flag, name] : kKeyFlagNames) {
    if (flags & flag) reply.simple(name);
  }
}

}  // namespace tidelock
