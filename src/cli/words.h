// Numbers and bytes as people read them.
//
// Threads: pure. What states a promise is rounded against us: an age up, what is left of a lease down.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/time.h"

namespace tidelock {

enum class Rounding : std::uint8_t { kUp, kDown };

// "0 us", "850 us", "3.2 ms", "1.5 s", "12 min", "5.2 h", "3.4 days"; kForever: "unbounded". Negative counts as 0.
std::string duration_words(Nanos duration, Rounding rounding = Rounding::kUp);
std::string bytes_words(std::uint64_t bytes);  // "12 B", "3.4 KiB", "1.0 GiB"
std::string count_words(double count);         // "7", "0.3", "12.3k", "4.0M"

// UTF-8 without control characters but line feeds and tabs: what may be shown on a terminal as it is.
bool is_plain_text(std::string_view bytes);
// As it is, or with everything that is not printable ASCII as \xNN: bytes of others must not drive this terminal.
std::string shown_text(std::string_view bytes);

}  // namespace tidelock
