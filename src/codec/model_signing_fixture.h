// Keys on a curve, for tests of codec/model_signing.h and of what rests on it.
#pragma once

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <string>

#include "base/assert.h"
#include "codec/signature.h"

namespace tidelock {

inline SigningKey make_curve_key(const char* curve) {
  EVP_PKEY* key = EVP_EC_gen(curve);
  TIDELOCK_ASSERT(key != nullptr);
  const auto pem = [](auto&& write) {
    BIO* bio = BIO_new(BIO_s_mem());
    TIDELOCK_ASSERT(write(bio) == 1);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string out(data, static_cast<std::size_t>(size));
    BIO_free(bio);
    return out;
  };
  SigningKey out;
  out.private_pem =
      pem([&](BIO* bio) { return PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr); });
  out.public_pem = pem([&](BIO* bio) { return PEM_write_bio_PUBKEY(bio, key); });
  EVP_PKEY_free(key);
  return out;
}

}  // namespace tidelock
