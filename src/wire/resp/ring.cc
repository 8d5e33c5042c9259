// Buffers: one ring of them is shared by all receives. The kernel takes the oldest for what arrives; next() gives the
// buffer of the former completion back before it tells of another. So all that are offered are gone through in turn,
// and few stay in the processor's cache: more are offered only when there were none left. A buffer starts kColour bytes
// further into its page than the one before: starts at one distance of 16 KiB would fight for the same few sets of the
// cache.
#include "wire/resp/ring.h"

#include <liburing.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/assert.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TIDELOCK_UNDER_TSAN
extern "C" void __tsan_acquire(void* address);  // of the sanitizer's own library
extern "C" void __tsan_release(void* address);
#endif
#endif

namespace tidelock {
namespace {

constexpr unsigned kRequests = 256;  // that one wait tells the kernel at once
constexpr unsigned kCompletions = 1024;
constexpr int kGroup = 0;
constexpr std::size_t kBuffersAtATime = 8;
constexpr std::size_t kColour = 320;
constexpr std::size_t kStride = Ring::kBufferBytes + kColour;
constexpr std::string_view kTrial = "trial";

tl::unexpected<Error> refused(const char* what, int error) {
  return fail(Code::kUnavailable, std::string("io_uring: ") + what + ": " + std::strerror(error));
}

// liburing maps and unmaps by its own system calls, which the thread sanitizer does not see: that the ring of another
// thread lay at the same addresses, and is gone, would look like a race.
#ifdef TIDELOCK_UNDER_TSAN
char rings_before;
void mapped() { __tsan_acquire(&rings_before); }
void about_to_unmap() { __tsan_release(&rings_before); }
#else
void mapped() {}
void about_to_unmap() {}
#endif

}  // namespace

struct Ring::Impl {
  io_uring ring{};
  bool open = false;
  io_uring_buf_ring* buffers = nullptr;  // pages of our own that the kernel reads
  std::size_t buffers_bytes = 0;
  std::unique_ptr<char[]> memory;
  std::size_t in_flight = 0;
  int held = -1;            // the buffer of the last completion told
  std::size_t offered = 0;  // the first so many are in use

  char* buffer(std::size_t i) const { return memory.get() + i * kStride; }
  void offer(std::size_t i) {
    io_uring_buf_ring_add(buffers, buffer(i), kBufferBytes, static_cast<unsigned short>(i),
                          io_uring_buf_ring_mask(kBuffers), 0);
    io_uring_buf_ring_advance(buffers, 1);
  }
  void offer_more() {
    for (const std::size_t enough = std::min(kBuffers, offered + kBuffersAtATime); offered < enough; ++offered) {
      offer(offered);
    }
  }
  void give_back() {
    if (held >= 0) offer(static_cast<std::size_t>(std::exchange(held, -1)));
  }
  io_uring_sqe* request() {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring);
    while (sqe == nullptr) {  // more at once than the queue holds
      const int submitted = io_uring_submit(&ring);
      TIDELOCK_ASSERT(submitted >= 0 || submitted == -EINTR || submitted == -EAGAIN || submitted == -EBUSY);
      sqe = io_uring_get_sqe(&ring);
    }
    ++in_flight;
    return sqe;
  }
};

