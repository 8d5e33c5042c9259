// InForceMarks notes in the model room which version was last in force on this gateway (in_force_mark.h), for apps that
// start while nobody can tell which pointer counts here (M6).
//
// Threads: one, the keeper's.
// Never:   goes back in activation index (I4), over restarts too.
// Errors:  logged. What could not be noted is noted with the next call.
#pragma once

#include <map>
#include <string>

#include "base/ids.h"
#include "protocol/in_force_mark.h"

namespace tidelock {

class InForceMarks {
 public:
  explicit InForceMarks(std::string room) : room_(std::move(room)) {}
  // `pointer` is in force here since `activation`, and its version is verified. The model's folder is there.
  void note(const std::string& model, const ModelPointer& pointer, Index activation);

 private:
  const std::string room_;
  std::map<std::string, Index> noted_;
};

}  // namespace tidelock
