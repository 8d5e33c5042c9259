// How a hub stands in the replicated configuration: by the number of its name, at "ID=ADDRESS".
#pragma once

#include <string>

#include "ledger/raft/raft_driver.h"
#include "ledger/raft/raft_ledger.h"

namespace tidelock {

Result<void> check_member(const RaftMember& member);
std::string stored_address(const RaftMember& member);
RaftMember member_of(const RaftServer& server);  // without an id when it was written by an older build

}  // namespace tidelock
