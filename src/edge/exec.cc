// EXEC of keys that are written through the hub: read them there, run the commands here, write what they leave at one
// index on condition that no key was written meanwhile (kVersionIs, kVersionStays), else all of it again. So what its
// commands saw and what they wrote was the state of one instant, everywhere (S4). DEL of several such keys becomes one
// when some are absent.

#include <utility>

#include "edge/commands.h"
#include "edge/gather.h"
#include "edge/tl_reply.h"
#include "edge/together.h"
#include "wire/resp/command_access.h"

namespace tidelock {
namespace {
constexpr int kTries = 8;  // lost races at the hub before the caller is told to try again
}

struct EdgeCommands::Exec {
  Asked asked;
  std::vector<std::vector<std::string>> commands;
  std::set<std::string, std::less<>> keys;
  std::map<std::string, Index> watched;  // -> the version that its client may have seen
  int tries_left = kTries;
  bool deletes = false;  // a DEL of no MULTI: its answer alone is told, and values do not matter
};

bool EdgeCommands::execute_together(ConnectionContext& connection,
                                    const std::vector<std::vector<std::string>>& commands,
                                    const std::vector<std::string>& watched, bool allowed, RespReply& reply) {
  auto exec = std::make_shared<Exec>();
  bool at_hub = false, others = false, runs = true;
  const auto take = [&](std::string_view key) {
    (through(key) ? at_hub : others) = true;
    if (!exec->keys.contains(key)) exec->keys.emplace(key);
  };
  for (const auto& words : commands) {
    const Arguments args(words.begin(), words.end());
    bool keys = false;
    for_each_key(look_up(args), args, [&](std::string_view key, std::uint32_t) {
      keys = true;
      take(key);
      return true;
    });
    others |= !keys;
    runs = runs && runs_together(look_up(args).spec->id);  // policies may have changed since it was queued
  }
  if (!at_hub) return false;
  const auto refuse = [&](const std::string& why) {
    reply.error("EXECABORT Transaction discarded because " + why);
    return true;
  };
  for (const std::string& key : watched) take(key);
  if (others) {
    return refuse(
        "some of its commands, or of the watched keys, are of keys that are written through the hub and some "
        "are not, so no instant is theirs");
  }
  if (!runs) return refuse("of previous errors.");
  if (!allowed) return refuse("its user may not run all of its commands any more");
  if (exec->keys.size() > kKeysPerWriteMax) {
    return refuse("it has " + std::to_string(exec->keys.size()) +
                  " keys that are written through the hub; a write has " + "at most " +
                  std::to_string(kKeysPerWriteMax));
  }
  core_.settle_first();
  for (const std::string& key : watched) {
    const auto held = core_.core().memory().peek(key);
    if (!held) {
      return refuse("this edge does not hold the watched key '" + key.substr(0, 128) +
                    "': read it between WATCH and MULTI");
    }
    exec->watched[key] = held->value ? held->version : Index{};
  }
  exec->commands = commands;
  exec->asked = {connection.defer(), connection.protocol()};
  try_together(std::move(exec));
  return true;
}

void EdgeCommands::erase_at_one_index(const Asked& asked, const Arguments& args) {
  auto exec = std::make_shared<Exec>();
  for (auto key = args.begin() + 1; key != args.end(); ++key) exec->keys.emplace(*key);
  exec->commands.emplace_back(args.begin(), args.end());
  exec->asked = asked;
  exec->deletes = true;
  std::vector<KeyWrite> writes;
  for (const std::string& key : exec->keys) {
    KeyWrite& write = writes.emplace_back();
    write.key = key;
    write.condition = Condition::kPresent;  // as a rule they are, and the hub need not be asked first
    if (const std::string why = why_not_written(write); !why.empty()) return answer_error(asked, why);
  }
  core_.write_at_one_index(std::move(writes), [this, exec](const WriteDoneOp& done) {
    if (done.code == Code::kConflict) return try_together(exec);
    if (done.code != Code::kOk) return answer_error(exec->asked, error_reply(done.code, done.message));
    answer(exec->asked, [&](RespReply& reply) { reply.integer(static_cast<std::int64_t>(exec->keys.size())); });
  });
}

void EdgeCommands::try_together(std::shared_ptr<Exec> exec) {
  read_all_at_hub(exec, [this, exec](const std::shared_ptr<Together>& all) {
    for (const auto& [key, version] : exec->watched) {
      if (all->keys.find(key)->second.read.version == version) continue;
      return answer(exec->asked, [](RespReply& reply) { reply.null_array(); });
    }
    run_together(exec, all);
  });
}

void EdgeCommands::run_together(const std::shared_ptr<Exec>& exec, const std::shared_ptr<Together>& all) {
  for (const auto& [name, key] : all->keys) {
    if (!through(name)) return answer_error(exec->asked, "ERR the policy of key '" + name + "' changed meanwhile");
  }
  Asked asked = exec->asked;
  asked.together = all;
  if (!exec->deletes) RespReply(all->answers, asked.protocol).array(exec->commands.size());
  for (const auto& words : exec->commands) {
    const Arguments args(words.begin(), words.end());
    const std::size_t answered = all->answered;
    dispatch(asked, look_up(args).spec->id, args);
    if (all->answered != answered + 1) return answer_error(exec->asked, "ERR internal error: " + words[0] + " waited");
    if (all->answers.size() > kAnswerBytesMax) {  // X6
      return answer_error(exec->asked, "ERR the answers of this transaction are above " +
                                           std::to_string(kAnswerBytesMax) + " bytes; ask for fewer");
    }
  }
  // A key that was only read is not written: the hub holds its version against what was read. Reads alone do not even
  // ask it for an index, if all keys are there: a version that is the same in two readings was there between them. Of
  // an absent key that says nothing. (A hub of yesterday is given the value that the key has, to be written again.)
  const bool stays = core_.core().hub_keeps_unwritten();
  bool ask = false, model = false;
  std::vector<KeyWrite> writes;
  for (const auto& [name, key] : all->keys) {
    ask |= key.write.has_value() || (!key.read.present && all->keys.size() > 1);
    model |= name.starts_with("model:") && !stays;
    KeyWrite write;
    write.condition = exec->deletes && key.write ? Condition::kPresent
                      : key.write || !stays      ? Condition::kVersionIs
                                                 : Condition::kVersionStays;
    if (key.write) {
      write.value = key.write->value;
      write.ttl_ns = key.write->ttl_ns;
      write.keep_ttl = key.write->keep_ttl;
    } else if (!stays && key.read.present) {
      write.value = key.read.value;
      write.keep_ttl = true;
    }
    write.key = name;
    write.expected = key.read.version;
    writes.push_back(std::move(write));
  }
  const auto good = [this, exec, all] { answer(exec->asked, [&](RespReply& reply) { reply.raw(all->answers); }); };
  if (!ask) {
    return read_all_at_hub(exec, [this, exec, all, good](const std::shared_ptr<Together>& second) {
      for (const auto& [name, key] : all->keys) {
        if (second->keys.find(name)->second.read.version != key.read.version) return again_together(exec);
      }
      good();
    });
  }
  if (model) {
    return answer_error(exec->asked, error_reply(Code::kUnavailable,
                                                 "the hub is of an older version: beside what it writes, a "
                                                 "transaction cannot read model keys yet"));
  }
  core_.write_at_one_index(std::move(writes), [this, exec, good](const WriteDoneOp& done) {
    if (done.code == Code::kConflict) return again_together(exec);
    if (done.code != Code::kOk) return answer_error(exec->asked, error_reply(done.code, done.message));
    good();
  });
}

void EdgeCommands::again_together(std::shared_ptr<Exec> exec) {
  if (--exec->tries_left > 0) return try_together(std::move(exec));
  answer_error(exec->asked, error_reply(Code::kBusy, "too many writers of these keys"));
}

void EdgeCommands::read_all_at_hub(const std::shared_ptr<Exec>& exec,
                                   std::function<void(std::shared_ptr<Together>)> then) {
  auto all = std::make_shared<Together>();
  auto left = std::make_shared<std::size_t>(exec->keys.size());
  auto error = std::make_shared<std::string>();
  core_.run([this, exec, all, left, error, then = std::move(then)] {
    for (const std::string& key : exec->keys) {
      find_at_hub(key, [this, exec, all, left, error, key, then](const std::string& why, const Current& found) {
        if (error->empty()) *error = why;
        Together::Key& at = all->keys[key];
        at.read = found;
        if (exec->deletes) at.read.value.clear();
        at.now = at.read;
        if (--*left > 0) return;
        if (!error->empty()) return answer_error(exec->asked, *error);
        then(all);
      });
    }
  });
}

}  // namespace tidelock
