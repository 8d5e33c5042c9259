// Backups that are whole and that are not, and what a restore or a recovery refuses before it writes anything.

#include "hub/restore.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "codec/archive.h"
#include "hub/state_rows.h"
#include "ledger/raft/log_store.h"
#include "protocol/state_machine.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
using Rows = std::vector<std::pair<Bytes, Bytes>>;

// The records as a file holds them.
std::string framed(const std::vector<Bytes>& payloads) {
  const auto little = [](std::uint32_t value) {
    std::string out;
    for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
    return out;
  };
  std::string out;
  std::uint32_t crc = 0;
  for (const Bytes& payload : payloads) {
    crc = crc32c(payload, crc);
    out += little(static_cast<std::uint32_t>(payload.size())) + payload + little(crc);
  }
  return out;
}

class RestoreTest : public testing::Test {
 protected:
  HubConfig config() const {
    HubConfig config;
    config.id = "hub-1";
    config.data_dir = at("data");
    config.hubs = {{"hub-1", "127.0.0.1:7400"}};
    return config;
  }
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(at(name), std::ios::binary) << bytes;
    return at(name);
  }
  std::unique_ptr<Kv> open(const std::string& name) const {
    return std::move(*Kv::open(at(name), {std::string(kStateFamily), kRaftLogFamily, kRaftStateFamily}));
  }
  // Of a hub that has applied a claim and the seed.
  std::string backup() const {
    const auto kv = open("source");
    KvStateRows rows(*kv);
    StateMachine machine(rows);
    const Command commands[] = {{{1, 1}, {}, 0, Claim{"hub-1", Boot{7}}},
                                {{1, 2}, Term{1}, 0, Seed{{}, default_namespaces(), {}}}};
    for (std::uint64_t i = 0; i < std::size(commands); ++i) {
      StateBatch changed;
      EXPECT_TRUE(machine.apply(Index{i + 1}, encode(commands[i]), changed).effective);
      KvBatch batch;
      for (auto& [key, value] : changed.rows) batch.put(std::string(kStateFamily), key, value.value());
      EXPECT_TRUE(kv->commit(batch, Sync::kNone));
    }
    const auto written = write_backup(*kv, "hub-1", at("backup"));
    EXPECT_TRUE(written) << written.error().message;
    return at("backup");
  }
  static void refused(const Error& error, Code code, const std::string& says, const std::string& why) {
    EXPECT_EQ(error.code, code) << why << ": " << error.message;
    EXPECT_NE(error.message.find(says), std::string::npos) << why << ": " << error.message;
  }

  TestFolder folder_;
};

TEST_F(RestoreTest, AFileThatIsNoWholeBackupIsRefusedWithWhatIsWrongWithIt) {
  std::ostringstream read;
  read << std::ifstream(backup(), std::ios::binary).rdbuf();
  const std::string good = read.str();
  const Bytes header = encode(BackupHeader{kBackupFormat, Index{2}, "hub-1"});
  std::string flipped = good;
  flipped[5] ^= 1;
  struct Case {
    const char* why;
    std::string bytes;
    Code code;
    std::string says;
  };
  const Case cases[] = {
      {"empty", "", Code::kCorrupt, ": it ends early"},
      {"cut in a payload", good.substr(0, 9), Code::kCorrupt, ": it ends early"},
      {"cut by one byte", good.substr(0, good.size() - 1), Code::kCorrupt, ": it ends early"},
      {"one bit is wrong", flipped, Code::kCorrupt, ": checksum mismatch"},
      {"no backup at all", "\xFF\xFF\xFF\xFF", Code::kCorrupt, ": a record is longer than any can be"},
      {"records of something else", framed({"x"}), Code::kCorrupt, ": its first record is no header"},
      {"rows that are none", framed({header, "x"}), Code::kCorrupt, ": a record is malformed"},
      {"fewer rows than its end says", framed({header, encode(Rows{}), encode(BackupEnd{1})}), Code::kCorrupt,
       ": rows are missing"},
      {"of a later build", framed({encode(BackupHeader{kBackupFormat + 1, Index{2}, "hub-1"})}), Code::kInvalid,
       ": format " + std::to_string(kBackupFormat + 1) + ", this build reads " + std::to_string(kBackupFormat)},
  };
  for (const Case& c : cases) {
    const std::string path = write("wrong", c.bytes);
    const auto restored = restore_hub(config(), path);
    ASSERT_FALSE(restored) << c.why;
    refused(restored.error(), c.code, path + c.says, c.why);
    EXPECT_FALSE(fs::exists(config().data_dir)) << c.why << ": checked before anything is written";
  }
  const auto absent = check_backup(at("absent"));
  ASSERT_FALSE(absent);
  refused(absent.error(), Code::kInvalid, at("absent") + ": cannot be read", "not there");
  EXPECT_TRUE(check_backup(write("right", good)));
}

TEST_F(RestoreTest, ABackupThatCannotBeMadeSaysWhy) {
  const auto empty = write_backup(*open("nothing"), "hub-1", at("none"));
  ASSERT_FALSE(empty);
  refused(empty.error(), Code::kUnavailable, "applied nothing yet", "no rows");
  static_cast<void>(backup());
  const auto full = write_backup(*open("source"), "hub-1", "/dev/full");
  ASSERT_FALSE(full);
  refused(full.error(), Code::kBusy, "/dev/full: cannot be written; free some space", "no room");
}

TEST_F(RestoreTest, WhereItCannotBeRestoredIsNamed) {
  const std::string good = backup();
  struct Case {
    const char* why;
    std::function<void(HubConfig&)> change;
    Code code;
    std::string says;
  };
  const std::string file = write("file", "");
  const Case cases[] = {
      {"it stands under another name", [](HubConfig& c) { c.hubs = {{"hub-9", "127.0.0.1:1"}}; }, Code::kInvalid,
       "hubs does not name this hub (id = \"hub-1\")"},
      {"no folder can be there", [&](HubConfig& c) { c.data_dir = file + "/data"; }, Code::kInvalid,
       "data_dir = \"" + file + "/data\": Not a directory"},
  };
  for (const Case& c : cases) {
    HubConfig wrong = config();
    c.change(wrong);
    const auto restored = restore_hub(wrong, good);
    ASSERT_FALSE(restored) << c.why;
    refused(restored.error(), c.code, c.says, c.why);
  }
  const auto first = restore_hub(config(), good);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->last, Index{2});
  const auto second = restore_hub(config(), good);
  ASSERT_FALSE(second);
  refused(second.error(), Code::kConflict, "\" holds a ledger; a backup is restored into an empty folder only",
          "again");
  const auto held = recover_hub(config(), true);
  ASSERT_TRUE(held) << held.error().message;
  EXPECT_EQ(held->last, first->base) << "the first restore is as it was";
}

TEST_F(RestoreTest, WithoutALedgerThereIsNothingToRecover) {
  HubConfig pristine = config();
  static_cast<void>(fs::create_directories(pristine.data_dir));
  open("data/db").reset();
  HubConfig absent = config();
  absent.data_dir = at("absent");
  HubConfig endless = config();
  endless.data_dir = at(std::string(5000, 'x'));
  for (const HubConfig& one : {pristine, absent, endless}) {
    const auto recovered = recover_hub(one, false);
    ASSERT_FALSE(recovered) << one.data_dir;
    refused(recovered.error(), Code::kInvalid, "data_dir = \"" + one.data_dir + "\" holds no ledger to recover from",
            one.data_dir);
  }
}

}  // namespace
}  // namespace tidelock
