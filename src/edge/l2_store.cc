// A commit first makes a Plan: one last change for each key, because the bytes that a change gives back are known only
// from the row before the step. Then one batch goes to RocksDB with the new count of bytes in it, and after that the
// values go to the cache server: a kill between the two leaves a row whose value is not there, which is a miss.

#include "edge/l2_store.h"

#include <algorithm>
#include <filesystem>
#include <unordered_map>
#include <utility>
#include <variant>

#include "base/wall_clock.h"
#include "codec/archive.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

constexpr char kBytesRow[] = "l2_bytes";  // in kMetaFamily
constexpr char kDropRow[] = "l2_proofs";
constexpr char kDrainedRow[] = "l2_drained";
constexpr std::size_t kSpareRows = 256;  // so many rows without one that goes: local ones go, too; twice: any goes
constexpr int kRoundsMax = 5;            // to the end; all; all with local ones, twice because bits are to be cleared
constexpr std::size_t kRowsInOneBatch = 1'024;  // of the journal
constexpr std::size_t kTicksToDrain = 200;      // of a millisecond
constexpr std::uint64_t kSlackMax = 256u << 10;

std::uint64_t charge(BytesView key, BytesView row) { return key.size() + row.size(); }

struct Drop {
  std::uint64_t clock_run = 0;
  Nanos from = kNever;
  template <class A>
  void fields(A& a) {
    a(clock_run, from);
  }
};
struct Drained {
  std::uint64_t generation = 0;  // of the journal, up to which RocksDB has its rows
  template <class A>
  void fields(A& a) {
    a(generation);
  }
};
struct BytesCounted {
  std::uint64_t bytes = 0;
  template <class A>
  void fields(A& a) {
    a(bytes);
  }
};

// A key behind this one: the next, or, when no key could be read there, the first that differs earlier. So whoever
// keeps meeting a damaged block steps further each time, and from the beginning at last.
Bytes behind(Bytes key, bool further) {
  if (further && !key.empty()) key.pop_back();
  while (!key.empty() && key.back() == '\xff') key.pop_back();
  if (!key.empty()) ++key.back();
  return key;
}

}  // namespace

class L2Store::Plan {
 public:
  void change(const std::string& key, Change change) {
    const auto [it, fresh] = at_.emplace(key, changes_.size());
    if (fresh)
      changes_.emplace_back(key, std::move(change));
    else
      changes_[it->second].second = std::move(change);
  }
  std::vector<std::pair<std::string, Change>>& changes() { return changes_; }

 private:
  std::vector<std::pair<std::string, Change>> changes_;
  std::unordered_map<std::string, std::size_t> at_;
};

L2Store::L2Store(Kv& kv, L2Run run, L2Options options, RemoteStore* remote)
    : kv_(kv), run_(run), options_(options), remote_(remote) {}

L2Store::~L2Store() {
  if (const auto done = store_all(); !done) {
    log(LogLevel::kWarn, "edge", "rows stay in the journal", {{"why", done.error().message}});
  }
}

Result<void> L2Store::open() {
  const auto dropped = kv_.get(kMetaFamily, kDropRow);
  if (!dropped) return fail(dropped.error());
  if (*dropped) {
    const auto drop = decode<Drop>(**dropped, kDropRow);
    if (!drop) return fail(drop.error());
    if (drop->clock_run == run_.clock_run) run_.proofs_from = drop->from;
  }
  if (counts()) {
    const auto row = kv_.get(kMetaFamily, kBytesRow);
    if (!row) return fail(row.error());
    const auto counted =
        *row ? decode<BytesCounted>(**row, kBytesRow) : Result<BytesCounted>(fail(Code::kNotFound, kBytesRow));
    if (counted) {
      counters_.bytes = counted->bytes;
    } else {
      const auto scanned = kv_.scan(kL2Family, {}, {}, [&](BytesView key, BytesView value) {
        counters_.bytes += charge(key, value);
        return true;
      });
      if (!scanned) unreadable(scanned.error());  // what lies behind is not counted; the edge can do without it
    }
  }
  return options_.journal_path.empty() ? Result<void>{} : open_journal();
}

