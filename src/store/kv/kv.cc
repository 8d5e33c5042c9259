// Kv on RocksDB 7.8. One DB, one column family per name. Writers are RocksDB's own group commit; the only state of ours
// is the table of families (under a shared lock, because import_family replaces an entry) and the first write error
// (D3).
#include "store/kv/kv.h"

#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/metadata.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/wal_filter.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include "codec/archive.h"
#include "store/kv/kv_seam.h"
#include "store/kv/table_check.h"
#include "store/kv/wal_check.h"

namespace tidelock {

namespace fs = std::filesystem;

constexpr char kExportManifest[] = "export.manifest";  // beside the table files of export_family
constexpr std::size_t kExportFilesMax = 100'000;
constexpr std::size_t kBytesBesideRow =
    128;  // what a batch of writes has at most beside the bytes of one, and at its head

static rocksdb::Slice slice(BytesView bytes) { return {bytes.data(), bytes.size()}; }
static BytesView view(const rocksdb::Slice& s) { return {s.data(), s.size()}; }

static bool is_disk_full(const rocksdb::Status& status) {
  return status.IsNoSpace() || status.ToString().find("No space left") != std::string::npos ||
         status.ToString().find("Disk quota") != std::string::npos;
}

static tl::unexpected<Error> translate(const rocksdb::Status& status, const std::string& directory,
                                       const std::string& doing) {
  const std::string text = directory + ": " + doing + ": " + status.ToString();
  if (status.IsCorruption()) return fail(Code::kCorrupt, text);
  if (is_disk_full(status)) return fail(Code::kBusy, text + "; free some space and restart");
  if (status.IsInvalidArgument() || status.IsNotSupported()) return fail(Code::kInvalid, text);
  if (status.IsNotFound()) return fail(Code::kNotFound, text);
  return fail(Code::kUnavailable, text);
}

// What import_family needs to know of the files of an export.
struct ExportedFile {
  std::string name, smallest, largest;
  std::uint64_t smallest_seqno = 0, largest_seqno = 0, size = 0;
  std::uint32_t level = 0, crc = 0;
  template <class A>
  void fields(A& a) {
    a(name, smallest, largest, smallest_seqno, largest_seqno, size, level, crc);
  }
};
struct Exported {
  std::uint32_t version = 1;
  std::string comparator;
  std::vector<ExportedFile> files;
  template <class A>
  void fields(A& a) {
    a(version, comparator, files);
  }
};

static Result<std::uint32_t> file_crc(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  Bytes buffer(1u << 20, '\0');
  std::uint32_t crc = 0;
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    crc = crc32c(BytesView(buffer.data(), static_cast<std::size_t>(in.gcount())), crc);
  }
  if (!in.eof()) return fail(Code::kUnavailable, path.string() + ": cannot be read");
  return crc;
}

namespace {

void raise(std::atomic<std::uint64_t>& number, std::uint64_t to) {
  std::uint64_t known = number.load(std::memory_order_relaxed);
  while (known < to && !number.compare_exchange_weak(known, to, std::memory_order_relaxed)) {
  }
}

// Ends replay where check_write_ahead_logs says.
class WalStop : public rocksdb::WalFilter {
 public:
  explicit WalStop(const WalEnd& end) : end_(end) {}
  const char* Name() const override { return "WalStop"; }
  WalProcessingOption LogRecordFound(unsigned long long log, const std::string&, const rocksdb::WriteBatch&,
                                     rocksdb::WriteBatch*, bool*) override {
    if (log < end_.log || (log == end_.log && seen_++ < end_.records)) return WalProcessingOption::kContinueProcessing;
    return WalProcessingOption::kStopReplay;
  }

