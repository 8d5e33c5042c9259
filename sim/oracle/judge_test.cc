// Every rule with a history that must be accepted and one that must be refused, for that very rule.

#include "sim/oracle/judge.h"

#include <gtest/gtest.h>

namespace tidelock::oracle {
namespace {

constexpr Nanos kMs = kMillisecond;
constexpr Stamp kStamp{100, 0, 1};
constexpr Nanos kLong = 30 * kSecond, kShort = 2 * kSecond;
std::uint16_t slot(const std::string& key) { return static_cast<std::uint16_t>(hash64(key) & 0xFFFF); }

// A court at true time `now`, with a hub in office since index 1 and namespaces since index 2. The page's clock shows
// true time. Each step takes a millisecond.
class Court {
 public:
  Court()
      : judge([this] { return now; }, [this](std::string what) { broken += (broken.empty() ? "" : " | ") + what; }) {
    commit(Entry::Claim{"hub"}, {});
    commit(Entry::Seed{0, {{"", false, false}, {"cfg:", true, false}, {"feat:", false, true}}, kLong, kShort});
    judge.page_opened(page, "page", [this] { return now; });
  }
  Index commit(decltype(Entry::body) body, Term term = Term{1}) {
    last_id = {3, ++sequence_};
    const Entry entry{last_id, term, now, std::move(body)};
    judge.appended(last_id, now);
    now += kMs;
    judge.committed(Index{++index}, &entry);
    return Index{index};
  }
  Index put(const std::string& key, std::optional<Bytes> value, Nanos ttl = 0) {
    return commit(Entry::Put{{{key, std::move(value), ttl, false, When::kAlways, {}}}});
  }
  Index behind(std::uint64_t number, std::optional<Bytes> value, Stamp stamp, Nanos ttl = 0) {
    return commit(Entry::Batch{"edge", 1, number, {{"feat:k", std::move(value), stamp, ttl}}});
  }
  Told told(const std::string& key, std::optional<Bytes> value, Index version) {
    Told one;
    one.where = "app";
    one.key = key;
    one.value = std::move(value);
    one.version = version;
    one.looked_at = one.ended_at = now;
    one.floor = judge.floor(key);
    return one;
  }
  void strong(const std::string& key, std::optional<Bytes> value, Index version) {
    Told one = told(key, std::move(value), version);
    one.strong = true;
    one.bound_ns = 0;
    judge.read(one);
  }
  void bounded(const std::string& key, std::optional<Bytes> value, Index version, Nanos bound) {
    Told one = told(key, std::move(value), version);
    one.bound_ns = bound;
    judge.read(one);
  }
  void rest(std::vector<HubAtRest> hubs, std::vector<EdgeAtRest> edges = {}) {
    judge.at_rest(Index{index}, hubs, edges);
  }

  Nanos now = kSecond;
  Judge judge;
  std::string broken;
  std::uint64_t index = 0;
  CommandId last_id;
  PageNo page{1};

