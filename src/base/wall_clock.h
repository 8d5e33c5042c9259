// Time for stamps, absolute expiries and logs only. Nothing about freshness or leases may rest on it (C4).
#pragma once

#include <cstdint>

namespace tidelock {

// Milliseconds of the Unix epoch. Any thread; may jump either way.
std::uint64_t wall_ms_now();
// The same in nanoseconds, for an absolute expiry that is read back to the millisecond.
std::int64_t wall_ns_now();
// The same in microseconds.
std::uint64_t wall_us_now();

// CLOCK_MONOTONIC in nanoseconds: what the logs of several processes of one machine are compared by.
std::int64_t monotonic_ns_now();

}  // namespace tidelock
