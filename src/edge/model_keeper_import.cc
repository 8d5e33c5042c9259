// A bundle on a stick at this gateway (M2): `tidelock model import FILE --run-dir DIR`. The care's thread reads it,
// twice: first all of it is checked, against the signature of its manifest and the hashes that stand there, and only
// then is a byte of it kept. What is changed of the keeper's is changed on its own thread.
//
// An import proves nothing by itself: the version stays what nobody named, until a pointer names it. Then it goes the
// way of one that came by the link, signature, trust files and golden outputs again (M4, X2), and only the bytes do not
// come again.

#include <algorithm>
#include <chrono>
#include <condition_variable>

#include "edge/model_keeper.h"
#include "protocol/trust_push.h"
#include "store/bundle/bundle.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

constexpr int kLooks = 200;  // for the end of this edge, or of a transfer that writes the same file
constexpr auto kLook = std::chrono::milliseconds(50);

Error ended_by_stop() { return {Code::kUnavailable, "this edge is stopping", {}, 0}; }

}  // namespace

Result<void> ModelKeeper::open_imports(StoreCareOwner& owner) {
  auto imports = ModelImports::open(config_.data_dir + "/models/imported", room_->blobs(), model_key_);
  if (!imports) return fail(imports.error());
  imports_ = std::move(*imports);
  owner.releases = [this] {
    return on_thread<std::vector<StoredRelease>>([this] {
      auto list = releases();
      const std::vector<StoredRelease> imported = imports_->releases();
      if (list) list->insert(list->end(), imported.begin(), imported.end());
      return list;
    });
  };
  owner.import = [this](const std::string& bundle, const StoreCareOwner::Progress& progress) {
    return import_bundle(bundle, progress);
  };
  owner.collect_imported = [this](bool remove) {
    return on_thread<std::vector<Garbage>>([this, remove] { return collect_imported(remove); });
  };
  return {};
}

bool ModelKeeper::named(const VersionKey& key) const {
  const ModelPointers::Tracked* model = pointers_.of(key.first);
  const auto names = [&](const ModelPointers::Pointer& one) { return one.value && one.value->version == key.second; };
  return model != nullptr && (names(model->staged) || names(model->current) || names(model->ring));
}

// A version that no pointer is known to name may be named all the same.
bool ModelKeeper::knows_pointers() const {
  const bool all_read = reads_open_ == 0 && std::all_of(reads_due_.begin(), reads_due_.end(),
                                                        [](const auto& due) { return due.first == kTrustStateKey; });
  return !hub_.empty() && !describe_due_ && all_read;
}

// ---- on the care's thread

