// OutboxDisk writes the outbox's rows on a thread of its own: first to the kernel, then synced for a whole group (D1).
// What did not ask for it is synced as well, within the time of a group (D9).
//
// Threads:  push from the loop's thread; the callbacks come from the disk thread and must only post.
// Order:    batches are committed in the order of their numbers, each all or nothing.
// Cost:     a lone synced write is synced at once; syncs follow each other by at least kGather, or kGatherBytes of
// rows. Errors:   the first failed commit or sync is reported once, with the numbers after it never confirmed (D3).
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "base/clock.h"
#include "protocol/edge_core.h"
#include "store/kv/kv.h"

namespace tidelock {

class OutboxDisk {
 public:
  static constexpr Nanos kGather = 5 * kMillisecond;
  static constexpr std::size_t kGatherBytes = 256u << 10;

  using Persisted = std::function<void(std::uint64_t number, AckLevel level)>;
  using Failed = std::function<void(const std::string& why)>;
  // `kv` (with kOutboxFamily) and `clock` outlive it.
  OutboxDisk(Kv& kv, const Clock& clock, Persisted persisted, Failed failed);
  ~OutboxDisk();  // writes what was pushed, unsynced, and stops
  OutboxDisk(const OutboxDisk&) = delete;
  OutboxDisk& operator=(const OutboxDisk&) = delete;

  void push(OutboxPersist work);
  void sync_soon();  // what others committed to `kv`

 private:
  void run();

  Kv& kv_;
  const Clock& clock_;
  const Persisted persisted_;
  const Failed failed_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<OutboxPersist> queue_;
  bool stopping_ = false;
  bool sync_asked_ = false;
  std::thread thread_;
};

}  // namespace tidelock
