// Private to this room. Engines here are called with float32 and answer in float32, whatever element type a model or a
// golden file has; this is the way between.
//
// Threads: pure. Cost: one pass. Errors: kCorrupt and kInvalid name tensor, element and value.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/manifest.h"

namespace tidelock {

// `bytes`: whole elements, little-endian, at any address. `tensor` is for the error: kCorrupt for an int64 that float32
// does not hold exactly. uint8 and float16 always fit.
Result<std::vector<float>> floats_of(TensorType type, BytesView bytes, std::string_view tensor);

// kInvalid unless every value is one that `type` has: whole and in range for uint8 and int64. float16 takes any number
// and rounds it to the nearest, as a cast in the model would.
Result<void> check_values(TensorType type, std::span<const float> values, std::string_view input);
// After check_values.
Bytes bytes_of(TensorType type, std::span<const float> values);

}  // namespace tidelock
