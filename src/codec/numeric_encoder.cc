// Planning counts, writing codes. One pass over a stretch counts how often each token comes, for every way to write it
// and, for differences, for each class of the base's magnitude; from the counts alone it is known what each way costs.
// Classes next to one another share a table when that saves more than a table costs.
//
// rANS writes backwards, so a block is first laid out as a list of intervals, forwards, while the plain bits are
// written; then the list is walked from its end.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/assert.h"
#include "codec/numeric_block.h"
#include "codec/numeric_tables.h"

namespace tidelock {

using numeric::Frequencies;
using numeric::Mode;
using numeric::Tables;
using numeric::Token;

struct NumericPlan {
  ElementType type = ElementType::kI8;
  Tables tables;
  bool writes_tables = true;
  double bits = 0;
};
void DropNumericPlan::operator()(NumericPlan* plan) const { delete plan; }
std::uint64_t planned_bytes(const NumericPlan& plan) { return static_cast<std::uint64_t>(plan.bits / 8) + 8; }
bool plan_needs_base(const NumericPlan& plan) { return plan.tables.mode != Mode::kDenseValue; }

namespace {

constexpr double kNever = 1e300;
constexpr double kSparseFavour = 1.05;
constexpr double kTableWorth = 0.0003;  // of a stretch: many tables do not stay in a reader's nearest cache
constexpr double kTableBits = 24, kTableBitsPerToken = 3.5;

double log2_of(std::uint32_t n) {
  static const auto small = [] {
    std::array<double, 4096> table{};
    for (std::uint32_t i = 1; i < table.size(); ++i) table[i] = std::log2(static_cast<double>(i));
    return table;
  }();
  return n < small.size() ? small[n] : std::log2(static_cast<double>(n));
}

using Counts = std::vector<std::uint32_t>;

// The entropy of the counts, and the table that says so.
double cost_of(std::span<const std::uint32_t> counts) {
  std::uint64_t sum = 0;
  double bits = 0, used = 0;
  for (const std::uint32_t n : counts) {
    if (n == 0) continue;
    sum += n;
    used += 1;
    bits -= n * log2_of(n);
  }
  if (sum == 0) return 0;
  return bits + static_cast<double>(sum) * std::log2(static_cast<double>(sum)) + kTableBits + kTableBitsPerToken * used;
}
// What the same would cost with a given table; kNever when it lacks a token.
double cost_with(std::span<const std::uint32_t> counts, const Frequencies& table) {
  double bits = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    if (i >= table.frequency.size() || table.frequency[i] == 0) return kNever;
    bits += counts[i] * (numeric::kScaleBits - log2_of(table.frequency[i]));
  }
  return bits;
}

// Everything that one pass over a stretch counts.
struct Stretch {
  std::size_t tokens = 0, keys = 0;
  Counts diff;                                                                // [key * tokens + token]
  Counts value;                                                               // of every number
  Counts changed;                                                             // of numbers that differ from the base
  Counts runs;                                                                // of how many in a row do not
  double diff_plain = 0, value_plain = 0, changed_plain = 0, runs_plain = 0;  // bits that travel as they are
};

template <class N>
Stretch count_stretch(BytesView target, BytesView base) {
  using Word = typename N::Word;
  Stretch s;
  s.tokens = N::kDiffTokens;
  s.keys = N::kKeys;
  s.value.assign(N::kValueTokens, 0);
  s.changed.assign(N::kValueTokens, 0);
  s.runs.assign(numeric::kMagnitudeTokens, 0);
  const std::size_t count = target.size() / sizeof(Word);
  if (base.empty()) {
    for (std::size_t i = 0; i < count; ++i) ++s.value[N::value_token(N::load(target.data() + i * sizeof(Word))).token];
  } else {
    s.diff.assign(s.keys * s.tokens, 0);
    std::size_t run = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const Word value = N::load(target.data() + i * sizeof(Word)), from = N::load(base.data() + i * sizeof(Word));
      const Token value_token = N::value_token(value);
      ++s.value[value_token.token];
      const std::uint32_t token = numeric::magnitude_token(N::difference(value, from)).token;
      ++s.diff[N::key(from) * s.tokens + token];
      if (token == 0) {
        ++run;
        continue;
      }
      ++s.changed[value_token.token];
      const Token run_token = numeric::magnitude_token(static_cast<std::uint32_t>(run));
      ++s.runs[run_token.token];
      s.runs_plain += run_token.bits;
      run = 0;
    }
    for (std::size_t key = 0; key < s.keys; ++key) {
      for (std::size_t token = 0; token < s.tokens; ++token) {
        s.diff_plain += s.diff[key * s.tokens + token] *
                        static_cast<double>(numeric::magnitude_base(static_cast<std::uint32_t>(token)).bits);
      }
    }
  }
  for (std::size_t token = 0; token < N::kValueTokens; ++token) {
    const auto bits = static_cast<double>(N::value_base(static_cast<std::uint32_t>(token)).bits);
    s.value_plain += s.value[token] * bits;
    s.changed_plain += s.changed[token] * bits;
  }
  return s;
}

