#include "codec/trust.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"

namespace tidelock {
namespace {

constexpr std::size_t kShownBytesMax = 80;
std::string shown(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, kShownBytesMax)) out.push_back(c >= 0x20 && c < 0x7F ? c : '?');
  return out + (text.size() > kShownBytesMax ? "...'" : "'");
}

tl::unexpected<Error> refuse(TrustRole role, const std::string& field, const std::string& value,
                             const std::string& right) {
  return fail(Code::kInvalid, std::string(trust_role_name(role)) + ": " + field + " is " + value + "; " + right);
}

// Of one role, so that a signature is worth nothing under another.
Bytes signed_bytes(const SignedTrust& file) {
  return "tidelock trust 1 " + Bytes(trust_role_name(file.role)) + "\n" + file.body;
}

Result<void> validate_head(TrustRole role, const TrustHead& head) {
  if (head.format != kTrustFormat) {
    return refuse(role, "format", std::to_string(head.format),
                  "this build reads " + std::to_string(kTrustFormat) + "; use a newer one");
  }
  if (!validate_model_name(head.domain)) {
    return refuse(role, "domain", shown(head.domain),
                  "give 1 to 64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit");
  }
  if (head.version == 0) return refuse(role, "version", "0", "the first is 1");
  if (head.expires_ms > kTrustWallMsMax) {
    return refuse(role, "expires_ms", std::to_string(head.expires_ms), "at most " + std::to_string(kTrustWallMsMax));
  }
  if (head.expires_ms <= head.made_ms) {
    return refuse(role, "expires_ms", wall_words(head.expires_ms),
                  "it must be later than made_ms, " + wall_words(std::min(head.made_ms, kTrustWallMsMax)));
  }
  return {};
}

template <class T, class Less>
bool strictly_ascending(const std::vector<T>& list, Less less) {
  return std::adjacent_find(list.begin(), list.end(), [&](const T& a, const T& b) { return !less(a, b); }) ==
         list.end();
}

Result<void> validate_keys(const std::string& field, const TrustKeys& keys, std::uint64_t root_version) {
  constexpr TrustRole role = TrustRole::kRoot;
  if (keys.keys.empty() || keys.keys.size() > kTrustKeysMax) {
    return refuse(role, field + ".keys", std::to_string(keys.keys.size()) + " keys",
                  "a role has 1 to " + std::to_string(kTrustKeysMax));
  }
  for (const Bytes& key : keys.keys) {
    if (key.size() != kPublicKeyBytes) {
      return refuse(role, field + ".keys", "one of " + std::to_string(key.size()) + " bytes",
                    "a raw Ed25519 key has " + std::to_string(kPublicKeyBytes));
    }
  }
  if (!strictly_ascending(keys.keys, std::less<>{})) {
    return refuse(role, field + ".keys", "not in ascending order, or one is there twice",
                  "each key counts once: a threshold is of people, not of copies");
  }
  if (keys.threshold == 0 || keys.threshold > keys.keys.size()) {
    return refuse(role, field + ".threshold", std::to_string(keys.threshold),
                  "with " + std::to_string(keys.keys.size()) + " keys it is 1 to " + std::to_string(keys.keys.size()));
  }
  if (keys.since_root == 0 || keys.since_root > root_version) {
    return refuse(role, field + ".since_root", std::to_string(keys.since_root),
                  "it is the version of a root, 1 to this one's " + std::to_string(root_version));
  }
  return {};
}

Result<void> validate_ref(TrustRole role, const std::string& field, const TrustFileRef& ref) {
  if (ref.version == 0) return refuse(role, field + ".version", "0", "the first is 1");
  if (ref.bytes == 0 || ref.bytes > kTrustFileBytesMax) {
    return refuse(role, field + ".bytes", std::to_string(ref.bytes), "1 to " + std::to_string(kTrustFileBytesMax));
  }
  if (ref.sha256.size() != kSha256Bytes) {
    return refuse(role, field + ".sha256", std::to_string(ref.sha256.size()) + " bytes", "a SHA-256 has 32");
  }
  return {};
}

