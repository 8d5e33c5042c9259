// Sizes of a run, from the environment: the tests of the suite are slices of what runs overnight.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace tidelock::stores {

inline std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

}  // namespace tidelock::stores
