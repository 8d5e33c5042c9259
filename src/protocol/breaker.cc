#include "protocol/breaker.h"

#include <algorithm>
#include <utility>

namespace tidelock {
namespace {

std::string share_words(std::uint64_t part, std::uint64_t whole) {
  return std::to_string(part) + " of " + std::to_string(whole) + " frames";
}
bool reached(std::uint64_t part, std::uint64_t whole, std::uint32_t percent) {
  return percent > 0 && part > 0 && part * 100 >= whole * percent;
}

}  // namespace

std::string_view breaker_name(Breaker state) {
  switch (state) {
    case Breaker::kClosed: return "closed";
    case Breaker::kOpen: return "open";
    case Breaker::kHalfOpen: return "half-open";
  }
  return "closed";
}

Result<void> validate_breaker(const BreakerSettings& settings) {
  const auto wrong = [](const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
    return fail(Code::kInvalid, std::string("breaker.") + name + " = " + std::to_string(value) + ": must be " +
                                    std::to_string(least) + " to " + std::to_string(most));
  };
  const struct {
    const char* name;
    std::int64_t value, least, most;
  } fields[] = {
      {"window_ms", settings.window_ns / kMillisecond, 1'000, 3'600'000},
      {"frames_min", settings.frames_min, 1, 1'000'000},
      {"failed_percent", settings.failed_percent, 0, 100},
      {"late_after_ms", settings.late_after_ns / kMillisecond, 0, 3'600'000},
      {"late_percent", settings.late_percent, 0, 100},
      {"open_ms", settings.open_ns / kMillisecond, 100, 3'600'000},
      {"probes", settings.probes, 1, 1'000},
  };
  for (const auto& field : fields) {
    if (field.value < field.least || field.value > field.most)
      return wrong(field.name, field.value, field.least, field.most);
  }
  return {};
}

BreakerEvent::Frames CircuitBreaker::window() const {
  BreakerEvent::Frames sum;
  for (const Slice& slice : slices_) {
    sum.count += slice.frames.count;
    sum.failed += slice.frames.failed;
    sum.late += slice.frames.late;
  }
  return sum;
}

void CircuitBreaker::drop_old() {
  const std::int64_t now = now_ / (settings_.window_ns / static_cast<Nanos>(kSlices));
  for (Slice& slice : slices_) {
    if (slice.number <= now - static_cast<std::int64_t>(kSlices)) slice = Slice{};
  }
}

void CircuitBreaker::add(const BreakerEvent::Frames& frames) {
  const std::int64_t number = now_ / (settings_.window_ns / static_cast<Nanos>(kSlices));
  Slice& slice = slices_[static_cast<std::size_t>(number) % kSlices];
  if (slice.number != number) slice = Slice{number, {}};
  slice.frames.count += frames.count;
  slice.frames.failed += frames.failed;
  slice.frames.late += frames.late;
}

void CircuitBreaker::go(Breaker state, std::string why, BreakerActions& out) {
  state_ = state;
  since_ = now_;
  good_ = 0;
  slices_ = {};
  if (state == Breaker::kOpen) ++opened_;
  out.changed = true;
  out.why = std::move(why);
}

void CircuitBreaker::judge(BreakerActions& out) {
  const BreakerEvent::Frames sum = window();
  if (sum.count < settings_.frames_min) return;
  if (reached(sum.failed, sum.count, settings_.failed_percent)) {
    go(Breaker::kOpen, share_words(sum.failed, sum.count) + " failed", out);
  } else if (settings_.late_after_ns > 0 && reached(sum.late, sum.count, settings_.late_percent)) {
    go(Breaker::kOpen, share_words(sum.late, sum.count) + " were late", out);
  }
}

void CircuitBreaker::step(const BreakerEvent& event, BreakerActions& out) {
  now_ = std::max(now_, event.now);
  drop_old();
  if (state_ == Breaker::kOpen && now_ >= saturating_add(since_, settings_.open_ns)) {
    go(Breaker::kHalfOpen, "it was open for its time", out);
  } else if (state_ == Breaker::kHalfOpen && good_ == 0 && now_ >= probed_until()) {
    // Whoever failed has gone, or nobody tells how frames went: there is nothing to protect from.
    go(Breaker::kClosed, "nobody told of a frame that probed", out);
  }
  if (std::holds_alternative<BreakerEvent::Renewed>(event.what)) {
    slices_ = {};
    good_ = 0;
    if (state_ == Breaker::kOpen) go(Breaker::kHalfOpen, "another version came into force", out);
  }
  if (const auto* frames = std::get_if<BreakerEvent::Frames>(&event.what); frames != nullptr && frames->count > 0) {
    BreakerEvent::Frames told = *frames;
    told.failed = std::min(told.failed, told.count);
    told.late = settings_.late_after_ns > 0 ? std::min(told.late, told.count - told.failed) : 0;
    if (state_ == Breaker::kClosed) {
      add(told);
      judge(out);
    } else if (state_ == Breaker::kHalfOpen) {
      const std::uint64_t bad =
          (settings_.failed_percent > 0 ? told.failed : 0) + (settings_.late_percent > 0 ? told.late : 0);
      if (bad > 0) {
        go(Breaker::kOpen, share_words(bad, told.count) + " that probed failed or were late", out);
      } else if (good_ += told.count; good_ >= settings_.probes) {
        go(Breaker::kClosed, share_words(good_, good_) + " that probed went well", out);
      }
    }
  }
  out.wake_at = state_ == Breaker::kOpen                     ? saturating_add(since_, settings_.open_ns)
                : state_ == Breaker::kHalfOpen && good_ == 0 ? probed_until()
                                                             : kForever;
}

}  // namespace tidelock
