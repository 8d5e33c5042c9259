// The few file operations that the rooms of this folder share, with the errors they owe (D3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace tidelock::files {

// errno as an Error with its path: full kBusy, ENOENT kNotFound, EACCES/EPERM kDenied, EIO kCorrupt, else kUnavailable.
Error error_of(int error_number, const std::string& doing, const std::string& path);

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd();
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&&) = delete;
  int get() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

// A plain file, no symbolic link. `size_bytes` gets its size.
Result<Fd> open_plain(const std::string& path, std::uint64_t& size_bytes);
Result<Bytes> read_at(int fd, const std::string& path, std::uint64_t offset, std::size_t bytes_max);
// The whole file; kInvalid when it has more than `bytes_max`.
Result<Bytes> read_all(const std::string& path, std::size_t bytes_max);
Result<void> write_all(int fd, const std::string& path, BytesView bytes);
Result<void> sync_fd(int fd, const std::string& path);
Result<void> sync_folder(const std::string& path);
Result<void> make_folders(const std::string& path);
// Replaces `path` as a whole: temporary file beside it, sync, rename, sync of the folder.
Result<void> replace(const std::string& path, BytesView bytes);

}  // namespace tidelock::files
