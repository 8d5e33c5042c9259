// Each command reads files, makes one new file, and says what it made and what comes next. Who signs is checked against
// the root first: a file that no gateway would take is not made.

#include "cli/key_commands.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>

#include "base/wall_clock.h"
#include "cli/config.h"
#include "cli/trust_words.h"
#include "codec/archive.h"
#include "codec/signature.h"
#include "codec/trust_state.h"
#include "store/models/release.h"

namespace tidelock {
namespace {

constexpr std::uint64_t kHourMs = 60ull * 60 * 1000, kDayMs = 24 * kHourMs;

TrustHead head_now(const std::string& domain, std::uint64_t version, std::uint64_t life_ms) {
  const std::uint64_t now = wall_ms_now();
  return {kTrustFormat, domain, version, now, now + life_ms};
}

// A root that enough of its own keys have signed: nobody signs under one that no gateway would take.
Result<Trust> read_root_file(const std::string& path) {
  const auto file = read_trust_file(path, TrustRole::kRoot);
  if (!file) return fail(file.error());
  auto trust = Trust::anchor(encode(*file));
  if (!trust)
    return fail(trust.error().code, path + ": " + trust.error().message + "; `tidelock key root sign` adds one");
  return trust;
}

Result<void> not_there_yet(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return {};
  return fail(Code::kConflict, path + " exists; a root overwrites nothing: choose another --out");
}

std::string all_words(const std::vector<const TrustKeys*>& sets) {
  std::string words;
  for (const TrustKeys* keys : sets) words += (words.empty() ? "" : " and ") + keys_words(*keys);
  return words;
}

// Signs with keys that `sets` name, and with no other.
Result<void> sign_with(SignedTrust& file, const std::vector<std::string>& key_files,
                       const std::vector<const TrustKeys*>& sets) {
  for (const std::string& path : key_files) {
    const auto pem = read_private_key("--key", path);
    if (!pem) return fail(pem.error());
    const auto public_pem = public_key_of(*pem);
    if (!public_pem) return fail(public_pem.error());
    const auto raw = raw_public_key_of(*public_pem);
    if (!raw) return fail(raw.error());
    const bool known = std::any_of(sets.begin(), sets.end(), [&](const TrustKeys* keys) {
      return std::find(keys->keys.begin(), keys->keys.end(), *raw) != keys->keys.end();
    });
    if (!known) {
      return fail(Code::kDenied, "--key " + path + ": key " + key_word(key_id_of_raw(*raw)) + " may not sign this " +
                                     std::string(trust_role_name(file.role)) + " file; it takes " + all_words(sets));
    }
    if (auto ok = add_trust_signature(file, *pem); !ok) return ok;
  }
  return {};
}

std::string count_words(const SignedTrust& file, const TrustKeys& keys) {
  return std::to_string(count_trust_signatures(file, keys)) + " of " + std::to_string(keys.threshold);
}

int wrote(const Common& common, const std::string& path, const SignedTrust& file, const std::string& next) {
  const auto words = trust_words(file);
  auto json = trust_json(file);
  if (!words || !json) return report(common, (words ? json.error() : words.error()));
  if (const auto ok = write_trust_file(path, file); !ok) return report(common, ok.error());
  (*json)["file"] = path;
  return done(common, std::move(*json), "wrote " + path + "\n" + *words + "\nnext: " + next);
}

// ---- keys

}  // namespace

int key_new(const Common& common, const KeyOptions& o) {
  const auto made = make_key_files(o.out);
  if (!made) return report(common, made.error());
  return done(common,
              {{"private_key", made->private_file}, {"public_key", made->public_file}, {"key_id", made->key_id}},
              "wrote " + made->private_file + " (mode 0600: whoever has it signs as you) and " + made->public_file +
                  "\nkey id " + made->key_id + "\nnext: take " + made->private_file + " off this machine, and give " +
                  made->public_file + " to whoever makes the root");
}

namespace {

// ---- root

// "camera*=cam.pub.pem", several times for several keys.
Result<std::vector<TrustNamespace>> read_namespaces(const std::vector<std::string>& given) {
  std::map<std::string, std::vector<std::string>> files;
  for (const std::string& one : given) {
    const std::size_t equals = one.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == one.size()) {
      return fail(Code::kInvalid,
                  "--namespace '" + one + "': must be PATTERN=PUBLIC-KEY-FILE, for example 'camera*=camera.pub.pem'");
    }
    if (const auto ok = validate_trust_pattern(one.substr(0, equals)); !ok) {
      return fail(Code::kInvalid, "--namespace: " + ok.error().message);
    }
    files[one.substr(0, equals)].push_back(one.substr(equals + 1));
  }
  std::vector<TrustNamespace> out;
  for (const auto& [pattern, paths] : files) {
    auto keys = read_public_keys("--namespace", paths);
    if (!keys) return fail(keys.error());
    out.push_back({pattern, {std::move(*keys), 1, 1}});
  }
  return out;
}

}  // namespace

