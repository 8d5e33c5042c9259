// A version is built in ROOT/.new-<name>-<version> and renamed into place. Healing builds the same and exchanges the
// two folders in one step, so that a server that reads the version never finds a half of it.
#include "store/models/layout.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>
#include <tuple>
#include <vector>

#include "store/models/files.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kManifestName = "tidelock.manifest";

void remove_all(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

// M8: what cannot be looked at may be there. Only its absence is none, and nothing here throws: this is asked on the
// thread of whoever keeps the models, which must go on with the others.
bool is_there(const fs::path& path) {
  std::error_code error;
  const fs::file_type type = fs::status(path, error).type();
  return type != fs::file_type::not_found;
}

// What lies in a folder, as far as it can be read.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    found.push_back(it->path());
  return found;
}

// True when the folder has each file with its size, as the very file that the store has: a damaged one stays linked
// here after the store has another in its place.
bool is_whole(const std::string& folder, const Manifest& manifest, const BlobStore& blobs) {
  return std::all_of(manifest.files.begin(), manifest.files.end(), [&](const ManifestFile& file) {
    struct stat here{}, there{};
    const auto blob = blobs.path(file.sha256);
    return blob && ::lstat((folder + "/" + file.path).c_str(), &here) == 0 && S_ISREG(here.st_mode) &&
           static_cast<std::uint64_t>(here.st_size) == file.size_bytes && ::lstat(blob->c_str(), &there) == 0 &&
           here.st_dev == there.st_dev && here.st_ino == there.st_ino;
  });
}

Result<void> build(const std::string& folder, BytesView encoded, const Manifest& manifest, const BlobStore& blobs) {
  std::set<std::string> folders{folder};
  for (const ManifestFile& file : manifest.files) {
    const auto from = blobs.path(file.sha256);
    if (!from)
      return fail(from.error().code,
                  "file " + file.path + " of " + manifest.name + " " + manifest.version + ": " + from.error().message);
    const std::string to = folder + "/" + file.path;
    for (fs::path at = fs::path(to).parent_path(); at.string().size() > folder.size(); at = at.parent_path())
      folders.insert(at.string());
    if (const auto ok = files::make_folders(fs::path(to).parent_path().string()); !ok) return ok;
    if (::link(from->c_str(), to.c_str()) != 0) {
      if (errno == EXDEV)
        return fail(Code::kInvalid,
                    "model folder " + folder + ": on another file system than the store " + blobs.directory());
      return fail(files::error_of(errno, "link", to));
    }
  }
  if (const auto ok = files::replace(folder + "/" + std::string(kManifestName), encoded); !ok) return ok;
  for (auto it = folders.rbegin(); it != folders.rend(); ++it) {
    if (const auto ok = files::sync_folder(*it); !ok) return ok;
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<ModelLayout>> ModelLayout::open(const std::string& root) {
  if (const auto ok = files::make_folders(root); !ok) return fail(ok.error());
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    if (entry.path().filename().string().starts_with(".")) remove_all(entry.path().string());
  }
  if (error) return fail(files::error_of(error.value(), "read folder", root));
  return std::unique_ptr<ModelLayout>(new ModelLayout(root));
}

std::string ModelLayout::folder(std::string_view name, std::string_view version) const {
  return root_ + "/" + std::string(name) + "/" + std::string(version);
}

Result<std::string> ModelLayout::place(BytesView encoded, const Manifest& manifest, const BlobStore& blobs) {
  if (const auto ok = validate_manifest(manifest); !ok) return fail(ok.error());  // paths stay inside the folder
  const std::lock_guard lock(mutex_);
  const std::string final_folder = folder(manifest.name, manifest.version);
  const auto held = files::read_all(final_folder + "/" + std::string(kManifestName), kManifestBytesMax);
  if (held && *held != encoded) {  // M1
    return fail(Code::kConflict, "model " + manifest.name + " " + manifest.version + ": " + final_folder +
                                     " holds it with other content; a version never changes, choose a new number");
  }
  if (held && is_whole(final_folder, manifest, blobs)) return final_folder;

  const std::string fresh = root_ + "/.new-" + manifest.name + "-" + manifest.version;
  remove_all(fresh);
  if (const auto ok = files::make_folders(fresh); !ok) return fail(ok.error());
  auto done = build(fresh, encoded, manifest, blobs);
  const std::string name_folder = root_ + "/" + manifest.name;
  if (done) done = files::make_folders(name_folder);
  if (!done) {
    remove_all(fresh);
    return fail(done.error());
  }
  const bool exists = is_there(final_folder);
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, final_folder.c_str(),
                  exists ? RENAME_EXCHANGE : RENAME_NOREPLACE) != 0) {
    const Error error = files::error_of(errno, "rename", final_folder);
    remove_all(fresh);
    return fail(error);
  }
  if (exists) remove_all(fresh);
  for (const std::string& changed : {name_folder, root_}) {
    if (const auto ok = files::sync_folder(changed); !ok) return fail(ok.error());
  }
  return final_folder;
}

Result<void> ModelLayout::remove(std::string_view name, std::string_view version) {
  if (const auto ok = validate_model_name(name); !ok) return ok;
  if (const auto ok = validate_model_version(version); !ok) return ok;
  const std::lock_guard lock(mutex_);
  const std::string gone = root_ + "/.old-" + std::string(name) + "-" + std::string(version);
  remove_all(gone);
  const std::string from = folder(name, version);
  if (::rename(from.c_str(), gone.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return fail(files::error_of(errno, "rename", from));
  }
  remove_all(gone);
  return files::sync_folder(root_ + "/" + std::string(name));
}

Result<Bytes> ModelLayout::signed_manifest(std::string_view name, std::string_view version) const {
  return files::read_all(folder(name, version) + "/" + std::string(kManifestName), kManifestBytesMax);
}

std::vector<PlacedVersion> ModelLayout::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<PlacedVersion> out;
  for (const fs::path& name : entries_of(root_)) {
    if (!validate_model_name(name.filename().string())) continue;
    for (const fs::path& version : entries_of(name)) {
      const std::string text = version.filename().string();
      if (validate_model_version(text) && is_there(version / kManifestName))
        out.push_back({name.filename().string(), text});
    }
  }
  std::sort(out.begin(), out.end(),
            [](const auto& a, const auto& b) { return std::tie(a.name, a.version) < std::tie(b.name, b.version); });
  return out;
}

}  // namespace tidelock
