#include "ledger/raft/snapshot_courier.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "codec/archive.h"

namespace tidelock {

namespace fs = std::filesystem;

constexpr std::uint32_t kFramesPerPull = 4;
constexpr Nanos kAskAgain = 500 * kMillisecond;
constexpr Nanos kGiveUp = 5 * kSecond;  // without a byte of progress: another offer may take its place
constexpr Nanos kOfferAgain = 200 * kMillisecond;
constexpr std::size_t kNameBytesMax = 512;
constexpr char kManifest[] = "manifest";

struct SnapshotCourier::Offer {
  std::string name;
  Index index;
  Bytes raft_message;
  std::vector<SnapshotFile> files;
  template <class A>
  void fields(A& a) {
    a(name, index, raft_message, files);
  }
};
struct SnapshotCourier::Pull {
  std::string name;
  std::uint32_t file = 0;
  std::uint64_t offset = 0;
  template <class A>
  void fields(A& a) {
    a(name, file, offset);
  }
};
struct SnapshotCourier::Data {
  std::string name;
  std::uint32_t file = 0;
  std::uint64_t offset = 0;
  Bytes bytes;
  std::uint32_t crc = 0;
  bool last_of_pull = false;
  template <class A>
  void fields(A& a) {
    a(name, file, offset, bytes, crc, last_of_pull);
  }
};
struct SnapshotCourier::Gone {
  std::string name;
  template <class A>
  void fields(A& a) {
    a(name);
  }
};
struct SnapshotCourier::Frame {
  std::variant<Offer, Pull, Data, Gone> what;
  template <class A>
  void fields(A& a) {
    a(what);
  }
};

struct SnapshotManifest {
  std::uint32_t version = 1;
  Index index;
  std::vector<SnapshotFile> files;
  template <class A>
  void fields(A& a) {
    a(version, index, files);
  }
};

// --- files
// ---------------------------------------------------------------------------------------------------------------

static tl::unexpected<Error> io_error(const std::string& path, const char* doing) {
  const int error = errno;
  const Code code = error == ENOSPC || error == EDQUOT ? Code::kBusy : Code::kUnavailable;
  return fail(code, path + ": " + doing + ": " + std::strerror(error));
}

static Result<void> sync_path(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) return io_error(path, "open");
  const int rv = ::fsync(fd);
  ::close(fd);
  if (rv != 0) return io_error(path, "sync");
  return {};
}

static Result<void> write_all(int fd, const std::string& path, BytesView bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return io_error(path, "write");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

static Result<Bytes> read_at(const std::string& path, std::uint64_t offset, std::size_t size) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return io_error(path, "open");
  Bytes out(size, '\0');
  std::size_t have = 0;
  while (have < size) {
    const ssize_t n = ::pread(fd, out.data() + have, size - have, static_cast<off_t>(offset + have));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    have += static_cast<std::size_t>(n);
  }
  ::close(fd);
  if (have != size) return fail(Code::kCorrupt, path + ": shorter than its manifest says");
  return out;
}

static Result<std::uint32_t> crc_of_file(const std::string& path, std::uint64_t size) {
  std::uint32_t crc = 0;
  for (std::uint64_t at = 0; at < size;) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(size - at, SnapshotCourier::kFrameBytes));
    auto bytes = read_at(path, at, n);
    if (!bytes) return fail(bytes.error());
    crc = crc32c(*bytes, crc);
    at += n;
  }
  return crc;
}

static Result<void> write_manifest(const std::string& folder, const SnapshotManifest& manifest) {
  const std::string path = folder + "/" + kManifest;
  Bytes bytes = encode(manifest);
  const std::uint32_t crc = crc32c(bytes);
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(crc >> (8 * i)));
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
  if (fd < 0) return io_error(path, "create");
  Result<void> written = write_all(fd, path, bytes);
  if (written && ::fsync(fd) != 0) written = io_error(path, "sync");
  ::close(fd);
  return written;
}

