// A strong read that hits the first-level cache, with its receipt, beside a hash map under a mutex and one clock read.
#include <time.h>

#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/rng.h"
#include "local_edge.h"
#include "memory/local_reader.h"
#include "report.h"

namespace {

using namespace tidelock;

constexpr int kBatch = 64;  // reads per sample: one read is too short for a clock
constexpr int kSamples = 20'000;

double seconds_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

// Nanoseconds per call of `read`, by batch.
template <class Read>
std::vector<double> sample(const std::vector<std::string>& keys, std::uint64_t seed, Read&& read) {
  Rng rng(seed);
  std::vector<double> samples;
  samples.reserve(kSamples);
  std::vector<std::uint32_t> order(kBatch);
  for (int i = 0; i < kSamples + 1'000; ++i) {
    for (std::uint32_t& o : order) o = static_cast<std::uint32_t>(rng.below(keys.size()));
    const double before = seconds_ns();
    for (const std::uint32_t o : order) read(keys[o]);
    const double after = seconds_ns();
    if (i >= 1'000) samples.push_back((after - before) / kBatch);
  }
  return samples;
}

void must(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "bench-l1: %s\n", what);
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<bench::Row> rows;
  for (const std::size_t count : {std::size_t{1'000}, std::size_t{20'000}}) {
    bench::LocalEdge edge;
    LocalReaderOptions options;
    options.page_path = edge.page_path();
    options.arena_path = edge.arena_path();
    LocalReader reader(options);
    std::unordered_map<std::string, std::string> map;
    std::mutex mutex;
    std::vector<std::string> keys;
    std::string value;
    value.reserve(256);
    for (std::size_t i = 0; i < count; ++i) {
      keys.push_back("model:camera:" + std::to_string(i));
      EntryMeta meta;
      meta.version = Index{i + 1};
      meta.epoch = 1;
      must(edge.arena().put(keys.back(), std::string(64, 'x'), meta), "the arena refused a value");
      map[keys.back()] = std::string(64, 'x');
      must(reader.read(keys.back(), {}, value).must_ask == MustAsk::kNo, "a read was not served");
    }
    Contract strong;
    strong.consistency = Consistency::kStrong;
    std::uint64_t from_l1 = 0, reads = 0;
    std::vector<double> ours = sample(keys, 1, [&](const std::string& key) {
      const ReadOutcome outcome = reader.read(key, strong, value);
      ++reads;
      from_l1 += outcome.must_ask == MustAsk::kNo && outcome.receipt.source == Source::kL1;
    });
    must(from_l1 * 1000 >= reads * 999, "fewer than 99.9 % of the reads hit L1");
    Nanos sink = 0;
    std::vector<double> peer = sample(keys, 1, [&](const std::string& key) {
      const std::scoped_lock lock(mutex);
      const auto it = map.find(key);
      if (it != map.end()) value.assign(it->second);
      timespec t{};
      ::clock_gettime(CLOCK_BOOTTIME, &t);
      sink += t.tv_nsec;
    });
    must(sink != 0, "no clock");
    const std::string of = "_64b_" + std::to_string(count / 1'000) + "k_keys";
    const char* beside = "std::unordered_map + std::mutex + one clock read";
    // The floor is for keys that are in use; 20,000 do not fit the processor's own caches, and memory is what is
    // measured.
    const bool in_use = count == 1'000;
    rows.push_back({"l1_strong_hit" + of + "_p50", bench::quantile(ours, 0.5), "ns",
                    in_use ? std::optional<double>(150) : std::nullopt,
                    in_use ? std::optional<double>(60) : std::nullopt, beside, bench::quantile(peer, 0.5)});
    rows.push_back({"l1_strong_hit" + of + "_p99", bench::quantile(ours, 0.99), "ns", std::nullopt, std::nullopt,
                    beside, bench::quantile(peer, 0.99)});
    if (count != 1'000) continue;

    // Two threads: neither writes what the other reads.
    const auto both = [&](auto&& read) {
      std::vector<double> one, two;
      std::thread other([&] { two = sample(keys, 3, read); });
      one = sample(keys, 2, read);
      other.join();
      one.insert(one.end(), two.begin(), two.end());
      return bench::quantile(one, 0.5);
    };
    const double ours_2 = both([&](const std::string& key) {
      static thread_local std::string mine;
      (void)reader.read(key, strong, mine);
    });
    const double peer_2 = both([&](const std::string& key) {
      static thread_local std::string mine;
      const std::scoped_lock lock(mutex);
      const auto it = map.find(key);
      if (it != map.end()) mine.assign(it->second);
      timespec t{};
      ::clock_gettime(CLOCK_BOOTTIME, &t);
    });
    rows.push_back({"l1_strong_hit" + of + "_2_threads_p50", ours_2, "ns", std::nullopt, std::nullopt, beside, peer_2});
  }
  return bench::report("l1", rows, argc, argv);
}
