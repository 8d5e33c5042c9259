// KEYS, SCAN, DBSIZE, RANDOMKEY, FLUSH*: this edge's copies, as L2 lists them. L2 holds all that memory holds, and what
// left it. OBJECT: what one value looks like.

#include <algorithm>
#include <utility>

#include "base/rng.h"
#include "codec/typed_value.h"
#include "edge/commands.h"
#include "edge/tl_reply.h"
#include "wire/resp/acl.h"
#include "wire/resp/glob.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {
constexpr std::size_t kRowsAtOnce = 4096;    // of one RocksDB iterator
constexpr std::size_t kFlushAtOnce = 256;    // keys a loop turn forgets
constexpr std::size_t kRandomRows = 65'536;  // RANDOMKEY draws among as many

// What Redis would call it when it is stored whole. Here a string is bytes and a hash one run of bytes, which is a
// listpack's idea.
std::string_view encoding_of(BytesView stored) {
  if (kind_of(stored) == ValueKind::kHash) return "listpack";
  const BytesView text = string_of(stored);
  if (parse_resp_integer(text)) return "int";
  constexpr std::size_t kEmbeddedBytesMax = 44;
  return text.size() <= kEmbeddedBytesMax ? "embstr" : "raw";
}

constexpr std::string_view kObjectHelp[] = {
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help."};

}  // namespace

// `work` runs on the worker; what it returns runs on the loop and answers.
void EdgeCommands::on_worker(const Asked& asked, std::function<std::function<void()>()> work) {
  const bool taken = worker_.post([this, work = std::move(work)] { core_.loop().post(work()); });
  if (!taken) answer_error(asked, error_reply(Code::kBusy, "too many listings are waiting"));
}

// The same for what lists L2's rows.
void EdgeCommands::list_on_worker(const Asked& asked, std::function<std::function<void()>()> work) {
  if (const auto stored = core_.store_all(); !stored) {
    return answer_error(asked, error_reply(stored.error().code, stored.error().message));
  }
  on_worker(asked, std::move(work));
}

// X4: L2Store::scan, of what its user may read. On the worker.
Result<std::optional<std::string>> EdgeCommands::list_visible(
    const Asked& asked, std::string_view after, std::size_t rows_max, Nanos now,
    const std::function<bool(const L2Store::Listed&)>& visit) const {
  if (asked.readable == nullptr) return l2_.scan(after, rows_max, now, visit);
  std::uint64_t work = kGlobWorkDefault;  // for these rows; whoever may make users may make slow ones
  auto last = l2_.scan(after, rows_max, now, [&](const L2Store::Listed& entry) {
    const bool visible = asked.readable->contains(entry.key, &work);
    return work > 0 && (!visible || visit(entry));
  });
  if (last && work == 0) return fail(Code::kInvalid, "the key patterns of this user take too long; make them simpler");
  return last;
}

void EdgeCommands::keys(const Asked& asked, std::string_view pattern_view) {
  const std::string pattern(pattern_view);
  if (pattern.size() > kGlobPatternBytesMax) return answer_error(asked, "ERR the pattern is too long");
  const Nanos now = core_.clock().now();
  list_on_worker(asked, [this, asked, pattern, now]() -> std::function<void()> {
    auto found = std::make_shared<std::vector<std::string>>();
    std::uint64_t work = kGlobWorkDefault;
    std::string after;
    for (;;) {
      const auto last = list_visible(asked, after, kRowsAtOnce, now, [&](const L2Store::Listed& entry) {
        if (glob_match(pattern, entry.key, &work)) found->emplace_back(entry.key);
        return work > 0 && found->size() < kListedMax;
      });
      if (!last) return [this, asked, why = last.error()] { answer_error(asked, error_reply(why.code, why.message)); };
      if (work == 0 || found->size() >= kListedMax) {
        return [this, asked] { answer_error(asked, "ERR too many keys for one KEYS; use SCAN"); };
      }
      if (!*last) break;
      after = **last;
    }
    return [this, asked, found] {
      answer(asked, [&](RespReply& reply) {
        reply.array(found->size());
        for (const std::string& key : *found) reply.bulk(key);
      });
    };
  });
}

