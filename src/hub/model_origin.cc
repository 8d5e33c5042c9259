#include "hub/model_origin.h"

#include <sys/random.h>

#include "telemetry/log.h"

namespace tidelock {

Result<std::unique_ptr<ModelOrigin>> ModelOrigin::open(const ModelOriginSettings& settings, BlobStore& blobs) {
  std::unique_ptr<ModelOrigin> origin(new ModelOrigin(blobs));
  origin->prefix_ = settings.prefix;
  while (origin->prefix_.ends_with('/')) origin->prefix_.pop_back();
  if (!origin->prefix_.empty()) {
    if (const auto ok = validate_object_key(origin->prefix_); !ok)
      return fail(Code::kInvalid, "models.prefix = \"" + settings.prefix + "\": " + ok.error().message);
    origin->prefix_ += '/';
  }
  ObjectStoreOptions options = settings.store;
  if (getrandom(&options.seed, sizeof options.seed, 0) != static_cast<ssize_t>(sizeof options.seed)) options.seed = 1;
  auto store = open_object_store(std::move(options), origin->clock_);
  if (!store) return fail(store.error().code, "models." + store.error().message);
  origin->store_ = std::move(*store);
  return origin;
}

void ModelOrigin::stop() {
  if (store_) store_->stop();
  work_.stop();
}

Result<void> ModelOrigin::pull(BytesView sha256) {
  const std::string key = key_of(sha256);
  const auto info = store_->head(key);
  if (!info) return fail(info.error());
  if (info->size_bytes > kModelFileBytesMax) {
    return fail(Code::kCorrupt, store_->describe() + ": " + key + " has " + std::to_string(info->size_bytes) +
                                    " bytes; at most " + std::to_string(kModelFileBytesMax));
  }
  auto writer = blobs_.put_stream(sha256, info->size_bytes);
  if (!writer && writer.error().code == Code::kBusy && blobs_.make_room(info->size_bytes))
    writer = blobs_.put_stream(sha256, info->size_bytes);  // the oldest copies gave way
  if (!writer) return fail(writer.error());
  if ((*writer)->offset() < info->size_bytes) {
    const auto got = store_->get(key, (*writer)->offset(), info->size_bytes - (*writer)->offset(),
                                 [&](BytesView piece) { return (*writer)->write(piece); });
    if (!got) return got;
  }
  if (const auto whole = (*writer)->commit(); !whole)
    return fail(whole.error().code, store_->describe() + ": " + key + ": " + whole.error().message);
  log(LogLevel::kInfo, "hub", "pulled", {{"key", key}, {"bytes", info->size_bytes}, {"from", store_->describe()}});
  return {};
}

Result<void> ModelOrigin::resting(const std::vector<ManifestFile>& files) {
  std::size_t on_their_way = 0;
  for (const ManifestFile& file : files) {
    {
      const std::lock_guard lock(mutex_);
      if (putting_.contains(file.sha256)) {
        ++on_their_way;
        continue;
      }
      if (const auto it = failed_.find(file.sha256); it != failed_.end()) {
        const Error error = it->second;
        failed_.erase(it);  // said once; the next question tries again
        return fail(error);
      }
    }
    const auto info = store_->head(key_of(file.sha256));
    // One with another size or digest is what a put was that somebody broke: it is put again.
    const bool rests =
        info && info->size_bytes == file.size_bytes && (info->sha256.empty() || info->sha256 == file.sha256);
    if (rests) continue;
    if (!info && info.error().code != Code::kNotFound) return fail(info.error());
    if (!blobs_.has(file.sha256)) {
      return fail(Code::kUnavailable, file.path + " (" + to_hex(file.sha256) + ") is neither at a hub nor in " +
                                          store_->describe() + "; publish again");
    }
    ++on_their_way;
    const std::lock_guard lock(mutex_);
    if (putting_.insert(file.sha256).second &&
        !work_.post([this, sha256 = file.sha256, size = file.size_bytes] { put(sha256, size); }))
      putting_.erase(file.sha256);  // stopping, or very much to do: the next question tries again
  }
  if (on_their_way == 0) return {};
  return fail(Code::kBusy, std::to_string(on_their_way) + " of " + std::to_string(files.size()) +
                               " files are on their way to " + store_->describe());
}

void ModelOrigin::put(const Bytes& sha256, std::uint64_t size_bytes) {
  const std::string key = key_of(sha256);
  const auto done = store_->put(key, size_bytes, sha256, [&](std::uint64_t offset, std::size_t bytes_max) {
    return blobs_.read(sha256, offset, bytes_max);
  });
  log(done ? LogLevel::kInfo : LogLevel::kError, "hub", done ? "put" : "put failed",
      {{"key", key},
       {"bytes", size_bytes},
       {"into", store_->describe()},
       {"message", done ? "" : done.error().message}});
  const std::lock_guard lock(mutex_);
  putting_.erase(sha256);
  if (!done) failed_[sha256] = Error{Code::kUnavailable, done.error().message, {}, 0};
}

}  // namespace tidelock
