// KEYS, SCAN, DBSIZE, FLUSH*: this edge's copies, as L2 lists them. L2 holds all that memory holds, and what left it.

#include <algorithm>
#include <utility>

#include "edge/commands.h"
#include "edge/tl_reply.h"
#include "wire/resp/glob.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {
constexpr std::size_t kRowsAtOnce = 4096;  // of one RocksDB iterator
constexpr std::size_t kFlushAtOnce = 256;  // keys a loop turn forgets
}  // namespace

// `work` runs on the worker; what it returns runs on the loop and answers.
void EdgeCommands::on_worker(const Asked& asked, std::function<std::function<void()>()> work) {
  const bool taken = worker_.post([this, work = std::move(work)] { core_.loop().post(work()); });
  if (!taken) answer_error(asked, error_reply(Code::kBusy, "too many listings are waiting"));
}

void EdgeCommands::keys(const Asked& asked, std::string_view pattern_view) {
  const std::string pattern(pattern_view);
  if (pattern.size() > kGlobPatternBytesMax) return answer_error(asked, "ERR the pattern is too long");
  const Nanos now = core_.clock().now();
  on_worker(asked, [this, asked, pattern, now]() -> std::function<void()> {
    auto found = std::make_shared<std::vector<std::string>>();
    std::uint64_t work = kGlobWorkDefault;
    std::string after;
    for (;;) {
      const auto last = l2_.scan(after, kRowsAtOnce, now, [&](const L2Store::Listed& entry) {
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

std::uint64_t EdgeCommands::remember_cursor(std::string last) {
  if (cursors_.size() >= kCursorsMax) cursors_.erase(cursors_.begin());
  cursors_[++last_cursor_] = std::move(last);
  return last_cursor_;
}

void EdgeCommands::scan(const Asked& asked, const Arguments& args) {
  const auto parsed = parse_scan(args);
  if (!parsed) return answer_error(asked, parsed.error().message);
  std::string after;
  if (parsed->cursor != 0) {
    const auto it = cursors_.find(parsed->cursor);
    if (it == cursors_.end()) {  // forgotten: the iteration ends, as it does in Redis for a cursor that was never given
      return answer(asked, [](RespReply& reply) {
        reply.array(2);
        reply.bulk("0");
        reply.array(0);
      });
    }
    after = it->second;
  }
  const std::string match(parsed->match);
  if (match.size() > kGlobPatternBytesMax) return answer_error(asked, "ERR the pattern is too long");
  const bool none_of_type = !parsed->type.empty() && !equal_ignoring_case(parsed->type, "string");
  const auto count = static_cast<std::size_t>(std::min(parsed->count, kScanCountMax));
  const Nanos now = core_.clock().now();
  on_worker(asked, [this, asked, after, match, none_of_type, count, now]() -> std::function<void()> {
    auto found = std::make_shared<std::vector<std::string>>();
    std::uint64_t work = kGlobWorkDefault;
    const auto last = l2_.scan(after, count, now, [&](const L2Store::Listed& entry) {
      if (!none_of_type && (match.empty() || glob_match(match, entry.key, &work))) found->emplace_back(entry.key);
      return work > 0;
    });
    if (!last) return [this, asked, why = last.error()] { answer_error(asked, error_reply(why.code, why.message)); };
    if (work == 0) return [this, asked] { answer_error(asked, "ERR the pattern takes too long; make it simpler"); };
    return [this, asked, found, last = *last] {
      const std::uint64_t cursor = last ? remember_cursor(*last) : 0;
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
  on_worker(asked, [this, asked, now]() -> std::function<void()> {
    std::int64_t count = 0;
    std::string after;
    for (;;) {
      const auto last = l2_.scan(after, kRowsAtOnce, now, [&](const L2Store::Listed&) {
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

void EdgeCommands::flush(const Asked& asked, const Arguments& args) {
  const bool known =
      args.size() == 1 ||
      (args.size() == 2 && (equal_ignoring_case(args[1], "ASYNC") || equal_ignoring_case(args[1], "SYNC")));
  if (!known) return answer_error(asked, "ERR syntax error");
  const Nanos now = core_.clock().now();
  on_worker(asked, [this, asked, now]() -> std::function<void()> {
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
