// For tests: processes of their own, a small HTTP server that says what the test scripts, and a proxy that cuts.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/elapsed_clock.h"

namespace tidelock {

// A child process whose output goes into a file; killed with its owner.
class ObjectProcess {
 public:
  ObjectProcess(const std::vector<std::string>& command, const std::string& output,
                const std::vector<std::string>& environment = {}) {
    std::vector<char*> argv;
    argv.reserve(command.size() + 1);
    for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (const std::string& one : environment) ::putenv(const_cast<char*>(one.c_str()));
    const int out = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    const int in = ::open("/dev/null", O_RDONLY);
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(out, 2);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  ~ObjectProcess() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ObjectProcess(const ObjectProcess&) = delete;
  ObjectProcess& operator=(const ObjectProcess&) = delete;
  int wait() {  // its exit status
    int raw = 0;
    ::waitpid(pid_, &raw, 0);
    pid_ = -1;
    return WIFEXITED(raw) ? WEXITSTATUS(raw) : 128;
  }

 private:
  pid_t pid_ = -1;
};

inline std::string program_path(const std::string& name) {  // empty: not installed
  const char* path = std::getenv("PATH");
  for (std::string rest = path == nullptr ? "" : path; !rest.empty();) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    const std::string candidate = rest.substr(0, colon) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    rest.erase(0, colon + 1);
  }
  return {};
}

inline int listen_on_loopback(int* port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const int one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::listen(fd, 64), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  *port = ntohs(address.sin_port);
  return fd;
}
// Different from each other: all are held before any is let go.
inline std::vector<int> free_ports(std::size_t count) {
  std::vector<int> ports(count), held;
  for (int& port : ports) held.push_back(listen_on_loopback(&port));
  for (const int fd : held) ::close(fd);
  return ports;
}
inline int free_port() { return free_ports(1)[0]; }
inline int connect_to_loopback(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

// Asks every 50 ms until `there` says so.
inline bool comes_up(const std::function<bool()>& there, Nanos within = 60 * kSecond) {
  const ElapsedClock clock;
  const Nanos until = clock.now() + within;
  while (!there()) {
    if (clock.now() > until) return false;
    ::poll(nullptr, 0, 50);
  }
  return true;
}

// An HTTP server, one request for each connection. The script sees the head of a request and says what comes back.
class ScriptedServer {
 public:
  struct Plan {
    std::string answer;  // the raw answer; empty: forward to the upstream port
    std::size_t cut_answer_after = SIZE_MAX;
    std::size_t cut_request_after = SIZE_MAX;  // bytes of the body
  };
  using Script = std::function<Plan(const std::string& head)>;
  // As Script, with the whole body; it forwards nothing.
  using BodyScript = std::function<Plan(const std::string& head, const std::string& body)>;
  explicit ScriptedServer(Script script, int upstream_port = 0) : script_(std::move(script)), upstream_(upstream_port) {
    fd_ = listen_on_loopback(&port_);
    accepting_ = std::thread([this] { accept_all(); });
  }
  explicit ScriptedServer(BodyScript script) : body_script_(std::move(script)), upstream_(0) {
    fd_ = listen_on_loopback(&port_);
    accepting_ = std::thread([this] { accept_all(); });
  }
  ~ScriptedServer() {
    stopping_ = true;
    ::shutdown(fd_, SHUT_RDWR);
    accepting_.join();
    ::close(fd_);
    for (std::thread& thread : serving_) thread.join();
  }
  int port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<std::string> heads() const {
    const std::lock_guard lock(mutex_);
    return heads_;
  }
  static std::string answer(int status, const std::string& body, const std::string& headers = "") {
    return "HTTP/1.1 " + std::to_string(status) + " X\r\n" + headers +
           "Content-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body;
  }

 private:
  void accept_all() {
    for (;;) {
      const int client = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0 || stopping_) return;
      serving_.emplace_back([this, client] { serve(client); });
    }
  }
  void serve(int client) {
    std::string head;
    char buffer[16384];
    std::size_t end = std::string::npos;
    while ((end = head.find("\r\n\r\n")) == std::string::npos) {
      const ssize_t got = ::recv(client, buffer, sizeof buffer, 0);
      if (got <= 0) {
        ::close(client);
        return;
      }
      head.append(buffer, static_cast<std::size_t>(got));
    }
    std::string body = head.substr(end + 4);
    head.resize(end + 2);
    if (body_script_) {
      constexpr std::string_view kLength = "\r\nContent-Length: ";
      const std::size_t at = head.find(kLength);
      const std::size_t size = at == std::string::npos ? 0 : std::stoull(head.substr(at + kLength.size()));
      while (body.size() < size) {
        const ssize_t got = ::recv(client, buffer, sizeof buffer, 0);
        if (got <= 0) break;
        body.append(buffer, static_cast<std::size_t>(got));
      }
    }
    Plan plan;
    {
      const std::lock_guard lock(mutex_);
      heads_.push_back(head);
      plan = body_script_ ? body_script_(head, body) : script_(head);
    }
    if (!plan.answer.empty()) {
      send_all(client, plan.answer);
      ::shutdown(client, SHUT_WR);
      while (::recv(client, buffer, sizeof buffer, 0) > 0) {
      }
    } else if (const int server = connect_to_loopback(upstream_); server >= 0) {
      send_all(server, head + "Connection: close\r\n\r\n" + body);
      relay(client, server, plan);
      ::close(server);
    }
    ::close(client);
  }
  void relay(int client, int server, Plan plan) {
    std::vector<char> buffer(64 << 10);
    bool request_open = true;
    for (;;) {
      pollfd ends[2] = {{request_open ? client : -1, POLLIN, 0}, {server, POLLIN, 0}};
      if (::poll(ends, 2, 100) < 0 || stopping_) return;
      if ((ends[0].revents & (POLLIN | POLLHUP)) != 0) {
        const ssize_t got = ::recv(client, buffer.data(), buffer.size(), 0);
        if (got <= 0) {
          request_open = false;
          if (got < 0) return;
        } else {
          if (static_cast<std::size_t>(got) > plan.cut_request_after) return;
          if (plan.cut_request_after != SIZE_MAX) plan.cut_request_after -= static_cast<std::size_t>(got);
          send_all(server, std::string_view(buffer.data(), static_cast<std::size_t>(got)));
        }
      }
      if ((ends[1].revents & (POLLIN | POLLHUP)) != 0) {
        const ssize_t got = ::recv(server, buffer.data(), buffer.size(), 0);
        if (got <= 0 || plan.cut_answer_after == 0) return;
        const std::size_t part = std::min(static_cast<std::size_t>(got), plan.cut_answer_after);
        send_all(client, std::string_view(buffer.data(), part));
        if (plan.cut_answer_after != SIZE_MAX) plan.cut_answer_after -= part;
        if (plan.cut_answer_after == 0) return;
      }
    }
  }
  static void send_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  const Script script_;
  const BodyScript body_script_;
  const int upstream_;
  int fd_ = -1, port_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread accepting_;
  std::list<std::thread> serving_;  // of the accepting thread, then of the destructor
  mutable std::mutex mutex_;
  std::vector<std::string> heads_;
};

}  // namespace tidelock
