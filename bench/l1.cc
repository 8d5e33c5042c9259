// A strong read that hits the first-level cache, with its receipt: short and long values, two threads, many keys at
// once.
#include <time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/rng.h"
#include "local_edge.h"
#include "memory/eviction/lru.h"
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

// ---- peers: LRU caches under locks, values by counted reference; no receipt and no clock
using Shared = std::shared_ptr<const std::string>;

class LockedLru {  // std::list and std::unordered_map under one mutex, as it is mostly written
 public:
  explicit LockedLru(std::size_t entries) : entries_(entries) {}
  void put(const std::string& key, Shared value) {
    const std::scoped_lock lock(mutex_);
    order_.emplace_front(key, std::move(value));
    index_[order_.front().first] = order_.begin();
    if (order_.size() <= entries_) return;
    index_.erase(order_.back().first);
    order_.pop_back();
  }
  Shared get(std::string_view key) {
    const std::scoped_lock lock(mutex_);
    const auto found = index_.find(key);
    if (found == index_.end()) return nullptr;
    order_.splice(order_.begin(), order_, found->second);
    return found->second->second;
  }
  bool copy(std::string_view key, std::string& out) {
    const std::scoped_lock lock(mutex_);
    const auto found = index_.find(key);
    if (found == index_.end()) return false;
    order_.splice(order_.begin(), order_, found->second);
    out.assign(*found->second->second);
    return true;
  }

 private:
  const std::size_t entries_;
  std::mutex mutex_;
  std::list<std::pair<std::string, Shared>> order_;
  std::unordered_map<std::string_view, std::list<std::pair<std::string, Shared>>::iterator> index_;
};

class SpinLru {  // LRU by indices in arrays, a good hash, under a spin lock
 public:
  explicit SpinLru(std::size_t entries)
      : lru_(static_cast<Node>(entries), entries), values_(entries), index_(2 * entries, kNoNode) {}
  void put(const std::string& key, Shared value) {
    Node node = next_++;
    values_[node] = {key, std::move(value)};
    lru_.insert(node, 0, 1);
    std::size_t at = hash64(key) % index_.size();
    while (index_[at] != kNoNode) at = (at + 1) % index_.size();
    index_[at] = node;
  }
  Shared get(std::string_view key) {
    std::size_t at = hash64(key) % index_.size();
    for (int spins = 1; busy_.test_and_set(std::memory_order_acquire); ++spins) {
      if (spins % 64 == 0) std::this_thread::yield();
    }
    Shared found;
    for (; index_[at] != kNoNode; at = at + 1 == index_.size() ? 0 : at + 1) {
      if (values_[index_[at]].first != key) continue;
      lru_.touch(index_[at]);
      found = values_[index_[at]].second;
      break;
    }
    busy_.clear(std::memory_order_release);
    return found;
  }

 private:
  Lru lru_;
  std::vector<std::pair<std::string, Shared>> values_;
  std::vector<Node> index_;
  Node next_ = 0;
  std::atomic_flag busy_;
};

class ShardedLru {  // sixteen of the first
 public:
  explicit ShardedLru(std::size_t entries) {
    for (auto& shard : shards_) shard = std::make_unique<LockedLru>(entries);
  }
  LockedLru& of(std::string_view key) { return *shards_[hash64(key) >> 60]; }

 private:
  std::array<std::unique_ptr<LockedLru>, 16> shards_;
};

// Keys by a Zipf law, skew 1, drawn beforehand.
std::vector<std::uint32_t> zipf_order(std::size_t keys, std::size_t draws, std::uint64_t seed) {
  std::vector<double> below;
  double sum = 0;
  for (std::size_t i = 0; i < keys; ++i) below.push_back(sum += 1.0 / static_cast<double>(i + 1));
  Rng rng(seed);
  std::vector<std::uint32_t> order;
  for (std::size_t i = 0; i < draws; ++i) {
    const double at = static_cast<double>(rng.next() >> 11) * 0x1p-53 * sum;
    order.push_back(static_cast<std::uint32_t>(std::upper_bound(below.begin(), below.end(), at) - below.begin()));
  }
  return order;
}

