#include "codec/hmac.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/assert.h"

namespace tidelock {
namespace {

constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const unsigned char* raw(BytesView bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

}  // namespace

Bytes hmac_sha256(BytesView key, BytesView message) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned length = 0;
  const auto* done =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), raw(message), message.size(), out.data(), &length);
  TIDELOCK_ASSERT(done != nullptr);
  return Bytes(reinterpret_cast<const char*>(out.data()), length);
}

Bytes md5(BytesView bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned length = 0;
  const int done = EVP_Digest(bytes.data(), bytes.size(), out.data(), &length, EVP_md5(), nullptr);
  TIDELOCK_ASSERT(done == 1);
  return Bytes(reinterpret_cast<const char*>(out.data()), length);
}

std::string to_base64(BytesView bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i) group = group << 8 | (i < count ? raw(bytes)[at + i] : 0u);
    for (std::size_t i = 0; i < 4; ++i) out += i <= count ? kLetters[group >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

Result<Bytes> from_base64(std::string_view text) {
  const auto broken = [] { return fail(Code::kCorrupt, "not Base64: give padded text of A-Z, a-z, 0-9, '+' and '/'"); };
  if (text.size() % 4 != 0) return broken();
  Bytes out;
  out.reserve(text.size() / 4 * 3);
  for (std::size_t at = 0; at < text.size(); at += 4) {
    const std::string_view group = text.substr(at, 4);
    const bool last = at + 4 == text.size();
    const std::size_t letters = last && group.ends_with("==") ? 2 : last && group.ends_with('=') ? 3 : 4;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t digit = i < letters ? kLetters.find(group[i]) : 0;
      if (digit == std::string_view::npos) return broken();
      value = value << 6 | static_cast<std::uint32_t>(digit);
    }
    if ((value & ((1u << (8 * (4 - letters))) - 1)) != 0) return broken();  // bits that no byte holds
    for (std::size_t i = 0; i + 1 < letters; ++i) out += static_cast<char>(value >> (16 - 8 * i));
  }
  return out;
}

}  // namespace tidelock
