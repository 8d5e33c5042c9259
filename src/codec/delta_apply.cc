// Applying: orders are taken one at a time from what has been fed. A payload is waited for until it is whole, and it
// has a limit, as has what it makes; copies and plain bytes pass through in pieces. Nothing of an order is carried out
// before all its numbers were checked against the bases and against what is left of the target.
#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "codec/compress.h"
#include "codec/delta.h"
#include "codec/delta_format.h"
#include "codec/signature.h"

namespace tidelock {
namespace delta {
namespace {

tl::unexpected<Error> corrupt(std::string what) { return fail(Code::kCorrupt, "delta: " + std::move(what)); }

}  // namespace

void put_front(Bytes& out, const DeltaHeader& header) {
  out.append(kMagic);
  put_varint(out, header.target_bytes);
  out += header.target_sha256;
  put_varint(out, header.bases.size());
  for (const DeltaBase& base : header.bases) {
    put_varint(out, base.size_bytes);
    out += base.sha256;
  }
}

Result<std::optional<DeltaHeader>> take_front(BytesView in, std::size_t& used) {
  if (in.substr(0, kMagic.size()) != kMagic.substr(0, in.size())) {
    return corrupt("it does not begin with '" + std::string(kMagic) + "'");
  }
  Head head(in);
  head.take(kMagic.size());
  DeltaHeader header;
  const auto size = [&](const char* of) -> Result<std::uint64_t> {
    const std::uint64_t bytes = head.number();
    if (head.bad() || bytes > kDeltaFileBytesMax) {
      return corrupt(std::string(of) + " of " + std::to_string(bytes) + " bytes; at most " +
                     std::to_string(kDeltaFileBytesMax));
    }
    return bytes;
  };
  const auto target = size("a target");
  if (!target) return fail(target.error());
  header.target_bytes = *target;
  header.target_sha256 = head.take(kSha256Bytes);
  const std::uint64_t bases = head.number();
  if (head.bad() || bases > kDeltaBasesMax) {
    return corrupt(std::to_string(bases) + " bases; at most " + std::to_string(kDeltaBasesMax));
  }
  for (std::uint64_t i = 0; i < bases && !head.needs_more(); ++i) {
    const auto bytes = size("a base");
    if (!bytes) return fail(bytes.error());
    header.bases.push_back({*bytes, Bytes(head.take(kSha256Bytes))});
  }
  if (head.needs_more()) return std::optional<DeltaHeader>();
  used = head.used();
  return std::optional<DeltaHeader>(std::move(header));
}

}  // namespace delta

using namespace delta;

Result<DeltaHeader> read_delta_header(BytesView front) {
  std::size_t used = 0;
  auto header = take_front(front, used);
  if (!header) return fail(header.error());
  if (!*header) return corrupt("it ends within its header");
  return std::move(**header);
}

class DeltaApplier::Impl {
 public:
  Impl(FindDeltaBase find_base, DeltaSink sink, std::uint64_t target_bytes_max)
      : find_base_(std::move(find_base)), sink_(std::move(sink)), target_bytes_max_(target_bytes_max) {}

  Result<void> feed(BytesView piece) {
    if (error_) return fail(*error_);
    // Large pieces are cut, so that no more is held than an order needs.
    while (!piece.empty()) {
      const BytesView next = piece.substr(0, kFeedBytes);
      piece.remove_prefix(next.size());
      if (auto fed = feed_some(next); !fed) return keep(fed.error());
    }
    return {};
  }
  Result<void> finish() {
    if (error_) return fail(*error_);
    if (state_ != State::kDone) {
      return keep(corrupt("it ends after " + std::to_string(produced_) + " of " +
                          std::to_string(header_ ? header_->target_bytes : 0) + " bytes of its target")
                      .value());
    }
    return {};
  }
  const DeltaHeader* header() const { return header_ ? &*header_ : nullptr; }
  std::uint64_t produced() const { return produced_; }

 private:
  static constexpr std::size_t kFeedBytes = 64u << 10;
  enum class State { kFront, kOrder, kPayload, kPlain, kEnd, kDone };
  struct Current {
    Order order = Order::kPlain;
    ElementType type = ElementType::kI8;
    std::size_t base = 0;
    std::uint64_t place = 0, prefix_bytes = 0, bytes = 0, payload_bytes = 0;
  };

  tl::unexpected<Error> keep(Error error) {
    error_ = std::move(error);
    held_ = {};
    return fail(*error_);
  }
  Result<void> feed_some(BytesView piece) {
    held_.append(piece);
    for (;;) {
      const std::size_t before = at_;
      const State was = state_;
      if (auto stepped = step(BytesView(held_).substr(at_)); !stepped) return stepped;
      if (at_ == before && state_ == was) break;
    }
    held_.erase(0, at_);
    at_ = 0;
    return {};
  }
  // Takes what it can off the front of `in`, and does nothing when that needs more.
  Result<void> step(BytesView in) {
    switch (state_) {
      case State::kFront: return take_header(in);
      case State::kOrder: return in.empty() ? Result<void>() : take_order(in);
      case State::kPayload: return in.size() < current_.payload_bytes ? Result<void>() : take_payload(in);
      case State::kPlain: return take_plain(in);
      case State::kEnd: return take_end(in);
      case State::kDone: return in.empty() ? Result<void>() : corrupt("bytes after its end");
    }
    return {};
  }
  void used(BytesView in, std::size_t bytes) {
    crc_ = crc32c(in.substr(0, bytes), crc_);
    at_ += bytes;
  }
  void next_order() { state_ = produced_ == header_->target_bytes ? State::kEnd : State::kOrder; }

