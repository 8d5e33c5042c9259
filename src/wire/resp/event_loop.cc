// A turn: wait; deliver events; run posted tasks; ring due wakers; run `soon` tasks until there are none. Callbacks may
// add and remove watches and wakers, their own included: both are found by a number that is never reused, and a
// callback under way is kept alive by a shared_ptr.
//
// With io_uring: the ring lives as long as run() does, in its thread, and ends with nothing in flight; so whatever else
// may be done to the loop is done without it. It waits for the eventfd, for the epoll descriptor, and for the bytes of
// every socket that is received from. Those stand in epoll too, for what is no bytes: EPOLLOUT, and EPOLLHUP while they
// are not received from. EPOLLONESHOT with no event keeps a socket known there and mute, so that change() adds nothing,
// and cannot fail.
//
// The eventfd is edge-triggered and never read: each write of it is a new edge.
#include "wire/resp/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "wire/resp/ring.h"

namespace tidelock {
namespace {

// What epoll and the ring say of whom.
constexpr std::uint64_t kWakeUp = 0;  // the eventfd
constexpr std::uint64_t kTimer = 1;
constexpr std::uint64_t kEpoll = 2;
constexpr std::uint64_t kFirstWatch = 3;
constexpr std::size_t kReceiveBytes = 64u << 10;

std::string system_error(const char* what) { return std::string(what) + ": " + std::strerror(errno); }

}  // namespace

struct EventLoop::Impl {
  explicit Impl(const Clock& c) : clock(c) {}

  struct Watched {
    int fd = -1;
    std::uint32_t events = 0;  // wanted by its owner
    std::function<void(std::uint32_t)> ready;
    std::function<void(const Arrival&)> arrived;  // of a socket that is received from; then `ready` is empty
    bool armed = false;                           // the ring receives from it
    bool cancelling = false;
  };
  struct Alarm {
    std::function<void(Nanos)> ring;
    Nanos at = kForever;
  };

  const Clock& clock;
  int epoll_fd = -1, event_fd = -1, timer_fd = -1;
  std::atomic<LoopBackEnd> back_end{LoopBackEnd::kEpoll};
  std::string refusal;

  // The loop's thread only.
  std::unique_ptr<Ring> ring;  // while run() runs on io_uring
  bool ending = false;         // of the ring: nothing is asked any more
  std::array<epoll_event, 256> events;
  std::unique_ptr<char[]> receive_buffer;  // without a ring
  std::unordered_map<std::uint64_t, std::shared_ptr<Watched>> watches;
  std::unordered_map<std::uint64_t, std::shared_ptr<Alarm>> alarms;
  std::uint64_t next_watch = kFirstWatch, next_alarm = 1;
  Nanos earliest = kForever;  // no alarm is set to an earlier instant
  Nanos armed_at = kForever;
  std::vector<std::function<void()>> soon, running;

  // Any thread.
  std::atomic<bool> stopping{false};
  std::atomic<std::thread::id> thread{};
  std::mutex mutex;
  std::vector<std::function<void()>> posted;  // guarded by mutex
  std::atomic<bool> signalled{false};         // set under the mutex: the eventfd was written to for what is posted

  void signal() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(event_fd, &one, sizeof one);  // 2^64 never come
  }

  // False: there was nothing.
  bool take_posted() {
    if (!signalled.load(std::memory_order_acquire)) return false;
    {
      const std::lock_guard lock(mutex);
      signalled.store(false, std::memory_order_relaxed);
      running.swap(posted);
    }
    for (auto& task : running) task();
    running.clear();
    return true;
  }

  void ring_due() {
    // One pass over what was due at its start: a waker set again by its own ring waits for the next turn.
    if (earliest == kForever || earliest > clock.now()) return;
    const Nanos now = clock.now();
    std::vector<std::pair<std::uint64_t, std::shared_ptr<Alarm>>> due;
    for (const auto& [id, alarm] : alarms) {
      if (alarm->at <= now) due.emplace_back(id, alarm);
    }
    std::sort(due.begin(), due.end(), [](const auto& a, const auto& b) {
      return a.second->at != b.second->at ? a.second->at < b.second->at : a.first < b.first;
    });
    for (auto& [id, alarm] : due) {
      if (!alarms.contains(id) || alarm->at > now) continue;  // removed or moved by a ring before it
      alarm->at = kForever;
      alarm->ring(clock.now());  // C6
    }
    earliest = kForever;
    for (const auto& [id, alarm] : alarms) earliest = std::min(earliest, alarm->at);
  }

