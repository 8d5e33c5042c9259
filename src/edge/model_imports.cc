// DIR/<hex> is a signed manifest under its own hash. Its pin is written before it, so that a kill between the two
// leaves a pin that the next start drops, and never a version whose files may go.
#include "edge/model_imports.h"

#include <filesystem>
#include <set>
#include <utility>

#include "codec/signature.h"
#include "store/models/files.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
constexpr char kPin[] = "tidelock.imported";

}  // namespace

std::string ModelImports::path(const Bytes& signed_manifest) const {
  return directory_ + "/" + to_hex(sha256(signed_manifest));
}

Result<std::unique_ptr<ModelImports>> ModelImports::open(const std::string& directory, BlobStore& blobs,
                                                         BytesView model_key) {
  if (const auto made = files::make_folders(directory); !made) return fail(made.error());
  std::unique_ptr<ModelImports> imports(new ModelImports(directory, blobs));
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) paths.push_back(entry.path().string());
  for (const std::string& path : paths) {
    auto encoded = files::read_all(path, kManifestBytesMax);
    if (!encoded || model_key.empty()) {  // M8: that says nothing of what it is
      imports->unread_ = blobs.pinned_by(kPin);
      log(LogLevel::kWarn, "models", "imported version not read",
          {{"path", path}, {"message", encoded ? "there is no key to check it with" : encoded.error().message}});
      continue;
    }
    if (imports->path(*encoded) != path)
      encoded = fail(Code::kCorrupt, path + ": its bytes are not those that its name says");
    auto manifest = encoded ? open_manifest(*encoded, model_key) : Result<Manifest>(fail(encoded.error()));
    if (!manifest) {
      log(LogLevel::kWarn, "models", "imported version dropped",
          {{"path", path}, {"message", manifest.error().message}});
      fs::remove(path, error);
      continue;
    }
    VersionKey key{manifest->name, manifest->version};
    imports->imported_[std::move(key)] = {std::move(*encoded), std::move(*manifest)};
  }
  if (const auto pinned = imports->pin(); !pinned) return fail(pinned.error());
  return imports;
}

Result<void> ModelImports::pin() const {
  if (imported_.empty() && unread_.empty()) return blobs_.unpin(kPin);
  std::set<Bytes> digests(unread_.begin(), unread_.end());
  for (const auto& [key, one] : imported_) {
    for (const ManifestFile& file : one.manifest.files) digests.insert(file.sha256);
  }
  return blobs_.pin(kPin, {digests.begin(), digests.end()});
}

Result<void> ModelImports::add(const Bytes& signed_manifest, Manifest manifest) {
  const VersionKey key{manifest.name, manifest.version};
  if (const Bytes* known = this->signed_manifest(key); known != nullptr && *known != signed_manifest) drop(key);
  imported_[key] = {signed_manifest, std::move(manifest)};
  auto done = pin();
  if (done) done = files::replace(path(signed_manifest), signed_manifest);
  if (!done) drop(key);
  return done;
}

void ModelImports::drop(const VersionKey& key) {
  const auto it = imported_.find(key);
  if (it == imported_.end()) return;
  std::error_code error;
  fs::remove(path(it->second.signed_manifest), error);
  imported_.erase(it);
  if (const auto pinned = pin(); !pinned)
    log(LogLevel::kWarn, "models", "pin failed", {{"model", key.first}, {"message", pinned.error().message}});
}

const Bytes* ModelImports::signed_manifest(const VersionKey& key) const {
  const auto it = imported_.find(key);
  return it == imported_.end() ? nullptr : &it->second.signed_manifest;
}

std::vector<StoredRelease> ModelImports::releases() const {
  std::vector<StoredRelease> list;
  list.reserve(imported_.size());
  for (const auto& [key, one] : imported_) list.push_back({key.first, key.second, one.manifest.files});
  return list;
}

}  // namespace tidelock
