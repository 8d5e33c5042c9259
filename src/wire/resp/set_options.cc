#include "wire/resp/set_options.h"

#include <limits>
#include <string>

#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
// Redis refuses a time to live that overflows when added to the wall clock. The wall clock stays out of here: anything
// beyond 2^63 - 2^42 ms (2^42 ms: the year 2109) is refused.
constexpr std::int64_t kTtlMsMax = kMax - (std::int64_t{1} << 42);

tl::unexpected<Error> refuse(std::string text) { return fail(Code::kInvalid, "ERR " + std::move(text)); }
tl::unexpected<Error> syntax_error() { return refuse("syntax error"); }
tl::unexpected<Error> not_an_integer() { return refuse("value is not an integer or out of range"); }
tl::unexpected<Error> invalid_expire(std::string_view command) {
  return refuse("invalid expire time in '" + std::string(command) + "' command");
}

Result<std::int64_t> expiry_ms(std::string_view text, bool seconds, bool relative, std::string_view command) {
  const auto value = parse_resp_integer(text);
  if (!value) return not_an_integer();
  if (*value <= 0 || (seconds && *value > kMax / 1000)) return invalid_expire(command);
  const std::int64_t ms = seconds ? *value * 1000 : *value;
  if (relative && ms > kTtlMsMax) return invalid_expire(command);
  return ms;
}

}  // namespace

Result<SetArguments> parse_set(std::span<const std::string_view> args) {
  if (args.size() < 3) return refuse("wrong number of arguments for 'set' command");
  SetArguments set;
  set.key = args[1];
  set.value = args[2];
  enum class Unit { kNone, kEx, kPx, kExAt, kPxAt };
  Unit unit = Unit::kNone;
  std::string_view time;
  for (std::size_t i = 3; i < args.size(); ++i) {
    const std::string_view option = args[i];
    const auto is = [&](std::string_view name) { return equal_ignoring_case(option, name); };
    Unit wanted = Unit::kNone;
    if (is("NX") && !set.only_if_present) {
      set.only_if_absent = true;
      continue;
    }
    if (is("XX") && !set.only_if_absent) {
      set.only_if_present = true;
      continue;
    }
    if (is("GET")) {
      set.get = true;
      continue;
    }
    if (is("KEEPTTL") && unit == Unit::kNone) {
      set.keep_ttl = true;
      continue;
    }
    if (is("EX")) wanted = Unit::kEx;
    if (is("PX")) wanted = Unit::kPx;
    if (is("EXAT")) wanted = Unit::kExAt;
    if (is("PXAT")) wanted = Unit::kPxAt;
    // The same unit twice is allowed, as in Redis: the last one counts.
    if (wanted == Unit::kNone || set.keep_ttl || (unit != Unit::kNone && unit != wanted) || i + 1 >= args.size()) {
      return syntax_error();
    }
    unit = wanted;
    time = args[++i];
  }
  if (unit != Unit::kNone) {
    const bool relative = unit == Unit::kEx || unit == Unit::kPx;
    const auto ms = expiry_ms(time, unit == Unit::kEx || unit == Unit::kExAt, relative, "set");
    if (!ms) return fail(ms.error());
    (relative ? set.ttl_ms : set.expires_at_ms) = *ms;
  }
  return set;
}

Result<SetArguments> parse_setex(std::span<const std::string_view> args) {
  SetArguments set;
  if (args.size() == 3 && equal_ignoring_case(args[0], "setnx")) {
    set.key = args[1];
    set.value = args[2];
    set.only_if_absent = true;
    return set;
  }
  const bool seconds = !args.empty() && equal_ignoring_case(args[0], "setex");
  const std::string_view command = seconds ? "setex" : "psetex";
  if (args.size() != 4) return refuse("wrong number of arguments for '" + std::string(command) + "' command");
  const auto ms = expiry_ms(args[2], seconds, true, command);
  if (!ms) return fail(ms.error());
  set.key = args[1];
  set.value = args[3];
  set.ttl_ms = *ms;
  return set;
}

Result<GetExArguments> parse_getex(std::span<const std::string_view> args) {
  if (args.size() < 2) return refuse("wrong number of arguments for 'getex' command");
  GetExArguments get;
  get.key = args[1];
  std::string_view unit, time;
  for (std::size_t i = 2; i < args.size(); ++i) {
    const auto is = [&](std::string_view name) { return equal_ignoring_case(args[i], name); };
    if (is("PERSIST") && unit.empty()) {
      get.persist = true;
      continue;
    }
    std::string_view wanted;
    for (const std::string_view name : {"EX", "PX", "EXAT", "PXAT"}) {
      if (is(name)) wanted = name;
    }
    // The same unit twice is allowed, as in Redis: the last one counts.
    if (wanted.empty() || get.persist || (!unit.empty() && unit != wanted) || i + 1 >= args.size()) {
      return syntax_error();
    }
    unit = wanted;
    time = args[++i];
  }
  if (unit.empty()) return get;
  const bool relative = unit == "EX" || unit == "PX";
  const auto ms = expiry_ms(time, unit == "EX" || unit == "EXAT", relative, "getex");
  if (!ms)
    get.bad_time = ms.error().message;
  else
    (relative ? get.ttl_ms : get.expires_at_ms) = *ms;
  return get;
}

