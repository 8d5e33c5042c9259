#include "history_rules.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace chaos {
namespace {

constexpr std::int64_t kExpiryGrace = 100'000'000;  // expired bytes come back within 100 ms
// A lifetime counts from the write's acceptance or from an instant before it: earlier by the way of the last word of
// the hub to the gateway (C5), which no session survives when it is longer than this (on links as fast as those of a
// test).
constexpr std::int64_t kEarlyGrace = 1'500'000'000;
constexpr std::int64_t kRatesApart = 2'000;  // a lifetime is measured by clocks that differ by 1/2000 at most
constexpr std::int64_t kUnknownUntil = 60'000'000'000;  // a write nobody answered takes effect within a minute or never
constexpr std::size_t kNowhere = SIZE_MAX;              // position of a version that nobody wrote

std::int64_t minus(std::int64_t a, std::int64_t b) { return b == kOpen ? INT64_MIN : a - b; }

struct Write {
  std::uint64_t order = 0;  // version, or the writer's count; 0 while the version is not known
  const Record* record = nullptr;
  std::int64_t acknowledged = kOpen;  // the end, when the hubs have it
  std::int64_t local = kOpen;         // the end, when its gateway has it and never forgot it
  std::int64_t shown = kOpen;         // a read of it with a proof ended
  std::int64_t shown_strong = kOpen;
};

struct Key {
  KeyClass key_class = KeyClass::kRegister;
  bool used = false;
  std::vector<Write> writes;    // by order, once sorted
  std::vector<Write> nameless;  // their version is not known
  std::vector<std::uint64_t> orders;
  // Over the writes at or after a position: the earliest instant at which one was surely ...
  std::vector<std::int64_t> acknowledged;  // at the hubs
  std::vector<std::int64_t> known;         // at the hubs, by an acknowledgement or because a proven read showed it
  std::vector<std::int64_t> strong;        // acknowledged or strongly read
  std::vector<std::int64_t> local;         // acknowledged by its gateway
  std::vector<std::int64_t> begun;         // begun
  std::size_t last = 0;                    // where the last lookup ended: neighbours in a log show the same version
  std::unordered_map<std::uint64_t, std::size_t> by_value;  // made for reads that tell no version

  std::size_t find(std::uint64_t order) {
    if (last < orders.size() && orders[last] == order) return last;
    const auto it = std::lower_bound(orders.begin(), orders.end(), order);
    if (it == orders.end() || *it != order) return kNowhere;
    return last = static_cast<std::size_t>(it - orders.begin());
  }
  void index() {
    orders.clear();
    for (const Write& write : writes) orders.push_back(write.order);
    last = 0;
  }
  void sort() {
    std::sort(writes.begin(), writes.end(), [](const Write& a, const Write& b) {
      return std::tie(a.order, a.record->begin_ns) < std::tie(b.order, b.record->begin_ns);
    });
    index();
  }
  void sum_up() {
    const std::size_t n = writes.size();
    for (auto* list : {&acknowledged, &known, &strong, &local, &begun}) list->assign(n + 1, kOpen);
    for (std::size_t i = n; i-- > 0;) {
      const Write& write = writes[i];
      acknowledged[i] = std::min(acknowledged[i + 1], write.acknowledged);
      known[i] = std::min({known[i + 1], write.acknowledged, write.shown});
      strong[i] = std::min({strong[i + 1], write.acknowledged, write.shown_strong});
      local[i] = std::min(local[i + 1], write.local);
      begun[i] = std::min(begun[i + 1], write.record->begin_ns);
    }
  }
};

std::string ms(std::int64_t ns) {
  if (ns == kOpen) return "unbounded";
  char text[32];
  std::snprintf(text, sizeof text, "%.3f ms", static_cast<double>(ns) / 1e6);
  return text;
}

class Judge {
 public:
  explicit Judge(const std::vector<std::span<const Record>>& logs) : logs_(logs) {}

