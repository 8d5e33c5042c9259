// A parser with a planted fault, which a test expects to be found: it shows that a smoke that passes has looked.
#include "fuzz/fuzz.h"

namespace tidelock::fuzz {

std::vector<Seed> seeds() {
  return {{"good",
           "\x04"
           "abcd"},
          {"short",
           "\x02"
           "ab"}};
}

void run(BytesView input) {
  if (input.empty()) return;
  const auto size = static_cast<unsigned char>(input[0]);
  const bool the_planted_fault = size > input.size() - 1;  // it would trust the length
  TIDELOCK_ASSERT(!the_planted_fault);
}

}  // namespace tidelock::fuzz
