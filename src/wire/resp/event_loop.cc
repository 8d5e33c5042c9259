// A turn: wait; deliver events; run posted tasks; ring due wakers; run `soon` tasks until there are none. Callbacks may
// add and remove watches and wakers, their own included: both are found by a number that is never reused, and a
// callback under way is kept alive by a shared_ptr.
#include "wire/resp/event_loop.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
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

namespace tidelock {
namespace {

constexpr std::uint64_t kWakeUp = 0;  // epoll data of the eventfd
constexpr std::uint64_t kTimer = 1;
constexpr std::uint64_t kFirstWatch = 2;

std::string system_error(const char* what) { return std::string(what) + ": " + std::strerror(errno); }

}  // namespace

struct EventLoop::Impl {
  explicit Impl(const Clock& c) : clock(c) {}

  struct Watched {
    int fd = -1;
    std::function<void(std::uint32_t)> ready;
  };
  struct Alarm {
    std::function<void(Nanos)> ring;
    Nanos at = kForever;
  };

  const Clock& clock;
  int epoll_fd = -1, event_fd = -1, timer_fd = -1;

  // The loop's thread only.
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
  std::atomic<bool> signalled{false};         // set under the mutex: the eventfd holds a count that was not read yet

  void signal() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(event_fd, &one, sizeof one);  // full: then it is readable anyway
  }

  // False: there was nothing.
  bool take_posted() {
    if (!signalled.load(std::memory_order_acquire)) return false;
    {
      const std::lock_guard lock(mutex);
      std::uint64_t count = 0;
      [[maybe_unused]] const auto got = ::read(event_fd, &count, sizeof count);
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
};

EventLoop::EventLoop(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<EventLoop>> EventLoop::create(const Clock& clock) {
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
    event.events = EPOLLIN;
    event.data.u64 = data;
    if (::epoll_ctl(raw.epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
      return fail(Code::kUnavailable, system_error("epoll_ctl"));
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
  std::array<epoll_event, 256> events;
  bool last = false;
  while (!last) {
    loop.run_soon();
    last = loop.stopping.exchange(false);  // a last turn without waiting runs what was posted before stop()
    loop.arm_timer();
    const int count = ::epoll_wait(loop.epoll_fd, events.data(), static_cast<int>(events.size()), last ? 0 : -1);
    TIDELOCK_ASSERT(count >= 0 || errno == EINTR);
    bool look = last;  // at the clock: the timer knows the alarms, and who moves the clock by hand posts a task
    for (int i = 0; i < count; ++i) {
      const std::uint64_t data = events[static_cast<std::size_t>(i)].data.u64;
      if (data == kTimer) {
        std::uint64_t expirations = 0;
        [[maybe_unused]] const auto got = ::read(loop.timer_fd, &expirations, sizeof expirations);
        loop.armed_at = kForever;  // a clock of another rate than the kernel's may not be there yet: then armed anew
        look = true;
      } else if (data >= kFirstWatch) {
        const auto found = loop.watches.find(data);
        if (found == loop.watches.end()) continue;  // unwatched earlier in this turn
        const std::shared_ptr<Impl::Watched> watched = found->second;
        watched->ready(events[static_cast<std::size_t>(i)].events);
      }
    }
    if (loop.take_posted() || look) loop.ring_due();
  }
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
  const Watch id = impl_->next_watch++;
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  if (::epoll_ctl(impl_->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
    return fail(Code::kUnavailable, system_error("epoll_ctl"));
  }
  auto watched = std::make_shared<Impl::Watched>();
  watched->fd = fd;
  watched->ready = std::move(ready);
  impl_->watches.emplace(id, std::move(watched));
  return id;
}

void EventLoop::change(Watch watch, std::uint32_t events) {
  const auto found = impl_->watches.find(watch);
  TIDELOCK_ASSERT(found != impl_->watches.end());
  epoll_event event{};
  event.events = events;
  event.data.u64 = watch;
  TIDELOCK_ASSERT(::epoll_ctl(impl_->epoll_fd, EPOLL_CTL_MOD, found->second->fd, &event) == 0);
}

void EventLoop::unwatch(Watch watch) {
  const auto found = impl_->watches.find(watch);
  if (found == impl_->watches.end()) return;
  ::epoll_ctl(impl_->epoll_fd, EPOLL_CTL_DEL, found->second->fd, nullptr);
  impl_->watches.erase(found);
}

const Clock& EventLoop::clock() const { return impl_->clock; }

bool EventLoop::in_loop_thread() const { return impl_->thread.load() == std::this_thread::get_id(); }

}  // namespace tidelock
