// For tests: a Redis or Memcached server of the test's own, on a Unix socket in a temporary folder.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/elapsed_clock.h"
#include "store/remote/cache_link.h"
#include "wire/resp/peer_fixture.h"

namespace tidelock {

enum class CacheKind { kRedis, kMemcached };

inline std::string cache_name(const testing::TestParamInfo<CacheKind>& tested) {
  return tested.param == CacheKind::kRedis ? "Redis" : "Memcached";
}

class CacheServer {
 public:
  explicit CacheServer(CacheKind kind) : kind_(kind) {}
  ~CacheServer() { kill(); }
  CacheServer(const CacheServer&) = delete;
  CacheServer& operator=(const CacheServer&) = delete;

  static const char* program(CacheKind kind) { return kind == CacheKind::kRedis ? "redis-server" : "memcached"; }
  static std::string missing(CacheKind kind) { return std::string(program(kind)) + " is not installed: ./dev setup"; }

  // `more` is appended to the command line. Returns when the server answers.
  void run(const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = {program(kind_)};
    if (kind_ == CacheKind::kRedis) {
      for (const char* word : {"--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"})
        command.emplace_back(word);
      for (const std::string& word : {std::string("--dir"), folder_.path(), std::string("--unixsocket"), socket()})
        command.push_back(word);
    } else {
      for (const std::string& word : {std::string("-u"), std::string("root"), std::string("-s"), socket()})
        command.push_back(word);
    }
    command.insert(command.end(), more.begin(), more.end());
    child_ = start(command);
    ASSERT_GT(child_.pid, 0);
    const ElapsedClock clock;
    const Nanos until = clock.now() + 20 * kSecond;
    for (;;) {
      auto link = connect();
      if (link && (*link)->get("ready?", kSecond)) return;
      ASSERT_LT(clock.now(), until) << command[0] << " does not answer";
      std::this_thread::yield();
    }
  }
  void kill() {
    if (child_.pid <= 0) return;
    ::kill(child_.pid, SIGKILL);
    ::waitpid(child_.pid, nullptr, 0);
    ::close(child_.out);
    ::unlink(socket().c_str());
    child_.pid = -1;
  }
  void hang() {
    ::kill(child_.pid, SIGSTOP);
    siginfo_t stopped;
    ::waitid(P_PID, static_cast<id_t>(child_.pid), &stopped, WSTOPPED);  // all of its threads
  }
  void go_on() { ::kill(child_.pid, SIGCONT); }

  std::string socket() const { return folder_.path() + "/cache.sock"; }
  Result<std::unique_ptr<CacheLink>> connect(const std::string& space = "tidelock1:edge-1") const {
    CacheAddress address;
    address.address = "unix:" + socket();
    address.space = space;
    return kind_ == CacheKind::kRedis ? connect_redis(address) : connect_memcached(address);
  }

 private:
  const CacheKind kind_;
  TemporaryFolder folder_;
  Child child_;
};

// Waits for `what`, which other threads or processes bring about.
inline bool comes_true(const std::function<bool()>& what, Nanos within = 20 * kSecond) {
  const ElapsedClock clock;
  const Nanos until = clock.now() + within;
  while (!what()) {
    if (clock.now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace tidelock
