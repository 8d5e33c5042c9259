// Planning a delta, in three steps. (1) The target is cut at its tensors, and each cut is given a place in a base: the
// tensor of the same name, else the same bytes under another name, else whatever the search finds. (2) The stretches
// become items, and jobs of a few items each, independent of one another; for each item the ways to write it are
// compared, from counts where counting is enough and by writing where it is not, and the smallest is kept. (3) The
// orders are written down in the order of the target, with copies that continue one another joined.
//
// How the bytes look is described in delta_format.h.
#include "codec/delta.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <numeric>
#include <utility>

#include "base/assert.h"
#include "codec/compress.h"
#include "codec/delta_align.h"
#include "codec/delta_format.h"
#include "codec/signature.h"

namespace tidelock {

using namespace delta;

std::string_view delta_kind_name(DeltaKind kind) {
  switch (kind) {
    case DeltaKind::kSame: return "same";
    case DeltaKind::kCopy: return "copy";
    case DeltaKind::kNumeric: return "numeric";
    case DeltaKind::kPatch: return "patch";
    case DeltaKind::kFull: return "full";
  }
  return "full";
}

namespace {

constexpr std::uint64_t kItemBytesMax = 4u << 20;                // one decision, one set of tables
constexpr std::uint64_t kJobBytes = 2u << 20;                    // below it a job takes the next item too
constexpr std::uint64_t kSampleBytes = 64u << 10;                // what a choice between bases or types is made from
constexpr std::uint64_t kSlice = 16u << 10;                      // of a sample
constexpr std::uint64_t kAround = 256u << 10;                    // what a patch sees to both sides of its place
constexpr std::uint64_t kWholeBaseBytes = kPatchPrefixBytesMax;  // such bases a patch without a place sees whole
constexpr std::uint64_t kOrderBytes = 6;                         // the head of an order, roughly
constexpr std::uint64_t kProbeBytes = 32u << 10;                 // what tells whether zstd is worth its time
constexpr std::uint64_t kFrameBytes = 12;                        // of a zstd frame, about
constexpr int kProbeLevel = 3;

BytesView cut(BytesView bytes, std::uint64_t at, std::uint64_t size) {
  return bytes.substr(static_cast<std::size_t>(at), static_cast<std::size_t>(size));
}

struct Item {
  std::uint64_t target = 0, bytes = 0;
  std::optional<Spot> spot;
  Likeness likeness = Likeness::kNone;
  ElementType type = ElementType::kOpaque;
  std::size_t part = 0;
};

struct Written {
  Order order = Order::kPlain;
  ElementType type = ElementType::kOpaque;
  std::uint64_t target = 0, bytes = 0;
  Spot spot;                       // with a base
  std::uint64_t prefix_bytes = 0;  // kPatch
  Bytes payload;                   // kPlain: none, they are the target's
  std::size_t part = 0;
};

// What travels for the orders beside the orders themselves.
std::uint64_t payload_of(const std::vector<Written>& orders) {
  std::uint64_t bytes = 0;
  for (const Written& order : orders) bytes += order.order == Order::kPlain ? order.bytes : order.payload.size();
  return bytes;
}
std::uint64_t size_of(const std::vector<Written>& orders) { return kOrderBytes * orders.size() + payload_of(orders); }

// A few slices of the stretch, whole elements; of the base the same.
struct Sample {
  Bytes target, base;
  std::uint64_t of = 0;  // bytes of the stretch
  std::uint64_t scaled(std::uint64_t bytes) const { return target.empty() ? of : bytes * of / target.size(); }
};
Sample sample_of(BytesView target, BytesView base) {
  if (target.size() <= kSampleBytes) return {Bytes(target), Bytes(base), target.size()};
  Sample sample{{}, {}, target.size()};
  constexpr std::uint64_t kSlices = kSampleBytes / kSlice;
  for (std::uint64_t i = 0; i < kSlices; ++i) {
    const std::uint64_t at = (target.size() - kSlice) / (kSlices - 1) * i / 64 * 64;
    sample.target += cut(target, at, kSlice);
    if (!base.empty()) sample.base += cut(base, at, kSlice);
  }
  return sample;
}

// --- what lies where
// ----------------------------------------------------------------------------------------------------

// Tensors by name; a name that is there several times counts up.
std::vector<std::string> names_of(const TensorMap& map) {
  std::map<std::string, int, std::less<>> seen;
  std::vector<std::string> names;
  for (const TensorRange& tensor : map.tensors) {
    const int count = seen[tensor.name]++;
    names.push_back(count == 0 ? tensor.name : tensor.name + '\n' + std::to_string(count));
  }
  return names;
}

class Layout {
 public:
  Layout(std::vector<BytesView> bases, BytesView target)
      : bases_(std::move(bases)), target_(target), map_(map_tensors(target)), aligner_(bases_, target) {
    for (std::size_t b = 0; b < bases_.size(); ++b) {
      maps_.push_back(map_tensors(bases_[b]));
      const auto names = names_of(maps_[b]);
      auto& named = named_.emplace_back();
      for (std::size_t i = 0; i < names.size(); ++i) named.emplace(names[i], i);
    }
  }

