// CoreLoop drives the EdgeCore on the event loop's thread: it takes events, reads the time, lets the core decide, and
// carries out the operations strictly in order.
//
// Threads:  post from any thread; everything else on the loop's thread.
// Nesting:  an answer may be given while operations are carried out. What a callback asks then runs after the step is
//           whole, never inside it. `run` makes several calls one unit: nothing comes between them.
// Errors:   a failed write to L2 turns the acknowledgements of that step into kMaybeApplied and stops write-behind
// (D3).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/elapsed_clock.h"
#include "edge/l2_store.h"
#include "edge/links.h"
#include "edge/outbox_disk.h"
#include "memory/arena.h"
#include "memory/page.h"
#include "protocol/edge_core.h"
#include "wire/resp/event_loop.h"

namespace tidelock {

// What other threads may know of the core, as of its last step. Each number by itself.
struct EdgeGauges {
  using Word = std::atomic<std::uint64_t>;
  Word reads{0}, hits{0}, fallbacks{0}, stale{0}, invalidations{0}, fetches{0}, probes{0}, sessions{0};
  Word written{0}, flushed{0}, superseded{0}, expired{0}, pending{0}, shed{0}, lost{0};
  Word entries{0}, memory_bytes{0}, outbox_bytes{0}, applied{0}, term{0};
  Word l2_bytes{0}, l2_evicted{0}, l2_damaged{0}, l2_missing{0};
  std::atomic<Nanos> round_trip{0}, turned_at{0}, fresh_at{kNever}, lease_until{kNever};
  std::atomic<bool> session_open{false}, session_ever{false}, clock_fault{false}, store_failed{false};
};

class CoreLoop {
 public:
  using What = decltype(EdgeEvent::what);
  using OnRead = std::function<void(ReadDone)>;
  using OnWrite = std::function<void(WriteDoneOp)>;
  using OnKeys = std::function<void(KeysListedOp)>;
  struct Listener {  // all on the loop's thread
    std::function<void(const SessionOpened&)> session;
    std::function<void(const StrongChanged&)> strong;
    std::function<void(const std::string& why)> session_lost;
    std::function<void(const PagePolicies&)> policies;
    // The value of a key changed or was dropped; of any key of a slot. Before the answers that show it.
    std::function<void(const std::string& key)> changed = {};
    std::function<void(std::uint16_t slot)> slot_changed = {};
    std::function<void(const VersionsRecalled&)> recalled = {};
    std::function<void(Nanos)> round_trip = {};  // of probes, when it is another one
  };

  // Everything handed in outlives it.
  CoreLoop(EventLoop& loop, const ElapsedClock& clock, EdgeCore& core, PageWriter& page, ArenaWriter& arena,
           L2Store& l2, OutboxDisk& disk, Links& links, Listener listener);
  ~CoreLoop();
  CoreLoop(const CoreLoop&) = delete;
  CoreLoop& operator=(const CoreLoop&) = delete;

  void start() { take(EdgeTick{}); }
  void take(What what);  // an event
  void post(What what);  // the same from any thread
  // What the reads of one unit must ask the hub for is asked for together, at its end.
  void run(std::function<void()> unit);
  // The callback may come before the call returns. Exactly once, unless the edge stops first.
  void read(std::string key, Contract contract, OnRead done);
  void write(KeyWrite write, std::optional<AckLevel> level, OnWrite done);
  // S4: write-through keys at one index, all or nothing; at least one.
  void write_at_one_index(std::vector<KeyWrite> writes, OnWrite done);

  void list_keys(std::string prefix, std::string after, OnKeys done);  // EdgeListKeys

  // The hot path of a pipeline. `hit` is a read under the namespace's own contract that memory answers without a step:
  // nothing when it cannot, then `read`. Valid until anything else is called.
  std::optional<HeldView> hit(std::string_view key);
  // A hint that these keys will be asked for. What was received before it, and nothing else in between, is answered as
  // of one look at the clock, taken now: at most kHitsOfOneLook of them.
  void expect(std::span<const std::string_view> keys) {
    arena_.warm(keys);
    hits_of_look_ = in_step_ || in_run_ || !look() ? 0 : std::min(keys.size(), kHitsOfOneLook);
  }
  static constexpr std::size_t kHitsOfOneLook = 16;
  // A write of a key that lives on this gateway only. It is decided now, so that reads here see it; but it is stored,
  // and shown in page and arena, together with others: by `settle`, or before any other event. Nothing may be
  // acknowledged before `settle` said true. Nothing: not now, then `write`.
  std::optional<WriteDoneOp> write_together(KeyWrite write);
  // Room for the key and the value of such a write, of one that was carried out: so what is set again and again takes
  // nothing from the heap. Empty strings.
  std::string key_room() { return room_of(key_rooms_); }
  Bytes value_room() { return room_of(value_rooms_); }
  void settle_first() {
    if (!together_.ops.empty()) run([] {});
  }
  // L2's rows are where another thread finds them: before it lists them.
  Result<void> store_all();
  // False: the store did not take some of what was written together since the last call (D3).
  bool settle();

