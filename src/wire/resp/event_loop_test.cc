// What a loop promises, with epoll and with io_uring; what io_uring alone can get wrong; and a kernel that refuses it.
#include "wire/resp/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/failing_call_fixture.h"
#include "wire/resp/server_fixture.h"
#include "wire/resp/socket.h"

namespace tidelock {
namespace {

// Two ends of a connection; ours never waits.
struct Pair {
  int ours = -1, theirs = -1;
  Pair() {
    int ends[2];
    TIDELOCK_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    ours = ends[0];
    theirs = ends[1];
    TIDELOCK_ASSERT(::fcntl(ours, F_SETFL, O_NONBLOCK) == 0);
  }
  ~Pair() {
    close_theirs();
    if (ours >= 0) ::close(ours);
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  void close_theirs() {
    if (theirs >= 0) ::close(std::exchange(theirs, -1));
  }
  void say(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t sent = ::send(theirs, text.data(), text.size(), MSG_NOSIGNAL);
      ASSERT_GT(sent, 0);
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
};

std::string pattern(std::size_t bytes, std::size_t seed) {
  std::string text(bytes, 0);
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>('a' + (i * 7 + i / 251 + seed) % 26);
  return text;
}

// What is told of one socket.
struct Heard {
  std::string text;
  std::uint32_t events = 0;
  int arrivals = 0, ends = 0, error = 0;
  bool more = false;
  EventLoop::Watch watch = 0;

  void take(const EventLoop::Arrival& arrival) {
    text += arrival.bytes;
    events |= arrival.events;
    ends += arrival.end ? 1 : 0;
    if (arrival.error != 0) error = arrival.error;
    more = arrival.more;
    ++arrivals;
  }
};

class Loop : public testing::TestWithParam<LoopBackEnd> {
 protected:
  void SetUp() override {
    loop_ = std::move(*EventLoop::create(clock_, GetParam()));
    if (loop_->back_end() != GetParam()) GTEST_SKIP() << "NOT TESTED: " << loop_->refusal();
  }
  void TearDown() override { stop(); }
  void start() {
    thread_ = std::thread([this] { loop_->run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    loop_->stop();
    thread_.join();
  }
  template <class Task>
  void on_loop(Task task) {
    std::promise<void> done;
    loop_->post([&] {
      task();
      done.set_value();
    });
    done.get_future().get();
  }
  // In the loop's thread, again and again, until it holds.
  template <class Condition>
  void until(Condition condition) {
    const Nanos deadline = clock_.now() + kPatience;
    for (bool holds = false; !holds;) {
      ASSERT_LT(clock_.now(), deadline) << "it did not come about";
      on_loop([&] { holds = condition(); });
    }
  }

  // They outlive the run of the loop, however a test ends.
  Pair& pair() { return pairs_.emplace_back(); }
  Heard& heard() { return heard_.emplace_back(); }

  const ElapsedClock clock_;
  std::unique_ptr<EventLoop> loop_;
  std::thread thread_;

 private:
  std::deque<Pair> pairs_;
  std::deque<Heard> heard_;
};

TEST_P(Loop, TasksWakersAndWatches) {
  MovedClock clock;
  auto loop = std::move(*EventLoop::create(clock, GetParam()));
  std::vector<std::string> seen;
  EventLoop::Waker first = 0;
  first = loop->add_waker([&](Nanos now) {
    seen.push_back("rang");
    EXPECT_EQ(now, clock.now());
    loop->soon([&] { seen.push_back("soon"); });
    loop->soon([&] { loop->stop(); });
  });
  const EventLoop::Waker removed = loop->add_waker([&](Nanos) { seen.push_back("removed"); });
  loop->wake_at(first, clock.now() + kSecond);
  loop->wake_at(removed, clock.now() + kSecond);
  loop->remove_waker(removed);
  std::thread outside([&] {
    for (int i = 0; i < 1000; ++i) {
      loop->post([&seen, i] {
        if (i == 999) seen.push_back("posted");
      });
    }
    loop->post([&] { clock.advance(2 * kSecond); });
  });
  loop->run();
  outside.join();
  EXPECT_EQ(seen, (std::vector<std::string>{"posted", "rang", "soon"}));
  EXPECT_FALSE(loop->in_loop_thread());
}

TEST_P(Loop, ATimerOfTheRealClockWakesIt) {
  const ElapsedClock clock;
  auto loop = std::move(*EventLoop::create(clock, GetParam()));
  const Nanos due = clock.now() + 2 * kMillisecond;
  Nanos rang = 0;
  const auto waker = loop->add_waker([&](Nanos now) {
    rang = now;
    loop->stop();
  });
  loop->wake_at(waker, due);
  loop->run();
  EXPECT_GE(rang, due);
}

TEST_P(Loop, BytesComeInOrderAndThenTheEnd) {
  Pair& ends = pair();
  Heard& told = heard();
  int turn = 0, turn_of_more = 0;
  told.watch = *loop_->receive(ends.ours, EPOLLIN, [&](const EventLoop::Arrival& arrival) {
    EXPECT_TRUE(!told.more || turn == turn_of_more) << "more was promised for the same turn";
    told.take(arrival);
    if (arrival.more) turn_of_more = turn;
    loop_->soon([&] { ++turn; });
    if (arrival.end) loop_->change(told.watch, 0);
  });
  const std::string text = pattern(3u << 20, 1);
  start();
  ends.say(text);
  ::shutdown(ends.theirs, SHUT_WR);
  until([&] { return told.ends > 0; });
  on_loop([&] {
    EXPECT_TRUE(told.text == text) << told.text.size() << " bytes";
    EXPECT_EQ(told.ends, 1);
    EXPECT_EQ(told.error, 0);
    EXPECT_FALSE(told.more);
  });
}

TEST_P(Loop, WhileBytesAreOffTheyStayWithTheSender) {
  Pair& ends = pair();
  Heard& told = heard();
  told.watch = *loop_->receive(ends.ours, EPOLLIN, [&](const EventLoop::Arrival& arrival) { told.take(arrival); });
  start();
  ends.say("first");
  until([&] { return told.text == "first"; });
  on_loop([&] { loop_->change(told.watch, 0); });
  on_loop([] {});  // one turn later it is off
  const std::string piece = pattern(1000, 2);
  std::string sent;
  while (::send(ends.theirs, piece.data(), piece.size(), MSG_NOSIGNAL | MSG_DONTWAIT) == 1000) sent += piece;
  EXPECT_EQ(errno, EAGAIN) << "the socket is full";
  on_loop([&] { EXPECT_EQ(told.text, "first"); });
  on_loop([&] { loop_->change(told.watch, EPOLLIN); });
  until([&] { return told.text.size() == 5 + sent.size(); });
  on_loop([&] { EXPECT_TRUE(told.text == "first" + sent); });
  for (int i = 0; i < 100; ++i) {  // on and off as fast as it goes
    on_loop([&] {
      loop_->change(told.watch, 0);
      if (i % 2 == 0) loop_->change(told.watch, EPOLLIN | EPOLLOUT);
    });
    on_loop([&] { loop_->change(told.watch, EPOLLIN); });
    ends.say(std::to_string(i % 10));
  }
  until([&] { return told.text.size() == 5 + sent.size() + 100; });
  on_loop([&] { EXPECT_EQ(told.text.substr(told.text.size() - 12), "890123456789"); });
}

TEST_P(Loop, TellsWhenThereIsRoomForAnswers) {
  Pair& ends = pair();
  Heard& told = heard();
  told.watch = *loop_->receive(ends.ours, EPOLLIN, [&](const EventLoop::Arrival& arrival) {
    told.take(arrival);
    if (arrival.events != 0) loop_->change(told.watch, EPOLLIN);
  });
  start();
  for (const std::uint32_t beside : {std::uint32_t{EPOLLIN}, std::uint32_t{0}}) {
    const std::string piece(4096, 'x');
    std::size_t unread = 0;
    for (ssize_t sent; (sent = ::send(ends.ours, piece.data(), piece.size(), MSG_DONTWAIT)) > 0;)
      unread += static_cast<std::size_t>(sent);
    on_loop([&] {
      told.events = 0;
      loop_->change(told.watch, beside | EPOLLOUT);
    });
    on_loop([&] { EXPECT_EQ(told.events, 0U) << "there is none"; });
    std::string sink(unread, 0);
    EXPECT_EQ(::recv(ends.theirs, sink.data(), sink.size(), MSG_WAITALL), static_cast<ssize_t>(unread));
    until([&] { return told.events == EPOLLOUT; });
  }
  ends.say("on again");
  until([&] { return told.text == "on again"; });
}

TEST_P(Loop, HangUpIsToldWhileBytesAreOff) {
  Pair& ends = pair();
  Heard& told = heard();
  told.watch = *loop_->receive(ends.ours, EPOLLIN, [&](const EventLoop::Arrival& arrival) {
    told.take(arrival);
    if ((arrival.events & EPOLLHUP) != 0) loop_->unwatch(told.watch);
  });
  start();
  on_loop([&] { loop_->change(told.watch, 0); });
  on_loop([] {});
  ends.close_theirs();
  until([&] { return (told.events & EPOLLHUP) != 0; });
  on_loop([&] { EXPECT_EQ(told.ends, 0); });
}

TEST_P(Loop, APeerThatIsKilledIsAnError) {
  int port = 0;
  const int listener = *listen_tcp_socket("127.0.0.1", 0, &port);
  const int theirs = *connect_socket("127.0.0.1:" + std::to_string(port), kPatience);
  int ours = -1;
  while ((ours = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)) < 0) ASSERT_EQ(errno, EAGAIN);
  Heard& told = heard();
  told.watch = *loop_->receive(ours, EPOLLIN, [&](const EventLoop::Arrival& arrival) {
    told.take(arrival);
    if (arrival.error != 0) loop_->unwatch(told.watch);
  });
  start();
  const linger at_once{1, 0};
  ::setsockopt(theirs, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(theirs);  // a reset
  until([&] { return told.error != 0; });
  on_loop([&] { EXPECT_EQ(told.error, ECONNRESET); });
  stop();
  ::close(ours);
  ::close(listener);
}

TEST_P(Loop, UnwatchLetsGoOfTheSocket) {
  Pair& ends = pair();
  Heard& told = heard();
  told.watch = *loop_->receive(ends.ours, EPOLLIN, [&](const EventLoop::Arrival& arrival) {
    told.take(arrival);
    loop_->unwatch(told.watch);
    ::close(std::exchange(ends.ours, -1));
  });
  start();
  ends.say("go");
  char byte = 0;
  EXPECT_EQ(::recv(ends.theirs, &byte, 1, 0), 0) << "closed by us, while the loop waits for others";
  on_loop([&] { EXPECT_EQ(told.text, "go"); });
}

TEST_P(Loop, ManyAtOnceShareTheBuffers) {
  constexpr std::size_t kPeers = 300, kBytes = 20'000;  // far more than io_uring has room for at a time
  std::vector<Heard*> told;
  for (std::size_t i = 0; i < kPeers; ++i) {
    Pair& ends = pair();
    Heard& one = *told.emplace_back(&heard());
    one.watch = *loop_->receive(ends.ours, EPOLLIN, [&one](const EventLoop::Arrival& arrival) { one.take(arrival); });
    ends.say(pattern(kBytes, i));  // before the loop looks
  }
  start();
  until([&] {
    std::size_t whole = 0;
    for (const Heard* one : told) whole += one->text.size() == kBytes ? 1 : 0;
    return whole == kPeers;
  });
  on_loop([&] {
    for (std::size_t i = 0; i < kPeers; ++i) {
      EXPECT_TRUE(told[i]->text == pattern(kBytes, i)) << i;
      EXPECT_EQ(told[i]->error, 0) << i;
      EXPECT_FALSE(told[i]->more) << i;
    }
  });
}

TEST_P(Loop, RunsAgainInAnotherThread) {
  Pair& ends = pair();
  Heard& told = heard();
  told.watch = *loop_->receive(ends.ours, EPOLLIN, [&](const EventLoop::Arrival& arrival) { told.take(arrival); });
  const EventLoop::Watch gone = *loop_->receive(ends.theirs, EPOLLIN, [](const EventLoop::Arrival&) { FAIL(); });
  loop_->unwatch(gone);
  start();
  ends.say("one,");
  until([&] { return told.text == "one,"; });
  stop();
  ends.say("two,");
  start();
  until([&] { return told.text == "one,two,"; });
  ends.say("three");  // told now or by the next run, but told
  stop();
  start();
  until([&] { return told.text == "one,two,three"; });
}

INSTANTIATE_TEST_SUITE_P(With, Loop, testing::Values(LoopBackEnd::kEpoll, LoopBackEnd::kIoUring),
                         [](const auto& one) { return std::string(back_end_name(one.param)); });

// What containers and old kernels do. Each is a call that fails on this thread alone.
struct Refusal {
  const char* why;
  FailingCall call;
  std::string says;
};
const Refusal kRefusals[] = {
    {"forbidden", {SYS_io_uring_setup, EPERM}, "io_uring: setup: Operation not permitted"},
    {"unknown", {SYS_io_uring_setup, ENOSYS}, "io_uring: setup: Function not implemented"},
    {"no buffer rings", {SYS_io_uring_register, EINVAL}, "io_uring: buffer ring: Invalid argument"},
    {"made, but not used", {SYS_io_uring_enter, EPERM}, "io_uring: multishot receive: Operation not permitted"},
};

// Echoes one word.
void echo_on(EventLoop& loop) {
  const Pair pair;
  pair.say("word");
  std::string text;
  const auto watch = loop.receive(pair.ours, EPOLLIN, [&](const EventLoop::Arrival& arrival) {
    text += arrival.bytes;
    loop.stop();
  });
  ASSERT_TRUE(watch);
  loop.run();
  loop.unwatch(*watch);
  EXPECT_EQ(text, "word");
}

TEST(LoopWithoutIoUring, RunsOnEpollAndSaysWhy) {
  const ElapsedClock clock;
  for (const Refusal& refusal : kRefusals) {
    for (const LoopBackEnd wanted : {LoopBackEnd::kIoUring, LoopBackEnd::kEpoll}) {
      const auto work = [&] {
        const auto loop = std::move(*EventLoop::create(clock, wanted));
        EXPECT_EQ(loop->back_end(), LoopBackEnd::kEpoll) << refusal.why;
        EXPECT_EQ(loop->refusal(), wanted == LoopBackEnd::kEpoll ? "" : refusal.says) << refusal.why;
        echo_on(*loop);
      };
      if (!with_failing_call(refusal.call, work)) GTEST_SKIP() << "NOT TESTED: this kernel has no seccomp filters";
    }
  }
}

TEST(LoopWithoutIoUring, IsFoundOutLate) {  // it was allowed when the loop was made
  const ElapsedClock clock;
  const auto loop = std::move(*EventLoop::create(clock, LoopBackEnd::kIoUring));
  if (loop->back_end() != LoopBackEnd::kIoUring) GTEST_SKIP() << "NOT TESTED: " << loop->refusal();
  const auto work = [&] { echo_on(*loop); };
  if (!with_failing_call({SYS_io_uring_setup, ENOMEM}, work)) {
    GTEST_SKIP() << "NOT TESTED: this kernel has no seccomp filters";
  }
  EXPECT_EQ(loop->back_end(), LoopBackEnd::kEpoll);
  EXPECT_EQ(loop->refusal(), "io_uring: setup: Cannot allocate memory");
}

}  // namespace
}  // namespace tidelock
