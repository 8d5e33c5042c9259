// A family per name, a series per label set. Series live behind unique_ptr, so references stay good while maps grow.
#include "telemetry/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>

namespace tidelock {
namespace {

constexpr std::size_t kLabelValueBytesMax = 256;
constexpr std::size_t kLabelsMax = 8;
constexpr char kRefused[] = "tidelock_metrics_refused_total";

enum class Kind { kCounter, kGauge, kHistogram };
constexpr const char* kKindNames[] = {"counter", "gauge", "histogram"};

bool valid_name(std::string_view name, bool colon_allowed) {
  if (name.empty() || name.size() > 200 || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (colon_allowed && c == ':');
  });
}

// Backslash and newline always, the quote inside label values.
std::string escape(std::string_view text, bool quote) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quote) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
  return out;
}

std::string number(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", v);
}

// `{a="1",b="2"}`, or nothing. Sorted, so that the same labels in another order are the same series.
std::string label_text(Labels labels) {
  std::sort(labels.begin(), labels.end());
  std::string out;
  for (const auto& [key, value] : labels) {
    out += out.empty() ? "{" : ",";
    out += key + "=\"" + escape(std::string_view(value).substr(0, kLabelValueBytesMax), true) + "\"";
  }
  return out.empty() ? out : out + "}";
}
std::string with_le(const std::string& labels, const std::string& le) {
  const std::string part = "le=\"" + le + "\"}";
  return labels.empty() ? "{" + part : labels.substr(0, labels.size() - 1) + "," + part;
}

bool valid_labels(const Labels& labels) {
  if (labels.size() > kLabelsMax) return false;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::string& key = labels[i].first;
    if (!valid_name(key, false) || key.starts_with("__") || key == "le") return false;
    for (std::size_t j = 0; j < i; ++j) {
      if (labels[j].first == key) return false;
    }
  }
  return true;
}

struct Series {
  Counter counter;
  Gauge gauge;
  std::unique_ptr<Histogram> histogram;
  std::function<double()> read_gauge;
  std::function<std::uint64_t()> read_counter;
};

struct Family {
  Kind kind = Kind::kCounter;
  std::string help;
  std::vector<double> bounds;
  std::map<std::string, std::unique_ptr<Series>> series;  // by label text
};

bool valid_bounds(const std::vector<double>& bounds) {
  if (bounds.empty() || bounds.size() > kBucketsMax) return false;
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    if (!std::isfinite(bounds[i]) || (i > 0 && bounds[i] <= bounds[i - 1])) return false;
  }
  return true;
}

}  // namespace

Histogram::Histogram(const std::vector<double>& bounds) {
  for (const double bound : bounds) {
    if (size_ < kBucketsMax) bounds_[size_++] = bound;
  }
}

void Histogram::observe(double v) {
  const double* const first = bounds_.data();
  const auto bucket = static_cast<std::size_t>(std::lower_bound(first, first + size_, v) - first);
  counts_[bucket].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(v, std::memory_order_relaxed);
}

std::uint64_t Histogram::count() const {
  std::uint64_t all = 0;
  for (std::size_t i = 0; i <= size_; ++i) all += counts_[i].load(std::memory_order_relaxed);
  return all;
}

std::vector<double> duration_buckets() {
  return {1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3,
          5e-3, 1e-2, 2e-2, 5e-2, 0.1,  0.2,  0.5,  1,    2,    5,    10};
}

struct Metrics::Impl {
  mutable std::mutex mutex;
  std::map<std::string, Family, std::less<>> families;
  std::vector<std::unique_ptr<Series>> refused;  // kept for their references; never exposed
  Counter* refusals = nullptr;

