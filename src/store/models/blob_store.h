// BlobStore keeps immutable files under the SHA-256 of their content: on hubs the model store, on edges the model room
// (M2, M8). One process at a time per folder.
//
//   DIR/blobs/ab/<hex>       whole, verified, read-only files        DIR/pins/<name>   hex digests, one a line
//   DIR/partial/<hex>.<size> transfers that are not finished         DIR/lock
//   DIR/partial/<hex>.any    the same, of unknown length
//   DIR/quarantine/<hex>     files that were damaged on disk: served to nobody, kept for whoever wants to look
//
// Threads:   every method may be called from any thread; a Writer belongs to one thread at a time. The store must
// outlive
//            its writers, not its mappings.
// Durable:   commit returns after file and folder were synced. A kill at any instruction leaves a whole blob, or a
// partial
//            file that the next put_stream resumes, or nothing.
// Errors:    kCorrupt wrong content (nothing is kept); kBusy disk full, quota full or a failed sync, naming the path
// (D3: a
//            failed sync is never retried: the partial file is dropped); kConflict locked, or written already by
//            another writer; kNotFound; kDenied removal of a pinned blob.
// Cost:      has looks into memory, and does not see that somebody took a file away. put_stream re-hashes what a
// partial file holds (about 1 ms per MiB).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/signature.h"

namespace tidelock {

inline constexpr std::size_t kQuarantineMax = 4;  // damaged files

struct BlobStoreOptions {
  std::uint64_t quota_bytes = 0;  // whole blobs plus the declared size of open writers; 0 = no quota
};

struct BlobInfo {
  Bytes sha256;
  std::uint64_t size_bytes = 0;
  bool pinned = false;
};

// What may go (M8): a whole blob that nothing names, a transfer that nobody goes on with, a damaged file.
enum class GarbageKind : std::uint8_t { kBlob, kPartial, kQuarantined };
struct Garbage {
  GarbageKind kind = GarbageKind::kBlob;
  Bytes sha256;
  std::uint64_t bytes = 0;
  std::int64_t written_ms = 0;  // wall clock of the file: dates it, and proves nothing (C4)
};
struct PartialInfo {
  Bytes sha256;
  std::uint64_t bytes = 0;  // that are here
  bool writing = false;     // a transfer is at it
};

// M9: a read-only shared mapping of one blob. Stays valid when the blob is removed or the store is closed. All of it
// was read when it was made, where the kernel can (5.14), so that a disk which fails then is an error; later it is a
// SIGBUS.
class BlobMapping {
 public:
  BlobMapping() = default;
  ~BlobMapping();
  BlobMapping(BlobMapping&& other) noexcept;
  BlobMapping& operator=(BlobMapping&& other) noexcept;
  BytesView bytes() const { return {data_, size_}; }

 private:
  friend class BlobStore;
  const char* data_ = nullptr;
  std::size_t size_ = 0;
};

// One blob, open to be read in pieces. It stays readable when the blob is removed or the store is closed. Unlike a
// mapping, a bad sector or a file that somebody cut short is an error of the read that meets it, and no SIGBUS: what is
// served to others is read by this.
class BlobFile {
 public:
  ~BlobFile();
  BlobFile(BlobFile&& other) noexcept;
  BlobFile& operator=(BlobFile&& other) noexcept;
  std::uint64_t size_bytes() const { return size_bytes_; }
  // All `bytes` from `offset`, which lie within the size. kUnavailable, naming the file: the disk does not give them,
  // or the file became shorter. Never kCorrupt: to whom it is sent that would say that wrong bytes came.
  Result<Bytes> read(std::uint64_t offset, std::size_t bytes) const;

 private:
  friend class BlobStore;
  BlobFile(int fd, std::string path, std::uint64_t size_bytes)
      : fd_(fd), path_(std::move(path)), size_bytes_(size_bytes) {}
  int fd_;
  std::string path_;
  std::uint64_t size_bytes_;
};

class BlobStore {
 public:
  // Receives one blob. Dropped without commit it leaves a partial file to resume from.
  class Writer {
   public:
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    // Bytes that are here already: the transfer goes on at this offset.
    std::uint64_t offset() const { return offset_; }
    std::uint64_t size_bytes() const { return size_bytes_; }  // declared; the most there may be when none was
    // In order. kCorrupt, with the partial file dropped, when longer than declared.
    Result<void> write(BytesView bytes);
    // kCorrupt, with the partial file dropped, when the length or the hash is wrong. Once.
    Result<void> commit();
    // Drops the partial file too.
    void discard();

   private:
    friend class BlobStore;
    Writer(BlobStore& store, std::string hex, std::uint64_t size_bytes, bool sized);
    Result<void> grow(std::uint64_t bytes);  // within the quota, for a writer without a declared length
    void close_file();

    BlobStore& store_;
    const std::string hex_;
    const std::uint64_t size_bytes_;
    const bool sized_;
    std::string partial_path_;
    Sha256 hasher_;
    std::uint64_t offset_ = 0;
    int fd_ = -1;
    bool done_ = false;      // nothing more may be written
    bool reserved_ = false;  // holds the entry in store_.writing_
  };

