// A blob is born as partial/<hex>.<size>, is hashed while it is written, synced, and renamed into blobs/: whatever lies
// in blobs/ was whole and right when it came there. What was written before a kill is hashed again when the transfer
// resumes; if a power cut left wrong bytes in it, commit finds out and drops the file.
#include "store/models/blob_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <tuple>
#include <utility>

#include "codec/manifest.h"
#include "store/models/files.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kReadBytes = 1u << 20;
constexpr std::size_t kPinNameBytesMax = 128;
constexpr std::size_t kPinFileBytesMax = 8u << 20;

bool is_hex_digest(std::string_view text) {
  return text.size() == 2 * kSha256Bytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}
Bytes from_hex(std::string_view hex) {
  const auto nibble = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  Bytes out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(nibble(hex[i]) << 4 | nibble(hex[i + 1])));
  return out;
}
Result<std::string> hex_of(BytesView sha256_raw) {
  if (sha256_raw.size() == kSha256Bytes) return to_hex(sha256_raw);
  return fail(Code::kInvalid, "blob digest: " + std::to_string(sha256_raw.size()) + " bytes; a SHA-256 has 32");
}
Result<void> check_pin_name(std::string_view name) {
  const bool good = !name.empty() && name.size() <= kPinNameBytesMax && name[0] != '.' && !name.ends_with(".tmp") &&
                    std::all_of(name.begin(), name.end(), [](char c) {
                      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
                    });
  if (good) return {};
  return fail(Code::kInvalid,
              "pin name '" + std::string(name.substr(0, kPinNameBytesMax)) +
                  "': give 1 to 128 of a-z, 0-9, '.', '_', '-', not beginning with '.' nor ending with '.tmp'");
}
std::int64_t written_ms(const std::string& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return 0;
  return static_cast<std::int64_t>(info.st_mtim.tv_sec) * 1000 + info.st_mtim.tv_nsec / 1'000'000;
}
// EIO under a writer is this machine's disk, and no word on the bytes that came.
Result<void> of_disk(Result<void> done) {
  return !done && done.error().code == Code::kCorrupt ? fail(Code::kUnavailable, done.error().message) : done;
}
// Hashes a file from its beginning into `hasher`; returns its length.
Result<std::uint64_t> hash_file(int fd, const std::string& path, Sha256& hasher) {
  std::uint64_t at = 0;
  for (;;) {
    const auto piece = files::read_at(fd, path, at, kReadBytes);
    if (!piece) return fail(piece.error());
    if (piece->empty()) return at;
    hasher.update(*piece);
    at += piece->size();
  }
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------- mapping

BlobMapping::~BlobMapping() {
  if (data_ != nullptr && size_ > 0) ::munmap(const_cast<char*>(data_), size_);
}
BlobMapping::BlobMapping(BlobMapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
BlobMapping& BlobMapping::operator=(BlobMapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

BlobFile::~BlobFile() {
  if (fd_ >= 0) ::close(fd_);
}
BlobFile::BlobFile(BlobFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), size_bytes_(other.size_bytes_) {}
BlobFile& BlobFile::operator=(BlobFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

Result<Bytes> BlobFile::read(std::uint64_t offset, std::size_t bytes) const {
  auto piece = files::read_at(fd_, path_, offset, bytes);
  if (!piece) return fail(Code::kUnavailable, piece.error().message);
  if (piece->size() == bytes) return piece;
  return fail(Code::kUnavailable, "read " + path_ + ": it ends at byte " + std::to_string(offset + piece->size()) +
                                      " of " + std::to_string(size_bytes_));
}

// ----------------------------------------------------------------------------------------------------------- writer

BlobStore::Writer::Writer(BlobStore& store, std::string hex, std::uint64_t size_bytes, bool sized)
    : store_(store), hex_(std::move(hex)), size_bytes_(size_bytes), sized_(sized) {
  partial_path_ = store_.directory_ + "/partial/" + hex_ + "." + (sized ? std::to_string(size_bytes_) : "any");
}

Result<void> BlobStore::Writer::grow(std::uint64_t bytes) {
  const std::lock_guard lock(store_.mutex_);
  if (store_.options_.quota_bytes > 0) {
    std::uint64_t planned = store_.used_bytes_ + bytes;
    for (const auto& [other, size] : store_.writing_) planned += other == hex_ ? 0 : size;
    if (planned > store_.options_.quota_bytes) {
      return fail(Code::kBusy, "model store " + store_.directory_ + ": blob " + hex_ + " would make " +
                                   std::to_string(planned) + " bytes, the quota is " +
                                   std::to_string(store_.options_.quota_bytes));
    }
  }
  store_.writing_[hex_] = bytes;
  return {};
}

BlobStore::Writer::~Writer() {
  close_file();
  const std::lock_guard lock(store_.mutex_);
  if (reserved_) store_.writing_.erase(hex_);
}

void BlobStore::Writer::close_file() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void BlobStore::Writer::discard() {
  close_file();
  if (!done_) ::unlink(partial_path_.c_str());
  done_ = true;
}

Result<void> BlobStore::Writer::write(BytesView bytes) {
  if (done_) return fail(Code::kInvalid, "blob " + hex_ + ": written to after its end");
  if (bytes.size() > size_bytes_ - offset_) {  // X2: endless data stops at the declared length
    discard();
    return fail(Code::kCorrupt, "blob " + hex_ + ": longer than the " + (sized_ ? "declared " : "largest file of ") +
                                    std::to_string(size_bytes_) + " bytes");
  }
  if (!sized_) {
    if (const auto ok = grow(offset_ + bytes.size()); !ok) return ok;
  }
  if (const auto ok = files::write_all(fd_, partial_path_, bytes); !ok) {
    // Some of it may be in the file: cut it back to what is hashed, so that a resume goes on where this writer stood.
    if (::ftruncate(fd_, static_cast<off_t>(offset_)) != 0) discard();
    close_file();
    done_ = true;
    return of_disk(ok);
  }
  hasher_.update(bytes);
  offset_ += bytes.size();
  return {};
}

Result<void> BlobStore::Writer::commit() {
  if (done_) {
    if (store_.has(from_hex(hex_))) return {};  // it was here already when the writer was made
    return fail(Code::kInvalid, "blob " + hex_ + ": committed after its end");
  }
  if (sized_ && offset_ != size_bytes_) {
    discard();
    return fail(Code::kCorrupt, "blob " + hex_ + ": " + std::to_string(offset_) + " bytes came, " +
                                    std::to_string(size_bytes_) + " were declared");
  }
  if (const std::string got = to_hex(hasher_.finish()); got != hex_) {
    discard();
    return fail(Code::kCorrupt, "blob " + hex_ + ": the bytes hash to " + got);
  }
  const std::string final_path = store_.blob_path(hex_);
  const std::string folder = fs::path(final_path).parent_path().string();
  Result<void> ok{};
  if (::fchmod(fd_, 0444) != 0) ok = fail(files::error_of(errno, "chmod", partial_path_));
  if (ok) ok = files::sync_fd(fd_, partial_path_);
  if (!ok) {  // D3: what a failed sync left in the file cannot be known
    discard();
    return of_disk(ok);
  }
  close_file();
  done_ = true;
  if (ok = files::make_folders(folder); !ok) return of_disk(ok);
  if (::rename(partial_path_.c_str(), final_path.c_str()) != 0)
    return of_disk(fail(files::error_of(errno, "rename", partial_path_)));
  for (const std::string& changed : {folder, store_.directory_ + "/blobs"}) {
    if (ok = files::sync_folder(changed); !ok) return of_disk(ok);
  }
  const std::lock_guard lock(store_.mutex_);
  std::error_code ignored;  // of another source the same file may have begun as well: that part is of no use any more
  for (const auto& entry : fs::directory_iterator(store_.directory_ + "/partial", ignored)) {
    if (entry.path().filename().string().starts_with(hex_ + ".")) fs::remove(entry.path(), ignored);
  }
  store_.writing_.erase(hex_);
  reserved_ = false;
  if (store_.blobs_.emplace(hex_, offset_).second) store_.used_bytes_ += offset_;
  return {};
}

// ------------------------------------------------------------------------------------------------------------ store

BlobStore::BlobStore(std::string directory, BlobStoreOptions options)
    : directory_(std::move(directory)), options_(options) {}

BlobStore::~BlobStore() {
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

Result<std::unique_ptr<BlobStore>> BlobStore::open(const std::string& directory, BlobStoreOptions options) {
  std::unique_ptr<BlobStore> store(new BlobStore(directory, options));
  for (const char* sub : {"/blobs", "/partial", "/pins", "/quarantine"}) {
    if (const auto ok = files::make_folders(directory + sub); !ok) return fail(ok.error());
  }
  const std::string lock_path = directory + "/lock";
  store->lock_fd_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (store->lock_fd_ < 0) return fail(files::error_of(errno, "open", lock_path));
  if (::flock(store->lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return fail(Code::kConflict,
                "model store " + directory + ": in use by another process; stop it or give another folder");
  }
  if (const auto ok = store->load(); !ok) return fail(ok.error());
  return store;
}

Result<void> BlobStore::load() {
  try {
    for (const auto& entry : fs::recursive_directory_iterator(directory_ + "/blobs")) {
      const std::string hex = entry.path().filename().string();
      if (entry.is_symlink() || !entry.is_regular_file() || !is_hex_digest(hex)) continue;
      const std::uint64_t size = entry.file_size();
      blobs_[hex] = size;
      used_bytes_ += size;
    }
    for (const auto& entry : fs::directory_iterator(directory_ + "/pins")) {
      const std::string name = entry.path().filename().string();
      if (!check_pin_name(name)) {  // an interrupted replace
        fs::remove(entry.path());
        continue;
      }
      const auto text = files::read_all(entry.path().string(), kPinFileBytesMax);
      if (!text) return fail(text.error());
      std::set<std::string>& digests = pins_[name];
      for (std::size_t at = 0; at < text->size(); at += 2 * kSha256Bytes + 1) {
        const std::string hex = text->substr(at, 2 * kSha256Bytes);
        if (!is_hex_digest(hex))
          return fail(Code::kCorrupt, "pin file " + entry.path().string() + ": not one hex digest a line");
        digests.insert(hex);
      }
    }
  } catch (const fs::filesystem_error& error) {
    return fail(files::error_of(error.code().value(), "read folder", error.path1().string()));
  }
  return {};
}

std::string BlobStore::blob_path(std::string_view hex) const {
  return directory_ + "/blobs/" + std::string(hex.substr(0, 2)) + "/" + std::string(hex);
}

Result<std::unique_ptr<BlobStore::Writer>> BlobStore::put_stream(BytesView sha256_raw, std::uint64_t size_bytes) {
  return open_writer(sha256_raw, size_bytes, true);
}
Result<std::unique_ptr<BlobStore::Writer>> BlobStore::put_stream(BytesView sha256_raw) {
  return open_writer(sha256_raw, kModelFileBytesMax, false);
}

Result<std::unique_ptr<BlobStore::Writer>> BlobStore::open_writer(BytesView sha256_raw, std::uint64_t size_bytes,
                                                                  bool sized) {
  auto hex = hex_of(sha256_raw);
  if (!hex) return fail(hex.error());
  if (size_bytes > kModelFileBytesMax) {
    return fail(Code::kInvalid, "blob " + *hex + ": " + std::to_string(size_bytes) + " bytes; at most " +
                                    std::to_string(kModelFileBytesMax));
  }
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = blobs_.find(*hex); it != blobs_.end()) {
      if (sized && it->second != size_bytes) {
        return fail(Code::kCorrupt, "blob " + *hex + ": declared with " + std::to_string(size_bytes) +
                                        " bytes, it has " + std::to_string(it->second));
      }
      std::unique_ptr<Writer> writer(new Writer(*this, *hex, size_bytes, sized));
      writer->offset_ = it->second;
      writer->done_ = true;
      return writer;
    }
    if (writing_.contains(*hex)) return fail(Code::kConflict, "blob " + *hex + ": another transfer is writing it");
    if (sized && options_.quota_bytes > 0) {
      std::uint64_t planned = used_bytes_ + size_bytes;
      for (const auto& [other, size] : writing_) planned += size;
      std::uint64_t set_aside = 0;
      for (const Garbage& one : quarantined()) set_aside += one.bytes;
      if (planned + set_aside > options_.quota_bytes) drop_quarantined(0);  // the flash has better use for it
      if (planned > options_.quota_bytes) {
        return fail(Code::kBusy, "model store " + directory_ + ": " + std::to_string(size_bytes) +
                                     " bytes more would make " + std::to_string(planned) + ", the quota is " +
                                     std::to_string(options_.quota_bytes));
      }
    }
    writing_[*hex] = sized ? size_bytes : 0;
  }
  // From here on this writer owns the partial file, and its destructor ends the reservation.
  std::unique_ptr<Writer> writer(new Writer(*this, *hex, size_bytes, sized));
  writer->reserved_ = true;
  const std::string& path = writer->partial_path_;
  writer->fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (writer->fd_ < 0) return fail(files::error_of(errno, "create", path));
  // Reserves the space without showing it as length: a full disk is met here (D3), not in the middle of a transfer.
  if (sized && size_bytes > 0 &&
      ::fallocate(writer->fd_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size_bytes)) != 0 &&
      (errno == ENOSPC || errno == EDQUOT)) {
    const Error error = files::error_of(errno, "reserve " + std::to_string(size_bytes) + " bytes for", path);
    struct stat info{};
    if (::fstat(writer->fd_, &info) == 0 && info.st_size == 0) writer->discard();
    return fail(error);
  }
  const auto length = hash_file(writer->fd_, path, writer->hasher_);
  if (!length) return fail(length.error());
  writer->offset_ = *length;
  if (*length > size_bytes) {  // not ours: no writer of ours passes the declared length
    if (::ftruncate(writer->fd_, 0) != 0) return fail(files::error_of(errno, "truncate", path));
    writer->hasher_ = Sha256();
    writer->offset_ = 0;
  }
  return writer;
}

Result<Bytes> BlobStore::put(BytesView bytes) {
  Bytes digest = sha256(bytes);
  const auto writer = put_stream(digest, bytes.size());
  if (!writer) return fail(writer.error());
  if ((*writer)->offset() < bytes.size()) {
    if (const auto ok = (*writer)->write(bytes.substr((*writer)->offset())); !ok) return fail(ok.error());
  }
  if (const auto ok = (*writer)->commit(); !ok) return fail(ok.error());
  return digest;
}

Result<Bytes> BlobStore::put_file(const std::string& path) {
  std::uint64_t size = 0;
  const auto fd = files::open_plain(path, size);
  if (!fd) return fail(fd.error());
  Sha256 hasher;
  const auto length = hash_file(fd->get(), path, hasher);
  if (!length) return fail(length.error());
  Bytes digest = hasher.finish();
  const auto writer = put_stream(digest, *length);
  if (!writer) return fail(writer.error());
  while ((*writer)->offset() < *length) {
    const auto piece = files::read_at(fd->get(), path, (*writer)->offset(), kReadBytes);
    if (!piece) return fail(piece.error());
    if (piece->empty()) return fail(Code::kCorrupt, path + ": became shorter while it was read");
    if (const auto ok = (*writer)->write(*piece); !ok) return fail(ok.error());
  }
  if (const auto ok = (*writer)->commit(); !ok) return fail(ok.error());
  return digest;
}

bool BlobStore::has(BytesView sha256_raw) const {
  const std::lock_guard lock(mutex_);
  return sha256_raw.size() == kSha256Bytes && blobs_.contains(to_hex(sha256_raw));
}

Result<std::uint64_t> BlobStore::size_bytes(BytesView sha256_raw) const {
  const auto hex = hex_of(sha256_raw);
  if (!hex) return fail(hex.error());
  const std::lock_guard lock(mutex_);
  const auto it = blobs_.find(*hex);
  if (it == blobs_.end()) return fail(Code::kNotFound, "no blob " + *hex + " in " + directory_);
  return it->second;
}

Result<std::string> BlobStore::path(BytesView sha256_raw) const {
  if (const auto size = size_bytes(sha256_raw); !size) return fail(size.error());
  return blob_path(to_hex(sha256_raw));
}

Result<Bytes> BlobStore::read(BytesView sha256_raw, std::uint64_t offset, std::size_t bytes_max) const {
  const auto where = path(sha256_raw);
  if (!where) return fail(where.error());
  std::uint64_t size = 0;
  const auto fd = files::open_plain(*where, size);
  if (!fd) return fail(fd.error());
  if (offset > size) {
    return fail(Code::kInvalid, "blob " + to_hex(sha256_raw) + ": offset " + std::to_string(offset) +
                                    " lies beyond its " + std::to_string(size) + " bytes");
  }
  return files::read_at(fd->get(), *where, offset,
                        static_cast<std::size_t>(std::min<std::uint64_t>(bytes_max, size - offset)));
}

Result<BlobMapping> BlobStore::map(BytesView sha256_raw) const {
  const auto where = path(sha256_raw);
  if (!where) return fail(where.error());
  std::uint64_t size = 0;
  const auto fd = files::open_plain(*where, size);
  if (!fd) return fail(fd.error());
  BlobMapping mapping;
  if (size == 0) return mapping;
  void* at = ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_SHARED, fd->get(), 0);
  if (at == MAP_FAILED) return fail(files::error_of(errno, "map", *where));
  mapping.data_ = static_cast<const char*>(at);
  mapping.size_ = static_cast<std::size_t>(size);
#ifdef MADV_POPULATE_READ  // kernels before 5.14 do not know it
  // A sector that cannot be read is an error here, and not a SIGBUS of whoever looks at it.
  if (::madvise(at, mapping.size_, MADV_POPULATE_READ) != 0 && errno == EFAULT)
    return fail(Code::kUnavailable, "map " + *where + ": the disk does not give it");
#endif
  return mapping;
}

Result<BlobFile> BlobStore::open_file(BytesView sha256_raw) const {
  const auto known = size_bytes(sha256_raw);
  if (!known) return fail(known.error());
  std::string where = blob_path(to_hex(sha256_raw));
  std::uint64_t size = 0;
  auto fd = files::open_plain(where, size);
  if (!fd) return fail(fd.error());
  if (size == *known) return BlobFile(fd->release(), std::move(where), size);
  return fail(Code::kCorrupt,
              "blob " + where + ": has " + std::to_string(size) + " bytes, it came with " + std::to_string(*known));
}

Result<void> BlobStore::examine(BytesView sha256_raw, const std::function<bool(std::uint64_t bytes)>& piece) const {
  bool unread = false;
  auto looked = look(sha256_raw, piece, unread);
  if (!looked && unread && looked.error().code == Code::kCorrupt)
    return fail(Code::kUnavailable, looked.error().message);
  return looked;
}

Result<void> BlobStore::look(BytesView sha256_raw, const std::function<bool(std::uint64_t bytes)>& piece,
                             bool& unread) const {
  const auto where = path(sha256_raw);
  if (!where) return fail(where.error());
  std::uint64_t size = 0;
  const auto fd = files::open_plain(*where, size);
  if (!fd) {
    if (fd.error().code == Code::kInvalid) return fail(Code::kCorrupt, fd.error().message);  // not even a file
    unread = true;
    return fail(fd.error());
  }
  Sha256 hasher;
  for (std::uint64_t at = 0;;) {
    const auto bytes = files::read_at(fd->get(), *where, at, kReadBytes);
    unread = !bytes;
    if (!bytes) return fail(bytes.error());
    if (bytes->empty()) break;
    hasher.update(*bytes);
    at += bytes->size();
    if (piece && !piece(bytes->size())) return fail(Code::kUnavailable, "blob " + *where + ": not read to its end");
  }
  const std::string got = to_hex(hasher.finish());
  if (got == to_hex(sha256_raw)) return {};
  return fail(Code::kCorrupt, "blob " + *where + ": damaged on disk, its bytes hash to " + got);
}

Result<void> BlobStore::verify(BytesView sha256_raw, const std::function<bool(std::uint64_t bytes)>& piece) {
  bool unread = false;
  auto looked = look(sha256_raw, piece, unread);
  if (looked || (looked.error().code != Code::kCorrupt && looked.error().code != Code::kNotFound)) return looked;
  const std::string hex = to_hex(sha256_raw);
  if (looked.error().code == Code::kCorrupt) {
    quarantine(hex);
    looked = fail(Code::kCorrupt, looked.error().message + "; it is set aside, fetch it again");
  }
  // A damaged file is no blob, pinned or not: what M8 protects is gone, and only its absence lets it be fetched anew.
  const std::lock_guard lock(mutex_);
  if (const auto it = blobs_.find(hex); it != blobs_.end()) {
    used_bytes_ -= it->second;
    blobs_.erase(it);
  }
  return looked;
}

// A file that cannot be set aside goes at once: it must not be found again.
void BlobStore::quarantine(const std::string& hex) {
  const std::string from = blob_path(hex), to = directory_ + "/quarantine/" + hex;
  if (::rename(from.c_str(), to.c_str()) != 0) ::unlink(from.c_str());
  drop_quarantined(kQuarantineMax);
}

std::vector<Garbage> BlobStore::quarantined() const {
  std::vector<Garbage> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory_ + "/quarantine", ignored)) {
    const std::string hex = entry.path().filename().string();
    if (!is_hex_digest(hex)) continue;
    found.push_back({GarbageKind::kQuarantined, from_hex(hex), entry.file_size(ignored), 0});
  }
  return found;
}

