// Namespaces (DESIGN 2) and the settings of a cluster (A2, A5): ledger state that hubs and edges share.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace tidelock {

// Limits on what comes from outside.
inline constexpr std::size_t kKeyBytesMax = 4096;
inline constexpr std::size_t kValueBytesMax = 1u << 20;
inline constexpr std::size_t kKeysPerWriteMax = 1024;
inline constexpr std::size_t kNamespacesMax = 64;
inline constexpr std::size_t kNodeIdBytesMax = 64;
inline constexpr std::size_t kPushValueBytesMax =
    4096;  // a record carries a value up to this size instead of only a hint

enum class Consistency : std::uint8_t { kEventual, kBounded, kStrong };
enum class Scope : std::uint8_t { kGateway, kSite, kRegion };  // only kRegion crosses the wide-area link
enum class WriteMode : std::uint8_t { kLocal, kThrough, kBehind };
// F3: what is tried, in order and within one deadline, when a contract cannot be met from memory.
enum class OnStale : std::uint8_t { kRefresh, kWait, kFallback, kFail };
constexpr Consistency last_enumerator(Consistency) { return Consistency::kStrong; }
constexpr Scope last_enumerator(Scope) { return Scope::kRegion; }
constexpr WriteMode last_enumerator(WriteMode) { return WriteMode::kBehind; }
constexpr OnStale last_enumerator(OnStale) { return OnStale::kFail; }

struct Namespace {
  std::string prefix;  // the empty prefix is the policy of every other key
  Consistency consistency = Consistency::kEventual;
  Nanos bound_ns = 0;        // kBounded: the default contract of a read that states none
  Nanos bound_floor_ns = 0;  // kBounded: the tightest bound a reader may ask for
  Scope scope = Scope::kGateway;
  WriteMode write_mode = WriteMode::kLocal;
  Nanos flush_age_ns = 0;  // kBehind: a write is sent to the hub at most this long after its acknowledgement
  Nanos ttl_ns = 0;        // default time to live; 0 = none
  std::vector<OnStale> on_stale = {OnStale::kRefresh, OnStale::kWait, OnStale::kFallback, OnStale::kFail};
  Nanos deadline_ns = 1 * kSecond;   // F3: one deadline for the whole list
  Nanos fallback_cap_ns = kForever;  // F3: no fallback older than this

  friend bool operator==(const Namespace&, const Namespace&) = default;
  template <class A>
  void fields(A& a) {
    a(prefix, consistency, bound_ns, bound_floor_ns, scope, write_mode, flush_age_ns, ttl_ns, on_stale, deadline_ns,
      fallback_cap_ns);
  }
};

struct ClusterSettings {
  Nanos authority_window_ns = 300 * kMillisecond;  // A2
  Nanos lease_long_ns = 30 * kSecond;              // A5
  Nanos lease_short_ns = 2 * kSecond;              // A5
  Nanos lease_margin_ns = 5 * kMillisecond;        // F4
  std::uint32_t rho_ppm = 200;                     // C3

  friend bool operator==(const ClusterSettings&, const ClusterSettings&) = default;
  template <class A>
  void fields(A& a) {
    a(authority_window_ns, lease_long_ns, lease_short_ns, lease_margin_ns, rho_ppm);
  }
};

// The configuration that ships (DESIGN 2).
std::vector<Namespace> default_namespaces();

// The namespace with the longest matching prefix. `namespaces` holds the empty prefix (validate_namespaces sees to it).
const Namespace& namespace_of(const std::vector<Namespace>& namespaces, std::string_view key);
// Its position in `namespaces`: the number under which page and arena know it.
std::uint16_t namespace_number(const std::vector<Namespace>& namespaces, std::string_view key);

// Names the namespace, the field, the value and what would be right.
Result<void> validate_namespaces(const std::vector<Namespace>& namespaces);
Result<void> validate_settings(const ClusterSettings& settings);
// A key is 1..kKeyBytesMax bytes.
Result<void> validate_key(std::string_view key);
Result<void> validate_value(std::string_view value);

}  // namespace tidelock
