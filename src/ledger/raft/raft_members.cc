#include "ledger/raft/raft_members.h"

#include <utility>

#include "base/assert.h"
#include "ledger/raft/snapshot_courier.h"

namespace tidelock {

std::uint64_t raft_member_number(const NodeId& id) {
  const std::uint64_t number = hash64(id);
  return number == 0 ? 1 : number;
}

Result<void> check_member(const RaftMember& m) {
  if (m.id.empty() || m.id.size() > 128 || m.id.find('=') != std::string::npos) {
    return fail(Code::kInvalid, "id '" + m.id + "': 1 to 128 bytes, none of them '='");
  }
  if (m.address.size() > 128 || (m.id + m.address).find('\0') != std::string::npos) {
    return fail(Code::kInvalid,
                "address of '" + m.id + "' has " + std::to_string(m.address.size()) + " bytes: at most 128, none zero");
  }
  return {};
}
std::string stored_address(const RaftMember& m) { return m.id + "=" + m.address; }
RaftMember member_of(const RaftServer& server) {
  const std::size_t equals = server.address.find('=');
  if (equals == std::string::npos) return {{}, server.address};
  return {server.address.substr(0, equals), server.address.substr(equals + 1)};
}

std::vector<NodeId> raft_member_ids(BytesView configuration) {
  std::vector<NodeId> ids;
  if (const auto servers = decode_configuration(configuration)) {
    for (const RaftServer& server : *servers) ids.push_back(member_of(server).id);
  }
  return ids;
}

Result<void> RaftLedgerOptions::validate() const {
  const auto invalid = [](std::string text) { return fail(Code::kInvalid, "raft ledger: " + std::move(text)); };
  if (id.empty() || id.size() > 128) return invalid("id '" + id + "': 1 to 128 bytes");
  if (directory.empty()) return invalid("directory is empty");
  if (bootstrap && members.size() != 1 && members.size() != 3 && members.size() != 5) {
    return invalid("members: there are " + std::to_string(members.size()) + "; 1, 3 or 5 hubs form a cluster");
  }
  bool found = false;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const RaftMember& m = members[i];
    found = found || m.id == id;
    if (auto ok = check_member(m); !ok) return invalid("members: " + ok.error().message);
    for (std::size_t k = 0; k < i; ++k) {
      if (members[k].id == m.id) return invalid("members: '" + m.id + "' appears twice");
      if (members[k].address == m.address) return invalid("members: address '" + m.address + "' appears twice");
      if (raft_member_number(members[k].id) == raft_member_number(m.id)) {
        return invalid("members: '" + members[k].id + "' and '" + m.id + "' have the same number; rename one");
      }
    }
  }
  if (bootstrap && !found) return invalid("members: '" + id + "', this hub, is not among them");
  if (heartbeat_ms == 0 || election_timeout_ms < 2 * heartbeat_ms || election_timeout_ms > 60'000) {
    return invalid("election_timeout_ms " + std::to_string(election_timeout_ms) + ", heartbeat_ms " +
                   std::to_string(heartbeat_ms) + ": the heartbeat above 0, the timeout twice that to 60000");
  }
  if (max_inflight_entries == 0) return invalid("max_inflight_entries is 0");
  if (snapshot_threshold_entries == 0 || snapshot_threshold_bytes == 0) return invalid("snapshot threshold is 0");
  if (append_queue_entries_max == 0 || append_queue_bytes_max < kCommandBytesMax) {
    return invalid("append queue: at least one entry of " + std::to_string(kCommandBytesMax) + " bytes must fit");
  }
  return {};
}

Result<void> RaftLedger::found(const RaftLedgerOptions& options, Kv& kv, Index base, std::uint64_t term,
                               LedgerListener& snapshot) {
  LogStore store(kv);
  auto loaded = store.load();
  if (!loaded) return fail(loaded.error());
  SnapshotCourier courier(options.directory, {});
  if (auto opened = courier.open(loaded->snapshot ? loaded->snapshot->directory : "",
                                 {loaded->snapshot ? loaded->snapshot->index : 0});
      !opened) {
    return opened;
  }
  auto made = courier.make(snapshot);
  if (!made) return fail(made.error());
  TIDELOCK_ASSERT(made->index == base);
  std::string address;
  for (const RaftMember& m : options.members) {
    if (m.id == options.id) address = m.address;
  }
  RaftPersist persist;
  persist.vote = RaftVote{term, 0};
  persist.snapshot = RaftSnapshotMeta{
      base.value, term, base.value,
      encode_configuration({{raft_member_number(options.id), stored_address({options.id, address}), RaftRole::kVoter}}),
      made->name};
  persist.reset_log = true;
  return store.commit(persist);
}

std::string RaftLedger::snapshot_files(const std::string& directory, const std::string& name) {
  return SnapshotCourier(directory, {}).files_path(name);
}

}  // namespace tidelock
