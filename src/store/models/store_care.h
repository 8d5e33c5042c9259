// StoreCare is an operator's work on the store of models of a running node: `tidelock model verify`, its --repair,
// `tidelock model gc` (M8, X3), and what comes on a stick (M2). One at a time, on a thread of its own; whoever asked
// looks again and again.
//
// Threads: every method is for any. The functions handed in are called on the care's thread, and may block.
// Never:   decides what may go, or where a file is fetched from: its owner does.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/result.h"
#include "store/models/store_check.h"

namespace tidelock {

enum class StoreWork : std::uint8_t { kVerify, kRepair, kCollect, kCollectImported, kImport };
constexpr StoreWork last_enumerator(StoreWork) { return StoreWork::kImport; }
std::string_view store_work_name(StoreWork work);  // "verify", "repair", "gc", "gc", "import"

struct ImportedBundle {
  std::string model, version;
  std::size_t files = 0;
  std::uint64_t bytes = 0, new_bytes = 0;  // of the files; of those that were not here before
  bool named = false;                      // by a pointer: the node goes on with it by itself
  bool verified = false;                   // it was already, and nothing was taken
};

struct StoreCareOwner {
  std::function<Result<std::vector<StoredRelease>>()> releases;  // that should be here
  // Sets aside what is damaged and has it fetched anew. For each of `broken` why it is not whole, or nothing.
  std::function<std::vector<std::string>(const std::vector<CheckedFile>& broken)> mend;
  std::function<Result<std::vector<Garbage>>(bool remove)> collect;
  bool missing_is_fine = false;
  // The two of a store that takes bundles; else empty. `progress` answers whether to go on.
  using Progress = std::function<bool(const std::string& doing, std::uint64_t done_bytes, std::uint64_t total_bytes)>;
  std::function<Result<ImportedBundle>(const std::string& bundle, const Progress& progress)> import = {};
  // As `collect`; and what came in bundles and no pointer names.
  std::function<Result<std::vector<Garbage>>(bool remove)> collect_imported = {};
};

struct StoreCareState {  // of the work that is under way, or was the last
  StoreWork work = StoreWork::kVerify;
  bool dry_run = false, running = true;
  std::string doing = "reading";
  std::uint64_t done_bytes = 0, total_bytes = 0;
  std::optional<StoreReport> report;
  std::vector<Garbage> garbage;
  std::size_t repaired = 0;
  std::optional<ImportedBundle> imported;
  std::optional<Error> error;
};

class StoreCare {
 public:
  // `blobs` outlives it.
  StoreCare(const BlobStore& blobs, StoreCareOwner owner) : blobs_(blobs), owner_(std::move(owner)) {}
  ~StoreCare() { stop(); }

  // kBusy: one is under way. kInvalid: this store takes no bundles. `bundle`: the path of kImport.
  Result<void> start(StoreWork work, bool dry_run, std::string bundle = {});
  // Of the last one, as it stands: what, how far, and at its end what was found. "{}": there was none in this run.
  std::string json() const;
  bool wait(int timeout_ms) const;  // until nothing is under way; false: something still is
  void stop();                      // ends one that reads; idempotent

 private:
  void run(StoreWork work, bool dry_run, const std::string& bundle);
  Result<StoreReport> check();
  void repair(StoreReport report);

  const BlobStore& blobs_;
  const StoreCareOwner owner_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;  // the two below
  mutable std::condition_variable ended_;
  std::optional<StoreCareState> state_;
  std::thread thread_;
};

}  // namespace tidelock
