// The journal of rows against a list, cut off anywhere, damaged anywhere, and under the hand of a process that is
// killed.
#include "store/kv/row_journal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
using Rows = std::vector<std::pair<std::string, std::optional<std::string>>>;

struct RowJournalTest : testing::Test {
  RowJournalTest() {
    std::string folder = (fs::temp_directory_path() / "tidelock-journal-XXXXXX").string();
    EXPECT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    path = folder_ + "/rows";
  }
  ~RowJournalTest() override { fs::remove_all(folder_); }
  std::unique_ptr<RowJournal> open(std::size_t half_bytes = RowJournal::kHalfBytesMin) const {
    auto journal = RowJournal::open(path, half_bytes);
    EXPECT_TRUE(journal) << journal.error().message;
    return std::move(*journal);
  }
  static Rows rows_of(const RowJournal& journal, std::uint64_t drained, bool* whole = nullptr) {
    Rows rows;
    const auto replayed = journal.replay(drained, [&](BytesView key, std::optional<BytesView> row) {
      rows.emplace_back(std::string(key), row ? std::optional(std::string(*row)) : std::nullopt);
    });
    EXPECT_EQ(replayed.rows, rows.size());
    if (whole != nullptr) *whole = replayed.whole;
    return rows;
  }
  std::string path;

 private:
  std::string folder_;
};

Rows some_rows(Rng& rng, std::size_t count) {
  Rows rows;
  for (std::size_t i = 0; i < count; ++i) {
    std::string row(rng.below(200), static_cast<char>('a' + i % 26));
    rows.emplace_back("key" + std::to_string(rng.below(50)), rng.one_in(5) ? std::nullopt : std::optional(row));
  }
  return rows;
}

void append(RowJournal& journal, const std::pair<std::string, std::optional<std::string>>& row) {
  journal.append(row.first, row.second ? std::optional<BytesView>(*row.second) : std::nullopt);
}
void append_all(RowJournal& journal, const Rows& rows) {
  for (const auto& row : rows) append(journal, row);
  journal.seal();
}

TEST_F(RowJournalTest, GivesBackWhatWasSealed) {
  Rng rng(1);
  Rows all = some_rows(rng, 200);
  all.emplace_back("empty", "");
  all.emplace_back("", "no key");
  {
    const auto journal = open();
    EXPECT_TRUE(rows_of(*journal, 0).empty());
    journal->begin(7, 1);
    for (const auto& row : all) append(*journal, row);
    journal->seal();
    journal->append("not sealed", "none");
  }
  const auto journal = open(1u << 20);  // the size is what it was made with
  bool whole = false;
  EXPECT_EQ(rows_of(*journal, 6, &whole), all);
  EXPECT_TRUE(whole);
  EXPECT_TRUE(rows_of(*journal, 7, &whole).empty()) << "drained";
  EXPECT_TRUE(whole);
  EXPECT_EQ(journal->newest_generation(), 7u);
  journal->begin(8, 2);
  EXPECT_TRUE(rows_of(*journal, 0).empty());
}

TEST_F(RowJournalTest, ARowInTwoPiecesIsOneRow) {
  const auto journal = open();
  journal->begin(1, 7);
  const std::string long_piece(300, 'x');
  const std::pair<std::string, std::string> pieces[] = {
      {"head ", "value"}, {"", long_piece}, {long_piece, ""}, {"", ""}};
  Rows expected;
  for (const auto& [head, rest] : pieces) {
    const std::string key = "key" + std::to_string(expected.size());
    const std::size_t before = journal->room_bytes();
    journal->append(key, head, rest);
    EXPECT_EQ(before - journal->room_bytes(), RowJournal::bytes_of(key, head + rest));
    EXPECT_EQ(RowJournal::bytes_of(key, head, rest), RowJournal::bytes_of(key, head + rest));
    expected.emplace_back(key, head + rest);
  }
  journal->seal();
  EXPECT_EQ(rows_of(*journal, 0), expected);
}

