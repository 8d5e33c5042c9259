// One thread that runs work in order, for what must not hold up the loop: destroying links, long scans.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace tidelock {

// Threads: post from any. Bounded: beyond kQueueMax posts are refused (false). stop() drops what has not begun.
class EdgeWorker {
 public:
  static constexpr std::size_t kQueueMax = 1024;
  EdgeWorker() : thread_([this] { run(); }) {}
  ~EdgeWorker() { stop(); }
  EdgeWorker(const EdgeWorker&) = delete;
  EdgeWorker& operator=(const EdgeWorker&) = delete;

  bool post(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_ || queue_.size() >= kQueueMax) return false;
      queue_.push_back(std::move(work));
    }
    changed_.notify_one();
    return true;
  }
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
    queue_.clear();
  }

 private:
  void run() {
    for (;;) {
      std::function<void()> work;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        if (stopping_) return;
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tidelock
