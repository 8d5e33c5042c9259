#include "store/kv/kv.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "store/kv/wal_check.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

class KvTest : public ::testing::Test {
 protected:
  KvTest() {
    std::string pattern = (fs::temp_directory_path() / "tidelock-kv-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~KvTest() override { fs::remove_all(directory_); }
  std::string path(const char* name) const { return directory_ + "/" + name; }
  std::unique_ptr<Kv> open(const char* name = "db") {
    auto kv = Kv::open(path(name), {"log", "state"});
    EXPECT_TRUE(kv.has_value()) << kv.error().message;
    return kv ? std::move(*kv) : nullptr;
  }
  static Bytes value(const Kv& kv, const char* family, BytesView key) {
    auto found = kv.get(family, key);
    EXPECT_TRUE(found.has_value());
    return found && *found ? **found : "(absent)";
  }
  static Bytes all(const Kv& kv, const char* family, BytesView begin = {}, BytesView end = {}) {
    Bytes out;
    EXPECT_TRUE(kv.scan(family, begin, end, [&](BytesView key, BytesView v) {
      out += Bytes(key) + "=" + Bytes(v) + " ";
      return true;
    }));
    return out;
  }
  std::string directory_;
};

KvBatch puts(std::initializer_list<std::pair<const char*, const char*>> pairs, const char* family = "log") {
  KvBatch batch;
  for (const auto& [key, v] : pairs) batch.put(family, key, v);
  return batch;
}

TEST_F(KvTest, KeepsBatchesAcrossFamiliesAndAReopening) {
  {
    auto kv = open();
    KvBatch batch = puts({{"a", "1"}, {"b", "2"}, {"c", "3"}});
    batch.put("state", "vote", "7");
    ASSERT_TRUE(kv->commit(batch, Sync::kDisk));
    KvBatch second;
    second.erase("log", "a");
    second.put("log", "d", "4");
    second.erase_range("log", "c", "d");
    ASSERT_TRUE(kv->commit(second, Sync::kNone));
    ASSERT_TRUE(kv->sync());
  }
  auto kv = open();
  EXPECT_EQ(all(*kv, "log"), "b=2 d=4 ");
  EXPECT_EQ(all(*kv, "log", "b", "d"), "b=2 ");
  EXPECT_EQ(value(*kv, "state", "vote"), "7");
  EXPECT_EQ(value(*kv, "log", "a"), "(absent)");
  EXPECT_EQ(**kv->last_key("log"), "d");
  EXPECT_GT(kv->approximate_bytes(), 0u);
}

TEST_F(KvTest, WritesOfABatchApplyInOrder) {
  auto kv = open();
  KvBatch batch = puts({{"k", "old"}});
  batch.erase_range("log", "a", "z");
  batch.put("log", "k", "new");
  ASSERT_TRUE(kv->commit(batch, Sync::kDisk));
  EXPECT_EQ(all(*kv, "log"), "k=new ");
}

TEST_F(KvTest, RowsInPlaceAreWrittenWithABatch) {
  auto kv = open();
  ASSERT_TRUE(kv->commit(puts({{"a", "1"}, {"b", "2"}}), Sync::kNone));
  const KvRow rows[] = {{"a", std::nullopt}, {"b", "3"}, {"c", "4"}};
  ASSERT_TRUE(kv->commit_rows("log", rows, puts({{"upto", "7"}}, "state"), Sync::kNone));
  EXPECT_EQ(all(*kv, "log"), "b=3 c=4 ");
  EXPECT_EQ(all(*kv, "state"), "upto=7 ");
  ASSERT_TRUE(kv->commit_rows("log", {}, puts({{"upto", "8"}}, "state"), Sync::kDisk));
  const auto refused = kv->commit_rows("nobody", rows, puts({{"upto", "9"}}, "state"), Sync::kNone);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  kv.reset();
  kv = open();
  EXPECT_EQ(all(*kv, "log"), "b=3 c=4 ");
  EXPECT_EQ(all(*kv, "state"), "upto=8 ") << "all of it or nothing";
}

TEST_F(KvTest, ScanStopsWhenTold) {
  auto kv = open();
  ASSERT_TRUE(kv->commit(puts({{"a", "1"}, {"b", "2"}}), Sync::kNone));
  int seen = 0;
  ASSERT_TRUE(kv->scan("log", {}, {}, [&](BytesView, BytesView) { return ++seen < 1; }));
  EXPECT_EQ(seen, 1);
  EXPECT_FALSE(*kv->last_key("state"));
}

TEST_F(KvTest, RefusesAFamilyNobodyNamed) {
  auto kv = open();
  EXPECT_EQ(kv->get("typo", "k").error().code, Code::kInvalid);
  EXPECT_EQ(kv->commit(puts({{"k", "v"}}, "typo"), Sync::kNone).error().code, Code::kInvalid);
  EXPECT_TRUE(kv->commit(puts({{"k", "v"}}), Sync::kNone)) << "a bad batch harms no later one";
}

TEST_F(KvTest, TwoOwnersOfOneFolderConflict) {
  auto kv = open();
  auto second = Kv::open(path("db"), {"log"});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, Code::kConflict) << second.error().message;
  EXPECT_NE(second.error().message.find(path("db")), std::string::npos);
}

void flip_byte(const fs::path& file, std::uint64_t at) {
  std::fstream f(file, std::ios::binary | std::ios::in | std::ios::out);
  f.seekg(static_cast<std::streamoff>(at));
  const char c = static_cast<char>(f.get() ^ 0x40);
  f.seekp(static_cast<std::streamoff>(at));
  f.put(c);
}

TEST_F(KvTest, DamageIsReportedWithThePathAndNeverRepairedSilently) {  // D2
  struct Case {
    const char* why;
    std::function<void(const fs::path&)> damage;
  };
  const auto for_each = [](const fs::path& folder, const std::string& prefix, const std::string& extension, auto act) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (name.rfind(prefix, 0) == 0 && entry.path().extension().string() == extension && entry.file_size() > 0)
        act(entry.path());
    }
  };
  const Case cases[] = {
      {"a flipped byte in the middle of the log",
       [&](const fs::path& p) {
         for_each(p, "", ".log", [](const fs::path& f) { flip_byte(f, fs::file_size(f) / 2); });
       }},
      {"a manifest that is gone",
       [&](const fs::path& p) { for_each(p, "MANIFEST-", "", [](const fs::path& f) { fs::remove(f); }); }},
      {"CURRENT that is gone", [](const fs::path& p) { fs::remove(p / "CURRENT"); }},
      {"CURRENT with something else in it", [](const fs::path& p) { std::ofstream(p / "CURRENT") << "nonsense\n"; }},
  };
  int n = 0;
  for (const Case& c : cases) {
    const std::string name = "db" + std::to_string(n++);
    {
      auto kv = open(name.c_str());
      for (int i = 0; i < 50; ++i) {
        ASSERT_TRUE(
            kv->commit(puts({{("key" + std::to_string(i)).c_str(), "some value of some length"}}), Sync::kDisk));
      }
    }
    c.damage(path(name.c_str()));
    auto kv = Kv::open(path(name.c_str()), {"log", "state"});
    ASSERT_FALSE(kv.has_value()) << c.why;
    EXPECT_EQ(kv.error().code, Code::kCorrupt) << c.why << ": " << kv.error().message;
    EXPECT_NE(kv.error().message.find(path(name.c_str())), std::string::npos) << c.why;
  }
}