  // Creates the folders. Loads the pins.
  static Result<std::unique_ptr<BlobStore>> open(const std::string& directory, BlobStoreOptions options = {});
  ~BlobStore();
  BlobStore(const BlobStore&) = delete;
  BlobStore& operator=(const BlobStore&) = delete;

  // `sha256` is raw (kSha256Bytes). Already here: a writer whose offset is the size; commit then succeeds at once.
  Result<std::unique_ptr<Writer>> put_stream(BytesView sha256, std::uint64_t size_bytes);
  // The same when only the digest is known: whatever hashes to it is whole. The quota is met while it grows.
  Result<std::unique_ptr<Writer>> put_stream(BytesView sha256);
  Result<Bytes> put(BytesView bytes);  // the digest
  Result<Bytes> put_file(const std::string& path);

  bool has(BytesView sha256) const;
  Result<std::uint64_t> size_bytes(BytesView sha256) const;
  // At most `bytes_max` from `offset`; empty at the end. kInvalid beyond the end.
  Result<Bytes> read(BytesView sha256, std::uint64_t offset, std::size_t bytes_max) const;
  Result<BlobMapping> map(BytesView sha256) const;
  // kCorrupt: the file has not the size any more that it came with.
  Result<BlobFile> open_file(BytesView sha256) const;
  // Where the blob lies, for hard links (layout.h). Never write to it.
  Result<std::string> path(BytesView sha256) const;
  // Reads it all and compares (X3), and changes nothing. kCorrupt: damaged on disk. kNotFound: its file is gone. Any
  // other: the disk did not answer, or not to us, which proves nothing of the bytes; kUnavailable for EIO.
  // `piece` hears the bytes of each piece that was read; false ends it with kUnavailable.
  Result<void> examine(BytesView sha256, const std::function<bool(std::uint64_t bytes)>& piece = {}) const;
  // The same; and what is damaged or gone is no blob any more, pinned or not, so that it can be had anew. The damaged
  // file lies in quarantine, where the newest kQuarantineMax are kept until room is needed. A file with a sector that
  // gives EIO counts as damaged: whoever calls this means to have it anew, and to look only is for examine.
  Result<void> verify(BytesView sha256, const std::function<bool(std::uint64_t bytes)>& piece = {});

  // M8: blobs named by any pin are never removed. A pin is a named set, replaced as a whole, durable when this returns;
  // it may name blobs that are not here yet. `name`: [a-z0-9._-]{1,128}.
  Result<void> pin(std::string_view name, const std::vector<Bytes>& sha256s);
  Result<void> unpin(std::string_view name);
  std::vector<std::string> pins() const;
  std::vector<Bytes> pinned_by(std::string_view name) const;  // empty: no such pin
  bool pinned(BytesView sha256) const;

  Result<void> remove(BytesView sha256);
  // A blob that is here counts as written now: for those who judge by Garbage::written_ms, also after a restart.
  void touch(BytesView sha256) const;
  // M8: what no pin names, nobody writes, and `keep` says no to; a damaged file always. With `remove` it goes. Each
  // file is judged and removed for itself, and the others who use the store come in between: what `keep` says, and what
  // has() says to those who then make it say so, cannot cross.
  using Keep = std::function<bool(const Garbage& candidate)>;
  Result<std::vector<Garbage>> collect(const Keep& keep, bool remove);
  // Removes blobs without a pin, oldest first, and partial files without a writer, until `bytes_needed` fit under the
  // quota (no quota: removes none). Returns the bytes freed; kBusy when pins hold too much.
  Result<std::uint64_t> make_room(std::uint64_t bytes_needed);
  std::vector<BlobInfo> list() const;
  std::vector<PartialInfo> partials() const;
  std::vector<Garbage> quarantined() const;
  std::uint64_t used_bytes() const;
  std::uint64_t quota_bytes() const { return options_.quota_bytes; }
  const std::string& directory() const { return directory_; }

 private:
  BlobStore(std::string directory, BlobStoreOptions options);
  Result<std::unique_ptr<Writer>> open_writer(BytesView sha256, std::uint64_t size_bytes, bool sized);
  Result<void> load();
  // As examine; with what a failed read says as it is, EIO being kCorrupt, and `unread` set.
  Result<void> look(BytesView sha256, const std::function<bool(std::uint64_t bytes)>& piece, bool& unread) const;
  void quarantine(const std::string& hex);
  void drop_quarantined(std::size_t keep) const;
  std::string blob_path(std::string_view hex) const;
  bool pinned_hex(std::string_view hex) const;  // mutex_ held

  const std::string directory_;
  const BlobStoreOptions options_;
  int lock_fd_ = -1;
  mutable std::mutex mutex_;
  std::map<std::string, std::uint64_t> blobs_;         // hex -> bytes
  std::map<std::string, std::uint64_t> writing_;       // hex -> declared bytes
  std::map<std::string, std::set<std::string>> pins_;  // name -> hex
  std::uint64_t used_bytes_ = 0;
};

}  // namespace tidelock
