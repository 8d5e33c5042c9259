#include "edge/l2_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/elapsed_clock.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() {
    std::string path = (fs::temp_directory_path() / "tidelock-l2-XXXXXX").string();
    path_ = ::mkdtemp(path.data()) == nullptr ? std::string() : path;
  }
  ~Folder() { fs::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

constexpr Nanos kNow = 100 * kSecond;

EdgeEntry entry_of(std::string value, std::uint64_t version) {
  EdgeEntry entry;
  entry.version = Index{version};
  entry.value = std::move(value);
  entry.epoch = 7;
  entry.proven_at = 40 * kSecond;
  entry.stamp = Stamp{12, 3, 4};
  return entry;
}

TEST(L2Row, SaysOnlyWhatStillHolds) {
  const L2Run written{11, 22, 1, 500 * kSecond};
  struct Case {
    const char* why;
    L2Run read;
    Nanos expires_at;
    bool found;
    bool proof;
  };
  const Case cases[] = {
      {"the same process, undisturbed: only the epoch is gone (F8)", written, 90 * kSecond, true, true},
      {"C2: a disruption in this process takes the proof", {11, 22, 2, 500 * kSecond}, 90 * kSecond, true, false},
      {"a restart on the same machine boot keeps expiry and proof",
       {11, 33, 0, 500 * kSecond},
       90 * kSecond,
       true,
       true},
      {"C2: the machine slept between the two processes", {11, 33, 0, 501 * kSecond}, 90 * kSecond, true, false},
      {"another run of the clock: an expiry cannot be judged", {12, 33, 0, 0}, 90 * kSecond, false, false},
      {"another run of the clock: what lives for ever stays, unproven", {12, 33, 0, 0}, kForever, true, false},
  };
  for (const Case& c : cases) {
    EdgeEntry entry = entry_of("value", 9);
    entry.expires_at = c.expires_at;
    const auto back = decode_l2_row(encode_l2_row(entry, written), c.read);
    ASSERT_EQ(back.has_value(), c.found) << c.why;
    if (!back) continue;
    EXPECT_EQ(back->entry.version, entry.version) << c.why;
    EXPECT_EQ(back->entry.value, entry.value) << c.why;
    EXPECT_EQ(back->entry.expires_at, entry.expires_at) << c.why;
    EXPECT_EQ(back->entry.stamp, entry.stamp) << c.why;
    EXPECT_EQ(back->entry.epoch, 0u) << c.why;
    EXPECT_EQ(back->entry.proven_at, c.proof ? entry.proven_at : kNever) << c.why;
  }
}

TEST(L2Row, ItsHeadAndTheValueAreTheRow) {
  const L2Run run{1ull << 60, 300, 5, -7};
  std::vector<EdgeEntry> entries = {entry_of("value", 9), entry_of(std::string(300, 'v'), 1ull << 50), {}};
  entries.back().local = true;
  entries.back().expires_at = 0;
  for (const EdgeEntry& entry : entries) {
    Bytes head = "before";
    append_l2_head(entry, run, head);
    EXPECT_EQ(head + entry.value.value_or(""), "before" + encode_l2_row(entry, run));
  }
}

TEST(L2RowSizes, KnowsWhatWasKeptLast) {
  L2RowSizes sizes;
  EXPECT_FALSE(sizes.find(1));
  sizes.keep(1, 100);
  sizes.keep(2, std::nullopt);
  ASSERT_TRUE(sizes.find(1) && sizes.find(2));
  EXPECT_EQ(*sizes.find(1), 100u);
  EXPECT_EQ(*sizes.find(2), std::nullopt) << "there is no row";
  EXPECT_FALSE(sizes.find(3));
  sizes.keep(1, 0);
  EXPECT_EQ(*sizes.find(1), 0u);
  sizes.forget(1);
  EXPECT_FALSE(sizes.find(1));
  // More keys of one line than it has room for: the last ones are known, and none is taken for another.
  constexpr std::uint64_t kKeys = 100;
  for (std::uint64_t key = 0; key < kKeys; ++key) sizes.keep(key, key);
  std::size_t known = 0;
  for (std::uint64_t key = 0; key < kKeys; ++key) {
    const auto found = sizes.find(key);
    if (found) {
      EXPECT_EQ(*found, key);
    }
    known += found ? 1 : 0;
  }
  EXPECT_EQ(known, 4u);
  EXPECT_TRUE(sizes.find(kKeys - 1));
}

TEST(L2Row, DamageIsAMiss) {
  const L2Run run{1, 2, 0, 0};
  for (const Bytes& row :
       {encode_l2_row(entry_of("value", 9), run), encode_l2_row_without_value(entry_of("value", 9), run)}) {
    for (std::size_t cut = 0; cut < row.size(); ++cut) EXPECT_FALSE(decode_l2_row(row.substr(0, cut), run)) << cut;
    EXPECT_FALSE(decode_l2_row(row + "x", run));
    Bytes later_format = row;
    later_format[0] = 3;
    EXPECT_FALSE(decode_l2_row(later_format, run));
  }
}

TEST(L2Row, KnowsAValueThatLiesElsewhere) {
  const L2Run run{1, 2, 0, 0};
  const auto row = decode_l2_row(encode_l2_row_without_value(entry_of("value", 9), run), run);
  ASSERT_TRUE(row && row->where);
  EXPECT_FALSE(row->entry.value);
  EXPECT_TRUE(row->has_value());
  EXPECT_EQ(row->kind(), ValueKind::kString);
  EXPECT_TRUE(row->where->is("value"));
  for (const char* other : {"", "valuf", "value ", "VALUE"}) EXPECT_FALSE(row->where->is(other)) << other;
}

class L2StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    auto kv = Kv::open(folder_.path() + "/db", {kL2Family});
    ASSERT_TRUE(kv) << kv.error().message;
    kv_ = std::move(*kv);
  }
  Folder folder_;
  std::unique_ptr<Kv> kv_;
};

