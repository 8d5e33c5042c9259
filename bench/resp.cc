// The Redis door beside redis-server 7.0: processor time of the server for each operation, and latency, over TCP and a
// Unix socket.
//
// One client, in this process, drives both servers with the same bytes: kConnections connections, each with one batch
// of `pipeline` commands on its way. Rounds alternate A B A B, and a figure is the median of the rounds, so that a
// machine that is busy with something else slows both. The server is bound to one processor and the client to another
// where there are two. Processor time is that of the whole server process, all its threads: the edge's compactions
// count against it.
//
// SET has two peers: redis-server as it is by default here, which keeps nothing, and one with an append-only file that
// is synced each second. An edge keeps a key of its own as the second does (docs/redis.md).
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "report.h"
#include "served.h"
#include "wire/resp/reply.h"

namespace {

using namespace tidelock;
using namespace tidelock::bench;

constexpr int kConnections = 8;
constexpr std::size_t kKeys = 10'000;
constexpr int kRounds = 7;  // of each server
constexpr Nanos kRoundTime = 200 * kMillisecond;

// ---- the client

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

constexpr char kPeer[] = "redis-server", kKeepingPeer[] = "redis-server that keeps what is set";

struct Sums {
  std::vector<double> cpu, p50, p99;
  void add(Round round) {
    cpu.push_back(round.cpu_us);
    p50.push_back(bench::quantile(round.latency_us, 0.5));
    p99.push_back(bench::quantile(round.latency_us, 0.99));
  }
};

void measure(const Case& what, const Server& edge, const Server& redis, const char* peer,
             std::vector<bench::Row>& rows) {
  Client to_edge(edge, what), to_redis(redis, what);
  (void)to_edge.run(), (void)to_redis.run();
  Sums ours, theirs;
  std::vector<double> ratios;
  for (int i = 0; i < kRounds; ++i) {
    ours.add(to_edge.run());
    theirs.add(to_redis.run());
    ratios.push_back(ours.cpu.back() / theirs.cpu.back());
  }
  const std::string name = what.name() + (std::strcmp(peer, kPeer) == 0 ? "" : std::string(", ") + peer);
  const auto middle = [](std::vector<double>& all) { return bench::quantile(all, 0.5); };
  rows.push_back({name + ": cpu ratio", middle(ratios), "x", what.floor, what.aim, peer, {}});
  rows.push_back({name + ": cpu", middle(ours.cpu), "us", {}, {}, peer, middle(theirs.cpu)});
  rows.push_back({name + ": p50", middle(ours.p50), "us", {}, {}, peer, middle(theirs.p50)});
  const double their_p99 = middle(theirs.p99);
  rows.push_back({name + ": p99", middle(ours.p99), "us", their_p99, their_p99, peer, their_p99});
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
  const Folder folder;  // the edge's rows go to the kernel and are never synced on this path
  std::vector<bench::Row> rows;
  {
    const Server edge(folder.path() + "/edge", serve_edge), redis(folder.path() + "/redis", serve_redis);
    const Server keeping_redis(folder.path() + "/keeping", serve_keeping_redis);
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
            if (what.name().find(only) == std::string::npos) continue;
            measure(what, edge, redis, kPeer, rows);
            if (std::strcmp(command, "SET") != 0) continue;
            what.floor = what.aim = {};
            measure(what, edge, keeping_redis, kKeepingPeer, rows);
          }
        }
      }
    }
  }
  return bench::report("resp", rows, argc, argv);
}
