#include "edge/model_weights.h"

#include "codec/manifest.h"
#include "infer/engine.h"
#include "infer/shared_weights.h"
#include "store/models/files.h"
#include "telemetry/log.h"

namespace tidelock {

void place_weights(const std::string& folder) {
  const std::string path = folder + "/" + kWeightsFileName;
  const auto placed = [&]() -> Result<void> {
    const auto onnx = files::read_all(folder + "/" + std::string(kModelFileName), kOnnxBytesMax);
    if (!onnx) return fail(onnx.error());
    if (SharedWeights::open(*onnx, path)) return {};  // by an earlier run
    const auto weights = weights_file_of(*onnx);
    if (!weights) return fail(weights.error());
    if (weights->empty()) return {};
    return files::replace(path, *weights);
  }();
  if (!placed)
    log(LogLevel::kWarn, "models", "no file of weights: each app holds them in its own memory",
        {{"folder", folder}, {"message", placed.error().message}});
}

}  // namespace tidelock
