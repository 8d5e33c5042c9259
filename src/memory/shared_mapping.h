// A file in memory, shared between the edge that writes it and the apps that read it. Inner header of the memory room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"

namespace tidelock {

class SharedMapping {
 public:
  // A new file of zeros beside `path`, with room reserved for its first `reserved_bytes`: what lies behind them must
  // not be touched before `reserve`. It takes the name `path` with publish(). A left-over of a creator that died is
  // removed first.
  static Result<std::unique_ptr<SharedMapping>> create(const std::string& path, std::size_t size_bytes,
                                                       std::size_t reserved_bytes);
  // An existing regular file, whole. kUnavailable when there is none or it may not be opened, kCorrupt when it is
  // smaller than `least_bytes` or larger than `most_bytes`. `*missing` tells "no such file".
  static Result<std::unique_ptr<SharedMapping>> open(const std::string& path, bool writable, std::size_t least_bytes,
                                                     std::size_t most_bytes, bool* missing = nullptr);
  ~SharedMapping();
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;

  // Room for the first `bytes` of a file that was created here. A system call.
  Result<void> reserve(std::size_t bytes);
  Result<void> publish();
  // True when `path` names this very file now.
  bool in_place() const;

  void* data() const { return data_; }
  std::size_t size_bytes() const { return size_bytes_; }
  const std::string& path() const { return path_; }

 private:
  SharedMapping() = default;
  void* data_ = nullptr;
  std::size_t size_bytes_ = 0;
  std::size_t reserved_bytes_ = 0;
  int fd_ = -1;  // of the creator
  std::string path_;
  std::string temporary_;  // until publish()
  std::uint64_t device_ = 0, inode_ = 0;
};

}  // namespace tidelock