std::uint64_t EdgeCommands::remember_cursor(std::string last, std::uint64_t before) {
  if (cursors_.size() >= kCursorsMax) cursors_.erase(cursors_.begin());
  cursors_[++last_cursor_] = {std::move(last), before};
  return last_cursor_;
}

void EdgeCommands::scan(const Asked& asked, const Arguments& args) {
  const auto parsed = parse_scan(args);
  if (!parsed) return answer_error(asked, parsed.error().message);
  std::string after;
  if (parsed->cursor != 0) {
    const auto it = cursors_.find(parsed->cursor);
    if (it == cursors_.end()) {  // an end that is none would hide keys
      return answer_error(asked, "ERR cursor " + std::to_string(parsed->cursor) +
                                     " is not open at this edge (any more): " + "it keeps the newest " +
                                     std::to_string(kCursorsMax) + "; begin again with SCAN 0");
    }
    after = it->second.last;
    cursors_.erase(it->second.before);
  }
  const std::string match(parsed->match.value_or("*"));
  if (match.size() > kGlobPatternBytesMax) return answer_error(asked, "ERR the pattern is too long");
  const bool any_type = parsed->type.empty();
  const ValueKind kind = equal_ignoring_case(parsed->type, "hash") ? ValueKind::kHash : ValueKind::kString;
  const bool none_of_type = !any_type && kind != ValueKind::kHash && !equal_ignoring_case(parsed->type, "string");
  const auto count = static_cast<std::size_t>(std::min(parsed->count, kScanCountMax));
  const Nanos now = core_.clock().now();
  list_on_worker(asked,
                 [this, asked, after, match, any_type, kind, none_of_type, count, now,
                  before = parsed->cursor]() -> std::function<void()> {
                   auto found = std::make_shared<std::vector<std::string>>();
                   std::uint64_t work = kGlobWorkDefault;
                   const auto last = list_visible(asked, after, count, now, [&](const L2Store::Listed& entry) {
                     const bool wanted = any_type || (!none_of_type && entry.kind == kind);
                     if (wanted && glob_match(match, entry.key, &work)) found->emplace_back(entry.key);
                     return work > 0;
                   });
                   if (!last)
                     return
                         [this, asked, why = last.error()] { answer_error(asked, error_reply(why.code, why.message)); };
                   if (work == 0)
                     return [this, asked] { answer_error(asked, "ERR the pattern takes too long; make it simpler"); };
                   return [this, asked, found, last = *last, before] {
                     const std::uint64_t cursor = last ? remember_cursor(*last, before) : 0;
                     answer(asked, [&](RespReply& reply) {
                       reply.array(2);
                       reply.bulk(std::to_string(cursor));
                       reply.array(found->size());
                       for (const std::string& key : *found) reply.bulk(key);
                     });
                   };
                 });
}

void EdgeCommands::count_keys(const Asked& asked) {
  const Nanos now = core_.clock().now();
  list_on_worker(asked, [this, asked, now]() -> std::function<void()> {
    std::int64_t count = 0;
    std::string after;
    for (;;) {
      const auto last = list_visible(asked, after, kRowsAtOnce, now, [&](const L2Store::Listed&) {
        ++count;
        return true;
      });
      if (!last) return [this, asked, why = last.error()] { answer_error(asked, error_reply(why.code, why.message)); };
      if (!*last) break;
      after = **last;
    }
    return [this, asked, count] { answer(asked, [&](RespReply& reply) { reply.integer(count); }); };
  });
}

