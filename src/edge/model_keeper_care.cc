// What becomes of a file that went bad on disk (X3), and what an operator has done with this gateway's models: verify,
// repair, gc (M8). The care's thread reads; what is changed is changed here, on the keeper's.
//
// A version with a damaged file loses its mark, so that nobody loads it, and comes back the ordinary way: the file is
// fetched, laid out and verified as if the version were new. One that no pointer names (the version before the one in
// force) is fetched for its own manifest's sake.

#include <algorithm>
#include <chrono>
#include <future>

#include "edge/model_keeper.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

constexpr Nanos kReadFileAgain = 60 * kSecond;
constexpr auto kLook = std::chrono::milliseconds(50);  // for the end of this edge, while another thread works

}  // namespace

struct ModelKeeper::Mending {
  std::vector<CheckedFile> files;
  std::promise<std::vector<std::string>> done;
};

template <class T>
Result<T> ModelKeeper::on_thread(std::function<Result<T>()> what) {
  const auto promise = std::make_shared<std::promise<Result<T>>>();
  auto answer = promise->get_future();
  push(Run{[promise, what = std::move(what)] { promise->set_value(what()); }});
  while (answer.wait_for(kLook) != std::future_status::ready) {
    if (stopping()) return fail(Code::kUnavailable, "this edge is stopping");
  }
  return answer.get();
}
template Result<std::vector<StoredRelease>> ModelKeeper::on_thread(std::function<Result<std::vector<StoredRelease>>()>);
template Result<std::vector<Garbage>> ModelKeeper::on_thread(std::function<Result<std::vector<Garbage>>()>);
template Result<ImportTerms> ModelKeeper::on_thread(std::function<Result<ImportTerms>()>);

Result<std::vector<StoredRelease>> ModelKeeper::releases() const {
  if (model_key_.empty()) {
    return fail(Code::kUnavailable, "this edge has had no session with a hub yet, and no key to check its models with");
  }
  std::vector<StoredRelease> list;
  for (const PlacedVersion& placed : room_->placed()) {
    StoredRelease& release = list.emplace_back(StoredRelease{placed.name, placed.version, {}});
    const auto encoded = room_->signed_manifest({placed.name, placed.version});
    auto manifest = encoded ? open_manifest(*encoded, model_key_) : Result<Manifest>(fail(encoded.error()));
    if (!manifest) {
      release.broken = manifest.error().message;
    } else if (manifest->name != placed.name || manifest->version != placed.version) {
      release.broken = "it is the manifest of " + manifest->name + " " + manifest->version;
    } else {
      release.files = std::move(manifest->files);
    }
  }
  return list;
}

void ModelKeeper::look_at_file(Bytes sha256) {
  push(Damaged{{CheckedFile{FileState::kCorrupt, std::move(sha256), 0, {}, {}, {}, {}}}, nullptr});
}

