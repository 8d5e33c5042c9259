// CacheLink is one connection to a cache server that keeps values and may lose any of them at any time.
//
// Threads:  one at a time.
// Errors:   after any of them the connection is out of step: drop the link and connect again. kUnavailable: nobody
//           there, or no answer in time. kCorrupt: the answer was not of the protocol. kDenied, kInvalid: the server
//           refuses this client, with its words.
// Limits:   an answer larger than kCacheValueBytesMax is kCorrupt; nothing is allocated by an announced length alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"

namespace tidelock {

inline constexpr std::size_t kCacheValueBytesMax = 16u << 20;

struct CacheWrite {
  Bytes key;
  std::optional<Bytes> value;  // nullopt erases
  Nanos ttl_ns = kForever;     // the server may drop the value after it, and gives the bytes back then
};

class CacheLink {
 public:
  virtual ~CacheLink() = default;
  virtual Result<std::optional<Bytes>> get(BytesView key, Nanos timeout_ns) = 0;
  // In order, in one exchange. How many values the server did not take (too large, no room): of those it keeps none.
  virtual Result<std::size_t> write(const std::vector<CacheWrite>& writes, Nanos timeout_ns) = 0;
};

struct CacheAddress {
  std::string address;   // "host:port", "[::1]:6379", "unix:/path", "/path"
  std::string password;  // Redis only; empty: none
  std::string space;     // no blanks: every key of ours begins with it, and nothing else is touched
  Nanos connect_timeout_ns = kSecond;
};

Result<std::unique_ptr<CacheLink>> connect_redis(const CacheAddress& address);
Result<std::unique_ptr<CacheLink>> connect_memcached(const CacheAddress& address);

}  // namespace tidelock