static Result<SnapshotManifest> read_manifest(const std::string& folder) {
  const std::string path = folder + "/" + kManifest;
  std::error_code error;
  const std::uint64_t size = fs::file_size(path, error);
  if (error || size < 4 || size > (16u << 20)) return fail(Code::kCorrupt, path + ": missing or of an absurd size");
  auto bytes = read_at(path, 0, size);
  if (!bytes) return fail(bytes.error());
  std::uint32_t crc = 0;
  for (std::size_t i = 4; i > 0; --i) crc = (crc << 8) | static_cast<unsigned char>((*bytes)[size - 5 + i]);
  bytes->resize(size - 4);
  if (crc32c(*bytes) != crc) return fail(Code::kCorrupt, path + ": checksum mismatch");
  auto manifest = decode<SnapshotManifest>(*bytes, "snapshot manifest");
  if (!manifest || manifest->version != 1) return fail(Code::kCorrupt, path + ": malformed");
  return manifest;
}

// A name from a peer becomes a path below our own folder and nowhere else.
static bool is_safe_name(const std::string& name) {
  if (name.empty() || name.size() > kNameBytesMax || name.find('\0') != std::string::npos) return false;
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t end = std::min(name.find('/', at), name.size());
    const std::string part = name.substr(at, end - at);
    if (part.empty() || part == "." || part == "..") return false;
    at = end + 1;
  }
  return true;
}

// Every folder below `root`, itself included.
static Result<void> sync_folders(const std::string& root) {
  if (auto synced = sync_path(root, O_RDONLY | O_DIRECTORY); !synced) return synced;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(root, error)) {
    if (!entry.is_directory()) continue;
    if (auto synced = sync_path(entry.path().string(), O_RDONLY | O_DIRECTORY); !synced) return synced;
  }
  return {};
}

static Result<std::vector<SnapshotFile>> list_files(const std::string& root) {
  std::vector<SnapshotFile> out;
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(root, error); !error && it != fs::recursive_directory_iterator();
       it.increment(error)) {
    if (it->is_directory()) continue;
    const std::string path = it->path().string();
    if (!it->is_regular_file()) return fail(Code::kInvalid, path + ": a snapshot holds plain files only");
    SnapshotFile file;
    file.name = fs::relative(it->path(), root).generic_string();
    file.size = it->file_size();
    if (!is_safe_name(file.name)) return fail(Code::kInvalid, path + ": name longer than 512 bytes");
    if (out.size() >= SnapshotCourier::kFilesMax) return fail(Code::kInvalid, root + ": more than 10000 files");
    auto crc = crc_of_file(path, file.size);
    if (!crc) return fail(crc.error());
    file.crc = *crc;
    if (auto synced = sync_path(path, O_RDONLY); !synced) return fail(synced.error());
    out.push_back(std::move(file));
  }
  if (error) return fail(Code::kUnavailable, root + ": " + error.message());
  std::sort(out.begin(), out.end(), [](const SnapshotFile& a, const SnapshotFile& b) { return a.name < b.name; });
  return out;
}

// --- what is kept
// --------------------------------------------------------------------------------------------------------

SnapshotCourier::~SnapshotCourier() { abandon(); }

std::string SnapshotCourier::files_path(const std::string& name) const { return directory_ + "/" + name + "/files"; }

Result<void> SnapshotCourier::open(const std::string& keep, Index index) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory_, error)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name.rfind("snap-", 0) == 0 || name.rfind("tmp-", 0) == 0 || name.rfind("in-", 0) == 0;
    if (!ours) continue;
    const std::string number = name.substr(name.rfind('-') + 1);
    next_no_ = std::max<std::uint64_t>(next_no_, std::strtoull(number.c_str(), nullptr, 10) + 1);
    if (name != keep) discard(name);
  }
  if (error) return fail(Code::kUnavailable, directory_ + ": " + error.message());
  if (keep.empty()) return {};
  if (auto set = set_current(index, keep); !set) {
    return fail(Code::kCorrupt, set.error().message +
                                    "; the log stands on this snapshot: remove this hub's folder and let "
                                    "it join anew under a new id");  // D4
  }
  return {};
}