 private:
  const WalEnd end_;
  std::uint64_t seen_ = 0;
};

// Follows what RocksDB does by itself: where its newest log begins, how far its manifest is synced, and its first
// failure. RocksDB would recover from some failures by flushing what it holds behind a log that has a half record in
// it; D3 forbids to try again.
class Watcher : public rocksdb::EventListener {
 public:
  explicit Watcher(const WalEnd& end) : stop_(end) {}
  WalStop* stop() { return &stop_; }  // as long as the database, which names it in its options
  void watch(const rocksdb::DB* db) {
    log_from_ = db->GetLatestSequenceNumber();
    db_.store(db, std::memory_order_release);
  }
  std::uint64_t log_from() const { return log_from_; }
  std::uint64_t manifest() const { return manifest_; }
  void manifest_synced(rocksdb::DB* db) {
    std::vector<std::string> files;
    std::uint64_t bytes = 0, number = 0;
    if (!db->GetLiveFiles(files, &bytes, false).ok()) return;
    constexpr std::string_view kName = "/MANIFEST-";
    for (const std::string& file : files) {
      if (file.starts_with(kName)) std::from_chars(file.data() + kName.size(), file.data() + file.size(), number);
    }
    raise(manifest_, manifest_mark(number, bytes));
  }
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  rocksdb::Status failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

  void OnMemTableSealed(const rocksdb::MemTableInfo&) override {
    if (const rocksdb::DB* db = db_.load(std::memory_order_acquire)) log_from_ = db->GetLatestSequenceNumber();
  }
  void OnFlushCompleted(rocksdb::DB* db, const rocksdb::FlushJobInfo&) override { manifest_synced(db); }
  void OnCompactionCompleted(rocksdb::DB* db, const rocksdb::CompactionJobInfo&) override { manifest_synced(db); }
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* status) override {
    const std::lock_guard lock(mutex_);
    if (failed_.load(std::memory_order_relaxed)) return;
    failure_ = *status;
    failed_.store(true, std::memory_order_release);
  }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* recover) override {
    *recover = false;
  }

 private:
  WalStop stop_;
  std::atomic<const rocksdb::DB*> db_{nullptr};
  std::atomic<std::uint64_t> log_from_{0}, manifest_{0};
  std::atomic<bool> failed_{false};  // set behind failure_
  mutable std::mutex mutex_;
  rocksdb::Status failure_;
};

class RocksKv : public Kv {
 public:
  ~RocksKv() override {
    if (!db_) return;
    if (broken_.load(std::memory_order_acquire)) {
      // Debian's RocksDB asserts that nobody touches a log file again whose write failed, and closing does. The folder
      // stays locked until the process ends, which after D3 it must.
      static_cast<void>(db_.release());
      return;
    }
    rocksdb::CancelAllBackgroundWork(db_.get(), true);
    for (auto& [name, handle] : families_) db_->DestroyColumnFamilyHandle(handle);
    families_.clear();
    const rocksdb::Status closed = db_->Close();
    static_cast<void>(closed);  // everything promised durable is in the synced log
  }

  static Result<std::unique_ptr<Kv>> open(const std::string& directory, const std::vector<std::string>& wanted,
                                          const KvSeam& seam);

  Result<std::optional<Bytes>> get(const std::string& family, BytesView key) const override {
    std::shared_lock lock(mutex_);
    auto* handle = find(family);
    if (handle == nullptr) return unknown(family);
    rocksdb::PinnableSlice value;
    const rocksdb::Status status = db_->Get({}, handle, slice(key), &value);
    if (status.IsNotFound()) return std::optional<Bytes>{};
    if (!status.ok()) return translate(status, directory_, "read in " + family);
    return std::optional<Bytes>(Bytes(value.data(), value.size()));
  }

  Result<void> commit(const KvBatch& batch, Sync sync) override { return commit_all(batch, {}, {}, sync); }
  Result<void> commit_rows(const std::string& family, std::span<const KvRow> rows, KvBatch batch, Sync sync) override {
    return commit_all(batch, family, rows, sync);
  }

