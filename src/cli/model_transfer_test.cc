// What is shown of a transfer: shares and times only where something is known.
#include "cli/model_transfer.h"

#include <gtest/gtest.h>

#include "cli/run_fixture.h"

namespace tidelock {
namespace {

EdgeTransfer edge_of(bool connected, bool staged, std::uint64_t fetched, std::uint64_t expected, std::uint64_t link,
                     std::string why = {}) {
  return {"edge-1", "site", connected, staged, fetched, expected, link, std::move(why)};
}

TEST(ModelTransfer, SaysHowFarItIsAndWhenItIsThere) {  // M3
  struct Case {
    const char* why;
    EdgeTransfer edge;
    int share;
    Nanos eta;
    const char* line;
  };
  const Case cases[] = {
      {"half", edge_of(true, false, 500, 1'000, 100), 50, 5 * kSecond,
       "\n  edge-1  [###############               ] 50 %, 500 B of about 1000 B, 100 B/s, about 5.0 s left"},
      {"the link is not measured", edge_of(true, false, 500, 1'000, 0), 50, kForever,
       "\n  edge-1  [###############               ] 50 %, 500 B of about 1000 B"},
      {"all came, and it is not verified", edge_of(true, false, 1'200, 1'000, 100), 99, kForever,
       "\n  edge-1  [############################# ] 99 %, 1.2 KiB of about 1000 B, 100 B/s"},
      {"a budget stops it", edge_of(true, false, 500, 1'000, 100, "paused: the daily budget"), 50, kForever,
       "\n  edge-1  [###############               ] 50 %, 500 B of about 1000 B, 100 B/s: paused: the daily budget"},
      {"nothing is known", edge_of(true, false, 0, 0, 0, "no engine"), -1, kForever,
       "\n  edge-1  has not staged it: no engine"},
      {"it is there", edge_of(true, true, 900, 900, 100), 100, 0, ""},
      {"it is away", edge_of(false, false, 0, 1'000, 0), -1, kForever, ""},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(transfer_share(c.edge), c.share) << c.why;
    EXPECT_EQ(transfer_eta(c.edge), c.eta) << c.why;
    EXPECT_EQ(transfer_lines({1'000, {c.edge}}, 8), c.line) << c.why;
  }
}

TEST(ModelTransfer, SumsUpWhoHasIt) {
  const TransferView view{1'000,
                          {edge_of(true, true, 300, 300, 0), edge_of(true, true, 1'400, 1'400, 0),
                           edge_of(true, false, 100, 300, 0), edge_of(false, false, 0, 300, 0)}};
  const Json json = transfer_json(view);
  EXPECT_EQ(json["registered"], 4);
  EXPECT_EQ(json["reachable"], 3);
  EXPECT_EQ(json["staged"], 2);
  EXPECT_EQ(json["fetched_bytes"], 1'700) << "of those that have it";
  EXPECT_EQ(json["whole_bytes"], 2'000);
  EXPECT_EQ(json["saved_bytes"], 300);
  EXPECT_EQ(json["gateways"][2]["share_percent"], 33);
  EXPECT_TRUE(json["gateways"][2]["eta_ms"].is_null());
  EXPECT_FALSE(json["gateways"][3].contains("staged")) << "nobody knows";
  EXPECT_EQ(saved_words({2'000, 1'000}), "2.0 KiB fetched from hubs instead of 1000 B: 0 B saved")
      << "cuts may cost more than whole files";
  EXPECT_EQ(transfer_lines({1'000, {edge_of(true, false, 1, 2, 0), edge_of(true, false, 1, 2, 0)}}, 1),
            "\n  edge-1  [###############               ] 50 %, 1 B of about 2 B\n  and 1 more");
}

TEST(ModelTransfer, RefusesATimeThatIsNone) {
  const Ran ran = run({"--json", "model", "stage", "detector", "1.0.0", "--wait", "--wait-for", "soon"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.json()["message"], "--wait-for: 'soon' is no time; write 500ms, 90s, 10m, 2h or at most 30d");
}

}  // namespace
}  // namespace tidelock
