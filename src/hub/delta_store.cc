#include "hub/delta_store.h"

#include <algorithm>

#include "codec/delta.h"
#include "codec/signature.h"

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
  if (!file) {  // it went, or is not what it was: it is made anew, and must not be taken for one that is here
    (void)blobs_->remove(it->second);
    known_.erase(it);
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
  if (!made) return fail(made.error());
  if (known_.size() >= kKnownMax) known_.clear();  // what is kept is found again by making it
  known_[key] = *made ? (*made)->sha256 : Bytes();
  if (!*made) return fail(nothing());
  return std::move(**made);
}

Result<std::optional<DeltaStore::Made>> DeltaStore::make(const Key& key, BytesView base, BytesView target) {
  const DeltaSource bases[] = {{base, key.first}};
  DeltaOptions options;
  options.bytes_max = std::max<std::uint64_t>(1, std::min<std::uint64_t>(blobs_->quota_bytes() / 2, target.size()));
  options.go_on = [this] { return !stopping_.load(); };
  const auto made = make_delta(bases, {target, key.second}, options);
  if (!made && made.error().code == Code::kNotFound) return std::optional<Made>{};
  if (!made) return fail(made.error());
  if (made->bytes.size() >= target.size() || made->bytes.size() > blobs_->quota_bytes() / 2)
    return std::optional<Made>{};
  if (const auto room = blobs_->make_room(made->bytes.size()); !room) return fail(room.error());
  auto kept = keep(made->bytes);
  if (!kept) {  // one of its name that is gone, or was cut short before this hub started, stands in its place
    (void)blobs_->remove(sha256(made->bytes));
    kept = keep(made->bytes);
  }
  // Of the folder, whatever it is: that says nothing of what the delta would save.
  if (!kept && kept.error().code == Code::kNotFound) return fail(Code::kUnavailable, kept.error().message);
  if (!kept) return fail(kept.error());
  return std::optional<Made>(std::move(*kept));
}

Result<DeltaStore::Made> DeltaStore::keep(BytesView delta) {
  auto stored = blobs_->put(delta);
  if (!stored) return fail(stored.error());
  auto file = blobs_->open_file(*stored);
  if (!file) return fail(file.error());
  return Made{std::move(*stored), std::move(*file)};
}

}  // namespace tidelock
