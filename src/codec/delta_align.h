// Where in the bases the bytes of a target might come from (M3). Used by the planner of deltas only.
//
// Threads: an Aligner belongs to one thread. Cost: what lies where it is expected is compared at memory speed; the
// first search builds an index of the bases (a sixteenth of their size), and looks at each byte of the target once,
// about 5 ns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"

namespace tidelock::delta {

struct Spot {
  std::size_t base = 0;
  std::int64_t place = 0;
};

// A stretch of the target. With a spot it lies beside as many bytes of a base.
enum class Likeness : std::uint8_t { kNone, kGuess, kAlike, kExact };  // kGuess: where they would be, had nothing moved
struct Stretch {
  std::uint64_t target = 0, bytes = 0;
  std::optional<Spot> spot;
  Likeness likeness = Likeness::kNone;
};

class Aligner {
 public:
  Aligner(std::span<const BytesView> bases, BytesView target);
  ~Aligner();

  // Appends stretches that cover [begin, end) in order. `hint`: where the byte at `begin` is looked for first.
  void align(std::uint64_t begin, std::uint64_t end, std::optional<Spot> hint, std::vector<Stretch>& out);
  // The same for what became longer or shorter: `begin` lies at `first`, and `end` at `last`.
  void align_resized(std::uint64_t begin, std::uint64_t end, const Spot& first, const Spot& last,
                     std::vector<Stretch>& out);

 private:
  class Index;
  std::uint64_t alike(const Spot& spot, std::uint64_t begin, std::uint64_t end) const;
  void found(std::uint64_t begin, std::uint64_t end, const Spot& spot, std::vector<Stretch>& out) const;

  std::vector<BytesView> bases_;
  BytesView target_;
  std::unique_ptr<Index> index_;  // made when it is needed
};

}  // namespace tidelock::delta
