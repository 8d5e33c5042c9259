// Frames between hubs that carry a snapshot, and the list of files that comes with one. A hostile peer offers, sends
// and asks for anything: nothing is ever written or read outside the courier's own folder, and a snapshot is handed
// over only when every file is as long as it was offered and has its checksum. Mostly plain files; slow, since it works
// on a real file system.
#include <filesystem>
#include <fstream>

#include "fuzz/fuzz.h"
#include "fuzz/shared_file.h"
#include "ledger/raft/snapshot_courier.h"

namespace tidelock::fuzz {
namespace {

namespace fs = std::filesystem;
enum Op : std::uint8_t { kReceive, kTick, kConcluded, kManifest, kOffer, kMake, kOps };

constexpr Index kOwn{7};

struct Listener : LedgerListener {
  void on_committed(std::vector<LedgerEntry>) override {}
  void on_dropped(CommandId, Code) override {}
  void on_leadership(bool, NodeId) override {}
  Result<void> on_install(const LedgerSnapshot&) override { return {}; }
  Result<Index> on_snapshot(const std::string& directory) override {
    std::ofstream(directory + "/rows") << "some rows";
    fs::create_directory(directory + "/more");
    std::ofstream(directory + "/more/empty");
    return kOwn;
  }
  void on_failed(const Error&) override {}
};

// Frames by hand, in the archive's format: offer, pull, data, gone.
template <class... Fields>
Bytes frame(std::uint64_t alternative, Fields... fields) {
  Encoder e;
  e(alternative, fields...);
  return number(kReceive, 1) + number(2, 1) + piece(e.take());
}

const Bytes kRows = "some rows";

}  // namespace

std::vector<Seed> seeds() {
  using U = std::uint64_t;
  const std::string name = "snap-7-1";
  const std::vector<SnapshotFile> files = {{"more/empty", 0, 0}, {"rows", kRows.size(), crc32c(kRows)}};
  const Bytes offer = frame(0, name, Index{9}, Bytes("raft"), files);
  const Bytes data = frame(2, name, std::uint32_t{1}, U{0}, kRows, crc32c(kRows), true);
  const Bytes pull = frame(1, name, std::uint32_t{0}, U{0});
  const auto one = [&](const char* path, U size) {
    return frame(0, name, Index{9}, Bytes("raft"), std::vector<SnapshotFile>{{path, size, 0}});
  };
  Encoder manifest;
  std::uint32_t version = 1;
  Index index = kOwn;
  std::vector<SnapshotFile> listed = files;
  manifest(version, index, listed);
  return {{"load", offer + data + number(kConcluded, 1)},
          {"slow", offer + number(kTick, 1) + number(200, 1) + offer + data + data},
          {"serve", number(kMake, 1) + pull + frame(1, name, std::uint32_t{1}, U{5}) + number(kOffer, 1)},
          {"gone", offer + frame(3, name)},
          {"climb", one("../../escaped", 0) + one("/etc/passwd", 0) + one("a/../../b", 0)},
          {"same", one("a", 0) + frame(0, name, Index{9}, Bytes(),
                                       std::vector<SnapshotFile>{{"a", 0, 0}, {"a", 0, 0}, {"a/b", 0, 0}})},
          {"huge", one("rows", ~0ull) + frame(2, name, std::uint32_t{0}, U{0}, kRows, crc32c(kRows), true)},
          {"manifest", number(kManifest, 1) + piece(manifest.take())}};
}

void run(BytesView input) {
  static const Folder folder;
  static const std::string inside = folder.path() + "/ledger";
  static const bool created = fs::create_directories(inside);
  TIDELOCK_ASSERT(created);

  std::uint64_t delivered = 0;
  SnapshotCourier* self = nullptr;
  const SnapshotCourier::Hooks hooks = {
      [&](std::uint64_t, Bytes frame_bytes) {
        TIDELOCK_ASSERT(frame_bytes.size() <= SnapshotCourier::kFrameBytes + 4096);
      },
      [&](std::uint64_t, Bytes, std::string name) {
        ++delivered;
        TIDELOCK_ASSERT(fs::is_directory(self->files_path(name)));
        TIDELOCK_ASSERT(self->set_current(Index{std::strtoull(name.c_str() + 5, nullptr, 10)}, name));
      }};
  Listener listener;
  {
    SnapshotCourier courier(inside, hooks);
    self = &courier;
    TIDELOCK_ASSERT(courier.open({}, {}));
    std::string own;  // made when it is needed: it costs more than all else
    const auto make = [&] {
      if (!own.empty()) return;
      const auto made = courier.make(listener);
      TIDELOCK_ASSERT(made && made->index == kOwn && courier.set_current(kOwn, made->name));
      own = made->name;
    };
    Nanos now = kSecond;
    Input in(input);
    for (int steps = 0; steps < 60 && !in.empty(); ++steps) {
      const std::uint8_t op = in.byte();
      if (op >= kOps) break;  // so that noise costs no files
      switch (op) {
        case kReceive: {
          const std::uint64_t from = in.byte();
          courier.receive(from, in.piece(), now);
          break;
        }
        case kTick:
          now += in.byte() * 50 * kMillisecond;
          (void)courier.tick(now);
          break;
        case kConcluded: courier.concluded(); break;
        case kManifest: {  // the list on our own disk, with a checksum that fits
          const BytesView bytes = in.piece();
          make();
          const std::string path = inside + "/" + own + "/manifest";
          std::ofstream(path, std::ios::binary) << bytes << number(crc32c(bytes), 4);
          (void)courier.set_current(kOwn, own);
          break;
        }
        case kOffer:
          make();
          courier.offer(3, kOwn, "raft", now);
          break;
        case kMake: make(); break;
      }
    }
  }
  // Only the courier's own folder, and in it only its own names.
  for (const auto& entry : fs::directory_iterator(folder.path())) TIDELOCK_ASSERT(entry.path().filename() == "ledger");
  for (const auto& entry : fs::directory_iterator(inside)) {
    const std::string name = entry.path().filename().string();
    TIDELOCK_ASSERT(name.starts_with("snap-") || name.starts_with("in-") || name.starts_with("tmp-"));
    fs::remove_all(entry.path());
  }
}

}  // namespace tidelock::fuzz
