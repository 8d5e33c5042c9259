#include "store/models/blob_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/rng.h"
#include "codec/manifest.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

Bytes some_bytes(std::uint64_t seed, std::size_t size) {
  Rng rng(seed);
  Bytes out;
  out.reserve(size);
  for (std::size_t i = 0; i < size; ++i) out.push_back(static_cast<char>(rng.next()));
  return out;
}
std::size_t partial_files(const TestFolder& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder.path() + "/partial")) ++count;
  return count;
}
std::unique_ptr<BlobStore> open_store(const TestFolder& folder, std::uint64_t quota_bytes = 0) {
  auto store = BlobStore::open(folder.path(), {quota_bytes});
  EXPECT_TRUE(store) << store.error().message;
  return store ? std::move(*store) : nullptr;
}

TEST(BlobStore, KeepsWhatWasPutAcrossARestart) {
  const TestFolder folder;
  const Bytes bytes = some_bytes(1, 3'000'000);
  const Bytes digest = sha256(bytes);
  {
    const auto store = open_store(folder);
    EXPECT_FALSE(store->has(digest));
    EXPECT_EQ(*store->put(bytes), digest);
    EXPECT_EQ(*store->put(bytes), digest) << "twice is once";
    EXPECT_EQ(*store->put(""), sha256(""));
    EXPECT_EQ(store->used_bytes(), bytes.size());
  }
  const auto store = open_store(folder);
  EXPECT_TRUE(store->has(digest));
  EXPECT_TRUE(store->has(sha256("")));
  EXPECT_EQ(store->used_bytes(), bytes.size());
  EXPECT_EQ(*store->read(digest, 0, bytes.size() + 100), bytes);
  EXPECT_EQ(*store->read(digest, 2'999'990, 100), bytes.substr(2'999'990));
  EXPECT_EQ(*store->read(digest, bytes.size(), 100), "");
  EXPECT_EQ(store->read(digest, bytes.size() + 1, 1).error().code, Code::kInvalid);
  EXPECT_EQ(store->read(sha256("absent"), 0, 1).error().code, Code::kNotFound);
  EXPECT_EQ(store->map(digest)->bytes(), bytes);
  EXPECT_TRUE(store->verify(digest));
  EXPECT_EQ(partial_files(folder), 0u);
  const std::string path = *store->path(digest);
  EXPECT_EQ(fs::status(path).permissions() & fs::perms::owner_write, fs::perms::none);
}

