#include "hub/delta_store.h"

#include <algorithm>

#include "codec/delta.h"

namespace tidelock {

Result<std::unique_ptr<DeltaStore>> DeltaStore::open(const std::string& directory, std::uint64_t quota_bytes) {
  BlobStoreOptions options;
  options.quota_bytes = quota_bytes;
  auto blobs = BlobStore::open(directory, options);
  if (!blobs) return fail(blobs.error());
  return std::unique_ptr<DeltaStore>(new DeltaStore(std::move(*blobs)));
}

namespace {
Error nothing() { return {Code::kNotFound, "a delta would save nothing, or is more than this hub keeps", {}, 0}; }
}  // namespace

bool DeltaStore::known(BytesView base_sha256, BytesView target_sha256) {
  const std::lock_guard lock(mutex_);
  const auto it = known_.find({Bytes(base_sha256), Bytes(target_sha256)});
  return making_ || (it != known_.end() && (it->second.empty() || blobs_->has(it->second)));
}

Result<DeltaStore::Made> DeltaStore::delta(BytesView base_sha256, BytesView base, BytesView target_sha256,
                                           BytesView target) {
  const std::pair<Bytes, Bytes> key{Bytes(base_sha256), Bytes(target_sha256)};
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = known_.find(key); it != known_.end()) {
      if (it->second.empty()) return fail(nothing());
      if (auto mapping = blobs_->map(it->second)) return Made{it->second, std::move(*mapping)};
    }
    if (making_) return fail(Code::kBusy, "this hub is making a delta; ask again");
    making_ = true;
  }
  auto made = make(key, base, target);
  const std::lock_guard lock(mutex_);
  making_ = false;
  const bool saves_nothing = !made && made.error().code == Code::kNotFound;
  if (!made && !saves_nothing) return made;
  if (known_.size() >= kKnownMax) known_.clear();  // what is kept is found again by making it
  known_[key] = made ? made->sha256 : Bytes();
  return made;
}

Result<DeltaStore::Made> DeltaStore::make(const std::pair<Bytes, Bytes>& key, BytesView base, BytesView target) {
  const DeltaSource bases[] = {{base, key.first}};
  DeltaOptions options;
  options.bytes_max = std::max<std::uint64_t>(1, std::min<std::uint64_t>(blobs_->quota_bytes() / 2, target.size()));
  options.go_on = [this] { return !stopping_.load(); };
  const auto made = make_delta(bases, {target, key.second}, options);
  if (!made && made.error().code == Code::kNotFound) return fail(nothing());
  if (!made) return fail(made.error());
  if (made->bytes.size() >= target.size() || made->bytes.size() > blobs_->quota_bytes() / 2) return fail(nothing());
  if (const auto room = blobs_->make_room(made->bytes.size()); !room) return fail(room.error());
  auto stored = blobs_->put(made->bytes);
  if (!stored) return fail(stored.error());
  auto mapping = blobs_->map(*stored);
  if (!mapping) return fail(mapping.error());
  return Made{std::move(*stored), std::move(*mapping)};
}

}  // namespace tidelock
