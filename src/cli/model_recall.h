// `tidelock model recall` and `model recalls`: end the right to use a version, wait for the certificate, read it (M7).
//
// Threads: one. Blocking.
#pragma once

#include <string>

#include "cli/common.h"
#include "protocol/recall.h"

namespace CLI {
class App;
}

namespace tidelock {

std::string recall_words(const RecallView& view);
Json recall_json(const RecallView& view);

// Below `model`. `common` and `exit_code` must outlive the parsing.
void add_recall(CLI::App& model, const Common& common, int& exit_code);

}  // namespace tidelock