// A run of keys that share a table.
struct Group {
  std::size_t end = 0;  // of its keys
  Counts counts;
  double bits = 0;
};
Group joined(const Group& a, const Group& b) {
  Group both{b.end, a.counts, 0};
  for (std::size_t i = 0; i < both.counts.size(); ++i) both.counts[i] += b.counts[i];
  both.bits = cost_of(both.counts);
  return both;
}

// Neighbours are joined, the pair that gains most first, until apart they save something and there are few enough.
std::vector<Group> group_keys(const Stretch& s, bool skip_zero) {
  std::vector<Group> groups;
  std::uint64_t all = 0;
  for (const std::uint32_t n : s.diff) all += n;
  std::uint64_t pending = std::numeric_limits<std::uint64_t>::max();
  for (std::size_t key = 0; key < s.keys; ++key) {
    Counts counts(s.diff.begin() + static_cast<std::ptrdiff_t>(key * s.tokens),
                  s.diff.begin() + static_cast<std::ptrdiff_t>((key + 1) * s.tokens));
    if (skip_zero) counts[0] = 0;
    std::uint64_t sum = 0;
    for (const std::uint32_t n : counts) sum += n;
    if (!groups.empty() && (sum == 0 || pending < all / 256)) {  // rare keys are not worth a try of their own
      for (std::size_t i = 0; i < counts.size(); ++i) groups.back().counts[i] += counts[i];
      groups.back().end = key + 1;
      pending += sum;
    } else {
      groups.push_back({key + 1, std::move(counts), 0});
      pending = sum;
    }
  }
  double all_bits = s.diff_plain;
  for (Group& group : groups) all_bits += group.bits = cost_of(group.counts);
  std::vector<Group> pairs;  // [i]: groups i and i + 1 as one
  for (std::size_t i = 0; i + 1 < groups.size(); ++i) pairs.push_back(joined(groups[i], groups[i + 1]));
  while (groups.size() > 1) {
    std::size_t best = 0;
    double best_gain = -kNever;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const double gain = groups[i].bits + groups[i + 1].bits - pairs[i].bits;
      if (gain > best_gain) best_gain = gain, best = i;
    }
    if (best_gain <= -kTableWorth * all_bits && groups.size() <= numeric::kContextsMax) break;
    const auto at = static_cast<std::ptrdiff_t>(best);
    groups[best] = std::move(pairs[best]);
    groups.erase(groups.begin() + at + 1);
    pairs.erase(pairs.begin() + at);
    if (best > 0) pairs[best - 1] = joined(groups[best - 1], groups[best]);
    if (best < pairs.size()) pairs[best] = joined(groups[best], groups[best + 1]);
  }
  return groups;
}

struct Choice {
  Mode mode = Mode::kDenseValue;
  std::vector<Group> groups;
  double bits = kNever;
};

Choice cheapest(const Stretch& s) {
  Choice best{Mode::kDenseValue, {}, cost_of(s.value) + s.value_plain};
  if (s.diff.empty()) return best;
  const double runs = cost_of(s.runs) + s.runs_plain;
  const double sparse_value = cost_of(s.changed) + s.changed_plain + runs;
  if (sparse_value < best.bits) best = {Mode::kSparseValue, {}, sparse_value};
  const auto sum = [](const Counts& counts) { return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}); };
  const bool is_rare = sum(s.runs) < sum(s.value) / 16;
  for (const bool sparse : {false, true}) {
    std::vector<Group> groups = group_keys(s, sparse);
    double bits = s.diff_plain + (sparse ? runs : 0) + static_cast<double>(groups.size()) * 10;
    for (const Group& group : groups) bits += group.bits;
    // Where few numbers change, runs are read ten times faster, and that is worth a few percent.
    if (bits < best.bits * (sparse && is_rare ? kSparseFavour : 1))
      best = {sparse ? Mode::kSparseDiff : Mode::kDenseDiff, std::move(groups), bits};
  }
  return best;
}

