// The TL.* commands as clients see them. The client library parses exactly this.
//
//   TL.GET key [STRONG | EVENTUAL | BOUND ms] [DEADLINE ms] [TOKEN index] [FIELDS field [field ...]]
//     a map (RESP3) or flat array (RESP2) of:
//       value      bulk; null when the key is absent (absence has a receipt too)
//       version    integer: ledger index that wrote the value; of a local value this edge's own count, 0 while
//       unsequenced bound_us   integer: U rounded up to whole microseconds; -1 = unbounded basis      "none" | "lease"
//       | "proof" | "eventual" | "local" source     "edge" | "hub" fallback   1: served although the contract could not
//       be met; bound_us is true all the same writers_ms integer: what live writers of a write-behind namespace may
//       still hold back; -1 = one is away ttl_ms     integer; -1 = none message    bulk, empty when there is nothing to
//       say
//     FIELDS: the key is a hash, and value an array of what those fields hold, null for one that is not there
//     errors: "-STALE bound_us=N text", "-BUSY text", "-UNAVAILABLE text", "-ERR text", "-WRONGTYPE text"
//   TL.MGET [the options of TL.GET but FIELDS] KEYS key [key ...]
//     an array: for each key what TL.GET would answer, an error included; at most kTlMGetKeysMax keys
//   TL.SET key value [PX ms] [ACK OS | DISK | ORIGIN]
//     a map of: version (integer; 0 while unsequenced), ack ("os" | "disk" | "origin": the level that was reached)
//     errors: as above, and "-MAYBEAPPLIED text", "-NOPERM text", "-CONFLICT text"
//
// Threads: pure.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "edge/health_table.h"
#include "protocol/edge_core.h"
#include "wire/resp/reply.h"

namespace tidelock {

struct TlGetArguments {
  std::string_view key;
  Contract contract;
  std::span<const std::string_view> fields;  // empty: the string
};
struct TlMGetArguments {
  std::span<const std::string_view> keys;  // at least one
  Contract contract;
};
struct TlSetArguments {
  std::string_view key, value;
  std::int64_t ttl_ms = 0;  // 0: the namespace's default
  std::optional<AckLevel> level;
};
Result<HealthSample> parse_tl_health(std::span<const std::string_view> args);
// `args` with the name first. The message of an error is the whole error reply.
Result<TlGetArguments> parse_tl_get(std::span<const std::string_view> args);
Result<TlMGetArguments> parse_tl_mget(std::span<const std::string_view> args);
Result<TlSetArguments> parse_tl_set(std::span<const std::string_view> args);

inline constexpr std::size_t kTlMGetKeysMax = 4096;
inline constexpr std::string_view kWrongTypeError = "WRONGTYPE Operation against a key holding the wrong kind of value";

// "STALE bound_us=12 text": what an error is called on the wire. `bound` matters for kStale only.
std::string error_reply(Code code, std::string_view message, Nanos bound = kForever);
// Answers errors too. `fields` as in TlGetArguments.
void write_tl_get(const ReadDone& done, RespReply& reply, std::span<const BytesView> fields = {});
// TL.RECEIPT: the fields of TL.GET but value and message, as the attribute of the reply that follows. RESP2 has none.
void write_receipt_attribute(const ReadDone& done, RespReply& reply);
void write_tl_set(const WriteDoneOp& done, RespReply& reply);
std::string_view ack_name(AckLevel level);
std::string_view consistency_name(Consistency consistency);

// Milliseconds from outside as a duration, capped far from overflow.
Nanos duration_of_ms(std::int64_t ms);

}  // namespace tidelock
