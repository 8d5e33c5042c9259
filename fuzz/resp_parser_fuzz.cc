// RespParser: any bytes, in any pieces, give the same commands and the same error; limits hold.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "base/rng.h"
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

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  tidelock::Rng rng(data[0]);
  RespLimits limits;
  if (data[1] & 1) limits = RespLimits::before_authentication();
  if (data[1] & 2)
    limits = {.arguments_max = 5, .bulk_bytes_max = 40, .request_bytes_max = 120, .inline_bytes_max = 50};
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);

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
    TIDELOCK_ASSERT(in_pieces.memory_bytes() <= kMemoryMax + 64 * size);
  }
  TIDELOCK_ASSERT(seen == expected);
  return 0;
}
