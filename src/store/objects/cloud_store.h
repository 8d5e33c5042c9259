// What S3 and Azure Blob have in common: retries, parts, a get that goes on where it broke off. An engine says how a
// request is signed and what its answers mean.
//
// Threads: as ObjectStore. Engines keep no state of their own.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "store/objects/credentials.h"
#include "store/objects/object_store.h"
#include "wire/http/web_client.h"

namespace tidelock {

class CloudStore : public ObjectStore {
 public:
  Result<void> put(const std::string& key, std::uint64_t size_bytes, BytesView sha256,
                   const ObjectSource& source) final;
  Result<void> get(const std::string& key, std::uint64_t offset, std::optional<std::uint64_t> bytes_max,
                   const ObjectSink& sink) final;
  Result<ObjectInfo> head(const std::string& key) final;
  Result<ObjectPage> list(const std::string& prefix, const std::string& from, std::size_t limit) final;
  Result<void> remove(const std::string& key) final;
  void stop() final;
  std::string describe() const final { return name_ + " " + url_; }

 protected:
  struct Call {
    std::string method;
    std::string key;                                         // empty: the bucket itself
    std::vector<std::pair<std::string, std::string>> query;  // sorted by name, not encoded
    std::vector<std::pair<std::string, std::string>> headers;
    BytesView body;
    std::function<Result<void>(const WebAnswer&, BytesView)> sink;
  };
  struct Dialect {
    const char* name;           // "s3"
    const char* sha256_header;  // metadata with the digest
    const char* range_header;   // of a get
  };
  CloudStore(const Dialect& dialect, const ObjectStoreOptions& options, const Clock& clock);

  // One exchange, signed.
  virtual Result<WebAnswer> exchange(const Call& call, const Credentials& credentials, std::int64_t timeout_ms) = 0;
  // The error that an answer other than 2xx stands for, without the operation's name.
  virtual Error meaning(const WebAnswer& answer) const = 0;
  virtual Result<void> put_whole(const std::string& key, BytesView bytes, const std::string& sha256_hex) = 0;
  virtual Result<std::string> begin_parts(const std::string& key, const std::string& sha256_hex) = 0;
  virtual Result<std::string> put_part(const std::string& key, const std::string& upload, std::size_t number,
                                       BytesView bytes) = 0;
  virtual Result<void> finish_parts(const std::string& key, const std::string& upload,
                                    const std::vector<std::string>& parts, const std::string& sha256_hex) = 0;
  virtual void drop_parts(const std::string& key, const std::string& upload) = 0;
  virtual Call list_call(const std::string& prefix, const std::string& from, std::size_t limit) const = 0;
  virtual Result<ObjectPage> parse_list(BytesView xml) const = 0;

  // The exchange, retried. The answer is a 2xx.
  Result<WebAnswer> ask(const std::string& what, const Call& call);
  Result<ObjectInfo> head_of(const std::string& key);

  WebClient web_;

 private:
  // `attempt` until it succeeds or its error says that repeating cannot help. `progressed` is asked behind each
  // failure.
  Result<WebAnswer> retried(const std::string& what,
                            const std::function<Result<WebAnswer>(const Credentials&, std::int64_t left_ms)>& attempt,
                            const std::function<bool()>& progressed);
  Result<WebAnswer> once(const Call& call, const Credentials& credentials, std::int64_t left_ms);
  bool pause(Nanos wait);

  const std::string name_, url_, sha256_header_, range_header_;
  const std::int64_t deadline_ms_, backoff_min_ms_, backoff_max_ms_;
  const int attempts_max_;
  const std::function<bool(Nanos)> pause_;
  const Clock& clock_;
  CredentialSource credentials_;
  std::mutex mutex_;  // rng_, stopping_
  std::condition_variable stopped_;
  Rng rng_;
  bool stopping_ = false;
};

Result<std::unique_ptr<ObjectStore>> open_s3_store(const ObjectStoreOptions& options, const Clock& clock);
Result<std::unique_ptr<ObjectStore>> open_azure_store(const ObjectStoreOptions& options, const Clock& clock);
Result<std::unique_ptr<ObjectStore>> open_folder_store(const ObjectStoreOptions& options);

// Seconds of a Retry-After header; 0 without one, at most a minute.
Nanos retry_after(const WebAnswer& answer);
// A store's own word for an error, made safe to show: at most 64 letters and digits.
std::string shown_word(std::string_view word);
// Exactly `size` bytes of a source; kCorrupt when it ends before.
Result<Bytes> read_exactly(const ObjectSource& source, std::uint64_t offset, std::size_t size);

}  // namespace tidelock
