// The histogram has the buckets of HdrHistogram with two digits, as Redis uses it, so that the same durations are shown
// as the same numbers.
#include "wire/resp/latency.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>

namespace tidelock {
namespace {

constexpr std::size_t kErrorWordBytesMax = 64;

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

}  // namespace

// Below 256 ns each has a bucket of its own; from there on a bucket is 2, 4, 8 ... ns wide.
std::size_t LatencyHistogram::bucket_of(std::uint64_t took) {
  const auto doublings = static_cast<std::size_t>(std::bit_width(took | 255u) - 8);
  return doublings * kSteps + static_cast<std::size_t>(took >> doublings);
}

std::uint64_t LatencyHistogram::longest_of(std::size_t bucket) {
  const std::size_t doublings = bucket < 2 * kSteps ? 0 : bucket / kSteps - 1;
  return ((static_cast<std::uint64_t>(bucket - doublings * kSteps) + 1) << doublings) - 1;
}

void LatencyHistogram::record(Nanos took) {
  ++counts_[bucket_of(static_cast<std::uint64_t>(std::clamp<Nanos>(took, 1, kLongest)))];
  ++count_;
}

void LatencyHistogram::cumulative(const std::function<void(std::int64_t, std::uint64_t)>& visit) const {
  std::uint64_t seen = 0, told = 0;
  std::size_t next = 0;
  for (std::uint64_t level = 1024; seen < count_; level *= 2) {
    const std::size_t last = std::min(bucket_of(level), kBuckets - 1);
    for (; next <= last; ++next) seen += counts_[next];
    if (seen > told) visit(static_cast<std::int64_t>(longest_of(bucket_of(level)) / 1000), seen);
    told = seen;
  }
}

Nanos LatencyHistogram::percentile(double percent) const {
  const auto wanted =
      std::max<std::uint64_t>(1, static_cast<std::uint64_t>(percent / 100.0 * static_cast<double>(count_) + 0.5));
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    seen += counts_[bucket];
    if (seen >= wanted) return static_cast<Nanos>(longest_of(bucket));
  }
  return 0;
}

void CommandStatistics::ran(std::size_t entry, Nanos took, bool failed) {
  CommandCounters& counters = counters_[entry];
  ++counters.calls;
  counters.failed += failed;
  counters.took = saturating_add(counters.took, std::max<Nanos>(took, 0));
  if (!counters.histogram) counters.histogram = std::make_unique<LatencyHistogram>();
  counters.histogram->record(took);
}

void CommandStatistics::error(std::string_view text) {
  const std::string_view word =
      text.substr(0, std::min({text.find_first_of(" \r\n"), text.size(), kErrorWordBytesMax}));
  const auto known = errors_.find(word);
  if (known != errors_.end()) {
    ++known->second;
  } else if (errors_.size() < kErrorsMax) {
    errors_.emplace(word, 1);
  }
}

void CommandStatistics::reset() {
  counters_ = std::vector<CommandCounters>(counters_.size());
  errors_.clear();
}

std::string CommandStatistics::commandstats() const {
  std::string text = "# Commandstats\r\n";
  for (std::size_t entry = 0; entry < counters_.size(); ++entry) {
    const CommandCounters& c = counters_[entry];
    if (c.calls + c.rejected == 0) continue;
    const double each = c.calls == 0 ? 0 : static_cast<double>(c.took) / 1000.0 / static_cast<double>(c.calls);
    text += "cmdstat_" + lookup_of_entry(entry).full_name() + ":calls=" + std::to_string(c.calls) +
            ",usec=" + std::to_string(c.took / 1000) + ",usec_per_call=" + fixed(each, 2) +
            ",rejected_calls=" + std::to_string(c.rejected) + ",failed_calls=" + std::to_string(c.failed) + "\r\n";
  }
  return text;
}

std::string CommandStatistics::errorstats() const {
  std::string text = "# Errorstats\r\n";
  for (const auto& [word, count] : errors_) text += "errorstat_" + word + ":count=" + std::to_string(count) + "\r\n";
  return text;
}

std::string CommandStatistics::latencystats() const {
  std::string text = "# Latencystats\r\n";
  for (std::size_t entry = 0; entry < counters_.size(); ++entry) {
    const LatencyHistogram* histogram = counters_[entry].histogram.get();
    if (histogram == nullptr) continue;
    text += "latency_percentiles_usec_" + lookup_of_entry(entry).full_name() + ":";
    for (const auto& [name, percent] : {std::pair{"p50=", 50.0}, {",p99=", 99.0}, {",p99.9=", 99.9}}) {
      text += name + fixed(static_cast<double>(histogram->percentile(percent)) / 1000.0, 3);
    }
    text += "\r\n";
  }
  return text;
}

void LatencyEvents::add(std::string_view name, std::int64_t unix_seconds, std::int64_t milliseconds) {
  Event& event = events_.try_emplace(std::string(name)).first->second;
  event.longest_ms = std::max(event.longest_ms, milliseconds);
  if (!event.samples.empty() && event.samples.back().unix_seconds == unix_seconds) {
    event.samples.back().milliseconds = std::max(event.samples.back().milliseconds, milliseconds);
    return;
  }
  event.samples.push_back({unix_seconds, milliseconds});
  if (event.samples.size() > kSamplesMax) event.samples.pop_front();
}

bool LatencyEvents::reset(std::string_view event) {
  const auto found = events_.find(event);
  if (found == events_.end()) return false;
  events_.erase(found);
  return true;
}

std::size_t LatencyEvents::reset_all() {
  const std::size_t count = events_.size();
  events_.clear();
  return count;
}

}  // namespace tidelock
