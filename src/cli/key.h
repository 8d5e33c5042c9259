// `tidelock key`: the keys of a publisher, and the four files that say which models may be installed (X2). All of it
// works without a cluster, on a machine that has no network.
#pragma once

#include "cli/common.h"

namespace CLI {
class App;
}

namespace tidelock {

// Registers it. `common` and `exit_code` must outlive the parsing.
void add_key(CLI::App& app, const Common& common, int& exit_code);

}  // namespace tidelock
