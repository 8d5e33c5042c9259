// ModelImports is what came to this gateway in bundles, on a stick (M2), and no pointer has named yet: signed
// manifests, whose files lie in the store of blobs and are pinned there. It proves nothing: whoever lays out such a
// version checks its signature, what the trust files say, and its golden outputs first (M4, X2).
//
// Threads: one.
// Durable: a version that was added is here after the next start, with its pin. What its bundle did not bring in whole
//          is a file like any other that is missing.
// Errors:  those of the disk.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/manifest.h"
#include "edge/model_room.h"
#include "store/models/blob_store.h"
#include "store/models/store_check.h"

namespace tidelock {

// What the keeper says to whoever reads a bundle.
struct ImportTerms {
  Bytes model_key;
  bool named = false;     // by a pointer
  bool verified = false;  // here already
  bool known = false;     // imported before
};

class ModelImports {
 public:
  // `blobs` outlives it. What `model_key` did not sign is dropped, and the log says so. What cannot be read, or judged
  // without a key, is left as it is, with the pins that there are.
  static Result<std::unique_ptr<ModelImports>> open(const std::string& directory, BlobStore& blobs,
                                                    BytesView model_key);

  // Its files are pinned, those too that are not here yet. It takes the place of the same version with other content.
  Result<void> add(const Bytes& signed_manifest, Manifest manifest);
  // Nobody goes on with its files for this bundle's sake. Does nothing when there is none.
  void drop(const VersionKey& key);
  // Null when there is none.
  const Bytes* signed_manifest(const VersionKey& key) const;
  std::vector<StoredRelease> releases() const;

  // While a bundle is read its files are written here, and are not to come from elsewhere.
  void read_by_bundle(std::optional<VersionKey> key) { busy_ = std::move(key); }
  bool busy(const VersionKey& key) const { return busy_ == key; }

 private:
  struct Imported {
    Bytes signed_manifest;
    Manifest manifest;
  };
  ModelImports(std::string directory, BlobStore& blobs) : directory_(std::move(directory)), blobs_(blobs) {}
  std::string path(const Bytes& signed_manifest) const;
  Result<void> pin() const;

  const std::string directory_;
  BlobStore& blobs_;
  std::map<VersionKey, Imported> imported_;
  std::vector<Bytes> unread_;  // files pinned for what could not be read
  std::optional<VersionKey> busy_;
};

}  // namespace tidelock
