// How a mapping goes away under readers that take no lock: `replace` swaps `current_`, and the former one goes when the
// grace that began then has passed (reader_lanes.h); whoever comes in later loads the new pointer. It is looked at
// whenever maintain() is called.
//
// L1 outlives a page. Its entries carry the era of the page that their slot version belongs to, so a copy made under a
// former page is never taken for one of this page.
#include "memory/local_reader.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/assert.h"
#include "base/bytes.h"

namespace tidelock {
namespace {

struct Prefix {
  std::string prefix;
  std::uint16_t ns = 0;
  std::uint8_t pool = 0;  // of L1
  ReadPolicy policy;
};

// Long enough for what one prefetch needs to arrive, short enough to stay in the processor's first cache.
constexpr std::size_t kAhead = 16;
constexpr std::size_t kPrefixesKept = 512;

L1Options with_pools(const LocalReaderOptions& options) {
  L1Options l1 = options.l1;
  l1.pool_bytes.clear();
  for (const LocalReaderOptions::Budget& budget : options.l1_budgets) l1.pool_bytes.push_back(budget.bytes);
  return l1;
}

}  // namespace

struct LocalReader::Attachment {
  PageReader page_file;
  std::unique_ptr<ArenaReader> arena_file;  // null: none of this edge's boot
  PageView page;
  HotClock clock;
  std::vector<Prefix> prefixes;  // longest first; the last one is empty and fits every key
  std::uint64_t policy_version = 0;
  std::uint32_t era = 0;

  const Prefix& prefix_of(std::string_view key) const {
    for (const Prefix& candidate : prefixes) {
      if (key.starts_with(candidate.prefix)) return candidate;
    }
    return prefixes.back();
  }
};

// Tier 0 is L1, tier 1 the arena. What L1 has is copied to `out` where that is given, else it is in `entry`.
struct LocalReader::Values {
  static constexpr int kTiers = 2;

  // A constructor, so that `meta` is not zeroed as a whole before each read.
  Values(const L1Cache& l1_cache, const Attachment& attachment, std::string_view of_key, std::uint64_t its_hash,
         std::string& to, bool copies)
      : l1(l1_cache), at(attachment), key(of_key), hash(its_hash), out(to), copy(copies) {}

  const L1Cache& l1;
  const Attachment& at;
  std::string_view key;
  std::uint64_t hash;
  std::string& out;
  bool copy;
  const L1Entry* entry = nullptr;
  EntryMeta meta;
  std::uint64_t word = 0;  // of the page, loaded before this tier was asked (F5)

  Candidate lookup(int tier, std::uint64_t slot_word) {
    word = slot_word;
    Candidate candidate;
    Lookup found = Lookup::kAbsent;
    if (tier == 0) {
      entry = l1.find(key, hash);
      if (entry == nullptr) return candidate;
      entry->load_meta(meta);
      if (meta.era != at.era) return candidate;
      found = Lookup::kFound;
      if (copy) out.assign(entry->value());
      candidate.value_bytes = entry->value().size();
      candidate.slot_checked = true;
      candidate.slot_version = meta.slot_version;
    } else if (at.arena_file != nullptr) {
      found = at.arena_file->view().get(key, hash, out, meta);
      candidate.value_bytes = out.size();
    }
    if (found != Lookup::kAbsent) fill(candidate, found);
    return candidate;
  }
  void fill(Candidate& candidate, Lookup found) const {
    candidate.state = found == Lookup::kFound ? Candidate::State::kFound : Candidate::State::kBusy;
    candidate.negative = meta.negative;
    candidate.local = meta.local;
    candidate.version = meta.version;
    candidate.epoch = meta.epoch;
    candidate.proven_at = meta.proven_at;
    candidate.expires_at = meta.expires_at;
  }
  Source source(int tier) const { return tier == 0 ? Source::kL1 : Source::kArena; }
};

class LocalReader::Visit : public ReaderLanes::Visit {
 public:
  explicit Visit(LocalReader& reader)
      : ReaderLanes::Visit(reader.lanes_), reader_(reader), at_(reader.current_.load(std::memory_order_seq_cst)) {}