int key_root_init(const Common& common, const KeyOptions& o) {
  if (const auto ok = not_there_yet(o.out); !ok) return report(common, ok.error());
  auto keys = read_public_keys("--key", o.keys);
  if (!keys) return report(common, keys.error());
  auto snapshot = read_public_keys("--snapshot", o.snapshot_keys);
  if (!snapshot) return report(common, snapshot.error());
  auto timestamp = read_public_keys("--timestamp", o.timestamp_keys);
  if (!timestamp) return report(common, timestamp.error());
  auto namespaces = read_namespaces(o.namespaces);
  if (!namespaces) return report(common, namespaces.error());
  TrustRootFile root;
  root.head = head_now(o.domain, 1, o.days * kDayMs);
  root.root = {std::move(*keys), o.threshold, 1};
  root.snapshot = {std::move(*snapshot), 1, 1};
  root.timestamp = {std::move(*timestamp), 1, 1};
  root.namespaces = std::move(*namespaces);
  root.note = o.note;
  const auto file = make_trust(root);
  if (!file) return report(common, file.error());
  return wrote(common, o.out, *file,
               std::to_string(o.threshold) +
                   " of those who hold the root keys read it and sign it, each where the "
                   "key lies: tidelock key root sign " +
                   o.out + " --key NAME.pem");
}

int key_root_sign(const Common& common, const KeyOptions& o) {
  auto file = read_trust_file(o.file, TrustRole::kRoot);
  if (!file) return report(common, file.error());
  const auto root = read_root(*file);
  if (!root) return report(common, root.error());
  std::optional<Trust> previous;
  if (!o.previous.empty()) {
    auto read = read_root_file(o.previous);
    if (!read) return report(common, read.error());
    previous = std::move(*read);
    if (previous->root()->head.version + 1 != root->head.version) {
      return report(
          common,
          Error{Code::kInvalid,
                "--previous " + o.previous + ": root " + std::to_string(previous->root()->head.version) + "; root " +
                    std::to_string(root->head.version) + " follows root " + std::to_string(root->head.version - 1),
                {},
                0});
    }
  }
  std::vector<const TrustKeys*> sets{&root->root};
  if (previous) sets.push_back(&previous->root()->root);
  if (const auto ok = sign_with(*file, o.keys, sets); !ok) {
    const bool hint = ok.error().code == Code::kDenied && !previous && root->head.version > 1;
    return report(common, ok.error(), hint ? "for a key of the root before, give that root with --previous" : "");
  }
  std::string counts = count_words(*file, root->root) + " of its own keys";
  Json json{{"file", o.file},
            {"version", root->head.version},
            {"signatures", count_trust_signatures(*file, root->root)},
            {"threshold", root->root.threshold}};
  bool whole = check_trust_threshold(*file, root->root).has_value();
  if (previous) {
    counts += " and " + count_words(*file, previous->root()->root) + " of root " +
              std::to_string(previous->root()->head.version) + "'s";
    json["previous_signatures"] = count_trust_signatures(*file, previous->root()->root);
    json["previous_threshold"] = previous->root()->root.threshold;
    whole = whole && check_trust_threshold(*file, previous->root()->root).has_value();
  }
  if (const auto ok = write_trust_file(o.file, *file); !ok) return report(common, ok.error());
  const std::string next = !whole ? "more of them sign"
                           : root->head.version > 1 && !previous
                               ? "keys of root " + std::to_string(root->head.version - 1) + " sign too, with --previous"
                               : "tidelock key verify --root " + (previous ? o.previous + " --root " : "") + o.file;
  return done(common, std::move(json),
              o.file + " is root " + std::to_string(root->head.version) + ", signed by " + counts + "\nnext: " + next);
}

