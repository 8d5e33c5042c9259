// RaftOracle judges a cluster of members by what was recorded alone: messages as they were sent, disks as they were
// synced, entries as they were handed out. It knows nothing of the driver's bookkeeping.
//
// What it refuses (RAFT 4, RAFT 10):
//   one vote per member and term, and one leader per term; a vote leaves only after it is on disk;
//   two logs with the same term at one index hold the same entry there, and all before it (by induction over sends);
//   an acknowledgement names an entry that is on the sender's disk just as the leader of that term has it;
//   what is handed out is on the disks of a majority, is the same everywhere, in order, without holes, once;
//   whoever leads a term has everything that was handed out in the terms before;
//   messages go to members, terms on a disk never fall.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ledger/ledger.h"
#include "ledger/raft/raft_driver.h"
#include "sim/raft_disk.h"
#include "sim/world.h"

namespace tidelock::sim {

// A message between drivers, read without them.
struct RaftPeek {
  enum Kind : std::uint8_t { kVote, kVoteResult, kAppend, kAppendResult, kInstall, kTimeoutNow };
  std::uint64_t from = 0, to = 0, term = 0;
  Kind kind = kVote;
  std::uint64_t last_index = 0, last_term = 0;  // vote, install, timeout now; append result: last_index
  bool pre_vote = false, granted = false;
  std::uint64_t prev_index = 0, prev_term = 0, commit = 0, rejected = 0;
  std::vector<RaftEntry> entries;

  static std::optional<RaftPeek> at(BytesView message);
  std::string text() const;
};

class RaftOracle {
 public:
  RaftOracle(World& world, bool commands_unique) : world_(world), commands_unique_(commands_unique) {}

  void knows(std::uint64_t number, const RaftDisk* disk) { disks_[number] = disk; }
  void sent(std::uint64_t from, std::uint64_t to, const RaftPeek& message);
  void leads(std::uint64_t number, std::uint64_t term,
             const std::function<const RaftEntry*(std::uint64_t index)>& log_of_the_leader, std::uint64_t snapshot);
  void synced(std::uint64_t number);
  void started(std::uint64_t number, Index applied);
  // `newest` tells the configurations by which anybody counts at this instant.
  using Configurations = std::vector<std::vector<RaftServer>>;
  void handed_out(std::uint64_t number, const LedgerEntry& entry, const std::function<Configurations()>& newest);
  void installed(std::uint64_t number, Index index);

  // Everything handed out by anybody.
  Index last() const { return {log_.empty() ? 0 : log_.rbegin()->first}; }
  Index position(std::uint64_t number) const;
  std::optional<Index> index_of(const Bytes& command) const;  // with unique commands
  std::size_t size() const { return log_.size(); }
  std::size_t terms() const { return leaders_.size(); }

 private:
  struct Entry {
    std::uint64_t term = 0, hash = 0;
    std::uint64_t known_in = 0;  // it was committed in this term or before
  };
  void wrong(std::uint64_t number, const std::string& what) const;
  void voted(std::uint64_t number, std::uint64_t term, std::uint64_t candidate);
  void claims(std::uint64_t leader, std::uint64_t term, std::uint64_t index, std::uint64_t entry_term);
  bool on_a_majority(std::uint64_t number, std::uint64_t index, std::uint64_t term,
                     const std::function<Configurations()>& newest) const;

  World& world_;
  const bool commands_unique_;
  std::map<std::uint64_t, const RaftDisk*> disks_;
  std::map<std::uint64_t, std::uint64_t> terms_on_disk_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> votes_;    // (member, term) -> candidate
  std::map<std::uint64_t, std::uint64_t> leaders_;                            // term -> member
  std::map<std::uint64_t, std::map<std::uint64_t, std::uint64_t>> claimed_;   // leader's term -> index -> term
  std::map<std::uint64_t, std::uint64_t> led_from_;                           // leader's term -> its snapshot then
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> entries_;  // (term, index) -> hash
  std::map<std::uint64_t, Entry> log_;                                        // handed out: index -> entry
  std::map<std::uint64_t, std::uint64_t> positions_;                          // member -> index
  std::map<std::uint64_t, std::uint64_t> commands_;                           // hash -> index
};

}  // namespace tidelock::sim
