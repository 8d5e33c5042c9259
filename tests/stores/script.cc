#include "tests/stores/script.h"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <optional>

#include "base/bytes.h"
#include "base/rng.h"
#include "edge/l2_store.h"
#include "edge/outbox_disk.h"
#include "ledger/raft/log_store.h"
#include "protocol/outbox.h"
#include "tests/stores/fault_disk.h"

namespace tidelock::stores {

// ------------------------------------------------------------------------------------------------------- references

static std::uint64_t row_hash(const std::string& family, const Bytes& key, const Bytes& value) {
  return hash64(family + "/" + std::to_string(key.size()) + "/" + key + value);
}

std::uint64_t hash_of(const Rows& rows) {
  std::uint64_t hash = 0;
  for (const auto& [where, value] : rows) hash ^= row_hash(where.first, where.second, value);
  return hash;
}

FakeKv::FakeKv(Rows rows) : rows_(std::move(rows)), hash_(hash_of(rows_)), states_{hash_} {}

void FakeKv::set(const std::string& family, const Bytes& key, std::optional<Bytes> value) {
  const auto it = rows_.find({family, key});
  if (it != rows_.end()) {
    hash_ ^= row_hash(family, key, it->second);
    rows_.erase(it);
  }
  if (!value) return;
  hash_ ^= row_hash(family, key, *value);
  rows_[{family, key}] = std::move(*value);
}

Result<std::optional<Bytes>> FakeKv::get(const std::string& family, BytesView key) const {
  const std::lock_guard lock(mutex_);
  const auto it = rows_.find({family, Bytes(key)});
  return it == rows_.end() ? std::optional<Bytes>{} : std::optional<Bytes>(it->second);
}

Result<void> FakeKv::commit(const KvBatch& batch, Sync) {
  const std::lock_guard lock(mutex_);
  for (const KvBatch::Write& write : batch.writes) {
    if (!write.end) {
      set(write.family, write.key, write.value);
      continue;
    }
    std::vector<Bytes> gone;
    for (auto it = rows_.lower_bound({write.family, write.key});
         it != rows_.end() && it->first.first == write.family && it->first.second < *write.end; ++it)
      gone.push_back(it->first.second);
    for (const Bytes& key : gone) set(write.family, key, std::nullopt);
  }
  states_.push_back(hash_);
  return {};
}

Result<void> FakeKv::scan(const std::string& family, BytesView begin, BytesView end,
                          const std::function<bool(BytesView, BytesView)>& visit) const {
  const std::lock_guard lock(mutex_);
  for (auto it = rows_.lower_bound({family, Bytes(begin)}); it != rows_.end() && it->first.first == family; ++it) {
    if ((!end.empty() && it->first.second >= end) || !visit(it->first.second, it->second)) break;
  }
  return {};
}

Result<std::optional<Bytes>> FakeKv::last_key(const std::string& family) const {
  std::optional<Bytes> last;
  for (const auto& [where, value] : rows_)
    if (where.first == family) last = where.second;
  return last;
}

Result<void> FakeKv::export_family(const std::string&, const std::string&) { return fail(Code::kInvalid, "in memory"); }
Result<void> FakeKv::import_family(const std::string&, const std::string&) { return fail(Code::kInvalid, "in memory"); }

Result<Rows> all_rows(const Kv& kv, const std::vector<std::string>& families) {
  Rows rows;
  for (const std::string& family : families) {
    const auto done = kv.scan(family, {}, {}, [&](BytesView key, BytesView value) {
      rows[{family, Bytes(key)}] = Bytes(value);
      return true;
    });
    if (!done) return fail(done.error());
  }
  return rows;
}

std::string judge(const Rows& rows, const FakeKv& reference, std::uint64_t low, std::uint64_t high) {
  const auto& states = reference.states();
  const std::uint64_t hash = hash_of(rows);
  for (std::uint64_t n = low; n <= high && n < states.size(); ++n)
    if (states[n] == hash) return {};
  for (std::uint64_t n = 0; n < states.size(); ++n) {
    if (states[n] == hash) {
      return "the state after commit " + std::to_string(n) + ", must be of " + std::to_string(low) + " to " +
             std::to_string(high);
    }
  }
  return "a state (" + std::to_string(rows.size()) + " rows) that no prefix of the script makes; wanted " +
         std::to_string(low) + " to " + std::to_string(high);
}

Result<void> CountedKv::commit(const KvBatch& batch, Sync sync) {
  std::uint64_t mine = 0;
  {
    const std::lock_guard lock(mutex_);
    mine = ++counts_.issued;
    if (disk_ != nullptr) disk_->note(DiskOp::kIssued, mine);
    if (on_change_) on_change_(counts_);
  }
  auto done = below_.commit(batch, sync);
  if (!done) return done;
  const std::lock_guard lock(mutex_);
  counts_.acked = mine;
  if (sync == Sync::kDisk) {
    counts_.durable = mine;
    if (disk_ != nullptr) disk_->note(DiskOp::kDurable, mine);
  }
  if (on_change_) on_change_(counts_);
  return done;
}

Result<void> CountedKv::sync() {
  const std::uint64_t covered = counts().acked;
  auto done = below_.sync();
  if (!done) return done;
  const std::lock_guard lock(mutex_);
  counts_.durable = covered;
  if (disk_ != nullptr) disk_->note(DiskOp::kDurable, covered);
  if (on_change_) on_change_(counts_);
  return done;
}

CountedKv::Counts CountedKv::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

// ------------------------------------------------------------------------------------------------------------- edge

namespace {

constexpr Nanos kStep = 10 * kMillisecond;

Bytes some_bytes(Rng& rng, std::size_t bytes_max) {
  Bytes out(rng.below(bytes_max), '\0');
  for (char& c : out) c = static_cast<char>(rng.next());
  return out;
}

// Every look is a group's whole wait later, so that the disk thread never waits for time to pass.
class HastyClock : public Clock {
 public:
  Nanos now() const override { return now_ += OutboxDisk::kGather; }

