#include "edge/l2_engine.h"

#include <algorithm>
#include <string>

#include "telemetry/log.h"

namespace tidelock {
namespace {
// Memcached takes 1 MiB with key and head as it ships; Redis half a GiB, of which the queue takes no more than a part.
constexpr std::size_t kMemcachedValueBytesMax = (1u << 20) - 1024;
constexpr std::size_t kRedisValueBytesMax = 4u << 20;
}  // namespace

L2Options l2_options(const L2Settings& settings) {
  L2Options options;
  options.bytes_max = settings.bytes_max;
  options.remote_value_bytes_max =
      settings.engine == L2Engine::kMemcached ? kMemcachedValueBytesMax : kRedisValueBytesMax;
  options.journal_half_bytes = std::clamp<std::uint64_t>(settings.bytes_max / 64, 256u << 10, 16u << 20);
  return options;
}

std::unique_ptr<RemoteStore> open_remote(const L2Settings& settings, const NodeId& edge, const Clock& clock) {
  if (settings.engine == L2Engine::kRocksDb) return nullptr;
  CacheAddress address;
  address.address = settings.address;
  address.password = settings.password;
  address.space = "tidelock1:" + edge;  // the number is the format of what lies there
  const auto connect = settings.engine == L2Engine::kRedis ? connect_redis : connect_memcached;
  RemoteOptions options;
  options.deadline_ns = settings.deadline_ns;
  return std::make_unique<RemoteStore>(
      [address, connect] { return connect(address); }, clock, options,
      [address](const std::string& why) {
        if (why.empty())
          log(LogLevel::kInfo, "edge", "cache server answers again", {{"address", address.address}});
        else
          log(LogLevel::kWarn, "edge", "cache server fails: its values are misses until it is back",
              {{"address", address.address}, {"message", why}});
      });
}

void add_remote_metrics(Metrics& metrics, const RemoteStore& remote) {
  const RemoteCounters& counters = remote.counters();
  const auto counter = [&](const char* name, const char* help, const RemoteCounters::Word& word) {
    metrics.counter_from(name, help, {}, [&word] { return word.load(std::memory_order_relaxed); });
  };
  counter("tidelock_edge_l2_server_gets_total", "Values asked of the cache server or its queue.", counters.gets);
  counter("tidelock_edge_l2_server_hits_total", "Values that were there.", counters.hits);
  counter("tidelock_edge_l2_server_skipped_total", "Reads that found no connection and missed.", counters.skipped);
  counter("tidelock_edge_l2_server_failures_total", "Connections, reads and writes that failed.", counters.failures);
  counter("tidelock_edge_l2_server_written_total", "Writes the cache server took.", counters.written);
  counter("tidelock_edge_l2_server_dropped_total", "Writes dropped from a full queue.", counters.dropped);
  counter("tidelock_edge_l2_server_refused_total", "Values the cache server did not take.", counters.refused);
  metrics.gauge_from("tidelock_edge_l2_server_connected", "1 while reads can reach the cache server.", {},
                     [&counters] { return counters.connected.load(std::memory_order_relaxed) ? 1.0 : 0.0; });
}

}  // namespace tidelock
