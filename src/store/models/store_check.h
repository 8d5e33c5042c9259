// What a store of models holds, against the releases that it should hold (X3): every file is read and hashed.
//
// Threads: any; the store may be at work meanwhile, its blobs never change. Blocking. Cost: one read of every blob.
// Never:   changes the store.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "codec/manifest.h"
#include "store/models/blob_store.h"

namespace tidelock {

enum class FileState : std::uint8_t {
  kOk,
  kMissing,       // a release names it, and it is not here
  kCorrupt,       // its bytes are not those that its name says
  kUnread,        // could not be read to its end, for a reason that says nothing of its bytes
  kUnreferenced,  // whole, and of no release
  kPartial,       // a transfer that is not finished
  kQuarantined,   // damaged, and set aside: served to nobody
};
inline constexpr std::size_t kFileStates = 7;
std::string_view file_state_name(FileState state);  // "ok", "missing", ...

struct StoredRelease {
  std::string name, version;
  std::vector<ManifestFile> files;
  std::string broken = {};  // why its manifest cannot be read here: then nobody knows its files
};

struct CheckedFile {
  FileState state = FileState::kOk;
  Bytes sha256;
  std::uint64_t bytes = 0;           // of a missing file those that the release says, else those that are here
  std::string model, version, path;  // empty: of no release
  std::string why;
};

struct StoreReport {
  std::vector<CheckedFile> files;  // one for each file of each release, then what belongs to none
  std::array<std::size_t, kFileStates> counts{};
  std::size_t releases = 0;

  void add(CheckedFile file);
  std::size_t count(FileState state) const { return counts[static_cast<std::size_t>(state)]; }
  // Nothing that a release needs is damaged, and nothing is missing, or unread.
  bool sound() const;
  // Those that are not, each digest once; a manifest that is broken has none.
  std::vector<CheckedFile> broken() const;
};

struct StoreCheckOptions {
  bool missing_is_fine = false;  // the store keeps copies of what rests elsewhere
  std::function<bool(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress = {};  // false ends it
};
// An error only when `progress` ended it.
Result<StoreReport> check_store(const BlobStore& blobs, const std::vector<StoredRelease>& releases,
                                const StoreCheckOptions& options = {});

}  // namespace tidelock
