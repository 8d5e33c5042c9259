// For tests of this room: what the calling thread took from the heap so far. parser_test.cc replaces the operators;
// under the thread sanitizer, which has its own, it is always 0.
#pragma once

#include <cstdint>

namespace tidelock {

std::uint64_t heap_allocations();

}  // namespace tidelock
