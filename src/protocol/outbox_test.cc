#include "protocol/outbox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "base/rng.h"
#include "codec/archive.h"
#include "codec/compress.h"
#include "protocol/hlc.h"
#include "protocol/map_rows_fixture.h"
#include "protocol/state_machine.h"

namespace tidelock {
namespace {

constexpr Nanos kMs = kMillisecond;

std::vector<BatchRecord> records_of(const WriteBatch& batch) {
  const auto raw = decompress(batch.records, 1u << 20, "batch");
  EXPECT_TRUE(raw.has_value());
  auto records = decode<std::vector<BatchRecord>>(*raw, "batch");
  EXPECT_TRUE(records.has_value());
  return *records;
}
std::vector<std::string> keys_of(const WriteBatch& batch) {
  std::vector<std::string> keys;
  for (const BatchRecord& record : records_of(batch)) keys.push_back(record.key);
  return keys;
}

// One outbox whose store carries out every commit at once, unless a test holds it back.
struct Desk {
  explicit Desk(OutboxOptions o = {}) : options(o), outbox(start()) {}
  Outbox start() {
    std::vector<std::pair<Bytes, Bytes>> all(rows.begin(), rows.end());
    auto restored = Outbox::restore(options, all, now, wall_ms, Rng(++seed));
    EXPECT_TRUE(restored.has_value());
    return std::move(*restored);
  }
  void restart() { outbox = start(); }
  // Carries actions out, and what follows from them.
  void carry_out(OutboxActions actions) {
    wake_at = actions.wake_at;
    for (OutboxDone& one : actions.done) done.push_back(std::move(one));
    for (std::string& one : actions.alarms) alarms.push_back(std::move(one));
    EXPECT_EQ(actions.persist.empty(), actions.persist_number == 0);
    for (auto& [key, value] : actions.persist) {
      if (value) {
        rows[key] = *value;
      } else {
        rows.erase(key);
      }
    }
    synced = actions.sync;
    if (actions.send) sent.push_back(*actions.send);
    if (actions.persist_number != 0) {
      last_number = actions.persist_number;
      if (disk_works) {
        OutboxActions next;
        outbox.persisted(now, actions.persist_number, AckLevel::kOs, next);
        if (actions.sync) outbox.persisted(now, actions.persist_number, AckLevel::kDisk, next);
        carry_out(std::move(next));
      }
    }
  }
  void act(const std::function<void(OutboxActions&)>& what) {
    OutboxActions actions;
    what(actions);
    carry_out(std::move(actions));
  }
  WriteBehind make(std::string key, std::string value) {
    WriteBehind write;
    write.key = std::move(key);
    write.value = std::move(value);
    write.stamp = Stamp{++stamp_ms, 0, 1};
    write.token = ++token;
    return write;
  }
  std::uint64_t write(WriteBehind w) {
    act([&](OutboxActions& out) { outbox.accept(now, wall_ms, std::move(w), out); });
    return token;
  }
  std::uint64_t write(std::string key, std::string value = "v") {
    return write(make(std::move(key), std::move(value)));
  }
  void open() {
    act([&](OutboxActions& out) { outbox.session_open(now, out); });
  }
  void tick(Nanos later = 0) {
    now += later;
    act([&](OutboxActions& out) { outbox.tick(now, out); });
  }
  void answer(Code code = Code::kOk, std::uint32_t superseded = 0) {
    const WriteBatch batch = sent.back();
    act([&](OutboxActions& out) {
      outbox.batch_done(now, BatchDone{batch.incarnation, batch.number, Index{1}, superseded, code, "said the hub"},
                        out);
    });
  }
  // "ok/disk", "busy/os", "-" when there was no answer yet.
  std::string fate(std::uint64_t of) const {
    std::string text = "-";
    for (const OutboxDone& one : done) {
      if (one.token != of) continue;
      EXPECT_EQ(text, "-") << "answered twice";
      text = std::string(code_name(one.code));
      if (one.code == Code::kOk)
        text += one.level == AckLevel::kOs ? "/os" : one.level == AckLevel::kDisk ? "/disk" : "/origin";
    }
    return text;
  }

