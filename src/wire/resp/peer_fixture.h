// For tests: the tools of Redis, and a redis-server, as child processes.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "wire/resp/server_fixture.h"

extern char** environ;

namespace tidelock {

struct Child {
  pid_t pid = -1;
  int out = -1;  // its stdout and stderr
};

inline Child start(const std::vector<std::string>& command) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
  Child child;
  if (::posix_spawnp(&child.pid, command[0].c_str(), &actions, nullptr, argv.data(), environ) != 0) child.pid = -1;
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  child.out = ends[0];
  return child;
}

// The exit status in *status, -1 when it could not be started; what it printed as the result.
inline std::string run(const std::vector<std::string>& command, int* status) {
  const Child child = start(command);
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = ::read(child.out, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  ::close(child.out);
  *status = -1;
  if (child.pid < 0) return text;
  int raw = 0;
  ::waitpid(child.pid, &raw, 0);
  *status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128;
  return text;
}

inline bool installed(const char* tool) {
  int status = 0;
  run({tool, "--version"}, &status);
  return status == 0;
}

// A redis-server of this test, on a Unix socket, without files.
class Redis {
 public:
  explicit Redis(const TemporaryFolder& folder) : path_(folder.path() + "/peer.sock") {
    child_ = start({"redis-server", "--port", "0", "--unixsocket", path_, "--save", "", "--appendonly", "no", "--dir",
                    folder.path(), "--daemonize", "no"});
  }
  ~Redis() {
    if (child_.pid > 0) {
      ::kill(child_.pid, SIGKILL);
      ::waitpid(child_.pid, nullptr, 0);
    }
    ::close(child_.out);
  }
  // Once it says that it is ready.
  bool ready() {
    std::string said;
    char buffer[1024];
    for (ssize_t got; (got = ::read(child_.out, buffer, sizeof buffer)) > 0;) {
      said.append(buffer, static_cast<std::size_t>(got));
      if (said.find("eady to accept connections") != std::string::npos) return true;
    }
    return false;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  Child child_;
};

}  // namespace tidelock
