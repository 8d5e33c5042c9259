// RowJournal holds rows on their way to a slower store in a mapped file: what was sealed survives kill -9 of its
// process for the price of a copy. It is no database: `find` knows what this process appended, a table in its memory
// says where; the process that starts next reads all rows back.
//
// Layout:  two halves, each a header and records one behind the other: [check, generation, sizes, key, row], padded
//          to 8 bytes. The header says how far they were sealed: all that is appended between two seals is there, or
//          nothing of it. `check` is the xxh3 of what stands behind it, and of a salt that each `begin` draws anew: so
//          no record of an earlier time is taken for one of this, whatever a power cut left of the header.
// Use:     one half fills. When it is to be drained, `turn` begins the other, with the next generation; its owner
//          takes the last row of each key by `drain`, stores them elsewhere, keeps with them the generation up to which
//          that is done, and says `drained`.
//          `replay` gives the rows of later generations.
// Durable: against the end of the process only. A power cut may take any of it; what is left is whole records in order.
// Threads: one at a time.
// Cost:    append is one copy and one hash of the row, a look into the table and no system call; where the kernel is
//          just writing the page that it touches, it waits for that. The table has 16 to 32 bytes for each key on the
//          way.
// Errors:  open: kCorrupt for a file that is no journal, kBusy when a new one cannot have its room (all of it is
//          reserved then), kUnavailable for what the system refuses. That no other process has it is its owner's to
//          see to. A disk that fails below a mapped page ends the process (SIGBUS), and so does a full file system
//          that copies on write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "base/row_table.h"

namespace tidelock {

class RowJournal {
 public:
  static constexpr std::size_t kHalfBytesMin = 64u << 10, kHalfBytesMax = 1u << 30;

  // A new file with halves of this size, or the one that is there, with the size that it has.
  static Result<std::unique_ptr<RowJournal>> open(const std::string& path, std::size_t half_bytes);
  ~RowJournal();
  RowJournal(const RowJournal&) = delete;
  RowJournal& operator=(const RowJournal&) = delete;

  struct Replayed {
    std::size_t rows = 0;
    bool whole = true;  // false: rows that were sealed cannot be read any more
  };
  // Rows of generations above `drained`, oldest first; nullopt erases the key. The views live during the call.
  Replayed replay(std::uint64_t drained,
                  const std::function<void(BytesView key, std::optional<BytesView> row)>& visit) const;
  std::uint64_t newest_generation() const;

  // Forgets everything; the first half fills under this generation, which is above all that were. `salt` is one that
  // no other begin had.
  void begin(std::uint64_t generation, std::uint64_t salt);
  static std::size_t bytes_of(BytesView key, std::optional<BytesView> row, BytesView rest = {});
  std::size_t room_bytes() const { return half_room_bytes() - filled_; }  // in the half that fills
  std::size_t half_room_bytes() const;
  // Needs the room. Nothing is kept before `seal`. A row may come in two pieces, of which `rest` is the second.
  void append(BytesView key, std::optional<BytesView> row, BytesView rest = {});
  void seal();
  // The newest row of this key that was appended here and not drained; nullopt for a key that has none, and in it
  // nullopt for one that was erased. The view lives until its half is drained.
  std::optional<std::optional<BytesView>> find(BytesView key) const;
  std::size_t keys_filling() const { return last_[filling_].size(); }
  std::size_t keys_draining() const { return last_[1 - filling_].size(); }
  std::uint64_t generation() const { return generation_; }  // of the half that fills
  // The other half is empty, and what was appended is sealed.
  void turn();
  // The last row of each key in the half that does not fill, in their order from `from` (0: the first), until there
  // were `rows_max`. Returns where to go on; nullopt at the end.
  std::optional<std::size_t> drain(std::size_t from, std::size_t rows_max,
                                   const std::function<void(BytesView key, std::optional<BytesView> row)>& visit) const;
  void drained();  // the half that does not fill

 private:
  struct Half;
  struct Record;
  RowJournal() = default;
  Half& half(int number) const;
  char* data(int number) const;
  const Record& record(int number, std::size_t at) const;
  std::optional<std::uint32_t> last_of(int number, BytesView key, std::uint64_t hash) const;

  char* memory_ = nullptr;
  std::size_t size_bytes_ = 0, half_bytes_ = 0;
  int filling_ = 0;
  std::size_t filled_ = 0;  // of that half, sealed or not
  std::uint64_t generation_ = 0;
  RowTable last_[2];  // of each key in a half, by the place of its record in words of 8 bytes
};

}  // namespace tidelock
