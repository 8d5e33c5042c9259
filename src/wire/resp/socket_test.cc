// What connecting, listening and watching say when they fail. Real sockets; where the kernel would not fail by itself,
// a filter lets it (base/failing_call_fixture.h).
#include "wire/resp/socket.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>
#include <string>
#include <thread>

#include "base/failing_call_fixture.h"
#include "wire/resp/server_fixture.h"

namespace tidelock {
namespace {

// A port of ours on which nobody listens, so that nobody else can either.
struct Deaf {
  int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  int port = 0;
  Deaf() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port = ntohs(address.sin_port);
  }
  ~Deaf() { ::close(fd); }
};

TEST(Sockets, WhatFailsNamesTheAddressAndTheCause) {
  const TemporaryFolder folder;
  const Deaf deaf;
  int port = 0;
  const std::string nobody = "127.0.0.1:" + std::to_string(deaf.port), lost = folder.path() + "/none/redis.sock";
  struct Case {
    const char* why;
    Result<int> result;
    std::string message;
  };
  const Case cases[] = {
      {"nobody listens", connect_socket(nobody, kPatience), "cannot connect to " + nobody + ": Connection refused"},
      {"no socket there", connect_socket("unix:" + lost, kPatience),
       "cannot connect to unix:" + lost + ": No such file or directory"},
      {"an address of another machine", listen_tcp_socket("192.0.2.1", 0, &port),  // of a network that is nobody's
       "cannot listen on 192.0.2.1:0: Cannot assign requested address"},
      {"no such folder", listen_unix_socket(lost),
       "cannot listen on unix socket '" + lost + "': No such file or directory"},
  };
  for (const Case& c : cases) {
    ASSERT_FALSE(c.result) << c.why;
    EXPECT_EQ(c.result.error().code, Code::kUnavailable) << c.why;
    EXPECT_EQ(c.result.error().message, c.message) << c.why;
  }
}

TEST(Sockets, AUnixSocketWhoseModeCannotBeSetIsNotServed) {  // X4: else whoever the umask lets in could connect
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/redis.sock";
  Result<int> refused = 0;
#ifdef SYS_chmod
  const FailingCall chmod{SYS_chmod, EPERM};
#else
  const FailingCall chmod{SYS_fchmodat, EPERM};
#endif
  if (!with_failing_call(chmod, [&] { refused = listen_unix_socket(path); })) {
    GTEST_SKIP() << "NOT TESTED: this kernel has no seccomp filters";
  }
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_EQ(refused.error().message, "cannot listen on unix socket '" + path + "': Operation not permitted");
  const auto again = listen_unix_socket(path);
  ASSERT_TRUE(again) << "what the refusal left behind stands in nobody's way: " << again.error().message;
  ::close(*again);
}

TEST(EventLoop, SaysThatTheKernelTakesNoMoreWatches) {
  const ElapsedClock clock;
  std::optional<Error> error;
  const auto create = [&] {
    const auto loop = EventLoop::create(clock);
    if (!loop) error = loop.error();
  };
  if (!with_failing_call({SYS_epoll_ctl, ENOSPC}, create)) {
    GTEST_SKIP() << "NOT TESTED: this kernel has no seccomp filters";
  }
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, Code::kUnavailable);
  EXPECT_EQ(error->message, "epoll_ctl: No space left on device");
}

TEST(EventLoop, RefusesToWatchWhatCannotBeWatched) {
  const TemporaryFolder folder;
  const ElapsedClock clock;
  const auto loop = std::move(*EventLoop::create(clock));
  std::FILE* file = std::fopen((folder.path() + "/plain").c_str(), "w");
  const auto refused = loop->watch(::fileno(file), EPOLLIN, [](std::uint32_t) {});
  std::fclose(file);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_EQ(refused.error().message, "epoll_ctl: Operation not permitted");
}

TEST(RespClient, AGreetingThatIsNotAnsweredWasNoCommand) {
  int port = 0;
  const int listener = listen_tcp_socket("127.0.0.1", 0, &port).value();
  std::thread server([&] {  // takes the greeting and hangs up
    pollfd caller{listener, POLLIN, 0};
    ASSERT_EQ(::poll(&caller, 1, static_cast<int>(kPatience / kMillisecond)), 1);
    const int fd = ::accept(listener, nullptr, nullptr);
    char buffer[64];
    EXPECT_GT(::recv(fd, buffer, sizeof buffer, 0), 0);
    ::close(fd);
  });
  const std::string address = "127.0.0.1:" + std::to_string(port);
  const auto refused = RespClient::connect({.address = address, .connect_timeout_ns = kPatience, .protocol = 3});
  server.join();
  ::close(listener);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable) << "nothing was changed, so it may be repeated";
  EXPECT_NE(refused.error().message.find("the server closed the connection"), std::string::npos)
      << refused.error().message;

  const auto unknown = RespClient::connect({.address = address, .protocol = 4});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::kInvalid);
  EXPECT_EQ(unknown.error().message, "protocol 4: must be 2 or 3");
}

}  // namespace
}  // namespace tidelock
