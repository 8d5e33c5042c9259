// RaftDisk is the disk of one member's log: the product's LogStore on a Kv in memory that knows what is synced.
//
// A write is handed to LogStore, which makes one batch of it; the batch is under way until the world says that its sync
// has returned. A crash ends what is under way: any of these batches may be missing, and RocksDB replays its log up to
// the first that is. Beside the bytes a plain image of what they must mean is kept; load() is held against it.
//
// Never: survives what no store could (a synced batch is gone only through flip()).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "ledger/raft/log_store.h"
#include "store/kv/kv.h"

namespace tidelock::sim {

// What is durable, in plain words.
struct RaftImage {
  RaftVote vote;
  std::optional<RaftSnapshotMeta> snapshot;
  std::map<std::uint64_t, RaftEntry> log;
  std::set<std::uint64_t> changes;  // indexes of the configurations in it

  void apply(const RaftPersist& persist);
  bool has(std::uint64_t index, std::uint64_t term) const {  // entries below the snapshot are in it
    if (snapshot && index <= snapshot->index) return true;
    const auto it = log.find(index);
    return it != log.end() && it->second.term == term;
  }
};

enum class DiskFault : std::uint8_t { kNone, kRefused, kSyncFailed };  // ENOSPC at the write, EIO at the sync

class RaftDisk {
 public:
  RaftDisk();
  ~RaftDisk();
  RaftDisk(const RaftDisk&) = delete;
  RaftDisk& operator=(const RaftDisk&) = delete;
  // Once per start of the process, with nothing under way. kCorrupt when a check of LogStore fails; asserts that
  // whatever is answered is exactly the image.
  Result<RaftLoaded> load();
  // Hands a write to the store. It is under way until synced() or crash().
  Result<void> write(const RaftPersist& persist);
  // The oldest write under way has been synced; false when its sync failed (then it may be there or not: D3).
  bool synced(Rng& rng);
  std::size_t under_way() const { return under_way_.size(); }
  void fail_next(DiskFault fault) { fault_ = fault; }
  // The process is gone, or the power. Writes under way are lost from a random one on; all of them stay, or none, too.
  void crash(Rng& rng);

  // One bit of one stored record turns over; the same call turns it back. False when nothing is stored.
  bool flip(std::uint64_t chance);
  // For exhaustive tests: the stored records.
  std::map<std::pair<std::string, Bytes>, Bytes>& records();

  const RaftImage& image() const { return image_; }
  // The image disagrees with what load() answered: a fault of LogStore.
  bool lied() const { return lied_; }

 private:
  class MemoryKv;
  void land();

  std::unique_ptr<MemoryKv> kv_;
  std::optional<LogStore> store_;
  std::deque<std::pair<KvBatch, RaftPersist>> under_way_;
  DiskFault fault_ = DiskFault::kNone;
  RaftImage image_;
  bool lied_ = false;
};

}  // namespace tidelock::sim