TEST_F(RowJournalTest, OneHalfFillsWhileTheOtherIsDrained) {
  const auto journal = open();
  journal->begin(1, 1);
  Rng rng(2);
  Rows first = some_rows(rng, 10), second = some_rows(rng, 10), third = some_rows(rng, 3);
  append_all(*journal, first);
  journal->turn();
  append_all(*journal, second);
  Rows both = first;
  both.insert(both.end(), second.begin(), second.end());
  EXPECT_EQ(rows_of(*journal, 0), both) << "the older half first";
  EXPECT_EQ(rows_of(*journal, 1), second);
  journal->drained();
  EXPECT_EQ(rows_of(*journal, 0), second);
  journal->turn();
  append_all(*journal, third);
  both = second;
  both.insert(both.end(), third.begin(), third.end());
  bool whole = false;
  EXPECT_EQ(rows_of(*journal, 1, &whole), both);
  EXPECT_TRUE(whole);
}

// Against a map of each half.
TEST_F(RowJournalTest, FindsAndDrainsTheLastOfEachKey) {
  const auto journal = open(4u << 20);
  journal->begin(1, 1);
  Rng rng(6);
  using Last = std::map<std::string, std::optional<std::string>>;
  Last before, now;
  const auto expect_found = [&] {
    for (int key = 0; key < 50; ++key) {
      const std::string name = "key" + std::to_string(key);
      const auto found = journal->find(name);
      const Last& where = now.contains(name) ? now : before;
      ASSERT_EQ(found.has_value(), where.contains(name)) << name;
      if (found) {
        ASSERT_EQ(*found, where.at(name)) << name;
      }
    }
  };
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 3; ++i) {
      const Rows rows = some_rows(rng, rng.below(40));
      append_all(*journal, rows);
      for (const auto& [key, row] : rows) now[key] = row;
      expect_found();
    }
    ASSERT_EQ(journal->keys_filling(), now.size());
    Last drained;
    std::optional<std::size_t> at = 0;
    while (at && !before.empty()) {
      std::size_t rows = 0;
      at = journal->drain(*at, 7, [&](BytesView key, std::optional<BytesView> row) {
        EXPECT_TRUE(drained.emplace(key, row).second) << key << " twice";
        ++rows;
      });
      ASSERT_LE(rows, 7u);
    }
    ASSERT_EQ(drained, before);
    if (!before.empty()) journal->drained();
    before.clear();
    expect_found();
    if (now.empty()) continue;
    journal->turn();
    before.swap(now);
    ASSERT_EQ(journal->keys_draining(), before.size());
    expect_found();
  }
}

