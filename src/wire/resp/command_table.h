// The commands of an edge as data: one table drives arity errors, key positions, COMMAND and help.
//
// Threads: any; the table is constant. Cost: a look-up is one hash of at most 16 bytes, and allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire/resp/reply.h"

namespace tidelock {

enum class RespCommand : std::uint8_t {
  kPing,
  kEcho,
  kHello,
  kAuth,
  kSelect,
  kQuit,
  kReset,
  kClient,
  kCommand,
  kConfig,
  kInfo,
  kTime,
  kAcl,
  kMemory,
  kSlowlog,
  kLatency,
  kFunction,
  kShutdown,  // connection, server
  kGet,
  kSet,
  kSetEx,
  kPSetEx,
  kSetNx,
  kGetDel,
  kStrlen,
  kAppend,
  kMGet,
  kMSet,
  kMSetNx,
  kGetSet,
  kGetEx,
  kGetRange,
  kSetRange,
  kIncr,
  kDecr,
  kIncrBy,
  kDecrBy,
  kIncrByFloat,  // string
  kDel,
  kUnlink,
  kExists,
  kExpire,
  kPExpire,
  kTtl,
  kPTtl,
  kExpireAt,
  kPExpireAt,
  kExpireTime,
  kPExpireTime,
  kPersist,
  kType,
  kTouch,
  kCopy,
  kRename,
  kRenameNx,
  kRandomKey,
  kObject,
  kScan,
  kKeys,  // generic
  kHSet,
  kHSetNx,
  kHMSet,
  kHGet,
  kHMGet,
  kHGetAll,
  kHDel,
  kHExists,
  kHLen,
  kHStrlen,
  kHKeys,
  kHVals,
  kHIncrBy,
  kHIncrByFloat,
  kHRandField,
  kHScan,  // hash
  kMulti,
  kExec,
  kDiscard,
  kWatch,
  kUnwatch,  // transactions
  kSubscribe,
  kUnsubscribe,
  kPSubscribe,
  kPUnsubscribe,
  kPublish,
  kPubSub,  // pubsub
  kDbSize,
  kFlushAll,
  kFlushDb,  // server
  kTlGet,
  kTlMGet,
  kTlSet,
  kTlInvalidate,
  kTlFlush,
  kTlReceipt,
  kTlHealth,
  kTlModel,
  kTlNamespace,
  kTlInfo,  // tidelock
};

struct CommandFlag {
  enum : std::uint32_t {
    kWrite = 1u << 0,
    kReadOnly = 1u << 1,
    kDenyOom = 1u << 2,
    kAdmin = 1u << 3,
    kFast = 1u << 4,
    kLoading = 1u << 5,
    kStale = 1u << 6,
    kNoAuth = 1u << 7,  // allowed before authentication
    kNoScript = 1u << 8,
    kMovableKeys = 1u << 9,
    kPubSub = 1u << 10,
    kNoMulti = 1u << 11,  // not inside MULTI
  };
};

struct CommandSpec {
  std::string_view name;  // lower case
  RespCommand id;
  int arity;  // Redis: the name counts; negative: at least that many
  std::uint32_t flags;
  int first_key, last_key, key_step;  // 0, 0, 0: no keys; last_key -1: up to the last argument
  std::string_view summary;
  std::string_view since;
  std::string_view group;  // "string", "generic", "hash", "transactions", "pubsub", "connection", "server", "tidelock"
  std::string_view arguments;  // for help: "key value [NX | XX] [GET] ..."

  bool arity_fits(std::size_t arguments_with_name) const;
};

std::span<const CommandSpec> command_table();
const CommandSpec* find_command(std::string_view name);  // any case; null when unknown
const CommandSpec& spec_of(RespCommand id);

// COMMAND, COMMAND COUNT, INFO, DOCS, LIST, GETKEYS, HELP. `args` is the whole command.
void answer_command(std::span<const std::string_view> args, RespReply& reply);

// Error texts of Redis.
std::string unknown_command_error(std::span<const std::string_view> args);
std::string wrong_arity_error(std::string_view name);  // "get", "client|setname"
std::string unknown_subcommand_error(std::string_view command, std::string_view subcommand);

}  // namespace tidelock