Result<void> validate_since(TrustRole role, std::uint64_t since_root) {
  if (since_root == 0) return refuse(role, "since_root", "0", "the root says which; its first version is 1");
  return {};
}

template <class File>
Result<SignedTrust> wrap(TrustRole role, const File& file) {
  if (const auto ok = validate_trust(file); !ok) return fail(ok.error());
  SignedTrust out{role, encode(file), {}};
  // Room for the signatures that will come.
  const std::size_t most = kTrustFileBytesMax - kTrustSignaturesMax * (kKeyIdBytes + kSignatureBytes + 8);
  if (out.body.size() > most) {
    return refuse(role, "size", std::to_string(out.body.size()) + " bytes",
                  "at most " + std::to_string(most) + "; withdraw releases that nobody uses");
  }
  return out;
}

template <class File>
Result<File> read(const SignedTrust& signed_file, TrustRole role) {
  if (signed_file.role != role) {
    return fail(Code::kInvalid, std::string(trust_role_name(role)) + ": the file is a " +
                                    std::string(trust_role_name(signed_file.role)) + "; give a " +
                                    std::string(trust_role_name(role)));
  }
  auto file = decode<File>(signed_file.body, trust_role_name(role).data());
  if (!file) return file;
  if (const auto ok = validate_trust(*file); !ok) return fail(ok.error());
  return file;
}

const Bytes* find_key(const TrustKeys& keys, BytesView key_id) {
  const auto it =
      std::find_if(keys.keys.begin(), keys.keys.end(), [&](const Bytes& key) { return key_id_of_raw(key) == key_id; });
  return it == keys.keys.end() ? nullptr : &*it;
}

}  // namespace

std::string_view trust_role_name(TrustRole role) {
  switch (role) {
    case TrustRole::kRoot: return "root";
    case TrustRole::kTargets: return "targets";
    case TrustRole::kSnapshot: return "snapshot";
    case TrustRole::kTimestamp: return "timestamp";
  }
  return "unknown";
}

Result<void> validate_trust_pattern(std::string_view pattern) {
  std::string_view name = pattern;
  if (name.ends_with('*')) name.remove_suffix(1);
  if (pattern == "*" || validate_model_name(name)) return {};
  return fail(Code::kInvalid,
              "pattern " + shown(pattern) + ": give a model's name, its beginning and '*', or '*' for every model");
}

Result<void> validate_trust(const TrustRootFile& file) {
  constexpr TrustRole role = TrustRole::kRoot;
  if (auto ok = validate_head(role, file.head); !ok) return ok;
  if (auto ok = validate_keys("root", file.root, file.head.version); !ok) return ok;
  if (auto ok = validate_keys("snapshot", file.snapshot, file.head.version); !ok) return ok;
  if (auto ok = validate_keys("timestamp", file.timestamp, file.head.version); !ok) return ok;
  if (file.namespaces.size() > kTrustNamespacesMax) {
    return refuse(role, "namespaces", std::to_string(file.namespaces.size()) + " entries",
                  "at most " + std::to_string(kTrustNamespacesMax));
  }
  for (const TrustNamespace& one : file.namespaces) {
    if (const auto ok = validate_trust_pattern(one.pattern); !ok) {
      return fail(Code::kInvalid, "root: namespaces: " + ok.error().message);
    }
    if (auto ok = validate_keys("namespace " + one.pattern, one.signers, file.head.version); !ok) return ok;
  }
  if (!strictly_ascending(file.namespaces, [](const auto& a, const auto& b) { return a.pattern < b.pattern; })) {
    return refuse(role, "namespaces", "not in ascending order, or one is there twice", "sort them by their patterns");
  }
  if (file.note.size() > kTrustNoteBytesMax) {
    return refuse(role, "note", std::to_string(file.note.size()) + " bytes",
                  "at most " + std::to_string(kTrustNoteBytesMax));
  }
  return {};
}