  void run_soon() {
    while (!soon.empty()) {
      std::vector<std::function<void()>> tasks;
      tasks.swap(soon);
      for (auto& task : tasks) task();
    }
  }

  void arm_timer() {
    // An alarm that was put off leaves the timer as it is: it rings for nothing, once, and is armed anew then. Most are
    // put off at every turn, and each arming is a system call.
    if (earliest >= armed_at) return;
    armed_at = earliest;
    itimerspec spec{};
    const Nanos left = std::max<Nanos>(1, saturating_sub(earliest, clock.now()));
    spec.it_value.tv_sec = left / kSecond;
    spec.it_value.tv_nsec = left % kSecond;
    ::timerfd_settime(timer_fd, 0, &spec, nullptr);
  }

  // ---- descriptors

  void modify(int fd, std::uint64_t id, std::uint32_t wanted) const {
    epoll_event event{};
    event.events = wanted;
    event.data.u64 = id;
    TIDELOCK_ASSERT(::epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0);
  }

  // What epoll is asked of a watch.
  std::uint32_t of_epoll(const Watched& w) const {
    if (ring == nullptr || !w.arrived || (w.events & EPOLLIN) == 0) return w.events;
    return (w.events & EPOLLOUT) != 0 ? EPOLLOUT : EPOLLONESHOT;
  }

  void arm(std::uint64_t id, Watched& w) {
    if (ring == nullptr || !w.arrived || ending) return;
    const bool wanted = (w.events & EPOLLIN) != 0;
    if (wanted && !w.armed) {
      ring->receive(w.fd, id);
      w.armed = true;
    } else if (!wanted && w.armed && !w.cancelling) {
      ring->cancel(id);
      w.cancelling = true;
    }
  }

