// ModelRehash reads the files of verified models again while they are in use, at a low rate (X3, protocol/rehash.h),
// and tells of those whose bytes are no longer what they were.
//
// What it reads is what an app would read now: bytes that the page cache holds come from there.
//
// Threads: its own reads; watch is for any thread; `damaged` is called on its own. Cost: the rate, in bytes a second of
//          reading and hashing.
// Never:   touches a file, tells of one more than once a minute. What it says may be over when it is
//          heard: the keeper looks again.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "protocol/rehash.h"
#include "store/models/blob_store.h"
#include "telemetry/metrics.h"

namespace tidelock {

class ModelRehash {
 public:
  // All outlive it. `bytes_per_s` 0: it does nothing.
  ModelRehash(const BlobStore& blobs, const Clock& clock, Metrics& metrics, std::uint64_t bytes_per_s,
              std::function<void(Bytes sha256)> damaged);
  ~ModelRehash() { stop(); }
  void start();
  void stop();  // idempotent
  void watch(std::vector<RehashFile> files);

 private:
  void run();
  void read(const Rehash::Slice& slice);
  void tell(const Bytes& sha256);

  const BlobStore& blobs_;
  const Clock& clock_;
  const std::function<void(Bytes)> damaged_;
  Counter& read_bytes_;
  Rehash rehash_;                // the thread's
  std::optional<Sha256> hash_;   // likewise, of the file that is being read
  std::map<Bytes, Nanos> told_;  // likewise: when `damaged` heard of a file

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<std::vector<RehashFile>> next_files_;
  std::vector<RehashFile> watched_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tidelock
