// The model folder (M11): versions laid out as ROOT/<name>/<version>/model.onnx beside the other files of the release,
// as hard links into a BlobStore, for inference servers and for an edge that starts without any hub. The signed
// manifest lies in it as `tidelock.manifest`.
//
// Threads:   any; the calls of one ModelLayout are serialised inside.
// Durable:   a version folder appears whole, by one rename, after everything in it was synced.
// Errors:    kConflict the version is here with another manifest; kNotFound a blob is missing; kInvalid ROOT on another
//            file system than the store; kBusy disk full, naming the path.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/manifest.h"
#include "store/models/blob_store.h"

namespace tidelock {

struct PlacedVersion {
  std::string name;
  std::string version;
  friend bool operator==(const PlacedVersion&, const PlacedVersion&) = default;
};

class ModelLayout {
 public:
  // Creates ROOT and sweeps what an interrupted place or remove left behind.
  static Result<std::unique_ptr<ModelLayout>> open(const std::string& root);

  // Lays out a version whose files are all in `blobs`; returns its folder. `manifest` must be what open_manifest gave
  // for `encoded`. Again with the same bytes: heals what is missing, of another size, or no longer the store's file.
  Result<std::string> place(BytesView encoded, const Manifest& manifest, const BlobStore& blobs);
  Result<void> remove(std::string_view name, std::string_view version);

  std::string folder(std::string_view name, std::string_view version) const;
  // The encoded SignedManifest of a placed version: check its signature (open_manifest) before using it.
  Result<Bytes> signed_manifest(std::string_view name, std::string_view version) const;
  std::vector<PlacedVersion> list() const;

 private:
  explicit ModelLayout(std::string root) : root_(std::move(root)) {}
  const std::string root_;
  mutable std::mutex mutex_;
};

}  // namespace tidelock
