#include "codec/compress.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace tidelock {
namespace {

Bytes some_bytes(std::uint64_t seed, std::size_t size) {
  Rng rng(seed);
  Bytes out;
  for (std::size_t i = 0; i < size; ++i) out.push_back(static_cast<char>(rng.below(7)));
  return out;
}

TEST(Compress, ComesBackTheSame) {
  for (const std::size_t size : {0u, 1u, 100u, 65'536u, 1'000'000u}) {
    const Bytes bytes = some_bytes(size + 1, size);
    const auto back = decompress(compress(bytes), bytes.size(), "bytes");
    ASSERT_TRUE(back) << size << ": " << back.error().message;
    EXPECT_EQ(*back, bytes) << size;
  }
}

TEST(Decompress, RefusesAnythingButOneWholeFrameWithinTheCap) {
  const Bytes frame = compress(some_bytes(1, 10'000));
  const Bytes bomb = compress(Bytes(64u << 20, '\0'));
  struct Case {
    const char* why;
    Bytes frame;
    std::size_t bytes_max;
  };
  const Case cases[] = {{"nothing", "", 100},
                        {"no frame", "hello, hello, hello", 100},
                        {"one byte above the cap", frame, 9'999},
                        {"a bomb", bomb, 1u << 20},
                        {"a bomb and no room at all", bomb, 0},
                        {"bytes behind the frame", frame + "x", 10'000},
                        {"two frames", frame + frame, 100'000}};
  for (const Case& c : cases) {
    const auto refused = decompress(c.frame, c.bytes_max, "thing");
    ASSERT_FALSE(refused) << c.why;
    EXPECT_EQ(refused.error().code, Code::kCorrupt) << c.why;
    EXPECT_TRUE(refused.error().message.starts_with("thing: ")) << c.why;
  }
  for (std::size_t size = 0; size < frame.size(); ++size) {
    EXPECT_FALSE(decompress(BytesView(frame).substr(0, size), 10'000, "thing")) << "cut to " << size;
  }
  EXPECT_TRUE(decompress(frame, 10'000, "thing")) << "exactly the cap, after refusals";
}

TEST(CompressAgainst, ComesBackWithThePrefixAndIsRefusedWithout) {
  Bytes prefix;
  Rng rng(7);
  for (int i = 0; i < 50'000; ++i) prefix.push_back(static_cast<char>(rng.next()));
  const Bytes bytes = prefix.substr(10'000, 20'000) + "something new";
  const Bytes frame = compress_against(bytes, prefix, 3);
  EXPECT_LT(frame.size(), 100u);
  Bytes out(bytes.size(), '\0');
  ASSERT_TRUE(decompress_against(frame, prefix, out.data(), out.size(), "thing"));
  EXPECT_EQ(out, bytes);
  struct Case {
    const char* why;
    Bytes frame;
    BytesView prefix;
    std::size_t bytes;
  };
  const Case cases[] = {{"no prefix", frame, {}, out.size()},
                        {"room for one byte less", frame, prefix, out.size() - 1},
                        {"nothing", "", prefix, out.size()},
                        {"bytes behind the frame", frame + "x", prefix, out.size()},
                        {"cut off", frame.substr(0, frame.size() - 1), prefix, out.size()},
                        {"a frame of another size", compress_against("short", prefix, 3), prefix, out.size()}};
  for (const Case& c : cases) {
    const auto refused = decompress_against(c.frame, c.prefix, out.data(), c.bytes, "thing");
    ASSERT_FALSE(refused) << c.why;
    EXPECT_EQ(refused.error().code, Code::kCorrupt) << c.why;
  }
}

}  // namespace
}  // namespace tidelock