Result<void> validate_trust(const TrustTargetsFile& file) {
  constexpr TrustRole role = TrustRole::kTargets;
  if (auto ok = validate_head(role, file.head); !ok) return ok;
  if (auto ok = validate_since(role, file.since_root); !ok) return ok;
  if (const auto ok = validate_trust_pattern(file.pattern); !ok) {
    return fail(Code::kInvalid, "targets: " + ok.error().message);
  }
  if (file.releases.size() > kTrustReleasesMax) {
    return refuse(role, "releases", std::to_string(file.releases.size()) + " entries",
                  "at most " + std::to_string(kTrustReleasesMax) + "; withdraw those that nobody uses");
  }
  for (const TrustRelease& release : file.releases) {
    if (const auto ok = validate_model_name(release.name); !ok) {
      return fail(Code::kInvalid, "targets: releases: " + ok.error().message);
    }
    if (const auto ok = validate_model_version(release.version); !ok) {
      return fail(Code::kInvalid, "targets: releases: " + ok.error().message);
    }
    if (!trust_pattern_matches(file.pattern, release.name)) {
      return refuse(role, "releases", "with " + shown(release.name),
                    "this file speaks of " + shown(file.pattern) + " only");
    }
    if (release.manifest_bytes == 0 || release.manifest_bytes > kManifestBytesMax) {
      return refuse(role, "manifest_bytes of " + release.name + " " + release.version,
                    std::to_string(release.manifest_bytes), "1 to " + std::to_string(kManifestBytesMax));
    }
    if (release.manifest_sha256.size() != kSha256Bytes) {
      return refuse(role, "manifest_sha256 of " + release.name + " " + release.version,
                    std::to_string(release.manifest_sha256.size()) + " bytes", "a SHA-256 has 32");
    }
  }
  const auto less = [](const TrustRelease& a, const TrustRelease& b) {
    return std::pair(BytesView(a.name), BytesView(a.version)) < std::pair(BytesView(b.name), BytesView(b.version));
  };
  if (!strictly_ascending(file.releases, less)) {
    return refuse(role, "releases", "not in ascending order, or one is there twice",
                  "a version has one content; sort them by name and version");
  }
  return {};
}

Result<void> validate_trust(const TrustSnapshotFile& file) {
  constexpr TrustRole role = TrustRole::kSnapshot;
  if (auto ok = validate_head(role, file.head); !ok) return ok;
  if (auto ok = validate_since(role, file.since_root); !ok) return ok;
  if (file.targets.size() > kTrustNamespacesMax) {
    return refuse(role, "targets", std::to_string(file.targets.size()) + " entries",
                  "at most " + std::to_string(kTrustNamespacesMax));
  }
  for (const SnapshotEntry& entry : file.targets) {
    if (const auto ok = validate_trust_pattern(entry.pattern); !ok) {
      return fail(Code::kInvalid, "snapshot: targets: " + ok.error().message);
    }
    if (auto ok = validate_ref(role, "targets of " + entry.pattern, entry.targets); !ok) return ok;
  }
  if (!strictly_ascending(file.targets, [](const auto& a, const auto& b) { return a.pattern < b.pattern; })) {
    return refuse(role, "targets", "not in ascending order, or one is there twice", "sort them by their patterns");
  }
  return {};
}

Result<void> validate_trust(const TrustTimestampFile& file) {
  constexpr TrustRole role = TrustRole::kTimestamp;
  if (auto ok = validate_head(role, file.head); !ok) return ok;
  if (auto ok = validate_since(role, file.since_root); !ok) return ok;
  if (file.head.expires_ms - file.head.made_ms > kTimestampLifeMsMax) {
    return refuse(role, "expires_ms", wall_words(file.head.expires_ms),
                  "a timestamp lives at most 31 days, this one was made at " + wall_words(file.head.made_ms));
  }
  return validate_ref(role, "snapshot", file.snapshot);
}

bool trust_pattern_matches(std::string_view pattern, std::string_view model) {
  if (!pattern.ends_with('*')) return pattern == model;
  pattern.remove_suffix(1);
  return model.starts_with(pattern);
}

