#include "memory/reader_lanes.h"

#include <bit>

namespace tidelock {
namespace {

constexpr std::uint64_t bit(unsigned lane) { return 1ull << lane; }
std::atomic<std::uint64_t> lanes_taken{bit(ReaderLanes::kShared)};
std::atomic<std::uint64_t> lanes_ever{bit(ReaderLanes::kShared)};

}  // namespace

constinit thread_local unsigned ReaderLanes::mine_ = 0;

struct ReaderLanes::LaneReturn {  // touched once per thread, so that its destructor runs when the thread ends
  bool armed = false;
  ~LaneReturn() {
    const unsigned lane = mine_ - 1;
    mine_ = kShared + 1;
    if (armed && lane != kShared) lanes_taken.fetch_and(~bit(lane), std::memory_order_release);
  }
};

unsigned ReaderLanes::take_lane() {
  static thread_local LaneReturn lane_return;
  std::uint64_t taken = lanes_taken.load(std::memory_order_relaxed);
  while (taken != ~0ull) {
    const auto free_lane = static_cast<unsigned>(std::countr_one(taken));
    if (lanes_taken.compare_exchange_weak(taken, taken | bit(free_lane), std::memory_order_acquire)) {
      lanes_ever.fetch_or(bit(free_lane), std::memory_order_seq_cst);  // before its first visit
      mine_ = 1 + free_lane;
      lane_return.armed = true;
      return free_lane;
    }
  }
  mine_ = 1 + kShared;
  return kShared;
}

std::uint64_t ReaderLanes::ever_used() { return lanes_ever.load(std::memory_order_seq_cst); }

ReaderLanes::Grace::Grace(const ReaderLanes& lanes) : open_(ever_used()) {
  for (std::uint64_t left = open_; left != 0; left &= left - 1) {
    const auto i = static_cast<unsigned>(std::countr_zero(left));
    at_[i] = lanes.lanes_[i].visits_and_inside.load(std::memory_order_seq_cst);
    if ((at_[i] & 0xFFFF) == 0) open_ &= ~bit(i);
  }
}

bool ReaderLanes::Grace::passed(const ReaderLanes& lanes, unsigned except) {
  std::uint64_t still = 0;
  for (std::uint64_t left = open_; left != 0; left &= left - 1) {
    const auto i = static_cast<unsigned>(std::countr_zero(left));
    const std::uint64_t now = lanes.lanes_[i].visits_and_inside.load(std::memory_order_acquire);
    // One thread is in one visit at a time: a later visit means that the former one is over. Of a shared lane that
    // says nothing; there the caller's own visit is the one that may go on.
    const std::uint64_t own = i == kShared && except == kShared ? 1 : 0;
    if ((now & 0xFFFF) > own && (i == kShared || now >> 16 == at_[i] >> 16)) still |= bit(i);
  }
  open_ = still;
  return except < kShared ? (open_ & ~bit(except)) == 0 : open_ == 0;
}

}  // namespace tidelock
