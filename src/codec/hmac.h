// HMAC-SHA-256, MD5 and Base64, as the protocols of object stores ask for them. MD5 finds bytes that were damaged on
// their way and proves nothing: nothing of ours rests on it.
//
// Threads: pure functions. Errors: kCorrupt text that is no Base64.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace tidelock {

Bytes hmac_sha256(BytesView key, BytesView message);  // 32 bytes
Bytes md5(BytesView bytes);                           // 16 bytes

std::string to_base64(BytesView bytes);
// Padded, without line breaks; one text for each value, as to_base64 writes it.
Result<Bytes> from_base64(std::string_view text);

}  // namespace tidelock
