// Reading is the hot half: a gateway applies what a hub planned once. Each token is one look into a table of 4,096
// places, each of which holds all that is needed, in 64 bits: how the state goes on, the token's base and how many
// plain bits follow.
//
// No read is behind the end of a buffer, whatever the block says: the words of the coder and the plain bits are each
// clamped to their part, and a block that wanted more than it has is refused at its end, before anything leaves.
#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "base/assert.h"
#include "codec/numeric_block.h"
#include "codec/numeric_tables.h"

namespace tidelock {

using numeric::Frequencies;
using numeric::Mode;
using numeric::Tables;

namespace {

tl::unexpected<Error> corrupt(const char* what) {
  return fail(Code::kCorrupt, std::string("delta: a numeric block ") + what);
}

// [frequency:13][place within the token:13][plain bits:6][token's base:32], lowest first.
using Place = std::uint64_t;
Place make_place(std::uint32_t frequency, std::uint32_t within, std::uint32_t bits, std::uint32_t base) {
  return static_cast<Place>(frequency) | static_cast<Place>(within) << 13 | static_cast<Place>(bits) << 26 |
         static_cast<Place>(base) << 32;
}
using Places = std::vector<Place>;  // kScale of them

template <class BaseOf>
Places make_places(const Frequencies& table, BaseOf base_of) {
  Places places;
  // No memory either: a null pointer is what says that there is no table.
  if (std::all_of(table.frequency.begin(), table.frequency.end(), [](std::uint16_t f) { return f == 0; }))
    return places;
  places.reserve(numeric::kScale);
  for (std::uint32_t token = 0; token < table.frequency.size(); ++token) {
    const numeric::TokenBase base = base_of(token);
    for (std::uint32_t i = 0; i < table.frequency[token]; ++i) {
      places.push_back(make_place(table.frequency[token], i, base.bits, base.base));
    }
  }
  return places;
}

struct Known {
  Mode mode = Mode::kDenseDiff;
  std::array<std::uint8_t, numeric::kKeysMax> context_of{};
  std::vector<Places> values;
  Places runs;
};

// Plain bits: read at a position, so that one read does not wait for the one before.
class PlainReader {
 public:
  // `behind`: how many more bytes can be read behind those that count.
  PlainReader(BytesView in, std::size_t behind)
      : in_(in), readable_(in.size() + behind), safe_(in.size() >= 8 ? in.size() - 8 : 0) {}
  std::uint32_t take(std::uint32_t bits) {
    const std::uint64_t byte = at_ >> 3;
    std::uint64_t word = 0;
    if (byte <= safe_ && in_.size() >= 8) {
      std::memcpy(&word, in_.data() + byte, 8);
    } else {
      word = slow(byte);
    }
    const auto value = static_cast<std::uint32_t>(word >> (at_ & 7)) & ((1u << bits) - 1);
    at_ += bits;
    return value;
  }
  // Four numbers can be read with take_fast: each reads eight bytes from somewhere in the next fifteen.
  // What they read behind the end is noticed at the end.
  bool has_room() const { return (at_ >> 3) + 24 <= readable_; }
  std::uint32_t take_fast(std::uint32_t bits) {
    std::uint64_t word;
    std::memcpy(&word, in_.data() + (at_ >> 3), 8);
    const auto value = static_cast<std::uint32_t>(word >> (at_ & 7)) & ((1u << bits) - 1);
    at_ += bits;
    return value;
  }
  bool used_up() const {
    if ((at_ + 7) / 8 != in_.size()) return false;
    const std::uint64_t left = at_ & 7;
    return left == 0 || static_cast<unsigned char>(in_.back()) >> left == 0;
  }

