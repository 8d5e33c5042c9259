#include "edge/core_loop.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include "base/assert.h"
#include "base/wall_clock.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {
constexpr Nanos kIdleTick = 1 * kSecond;  // a sign of life, and C2 is looked for
constexpr std::size_t kRoomsKept = 64, kRoomBytesMax = 8u << 10;
}  // namespace

CoreLoop::CoreLoop(EventLoop& loop, const ElapsedClock& clock, EdgeCore& core, PageWriter& page, ArenaWriter& arena,
                   L2Store& l2, OutboxDisk& disk, Links& links, Listener listener)
    : loop_(loop),
      clock_(clock),
      core_(core),
      page_(page),
      arena_(arena),
      l2_(l2),
      disk_(disk),
      links_(links),
      listener_(std::move(listener)),
      waker_(loop.add_waker([this](Nanos) { take(EdgeTick{}); })),
      alive_(std::make_shared<std::atomic<bool>>(true)),
      hot_clock_(clock.shim()) {}

CoreLoop::~CoreLoop() {
  alive_->store(false);
  loop_.remove_waker(waker_);
}

void CoreLoop::post(What what) {
  loop_.post([this, alive = alive_, shared = std::make_shared<What>(std::move(what))] {
    if (alive->load()) take(std::move(*shared));
  });
}

void CoreLoop::run(std::function<void()> unit) {
  if (in_step_ || in_run_) {
    later_.push_back(std::move(unit));
    return;
  }
  in_run_ = true;
  carry_out_together();
  unit();
  do {
    while (!later_.empty()) {
      const std::function<void()> next = std::move(later_.front());
      later_.pop_front();
      next();
    }
    if (core_.holds_questions()) step(EdgeTick{});
  } while (!later_.empty());
  in_run_ = false;
}

void CoreLoop::take(What what) {
  if (in_step_) {
    later_.push_back([this, shared = std::make_shared<What>(std::move(what))] { step(std::move(*shared)); });
  } else if (in_run_) {
    step(std::move(what));
  } else {
    run([&] { step(std::move(what)); });
  }
}

void CoreLoop::read(std::string key, Contract contract, OnRead done) {
  const std::uint64_t token = ++last_token_;
  reads_.emplace(token, std::move(done));
  take(EdgeRead{ReadToken{token}, std::move(key), contract, in_run_});
}

void CoreLoop::write(KeyWrite write, std::optional<AckLevel> level, OnWrite done) {
  const std::uint64_t token = ++last_token_;
  writes_.emplace(token, std::move(done));
  EdgeWrite event;
  event.token = WriteToken{token};
  event.write = std::move(write);
  event.level = level;
  event.wall_ms = wall_ms_now();
  take(std::move(event));
}

void CoreLoop::write_at_one_index(std::vector<KeyWrite> writes, OnWrite done) {
  const std::uint64_t token = ++last_token_;
  writes_.emplace(token, std::move(done));
  EdgeWrite event;
  event.token = WriteToken{token};
  event.write = std::move(writes.front());
  event.others.assign(std::make_move_iterator(writes.begin() + 1), std::make_move_iterator(writes.end()));
  event.wall_ms = wall_ms_now();
  take(std::move(event));
}

void CoreLoop::list_keys(std::string prefix, std::string after, OnKeys done) {
  const std::uint64_t token = ++last_token_;
  lists_.emplace(token, std::move(done));
  take(EdgeListKeys{ReadToken{token}, std::move(prefix), std::move(after)});
}

void CoreLoop::step(What what) {
  in_step_ = true;
  const auto do_all = [this](What one_event) {
    decide(std::move(one_event), actions_);
    carry_out(actions_, of_this_gateway(actions_));
    actions_.ops.clear();
  };
  if (take_disruption()) {  // C2: before any event that could grant or use a proof
    l2_.disrupted(suspended_ns_now());
    do_all(EdgeDisrupted{});
  }
  do_all(std::move(what));
  in_step_ = false;
  publish_gauges();
}

bool CoreLoop::take_disruption() {
  disrupted_ |= detector_.poll();
  return std::exchange(disrupted_, false);
}

void CoreLoop::look_for_disruption() {  // C2, outside of a step
  if (!take_disruption()) return;
  run([this] {
    l2_.disrupted(suspended_ns_now());
    step(EdgeDisrupted{});
  });
}

void CoreLoop::decide(What what, EdgeActions& actions) {
  hits_of_look_ = 0;
  core_.step(EdgeEvent{clock_.now(), std::move(what)}, actions);  // C6: read after the event was taken
}

std::optional<HeldView> CoreLoop::hit(std::string_view key) {
  if (in_step_ || in_run_) return std::nullopt;
  settle_first();  // the memory tier does not know yet what was written together
  if (hits_of_look_ > 0)
    --hits_of_look_;
  else if (!look())
    return std::nullopt;
  auto held = core_.hit(key, look_.latest);
  if (held) ++(held->value ? reads_found_ : reads_missing_);
  return held;
}

