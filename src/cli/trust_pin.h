// [trust] of an edge's file: the root that it follows, whatever a hub brings first (X2).
#pragma once

#include <string>

#include "base/result.h"
#include "edge/edge.h"

namespace tidelock {

// `root`: a file of `tidelock key root`; `sha256`: what `tidelock key show` prints as its content. Both empty: no pin.
// kInvalid names the key, its value and what would be right.
Result<void> pin_trust(const std::string& root, const std::string& sha256, EdgeModelSettings& models);
// What is pinned, as `sha256` would be; empty: nothing.
std::string pinned_sha256(const EdgeModelSettings& models);

}  // namespace tidelock
