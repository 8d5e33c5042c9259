// What is shown of a rollout, and when it says that it will end.
#include "cli/rollout.h"

#include <gtest/gtest.h>

#include "cli/model_transfer.h"

namespace tidelock {
namespace {

TEST(RolloutCli, ReadsSpans) {
  EXPECT_EQ(*parse_span("500ms"), 500 * kMillisecond);
  EXPECT_EQ(*parse_span("90s"), 90 * kSecond);
  EXPECT_EQ(*parse_span("10m"), 600 * kSecond);
  EXPECT_EQ(*parse_span("2h"), 7'200 * kSecond);
  EXPECT_EQ(*parse_span("30d"), kRolloutTimeMax);
  EXPECT_EQ(*parse_span("0s"), 0);
  for (const char* text : {"", "10", "m", "-1s", "1 s", "31d", "99999999999999999999s", "1.5h", "10min"})
    EXPECT_FALSE(parse_span(text)) << text;
}

RolloutView view_of(RolloutPhase phase) {
  RolloutView view;
  view.registered = 10;
  view.reachable = 9;
  view.staged = 8;
  view.adopted = 1;
  Rollout& rollout = view.rollout.emplace();
  rollout.plan.version = "2.0.0";
  rollout.plan.waves = *parse_waves("canary=yes,50%");
  rollout.plan.dwell_ns = 600 * kSecond;
  rollout.phase = phase;
  rollout.holder = "alice";
  rollout.started_at = 1'000 * kSecond;
  rollout.since = 1'060 * kSecond;
  view.ledger_now = 1'160 * kSecond;
  rollout.forecast = {{1, 1'000, 60 * kSecond, 660 * kSecond, true},
                      {4, 4'000, 660 * kSecond, 1'260 * kSecond, true},
                      {5, 5'000, 1'500 * kSecond, 2'100 * kSecond, false}};
  rollout.waves.push_back({{"edge-7"}, 1, 990, 1'060 * kSecond, 0, {}, 0});
  return view;
}

TEST(RolloutCli, SaysWhenItWillEnd) {
  struct Case {
    const char* why;
    RolloutPhase phase;
    Nanos eta;
  };
  const Case cases[] = {
      // 500 s of this dwell time, 600 of the next wave's; the last is staged 1,340 s from now and dwells for 600.
      {"it dwells", RolloutPhase::kDwelling, 1'940 * kSecond},
      {"it is paused: who knows", RolloutPhase::kPaused, kForever},
      {"it is planned only", RolloutPhase::kPlanned, kForever},
      {"it has ended", RolloutPhase::kDone, kForever},
  };
  for (const Case& c : cases) EXPECT_EQ(rollout_eta(view_of(c.phase)), c.eta) << c.why;
}

TEST(RolloutCli, ShowsWavesWithWhatWasForeseenAndWhatCame) {
  const RolloutView view = view_of(RolloutPhase::kDwelling);
  const std::string words = rollout_words("detector", view);
  EXPECT_TRUE(words.starts_with("detector 2.0.0  dwelling, wave 1 of 3 (canary=yes), held by alice\n[###   ")) << words;
  EXPECT_NE(words.find("in force on 1 of 10 gateways; staged on 8 of 9 that can be reached"), std::string::npos)
      << words;
  EXPECT_NE(words.find("wave 1  canary=yes  foreseen: 1 gateways, 1000 B"), std::string::npos) << words;
  EXPECT_NE(words.find("; was: 1 gateways, 990 B"), std::string::npos) << words;
  EXPECT_NE(words.find("(links not measured)"), std::string::npos) << words;
  const Json json = rollout_json("detector", view);
  EXPECT_EQ(json["phase"], "dwelling");
  EXPECT_EQ(json["ahead"], Json::array({"edge-7"}));
  EXPECT_EQ(json["waves"][0]["was"]["activated_ms"], 60'000);
  EXPECT_TRUE(json["waves"][0]["was"]["ended_ms"].is_null());
  EXPECT_FALSE(json["waves"][1].contains("was"));
}

TransferView transfer_of_ten() {  // edge-7 and edge-8 have it, edge-9 is under way, edge-10 is away
  TransferView transfer;
  transfer.release_bytes = 4'096;
  for (const char* edge :
       {"edge-1", "edge-10", "edge-2", "edge-3", "edge-4", "edge-5", "edge-6", "edge-7", "edge-8", "edge-9"}) {
    EdgeTransfer& one = transfer.edges.emplace_back();
    one.edge = edge;
    one.connected = one.edge != "edge-10";
    one.staged = one.edge == "edge-7" || one.edge == "edge-8";
    one.fetched_bytes = one.staged ? 1'024 : one.edge == "edge-9" ? 512 : 0;
    one.expected_bytes = 1'024;
    one.link_bytes_per_s = one.edge == "edge-9" ? 256 : 0;
  }
  return transfer;
}

TEST(RolloutCli, ShowsWhatWasFetchedAndWhatThatSaved) {
  RolloutView view = view_of(RolloutPhase::kDwelling);
  view.rollout->bytes = 4'096;
  const TransferView transfer = transfer_of_ten();
  const std::string words = rollout_words("detector", view, &transfer);
  EXPECT_NE(words.find("\n  2.0 KiB fetched from hubs instead of 8.0 KiB: 6.0 KiB saved\n"), std::string::npos)
      << words;
  EXPECT_NE(
      words.find("edge-9  [###############               ] 50 %, 512 B of about 1.0 KiB, 256 B/s, about 2.0 s left"),
      std::string::npos)
      << words;
  EXPECT_NE(words.find("; was: 1 gateways, 1.0 KiB, 3.0 KiB saved"), std::string::npos) << words;
  Json json = rollout_json("detector", view, &transfer);
  EXPECT_EQ(json["fetched_bytes"], 2'048);
  EXPECT_EQ(json["whole_bytes"], 8'192);
  EXPECT_EQ(json["saved_bytes"], 6'144);
  EXPECT_EQ(json["waves"][0]["was"]["saved_bytes"], 3'072);
  EXPECT_EQ(json["transfers"].size(), 10u);
  EXPECT_FALSE(json.contains("compared")) << "it has not ended";
  // A hub that tells nothing of transfers: what the ledger has.
  json = rollout_json("detector", view);
  EXPECT_EQ(json["fetched_bytes"], 990);
  EXPECT_EQ(json["saved_bytes"], 4'096 - 990);
}

TEST(RolloutCli, ComparesAtTheEndWhatWasForeseen) {
  struct Case {
    const char* why;
    RolloutPhase phase;
    Nanos ended_at;
    const char* words;  // of the comparison; null: none
  };
  const Case cases[] = {
      {"it is under way", RolloutPhase::kDwelling, 0, nullptr},
      {"a wave passed", RolloutPhase::kDone, 2'000 * kSecond,
       "\n  bytes: 990 B of 1000 B foreseen, 0.99 times what was foreseen; time: 16.7 min of 11.0 min, 1.52 times what "
       "was foreseen"},
      {"none passed", RolloutPhase::kRolledBack, 0,
       "\n  bytes: 990 B of 1000 B foreseen, 0.99 times what was foreseen"},
  };
  for (const Case& c : cases) {
    RolloutView view = view_of(c.phase);
    view.rollout->bytes = 4'096;
    view.rollout->waves[0].ended_at = c.ended_at;
    const std::string words = rollout_words("detector", view);
    const Json json = rollout_json("detector", view);
    EXPECT_EQ(json.contains("compared"), c.words != nullptr) << c.why;
    if (c.words == nullptr) continue;
    EXPECT_TRUE(words.ends_with(c.words)) << c.why << ": " << words;
    EXPECT_DOUBLE_EQ(json["compared"]["bytes_ratio"], 0.99) << c.why;
    EXPECT_EQ(json["compared"]["time_ratio"].is_null(), c.ended_at == 0) << c.why;
  }
}

TEST(RolloutCli, ShowsARecordUnderItsOwnWaveBehindOneThatAddedNobody) {
  RolloutView view = view_of(RolloutPhase::kDwelling);
  Rollout& rollout = *view.rollout;
  rollout.plan.waves = *parse_waves("1,10%,50%");
  rollout.wave = 2;
  rollout.waves.push_back({{"edge-1", "edge-2", "edge-3", "edge-4"}, 4, 0, 1'100 * kSecond, 0, {}, 0, 2});
  const std::string words = rollout_words("detector", view);
  EXPECT_NE(words.find("wave 2  10%"), std::string::npos) << words;
  EXPECT_NE(words.find("; added nobody\n  wave 3  50%"), std::string::npos) << words;
  const Json json = rollout_json("detector", view);
  EXPECT_FALSE(json["waves"][1].contains("was"));
  EXPECT_EQ(json["waves"][2]["was"]["gateways"], 4);
}

}  // namespace
}  // namespace tidelock
