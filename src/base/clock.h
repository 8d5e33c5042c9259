// Where a shell gets the time that it puts into events. The protocol floor never sees a Clock.
#pragma once

#include "base/time.h"

namespace tidelock {

class Clock {
 public:
  virtual ~Clock() = default;
  // C1: the elapsed clock H. Never goes back within one epoch. Any thread.
  virtual Nanos now() const = 0;
};

}  // namespace tidelock
