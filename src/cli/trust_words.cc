#include "cli/trust_words.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cli/config.h"
#include "cli/words.h"
#include "codec/archive.h"
#include "codec/signature.h"
#include "store/models/files.h"

namespace tidelock {
namespace {

// Whole or not at all, and never over what is there: a key that is overwritten is gone.
Result<void> write_new(const std::string& path, const std::string& text, unsigned mode) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, static_cast<mode_t>(mode));
  if (fd < 0 && errno == EEXIST) {
    return fail(Code::kConflict, path + " exists; a key overwrites nothing: choose another --out, or move it away");
  }
  if (fd < 0) return fail(Code::kInvalid, path + ": " + std::strerror(errno));
  const bool good = ::fchmod(fd, static_cast<mode_t>(mode)) == 0 &&
                    ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(fd) == 0;
  const int cause = errno;
  ::close(fd);
  if (good) return {};
  ::unlink(path.c_str());
  return fail(Code::kBusy, path + ": " + std::strerror(cause));
}

std::string head_words(TrustRole role, const TrustHead& head, const SignedTrust& file) {
  std::string out = std::string(trust_role_name(role)) + " version " + std::to_string(head.version) + " of '" +
                    head.domain + "', made " + wall_words(head.made_ms) + ", expires " + wall_words(head.expires_ms) +
                    "\n";
  out += "  signed by: ";
  if (file.signatures.empty()) out += "nobody yet";
  for (std::size_t i = 0; i < file.signatures.size(); ++i) {
    out += (i == 0 ? "" : ", ") + key_word(file.signatures[i].key_id);
  }
  return out;
}
Json head_json(TrustRole role, const TrustHead& head, const SignedTrust& file) {
  Json signers = Json::array();
  for (const TrustSignature& one : file.signatures) signers.push_back(to_hex(one.key_id));
  return {{"role", trust_role_name(role)}, {"domain", head.domain},         {"version", head.version},
          {"made_ms", head.made_ms},       {"expires_ms", head.expires_ms}, {"signed_by", signers}};
}

Json keys_json(const TrustKeys& keys) {
  Json ids = Json::array();
  for (const Bytes& key : keys.keys) ids.push_back(to_hex(key_id_of_raw(key)));
  return {{"threshold", keys.threshold}, {"keys", ids}, {"since_root", keys.since_root}};
}
Json ref_json(const TrustFileRef& ref) {
  return {{"version", ref.version}, {"bytes", ref.bytes}, {"sha256", to_hex(ref.sha256)}};
}
std::string ref_words(const TrustFileRef& ref) {
  return "version " + std::to_string(ref.version) + ", " + std::to_string(ref.bytes) + " bytes, sha256 " +
         to_hex(ref.sha256);
}

}  // namespace

Result<NewKey> make_key_files(const std::string& name) {
  const auto key = make_signing_key();
  if (!key) return fail(key.error());
  const NewKey made{name + ".pem", name + ".pub.pem", to_hex(*key_id_of(key->public_pem))};
  if (const auto ok = write_new(made.private_file, key->private_pem, 0600); !ok) return fail(ok.error());
  if (const auto ok = write_new(made.public_file, key->public_pem, 0644); !ok) {
    ::unlink(made.private_file.c_str());  // nobody has seen it: half a pair helps nobody
    return fail(ok.error());
  }
  return made;
}

