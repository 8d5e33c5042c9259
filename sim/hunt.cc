#include "sim/hunt.h"

#include <algorithm>
#include <optional>
#include <string_view>

namespace tidelock::sim {
namespace {

std::string field(std::string_view name, std::string_view text) {
  std::string out = "\"" + std::string(name) + "\": \"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return out + "\", ";
}

// The middle one; a zero stands for more than can be counted.
std::uint64_t middle(std::vector<std::uint64_t> numbers) {
  if (numbers.empty()) return 0;
  std::sort(numbers.begin(), numbers.end(), [](std::uint64_t a, std::uint64_t b) { return a - 1 < b - 1; });
  return numbers[(numbers.size() - 1) / 2];
}

// The first seed that breaks a rule with the mutant and none without it: one that fails by itself proves nothing.
std::optional<SeedResult> first_to_notice(SimOptions options, std::vector<SeedResult>& unsound) {
  const std::uint64_t end = options.cluster.seed + options.seeds;
  const auto ignore = [](const SeedResult&) {};
  while (options.cluster.seed < end) {
    options.seeds = end - options.cluster.seed;
    const RunReport report = run_seeds(options, 1, ignore);
    if (report.violations == 0) break;
    SimOptions sound = options;
    sound.mutant.clear();
    sound.cluster.seed = report.first_failing_seed;
    sound.seeds = 1;
    const RunReport without = run_seeds(sound, 1, ignore);
    if (without.violations == 0) return report.failures.front();
    unsound.push_back(without.failures.front());
    options.cluster.seed = report.first_failing_seed + 1;
  }
  return std::nullopt;
}

}  // namespace

std::uint64_t Hunted::median() const { return middle(seeds); }

Hunted hunt(const MutantInfo& mutant, SimOptions options, int ranges) {
  Hunted hunted;
  hunted.mutant = &mutant;
  options.mutant = mutant.name;
  if (mutant.scenario != nullptr && options.scenario.empty()) options.cluster.shape = mutant.scenario->shape;
  for (int range = 0; range < ranges; ++range) {
    const auto found = first_to_notice(options, hunted.unsound);
    hunted.seeds.push_back(found ? found->seed - options.cluster.seed + 1 : 0);
    if (found && hunted.violation.empty()) hunted.violation = found->report.violation;
    options.cluster.seed += options.seeds;
  }
  return hunted;
}

std::string to_json(const std::vector<Hunted>& hunted, const SimOptions& options) {
  std::vector<std::uint64_t> medians;
  std::string table;
  for (const Hunted& one : hunted) {
    if (one.median() != 0) medians.push_back(one.median());
    std::string seeds;
    for (const std::uint64_t n : one.seeds) seeds += (seeds.empty() ? "" : ", ") + std::to_string(n);
    table += (table.empty() ? "\n    {" : ",\n    {") + field("name", one.mutant->name) +
             field("rule", one.mutant->rule) + field("what", one.mutant->what) +
             field("scenario", one.mutant->scenario == nullptr ? "" : one.mutant->scenario->name) +
             field("violation", one.violation) + "\"median\": " + std::to_string(one.median()) + ", \"seeds\": [" +
             seeds + "]}";
  }
  return "{\n  \"mutants\": " + std::to_string(hunted.size()) + ",\n  \"caught\": " + std::to_string(medians.size()) +
         ",\n  \"median_seeds\": " + std::to_string(middle(medians)) +
         ",\n  \"first_seed\": " + std::to_string(options.cluster.seed) +
         ",\n  \"seeds_most\": " + std::to_string(options.seeds) + ",\n  \"table\": [" + table + "\n  ]\n}\n";
}

}  // namespace tidelock::sim
