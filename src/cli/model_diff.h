// The face of `tidelock model diff`: what a new version would cost on the link, tensor by tensor, from two releases on
// this machine. Prints, and answers the exit code.
#pragma once

#include <string>

#include "cli/common.h"

namespace tidelock {

// `before` and `after` are both a file, or both a folder of a release. `all`: each tensor has a line.
int model_diff(const Common& common, const std::string& before, const std::string& after, bool all);

}  // namespace tidelock
