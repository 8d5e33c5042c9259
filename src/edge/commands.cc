#include "edge/commands.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/rng.h"
#include "base/wall_clock.h"
#include "codec/typed_value.h"
#include "edge/gather.h"
#include "edge/tl_reply.h"
#include "edge/together.h"
#include "wire/resp/command_access.h"

namespace tidelock {

EdgeCommands::EdgeCommands(const EdgeConfig& config, CoreLoop& core, const L2Store& l2, EdgeWorker& worker,
                           Breakers& breakers, std::function<std::string()> models_json, StoreCare& model_care)
    : config_(config),
      core_(core),
      l2_(l2),
      worker_(worker),
      breakers_(breakers),
      models_json_(std::move(models_json)),
      model_care_(model_care),
      started_at_(core.clock().now()),
      // So that no run, and no other edge, knows a cursor of this one. Below 2^53: some clients take it for a double.
      last_cursor_(Rng(hash64(config.id) ^ wall_ms_now()).below(1u << 20) << 32) {}

void EdgeCommands::answer(const Asked& asked, const std::function<void(RespReply&)>& write) {
  if (asked.together) {
    RespReply reply(asked.together->answers, asked.protocol);
    write(reply);
    ++asked.together->answered;
    return;
  }
  std::string out;
  RespReply reply(out, asked.protocol);
  write(reply);
  server_->complete(asked.token, out);
}

void EdgeCommands::read_one(const Asked& asked, std::string_view key, CoreLoop::OnRead done) {
  if (asked.together) return done(asked.together->find(key));
  core_.read(std::string(key), {}, std::move(done));
}

void EdgeCommands::read_each(const Asked& asked, std::span<const std::string_view> keys, const Contract& contract,
                             OnEachRead one) {
  if (asked.together) {
    for (std::size_t i = 0; i < keys.size(); ++i) one(i, asked.together->find(keys[i]));
    return;
  }
  const auto each = std::make_shared<const OnEachRead>(std::move(one));
  core_.run([this, each, contract, names = std::vector<std::string>(keys.begin(), keys.end())] {
    for (std::size_t i = 0; i < names.size(); ++i)
      core_.read(names[i], contract, [each, i](ReadDone done) { (*each)(i, std::move(done)); });
  });
}

void EdgeCommands::write_one(const Asked& asked, KeyWrite write, CoreLoop::OnWrite done) {
  if (!asked.together) return core_.write(std::move(write), std::nullopt, std::move(done));
  if (const auto ok = writable(write); !ok) {
    WriteDoneOp refused;
    refused.code = ok.error().code;
    refused.message = ok.error().message;
    return done(refused);
  }
  const Nanos ttl = namespace_of(core_.core().namespaces(), write.key).ttl_ns;
  done(asked.together->apply(std::move(write), ttl));
}

void EdgeCommands::run_unit(const Asked& asked, std::function<void()> unit) {
  asked.together ? unit() : core_.run(std::move(unit));
}

void EdgeCommands::answer_error(const Asked& asked, const std::string& text) {
  answer(asked, [&](RespReply& reply) { reply.error(text); });
}

bool EdgeCommands::through(std::string_view key) const {
  return namespace_of(core_.core().namespaces(), key).write_mode == WriteMode::kThrough;
}

bool EdgeCommands::behind(std::string_view key) const {
  const Namespace& ns = namespace_of(core_.core().namespaces(), key);
  return ns.write_mode == WriteMode::kBehind && ns.scope == Scope::kRegion;
}

// The commands that SET is the whole of; nothing: another one.
static std::optional<Result<SetArguments>> set_of(RespCommand command, const std::vector<std::string_view>& args) {
  switch (command) {
    case RespCommand::kSet: return parse_set(args);
    case RespCommand::kSetEx:
    case RespCommand::kPSetEx:
    case RespCommand::kSetNx: return parse_setex(args);
    default: return std::nullopt;
  }
}

void EdgeCommands::handle(ConnectionContext& connection, const Arguments& args, RespReply& reply) {
  const RespCommand command = connection.command().id;
  if (command == RespCommand::kGet && get_at_once(connection, args[1], reply)) return;
  connection.copy_references();  // of such reads: what comes now may change the memory they answered from
  if (command == RespCommand::kMGet && mget_at_once(connection, args, reply)) return;
  if (command == RespCommand::kInfo) return reply.verbatim("txt", info(args));
  if (command == RespCommand::kTlInfo) return reply.bulk(tl_info());
  if (command == RespCommand::kTlNamespace) return tl_namespace(args, reply);
  if (command == RespCommand::kTlHealth) return tl_health(args, reply);
  if (command == RespCommand::kTlModel) return tl_model(args, reply);
  if (command == RespCommand::kTlReceipt) return tl_receipt(connection, args, reply);
  if (const auto set = set_of(command, args)) {
    if (!*set) return reply.error(set->error().message);
    if (set_at_once(**set, command == RespCommand::kSetNx, reply)) return;
  }
  core_.settle_first();  // listings read what was written together
  const bool receipts = (connection.handler_word & kReceiptsWanted) != 0;
  Asked asked{connection.defer(), connection.protocol()};
  if (command == RespCommand::kGet) return get_value(asked, args[1], receipts);
  if (connection.command().first_key == 0) asked.readable = connection.readable_keys();  // X4: listings name no key
  dispatch(asked, command, args);
}

void EdgeCommands::dispatch(const Asked& asked, RespCommand command, const Arguments& args) {
  if (const auto parsed = set_of(command, args)) {
    if (!*parsed) return answer_error(asked, parsed->error().message);
    return set(asked, **parsed, command == RespCommand::kSetNx);
  }
  switch (command) {
    case RespCommand::kGet: return get_value(asked, args[1], false);
    case RespCommand::kStrlen:
      return get_string(asked, args[1], [](RespReply& out, std::optional<BytesView> text, const ReadDone&) {
        out.integer(static_cast<std::int64_t>(text.value_or(BytesView{}).size()));
      });
    case RespCommand::kGetRange: return get_range(asked, args);
    case RespCommand::kGetEx: return get_and_change_expiry(asked, args);
    case RespCommand::kGetSet: return get_and_set(asked, args);
    case RespCommand::kGetDel: return get_and_delete(asked, args[1]);
    case RespCommand::kAppend: return append(asked, args);
    case RespCommand::kSetRange: return set_range(asked, args);
    case RespCommand::kIncr:
    case RespCommand::kDecr:
    case RespCommand::kIncrBy:
    case RespCommand::kDecrBy: return increment(asked, command, args);
    case RespCommand::kIncrByFloat: return increment_float(asked, args);
    case RespCommand::kMGet: return mget(asked, args);
    case RespCommand::kMSet: return mset(asked, args, false);
    case RespCommand::kMSetNx: return mset(asked, args, true);
    case RespCommand::kDel:
    case RespCommand::kUnlink: return erase(asked, args);
    case RespCommand::kExists:
    case RespCommand::kTouch: return exists(asked, args);  // a read is a touch
    case RespCommand::kTtl:
    case RespCommand::kPTtl:
    case RespCommand::kExpireTime:
    case RespCommand::kPExpireTime: return ttl(asked, command, args[1]);
    case RespCommand::kExpire:
    case RespCommand::kPExpire:
    case RespCommand::kExpireAt:
    case RespCommand::kPExpireAt: return expire(asked, args);
    case RespCommand::kPersist: return persist(asked, args[1]);
    case RespCommand::kType:
      return get(asked, args[1], [](RespReply& out, const ReadDone& done) {
        out.simple(!done.value ? "none" : kind_of(*done.value) == ValueKind::kHash ? "hash" : "string");
      });
    case RespCommand::kCopy: return copy(asked, args);
    case RespCommand::kRename: return rename(asked, args, false);
    case RespCommand::kRenameNx: return rename(asked, args, true);
    case RespCommand::kRandomKey: return random_key(asked);
    case RespCommand::kObject: return object(asked, args);
    case RespCommand::kHSet:
    case RespCommand::kHSetNx:
    case RespCommand::kHMSet:
    case RespCommand::kHGet:
    case RespCommand::kHMGet:
    case RespCommand::kHGetAll:
    case RespCommand::kHDel:
    case RespCommand::kHExists:
    case RespCommand::kHLen:
    case RespCommand::kHStrlen:
    case RespCommand::kHKeys:
    case RespCommand::kHVals:
    case RespCommand::kHIncrBy:
    case RespCommand::kHIncrByFloat:
    case RespCommand::kHRandField:
    case RespCommand::kHScan: return hash_command(asked, command, args);
    case RespCommand::kKeys: return keys(asked, args[1]);
    case RespCommand::kScan: return scan(asked, args);
    case RespCommand::kDbSize: return count_keys(asked);
    case RespCommand::kFlushAll:
    case RespCommand::kFlushDb: return flush(asked, args);
    case RespCommand::kTlGet: return tl_get(asked, args);
    case RespCommand::kTlMGet: return tl_mget(asked, args);
    case RespCommand::kTlSet: return tl_set(asked, args);
    case RespCommand::kTlInvalidate: return tl_invalidate(asked, args[1]);
    case RespCommand::kTlFlush: return tl_flush(asked, args[1]);
    case RespCommand::kMemory: return memory_command(asked, args);
    case RespCommand::kConfig: return rewrite_config(asked);
    default:
      return answer_error(asked, "ERR command '" + std::string(spec_of(command).name) + "' is not served by this edge");
  }
}

// What runs on the keys of its arguments alone, one answer for each, and so can be part of an EXEC at the hub.
bool EdgeCommands::runs_together(RespCommand command) {
  switch (command) {
    case RespCommand::kCopy:
    case RespCommand::kRename:
    case RespCommand::kRenameNx:
    case RespCommand::kMSetNx:
    case RespCommand::kObject:
    case RespCommand::kMemory:
    case RespCommand::kTlGet:
    case RespCommand::kTlMGet:
    case RespCommand::kTlSet: return false;
    default: return true;
  }
}

std::string EdgeCommands::refuse_in_transaction(const CommandSpec& spec, const Arguments& args) {
  std::string why;
  if (runs_together(spec.id)) return why;
  for_each_key(look_up(args), args, [&](std::string_view key, std::uint32_t) {
    if (!through(key)) return true;
    const std::string& prefix = namespace_of(core_.core().namespaces(), key).prefix;
    why = "ERR key '" + std::string(key.substr(0, 128)) + "' is in namespace '" + prefix +
          "', which is written through the hub: " + std::string(spec.name) +
          " of such keys cannot be part of a transaction";
    return false;
  });
  return why;
}

// A read under the namespace's default contract.
void EdgeCommands::get(const Asked& asked, std::string_view key,
                       std::function<void(RespReply&, const ReadDone&)> write) {
  read_one(asked, key, [this, asked, write = std::move(write)](const ReadDone& done) {
    if (done.code != Code::kOk && done.code != Code::kNotFound) {
      return answer_error(asked, error_reply(done.code, done.message, done.receipt.bound_ns));
    }
    answer(asked, [&](RespReply& reply) { write(reply, done); });
  });
}

void EdgeCommands::erase(const Asked& asked, const Arguments& args) {
  const auto written_there = [this](std::string_view key) { return through(key); };
  if (!asked.together && args.size() > 2 && args.size() - 1 <= kKeysPerWriteMax &&
      std::all_of(args.begin() + 1, args.end(), written_there)) {
    return erase_at_one_index(asked, args);
  }
  auto all = std::make_shared<Gather>();
  all->left = args.size() - 1;
  for (std::size_t i = 1; i < args.size(); ++i) {
    KeyWrite write;
    write.key = std::string(args[i]);
    const bool at_hub = through(args[i]);
    const bool in_outbox = behind(args[i]);
    if (at_hub) write.condition = Condition::kPresent;  // so that the answer counts what was there
    run_unit(asked, [this, asked, all, write, at_hub, in_outbox] {
      const bool was_here = in_outbox && held(write.key).present;
      write_one(asked, write, [this, asked, all, at_hub, in_outbox, was_here](const WriteDoneOp& done) {
        const bool absent = at_hub && done.code == Code::kConflict;
        if (done.code != Code::kOk && !absent && all->error.empty()) all->error = error_reply(done.code, done.message);
        all->count += done.code == Code::kOk && (in_outbox ? was_here : done.changed);
        if (--all->left > 0) return;
        if (!all->error.empty()) return answer_error(asked, all->error);
        answer(asked, [&](RespReply& reply) { reply.integer(all->count); });
      });
    });
  }
}

void EdgeCommands::exists(const Asked& asked, const Arguments& args) {
  auto all = std::make_shared<Gather>();
  all->left = args.size() - 1;
  read_each(asked, {args.data() + 1, args.size() - 1}, {}, [this, asked, all](std::size_t, const ReadDone& done) {
    if (done.code != Code::kOk && done.code != Code::kNotFound && all->error.empty()) {
      all->error = error_reply(done.code, done.message, done.receipt.bound_ns);
    }
    all->count += done.code == Code::kOk;
    if (--all->left > 0) return;
    if (!all->error.empty()) return answer_error(asked, all->error);
    answer(asked, [&](RespReply& reply) { reply.integer(all->count); });
  });
}

Result<void> EdgeCommands::writable(const KeyWrite& write) {
  if (const auto ok = validate_key(write.key); !ok) return fail(ok.error());
  if (write.value) {
    if (const auto ok = validate_value(*write.value); !ok) return fail(ok.error());
  }
  if (!write.key.starts_with("model:")) return {};
  return fail(Code::kDenied, "key '" + write.key + "': model keys are written by `tidelock model`");
}

std::string EdgeCommands::why_not_written(const KeyWrite& write) {
  const auto ok = writable(write);
  return ok ? std::string() : error_reply(ok.error().code, ok.error().message);
}

void EdgeCommands::write_all(const Asked& asked, const std::vector<KeyWrite>& writes,
                             std::function<void(RespReply&)> ok) {
  auto all = std::make_shared<Gather>();
  all->left = 1;  // this loop
  const auto finish = [this, asked, all, ok = std::move(ok)] {
    if (--all->left > 0) return;
    if (!all->error.empty()) return answer_error(asked, all->error);
    answer(asked, ok);
  };
  const auto written = [all, finish](const WriteDoneOp& done) {
    if (done.code != Code::kOk && all->error.empty()) all->error = error_reply(done.code, done.message);
    finish();
  };
  std::vector<KeyWrite> at_one_index;
  for (const KeyWrite& write : writes) {
    if (through(write.key) && !asked.together) {
      at_one_index.push_back(write);
      continue;
    }
    if (!all->error.empty()) break;
    ++all->left;
    write_one(asked, write, written);
  }
  if (!at_one_index.empty() && all->error.empty()) {
    ++all->left;
    core_.write_at_one_index(std::move(at_one_index), written);
  }
  finish();
}

}  // namespace tidelock