  // Items in order, none larger than kItemBytesMax, and the parts that they belong to.
  void run(std::vector<Item>& items, std::vector<DeltaPart>& parts) {
    const auto names = names_of(map_);
    std::uint64_t at = 0;
    for (std::size_t i = 0; i < map_.tensors.size(); ++i) {
      const TensorRange& tensor = map_.tensors[i];
      between(at, tensor.offset, items, parts);
      of_tensor(tensor, names[i], items, parts);
      at = tensor.offset + tensor.size_bytes;
    }
    between(at, target_.size(), items, parts);
  }

 private:
  void between(std::uint64_t begin, std::uint64_t end, std::vector<Item>& items, std::vector<DeltaPart>& parts) {
    if (begin == end) return;
    parts.push_back({"", ElementType::kOpaque, begin, end - begin, DeltaKind::kFull, 0});
    const Spot expected = went_on_
                              ? Spot{went_on_->base, went_on_->place + static_cast<std::int64_t>(begin - went_on_at_)}
                              : Spot{0, static_cast<std::int64_t>(begin)};
    std::vector<Stretch> stretches;
    if (!bases_.empty()) {
      aligner_.align(begin, end, expected, stretches);
    } else {
      stretches.push_back({begin, end - begin, std::nullopt, Likeness::kNone});
    }
    add(stretches, ElementType::kOpaque, begin, items, parts);
  }

  void of_tensor(const TensorRange& tensor, const std::string& name, std::vector<Item>& items,
                 std::vector<DeltaPart>& parts) {
    parts.push_back({tensor.name, tensor.type, tensor.offset, tensor.size_bytes, DeltaKind::kFull, 0});
    const BytesView bytes = cut(target_, tensor.offset, tensor.size_bytes);
    std::vector<Stretch> stretches;
    std::optional<Spot> beside, resized, resized_end;
    std::uint64_t least = 0;
    for (std::size_t b = 0; b < bases_.size(); ++b) {
      const auto found = named_[b].find(name);
      if (found == named_[b].end()) continue;
      const TensorRange& known = maps_[b].tensors[found->second];
      const Spot spot{b, static_cast<std::int64_t>(known.offset)};
      if (known.size_bytes != tensor.size_bytes) {
        if (!resized) {
          resized = spot;
          resized_end = Spot{b, spot.place + static_cast<std::int64_t>(known.size_bytes)};
        }
        continue;
      }
      const BytesView theirs = cut(bases_[b], known.offset, known.size_bytes);
      if (theirs == bytes) return whole(tensor, spot, Likeness::kExact, items, parts);
      const Sample sample = sample_of(bytes, theirs);
      const std::uint64_t cost = sample.scaled(estimate_numeric_bytes(tensor.type, sample.target, sample.base));
      if (!beside || cost < least) beside = spot, least = cost;
    }
    if (const auto same = elsewhere(bytes)) return whole(tensor, *same, Likeness::kExact, items, parts);
    if (beside) return whole(tensor, *beside, Likeness::kAlike, items, parts);
    const std::uint64_t end = tensor.offset + tensor.size_bytes;
    if (resized) {
      aligner_.align_resized(tensor.offset, end, *resized, *resized_end, stretches);
    } else if (!bases_.empty()) {
      aligner_.align(tensor.offset, end, std::nullopt, stretches);
    } else {
      stretches.push_back({tensor.offset, tensor.size_bytes, std::nullopt, Likeness::kNone});
    }
    add(stretches, tensor.type, tensor.offset, items, parts);
  }

