// Against the examples of RFC 4231 (HMAC-SHA-256), RFC 1321 (MD5) and RFC 4648 (Base64).
#include "codec/hmac.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace tidelock {
namespace {

TEST(Hmac, GivesTheResultsOfItsStandards) {
  EXPECT_EQ(to_hex(hmac_sha256(Bytes(20, '\x0b'), "Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(to_hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(to_hex(hmac_sha256(Bytes(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  EXPECT_EQ(to_hex(md5("")), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(to_hex(md5("message digest")), "f96b697d7cb7938d525a2f31aaf161d0");
}

TEST(Base64, HasOneTextForEachValue) {
  const struct {
    const char* bytes;
    const char* text;
  } cases[] = {{"", ""},
               {"f", "Zg=="},
               {"fo", "Zm8="},
               {"foo", "Zm9v"},
               {"foob", "Zm9vYg=="},
               {"fooba", "Zm9vYmE="},
               {"foobar", "Zm9vYmFy"}};
  for (const auto& c : cases) {
    EXPECT_EQ(to_base64(c.bytes), c.text);
    EXPECT_EQ(from_base64(c.text).value_or("refused"), c.bytes);
  }
  const struct {
    const char* why;
    const char* text;
  } refused[] = {{"no padding", "Zg"},           {"a letter that is none", "Zm9*"},   {"a line break", "Zm9v\nZm"},
                 {"padding inside", "Zg==Zg=="}, {"bits that no byte holds", "Zh=="}, {"only padding", "===="},
                 {"three of it", "Z==="}};
  for (const auto& c : refused) {
    const auto got = from_base64(c.text);
    ASSERT_FALSE(got) << c.why;
    EXPECT_EQ(got.error().code, Code::kCorrupt) << c.why;
  }
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    Bytes bytes(rng.below(100), '\0');
    for (char& c : bytes) c = static_cast<char>(rng.next());
    EXPECT_EQ(from_base64(to_base64(bytes)).value_or("refused"), bytes) << "seed " << seed;
  }
}

}  // namespace
}  // namespace tidelock
