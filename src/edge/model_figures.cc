#include "edge/model_figures.h"

#include "base/wall_clock.h"

namespace tidelock {
namespace {

constexpr std::uint64_t kRunningStep = 256u << 10;

std::string json_string(std::string_view text) {
  return '"' + std::string(text) + '"';
}  // names and versions need no escapes
std::string json_list(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const std::string& text : texts) out += (out.size() == 1 ? "" : ",") + json_string(text);
  return out + "]";
}

}  // namespace

std::vector<ModelFigures::Adopted> ModelFigures::show(const ModelPointers& pointers,
                                                      const std::map<VersionKey, ModelRoom::Verified>& verified,
                                                      const std::set<VersionKey>& damaged,
                                                      const std::map<VersionKey, std::uint64_t>& fetched_bytes) {
  std::map<std::string, Shown> shown;
  for (const auto& [name, model] : pointers.all()) {
    Shown& one = shown[name];
    const ModelPointers::Pointer& counts = model.in_force();
    if (counts.value) one.current = counts.value->version;
    if (model.staged.value) one.staged = model.staged.value->version;
    one.activation = counts.version;
    one.current_since = model.current_since;
    const auto fetched = [&](const std::string& version) {
      const auto it = fetched_bytes.find({name, version});
      return it == fetched_bytes.end() ? 0 : it->second;
    };
    one.current_fetched = fetched(one.current);
    one.staged_fetched = fetched(one.staged);
    const auto held = verified.find({name, one.current});
    one.current_verified =
        counts.value && held != verified.end() && held->second.manifest_sha256 == counts.value->manifest_sha256;
  }
  for (const auto& [version, what] : verified) shown[version.first].verified.push_back(version.second);
  for (const VersionKey& version : damaged) shown[version.first].damaged.push_back(version.second);
  add_running(shown, verified, fetched_bytes);
  std::vector<std::string> fresh;
  std::vector<Adopted> adopted;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, one] : shown) {
      if (gauges_.insert(name).second) fresh.push_back(name);
      const auto before = shown_.find(name);
      const bool same =
          before != shown_.end() && before->second.current_verified && before->second.activation == one.activation;
      if (one.current_verified && !same) adopted.push_back({{name, one.current}, one.activation});
    }
    shown_ = std::move(shown);
  }
  for (const std::string& name : fresh) {
    metrics_.gauge_from(metric::kModelVersionLag, "Since when the activated version is not the verified one here.",
                        {{"model", name}}, [this, name] { return lag_s(name); });
  }
  for (const Adopted& one : adopted) {
    metrics_
        .gauge(metric::kModelVersionTimestamp, "When the version came into force here, verified.",
               {{"model", one.key.first}, {"version", one.key.second}})
        .set(static_cast<double>(wall_ms_now()) / 1000.0);
  }
  return adopted;
}

// What a transfer has brought so far: the keeper counts it to its version when it ends. One runs at a time; where
// several versions are wanted, nobody can tell here which of them it is of.
void ModelFigures::add_running(std::map<std::string, Shown>& shown,
                               const std::map<VersionKey, ModelRoom::Verified>& verified,
                               const std::map<VersionKey, std::uint64_t>& fetched_bytes) {
  if (counted_ != fetched_bytes) {
    counted_ = fetched_bytes;
    counted_at_ = downloaded_.value();
  }
  const std::uint64_t running = downloaded_.value() - counted_at_;
  std::set<VersionKey> wanted;
  for (const auto& [name, one] : shown) {
    for (const std::string& version : {one.current, one.staged}) {
      if (!version.empty() && !verified.contains({name, version})) wanted.emplace(name, version);
    }
  }
  if (wanted.size() != 1) return;
  const auto& [name, version] = *wanted.begin();
  Shown& one = shown[name];
  // In steps: each one is a report to the hub, over the link that the transfer runs on.
  const std::uint64_t step = running / kRunningStep * kRunningStep;
  if (version == one.current) one.current_fetched += step;
  if (version == one.staged) one.staged_fetched += step;
}

void ModelFigures::trust(std::string_view standing) {
  expired_.set(standing == "expired" ? 1 : 0);
  const std::lock_guard lock(mutex_);
  trust_ = standing;
}

double ModelFigures::lag_s(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto it = shown_.find(name);
  if (it == shown_.end() || it->second.current.empty() || it->second.current_verified) return 0.0;
  return static_cast<double>(clock_.now() - it->second.current_since) / static_cast<double>(kSecond);
}

std::vector<ModelHealth> ModelFigures::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<ModelHealth> list;
  const auto add = [&](const std::string& name, const std::string& version, bool in_force, std::uint64_t fetched) {
    ModelHealth& health = list.emplace_back();
    health.name = name;
    health.version = version;
    health.in_force = in_force;
    health.fetched_bytes = fetched;
  };
  for (const auto& [name, one] : shown_) {
    if (!one.current.empty()) add(name, one.current, one.current_verified, one.current_fetched);
    if (!one.staged.empty() && one.staged != one.current) add(name, one.staged, false, one.staged_fetched);
    if (list.size() >= 60) break;  // of a report
  }
  return list;
}

std::string ModelFigures::json() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [name, one] : shown_) {
    out += out.empty() ? "{" : ",";
    out += json_string(name) + ":{\"current\":" + json_string(one.current) + ",\"staged\":" + json_string(one.staged) +
           ",\"verified\":" + json_list(one.verified) + ",\"damaged\":" + json_list(one.damaged) +
           ",\"trust\":" + json_string(trust_) + "}";
  }
  return out.empty() ? "{}" : out + "}";
}

}  // namespace tidelock