  // The same bytes as a tensor of another name.
  std::optional<Spot> elsewhere(BytesView bytes) {
    if (by_content_.empty()) {
      for (std::size_t b = 0; b < bases_.size(); ++b) {
        for (const TensorRange& tensor : maps_[b].tensors) {
          const BytesView theirs = cut(bases_[b], tensor.offset, tensor.size_bytes);
          by_content_.emplace(std::pair(theirs.size(), hash64(theirs)),
                              Spot{b, static_cast<std::int64_t>(tensor.offset)});
        }
      }
    }
    const auto found = by_content_.find({bytes.size(), hash64(bytes)});
    if (found == by_content_.end()) return std::nullopt;
    const Spot spot = found->second;
    if (cut(bases_[spot.base], static_cast<std::uint64_t>(spot.place), bytes.size()) != bytes) return std::nullopt;
    return spot;
  }

  void whole(const TensorRange& tensor, const Spot& spot, Likeness likeness, std::vector<Item>& items,
             std::vector<DeltaPart>& parts) {
    add({{tensor.offset, tensor.size_bytes, spot, likeness}}, tensor.type, tensor.offset, items, parts);
  }

  // Cuts stretches into items. Numbers begin at multiples of their size from `grid`; what is left over at the ends of a
  // stretch are a few bytes of their own.
  void add(const std::vector<Stretch>& stretches, ElementType type, std::uint64_t grid, std::vector<Item>& items,
           std::vector<DeltaPart>& parts) {
    const std::size_t part = parts.size() - 1;
    const std::uint64_t width = element_bytes(type);
    for (const Stretch& stretch : stretches) {
      const auto item = [&](std::uint64_t begin, std::uint64_t end, ElementType as) {
        for (std::uint64_t at = begin; at < end;) {
          const std::uint64_t bytes =
              std::min(stretch.likeness == Likeness::kExact ? end - at : kItemBytesMax, end - at);
          std::optional<Spot> spot = stretch.spot;
          if (spot) spot->place += static_cast<std::int64_t>(at - stretch.target);
          items.push_back({at, bytes, spot, stretch.likeness, as, part});
          at += bytes;
        }
      };
      const std::uint64_t begin = stretch.target, end = begin + stretch.bytes;
      const std::uint64_t first = std::min(end, begin + (width - (begin - grid) % width) % width);
      const std::uint64_t last = std::max(first, end - (end - grid) % width);
      if (stretch.likeness == Likeness::kExact || width == 1) {
        item(begin, end, type);
      } else {
        item(begin, first, ElementType::kOpaque);
        item(first, last, type);
        item(last, end, ElementType::kOpaque);
      }
      if (stretch.spot && stretch.likeness != Likeness::kGuess) {
        went_on_ = Spot{stretch.spot->base, stretch.spot->place + static_cast<std::int64_t>(stretch.bytes)};
        went_on_at_ = end;
      }
    }
  }

  std::vector<BytesView> bases_;
  BytesView target_;
  TensorMap map_;
  Aligner aligner_;
  std::vector<TensorMap> maps_;
  std::vector<std::map<std::string, std::size_t, std::less<>>> named_;
  std::map<std::pair<std::size_t, std::uint64_t>, Spot> by_content_;
  std::optional<Spot> went_on_;   // where the stretch before ended in its base,
  std::uint64_t went_on_at_ = 0;  // and in the target
};

// --- one item
// -----------------------------------------------------------------------------------------------------------

// Writes the items of one job. The tables of numeric blocks are remembered within it.
class Writer {
 public:
  Writer(std::span<const BytesView> bases, BytesView target, int patch_level)
      : bases_(bases), target_(target), patch_level_(patch_level) {}