  Verdict run() {
    std::size_t keys = 0;
    each([&](const Record& record) {
      keys = std::max<std::size_t>(keys, record.key + 1);
      note_events(record);
    });
    keys_.resize(keys);
    each([&](const Record& record) { note_write(record); });
    for (Key& key : keys_) key.sort();
    each([&](const Record& record) { name(record); });
    for (Key& key : keys_) {
      if (key.used) settle(key);
    }
    each([&](const Record& record) { note_shown(record); });
    for (Key& key : keys_) {
      if (key.used) key.sum_up();
    }
    for (Key& key : keys_) {
      if (key.used) check_writes(key);
    }
    each([&](const Record& record) {
      if (record.kind == Kind::kRead) check_read(record);
    });
    for (std::size_t id = 0; id < keys_.size(); ++id) check_end(static_cast<std::uint32_t>(id));
    return std::move(verdict_);
  }

 private:
  template <class F>
  void each(F&& visit) {
    for (const auto& log : logs_) {
      for (const Record& record : log) {
        if (record.kind != Kind::kNone && record.key < kKeysMax) visit(record);
      }
    }
  }

  void blame(const char* rule, const Record& record, const Record* witness, std::string what) {
    ++verdict_.violations;
    if (++verdict_.by_rule[rule] <= kShownPerRule)
      verdict_.first.push_back({rule, record, witness != nullptr ? *witness : Record{}, std::move(what)});
  }

  // --- the writes ------------------------------------------------------------------------------------------------

  void note_events(const Record& record) {
    if (record.kind == Kind::kDrained) drained_ = std::max(drained_, record.begin_ns);
    if (record.kind == Kind::kForgotten)
      forgotten_[record.gateway] = std::max(forgotten_[record.gateway], record.end_ns);
  }

  void note_write(const Record& record) {
    if (record.kind != Kind::kWrite) return;
    Key& key = keys_[record.key];
    key.used = true;
    key.key_class = record.key_class;
    Write write;
    write.record = &record;
    ++verdict_.checked;
    const bool done = record.outcome == Outcome::kOk && record.end_ns != kOpen;
    ++(done                                  ? verdict_.writes_acknowledged
       : record.outcome == Outcome::kRefused ? verdict_.writes_refused
                                             : verdict_.writes_unknown);
    if (done && record.sequenced) write.acknowledged = record.end_ns;
    if (done && record.key_class == KeyClass::kBehind) {
      const auto forgotten = forgotten_.find(record.gateway);
      if (forgotten == forgotten_.end() || record.begin_ns > forgotten->second) write.local = record.end_ns;
    }
    write.order = record.key_class == KeyClass::kBehind ? record.value : done ? record.version : 0;
    (write.order != 0 ? key.writes : key.nameless).push_back(write);
  }

  // A write of unknown outcome has no version until a read shows one.
  void name(const Record& record) {
    if (record.kind != Kind::kRead || record.outcome != Outcome::kOk || record.version == 0) return;
    Key& key = keys_[record.key];
    if (key.nameless.empty() || key.key_class == KeyClass::kBehind || record.claim == Claim::kLocal) return;
    if (key.find(record.version) != kNowhere) return;
    Named& named = named_[record.key].try_emplace(record.version, Named{record.value, record.end_ns}).first->second;
    named.first_end_ns = std::min(named.first_end_ns, record.end_ns);
  }
  void settle(Key& key) {
    const auto shown = named_.find(static_cast<std::uint32_t>(&key - keys_.data()));
    if (shown == named_.end()) return;
    // Where values repeat: one of unknown outcome rather than a refused one, and the earliest of them.
    std::sort(key.nameless.begin(), key.nameless.end(), [](const Write& a, const Write& b) {
      const bool a_refused = a.record->outcome == Outcome::kRefused, b_refused = b.record->outcome == Outcome::kRefused;
      return std::tie(a_refused, a.record->begin_ns) < std::tie(b_refused, b.record->begin_ns);
    });
    for (const auto& [version, named] : shown->second) {
      const auto it = std::find_if(key.nameless.begin(), key.nameless.end(), [&named = named](const Write& write) {
        return write.order == 0 && write.record->value == named.value && write.record->begin_ns <= named.first_end_ns;
      });
      if (it != key.nameless.end()) it->order = version;
    }
    for (const Write& write : key.nameless) {
      if (write.order != 0) key.writes.push_back(write);
    }
    key.sort();
  }

