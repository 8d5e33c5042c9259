// Options of SET, GETEX, SETEX, PSETEX, the EXPIRE family, COPY and SCAN, with the errors of Redis 7.0. `message` of an
// error is the whole error reply ("ERR syntax error").
//
// Threads: any; pure functions. Views in the answers point into `args`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tidelock {

struct SetArguments {
  std::string_view key, value;
  bool only_if_absent = false;   // NX
  bool only_if_present = false;  // XX
  bool get = false;              // answer the old value
  bool keep_ttl = false;
  std::optional<std::int64_t> ttl_ms;         // EX, PX: above 0
  std::optional<std::int64_t> expires_at_ms;  // EXAT, PXAT: above 0, milliseconds of the Unix epoch; may be in the past
};
// SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
Result<SetArguments> parse_set(std::span<const std::string_view> args);
// SETEX key seconds value, PSETEX key milliseconds value: by the name in args[0]. Also SETNX key value.
Result<SetArguments> parse_setex(std::span<const std::string_view> args);

struct GetExArguments {
  std::string_view key;
  bool persist = false;
  std::optional<std::int64_t> ttl_ms, expires_at_ms;  // as in SetArguments
  // The time given is none: the whole error, for a key that holds a string. Redis looks at the key first.
  std::string bad_time;
  bool changes() const { return persist || ttl_ms || expires_at_ms || !bad_time.empty(); }
};
// GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]
Result<GetExArguments> parse_getex(std::span<const std::string_view> args);

struct ExpireArguments {
  std::string_view key;
  std::int64_t ttl_ms = 0;                    // EXPIRE, PEXPIRE: not above 0: the key goes at once
  std::optional<std::int64_t> expires_at_ms;  // EXPIREAT, PEXPIREAT: milliseconds of the Unix epoch, even before it
  bool only_without_ttl = false, only_with_ttl = false, only_greater = false, only_less = false;  // NX XX GT LT
};
// EXPIRE key seconds [NX | XX | GT | LT], PEXPIRE, EXPIREAT, PEXPIREAT: by the name in args[0].
Result<ExpireArguments> parse_expire(std::span<const std::string_view> args);

struct CopyArguments {
  std::string_view from, to;
  bool replace = false;
};
// COPY source destination [DB 0] [REPLACE]; two equal keys are refused
Result<CopyArguments> parse_copy(std::span<const std::string_view> args);

struct ScanArguments {
  std::uint64_t cursor = 0;
  std::optional<std::string_view> match;
  std::int64_t count = 10;
  std::string_view type;  // empty: any
};
// SCAN cursor [MATCH pattern] [COUNT n] [TYPE t]
Result<ScanArguments> parse_scan(std::span<const std::string_view> args);

}  // namespace tidelock