  std::vector<Written> write(const Item& item) {
    if (item.likeness == Likeness::kExact)
      return {{Order::kCopy, ElementType::kOpaque, item.target, item.bytes, *item.spot, 0, {}, item.part}};
    std::vector<Written> best = plain(item);
    if (item.bytes < 8) return best;
    const auto [type, head] = type_of(item);
    const std::uint64_t numbers = (item.bytes - head) / element_bytes(type) * element_bytes(type);
    const Item middle = within(item, head, numbers, type);
    // The plan says what numbers would cost before they are written.
    const NumericPlanPtr plan = numbers_.plan(type, ours(middle), theirs(middle));
    const std::uint64_t expected = planned_bytes(*plan) + kOrderBytes + item.bytes - numbers;
    std::vector<Written> patched = patch(item, std::min(expected, item.bytes + kOrderBytes));
    if (!patched.empty() && size_of(patched) < size_of(best)) best = std::move(patched);
    if (expected >= size_of(best)) return best;
    std::vector<Written> numeric;
    if (head > 0) numeric.push_back(plain(within(item, 0, head, ElementType::kOpaque)).front());
    blocks(middle, *plan, numeric);
    if (head + numbers < item.bytes) {
      numeric.push_back(plain(within(item, head + numbers, item.bytes - head - numbers, ElementType::kOpaque)).front());
    }
    return numeric;
  }

 private:
  BytesView ours(const Item& item) const { return cut(target_, item.target, item.bytes); }
  BytesView theirs(const Item& item) const {
    if (!item.spot) return {};
    return cut(bases_[item.spot->base], static_cast<std::uint64_t>(item.spot->place), item.bytes);
  }
  static Item within(const Item& item, std::uint64_t at, std::uint64_t bytes, ElementType type) {
    Item inner = item;
    inner.target += at;
    inner.bytes = bytes;
    inner.type = type;
    if (inner.spot) inner.spot->place += static_cast<std::int64_t>(at);
    return inner;
  }
  static std::vector<Written> plain(const Item& item) {
    return {{Order::kPlain, ElementType::kOpaque, item.target, item.bytes, {}, 0, {}, item.part}};
  }

  // Bytes of no known type are tried as each, at each offset: whatever makes them cheapest. Returns it with how many
  // bytes come before the first whole number.
  std::pair<ElementType, std::uint64_t> type_of(const Item& item) const {
    if (item.type != ElementType::kOpaque) return {item.type, 0};
    std::pair<ElementType, std::uint64_t> best{ElementType::kI8, 0};
    if (item.bytes < 256) return best;
    std::uint64_t least = ~std::uint64_t{0};
    for (const ElementType type : {ElementType::kI8, ElementType::kF16, ElementType::kBf16, ElementType::kF32}) {
      for (std::uint64_t head = 0; head < element_bytes(type); ++head) {
        const std::uint64_t bytes = (item.bytes - head) / 4 * 4;
        if (bytes == 0) continue;
        const Item middle =
            within(item, head, std::min(bytes, item.bytes - head) / element_bytes(type) * element_bytes(type), type);
        const Sample sample = sample_of(ours(middle), theirs(middle));
        const std::uint64_t cost = sample.scaled(estimate_numeric_bytes(type, sample.target, sample.base));
        if (cost < least) least = cost, best = {type, head};
      }
    }
    return best;
  }

  void blocks(const Item& item, NumericPlan& plan, std::vector<Written>& out) {
    for (std::uint64_t at = 0; at < item.bytes;) {
      const Item block = within(item, at, std::min<std::uint64_t>(kNumericBlockBytesMax, item.bytes - at), item.type);
      const BytesView base = theirs(block);
      Written written{Order::kValues, item.type, block.target, block.bytes, {}, 0, {}, item.part};
      if (plan_needs_base(plan)) {
        written.order = Order::kNumeric;
        written.spot = *block.spot;
      }
      if (written.order == Order::kNumeric && base == ours(block)) {
        out.push_back({Order::kCopy, ElementType::kOpaque, block.target, block.bytes, *block.spot, 0, {}, item.part});
      } else {
        written.payload = numbers_.block(plan, ours(block), base);
        TIDELOCK_ASSERT(written.payload.size() <= kNumericPayloadBytesMax);
        out.push_back(std::move(written));
      }
      at += block.bytes;
    }
  }

