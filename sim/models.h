// The model of the simulated rollouts: signed manifests of "detector", whose key is known to all. Real signatures, so
// that the hubs' own check runs (X3); made once per process, the same in every run.
#pragma once

#include <string>

#include "base/bytes.h"

namespace tidelock::sim {

inline constexpr const char* kModelName = "detector";
std::string model_version(int number);  // "1.0.0", "2.0.0", ...
const std::string& model_public_key();  // PEM
const Bytes& signed_model(int number);  // an encoded SignedManifest; number >= 1
}  // namespace tidelock::sim