// One of the next kRandomRows keys behind the last one drawn, each as likely: of a smaller store that is every key.
// When none of them may be seen, the first that may.
void EdgeCommands::random_key(const Asked& asked) {
  const Nanos now = core_.clock().now();
  list_on_worker(asked, [this, asked, now, begin = last_random_]() -> std::function<void()> {
    Rng rng(static_cast<std::uint64_t>(now));
    std::string drawn, after = begin;
    std::uint64_t seen = 0;
    std::size_t rows_left = kRandomRows;
    for (bool wrapped = begin.empty(); rows_left > 0 || seen == 0;) {
      const std::size_t rows = rows_left == 0 ? kRowsAtOnce : std::min(rows_left, kRowsAtOnce);
      const auto last = list_visible(asked, after, rows, now, [&](const L2Store::Listed& entry) {
        if (wrapped && !begin.empty() && entry.key > begin) return false;  // these were seen at first
        if (rng.below(++seen) == 0) drawn = entry.key;
        return true;
      });
      if (!last) return [this, asked, why = last.error()] { answer_error(asked, error_reply(why.code, why.message)); };
      rows_left -= std::min(rows, rows_left);
      if (*last && !(wrapped && !begin.empty() && **last > begin)) {
        after = **last;
      } else if (!wrapped) {
        wrapped = true;
        after.clear();
      } else {
        break;
      }
    }
    return [this, asked, drawn, found = seen > 0, next = seen > 0 ? drawn : after] {
      last_random_ = next;
      answer(asked, [&](RespReply& reply) {
        if (found)
          reply.bulk(drawn);
        else
          reply.null();
      });
    };
  });
}

void EdgeCommands::object(const Asked& asked, const Arguments& args) {
  const auto is = [&](std::string_view name) { return equal_ignoring_case(args[1], name); };
  std::string_view subcommand;
  for (const std::string_view name : {"encoding", "freq", "idletime", "refcount", "help"}) {
    if (is(name)) subcommand = name;
  }
  if (subcommand.empty()) return answer_error(asked, unknown_subcommand_error("object", args[1]));
  if (args.size() != (subcommand == "help" ? 2u : 3u)) {
    return answer_error(asked, wrong_arity_error("object|" + std::string(subcommand)));
  }
  if (subcommand == "help") {
    return answer(asked, [](RespReply& reply) {
      reply.array(std::size(kObjectHelp));
      for (const std::string_view line : kObjectHelp) reply.simple(line);
    });
  }
  get(asked, args[2], [subcommand](RespReply& reply, const ReadDone& done) {
    if (!done.value) return reply.null();
    if (subcommand == "encoding") return reply.bulk(encoding_of(*done.value));
    if (subcommand == "refcount") return reply.integer(1);
    if (subcommand == "idletime") return reply.error("ERR idle time is not tracked by this edge");
    reply.error(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
        "between policies at runtime LRU and LFU data will take some time to adjust.");
  });
}

void EdgeCommands::flush(const Asked& asked, const Arguments& args) {
  const bool known =
      args.size() == 1 ||
      (args.size() == 2 && (equal_ignoring_case(args[1], "ASYNC") || equal_ignoring_case(args[1], "SYNC")));
  if (!known) return answer_error(asked, "ERR syntax error");
  const Nanos now = core_.clock().now();
  list_on_worker(asked, [this, asked, now]() -> std::function<void()> {
    auto found = std::make_shared<std::deque<std::string>>();
    std::string after;
    for (;;) {
      const auto last = l2_.scan(after, kRowsAtOnce, now, [&](const L2Store::Listed& entry) {
        found->emplace_back(entry.key);
        return true;
      });
      if (!last) return [this, asked, why = last.error()] { answer_error(asked, error_reply(why.code, why.message)); };
      if (!*last) break;
      after = **last;
    }
    return [this, asked, found] { flush_some(asked, found); };
  });
}

void EdgeCommands::flush_some(const Asked& asked, std::shared_ptr<std::deque<std::string>> left) {
  for (std::size_t i = 0; i < kFlushAtOnce && !left->empty(); ++i) {
    std::string key = std::move(left->front());
    left->pop_front();
    if (namespace_of(core_.core().namespaces(), key).scope == Scope::kRegion) {
      core_.take(EdgeForget{std::move(key)});
      continue;
    }
    KeyWrite gone;
    gone.key = std::move(key);
    core_.write(std::move(gone), std::nullopt, [](const WriteDoneOp&) {});
  }
  if (left->empty()) return answer(asked, [](RespReply& reply) { reply.ok(); });
  core_.loop().post([this, asked, left] { flush_some(asked, left); });
}

}  // namespace tidelock