  Result<void> take_header(BytesView in) {
    std::size_t bytes = 0;
    auto header = take_front(in, bytes);
    if (!header) return fail(header.error());
    if (!*header) return {};
    if ((*header)->target_bytes > target_bytes_max_) {
      return corrupt("a target of " + std::to_string((*header)->target_bytes) + " bytes; at most " +
                     std::to_string(target_bytes_max_) + " are allowed here");
    }
    header_ = std::move(**header);
    for (const DeltaBase& base : header_->bases) {
      auto found = find_base_(base);
      if (!found) return fail(found.error());
      if (found->size_bytes != base.size_bytes) {
        return corrupt("a base of " + std::to_string(found->size_bytes) + " bytes; it was made for " +
                       std::to_string(base.size_bytes));
      }
      bases_.push_back(*std::move(found));
    }
    cursors_.resize(bases_.size());
    used(in, bytes);
    next_order();
    return {};
  }

  Result<void> take_order(BytesView in) {
    Head head(in);
    const std::uint8_t first = head.byte();
    if ((first & 7) >= kOrders || first >> 3 > static_cast<unsigned>(last_enumerator(ElementType{}))) {
      return corrupt("an unknown order " + std::to_string(first));
    }
    Current next;
    next.order = static_cast<Order>(first & 7);
    next.type = static_cast<ElementType>(first >> 3);
    const bool numeric = next.order == Order::kNumeric || next.order == Order::kValues;
    if (!numeric && next.type != ElementType::kOpaque) return corrupt("a type with an order that has none");
    std::int64_t step = 0;
    if (has_base(next.order)) {
      if (bases_.empty()) return corrupt("an order for a base, and there is none");
      if (bases_.size() > 1) next.base = head.byte();
      if (next.base >= bases_.size())
        return corrupt("base " + std::to_string(next.base) + " of " + std::to_string(bases_.size()));
      step = head.signed_number();
    }
    if (next.order == Order::kPatch) next.prefix_bytes = head.number();
    next.bytes = head.number();
    if (has_payload(next.order)) next.payload_bytes = head.number();
    if (head.bad()) return corrupt("a number that is padded or too large");
    if (head.needs_more()) return {};
    if (auto checked = check(next, step); !checked) return checked;
    current_ = next;
    used(in, head.used());
    return begin();
  }
  // Every number of an order, before anything of it is carried out.
  Result<void> check(Current& next, std::int64_t step) const {
    const std::uint64_t left = header_->target_bytes - produced_;
    if (next.bytes == 0 || next.bytes > left) {
      return corrupt(std::to_string(next.bytes) + " elements or bytes where " + std::to_string(left) +
                     " bytes are left");
    }
    std::uint64_t most = left, payload_most = 0;
    if (next.order == Order::kNumeric || next.order == Order::kValues) {
      next.bytes *= element_bytes(next.type);
      most = kNumericBlockBytesMax;
      payload_most = kNumericPayloadBytesMax;
    } else if (has_payload(next.order)) {
      most = kZstdBytesMax;
      payload_most = kZstdPayloadBytesMax;
    }
    if (next.bytes > std::min(most, left)) return corrupt("an order of " + std::to_string(next.bytes) + " bytes");
    if (next.payload_bytes > payload_most)
      return corrupt("a payload of " + std::to_string(next.payload_bytes) + " bytes");
    if (!has_base(next.order)) return {};
    if (next.prefix_bytes > kPatchPrefixBytesMax)
      return corrupt("a patch against " + std::to_string(next.prefix_bytes) + " bytes");
    const std::uint64_t size = bases_[next.base].size_bytes;
    const std::uint64_t wanted = next.order == Order::kPatch ? next.prefix_bytes : next.bytes;
    std::int64_t place = 0;
    if (__builtin_add_overflow(cursors_[next.base].expected(produced_), step, &place) || place < 0 ||
        static_cast<std::uint64_t>(place) > size || wanted > size - static_cast<std::uint64_t>(place)) {
      return corrupt("an order for bytes that its base does not have");
    }
    next.place = static_cast<std::uint64_t>(place);
    return {};
  }
  Result<void> begin() {
    if (has_base(current_.order)) cursors_[current_.base] = {produced_, current_.place};
    if (current_.order == Order::kPlain) {
      state_ = State::kPlain;
      return {};
    }
    if (current_.order != Order::kCopy) {
      state_ = State::kPayload;
      return {};
    }
    for (std::uint64_t at = 0; at < current_.bytes; at += kDeltaPieceBytesMax) {
      const auto piece = base_bytes(at, std::min<std::uint64_t>(kDeltaPieceBytesMax, current_.bytes - at));
      if (!piece) return fail(piece.error());
      if (auto given = give(*piece); !given) return given;
    }
    next_order();
    return {};
  }
  // Of the current order's place in its base.
  Result<BytesView> base_bytes(std::uint64_t at, std::uint64_t bytes) {
    return bases_[current_.base].read(current_.place + at, static_cast<std::size_t>(bytes), room_);
  }
  Result<void> take_payload(BytesView in) {
    const BytesView payload = in.substr(0, static_cast<std::size_t>(current_.payload_bytes));
    const auto bytes = static_cast<std::size_t>(current_.bytes);
    if (out_.size() < bytes) out_.resize(bytes);
    BytesView base;
    if (has_base(current_.order)) {
      const auto read = base_bytes(0, current_.order == Order::kPatch ? current_.prefix_bytes : current_.bytes);
      if (!read) return fail(read.error());
      base = *read;
    }
    Result<void> made;
    switch (current_.order) {
      case Order::kNumeric:
      case Order::kValues: made = numbers_.decode(current_.type, payload, base, out_.data(), bytes); break;
      case Order::kPatch:
      case Order::kCompressed:
        made = decompress_against(payload, base, out_.data(), bytes,
                                  has_base(current_.order) ? "delta: a patch" : "delta: compressed bytes");
        break;
      case Order::kCopy:
      case Order::kPlain: TIDELOCK_ASSERT(false); break;
    }
    if (!made) return made;
    used(in, payload.size());
    if (auto given = give(BytesView(out_.data(), bytes)); !given) return given;
    next_order();
    return {};
  }
  Result<void> take_plain(BytesView in) {
    const BytesView plain = in.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(in.size(), current_.bytes)));
    if (plain.empty()) return {};
    used(in, plain.size());
    current_.bytes -= plain.size();
    if (auto given = give(plain); !given) return given;
    if (current_.bytes == 0) next_order();
    return {};
  }
  Result<void> give(BytesView bytes) {
    while (!bytes.empty()) {
      const BytesView piece = bytes.substr(0, kDeltaPieceBytesMax);
      bytes.remove_prefix(piece.size());
      hash_.update(piece);
      produced_ += piece.size();
      if (auto sunk = sink_(piece); !sunk) return sunk;
    }
    return {};
  }
  Result<void> take_end(BytesView in) {
    if (in.size() < kCrcBytes) return {};
    std::uint32_t said = 0;
    for (std::size_t i = 0; i < kCrcBytes; ++i) {
      said |= static_cast<std::uint32_t>(static_cast<unsigned char>(in[i])) << (8 * i);
    }
    if (said != crc_) return corrupt("its own bytes are damaged (CRC-32C)");
    if (hash_.finish() != header_->target_sha256) {
      return corrupt("what came out is not the target (SHA-256): a base is not the one it was made for");
    }
    at_ += kCrcBytes;
    state_ = State::kDone;
    return {};
  }

  FindDeltaBase find_base_;
  DeltaSink sink_;
  std::uint64_t target_bytes_max_;
  State state_ = State::kFront;
  Current current_;
  Bytes held_;  // fed and not used up: from at_ on
  std::size_t at_ = 0;
  Bytes out_;   // what an order makes
  Bytes room_;  // what it reads of a base that is not in memory
  std::optional<DeltaHeader> header_;
  std::vector<DeltaBaseBytes> bases_;
  std::vector<Cursor> cursors_;
  NumericDecoder numbers_;
  Sha256 hash_;
  std::uint32_t crc_ = 0;
  std::uint64_t produced_ = 0;
  std::optional<Error> error_;
};

