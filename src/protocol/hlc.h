// Hlc makes the stamps of write-behind records: a hybrid logical clock (Kulkarni et al. 2014) over wall milliseconds
// that are handed in. Stamps break ties in eventual data (G8); they decide no proof (C4).
//
// Pure; one thread; every call is O(1).
// Promises: each stamp is greater than every stamp this object made or accepted, across restarts too: a stamp's wall_ms
//           lies below the bound that the owner has persisted (take_bound_to_persist), and a restart begins at that
//           bound.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "protocol/commands.h"

namespace tidelock {

class Hlc {
 public:
  static constexpr std::uint64_t kAheadMaxMs = 500;      // G8: a stamp further ahead of our wall clock is refused
  static constexpr std::uint64_t kBoundStepMs = 10'000;  // one persisted bound serves this long

  // `writer` is the tie-break of this node. `bound_ms` is the bound persisted by the last run; 0 = none.
  explicit Hlc(std::uint64_t writer = 0, std::uint64_t bound_ms = 0);

  // The next stamp. A wall clock that went back does not take the stamps with it.
  Stamp tick(std::uint64_t wall_ms);
  // Learns a stamp made elsewhere. kInvalid, and nothing learnt, when it is more than kAheadMaxMs ahead of `wall_ms`
  // (G8).
  Result<void> observe(const Stamp& stamp, std::uint64_t wall_ms);
  // Never make a stamp at or below this one. For stamps of our own: found on disk, or at the hub after the disk was
  // lost.
  void start_after(const Stamp& own);

  // Set once after a tick whose stamp reached the persisted bound: this bound must be on disk before that stamp is
  // acknowledged. (An owner that stores every stamp it makes before it acknowledges, and calls start_after with the
  // largest at its start, may ignore it: the outbox does, see Outbox::newest_stamp.)
  std::optional<std::uint64_t> take_bound_to_persist();

  const Stamp& newest() const { return newest_; }
  std::uint64_t refused() const { return refused_; }  // G8: reported

 private:
  std::uint64_t writer_;
  Stamp newest_;
  std::uint64_t bound_ms_;
  std::optional<std::uint64_t> to_persist_;
  std::uint64_t refused_ = 0;
};

}  // namespace tidelock
