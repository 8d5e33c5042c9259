// RespReplyParser: a hostile server's bytes, in any pieces, give the same values and the same error.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/rng.h"
#include "fuzz/fuzz.h"
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

std::vector<tidelock::fuzz::Seed> tidelock::fuzz::seeds() {
  const Bytes wide("\x01\x00", 2), narrow("\x02\x01", 2);
  return {{"simple", wide + "+OK\r\n-ERR no\r\n:42\r\n$3\r\nabc\r\n$-1\r\n"},
          {"map", wide + "%2\r\n+version\r\n:7\r\n$5\r\nvalue\r\n_\r\n"},
          {"nested", wide + "*2\r\n*1\r\n~1\r\n#t\r\n>1\r\n,1.5\r\n"},
          {"attribute", wide + "|1\r\n+a\r\n+b\r\n=7\r\ntxt:abc\r\n(12345678901234567890\r\n"},
          {"deep", narrow + "*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"},
          {"lengths", wide + "*2147483647\r\n$2000000000\r\n"}};
}

void tidelock::fuzz::run(BytesView input) {
  if (input.size() < 2) return;
  tidelock::Rng rng(static_cast<unsigned char>(input[0]));
  tidelock::RespReplyLimits limits;
  if (input[1] & 1) limits = {.depth_max = 3, .elements_max = 10, .bytes_max = 100};
  const std::string_view bytes = input.substr(2);
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
}
