// Inside of EdgeCommands: one answer out of several. The first error wins, else the answer is given when `left` is 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "edge/commands.h"

namespace tidelock {

inline constexpr std::size_t kAnswerBytesMax = 128u << 20;  // what a client of ours reads as one reply

struct EdgeCommands::Gather {
  std::size_t left = 0;
  std::string error;
  std::vector<std::optional<Bytes>> values;  // MGET
  std::vector<ReadDone> reads;               // TL.MGET
  std::int64_t count = 0;
  std::size_t bytes = 0;  // of the values kept

  // Whether there is room for what this read found: a request of a few bytes for each key could ask for any amount.
  bool has_room(const ReadDone& done) {
    const std::size_t size = done.value ? done.value->size() : 0;
    if (error.empty() && bytes + size > kAnswerBytesMax) {
      error = "ERR the values of these keys are above " + std::to_string(kAnswerBytesMax) + " bytes; ask for fewer";
    }
    bytes += size;
    return error.empty();
  }
};

}  // namespace tidelock
