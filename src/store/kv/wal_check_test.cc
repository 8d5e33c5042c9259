// Folders written byte by byte, as RocksDB and a kill between two of its steps leave them.

#include "store/kv/wal_check.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>

#include "store/kv/manifest_edit.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

Bytes little(std::uint64_t value, int bytes) {
  Bytes out;
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}
Bytes varint(std::uint64_t value) {
  Bytes out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
  return out;
}
Bytes framed(const Bytes& payload) {  // one whole record of a log or a manifest
  const Bytes checked = "\x01" + payload;
  const std::uint32_t crc = crc32c(checked);
  return little(((crc >> 15) | (crc << 17)) + 0xa282ead8u, 4) + little(payload.size(), 2) + checked;
}
// A batch of one row at `sequence`, which begins with `mark`.
Bytes batch(std::uint64_t sequence, const Bytes& mark) {
  return framed(little(sequence, 8) + little(1, 4) + '\x03' + varint(mark.size()) + mark + "\x01\x01k\x01v");
}
WalMark synced(std::uint64_t up_to, std::uint64_t log_from) {
  WalMark mark;
  mark.synced = up_to;
  mark.log_from = log_from;
  return mark;
}
Bytes of_before(const WalMark& mark) {  // TLK1: without the manifest's place
  Bytes out = encode_wal_mark(mark);
  out.resize(out.size() - 8);
  out[3] = '1';
  return out;
}

class WalCheckTest : public ::testing::Test {
 protected:
  WalCheckTest() {
    std::string pattern = (fs::temp_directory_path() / "tidelock-wal-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~WalCheckTest() override { fs::remove_all(directory_); }
  void write(const std::string& name, const Bytes& bytes) const {
    std::ofstream(directory_ + "/" + name, std::ios::binary) << bytes;
  }
  std::string directory_;
};

// RocksDB removes what it no longer needs from the newest log to the oldest. A process that is killed in between leaves
// the oldest behind, and the logs no longer join.
TEST_F(WalCheckTest, AHoleBelowTheLogsThatAreNeededIsNoDamage) {  // D2
  write("000005.log", batch(1, encode_wal_mark(synced(0, 0))));
  write("000009.log", batch(20, encode_wal_mark(synced(19, 19))) + batch(21, encode_wal_mark(synced(20, 19))));
  const auto before = check_write_ahead_logs(directory_);
  ASSERT_FALSE(before);
  EXPECT_EQ(before.error().code, Code::kCorrupt);
  EXPECT_NE(before.error().message.find("000009.log: what stood at byte 0"), std::string::npos)
      << before.error().message;

  write("CURRENT", "MANIFEST-000004\n");
  write("MANIFEST-000004", framed(varint(10) + varint(9)));
  const auto found = check_write_ahead_logs(directory_);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->newest_log, 9u);
  EXPECT_EQ(found->log, ~0ull) << "all of the log is replayed";

  write("MANIFEST-000004", framed(varint(10) + varint(5)));  // log 5 is needed, so what follows it is missing
  EXPECT_FALSE(check_write_ahead_logs(directory_));
}

TEST_F(WalCheckTest, MarksOfTheFormatBeforeAreRead) {
  write("000005.log", batch(1, of_before(synced(0, 0))) + batch(9, of_before(synced(8, 0))));
  const auto found = check_write_ahead_logs(directory_);
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().message.find("had been synced"), std::string::npos) << found.error().message;
  write("000005.log", batch(1, of_before(synced(0, 0))) + batch(2, of_before(synced(1, 0))));
  EXPECT_TRUE(check_write_ahead_logs(directory_));
}

TEST(MinLogToKeep, IsFoundAmongWhatElseAnEntrySays) {
  const Bytes file = varint(103) + varint(0) + varint(80) + varint(15479) + varint(2) + "ab" + varint(2) + "cd" +
                     varint(7) + varint(9) + varint(6) + varint(1) + "x" + varint(1);
  const Bytes least = varint(10) + varint(1080);
  const struct {
    const char* what;
    Bytes entry;
    std::uint64_t least;
  } kCases[] = {
      {"it alone", least, 1080},
      {"behind numbers",
       varint(2) + varint(1080) + varint(9) + varint(0) + varint(3) + varint(7) + varint(4) + varint(300) + least,
       1080},
      {"before a tag that may be ignored", least + varint(8200) + varint(2) + "ab", 1080},
      {"behind files that came and went", varint(6) + varint(1) + varint(12) + file + least, 1080},
      {"behind families",
       varint(200) + varint(3) + varint(201) + varint(5) + "state" + varint(202) + varint(203) + varint(3) +
           varint(300) + varint(1) + least,
       1080},
      {"behind a name and a cursor", varint(1) + varint(3) + "cmp" + varint(5) + varint(1) + varint(1) + "k" + least,
       1080},
      {"nothing of it", varint(2) + varint(1080), 0},
      {"empty", "", 0},
      {"a tag that nobody knows", varint(77) + least, 0},
      {"cut in the number", varint(10) + Bytes("\xB8"), 0},
      {"cut in a file", least + file.substr(0, file.size() - 1), 0},
      {"a length beyond the end", varint(1) + varint(300) + least, 0},
  };
  for (const auto& c : kCases) EXPECT_EQ(min_log_to_keep(c.entry), c.least) << c.what;
}

}  // namespace
}  // namespace tidelock
