// The faces of the commands about hubs themselves: who they are, and what is left when they are gone. Each prints, and
// answers the exit code.
#pragma once

#include <string>

#include "base/ids.h"
#include "cli/common.h"

namespace tidelock {

int hub_list(const Common& common);
int hub_add(const Common& common, const std::string& hub);  // "ID=HOST:PORT"
int hub_remove(const Common& common, const NodeId& hub);
int hub_replace(const Common& common, const NodeId& old, const std::string& with);
int hub_transfer(const Common& common, const NodeId& hub);  // empty: whoever has the most
int hub_recover(const Common& common, bool sure);
int backup(const Common& common, const std::string& path);
int restore(const Common& common, const std::string& path);

}  // namespace tidelock