TEST_F(KvTest, EveryFlippedByteOfTheLogIsFoundAndATornTailIsForgiven) {  // D2
  {
    auto kv = open();
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(kv->commit(puts({{("key" + std::to_string(i)).c_str(), "some value of some length"}}), Sync::kDisk));
    }
  }
  fs::path log;
  for (const auto& entry : fs::directory_iterator(path("db"))) {
    if (entry.path().extension() == ".log" && entry.file_size() > 0) log = entry.path();
  }
  ASSERT_FALSE(log.empty());
  const std::uint64_t size = fs::file_size(log);
  constexpr std::uint64_t kLastMark = 65;  // the end of the log says only that what is before it was synced
  for (std::uint64_t at = 0; at < size - kLastMark; ++at) {
    flip_byte(log, at);
    const auto found = check_write_ahead_logs(path("db"));
    ASSERT_FALSE(found) << "byte " << at;
    EXPECT_EQ(found.error().code, Code::kCorrupt);
    flip_byte(log, at);
  }
  for (std::uint64_t cut = 1; cut < 200; cut += 13) {
    fs::resize_file(log, size - cut);
    EXPECT_TRUE(check_write_ahead_logs(path("db"))) << "cut by " << cut;
  }
  auto kv = open();
  EXPECT_EQ(value(*kv, "log", "key0"), "some value of some length");
}

