#include "protocol/policy.h"

#include <algorithm>
#include <set>
#include <string>

#include "base/assert.h"

namespace tidelock {
namespace {

constexpr Nanos kHour = 3600 * kSecond;
constexpr Nanos kBoundMax = 24 * kHour;
constexpr Nanos kFlushAgeMax = kHour;
constexpr Nanos kTtlMax = 10 * 366 * 24 * kHour;  // far from overflow when added to any clock
constexpr Nanos kDeadlineMax = kHour;
constexpr std::size_t kPrefixBytesMax = 256;

// Durations in messages as people write them.
std::string text(Nanos duration) {
  if (duration == kForever) return "forever";
  if (duration % kSecond == 0) return std::to_string(duration / kSecond) + " s";
  if (duration % kMillisecond == 0) return std::to_string(duration / kMillisecond) + " ms";
  return std::to_string(duration) + " ns";
}

tl::unexpected<Error> wrong(const std::string& field, const std::string& value, const std::string& right) {
  return fail(Code::kInvalid, field + " is " + value + "; it must be " + right);
}

const char* word(Scope scope) {
  switch (scope) {
    case Scope::kGateway: return "gateway";
    case Scope::kSite: return "site";
    case Scope::kRegion: return "region";
  }
  return "?";
}
const char* word(WriteMode mode) {
  switch (mode) {
    case WriteMode::kLocal: return "local";
    case WriteMode::kThrough: return "through";
    case WriteMode::kBehind: return "behind";
  }
  return "?";
}

Result<void> in_range(const std::string& field, Nanos value, Nanos low, Nanos high) {
  if (value >= low && value <= high) return {};
  return wrong(field, text(value), text(low) + " to " + text(high));
}

// Who waits for the network (DESIGN 3) decides which writes and scopes make sense.
Result<void> validate_consistency(const Namespace& ns, const std::string& name) {
  if (ns.consistency != Consistency::kBounded) {
    if (ns.bound_ns != 0) return wrong(name + "bound_ns", text(ns.bound_ns), "0: only a bounded namespace has a bound");
    if (ns.bound_floor_ns != 0) {
      return wrong(name + "bound_floor_ns", text(ns.bound_floor_ns), "0: only a bounded namespace has a floor");
    }
  }
  if (ns.consistency == Consistency::kEventual) return {};
  if (ns.scope != Scope::kRegion) {  // a proof comes from the hub, and only region values cross to it
    return wrong(name + "scope", word(ns.scope), "region for a strong or bounded namespace");
  }
  if (ns.consistency == Consistency::kStrong) {
    if (ns.write_mode != WriteMode::kThrough) {
      return wrong(name + "write_mode", word(ns.write_mode),
                   "through for a strong namespace: its writer waits for every reader");
    }
    return {};
  }
  if (auto ok = in_range(name + "bound_ns", ns.bound_ns, kMillisecond, kBoundMax); !ok) return ok;
  if (ns.bound_floor_ns < kMillisecond || ns.bound_floor_ns > ns.bound_ns) {
    return wrong(name + "bound_floor_ns", text(ns.bound_floor_ns), "1 ms to the bound, " + text(ns.bound_ns));
  }
  return {};
}

Result<void> validate_writes(const Namespace& ns, const std::string& name) {
  switch (ns.write_mode) {
    case WriteMode::kLocal:
      if (ns.scope == Scope::kRegion) {
        return wrong(name + "write_mode", "local", "through or behind for scope region: a local write never leaves");
      }
      break;
    case WriteMode::kThrough:
      if (ns.scope != Scope::kRegion) return wrong(name + "scope", word(ns.scope), "region for write mode through");
      break;
    case WriteMode::kBehind:
      if (ns.scope == Scope::kGateway) return wrong(name + "scope", "gateway", "site or region for write mode behind");
      return in_range(name + "flush_age_ns", ns.flush_age_ns, kMillisecond, kFlushAgeMax);
  }
  if (ns.flush_age_ns != 0) {
    return wrong(name + "flush_age_ns", text(ns.flush_age_ns), "0: only a write-behind namespace flushes");
  }
  return {};
}

Result<void> validate_namespace(const Namespace& ns) {
  const std::string name = "namespace '" + ns.prefix + "': ";
  if (ns.prefix.size() > kPrefixBytesMax) {
    return fail(Code::kInvalid, "namespace '" + ns.prefix.substr(0, 32) + "...': prefix is " +
                                    std::to_string(ns.prefix.size()) + " bytes; it must be at most " +
                                    std::to_string(kPrefixBytesMax));
  }
  if (auto ok = validate_consistency(ns, name); !ok) return ok;
  if (auto ok = validate_writes(ns, name); !ok) return ok;
  if (auto ok = in_range(name + "ttl_ns", ns.ttl_ns, 0, kTtlMax); !ok) return ok;
  if (auto ok = in_range(name + "deadline_ns", ns.deadline_ns, 0, kDeadlineMax); !ok) return ok;
  if (ns.fallback_cap_ns <= 0) return wrong(name + "fallback_cap_ns", text(ns.fallback_cap_ns), "above 0, or forever");
  if (ns.on_stale.empty()) return wrong(name + "on_stale", "empty", "a list of refresh, wait, fallback, fail");
  if (std::set<OnStale>(ns.on_stale.begin(), ns.on_stale.end()).size() != ns.on_stale.size()) {
    return wrong(name + "on_stale", "a list that names a step twice", "a list of different steps");
  }
  return {};
}

}  // namespace

std::vector<Namespace> default_namespaces() {
  Namespace model;
  model.prefix = "model:";
  model.consistency = Consistency::kStrong;
  model.scope = Scope::kRegion;
  model.write_mode = WriteMode::kThrough;

  Namespace feature;
  feature.prefix = "feature:";
  feature.consistency = Consistency::kBounded;
  feature.bound_ns = 5 * kSecond;
  feature.bound_floor_ns = 500 * kMillisecond;
  feature.scope = Scope::kRegion;
  feature.write_mode = WriteMode::kBehind;
  feature.flush_age_ns = 1 * kSecond;

  Namespace bulk;
  bulk.prefix = "bulk:";
  bulk.scope = Scope::kSite;
  bulk.write_mode = WriteMode::kBehind;
  bulk.flush_age_ns = 5 * kSecond;
  bulk.ttl_ns = 30 * kSecond;

  Namespace config;  // thresholds, limits, switches: small, written through, read from memory
  config.prefix = "config:";
  config.consistency = Consistency::kBounded;
  config.bound_ns = 5 * kSecond;
  config.bound_floor_ns = 500 * kMillisecond;
  config.scope = Scope::kRegion;
  config.write_mode = WriteMode::kThrough;

  return {model, feature, bulk, config, Namespace{}};
}

// At most 64 prefixes, five in what ships: a scan beats any tree.
std::uint16_t namespace_number(const std::vector<Namespace>& namespaces, std::string_view key) {
  std::size_t best = namespaces.size();
  for (std::size_t i = 0; i < namespaces.size(); ++i) {
    if (!key.starts_with(namespaces[i].prefix)) continue;
    if (best == namespaces.size() || namespaces[i].prefix.size() > namespaces[best].prefix.size()) best = i;
  }
  TIDELOCK_ASSERT(best < namespaces.size());
  return static_cast<std::uint16_t>(best);
}

const Namespace& namespace_of(const std::vector<Namespace>& namespaces, std::string_view key) {
  return namespaces[namespace_number(namespaces, key)];
}

Result<void> validate_namespaces(const std::vector<Namespace>& namespaces) {
  if (namespaces.empty() || namespaces.size() > kNamespacesMax) {
    return wrong("number of namespaces", std::to_string(namespaces.size()), "1 to " + std::to_string(kNamespacesMax));
  }
  std::set<std::string_view> prefixes;
  for (const Namespace& ns : namespaces) {
    if (auto ok = validate_namespace(ns); !ok) return ok;
    if (!prefixes.insert(ns.prefix).second) {
      return fail(Code::kInvalid, "namespace '" + ns.prefix + "' is defined twice; each prefix must be unique");
    }
  }
  if (!prefixes.contains("")) {
    return fail(Code::kInvalid, "no namespace has the empty prefix; one must, for every key that matches no other");
  }
  return {};
}

Result<void> validate_settings(const ClusterSettings& settings) {
  if (auto ok = in_range("authority_window_ns", settings.authority_window_ns, 50 * kMillisecond, 10 * kSecond); !ok) {
    return ok;
  }
  if (auto ok = in_range("lease_long_ns", settings.lease_long_ns, 100 * kMillisecond, kHour); !ok) return ok;
  if (auto ok = in_range("lease_short_ns", settings.lease_short_ns, 100 * kMillisecond, kHour); !ok) return ok;
  if (settings.lease_short_ns > settings.lease_long_ns) {
    return wrong("lease_short_ns", text(settings.lease_short_ns),
                 "at most lease_long_ns, " + text(settings.lease_long_ns));
  }
  if (settings.lease_margin_ns < 0 || settings.lease_margin_ns > settings.lease_short_ns / 2) {
    return wrong("lease_margin_ns", text(settings.lease_margin_ns),
                 "0 to half of lease_short_ns, " + text(settings.lease_short_ns / 2));
  }
  if (settings.rho_ppm == 0 || settings.rho_ppm >= 100'000) {  // C3: no clock is exact, and 10 % is no clock
    return wrong("rho_ppm", std::to_string(settings.rho_ppm), "1 to 99999");
  }
  return {};
}

Result<void> validate_key(std::string_view key) {
  if (!key.empty() && key.size() <= kKeyBytesMax) return {};
  return fail(Code::kInvalid, "key is " + std::to_string(key.size()) + " bytes; it must be 1 to " +
                                  std::to_string(kKeyBytesMax) + " bytes");
}

Result<void> validate_value(std::string_view value) {
  if (value.size() <= kValueBytesMax) return {};
  return fail(Code::kInvalid, "value is " + std::to_string(value.size()) + " bytes; it must be at most " +
                                  std::to_string(kValueBytesMax) + " bytes");
}

}  // namespace tidelock
