// For tests: a real server on a loop of its own thread, with a small store behind it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/elapsed_clock.h"
#include "wire/resp/client.h"
#include "wire/resp/event_loop.h"
#include "wire/resp/glob.h"
#include "wire/resp/server.h"
#include "wire/resp/set_options.h"

namespace tidelock {

inline constexpr Nanos kPatience = 30 * kSecond;  // for what must come; never waited out when all is well

// Which back end of the loop these tests run with: TIDELOCK_TEST_REDIS_IO = "epoll" or "io_uring"; CTest runs them with
// both. Where the kernel refuses io_uring they run on epoll a second time; event_loop_test.cc says so.
inline LoopBackEnd back_end_under_test() {
  const char* const name = std::getenv("TIDELOCK_TEST_REDIS_IO");
  for (const LoopBackEnd back_end : {LoopBackEnd::kEpoll, LoopBackEnd::kIoUring}) {
    if (name != nullptr && back_end_name(back_end) == name) return back_end;
  }
  return LoopBackEnd::kAuto;
}

// A clock that tests move. Starts at one day.
class MovedClock : public Clock {
 public:
  Nanos now() const override { return now_; }
  void advance(Nanos by) { now_ += by; }

 private:
  std::atomic<Nanos> now_{86'400 * kSecond};
};

// Strings without time: enough for the commands that redis-benchmark and the tests use. TL.GET is answered later, when
// the test says so.
class StoreHandler : public CommandHandler {
 public:
  RespServer* server = nullptr;
  std::map<std::string, std::string, std::less<>> values;
  std::vector<std::pair<ReplyToken, std::string>> waiting;  // deferred TL.GETs
  std::vector<ReplyToken> abandoned_tokens;
  std::string knob = "1";
  std::map<std::string, Nanos, std::less<>> expiries;  // what the test says; values stay all the same

  void handle(ConnectionContext& connection, const std::vector<std::string_view>& args, RespReply& reply) override {
    if (connection.command().id == RespCommand::kGet) {
      const auto found = values.find(args[1]);
      return found == values.end() ? reply.null() : reply.bulk_reference(found->second);
    }
    connection.copy_references();
    switch (connection.command().id) {
      case RespCommand::kSet: return set(args, reply);
      case RespCommand::kMSet:
        for (std::size_t i = 1; i + 1 < args.size(); i += 2) {
          values[std::string(args[i])] = args[i + 1];
          server->key_changed(args[i]);
        }
        return reply.ok();
      case RespCommand::kMGet:
        reply.array(args.size() - 1);
        for (std::size_t i = 1; i < args.size(); ++i) get(args[i], reply);
        return;
      case RespCommand::kDel: {
        std::int64_t gone = 0;
        for (std::size_t i = 1; i < args.size(); ++i) {
          if (values.erase(std::string(args[i])) == 0) continue;
          ++gone;
          server->key_changed(args[i]);
        }
        return reply.integer(gone);
      }
      case RespCommand::kExists: return reply.integer(values.contains(args[1]) ? 1 : 0);
      case RespCommand::kKeys: return keys(args[1], reply);
      case RespCommand::kDbSize: return reply.integer(static_cast<std::int64_t>(values.size()));
      case RespCommand::kFlushAll:
        values.clear();
        server->all_keys_changed();
        return reply.ok();
      case RespCommand::kType: return reply.simple(values.contains(args[1]) ? "string" : "none");
      case RespCommand::kInfo: return reply.verbatim("txt", server->info_sections());
      case RespCommand::kTlGet: waiting.emplace_back(connection.defer(), args[1]); return;
      case RespCommand::kTlMGet: waiting.emplace_back(connection.defer(), args[2]); return;  // KEYS, the first key
      case RespCommand::kTlSet: {  // deferred, and answered before handle() returns
        const ReplyToken token = connection.defer();
        server->complete(token, "+early\r\n");
        return;
      }
      case RespCommand::kTlInfo: throw std::runtime_error("planted");
      default: return reply.error("ERR not in this store");
    }
  }
  std::string refuse_in_transaction(const CommandSpec&, const std::vector<std::string_view>& args) override {
    return args.size() > 1 && args[1].starts_with("far:") ? "ERR key '" + std::string(args[1]) + "' is far" : "";
  }
  Nanos expires_at(std::string_view key) override {
    const auto found = expiries.find(key);
    return found == expiries.end() ? kForever : found->second;
  }
  void abandoned(ReplyToken token) override { abandoned_tokens.push_back(token); }
  void config_list(std::vector<std::pair<std::string, std::string>>& out) override { out.emplace_back("knob", knob); }
  std::optional<std::string> config_set(std::string_view name, std::string_view value, bool apply) override {
    if (name != "knob") return std::nullopt;
    if (value.empty()) return "argument must not be empty";
    if (apply) knob = value;
    return "";
  }
  void answer_next() {
    const auto [token, key] = waiting.front();
    waiting.erase(waiting.begin());
    std::string bytes;
    RespReply reply(bytes, std::max(2, server->protocol_of(token)));
    get(key, reply);
    server->complete(token, bytes);
  }

