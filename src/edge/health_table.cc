#include "edge/health_table.h"

#include <algorithm>
#include <utility>

#include "codec/manifest.h"
#include "protocol/rollout.h"

namespace tidelock {

ModelHealth& HealthTable::of(Model& model, const std::string& name, const std::string& version) {
  const auto it = std::find_if(model.versions.begin(), model.versions.end(),
                               [&](const ModelHealth& one) { return one.version == version; });
  if (it != model.versions.end()) return *it;
  if (model.versions.size() >= 2) {
    const bool first_counts = model.versions.front().version == model.in_force;
    model.versions.erase(model.versions.begin() + (first_counts ? 1 : 0));
  }
  ModelHealth& made = model.versions.emplace_back();
  made.name = name;
  made.version = version;
  return made;
}

Result<void> HealthTable::add(const HealthSample& sample) {
  if (const auto ok = validate_model_name(sample.name); !ok) return ok;
  if (sample.version.empty() || sample.version.size() > 64)
    return fail(Code::kInvalid, "a version has 1 to 64 bytes, this one " + std::to_string(sample.version.size()));
  if (!models_.contains(sample.name) && models_.size() >= kModelsMax)
    return fail(Code::kBusy, "health of " + std::to_string(kModelsMax) + " models is counted already");
  ModelHealth& health = of(models_[sample.name], sample.name, sample.version);
  if (sample.verdict == HealthSample::Verdict::kSick) {
    ++health.sick;
  } else {
    health.frames += sample.count;
    if (sample.verdict == HealthSample::Verdict::kBad) health.errors += sample.count;
    if (sample.latency_us) {
      const std::uint16_t bucket = latency_bucket(*sample.latency_us);
      auto at = std::lower_bound(health.latency.begin(), health.latency.end(), bucket,
                                 [](const auto& one, std::uint16_t wanted) { return one.first < wanted; });
      if (at == health.latency.end() || at->first != bucket) at = health.latency.insert(at, {bucket, 0});
      at->second += sample.count;
    }
  }
  if (sample.drift_ppm) {
    const auto reports = static_cast<double>(health.drift_reports);
    const double sum = static_cast<double>(health.drift_ppm) * reports + static_cast<double>(*sample.drift_ppm);
    ++health.drift_reports;
    health.drift_ppm = static_cast<std::uint64_t>(sum / (reports + 1));
  }
  return {};
}

std::vector<ModelHealth> HealthTable::report(std::vector<ModelHealth> figures) {
  for (const ModelHealth& figure : figures) {
    if (!figure.in_force) continue;
    if (!models_.contains(figure.name) && models_.size() >= kModelsMax) continue;
    Model& model = models_[figure.name];
    if (std::exchange(model.in_force, figure.version) == figure.version) continue;
    std::erase_if(model.versions, [&](const ModelHealth& one) { return one.version == figure.version; });
  }
  for (ModelHealth& figure : figures) {
    const auto it = models_.find(figure.name);
    if (it == models_.end()) continue;
    for (const ModelHealth& counted : it->second.versions) {
      if (counted.version != figure.version) continue;
      ModelHealth all = counted;
      all.in_force = figure.in_force;
      all.fetched_bytes = figure.fetched_bytes;
      figure = std::move(all);
      break;
    }
  }
  return figures;
}

}  // namespace tidelock
