// tidelock-raft-gates: the sweep that the embedded ledger has to pass (RAFT.md section 10), its result as JSON.
//
//   tidelock-raft-gates --seeds 10000 --jobs 2 --json docs/proof-data/raft-gates.json
//   tidelock-raft-gates --seed 17 --trace        one seed's story
#include <atomic>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/elapsed_clock.h"
#include "sim/raft_gates.h"

namespace tidelock::sim {
namespace {

struct Arguments {
  std::uint64_t first = 1, seeds = 200, jobs = 1;
  bool one = false, trace = false;
  std::string json, build = "unknown";
};

bool parse(int argc, char** argv, Arguments& out) {
  const auto number = [](std::string_view text, std::uint64_t& into) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
    return error == std::errc{} && end == text.data() + text.size();
  };
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--trace") {
      out.trace = true;
      continue;
    }
    if (i + 1 == argc) return false;
    const std::string_view value = argv[++i];
    bool good = true;
    if (flag == "--seed") {
      good = number(value, out.first);
      out.seeds = 1;
      out.one = true;
    } else if (flag == "--first") {
      good = number(value, out.first);
    } else if (flag == "--seeds") {
      good = number(value, out.seeds);
    } else if (flag == "--jobs") {
      good = number(value, out.jobs) && out.jobs > 0 && out.jobs <= 256;
    } else if (flag == "--json") {
      out.json = value;
    } else if (flag == "--build") {
      out.build = value;
    } else {
      good = false;
    }
    if (!good) return false;
  }
  return true;
}

struct Sum {
  std::uint64_t seeds = 0, violations = 0;
  RaftTrialReport report;
};

std::string as_json(const Arguments& arguments, const std::map<std::string, Sum>& by_mode, const Sum& all,
                    double seconds, std::uint64_t first_failing) {
  const auto counts = [](const Sum& s) {
    const RaftTrialReport& r = s.report;
    std::string out;
    const std::pair<const char*, std::uint64_t> fields[] = {
        {"seeds", s.seeds},
        {"violations", s.violations},
        {"virtual_seconds", static_cast<std::uint64_t>(r.virtual_ns / kSecond)},
        {"proposed", r.proposed},
        {"acknowledged", r.acknowledged},
        {"unknown", r.unknown},
        {"refused", r.refused},
        {"terms", r.terms},
        {"crashes", r.crashes},
        {"ended_by_disk", r.ended_by_disk},
        {"damage_refused_at_load", r.refused_to_load},
        {"partitions", r.partitions},
        {"clock_jumps", r.jumps},
        {"snapshots", r.snapshots},
        {"installs", r.installs},
        {"transfers", r.transfers},
        {"membership_changes", r.changes},
        {"messages", r.messages},
    };
    for (const auto& [name, value] : fields) {
      out += (out.empty() ? "\"" : ", \"") + std::string(name) + "\": " + std::to_string(value);
    }
    return out;
  };
  std::string out = "{\n  \"build\": \"" + arguments.build +
                    "\",\n  \"first_seed\": " + std::to_string(arguments.first) +
                    ",\n  \"duration_s\": " + std::to_string(static_cast<std::uint64_t>(seconds)) +
                    ",\n  \"jobs\": " + std::to_string(arguments.jobs) +
                    ",\n  \"first_failing_seed\": " + (first_failing == 0 ? "null" : std::to_string(first_failing)) +
                    ",\n  " + counts(all) + ",\n  \"modes\": {\n";
  std::string modes;
  for (const auto& [name, sum] : by_mode) {
    modes += (modes.empty() ? "    \"" : ",\n    \"") + name + "\": {" + counts(sum) + "}";
  }
  return out + modes + "\n  }\n}\n";
}

int run(const Arguments& arguments) {
  std::mutex mutex;
  std::map<std::string, Sum> by_mode;
  Sum all;
  std::uint64_t first_failing = 0;
  std::atomic<std::uint64_t> next{arguments.first};
  const ElapsedClock clock;
  const Nanos began = clock.now();
  const auto work = [&] {
    while (true) {
      const std::uint64_t seed = next.fetch_add(1);
      if (seed >= arguments.first + arguments.seeds) return;
      const RaftTrialReport report = run_raft_trial(seed, arguments.trace);
      const std::lock_guard lock(mutex);
      for (Sum* sum : {&all, &by_mode[report.mode->name]}) {
        ++sum->seeds;
        sum->violations += !report.violation.empty();
        sum->report.add(report);
      }
      if (arguments.one) {
        std::printf("seed %llu, mode '%s': trace %016llx, %llu events\n", static_cast<unsigned long long>(seed),
                    report.mode->name, static_cast<unsigned long long>(report.trace_hash),
                    static_cast<unsigned long long>(report.events));
      }
      if (report.violation.empty()) continue;
      if (first_failing == 0 || seed < first_failing) first_failing = seed;
      std::printf("mode '%s': %s\n  replay: tidelock-raft-gates --seed %llu --trace\n", report.mode->name,
                  report.violation.c_str(), static_cast<unsigned long long>(seed));
      std::fflush(stdout);
    }
  };
  std::vector<std::thread> threads;
  for (std::uint64_t i = 1; i < arguments.jobs; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  const double seconds = static_cast<double>(clock.now() - began) / kSecond;
  const std::string json = as_json(arguments, by_mode, all, seconds, first_failing);
  if (!arguments.json.empty()) std::ofstream(arguments.json) << json;
  if (!arguments.one) std::fputs(json.c_str(), stdout);
  return all.violations == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tidelock::sim

int main(int argc, char** argv) {
  tidelock::sim::Arguments arguments;
  if (!tidelock::sim::parse(argc, argv, arguments)) {
    std::fputs(
        "usage: tidelock-raft-gates [--seed S] [--first S] [--seeds N] [--jobs J] [--json FILE] [--build TEXT] "
        "[--trace]\n",
        stderr);
    return 2;
  }
  return tidelock::sim::run(arguments);
}
