// EXEC of keys that are written through the hub: read them there, run the commands here, write what they leave at one
// index on condition that no key was written meanwhile (kVersionIs), else all of it again. So what its commands saw and
// what they wrote was the state of one instant, everywhere (S4).

#include <utility>

#include "base/assert.h"
#include "edge/commands.h"
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
};

bool EdgeCommands::execute_together(ConnectionContext& connection,
                                    const std::vector<std::vector<std::string>>& commands,
                                    const std::vector<std::string>& watched, RespReply& reply) {
  auto exec = std::make_shared<Exec>();
  bool at_hub = false, others = false;
  for (const auto& words : commands) {
    const Arguments args(words.begin(), words.end());
    bool keys = false;
    for_each_key(look_up(args), args, [&](std::string_view key, std::uint32_t) {
      (through(key) ? at_hub : others) = keys = true;
      if (!exec->keys.contains(key)) exec->keys.emplace(key);
      return true;
    });
    others |= !keys;
  }
  if (!at_hub) return false;
  if (others) {
    reply.error(
        "EXECABORT Transaction discarded because some of its commands are of keys that are written through the "
        "hub and some are not, so no instant is theirs");
    return true;
  }
  for (const std::string& key : watched) {
    if (!through(key)) continue;
    const auto held = core_.core().memory().peek(key);
    if (!held) {
      reply.error("EXECABORT Transaction discarded because this edge does not hold the watched key '" + key +
                  "': read it between WATCH and MULTI");
      return true;
    }
    exec->watched[key] = held->value ? held->version : Index{};
    exec->keys.insert(key);
  }
  exec->commands = commands;
  core_.settle_first();
  exec->asked = {connection.defer(), connection.protocol()};
  try_together(std::move(exec));
  return true;
}

void EdgeCommands::try_together(std::shared_ptr<Exec> exec) {
  read_all_at_hub(exec, [this, exec](std::shared_ptr<Together> all) {
    for (const auto& [key, version] : exec->watched) {
      if (all->keys.find(key)->second.read.version == version) continue;
      return answer(exec->asked, [](RespReply& reply) { reply.null_array(); });
    }
    Asked asked = exec->asked;
    asked.together = all;
    RespReply(all->answers, asked.protocol).array(exec->commands.size());
    for (const auto& words : exec->commands) {
      const Arguments args(words.begin(), words.end());
      const std::size_t answered = all->answered;
      dispatch(asked, look_up(args).spec->id, args);
      TIDELOCK_ASSERT(all->answered == answered + 1);  // at once: all that it needs is here
    }
    std::vector<KeyWrite> writes;
    bool changes = false;
    for (const auto& [name, key] : all->keys) {
      KeyWrite write;  // of a key that was only read, itself: what was read of it holds when the others are written
      if (key.write) {
        changes = true;
        write = *key.write;
      } else {
        if (key.read.present) write.value = key.read.value;
        write.keep_ttl = key.read.present;
      }
      write.key = name;
      write.condition = Condition::kVersionIs;
      write.expected = key.read.version;
      writes.push_back(std::move(write));
    }
    if (changes) {
      core_.write_at_one_index(std::move(writes), [this, exec, all](const WriteDoneOp& done) {
        if (done.code == Code::kConflict) return again_together(exec);
        if (done.code != Code::kOk) return answer_error(exec->asked, error_reply(done.code, done.message));
        answer(exec->asked, [&](RespReply& reply) { reply.raw(all->answers); });
      });
      return;
    }
    // Nothing but reads: if all keys are at the hub still what they were, there was an instant when all were so.
    read_all_at_hub(exec, [this, exec, all](std::shared_ptr<Together> second) {
      for (const auto& [name, key] : all->keys) {
        if (second->keys.find(name)->second.read.version != key.read.version) return again_together(exec);
      }
      answer(exec->asked, [&](RespReply& reply) { reply.raw(all->answers); });
    });
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
  for (const std::string& key : exec->keys) {
    find_at_hub(key, [this, exec, all, left, error, key, then](const std::string& why, const Current& found) {
      if (error->empty()) *error = why;
      all->keys[key] = {found, found, {}};
      if (--*left > 0) return;
      if (!error->empty()) return answer_error(exec->asked, *error);
      then(all);
    });
  }
}

}  // namespace tidelock