Result<void> L2Store::open_journal() {
  auto journal = RowJournal::open(options_.journal_path, options_.journal_half_bytes);
  if (!journal && journal.error().code == Code::kCorrupt) {
    ++counters_.damaged;
    log(LogLevel::kError, "edge", "rows of this gateway's own keys were lost on their way to disk",
        {{"why", journal.error().message}});
    std::error_code gone;
    std::filesystem::remove(options_.journal_path, gone);
    journal = RowJournal::open(options_.journal_path, options_.journal_half_bytes);
  }
  if (!journal && journal.error().code == Code::kBusy) {
    log(LogLevel::kWarn, "edge", "no journal: each write goes to RocksDB at once", {{"why", journal.error().message}});
    return {};
  }
  if (!journal) return fail(journal.error());
  const auto row = kv_.get(kMetaFamily, kDrainedRow);
  if (!row) return fail(row.error());
  std::uint64_t drained = 0;
  if (*row) {
    const auto known = decode<Drained>(**row, kDrainedRow);
    if (!known) return fail(known.error());
    drained = known->generation;
  }
  // What an earlier process left on the way. In memory it is as much as the journal holds.
  Plan plan;
  const auto replayed = (*journal)->replay(drained, [&](BytesView key, std::optional<BytesView> bytes) {
    Change change;
    if (bytes) change.row = Bytes(*bytes);
    plan.change(std::string(key), std::move(change));
  });
  if (!replayed.whole) {
    ++counters_.damaged;
    log(LogLevel::kError, "edge", "rows of this gateway's own keys were lost on their way to disk",
        {{"journal", options_.journal_path}, {"rows_read", std::to_string(replayed.rows)}});
  }
  const std::uint64_t newest = std::max(drained, (*journal)->newest_generation());
  if (newest > drained) {
    if (auto done = carry_out(plan, newest); !done) return done;
  }
  const std::string drawn = std::to_string(wall_ns_now()) + " " + std::to_string(monotonic_ns_now());
  (*journal)->begin(newest + 1, hash64(drawn));
  journal_ = std::move(*journal);
  return {};
}

std::optional<std::optional<BytesView>> L2Store::on_the_way(std::string_view key) const {
  return journal_ == nullptr ? std::nullopt : journal_->find(key);
}

// All of a step or nothing, whatever kills the process. False: there is nothing to store, or too much for the journal.
Result<bool> L2Store::put_into_journal(const EdgeActions& actions, Nanos now) {
  std::size_t bytes = 0;
  heads_.clear();
  for (const auto& op : actions.ops) {
    if (const auto* put = std::get_if<EntryPut>(&op); put != nullptr && !put->known) {
      group(*put, now);
    } else if (const auto* erase = std::get_if<EntryErase>(&op)) {
      group_.push_back({&erase->key, true, 0, 0, {}});
    }
  }
  const auto head_of = [this](const Grouped& row) {
    return row.erases ? std::nullopt : std::optional(BytesView(heads_).substr(row.head_at, row.head_bytes));
  };
  for (const Grouped& row : group_) bytes += RowJournal::bytes_of(*row.key, head_of(row), row.value);
  if (group_.empty()) return false;
  if (bytes > journal_->half_room_bytes()) return false;
  if (bytes > journal_->room_bytes()) {
    if (auto done = finish_draining(); !done) return fail(done.error());
    begin_draining();
  }
  for (const Grouped& row : group_) {
    journal_->append(*row.key, head_of(row), row.value);
    if (!broken_.empty()) std::erase(broken_, *row.key);
  }
  journal_->seal();
  counters_.journaled += group_.size();
  if (filling_since_ == kNever) filling_since_ = now;
  return true;
}

void L2Store::group(const EntryPut& put, Nanos now) {
  Grouped row{&put.key, false, heads_.size(), 0, {}};
  if (elsewhere(put.entry)) {
    heads_ += *change_of(put, now).row;
  } else {
    append_l2_head(put.entry, run_, heads_);
    if (put.entry.value) row.value = *put.entry.value;
    // One row alone must not empty the store.
    row.erases = counts() && put.key.size() + heads_.size() - row.head_at + row.value.size() > options_.bytes_max;
  }
  row.head_bytes = heads_.size() - row.head_at;
  group_.push_back(row);
}

// `next_drained_` goes on only when the rows before it are stored: what failed is tried again, or stays for a replay.
Result<void> L2Store::carry_on(std::size_t rows) {
  if (!draining()) return {};
  carried_.clear();
  const auto next = journal_->drain(
      next_drained_, rows, [this](BytesView key, std::optional<BytesView> row) { carried_.push_back({key, row}); });
  // Each of another key, so in any order; in that of the keys RocksDB finds their places quickest.
  std::sort(carried_.begin(), carried_.end(), [](const KvRow& a, const KvRow& b) { return a.key < b.key; });
  auto done = carry_out_carried(next ? std::nullopt : std::optional(journal_->generation() - 1));
  carry_failed_ = !done;
  if (!done) return done;
  counters_.carried_on += carried_.size();
  if (next) {
    next_drained_ = *next;
    return {};
  }
  journal_->drained();
  wants_sync_ = true;
  return {};
}

