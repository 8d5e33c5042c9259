// ModelRoom is what this gateway has of models (M4, M8): blobs, the versions that are laid out of them, and which of
// those are verified. A verified version carries the mark `tidelock.verified` in its folder, which is what apps look
// for, and the file of weights that they map (model_weights.h).
//
// Threads: one, blocking on disk; BlobStore itself is for any.
// Never:   asks a hub, reads a pointer, decides which releases are allowed.
// Errors:  those of the stores; kCorrupt, kInvalid of what does not verify.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "codec/manifest.h"
#include "edge/model_pointers.h"
#include "infer/engine.h"
#include "store/models/blob_store.h"
#include "store/models/layout.h"

namespace tidelock {

using VersionKey = std::pair<std::string, std::string>;  // name, version

class ModelRoom {
 public:
  struct Verified {
    Bytes manifest_sha256;
    Manifest manifest;
  };

  // Below `data_dir`/models. Nothing counts as verified yet. `quota_bytes` 0: none.
  static Result<std::unique_ptr<ModelRoom>> open(const std::string& data_dir, std::uint64_t quota_bytes);

  BlobStore& blobs() { return *blobs_; }
  std::vector<PlacedVersion> placed() const { return layout_->list(); }
  Result<Bytes> signed_manifest(const VersionKey& key) const { return layout_->signed_manifest(key.first, key.second); }
  std::string folder(const VersionKey& key) const { return layout_->folder(key.first, key.second); }

  // X3: what is placed, from its signature to its golden outputs, as if it had come just now. In this order: the
  // manifest, each file (one whose bytes hash to something else is set aside; one that cannot be read stays, and its
  // error is neither kCorrupt nor kNotFound), the outputs.
  Result<Manifest> open_placed(const VersionKey& key, BytesView encoded, BytesView model_key) const;
  // `piece` as BlobStore::examine; whose file was hashed in this run already is not read again.
  using Piece = std::function<bool(std::uint64_t bytes)>;
  Result<void> check_files(const Manifest& manifest, const Piece& piece = {});
  // One of them, which may lie here unhashed since before this start. `again`: it could not be read when it was last
  // looked at, so that a sector which gives EIO now is damage (BlobStore::verify); without, that proves nothing.
  Result<void> check_file(const Bytes& sha256, bool again, const Piece& piece = {});
  void hashed(const Bytes& sha256) { hashed_.insert(sha256); }   // it came now, and its hash was compared
  void distrust(const Bytes& sha256) { hashed_.erase(sha256); }  // it went bad since
  Result<void> check_outputs(const VersionKey& key, const Manifest& manifest) {
    return run_golden(folder(key), manifest);
  }
  // Lays out a version whose files are all here, and runs its golden inputs; without its mark when they do not hold.
  Result<void> place(BytesView encoded, const Manifest& manifest);
  // From here on apps load it.
  Result<void> mark(const VersionKey& key, Verified verified);
  // Nobody loads it any more; its bytes stay.
  void unmark(const VersionKey& key);
  // The same, because it could not be read: until it was, no file goes that was verified in the run before (M8).
  void doubt(const VersionKey& key);
  // Everything placed has been looked at once: what was verified before and is not now, or in doubt, may go.
  void looked_through();
  const std::set<VersionKey>& doubted() const { return doubted_; }
  void remove(const VersionKey& key);
  // M7: what apps look at before they fall back; those of `recalled` that are of this model.
  Result<void> list_recalled(const std::string& name, const std::set<VersionKey>& recalled);

  const std::map<VersionKey, Verified>& verified() const { return verified_; }
  bool holds(const VersionKey& key, BytesView manifest_sha256) const;
  // M3: what a file may be made out of: the files of that path in other versions of the model, `in_force` first.
  std::vector<Bytes> bases(const std::string& name, const ManifestFile& file, std::string_view in_force) const;

  // X2: what apps look for, beside the versions: the trust files have expired, and why. Empty: they have not.
  Result<void> flag_expired(const std::string& why);

  void pin(const std::string& name, const char* role, const Manifest& manifest);  // M8
  void unpin(const std::string& name, const char* role);
  // M8: removes what no pointer names; the one in force, the one before it and the staged one stay, if they were not
  // recalled (M7). Answers what went.
  std::vector<VersionKey> prune(const ModelPointers& pointers, const std::set<VersionKey>& recalled);
  // M8: for want of room, the version before the one in force too, of each model whose version in force is verified.
  std::vector<VersionKey> drop_previous(const ModelPointers& pointers);

 private:
  void pin_verified();
  Result<void> run_golden(const std::string& folder, const Manifest& manifest);

  std::string flag_path_, flag_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<ModelLayout> layout_;
  std::unique_ptr<Engine> engine_;
  std::map<VersionKey, Verified> verified_;
  bool looked_through_ = false;
  std::set<VersionKey> doubted_;
  std::vector<Bytes> verified_before_;  // files of what was verified when the run before ended
  std::set<Bytes> hashed_;              // files that passed in this run
};

}  // namespace tidelock