// All but the newest `keep`.
void BlobStore::drop_quarantined(std::size_t keep) const {
  std::vector<std::pair<timespec, std::string>> by_age;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory_ + "/quarantine", ignored)) {
    struct stat info{};
    if (::lstat(entry.path().c_str(), &info) == 0) by_age.emplace_back(info.st_ctim, entry.path().string());
  }
  std::sort(by_age.begin(), by_age.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first.tv_sec, a.first.tv_nsec, a.second) > std::tie(b.first.tv_sec, b.first.tv_nsec, b.second);
  });
  for (std::size_t i = keep; i < by_age.size(); ++i) fs::remove_all(by_age[i].second, ignored);
}

std::vector<PartialInfo> BlobStore::partials() const {
  std::vector<PartialInfo> found;
  const std::lock_guard lock(mutex_);
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory_ + "/partial", ignored)) {
    const std::string hex = entry.path().filename().string().substr(0, 2 * kSha256Bytes);
    if (is_hex_digest(hex)) found.push_back({from_hex(hex), entry.file_size(ignored), writing_.contains(hex)});
  }
  return found;
}

Result<void> BlobStore::pin(std::string_view name, const std::vector<Bytes>& sha256s) {
  if (const auto ok = check_pin_name(name); !ok) return ok;
  std::set<std::string> digests;
  for (const Bytes& digest : sha256s) {
    auto hex = hex_of(digest);
    if (!hex) return fail(hex.error());
    digests.insert(std::move(*hex));
  }
  std::string text;
  for (const std::string& hex : digests) text += hex + "\n";
  if (text.size() > kPinFileBytesMax) {
    return fail(Code::kInvalid, "pin '" + std::string(name) + "': " + std::to_string(digests.size()) +
                                    " digests; at most " + std::to_string(kPinFileBytesMax / (2 * kSha256Bytes + 1)));
  }
  const std::lock_guard lock(mutex_);
  if (const auto it = pins_.find(std::string(name)); it != pins_.end() && it->second == digests) return {};
  if (const auto ok = files::replace(directory_ + "/pins/" + std::string(name), text); !ok) return ok;
  pins_[std::string(name)] = std::move(digests);
  return {};
}