Result<ExpireArguments> parse_expire(std::span<const std::string_view> args) {
  std::string_view command = "expire";
  for (const std::string_view name : {"pexpire", "expireat", "pexpireat"}) {
    if (!args.empty() && equal_ignoring_case(args[0], name)) command = name;
  }
  const bool seconds = command[0] == 'e', absolute = command.ends_with("at");
  if (args.size() < 3) return refuse("wrong number of arguments for '" + std::string(command) + "' command");
  ExpireArguments expire;
  expire.key = args[1];
  for (const std::string_view option : args.subspan(3)) {
    const auto is = [&](std::string_view name) { return equal_ignoring_case(option, name); };
    bool& chosen = is("NX")   ? expire.only_without_ttl
                   : is("XX") ? expire.only_with_ttl
                   : is("GT") ? expire.only_greater
                              : expire.only_less;
    if (&chosen == &expire.only_less && !is("LT")) {
      return refuse("Unsupported option " + std::string(option.substr(0, 128)));
    }
    chosen = true;
  }
  if (expire.only_without_ttl && (expire.only_with_ttl || expire.only_greater || expire.only_less)) {
    return refuse("NX and XX, GT or LT options at the same time are not compatible");
  }
  if (expire.only_greater && expire.only_less) {
    return refuse("GT and LT options at the same time are not compatible");
  }
  const auto value = parse_resp_integer(args[2]);
  if (!value) return not_an_integer();
  if (seconds && (*value > kMax / 1000 || *value < kMin / 1000)) return invalid_expire(command);
  const std::int64_t ms = seconds ? *value * 1000 : *value;
  if (!absolute && ms > kTtlMsMax) return invalid_expire(command);
  if (absolute)
    expire.expires_at_ms = ms;
  else
    expire.ttl_ms = ms;
  return expire;
}

Result<CopyArguments> parse_copy(std::span<const std::string_view> args) {
  if (args.size() < 3) return refuse("wrong number of arguments for 'copy' command");
  CopyArguments copy;
  copy.from = args[1];
  copy.to = args[2];
  for (std::size_t i = 3; i < args.size(); ++i) {
    if (equal_ignoring_case(args[i], "REPLACE")) {
      copy.replace = true;
    } else if (equal_ignoring_case(args[i], "DB") && i + 1 < args.size()) {
      constexpr std::int64_t kIntMax = std::numeric_limits<std::int32_t>::max();
      const auto index = parse_resp_integer(args[++i]);
      if (!index) return not_an_integer();
      if (*index > kIntMax || *index < -kIntMax - 1) {
        return refuse("value is out of range, value must between -2147483648 and 2147483647");
      }
      if (*index != 0) return refuse("DB index is out of range");  // there is one
    } else {
      return syntax_error();
    }
  }
  if (copy.from == copy.to) return refuse("source and destination objects are the same");
  return copy;
}

Result<ScanArguments> parse_scan(std::span<const std::string_view> args) {
  if (args.size() < 2) return refuse("wrong number of arguments for 'scan' command");
  ScanArguments scan;
  std::uint64_t cursor = 0;
  // Redis reads it as strtoul does: nothing is 0, and a number below 0 wraps around.
  const bool negative = args[1].starts_with('-');
  const std::string_view digits = args[1].substr(negative ? 1 : 0);
  if (digits.size() > 20 || (negative && digits.empty())) return refuse("invalid cursor");
  for (const char c : digits) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (c < '0' || c > '9' || __builtin_mul_overflow(cursor, std::uint64_t{10}, &cursor) ||
        __builtin_add_overflow(cursor, digit, &cursor)) {
      return refuse("invalid cursor");
    }
  }
  scan.cursor = negative ? 0 - cursor : cursor;
  for (std::size_t i = 2; i < args.size(); i += 2) {
    if (i + 1 >= args.size()) return syntax_error();
    if (equal_ignoring_case(args[i], "COUNT")) {
      const auto count = parse_resp_integer(args[i + 1]);
      if (!count) return not_an_integer();
      if (*count < 1) return syntax_error();
      scan.count = *count;
    } else if (equal_ignoring_case(args[i], "MATCH")) {
      scan.match = args[i + 1];
    } else if (equal_ignoring_case(args[i], "TYPE")) {
      scan.type = args[i + 1];
    } else {
      return syntax_error();
    }
  }
  return scan;
}

}  // namespace tidelock
