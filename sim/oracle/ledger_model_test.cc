// The ledger's meaning, by small ledgers: what takes effect, and what a key then is.

#include "sim/oracle/ledger_model.h"

#include <gtest/gtest.h>

namespace tidelock::oracle {
namespace {

// A ledger that grows by one entry a line. Ids are (7, n) unless a test says otherwise; the term is the newest claim's.
class Book {
 public:
  Effect add(decltype(Entry::body) body, Nanos time = 0) { return add({7, ++sequence_}, term, std::move(body), time); }
  Effect add(CommandId id, Term of, decltype(Entry::body) body, Nanos time = 0) {
    const Entry entry{id, of, time, std::move(body)};
    last = Index{last.value + 1};
    return model.commit(last, &entry);
  }
  void begin() {
    add({1, 1}, {}, Entry::Claim{"hub-1"});
    term = Term{1};
    add(Entry::Seed{200, {{"", false, false}, {"cfg:", true, false}, {"feat:", false, true}}});
  }
  static Entry::Put put(std::string key, std::optional<Bytes> value, Nanos ttl = 0, When when = When::kAlways,
                        Index expected = {}) {
    return {{{std::move(key), std::move(value), ttl, false, when, expected}}};
  }
  std::optional<Bytes> get(const std::string& key) const {
    const Version* live = model.live(key);
    return live == nullptr ? std::nullopt : live->value;
  }

  LedgerModel model;
  Term term;
  Index last;

