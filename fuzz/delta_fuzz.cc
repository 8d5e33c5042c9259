// A delta from a peer that lies, and deltas that we make ourselves of whatever files there are. A hostile one ends as
// kCorrupt, or in bytes that have the digest it names; one of ours makes the target again, whole and in pieces.
#include <algorithm>

#include "codec/delta.h"
#include "codec/model_file_fixture.h"
#include "codec/signature.h"
#include "fuzz/fuzz.h"

namespace tidelock::fuzz {
namespace {

using namespace model_files;

constexpr std::uint64_t kTargetMax = 1u << 20;

const Bytes& base() {
  static const Bytes made = [] {
    Rng rng(1);
    return onnx({{"a", ElementType::kF32, weights(rng, ElementType::kF32, 300)},
                 {"b", ElementType::kI8, weights(rng, ElementType::kI8, 300)}});
  }();
  return made;
}
Bytes target() {
  Rng rng(2);
  std::vector<Tensor> tensors = {{"a", ElementType::kF32, base().substr(base().size() / 8, 800)},
                                 {"b", ElementType::kI8, weights(rng, ElementType::kI8, 300)},
                                 {"c", ElementType::kF16, weights(rng, ElementType::kF16, 64)},
                                 {"text", ElementType::kOpaque, Bytes(400, 'a')}};
  nudge(rng, tensors[0].bytes, ElementType::kF32, 9, 90);
  return onnx(tensors);
}
Bytes made(BytesView from, BytesView to) {
  const DeltaSource sources[] = {{from, {}}};
  DeltaOptions options;
  options.patch_level = 3;
  const auto delta = make_delta(sources, {to, {}}, options);
  TIDELOCK_ASSERT(delta);
  return delta->bytes;
}

Result<Bytes> apply(BytesView delta, BytesView from, std::size_t step) {
  Bytes out;
  DeltaApplier applier([&](const DeltaBase&) -> Result<BytesView> { return from; },
                       [&](BytesView piece) -> Result<void> {
                         TIDELOCK_ASSERT(!piece.empty() && piece.size() <= kDeltaPieceBytesMax);
                         out.append(piece);
                         TIDELOCK_ASSERT(out.size() <= kTargetMax);
                         return {};
                       },
                       kTargetMax);
  for (std::size_t at = 0; at < delta.size(); at += step) {
    if (auto fed = applier.feed(delta.substr(at, step)); !fed) return fail(fed.error());
  }
  if (auto finished = applier.finish(); !finished) return fail(finished.error());
  TIDELOCK_ASSERT(applier.header()->target_bytes == out.size() && applier.header()->target_sha256 == sha256(out));
  return out;
}

// The checks at the end of a delta stop a mutation; with them made right again it gets on.
Bytes mended(BytesView delta) {
  Bytes out(delta.substr(0, delta.size() - std::min<std::size_t>(delta.size(), 4)));
  const std::uint32_t crc = crc32c(out);
  return out + number(crc, 4);
}

void hostile(BytesView delta) {
  for (const Bytes& one : {Bytes(delta), mended(delta)}) {
    const auto whole = apply(one, base(), one.size() + 1), pieces = apply(one, base(), 13);
    TIDELOCK_ASSERT(whole == pieces);
    if (!whole) TIDELOCK_ASSERT(whole.error().code == Code::kCorrupt && !whole.error().message.empty());
    const auto header = read_delta_header(BytesView(one).substr(0, kDeltaHeaderBytesMax));
    if (whole) TIDELOCK_ASSERT(header && header->target_bytes == whole->size());
  }
}

}  // namespace

std::vector<Seed> seeds() {
  Rng rng(3);
  const Bytes floats = weights(rng, ElementType::kF32, 90), halves = weights(rng, ElementType::kF16, 90);
  Bytes moved = floats;
  nudge(rng, moved, ElementType::kF32, 1, 20);
  Bytes other = halves;
  nudge(rng, other, ElementType::kF16, 5, 20000);
  return {{"hostile", Bytes(1, '\0') + made(base(), target())},
          {"hostile_none", Bytes(1, '\0') + made("", target())},
          {"floats", Bytes(1, '\1') + piece(floats) + moved},
          {"halves", Bytes(1, '\1') + piece(halves) + other},
          {"text", Bytes(1, '\1') + piece(Bytes(90, 'x')) + "xxxxxxxxxxxxxxxxxxxxxyxxxxxxxxxxxxxxxxx"},
          {"moved", Bytes(1, '\1') + piece(floats) + floats.substr(80) + "in between" + floats.substr(0, 200)},
          {"tensors", Bytes(1, '\2') + piece(floats) + piece(moved) + piece(halves) + other},
          {"empty", ""}};
}

void run(BytesView input) {
  Input in(input);
  const std::uint8_t what = in.byte() % 3;
  if (what == 0) return hostile(in.rest());
  Bytes from, to;
  if (what == 1) {
    from = in.piece();
    to = in.rest();
  } else {
    const BytesView a = in.piece(), b = in.piece(), c = in.piece(), d = in.rest();
    const auto whole = [](BytesView bytes, std::size_t width) {
      return Bytes(bytes.substr(0, bytes.size() / width * width));
    };
    from = onnx({{"a", ElementType::kF32, whole(a, 4)},
                 {"b", ElementType::kBf16, whole(c, 2)},
                 {"c", ElementType::kI32, whole(d, 4)}});
    to = safetensors({{"a", ElementType::kF32, whole(b, 4)},
                      {"b", ElementType::kBf16, whole(d, 2)},
                      {"c", ElementType::kI32, whole(b, 4)}});
  }
  const Bytes delta = made(from, to);
  TIDELOCK_ASSERT(*apply(delta, from, delta.size()) == to);
  TIDELOCK_ASSERT(*apply(delta, from, 7) == to);
}

}  // namespace tidelock::fuzz