  Result<void> commit_all(const KvBatch& batch, const std::string& family, std::span<const KvRow> rows, Sync sync) {
    if (auto able = writable(); !able) return able;
    std::shared_lock lock(mutex_);
    std::size_t bytes = 0;
    for (const KvRow& row : rows) bytes += kBytesBesideRow + row.key.size() + (row.value ? row.value->size() : 0);
    rocksdb::WriteBatch out(bytes == 0 ? 0 : bytes + kBytesBesideRow);
    rocksdb::Status status = out.PutLogData(mark());
    for (const KvBatch::Write& write : batch.writes) {
      auto* handle = find(write.family);
      if (handle == nullptr) return unknown(write.family);
      if (write.value) {
        status = out.Put(handle, slice(write.key), slice(*write.value));
      } else if (write.end) {
        if (*write.end <= write.key) continue;  // an empty range
        status = out.DeleteRange(handle, slice(write.key), slice(*write.end));
      } else {
        status = out.Delete(handle, slice(write.key));
      }
      if (!status.ok()) return translate(status, directory_, "batch for " + write.family);
    }
    auto* of_rows = rows.empty() ? nullptr : find(family);
    if (!rows.empty() && of_rows == nullptr) return unknown(family);
    for (const KvRow& row : rows) {
      status = row.value ? out.Put(of_rows, slice(row.key), slice(*row.value)) : out.Delete(of_rows, slice(row.key));
      if (!status.ok()) return translate(status, directory_, "batch for " + family);
    }
    rocksdb::WriteOptions options;
    options.sync = sync == Sync::kDisk;
    options.memtable_insert_hint_per_batch = !rows.empty();  // they come in the order of their keys, mostly
    const std::uint64_t before = db_->GetLatestSequenceNumber();
    auto done = written(db_->Write(options, &out));
    if (done && options.sync) done = synced(before + out.Count());
    return done;
  }

  Result<void> sync() override {
    if (auto able = writable(); !able) return able;
    const std::uint64_t before = db_->GetLatestSequenceNumber();
    auto done = written(db_->SyncWAL());
    if (done) done = synced(before);
    return done;
  }

  Result<void> scan(const std::string& family, BytesView begin, BytesView end,
                    const std::function<bool(BytesView, BytesView)>& visit) const override {
    std::shared_lock lock(mutex_);
    auto* handle = find(family);
    if (handle == nullptr) return unknown(family);
    const rocksdb::Slice upper = slice(end);
    rocksdb::ReadOptions options;
    if (!end.empty()) options.iterate_upper_bound = &upper;
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options, handle));
    for (it->Seek(slice(begin)); it->Valid(); it->Next()) {
      if (!visit(view(it->key()), view(it->value()))) return {};
    }
    if (!it->status().ok()) return translate(it->status(), directory_, "scan of " + family);
    return {};
  }

  Result<std::optional<Bytes>> last_key(const std::string& family) const override {
    std::shared_lock lock(mutex_);
    auto* handle = find(family);
    if (handle == nullptr) return unknown(family);
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}, handle));
    it->SeekToLast();
    if (it->Valid()) return std::optional<Bytes>(Bytes(view(it->key())));
    if (!it->status().ok()) return translate(it->status(), directory_, "scan of " + family);
    return std::optional<Bytes>{};
  }

  Result<void> export_family(const std::string& family, const std::string& directory) override;
  Result<void> import_family(const std::string& family, const std::string& directory) override;

  bool idle() const {
    using Properties = rocksdb::DB::Properties;
    std::shared_lock lock(mutex_);
    if (broken_.load(std::memory_order_acquire) || watcher_->failed()) return true;
    for (const auto& [name, handle] : families_) {
      for (const auto& property : {Properties::kNumRunningFlushes, Properties::kNumRunningCompactions,
                                   Properties::kMemTableFlushPending, Properties::kCompactionPending}) {
        std::uint64_t count = 0;
        if (db_->GetIntProperty(handle, property, &count) && count > 0) return false;
      }
    }
    return true;
  }

  std::uint64_t approximate_bytes() const override {
    std::shared_lock lock(mutex_);
    std::uint64_t total = 0;
    for (const auto& [name, handle] : families_) {
      std::uint64_t n = 0;
      if (db_->GetIntProperty(handle, rocksdb::DB::Properties::kTotalSstFilesSize, &n)) total += n;
      if (db_->GetIntProperty(handle, rocksdb::DB::Properties::kCurSizeAllMemTables, &n)) total += n;
    }
    return total;
  }

 private:
  RocksKv() = default;

  rocksdb::ColumnFamilyHandle* find(const std::string& family) const {
    const auto it = families_.find(family);
    return it == families_.end() ? nullptr : it->second;
  }
  tl::unexpected<Error> unknown(const std::string& family) const {
    return fail(Code::kInvalid, directory_ + ": family '" + family + "' was not named when the store was opened");
  }
  Bytes mark() const {
    return encode_wal_mark({synced_.load(std::memory_order_relaxed), watcher_->log_from(),
                            unlogged_.load(std::memory_order_relaxed), old_logs_.load(std::memory_order_relaxed),
                            watcher_->manifest()});
  }
  // Everything up to `sequence` is on disk. The mark says so behind it, for the case that nothing else is written.
  Result<void> synced(std::uint64_t sequence) {
    // A log whose rows lie in tables by now was not synced with the others, and may be found torn.
    std::uint64_t needed = 0;
    if (db_->GetIntProperty(rocksdb::DB::Properties::kMinLogNumberToKeep, &needed) && needed > 0)
      raise(old_logs_, needed - 1);
    raise(synced_, sequence);
    rocksdb::WriteBatch out;
    const rocksdb::Status status = out.PutLogData(mark());
    return written(status.ok() ? db_->Write({}, &out) : status);
  }
  Result<void> writable() {
    if (broken_.load(std::memory_order_acquire)) {
      const std::lock_guard lock(error_mutex_);
      return fail(error_);
    }
    return watcher_->failed() ? written(watcher_->failure()) : Result<void>{};
  }
  // D3: after one failed write or sync nothing is tried again; a second fsync may claim what the first one lost.
  Result<void> written(const rocksdb::Status& status) {
    if (status.ok()) return {};
    const std::lock_guard lock(error_mutex_);
    if (!broken_.load(std::memory_order_relaxed)) {
      error_ = Error{Code::kBusy,
                     directory_ + ": write failed, the store is read-only until a restart" +
                         (is_disk_full(status) ? " (the disk is full: free some space first)" : "") + ": " +
                         status.ToString(),
                     {},
                     0};
      broken_.store(true, std::memory_order_release);
    }
    return fail(error_);
  }

  // Fixed once open.
  std::string directory_;
  std::shared_ptr<Watcher> watcher_;
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::ColumnFamilyOptions family_options_;
  // Shared: use of a handle. Exclusive: replacing one.
  mutable std::shared_mutex mutex_;
  std::map<std::string, rocksdb::ColumnFamilyHandle*> families_;
  // Guarded by error_mutex_; broken_ is set behind error_.
  mutable std::mutex error_mutex_;
  Error error_;
  std::atomic<bool> broken_{false};
  std::atomic<std::uint64_t> synced_{0}, unlogged_{0}, old_logs_{0};  // as in WalMark
};

