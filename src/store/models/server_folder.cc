#include "store/models/server_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <set>

#include "store/models/files.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

void remove_all(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

Result<void> copy(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::copy_file(from, to, error);
  if (error) return fail(files::error_of(error.value(), "copy to", to));
  const files::Fd file(::open(to.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return fail(files::error_of(errno, "open", to));
  return files::sync_fd(file.get(), to);
}

Result<void> link_or_copy(const std::string& from, const std::string& to) {
  if (::link(from.c_str(), to.c_str()) == 0) return {};
  // Another file system, or one that has no links, or protects those of other users.
  if (errno == EXDEV || errno == EPERM || errno == EMLINK) return copy(from, to);
  return fail(files::error_of(errno, "link", errno == ENOENT ? from : to));
}

Result<void> build(const std::string& fresh, const std::string& release, const Manifest& manifest) {
  std::set<std::string> folders{fresh};
  for (const ManifestFile& file : manifest.files) {
    if (file.path == kServerConfigName) continue;  // of the model, not of one version
    const std::string to = fresh + "/" + file.path;
    for (fs::path at = fs::path(to).parent_path(); at.string().size() > fresh.size(); at = at.parent_path())
      folders.insert(at.string());
    if (auto ok = files::make_folders(fs::path(to).parent_path().string()); !ok) return ok;
    if (auto ok = link_or_copy(release + "/" + file.path, to); !ok) return ok;
  }
  for (auto it = folders.rbegin(); it != folders.rend(); ++it) {
    if (auto ok = files::sync_folder(*it); !ok) return ok;
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<ServerFolder>> ServerFolder::open(const std::string& root) {
  if (const auto ok = files::make_folders(root); !ok) return fail(ok.error());
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    if (entry.path().filename().string().starts_with(".new-")) remove_all(entry.path().string());
  }
  if (error) return fail(files::error_of(error.value(), "read folder", root));
  return std::unique_ptr<ServerFolder>(new ServerFolder(root));
}

std::string ServerFolder::folder(std::string_view name, Index activation) const {
  return root_ + "/" + std::string(name) + "/" + std::to_string(activation.value);
}

Result<void> ServerFolder::place(Index activation, const std::string& release, const Manifest& manifest) {
  if (auto ok = validate_manifest(manifest); !ok) return ok;  // names and paths stay inside of ROOT
  const std::string final_folder = folder(manifest.name, activation);
  std::error_code error;
  if (fs::exists(final_folder, error)) return {};
  if (error) return fail(files::error_of(error.value(), "look at", final_folder));
  const std::string fresh = root_ + "/.new-" + manifest.name + "-" + std::to_string(activation.value);
  const std::string name_folder = root_ + "/" + manifest.name;
  remove_all(fresh);
  auto done = files::make_folders(fresh);
  if (done) done = build(fresh, release, manifest);
  if (done) done = files::make_folders(name_folder);
  if (done && find_file(manifest, kServerConfigName) != nullptr) {  // before the version that it describes
    const auto config = files::read_all(release + "/" + std::string(kServerConfigName), kServerConfigBytesMax);
    done = config ? files::replace(name_folder + "/" + std::string(kServerConfigName), *config)
                  : Result<void>(fail(config.error()));
  }
  if (done && ::rename(fresh.c_str(), final_folder.c_str()) != 0) {
    done = fail(files::error_of(errno, "rename", final_folder));
  }
  if (done) done = files::sync_folder(name_folder);
  if (!done) remove_all(fresh);
  return done;
}

std::vector<Index> ServerFolder::versions(std::string_view name) const {
  std::vector<Index> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(root_ + "/" + std::string(name), ignored)) {
    const std::string text = entry.path().filename().string();
    Index index;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index.value);
    if (error == std::errc() && end == text.data() + text.size() && std::to_string(index.value) == text) {
      found.push_back(index);
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

Result<void> ServerFolder::prune(std::string_view name, const std::vector<Index>& keep) {
  if (auto ok = validate_model_name(name); !ok) return ok;
  for (const Index version : versions(name)) {
    if (std::find(keep.begin(), keep.end(), version) != keep.end()) continue;
    // Out of the server's sight first: it must not find a half of it.
    const std::string gone = root_ + "/.new-" + std::string(name) + "-gone";
    remove_all(gone);
    const std::string from = folder(name, version);
    if (::rename(from.c_str(), gone.c_str()) != 0) return fail(files::error_of(errno, "rename", from));
    remove_all(gone);
  }
  return {};
}

}  // namespace tidelock