Result<void> BlobStore::unpin(std::string_view name) {
  if (const auto ok = check_pin_name(name); !ok) return ok;
  const std::lock_guard lock(mutex_);
  if (pins_.erase(std::string(name)) == 0) return {};
  const std::string path = directory_ + "/pins/" + std::string(name);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail(files::error_of(errno, "remove", path));
  return files::sync_folder(directory_ + "/pins");
}

std::vector<std::string> BlobStore::pins() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  names.reserve(pins_.size());
  for (const auto& [name, digests] : pins_) names.push_back(name);
  return names;
}

std::vector<Bytes> BlobStore::pinned_by(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  std::vector<Bytes> digests;
  const auto pin = pins_.find(std::string(name));
  if (pin == pins_.end()) return digests;
  for (const std::string& hex : pin->second) digests.push_back(from_hex(hex));
  return digests;
}

bool BlobStore::pinned_hex(std::string_view hex) const {
  return std::any_of(pins_.begin(), pins_.end(),
                     [&](const auto& pin) { return pin.second.contains(std::string(hex)); });
}
bool BlobStore::pinned(BytesView sha256_raw) const {
  const std::lock_guard lock(mutex_);
  return pinned_hex(to_hex(sha256_raw));
}

Result<void> BlobStore::remove(BytesView sha256_raw) {
  const auto hex = hex_of(sha256_raw);
  if (!hex) return fail(hex.error());
  const std::lock_guard lock(mutex_);
  const auto it = blobs_.find(*hex);
  if (it == blobs_.end()) return fail(Code::kNotFound, "no blob " + *hex + " in " + directory_);
  if (pinned_hex(*hex))
    return fail(Code::kDenied,
                "blob " + *hex + ": pinned; a version in use or to fall back to is never deleted");  // M8
  const std::string path = blob_path(*hex);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail(files::error_of(errno, "remove", path));
  used_bytes_ -= it->second;
  blobs_.erase(it);
  return {};
}