// A file without which no commit can have been made: a table, a log, or a manifest that is not the first. With none of
// them the folder is new, or of a process that was stopped while it made the first manifest and CURRENT.
static std::string sign_of_life(const std::string& directory) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    const std::string extension = entry.path().extension().string();
    if (extension == ".sst" || extension == ".log" || (name.rfind("MANIFEST-", 0) == 0 && name != "MANIFEST-000001"))
      return name;
  }
  return {};
}

Result<std::unique_ptr<Kv>> RocksKv::open(const std::string& directory, const std::vector<std::string>& wanted,
                                          const KvSeam& seam) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    const Code code = error == std::errc::no_space_on_device ? Code::kBusy : Code::kUnavailable;
    return fail(code, directory + ": cannot be created: " + error.message());
  }
  const std::string witness = sign_of_life(directory);
  const bool fresh = witness.empty();
  if (fresh) {
    fs::remove(fs::path(directory) / "CURRENT", error);
  } else if (!fs::exists(fs::path(directory) / "CURRENT", error)) {
    return fail(Code::kCorrupt,
                directory + ": holds " + witness + " but no CURRENT: the store is damaged; restore the folder");
  }
  rocksdb::Options options;
  if (seam.env != nullptr) options.env = seam.env;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.paranoid_checks = true;
  options.max_background_jobs = 2;
  options.max_total_wal_size = 64u << 20;
  options.keep_log_file_num = 2;
  options.max_log_file_size = 1u << 20;
  options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  // D2: what is damage and what a torn tail is told by check_write_ahead_logs, which knows logs that are not recycled.
  options.recycle_log_file_num = 0;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.max_bgerror_resume_count = 0;  // D3
  // A manifest that lost its last entry (check_manifest forgives a torn one) names logs that are gone.
  options.track_and_verify_wals_in_manifest = true;
  options.max_manifest_file_size = 4u << 20;
  options.max_open_files = 256;  // I11
  rocksdb::ColumnFamilyOptions family_options(options);
  family_options.write_buffer_size = seam.write_buffer_bytes;
  family_options.max_write_buffer_number = 3;
  family_options.compression = rocksdb::kLZ4Compression;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(16u << 20);
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  family_options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));

  std::vector<std::string> names;
  WalEnd wal_end;
  if (!fresh) {
    const auto checked = check_write_ahead_logs(directory);
    if (!checked) return fail(checked.error());
    wal_end = *checked;
    if (auto sound = check_manifest(directory, wal_end.manifest); !sound) return fail(sound.error());
    if (auto sound = check_tables(directory, tables_of_manifest(directory)); !sound) return fail(sound.error());
    const rocksdb::Status listed = rocksdb::DB::ListColumnFamilies(options, directory, &names);
    if (!listed.ok()) return fail(Code::kCorrupt, directory + ": " + listed.ToString() + "; restore the folder");
  }
  for (const std::string& name : wanted) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  if (std::find(names.begin(), names.end(), rocksdb::kDefaultColumnFamilyName) == names.end()) {
    names.push_back(rocksdb::kDefaultColumnFamilyName);
  }
  auto watcher = std::make_shared<Watcher>(wal_end);
  options.listeners.push_back(watcher);
  options.wal_filter = watcher->stop();
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& name : names) descriptors.emplace_back(name, family_options);
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, directory, descriptors, &handles, &db);
  if (!status.ok()) {
    const std::string text = status.ToString();
    if (text.find("lock") != std::string::npos && (text.find("LOCK") != std::string::npos)) {
      return fail(Code::kConflict, directory + ": in use by another process: " + text);
    }
    if (is_disk_full(status)) return translate(status, directory, "open");
    return fail(Code::kCorrupt, directory + ": " + text + "; restore the folder");
  }
  std::unique_ptr<RocksKv> kv(new RocksKv());
  kv->directory_ = directory;
  kv->db_.reset(db);
  kv->family_options_ = family_options;
  for (rocksdb::ColumnFamilyHandle* handle : handles) kv->families_[handle->GetName()] = handle;
  // What was recovered lies in synced table files by now.
  watcher->watch(db);
  watcher->manifest_synced(db);
  kv->watcher_ = std::move(watcher);
  kv->old_logs_ = wal_end.newest_log;
  if (auto begun = kv->synced(db->GetLatestSequenceNumber()); !begun) return fail(begun.error());
  return std::unique_ptr<Kv>(std::move(kv));
}

