// One gateway: a process that writes releases of five strong keys into page and arena as an edge does, and eight that
// take frames from them. Processes of both kinds are killed at random instants and started again. Prints one JSON
// object: frames, releases, kills, and what must be zero: sets that mix two releases, and frames that began after a
// release was in the page and ran on an older one.
//
//   bench-page-flips [RELEASES [KILLS [SEED]]]
//
// How it is judged: the writer notes the number of a release in memory that all share when the stores to the page are
// over. A frame loads that number before it begins; the set that it is then given must be of that release or of a later
// one.
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/elapsed_clock.h"
#include "base/rng.h"
#include "memory/arena.h"
#include "memory/local_reader.h"
#include "memory/page.h"

namespace {

using namespace tidelock;

constexpr int kApps = 8;
constexpr const char* kMembers[] = {"model", "preprocessing", "thresholds", "labels", "schema"};
constexpr long kBetweenReleasesNs = 500'000;

struct Shared {
  std::atomic<std::uint64_t> in_page{0};  // the newest release whose stores to the page are over
  std::atomic<std::uint64_t> edge_boots{0};
  std::atomic<std::uint64_t> frames{0}, asked{0}, mixed{0}, old{0}, flips{0};
  std::atomic<std::uint64_t> seen[kApps];  // by each app: the newest release that it ran
  std::atomic<bool> stop{false};
};

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "bench-page-flips: %s\n", why.c_str());
  std::_Exit(1);
}
void rest(long ns) {
  const timespec span{0, ns};
  ::nanosleep(&span, nullptr);
}
std::vector<std::string> keys() {
  std::vector<std::string> all;
  for (const char* member : kMembers) all.push_back(std::string("model:release:") + member);
  return all;
}

// The edge: a new page and a new arena for each boot, the former page revoked first (F11); then release after release.
[[noreturn]] void be_edge(const std::string& base, Shared& shared, std::uint64_t releases) {
  const std::string page_path = base + ".page", arena_path = base + ".arena";
  if (const auto revoked = PageWriter::revoke(page_path); !revoked) die(revoked.error().message);
  const Boot boot{shared.edge_boots.fetch_add(1) + 1};
  auto arena = ArenaWriter::create({arena_path, boot, 4u << 20});
  if (!arena) die(arena.error().message);
  PageOptions options;
  options.path = page_path;
  options.edge_boot = boot;
  const auto keys_of_set = keys();
  const std::uint16_t ns = namespace_number(options.namespaces, keys_of_set[0]);
  auto page = PageWriter::create(options);
  if (!page) die(page.error().message);
  const auto write = [&](std::uint64_t release) {  // one record of the feed (S4, F5)
    EntryMeta meta;
    meta.version = Index{release};
    meta.epoch = 1;
    std::string value = std::to_string(release);
    value.resize(64, ' ');
    page->begin_write(ns);
    for (const std::string& key : keys_of_set) {
      if (!arena->put(key, value, meta)) die("the arena refused a value");
      page->bump_slot(slot_of(key));
    }
    page->publish_applied(Index{release});
    page->end_write(ns);
  };
  // What is in force now may have been on its way when the former edge was killed: it is written again first.
  std::uint64_t release = shared.in_page.load() + 1;
  write(release);
  page->publish_writers(kSecond);
  page->publish_fresh_at(ElapsedClock().now());
  page->publish_lease(kForever);
  for (;;) {
    shared.in_page.store(release);
    if (release >= releases) break;
    rest(kBetweenReleasesNs);
    write(++release);
  }
  while (!shared.stop.load()) rest(1'000'000);
  std::_Exit(0);
}

