// SimDisk is a store of rows under a power cut: batches are written whole and in order, some of them are synced, and
// what was not synced survives a power cut up to some batch only (a torn last batch is dropped by its checksum).
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "sim/ledger.h"

namespace tidelock::sim {

using SimBatch = std::vector<std::pair<Bytes, std::optional<Bytes>>>;

inline void put_rows(SimRows& rows, const SimBatch& batch) {
  for (const auto& [key, value] : batch) {
    if (value)
      rows.insert_or_assign(key, *value);
    else
      rows.erase(key);
  }
}

class SimDisk {
 public:
  const SimRows& rows() const { return rows_; }  // as the kernel has them
  void write(std::uint64_t number, SimBatch batch) {
    put_rows(rows_, batch);
    unsynced_.emplace_back(number, std::move(batch));
  }
  // Everything up to this batch is on the platter.
  void sync(std::uint64_t number) {
    while (!unsynced_.empty() && unsynced_.front().first <= number) {
      put_rows(synced_, unsynced_.front().second);
      unsynced_.pop_front();
    }
  }
  void replace(const SimRows& rows) {  // durably
    rows_ = synced_ = rows;
    unsynced_.clear();
  }
  void power_cut(Rng& rng) {
    const std::size_t kept = rng.below(unsynced_.size() + 1);
    for (std::size_t i = 0; i < kept; ++i) put_rows(synced_, unsynced_[i].second);
    rows_ = synced_;
    unsynced_.clear();
  }
  // The process was killed: the kernel has everything, and the next process syncs it with its first commit.
  void killed() { sync(~0ull); }
  std::size_t unsynced() const { return unsynced_.size(); }
  std::uint64_t oldest_unsynced() const { return unsynced_.empty() ? 0 : unsynced_.front().first; }

 private:
  SimRows rows_, synced_;
  std::deque<std::pair<std::uint64_t, SimBatch>> unsynced_;
};

}  // namespace tidelock::sim
