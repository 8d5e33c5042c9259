// Two threads. The ledger thread owns the driver, the log store and the listener: it takes everything that is queued,
// steps the driver through it, and carries the actions out in the driver's order; commands that arrive during a sync
// share the next one. The background thread owns the courier: it makes snapshots and moves their files.
//
// Messages to peers end in one byte that says for which of the two they are.
#include "ledger/raft/raft_ledger.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <variant>

#include "base/assert.h"
#include "ledger/raft/raft_driver.h"
#include "ledger/raft/raft_members.h"
#include "ledger/raft/snapshot_courier.h"

namespace tidelock {

constexpr char kForDriver = 'R';
constexpr char kForCourier = 'S';
constexpr std::size_t kMessagesQueuedMax = 8192;
constexpr std::size_t kMessageBytesQueuedMax = 128u << 20;
constexpr std::size_t kFramesQueuedMax = 64;
constexpr std::size_t kSubmitEntriesMax = 1024;
constexpr std::uint64_t kSubmitBytesMax = 8u << 20;
constexpr std::uint64_t kUncommittedBytesMax = 16u << 20;
constexpr std::size_t kUncommittedEntriesMax = 4096;
constexpr Nanos kWaitMax = kSecond;  // a wait is cut into pieces, so that a clock that jumps is noticed

class RaftLedger::Impl {
 public:
  Impl(RaftLedgerOptions options, Kv& kv, RaftTransport& transport, LedgerListener& listener, const Clock& clock)
      : options_(std::move(options)),
        store_(kv),
        transport_(transport),
        listener_(listener),
        clock_(clock),
        courier_(options_.directory,
                 {[this](std::uint64_t to, Bytes frame) { send(to, std::move(frame), kForCourier); },
                  [this](std::uint64_t from, Bytes message, std::string name) {
                    put(Arrived{from, std::move(message), std::move(name)});
                  }}) {
    for (const RaftMember& m : options_.members) contacts_[m.id] = m.address;
  }

  Result<void> open();
  void append(CommandId id, Bytes command);
  void change(LedgerChange change, LedgerChanged done);
  void meet(std::vector<RaftMember> hubs) { put(Met{std::move(hubs)}); }
  void receive(const NodeId& from, Bytes message);
  void stop();
  LedgerStatus status() const {
    const std::lock_guard lock(mutex_);
    return status_;
  }
  std::uint64_t dropped_messages() const { return dropped_messages_.load(std::memory_order_relaxed); }

 private:
  // To the ledger thread.
  struct Message {
    std::uint64_t from;
    Bytes bytes;
  };
  struct SnapshotMade {
    Result<SnapshotCourier::Made> made;
  };
  struct Arrived {  // a peer's snapshot, files and all
    std::uint64_t from;
    Bytes raft_message;
    std::string name;
  };
  struct Asked {
    LedgerChange change;
    LedgerChanged done;
  };
  struct Met {
    std::vector<RaftMember> hubs;
  };
  using Internal = std::variant<SnapshotMade, Arrived, Asked, Met>;

  void run();
  void run_background();
  bool wait_for_work();
  void take_internal(Internal& internal, RaftActions& out);
  void take_change(Asked& asked, RaftActions& out);
  std::uint64_t best_successor() const;
  void learn_members(bool anew = false);
  NodeId name_of(std::uint64_t number) const;
  void submit(RaftActions& out);
  void step(RaftEvent&& event, RaftActions& out);
  template <class What>
  void step_now(What&& what, RaftActions& out) {
    step(RaftEvent{clock_.now(), std::forward<What>(what)}, out);  // C6: read anew for each event
  }
  void perform(RaftActions actions);
  bool carry_out(RaftActions& actions);
  bool install(const RaftSnapshotMeta& meta);
  bool commit(const RaftPersist& persist);
  void give_up(const Error& error);
  void publish();
  void send(std::uint64_t to, Bytes bytes, char kind);
  void put(Internal internal);
  void in_background(std::function<void()> job);

  // Fixed once open.
  const RaftLedgerOptions options_;