  void check_writes(Key& key) {
    for (std::size_t i = 0; i < key.writes.size(); ++i) {
      const Write& write = key.writes[i];
      if (i + 1 < key.writes.size() && key.writes[i + 1].order == write.order)
        blame("two_writes_one_version", *write.record, key.writes[i + 1].record, "two writes have one version");
      if (key.key_class == KeyClass::kBehind) continue;
      if (key.known[i + 1] < write.record->begin_ns) {
        blame("order_of_writes", *write.record, witness(key, i + 1, write.record->begin_ns, false),
              "a write has a lower version than one that was there " + ms(write.record->begin_ns - key.known[i + 1]) +
                  " before it began");
      }
    }
  }

  // --- the reads -------------------------------------------------------------------------------------------------

  std::size_t find(Key& key, const Record& record) {
    if (key.key_class == KeyClass::kBehind) return key.find(record.value);
    if (record.version != 0) return key.find(record.version);
    if (key.by_value.empty()) {
      for (std::size_t i = 0; i < key.writes.size(); ++i) key.by_value.emplace(key.writes[i].record->value, i);
    }
    const auto it = key.by_value.find(record.value);
    return it == key.by_value.end() ? kNowhere : it->second;
  }

  void note_shown(const Record& record) {
    if (record.kind != Kind::kRead || record.outcome != Outcome::kOk || record.value == kNoValue) return;
    if (record.claim != Claim::kStrong && record.claim != Claim::kBounded) return;
    Key& key = keys_[record.key];
    if (!key.used) return;
    const std::size_t at = find(key, record);
    if (at == kNowhere) return;
    Write& write = key.writes[at];
    // A gateway may show its own write before anybody sequenced it.
    if (key.key_class == KeyClass::kBehind && write.record->gateway == record.gateway) return;
    write.shown = std::min(write.shown, record.end_ns);
    if (record.claim == Claim::kStrong && !record.fallback)
      write.shown_strong = std::min(write.shown_strong, record.end_ns);
  }

  const Record* witness(const Key& key, std::size_t from, std::int64_t before, bool strong) const {
    for (std::size_t i = from; i < key.writes.size(); ++i) {
      const Write& write = key.writes[i];
      if (std::min(write.acknowledged, strong ? write.shown_strong : write.shown) < before) return write.record;
    }
    return nullptr;
  }

  void check_read(const Record& read) {
    if (read.outcome == Outcome::kRefused) {
      ++verdict_.refused_reads;
      return;
    }
    if (read.outcome != Outcome::kOk) return;
    count(read);
    Key& key = keys_[read.key];
    if (read.value == kBrokenValue)
      return blame("invented_value", read, nullptr, "its bytes are not what any writer wrote");
    if (!key.used) {
      if (read.value != kNoValue) blame("invented_value", read, nullptr, "nobody ever wrote this key");
      return;
    }
    if (read.value == kNoValue) return check_absent(key, read);
    const std::size_t at = find(key, read);
    if (at == kNowhere) {
      // Read without a version, of a write whose version nobody ever told: it has no place in the order.
      const auto shown = std::find_if(key.nameless.begin(), key.nameless.end(), [&](const Write& write) {
        return read.version == 0 && write.order == 0 && write.record->value == read.value &&
               write.record->begin_ns <= read.end_ns;
      });
      if (shown != key.nameless.end() && shown->record->outcome != Outcome::kRefused) {
        ++verdict_.reads_unplaced;
        return;
      }
      return blame("invented_value", read, nullptr,
                   "version " + std::to_string(read.version) + " with value " + std::to_string(read.value) +
                       " was never written");
    }
    const Write& write = key.writes[at];
    if (write.record->value != read.value)
      return blame("wrong_value", read, write.record, "version and value belong to different writes");
    if (write.record->outcome == Outcome::kRefused)
      return blame("refused_write_shown", read, write.record, "its write was told that nothing had happened");
    if (write.record->begin_ns > read.end_ns)
      return blame("read_before_write", read, write.record, "read before it was written");
    check_lifetime(read, *write.record);
    check_order(key, read, at + 1);
    if (read.token != 0 && !read.fallback && key.key_class != KeyClass::kBehind) {
      const auto beyond = std::upper_bound(key.orders.begin(), key.orders.end(), read.token) - key.orders.begin();
      if (beyond > 0 && static_cast<std::size_t>(beyond - 1) > at)
        blame("session_token", read, key.writes[static_cast<std::size_t>(beyond - 1)].record,
              "a version older than one at or below its token " + std::to_string(read.token));
    }
  }

