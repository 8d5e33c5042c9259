// RespParser: any bytes, in any pieces, give the same commands and the same error; limits hold.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/rng.h"
#include "fuzz/fuzz.h"
#include "wire/resp/parser.h"

namespace {

using tidelock::RespLimits;
using tidelock::RespParser;

constexpr std::size_t kMemoryMax = 1u << 20;

// Appends what was read, with sizes, so that two different readings cannot look the same.
bool drain(RespParser& parser, std::string& seen) {
  RespParser::Status status;
  while ((status = parser.next()) == RespParser::Status::kCommand) {
    TIDELOCK_ASSERT(!parser.args().empty() && parser.args().size() <= parser.limits().arguments_max);
    for (const std::string_view arg : parser.args()) seen.append(std::to_string(arg.size())).append(":").append(arg);
    seen.push_back('\n');
  }
  if (status == RespParser::Status::kError) seen.append(parser.error());
  return status != RespParser::Status::kError;
}

}  // namespace

std::vector<tidelock::fuzz::Seed> tidelock::fuzz::seeds() {
  const Bytes wide("\x01\x00", 2), narrow("\x02\x03", 2), early("\x03\x01", 2);
  return {{"set", wide + "*3\r\n$3\r\nSET\r\n$5\r\nmodel\r\n$2\r\nv1\r\n"},
          {"inline", wide + "PING\r\nSET a \"b c\\x41\" 'd'\r\n"},
          {"pipeline", wide + "*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n\r\n*0\r\n"},
          {"limits", narrow + "*6\r\n$1\r\na\r\n"},
          {"early", early + "*2\r\n$4\r\nAUTH\r\n$20000\r\n"},
          {"lengths", wide + "*3000000000\r\n"},
          {"negative", wide + "*1\r\n$-10\r\n"},
          {"unbalanced", wide + "SET \"a\r\n"}};
}

void tidelock::fuzz::run(BytesView input) {
  if (input.size() < 2) return;
  tidelock::Rng rng(static_cast<unsigned char>(input[0]));
  RespLimits limits;
  if (input[1] & 1) limits = RespLimits::before_authentication();
  if (input[1] & 2)
    limits = {.arguments_max = 5, .bulk_bytes_max = 40, .request_bytes_max = 120, .inline_bytes_max = 50};
  const std::string_view bytes = input.substr(2);

  RespParser at_once(limits), in_pieces(limits);
  std::string expected, seen;
  at_once.feed(bytes);
  drain(at_once, expected);
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t piece = 1 + rng.below(rng.one_in(4) ? 64 : 4);
    in_pieces.feed(bytes.substr(at, piece));
    at += piece;
    if (!drain(in_pieces, seen)) break;
    if (rng.one_in(8)) in_pieces.shrink();
    TIDELOCK_ASSERT(in_pieces.memory_bytes() <= kMemoryMax + 64 * input.size());
  }
  TIDELOCK_ASSERT(seen == expected);
}