Ring::Ring(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Ring>> Ring::create() {
  std::unique_ptr<Ring> made(new Ring(std::make_unique<Impl>()));
  Impl& self = *made->impl_;
  io_uring_params params{};
  params.flags =
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL;
  params.cq_entries = kCompletions;
  if (const int error = io_uring_queue_init_params(kRequests, &self.ring, &params); error < 0) {
    return refused("setup", -error);
  }
  self.open = true;
  mapped();
  (void)io_uring_register_ring_fd(&self.ring);  // a little cheaper when the kernel has it

  self.buffers_bytes = kBuffers * sizeof(io_uring_buf);
  void* const pages = ::mmap(nullptr, self.buffers_bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
  if (pages == MAP_FAILED) return refused("memory for buffers", errno);
  self.buffers = static_cast<io_uring_buf_ring*>(pages);
  self.memory = std::make_unique_for_overwrite<char[]>(kBuffers * kStride);
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uint64_t>(pages);
  registration.ring_entries = kBuffers;
  registration.bgid = kGroup;
  if (const int error = io_uring_register_buf_ring(&self.ring, &registration, 0); error < 0) {
    return refused("buffer ring", -error);
  }
  io_uring_buf_ring_init(self.buffers);
  self.offer_more();
  if (const auto works = made->try_receiving(); !works) return fail(works.error());
  return made;
}

// A receive that says it goes on, ended by cancel.
Result<void> Ring::try_receiving() {
  int pair[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
    return refused("socketpair", errno);
  const auto sent = ::send(pair[1], kTrial.data(), kTrial.size(), MSG_NOSIGNAL);
  receive(pair[0], 1);
  int why = sent == static_cast<ssize_t>(kTrial.size()) ? 0 : errno;
  bool came = false, stopping = false;
  while (in_flight() > 0) {
    if (const int error = wait(true); error != 0) {  // nothing was told the kernel
      impl_->in_flight = 0;
      why = error;
      break;
    }
    for (Completion completion; next(completion);) {
      if (completion.id != 1) continue;
      if (completion.bytes == kTrial && !completion.last) came = true;
      if (!came && why == 0) why = completion.result < 0 ? -completion.result : ENOTSUP;
    }
    if (!std::exchange(stopping, true) && in_flight() > 0) cancel_all();
  }
  ::close(pair[0]);
  ::close(pair[1]);
  return came ? Result<void>{} : refused("multishot receive", why);
}

Ring::~Ring() {
  if (impl_->open) {
    TIDELOCK_ASSERT(impl_->in_flight == 0);  // else the kernel would go on writing into our buffers
    about_to_unmap();
    io_uring_queue_exit(&impl_->ring);
  }
  if (impl_->buffers != nullptr) ::munmap(impl_->buffers, impl_->buffers_bytes);
}

void Ring::receive(int fd, std::uint64_t id) {
  io_uring_sqe* const sqe = impl_->request();
  io_uring_prep_recv_multishot(sqe, fd, nullptr, 0, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = kGroup;
  io_uring_sqe_set_data64(sqe, id);
}

void Ring::poll_once(int fd, std::uint64_t id) {
  io_uring_sqe* const sqe = impl_->request();
  io_uring_prep_poll_add(sqe, fd, POLLIN);
  io_uring_sqe_set_data64(sqe, id);
}

void Ring::poll_changes(int fd, std::uint64_t id) {
  io_uring_sqe* const sqe = impl_->request();
  io_uring_prep_poll_multishot(sqe, fd, POLLIN);
  io_uring_sqe_set_data64(sqe, id);
}

void Ring::cancel(std::uint64_t id) {
  io_uring_sqe* const sqe = impl_->request();
  io_uring_prep_cancel64(sqe, id, 0);
  io_uring_sqe_set_data64(sqe, kOwn);
  // At once: a receive that was not told yet would find whoever has the descriptor's number by the next wait.
  (void)io_uring_submit(&impl_->ring);
}

void Ring::cancel_all() {
  io_uring_sqe* const sqe = impl_->request();
  io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY);
  io_uring_sqe_set_data64(sqe, kOwn);
}

int Ring::wait(bool block) {
  impl_->give_back();
  const int result = block ? io_uring_submit_and_wait(&impl_->ring, 1) : io_uring_submit_and_get_events(&impl_->ring);
  // EBUSY, ENOMEM: completions first; what was not told the kernel is told by the next call.
  if (result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY || result == -ENOMEM) return 0;
  return -result;
}

bool Ring::next(Completion& completion) {
  impl_->give_back();
  io_uring_cqe* cqes[2] = {nullptr, nullptr};
  while (true) {
    const unsigned count = io_uring_peek_batch_cqe(&impl_->ring, cqes, 2);
    if (count == 0) return false;
    const io_uring_cqe& first = *cqes[0];
    completion.id = first.user_data;
    completion.result = first.res;
    completion.last = (first.flags & IORING_CQE_F_MORE) == 0;
    completion.followed = count == 2 && cqes[1]->user_data == first.user_data;
    completion.bytes = {};
    if (completion.last) --impl_->in_flight;
    if (completion.result == -ENOBUFS) impl_->offer_more();
    if ((first.flags & IORING_CQE_F_BUFFER) != 0) {
      impl_->held = static_cast<int>(first.flags >> IORING_CQE_BUFFER_SHIFT);
      const auto size = static_cast<std::size_t>(first.res > 0 ? first.res : 0);
      completion.bytes = {impl_->buffer(static_cast<std::size_t>(impl_->held)), size};
    }
    io_uring_cqe_seen(&impl_->ring, cqes[0]);
    if (completion.id != kOwn) return true;
  }
}

std::size_t Ring::in_flight() const { return impl_->in_flight; }

}  // namespace tidelock
