// What operators write of a rollout: waves and gates as text, what may be said, and how it is shown again (M5).

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "protocol/rollout.h"

namespace tidelock {
namespace {

constexpr std::size_t kLabelsMax = 16;
constexpr std::size_t kLabelBytesMax = 32;

bool is_label(std::string_view text) {
  return !text.empty() && text.size() <= kLabelBytesMax && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
}

std::optional<double> number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !(value >= 0) || value > 1e12) return std::nullopt;
  return value;
}

std::optional<std::uint32_t> whole(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct GateName {
  RolloutGate::On on;
  std::string_view name;
  double unit;  // of `below`, for one as it is written
};
constexpr GateName kGateNames[] = {{RolloutGate::On::kErrorRate, "error_rate", 1e6},
                                   {RolloutGate::On::kP99Latency, "p99_ms", 1e3},
                                   {RolloutGate::On::kDrift, "drift", 1e6},
                                   {RolloutGate::On::kSick, "sick", 1}};
const GateName& name_of(RolloutGate::On on) {
  return *std::find_if(std::begin(kGateNames), std::end(kGateNames), [&](const GateName& one) { return one.on == on; });
}

std::string decimal(std::uint64_t value, double unit) {
  std::string text = std::to_string(static_cast<double>(value) / unit);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

}  // namespace

std::string_view phase_name(RolloutPhase phase) {
  switch (phase) {
    case RolloutPhase::kPlanned: return "planned";
    case RolloutPhase::kStaging: return "staging";
    case RolloutPhase::kDwelling: return "dwelling";
    case RolloutPhase::kPaused: return "paused";
    case RolloutPhase::kDone: return "done";
    case RolloutPhase::kAborted: return "aborted";
    case RolloutPhase::kRolledBack: return "rolled_back";
  }
  return "unknown";
}

std::string describe(const RolloutWave& wave) {
  switch (wave.size) {
    case RolloutWave::Size::kCount: return std::to_string(wave.amount);
    case RolloutWave::Size::kShare: return std::to_string(wave.amount) + "%";
    case RolloutWave::Size::kLabel: return wave.key + "=" + wave.value;
  }
  return {};
}

std::string describe(const RolloutGate& gate) {
  const GateName& name = name_of(gate.on);
  return std::string(name.name) + "<" + decimal(gate.below, name.unit);
}

std::string gate_value(const GateFigure& figure) { return decimal(figure.value, name_of(figure.gate.on).unit); }

Result<std::vector<RolloutWave>> parse_waves(std::string_view text) {
  std::vector<RolloutWave> waves;
  for (bool more = true; more;) {
    const std::size_t comma = text.find(',');
    more = comma != std::string_view::npos;
    std::string_view word = text.substr(0, comma);
    text.remove_prefix(more ? comma + 1 : text.size());
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    RolloutWave wave;
    if (const std::size_t equals = word.find('='); equals != std::string_view::npos) {
      wave = {RolloutWave::Size::kLabel, 0, std::string(word.substr(0, equals)), std::string(word.substr(equals + 1))};
    } else {
      const bool share = word.ends_with('%');
      const auto amount = whole(share ? word.substr(0, word.size() - 1) : word);
      if (!amount) {
        return fail(Code::kInvalid, "wave '" + std::string(word.substr(0, 64)) +
                                        "' is none; write a label (canary=yes), a share (10%) or a count (5)");
      }
      wave = {share ? RolloutWave::Size::kShare : RolloutWave::Size::kCount, *amount, {}, {}};
    }
    waves.push_back(std::move(wave));
    if (waves.size() > kWavesMax) break;  // validate_plan says so
  }
  const RolloutWave everybody{};
  if (waves.back() != everybody) waves.push_back(everybody);
  return waves;
}

Result<RolloutGate> parse_gate(std::string_view text) {
  const std::size_t less = text.find('<');
  if (less != std::string_view::npos) {
    const std::string_view name = text.substr(0, less);
    const auto limit = number(text.substr(less + 1));
    for (const GateName& one : kGateNames) {
      if (one.name == name && limit)
        return RolloutGate{one.on, static_cast<std::uint64_t>(std::llround(*limit * one.unit))};
    }
  }
  return fail(Code::kInvalid, "gate '" + std::string(text.substr(0, 64)) +
                                  "' is none; write error_rate<0.01, p99_ms<50, drift<0.2 or sick<1");
}

Result<void> validate_plan(const RolloutPlan& plan) {
  const auto refuse = [](std::string why) { return fail(Code::kInvalid, std::move(why)); };
  if (plan.version.empty()) return refuse("a rollout needs a version");
  if (plan.waves.empty() || plan.waves.size() > kWavesMax) {
    return refuse("a rollout has 1 to " + std::to_string(kWavesMax) + " waves, this one " +
                  std::to_string(plan.waves.size()));
  }
  if (plan.gates.size() > kGatesMax)
    return refuse("a rollout has at most " + std::to_string(kGatesMax) + " gates, this one " +
                  std::to_string(plan.gates.size()));
  std::uint32_t share = 0;
  for (const RolloutWave& wave : plan.waves) {
    const std::string name = "wave " + describe(wave);
    switch (wave.size) {
      case RolloutWave::Size::kLabel:
        if (!is_label(wave.key) || !is_label(wave.value))
          return refuse(name + ": name and value of a label are 1 to 32 of a-z, 0-9, '.', '_' and '-'");
        break;
      case RolloutWave::Size::kCount:
        if (wave.amount < 1 || wave.amount > kRingEdgesMax)
          return refuse(name + ": a count is 1 to " + std::to_string(kRingEdgesMax));
        break;
      case RolloutWave::Size::kShare:
        if (wave.amount < 1 || wave.amount > 100) return refuse(name + ": a share is 1% to 100%");
        if (wave.amount <= share) return refuse(name + ": shares count from the first gateway on, so they must rise");
        share = wave.amount;
        break;
    }
  }
  if (plan.waves.back() != RolloutWave{}) return refuse("the last wave must be 100%");
  if (plan.dwell_ns < 0 || plan.dwell_ns > kRolloutTimeMax) return refuse("dwell must be 0 to 30 days");
  if (plan.patience_ns < 0 || plan.patience_ns > kRolloutTimeMax) return refuse("patience must be 0 to 30 days");
  return {};
}

Result<void> validate_labels(const Labels& labels) {
  if (labels.size() > kLabelsMax) {
    return fail(Code::kInvalid, "labels: " + std::to_string(labels.size()) + " are given, at most " +
                                    std::to_string(kLabelsMax) + " are kept");
  }
  std::set<std::string> names;
  for (const auto& [name, value] : labels) {
    if (!is_label(name) || !is_label(value)) {
      return fail(Code::kInvalid, "label " + name.substr(0, 64) + " = \"" + value.substr(0, 64) +
                                      "\": name and value are 1 to 32 of a-z, 0-9, '.', '_' and '-'");
    }
    if (!names.insert(name).second) return fail(Code::kInvalid, "label '" + name + "' is given twice");
  }
  return {};
}

}  // namespace tidelock
