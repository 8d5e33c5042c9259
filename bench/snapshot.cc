// Several strong keys of one instant: the set of a release and a row of 250 features, while nothing is written and
// while the edge activates one set after the other.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/elapsed_clock.h"
#include "local_edge.h"
#include "memory/local_reader.h"
#include "report.h"

namespace {

using namespace tidelock;

constexpr std::size_t kSetKeys = 5;  // model, preprocessing, thresholds, labels, schema
constexpr std::size_t kFeatures = 250;
constexpr int kSamples = 20'000;
constexpr Nanos kBetweenSets = kMillisecond;

void must(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "bench-snapshot: %s\n", what);
  std::exit(1);
}

std::vector<std::string> keys_of(std::string_view what, std::size_t count) {
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < count; ++i) keys.push_back("model:" + std::string(what) + ":" + std::to_string(i));
  return keys;
}

// What an edge does for one record of the feed (S4, F5): every key at one index, inside one odd generation.
class Writer {
 public:
  explicit Writer(bench::LocalEdge& edge) : edge_(edge), ns_(namespace_number(default_namespaces(), "model:")) {}
  void write(const std::vector<std::string>& keys) {
    const Index index{++index_};
    EntryMeta meta;
    meta.version = index;
    meta.epoch = 1;
    std::string value = std::to_string(index.value);
    value.resize(64, ' ');
    edge_.page().begin_write(ns_);
    for (const std::string& key : keys) {
      must(edge_.arena().put(key, value, meta), "the arena refused a value");
      edge_.page().bump_slot(slot_of(key));
    }
    edge_.page().publish_applied(index);
    edge_.page().end_write(ns_);
  }

 private:
  bench::LocalEdge& edge_;
  const std::uint16_t ns_;
  std::uint64_t index_ = 0;
};

struct Times {
  std::vector<double> ns;
  std::uint64_t served = 0, busy = 0, mixed = 0;  // busy: the edge was in the middle of a record
};

Times take(LocalReader& reader, const std::vector<std::string>& keys) {
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  std::vector<std::string> values;
  std::vector<ReadOutcome> outcomes;
  const ElapsedClock clock;
  Times times;
  for (int i = 0; i < kSamples + 100; ++i) {
    const Nanos before = clock.now();
    const ReadOutcome all = reader.snapshot(views, values, outcomes);
    const Nanos took = clock.now() - before;
    if (i < 100) continue;
    if (all.must_ask != MustAsk::kNo) {
      ++times.busy;
      continue;
    }
    times.ns.push_back(static_cast<double>(took));
    ++times.served;
    times.mixed += !std::ranges::all_of(values, [&](const std::string& value) { return value == values[0]; });
  }
  return times;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<bench::Row> rows;
  bench::LocalEdge edge;
  LocalReaderOptions options;
  options.page_path = edge.page_path();
  options.arena_path = edge.arena_path();
  LocalReader reader(options);
  Writer writer(edge);

  for (const auto& [name, count] : {std::pair{"release_of_5", kSetKeys}, std::pair{"features_250", kFeatures}}) {
    const std::vector<std::string> keys = keys_of(name, count);
    writer.write(keys);
    // The peer: what a process would do without us, a table under a mutex that readers hold for the whole set.
    std::map<std::string, std::string, std::less<>> table;
    for (const std::string& key : keys) table[key] = std::string(64, 'v');
    std::mutex mutex;
    std::vector<double> theirs;
    std::vector<std::string> values(count);
    const ElapsedClock clock;
    for (int i = 0; i < kSamples; ++i) {
      const Nanos before = clock.now();
      {
        const std::scoped_lock lock(mutex);
        for (std::size_t k = 0; k < count; ++k) values[k] = table.find(keys[k])->second;
      }
      theirs.push_back(static_cast<double>(clock.now() - before));
    }

    Times still = take(reader, keys);
    must(still.served == kSamples && still.mixed == 0, "a snapshot at rest was not served, or was mixed");
    std::atomic<bool> stop{false};
    std::uint64_t sets = 0;
    std::thread activations([&] {
      for (Nanos next = clock.now(); !stop; next += kBetweenSets) {
        writer.write(keys);
        ++sets;
        while (!stop && clock.now() < next) std::this_thread::yield();
      }
    });
    Times busy = take(reader, keys);
    stop = true;
    activations.join();
    must(busy.mixed == 0, "a snapshot mixed two sets");
    must(sets > 10, "hardly a set was written meanwhile");

    const std::string of = std::string("snapshot_") + name;
    const bool features = count == kFeatures;
    const double peer = bench::quantile(theirs, 0.5);
    rows.push_back({of + "_p50",
                    bench::quantile(still.ns, 0.5) / 1e3,
                    "us",
                    {},
                    {},
                    "std::map + std::mutex, no proof",
                    peer / 1e3});
    rows.push_back({of + "_p99",
                    bench::quantile(still.ns, 0.99) / 1e3,
                    "us",
                    features ? std::optional(20.0) : std::nullopt,
                    features ? std::optional(20.0) : std::nullopt,
                    "",
                    {}});
    rows.push_back({of + "_1000_sets_a_second_p50", bench::quantile(busy.ns, 0.5) / 1e3, "us", {}, {}, "", {}});
    rows.push_back({of + "_1000_sets_a_second_p99", bench::quantile(busy.ns, 0.99) / 1e3, "us", {}, {}, "", {}});
    rows.push_back({of + "_1000_sets_a_second_asked_the_edge",
                    100.0 * static_cast<double>(busy.busy) / kSamples,
                    "%",
                    {},
                    {},
                    "",
                    {}});
  }
  return bench::report("snapshot", rows, argc, argv);
}
