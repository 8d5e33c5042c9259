// How a mapping goes away under readers that take no lock. A reader counts itself in on its lane, loads `current_`,
// reads, and counts itself out. `replace` swaps `current_` and keeps the former one until it has seen every lane empty
// once: the count and the pointer are sequentially consistent, so whoever came in after that saw the new pointer.
// Nobody waits; the lanes are looked at whenever maintain() is called.
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
  ReadPolicy policy;
};

// Lanes 0..62 belong to one thread each while it lives; lane 63 is shared by all others.
constexpr unsigned kSharedLane = 63;
std::atomic<std::uint64_t> lanes_taken{1ull << kSharedLane};

constinit thread_local unsigned my_lane = 0;  // 1 + the lane; 0: not given yet

struct LaneReturn {  // touched once per thread, so that its destructor runs when the thread ends
  bool armed = false;
  ~LaneReturn() {
    const unsigned lane = my_lane - 1;
    my_lane = kSharedLane + 1;
    if (armed && lane != kSharedLane) lanes_taken.fetch_and(~(1ull << lane), std::memory_order_release);
  }
};
thread_local LaneReturn lane_return;

unsigned take_lane() {
  std::uint64_t taken = lanes_taken.load(std::memory_order_relaxed);
  while (taken != ~0ull) {
    const unsigned free_lane = static_cast<unsigned>(std::countr_one(taken));
    if (lanes_taken.compare_exchange_weak(taken, taken | 1ull << free_lane, std::memory_order_acquire)) {
      my_lane = 1 + free_lane;
      lane_return.armed = true;
      return free_lane;
    }
  }
  my_lane = 1 + kSharedLane;
  return kSharedLane;
}

unsigned this_lane() {
  if (my_lane == 0) [[unlikely]]
    return take_lane();
  return my_lane - 1;
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

// Tier 0 is L1, tier 1 the arena.
struct LocalReader::Values {
  static constexpr int kTiers = 2;

  // A constructor, so that `meta` is not zeroed as a whole before each read.
  Values(L1Cache& l1_cache, const Attachment& attachment, std::string_view of_key, std::uint64_t its_hash,
         std::string& to)
      : l1(l1_cache), at(attachment), key(of_key), hash(its_hash), out(to) {}

  L1Cache& l1;
  const Attachment& at;
  std::string_view key;
  std::uint64_t hash;
  std::string& out;
  EntryMeta meta;
  std::uint64_t word = 0;  // of the page, loaded before this tier was asked (F5)

  Candidate lookup(int tier, std::uint64_t slot_word) {
    word = slot_word;
    Candidate candidate;
    Lookup found = Lookup::kAbsent;
    if (tier == 0) {
      found = l1.get(key, hash, out, meta);
      if (found == Lookup::kFound && meta.era != at.era) found = Lookup::kAbsent;
      if (found == Lookup::kBusy) found = Lookup::kAbsent;  // the arena has it too
      candidate.slot_checked = true;
      candidate.slot_version = meta.slot_version;
    } else if (at.arena_file != nullptr) {
      found = at.arena_file->view().get(key, hash, out, meta);
    }
    if (found == Lookup::kAbsent) return candidate;
    candidate.state = found == Lookup::kFound ? Candidate::State::kFound : Candidate::State::kBusy;
    candidate.negative = meta.negative;
    candidate.local = meta.local;
    candidate.version = meta.version;
    candidate.epoch = meta.epoch;
    candidate.proven_at = meta.proven_at;
    candidate.expires_at = meta.expires_at;
    candidate.value_bytes = out.size();
    return candidate;
  }
  Source source(int tier) const { return tier == 0 ? Source::kL1 : Source::kArena; }
};

// Counts a reader in and out.
class LocalReader::Visit {
 public:
  explicit Visit(LocalReader& reader) : own_(this_lane() != kSharedLane), lane_(reader.lanes_[this_lane()]) {
    std::atomic<std::uint64_t>& count = lane_.reads_and_inside;
    constexpr std::uint64_t kOneIn = (1ull << 16) + 1;
    // An exchange, not a store: the count must be seen by reclaim() before `current_` is loaded here.
    if (own_)
      count.exchange(count.load(std::memory_order_relaxed) + kOneIn, std::memory_order_seq_cst);
    else
      count.fetch_add(kOneIn, std::memory_order_seq_cst);
    at_ = reader.current_.load(std::memory_order_seq_cst);
  }
  ~Visit() {
    std::atomic<std::uint64_t>& count = lane_.reads_and_inside;
    if (own_)
      count.store(count.load(std::memory_order_relaxed) - 1, std::memory_order_release);
    else
      count.fetch_sub(1, std::memory_order_release);
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

  const Attachment* at() const { return at_; }
  // Null when the reader must go and map again first.
  const Attachment* usable() const {
    return at_ != nullptr && at_->page.policy_version() == at_->policy_version ? at_ : nullptr;
  }
  void hit(Source source) {
    std::atomic<std::uint64_t>& hits = source == Source::kL1 ? lane_.hits_l1 : lane_.hits_arena;
    hits.store(hits.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

 private:
  const bool own_;
  Lane& lane_;
  const Attachment* at_;
};

LocalReader::LocalReader(LocalReaderOptions options) : options_(std::move(options)), l1_(options_.l1) {
  (void)attach();  // no edge yet is not an error here: reads say so
}
LocalReader::~LocalReader() = default;

ReadOutcome LocalReader::read(std::string_view key, const Contract& contract, std::string& value) {
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
  Values values(l1_, *at, key, hash, value);
  outcome =
      read_in_order(at->page, at->clock, values, slot_of_hash(hash), prefix.policy, resolve(contract, prefix.policy));
  if (outcome.must_ask != MustAsk::kNo) return outcome;
  visit.hit(outcome.receipt.source);
  // An own write that is about to be sequenced changes its version without changing its slot: it stays in the arena.
  const bool settled = !values.meta.local || prefix.policy.scope != Scope::kRegion;
  if (outcome.receipt.source == Source::kArena && settled && value.size() <= options_.l1_value_bytes_max) {
    values.meta.slot_version = slot_version(values.word);  // F5: loaded before the arena was asked
    values.meta.era = at->era;
    l1_.put(key, hash, value, values.meta);
  }
  return outcome;
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
    sources.emplace_back(l1_, *at, keys[i], hash, values[i]);
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
    next->prefixes.push_back({ns.prefix, static_cast<std::uint16_t>(n), read_policy(ns)});
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
  if (owned_ != nullptr) retired_.push_back({std::move(owned_)});
  owned_ = std::move(next);
  reclaim();
}

void LocalReader::reclaim() {
  for (Retired& retired : retired_) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      if ((lanes_[i].reads_and_inside.load(std::memory_order_seq_cst) & 0xFFFF) == 0) {
        retired.lanes_to_see_empty &= ~(1ull << i);
      }
    }
  }
  std::erase_if(retired_, [](const Retired& retired) { return retired.lanes_to_see_empty == 0; });
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

Boot LocalReader::edge_boot() const {
  Visit visit(const_cast<LocalReader&>(*this));
  return visit.at() == nullptr ? Boot{} : visit.at()->page.edge_boot();
}

LocalReaderCounters LocalReader::counters() const {
  LocalReaderCounters sum;
  for (const Lane& lane : lanes_) {
    sum.reads += lane.reads_and_inside.load(std::memory_order_relaxed) >> 16;
    sum.hits_l1 += lane.hits_l1.load(std::memory_order_relaxed);
    sum.hits_arena += lane.hits_arena.load(std::memory_order_relaxed);
  }
  return sum;
}

}  // namespace tidelock
