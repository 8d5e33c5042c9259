// Test builds only: clocks that disagree, and lies that the demo's judge must catch.
#pragma once

#include "cli/cli.h"

namespace tidelock {

// TIDELOCK_CLOCK_SHIM="offset_ms:rate_ppm"; TIDELOCK_BREAK="stale" or "lost-write". Anything else ends the process.
TestHooks hooks_from_environment();

}  // namespace tidelock