TEST_F(L2StoreTest, KeepsWhatAStepDecided) {
  L2Store store(*kv_, {1, 2, 0, 0});
  EdgeActions first;
  first.ops.emplace_back(EntryPut{"a", entry_of("old", 1)});
  first.ops.emplace_back(EntryPut{"b", entry_of("kept", 1)});
  ASSERT_TRUE(store.commit(first, kNow));
  EXPECT_EQ(store.find("a")->value, "old");
  EXPECT_EQ(store.find("a")->epoch, 0u);

  EdgeActions step;
  step.ops.emplace_back(EntryErase{"a"});
  step.ops.emplace_back(EntryPut{"a", entry_of("new", 2)});
  step.ops.emplace_back(EntryPut{"b", entry_of("as it was found here", 2), true});
  ASSERT_TRUE(store.commit(step, kNow));
  EXPECT_EQ(store.find("a")->value, "new");
  EXPECT_EQ(store.find("b")->value, "kept") << "what came from here is not written again";
}

TEST_F(L2StoreTest, ListsWhatLives) {
  L2Store store(*kv_, {1, 2, 0, 0});
  EdgeActions step;
  for (int i = 0; i < 10; ++i) {
    EdgeEntry entry = entry_of("v", 1);
    entry.local = i % 2 == 0;
    if (i == 3) entry.value.reset();             // known to be absent
    if (i == 4) entry.expires_at = 5 * kSecond;  // over
    step.ops.emplace_back(EntryPut{"k" + std::to_string(i), entry});
  }
  ASSERT_TRUE(store.commit(step, kNow));
  std::vector<std::string> seen;
  std::string after;
  int calls = 0;
  for (;;) {
    const auto last = store.scan(after, 3, 10 * kSecond, [&](const L2Store::Listed& entry) {
      seen.emplace_back(entry.key);
      EXPECT_EQ(entry.local, (entry.key.back() - '0') % 2 == 0);
      return true;
    });
    ASSERT_TRUE(last);
    ++calls;
    if (!*last) break;
    after = **last;
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"k0", "k1", "k2", "k5", "k6", "k7", "k8", "k9"}));
  EXPECT_EQ(calls, 4);
}

}  // namespace
}  // namespace tidelock