  const Attachment* at() const { return at_; }
  // Null when the reader must go and map again first.
  const Attachment* usable() const {
    return at_ != nullptr && at_->page.policy_version() == at_->policy_version ? at_ : nullptr;
  }
  // A value that was served by L1 was of use; one of the arena goes there.
  void served(const ReadOutcome& outcome, Values& values, const Prefix& prefix, bool fills = true) {
    if (outcome.receipt.source == Source::kL1) {
      count_l1(1);
      reader_.l1_.used(*this, *values.entry);
      return;
    }
    count_arena(1);
    if (!fills) return;
    // An own write that is about to be sequenced changes its version without changing its slot: it stays in the arena.
    const bool settled = !values.meta.local || prefix.policy.scope != Scope::kRegion;
    if (!settled || values.out.size() > reader_.options_.l1_value_bytes_max) return;
    values.meta.slot_version = slot_version(values.word);  // F5: loaded before the arena was asked
    values.meta.era = at_->era;
    // Of a visit inside of another one the outer may still use what it found: then nothing is put in its stead.
    if (!nested()) reader_.l1_.put(values.key, values.hash, values.out, values.meta, prefix.pool, this);
  }

 private:
  LocalReader& reader_;
  const Attachment* at_;
};

LocalReader::LocalReader(LocalReaderOptions options) : options_(std::move(options)), l1_(with_pools(options_), lanes_) {
  (void)attach();  // no edge yet is not an error here: reads say so
}
LocalReader::~LocalReader() = default;

template <class Out>
ReadOutcome LocalReader::read_one(std::string_view key, const Contract& contract, Out& value) {
  constexpr bool kCopies = std::is_same_v<Out, std::string>;
  ReadOutcome outcome;
  Visit visit(*this);
  if (key.empty() || key.size() > kKeyBytesMax) {
    outcome.must_ask = MustAsk::kInvalidKey;
    return outcome;
  }
  const Attachment* at = visit.usable();
  if (at == nullptr) {
    outcome.must_ask = MustAsk::kDetached;
    return outcome;
  }
  const std::uint64_t hash = hash64(key);
  at->page.prefetch_slot(slot_of_hash(hash));  // they arrive while the clock is read
  l1_.prefetch(hash);
  const Prefix& prefix = at->prefix_of(key);
  std::string* out;
  if constexpr (kCopies) {
    out = &value;
  } else {
    out = &value.own();
  }
  Values values(l1_, *at, key, hash, *out, kCopies);
  read_in_order(at->page, at->clock, values, slot_of_hash(hash), prefix.policy, resolve(contract, prefix.policy),
                outcome);
  if constexpr (!kCopies) {
    // The tier that the outcome speaks of is the last that had something: `entry`, or what the arena copied.
    if (outcome.found && outcome.receipt.source == Source::kL1) {
      const std::string_view bytes = values.entry->value();
      ReaderLanes::Hold* hold = bytes.size() > ValueRef::kInlineBytes ? visit.hold(values.entry) : nullptr;
      if (hold != nullptr) {
        value.keep(bytes, *hold);
      } else {
        value.copy(bytes);
      }
    }
  } else if (outcome.must_ask != MustAsk::kNo && outcome.found && outcome.receipt.source == Source::kL1) {
    value.assign(values.entry->value());  // the arena may have begun to copy a record that left it meanwhile
  }
  if (outcome.must_ask == MustAsk::kNo) visit.served(outcome, values, prefix);
  return outcome;
}

ReadOutcome LocalReader::read_in_place(std::string_view key, const Contract& contract, InPlaceVisitor look) {
  ReadOutcome outcome;
  Visit visit(*this);  // L1's entries and the mapping stay while `look` runs, whatever its edge does
  const Attachment* at = visit.usable();
  if (at == nullptr || key.empty() || key.size() > kKeyBytesMax) {
    outcome.must_ask = at == nullptr ? MustAsk::kDetached : MustAsk::kInvalidKey;
    return outcome;
  }
  const std::uint64_t hash = hash64(key);
  at->page.prefetch_slot(slot_of_hash(hash));
  l1_.prefetch(hash);
  if (at->arena_file != nullptr) at->arena_file->view().prefetch(hash);
  const Prefix& prefix = at->prefix_of(key);
  // Of its own, so that reads which copy are as short as they can be.
  struct InPlaceValues : Values {
    InPlaceValues(const Values& of, const InPlaceVisitor& visitor) : Values(of), visit_value(visitor) {}
    const InPlaceVisitor& visit_value;
    // What it ran on last, to its end and undisturbed: an entry of L1, or a record of the arena. Neither ever changes,
    // so whoever finds it again has seen it.
    std::uint64_t seen_record = ~std::uint64_t{0};
    const L1Entry* seen_entry = nullptr;

    Candidate lookup(int tier, std::uint64_t slot_word) {
      if (tier == 0) {
        const Candidate candidate = Values::lookup(tier, slot_word);
        // One that was invalidated will not be served.
        const bool runs = candidate.state == Candidate::State::kFound && !meta.negative && seen_entry != entry &&
                          candidate.slot_version == slot_version(slot_word);
        if (!runs) return candidate;
        forget();
        visit_value(entry->value());
        seen_entry = entry;
        return candidate;
      }
      word = slot_word;
      Candidate candidate;
      const Lookup found = at.arena_file == nullptr ? Lookup::kAbsent : look_at_record(candidate.value_bytes);
      if (found != Lookup::kAbsent) fill(candidate, found);
      return candidate;
    }
    void forget() {
      seen_entry = nullptr;
      seen_record = ~std::uint64_t{0};
    }
    // As RingView::read_in_place.
    Lookup look_at_record(std::size_t& value_bytes) {
      const RingView& arena = at.arena_file->view();
      for (int tries = 0; tries < kInPlaceTries; ++tries) {
        RecordInPlace record;
        const Lookup found = arena.find_in_place(key, hash, record, meta);
        value_bytes = record.bytes.size();
        if (found != Lookup::kFound || meta.negative || record.position == seen_record) return found;
        forget();
        visit_value(record.bytes);
        if (!arena.still_there(record.position)) continue;
        seen_record = record.position;
        return found;
      }
      return Lookup::kBusy;
    }
  };
  std::string none;
  InPlaceValues values(Values(l1_, *at, key, hash, none, false), look);
  // F5: `look` runs within the look-up of its tier, and a tier answers only when the bytes were left alone until then.
  read_in_order(at->page, at->clock, values, slot_of_hash(hash), prefix.policy, resolve(contract, prefix.policy),
                outcome);
  // What L1 had to fall back on is no longer what `look` saw last: a record was written over under it, and then gone.
  if (outcome.found && outcome.receipt.source == Source::kL1 && values.seen_entry != values.entry) {
    const MustAsk reason = outcome.must_ask;
    outcome = ReadOutcome{};
    outcome.must_ask = reason;
  }
  if (outcome.must_ask == MustAsk::kNo) visit.served(outcome, values, prefix, false);
  return outcome;
}

ReadOutcome LocalReader::read(std::string_view key, const Contract& contract, std::string& value) {
  return read_one(key, contract, value);
}
ReadOutcome LocalReader::read(std::string_view key, const Contract& contract, ValueRef& value) {
  return read_one(key, contract, value);
}

Nanos LocalReader::bound_asked(std::span<const std::string_view> keys, const Contract& contract) {
  Nanos tightest = kForever;
  Visit visit(*this);
  const Attachment* at = visit.usable();
  if (at == nullptr) return contract.bound_ns.value_or(kForever);
  for (const std::string_view key : keys) {
    const ReadPolicy& policy = at->prefix_of(key).policy;
    const ReadContract resolved = resolve(contract, policy);
    if (policy.scope == Scope::kRegion && resolved.consistency == Consistency::kBounded)
      tightest = std::min(tightest, resolved.bound_ns);
  }
  return tightest;
}

ReadOutcome LocalReader::read_many(std::span<const std::string_view> keys, const Contract& contract,
                                   std::vector<std::string>& values, std::vector<ReadOutcome>& outcomes) {
  values.resize(keys.size());
  outcomes.assign(keys.size(), ReadOutcome{});
  Visit visit(*this);
  const Attachment* at = visit.usable();
  if (at == nullptr || keys.empty()) {
    ReadOutcome none;
    none.must_ask = at == nullptr ? MustAsk::kDetached : MustAsk::kInvalidKey;
    for (ReadOutcome& outcome : outcomes) outcome = none;
    return none;
  }
  visit.count_more_reads(keys.size() - 1);
  const ProvenOnce<PageView, HotClock> proven(at->page, at->clock);
  std::uint64_t hashes[2 * kAhead];
  const auto hash_ahead = [&](std::size_t from) {
    for (std::size_t i = from; i < std::min(from + kAhead, keys.size()); ++i) {
      const std::uint64_t hash = hash64(keys[i]);
      hashes[i % (2 * kAhead)] = hash;
      at->page.prefetch_slot(slot_of_hash(hash));
      l1_.prefetch(hash);
    }
  };
  const Prefix* prefixes[kPrefixesKept];  // of the first keys: looked up once
  std::uint64_t hits = 0;
  hash_ahead(0);
  for (std::size_t from = 0; from < keys.size(); from += kAhead) {
    const std::size_t to = std::min(from + kAhead, keys.size());
    for (std::size_t i = from; i < to; ++i) l1_.prefetch_entry(hashes[i % (2 * kAhead)]);
    hash_ahead(to);
    for (std::size_t i = from; i < to; ++i) {
      ReadOutcome& outcome = outcomes[i];
      if (keys[i].empty() || keys[i].size() > kKeyBytesMax) {
        outcome.must_ask = MustAsk::kInvalidKey;
        continue;
      }
      const std::uint64_t hash = hashes[i % (2 * kAhead)];
      const Prefix& prefix = at->prefix_of(keys[i]);
      if (i < kPrefixesKept) prefixes[i] = &prefix;
      Values source(l1_, *at, keys[i], hash, values[i], true);
      proven.read(source, slot_of_hash(hash), prefix.policy, resolve(contract, prefix.policy), outcome);
      if (outcome.must_ask != MustAsk::kNo) {
        if (outcome.found && outcome.receipt.source == Source::kL1) values[i].assign(source.entry->value());
        continue;
      }
      if (outcome.receipt.source == Source::kL1) {
        ++hits;
        l1_.used(visit, *source.entry);
      } else {
        visit.served(outcome, source, prefix);
      }
    }
  }
  visit.count_l1(hits);
  const ClockReading after = at->clock.now();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (outcomes[i].must_ask == MustAsk::kInvalidKey) continue;
    const Prefix& prefix = i < kPrefixesKept ? *prefixes[i] : at->prefix_of(keys[i]);
    proven.age(outcomes[i], after, prefix.policy, resolve(contract, prefix.policy));
  }
  return outcome_of_all(outcomes);
}

