#include "edge/model_room.h"

#include <filesystem>

#include "edge/model_weights.h"
#include "protocol/recalled_list.h"
#include "store/models/files.h"
#include "store/models/release.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

constexpr char kVerifiedPin[] = "tidelock.verified";

}  // namespace

Result<std::unique_ptr<ModelRoom>> ModelRoom::open(const std::string& data_dir, std::uint64_t quota_bytes) {
  auto room = std::make_unique<ModelRoom>();
  auto blobs = BlobStore::open(data_dir + "/models/blobs", {quota_bytes});
  if (!blobs) return fail(blobs.error());
  room->blobs_ = std::move(*blobs);
  room->verified_before_ = room->blobs_->pinned_by(kVerifiedPin);
  auto layout = ModelLayout::open(data_dir + "/models/room");
  if (!layout) return fail(layout.error());
  room->layout_ = std::move(*layout);
  room->flag_path_ = data_dir + "/models/room/" + kExpiredFlag;
  auto engine = open_engine();
  if (!engine) return fail(engine.error());
  room->engine_ = std::move(*engine);
  return room;
}

Result<Manifest> ModelRoom::open_placed(const VersionKey& key, BytesView encoded, BytesView model_key) const {
  auto manifest = open_manifest(encoded, model_key);  // M4: the signature before anything else
  if (!manifest) return fail(manifest.error());
  if (manifest->name != key.first || manifest->version != key.second) {
    return fail(Code::kCorrupt, folder(key) + " holds the manifest of another version");
  }
  return manifest;
}

// All of them, so that all that is damaged is fetched in one go. Answers with the first error.
Result<void> ModelRoom::check_files(const Manifest& manifest, const Piece& piece) {
  Result<void> first;
  for (const ManifestFile& file : manifest.files) {
    auto whole = check_file(file.sha256, false, piece);
    if (!whole && first) first = std::move(whole);
  }
  return first;
}

Result<void> ModelRoom::check_file(const Bytes& sha256, bool again, const Piece& piece) {
  if (hashed_.contains(sha256) && blobs_->has(sha256)) return {};
  auto whole = again ? blobs_->verify(sha256, piece) : blobs_->examine(sha256, piece);
  // X3, M8: only what is proven to be bad goes.
  if (!again && !whole && (whole.error().code == Code::kCorrupt || whole.error().code == Code::kNotFound))
    whole = blobs_->verify(sha256, piece);
  if (whole)
    hashed_.insert(sha256);
  else
    hashed_.erase(sha256);
  return whole;
}

Result<void> ModelRoom::place(BytesView encoded, const Manifest& manifest) {
  const auto folder = layout_->place(encoded, manifest, *blobs_);
  if (!folder) return fail(folder.error());
  const auto ok = run_golden(*folder, manifest);
  if (!ok) {
    std::error_code ignored;
    std::filesystem::remove(*folder + "/" + kVerifiedMark, ignored);
  }
  return ok;
}

// M4: the golden inputs in the real engine.
Result<void> ModelRoom::run_golden(const std::string& folder, const Manifest& manifest) {
  auto model = engine_->load_file(folder + "/" + std::string(kModelFileName));
  if (!model) return fail(model.error());
  const auto ok =
      verify_golden(manifest, **model, [&](const ManifestFile& file) { return read_release_file(folder, file); });
  if (ok) place_weights(folder);  // M9
  return ok;
}

Result<void> ModelRoom::mark(const VersionKey& key, Verified verified) {
  if (const auto marked = files::replace(folder(key) + "/" + kVerifiedMark, to_hex(verified.manifest_sha256) + "\n");
      !marked)
    return marked;
  verified_[key] = std::move(verified);
  doubted_.erase(key);
  pin_verified();
  return {};
}

// M8: what is verified is never evicted, whatever the pointers name by now: it may be the last (M6).
void ModelRoom::pin_verified() {
  std::set<Bytes> files;
  if (!looked_through_ || !doubted_.empty()) files.insert(verified_before_.begin(), verified_before_.end());
  for (const auto& [version, verified] : verified_) {
    for (const ManifestFile& file : verified.manifest.files) files.insert(file.sha256);
  }
  if (const auto pinned = blobs_->pin(kVerifiedPin, {files.begin(), files.end()}); !pinned) {
    log(LogLevel::kWarn, "models", "pin failed", {{"message", pinned.error().message}});
  }
}

void ModelRoom::unmark(const VersionKey& key) {
  std::error_code ignored;
  std::filesystem::remove(folder(key) + "/" + kVerifiedMark, ignored);
  if (verified_.erase(key) + doubted_.erase(key) > 0) pin_verified();
}

void ModelRoom::doubt(const VersionKey& key) {
  std::error_code ignored;
  std::filesystem::remove(folder(key) + "/" + kVerifiedMark, ignored);
  const bool is_new = doubted_.insert(key).second;  // before it leaves the others: its pin is held at each instant
  if (verified_.erase(key) > 0 || is_new) pin_verified();
}

void ModelRoom::looked_through() {
  looked_through_ = true;
  pin_verified();
}

