#include "edge/tl_reply.h"

#include <algorithm>

#include "codec/typed_value.h"
#include "edge/hash_reply.h"
#include "protocol/receipt.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

constexpr std::int64_t kMsMax = kForever / kMillisecond / 4;

tl::unexpected<Error> refuse(std::string text) { return fail(Code::kInvalid, "ERR " + std::move(text)); }

// -1: unbounded. Rounded up, so that the number is never smaller than the truth.
std::int64_t micros(Nanos bound) {
  if (bound == kForever) return -1;
  return bound <= 0 ? 0 : bound / kMicrosecond + (bound % kMicrosecond != 0);
}
std::int64_t millis(Nanos duration) {
  if (duration == kForever) return -1;
  return duration <= 0 ? 0 : duration / kMillisecond + (duration % kMillisecond != 0);
}

Result<std::int64_t> number_after(std::span<const std::string_view> args, std::size_t i, std::int64_t least) {
  if (i + 1 >= args.size()) return refuse("syntax error: " + std::string(args[i]) + " needs a number");
  const auto value = parse_resp_integer(args[i + 1]);
  if (!value || *value < least) {
    return refuse(std::string(args[i]) + " '" + std::string(args[i + 1].substr(0, 32)) +
                  "' must be an integer, at least " + std::to_string(least));
  }
  return *value;
}

// The option of TL.GET and TL.MGET that begins at args[i]; how many arguments it takes.
Result<std::size_t> read_option(std::span<const std::string_view> args, std::size_t i, Contract* contract) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[i], name); };
  if (is("STRONG") || is("EVENTUAL") || is("BOUND")) {
    if (contract->consistency) return refuse("syntax error: one of STRONG, EVENTUAL and BOUND");
    contract->consistency = is("STRONG")     ? Consistency::kStrong
                            : is("EVENTUAL") ? Consistency::kEventual
                                             : Consistency::kBounded;
  }
  if (is("STRONG") || is("EVENTUAL")) return std::size_t{1};
  if (!is("BOUND") && !is("DEADLINE") && !is("TOKEN")) {
    return refuse("syntax error: unknown option '" + std::string(args[i].substr(0, 32)) +
                  "', must be STRONG, EVENTUAL, BOUND ms, DEADLINE ms or TOKEN index");
  }
  const auto value = number_after(args, i, 0);
  if (!value) return fail(value.error());
  if (is("BOUND")) contract->bound_ns = duration_of_ms(*value);
  if (is("DEADLINE")) contract->deadline_ns = duration_of_ms(*value);
  if (is("TOKEN")) contract->token = Index{static_cast<std::uint64_t>(*value)};
  return std::size_t{2};
}

void write_number(RespReply& reply, std::string_view name, std::int64_t value) {
  reply.bulk(name);
  reply.integer(value);
}
void write_text(RespReply& reply, std::string_view name, std::string_view value) {
  reply.bulk(name);
  reply.bulk(value);
}

constexpr std::size_t kReceiptFields = 7;
void write_receipt(const ReadDone& done, RespReply& reply) {
  write_number(reply, "version", static_cast<std::int64_t>(done.receipt.version.value));
  write_number(reply, "bound_us", micros(done.receipt.bound_ns));
  write_text(reply, "basis", basis_name(done.receipt.basis));
  write_text(reply, "source", source_name(done.receipt.source));
  write_number(reply, "fallback", done.receipt.fallback ? 1 : 0);
  write_number(reply, "writers_ms", millis(done.receipt.writers_ns));
  write_number(reply, "ttl_ms", millis(done.ttl_left_ns));
}

}  // namespace

Nanos duration_of_ms(std::int64_t ms) { return std::clamp<std::int64_t>(ms, 0, kMsMax) * kMillisecond; }

Result<TlGetArguments> parse_tl_get(std::span<const std::string_view> args) {
  if (args.size() < 2) return refuse("wrong number of arguments for 'tl.get' command");
  TlGetArguments get;
  get.key = args[1];
  for (std::size_t i = 2; i < args.size();) {
    if (equal_ignoring_case(args[i], "FIELDS")) {
      get.fields = args.subspan(i + 1);
      if (get.fields.empty()) return refuse("syntax error: FIELDS needs the names of fields");
      if (const std::string why = too_many_fields(args.subspan(i - 1), 1); !why.empty()) {
        return fail(Code::kInvalid, why);
      }
      break;
    }
    const auto used = read_option(args, i, &get.contract);
    if (!used) return fail(used.error());
    i += *used;
  }
  return get;
}

Result<TlMGetArguments> parse_tl_mget(std::span<const std::string_view> args) {
  TlMGetArguments get;
  std::size_t i = 1;
  while (i < args.size() && !equal_ignoring_case(args[i], "KEYS")) {
    const auto used = read_option(args, i, &get.contract);
    if (!used) return fail(used.error());
    i += *used;
  }
  if (i + 1 >= args.size()) return refuse("syntax error: KEYS and at least one key must follow the options");
  get.keys = args.subspan(i + 1);
  if (get.keys.size() > kTlMGetKeysMax) {
    return refuse(std::to_string(get.keys.size()) + " keys are too many for one TL.MGET, must be at most " +
                  std::to_string(kTlMGetKeysMax));
  }
  return get;
}

