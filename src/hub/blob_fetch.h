// BlobFetch is the hub's end of one fetch of a blob (M3): bytes of a mapping, as protocol/fetch_window.h lets them go.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "protocol/fetch_window.h"
#include "store/models/blob_store.h"
#include "wire/grpc/transport.h"

namespace tidelock {

class BlobFetch : public FetchSource {
 public:
  static Result<std::unique_ptr<FetchSource>> open(BytesView sha256, BlobMapping mapping, const FetchMore& more) {
    auto window = FetchWindow::open(sha256, mapping.bytes().size(), more);
    if (!window) return fail(window.error());
    return std::unique_ptr<FetchSource>(new BlobFetch(std::move(mapping), std::move(*window)));
  }
  Result<void> take(Bytes said) override { return window_.take(said); }
  Result<std::optional<Bytes>> next() override { return window_.next(mapping_.bytes()); }

 private:
  BlobFetch(BlobMapping mapping, FetchWindow window) : mapping_(std::move(mapping)), window_(std::move(window)) {}
  const BlobMapping mapping_;
  FetchWindow window_;
};

}  // namespace tidelock
