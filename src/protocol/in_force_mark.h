// The last version that an edge knew to be in force on its gateway and had verified, both pointers being known to it
// (M5, M6): ROOT/<name>/tidelock.in_force in the model room. An app that starts while nobody can tell whether this
// gateway went ahead with a rollout runs this one, flagged, or none; never what the rest of the fleet runs.
#pragma once

#include <string_view>

#include "base/ids.h"
#include "codec/archive.h"
#include "protocol/rollout.h"

namespace tidelock {

inline constexpr std::string_view kInForceMark = "tidelock.in_force";

struct InForceMark {
  std::uint32_t format = 1;  // another one is not read
  ModelPointer pointer;
  Index activation;
  friend bool operator==(const InForceMark&, const InForceMark&) = default;
  template <class A>
  void fields(A& a) {
    a(format, pointer, activation);
  }
};

}  // namespace tidelock
