#include "edge/model_rehash.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace tidelock {
namespace {

constexpr Nanos kTellAgain = 60 * kSecond;

}  // namespace

ModelRehash::ModelRehash(const BlobStore& blobs, const Clock& clock, Metrics& metrics, std::uint64_t bytes_per_s,
                         std::function<void(Bytes sha256)> damaged)
    : blobs_(blobs),
      clock_(clock),
      damaged_(std::move(damaged)),
      read_bytes_(metrics.counter("tidelock_edge_model_rehash_bytes_total",
                                  "Bytes of verified models that were read and hashed again while in use (X3).")),
      rehash_(bytes_per_s) {}

void ModelRehash::start() {
  thread_ = std::thread([this] { run(); });
}

void ModelRehash::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void ModelRehash::watch(std::vector<RehashFile> files) {
  {
    const std::lock_guard lock(mutex_);
    if (files == watched_) return;
    watched_ = files;
    next_files_ = std::move(files);
  }
  changed_.notify_one();
}

void ModelRehash::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      const auto ready = [this] { return stopping_ || next_files_; };
      if (rehash_.wake_at() == kForever) {
        changed_.wait(lock, ready);
      } else {
        const Nanos wait = std::clamp<Nanos>(saturating_sub(rehash_.wake_at(), clock_.now()), 0, 60 * kSecond);
        changed_.wait_for(lock, std::chrono::nanoseconds(wait), ready);
      }
      if (stopping_) return;
      if (next_files_) {
        rehash_.set_files(std::move(*next_files_));
        next_files_.reset();
      }
    }
    if (const auto slice = rehash_.due(clock_.now())) read(*slice);
  }
}

// Whoever is told may be at something that takes its time; small files come round quickly.
void ModelRehash::tell(const Bytes& sha256) {
  const Nanos now = clock_.now();
  std::erase_if(told_, [&](const auto& entry) { return saturating_sub(now, entry.second) >= kTellAgain; });
  if (told_.emplace(sha256, now).second) damaged_(sha256);
}

void ModelRehash::read(const Rehash::Slice& slice) {
  if (slice.offset == 0) hash_.emplace();
  const auto bytes = blobs_.read(slice.sha256, slice.offset, static_cast<std::size_t>(slice.bytes));
  if (!bytes && bytes.error().code != Code::kCorrupt && bytes.error().code != Code::kInvalid) {
    // Gone, or not to be had now: that is no damage of its bytes, but whoever keeps it must know of a file that is
    // gone.
    if (bytes.error().code == Code::kNotFound && blobs_.has(slice.sha256)) tell(slice.sha256);
    return rehash_.give_up(clock_.now());
  }
  if (!bytes || bytes->size() != slice.bytes) {  // EIO, or shorter than it was
    tell(slice.sha256);
    return rehash_.give_up(clock_.now());
  }
  read_bytes_.add(bytes->size());
  hash_->update(*bytes);
  if (slice.last && hash_->finish() != slice.sha256) tell(slice.sha256);
}

}  // namespace tidelock
