// ModelWatch looks into the object store for new versions that somebody laid there, and publishes them:
// PREFIX/inbox/NAME/VERSION/tidelock.manifest, with the files under PREFIX/blobs/HEX (`tidelock model sign` writes
// both).
//
// What lies there is a hint to look (DESIGN 8). A manifest counts when the cluster's key signed it, it names its own
// place, and every file of it has come here and hashed right; the ledger decides whether the version is new. So an
// object that is lost, doubled, forged or seen again costs time and changes nothing.
//
// Threads: one of its own between construction and destruction; the functions handed in are called on it.
// Cost:    a list every `every`, jittered by a fifth, while this hub is active; a manifest is read once, and again
//          while files of it are missing.
// Limits:  kInboxMax manifests; what is beyond is not seen, and said.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "base/bytes.h"
#include "base/result.h"
#include "base/rng.h"
#include "base/time.h"
#include "codec/manifest.h"
#include "store/objects/object_store.h"

namespace tidelock {

inline constexpr std::size_t kInboxMax = 10'000;

struct ModelWatchOptions {
  std::string inbox;  // "PREFIX/inbox/"
  Nanos every = 30 * kSecond;
  std::uint64_t seed = 1;
};

struct ModelWatchHub {
  std::function<bool()> active;
  std::function<Bytes()> model_key;
  std::function<Result<void>(const ManifestFile&)> bring;  // here, verified; kNotFound: not there yet
  // kConflict: the version is published with other content. Publishing the same again is no error.
  std::function<Result<void>(const Manifest&, const Bytes& signed_manifest)> publish;
};

class ModelWatch {
 public:
  ModelWatch(ModelWatchOptions options, ObjectStore& store, ModelWatchHub hub, bool own_thread = true);
  ~ModelWatch();
  // One look: how many versions it published. For the thread, and for tests without one.
  Result<std::size_t> look();

 private:
  Result<bool> take(const std::string& key);
  void run();

  const ModelWatchOptions options_;
  ObjectStore& store_;
  const ModelWatchHub hub_;
  std::set<std::string> settled_;  // keys that need no second look by this process
  Rng rng_;
  std::mutex mutex_;  // stopping_
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tidelock
