// Writer order (F5): generation odd, L2 (the arena and the store), slot versions, generation even, then close the
// block, `applied`, `fresh_at`. Each store below is a release, so whoever sees a later one sees all earlier ones. The
// order itself is the edge core's; this file only never reorders it.
//
// Policies are copied word by word between two reads of an even, unchanged policy_version.
#include "memory/page.h"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <utility>

#include "base/assert.h"
#include "memory/page_layout.h"
#include "memory/shared_mapping.h"

namespace tidelock {
namespace {

constexpr int kPolicyTries = 64;

std::uint64_t mixed(std::uint64_t x) {  // splitmix64's finaliser
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

PagePolicy to_words(const Namespace& ns) {
  PagePolicy p{};
  p.bound_ns = ns.bound_ns;
  p.bound_floor_ns = ns.bound_floor_ns;
  p.flush_age_ns = ns.flush_age_ns;
  p.ttl_ns = ns.ttl_ns;
  p.deadline_ns = ns.deadline_ns;
  p.fallback_cap_ns = ns.fallback_cap_ns;
  p.consistency = static_cast<std::uint8_t>(ns.consistency);
  p.scope = static_cast<std::uint8_t>(ns.scope);
  p.write_mode = static_cast<std::uint8_t>(ns.write_mode);
  p.on_stale_count = static_cast<std::uint8_t>(ns.on_stale.size());
  for (std::size_t i = 0; i < ns.on_stale.size(); ++i) p.on_stale[i] = static_cast<std::uint8_t>(ns.on_stale[i]);
  p.prefix_bytes = static_cast<std::uint8_t>(ns.prefix.size());
  std::memcpy(p.prefix.data(), ns.prefix.data(), ns.prefix.size());
  return p;
}

Result<Namespace> from_words(const PagePolicy& p) {
  const auto beyond = [](std::uint8_t value, auto last) { return value > static_cast<std::uint8_t>(last); };
  if (p.prefix_bytes > kPagePrefixBytesMax || p.on_stale_count > kPageOnStaleMax ||
      beyond(p.consistency, last_enumerator(Consistency{})) || beyond(p.scope, last_enumerator(Scope{})) ||
      beyond(p.write_mode, last_enumerator(WriteMode{}))) {
    return fail(Code::kCorrupt, "page: a namespace's policy makes no sense");
  }
  Namespace ns;
  ns.prefix.assign(p.prefix.data(), p.prefix_bytes);
  ns.consistency = static_cast<Consistency>(p.consistency);
  ns.bound_ns = p.bound_ns;
  ns.bound_floor_ns = p.bound_floor_ns;
  ns.scope = static_cast<Scope>(p.scope);
  ns.write_mode = static_cast<WriteMode>(p.write_mode);
  ns.flush_age_ns = p.flush_age_ns;
  ns.ttl_ns = p.ttl_ns;
  ns.on_stale.clear();
  for (std::size_t i = 0; i < p.on_stale_count; ++i) {
    if (beyond(p.on_stale[i], last_enumerator(OnStale{}))) {
      return fail(Code::kCorrupt, "page: a namespace's policy makes no sense");
    }
    ns.on_stale.push_back(static_cast<OnStale>(p.on_stale[i]));
  }
  ns.deadline_ns = p.deadline_ns;
  ns.fallback_cap_ns = p.fallback_cap_ns;
  return ns;
}

Result<void> check_layout(const PageLayout& layout, const std::string& path) {
  if (layout.magic != kPageMagic) return fail(Code::kCorrupt, path + ": not a Tidelock page");
  if (layout.layout_version != kPageLayoutVersion || layout.size_bytes != sizeof(PageLayout)) {
    return fail(Code::kCorrupt, path + ": page layout " + std::to_string(layout.layout_version) +
                                    ", this build knows layout " + std::to_string(kPageLayoutVersion));
  }
  return {};
}

void revoke_layout(PageLayout& layout) {  // F11
  layout.state.fetch_or(kPageRevoked, std::memory_order_release);
  layout.lease_until.store(kNever, std::memory_order_release);
  layout.behind_at.store(kNever, std::memory_order_release);
  layout.fresh_at.store(kNever, std::memory_order_release);
  for (PageWord& generation : layout.generation) generation.fetch_or(kPageRevoked | 1, std::memory_order_release);
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------- PageView

Result<std::vector<Namespace>> PageView::policies() const {
  for (int i = 0; i < kPolicyTries; ++i) {
    const std::uint64_t version = layout_->policy_version.load(std::memory_order_acquire);
    if ((version & 1) != 0) continue;
    const std::uint64_t count = layout_->policy_count.load(std::memory_order_relaxed);
    std::vector<PagePolicy> copies(count <= kNamespacesMax ? count : 0);
    for (std::size_t n = 0; n < copies.size(); ++n) {
      std::array<std::uint64_t, kPagePolicyWords> words;
      for (std::size_t w = 0; w < words.size(); ++w) {
        words[w] = layout_->policies[n][w].load(std::memory_order_relaxed);
      }
      std::memcpy(&copies[n], words.data(), sizeof(PagePolicy));
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (layout_->policy_version.load(std::memory_order_relaxed) != version) continue;
    if (count == 0 || count > kNamespacesMax) return fail(Code::kCorrupt, "page: number of namespaces");
    std::vector<Namespace> namespaces;
    for (const PagePolicy& copy : copies) {
      auto ns = from_words(copy);
      if (!ns) return tl::unexpected(std::move(ns.error()));
      namespaces.push_back(*std::move(ns));
    }
    if (const auto ok = validate_namespaces(namespaces); !ok)
      return fail(Code::kCorrupt, "page: " + ok.error().message);
    return namespaces;
  }
  return fail(Code::kBusy, "page: the policies kept changing");
}

// -------------------------------------------------------------------------------------------------------- PageWriter

PageWriter::PageWriter(std::unique_ptr<SharedMapping> mapping)
    : mapping_(std::move(mapping)), open_blocks_(kSlots, 0) {}
PageWriter::PageWriter(PageWriter&&) noexcept = default;
PageWriter& PageWriter::operator=(PageWriter&&) noexcept = default;
PageWriter::~PageWriter() = default;

PageLayout* PageWriter::layout() const { return static_cast<PageLayout*>(mapping_->data()); }
PageView PageWriter::view() const { return PageView(layout()); }
const std::string& PageWriter::path() const { return mapping_->path(); }

Result<PageWriter> PageWriter::create(const PageOptions& options) {
  if (options.edge_boot.value == 0) return fail(Code::kInvalid, "page: edge_boot is 0, expected a random number");
  const auto boot_id = machine_boot_id();
  if (!boot_id) return tl::unexpected(boot_id.error());
  const auto time_namespace = time_namespace_id();
  if (!time_namespace) return tl::unexpected(time_namespace.error());
  auto mapping = SharedMapping::create(options.path, sizeof(PageLayout), sizeof(PageLayout));
  if (!mapping) return tl::unexpected(std::move(mapping.error()));

  auto* layout = new ((*mapping)->data()) PageLayout;  // every word is a trivial type over a file of zeros
  layout->magic = kPageMagic;
  layout->layout_version = kPageLayoutVersion;
  layout->size_bytes = sizeof(PageLayout);
  layout->time_namespace = *time_namespace;
  layout->edge_boot = options.edge_boot.value;
  layout->boot_id.fill(0);
  std::memcpy(layout->boot_id.data(), boot_id->data(), boot_id->size() < 40 ? boot_id->size() : 39);
  layout->shim_offset_ns = options.shim.offset_ns;
  layout->shim_rate_ppb = options.shim.rate_ppb;
  layout->shim_origin_ns = options.shim.origin_ns;
  for (PageTime* never : {&layout->fresh_at, &layout->behind_at, &layout->lease_until, &layout->proofs_from})
    never->store(kNever);
  layout->applied.store(0);
  layout->verified_epoch.store(1);
  layout->strong_epoch.store(1);
  layout->suspended_ns.store(suspended_ns_now());
  layout->session.store(0);
  layout->policy_version.store(0);
  for (PageWord& generation : layout->generation) generation.store(0);
  for (PageWord& breaker : layout->breaker) breaker.store(0);
  // Slot versions of two boots share no range that either could reach, whatever an L1 still holds.
  const std::uint64_t first = mixed(options.edge_boot.value) & (kSlotVersionMask >> 1);
  for (PageWord& slot : layout->slots) slot.store(first, std::memory_order_relaxed);

  PageWriter writer(*std::move(mapping));
  if (auto ok = writer.set_policies(options.namespaces, options.settings); !ok) return tl::unexpected(ok.error());
  if (auto ok = writer.mapping_->publish(); !ok) return tl::unexpected(ok.error());
  return writer;
}

Result<bool> PageWriter::revoke(const std::string& path) {
  bool missing = false;
  auto mapping = SharedMapping::open(path, true, sizeof(PageLayout), sizeof(PageLayout), &missing);
  if (missing) return false;
  if (!mapping) return tl::unexpected(std::move(mapping.error()));
  auto* layout = static_cast<PageLayout*>((*mapping)->data());
  if (auto ok = check_layout(*layout, path); !ok) return tl::unexpected(ok.error());
  revoke_layout(*layout);
  return true;
}

void PageWriter::begin_write(std::uint16_t ns) {
  TIDELOCK_ASSERT(ns < kNamespacesMax);
  PageWord& generation = layout()->generation[ns];
  const std::uint64_t now = generation.load(std::memory_order_relaxed);
  TIDELOCK_ASSERT((now & 1) == 0);
  generation.store(now + 1, std::memory_order_relaxed);
  // Release of this store would not keep the stores that follow behind it; the fence does.
  std::atomic_thread_fence(std::memory_order_release);
}

void PageWriter::end_write(std::uint16_t ns) {
  TIDELOCK_ASSERT(ns < kNamespacesMax);
  PageWord& generation = layout()->generation[ns];
  const std::uint64_t now = generation.load(std::memory_order_relaxed);
  TIDELOCK_ASSERT((now & 1) == 1);
  generation.store(now + 1, std::memory_order_release);
}

void PageWriter::bump_slot(std::uint16_t slot) {
  PageWord& word = layout()->slots[slot];
  const std::uint64_t now = word.load(std::memory_order_relaxed);
  word.store((now & ~kSlotVersionMask) | ((now + 1) & kSlotVersionMask), std::memory_order_release);
}

void PageWriter::open_block(std::span<const std::uint16_t> slots) {  // S2
  for (const std::uint16_t slot : slots) {
    const std::uint64_t shown = ++open_blocks_[slot] < 255 ? open_blocks_[slot] : 255;
    PageWord& word = layout()->slots[slot];
    const std::uint64_t version = slot_version(word.load(std::memory_order_relaxed));
    word.store(shown << 56 | version, std::memory_order_release);
  }
  // The acknowledgement that follows must not overtake the stores on its way to another processor.
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void PageWriter::close_block(std::span<const std::uint16_t> slots) {  // S2
  for (const std::uint16_t slot : slots) {
    TIDELOCK_ASSERT(open_blocks_[slot] > 0);
    const std::uint64_t shown = --open_blocks_[slot] < 255 ? open_blocks_[slot] : 255;
    PageWord& word = layout()->slots[slot];
    const std::uint64_t version = slot_version(word.load(std::memory_order_relaxed));
    word.store(shown << 56 | version, std::memory_order_release);
  }
}

void PageWriter::publish_applied(Index applied) { layout()->applied.store(applied.value, std::memory_order_release); }

void PageWriter::publish_writers(Nanos writers_ns) {
  const bool longer = writers_ns > writers_ns_;
  writers_ns_ = writers_ns;
  if (!longer) return;  // a shorter age is true of the next proof only
  const Nanos fresh_at = layout()->fresh_at.load(std::memory_order_relaxed);
  const bool none = fresh_at == kNever || writers_ns == kForever;
  layout()->behind_at.store(none ? kNever : saturating_sub(fresh_at, writers_ns), std::memory_order_release);
}

void PageWriter::publish_fresh_at(Nanos fresh_at) {
  const bool none = fresh_at == kNever || writers_ns_ == kForever;
  layout()->fresh_at.store(fresh_at, std::memory_order_release);
  // Behind `fresh_at`: a reader, who loads them the other way round, then sees a `fresh_at` no older than its
  // `behind_at`.
  layout()->behind_at.store(none ? kNever : saturating_sub(fresh_at, writers_ns_), std::memory_order_release);
}

void PageWriter::publish_lease(Nanos until) { layout()->lease_until.store(until, std::memory_order_release); }

void PageWriter::drop_proofs(Nanos from, Nanos suspended_ns) {  // C2
  layout()->lease_until.store(kNever, std::memory_order_release);
  layout()->behind_at.store(kNever, std::memory_order_release);
  layout()->fresh_at.store(kNever, std::memory_order_release);
  layout()->proofs_from.store(from, std::memory_order_release);
  layout()->suspended_ns.store(suspended_ns, std::memory_order_release);  // last: readers load it first
}

void PageWriter::set_epochs(std::uint64_t verified, std::uint64_t strong) {  // F8
  TIDELOCK_ASSERT(verified >= layout()->verified_epoch.load(std::memory_order_relaxed));
  TIDELOCK_ASSERT(strong >= layout()->strong_epoch.load(std::memory_order_relaxed));
  layout()->verified_epoch.store(verified, std::memory_order_release);
  layout()->strong_epoch.store(strong, std::memory_order_release);
}

void PageWriter::set_session(SessionNo session) { layout()->session.store(session.value, std::memory_order_release); }

void PageWriter::set_breaker(std::uint16_t ns, Breaker state) {
  TIDELOCK_ASSERT(ns < kNamespacesMax);
  layout()->breaker[ns].store(static_cast<std::uint64_t>(state), std::memory_order_release);
}

Result<void> PageWriter::set_policies(const std::vector<Namespace>& namespaces, const ClusterSettings& settings) {
  if (namespaces.empty() || namespaces.size() > kNamespacesMax) {
    return fail(Code::kInvalid, "page: " + std::to_string(namespaces.size()) + " namespaces, expected 1.." +
                                    std::to_string(kNamespacesMax));
  }
  for (const Namespace& ns : namespaces) {
    if (ns.prefix.size() > kPagePrefixBytesMax) {
      return fail(Code::kInvalid, "page: prefix of " + std::to_string(ns.prefix.size()) + " bytes, expected at most " +
                                      std::to_string(kPagePrefixBytesMax));
    }
    if (ns.on_stale.size() > kPageOnStaleMax) {
      return fail(Code::kInvalid, "page: namespace '" + ns.prefix + "': on_stale has " +
                                      std::to_string(ns.on_stale.size()) + " steps, expected at most " +
                                      std::to_string(kPageOnStaleMax));
    }
  }
  PageLayout& page = *layout();
  const std::uint64_t version = page.policy_version.load(std::memory_order_relaxed);
  page.policy_version.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  page.policy_count.store(namespaces.size(), std::memory_order_relaxed);
  for (std::size_t n = 0; n < namespaces.size(); ++n) {
    const PagePolicy policy = to_words(namespaces[n]);
    std::array<std::uint64_t, kPagePolicyWords> words;
    std::memcpy(words.data(), &policy, sizeof policy);
    for (std::size_t w = 0; w < words.size(); ++w) page.policies[n][w].store(words[w], std::memory_order_relaxed);
  }
  page.policy_version.store(version + 2, std::memory_order_release);
  const std::uint64_t revoked = page.state.load(std::memory_order_relaxed) & kPageRevoked;
  page.state.store(revoked | settings.rho_ppm, std::memory_order_release);
  return {};
}

// -------------------------------------------------------------------------------------------------------- PageReader

PageReader::PageReader(std::unique_ptr<SharedMapping> mapping) : mapping_(std::move(mapping)) {}
PageReader::PageReader(PageReader&&) noexcept = default;
PageReader& PageReader::operator=(PageReader&&) noexcept = default;
PageReader::~PageReader() = default;

Result<PageReader> PageReader::open(const std::string& path) {
  auto mapping = SharedMapping::open(path, false, sizeof(PageLayout), sizeof(PageLayout));
  if (!mapping) return tl::unexpected(std::move(mapping.error()));
  const auto& layout = *static_cast<const PageLayout*>((*mapping)->data());
  if (auto ok = check_layout(layout, path); !ok) return tl::unexpected(ok.error());
  const auto boot_id = machine_boot_id();
  if (!boot_id) return tl::unexpected(boot_id.error());
  const std::string_view page_boot(layout.boot_id.data(), ::strnlen(layout.boot_id.data(), layout.boot_id.size()));
  if (page_boot != *boot_id) {
    return fail(Code::kDenied, path + ": the page is of another boot of the machine, expected boot " + *boot_id);
  }
  const auto time_namespace = time_namespace_id();
  if (!time_namespace) return tl::unexpected(time_namespace.error());
  if (layout.time_namespace != *time_namespace) {
    return fail(Code::kDenied, path + ": the edge lives in time namespace " + std::to_string(layout.time_namespace) +
                                   ", this process in " + std::to_string(*time_namespace) +
                                   ": their clocks cannot be compared");
  }
  return PageReader(*std::move(mapping));
}

PageView PageReader::view() const { return PageView(static_cast<const PageLayout*>(mapping_->data())); }
bool PageReader::replaced() const { return view().revoked() || !mapping_->in_place(); }

}  // namespace tidelock