ReadOutcome LocalReader::snapshot(std::span<const std::string_view> keys, std::vector<std::string>& values,
                                  std::vector<ReadOutcome>& outcomes) {  // S4
  ReadOutcome group;
  values.resize(keys.size());
  outcomes.assign(keys.size(), ReadOutcome{});
  Visit visit(*this);
  const Attachment* at = visit.usable();
  if (at == nullptr) {
    group.must_ask = MustAsk::kDetached;
    return group;
  }
  group.must_ask = MustAsk::kInvalidKey;
  if (keys.empty() || keys.size() > kSnapshotKeysMax) return group;
  std::vector<SnapshotKey> wanted;
  std::vector<Values> sources;
  wanted.reserve(keys.size());
  sources.reserve(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].empty() || keys[i].size() > kKeyBytesMax) return group;
    const std::uint64_t hash = hash64(keys[i]);
    const Prefix& prefix = at->prefix_of(keys[i]);
    wanted.push_back({slot_of_hash(hash), prefix.ns, prefix.policy.consistency});
    sources.emplace_back(l1_, *at, keys[i], hash, values[i], true);
  }
  return snapshot_in_order(at->page, at->clock, [&](std::size_t i) -> Values& { return sources[i]; }, wanted, outcomes);
}

Result<void> LocalReader::attach() {
  const std::scoped_lock lock(mutex_);
  auto page = PageReader::open(options_.page_path);
  if (!page) return tl::unexpected(std::move(page.error()));
  const PageView view = page->view();
  if (view.revoked()) return fail(Code::kUnavailable, options_.page_path + ": revoked; its edge is being replaced");
  const std::uint64_t policy_version = view.policy_version();  // before the policies: a change in between shows later
  const auto namespaces = view.policies();
  if (!namespaces) return tl::unexpected(namespaces.error());

  auto next = std::make_unique<Attachment>(
      Attachment{*std::move(page), nullptr, view, HotClock(view.shim()), {}, policy_version, ++last_era_});
  for (std::size_t n = 0; n < namespaces->size(); ++n) {
    const Namespace& ns = (*namespaces)[n];
    std::uint8_t pool = 0;
    for (std::size_t b = 0; b < options_.l1_budgets.size() && b < L1Cache::kPoolsMax; ++b) {
      if (options_.l1_budgets[b].prefix == ns.prefix) pool = static_cast<std::uint8_t>(b + 1);
    }
    next->prefixes.push_back({ns.prefix, static_cast<std::uint16_t>(n), pool, read_policy(ns)});
  }
  std::sort(next->prefixes.begin(), next->prefixes.end(), [](const Prefix& x, const Prefix& y) {
    return x.prefix.size() != y.prefix.size() ? x.prefix.size() > y.prefix.size() : x.ns < y.ns;
  });  // the last is the empty prefix, for all other keys: policies() gives no list without it
  if (!options_.arena_path.empty()) {
    auto arena = ArenaReader::open(options_.arena_path);
    // Of another boot: its edge is dead, or this page is about to be revoked. Either way these values are not vouched
    // for.
    if (arena && arena->edge_boot() == view.edge_boot()) {
      next->arena_file = std::make_unique<ArenaReader>(*std::move(arena));
    }
  }
  replace(std::move(next));
  return {};
}

