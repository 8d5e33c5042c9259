#include "protocol/fetch_window.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/assert.h"
#include "codec/archive.h"

namespace tidelock {

Result<FetchWindow> FetchWindow::open(BytesView sha256, std::uint64_t size_bytes, const FetchMore& more) {
  FetchWindow window(size_bytes);
  if (const auto ok = window.want(more); !ok) return fail(ok.error());
  window.head_ = encode(FetchHead{Bytes(sha256), size_bytes});
  return window;
}

Result<void> FetchWindow::want(const FetchMore& more) {
  if (more.piece_bytes == 0 || more.piece_bytes > kFetchPieceBytesMax) {
    return fail(Code::kInvalid, "piece_bytes = " + std::to_string(more.piece_bytes) + ": must be 1 to " +
                                    std::to_string(kFetchPieceBytesMax));
  }
  if (more.offset > size_bytes_ || more.until > size_bytes_) {
    return fail(Code::kInvalid, "bytes " + std::to_string(more.offset) + " to " + std::to_string(more.until) +
                                    ": the blob has " + std::to_string(size_bytes_));
  }
  if (!begun_) at_ = more.offset;
  until_ = std::max(until_, more.until);
  begun_ = begun_ || until_ > at_;
  piece_bytes_ = more.piece_bytes;
  return {};
}

Result<void> FetchWindow::take(BytesView said) {
  const auto more = decode<FetchMore>(said, "what a fetch wants");
  if (!more) return fail(more.error());
  return want(*more);
}

Result<std::optional<Bytes>> FetchWindow::next(const Read& read) {
  if (head_) return std::exchange(head_, std::nullopt);
  if (at_ >= until_) return std::optional<Bytes>{};
  const std::size_t bytes = static_cast<std::size_t>(std::min<std::uint64_t>(piece_bytes_, until_ - at_));
  auto piece = read(at_, bytes);
  if (!piece) return fail(piece.error());
  TIDELOCK_ASSERT(piece->size() == bytes);
  at_ += bytes;
  return std::optional<Bytes>(std::move(*piece));
}

}  // namespace tidelock