void ModelKeeper::take(Damaged& damaged) {
  const auto known = releases();
  const std::vector<StoredRelease> list = known ? *known : std::vector<StoredRelease>{};
  for (const CheckedFile& file : damaged.files) {
    if (file.sha256.empty()) {  // a manifest: whoever names the version brings it back whole
      const VersionKey key{file.model, file.version};
      // Looked at again: only what is damaged goes. A disk that does not answer, or another key, damages nothing (M8).
      const auto encoded = room_->signed_manifest(key);
      const auto manifest =
          encoded ? room_->open_placed(key, *encoded, model_key_) : Result<Manifest>(fail(encoded.error()));
      const Code why = manifest ? Code::kOk : manifest.error().code;
      const bool unread = !encoded && why == Code::kCorrupt;  // EIO
      if (unread || (why != Code::kCorrupt && why != Code::kNotFound)) {
        if (!manifest)
          log(LogLevel::kWarn, "models", "manifest not believed",
              {{"model", key.first}, {"version", key.second}, {"message", manifest.error().message}});
        continue;
      }
      log(LogLevel::kError, "models", "manifest damaged on disk",
          {{"model", key.first}, {"version", key.second}, {"message", file.why}});
      damaged_files_.add();
      room_->remove(key);
      failures_.erase(key);
      links_.report(EdgeStagedModel{{key.first, key.second}, "its manifest was damaged on disk"});
      continue;
    }
    // What is gone was set aside before it was said again; who waits for a repair names what he misses.
    if (!damaged.mending && !room_->blobs().has(file.sha256)) continue;
    const auto whole = room_->blobs().verify(file.sha256);
    if (whole) continue;
    const Code code = whole.error().code;
    if (code != Code::kCorrupt && code != Code::kNotFound) {
      log(LogLevel::kWarn, "models", "file not read", {{"message", whole.error().message}});
      continue;
    }
    room_->distrust(file.sha256);
    if (code == Code::kCorrupt) damaged_files_.add();
    log(LogLevel::kError, "models", code == Code::kCorrupt ? "file damaged on disk" : "file missing",
        {{"message", whole.error().message}});
    for (const StoredRelease& release : list) {
      const auto of = std::find_if(release.files.begin(), release.files.end(),
                                   [&](const ManifestFile& one) { return one.sha256 == file.sha256; });
      if (of == release.files.end()) continue;
      const VersionKey key{release.name, release.version};
      room_->unmark(key);
      failures_.erase(key);
      damaged_.insert(key);
      links_.report(EdgeStagedModel{{key.first, key.second},
                                    of->path +
                                        (code == Code::kCorrupt ? " was damaged on disk" : " is missing on disk") +
                                        "; it is fetched again"});
    }
  }
  if (damaged.mending) mendings_.push_back(damaged.mending);
}

// Found at the start: what cannot be read now (M8: that is no reason to delete it) or is damaged comes the ordinary
// way.
void ModelKeeper::unverified(const VersionKey& key, const Error& error) {
  const bool gone = error.code == Code::kCorrupt || error.code == Code::kNotFound;
  const bool told = !gone && room_->doubted().contains(key);
  if (error.code == Code::kCorrupt) damaged_files_.add();
  damaged_.insert(key);
  if (gone) {
    room_->unmark(key);
  } else {
    room_->doubt(key);
    doubted_look_at_ = saturating_add(clock_.now(), kReadFileAgain);
  }
  if (told) return;
  log(error.code == Code::kCorrupt ? LogLevel::kError : LogLevel::kWarn, "models",
      error.code == Code::kCorrupt ? "file damaged on disk" : "file not read",
      {{"model", key.first}, {"version", key.second}, {"message", error.message}});
  links_.report(
      EdgeStagedModel{{key.first, key.second},
                      (gone ? "it is fetched again: " : "it is not used until it can be read: ") + error.message});
}

// What is here of a version is hashed once in this run before it gets its mark: it may have lost it unread, or never
// have been looked at, because the trust files did not allow it at the start. With a hub at hand a sector that gives
// EIO for the second time is damage, and comes again; a file that is kept from us is not, and is tried again later.
Result<void> ModelKeeper::reread(const VersionKey& key, const Manifest& manifest) {
  for (const ManifestFile& file : manifest.files) {
    if (!room_->blobs().has(file.sha256)) continue;
    bool ended = false;
    const auto whole = room_->check_file(file.sha256, damaged_.contains(key), [&](std::uint64_t) {
      ended = !go_on(key.first, key.second);
      return !ended;
    });
    if (ended) return fail(Code::kUnavailable, "interrupted: something more urgent came");
    if (whole || whole.error().code == Code::kNotFound) continue;
    if (whole.error().code != Code::kCorrupt) {
      damaged_.insert(key);
      return fail(Error{Code::kUnavailable, whole.error().message, {}, kReadFileAgain});
    }
    damaged_files_.add();
    log(LogLevel::kError, "models", "file damaged on disk", {{"message", whole.error().message}});
  }
  return {};
}

// With a hub at hand they come the ordinary way.
bool ModelKeeper::doubts_due() const { return hub_.empty() && !room_->doubted().empty(); }

void ModelKeeper::look_at_doubted() {
  if (!doubts_due() || clock_.now() < doubted_look_at_) return;
  doubted_look_at_ = saturating_add(clock_.now(), kReadFileAgain);  // whatever becomes of it, a mark that fails too
  for (const VersionKey& key : std::set(room_->doubted())) {
    if (stopping()) return;
    verify_one(key);
    if (room_->verified().contains(key)) damaged_.erase(key);
  }
}

