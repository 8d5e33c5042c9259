// Rehash decides which bytes of the models in use are read again next, so that a file that went bad on disk is found
// while it is in use (X3), at a rate that nobody feels.
//
// A file is read from its beginning to its end in slices, each due when the one before has paid for itself: bytes
// divided by the rate. The file that was read through longest ago is next, and one that never was comes before those.
// So every file is read through once in (bytes of all files) / rate, and damage is found within two such rounds: one
// that is behind the slice when it happens waits for the next.
//
// Threads: one. It reads no clock and touches no file. Cost: O(files) for each file, O(1) for each slice.
// Never:   hurries to make up for time in which nothing was asked of it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"

namespace tidelock {

struct RehashFile {
  Bytes sha256;
  std::uint64_t bytes = 0;
  friend bool operator==(const RehashFile&, const RehashFile&) = default;
};

class Rehash {
 public:
  static constexpr std::uint64_t kSliceBytes = 256u << 10;
  struct Slice {
    Bytes sha256;
    std::uint64_t offset = 0, bytes = 0;
    bool last = false;  // then the digest is known
  };

  explicit Rehash(std::uint64_t bytes_per_s) : bytes_per_s_(bytes_per_s) {}  // 0: nothing is ever due

  // What is in use from now on. A file that is being read and still in use is read on.
  void set_files(std::vector<RehashFile> files);
  // The slice to read now, if one is due; the caller reads it, and asks again at wake_at().
  std::optional<Slice> due(Nanos now);
  // The file that is being read could not be read on, or is another now: it begins anew in its next turn.
  void give_up(Nanos now);
  Nanos wake_at() const { return files_.empty() || bytes_per_s_ == 0 ? kForever : due_at_; }
  // How long one round takes. 0: there is nothing to read.
  Nanos round_ns() const;

 private:
  void choose();

  const std::uint64_t bytes_per_s_;
  std::vector<RehashFile> files_;
  std::map<Bytes, Nanos> read_at_;  // when a file was read through, or given up; absent: never
  std::optional<RehashFile> reading_;
  std::uint64_t offset_ = 0;
  Nanos due_at_ = 0;
};

}  // namespace tidelock
