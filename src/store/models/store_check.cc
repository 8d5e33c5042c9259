#include "store/models/store_check.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace tidelock {

std::string_view file_state_name(FileState state) {
  static constexpr std::array<std::string_view, kFileStates> kNames = {
      "ok", "missing", "corrupt", "unread", "unreferenced", "partial", "quarantined"};
  return kNames[static_cast<std::size_t>(state)];
}

void StoreReport::add(CheckedFile file) {
  ++counts[static_cast<std::size_t>(file.state)];
  files.push_back(std::move(file));
}

bool StoreReport::sound() const {
  return count(FileState::kMissing) + count(FileState::kCorrupt) + count(FileState::kUnread) == 0;
}

std::vector<CheckedFile> StoreReport::broken() const {
  std::vector<CheckedFile> found;
  std::set<std::string> seen;
  for (const CheckedFile& file : files) {
    const bool bad =
        file.state == FileState::kMissing || file.state == FileState::kCorrupt || file.state == FileState::kUnread;
    if (bad && seen.insert(file.sha256.empty() ? file.model + " " + file.version : file.sha256).second)
      found.push_back(file);
  }
  return found;
}

Result<StoreReport> check_store(const BlobStore& blobs, const std::vector<StoredRelease>& releases,
                                const StoreCheckOptions& options) {
  StoreReport report;
  report.releases = releases.size();
  const std::vector<BlobInfo> held = blobs.list();
  std::uint64_t total = 0, done = 0;
  for (const BlobInfo& blob : held) total += blob.size_bytes;
  const auto said_stop = [&] { return options.progress && !options.progress(done, total); };

  struct Looked {
    FileState state;
    std::uint64_t bytes;
    std::string why;
    bool referenced;
  };
  std::map<Bytes, Looked> looked;  // each blob is read once, however many releases name it
  for (const BlobInfo& blob : held) {
    const std::uint64_t before = done;
    bool stop = said_stop();
    const auto good = stop ? Result<void>() : blobs.examine(blob.sha256, [&](std::uint64_t bytes) {
      done += bytes;
      stop = said_stop();
      return !stop;
    });
    if (stop) return fail(Code::kUnavailable, "the check of " + blobs.directory() + " was stopped");
    done = before + blob.size_bytes;
    Looked& one = looked[blob.sha256] = {FileState::kOk, blob.size_bytes, {}, false};
    if (good) continue;
    one.why = good.error().message;
    one.state = good.error().code == Code::kCorrupt    ? FileState::kCorrupt
                : good.error().code == Code::kNotFound ? FileState::kMissing
                                                       : FileState::kUnread;
  }
  (void)said_stop();

  std::map<Bytes, std::uint64_t> partial;
  for (const PartialInfo& one : blobs.partials()) partial[one.sha256] = one.bytes;
  for (const StoredRelease& release : releases) {
    if (!release.broken.empty())
      report.add({FileState::kCorrupt, {}, 0, release.name, release.version, "tidelock.manifest", release.broken});
    for (const ManifestFile& file : release.files) {
      CheckedFile row{FileState::kMissing, file.sha256, file.size_bytes, release.name, release.version, file.path, {}};
      if (const auto it = looked.find(file.sha256); it != looked.end()) {
        it->second.referenced = true;
        row.state = it->second.state;
        row.why = it->second.why;
        if (row.state != FileState::kMissing) row.bytes = it->second.bytes;
        if (row.state == FileState::kOk && row.bytes != file.size_bytes) {
          row.state = FileState::kCorrupt;
          row.why = "the release says " + std::to_string(file.size_bytes) + " bytes";
        }
      } else if (const auto begun = partial.find(file.sha256); begun != partial.end()) {
        row.why = std::to_string(begun->second) + " bytes of it are here";
      }
      if (row.state == FileState::kMissing && options.missing_is_fine) continue;
      report.add(std::move(row));
    }
  }
  for (const auto& [sha256, one] : looked) {
    if (one.referenced) continue;
    const FileState state = one.state == FileState::kOk ? FileState::kUnreferenced : one.state;
    report.add({state, sha256, one.bytes, {}, {}, {}, one.why});
  }
  for (const PartialInfo& one : blobs.partials()) {
    report.add({FileState::kPartial, one.sha256, one.bytes, {}, {}, {}, one.writing ? "a transfer is at it" : ""});
  }
  for (const Garbage& one : blobs.quarantined()) {
    report.add({FileState::kQuarantined, one.sha256, one.bytes, {}, {}, {}, {}});
  }
  return report;
}

}  // namespace tidelock