  // The ledger thread's.
  LogStore store_;
  RaftDriver driver_;
  RaftTransport& transport_;
  LedgerListener& listener_;
  const Clock& clock_;
  RaftActions first_actions_;
  std::optional<LedgerSnapshot> first_install_;
  std::deque<RaftProposal> held_;  // taken from the queue, waiting for room among the uncommitted
  std::uint64_t held_bytes_ = 0;
  Nanos wake_at_ = kNever;
  bool failed_ = false;
  bool snapshotting_ = false;
  std::optional<Arrived> waiting_;  // an arrived snapshot, while an own one is being made
  std::string installing_name_;
  std::uint64_t installs_ = 0;
  std::map<NodeId, std::string> contacts_;  // where hubs may be found: as configured, less who left, and the members
  std::vector<RaftServer> members_seen_;
  std::uint64_t last_ticket_ = 0;
  std::map<std::uint64_t, LedgerChanged> changes_;  // by ticket

  // The background thread's.
  SnapshotCourier courier_;

  // Guarded by mutex_.
  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::vector<Message> messages_;
  std::size_t message_bytes_ = 0;
  std::vector<RaftProposal> proposals_;
  std::vector<std::pair<CommandId, Code>> refused_;
  std::vector<Internal> internals_;
  std::uint64_t queued_bytes_ = 0;  // of proposals_
  std::uint64_t taken_bytes_ = 0;   // held or uncommitted, as last published
  std::size_t taken_entries_ = 0;
  std::uint64_t log_bytes_ = 0;
  bool stopping_ = false;
  LedgerStatus status_;

  // Guarded by names_mutex_: by which number Raft knows whom.
  mutable std::mutex names_mutex_;
  std::map<std::uint64_t, NodeId> names_;

  // Guarded by background_mutex_.
  std::mutex background_mutex_;
  std::condition_variable background_work_;
  std::deque<std::function<void()>> jobs_;
  std::size_t frames_queued_ = 0;
  bool background_stopping_ = false;

  std::atomic<std::uint64_t> dropped_messages_{0};
  std::thread thread_, background_;
};

Result<void> RaftLedger::Impl::open() {
  auto loaded = store_.load();
  if (!loaded) return fail(loaded.error());
  const std::optional<RaftSnapshotMeta> snapshot = loaded->snapshot;
  if (auto opened = courier_.open(snapshot ? snapshot->directory : "", {snapshot ? snapshot->index : 0}); !opened) {
    return opened;
  }
  std::vector<RaftServer> bootstrap;
  std::vector<RaftMember> sorted = options_.members;  // every hub writes the same bytes
  std::sort(sorted.begin(), sorted.end(), [](const RaftMember& a, const RaftMember& b) { return a.id < b.id; });
  for (const RaftMember& m : sorted)
    bootstrap.push_back({raft_member_number(m.id), stored_address(m), RaftRole::kVoter});
  RaftDriverSettings settings;
  settings.number = raft_member_number(options_.id);
  settings.address = options_.id;
  settings.election_timeout_ms = options_.election_timeout_ms;
  settings.heartbeat_ms = options_.heartbeat_ms;
  settings.snapshot_install_timeout_ms = options_.snapshot_install_timeout_ms;
  settings.max_inflight_entries = options_.max_inflight_entries;
  settings.snapshot_threshold_entries = options_.snapshot_threshold_entries;
  settings.snapshot_threshold_bytes = options_.snapshot_threshold_bytes;
  settings.snapshot_trailing_entries = options_.snapshot_trailing_entries;
  settings.snapshot_trailing_bytes = options_.snapshot_trailing_bytes;
  settings.seed = static_cast<std::uint32_t>(hash64(options_.id + "/" + std::to_string(options_.seed)));
  settings.applied = options_.applied;
  const bool bootstraps = options_.bootstrap && loaded->pristine();
  auto started = driver_.start(settings, std::move(*loaded), bootstraps ? bootstrap : std::vector<RaftServer>{},
                               clock_.now(), first_actions_);
  if (!started) return started;
  learn_members();
  if (snapshot && snapshot->index > options_.applied.value) {
    first_install_ = LedgerSnapshot{{snapshot->index}, courier_.files_path(snapshot->directory)};
  }
  publish();
  background_ = std::thread([this] { run_background(); });
  thread_ = std::thread([this] { run(); });
  return {};
}

// --- from any thread
// -----------------------------------------------------------------------------------------------------

void RaftLedger::Impl::append(CommandId id, Bytes command) {
  TIDELOCK_ASSERT(!command.empty() && command.size() <= kCommandBytesMax);
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    const bool full = queued_bytes_ + taken_bytes_ + command.size() > options_.append_queue_bytes_max ||
                      proposals_.size() + taken_entries_ >= options_.append_queue_entries_max ||
                      log_bytes_ > 4 * options_.snapshot_threshold_bytes;  // snapshots do not keep up: I11
    if (full) {
      refused_.emplace_back(id, Code::kBusy);
    } else {
      queued_bytes_ += command.size();
      proposals_.push_back({id, std::move(command)});
    }
  }
  work_.notify_one();  // after the lock: who is woken under it would only sleep again
}

