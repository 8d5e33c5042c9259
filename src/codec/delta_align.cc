// Three ways to find a place, the cheap ones first: the place that was expected, as long as the bytes there look alike
// (a quarter of them the same: numbers that all moved a little still share their high bytes); the place where the
// stretch before would go on; and a search for 32 bytes that a base has at a multiple of 32, with a rolling hash, from
// where the match is grown in both directions.
#include "codec/delta_align.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace tidelock::delta {
namespace {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kWindow = 1'024;              // alike is judged over so many bytes
constexpr std::size_t kExactRun = 16;               // so many equal bytes end what is alike
constexpr std::uint64_t kExactStretch = 16u << 10;  // equal stretches of this size are taken out of what is alike
constexpr std::uint64_t kStep = 4u << 10;
constexpr std::uint64_t kFactor = 0x9E3779B97F4A7C15ull;

std::size_t equal_bytes(const char* a, const char* b, std::size_t count) {
  std::size_t equal = 0;
  for (std::size_t i = 0; i < count; ++i) equal += a[i] == b[i] ? 1 : 0;
  return equal;
}
std::size_t common_front(const char* a, const char* b, std::size_t count) {
  std::size_t i = 0;
  for (; i + 8 <= count && std::memcmp(a + i, b + i, 8) == 0; i += 8) {
  }
  while (i < count && a[i] == b[i]) ++i;
  return i;
}

}  // namespace

class Aligner::Index {
 public:
  explicit Index(std::span<const BytesView> bases) : bases_(bases.begin(), bases.end()) {
    std::size_t blocks = 0;
    for (const BytesView base : bases_) blocks += base.size() / kBlock;
    bits_ = std::max(10, static_cast<int>(std::bit_width(blocks * 2)));
    slots_.assign(std::size_t{1} << bits_, 0);
    filter_.assign((std::size_t{1} << (bits_ + 2)) / 64, 0);
    for (std::size_t i = 1; i < kBlock; ++i) leaving_ *= kFactor;
    std::uint32_t number = 1;
    for (const BytesView base : bases_) {
      firsts_.push_back(number);
      for (std::size_t at = 0; at + kBlock <= base.size(); at += kBlock) add(base.substr(at, kBlock), number++);
    }
  }
  // The first byte from `from` on at which 32 bytes of the target begin that are a block of a base.
  std::optional<std::pair<std::uint64_t, Spot>> search(BytesView target, std::uint64_t from, std::uint64_t end) const {
    if (end - from < kBlock) return std::nullopt;
    const char* bytes = target.data();
    std::uint64_t hash = hash_of(target.substr(static_cast<std::size_t>(from), kBlock));
    for (std::uint64_t at = from;; ++at) {
      const std::uint64_t mixed = mix(hash);
      const std::uint64_t bit = mixed >> (64 - bits_ - 2);
      if ((filter_[bit / 64] >> (bit % 64) & 1) != 0) {
        if (const auto spot = look(bytes + at, mixed)) return std::pair(at, *spot);
      }
      if (at + kBlock >= end) return std::nullopt;
      hash = (hash - leaving_ * byte(bytes[at])) * kFactor + byte(bytes[at + kBlock]);
    }
  }

