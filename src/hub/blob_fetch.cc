#include "hub/blob_fetch.h"

#include <algorithm>
#include <string>
#include <utility>

#include "codec/archive.h"

namespace tidelock {

Result<std::unique_ptr<FetchSource>> BlobFetch::open(BytesView sha256, BlobMapping mapping, const FetchMore& more) {
  std::unique_ptr<BlobFetch> fetch(new BlobFetch(std::move(mapping)));
  if (const auto ok = fetch->want(more); !ok) return fail(ok.error());
  fetch->head_ = encode(FetchHead{Bytes(sha256), fetch->mapping_.bytes().size()});
  return fetch;
}

Result<void> BlobFetch::want(const FetchMore& more) {
  const std::uint64_t size = mapping_.bytes().size();
  if (more.piece_bytes == 0 || more.piece_bytes > kFetchPieceBytesMax) {
    return fail(Code::kInvalid, "piece_bytes = " + std::to_string(more.piece_bytes) + ": must be 1 to " +
                                    std::to_string(kFetchPieceBytesMax));
  }
  if (more.offset > size || more.until > size) {
    return fail(Code::kInvalid, "bytes " + std::to_string(more.offset) + " to " + std::to_string(more.until) +
                                    ": the blob has " + std::to_string(size));
  }
  if (!begun_) at_ = more.offset;
  begun_ = begun_ || more.until > at_;
  until_ = std::max(until_, more.until);
  piece_bytes_ = more.piece_bytes;
  return {};
}

Result<void> BlobFetch::take(Bytes said) {
  const auto more = decode<FetchMore>(said, "what a fetch wants");
  if (!more) return fail(more.error());
  return want(*more);
}

Result<std::optional<Bytes>> BlobFetch::next() {
  if (head_) return std::exchange(head_, std::nullopt);
  if (at_ >= until_) return std::optional<Bytes>{};
  const std::size_t bytes = std::min<std::uint64_t>(piece_bytes_, until_ - at_);
  const BytesView piece = mapping_.bytes().substr(at_, bytes);
  at_ += bytes;
  return std::optional<Bytes>(Bytes(piece));
}

}  // namespace tidelock