TEST(BlobStore, KeepsNothingOfWrongContent) {
  struct Case {
    const char* why;
    Bytes sent;
    std::uint64_t declared;
  };
  const Bytes right = some_bytes(2, 1000);
  Bytes one_bit = right;
  one_bit[500] = static_cast<char>(one_bit[500] ^ 1);
  const Case cases[] = {{"one bit differs", one_bit, 1000},
                        {"shorter than declared", right.substr(0, 999), 1000},
                        {"longer than declared", right + "x", 1000},
                        {"endless data", some_bytes(3, 500'000), 1000},
                        {"nothing at all", "", 1000},
                        {"declared shorter than it is", right, 999}};
  for (const Case& c : cases) {
    const TestFolder folder;
    const auto store = open_store(folder);
    {
      auto writer = store->put_stream(sha256(right), c.declared);
      ASSERT_TRUE(writer) << c.why;
      Result<void> ok = (*writer)->write(c.sent);
      if (ok) ok = (*writer)->commit();
      ASSERT_FALSE(ok) << c.why;
      EXPECT_EQ(ok.error().code, Code::kCorrupt) << c.why;
      EXPECT_NE(ok.error().message.find(to_hex(sha256(right))), std::string::npos) << c.why;
    }
    EXPECT_FALSE(store->has(sha256(right))) << c.why;
    EXPECT_EQ(partial_files(folder), 0u) << c.why;
    EXPECT_EQ(store->used_bytes(), 0u) << c.why;
    EXPECT_TRUE(store->put(right)) << c.why << ": the right bytes must still be welcome";
  }
}

TEST(BlobStore, AWriterEndsOnce) {
  const TestFolder folder;
  const auto store = open_store(folder);
  const Bytes bytes = some_bytes(17, 1000);
  const auto writer = *store->put_stream(sha256(bytes), bytes.size());
  ASSERT_TRUE(writer->write(bytes));
  writer->discard();
  const auto refused = writer->commit();
  ASSERT_FALSE(refused) << "what was discarded is not taken after all";
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_EQ(refused.error().message, "blob " + to_hex(sha256(bytes)) + ": committed after its end");
  EXPECT_FALSE(store->has(sha256(bytes)));
}

TEST(BlobStore, RefusesAnotherSizeThanTheBlobHas) {
  const TestFolder folder;
  const auto store = open_store(folder);
  const Bytes digest = *store->put("four");
  const auto refused = store->put_stream(digest, 5);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
  EXPECT_EQ(refused.error().message, "blob " + to_hex(digest) + ": declared with 5 bytes, it has 4");
  EXPECT_EQ(*store->read(digest, 0, 100), "four");
}

TEST(BlobStore, KeepsATransferWhosePlaceIsTaken) {
  const TestFolder folder;
  const auto store = open_store(folder);
  const Bytes bytes = some_bytes(18, 1000);
  const std::string hex = to_hex(sha256(bytes));
  const std::string place = folder.path() + "/blobs/" + hex.substr(0, 2) + "/" + hex;
  fs::create_directories(place);  // a folder where the blob belongs
  const auto refused = store->put(bytes);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_NE(refused.error().message.find("rename " + folder.path() + "/partial/" + hex), std::string::npos)
      << refused.error().message;
  EXPECT_FALSE(store->has(sha256(bytes)));
  fs::remove(place);
  EXPECT_EQ((*store->put_stream(sha256(bytes), bytes.size()))->offset(), bytes.size()) << "not a byte is sent again";
  EXPECT_TRUE(store->put(bytes));
}

TEST(BlobStore, TakesABlobOfWhichOnlyTheDigestIsKnown) {
  const TestFolder folder;
  const auto store = open_store(folder, 100'000);
  const Bytes bytes = some_bytes(3, 60'000);
  {
    auto writer = store->put_stream(sha256(bytes));
    ASSERT_TRUE(writer) << writer.error().message;
    ASSERT_TRUE((*writer)->write(bytes.substr(0, 40'000)));
  }
  auto writer = store->put_stream(sha256(bytes));
  ASSERT_TRUE(writer) << writer.error().message;
  EXPECT_EQ((*writer)->offset(), 40'000u) << "goes on where it ended";
  ASSERT_TRUE((*writer)->write(bytes.substr(40'000)));
  EXPECT_TRUE((*writer)->commit());
  EXPECT_EQ(*store->size_bytes(sha256(bytes)), bytes.size());
  EXPECT_EQ(store->used_bytes(), bytes.size());
  auto again = store->put_stream(sha256(bytes));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->offset(), bytes.size()) << "here already";
  EXPECT_TRUE((*again)->commit());

  auto other = store->put_stream(sha256("something else"));
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_EQ((*other)->write(bytes).error().code, Code::kBusy) << "the quota holds without a declared length, too";
  ASSERT_TRUE((*other)->write("short"));
  const auto refused = (*other)->commit();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCorrupt) << "any length, but not any bytes";
  EXPECT_EQ(partial_files(folder), 0u);
}

TEST(BlobStore, RefusesDigestsThatAreNone) {
  const TestFolder folder;
  const auto store = open_store(folder);
  for (const Bytes& digest : {Bytes(), Bytes("../../etc/passwd"), Bytes(31, 'x'), Bytes(33, 'x')}) {
    EXPECT_EQ(store->put_stream(digest, 1).error().code, Code::kInvalid);
    EXPECT_EQ(store->read(digest, 0, 1).error().code, Code::kInvalid);
    EXPECT_EQ(store->remove(digest).error().code, Code::kInvalid);
    EXPECT_FALSE(store->has(digest));
  }
  EXPECT_EQ(store->put_stream(sha256("x"), kModelFileBytesMax + 1).error().code, Code::kInvalid);
}

TEST(BlobStore, GoesOnWhereADroppedTransferEnded) {
  const TestFolder folder;
  const Bytes bytes = some_bytes(4, 100'000);
  const Bytes digest = sha256(bytes);
  {
    const auto store = open_store(folder);
    const auto writer = *store->put_stream(digest, bytes.size());
    ASSERT_TRUE(writer->write(BytesView(bytes).substr(0, 40'000)));
    EXPECT_EQ(store->put_stream(digest, bytes.size()).error().code, Code::kConflict) << "one writer at a time";
  }
  const auto store = open_store(folder);
  const auto writer = *store->put_stream(digest, bytes.size());
  EXPECT_EQ(writer->offset(), 40'000u);
  ASSERT_TRUE(writer->write(BytesView(bytes).substr(40'000)));
  ASSERT_TRUE(writer->commit());
  EXPECT_EQ(*store->read(digest, 0, bytes.size()), bytes);
  const auto again = *store->put_stream(digest, bytes.size());
  EXPECT_EQ(again->offset(), bytes.size()) << "nothing to send when it is here";
  EXPECT_TRUE(again->commit());
}

TEST(BlobStore, FindsOutAtCommitThatAPartialFileIsDamaged) {
  const TestFolder folder;
  const Bytes bytes = some_bytes(5, 10'000);
  const auto store = open_store(folder);
  {
    ASSERT_TRUE((*store->put_stream(sha256(bytes), bytes.size()))->write(BytesView(bytes).substr(0, 5'000)));
  }
  const std::string partial = folder.path() + "/partial/" + to_hex(sha256(bytes)) + ".10000";
  {
    std::fstream(partial, std::ios::in | std::ios::out | std::ios::binary).seekp(100).put('!').put('!').put('!');
  }
  {
    const auto writer = *store->put_stream(sha256(bytes), bytes.size());
    EXPECT_EQ(writer->offset(), 5'000u);
    ASSERT_TRUE(writer->write(BytesView(bytes).substr(5'000)));
    EXPECT_EQ(writer->commit().error().code, Code::kCorrupt);
  }
  EXPECT_EQ(partial_files(folder), 0u) << "the damaged bytes are not resumed from again";
  std::ofstream(partial, std::ios::binary) << Bytes(20'000, 'x');  // longer than declared: not ours
  EXPECT_EQ((*store->put_stream(sha256(bytes), bytes.size()))->offset(), 0u);
  EXPECT_TRUE(store->put(bytes));
}

// Kills a child at a random point of its work, again and again; each time the store opens, holds only whole blobs, and
// a transfer goes on.
TEST(BlobStore, SurvivesKillNineAtAnyPoint) {
  const TestFolder folder;
  const Bytes bytes = some_bytes(6, 2'000'000);
  const Bytes digest = sha256(bytes);
  Rng rng(20'260'101);
  int resumed = 0, committed = 0;
  for (int round = 0; round < 40; ++round) {
    int progress[2];
    ASSERT_EQ(::pipe(progress), 0);
    const pid_t child = ::fork();
    if (child == 0) {  // no gtest in here: it is killed, or leaves with _exit
      ::close(progress[0]);
      const auto store = BlobStore::open(folder.path());
      if (!store) ::_exit(3);
      if ((*store)->has(digest)) {
        if (!(*store)->unpin("staged") || !(*store)->remove(digest)) ::_exit(4);
      }
      if (!(*store)->pin("staged", {digest})) ::_exit(5);
      auto writer = (*store)->put_stream(digest, bytes.size());
      if (!writer) ::_exit(6);
      while ((*writer)->offset() < bytes.size()) {
        if (!(*writer)->write(BytesView(bytes).substr((*writer)->offset(), 20'000))) ::_exit(7);
        if (::write(progress[1], "w", 1) != 1) ::_exit(8);
      }
      if (!(*writer)->commit()) ::_exit(9);
      ::_exit(0);
    }
    ::close(progress[1]);
    char byte = 0;
    for (std::uint64_t n = rng.below(130); n > 0 && ::read(progress[0], &byte, 1) == 1; --n) {
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ::close(progress[0]);
    ASSERT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0)
        << "round " << round << ": child left with " << WEXITSTATUS(status);

    const auto store = open_store(folder);
    ASSERT_NE(store, nullptr) << "round " << round;
    if (store->has(digest)) {
      ++committed;
      ASSERT_TRUE(store->verify(digest)) << "round " << round;
    } else {
      const auto writer = store->put_stream(digest, bytes.size());
      ASSERT_TRUE(writer) << "round " << round;
      resumed += (*writer)->offset() > 0 ? 1 : 0;
      ASSERT_EQ(BytesView(bytes).substr(0, (*writer)->offset()).size(), (*writer)->offset());
    }
  }
  EXPECT_GT(resumed, 0);
  EXPECT_GT(committed, 0);
}

TEST(BlobStore, SaysBusyWithThePathWhenTheDiskIsFull) {
  const TestFolder folder;
  const Bytes bytes = some_bytes(7, 1'000'000);
  const auto store = open_store(folder);
  // A size limit on files fails a write in its middle as a full disk does.
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{300'000, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  Result<Bytes> refused = store->put(bytes);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  ::signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kBusy) << refused.error().message;
  EXPECT_NE(refused.error().message.find(folder.path()), std::string::npos) << refused.error().message;
  EXPECT_FALSE(store->has(sha256(bytes)));
  EXPECT_TRUE(store->put(bytes)) << "with space again the same call succeeds";
  EXPECT_TRUE(store->verify(sha256(bytes)));
}

TEST(BlobStore, MeetsAFullFileSystemBeforeTheTransfer) {
  const TestFolder folder;
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "needs root and mount";
  {
    const auto store = open_store(folder);
    const Bytes small = some_bytes(8, 100'000);
    ASSERT_TRUE(store->put(small));
    const auto refused = store->put_stream(sha256("large"), 5'000'000);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kBusy) << refused.error().message;
    EXPECT_NE(refused.error().message.find(folder.path()), std::string::npos);
    EXPECT_EQ(partial_files(folder), 0u);
    EXPECT_TRUE(store->verify(sha256(small))) << "nothing accepted is lost";
    EXPECT_TRUE(store->put(some_bytes(9, 100'000))) << "what fits is still taken";
  }
  ::umount2(folder.path().c_str(), MNT_DETACH);
}

TEST(BlobStore, CountsOpenWritersAgainstTheQuota) {
  const TestFolder folder;
  const auto store = open_store(folder, 1000);
  ASSERT_TRUE(store->put(some_bytes(10, 400)));
  {
    const auto writer = *store->put_stream(sha256("other"), 500);
    const auto refused = store->put_stream(sha256("third"), 200);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kBusy);
    EXPECT_NE(refused.error().message.find("1100"), std::string::npos) << refused.error().message;
    writer->discard();
  }
  EXPECT_TRUE(store->put_stream(sha256("third"), 200));
}

TEST(BlobStore, NeverRemovesWhatAPinNames) {  // M8
  const TestFolder folder;
  const Bytes verified = some_bytes(11, 300), staged = some_bytes(12, 300), old = some_bytes(13, 300);
  {
    const auto store = open_store(folder, 1000);
    for (const Bytes* bytes : {&verified, &staged, &old}) ASSERT_TRUE(store->put(*bytes));
    ASSERT_TRUE(store->pin("detector.verified", {sha256(verified)}));
    ASSERT_TRUE(store->pin("detector.staged", {sha256(staged), sha256(verified)}));
    const auto refused = store->remove(sha256(verified));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kDenied);
  }
  const auto store = open_store(folder, 1000);  // pins outlive a restart
  EXPECT_EQ(store->pins(), (std::vector<std::string>{"detector.staged", "detector.verified"}));
  EXPECT_EQ(store->remove(sha256(verified)).error().code, Code::kDenied);
  EXPECT_EQ(*store->make_room(400), 300u) << "the one without a pin goes";
  EXPECT_FALSE(store->has(sha256(old)));
  EXPECT_EQ(store->make_room(401).error().code, Code::kBusy) << "pins are not bent for room";
  EXPECT_TRUE(store->has(sha256(verified)) && store->has(sha256(staged)));

  ASSERT_TRUE(store->unpin("detector.staged"));
  EXPECT_EQ(store->remove(sha256(verified)).error().code, Code::kDenied) << "one pin left is enough";
  EXPECT_TRUE(store->remove(sha256(staged)));
  EXPECT_EQ(store->used_bytes(), 300u);
  for (const char* name : {"", "../x", "A", ".x", "x.tmp", "a/b"}) {
    EXPECT_EQ(store->pin(name, {}).error().code, Code::kInvalid) << name;
  }
}

TEST(BlobStore, DoesNotGuessWhatADamagedPinNames) {  // M8
  struct Case {
    const char* why;
    const char* name;
    Bytes text;
    Code code;
    const char* says;
  };
  const Bytes digest = to_hex(sha256("x"));
  const Case cases[] = {
      {"no digest", "staged", "something else\n", Code::kCorrupt, "not one hex digest a line"},
      {"half a digest", "staged", digest + "\n" + digest.substr(1) + "\n", Code::kCorrupt, "not one hex digest a line"},
      {"too long for a pin file", "staged", "", Code::kInvalid, "8388609 bytes, at most 8388608 are allowed"},
      {"a folder with files in place of a half-written pin", "staged.tmp/below", "x", Code::kUnavailable,
       "read folder "},
  };
  for (const Case& c : cases) {
    const TestFolder folder;
    {
      const auto store = open_store(folder);
    }
    const fs::path pin = fs::path(folder.path()) / "pins" / c.name;
    fs::create_directories(pin.parent_path());
    std::ofstream(pin, std::ios::binary) << c.text;
    if (c.text.empty()) fs::resize_file(pin, (8u << 20) + 1);
    const auto refused = BlobStore::open(folder.path());
    ASSERT_FALSE(refused) << c.why << ": a blob in use would lose its pin";
    EXPECT_EQ(refused.error().code, c.code) << c.why << ": " << refused.error().message;
    EXPECT_NE(refused.error().message.find(c.says), std::string::npos) << c.why << ": " << refused.error().message;
    EXPECT_NE(refused.error().message.find(folder.path() + "/pins"), std::string::npos)
        << c.why << ": " << refused.error().message;
  }
}

TEST(BlobStore, RefusesAPinThatCouldNotBeReadBack) {
  const TestFolder folder;
  const auto store = open_store(folder);
  constexpr std::uint32_t kMost = (8u << 20) / 65;  // a digest is 64 letters and the end of its line
  std::vector<Bytes> digests;
  for (std::uint32_t i = 0; i <= kMost; ++i) {
    digests.push_back(Bytes(kSha256Bytes, '\0').replace(0, sizeof i, reinterpret_cast<const char*>(&i), sizeof i));
  }
  const auto refused = store->pin("everything", digests);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_EQ(refused.error().message, "pin 'everything': 129056 digests; at most 129055");
  EXPECT_TRUE(store->pins().empty());
}

TEST(BlobStore, DropsABlobThatWasDamagedOnDisk) {  // X3
  const TestFolder folder;
  const auto store = open_store(folder);
  const Bytes bytes = some_bytes(14, 5'000);
  const Bytes digest = *store->put(bytes);
  const std::string path = *store->path(digest);
  fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
  {
    std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(2'000).put('!').put('?');
  }
  const auto damaged = store->verify(digest);
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, Code::kCorrupt);
  EXPECT_FALSE(store->has(digest));
  EXPECT_TRUE(store->put(bytes));
  EXPECT_TRUE(store->verify(digest));
}

TEST(BlobStore, AVerifyThatIsEndedChangesNothing) {  // X3
  const TestFolder folder;
  const auto store = open_store(folder);
  const Bytes digest = *store->put("bytes");
  const std::string path = *store->path(digest);
  fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
  std::ofstream(path) << "other";
  int pieces = 0;
  const auto ended = store->verify(digest, [&](std::uint64_t) { return ++pieces > 1; });
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, Code::kUnavailable);
  EXPECT_TRUE(store->has(digest)) << "it was not read to its end";
  EXPECT_EQ(store->verify(digest, [&](std::uint64_t) { return ++pieces > 1; }).error().code, Code::kCorrupt);
  EXPECT_FALSE(store->has(digest));
}

TEST(BlobStore, SetsADamagedFileAsideAndKeepsFewOfThem) {  // X3
  const TestFolder folder;
  const auto store = open_store(folder, 100'000);
  std::vector<Bytes> digests;
  for (std::uint64_t i = 0; i < kQuarantineMax + 2; ++i) {
    digests.push_back(*store->put(some_bytes(20 + i, 5'000)));
    const std::string path = *store->path(digests.back());
    fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
    std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(100).put('!').put('?');
    EXPECT_EQ(store->examine(digests.back()).error().code, Code::kCorrupt);
    EXPECT_TRUE(store->has(digests.back())) << "to look is not to touch";
    EXPECT_EQ(store->verify(digests.back()).error().code, Code::kCorrupt);
    EXPECT_FALSE(store->has(digests.back()));
  }
  EXPECT_EQ(store->used_bytes(), 0u);
  const auto aside = store->quarantined();
  EXPECT_EQ(aside.size(), kQuarantineMax);
  for (const Garbage& one : aside) EXPECT_NE(one.sha256, digests.front()) << "the newest stay";
  ASSERT_TRUE(store->put_stream(sha256("large"), 85'000)) << "the flash has better use for it";
  EXPECT_TRUE(store->quarantined().empty());

  const Bytes gone = *store->put(some_bytes(19, 100));
  fs::remove(*store->path(gone));
  EXPECT_EQ(store->verify(gone).error().code, Code::kNotFound);
  EXPECT_FALSE(store->has(gone)) << "it can be had anew";
  EXPECT_EQ(store->used_bytes(), 0u);
}

TEST(BlobStore, CollectsWhatNothingNames) {  // M8
  const TestFolder folder;
  const auto store = open_store(folder);
  const Bytes pinned = *store->put(some_bytes(30, 100)), wanted = *store->put(some_bytes(31, 200)),
              stray = *store->put(some_bytes(32, 300));
  ASSERT_TRUE(store->pin("detector.current", {pinned}));
  const auto writer = *store->put_stream(sha256("under way"), 50);
  ASSERT_TRUE((*store->put_stream(sha256("given up"), 60))->write("begun"));
  EXPECT_EQ(store->partials().size(), 2u);
  const auto keep = [&](const Garbage& one) { return one.sha256 == wanted; };
  for (const bool remove : {false, true}) {
    const auto garbage = store->collect(keep, remove);
    ASSERT_TRUE(garbage);
    ASSERT_EQ(garbage->size(), 2u);
    EXPECT_EQ((*garbage)[0].kind, GarbageKind::kPartial);
    EXPECT_EQ((*garbage)[0].bytes, 5u);
    EXPECT_EQ((*garbage)[1].kind, GarbageKind::kBlob);
    EXPECT_EQ((*garbage)[1].sha256, stray);
    EXPECT_GT((*garbage)[1].written_ms, 0);
  }
  EXPECT_TRUE(store->has(pinned) && store->has(wanted));
  EXPECT_FALSE(store->has(stray));
  EXPECT_EQ(store->used_bytes(), 300u);
  EXPECT_EQ(store->partials().size(), 1u) << "the one that is being written";
  EXPECT_TRUE(store->collect(keep, true)->empty());
}

TEST(BlobStore, IsLockedAgainstASecondProcess) {
  const TestFolder folder;
  const auto store = open_store(folder);
  const auto second = BlobStore::open(folder.path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
  EXPECT_NE(second.error().message.find(folder.path()), std::string::npos);
}

TEST(BlobStore, KeepsAMappingAfterItsBlobIsGone) {  // M9
  const TestFolder folder;
  auto store = open_store(folder);
  const Bytes bytes = some_bytes(15, 10'000);
  const Bytes digest = *store->put(bytes);
  const BlobMapping mapping = *store->map(digest);
  ASSERT_TRUE(store->remove(digest));
  store.reset();
  EXPECT_EQ(mapping.bytes(), bytes);
}

TEST(BlobStore, TakesAFile) {
  const TestFolder folder, other;
  const auto store = open_store(folder);
  const Bytes bytes = some_bytes(16, 2'500'000);
  std::ofstream(other.path() + "/file", std::ios::binary) << bytes;
  EXPECT_EQ(*store->put_file(other.path() + "/file"), sha256(bytes));
  EXPECT_EQ(store->put_file(other.path() + "/absent").error().code, Code::kNotFound);
  EXPECT_EQ(store->put_file(other.path()).error().code, Code::kInvalid) << "a folder instead of a file";
}

}  // namespace
}  // namespace tidelock
