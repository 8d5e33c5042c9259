// Hashes: one versioned value per key (codec/hash_value.h), read as any value is and changed as any read-modify-write
// is. A hash keeps its lifetime when its fields change, and is gone with its last field.
//
// The bytes of a request end with handle(), answers may come later: whatever a callback needs is copied.

#include <cmath>
#include <memory>
#include <span>
#include <utility>

#include "base/rng.h"
#include "codec/hash_value.h"
#include "codec/typed_value.h"
#include "edge/commands.h"
#include "edge/hash_reply.h"
#include "edge/tl_reply.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

// The arguments from `from` on.
using Words = std::shared_ptr<const std::vector<std::string>>;
Words words_of(const std::vector<std::string_view>& args, std::size_t from) {
  return std::make_shared<const std::vector<std::string>>(args.begin() + static_cast<std::ptrdiff_t>(from), args.end());
}
std::vector<BytesView> views_of(const Words& words) { return {words->begin(), words->end()}; }

Result<std::optional<BytesView>> field_of(BytesView stored, BytesView name) {
  if (stored.empty()) return std::optional<BytesView>();
  return hash_field(stored, name);
}

Result<std::optional<Bytes>> with_field(BytesView stored, BytesView name, BytesView value) {
  const HashField field{name, value};
  auto edit = hash_with(stored, std::span(&field, 1));
  if (!edit) return fail(edit.error());
  return std::optional<Bytes>(std::move(edit->stored));
}

}  // namespace

// What an edit has to say, besides what it stores.
struct EdgeCommands::HashOutcome {
  std::string error;  // a whole error reply, instead of an answer
  std::int64_t number = 0;
  std::string text;
};

void EdgeCommands::read_hash(const Asked& asked, std::string_view key,
                             std::function<void(RespReply&, BytesView stored)> write) {
  get(asked, key, [write = std::move(write)](RespReply& reply, const ReadDone& done) {
    if (!done.value) return write(reply, {});
    if (kind_of(*done.value) != ValueKind::kHash) return reply.error(kWrongTypeError);
    write(reply, *done.value);
  });
}

void EdgeCommands::edit_hash(const Asked& asked, std::string_view name, HashEditor edit,
                             std::function<void(RespReply&, const HashOutcome&)> finish) {
  const std::string key(name);
  auto outcome = std::make_shared<HashOutcome>();
  modify(
      asked, key,
      [key, outcome, edit = std::move(edit)](const Current& current) -> std::optional<KeyWrite> {
        *outcome = {};  // this may be the next try, after another writer was faster
        if (current.present && kind_of(current.value) != ValueKind::kHash) {
          outcome->error = kWrongTypeError;
          return std::nullopt;
        }
        auto next = edit(current.present ? BytesView(current.value) : BytesView(), *outcome);
        if (!next) outcome->error = error_reply(next.error().code, next.error().message);
        if (!next || !*next) return std::nullopt;
        KeyWrite write;
        write.key = key;
        if (!(*next)->empty()) {
          write.value = *std::move(*next);
          write.keep_ttl = current.present;
        }
        return write;
      },
      [outcome, finish = std::move(finish)](RespReply& reply, const Current&, const WriteDoneOp*) {
        if (!outcome->error.empty()) return reply.error(outcome->error);
        finish(reply, *outcome);
      });
}

void EdgeCommands::hash_command(const Asked& asked, RespCommand command, const Arguments& args) {
  const bool many = command == RespCommand::kHMGet || command == RespCommand::kHDel;
  if (const std::string refused = many ? too_many_fields(args, 1) : std::string(); !refused.empty()) {
    return answer_error(asked, refused);
  }
  switch (command) {
    case RespCommand::kHSet:
    case RespCommand::kHSetNx:
    case RespCommand::kHMSet: return hash_set(asked, command, args);
    case RespCommand::kHIncrBy: return hash_increment(asked, args);
    case RespCommand::kHIncrByFloat: return hash_increment_float(asked, args);
    case RespCommand::kHRandField: return hash_random(asked, args);
    case RespCommand::kHScan: return hash_scan(asked, args);
    case RespCommand::kHDel:
      return edit_hash(
          asked, args[1],
          [names = words_of(args, 2)](BytesView stored, HashOutcome& outcome) -> Result<std::optional<Bytes>> {
            if (stored.empty()) return std::optional<Bytes>();
            auto edit = hash_without(stored, views_of(names));
            if (!edit) return fail(edit.error());
            outcome.number = static_cast<std::int64_t>(edit->changed);
            return edit->changed == 0 ? std::optional<Bytes>() : std::move(edit->stored);
          },
          [](RespReply& reply, const HashOutcome& outcome) { reply.integer(outcome.number); });
    case RespCommand::kHGetAll:
    case RespCommand::kHKeys:
    case RespCommand::kHVals:
      return read_hash(asked, args[1],
                       [command](RespReply& reply, BytesView stored) { write_hash_all(reply, command, stored); });
    case RespCommand::kHLen: return read_hash(asked, args[1], write_hash_size);
    case RespCommand::kHMGet:
      return read_hash(asked, args[1], [names = words_of(args, 2)](RespReply& reply, BytesView stored) {
        write_hash_fields(reply, stored, views_of(names));
      });
    default:  // HGET, HEXISTS, HSTRLEN
      return read_hash(asked, args[1], [command, name = std::string(args[2])](RespReply& reply, BytesView stored) {
        write_hash_field(reply, command, stored, name);
      });
  }
}

