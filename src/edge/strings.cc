// String commands. What is stored and what a client sees differ for the rare string that looks like something else:
// both directions go through codec/typed_value.h.

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <unordered_map>
#include <utility>

#include "base/wall_clock.h"
#include "codec/typed_value.h"
#include "edge/commands.h"
#include "edge/gather.h"
#include "edge/tl_reply.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

constexpr std::size_t kFoundKept = 4'096;  // of what an MGET finds: the room of a longer one is given back
constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";
constexpr std::string_view kNotAFloat = "ERR value is not a valid float";
// The words of Redis; here a value ends at kValueBytesMax.
constexpr std::string_view kTooLong = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

void bulk_or_null(RespReply& reply, bool present, BytesView text) {
  if (present)
    reply.bulk(text);
  else
    reply.null();
}

// A changed string keeps its lifetime; a new one gets the namespace's default.
KeyWrite changed_to(BytesView text, bool was_present) {
  KeyWrite write;
  write.value = stored_string(text);
  write.keep_ttl = was_present;
  return write;
}

void answer_set(RespReply& reply, const WriteDoneOp& done, bool conditional, bool answer_number) {
  const bool refused = conditional && done.code == Code::kConflict;
  if (done.code != Code::kOk && !refused) return reply.error(error_reply(done.code, done.message));
  if (answer_number) return reply.integer(refused ? 0 : 1);
  if (refused)
    reply.null();
  else
    reply.ok();
}

}  // namespace

void EdgeCommands::get_string(const Asked& asked, std::string_view key, ReadString write) {
  get(asked, key, [write = std::move(write)](RespReply& reply, const ReadDone& done) {
    if (!done.value) return write(reply, std::nullopt, done);
    if (kind_of(*done.value) != ValueKind::kString) return reply.error(kWrongTypeError);
    write(reply, string_of(*done.value), done);
  });
}

void EdgeCommands::change_string(const Asked& asked, std::string_view name, ChangeString change, FinishString finish) {
  const std::string key(name);
  const auto refused = std::make_shared<std::string>();
  modify(
      asked, key,
      [key, refused, change = std::move(change)](const Current& current) -> std::optional<KeyWrite> {
        if (current.present && kind_of(current.value) != ValueKind::kString) {
          *refused = kWrongTypeError;
          return std::nullopt;
        }
        StringChange what = change(current, string_of(current.value));
        *refused = std::move(what.refused);
        if (!refused->empty() || !what.write) return std::nullopt;
        what.write->key = key;
        return std::move(what.write);
      },
      [refused, finish = std::move(finish)](RespReply& reply, const Current& current, const WriteDoneOp*) {
        if (!refused->empty()) return reply.error(*refused);
        finish(reply, current, string_of(current.value));
      });
}

// ---- reads ----------------------------------------------------------------------------------------------------------

void EdgeCommands::get_value(const Asked& asked, std::string_view key, bool with_receipt) {
  get(asked, key, [with_receipt](RespReply& reply, const ReadDone& done) {  // the hot path: no function in a function
    if (done.value && kind_of(*done.value) != ValueKind::kString) return reply.error(kWrongTypeError);
    if (with_receipt) write_receipt_attribute(done, reply);
    bulk_or_null(reply, done.value.has_value(), done.value ? string_of(*done.value) : BytesView{});
  });
}

bool EdgeCommands::get_at_once(ConnectionContext& connection, std::string_view key, RespReply& reply) {
  if ((connection.handler_word & kReceiptsWanted) != 0) return false;
  const auto entry = core_.hit(key);
  if (!entry) return false;
  if (entry->value && kind_of(*entry->value) != ValueKind::kString) {
    reply.error(kWrongTypeError);
  } else if (entry->value) {
    reply.bulk_reference(string_of(*entry->value));
  } else {
    reply.null();
  }
  return true;
}

// Of keys that memory has, all of them: as of one instant, and no value is copied twice.
bool EdgeCommands::mget_at_once(ConnectionContext&, const Arguments& args, RespReply& reply) {
  core_.settle_first();  // memory does not know yet what was written together
  found_.clear();
  std::size_t bytes = 0;
  for (std::size_t i = 1; i < args.size(); ++i) {
    const auto held = core_.core().memory().peek(args[i]);
    if (!held) return false;
    bytes += held->value ? held->value->size() : 0;
  }
  if (bytes > kAnswerBytesMax) return false;
  core_.expect({args.data() + 1, args.size() - 1});
  for (std::size_t i = 1; i < args.size(); ++i) {
    const auto entry = core_.hit(args[i]);
    if (!entry) return false;
    const bool text = entry->value && kind_of(*entry->value) == ValueKind::kString;
    found_.push_back(text ? std::optional(string_of(*entry->value)) : std::nullopt);
  }
  reply.array(found_.size());
  for (const auto& text : found_) text ? reply.bulk_reference(*text) : reply.null();
  if (found_.capacity() > kFoundKept) found_ = {};
  return true;
}