Result<std::vector<Bytes>> read_public_keys(const std::string& option, const std::vector<std::string>& paths) {
  std::vector<Bytes> keys;
  for (const std::string& path : paths) {
    const auto pem = read_file(path);
    if (!pem) return fail(Code::kInvalid, option + " " + pem.error().message);
    auto raw = raw_public_key_of(*pem);
    if (!raw) {
      const bool is_private = public_key_of(*pem).has_value();
      return fail(Code::kInvalid, option + " " + path + ": " +
                                      (is_private ? "a private key; give its public half, NAME.pub.pem"
                                                  : raw.error().message + "; `tidelock key new` makes one"));
    }
    if (std::find(keys.begin(), keys.end(), *raw) != keys.end()) {
      return fail(Code::kInvalid, option + " " + path + ": this key is given twice; a key counts once");
    }
    keys.push_back(std::move(*raw));
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

Result<std::string> read_private_key(const std::string& option, const std::string& path) {
  auto pem = read_file(path);
  if (!pem) return fail(Code::kInvalid, option + " " + pem.error().message);
  if (const auto ok = public_key_of(*pem); !ok) {
    const bool is_public = raw_public_key_of(*pem).has_value();
    return fail(Code::kInvalid, option + " " + path + ": " +
                                    (is_public ? "a public key; to sign give its private half, NAME.pem"
                                               : ok.error().message + "; `tidelock key new` makes one"));
  }
  return pem;
}

Result<SignedTrust> read_trust_file(const std::string& path) {
  const auto bytes = files::read_all(path, kTrustFileBytesMax);
  if (!bytes) return fail(bytes.error());
  auto file = parse_trust(*bytes);
  if (!file) {
    return fail(file.error().code, path + ": " + file.error().message +
                                       "; a trust file is made by `tidelock key root init`, `targets`, `snapshot` or "
                                       "`timestamp`");
  }
  return file;
}

Result<SignedTrust> read_trust_file(const std::string& path, TrustRole role) {
  auto file = read_trust_file(path);
  if (!file || file->role == role) return file;
  const std::string is(trust_role_name(file->role)), wanted(trust_role_name(role));
  return fail(Code::kInvalid, path + ": a " + is + " file; give a " + wanted + " file here");
}

Result<void> write_trust_file(const std::string& path, const SignedTrust& file) {
  std::error_code error;
  const auto whole = std::filesystem::absolute(path, error);  // its folder is synced, so it must have one
  if (error) return fail(Code::kInvalid, path + ": " + error.message());
  return files::replace(whole.string(), encode(file));
}

std::string key_word(BytesView key_id) { return to_hex(key_id.substr(0, 4)); }

std::string keys_words(const TrustKeys& keys) {
  std::string ids;
  for (const Bytes& key : keys.keys) ids += (ids.empty() ? "" : ", ") + key_word(key_id_of_raw(key));
  return std::to_string(keys.threshold) + " of " + std::to_string(keys.keys.size()) +
         (keys.keys.size() == 1 ? " key (" : " keys (") + ids + "), since root " + std::to_string(keys.since_root);
}

Result<std::string> trust_words(const SignedTrust& file) {
  std::string out;
  if (file.role == TrustRole::kRoot) {
    const auto root = read_root(file);
    if (!root) return fail(root.error());
    out = head_words(file.role, root->head, file) + "\n  root:      " + keys_words(root->root) +
          "\n  snapshot:  " + keys_words(root->snapshot) + "\n  timestamp: " + keys_words(root->timestamp);
    for (const TrustNamespace& one : root->namespaces) {
      out += "\n  models '" + one.pattern + "': " + keys_words(one.signers);
    }
    out += "\n  content:   SHA-256 " + to_hex(trust_content_sha256(file));
    if (root->namespaces.empty()) out += "\n  no namespace: no model may be installed under it";
    if (!root->note.empty()) out += "\n  note: " + shown_text(root->note);
  } else if (file.role == TrustRole::kTargets) {
    const auto targets = read_targets(file);
    if (!targets) return fail(targets.error());
    out = head_words(file.role, targets->head, file) + "\n  models '" + targets->pattern + "', keys since root " +
          std::to_string(targets->since_root);
    for (const TrustRelease& one : targets->releases) {
      out += "\n  " + one.name + " " + one.version + "  manifest of " + std::to_string(one.manifest_bytes) +
             " bytes, sha256 " + to_hex(one.manifest_sha256);
    }
    if (targets->releases.empty()) out += "\n  no release: nothing of this namespace may be installed";
  } else if (file.role == TrustRole::kSnapshot) {
    const auto snapshot = read_snapshot(file);
    if (!snapshot) return fail(snapshot.error());
    out = head_words(file.role, snapshot->head, file) + "\n  keys since root " + std::to_string(snapshot->since_root);
    for (const SnapshotEntry& one : snapshot->targets) {
      out += "\n  targets '" + one.pattern + "' " + ref_words(one.targets);
    }
  } else {
    const auto timestamp = read_timestamp(file);
    if (!timestamp) return fail(timestamp.error());
    out = head_words(file.role, timestamp->head, file) + "\n  keys since root " +
          std::to_string(timestamp->since_root) + "\n  snapshot " + ref_words(timestamp->snapshot);
  }
  return out;
}

Result<Json> trust_json(const SignedTrust& file) {
  if (file.role == TrustRole::kRoot) {
    const auto root = read_root(file);
    if (!root) return fail(root.error());
    Json json = head_json(file.role, root->head, file);
    json["keys"] = {{"root", keys_json(root->root)},
                    {"snapshot", keys_json(root->snapshot)},
                    {"timestamp", keys_json(root->timestamp)}};
    json["namespaces"] = Json::object();
    for (const TrustNamespace& one : root->namespaces) json["namespaces"][one.pattern] = keys_json(one.signers);
    json["note"] = shown_text(root->note);
    json["content_sha256"] = to_hex(trust_content_sha256(file));
    return json;
  }
  if (file.role == TrustRole::kTargets) {
    const auto targets = read_targets(file);
    if (!targets) return fail(targets.error());
    Json json = head_json(file.role, targets->head, file);
    json["since_root"] = targets->since_root;
    json["namespace"] = targets->pattern;
    json["releases"] = Json::array();
    for (const TrustRelease& one : targets->releases) {
      json["releases"].push_back({{"name", one.name},
                                  {"version", one.version},
                                  {"manifest_bytes", one.manifest_bytes},
                                  {"manifest_sha256", to_hex(one.manifest_sha256)}});
    }
    return json;
  }
  if (file.role == TrustRole::kSnapshot) {
    const auto snapshot = read_snapshot(file);
    if (!snapshot) return fail(snapshot.error());
    Json json = head_json(file.role, snapshot->head, file);
    json["since_root"] = snapshot->since_root;
    json["targets"] = Json::object();
    for (const SnapshotEntry& one : snapshot->targets) json["targets"][one.pattern] = ref_json(one.targets);
    return json;
  }
  const auto timestamp = read_timestamp(file);
  if (!timestamp) return fail(timestamp.error());
  Json json = head_json(file.role, timestamp->head, file);
  json["since_root"] = timestamp->since_root;
  json["snapshot"] = ref_json(timestamp->snapshot);
  return json;
}

}  // namespace tidelock