Result<void> RocksKv::export_family(const std::string& family, const std::string& directory) {
  std::shared_lock lock(mutex_);
  auto* handle = find(family);
  if (handle == nullptr) return unknown(family);
  rocksdb::Checkpoint* raw = nullptr;
  rocksdb::Status status = rocksdb::Checkpoint::Create(db_.get(), &raw);
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(raw);
  if (!status.ok()) return translate(status, directory_, "export of " + family);
  rocksdb::ExportImportFilesMetaData* raw_meta = nullptr;
  status = checkpoint->ExportColumnFamily(handle, directory, &raw_meta);
  const std::unique_ptr<rocksdb::ExportImportFilesMetaData> meta(raw_meta);
  if (!status.ok()) return translate(status, directory, "export of " + family);
  Exported exported;
  exported.comparator = meta->db_comparator_name;
  for (const rocksdb::LiveFileMetaData& file : meta->files) {
    ExportedFile out;
    out.name = file.name;
    out.smallest = file.smallestkey;
    out.largest = file.largestkey;
    out.smallest_seqno = file.smallest_seqno;
    out.largest_seqno = file.largest_seqno;
    out.size = file.size;
    out.level = static_cast<std::uint32_t>(file.level);
    // The name begins with a slash.
    auto crc = file_crc(fs::path(directory) / file.name.substr(file.name.find_first_not_of('/')));
    if (!crc) return fail(crc.error());
    out.crc = *crc;
    exported.files.push_back(std::move(out));
  }
  const Bytes bytes = encode(exported);
  const fs::path path = fs::path(directory) / kExportManifest;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  const std::uint32_t crc = crc32c(bytes);
  file.write(reinterpret_cast<const char*>(&crc), sizeof crc);
  file.close();
  if (!file) return fail(Code::kBusy, path.string() + ": cannot be written; is the disk full?");
  return {};
}

