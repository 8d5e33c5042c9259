// A recall in a fleet of 200 gateways of which 40 are cut off: use after the certificate, and how long after it was due
// it comes (virtual time, the real cores).

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench/report.h"
#include "sim/recall_figures.h"

namespace {

constexpr int kGateways = 200, kCutOff = 40;

double ms(tidelock::Nanos span) { return static_cast<double>(span) / 1e6; }

}  // namespace

int main(int argc, char** argv) {
  using tidelock::bench::Row;
  std::vector<Row> rows;
  tidelock::sim::RecallFigures worst{};
  worst.told_ns = worst.after_provable_ns = tidelock::kNever;
  worst.after_last_right_ns = worst.after_last_use_ns = tidelock::kForever;
  constexpr int kSeeds = 3;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const auto one = tidelock::sim::recall_figures(kGateways, kCutOff, seed);
    if (!one.violation.empty()) {
      std::fprintf(stderr, "bench-recall: seed %d: %s\n", static_cast<int>(seed), one.violation.c_str());
      return 1;
    }
    if (one.follow != kGateways - kCutOff || one.uses == 0) {
      std::fprintf(stderr, "bench-recall: seed %d measured nothing: %d gateways moved on, %llu uses\n",
                   static_cast<int>(seed), one.follow, static_cast<unsigned long long>(one.uses));
      return 1;
    }
    worst.looks += one.looks;
    worst.uses += one.uses;
    worst.uses_after += one.uses_after;
    worst.told_ns = std::max(worst.told_ns, one.told_ns);
    worst.waited_ns = std::max(worst.waited_ns, one.waited_ns);
    worst.after_provable_ns = std::max(worst.after_provable_ns, one.after_provable_ns);
    worst.after_last_right_ns = std::min(worst.after_last_right_ns, one.after_last_right_ns);
    worst.after_last_use_ns = std::min(worst.after_last_use_ns, one.after_last_use_ns);
  }
  rows.push_back({"use_after_certificate", static_cast<double>(worst.uses_after), "looks", 0.0, 0.0, "", {}});
  rows.push_back({"certificate_after_provable_most", ms(worst.after_provable_ns), "ms", 1'000.0, 100.0, "", {}});
  rows.push_back({"certificate_after_last_right_least", ms(worst.after_last_right_ns), "ms", {}, {}, "", {}});
  rows.push_back({"certificate_after_last_use_least", ms(worst.after_last_use_ns), "ms", {}, {}, "", {}});
  rows.push_back({"reachable_gateways_know_most", ms(worst.told_ns), "ms", {}, {}, "", {}});
  rows.push_back({"waited_most", ms(worst.waited_ns), "ms", {}, {}, "", {}});
  rows.push_back({"looks", static_cast<double>(worst.looks), "", {}, {}, "", {}});
  rows.push_back({"looks_that_used_it", static_cast<double>(worst.uses), "", {}, {}, "", {}});
  return tidelock::bench::report("recall", rows, argc, argv);
}
