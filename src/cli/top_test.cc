#include "cli/top.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "cli/run_fixture.h"
#include "client/scripted_edge_fixture.h"
#include "telemetry/metrics.h"
#include "wire/http/server.h"

namespace tidelock {
namespace {

const std::string kTlInfo =
    R"({"edge":"edge-1","site":"site-1","session_open":true,"hub":"hub-1","term":3,"applied":1234,"fresh_age_ms":12,)"
    R"("lease_left_ms":28900,"open_blocks":1,"clock_fault":false,"entries":10,"memory_bytes":2097152,)"
    R"("reads":{"total":1000,"hits":900,"fallbacks":2,"stale":3},)"
    R"("invalidations":5,"fetches":40,"probes":60,"sessions":1,)"
    R"("features":{"written":8,"flushed":5,"superseded":1,"expired":0,"pending":2,"shed":0,"lost":0},)"
    R"("models":{"detector":{"current":"1.0.0","staged":"1.1.0","verified":["1.0.0","1.1.0"]}},"namespaces":[]})";
const std::string kInfo =
    "# Server\r\nredis_version:7.0.15\r\nprocess_id:7\r\nuptime_in_seconds:100\r\n\r\n# "
    "Clients\r\nconnected_clients:4\r\n"
    "maxclients:10000\r\n# Stats\r\ntotal_commands_processed:2000\r\ntotal_error_replies:6\r\n# Memory\r\n"
    "used_memory:2097152\r\nmaxmemory:67108864\r\narena_bytes:1536\r\narena_entries:3\r\n";

EdgeSample sample() { return *parse_edge_sample(kTlInfo, kInfo, 500 * kSecond); }
std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST(Top, OneFrameOfAnEdge) {
  const Json view = edge_view(sample(), nullptr, {12});
  FrameOptions options;
  options.width = 200;
  EXPECT_EQ(joined(top_frame(view, options)),
            "tidelock top   edge-1 (site-1)   up 100.0 s   rates since the start\n"
            "session   with hub-1, term 3, applied 1234\n"
            "proof     at most 13.0 ms old\n"
            "lease     28.9 s left   open blocks 1   clock good\n"
            "reads     10/s   hits 90.0 %, since start 90.0 % of 1000   flagged 2   refused 3\n"
            "commands  20/s   4 clients   6 errors\n"
            "memory    [#...................] 2.0 MiB of 64.0 MiB, 10 entries   arena 1.5 KiB, 3 entries\n"
            "outbox    2 wait   8 written = 5 flushed, 1 replaced, 0 expired, 0 shed, lost 0\n"
            "feed      invalidations 0.1/s   fetches 0.4/s   probes 0.6/s   sessions 1\n"
            "models    detector  in force 1.0.0, staged 1.1.0, verified 1.0.0 1.1.0\n");
}

TEST(Top, RatesAreThoseSinceTheLastLook) {
  EdgeSample before = sample(), now = sample();
  now.taken_at += 2 * kSecond;
  now.info["reads"] = {{"total", 1200}, {"hits", 1000}, {"fallbacks", 2}, {"stale", 3}};
  now.info["probes"] = 50;  // went back: another edge
  now.redis_info["total_commands_processed"] = "2500";
  const Json view = edge_view(now, &before, {5, -1, 7});
  EXPECT_DOUBLE_EQ(view["reads"]["per_s"], 100);
  EXPECT_DOUBLE_EQ(view["reads"]["hit_ratio_now"], 0.5);
  EXPECT_DOUBLE_EQ(view["commands"]["per_s"], 250);
  EXPECT_DOUBLE_EQ(view["feed"]["probes_per_s"], 0);
  EXPECT_EQ(view["proof"]["age_p50_ms"], 7);
  EXPECT_EQ(view["proof"]["age_p99_ms"], -1) << "a look without a proof is older than every age";
  now.redis_info.clear();
  now.info["reads"] = before.info["reads"];
  EXPECT_EQ(edge_view(now, &before, {})["reads"]["hit_ratio_now"], nullptr) << "no read has no ratio";
}

TEST(Top, WhatBreaksAPromiseStandsOut) {
  EdgeSample bad = sample();
  bad.info["session_open"] = false;
  bad.info["fresh_age_ms"] = -1;
  bad.info["lease_left_ms"] = 0;
  bad.info["clock_fault"] = true;
  bad.info["features"]["lost"] = 1;
  FrameOptions options;
  options.styled = true;
  options.trouble = "no edge";
  const std::string text = joined(top_frame(edge_view(bad, nullptr, {-1}), options));
  for (const char* part : {"\x1b[31mOLD       no edge; trying again", "\x1b[31msession   none",
                           "\x1b[31mproof     none", "clock FAULT", "LOST 1"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  options.styled = false;
  EXPECT_EQ(joined(top_frame(edge_view(bad, nullptr, {-1}), options)).find('\x1b'), std::string::npos);
}

TEST(Top, BreakersAreShownWhereFramesAreToldOf) {  // M10
  EdgeSample told = sample();
  told.info["breakers"] = {{"model:",
                            {{"state", "open"},
                             {"opened", 2},
                             {"frames", 40},
                             {"failed", 31},
                             {"late", 0},
                             {"why", "31 of 40 frames failed"}}},
                           {"x", 5}};
  FrameOptions options;
  options.width = 200;
  EXPECT_NE(joined(top_frame(edge_view(told, nullptr, {1}), options))
                .find("breakers  model:  OPEN: frames are refused, 31 of 40 frames failed   opened 2 times   of the "
                      "last 40 frames 31 failed, 0 "
                      "late\n"),
            std::string::npos);
  EXPECT_EQ(edge_view(told, nullptr, {1})["breakers"]["model:"]["opened"], 2);
}

TEST(Top, NoLineIsWiderThanTheTerminalAndNamesCannotDriveIt) {
  EdgeSample odd = sample();
  odd.info["edge"] = "\x1b]0;x\x07";
  odd.info["models"] = {{"m\xc3\xbc\n\xc3\xbc", {{"current", std::string(300, '\xc3')}}}, {"n", 5}};
  FrameOptions options;
  for (std::size_t width = 1; width < 60; ++width) {
    options.width = width;
    for (const std::string& line : top_frame(edge_view(odd, nullptr, {}), options)) {
      const auto columns = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
      EXPECT_LE(static_cast<std::size_t>(columns), width) << line;
      for (const char c : line) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << line;
    }
  }
}

TEST(Top, AFrameIsPaintedOverTheOneBefore) {
  EXPECT_EQ(paint({"a", "b", "c"}, 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J") << "no more lines than the terminal has";
  EXPECT_EQ(paint({}, 5), "\x1b[H\x1b[J");
}

TEST(Top, WhatIsNoEdgeIsRefused) {
  for (const char* text : {"", "[]", "{", "{}", R"({"edge":5})", R"({"edge":""})"}) {
    const auto parsed = parse_edge_sample(text, kInfo, 0);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Code::kCorrupt);
  }
  // Types of others change nothing but what they stand for.
  const auto odd =
      parse_edge_sample(R"({"edge":"e","reads":7,"models":[1],"fresh_age_ms":"x","session_open":1})", "no lines", 0);
  ASSERT_TRUE(odd);
  EXPECT_EQ(edge_view(*odd, nullptr, {})["reads"]["total"], 0.0);
}

TEST(Top, MetricsAreSummedOverTheirLabels) {
  const auto metrics = parse_metrics(
      "# HELP a b\n# TYPE a counter\na{x=\"1 2\"} 3\na{x=\"2\"} 4\nb 1e3\nc nonsense\nd\n\ntidelock_hub_active 1");
  EXPECT_EQ(metrics, (std::map<std::string, double>{{"a", 7}, {"b", 1000}, {"tidelock_hub_active", 1}}));
  EXPECT_EQ(hub_view("h", {{"tidelock_hub_active", 1}, {"tidelock_ledger_term", 1e300}})["term"], 0)
      << "no number of ours";
}

TEST(Top, OfTheCommandLine) {
  ScriptedEdge edge;
  const auto bulk = [](const std::string& text) { return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n"; };
  edge.answer("TL.INFO", bulk(kTlInfo));
  edge.answer("INFO", bulk(kInfo));
  const Ran once = run({"top", "--once", "--run-dir", edge.run_dir()});
  EXPECT_EQ(once.code, 0) << once.err;
  EXPECT_TRUE(once.out.starts_with("tidelock top   edge-1 (site-1)")) << once.out;
  EXPECT_EQ(once.out.find('\x1b'), std::string::npos) << "no terminal, no escape sequence";
  const Json json = run({"--json", "top", "--run-dir", edge.run_dir()}).json();
  EXPECT_EQ(json["ok"], true) << json;
  EXPECT_EQ(json["reads"]["hit_ratio"], 0.9);
  EXPECT_EQ(json["models"]["detector"]["staged"], "1.1.0");

  edge.answer("INFO", "-NOAUTH Authentication required.\r\n");
  EXPECT_EQ(run({"--json", "top", "--run-dir", edge.run_dir()}).json()["code"], "denied");
  edge.answer("INFO", "+x\r\n");
  edge.answer("TL.INFO", "+OK\r\n");
  EXPECT_EQ(run({"--json", "top", "--run-dir", edge.run_dir()}).json()["code"], "corrupt");
  edge.stop();
  EXPECT_EQ(run({"--json", "top", "--run-dir", edge.run_dir()}).json()["code"], "unavailable");
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"top"}, {"top", "--run-dir", edge.run_dir(), "--hub", "127.0.0.1:1"}}) {
    const Ran ran = run(words);
    EXPECT_EQ(ran.code, 1);
    EXPECT_NE(ran.err.find("give --run-dir of an edge on this machine, or --hub HOST:PORT"), std::string::npos)
        << ran.err;
  }
}

TEST(Top, OfAHub) {
  Metrics metrics;
  const auto server = HttpServer::listen({}, standard_routes(metrics, [] { return ""; }, [] { return ""; }));
  ASSERT_TRUE(server);
  const std::vector<std::string> words = {"--json", "top", "--hub", (*server)->address()};
  EXPECT_EQ(run(words).json()["code"], "corrupt") << "an edge's metrics, say";
  metrics.gauge("tidelock_hub_active", "help").set(1);
  metrics.gauge("tidelock_hub_sessions", "help").set(4);
  const Json json = run(words).json();
  EXPECT_EQ(json["active"], true) << json;
  EXPECT_EQ(json["sessions"], 4);
  const Ran text = run({"top", "--hub", (*server)->address()});
  EXPECT_NE(text.out.find("role      active: it sequences writes"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("edges     4 sessions"), std::string::npos) << text.out;
  EXPECT_EQ(run({"--json", "top", "--hub", "127.0.0.1:1"}).json()["code"], "unavailable");
}

}  // namespace
}  // namespace tidelock
