// A shared file that a hostile or broken writer may change anywhere: made once by our own writer, then patched for one
// execution and put back. On a memory file system where there is one.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/fuzz.h"

namespace tidelock::fuzz {

// A folder of this process, removed when it ends.
class Folder {
 public:
  Folder() {
    const std::filesystem::path memory = "/dev/shm";
    const auto root = std::filesystem::exists(memory) ? memory : std::filesystem::temp_directory_path();
    std::string name = (root / "tidelock-fuzz-XXXXXX").string();
    TIDELOCK_ASSERT(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Everything of the file, writable.
class SharedFile {
 public:
  explicit SharedFile(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    struct stat info{};
    TIDELOCK_ASSERT(fd >= 0 && ::fstat(fd, &info) == 0);
    size_ = static_cast<std::size_t>(info.st_size);
    void* data = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    TIDELOCK_ASSERT(data != MAP_FAILED);
    ::close(fd);
    data_ = static_cast<char*>(data);
  }
  ~SharedFile() { ::munmap(data_, size_); }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;

  char* data() { return data_; }
  std::size_t size() const { return size_; }
  void put(std::size_t at, BytesView bytes) {
    if (at >= size_) return;
    bytes = bytes.substr(0, size_ - at);
    undo_.emplace_back(at, Bytes(data_ + at, bytes.size()));
    std::memcpy(data_ + at, bytes.data(), bytes.size());
  }
  void restore() {
    for (; !undo_.empty(); undo_.pop_back())
      std::memcpy(data_ + undo_.back().first, undo_.back().second.data(), undo_.back().second.size());
  }

 private:
  char* data_ = nullptr;
  std::size_t size_ = 0;
  std::vector<std::pair<std::size_t, Bytes>> undo_;
};

}  // namespace tidelock::fuzz