  // What a patch may look at: around the item's place, or all of a small base when text has no place.
  BytesView prefix_of(const Item& item, std::uint64_t at, std::uint64_t bytes, Spot& spot) const {
    const bool is_text = item.type == ElementType::kOpaque;
    if (bases_.empty() || (!item.spot && !is_text)) return {};
    spot = item.spot.value_or(Spot{0, 0});
    const BytesView base = bases_[spot.base];
    if (is_text && item.likeness != Likeness::kAlike && base.size() <= kWholeBaseBytes) {
      spot.place = 0;
      return base;
    }
    if (!item.spot) {
      spot.place = static_cast<std::int64_t>(std::min<std::uint64_t>(item.target + at, base.size()));
    } else {
      spot.place += static_cast<std::int64_t>(at);
    }
    // Numbers are compared with their own tensor only; text may have moved.
    const std::uint64_t around = is_text ? std::min(kAround, std::max<std::uint64_t>(4096, bytes * 16)) : 0;
    const auto place = static_cast<std::uint64_t>(spot.place);
    const std::uint64_t begin = place > around ? place - around : 0;
    const std::uint64_t end = std::min<std::uint64_t>(base.size(), place + bytes + around);
    spot.place = static_cast<std::int64_t>(begin);
    return cut(base, begin, end - begin);
  }

  // Empty when a look at a part of it says that it cannot be smaller than `limit`: the best level runs at 2 MB/s.
  std::vector<Written> patch(const Item& item, std::uint64_t limit) const {
    Spot spot;
    const std::uint64_t probe_bytes = std::min(item.bytes, kProbeBytes);
    const std::uint64_t probe_at = (item.bytes - probe_bytes) / 2;
    const BytesView probed = cut(ours(item), probe_at, probe_bytes);
    const BytesView prefix = prefix_of(item, probe_at, probe_bytes, spot);
    const auto scaled = [&](std::uint64_t bytes) {
      return (bytes > kFrameBytes ? bytes - kFrameBytes : 0) * item.bytes / probe_bytes;
    };
    const std::uint64_t alone = compress_against(probed, {}, kProbeLevel).size();
    const std::uint64_t beside = prefix.empty() ? alone : compress_against(probed, prefix, kProbeLevel).size();
    const bool against = beside + kOrderBytes < alone;
    if (scaled(std::min(alone, beside)) > limit + limit / 2) return {};
    const BytesView helper = against ? prefix : BytesView();
    if (probe_bytes < item.bytes && scaled(compress_against(probed, helper, patch_level_).size()) > limit) return {};

    std::vector<Written> out;
    for (std::uint64_t at = 0; at < item.bytes; at += kZstdBytesMax) {
      const std::uint64_t bytes = std::min<std::uint64_t>(kZstdBytesMax, item.bytes - at);
      const BytesView block = cut(ours(item), at, bytes);
      Written written{Order::kCompressed, ElementType::kOpaque, item.target + at, bytes, {}, 0, {}, item.part};
      BytesView beside_block;
      if (against) {
        beside_block = prefix_of(item, at, bytes, written.spot);
        written.order = Order::kPatch;
        written.prefix_bytes = beside_block.size();
      }
      written.payload = compress_against(block, beside_block, patch_level_);
      if (written.payload.size() >= bytes) written = plain(within(item, at, bytes, ElementType::kOpaque)).front();
      out.push_back(std::move(written));
    }
    return out;
  }

