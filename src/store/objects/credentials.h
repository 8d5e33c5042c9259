// Where an object store's credentials come from: environment, a file of their owner's, or the metadata service of the
// machine (the version of it that wants a session token first).
//
//   s3     AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; in a file the same in small letters, also in
//          the shape of ~/.aws/credentials
//   azure  AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN; in a file the same in small letters
//
// Threads: any. get() reads what it needs anew when it is due: a file that changed, an expiry that comes within
//          kRenewBeforeMs, credentials that a store refused. Between renewals it costs a lock.
// Secrets: they lie in this process's memory, which a core dump contains; nothing here prints, logs or returns them in
//          an error.
// Errors:  kInvalid what is not set or not readable, kDenied a file that others may read, kUnavailable the metadata
//          service. Messages name variables, paths and lines, never values.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "base/result.h"
#include "store/objects/object_store.h"
#include "wire/http/web_client.h"

namespace tidelock {

inline constexpr std::uint64_t kRenewBeforeMs = 5 * 60 * 1'000;

struct Credentials {
  std::string id;                     // access key; account
  std::string secret;                 // secret key; the account's key as raw bytes
  std::string session;                // s3: session token, or empty
  std::string sas;                    // azure: a token, without '?'
  std::uint64_t expires_wall_ms = 0;  // 0: never
  friend bool operator==(const Credentials&, const Credentials&) = default;
};

class CredentialSource {
 public:
  CredentialSource(const ObjectStoreOptions& options, std::function<std::uint64_t()> wall_ms);
  Result<Credentials> get();
  // A store refused these: the next get() asks the source anew.
  void refused(const Credentials& credentials);
  void stop() { web_.stop(); }

 private:
  Result<Credentials> read();
  Result<Credentials> from_environment() const;
  Result<Credentials> from_file();
  Result<Credentials> from_metadata();
  Result<Credentials> checked(Credentials found, const std::string& where) const;

  const ObjectEngine engine_;
  const CredentialKind kind_;
  const std::string file_, metadata_url_;
  const std::function<std::uint64_t()> wall_ms_;
  WebClient web_;
  std::mutex mutex_;  // the rest; held while the metadata service is asked: one asks, all get it
  Credentials now_;
  bool have_ = false;
  std::int64_t file_changed_ns_ = 0;
  std::uint64_t failed_wall_ms_ = 0;  // the last renewal that failed
};

}  // namespace tidelock