void RaftLedger::Impl::receive(const NodeId& from, Bytes message) {
  const std::uint64_t number = raft_member_number(from);
  if (from == options_.id || name_of(number) != from || message.empty() || message.size() > kRaftMessageBytesMax) {
    dropped_messages_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const char kind = message.back();
  message.pop_back();
  if (kind == kForDriver) {
    bool queued = false;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      if (messages_.size() < kMessagesQueuedMax && message_bytes_ + message.size() <= kMessageBytesQueuedMax) {
        message_bytes_ += message.size();
        messages_.push_back({number, std::move(message)});
        queued = true;
      }
    }
    if (queued) {
      work_.notify_one();
      return;
    }
  } else if (kind == kForCourier) {
    const std::lock_guard lock(background_mutex_);
    if (background_stopping_) return;
    if (frames_queued_ < kFramesQueuedMax) {
      ++frames_queued_;
      jobs_.push_back([this, number, frame = std::move(message)] {
        {
          const std::lock_guard taken(background_mutex_);
          --frames_queued_;
        }
        courier_.receive(number, frame, clock_.now());
      });
      background_work_.notify_one();
      return;
    }
  }
  dropped_messages_.fetch_add(1, std::memory_order_relaxed);
}

void RaftLedger::Impl::change(LedgerChange change, LedgerChanged done) {
  if (change.what != LedgerChange::What::kTransfer || !change.id.empty()) {
    if (auto ok = check_member({change.id, change.address}); !ok) {
      done(ok);
      return;
    }
  }
  put(Asked{std::move(change), std::move(done)});
}

void RaftLedger::Impl::put(Internal internal) {
  {
    const std::lock_guard lock(mutex_);
    internals_.push_back(std::move(internal));
  }
  work_.notify_one();
}

void RaftLedger::Impl::in_background(std::function<void()> job) {
  const std::lock_guard lock(background_mutex_);
  jobs_.push_back(std::move(job));
  background_work_.notify_one();
}

void RaftLedger::Impl::send(std::uint64_t to, Bytes bytes, char kind) {
  const NodeId name = name_of(to);
  if (name.empty()) return;
  bytes.push_back(kind);
  transport_.send(name, std::move(bytes));
}

NodeId RaftLedger::Impl::name_of(std::uint64_t number) const {
  const std::lock_guard lock(names_mutex_);
  const auto it = names_.find(number);
  return it == names_.end() ? NodeId{} : it->second;
}

void RaftLedger::Impl::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    work_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
  for (auto& [ticket, done] : changes_) done(fail(Code::kMaybeApplied, "the ledger is stopping"));
  changes_.clear();
  for (Internal& internal : internals_) {
    if (auto* asked = std::get_if<Asked>(&internal)) asked->done(fail(Code::kNotActive, "the ledger is stopping"));
  }
  internals_.clear();
  {
    const std::lock_guard lock(background_mutex_);
    background_stopping_ = true;
    background_work_.notify_one();
  }
  if (background_.joinable()) background_.join();
}