  // Nothing from position `next` on may have been certainly there before what the read claims.
  void check_order(const Key& key, const Record& read, std::size_t next) {
    const std::int64_t since = minus(read.begin_ns, read.bound_ns);
    if (key.known[next] < since) {
      blame("staleness", read, witness(key, next, since, false),
            "a newer write was there " + ms(read.begin_ns - key.known[next]) +
                " before the read began; its bound says " + ms(read.bound_ns));
    }
    if (read.claim == Claim::kStrong && !read.fallback && key.strong[next] < read.begin_ns) {
      blame("linearizability", read, witness(key, next, read.begin_ns, true),
            "a newer write was acknowledged or strongly read " + ms(read.begin_ns - key.strong[next]) +
                " before this strong read began");
    }
    if (key.key_class == KeyClass::kBehind && key.local[next] < read.begin_ns && own(key, read)) {
      std::size_t newest = key.writes.size() - 1;
      while (newest > next && key.writes[newest].local >= read.begin_ns) --newest;
      const Record& newer = *key.writes[newest].record;
      // Where the newer one may have ended, the older one should not have come back; but that is another fault.
      const bool ended = newer.lifetime_ns > 0 && newer.begin_ns + newer.lifetime_ns - kEarlyGrace <= read.end_ns;
      blame(ended ? "resurrected" : "own_write", read, &newer,
            "its gateway had acknowledged a newer write " + ms(read.begin_ns - newer.end_ns) + " before");
    }
    if (read.final && read.begin_ns > drained_ && since > drained_ && drained_ != 0) {
      decided_.insert(read.key);
      if (key.key_class == KeyClass::kBehind && key.local[next] < drained_)
        blame("lost_write", read, key.writes[next].record,
              "an acknowledged write is gone after everything was drained");
    }
  }
  // One gateway writes a key.
  static bool own(const Key& key, const Record& read) {
    return !key.writes.empty() && key.writes.front().record->gateway == read.gateway;
  }

  void check_lifetime(const Record& read, const Record& write) {
    if (write.lifetime_ns == 0 || write.outcome != Outcome::kOk || write.end_ns == kOpen) return;
    const std::int64_t latest = write.end_ns + write.lifetime_ns + write.lifetime_ns / kRatesApart + kExpiryGrace;
    if (read.begin_ns > latest)
      blame("expired_value", read, &write,
            "served " + ms(read.begin_ns - write.end_ns) + " after its write, whose lifetime was " +
                ms(write.lifetime_ns));
  }