  std::span<const BytesView> bases_;
  BytesView target_;
  int patch_level_;
  NumericEncoder numbers_;
};

// --- writing it down
// ------------------------------------------------------------------------------------------------------

// Copies that continue one another are one order, which counts for the part of the first.
void join_copies(std::vector<Written>& orders) {
  std::vector<Written> joined;
  for (Written& order : orders) {
    if (!joined.empty()) {
      Written& last = joined.back();
      const bool follows = last.order == order.order && last.target + last.bytes == order.target;
      if (follows && order.order == Order::kPlain && last.part == order.part) {
        last.bytes += order.bytes;
        continue;
      }
      if (follows && order.order == Order::kCopy && last.spot.base == order.spot.base &&
          last.spot.place + static_cast<std::int64_t>(last.bytes) == order.spot.place) {
        last.bytes += order.bytes;
        continue;
      }
    }
    joined.push_back(std::move(order));
  }
  orders = std::move(joined);
}

class Book {
 public:
  Book(const DeltaHeader& header, std::span<const std::size_t> numbers)
      : numbers_(numbers), cursors_(header.bases.size()) {
    put_front(out_, header);
  }
  // Returns the bytes that the order takes.
  std::uint64_t add(const Written& order, BytesView target) {
    const std::size_t before = out_.size();
    out_.push_back(static_cast<char>(static_cast<unsigned>(order.order) | static_cast<unsigned>(order.type) << 3));
    if (has_base(order.order)) {
      const std::size_t number = numbers_[order.spot.base];
      if (cursors_.size() > 1) out_.push_back(static_cast<char>(number));
      put_signed(out_, order.spot.place - cursors_[number].expected(order.target));
      cursors_[number] = {order.target, static_cast<std::uint64_t>(order.spot.place)};
    }
    if (order.order == Order::kPatch) put_varint(out_, order.prefix_bytes);
    const bool numeric = order.order == Order::kNumeric || order.order == Order::kValues;
    put_varint(out_, numeric ? order.bytes / element_bytes(order.type) : order.bytes);
    if (has_payload(order.order)) put_varint(out_, order.payload.size());
    out_ += order.order == Order::kPlain ? cut(target, order.target, order.bytes) : BytesView(order.payload);
    return out_.size() - before;
  }
  Bytes finish() {
    const std::uint32_t crc = crc32c(out_);
    for (int shift = 0; shift < 32; shift += 8) out_.push_back(static_cast<char>(crc >> shift));
    return std::move(out_);
  }

 private:
  Bytes out_;
  std::span<const std::size_t> numbers_;  // of the bases offered, in the delta
  std::vector<Cursor> cursors_;
};

// What a part is called: by what travels for it, or by how it is put together from what is there.
void name_kinds(const std::vector<Written>& orders, std::vector<DeltaPart>& parts) {
  struct Sum {
    std::uint64_t numeric = 0, patch = 0, full = 0, copies = 0;
  };
  std::vector<Sum> sums(parts.size());
  for (const Written& order : orders) {
    Sum& sum = sums[order.part];
    switch (order.order) {
      case Order::kCopy: ++sum.copies; break;
      case Order::kNumeric: sum.numeric += order.payload.size(); break;
      case Order::kPatch: sum.patch += order.payload.size(); break;
      case Order::kValues:
      case Order::kCompressed: sum.full += order.payload.size(); break;
      case Order::kPlain: sum.full += order.bytes; break;
    }
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Sum& sum = sums[i];
    const std::uint64_t most = std::max({sum.numeric, sum.patch, sum.full});
    parts[i].kind = most == 0             ? (sum.copies == 1 ? DeltaKind::kSame : DeltaKind::kCopy)
                    : most == sum.numeric ? DeltaKind::kNumeric
                    : most == sum.patch   ? DeltaKind::kPatch
                                          : DeltaKind::kFull;
  }
}

Result<void> check_request(std::span<const DeltaSource> bases, const DeltaSource& target) {
  if (bases.size() > kDeltaBasesMax) {
    return fail(Code::kInvalid,
                "delta: " + std::to_string(bases.size()) + " bases; at most " + std::to_string(kDeltaBasesMax));
  }
  const auto check = [](const DeltaSource& source, const char* what) -> Result<void> {
    if (source.bytes.size() > kDeltaFileBytesMax) {
      return fail(Code::kInvalid, std::string("delta: a ") + what + " of " + std::to_string(source.bytes.size()) +
                                      " bytes; at most " + std::to_string(kDeltaFileBytesMax));
    }
    if (!source.sha256.empty() && source.sha256.size() != kSha256Bytes) {
      return fail(Code::kInvalid, std::string("delta: the SHA-256 of a ") + what + " has " +
                                      std::to_string(source.sha256.size()) + " bytes; give " +
                                      std::to_string(kSha256Bytes) + " or none");
    }
    return {};
  };
  for (const DeltaSource& base : bases) {
    if (auto checked = check(base, "base"); !checked) return checked;
  }
  return check(target, "target");
}

// [begin, end) of the items of each job.
std::vector<std::pair<std::size_t, std::size_t>> jobs_of(const std::vector<Item>& items) {
  std::vector<std::pair<std::size_t, std::size_t>> jobs;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (jobs.empty() || bytes >= kJobBytes) jobs.emplace_back(i, i), bytes = 0;
    jobs.back().second = i + 1;
    if (items[i].likeness != Likeness::kExact) bytes += items[i].bytes;
  }
  return jobs;
}

}  // namespace

