// Integers as Redis reads them: an optional '-', no leading zero, no '+', no blank, within 64 bits. "-0" is none.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace tidelock {

std::optional<std::int64_t> parse_resp_integer(std::string_view text);

// Equal without telling, by the time it takes, where the first difference is. The length of `given` may show.
bool constant_time_equal(std::string_view given, std::string_view secret);

// ASCII only.
bool equal_ignoring_case(std::string_view a, std::string_view b);

}  // namespace tidelock
