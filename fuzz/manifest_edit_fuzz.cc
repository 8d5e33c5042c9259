// Entries of RocksDB's manifest, read to know which logs it still needs. Whatever the bytes, an entry that ends early
// says nothing, and what may be ignored changes nothing.
#include "fuzz/fuzz.h"
#include "store/kv/manifest_edit.h"

namespace tidelock::fuzz {

std::vector<Seed> seeds() {
  const Bytes least("\x0A\xB8\x08", 3);
  const Bytes file("\x67\x00\x50\xF7\x78\x02\x61\x62\x02\x63\x64\x07\x09\x06\x01\x78\x01", 17);
  return {{"least", least},
          {"flush", Bytes("\x02\xB8\x08\x09\x00\x03\x7F\x04\x7F", 9) + file + least + Bytes("\x88\x40\x02\xB8\x08", 5)},
          {"families", Bytes("\x01\x03\x63\x6D\x70\xC8\x01\x03\xC9\x01\x05state", 17) + least}};
}

void run(BytesView input) {
  const std::uint64_t least = min_log_to_keep(input);
  const Bytes ignorable("\x88\x40\x01\x7F", 4);
  TIDELOCK_ASSERT(min_log_to_keep(ignorable + Bytes(input)) == least);
  if (least == 0) return;
  TIDELOCK_ASSERT(min_log_to_keep(Bytes(input) + Bytes("\x4D", 1)) == 0);  // a tag that nobody knows
}

}  // namespace tidelock::fuzz