namespace {

// The next root, in which `change` was made.
int next_root(const Common& common, const KeyOptions& o, const std::function<Result<void>(TrustRootFile&)>& change) {
  if (const auto ok = not_there_yet(o.out); !ok) return report(common, ok.error());
  const auto trust = read_root_file(o.root);
  if (!trust) return report(common, trust.error());
  TrustRootFile root = *trust->root();
  root.head = head_now(root.head.domain, root.head.version + 1, o.days * kDayMs);
  root.note = o.note;
  if (const auto ok = change(root); !ok) return report(common, ok.error());
  const auto file = make_trust(root);
  if (!file) return report(common, file.error());
  return wrote(common, o.out, *file,
               "keys of root " + std::to_string(root.head.version - 1) + " and of root " +
                   std::to_string(root.head.version) + " sign it: tidelock key root sign " + o.out + " --previous " +
                   o.root + " --key NAME.pem; then sign the files of the rotated role anew under it");
}

Result<void> rotate_namespace(const KeyOptions& o, TrustRootFile& root, const TrustKeys& keys) {
  if (o.name_space.empty()) {
    return fail(Code::kInvalid, "rotate targets: give --namespace PATTERN; `tidelock key show` lists those of a root");
  }
  if (auto ok = validate_trust_pattern(o.name_space); !ok) return ok;
  const auto at = std::lower_bound(root.namespaces.begin(), root.namespaces.end(), o.name_space,
                                   [](const TrustNamespace& one, const std::string& p) { return one.pattern < p; });
  const bool there = at != root.namespaces.end() && at->pattern == o.name_space;
  if (o.remove) {
    if (!there) {
      return fail(Code::kNotFound, "--namespace '" + o.name_space + "': root " + std::to_string(root.head.version - 1) +
                                       " has none of this pattern");
    }
    root.namespaces.erase(at);
  } else if (there) {
    at->signers = keys;
  } else {
    root.namespaces.insert(at, TrustNamespace{o.name_space, keys});
  }
  return {};
}

}  // namespace

int key_root_renew(const Common& common, const KeyOptions& o) {
  return next_root(common, o, [](TrustRootFile&) { return Result<void>{}; });
}

int key_rotate(const Common& common, const KeyOptions& o) {
  const bool targets = o.role == "targets";
  if (o.remove && !targets) {
    return report(common,
                  Error{Code::kInvalid, "--remove: only a namespace can go; a " + o.role + " has keys always", {}, 0});
  }
  if (!targets && !o.name_space.empty()) {
    return report(common, Error{Code::kInvalid, "--namespace belongs to `rotate targets`, not to " + o.role, {}, 0});
  }
  if (o.remove == !o.keys.empty()) {
    return report(common, Error{Code::kInvalid,
                                o.remove ? "--remove and --key exclude each other"
                                         : "give all keys that " + o.role + " shall have from now on, each with --key",
                                {},
                                0});
  }
  return next_root(common, o, [&](TrustRootFile& root) -> Result<void> {
    auto raw = read_public_keys("--key", o.keys);
    if (!raw) return fail(raw.error());
    const TrustKeys keys{std::move(*raw), o.threshold, root.head.version};
    if (targets) return rotate_namespace(o, root, keys);
    (o.role == "root" ? root.root : o.role == "snapshot" ? root.snapshot : root.timestamp) = keys;
    return {};
  });
}

namespace {

// ---- the catalogue

// What lies at --out already: the version to follow. Under new keys versions begin anew.
template <class File>
Result<std::optional<File>> former(const std::string& path, TrustRole role,
                                   Result<File> (*read)(const SignedTrust& file)) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::optional<File>{};
  const auto file = read_trust_file(path, role);
  if (!file) return fail(file.error());
  auto body = read(*file);
  if (!body) return fail(body.error());
  return std::optional<File>(std::move(*body));
}
template <class File>
std::uint64_t version_after(const std::optional<File>& before, std::uint64_t since_root) {
  return before && before->since_root == since_root ? before->head.version + 1 : 1;
}

