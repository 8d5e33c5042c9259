// What an edge leaves beside the models for the apps of its gateway: the mark of a verified version, the flag of trust
// files that have expired, and the list of versions that were recalled, one a line (M7).
//
// Threads: any. Cost of is_listed: one pass over the list.
#pragma once

#include <string_view>

namespace tidelock {

inline constexpr char kVerifiedMark[] = "tidelock.verified";  // in a version's folder: M4 held here
inline constexpr char kExpiredFlag[] = ".trust-expired";      // beside the models' folders: X2
inline constexpr char kRecalledList[] = "tidelock.recalled";  // in a model's folder: M7

constexpr bool is_listed(std::string_view list, std::string_view version) {
  while (!list.empty()) {
    const std::size_t end = list.find('\n');
    if (list.substr(0, end) == version) return true;
    if (end == std::string_view::npos) break;
    list.remove_prefix(end + 1);
  }
  return false;
}
static_assert(is_listed("1.0.0\n2.0.0\n", "2.0.0") && !is_listed("1.0.0\n", "1.0") && !is_listed("", "1.0.0"));

}  // namespace tidelock