Result<void> RocksKv::import_family(const std::string& family, const std::string& directory) {
  const fs::path path = fs::path(directory) / kExportManifest;
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail(Code::kNotFound, path.string() + ": missing: not a folder made by export_family");
  Bytes bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::uint32_t crc = 0;
  if (bytes.size() < sizeof crc) return fail(Code::kCorrupt, path.string() + ": truncated");
  bytes.copy(reinterpret_cast<char*>(&crc), sizeof crc, bytes.size() - sizeof crc);
  bytes.resize(bytes.size() - sizeof crc);
  if (crc32c(bytes) != crc) return fail(Code::kCorrupt, path.string() + ": checksum mismatch");
  auto exported = decode<Exported>(bytes, "export manifest");
  if (!exported) return fail(Code::kCorrupt, path.string() + ": " + exported.error().message);
  if (exported->version != 1 || exported->files.size() > kExportFilesMax) {
    return fail(Code::kCorrupt, path.string() + ": version " + std::to_string(exported->version) + " with " +
                                    std::to_string(exported->files.size()) +
                                    " files; this build reads version 1 with at most " +
                                    std::to_string(kExportFilesMax));
  }
  rocksdb::ExportImportFilesMetaData meta;
  meta.db_comparator_name = exported->comparator;
  for (const ExportedFile& file : exported->files) {
    const std::string bare = file.name.substr(std::min(file.name.size(), file.name.find_first_not_of('/')));
    if (bare.empty() || bare.find('/') != std::string::npos || bare.find("..") != std::string::npos ||
        file.level > 16) {
      return fail(Code::kCorrupt, path.string() + ": file name '" + file.name + "' is not one of a table");
    }
    std::error_code error;
    const fs::path table = fs::path(directory) / bare;
    if (fs::file_size(table, error) != file.size || error) {
      return fail(Code::kCorrupt, table.string() + ": missing or of another size than " + std::to_string(file.size));
    }
    auto found = file_crc(table);
    if (!found) return fail(found.error());
    if (*found != file.crc) return fail(Code::kCorrupt, table.string() + ": checksum mismatch");
    rocksdb::LiveFileMetaData out;
    out.column_family_name = family;
    out.level = static_cast<int>(file.level);
    out.db_path = directory;
    out.name = file.name;
    out.file_number = 0;
    out.size = file.size;
    out.smallestkey = file.smallest;
    out.largestkey = file.largest;
    out.smallest_seqno = file.smallest_seqno;
    out.largest_seqno = file.largest_seqno;
    meta.files.push_back(std::move(out));
  }
  if (auto before = sync(); !before) return before;
  std::unique_lock lock(mutex_);
  auto* old = find(family);
  if (old == nullptr) return unknown(family);
  rocksdb::Status status = db_->DropColumnFamily(old);
  if (!status.ok()) return written(status);
  status = db_->DestroyColumnFamilyHandle(old);
  families_.erase(family);
  rocksdb::ColumnFamilyHandle* fresh = nullptr;
  if (meta.files.empty()) {  // an empty family exports no table
    status = db_->CreateColumnFamily(family_options_, family, &fresh);
  } else {
    rocksdb::ImportColumnFamilyOptions options;
    options.move_files = false;
    status = db_->CreateColumnFamilyWithImport(family_options_, family, options, meta, &fresh);
  }
  // The old content is gone: without the new one this store cannot go on.
  if (!status.ok()) return written(status);
  families_[family] = fresh;
  unlogged_ = db_->GetLatestSequenceNumber();
  return synced(unlogged_);
}

}  // namespace

Result<std::unique_ptr<Kv>> Kv::open(const std::string& directory, const std::vector<std::string>& families) {
  return open_kv(directory, families, {});
}

Result<std::unique_ptr<Kv>> open_kv(const std::string& directory, const std::vector<std::string>& families,
                                    const KvSeam& seam) {
  return RocksKv::open(directory, families, seam);
}

void wait_until_idle(const Kv& kv) {
  while (!static_cast<const RocksKv&>(kv).idle()) std::this_thread::yield();
}

}  // namespace tidelock
