// FaultDisk is a file system below RocksDB that works on real files and beside that can
//   - fail its k-th call, once or from then on, as a full disk, a broken one, or one that took half of a write;
//   - keep the story of what was written and what was synced, from which power_cut.h makes the folders that a power cut
//     at any point of the story may leave behind.
//
// Threads: any. The story is in the order in which the calls returned.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace tidelock::stores {

struct DiskOp {
  enum Kind : std::uint8_t {
    kCreate,
    kAppend,
    kTruncate,
    kSync,
    kRename,
    kRemove,
    kLink,
    kSyncFolder,
    kIssued,
    kDurable
  };
  Kind kind = kCreate;
  std::string path, other;   // the whole path; `other` is where a rename or link leads
  Bytes data;                // kAppend
  std::uint64_t number = 0;  // kTruncate: the new size; kIssued, kDurable: of a commit
};

struct DiskFault {
  enum Kind : std::uint8_t { kBroken, kFull, kShortWrite };
  std::uint64_t at = 0;  // the number of the call that fails, from 1; 0: none
  Kind kind = kBroken;
  bool for_ever = false;
};

class FaultDisk : public rocksdb::FileSystemWrapper {
 public:
  explicit FaultDisk(DiskFault fault, bool keep_story = false)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), fault_(fault), keeps_story_(keep_story) {}
  const char* Name() const override { return "FaultDisk"; }

  std::uint64_t calls() const;
  bool tripped() const { return fault_.at != 0 && calls() >= fault_.at; }
  std::string failed_call() const;  // "append 000004.log"; empty: none yet
  std::map<std::string, std::uint64_t> calls_by_name() const;
  std::vector<DiskOp> story() const;
  void note(DiskOp::Kind kind, std::uint64_t number);  // kIssued, kDurable

  // For the files that belong to it.
  rocksdb::IOStatus call(const char* name, const std::string& path);
  bool half_written() const { return fault_.kind == DiskFault::kShortWrite; }
  void tell(DiskOp op);

  rocksdb::IOStatus NewSequentialFile(const std::string&, const rocksdb::FileOptions&,
                                      std::unique_ptr<rocksdb::FSSequentialFile>*, rocksdb::IODebugContext*) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string&, const rocksdb::FileOptions&,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>*,
                                        rocksdb::IODebugContext*) override;
  rocksdb::IOStatus NewWritableFile(const std::string&, const rocksdb::FileOptions&,
                                    std::unique_ptr<rocksdb::FSWritableFile>*, rocksdb::IODebugContext*) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string&, const rocksdb::FileOptions&,
                                       std::unique_ptr<rocksdb::FSWritableFile>*, rocksdb::IODebugContext*) override;
  rocksdb::IOStatus ReuseWritableFile(const std::string&, const std::string&, const rocksdb::FileOptions&,
                                      std::unique_ptr<rocksdb::FSWritableFile>*, rocksdb::IODebugContext*) override;
  rocksdb::IOStatus NewDirectory(const std::string&, const rocksdb::IOOptions&, std::unique_ptr<rocksdb::FSDirectory>*,
                                 rocksdb::IODebugContext*) override;
  rocksdb::IOStatus FileExists(const std::string&, const rocksdb::IOOptions&, rocksdb::IODebugContext*) override;
  rocksdb::IOStatus GetChildren(const std::string&, const rocksdb::IOOptions&, std::vector<std::string>*,
                                rocksdb::IODebugContext*) override;
  rocksdb::IOStatus GetFileSize(const std::string&, const rocksdb::IOOptions&, std::uint64_t*,
                                rocksdb::IODebugContext*) override;
  rocksdb::IOStatus DeleteFile(const std::string&, const rocksdb::IOOptions&, rocksdb::IODebugContext*) override;
  rocksdb::IOStatus RenameFile(const std::string&, const std::string&, const rocksdb::IOOptions&,
                               rocksdb::IODebugContext*) override;
  rocksdb::IOStatus LinkFile(const std::string&, const std::string&, const rocksdb::IOOptions&,
                             rocksdb::IODebugContext*) override;
  rocksdb::IOStatus Truncate(const std::string&, std::size_t, const rocksdb::IOOptions&,
                             rocksdb::IODebugContext*) override;

 private:
  const DiskFault fault_;
  const bool keeps_story_;
  mutable std::mutex mutex_;
  std::uint64_t calls_ = 0;
  std::string failed_call_;
  std::map<std::string, std::uint64_t> by_name_;
  std::vector<DiskOp> story_;
};

}  // namespace tidelock::stores
