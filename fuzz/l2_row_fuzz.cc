// Rows of an edge's second-level cache, written by an earlier run. Never an epoch, never a proof of another run of the
// clock, never an expiry that cannot be judged; what is written back says the same.
#include "edge/l2_row.h"
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
          {"absent", encode_l2_row(absent, kOtherClock)},
          {"elsewhere", encode_l2_row_without_value(entry, kRun)}};
}

void run(BytesView input) {
  const auto row = decode_l2_row(input, kRun);
  if (const auto other = decode_l2_row(input, kOtherClock)) {
    TIDELOCK_ASSERT(other->entry.epoch == 0);
    TIDELOCK_ASSERT(other->where || decode_l2_row(encode_l2_row(other->entry, kOtherClock), kOtherClock));
  }
  (void)decode_l2_row(input, kOtherBoot);
  if (!row) return;
  if (row->has_value()) (void)row->kind();
  const EdgeEntry& entry = row->entry;
  TIDELOCK_ASSERT(entry.epoch == 0);              // F8
  TIDELOCK_ASSERT(!(row->where && entry.value));  // a value lies in one place
  if (row->where) return;
  const auto again = decode_l2_row(encode_l2_row(entry, kRun), kRun);
  TIDELOCK_ASSERT(again && again->entry.version == entry.version && again->entry.value == entry.value);
  TIDELOCK_ASSERT(again->entry.expires_at == entry.expires_at && again->entry.proven_at == entry.proven_at);
  TIDELOCK_ASSERT(again->entry.stamp == entry.stamp && again->entry.local == entry.local);
}

}  // namespace tidelock::fuzz
