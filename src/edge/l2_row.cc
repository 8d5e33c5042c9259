#include "edge/l2_row.h"

#include <utility>

#include "base/elapsed_clock.h"
#include "codec/archive.h"

namespace tidelock {
namespace {

constexpr std::uint32_t kWithValue = 1, kValueElsewhere = 2;  // formats: the first number of a row

template <class Value>
struct RowOf {
  std::uint32_t format = kWithValue;
  std::uint64_t clock_run = 0, edge_boot = 0, disruptions = 0;
  Nanos suspended_ns = 0;
  Index version;
  Nanos expires_at = kForever;
  Nanos proven_at = kNever;
  Stamp stamp;
  bool local = false;
  std::optional<Value> value;
  L2ValueAt where;
  template <class A>
  void fields(A& a) {
    a(format, clock_run, edge_boot, disruptions, suspended_ns, version, expires_at, proven_at, stamp, local);
    if (format == kValueElsewhere)
      a(where);
    else
      a(value);
  }
};

using Row = RowOf<Bytes>;

// Writes the fields of a row as Encoder does, but for the bytes of its value, to the end of a string that has room.
class HeadWriter {
 public:
  explicit HeadWriter(Bytes& out) : out_(out) {}
  template <class... Fields>
  void operator()(Fields&... fields) {
    (put(fields), ...);
  }

 private:
  void put(std::uint64_t number) {
    while (number >= 0x80) {
      out_.push_back(static_cast<char>(number | 0x80));
      number >>= 7;
    }
    out_.push_back(static_cast<char>(number));
  }
  void put(std::uint32_t number) { put(std::uint64_t{number}); }
  void put(std::int64_t number) {
    put((static_cast<std::uint64_t>(number) << 1) ^ static_cast<std::uint64_t>(number >> 63));
  }
  void put(bool yes) { out_.push_back(yes ? 1 : 0); }
  void put(Index index) { put(index.value); }
  void put(Stamp& stamp) { stamp.fields(*this); }
  void put(L2ValueAt&) {}  // stands in rows without a value only
  void put(std::optional<BytesView>& value) {
    put(value.has_value());
    if (value) put(std::uint64_t{value->size()});
  }

  Bytes& out_;
};

template <class Row>
Row row_of(const EdgeEntry& entry, const L2Run& run) {
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
  return row;
}

bool same_suspend(Nanos a, Nanos b) {
  return saturating_sub(a, b) <= kSuspendTolerance && saturating_sub(b, a) <= kSuspendTolerance;
}

}  // namespace

Bytes encode_l2_row(const EdgeEntry& entry, const L2Run& run) {
  Row row = row_of<Row>(entry, run);
  row.value = entry.value;
  return encode(row);
}

void append_l2_head(const EdgeEntry& entry, const L2Run& run, Bytes& head) {
  auto row = row_of<RowOf<BytesView>>(entry, run);
  if (entry.value) row.value = *entry.value;
  HeadWriter writer(head);
  row.fields(writer);
}

Bytes encode_l2_row_without_value(const EdgeEntry& entry, const L2Run& run) {
  Row row = row_of<Row>(entry, run);
  row.format = kValueElsewhere;
  row.where = {hash64(*entry.value), entry.value->size(), kind_of(*entry.value)};
  return encode(row);
}

std::optional<L2Row> decode_l2_row(BytesView bytes, const L2Run& run) {
  auto row = decode<Row>(bytes, "L2 row");
  if (!row || (row->format != kWithValue && row->format != kValueElsewhere)) return std::nullopt;
  const bool same_clock = row->clock_run == run.clock_run;
  if (!same_clock && row->expires_at != kForever) return std::nullopt;
  L2Row out;
  EdgeEntry& entry = out.entry;
  entry.version = row->version;
  entry.value = std::move(row->value);
  entry.expires_at = row->expires_at;
  entry.stamp = row->stamp;
  entry.local = row->local;
  entry.epoch = 0;  // F8
  const bool same_process = row->edge_boot == run.edge_boot;
  const bool undisturbed =
      same_process ? row->disruptions == run.disruptions : same_suspend(row->suspended_ns, run.suspended_ns);
  if (same_clock && undisturbed && row->proven_at >= run.proofs_from) entry.proven_at = row->proven_at;  // C2, C3
  if (row->format == kValueElsewhere) out.where = row->where;
  return out;
}

}  // namespace tidelock
