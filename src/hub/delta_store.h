// DeltaStore makes deltas between published files and keeps them (M3): once for each pair, however many edges ask, in a
// folder that holds so much and no more. What it holds can be made anew, so it goes when room is needed.
//
// Threads:  any. One delta is made at a time, by its caller, for as long as that takes (codec/delta.h): threads that
//           may be slow only. Whoever asks meanwhile for another is told kBusy: no second thread waits.
// Errors:   kNotFound a delta would save nothing, or is more than half of what is kept; that is remembered too, and
//           making it ends as soon as it is certain. kUnavailable after stop(). Else as BlobStore and make_delta.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"
#include "store/models/blob_store.h"

namespace tidelock {

class DeltaStore {
 public:
  static constexpr std::uint64_t kQuotaBytes = 512u << 20;
  // What is being made ends soon, and nothing is made any more.
  void stop() { stopping_.store(true); }
  static Result<std::unique_ptr<DeltaStore>> open(const std::string& directory,
                                                  std::uint64_t quota_bytes = kQuotaBytes);

  struct Made {
    Bytes sha256;  // of the delta
    BlobFile file;
  };
  // What delta() would answer at once, open: so that it cannot go between a look and its use. Nullopt: it has to be
  // made, or is being made. kBusy: another is.
  Result<std::optional<Made>> find(BytesView base_sha256, BytesView target_sha256);
  // Digests are of the two files, whose bytes the caller vouches for.
  Result<Made> delta(BytesView base_sha256, BytesView base, BytesView target_sha256, BytesView target);

 private:
  using Key = std::pair<Bytes, Bytes>;
  Result<std::optional<Made>> find_locked(const Key& key);
  Result<std::optional<Made>> make(const Key& key, BytesView base, BytesView target);  // nullopt: it saves nothing
  Result<Made> keep(BytesView delta);
  explicit DeltaStore(std::unique_ptr<BlobStore> blobs) : blobs_(std::move(blobs)) {}
  static constexpr std::size_t kKnownMax = 4'096;

  const std::unique_ptr<BlobStore> blobs_;
  std::mutex mutex_;
  std::optional<Key> making_;
  std::atomic<bool> stopping_{false};
  std::map<Key, Bytes> known_;  // (base, target) -> delta; empty: it saves nothing
};

}  // namespace tidelock
