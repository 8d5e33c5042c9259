// SlowFetches are the fetches of what a hub has to pull or make first (M3), on a few threads of their own, so that they
// hold up no other. What several fetches wait for is brought once, by one thread: many gateways that want one missing
// file leave the other threads to those who want something else.
//
// Threads: any; `more` as in NodeService::on_fetch. Limits: kWaitingMax fetches wait at a time, kBusy beyond; one that
//          was given up takes no place of another.
// Errors:  what bringing ends with is the answer to all that waited for it; kUnavailable after stop().
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "protocol/admin.h"
#include "wire/grpc/bulk_pool.h"
#include "wire/grpc/transport.h"

namespace tidelock {

class SlowFetches {
 public:
  static constexpr int kThreads = 3;
  static constexpr std::size_t kWaitingMax = 256;
  using Key = std::pair<Bytes, Bytes>;  // base and target of a delta; no base: the file itself
  struct Hub {
    // The source, at once; or null, with `missing` set to what has to be brought first.
    std::function<Result<std::unique_ptr<FetchSource>>(const FetchRequest& request, Key& missing)> open;
    std::function<Result<void>(const Key& missing)> bring;  // takes its time
  };
  explicit SlowFetches(Hub hub) : hub_(std::move(hub)) {}
  ~SlowFetches() { stop(); }

  Result<std::unique_ptr<FetchSource>> fetch(FetchRequest request, std::function<void()> more);
  void stop();  // what waits is told so; waits for what is being brought

 private:
  struct Opening;
  class Source;
  struct Waiter {
    FetchRequest request;
    std::function<void()> more;
    std::shared_ptr<Opening> opening;
    int rounds = 0;  // for how many things it waited so far: a file, then a delta to it
  };
  static bool given_up(const Waiter& one);
  std::vector<Waiter> take_given_up();  // mutex_ held
  Result<void> wait_for(const Key& missing, Waiter waiter);
  void run(const Key& missing);
  void go_on(Waiter waiter);

  const Hub hub_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::map<Key, std::vector<Waiter>> waiting_;  // an entry is a task of the pool
  std::size_t waiters_ = 0;
  wire::BulkPool pool_{kThreads};  // last: its threads use all of the above
};

}  // namespace tidelock