Result<HealthSample> parse_tl_health(std::span<const std::string_view> args) {
  constexpr std::int64_t kCountMax = 1'000'000'000;
  if (args.size() < 4) return refuse("wrong number of arguments for 'tl.health' command");
  HealthSample sample;
  sample.name = args[1];
  sample.version = args[2];
  if (equal_ignoring_case(args[3], "BAD"))
    sample.verdict = HealthSample::Verdict::kBad;
  else if (equal_ignoring_case(args[3], "SICK"))
    sample.verdict = HealthSample::Verdict::kSick;
  else if (!equal_ignoring_case(args[3], "OK"))
    return refuse("TL.HEALTH '" + std::string(args[3].substr(0, 32)) + "' must be OK, BAD or SICK");
  for (std::size_t i = 4; i < args.size(); i += 2) {
    if (equal_ignoring_case(args[i], "DRIFT")) {
      const auto value = i + 1 < args.size() ? parse_resp_float(args[i + 1]) : std::nullopt;
      if (!value || !(*value >= 0) || *value > 1'000) return refuse("DRIFT needs a number from 0 to 1000");
      sample.drift_ppm = static_cast<std::uint64_t>(*value * 1e6);
      continue;
    }
    const bool count = equal_ignoring_case(args[i], "COUNT");
    if (!count && !equal_ignoring_case(args[i], "LATENCY_US")) {
      return refuse("syntax error: unknown option '" + std::string(args[i].substr(0, 32)) +
                    "', must be COUNT frames, LATENCY_US microseconds or DRIFT value");
    }
    const auto value = number_after(args, i, count ? 1 : 0);
    if (!value) return fail(value.error());
    if (count && *value > kCountMax) return refuse("COUNT must be at most " + std::to_string(kCountMax));
    if (count)
      sample.count = static_cast<std::uint64_t>(*value);
    else
      sample.latency_us = static_cast<std::uint64_t>(*value);
  }
  return sample;
}

Result<TlSetArguments> parse_tl_set(std::span<const std::string_view> args) {
  if (args.size() < 3) return refuse("wrong number of arguments for 'tl.set' command");
  TlSetArguments set;
  set.key = args[1];
  set.value = args[2];
  for (std::size_t i = 3; i < args.size(); i += 2) {
    if (equal_ignoring_case(args[i], "PX")) {
      const auto value = number_after(args, i, 1);
      if (!value) return fail(value.error());
      set.ttl_ms = *value;
    } else if (equal_ignoring_case(args[i], "ACK")) {
      if (i + 1 >= args.size()) return refuse("syntax error: ACK needs OS, DISK or ORIGIN");
      const std::string_view level = args[i + 1];
      if (equal_ignoring_case(level, "OS"))
        set.level = AckLevel::kOs;
      else if (equal_ignoring_case(level, "DISK"))
        set.level = AckLevel::kDisk;
      else if (equal_ignoring_case(level, "ORIGIN") || equal_ignoring_case(level, "QUORUM"))
        set.level = AckLevel::kOrigin;
      else
        return refuse("ACK '" + std::string(level.substr(0, 32)) + "' must be OS, DISK or ORIGIN");
    } else {
      return refuse("syntax error: unknown option '" + std::string(args[i].substr(0, 32)) +
                    "', must be PX ms or ACK level");
    }
  }
  return set;
}

std::string error_reply(Code code, std::string_view message, Nanos bound) {
  std::string text;
  switch (code) {
    case Code::kStale: text = "STALE bound_us=" + std::to_string(micros(bound)); break;
    case Code::kBusy: text = "BUSY"; break;
    case Code::kUnavailable:
    case Code::kNotActive: text = "UNAVAILABLE"; break;
    case Code::kMaybeApplied: text = "MAYBEAPPLIED"; break;
    case Code::kDenied: text = "NOPERM"; break;
    case Code::kConflict: text = "CONFLICT"; break;
    default: text = "ERR"; break;
  }
  text += ' ';
  text += message.empty() ? code_name(code) : message;
  return text;
}

std::string_view ack_name(AckLevel level) {
  switch (level) {
    case AckLevel::kOs: return "os";
    case AckLevel::kDisk: return "disk";
    case AckLevel::kOrigin: return "origin";
  }
  return "os";
}

std::string_view consistency_name(Consistency consistency) {
  switch (consistency) {
    case Consistency::kStrong: return "strong";
    case Consistency::kBounded: return "bounded";
    case Consistency::kEventual: return "eventual";
  }
  return "eventual";
}

void write_tl_get(const ReadDone& done, RespReply& reply, std::span<const BytesView> fields) {
  if (done.code != Code::kOk && done.code != Code::kNotFound) {
    return reply.error(error_reply(done.code, done.message, done.receipt.bound_ns));
  }
  const ValueKind wanted = fields.empty() ? ValueKind::kString : ValueKind::kHash;
  if (done.value && kind_of(*done.value) != wanted) return reply.error(kWrongTypeError);
  std::string held;
  if (done.value && !fields.empty()) {
    RespReply of_fields(held, reply.protocol());
    write_hash_fields(of_fields, *done.value, fields);
    if (held.starts_with('-')) return reply.raw(held);  // a damaged hash, or an answer beyond the limit
  }
  reply.map(kReceiptFields + 2);
  reply.bulk("value");
  if (!held.empty())
    reply.raw(held);
  else if (done.value)
    reply.bulk(string_of(*done.value));
  else
    reply.null();
  write_receipt(done, reply);
  write_text(reply, "message", done.message);
}

void write_receipt_attribute(const ReadDone& done, RespReply& reply) {
  if (reply.attribute(kReceiptFields)) write_receipt(done, reply);
}

void write_tl_set(const WriteDoneOp& done, RespReply& reply) {
  if (done.code != Code::kOk) return reply.error(error_reply(done.code, done.message));
  reply.map(2);
  reply.bulk("version");
  reply.integer(static_cast<std::int64_t>(done.index.value));
  reply.bulk("ack");
  reply.bulk(ack_name(done.level));
}

}  // namespace tidelock
