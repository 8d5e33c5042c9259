// The page: what an edge tells every process of its gateway about freshness, in shared memory (DESIGN 6). The edge
// writes it, in the order of F5; apps map it read-only.
//
// Layout:  fixed, 64-byte aligned, checked when mapped: magic, layout version, size, boot of the machine, time
// namespace.
//          Each field that changes is one lock-free atomic; nothing that is read here is an index or a pointer.
// File:    created beside its final name and renamed, so each boot of an edge has a *new* page; whoever still maps the
//          former one finds it revoked (F11). Put it on tmpfs (/dev/shm, /run): a disk's write-back would stall the
//          writer.
// Threads: PageWriter: one thread. PageView and PageReader: any thread, no locks, no system calls after open.
// Dies:    if the edge dies its proofs lapse by time; a reader that is killed holds nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/elapsed_clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "memory/page_layout.h"
#include "protocol/breaker.h"
#include "protocol/policy.h"
#include "protocol/read_order.h"

namespace tidelock {

class SharedMapping;  // shared_mapping.h

// The loads. Each is an acquire load of one word.
class PageView {
 public:
  explicit PageView(const PageLayout* layout = nullptr) : layout_(layout) {}

  // fixed when the page was made
  Boot edge_boot() const { return Boot{layout_->edge_boot}; }
  ClockShim shim() const { return {layout_->shim_offset_ns, layout_->shim_rate_ppb, layout_->shim_origin_ns}; }

  // F2; kNever = no proof
  Nanos fresh_at() const { return load(layout_->fresh_at); }
  // Every write-behind write acknowledged anywhere before it is known; kNever = no such proof. Load it before fresh_at.
  Nanos behind_at() const { return load(layout_->behind_at); }
  // F4: already shortened by rho and the margin; test `latest < lease_until`.
  Nanos lease_until() const { return load(layout_->lease_until); }
  Index applied() const { return Index{load(layout_->applied)}; }
  // F8: entries of bounded and eventual keys below it are unverified; `strong_epoch` for strong keys.
  std::uint64_t verified_epoch() const { return load(layout_->verified_epoch); }
  std::uint64_t strong_epoch() const { return load(layout_->strong_epoch); }
  // F11: a new edge took over; map again.
  bool revoked() const { return (load(layout_->state) & kPageRevoked) != 0; }
  std::uint32_t rho_ppm() const { return static_cast<std::uint32_t>(load(layout_->state)); }  // C3
  // C2: BOOTTIME - MONOTONIC under which the proofs were made. Load it first of all.
  Nanos suspended_ns() const { return load(layout_->suspended_ns); }
  SessionNo session() const { return SessionNo{load(layout_->session)}; }  // 0 = none open
  // C2, C3: what an entry was proven by before this instant does not count. Load it behind the entry.
  Nanos proofs_from() const { return load(layout_->proofs_from); }
  std::uint64_t slot_word(std::uint16_t slot) const { return load(layout_->slots[slot]); }
  void prefetch_slot(std::uint16_t slot) const { __builtin_prefetch(&layout_->slots[slot]); }
  // Odd: a write is under way (S4). ns < kNamespacesMax.
  std::uint64_t generation(std::uint16_t ns) const { return load(layout_->generation[ns]); }
  Breaker breaker(std::uint16_t ns) const {
    const std::uint64_t raw = load(layout_->breaker[ns]);
    return raw == 1 ? Breaker::kOpen : raw == 2 ? Breaker::kHalfOpen : Breaker::kClosed;
  }
  std::uint64_t policy_version() const { return load(layout_->policy_version); }  // changes with every set_policies
  // Copies the policies. kBusy when the writer kept changing them, kCorrupt when they make no sense.
  Result<std::vector<Namespace>> policies() const;

 private:
  template <class T>
  static T load(const std::atomic<T>& word) {
    return word.load(std::memory_order_acquire);
  }
  const PageLayout* layout_;
};

struct PageOptions {
  std::string path;
  Boot edge_boot;
  ClockShim shim;
  ClusterSettings settings;
  std::vector<Namespace> namespaces = default_namespaces();
};

// The operations that an edge core emits, one for one.
class PageWriter {
 public:
  // A page with no proof and no lease, in place at once. kInvalid names the field; kUnavailable says what the system
  // said (a full disk is met here, never later).
  static Result<PageWriter> create(const PageOptions& options);
  // F11: lease and `fresh_at` of a former page to never, its generations retired. True when there was one; false when
  // there is no file at `path`; an error when the file could not be revoked: then wait lease_long(1 + 2 rho).
  static Result<bool> revoke(const std::string& path);

  PageWriter(PageWriter&&) noexcept;
  PageWriter& operator=(PageWriter&&) noexcept;
  ~PageWriter();  // unmaps; the file stays, for the next edge to revoke

  PageView view() const;
  const std::string& path() const;

  void begin_write(std::uint16_t ns);  // generation odd
  void end_write(std::uint16_t ns);    // generation even; also used alone in a pair for fills and session changes (F5)
  void bump_slot(std::uint16_t slot);
  void open_block(std::span<const std::uint16_t> slots);   // S2: may be acknowledged when this returns
  void close_block(std::span<const std::uint16_t> slots);  // with the slots it was opened with
  void publish_applied(Index applied);
  void publish_writers(Nanos writers_ns);  // before the fresh_at of the same mark; kForever: a writer is away
  void publish_fresh_at(Nanos fresh_at);
  void publish_lease(Nanos until);
  void drop_proofs(Nanos from, Nanos suspended_ns);               // C2; suspended_ns_now() after the disruption
  void set_epochs(std::uint64_t verified, std::uint64_t strong);  // F8; never go back. Before the next fresh_at
  void set_session(SessionNo session);
  void set_breaker(std::uint16_t ns, Breaker state);
  // kInvalid: more than kNamespacesMax, or a prefix over kPagePrefixBytesMax.
  Result<void> set_policies(const std::vector<Namespace>& namespaces, const ClusterSettings& settings);

 private:
  explicit PageWriter(std::unique_ptr<SharedMapping> mapping);
  PageLayout* layout() const;

  std::unique_ptr<SharedMapping> mapping_;
  std::vector<std::uint32_t> open_blocks_;  // true counts per slot; the page shows at most 255
  Nanos writers_ns_ = kForever;
};

class PageReader {
 public:
  // kUnavailable: no such file or no permission. kCorrupt: not a page, or of a layout this build does not know.
  // kDenied: another boot of the machine or another time namespace; its clocks are not ours (DESIGN 6).
  static Result<PageReader> open(const std::string& path);
  PageReader(PageReader&&) noexcept;
  PageReader& operator=(PageReader&&) noexcept;
  ~PageReader();

  PageView view() const;
  // True when another file lies at the path now, or the page is revoked. A system call.
  bool replaced() const;

 private:
  explicit PageReader(std::unique_ptr<SharedMapping> mapping);
  std::unique_ptr<SharedMapping> mapping_;
};

}  // namespace tidelock
