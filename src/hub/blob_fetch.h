// BlobFetch is the hub's end of one fetch of a blob (M3): bytes of a mapping, from where the edge begins, and no
// further than it has asked.
//
// Threads:  one at a time. Cost: a copy of each piece. Errors: kCorrupt what is no FetchMore, kInvalid bounds that no
//           blob of this size has; both end the fetch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocol/admin.h"
#include "store/models/blob_store.h"
#include "wire/grpc/transport.h"

namespace tidelock {

inline constexpr std::uint32_t kFetchPieceBytesMax = 1u << 20;

class BlobFetch : public FetchSource {
 public:
  static Result<std::unique_ptr<FetchSource>> open(BytesView sha256, BlobMapping mapping, const FetchMore& more);
  Result<void> take(Bytes said) override;
  Result<std::optional<Bytes>> next() override;

 private:
  explicit BlobFetch(BlobMapping mapping) : mapping_(std::move(mapping)) {}
  Result<void> want(const FetchMore& more);

  const BlobMapping mapping_;
  std::optional<Bytes> head_;
  std::uint64_t at_ = 0, until_ = 0;
  std::size_t piece_bytes_ = 1;
  bool begun_ = false;
};

}  // namespace tidelock