DeltaApplier::DeltaApplier(FindDeltaBase find_base, DeltaSink sink, std::uint64_t target_bytes_max)
    : impl_(std::make_unique<Impl>(std::move(find_base), std::move(sink), target_bytes_max)) {}
DeltaApplier::~DeltaApplier() = default;
DeltaApplier::DeltaApplier(DeltaApplier&&) noexcept = default;
DeltaApplier& DeltaApplier::operator=(DeltaApplier&&) noexcept = default;
Result<void> DeltaApplier::feed(BytesView piece) { return impl_->feed(piece); }
Result<void> DeltaApplier::finish() { return impl_->finish(); }
const DeltaHeader* DeltaApplier::header() const { return impl_->header(); }
std::uint64_t DeltaApplier::produced_bytes() const { return impl_->produced(); }

Result<Bytes> apply_delta(BytesView delta, const FindDeltaBase& find_base, std::uint64_t target_bytes_max) {
  Bytes target;
  DeltaApplier applier(
      find_base,
      [&](BytesView piece) -> Result<void> {
        target.append(piece);
        return {};
      },
      target_bytes_max);
  if (auto fed = applier.feed(delta); !fed) return fail(fed.error());
  if (auto finished = applier.finish(); !finished) return fail(finished.error());
  return target;
}

}  // namespace tidelock