  // "No such key" is right when nothing was certainly there, or when what was there may have ended.
  void check_absent(const Key& key, const Record& read) {
    if (key.key_class == KeyClass::kRegister) {
      if (read.token != 0 && !read.fallback && !key.orders.empty() && key.orders.front() <= read.token)
        blame("session_token", read, key.writes.front().record, "no such key, though its token covers a write");
      return check_order(key, read, 0);
    }
    // One whose place in the order nobody knows may be the newest, and may have ended.
    for (const Write& write : key.nameless) {
      const Record& record = *write.record;
      if (write.order == 0 && record.outcome == Outcome::kUnknown &&
          record.begin_ns + record.lifetime_ns - kEarlyGrace <= read.end_ns && record.lifetime_ns > 0 &&
          record.begin_ns + record.lifetime_ns + kUnknownUntil > read.begin_ns)
        return;
    }
    // The newest write that may count, downwards to the newest one that must.
    std::size_t at = static_cast<std::size_t>(std::upper_bound(key.begun.begin(), key.begun.end() - 1, read.end_ns) -
                                              key.begun.begin());
    const std::int64_t since = minus(read.begin_ns, read.bound_ns);
    const bool is_own = key.key_class == KeyClass::kBehind && own(key, read);
    while (at-- > 0) {
      const Write& write = key.writes[at];
      const Record& record = *write.record;
      if (record.begin_ns > read.end_ns) continue;
      if (record.lifetime_ns > 0 &&
          record.begin_ns + record.lifetime_ns - record.lifetime_ns / kRatesApart - kEarlyGrace <= read.end_ns)
        return;
      const bool final = read.final && drained_ != 0 && since > drained_;
      if (std::min(write.acknowledged, write.shown) < since || (is_own && write.local < read.begin_ns) ||
          (final && write.local < drained_)) {
        return blame(final ? "lost_write" : "absent", read, &record,
                     "no such key, bound " + ms(read.bound_ns) + ", though a write was there and had not ended");
      }
    }
  }

  void count(const Record& read) {
    ++verdict_.checked;
    ++(read.claim == Claim::kStrong && !read.fallback ? verdict_.strong_reads
       : read.claim == Claim::kBounded                ? verdict_.bounded_reads
       : read.claim == Claim::kLocal                  ? verdict_.local_reads
                                                      : verdict_.other_reads);
    verdict_.flagged_reads += read.fallback;
    verdict_.in_process_reads += read.in_process;
    verdict_.token_reads += read.token != 0;
    verdict_.absent_reads += read.value == kNoValue;
    verdict_.final_reads += read.final;
  }

  void check_end(std::uint32_t id) {
    const Key& key = keys_[id];
    if (!key.used || drained_ == 0 || decided_.contains(id)) return;
    const auto lasting = [&](const Write& write) {
      return write.record->outcome == Outcome::kOk && write.record->lifetime_ns == 0 &&
             (write.acknowledged != kOpen || write.local != kOpen);
    };
    if (std::any_of(key.writes.begin(), key.writes.end(), lasting)) ++verdict_.finals_undecided;
  }

  const std::vector<std::span<const Record>>& logs_;
  std::vector<Key> keys_;
  struct Named {  // what a version was when reads showed it
    std::uint64_t value = 0;
    std::int64_t first_end_ns = 0;
  };
  std::unordered_map<std::uint32_t, std::map<std::uint64_t, Named>> named_;  // by key and version
  std::map<std::uint16_t, std::int64_t> forgotten_;
  std::set<std::uint32_t> decided_;
  std::int64_t drained_ = 0;
  Verdict verdict_;
};

class Search {
 public:
  explicit Search(std::span<const Record> history) : history_(history) {}
  bool from(std::uint64_t done, std::uint64_t version) {
    bool complete = true;
    for (std::size_t i = 0; i < history_.size(); ++i) {
      if ((done >> i & 1) == 0 && history_[i].end_ns != kOpen) complete = false;
    }
    if (complete) return true;
    if (!seen_.insert({done, version}).second) return false;
    // Next may come whatever began before everything that is still to come ended.
    std::int64_t first_end = kOpen;
    for (std::size_t i = 0; i < history_.size(); ++i) {
      if ((done >> i & 1) == 0) first_end = std::min(first_end, history_[i].end_ns);
    }
    for (std::size_t i = 0; i < history_.size(); ++i) {
      const Record& record = history_[i];
      if ((done >> i & 1) != 0 || record.begin_ns > first_end) continue;
      const bool write = record.kind == Kind::kWrite;
      if (write ? record.version <= version : record.version != version) continue;
      if (from(done | std::uint64_t{1} << i, record.version)) return true;
    }
    return false;
  }

 private:
  std::span<const Record> history_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;
};

}  // namespace

Verdict judge(const std::vector<std::span<const Record>>& logs) { return Judge(logs).run(); }

bool linearizable(std::span<const Record> history) { return Search(history).from(0, 0); }

}  // namespace chaos
