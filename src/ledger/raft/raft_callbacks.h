// What libraft asks of its driver. Only the driver's own sources include this.
#pragma once

#include "ledger/raft/raft_core.h"
#include "ledger/raft/raft_driver.h"

namespace tidelock {

struct RaftDriver::Callbacks {
  static RaftDriver& self(void* context) { return *static_cast<RaftDriver*>(context); }
  static void vote(void* context, std::uint64_t term, std::uint64_t voted_for);
  static void install(void* context, const tl_raft_snapshot* in);
  static void append(void* context, std::uint64_t index, const tl_raft_entry* in, unsigned n);
  static void send(void* context, const tl_raft_message* m);
  static tl_raft_sink sink(RaftDriver* d) { return {d, vote, install, append, send}; }
};

}  // namespace tidelock
