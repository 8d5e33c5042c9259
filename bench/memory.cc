// What an entry with a TTL costs beside its key and value, when its bytes are back, and what writing it costs: an edge
// core over its arena, beside redis-server.
//
// Ours is the EdgeCore with the arena as its memory tier, as an edge carries out its operations, without L2, sockets
// and the parsing of commands. All that the arena keeps and all that is on the heap counts. Redis is asked for its
// used_memory.
#include <malloc.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "local_edge.h"
#include "protocol/edge_core.h"
#include "report.h"

namespace {

using namespace tidelock;

void must(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "bench-memory: %s\n", what);
  std::exit(1);
}

Nanos clock_ns(clockid_t which) {
  timespec t{};
  ::clock_gettime(which, &t);
  return static_cast<Nanos>(t.tv_sec) * kSecond + t.tv_nsec;
}

std::string key_of(std::size_t n) {
  char key[40];
  std::snprintf(key, sizeof key, "bulk:item:%010zu", n);
  return key;
}

class NoStore : public EdgeStore {
 public:
  std::optional<EdgeEntry> find(std::string_view) const override { return std::nullopt; }
};

// An edge core over an arena, driven as the shell does.
class CoreOverArena {
 public:
  explicit CoreOverArena(std::size_t arena_bytes) : edge_(arena_bytes) {
    EdgeOptions options;
    options.id = "edge-1";
    options.boot = Boot{1};
    core_ =
        std::make_unique<EdgeCore>(options, edge_.arena(), store_, *Outbox::restore({}, {}, now, 1, Rng(1)), Rng(2));
  }
  void set(const std::string& key, const std::string& value, Nanos ttl) {
    EdgeWrite write;
    write.token = WriteToken{++token_};
    write.write.key = key;
    write.write.value = value;
    write.write.ttl_ns = ttl;
    EdgeActions actions;
    core_->step(EdgeEvent{now, std::move(write)}, actions);
    bool done = false;
    for (const auto& op : actions.ops) {
      if (const auto* begin = std::get_if<PageBeginWrite>(&op)) edge_.page().begin_write(begin->ns);
      if (const auto* put = std::get_if<EntryPut>(&op)) must(edge_.arena().put(put->key, put->entry), "too large");
      if (const auto* bump = std::get_if<PageBumpSlot>(&op)) edge_.page().bump_slot(bump->slot);
      if (const auto* end = std::get_if<PageEndWrite>(&op)) edge_.page().end_write(end->ns);
      if (const auto* answer = std::get_if<WriteDoneOp>(&op)) done = answer->code == Code::kOk;
    }
    must(done, "a write was refused");
    edge_.arena().sweep(now);
  }
  // What the arena keeps of its entries and beside them, and the heap of this process.
  std::size_t bytes() {
    return edge_.arena().live_bytes() + edge_.arena().fixed_bytes() + static_cast<std::size_t>(::mallinfo2().uordblks);
  }
  ArenaWriter& arena() { return edge_.arena(); }

  Nanos now = 1'000 * kSecond;

 private:
  bench::LocalEdge edge_;
  NoStore store_;
  std::unique_ptr<EdgeCore> core_;
  std::uint64_t token_ = 0;
};