// What carry_out does, of rows that the journal holds, in place. They differ from what is there: each has a version of
// its own.
Result<void> L2Store::carry_out_carried(std::optional<std::uint64_t> drained) {
  std::uint64_t bytes = counters_.bytes;
  std::vector<std::string> gone;  // values at the cache server that no row leads to any more
  if (counts() || remote_ != nullptr) {
    for (const KvRow& row : carried_) {
      const std::uint64_t hash = hash64(row.key);
      const auto known = sizes_.find(hash);
      std::optional<std::size_t> before = known ? *known : std::optional<std::size_t>{};
      if (!known) {
        const auto old = old_row(row.key);
        if (old) before = old->row.size();
        if (old && old->remote) gone.emplace_back(row.key);
      }
      sizes_.forget(hash);  // until it is stored
      if (before) {
        bytes -= std::min<std::uint64_t>(bytes, row.key.size() + *before);
        if (row.value) used(row.key);
      }
      if (row.value) bytes += charge(row.key, *row.value);
    }
  }
  KvBatch batch;
  if (drained) {
    Drained row{*drained};
    batch.put(kMetaFamily, kDrainedRow, encode(row));
  }
  if (carried_.empty() && !drained) return {};
  if (counts()) {
    BytesCounted counted{bytes};
    batch.put(kMetaFamily, kBytesRow, encode(counted));
  }
  if (auto done = kv_.commit_rows(kL2Family, carried_, std::move(batch), Sync::kNone); !done) return done;
  counters_.bytes = bytes;
  if (counts() || remote_ != nullptr) {
    for (const KvRow& row : carried_)
      sizes_.keep(hash64(row.key), row.value ? std::optional(row.value->size()) : std::nullopt);
  }
  for (const std::string& key : gone) remote_->erase(key);
  return {};
}

Result<void> L2Store::finish_draining() {
  while (draining()) {
    if (auto done = carry_on(kRowsInOneBatch); !done) return done;
  }
  return {};
}

void L2Store::begin_draining() {
  journal_->turn();
  next_drained_ = 0;
  filling_since_ = kNever;
}

Result<void> L2Store::store_all() {
  if (journal_ == nullptr) return {};
  if (auto done = finish_draining(); !done) return done;
  if (journal_->keys_filling() == 0) return {};
  begin_draining();
  return finish_draining();
}

Nanos L2Store::commit_at(Nanos now) const {
  if (carry_failed_) return kForever;  // D3: a disk that failed is not asked again and again
  if (journal_ == nullptr) return sync_at_;
  if (draining()) return saturating_add(now, kMillisecond);
  const bool fills = journal_->keys_filling() > 0;
  return std::min(sync_at_, fills ? saturating_add(filling_since_, kL2JournalAge) : kForever);
}

void L2Store::unreadable(const Error& why) const {
  ++counters_.damaged;
  log(LogLevel::kError, "edge", "L2 read failed", {{"message", why.message}});
}

std::optional<EdgeEntry> L2Store::find(std::string_view key) const {
  if (const auto row = on_the_way(key)) {
    auto entry = *row ? decode_l2_row(**row, run_) : std::nullopt;
    return entry ? std::optional(std::move(entry->entry)) : std::nullopt;
  }
  const auto bytes = kv_.get(kL2Family, key);
  if (!bytes) {
    unreadable(bytes.error());
    if (bytes.error().code == Code::kCorrupt) broken_.emplace_back(key);
    return std::nullopt;  // a miss: the hub has the truth, and a local value is reported lost by this line
  }
  if (!*bytes) return std::nullopt;
  auto row = decode_l2_row(**bytes, run_);
  if (!row) {  // of no use to anybody any more
    broken_.emplace_back(key);
    return std::nullopt;
  }
  if (row->where) {
    if (remote_ == nullptr) {  // the engine was changed
      broken_.emplace_back(key);
      return std::nullopt;
    }
    Bytes value;
    const auto answer = remote_->get(std::string(key), &value);
    if (answer == RemoteStore::Answer::kUnknown) return std::nullopt;
    if (answer == RemoteStore::Answer::kAbsent || !row->where->is(value)) {
      ++counters_.missing;
      broken_.emplace_back(key);
      return std::nullopt;
    }
    row->entry.value = std::move(value);
    intact_.emplace_back(key);
  }
  used(key);
  return std::move(row->entry);
}

