// Keys of OpenSSL from PEM and back, of whatever kind: what signature.h and model_signing.h have in common.
//
// Threads: pure functions. Errors: kInvalid what is no unencrypted PEM key.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct evp_pkey_st;  // OpenSSL's EVP_PKEY

namespace tidelock {

struct FreePemKey {
  void operator()(evp_pkey_st* key) const;
};
using PemKey = std::unique_ptr<evp_pkey_st, FreePemKey>;

// A key that asks for a pass phrase is refused rather than prompting on a terminal.
Result<PemKey> parse_pem_key(std::string_view pem, bool is_private);
Result<std::string> to_public_pem(evp_pkey_st* key);  // SubjectPublicKeyInfo

}  // namespace tidelock
