#include "memory/shared_mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace tidelock {
namespace {

tl::unexpected<Error> system_error(const std::string& path, const char* doing, int error) {
  return fail(Code::kUnavailable, path + ": " + doing + ": " + std::strerror(error));
}

// One look-up of an address then covers 2 MiB. A file of a mounted tmpfs gets them when its mount says huge=advise (or
// always, or within_size, which need no advice), or when /sys/kernel/mm/transparent_hugepage/shmem_enabled says
// "force"; "deny" there is a no for all, and its other words are for mappings without a file. `tidelock doctor` tells.
// A refusal costs nothing.
void ask_for_huge_pages(void* data, std::size_t size_bytes) {
  constexpr std::size_t kWorthBytes = 16u << 20;
  if (size_bytes >= kWorthBytes) (void)::madvise(data, size_bytes, MADV_HUGEPAGE);
}

}  // namespace

Result<std::unique_ptr<SharedMapping>> SharedMapping::create(const std::string& path, std::size_t size_bytes,
                                                             std::size_t reserved_bytes) {
  std::unique_ptr<SharedMapping> mapping(new SharedMapping);
  mapping->path_ = path;
  mapping->temporary_ = path + ".new";
  const char* name = mapping->temporary_.c_str();
  int& fd = mapping->fd_;
  fd = ::open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0 && errno == EEXIST) {  // the edge's data folder is locked (F11): whoever made this is dead
    ::unlink(name);
    fd = ::open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
  }
  if (fd < 0) {
    const int error = errno;
    mapping->temporary_.clear();
    return system_error(path, "create", error);
  }
  if (::ftruncate(fd, static_cast<off_t>(size_bytes)) != 0) return system_error(path, "set the size", errno);
  struct stat info{};
  ::fstat(fd, &info);
  void* data = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return system_error(path, "map", errno);
  mapping->data_ = data;
  mapping->size_bytes_ = size_bytes;
  ask_for_huge_pages(data, size_bytes);
  if (auto reserved = mapping->reserve(reserved_bytes); !reserved) return fail(std::move(reserved.error()));
  mapping->device_ = info.st_dev;
  mapping->inode_ = info.st_ino;
  return mapping;
}

// Reserved ahead: a full disk is an error here and not a SIGBUS at some later store.
Result<void> SharedMapping::reserve(std::size_t bytes) {
  if (bytes <= reserved_bytes_) return {};
  const int error =
      ::posix_fallocate(fd_, static_cast<off_t>(reserved_bytes_), static_cast<off_t>(bytes - reserved_bytes_));
  if (error != 0) return system_error(path_, "reserve room", error);
  reserved_bytes_ = bytes;
  return {};
}

Result<std::unique_ptr<SharedMapping>> SharedMapping::open(const std::string& path, bool writable,
                                                           std::size_t least_bytes, std::size_t most_bytes,
                                                           bool* missing) {
  if (missing != nullptr) *missing = false;
  // O_NONBLOCK: whatever lies there, a fifo included, must not hold the caller up.
  const int fd = ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    if (missing != nullptr && errno == ENOENT) *missing = true;
    return system_error(path, "open", errno);
  }
  struct stat info{};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return fail(Code::kCorrupt, path + ": not a regular file");
  }
  const auto size_bytes = static_cast<std::uint64_t>(info.st_size);
  if (size_bytes < least_bytes || size_bytes > most_bytes) {
    ::close(fd);
    return fail(Code::kCorrupt,
                path + ": " + std::to_string(size_bytes) + " bytes, expected " +
                    (least_bytes == most_bytes ? std::to_string(least_bytes)
                                               : std::to_string(least_bytes) + ".." + std::to_string(most_bytes)));
  }
  void* data = ::mmap(nullptr, size_bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
  const int map_error = errno;
  ::close(fd);
  if (data == MAP_FAILED) return system_error(path, "map", map_error);
  ask_for_huge_pages(data, size_bytes);
  std::unique_ptr<SharedMapping> mapping(new SharedMapping);
  mapping->path_ = path;
  mapping->data_ = data;
  mapping->size_bytes_ = size_bytes;
  mapping->device_ = info.st_dev;
  mapping->inode_ = info.st_ino;
  return mapping;
}

SharedMapping::~SharedMapping() {
  if (data_ != nullptr) ::munmap(data_, size_bytes_);
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<void> SharedMapping::publish() {
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return system_error(path_, "rename into place", errno);
  temporary_.clear();
  return {};
}

bool SharedMapping::in_place() const {
  struct stat info{};
  return ::stat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_;
}

}  // namespace tidelock
