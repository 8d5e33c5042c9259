// ModelFigures is what others may see of this gateway's models while their keeper works: apps and operators (TL.INFO),
// the reports to the hub, /metrics.
//
// Threads: show() is the keeper's; everything else is for any thread. `metrics` and `clock` outlive it.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "edge/model_room.h"
#include "telemetry/metrics.h"

namespace tidelock {

class ModelFigures {
 public:
  struct Adopted {  // the version in force, verified here
    VersionKey key;
    Index activation;
  };

  ModelFigures(const Clock& clock, Metrics& metrics)
      : clock_(clock),
        metrics_(metrics),
        expired_(metrics.gauge("tidelock_edge_model_trust_expired",
                               "1 while the trust files are expired: what is in force may be an old release (X2).")),
        downloaded_(metrics.counter("tidelock_edge_model_bytes_total", "Bytes of model files fetched from hubs.")) {}
  ~ModelFigures() { metrics_.forget(metric::kModelVersionLag); }

  // As it is now. Answers what came into force since the call before.
  std::vector<Adopted> show(const ModelPointers& pointers, const std::map<VersionKey, ModelRoom::Verified>& verified,
                            const std::set<VersionKey>& damaged,
                            const std::map<VersionKey, std::uint64_t>& fetched_bytes);
  void trust(std::string_view standing);
  // Of the versions that the pointers name; the apps' part is not in it.
  std::vector<ModelHealth> list() const;
  // {"detector":{"current":"1.0.0","staged":"2.0.0","verified":["1.0.0"],"damaged":["2.0.0"],"trust":"fresh"}}
  std::string json() const;

 private:
  struct Shown {
    std::string current, staged;
    std::vector<std::string> verified, damaged;
    Index activation;
    Nanos current_since = 0;
    bool current_verified = false;
    std::uint64_t current_fetched = 0, staged_fetched = 0;
  };
  double lag_s(const std::string& name) const;
  void add_running(std::map<std::string, Shown>& shown, const std::map<VersionKey, ModelRoom::Verified>& verified,
                   const std::map<VersionKey, std::uint64_t>& fetched_bytes);

  const Clock& clock_;
  Metrics& metrics_;
  Gauge& expired_;
  Counter& downloaded_;                          // ModelFetch's, of this run
  std::map<VersionKey, std::uint64_t> counted_;  // the keeper's: what downloaded_ was when it last changed is counted
  std::uint64_t counted_at_ = 0;
  mutable std::mutex mutex_;  // the three below
  std::string trust_ = "unset";
  std::map<std::string, Shown> shown_;
  std::set<std::string> gauges_;  // models that have theirs
};

}  // namespace tidelock