Result<Delta> make_delta(std::span<const DeltaSource> bases, const DeltaSource& target, const DeltaOptions& options) {
  if (auto checked = check_request(bases, target); !checked) return fail(checked.error());
  std::vector<BytesView> views;
  for (const DeltaSource& base : bases) views.push_back(base.bytes);
  Delta delta;
  std::vector<Item> items;
  Layout(views, target.bytes).run(items, delta.parts);

  // Hashes are jobs beside the others.
  std::vector<Bytes> hashes(bases.size() + 1);
  const auto jobs = jobs_of(items);
  std::atomic<std::uint64_t> bytes_so_far{0};
  std::atomic<bool> stopped{false};
  const auto too_large = [&] { return options.bytes_max > 0 && bytes_so_far.load() > options.bytes_max; };
  std::vector<std::vector<Written>> written(jobs.size());
  const auto job = [&](std::size_t number) {
    if (options.go_on && !options.go_on()) stopped.store(true);
    if (stopped.load() || too_large()) return;
    if (number < hashes.size()) {
      const DeltaSource& source = number < bases.size() ? bases[number] : target;
      hashes[number] = source.sha256.empty() ? sha256(source.bytes) : source.sha256;
      return;
    }
    number -= hashes.size();
    Writer writer(views, target.bytes, options.patch_level);
    for (std::size_t i = jobs[number].first; i < jobs[number].second && !too_large(); ++i) {
      std::vector<Written> orders = writer.write(items[i]);
      bytes_so_far.fetch_add(payload_of(orders));
      for (Written& order : orders) written[number].push_back(std::move(order));
    }
  };
  const std::size_t count = hashes.size() + jobs.size();
  if (options.run_jobs) {
    options.run_jobs(count, job);
  } else {
    for (std::size_t i = 0; i < count; ++i) job(i);
  }
  if (stopped.load()) return fail(Code::kUnavailable, "interrupted while a delta was made");
  if (too_large()) {
    return fail(Code::kNotFound, "a delta would have more than " + std::to_string(options.bytes_max) + " bytes");
  }

  std::vector<Written> orders;
  for (auto& some : written) std::move(some.begin(), some.end(), std::back_inserter(orders));
  name_kinds(orders, delta.parts);
  std::vector<bool> is_used(bases.size(), false);
  for (const Written& order : orders) {
    if (has_base(order.order)) is_used[order.spot.base] = true;
  }
  join_copies(orders);
  delta.header = {target.bytes.size(), hashes.back(), {}};
  std::vector<std::size_t> numbers(bases.size(), 0);
  for (std::size_t b = 0; b < bases.size(); ++b) {
    if (!is_used[b]) continue;
    numbers[b] = delta.header.bases.size();
    delta.header.bases.push_back({bases[b].bytes.size(), hashes[b]});
  }
  Book book(delta.header, numbers);
  for (const Written& order : orders) delta.parts[order.part].delta_bytes += book.add(order, target.bytes);
  delta.bytes = book.finish();
  return delta;
}

}  // namespace tidelock
