// The command line of `tidelock`.
#pragma once

#include <cstdint>

#include "base/elapsed_clock.h"
#include "edge/edge.h"

namespace tidelock {

// What a test build plants (apps/tidelock/main.cc); empty in the product.
struct TestHooks {
  ClockShim shim;
  FrameHooks frames;
  std::uint32_t version_max = ~0u;  // what a build of yesterday speaks and reads
};

// Parses, runs, prints. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
int run_cli(int argc, char** argv, const TestHooks& hooks);

}  // namespace tidelock
