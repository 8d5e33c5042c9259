// A read of 2 KiB from the arena by another process, copied and in place, of a small set and of one of 1 GB; beside
// redis-server over a Unix socket. And when a write is seen: by the next read of eight processes, and by one that
// spins.
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <new>
#include <optional>
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
constexpr std::size_t kLargeKeys = 1'000'000'000 / kValueBytes;
constexpr std::size_t kLargeArenaBytes = 3ull << 29;
constexpr std::uint64_t kWatchers = 8;
constexpr std::uint64_t kWatchedReads = 1'000'000;
constexpr std::uint64_t kSpinWrites = 20'000;

double now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}
std::string key_of(std::uint64_t i) { return "feature:object:" + std::to_string(i); }

std::string value_of_version(std::uint64_t version) {
  std::string value(kValueBytes, 'x');
  std::memcpy(value.data(), &version, sizeof version);
  return value;
}

Contract any_age() {  // the proof is as old as the bench
  Contract contract;
  contract.bound_ns = 3600 * kSecond;
  return contract;
}

struct Figures {
  double with_receipt_p50 = 0, with_receipt_p99 = 0, bare_p50 = 0, in_place_p50 = 0;
};

// What stands for a use of the value in place: its first and its last bytes. A read that copies touches all of them.
std::uint64_t ends_of(std::string_view bytes) {
  std::uint64_t first = 0, last = 0;
  if (bytes.size() < sizeof first) return 0;
  std::memcpy(&first, bytes.data(), sizeof first);
  std::memcpy(&last, bytes.data() + bytes.size() - sizeof last, sizeof last);
  return first ^ last;
}

// The app: another process than the one that wrote. `draw` gives the number of the next key.
template <class Draw>
Figures read_as_app(const bench::LocalEdge& edge, std::size_t count, Draw&& draw) {
  LocalReaderOptions options;
  options.page_path = edge.page_path();
  options.arena_path = edge.arena_path();
  options.l1.capacity_bytes = 0;
  LocalReader reader(options);
  const auto arena = ArenaReader::open(edge.arena_path());
  if (!reader.attached() || !arena) return {};
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < count; ++i) keys.push_back(key_of(i));
  const Contract contract = any_age();
  std::string value;
  value.reserve(2 * kValueBytes);
  EntryMeta meta;
  std::uint64_t seen = 0;
  const auto look = [&](std::string_view bytes) { seen += ends_of(bytes); };
  std::vector<double> whole, bare, in_place;
  for (int i = 0; i < kSamples; ++i) {
    // Keys of its own for each kind: what one has brought near would be hot for the next.
    std::uint32_t order[3][kBatch];
    for (auto& kind : order) {
      for (std::uint32_t& o : kind) o = static_cast<std::uint32_t>(draw());
    }
    const double t0 = now_ns();
    for (const std::uint32_t o : order[0]) {
      if (reader.read(keys[o], contract, value).must_ask != MustAsk::kNo || value.size() != kValueBytes) return {};
    }
    const double t1 = now_ns();
    for (const std::uint32_t o : order[1]) {
      if (arena->get(keys[o], value, meta) != Lookup::kFound) return {};
    }
    const double t2 = now_ns();
    for (const std::uint32_t o : order[2]) {
      if (reader.read_in_place(keys[o], contract, look).must_ask != MustAsk::kNo) return {};
    }
    const double t3 = now_ns();
    whole.push_back((t1 - t0) / kBatch / 1000);
    bare.push_back((t2 - t1) / kBatch / 1000);
    in_place.push_back((t3 - t2) / kBatch / 1000);
  }
  if (seen == 1) std::fprintf(stderr, " ");  // so that it is used
  return {bench::quantile(whole, 0.5), bench::quantile(whole, 0.99), bench::quantile(bare, 0.5),
          bench::quantile(in_place, 0.5)};
}

// Runs `work` in a child process; what it returns comes back through a pipe. Nothing when the child died.
template <class Work>
std::optional<Figures> in_another_process(Work&& work) {
  int ends[2];
  if (::pipe(ends) != 0) return std::nullopt;
  const pid_t child = ::fork();
  if (child == 0) {
    const Figures figures = work();
    ::_exit(::write(ends[1], &figures, sizeof figures) == sizeof figures ? 0 : 1);
  }
  Figures figures;
  ::close(ends[1]);
  const bool got = ::read(ends[0], &figures, sizeof figures) == sizeof figures;
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  if (!got || figures.bare_p50 == 0) return std::nullopt;
  return figures;
}

// All of them at once, or false: a few leave while the index grows under them, and are put again.
bool fill(bench::LocalEdge& edge, std::size_t count) {
  for (int round = 0; round < 4; ++round) {
    std::size_t missing = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string key = key_of(i);
      if (round > 0 && edge.arena().peek(key)) continue;
      ++missing;
      EntryMeta meta;
      meta.version = Index{i + 1};
      meta.epoch = 1;
      if (!edge.arena().put(key, std::string(kValueBytes, 'x'), meta)) return false;
    }
    if (missing == 0) return true;
  }
  return false;
}