Result<SnapshotCourier::Made> SnapshotCourier::make(LedgerListener& listener) {
  const std::string number = std::to_string(next_no_++);
  const std::string temporary = "tmp-" + number;
  const auto undo = [&](const Error& error) {
    discard(temporary);
    return fail(error);
  };
  std::error_code error;
  fs::create_directories(files_path(temporary), error);
  if (error) return undo({Code::kUnavailable, files_path(temporary) + ": " + error.message(), {}, 0});
  const Result<Index> index = listener.on_snapshot(files_path(temporary));
  if (!index) return undo(index.error());
  auto files = list_files(files_path(temporary));
  if (!files) return undo(files.error());
  const std::string folder = directory_ + "/" + temporary;
  if (auto written = write_manifest(folder, {1, *index, *files}); !written) return undo(written.error());
  if (auto synced = sync_folders(folder); !synced) return undo(synced.error());
  const std::string name = "snap-" + std::to_string(index->value) + "-" + number;
  fs::rename(folder, directory_ + "/" + name, error);
  if (error) return undo({Code::kUnavailable, folder + ": " + error.message(), {}, 0});
  if (auto synced = sync_path(directory_, O_RDONLY | O_DIRECTORY); !synced) return fail(synced.error());
  return Made{*index, name};
}

Result<void> SnapshotCourier::set_current(Index index, const std::string& name) {
  const std::string folder = directory_ + "/" + name;
  auto manifest = read_manifest(folder);
  if (!manifest) return fail(manifest.error());
  if (manifest->index != index) return fail(Code::kCorrupt, folder + ": its manifest is of another index");
  for (const SnapshotFile& file : manifest->files) {
    std::error_code error;
    const std::string path = files_path(name) + "/" + file.name;
    if (fs::file_size(path, error) != file.size || error) {
      return fail(Code::kCorrupt, path + ": missing or not of " + std::to_string(file.size) + " bytes");
    }
  }
  kept_[index.value] = {name, std::move(manifest->files)};
  while (kept_.size() > 2) {
    discard(kept_.begin()->second.name);
    kept_.erase(kept_.begin());
  }
  return {};
}

void SnapshotCourier::discard(const std::string& name) {
  if (name.empty()) return;
  std::error_code ignored;  // what stays behind is removed at the next open
  fs::remove_all(directory_ + "/" + name, ignored);
}

const SnapshotCourier::Kept* SnapshotCourier::find(const std::string& name) const {
  for (const auto& [index, kept] : kept_) {
    if (kept.name == name) return &kept;
  }
  return nullptr;
}

// --- sending
// -------------------------------------------------------------------------------------------------------------

void SnapshotCourier::send(std::uint64_t to, const Frame& frame) { hooks_.send(to, encode(frame)); }

void SnapshotCourier::offer(std::uint64_t to, Index index, Bytes raft_message, Nanos now) {
  const auto it = kept_.find(index.value);
  if (it == kept_.end()) return;  // not yet, or no longer: Raft asks again
  Nanos& last = offered_at_.try_emplace(to, kNever).first->second;
  if (last != kNever && saturating_sub(now, last) < kOfferAgain) return;
  last = now;
  send(to, {Offer{it->second.name, index, std::move(raft_message), it->second.files}});
}

void SnapshotCourier::on(std::uint64_t from, const Pull& pull, Nanos) {
  const Kept* kept = find(pull.name);
  if (kept == nullptr) {
    send(from, {Gone{pull.name}});
    return;
  }
  std::size_t file = pull.file;
  std::uint64_t offset = pull.offset;
  for (std::uint32_t sent = 0; sent < kFramesPerPull; ++sent) {
    while (file < kept->files.size() && offset >= kept->files[file].size) {
      ++file;
      offset = 0;
    }
    if (file >= kept->files.size()) return;
    const SnapshotFile& f = kept->files[file];
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(kFrameBytes, f.size - offset));
    auto bytes = read_at(files_path(kept->name) + "/" + f.name, offset, n);
    if (!bytes) return;  // the follower asks again, and then gives up; its log is not harmed
    const std::uint32_t crc = crc32c(*bytes);
    send(from, {Data{pull.name, static_cast<std::uint32_t>(file), offset, std::move(*bytes), crc,
                     sent + 1 == kFramesPerPull}});
    offset += n;
  }
}

// --- receiving
// -----------------------------------------------------------------------------------------------------------

void SnapshotCourier::receive(std::uint64_t from, BytesView bytes, Nanos now) {
  auto frame = decode<Frame>(bytes, "snapshot frame");
  if (!frame) return;
  std::visit([&](auto& what) { on(from, what, now); }, frame->what);
}

