// The command line of `tidelock`.
#pragma once

#include "base/elapsed_clock.h"
#include "edge/edge.h"

namespace tidelock {

// What a test build plants (apps/tidelock/main.cc); empty in the product.
struct TestHooks {
  ClockShim shim;
  FrameHooks frames;
};

// Parses, runs, prints. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
int run_cli(int argc, char** argv, const TestHooks& hooks);

}  // namespace tidelock