// The log of an open store with two synced commits and three that are not, and where each of the three begins.
struct Unsynced {
  fs::path log;
  std::vector<std::uint64_t> begins;
};
Unsynced write_unsynced(Kv& kv, const std::string& folder) {
  Unsynced out;
  EXPECT_TRUE(kv.commit(puts({{"synced0", "some value of some length"}}), Sync::kDisk));
  EXPECT_TRUE(kv.commit(puts({{"synced1", "some value of some length"}}), Sync::kDisk));
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".log" && entry.file_size() > 0) out.log = entry.path();
  }
  for (const char* key : {"loose0", "loose1", "loose2"}) {
    out.begins.push_back(fs::file_size(out.log));
    EXPECT_TRUE(kv.commit(puts({{key, "some value of some length"}}), Sync::kNone));
  }
  return out;
}
void zero(const fs::path& file, std::uint64_t from, std::uint64_t to) {
  std::fstream f(file, std::ios::binary | std::ios::in | std::ios::out);
  f.seekp(static_cast<std::streamoff>(from));
  f << Bytes(to - from, '\0');
}

// A power cut may lose a write that was not synced and keep a later one. RocksDB passes over the zeros and makes a
// state that never was; refusing to open would lose a gateway to every power cut.
TEST_F(KvTest, AHoleInUnsyncedWritesEndsTheLogBeforeIt) {  // D2, D9
  auto kv = open();
  const Unsynced left = write_unsynced(*kv, path("db"));
  fs::copy(path("db"), path("cut"));
  zero(fs::path(path("cut")) / left.log.filename(), left.begins[1], left.begins[2]);
  kv = open("cut");
  ASSERT_TRUE(kv);
  EXPECT_EQ(value(*kv, "log", "synced1"), "some value of some length");
  EXPECT_EQ(value(*kv, "log", "loose0"), "some value of some length");
  EXPECT_EQ(value(*kv, "log", "loose1"), "(absent)");
  EXPECT_EQ(value(*kv, "log", "loose2"), "(absent)") << "behind a hole";
  EXPECT_TRUE(kv->commit(puts({{"again", "x"}}), Sync::kDisk));
}

