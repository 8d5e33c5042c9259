// How an entry lies in L2: with its value, or with what tells that a value found elsewhere is the one it belongs to.
//
// Threads: pure functions. A row that cannot be read is no row: L2 keeps copies, and what the hub has comes again.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "base/bytes.h"
#include "codec/typed_value.h"
#include "protocol/edge_core.h"

namespace tidelock {

// What an instant in a row refers to.
struct L2Run {
  std::uint64_t clock_run = 0;    // hash of the machine's boot and the clock shim: one run of the elapsed clock
  std::uint64_t edge_boot = 0;    // the process
  std::uint64_t disruptions = 0;  // C2, counted in this process
  Nanos suspended_ns = 0;         // BOOTTIME - MONOTONIC: a suspend between two processes moves it
  Nanos proofs_from = kNever;  // C2, C3: proofs of an earlier instant of this clock were dropped, in whichever process
};

// A value at a cache server. `digest` (xxh3) finds every damage and every older value; it is no defence against someone
// who writes to that server on purpose, who is trusted like someone who writes to data_dir.
struct L2ValueAt {
  std::uint64_t digest = 0;
  std::uint64_t bytes = 0;
  ValueKind kind = ValueKind::kString;
  template <class A>
  void fields(A& a) {
    a(digest, bytes, kind);
  }
  bool is(BytesView value) const { return value.size() == bytes && hash64(value) == digest; }
};

struct L2Row {
  EdgeEntry entry;  // without its value when that lies elsewhere
  std::optional<L2ValueAt> where;
  bool has_value() const { return where.has_value() || entry.value.has_value(); }
  ValueKind kind() const { return where ? where->kind : kind_of(*entry.value); }
};

Bytes encode_l2_row(const EdgeEntry& entry, const L2Run& run);
// The same in two pieces, so that the value is not copied for it: all that stands before it goes to the end of `head`.
void append_l2_head(const EdgeEntry& entry, const L2Run& run, Bytes& head);
// The same but for the value, which is to be put elsewhere.
Bytes encode_l2_row_without_value(const EdgeEntry& entry, const L2Run& run);
// nullopt: bytes that are no row, or an entry whose expiry cannot be judged in this run.
std::optional<L2Row> decode_l2_row(BytesView row, const L2Run& run);

}  // namespace tidelock