 private:
  std::uint64_t sequence_ = 0;
};

TEST(LedgerModel, OnlyTheNewestClaimsTermTakesEffect) {  // A1
  Book book;
  EXPECT_FALSE(book.add({1, 1}, Term{1}, Book::put("k", "v")).effective) << "before any claim";
  book.begin();
  book.term = Term{book.last.value + 1};
  book.add({2, 1}, {}, Entry::Claim{"hub-2"});
  EXPECT_FALSE(book.add({1, 9}, Term{2}, Book::put("k", "old term")).effective);
  EXPECT_FALSE(book.model.outcome({1, 9}).has_value()) << "an ignored entry leaves no trace";
  EXPECT_TRUE(book.add({1, 9}, book.term, Book::put("k", "v")).effective) << "its id is free";
  EXPECT_EQ(book.get("k"), "v");
}

TEST(LedgerModel, AnIdCountsOnceAndAnAbortedOneNever) {  // S1
  Book book;
  book.begin();
  EXPECT_TRUE(book.add({5, 1}, Term{1}, Book::put("k", "1")).effective);
  EXPECT_FALSE(book.add({5, 1}, Term{1}, Book::put("k", "2")).effective);
  EXPECT_EQ(book.get("k"), "1");
  EXPECT_TRUE(book.add(Entry::Abort{{5, 2}}).effective);
  EXPECT_TRUE(book.add(Entry::Abort{{5, 2}}).effective) << "twice is once";
  EXPECT_FALSE(book.add({5, 2}, Term{1}, Book::put("k", "3")).effective);
  EXPECT_FALSE(book.add(Entry::Abort{{5, 1}}).effective) << "too late";
  EXPECT_EQ(book.model.outcome({5, 2})->kind, Outcome::Kind::kAborted);
}

TEST(LedgerModel, ConditionsSpeakOfTheStateBeforeAndHoldTogether) {  // S4
  struct Case {
    const char* why;
    When when;
    Index expected;
    const char* value;
    bool present, conflict;
  };
  for (const Case& c : {Case{"absent, and it is", When::kAbsent, {}, "n", false, false},
                        Case{"absent, but it is there", When::kAbsent, {}, "n", true, true},
                        Case{"present, and it is", When::kPresent, {}, "n", true, false},
                        Case{"present, but it is not", When::kPresent, {}, "n", false, true},
                        Case{"that version", When::kVersionIs, Index{3}, "n", true, false},
                        Case{"another version", When::kVersionIs, Index{2}, "n", true, true},
                        Case{"version 0 is absence", When::kVersionIs, Index{0}, "n", false, false},
                        Case{"it stays", When::kVersionStays, Index{3}, "v", true, false},
                        Case{"it was written", When::kVersionStays, Index{2}, "v", true, true},
                        Case{"it stays absent", When::kVersionStays, Index{0}, "v", false, false},
                        Case{"immutable, the same", When::kAbsentOrSame, {}, "v", true, false},
                        Case{"immutable, other content", When::kAbsentOrSame, {}, "n", true, true}}) {
    Book book;
    book.begin();
    if (c.present) book.add(Book::put("k", "v"));
    Entry::Put put = Book::put("k", c.value, 0, c.when, c.expected);
    put.writes.push_back({"other", "x", 0, false, When::kAlways, {}});
    const Effect effect = book.add(put);
    EXPECT_TRUE(effect.effective) << c.why;
    EXPECT_EQ(effect.conflict, c.conflict) << c.why;
    EXPECT_EQ(book.get("other").has_value(), !c.conflict) << c.why << ": all or nothing";
    if (c.conflict) {
      EXPECT_EQ(book.get("k").has_value(), c.present) << c.why;
    }
  }
}

TEST(LedgerModel, ExpiryIsJudgedByTheLedgersTimeAndCountsFromTheCommands) {
  Book book;
  book.begin();
  book.add(Book::put("k", "v", 100), 1'000);
  book.add(Entry::Beacon{}, 1'099);
  EXPECT_EQ(book.get("k"), "v");
  book.add(Entry::Beacon{}, 1'100);
  EXPECT_EQ(book.get("k"), std::nullopt);
  book.add(Book::put("late", "v", 100), 1'050);  // overtaken on its way: it lives no longer for that
  EXPECT_EQ(book.model.versions("late").back().expires_at, 1'150);
  EXPECT_EQ(book.model.time(), 1'100) << "the ledger's time never falls";
}

TEST(LedgerModel, ABatchCountsOnceInOrderAndTheNewerStampWins) {  // D5
  Book book;
  book.begin();
  book.add(Entry::Register{"e"});
  const auto batch = [](std::uint64_t number, const char* value, std::uint64_t wall) {
    return Entry::Batch{"e", 4, number, {{"feat:k", value, {wall, 0, 1}, 0}}};
  };
  EXPECT_FALSE(book.add(batch(2, "hole", 10)).effective);
  EXPECT_TRUE(book.add(batch(1, "a", 10)).effective);
  EXPECT_FALSE(book.add(batch(1, "again", 11)).effective);
  EXPECT_TRUE(book.add(batch(2, "older", 9)).effective);
  EXPECT_EQ(book.get("feat:k"), "a");
  EXPECT_EQ(book.model.batch("e", 4, 1)->superseded, 0u);
  EXPECT_EQ(book.model.batch("e", 4, 2)->index, book.last);
  EXPECT_EQ(book.model.batch("e", 4, 2)->superseded, 1u);
  EXPECT_FALSE(book.add(Entry::Batch{"e", 4, 3, {{"plain:k", "v", {12, 0, 1}, 0}}}).effective) << "not written behind";
  EXPECT_TRUE(book.add(batch(3, "b", 12)).effective) << "the number of a refused batch is free";
  EXPECT_EQ(book.get("feat:k"), "b");
}

TEST(LedgerModel, AnOlderRecordOfALateEdgeMayOrMayNotBringBackWhatWasDeleted) {  // G9
  for (const bool registered_before : {true, false}) {
    Book book;
    book.begin();
    book.add(Entry::Register{"e"});
    if (registered_before) book.add(Entry::Register{"late"});
    book.add(Entry::Batch{"e", 1, 1, {{"feat:k", std::nullopt, {20, 0, 1}, 0}}});
    if (!registered_before) book.add(Entry::Register{"late"});
    book.add(Entry::Batch{"late", 1, 1, {{"feat:k", "old", {10, 0, 2}, 0}}});
    EXPECT_EQ(book.model.versions("feat:k").back().perhaps, !registered_before);
    EXPECT_EQ(book.model.batch("late", 1, 1)->superseded.has_value(), registered_before);
    EXPECT_EQ(book.get("feat:k"), std::nullopt);
  }
}

}  // namespace
}  // namespace tidelock::oracle
