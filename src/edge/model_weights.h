// M9: the file of weights beside a verified version, which the processes of this gateway map instead of copying them
// (infer/shared_weights.h). As large as the model on flash, and outside of the blobs: it is made again whenever it is
// not there, and goes with the version's folder.
#pragma once

#include <string>

namespace tidelock {

// `folder` holds model.onnx, verified. What hinders it is logged: without the file apps take more memory, and that is
// all.
void place_weights(const std::string& folder);

}  // namespace tidelock
