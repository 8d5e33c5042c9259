// A commit first makes a Plan: one last change for each key, because the bytes that a change gives back are known only
// from the row before the step. Then one batch goes to RocksDB with the new count of bytes in it, and after that the
// values go to the cache server: a kill between the two leaves a row whose value is not there, which is a miss.

#include "edge/l2_store.h"

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <variant>

#include "codec/archive.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

constexpr char kBytesRow[] = "l2_bytes";  // in kMetaFamily
constexpr char kDropRow[] = "l2_proofs";
constexpr std::size_t kSpareRows = 256;  // so many rows without one that goes: local ones go, too; twice: any goes
constexpr int kRoundsMax = 5;            // to the end; all; all with local ones, twice because bits are to be cleared
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

Result<void> L2Store::open() {
  const auto dropped = kv_.get(kMetaFamily, kDropRow);
  if (!dropped) return fail(dropped.error());
  if (*dropped) {
    const auto drop = decode<Drop>(**dropped, kDropRow);
    if (!drop) return fail(drop.error());
    if (drop->clock_run == run_.clock_run) run_.proofs_from = drop->from;
  }
  if (!counts()) return {};
  const auto row = kv_.get(kMetaFamily, kBytesRow);
  if (!row) return fail(row.error());
  if (*row) {
    if (const auto counted = decode<BytesCounted>(**row, kBytesRow)) {
      counters_.bytes = counted->bytes;
      return {};
    }
  }
  const auto scanned = kv_.scan(kL2Family, {}, {}, [&](BytesView key, BytesView value) {
    counters_.bytes += charge(key, value);
    return true;
  });
  if (!scanned) unreadable(scanned.error());  // what lies behind is not counted; the edge can do without it
  return {};
}

void L2Store::unreadable(const Error& why) const {
  ++counters_.damaged;
  log(LogLevel::kError, "edge", "L2 read failed", {{"message", why.message}});
}

std::optional<EdgeEntry> L2Store::find(std::string_view key) const {
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

L2Store::Change L2Store::change_of(const EntryPut& put, Nanos now) const {
  const EdgeEntry& entry = put.entry;
  const bool elsewhere = remote_ != nullptr && !entry.local && entry.value && entry.value->size() > kL2InlineBytes &&
                         entry.value->size() <= options_.remote_value_bytes_max;
  Change change;
  if (!elsewhere) {
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

std::optional<L2Store::Old> L2Store::old_row(const std::string& key) const {
  auto bytes = kv_.get(kL2Family, key);
  if (!bytes || !*bytes) return std::nullopt;
  Old old{std::move(**bytes), false};
  if (remote_ != nullptr) {
    const auto row = decode_l2_row(old.row, run_);
    old.remote = row && row->where;
  }
  return old;
}

Result<void> L2Store::commit(const EdgeActions& actions, Nanos now) {
  Plan plan;
  for (const std::string& key : broken_) plan.change(key, {});
  for (const auto& op : actions.ops) {
    if (const auto* drop = std::get_if<PageDropProofs>(&op)) {
      if (auto done = drop_proofs(drop->from); !done) return done;
    }
    if (const auto* put = std::get_if<EntryPut>(&op); put != nullptr && !put->known)
      plan.change(put->key, change_of(*put, now));
    if (const auto* erase = std::get_if<EntryErase>(&op)) plan.change(erase->key, {});
  }
  if (!plan.changes().empty()) {
    if (auto done = carry_out(plan); !done) return done;
    broken_.clear();
  }
  intact_.clear();
  if (!counts() || counters_.bytes <= options_.bytes_max || counters_.bytes < evict_from_) return {};
  return evict(now);
}

Result<void> L2Store::carry_out(Plan& plan) {
  KvBatch batch;
  std::uint64_t bytes = counters_.bytes;
  std::vector<std::string> gone;  // values at the cache server that no row leads to any more
  std::vector<std::pair<std::string, Change*>> values;
  for (auto& [key, change] : plan.changes()) {
    const auto old = counts() || remote_ != nullptr ? old_row(key) : std::optional<Old>{};
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
