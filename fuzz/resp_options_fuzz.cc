// What a command's arguments say: options of SET, GETEX, SETEX, EXPIRE, COPY and SCAN, TL.*, numbers, COMMAND. What is
// understood is within its limits, and means the same when it is written again.
#include <array>
#include <string>
#include <vector>

#include "edge/tl_reply.h"
#include "fuzz/fuzz.h"
#include "wire/resp/command_table.h"
#include "wire/resp/numbers.h"
#include "wire/resp/set_options.h"
#include "wire/resp/value.h"

namespace tidelock::fuzz {
namespace {

using Args = std::vector<std::string_view>;

void check_set(const Args& args) {
  const auto set = parse_set(args);
  if (!set) return TIDELOCK_ASSERT(!set.error().message.empty());
  TIDELOCK_ASSERT(!(set->only_if_absent && set->only_if_present));
  TIDELOCK_ASSERT(set->ttl_ms.has_value() + set->expires_at_ms.has_value() + set->keep_ttl <= 1);
  TIDELOCK_ASSERT(!set->ttl_ms || *set->ttl_ms > 0);
  // Written again in another order and case, it means the same.
  std::vector<std::string> again = {"set", std::string(set->key), std::string(set->value)};
  if (set->expires_at_ms) again.insert(again.end(), {"pxat", std::to_string(*set->expires_at_ms)});
  if (set->ttl_ms) again.insert(again.end(), {"px", std::to_string(*set->ttl_ms)});
  if (set->keep_ttl) again.push_back("keepttl");
  if (set->get) again.push_back("get");
  if (set->only_if_absent) again.push_back("nx");
  if (set->only_if_present) again.push_back("xx");
  const auto same = parse_set(Args(again.begin(), again.end()));
  TIDELOCK_ASSERT(same && same->ttl_ms == set->ttl_ms && same->expires_at_ms == set->expires_at_ms);
  TIDELOCK_ASSERT(same->get == set->get && same->keep_ttl == set->keep_ttl && same->key == set->key);
}

void check_integer(std::string_view text) {
  if (const auto number = parse_resp_integer(text)) TIDELOCK_ASSERT(std::to_string(*number) == text);
  if (const auto number = parse_resp_float(text)) TIDELOCK_ASSERT(parse_resp_float(resp_float_text(*number)));
}

}  // namespace

std::vector<Seed> seeds() {
  const auto args = [](std::initializer_list<std::string_view> list) {
    Bytes out;
    for (const std::string_view one : list) out.append(one).push_back('\n');
    return out;
  };
  return {{"set", args({"SET", "k", "v", "EX", "10", "NX", "GET"})},
          {"set_at", args({"SET", "k", "v", "PXAT", "1700000000000", "XX"})},
          {"keep", args({"set", "k", "v", "keepttl"})},
          {"setex", args({"SETEX", "k", "9223372036854775807", "v"})},
          {"psetex", args({"PSETEX", "k", "-1", "v"})},
          {"expire", args({"EXPIRE", "k", "-9223372036854775808", "GT"})},
          {"getex", args({"GETEX", "k", "PXAT", "1700000000000"})},
          {"copy", args({"COPY", "a", "b", "DB", "0", "REPLACE"})},
          {"expireat", args({"PEXPIREAT", "k", "9223372036854775807", "LT"})},
          {"float", args({"INCRBYFLOAT", "k", "-3.0e-17"})},
          {"tlmget", args({"TL.MGET", "BOUND", "500", "KEYS", "a", "b"})},
          {"scan", args({"SCAN", "18446744073709551615", "MATCH", "a*", "COUNT", "100", "TYPE", "string"})},
          {"tlget", args({"TL.GET", "model:a", "BOUND", "500", "DEADLINE", "20", "TOKEN", "7"})},
          {"tlget_strong", args({"TL.GET", "model:a", "STRONG"})},
          {"tlget_fields", args({"TL.GET", "row:1", "BOUND", "500", "FIELDS", "x", "y", "x"})},
          {"tlset", args({"TL.SET", "feature:a", "v", "PX", "1000", "ACK", "ORIGIN"})},
          {"command", args({"COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"})},
          {"docs", args({"COMMAND", "DOCS", "get", "client"})},
          {"zero", args({"SET", "k", "v", "EX", "-0"})}};
}

void run(BytesView input) {
  Args args;
  for (BytesView rest = input; !rest.empty() && args.size() < 64;) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    args.push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (args.empty()) return;
  for (const std::string_view arg : args) check_integer(arg);
  // Arity is the table's to check: parsers are only given what fits it.
  const CommandSpec* spec = find_command(args[0]);
  if (spec == nullptr || !spec->arity_fits(args.size())) {
    TIDELOCK_ASSERT(!unknown_command_error(args).empty());
    return;
  }
  switch (spec->id) {
    case RespCommand::kSet: check_set(args); break;
    case RespCommand::kSetEx:
    case RespCommand::kPSetEx:
    case RespCommand::kSetNx:
      if (const auto set = parse_setex(args); set && set->ttl_ms) TIDELOCK_ASSERT(*set->ttl_ms > 0);
      break;
    case RespCommand::kGetEx:
      if (const auto get = parse_getex(args)) {
        TIDELOCK_ASSERT(get->persist + get->ttl_ms.has_value() + get->expires_at_ms.has_value() <= 1);
      }
      break;
    case RespCommand::kCopy:
      if (const auto copy = parse_copy(args)) TIDELOCK_ASSERT(copy->from != copy->to);
      break;
    case RespCommand::kExpire:
    case RespCommand::kPExpire:
    case RespCommand::kExpireAt:
    case RespCommand::kPExpireAt:
      if (const auto expire = parse_expire(args)) TIDELOCK_ASSERT(!(expire->only_greater && expire->only_less));
      break;
    case RespCommand::kScan:
      if (const auto scan = parse_scan(args)) TIDELOCK_ASSERT(scan->count > 0);
      break;
    case RespCommand::kTlGet:
      if (const auto get = parse_tl_get(args)) {
        TIDELOCK_ASSERT(get->contract.deadline_ns.value_or(0) >= 0 && get->contract.bound_ns.value_or(0) >= 0);
        TIDELOCK_ASSERT(get->fields.empty() || &get->fields.back() == &args.back());
      }
      break;
    case RespCommand::kTlMGet:
      if (const auto get = parse_tl_mget(args)) TIDELOCK_ASSERT(!get->keys.empty());
      break;
    case RespCommand::kTlSet:
      if (const auto set = parse_tl_set(args)) TIDELOCK_ASSERT(set->ttl_ms >= 0);
      break;
    case RespCommand::kCommand: {  // whatever is asked, the answer is one well-formed reply
      for (const int protocol : {2, 3}) {
        std::string out;
        RespReply reply(out, protocol);
        answer_command(args, reply);
        RespReplyParser parser;
        parser.feed(out);
        RespValue value;
        TIDELOCK_ASSERT(parser.next(&value) == RespReplyParser::Status::kValue);
        TIDELOCK_ASSERT(parser.next(&value) == RespReplyParser::Status::kNeedMore);
      }
      break;
    }
    default: break;
  }
}

}  // namespace tidelock::fuzz
