// The four files by which a publisher says what may be installed (X2), a small TUF:
//
//   root       who signs what: keys and thresholds of the roles. Kept offline, signed by several; version N+1 is signed
//              by the keys of N and by its own.
//   targets    one per namespace of models: the releases that may be used, each with the digest of its signed manifest.
//   snapshot   the digest of every targets file: the whole catalogue, as of one moment.
//   timestamp  the digest of the newest snapshot. Signed online, and short-lived: nobody can be kept at an old one.
//
// Here they are bytes: types, the one encoding, signatures, limits. trust_state.h says which of them to believe.
//
// A signature covers a fixed prefix with the role's name, and the body. So no file passes for one of another role, nor
// anything else that one of these keys has signed.
//
// Threads: pure functions. Cost: one pass, and 0.1 ms for each signature that is checked.
// Units:   times are milliseconds of the Unix epoch (wall clock: they date files and decide nothing else, C4).
// Limits:  below; they hold for what is written as for what is read, before anything is allocated.
// Errors:  kDenied a signature; kCorrupt bytes that do not parse; kInvalid a field against the rules. Each names field,
//          value and what would be right.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tidelock {

inline constexpr std::uint32_t kTrustFormat = 1;
inline constexpr std::size_t kTrustFileBytesMax = 256u << 10;  // a signed file, whole
inline constexpr std::size_t kTrustKeysMax = 16;               // of one role
inline constexpr std::size_t kTrustNamespacesMax = 64;
inline constexpr std::size_t kTrustReleasesMax = 1024;                 // of one targets file
inline constexpr std::size_t kTrustSignaturesMax = 2 * kTrustKeysMax;  // a root has those of two generations
inline constexpr std::size_t kTrustNoteBytesMax = 1024;
inline constexpr std::uint64_t kTrustWallMsMax = 253'402'300'799'000;              // the end of the year 9999
inline constexpr std::uint64_t kTimestampLifeMsMax = 31ull * 24 * 60 * 60 * 1000;  // one that lives on protects nobody

enum class TrustRole : std::uint8_t { kRoot, kTargets, kSnapshot, kTimestamp };
constexpr TrustRole last_enumerator(TrustRole) { return TrustRole::kTimestamp; }
std::string_view trust_role_name(TrustRole role);  // "root", "targets", "snapshot", "timestamp"

// Who signs for a role. `since_root` is the version of the root in which a key was last taken away from it, or all were
// given: files of the role carry it, and count from there. So after a rotation versions begin anew, and what the former
// keys signed is worth nothing, whatever version it claims.
struct TrustKeys {
  std::vector<Bytes> keys;  // raw, kPublicKeyBytes each, ascending
  std::uint32_t threshold = 1;
  std::uint64_t since_root = 1;
  friend bool operator==(const TrustKeys&, const TrustKeys&) = default;
  template <class A>
  void fields(A& a) {
    a(keys, threshold, since_root);
  }
};

struct TrustNamespace {
  std::string pattern;  // a model's name, or its beginning and '*'; the longest that matches is the one
  TrustKeys signers;
  friend bool operator==(const TrustNamespace&, const TrustNamespace&) = default;
  template <class A>
  void fields(A& a) {
    a(pattern, signers);
  }
};

struct TrustHead {  // what every file begins with
  std::uint32_t format = kTrustFormat;
  std::string domain;  // which publisher's files these are: like a model's name
  std::uint64_t version = 1;
  std::uint64_t made_ms = 0;
  std::uint64_t expires_ms = 0;
  friend bool operator==(const TrustHead&, const TrustHead&) = default;
  template <class A>
  void fields(A& a) {
    a(format, domain, version, made_ms, expires_ms);
  }
};

struct TrustRootFile {
  TrustHead head;
  TrustKeys root, snapshot, timestamp;
  std::vector<TrustNamespace> namespaces;  // ascending by pattern
  std::string note;
  friend bool operator==(const TrustRootFile&, const TrustRootFile&) = default;
  template <class A>
  void fields(A& a) {
    a(head, root, snapshot, timestamp, namespaces, note);
  }
};

struct TrustRelease {
  std::string name, version;
  std::uint64_t manifest_bytes = 0;  // of the encoded SignedManifest: a transfer stops there (X2)
  Bytes manifest_sha256;
  friend bool operator==(const TrustRelease&, const TrustRelease&) = default;
  template <class A>
  void fields(A& a) {
    a(name, version, manifest_bytes, manifest_sha256);
  }
};

// A release that is left out of a newer version is withdrawn; only a still newer one brings it back.
struct TrustTargetsFile {
  TrustHead head;
  std::uint64_t since_root = 1;
  std::string pattern;
  std::vector<TrustRelease> releases;  // ascending by (name, version), as texts
  friend bool operator==(const TrustTargetsFile&, const TrustTargetsFile&) = default;
  template <class A>
  void fields(A& a) {
    a(head, since_root, pattern, releases);
  }
};

