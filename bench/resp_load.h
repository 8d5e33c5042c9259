// The client of the benches that ask servers of the Redis protocol: it drives each with the same bytes, on kConnections
// connections, each with one batch of `pipeline` commands on its way. A round lasts kRoundTime; rounds of the servers
// that are compared alternate, and a figure is the median of the rounds, so that a machine that is busy with something
// else slows all of them. Processor time is that of the whole server process, all its threads.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "report.h"
#include "served.h"
#include "wire/resp/reply.h"

namespace tidelock::bench {

inline constexpr std::size_t kConnections = 8;
inline constexpr std::size_t kKeys = 10'000;
inline constexpr int kRounds = 7;  // of each server
inline constexpr Nanos kRoundTime = 200 * kMillisecond;

inline void receive(int fd, std::size_t bytes) {
  static std::array<char, 256u << 10> sink;
  while (bytes > 0) {
    const ssize_t got = ::recv(fd, sink.data(), std::min(bytes, sink.size()), 0);
    if (got <= 0 || sink[0] == '-') give_up("a server refused a command or closed the connection");
    bytes -= static_cast<std::size_t>(got);
  }
}

struct RespCase {
  std::string command = "GET";
  std::size_t value_bytes = 64;
  int pipeline = 1;
  bool tcp = true;
  std::optional<double> floor, aim;  // of the ratio, where there is one

  std::string name() const {
    return command + " " + std::to_string(value_bytes) + " B " + (tcp ? "tcp" : "unix") + ", pipeline " +
           std::to_string(pipeline);
  }
};

inline std::string key_of(std::size_t i) { return "bench:" + std::to_string(1'000'000 + i); }

struct RespRound {
  double cpu_us = 0;  // per operation
  double per_s = 0;
  std::vector<double> latency_us;
};

class RespLoad {
 public:
  // Connections go to the server's doors in turn; every door shows the same values, which are written through the
  // first.
  RespLoad(const Server& server, const RespCase& what) : RespLoad(server, {server.place()}, what) {}
  RespLoad(const Server& server, const std::vector<Place>& doors, const RespCase& what)
      : server_(server), case_(what), rng_(1) {
    for (std::size_t i = 0; i < kConnections; ++i) fds_.push_back(connect_to(doors[i % doors.size()], what.tcp));
    const std::string value(what.value_bytes, 'v');
    std::string all;
    for (std::size_t i = 0; i < kKeys; ++i) {
      const std::string key = key_of(i);
      const std::string_view set[] = {"SET", key, value}, get[] = {"GET", key};
      const bool writes = what.command == "SET";
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
  ~RespLoad() {
    for (const int fd : fds_) ::close(fd);
  }
  RespLoad(const RespLoad&) = delete;
  RespLoad& operator=(const RespLoad&) = delete;

  RespRound run() {
    RespRound round;
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
    const Nanos cpu_after = server_.cpu(), took = read_clock(CLOCK_MONOTONIC) - began;
    for (const int fd : fds_) receive(fd, answer_bytes_ * static_cast<std::size_t>(case_.pipeline));
    round.cpu_us = static_cast<double>(cpu_after - cpu_before) / 1e3 / static_cast<double>(operations);
    round.per_s = static_cast<double>(operations) * 1e9 / static_cast<double>(took);
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
  const RespCase case_;
  Rng rng_;
  std::vector<int> fds_;
  std::vector<std::string> requests_;
  std::string batch_;
  std::size_t answer_bytes_ = 0;
};

// The rounds of one server.
struct RespSums {
  std::vector<double> cpu, per_s, p50, p99;
  void add(RespRound round) {
    per_s.push_back(round.per_s);
    cpu.push_back(round.cpu_us);
    p50.push_back(quantile(round.latency_us, 0.5));
    p99.push_back(quantile(round.latency_us, 0.99));
  }
};

// `--only TEXT` measures the cases whose name has it, as "GET 64 B tcp, pipeline 16". Taken out of the arguments.
inline std::string take_only(int& argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string_view(argv[i]) != "--only") continue;
    std::string only = argv[i + 1];
    std::rotate(argv + i, argv + i + 2, argv + argc);
    argc -= 2;
    return only;
  }
  return {};
}

}  // namespace tidelock::bench
