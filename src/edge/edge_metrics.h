// The edge's numbers under the names of DESIGN 10.
#pragma once

#include "base/clock.h"
#include "edge/core_loop.h"
#include "edge/links.h"
#include "telemetry/metrics.h"

namespace tidelock {

// Everything outlives the registry's last scrape.
void add_edge_metrics(Metrics& metrics, const EdgeGauges& gauges, const Links& links, const Clock& clock);

}  // namespace tidelock
