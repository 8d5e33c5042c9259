// The bytes of a request, and of the answer to one, as pure functions. Inner header of the HTTP room.
//
// Threads: pure. Limits: kHttpHeadBytesMax is the reader's to keep; headers are counted here.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "wire/http/server.h"

namespace tidelock {

inline constexpr std::size_t kHttpHeadBytesMax = 16u << 10;  // request line and headers together
inline constexpr std::size_t kHttpHeadersMax = 64;

HttpResponse http_plain(int status, std::string text);
std::string http_lower(std::string_view text);

// `head` is everything before the empty line. nullopt: well-formed. Else the answer that says what was wrong.
std::optional<HttpResponse> parse_http_head(std::string_view head, HttpRequest& request);
// How long the body is. An answer when the headers do not say, or say more than `body_bytes_max`.
std::optional<HttpResponse> parse_http_length(const HttpRequest& request, std::size_t body_bytes_max,
                                              std::size_t& length);

}  // namespace tidelock