void LocalReader::replace(std::unique_ptr<const Attachment> next) {
  current_.store(next.get(), std::memory_order_seq_cst);
  if (owned_ != nullptr) retired_.push_back({std::move(owned_), ReaderLanes::Grace(lanes_)});
  owned_ = std::move(next);
  reclaim();
}

void LocalReader::reclaim() {
  std::erase_if(retired_, [this](Retired& retired) { return retired.grace.passed(lanes_); });
}

bool LocalReader::maintain() {
  {
    const std::scoped_lock lock(mutex_);
    reclaim();
    // An arena that was not there when we attached may be there now.
    const bool whole = owned_ != nullptr && (owned_->arena_file != nullptr || options_.arena_path.empty());
    if (whole && !owned_->page_file.replaced() && owned_->page.policy_version() == owned_->policy_version) return false;
  }
  return attach().has_value();
}

Breaker LocalReader::breaker(std::string_view key) {
  Visit visit(*this);
  visit.count_no_read();
  const Attachment* at = visit.usable();
  return at == nullptr ? Breaker::kClosed : at->page.breaker(at->prefix_of(key).ns);
}

std::optional<Namespace> LocalReader::policy_of(std::string_view key) {
  Visit visit(*this);
  visit.count_no_read();
  const Attachment* at = visit.usable();
  if (at == nullptr) return std::nullopt;
  auto namespaces = at->page.policies();
  if (!namespaces) return std::nullopt;
  return namespace_of(*namespaces, key);
}

Boot LocalReader::edge_boot() const {
  Visit visit(const_cast<LocalReader&>(*this));
  return visit.at() == nullptr ? Boot{} : visit.at()->page.edge_boot();
}

LocalReaderCounters LocalReader::counters() const {
  LocalReaderCounters sum;
  for (unsigned i = 0; i < ReaderLanes::kLanes; ++i) {
    const ReaderLanes::Lane& lane = lanes_.lane(i);
    sum.reads += (lane.visits_and_inside.load(std::memory_order_relaxed) >> 16) +
                 lane.more_reads.load(std::memory_order_relaxed);
    sum.hits_l1 += lane.hits_l1.load(std::memory_order_relaxed);
    sum.hits_arena += lane.hits_arena.load(std::memory_order_relaxed);
  }
  sum.l1 = l1_.stats();
  sum.l1_entries = l1_.entries();
  sum.l1_bytes = l1_.capacity_bytes();
  return sum;
}

}  // namespace tidelock