// Numbers 0 .. count - 1, the n-th with a weight of n^-0.99, in no order of their weight.
class Zipf {
 public:
  explicit Zipf(std::size_t count) : sums_(count), number_(count) {
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) sums_[i] = sum += std::pow(static_cast<double>(i + 1), -0.99);
    for (std::size_t i = 0; i < count; ++i) number_[i] = static_cast<std::uint32_t>(i);
    for (std::size_t i = count - 1; i > 0; --i) std::swap(number_[i], number_[rng_.below(i + 1)]);
  }
  std::uint32_t operator()() {
    const double at = sums_.back() * (static_cast<double>(rng_.next() >> 11) * 0x1p-53);
    const auto rank = static_cast<std::size_t>(std::lower_bound(sums_.begin(), sums_.end(), at) - sums_.begin());
    return number_[std::min(rank, number_.size() - 1)];
  }

 private:
  Rng rng_{1};
  std::vector<double> sums_;
  std::vector<std::uint32_t> number_;
};

// ---- one key that is written again and again, and who reads it
struct Watched {
  std::atomic<std::uint64_t> returned{0};  // the version of the last write that returned
  std::atomic<std::uint64_t> readers_left{kWatchers};
  std::atomic<std::uint64_t> reads{0}, first_reads{0}, misses{0}, failed{0};
  double returned_at_ns[kSpinWrites + 1], seen_at_ns[kSpinWrites + 1];
};

void write_as_edge(bench::LocalEdge& edge, std::uint64_t version) {  // F5: value, then slot
  static const std::string key = key_of(0);
  edge.page().begin_write(0);
  EntryMeta meta;
  meta.version = Index{version};
  meta.epoch = 1;
  edge.arena().put(key, value_of_version(version), meta);
  edge.page().bump_slot(slot_of(key));
  edge.page().end_write(0);
}
LocalReaderOptions with_l1(const bench::LocalEdge& edge) {  // what it holds must not be served once it is old
  LocalReaderOptions options;
  options.page_path = edge.page_path();
  options.arena_path = edge.arena_path();
  options.l1.capacity_bytes = 1u << 20;
  return options;
}

// Eight processes read while this one writes: none may see less than what had returned before its read began.
bool watch_writes(bench::LocalEdge& edge, Watched& watched) {
  std::vector<pid_t> readers;
  for (std::uint64_t i = 0; i < kWatchers; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      LocalReader reader(with_l1(edge));
      const std::string key = key_of(0);
      std::string value;
      std::uint64_t reads = 0, first_reads = 0, misses = 0, failed = 0, last = 0;
      const Contract contract = any_age();
      while (reads < kWatchedReads / kWatchers) {
        const std::uint64_t returned = watched.returned.load(std::memory_order_acquire);
        if (returned == last && reads % 64 == 0) ::sched_yield();
        const ReadOutcome outcome = reader.read(key, contract, value);
        std::uint64_t version = 0;
        if (outcome.must_ask == MustAsk::kNo && value.size() == kValueBytes)
          std::memcpy(&version, value.data(), sizeof version);
        else
          ++failed;
        ++reads;
        first_reads += returned != last;
        misses += version < returned;
        last = returned;
      }
      watched.reads += reads;
      watched.first_reads += first_reads;
      watched.misses += misses;
      watched.failed += failed;
      watched.readers_left -= 1;
      ::_exit(0);
    }
    if (child < 0) break;  // never a process of number -1: to kill it is to kill all of them
    readers.push_back(child);
  }
  const double until = now_ns() + 40e9;
  std::uint64_t version = 0;
  while (readers.size() == kWatchers && watched.readers_left.load() > 0 && now_ns() < until) {
    write_as_edge(edge, ++version);
    watched.returned.store(version, std::memory_order_release);
    if (version % 4 == 0) ::sched_yield();
  }
  const bool all = readers.size() == kWatchers && watched.readers_left.load() == 0;
  for (const pid_t reader : readers) {
    if (!all) ::kill(reader, SIGKILL);
    ::waitpid(reader, nullptr, 0);
  }
  return all;
}

bool stay_on(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  return ::sched_setaffinity(0, sizeof set, &set) == 0;
}

