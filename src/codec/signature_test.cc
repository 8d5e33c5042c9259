#include "codec/signature.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>

namespace tidelock {
namespace {

TEST(Sha256, AgreesWithFips180) {
  EXPECT_EQ(to_hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, GivesTheSameInPieces) {
  const Bytes text(100'000, 'q');
  Sha256 hasher;
  for (std::size_t at = 0, step = 1; at < text.size(); at += step, step = step * 3 % 4099 + 1) {
    hasher.update(BytesView(text).substr(at, std::min(step, text.size() - at)));
    step = std::min(step, text.size() - at);
  }
  EXPECT_EQ(hasher.finish(), sha256(text));
  hasher.update("abc");
  EXPECT_EQ(hasher.finish(), sha256("abc")) << "a hasher starts anew after finish";
}

// RFC 8032, 7.1, test 2: the PEM forms of its key pair.
constexpr const char* kRfcPrivate =
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n-----END PRIVATE "
    "KEY-----\n";

TEST(Ed25519, AgreesWithRfc8032) {
  const auto signature = sign_bytes(kRfcPrivate, "\x72");
  ASSERT_TRUE(signature) << signature.error().message;
  EXPECT_EQ(to_hex(*signature),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4"
            "302aeeb0"
            "0d291612bb0c00");
  EXPECT_TRUE(verify_bytes(*public_key_of(kRfcPrivate), "\x72", *signature));
}

TEST(Ed25519, RefusesWhatWasNotSigned) {
  const SigningKey key = *make_signing_key();
  const SigningKey other = *make_signing_key();
  const Bytes signature = *sign_bytes(key.private_pem, "message");
  EXPECT_EQ(*public_key_of(key.private_pem), key.public_pem);
  EXPECT_TRUE(verify_bytes(key.public_pem, "message", signature));
  EXPECT_EQ(verify_bytes(key.public_pem, "massage", signature).error().code, Code::kDenied);
  EXPECT_EQ(verify_bytes(other.public_pem, "message", signature).error().code, Code::kDenied);
  EXPECT_EQ(verify_bytes(key.public_pem, "message", signature.substr(1)).error().code, Code::kDenied);
  EXPECT_EQ(verify_bytes(key.public_pem, "message", "").error().code, Code::kDenied);
  EXPECT_NE(*key_id_of(key.public_pem), *key_id_of(other.public_pem));
}

TEST(Ed25519, RefusesWhatIsNoKeyOfItsKind) {
  const SigningKey key = *make_signing_key();
  constexpr const char* kP256 =
      "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n"
      "6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n-----END PUBLIC KEY-----\n";
  struct Case {
    const char* why;
    std::string pem;
  };
  const Case cases[] = {{"nothing", ""},
                        {"no PEM", "hello"},
                        {"a private key where a public one belongs", key.private_pem},
                        {"another kind of key", kP256},
                        {"endless text", std::string(100'000, 'x')},
                        {"half a key", key.public_pem.substr(0, key.public_pem.size() / 2)}};
  for (const Case& c : cases) EXPECT_EQ(verify_bytes(c.pem, "m", Bytes(64, 's')).error().code, Code::kInvalid) << c.why;
  EXPECT_EQ(sign_bytes(key.public_pem, "m").error().code, Code::kInvalid);
}

TEST(Ed25519, ARawKeyIsTheSameKeyAsItsPem) {
  const SigningKey key = *make_signing_key();
  const Bytes raw = *raw_public_key_of(key.public_pem), signature = *sign_bytes(key.private_pem, "message");
  EXPECT_EQ(raw.size(), kPublicKeyBytes);
  EXPECT_EQ(*public_pem_of(raw), key.public_pem);
  EXPECT_EQ(key_id_of_raw(raw), *key_id_of(key.public_pem));
  EXPECT_TRUE(verify_with_raw_key(raw, "message", signature));
  EXPECT_EQ(verify_with_raw_key(raw, "massage", signature).error().code, Code::kDenied);
  EXPECT_EQ(verify_with_raw_key(raw, "message", signature.substr(1)).error().code, Code::kDenied);
  EXPECT_EQ(verify_with_raw_key(Bytes(32, '\0'), "message", signature).error().code, Code::kDenied);
  EXPECT_EQ(verify_with_raw_key(raw.substr(1), "message", signature).error().message,
            "public key: 31 bytes, a raw Ed25519 key has 32");
  EXPECT_EQ(public_pem_of("short").error().code, Code::kInvalid);
  EXPECT_EQ(raw_public_key_of("no key").error().code, Code::kInvalid);
}

TEST(Ed25519, IsMissedByNameWhereOpenSslIsConfinedToFips) {
  ASSERT_EQ(EVP_set_default_properties(nullptr, "fips=yes"), 1);  // as openssl.cnf may say it for a whole machine
  const auto refused = make_signing_key();
  ASSERT_EQ(EVP_set_default_properties(nullptr, ""), 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable) << "it is this machine, not the request";
  EXPECT_EQ(refused.error().message, "signing key: OpenSSL cannot make an Ed25519 key");
  EXPECT_TRUE(make_signing_key());
}

}  // namespace
}  // namespace tidelock
