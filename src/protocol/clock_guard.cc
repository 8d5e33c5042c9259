// The hub read its clock somewhere between our send and our receipt. So for two marks a, b of one hub boot, with
// hub = b.hub_h - a.hub_h, our own clock advanced between the two readings by at least b.sent - a.received and at most
// b.received - a.sent. Sound clocks both run within 1 +- rho of true time, so hub / own lies within (1 - rho)/(1 + rho)
// and (1 + rho)/(1 - rho): DESIGN's 1 +- 2 rho, written out exactly so that honest clocks at their limits never trip
// it. A long round trip widens the interval by itself. Nothing needs offsets.

#include "protocol/clock_guard.h"

#include <algorithm>

namespace tidelock {
namespace {

using Wide = __int128;

std::int64_t ppm(Nanos hub, Nanos own) {  // (hub / own - 1) in millionths, clamped
  const Wide scaled = (static_cast<Wide>(hub) - own) * 1'000'000 / own;
  return static_cast<std::int64_t>(std::clamp<Wide>(scaled, -1'000'000, 1'000'000'000));
}

// Whether two marks bound the rate less than `known` does, as nearly all do: to say by how much costs two divisions of
// 128 bits.
bool surely_wider(Wide hub, Wide own_low, Wide own_high, const ClockGuard::Rate& known) {
  if (hub / 4 > own_low) return false;
  const double low = static_cast<double>(own_low), high = static_cast<double>(own_high);
  const double width_ppm = 1e6 * static_cast<double>(hub) * (high - low) / (low * high);
  return width_ppm > static_cast<double>(known.high_ppm - known.low_ppm) + 3;  // each of these was rounded
}

}  // namespace

bool ClockGuard::on_epoch(std::uint64_t epoch) {
  const bool changed = epoch_ && *epoch_ != epoch;
  epoch_ = epoch;
  if (changed) disrupted();
  return changed;
}

void ClockGuard::disrupted() {
  hub_boot_ = {};
  levels_ = {};
  rate_.reset();
}

void ClockGuard::reset() {
  disrupted();
  fault_ = false;
}

bool ClockGuard::impossible(const Seen& a, const Seen& b) {
  const Wide hub = static_cast<Wide>(b.hub_h) - a.hub_h;
  const Wide own_low = static_cast<Wide>(b.sent_at) - a.received_at;
  const Wide own_high = static_cast<Wide>(b.received_at) - a.sent_at;
  const Wide slow = 1'000'000 - static_cast<Wide>(rho_ppm_);
  const Wide fast = 1'000'000 + static_cast<Wide>(rho_ppm_);
  const bool hub_too_fast = hub * slow > own_high * fast;
  const bool hub_too_slow = hub * fast < own_low * slow;
  if (own_low > 0 && hub >= 0 && !hub_too_fast && !hub_too_slow &&
      !(rate_ && surely_wider(hub, own_low, own_high, *rate_))) {
    const Rate seen{ppm(static_cast<Nanos>(hub), static_cast<Nanos>(own_high)),
                    ppm(static_cast<Nanos>(hub), static_cast<Nanos>(own_low))};
    if (!rate_ || seen.high_ppm - seen.low_ppm <= rate_->high_ppm - rate_->low_ppm) rate_ = seen;
  }
  return hub_too_fast || hub_too_slow;
}

bool ClockGuard::on_mark(Boot hub_boot, Nanos hub_h, Nanos sent_at, Nanos received_at) {
  if (received_at < sent_at) {  // our own clock went back: no sound clock does (C1)
    const bool found = !fault_;
    fault_ = true;
    return found;
  }
  if (hub_boot != hub_boot_) {
    disrupted();
    hub_boot_ = hub_boot;
  }
  const Seen seen{hub_h, sent_at, received_at};
  bool bad = false;
  for (const Level& level : levels_) {
    if (level.older) bad = impossible(*level.older, seen) || bad;
    if (level.newer) bad = impossible(*level.newer, seen) || bad;
  }
  Nanos span = kFirstSpan;
  for (Level& level : levels_) {
    if (!level.newer || saturating_sub(sent_at, level.newer->sent_at) >= span) {
      level.older = level.newer;
      level.newer = seen;
    }
    span *= 2;
  }
  const bool found = bad && !fault_;
  fault_ = fault_ || bad;
  return found;
}

}  // namespace tidelock
