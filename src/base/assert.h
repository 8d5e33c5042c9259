// TIDELOCK_ASSERT states what is ours to get right. It stays on in release builds.
#pragma once

namespace tidelock {
// Prints the failed expression to stderr and aborts: the process is restarted and replays from its disk.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);
}  // namespace tidelock

#define TIDELOCK_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : ::tidelock::assertion_failed(#expression, __FILE__, __LINE__))
