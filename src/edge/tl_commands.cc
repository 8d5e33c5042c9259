// TL.*: reads with a contract, writes with a level, this edge's copies, policies and receipts. The words on the wire
// are in tl_reply.h.

#include <utility>

#include "codec/typed_value.h"
#include "edge/breakers.h"
#include "edge/commands.h"
#include "edge/gather.h"
#include "edge/tl_reply.h"
#include "wire/resp/glob.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

constexpr std::size_t kRowsAtOnce = 4096;      // of one RocksDB iterator
constexpr std::size_t kForgottenAtOnce = 256;  // keys a loop turn forgets
constexpr std::size_t kInvalidatedMax = 1'000'000;
constexpr std::size_t kPathBytesMax = 4'096;

std::string_view name_of(Scope scope) {
  switch (scope) {
    case Scope::kGateway: return "gateway";
    case Scope::kSite: return "site";
    case Scope::kRegion: return "region";
  }
  return "gateway";
}

std::string_view name_of(WriteMode mode) {
  switch (mode) {
    case WriteMode::kLocal: return "local";
    case WriteMode::kThrough: return "through";
    case WriteMode::kBehind: return "behind";
  }
  return "local";
}

std::string_view name_of(OnStale what) {
  switch (what) {
    case OnStale::kRefresh: return "refresh";
    case OnStale::kWait: return "wait";
    case OnStale::kFallback: return "fallback";
    case OnStale::kFail: return "fail";
  }
  return "fail";
}

void write_namespace(const Namespace& ns, RespReply& reply) {
  const auto text = [&](std::string_view name, std::string_view value) {
    reply.bulk(name);
    reply.bulk(value);
  };
  const auto milliseconds = [&](std::string_view name, Nanos value) {
    reply.bulk(name);
    reply.integer(value == kForever ? -1 : value / kMillisecond);
  };
  reply.map(11);
  text("prefix", ns.prefix);
  text("consistency", consistency_name(ns.consistency));
  milliseconds("bound_ms", ns.bound_ns);
  milliseconds("bound_floor_ms", ns.bound_floor_ns);
  text("scope", name_of(ns.scope));
  text("write_mode", name_of(ns.write_mode));
  milliseconds("flush_age_ms", ns.flush_age_ns);
  milliseconds("ttl_ms", ns.ttl_ns);
  reply.bulk("on_stale");
  reply.array(ns.on_stale.size());
  for (const OnStale what : ns.on_stale) reply.bulk(name_of(what));
  milliseconds("deadline_ms", ns.deadline_ns);
  milliseconds("fallback_cap_ms", ns.fallback_cap_ns);
}

}  // namespace

void EdgeCommands::tl_get(const Asked& asked, const Arguments& args) {
  const auto parsed = parse_tl_get(args);
  if (!parsed) return answer_error(asked, parsed.error().message);
  const std::vector<std::string> fields(parsed->fields.begin(), parsed->fields.end());
  core_.read(std::string(parsed->key), parsed->contract, [this, asked, fields](const ReadDone& done) {
    const std::vector<BytesView> names(fields.begin(), fields.end());
    answer(asked, [&](RespReply& reply) { write_tl_get(done, reply, names); });
  });
}

void EdgeCommands::tl_mget(const Asked& asked, const Arguments& args) {
  const auto parsed = parse_tl_mget(args);
  if (!parsed) return answer_error(asked, parsed.error().message);
  auto all = std::make_shared<Gather>();
  all->left = parsed->keys.size();
  all->reads.resize(all->left);
  read_each(asked, parsed->keys, parsed->contract, [this, asked, all](std::size_t i, ReadDone done) {
    if (all->has_room(done)) all->reads[i] = std::move(done);
    if (--all->left > 0) return;
    if (!all->error.empty()) return answer_error(asked, all->error);
    answer(asked, [&](RespReply& reply) {
      reply.array(all->reads.size());
      for (const ReadDone& one : all->reads) write_tl_get(one, reply);
    });
  });
}

void EdgeCommands::tl_set(const Asked& asked, const Arguments& args) {
  const auto parsed = parse_tl_set(args);
  if (!parsed) return answer_error(asked, parsed.error().message);
  KeyWrite write;
  write.key = std::string(parsed->key);
  write.value = stored_string(parsed->value);
  write.ttl_ns = duration_of_ms(parsed->ttl_ms);
  core_.write(std::move(write), parsed->level, [this, asked](const WriteDoneOp& done) {
    answer(asked, [&](RespReply& reply) { write_tl_set(done, reply); });
  });
}