void SnapshotCourier::on(std::uint64_t from, Offer& offer, Nanos now) {
  if (delivering_ || offer.index.value == 0 || offer.files.size() > kFilesMax || offer.name.size() > kNameBytesMax)
    return;
  for (const SnapshotFile& file : offer.files) {
    if (!is_safe_name(file.name) || file.name == kManifest) return;
  }
  if (download_) {
    if (download_->from == from && download_->remote == offer.name && download_->files == offer.files) {
      download_->raft_message = std::move(offer.raft_message);  // of the sender's newest term
      return;
    }
    if (saturating_sub(now, download_->progress_at) < kGiveUp) return;
    abandon();
  }
  download_ = std::make_unique<Download>();
  Download& d = *download_;
  d.from = from;
  d.remote = offer.name;
  d.index = offer.index;
  d.raft_message = std::move(offer.raft_message);
  d.files = std::move(offer.files);
  d.local = "in-" + std::to_string(next_no_++);
  d.progress_at = now;
  std::error_code error;
  fs::create_directories(files_path(d.local), error);
  if (error) {
    abandon();
    return;
  }
  if (advance(now)) ask(now);
}

void SnapshotCourier::on(std::uint64_t from, const Data& data, Nanos now) {
  if (!download_ || download_->from != from || download_->remote != data.name) return;
  Download& d = *download_;
  if (data.file != d.file || data.offset != d.offset || d.fd < 0 || data.bytes.empty()) return;
  if (data.bytes.size() > d.files[d.file].size - d.offset || crc32c(data.bytes) != data.crc) return;
  if (!write_all(d.fd, files_path(d.local), data.bytes)) {
    abandon();
    return;
  }
  d.crc = crc32c(data.bytes, d.crc);
  d.offset += data.bytes.size();
  d.progress_at = now;
  if (advance(now) && data.last_of_pull) ask(now);
}

void SnapshotCourier::on(std::uint64_t from, const Gone& gone, Nanos) {
  if (download_ && download_->from == from && download_->remote == gone.name) abandon();
}

void SnapshotCourier::ask(Nanos now) {
  download_->asked_at = now;
  send(download_->from, {Pull{download_->remote, static_cast<std::uint32_t>(download_->file), download_->offset}});
}

// Closes finished files, opens the next. False when nothing more is wanted: all is there, or it was abandoned.
bool SnapshotCourier::advance(Nanos) {
  Download& d = *download_;
  while (d.file < d.files.size()) {
    if (d.fd < 0) {
      if (!open_next()) {
        abandon();
        return false;
      }
    }
    if (d.offset < d.files[d.file].size) return true;
    const bool sound = d.crc == d.files[d.file].crc && ::fsync(d.fd) == 0;
    ::close(d.fd);
    d.fd = -1;
    if (!sound) {
      abandon();
      return false;
    }
    ++d.file;
    d.offset = 0;
    d.crc = 0;
  }
  if (!finish()) abandon();
  return false;
}

Result<void> SnapshotCourier::open_next() {
  Download& d = *download_;
  const fs::path path = files_path(d.local) + "/" + d.files[d.file].name;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  d.fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
  if (d.fd < 0) return io_error(path.string(), "create");
  return {};
}

Result<void> SnapshotCourier::finish() {
  Download& d = *download_;
  const std::string folder = directory_ + "/" + d.local;
  const std::string name = "snap-" + std::to_string(d.index.value) + "-" + std::to_string(next_no_++);
  if (auto written = write_manifest(folder, {1, d.index, d.files}); !written) return written;
  if (auto synced = sync_folders(folder); !synced) return synced;
  std::error_code error;
  fs::rename(folder, directory_ + "/" + name, error);
  if (error) return fail(Code::kUnavailable, folder + ": " + error.message());
  if (auto synced = sync_path(directory_, O_RDONLY | O_DIRECTORY); !synced) return synced;
  const Download done = std::move(d);
  download_.reset();
  delivering_ = true;
  hooks_.arrived(done.from, done.raft_message, name);
  return {};
}

void SnapshotCourier::abandon() {
  if (!download_) return;
  if (download_->fd >= 0) ::close(download_->fd);
  discard(download_->local);
  download_.reset();
}

Nanos SnapshotCourier::tick(Nanos now) {
  if (!download_) return kForever;
  if (saturating_sub(now, download_->progress_at) > 6 * kGiveUp) {
    abandon();
    return kForever;
  }
  // Progress since the last question means that the answer is on its way.
  const Nanos due = saturating_add(std::max(download_->asked_at, download_->progress_at), kAskAgain);
  if (now < due) return due;
  ask(now);
  return saturating_add(now, kAskAgain);
}

}  // namespace tidelock
