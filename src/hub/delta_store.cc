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
Error busy() { return {Code::kBusy, "this hub is making a delta; ask again", {}, 0}; }
}  // namespace

Result<std::optional<DeltaStore::Made>> DeltaStore::find(BytesView base_sha256, BytesView target_sha256) {
  const Key key{Bytes(base_sha256), Bytes(target_sha256)};
  const std::lock_guard lock(mutex_);
  auto found = find_locked(key);
  if (found && !*found && making_ && *making_ != key) return fail(busy());
  return found;
}

Result<std::optional<DeltaStore::Made>> DeltaStore::find_locked(const Key& key) {
  const auto it = known_.find(key);
  if (it == known_.end()) return std::optional<Made>{};
  if (it->second.empty()) return fail(nothing());
  auto file = blobs_->open_file(it->second);
  if (!file) {  // it went, or went bad: it is made anew
    if (file.error().code == Code::kCorrupt) (void)blobs_->verify(it->second);
    return std::optional<Made>{};
  }
  return std::optional<Made>(Made{it->second, std::move(*file)});
}

Result<DeltaStore::Made> DeltaStore::delta(BytesView base_sha256, BytesView base, BytesView target_sha256,
                                           BytesView target) {
  const Key key{Bytes(base_sha256), Bytes(target_sha256)};
  {
    const std::lock_guard lock(mutex_);
    auto found = find_locked(key);
    if (!found) return fail(found.error());
    if (*found) return std::move(**found);
    if (making_) return fail(busy());
    making_ = key;
  }
  auto made = make(key, base, target);
  const std::lock_guard lock(mutex_);
  making_.reset();
  const bool saves_nothing = !made && made.error().code == Code::kNotFound;
  if (!made && !saves_nothing) return made;
  if (known_.size() >= kKnownMax) known_.clear();  // what is kept is found again by making it
  known_[key] = made ? made->sha256 : Bytes();
  return made;
}

Result<DeltaStore::Made> DeltaStore::make(const Key& key, BytesView base, BytesView target) {
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
  auto file = blobs_->open_file(*stored);
  if (!file) return fail(file.error());
  return Made{std::move(*stored), std::move(*file)};
}

}  // namespace tidelock