void BlobStore::touch(BytesView sha256_raw) const {
  const std::lock_guard lock(mutex_);
  const std::string hex = to_hex(sha256_raw);
  if (blobs_.contains(hex)) (void)::utimensat(AT_FDCWD, blob_path(hex).c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
}

Result<std::vector<Garbage>> BlobStore::collect(const Keep& keep, bool remove) {
  std::vector<Garbage> garbage = quarantined();
  std::vector<std::string> partials, blobs;
  {
    const std::lock_guard lock(mutex_);
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(directory_ + "/partial", ignored))
      partials.push_back(entry.path().string());
    for (const auto& [hex, size] : blobs_) blobs.push_back(hex);
  }
  // An unlink of a large file takes its time: the lock is let go after each.
  for (const std::string& path : partials) {
    const std::string hex = fs::path(path).filename().string().substr(0, 2 * kSha256Bytes);
    const std::lock_guard lock(mutex_);
    std::error_code error;
    const std::uint64_t size = fs::file_size(path, error);
    if (error || !is_hex_digest(hex) || writing_.contains(hex) || pinned_hex(hex)) continue;
    Garbage one{GarbageKind::kPartial, from_hex(hex), size, written_ms(path)};
    if (keep(one)) continue;
    garbage.push_back(std::move(one));
    if (remove) fs::remove(path, error);
  }
  for (const std::string& hex : blobs) {
    const std::lock_guard lock(mutex_);
    const auto it = blobs_.find(hex);
    if (it == blobs_.end() || pinned_hex(hex)) continue;  // M8
    const std::string path = blob_path(hex);
    Garbage one{GarbageKind::kBlob, from_hex(hex), it->second, written_ms(path)};
    if (keep(one)) continue;
    garbage.push_back(std::move(one));
    if (!remove) continue;
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail(files::error_of(errno, "remove", path));
    used_bytes_ -= it->second;
    blobs_.erase(it);
  }
  if (remove) drop_quarantined(0);
  return garbage;
}