 private:
  std::uint64_t slow(std::uint64_t byte) const {
    std::uint64_t word = 0;
    for (std::uint64_t i = byte; i < in_.size() && i < byte + 8; ++i) {
      word |= static_cast<std::uint64_t>(static_cast<unsigned char>(in_[static_cast<std::size_t>(i)]))
              << (8 * (i - byte));
    }
    return word;
  }
  BytesView in_;
  std::size_t readable_, safe_;
  std::uint64_t at_ = 0;
};

class TokenReader {
 public:
  // False when there is no room for the states.
  bool start(BytesView in, std::size_t tokens) {
    states_ = numeric::states_for(tokens);
    if (in.size() < states_ * 4 || in.size() % 2 != 0) return false;
    for (std::size_t s = 0; s < states_; ++s) {
      std::memcpy(&x_[s], in.data() + s * 4, 4);
      if (x_[s] < numeric::kStateLow) return false;
    }
    at_ = in.data() + states_ * 4;
    end_ = in.data() + in.size();
    return true;
  }
  std::size_t states() const { return states_; }
  Place take(std::size_t state, const Place* places) {
    std::uint32_t x = x_[state];
    const Place place = places[x & (numeric::kScale - 1)];
    x = (static_cast<std::uint32_t>(place) & 0x1FFF) * (x >> numeric::kScaleBits) +
        (static_cast<std::uint32_t>(place >> 13) & 0x1FFF);
    if (x < numeric::kStateLow) {
      std::uint16_t word = 0;
      if (at_ < end_) {
        std::memcpy(&word, at_, 2);
        at_ += 2;
      } else {
        overrun_ = true;
      }
      x = x << 16 | word;
    }
    x_[state] = x;
    return place;
  }
  // Four states at once, in registers, for as long as each may take a word. `one` gets which of the four, and a
  // function that takes its token; false ends it.
  template <class One>
  bool fast(std::size_t& i, std::size_t count, const PlainReader& plain, One one) {
    std::uint32_t x0 = x_[0], x1 = x_[1], x2 = x_[2], x3 = x_[3];
    const char* at = at_;
    const auto take = [&at](std::uint32_t& x, const Place* places) {
      const Place place = places[x & (numeric::kScale - 1)];
      const std::uint32_t next = (static_cast<std::uint32_t>(place) & 0x1FFF) * (x >> numeric::kScaleBits) +
                                 (static_cast<std::uint32_t>(place >> 13) & 0x1FFF);
      std::uint16_t word;
      std::memcpy(&word, at, 2);
      const std::uint32_t low = next < numeric::kStateLow ? 1 : 0;  // no branch: it could not be predicted
      x = next << (low * 16) | (word & (0 - low));
      at += low * 2;
      return place;
    };
    bool fine = true;
    for (; i + numeric::kStates <= count && end_ - at >= 8 && plain.has_room(); i += numeric::kStates) {
      fine = one(i, [&](const Place* places) { return take(x0, places); }) &&
             one(i + 1, [&](const Place* places) { return take(x1, places); }) &&
             one(i + 2, [&](const Place* places) { return take(x2, places); }) &&
             one(i + 3, [&](const Place* places) { return take(x3, places); });
      if (!fine) break;
    }
    x_ = {x0, x1, x2, x3};
    at_ = at;
    return fine;
  }
  bool used_up() const {
    if (overrun_ || at_ != end_) return false;
    return std::all_of(x_.begin(), x_.begin() + static_cast<std::ptrdiff_t>(states_),
                       [](std::uint32_t x) { return x == numeric::kStateLow; });
  }

 private:
  std::array<std::uint32_t, numeric::kStates> x_{};
  std::size_t states_ = 1;
  const char* at_ = nullptr;
  const char* end_ = nullptr;
  bool overrun_ = false;
};

std::uint32_t number_of(Place place, PlainReader& plain) {
  return static_cast<std::uint32_t>(place >> 32) + plain.take(static_cast<std::uint32_t>(place >> 26) & 63);
}

class VarintReader {
 public:
  explicit VarintReader(BytesView in) : in_(in) {}
  std::optional<std::uint64_t> number() {
    std::uint64_t v = 0;
    for (int shift = 0; shift < 35; shift += 7) {
      if (in_.empty()) return std::nullopt;
      const auto byte = static_cast<unsigned char>(in_[0]);
      in_.remove_prefix(1);
      if (shift > 0 && byte == 0) return std::nullopt;  // padded
      v |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return v;
    }
    return std::nullopt;
  }
  std::optional<BytesView> piece() {
    const auto size = number();
    if (!size || *size > in_.size()) return std::nullopt;
    const BytesView out = in_.substr(0, static_cast<std::size_t>(*size));
    in_.remove_prefix(out.size());
    return out;
  }
  BytesView rest() const { return in_; }

