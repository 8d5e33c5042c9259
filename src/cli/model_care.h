// `tidelock model verify` and `tidelock model gc`: what an edge's or the hubs' own stores of models hold, what is
// damaged there, and what may go (M8, X3); and what comes to an edge on a stick (M2).
//
// Threads: one. Blocking: until the node is done.
#pragma once

#include <string>

#include "cli/common.h"

namespace CLI {
class App;
}

namespace tidelock {

struct EdgePlace;

// Below `model`. `common` and `exit_code` must outlive the parsing.
void add_model_care(CLI::App& model, const Common& common, int& exit_code);
// `tidelock model import BUNDLE --run-dir DIR`: the edge reads the file itself. Answers the exit code.
int import_into_edge(const Common& common, const EdgePlace& place, const std::string& bundle);

}  // namespace tidelock
