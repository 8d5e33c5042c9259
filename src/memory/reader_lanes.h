// Who reads right now: what lets memory go away under readers that take no lock.
//
// A reader counts itself in on a lane, loads a pointer that a writer may take away, reads, and counts itself out. A
// writer first takes the pointer away, then begins a Grace, and frees what was behind it once the grace has passed:
// each lane was seen without a reader, or with a later one than at the beginning. Pointers and lanes are sequentially
// consistent: a reader that the grace did not see had not come in when the pointer was gone, so it saw it gone. Nobody
// waits: a grace is looked at again whenever its owner likes.
//
// What a reader wants to keep after it counted itself out it holds by a hold, a word of its lane that says which
// address must stay. A hold is set inside the visit, and whoever sees the visit over sees the hold: so the writer looks
// at the holds after the grace. Any thread may end one.
//
// Threads: every method from any thread. A lane belongs to one thread while that lives; the last is shared by threads
//          beyond the first 63, which get no holds and leave no notes.
// Cost:    a visit is one exchange and one store to a line that no other thread writes. Grace: O(threads).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tidelock {

class ReaderLanes {
 public:
  static constexpr unsigned kLanes = 64;
  static constexpr unsigned kShared = kLanes - 1;
  static constexpr std::size_t kHolds = 8;
  static constexpr std::uint32_t kNotes = 64;
  using Hold = std::atomic<const void*>;

  struct alignas(64) Lane {
    std::atomic<std::uint64_t> visits_and_inside{0};  // [48 bits visits so far | 16 bits readers inside]
    // Stored without a read-modify-write: threads that share a lane may lose counts of each other.
    std::atomic<std::uint64_t> more_reads{0};  // beside one a visit
    std::atomic<std::uint64_t> hits_l1{0}, hits_arena{0};
    std::atomic<std::uint32_t> noted{0};
    alignas(64) std::array<Hold, kHolds> holds{};
    alignas(64) std::array<std::atomic<std::uint64_t>, kNotes> notes{};  // a ring: the oldest are lost
  };

  // Inside from construction to destruction, on one thread. A visit inside of another one of the same thread is part of
  // it: what it finds stays as long as the outer one lasts.
  class Visit {
   public:
    explicit Visit(ReaderLanes& lanes) : number_(this_lane()), lane_(lanes.lanes_[number_]) {
      std::atomic<std::uint64_t>& count = lane_.visits_and_inside;
      constexpr std::uint64_t kOneIn = (1ull << 16) + 1;
      if (!own()) {
        count.fetch_add(kOneIn, std::memory_order_seq_cst);
        return;
      }
      const std::uint64_t before = count.load(std::memory_order_relaxed);
      nested_ = (before & 0xFFFF) != 0;
      if (nested_) [[unlikely]] {  // a new number would say that the outer visit is over
        count_more_reads(1);
        return;
      }
      // An exchange, not a store: it must be seen before what is loaded next.
      count.exchange(before + kOneIn, std::memory_order_seq_cst);
    }
    ~Visit() {
      std::atomic<std::uint64_t>& count = lane_.visits_and_inside;
      if (nested_) return;
      if (own())
        count.store(count.load(std::memory_order_relaxed) - 1, std::memory_order_release);
      else
        count.fetch_sub(1, std::memory_order_release);
    }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

    unsigned number() const { return number_; }
    bool own() const { return number_ != kShared; }
    // The outer visit may use what it found before. Not known of a shared lane, where nobody is told apart.
    bool nested() const { return nested_; }
    // Null: all are in use, or the lane is shared.
    Hold* hold(const void* address) {
      if (!own()) return nullptr;
      for (Hold& hold : lane_.holds) {
        if (hold.load(std::memory_order_acquire) != nullptr) continue;  // whoever ended it has read to the end
        hold.store(address, std::memory_order_release);
        return &hold;
      }
      return nullptr;
    }
    // Tells whoever reads the notes, some time.
    void note(std::uint64_t what) {
      if (!own()) return;
      const std::uint32_t at = lane_.noted.load(std::memory_order_relaxed);
      lane_.notes[at % kNotes].store(what, std::memory_order_relaxed);
      lane_.noted.store(at + 1, std::memory_order_release);
    }
    void count_more_reads(std::uint64_t more) { add(lane_.more_reads, more); }
    void count_no_read() { count_more_reads(~std::uint64_t{0}); }  // a visit counts as a read; this one is none
    void count_l1(std::uint64_t hits) { add(lane_.hits_l1, hits); }
    void count_arena(std::uint64_t hits) { add(lane_.hits_arena, hits); }

   private:
    static void add(std::atomic<std::uint64_t>& count, std::uint64_t more) {
      count.store(count.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
    }
    const unsigned number_;
    Lane& lane_;
    bool nested_ = false;
  };

  class Grace {
   public:
    // Begins when constructed: after the pointers are gone.
    explicit Grace(const ReaderLanes& lanes);
    // `except`: the lane of a caller that is inside but holds nothing it found there; kLanes: none.
    bool passed(const ReaderLanes& lanes, unsigned except = kLanes);

   private:
    std::uint64_t open_ = 0;  // lanes not yet seen without a reader of before
    std::array<std::uint64_t, kLanes> at_{};
  };

  // Lanes that were ever given to a thread of this process: no other has or had a reader.
  static std::uint64_t ever_used();
  const Lane& lane(unsigned number) const { return lanes_[number]; }

 private:
  static unsigned take_lane();
  static unsigned this_lane() {
    if (mine_ == 0) [[unlikely]]
      return take_lane();
    return mine_ - 1;
  }
  struct LaneReturn;
  static constinit thread_local unsigned mine_;  // 1 + the lane; 0: not given yet

  std::array<Lane, kLanes> lanes_;
};

}  // namespace tidelock