 private:
  BytesView in_;
};

template <class N, bool kDiff>
bool decode_dense(const Known& known, TokenReader tokens, PlainReader plain, const char* base, char* out,
                  std::size_t count) {
  using Word = typename N::Word;
  std::array<const Place*, numeric::kKeysMax> places_of{};
  for (std::size_t key = 0; key < N::kKeys; ++key) places_of[key] = known.values[known.context_of[key]].data();
  if (!kDiff && places_of[0] == nullptr) return count == 0;
  const auto store = [&](std::size_t i, std::uint32_t number) {
    if constexpr (kDiff) {
      N::store(out + i * sizeof(Word), N::apply(static_cast<Word>(number), N::load(base + i * sizeof(Word))));
    } else {
      N::store(out + i * sizeof(Word), N::value_of(number));
    }
  };
  const auto table_at = [&](std::size_t i) {
    return kDiff ? places_of[N::key(N::load(base + i * sizeof(Word)))] : places_of[0];
  };
  std::size_t i = 0;
  if (tokens.states() == numeric::kStates) {
    const bool fine = tokens.fast(i, count, plain, [&](std::size_t at, auto take) {
      const Place* table = table_at(at);
      if (table == nullptr) return false;
      const Place place = take(table);
      store(at,
            static_cast<std::uint32_t>(place >> 32) + plain.take_fast(static_cast<std::uint32_t>(place >> 26) & 63));
      return true;
    });
    if (!fine) return false;
  }
  for (; i < count; ++i) {
    const Place* table = table_at(i);
    if (table == nullptr) return false;
    store(i, number_of(tokens.take(i & (tokens.states() - 1), table), plain));
  }
  return tokens.used_up() && plain.used_up();
}

template <class N>
bool decode_sparse(const Known& known, TokenReader tokens, PlainReader plain, const char* base, char* out,
                   std::size_t count, std::uint64_t changed) {
  using Word = typename N::Word;
  const bool diff = is_diff(known.mode);
  std::memcpy(out, base, count * sizeof(Word));
  if (known.runs.empty() && changed > 0) return false;
  std::size_t at = 0;
  for (std::uint64_t i = 0; i < changed; ++i) {
    const std::size_t state = static_cast<std::size_t>(i * 2) & (tokens.states() - 1);
    at += number_of(tokens.take(state, known.runs.data()), plain);
    if (at >= count) return false;
    const Word from = N::load(base + at * sizeof(Word));
    const Places& table = known.values[diff ? known.context_of[N::key(from)] : 0];
    if (table.empty()) return false;
    const std::size_t next = static_cast<std::size_t>(i * 2 + 1) & (tokens.states() - 1);
    const std::uint32_t number = number_of(tokens.take(next, table.data()), plain);
    const Word value = diff ? N::apply(static_cast<Word>(number), from) : N::value_of(number);
    if (value == from) return false;  // it would have been part of a run
    N::store(out + at * sizeof(Word), value);
    ++at;
  }
  return tokens.used_up() && plain.used_up();
}

template <class N>
std::optional<Known> read_known(BytesView bytes, Mode mode) {
  const std::size_t count = is_diff(mode) ? N::kDiffTokens : N::kValueTokens;
  const auto tables = numeric::read_tables(bytes, mode, N::kKeys, count);
  if (!tables) return std::nullopt;
  Known known;
  known.mode = mode;
  std::size_t key = 0;
  for (std::size_t context = 0; context < tables->context_ends.size(); ++context) {
    for (; key < tables->context_ends[context]; ++key) known.context_of[key] = static_cast<std::uint8_t>(context);
  }
  for (const Frequencies& table : tables->values) {
    known.values.push_back(is_diff(mode)
                               ? make_places(table, numeric::magnitude_base)
                               : make_places(table, [](std::uint32_t token) { return N::value_base(token); }));
  }
  known.runs = make_places(tables->runs, numeric::magnitude_base);
  return known;
}

}  // namespace

struct NumericDecoder::Memory {
  std::array<std::optional<Known>, static_cast<std::size_t>(last_enumerator(ElementType{})) + 1> known;
};
NumericDecoder::NumericDecoder() : memory_(std::make_unique<Memory>()) {}
NumericDecoder::~NumericDecoder() = default;
NumericDecoder::NumericDecoder(NumericDecoder&&) noexcept = default;
NumericDecoder& NumericDecoder::operator=(NumericDecoder&&) noexcept = default;

Result<void> NumericDecoder::decode(ElementType type, BytesView payload, BytesView base, char* out, std::size_t bytes) {
  TIDELOCK_ASSERT(bytes % element_bytes(type) == 0 && bytes <= kNumericBlockBytesMax);
  TIDELOCK_ASSERT(base.empty() || base.size() == bytes);
  if (payload.empty() || static_cast<unsigned char>(payload[0]) > 7) return corrupt("of an unknown mode");
  const auto mode = static_cast<Mode>(payload[0] & 3);
  const bool has_tables = (payload[0] & 4) != 0;
  if ((mode == Mode::kDenseValue) != base.empty()) return corrupt("whose mode does not fit its base");
  VarintReader in(payload.substr(1));
  auto& known = memory_->known[static_cast<std::size_t>(type)];
  if (has_tables) {
    const auto tables = in.piece();
    if (!tables) return corrupt("that ends within its tables");
    known = numeric::with_numbers(type, [&](auto n) { return read_known<decltype(n)>(*tables, mode); });
    if (!known) return corrupt("with impossible tables");
  }
  if (!known || known->mode != mode) return corrupt("without tables");
  const std::size_t count = bytes / element_bytes(type);
  std::uint64_t changed = 0;
  if (is_sparse(mode)) {
    const auto said = in.number();
    if (!said || *said > count) return corrupt("that changes more numbers than it has");
    changed = *said;
  }
  const auto plain = in.piece();
  if (!plain) return corrupt("that ends within its plain bits");
  TokenReader tokens;
  if (!tokens.start(in.rest(), is_sparse(mode) ? static_cast<std::size_t>(changed) * 2 : count)) {
    return corrupt("that ends before its tokens");
  }
  const PlainReader bits(*plain, in.rest().size());
  const bool whole = numeric::with_numbers(type, [&](auto n) {
    using N = decltype(n);
    if (is_sparse(mode)) return decode_sparse<N>(*known, tokens, bits, base.data(), out, count, changed);
    if (is_diff(mode)) return decode_dense<N, true>(*known, tokens, bits, base.data(), out, count);
    return decode_dense<N, false>(*known, tokens, bits, base.data(), out, count);
  });
  if (!whole) return corrupt("that does not decode to its numbers");
  return {};
}

}  // namespace tidelock
