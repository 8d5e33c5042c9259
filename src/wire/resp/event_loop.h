// EventLoop: epoll, an eventfd through which other threads hand work in, and one timer. One thread runs it; everything
// that is called back is called on that thread, so its users share state without locks.
//
// Threads:  run() in one thread. post() and stop() from any thread. Everything else only in the loop's thread, or
// before
//           run().
// Time:     instants are those of the Clock handed in. Due wakers are tested against a fresh reading (C6) at every turn
//           in which the timer rang or a task was posted; a test moves its clock and posts an empty task.
// Cost:     a turn is one epoll_wait; post is a lock and, when the loop may be waiting, one write to the eventfd.
// Exceptions must not leave callbacks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/clock.h"
#include "base/result.h"

namespace tidelock {

class EventLoop {
 public:
  // `clock` must outlive the loop.
  static Result<std::unique_ptr<EventLoop>> create(const Clock& clock);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Until stop(). Tasks posted before stop() are run. May be called again after it returned.
  void run();
  void stop();

  // Any thread: `task` runs in the loop's thread, in the order of posting. Tasks posted after the loop ended for good
  // are destroyed unrun with the loop.
  void post(std::function<void()> task);

  // Loop's thread: runs `task` at the end of this turn, before the loop waits: to gather work of one turn.
  void soon(std::function<void()> task);

  // A waker is one alarm of its owner. Setting it replaces its former instant; kForever: off. It rings once.
  using Waker = std::uint64_t;
  Waker add_waker(std::function<void(Nanos now)> ring);
  void wake_at(Waker waker, Nanos instant);
  void remove_waker(Waker waker);

  // Calls `ready` with the epoll events (EPOLLIN, EPOLLOUT, ...; level-triggered). The fd stays the caller's, who
  // unwatches before closing it. After unwatch no event of it is delivered, not even one already taken from the kernel.
  using Watch = std::uint64_t;
  Result<Watch> watch(int fd, std::uint32_t events, std::function<void(std::uint32_t events)> ready);
  void change(Watch watch, std::uint32_t events);
  void unwatch(Watch watch);

  const Clock& clock() const;
  bool in_loop_thread() const;

 private:
  struct Impl;
  explicit EventLoop(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidelock
