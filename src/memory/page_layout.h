// Where each word of a page lies. Others go through PageView and PageWriter (page.h).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "protocol/policy.h"
#include "protocol/read_order.h"

namespace tidelock {

inline constexpr std::uint32_t kPageLayoutVersion = 2;
inline constexpr std::size_t kPagePrefixBytesMax = 128;              // of a namespace's prefix; longer ones are refused
inline constexpr std::uint64_t kPageMagic = 0x3145474150'4c4454ull;  // "TDLPAGE1" as bytes
inline constexpr std::size_t kPageOnStaleMax = 8;

// One namespace, as plain words that are copied under policy_version.
struct PagePolicy {
  std::int64_t bound_ns, bound_floor_ns, flush_age_ns, ttl_ns, deadline_ns, fallback_cap_ns;
  std::uint8_t consistency, scope, write_mode, on_stale_count;
  std::array<std::uint8_t, kPageOnStaleMax> on_stale;
  std::uint8_t prefix_bytes;
  std::array<std::uint8_t, 3> spare;
  std::array<char, kPagePrefixBytesMax> prefix;
};
static_assert(sizeof(PagePolicy) == 192 && sizeof(PagePolicy) % 8 == 0);
inline constexpr std::size_t kPagePolicyWords = sizeof(PagePolicy) / 8;

using PageWord = std::atomic<std::uint64_t>;
using PageTime = std::atomic<std::int64_t>;
static_assert(PageWord::is_always_lock_free && PageTime::is_always_lock_free && sizeof(PageWord) == 8);

struct PageLayout {
  // written once, before the file gets its name
  std::uint64_t magic;
  std::uint32_t layout_version;
  std::uint32_t size_bytes;
  std::uint64_t time_namespace;
  std::uint64_t edge_boot;
  std::array<char, 40> boot_id;
  std::int64_t shim_offset_ns, shim_rate_ppb, shim_origin_ns;

  // everything a read tests, in one cache line
  alignas(64) PageTime fresh_at;
  PageTime behind_at;
  PageTime lease_until;
  PageWord applied;
  PageWord verified_epoch;
  PageWord strong_epoch;
  PageTime suspended_ns;
  PageWord state;  // kPageRevoked | rho_ppm

  alignas(64) PageWord session;
  PageWord policy_version;  // odd: being written
  PageWord policy_count;
  PageTime proofs_from;
  alignas(64) std::array<PageWord, kNamespacesMax> generation;
  alignas(64) std::array<PageWord, kNamespacesMax> breaker;
  alignas(64) std::array<std::array<PageWord, kPagePolicyWords>, kNamespacesMax> policies;
  alignas(64) std::array<PageWord, kSlots> slots;
};
inline constexpr std::uint64_t kPageRevoked = 1ull << 63;
// The layout is an interface between builds: what moves here must raise kPageLayoutVersion.
static_assert(offsetof(PageLayout, fresh_at) == 128 && offsetof(PageLayout, session) == 192 &&
              offsetof(PageLayout, generation) == 256 && offsetof(PageLayout, policies) == 1280 &&
              offsetof(PageLayout, slots) == 1280 + 64 * 192 && sizeof(PageLayout) == 1280 + 64 * 192 + 8 * 65'536);

}  // namespace tidelock
