// A directory that hubs share (NFS, a mounted bucket). ROOT/objects/KEY holds an object, ROOT/partial what is being
// written; an object appears by a rename behind a sync. Its digest is not kept beside it: who gets it hashes it anyway.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>

#include "codec/signature.h"
#include "store/models/files.h"
#include "store/objects/cloud_store.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kReadBytes = 1u << 20;

class FolderStore : public ObjectStore {
 public:
  explicit FolderStore(std::string root) : root_(std::move(root)) {}

  Result<void> put(const std::string& key, std::uint64_t size_bytes, BytesView sha256,
                   const ObjectSource& source) override {
    if (const auto ok = usable(key); !ok) return ok;
    if (size_bytes > kObjectBytesMax || sha256.size() != kSha256Bytes)
      return fail(Code::kInvalid, "folder put " + key + ": " + std::to_string(size_bytes) + " bytes, or no digest");
    const std::string path = path_of(key);
    const std::string folder = fs::path(path).parent_path().string();
    if (const auto ok = files::make_folders(folder); !ok) return ok;
    // A name of this process and moment: hubs of several machines may put the same object at once.
    const std::string partial = root_ + "/partial/" + to_hex(sha256) + "." + std::to_string(::getpid()) + "." +
                                std::to_string(count_.fetch_add(1));
    const files::Fd fd(::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (fd.get() < 0) return fail(files::error_of(errno, "create", partial));
    Result<void> done = copy(key, size_bytes, sha256, source, fd.get(), partial);
    if (done) done = files::sync_fd(fd.get(), partial);
    if (done && ::rename(partial.c_str(), path.c_str()) != 0)
      done = errno == EISDIR || errno == ENOTDIR
                 ? Result<void>(fail(Code::kConflict, "folder put " + key + ": a folder of this name is there"))
                 : Result<void>(fail(files::error_of(errno, "rename", partial)));
    if (!done) {
      ::unlink(partial.c_str());
      return done;
    }
    return files::sync_folder(folder);
  }

  Result<void> get(const std::string& key, std::uint64_t offset, std::optional<std::uint64_t> bytes_max,
                   const ObjectSink& sink) override {
    if (const auto ok = usable(key); !ok) return ok;
    std::uint64_t size = 0;
    const auto fd = files::open_plain(path_of(key), size);
    if (!fd) return fail(named("get", key, fd.error()));
    if (offset > size) {
      return fail(Code::kInvalid, "folder get " + key + ": offset " + std::to_string(offset) + " lies beyond its " +
                                      std::to_string(size) + " bytes");
    }
    const std::uint64_t end = bytes_max ? offset + std::min(*bytes_max, size - offset) : size;
    for (std::uint64_t at = offset; at < end;) {
      if (stopped_.load(std::memory_order_acquire)) return fail(Code::kBusy, "folder get " + key + ": stopped");
      const auto piece =
          files::read_at(fd->get(), key, at, static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, end - at)));
      if (!piece) return fail(piece.error());
      if (piece->empty()) return fail(Code::kConflict, "folder get " + key + ": it became shorter while it was read");
      if (const auto ok = sink(*piece); !ok) return ok;
      at += piece->size();
    }
    return {};
  }

  Result<ObjectInfo> head(const std::string& key) override {
    if (const auto ok = usable(key); !ok) return fail(ok.error());
    std::uint64_t size = 0;
    const auto fd = files::open_plain(path_of(key), size);
    if (!fd) return fail(named("head", key, fd.error()));
    return ObjectInfo{key, size, {}};
  }

  // Walks the folders in the order of keys, so that a page begins behind the key that the page before it ended with.
  Result<ObjectPage> list(const std::string& prefix, const std::string& from, std::size_t limit) override {
    ObjectPage page;
    limit = std::clamp<std::size_t>(limit, 1, kListMax);
    try {
      const std::size_t slash = prefix.rfind('/');
      const std::string within = slash == std::string::npos ? "" : prefix.substr(0, slash);
      if (!within.empty() && !validate_object_key(within)) return page;
      std::set<std::string> smallest;  // the `limit` + 1 first keys behind `from`: memory does not grow with the folder
      std::error_code absent;
      for (fs::recursive_directory_iterator at(root_ + "/objects/" + within, absent), none; !absent && at != none;
           ++at) {
        if (at->is_symlink() || !at->is_regular_file()) continue;
        std::string key = at->path().string().substr(root_.size() + std::string_view("/objects/").size());
        if (!key.starts_with(prefix) || key <= from) continue;
        smallest.insert(std::move(key));
        if (smallest.size() > limit + 1) smallest.erase(std::prev(smallest.end()));
      }
      for (const std::string& key : smallest) {
        if (page.objects.size() == limit) {
          page.next = page.objects.back().key;
          break;
        }
        std::error_code gone;  // removed meanwhile
        const std::uint64_t size = fs::file_size(path_of(key), gone);
        if (!gone) page.objects.push_back({key, size, {}});
      }
    } catch (const fs::filesystem_error& error) {
      return fail(files::error_of(error.code().value(), "list", root_));
    }
    return page;
  }

  Result<void> remove(const std::string& key) override {
    if (const auto ok = usable(key); !ok) return ok;
    if (::unlink(path_of(key).c_str()) == 0 || errno == ENOENT || errno == ENOTDIR) return {};
    return fail(files::error_of(errno, "remove", key));
  }
  void stop() override { stopped_.store(true, std::memory_order_release); }
  std::string describe() const override { return "folder " + root_; }

 private:
  static Error named(const char* doing, const std::string& key, Error error) {
    if (error.code == Code::kUnavailable && error.message.find("Not a directory") != std::string::npos)
      error.code = Code::kNotFound;
    error.message = std::string("folder ") + doing + " " + key + ": " + error.message;
    return error;
  }
  Result<void> usable(const std::string& key) const {
    if (stopped_.load(std::memory_order_acquire)) return fail(Code::kBusy, "folder: stopped");
    return validate_object_key(key);
  }
  std::string path_of(const std::string& key) const { return root_ + "/objects/" + key; }
  static Result<void> copy(const std::string& key, std::uint64_t size_bytes, BytesView sha256,
                           const ObjectSource& source, int fd, const std::string& path) {
    Sha256 hasher;
    for (std::uint64_t at = 0; at < size_bytes;) {
      const auto piece =
          read_exactly(source, at, static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, size_bytes - at)));
      if (!piece) return fail(piece.error().code, "folder put " + key + ": " + piece.error().message);
      hasher.update(*piece);
      if (const auto ok = files::write_all(fd, path, *piece); !ok) return ok;
      at += piece->size();
    }
    if (hasher.finish() == sha256) return {};
    return fail(Code::kCorrupt,
                "folder put " + key + ": the bytes do not hash to " + to_hex(sha256) + "; nothing was put");
  }

  const std::string root_;
  std::atomic<bool> stopped_{false};
  std::atomic<std::uint64_t> count_{0};
};

}  // namespace

Result<std::unique_ptr<ObjectStore>> open_folder_store(const ObjectStoreOptions& options) {
  std::string root = options.url;
  while (root.size() > 1 && root.ends_with('/')) root.pop_back();
  if (!root.starts_with('/') || root.size() < 2)
    return fail(Code::kInvalid, "url = \"" + root + "\": must be the absolute path of a folder that every hub reaches");
  for (const char* sub : {"/objects", "/partial"}) {
    if (const auto ok = files::make_folders(root + sub); !ok) return fail(ok.error());
  }
  return std::unique_ptr<ObjectStore>(new FolderStore(std::move(root)));
}

}  // namespace tidelock
