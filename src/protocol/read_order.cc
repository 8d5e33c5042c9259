#include "protocol/read_order.h"

namespace tidelock {

std::string_view must_ask_name(MustAsk reason) {
  switch (reason) {
    case MustAsk::kNo: return "no";
    case MustAsk::kMiss: return "miss";
    case MustAsk::kBusy: return "busy";
    case MustAsk::kDetached: return "detached";
    case MustAsk::kClock: return "clock";
    case MustAsk::kToken: return "token";
    case MustAsk::kNotStrong: return "not_strong";
    case MustAsk::kNoLease: return "no_lease";
    case MustAsk::kBlocked: return "blocked";
    case MustAsk::kUnverified: return "unverified";
    case MustAsk::kTooOld: return "too_old";
    case MustAsk::kInvalidKey: return "invalid_key";
  }
  return "unknown";
}

}  // namespace tidelock