Result<ImportedBundle> ModelKeeper::import_bundle(const std::string& path, const StoreCareOwner::Progress& progress) {
  const auto known = on_thread<ImportTerms>([this]() -> Result<ImportTerms> {
    if (!model_key_.empty()) return ImportTerms{model_key_, false, false};
    return fail(Code::kUnavailable,
                "this edge has had no session with a hub yet, and no key to check the signature of a bundle with");
  });
  if (!known) return fail(known.error());
  ImportedBundle done;
  std::uint64_t read_bytes = 0;
  const auto heard = [&](const char* doing, std::uint64_t bytes) {
    read_bytes += bytes;
    return progress(doing + (" " + done.model) + " " + done.version, read_bytes, 2 * done.bytes);
  };

  auto bundle = BundleReader::open(path, known->model_key);  // M4
  if (!bundle) return fail(bundle.error());
  const Bytes signed_manifest = (*bundle)->signed_manifest();
  const Manifest manifest = (*bundle)->manifest();
  const VersionKey key{manifest.name, manifest.version};
  done.model = manifest.name;
  done.version = manifest.version;
  done.files = manifest.files.size();
  done.bytes = manifest_files_bytes(manifest);
  const auto checked = (*bundle)->extract(
      [&](const ManifestFile&) -> Result<BundleReader::Sink> {
        return BundleReader::Sink([&](BytesView piece) -> Result<void> {
          return heard("checking", piece.size()) ? Result<void>() : fail(ended_by_stop());
        });
      },
      [](const ManifestFile&) -> Result<void> { return {}; });
  if (!checked) return fail(checked.error());

  const auto terms =
      on_thread<ImportTerms>([this, signed_manifest, manifest] { return begin_import(signed_manifest, manifest); });
  if (!terms) return fail(terms.error());
  done.verified = terms->verified;
  done.named = terms->named;
  if (done.verified) return done;

  std::unique_ptr<BlobStore::Writer> writer;
  bool wrote = false;
  const auto take = [&](const ManifestFile& file) -> Result<BundleReader::Sink> {
    auto opened = open_import_writer(file);
    if (!opened) return fail(opened.error());
    writer = std::move(*opened);
    wrote = false;
    return BundleReader::Sink([&, at = std::uint64_t{0}](BytesView piece) mutable -> Result<void> {
      if (!heard("taking", piece.size())) return fail(ended_by_stop());
      const std::uint64_t end = at + piece.size(), here = writer->offset();  // what a transfer brought before is here
      const BytesView fresh = end <= here ? BytesView() : piece.substr(static_cast<std::size_t>(here - at));
      at = end;
      if (fresh.empty()) return {};
      wrote = true;
      done.new_bytes += fresh.size();
      return writer->write(fresh);
    });
  };
  const auto whole = [&](const ManifestFile& file) -> Result<void> {
    const auto kept = writer->commit();
    if (kept || kept.error().code != Code::kCorrupt) return kept;
    return fail(Code::kCorrupt, file.path +
                                    ": what had come of it before was damaged on disk, and is dropped now; "
                                    "import the bundle again: " +
                                    kept.error().message);
  };
  bundle = BundleReader::open(path, known->model_key);
  Result<void> taken = bundle ? Result<void>() : fail(bundle.error());
  if (taken && (*bundle)->signed_manifest() != signed_manifest)
    taken = fail(Code::kCorrupt, "bundle " + path + ": it was replaced while it was read");
  if (taken) taken = (*bundle)->extract(take, whole);
  if (!taken && writer && wrote) writer->discard();  // not proven to be right: nothing is to go on from there
  writer.reset();
  const auto ended = on_thread<ImportTerms>(
      [this, key, good = taken.has_value(), known = terms->known] { return end_import(key, good, known); });
  if (!taken) return fail(taken.error());
  if (!ended) return fail(ended.error());
  done.named = ended->named;
  log(LogLevel::kInfo, "models", "bundle imported",
      {{"model", done.model}, {"version", done.version}, {"bytes", done.bytes}, {"new_bytes", done.new_bytes}});
  return done;
}

// A transfer of this version has been told to end; one of another may be at the same file.
Result<std::unique_ptr<BlobStore::Writer>> ModelKeeper::open_import_writer(const ManifestFile& file) {
  for (int looks = 0;; ++looks) {
    auto writer = room_->blobs().put_stream(file.sha256, file.size_bytes);
    if (writer || writer.error().code != Code::kConflict) return writer;
    if (looks == kLooks)
      return fail(Code::kBusy, file.path + ": a transfer from a hub is writing it; repeat when that has ended");
    std::condition_variable nobody_says;
    std::unique_lock lock(mutex_);
    if (nobody_says.wait_for(lock, kLook, [this] { return stopping_; })) return fail(ended_by_stop());
  }
}

// ---- on the keeper's thread

