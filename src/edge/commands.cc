#include "edge/commands.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/wall_clock.h"
#include "edge/tl_reply.h"

namespace tidelock {

// One answer out of several: the first error wins, else `write` when the last is in.
struct EdgeCommands::Gather {
  std::size_t left = 0;
  std::string error;
  std::vector<std::optional<Bytes>> values;
  std::int64_t count = 0;
};

EdgeCommands::EdgeCommands(const EdgeConfig& config, CoreLoop& core, const L2Store& l2, EdgeWorker& worker,
                           std::function<std::string()> models_json)
    : config_(config),
      core_(core),
      l2_(l2),
      worker_(worker),
      models_json_(std::move(models_json)),
      started_at_(core.clock().now()) {}

void EdgeCommands::answer(const Asked& asked, const std::function<void(RespReply&)>& write) {
  std::string out;
  RespReply reply(out, asked.protocol);
  write(reply);
  server_->complete(asked.token, out);
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

void EdgeCommands::handle(ConnectionContext& connection, const Arguments& args, RespReply& reply) {
  const RespCommand command = connection.command().id;
  if (command == RespCommand::kInfo) return reply.verbatim("txt", info(args));
  if (command == RespCommand::kTlInfo) return reply.bulk(tl_info());
  const Asked asked{connection.defer(), connection.protocol()};
  const auto set_or_refuse = [&](const Result<SetArguments>& parsed, bool answer_number) {
    if (!parsed) return answer_error(asked, parsed.error().message);
    set(asked, *parsed, answer_number);
  };
  switch (command) {
    case RespCommand::kGet:
      return get(asked, args[1], [](RespReply& out, const ReadDone& done) {
        if (done.value)
          out.bulk(*done.value);
        else
          out.null();
      });
    case RespCommand::kStrlen:
      return get(asked, args[1], [](RespReply& out, const ReadDone& done) {
        out.integer(done.value ? static_cast<std::int64_t>(done.value->size()) : 0);
      });
    case RespCommand::kType:
      return get(asked, args[1],
                 [](RespReply& out, const ReadDone& done) { out.simple(done.value ? "string" : "none"); });
    case RespCommand::kTtl:
    case RespCommand::kPTtl:
      return get(asked, args[1], [seconds = command == RespCommand::kTtl](RespReply& out, const ReadDone& done) {
        if (!done.value) return out.integer(-2);
        if (done.ttl_left_ns == kForever) return out.integer(-1);
        const std::int64_t ms = (done.ttl_left_ns + kMillisecond - 1) / kMillisecond;
        out.integer(seconds ? (ms + 500) / 1000 : ms);
      });
    case RespCommand::kSet: return set_or_refuse(parse_set(args), false);
    case RespCommand::kSetEx:
    case RespCommand::kPSetEx: return set_or_refuse(parse_setex(args), false);
    case RespCommand::kSetNx: return set_or_refuse(parse_setex(args), true);
    case RespCommand::kGetDel: return get_and_delete(asked, args[1]);
    case RespCommand::kAppend: return append(asked, args);
    case RespCommand::kMGet: return mget(asked, args);
    case RespCommand::kMSet: return mset(asked, args);
    case RespCommand::kDel:
    case RespCommand::kUnlink: return erase(asked, args);
    case RespCommand::kExists: return exists(asked, args);
    case RespCommand::kExpire:
    case RespCommand::kPExpire: return expire(asked, args);
    case RespCommand::kPersist: return persist(asked, args[1]);
    case RespCommand::kKeys: return keys(asked, args[1]);
    case RespCommand::kScan: return scan(asked, args);
    case RespCommand::kDbSize: return count_keys(asked);
    case RespCommand::kFlushAll:
    case RespCommand::kFlushDb: return flush(asked, args);
    case RespCommand::kTlGet: return tl_get(asked, args);
    case RespCommand::kTlSet: return tl_set(asked, args);
    case RespCommand::kMemory: return memory_command(asked, args);
    case RespCommand::kConfig: return rewrite_config(asked);
    default:
      return answer_error(asked,
                          "ERR command '" + std::string(connection.command().name) + "' is not served by this edge");
  }
}

// A read under the namespace's default contract.
void EdgeCommands::get(const Asked& asked, std::string_view key,
                       std::function<void(RespReply&, const ReadDone&)> write) {
  core_.read(std::string(key), {}, [this, asked, write = std::move(write)](const ReadDone& done) {
    if (done.code != Code::kOk && done.code != Code::kNotFound) {
      return answer_error(asked, error_reply(done.code, done.message, done.receipt.bound_ns));
    }
    answer(asked, [&](RespReply& reply) { write(reply, done); });
  });
}

void EdgeCommands::set(const Asked& asked, const SetArguments& args, bool answer_number) {
  KeyWrite write;
  write.key = std::string(args.key);
  write.value = Bytes(args.value);
  write.keep_ttl = args.keep_ttl;
  if (args.ttl_ms) write.ttl_ns = duration_of_ms(*args.ttl_ms);
  if (args.expires_at_ms) {  // DESIGN 5: an absolute time is converted once
    const auto wall_ms = static_cast<std::int64_t>(wall_ms_now());
    if (*args.expires_at_ms <= wall_ms)
      write.value.reset();  // as Redis: gone at once
    else
      write.ttl_ns = duration_of_ms(*args.expires_at_ms - wall_ms);
  }
  const bool conditional = args.only_if_absent || args.only_if_present;
  if (!args.get) {
    write.condition = args.only_if_absent    ? Condition::kAbsent
                      : args.only_if_present ? Condition::kPresent
                                             : Condition::kNone;
    const auto go = [this, asked, write, conditional, answer_number] {
      core_.write(write, std::nullopt, [this, asked, conditional, answer_number](const WriteDoneOp& done) {
        const bool refused = conditional && done.code == Code::kConflict;
        if (done.code != Code::kOk && !refused) return answer_error(asked, error_reply(done.code, done.message));
        answer(asked, [&](RespReply& reply) {
          if (answer_number)
            reply.integer(refused ? 0 : 1);
          else if (refused)
            reply.null();
          else
            reply.ok();
        });
      });
    };
    if (conditional && behind(write.key))
      with_local_copy(write.key, go);
    else
      go();
    return;
  }
  modify(
      asked, write.key,
      [write, absent = args.only_if_absent,
       present = args.only_if_present](const Current& current) -> std::optional<KeyWrite> {
        if ((absent && current.present) || (present && !current.present)) return std::nullopt;
        return write;
      },
      [](RespReply& reply, const Current& current, const WriteDoneOp*) {
        if (current.present)
          reply.bulk(current.value);
        else
          reply.null();
      });
}

void EdgeCommands::tl_get(const Asked& asked, const Arguments& args) {
  const auto parsed = parse_tl_get(args);
  if (!parsed) return answer_error(asked, parsed.error().message);
  core_.read(std::string(parsed->key), parsed->contract, [this, asked](const ReadDone& done) {
    answer(asked, [&](RespReply& reply) { write_tl_get(done, reply); });
  });
}

void EdgeCommands::tl_set(const Asked& asked, const Arguments& args) {
  const auto parsed = parse_tl_set(args);
  if (!parsed) return answer_error(asked, parsed.error().message);
  KeyWrite write;
  write.key = std::string(parsed->key);
  write.value = Bytes(parsed->value);
  write.ttl_ns = duration_of_ms(parsed->ttl_ms);
  core_.write(std::move(write), parsed->level, [this, asked](const WriteDoneOp& done) {
    answer(asked, [&](RespReply& reply) { write_tl_set(done, reply); });
  });
}

void EdgeCommands::mget(const Asked& asked, const Arguments& args) {
  auto all = std::make_shared<Gather>();
  all->left = args.size() - 1;
  all->values.resize(all->left);
  for (std::size_t i = 1; i < args.size(); ++i) {
    core_.read(std::string(args[i]), {}, [this, asked, all, at = i - 1](ReadDone done) {
      if (done.code != Code::kOk && done.code != Code::kNotFound && all->error.empty()) {
        all->error = error_reply(done.code, done.message, done.receipt.bound_ns);
      }
      all->values[at] = std::move(done.value);
      if (--all->left > 0) return;
      if (!all->error.empty()) return answer_error(asked, all->error);
      answer(asked, [&](RespReply& reply) {
        reply.array(all->values.size());
        for (const auto& value : all->values) {
          if (value)
            reply.bulk(*value);
          else
            reply.null();
        }
      });
    });
  }
}

void EdgeCommands::mset(const Asked& asked, const Arguments& args) {
  auto all = std::make_shared<Gather>();
  all->left = (args.size() - 1) / 2;
  // One unit: no other command sees some of the gateway's keys new and some old.
  std::vector<KeyWrite> writes;
  for (std::size_t i = 1; i + 1 < args.size(); i += 2) {
    KeyWrite write;
    write.key = std::string(args[i]);
    write.value = Bytes(args[i + 1]);
    writes.push_back(std::move(write));
  }
  core_.run([this, asked, all, writes = std::move(writes)] {
    for (const KeyWrite& write : writes) {
      core_.write(write, std::nullopt, [this, asked, all](const WriteDoneOp& done) {
        if (done.code != Code::kOk && all->error.empty()) all->error = error_reply(done.code, done.message);
        if (--all->left > 0) return;
        if (!all->error.empty())
          answer_error(asked, all->error);
        else
          answer(asked, [](RespReply& reply) { reply.ok(); });
      });
    }
  });
}

void EdgeCommands::erase(const Asked& asked, const Arguments& args) {
  auto all = std::make_shared<Gather>();
  all->left = args.size() - 1;
  for (std::size_t i = 1; i < args.size(); ++i) {
    KeyWrite write;
    write.key = std::string(args[i]);
    const bool at_hub = through(args[i]);
    const bool in_outbox = behind(args[i]);
    if (at_hub) write.condition = Condition::kPresent;  // so that the answer counts what was there
    core_.run([this, asked, all, write, at_hub, in_outbox] {
      const bool was_here = in_outbox && held(write.key).present;
      core_.write(write, std::nullopt, [this, asked, all, at_hub, in_outbox, was_here](const WriteDoneOp& done) {
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
  for (std::size_t i = 1; i < args.size(); ++i) {
    core_.read(std::string(args[i]), {}, [this, asked, all](const ReadDone& done) {
      if (done.code != Code::kOk && done.code != Code::kNotFound && all->error.empty()) {
        all->error = error_reply(done.code, done.message, done.receipt.bound_ns);
      }
      all->count += done.code == Code::kOk;
      if (--all->left > 0) return;
      if (!all->error.empty()) return answer_error(asked, all->error);
      answer(asked, [&](RespReply& reply) { reply.integer(all->count); });
    });
  }
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
        const Nanos ttl = duration_of_ms(wanted.ttl_ms);
        if (wanted.only_without_ttl && has_ttl) return std::nullopt;
        if (wanted.only_with_ttl && !has_ttl) return std::nullopt;
        if (wanted.only_greater && (!has_ttl || ttl <= current.ttl_left_ns))
          return std::nullopt;  // no expiry counts as infinite
        if (wanted.only_less && has_ttl && ttl >= current.ttl_left_ns) return std::nullopt;
        KeyWrite write;
        write.key = key;
        if (wanted.ttl_ms > 0) {  // else it goes at once
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

void EdgeCommands::get_and_delete(const Asked& asked, std::string_view name) {
  const std::string key(name);
  modify(
      asked, key,
      [key](const Current& current) -> std::optional<KeyWrite> {
        if (!current.present) return std::nullopt;
        KeyWrite write;
        write.key = key;
        return write;
      },
      [](RespReply& reply, const Current& current, const WriteDoneOp*) {
        if (current.present)
          reply.bulk(current.value);
        else
          reply.null();
      });
}

void EdgeCommands::append(const Asked& asked, const Arguments& args) {
  const std::string key(args[1]);
  const std::string more(args[2]);
  modify(
      asked, key,
      [key, more](const Current& current) -> std::optional<KeyWrite> {
        KeyWrite write;
        write.key = key;
        write.value = current.value + more;
        write.keep_ttl = current.present;
        return write;
      },
      [size = more.size()](RespReply& reply, const Current& current, const WriteDoneOp*) {
        reply.integer(static_cast<std::int64_t>(current.value.size() + size));
      });
}

}  // namespace tidelock
