// EventLoop: readiness and bytes of descriptors, an eventfd through which other threads hand work in, and one timer.
// One thread runs it; everything that is called back is called on that thread, so its users share state without locks.
//
// Back end: epoll, or io_uring where the kernel allows it (ring.h): then it puts the bytes of `receive` into buffers by
//           itself, and one system call a turn waits for all. What `watch` watches is watched by epoll with either.
//           Both keep every promise made here (the tests run with both).
// Threads:  run() in one thread. post(), stop() and back_end() from any thread. Everything else only in the loop's
//           thread, or while run() is not running.
// Time:     instants are those of the Clock handed in. Due wakers are tested against a fresh reading (C6) at every turn
//           in which the timer rang or a task was posted; a test moves its clock and posts an empty task.
// Cost:     a turn is one epoll_wait and one recv for each socket with bytes, or one io_uring_enter; post is a lock
// and,
//           when the loop may be waiting, one write to the eventfd.
// Exceptions must not leave callbacks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "wire/resp/loop_back_end.h"

namespace tidelock {

class EventLoop {
 public:
  // What kAuto stands for: what `./dev bench io` found cheaper over all its cases. Of processor time, io_uring takes
  // 0.9 of epoll's for single commands on a Unix socket, as much on TCP, and a little more for pipelines.
  static constexpr LoopBackEnd kAutoBackEnd = LoopBackEnd::kEpoll;

  // `clock` must outlive the loop. Where the kernel refuses io_uring the loop runs on epoll, and refusal() says why.
  static Result<std::unique_ptr<EventLoop>> create(const Clock& clock, LoopBackEnd back_end = LoopBackEnd::kAuto);
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
  // For a connected, non-blocking socket: calls `arrived` with what it sent. `events` are those that change() allows to
  // be told, EPOLLOUT as above; EPOLLIN: fetch bytes. EPOLLHUP and EPOLLERR are told while EPOLLIN is off.
  struct Arrival {
    std::uint32_t events = 0;
    std::string_view bytes;  // valid during the call
    bool end = false;        // the peer will send nothing more: switch EPOLLIN off
    int error = 0;           // the socket is broken: unwatch it
    bool more = false;       // another arrival of this socket follows in this turn
  };
  // Off takes effect before the loop waits the next time. Until then up to 512 KiB that came before are still told.
  Result<Watch> receive(int fd, std::uint32_t events, std::function<void(const Arrival&)> arrived);

  // Of either kind.
  void change(Watch watch, std::uint32_t events);
  // The kernel lets go of the descriptor before the loop waits the next time.
  void unwatch(Watch watch);

  LoopBackEnd back_end() const;        // kEpoll or kIoUring: what runs, or would
  const std::string& refusal() const;  // why not io_uring, when it was wanted; fixed once run() began
  const Clock& clock() const;
  bool in_loop_thread() const;

 private:
  struct Impl;
  explicit EventLoop(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidelock
