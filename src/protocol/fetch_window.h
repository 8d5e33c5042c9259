// FetchWindow is the serving end of one fetch (M3): which bytes of a file go out next, from where the peer begins and
// no further than it has asked. A hub and a gateway's neighbours serve by it.
//
// Pure; one thread. Cost: a copy of each piece. Errors: kCorrupt what is no FetchMore, kInvalid bounds that no file of
// this size has; both end the fetch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "protocol/admin.h"

namespace tidelock {

inline constexpr std::uint32_t kFetchPieceBytesMax = 1u << 20;

class FetchWindow {
 public:
  static Result<FetchWindow> open(BytesView sha256, std::uint64_t size_bytes, const FetchMore& more);
  // What the peer says after its first frame: an encoded FetchMore.
  Result<void> take(BytesView said);
  // The next frame out of `file`, always the same bytes, size_bytes of them; nullopt: nothing more was asked for.
  std::optional<Bytes> next(BytesView file);

 private:
  explicit FetchWindow(std::uint64_t size_bytes) : size_bytes_(size_bytes) {}
  Result<void> want(const FetchMore& more);

  std::uint64_t size_bytes_;
  std::optional<Bytes> head_;
  std::uint64_t at_ = 0, until_ = 0;
  std::size_t piece_bytes_ = 1;
  bool begun_ = false;
};

}  // namespace tidelock