bool ModelKeeper::repair_due() const {
  return !hub_.empty() && std::any_of(damaged_.begin(), damaged_.end(),
                                      [this](const VersionKey& key) { return !failures_.contains(key); });
}

// Those that a pointer names were attempted for its sake.
void ModelKeeper::repair_damaged(std::set<VersionKey>& named) {
  if (hub_.empty()) return;  // the next session brings it
  std::set<std::string> models;
  for (const VersionKey& key : std::set(damaged_)) {
    if (stopping() || !named.insert(key).second) continue;
    if (const auto failure = failures_.find(key); failure != failures_.end() && clock_.now() < failure->second.retry_at)
      continue;
    const auto encoded = room_->signed_manifest(key);
    if (!encoded && proves_nothing(encoded.error().code, true)) {  // M8: it may be all right, and is not forgotten
      failed(key, Error{Code::kUnavailable, encoded.error().message, {}, kReadFileAgain});
      if (const auto failure = failures_.find(key); failure != failures_.end()) failure->second.of_repair = true;
      continue;
    }
    if (!encoded) {
      damaged_.erase(key);
      failures_.erase(key);
      continue;
    }
    models.insert(key.first);
    attempt(key.first, ModelPointer{key.second, sha256(*encoded), {}}, "repair");
  }
  for (const std::string& name : models) {
    const auto it = damaged_.lower_bound({name, ""});
    if (it == damaged_.end() || it->first != name) room_->unpin(name, "repair");
  }
}

std::vector<std::string> ModelKeeper::mend(const std::vector<CheckedFile>& broken) {
  const auto mending = std::make_shared<Mending>();
  mending->files = broken;
  auto answer = mending->done.get_future();
  push(Damaged{broken, mending});
  while (answer.wait_for(kLook) != std::future_status::ready) {
    if (stopping()) return std::vector<std::string>(broken.size(), "this edge is stopping");
  }
  return answer.get();
}

// Everything was tried once: what is not here now has a cause, and goes on by itself.
void ModelKeeper::end_mending() {
  if (mendings_.empty() || repair_due()) return;
  for (const auto& mending : std::exchange(mendings_, {})) {
    std::vector<std::string> why;
    why.reserve(mending->files.size());
    for (const CheckedFile& file : mending->files) {
      std::string& cause = why.emplace_back();
      const VersionKey key{file.model, file.version};
      if (file.sha256.empty() && room_->verified().contains(key)) {
        // It may still be in use and its manifest not be readable: that is not repaired.
        if (const auto there = room_->signed_manifest(key); !there) cause = there.error().message;
        continue;
      }
      if (!file.sha256.empty() && room_->blobs().has(file.sha256)) continue;
      const auto failure = failures_.find(key);
      cause = failure != failures_.end()                  ? failure->second.cause
              : hub_.empty()                              ? "this edge has no hub to fetch it from"
              : imports_->signed_manifest(key) != nullptr ? "no pointer names it yet: import its bundle again"
                                                          : "no pointer names this version any more";
    }
    mending->done.set_value(std::move(why));
  }
}

// M8: files of versions that are laid out here stay, whatever names them; and nothing is collected by guesswork: of a
// delta nothing says which version it is on its way for, so while one is, all of what came stays.
Result<std::vector<Garbage>> ModelKeeper::collect(bool remove) {
  const bool on_the_way = !manifests_.empty();
  if (remove && !on_the_way && pointers_.all_known()) prune();
  const auto list = releases();
  if (!list) return fail(list.error());
  std::set<Bytes> kept;
  for (const StoredRelease& release : *list) {
    if (!release.broken.empty()) {
      return fail(Code::kCorrupt, release.name + " " + release.version + ": " + release.broken +
                                      "; which files it needs is not known: repair it first");
    }
    for (const ManifestFile& file : release.files) kept.insert(file.sha256);
  }
  return room_->blobs().collect([&](const Garbage& one) { return on_the_way || kept.contains(one.sha256); }, remove);
}

}  // namespace tidelock