  const EdgeCore& core() const { return core_; }
  const Clock& clock() const { return clock_; }
  const EdgeGauges& gauges() const { return gauges_; }
  EventLoop& loop() { return loop_; }
  const ArenaWriter& arena() const { return arena_; }
  const std::string& session_hub() const { return session_hub_; }  // empty: none open
  // Reads that were answered with a value, and with that there is none.
  std::uint64_t reads_found() const { return reads_found_; }
  std::uint64_t reads_missing() const { return reads_missing_; }

 private:
  void step(What what);
  void decide(What what, EdgeActions& actions);
  bool take_disruption();
  void look_for_disruption();
  bool look();
  void carry_out(EdgeActions& actions, bool own);
  static std::string room_of(std::vector<std::string>& rooms) {
    if (rooms.empty()) return {};
    std::string room = std::move(rooms.back());
    rooms.pop_back();
    room.clear();
    return room;
  }
  void keep_rooms();
  void carry_out_together();
  void store_failed(const Error& why);
  bool of_this_gateway(const EdgeActions& actions) const;
  void tell_change(const PageBumpSlot& bump, const EdgeActions::Op* before);
  void one(const PageBeginWrite& op) { page_.begin_write(op.ns); }
  void one(const PageEndWrite& op) { page_.end_write(op.ns); }
  void one(const PageBumpSlot& op) { page_.bump_slot(op.slot); }
  void one(const PageOpenBlock& op) { page_.open_block(op.slots); }
  void one(const PageCloseBlock& op) { page_.close_block(op.slots); }
  void one(const PageApplied& op) { page_.publish_applied(op.applied); }
  void one(const PageFresh& op) { page_.publish_fresh_at(op.fresh_at); }
  void one(const PageLease& op) { page_.publish_lease(op.until); }
  void one(const PageDropProofs& op) { page_.drop_proofs(op.from, suspended_ns_now()); }
  void one(const PageEpochs& op) { page_.set_epochs(op.verified, op.strong); }
  void one(const PagePolicies& op);
  void one(const PageWriters& op) { page_.publish_writers(op.writers_ns); }
  // L2 was committed before the first operation of its step. What the arena does not take, for its size, is found
  // there.
  void one(const EntryPut& op) { (void)arena_.put(op.key, op.entry); }
  void one(const EntryErase& op) { arena_.erase(op.key); }
  void one(OutboxPersist& op) { disk_.push(std::move(op)); }
  void one(const LinkOpen& op) { links_.open(op.link, op.hint); }
  void one(const LinkClose& op);
  void one(LinkSend& op) { links_.send(op.link, std::move(op.frame)); }
  void one(const SessionOpened& op);
  void one(const StrongChanged& op) { listener_.strong(op); }
  void one(const VersionsRecalled& op) {
    if (listener_.recalled) listener_.recalled(op);
  }
  void one(ReadDone& op);
  void one(WriteDoneOp& op);
  void one(const EdgeNote& op);
  void one(KeysListedOp& op);
  void publish_gauges();

  EventLoop& loop_;
  const ElapsedClock& clock_;
  EdgeCore& core_;
  PageWriter& page_;
  ArenaWriter& arena_;
  L2Store& l2_;
  OutboxDisk& disk_;
  Links& links_;
  const Listener listener_;
  DisruptionDetector detector_;
  bool disrupted_ = false;  // seen by a look, and no step was taken since
  EventLoop::Waker waker_;
  std::shared_ptr<std::atomic<bool>> alive_;

  bool in_step_ = false;  // the core decides, or its operations are carried out
  bool in_run_ = false;
  bool step_failed_ = false;  // L2 did not take the rows of this step
  EdgeActions actions_;       // of the step under way; kept for its room
  EdgeActions together_;      // decided, and not carried out yet; the core remembers it meanwhile
  std::vector<std::string> key_rooms_, value_rooms_;
  bool telling_ = true;  // `listener_` hears of changes when they are carried out
  bool together_failed_ = false;
  HotClock hot_clock_;
  ClockReading look_;
  std::size_t hits_of_look_ = 0;  // how many hits may still use it
  std::uint64_t reads_found_ = 0, reads_missing_ = 0;
  std::deque<std::function<void()>> later_;
  std::uint64_t last_token_ = 0;
  std::unordered_map<std::uint64_t, OnRead> reads_;
  std::unordered_map<std::uint64_t, OnWrite> writes_;
  std::unordered_map<std::uint64_t, OnKeys> lists_;
  std::string session_hub_;
  std::uint64_t sessions_ = 0;
  EdgeGauges gauges_;
};

}  // namespace tidelock