struct TrustFileRef {
  std::uint64_t version = 0;
  std::uint64_t bytes = 0;  // of the signed file
  Bytes sha256;
  friend bool operator==(const TrustFileRef&, const TrustFileRef&) = default;
  template <class A>
  void fields(A& a) {
    a(version, bytes, sha256);
  }
};
struct SnapshotEntry {
  std::string pattern;
  TrustFileRef targets;
  friend bool operator==(const SnapshotEntry&, const SnapshotEntry&) = default;
  template <class A>
  void fields(A& a) {
    a(pattern, targets);
  }
};
struct TrustSnapshotFile {
  TrustHead head;
  std::uint64_t since_root = 1;
  std::vector<SnapshotEntry> targets;  // ascending by pattern
  friend bool operator==(const TrustSnapshotFile&, const TrustSnapshotFile&) = default;
  template <class A>
  void fields(A& a) {
    a(head, since_root, targets);
  }
};

struct TrustTimestampFile {
  TrustHead head;
  std::uint64_t since_root = 1;
  TrustFileRef snapshot;
  friend bool operator==(const TrustTimestampFile&, const TrustTimestampFile&) = default;
  template <class A>
  void fields(A& a) {
    a(head, since_root, snapshot);
  }
};

struct TrustSignature {
  Bytes key_id;  // kKeyIdBytes
  Bytes signature;
  friend bool operator==(const TrustSignature&, const TrustSignature&) = default;
  template <class A>
  void fields(A& a) {
    a(key_id, signature);
  }
};
// What travels and rests.
struct SignedTrust {
  TrustRole role = TrustRole::kRoot;
  Bytes body;                              // an encoded TrustRootFile, TrustTargetsFile, ...
  std::vector<TrustSignature> signatures;  // ascending by key id
  friend bool operator==(const SignedTrust&, const SignedTrust&) = default;
  template <class A>
  void fields(A& a) {
    a(role, body, signatures);
  }
};

Result<void> validate_trust(const TrustRootFile& file);
Result<void> validate_trust(const TrustTargetsFile& file);
Result<void> validate_trust(const TrustSnapshotFile& file);
Result<void> validate_trust(const TrustTimestampFile& file);
Result<void> validate_trust_pattern(std::string_view pattern);

// Whether `pattern` speaks of that model.
bool trust_pattern_matches(std::string_view pattern, std::string_view model);
// The namespace with the longest pattern that matches; null when there is none.
const TrustNamespace* trust_namespace_of(const TrustRootFile& root, std::string_view model);
const TrustNamespace* find_trust_namespace(const TrustRootFile& root, std::string_view pattern);

// Validated, encoded, not signed yet.
Result<SignedTrust> make_trust(const TrustRootFile& file);
Result<SignedTrust> make_trust(const TrustTargetsFile& file);
Result<SignedTrust> make_trust(const TrustSnapshotFile& file);
Result<SignedTrust> make_trust(const TrustTimestampFile& file);
// In place of the one that this key made before, if it did. Deterministic.
Result<void> add_trust_signature(SignedTrust& file, std::string_view private_pem);
// The digest of encode(file), as the next file up names it.
Result<TrustFileRef> trust_file_ref(const SignedTrust& file);

// Of what was signed: the same whoever has signed it since. By this a gateway's file pins a root.
Bytes trust_content_sha256(const SignedTrust& file);

// The envelope only: its size, its role, the form of its signatures. No byte of the body is looked at.
Result<SignedTrust> parse_trust(BytesView encoded, TrustRole role);
Result<SignedTrust> parse_trust(BytesView encoded);  // of any role
// Enough good signatures of `keys`; those by other keys do not count, and are no error.
Result<void> check_trust_threshold(const SignedTrust& file, const TrustKeys& keys);
// Every signature is good and by a key of one of these sets. So nobody can alter a byte of a file and leave it valid.
Result<void> check_trust_signatures(const SignedTrust& file, const std::vector<const TrustKeys*>& keys);
// How many of `keys` have signed well: for people.
std::size_t count_trust_signatures(const SignedTrust& file, const TrustKeys& keys);

// The bodies. The caller has checked the signatures, or shows the file to a person and says so.
Result<TrustRootFile> read_root(const SignedTrust& file);
Result<TrustTargetsFile> read_targets(const SignedTrust& file);
Result<TrustSnapshotFile> read_snapshot(const SignedTrust& file);
Result<TrustTimestampFile> read_timestamp(const SignedTrust& file);

// "2026-12-01 01:40 UTC"
std::string wall_words(std::uint64_t wall_ms);

}  // namespace tidelock
