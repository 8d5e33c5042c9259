#include "edge/breakers.h"

#include <algorithm>
#include <utility>

#include "protocol/admin.h"
#include "telemetry/log.h"

namespace tidelock {

Breakers::Breakers(const BreakerSettings& settings, PageWriter& page, Metrics& metrics, std::function<void(Nanos)> wake)
    : settings_(settings), page_(page), metrics_(metrics), wake_(std::move(wake)) {}

Breakers::One& Breakers::of(const std::vector<Namespace>& namespaces, const std::string& model) {
  const std::string key = model_current_key(model);
  const auto [it, made] = all_.try_emplace(namespace_of(namespaces, key).prefix, settings_);
  One& one = it->second;
  if (made) {
    one.number = namespace_number(namespaces, key);
    const Labels labels{{"namespace", it->first}};
    one.state = &metrics_.gauge("tidelock_edge_breaker_state",
                                "Whether the apps' frames run: 0 closed, they do; 1 open, refused; 2 half-open, a few "
                                "do.",
                                labels);
    one.opened = &metrics_.counter("tidelock_edge_breaker_opened_total",
                                   "How often too many frames failed or came late, and frames were refused.", labels);
  }
  return one;
}

void Breakers::step(const std::string& prefix, One& one, const BreakerEvent& event) {
  BreakerActions actions;
  const Breaker before = one.breaker.state();
  one.breaker.step(event, actions);
  one.wake_at = actions.wake_at;
  Nanos first = kForever;
  for (const auto& [other_prefix, other] : all_) first = std::min(first, other.wake_at);
  wake_(first);
  if (!actions.changed) return;
  const Breaker now = one.breaker.state();
  one.why = actions.why;
  page_.set_breaker(one.number, now);
  one.state->set(static_cast<double>(now));
  if (now == Breaker::kOpen) one.opened->add();
  log(now == Breaker::kOpen ? LogLevel::kWarn : LogLevel::kInfo, "edge",
      now == Breaker::kOpen ? "breaker opened: frames are refused" : "breaker changed",
      {{"namespace", prefix}, {"from", breaker_name(before)}, {"to", breaker_name(now)}, {"why", actions.why}});
}

void Breakers::told(const std::vector<Namespace>& namespaces, const HealthSample& sample, Nanos now) {
  if (sample.verdict == HealthSample::Verdict::kSick) return;  // speaks of no frame
  BreakerEvent::Frames frames{sample.count, 0, 0};
  if (sample.verdict == HealthSample::Verdict::kBad) {
    frames.failed = sample.count;
  } else if (settings_.late_after_ns > 0 && sample.latency_us &&
             *sample.latency_us >= static_cast<std::uint64_t>(settings_.late_after_ns / kMicrosecond)) {
    frames.late = sample.count;
  }
  One& one = of(namespaces, sample.name);
  step(namespace_of(namespaces, model_current_key(sample.name)).prefix, one, {now, frames});
}

void Breakers::renewed(const std::vector<Namespace>& namespaces, const std::string& model, Nanos now) {
  const auto it = all_.find(namespace_of(namespaces, model_current_key(model)).prefix);
  if (it != all_.end()) step(it->first, it->second, {now, BreakerEvent::Renewed{}});
}

void Breakers::tick(Nanos now) {
  for (auto& [prefix, one] : all_) step(prefix, one, {now, BreakerEvent::Tick{}});
}

void Breakers::place(const std::vector<Namespace>& namespaces) {
  for (std::size_t n = 0; n < std::min(namespaces.size(), kNamespacesMax); ++n)
    page_.set_breaker(static_cast<std::uint16_t>(n), Breaker::kClosed);
  for (auto it = all_.begin(); it != all_.end();) {
    const auto at =
        std::find_if(namespaces.begin(), namespaces.end(), [&](const Namespace& ns) { return ns.prefix == it->first; });
    if (at == namespaces.end()) {
      it->second.state->set(0);
      it = all_.erase(it);
      continue;
    }
    it->second.number = static_cast<std::uint16_t>(at - namespaces.begin());
    page_.set_breaker(it->second.number, it->second.breaker.state());
    ++it;
  }
}

std::string Breakers::json() const {
  std::string out;
  for (const auto& [prefix, one] : all_) {
    const BreakerEvent::Frames window = one.breaker.window();
    // A prefix comes from the ledger and may hold any byte; what JSON would have to escape is shown as '?'.
    std::string name = prefix;
    std::replace_if(
        name.begin(), name.end(),
        [](char c) {
          return static_cast<unsigned char>(c) < ' ' || static_cast<unsigned char>(c) >= 0x7f || c == '"' || c == '\\';
        },
        '?');
    out += (out.empty() ? "{\"" : ",\"") + name + "\":{\"state\":\"" + std::string(breaker_name(one.breaker.state())) +
           "\",\"opened\":" + std::to_string(one.breaker.opened()) + ",\"frames\":" + std::to_string(window.count) +
           ",\"failed\":" + std::to_string(window.failed) + ",\"late\":" + std::to_string(window.late) + ",\"why\":\"" +
           one.why + "\"}";
  }
  return out.empty() ? "{}" : out + "}";
}

std::size_t Breakers::open() const {
  return static_cast<std::size_t>(std::count_if(
      all_.begin(), all_.end(), [](const auto& one) { return one.second.breaker.state() != Breaker::kClosed; }));
}

}  // namespace tidelock
