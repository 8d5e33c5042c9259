#include "edge/hash_reply.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "codec/hash_value.h"
#include "wire/resp/glob.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

// As Redis lists whole what it keeps packed. Of larger hashes HSCAN answers a part, and never less than this share, so
// that a whole walk goes through the stored hash this many times at most.
constexpr std::size_t kScanWholeFields = 128, kScanWholeBytes = 64, kScanPartsMax = 64;

tl::unexpected<Error> refuse(std::string text) { return fail(Code::kInvalid, "ERR " + std::move(text)); }
void write_error(RespReply& reply, const Error& error) { reply.error("ERR " + error.message); }

void write_optional(RespReply& reply, const std::optional<BytesView>& value) {
  if (value)
    reply.bulk(*value);
  else
    reply.null();
}

// As strtoul reads it, in Redis: "", "+1" and "-1" are cursors.
std::optional<std::uint64_t> cursor_of(std::string_view text) {
  constexpr std::size_t kBytesMax = 64;
  if (text.size() > kBytesMax || (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0)) {
    return std::nullopt;
  }
  const std::string whole(text);
  char* end = nullptr;
  errno = 0;
  const std::uint64_t value = std::strtoull(whole.c_str(), &end, 10);
  if (*end != '\0' || errno == ERANGE) return std::nullopt;
  return value;
}

// The part of a walk in the order of the names' hashes, whose next place is the cursor. That order does not change with
// the fields around, so a field that is there from the first call to the last is answered, whatever comes and goes.
// Fields of one hash stay together; else no cursor could stand between them.
std::vector<const HashField*> scan_part(const std::vector<HashField>& fields, std::uint64_t* cursor,
                                        std::size_t count) {
  std::vector<std::uint64_t> places, ahead;  // 52 bits: exact in the numbers of every client
  places.reserve(fields.size());
  for (const HashField& field : fields) places.push_back(hash64(field.name) >> 12);
  std::copy_if(places.begin(), places.end(), std::back_inserter(ahead),
               [&](std::uint64_t place) { return place >= *cursor; });
  count = std::max(count, fields.size() / kScanPartsMax);
  std::uint64_t next = 0;  // nothing is left
  if (ahead.size() > count) {
    std::nth_element(ahead.begin(), ahead.begin() + static_cast<std::ptrdiff_t>(count), ahead.end());
    next = ahead[count];
    if (*std::min_element(ahead.begin(), ahead.end()) == next) {  // more of one hash than were asked for
      std::uint64_t beyond = 0;
      for (const std::uint64_t place : ahead) {
        if (place > next && (beyond == 0 || place < beyond)) beyond = place;
      }
      next = beyond;
    }
  }
  std::vector<const HashField*> part;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (places[i] >= *cursor && (next == 0 || places[i] < next)) part.push_back(&fields[i]);
  }
  *cursor = next;
  return part;
}

}  // namespace

std::string too_many_fields(std::span<const std::string_view> args, std::size_t words_a_field) {
  const std::size_t fields = (args.size() - 2) / words_a_field;
  if (fields > kHashFieldsMax) {
    return "ERR " + std::to_string(fields) + " fields in one command; it may name at most " +
           std::to_string(kHashFieldsMax);
  }
  std::size_t bytes = 0;
  for (std::size_t i = 2; i < args.size(); ++i) bytes += args[i].size();
  if (bytes > kHashBytesMax) {
    return "ERR " + std::to_string(bytes) + " bytes of fields in one command; a hash may have at most " +
           std::to_string(kHashBytesMax) + " bytes";
  }
  return {};
}

void write_hash_all(RespReply& reply, RespCommand command, BytesView stored) {
  std::vector<HashField> fields;
  if (!stored.empty()) {
    auto decoded = decode_hash(stored);
    if (!decoded) return write_error(reply, decoded.error());
    fields = *std::move(decoded);
  }
  if (command == RespCommand::kHGetAll)
    reply.map(fields.size());
  else
    reply.array(fields.size());
  for (const HashField& field : fields) {
    if (command != RespCommand::kHVals) reply.bulk(field.name);
    if (command != RespCommand::kHKeys) reply.bulk(field.value);
  }
}

void write_hash_size(RespReply& reply, BytesView stored) {
  if (stored.empty()) return reply.integer(0);
  const auto size = hash_size(stored);
  if (!size) return write_error(reply, size.error());
  reply.integer(static_cast<std::int64_t>(*size));
}

void write_hash_field(RespReply& reply, RespCommand command, BytesView stored, BytesView name) {
  std::optional<BytesView> value;
  if (!stored.empty()) {
    const auto found = hash_field(stored, name);
    if (!found) return write_error(reply, found.error());
    value = *found;
  }
  if (command == RespCommand::kHGet) return write_optional(reply, value);
  if (command == RespCommand::kHExists) return reply.integer(value ? 1 : 0);
  reply.integer(value ? static_cast<std::int64_t>(value->size()) : 0);
}

void write_hash_fields(RespReply& reply, BytesView stored, std::span<const BytesView> names) {
  std::vector<std::optional<BytesView>> values(names.size());
  if (!stored.empty()) {
    auto found = hash_fields(stored, names);
    if (!found) return write_error(reply, found.error());
    values = *std::move(found);
  }
  std::size_t bytes = 0;
  for (const auto& value : values) bytes += value ? value->size() : 0;
  if (bytes > kHashAnswerBytesMax) {
    return reply.error("ERR the answer would have " + std::to_string(bytes) + " bytes of values; it may have at most " +
                       std::to_string(kHashAnswerBytesMax));
  }
  reply.array(values.size());
  for (const auto& value : values) write_optional(reply, value);
}