 private:
  static std::uint64_t byte(char c) { return static_cast<unsigned char>(c) + std::uint64_t{1}; }
  static std::uint64_t mix(std::uint64_t hash) { return (hash ^ hash >> 29) * 0xBF58476D1CE4E5B9ull; }
  static std::uint64_t hash_of(BytesView block) {
    std::uint64_t hash = 0;
    for (const char c : block) hash = hash * kFactor + byte(c);
    return hash;
  }
  const char* block_at(std::uint32_t number, Spot& spot) const {
    const auto next = std::upper_bound(firsts_.begin(), firsts_.end(), number);
    spot.base = static_cast<std::size_t>(next - firsts_.begin()) - 1;
    spot.place = static_cast<std::int64_t>((number - firsts_[spot.base]) * std::uint64_t{kBlock});
    return bases_[spot.base].data() + spot.place;
  }
  void add(BytesView block, std::uint32_t number) {
    const std::uint64_t mixed = mix(hash_of(block));
    std::size_t slot = static_cast<std::size_t>(mixed >> (64 - bits_));
    for (int tries = 0; tries < kTries; ++tries, slot = (slot + 1) & (slots_.size() - 1)) {
      if (slots_[slot] == 0) {
        slots_[slot] = number;
        const std::uint64_t bit = mixed >> (64 - bits_ - 2);
        filter_[bit / 64] |= std::uint64_t{1} << (bit % 64);
        return;
      }
      Spot spot;
      if (std::memcmp(block_at(slots_[slot], spot), block.data(), kBlock) == 0) return;  // the first of equals is kept
    }
  }
  std::optional<Spot> look(const char* bytes, std::uint64_t mixed) const {
    std::size_t slot = static_cast<std::size_t>(mixed >> (64 - bits_));
    for (int tries = 0; tries < kTries && slots_[slot] != 0; ++tries, slot = (slot + 1) & (slots_.size() - 1)) {
      Spot spot;
      if (std::memcmp(block_at(slots_[slot], spot), bytes, kBlock) == 0) return spot;
    }
    return std::nullopt;
  }

  static constexpr int kTries = 4;
  std::vector<BytesView> bases_;
  std::vector<std::uint32_t> slots_;   // number of a block, 0 free
  std::vector<std::uint64_t> filter_;  // most places of a target are no block of a base: one bit says so
  std::vector<std::uint32_t> firsts_;  // number of each base's first block
  int bits_ = 0;
  std::uint64_t leaving_ = 1;
};

Aligner::Aligner(std::span<const BytesView> bases, BytesView target)
    : bases_(bases.begin(), bases.end()), target_(target) {}
Aligner::~Aligner() = default;

// How far the target from `begin` on lies beside the base at `spot`: to the end of what is alike.
std::uint64_t Aligner::alike(const Spot& spot, std::uint64_t begin, std::uint64_t end) const {
  const BytesView base = bases_[spot.base];
  if (spot.place < 0 || static_cast<std::uint64_t>(spot.place) >= base.size()) return 0;
  const std::uint64_t most = std::min<std::uint64_t>(end - begin, base.size() - static_cast<std::uint64_t>(spot.place));
  const char* ours = target_.data() + begin;
  const char* theirs = base.data() + spot.place;
  std::uint64_t at = 0;
  while (at < most) {
    const auto window = static_cast<std::size_t>(std::min<std::uint64_t>(kWindow, most - at));
    if (std::memcmp(ours + at, theirs + at, window) != 0 && equal_bytes(ours + at, theirs + at, window) * 4 < window) {
      break;
    }
    at += window;
  }
  if (at < most) at += common_front(ours + at, theirs + at, static_cast<std::size_t>(most - at));
  if (begin + at == end) return at;
  if (at < kExactRun) return 0;  // chance
  // The last window may have begun alike and ended as something else.
  const std::uint64_t oldest = at > 2 * kWindow ? at - 2 * kWindow : 0;
  for (std::uint64_t to = at; to >= oldest + kExactRun; --to) {
    if (std::memcmp(ours + to - kExactRun, theirs + to - kExactRun, kExactRun) == 0) return to;
  }
  return at;
}

