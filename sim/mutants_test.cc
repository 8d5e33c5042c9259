#include "sim/mutants.h"
#include "sim/cluster.h"
#include <gtest/gtest.h>
#include <cstdlib>
#include <cstdio>
namespace tidelock::sim {
TEST(Mutants, Probe) {
  const char* only = std::getenv("MUT");
  const char* lim = std::getenv("LIM"); const char* fi = std::getenv("FIRST");
  int limit = lim ? std::atoi(lim) : 50;
  int first = fi ? std::atoi(fi) : 1;
  for (const auto& info : mutants()) {
    if (only && info.name != std::string_view(only)) continue;
    std::string v; int n = 0;
    for (n = 1; n <= limit; ++n) {
      ClusterOptions o; o.seed = static_cast<std::uint64_t>(first + n - 1);
      o.verbose = std::getenv("VERB") != nullptr;
      Planted p(info.mutant);
      try { v = Cluster(o).run().violation; } catch (std::exception& e) { v = std::string("exception ") + e.what(); }
      if (!v.empty()) break;
    }
    std::printf("%-30s %-4s %4d %s\n", std::string(info.name).c_str(), std::string(info.rule).c_str(), v.empty() ? -1 : n, v.substr(0, 160).c_str());
    std::fflush(stdout);
  }
}
}
