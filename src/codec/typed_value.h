// A stored value is a string as it is, or something with structure. Which of the two is told by its first bytes, so
// that every value written before there were hashes is what it was, and any bytes can be a string.
//
// Threads: any. Cost: kind_of and string_of look at five bytes and copy nothing.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace tidelock {

enum class ValueKind : std::uint8_t { kString, kHash };
constexpr ValueKind last_enumerator(ValueKind) { return ValueKind::kHash; }

// NUL "TLv" and a letter: 'h' a hash follows, 's' a string that itself begins with NUL "TLv". All else is a string.
inline constexpr BytesView kTypedValueMark{"\0TLv", 4};
inline constexpr std::size_t kTypedValueHeadBytes = 5;

ValueKind kind_of(BytesView stored);
// The string that `stored`, of kind kString, stands for; a view into it.
BytesView string_of(BytesView stored);
// How a string is stored.
Bytes stored_string(BytesView text);

}  // namespace tidelock
