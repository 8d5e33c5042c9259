// One suite for L2 whatever stands behind it: RocksDB alone, Redis, Memcached. The servers are real.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "edge/l2_engine.h"
#include "edge/l2_store.h"
#include "store/remote/cache_server_fixture.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

constexpr Nanos kNow = 100 * kSecond;
const L2Run kRun{11, 22, 0, 0};

Bytes random_bytes(std::size_t size, std::uint64_t seed) {
  Rng rng(seed);
  Bytes bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(rng.below(256));
  return bytes;
}

EdgeEntry copy_of(Bytes value, std::uint64_t version = 1) {
  EdgeEntry entry;
  entry.version = Index{version};
  entry.value = std::move(value);
  entry.epoch = 7;
  entry.proven_at = 40 * kSecond;
  return entry;
}
EdgeEntry local_of(Bytes value) {
  EdgeEntry entry = copy_of(std::move(value), 0);
  entry.local = true;
  entry.proven_at = kNever;
  return entry;
}

class L2EnginesTest : public testing::TestWithParam<L2Engine> {
 protected:
  void SetUp() override {
    if (remote()) {
      const CacheKind kind = GetParam() == L2Engine::kRedis ? CacheKind::kRedis : CacheKind::kMemcached;
      if (!installed(CacheServer::program(kind))) GTEST_SKIP() << CacheServer::missing(kind);
      server_ = std::make_unique<CacheServer>(kind);
      server_->run();
    }
    open();
  }
  bool remote() const { return GetParam() != L2Engine::kRocksDb; }
  // As a process starts, with what the former one left.
  void open(L2Run run = kRun) {
    close();
    auto kv = Kv::open(folder_.path() + "/db", {kL2Family, kOutboxFamily, kMetaFamily});
    ASSERT_TRUE(kv) << kv.error().message;
    kv_ = std::move(*kv);
    L2Settings settings;
    settings.engine = GetParam();
    if (remote()) settings.address = "unix:" + server_->socket();
    settings.bytes_max = bytes_max_;
    ASSERT_TRUE(check_l2(settings)) << check_l2(settings).error().message;
    settings.deadline_ns = deadline_ns_;
    server_link_ = open_remote(settings, "edge-1", clock_);
    store_ = std::make_unique<L2Store>(*kv_, run, l2_options(settings), server_link_.get());
    ASSERT_TRUE(store_->open());
    ASSERT_TRUE(!remote() || comes_true([&] { return server_link_->counters().connected.load(); }));
  }
  void close() {
    store_.reset();
    server_link_.reset();
    kv_.reset();
  }
  void put(const std::string& key, EdgeEntry entry) {
    EdgeActions step;
    step.ops.emplace_back(EntryPut{key, std::move(entry)});
    commit(step);
  }
  void erase(const std::string& key) {
    EdgeActions step;
    step.ops.emplace_back(EntryErase{key});
    commit(step);
  }
  void commit(const EdgeActions& step) {
    const auto done = store_->commit(step, kNow);
    ASSERT_TRUE(done) << done.error().message;
  }
  // In the table where this value lies. The store is opened anew.
  void flip_a_bit_of(const Bytes& value) {
    open();  // what was in the log lies in a table now
    close();
    bool flipped = false;
    for (const auto& file : fs::directory_iterator(folder_.path() + "/db")) {
      if (file.path().extension() != ".sst") continue;
      std::fstream bytes(file.path(), std::ios::in | std::ios::out | std::ios::binary);
      const Bytes whole((std::istreambuf_iterator<char>(bytes)), std::istreambuf_iterator<char>());
      const std::size_t at = whole.find(value.substr(1'000, 64));
      if (at == Bytes::npos) continue;
      bytes.clear();
      bytes.seekp(static_cast<std::streamoff>(at));
      bytes.put(static_cast<char>(whole[at] ^ 1));
      flipped = true;
    }
    ASSERT_TRUE(flipped);
    open();
  }
  void settle() { ASSERT_TRUE(!remote() || server_link_->drain(20 * kSecond)); }
  std::string value(const std::string& key) {
    const auto found = store_->find(key);
    if (!found) return "(none)";
    return found->value ? *found->value : "(absent)";
  }
  std::vector<std::string> listed() {
    std::vector<std::string> keys;
    const auto last = store_->scan("", 1'000'000, kNow, [&](const L2Store::Listed& entry) {
      keys.emplace_back(entry.key);
      return true;
    });
    EXPECT_TRUE(last);
    return keys;
  }

  TemporaryFolder folder_;
  ElapsedClock clock_;
  Nanos deadline_ns_ = 20 * kSecond;  // longer than is allowed: a busy machine is no miss
  std::uint64_t bytes_max_ = 1u << 30;
  std::unique_ptr<CacheServer> server_;
  std::unique_ptr<Kv> kv_;
  std::unique_ptr<RemoteStore> server_link_;
  std::unique_ptr<L2Store> store_;
};

TEST_P(L2EnginesTest, GivesBackWhatWasPut) {
  Bytes all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const struct {
    const char* why;
    Bytes key, value;
  } cases[] = {
      {"small", "k", "v"},
      {"empty", "empty", ""},
      {"every byte in both", all, all + all},
      {"a row's size at the border", "border", Bytes(kL2InlineBytes, 'x')},
      {"one over it", "border+1", Bytes(kL2InlineBytes + 1, 'x')},
      {"protocol in both", "a\r\nget b\r\n", Bytes(200, '\n') + "END\r\n"},
      {"the largest a ledger entry takes", "large", random_bytes(1'040'000, 1)},
      {"larger than memcached takes", "larger", random_bytes(3u << 20, 2)},
      {"larger than any server is given", "largest", random_bytes(9u << 20, 3)},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(value(c.key), "(none)") << c.why;
    put(c.key, copy_of(c.value));
    EXPECT_TRUE(value(c.key) == c.value) << c.why << ", at once";
  }
  settle();
  for (const auto& c : cases) EXPECT_TRUE(value(c.key) == c.value) << c.why;
  EXPECT_EQ(listed().size(), std::size(cases));
  for (const auto& c : cases) {
    put(c.key, copy_of(random_bytes(300, 4), 2));
    EXPECT_TRUE(value(c.key) == random_bytes(300, 4)) << c.why << ", overwritten";
    erase(c.key);
    EXPECT_EQ(value(c.key), "(none)") << c.why << ", erased";
  }
  EXPECT_TRUE(listed().empty());
  EXPECT_EQ(store_->counters().bytes, 0u) << "what is counted is what is there";
}

TEST_P(L2EnginesTest, AnAbsenceIsKeptToo) {
  EdgeEntry absent = copy_of("", 5);
  absent.value.reset();
  put("k", copy_of(random_bytes(500, 1)));
  put("k", absent);
  EXPECT_EQ(value("k"), "(absent)");
  EXPECT_TRUE(listed().empty());
}

TEST_P(L2EnginesTest, TheLastWriteOfAStepCounts) {
  EdgeActions step;
  step.ops.emplace_back(EntryPut{"a", copy_of(random_bytes(300, 1))});
  step.ops.emplace_back(EntryPut{"b", copy_of(random_bytes(300, 1))});
  step.ops.emplace_back(EntryErase{"a"});
  step.ops.emplace_back(EntryPut{"b", copy_of(random_bytes(300, 2))});
  step.ops.emplace_back(EntryErase{"c"});
  step.ops.emplace_back(EntryPut{"c", copy_of(random_bytes(300, 3))});
  commit(step);
  EXPECT_EQ(value("a"), "(none)");
  EXPECT_TRUE(value("b") == random_bytes(300, 2));
  EXPECT_TRUE(value("c") == random_bytes(300, 3));
}

TEST_P(L2EnginesTest, AWarmRestartGivesValuesUnverified) {
  std::map<std::string, Bytes> put_values;
  for (std::uint64_t i = 0; i < 500; ++i) {
    const std::string key = "k" + std::to_string(i);
    put_values[key] = random_bytes(i * 3, i);
    put(key, i % 10 == 0 ? local_of(put_values[key]) : copy_of(put_values[key], i + 1));
  }
  settle();
  const std::uint64_t bytes = store_->counters().bytes;
  L2Run next = kRun;
  next.edge_boot = 33;
  open(next);
  EXPECT_EQ(store_->counters().bytes, bytes);
  for (const auto& [key, expected] : put_values) {
    const auto found = store_->find(key);
    ASSERT_TRUE(found) << key;
    EXPECT_TRUE(found->value == expected) << key;
    EXPECT_EQ(found->epoch, 0u) << "F8";
  }
}

TEST_P(L2EnginesTest, AnExpiredEntryNeverComesBack) {
  for (const char* key : {"copy", "small", "local"}) {
    EdgeEntry entry = std::string(key) == "local" ? local_of(random_bytes(300, 1)) : copy_of(random_bytes(300, 1));
    if (std::string(key) == "small") entry.value = "v";
    entry.expires_at = kNow + 50 * kSecond;
    put(key, entry);
  }
  EXPECT_EQ(listed().size(), 3u);
  ASSERT_TRUE(store_->find("copy"));
  EXPECT_EQ(store_->find("copy")->expires_at, kNow + 50 * kSecond) << "the core judges it";
  const auto later = store_->scan("", 100, kNow + 50 * kSecond, [](const L2Store::Listed&) {
    ADD_FAILURE() << "listed";
    return true;
  });
  EXPECT_TRUE(later);
  L2Run other_boot = kRun;
  other_boot.clock_run = 99;
  open(other_boot);
  for (const char* key : {"copy", "small", "local"}) EXPECT_EQ(value(key), "(none)") << key;
  commit({});
  EXPECT_EQ(store_->counters().bytes, 0u) << "rows that nobody can use any more go with the next commit";
}

TEST_P(L2EnginesTest, DroppedProofsStayDroppedInTheNextProcess) {  // C2, C3
  put("before", copy_of("value"));
  EdgeActions step;
  step.ops.emplace_back(PageDropProofs{41 * kSecond});
  commit(step);
  EdgeEntry later = copy_of("value");
  later.proven_at = 42 * kSecond;
  put("after", later);
  L2Run next = kRun;
  ++next.edge_boot;
  open(next);
  EXPECT_EQ(store_->find("before")->proven_at, kNever);
  EXPECT_EQ(store_->find("after")->proven_at, 42 * kSecond);
}

TEST_P(L2EnginesTest, ADamagedBlockDoesNotStopTheEviction) {
  if (remote()) GTEST_SKIP() << "of RocksDB's tables";
  bytes_max_ = 1u << 20;
  open();
  const auto name = [](const char* of, int i) { return of + std::to_string(100 + i); };
  const Bytes bad = random_bytes(4'000, 5);
  for (int i = 0; i < 40; ++i) put(name("k", i), copy_of(i == 5 ? bad : random_bytes(4'000, 1'000u + i)));
  flip_a_bit_of(bad);
  for (int i = 0; i < 600; ++i)
    put(name("m", i), copy_of(random_bytes(4'000, 2'000u + i)));  // commit stands, each time
  EXPECT_GT(store_->counters().damaged, 0u);
  EXPECT_GT(store_->counters().evicted, 300u);
  EXPECT_LE(store_->counters().bytes, bytes_max_ + (64u << 10));
  EXPECT_EQ(value(name("m", 599)), random_bytes(4'000, 2'599u));
}

TEST_P(L2EnginesTest, DamageIsFoundDroppedAndHealed) {
  const Bytes good = random_bytes(4'000, 1);
  put("k", copy_of(good));
  put("other", copy_of("small"));
  settle();
  if (remote()) {
    Bytes bad = good;
    bad[2'000] ^= 1;
    auto link = server_->connect();
    ASSERT_TRUE(link);
    ASSERT_TRUE((*link)->write({{"k", bad}}, kSecond));
  } else {
    flip_a_bit_of(good);
  }
  EXPECT_EQ(value("k"), "(none)");
  EXPECT_EQ(store_->counters().damaged + store_->counters().missing, 1u);
  commit({});
  EXPECT_EQ(value("k"), "(none)");
  EXPECT_EQ(store_->counters().damaged + store_->counters().missing, 1u) << "it was dropped: nobody stumbles again";
  put("k", copy_of(good, 2));
  settle();
  EXPECT_TRUE(value("k") == good);
}

TEST_P(L2EnginesTest, NothingOlderThanTheLastPutComesFromAServer) {
  if (!remote()) GTEST_SKIP() << "RocksDB keeps what it took";
  auto link = server_->connect();
  ASSERT_TRUE(link);
  put("k", copy_of(random_bytes(300, 1), 1));
  settle();
  put("k", copy_of(random_bytes(300, 2), 2));
  settle();
  ASSERT_TRUE((*link)->write({{"k", random_bytes(300, 1)}}, kSecond)) << "as a server started from an old snapshot";
  EXPECT_EQ(value("k"), "(none)");
  put("gone", copy_of(random_bytes(300, 1)));
  settle();
  erase("gone");
  settle();
  ASSERT_TRUE((*link)->write({{"gone", random_bytes(300, 1)}}, kSecond));
  EXPECT_EQ(value("gone"), "(none)") << "what has no row is not asked for";
}

TEST_P(L2EnginesTest, OnlyCopiesLeaveTheGateway) {
  if (!remote()) GTEST_SKIP() << "RocksDB is on the gateway";
  auto link = server_->connect();
  ASSERT_TRUE(link);
  const auto there = [&](const char* key) {
    const auto found = (*link)->get(key, kSecond);
    return found && found->has_value();
  };
  put("copy", copy_of(random_bytes(300, 1)));
  put("small", copy_of("v"));
  put("local", local_of(random_bytes(300, 1)));
  put("was copy", copy_of(random_bytes(300, 1)));
  put("was copy", local_of(random_bytes(300, 2)));
  settle();
  EXPECT_TRUE(there("copy"));
  EXPECT_FALSE(there("small"));
  EXPECT_FALSE(there("local"));
  EXPECT_FALSE(there("was copy")) << "and what nobody needs any more is erased there";
  server_->kill();
  EXPECT_TRUE(value("local") == random_bytes(300, 1));
  EXPECT_EQ(value("small"), "v");
}

TEST_P(L2EnginesTest, AnEngineThatHangsOrDiesCostsOnlyItsCopies) {
  if (!remote()) GTEST_SKIP() << "tests/stores breaks the disk below RocksDB";
  deadline_ns_ = 200 * kMillisecond;
  open();
  put("k", copy_of(random_bytes(300, 1)));
  settle();
  server_->hang();  // its threads stop one after the other: one of them may still answer
  EXPECT_TRUE(comes_true([&] { return value("k") == "(none)"; })) << "a miss after the deadline";
  const Nanos from = clock_.now();
  for (int i = 0; i < 1'000; ++i) static_cast<void>(store_->find("k"));
  EXPECT_LT(clock_.now() - from, 60 * kSecond) << "and from then on at once, but for one deadline per pause";
  server_->go_on();
  ASSERT_TRUE(comes_true([&] { return value("k") == random_bytes(300, 1); })) << "nothing was lost";
  server_->kill();
  for (int i = 0; i < 100; ++i) put("during" + std::to_string(i), copy_of(random_bytes(300, 1)));
  EXPECT_EQ(value("k"), "(none)");
  server_->run();
  settle();
  put("after", copy_of(random_bytes(300, 2)));
  settle();
  ASSERT_TRUE(comes_true([&] { return value("after") == random_bytes(300, 2); })) << "it came back by itself";
  EXPECT_TRUE(comes_true([&] { return value("during7") == random_bytes(300, 1); })) << "what waited was sent";
  EXPECT_EQ(value("k"), "(none)") << "the new server does not have it";
}

TEST_P(L2EnginesTest, WhatIsThereIsNotWrittenAgain) {
  put("k", copy_of(random_bytes(300, 1)));
  put("s", copy_of("small"));
  settle();
  const std::uint64_t written = remote() ? server_link_->counters().written.load() : 0;
  for (const char* key : {"k", "s"}) {
    const auto found = store_->find(key);
    ASSERT_TRUE(found);
    put(key, *found);  // as the core does with what it found
  }
  settle();
  EXPECT_EQ(store_->counters().unchanged, 2u);
  EXPECT_EQ(remote() ? server_link_->counters().written.load() : 0, written);
}

TEST_P(L2EnginesTest, StaysUnderItsQuotaAndKeepsWhatIsRead) {
  bytes_max_ = 1u << 20;
  open();
  std::set<std::string> waiting;
  store_->keep([&](const std::string& key) { return waiting.contains(key); });
  // Among the keys of the others, where the hand passes.
  const auto among = [](int i, const char* kind) { return "k" + std::to_string(1'000 + 300 * i) + kind; };
  for (int i = 0; i < 20; ++i) {
    put(among(i, "local"), local_of(random_bytes(1'000, 1)));
    put(among(i, "hot"), copy_of("hot"));
    waiting.insert(among(i, "waiting"));
    put(among(i, "waiting"), local_of(random_bytes(1'000, 1)));
  }
  // Rows of copies are as large as their values with RocksDB, and hold a digest otherwise: so many more of them.
  const int count = remote() ? 30'000 : 10'000;
  for (int i = 0; i < count; ++i) {
    put("k" + std::to_string(1'000 + i % 9'000) + "cold" + std::to_string(i), copy_of(random_bytes(300, 5)));
    if (i % 100 == 0) {
      for (int hot = 0; hot < 20; ++hot) static_cast<void>(store_->find(among(hot, "hot")));
    }
    ASSERT_LE(store_->counters().bytes, bytes_max_) << i;
  }
  EXPECT_GT(store_->counters().evicted, 1'000u);
  EXPECT_GT(store_->counters().bytes, bytes_max_ / 10 * 9) << "no more goes than has to";
  const auto keys = listed();
  const auto left = [&](const std::string& kind) {
    return std::count_if(keys.begin(), keys.end(), [&](const std::string& key) { return key.ends_with(kind); });
  };
  EXPECT_EQ(left("hot"), 20) << "read all the time";
  EXPECT_EQ(left("local"), 20) << "there may be no other copy";
  EXPECT_EQ(left("waiting"), 20);
  std::uint64_t bytes = 0;
  ASSERT_TRUE(kv_->scan(kL2Family, {}, {}, [&](BytesView key, BytesView row) {
    bytes += key.size() + row.size();
    return true;
  }));
  EXPECT_EQ(bytes, store_->counters().bytes);
}

TEST_P(L2EnginesTest, LocalValuesGoWhenThereIsNothingElse) {
  bytes_max_ = 1u << 20;
  open();
  std::set<std::string> waiting = {"w"};
  store_->keep([&](const std::string& key) { return waiting.contains(key); });
  put("w", local_of(random_bytes(1'000, 1)));
  for (int i = 0; i < 3'000; ++i) {
    put("local" + std::to_string(i), local_of(random_bytes(1'000, 1)));
    ASSERT_LE(store_->counters().bytes, bytes_max_) << i;
  }
  EXPECT_TRUE(value("w") == random_bytes(1'000, 1));
  EXPECT_TRUE(value("local2999") == random_bytes(1'000, 1));
  const std::uint64_t evicted = store_->counters().evicted;
  put("too large", local_of(random_bytes(2u << 20, 1)));
  EXPECT_EQ(value("too large"), "(none)");
  EXPECT_EQ(store_->counters().evicted, evicted) << "one row must not empty the store";
  EXPECT_TRUE(value("w") == random_bytes(1'000, 1));
  for (int i = 0; i < 2'000; ++i) {
    waiting.insert("more" + std::to_string(i));
    put("more" + std::to_string(i), local_of(random_bytes(1'000, 1)));
  }
  EXPECT_GT(store_->counters().bytes, bytes_max_) << "writes that wait in the outbox are never dropped for it";
  for (int i = 0; i < 2'000; i += 100) EXPECT_NE(value("more" + std::to_string(i)), "(none)") << i;
}

TEST_P(L2EnginesTest, TheFirstRunWithAQuotaCountsWhatIsThere) {
  for (int i = 0; i < 100; ++i) put("k" + std::to_string(i), copy_of(random_bytes(100, 1)));
  const std::uint64_t bytes = store_->counters().bytes;
  KvBatch forget;
  forget.erase(kMetaFamily, "l2_bytes");
  ASSERT_TRUE(kv_->commit(forget, Sync::kNone));
  open();
  EXPECT_EQ(store_->counters().bytes, bytes);
}

std::string engine_name(const testing::TestParamInfo<L2Engine>& tested) {
  const char* const names[] = {"RocksDb", "Redis", "Memcached"};
  return names[static_cast<int>(tested.param)];
}
INSTANTIATE_TEST_SUITE_P(Engines, L2EnginesTest,
                         testing::Values(L2Engine::kRocksDb, L2Engine::kRedis, L2Engine::kMemcached), engine_name);

TEST(L2Settings, MistakesAreNamed) {
  const struct {
    const char* why;
    L2Settings settings;
    const char* says;
  } cases[] = {
      {"an address that is of no use", {L2Engine::kRocksDb, "unix:/x", "", kMillisecond, 1u << 30}, "l2.address"},
      {"none where one is needed", {L2Engine::kRedis, "", "", kMillisecond, 1u << 30}, "l2.address = \"\""},
      {"half of one", {L2Engine::kMemcached, "localhost", "", kMillisecond, 1u << 30}, "unix:/path or host:port"},
      {"a password for memcached", {L2Engine::kMemcached, "h:1", "p", kMillisecond, 1u << 30}, "l2.password"},
      {"no time", {L2Engine::kRedis, "h:1", "", kMicrosecond, 1u << 30}, "l2.deadline_us = 1: must be from 50"},
      {"too much time", {L2Engine::kRedis, "h:1", "", kSecond, 1u << 30}, "l2.deadline_us = 1000000"},
      {"no room", {L2Engine::kRocksDb, "", "", kMillisecond, 5}, "l2.max_bytes = 5: must be at least 1048576"},
  };
  for (const auto& c : cases) {
    const auto good = check_l2(c.settings);
    ASSERT_FALSE(good) << c.why;
    EXPECT_EQ(good.error().code, Code::kInvalid) << c.why;
    EXPECT_NE(good.error().message.find(c.says), std::string::npos) << c.why << ": " << good.error().message;
  }
  EXPECT_TRUE(check_l2({}));
}

}  // namespace
}  // namespace tidelock