 private:
  mutable std::atomic<Nanos> now_{0};
};

class EdgeRun {
 public:
  EdgeRun(Kv& kv, std::uint64_t seed, std::uint64_t first)
      : kv_(kv), rng_(seed * 1'000'003 + first), seed_(seed), step_(first), l2_(kv, L2Run{1, 1, 0, 0}) {}

  Ended run(std::uint64_t steps) {
    if (auto loaded = load(); !loaded) return {std::move(loaded), {}};
    OutboxDisk disk(
        kv_, clock_, [this](std::uint64_t number, AckLevel level) { confirmed(number, level); },
        [this](const std::string& why) {
          const std::lock_guard lock(mutex_);
          failure_ = why;
          changed_.notify_all();
        });
    disk_ = &disk;
    OutboxActions opened;
    outbox_->session_open(now(), opened);
    pump(std::move(opened));
    for (std::uint64_t i = 0; i < steps && ended_.written; ++i, ++step_) one_step();
    return std::move(ended_);
  }

 private:
  Nanos now() const { return static_cast<Nanos>(step_ + 1) * kStep; }
  std::uint64_t wall_ms() const { return step_ * 10; }

  Result<void> load() {
    std::vector<std::pair<Bytes, Bytes>> rows;
    auto scanned = kv_.scan(kOutboxFamily, {}, {}, [&](BytesView key, BytesView value) {
      rows.emplace_back(key, value);
      return true;
    });
    if (!scanned) return scanned;
    OutboxOptions options;
    options.clock_run = 1;
    options.bytes_max = 1u << 20;
    auto outbox = Outbox::restore(options, rows, now(), wall_ms(), Rng(rng_.next()));
    if (!outbox) return fail(outbox.error());
    outbox_.emplace(std::move(*outbox));
    return kv_.scan(kL2Family, {}, {}, [&](BytesView key, BytesView value) {
      expected_[std::string(key)] = decode_l2_row(value, L2Run{1, 1, 0, 0})->entry.value.value_or("(none)");
      return true;
    });
  }

