// Private to this room: memory for OpenCV's large matrices as pages of their own, so that a file can take their place
// (shared_weights.h).
//
// OpenCV takes the memory of a matrix from an allocator of the whole process. Ours stands in front of it for good, and
// hands everything on but large matrices made on a thread inside a PagesScope; these give their pages back themselves.
#pragma once

#include <vector>

#include "infer/shared_weights.h"

namespace tidelock {

// Once, before the first model is loaded.
void install_opencv_pages();

class PagesScope {  // of one thread; not nested
 public:
  PagesScope();
  ~PagesScope();
  PagesScope(const PagesScope&) = delete;
  PagesScope& operator=(const PagesScope&) = delete;
  // What was allocated on this thread inside the scope, and is in use.
  std::vector<SharedWeights::Region> live() const;
};

}  // namespace tidelock
