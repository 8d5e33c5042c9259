// Numbers as Redis reads and writes them.
//
// Threads: any; pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tidelock {

// An optional '-', no leading zero, no '+', no blank, within 64 bits. "-0" is none.
std::optional<std::int64_t> parse_resp_integer(std::string_view text);

// A number of INCRBYFLOAT and HINCRBYFLOAT: whatever strtold reads whole ("3.0e3", "0x10", "inf"), but no blank before
// it, no NaN, and nothing beyond a long double. At most kRespFloatBytesMax - 1 bytes.
inline constexpr std::size_t kRespFloatBytesMax = 5 * 1024;
std::optional<long double> parse_resp_float(std::string_view text);
// Seventeen digits behind the point, without the zeros at their end: "3200", "10.6", "-0.5", never "-0".
std::string resp_float_text(long double value);

// Equal without telling, by the time it takes, where the first difference is. The length of `given` may show.
bool constant_time_equal(std::string_view given, std::string_view secret);

// ASCII only.
bool equal_ignoring_case(std::string_view a, std::string_view b);

}  // namespace tidelock