[[noreturn]] void be_app(const std::string& base, Shared& shared, int number) {
  LocalReaderOptions options;
  options.page_path = base + ".page";
  options.arena_path = base + ".arena";
  LocalReader reader(options);
  const auto all = keys();
  const std::vector<std::string_view> views(all.begin(), all.end());
  std::vector<std::string> values;
  std::vector<ReadOutcome> outcomes;
  std::uint64_t last = shared.seen[number].load();
  for (std::uint64_t frame = 0; !shared.stop.load(std::memory_order_relaxed); ++frame) {
    const std::uint64_t least = shared.in_page.load();  // before the frame begins
    const ReadOutcome got = reader.snapshot(views, values, outcomes);
    if (got.must_ask != MustAsk::kNo) {  // a record is being written, or the edge is gone: a real app asks or waits
      shared.asked.fetch_add(1, std::memory_order_relaxed);
      reader.maintain();
      ::sched_yield();
      continue;
    }
    shared.frames.fetch_add(1, std::memory_order_relaxed);
    const std::uint64_t release = std::strtoull(values[0].c_str(), nullptr, 10);
    for (const std::string& value : values) {
      if (value != values[0]) {
        shared.mixed.fetch_add(1);
        break;
      }
    }
    if (release < least) shared.old.fetch_add(1);
    if (release != last) {
      shared.flips.fetch_add(1, std::memory_order_relaxed);
      last = release;
      shared.seen[number].store(release, std::memory_order_relaxed);
    }
    if (frame % 64 == 63) ::sched_yield();
  }
  std::_Exit(0);
}

template <class Be>
pid_t started(Be be) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) die("fork failed");
  if (child > 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) std::_Exit(1);
  be();
  std::_Exit(1);
}

std::uint64_t number(int argc, char** argv, int at, std::uint64_t otherwise) {
  if (at >= argc) return otherwise;
  char* end = nullptr;
  const std::uint64_t value = std::strtoull(argv[at], &end, 10);
  if (*end != '\0') die(std::string("'") + argv[at] + "' is no number");
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t releases = number(argc, argv, 1, 1'000), kills = number(argc, argv, 2, 200);
  Rng rng(number(argc, argv, 3, 1));
  void* at = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) die("no shared memory");
  auto& shared = *new (at) Shared;
  const std::string base = "/dev/shm/tidelock-flips-" + std::to_string(::getpid());
  const auto edge = [&] { return started([&] { be_edge(base, shared, releases); }); };
  const auto app = [&](int n) { return started([&, n] { be_app(base, shared, n); }); };
  pid_t writer = edge();
  pid_t readers[kApps];
  for (int n = 0; n < kApps; ++n) readers[n] = app(n);
  const auto kill_and_reap = [](pid_t who) {
    ::kill(who, SIGKILL);
    int status = 0;
    ::waitpid(who, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) die("a process ended by itself");
  };
  // The kills are spread over the releases: each is due when its share of them is out.
  std::uint64_t killed_edges = 0, killed_apps = 0;
  const ElapsedClock clock;
  const Nanos most = clock.now() + 300 * kSecond;
  for (std::uint64_t k = 0; k < kills; ++k) {
    while (shared.in_page.load() < (k + 1) * releases / (kills + 1)) {
      if (clock.now() > most) die("the releases do not come forward");
      rest(50'000);
    }
    rest(static_cast<long>(rng.below(kBetweenReleasesNs)));  // anywhere between two releases, or inside one
    if (rng.one_in(4)) {
      kill_and_reap(writer);
      writer = edge();
      ++killed_edges;
    } else {
      const int n = static_cast<int>(rng.below(kApps));
      kill_and_reap(readers[n]);
      readers[n] = app(n);
      ++killed_apps;
    }
  }
  const auto all_have = [&](std::uint64_t release) {
    for (const auto& seen : shared.seen) {
      if (seen.load() < release) return false;
    }
    return true;
  };
  while (shared.in_page.load() < releases || !all_have(releases)) {
    if (clock.now() > most) die("not every process came to the last release");
    rest(1'000'000);
  }
  shared.stop.store(true);
  for (const pid_t reader : readers) ::waitpid(reader, nullptr, 0);
  ::waitpid(writer, nullptr, 0);
  ::unlink((base + ".page").c_str());
  ::unlink((base + ".arena").c_str());
  std::printf(
      "{\"releases\":%llu,\"processes\":%d,\"killed_edges\":%llu,\"killed_apps\":%llu,\"frames\":%llu,"
      "\"asked\":%llu,\"flips\":%llu,\"mixed\":%llu,\"old\":%llu}\n",
      static_cast<unsigned long long>(releases), kApps, static_cast<unsigned long long>(killed_edges),
      static_cast<unsigned long long>(killed_apps), static_cast<unsigned long long>(shared.frames.load()),
      static_cast<unsigned long long>(shared.asked.load()), static_cast<unsigned long long>(shared.flips.load()),
      static_cast<unsigned long long>(shared.mixed.load()), static_cast<unsigned long long>(shared.old.load()));
  return shared.mixed.load() + shared.old.load() == 0 ? 0 : 1;
}
