// What a pipeline costs the port, and when its answers may leave.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "wire/resp/heap_count.h"
#include "wire/resp/server_fixture.h"

namespace tidelock {
namespace {

using Commands = std::vector<std::vector<std::string>>;

TEST(HotPath, APipelineOfHitsTakesNothingFromTheHeap) {
  RunningServer server;
  RespClient client = server.connect();
  const std::string value(2048, 'v');
  Commands commands;
  for (int i = 0; i < 8; ++i) {
    commands.push_back({"SET", "key:" + std::to_string(i), value});
    commands.push_back({"GET", "key:" + std::to_string(i)});
  }
  const auto round = [&] { return client.pipeline(commands, kPatience); };
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(round());  // buffers and histograms find their size
  const auto before = server.on_loop([] { return heap_allocations(); });
  const int rounds = 100;
  for (int i = 0; i < rounds; ++i) {
    const auto replies = round();
    ASSERT_TRUE(replies);
    ASSERT_EQ(to_text(replies->back()), "\"" + value + "\"");
  }
  EXPECT_EQ(server.on_loop([] { return heap_allocations(); }), before);
}

// Answers OK to everything, and stands by it or not.
class Promises : public CommandHandler {
 public:
  bool stands = true;
  int settled = 0;
  std::vector<int> commands_settled;  // at once

  void handle(ConnectionContext&, const std::vector<std::string_view>&, RespReply& reply) override {
    ++open_;
    reply.ok();
  }
  bool settle() override {
    if (open_ > 0) commands_settled.push_back(std::exchange(open_, 0));
    return stands;
  }

 private:
  int open_ = 0;
};

class Settling : public testing::Test {
 protected:
  Settling() : loop_(*EventLoop::create(clock_, back_end_under_test())), server_(*loop_, promises_, {}) {
    port_ = server_.listen_tcp("127.0.0.1", 0).value();
    thread_ = std::thread([this] { loop_->run(); });
  }
  ~Settling() override {
    if (thread_.joinable()) stop();
  }
  void stop() {
    loop_->stop();
    thread_.join();
  }
  RespClient connect() {
    RespClientOptions options;
    options.address = "127.0.0.1:" + std::to_string(port_);
    return std::move(*RespClient::connect(options));
  }

  ElapsedClock clock_;
  std::unique_ptr<EventLoop> loop_;
  Promises promises_;
  RespServer server_;
  int port_ = 0;
  std::thread thread_;
};

TEST_F(Settling, IsAskedOnceForWhatArrivedTogether) {
  RespClient client = connect();
  const std::string request = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
  ASSERT_TRUE(client.send_raw(request + request + request, kPatience));
  for (int i = 0; i < 3; ++i) ASSERT_EQ(to_text(client.receive(kPatience).value()), "OK");
  stop();
  EXPECT_EQ(promises_.commands_settled, std::vector<int>{3});
}

TEST_F(Settling, IsAskedOnceForAPipelineOfSeveralBuffers) {
  stop();  // so that all of it is there when the loop looks
  RespClient client = connect();
  const std::string request = "*2\r\n$3\r\nGET\r\n$1000\r\n" + std::string(1000, 'k') + "\r\n";
  constexpr int kRequests = 30;  // 30 KB: one recv of 64 KiB, two buffers of io_uring
  std::string all;
  for (int i = 0; i < kRequests; ++i) all += request;
  ASSERT_TRUE(client.send_raw(all, kPatience));
  thread_ = std::thread([this] { loop_->run(); });
  for (int i = 0; i < kRequests; ++i) ASSERT_EQ(to_text(client.receive(kPatience).value()), "OK");
  stop();
  EXPECT_EQ(promises_.commands_settled, std::vector<int>{kRequests});
}

TEST_F(Settling, AnAnswerThatIsNotStoodByIsNeverSent) {
  promises_.stands = false;
  RespClient client = connect();
  const auto answer = client.call({"SET", "k", "v"}, kPatience);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kMaybeApplied) << answer.error().message;
}

}  // namespace
}  // namespace tidelock