void EdgeCommands::get_range(const Asked& asked, const Arguments& args) {
  const auto from = parse_resp_integer(args[2]), to = parse_resp_integer(args[3]);
  if (!from || !to) return answer_error(asked, std::string(kNotAnInteger));
  get_string(asked, args[1],
             [first = *from, last = *to](RespReply& reply, std::optional<BytesView> text, const ReadDone&) {
               const BytesView whole = text.value_or(BytesView{});
               const auto size = static_cast<std::int64_t>(whole.size());
               if (first < 0 && last < 0 && first > last) return reply.bulk({});
               // Negative: from the end.
               const std::int64_t begin = std::max<std::int64_t>(first < 0 ? size + first : first, 0);
               const std::int64_t end = std::min(std::max<std::int64_t>(last < 0 ? size + last : last, 0), size - 1);
               if (begin > end) return reply.bulk({});
               reply.bulk(whole.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin + 1)));
             });
}

void EdgeCommands::mget(const Asked& asked, const Arguments& args) {
  auto all = std::make_shared<Gather>();
  all->left = args.size() - 1;
  all->values.resize(all->left);
  read_each(asked, {args.data() + 1, args.size() - 1}, {}, [this, asked, all](std::size_t i, ReadDone done) {
    if (done.code != Code::kOk && done.code != Code::kNotFound && all->error.empty()) {
      all->error = error_reply(done.code, done.message, done.receipt.bound_ns);
    }
    if (all->has_room(done)) all->values[i] = std::move(done.value);
    if (--all->left > 0) return;
    if (!all->error.empty()) return answer_error(asked, all->error);
    answer(asked, [&](RespReply& reply) {
      reply.array(all->values.size());
      for (const auto& value : all->values) {  // as Redis: what is no string is as if it were not there
        const bool text = value && kind_of(*value) == ValueKind::kString;
        bulk_or_null(reply, text, text ? string_of(*value) : BytesView{});
      }
    });
  });
}

// ---- writes ---------------------------------------------------------------------------------------------------------

KeyWrite EdgeCommands::write_of(const SetArguments& args) {
  KeyWrite write;
  write.key = core_.key_room();
  write.key = args.key;
  write.value = core_.value_room();
  args.value.starts_with(kTypedValueMark) ? * write.value = stored_string(args.value) : write.value->assign(args.value);
  write.keep_ttl = args.keep_ttl;
  if (args.ttl_ms) write.ttl_ns = duration_of_ms(*args.ttl_ms);
  if (args.expires_at_ms) {  // DESIGN 5: an absolute time is converted once
    write.ttl_ns = lifetime_until(*args.expires_at_ms, wall_ns_now());
    if (write.ttl_ns == 0) write.value.reset();  // as Redis: gone at once
  }
  if (args.get) return write;  // the conditions are set_and_get's
  write.condition = args.only_if_absent    ? Condition::kAbsent
                    : args.only_if_present ? Condition::kPresent
                                           : Condition::kNone;
  return write;
}

bool EdgeCommands::set_at_once(const SetArguments& args, bool answer_number, RespReply& reply) {
  if (args.get || through(args.key) || behind(args.key)) return false;
  const auto done = core_.write_together(write_of(args));
  if (!done) return false;
  answer_set(reply, *done, args.only_if_absent || args.only_if_present, answer_number);
  return true;
}

void EdgeCommands::set(const Asked& asked, const SetArguments& args, bool answer_number) {
  KeyWrite write = write_of(args);
  if (args.get) return set_and_get(asked, write, args.only_if_absent, args.only_if_present);
  const bool conditional = args.only_if_absent || args.only_if_present;
  const auto go = [this, asked, write, conditional, answer_number] {
    write_one(asked, write, [this, asked, conditional, answer_number](const WriteDoneOp& done) {
      answer(asked, [&](RespReply& reply) { answer_set(reply, done, conditional, answer_number); });
    });
  };
  if (!asked.together && conditional && behind(write.key))
    with_local_copy(write.key, go);
  else
    go();
}

