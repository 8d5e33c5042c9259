// One line for each thing that happens, for a person who replays a seed (`tidelock-sim --trace`).
#pragma once

#include <string>

#include "protocol/edge_core.h"
#include "protocol/hub_core.h"
#include "sim/plan.h"

namespace tidelock::sim {

std::string describe(const EdgeFrame& frame);
std::string describe(const HubFrame& frame);
std::string describe(const EdgeActions::Op& op);  // empty when it says nothing
std::string describe(const Command& command);
std::string describe(const Plan& plan);

}  // namespace tidelock::sim