// Microseconds from the return of a write to the end of the first read that sees it, by a reader that does nothing else
// on the other processor; p50. Nothing where there is no other one.
std::optional<double> seen_after_us(bench::LocalEdge& edge, Watched& watched) {
  cpu_set_t before;
  if (::sched_getaffinity(0, sizeof before, &before) != 0 || CPU_COUNT(&before) < 2) return std::nullopt;
  const std::uint64_t from = watched.returned.load();
  const pid_t child = ::fork();
  if (child == 0) {
    if (!stay_on(1)) ::_exit(1);
    LocalReader reader(with_l1(edge));
    const std::string key = key_of(0);
    std::string value;
    const Contract contract = any_age();
    const double give_up = now_ns() + 30e9;
    for (std::uint64_t last = from; last < from + kSpinWrites;) {
      if (now_ns() > give_up) ::_exit(1);
      if (reader.read(key, contract, value).must_ask != MustAsk::kNo || value.size() != kValueBytes) continue;
      std::uint64_t version = 0;
      std::memcpy(&version, value.data(), sizeof version);
      if (version == last || version <= from) continue;
      watched.seen_at_ns[version - from] = now_ns();
      last = version;
    }
    ::_exit(0);
  }
  if (child < 0) return std::nullopt;
  (void)stay_on(0);
  for (std::uint64_t i = 1; i <= kSpinWrites; ++i) {
    const double pause_until = now_ns() + 20'000;
    while (now_ns() < pause_until) {
    }
    write_as_edge(edge, from + i);
    watched.returned_at_ns[i] = now_ns();
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  (void)::sched_setaffinity(0, sizeof before, &before);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  std::vector<double> late;
  for (std::uint64_t i = 1; i <= kSpinWrites; ++i) {
    if (watched.seen_at_ns[i] == 0) continue;  // the next one came first: the reader was away
    late.push_back(std::max(0.0, watched.seen_at_ns[i] - watched.returned_at_ns[i]) / 1000);
  }
  if (late.empty()) return std::nullopt;
  return bench::quantile(late, 0.5);
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
  void* shared = ::mmap(nullptr, sizeof(Watched), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 1;
  Watched& watched = *new (shared) Watched();
  std::optional<Figures> hot, large;
  std::optional<double> seen_us;
  bool watched_all = false;
  {
    bench::LocalEdge edge;
    if (!fill(edge, kKeys)) {
      std::fprintf(stderr, "bench-arena: the arena refused a value\n");
      return 1;
    }
    Rng rng(1);
    hot = in_another_process([&] { return read_as_app(edge, kKeys, [&] { return rng.below(kKeys); }); });
    watched_all = watch_writes(edge, watched);
    seen_us = seen_after_us(edge, watched);
  }
  {
    bench::LocalEdge edge(kLargeArenaBytes);
    if (!fill(edge, kLargeKeys)) {
      std::fprintf(stderr, "bench-arena: 1 GB does not fit the arena\n");
      return 1;
    }
    Zipf zipf(kLargeKeys);
    large = in_another_process([&] { return read_as_app(edge, kLargeKeys, zipf); });
  }
  if (!hot || !large || watched.failed > 0) {
    std::fprintf(stderr, "bench-arena: the app's reads were not served\n");
    return 1;
  }
  const std::optional<double> redis = read_from_redis();
  if (!redis) std::fprintf(stderr, "bench-arena: no redis-server to compare with (./dev setup)\n");
  const char* beside = "redis-server 7, Unix socket, GET";
  std::vector<bench::Row> rows = {
      {"arena_read_2kib_receipt_p50", hot->with_receipt_p50, "us", 0.3, 0.15, beside, redis},
      {"arena_read_2kib_receipt_p99", hot->with_receipt_p99, "us", std::nullopt, std::nullopt, "", {}},
      {"arena_read_2kib_copy_only_p50", hot->bare_p50, "us", std::nullopt, std::nullopt, beside, redis},
      {"arena_read_2kib_in_place_p50", hot->in_place_p50, "us", std::nullopt, std::nullopt, beside, redis},
      {"arena_1gb_zipf_2kib_copy_p50", large->with_receipt_p50, "us", 0.8, 0.8, beside, redis},
      {"arena_1gb_zipf_2kib_in_place_p50", large->in_place_p50, "us", 0.3, 0.3, beside, redis}};
  if (watched_all) {
    rows.push_back({"arena_next_read_of_8_old", static_cast<double>(watched.misses), "reads", 0, 0, "", {}});
    rows.push_back({"arena_next_read_of_8_reads", static_cast<double>(watched.reads), "reads", {}, {}, "", {}});
    rows.push_back({"arena_next_read_of_8_first", static_cast<double>(watched.first_reads), "reads", {}, {}, "", {}});
  } else {
    std::fprintf(stderr, "bench-arena: eight readers did not come to an end within 40 s\n");
  }
  if (seen_us) {
    rows.push_back({"arena_seen_by_spinning_reader_p50", *seen_us, "us", 1, 1, "", {}});
  } else {
    std::fprintf(stderr, "bench-arena: no second processor for a reader that spins\n");
  }
  return bench::report("arena", rows, argc, argv);
}