 private:
  void get(std::string_view key, RespReply& reply) {
    const auto found = values.find(key);
    found == values.end() ? reply.null() : reply.bulk(found->second);
  }
  void set(const std::vector<std::string_view>& args, RespReply& reply) {
    const auto set = parse_set(args);
    if (!set) return reply.error(set.error().message);
    values[std::string(set->key)] = set->value;
    server->key_changed(set->key);
    reply.ok();
  }
  void keys(std::string_view pattern, RespReply& reply) {
    std::vector<std::string_view> found;
    std::uint64_t work = kGlobWorkDefault;
    for (const auto& [key, value] : values) {
      if (glob_match(pattern, key, &work)) found.push_back(key);
    }
    if (work == 0) return reply.error("ERR pattern too complex");
    reply.array(found.size());
    for (const auto key : found) reply.bulk(key);
  }
};

class RunningServer {
 public:
  explicit RunningServer(RespServerOptions options = {}, const Clock* clock = nullptr)
      : loop_(std::move(*EventLoop::create(clock != nullptr ? *clock : elapsed_, back_end_under_test()))) {
    server_ = std::make_unique<RespServer>(*loop_, store, std::move(options));
    store.server = server_.get();
    port_ = server_->listen_tcp("127.0.0.1", 0).value();
    thread_ = std::thread([this] { loop_->run(); });
  }
  ~RunningServer() {
    loop_->stop();
    thread_.join();
    server_.reset();
  }
  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  RespServer& server() { return *server_; }

  // Runs `task` in the loop's thread and waits for what it returns.
  template <class Task>
  auto on_loop(Task task) -> decltype(task()) {
    std::packaged_task<decltype(task())()> packaged(std::move(task));
    auto result = packaged.get_future();
    loop_->post([&packaged] { packaged(); });
    return result.get();
  }
  // Asks in the loop's thread until it holds; the other side of a socket has no event to wait for.
  template <class Condition>
  bool eventually(Condition condition) {
    const ElapsedClock clock;
    const Nanos deadline = clock.now() + kPatience;
    while (!on_loop(condition)) {
      if (clock.now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  RespServerStats stats() {
    return on_loop([this] { return server_->stats(); });
  }
  RespClient connect(RespClientOptions options = {}) {
    options.address = address();
    options.connect_timeout_ns = kPatience;
    auto client = RespClient::connect(options);
    TIDELOCK_ASSERT(client.has_value());
    return std::move(*client);
  }

  StoreHandler store;  // touched on the loop only

 private:
  ElapsedClock elapsed_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<RespServer> server_;
  std::thread thread_;
  int port_ = 0;
};

// A fresh folder, removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tidelock-resp-XXXXXX").string();
    TIDELOCK_ASSERT(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// One command line of plain words; the answer as text.
inline std::string ask(RespClient& client, const std::string& line) {
  std::vector<std::string> args;
  std::string word;
  for (const char c : line + " ") {
    if (c != ' ') {
      word.push_back(c);
    } else if (!word.empty()) {
      args.push_back(std::exchange(word, {}));
    }
  }
  const auto reply = client.call(args, kPatience);
  return reply ? to_text(*reply) : "! " + std::string(code_name(reply.error().code)) + ": " + reply.error().message;
}

}  // namespace tidelock