const TrustNamespace* trust_namespace_of(const TrustRootFile& root, std::string_view model) {
  const TrustNamespace* best = nullptr;
  for (const TrustNamespace& one : root.namespaces) {
    if (!trust_pattern_matches(one.pattern, model)) continue;
    const bool exact = !one.pattern.ends_with('*');
    if (exact) return &one;
    if (best == nullptr || one.pattern.size() > best->pattern.size()) best = &one;
  }
  return best;
}

const TrustNamespace* find_trust_namespace(const TrustRootFile& root, std::string_view pattern) {
  const auto it = std::find_if(root.namespaces.begin(), root.namespaces.end(),
                               [&](const TrustNamespace& one) { return one.pattern == pattern; });
  return it == root.namespaces.end() ? nullptr : &*it;
}

Result<SignedTrust> make_trust(const TrustRootFile& file) { return wrap(TrustRole::kRoot, file); }
Result<SignedTrust> make_trust(const TrustTargetsFile& file) { return wrap(TrustRole::kTargets, file); }
Result<SignedTrust> make_trust(const TrustSnapshotFile& file) { return wrap(TrustRole::kSnapshot, file); }
Result<SignedTrust> make_trust(const TrustTimestampFile& file) { return wrap(TrustRole::kTimestamp, file); }

Result<void> add_trust_signature(SignedTrust& file, std::string_view private_pem) {
  const auto public_pem = public_key_of(private_pem);
  if (!public_pem) return fail(public_pem.error());
  auto key_id = key_id_of(*public_pem);
  if (!key_id) return fail(key_id.error());
  auto signature = sign_bytes(private_pem, signed_bytes(file));
  if (!signature) return fail(signature.error());
  const auto at = std::lower_bound(file.signatures.begin(), file.signatures.end(), *key_id,
                                   [](const TrustSignature& one, const Bytes& id) { return one.key_id < id; });
  if (at != file.signatures.end() && at->key_id == *key_id) {
    at->signature = std::move(*signature);
    return {};
  }
  if (file.signatures.size() == kTrustSignaturesMax) {
    return refuse(file.role, "signatures", std::to_string(file.signatures.size()) + " already",
                  "at most " + std::to_string(kTrustSignaturesMax));
  }
  file.signatures.insert(at, TrustSignature{std::move(*key_id), std::move(*signature)});
  return {};
}

Result<TrustFileRef> trust_file_ref(const SignedTrust& file) {
  const Bytes encoded = encode(file);
  std::uint64_t version = 0;
  switch (file.role) {
    case TrustRole::kTargets: {
      const auto targets = read_targets(file);
      if (!targets) return fail(targets.error());
      version = targets->head.version;
      break;
    }
    case TrustRole::kSnapshot: {
      const auto snapshot = read_snapshot(file);
      if (!snapshot) return fail(snapshot.error());
      version = snapshot->head.version;
      break;
    }
    default:
      return refuse(file.role, "role", std::string(trust_role_name(file.role)),
                    "other files name a targets or a snapshot file only");
  }
  return TrustFileRef{version, encoded.size(), sha256(encoded)};
}

Result<SignedTrust> parse_trust(BytesView encoded) {
  if (encoded.size() > kTrustFileBytesMax) {  // X2: before a byte is looked at
    return fail(Code::kCorrupt, "trust file: " + std::to_string(encoded.size()) + " bytes; at most " +
                                    std::to_string(kTrustFileBytesMax));
  }
  auto file = decode<SignedTrust>(encoded, "trust file");
  if (!file) return file;
  if (file->signatures.size() > kTrustSignaturesMax) {
    return refuse(file->role, "signatures", std::to_string(file->signatures.size()),
                  "at most " + std::to_string(kTrustSignaturesMax));
  }
  for (const TrustSignature& one : file->signatures) {
    if (one.key_id.size() != kKeyIdBytes || one.signature.size() != kSignatureBytes) {
      return refuse(
          file->role, "signatures", "one with another size",
          "a key id has " + std::to_string(kKeyIdBytes) + " bytes, a signature " + std::to_string(kSignatureBytes));
    }
  }
  if (!strictly_ascending(file->signatures, [](const auto& a, const auto& b) { return a.key_id < b.key_id; })) {
    return refuse(file->role, "signatures", "not in ascending order, or one key signed twice", "a key counts once");
  }
  return file;
}

