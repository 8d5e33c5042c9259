// Queue and breaker over a link whose answers the test gives.
#include "store/remote/remote_store.h"

#include <gtest/gtest.h>

#include <map>

#include "store/remote/cache_server_fixture.h"

namespace tidelock {
namespace {

struct FakeServer {
  std::mutex mutex;
  std::map<std::string, Bytes> values;
  bool up = true, gate_open = true;
  int connects = 0;
  std::vector<std::size_t> batches;
  std::condition_variable changed;

  void set(bool FakeServer::* what, bool value) {
    const std::lock_guard lock(mutex);
    this->*what = value;
    changed.notify_all();
  }
};

class FakeLink : public CacheLink {
 public:
  explicit FakeLink(FakeServer& server) : server_(server) {}
  Result<std::optional<Bytes>> get(BytesView key, Nanos) override {
    const std::lock_guard lock(server_.mutex);
    if (!server_.up) return fail(Code::kUnavailable, "down");
    const auto it = server_.values.find(std::string(key));
    return it == server_.values.end() ? std::optional<Bytes>{} : std::optional<Bytes>(it->second);
  }
  Result<std::size_t> write(const std::vector<CacheWrite>& writes, Nanos) override {
    std::unique_lock lock(server_.mutex);
    server_.batches.push_back(writes.size());
    server_.changed.notify_all();
    server_.changed.wait(lock, [&] { return server_.gate_open; });
    if (!server_.up) return fail(Code::kUnavailable, "down");
    for (const CacheWrite& one : writes) {
      if (one.value)
        server_.values[one.key] = *one.value;
      else
        server_.values.erase(one.key);
    }
    return std::size_t{0};
  }

 private:
  FakeServer& server_;
};

class StepClock : public Clock {
 public:
  Nanos now() const override { return now_.load(); }
  std::atomic<Nanos> now_{0};
};

class RemoteStoreTest : public testing::Test {
 protected:
  std::unique_ptr<RemoteStore> open(RemoteOptions options = {}) {
    return std::make_unique<RemoteStore>(
        [this]() -> Result<std::unique_ptr<CacheLink>> {
          const std::lock_guard lock(server_.mutex);
          ++server_.connects;
          server_.changed.notify_all();
          if (!server_.up) return fail(Code::kUnavailable, "down");
          return std::unique_ptr<CacheLink>(new FakeLink(server_));
        },
        clock_, options,
        [this](const std::string& why) {
          const std::lock_guard lock(reports_mutex_);
          reports_.push_back(why);
        });
  }
  std::vector<std::string> reports() {
    const std::lock_guard lock(reports_mutex_);
    return reports_;
  }
  int connects() {
    const std::lock_guard lock(server_.mutex);
    return server_.connects;
  }
  std::size_t batches() {
    const std::lock_guard lock(server_.mutex);
    return server_.batches.size();
  }
  static std::string read(RemoteStore& store, const std::string& key) {
    Bytes value;
    switch (store.get(key, &value)) {
      case RemoteStore::Answer::kFound: return value;
      case RemoteStore::Answer::kAbsent: return "(none)";
      default: return "(unknown)";
    }
  }
  void wait_connected(RemoteStore& store) {
    ASSERT_TRUE(comes_true([&] { return store.counters().connected.load(); }));
  }

