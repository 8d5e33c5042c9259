#include "store/models/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace tidelock::files {

Error error_of(int error_number, const std::string& doing, const std::string& path) {
  Error error;
  error.message = doing + " " + path + ": " + std::strerror(error_number);
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      error.code = Code::kBusy;
      error.message += "; free space on this file system and repeat";
      break;
    case ENOENT: error.code = Code::kNotFound; break;
    case EACCES:
    case EPERM: error.code = Code::kDenied; break;
    case EIO: error.code = Code::kCorrupt; break;
    default: error.code = Code::kUnavailable;
  }
  return error;
}

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

Result<Fd> open_plain(const std::string& path, std::uint64_t& size_bytes) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));  // a pipe must not hold us up
  if (fd.get() < 0) return fail(error_of(errno, "open", path));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return fail(error_of(errno, "stat", path));
  if (!S_ISREG(info.st_mode)) return fail(Code::kInvalid, "open " + path + ": not a plain file");
  size_bytes = static_cast<std::uint64_t>(info.st_size);
  return fd;
}

Result<Bytes> read_at(int fd, const std::string& path, std::uint64_t offset, std::size_t bytes_max) {
  Bytes out(bytes_max, '\0');
  std::size_t got = 0;
  while (got < bytes_max) {
    const ssize_t n = ::pread(fd, out.data() + got, bytes_max - got, static_cast<off_t>(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(error_of(errno, "read", path));
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  out.resize(got);
  return out;
}

Result<Bytes> read_all(const std::string& path, std::size_t bytes_max) {
  std::uint64_t size = 0;
  const auto fd = open_plain(path, size);
  if (!fd) return fail(fd.error());
  if (size > bytes_max) {
    return fail(Code::kInvalid,
                path + ": " + std::to_string(size) + " bytes, at most " + std::to_string(bytes_max) + " are allowed");
  }
  return read_at(fd->get(), path, 0, static_cast<std::size_t>(size));
}

Result<void> write_all(int fd, const std::string& path, BytesView bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(error_of(errno, "write", path));
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<void> sync_fd(int fd, const std::string& path) {
  if (::fsync(fd) == 0) return {};
  Error error = error_of(errno, "sync", path);
  error.code = Code::kBusy;  // D3: never retried on this file
  return fail(std::move(error));
}

Result<void> sync_folder(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return fail(error_of(errno, "open", path));
  return sync_fd(fd.get(), path);
}

Result<void> make_folders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return fail(error_of(error.value(), "create folder", path));
  return {};
}

Result<void> replace(const std::string& path, BytesView bytes) {
  const std::string temporary = path + ".tmp";
  {
    const Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (fd.get() < 0) return fail(error_of(errno, "create", temporary));
    auto done = write_all(fd.get(), temporary, bytes);
    if (done) done = sync_fd(fd.get(), temporary);
    if (!done) {
      ::unlink(temporary.c_str());
      return done;
    }
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail(error_of(errno, "rename", temporary));
  return sync_folder(std::filesystem::path(path).parent_path().string());
}

}  // namespace tidelock::files