Bytes trust_content_sha256(const SignedTrust& file) { return sha256(file.body); }

Result<SignedTrust> parse_trust(BytesView encoded, TrustRole role) {
  auto file = parse_trust(encoded);
  if (file && file->role != role) {
    return fail(Code::kDenied, std::string(trust_role_name(role)) + ": the file is a " +
                                   std::string(trust_role_name(file->role)) + " file; give one of role " +
                                   std::string(trust_role_name(role)));
  }
  return file;
}

std::size_t count_trust_signatures(const SignedTrust& file, const TrustKeys& keys) {
  const Bytes message = signed_bytes(file);
  std::size_t good = 0;
  for (const TrustSignature& one : file.signatures) {
    const Bytes* key = find_key(keys, one.key_id);
    if (key != nullptr && verify_with_raw_key(*key, message, one.signature)) ++good;
  }
  return good;
}

Result<void> check_trust_threshold(const SignedTrust& file, const TrustKeys& keys) {
  const std::size_t good = count_trust_signatures(file, keys);
  if (good >= keys.threshold) return {};
  std::string ids;
  for (const Bytes& key : keys.keys) ids += (ids.empty() ? "" : ", ") + to_hex(key_id_of_raw(key)).substr(0, 8);
  return fail(Code::kDenied, std::string(trust_role_name(file.role)) + ": signed by " + std::to_string(good) + " of " +
                                 std::to_string(keys.threshold) + " that are needed; the keys that count are " + ids);
}

Result<void> check_trust_signatures(const SignedTrust& file, const std::vector<const TrustKeys*>& sets) {
  const Bytes message = signed_bytes(file);
  for (const TrustSignature& one : file.signatures) {
    const Bytes* key = nullptr;
    for (const TrustKeys* keys : sets) {
      if (key == nullptr) key = find_key(*keys, one.key_id);
    }
    if (key == nullptr) {
      return fail(Code::kDenied, std::string(trust_role_name(file.role)) + ": a signature is by key " +
                                     to_hex(one.key_id).substr(0, 8) +
                                     ", which the root does not give this role; only its keys may sign");
    }
    if (const auto ok = verify_with_raw_key(*key, message, one.signature); !ok) {
      return fail(ok.error().code, std::string(trust_role_name(file.role)) + ": key " +
                                       to_hex(one.key_id).substr(0, 8) + ": " + ok.error().message);
    }
  }
  for (const TrustKeys* keys : sets) {
    if (auto ok = check_trust_threshold(file, *keys); !ok) return ok;
  }
  return {};
}

Result<TrustRootFile> read_root(const SignedTrust& file) { return read<TrustRootFile>(file, TrustRole::kRoot); }
Result<TrustTargetsFile> read_targets(const SignedTrust& file) {
  return read<TrustTargetsFile>(file, TrustRole::kTargets);
}
Result<TrustSnapshotFile> read_snapshot(const SignedTrust& file) {
  return read<TrustSnapshotFile>(file, TrustRole::kSnapshot);
}
Result<TrustTimestampFile> read_timestamp(const SignedTrust& file) {
  return read<TrustTimestampFile>(file, TrustRole::kTimestamp);
}

std::string wall_words(std::uint64_t wall_ms) {
  using namespace std::chrono;
  const sys_time<minutes> at = floor<minutes>(sys_time<milliseconds>(milliseconds(std::min(wall_ms, kTrustWallMsMax))));
  const auto day = floor<days>(at);
  const year_month_day date(day);
  const hh_mm_ss time(at - day);
  char text[40];
  std::snprintf(text, sizeof text, "%04d-%02u-%02u %02d:%02d UTC", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()));
  return text;
}

}  // namespace tidelock
