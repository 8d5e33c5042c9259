// Counters, gauges and histograms with labels, exposed as Prometheus text.
//
// Threads:   every method may be called from any thread. Registration and expose() take one mutex.
// Cost:      add and set are one relaxed atomic; observe is a search in at most kBucketsMax bounds and two relaxed
// adds. Ownership: a returned reference lives as long as the registry. Asking again for the same name and labels gives
// the
//            same object.
// Limits:    kSeriesMax series per name, kBucketsMax buckets, 256 bytes per label value. Past them, and for a name or a
// type that does
//            not fit what is registered, the caller gets an object that works and is not exposed, and
//            tidelock_metrics_refused_total counts it: telemetry never takes a process down.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tidelock {

// The names that alerts, dashboards and docs rely on (DESIGN 10). `promtool check metrics` accepts them as they stand:
// the first three are gauges, so they need no `_total`; a timestamp is unix seconds.
namespace metric {
inline constexpr char kCacheHitRatio[] = "tidelock_cache_hit_ratio";                  // gauge, 0..1; level
inline constexpr char kModelVersionLag[] = "tidelock_model_version_lag_seconds";      // gauge; model
inline constexpr char kModelVersionTimestamp[] = "tidelock_model_version_timestamp";  // gauge, unix s; model, version
inline constexpr char kInvalidations[] = "tidelock_invalidations_total";              // counter; reason
inline constexpr char kGossipMessages[] = "tidelock_gossip_messages_total";           // counter; direction, kind
inline constexpr char kRaftLeaderChanges[] = "tidelock_raft_leader_changes_total";    // counter
}  // namespace metric

using Labels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

class Gauge {
 public:
  void set(double v) { value_.store(v, std::memory_order_relaxed); }
  void add(double v) { value_.fetch_add(v, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

inline constexpr std::size_t kBucketsMax = 24;
inline constexpr std::size_t kSeriesMax = 1'000;

// Upper bounds, ascending; +Inf is added. Read-only after construction.
class Histogram {
 public:
  explicit Histogram(const std::vector<double>& bounds);
  void observe(double v);
  std::uint64_t count() const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  friend class Metrics;
  std::size_t size_ = 0;
  std::array<double, kBucketsMax> bounds_{};
  std::array<std::atomic<std::uint64_t>, kBucketsMax + 1> counts_{};  // per bucket, not cumulative; the last is +Inf
  std::atomic<double> sum_{0};
};

// 1 us to 10 s, three bounds a decade: for durations in seconds.
std::vector<double> duration_buckets();

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  Counter& counter(std::string_view name, std::string_view help, const Labels& labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, const Labels& labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                       const Labels& labels = {});
  // Read at each scrape, from the scraping thread: for what another object counts already. The function must outlive
  // the registry or be taken out with `forget`.
  void gauge_from(std::string_view name, std::string_view help, const Labels& labels, std::function<double()> read);
  void counter_from(std::string_view name, std::string_view help, const Labels& labels,
                    std::function<std::uint64_t()> read);
  // Removes the functions of one name; when it returns none of them runs.
  void forget(std::string_view name);

  // Prometheus text format 0.0.4, names and labels sorted.
  std::string expose() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidelock
