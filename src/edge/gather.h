// Inside of EdgeCommands: one answer out of several. The first error wins, else the answer is given when `left` is 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "edge/commands.h"

namespace tidelock {

struct EdgeCommands::Gather {
  std::size_t left = 0;
  std::string error;
  std::vector<std::optional<Bytes>> values;
  std::int64_t count = 0;
};

}  // namespace tidelock