TEST_F(RowJournalTest, KnowsItsRoom) {
  const auto journal = open();
  journal->begin(1, 1);
  const std::string row(1'000, 'r');
  const std::size_t each = RowJournal::bytes_of("key", row), count = journal->half_room_bytes() / each;
  EXPECT_GE(each, 1'003u);
  for (std::size_t i = 0; i < count; ++i) {
    ASSERT_GE(journal->room_bytes(), each);
    journal->append("key", row);
  }
  EXPECT_LT(journal->room_bytes(), each);
  journal->seal();
  EXPECT_EQ(rows_of(*journal, 0).size(), count);
}

// What a power cut leaves: the header of one time, and records of another under the same generation.
TEST_F(RowJournalTest, RecordsOfAnEarlierBeginAreNoneOfThisOne) {
  Rng rng(5);
  const Rows old_rows = some_rows(rng, 20);
  {
    const auto journal = open();
    journal->begin(6, 1);
    append_all(*journal, old_rows);
  }
  std::ifstream file(path, std::ios::binary);
  const std::string before((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto end_of = [](const std::string& bytes) { return bytes.substr(24, 8); };
  fs::remove(path);
  Rows fresh = old_rows;
  fresh.resize(3);
  {
    const auto journal = open();
    journal->begin(6, 2);
    append_all(*journal, fresh);  // each as long as the one that lay there
  }
  std::fstream both(path, std::ios::in | std::ios::out | std::ios::binary);
  std::string after((std::istreambuf_iterator<char>(both)), std::istreambuf_iterator<char>());
  std::size_t used = 0;
  std::memcpy(&used, end_of(after).data(), sizeof used);
  after.replace(64 + used, before.size() / 2 - 64 - used, before, 64 + used, before.size() / 2 - 64 - used);
  after.replace(24, 8, end_of(before));
  both.clear();
  both.seekp(0);
  both.write(after.data(), static_cast<std::streamsize>(after.size()));
  both.close();
  bool whole = true;
  EXPECT_EQ(rows_of(*open(), 0, &whole), fresh);
  EXPECT_FALSE(whole);
}

TEST_F(RowJournalTest, RefusesOtherFiles) {
  struct Case {
    const char* what;
    std::string bytes;
  };
  for (const Case& c : {Case{"short", "x"}, Case{"text", std::string(1u << 20, 'x')},
                        Case{"an odd size", std::string((1u << 20) + 1, '\0')}}) {
    std::ofstream(path, std::ios::binary) << c.bytes;
    const auto journal = RowJournal::open(path, 1u << 20);
    ASSERT_FALSE(journal) << c.what;
    EXPECT_EQ(journal.error().code, Code::kCorrupt) << c.what;
    EXPECT_NE(journal.error().message.find(path), std::string::npos);
  }
  const auto nowhere = RowJournal::open(path + "/below", 1u << 20);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, Code::kUnavailable);
}

TEST_F(RowJournalTest, AFlippedBitCostsRowsAndNeverChangesOne) {
  Rng rng(3);
  const Rows all = some_rows(rng, 30);
  {
    const auto journal = open();
    journal->begin(1, 99);
    append_all(*journal, all);
  }
  std::ifstream file(path, std::ios::binary);
  const std::string sound((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::size_t lost = 0;
  for (int flip = 0; flip < 400; ++flip) {
    std::string bytes = sound;
    bytes[rng.below(8'000)] ^= static_cast<char>(1 << rng.below(8));
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    const auto journal = RowJournal::open(path, 0);
    if (!journal) continue;  // refused
    bool whole = false;
    const Rows rows = rows_of(**journal, 0, &whole);
    ASSERT_LE(rows.size(), all.size());
    ASSERT_TRUE(std::equal(rows.begin(), rows.end(), all.begin())) << flip;
    if (rows.size() == all.size()) continue;
    ++lost;
    EXPECT_FALSE(whole) << flip;
  }
  EXPECT_GT(lost, 50u);
}

TEST_F(RowJournalTest, AKillTakesNothingThatWasSealed) {
  auto* appended =
      static_cast<std::uint64_t*>(::mmap(nullptr, 4'096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(appended, MAP_FAILED);
  Rng chance(4);
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    fs::remove(path);
    __atomic_store_n(appended, 0, __ATOMIC_SEQ_CST);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto journal = RowJournal::open(path, RowJournal::kHalfBytesMax / 16);
      (*journal)->begin(1, 7);
      Rng rng(seed);
      for (;;) {
        const Rows rows = some_rows(rng, 100);
        for (const auto& row : rows) {
          append(**journal, row);
          (*journal)->seal();
          __atomic_add_fetch(appended, 1, __ATOMIC_SEQ_CST);
        }
      }
    }
    const std::uint64_t until = 1 + chance.below(3'000);
    while (__atomic_load_n(appended, __ATOMIC_SEQ_CST) < until) ::sched_yield();
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    const std::uint64_t acknowledged = __atomic_load_n(appended, __ATOMIC_SEQ_CST);
    bool whole = false;
    const Rows rows = rows_of(*open(), 0, &whole);
    EXPECT_TRUE(whole);
    ASSERT_GE(rows.size(), acknowledged);
    ASSERT_LE(rows.size(), acknowledged + 1) << "the one under way may be there";
    Rng rng(seed);
    for (std::size_t at = 0; at < rows.size();) {
      const Rows expected = some_rows(rng, 100);
      for (std::size_t i = 0; i < expected.size() && at < rows.size(); ++i, ++at) ASSERT_EQ(rows[at], expected[i]);
    }
  }
  ::munmap(appended, 4'096);
}

}  // namespace
}  // namespace tidelock
