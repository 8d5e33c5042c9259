// Compressed batches of edges: a frame that lies about its size, that grows for ever, that is cut. The output never
// passes the cap, and what came whole compresses to the same again.
#include "codec/compress.h"
#include "fuzz/fuzz.h"
#include "protocol/messages.h"

namespace tidelock::fuzz {
namespace {

Bytes records(int count) {
  std::vector<BatchRecord> out;
  for (int i = 0; i < count; ++i) {
    out.push_back(
        {"feature:" + std::to_string(i), Bytes(static_cast<std::size_t>(i), 'v'), {1'700'000'000'000, 1, 5}, kSecond});
  }
  return encode(out);
}

}  // namespace

std::vector<Seed> seeds() {
  const Bytes frame = compress(records(3));
  return {{"raw", number(0, 1) + records(2)},
          {"frame", number(1, 1) + frame},
          {"many", number(1, 1) + compress(records(60))},
          {"bomb", number(1, 1) + compress(Bytes(8u << 20, '\0'), 19)},
          {"cut", number(1, 1) + frame.substr(0, frame.size() / 2)},
          {"two", number(1, 1) + frame + frame},
          {"window", number(1, 1) + Bytes("\x28\xB5\x2F\xFD\x00\xF8\x01\x00\x00", 9)}};
}

void run(BytesView input) {
  Input in(input);
  const bool framed = (in.byte() & 1) != 0;
  const BytesView bytes = in.rest();
  if (!framed) {
    const Bytes frame = compress(bytes);
    const auto back = decompress(frame, bytes.size(), "batch");
    TIDELOCK_ASSERT(back && *back == bytes);
    if (!bytes.empty()) TIDELOCK_ASSERT(!decompress(frame, bytes.size() - 1, "batch"));  // the cap holds to the byte
    TIDELOCK_ASSERT(!decompress(frame.substr(0, frame.size() - 1), bytes.size(), "batch"));
    return;
  }
  constexpr std::size_t kSmall = 1'000, kLarge = 1u << 20;
  const auto small = decompress(bytes, kSmall, "batch");
  const auto large = decompress(bytes, kLarge, "batch");
  if (small) TIDELOCK_ASSERT(small->size() <= kSmall && large && *large == *small);
  if (!large) return;
  TIDELOCK_ASSERT(large->size() <= kLarge);
  TIDELOCK_ASSERT(*decompress(compress(*large), kLarge, "batch") == *large);
  (void)decode_checked<std::vector<BatchRecord>>(*large);
}

}  // namespace tidelock::fuzz