TEST_F(KvTest, AHoleInSyncedWritesIsDamage) {  // D2
  auto kv = open();
  const Unsynced left = write_unsynced(*kv, path("db"));
  fs::copy(path("db"), path("cut"));
  zero(fs::path(path("cut")) / left.log.filename(), left.begins[0] - 120, left.begins[0] - 60);
  const auto refused = Kv::open(path("cut"), {"log", "state"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCorrupt) << refused.error().message;
}

TEST_F(KvTest, AProcessKilledWhileItMadeTheStoreLeavesAFolderThatCanBeUsed) {
  {
    auto made = open("other");
  }
  for (const bool with_current : {false, true}) {  // RocksDB writes the first manifest, then CURRENT
    const std::string folder = path(with_current ? "both" : "manifest");
    fs::create_directory(folder);
    std::ofstream(folder + "/MANIFEST-000001") << "half";
    if (with_current) std::ofstream(folder + "/CURRENT") << "MANIFEST-000001\n";
    auto kv = Kv::open(folder, {"log", "state"});
    ASSERT_TRUE(kv) << kv.error().message;
    EXPECT_TRUE((*kv)->commit(puts({{"k", "v"}}), Sync::kDisk));
  }
}

TEST_F(KvTest, ATornEndOfTheManifestIsForgivenAndADamagedOneIsNot) {  // D2
  {
    auto kv = open();
    ASSERT_TRUE(kv->commit(puts({{"k", "v"}}), Sync::kDisk));
  }
  fs::path manifest;
  for (const auto& entry : fs::directory_iterator(path("db"))) {
    if (entry.path().filename().string().rfind("MANIFEST-", 0) == 0) manifest = entry.path().filename();
  }
  fs::copy(path("db"), path("torn"));
  const std::uint64_t size = fs::file_size(fs::path(path("torn")) / manifest);
  std::ofstream(fs::path(path("torn")) / manifest, std::ios::binary | std::ios::app)
      << "\x11\x22\x33\x44\x20" << Bytes(30, '\0');
  auto kv = open("torn");
  ASSERT_TRUE(kv);
  EXPECT_EQ(value(*kv, "log", "k"), "v");
  kv.reset();
  // Of entries that were written together and not synced yet, a power cut kept a later one only.
  fs::copy(path("db"), path("hole"));
  const fs::path holed = fs::path(path("hole")) / manifest;
  Bytes entry(7, '\0');
  std::ifstream(holed, std::ios::binary).read(entry.data(), 7);
  entry.resize(7 + static_cast<unsigned char>(entry[4]));
  std::ifstream(holed, std::ios::binary).read(entry.data(), static_cast<std::streamsize>(entry.size()));
  std::ofstream(holed, std::ios::binary | std::ios::app) << Bytes(entry.size(), '\0') << entry;
  kv = open("hole");
  ASSERT_TRUE(kv);
  EXPECT_EQ(value(*kv, "log", "k"), "v");
  kv.reset();
  for (std::uint64_t at = 0; at < size; ++at) {  // RocksDB takes a length that is too large for the end of the file
    fs::remove_all(path("hit"));
    fs::copy(path("db"), path("hit"));
    flip_byte(fs::path(path("hit")) / manifest, at);
    const auto refused = Kv::open(path("hit"), {"log", "state"});
    ASSERT_FALSE(refused) << "byte " << at << " of " << size;
    EXPECT_EQ(refused.error().code, Code::kCorrupt) << at << ": " << refused.error().message;
  }
}

TEST_F(KvTest, ExportedFamilyReplacesAnotherStoresFamily) {
  auto source = open("source");
  auto target = open("target");
  for (int i = 0; i < 500; ++i)
    ASSERT_TRUE(source->commit(puts({{("k" + std::to_string(i)).c_str(), "v"}}), Sync::kNone));
  ASSERT_TRUE(source->export_family("log", path("export")));
  ASSERT_TRUE(source->commit(puts({{"later", "x"}}), Sync::kNone));
  ASSERT_TRUE(target->commit(puts({{"stale", "x"}}), Sync::kDisk));
  ASSERT_TRUE(target->commit(puts({{"kept", "x"}}, "state"), Sync::kDisk));
  const auto imported = target->import_family("log", path("export"));
  ASSERT_TRUE(imported) << imported.error().message;
  EXPECT_EQ(value(*target, "log", "k499"), "v");
  EXPECT_EQ(value(*target, "log", "stale"), "(absent)");
  EXPECT_EQ(value(*target, "log", "later"), "(absent)") << "a snapshot holds one moment";
  EXPECT_EQ(value(*target, "state", "kept"), "x") << "other families are untouched";
  ASSERT_TRUE(target->commit(puts({{"k0", "new"}}), Sync::kDisk));
  target.reset();
  target = open("target");
  EXPECT_EQ(value(*target, "log", "k0"), "new");
  EXPECT_EQ(value(*target, "log", "k1"), "v");
}

TEST_F(KvTest, AnEmptyFamilyTravelsToo) {
  auto source = open("source");
  auto target = open("target");
  ASSERT_TRUE(source->export_family("log", path("export")));
  ASSERT_TRUE(target->commit(puts({{"stale", "x"}}), Sync::kDisk));
  const auto imported = target->import_family("log", path("export"));
  ASSERT_TRUE(imported) << imported.error().message;
  EXPECT_EQ(all(*target, "log"), "");
}

TEST_F(KvTest, ADamagedExportIsRefusedAndChangesNothing) {
  auto source = open("source");
  auto target = open("target");
  ASSERT_TRUE(source->commit(puts({{"a", "some value of some length"}}), Sync::kNone));
  ASSERT_TRUE(target->commit(puts({{"own", "x"}}), Sync::kDisk));
  EXPECT_EQ(target->import_family("log", path("nowhere")).error().code, Code::kNotFound);
  ASSERT_TRUE(source->export_family("log", path("export")));
  EXPECT_FALSE(source->export_family("log", path("export"))) << "the folder must not exist";
  for (const auto& entry : fs::directory_iterator(path("export"))) {
    const std::uint64_t at = entry.file_size() / 2;
    flip_byte(entry.path(), at);
    const auto imported = target->import_family("log", path("export"));
    ASSERT_FALSE(imported) << entry.path();
    EXPECT_EQ(imported.error().code, Code::kCorrupt) << imported.error().message;
    flip_byte(entry.path(), at);
  }
  EXPECT_EQ(all(*target, "log"), "own=x ");
  EXPECT_TRUE(target->import_family("log", path("export"))) << "undamaged again";
}

// Its checksums hold: made by another version, or by somebody with a purpose.
TEST_F(KvTest, AnExportThatNamesOtherThanItsTablesIsRefusedAndChangesNothing) {
  auto source = open("source");
  auto target = open("target");
  ASSERT_TRUE(source->commit(puts({{"a", "some value of some length"}}), Sync::kNone));
  ASSERT_TRUE(target->commit(puts({{"own", "x"}}), Sync::kDisk));
  ASSERT_TRUE(source->export_family("log", path("export")));
  std::string table;
  for (const auto& entry : fs::directory_iterator(path("export"))) {
    if (entry.path().extension() == ".sst") table = entry.path().filename().string();
  }
  ASSERT_FALSE(table.empty());
  const auto rename_to = [&](const std::string& name) {
    return
        [&, name](Bytes& manifest, const std::string&) { manifest.replace(manifest.find(table), table.size(), name); };
  };
  struct Case {
    const char* why;
    std::function<void(Bytes& manifest, const std::string& folder)> spoil;
    std::string says;
  };
  const Case cases[] = {
      {"another version of the format", [](Bytes& m, const std::string&) { m[0] = 2; },
       "version 2 with 1 files; this build reads version 1 with at most 100000"},
      {"a table in a folder below", rename_to("a/" + table.substr(2)), "is not one of a table"},
      {"a table in the folder above", rename_to(".." + table.substr(2)), "is not one of a table"},
      {"a table that is gone", [&](Bytes&, const std::string& f) { fs::remove(f + "/" + table); }, table + ": missing"},
      {"a table that was cut",
       [&](Bytes&, const std::string& f) { fs::resize_file(f + "/" + table, fs::file_size(f + "/" + table) - 1); },
       "of another size than " + std::to_string(fs::file_size(path("export") + "/" + table))},
  };
  for (const Case& c : cases) {
    const std::string folder = path("forged");
    fs::remove_all(folder);
    fs::copy(path("export"), folder);
    const std::string file = folder + "/export.manifest";
    Bytes manifest(fs::file_size(file) - sizeof(std::uint32_t), '\0');
    std::ifstream(file, std::ios::binary).read(manifest.data(), static_cast<std::streamsize>(manifest.size()));
    c.spoil(manifest, folder);
    const std::uint32_t crc = crc32c(manifest);
    std::ofstream(file, std::ios::binary) << manifest << Bytes(reinterpret_cast<const char*>(&crc), sizeof crc);
    const auto imported = target->import_family("log", folder);
    ASSERT_FALSE(imported) << c.why;
    EXPECT_EQ(imported.error().code, Code::kCorrupt) << c.why;
    EXPECT_NE(imported.error().message.find(folder), std::string::npos) << c.why << ": " << imported.error().message;
    EXPECT_NE(imported.error().message.find(c.says), std::string::npos) << c.why << ": " << imported.error().message;
    EXPECT_EQ(all(*target, "log"), "own=x ") << c.why;
  }
}

TEST_F(KvTest, AFolderThatCannotBeMadeIsNamed) {
  std::ofstream(path("file")) << "a file where a folder belongs";
  const auto refused = Kv::open(path("file") + "/db", {"log"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_EQ(refused.error().message, path("file") + "/db: cannot be created: Not a directory");
}

TEST_F(KvTest, AfterAFailedWriteTheStoreIsReadOnlyForGood) {  // D3
  auto kv = open();
  ASSERT_TRUE(kv->commit(puts({{"before", "1"}}), Sync::kDisk));
  // No file of this process may grow: what a full disk looks like to a write.
  struct rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit none = old;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  const auto failed = kv->commit(puts({{"during", "2"}}), Sync::kDisk);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kBusy);
  EXPECT_NE(failed.error().message.find(path("db")), std::string::npos) << failed.error().message;
  const auto after = kv->commit(puts({{"after", "3"}}), Sync::kDisk);
  ASSERT_FALSE(after) << "there is room again, but what the failed write left behind is unknown";
  EXPECT_EQ(after.error(), failed.error()) << "the first cause is the one that counts";
  EXPECT_FALSE(kv->sync());
  EXPECT_EQ(value(*kv, "log", "before"), "1") << "reads go on";
  kv.reset();
  fs::copy(path("db"), path("restarted"));  // this process keeps the lock; a restarted one sees these bytes
  kv = open("restarted");
  EXPECT_EQ(value(*kv, "log", "before"), "1");
  EXPECT_EQ(value(*kv, "log", "after"), "(absent)");
  EXPECT_TRUE(kv->commit(puts({{"again", "4"}}), Sync::kDisk));
}

}  // namespace
}  // namespace tidelock