// Only copies of what a hub has: what lives here only and what waits to be sent stays, and so do copies of strong keys,
// whose lease says more than any reader could (EdgeForget).
void EdgeCommands::tl_invalidate(const Asked& asked, std::string_view pattern_view) {
  const std::string pattern(pattern_view);
  if (pattern.size() > kGlobPatternBytesMax) return answer_error(asked, "ERR the pattern is too long");
  const Nanos now = core_.clock().now();
  list_on_worker(asked, [this, asked, pattern, now]() -> std::function<void()> {
    auto found = std::make_shared<std::deque<std::string>>();
    std::uint64_t work = kGlobWorkDefault;
    std::string after;
    for (;;) {
      const auto last = l2_.scan(after, kRowsAtOnce, now, [&](const L2Store::Listed& entry) {
        if (!entry.local && glob_match(pattern, entry.key, &work)) found->emplace_back(entry.key);
        return work > 0 && found->size() < kInvalidatedMax;
      });
      if (!last) return [this, asked, why = last.error()] { answer_error(asked, error_reply(why.code, why.message)); };
      if (work == 0 || found->size() >= kInvalidatedMax) {
        return
            [this, asked] { answer_error(asked, "ERR too many keys for one TL.INVALIDATE; use a narrower pattern"); };
      }
      if (!*last) break;
      after = **last;
    }
    return [this, asked, found] { tl_invalidate_some(asked, found, 0); };
  });
}

void EdgeCommands::tl_invalidate_some(const Asked& asked, std::shared_ptr<std::deque<std::string>> left,
                                      std::int64_t dropped) {
  for (std::size_t i = 0; i < kForgottenAtOnce && !left->empty(); ++i) {
    std::string key = std::move(left->front());
    left->pop_front();
    const Namespace& ns = namespace_of(core_.core().namespaces(), key);
    if (ns.scope != Scope::kRegion || ns.consistency == Consistency::kStrong || core_.core().outbox().pending(key)) {
      continue;
    }
    core_.take(EdgeForget{std::move(key)});
    ++dropped;
  }
  if (left->empty()) return answer(asked, [&](RespReply& reply) { reply.integer(dropped); });
  core_.loop().post([this, asked, left, dropped] { tl_invalidate_some(asked, left, dropped); });
}

void EdgeCommands::tl_namespace(const Arguments& args, RespReply& reply) const {
  const std::vector<Namespace>& namespaces = core_.core().namespaces();
  if (args.size() > 2) return reply.error(wrong_arity_error("tl.namespace"));
  if (args.size() == 2) return write_namespace(namespace_of(namespaces, args[1]), reply);
  reply.array(namespaces.size());
  for (const Namespace& ns : namespaces) write_namespace(ns, reply);
}

void EdgeCommands::tl_health(const Arguments& args, RespReply& reply) {
  const auto sample = parse_tl_health(args);
  if (!sample) return reply.error(sample.error().message);
  if (const auto added = health_.add(*sample); !added)
    return reply.error(error_reply(added.error().code, added.error().message));
  breakers_.told(core_.core().namespaces(), *sample, core_.clock().now());  // M10
  reply.ok();
}

// M2, M8, X3: begun here, done on the care's thread; LOOK says how far it is.
void EdgeCommands::tl_model(const Arguments& args, RespReply& reply) {
  const auto is = [&](std::string_view word) { return equal_ignoring_case(args[1], word); };
  if (args.size() == 2 && is("LOOK")) return reply.bulk(model_care_.json());
  const auto begin = [&](StoreWork work, bool dry_run, std::string bundle = {}) {
    if (const auto begun = model_care_.start(work, dry_run, std::move(bundle)); !begun)
      return reply.error(error_reply(begun.error().code, begun.error().message));
    reply.ok();
  };
  if (args.size() == 3 && is("IMPORT")) {
    const std::string_view path = args[2];
    if (!path.starts_with('/') || path.size() > kPathBytesMax || path.find('\0') != std::string_view::npos)
      return reply.error("ERR TL.MODEL IMPORT: give the whole path of a bundle on this machine, beginning with '/'");
    return begin(StoreWork::kImport, false, std::string(path));
  }
  const bool dry_run = args.size() > 2 && equal_ignoring_case(args.back(), "DRYRUN");
  const std::size_t words = args.size() - (dry_run ? 1 : 0);
  if (words == 2 && is("VERIFY") && !dry_run) return begin(StoreWork::kVerify, false);
  if (words == 2 && is("REPAIR")) return begin(StoreWork::kRepair, dry_run);
  if (words == 2 && is("GC")) return begin(StoreWork::kCollect, dry_run);
  if (words == 3 && is("GC") && equal_ignoring_case(args[2], "IMPORTED"))
    return begin(StoreWork::kCollectImported, dry_run);
  reply.error("ERR TL.MODEL: write LOOK, VERIFY, REPAIR [DRYRUN], GC [IMPORTED] [DRYRUN] or IMPORT path");
}

void EdgeCommands::tl_receipt(ConnectionContext& connection, const Arguments& args, RespReply& reply) {
  if (args.size() > 2) return reply.error(wrong_arity_error("tl.receipt"));
  if (args.size() == 1) return reply.bulk((connection.handler_word & kReceiptsWanted) != 0 ? "on" : "off");
  const bool on = equal_ignoring_case(args[1], "ON");
  if (!on && !equal_ignoring_case(args[1], "OFF")) {
    return reply.error("ERR TL.RECEIPT '" + std::string(args[1].substr(0, 32)) + "' must be ON or OFF");
  }
  if (on && connection.protocol() < 3) {
    return reply.error("ERR TL.RECEIPT ON needs RESP3, whose replies can carry attributes: send HELLO 3 first");
  }
  if (on)
    connection.handler_word |= kReceiptsWanted;
  else
    connection.handler_word &= ~kReceiptsWanted;
  reply.ok();
}

}  // namespace tidelock