  void one_step() {
    read();
    const std::uint64_t what = rng_.below(10);
    if (what < 4) return write_l2();
    OutboxActions out;
    if (what < 9) {
      WriteBehind write;
      write.key = "feature:" + std::to_string(rng_.below(30));
      if (!rng_.one_in(8)) write.value = some_bytes(rng_, 2'000);
      write.stamp = Stamp{step_ + 1, 0, 1};
      write.level = rng_.one_in(2) ? AckLevel::kDisk : AckLevel::kOs;
      write.flush_age_ns = 20 * kStep;
      write.token = step_ + 1;
      outbox_->accept(now(), wall_ms(), std::move(write), out);
    } else {
      outbox_->session_closed();
      outbox_->session_open(now(), out);
    }
    pump(std::move(out));
    if (!ended_.written) after_the_failure();
  }

  void write_l2() {
    EdgeActions actions;
    std::map<std::string, std::optional<Bytes>> changes;
    for (std::uint64_t n = 1 + rng_.below(3); n > 0; --n) {
      const std::string key = "bulk:" + std::to_string(rng_.below(40));
      if (rng_.one_in(5)) {
        actions.ops.emplace_back(EntryErase{key});
        changes[key] = std::nullopt;
      } else {
        EdgeEntry entry;
        entry.version = Index{step_ + 1};
        entry.value = some_bytes(rng_, 3'000);
        changes[key] = entry.value;
        actions.ops.emplace_back(EntryPut{key, std::move(entry)});
      }
    }
    if (auto stored = l2_.commit(actions, now()); !stored) {
      expect_busy(stored.error());
      ended_.written = std::move(stored);
      return;
    }
    for (auto& [key, value] : changes) {
      if (value)
        expected_[key] = std::move(*value);
      else
        expected_.erase(key);
    }
  }

  void read() {
    const std::string key = "bulk:" + std::to_string(rng_.below(40));
    const auto found = l2_.find(key);
    const auto it = expected_.find(key);
    if (found && (it == expected_.end() || found->value != it->second))
      ended_.wrong.push_back("step " + std::to_string(step_) + ": L2 served a wrong value for " + key);
  }

  // Persists and confirms until the outbox has nothing more to do, and answers its batches.
  void pump(OutboxActions out) {
    while (ended_.written) {
      OutboxActions next;
      for (const OutboxDone& done : out.done) {
        if (done.code != Code::kOk && done.code != Code::kBusy)
          ended_.wrong.push_back("a write ended as " + std::string(code_name(done.code)) + ": " + done.message);
      }
      if (out.persist_number != 0) {
        disk_->push({std::move(out.persist), out.persist_number, out.sync});
        const auto level = wait_for(out.persist_number, out.sync ? AckLevel::kDisk : AckLevel::kOs);
        if (!level) return fail_outbox();
        outbox_->persisted(now(), out.persist_number, *level, next);
      } else if (out.send) {
        if (rng_.one_in(4)) {  // the answer is lost with the session: the same batch comes again (D5)
          outbox_->session_closed();
          outbox_->session_open(now(), next);
        } else {
          outbox_->batch_done(now(), BatchDone{out.send->incarnation, out.send->number, Index{step_}, 0, Code::kOk, {}},
                              next);
        }
      } else {
        return;
      }
      if (out.persist_number != 0 && out.send) next.send = std::move(out.send);
      out = std::move(next);
    }
  }

  void fail_outbox() {
    OutboxActions out;
    std::string why;
    {
      const std::lock_guard lock(mutex_);
      why = failure_;
    }
    outbox_->store_failed(now(), why, out);
    for (const OutboxDone& done : out.done) {
      if (done.code != Code::kMaybeApplied)
        ended_.wrong.push_back("D3: a write under way ended as " + std::string(code_name(done.code)));
    }
    ended_.written = fail(Code::kBusy, why);
  }

  void after_the_failure() {  // D3: read-only, and says so
    OutboxActions out;
    WriteBehind write;
    write.key = "feature:after";
    write.value = "x";
    write.stamp = Stamp{step_ + 2, 0, 1};
    write.token = 1;
    outbox_->accept(now(), wall_ms(), std::move(write), out);
    if (out.done.size() != 1 || out.done[0].code != Code::kBusy)
      ended_.wrong.push_back("D3: the outbox accepts writes after its store failed");
    EdgeActions actions;
    actions.ops.emplace_back(EntryErase{"bulk:after"});
    if (const auto stored = l2_.commit(actions, now()); stored)
      ended_.wrong.push_back("D3: the store took a write after one had failed");
    else
      expect_busy(stored.error());
  }

  void expect_busy(const Error& error) {
    if (error.code != Code::kBusy)
      ended_.wrong.push_back("D3: a failed write is " + std::string(code_name(error.code)) + ": " + error.message);
  }

  void confirmed(std::uint64_t number, AckLevel level) {
    const std::lock_guard lock(mutex_);
    if (level == AckLevel::kDisk) disk_number_ = number;
    os_number_ = std::max(os_number_, number);
    changed_.notify_all();
  }
  std::optional<AckLevel> wait_for(std::uint64_t number, AckLevel level) {
    std::unique_lock lock(mutex_);
    const auto there = [&] { return (level == AckLevel::kDisk ? disk_number_ : os_number_) >= number; };
    changed_.wait(lock, [&] { return there() || !failure_.empty(); });
    return there() ? std::optional(level) : std::nullopt;
  }

  Kv& kv_;
  Rng rng_;
  const std::uint64_t seed_;
  std::uint64_t step_;
  L2Store l2_;
  std::optional<Outbox> outbox_;
  HastyClock clock_;
  OutboxDisk* disk_ = nullptr;
  std::map<std::string, Bytes> expected_;
  Ended ended_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t os_number_ = 0, disk_number_ = 0;
  std::string failure_;
};

Ended run_edge(Kv& kv, std::uint64_t seed, std::uint64_t first, std::uint64_t steps) {
  return EdgeRun(kv, seed, first).run(steps);
}

// -------------------------------------------------------------------------------------------------------------- hub

constexpr char kState[] = "state";

Ended run_hub(Kv& kv, std::uint64_t seed, std::uint64_t first, std::uint64_t steps) {
  Rng rng(seed * 1'000'003 + first);
  LogStore log(kv);
  auto loaded = log.load();
  if (!loaded) return {fail(loaded.error()), {}};
  RaftVote vote = loaded->vote;
  std::uint64_t kept = loaded->first_index;
  std::uint64_t last = loaded->first_index + loaded->entries.size() - 1;
  std::uint64_t settled = loaded->snapshot ? loaded->snapshot->index : 0;  // never rewritten
  std::map<Bytes, Bytes> state;
  auto scanned = kv.scan(kState, {}, {}, [&](BytesView key, BytesView value) {
    state[Bytes(key)] = value;
    return true;
  });
  if (!scanned) return {std::move(scanned), {}};

  Ended ended;
  for (std::uint64_t step = first; step < first + steps; ++step) {
    const Bytes asked = "row" + std::to_string(rng.below(30));
    if (const auto found = kv.get(kState, asked);
        found && *found != (state.contains(asked) ? std::optional(state[asked]) : std::nullopt))
      ended.wrong.push_back("step " + std::to_string(step) + ": a wrong state row was served");
    const std::uint64_t what = rng.below(40);
    if (what < 10) {
      KvBatch batch;
      const Bytes key = "row" + std::to_string(rng.below(30));
      Bytes value = some_bytes(rng, 1'500);
      batch.put(kState, key, value);
      ended.written = kv.commit(batch, Sync::kNone);
      if (ended.written) state[key] = std::move(value);
    } else {
      RaftPersist persist;
      if (what < 14) {
        vote = RaftVote{vote.term + 1, 1 + rng.below(3)};
        persist.vote = vote;
      } else if (what == 14 && last > settled + 3) {
        settled = last - 2;
        kept = std::max(kept, settled > 5 ? settled - 5 : 1);
        persist.snapshot = RaftSnapshotMeta{settled, vote.term, 1, "configuration", "snap-" + std::to_string(settled)};
        persist.first_kept = kept;
      } else if (what == 15 && rng.one_in(4)) {
        settled = last + 10;
        last = settled;
        kept = settled + 1;
        persist.snapshot = RaftSnapshotMeta{settled, vote.term, 1, "configuration", "snap-" + std::to_string(settled)};
        persist.reset_log = true;
      } else {
        if (vote.term == 0 || what == 16) {  // a new leader, which overwrites what was not settled
          vote = RaftVote{vote.term + 1, 0};
          persist.vote = vote;
        }
        RaftAppend append;
        append.first = what == 16 && last > settled ? settled + 1 + rng.below(last - settled) : last + 1;
        for (std::uint64_t n = 1 + rng.below(3); n > 0; --n)
          append.entries.push_back({vote.term, RaftEntryType::kCommand, some_bytes(rng, 1'200)});
        last = append.first + append.entries.size() - 1;
        persist.appends.push_back(std::move(append));
      }
      ended.written = log.commit(persist);
    }
    if (ended.written) continue;
    if (ended.written.error().code != Code::kBusy)
      ended.wrong.push_back("D3: a failed write is " + std::string(code_name(ended.written.error().code)) + ": " +
                            ended.written.error().message);
    RaftPersist more;
    more.vote = RaftVote{vote.term + 1, 1};
    if (log.commit(more)) ended.wrong.push_back("D3: the log took a vote after a write had failed");
    break;
  }
  return ended;
}

}  // namespace

const Script kEdgeScript{"edge", {kL2Family, kOutboxFamily, kMetaFamily}, run_edge};
const Script kHubScript{"hub", {kRaftLogFamily, kRaftStateFamily, kState}, run_hub};

}  // namespace tidelock::stores
