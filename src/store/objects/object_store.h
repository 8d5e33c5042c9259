// ObjectStore keeps whole objects under keys: where published models rest (M2) when it is not the hubs' own folders.
// The engines behind it are a folder that hubs share, S3, and Azure Blob.
//
// Threads: every method may be called from any thread; they block. stop() ends what waits or transfers.
// Cost:    one request and one part (kPartBytes) of memory for each call; a put beyond one part takes a request for
//          each.
// Whole:   an object appears whole or not at all. put, remove and get may be repeated: the outcome is the same.
// Retries: what may be repeated is, with growing jittered waits, until `deadline_ms` is over or `attempts_max` in a row
//          brought nothing. A get goes on at the byte it has.
// Errors:  kUnavailable no answer, or one cut short; kBusy the store says slow down; kDenied credentials, clock or
//          rights; kNotFound the key; kInvalid key, limits, or a bucket that is not there; kConflict the object changed
//          meanwhile; kCorrupt the bytes are not those that the digest or the store's checks promise. Messages name
//          the operation, the key and the store's own word, never a credential.
// Limits:  keys below; objects kObjectBytesMax; a page of a list kListMax.
// No promise: that an object is the one that was put. Hash it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"

namespace tidelock {

inline constexpr std::size_t kObjectKeyBytesMax = 512;
inline constexpr std::size_t kObjectKeyPartBytesMax = 200;  // between slashes: a file's name in a folder
inline constexpr std::uint64_t kObjectBytesMax = 4ull << 30;
inline constexpr std::size_t kPartBytes = 8u << 20;  // a larger object travels in parts
inline constexpr std::size_t kListMax = 1'000;

// Parts of UTF-8 without control characters between single slashes; none of them empty, "." or "..".
Result<void> validate_object_key(std::string_view key);

// Up to `bytes_max` bytes from `offset`: fewer only at the end. May be asked again for what it gave before.
using ObjectSource = std::function<Result<Bytes>(std::uint64_t offset, std::size_t bytes_max)>;
// Pieces in order. An error ends the get with that error.
using ObjectSink = std::function<Result<void>(BytesView piece)>;

struct ObjectInfo {
  std::string key;
  std::uint64_t size_bytes = 0;
  Bytes sha256;  // raw, as the one who put it said; empty in lists, and when another tool put it
  friend bool operator==(const ObjectInfo&, const ObjectInfo&) = default;
};
struct ObjectPage {
  std::vector<ObjectInfo> objects;  // by key
  std::string next;                 // ask on with it; empty: this was the last page
};

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;
  // `sha256` raw: kCorrupt, and nothing is put, when `source` gives other bytes.
  virtual Result<void> put(const std::string& key, std::uint64_t size_bytes, BytesView sha256,
                           const ObjectSource& source) = 0;
  // From `offset` to the end, or `bytes_max` bytes. kInvalid when `offset` lies beyond the end.
  virtual Result<void> get(const std::string& key, std::uint64_t offset, std::optional<std::uint64_t> bytes_max,
                           const ObjectSink& sink) = 0;
  virtual Result<ObjectInfo> head(const std::string& key) = 0;
  // Keys that begin with `prefix` (may be empty), up to `limit` of them; `from` is a former page's `next`.
  virtual Result<ObjectPage> list(const std::string& prefix, const std::string& from, std::size_t limit) = 0;
  virtual Result<void> remove(const std::string& key) = 0;  // one that is not there is removed, too
  // What runs ends with kUnavailable soon, what comes later at once. For shutting down.
  virtual void stop() = 0;
  virtual std::string describe() const = 0;  // "s3 https://host/bucket", for logs
};

enum class ObjectEngine : std::uint8_t { kFolder, kS3, kAzure };
enum class CredentialKind : std::uint8_t { kEnvironment, kFile, kMetadata };

struct ObjectStoreOptions {
  ObjectEngine engine = ObjectEngine::kFolder;
  // folder: an absolute path. s3: https://HOST[:PORT]/BUCKET. azure: https://ACCOUNT.HOST/CONTAINER, or
  // http://127.0.0.1:10000/ACCOUNT/CONTAINER.
  std::string url;
  std::string region = "us-east-1";  // s3
  bool path_style = true;            // s3: false asks BUCKET.HOST instead of HOST/BUCKET
  std::string ca_file;               // empty: the system's
  bool allow_plain_http = false;     // to another machine; loopback is always allowed
  CredentialKind credentials = CredentialKind::kEnvironment;
  std::string credentials_file;
  std::string metadata_url = "http://169.254.169.254";  // s3: the instance's metadata service
  std::int64_t deadline_ms = 600'000;                   // of one call, retries included
  std::int64_t connect_timeout_ms = 5'000;
  std::int64_t idle_timeout_ms = 15'000;  // a transfer that moves nothing for so long is cut (whole seconds)
  int attempts_max = 6;                   // without any progress
  std::int64_t backoff_min_ms = 100, backoff_max_ms = 10'000;
  std::uint64_t seed = 1;  // of the jitter
  // Waits so long, or until stopped (false). Empty: really waits.
  std::function<bool(Nanos)> pause;
};

// kInvalid names the field that is wrong. Opens no connection. `clock` must outlive the store.
Result<std::unique_ptr<ObjectStore>> open_object_store(ObjectStoreOptions options, const Clock& clock);

}  // namespace tidelock
