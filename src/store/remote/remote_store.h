// RemoteStore puts values at a cache server without making its caller wait for one: writes go through a queue that a
// thread of its own empties, and a read waits for `deadline_ns` at the most.
//
// No promise: that a put is there later, or that a get returns the newest put: a server may be restarted from an old
//           snapshot, evict, or be written by others. The caller knows the digest of what it put and compares.
// Threads:  get, put and erase from one thread; counters and drain from any.
// Cost:     put and erase copy into the queue. get is a look into the queue, then one exchange with the server on the
//           caller's thread: tens of microseconds on one machine, `deadline_ns` in the worst case (the reply
//           of a value larger than a socket buffer included). The thread wakes for each first write of a pause.
// Breaker:  a failed or late get closes its connection, and reads are answered kUnknown at once until the thread has
//           made another: after 10 ms, doubled with each failure in a row up to 5 s, and back to 10 ms with an answer.
//           So a server that hangs costs the caller at most one deadline per pause. Writes have a connection and a
//           pause of their own.
// Limits:   queue_bytes_max of keys and values; beyond it the oldest waiting writes are dropped and counted. What waits
//           while the server is away is readable, and is sent when it is back.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "store/remote/cache_link.h"

namespace tidelock {

struct RemoteOptions {
  Nanos deadline_ns = kMillisecond;
  std::size_t queue_bytes_max = 8u << 20;
  Nanos write_timeout_ns = 2 * kSecond;  // of a batch, on the thread
  Nanos pause_first_ns = 10 * kMillisecond;
  Nanos pause_max_ns = 5 * kSecond;
  Nanos close_wait_ns = 500 * kMillisecond;  // what the destructor waits for the queue
};

struct RemoteCounters {
  using Word = std::atomic<std::uint64_t>;
  Word gets{0}, hits{0}, failures{0}, skipped{0};  // skipped: reads answered kUnknown because there was no connection
  Word written{0}, dropped{0}, refused{0};         // writes: at the server, dropped from a full queue, not taken
  std::atomic<bool> connected{false};
};

class RemoteStore {
 public:
  using Connect = std::function<Result<std::unique_ptr<CacheLink>>()>;
  enum class Answer : std::uint8_t { kFound, kAbsent, kUnknown };

  // `connect` is called on the store's thread; `clock` outlives the store. `report` gets the first failure of reads or
  // of writes and, with an empty text, the first good answer behind failures; on either thread, and must not call the
  // store.
  RemoteStore(Connect connect, const Clock& clock, RemoteOptions options,
              std::function<void(const std::string& why)> report);
  ~RemoteStore();
  RemoteStore(const RemoteStore&) = delete;
  RemoteStore& operator=(const RemoteStore&) = delete;

  Answer get(const std::string& key, Bytes* value);
  void put(const std::string& key, Bytes value, Nanos ttl_ns);
  void erase(const std::string& key);

  // Waits until the server has answered to every write so far. False when that took longer.
  bool drain(Nanos timeout_ns);
  const RemoteCounters& counters() const { return counters_; }

 private:
  struct Waiting {
    CacheWrite write;
    std::uint64_t number = 0;
  };
  void queue(CacheWrite write);
  struct Pause {
    Nanos length = 0;  // 0: the last answer was good
    Nanos until = kNever;
  };
  // With mutex_ held.
  void drop(std::unordered_map<std::string, Waiting>::iterator it);
  void failed(Pause& pause, const std::string& why);
  void answered(Pause& pause);
  // The store's thread; they let go of the lock while they wait for the server.
  void work();
  void connect_reader(std::unique_lock<std::mutex>& lock);
  void connect_writer(std::unique_lock<std::mutex>& lock);
  void send_some(std::unique_lock<std::mutex>& lock);

  const Connect connect_;
  const Clock& clock_;
  const RemoteOptions options_;
  const std::function<void(const std::string&)> report_;
  RemoteCounters counters_;

  std::unique_ptr<CacheLink> reader_;  // the caller's thread
  std::unique_ptr<CacheLink> writer_;  // the store's thread

  std::mutex mutex_;
  std::condition_variable wake_, drained_;
  std::unordered_map<std::string, Waiting> waiting_;         // the newest write of each key that is not answered yet
  std::deque<std::pair<std::string, std::uint64_t>> order_;  // what is to be sent; an entry of another number is void
  std::size_t bytes_ = 0;                                    // of waiting_
  std::uint64_t last_number_ = 0;
  std::unique_ptr<CacheLink> fresh_reader_;  // made by the store's thread, for the caller's to take
  bool reader_wanted_ = true;
  Pause reads_, writes_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace tidelock