// "camera:1.0.0=FOLDER"
Result<TrustRelease> read_release(const std::string& given, const std::string& publisher_pem,
                                  std::optional<std::uint32_t> tolerance_millionths) {
  const std::size_t colon = given.find(':'), equals = given.find('=');
  if (colon == std::string::npos || equals == std::string::npos || equals < colon) {
    return fail(Code::kInvalid,
                "--release '" + given + "': must be NAME:VERSION=FOLDER, for example camera:1.0.0=camera-1.0.0/");
  }
  TrustRelease out{given.substr(0, colon), given.substr(colon + 1, equals - colon - 1), 0, {}};
  const auto release =
      build_release(given.substr(equals + 1), out.name, out.version, publisher_pem, {}, tolerance_millionths);
  if (!release) return fail(release.error());
  const Bytes manifest = encode(release->signed_manifest);
  out.manifest_bytes = manifest.size();
  out.manifest_sha256 = sha256(manifest);
  return out;
}

Result<void> change_releases(const KeyOptions& o, TrustTargetsFile& targets) {
  const auto at = [&](const std::string& name, const std::string& version) {
    return std::find_if(targets.releases.begin(), targets.releases.end(),
                        [&](const TrustRelease& one) { return one.name == name && one.version == version; });
  };
  for (const std::string& one : o.withdrawn) {
    const std::size_t colon = one.find(':');
    const auto found =
        colon == std::string::npos ? targets.releases.end() : at(one.substr(0, colon), one.substr(colon + 1));
    if (found == targets.releases.end()) {
      return fail(Code::kNotFound, "--withdraw '" + one + "': " + o.out +
                                       " has no such release; give NAME:VERSION of one that `tidelock key show` lists");
    }
    targets.releases.erase(found);
  }
  std::string publisher;
  if (!o.releases.empty()) {
    if (o.publisher.empty()) {
      return fail(Code::kInvalid,
                  "--release needs --publisher, the key with which `tidelock model publish` signs: the "
                  "digest is of the manifest that it makes");
    }
    auto pem = read_private_key("--publisher", o.publisher);
    if (!pem) return fail(pem.error());
    publisher = std::move(*pem);
  }
  std::optional<std::uint32_t> tolerance;
  if (!o.tolerance.empty()) {
    if (o.releases.empty()) return fail(Code::kInvalid, "--tolerance is of what --release gives, and none is given");
    const auto parsed = parse_tolerance(o.tolerance);
    if (!parsed) return fail(parsed.error().code, "--tolerance: " + parsed.error().message);
    tolerance = *parsed;
  }
  for (const std::string& one : o.releases) {
    auto release = read_release(one, publisher, tolerance);
    if (!release) return fail(release.error());
    if (const auto there = at(release->name, release->version); there != targets.releases.end()) {
      if (*there == *release) continue;
      return fail(Code::kConflict,
                  "--release " + release->name + ":" + release->version +
                      ": signed before with another content; a version never changes, choose a new number");
    }
    targets.releases.push_back(std::move(*release));
  }
  std::sort(targets.releases.begin(), targets.releases.end(), [](const TrustRelease& a, const TrustRelease& b) {
    return std::pair(a.name, a.version) < std::pair(b.name, b.version);
  });
  return {};
}

}  // namespace

