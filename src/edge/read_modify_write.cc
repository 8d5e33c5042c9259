// Read-modify-write of one key; see commands.h for where it happens.

#include <utility>

#include "edge/commands.h"
#include "edge/tl_reply.h"
#include "edge/together.h"

namespace tidelock {
namespace {
constexpr int kTries = 8;  // lost races at the hub before the caller is told to try again
}

void EdgeCommands::modify(const Asked& asked, std::string key, Compute compute, Finish finish) {
  if (asked.together) {
    const Current current = asked.together->keys.find(key)->second.now;
    auto write = compute(current);
    if (!write) return answer(asked, [&](RespReply& reply) { finish(reply, current, nullptr); });
    return write_one(asked, std::move(*write),
                     [&](const WriteDoneOp& done) { finish_write(asked, finish, current, done); });
  }
  if (through(key)) return modify_at_hub(asked, std::move(key), std::move(compute), std::move(finish), kTries);
  with_local_copy(key, [this, asked, key, compute = std::move(compute), finish = std::move(finish)] {
    const Current current = held(key);  // and the write in the same unit: nothing comes between
    auto write = compute(current);
    if (!write) return answer(asked, [&](RespReply& reply) { finish(reply, current, nullptr); });
    core_.write(std::move(*write), std::nullopt, [this, asked, finish, current](const WriteDoneOp& done) {
      finish_write(asked, finish, current, done);
    });
  });
}

void EdgeCommands::finish_write(const Asked& asked, const Finish& finish, const Current& current,
                                const WriteDoneOp& done) {
  if (done.code != Code::kOk) return answer_error(asked, error_reply(done.code, done.message));
  answer(asked, [&](RespReply& reply) { finish(reply, current, &done); });
}

// A strong read: what the key was at the hub after this call began, or an error.
void EdgeCommands::find_at_hub(const std::string& key,
                               std::function<void(const std::string& error, const Current&)> then) {
  Contract strong;
  strong.consistency = Consistency::kStrong;
  core_.read(key, strong, [then = std::move(then)](ReadDone done) {
    Current current;
    if ((done.code != Code::kOk && done.code != Code::kNotFound) || done.receipt.fallback) {
      const Code code = done.receipt.fallback ? Code::kStale : done.code;
      return then(error_reply(code, done.receipt.fallback ? "no hub to modify the key at" : done.message,
                              done.receipt.bound_ns),
                  current);
    }
    current.present = done.value.has_value();
    if (current.present) {
      current.value = std::move(*done.value);
      current.version = done.receipt.version;
      current.ttl_left_ns = done.ttl_left_ns;
    }
    then({}, current);
  });
}

void EdgeCommands::read_at_hub(const Asked& asked, const std::string& key, std::function<void(const Current&)> then) {
  find_at_hub(key, [this, asked, then = std::move(then)](const std::string& error, const Current& current) {
    error.empty() ? then(current) : answer_error(asked, error);
  });
}

void EdgeCommands::modify_at_hub(const Asked& asked, std::string key, Compute compute, Finish finish, int tries_left) {
  read_at_hub(asked, key, [=, this](const Current& current) {
    auto write = compute(current);
    if (!write) return answer(asked, [&](RespReply& reply) { finish(reply, current, nullptr); });
    write->condition = Condition::kVersionIs;
    write->expected = current.version;
    core_.write(std::move(*write), std::nullopt, [=, this](const WriteDoneOp& written) {
      if (written.code == Code::kConflict && tries_left > 1) {
        return modify_at_hub(asked, key, compute, finish, tries_left - 1);
      }
      if (written.code == Code::kConflict)
        return answer_error(asked, error_reply(Code::kBusy, "too many writers of this key"));
      finish_write(asked, finish, current, written);
    });
  });
}

// Runs `then` as one unit, with a write-behind key's value brought here first when it can be had.
void EdgeCommands::with_local_copy(const std::string& key, std::function<void()> then) {
  if (!behind(key)) return core_.run(std::move(then));
  Contract any;
  any.consistency = Consistency::kEventual;
  core_.read(key, any, [this, then = std::move(then)](const ReadDone&) { core_.run(then); });
}

// The same for several keys.
void EdgeCommands::with_local_copies(const std::vector<std::string>& keys, std::function<void()> then) {
  auto left = std::make_shared<std::size_t>(1);
  const auto finish = [this, left, then = std::move(then)] {
    if (--*left == 0) core_.run(then);
  };
  for (const std::string& key : keys) {
    if (!behind(key)) continue;
    ++*left;
    Contract any;
    any.consistency = Consistency::kEventual;
    core_.read(key, any, [finish](const ReadDone&) { finish(); });
  }
  finish();
}

// What this edge holds now. Only inside `run`, where a read that may not wait answers at once.
EdgeCommands::Current EdgeCommands::held(const std::string& key) {
  auto current = std::make_shared<Current>();
  Contract now;
  now.consistency = Consistency::kEventual;
  now.deadline_ns = 0;
  core_.read(key, now, [current](ReadDone done) {
    if (!done.value) return;
    current->present = true;
    current->value = std::move(*done.value);
    current->version = done.receipt.version;
    current->ttl_left_ns = done.ttl_left_ns;
  });
  return *current;
}

}  // namespace tidelock
