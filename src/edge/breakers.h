// Breakers holds a circuit breaker for each namespace that has models (DESIGN 9, M10): fed by what apps tell of their
// frames (TL.HEALTH), shown to every app of the gateway in the page.
//
// Threads: one, the loop's.
// Limits:  as many as there are namespaces. A breaker is made when its namespace is first heard of.
// Restart: nothing is kept: all are closed, as the new page says.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/time.h"
#include "edge/health_table.h"
#include "memory/page.h"
#include "protocol/breaker.h"
#include "protocol/policy.h"
#include "telemetry/metrics.h"

namespace tidelock {

class Breakers {
 public:
  // `page` and `metrics` outlive it. `wake` asks for a tick at an instant.
  Breakers(const BreakerSettings& settings, PageWriter& page, Metrics& metrics, std::function<void(Nanos)> wake);

  void told(const std::vector<Namespace>& namespaces, const HealthSample& sample, Nanos now);
  // Another version of the model came into force here.
  void renewed(const std::vector<Namespace>& namespaces, const std::string& model, Nanos now);
  void tick(Nanos now);
  // The page has other policies: its namespaces may have other numbers.
  void place(const std::vector<Namespace>& namespaces);

  // {"model:":{"state":"open","opened":2,"frames":0,"failed":0,"late":0,"why":"31 of 40 frames failed"}}; what is
  // counted is of the window, which begins anew with each state.
  std::string json() const;
  std::size_t open() const;  // how many are not closed

 private:
  struct One {
    explicit One(const BreakerSettings& settings) : breaker(settings) {}
    CircuitBreaker breaker;
    std::uint16_t number = 0;  // of the namespace in the page
    Nanos wake_at = kForever;
    std::string why;  // it is in its state; empty: it never was in another
    Gauge* state = nullptr;
    Counter* opened = nullptr;
  };
  One& of(const std::vector<Namespace>& namespaces, const std::string& model);
  void step(const std::string& prefix, One& one, const BreakerEvent& event);

  const BreakerSettings settings_;
  PageWriter& page_;
  Metrics& metrics_;
  const std::function<void(Nanos)> wake_;
  std::map<std::string, One> all_;  // by prefix
};

}  // namespace tidelock
