// For tests: bytes that nothing makes smaller, the same for the same seed.
#pragma once

#include "base/bytes.h"
#include "base/rng.h"

namespace tidelock {

inline Bytes noise(std::uint64_t seed, std::size_t size) {
  Rng rng(seed);
  Bytes bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(rng.next());
  return bytes;
}

}  // namespace tidelock