// --- the ledger thread
// ---------------------------------------------------------------------------------------------------

void RaftLedger::Impl::run() {
  try {
    if (first_install_) {
      if (auto installed = listener_.on_install(*first_install_); !installed) give_up(installed.error());
    }
    if (!failed_) perform(std::move(first_actions_));
    while (!failed_ && wait_for_work()) {
      std::vector<Message> messages;
      std::vector<RaftProposal> proposals;
      std::vector<std::pair<CommandId, Code>> refused;
      std::vector<Internal> internals;
      {
        const std::lock_guard lock(mutex_);
        messages.swap(messages_);
        proposals.swap(proposals_);
        refused.swap(refused_);
        internals.swap(internals_);
        message_bytes_ = 0;
        taken_bytes_ += queued_bytes_;
        taken_entries_ += proposals.size();
        queued_bytes_ = 0;
      }
      RaftActions actions;
      const auto perform_behind_install = [&] {
        if (actions.install && !failed_) perform(std::exchange(actions, {}));
      };
      for (Message& m : messages) {
        if (failed_) break;
        step_now(RaftReceived{m.from, std::move(m.bytes)}, actions);
        perform_behind_install();
      }
      for (Internal& internal : internals) {
        if (failed_) break;
        take_internal(internal, actions);
        perform_behind_install();
      }
      for (RaftProposal& p : proposals) {
        held_bytes_ += p.command.size();
        held_.push_back(std::move(p));
      }
      if (!failed_) submit(actions);
      if (!failed_ && clock_.now() >= wake_at_) step_now(RaftTick{}, actions);
      if (!failed_) {
        for (const auto& [id, code] : refused) actions.dropped.emplace_back(id, code);
        perform(std::move(actions));
      }
      // Room among the uncommitted may have come while the disk wrote.
      while (!failed_ && !held_.empty() && driver_.pending_bytes() < kUncommittedBytesMax &&
             driver_.pending() < kUncommittedEntriesMax) {
        RaftActions more;
        submit(more);
        perform(std::move(more));
      }
      publish();
    }
  } catch (const std::exception& e) {
    give_up({Code::kUnavailable, std::string("raft ledger: ") + e.what(), {}, 0});
  }
}

bool RaftLedger::Impl::wait_for_work() {
  std::unique_lock lock(mutex_);
  while (!stopping_ && messages_.empty() && proposals_.empty() && refused_.empty() && internals_.empty()) {
    const Nanos left = saturating_sub(wake_at_, clock_.now());
    if (left <= 0) break;
    work_.wait_for(lock, std::chrono::nanoseconds(std::min(left, kWaitMax)));
  }
  return !stopping_;
}

void RaftLedger::Impl::step(RaftEvent&& event, RaftActions& out) {
  driver_.step(std::move(event), out);
  if (out.failed) {
    give_up(*out.failed);
    return;
  }
  if (out.wake_at != kForever) wake_at_ = out.wake_at;
}

void RaftLedger::Impl::submit(RaftActions& out) {
  // On a follower everything held is refused at once.
  while (!failed_ && !held_.empty()) {
    const bool leading = driver_.leading();
    if (leading && (driver_.pending_bytes() >= kUncommittedBytesMax || driver_.pending() >= kUncommittedEntriesMax))
      return;
    RaftProposed event;
    std::uint64_t bytes = 0;
    while (!held_.empty() && event.proposals.size() < kSubmitEntriesMax && bytes < kSubmitBytesMax) {
      bytes += held_.front().command.size();
      event.proposals.push_back(std::move(held_.front()));
      held_.pop_front();
    }
    held_bytes_ -= bytes;
    step_now(std::move(event), out);
  }
}

