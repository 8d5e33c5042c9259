// For tests: an edge's socket whose answers are written down beforehand, for what a sound edge says only when something
// is wrong. The server is the real one; there is no page, so every read is asked of it.
#pragma once

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/elapsed_clock.h"
#include "wire/resp/event_loop.h"
#include "wire/resp/server.h"

namespace tidelock {

class ScriptedEdge : public CommandHandler {
 public:
  ScriptedEdge() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tidelock-client-XXXXXX").string();
    TIDELOCK_ASSERT(::mkdtemp(pattern.data()) != nullptr);
    run_dir_ = pattern;
    start();
  }
  ~ScriptedEdge() override {
    stop();
    std::error_code ignored;
    std::filesystem::remove_all(run_dir_, ignored);
  }

  void start() {
    loop_ = std::move(*EventLoop::create(clock_));
    server_ = std::make_unique<RespServer>(*loop_, *this, RespServerOptions{});
    const auto listening = server_->listen_unix(run_dir_ + "/redis.sock");
    TIDELOCK_ASSERT(listening.has_value());
    thread_ = std::thread([this] { loop_->run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    loop_->stop();
    thread_.join();
    server_.reset();
    loop_.reset();
  }

  const std::string& run_dir() const { return run_dir_; }
  // `bytes` as they stand, RESP3, whenever `command` comes ("DEL"), or `command` about that key ("TL.GET k").
  void answer(const std::string& command, std::string bytes) {
    const std::lock_guard lock(mutex_);
    answers_[command] = std::move(bytes);
  }
  std::string last_command() const {
    const std::lock_guard lock(mutex_);
    return last_command_;
  }

  // Those that came so far and begin with these words, oldest first; of all together the last kCommandsKept.
  static constexpr std::size_t kCommandsKept = 10'000;
  std::vector<std::string> commands(std::string_view words) const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> found;
    for (const std::string& command : commands_) {
      if (command.starts_with(words)) found.push_back(command);
    }
    return found;
  }

  void handle(ConnectionContext&, const std::vector<std::string_view>& args, RespReply& reply) override {
    const std::lock_guard lock(mutex_);
    last_command_.clear();
    if (commands_.size() == kCommandsKept) commands_.erase(commands_.begin());
    for (const std::string_view arg : args) last_command_ += (last_command_.empty() ? "" : " ") + std::string(arg);
    commands_.push_back(last_command_);
    const std::string name(args[0]);
    for (const std::string& words : {args.size() > 1 ? name + " " + std::string(args[1]) : name, name}) {
      const auto found = answers_.find(words);
      if (found != answers_.end()) return reply.raw(found->second);
    }
    reply.error("ERR not in the script");
  }

 private:
  const ElapsedClock clock_;
  std::string run_dir_;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> answers_;
  std::string last_command_;
  std::deque<std::string> commands_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<RespServer> server_;
  std::thread thread_;
};

}  // namespace tidelock