int key_targets(const Common& common, const KeyOptions& o) {
  const auto trust = read_root_file(o.root);
  if (!trust) return report(common, trust.error());
  const TrustNamespace* one = find_trust_namespace(*trust->root(), o.name_space);
  if (one == nullptr) {
    return report(
        common, Error{Code::kNotFound, "--namespace '" + o.name_space + "': the root gives nobody this pattern", {}, 0},
        "`tidelock key show " + o.root + "` lists those it has; `tidelock key rotate targets` adds one");
  }
  const auto before = former<TrustTargetsFile>(o.out, TrustRole::kTargets, read_targets);
  if (!before) return report(common, before.error());
  if (*before && (*before)->pattern != o.name_space) {
    return report(
        common,
        Error{
            Code::kConflict, o.out + ": it is of namespace '" + (*before)->pattern + "'; choose another --out", {}, 0});
  }
  TrustTargetsFile targets;
  if (*before) targets = **before;
  targets.pattern = o.name_space;
  targets.since_root = one->signers.since_root;
  targets.head =
      head_now(trust->root()->head.domain, version_after(*before, targets.since_root), o.targets_days * kDayMs);
  if (const auto ok = change_releases(o, targets); !ok) return report(common, ok.error());
  for (const TrustRelease& release : targets.releases) {
    if (const TrustNamespace* owner = trust_namespace_of(*trust->root(), release.name); owner != one) {
      return report(common, Error{Code::kDenied,
                                  "'" + release.name + "' does not belong to namespace '" + o.name_space + "'" +
                                      (owner == nullptr ? "" : ", but to '" + owner->pattern + "'"),
                                  {},
                                  0});
    }
  }
  auto file = make_trust(targets);
  if (!file) return report(common, file.error());
  if (const auto ok = sign_with(*file, o.keys, {&one->signers}); !ok) return report(common, ok.error());
  return wrote(common, o.out, *file,
               check_trust_threshold(*file, one->signers)
                   ? "tidelock key snapshot, with the targets files of all namespaces"
                   : "more of its keys sign: tidelock key sign " + o.out + " --root " + o.root + " --key NAME.pem");
}

int key_snapshot(const Common& common, const KeyOptions& o) {
  const auto trust = read_root_file(o.root);
  if (!trust) return report(common, trust.error());
  const TrustRootFile& root = *trust->root();
  const auto before = former<TrustSnapshotFile>(o.out, TrustRole::kSnapshot, read_snapshot);
  if (!before) return report(common, before.error());
  TrustSnapshotFile snapshot;
  snapshot.since_root = root.snapshot.since_root;
  snapshot.head = head_now(root.head.domain, version_after(*before, snapshot.since_root), o.snapshot_days * kDayMs);
  for (const std::string& path : o.targets) {
    const auto file = read_trust_file(path, TrustRole::kTargets);
    if (!file) return report(common, file.error());
    const auto targets = read_targets(*file);
    if (!targets) return report(common, targets.error());
    const TrustNamespace* one = find_trust_namespace(root, targets->pattern);
    if (one == nullptr) {
      return report(common,
                    Error{Code::kDenied, path + ": the root gives nobody namespace '" + targets->pattern + "'", {}, 0});
    }
    if (targets->since_root != one->signers.since_root) {
      return report(common, Error{Code::kDenied,
                                  path + ": its keys are of root " + std::to_string(targets->since_root) +
                                      ", they were rotated in root " + std::to_string(one->signers.since_root) +
                                      "; make it anew with `tidelock key targets`",
                                  {},
                                  0});
    }
    if (const auto ok = check_trust_signatures(*file, {&one->signers}); !ok) {
      return report(common, Error{ok.error().code, path + ": " + ok.error().message, {}, 0});
    }
    snapshot.targets.push_back({targets->pattern, *trust_file_ref(*file)});
  }
  std::sort(snapshot.targets.begin(), snapshot.targets.end(),
            [](const SnapshotEntry& a, const SnapshotEntry& b) { return a.pattern < b.pattern; });
  auto file = make_trust(snapshot);
  if (!file) return report(common, file.error());
  if (const auto ok = sign_with(*file, o.keys, {&root.snapshot}); !ok) return report(common, ok.error());
  return wrote(common, o.out, *file, "tidelock key timestamp --snapshot " + o.out);
}

