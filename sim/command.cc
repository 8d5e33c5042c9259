// The face of the simulator: what a person or a script reads.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "sim/hunt.h"
#include "sim/mutants.h"
#include "sim/runner.h"

namespace tidelock::sim {
namespace {

bool write_file(const std::string& path, const std::string& text) {
  if (path.empty()) return true;
  if (path == "-") {
    std::cout << text << std::flush;
    return true;
  }
  std::ofstream file(path);
  file << text;
  file.close();
  if (!file) std::cerr << "tidelock-sim: cannot write " << path << '\n';
  return static_cast<bool>(file);
}

void list_faults() {
  for (const FaultInfo& info : all_faults())
    std::printf("%-10.*s %.*s\n", static_cast<int>(info.name.size()), info.name.data(),
                static_cast<int>(info.what.size()), info.what.data());
}
void list_mutants() {
  for (const MutantInfo& info : all_mutants()) {
    const std::string_view scenario = info.scenario == nullptr ? "any" : info.scenario->name;
    std::printf("%-28.*s %-4.*s %-13.*s %.*s\n", static_cast<int>(info.name.size()), info.name.data(),
                static_cast<int>(info.rule.size()), info.rule.data(), static_cast<int>(scenario.size()),
                scenario.data(), static_cast<int>(info.what.size()), info.what.data());
  }
}
void list_scenarios() {
  for (const Scenario* scenario : all_scenarios())
    std::printf("%-13.*s %.*s\n", static_cast<int>(scenario->name.size()), scenario->name.data(),
                static_cast<int>(scenario->what.size()), scenario->what.data());
}

int trace_one(const SimOptions& options) {
  if (!set_mutant(options.mutant)) return 2;
  ClusterOptions cluster = options.cluster;
  cluster.verbose = true;
  std::printf("%13s  %-8s %s\n", "ms", "node", "what");
  const ClusterReport report = Cluster(cluster).run();
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(cluster.seed),
              report.violation.empty() ? "no rule was broken" : report.violation.c_str());
  return report.violation.empty() ? 0 : 1;
}

// Each mutant until a seed finds it; the table of how many seeds that took. Written anew after each of them: a hunt
// that is stopped leaves what it found.
int run_all_mutants(const SimOptions& options) {
  std::vector<Hunted> hunted;
  std::size_t caught = 0;
  bool sound = true, written = true;
  for (const MutantInfo& info : all_mutants()) {
    const Hunted& one = hunted.emplace_back(hunt(info, options, kRanges));
    caught += one.median() != 0;
    std::printf("%-28.*s %-4.*s %5llu  %s\n", static_cast<int>(info.name.size()), info.name.data(),
                static_cast<int>(info.rule.size()), info.rule.data(), static_cast<unsigned long long>(one.median()),
                one.violation.empty() ? "not noticed" : one.violation.c_str());
    for (const SeedResult& seed : one.unsound) {
      std::printf("  seed %llu breaks a rule without it as well: %s\n", static_cast<unsigned long long>(seed.seed),
                  seed.report.violation.c_str());
      sound = false;
    }
    std::fflush(stdout);
    written = write_file(options.json, to_json(hunted, options));
  }
  std::printf("%zu of %zu mutants are noticed\n", caught, hunted.size());
  return written && sound && caught == hunted.size() ? 0 : 1;
}

}  // namespace

int run_command(int argc, char** argv) {
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  auto parsed = parse_options(arguments);
  if (!parsed) {
    std::cerr << "tidelock-sim: " << parsed.error().message << '\n';
    return 2;
  }
  SimOptions& options = *parsed;
  if (const MutantInfo* mutant = find_mutant(options.mutant);
      mutant != nullptr && mutant->scenario != nullptr && options.scenario.empty())
    options.cluster.shape = mutant->scenario->shape;
  if (options.help) {
    std::cout << help_text();
    return 0;
  }
  if (options.list_faults) return list_faults(), 0;
  if (options.list_mutants) return list_mutants(), 0;
  if (options.list_scenarios) return list_scenarios(), 0;
  if (options.mutant == "all") return run_all_mutants(options);
  if (!set_mutant(options.mutant)) {
    std::cerr << "tidelock-sim: --mutant '" << options.mutant << "': no such mutant; `--mutant list` names them\n";
    return 2;
  }
  if (options.trace) return trace_one(options);

  std::map<std::uint64_t, std::string> hashes;
  std::uint64_t done = 0, failed = 0;
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const RunReport report = run_seeds(options, 10, [&](const SeedResult& result) {
    ++done;
    if (!result.report.violation.empty()) {
      ++failed;
      std::fprintf(stderr, "%sseed %llu at %.3f ms: %s\n  replay: %s\n", terminal ? "\r\x1b[K" : "",
                   static_cast<unsigned long long>(result.seed),
                   static_cast<double>(result.report.violated_at) / kMillisecond, result.report.violation.c_str(),
                   replay_line(options, result.seed).c_str());
    }
    if (!options.hashes.empty()) {
      hashes[result.seed] =
          std::to_string(result.report.trace_hash) + " " + std::to_string(result.report.events) + "\n";
    }
    if (terminal) {
      std::fprintf(stderr, "\r\x1b[K%llu of %llu seeds, %llu violations", static_cast<unsigned long long>(done),
                   static_cast<unsigned long long>(options.seeds), static_cast<unsigned long long>(failed));
    }
  });
  if (terminal) std::fprintf(stderr, "\r\x1b[K");
  if (options.json != "-" && options.hashes != "-") {
    std::printf(
        "%llu seeds, %llu violations; %llu reads judged, %llu strong; %llu writes, %llu activations, %llu terms\n"
        "%.1f simulated cluster-hours per CPU-minute\n",
        static_cast<unsigned long long>(report.seeds), static_cast<unsigned long long>(report.violations),
        static_cast<unsigned long long>(report.sum.reads), static_cast<unsigned long long>(report.sum.strong_reads),
        static_cast<unsigned long long>(report.sum.writes), static_cast<unsigned long long>(report.sum.activations),
        static_cast<unsigned long long>(report.sum.terms), report.cluster_hours_per_cpu_minute());
  }
  std::string lines;
  for (const auto& [seed, hash] : hashes) lines += std::to_string(seed) + " " + hash;
  const bool written = write_file(options.json, to_json(report)) && write_file(options.hashes, lines);
  if (!written) return 2;
  return report.violations == 0 ? 0 : 1;
}

}  // namespace tidelock::sim
