#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace tidelock {
void assertion_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "tidelock: assertion failed: %s (%s:%d)\n", expression, file, line);
  std::abort();
}
}  // namespace tidelock