void ModelRoom::remove(const VersionKey& key) {
  (void)layout_->remove(key.first, key.second);
  if (verified_.erase(key) + doubted_.erase(key) > 0) pin_verified();
}

bool ModelRoom::holds(const VersionKey& key, BytesView manifest_sha256) const {
  const auto held = verified_.find(key);
  return held != verified_.end() && held->second.manifest_sha256 == manifest_sha256;
}

std::vector<Bytes> ModelRoom::bases(const std::string& name, const ManifestFile& file,
                                    std::string_view in_force) const {
  std::vector<Bytes> found;
  for (const auto& [version, verified] : verified_) {
    if (version.first != name) continue;
    for (const ManifestFile& held : verified.manifest.files) {
      if (held.path != file.path || held.sha256 == file.sha256 || !blobs_->has(held.sha256)) continue;
      found.insert(version.second == in_force ? found.begin() : found.end(), held.sha256);
    }
  }
  return found;
}

Result<void> ModelRoom::flag_expired(const std::string& why) {
  if (why == flag_) return {};
  if (!why.empty()) {
    if (const auto written = files::replace(flag_path_, why + "\n"); !written) return written;
  } else {
    std::error_code error;
    std::filesystem::remove(flag_path_, error);
    if (error) return fail(files::error_of(error.value(), "remove", flag_path_));
  }
  flag_ = why;
  return {};
}

void ModelRoom::pin(const std::string& name, const char* role, const Manifest& manifest) {
  std::vector<Bytes> files;
  files.reserve(manifest.files.size());
  for (const ManifestFile& file : manifest.files) files.push_back(file.sha256);
  if (const auto pinned = blobs_->pin(name + "." + role, files); !pinned) {
    log(LogLevel::kWarn, "models", "pin failed", {{"model", name}, {"message", pinned.error().message}});
  }
}

void ModelRoom::unpin(const std::string& name, const char* role) { (void)blobs_->pin(name + "." + role, {}); }

Result<void> ModelRoom::list_recalled(const std::string& name, const std::set<VersionKey>& recalled) {
  std::string list;
  for (auto it = recalled.lower_bound({name, {}}); it != recalled.end() && it->first == name; ++it)
    list += it->second + "\n";
  const std::string folder = std::filesystem::path(layout_->folder(name, "x")).parent_path().string();
  if (auto made = files::make_folders(folder); !made) return made;
  return files::replace(folder + "/" + kRecalledList, list);
}

std::vector<VersionKey> ModelRoom::prune(const ModelPointers& pointers, const std::set<VersionKey>& recalled) {
  std::vector<VersionKey> removed;
  for (const PlacedVersion& placed : layout_->list()) {
    const ModelPointers::Tracked* model = pointers.of(placed.name);
    if (model == nullptr) continue;
    const auto& current = model->current.value;
    const auto& staged = model->staged.value;
    const VersionKey key{placed.name, placed.version};
    if (recalled.contains(key)) {  // M7: nothing keeps it but a pointer that has not moved yet
      const auto names = [&](const std::optional<ModelPointer>& pointer) {
        return pointer && pointer->version == placed.version;
      };
      if (names(current) || names(staged) || names(model->ring.value)) continue;
      if (!current) unpin(placed.name, "current");
      if (!staged) unpin(placed.name, "staged");
      if (!current || current->previous.empty() || current->previous == placed.version) unpin(placed.name, "previous");
      remove(key);
      removed.push_back(key);
      continue;
    }
    if (!current) continue;
    if (!current->previous.empty() && placed.version == current->previous) {
      const auto previous = verified_.find(key);
      if (previous != verified_.end()) pin(placed.name, "previous", previous->second.manifest);
      continue;
    }
    if (placed.version == current->version || (staged && placed.version == staged->version)) continue;
    if (const auto& ahead = model->ring.value; ahead && placed.version == ahead->version) continue;
    // Until the version in force is verified here, the last one that was must stay (M6).
    if (!verified_.contains({placed.name, current->version})) continue;
    log(LogLevel::kInfo, "models", "version removed", {{"model", placed.name}, {"version", placed.version}});
    remove(key);
    removed.push_back(key);
  }
  if (removed.empty()) return removed;
  for (const BlobInfo& blob : blobs_->list()) {
    if (!blob.pinned) (void)blobs_->remove(blob.sha256);
  }
  return removed;
}

std::vector<VersionKey> ModelRoom::drop_previous(const ModelPointers& pointers) {
  std::vector<VersionKey> dropped;
  for (const auto& [name, model] : pointers.all()) {
    const auto& current = model.current.value;
    if (!current || current->previous.empty() || !holds({name, current->version}, current->manifest_sha256)) continue;
    const VersionKey key{name, current->previous};
    const auto names = [&](const ModelPointers::Pointer& pointer) {
      return !pointer.known || (pointer.value && pointer.value->version == key.second);
    };
    if (names(model.current) || names(model.staged) || names(model.ring)) continue;
    unpin(name, "previous");
    if (!verified_.contains(key)) continue;
    log(LogLevel::kWarn, "models", "version removed for want of room", {{"model", name}, {"version", key.second}});
    remove(key);
    dropped.push_back(key);
  }
  return dropped;
}

}  // namespace tidelock
