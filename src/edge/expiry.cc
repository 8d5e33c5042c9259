// Lifetimes: TTL, EXPIRE, EXPIREAT, EXPIRETIME and their like, PERSIST. A lifetime counts on the elapsed clock from
// where it was accepted; an absolute time is converted once (DESIGN 5), so it does not move when the wall clock does.

#include <utility>

#include "base/wall_clock.h"
#include "edge/commands.h"
#include "edge/tl_reply.h"

namespace tidelock {
namespace {

constexpr std::int64_t kNotThere = -2, kNoExpiry = -1;  // what TTL and EXPIRETIME answer

// When a value that has `left` to live expires, in milliseconds of the Unix epoch, as the wall clock stands.
std::int64_t expires_at_ms(Nanos left, std::int64_t wall_ns) { return saturating_add(left, wall_ns) / kMillisecond; }

}  // namespace

Nanos lifetime_until(std::int64_t at_ms, std::int64_t wall_ns) {
  const std::int64_t wall_ms = wall_ns / kMillisecond;
  if (at_ms <= wall_ms) return 0;
  return duration_of_ms(at_ms - wall_ms) - wall_ns % kMillisecond;
}

void EdgeCommands::ttl(const Asked& asked, RespCommand command, std::string_view key) {
  get(asked, key, [command](RespReply& reply, const ReadDone& done) {
    if (!done.value) return reply.integer(kNotThere);
    if (done.ttl_left_ns == kForever) return reply.integer(kNoExpiry);
    const bool absolute = command == RespCommand::kExpireTime || command == RespCommand::kPExpireTime;
    const bool seconds = command == RespCommand::kTtl || command == RespCommand::kExpireTime;
    const std::int64_t ms = absolute ? expires_at_ms(done.ttl_left_ns, wall_ns_now())
                                     : (done.ttl_left_ns + kMillisecond - 1) / kMillisecond;
    reply.integer(seconds ? (ms + 500) / 1000 : ms);
  });
}

void EdgeCommands::expire(const Asked& asked, const Arguments& args) {
  const auto parsed = parse_expire(args);
  if (!parsed) return answer_error(asked, parsed.error().message);
  ExpireArguments wanted = *parsed;
  wanted.key = {};  // a view into the request
  const std::string key(parsed->key);
  modify(
      asked, key,
      [wanted, key](const Current& current) -> std::optional<KeyWrite> {
        if (!current.present) return std::nullopt;
        const bool has_ttl = current.ttl_left_ns != kForever;
        const std::int64_t wall_ns = wall_ns_now();
        const std::int64_t now_at_ms = has_ttl ? expires_at_ms(current.ttl_left_ns, wall_ns) : 0;
        const std::int64_t new_at_ms = wanted.expires_at_ms.value_or(wall_ns / kMillisecond + wanted.ttl_ms);
        if (wanted.only_without_ttl && has_ttl) return std::nullopt;
        if (wanted.only_with_ttl && !has_ttl) return std::nullopt;
        if (wanted.only_greater && (!has_ttl || new_at_ms <= now_at_ms))
          return std::nullopt;  // no expiry counts as infinite
        if (wanted.only_less && has_ttl && new_at_ms >= now_at_ms) return std::nullopt;
        const Nanos ttl =
            wanted.expires_at_ms ? lifetime_until(*wanted.expires_at_ms, wall_ns) : duration_of_ms(wanted.ttl_ms);
        KeyWrite write;
        write.key = key;
        if (ttl > 0) {  // else it goes at once
          write.value = current.value;
          write.ttl_ns = ttl;
        }
        return write;
      },
      [](RespReply& reply, const Current&, const WriteDoneOp* done) { reply.integer(done != nullptr ? 1 : 0); });
}

// Where the namespace has a default lifetime, the key gets that one: a policy that says how long a value may live is
// not undone by a client.
void EdgeCommands::persist(const Asked& asked, std::string_view name) {
  const std::string key(name);
  modify(
      asked, key,
      [key](const Current& current) -> std::optional<KeyWrite> {
        if (!current.present || current.ttl_left_ns == kForever) return std::nullopt;
        KeyWrite write;
        write.key = key;
        write.value = current.value;
        return write;
      },
      [](RespReply& reply, const Current&, const WriteDoneOp* done) { reply.integer(done != nullptr ? 1 : 0); });
}

}  // namespace tidelock
