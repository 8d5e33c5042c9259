// Bits flip in the files of a store that nobody has open: what is read afterwards is right, or is refused. A flip may
// never turn into a value that was not written, into a missing one, or into an older one.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/rng.h"
#include "store/kv/kv_seam.h"
#include "store/models/blob_store.h"
#include "tests/stores/folder.h"
#include "tests/stores/script.h"
#include "tests/stores/settings.h"

namespace tidelock::stores {
namespace {

namespace fs = std::filesystem;

struct Files {
  std::vector<std::pair<std::string, Bytes>> files;  // relative name, bytes
  std::uint64_t bits = 0;
};

// What a store reads when it opens: not its diary, nor the copy of its options for people.
Files read_files(const std::string& root) {
  Files out;
  for (const auto& entry : fs::directory_iterator(root)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("LOG", 0) == 0 || name.rfind("OPTIONS", 0) == 0 || name == "IDENTITY" || name == "LOCK") continue;
    if (entry.file_size() == 0) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    out.files.emplace_back(name, Bytes(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()));
    out.bits += out.files.back().second.size() * 8;
  }
  std::sort(out.files.begin(), out.files.end());
  return out;
}

void write_files(const Files& files, const std::string& root) {
  remove_tree(root);
  fs::create_directories(root);
  for (const auto& [name, bytes] : files.files) {
    std::ofstream(fs::path(root) / name, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
}

struct Flip {
  std::string file;
  std::size_t byte = 0;
  int bit = 0;
  std::string text() const { return file + " byte " + std::to_string(byte) + " bit " + std::to_string(bit); }
};

// Half of the flips hit any bit of the folder, half any bit of a file drawn first, so that the small ones get theirs.
Flip flip(Files& files, Rng& rng) {
  std::size_t which = 0;
  if (rng.one_in(2)) {
    which = rng.below(files.files.size());
  } else {
    std::uint64_t at = rng.below(files.bits);
    while (at >= files.files[which].second.size() * 8) at -= files.files[which++].second.size() * 8;
  }
  auto& [name, bytes] = files.files[which];
  Flip out{name, rng.below(bytes.size()), static_cast<int>(rng.below(8))};
  bytes[out.byte] = static_cast<char>(bytes[out.byte] ^ (1 << out.bit));
  return out;
}

struct Tally {
  std::uint64_t refused_at_open = 0, refused_at_read = 0, harmless = 0;
};

std::uint64_t hash_found(const std::string& root, const Script& script) {
  auto kv = Kv::open(root, script.families);
  if (!kv) return 0;
  const auto rows = all_rows(**kv, script.families);
  return rows ? hash_of(*rows) : 0;
}

// How the store was left: closed, or by a kill (the files as they were while it was open).
void flips_in(const Script& script, bool killed) {
  const std::uint64_t seed = setting("TIDELOCK_SEED", 1);
  const std::uint64_t flips = setting("TIDELOCK_BIT_FLIPS", 600);
  const std::uint64_t only = setting("TIDELOCK_FLIP", ~0ull);
  Folder folder;
  Rows rows;
  Files files;
  {
    // Two runs, so that there are tables of several ages beside the log.
    std::unique_ptr<Kv> kv;
    for (const std::uint64_t first : {0u, 100u}) {
      kv.reset();
      auto opened = open_kv(folder.path("db"), script.families, {nullptr, 64u << 10});
      ASSERT_TRUE(opened) << opened.error().message;
      kv = std::move(*opened);
      ASSERT_TRUE(script.run(*kv, seed, first, 70).written);
    }
    ASSERT_TRUE(kv->sync());
    rows = *all_rows(*kv, script.families);
    if (!killed) kv.reset();
    // A copy of an open store is that of one moment once it has nothing more to flush or compact.
    for (int tries = 0; tries < 100; ++tries) {
      files = read_files(folder.path("db"));
      write_files(files, folder.path("whole"));
      if (hash_found(folder.path("whole"), script) == hash_of(rows)) break;
    }
  }
  ASSERT_EQ(hash_found(folder.path("whole"), script), hash_of(rows)) << "not even undamaged";
  ASSERT_GT(rows.size(), 20u);
  const std::uint64_t hash = hash_of(rows);
  Tally tally;
  std::uint64_t failures = 0;
  for (std::uint64_t n = only == ~0ull ? 0 : only; n < (only == ~0ull ? flips : only + 1) && failures < 20; ++n) {
    Rng rng(seed * 1'000'000'007 + n);
    Files damaged = files;
    const Flip where = flip(damaged, rng);
    write_files(damaged, folder.path("flipped"));
    auto kv = Kv::open(folder.path("flipped"), script.families);
    if (!kv) {
      ++tally.refused_at_open;
      continue;
    }
    const auto read = all_rows(**kv, script.families);
    if (!read) {
      ++tally.refused_at_read;
      if (read.error().code == Code::kCorrupt) continue;
    } else if (hash_of(*read) == hash) {
      ++tally.harmless;
      continue;
    }
    ++failures;
    ADD_FAILURE() << script.name << (killed ? " killed" : " closed") << ": flip " << n << " (TIDELOCK_SEED=" << seed
                  << " TIDELOCK_FLIP=" << n << ") " << where.text() << ": "
                  << (read ? std::to_string(read->size()) + " of " + std::to_string(rows.size()) +
                                 " rows, other bytes, and nobody noticed"
                           : read.error().message);
  }
  std::printf("%s %s: %llu flips in %zu files of %llu bytes: %llu refused when opened, %llu when read, %llu harmless\n",
              script.name, killed ? "killed" : "closed", static_cast<unsigned long long>(flips), files.files.size(),
              static_cast<unsigned long long>(files.bits / 8), static_cast<unsigned long long>(tally.refused_at_open),
              static_cast<unsigned long long>(tally.refused_at_read), static_cast<unsigned long long>(tally.harmless));
}

TEST(BitFlip, InAnEdgesClosedStoreIsNeverServed) { flips_in(kEdgeScript, false); }  // D2, R11
TEST(BitFlip, InAnEdgesKilledStoreIsNeverServed) { flips_in(kEdgeScript, true); }
TEST(BitFlip, InAHubsClosedStoreIsNeverServed) { flips_in(kHubScript, false); }
TEST(BitFlip, InAHubsKilledStoreIsNeverServed) { flips_in(kHubScript, true); }

// Model files are read by others straight from the folder, so their check is verify (X3), which each activation runs.
TEST(BitFlip, InAModelFileIsFoundByVerifyAndTheFileCanBeHadAnew) {  // D2, X3
  const std::uint64_t flips = std::max<std::uint64_t>(1, setting("TIDELOCK_BIT_FLIPS", 600) / 4);
  Folder folder;
  Rng rng(setting("TIDELOCK_SEED", 1));
  Bytes content(20'000, '\0');
  for (char& c : content) c = static_cast<char>(rng.next());
  const auto store = BlobStore::open(folder.path("models"));
  ASSERT_TRUE(store);
  const auto digest = (*store)->put(content);
  ASSERT_TRUE(digest);
  ASSERT_TRUE((*store)->pin("active", {*digest}));
  for (std::uint64_t n = 0; n < flips; ++n) {
    const std::string path = *(*store)->path(*digest);
    Bytes damaged = content;
    const std::size_t at = rng.below(damaged.size());
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << rng.below(8)));
    fs::remove(path);
    std::ofstream(path, std::ios::binary).write(damaged.data(), static_cast<std::streamsize>(damaged.size()));
    const auto verified = (*store)->verify(*digest);
    ASSERT_FALSE(verified) << "byte " << at;
    EXPECT_EQ(verified.error().code, Code::kCorrupt);
    EXPECT_FALSE((*store)->has(*digest)) << "a damaged file is no blob";
    ASSERT_TRUE((*store)->put(content));
    ASSERT_TRUE((*store)->verify(*digest));
  }
}

}  // namespace
}  // namespace tidelock::stores