void EdgeCommands::set_and_get(const Asked& asked, const KeyWrite& write, bool only_if_absent, bool only_if_present) {
  change_string(
      asked, write.key,
      [write, only_if_absent, only_if_present](const Current& current, BytesView) -> StringChange {
        if ((only_if_absent && current.present) || (only_if_present && !current.present)) return {};
        return {{}, write};
      },
      [](RespReply& reply, const Current& current, BytesView text) { bulk_or_null(reply, current.present, text); });
}

void EdgeCommands::get_and_set(const Asked& asked, const Arguments& args) {
  KeyWrite write;
  write.key = std::string(args[1]);
  write.value = stored_string(args[2]);
  set_and_get(asked, write, false, false);
}

void EdgeCommands::get_and_delete(const Asked& asked, std::string_view key) {
  change_string(
      asked, key,
      [](const Current& current, BytesView) -> StringChange {
        if (!current.present) return {};
        return {{}, KeyWrite{}};
      },
      [](RespReply& reply, const Current& current, BytesView text) { bulk_or_null(reply, current.present, text); });
}

void EdgeCommands::get_and_change_expiry(const Asked& asked, const Arguments& args) {
  const auto parsed = parse_getex(args);
  if (!parsed) return answer_error(asked, parsed.error().message);
  if (!parsed->changes()) return get_value(asked, args[1], false);
  GetExArguments wanted = *parsed;
  wanted.key = {};  // a view into the request
  change_string(
      asked, args[1],
      [wanted](const Current& current, BytesView) -> StringChange {
        if (!current.present) return {};
        if (!wanted.bad_time.empty()) return {wanted.bad_time, {}};
        if (wanted.persist && current.ttl_left_ns == kForever) return {};
        KeyWrite write;
        if (wanted.ttl_ms) write.ttl_ns = duration_of_ms(*wanted.ttl_ms);
        if (wanted.expires_at_ms) write.ttl_ns = lifetime_until(*wanted.expires_at_ms, wall_ns_now());
        if (wanted.persist || write.ttl_ns > 0) write.value = current.value;  // else it goes at once
        return {{}, std::move(write)};
      },
      [](RespReply& reply, const Current& current, BytesView text) { bulk_or_null(reply, current.present, text); });
}

void EdgeCommands::append(const Asked& asked, const Arguments& args) {
  const std::string more(args[2]);
  change_string(
      asked, args[1],
      [more](const Current& current, BytesView text) -> StringChange {
        if (text.size() + more.size() > kValueBytesMax) return {std::string(kTooLong), {}};
        std::string whole(text);
        whole += more;
        return {{}, changed_to(whole, current.present)};
      },
      [size = more.size()](RespReply& reply, const Current&, BytesView text) {
        reply.integer(static_cast<std::int64_t>(text.size() + size));
      });
}

void EdgeCommands::set_range(const Asked& asked, const Arguments& args) {
  const auto parsed = parse_resp_integer(args[2]);
  if (!parsed) return answer_error(asked, std::string(kNotAnInteger));
  if (*parsed < 0) return answer_error(asked, "ERR offset is out of range");
  const auto offset = static_cast<std::size_t>(*parsed);
  const std::string piece(args[3]);
  change_string(
      asked, args[1],
      [offset, piece](const Current& current, BytesView text) -> StringChange {
        if (piece.empty()) return {};
        // Looked at before anything is allocated for an offset that was merely asked for.
        if (offset > kValueBytesMax || offset + piece.size() > kValueBytesMax) return {std::string(kTooLong), {}};
        std::string whole(text);
        whole.resize(std::max(whole.size(), offset + piece.size()), '\0');
        whole.replace(offset, piece.size(), piece);
        return {{}, changed_to(whole, current.present)};
      },
      [offset, size = piece.size()](RespReply& reply, const Current&, BytesView text) {
        reply.integer(static_cast<std::int64_t>(size == 0 ? text.size() : std::max(text.size(), offset + size)));
      });
}