int key_timestamp(const Common& common, const KeyOptions& o) {
  const auto trust = read_root_file(o.root);
  if (!trust) return report(common, trust.error());
  const TrustRootFile& root = *trust->root();
  const auto before = former<TrustTimestampFile>(o.out, TrustRole::kTimestamp, read_timestamp);
  if (!before) return report(common, before.error());
  const auto snapshot = read_trust_file(o.snapshot_file, TrustRole::kSnapshot);
  if (!snapshot) return report(common, snapshot.error());
  if (const auto ok = check_trust_signatures(*snapshot, {&root.snapshot}); !ok) {
    return report(common, Error{ok.error().code, o.snapshot_file + ": " + ok.error().message, {}, 0});
  }
  const auto ref = trust_file_ref(*snapshot);
  if (!ref) return report(common, ref.error());
  TrustTimestampFile timestamp;
  timestamp.since_root = root.timestamp.since_root;
  timestamp.head = head_now(root.head.domain, version_after(*before, timestamp.since_root), o.hours * kHourMs);
  timestamp.snapshot = *ref;
  auto file = make_trust(timestamp);
  if (!file) return report(common, file.error());
  if (const auto ok = sign_with(*file, o.keys, {&root.timestamp}); !ok) return report(common, ok.error());
  return wrote(common, o.out, *file,
               "tidelock key verify with all files; make it anew well before it expires, by a timer");
}

// A further signature under a file whose role has a threshold above one.
int key_sign(const Common& common, const KeyOptions& o) {
  const auto trust = read_root_file(o.root);
  if (!trust) return report(common, trust.error());
  auto file = read_trust_file(o.file);
  if (!file) return report(common, file.error());
  const TrustRootFile& root = *trust->root();
  const TrustKeys* keys = nullptr;
  if (file->role == TrustRole::kSnapshot) keys = &root.snapshot;
  if (file->role == TrustRole::kTimestamp) keys = &root.timestamp;
  if (file->role == TrustRole::kTargets) {
    const auto targets = read_targets(*file);
    if (!targets) return report(common, targets.error());
    const TrustNamespace* one = find_trust_namespace(root, targets->pattern);
    if (one != nullptr) keys = &one->signers;
  }
  if (keys == nullptr) {
    return report(
        common,
        Error{Code::kInvalid, o.file + ": root " + std::to_string(root.head.version) + " has no keys for it", {}, 0},
        file->role == TrustRole::kRoot ? "a root is signed with `tidelock key root sign`" : "");
  }
  if (const auto ok = sign_with(*file, o.keys, {keys}); !ok) return report(common, ok.error());
  return wrote(
      common, o.file, *file,
      "signed by " + count_words(*file, *keys) + " that are needed; a file above that names this one is made anew");
}

// ---- to look

int key_show(const Common& common, const KeyOptions& o) {
  const std::string& path = o.file;
  const auto bytes = read_file(path);
  if (!bytes) return report(common, bytes.error());
  if (bytes->starts_with("-----BEGIN")) {
    const auto from_private = public_key_of(*bytes);
    const auto raw = raw_public_key_of(from_private ? *from_private : *bytes);
    if (!raw) return report(common, Error{raw.error().code, path + ": " + raw.error().message, {}, 0});
    const std::string id = to_hex(key_id_of_raw(*raw)), kind = from_private ? "private" : "public";
    return done(common, {{"kind", kind + "_key"}, {"key_id", id}},
                path + ": an Ed25519 " + kind + " key, id " + id + ", in short " + id.substr(0, 8) +
                    (from_private ? "\nwhoever has this file signs as its owner" : ""));
  }
  const auto file = read_trust_file(path);
  if (!file) return report(common, file.error());
  const auto words = trust_words(*file);
  if (!words) return report(common, Error{words.error().code, path + ": " + words.error().message, {}, 0});
  auto json = trust_json(*file);
  if (!json) return report(common, json.error());
  (*json)["kind"] = "trust_file";
  return done(common, std::move(*json),
              *words + "\nthis says what the file holds; `tidelock key verify` says whether to believe it");
}