// What the stretch would cost with tables that the decoder already has.
double cost_with_tables(const Stretch& s, const Tables& tables) {
  double bits = 0;
  switch (tables.mode) {
    case Mode::kDenseValue: return s.value_plain + cost_with(s.value, tables.values[0]);
    case Mode::kSparseValue:
      if (s.diff.empty()) return kNever;
      return s.changed_plain + s.runs_plain + cost_with(s.changed, tables.values[0]) + cost_with(s.runs, tables.runs);
    case Mode::kSparseDiff: bits = s.runs_plain + cost_with(s.runs, tables.runs); break;
    case Mode::kDenseDiff: break;
  }
  if (s.diff.empty()) return kNever;
  bits += s.diff_plain;
  std::size_t key = 0;
  Counts counts(s.tokens);
  for (std::size_t context = 0; context < tables.values.size(); ++context) {
    std::fill(counts.begin(), counts.end(), 0);
    for (; key < tables.context_ends[context]; ++key) {
      for (std::size_t i = 0; i < s.tokens; ++i) counts[i] += s.diff[key * s.tokens + i];
    }
    if (tables.mode == Mode::kSparseDiff) counts[0] = 0;
    bits += cost_with(counts, tables.values[context]);
  }
  return bits;
}

Tables tables_of(const Stretch& s, const Choice& choice) {
  Tables tables;
  tables.mode = choice.mode;
  switch (choice.mode) {
    case Mode::kDenseValue:
    case Mode::kSparseValue:
      tables.context_ends = {static_cast<std::uint16_t>(s.keys)};
      tables.values.push_back(numeric::frequencies_of(choice.mode == Mode::kDenseValue ? s.value : s.changed));
      break;
    case Mode::kDenseDiff:
    case Mode::kSparseDiff:
      for (const Group& group : choice.groups) {
        tables.context_ends.push_back(static_cast<std::uint16_t>(group.end));
        tables.values.push_back(numeric::frequencies_of(group.counts));
      }
      break;
  }
  if (is_sparse(choice.mode)) tables.runs = numeric::frequencies_of(s.runs);
  return tables;
}

Stretch count_any(ElementType type, BytesView target, BytesView base) {
  return numeric::with_numbers(type, [&](auto n) { return count_stretch<decltype(n)>(target, base); });
}

// --- writing
// ----------------------------------------------------------------------------------------------------------

void put_varint(Bytes& out, std::uint64_t v) {
  while (v >= 0x80) {
    out.push_back(static_cast<char>(v | 0x80));
    v >>= 7;
  }
  out.push_back(static_cast<char>(v));
}

// Plain bits, the first into the lowest bit of the first byte.
class PlainBits {
 public:
  void put(std::uint32_t value, std::uint32_t bits) {
    held_ |= static_cast<std::uint64_t>(value) << count_;
    count_ += bits;
    while (count_ >= 8) {
      out_.push_back(static_cast<char>(held_));
      held_ >>= 8;
      count_ -= 8;
    }
  }
  Bytes take() {
    if (count_ > 0) out_.push_back(static_cast<char>(held_));
    held_ = count_ = 0;
    return std::move(out_);
  }

 private:
  Bytes out_;
  std::uint64_t held_ = 0;
  std::uint32_t count_ = 0;
};

struct Interval {
  std::uint16_t frequency, cumulative;
};

struct Layout {
  std::vector<Interval> intervals;
  PlainBits plain;
  std::uint64_t changed = 0;
  void token(const Frequencies& table, const Token& token) {
    TIDELOCK_ASSERT(table.frequency[token.token] > 0);
    intervals.push_back({table.frequency[token.token], table.cumulative[token.token]});
    plain.put(token.extra, token.bits);
  }
};