  OutboxOptions options;
  std::map<Bytes, Bytes> rows;
  Nanos now = 1000 * kSecond;
  std::uint64_t wall_ms = 1'000'000;
  std::uint64_t seed = 0;
  std::uint64_t stamp_ms = 100;
  std::uint64_t token = 0;
  bool disk_works = true;
  bool synced = false;
  std::uint64_t last_number = 0;
  Nanos wake_at = kForever;
  std::vector<OutboxDone> done;
  std::vector<std::string> alarms;
  std::vector<WriteBatch> sent;
  Outbox outbox;
};

TEST(Outbox, AcknowledgesAtTheLevelThatWasAskedFor) {  // D1
  struct Case {
    const char* why;
    AckLevel level;
    bool asks_for_sync;
    std::string after_os, after_disk, after_origin;
  };
  const Case cases[] = {{"with the kernel", AckLevel::kOs, false, "ok/os", "ok/os", "ok/os"},
                        {"on disk", AckLevel::kDisk, true, "-", "ok/disk", "ok/disk"},
                        {"at the hub", AckLevel::kOrigin, false, "-", "-", "ok/origin"}};
  for (const Case& c : cases) {
    Desk desk;
    desk.disk_works = false;
    WriteBehind write = desk.make("feature:1", "v");
    write.level = c.level;
    const auto token = desk.write(write);
    EXPECT_EQ(desk.synced, c.asks_for_sync) << c.why;
    EXPECT_EQ(desk.fate(token), "-") << c.why << ": never before the store answered";
    desk.act([&](OutboxActions& out) { desk.outbox.persisted(desk.now, 1, AckLevel::kOs, out); });
    EXPECT_EQ(desk.fate(token), c.after_os) << c.why;
    desk.act([&](OutboxActions& out) { desk.outbox.persisted(desk.now, 1, AckLevel::kDisk, out); });
    EXPECT_EQ(desk.fate(token), c.after_disk) << c.why;
    desk.disk_works = true;
    desk.open();
    desk.tick(kSecond);
    ASSERT_EQ(desk.sent.size(), 1u) << c.why;
    desk.answer();
    EXPECT_EQ(desk.fate(token), c.after_origin) << c.why;
  }
}

TEST(Outbox, SendsNothingBeforeTheCompositionIsOnDisk) {  // D5
  Desk desk;
  desk.open();
  desk.write("feature:1");
  desk.disk_works = false;
  desk.tick(kSecond);
  EXPECT_TRUE(desk.synced);
  EXPECT_TRUE(desk.rows.contains("f"));
  EXPECT_TRUE(desk.sent.empty());
  desk.act([&](OutboxActions& out) { desk.outbox.persisted(desk.now, desk.last_number, AckLevel::kOs, out); });
  EXPECT_TRUE(desk.sent.empty()) << "with the kernel is not enough";
  desk.act([&](OutboxActions& out) { desk.outbox.persisted(desk.now, desk.last_number - 1, AckLevel::kDisk, out); });
  EXPECT_TRUE(desk.sent.empty()) << "an earlier commit is not enough";
  desk.act([&](OutboxActions& out) { desk.outbox.persisted(desk.now, desk.last_number, AckLevel::kDisk, out); });
  EXPECT_EQ(desk.sent.size(), 1u);
}

TEST(Outbox, ABatchLeavesByAgeBytesOrCount) {
  struct Case {
    const char* why;
    int records;
    std::size_t value_bytes;
    Nanos wait;
    std::size_t batches;
  };
  const Case cases[] = {{"young and few: not yet", 3, 10, 499 * kMs, 0},
                        {"half the flush age", 3, 10, 500 * kMs, 1},
                        {"bytes", 3, 4'000, 0, 1},
                        {"count", 8, 1, 0, 1}};
  for (const Case& c : cases) {
    OutboxOptions options;
    options.batch_bytes_max = 10'000;
    options.batch_records_max = 8;
    Desk desk(options);
    desk.open();
    for (int i = 0; i < c.records; ++i) desk.write("feature:" + std::to_string(i), std::string(c.value_bytes, 'v'));
    desk.tick(c.wait);
    EXPECT_EQ(desk.sent.size(), c.batches) << c.why;
  }
}

TEST(Outbox, WakesWhenABatchIsDue) {
  Desk desk;
  desk.write("feature:1");
  EXPECT_EQ(desk.wake_at, kForever) << "without a session there is nothing to wait for";
  desk.open();
  EXPECT_EQ(desk.wake_at, desk.now + 500 * kMs);
  WriteBehind urgent = desk.make("feature:2", "v");
  urgent.flush_age_ns = 100 * kMs;
  desk.write(urgent);
  EXPECT_EQ(desk.wake_at, desk.now + 50 * kMs);
  desk.tick(50 * kMs);
  ASSERT_EQ(desk.sent.size(), 1u);
  EXPECT_EQ(keys_of(desk.sent[0]), (std::vector<std::string>{"feature:1", "feature:2"}))
      << "in the order of their stamps";
  EXPECT_EQ(desk.wake_at, desk.now + desk.options.answer_wait_ns);
}

TEST(Outbox, OneBatchAtATimeInOrder) {  // D5
  OutboxOptions options;
  options.batch_records_max = 2;
  Desk desk(options);
  desk.open();
  for (int i = 1; i <= 5; ++i) desk.write("feature:" + std::to_string(i));
  ASSERT_EQ(desk.sent.size(), 1u);
  EXPECT_EQ(desk.sent[0].number, 1u);
  desk.answer();
  ASSERT_EQ(desk.sent.size(), 2u);
  EXPECT_EQ(desk.sent[1].number, 2u);
  EXPECT_EQ(keys_of(desk.sent[1]), (std::vector<std::string>{"feature:3", "feature:4"}));
  desk.act([&](OutboxActions& out) {
    desk.outbox.batch_done(desk.now, BatchDone{desk.sent[0].incarnation, 1, {}, 0, Code::kOk, ""}, out);
  });
  EXPECT_EQ(desk.sent.size(), 2u) << "an answer to an earlier batch is not one to this";
  EXPECT_EQ(desk.outbox.counters().flushed, 2u);
  desk.answer();
  desk.tick(kSecond);
  desk.answer();
  EXPECT_EQ(desk.outbox.counters().flushed, 5u);
  EXPECT_EQ(desk.outbox.counters().pending, 0u);
  EXPECT_EQ(desk.outbox.counters().batches, 3u);
  EXPECT_EQ(desk.rows.size(), 1u) << "only the head is left";
}

TEST(Outbox, ANewerWriteReplacesAQueuedOne) {
  Desk desk;
  const auto old = desk.make("feature:1", "old");
  desk.write(old);
  desk.write("feature:2");
  WriteBehind origin = desk.make("feature:2", "newer");
  origin.level = AckLevel::kOrigin;
  const auto first_origin = desk.write(origin);
  origin = desk.make("feature:2", "newest");
  origin.level = AckLevel::kOrigin;
  const auto second_origin = desk.write(origin);
  desk.write("feature:1", "new");
  EXPECT_EQ(desk.outbox.counters().superseded, 3u);
  EXPECT_EQ(desk.outbox.counters().pending, 2u);
  EXPECT_EQ(*desk.outbox.pending("feature:1")->value, "new");
  EXPECT_FALSE(desk.outbox.pending("feature:3").has_value());
  desk.open();
  ASSERT_EQ(desk.sent.size(), 1u) << "whoever waits for the origin does not wait for others";
  const auto records = records_of(desk.sent[0]);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_LT(records[0].stamp, records[1].stamp) << "still in the order of the stamps";
  desk.answer();
  EXPECT_EQ(desk.fate(first_origin), "ok/origin");
  EXPECT_EQ(desk.fate(second_origin), "ok/origin");
}

TEST(Outbox, OverwritingAKeyForEverDoesNotHoldItBack) {
  Desk desk;
  desk.open();
  for (int i = 0; i < 10; ++i) {
    desk.write("feature:1", std::to_string(i));
    desk.tick(60 * kMs);
  }
  EXPECT_EQ(desk.sent.size(), 1u) << "due counts from the first write that the hub misses";
}

TEST(Outbox, ARecordInFlightIsNotReplaced) {  // D5
  Desk desk;
  desk.open();
  desk.write("feature:1", "old");
  desk.tick(kSecond);
  desk.write("feature:1", "new");
  EXPECT_EQ(desk.outbox.counters().superseded, 0u);
  EXPECT_EQ(*desk.outbox.pending("feature:1")->value, "new");
  desk.answer(Code::kBusy);
  desk.tick(10 * kSecond);
  ASSERT_EQ(desk.sent.size(), 2u);
  EXPECT_EQ(desk.sent[1].number, desk.sent[0].number);
  EXPECT_EQ(records_of(desk.sent[1]), records_of(desk.sent[0]));
  desk.answer();
  desk.tick(kSecond);
  ASSERT_EQ(desk.sent.size(), 3u);
  EXPECT_EQ(*records_of(desk.sent[2])[0].value, "new");
}

TEST(Outbox, ALostReplyIsAskedForAgainUnderTheSameNumber) {  // D5
  Desk desk;
  desk.open();
  desk.write("feature:1");
  desk.tick(kSecond);
  desk.outbox.session_closed();
  desk.tick(60 * kSecond);
  EXPECT_EQ(desk.sent.size(), 1u);
  desk.open();
  ASSERT_EQ(desk.sent.size(), 2u);
  EXPECT_EQ(desk.sent[1].number, 1u);
  EXPECT_EQ(desk.outbox.counters().resent, 1u);
  desk.tick(desk.options.answer_wait_ns - 1);
  EXPECT_EQ(desk.sent.size(), 2u);
  desk.tick(1);
  EXPECT_EQ(desk.sent.size(), 3u) << "a hub that says nothing is asked again";
  desk.answer();
  EXPECT_EQ(desk.outbox.counters().flushed, 1u);
}

TEST(Outbox, ARestartSendsTheBatchThatMayHaveBeenApplied) {  // I8, D5
  OutboxOptions options;
  options.batch_records_max = 2;
  Desk desk(options);
  desk.open();
  desk.write("feature:1");
  desk.write("feature:2");
  desk.write("feature:3");
  ASSERT_EQ(desk.sent.size(), 1u);
  const auto before = desk.sent[0];
  const auto stamp = desk.outbox.newest_stamp();
  desk.restart();
  EXPECT_EQ(desk.outbox.counters().pending, 3u);
  EXPECT_EQ(desk.outbox.newest_stamp(), stamp);
  EXPECT_EQ(desk.outbox.incarnation(), before.incarnation);
  desk.disk_works = false;
  desk.open();
  EXPECT_EQ(desk.sent.size(), 1u) << "what could be read back need not be on disk: it is synced again first";
  EXPECT_TRUE(desk.synced);
  desk.disk_works = true;
  desk.act([&](OutboxActions& out) { desk.outbox.persisted(desk.now, desk.last_number, AckLevel::kDisk, out); });
  ASSERT_EQ(desk.sent.size(), 2u);
  EXPECT_EQ(desk.sent[1].number, before.number);
  EXPECT_EQ(records_of(desk.sent[1]), records_of(before));
  desk.answer();
  desk.tick(kSecond);
  EXPECT_EQ(desk.sent[2].number, 2u);
  EXPECT_EQ(keys_of(desk.sent[2]), (std::vector<std::string>{"feature:3"}));
}

TEST(Outbox, CountersAndNumbersSurviveARestart) {
  Desk desk;
  desk.open();
  desk.write("feature:1");
  desk.write("feature:1");
  desk.tick(kSecond);
  desk.answer();
  desk.write("feature:2");
  desk.restart();
  const OutboxCounters& counters = desk.outbox.counters();
  EXPECT_EQ(counters.written, 3u);
  EXPECT_EQ(counters.flushed, 1u);
  EXPECT_EQ(counters.superseded, 1u);
  EXPECT_EQ(counters.pending, 1u);
  EXPECT_TRUE(counters.adds_up());
  desk.open();
  desk.tick(kSecond);
  EXPECT_EQ(desk.sent.back().number, 2u);
}

TEST(Outbox, ExpiredRecordsAreNotSent) {
  Desk desk;
  WriteBehind brief = desk.make("feature:1", "v");
  brief.ttl_ns = kSecond;
  desk.write(brief);
  brief = desk.make("feature:2", "v");
  brief.ttl_ns = kSecond;
  brief.level = AckLevel::kOrigin;
  const auto waiting = desk.write(brief);
  WriteBehind longer = desk.make("feature:3", "v");
  longer.ttl_ns = 5 * kSecond;
  desk.write(longer);
  EXPECT_EQ(desk.wake_at, desk.now + kSecond);
  desk.tick(kSecond);
  EXPECT_EQ(desk.outbox.counters().expired, 2u) << "also while there is no session: they do not fill the outbox";
  EXPECT_EQ(desk.fate(waiting), "maybe_applied") << "readers of this edge have seen it: that is not nothing";
  EXPECT_FALSE(desk.outbox.pending("feature:1").has_value());
  desk.open();
  ASSERT_EQ(desk.sent.size(), 1u);
  const auto records = records_of(desk.sent[0]);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].ttl_ns, 4 * kSecond) << "what is left of it";
  desk.outbox.session_closed();
  desk.tick(3 * kSecond);
  desk.open();
  EXPECT_EQ(records_of(desk.sent[1])[0].ttl_ns, kSecond) << "each transmission says it anew";
  desk.outbox.session_closed();
  desk.tick(2 * kSecond);
  desk.open();
  EXPECT_TRUE(records_of(desk.sent[2]).empty()) << "an empty batch uses the number up";
  desk.answer();
  EXPECT_EQ(desk.outbox.counters().expired, 3u);
  EXPECT_EQ(desk.outbox.counters().flushed, 0u);
}

// Found by a run of real processes: another gateway showed a value whose writer had been told that nothing happened.
TEST(Outbox, ARecordThatExpiredAfterABatchWentUnansweredMayHaveBeenApplied) {
  Desk desk;
  desk.open();
  WriteBehind brief = desk.make("feature:1", "v");
  brief.ttl_ns = kSecond;
  brief.level = AckLevel::kOrigin;
  const auto waiting = desk.write(brief);
  desk.tick(0);
  ASSERT_EQ(desk.sent.size(), 1u);
  EXPECT_EQ(records_of(desk.sent[0]).size(), 1u) << "the hub may have it now";
  desk.outbox.session_closed();  // and its answer is lost
  desk.tick(2 * kSecond);
  desk.open();
  EXPECT_TRUE(records_of(desk.sent.back()).empty());
  desk.answer();
  EXPECT_EQ(desk.fate(waiting), "maybe_applied");
}

TEST(Outbox, LifetimesAndAgesAcrossARestart) {  // C1, C4
  struct Case {
    const char* why;
    std::uint64_t run;
    Nanos now;           // of the elapsed clock; accepted at 1000 s
    std::uint64_t wall;  // accepted at 1'000'000 ms
    Nanos left;          // of 10 s
    bool in_time;        // for an age of 5 s
  };
  const Case cases[] = {
      {"the same run of the clock, whatever the wall says", 1, 1003 * kSecond, 5'000'000, 7 * kSecond, true},
      {"the same run, later", 1, 1008 * kSecond, 1'000'000, 2 * kSecond, false},
      {"a reboot: the wall clock tells how long it took", 2, 5 * kSecond, 1'004'000, 6 * kSecond, false},
      {"a reboot, and the wall clock went back", 2, 5 * kSecond, 900'000, 10 * kSecond, false},
      {"a reboot that nobody announced", 1, 5 * kSecond, 1'004'000, 6 * kSecond, false},
      {"the wall clock jumped far ahead", 2, 5 * kSecond, ~std::uint64_t{0}, 0, false},
  };
  for (const Case& c : cases) {
    OutboxOptions options;
    options.clock_run = 1;
    Desk desk(options);
    WriteBehind write = desk.make("feature:1", "v");
    write.ttl_ns = 10 * kSecond;
    desk.write(write);
    desk.options.clock_run = c.run;
    desk.now = c.now;
    desk.wall_ms = c.wall;
    desk.restart();
    ASSERT_TRUE(desk.outbox.pending("feature:1").has_value()) << c.why;
    EXPECT_EQ(desk.outbox.pending("feature:1")->expires_at - c.now, c.left) << c.why;
    EXPECT_EQ(desk.outbox.flushed_in_time(desk.now, 5 * kSecond), c.in_time) << c.why;
  }
}

TEST(Outbox, SaysWhetherTheHubIsBehind) {
  Desk desk;
  EXPECT_TRUE(desk.outbox.flushed_in_time(desk.now, 0));
  desk.write("feature:1");
  EXPECT_TRUE(desk.outbox.flushed_in_time(desk.now + kSecond, kSecond));
  EXPECT_FALSE(desk.outbox.flushed_in_time(desk.now + kSecond + 1, kSecond));
  desk.now += kSecond;
  desk.write("feature:1", "newer");
  EXPECT_FALSE(desk.outbox.flushed_in_time(desk.now + 1, kSecond)) << "the hub still misses the first of them";
  desk.open();
  EXPECT_FALSE(desk.outbox.flushed_in_time(desk.now + 1, kSecond)) << "sent is not flushed";
  desk.answer();
  EXPECT_TRUE(desk.outbox.flushed_in_time(desk.now + 1, kSecond));
}

TEST(Outbox, RefusesWhatItCannotKeep) {
  Desk desk;
  desk.write("feature:1");
  struct Case {
    const char* why;
    std::function<void(WriteBehind&)> change;
  };
  const Case cases[] = {
      {"empty key", [](auto& w) { w.key.clear(); }},
      {"long key", [](auto& w) { w.key.assign(kKeyBytesMax + 1, 'k'); }},
      {"too large for a ledger entry", [](auto& w) { w.value = std::string(Outbox::kRecordBytesMax, 'v'); }},
      {"negative lifetime", [](auto& w) { w.ttl_ns = -1; }},
      {"stamp that is not newer", [&](auto& w) { w.stamp = desk.outbox.newest_stamp(); }},
  };
  for (const Case& c : cases) {
    WriteBehind write = desk.make("feature:2", "v");
    c.change(write);
    EXPECT_EQ(desk.fate(desk.write(write)), "invalid") << c.why;
  }
  EXPECT_EQ(desk.outbox.counters().written, 1u);
}

TEST(Outbox, PushesBackWhenItIsFull) {  // D7
  OutboxOptions options;
  options.bytes_max = 20'000;
  options.records_max = 100;
  Desk desk(options);
  int accepted = 0;
  for (; accepted < 1000; ++accepted) {
    if (desk.fate(desk.write("feature:" + std::to_string(accepted), std::string(1'000, 'v'))) == "busy") break;
  }
  EXPECT_LE(desk.outbox.bytes(), 19'000u);
  EXPECT_GT(desk.outbox.bytes(), 17'000u);
  EXPECT_EQ(desk.done.back().retry_after_ns, options.busy_retry_ns);
  EXPECT_EQ(desk.fate(desk.write("feature:1", std::string(1'000, 'w'))), "ok/disk") << "replacing needs no room";
  EXPECT_EQ(desk.fate(desk.write("feature:1", std::string(3'000, 'w'))), "busy");
  EXPECT_EQ(desk.outbox.counters().shed, 0u);
  desk.open();
  desk.tick(kSecond);
  desk.answer();
  EXPECT_EQ(desk.fate(desk.write("feature:x", "v")), "ok/disk") << "and flushing makes room";

  options.bytes_max = 1u << 20;
  Desk many(options);
  for (int i = 0; i < 95; ++i) EXPECT_EQ(many.fate(many.write("k" + std::to_string(i))), "ok/disk");
  EXPECT_EQ(many.fate(many.write("one more")), "busy");
}

TEST(Outbox, BacksOffWithJitterWhenTheHubIsBusy) {  // D6
  for (const Code code : {Code::kBusy, Code::kUnavailable, Code::kNotActive, Code::kMaybeApplied}) {
    Desk desk;
    desk.open();
    desk.write("feature:1");
    desk.tick(kSecond);
    Nanos longest = 0;
    for (int i = 0; i < 12; ++i) {
      desk.answer(code);
      EXPECT_GT(desk.wake_at, desk.now);
      EXPECT_LE(desk.wake_at, desk.now + desk.options.backoff_max_ns);
      longest = std::max(longest, desk.wake_at - desk.now);
      const std::size_t sent = desk.sent.size();
      desk.tick(desk.wake_at - desk.now - 1);
      EXPECT_EQ(desk.sent.size(), sent) << "not before";
      desk.tick(1);
      EXPECT_EQ(desk.sent.size(), sent + 1);
      EXPECT_EQ(desk.sent.back().number, 1u);
    }
    EXPECT_GT(longest, kSecond) << "it grows";
    desk.answer();
    EXPECT_EQ(desk.outbox.counters().flushed, 1u);
  }
}

// A hub that refuses one key, as far as it can be seen from here.
void refuse_until_done(Desk& desk, const std::string& poison) {
  for (int i = 0; i < 500 && desk.outbox.counters().pending > 0; ++i) {
    desk.tick(10 * kSecond);
    const auto keys = keys_of(desk.sent.back());
    desk.answer(std::find(keys.begin(), keys.end(), poison) == keys.end() ? Code::kOk : Code::kInvalid);
  }
}

TEST(Outbox, PoisonIsFoundByHalvingAndTheRestGoesOn) {  // D6
  Desk desk;
  WriteBehind poison;
  std::uint64_t poisoned = 0;
  for (int i = 0; i < 20; ++i) {
    WriteBehind write = desk.make("feature:" + std::to_string(i), "v");
    write.level = AckLevel::kOrigin;
    const auto token = desk.write(write);
    if (i == 13) poisoned = token;
  }
  desk.open();
  refuse_until_done(desk, "feature:13");
  EXPECT_EQ(desk.outbox.counters().flushed, 19u);
  EXPECT_EQ(desk.outbox.counters().lost, 1u) << "an app's write that never arrives is lost, and said to be";
  EXPECT_EQ(desk.fate(poisoned), "invalid");
  ASSERT_EQ(desk.alarms.size(), 1u);
  EXPECT_EQ(desk.alarms[0], "the hub refuses 'feature:13' for good: said the hub");
  std::size_t letters = 0;
  for (const auto& [key, value] : desk.rows) letters += key[0] == 'd' ? 1 : 0;
  EXPECT_EQ(letters, 1u);
  std::uint64_t number = 0;
  for (const WriteBatch& batch : desk.sent) {
    EXPECT_TRUE(batch.number == number || batch.number == number + 1) << "numbers leave no hole";
    number = batch.number;
  }
  desk.restart();
  EXPECT_EQ(desk.outbox.counters().lost, 1u);
}

TEST(Outbox, OneRefusalIsNotPoison) {  // D6: it may be the answer to an earlier copy
  Desk desk;
  desk.open();
  desk.write("feature:1");
  desk.tick(kSecond);
  desk.answer(Code::kInvalid);
  desk.answer(Code::kInvalid);
  desk.answer(Code::kInvalid);
  desk.answer(Code::kInvalid);
  EXPECT_EQ(desk.outbox.counters().lost, 0u) << "answers to what was not sent again count for nothing";
  desk.tick(10 * kSecond);
  desk.answer(Code::kOk);
  EXPECT_EQ(desk.outbox.counters().flushed, 1u);
}

TEST(Outbox, SplittingDropsWhatWasOverwrittenMeanwhile) {  // D6: order within a key
  Desk desk;
  for (int i = 0; i < 4; ++i) desk.write("feature:" + std::to_string(i), "old");
  desk.open();
  desk.tick(kSecond);
  desk.write("feature:3", "new");
  desk.write("feature:0", "new");
  for (int i = 0; i < 3; ++i) {
    desk.answer(Code::kInvalid);
    desk.tick(10 * kSecond);
  }
  EXPECT_EQ(keys_of(desk.sent.back()), (std::vector<std::string>{"feature:0", "feature:1"}));
  EXPECT_EQ(desk.outbox.counters().superseded, 1u);
  desk.answer();
  desk.tick(kSecond);
  const auto records = records_of(desk.sent.back());
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].key, "feature:2");
  EXPECT_EQ(*records[1].value, "new");
  EXPECT_EQ(*records[2].value, "new");
}

TEST(Outbox, DeadLettersAreCapped) {  // I11
  OutboxOptions options;
  options.dead_letters_max = 3;
  options.poison_answers = 1;
  Desk desk(options);
  desk.open();
  for (int i = 0; i < 10; ++i) {
    desk.write("feature:1");
    desk.tick(10 * kSecond);
    desk.answer(Code::kInvalid);
  }
  EXPECT_EQ(desk.outbox.counters().lost, 10u);
  std::size_t letters = 0;
  for (const auto& [key, value] : desk.rows) letters += key[0] == 'd' ? 1 : 0;
  EXPECT_EQ(letters, 3u);
}

TEST(Outbox, ALedgerThatWasReplacedGetsANewIncarnation) {  // D5
  Desk desk;
  desk.open();
  desk.write("feature:1");
  desk.tick(kSecond);
  desk.answer();
  desk.write("feature:2");
  desk.tick(kSecond);
  const auto before = desk.sent.back();
  EXPECT_EQ(before.number, 2u);
  desk.answer(Code::kConflict);
  desk.tick(10 * kSecond);
  const auto after = desk.sent.back();
  EXPECT_NE(after.incarnation, before.incarnation);
  EXPECT_EQ(after.number, 1u);
  EXPECT_EQ(records_of(after), records_of(before));
  desk.restart();
  EXPECT_EQ(desk.outbox.incarnation(), after.incarnation);
  desk.open();
  EXPECT_EQ(desk.sent.back().number, 1u);
  desk.answer();
  EXPECT_EQ(desk.outbox.counters().flushed, 2u);
}

TEST(Outbox, AStoreThatFailedStaysFailed) {  // D3
  Desk desk;
  desk.open();
  desk.write("feature:1");
  desk.tick(kSecond);
  desk.disk_works = false;
  const auto waiting = desk.write("feature:2");
  desk.act([&](OutboxActions& out) { desk.outbox.store_failed(desk.now, "no space left", out); });
  EXPECT_EQ(desk.fate(waiting), "maybe_applied");
  EXPECT_EQ(desk.fate(desk.write("feature:3")), "busy");
  const auto rows = desk.rows;
  desk.answer();
  EXPECT_EQ(desk.outbox.counters().flushed, 1u) << "what is on its way may finish";
  desk.tick(10 * kSecond);
  EXPECT_EQ(desk.sent.size(), 1u) << "nothing new can be composed";
  EXPECT_EQ(desk.rows, rows) << "no write is tried again";
}

TEST(Outbox, RowsThatContradictEachOtherAreRefused) {  // D2
  OutboxOptions options;
  options.batch_records_max = 2;
  Desk desk(options);
  desk.open();
  for (int i = 0; i < 3; ++i) desk.write("feature:" + std::to_string(i));
  ASSERT_TRUE(desk.rows.contains("f"));
  using Rows = std::map<Bytes, Bytes>;
  struct Case {
    const char* why;
    std::function<void(Rows&)> change;
  };
  const Case cases[] = {
      {"no head", [](Rows& rows) { rows.erase("m"); }},
      {"cut head", [](Rows& rows) { rows["m"].pop_back(); }},
      {"a record of the batch in flight is missing", [](Rows& rows) { rows.erase(rows.lower_bound("r")); }},
      {"cut record", [](Rows& rows) { rows.lower_bound("r")->second.pop_back(); }},
      {"cut composition", [](Rows& rows) { rows["f"].pop_back(); }},
      {"the same record twice",
       [](Rows& rows) {
         const auto last = std::prev(rows.end());
         Bytes key = last->first;
         key.back() = static_cast<char>(key.back() + 1);
         rows[key] = last->second;
       }},
      {"a foreign row", [](Rows& rows) { rows["z"] = "?"; }},
      {"a record of the batch in flight twice",  // found by fuzzing: its answer ended the process
       [](Rows& rows) {
         std::uint64_t number = 0;
         std::vector<std::uint64_t> seqs;
         Decoder in(rows["f"]);
         in(number, seqs);
         seqs.back() = seqs.front();
         Encoder out;
         out(number, seqs);
         rows["f"] = out.take();
       }},
  };
  for (const Case& c : cases) {
    Rows rows = desk.rows;
    c.change(rows);
    const std::vector<std::pair<Bytes, Bytes>> all(rows.begin(), rows.end());
    const auto restored = Outbox::restore(options, all, desk.now, desk.wall_ms, Rng(1));
    ASSERT_FALSE(restored.has_value()) << c.why;
    EXPECT_EQ(restored.error().code, Code::kCorrupt) << c.why;
  }
}

// ---- the model: an outbox on a disk that loses what was not synced, against the real state machine behind a link that
// loses replies, repeats batches and answers late.

struct Disk {
  struct Commit {
    OutboxRows rows;
    std::uint64_t number = 0;
    bool sync = false;
  };
  static void write(std::map<Bytes, Bytes>& to, const OutboxRows& rows) {
    for (const auto& [key, value] : rows) {
      if (value) {
        to[key] = *value;
      } else {
        to.erase(key);
      }
    }
  }
  std::map<Bytes, Bytes> kernel;   // what a restart after kill -9 finds
  std::map<Bytes, Bytes> platter;  // what surely survives a power cut
  std::vector<OutboxRows> unsynced;

  void commit(const Commit& one) {
    write(kernel, one.rows);
    unsynced.push_back(one.rows);
  }
  void sync() {
    unsynced.clear();
    platter = kernel;
  }
  void power_cut(Rng& rng) {  // some prefix of the unsynced commits had made it
    kernel = platter;
    const std::size_t kept = rng.below(unsynced.size() + 1);
    for (std::size_t i = 0; i < kept; ++i) write(kernel, unsynced[i]);
    sync();
  }
};

struct Model {
  struct Written {
    std::string key;
    Bytes value;
    AckLevel level = AckLevel::kOs;
    bool required = false;  // acknowledged, and nothing since may have undone it
    bool has_ttl = false;
  };

  explicit Model(std::uint64_t s) : seed(s), rng(s), with_ttl(rng.one_in(2)), with_poison(rng.one_in(3)) {
    options.batch_records_max = 1 + rng.below(6);
    options.batch_bytes_max = 2'000;
    options.bytes_max = rng.one_in(2) ? 4'000 : 1u << 20;
    options.dead_letters_max = 2;
    options.clock_run = 7;
    hub_apply(Claim{"hub-1", Boot{1}});
    term = Term{index};
    hub_apply(Seed{{}, default_namespaces(), {}});
    hub_apply(RegisterEdge{"edge-1", "s"});
    start();
  }

  // ---- hub
  Applied hub_apply(decltype(Command::body) body) {
    Command command{{1, ++sequence}, term, now, std::move(body)};
    StateBatch batch;
    const Applied applied = machine.apply(Index{++index}, encode(command), batch);
    hub_rows.commit(batch);
    return applied;
  }
  void hub_handle(const WriteBatch& batch) {
    BatchDone done{batch.incarnation, batch.number, {}, 0, Code::kOk, ""};
    const auto records = records_of(batch);
    const auto poison = [&](const BatchRecord& r) { return r.key.starts_with("feature:poison"); };
    if (machine.last_batch("edge-1", batch.incarnation) < batch.number &&
        std::any_of(records.begin(), records.end(), poison)) {
      done.code = Code::kInvalid;
      done.message = "poison";
    } else if (!calm && rng.one_in(6)) {
      done.code = rng.one_in(2) ? Code::kBusy : Code::kUnavailable;
    } else {
      const Applied applied = hub_apply(Batch{"edge-1", batch.incarnation, batch.number, records});
      done.code = applied.code;
      done.superseded = applied.superseded;
      ASSERT_EQ(applied.code, Code::kOk) << where() << applied.message;
      if (applied.effective) {
        applied_records += records.size();
        for (const BatchRecord& record : records) {  // D5
          ASSERT_TRUE(applied_stamps.insert(record.stamp).second) << where() << "a record counted twice";
        }
      }
    }
    if (session_of_hub == session) to_edge.push_back({session, done});
  }

  // ---- edge
  std::string where() const { return "seed " + std::to_string(seed) + " step " + std::to_string(step_count) + ": "; }
  void start() {
    const std::vector<std::pair<Bytes, Bytes>> rows(disk.kernel.begin(), disk.kernel.end());
    auto restored = Outbox::restore(options, rows, now, wall_ms(), Rng(rng.next()));
    ASSERT_TRUE(restored.has_value()) << where() << restored.error().message;
    outbox = std::make_unique<Outbox>(std::move(*restored));
    ASSERT_TRUE(outbox->counters().adds_up()) << where();
    hlc = Hlc(1);
    hlc.start_after(outbox->newest_stamp());
    commits.clear();
    events.clear();
    tokens.clear();
  }
  std::uint64_t wall_ms() const { return 1'000'000 + static_cast<std::uint64_t>(now / kMillisecond); }

  void take(OutboxActions actions) {
    for (const OutboxDone& done : actions.done) {
      const auto it = tokens.find(done.token);
      ASSERT_NE(it, tokens.end()) << where() << "answered twice";
      Written& written = writes.at(it->second);
      if (done.code == Code::kOk) {
        ASSERT_EQ(done.level, written.level) << where();
        written.required = true;
        if (done.level == AckLevel::kDisk) {  // I8: it, or a newer one of its key, is on the platter or was applied
          bool there = applied_stamps.contains(it->second) || machine_stamp(written.key) >= it->second;
          for (const auto& [stamp, other] : writes)
            there = there || (other.key == written.key && stamp >= it->second && on_platter(stamp));
          ASSERT_TRUE(there || written.has_ttl || with_poison) << where() << "acknowledged before its sync";
        }
      }
      tokens.erase(it);
    }
    for (const auto& [key, value] : actions.persist) {
      if (key == "f") composition = value;
    }
    if (actions.persist_number != 0) commits.push_back({actions.persist, actions.persist_number, actions.sync});
    if (actions.send) {
      ASSERT_TRUE(session != 0) << where();
      ASSERT_TRUE(composition && disk.platter.contains("f") && disk.platter.at("f") == *composition)
          << where() << "sent before its composition was on disk";
      to_hub.push_back({session, *actions.send});
    }
  }
  bool on_platter(const Stamp& stamp) const { return platter_stamps.contains(stamp); }
  Stamp machine_stamp(const std::string& key) const {
    const auto bytes = hub_rows.row("v" + key);
    return bytes ? decode<StoredValue>(*bytes, "value")->stamp : Stamp{};
  }

  void write() {
    WriteBehind w;
    const bool poison = with_poison && rng.one_in(15);
    w.key = (poison ? "feature:poison" : "feature:") + std::to_string(rng.below(8));
    w.value = std::to_string(next_value++) + std::string(rng.below(200), 'x');
    if (rng.one_in(8)) w.value.reset();
    if (with_ttl && rng.one_in(3)) w.ttl_ns = static_cast<Nanos>(1 + rng.below(4000)) * kMillisecond;
    w.stamp = hlc.tick(wall_ms());
    w.level = static_cast<AckLevel>(rng.below(3));
    w.token = ++token;
    const Stamp stamp = w.stamp;
    Written written{w.key, w.value.value_or(""), w.level, false, w.ttl_ns != 0};
    OutboxActions actions;
    outbox->accept(now, wall_ms(), w, actions);
    const bool refused = std::any_of(actions.done.begin(), actions.done.end(),
                                     [&](const OutboxDone& d) { return d.token == w.token && d.code == Code::kBusy; });
    if (refused) {
      std::erase_if(actions.done, [&](const OutboxDone& d) { return d.token == w.token; });
    } else {
      // After a crash the clock may make a stamp again whose record nobody can have seen but readers here.
      ASSERT_FALSE(applied_stamps.contains(stamp)) << where() << "a stamp that the hub knows was made twice";
      ASSERT_FALSE(writes.contains(stamp) && writes.at(stamp).required) << where();
      writes[stamp] = written;
      platter_stamps.erase(stamp);
      tokens.emplace(w.token, stamp);
    }
    take(std::move(actions));
  }
  void commit_one() {
    if (commits.empty()) return;
    const Disk::Commit one = commits.front();
    commits.erase(commits.begin());
    disk.commit(one);
    events.emplace_back(one.number, AckLevel::kOs);
    last_committed = one.number;
    sync_wanted = sync_wanted || one.sync;
  }
  void group_sync() {
    sync_wanted = false;
    disk.sync();
    note_platter();
    if (last_committed != 0) events.emplace_back(last_committed, AckLevel::kDisk);
  }
  void note_platter() {
    for (const auto& [stamp, written] : writes) {
      (void)written;
      if (platter_stamps.contains(stamp)) continue;
      for (const auto& [key, value] : disk.platter) {
        if (key[0] == 'r' && value.find(written.value) != Bytes::npos && value.find(written.key) != Bytes::npos) {
          platter_stamps.insert(stamp);
          break;
        }
      }
    }
  }
  void persist_event() {
    if (events.empty()) return;
    const auto [number, level] = events.front();
    events.erase(events.begin());
    OutboxActions actions;
    outbox->persisted(now, number, level, actions);
    take(std::move(actions));
  }
  void open_session() {
    session = session_of_hub = ++sessions;
    to_edge.clear();
    OutboxActions actions;
    outbox->session_open(now, actions);
    take(std::move(actions));
  }
  void close_session() {
    session = 0;
    to_edge.clear();
    if (rng.one_in(2)) to_hub.clear();  // else the hub still handles what had arrived; only the reply is lost
    outbox->session_closed();
  }
  void crash(bool power) {
    if (power) {
      disk.power_cut(rng);
      for (auto& [stamp, written] : writes) {
        if (written.level == AckLevel::kOs && !applied_stamps.contains(stamp)) written.required = false;  // D9
      }
    }
    session = 0;
    to_edge.clear();
    if (rng.one_in(2)) to_hub.clear();
    last_committed = 0;
    sync_wanted = false;
    composition.reset();
    if (disk.kernel.contains("f")) composition = disk.kernel.at("f");
    start();
  }
  void to_hub_one() {
    if (to_hub.empty()) return;
    const auto [from, batch] = to_hub.front();
    if (calm || !rng.one_in(5)) to_hub.erase(to_hub.begin());  // else it is delivered again
    session_of_hub = from;
    hub_handle(batch);
  }
  void to_edge_one() {
    if (to_edge.empty()) return;
    const auto [of, done] = to_edge.front();
    to_edge.erase(to_edge.begin());
    if (of != session) return;  // F2
    OutboxActions actions;
    outbox->batch_done(now, done, actions);
    take(std::move(actions));
  }
  void tick() {
    now += static_cast<Nanos>(rng.below(400)) * kMillisecond;
    OutboxActions actions;
    outbox->tick(now, actions);
    take(std::move(actions));
  }
  void step() {
    ++step_count;
    switch (rng.below(16)) {
      case 0:
      case 1:
      case 2: write(); break;
      case 3:
      case 4:
      case 5: commit_one(); break;
      case 6:
      case 7: persist_event(); break;
      case 8:
        if (sync_wanted || rng.one_in(10)) group_sync();
        break;
      case 9:
      case 10: to_hub_one(); break;
      case 11:
      case 12: to_edge_one(); break;
      case 13: tick(); break;
      case 14:
        if (session == 0) {
          open_session();
        } else if (rng.one_in(4)) {
          close_session();
        }
        break;
      default:
        if (rng.one_in(8)) crash(rng.one_in(2));
    }
    ASSERT_TRUE(outbox->counters().adds_up()) << where();
    ASSERT_LE(outbox->bytes(), options.bytes_max) << where();
  }
  // After the faults stop, everything converges (I10) and nothing acknowledged is missing (I8).
  void settle() {
    calm = true;
    if (session == 0) open_session();
    for (int i = 0; i < 20'000 && outbox->counters().pending > 0; ++i) {
      commit_one();
      if (sync_wanted) group_sync();
      persist_event();
      to_hub_one();
      to_edge_one();
      now += 100 * kMillisecond;
      OutboxActions actions;
      outbox->tick(now, actions);
      take(std::move(actions));
      if (::testing::Test::HasFatalFailure()) return;
    }
    ASSERT_EQ(outbox->counters().pending, 0u) << where();
    ASSERT_TRUE(outbox->counters().adds_up()) << where();
    if (!with_poison) {
      ASSERT_EQ(outbox->counters().lost, 0u) << where();
    }
    if (!with_ttl) {
      ASSERT_EQ(outbox->counters().flushed, applied_records) << where() << "each record counted once on both sides";
    }
    std::map<std::string, Stamp> newest_required;
    for (const auto& [stamp, written] : writes) {
      if (written.required && !written.has_ttl && !written.key.starts_with("feature:poison"))
        newest_required[written.key] = stamp;
    }
    for (const auto& [key, stamp] : newest_required) {
      // A newer write with a lifetime may have replaced it and expired since: then both are rightly gone.
      const bool newer_expired = std::any_of(writes.begin(), writes.end(), [&](const auto& w) {
        return w.first > stamp && w.second.key == key && w.second.has_ttl;
      });
      ASSERT_TRUE(newer_expired || machine_stamp(key) >= stamp || tombstone_collected(key, stamp))
          << where() << "I8: lost " << key;
    }
    for (const auto& key : machine.keys("", 1000)) {
      const auto found = machine.find(key);
      const auto it = writes.find(found->stamp);
      ASSERT_NE(it, writes.end()) << where() << "the hub holds what nobody wrote";
      ASSERT_EQ(it->second.key, key) << where();
      ASSERT_EQ(it->second.value, *found->value) << where();
    }
  }
  bool tombstone_collected(const std::string& key, const Stamp& stamp) const {
    if (hub_rows.row("v" + key)) return false;
    return std::any_of(applied_stamps.begin(), applied_stamps.end(),
                       [&](const Stamp& s) { return s >= stamp && writes.at(s).key == key; });
  }

  const std::uint64_t seed;
  Rng rng;
  const bool with_ttl, with_poison;
  bool calm = false;
  int step_count = 0;
  Nanos now = 100 * kSecond;
  OutboxOptions options;

  MapRows hub_rows;
  StateMachine machine{hub_rows};
  std::uint64_t index = 0, sequence = 0;
  Term term;
  std::set<Stamp> applied_stamps;
  std::uint64_t applied_records = 0;

  Disk disk;
  std::unique_ptr<Outbox> outbox;
  Hlc hlc;
  std::vector<Disk::Commit> commits;                       // decided, not yet carried out
  std::vector<std::pair<std::uint64_t, AckLevel>> events;  // carried out, not yet told
  std::uint64_t last_committed = 0;
  bool sync_wanted = false;
  std::optional<Bytes> composition;  // as decided last
  std::set<Stamp> platter_stamps;    // were on the platter at some time
  std::vector<std::pair<int, WriteBatch>> to_hub;
  std::vector<std::pair<int, BatchDone>> to_edge;
  int sessions = 0, session = 0, session_of_hub = 0;
  std::uint64_t token = 0, next_value = 1'000'000;
  std::map<Stamp, Written> writes;
  std::map<std::uint64_t, Stamp> tokens;
};

TEST(OutboxModel, NothingAcknowledgedIsLostAndNothingCountsTwice) {  // I8, D5, D9, I10
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    Model model(seed);
    for (int i = 0; i < 400; ++i) {
      model.step();
      if (HasFatalFailure()) return;
    }
    model.settle();
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace tidelock
