// accept_catalogue goes from the top down, and each step opens the next: the root's keys open the timestamp, its digest
// the snapshot, whose digests open the targets files. Within a file the order is length, digest, signature, and only
// then a byte is parsed. All is built beside what is held, and swapped in at the end.

#include "codec/trust_state.h"

#include <algorithm>
#include <utility>

#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"

namespace tidelock {
namespace {

constexpr std::size_t kSavedBytesMax = (kTrustNamespacesMax + 3) * (kTrustFileBytesMax + 512);
constexpr char kClock[] = "clock";

std::string targets_role(std::string_view pattern) { return "targets " + std::string(pattern); }

tl::unexpected<Error> deny(const std::string& what) { return fail(Code::kDenied, what); }

// A file of a role that the root gave its keys at `keys.since_root`: made by the present keys' generation, and not
// older than what was accepted.
Result<void> check_order(const std::string& role, const TrustHead& head, std::uint64_t since_root,
                         const TrustKeys& keys, const std::string& domain, TrustFloor floor) {
  if (head.domain != domain) {
    return deny(role + ": domain is '" + head.domain + "'; the root's is '" + domain +
                "': a file of another publisher");
  }
  if (since_root != keys.since_root) {
    return deny(role + ": since_root is " + std::to_string(since_root) + "; the root says " +
                std::to_string(keys.since_root) + ": the keys were rotated, sign the file anew under this root");
  }
  if (TrustFloor{since_root, head.version} < floor) {
    return deny(role + ": version is " + std::to_string(head.version) + "; " + std::to_string(floor.value) +
                " was accepted before: an older file is played back (rollback)");
  }
  return {};
}

// One version has one content; that it is signed by one key more is no other content.
template <class Held>
Result<void> check_same(const std::string& role, const Held* held, const TrustHead& head, std::uint64_t since_root,
                        const SignedTrust& fresh) {
  if (held == nullptr || held->file.since_root != since_root || held->file.head.version != head.version) return {};
  const auto before = parse_trust(held->encoded);
  if (before && before->body == fresh.body) return {};
  return deny(role + ": version " + std::to_string(head.version) +
              " has another content than the one accepted before; a change needs a new version");
}

template <class Held>
const Held* held_at(const std::optional<Held>& held) {
  return held ? &*held : nullptr;
}

// Length first, so that nobody hashes what never ends; both before a byte is parsed.
Result<void> check_ref(const std::string& role, const char* above, const TrustFileRef& ref, BytesView encoded,
                       const char* otherwise = "files of two catalogues are mixed (mix-and-match)") {
  if (encoded.size() != ref.bytes) {
    return deny(role + ": " + std::to_string(encoded.size()) + " bytes; the " + above + " names one of " +
                std::to_string(ref.bytes) + (encoded.size() > ref.bytes ? " (endless data)" : ""));
  }
  const Bytes digest = sha256(encoded);
  if (digest != ref.sha256) {
    return deny(role + ": its SHA-256 is " + to_hex(digest).substr(0, 16) + "...; the " + above + " names " +
                to_hex(ref.sha256).substr(0, 16) + "...: " + otherwise);
  }
  return {};
}

Result<void> check_version(const std::string& role, const char* above, std::uint64_t named, std::uint64_t version) {
  if (named == version) return {};
  return deny(role + ": version is " + std::to_string(version) + "; the " + above + " names " + std::to_string(named) +
              " (mix-and-match)");
}

// What a role may sign for: a key that goes begins its versions anew, a key that comes need not.
Result<void> check_succession(const std::string& role, const TrustKeys* before, const TrustKeys& after,
                              std::uint64_t version) {
  if (after.since_root == version) return {};
  const auto right = "; it must be " + std::to_string(version) + ", this root's version";
  if (before == nullptr) {
    return deny("root: since_root of the new " + role + " is " + std::to_string(after.since_root) + right);
  }
  if (after.since_root != before->since_root) {
    return deny("root: since_root of " + role + " is " + std::to_string(after.since_root) + right + ", or stay " +
                std::to_string(before->since_root));
  }
  if (!std::includes(after.keys.begin(), after.keys.end(), before->keys.begin(), before->keys.end())) {
    return deny("root: a key is taken from " + role + " and since_root stays " + std::to_string(after.since_root) +
                right + ", so that what the key has signed ends with it");
  }
  return {};
}

Result<void> check_successor(const TrustRootFile& before, const TrustRootFile& after) {
  const std::uint64_t version = after.head.version;
  if (after.head.domain != before.head.domain) {
    return deny("root: domain is '" + after.head.domain + "'; the trusted root's is '" + before.head.domain +
                "': a file of another publisher");
  }
  if (auto ok = check_succession("root", &before.root, after.root, version); !ok) return ok;
  if (auto ok = check_succession("snapshot", &before.snapshot, after.snapshot, version); !ok) return ok;
  if (auto ok = check_succession("timestamp", &before.timestamp, after.timestamp, version); !ok) return ok;
  for (const TrustNamespace& one : after.namespaces) {
    const TrustNamespace* former = find_trust_namespace(before, one.pattern);
    const std::string role = "namespace '" + one.pattern + "'";
    if (auto ok = check_succession(role, former == nullptr ? nullptr : &former->signers, one.signers, version); !ok) {
      return ok;
    }
  }
  return {};
}

}  // namespace

std::string_view trust_standing_name(TrustStanding standing) {
  switch (standing) {
    case TrustStanding::kUnset: return "unset";
    case TrustStanding::kNoCatalogue: return "no_catalogue";
    case TrustStanding::kFresh: return "fresh";
    case TrustStanding::kExpired: return "expired";
  }
  return "unknown";
}

struct Trust::Row {
  std::uint32_t format = kTrustFormat;
  Bytes root, timestamp, snapshot;
  std::vector<Bytes> targets;
  std::vector<std::pair<std::string, TrustFloor>> floors;
  template <class A>
  void fields(A& a) {
    a(format, root, timestamp, snapshot, targets, floors);
  }
};

Bytes Trust::save() const {
  Row row;
  if (root_) row.root = root_->encoded;
  if (timestamp_) row.timestamp = timestamp_->encoded;
  if (snapshot_) row.snapshot = snapshot_->encoded;
  for (const auto& [pattern, held] : targets_) row.targets.push_back(held.encoded);
  for (const auto& [role, floor] : floors_) row.floors.emplace_back(role, floor);
  return encode(row);
}

Result<Trust::Row> Trust::read_row(BytesView saved) {
  if (saved.size() > kSavedBytesMax) {
    return fail(Code::kCorrupt,
                "kept trust: " + std::to_string(saved.size()) + " bytes; at most " + std::to_string(kSavedBytesMax));
  }
  auto row = decode<Row>(saved, "kept trust");
  if (!row) return row;
  if (row->format != kTrustFormat) {
    return fail(Code::kCorrupt, "kept trust: format is " + std::to_string(row->format) + "; this build reads " +
                                    std::to_string(kTrustFormat));
  }
  if (row->floors.size() > kTrustNamespacesMax + 4 || row->targets.size() > kTrustNamespacesMax) {
    return fail(Code::kCorrupt, "kept trust: " + std::to_string(row->floors.size()) + " floors and " +
                                    std::to_string(row->targets.size()) + " targets files; at most " +
                                    std::to_string(kTrustNamespacesMax) + " namespaces have one");
  }
  return row;
}

Result<TrustFiles> Trust::files_in(BytesView saved) {
  auto row = read_row(saved);
  if (!row) return fail(row.error());
  return TrustFiles{std::move(row->root), std::move(row->timestamp), std::move(row->snapshot), std::move(row->targets)};
}

Result<Trust> Trust::load(BytesView saved) {
  auto row = read_row(saved);
  if (!row) return fail(row.error());
  Trust trust;
  if (row->root.empty()) {
    if (row->timestamp.empty() && row->snapshot.empty() && row->targets.empty() && row->floors.empty()) return trust;
    return fail(Code::kCorrupt, "kept trust: files without a root; delete it and give the first root again");
  }
  auto anchored = anchor(row->root);
  if (!anchored) return anchored;
  trust = std::move(*anchored);
  for (const auto& [role, floor] : row->floors) trust.lift(role, floor);
  if (row->timestamp.empty()) {
    if (row->snapshot.empty() && row->targets.empty()) return trust;
    return fail(Code::kCorrupt, "kept trust: a catalogue without its timestamp; delete it and give the files again");
  }
  if (const auto ok = trust.accept_catalogue(row->timestamp, row->snapshot, row->targets); !ok) return fail(ok.error());
  return trust;
}

Result<Trust> Trust::anchor(BytesView encoded) {
  const auto file = parse_trust(encoded, TrustRole::kRoot);
  if (!file) return fail(file.error());
  auto root = read_root(*file);
  if (!root) return fail(root.error());
  // One that came as a successor carries the signatures of its predecessor's keys too: those do not count here.
  if (const auto enough = check_trust_threshold(*file, root->root); !enough) return fail(enough.error());
  Trust trust;
  trust.adopt_root(Bytes(encoded), std::move(*root));
  return trust;
}

Result<void> Trust::accept_root(BytesView encoded) {
  if (!root_) return fail(Code::kInvalid, "root: there is no trusted root to follow; give the first one as the anchor");
  if (encoded == root_->encoded) return {};
  const auto file = parse_trust(encoded, TrustRole::kRoot);
  if (!file) return fail(file.error());
  const TrustRootFile& held = root_->file;
  // X3: no byte is parsed before enough of the keys that are trusted now have signed it.
  if (const auto ok = check_trust_threshold(*file, held.root); !ok) {
    return fail(ok.error().code, ok.error().message + "; the trusted root is " + std::to_string(held.head.version) +
                                     ": give the roots in order, none left out");
  }
  auto next = read_root(*file);
  if (!next) return fail(next.error());
  const std::uint64_t version = next->head.version, now = held.head.version;
  if (version < now) {
    return deny("root: version is " + std::to_string(version) + "; " + std::to_string(now) +
                " is trusted already: an older root is played back (rollback)");
  }
  if (version == now) {
    const auto before = parse_trust(root_->encoded);
    if (before && before->body == file->body) return {};
    return deny("root: version " + std::to_string(version) +
                " has another content than the trusted one; a change needs a new version");
  }
  if (version > now + 1) {
    return fail(Code::kConflict, "root: version is " + std::to_string(version) + "; after the trusted " +
                                     std::to_string(now) + " comes " + std::to_string(now + 1) +
                                     ": give the roots in order, none left out");
  }
  if (const auto ok = check_trust_signatures(*file, {&held.root, &next->root}); !ok) return ok;
  if (const auto ok = check_successor(held, *next); !ok) return ok;
  adopt_root(Bytes(encoded), std::move(*next));
  return {};
}

void Trust::adopt_root(Bytes encoded, TrustRootFile next) {
  // A rotation begins a role's versions anew, and above all floors: (this root, 0). That undoes a fast-forward.
  lift("root", {next.root.since_root, next.head.version});
  lift("snapshot", {next.snapshot.since_root, 0});
  lift("timestamp", {next.timestamp.since_root, 0});
  lift(kClock, {next.timestamp.since_root, 0});
  for (const TrustNamespace& one : next.namespaces) lift(targets_role(one.pattern), {one.signers.since_root, 0});
  // A namespace that comes back does so under a later root, so its floor need not be kept.
  std::erase_if(floors_, [&](const auto& floor) {
    return floor.first.starts_with("targets ") && find_trust_namespace(next, floor.first.substr(8)) == nullptr;
  });
  root_ = Held<TrustRootFile>{std::move(encoded), std::move(next)};
  // The catalogue stays if this root would take it, whole, or goes.
  if (const auto timestamp = std::exchange(timestamp_, {})) {
    const auto snapshot = std::exchange(snapshot_, {});
    std::vector<Bytes> targets;
    for (auto& [pattern, held] : std::exchange(targets_, {})) targets.push_back(std::move(held.encoded));
    (void)accept_catalogue(timestamp->encoded, snapshot->encoded, targets);
  }
}

Result<void> Trust::accept_catalogue(BytesView timestamp, BytesView snapshot, const std::vector<Bytes>& targets) {
  if (!root_) return fail(Code::kInvalid, "timestamp: there is no trusted root; give the first one as the anchor");
  const TrustRootFile& root = root_->file;
  if (targets.size() > kTrustNamespacesMax) {
    return fail(Code::kInvalid, "targets: " + std::to_string(targets.size()) + " files; at most " +
                                    std::to_string(kTrustNamespacesMax));
  }

  const auto signed_timestamp = parse_trust(timestamp, TrustRole::kTimestamp);
  if (!signed_timestamp) return fail(signed_timestamp.error());
  if (auto ok = check_trust_signatures(*signed_timestamp, {&root.timestamp}); !ok) return ok;
  auto stamp = read_timestamp(*signed_timestamp);
  if (!stamp) return fail(stamp.error());
  if (auto ok = check_order("timestamp", stamp->head, stamp->since_root, root.timestamp, root.head.domain,
                            floor("timestamp"));
      !ok) {
    return ok;
  }
  if (auto ok = check_same("timestamp", held_at(timestamp_), stamp->head, stamp->since_root, *signed_timestamp); !ok)
    return ok;

  if (auto ok = check_ref("snapshot", "timestamp", stamp->snapshot, snapshot); !ok) return ok;
  const auto signed_snapshot = parse_trust(snapshot, TrustRole::kSnapshot);
  if (!signed_snapshot) return fail(signed_snapshot.error());
  if (auto ok = check_trust_signatures(*signed_snapshot, {&root.snapshot}); !ok) return ok;
  auto shot = read_snapshot(*signed_snapshot);
  if (!shot) return fail(shot.error());
  if (auto ok = check_version("snapshot", "timestamp", stamp->snapshot.version, shot->head.version); !ok) return ok;
  if (auto ok =
          check_order("snapshot", shot->head, shot->since_root, root.snapshot, root.head.domain, floor("snapshot"));
      !ok) {
    return ok;
  }
  if (auto ok = check_same("snapshot", held_at(snapshot_), shot->head, shot->since_root, *signed_snapshot); !ok)
    return ok;

  // Each entry takes the file with its digest; one left over belongs to another catalogue.
  std::map<Bytes, const Bytes*> given;
  for (const Bytes& file : targets) {
    if (file.size() > kTrustFileBytesMax) return fail(parse_trust(file).error());
    given.emplace(sha256(file), &file);
  }
  if (given.size() != targets.size()) return fail(Code::kInvalid, "targets: one file is given twice; give each once");
  std::map<std::string, Held<TrustTargetsFile>, std::less<>> fresh;
  for (const SnapshotEntry& entry : shot->targets) {
    const std::string role = targets_role(entry.pattern);
    const TrustNamespace* one = find_trust_namespace(root, entry.pattern);
    if (one == nullptr) {
      return deny("snapshot: it names '" + entry.pattern + "'; the root gives nobody this namespace");
    }
    const auto file = given.find(entry.targets.sha256);
    if (file == given.end()) {
      return deny(role + ": no file that was given has the SHA-256 " + to_hex(entry.targets.sha256).substr(0, 16) +
                  "... that the snapshot names; give the files of one catalogue (mix-and-match)");
    }
    if (auto ok = check_ref(role, "snapshot", entry.targets, *file->second); !ok) return ok;
    const auto signed_targets = parse_trust(*file->second, TrustRole::kTargets);
    if (!signed_targets) return fail(signed_targets.error());
    if (const auto ok = check_trust_signatures(*signed_targets, {&one->signers}); !ok) {
      return fail(ok.error().code, role + ": " + ok.error().message);
    }
    auto list = read_targets(*signed_targets);
    if (!list) return fail(list.error());
    if (list->pattern != entry.pattern) {
      return deny(role + ": the file speaks of '" + list->pattern +
                  "'; only its own namespace may (arbitrary install)");
    }
    if (auto ok = check_version(role, "snapshot", entry.targets.version, list->head.version); !ok) return ok;
    if (auto ok = check_order(role, list->head, list->since_root, one->signers, root.head.domain, floor(role)); !ok) {
      return ok;
    }
    const auto held = targets_.find(entry.pattern);
    const Held<TrustTargetsFile>* before = held == targets_.end() ? nullptr : &held->second;
    if (auto ok = check_same(role, before, list->head, list->since_root, *signed_targets); !ok) return ok;
    for (const TrustRelease& release : list->releases) {
      if (const TrustNamespace* owner = trust_namespace_of(root, release.name); owner != one) {
        return deny(role + ": it names a release of '" + release.name + "', which belongs to '" + owner->pattern +
                    "' (arbitrary install)");
      }
    }
    fresh.emplace(entry.pattern, Held<TrustTargetsFile>{*file->second, std::move(*list)});
    given.erase(file);
  }
  if (!given.empty()) {
    return deny("targets: " + std::to_string(given.size()) +
                " of the files that were given are not named by the snapshot (mix-and-match)");
  }
  for (const auto& [pattern, held] : targets_) {
    if (!fresh.contains(pattern)) {
      return deny("snapshot: it no longer names '" + pattern +
                  "', which the one before did; withdraw releases in the targets file, or the namespace in the root");
    }
  }

  lift("timestamp", {stamp->since_root, stamp->head.version});
  lift("snapshot", {shot->since_root, shot->head.version});
  for (const auto& [pattern, held] : fresh) {
    lift(targets_role(pattern), {held.file.since_root, held.file.head.version});
  }
  lift(kClock, {stamp->since_root, stamp->head.made_ms});  // C4: it was that late when it was signed
  timestamp_ = Held<TrustTimestampFile>{Bytes(timestamp), std::move(*stamp)};
  snapshot_ = Held<TrustSnapshotFile>{Bytes(snapshot), std::move(*shot)};
  targets_ = std::move(fresh);
  return {};
}

bool Trust::saw_time(std::uint64_t wall_ms) {
  if (!timestamp_) return false;
  const TrustFloor before = floor(kClock);
  lift(kClock, {timestamp_->file.since_root, std::min(wall_ms, timestamp_->file.head.expires_ms)});
  return before < floor(kClock);
}

Trust::Standing Trust::standing(std::uint64_t wall_ms) const {
  if (!root_) return {};
  if (!timestamp_) {
    return {TrustStanding::kNoCatalogue, 0,
            "no catalogue that the keys of root " + std::to_string(root_->file.head.version) +
                " signed was given; push timestamp, snapshot and targets"};
  }
  const std::uint64_t now = std::max(wall_ms, floor(kClock).value);  // C4
  std::uint64_t first = root_->file.head.expires_ms;
  std::string which = "root";
  const auto look = [&](const std::string& role, const TrustHead& head) {
    if (head.expires_ms < first) {
      first = head.expires_ms;
      which = role;
    }
  };
  look("timestamp", timestamp_->file.head);
  look("snapshot", snapshot_->file.head);
  for (const auto& [pattern, held] : targets_) look(targets_role(pattern), held.file.head);
  if (now < first) return {TrustStanding::kFresh, first, {}};
  return {TrustStanding::kExpired, first,
          which + " expired at " + wall_words(first) + ", and it is " + wall_words(now) +
              "; newer files may be held back (freeze): push a newer " + which.substr(0, which.find(' '))};
}

Result<TrustRelease> Trust::check_release(std::string_view name, std::string_view version,
                                          BytesView encoded_manifest) const {
  const std::string what = std::string(name) + " " + std::string(version);
  if (!root_) return deny("release " + what + ": no root is trusted here; push one first");
  const TrustNamespace* one = trust_namespace_of(root_->file, name);
  if (one == nullptr) {
    return deny("release " + what + ": no namespace of the root speaks of '" + std::string(name) +
                "' (arbitrary install)");
  }
  const TrustTargetsFile* list = targets(one->pattern);
  if (list == nullptr) {
    return deny("release " + what + ": there is no targets file of '" + one->pattern +
                "' that the root's keys signed; push the catalogue");
  }
  const auto release = std::find_if(list->releases.begin(), list->releases.end(), [&](const TrustRelease& entry) {
    return entry.name == name && entry.version == version;
  });
  if (release == list->releases.end()) {
    return deny("release " + what + ": not among those of targets '" + one->pattern + "' version " +
                std::to_string(list->head.version) + "; it was withdrawn or never signed (arbitrary install)");
  }
  if (auto ok = check_ref("manifest of " + what, "targets file",
                          {list->head.version, release->manifest_bytes, release->manifest_sha256}, encoded_manifest,
                          "another content than the one that was signed (arbitrary install)");
      !ok) {
    return fail(ok.error());
  }
  return *release;
}

const TrustTargetsFile* Trust::targets(std::string_view pattern) const {
  const auto it = targets_.find(pattern);
  return it == targets_.end() ? nullptr : &it->second.file;
}

std::map<std::string, TrustFloor> Trust::floors() const { return floors_; }

void Trust::lift(const std::string& role, TrustFloor to) {
  TrustFloor& at = floors_[role];
  at = std::max(at, to);
}
TrustFloor Trust::floor(const std::string& role) const {
  const auto it = floors_.find(role);
  return it == floors_.end() ? TrustFloor{} : it->second;
}

}  // namespace tidelock