bool L2Store::elsewhere(const EdgeEntry& entry) const {
  return remote_ != nullptr && !entry.local && entry.value && entry.value->size() > kL2InlineBytes &&
         entry.value->size() <= options_.remote_value_bytes_max;
}

L2Store::Change L2Store::change_of(const EntryPut& put, Nanos now) const {
  const EdgeEntry& entry = put.entry;
  Change change;
  if (!elsewhere(entry)) {
    change.row = encode_l2_row(entry, run_);
    // One row alone must not empty the store.
    if (counts() && charge(put.key, *change.row) > options_.bytes_max) change.row.reset();
    return change;
  }
  change.row = encode_l2_row_without_value(entry, run_);
  change.value = entry.value;
  if (entry.expires_at != kForever) change.ttl_ns = std::max<Nanos>(saturating_sub(entry.expires_at, now), 0);
  return change;
}

std::optional<L2Store::Old> L2Store::old_row(BytesView key) const {
  auto bytes = kv_.get(kL2Family, key);
  if (!bytes || !*bytes) return std::nullopt;
  Old old{std::move(**bytes), false};
  if (remote_ != nullptr) {
    const auto row = decode_l2_row(old.row, run_);
    old.remote = row && row->where;
  }
  return old;
}

Result<void> L2Store::commit(const EdgeActions& actions, Nanos now, bool own) {
  for (const auto& op : actions.ops) {
    if (const auto* drop = std::get_if<PageDropProofs>(&op)) {
      if (auto done = drop_proofs(drop->from); !done) return done;
    }
  }
  if (now >= sync_at_) {
    wants_sync_ = true;
    sync_at_ = kForever;
  }
  bool in_journal = false;
  if (journal_ != nullptr) {
    group_.clear();
    if (own) {
      const auto put = put_into_journal(actions, now);
      if (!put) return fail(put.error());
      in_journal = *put;
    }
    // In proportion to what comes, so that one half is empty before the other is full, and to what is there, so that it
    // takes some hundred ticks.
    const std::size_t slice = std::max({kL2JournalSlice, 2 * group_.size(), journal_->keys_draining() / kTicksToDrain});
    if (auto done = carry_on(slice); !done) return done;
    if (!draining() && journal_->keys_filling() > 0 && now >= saturating_add(filling_since_, kL2JournalAge)) {
      begin_draining();
    }
  }
  if (!in_journal) {
    if (auto done = put_at_once(actions, now, own); !done) return done;
  }
  intact_.clear();
  if (!counts() || counters_.bytes <= options_.bytes_max || counters_.bytes < evict_from_) return {};
  return evict(now);
}

Result<void> L2Store::put_at_once(const EdgeActions& actions, Nanos now, bool own) {
  Plan plan;
  for (const std::string& key : broken_) {
    if (!on_the_way(key)) plan.change(key, {});  // else the row that comes is a sound one
  }
  broken_.clear();
  for (const auto& op : actions.ops) {
    if (const auto* put = std::get_if<EntryPut>(&op); put != nullptr && !put->known)
      plan.change(put->key, change_of(*put, now));
    if (const auto* erase = std::get_if<EntryErase>(&op)) plan.change(erase->key, {});
  }
  if (plan.changes().empty()) return {};
  const auto passes = [this](const auto& change) { return on_the_way(change.first).has_value(); };
  if (std::any_of(plan.changes().begin(), plan.changes().end(), passes)) {
    if (auto done = store_all(); !done) return done;
  }
  if (own && sync_at_ == kForever) sync_at_ = saturating_add(now, kL2JournalAge);
  return carry_out(plan);
}

Result<void> L2Store::carry_out(Plan& plan, std::optional<std::uint64_t> drained) {
  KvBatch batch;
  std::uint64_t bytes = counters_.bytes;
  std::vector<std::string> gone;  // values at the cache server that no row leads to any more
  std::vector<std::pair<std::string, Change*>> values;
  for (auto& [key, change] : plan.changes()) {
    const auto old = counts() || remote_ != nullptr ? old_row(key) : std::optional<Old>{};
    sizes_.forget(hash64(key));
    // The core puts what it has found back (hold): neither flash nor server must pay for it.
    const bool there = !change.value || std::find(intact_.begin(), intact_.end(), key) != intact_.end();
    if (old && change.row && old->row == *change.row && there) {
      ++counters_.unchanged;
      used(key);
      continue;
    }
    if (counts() && old) bytes -= std::min(bytes, charge(key, old->row));
    if (change.value) {
      values.emplace_back(key, &change);
    } else if (old && old->remote) {
      gone.push_back(key);
    }
    if (!change.row) {
      batch.erase(kL2Family, key);
      continue;
    }
    if (old) used(key);
    if (counts()) bytes += charge(key, *change.row);
    batch.put(kL2Family, key, std::move(*change.row));
  }
  if (drained) {
    Drained row{*drained};
    batch.put(kMetaFamily, kDrainedRow, encode(row));
  }
  if (!batch.writes.empty()) {
    if (counts()) {
      BytesCounted counted{bytes};
      batch.put(kMetaFamily, kBytesRow, encode(counted));
    }
    if (auto done = kv_.commit(batch, Sync::kNone); !done) return done;
    counters_.bytes = bytes;
  }
  for (const std::string& key : gone) remote_->erase(key);
  for (auto& [key, change] : values) remote_->put(key, std::move(*change->value), change->ttl_ns);
  return {};
}

