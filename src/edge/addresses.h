// Addresses of the edge's own faces, as the configuration gives them.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "base/result.h"

namespace tidelock {

// "host:port"; kInvalid names the field. Port 0: the system picks.
inline Result<std::pair<std::string, int>> split_address(const char* field, const std::string& address) {
  const std::size_t colon = address.rfind(':');
  int port = 0;
  bool good = colon != std::string::npos && colon > 0 && colon + 1 < address.size() && address.size() - colon <= 6;
  for (std::size_t i = colon + 1; good && i < address.size(); ++i) {
    good = address[i] >= '0' && address[i] <= '9';
    port = port * 10 + (address[i] - '0');
  }
  if (!good || port > 65535) {
    return fail(Code::kInvalid,
                std::string(field) + " = \"" + address + "\": must be host:port, for example 127.0.0.1:6380");
  }
  return std::pair{address.substr(0, colon), port};
}

}  // namespace tidelock
