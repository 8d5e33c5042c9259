// Errors are values. A code says what the caller may do next; the message says what was wrong, with the field, the
// value and what would be right. Exceptions do not cross a room.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace tidelock {

enum class Code : std::uint8_t {
  kOk = 0,
  kUnavailable,   // nothing happened: the same call may be repeated
  kNotActive,     // nothing happened: repeat at the node that `hint` names
  kMaybeApplied,  // cannot tell: read before repeating
  kConflict,      // the state differs from what the caller demanded
  kNotFound,
  kInvalid,  // the request itself is wrong: repeating cannot help
  kBusy,     // nothing happened: retry after detail_ns
  kStale,    // no value within the bound: detail_ns is the bound that could be proven
  kCorrupt,  // bytes failed a check: repeating cannot help
  kDenied,
};

// "kUnavailable" -> "unavailable": the word that JSON, logs and the command line use.
std::string_view code_name(Code code);

struct Error {
  Code code = Code::kInvalid;
  std::string message;
  std::string hint;            // kNotActive: address of the node to ask, empty when unknown
  std::int64_t detail_ns = 0;  // kStale: the provable bound; kBusy: retry after

  friend bool operator==(const Error&, const Error&) = default;
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(Code code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message), {}, 0});
}
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

}  // namespace tidelock