bool L2Store::goes(const std::string& key, const L2Row& row, Nanos now, bool pressed, bool force) {
  if (now >= row.entry.expires_at) return true;
  if (row.entry.local && (!pressed || (keep_ && keep_(key)))) return false;
  const std::size_t bit = hash64(key) % used_.size();
  if (!force && used_.test(bit)) {
    used_.reset(bit);
    return false;
  }
  return true;
}

// Goes a little below the limit, so that not each commit begins a walk of its own. `pressed`: too few copies were met
// on the way, so local values go as well.
Result<void> L2Store::evict(Nanos now) {
  const std::uint64_t slack = std::min(options_.bytes_max / 256, kSlackMax), target = options_.bytes_max - slack;
  const std::uint64_t evicted_before = counters_.evicted;
  std::size_t looked = 0, spared = 0;
  bool pressed = false;
  for (int round = 0; round < kRoundsMax && counters_.bytes > target && looked < kL2EvictRows; ++round) {
    Plan plan;
    std::uint64_t freed = 0;
    std::string last;
    bool at_end = true;
    const auto scanned = kv_.scan(kL2Family, hand_, {}, [&](BytesView key, BytesView bytes) {
      if (counters_.bytes <= target + freed || looked >= kL2EvictRows) {
        at_end = false;
        return false;
      }
      ++looked;
      last = key;
      const auto row = decode_l2_row(bytes, run_);
      if (row && !goes(last, *row, now, pressed, spared >= 2 * kSpareRows)) {
        pressed = pressed || ++spared >= kSpareRows;
        return true;
      }
      spared = 0;
      freed += charge(key, bytes);
      ++counters_.evicted;
      plan.change(last, {});
      return true;
    });
    if (auto done = carry_out(plan); !done) return done;
    if (!scanned) {  // a damaged block lies under the hand, which goes on behind it; the step that brought us here
                     // stands
      unreadable(scanned.error());
      hand_ = last.empty() ? behind(hand_, true) : behind(last, false);
      break;
    }
    if (at_end)
      hand_.clear();
    else if (!last.empty())
      hand_ = last + '\0';
    pressed = pressed || (at_end && round > 0);
  }
  // All that was met has to stay: the next commits do not walk over it again for nothing.
  evict_from_ = counters_.evicted == evicted_before ? counters_.bytes + slack : 0;
  return {};
}

Result<void> L2Store::drop_proofs(Nanos from) {  // C2, C3
  run_.proofs_from = std::max(run_.proofs_from, from);
  Drop drop{run_.clock_run, run_.proofs_from};
  KvBatch batch;
  batch.put(kMetaFamily, kDropRow, encode(drop));
  return kv_.commit(batch, Sync::kNone);
}

void L2Store::disrupted(Nanos suspended_ns) {
  ++run_.disruptions;
  run_.suspended_ns = suspended_ns;
}

Result<std::optional<std::string>> L2Store::scan(std::string_view after, std::size_t rows_max, Nanos now,
                                                 const std::function<bool(const Listed&)>& visit) const {
  // Only expiries are judged here, which no disruption changes: so the fields that the loop's thread may write are not
  // read.
  L2Run run;
  run.clock_run = run_.clock_run;
  std::string begin(after);
  if (!after.empty()) begin.push_back('\0');
  std::optional<std::string> last;
  std::size_t rows = 0;
  const auto done = kv_.scan(kL2Family, begin, {}, [&](BytesView key, BytesView bytes) {
    const auto row = decode_l2_row(bytes, run);
    bool more = ++rows < rows_max;
    if (row && row->has_value() && now < row->entry.expires_at)
      more = visit({key, row->entry.local, row->kind()}) && more;
    if (!more) last = std::string(key);
    return more;
  });
  if (!done) return fail(done.error());
  return last;
}

}  // namespace tidelock
