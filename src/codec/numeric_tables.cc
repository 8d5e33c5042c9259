#include "codec/numeric_tables.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tidelock::numeric {
namespace {

constexpr int kLevelMax = 1 + 12 * 4 + 3;
constexpr int kKeyBits = 10;
constexpr int kContextBits = 4;

// A probability that a bit is 1, in 1/65536, that follows what was seen.
class Chance {
 public:
  std::uint32_t in_4096() const { return std::clamp<std::uint32_t>(p_ >> 4, 1, 4095); }
  void saw(bool bit) {
    if (bit) {
      p_ += (65535 - p_) >> 4;
    } else {
      p_ -= p_ >> 4;
    }
  }

 private:
  std::uint32_t p_ = 32768;
};

// An interval [low, high] of 32 bits that each bit narrows by its chance; the bytes that both ends share are settled.
class BitWriter {
 public:
  void bit(bool bit, Chance& chance) {
    narrow(bit, chance.in_4096());
    chance.saw(bit);
  }
  void plain(std::uint32_t value, int bits) {
    while (bits-- > 0) narrow((value >> bits & 1) != 0, 2048);
  }
  // One more byte names a number inside of the interval: behind the end the reader sees zeros.
  Bytes finish() {
    if (low_ > 0) out_.push_back(static_cast<char>((low_ >> 24) + 1));
    while (!out_.empty() && out_.back() == '\0') out_.pop_back();
    return std::move(out_);
  }

 private:
  void narrow(bool bit, std::uint32_t in_4096) {
    const std::uint32_t middle = low_ + ((high_ - low_) >> 12) * in_4096;
    if (bit) {
      high_ = middle;
    } else {
      low_ = middle + 1;
    }
    while ((low_ ^ high_) >> 24 == 0) {
      out_.push_back(static_cast<char>(high_ >> 24));
      low_ <<= 8;
      high_ = high_ << 8 | 255;
    }
  }
  std::uint32_t low_ = 0, high_ = 0xFFFFFFFF;
  Bytes out_;
};

class BitReader {
 public:
  explicit BitReader(BytesView in) : in_(in) {
    for (int i = 0; i < 4; ++i) next_byte();
  }
  bool bit(Chance& chance) {
    const bool bit = narrow(chance.in_4096());
    chance.saw(bit);
    return bit;
  }
  std::uint32_t plain(int bits) {
    std::uint32_t value = 0;
    while (bits-- > 0) value = value << 1 | (narrow(2048) ? 1 : 0);
    return value;
  }

 private:
  bool narrow(std::uint32_t in_4096) {
    const std::uint32_t middle = low_ + ((high_ - low_) >> 12) * in_4096;
    const bool bit = at_value_ <= middle;
    if (bit) {
      high_ = middle;
    } else {
      low_ = middle + 1;
    }
    while ((low_ ^ high_) >> 24 == 0) {
      low_ <<= 8;
      high_ = high_ << 8 | 255;
      next_byte();
    }
    return bit;
  }
  void next_byte() {
    at_value_ = at_value_ << 8 | (at_ < in_.size() ? static_cast<unsigned char>(in_[at_]) : 0u);
    ++at_;
  }
  BytesView in_;
  std::size_t at_ = 0;
  std::uint32_t low_ = 0, high_ = 0xFFFFFFFF, at_value_ = 0;
};

// The steps from one level to the next, as bits. `Bits` is a writer or a reader, so that both walk the same path.
struct LevelModel {
  Chance present[4];      // by whether the two before were
  Chance length[2][8];    // of the zigzagged step, in unary; the first after an absent token learns by itself
  Chance below[2][8][8];  // its bits below the highest
};

void write_levels(BitWriter& out, std::span<const std::uint16_t> levels, LevelModel& model) {
  int last = 24;
  unsigned seen = 3;
  for (const std::uint16_t level : levels) {
    out.bit(level != 0, model.present[seen]);
    const int kind = (seen & 1) != 0 ? 0 : 1;
    seen = (seen << 1 | (level != 0 ? 1u : 0u)) & 3;
    if (level == 0) continue;
    const int step = level - last;
    const auto folded = static_cast<unsigned>(step < 0 ? -2 * step - 1 : 2 * step) + 1;
    const int length = std::bit_width(folded) - 1;
    for (int i = 0; i <= length && i < 7; ++i) out.bit(i < length, model.length[kind][i]);
    for (int i = length - 1; i >= 0; --i) out.bit((folded >> i & 1) != 0, model.below[kind][length][i]);
    last = level;
  }
}
bool read_levels(BitReader& in, std::span<std::uint16_t> levels, LevelModel& model) {
  int last = 24;
  unsigned seen = 3;
  for (std::uint16_t& level : levels) {
    level = 0;
    const bool present = in.bit(model.present[seen]);
    const int kind = (seen & 1) != 0 ? 0 : 1;
    seen = (seen << 1 | (present ? 1u : 0u)) & 3;
    if (!present) continue;
    int length = 0;
    while (length < 7 && in.bit(model.length[kind][length])) ++length;
    unsigned folded = 1;
    for (int i = length - 1; i >= 0; --i) folded = folded << 1 | (in.bit(model.below[kind][length][i]) ? 1u : 0u);
    --folded;
    const int step = (folded & 1) != 0 ? -static_cast<int>((folded + 1) / 2) : static_cast<int>(folded / 2);
    last += step;
    if (last < 1 || last > kLevelMax) return false;
    level = static_cast<std::uint16_t>(last);
  }
  return true;
}

// Integers only: both sides must come to the same.
void frequencies_from_levels(Frequencies& table) {
  const std::size_t count = table.levels.size();
  std::vector<std::uint64_t> weights(count, 0);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (table.levels[i] == 0) continue;
    const unsigned quarters = table.levels[i] - 1u;
    weights[i] = std::uint64_t{4 + quarters % 4} << (quarters / 4);
    sum += weights[i];
  }
  table.frequency.assign(count, 0);
  table.cumulative.assign(count, 0);
  if (sum == 0) return;
  std::uint32_t given = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (weights[i] == 0) continue;
    const auto share = static_cast<std::uint32_t>((weights[i] * kScale + sum / 2) / sum);
    table.frequency[i] = static_cast<std::uint16_t>(std::max<std::uint32_t>(share, 1));
    given += table.frequency[i];
  }
  while (given != kScale) {  // the most frequent bear the rounding
    auto& largest = *std::max_element(table.frequency.begin(), table.frequency.end());
    if (given < kScale) {
      largest = static_cast<std::uint16_t>(largest + (kScale - given));
      given = kScale;
    } else {
      const std::uint32_t step = std::min<std::uint32_t>(given - kScale, (largest + 7u) / 8u);
      largest = static_cast<std::uint16_t>(largest - step);
      given -= step;
    }
  }
  std::uint32_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    table.cumulative[i] = static_cast<std::uint16_t>(at);
    at += table.frequency[i];
  }
}

}  // namespace

