// The C++ library of an inference process: reads and writes through the gateway's edge, each read with a receipt.
//
//   auto client = tidelock::Client::connect({.run_dir = "/run/tidelock/edge-1"});
//   auto value = (*client)->get("feature:track:17", {.bound_ns = 500'000'000});
//   if (value) use(value->bytes, value->receipt.bound_ns);
//
// Reads that hit stay in this process: a few loads from memory shared with the edge and one clock read, no lock, no
// system call. What is not there, or not fresh enough, is asked of the edge over its Unix socket.
//
// Threads:   every method may be called from any thread; they share a pool of connections, of which 16 stay when idle.
// Cost:      L1 hit about 0.1 us, arena hit below 1 us, edge about 50 us, hub a round trip.
// Errors:    Result with a code (base/result.h). kStale carries the bound that could be proven in detail_ns.
// Edge gone: reads keep serving what is still provable, then what the namespace's fallback allows, flagged.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/result.h"
#include "memory/in_place.h"
#include "memory/value_ref.h"
#include "protocol/receipt.h"

namespace tidelock {

struct ClientOptions {
  std::string run_dir;               // the edge's run folder: holds `page`, `arena` and `redis.sock`
  std::size_t l1_bytes = 10u << 20;  // 0 turns the in-process cache off
  // Namespaces, by their exact prefix, that are a cache of their own within l1_bytes: nothing else evicts what they
  // hold, and they evict nothing else. Together at most 7/8 of it; at most fifteen.
  struct L1Budget {
    std::string prefix;
    std::size_t bytes = 0;
  };
  std::vector<L1Budget> l1_budgets = {};
  // What leaves l1_bytes first: "w-tinylfu" (never far from the best), "lru", "s3-fifo" or "sieve" (good for skewed
  // keys; collapses when keys come and go).
  std::string l1_eviction = "w-tinylfu";
  // Of one value in l1_bytes, 1 to 1,048,576; it also takes at most an eighth of the budget it falls under. Larger ones
  // are copied from the arena at each read, or looked at there by get_in_place.
  std::size_t l1_value_bytes_max = 64u << 10;
  std::int64_t connect_timeout_ms = 2'000;  // for the edge's socket
  std::int64_t call_timeout_ms = 6'000;     // for one question to the edge
};

struct Value {
  std::string bytes;
  Receipt receipt;
};

// What a visitor made of a value where it lay.
template <class T>
struct InPlace {
  T result;
  Receipt receipt;
};

// Fields of a hash, such as the features of one track: all of one version, under one receipt.
struct Fields {
  std::vector<std::optional<std::string>> values;  // in the order asked for; nothing: the hash has no such field
  Receipt receipt;
};

// Of several keys, in their order. To be used again and again: it allocates only while it grows.
struct ValueBatch {
  std::vector<std::string> values;
  std::vector<bool> found;  // false: the key is absent, and its value empty
  Receipt receipt;  // one for all: every value, or absence, was the newest at most bound_ns ago; the highest version
};

struct SetOptions {
  std::int64_t ttl_ms = 0;  // 0: the namespace's default
  std::string ack;          // "os", "disk", "origin" ("quorum": the same); empty: the namespace's default (D1)
};
struct Written {
  Index version;    // write-through: the index where the write is visible; 0 while it is not sequenced
  std::string ack;  // the level that was reached
};

struct ClientStats {
  std::uint64_t reads = 0, l1_hits = 0, arena_hits = 0, edge_reads = 0, fallbacks = 0;
  std::uint64_t l1_entries = 0, l1_fills = 0, l1_evictions = 0, l1_refused = 0;
};

class Client {
 public:
  static Result<std::unique_ptr<Client>> connect(ClientOptions options);
  virtual ~Client() = default;