void EdgeCommands::increment(const Asked& asked, RespCommand command, const Arguments& args) {
  std::int64_t by = 1;
  if (args.size() > 2) {
    const auto parsed = parse_resp_integer(args[2]);
    if (!parsed) return answer_error(asked, std::string(kNotAnInteger));
    by = *parsed;
  }
  if (command == RespCommand::kDecr || command == RespCommand::kDecrBy) {
    if (by == std::numeric_limits<std::int64_t>::min()) return answer_error(asked, "ERR decrement would overflow");
    by = -by;
  }
  const auto result = std::make_shared<std::int64_t>(0);
  change_string(
      asked, args[1],
      [by, result](const Current& current, BytesView text) -> StringChange {
        const auto before = current.present ? parse_resp_integer(text) : std::optional<std::int64_t>(0);
        if (!before) return {std::string(kNotAnInteger), {}};
        if (__builtin_add_overflow(*before, by, result.get())) {
          return {"ERR increment or decrement would overflow", {}};
        }
        return {{}, changed_to(std::to_string(*result), current.present)};
      },
      [result](RespReply& reply, const Current&, BytesView) { reply.integer(*result); });
}

void EdgeCommands::increment_float(const Asked& asked, const Arguments& args) {
  const auto result = std::make_shared<std::string>();
  change_string(
      asked, args[1],
      // The increment is looked at last, as in Redis: a hash answers WRONGTYPE first.
      [by = parse_resp_float(args[2]), result](const Current& current, BytesView text) -> StringChange {
        const auto before = current.present ? parse_resp_float(text) : std::optional<long double>(0.0L);
        if (!before || !by) return {std::string(kNotAFloat), {}};
        const long double sum = *before + *by;
        if (std::isnan(sum) || std::isinf(sum)) return {"ERR increment would produce NaN or Infinity", {}};
        *result = resp_float_text(sum);
        return {{}, changed_to(*result, current.present)};
      },
      [result](RespReply& reply, const Current&, BytesView) { reply.bulk(*result); });
}

// MSET, MSETNX.
void EdgeCommands::mset(const Asked& asked, const Arguments& args, bool only_if_none) {
  if (args.size() % 2 == 0) return answer_error(asked, wrong_arity_error(only_if_none ? "msetnx" : "mset"));
  // The outbox may refuse a key for the state it is in, so such keys go first; a key of this gateway is never refused.
  std::vector<KeyWrite> writes, never_refused;
  std::vector<std::string> keys;
  std::unordered_map<std::string_view, std::size_t> last;  // argument that names a key
  for (std::size_t i = 1; i + 1 < args.size(); i += 2) last[args[i]] = i;
  std::size_t written_through = 0;
  for (std::size_t i = 1; i + 1 < args.size(); i += 2) {
    KeyWrite write;
    write.key = std::string(args[i]);
    write.value = stored_string(args[i + 1]);
    if (const std::string why = why_not_written(write); !why.empty()) return answer_error(asked, why);
    if (through(write.key)) {
      if (last[args[i]] != i) continue;  // at one index there is one value of a key
      ++written_through;
      if (only_if_none) write.condition = Condition::kAbsent;
    }
    keys.push_back(write.key);
    (behind(write.key) ? writes : never_refused).push_back(std::move(write));
  }
  std::move(never_refused.begin(), never_refused.end(), std::back_inserter(writes));
  if (written_through > kKeysPerWriteMax) {
    return answer_error(asked, "ERR " + std::to_string(written_through) +
                                   " keys that are written through the hub: a write has at most " +
                                   std::to_string(kKeysPerWriteMax));
  }
  if (!only_if_none) {
    // One unit: no other command sees some of the gateway's keys new and some old.
    return run_unit(asked, [this, asked, writes = std::move(writes)] {
      write_all(asked, writes, [](RespReply& reply) { reply.ok(); });
    });
  }
  if (written_through == writes.size()) {
    return core_.write_at_one_index(std::move(writes), [this, asked](const WriteDoneOp& done) {
      if (done.code != Code::kOk && done.code != Code::kConflict)
        return answer_error(asked, error_reply(done.code, done.message));
      answer(asked, [&](RespReply& reply) { reply.integer(done.code == Code::kOk ? 1 : 0); });
    });
  }
  if (written_through > 0) {
    return answer_error(asked,
                        "ERR MSETNX: some of these keys are written through the hub and some are not, so no instant is "
                        "theirs: set them apart");
  }
  with_local_copies(keys, [this, asked, writes = std::move(writes)] {
    for (const KeyWrite& write : writes) {
      if (held(write.key).present) return answer(asked, [](RespReply& reply) { reply.integer(0); });
    }
    write_all(asked, writes, [](RespReply& reply) { reply.integer(1); });
  });
}

}  // namespace tidelock
