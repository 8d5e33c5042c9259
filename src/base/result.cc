#include "base/result.h"

namespace tidelock {
std::string_view code_name(Code code) {
  switch (code) {
    case Code::kOk: return "ok";
    case Code::kUnavailable: return "unavailable";
    case Code::kNotActive: return "not_active";
    case Code::kMaybeApplied: return "maybe_applied";
    case Code::kConflict: return "conflict";
    case Code::kNotFound: return "not_found";
    case Code::kInvalid: return "invalid";
    case Code::kBusy: return "busy";
    case Code::kStale: return "stale";
    case Code::kCorrupt: return "corrupt";
    case Code::kDenied: return "denied";
  }
  return "unknown";
}
}  // namespace tidelock
