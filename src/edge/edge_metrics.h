// The edge's numbers under the names of DESIGN 10.
#pragma once

#include "base/clock.h"
#include "edge/core_loop.h"
#include "edge/links.h"
#include "telemetry/metrics.h"
#include "wire/resp/server.h"

namespace tidelock {

// What the Redis protocol's server counts, for the thread that answers scrapes: as of the last `publish`, each number
// by itself. CONFIG RESETSTAT sets the counters back to 0.
struct RedisGauges {
  using Word = EdgeGauges::Word;
  Word connections{0}, connections_total{0}, commands{0}, errors{0}, deferred{0}, authentication_failures{0};
  Word refused_max{0}, refused_protected{0}, refused_unauthenticated{0}, refused_tls{0};
  Word closed_idle{0}, closed_slow_reader{0}, closed_protocol_error{0}, closed_memory{0};
  Word bytes_in{0}, bytes_out{0}, buffers_bytes{0};
  void publish(const RespServerStats& stats);  // on the loop's thread
};

// Everything outlives the registry's last scrape.
void add_redis_metrics(Metrics& metrics, const RedisGauges& gauges);
void add_edge_metrics(Metrics& metrics, const EdgeGauges& gauges, const Links& links, const Clock& clock);

}  // namespace tidelock
