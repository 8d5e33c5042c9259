// For tests and fuzzing: a publisher with all keys in one hand, and the four files as it would sign them.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "codec/archive.h"
#include "codec/signature.h"
#include "codec/trust.h"
#include "codec/trust_state.h"

namespace tidelock {

inline constexpr std::uint64_t kTrustDayMs = 24ull * 60 * 60 * 1000;
inline constexpr std::uint64_t kTrustNow = 20'000 * kTrustDayMs;  // any day

inline Bytes raw_key(const SigningKey& key) { return *raw_public_key_of(key.public_pem); }
inline TrustKeys trust_keys(const std::vector<SigningKey>& keys, std::uint32_t threshold,
                            std::uint64_t since_root = 1) {
  TrustKeys out{{}, threshold, since_root};
  for (const SigningKey& key : keys) out.keys.push_back(raw_key(key));
  std::sort(out.keys.begin(), out.keys.end());
  return out;
}
template <class File>
SignedTrust sign_trust(const File& file, const std::vector<SigningKey>& keys) {
  auto out = make_trust(file);
  TIDELOCK_ASSERT(out.has_value());
  for (const SigningKey& key : keys) TIDELOCK_ASSERT(add_trust_signature(*out, key.private_pem).has_value());
  return std::move(*out);
}

struct TrustSet {  // what would be pushed together
  Bytes timestamp, snapshot;
  std::vector<Bytes> targets;
};

// Namespaces "camera" and "lidar*"; one release each at first.
struct Publisher {
  static SigningKey fresh_key() { return *make_signing_key(); }

  std::vector<SigningKey> root_keys{fresh_key(), fresh_key(), fresh_key()};
  SigningKey snapshot_key = fresh_key(), timestamp_key = fresh_key(), camera_key = fresh_key(), lidar_key = fresh_key();
  TrustRootFile root{{kTrustFormat, "city", 1, kTrustNow, kTrustNow + 365 * kTrustDayMs},
                     trust_keys(root_keys, 2),
                     trust_keys({snapshot_key}, 1),
                     trust_keys({timestamp_key}, 1),
                     {{"camera", trust_keys({camera_key}, 1)}, {"lidar*", trust_keys({lidar_key}, 1)}},
                     {}};
  TrustTargetsFile camera{{kTrustFormat, "city", 1, kTrustNow, kTrustNow + 90 * kTrustDayMs},
                          1,
                          "camera",
                          {release("camera", "1.0.0", "camera one")}};
  TrustTargetsFile lidar{{kTrustFormat, "city", 1, kTrustNow, kTrustNow + 90 * kTrustDayMs},
                         1,
                         "lidar*",
                         {release("lidar-front", "1.0.0", "lidar one")}};
  TrustSnapshotFile snapshot{{kTrustFormat, "city", 1, kTrustNow, kTrustNow + 30 * kTrustDayMs}, 1, {}};
  TrustTimestampFile timestamp{{kTrustFormat, "city", 1, kTrustNow, kTrustNow + kTrustDayMs}, 1, {}};

  static TrustRelease release(const std::string& name, const std::string& version, BytesView manifest) {
    return {name, version, manifest.size(), sha256(manifest)};
  }
  Bytes signed_root() const { return encode(sign_trust(root, {root_keys[0], root_keys[1]})); }
  // Of the fields as they are now.
  TrustSet set() {
    const SignedTrust c = sign_trust(camera, {camera_key}), l = sign_trust(lidar, {lidar_key});
    snapshot.targets = {{"camera", *trust_file_ref(c)}, {"lidar*", *trust_file_ref(l)}};
    return with_snapshot(sign_trust(snapshot, {snapshot_key}), {encode(c), encode(l)});
  }
  TrustSet with_snapshot(const SignedTrust& s, std::vector<Bytes> targets) {
    timestamp.snapshot = *trust_file_ref(s);
    return {encode(sign_trust(timestamp, {timestamp_key})), encode(s), std::move(targets)};
  }
  // One version later, everywhere.
  void advance(std::uint64_t later_ms = kTrustDayMs / 2) {
    for (TrustHead* head : {&camera.head, &lidar.head, &snapshot.head, &timestamp.head}) {
      ++head->version;
      head->made_ms += later_ms;
      head->expires_ms += later_ms;
    }
  }
};

inline Result<void> accept(Trust& trust, const TrustSet& set) {
  return trust.accept_catalogue(set.timestamp, set.snapshot, set.targets);
}

}  // namespace tidelock