// C1, C6: for what was received before. It stays true until the next step or write: nobody else changes what the core
// decides by, so what was the newest at this instant is what is answered. False: the machine slept (C2). That needs a
// step, which may change what earlier hits of a pipeline still refer to: so none is taken here, but by what comes next.
bool CoreLoop::look() {
  look_ = hot_clock_.now();
  const Nanos slept = saturating_sub(look_.suspended_ns, detector_.suspended_ns());
  if (detector_.watches_vm() || slept > kSuspendTolerance || slept < -kSuspendTolerance) disrupted_ |= detector_.poll();
  return !disrupted_;
}

std::optional<WriteDoneOp> CoreLoop::write_together(KeyWrite write) {
  if (in_step_ || in_run_ || gauges_.store_failed.load(std::memory_order_relaxed)) return std::nullopt;
  look_for_disruption();
  const WriteToken token{++last_token_};
  EdgeWrite event;
  event.token = token;
  event.write = std::move(write);
  event.wall_ms = wall_ms_now();
  const std::size_t before = together_.ops.size();
  decide(std::move(event), together_);
  std::optional<WriteDoneOp> done;
  for (std::size_t i = before; i < together_.ops.size(); ++i) {
    auto& op = together_.ops[i];
    if (const auto* bump = std::get_if<PageBumpSlot>(&op)) tell_change(*bump, i > 0 ? &together_.ops[i - 1] : nullptr);
    if (auto* own = std::get_if<WriteDoneOp>(&op); own != nullptr && own->token == token) done = std::move(*own);
  }
  TIDELOCK_ASSERT(done);  // a key of this gateway waits for nobody
  return done;
}

void CoreLoop::carry_out_together() {
  if (together_.ops.empty()) return;
  in_step_ = true;
  telling_ = false;
  carry_out(together_, true);
  telling_ = true;
  in_step_ = false;
  together_failed_ |= step_failed_;
  keep_rooms();
  together_.ops.clear();
  publish_gauges();
}

void CoreLoop::keep_rooms() {
  const auto keep = [](std::string& room, std::vector<std::string>& rooms) {
    if (rooms.size() < kRoomsKept && room.capacity() <= kRoomBytesMax) rooms.push_back(std::move(room));
  };
  for (auto& op : together_.ops) {
    auto* put = std::get_if<EntryPut>(&op);
    if (put == nullptr) continue;
    keep(put->key, key_rooms_);
    if (put->entry.value) keep(*put->entry.value, value_rooms_);
  }
}

Result<void> CoreLoop::store_all() {
  settle_first();
  auto done = l2_.store_all();
  if (!done) store_failed(done.error());
  if (l2_.take_wants_sync()) disk_.sync_soon();
  return done;
}

void CoreLoop::store_failed(const Error& why) {
  if (gauges_.store_failed.exchange(true)) return;
  log(LogLevel::kError, "edge", "store failed", {{"message", why.message}});
  post(EdgeOutboxFailed{why.message});
}

bool CoreLoop::of_this_gateway(const EdgeActions& actions) const {
  const auto elsewhere = [this](const std::string& key) {
    return namespace_of(core_.namespaces(), key).scope == Scope::kRegion;  // as write_together takes them
  };
  for (const auto& op : actions.ops) {
    if (const auto* put = std::get_if<EntryPut>(&op); put != nullptr && elsewhere(put->key)) return false;
    if (const auto* erase = std::get_if<EntryErase>(&op); erase != nullptr && elsewhere(erase->key)) return false;
  }
  return true;
}

bool CoreLoop::settle() {
  settle_first();
  hits_of_look_ = 0;  // what comes next was received later
  return !std::exchange(together_failed_, false);
}

// `own`: all that is to be stored is of keys that live on this gateway only.
void CoreLoop::carry_out(EdgeActions& actions, bool own) {
  // L2 first, all of it or nothing: no reader looks at it beside this thread, so its place among the stores to page and
  // arena (F5) cannot be seen, and what is acknowledged below survives a kill (D1).
  step_failed_ = false;
  if (const auto stored = l2_.commit(actions, clock_.now(), own); !stored) {  // D3
    step_failed_ = true;
    store_failed(stored.error());
  }
  const EdgeActions::Op* before = nullptr;
  for (auto& op : actions.ops) {
    std::visit([this](auto& what) { one(what); }, op);
    if (const auto* bump = std::get_if<PageBumpSlot>(&op); bump != nullptr && telling_) tell_change(*bump, before);
    before = &op;
  }
  if (l2_.take_wants_sync()) disk_.sync_soon();
  const Nanos now = clock_.now();
  loop_.wake_at(waker_,
                std::min({actions.wake_at, saturating_add(now, kIdleTick), arena_.sweep(now), l2_.commit_at(now)}));
}

