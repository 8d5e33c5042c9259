#include "edge/outbox_disk.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "edge/l2_store.h"

namespace tidelock {

OutboxDisk::OutboxDisk(Kv& kv, const Clock& clock, Persisted persisted, Failed failed)
    : kv_(kv), clock_(clock), persisted_(std::move(persisted)), failed_(std::move(failed)), thread_([this] {
        run();
      }) {}

OutboxDisk::~OutboxDisk() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void OutboxDisk::push(OutboxPersist work) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
  }
  changed_.notify_one();
}

void OutboxDisk::sync_soon() {
  {
    const std::lock_guard lock(mutex_);
    sync_asked_ = true;
  }
  changed_.notify_one();
}

void OutboxDisk::run() {
  std::uint64_t committed = 0;  // the highest number with the kernel
  bool wants_sync = false;      // something was committed since the last sync
  std::size_t unsynced_bytes = 0;
  Nanos next_sync_at = kNever;
  for (;;) {
    std::deque<OutboxPersist> work;
    bool stopping = false;
    {
      std::unique_lock lock(mutex_);
      const auto ready = [this] { return stopping_ || sync_asked_ || !queue_.empty(); };
      if (!wants_sync) {
        changed_.wait(lock, ready);
      } else if (unsynced_bytes < kGatherBytes) {
        const Nanos wait = std::clamp<Nanos>(saturating_sub(next_sync_at, clock_.now()), 0, kGather);
        if (wait > 0) changed_.wait_for(lock, std::chrono::nanoseconds(wait), ready);
      }
      work.swap(queue_);
      wants_sync = std::exchange(sync_asked_, false) || !work.empty() || wants_sync;
      stopping = stopping_;
    }
    if (!work.empty()) {
      KvBatch batch;
      for (OutboxPersist& one : work) {
        for (auto& [key, value] : one.rows) {
          unsynced_bytes += key.size() + (value ? value->size() : 0);
          if (value)
            batch.put(kOutboxFamily, std::move(key), std::move(*value));
          else
            batch.erase(kOutboxFamily, std::move(key));
        }
        committed = one.number;
      }
      if (const auto done = kv_.commit(batch, Sync::kNone); !done) return failed_(done.error().message);
      persisted_(committed, AckLevel::kOs);
    }
    if (stopping) return;
    if (wants_sync && (unsynced_bytes >= kGatherBytes || clock_.now() >= next_sync_at)) {
      if (const auto done = kv_.sync(); !done) return failed_(done.error().message);
      persisted_(committed, AckLevel::kDisk);
      wants_sync = false;
      unsynced_bytes = 0;
      next_sync_at = saturating_add(clock_.now(), kGather);
    }
  }
}

}  // namespace tidelock
