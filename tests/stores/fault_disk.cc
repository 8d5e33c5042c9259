#include "tests/stores/fault_disk.h"

#include <filesystem>
#include <utility>

namespace tidelock::stores {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace {

class Readable : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  Readable(FaultDisk& disk, std::string path, std::unique_ptr<rocksdb::FSRandomAccessFile> file)
      : FSRandomAccessFileOwnerWrapper(std::move(file)), disk_(disk), path_(std::move(path)) {}
  IOStatus Read(std::uint64_t offset, std::size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* dbg) const override {
    if (IOStatus s = disk_.call("read", path_); !s.ok()) return s;
    return FSRandomAccessFileOwnerWrapper::Read(offset, n, options, result, scratch, dbg);
  }

 private:
  FaultDisk& disk_;
  const std::string path_;
};

class Sequential : public rocksdb::FSSequentialFileOwnerWrapper {
 public:
  Sequential(FaultDisk& disk, std::string path, std::unique_ptr<rocksdb::FSSequentialFile> file)
      : FSSequentialFileOwnerWrapper(std::move(file)), disk_(disk), path_(std::move(path)) {}
  IOStatus Read(std::size_t n, const IOOptions& options, Slice* result, char* scratch, IODebugContext* dbg) override {
    if (IOStatus s = disk_.call("read", path_); !s.ok()) return s;
    return FSSequentialFileOwnerWrapper::Read(n, options, result, scratch, dbg);
  }

 private:
  FaultDisk& disk_;
  const std::string path_;
};

class Writable : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  Writable(FaultDisk& disk, std::string path, std::unique_ptr<rocksdb::FSWritableFile> file)
      : FSWritableFileOwnerWrapper(std::move(file)), disk_(disk), path_(std::move(path)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* dbg) override {
    if (IOStatus s = disk_.call("append", path_); !s.ok()) {
      if (disk_.half_written()) {
        const Slice half(data.data(), data.size() / 2);
        if (FSWritableFileOwnerWrapper::Append(half, options, dbg).ok()) tell_appended(half);
      }
      return s;
    }
    IOStatus s = FSWritableFileOwnerWrapper::Append(data, options, dbg);
    if (s.ok()) tell_appended(data);
    return s;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* dbg) override {
    return Append(data, options, dbg);
  }
  IOStatus Truncate(std::uint64_t size, const IOOptions& options, IODebugContext* dbg) override {
    if (IOStatus s = disk_.call("truncate", path_); !s.ok()) return s;
    IOStatus s = FSWritableFileOwnerWrapper::Truncate(size, options, dbg);
    if (s.ok()) disk_.tell({DiskOp::kTruncate, path_, {}, {}, size});
    return s;
  }
  IOStatus Flush(const IOOptions& options, IODebugContext* dbg) override {
    if (IOStatus s = disk_.call("flush", path_); !s.ok()) return s;
    return FSWritableFileOwnerWrapper::Flush(options, dbg);
  }
  // What was appended while the sync ran may or may not be in it: the story says it is not.
  IOStatus Sync(const IOOptions&, IODebugContext*) override { return synced(); }
  IOStatus Fsync(const IOOptions&, IODebugContext*) override { return synced(); }
  IOStatus RangeSync(std::uint64_t, std::uint64_t, const IOOptions&, IODebugContext*) override {
    return disk_.call("range sync", path_);  // a hint, no promise
  }
  IOStatus Close(const IOOptions& options, IODebugContext* dbg) override {
    IOStatus told = disk_.call("close", path_);
    IOStatus s = FSWritableFileOwnerWrapper::Close(options, dbg);
    return told.ok() ? s : told;
  }
  IOStatus Allocate(std::uint64_t offset, std::uint64_t length, const IOOptions& options,
                    IODebugContext* dbg) override {
    if (IOStatus s = disk_.call("allocate", path_); !s.ok()) return s;
    return FSWritableFileOwnerWrapper::Allocate(offset, length, options, dbg);
  }

 private:
  void tell_appended(const Slice& data) {
    disk_.tell({DiskOp::kAppend, path_, {}, Bytes(data.data(), data.size()), 0});
  }
  // Nothing here needs the real disk to be still: power cuts are made from the story.
  IOStatus synced() {
    if (IOStatus s = disk_.call("sync", path_); !s.ok()) return s;
    disk_.tell({DiskOp::kSync, path_, {}, {}, 0});
    return IOStatus::OK();
  }
  FaultDisk& disk_;
  const std::string path_;
};

class Folder : public rocksdb::FSDirectoryWrapper {
 public:
  Folder(FaultDisk& disk, std::string path, std::unique_ptr<rocksdb::FSDirectory> folder)
      : FSDirectoryWrapper(std::move(folder)), disk_(disk), path_(std::move(path)) {}
  IOStatus Fsync(const IOOptions&, IODebugContext*) override { return synced(); }
  IOStatus FsyncWithDirOptions(const IOOptions&, IODebugContext*, const rocksdb::DirFsyncOptions&) override {
    return synced();
  }

 private:
  IOStatus synced() {
    if (IOStatus s = disk_.call("sync folder", path_); !s.ok()) return s;
    disk_.tell({DiskOp::kSyncFolder, path_, {}, {}, 0});
    return IOStatus::OK();
  }
  FaultDisk& disk_;
  const std::string path_;
};

}  // namespace