// M8: what is in use is never deleted for a bundle's sake, and while something is on its way nothing is.
Result<ImportTerms> ModelKeeper::begin_import(const Bytes& signed_manifest, const Manifest& manifest) {
  const VersionKey key{manifest.name, manifest.version};
  const std::string what = manifest.name + " " + manifest.version;
  if (recalls_->has(key)) return fail(Code::kDenied, what + " was recalled, and is used nowhere any more");  // M7
  if (const auto other = other_content(key, sha256(signed_manifest)); !other.empty())                        // M1
    return fail(Code::kConflict, what + " of this bundle is not the " + what + " " + other);
  if (room_->holds(key, sha256(signed_manifest))) return ImportTerms{{}, named(key), true};
  BlobStore& blobs = room_->blobs();
  std::uint64_t needed = 0;
  for (const ManifestFile& file : manifest.files) needed += blobs.has(file.sha256) ? 0 : file.size_bytes;
  const auto fits = [&] { return blobs.used_bytes() + needed <= blobs.quota_bytes(); };
  if (blobs.quota_bytes() > 0 && !fits() && (!manifests_.empty() || !blobs.make_room(needed))) {
    return fail(Code::kBusy, "models.quota_mib = " + std::to_string(blobs.quota_bytes() >> 20) + ": " + what +
                                 " needs " + std::to_string(needed) + " bytes beside the " +
                                 std::to_string(blobs.used_bytes()) +
                                 " that are here; raise it, or see what `tidelock model gc --imported` removes");
  }
  const bool known = imports_->signed_manifest(key) != nullptr;
  if (const auto added = imports_->add(signed_manifest, manifest); !added) return fail(added.error());
  imports_->read_by_bundle(key);
  return ImportTerms{{}, named(key), false, known};
}

// Where this gateway knows the version with another manifest; empty: nowhere.
std::string ModelKeeper::other_content(const VersionKey& key, BytesView manifest_sha256) const {
  if (const ModelPointers::Tracked* model = pointers_.of(key.first); model != nullptr) {
    for (const auto* one : {&model->staged, &model->current, &model->ring}) {
      if (one->value && one->value->version == key.second && one->value->manifest_sha256 != manifest_sha256)
        return "that a pointer names";
    }
  }
  if (const auto placed = room_->signed_manifest(key); placed && sha256(*placed) != manifest_sha256)
    return "that is here";
  if (const Bytes* before = imports_->signed_manifest(key); before != nullptr && sha256(*before) != manifest_sha256)
    return "that was imported before: `tidelock model gc --imported` drops that one";
  return {};
}

// One that was imported before stays, however this reading of it ended.
Result<ImportTerms> ModelKeeper::end_import(const VersionKey& key, bool good, bool known) {
  imports_->read_by_bundle({});
  if ((!good && !known) || recalls_->has(key)) imports_->drop(key);
  failures_.erase(key);  // the pointers are looked at as soon as this returns
  if (recalls_->has(key)) return fail(Code::kDenied, key.first + " " + key.second + " was recalled meanwhile");  // M7
  return ImportTerms{{}, named(key), false};
}

// M8: what came on a stick gives way to what the fleet's pointers name; itself excepted.
bool ModelKeeper::drop_imports(const VersionKey& but) {
  bool dropped = false;
  if (!knows_pointers()) return dropped;
  for (const StoredRelease& release : imports_->releases()) {
    const VersionKey key{release.name, release.version};
    if (key == but || named(key) || imports_->busy(key)) continue;
    log(LogLevel::kWarn, "models", "imported version dropped for want of room",
        {{"model", key.first}, {"version", key.second}});
    imports_->drop(key);
    dropped = true;
  }
  return dropped;
}

// M8: the rule by which what was imported goes: somebody asks for it, and no pointer names it.
Result<std::vector<Garbage>> ModelKeeper::collect_imported(bool remove) {
  if (!knows_pointers()) {
    return fail(Code::kUnavailable,
                "this edge does not know yet which versions are named: it has had no session with a hub in this run");
  }
  std::set<Bytes> theirs, others;
  for (const StoredRelease& release : imports_->releases()) {
    const VersionKey key{release.name, release.version};
    const bool goes = !named(key) && !imports_->busy(key);
    for (const ManifestFile& file : release.files) (goes ? theirs : others).insert(file.sha256);
    if (goes && remove) imports_->drop(key);
  }
  auto garbage = collect(remove);
  if (!garbage || remove || !manifests_.empty()) return garbage;
  const auto placed = releases();
  if (!placed) return fail(placed.error());
  for (const StoredRelease& release : *placed) {
    for (const ManifestFile& file : release.files) others.insert(file.sha256);
  }
  for (const Bytes& digest : theirs) {
    const auto bytes = room_->blobs().size_bytes(digest);
    if (bytes && !others.contains(digest)) garbage->push_back({GarbageKind::kBlob, digest, *bytes, 0});
  }
  return garbage;
}

}  // namespace tidelock
