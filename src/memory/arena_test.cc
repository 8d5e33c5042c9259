#include "memory/arena.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "base/bytes.h"
#include "base/rng.h"

namespace tidelock {
namespace {

struct ArenaTest : testing::Test {
  std::string path = testing::TempDir() + "tidelock_arena_" + std::to_string(::getpid()) + "_" +
                     testing::UnitTest::GetInstance()->current_test_info()->name();
  ArenaOptions options{path, Boot{7}, kArenaBytesMin};
  void TearDown() override { ::unlink(path.c_str()); }
};

TEST_F(ArenaTest, AnotherProcessReadsWhatTheEdgePut) {
  auto writer = ArenaWriter::create(options);
  ASSERT_TRUE(writer) << writer.error().message;
  EntryMeta meta;
  meta.version = Index{3};
  ASSERT_TRUE(writer->put("feature:1", std::string(2'048, 'v'), meta));
  const pid_t child = ::fork();
  if (child == 0) {
    const auto reader = ArenaReader::open(path);
    std::string value;
    EntryMeta got;
    const bool right = reader && reader->edge_boot() == Boot{7} &&
                       reader->get("feature:1", value, got) == Lookup::kFound && value == std::string(2'048, 'v') &&
                       got.version == Index{3} && reader->get("feature:2", value, got) == Lookup::kAbsent;
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(ArenaTest, TheFileKeepsItsSizeWhateverIsPut) {  // I11
  auto writer = ArenaWriter::create(options);
  ASSERT_TRUE(writer);
  for (int i = 0; i < 5'000; ++i) ASSERT_TRUE(writer->put("key:" + std::to_string(i), std::string(1'000, 'x'), {}));
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  EXPECT_EQ(static_cast<std::size_t>(file.tellg()), kArenaBytesMin);
  EXPECT_GT(writer->evictions(), 0u);
  EXPECT_LE(writer->live_bytes(), kArenaBytesMin);
  writer->clear();
  EXPECT_EQ(writer->entries(), 0u);
}

TEST_F(ArenaTest, AMappingOutlivesItsFilesName) {  // a new edge boot renames its own over it
  auto former = ArenaWriter::create(options);
  ASSERT_TRUE(former);
  ASSERT_TRUE(former->put("a", "old", {}));
  const auto orphan = ArenaReader::open(path);
  ASSERT_TRUE(orphan);
  options.edge_boot = Boot{8};
  auto next = ArenaWriter::create(options);
  ASSERT_TRUE(next);
  ASSERT_TRUE(next->put("a", "new", {}));
  std::string value;
  EntryMeta meta;
  EXPECT_EQ(orphan->get("a", value, meta), Lookup::kFound);
  EXPECT_EQ(value, "old");
  EXPECT_EQ(orphan->edge_boot(), Boot{7}) << "which is how a reader knows not to pair it with the new page";
}

TEST_F(ArenaTest, RefusesBadSizesAndBadFiles) {
  options.size_bytes = 100;
  EXPECT_EQ(ArenaWriter::create(options).error().code, Code::kInvalid);
  options.size_bytes = kArenaBytesMin;
  options.path = path + "/none/here";
  EXPECT_EQ(ArenaWriter::create(options).error().code, Code::kUnavailable);
  EXPECT_EQ(ArenaReader::open(path).error().code, Code::kUnavailable);
  std::ofstream(path) << "short";
  EXPECT_EQ(ArenaReader::open(path).error().code, Code::kCorrupt);
  std::ofstream(path) << std::string(kArenaBytesMin, 'x');
  EXPECT_EQ(ArenaReader::open(path).error().code, Code::kCorrupt);
}

// A reader can do nothing to the edge or to other readers: what it maps it may only read.
TEST_F(ArenaTest, AReadersMappingIsReadOnly) {
  auto writer = ArenaWriter::create(options);
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->put("a", "value", {}));
  const pid_t child = ::fork();
  if (child == 0) {
    writer = fail(Code::kUnavailable, "");  // the child's own copy of the edge's mapping
    const auto reader = ArenaReader::open(path);
    std::ifstream maps("/proc/self/maps");
    std::string line;
    std::size_t ours = 0, shared_reads = 0;
    while (std::getline(maps, line)) {
      if (line.find(path) == std::string::npos) continue;
      ++ours;
      shared_reads += line.find(" r--s ") != std::string::npos;
    }
    if (!reader || ours == 0 || shared_reads != ours) ::_exit(2);
    EntryMeta meta;
    (void)reader->view().read_in_place("a", hash64("a"), meta, [](std::string_view bytes) {
      // Neither may its rights be widened: the file was opened for reading.
      const auto page = reinterpret_cast<std::uintptr_t>(bytes.data()) / 4'096 * 4'096;
      if (::mprotect(reinterpret_cast<void*>(page), 4'096, PROT_READ | PROT_WRITE) == 0) ::_exit(3);
      ::signal(SIGSEGV, SIG_DFL);
      *reinterpret_cast<volatile char*>(const_cast<char*>(bytes.data())) = 'X';  // dies here
    });
    ::_exit(4);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) << "status " << status;
  EXPECT_EQ(writer->peek("a")->value, "value");
}

TEST_F(ArenaTest, RandomBytesNeverCrash) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    {
      auto writer = ArenaWriter::create(options);
      ASSERT_TRUE(writer);
      for (int i = 0; i < 300; ++i) ASSERT_TRUE(writer->put("key:" + std::to_string(i), std::string(500, 'x'), {}));
    }
    Rng rng(seed);
    {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      const std::uint64_t among = seed % 2 == 0 ? 64 : 200'000;  // the header, or index and first records
      for (int i = 0; i < (seed % 2 == 0 ? 2 : 3'000); ++i) {
        file.seekp(static_cast<std::streamoff>(rng.below(among)));
        file.put(static_cast<char>(rng.next()));
      }
    }
    const auto reader = ArenaReader::open(path);
    if (!reader) continue;  // refused: as good
    std::string value;
    EntryMeta meta;
    for (int i = 0; i < 300; ++i) (void)reader->get("key:" + std::to_string(i), value, meta);
  }
}

}  // namespace
}  // namespace tidelock
