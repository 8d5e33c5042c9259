// HealthTable counts what the apps of this gateway say of the model versions they run (TL.HEALTH), for the gates of a
// rollout (M5).
//
// Threads: one, the loop's.
// Limits:  kModelsMax models, two versions of each: the one in force and another. Of a third the oldest is forgotten.
// Restart: nothing is kept.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "protocol/messages.h"

namespace tidelock {

struct HealthSample {
  enum class Verdict : std::uint8_t { kOk, kBad, kSick };
  std::string name, version;
  Verdict verdict = Verdict::kOk;
  std::uint64_t count = 1;  // frames that it speaks of; of kSick none
  std::optional<std::uint64_t> latency_us;
  std::optional<std::uint64_t> drift_ppm;
};

class HealthTable {
 public:
  static constexpr std::size_t kModelsMax = 64;
  // kInvalid: no such name. kBusy: too many models.
  Result<void> add(const HealthSample& sample);
  // `figures` are what the gateway knows of its versions; they come back with what the apps said. A version that came
  // into force since the last call counts anew.
  std::vector<ModelHealth> report(std::vector<ModelHealth> figures);

 private:
  struct Model {
    std::string in_force;
    std::vector<ModelHealth> versions;  // the newest last
  };
  static ModelHealth& of(Model& model, const std::string& name, const std::string& version);
  std::map<std::string, Model> models_;
};

}  // namespace tidelock