// Nanoseconds of wall time per get of two threads together: the median of several rounds.
template <class Read>
double both_threads(const std::vector<std::string>& keys, Read&& read) {
  constexpr std::size_t kGets = 200'000;
  const std::vector<std::uint32_t> orders[2] = {zipf_order(keys.size(), kGets, 5), zipf_order(keys.size(), kGets, 6)};
  std::vector<double> rounds;
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> ready{0};
    double ends[2], begins[2];
    const auto work = [&](int me) {
      ready.fetch_add(1);
      while (ready.load() < 2) std::this_thread::yield();
      begins[me] = seconds_ns();
      for (const std::uint32_t o : orders[me]) read(keys[o]);
      ends[me] = seconds_ns();
    };
    std::thread other([&] { work(1); });
    work(0);
    other.join();
    rounds.push_back((std::max(ends[0], ends[1]) - std::min(begins[0], begins[1])) / (2.0 * kGets));
  }
  return bench::quantile(rounds, 0.5);
}

void must(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "bench-l1: %s\n", what);
  std::exit(1);
}

// 2 KiB by reference, and 64 B by copy from two threads on Zipf keys, beside the best lock-based LRU of the run.
void beside_locks(std::vector<bench::Row>& rows, std::size_t value_bytes) {
  constexpr std::size_t kKeys = 1'000;
  bench::LocalEdge edge;
  LocalReaderOptions options;
  options.page_path = edge.page_path();
  options.arena_path = edge.arena_path();
  LocalReader reader(options);
  LockedLru locked(kKeys);
  SpinLru spin(kKeys);
  ShardedLru sharded(kKeys);
  std::vector<std::string> keys;
  std::string value;
  for (std::size_t i = 0; i < kKeys; ++i) {
    keys.push_back("model:camera:" + std::to_string(i));
    EntryMeta meta;
    meta.version = Index{i + 1};
    meta.epoch = 1;
    const std::string bytes(value_bytes, 'x');
    must(edge.arena().put(keys.back(), bytes, meta), "the arena refused a value");
    must(reader.read(keys.back(), {}, value).must_ask == MustAsk::kNo, "a read was not served");
    locked.put(keys.back(), std::make_shared<const std::string>(bytes));
    spin.put(keys.back(), std::make_shared<const std::string>(bytes));
    sharded.of(keys.back()).put(keys.back(), std::make_shared<const std::string>(bytes));
  }
  Contract strong;
  strong.consistency = Consistency::kStrong;
  std::atomic<std::uint64_t> wrong{0};
  const auto ours = [&](const std::string& key) {
    thread_local ValueRef mine;
    const ReadOutcome outcome = reader.read(key, strong, mine);
    if (outcome.must_ask != MustAsk::kNo || mine.bytes().size() != value_bytes) wrong.fetch_add(1);
  };
  const auto by_list = [&](const std::string& key) {
    if (!locked.get(key)) wrong.fetch_add(1);
  };
  const auto by_array = [&](const std::string& key) {
    if (!spin.get(key)) wrong.fetch_add(1);
  };
  const auto by_shard = [&](const std::string& key) {
    if (!sharded.of(key).get(key)) wrong.fetch_add(1);
  };
  const std::string of = value_bytes >= 1'024 ? "_" + std::to_string(value_bytes / 1'024) + "kib"
                                              : "_" + std::to_string(value_bytes) + "b";
  const auto best = [](double list, double array, double shard) { return std::min({list, array, shard}); };
  const auto p50 = [&](auto&& read) {
    std::vector<double> samples = sample(keys, 7, read);
    return bench::quantile(samples, 0.5);
  };
  const char* beside = "best of three lock-based LRUs by reference, without receipt or clock";
  if (value_bytes > ValueRef::kInlineBytes) {
    const double mine = p50(ours), theirs = best(p50(by_list), p50(by_array), p50(by_shard));
    rows.push_back({"l1_strong_hit" + of + "_reference_p50", mine, "ns", {}, {}, beside, theirs});
    rows.push_back({"l1_strong_hit" + of + "_reference_ratio", mine / theirs, "x", 0.8, 0.5, beside, {}});
  }
  const double mine = both_threads(keys, ours);
  const double theirs = best(both_threads(keys, by_list), both_threads(keys, by_array), both_threads(keys, by_shard));
  rows.push_back({"l1_strong_hit" + of + "_2_threads_zipf_a_get", mine, "ns", 40, 22, beside, theirs});
  must(wrong.load() < 100, "reads were not served");
}