void RaftLedger::Impl::take_internal(Internal& internal, RaftActions& out) {
  if (auto* made = std::get_if<SnapshotMade>(&internal)) {
    snapshotting_ = false;
    if (!made->made) {
      step_now(RaftSnapshotFailed{}, out);
    } else {
      const std::string name = made->made->name;
      step_now(RaftSnapshotTaken{made->made->index, name}, out);
      const bool taken = out.persist.snapshot && out.persist.snapshot->directory == name;
      if (!taken) in_background([this, name] { courier_.discard(name); });
    }
    if (!waiting_ || failed_) return;
    if (!out.persist.empty()) perform(std::exchange(out, {}));  // its metadata before the other's
    Internal next = std::move(*waiting_);
    waiting_.reset();
    if (!failed_) take_internal(next, out);
    return;
  }
  if (auto* asked = std::get_if<Asked>(&internal)) {
    take_change(*asked, out);
    return;
  }
  if (auto* met = std::get_if<Met>(&internal)) {
    for (RaftMember& m : met->hubs) {
      if (check_member(m)) contacts_.emplace(std::move(m.id), std::move(m.address));
    }
    learn_members(true);
    return;
  }
  auto& arrived = std::get<Arrived>(internal);
  if (snapshotting_) {  // on_install comes with nothing in flight
    waiting_ = std::move(arrived);
    return;
  }
  installing_name_ = arrived.name;
  step_now(RaftReceived{arrived.from, std::move(arrived.raft_message)}, out);
  const bool wanted = out.install.has_value();
  if (wanted && !failed_) perform(std::exchange(out, {}));
  in_background([this, wanted, name = arrived.name] {
    if (!wanted) courier_.discard(name);
    courier_.concluded();
  });
}

void RaftLedger::Impl::take_change(Asked& asked, RaftActions& out) {
  const LedgerChange& change = asked.change;
  std::uint64_t number = raft_member_number(change.id);
  const NodeId known = name_of(number);
  if (change.what != LedgerChange::What::kTransfer && !known.empty() && known != change.id) {
    asked.done(
        fail(Code::kConflict, "'" + change.id + "' and '" + known + "' have the same number; choose another id"));
    return;
  }
  const std::uint64_t ticket = ++last_ticket_;
  LedgerChanged done = std::move(asked.done);
  bool transfer = change.what == LedgerChange::What::kTransfer;
  if (transfer && change.id.empty()) number = best_successor();
  if (change.what == LedgerChange::What::kRemove && change.id == options_.id && driver_.leading()) {
    // Who leaves cannot tell the others that its leaving is committed, so they would have to find out by an election.
    if (const std::uint64_t successor = best_successor(); successor != 0) {
      transfer = true;
      number = successor;
      done = [then = std::move(done)](Result<void> end) {
        if (!end) return then(end);
        then(fail(Code::kNotActive, "the leadership was handed over, because this hub is to leave; ask again"));
      };
    }
  }
  changes_[ticket] = std::move(done);
  if (transfer) {
    step_now(RaftTransfer{ticket, number}, out);
  } else {
    const RaftServer server{number, stored_address({change.id, change.address}), RaftRole::kVoter};
    step_now(RaftChange{ticket, server, change.what == LedgerChange::What::kRemove}, out);
  }
}

// The voter with the most of the log among those that answer; 0 when there is none.
std::uint64_t RaftLedger::Impl::best_successor() const {
  std::uint64_t best = 0;
  const Nanos since = saturating_sub(clock_.now(), 2 * static_cast<Nanos>(options_.election_timeout_ms) * kMillisecond);
  for (const RaftServer& server : driver_.members()) {
    if (server.role != RaftRole::kVoter || server.number == raft_member_number(options_.id)) continue;
    if (driver_.heard(server.number) < since) continue;
    if (best == 0 || driver_.match(server.number) > driver_.match(best)) best = server.number;
  }
  return best;
}

