#include "codec/pem_key.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

namespace tidelock {
namespace {

constexpr std::size_t kPemBytesMax = 64u << 10;

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;

int no_passphrase(char*, int, int, void*) { return 0; }

}  // namespace

void FreePemKey::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }

Result<PemKey> parse_pem_key(std::string_view pem, bool is_private) {
  const std::string kind = is_private ? "private" : "public";
  if (pem.empty() || pem.size() > kPemBytesMax) {
    return fail(Code::kInvalid, kind + " key: " + std::to_string(pem.size()) + " bytes, a PEM file has 1 to " +
                                    std::to_string(kPemBytesMax));
  }
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  PemKey key(is_private ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr)
                        : PEM_read_bio_PUBKEY(bio.get(), nullptr, no_passphrase, nullptr));
  ERR_clear_error();
  if (!key) return fail(Code::kInvalid, kind + " key: not an unencrypted PEM " + kind + " key");
  return key;
}

Result<std::string> to_public_pem(evp_pkey_st* key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_PUBKEY(bio.get(), key) != 1) return fail(Code::kInvalid, "public key: cannot be written as PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

}  // namespace tidelock