std::uint64_t FaultDisk::calls() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}
std::string FaultDisk::failed_call() const {
  const std::lock_guard lock(mutex_);
  return failed_call_;
}
std::map<std::string, std::uint64_t> FaultDisk::calls_by_name() const {
  const std::lock_guard lock(mutex_);
  return by_name_;
}
std::vector<DiskOp> FaultDisk::story() const {
  const std::lock_guard lock(mutex_);
  return story_;
}
void FaultDisk::note(DiskOp::Kind kind, std::uint64_t number) { tell({kind, {}, {}, {}, number}); }
void FaultDisk::tell(DiskOp op) {
  if (!keeps_story_) return;
  const std::lock_guard lock(mutex_);
  story_.push_back(std::move(op));
}

IOStatus FaultDisk::call(const char* name, const std::string& path) {
  const std::lock_guard lock(mutex_);
  ++calls_;
  ++by_name_[name];
  if (fault_.at == 0 || calls_ < fault_.at || (calls_ > fault_.at && !fault_.for_ever)) return IOStatus::OK();
  const std::string what = std::string(name) + " " + std::filesystem::path(path).filename().string();
  if (failed_call_.empty()) failed_call_ = what;
  if (fault_.kind == DiskFault::kBroken) return IOStatus::IOError(what, "injected: Input/output error");
  IOStatus full = IOStatus::NoSpace(what, "injected: No space left on device");
  full.SetRetryable(true);  // as RocksDB's own file system says of ENOSPC
  return full;
}

IOStatus FaultDisk::NewSequentialFile(const std::string& path, const FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* result, IODebugContext* dbg) {
  if (IOStatus s = call("open", path); !s.ok()) return s;
  IOStatus s = target()->NewSequentialFile(path, options, result, dbg);
  if (s.ok()) *result = std::make_unique<Sequential>(*this, path, std::move(*result));
  return s;
}
IOStatus FaultDisk::NewRandomAccessFile(const std::string& path, const FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* result, IODebugContext* dbg) {
  if (IOStatus s = call("open", path); !s.ok()) return s;
  IOStatus s = target()->NewRandomAccessFile(path, options, result, dbg);
  if (s.ok()) *result = std::make_unique<Readable>(*this, path, std::move(*result));
  return s;
}
IOStatus FaultDisk::NewWritableFile(const std::string& path, const FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext* dbg) {
  if (IOStatus s = call("create", path); !s.ok()) return s;
  IOStatus s = target()->NewWritableFile(path, options, result, dbg);
  if (!s.ok()) return s;
  tell({DiskOp::kCreate, path, {}, {}, 0});
  *result = std::make_unique<Writable>(*this, path, std::move(*result));
  return s;
}
IOStatus FaultDisk::ReopenWritableFile(const std::string& path, const FileOptions&,
                                       std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) {
  return IOStatus::NotSupported("the story knows no reopened files", path);
}
IOStatus FaultDisk::ReuseWritableFile(const std::string& path, const std::string&, const FileOptions&,
                                      std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) {
  return IOStatus::NotSupported("the story knows no reused files", path);
}
IOStatus FaultDisk::NewDirectory(const std::string& path, const IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* result, IODebugContext* dbg) {
  if (IOStatus s = call("open folder", path); !s.ok()) return s;
  IOStatus s = target()->NewDirectory(path, options, result, dbg);
  if (s.ok()) *result = std::make_unique<Folder>(*this, path, std::move(*result));
  return s;
}
IOStatus FaultDisk::FileExists(const std::string& path, const IOOptions& options, IODebugContext* dbg) {
  if (IOStatus s = call("exists", path); !s.ok()) return s;
  return target()->FileExists(path, options, dbg);
}
IOStatus FaultDisk::GetChildren(const std::string& path, const IOOptions& options, std::vector<std::string>* result,
                                IODebugContext* dbg) {
  if (IOStatus s = call("list", path); !s.ok()) return s;
  return target()->GetChildren(path, options, result, dbg);
}
IOStatus FaultDisk::GetFileSize(const std::string& path, const IOOptions& options, std::uint64_t* size,
                                IODebugContext* dbg) {
  if (IOStatus s = call("size", path); !s.ok()) return s;
  return target()->GetFileSize(path, options, size, dbg);
}
IOStatus FaultDisk::DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* dbg) {
  if (IOStatus s = call("remove", path); !s.ok()) return s;
  IOStatus s = target()->DeleteFile(path, options, dbg);
  if (s.ok()) tell({DiskOp::kRemove, path, {}, {}, 0});
  return s;
}
IOStatus FaultDisk::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                               IODebugContext* dbg) {
  if (IOStatus s = call("rename", from); !s.ok()) return s;
  IOStatus s = target()->RenameFile(from, to, options, dbg);
  if (s.ok()) tell({DiskOp::kRename, from, to, {}, 0});
  return s;
}
IOStatus FaultDisk::LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                             IODebugContext* dbg) {
  if (IOStatus s = call("link", from); !s.ok()) return s;
  IOStatus s = target()->LinkFile(from, to, options, dbg);
  if (s.ok()) tell({DiskOp::kLink, from, to, {}, 0});
  return s;
}
IOStatus FaultDisk::Truncate(const std::string& path, std::size_t size, const IOOptions& options, IODebugContext* dbg) {
  if (IOStatus s = call("truncate", path); !s.ok()) return s;
  IOStatus s = target()->Truncate(path, size, options, dbg);
  if (s.ok()) tell({DiskOp::kTruncate, path, {}, {}, size});
  return s;
}

}  // namespace tidelock::stores
