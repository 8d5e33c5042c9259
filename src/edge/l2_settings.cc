// A file of its own: who only reads configuration (fuzz) needs nothing of the edge but this.
#include <string>

#include "edge/edge.h"
#include "wire/resp/socket.h"

namespace tidelock {
namespace {
constexpr Nanos kDeadlineMin = 50 * kMicrosecond, kDeadlineMax = 100 * kMillisecond;
constexpr std::uint64_t kBytesMin = 1u << 20;
}  // namespace

Result<void> check_l2(const L2Settings& settings) {
  const bool remote = settings.engine != L2Engine::kRocksDb;
  if (!remote && !settings.address.empty()) {
    return fail(Code::kInvalid, "l2.address = \"" + settings.address +
                                    "\": RocksDB lies in data_dir; set l2.engine to redis or memcached, or remove it");
  }
  if (remote) {
    if (const auto good = parse_address(settings.address); !good) {
      return fail(Code::kInvalid, "l2.address = \"" + settings.address +
                                      "\": must be where the cache server listens: unix:/path or host:port");
    }
  }
  if (!settings.password.empty() && settings.engine != L2Engine::kRedis) {
    return fail(Code::kInvalid, "l2.password is set: only l2.engine = \"redis\" takes one");
  }
  if (settings.deadline_ns < kDeadlineMin || settings.deadline_ns > kDeadlineMax) {
    return fail(Code::kInvalid, "l2.deadline_us = " + std::to_string(settings.deadline_ns / kMicrosecond) +
                                    ": must be from 50 to 100000: the edge's loop waits so long for one read");
  }
  if (settings.bytes_max < kBytesMin) {
    return fail(Code::kInvalid, "l2.max_bytes = " + std::to_string(settings.bytes_max) + ": must be at least 1048576");
  }
  return {};
}

}  // namespace tidelock
