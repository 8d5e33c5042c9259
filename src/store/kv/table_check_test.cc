// Real tables of RocksDB, each bit of whose properties is flipped once: refused with the file, never an abort.
#include "store/kv/table_check.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "store/kv/kv.h"
#include "store/kv/wal_check.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

struct TableCheck : testing::Test {
  TableCheck() {
    std::string made = (fs::temp_directory_path() / "tidelock-tables-XXXXXX").string();
    EXPECT_NE(::mkdtemp(made.data()), nullptr);
    folder = made;
  }
  ~TableCheck() override { fs::remove_all(folder); }
  std::string folder;
};

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

TEST_F(TableCheck, FindsEveryFlippedBitOfTheProperties) {
  for (int run = 0; run < 2; ++run) {  // what is in the log becomes a table when the store is opened again
    const auto kv = Kv::open(folder, {"rows"});
    ASSERT_TRUE(kv) << kv.error().message;
    KvBatch batch;
    for (int i = 0; i < 100; ++i) batch.put("rows", "key" + std::to_string(i), std::string(100, 'v'));
    ASSERT_TRUE((*kv)->commit(batch, Sync::kDisk));
  }
  fs::path table;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".sst") table = entry.path();
  }
  ASSERT_FALSE(table.empty());
  ASSERT_TRUE(check_tables(folder, tables_of_manifest(folder)));
  const std::string sound = read(table);
  EXPECT_TRUE(tables_of_manifest(folder).contains(std::stoull(table.stem().string())));
  const std::size_t from = sound.find("rocksdb.block.based.table.index.type");
  const std::size_t to = sound.find("rocksdb.properties", from);
  ASSERT_LT(from, to);
  std::size_t found = 0, flips = 0;
  for (std::size_t byte = from; byte < to + 20; byte += 3) {
    std::string damaged = sound;
    damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << byte % 8));
    std::ofstream(table, std::ios::binary | std::ios::trunc) << damaged;
    const auto checked = check_tables(folder, tables_of_manifest(folder));
    ++flips;
    if (checked) continue;  // between the blocks, or of another block
    ++found;
    EXPECT_EQ(checked.error().code, Code::kCorrupt);
    EXPECT_NE(checked.error().message.find(table.string()), std::string::npos) << checked.error().message;
  }
  EXPECT_GT(found, flips * 8 / 10);
  std::ofstream(table, std::ios::binary | std::ios::trunc) << sound;
  ASSERT_TRUE(Kv::open(folder, {"rows"}));
}

TEST_F(TableCheck, LeavesToRocksDbWhatIsNoTableOrNotOfTheDatabase) {
  for (const std::string& bytes : {std::string(), std::string("short"), std::string(1'000, 'x')}) {
    std::ofstream(folder + "/000001.sst", std::ios::binary | std::ios::trunc) << bytes;
    EXPECT_TRUE(check_tables(folder, {1}));
  }
  EXPECT_TRUE(check_tables(folder, {2})) << "it is not there";
  EXPECT_TRUE(check_tables(folder + "/none", {}));
  EXPECT_TRUE(tables_of_manifest(folder + "/none").empty());
}

}  // namespace
}  // namespace tidelock
