#include "protocol/hlc.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/mutant.h"

namespace tidelock {

Hlc::Hlc(std::uint64_t writer, std::uint64_t bound_ms) : writer_(writer), bound_ms_(bound_ms) {
  // The stamps of the last run lie below the bound, so the first of this run is at it or above (restart, G8).
  if (bound_ms > 0) newest_ = {bound_ms - 1, std::numeric_limits<std::uint32_t>::max(), writer};
}

Stamp Hlc::tick(std::uint64_t wall_ms) {
  if (wall_ms > newest_.wall_ms) {
    newest_ = {wall_ms, 0, writer_};
  } else if (newest_.counter == std::numeric_limits<std::uint32_t>::max()) {
    newest_ = {newest_.wall_ms + 1, 0, writer_};
  } else {
    newest_ = {newest_.wall_ms, newest_.counter + 1, writer_};
  }
  if (newest_.wall_ms >= bound_ms_) {
    bound_ms_ = newest_.wall_ms + kBoundStepMs;
    to_persist_ = bound_ms_;
  }
  return newest_;
}

Result<void> Hlc::observe(const Stamp& stamp, std::uint64_t wall_ms) {
  if (stamp.wall_ms > wall_ms && stamp.wall_ms - wall_ms > kAheadMaxMs) {  // G8: and nothing is learnt from it
    ++refused_;
    if (TIDELOCK_MUTANT(kRefusedStampLearnt)) newest_ = std::max(newest_, stamp);
    return fail(Code::kInvalid, "stamp is " + std::to_string(stamp.wall_ms - wall_ms) +
                                    " ms ahead of this node's clock; at most " + std::to_string(kAheadMaxMs) +
                                    " ms is accepted");
  }
  newest_ = std::max(newest_, stamp);
  return {};
}

void Hlc::start_after(const Stamp& own) { newest_ = std::max(newest_, own); }

std::optional<std::uint64_t> Hlc::take_bound_to_persist() {
  auto bound = to_persist_;
  to_persist_.reset();
  return bound;
}

}  // namespace tidelock
