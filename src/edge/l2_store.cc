#include "edge/l2_store.h"

#include <utility>
#include <variant>

#include "base/elapsed_clock.h"
#include "codec/archive.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

constexpr std::uint32_t kRowFormat = 1;

struct Row {
  std::uint32_t format = kRowFormat;
  std::uint64_t clock_run = 0, edge_boot = 0, disruptions = 0;
  Nanos suspended_ns = 0;
  Index version;
  Nanos expires_at = kForever;
  Nanos proven_at = kNever;
  Stamp stamp;
  bool local = false;
  std::optional<Bytes> value;
  template <class A>
  void fields(A& a) {
    a(format, clock_run, edge_boot, disruptions, suspended_ns, version, expires_at, proven_at, stamp, local, value);
  }
};

bool same_suspend(Nanos a, Nanos b) {
  return saturating_sub(a, b) <= kSuspendTolerance && saturating_sub(b, a) <= kSuspendTolerance;
}

}  // namespace

Bytes encode_l2_row(const EdgeEntry& entry, const L2Run& run) {
  Row row;
  row.clock_run = run.clock_run;
  row.edge_boot = run.edge_boot;
  row.disruptions = run.disruptions;
  row.suspended_ns = run.suspended_ns;
  row.version = entry.version;
  row.expires_at = entry.expires_at;
  row.proven_at = entry.proven_at;
  row.stamp = entry.stamp;
  row.local = entry.local;
  row.value = entry.value;
  return encode(row);
}

std::optional<EdgeEntry> decode_l2_row(BytesView bytes, const L2Run& run) {
  auto row = decode<Row>(bytes, "L2 row");
  if (!row || row->format != kRowFormat) return std::nullopt;
  const bool same_clock = row->clock_run == run.clock_run;
  if (!same_clock && row->expires_at != kForever) return std::nullopt;
  EdgeEntry entry;
  entry.version = row->version;
  entry.value = std::move(row->value);
  entry.expires_at = row->expires_at;
  entry.stamp = row->stamp;
  entry.local = row->local;
  entry.epoch = 0;  // F8
  const bool same_process = row->edge_boot == run.edge_boot;
  const bool undisturbed =
      same_process ? row->disruptions == run.disruptions : same_suspend(row->suspended_ns, run.suspended_ns);
  if (same_clock && undisturbed) entry.proven_at = row->proven_at;  // C2
  return entry;
}

std::optional<EdgeEntry> L2Store::find(std::string_view key) const {
  const auto row = kv_.get(kL2Family, key);
  if (!row) {
    log(LogLevel::kError, "edge", "L2 read failed", {{"message", row.error().message}});
    return std::nullopt;  // a miss: the hub has the truth, and a local value is reported lost by this line
  }
  if (!*row) return std::nullopt;
  return decode_l2_row(**row, run_);
}

Result<void> L2Store::commit(const EdgeActions& actions) {
  KvBatch batch;
  for (const auto& op : actions.ops) {
    if (const auto* put = std::get_if<EntryPut>(&op); put != nullptr && !put->known)
      batch.put(kL2Family, put->key, encode_l2_row(put->entry, run_));
    if (const auto* erase = std::get_if<EntryErase>(&op)) batch.erase(kL2Family, erase->key);
  }
  if (batch.writes.empty()) return {};
  return kv_.commit(batch, Sync::kNone);
}

void L2Store::disrupted(Nanos suspended_ns) {
  ++run_.disruptions;
  run_.suspended_ns = suspended_ns;
}

Result<std::optional<std::string>> L2Store::scan(std::string_view after, std::size_t rows_max, Nanos now,
                                                 const std::function<bool(const Listed&)>& visit) const {
  // Only expiries are judged here, which no disruption changes: so the fields that the loop's thread may write are not
  // read.
  L2Run run;
  run.clock_run = run_.clock_run;
  std::string begin(after);
  if (!after.empty()) begin.push_back('\0');
  std::optional<std::string> last;
  std::size_t rows = 0;
  const auto done = kv_.scan(kL2Family, begin, {}, [&](BytesView key, BytesView bytes) {
    const auto entry = decode_l2_row(bytes, run);
    bool more = ++rows < rows_max;
    if (entry && entry->value && now < entry->expires_at)
      more = visit({key, entry->local, kind_of(*entry->value)}) && more;
    if (!more) last = std::string(key);
    return more;
  });
  if (!done) return fail(done.error());
  return last;
}

}  // namespace tidelock