// Long equal stretches are copies; what lies between stays together.
void Aligner::found(std::uint64_t begin, std::uint64_t end, const Spot& spot, std::vector<Stretch>& out) const {
  const char* ours = target_.data() + begin;
  const char* theirs = bases_[spot.base].data() + spot.place;
  const std::uint64_t bytes = end - begin;
  const auto add = [&](std::uint64_t from, std::uint64_t to, bool exact) {
    if (from < to)
      out.push_back({begin + from, to - from, Spot{spot.base, spot.place + static_cast<std::int64_t>(from)},
                     exact ? Likeness::kExact : Likeness::kAlike});
  };
  if (std::memcmp(ours, theirs, static_cast<std::size_t>(bytes)) == 0) return add(0, bytes, true);
  std::uint64_t from = 0, at = 0;
  while (at < bytes) {
    const auto step = static_cast<std::size_t>(std::min(kStep, bytes - at));
    if (std::memcmp(ours + at, theirs + at, step) != 0) {
      at += step;
      continue;
    }
    std::uint64_t first = at;
    while (first > from && ours[first - 1] == theirs[first - 1]) --first;
    const std::uint64_t last = at + common_front(ours + at, theirs + at, static_cast<std::size_t>(bytes - at));
    at = std::max(last, at + 1);
    if (last - first < kExactStretch) continue;
    add(from, first, false);
    add(first, last, true);
    from = last;
  }
  add(from, bytes, false);
}

void Aligner::align(std::uint64_t begin, std::uint64_t end, std::optional<Spot> hint, std::vector<Stretch>& out) {
  std::uint64_t at = begin, unknown_from = begin;
  std::optional<Spot> spot = hint;
  std::optional<Spot> expected = hint;  // of the byte at unknown_from
  const auto give_up = [&](std::uint64_t to) {
    if (unknown_from == to) return;
    Stretch stretch{unknown_from, to - unknown_from, std::nullopt, Likeness::kNone};
    if (expected && expected->place >= 0 &&
        static_cast<std::uint64_t>(expected->place) + stretch.bytes <= bases_[expected->base].size()) {
      stretch.spot = expected;
      stretch.likeness = Likeness::kGuess;
    }
    out.push_back(stretch);
  };
  while (at < end) {
    if (spot) {
      if (const std::uint64_t bytes = alike(*spot, at, end); bytes > 0) {
        give_up(at);
        found(at, at + bytes, *spot, out);
        at += bytes;
        unknown_from = at;
        expected = Spot{spot->base, spot->place + static_cast<std::int64_t>(bytes)};
      }
    }
    if (end - at < kBlock) break;
    if (!index_) index_ = std::make_unique<Index>(bases_);
    const auto match = index_->search(target_, at, end);
    if (!match) break;
    std::uint64_t first = match->first;
    Spot from = match->second;
    while (first > unknown_from && from.place > 0 &&
           target_[static_cast<std::size_t>(first - 1)] ==
               bases_[from.base][static_cast<std::size_t>(from.place - 1)]) {
      --first;
      --from.place;
    }
    at = first;
    spot = from;
  }
  give_up(end);
}

// Rows that were added in the middle leave both ends beside those of the base. When all numbers moved besides, no
// search finds the second half: it is followed back from its end.
void Aligner::align_resized(std::uint64_t begin, std::uint64_t end, const Spot& first, const Spot& last,
                            std::vector<Stretch>& out) {
  align(begin, end, first, out);
  if (out.empty() || out.back().likeness == Likeness::kAlike || out.back().likeness == Likeness::kExact) return;
  const Stretch rest = out.back();
  const char* ours = target_.data() + end;
  const char* theirs = bases_[last.base].data() + last.place;
  const std::uint64_t most = std::min(rest.bytes, static_cast<std::uint64_t>(last.place)) / kWindow * kWindow;
  std::uint64_t back = 0;
  while (back < most && equal_bytes(ours - back - kWindow, theirs - back - kWindow, kWindow) * 4 >= kWindow) {
    back += kWindow;
  }
  if (back == 0) return;
  out.back().bytes -= back;
  if (out.back().bytes == 0) out.pop_back();
  found(end - back, end, {last.base, last.place - static_cast<std::int64_t>(back)}, out);
}

}  // namespace tidelock::delta
