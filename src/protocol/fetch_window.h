// FetchWindow is the serving end of one fetch (M3): which bytes of a file go out next, from where the peer begins and
// no further than it has asked. A hub and a gateway's neighbours serve by it.
//
// Pure; one thread. Errors: kCorrupt what is no FetchMore, kInvalid bounds that no file of this size has, and those of
// reading; each ends the fetch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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
  // All `bytes` from `offset`, or an error: less is none.
  using Read = std::function<Result<Bytes>(std::uint64_t offset, std::size_t bytes)>;
  // The next frame out of the file that `read` reads; nullopt: nothing more was asked for.
  Result<std::optional<Bytes>> next(const Read& read);

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
