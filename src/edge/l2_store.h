// L2Store keeps the edge's entries in RocksDB below the memory tier (DESIGN 6), and gives them back as unverified (F8).
//
// What it gives back:  never an epoch: only this session's memory vouches for a value. The instant of the last proof is
//           kept while it still means something: same run of the elapsed clock, no disruption since (C2). An entry with
//           an expiry of another run of the clock (another boot of the machine) is dropped.
// Threads:  scan and size from any; everything else on the loop's thread.
// Cost:     find is one RocksDB get (about 2 us) on a miss of memory; commit is one unsynced write for a whole step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "codec/typed_value.h"
#include "protocol/edge_core.h"
#include "store/kv/kv.h"

namespace tidelock {

inline constexpr char kL2Family[] = "l2";
inline constexpr char kOutboxFamily[] = "outbox";
inline constexpr char kMetaFamily[] = "meta";

// What an instant in a row refers to.
struct L2Run {
  std::uint64_t clock_run = 0;    // hash of the machine's boot and the clock shim: one run of the elapsed clock
  std::uint64_t edge_boot = 0;    // the process
  std::uint64_t disruptions = 0;  // C2, counted in this process
  Nanos suspended_ns = 0;         // BOOTTIME - MONOTONIC: a suspend between two processes moves it
};

Bytes encode_l2_row(const EdgeEntry& entry, const L2Run& run);
// nullopt: bytes that are no row, or an entry whose expiry cannot be judged in this run.
std::optional<EdgeEntry> decode_l2_row(BytesView row, const L2Run& run);

class L2Store : public EdgeStore {
 public:
  // `kv` has kL2Family and outlives the store.
  L2Store(Kv& kv, L2Run run) : kv_(kv), run_(run) {}

  std::optional<EdgeEntry> find(std::string_view key) const override;

  // Writes the EntryPut and EntryErase of a step, in order, as one batch with the kernel (survives kill -9).
  Result<void> commit(const EdgeActions& actions);
  void disrupted(Nanos suspended_ns);  // C2

  struct Listed {
    std::string_view key;
    bool local;  // never left this gateway, or not sequenced yet
    ValueKind kind;
  };
  // Live entries with a value after `after`, in order, until `visit` says false. Reads at most `rows_max` rows; returns
  // the last key looked at, nullopt at the end.
  Result<std::optional<std::string>> scan(std::string_view after, std::size_t rows_max, Nanos now,
                                          const std::function<bool(const Listed&)>& visit) const;

 private:
  Kv& kv_;
  L2Run run_;
};

}  // namespace tidelock