  // Finds or makes the series. One that does not fit is made aside; after kSeriesMax of those, one is shared by all:
  // every Series can serve as any kind.
  Series& series(Kind kind, std::string_view name, std::string_view help, const Labels& labels,
                 const std::vector<double>& bounds) {
    const bool fits = valid_name(name, true) && valid_labels(labels) && !help.empty() &&
                      (kind != Kind::kHistogram || valid_bounds(bounds));
    auto found = families.find(name);
    if (fits && found == families.end()) {
      found = families.emplace(std::string(name), Family{kind, std::string(help), bounds, {}}).first;
    }
    if (!fits || found->second.kind != kind) return aside(bounds);
    Family& family = found->second;
    const std::string key = label_text(labels);
    if (const auto known = family.series.find(key); known != family.series.end()) return *known->second;
    if (family.series.size() >= kSeriesMax) return aside(bounds);
    auto made = std::make_unique<Series>();
    if (kind == Kind::kHistogram) made->histogram = std::make_unique<Histogram>(family.bounds);
    return *family.series.emplace(key, std::move(made)).first->second;
  }
  Series& aside(const std::vector<double>& bounds) {
    if (refusals != nullptr) refusals->add();
    if (refused.size() >= kSeriesMax) return *refused.front();
    refused.push_back(std::make_unique<Series>());
    refused.back()->histogram = std::make_unique<Histogram>(bounds);
    return *refused.back();
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {
  impl_->refusals = &counter(kRefused, "Metrics that were asked for and do not fit (name, type, labels or too many).");
}
Metrics::~Metrics() = default;

Counter& Metrics::counter(std::string_view name, std::string_view help, const Labels& labels) {
  const std::lock_guard lock(impl_->mutex);
  return impl_->series(Kind::kCounter, name, help, labels, {}).counter;
}
Gauge& Metrics::gauge(std::string_view name, std::string_view help, const Labels& labels) {
  const std::lock_guard lock(impl_->mutex);
  return impl_->series(Kind::kGauge, name, help, labels, {}).gauge;
}
Histogram& Metrics::histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                              const Labels& labels) {
  const std::lock_guard lock(impl_->mutex);
  return *impl_->series(Kind::kHistogram, name, help, labels, bounds).histogram;
}
void Metrics::gauge_from(std::string_view name, std::string_view help, const Labels& labels,
                         std::function<double()> read) {
  const std::lock_guard lock(impl_->mutex);
  impl_->series(Kind::kGauge, name, help, labels, {}).read_gauge = std::move(read);
}
void Metrics::counter_from(std::string_view name, std::string_view help, const Labels& labels,
                           std::function<std::uint64_t()> read) {
  const std::lock_guard lock(impl_->mutex);
  impl_->series(Kind::kCounter, name, help, labels, {}).read_counter = std::move(read);
}

// Takes only the functions away: a reference that someone holds to a series of this name stays good.
void Metrics::forget(std::string_view name) {
  const std::lock_guard lock(impl_->mutex);
  const auto found = impl_->families.find(name);
  if (found == impl_->families.end()) return;
  for (auto& [key, series] : found->second.series) {
    series->read_gauge = nullptr;
    series->read_counter = nullptr;
  }
}

std::string Metrics::expose() const {
  std::string out;
  const std::lock_guard lock(impl_->mutex);
  for (const auto& [name, family] : impl_->families) {
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, escape(family.help, false), name,
                       kKindNames[static_cast<int>(family.kind)]);
    for (const auto& [labels, series] : family.series) {
      if (family.kind == Kind::kCounter) {
        const std::uint64_t value = series->read_counter ? series->read_counter() : series->counter.value();
        out += fmt::format("{}{} {}\n", name, labels, value);
      } else if (family.kind == Kind::kGauge) {
        const double value = series->read_gauge ? series->read_gauge() : series->gauge.value();
        out += fmt::format("{}{} {}\n", name, labels, number(value));
      } else {
        const Histogram& histogram = *series->histogram;
        std::uint64_t below = 0;  // summed from the buckets themselves: +Inf equals _count in every scrape
        for (std::size_t i = 0; i <= histogram.size_; ++i) {
          below += histogram.counts_[i].load(std::memory_order_relaxed);
          const std::string le = i < histogram.size_ ? number(histogram.bounds_[i]) : "+Inf";
          out += fmt::format("{}_bucket{} {}\n", name, with_le(labels, le), below);
        }
        out += fmt::format("{}_sum{} {}\n{}_count{} {}\n", name, labels, number(histogram.sum()), name, labels, below);
      }
    }
  }
  return out;
}

}  // namespace tidelock
