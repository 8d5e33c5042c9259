// MULTI, EXEC, DISCARD, WATCH, UNWATCH; and what belongs around every command of a connection: take_command runs one,
// drops its answer when CLIENT REPLY says so, and then adds the pushes that came up meanwhile, so that none stands
// inside an answer. EXEC puts its answers aside (transaction.answers) until the last is there: while one of them is
// deferred, pushes go past it.
#include <algorithm>
#include <utility>

#include "wire/resp/command_access.h"
#include "wire/resp/server_impl.h"

namespace tidelock {
namespace {

constexpr std::size_t kSmallOutputBytes = 64u << 10;
constexpr std::size_t kQueuedOverheadBytes = 64;  // of one command, and of one argument
constexpr std::size_t kWatchedOverheadBytes = 160;

template <class Words>
std::size_t queued_bytes(const Words& args) {
  std::size_t bytes = kQueuedOverheadBytes;
  for (const auto& arg : args) bytes += arg.size() + kQueuedOverheadBytes;
  return bytes;
}

bool is_subscription(RespCommand id) {
  return id == RespCommand::kSubscribe || id == RespCommand::kUnsubscribe || id == RespCommand::kPSubscribe ||
         id == RespCommand::kPUnsubscribe;
}

// "client|list"; the name alone for commands without subcommands.
std::string full_name(const CommandSpec& spec, const Arguments& args) {
  std::string name(spec.name);
  switch (spec.id) {
    case RespCommand::kClient:
    case RespCommand::kCommand:
    case RespCommand::kConfig:
    case RespCommand::kAcl:
    case RespCommand::kMemory:
    case RespCommand::kSlowlog:
    case RespCommand::kLatency:
    case RespCommand::kFunction:
    case RespCommand::kObject:
    case RespCommand::kPubSub: break;
    default: return name;
  }
  if (args.size() < 2) return name;
  name.push_back('|');
  for (const char c : args[1].substr(0, 128)) name.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  return name;
}

}  // namespace

void RespServerImpl::take_command(RespConnection& c, const Arguments& args) {
  if (pause_until != kNever && paused_for(c, args[0], args.size())) {
    c.postponed.assign(args.begin(), args.end());
    c.state_bytes += queued_bytes(c.postponed);
    return;
  }
  const std::size_t before = c.out.size();
  executing = &c;
  c.skips = c.reply_mode == RespReplyMode::kSkipNext;
  if (c.skips) c.reply_mode = RespReplyMode::kOn;
  c.admitted = false;
  execute(c, args);
  if (c.transaction.open && !c.transaction.running && !c.admitted) c.transaction.broken = true;
  end_command(c, before);
}

void RespServerImpl::end_command(RespConnection& c, std::size_t before) {
  executing = nullptr;
  if (!c.transaction.running) {
    if (c.skips || c.reply_mode != RespReplyMode::kOn) {
      c.cut_answers(before);
      c.drops_owed = c.waits();
    }
    c.out.append(c.pushes);
    std::string().swap(c.pushes);
    const bool speaks_of_next = c.admitted && c.current->id == RespCommand::kClient;
    if (!c.transaction.open && !speaks_of_next) c.tracking.caching = false;
  }
  flush_broadcasts();
}

// At the begin of a turn, before the next command is looked at.
void RespServerImpl::go_on(RespConnection& c) {
  if (c.overflowed) {
    ++stats.closed_slow_reader;  // X6
    return close(c);
  }
  if (c.transaction.running && !c.waits()) {
    const std::size_t before = c.out.size();
    executing = &c;
    run_queued(c);
    end_command(c, before);
  }
  if (c.postponed.empty() || c.waits() || c.transaction.running) return;
  if (paused_for(c, c.postponed[0], c.postponed.size())) return;
  const std::vector<std::string> words = std::exchange(c.postponed, {});
  c.state_bytes -= queued_bytes(words);
  c.last_at = loop.clock().now();  // the wait was not the client's
  take_command(c, Arguments(words.begin(), words.end()));
}

bool RespServerImpl::intercept(RespConnection& c, const Arguments& args, RespReply& reply) {
  const CommandSpec& spec = *c.current;
  c.admitted = true;
  if (c.transaction.running) return false;
  if (c.protocol_version == 2 && c.subscriptions() > 0 && !is_subscription(spec.id) && spec.id != RespCommand::kPing &&
      spec.id != RespCommand::kQuit && spec.id != RespCommand::kReset) {
    c.admitted = false;
    reply.error("ERR Can't execute '" + full_name(spec, args) +
                "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context");
    return true;
  }
  if (!c.transaction.open) return false;
  switch (spec.id) {
    case RespCommand::kExec:
    case RespCommand::kDiscard:
    case RespCommand::kMulti:
    case RespCommand::kWatch:
    case RespCommand::kQuit:
    case RespCommand::kReset: return false;
    default: queue_command(c, args, reply); return true;
  }
}

void RespServerImpl::queue_command(RespConnection& c, const Arguments& args, RespReply& reply) {
  const CommandSpec& spec = *c.current;
  RespTransaction& t = c.transaction;
  const auto refuse = [&](const std::string& why) {
    c.admitted = false;  // EXEC will be refused, too
    reply.error(why);
  };
  if (look_up(args).unknown_subcommand) return refuse(unknown_subcommand_error(spec.name, args[1]));
  // Redis lets subscriptions pass, and their confirmations break the count of EXEC's array.
  if ((spec.flags & CommandFlag::kNoMulti) != 0 || is_subscription(spec.id)) {
    return refuse("ERR Command not allowed inside a transaction");
  }
  if (const std::string why = handler.refuse_in_transaction(spec, args); !why.empty()) return refuse(why);
  const std::size_t bytes = queued_bytes(args);
  if (c.state_bytes + bytes > options.limits.request_bytes_max) {
    return refuse("ERR the transaction is too large: at most " + std::to_string(options.limits.request_bytes_max) +
                  " bytes can be queued");
  }
  c.state_bytes += bytes;
  t.writes |= (spec.flags & CommandFlag::kWrite) != 0 || spec.id == RespCommand::kPublish;
  t.queued.emplace_back(args.begin(), args.end());
  reply.simple("QUEUED");
}

void RespServerImpl::multi(RespConnection& c, RespReply& reply) {
  if (c.transaction.open) return reply.error("ERR MULTI calls can not be nested");
  c.transaction.open = true;
  reply.ok();
}

void RespServerImpl::exec(RespConnection& c, RespReply& reply) {
  RespTransaction& t = c.transaction;
  if (!t.open) return reply.error("ERR EXEC without MULTI");
  const Nanos now = loop.clock().now();
  const bool expired =
      std::any_of(t.watched.begin(), t.watched.end(), [&](const auto& watched) { return watched.second <= now; });
  if (t.broken) {
    end_transaction(c);
    return reply.error("EXECABORT Transaction discarded because of previous errors.");
  }
  if (t.changed || expired) {
    end_transaction(c);
    return reply.null_array();
  }
  if (exec_together(c, reply)) return end_transaction(c);
  unwatch(c);
  t.running = true;
  t.next = 0;
  RespReply(t.answers, c.protocol_version).array(t.queued.size());
  run_queued(c);
}

// False: they are for run_queued.
bool RespServerImpl::exec_together(RespConnection& c, RespReply& reply) {
  const RespTransaction& t = c.transaction;
  if (t.queued.empty()) return false;
  bool allowed = true;  // rights may have changed since it was queued
  for (const auto& words : t.queued) {
    if (c.user->unrestricted() || !allowed) break;
    const Arguments args(words.begin(), words.end());
    allowed = refuse(c, look_up(args), args).empty();
  }
  std::vector<std::string> watched;
  for (const auto& [key, expires_at] : t.watched) watched.push_back(key);
  bool together = false;
  const Arguments exec = {"exec"};
  executing_args = &exec;
  call_handler(c, reply, [&] { together = handler.execute_together(c, t.queued, watched, allowed, reply); });
  executing_args = nullptr;
  if (!together) return false;
  for (const auto& words : t.queued) {
    const Arguments args(words.begin(), words.end());
    note_read(c, *look_up(args).spec, args);
  }
  return true;
}

// Commands write to c.out; so the answers stand there while they run.
void RespServerImpl::run_queued(RespConnection& c) {
  RespTransaction& t = c.transaction;
  std::string outside = std::exchange(c.out, std::move(t.answers));
  const std::size_t sent_outside = std::exchange(c.out_sent, 0);
  while (t.next < t.queued.size() && !c.waits()) {
    const std::vector<std::string>& words = t.queued[t.next++];
    execute(c, Arguments(words.begin(), words.end()));
    if (c.out.size() <= options.output_hard_bytes) continue;
    t.dropped = true;  // X6. The rest is run all the same: half a transaction is worse than no answer
    std::string().swap(c.out);
  }
  t.answers = std::exchange(c.out, std::move(outside));
  c.out_sent = sent_outside;
  c.current = &spec_of(RespCommand::kExec);
  c.last_command = "exec";
  if (c.waits()) return;
  const std::string answers = std::move(t.answers);
  if (t.dropped) {
    c.overflowed = true;
    enqueue(c);
  } else {
    c.out.append(answers);
  }
  end_transaction(c);
}

void RespServerImpl::discard(RespConnection& c, RespReply& reply) {
  if (!c.transaction.open) return reply.error("ERR DISCARD without MULTI");
  end_transaction(c);
  reply.ok();
}

void RespServerImpl::end_transaction(RespConnection& c) {
  unwatch(c);
  for (const auto& words : c.transaction.queued) c.state_bytes -= queued_bytes(words);
  c.transaction = {};
}

void RespServerImpl::watch_keys(RespConnection& c, const Arguments& args, RespReply& reply) {
  RespTransaction& t = c.transaction;
  if (t.open) return reply.error("ERR WATCH inside MULTI is not allowed");
  const Nanos now = loop.clock().now();
  for (std::size_t i = 1; i < args.size() && !t.changed; ++i) {
    if (t.watched.contains(args[i])) continue;
    const Nanos expires_at = handler.expires_at(args[i]);
    t.watched.emplace(args[i], expires_at <= now ? kForever : expires_at);  // what is gone already does not change
    watchers[std::string(args[i])].insert(c.number);
    c.state_bytes += args[i].size() + kWatchedOverheadBytes;
  }
  reply.ok();
}

void RespServerImpl::unwatch(RespConnection& c) {
  for (const auto& [key, expires_at] : c.transaction.watched) {
    c.state_bytes -= key.size() + kWatchedOverheadBytes;
    const auto found = watchers.find(key);
    found->second.erase(c.number);
    if (found->second.empty()) watchers.erase(found);
  }
  c.transaction.watched.clear();
  c.transaction.changed = false;
}

std::string& RespServerImpl::answers_of(RespConnection& c) {
  if (c.transaction.running) return c.transaction.answers;
  if (!std::exchange(c.drops_owed, false)) return c.out;
  dropped_answer.clear();
  return dropped_answer;
}

void RespServerImpl::forget_state(RespConnection& c) {
  end_transaction(c);
  unsubscribe_all(c);
  stop_tracking(c);
  c.reply_mode = RespReplyMode::kOn;
  c.skips = false;
  if (!c.postponed.empty()) c.state_bytes -= queued_bytes(std::exchange(c.postponed, {}));
}

// What a client is told unasked. It counts against the limits at once: one PUBLISH goes to thousands.
void RespServerImpl::push_to(RespConnection& c, std::string_view encoded) {
  if (c.dead || c.overflowed || c.close_when_sent) return;  // X4: a deleted user is told nothing more
  std::string& sink = &c == executing || c.transaction.running ? c.pushes : c.out;
  // When all buffers together are full, whoever holds little is not the one to go.
  const std::size_t held = c.unsent() + c.pushes.size() + encoded.size();
  if (held > options.output_hard_bytes ||
      (held > kSmallOutputBytes && stats.buffers_bytes + encoded.size() > options.buffers_bytes_max)) {
    c.overflowed = true;
  } else {
    const std::size_t before = sink.capacity();
    sink.append(encoded);
    c.accounted_bytes += sink.capacity() - before;
    stats.buffers_bytes += sink.capacity() - before;
  }
  enqueue(c);
}

}  // namespace tidelock
