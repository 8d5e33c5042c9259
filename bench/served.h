// Servers of the Redis protocol as child processes, an edge or redis-server, bound to one processor: for the benches
// that ask them over sockets from another.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "edge/edge.h"

namespace tidelock::bench {

inline constexpr Nanos kStartTime = 20 * kSecond;

[[noreturn]] inline void give_up(const std::string& why) {
  std::fprintf(stderr, "bench: %s\n", why.c_str());
  std::exit(1);
}

inline Nanos read_clock(clockid_t clock) {
  timespec t{};
  if (::clock_gettime(clock, &t) != 0) give_up(std::string("clock_gettime: ") + std::strerror(errno));
  return t.tv_sec * kSecond + t.tv_nsec;
}

inline void bind_to(std::size_t place) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || place-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ::sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

struct Place {
  std::string folder, unix_path;
  int port = 0;
};

inline int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    give_up("no free port on 127.0.0.1");
  }
  ::close(fd);
  return ntohs(address.sin_port);
}

inline void run_redis(const Place& place, const char* appendonly, const char* io_threads = "1") {
  const std::string port = std::to_string(place.port);
  ::execlp("redis-server", "redis-server", "--bind", "127.0.0.1", "--port", port.c_str(), "--unixsocket",
           place.unix_path.c_str(), "--save", "", "--appendonly", appendonly, "--appendfsync", "everysec", "--dir",
           place.folder.c_str(), "--logfile", (place.folder + "/redis.log").c_str(), "--io-threads", io_threads,
           "--io-threads-do-reads", "yes", static_cast<char*>(nullptr));
  give_up("redis-server is not installed: ./dev setup --with peers");
}

inline void serve_redis(const Place& place) { run_redis(place, "no"); }
// With a file that is synced each second: what an edge does with a key of its own.
inline void serve_keeping_redis(const Place& place) { run_redis(place, "yes"); }
// With a thread beside its core that parses and writes.
inline void serve_redis_with_threads(const Place& place) { run_redis(place, "no", "2"); }

inline void serve_edge(const Place& place, LoopBackEnd redis_io) {
  EdgeConfig config;
  config.redis_io = redis_io;
  config.id = "edge-1";
  config.data_dir = place.folder + "/data";
  config.run_dir = place.folder + "/run";
  config.redis_unix = place.unix_path;
  config.redis_address = "127.0.0.1:" + std::to_string(place.port);
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &ends, nullptr);
  const auto edge = Edge::start(std::move(config));
  if (!edge) give_up(edge.error().message);
  int signal = 0;
  ::sigwait(&ends, &signal);
}
inline void serve_edge(const Place& place) { serve_edge(place, LoopBackEnd::kAuto); }

class Server {
 public:
  // `bound`: to the first processor.
  Server(std::string folder, void (*serve)(const Place&), bool bound = true) {
    std::filesystem::create_directories(folder);
    place_ = {folder, folder + "/resp.sock", free_port()};
    child_ = ::fork();
    if (child_ < 0) give_up("fork failed");
    if (child_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (bound) bind_to(0);
    if (std::freopen((folder + "/output").c_str(), "w", stdout) == nullptr) give_up("cannot write below " + folder);
    serve(place_);
    std::_Exit(0);
  }
  ~Server() {
    ::kill(child_, SIGTERM);
    ::waitpid(child_, nullptr, 0);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const Place& place() const { return place_; }
  pid_t pid() const { return child_; }
  Nanos cpu() const {  // of all its threads, with the kernel's time
    clockid_t clock = 0;
    if (::clock_getcpuclockid(child_, &clock) != 0) give_up("a server ended early; see " + place_.folder);
    return read_clock(clock);
  }

 private:
  Place place_;
  pid_t child_ = -1;
};

inline int connect_to(const Place& place, bool tcp) {
  const Nanos until = read_clock(CLOCK_MONOTONIC) + kStartTime;
  while (true) {
    const int fd = ::socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = -1;
    if (tcp) {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(static_cast<std::uint16_t>(place.port));
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      failed = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    } else {
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      std::strncpy(address.sun_path, place.unix_path.c_str(), sizeof address.sun_path - 1);
      failed = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
    }
    if (failed == 0) return fd;
    ::close(fd);
    if (read_clock(CLOCK_MONOTONIC) > until) give_up("a server did not start; see " + place.folder);
    ::usleep(20'000);
  }
}

inline void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) give_up("a server closed the connection");
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

// A folder on tmpfs, as run_dir is in production; removed with everything in it.
class Folder {
 public:
  Folder() {
    if (::mkdtemp(path_.data()) == nullptr) give_up("cannot make a folder below /dev/shm");
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/dev/shm/tidelock-bench-XXXXXX";
};

}  // namespace tidelock::bench
