// The answers of the hash commands, from the stored bytes of the hash (codec/hash_value.h); empty: there is no such
// key.
//
// Threads: pure. Cost: one pass over the hash and O(names log names); `write_hash_scan` as well, for a part of it.
// Limits:  kHashFieldsMax names in one command, of kHashBytesMax together; kHashAnswerBytesMax of values where a small
//          request could ask for the same field again and again.
// Errors:  as Redis 7.0 words them; the message of a Result is the whole error reply. A damaged hash answers "ERR ...".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "base/rng.h"
#include "wire/resp/command_table.h"
#include "wire/resp/reply.h"

namespace tidelock {

inline constexpr std::size_t kHashAnswerBytesMax = 16u << 20;
inline constexpr std::uint64_t kHashRepeatsMax = 100'000;  // of HRANDFIELD with a negative count: about 10 ms

// Why a command that names fields from args[2] on, each with `words_a_field` arguments, is refused; empty: it is not.
std::string too_many_fields(std::span<const std::string_view> args, std::size_t words_a_field);

void write_hash_all(RespReply& reply, RespCommand command, BytesView stored);  // HGETALL, HKEYS, HVALS
void write_hash_size(RespReply& reply, BytesView stored);                      // HLEN
// HGET, HEXISTS, HSTRLEN
void write_hash_field(RespReply& reply, RespCommand command, BytesView stored, BytesView name);
void write_hash_fields(RespReply& reply, BytesView stored, std::span<const BytesView> names);  // HMGET

struct HashRandomArguments {
  std::uint64_t count = 1;
  bool repeats = false;  // a field may come more than once
  bool alone = true;     // no count was given: the answer is one name
  bool with_values = false;
};
// HRANDFIELD key [count [WITHVALUES]]
Result<HashRandomArguments> parse_hash_random(std::span<const std::string_view> args);
void write_hash_random(RespReply& reply, BytesView stored, const HashRandomArguments& wanted, Rng rng);

struct HashScanArguments {
  std::uint64_t cursor = 0;
  std::size_t count = 10;
  bool all = true;  // no pattern
  std::string match;
  std::string refused;  // what is wrong with the options: said only when there is such a hash, as in Redis
};
// HSCAN key cursor [MATCH pattern] [COUNT n]
Result<HashScanArguments> parse_hash_scan(std::span<const std::string_view> args);
// A field that is there from the first call of a walk to its last is answered by one of them, whatever comes and goes
// in between. A small hash is answered whole, whatever the cursor.
void write_hash_scan(RespReply& reply, BytesView stored, const HashScanArguments& wanted);

}  // namespace tidelock
