// How long commands took and how they ended: a histogram and counters per command, errors by their first word, and the
// events of LATENCY.
//
// Threads: one. Cost: record is a few instructions and two cache lines; the histogram of a command (24 KiB) is made
// when
//          it first runs.
// Limits:  one histogram per command and subcommand; kErrorsMax kinds of errors; kSamplesMax samples of each event.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "wire/resp/command_access.h"

namespace tidelock {

// Counts durations of 1 ns to 1 s, each as if it took up to a 128th longer: 128 steps for each doubling. What takes
// longer counts as 1 s.
class LatencyHistogram {
 public:
  static constexpr Nanos kLongest = 1'000'000'000;

  void record(Nanos took);
  std::uint64_t count() const { return count_; }
  // (microseconds, how many took at most that), the first doublings of 1,024 ns that add something.
  void cumulative(const std::function<void(std::int64_t microseconds, std::uint64_t count)>& visit) const;
  // The longest of the shortest `percent` of all.
  Nanos percentile(double percent) const;

 private:
  static constexpr std::size_t kSteps = 128;
  static constexpr std::size_t kBuckets = 24 * kSteps;
  static std::size_t bucket_of(std::uint64_t took);
  static std::uint64_t longest_of(std::size_t bucket);

  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
};

struct CommandCounters {
  std::uint64_t calls = 0, rejected = 0, failed = 0;
  Nanos took = 0;
  std::unique_ptr<LatencyHistogram> histogram;  // null before the first call
};

class CommandStatistics {
 public:
  static constexpr std::size_t kErrorsMax = 128;

  CommandStatistics() : counters_(command_entries()) {}
  void ran(std::size_t entry, Nanos took, bool failed);
  void rejected(std::size_t entry) { ++counters_[entry].rejected; }
  void error(std::string_view text);  // without the '-'
  void reset();

  const CommandCounters& of(std::size_t entry) const { return counters_[entry]; }
  std::string commandstats() const;  // INFO sections, with their headings
  std::string errorstats() const;
  std::string latencystats() const;

 private:
  std::vector<CommandCounters> counters_;
  std::map<std::string, std::uint64_t, std::less<>> errors_;
};

struct LatencySample {
  std::int64_t unix_seconds = 0, milliseconds = 0;
};

class LatencyEvents {
 public:
  static constexpr std::size_t kSamplesMax = 160;

  std::int64_t threshold_ms = 0;  // 0: off
  bool wants(Nanos took) const { return threshold_ms > 0 && took / kMillisecond >= threshold_ms; }
  void add(std::string_view event, std::int64_t unix_seconds, std::int64_t milliseconds);

  struct Event {
    std::deque<LatencySample> samples;  // the oldest first; at most one a second
    std::int64_t longest_ms = 0;
  };
  const std::map<std::string, Event, std::less<>>& events() const { return events_; }
  bool reset(std::string_view event);
  std::size_t reset_all();

 private:
  std::map<std::string, Event, std::less<>> events_;  // "command" and "fast-command"
};

}  // namespace tidelock
