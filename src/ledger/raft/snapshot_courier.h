// SnapshotCourier keeps the files of a ledger's snapshots and carries them between hubs, in frames of at most 1 MiB.
//
// The follower pulls: the leader offers (list of files with sizes and checksums, and the Raft message to act on when
// all is there), the follower asks for a few frames at a position and asks again when they do not come. Lost, doubled
// and late frames do no harm, and nothing is queued at a slow follower's leader.
//
// Folder:    DIRECTORY/snap-INDEX-N/{manifest,files/...}; tmp-N and in-N while they are made. Only one that the log
// store
//            names counts; others are removed when the ledger opens.
// Threads:   one at a time (the ledger's background thread).
// Limits:    kFilesMax files, names of 512 bytes, one download at a time. A full disk ends the download; the leader's
// next
//            offer starts it again.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "ledger/ledger.h"

namespace tidelock {

struct SnapshotFile {
  std::string name;  // relative, '/' between folders
  std::uint64_t size = 0;
  std::uint32_t crc = 0;
  template <class A>
  void fields(A& a) {
    a(name, size, crc);
  }
  friend bool operator==(const SnapshotFile&, const SnapshotFile&) = default;
};

class SnapshotCourier {
 public:
  static constexpr std::size_t kFrameBytes = 1u << 20;
  static constexpr std::size_t kFilesMax = 10'000;
  struct Hooks {
    std::function<void(std::uint64_t to, Bytes frame)> send;
    // Everything of an offer is on disk, under `name`: let Raft see `raft_message`, then call concluded().
    std::function<void(std::uint64_t from, Bytes raft_message, std::string name)> arrived;
  };
  struct Made {
    Index index;
    std::string name;
  };

  SnapshotCourier(std::string directory, Hooks hooks) : directory_(std::move(directory)), hooks_(std::move(hooks)) {}
  ~SnapshotCourier();
  SnapshotCourier(const SnapshotCourier&) = delete;
  SnapshotCourier& operator=(const SnapshotCourier&) = delete;

  // Removes what is not `keep` (empty: keep nothing) and checks the sizes of its files. kCorrupt when they are not all
  // there.
  Result<void> open(const std::string& keep, Index index);
  std::string files_path(const std::string& name) const;

  // Lets the listener write a snapshot, and syncs it. It counts only once set_current was called.
  Result<Made> make(LedgerListener& listener);
  // The log store now names this one. The one before is kept a while for those who are loading it.
  Result<void> set_current(Index index, const std::string& name);
  void discard(const std::string& name);

  void offer(std::uint64_t to, Index index, Bytes raft_message, Nanos now);
  void receive(std::uint64_t from, BytesView frame, Nanos now);
  // What arrived was installed, or refused.
  void concluded() { delivering_ = false; }
  // Asks again for what did not come. Answers when to be called next; kForever when nothing is being loaded.
  Nanos tick(Nanos now);

 private:
  struct Kept {
    std::string name;
    std::vector<SnapshotFile> files;
  };
  struct Download {
    std::uint64_t from = 0;
    std::string remote;  // name at the sender
    Index index;
    Bytes raft_message;
    std::vector<SnapshotFile> files;
    std::string local;
    std::size_t file = 0;
    std::uint64_t offset = 0;
    std::uint32_t crc = 0;
    int fd = -1;
    Nanos progress_at = 0;
    Nanos asked_at = 0;
  };
  struct Offer;
  struct Pull;
  struct Data;
  struct Gone;
  struct Frame;

  void on(std::uint64_t from, Offer& offer, Nanos now);
  void on(std::uint64_t from, const Pull& pull, Nanos now);
  void on(std::uint64_t from, const Data& data, Nanos now);
  void on(std::uint64_t from, const Gone& gone, Nanos now);
  void send(std::uint64_t to, const Frame& frame);
  void ask(Nanos now);
  bool advance(Nanos now);
  Result<void> open_next();
  Result<void> finish();
  void abandon();
  const Kept* find(const std::string& name) const;

  const std::string directory_;
  const Hooks hooks_;
  std::uint64_t next_no_ = 1;
  std::map<std::uint64_t, Kept> kept_;  // by index, at most two
  std::map<std::uint64_t, Nanos> offered_at_;
  std::unique_ptr<Download> download_;
  bool delivering_ = false;
};

}  // namespace tidelock
