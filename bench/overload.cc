// What is left of an edge's throughput when ten times as many clients ask as it takes to keep it busy, alone and beside
// readers that never read, and what memory that takes.
//
// The peak is that of 8 connections with 16 commands on their way each, nine reads for each write, values of 64 B. Ten
// times as many are 80 connections. The edge is bound to one processor and the clients to another where there are two.
// Goodput counts answers that came and were no errors; latency is that of a batch.
#include <fcntl.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "base/rng.h"
#include "report.h"
#include "served.h"
#include "wire/resp/reply.h"

namespace {

using namespace tidelock;
using namespace tidelock::bench;

constexpr int kPeakConnections = 8, kPipeline = 16, kTimes = 10, kSlowReaders = 64;
constexpr std::size_t kKeys = 10'000, kValueBytes = 64, kLargeBytes = 256u << 10;
constexpr Nanos kRoundTime = 500 * kMillisecond;
constexpr int kRounds = 5;
// X6: output_soft_bytes of each slow reader and one large answer beyond it.
constexpr double kCapMib = kSlowReaders * (1.0 + kLargeBytes / 1048576.0) + 16;

std::string request(std::initializer_list<std::string_view> words) {
  std::string bytes;
  append_request(bytes, words.begin(), words.size());
  return bytes;
}
std::string key_of(std::size_t n) { return "bench:" + std::to_string(1'000'000 + n); }

double private_mib(pid_t pid) {  // without the arena, which is shared memory
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::string line;
  double kib = 0;
  while (std::getline(status, line)) {
    if (line.starts_with("RssAnon:")) kib = std::strtod(line.c_str() + 8, nullptr);
  }
  if (kib == 0) give_up("the edge ended early");
  return kib / 1024;
}

// Reads whole answers and counts them: "+OK\r\n" or a bulk string of kValueBytes.
class Connection {
 public:
  explicit Connection(const Place& place) : fd_(connect_to(place, true)) {}
  ~Connection() { ::close(fd_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void ask(Rng& rng) {
    batch_.clear();
    const std::string value(kValueBytes, 'v');
    expected_ = 0;
    for (int i = 0; i < kPipeline; ++i) {
      const std::string key = key_of(rng.below(kKeys));
      const bool writes = rng.one_in(10);
      batch_ += writes ? request({"SET", key, value}) : request({"GET", key});
      expected_ += writes ? 5 : kValueBytes + 7;
    }
    sent_at_ = read_clock(CLOCK_MONOTONIC);
    send_all(fd_, batch_);
  }
  Nanos receive() {  // how long the batch took
    std::array<char, 16u << 10> in;
    while (expected_ > 0) {
      const ssize_t got = ::recv(fd_, in.data(), std::min(in.size(), expected_), 0);
      if (got <= 0 || in[0] == '-') give_up("the edge refused a command or closed a connection");
      expected_ -= static_cast<std::size_t>(got);
    }
    return read_clock(CLOCK_MONOTONIC) - sent_at_;
  }

 private:
  int fd_;
  std::string batch_;
  std::size_t expected_ = 0;
  Nanos sent_at_ = 0;
};

struct Load {
  double per_s = 0, p99_ms = 0;
};

Load run(const Place& place, int connections) {
  Rng rng(1);
  std::vector<std::unique_ptr<Connection>> all;
  for (int i = 0; i < connections; ++i) all.push_back(std::make_unique<Connection>(place));
  for (auto& one : all) one->ask(rng);
  std::vector<double> rates, latencies;
  for (int round = 0; round < kRounds; ++round) {
    const Nanos began = read_clock(CLOCK_MONOTONIC);
    std::uint64_t done = 0;
    Nanos now = began;
    while ((now = read_clock(CLOCK_MONOTONIC)) - began < kRoundTime) {
      for (auto& one : all) {
        latencies.push_back(static_cast<double>(one->receive()) / 1e6);
        one->ask(rng);
        done += kPipeline;
      }
    }
    rates.push_back(static_cast<double>(done) * 1e9 / static_cast<double>(now - began));
  }
  for (auto& one : all) (void)one->receive();
  return {quantile(rates, 0.5), quantile(latencies, 0.99)};
}

// Clients that ask for a large value again and again and never read an answer.
class SlowReaders {
 public:
  explicit SlowReaders(const Place& place) {
    for (int i = 0; i < kSlowReaders; ++i) {
      const int fd = connect_to(place, true);
      fds_.push_back(fd);
      ::fcntl(fd, F_SETFL, O_NONBLOCK);
      std::string gets;
      for (int n = 0; n < 1'000; ++n) gets += request({"GET", "large"});
      (void)::send(fd, gets.data(), gets.size(), MSG_NOSIGNAL);
    }
  }
  ~SlowReaders() {
    for (const int fd : fds_) ::close(fd);
  }
  SlowReaders(const SlowReaders&) = delete;
  SlowReaders& operator=(const SlowReaders&) = delete;

 private:
  std::vector<int> fds_;
};

void fill(const Place& place) {
  const int fd = connect_to(place, true);
  const auto set = [fd](const std::string& key, std::size_t bytes) {
    send_all(fd, request({"SET", key, std::string(bytes, 'v')}));
    char ok[5];
    if (::recv(fd, ok, sizeof ok, MSG_WAITALL) != sizeof ok || ok[0] != '+') give_up("the edge refused a write");
  };
  for (std::size_t i = 0; i < kKeys; ++i) set(key_of(i), kValueBytes);
  set("large", kLargeBytes);
  ::close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Row> rows;
  const Folder folder;
  {
    const Server edge(folder.path() + "/edge", serve_edge);
    bind_to(1);
    fill(edge.place());
    const auto lost = [](const Load& load, const Load& peak) { return 100 * (1 - load.per_s / peak.per_s); };
    const double before = private_mib(edge.pid());
    const Load peak = run(edge.place(), kPeakConnections), crowd = run(edge.place(), kPeakConnections * kTimes);
    rows.push_back({"peak", peak.per_s / 1e3, "thousand/s", {}, {}, "", {}});
    rows.push_back({"peak_p99", peak.p99_ms, "ms", {}, {}, "", {}});
    rows.push_back({"ten_times_goodput_lost", lost(crowd, peak), "% of peak", 20, 10, "", {}});
    rows.push_back({"ten_times_p99", crowd.p99_ms, "ms", {}, {}, "", {}});
    const SlowReaders slow(edge.place());
    const Load beside = run(edge.place(), kPeakConnections * kTimes);
    rows.push_back({"and_64_slow_readers_goodput_lost", lost(beside, peak), "% of peak", 20, 10, "", {}});
    rows.push_back({"and_64_slow_readers_p99", beside.p99_ms, "ms", {}, {}, "", {}});
    rows.push_back({"memory_grown_by", private_mib(edge.pid()) - before, "MiB", kCapMib, kCapMib / 2, "", {}});
  }
  return report("overload", rows, argc, argv);
}