  FakeServer server_;
  StepClock clock_;
  std::mutex reports_mutex_;
  std::vector<std::string> reports_;
};

TEST_F(RemoteStoreTest, WhatWaitsIsRead) {
  server_.set(&FakeServer::gate_open, false);
  const auto store = open();
  wait_connected(*store);
  store->put("a", "1", kForever);
  ASSERT_TRUE(comes_true([&] { return batches() == 1; })) << "on its way";
  store->put("a", "2", kForever);
  store->put("b", "1", kForever);
  store->erase("b");
  EXPECT_EQ(read(*store, "a"), "2");
  EXPECT_EQ(read(*store, "b"), "(none)");
  EXPECT_EQ(read(*store, "c"), "(none)");
  EXPECT_FALSE(store->drain(0));
  server_.set(&FakeServer::gate_open, true);
  ASSERT_TRUE(store->drain(20 * kSecond));
  EXPECT_EQ(read(*store, "a"), "2");
  EXPECT_EQ(store->counters().written, 3u) << "a twice, b once: a write that was replaced while it waited is not sent";
}

TEST_F(RemoteStoreTest, AFullQueueDropsTheOldestAndCounts) {
  server_.set(&FakeServer::up, false);
  RemoteOptions options;
  options.queue_bytes_max = 4'000;
  options.close_wait_ns = 0;
  const auto store = open(options);
  for (int i = 0; i < 10; ++i) store->put("k" + std::to_string(i), Bytes(868, 'v'), kForever);  // 1,000 each
  EXPECT_EQ(store->counters().dropped, 6u);
  EXPECT_EQ(read(*store, "k5"), "(unknown)");
  for (int i = 6; i < 10; ++i) EXPECT_EQ(read(*store, "k" + std::to_string(i)), Bytes(868, 'v')) << i;
  store->put("k9", Bytes(5'000, 'x'), kForever);
  EXPECT_EQ(store->counters().dropped, 10u) << "too large for the queue: nothing of the key is left that is older";
  EXPECT_EQ(read(*store, "k9"), "(unknown)");
}

TEST_F(RemoteStoreTest, WaitsLongerWithEachFailureAndComesBackByItself) {
  const auto store = open();
  wait_connected(*store);
  EXPECT_EQ(read(*store, "a"), "(none)");
  server_.set(&FakeServer::up, false);
  const int before = connects();
  EXPECT_EQ(read(*store, "a"), "(unknown)");
  EXPECT_EQ(store->counters().failures, 1u);
  EXPECT_EQ(read(*store, "a"), "(unknown)");
  EXPECT_EQ(store->counters().skipped, 1u) << "the breaker is open: nobody is asked";
  EXPECT_EQ(connects(), before) << "not before its time";
  clock_.now_ += 10 * kMillisecond;
  ASSERT_TRUE(comes_true([&] { return connects() == before + 1; }));
  ASSERT_TRUE(comes_true([&] { return store->counters().failures == 2; }));
  server_.set(&FakeServer::up, true);
  clock_.now_ += 19 * kMillisecond;
  EXPECT_EQ(read(*store, "a"), "(unknown)") << "doubled";
  EXPECT_EQ(connects(), before + 1);
  clock_.now_ += kMillisecond;
  ASSERT_TRUE(comes_true([&] { return read(*store, "a") == "(none)"; }));
  EXPECT_EQ(reports(), (std::vector<std::string>{"down", ""}));
}

TEST_F(RemoteStoreTest, WritesOfAnOutageArriveAfterIt) {
  const auto store = open();
  wait_connected(*store);
  store->put("a", "1", kForever);
  ASSERT_TRUE(store->drain(20 * kSecond));
  server_.set(&FakeServer::up, false);
  store->put("a", "2", kForever);
  ASSERT_TRUE(comes_true([&] { return store->counters().failures > 0; }));
  store->put("b", "1", kForever);
  server_.set(&FakeServer::up, true);
  ASSERT_TRUE(comes_true([&] {
    clock_.now_ += kMillisecond;
    return store->drain(0);
  }));
  const std::lock_guard lock(server_.mutex);
  EXPECT_EQ(server_.values, (std::map<std::string, Bytes>{{"a", "2"}, {"b", "1"}}));
}

class RealServer : public testing::TestWithParam<CacheKind> {};

TEST_P(RealServer, KilledAndStartedAgain) {
  if (!installed(CacheServer::program(GetParam()))) GTEST_SKIP() << CacheServer::missing(GetParam());
  CacheServer server(GetParam());
  server.run();
  const ElapsedClock clock;
  RemoteOptions options;
  options.deadline_ns = kSecond;
  RemoteStore store([&] { return server.connect(); }, clock, options, {});
  Bytes value;
  store.put("a", "1", kForever);
  ASSERT_TRUE(store.drain(20 * kSecond));
  ASSERT_TRUE(comes_true([&] { return store.get("a", &value) == RemoteStore::Answer::kFound; }));
  server.kill();
  EXPECT_EQ(store.get("a", &value), RemoteStore::Answer::kUnknown);
  store.put("b", "1", kForever);
  EXPECT_EQ(store.get("b", &value), RemoteStore::Answer::kFound) << "from the queue";
  server.run();
  ASSERT_TRUE(store.drain(20 * kSecond));
  ASSERT_TRUE(comes_true([&] { return store.get("b", &value) == RemoteStore::Answer::kFound; }));
  EXPECT_EQ(store.get("a", &value), RemoteStore::Answer::kAbsent) << "the new server knows nothing of it";
}

INSTANTIATE_TEST_SUITE_P(Servers, RealServer, testing::Values(CacheKind::kRedis, CacheKind::kMemcached), cache_name);

}  // namespace
}  // namespace tidelock
