// A read of 2 KiB from the arena by another process, beside redis-server over a Unix socket.
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "base/rng.h"
#include "local_edge.h"
#include "memory/local_reader.h"
#include "report.h"

namespace {

using namespace tidelock;

constexpr std::size_t kKeys = 4'000;
constexpr std::size_t kValueBytes = 2'048;
constexpr int kBatch = 32;
constexpr int kSamples = 10'000;
constexpr int kRedisReads = 20'000;

double now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}
std::string key_of(std::uint64_t i) { return "feature:object:" + std::to_string(i); }

struct Figures {
  double with_receipt_p50 = 0, with_receipt_p99 = 0, bare_p50 = 0;
};

// The app: another process than the one that wrote.
Figures read_as_app(const std::string& page_path, const std::string& arena_path) {
  LocalReaderOptions options;
  options.page_path = page_path;
  options.arena_path = arena_path;
  options.l1.capacity_bytes = 0;
  LocalReader reader(options);
  const auto arena = ArenaReader::open(arena_path);
  if (!reader.attached() || !arena) return {};
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < kKeys; ++i) keys.push_back(key_of(i));
  Contract contract;
  contract.bound_ns = 3600 * kSecond;
  std::string value;
  value.reserve(2 * kValueBytes);
  EntryMeta meta;
  Rng rng(1);
  std::vector<double> whole, bare;
  for (int i = 0; i < kSamples; ++i) {
    std::uint32_t order[kBatch];
    for (std::uint32_t& o : order) o = static_cast<std::uint32_t>(rng.below(kKeys));
    const double t0 = now_ns();
    for (const std::uint32_t o : order) {
      if (reader.read(keys[o], contract, value).must_ask != MustAsk::kNo || value.size() != kValueBytes) return {};
    }
    const double t1 = now_ns();
    for (const std::uint32_t o : order) {
      if (arena->get(keys[o], value, meta) != Lookup::kFound) return {};
    }
    const double t2 = now_ns();
    whole.push_back((t1 - t0) / kBatch / 1000);
    bare.push_back((t2 - t1) / kBatch / 1000);
  }
  return {bench::quantile(whole, 0.5), bench::quantile(whole, 0.99), bench::quantile(bare, 0.5)};
}

bool send_all(int fd, const std::string& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}
bool receive(int fd, std::size_t bytes, std::string& buffer) {
  buffer.resize(bytes);
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t n = ::read(fd, buffer.data() + done, bytes - done);
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}
std::string bulk(const std::string& text) { return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n"; }

// Microseconds per GET of 2 KiB, p50; nothing when there is no redis-server.
std::optional<double> read_from_redis() {
  const std::string path = "/dev/shm/tidelock-bench-redis-" + std::to_string(::getpid()) + ".sock";
  const pid_t server = ::fork();
  if (server == 0) {
    if (std::freopen("/dev/null", "w", stdout) == nullptr) ::_exit(127);
    ::execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path.c_str(), "--save", "", "--appendonly",
             "no", static_cast<char*>(nullptr));
    ::_exit(127);
  }
  std::optional<double> p50;
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  bool connected = false;
  for (int i = 0; i < 500 && !connected; ++i) {
    connected = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    if (!connected) {
      if (::waitpid(server, nullptr, WNOHANG) == server) break;
      ::usleep(10'000);
    }
  }
  if (connected) {
    std::string buffer;
    bool ok = true;
    for (std::size_t i = 0; i < kKeys && ok; ++i) {
      ok = send_all(fd, "*3\r\n" + bulk("SET") + bulk(key_of(i)) + bulk(std::string(kValueBytes, 'x'))) &&
           receive(fd, 5, buffer);
    }
    std::vector<std::string> requests;
    for (std::size_t i = 0; i < kKeys; ++i) requests.push_back("*2\r\n" + bulk("GET") + bulk(key_of(i)));
    const std::size_t answer_bytes = bulk(std::string(kValueBytes, 'x')).size();
    Rng rng(1);
    std::vector<double> samples;
    for (int i = 0; i < kRedisReads && ok; ++i) {
      const std::string& request = requests[rng.below(kKeys)];
      const double t0 = now_ns();
      ok = send_all(fd, request) && receive(fd, answer_bytes, buffer);
      samples.push_back((now_ns() - t0) / 1000);
    }
    if (ok) p50 = bench::quantile(samples, 0.5);
  }
  ::close(fd);
  ::kill(server, SIGTERM);
  ::waitpid(server, nullptr, 0);
  ::unlink(path.c_str());
  return p50;
}

}  // namespace

int main(int argc, char** argv) {
  bench::LocalEdge edge;
  for (std::size_t i = 0; i < kKeys; ++i) {
    EntryMeta meta;
    meta.version = Index{i + 1};
    meta.epoch = 1;
    if (!edge.arena().put(key_of(i), std::string(kValueBytes, 'x'), meta)) {
      std::fprintf(stderr, "bench-arena: the arena refused a value\n");
      return 1;
    }
  }
  int pipe_ends[2];
  if (::pipe(pipe_ends) != 0) return 1;
  const pid_t app = ::fork();
  if (app == 0) {
    const Figures figures = read_as_app(edge.page_path(), edge.arena_path());
    const bool sent = ::write(pipe_ends[1], &figures, sizeof figures) == sizeof figures;
    ::_exit(sent ? 0 : 1);
  }
  Figures figures;
  ::close(pipe_ends[1]);
  const bool got = ::read(pipe_ends[0], &figures, sizeof figures) == sizeof figures;
  ::waitpid(app, nullptr, 0);
  if (!got || figures.bare_p50 == 0) {
    std::fprintf(stderr, "bench-arena: the app's reads were not served\n");
    return 1;
  }
  const std::optional<double> redis = read_from_redis();
  if (!redis) std::fprintf(stderr, "bench-arena: no redis-server to compare with (./dev setup)\n");
  const char* beside = "redis-server 7, Unix socket, GET";
  return bench::report(
      "arena",
      {{"arena_read_2kib_receipt_p50", figures.with_receipt_p50, "us", 1, 0.15, beside, redis},
       {"arena_read_2kib_receipt_p99", figures.with_receipt_p99, "us", std::nullopt, std::nullopt, "", {}},
       {"arena_read_2kib_copy_only_p50", figures.bare_p50, "us", std::nullopt, std::nullopt, beside, redis}},
      argc, argv);
}
