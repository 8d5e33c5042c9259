// `tidelock model publish`, `export` and `import`: the subcommands that carry files of models.
//
// Threads: one. Blocking.
#pragma once

#include "cli/common.h"

namespace CLI {
class App;
}

namespace tidelock {

// Below `model`. `common` and `exit_code` must outlive the parsing.
void add_model_files(CLI::App& model, const Common& common, int& exit_code);

}  // namespace tidelock
