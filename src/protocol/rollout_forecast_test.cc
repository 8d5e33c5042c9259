// What a version is foreseen to cost, by what is known of others that fetched it (M5).
#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "protocol/rollout.h"

namespace tidelock {
namespace {

constexpr std::uint64_t kRelease = 1'000'000, kBefore = 2'000'000;

struct Told {
  const char* site;
  bool staged = false;
  std::int64_t fetched = -1;  // of the version; -1: it said nothing
  std::int64_t before = -1;   // of the version in force
  std::uint64_t link = 0;
  Nanos paused_ns = 0;
};

// A fleet, and what it points to.
class ToldFleet {
 public:
  explicit ToldFleet(const std::vector<Told>& told) {
    for (const Told& one : told) {
      FleetEdge edge;
      edge.edge = "edge-" + std::to_string(fleet_.size() + 1);
      edge.reachable = edge.rings = true;
      edge.staged = one.staged;
      edge.site = one.site;
      edge.link_bytes_per_s = one.link;
      edge.paused_ns = one.paused_ns;
      if (one.fetched >= 0) edge.health = health(one.fetched, false);
      if (one.before >= 0) edge.in_force = health(one.before, true);
      fleet_.push_back(edge);
    }
  }
  const Fleet& operator*() const { return fleet_; }

 private:
  const ModelHealth* health(std::int64_t fetched, bool in_force) {
    ModelHealth& one = healths_.emplace_back();
    one.fetched_bytes = static_cast<std::uint64_t>(fetched);
    one.in_force = in_force;
    return &one;
  }
  std::deque<ModelHealth> healths_;
  Fleet fleet_;
};

Rollout ended(std::uint64_t bytes, std::uint32_t edges, std::uint64_t fetched) {
  Rollout rollout;
  rollout.phase = RolloutPhase::kDone;
  rollout.bytes = bytes;
  rollout.waves.push_back({{"edge-1"}, edges, fetched, 1, 2, {}, 0, 0});
  return rollout;
}

TEST(Forecast, GoesByWhatOthersTook) {  // M5
  const Rollout tenth = ended(5'000'000, 2, 1'000'000);
  Rollout planned;  // it foresaw a fifth
  planned.bytes = kRelease;
  planned.forecast = {{1, 200'000, 0, 0, true}, {1, 200'000, 0, 0, true}};
  struct Case {
    const char* why;
    std::vector<Told> fleet;
    const Rollout* last;
    std::vector<std::uint64_t> expected;
  };
  const Case cases[] = {
      {"nothing is known: all of it", {{"a"}, {"b"}}, nullptr, {kRelease, kRelease}},
      {"those that have it tell, the middle one of them",
       {{"a", true, 100'000}, {"b", true, 120'000}, {"c", true, 900'000}, {"d"}},
       &tenth,
       {100'000, 120'000, 900'000, 120'000}},
      {"one that has it from a stick says nothing of the link", {{"a", true, 0}, {"b"}}, nullptr, {0, kRelease}},
      {"else the rollout before: a tenth", {{"a", false, -1, 2'000'000}, {"b"}}, &tenth, {100'000, 100'000}},
      {"a plan that is begun keeps what it was made by", {{"a"}, {"b"}}, &planned, {200'000, 200'000}},
      {"else the version in force: half of it came", {{"a", false, -1, 1'000'000}, {"b"}}, nullptr, {500'000, 500'000}},
      {"never more than whole files", {{"a", false, -1, 3'000'000}, {"b"}}, nullptr, {kRelease, kRelease}},
      {"what came already is of it", {{"a", false, 600'000}, {"b"}}, nullptr, {kRelease, kRelease}},
      {"neighbours: once for the site, each as likely",
       {{"a"}, {"a"}, {"a"}, {"a"}, {"b"}},
       nullptr,
       {250'000, 250'000, 250'000, 250'000, kRelease}},
      {"neighbours: once one has it, it costs nothing more",
       {{"a", true, 400'000}, {"a"}, {"b"}},
       nullptr,
       {400'000, 0, 400'000}},
      {"neighbours that do not share said so of the version in force",
       {{"a", false, -1, 1'000'000}, {"a", false, -1, 1'000'000}},
       nullptr,
       {500'000, 500'000}},
      {"neighbours that share: one of them asked for all",
       {{"a", false, -1, 1'000'000}, {"a", false, -1, 0}},
       nullptr,
       {250'000, 250'000}},
  };
  for (const Case& c : cases) {
    const ToldFleet fleet(c.fleet);
    EXPECT_EQ(expected_fetches(*fleet, {kRelease, kBefore, c.last}), c.expected) << c.why;
  }
}

TEST(Forecast, TimesAreByLinksAndByBudgets) {  // M5
  RolloutPlan plan;
  plan.waves = *parse_waves("1");
  plan.dwell_ns = 10 * kSecond;
  struct Case {
    const char* why;
    std::vector<Told> fleet;
    Nanos first, last;  // when the two waves begin
    bool measured;      // of the first
  };
  const Case cases[] = {
      {"by the share that came of the version in force",
       {{"a", false, -1, 1'000'000, 500'000}, {"b", false, -1, 1'000'000, 10'000}},
       kSecond,
       50 * kSecond,
       true},
      {"one without a measure goes by the others",
       {{"a", false, -1, -1, 0}, {"b", false, -1, -1, 500'000}},
       2 * kSecond,
       12 * kSecond,
       false},
      {"a budget that is used up counts on top",
       {{"a", false, -1, -1, 500'000, 60 * kSecond}, {"b", false, -1, -1, 500'000}},
       2 * kSecond,
       62 * kSecond,
       true},
      {"not where a neighbour has the file",
       {{"a", false, -1, -1, 500'000, 60 * kSecond}, {"a", true, 1'000'000}},
       0,
       10 * kSecond,
       true},
  };
  for (const Case& c : cases) {
    const ToldFleet fleet(c.fleet);
    const auto waves = forecast_waves(plan, *fleet, {kRelease, kBefore, nullptr});
    ASSERT_EQ(waves.size(), 2u) << c.why;
    EXPECT_EQ(waves[0].activated_ns, c.first) << c.why;
    EXPECT_EQ(waves[1].activated_ns, c.last) << c.why;
    EXPECT_EQ(waves[0].measured, c.measured) << c.why;
    const auto each = expected_fetches(*fleet, {kRelease, kBefore, nullptr});
    EXPECT_EQ(waves[0].bytes + waves[1].bytes, each[0] + each[1]) << c.why << ": each is counted in one wave";
  }
}

}  // namespace
}  // namespace tidelock
