// Private to this room.
#pragma once

#include <memory>
#include <string>

#include "infer/engine.h"

namespace tidelock {

std::unique_ptr<Engine> make_opencv_engine();
// kUnavailable says why not: built without the header, no library named, or one that cannot be used. The library stays
// loaded for good: its threads and allocators do not survive an unload.
Result<std::unique_ptr<Engine>> make_onnxruntime_engine(const std::string& library);

// Each input of the model once, of its shape, with as many values as the shape says.
Result<void> check_inputs(const std::vector<ModelPort>& ports, std::span<const TensorView> inputs);

}  // namespace tidelock
