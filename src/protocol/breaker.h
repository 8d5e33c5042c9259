// CircuitBreaker: whether a namespace's models may be run on this gateway, by how their frames went (DESIGN 9, M10).
//
//   closed     frames run. Too many of the window failed, or came late: open
//   open       frames are refused at once (overloaded), so that a gateway that cannot keep up sheds work instead of
//              queueing it. After open_ns: half-open
//   half-open  a few frames run as probes (each handle lets one through now and then). `probes` good ones: closed; one
//              that is not: open again
//
// A failed frame counts as failed, whatever it took; any other that took late_after_ns or longer as late. What is told
// while open speaks of frames that began before: it decides nothing. Another version in force gets a chance of its own:
// an open breaker goes half-open at once, a closed one forgets the frames of the version before.
//
// Pure: an event with its time in, what to show out. Cost: O(kSlices). Time that goes back is taken for no time.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "base/time.h"

namespace tidelock {

enum class Breaker : std::uint8_t { kClosed, kOpen, kHalfOpen };
std::string_view breaker_name(Breaker state);  // "closed", "open", "half-open"

struct BreakerSettings {
  Nanos window_ns = 10 * kSecond;     // frames told within it count; at least kSlices milliseconds
  std::uint32_t frames_min = 20;      // of the window; fewer decide nothing
  std::uint32_t failed_percent = 50;  // of the window's frames: so many or more open it; 0: failures never do
  Nanos late_after_ns = 0;            // a frame that took so long is late; 0: none is
  std::uint32_t late_percent = 50;    // as failed_percent
  Nanos open_ns = 5 * kSecond;        // how long frames are refused before the first probe
  std::uint32_t probes = 5;           // good frames that close it again; at least 1
  friend bool operator==(const BreakerSettings&, const BreakerSettings&) = default;
};
// Names the field as `breaker.NAME` of the configuration, the value and what would be right.
Result<void> validate_breaker(const BreakerSettings& settings);

struct BreakerEvent {
  struct Tick {};
  struct Frames {  // that an app told of; `failed` of `count`, `late` of those that did not fail
    std::uint64_t count = 0, failed = 0, late = 0;
  };
  struct Renewed {};  // another version came into force
  Nanos now = 0;
  std::variant<Tick, Frames, Renewed> what;
};
struct BreakerActions {
  bool changed = false;      // of state
  std::string why;           // with `changed`: for logs
  Nanos wake_at = kForever;  // a Tick no later than this
};

class CircuitBreaker {
 public:
  static constexpr std::size_t kSlices = 10;
  explicit CircuitBreaker(const BreakerSettings& settings) : settings_(settings) {}

  void step(const BreakerEvent& event, BreakerActions& out);

  Breaker state() const { return state_; }
  std::uint64_t opened() const { return opened_; }  // how often
  // Of the window, as of the last step.
  BreakerEvent::Frames window() const;

 private:
  struct Slice {
    std::int64_t number = -1;  // of its time, in slices since 0
    BreakerEvent::Frames frames;
  };
  void add(const BreakerEvent::Frames& frames);
  Nanos probed_until() const { return saturating_add(since_, std::max(settings_.window_ns, settings_.open_ns)); }
  void drop_old();
  void go(Breaker state, std::string why, BreakerActions& out);
  void judge(BreakerActions& out);

  const BreakerSettings settings_;
  Breaker state_ = Breaker::kClosed;
  Nanos now_ = 0;
  Nanos since_ = 0;         // of the state
  std::uint64_t good_ = 0;  // probes, half-open
  std::uint64_t opened_ = 0;
  std::array<Slice, kSlices> slices_;
};

}  // namespace tidelock