Result<HashRandomArguments> parse_hash_random(std::span<const std::string_view> args) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  HashRandomArguments wanted;
  if (args.size() == 2) return wanted;
  const auto count = parse_resp_integer(args[2]);
  if (!count) return refuse("value is not an integer or out of range");
  if (*count < -kMax) {
    return refuse("value is out of range, value must between " + std::to_string(-kMax) + " and " +
                  std::to_string(kMax));
  }
  if (args.size() > 4 || (args.size() == 4 && !equal_ignoring_case(args[3], "WITHVALUES"))) {
    return refuse("syntax error");
  }
  wanted.with_values = args.size() == 4;
  if (wanted.with_values && (*count < -(kMax / 2) || *count > kMax / 2)) {
    return refuse("value is out of range");
  }
  wanted.alone = false;
  wanted.repeats = *count < 0;
  wanted.count = static_cast<std::uint64_t>(wanted.repeats ? -*count : *count);
  return wanted;
}

void write_hash_random(RespReply& reply, BytesView stored, const HashRandomArguments& wanted, Rng rng) {
  if (stored.empty() && wanted.alone) return reply.null();
  if (stored.empty() || wanted.count == 0) return reply.array(0);
  const auto fields = decode_hash(stored);
  if (!fields) return write_error(reply, fields.error());
  if (wanted.alone) return reply.bulk((*fields)[rng.below(fields->size())].name);

  std::vector<const HashField*> picked;
  if (wanted.repeats) {
    if (wanted.count > kHashRepeatsMax) {
      return reply.error("ERR value is out of range, at most " + std::to_string(kHashRepeatsMax) +
                         " fields that may repeat are answered");
    }
    std::size_t bytes = 0;
    for (std::uint64_t i = 0; i < wanted.count; ++i) {
      const HashField& field = (*fields)[rng.below(fields->size())];
      bytes += field.name.size() + (wanted.with_values ? field.value.size() : 0);
      picked.push_back(&field);
    }
    if (bytes > kHashAnswerBytesMax) {
      return reply.error("ERR the answer would have " + std::to_string(bytes) +
                         " bytes of fields; it may have at most " + std::to_string(kHashAnswerBytesMax));
    }
  } else {
    // Every choice of so many is equally likely: each field is taken with the chance that is left for it.
    std::uint64_t missing = std::min<std::uint64_t>(wanted.count, fields->size());
    for (std::size_t i = 0; missing > 0; ++i) {
      if (rng.below(fields->size() - i) >= missing) continue;
      picked.push_back(&(*fields)[i]);
      --missing;
    }
  }
  const bool pairs = wanted.with_values && reply.protocol() >= 3;
  reply.array(picked.size() * (wanted.with_values && !pairs ? 2 : 1));
  for (const HashField* field : picked) {
    if (pairs) reply.array(2);
    reply.bulk(field->name);
    if (wanted.with_values) reply.bulk(field->value);
  }
}

Result<HashScanArguments> parse_hash_scan(std::span<const std::string_view> args) {
  const auto cursor = cursor_of(args[2]);
  if (!cursor) return refuse("invalid cursor");
  HashScanArguments wanted;
  wanted.cursor = *cursor;
  for (std::size_t i = 3; i < args.size(); i += 2) {
    const bool whole = i + 1 < args.size();
    if (whole && equal_ignoring_case(args[i], "COUNT")) {
      const auto count = parse_resp_integer(args[i + 1]);
      if (!count)
        wanted.refused = "ERR value is not an integer or out of range";
      else if (*count < 1)
        wanted.refused = "ERR syntax error";
      else
        wanted.count = static_cast<std::size_t>(*count);
    } else if (whole && equal_ignoring_case(args[i], "MATCH")) {
      if (args[i + 1].size() > kGlobPatternBytesMax)
        wanted.refused = "ERR the pattern is too long";
      else
        wanted.match = args[i + 1];
      wanted.all = args[i + 1] == "*";
    } else {
      wanted.refused = "ERR syntax error";
    }
    if (!wanted.refused.empty()) break;
  }
  return wanted;
}

void write_hash_scan(RespReply& reply, BytesView stored, const HashScanArguments& wanted) {
  std::vector<HashField> fields;
  if (!stored.empty()) {
    if (!wanted.refused.empty()) return reply.error(wanted.refused);
    auto decoded = decode_hash(stored);
    if (!decoded) return write_error(reply, decoded.error());
    fields = *std::move(decoded);
  }
  const bool whole = fields.size() <= kScanWholeFields && std::ranges::all_of(fields, [](const HashField& field) {
                       return field.name.size() <= kScanWholeBytes && field.value.size() <= kScanWholeBytes;
                     });
  std::uint64_t cursor = whole ? 0 : wanted.cursor;
  std::vector<const HashField*> part = scan_part(fields, &cursor, whole ? fields.size() : wanted.count);
  std::uint64_t work = kGlobWorkDefault;
  std::erase_if(part,
                [&](const HashField* field) { return !wanted.all && !glob_match(wanted.match, field->name, &work); });
  if (work == 0) return reply.error("ERR the pattern takes too long; make it simpler");
  reply.array(2);
  reply.bulk(std::to_string(cursor));
  reply.array(part.size() * 2);
  for (const HashField* field : part) {
    reply.bulk(field->name);
    reply.bulk(field->value);
  }
}

}  // namespace tidelock
