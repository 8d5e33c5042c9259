#include "codec/delta.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "codec/model_file_fixture.h"
#include "codec/signature.h"

namespace tidelock {
namespace {

using namespace model_files;

Delta delta_of(const std::vector<Bytes>& bases, const Bytes& target, const DeltaOptions& options = {}) {
  std::vector<DeltaSource> sources;
  for (const Bytes& base : bases) sources.push_back({base, {}});
  auto delta = make_delta(sources, {target, {}}, options);
  EXPECT_TRUE(delta) << delta.error().message;
  return delta ? std::move(*delta) : Delta();
}
// Looks for a base by its digest, as an edge does.
FindDeltaBase among(const std::vector<Bytes>& bases) {
  return [&bases](const DeltaBase& wanted) -> Result<BytesView> {
    for (const Bytes& base : bases) {
      if (sha256(base) == wanted.sha256) return BytesView(base);
    }
    return fail(Code::kNotFound, "no such base here");
  };
}
Result<Bytes> applied(const std::vector<Bytes>& bases, BytesView delta) {
  return apply_delta(delta, among(bases), kDeltaFileBytesMax);
}
void expect_back(const std::vector<Bytes>& bases, const Bytes& target, const std::string& why) {
  const Delta delta = delta_of(bases, target);
  const auto back = applied(bases, delta.bytes);
  ASSERT_TRUE(back) << why << ": " << back.error().message;
  ASSERT_TRUE(*back == target) << why;
  std::uint64_t at = 0, bytes = 0;
  for (const DeltaPart& part : delta.parts) {
    ASSERT_EQ(part.offset, at) << why;
    at += part.size_bytes;
    bytes += part.delta_bytes;
  }
  ASSERT_EQ(at, target.size()) << why;
  ASSERT_LE(bytes, delta.bytes.size()) << why;
}

std::vector<Tensor> network(std::uint64_t seed, ElementType type, std::size_t count = 4'000) {
  Rng rng(seed);
  return {{"a.weight", type, weights(rng, type, count)},
          {"a.bias", type, weights(rng, type, 40)},
          {"b.weight", type, weights(rng, type, count / 2)}};
}

// M3: by whatever is smallest per tensor.
TEST(Delta, ChoosesPerTensorWhatCostsLeast) {
  for (const bool is_onnx : {true, false}) {
    const auto file = [&](const std::vector<Tensor>& tensors) {
      return is_onnx ? onnx(tensors) : safetensors(tensors);
    };
    Rng rng(3);
    const std::vector<Tensor> before = network(1, ElementType::kF32);
    std::vector<Tensor> after = before;
    nudge(rng, after[0].bytes, ElementType::kF32, 1, 1'000);           // a.weight: all moved
    after[1].bytes = weights(rng, ElementType::kF32, 40);              // a.bias: another
    after.push_back({"renamed", ElementType::kF32, before[2].bytes});  // the same bytes under another name
    after.push_back({"text", ElementType::kOpaque, Bytes(8'000, ' ') + Bytes("not numbers at all")});
    after.back().bytes.resize(8'016);
    const Delta delta = delta_of({file(before)}, file(after));
    struct Case {
      const char* name;
      DeltaKind kind;
      std::uint64_t bytes_max;
    };
    const Case cases[] = {{"a.weight", DeltaKind::kNumeric, 4'000 * 12 / 8},
                          {"a.bias", DeltaKind::kFull, 175},
                          {"b.weight", DeltaKind::kSame, 10},
                          {"renamed", DeltaKind::kSame, 10},
                          {"text", DeltaKind::kFull, 60}};
    for (const Case& c : cases) {
      const auto part =
          std::find_if(delta.parts.begin(), delta.parts.end(), [&](const DeltaPart& p) { return p.name == c.name; });
      ASSERT_NE(part, delta.parts.end()) << c.name;
      EXPECT_EQ(part->kind, c.kind) << c.name << ": " << delta_kind_name(part->kind);
      EXPECT_LE(part->delta_bytes, c.bytes_max) << c.name;
    }
    expect_back({file(before)}, file(after), is_onnx ? "onnx" : "safetensors");
  }
}

TEST(Delta, EveryTargetComesBack) {
  Rng rng(9);
  const Bytes model = onnx(network(1, ElementType::kF16));
  Bytes text;
  for (int i = 0; i < 3'000; ++i) text += "label " + std::to_string(i * 7919 % 1000) + "\n";
  Bytes noise;
  for (int i = 0; i < 50'000; ++i) noise.push_back(static_cast<char>(rng.next()));
  Bytes moved = noise;
  moved.insert(20'000, "something in the middle");
  Bytes swapped = noise.substr(25'000) + noise.substr(0, 25'000);
  Bytes edited = text;
  edited.replace(100, 9, "an edit");
  struct Case {
    const char* why;
    std::vector<Bytes> bases;
    Bytes target;
    std::uint64_t delta_bytes_max;
  };
  const Case cases[] = {{"nothing", {}, "", 60},
                        {"nothing from something", {"x"}, "", 60},
                        {"one byte", {}, "x", 60},
                        {"the same", {noise}, noise, 90},
                        {"no base", {}, noise, 50'100},
                        {"an empty base", {""}, noise, 50'100},
                        {"an insertion", {noise}, moved, 150},
                        {"two halves that changed places", {noise}, swapped, 110},
                        {"a cut", {noise}, noise.substr(0, 10'001), 90},
                        {"text with an edit", {text}, edited, 160},
                        {"two bases, one half each", {noise.substr(0, 30'000), noise.substr(28'000)}, noise, 150},
                        {"a model and no model", {model}, noise, 50'200},
                        {"no model and a model", {noise}, model, 13'000},
                        {"cut in the middle of a tensor", {model}, model.substr(0, 5'001), 110}};
  for (const Case& c : cases) {
    expect_back(c.bases, c.target, c.why);
    EXPECT_LE(delta_of(c.bases, c.target).bytes.size(), c.delta_bytes_max) << c.why;
  }
}

TEST(Delta, BytesOfNoKnownFormatAreTakenForTheNumbersTheyAre) {
  Rng rng(5);
  for (const ElementType type : {ElementType::kF32, ElementType::kF16, ElementType::kBf16, ElementType::kI8}) {
    const Bytes base = "head" + weights(rng, type, 30'000);
    Bytes target = base;
    nudge(rng, target, type, 1, 2);
    const Delta delta = delta_of({base}, target);
    EXPECT_LE(delta.bytes.size(), 30'000u * 3 / 8 + 400) << element_type_name(type) << ": 2.3 bits per number";
    expect_back({base}, target, std::string(element_type_name(type)));
  }
}

TEST(Delta, RowsAddedToATensorThatMovedLeaveItsOtherRowsNumeric) {
  Rng rng(6);
  const std::vector<Tensor> before = network(1, ElementType::kF32, 40'000);
  std::vector<Tensor> after = before;
  nudge(rng, after[0].bytes, ElementType::kF32, 1, 1'000);
  after[0].bytes.insert(80'000, weights(rng, ElementType::kF32, 1'024));
  for (const bool grows : {true, false}) {
    const Bytes base = onnx(grows ? before : after), target = onnx(grows ? after : before);
    const Delta delta = delta_of({base}, target);
    EXPECT_LE(delta.bytes.size(), 40'000u * 12 / 8 + 4'096) << "11 bits per number, and the new ones";
    expect_back({base}, target, grows ? "longer" : "shorter");
  }
}

TEST(Delta, ABaseThatIsNotNeededIsNotNamed) {
  Rng rng(2);
  const Bytes one = weights(rng, ElementType::kF32, 3'000), other = weights(rng, ElementType::kF32, 3'000);
  const Delta delta = delta_of({other, one}, one);
  ASSERT_EQ(delta.header.bases.size(), 1u);
  EXPECT_EQ(delta.header.bases[0].sha256, sha256(one));
  const auto header = read_delta_header(BytesView(delta.bytes).substr(0, kDeltaHeaderBytesMax));
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(*header, delta.header);
  EXPECT_EQ(header->target_sha256, sha256(one));
}

TEST(Delta, ImpossibleRequestsAreRefused) {
  const std::vector<DeltaSource> many(kDeltaBasesMax + 1);
  const auto refused = make_delta(many, {"x", {}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  const auto half = make_delta({}, {"x", "not a digest"});
  ASSERT_FALSE(half);
  EXPECT_EQ(half.error().code, Code::kInvalid);
}

TEST(Delta, JobsMayRunAtOnce) {
  Rng rng(4);
  const Bytes base = onnx(network(1, ElementType::kF16, 2'000'000));
  Bytes target = base;
  for (int i = 0; i < 2'000; ++i) ++target[100 + rng.below(target.size() - 200)];
  DeltaOptions options;
  std::size_t jobs = 0;
  options.run_jobs = [&](std::size_t count, const std::function<void(std::size_t)>& job) {
    jobs = count;
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < count; ++i) threads.emplace_back([&job, i] { job(i); });
    for (std::thread& thread : threads) thread.join();
  };
  const Delta at_once = delta_of({base}, target, options);
  EXPECT_GT(jobs, 3u);
  EXPECT_EQ(at_once.bytes, delta_of({base}, target).bytes);
  EXPECT_EQ(*applied({base}, at_once.bytes), target);
}

TEST(Delta, OneThatIsTooLargeOrStoppedIsRefused) {
  const Bytes base = onnx(network(1, ElementType::kF16, 2'000'000));
  Bytes target = onnx(network(2, ElementType::kF16, 2'000'000));
  const std::uint64_t needed = delta_of({base}, target).bytes.size();
  DeltaOptions options;
  int asked = 0;
  options.go_on = [&] {
    ++asked;
    return true;
  };
  options.bytes_max = needed;
  const DeltaSource bases[] = {{base, {}}};
  ASSERT_TRUE(make_delta(bases, {target, {}}, options)) << "it is what it needs";
  const int asked_before = asked;
  options.bytes_max = needed / 8;
  const auto refused = make_delta(bases, {target, {}}, options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kNotFound);
  EXPECT_EQ(refused.error().message, "a delta would have more than " + std::to_string(needed / 8) + " bytes");
  int left = 3;
  options.go_on = [&] { return --left > 0; };
  const auto stopped = make_delta(bases, {target, {}}, options);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Code::kUnavailable);
  EXPECT_GT(asked_before, 3) << "there was more to do";
}

TEST(Delta, RandomEditsComeBack) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Rng rng(seed);
    const auto type = static_cast<ElementType>(1 + rng.below(6));
    const Bytes base = rng.one_in(3) ? weights(rng, type, 3'000) : onnx(network(seed, type, 3'000));
    Bytes target = base;
    for (std::uint64_t edits = rng.below(8); edits > 0; --edits) {
      const std::size_t at = rng.below(target.size()), size = rng.below(300);
      switch (rng.below(5)) {
        case 0: target.erase(at, size); break;
        case 1: target.insert(at, base.substr(rng.below(base.size()), size)); break;
        case 2: target.insert(at, weights(rng, ElementType::kI32, size / 4)); break;
        case 3: target.replace(at, size, weights(rng, ElementType::kI8, size)); break;
        default: nudge(rng, target, type, 1 + rng.below(50), 1 + rng.below(1000)); break;
      }
      if (target.empty()) target = "x";
    }
    expect_back({base}, target, "seed " + std::to_string(seed));
    expect_back({base, target}, base, "back, seed " + std::to_string(seed));
  }
}

// --- applying
// ---------------------------------------------------------------------------------------------------------

struct Case {
  Bytes base, target, delta;
};
// Has every order in it.
Case with_all_orders() {
  Rng rng(8);
  const std::vector<Tensor> before = network(1, ElementType::kF32, 600);
  std::vector<Tensor> after = before;
  nudge(rng, after[0].bytes, ElementType::kF32, 1, 500);
  nudge(rng, after[2].bytes, ElementType::kF32, 40, 500);
  after.push_back({"new", ElementType::kF16, weights(rng, ElementType::kF16, 300)});
  Bytes noise, text = Bytes(200, 'a') + "0123456789";
  for (int i = 0; i < 64; ++i) noise.push_back(static_cast<char>(rng.next()));
  after.push_back({"noise", ElementType::kOpaque, noise});
  after.push_back({"text", ElementType::kOpaque, text + text});
  Case c{onnx(before), onnx(after), {}};
  c.delta = delta_of({c.base}, c.target).bytes;
  return c;
}

// Feeds the pieces that end at `ends`, in order.
void expect_from_pieces(const Case& c, const std::vector<std::size_t>& ends, const std::string& why) {
  Bytes out;
  DeltaApplier applier([&](const DeltaBase&) -> Result<BytesView> { return BytesView(c.base); },
                       [&](BytesView piece) -> Result<void> {
                         EXPECT_TRUE(!piece.empty() && piece.size() <= kDeltaPieceBytesMax);
                         out.append(piece);
                         return {};
                       });
  std::size_t at = 0;
  for (const std::size_t end : ends) {
    ASSERT_TRUE(applier.feed(BytesView(c.delta).substr(at, end - at))) << why;
    at = end;
  }
  ASSERT_TRUE(applier.finish()) << why;
  ASSERT_TRUE(out == c.target) << why;
  ASSERT_EQ(applier.produced_bytes(), c.target.size()) << why;
  ASSERT_NE(applier.header(), nullptr) << why;
}

TEST(DeltaApplier, TakesPiecesOfAnySize) {
  const Case c = with_all_orders();
  const std::size_t size = c.delta.size();
  for (std::size_t cut = 0; cut <= size; ++cut) expect_from_pieces(c, {cut, size}, "cut at " + std::to_string(cut));
  for (const std::size_t step : {1u, 2u, 3u, 7u, 64u, 1'000u}) {
    std::vector<std::size_t> ends;
    for (std::size_t end = step; end < size; end += step) ends.push_back(end);
    ends.push_back(size);
    expect_from_pieces(c, ends, "pieces of " + std::to_string(step));
  }
}

TEST(DeltaApplier, RefusesEveryCutAndEveryFlippedBit) {
  const Case c = with_all_orders();
  for (std::size_t size = 0; size < c.delta.size(); ++size) {
    const auto cut = applied({c.base}, BytesView(c.delta).substr(0, size));
    ASSERT_FALSE(cut) << "cut to " << size;
    ASSERT_EQ(cut.error().code, Code::kCorrupt) << "cut to " << size;
  }
  for (std::size_t at = 0; at < c.delta.size(); ++at) {
    Bytes flipped = c.delta;
    flipped[at] ^= static_cast<char>(1u << (at % 8));
    const auto refused =
        apply_delta(flipped, [&](const DeltaBase&) -> Result<BytesView> { return BytesView(c.base); }, 1u << 20);
    ASSERT_FALSE(refused) << "flipped at " << at;
    ASSERT_EQ(refused.error().code, Code::kCorrupt) << "flipped at " << at;
  }
  EXPECT_FALSE(applied({c.base}, c.delta + "x")) << "a byte behind the end";
}

TEST(DeltaApplier, RefusesTheWrongBase) {
  const Case c = with_all_orders();
  Bytes other = c.base;
  other[other.size() / 2] ^= 1;
  const auto refused =
      apply_delta(c.delta, [&](const DeltaBase&) -> Result<BytesView> { return BytesView(other); }, 1u << 20);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
  const Bytes shorter = c.base.substr(1);
  const auto short_one =
      apply_delta(c.delta, [&](const DeltaBase&) -> Result<BytesView> { return BytesView(shorter); }, 1u << 20);
  ASSERT_FALSE(short_one);
  EXPECT_NE(short_one.error().message.find("it was made for"), std::string::npos);
}

TEST(DeltaApplier, PassesOnWhatItsCallersSay) {
  const Case c = with_all_orders();
  const auto nowhere = apply_delta(
      c.delta, [](const DeltaBase&) -> Result<BytesView> { return fail(Code::kNotFound, "gone"); }, 1u << 20);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, Code::kNotFound);
  DeltaApplier full([&](const DeltaBase&) -> Result<BytesView> { return BytesView(c.base); },
                    [](BytesView) -> Result<void> { return fail(Code::kBusy, "disk full"); });
  const auto fed = full.feed(c.delta);
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code, Code::kBusy);
  EXPECT_EQ(full.finish().error().code, Code::kBusy) << "and says so again";
  EXPECT_EQ(full.feed("x").error().code, Code::kBusy);
}

TEST(DeltaApplier, ATargetAboveTheCapIsRefusedBeforeAnythingComesOut) {
  const Case c = with_all_orders();
  DeltaApplier applier([&](const DeltaBase&) -> Result<BytesView> { return BytesView(c.base); },
                       [](BytesView) -> Result<void> {
                         ADD_FAILURE() << "something came out";
                         return {};
                       },
                       c.target.size() - 1);
  EXPECT_FALSE(applier.feed(c.delta));
}

// Orders written by hand, behind a header of one base of ten bytes.
TEST(DeltaApplier, HostileOrdersAreRefused) {
  const Bytes base = "0123456789";
  const auto front = [&](std::uint64_t target_bytes, std::uint64_t bases = 1) {
    Bytes out = "TLd1";
    varint(out, target_bytes);
    out += Bytes(32, 'h');
    varint(out, bases);
    for (std::uint64_t i = 0; i < bases && i < 100; ++i) {
      varint(out, base.size());
      out += sha256(base);
    }
    return out;
  };
  const auto text = [](std::initializer_list<int> bytes) {
    Bytes out;
    for (const int byte : bytes) out.push_back(static_cast<char>(byte));
    return out;
  };
  struct Hostile {
    const char* why;
    Bytes delta;
    std::string says;
  };
  const Hostile cases[] = {
      {"another format", "PK\3\4", "does not begin"},
      {"an empty one", "", "ends after 0"},
      {"a target of 2^60 bytes", front(1ull << 60), "at most"},
      {"65 bases", front(10, 65), "65 bases"},
      {"an order of no kind", front(10) + text({6}), "unknown order"},
      {"an element of no type", front(10) + text({1 | 7 << 3}), "unknown order"},
      {"a copy of floats", front(10) + text({0 | 6 << 3, 0, 1}), "a type with an order"},
      {"a copy of nothing", front(10) + text({0, 0, 0}), "0 elements"},
      {"a copy longer than the target", front(9) + text({0, 0, 10}), "bytes are left"},
      {"a copy from before the base", front(10) + text({0, 1, 1}), "does not have"},
      {"a copy from behind the base", front(10) + text({0, 20, 1}), "does not have"},
      {"a place of 2^63", front(10) + text({0, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 1}),
       "does not have"},
      {"a padded number", front(10) + text({0, 0, 0x81, 0}), "padded"},
      {"a number of 70 bits", front(10) + text({0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 127}), "padded"},
      {"a base that is not there", front(10, 2) + text({0, 2, 0, 1}), "base 2 of 2"},
      {"a base of none", front(10, 0) + text({0, 0, 1}), "there is none"},
      {"numbers above a block", front(1ull << 31) + text({2 | 1 << 3, 0x81, 0x80, 0x40, 1}), "an order of 1048577"},
      {"numbers above the target", front(10) + text({2 | 6 << 3, 3, 1}), "an order of 12 bytes"},
      {"a payload of 2^40", front(10) + text({2 | 1 << 3, 10, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20}), "a payload of"},
      {"a patch of 4 MiB", front(1ull << 31) + text({4, 0x80, 0x80, 0x80, 2, 1}), "an order of 4194304"},
      {"a patch that is none", front(10) + text({4, 10, 3}) + "abc", "zstd"},
      {"a block of no mode", front(10) + text({2 | 1 << 3, 10, 1, 8}), "unknown mode"},
      {"a block without its base", front(10) + text({2 | 1 << 3, 10, 1, 0}), "does not fit its base"},
      {"a block without tables", front(10) + text({2 | 1 << 3, 10, 1, 3}), "without tables"},
      {"a block with half its tables", front(10) + text({2 | 1 << 3, 10, 2, 7, 9}), "within its tables"},
      {"an empty payload", front(10) + text({2 | 1 << 3, 10, 0}), "unknown mode"},
      {"the right bytes, the wrong digest", front(10) + text({0, 0, 10, 0, 0, 0, 0}), "CRC"},
  };
  for (const Hostile& c : cases) {
    const auto refused = apply_delta(
        c.delta, [&](const DeltaBase&) -> Result<BytesView> { return BytesView(base); }, kDeltaFileBytesMax);
    ASSERT_FALSE(refused) << c.why;
    EXPECT_EQ(refused.error().code, Code::kCorrupt) << c.why;
    EXPECT_NE(refused.error().message.find(c.says), std::string::npos) << c.why << ": " << refused.error().message;
  }
}

}  // namespace
}  // namespace tidelock