// The members may have changed with the log: who they are, and where.
void RaftLedger::Impl::learn_members(bool anew) {
  if (!anew && !members_seen_.empty() && members_seen_ == driver_.members()) return;
  for (const RaftServer& server : members_seen_) {
    if (driver_.member(server.number) == nullptr) contacts_.erase(member_of(server).id);
  }
  members_seen_ = driver_.members();
  for (const RaftServer& server : members_seen_) {
    if (RaftMember m = member_of(server); !m.id.empty()) contacts_[m.id] = std::move(m.address);
  }
  std::vector<RaftMember> reachable;
  std::vector<RaftMember> members;
  {
    const std::lock_guard lock(names_mutex_);
    names_.clear();
    names_[raft_member_number(options_.id)] = options_.id;
    for (const auto& [id, address] : contacts_) {
      names_[raft_member_number(id)] = id;
      if (id != options_.id) reachable.push_back({id, address});
    }
  }
  for (const RaftServer& server : members_seen_) {
    if (server.number == raft_member_number(options_.id)) continue;
    RaftMember m = member_of(server);
    if (m.id.empty()) m.id = name_of(server.number);
    members.push_back(std::move(m));
  }
  transport_.peers(reachable, members);
}

void RaftLedger::Impl::perform(RaftActions actions) {
  while (!failed_) {
    const std::uint64_t persist_no = actions.persist_no;
    const bool installs = actions.install.has_value();
    if (!carry_out(actions)) return;
    if (persist_no == 0 && !installs) return;
    RaftActions next;
    if (persist_no != 0) step_now(RaftPersisted{persist_no}, next);
    if (installs && !failed_) step_now(RaftSnapshotInstalled{}, next);
    actions = std::move(next);
  }
}

// The driver's contract, in its order.
bool RaftLedger::Impl::carry_out(RaftActions& actions) {
  if (actions.persist_first && !commit(actions.persist)) return false;
  learn_members();  // before anything is sent to a new one
  for (RaftSend& s : actions.send) send(s.to, std::move(s.message), kForDriver);
  for (RaftSnapshotSend& s : actions.snapshot_send) {
    in_background([this, to = s.to, index = s.index, message = std::move(s.message)]() mutable {
      courier_.offer(to, index, std::move(message), clock_.now());
    });
  }
  if (!actions.persist_first && !commit(actions.persist)) return false;
  if (actions.persist.snapshot) {
    in_background([this, index = Index{actions.persist.snapshot->index}, name = actions.persist.snapshot->directory] {
      static_cast<void>(courier_.set_current(index, name));  // else it cannot be offered; the next one can
    });
  }
  if (!actions.committed.empty()) listener_.on_committed(std::move(actions.committed));
  for (const auto& [id, code] : actions.dropped) listener_.on_dropped(id, code);
  for (RaftEnded& end : actions.ended) {
    const LedgerChanged done = std::move(changes_[end.ticket]);
    changes_.erase(end.ticket);
    publish();
    done(end.code == Code::kOk ? Result<void>() : fail(end.code, std::move(end.message)));
  }
  if (actions.leadership) {
    publish();
    listener_.on_leadership(actions.leadership->leading, name_of(actions.leadership->leader));
  }
  if (actions.take_snapshot) {
    snapshotting_ = true;
    in_background([this] {
      Result<SnapshotCourier::Made> made = fail(Code::kUnavailable, "snapshot");
      try {
        made = courier_.make(listener_);
      } catch (const std::exception& e) {
        made = fail(Code::kUnavailable, std::string("snapshot: ") + e.what());
      }
      put(SnapshotMade{std::move(made)});  // always answered: the driver waits for it before it asks again
    });
  }
  return !actions.install || install(*actions.install);
}

bool RaftLedger::Impl::install(const RaftSnapshotMeta& meta) {
  // Metadata first: a crash in between is mended at the next open, which installs what the metadata names.
  RaftPersist persist;
  persist.snapshot = meta;
  persist.snapshot->directory = installing_name_;
  persist.reset_log = true;
  if (!commit(persist)) return false;
  in_background([this, index = Index{meta.index}, name = installing_name_] {
    static_cast<void>(courier_.set_current(index, name));
  });
  auto installed = listener_.on_install({{meta.index}, courier_.files_path(installing_name_)});
  if (!installed) {
    give_up(installed.error());
    return false;
  }
  ++installs_;
  return true;
}

bool RaftLedger::Impl::commit(const RaftPersist& persist) {
  if (persist.empty()) return true;
  auto written = store_.commit(persist);
  if (!written) give_up(written.error());  // D3
  return written.has_value();
}