  // Of a socket that is received from without a ring.
  void fetch(Watched& w, std::uint32_t told) {
    Arrival arrival;
    arrival.events = told;
    if ((w.events & EPOLLIN) != 0 && (told & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
      if (receive_buffer == nullptr) receive_buffer = std::make_unique_for_overwrite<char[]>(kReceiveBytes);
      const ssize_t got = ::recv(w.fd, receive_buffer.get(), kReceiveBytes, 0);
      if (got > 0) arrival.bytes = {receive_buffer.get(), static_cast<std::size_t>(got)};
      arrival.end = got == 0;
      if (got < 0 && errno != EAGAIN && errno != EINTR) arrival.error = errno;
    }
    w.arrived(arrival);
  }

  // True: the clock is to be looked at.
  bool take_events(int count) {
    bool look = false;
    for (int i = 0; i < count; ++i) {
      const std::uint32_t told = events[static_cast<std::size_t>(i)].events;
      const std::uint64_t id = events[static_cast<std::size_t>(i)].data.u64;
      if (id == kTimer) {
        std::uint64_t expirations = 0;
        [[maybe_unused]] const auto got = ::read(timer_fd, &expirations, sizeof expirations);
        armed_at = kForever;  // a clock of another rate than the kernel's may not be there yet: then armed anew
        look = true;
      } else if (id >= kFirstWatch) {
        const auto found = watches.find(id);
        if (found == watches.end()) continue;  // unwatched earlier in this turn
        const std::shared_ptr<Watched> watched = found->second;
        if (!watched->arrived) {
          watched->ready(told);
        } else if (ring == nullptr) {
          fetch(*watched, told);
        } else if ((watched->events & EPOLLIN) == 0 || (told & EPOLLOUT) != 0) {
          // While the ring receives, what it says is all there is to know of hang-ups.
          const bool receiving = (watched->events & EPOLLIN) != 0;
          Arrival arrival;
          arrival.events = receiving ? std::uint32_t{EPOLLOUT} : told;
          watched->arrived(arrival);
        }
      }
    }
    return look;
  }

  // ---- io_uring

  void begin_ring() {
    if (back_end != LoopBackEnd::kIoUring) return;
    auto made = Ring::create();
    if (!made) {  // allowed when the loop was made: descriptors or memory ran out since
      refusal = made.error().message;
      back_end = LoopBackEnd::kEpoll;
      return;
    }
    ring = std::move(*made);
    modify(event_fd, kWakeUp, EPOLLET);  // the ring waits for it
    ring->poll_changes(event_fd, kWakeUp);
    ring->poll_once(epoll_fd, kEpoll);
    for (const auto& [id, watched] : watches) {
      if (!watched->arrived) continue;
      modify(watched->fd, id, of_epoll(*watched));
      arm(id, *watched);
    }
  }

  void end_ring() {
    if (ring == nullptr) return;
    ending = true;
    ring->cancel_all();
    while (ring->in_flight() > 0) {
      TIDELOCK_ASSERT(ring->wait(true) == 0);
      (void)take_completions();
    }
    ring.reset();
    ending = false;
    modify(event_fd, kWakeUp, EPOLLIN | EPOLLET);
    for (const auto& [id, watched] : watches) {
      if (watched->arrived) modify(watched->fd, id, of_epoll(*watched));
    }
  }

  bool take_completions() {
    bool look = false, epoll_again = false;
    for (Ring::Completion told; ring->next(told);) {
      if (told.id == kWakeUp) {
        if (told.last && !ending) ring->poll_changes(event_fd, kWakeUp);
      } else if (told.id == kEpoll) {
        epoll_again = true;
      } else {
        take_completion(told);
      }
    }
    if (epoll_again && !ending) {
      const int count = ::epoll_wait(epoll_fd, events.data(), static_cast<int>(events.size()), 0);
      TIDELOCK_ASSERT(count >= 0 || errno == EINTR);
      look = take_events(count);
      ring->poll_once(epoll_fd, kEpoll);  // at once if there is more
    }
    return look;
  }

  void take_completion(const Ring::Completion& told) {
    const auto found = watches.find(told.id);
    if (found == watches.end()) return;
    const std::shared_ptr<Watched> watched = found->second;
    if (told.last) watched->armed = watched->cancelling = false;
    Arrival arrival;
    arrival.bytes = told.bytes;
    arrival.end = told.result == 0;
    arrival.more = told.followed;
    // Cancelled, or no buffer was free: nothing that its owner has to know.
    if (told.result < 0 && told.result != -ECANCELED && told.result != -ENOBUFS && told.result != -EINTR &&
        told.result != -EAGAIN) {
      arrival.error = -told.result;
    }
    watched->arrived(arrival);
    if (told.last && watches.contains(told.id)) arm(told.id, *watched);
  }

  bool wait(bool block) {
    if (ring != nullptr) {
      TIDELOCK_ASSERT(ring->wait(block) == 0);
      return take_completions();
    }
    const int count = ::epoll_wait(epoll_fd, events.data(), static_cast<int>(events.size()), block ? -1 : 0);
    TIDELOCK_ASSERT(count >= 0 || errno == EINTR);
    return take_events(count);
  }

  Result<Watch> add(int fd, std::shared_ptr<Watched> watched) {
    const Watch id = next_watch++;
    epoll_event event{};
    event.events = of_epoll(*watched);
    event.data.u64 = id;
    if (::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
      return fail(Code::kUnavailable, system_error("epoll_ctl"));
    }
    arm(id, *watched);
    watches.emplace(id, std::move(watched));
    return id;
  }
};

std::string_view back_end_name(LoopBackEnd back_end) {
  constexpr std::string_view kNames[] = {"auto", "epoll", "io_uring"};
  return kNames[static_cast<std::size_t>(back_end)];
}

EventLoop::EventLoop(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<EventLoop>> EventLoop::create(const Clock& clock, LoopBackEnd back_end) {
  auto impl = std::make_unique<Impl>(clock);
  Impl& raw = *impl;
  std::unique_ptr<EventLoop> loop(new EventLoop(std::move(impl)));
  raw.epoll_fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (raw.epoll_fd < 0) return fail(Code::kUnavailable, system_error("epoll_create1"));
  raw.event_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (raw.event_fd < 0) return fail(Code::kUnavailable, system_error("eventfd"));
  raw.timer_fd =
      ::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);  // BOOTTIME: runs on in suspend, as H does
  if (raw.timer_fd < 0) return fail(Code::kUnavailable, system_error("timerfd_create"));
  for (const auto& [fd, data] : {std::pair{raw.event_fd, kWakeUp}, std::pair{raw.timer_fd, kTimer}}) {
    epoll_event event{};
    event.events = data == kWakeUp ? EPOLLIN | EPOLLET : EPOLLIN;
    event.data.u64 = data;
    if (::epoll_ctl(raw.epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
      return fail(Code::kUnavailable, system_error("epoll_ctl"));
    }
  }
  if ((back_end == LoopBackEnd::kAuto ? kAutoBackEnd : back_end) == LoopBackEnd::kIoUring) {
    const auto probe = Ring::create();  // its own ring comes with run(), in that thread
    if (probe) {
      raw.back_end = LoopBackEnd::kIoUring;
    } else {
      raw.refusal = probe.error().message;
    }
  }
  return loop;
}

EventLoop::~EventLoop() {
  for (const int fd : {impl_->epoll_fd, impl_->event_fd, impl_->timer_fd}) {
    if (fd >= 0) ::close(fd);
  }
}

void EventLoop::run() {
  Impl& loop = *impl_;
  loop.thread = std::this_thread::get_id();
  loop.begin_ring();
  bool last = false;
  while (!last) {
    loop.run_soon();
    last = loop.stopping.exchange(false);  // a last turn without waiting runs what was posted before stop()
    loop.arm_timer();
    const bool look = loop.wait(!last);
    // At the clock: the timer knows the alarms, and who moves the clock by hand posts a task.
    if (loop.take_posted() || look || last) loop.ring_due();
  }
  loop.end_ring();
  loop.run_soon();
  loop.thread = std::thread::id();
}

void EventLoop::stop() {
  impl_->stopping = true;
  post([] {});
}

void EventLoop::post(std::function<void()> task) {
  const std::lock_guard lock(impl_->mutex);
  impl_->posted.push_back(std::move(task));
  if (!impl_->signalled.exchange(true, std::memory_order_release)) impl_->signal();
}

void EventLoop::soon(std::function<void()> task) { impl_->soon.push_back(std::move(task)); }

EventLoop::Waker EventLoop::add_waker(std::function<void(Nanos now)> ring) {
  const Waker id = impl_->next_alarm++;
  auto alarm = std::make_shared<Impl::Alarm>();
  alarm->ring = std::move(ring);
  impl_->alarms.emplace(id, std::move(alarm));
  return id;
}

void EventLoop::wake_at(Waker waker, Nanos instant) {
  const auto found = impl_->alarms.find(waker);
  TIDELOCK_ASSERT(found != impl_->alarms.end());
  found->second->at = instant;
  impl_->earliest = std::min(impl_->earliest, instant);
}

void EventLoop::remove_waker(Waker waker) { impl_->alarms.erase(waker); }

Result<EventLoop::Watch> EventLoop::watch(int fd, std::uint32_t events, std::function<void(std::uint32_t)> ready) {
  auto watched = std::make_shared<Impl::Watched>();
  watched->fd = fd;
  watched->events = events;
  watched->ready = std::move(ready);
  return impl_->add(fd, std::move(watched));
}

Result<EventLoop::Watch> EventLoop::receive(int fd, std::uint32_t events, std::function<void(const Arrival&)> arrived) {
  auto watched = std::make_shared<Impl::Watched>();
  watched->fd = fd;
  watched->events = events;
  watched->arrived = std::move(arrived);
  return impl_->add(fd, std::move(watched));
}

void EventLoop::change(Watch watch, std::uint32_t events) {
  const auto found = impl_->watches.find(watch);
  TIDELOCK_ASSERT(found != impl_->watches.end());
  Impl::Watched& watched = *found->second;
  watched.events = events;
  impl_->modify(watched.fd, watch, impl_->of_epoll(watched));
  impl_->arm(watch, watched);
}

void EventLoop::unwatch(Watch watch) {
  const auto found = impl_->watches.find(watch);
  if (found == impl_->watches.end()) return;
  ::epoll_ctl(impl_->epoll_fd, EPOLL_CTL_DEL, found->second->fd, nullptr);
  found->second->events = 0;
  impl_->arm(watch, *found->second);
  impl_->watches.erase(found);
}

LoopBackEnd EventLoop::back_end() const { return impl_->back_end; }

const std::string& EventLoop::refusal() const { return impl_->refusal; }

const Clock& EventLoop::clock() const { return impl_->clock; }

bool EventLoop::in_loop_thread() const { return impl_->thread.load() == std::this_thread::get_id(); }

}  // namespace tidelock
