// RespReplyParser: a hostile server's bytes, in any pieces, give the same values and the same error.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "base/rng.h"
#include "wire/resp/value.h"

namespace {

using tidelock::RespReplyParser;
using tidelock::RespValue;

bool drain(RespReplyParser& parser, std::string& seen) {
  RespValue value;
  RespReplyParser::Status status;
  while ((status = parser.next(&value)) == RespReplyParser::Status::kValue) seen.append(to_text(value)).push_back('\n');
  if (status == RespReplyParser::Status::kError) seen.append(parser.error());
  return status != RespReplyParser::Status::kError;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  tidelock::Rng rng(data[0]);
  tidelock::RespReplyLimits limits;
  if (data[1] & 1) limits = {.depth_max = 3, .elements_max = 10, .bytes_max = 100};
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  RespReplyParser at_once(limits), in_pieces(limits);
  std::string expected, seen;
  at_once.feed(bytes);
  drain(at_once, expected);
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t piece = 1 + rng.below(6);
    in_pieces.feed(bytes.substr(at, piece));
    at += piece;
    if (!drain(in_pieces, seen)) break;
  }
  TIDELOCK_ASSERT(seen == expected);
  return 0;
}
