// C5: time is integer nanoseconds of the elapsed clock H (C1), saturating. Every helper names the side it rounds to:
// `stretch` towards "older data", `shrink` towards "earlier expiry".
#pragma once

#include <cstdint>
#include <limits>

namespace tidelock {

using Nanos = std::int64_t;

inline constexpr Nanos kNever = std::numeric_limits<Nanos>::min();    // before every instant: no proof, no lease
inline constexpr Nanos kForever = std::numeric_limits<Nanos>::max();  // after every instant; as a bound: unbounded

inline constexpr Nanos kMicrosecond = 1'000;
inline constexpr Nanos kMillisecond = 1'000'000;
inline constexpr Nanos kSecond = 1'000'000'000;

constexpr Nanos saturating_add(Nanos a, Nanos b) {
  Nanos sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return a > 0 ? kForever : kNever;
  return sum;
}
constexpr Nanos saturating_sub(Nanos a, Nanos b) {
  Nanos difference = 0;
  if (__builtin_sub_overflow(a, b, &difference)) return a >= 0 ? kForever : kNever;
  return difference;
}

// duration * (1 + 2 rho), rounded up: a wait that is surely long enough, an age that is surely not too small.
constexpr Nanos stretch(Nanos duration, std::uint32_t rho_ppm) {
  if (duration <= 0) return 0;
  if (duration == kForever) return kForever;
  if (duration <= kForever / 4'000'000 && rho_ppm <= 500'000u) {  // the same in 64 bits: every read on the hot path
    return (duration * (1'000'000 + 2 * static_cast<Nanos>(rho_ppm)) + 999'999) / 1'000'000;
  }
  const unsigned __int128 scaled = static_cast<unsigned __int128>(duration) * (1'000'000u + 2ull * rho_ppm);
  const unsigned __int128 rounded = (scaled + 999'999u) / 1'000'000u;
  return rounded > static_cast<unsigned __int128>(kForever) ? kForever : static_cast<Nanos>(rounded);
}

// duration * (1 - 2 rho), rounded down: a span that is surely over no later on any sound clock.
constexpr Nanos shrink(Nanos duration, std::uint32_t rho_ppm) {
  if (duration <= 0 || rho_ppm >= 500'000u) return 0;
  return static_cast<Nanos>(static_cast<unsigned __int128>(duration) * (1'000'000u - 2ull * rho_ppm) / 1'000'000u);
}

// F3: U = (now - fresh_at)(1 + 2 rho). Unbounded without a proof.
constexpr Nanos staleness_bound(Nanos now, Nanos fresh_at, std::uint32_t rho_ppm) {
  if (fresh_at == kNever) return kForever;
  return stretch(saturating_sub(now, fresh_at), rho_ppm);
}

}  // namespace tidelock
