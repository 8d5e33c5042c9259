// RowJournal holds rows on their way to a slower store in a mapped file: a row that was appended survives kill -9 of
// its process for the price of a copy. It is no database: rows are read back by the process that starts next, or found
// by where they were put.
//
// Layout:  two halves, each a header and records one behind the other: [check, generation, sizes, key, row], padded to
// 8
//          bytes. `check` is the xxh3 of all behind it, so a record that was not written to its end ends its half, and
//          so does one of a generation that the half held before.
// Use:     one half fills. When it is to be drained, `turn` begins the other, with the next generation; its owner
// stores
//          the rows elsewhere, keeps with them the generation up to which that is done, and says `drained`. `replay`
//          gives the rows of later generations.
// Durable: against the end of the process only. A power cut may take any of it; what is left is whole records in order.
// Threads: one at a time.
// Cost:    append is one copy and one hash of the row; no system call.
// Errors:  open: kCorrupt for a file that is no journal, kBusy when there is no room for a new one (all of it is
// reserved
//          then), kUnavailable for what the system refuses. One process is its owner's to see to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

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
    bool whole = true;  // false: rows that were appended cannot be read any more
  };
  // Rows of generations above `drained`, oldest first; nullopt erases the key. The views live during the call.
  Replayed replay(std::uint64_t drained,
                  const std::function<void(BytesView key, std::optional<BytesView> row)>& visit) const;
  std::uint64_t newest_generation() const;

  // Forgets everything; the first half fills under this generation, which is above all that were.
  void begin(std::uint64_t generation);
  struct Placed {
    BytesView key;
    std::optional<BytesView> row;
  };
  // nullopt: there is no room left in the half. The views live until the half is drained.
  std::optional<Placed> append(BytesView key, std::optional<BytesView> row);
  bool fits(BytesView key, std::optional<BytesView> row) const;  // into an empty half
  std::uint64_t generation() const { return generation_; }       // of the half that fills
  std::size_t filled_bytes() const;
  // The other half is empty.
  void turn();
  void drained();  // the half that does not fill

 private:
  struct Half;
  struct Record;
  RowJournal() = default;
  Half& half(int number) const;
  char* data(int number) const;
  std::size_t room() const;

  char* memory_ = nullptr;
  std::size_t size_bytes_ = 0, half_bytes_ = 0;
  int filling_ = 0;
  std::uint64_t generation_ = 0;
};

}  // namespace tidelock
