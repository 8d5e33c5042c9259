// What a gateway says of a transfer while it runs: its hub, and so an operator, sees how far it is.
#include "edge/model_figures.h"

#include <gtest/gtest.h>

#include "base/elapsed_clock.h"

namespace tidelock {
namespace {

TEST(ModelFigures, ATransferCountsWhileItRuns) {  // M3
  ElapsedClock clock;
  Metrics metrics;
  ModelFigures figures(clock, metrics);
  Counter& downloaded = metrics.counter("tidelock_edge_model_bytes_total", "Bytes of model files fetched from hubs.");
  ModelPointers pointers;
  const auto points = [&](const char* key, const char* version, std::uint64_t index) {
    pointers.take({*parse_pointer_key(key), ModelPointer{version, "digest", ""}, Index{index}}, 0);
  };
  std::map<VersionKey, ModelRoom::Verified> verified;
  std::map<VersionKey, std::uint64_t> fetched;
  const auto told = [&](const std::string& version) {
    figures.show(pointers, verified, {}, fetched);
    for (const ModelHealth& health : figures.list()) {
      if (health.version == version) return health.fetched_bytes;
    }
    return std::uint64_t{0};
  };
  constexpr std::uint64_t kStep = 256u << 10;

  points("model:detector:current@default", "1.0.0", 1);
  verified[{"detector", "1.0.0"}].manifest_sha256 = "digest";
  fetched[{"detector", "1.0.0"}] = 1'000;
  downloaded.add(1'000);
  EXPECT_EQ(told("1.0.0"), 1'000u);
  points("model:detector:staged@default", "2.0.0", 2);
  EXPECT_EQ(told("2.0.0"), 0u) << "what was counted is not counted again";
  downloaded.add(3 * kStep + 5);
  EXPECT_EQ(told("2.0.0"), 3 * kStep) << "in steps, as each is a report over the same link";
  EXPECT_EQ(told("1.0.0"), 1'000u);
  fetched[{"detector", "2.0.0"}] = 3 * kStep + 5;  // the link broke: the keeper has counted it
  EXPECT_EQ(told("2.0.0"), 3 * kStep + 5);
  downloaded.add(kStep);
  EXPECT_EQ(told("2.0.0"), 4 * kStep + 5);
  points("model:lane:staged@default", "1.0.0", 3);
  EXPECT_EQ(told("2.0.0"), 3 * kStep + 5) << "two are wanted: nobody knows of which it is";
}

}  // namespace
}  // namespace tidelock
