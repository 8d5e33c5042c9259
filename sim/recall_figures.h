// What a recall costs a fleet of which some are cut off (M7), in virtual time: the real cores, links of 100 ms there
// and back, leases of 30 s, apps that look at the pointer all the time. A function of its arguments and the build.
#pragma once

#include <cstdint>
#include <string>

#include "base/time.h"

namespace tidelock::sim {

struct RecallFigures {
  std::string violation;          // of whatever rule; empty: none
  std::uint64_t looks = 0;        // of apps at the pointer
  std::uint64_t uses = 0;         // that took the recalled version for the one in force
  std::uint64_t uses_after = 0;   // ... and began behind the certificate
  int follow = 0;                 // gateways that were not cut off and follow another version at the end
  Nanos told_ns = 0;              // from the operator's word until the last of them knew
  Nanos waited_ns = 0;            // ... until the certificate
  Nanos after_provable_ns = 0;    // from the end of the last lease in the hub's table until the certificate
  Nanos after_last_right_ns = 0;  // from the end of the last lease on any page of those that are cut off
  Nanos after_last_use_ns = 0;    // from the last look that took it for the version in force
};

RecallFigures recall_figures(int gateways, int cut_off, std::uint64_t seed);

}  // namespace tidelock::sim
