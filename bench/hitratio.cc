// Hit ratios of the eviction policies on loads made here: Zipf, scans, drift, and tracks of a video that come and go.
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/rng.h"
#include "eviction_peers.h"
#include "memory/eviction/lru.h"
#include "memory/eviction/s3_fifo.h"
#include "memory/eviction/sieve.h"
#include "memory/eviction/tiny_lfu.h"
#include "report.h"

namespace {

using namespace tidelock;

constexpr std::size_t kAsks = 400'000;  // of each load
constexpr Node kSizes[] = {250, 1'000, 4'000};

using Load = std::vector<std::uint64_t>;

class Zipf {
 public:
  Zipf(std::size_t keys, double skew) {
    double sum = 0;
    for (std::size_t i = 0; i < keys; ++i) below_.push_back(sum += std::pow(static_cast<double>(i + 1), -skew));
    for (double& b : below_) b /= sum;
  }
  std::uint64_t next(Rng& rng) const {
    const double at = static_cast<double>(rng.next() >> 11) * 0x1p-53;
    return static_cast<std::uint64_t>(std::upper_bound(below_.begin(), below_.end(), at) - below_.begin());
  }

 private:
  std::vector<double> below_;
};

Load zipf(double skew) {
  Rng rng(1);
  const Zipf draw(30'000, skew);
  Load load;
  while (load.size() < kAsks) load.push_back(draw.next(rng));
  return load;
}
// Every 10,000 asks somebody reads 3,000 keys that nobody asked for before or will ask for again.
Load zipf_with_scans() {
  Rng rng(2);
  const Zipf draw(30'000, 0.9);
  Load load;
  std::uint64_t fresh = 1'000'000;
  while (load.size() < kAsks) {
    for (int i = 0; i < 10'000; ++i) load.push_back(draw.next(rng));
    for (int i = 0; i < 3'000; ++i) load.push_back(fresh++);
  }
  return load;
}
// The same 3,000 keys again and again in their order, half of all asks; the other half is Zipf.
Load loop_and_zipf() {
  Rng rng(3);
  const Zipf draw(30'000, 0.9);
  Load load;
  for (std::uint64_t i = 0; load.size() < kAsks; ++i) {
    load.push_back(1'000'000 + i % 3'000);
    load.push_back(draw.next(rng));
  }
  return load;
}
// What is asked for most wanders: every 20 asks the ranks move on by one key.
Load drift() {
  Rng rng(4);
  const Zipf draw(10'000, 1.0);
  Load load;
  while (load.size() < kAsks) load.push_back(draw.next(rng) + load.size() / 20);
  return load;
}
// Every 50,000 asks all other keys are asked for.
Load phases() {
  Rng rng(5);
  const Zipf draw(10'000, 1.0);
  Load load;
  while (load.size() < kAsks) load.push_back(draw.next(rng) + load.size() / 50'000 * 100'000);
  return load;
}
// Tracks: an object appears, its features are read `reads` times in each frame while it is seen, and never again. A few
// shared settings are read in between.
Load tracks(std::size_t in_view, std::uint64_t frames, int reads, std::uint64_t seed) {
  Rng rng(seed);
  const Zipf shared(2'000, 1.0);
  Load load;
  std::vector<std::uint64_t> seen;
  std::uint64_t next = 1'000'000;
  while (load.size() < kAsks) {
    while (seen.size() < in_view) seen.push_back(next++);
    for (std::size_t i = 0; i < seen.size();) {
      for (int r = 0; r < reads; ++r) load.push_back(seen[i] * 8 + static_cast<std::uint64_t>(r));
      if (rng.one_in(4)) load.push_back(shared.next(rng));
      if (rng.one_in(frames)) {
        seen[i] = seen.back();
        seen.pop_back();
      } else {
        ++i;
      }
    }
  }
  return load;
}
// A day: tracks, then a scan for a report, then skewed lookups, in turns.
Load mixed() {
  const Load parts[] = {tracks(300, 40, 2, 8), zipf_with_scans(), drift()};
  Load load;
  for (std::size_t from = 0; load.size() < kAsks; from += 20'000) {
    for (std::size_t part = 0; part < 3; ++part) {
      for (std::size_t i = from; i < from + 20'000; ++i) load.push_back(parts[part][i % kAsks] + (part << 40));
    }
  }
  return load;
}

std::uint64_t hash_of(std::uint64_t key) {
  std::uint64_t z = (key + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ z >> 27) * 0x94D049BB133111EBull;
  return z ^ z >> 31;
}

// Per cent of the asks that find their key, from a cold start.
double hit_ratio(EvictionPolicy& policy, Node size, const Load& load) {
  std::unordered_map<std::uint64_t, Node> held;
  std::vector<std::uint64_t> key_of(size + 1);
  std::vector<Node> free_nodes;
  for (Node node = 0; node <= size; ++node) free_nodes.push_back(node);
  std::size_t hits = 0;
  for (const std::uint64_t key : load) {
    const auto found = held.find(key);
    if (found != held.end()) {
      ++hits;
      policy.touch(found->second);
      continue;
    }
    const Node node = free_nodes.back();
    free_nodes.pop_back();
    key_of[node] = key;
    held.emplace(key, node);
    policy.insert(node, hash_of(key), 1);
    if (held.size() <= size) continue;
    const Node out = policy.evict();
    held.erase(key_of[out]);
    free_nodes.push_back(out);
  }
  return 100.0 * static_cast<double>(hits) / static_cast<double>(load.size());
}

template <class Policy>
double with(Node size, const Load& load) {
  Policy policy(size + 1, size);
  return hit_ratio(policy, size, load);
}

}  // namespace

int main(int argc, char** argv) {
  struct Named {
    const char* name;
    double (*run)(Node, const Load&);
  };
  const Named policies[] = {{"w-tinylfu", with<TinyLfu>}, {"lru", with<Lru>},
                            {"s3-fifo", with<S3Fifo>},    {"sieve", with<Sieve>},
                            {"fifo", with<bench::Fifo>},  {"clock", with<bench::ClockHand>},
                            {"lfu", with<bench::Lfu>},    {"arc", with<bench::Arc>}};
  constexpr std::size_t kPolicies = std::size(policies);
  const std::pair<const char*, std::function<Load()>> loads[] = {
      {"zipf_0.7", [] { return zipf(0.7); }},
      {"zipf_0.9", [] { return zipf(0.9); }},
      {"zipf_1.1", [] { return zipf(1.1); }},
      {"zipf_with_scans", zipf_with_scans},
      {"loop_and_zipf", loop_and_zipf},
      {"drift", drift},
      {"phases", phases},
      {"tracks_short", [] { return tracks(400, 15, 2, 6); }},
      {"tracks_long", [] { return tracks(1'500, 60, 1, 7); }},
      {"mixed", mixed},
  };
  std::vector<bench::Row> rows;
  double sum[kPolicies] = {}, worst[kPolicies] = {}, below_lru = -100;
  std::size_t cells = 0;
  for (const auto& [load_name, make] : loads) {
    const Load load = make();
    for (const Node size : kSizes) {
      double ratio[kPolicies];
      for (std::size_t p = 0; p < kPolicies; ++p) ratio[p] = policies[p].run(size, load);
      const std::size_t best = static_cast<std::size_t>(std::max_element(ratio, ratio + kPolicies) - ratio);
      for (std::size_t p = 0; p < kPolicies; ++p) {
        sum[p] += ratio[best] - ratio[p];
        worst[p] = std::max(worst[p], ratio[best] - ratio[p]);
      }
      below_lru = std::max(below_lru, ratio[1] - ratio[0]);
      ++cells;
      rows.push_back({std::string(load_name) + "_" + std::to_string(size), ratio[0], "%", std::nullopt, std::nullopt,
                      std::string("best: ") + policies[best].name, ratio[best]});
      if (argc > 1 && std::string(argv[1]) == "--all") {
        std::printf("%-18s %5u ", load_name, size);
        for (std::size_t p = 0; p < kPolicies; ++p) std::printf(" %s %.2f", policies[p].name, ratio[p]);
        std::printf("\n");
      }
    }
  }
  if (argc > 1 && std::string(argv[1]) == "--all") --argc, ++argv;
  const double count = static_cast<double>(cells);
  for (std::size_t p = 1; p < kPolicies; ++p) {
    rows.push_back({std::string(policies[p].name) + "_mean_regret", sum[p] / count, "points", {}, {}, "", {}});
    rows.push_back({std::string(policies[p].name) + "_worst_regret", worst[p], "points", {}, {}, "", {}});
  }
  const std::string of = "default_of_" + std::to_string(cells) + "_cells_";
  rows.push_back({of + "mean_regret", sum[0] / count, "points", 1.0, 0.3, "best of eight policies, cell by cell", {}});
  rows.push_back({of + "worst_regret", worst[0], "points", 4, 1, "best of eight policies, cell by cell", {}});
  rows.push_back({of + "below_lru_at_most", below_lru, "points", 0, 0, "lru", {}});
  return bench::report("hitratio", rows, argc, argv);
}
