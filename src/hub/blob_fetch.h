// BlobFetch is the hub's end of one fetch of a blob (M3): bytes of a file, as protocol/fetch_window.h lets them go.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "protocol/fetch_window.h"
#include "store/models/blob_store.h"
#include "telemetry/log.h"
#include "wire/grpc/transport.h"

namespace tidelock {

// What this hub's disk does is said in its own log; to others it is that the file cannot be had here now (kUnavailable,
// and kNotFound as it is).
inline Error not_served(Error why) {
  if (why.code == Code::kNotFound) return why;
  log(LogLevel::kError, "hub", "file not served", {{"message", why.message}});
  return {Code::kUnavailable, std::move(why.message), {}, 0};
}

class BlobFetch : public FetchSource {
 public:
  static Result<std::unique_ptr<FetchSource>> open(BytesView sha256, BlobFile file, const FetchMore& more) {
    auto window = FetchWindow::open(sha256, file.size_bytes(), more);
    if (!window) return fail(window.error());
    return std::unique_ptr<FetchSource>(new BlobFetch(std::move(file), std::move(*window)));
  }
  Result<void> take(Bytes said) override { return window_.take(said); }
  Result<std::optional<Bytes>> next() override {
    return window_.next([this](std::uint64_t offset, std::size_t bytes) -> Result<Bytes> {
      auto piece = file_.read(offset, bytes);
      if (!piece) return fail(not_served(piece.error()));
      return piece;
    });
  }

 private:
  BlobFetch(BlobFile file, FetchWindow window) : file_(std::move(file)), window_(std::move(window)) {}
  const BlobFile file_;
  FetchWindow window_;
};

}  // namespace tidelock
