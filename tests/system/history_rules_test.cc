// The checker's own test: a checker that cannot say no proves nothing.
#include "history_rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace chaos {
namespace {

constexpr std::int64_t kMs = 1'000'000;

Verdict judged(const std::vector<Record>& history) { return judge({std::span<const Record>(history)}); }

// ---- small random histories of one register: sort-and-look-up against search

struct Drawn {
  std::vector<Record> history;        // what clients logged
  std::vector<Record> with_versions;  // the same, with the version of every write, as the search wants it
};

// A history that is linearizable by construction: each operation takes effect at an instant inside its interval.
Drawn draw(std::mt19937_64& random) {
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(random() % n); };
  Drawn drawn;
  const int count = 2 + static_cast<int>(below(11));
  std::uint64_t version = 0, in_force = 0;
  for (int i = 0; i < count; ++i) {
    const std::int64_t effect = 1'000 + 100 * i;
    Record record;
    record.begin_ns = effect - 1 - below(350);
    record.end_ns = effect + 1 + below(350);
    record.outcome = Outcome::kOk;
    record.kind = below(5) < 2 ? Kind::kWrite : Kind::kRead;
    if (record.kind == Kind::kWrite) {
      version += 1 + static_cast<std::uint64_t>(below(3));
      record.version = version;
      record.value = version;
      record.sequenced = true;
      const bool unknown = below(4) == 0;
      if (!unknown || below(2) == 0) in_force = version;  // an unknown one may never have happened
      if (unknown) {
        record.end_ns = kOpen;
        record.outcome = Outcome::kUnknown;
        record.sequenced = false;
      }
    } else {
      record.version = record.value = in_force;
      record.claim = Claim::kStrong;
    }
    drawn.with_versions.push_back(record);
  }
  return drawn;
}