  // The string at `key`; kInvalid when it holds a hash. kNotFound is an error with a receipt in `receipt_of_absence`
  // when given: absence has a bound, too.
  virtual Result<Value> get(std::string_view key, const Contract& contract = {},
                            Receipt* receipt_of_absence = nullptr) = 0;
  // As get, into a caller's string whose capacity is reused; allocates nothing on a hit. After an error `out` is
  // whatever it is.
  virtual Result<Receipt> get_into(std::string_view key, const Contract& contract, std::string& out) = 0;
  // As get, without a copy of a long value that the in-process cache holds: value_ref.h says how long that may be kept.
  virtual Result<Receipt> get_ref(std::string_view key, const Contract& contract, ValueRef& out) = 0;
  // What `look(bytes)` makes of the value where it lies, in the in-process cache or in the arena that is shared with
  // the edge: the only read of a long value of the arena that copies nothing. in_place.h says what `look` must stand:
  // bytes that change under it, and being called again, since the arena cannot be locked from here. Its result is
  // returned only when its bytes were left alone to its end, and it was judged after that, as a copy would be; U counts
  // to the end of `look` (F6). Otherwise, and when memory may not answer, it runs once more on what the edge answers. A
  // value that is read so goes into no cache: what is read again and again is faster by get_ref, as long as it is short
  // enough to be cached. kInvalid when the key holds a hash; kNotFound as get_into.
  //
  //   auto sum = client->get_in_place("frame:17", {}, [](std::string_view bytes) { return checksum(bytes); });
  template <class Look>
  auto get_in_place(std::string_view key, const Contract& contract, Look&& look)
      -> Result<InPlace<std::invoke_result_t<Look&, std::string_view>>> {
    using T = std::invoke_result_t<Look&, std::string_view>;
    static_assert(std::is_object_v<T>, "look returns what it made of the bytes, by value");
    std::optional<T> result;
    const auto keep = [&](std::string_view bytes) {
      result.reset();
      result.emplace(look(bytes));
    };
    const auto receipt = read_in_place(key, contract, keep);
    if (!receipt) return tl::unexpected(receipt.error());
    return InPlace<T>{*std::move(result), *receipt};
  }
  // The same for a visitor that keeps its result by itself. After an error what it made means nothing.
  virtual Result<Receipt> read_in_place(std::string_view key, const Contract& contract, InPlaceVisitor look) = 0;
  // All keys under one look at the proofs and one bound, up to 4,096 of them. Absence is no error here. Keys that
  // memory cannot answer for are asked of the edge together, so that it asks the hub once for many of them.
  // One look at the proofs is not one index: of two keys that one write changed, a batch may have the one before and
  // the other behind it, both fresh enough. Who needs them together takes a snapshot.
  virtual Result<void> get_many(std::span<const std::string_view> keys, const Contract& contract, ValueBatch& out) = 0;
  // S4: all keys at one index of the ledger: every value, or absence, was in force at one and the same instant, at most
  // `bound_ns` ago. Keys of strong namespaces only (kInvalid names the first that is not), at most 256 of them, strings
  // only. From memory under one lease while nothing of their namespaces changes, which asks nobody; else read together
  // at the hub through the edge's EXEC, a round trip or two: then the receipt's basis is kProof, its source kHub, and
  // its version 0, since EXEC does not tell it. kBusy: others write these keys all the time. There is no fallback: what
  // was in force together once may no longer be held.
  virtual Result<void> snapshot(std::span<const std::string_view> keys, ValueBatch& out) = 0;
  // Fields of the hash at `key`, read as get reads and from the same places; kInvalid when it holds a string. A hash
  // that is there answers for every name. At most 65,536 names and 1 MiB of them are asked of the edge.
  virtual Result<Fields> get_fields(std::string_view key, std::span<const std::string_view> fields,
                                    const Contract& contract = {}, Receipt* receipt_of_absence = nullptr) = 0;
  virtual Result<Written> set(std::string_view key, std::string_view value, const SetOptions& options = {}) = 0;
  virtual Result<bool> erase(std::string_view key) = 0;
  virtual ClientStats stats() const = 0;
};

}  // namespace tidelock
