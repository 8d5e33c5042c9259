// SHA-256 and Ed25519, over OpenSSL 3 (M1, M4).
//
// Threads: pure functions; a Sha256 belongs to one thread at a time. Cost: hashing runs at about 1 GB/s, a signature
// takes 0.1 ms. Errors: kInvalid a key that does not parse or is of another kind; kDenied a signature that does not
// hold.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace tidelock {

inline constexpr std::size_t kSha256Bytes = 32;
inline constexpr std::size_t kSignatureBytes = 64;  // Ed25519
inline constexpr std::size_t kKeyIdBytes = 16;
inline constexpr std::size_t kPublicKeyBytes = 32;  // a raw Ed25519 public key: one key has one such form, unlike a PEM

Bytes sha256(BytesView bytes);  // kSha256Bytes

// The same, in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(BytesView bytes);
  Bytes finish();  // once; afterwards the hasher starts anew

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct SigningKey {
  std::string private_pem;  // PKCS #8; a secret: a file with it has mode 0600
  std::string public_pem;   // SubjectPublicKeyInfo
};
Result<SigningKey> make_signing_key();
Result<std::string> public_key_of(std::string_view private_pem);
// The first kKeyIdBytes of the SHA-256 of the raw public key: says which key to look for, proves nothing.
Result<Bytes> key_id_of(std::string_view public_pem);

Result<Bytes> sign_bytes(std::string_view private_pem, BytesView message);  // kSignatureBytes, deterministic
Result<void> verify_bytes(std::string_view public_pem, BytesView message, BytesView signature);

// The same with raw public keys of kPublicKeyBytes (codec/trust.h).
Result<Bytes> raw_public_key_of(std::string_view public_pem);
Result<std::string> public_pem_of(BytesView raw_public_key);
Bytes key_id_of_raw(BytesView raw_public_key);  // what key_id_of says of its PEM
Result<void> verify_with_raw_key(BytesView raw_public_key, BytesView message, BytesView signature);

}  // namespace tidelock