// Four states take turns, so that a decoder works on four numbers at once; a short list has one.
Bytes write_intervals(const std::vector<Interval>& intervals) {
  const std::size_t states = numeric::states_for(intervals.size());
  std::array<std::uint32_t, numeric::kStates> x{};
  x.fill(numeric::kStateLow);
  std::vector<std::uint16_t> words;  // backwards
  words.reserve(intervals.size() / 2);
  for (std::size_t i = intervals.size(); i-- > 0;) {
    const Interval at = intervals[i];
    std::uint32_t& state = x[i % states];
    if (state >= static_cast<std::uint64_t>(at.frequency) << (32 - numeric::kScaleBits)) {
      words.push_back(static_cast<std::uint16_t>(state));
      state >>= 16;
    }
    state = (state / at.frequency << numeric::kScaleBits) + state % at.frequency + at.cumulative;
  }
  Bytes out;
  out.reserve(states * 4 + words.size() * 2);
  for (std::size_t s = 0; s < states; ++s) {
    for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(x[s] >> shift));
  }
  for (std::size_t i = words.size(); i-- > 0;) {
    out.push_back(static_cast<char>(words[i]));
    out.push_back(static_cast<char>(words[i] >> 8));
  }
  return out;
}

template <class N>
void lay_out(const Tables& tables, BytesView target, BytesView base, Layout& layout) {
  using Word = typename N::Word;
  std::array<std::uint8_t, numeric::kKeysMax> context_of{};
  std::size_t key = 0;
  for (std::size_t context = 0; context < tables.context_ends.size(); ++context) {
    for (; key < tables.context_ends[context]; ++key) context_of[key] = static_cast<std::uint8_t>(context);
  }
  const std::size_t count = target.size() / sizeof(Word);
  const bool sparse = is_sparse(tables.mode), diff = is_diff(tables.mode);
  if (!sparse) layout.intervals.reserve(count);
  std::uint32_t run = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const Word value = N::load(target.data() + i * sizeof(Word));
    if (tables.mode == Mode::kDenseValue) {
      layout.token(tables.values[0], N::value_token(value));
      continue;
    }
    const Word from = N::load(base.data() + i * sizeof(Word));
    if (sparse && value == from) {
      ++run;
      continue;
    }
    if (sparse) layout.token(tables.runs, numeric::magnitude_token(run));
    layout.token(tables.values[diff ? context_of[N::key(from)] : 0],
                 diff ? numeric::magnitude_token(N::difference(value, from)) : N::value_token(value));
    run = 0;
    ++layout.changed;
  }
}

}  // namespace

struct NumericEncoder::Memory {
  std::array<std::optional<Tables>, static_cast<std::size_t>(last_enumerator(ElementType{})) + 1> known;
};
NumericEncoder::NumericEncoder() : memory_(std::make_unique<Memory>()) {}
NumericEncoder::~NumericEncoder() = default;

NumericPlanPtr NumericEncoder::plan(ElementType type, BytesView target, BytesView base) {
  TIDELOCK_ASSERT(target.size() % element_bytes(type) == 0 && (base.empty() || base.size() == target.size()));
  const Stretch stretch = count_any(type, target, base);
  const Choice choice = cheapest(stretch);
  NumericPlanPtr plan(new NumericPlan{type, {}, true, choice.bits});
  const auto& known = memory_->known[static_cast<std::size_t>(type)];
  const double as_before = known ? cost_with_tables(stretch, *known) : kNever;
  if (as_before <= choice.bits) {
    plan->tables = *known;
    plan->writes_tables = false;
    plan->bits = as_before;
  } else {
    plan->tables = tables_of(stretch, choice);
  }
  return plan;
}

Bytes NumericEncoder::block(NumericPlan& plan, BytesView target, BytesView base) {
  Layout layout;
  numeric::with_numbers(plan.type, [&](auto n) { lay_out<decltype(n)>(plan.tables, target, base, layout); });
  const Bytes plain = layout.plain.take(), tokens = write_intervals(layout.intervals);
  Bytes out;
  out.push_back(static_cast<char>(static_cast<unsigned>(plan.tables.mode) | (plan.writes_tables ? 4u : 0u)));
  if (plan.writes_tables) {
    const Bytes tables = numeric::write_tables(plan.tables);
    put_varint(out, tables.size());
    out += tables;
    memory_->known[static_cast<std::size_t>(plan.type)] = plan.tables;
    plan.writes_tables = false;
  }
  if (is_sparse(plan.tables.mode)) put_varint(out, layout.changed);
  put_varint(out, plain.size());
  return out + plain + tokens;
}

std::uint64_t estimate_numeric_bytes(ElementType type, BytesView target, BytesView base) {
  return static_cast<std::uint64_t>(cheapest(count_any(type, target, base)).bits / 8);
}

}  // namespace tidelock