Frequencies frequencies_of(std::span<const std::uint32_t> counts) {
  Frequencies table;
  table.levels.assign(counts.size(), 0);
  const std::uint32_t most = counts.empty() ? 0 : *std::max_element(counts.begin(), counts.end());
  if (most > 0) {
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] == 0) continue;
      // The most frequent stands at the top level; four levels make a factor of two, as 4, 5, 6, 7 do.
      const double weight = std::max(4.0, 7.0 * 4096.0 * counts[i] / most);
      const int octave = std::ilogb(weight / 4.0);
      const int quarter = static_cast<int>(std::lround(weight / std::ldexp(1.0, octave))) - 4;
      table.levels[i] = static_cast<std::uint16_t>(std::min(kLevelMax, 1 + octave * 4 + quarter));
    }
  }
  frequencies_from_levels(table);
  return table;
}

Bytes write_tables(const Tables& tables) {
  BitWriter out;
  LevelModel model;
  if (is_diff(tables.mode)) {
    out.plain(static_cast<std::uint32_t>(tables.context_ends.size()) - 1, kContextBits);
    for (std::size_t i = 0; i + 1 < tables.context_ends.size(); ++i) out.plain(tables.context_ends[i], kKeyBits);
  }
  for (const Frequencies& table : tables.values) write_levels(out, table.levels, model);
  if (is_sparse(tables.mode)) {
    LevelModel runs;
    write_levels(out, tables.runs.levels, runs);
  }
  return out.finish();
}

Result<Tables> read_tables(BytesView bytes, Mode mode, std::size_t keys, std::size_t tokens) {
  const auto impossible = [] { return fail(Code::kCorrupt, "delta: impossible tables of a numeric block"); };
  if (!bytes.empty() && bytes.back() == '\0') return impossible();  // a second way to write the same
  BitReader in(bytes);
  LevelModel model;
  Tables tables;
  tables.mode = mode;
  std::size_t contexts = 1;
  if (is_diff(mode)) {
    contexts = in.plain(kContextBits) + 1;
    if (contexts > kContextsMax) return impossible();
    for (std::size_t i = 0; i + 1 < contexts; ++i) {
      const std::uint32_t end = in.plain(kKeyBits);
      const std::uint32_t before = i == 0 ? 0 : tables.context_ends.back();
      if (end <= before || end >= keys) return impossible();
      tables.context_ends.push_back(static_cast<std::uint16_t>(end));
    }
  }
  tables.context_ends.push_back(static_cast<std::uint16_t>(keys));
  const auto read = [&](Frequencies& table, std::size_t count, LevelModel& levels) {
    table.levels.assign(count, 0);
    if (!read_levels(in, table.levels, levels)) return false;
    frequencies_from_levels(table);
    return true;
  };
  for (std::size_t i = 0; i < contexts; ++i) {
    if (!read(tables.values.emplace_back(), tokens, model)) return impossible();
  }
  if (is_sparse(mode)) {
    LevelModel runs;
    if (!read(tables.runs, kMagnitudeTokens, runs)) return impossible();
  }
  return tables;
}

}  // namespace tidelock::numeric
