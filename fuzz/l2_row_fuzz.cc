// Rows of an edge's second-level cache, written by an earlier run. Never an epoch, never a proof of another run of the
// clock, never an expiry that cannot be judged; what is written back says the same.
#include "edge/l2_store.h"
#include "fuzz/fuzz.h"

namespace tidelock::fuzz {
namespace {
constexpr L2Run kRun{4, 7, 1, 5 * kSecond};
constexpr L2Run kOtherBoot{4, 8, 0, 5 * kSecond};
constexpr L2Run kOtherClock{5, 8, 0, 0};
}  // namespace

std::vector<Seed> seeds() {
  EdgeEntry entry;
  entry.version = Index{9};
  entry.value = "value";
  entry.proven_at = 100 * kSecond;
  EdgeEntry ends = entry;
  ends.expires_at = 200 * kSecond;
  ends.stamp = {1'700'000'000'000, 1, 5};
  EdgeEntry absent;
  absent.local = true;
  return {{"value", encode_l2_row(entry, kRun)},
          {"ends", encode_l2_row(ends, kRun)},
          {"absent", encode_l2_row(absent, kOtherClock)}};
}

void run(BytesView input) {
  const auto entry = decode_l2_row(input, kRun);
  if (const auto other = decode_l2_row(input, kOtherClock)) {
    TIDELOCK_ASSERT(other->epoch == 0);
    const auto here = decode_l2_row(encode_l2_row(*other, kOtherClock), kOtherClock);
    TIDELOCK_ASSERT(here.has_value());
  }
  (void)decode_l2_row(input, kOtherBoot);
  if (!entry) return;
  TIDELOCK_ASSERT(entry->epoch == 0);  // F8
  const auto again = decode_l2_row(encode_l2_row(*entry, kRun), kRun);
  TIDELOCK_ASSERT(again && again->version == entry->version && again->value == entry->value);
  TIDELOCK_ASSERT(again->expires_at == entry->expires_at && again->proven_at == entry->proven_at);
  TIDELOCK_ASSERT(again->stamp == entry->stamp && again->local == entry->local);
}

}  // namespace tidelock::fuzz
