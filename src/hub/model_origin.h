// ModelOrigin is the object store below the hubs' own folders (M2): every published file rests in it, and a hub's
// folder is a copy of what was asked for, bounded by a quota. Objects: PREFIX/blobs/HEX, named by the SHA-256 of their
// content.
//
// Threads: any. pull and resting block on the network; puts run on a thread of their own, one file at a time.
// Errors:  as ObjectStore's; messages name the store and the object.
// No promise: that an object holds what its name says. pull hashes what comes, and keeps nothing else.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/elapsed_clock.h"
#include "base/result.h"
#include "codec/manifest.h"
#include "hub/work_thread.h"
#include "store/models/blob_store.h"
#include "store/objects/object_store.h"

namespace tidelock {

struct ModelOriginSettings {
  bool used = false;  // false: published files rest in the folders of a majority of hubs
  ObjectStoreOptions store;
  std::string prefix;             // before every key; empty, or parts between slashes
  std::uint64_t quota_bytes = 0;  // of this hub's folder; 0: none
  Nanos watch_every = 0;          // look for new versions in PREFIX/inbox; 0: never
};

class ModelOrigin {
 public:
  // kInvalid names the setting. Opens no connection. `blobs` must outlive it.
  static Result<std::unique_ptr<ModelOrigin>> open(const ModelOriginSettings& settings, BlobStore& blobs);
  ~ModelOrigin() { stop(); }

  // Brings a file here. kNotFound: it is not in the store.
  Result<void> pull(BytesView sha256);
  // Whether every one of these files rests in the store. What does not and is here is put, in the background: kBusy
  // says how many are on their way, ask again. kUnavailable: neither there nor here, or the last put failed.
  Result<void> resting(const std::vector<ManifestFile>& files);
  void stop();  // idempotent
  std::string describe() const { return store_->describe(); }
  ObjectStore& store() { return *store_; }
  std::string inbox() const { return prefix_ + "inbox/"; }

 private:
  explicit ModelOrigin(BlobStore& blobs) : blobs_(blobs) {}
  std::string key_of(BytesView sha256) const { return prefix_ + "blobs/" + to_hex(sha256); }
  void put(const Bytes& sha256, std::uint64_t size_bytes);

  BlobStore& blobs_;
  std::string prefix_;
  ElapsedClock clock_;
  std::unique_ptr<ObjectStore> store_;
  std::mutex mutex_;               // the two below
  std::set<Bytes> putting_;        // digests on their way
  std::map<Bytes, Error> failed_;  // why the last put of a digest failed
  WorkThread work_;                // last: its jobs use all of the above
};

}  // namespace tidelock