void spoil(std::mt19937_64& random, Drawn& drawn) {
  auto& records = drawn.with_versions;
  Record& victim = records[random() % records.size()];
  switch (random() % 3) {
    case 0:  // another value is shown
      if (victim.kind == Kind::kRead) victim.version = victim.value = records[random() % records.size()].version;
      break;
    case 1: {  // it happened at another time
      const auto by = static_cast<std::int64_t>(random() % 1'200) - 600;
      victim.begin_ns += by;
      if (victim.end_ns != kOpen) victim.end_ns += by;
      break;
    }
    default:  // two reads saw each other's value
      for (Record& other : records) {
        if (victim.kind == Kind::kRead && other.kind == Kind::kRead && other.version != victim.version) {
          std::swap(other.version, victim.version);
          std::swap(other.value, victim.value);
          break;
        }
      }
  }
}

TEST(HistoryRules, SortingAndSearchingAgreeOnSmallHistories) {
  int rejected = 0, accepted_spoilt = 0;
  for (std::uint64_t seed = 1; seed <= 20'000; ++seed) {
    std::mt19937_64 random(seed);
    Drawn drawn = draw(random);
    const bool spoilt = seed % 4 != 0;
    if (spoilt) spoil(random, drawn);
    drawn.history = drawn.with_versions;
    for (Record& record : drawn.history) {
      if (record.kind == Kind::kWrite && record.outcome == Outcome::kUnknown) record.version = 0;  // nobody was told
    }
    std::shuffle(drawn.history.begin(), drawn.history.end(), random);  // logs of several clients, in any order
    const bool by_search = linearizable(drawn.with_versions);
    const Verdict verdict = judged(drawn.history);
    ASSERT_EQ(by_search, verdict.violations == 0)
        << "seed " << seed << ": search says " << by_search << ", the sweep found "
        << (verdict.first.empty() ? "nothing" : verdict.first.front().rule + ": " + verdict.first.front().what);
    if (!spoilt) {
      ASSERT_TRUE(by_search) << "seed " << seed << " is linearizable by construction";
    }
    rejected += !by_search;
    accepted_spoilt += spoilt && by_search;
  }
  // Both answers must be common, or the agreement means nothing.
  EXPECT_GT(rejected, 1'500);
  EXPECT_GT(accepted_spoilt, 3'000);
}

// ---- each rule, by the smallest history that breaks it

Record write(std::uint64_t version, std::int64_t begin, std::int64_t end) {
  Record record;
  record.kind = Kind::kWrite;
  record.version = record.value = version;
  record.begin_ns = begin * kMs;
  record.end_ns = end * kMs;
  record.outcome = Outcome::kOk;
  record.sequenced = true;
  record.gateway = 1;
  return record;
}
Record read(std::uint64_t version, std::int64_t begin, std::int64_t end, std::int64_t bound) {
  Record record = write(version, begin, end);
  record.kind = Kind::kRead;
  record.bound_ns = bound * kMs;
  record.claim = Claim::kBounded;
  record.sequenced = false;
  return record;
}
template <class F>
Record with(Record record, F&& change) {
  change(record);
  return record;
}
Record behind(Record record, std::uint16_t gateway) {
  record.key_class = KeyClass::kBehind;
  record.gateway = gateway;
  record.sequenced = record.sequenced && record.version != 0;
  return record;
}
const auto kStrong = [](Record& r) { r.claim = Claim::kStrong; };
const auto kUnsequenced = [](Record& r) { r.sequenced = false; };
const auto kLives = [](Record& r) {
  r.lifetime_ns = 10'000 * kMs;
  r.key_class = KeyClass::kLifetime;
};
const auto kMayLive = [](Record& r) { r.key_class = KeyClass::kLifetime; };
const auto kRefused = [](Record& r) {
  r.outcome = Outcome::kRefused;
  r.version = 0;
};
const auto kUnknown = [](Record& r) {
  r.outcome = Outcome::kUnknown;
  r.end_ns = kOpen;
  r.version = 0;
  r.sequenced = false;
};
const auto kBriefUnknown = [](Record& r) {
  kUnknown(r);
  r.lifetime_ns = 100 * kMs;
};
const auto kFinal = [](Record& r) { r.final = true; };
const auto kFlagged = [](Record& r) { r.fallback = true; };
const auto kAbsent = [](Record& r) {
  r.value = kNoValue;
  r.version = 0;
};
Record event(Kind kind, std::int64_t at, std::uint16_t gateway = 0) {
  Record record;
  record.kind = kind;
  record.begin_ns = record.end_ns = at * kMs;
  record.gateway = gateway;
  return record;
}

struct Case {
  const char* name;
  std::vector<Record> history;
  const char* rule;  // empty: clean
};

TEST(HistoryRules, EachRuleFindsItsLieAndNothingElse) {
  const Case cases[] = {
      {"a bound that holds", {write(1, 0, 10), write(2, 100, 110), read(1, 150, 151, 50)}, ""},
      {"a bound that does not", {write(1, 0, 10), write(2, 100, 110), read(1, 150, 151, 39)}, "staleness"},
      {"simultaneous is not stale", {write(1, 0, 10), write(2, 100, 200), read(1, 150, 151, 0)}, ""},
      {"what another was shown exists",
       {write(1, 0, 10), with(write(2, 100, 0), kUnknown), read(2, 110, 111, 5), read(1, 150, 151, 20)},
       "staleness"},
      {"flagged reads keep their bound",
       {write(1, 0, 10), write(2, 100, 110), with(read(1, 150, 151, 39), kFlagged)},
       "staleness"},
      {"strong and older",
       {write(1, 0, 10), write(2, 100, 110), with(read(1, 111, 112, 90), kStrong)},
       "linearizability"},
      {"strong, a read ahead of its write's answer",
       {write(1, 0, 10), write(2, 100, 200), with(read(2, 110, 111, 9), kStrong), with(read(1, 112, 113, 9), kStrong)},
       "linearizability"},
      {"strong but flagged claims no order",
       {write(1, 0, 10), write(2, 100, 110), with(with(read(1, 111, 112, 90), kStrong), kFlagged)},
       ""},
      {"nobody wrote it", {write(1, 0, 10), read(2, 20, 21, 5)}, "invented_value"},
      {"its bytes are broken",
       {write(1, 0, 10), with(read(1, 20, 21, 5), [](Record& r) { r.value = kBrokenValue; })},
       "invented_value"},
      {"version and value of different writes",
       {write(1, 0, 10), write(2, 20, 30), with(read(2, 40, 41, 5), [](Record& r) { r.value = 1; })},
       "wrong_value"},
      {"read before it was written", {write(1, 50, 60), read(1, 20, 21, 5)}, "read_before_write"},
      {"told that nothing happened", {with(write(1, 0, 10), kRefused), read(1, 20, 21, 5)}, "refused_write_shown"},
      {"unknown, and shown", {with(write(1, 0, 10), kUnknown), read(1, 20, 21, 5)}, ""},
      {"versions against real time", {write(2, 0, 10), write(1, 20, 30)}, "order_of_writes"},
      {"one version, two writes", {write(1, 0, 10), write(1, 5, 20)}, "two_writes_one_version"},
      {"token kept",
       {write(1, 0, 10), write(5, 20, 30), with(read(5, 40, 41, 900), [](Record& r) { r.token = 5; })},
       ""},
      {"token broken",
       {write(1, 0, 10), write(5, 20, 30), with(read(1, 40, 41, 900), [](Record& r) { r.token = 6; })},
       "session_token"},
      {"absent, though written", {write(1, 0, 10), with(read(0, 40, 41, 5), kAbsent)}, "staleness"},
      {"absent within its bound", {write(1, 0, 10), with(read(0, 40, 41, 50), kAbsent)}, ""},
      {"lifetime over, still served",
       {with(write(1, 0, 10), kLives), with(read(1, 10'116, 10'117, 5), kMayLive)},
       "expired_value"},
      {"lifetime over, within the grace",
       {with(write(1, 0, 10), kLives), with(read(1, 10'114, 10'115, 5), kMayLive)},
       ""},
      {"lifetime over, gone",
       {with(write(1, 0, 10), kLives), with(with(read(0, 10'010, 10'011, 5), kAbsent), kMayLive)},
       ""},
      {"gone early, by less than the way of the hub's last word",
       {with(write(1, 0, 10), kLives), with(with(read(0, 8'600, 8'601, 5), kAbsent), kMayLive)},
       ""},
      {"gone before its lifetime",
       {with(write(1, 0, 10), kLives), with(with(read(0, 8'400, 8'401, 5), kAbsent), kMayLive)},
       "absent"},
      {"gone because of a write that nobody answered",
       {with(write(1, 0, 10), kLives), with(with(write(2, 20, 0), kLives), kBriefUnknown),
        with(with(read(0, 900, 901, 5), kAbsent), kMayLive)},
       ""},
      {"two writes of one value, the refused one is not meant",
       {with(write(7, 0, 10), kRefused), with(write(7, 20, 30), kUnknown),
        with(read(3, 40, 41, 5), [](Record& r) { r.value = 7; })},
       ""},
      {"shown before the only write of its value began",
       {write(1, 0, 10), with(read(3, 40, 41, 5), [](Record& r) { r.value = 7; }), with(write(7, 100, 110), kUnknown)},
       "invented_value"},
      {"own write not seen at its gateway",
       {behind(with(write(1, 0, 10), kUnsequenced), 1), behind(with(write(2, 20, 30), kUnsequenced), 1),
        behind(read(1, 40, 41, 900), 1)},
       "own_write"},
      {"a newer own write has ended, and the older one is back",
       {behind(with(write(1, 0, 10), kUnsequenced), 1), behind(with(with(write(2, 20, 30), kUnsequenced), kLives), 1),
        behind(read(1, 10'200, 10'201, 19'000), 1)},
       "resurrected"},
      {"another gateway may be behind",
       {behind(with(write(1, 0, 10), kUnsequenced), 1), behind(with(write(2, 20, 30), kUnsequenced), 1),
        behind(read(1, 40, 41, 900), 2)},
       ""},
      {"another gateway, at the hubs since",
       {behind(write(1, 0, 10), 1), behind(write(2, 20, 30), 1), behind(read(1, 80, 81, 40), 2)},
       "staleness"},
      {"acknowledged and lost",
       {behind(with(write(1, 0, 10), kUnsequenced), 1), behind(with(write(2, 20, 30), kUnsequenced), 1),
        event(Kind::kDrained, 100), behind(with(read(1, 900, 901, 500), kFinal), 2)},
       "lost_write"},
      {"acknowledged by a gateway whose disk is gone",
       {behind(with(write(1, 0, 10), kUnsequenced), 1), behind(with(write(2, 20, 30), kUnsequenced), 1),
        event(Kind::kForgotten, 50, 1), event(Kind::kDrained, 100), behind(with(read(1, 900, 901, 500), kFinal), 2)},
       ""},
      {"all gone",
       {behind(with(write(1, 0, 10), kUnsequenced), 1), event(Kind::kDrained, 100),
        behind(with(with(read(0, 900, 901, 500), kAbsent), kFinal), 2)},
       "lost_write"},
  };
  for (const Case& one : cases) {
    const Verdict verdict = judged(one.history);
    if (one.rule[0] == '\0') {
      EXPECT_EQ(verdict.violations, 0u) << one.name << ": "
                                        << (verdict.first.empty() ? "" : verdict.first.front().what);
      continue;
    }
    EXPECT_EQ(verdict.by_rule.size(), 1u) << one.name;
    EXPECT_TRUE(verdict.by_rule.contains(one.rule))
        << one.name << ": found " << (verdict.by_rule.empty() ? "nothing" : verdict.by_rule.begin()->first);
  }
}

TEST(HistoryRules, ARecordCutOffByAKillIsLeftOut) {
  std::vector<Record> history = {write(1, 0, 10), read(7, 20, 21, 5)};
  history[1].kind = Kind::kNone;
  const Verdict verdict = judged(history);
  EXPECT_EQ(verdict.violations, 0u);
  EXPECT_EQ(verdict.checked, 1u);
}

TEST(HistoryWriter, WhatIsOpenWhenTheProcessDiesIsUnknown) {
  const std::string path = testing::TempDir() + "history_writer_test";
  ::unlink(path.c_str());
  {
    HistoryWriter log(path);
    Record* done = log.begin(write(0, 0, 0));
    HistoryWriter::complete(done, Outcome::kOk, 10 * kMs, 4, true, 0);
    for (int i = 0; i < 100'000; ++i) log.add(read(4, 20, 21, 5));  // over the end of a window
  }
  std::FILE* file = std::fopen(path.c_str(), "rb");
  ASSERT_NE(file, nullptr);
  Header header;
  ASSERT_EQ(std::fread(&header, sizeof header, 1, file), 1u);
  std::vector<Record> records(100'001);
  EXPECT_EQ(std::fread(records.data(), sizeof(Record), records.size(), file), records.size());
  EXPECT_EQ(std::fgetc(file), EOF);
  std::fclose(file);
  EXPECT_EQ(records.front().version, 4u);
  EXPECT_EQ(records.front().outcome, Outcome::kOk);
  EXPECT_EQ(records.back().version, 4u);
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace chaos
