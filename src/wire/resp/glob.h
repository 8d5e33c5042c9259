// Glob patterns as Redis reads them: `*`, `?`, `[a-c]`, `[^a]`, backslash. Without recursion and with a limit on work
// (X6), so that `a*a*a*a*b` costs what the caller allows.
//
// Threads: any; pure. Cost: at most |pattern| * |text| steps, and never more than `*work`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tidelock {

inline constexpr std::size_t kGlobPatternBytesMax = 4096;
inline constexpr std::uint64_t kGlobWorkDefault = 10'000'000;  // steps for one KEYS or SCAN call, about 20 ms

// Steps are taken from `*work`. When it reaches 0 the answer is false and means nothing: the caller refuses the
// request.
bool glob_match(std::string_view pattern, std::string_view text, std::uint64_t* work, bool ignore_case = false);

}  // namespace tidelock