// A slot is bumped whenever a value changed, right behind the operation that stored or dropped it.
void CoreLoop::tell_change(const PageBumpSlot& bump, const EdgeActions::Op* before) {
  if (!listener_.changed) return;
  const auto* put = before != nullptr ? std::get_if<EntryPut>(before) : nullptr;
  const auto* erase = before != nullptr ? std::get_if<EntryErase>(before) : nullptr;
  if (bump.whole || (put == nullptr && erase == nullptr)) return listener_.slot_changed(bump.slot);
  listener_.changed(put != nullptr ? put->key : erase->key);
}

void CoreLoop::one(const PagePolicies& op) {
  if (const auto set = page_.set_policies(op.namespaces, op.settings); !set) {
    log(LogLevel::kError, "edge", "page refuses the policies", {{"message", set.error().message}});
  }
  listener_.policies(op);
}

void CoreLoop::one(const LinkClose& op) {
  links_.close(op.link);
  page_.set_session(SessionNo{});
  if (session_hub_.empty()) {
    log(LogLevel::kDebug, "edge", "no session", {{"why", op.reason}});
    return;
  }
  session_hub_.clear();
  listener_.session_lost(op.reason);
}

void CoreLoop::one(const SessionOpened& op) {
  session_hub_ = op.hub;
  page_.set_session(SessionNo{++sessions_});
  gauges_.session_ever.store(true, std::memory_order_relaxed);
  listener_.session(op);
}

void CoreLoop::one(ReadDone& op) {
  reads_found_ += op.code == Code::kOk;
  reads_missing_ += op.code == Code::kNotFound;
  const auto it = reads_.find(op.token.value);
  if (it == reads_.end()) return;
  const OnRead done = std::move(it->second);
  reads_.erase(it);
  done(std::move(op));
}

void CoreLoop::one(WriteDoneOp& op) {
  const auto it = writes_.find(op.token.value);
  if (it == writes_.end()) return;
  const OnWrite done = std::move(it->second);
  writes_.erase(it);
  if (step_failed_ && op.code == Code::kOk && op.level == AckLevel::kOs) {
    op.code = Code::kMaybeApplied;
    op.message = "this edge's store failed; the value may not survive a restart";
  }
  done(std::move(op));
}

void CoreLoop::one(KeysListedOp& op) {
  const auto it = lists_.find(op.token.value);
  if (it == lists_.end()) return;
  const OnKeys done = std::move(it->second);
  lists_.erase(it);
  done(std::move(op));
}

void CoreLoop::one(const EdgeNote& op) {
  const bool alarm = op.event == "outbox_alarm" || op.event == "clock_fault" || op.event == "clock_disrupted";
  log(alarm ? LogLevel::kWarn : LogLevel::kInfo, "edge", op.event, {{"detail", op.detail}});
}

void CoreLoop::publish_gauges() {
  const auto set = [](EdgeGauges::Word& word, std::uint64_t value) { word.store(value, std::memory_order_relaxed); };
  const EdgeCounters& counters = core_.counters();
  set(gauges_.reads, counters.reads_total);
  set(gauges_.hits, counters.hits_total);
  set(gauges_.fallbacks, counters.fallbacks_total);
  set(gauges_.stale, counters.stale_total);
  set(gauges_.invalidations, counters.invalidations_total);
  set(gauges_.fetches, counters.fetches_total);
  set(gauges_.probes, counters.probes_total);
  set(gauges_.sessions, counters.sessions_total);
  const OutboxCounters& outbox = core_.outbox().counters();
  set(gauges_.written, outbox.written);
  set(gauges_.flushed, outbox.flushed);
  set(gauges_.superseded, outbox.superseded);
  set(gauges_.expired, outbox.expired);
  set(gauges_.pending, outbox.pending);
  set(gauges_.shed, outbox.shed);
  set(gauges_.lost, outbox.lost);
  set(gauges_.entries, arena_.entries());
  set(gauges_.memory_bytes, arena_.bytes());
  set(gauges_.outbox_bytes, core_.outbox().bytes());
  const L2Counters& l2 = l2_.counters();
  set(gauges_.l2_bytes, l2.bytes);
  set(gauges_.l2_evicted, l2.evicted);
  set(gauges_.l2_damaged, l2.damaged);
  set(gauges_.l2_missing, l2.missing);
  set(gauges_.applied, core_.applied().value);
  set(gauges_.term, core_.highest_term().value);
  if (const Nanos now = core_.round_trip_ns(); gauges_.round_trip.exchange(now, std::memory_order_relaxed) != now) {
    if (listener_.round_trip) listener_.round_trip(now);
  }
  gauges_.turned_at.store(clock_.now(), std::memory_order_relaxed);
  gauges_.fresh_at.store(core_.fresh_at(), std::memory_order_relaxed);
  gauges_.lease_until.store(core_.lease_until(), std::memory_order_relaxed);
  gauges_.session_open.store(core_.session_open(), std::memory_order_relaxed);
  gauges_.clock_fault.store(core_.clock_fault(), std::memory_order_relaxed);
}

}  // namespace tidelock