void EdgeCommands::hash_set(const Asked& asked, RespCommand command, const Arguments& args) {
  if (args.size() % 2 != 0) return answer_error(asked, wrong_arity_error(spec_of(command).name));
  if (const std::string refused = too_many_fields(args, 2); !refused.empty()) return answer_error(asked, refused);
  edit_hash(
      asked, args[1],
      [words = words_of(args, 2), only_new = command == RespCommand::kHSetNx](
          BytesView stored, HashOutcome& outcome) -> Result<std::optional<Bytes>> {
        if (only_new) {
          const auto known = field_of(stored, (*words)[0]);
          if (!known) return fail(known.error());
          if (*known) return std::optional<Bytes>();
        }
        std::vector<HashField> fields;
        for (std::size_t i = 0; i + 1 < words->size(); i += 2) fields.push_back({(*words)[i], (*words)[i + 1]});
        auto edit = hash_with(stored, fields);
        if (!edit) return fail(edit.error());
        outcome.number = static_cast<std::int64_t>(edit->changed);
        return std::optional<Bytes>(std::move(edit->stored));
      },
      [ok = command == RespCommand::kHMSet](RespReply& reply, const HashOutcome& outcome) {
        if (ok)
          reply.ok();
        else
          reply.integer(outcome.number);
      });
}

void EdgeCommands::hash_increment(const Asked& asked, const Arguments& args) {
  const auto by = parse_resp_integer(args[3]);
  if (!by) return answer_error(asked, "ERR value is not an integer or out of range");
  edit_hash(
      asked, args[1],
      [by = *by, name = std::string(args[2])](BytesView stored, HashOutcome& outcome) -> Result<std::optional<Bytes>> {
        const auto held = field_of(stored, name);
        if (!held) return fail(held.error());
        const auto old = *held ? parse_resp_integer(**held) : 0;
        if (!old) return fail(Code::kInvalid, "hash value is not an integer");
        if (__builtin_add_overflow(*old, by, &outcome.number)) {
          return fail(Code::kInvalid, "increment or decrement would overflow");
        }
        return with_field(stored, name, std::to_string(outcome.number));
      },
      [](RespReply& reply, const HashOutcome& outcome) { reply.integer(outcome.number); });
}

void EdgeCommands::hash_increment_float(const Asked& asked, const Arguments& args) {
  const auto by = parse_resp_float(args[3]);
  if (!by) return answer_error(asked, "ERR value is not a valid float");
  if (!std::isfinite(*by)) return answer_error(asked, "ERR value is NaN or Infinity");
  edit_hash(
      asked, args[1],
      [by = *by, name = std::string(args[2])](BytesView stored, HashOutcome& outcome) -> Result<std::optional<Bytes>> {
        const auto held = field_of(stored, name);
        if (!held) return fail(held.error());
        const auto old = *held ? parse_resp_float(**held) : 0.0L;
        if (!old) return fail(Code::kInvalid, "hash value is not a float");
        const long double sum = *old + by;
        if (!std::isfinite(sum)) return fail(Code::kInvalid, "increment would produce NaN or Infinity");
        outcome.text = resp_float_text(sum);
        return with_field(stored, name, outcome.text);
      },
      [](RespReply& reply, const HashOutcome& outcome) { reply.bulk(outcome.text); });
}

void EdgeCommands::hash_random(const Asked& asked, const Arguments& args) {
  const auto wanted = parse_hash_random(args);
  if (!wanted) return answer_error(asked, wanted.error().message);
  // Fair is enough, and the time of the question is that: nothing secret hangs on it.
  const Rng rng(static_cast<std::uint64_t>(core_.clock().now()));
  read_hash(asked, args[1], [wanted = *wanted, rng](RespReply& reply, BytesView stored) {
    write_hash_random(reply, stored, wanted, rng);
  });
}

void EdgeCommands::hash_scan(const Asked& asked, const Arguments& args) {
  const auto wanted = parse_hash_scan(args);
  if (!wanted) return answer_error(asked, wanted.error().message);
  read_hash(asked, args[1],
            [wanted = *wanted](RespReply& reply, BytesView stored) { write_hash_scan(reply, stored, wanted); });
}

}  // namespace tidelock