namespace {

Result<void> whole_catalogue(const KeyOptions& o) {
  if (o.timestamp_file.empty() == o.snapshot_file.empty() && (!o.timestamp_file.empty() || o.targets.empty()))
    return {};
  return fail(Code::kInvalid,
              "a catalogue is --timestamp, --snapshot and every --targets file that the snapshot names");
}

// The whole way that a gateway goes, from the first root given.
Result<Trust> believe(const KeyOptions& o) {
  std::optional<Trust> trust;
  for (const std::string& path : o.roots) {
    const auto file = read_trust_file(path, TrustRole::kRoot);
    if (!file) return fail(file.error());
    if (!trust) {
      auto first = Trust::anchor(encode(*file));
      if (!first) return fail(first.error().code, path + ": " + first.error().message);
      trust = std::move(*first);
    } else if (const auto ok = trust->accept_root(encode(*file)); !ok) {
      return fail(ok.error().code, path + ": " + ok.error().message);
    }
  }
  if (const auto whole = whole_catalogue(o); !whole) return fail(whole.error());
  if (o.timestamp_file.empty()) return std::move(*trust);
  const auto timestamp = read_trust_file(o.timestamp_file), snapshot = read_trust_file(o.snapshot_file);
  if (!timestamp) return fail(timestamp.error());
  if (!snapshot) return fail(snapshot.error());
  std::vector<Bytes> targets;
  for (const std::string& path : o.targets) {
    const auto file = read_trust_file(path);
    if (!file) return fail(file.error());
    targets.push_back(encode(*file));
  }
  if (const auto ok = trust->accept_catalogue(encode(*timestamp), encode(*snapshot), targets); !ok)
    return fail(ok.error());
  return std::move(*trust);
}

}  // namespace

int key_verify(const Common& common, const KeyOptions& o) {
  const auto trust = believe(o);
  if (!trust) return report(common, trust.error());
  const auto standing = trust->standing(wall_ms_now());
  Json json{{"standing", trust_standing_name(standing.what)},
            {"root", trust->root()->head.version},
            {"releases", Json::array()}};
  std::string text = "root " + std::to_string(trust->root()->head.version) + " of '" + trust->root()->head.domain +
                     "' holds, " + keys_words(trust->root()->root);
  if (o.timestamp_file.empty()) {
    if (trust->root()->head.expires_ms <= wall_ms_now()) {
      return report(common, Error{Code::kStale, "root expired at " + wall_words(trust->root()->head.expires_ms), {}, 0},
                    "`tidelock key root renew` makes the next one");
    }
    return done(common, std::move(json), text + "\nno catalogue was given");
  }
  if (standing.what != TrustStanding::kFresh) return report(common, Error{Code::kStale, standing.why, {}, 0});
  json["until_ms"] = standing.until_ms;
  text += "\nthe catalogue holds until " + wall_words(standing.until_ms) + "; it allows";
  std::size_t releases = 0;
  for (const SnapshotEntry& entry : trust->snapshot()->targets) {
    for (const TrustRelease& one : trust->targets(entry.pattern)->releases) {
      json["releases"].push_back({{"name", one.name}, {"version", one.version}, {"namespace", entry.pattern}});
      text += "\n  " + one.name + " " + one.version;
      ++releases;
    }
  }
  return done(common, std::move(json), releases == 0 ? text + " nothing" : text);
}

int key_push(const Common& common, const KeyOptions& o) {
  PushTrust push;
  const auto read = [](const std::string& path, TrustRole role, Bytes& into) -> Result<void> {
    const auto file = read_trust_file(path, role);
    if (!file) return fail(file.error());
    into = encode(*file);
    return {};
  };
  for (const std::string& path : o.roots) {
    if (const auto ok = read(path, TrustRole::kRoot, push.roots.emplace_back()); !ok) return report(common, ok.error());
  }
  if (const auto whole = whole_catalogue(o); !whole) return report(common, whole.error());
  if (!o.timestamp_file.empty()) {
    if (const auto ok = read(o.timestamp_file, TrustRole::kTimestamp, push.timestamp); !ok)
      return report(common, ok.error());
    if (const auto ok = read(o.snapshot_file, TrustRole::kSnapshot, push.snapshot); !ok)
      return report(common, ok.error());
  }
  for (const std::string& path : o.targets) {
    if (const auto ok = read(path, TrustRole::kTargets, push.targets.emplace_back()); !ok)
      return report(common, ok.error());
  }
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const auto answer = (*cluster)->ask(std::move(push));
  if (!answer)
    return report(common, answer.error(), "is a majority of the hubs up? try `tidelock --config FILE status`");
  if (answer->code != Code::kOk) return report(common, Error{answer->code, answer->message, {}, 0});
  return done(common, {{"index", answer->index.value}, {"hub", answer->hub}},
              "in the ledger at index " + std::to_string(answer->index.value) +
                  "; every gateway checks it by itself, and stages nothing that it does not allow");
}

}  // namespace tidelock
