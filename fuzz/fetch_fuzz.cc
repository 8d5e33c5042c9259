// The serving end of a fetch against a peer that says anything at all: what goes out is the file from where the peer
// began, without a hole, never further than it has asked and in no larger pieces; a frame that is refused changes
// nothing.
#include "codec/archive.h"
#include "fuzz/fuzz.h"
#include "protocol/fetch_window.h"

namespace tidelock::fuzz {
namespace {

constexpr std::size_t kFileBytes = 300;

Bytes frame(const FetchMore& more) { return piece(encode(more)); }

}  // namespace

std::vector<Seed> seeds() {
  return {{"whole", frame({0, 300, 64})},
          {"steps", frame({0, 0, 64}) + frame({100, 150, 7}) + frame({0, 300, 1})},
          {"back", frame({10, 200, 64}) + frame({10, 20, 64}) + frame({0, 250, 100})},
          {"beyond", frame({0, 301, 64}) + frame({0, 10, 0})},
          {"no_frame", frame({0, 10, 5}) + piece("nonsense") + frame({0, 20, 5})}};
}

void run(BytesView input) {
  Input in(input);
  Bytes file;
  for (std::size_t i = 0; i < kFileBytes; ++i) file.push_back(static_cast<char>(i * 7));
  const auto read = [&](std::uint64_t offset, std::size_t bytes) -> Result<Bytes> {
    return file.substr(offset, bytes);
  };
  const Bytes digest(32, 'd');
  const auto first = decode_checked<FetchMore>(in.piece());
  if (!first) return;
  auto window = FetchWindow::open(digest, file.size(), *first);
  if (!window) return;
  const auto head = decode<FetchHead>(window->next(read).value().value(), "head");
  TIDELOCK_ASSERT(head && head->sha256 == digest && head->size_bytes == file.size());
  std::optional<std::uint64_t> at;  // nothing has gone out yet: where it begins is open
  std::uint64_t until = 0, begin = first->offset;
  std::uint32_t piece_bytes = first->piece_bytes;
  const auto heed = [&](const FetchMore& more) {
    if (!at && until <= begin) begin = more.offset;
    until = std::max(until, more.until);
    piece_bytes = more.piece_bytes;
  };
  heed(*first);
  for (;;) {
    for (int pieces = in.byte() % 8; pieces > 0; --pieces) {
      const auto out = window->next(read).value();
      if (!out) {
        TIDELOCK_ASSERT((at ? *at : begin) >= until);
        break;
      }
      if (!at) at = begin;
      TIDELOCK_ASSERT(!out->empty() && out->size() <= piece_bytes);
      TIDELOCK_ASSERT(*at + out->size() <= until);
      TIDELOCK_ASSERT(*out == file.substr(*at, out->size()));
      *at += out->size();
    }
    if (in.empty()) return;
    const BytesView said = in.piece();
    if (window->take(said)) heed(*decode_checked<FetchMore>(said));
  }
}

}  // namespace tidelock::fuzz