// A redis-server of its own, without persistence, on a Unix socket.
class Redis {
 public:
  Redis() {
    char folder[] = "/dev/shm/tidelock-bench-XXXXXX";
    must(::mkdtemp(folder) != nullptr, "cannot make a folder");
    folder_ = folder;
    path_ = folder_ + "/redis.sock";
    child_ = ::fork();
    must(child_ >= 0, "cannot fork");
    if (child_ == 0) {
      if (std::freopen("/dev/null", "w", stdout) == nullptr) std::_Exit(126);
      ::execlp("redis-server", "redis-server", "--port", "0", "--dir", folder_.c_str(), "--unixsocket", path_.c_str(),
               "--save", "", "--appendonly", "no", nullptr);
      std::_Exit(127);
    }
    for (int tries = 0; tries < 100 && !connect(); ++tries) ::usleep(50'000);
    must(fd_ >= 0, "redis-server does not start; ./dev setup --with peers");
  }
  ~Redis() {
    ::kill(child_, SIGTERM);
    ::waitpid(child_, nullptr, 0);
    ::close(fd_);
    ::unlink(path_.c_str());
    ::rmdir(folder_.c_str());
  }
  Redis(const Redis&) = delete;
  Redis& operator=(const Redis&) = delete;

  void set(const std::string& key, const std::string& value, Nanos ttl) {
    const std::string ms = std::to_string(ttl / kMillisecond);
    for (const std::string& arg : {std::string("SET"), key, value, std::string("PX"), ms}) {
      if (arg == "SET") out_ += "*5\r\n";
      out_ += "$" + std::to_string(arg.size()) + "\r\n" + arg + "\r\n";
    }
    if (++queued_ == 500) flush();
  }
  void flush() {
    write_all();
    std::size_t left = queued_ * 5;  // "+OK\r\n"
    char in[4096];
    while (left > 0) {
      const ssize_t got = ::read(fd_, in, std::min(left, sizeof in));
      must(got > 0 && in[0] != '-', "redis-server refuses a write");
      left -= static_cast<std::size_t>(got);
    }
    queued_ = 0;
  }
  std::size_t used_memory() {
    out_ = "INFO memory\r\n";
    write_all();
    std::string text;
    char in[4096];
    while (text.find("\r\n") == std::string::npos || text.size() < std::strtoul(text.c_str() + 1, nullptr, 10)) {
      const ssize_t got = ::read(fd_, in, sizeof in);
      must(got > 0, "redis-server hung up");
      text.append(in, static_cast<std::size_t>(got));
    }
    const std::size_t at = text.find("used_memory:");
    must(at != std::string::npos, "redis-server does not tell its used_memory");
    return std::strtoul(text.c_str() + at + 12, nullptr, 10);
  }

 private:
  bool connect() {
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return true;
    ::close(fd_);
    fd_ = -1;
    return false;
  }
  void write_all() {
    for (std::size_t sent = 0; sent < out_.size();) {
      const ssize_t put = ::write(fd_, out_.data() + sent, out_.size() - sent);
      must(put > 0, "redis-server hung up");
      sent += static_cast<std::size_t>(put);
    }
    out_.clear();
  }
  std::string folder_, path_, out_;
  pid_t child_ = -1;
  int fd_ = -1;
  std::size_t queued_ = 0;
};

// Beside key and value, when the arena is nearly full of such entries.
void overhead(std::vector<bench::Row>& rows, std::size_t value_bytes, std::size_t entries, const std::string& of) {
  const std::string value(value_bytes, 'v');
  const auto beside = [&](std::size_t grown) {
    return static_cast<double>(grown) / static_cast<double>(entries) -
           static_cast<double>(value_bytes + key_of(0).size());
  };
  const auto heap_before = static_cast<std::size_t>(::mallinfo2().uordblks);
  CoreOverArena ours(64u << 20);
  for (std::size_t i = 0; i < entries; ++i) ours.set(key_of(i), value, 3'600 * kSecond);
  must(ours.arena().entries() == entries, "the arena evicted; take fewer entries");
  const double mine = beside(ours.bytes() - heap_before);
  Redis redis;
  const std::size_t before = redis.used_memory();
  for (std::size_t i = 0; i < entries; ++i) redis.set(key_of(i), value, 3'600 * kSecond);
  redis.flush();
  rows.push_back({"overhead_an_entry_" + of, mine, "B", 64, 32, "redis-server", beside(redis.used_memory() - before)});
}

// From the instant at which all entries expire until 99 % of what they took is free.
void back(std::vector<bench::Row>& rows) {
  constexpr std::size_t kEntries = 100'000;
  constexpr Nanos kTtl = 3 * kSecond;
  const std::string value(64, 'v');
  CoreOverArena ours(64u << 20);
  ours.now = clock_ns(CLOCK_MONOTONIC);
  const Nanos expires_at = ours.now + kTtl;
  for (std::size_t i = 0; i < kEntries; ++i) ours.set(key_of(i), value, kTtl);
  const std::size_t full = ours.arena().live_bytes();
  Nanos longest_sweep = 0, wake_at = ours.arena().sweep(ours.now);
  while (ours.arena().live_bytes() > full / 100) {
    const Nanos now = clock_ns(CLOCK_MONOTONIC);
    if (now < wake_at) {
      ::usleep(static_cast<useconds_t>(std::min<Nanos>(wake_at - now, kSecond) / 1'000 + 1));
      continue;
    }
    wake_at = ours.arena().sweep(now);
    longest_sweep = std::max(longest_sweep, clock_ns(CLOCK_MONOTONIC) - now);
  }
  const Nanos mine = clock_ns(CLOCK_MONOTONIC) - expires_at;

  Redis redis;
  const std::size_t empty = redis.used_memory();
  Nanos begun = clock_ns(CLOCK_MONOTONIC), last = 0;
  for (std::size_t i = 0; i < kEntries; ++i) {
    redis.set(key_of(i), value, kTtl);
    last = clock_ns(CLOCK_MONOTONIC);
  }
  redis.flush();
  const std::size_t at_most = empty + (redis.used_memory() - empty) / 20;  // the empty table stays: 95 %
  must(last - begun < kTtl, "redis-server took longer than the TTL");
  while (redis.used_memory() > at_most && clock_ns(CLOCK_MONOTONIC) - last < 60 * kSecond) ::usleep(5'000);
  const Nanos theirs = clock_ns(CLOCK_MONOTONIC) - (last + kTtl);
  const auto ms = [](Nanos span) { return static_cast<double>(span) / static_cast<double>(kMillisecond); };
  rows.push_back({"expired_bytes_back_100k", ms(mine), "ms", 100, 50, "redis-server, 95 % of them", ms(theirs)});
  rows.push_back({"expired_bytes_longest_sweep", ms(longest_sweep), "ms", {}, {}, "", {}});
}

// Each key is written once, lives for what fits the arena, and expires: 167,000 of 2 KiB in each second that the core
// sees.
void cpu(std::vector<bench::Row>& rows) {
  constexpr double kPerSecond = 167'000;
  constexpr std::size_t kWarm = 150'000, kWrites = 350'000;  // the arena's pages are there after once around it
  CoreOverArena ours(256u << 20);
  const std::string value(2'048, 'v');
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < kWarm + kWrites; ++i) keys.push_back(key_of(i));
  Nanos before = 0;
  for (std::size_t i = 0; i < kWarm + kWrites; ++i) {
    if (i == kWarm) before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    ours.now = 1'000 * kSecond + static_cast<Nanos>(static_cast<double>(i) * 1e9 / kPerSecond);
    ours.set(keys[i], value, 400 * kMillisecond);
  }
  const Nanos spent = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
  must(ours.arena().evictions() == 0, "something was evicted that had not expired");
  const double a_write = static_cast<double>(spent) / kWrites;
  rows.push_back({"set_2kib_that_expire_cpu", a_write, "ns", {}, {}, "", {}});
  rows.push_back({"set_2kib_that_expire_167k_a_second", a_write * kPerSecond / 1e9, "cores", 0.3, 0.15, "", {}});
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<bench::Row> rows;
  overhead(rows, 64, 350'000, "64b");
  overhead(rows, 2'048, 22'000, "2kib");
  back(rows);
  cpu(rows);
  return bench::report("memory", rows, argc, argv);
}
