// The Redis door beside redis-server 7.0: processor time of the server for each operation, and latency, over TCP and a
// Unix socket.
//
// One client, in this process, drives both servers with the same bytes: kConnections connections, each with one batch
// of `pipeline` commands on its way. Rounds alternate A B A B, and a figure is the median of the rounds, so that a
// machine that is busy with something else slows both. The server is bound to one processor and the client to another
// where there are two. Processor time is that of the whole server process, all its threads: the edge's compactions
// count against it.
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

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "edge/edge.h"
#include "report.h"
#include "wire/resp/reply.h"

namespace {

using namespace tidelock;

constexpr int kConnections = 8;
constexpr std::size_t kKeys = 10'000;
constexpr int kRounds = 7;  // of each server
constexpr Nanos kRoundTime = 200 * kMillisecond;
constexpr Nanos kStartTime = 20 * kSecond;

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "bench-resp: %s\n", why.c_str());
  std::exit(1);
}

Nanos read_clock(clockid_t clock) {
  timespec t{};
  if (::clock_gettime(clock, &t) != 0) give_up(std::string("clock_gettime: ") + std::strerror(errno));
  return t.tv_sec * kSecond + t.tv_nsec;
}

void bind_to(std::size_t place) {
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

// ---- servers

struct Place {
  std::string folder, unix_path;
  int port = 0;
};

int free_port() {
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

void serve_redis(const Place& place) {
  const std::string port = std::to_string(place.port);
  ::execlp("redis-server", "redis-server", "--bind", "127.0.0.1", "--port", port.c_str(), "--unixsocket",
           place.unix_path.c_str(), "--save", "", "--appendonly", "no", "--dir", place.folder.c_str(), "--logfile",
           (place.folder + "/redis.log").c_str(), static_cast<char*>(nullptr));
  give_up("redis-server is not installed: ./dev setup --with peers");
}

void serve_edge(const Place& place) {
  EdgeConfig config;
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

class Server {
 public:
  Server(std::string folder, void (*serve)(const Place&)) {
    std::filesystem::create_directories(folder);
    place_ = {folder, folder + "/resp.sock", free_port()};
    child_ = ::fork();
    if (child_ < 0) give_up("fork failed");
    if (child_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    bind_to(0);
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
  Nanos cpu() const {  // of all its threads, with the kernel's time
    clockid_t clock = 0;
    if (::clock_getcpuclockid(child_, &clock) != 0) give_up("a server ended early; see " + place_.folder);
    return read_clock(clock);
  }

 private:
  Place place_;
  pid_t child_ = -1;
};

int connect_to(const Place& place, bool tcp) {
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

// ---- the client

void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) give_up("a server closed the connection");
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void receive(int fd, std::size_t bytes) {
  static std::array<char, 256u << 10> sink;
  while (bytes > 0) {
    const ssize_t got = ::recv(fd, sink.data(), std::min(bytes, sink.size()), 0);
    if (got <= 0 || sink[0] == '-') give_up("a server refused a command or closed the connection");
    bytes -= static_cast<std::size_t>(got);
  }
}

struct Case {
  const char* command;
  std::size_t value_bytes;
  int pipeline;
  bool tcp;
  std::optional<double> floor, aim;  // of the ratio, where there is one

  std::string name() const {
    return std::string(command) + " " + std::to_string(value_bytes) + " B " + (tcp ? "tcp" : "unix") + ", pipeline " +
           std::to_string(pipeline);
  }
};

std::string key_of(std::size_t i) { return "bench:" + std::to_string(1'000'000 + i); }

struct Round {
  double cpu_us = 0;  // per operation
  std::vector<double> latency_us;
};

class Client {
 public:
  Client(const Server& server, const Case& what) : server_(server), case_(what), rng_(1) {
    for (int i = 0; i < kConnections; ++i) fds_.push_back(connect_to(server.place(), what.tcp));
    const std::string value(what.value_bytes, 'v');
    std::string all;
    for (std::size_t i = 0; i < kKeys; ++i) {
      const std::string key = key_of(i);
      const std::string_view set[] = {"SET", key, value}, get[] = {"GET", key};
      const bool writes = std::strcmp(what.command, "SET") == 0;
      std::string& request = requests_.emplace_back();
      writes ? append_request(request, set, 3) : append_request(request, get, 2);
      append_request(all, set, 3);
      if (i % 16 == 15) {
        send_all(fds_[0], std::exchange(all, {}));
        receive(fds_[0], 16 * 5);
      }
      std::string answer;
      RespReply reply(answer, 2);
      writes ? reply.ok() : reply.bulk(value);
      answer_bytes_ = answer.size();
    }
    static_assert(kKeys % 16 == 0);
  }
  ~Client() {
    for (const int fd : fds_) ::close(fd);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  Round run() {
    Round round;
    std::uint64_t operations = 0;
    std::array<Nanos, kConnections> sent{};
    for (std::size_t i = 0; i < fds_.size(); ++i) sent[i] = ask(fds_[i]);
    const Nanos began = read_clock(CLOCK_MONOTONIC), cpu_before = server_.cpu();
    while (read_clock(CLOCK_MONOTONIC) - began < kRoundTime) {
      for (std::size_t i = 0; i < fds_.size(); ++i) {
        receive(fds_[i], answer_bytes_ * static_cast<std::size_t>(case_.pipeline));
        round.latency_us.push_back(static_cast<double>(read_clock(CLOCK_MONOTONIC) - sent[i]) / 1e3);
        operations += static_cast<std::uint64_t>(case_.pipeline);
        sent[i] = ask(fds_[i]);
      }
    }
    const Nanos cpu_after = server_.cpu();
    for (const int fd : fds_) receive(fd, answer_bytes_ * static_cast<std::size_t>(case_.pipeline));
    round.cpu_us = static_cast<double>(cpu_after - cpu_before) / 1e3 / static_cast<double>(operations);
    return round;
  }

 private:
  Nanos ask(int fd) {
    batch_.clear();
    for (int i = 0; i < case_.pipeline; ++i) batch_ += requests_[rng_.below(kKeys)];
    const Nanos now = read_clock(CLOCK_MONOTONIC);
    send_all(fd, batch_);
    return now;
  }

  const Server& server_;
  const Case case_;
  Rng rng_;
  std::vector<int> fds_;
  std::vector<std::string> requests_;
  std::string batch_;
  std::size_t answer_bytes_ = 0;
};

// ---- figures

struct Sums {
  std::vector<double> cpu, p50, p99;
  void add(Round round) {
    cpu.push_back(round.cpu_us);
    p50.push_back(bench::quantile(round.latency_us, 0.5));
    p99.push_back(bench::quantile(round.latency_us, 0.99));
  }
};

void measure(const Case& what, const Server& edge, const Server& redis, std::vector<bench::Row>& rows) {
  Client to_edge(edge, what), to_redis(redis, what);
  (void)to_edge.run(), (void)to_redis.run();
  Sums ours, theirs;
  std::vector<double> ratios;
  for (int i = 0; i < kRounds; ++i) {
    ours.add(to_edge.run());
    theirs.add(to_redis.run());
    ratios.push_back(ours.cpu.back() / theirs.cpu.back());
  }
  const std::string name = what.name();
  const auto middle = [](std::vector<double>& all) { return bench::quantile(all, 0.5); };
  rows.push_back({name + ": cpu ratio", middle(ratios), "x", what.floor, what.aim, "redis-server", {}});
  rows.push_back({name + ": cpu", middle(ours.cpu), "us", {}, {}, "redis-server", middle(theirs.cpu)});
  rows.push_back({name + ": p50", middle(ours.p50), "us", {}, {}, "redis-server", middle(theirs.p50)});
  const double their_p99 = middle(theirs.p99);
  rows.push_back({name + ": p99", middle(ours.p99), "us", their_p99, their_p99, "redis-server", their_p99});
}

}  // namespace

// `--only TEXT` measures the cases whose name has it, as "GET 64 B tcp, pipeline 16".
int main(int argc, char** argv) {
  std::string only;
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], "--only") != 0) continue;
    only = argv[i + 1];
    std::rotate(argv + i, argv + i + 2, argv + argc);
    argc -= 2;
    break;
  }
  // On tmpfs, as run_dir is in production. The edge's rows go to the kernel and are never synced on this path.
  std::string folder = "/dev/shm/tidelock-bench-resp-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) give_up("cannot make a folder below /dev/shm");
  std::vector<bench::Row> rows;
  {
    const Server edge(folder + "/edge", serve_edge), redis(folder + "/redis", serve_redis);
    bind_to(1);
    for (const char* command : {"GET", "SET"}) {
      for (const std::size_t bytes : {64u, 2048u}) {
        for (const int pipeline : {1, 16}) {
          for (const bool tcp : {true, false}) {
            Case what{command, bytes, pipeline, tcp, {}, {}};
            if (bytes == 64 && tcp) {
              what.floor = pipeline == 1 ? 0.88 : 0.75;
              what.aim = pipeline == 1 ? 0.78 : 0.55;
            } else if (bytes == 2048 && tcp && pipeline == 16) {
              what.floor = 0.7;
              what.aim = 0.5;
            } else if (bytes == 64 && pipeline == 1) {
              what.floor = 0.83;
              what.aim = 0.70;
            }
            if (what.name().find(only) != std::string::npos) measure(what, edge, redis, rows);
          }
        }
      }
    }
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return bench::report("resp", rows, argc, argv);
}