 private:
  std::uint64_t sequence_ = 0;
};

struct Case {
  const char* rule;  // what must be complained of; "" : nothing
  const char* why;
  void (*story)(Court&);
};

const Case kCases[] = {
    {"", "a strong read of what was acknowledged",
     [](Court& c) {
       const Index v = c.put("cfg:k", "a");
       c.judge.acknowledged(v);
       c.strong("cfg:k", "a", v);
     }},
    {"I1", "a strong read of what an acknowledged write replaced",
     [](Court& c) {
       const Index v = c.put("cfg:k", "a");
       c.judge.acknowledged(c.put("cfg:k", "b"));
       c.strong("cfg:k", "a", v);
     }},
    {"I1", "a strong read behind another strong read",
     [](Court& c) {
       const Index v = c.put("cfg:k", "a"), w = c.put("cfg:k", "b");
       c.strong("cfg:k", "b", w);
       c.strong("cfg:k", "a", v);
     }},
    {"", "the older one, when the write was not acknowledged before the read began",
     [](Court& c) {
       const Index v = c.put("cfg:k", "a");
       Told read = c.told("cfg:k", "a", v);
       read.strong = true;
       c.judge.acknowledged(c.put("cfg:k", "b"));
       c.judge.read(read);
     }},
    {"I1", "absence after an acknowledged write",
     [](Court& c) {
       c.judge.acknowledged(c.put("cfg:k", "a"));
       c.strong("cfg:k", std::nullopt, {});
     }},
    {"", "absence after an acknowledged deletion",
     [](Court& c) {
       c.judge.acknowledged(c.put("cfg:k", "a"));
       c.judge.acknowledged(c.put("cfg:k", std::nullopt));
       c.strong("cfg:k", std::nullopt, {});
     }},
    {"I1: an own write", "a write that is not sequenced answers a strong read",
     [](Court& c) {
       c.judge.written_behind("edge", "feat:k", "a", kStamp, 0);
       Told read = c.told("feat:k", "a", {});
       read.local = read.strong = true;
       c.judge.read(read);
     }},
    {"", "a bound that covers the true staleness",
     [](Court& c) {
       const Index v = c.put("k", "a");
       c.judge.acknowledged(c.put("k", "b"));
       c.now += 10 * kMs;
       c.bounded("k", "a", v, 10 * kMs);
     }},
    {"I2", "a bound that does not",
     [](Court& c) {
       const Index v = c.put("k", "a");
       c.judge.acknowledged(c.put("k", "b"));
       c.now += 10 * kMs;
       c.bounded("k", "a", v, 10 * kMs - 1);
     }},
    {"I2", "a value that its version never had", [](Court& c) { c.bounded("k", "b", c.put("k", "a"), kForever); }},
    {"I2", "a version of the future",
     [](Court& c) { c.bounded("k", "a", Index{c.put("k", "a").value + 1}, kForever); }},
    {"I2", "an own write that nobody wrote",
     [](Court& c) {
       Told read = c.told("feat:k", "a", {});
       read.local = true;
       c.judge.read(read);
     }},
    {"I2", "an own write that a newer stamp has replaced long ago",
     [](Court& c) {
       c.commit(Entry::Register{"edge"});
       c.judge.written_behind("edge", "feat:k", "mine", kStamp, 0);
       c.behind(1, "newer", {200, 0, 2});
       c.judge.acknowledged_batch("edge", 1, 1);
       c.now += kSecond;
       Told read = c.told("feat:k", "mine", {});
       read.local = true;
       read.bound_ns = 10 * kMs;
       c.judge.read(read);
     }},
    {"F3", "a bounded read whose bound is above what was asked",
     [](Court& c) {
       Told read = c.told("k", "a", c.put("k", "a"));
       read.bound_ns = 2 * kMs;
       read.bound_asked_ns = kMs;
       c.judge.read(read);
     }},
    {"", "a live lease, and the key is blocked",
     [](Court& c) {
       c.judge.page_lease(c.page, c.now + kSecond);
       c.judge.page_blocked(c.page, {slot("cfg:k")});
       c.put("cfg:k", "a");
     }},
    {"I3", "a live lease without a block",
     [](Court& c) {
       c.judge.page_lease(c.page, c.now + kSecond);
       c.judge.page_blocked(c.page, {slot("cfg:other")});
       c.put("cfg:k", "a");
     }},
    {"", "the lease has lapsed",
     [](Court& c) {
       c.judge.page_lease(c.page, c.now + kSecond);
       c.now += kSecond;
       c.put("cfg:k", "a");
     }},
    {"", "a page that was revoked, or whose machine slept",
     [](Court& c) {
       c.judge.page_lease(c.page, c.now + kSecond);
       c.judge.page_slept(c.page);
       c.put("cfg:k", "a");
       c.judge.page_revoked(c.page);
       c.put("cfg:k", "b");
     }},
    {"", "no lease covers a bounded key",
     [](Court& c) {
       c.judge.page_lease(c.page, c.now + kSecond);
       c.put("k", "a");
     }},
    {"I4", "fresh_at goes back",
     [](Court& c) {
       c.judge.page_fresh(c.page, c.now);
       c.judge.page_fresh(c.page, c.now - 1);
     }},
    {"", "fresh_at begins anew after the proofs were dropped",
     [](Court& c) {
       c.judge.page_fresh(c.page, c.now);
       c.judge.page_dropped_proofs(c.page);
       c.judge.page_fresh(c.page, c.now - 1);
     }},
    {"F2", "fresh in the future", [](Court& c) { c.judge.page_fresh(c.page, c.now + 1); }},
    {"I4", "the lease goes back",
     [](Court& c) {
       c.judge.page_lease(c.page, c.now);
       c.judge.page_lease(c.page, c.now - 1);
     }},
    {"I4", "applied goes back",
     [](Court& c) {
       c.judge.page_applied(c.page, Index{2});
       c.judge.page_applied(c.page, Index{1});
     }},
    {"I4", "applied is ahead of the ledger", [](Court& c) { c.judge.page_applied(c.page, Index{c.index + 1}); }},
    {"I4", "the pointer in force goes back",
     [](Court& c) {
       c.judge.activated(c.page, "cfg:k", Index{5});
       c.judge.activated(c.page, "cfg:k", Index{4});
     }},
    {"I5", "a lease that was tested while the page showed a block",
     [](Court& c) {
       const Index v = c.put("cfg:k", "a");
       c.judge.page_blocked(c.page, {slot("cfg:k")});
       c.now += 2 * kMs;
       Told read = c.told("cfg:k", "a", v);
       read.page = c.page;
       read.tested_at = c.now - kMs;
       c.judge.page_unblocked(c.page, {slot("cfg:k")});
       c.judge.read(read);
     }},
    {"", "a lease that was tested before the block",
     [](Court& c) {
       const Index v = c.put("cfg:k", "a");
       Told read = c.told("cfg:k", "a", v);
       read.page = c.page;
       read.tested_at = c.now;
       c.now += kMs;
       c.judge.page_blocked(c.page, {slot("cfg:k")});
       c.judge.read(read);
     }},
    {"S2", "an acknowledged block that the page does not show",
     [](Court& c) {
       c.judge.block_announced(Term{1}, BlockNo{1}, {"cfg:k"});
       c.judge.block_acknowledged(c.page, Term{1}, BlockNo{1});
     }},
    {"", "an acknowledged block that it shows",
     [](Court& c) {
       c.judge.block_announced(Term{1}, BlockNo{1}, {"cfg:k"});
       c.judge.page_blocked(c.page, {slot("cfg:k")});
       c.judge.block_acknowledged(c.page, Term{1}, BlockNo{1});
     }},
    {"S2", "a block closes twice", [](Court& c) { c.judge.page_unblocked(c.page, {slot("cfg:k")}); }},
    {"I7", "acknowledged, and not in the ledger", [](Court& c) { c.judge.acknowledged(Index{c.index + 1}); }},
    {"I7", "two hubs apply different entries",
     [](Court& c) {
       c.judge.applied("hub", 1, Index{1}, 11);
       c.judge.applied("hub-2", 1, Index{1}, 12);
     }},
    {"I7", "a hub holds what the ledger did not make",
     [](Court& c) {
       c.put("k", "a");
       c.judge.holds("hub", Index{c.index}, "k", "b", Index{c.index});
     }},
    {"A1", "acknowledged where another command took effect",
     [](Court& c) {
       c.put("k", "a");
       c.judge.acknowledged(CommandId{3, 1}, Index{c.index});
     }},
    {"A1", "a condition that held, and was said to have failed",
     [](Court& c) {
       c.put("k", "a");
       c.judge.refused(c.last_id);
     }},
    {"D5", "a batch acknowledged before its time", [](Court& c) { c.judge.acknowledged_batch("edge", 1, 1); }},
    {"", "a batch that lost a record against a newer stamp",
     [](Court& c) {
       c.commit(Entry::Register{"edge"});
       c.commit(Entry::Batch{"other", 1, 1, {{"feat:k", "newer", {200, 0, 2}, 0}}});
       c.behind(1, "older", kStamp);
       c.judge.acknowledged_batch("edge", 1, 1, 1);
       c.judge.acknowledged_batch("edge", 1, 1, 0);
     }},
    {"D5", "a batch that lost nothing, and is said to have",
     [](Court& c) {
       c.commit(Entry::Register{"edge"});
       c.behind(1, "mine", kStamp);
       c.judge.acknowledged_batch("edge", 1, 1, 1);
     }},
    {"S1", "void, and then it takes effect",
     [](Court& c) {
       c.judge.declared_void({3, 3});
       c.put("k", "a");
     }},
    {"S1", "it took effect, and then it is void",
     [](Court& c) {
       c.put("k", "a");
       c.judge.declared_void(c.last_id);
     }},
    {"F10", "older than the session token",
     [](Court& c) {
       const Index v = c.put("k", "a");
       c.put("k", "b");
       Told read = c.told("k", "a", v);
       read.token = Index{c.index};
       c.judge.read(read);
     }},
    {"S4", "a snapshot of two indexes",
     [](Court& c) {
       const Index a = c.put("cfg:a", "1");
       c.put("cfg:a", "2");
       const Index b = c.put("cfg:b", "2");
       c.judge.snapshot("app", {{"cfg:a", true, a, {}}, {"cfg:b", true, b, {}}});
     }},
    {"S4", "a snapshot that mixes an absence with what came after it",
     [](Court& c) {
       c.put("cfg:a", "1");
       const Index b = c.put("cfg:b", "1");
       c.judge.snapshot("app", {{"cfg:a", false, {}, {}}, {"cfg:b", true, b, {}}});
     }},
    {"", "a snapshot of one index, an absence in it",
     [](Court& c) {
       const Index b = c.put("cfg:b", "1");
       c.put("cfg:a", "1");
       c.judge.snapshot("app", {{"cfg:a", false, {}, {}}, {"cfg:b", true, b, {}}});
     }},
    {"I1", "a snapshot of one index that is too old",
     [](Court& c) {
       const Index a = c.put("cfg:a", "1"), b = c.put("cfg:b", "1");
       const Index newer = c.put("cfg:a", "2");
       c.judge.acknowledged(newer);
       c.judge.snapshot("app", {{"cfg:a", true, a, newer}, {"cfg:b", true, b, {}}});
     }},
    {"I8", "an acknowledged durable record that never came",
     [](Court& c) {
       c.judge.written_behind("edge", "feat:k", "a", kStamp, 0);
       c.judge.durable("feat:k", kStamp);
       c.rest({{"hub", true, Index{c.index}, 0}});
     }},
    {"", "one that expired first",
     [](Court& c) {
       c.judge.written_behind("edge", "feat:k", "a", kStamp, 10 * kMs);
       c.judge.durable("feat:k", kStamp);
       c.now += 10 * kMs;
       c.rest({{"hub", true, Index{c.index}, 0}});
     }},
    {"I8", "one whose lifetime is not over",
     [](Court& c) {
       c.judge.written_behind("edge", "feat:k", "a", kStamp, 10 * kMs);
       c.judge.durable("feat:k", kStamp);
       c.now += 9 * kMs;
       c.rest({{"hub", true, Index{c.index}, 0}});
     }},
    {"", "nor is anybody owed a lifetime that a broken clock measures",
     [](Court& c) {
       c.judge.written_behind("edge", "feat:k", "a", kStamp, 10 * kMs);
       c.judge.durable("feat:k", kStamp);
       c.judge.clock_broken("edge");
       c.judge.written_behind("edge", "feat:l", "b", kStamp, 10 * kMs);
       c.judge.durable("feat:l", kStamp);
       c.rest({{"hub", true, Index{c.index}, 0}});
     }},
    {"I8", "but what has none must come from there too",
     [](Court& c) {
       c.judge.written_behind("edge", "feat:k", "a", kStamp, 0);
       c.judge.durable("feat:k", kStamp);
       c.judge.clock_broken("edge");
       c.rest({{"hub", true, Index{c.index}, 0}});
     }},
    {"", "one that a newer stamp has beaten",
     [](Court& c) {
       c.commit(Entry::Register{"edge"});
       c.judge.written_behind("edge", "feat:k", "a", kStamp, 0);
       c.judge.durable("feat:k", kStamp);
       c.behind(1, "b", {101, 0, 2});
       c.rest({{"hub", true, Index{c.index}, 0}});
     }},
    {"I10", "a request that is never answered",
     [](Court& c) {
       c.judge.asked("edge", 1, 1);
       c.rest({{"hub", true, Index{c.index}, 0}});
     }},
    {"", "who asked has died",
     [](Court& c) {
       c.judge.asked("edge", 1, 1);
       c.judge.died("edge");
       c.rest({{"hub", true, Index{c.index}, 0}});
     }},
    {"I10", "a request that is answered twice",
     [](Court& c) {
       c.judge.asked("edge", 1, 1);
       c.judge.answered("edge", 1, 1);
       c.judge.answered("edge", 1, 1);
     }},
    {"I10", "two hubs in office at rest",
     [](Court& c) { c.rest({{"a", true, Index{c.index}, 0}, {"b", true, Index{c.index}, 0}}); }},
    {"I10", "a hub that never catches up", [](Court& c) { c.rest({{"a", true, Index{1}, 0}}); }},
    {"I10", "an edge without a lease at rest",
     [](Court& c) { c.rest({{"a", true, Index{c.index}, 0}}, {{"e", true, false, Index{1}, 0, 0}}); }},
    {"I10", "records that never leave",
     [](Court& c) { c.rest({{"a", true, Index{c.index}, 0}}, {{"e", true, true, Index{1}, 0, 2}}); }},
    {"I11", "above its cap", [](Court& c) { c.judge.sized("arena", 11, 10); }},
    {"", "within its cap", [](Court& c) { c.judge.sized("arena", 10, 10); }},
    {"", "a value in the last instant of its life",
     [](Court& c) {
       c.judge.accepted("edge", "k", "a", 100 * kMs);
       const Nanos end = c.now + 100 * kMs;
       const Index v = c.put("k", "a", 100 * kMs);
       c.now = end;
       c.bounded("k", "a", v, kForever);
     }},
    {"I8", "a write called sequenced that the ledger does not have",
     [](Court& c) {
       c.behind(1, "a", {1, 0, 1});
       c.judge.sequenced("feat:k", {2, 0, 1});
     }},
    {"", "a write called sequenced that the ledger has, or has something newer than",
     [](Court& c) {
       c.behind(1, "a", {2, 0, 1});
       c.judge.sequenced("feat:k", {1, 0, 1});
       c.judge.sequenced("feat:k", {2, 0, 1});
     }},
    {"D5", "a batch that is sent again with something else in it",
     [](Court& c) {
       c.judge.batch_sent("edge", 1, 1, {{1, 0, 1}});
       c.judge.batch_sent("edge", 1, 1, {{1, 0, 1}, {2, 0, 1}});
     }},
    {"", "a batch that is sent again without what expired, or under a number that is free again",
     [](Court& c) {
       c.judge.batch_sent("edge", 1, 1, {{1, 0, 1}, {2, 0, 1}});
       c.judge.batch_sent("edge", 1, 1, {{2, 0, 1}});
       c.judge.batch_sent("edge", 2, 1, {{3, 0, 1}});
       c.judge.batch_refused("edge", 1, 1);
       c.judge.batch_sent("edge", 1, 1, {{4, 0, 1}});
     }},
    {"G9", "a batch that brings what is older than the one before it",
     [](Court& c) {
       c.behind(1, "b", {2, 0, 1});
       c.behind(2, "a", {1, 0, 1});
     }},
    {"F11", "a session in a term below that of the one before it",
     [](Court& c) {
       c.judge.session_opened("edge", 1, Term{5});
       c.judge.session_opened("edge", 1, Term{4});
     }},
    {"", "the first session of another run of the edge",
     [](Court& c) {
       c.judge.session_opened("edge", 1, Term{5});
       c.judge.session_opened("edge", 1, Term{5});
       c.judge.session_opened("edge", 2, Term{4});
     }},
    {"TTL", "a value after it",
     [](Court& c) {
       c.judge.accepted("edge", "k", "a", 100 * kMs);
       const Nanos end = c.now + 100 * kMs;
       const Index v = c.put("k", "a", 100 * kMs);
       c.now = end + kMs;
       c.bounded("k", "a", v, kForever);
     }},
    {"TTL", "what a write spent under way is given to it once more",
     [](Court& c) {
       c.judge.accepted("edge", "k", "a", 100 * kMs);
       c.now += 40 * kMs;
       c.put("k", "a", 100 * kMs);
     }},
    {"", "what is left of it",
     [](Court& c) {
       c.judge.accepted("edge", "k", "a", 100 * kMs);
       c.now += 40 * kMs;
       c.put("k", "a", 60 * kMs);
     }},
    {"TTL", "a lifetime that the ledger forgot",
     [](Court& c) {
       c.judge.accepted("edge", "k", "a", 100 * kMs);
       c.put("k", "a");
     }},
    {"", "nothing is promised where a clock is broken",
     [](Court& c) {
       c.judge.accepted("edge", "k", "a", 100 * kMs);
       c.judge.clock_broken("edge");
       c.put("k", "a");
     }},
    {"I1", "absent by expiry before the ledger's clock can be there",
     [](Court& c) {
       c.judge.accepted("edge", "cfg:k", "a", 100 * kMs);
       c.judge.acknowledged(c.put("cfg:k", "a", 100 * kMs));
       c.now += 90 * kMs;
       c.strong("cfg:k", std::nullopt, {});
     }},
    {"", "absent by expiry",
     [](Court& c) {
       c.judge.accepted("edge", "cfg:k", "a", 100 * kMs);
       c.judge.acknowledged(c.put("cfg:k", "a", 100 * kMs));
       c.now += 100 * kMs;
       c.strong("cfg:k", std::nullopt, {});
     }},
};

TEST(Judge, RefusesAndAcceptsByTheRule) {
  for (const Case& c : kCases) {
    Court court;
    ASSERT_EQ(court.broken, "");
    c.story(court);
    if (std::string_view(c.rule).empty()) {
      EXPECT_EQ(court.broken, "") << c.why;
    } else {
      EXPECT_TRUE(court.broken.starts_with(c.rule))
          << c.why << ": " << (court.broken.empty() ? "accepted" : court.broken);
    }
  }
}

// A failover after which nobody could see the ledger's clock for a while stretches what lives, by that and no more.
TEST(Judge, ALeaseIsForWhoIsRegisteredAndAsLongAsTheLedgerSays) {  // A5, A6
  Court court;
  const Index registered = court.commit(Entry::Register{"edge"});
  court.judge.lease_sent("edge", registered, kShort);
  court.commit(Entry::Remove{"edge"});
  const Index lengthened = court.commit(Entry::Lease{false});
  court.judge.lease_sent("edge", registered, kShort);  // by a hub that has applied neither
  court.judge.lease_sent("edge", lengthened, kLong);
  EXPECT_EQ(court.broken, "");
  const auto refused = [&court](const NodeId& edge, Index index, Nanos lease, const char* rule) {
    court.broken.clear();
    court.judge.lease_sent(edge, index, lease);
    EXPECT_TRUE(court.broken.starts_with(rule)) << court.broken;
  };
  refused("edge", Index{registered.value - 1}, kShort, "A6: ");
  refused("stranger", registered, kShort, "A6: ");
  refused("edge", registered, kLong, "A5: ");
  refused("edge", court.commit(Entry::Lease{true}), kLong, "A5: ");
}

TEST(Judge, TimesToLiveAreStretchedByWhatAHubCouldNotSee) {
  struct Failover {
    const char* why;
    bool saw_it;
    Nanos read_at;
    bool accepted;
    bool jumped = false;  // the new hub's clock, during the outage
  };
  // The value is taken at 0 and lives 100 ms; the outage lasts from 10 ms to 60 ms.
  for (const Failover& c : {Failover{"a hub that just started: the outage is added", false, 149 * kMs, true},
                            Failover{"and not more", false, 152 * kMs, false},
                            Failover{"a hub that saw the clock carries it on", true, 99 * kMs, true},
                            Failover{"and adds nothing", true, 103 * kMs, false},
                            Failover{"it saw the clock, and its own jumped", true, 149 * kMs, true, true},
                            Failover{"then the outage is added, not more", true, 152 * kMs, false, true}}) {
    Court court;
    const Nanos begin = court.now;
    court.judge.accepted("edge", "k", "a", 100 * kMs);
    const Index v = court.put("k", "a", 100 * kMs);
    court.now = begin + 10 * kMs;
    const Index beacon = court.commit(Entry::Beacon{});
    if (c.saw_it) court.judge.applied("hub-2", 1, beacon, 5);
    court.now = begin + 60 * kMs;
    if (c.jumped) court.judge.clock_jumped("hub-2", 1);
    const Nanos shown = c.saw_it && !c.jumped ? court.now : begin + 10 * kMs;
    const Entry claim{{9, 1}, {}, shown, Entry::Claim{"hub-2"}};
    court.judge.appended({9, 1}, shown);
    court.judge.committed(Index{++court.index}, &claim);
    court.judge.applied("hub-2", 1, Index{court.index}, 6);
    court.now = begin + c.read_at;
    court.bounded("k", "a", v, kForever);
    EXPECT_EQ(court.broken.empty(), c.accepted) << c.why << ": " << court.broken;
  }
}

// Seeds 11571 and 24977 of build e598329: it looked at a clock, paused, and found what the new hub had brought
// meanwhile.
TEST(Judge, APausedReaderMayFindWhatAnOutageStretchedMeanwhile) {
  for (const bool ended_before_it : {true, false}) {
    Court court;
    const Nanos begin = court.now;
    court.judge.accepted("edge", "k", "a", 100 * kMs);
    const Index v = court.put("k", "a", 100 * kMs);
    court.now = begin + 120 * kMs;
    Told read = court.told("k", "a", v);
    read.bound_ns = kForever;
    court.now = begin + 160 * kMs;  // a hub takes office that knows the ledger's clock of the beginning only
    if (ended_before_it) read.ended_at = court.now - 1;
    const Entry claim{{9, 1}, {}, begin, Entry::Claim{"hub-2"}};
    court.judge.appended({9, 1}, begin);
    court.judge.committed(Index{++court.index}, &claim);
    court.judge.applied("hub-2", 1, Index{court.index}, 6);
    if (!ended_before_it) read.ended_at = court.now;
    court.judge.read(read);
    EXPECT_EQ(court.broken.starts_with("TTL"), ended_before_it) << court.broken;
  }
}

TEST(Judge, CountsHowOftenARuleCouldHaveFailed) {
  Court court;
  const Index v = court.put("k", "a");
  court.bounded("k", "a", v, 100 * kMs);
  EXPECT_EQ(court.judge.counts().stale_reads, 0u);
  court.judge.acknowledged(court.put("k", "b"));
  court.now += 50 * kMs;
  court.bounded("k", "a", v, 100 * kMs);
  EXPECT_EQ(court.judge.counts().stale_reads, 1u);
  EXPECT_EQ(court.judge.counts().tight_reads, 1u);
  court.judge.page_lease(court.page, court.now + kSecond);
  court.judge.page_blocked(court.page, {slot("cfg:k")});
  court.put("cfg:k", "a");
  EXPECT_EQ(court.judge.counts().leases_tested, 1u);
}

}  // namespace
}  // namespace tidelock::oracle