Result<std::uint64_t> BlobStore::make_room(std::uint64_t bytes_needed) {
  const std::lock_guard lock(mutex_);
  std::uint64_t freed = 0;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory_ + "/partial", ignored)) {
    const std::string hex = entry.path().filename().string().substr(0, 2 * kSha256Bytes);
    if (writing_.contains(hex) || pinned_hex(hex)) continue;  // a pinned partial is a transfer that will be resumed
    const std::uint64_t size = entry.file_size(ignored);
    if (fs::remove(entry.path(), ignored)) freed += size;
  }
  if (options_.quota_bytes == 0) return freed;
  drop_quarantined(0);
  std::uint64_t planned = used_bytes_ + bytes_needed;
  for (const auto& [hex, size] : writing_) planned += size;

  std::vector<std::pair<fs::file_time_type, std::string>> by_age;
  for (const auto& [hex, size] : blobs_) {
    if (!pinned_hex(hex)) by_age.emplace_back(fs::last_write_time(blob_path(hex), ignored), hex);  // M8
  }
  std::sort(by_age.begin(), by_age.end());
  for (const auto& [time, hex] : by_age) {
    if (planned <= options_.quota_bytes) break;
    const std::string path = blob_path(hex);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail(files::error_of(errno, "remove", path));
    const std::uint64_t size = blobs_.at(hex);
    blobs_.erase(hex);
    used_bytes_ -= size;
    planned -= size;
    freed += size;
  }
  if (planned > options_.quota_bytes) {
    return fail(Code::kBusy, "model store " + directory_ + ": " + std::to_string(bytes_needed) +
                                 " bytes more do not fit beside " + std::to_string(planned - bytes_needed) +
                                 " pinned or arriving; the quota is " + std::to_string(options_.quota_bytes));
  }
  return freed;
}

std::vector<BlobInfo> BlobStore::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<BlobInfo> out;
  out.reserve(blobs_.size());
  for (const auto& [hex, size] : blobs_) out.push_back({from_hex(hex), size, pinned_hex(hex)});
  return out;
}

std::uint64_t BlobStore::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_bytes_;
}

}  // namespace tidelock