void RaftLedger::Impl::give_up(const Error& error) {
  if (std::exchange(failed_, true)) return;
  {
    const std::lock_guard lock(mutex_);
    status_.leading = false;
    status_.leader.clear();
  }
  listener_.on_failed(error);
}

void RaftLedger::Impl::publish() {
  LedgerStatus status;
  status.leading = driver_.leading();
  status.leader = name_of(driver_.leader());
  status.raft_term = driver_.term();
  status.last_index = driver_.last_index();
  status.commit_index = driver_.commit_index();
  status.first_index = driver_.first_index();
  status.leader_changes_total = driver_.leader_changes_total();
  status.snapshots_installed_total = installs_;
  for (const RaftServer& server : driver_.members()) {
    RaftMember m = member_of(server);
    if (m.id.empty()) m.id = name_of(server.number);
    LedgerMember member{std::move(m.id), std::move(m.address), server.role == RaftRole::kVoter, kForever, {}};
    if (status.leading) {
      member.heard_ns = saturating_sub(clock_.now(), driver_.heard(server.number));
      if (server.number == raft_member_number(options_.id)) member.heard_ns = 0;
      member.synced = driver_.match(server.number);
    }
    status.members.push_back(std::move(member));
  }
  const std::lock_guard lock(mutex_);
  taken_bytes_ = held_bytes_ + driver_.pending_bytes();
  taken_entries_ = held_.size() + driver_.pending();
  log_bytes_ = driver_.log_bytes();
  if (!failed_) status_ = status;
}

// --- the background thread
// -----------------------------------------------------------------------------------------------

void RaftLedger::Impl::run_background() {
  Nanos tick_at = kForever;
  while (true) {
    std::function<void()> job;
    {
      std::unique_lock lock(background_mutex_);
      while (!background_stopping_ && jobs_.empty()) {
        const Nanos left = tick_at == kForever ? kForever : saturating_sub(tick_at, clock_.now());
        if (left <= 0) break;
        background_work_.wait_for(lock, std::chrono::nanoseconds(std::min(left, kWaitMax)));
      }
      if (background_stopping_) return;
      if (!jobs_.empty()) {
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
    }
    try {
      if (job) job();
      tick_at = courier_.tick(clock_.now());
    } catch (const std::exception&) {
      // A file system or transport that throws: this frame is lost, and asked for again.
      tick_at = saturating_add(clock_.now(), kSecond);
    }
  }
}

// --- the face
// ------------------------------------------------------------------------------------------------------------

RaftLedger::RaftLedger(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RaftLedger::~RaftLedger() { stop(); }

Result<std::unique_ptr<RaftLedger>> RaftLedger::open(RaftLedgerOptions options, Kv& kv, RaftTransport& transport,
                                                     LedgerListener& listener, const Clock& clock) {
  // What a configuration must be to make the first members does not bind one that lists hubs which came later.
  const auto held = kv.last_key(kRaftStateFamily);
  if (!held) return fail(held.error());
  if (*held) options.bootstrap = false;
  if (auto valid = options.validate(); !valid) return fail(valid.error());
  auto impl = std::make_unique<Impl>(std::move(options), kv, transport, listener, clock);
  if (auto opened = impl->open(); !opened) return fail(opened.error());
  return std::unique_ptr<RaftLedger>(new RaftLedger(std::move(impl)));
}

void RaftLedger::append(CommandId id, Bytes command) { impl_->append(id, std::move(command)); }
void RaftLedger::change(LedgerChange change, LedgerChanged done) { impl_->change(std::move(change), std::move(done)); }
LedgerStatus RaftLedger::status() const { return impl_->status(); }
void RaftLedger::stop() { impl_->stop(); }
void RaftLedger::meet(std::vector<RaftMember> hubs) { impl_->meet(std::move(hubs)); }
void RaftLedger::receive(const NodeId& from, Bytes message) { impl_->receive(from, std::move(message)); }
std::uint64_t RaftLedger::dropped_messages_total() const { return impl_->dropped_messages(); }

}  // namespace tidelock
