// What can be said of a node's certificate before it is presented: until when it holds, and whether the CA that peers
// trust has signed it.
//
// Threads: pure functions. Wall time is unix seconds, handed in (C4). Limits and errors as codec/certificate.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "codec/certificate.h"

namespace tidelock {

// Of the first certificate in a PEM text.
Result<Validity> validity_of_certificate(std::string_view certificate_pem);

// The first certificate of `certificate_pem` is signed by one of the CAs in the bundle. Dates are not looked at.
// kDenied says what OpenSSL said.
Result<void> check_signed_by(std::string_view certificate_pem, std::string_view ca_pem);

}  // namespace tidelock
