#include "wire/resp/command_table.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "base/assert.h"

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
    {"client", C::kClient, -2, F::kLoading | F::kStale | F::kNoScript, 0, 0, 0, "Inspect and name connections", "2.4.0", "connection", "ID | SETNAME name | GETNAME | INFO | LIST [TYPE type] [ID id ...] | KILL addr | KILL [ID id] [TYPE type] [ADDR addr] [LADDR addr] [USER name] [SKIPME YES|NO] | PAUSE ms [WRITE|ALL] | UNPAUSE | REPLY ON|OFF|SKIP | TRACKING ON|OFF [REDIRECT id] [BCAST] [PREFIX prefix ...] [OPTIN] [OPTOUT] [NOLOOP] | CACHING YES|NO | GETREDIR | TRACKINGINFO | SETINFO attr value | NO-EVICT ON|OFF | HELP"},
    {"command", C::kCommand, -1, F::kLoading | F::kStale, 0, 0, 0, "Get details about commands", "2.8.13", "server", "[COUNT | INFO name ... | DOCS name ... | LIST | GETKEYS command ... | HELP]"},
    {"config", C::kConfig, -2, F::kAdmin | F::kNoScript | F::kLoading | F::kStale, 0, 0, 0, "Read and change parameters of this edge", "2.0.0", "server", "GET pattern ... | SET name value ... | RESETSTAT | REWRITE | HELP"},
    {"info", C::kInfo, -1, F::kLoading | F::kStale, 0, 0, 0, "Information and statistics about this edge", "1.0.0", "server", "[section ...]"},
    {"time", C::kTime, 1, F::kFast | F::kLoading | F::kStale, 0, 0, 0, "Return the wall clock of this edge: seconds and microseconds", "2.6.0", "server", ""},
    {"acl", C::kAcl, -2, F::kAdmin | F::kNoScript | F::kLoading | F::kStale, 0, 0, 0, "Who may do what with which keys", "6.0.0", "server", "WHOAMI | LIST | USERS | GETUSER name | SETUSER name [rule ...] | DELUSER name ... | CAT [category] | GENPASS [bits] | DRYRUN name command [arg ...] | LOG [count | RESET] | HELP"},
    {"memory", C::kMemory, -2, 0, 0, 0, 0, "Inspect what a key and this edge use", "4.0.0", "server", "USAGE key [SAMPLES count] | DOCTOR | STATS | PURGE | HELP"},
    {"slowlog", C::kSlowlog, -2, F::kAdmin | F::kLoading | F::kStale, 0, 0, 0, "The slowest commands of late", "2.2.12", "server", "GET [count] | LEN | RESET | HELP"},
    {"latency", C::kLatency, -2, F::kAdmin | F::kNoScript | F::kLoading | F::kStale, 0, 0, 0, "Latency of commands and events", "2.8.13", "server", "LATEST | HISTORY event | RESET [event ...] | HISTOGRAM [command ...] | DOCTOR | HELP"},
    {"function", C::kFunction, -2, F::kNoScript, 0, 0, 0, "There are no functions: FLUSH has nothing to do", "7.0.0", "scripting", "FLUSH [ASYNC | SYNC] | LIST | HELP"},
    {"shutdown", C::kShutdown, -1, F::kAdmin | F::kNoScript | F::kLoading | F::kStale | F::kNoMulti, 0, 0, 0, "Stop this edge", "1.0.0", "server", "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]"},
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
    {"msetnx", C::kMSetNx, -3, F::kWrite | F::kDenyOom, 1, -1, 2, "Set multiple keys to multiple values, only if none of them exists", "1.0.1", "string", "key value [key value ...]"},
    {"getset", C::kGetSet, 3, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Set the string value of a key and return its old value", "1.0.0", "string", "key value"},
    {"getex", C::kGetEx, -2, F::kWrite | F::kFast, 1, 1, 1, "Get the value of a key and optionally set its expiration", "6.2.0", "string", "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]"},
    {"getrange", C::kGetRange, 4, F::kReadOnly, 1, 1, 1, "Get a substring of the string stored at a key", "2.4.0", "string", "key start end"},
    {"setrange", C::kSetRange, 4, F::kWrite | F::kDenyOom, 1, 1, 1, "Overwrite part of a string at a key starting at the specified offset", "2.2.0", "string", "key offset value"},
    {"incr", C::kIncr, 2, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Increment the integer value of a key by one", "1.0.0", "string", "key"},
    {"decr", C::kDecr, 2, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Decrement the integer value of a key by one", "1.0.0", "string", "key"},
    {"incrby", C::kIncrBy, 3, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Increment the integer value of a key by the given amount", "1.0.0", "string", "key increment"},
    {"decrby", C::kDecrBy, 3, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Decrement the integer value of a key by the given number", "1.0.0", "string", "key decrement"},
    {"incrbyfloat", C::kIncrByFloat, 3, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Increment the float value of a key by the given amount", "2.6.0", "string", "key increment"},
    {"del", C::kDel, -2, F::kWrite, 1, -1, 1, "Delete a key", "1.0.0", "generic", "key [key ...]"},
    {"unlink", C::kUnlink, -2, F::kWrite | F::kFast, 1, -1, 1, "Delete a key; its memory is freed later", "4.0.0", "generic", "key [key ...]"},
    {"exists", C::kExists, -2, F::kReadOnly | F::kFast, 1, -1, 1, "Determine if a key exists", "1.0.0", "generic", "key [key ...]"},
    {"expire", C::kExpire, -3, F::kWrite | F::kFast, 1, 1, 1, "Set a key's time to live in seconds", "1.0.0", "generic", "key seconds [NX | XX | GT | LT]"},
    {"pexpire", C::kPExpire, -3, F::kWrite | F::kFast, 1, 1, 1, "Set a key's time to live in milliseconds", "2.6.0", "generic", "key milliseconds [NX | XX | GT | LT]"},
    {"ttl", C::kTtl, 2, F::kReadOnly | F::kFast, 1, 1, 1, "Get the time to live of a key in seconds", "1.0.0", "generic", "key"},
    {"pttl", C::kPTtl, 2, F::kReadOnly | F::kFast, 1, 1, 1, "Get the time to live of a key in milliseconds", "2.6.0", "generic", "key"},
    {"expireat", C::kExpireAt, -3, F::kWrite | F::kFast, 1, 1, 1, "Set the expiration for a key as a UNIX timestamp", "1.2.0", "generic", "key unix-time-seconds [NX | XX | GT | LT]"},
    {"pexpireat", C::kPExpireAt, -3, F::kWrite | F::kFast, 1, 1, 1, "Set the expiration for a key as a UNIX timestamp in milliseconds", "2.6.0", "generic", "key unix-time-milliseconds [NX | XX | GT | LT]"},
    {"expiretime", C::kExpireTime, 2, F::kReadOnly | F::kFast, 1, 1, 1, "Get the expiration Unix timestamp for a key", "7.0.0", "generic", "key"},
    {"pexpiretime", C::kPExpireTime, 2, F::kReadOnly | F::kFast, 1, 1, 1, "Get the expiration Unix timestamp for a key in milliseconds", "7.0.0", "generic", "key"},
    {"persist", C::kPersist, 2, F::kWrite | F::kFast, 1, 1, 1, "Remove the expiration from a key", "2.2.0", "generic", "key"},
    {"type", C::kType, 2, F::kReadOnly | F::kFast, 1, 1, 1, "Determine the type stored at a key", "1.0.0", "generic", "key"},
    {"touch", C::kTouch, -2, F::kReadOnly | F::kFast, 1, -1, 1, "Alters the last access time of a key(s). Returns the number of existing keys specified.", "3.2.1", "generic", "key [key ...]"},
    {"copy", C::kCopy, -3, F::kWrite | F::kDenyOom, 1, 2, 1, "Copy a key", "6.2.0", "generic", "source destination [DB destination-db] [REPLACE]"},
    {"rename", C::kRename, 3, F::kWrite, 1, 2, 1, "Rename a key", "1.0.0", "generic", "key newkey"},
    {"renamenx", C::kRenameNx, 3, F::kWrite | F::kFast, 1, 2, 1, "Rename a key, only if the new key does not exist", "1.0.0", "generic", "key newkey"},
    {"randomkey", C::kRandomKey, 1, F::kReadOnly, 0, 0, 0, "Return a random key of this edge's copies", "1.0.0", "generic", ""},
    {"object", C::kObject, -2, F::kReadOnly, 2, 2, 1, "Inspect how a value is held", "2.2.3", "generic", "ENCODING key | FREQ key | IDLETIME key | REFCOUNT key | HELP"},
    {"scan", C::kScan, -2, F::kReadOnly, 0, 0, 0, "Iterate the keys of this edge's copies", "2.8.0", "generic", "cursor [MATCH pattern] [COUNT count] [TYPE type]"},
    {"keys", C::kKeys, 2, F::kReadOnly, 0, 0, 0, "Find the keys of this edge's copies that match a pattern", "1.0.0", "generic", "pattern"},
    {"hset", C::kHSet, -4, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Set the string value of a hash field", "2.0.0", "hash", "key field value [field value ...]"},
    {"hsetnx", C::kHSetNx, 4, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Set the value of a hash field, only if the field does not exist", "2.0.0", "hash", "key field value"},
    {"hmset", C::kHMSet, -4, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Set multiple hash fields to multiple values", "2.0.0", "hash", "key field value [field value ...]"},
    {"hget", C::kHGet, 3, F::kReadOnly | F::kFast, 1, 1, 1, "Get the value of a hash field", "2.0.0", "hash", "key field"},
    {"hmget", C::kHMGet, -3, F::kReadOnly | F::kFast, 1, 1, 1, "Get the values of all the given hash fields", "2.0.0", "hash", "key field [field ...]"},
    {"hgetall", C::kHGetAll, 2, F::kReadOnly, 1, 1, 1, "Get all the fields and values in a hash", "2.0.0", "hash", "key"},
    {"hdel", C::kHDel, -3, F::kWrite | F::kFast, 1, 1, 1, "Delete one or more hash fields", "2.0.0", "hash", "key field [field ...]"},
    {"hexists", C::kHExists, 3, F::kReadOnly | F::kFast, 1, 1, 1, "Determine if a hash field exists", "2.0.0", "hash", "key field"},
    {"hlen", C::kHLen, 2, F::kReadOnly | F::kFast, 1, 1, 1, "Get the number of fields in a hash", "2.0.0", "hash", "key"},
    {"hstrlen", C::kHStrlen, 3, F::kReadOnly | F::kFast, 1, 1, 1, "Get the length of the value of a hash field", "3.2.0", "hash", "key field"},
    {"hkeys", C::kHKeys, 2, F::kReadOnly, 1, 1, 1, "Get all the fields in a hash", "2.0.0", "hash", "key"},
    {"hvals", C::kHVals, 2, F::kReadOnly, 1, 1, 1, "Get all the values in a hash", "2.0.0", "hash", "key"},
    {"hincrby", C::kHIncrBy, 4, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Increment the integer value of a hash field by the given number", "2.0.0", "hash", "key field increment"},
    {"hincrbyfloat", C::kHIncrByFloat, 4, F::kWrite | F::kDenyOom | F::kFast, 1, 1, 1, "Increment the float value of a hash field by the given amount", "2.6.0", "hash", "key field increment"},
    {"hrandfield", C::kHRandField, -2, F::kReadOnly, 1, 1, 1, "Get one or multiple random fields from a hash", "6.2.0", "hash", "key [count [WITHVALUES]]"},
    {"hscan", C::kHScan, -3, F::kReadOnly, 1, 1, 1, "Incrementally iterate hash fields and associated values", "2.8.0", "hash", "key cursor [MATCH pattern] [COUNT count]"},
    {"multi", C::kMulti, 1, F::kFast | F::kLoading | F::kStale | F::kNoScript, 0, 0, 0, "Mark the start of a transaction block", "1.2.0", "transactions", ""},
    {"exec", C::kExec, 1, F::kLoading | F::kStale | F::kNoScript, 0, 0, 0, "Execute all commands issued after MULTI", "1.2.0", "transactions", ""},
    {"discard", C::kDiscard, 1, F::kFast | F::kLoading | F::kStale | F::kNoScript, 0, 0, 0, "Discard all commands issued after MULTI", "2.0.0", "transactions", ""},
    {"watch", C::kWatch, -2, F::kFast | F::kLoading | F::kStale | F::kNoScript, 1, -1, 1, "Watch the given keys to determine execution of the MULTI/EXEC block", "2.2.0", "transactions", "key [key ...]"},
    {"unwatch", C::kUnwatch, 1, F::kFast | F::kLoading | F::kStale | F::kNoScript, 0, 0, 0, "Forget about all watched keys", "2.2.0", "transactions", ""},
    {"subscribe", C::kSubscribe, -2, F::kPubSub | F::kLoading | F::kStale | F::kNoScript, 0, 0, 0, "Listen for messages published to the given channels", "2.0.0", "pubsub", "channel [channel ...]"},
    {"unsubscribe", C::kUnsubscribe, -1, F::kPubSub | F::kLoading | F::kStale | F::kNoScript, 0, 0, 0, "Stop listening for messages posted to the given channels", "2.0.0", "pubsub", "[channel [channel ...]]"},
    {"psubscribe", C::kPSubscribe, -2, F::kPubSub | F::kLoading | F::kStale | F::kNoScript, 0, 0, 0, "Listen for messages published to channels matching the given patterns", "2.0.0", "pubsub", "pattern [pattern ...]"},
    {"punsubscribe", C::kPUnsubscribe, -1, F::kPubSub | F::kLoading | F::kStale | F::kNoScript, 0, 0, 0, "Stop listening for messages posted to channels matching the given patterns", "2.0.0", "pubsub", "[pattern [pattern ...]]"},
    {"publish", C::kPublish, 3, F::kPubSub | F::kFast | F::kLoading | F::kStale, 0, 0, 0, "Post a message to a channel of this edge", "2.0.0", "pubsub", "channel message"},
    {"pubsub", C::kPubSub, -2, F::kPubSub | F::kLoading | F::kStale, 0, 0, 0, "Inspect the state of the pub/sub subsystem", "2.8.0", "pubsub", "CHANNELS [pattern] | NUMSUB [channel ...] | NUMPAT | HELP"},
    {"dbsize", C::kDbSize, 1, F::kReadOnly | F::kFast, 0, 0, 0, "Number of keys of this edge's copies", "1.0.0", "server", ""},
    {"flushall", C::kFlushAll, -1, F::kWrite, 0, 0, 0, "Drop this edge's copies", "1.0.0", "server", "[ASYNC | SYNC]"},
    {"flushdb", C::kFlushDb, -1, F::kWrite, 0, 0, 0, "Drop this edge's copies", "1.0.0", "server", "[ASYNC | SYNC]"},
    {"tl.get", C::kTlGet, -2, F::kReadOnly | F::kFast, 1, 1, 1, "Get a value with its receipt: value, version, bound, basis, source", "tidelock 0.1", "tidelock", "key [BOUND ms] [STRONG] [EVENTUAL] [DEADLINE ms] [TOKEN index] [FIELDS field [field ...]]"},
    {"tl.mget", C::kTlMGet, -3, F::kReadOnly | F::kFast | F::kMovableKeys, 1, -1, 1, "Get values with their receipts; options come first", "tidelock 0.1", "tidelock", "[BOUND ms] [STRONG] [EVENTUAL] [DEADLINE ms] [TOKEN index] KEYS key [key ...]"},
    {"tl.set", C::kTlSet, -3, F::kWrite | F::kDenyOom, 1, 1, 1, "Set a value; answers its version and the level of its acknowledgement", "tidelock 0.1", "tidelock", "key value [PX ms] [ACK level]"},
    {"tl.invalidate", C::kTlInvalidate, 2, F::kWrite, 0, 0, 0, "Drop this edge's copies of the keys that match a pattern", "tidelock 0.1", "tidelock", "pattern"},
    {"tl.flush", C::kTlFlush, 2, F::kWrite, 0, 0, 0, "Delete every key of a namespace, everywhere; answers how many", "tidelock 0.1", "tidelock", "prefix"},
    {"tl.receipt", C::kTlReceipt, -1, F::kFast, 0, 0, 0, "Receipts with plain reads of this connection, as a RESP3 attribute", "tidelock 0.1", "tidelock", "[ON | OFF]"},
    {"tl.health", C::kTlHealth, -4, F::kFast, 0, 0, 0, "Say how a model version does (OK, BAD or SICK), for the gates of its rollout", "tidelock 0.1", "tidelock", "model version verdict [COUNT frames] [LATENCY_US microseconds] [DRIFT value]"},
    {"tl.model", C::kTlModel, -2, F::kAdmin | F::kNoMulti, 0, 0, 0, "Begin to VERIFY, REPAIR or GC this edge's store of models, IMPORT a bundle, or LOOK how far that is", "tidelock 0.1", "tidelock", "action [path | IMPORTED] [DRYRUN]"},
    {"tl.namespace", C::kTlNamespace, -1, F::kReadOnly | F::kFast, 0, 0, 0, "The namespaces and their policies, or that of one key", "tidelock 0.1", "tidelock", "[key]"},
    {"tl.info", C::kTlInfo, 1, F::kFast, 0, 0, 0, "State of this edge: session, proofs, lease, namespaces", "tidelock 0.1", "tidelock", ""},
});
// clang-format on

constexpr std::size_t kNameBytesMax = 16;
constexpr std::size_t kSlots = 256;  // a power of two, well above the number of commands

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

// What Redis prints of it.
static std::string_view until_nul(std::string_view text) { return text.substr(0, text.find('\0')); }

std::string unknown_command_error(std::span<const std::string_view> args) {
  std::string shown;
  for (std::size_t i = 1; i < args.size() && shown.size() < kEchoBytesMax; ++i) {
    const std::string_view part = until_nul(args[i]).substr(0, kEchoBytesMax - shown.size());
    shown.append("'").append(part).append("' ");
  }
  return "ERR unknown command '" + std::string(until_nul(args[0]).substr(0, kEchoBytesMax)) +
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
