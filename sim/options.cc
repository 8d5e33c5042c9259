#include "sim/options.h"

#include <charconv>
#include <limits>
#include <map>

#include "sim/scenarios.h"

namespace tidelock::sim {
namespace {

Result<std::uint64_t> number(std::string_view name, std::string_view text, std::uint64_t least, std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size() && value >= least && value <= most) return value;
  std::string right = std::to_string(least) + " to " + std::to_string(most);
  if (most == std::numeric_limits<std::uint64_t>::max()) right = "a whole number from " + std::to_string(least);
  return fail(Code::kInvalid, std::string(name) + " '" + std::string(text) + "': give " + right);
}

constexpr std::uint64_t kAny = std::numeric_limits<std::uint64_t>::max();

}  // namespace

std::string_view help_text() {
  return R"(usage: tidelock-sim [OPTION]...

Runs the real protocol floor, hub and edge cores, the reader and the outbox through simulated clusters, one per seed, in
virtual time, breaks what can break, and judges everything that anybody was told. Exits 0 when no seed broke a rule, 1 when
one did, 2 when the command line is wrong. The same seed, options and build give the same run, event by event.

  --seed S        the first seed (default 1)
  --seeds N       how many, from S on (default 100)
  --jobs J        processes, one seed each at a time (default: the processors)
  --hubs H        1 to 7 (default: 1, 3 or 5, by seed)
  --edges E       1 to 1000 (default: 1 to 6, by seed)
  --seconds V     virtual seconds of load and faults, 32 times as many in a long, sparse seed; what must heal
                  afterwards comes on top (default 12)
  --faults LIST   names with commas between, "usual" (all but step, default), "all", "none"; "-NAME" takes one away.
                  "list" explains each
  --ledger KIND   model (a linearizable log with failovers and unknown outcomes, default) or raft (the real engine)
  --mutant NAME   with a planted fault of the product, which some seed must find; "list", or "all" for a table
  --scenario NAME what a seed draws is bent towards what is otherwise rare; a mutant brings its own. "list" names them
  --trace         tell the story of the first seed: virtual milliseconds, node, what happened
  --json FILE     the report as JSON ("-": stdout)
  --hashes FILE   one line per seed: seed, trace hash, events ("-": stdout); two builds must agree

examples
  tidelock-sim --seeds 2000                                  a smoke before a commit
  tidelock-sim --seed 17 --seeds 1 --trace                   what happened in seed 17
  tidelock-sim --hubs 5 --edges 200 --seconds 60 --seeds 4   a fleet
  tidelock-sim --faults usual,-drift,-rollout --seeds 500      without two of the faults
)";
}

Result<SimOptions> parse_options(std::span<const std::string_view> arguments) {
  SimOptions options;
  std::map<std::string_view, std::string_view> given;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string_view name = arguments[i], value;
    if (name == "-h") name = "--help";
    if (name == "--trace" || name == "--help") {
      (name == "--trace" ? options.trace : options.help) = true;
      continue;
    }
    const std::size_t equals = name.find('=');
    if (equals != std::string_view::npos) {
      value = name.substr(equals + 1);
      name = name.substr(0, equals);
    }
    constexpr std::string_view kNames[] = {"--seed",   "--seeds",  "--jobs",   "--hubs",     "--edges", "--seconds",
                                           "--faults", "--ledger", "--mutant", "--scenario", "--json",  "--hashes"};
    bool known = false;
    for (const std::string_view one : kNames) known = known || one == name;
    if (!known) return fail(Code::kInvalid, "no option '" + std::string(name) + "'; --help lists them");
    if (equals == std::string_view::npos) {
      if (i + 1 >= arguments.size()) return fail(Code::kInvalid, std::string(name) + " needs a value");
      value = arguments[++i];
    }
    if (!given.emplace(name, value).second) return fail(Code::kInvalid, std::string(name) + " is given twice");
  }

  Error wrong;
  const auto take = [&](std::string_view name, std::uint64_t least, std::uint64_t most, auto& into) {
    const auto it = given.find(name);
    if (it == given.end()) return;
    if (const auto value = number(name, it->second, least, most))
      into = static_cast<std::decay_t<decltype(into)>>(*value);
    else
      wrong = value.error();
  };
  Nanos seconds = options.cluster.faults_ns / kSecond;
  take("--seed", 0, kAny, options.cluster.seed);
  take("--seeds", 1, kAny, options.seeds);
  take("--jobs", 1, 1'000, options.jobs);
  take("--hubs", 1, 7, options.cluster.hubs);
  take("--edges", 1, 1'000, options.cluster.edges);
  take("--seconds", 1, 86'400, seconds);
  if (!wrong.message.empty()) return fail(wrong);
  options.cluster.faults_ns = seconds * kSecond;
  if (options.trace) options.seeds = 1;
  if (const auto it = given.find("--json"); it != given.end()) options.json = it->second;
  if (const auto it = given.find("--hashes"); it != given.end()) options.hashes = it->second;
  if (const auto it = given.find("--mutant"); it != given.end()) {
    options.mutant = it->second;
    options.list_mutants = options.mutant == "list";
  }
  if (const auto it = given.find("--scenario"); it != given.end()) {
    options.scenario = it->second;
    options.list_scenarios = options.scenario == "list";
    const Scenario* scenario = find_scenario(options.scenario);
    if (scenario != nullptr) options.cluster.shape = scenario->shape;
    if (scenario == nullptr && !options.list_scenarios)
      return fail(Code::kInvalid, "--scenario: no scenario '" + options.scenario + "'; `--scenario list` names them");
  }
  if (const auto it = given.find("--faults"); it != given.end()) {
    options.faults = it->second;
    options.list_faults = options.faults == "list";
    if (!options.list_faults) {
      const auto faults = parse_faults(options.faults);
      if (!faults) return fail(Code::kInvalid, "--faults: " + faults.error().message);
      options.cluster.faults = *faults;
    }
  }
  if (const auto it = given.find("--ledger"); it != given.end()) {
    if (it->second != "model" && it->second != "raft")
      return fail(Code::kInvalid, "--ledger '" + std::string(it->second) + "': give model or raft");
    options.cluster.ledger = it->second == "raft" ? LedgerKind::kRaft : LedgerKind::kModel;
  }
  return options;
}

std::string replay_line(const SimOptions& options, std::uint64_t seed) {
  const ClusterOptions& cluster = options.cluster;
  std::string line = "tidelock-sim --seed " + std::to_string(seed);
  if (cluster.hubs != 0) line += " --hubs " + std::to_string(cluster.hubs);
  if (cluster.edges != 0) line += " --edges " + std::to_string(cluster.edges);
  line += " --seconds " + std::to_string(cluster.faults_ns / kSecond);
  if (options.faults != "usual") line += " --faults " + options.faults;
  if (cluster.ledger == LedgerKind::kRaft) line += " --ledger raft";
  if (!options.scenario.empty()) line += " --scenario " + options.scenario;
  if (!options.mutant.empty()) line += " --mutant " + options.mutant;
  return line + " --trace";
}

}  // namespace tidelock::sim
