// Keys travel as they are behind the namespace. A value the server does not take (maxmemory without eviction) is
// erased, which it allows even then.
#include <algorithm>
#include <string>
#include <utility>

#include "store/remote/cache_link.h"
#include "wire/resp/client.h"

namespace tidelock {
namespace {

tl::unexpected<Error> lost(Error error) {
  if (error.code == Code::kMaybeApplied) error.code = Code::kUnavailable;  // writes of a cache may be repeated
  return fail(std::move(error));
}

class RedisLink : public CacheLink {
 public:
  RedisLink(RespClient client, std::string prefix) : client_(std::move(client)), prefix_(std::move(prefix)) {}

  Result<std::optional<Bytes>> get(BytesView key, Nanos timeout_ns) override {
    const std::string full = prefix_ + std::string(key);
    auto reply = client_.call({"GET", full}, timeout_ns);
    if (!reply) return lost(reply.error());
    if (reply->is_null()) return std::optional<Bytes>{};
    if (reply->type == RespType::kBulk) return std::optional<Bytes>(std::move(reply->text));
    // Somebody made a list of our key: no value of ours. The next put replaces it.
    if (reply->is_error() && reply->text.starts_with("WRONGTYPE")) return std::optional<Bytes>{};
    return refused(*reply);
  }

  Result<std::size_t> write(const std::vector<CacheWrite>& writes, Nanos timeout_ns) override {
    std::vector<std::vector<std::string>> commands;
    for (const CacheWrite& one : writes) {
      const std::string full = prefix_ + one.key;
      if (!one.value) {
        commands.push_back({"DEL", full});
      } else if (one.ttl_ns == kForever) {
        commands.push_back({"SET", full, *one.value});
      } else {
        const Nanos ms = std::max<Nanos>(one.ttl_ns / kMillisecond, 1);
        commands.push_back({"SET", full, *one.value, "PX", std::to_string(ms)});
      }
    }
    const auto replies = client_.pipeline(commands, timeout_ns);
    if (!replies) return lost(replies.error());
    std::vector<std::vector<std::string>> erase;
    for (std::size_t i = 0; i < replies->size(); ++i) {
      const RespValue& reply = (*replies)[i];
      if (!reply.is_error()) continue;
      if (!writes[i].value || !reply.text.starts_with("OOM")) return refused(reply);
      erase.push_back({"DEL", commands[i][1]});
    }
    if (erase.empty()) return std::size_t{0};
    const auto erased = client_.pipeline(erase, timeout_ns);
    if (!erased) return lost(erased.error());
    for (const RespValue& reply : *erased) {
      if (reply.is_error()) return refused(reply);
    }
    return erase.size();
  }

 private:
  static tl::unexpected<Error> refused(const RespValue& reply) {
    const bool denied = reply.text.starts_with("NOAUTH") || reply.text.starts_with("NOPERM");
    return fail(denied ? Code::kDenied : Code::kUnavailable, "redis: " + to_text(reply));
  }

  RespClient client_;
  const std::string prefix_;
};

}  // namespace

Result<std::unique_ptr<CacheLink>> connect_redis(const CacheAddress& address) {
  RespClientOptions options;
  options.address = address.address;
  options.connect_timeout_ns = address.connect_timeout_ns;
  options.password = address.password;
  options.limits.bytes_max = kCacheValueBytesMax;
  auto client = RespClient::connect(options);
  if (!client) return fail(client.error());
  return std::unique_ptr<CacheLink>(new RedisLink(std::move(*client), address.space + ":"));
}

}  // namespace tidelock
