#include "codec/numeric_block.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <string>

#include "codec/model_file_fixture.h"
#include "codec/numeric_tables.h"
#include "codec/numeric_tokens.h"

namespace tidelock {
namespace {

using model_files::nudge;
using model_files::weights;

constexpr ElementType kTypes[] = {ElementType::kI8,   ElementType::kI16, ElementType::kF16,
                                  ElementType::kBf16, ElementType::kI32, ElementType::kF32};

TEST(NumericTokens, EveryNumberComesBack) {
  Rng rng(1);
  std::vector<std::uint32_t> numbers = {0, 1, 15, 16, 17, 31, 32, 0xFFFFFFFF, 0x80000000};
  for (int i = 0; i < 100'000; ++i) numbers.push_back(static_cast<std::uint32_t>(rng.next() >> rng.below(64)));
  for (const std::uint32_t number : numbers) {
    const numeric::Token token = numeric::magnitude_token(number);
    ASSERT_LT(token.token, numeric::kMagnitudeTokens);
    const numeric::TokenBase base = numeric::magnitude_base(token.token);
    ASSERT_EQ(base.bits, token.bits);
    ASSERT_EQ(base.base + token.extra, number);
  }
  for (const ElementType type : kTypes) {
    numeric::with_numbers(type, [&](auto n) {
      using N = decltype(n);
      using Word = typename N::Word;
      for (std::size_t i = 0; i + 1 < numbers.size(); ++i) {
        const auto a = static_cast<Word>(numbers[i]), b = static_cast<Word>(numbers[i + 1]);
        ASSERT_EQ(N::ordered(N::ordered(a)), a);
        ASSERT_EQ(N::apply(N::difference(a, b), b), a);
        ASSERT_LT(N::key(a), N::kKeys);
        const numeric::Token token = N::value_token(a);
        ASSERT_LT(token.token, N::kValueTokens);
        ASSERT_EQ(N::value_of(N::value_base(token.token).base + token.extra), a);
      }
    });
  }
}

TEST(NumericTokens, NeighbouringFloatsDifferByOne) {
  const float values[] = {-1.0F, -1e-30F, 0.0F, 1e-30F, 1.0F, 3.5F};
  for (const float value : values) {
    std::uint32_t bits, next_bits;
    const float next = std::nextafterf(value, std::numeric_limits<float>::infinity());
    std::memcpy(&bits, &value, 4);
    std::memcpy(&next_bits, &next, 4);
    EXPECT_EQ(numeric::F32::difference(next_bits, bits), 2u) << value << ": +1, folded";
  }
}

TEST(NumericTables, BothSidesMakeTheSameOfThem) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    numeric::Tables tables;
    tables.mode = static_cast<numeric::Mode>(rng.below(4));
    const std::size_t tokens = 1 + rng.below(seed % 2 == 0 ? 2048 : 64), keys = 128;
    const std::size_t contexts = numeric::is_diff(tables.mode) ? 1 + rng.below(numeric::kContextsMax) : 1;
    for (std::size_t i = 0; i < contexts; ++i) {
      std::vector<std::uint32_t> counts(tokens);
      for (auto& count : counts)
        count = rng.one_in(3) ? 0 : static_cast<std::uint32_t>(rng.next() >> (40 + rng.below(24)));
      tables.values.push_back(numeric::frequencies_of(counts));
      const auto& frequency = tables.values.back().frequency;
      const std::uint32_t sum = std::accumulate(frequency.begin(), frequency.end(), 0u);
      EXPECT_TRUE(sum == numeric::kScale || sum == 0) << "seed " << seed;
      for (std::size_t t = 0; t < tokens; ++t) EXPECT_EQ(counts[t] == 0, frequency[t] == 0) << "seed " << seed;
      tables.context_ends.push_back(static_cast<std::uint16_t>(i + 1 == contexts ? keys : (i + 1) * 9));
    }
    std::vector<std::uint32_t> runs(numeric::kMagnitudeTokens);
    for (auto& count : runs) count = static_cast<std::uint32_t>(rng.below(100));
    if (is_sparse(tables.mode)) tables.runs = numeric::frequencies_of(runs);
    const auto back = numeric::read_tables(numeric::write_tables(tables), tables.mode, keys, tokens);
    ASSERT_TRUE(back) << "seed " << seed;
    EXPECT_EQ(back->context_ends, tables.context_ends) << "seed " << seed;
    EXPECT_EQ(back->runs.frequency, tables.runs.frequency) << "seed " << seed;
    for (std::size_t i = 0; i < contexts; ++i)
      EXPECT_EQ(back->values[i].frequency, tables.values[i].frequency) << "seed " << seed;
  }
}

// M3: a numeric difference.
TEST(NumericBlock, ComesBackTheSame) {
  struct Case {
    const char* why;
    std::uint64_t every, most;  // nudges
    bool has_base;
  };
  const Case cases[] = {{"all move a little", 1, 3, true},
                        {"all move a lot", 1, 100'000, true},
                        {"one in a hundred moves", 100, 5, true},
                        {"one in a hundred is another", 100, 0x7FFFFFFF, true},
                        {"nothing to compare with", 1, 0, false}};
  for (const Case& c : cases) {
    for (const ElementType type : kTypes) {
      for (const std::size_t count : {1u, 7u, 1'000u, 1'023u, 1'024u, 20'000u}) {
        Rng rng(count * 31 + static_cast<std::uint64_t>(type));
        const Bytes base = weights(rng, type, count);
        Bytes target = base;
        nudge(rng, target, type, c.every, c.most);
        NumericEncoder encoder;
        NumericDecoder decoder;
        const BytesView beside = c.has_base ? BytesView(base) : BytesView();
        for (int again = 0; again < 2; ++again) {  // the second time with the tables of the first
          const auto plan = encoder.plan(type, target, beside);
          const Bytes payload = encoder.block(*plan, target, beside);
          Bytes out(target.size(), '\0');
          const auto decoded =
              decoder.decode(type, payload, plan_needs_base(*plan) ? beside : BytesView(), out.data(), out.size());
          ASSERT_TRUE(decoded) << c.why << ", " << element_type_name(type) << " x " << count << ": "
                               << decoded.error().message;
          ASSERT_EQ(out, target) << c.why << ", " << element_type_name(type) << " x " << count;
        }
      }
    }
  }
}

// Order 0: what the differences cost when each is coded by how often it comes.
double entropy_bytes(const Bytes& target, const Bytes& base, ElementType type) {
  std::map<std::uint32_t, std::uint64_t> counts;
  const std::size_t count = target.size() / element_bytes(type);
  numeric::with_numbers(type, [&](auto n) {
    using N = decltype(n);
    for (std::size_t i = 0; i < count; ++i) {
      ++counts[N::difference(N::load(target.data() + i * sizeof(typename N::Word)),
                             N::load(base.data() + i * sizeof(typename N::Word)))];
    }
  });
  double bits = 0;
  for (const auto& [difference, times] : counts) {
    bits -= static_cast<double>(times) * std::log2(static_cast<double>(times) / static_cast<double>(count));
  }
  return bits / 8;
}

TEST(NumericBlock, CostsTheEntropyOfItsDifferences) {
  for (const ElementType type : kTypes) {
    for (const std::uint64_t most : {1u, 4u, 100u}) {
      Rng rng(most);
      const Bytes base = weights(rng, type, 200'000);
      Bytes target = base;
      nudge(rng, target, type, 1, most);
      NumericEncoder encoder;
      const auto plan = encoder.plan(type, target, base);
      const Bytes payload = encoder.block(*plan, target, base);
      EXPECT_LE(static_cast<double>(payload.size()), entropy_bytes(target, base, type) * 1.02)
          << element_type_name(type) << " +-" << most;
      EXPECT_NEAR(static_cast<double>(planned_bytes(*plan)), static_cast<double>(payload.size()),
                  static_cast<double>(payload.size()) * 0.02);
    }
  }
}

TEST(NumericBlock, DamagedOnesAreRefusedOrDecodeToOtherNumbers) {
  for (const ElementType type : kTypes) {
    for (const std::uint64_t every : {1u, 50u}) {
      Rng rng(every);
      const Bytes base = weights(rng, type, 3'000);
      Bytes target = base;
      nudge(rng, target, type, every, 20);
      NumericEncoder encoder;
      const auto plan = encoder.plan(type, target, base);
      const Bytes payload = encoder.block(*plan, target, base);
      const BytesView beside = plan_needs_base(*plan) ? BytesView(base) : BytesView();
      Bytes out(target.size(), '\0');
      for (std::size_t size = 0; size < payload.size(); ++size) {
        const auto cut =
            NumericDecoder().decode(type, BytesView(payload).substr(0, size), beside, out.data(), out.size());
        ASSERT_FALSE(cut) << element_type_name(type) << " cut to " << size;
        ASSERT_EQ(cut.error().code, Code::kCorrupt);
      }
      const auto longer = NumericDecoder().decode(type, payload + Bytes(2, '\0'), beside, out.data(), out.size());
      EXPECT_FALSE(longer) << element_type_name(type);
      for (int i = 0; i < 400; ++i) {
        Bytes damaged = payload;
        damaged[rng.below(damaged.size())] ^= static_cast<char>(1u << rng.below(8));
        const auto decoded = NumericDecoder().decode(type, damaged, beside, out.data(), out.size());
        EXPECT_TRUE(decoded || decoded.error().code == Code::kCorrupt);
      }
    }
  }
}

// The fuzzer read from a table that had memory but no places.
TEST(NumericBlock, ATableWithoutTokensIsNotReadFrom) {
  for (const numeric::Mode mode : {numeric::Mode::kDenseDiff, numeric::Mode::kSparseDiff, numeric::Mode::kDenseValue}) {
    numeric::Tables tables;
    tables.mode = mode;
    std::vector<std::uint32_t> counts(mode == numeric::Mode::kDenseValue ? 256 : 32, 0);
    tables.context_ends = {numeric::I8::kKeys};
    tables.values.push_back(numeric::frequencies_of(counts));
    if (is_sparse(mode))
      tables.runs = numeric::frequencies_of(std::vector<std::uint32_t>(numeric::kMagnitudeTokens, 1));
    const Bytes written = numeric::write_tables(tables);
    Bytes payload(1, static_cast<char>(static_cast<int>(mode) | 4));
    model_files::varint(payload, written.size());
    payload += written;
    if (is_sparse(mode)) model_files::varint(payload, 600);
    payload += Bytes(1, '\0') + Bytes("\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0", 16) + Bytes(4'000, 'x');
    const Bytes base(2'000, '\1');
    Bytes out(base.size(), '\0');
    const BytesView beside = mode == numeric::Mode::kDenseValue ? BytesView() : BytesView(base);
    EXPECT_FALSE(NumericDecoder().decode(ElementType::kI8, payload, beside, out.data(), out.size()))
        << static_cast<int>(mode);
  }
}

}  // namespace
}  // namespace tidelock