// 250 features of 64 B under one look at the proofs.
void many(std::vector<bench::Row>& rows) {
  constexpr std::size_t kFeatures = 250;
  bench::LocalEdge edge;
  LocalReaderOptions options;
  options.page_path = edge.page_path();
  options.arena_path = edge.arena_path();
  LocalReader reader(options);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < 4 * kFeatures; ++i) {
    names.push_back("feature:camera:" + std::to_string(i));
    EntryMeta meta;
    meta.version = Index{i + 1};
    meta.epoch = 1;
    must(edge.arena().put(names.back(), std::string(64, 'x'), meta), "the arena refused a value");
  }
  Contract bounded;
  bounded.bound_ns = 3'600 * kSecond;
  std::vector<std::string> values;
  std::vector<ReadOutcome> outcomes;
  std::vector<double> whole, each, one_by_one;
  std::string value;
  for (int i = 0; i < 12'000; ++i) {
    const std::size_t from = static_cast<std::size_t>(i) % 4 * kFeatures;  // four feature vectors in turns
    const std::vector<std::string_view> keys(names.begin() + static_cast<std::ptrdiff_t>(from),
                                             names.begin() + static_cast<std::ptrdiff_t>(from + kFeatures));
    const double t0 = seconds_ns();
    const ReadOutcome all = reader.read_many(keys, bounded, values, outcomes);
    const double t1 = seconds_ns();
    must(all.must_ask == MustAsk::kNo, "a batch was not served");
    for (const std::string_view key : keys) (void)reader.read(key, bounded, value);
    const double t2 = seconds_ns();
    if (i < 100) continue;
    whole.push_back((t1 - t0) / 1'000);
    each.push_back((t1 - t0) / kFeatures);
    one_by_one.push_back((t2 - t1) / kFeatures);
  }
  const double one_p50 = bench::quantile(one_by_one, 0.5);
  rows.push_back(
      {"get_many_64b_a_key_p50", bench::quantile(each, 0.5), "ns", 40, 25, "the same keys one by one", one_p50});
  rows.push_back({"get_many_250_features_p50", bench::quantile(whole, 0.5), "us", {}, {}, "", {}});
  rows.push_back({"get_many_250_features_p99", bench::quantile(whole, 0.99), "us", 20, 20, "", {}});
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
                    in_use ? std::optional<double>(100) : std::nullopt,
                    in_use ? std::optional<double>(60) : std::nullopt, beside, bench::quantile(peer, 0.5)});
    rows.push_back({"l1_strong_hit" + of + "_p99", bench::quantile(ours, 0.99), "ns", std::nullopt, std::nullopt,
                    beside, bench::quantile(peer, 0.99)});
    if (count != 1'000) continue;

    // What this machine is: no hit can cost less than these two.
    std::vector<double> clock_only = sample(keys, 1, [&](const std::string&) {
      timespec t{};
      ::clock_gettime(CLOCK_BOOTTIME, &t);
      sink += t.tv_nsec;
    });
    std::uint64_t probed = 0;
    std::vector<double> probe_only = sample(keys, 1, [&](const std::string& key) { probed += map.count(key); });
    must(probed >= reads && sink != 0, "a key is not in the map");
    rows.push_back({"machine_clock_read_p50", bench::quantile(clock_only, 0.5), "ns", {}, {}, "", {}});
    rows.push_back({"machine_hash_probe" + of + "_p50", bench::quantile(probe_only, 0.5), "ns", {}, {}, "", {}});

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
  beside_locks(rows, 2'048);
  beside_locks(rows, 64);
  many(rows);
  return bench::report("l1", rows, argc, argv);
}
