#include "codec/signature.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/assert.h"
#include "codec/pem_key.h"

namespace tidelock {
namespace {

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
struct FreeDigest {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
struct FreeKeyContext {
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
};
using Key = PemKey;
using Bio = std::unique_ptr<BIO, FreeBio>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, FreeDigest>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, FreeKeyContext>;

const unsigned char* raw(BytesView bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }
unsigned char* raw(Bytes& bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); }

Result<Key> parse_key(std::string_view pem, bool is_private) {
  auto key = parse_pem_key(pem, is_private);
  if (key && EVP_PKEY_get_base_id(key->get()) != EVP_PKEY_ED25519) {
    return fail(Code::kInvalid, std::string(is_private ? "private" : "public") +
                                    " key: of another kind, models are signed with Ed25519");
  }
  return key;
}

// OpenSSL's decoders take about as long for a PEM as Ed25519 for the check, and a cluster has one model key: each
// thread keeps the public key that it parsed last.
Result<Key> public_key(std::string_view pem) {
  thread_local std::string latest_pem;
  thread_local Key latest;
  if (!latest || latest_pem != pem) {
    auto key = parse_key(pem, false);
    if (!key) return key;
    latest = std::move(*key);
    latest_pem = pem;
  }
  EVP_PKEY_up_ref(latest.get());
  return Key(latest.get());
}

Result<Key> raw_key(BytesView bytes) {
  Key key(bytes.size() == kPublicKeyBytes
              ? EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, raw(bytes), bytes.size())
              : nullptr);
  if (!key) {
    return fail(Code::kInvalid, "public key: " + std::to_string(bytes.size()) + " bytes, a raw Ed25519 key has " +
                                    std::to_string(kPublicKeyBytes));
  }
  return key;
}

Result<void> verify_with(EVP_PKEY* key, BytesView message, BytesView signature) {
  if (signature.size() != kSignatureBytes) {
    return fail(Code::kDenied, "signature: " + std::to_string(signature.size()) + " bytes, an Ed25519 signature has " +
                                   std::to_string(kSignatureBytes));
  }
  const DigestContext context(EVP_MD_CTX_new());
  if (EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key) != 1 ||
      EVP_DigestVerify(context.get(), raw(signature), signature.size(), raw(message), message.size()) != 1) {
    ERR_clear_error();
    return fail(Code::kDenied, "signature: does not match these bytes and this key");
  }
  return {};
}

}  // namespace

struct Sha256::Impl {
  DigestContext context{EVP_MD_CTX_new()};
};
Sha256::Sha256() : impl_(std::make_unique<Impl>()) {
  TIDELOCK_ASSERT(EVP_DigestInit_ex(impl_->context.get(), EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
void Sha256::update(BytesView bytes) {
  TIDELOCK_ASSERT(EVP_DigestUpdate(impl_->context.get(), bytes.data(), bytes.size()) == 1);
}
Bytes Sha256::finish() {
  Bytes out(kSha256Bytes, '\0');
  TIDELOCK_ASSERT(EVP_DigestFinal_ex(impl_->context.get(), raw(out), nullptr) == 1);
  TIDELOCK_ASSERT(EVP_DigestInit_ex(impl_->context.get(), EVP_sha256(), nullptr) == 1);
  return out;
}

Bytes sha256(BytesView bytes) {
  Bytes out(kSha256Bytes, '\0');
  TIDELOCK_ASSERT(EVP_Digest(bytes.data(), bytes.size(), raw(out), nullptr, EVP_sha256(), nullptr) == 1);
  return out;
}

Result<SigningKey> make_signing_key() {
  const KeyContext context(EVP_PKEY_CTX_new_id(EVP_PKEY_ED25519, nullptr));
  EVP_PKEY* made = nullptr;
  if (!context || EVP_PKEY_keygen_init(context.get()) != 1 || EVP_PKEY_keygen(context.get(), &made) != 1) {
    ERR_clear_error();
    return fail(Code::kUnavailable, "signing key: OpenSSL cannot make an Ed25519 key");
  }
  const Key key(made);
  const Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return fail(Code::kInvalid, "signing key: cannot be written as PEM");
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  SigningKey out;
  out.private_pem.assign(data, static_cast<std::size_t>(size));
  auto pem = to_public_pem(key.get());
  if (!pem) return fail(pem.error());
  out.public_pem = std::move(*pem);
  return out;
}

Result<std::string> public_key_of(std::string_view private_pem) {
  const auto key = parse_key(private_pem, true);
  if (!key) return fail(key.error());
  return to_public_pem(key->get());
}

Result<Bytes> raw_public_key_of(std::string_view pem) {
  const auto key = public_key(pem);
  if (!key) return fail(key.error());
  std::size_t size = kPublicKeyBytes;
  Bytes bytes(size, '\0');
  // parse_key let no other kind of key pass, and every one of this kind has these 32 bytes.
  TIDELOCK_ASSERT(EVP_PKEY_get_raw_public_key(key->get(), raw(bytes), &size) == 1 && size == bytes.size());
  return bytes;
}

Result<std::string> public_pem_of(BytesView raw_public_key) {
  const auto key = raw_key(raw_public_key);
  if (!key) return fail(key.error());
  return to_public_pem(key->get());
}

Bytes key_id_of_raw(BytesView raw_public_key) { return sha256(raw_public_key).substr(0, kKeyIdBytes); }

Result<Bytes> key_id_of(std::string_view pem) {
  const auto bytes = raw_public_key_of(pem);
  if (!bytes) return fail(bytes.error());
  return key_id_of_raw(*bytes);
}

Result<Bytes> sign_bytes(std::string_view private_pem, BytesView message) {
  const auto key = parse_key(private_pem, true);
  if (!key) return fail(key.error());
  const DigestContext context(EVP_MD_CTX_new());
  Bytes signature(kSignatureBytes, '\0');
  std::size_t size = signature.size();
  if (EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key->get()) != 1 ||
      EVP_DigestSign(context.get(), raw(signature), &size, raw(message), message.size()) != 1 ||
      size != kSignatureBytes) {
    ERR_clear_error();
    return fail(Code::kInvalid, "signing key: OpenSSL cannot sign with it");
  }
  return signature;
}

Result<void> verify_bytes(std::string_view pem, BytesView message, BytesView signature) {
  const auto key = public_key(pem);
  if (!key) return fail(key.error());
  return verify_with(key->get(), message, signature);
}

Result<void> verify_with_raw_key(BytesView raw_public_key, BytesView message, BytesView signature) {
  const auto key = raw_key(raw_public_key);
  if (!key) return fail(key.error());
  return verify_with(key->get(), message, signature);
}

}  // namespace tidelock
