// The target under libFuzzer, which brings main() and lets coverage choose the inputs (preset `fuzz`).
#include <cstddef>
#include <cstdint>

#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tidelock::fuzz::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
