// From the settings of L2 to what stands behind it.
//
// Threads: any. Errors: kInvalid names the key, its value and what would be right; that a cache server cannot be
// reached is no error here: the edge works without it and takes it up when it is there.
#pragma once

#include <memory>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "edge/edge.h"
#include "edge/l2_store.h"
#include "store/remote/remote_store.h"
#include "telemetry/metrics.h"

namespace tidelock {

L2Options l2_options(const L2Settings& settings);
// Null with RocksDB. Every key at the server begins with "tidelock1:EDGE:". `clock` outlives the store.
std::unique_ptr<RemoteStore> open_remote(const L2Settings& settings, const NodeId& edge, const Clock& clock);
// `remote` outlives the registry's last exposition.
void add_remote_metrics(Metrics& metrics, const RemoteStore& remote);

}  // namespace tidelock
