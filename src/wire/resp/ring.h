// Ring: io_uring for the thread of one EventLoop. Sockets whose bytes the kernel puts into buffers by itself (multishot
// receive), a few descriptors whose readiness it reports, and one system call for all of them. The only place that
// knows liburing.
//
// Threads: the one that called create, from there to the end. (The kernel then runs its part in our wait alone.)
// Needs:   Linux 6.1 (deferred task work), and that nothing forbids io_uring: containers often do. create tries what is
//          needed by really receiving from a socket, so a kernel that only pretends is found out.
// Memory:  kBuffers * kBufferBytes (1 MiB) for bytes on their way, whatever the number of sockets, and some tens of
//          KiB of queues. Receiving goes on when a buffer is free again.
// Ids:     chosen by the caller, below kOwn; never two requests in flight with one id.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/result.h"

namespace tidelock {

class Ring {
 public:
  static constexpr std::uint64_t kOwn = ~std::uint64_t{1};
  static constexpr std::size_t kBuffers = 64;  // a power of two
  static constexpr std::size_t kBufferBytes = 16u << 10;

  struct Completion {
    std::uint64_t id = 0;
    int result = 0;          // bytes, poll events, or -errno; 0 of a receive: the peer will send nothing more
    bool last = false;       // the request is over: ask again to go on
    bool followed = false;   // the next completion is of the same id
    std::string_view bytes;  // of a receive; valid until the next call of next or wait
  };

  // kUnavailable says what the kernel refused.
  static Result<std::unique_ptr<Ring>> create();
  // Ends with nothing in flight: cancel_all, and take completions until in_flight() is 0.
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Asked now, told to the kernel by the next wait; each ends with one completion that is its last.
  void receive(int fd, std::uint64_t id);       // until an error, the end, or no buffer is free (-ENOBUFS)
  void poll_once(int fd, std::uint64_t id);     // until it is readable
  void poll_changes(int fd, std::uint64_t id);  // each time it becomes readable
  void cancel(std::uint64_t id);                // bytes that were already taken from the socket are still told
  void cancel_all();

  // Until there is a completion; not `block`: looks. Returns 0, or the errno of a kernel that will do nothing any more.
  int wait(bool block);
  bool next(Completion& completion);
  std::size_t in_flight() const;

 private:
  struct Impl;
  explicit Ring(std::unique_ptr<Impl> impl);
  Result<void> try_receiving();
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidelock
