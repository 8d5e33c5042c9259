// The slowest commands of late (SLOWLOG), with their arguments cut as Redis cuts them and secrets left out.
//
// Threads: one. Cost: wants() is one comparison; add copies at most 32 arguments of about 150 bytes.
// Limits:  length_max entries and kBytesMax bytes, whichever is less; the oldest go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace tidelock {

struct SlowLogEntry {
  std::uint64_t id = 0;
  std::int64_t unix_seconds = 0, microseconds = 0;
  std::vector<std::string> args;
  std::string peer, client_name;
};

class SlowLog {
 public:
  static constexpr std::size_t kArgumentsMax = 32;
  static constexpr std::size_t kArgumentBytesMax = 128;
  static constexpr std::size_t kBytesMax = 16u << 20;

  std::int64_t slower_than_us = 10'000;  // negative: off
  std::size_t length_max = 128;

  bool wants(Nanos took) const { return slower_than_us >= 0 && took / 1000 >= slower_than_us; }
  // What an entry keeps of a command.
  static std::vector<std::string> cut(std::span<const std::string_view> args);
  void add(SlowLogEntry entry);  // gives it its id
  void trim();                   // after length_max fell
  void reset();
  const std::deque<SlowLogEntry>& entries() const { return entries_; }  // the newest first

 private:
  std::deque<SlowLogEntry> entries_;
  std::uint64_t next_id_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace tidelock
