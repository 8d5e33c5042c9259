#include "store/remote/remote_store.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace tidelock {
namespace {
constexpr std::size_t kBatchWrites = 256;
constexpr std::size_t kBatchBytes = 1u << 20;  // a single larger value goes alone
constexpr std::size_t kWriteOverhead = 128;    // of one entry in map and order

std::size_t size_of(const CacheWrite& write) {
  return 2 * write.key.size() + (write.value ? write.value->size() : 0) + kWriteOverhead;
}
}  // namespace

RemoteStore::RemoteStore(Connect connect, const Clock& clock, RemoteOptions options,
                         std::function<void(const std::string& why)> report)
    : connect_(std::move(connect)), clock_(clock), options_(options), report_(std::move(report)), thread_([this] {
        work();
      }) {}

RemoteStore::~RemoteStore() {
  drain(options_.close_wait_ns);
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  thread_.join();
}

RemoteStore::Answer RemoteStore::get(const std::string& key, Bytes* value) {
  counters_.gets.fetch_add(1, std::memory_order_relaxed);
  bool troubled = false;
  {
    const std::lock_guard lock(mutex_);
    troubled = reads_.length != 0;
    if (const auto it = waiting_.find(key); it != waiting_.end()) {
      if (!it->second.write.value) return Answer::kAbsent;
      *value = *it->second.write.value;
      counters_.hits.fetch_add(1, std::memory_order_relaxed);
      return Answer::kFound;
    }
    if (!reader_) reader_ = std::move(fresh_reader_);
  }
  if (!reader_) {
    counters_.skipped.fetch_add(1, std::memory_order_relaxed);
    return Answer::kUnknown;
  }
  auto found = reader_->get(key, options_.deadline_ns);
  if (!found) {
    reader_.reset();
    const std::lock_guard lock(mutex_);
    failed(reads_, found.error().message);
    reader_wanted_ = true;
    wake_.notify_all();
    return Answer::kUnknown;
  }
  if (troubled) {
    const std::lock_guard lock(mutex_);
    answered(reads_);
  }
  if (!*found) return Answer::kAbsent;
  *value = std::move(**found);
  counters_.hits.fetch_add(1, std::memory_order_relaxed);
  return Answer::kFound;
}

void RemoteStore::put(const std::string& key, Bytes value, Nanos ttl_ns) { queue({key, std::move(value), ttl_ns}); }
void RemoteStore::erase(const std::string& key) { queue({key, std::nullopt, kForever}); }

void RemoteStore::drop(std::unordered_map<std::string, Waiting>::iterator it) {
  bytes_ -= size_of(it->second.write);
  waiting_.erase(it);
  if (waiting_.empty()) drained_.notify_all();
}

void RemoteStore::queue(CacheWrite write) {
  const std::lock_guard lock(mutex_);
  if (const auto it = waiting_.find(write.key); it != waiting_.end()) drop(it);
  const std::size_t size = size_of(write);
  while (!order_.empty() && bytes_ + size > options_.queue_bytes_max) {
    const auto it = waiting_.find(order_.front().first);
    if (it != waiting_.end() && it->second.number == order_.front().second) {
      drop(it);
      counters_.dropped.fetch_add(1, std::memory_order_relaxed);
    }
    order_.pop_front();
  }
  if (bytes_ + size > options_.queue_bytes_max) {  // larger than the queue, or the rest is on its way
    counters_.dropped.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  // One key written again and again must not make the order longer than the queue.
  if (order_.size() > 2 * waiting_.size() + kBatchWrites) {
    std::erase_if(order_, [&](const auto& entry) {
      const auto it = waiting_.find(entry.first);
      return it == waiting_.end() || it->second.number != entry.second;
    });
  }
  const std::string key = write.key;
  order_.emplace_back(key, ++last_number_);
  waiting_.emplace(key, Waiting{std::move(write), last_number_});
  bytes_ += size;
  wake_.notify_all();
}

bool RemoteStore::drain(Nanos timeout_ns) {
  std::unique_lock lock(mutex_);
  return drained_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), [&] { return waiting_.empty(); });
}

void RemoteStore::failed(Pause& pause, const std::string& why) {
  counters_.failures.fetch_add(1, std::memory_order_relaxed);
  if (&pause == &reads_) counters_.connected.store(false, std::memory_order_relaxed);
  if (reads_.length == 0 && writes_.length == 0 && report_) report_(why);
  pause.length = pause.length == 0 ? options_.pause_first_ns : std::min(2 * pause.length, options_.pause_max_ns);
  pause.until = saturating_add(clock_.now(), pause.length);
}

void RemoteStore::answered(Pause& pause) {
  if (&pause == &reads_) counters_.connected.store(true, std::memory_order_relaxed);
  if (pause.length == 0) return;
  pause = {};
  if (reads_.length == 0 && writes_.length == 0 && report_) report_("");
}

void RemoteStore::work() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const Nanos now = clock_.now();
    const bool writes = !order_.empty();
    if (reader_wanted_ && now >= reads_.until) {
      connect_reader(lock);
    } else if (writes && writer_) {
      send_some(lock);
    } else if (writes && now >= writes_.until) {
      connect_writer(lock);
    } else {
      Nanos next = kForever;
      if (reader_wanted_) next = reads_.until;
      if (writes) next = std::min(next, writes_.until);
      if (next == kForever) {
        wake_.wait(lock);
      } else {
        wake_.wait_for(lock, std::chrono::nanoseconds(saturating_sub(next, now)));
      }
    }
  }
}

void RemoteStore::connect_reader(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  auto reader = connect_();
  lock.lock();
  if (!reader) return failed(reads_, reader.error().message);
  fresh_reader_ = std::move(*reader);
  reader_wanted_ = false;
  counters_.connected.store(true, std::memory_order_relaxed);
}

void RemoteStore::connect_writer(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  auto writer = connect_();
  lock.lock();
  if (!writer) return failed(writes_, writer.error().message);
  writer_ = std::move(*writer);
}

void RemoteStore::send_some(std::unique_lock<std::mutex>& lock) {
  std::vector<std::pair<std::string, std::uint64_t>> sent;
  std::vector<CacheWrite> writes;
  std::size_t bytes = 0;
  while (!order_.empty() && writes.size() < kBatchWrites) {
    const auto it = waiting_.find(order_.front().first);
    if (it != waiting_.end() && it->second.number == order_.front().second) {
      const std::size_t size = size_of(it->second.write);
      if (!writes.empty() && bytes + size > kBatchBytes) break;
      bytes += size;
      writes.push_back(it->second.write);
      sent.push_back(order_.front());
    }
    order_.pop_front();
  }
  lock.unlock();
  const auto done = writes.empty() ? Result<std::size_t>(0) : writer_->write(writes, options_.write_timeout_ns);
  lock.lock();
  if (!done) {  // to be sent again: twice does not hurt
    order_.insert(order_.begin(), sent.begin(), sent.end());
    writer_.reset();
    return failed(writes_, done.error().message);
  }
  answered(writes_);
  counters_.refused.fetch_add(*done, std::memory_order_relaxed);
  counters_.written.fetch_add(sent.size() - *done, std::memory_order_relaxed);
  for (const auto& [key, number] : sent) {
    const auto it = waiting_.find(key);
    if (it != waiting_.end() && it->second.number == number) drop(it);
  }
}

}  // namespace tidelock
