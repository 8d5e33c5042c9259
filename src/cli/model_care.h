// `tidelock model verify` and `tidelock model gc`: what an edge's or the hubs' own stores of models hold, what is
// damaged there, and what may go (M8, X3).
//
// Threads: one. Blocking: until the node is done.
#pragma once

#include "cli/common.h"

namespace CLI {
class App;
}

namespace tidelock {

// Below `model`. `common` and `exit_code` must outlive the parsing.
void add_model_care(CLI::App& model, const Common& common, int& exit_code);

}  // namespace tidelock
