// A delta makes one file out of others that the receiver already has (M3). It is always exact: whatever the planner
// chose, the receiver checks the SHA-256 of what came out.
//
// For each stretch of the target the planner takes what costs least: bytes that are already in a base, the numeric
// difference to a tensor of a base (coded for the distribution of just that tensor), a zstd patch against a place in a
// base, or the bytes themselves, compressed when that helps. The format is described at the top of delta.cc.
//
// Threads:   pure. make_delta calls `run_jobs` with independent jobs, so that a caller may run them on threads of its
//            own. A DeltaApplier belongs to one thread at a time.
// Cost:      make_delta reads bases and target a few times, 20 MB/s and more per processor; it holds an index of about
// a
//            sixteenth of the bases beside the delta itself. Applying runs at several hundred MB/s and holds at most
//            kDeltaApplyBytesMax, whatever the delta says.
// Ownership: views of bases and target must stay valid during the call, and what an applier reads until it is gone.
// Errors:    kInvalid a request that cannot be a delta (too many bases, too large); kCorrupt a delta that is damaged or
//            hostile, or a base that is not the one it was made for; what `find_base` and `sink` return is passed on.
// No promise: the same bytes from another release of Tidelock, or for another way to run the jobs; every release reads
//            what an earlier one wrote, or refuses it by its first bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/tensor_map.h"

namespace tidelock {

inline constexpr std::size_t kDeltaBasesMax = 64;
inline constexpr std::uint64_t kDeltaFileBytesMax = 4ull << 30;  // of a base, and of the target
inline constexpr std::size_t kDeltaHeaderBytesMax = 4'096;       // enough to read any header from
inline constexpr std::size_t kDeltaApplyBytesMax = 16u << 20;    // what an applier holds at most; 8 MiB without patches
inline constexpr std::size_t kDeltaPieceBytesMax = 1u << 20;     // what a sink is given at once

struct DeltaBase {
  std::uint64_t size_bytes = 0;
  Bytes sha256;  // kSha256Bytes, raw
  friend bool operator==(const DeltaBase&, const DeltaBase&) = default;
};
// What a delta says of itself in its first bytes.
struct DeltaHeader {
  std::uint64_t target_bytes = 0;
  Bytes target_sha256;           // kSha256Bytes, raw
  std::vector<DeltaBase> bases;  // those it needs, in its own numbering; often fewer than were offered
  friend bool operator==(const DeltaHeader&, const DeltaHeader&) = default;
};

// From the first kDeltaHeaderBytesMax bytes of a delta, or all of it when it is shorter. kCorrupt when they are not
// one.
Result<DeltaHeader> read_delta_header(BytesView front);

// --- making
// -----------------------------------------------------------------------------------------------------------

enum class DeltaKind : std::uint8_t {
  kSame,     // already here, in one piece
  kCopy,     // already here, in several
  kNumeric,  // numeric difference
  kPatch,    // zstd against a place in a base
  kFull,     // travels whole, compressed when that helps
};
constexpr DeltaKind last_enumerator(DeltaKind) { return DeltaKind::kFull; }
std::string_view delta_kind_name(DeltaKind kind);  // "same", "copy", "numeric", "patch", "full"

// One tensor of the target, or the bytes between two.
struct DeltaPart {
  std::string name;  // empty between tensors
  ElementType type = ElementType::kOpaque;
  std::uint64_t offset = 0;  // in the target
  std::uint64_t size_bytes = 0;
  DeltaKind kind =
      DeltaKind::kFull;  // the one that takes most of its bytes in the delta; most of the target when none does
  std::uint64_t delta_bytes = 0;  // what it costs
};

struct DeltaSource {
  BytesView bytes;
  Bytes sha256;  // when the caller knows it, so that it is not computed again; else empty
};

// Calls job(0) .. job(count - 1), each once, in any order, at once or not, and returns when all have returned.
using RunJobs = std::function<void(std::size_t count, const std::function<void(std::size_t)>& job)>;

struct DeltaOptions {
  RunJobs run_jobs;      // none: one after the other
  int patch_level = 19;  // of zstd, 1..19: what is left when numbers are taken out is small
  // A delta of more is of no use: making it ends as soon as that is certain, with kNotFound. 0: of any size.
  std::uint64_t bytes_max = 0;
  // Asked between jobs, on their threads; false ends it with kUnavailable. None: it goes on.
  std::function<bool()> go_on;
};

struct Delta {
  Bytes bytes;
  DeltaHeader header;
  std::vector<DeltaPart> parts;  // cover the target, in order
};

// `bases` in order of preference: of two that cost the same, the first is taken.
Result<Delta> make_delta(std::span<const DeltaSource> bases, const DeltaSource& target,
                         const DeltaOptions& options = {});

// --- applying
// ---------------------------------------------------------------------------------------------------------

// A file that a delta starts from: in memory, or read as it is needed, so that a disk that does not give it is an
// error.
struct DeltaBaseBytes {
  // All `bytes` from `offset`, which lie within the size, valid until the next call; they may be put into `room`. An
  // error ends the applying and is passed on.
  using Read = std::function<Result<BytesView>(std::uint64_t offset, std::size_t bytes, Bytes& room)>;

  DeltaBaseBytes() = default;
  DeltaBaseBytes(BytesView all)  // NOLINT(google-explicit-constructor): bytes in memory are a base as they are
      : size_bytes(all.size()), read([all](std::uint64_t offset, std::size_t bytes, Bytes&) -> Result<BytesView> {
          return all.substr(static_cast<std::size_t>(offset), bytes);
        }) {}
  DeltaBaseBytes(std::uint64_t size, Read from) : size_bytes(size), read(std::move(from)) {}

  std::uint64_t size_bytes = 0;
  Read read;
};
// Asked once for each base of the header, before the first byte comes out.
using FindDeltaBase = std::function<Result<DeltaBaseBytes>(const DeltaBase& base)>;
// Given the target's bytes in order, at most kDeltaPieceBytesMax at once; an error ends the applying and is passed on.
using DeltaSink = std::function<Result<void>(BytesView piece)>;

// Takes a delta in pieces of any size and hands out the target as soon as it is known.
class DeltaApplier {
 public:
  // `target_bytes_max`: a delta that says its target is larger is refused as kCorrupt before anything comes out.
  DeltaApplier(FindDeltaBase find_base, DeltaSink sink, std::uint64_t target_bytes_max = kDeltaFileBytesMax);
  ~DeltaApplier();
  DeltaApplier(DeltaApplier&&) noexcept;
  DeltaApplier& operator=(DeltaApplier&&) noexcept;

  // After an error every further call returns the same error.
  Result<void> feed(BytesView piece);
  // All of the delta was fed. kCorrupt unless it was whole and the SHA-256 of all that the sink was given is the
  // target's: until this returns success, what the sink holds is not the target.
  Result<void> finish();

  const DeltaHeader* header() const;  // null until enough was fed
  std::uint64_t produced_bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The whole at once.
Result<Bytes> apply_delta(BytesView delta, const FindDeltaBase& find_base, std::uint64_t target_bytes_max);

}  // namespace tidelock
