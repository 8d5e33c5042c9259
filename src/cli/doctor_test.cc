// Each check against facts made up for it, against a folder of its own, or against a real edge without a hub.

#include "cli/doctor.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <set>

#include "base/wall_clock.h"
#include "cli/config.h"
#include "cli/dev.h"
#include "cli/run_fixture.h"
#include "client/scripted_edge_fixture.h"
#include "memory/arena.h"
#include "memory/page.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

// "BROKEN what -> todo" of what is not good, for comparisons that read well.
std::string bad(const Findings& findings) {
  std::string text;
  for (const Finding& one : findings) {
    if (one.health == Health::kGood) continue;
    EXPECT_NE(one.todo, "") << one.what << ": says what to do";
    text += (text.empty() ? "" : "\n") + std::string(health_name(one.health)) + " " + one.what;
  }
  return text;
}
bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Doctor, TheWorstFindingDecidesTheExitCode) {
  const auto of = [](std::vector<Health> healths) {
    Findings findings;
    for (const Health health : healths) findings.push_back({"x", health, "w", "t", Json::object()});
    return exit_code_of(findings);
  };
  EXPECT_EQ(of({}), 0);
  EXPECT_EQ(of({Health::kGood, Health::kNote, Health::kSkipped}), 0);
  EXPECT_EQ(of({Health::kUnknown, Health::kGood}), 2);
  EXPECT_EQ(of({Health::kUnknown, Health::kBroken}), 1);
  const std::string text = findings_text({{"clock", Health::kBroken, "a\x1b[2J", "b", Json::object()}});
  EXPECT_EQ(text,
            "  BROKEN   clock         a\\x1b[2J\n           do:           b\n\n  something here breaks a promise");
  const Json json = findings_json({{"clock", Health::kNote, "a", "b", {{"n", 1}}}});
  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["exit_code"], 0);
  EXPECT_EQ(json["findings"][0],
            (Json{{"check", "clock"}, {"health", "note"}, {"what", "a"}, {"todo", "b"}, {"facts", {{"n", 1}}}}));
}

TEST(Doctor, Clock) {
  ClockFacts sound;
  sound.source = "tsc";
  sound.read_ns = 90;
  sound.steer_ppm = -12.5;
  sound.rate_fault = false;
  struct Case {
    const char* why;
    std::function<void(ClockFacts&)> change;
    const char* says;  // empty: nothing bad
  };
  const Case cases[] = {
      {"sound", [](ClockFacts&) {}, ""},
      {"asleep for a while is no fault", [](ClockFacts& f) { f.suspended_ns = 3'600 * kSecond; }, ""},
      {"nobody steers it", [](ClockFacts& f) { f.steer_ppm.reset(); }, ""},
      {"just within", [](ClockFacts& f) { f.steer_ppm = -200; }, ""},
      {"too far off", [](ClockFacts& f) { f.steer_ppm = -200.5; },
       "broken the time daemon corrects this machine's oscillator by -200.5 ppm"},
      {"within what this cluster assumes", [](ClockFacts& f) { f.steer_ppm = 450, f.rho_ppm = 500; }, ""},
      {"the edge says so", [](ClockFacts& f) { f.rate_fault = true; },
       "broken the edge says that its clock's rate is outside"},
      {"a slow source", [](ClockFacts& f) { f.source = "hpet", f.read_ns = 4'000; },
       "note reading the clock takes 4 us (clock source hpet)"},
      {"no boot id", [](ClockFacts& f) { f.trouble = "boot_id: gone"; }, "broken boot_id: gone: apps cannot tell"},
  };
  for (const Case& c : cases) {
    ClockFacts facts = sound;
    c.change(facts);
    const std::string text = bad(judge_clock(facts));
    EXPECT_EQ(text.empty(), std::string(c.says).empty()) << c.why << ": " << text;
    EXPECT_TRUE(holds(text, c.says)) << c.why << ": " << text;
  }
  const ClockFacts here = look_at_clock();
  EXPECT_GT(here.read_ns, 0);
  EXPECT_EQ(here.trouble, "");
}

const std::string kLimits =
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max core file size        0                    unlimited            bytes     \n"
    "Max open files            20000                30000                files     \n"
    "Max locked memory         8388608              8388608              bytes     \n";

TEST(Doctor, LimitsAreReadAsTheKernelWritesThem) {
  EXPECT_EQ(limit_of(kLimits, "Max open files"), (std::pair<std::uint64_t, std::uint64_t>{20'000, 30'000}));
  EXPECT_EQ(limit_of(kLimits, "Max core file size"),
            (std::pair<std::uint64_t, std::uint64_t>{0, std::numeric_limits<std::uint64_t>::max()}));
  for (const char* text :
       {"", "Max open files", "Max open files  x y files", "Max open files 5", "Max open filesystems 1 2"}) {
    EXPECT_FALSE(limit_of(text, "Max open files")) << text;
  }
}

TEST(Doctor, Limits) {
  LimitFacts facts;
  facts.limits = kLimits;
  facts.core_pattern = "core";
  EXPECT_EQ(bad(judge_limits(facts)), "");
  const auto with_files = [&](const std::string& count) {
    LimitFacts changed = facts;
    changed.limits.replace(changed.limits.find("20000"), 5, count);
    return judge_limits(changed);
  };
  EXPECT_TRUE(
      holds(bad(with_files("4096 ")), "note this shell may open 4096 files: clients beyond about 3584 of the 10000"));
  EXPECT_TRUE(holds(bad(with_files("256  ")), "broken this shell may open 256 files"));
  EXPECT_TRUE(holds(with_files("256  ").front().todo, "ulimit -n 10512")) << "says how many are right";
  facts.swap = true;
  EXPECT_TRUE(holds(bad(judge_limits(facts)), "note swap is on"));
  facts.limits.clear();
  EXPECT_EQ(exit_code_of(judge_limits(facts)), 2);
}

class DoctorFolder : public testing::Test {
 protected:
  void SetUp() override {
    const auto made = make_dev_cluster({cluster_, 1, 1, 1});
    ASSERT_TRUE(made) << made.error().message;
  }
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  void write(const std::string& path, const std::string& text) const { std::ofstream(path, std::ios::binary) << text; }

  const TestFolder folder_;
  const std::string cluster_ = at("cluster"), edge_toml_ = cluster_ + "/edge-1/edge.toml";
  const std::string tls_ = cluster_ + "/edge-1/tls/";
  const TlsFiles files_{tls_ + "ca.pem", tls_ + "cert.pem", tls_ + "key.pem"};
  const PeerIdentity edge_{NodeRole::kEdge, "edge-1"};
  const std::int64_t now_s_ = static_cast<std::int64_t>(wall_ms_now() / 1'000);
};

TEST(Doctor, WhatTheRedisProtocolWaitsOn) {
  EXPECT_TRUE(judge_io("", "").empty()) << "an edge that does not say";
  EXPECT_EQ(bad(judge_io("io_uring", "")), "");
  EXPECT_EQ(bad(judge_io("epoll", "")), "") << "as it was told to";
  const Findings refused = judge_io("epoll", "io_uring: setup: Operation not permitted");
  EXPECT_TRUE(
      holds(bad(refused), "note the Redis protocol of the edge waits on epoll: io_uring: setup: Operation not"));
  EXPECT_EQ(exit_code_of(refused), 0) << "nothing is broken by it";
}

TEST_F(DoctorFolder, Certificates) {
  const Findings good = check_certificates(files_, edge_, now_s_);
  EXPECT_EQ(bad(good), "");
  ASSERT_EQ(good.size(), 1u);
  EXPECT_TRUE(holds(good[0].what, "edge.edge-1, signed by the CA, for another ")) << good[0].what;
  const std::int64_t left_s = good[0].facts["left_s"];

  const auto at_time = [&](std::int64_t now_s) { return bad(check_certificates(files_, edge_, now_s)); };
  EXPECT_TRUE(holds(at_time(now_s_ + left_s - 3 * 86'400), "note " + files_.certificate_file + " is over in 3.0 days"));
  EXPECT_TRUE(holds(at_time(now_s_ + left_s + 60), "broken " + files_.certificate_file + " is over since 60.0 s"));
  EXPECT_TRUE(holds(at_time(now_s_ - 400 * 86'400), "begins in")) << "a date that is wrong";
  EXPECT_TRUE(holds(bad(check_certificates(files_, PeerIdentity{NodeRole::kEdge, "edge-2"}, now_s_)),
                    "is of edge.edge-1, the configuration is of edge.edge-2"));
  EXPECT_EQ(bad(check_certificates(files_, std::nullopt, now_s_)), "") << "an operator may be anybody";

  ASSERT_EQ(::chmod(files_.key_file.c_str(), 0640), 0);
  EXPECT_TRUE(holds(at_time(now_s_), files_.key_file + " has mode 0640: others can read the key"));
  ASSERT_EQ(::chmod(files_.key_file.c_str(), 0600), 0);

  ASSERT_TRUE(make_dev_cluster({at("other"), 1, 1, 1}));
  TlsFiles mixed = files_;
  mixed.ca_file = at("other/edge-1/tls/ca.pem");
  EXPECT_TRUE(holds(bad(check_certificates(mixed, edge_, now_s_)), "is not signed by " + mixed.ca_file));
  mixed = files_;
  mixed.key_file = at("other/edge-1/tls/key.pem");
  EXPECT_EQ(exit_code_of(check_certificates(mixed, edge_, now_s_)), 1) << "a key of another certificate";
  mixed = files_;
  mixed.ca_file = at("no.pem");
  EXPECT_TRUE(holds(bad(check_certificates(mixed, edge_, now_s_)), "broken " + at("no.pem") + ": No such file"));
  write(at("junk.pem"), "junk");
  mixed.ca_file = at("junk.pem");
  EXPECT_EQ(exit_code_of(check_certificates(mixed, edge_, now_s_)), 1);
}

TEST(Doctor, Hubs) {
  const HubLook leads{"hub-1", "h:1", {}, 5 * kMillisecond, {3 * kMillisecond, kMillisecond, 9 * kMillisecond}, true};
  HubLook stands = leads, down = leads, refused = leads;
  stands.active = false;
  down.error = Error{Code::kUnavailable, "connection refused", {}, 0};
  refused.error = Error{Code::kUnavailable, "certificate refused", {}, 0};
  EXPECT_EQ(median_of({}), 0);
  EXPECT_EQ(median_of(leads.trips_ns), 3 * kMillisecond);
  struct Case {
    const char* why;
    std::vector<HubLook> looks;
    int code;
    const char* says;
  };
  const Case cases[] = {
      {"one that leads", {leads}, 0, ""},
      {"no hubs, no findings", {}, 0, ""},
      {"one of three is down", {leads, stands, down}, 0, "note hub-1 at h:1: connection refused"},
      {"an election", {stands, stands, down}, 0, "none of them leads"},
      {"a minority", {stands, down, down}, 1, "1 of 3 hubs answer, and none of them leads"},
      {"nobody", {down}, 1, "no hub answers"},
      {"our certificate is not theirs", {leads, refused}, 1, "broken hub-1 at h:1: certificate refused"}};
  for (const Case& c : cases) {
    const Findings found = judge_hubs(c.looks);
    EXPECT_EQ(exit_code_of(found), c.code) << c.why;
    EXPECT_TRUE(holds(bad(found), c.says)) << c.why << ": " << bad(found);
  }
  EXPECT_EQ(judge_hubs({leads})[0].what,
            "hub-1 at h:1, leads: round trip 3.0 ms, at most 9.0 ms of 3; first answer after 5.0 ms");
}

TEST(Doctor, Disk) {
  DiskFacts sound{
      "/d", "", 50ull << 30, 100ull << 30, false, false, {kMillisecond, 2 * kMillisecond, 8 * kMillisecond}};
  struct Case {
    const char* why;
    std::function<void(DiskFacts&)> change;
    int code;
    const char* says;
  };
  const Case cases[] = {
      {"sound", [](DiskFacts&) {}, 0, ""},
      {"small but mostly free", [](DiskFacts& f) { f.total_bytes = 900 << 20, f.free_bytes = 800 << 20; }, 0, ""},
      {"nearly full", [](DiskFacts& f) { f.free_bytes = 900 << 20; }, 0, "note /d has 900.0 MiB free of 100.0 GiB"},
      {"full", [](DiskFacts& f) { f.free_bytes = 1 << 20; }, 1, "broken /d has 1.0 MiB free"},
      {"in memory", [](DiskFacts& f) { f.in_memory = true; }, 1, "broken /d lies in memory"},
      {"far away", [](DiskFacts& f) { f.over_network = true; }, 0, "note /d lies on a network"},
      {"slow", [](DiskFacts& f) { f.syncs_ns = {60 * kMillisecond}; }, 0, "note /d takes 60.0 ms for a sync"},
      {"closed to us", [](DiskFacts& f) { f.trouble = "Permission denied"; }, 2, "unknown /d: Permission denied"},
  };
  for (const Case& c : cases) {
    DiskFacts facts = sound;
    c.change(facts);
    const Findings found = judge_disk(facts);
    EXPECT_EQ(exit_code_of(found), c.code) << c.why;
    EXPECT_TRUE(holds(bad(found), c.says)) << c.why << ": " << bad(found);
  }
}

TEST_F(DoctorFolder, ADiskIsLookedAtWithoutLeavingAnything) {
  const DiskFacts facts = look_at_disk(at("not/there/yet"));
  EXPECT_EQ(facts.folder, std::filesystem::absolute(folder_.path()).string()) << "where it will lie";
  EXPECT_EQ(facts.trouble, "");
  EXPECT_EQ(facts.syncs_ns.size(), 12u);
  EXPECT_GT(facts.free_bytes, 0u);
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
    EXPECT_EQ(entry.path().filename(), "cluster");
  const DiskFacts none = look_at_disk("/proc");
  EXPECT_NE(none.trouble, "") << "nothing can be written there";
}

TEST(Doctor, WhatABoundCosts) {
  struct Case {
    const char* why;
    Nanos bound, trip;
    bool held;
    Nanos interval;
    std::int64_t spare;
  };
  constexpr Nanos kMs = kMillisecond;
  const Case cases[] = {
      {"a third of what the round trip leaves", 500 * kMs, 20 * kMs, true, 160 * kMs, 2},
      {"never more often than each 20 ms", 50 * kMs, kMs, true, 20 * kMs, 1},
      {"probes come too seldom for it", 50 * kMs, 40 * kMs, false, 20 * kMs, 0},
      {"older than that when it arrives", 50 * kMs, 80 * kMs, false, 20 * kMs, 0},
      {"a bound of nothing", 0, kMs, false, 20 * kMs, 0},
      {"never rarer than the lease is renewed", 600 * kSecond, kMs, true, 15 * kSecond, 38},
  };
  for (const Case& c : cases) {
    const BoundCost cost = cost_of_bound(c.bound, c.trip);
    EXPECT_EQ(cost.held, c.held) << c.why;
    EXPECT_EQ(cost.interval_ns, c.interval) << c.why;
    EXPECT_EQ(cost.spare, c.spare) << c.why;
  }
  // 200 ms over 5 ms: 1,329,230 probes a day; with all that is around them some 500 bytes each.
  const std::uint64_t a_day = cost_of_bound(200 * kMs, 5 * kMs).bytes_a_day;
  EXPECT_GT(a_day, 1'329'230u * 450);
  EXPECT_LT(a_day, 1'329'230u * 600);

  EXPECT_EQ(cost_of_bound(kForever, kMs, kSecond).interval_ns, kSecond) << "a short lease is renewed more often";

  EXPECT_EQ(exit_code_of(judge_bounds(100 * kMs, {})), 0) << "nobody promised 50 ms here";
  const Findings promised = judge_bounds(100 * kMs, {{"feature:", 90 * kMs}, {"map:", 110 * kMs}, {"off:", 0}});
  EXPECT_EQ(exit_code_of(promised), 1);
  EXPECT_TRUE(holds(bad(promised), "broken 'feature:' as configured, 90.0 ms: not held from memory")) << bad(promised);
  EXPECT_TRUE(holds(bad(promised), "note 'map:' as configured")) << "a reader can wait for it: " << bad(promised);
}

TEST_F(DoctorFolder, Memory) {
  DoctorPlan plan;
  plan.place.run_dir = at("run");
  plan.arena_bytes = 1u << 20;
  EdgeAnswer answer;
  answer.session_open = true;
  answer.hub = "hub-1";
  const auto looked = [&](const std::optional<EdgeAnswer>& said) { return look_at_memory(folder_.path(), plan, said); };

  EXPECT_EQ(exit_code_of(looked(std::nullopt)), 0) << "an edge that was never started is no fault";
  EXPECT_TRUE(holds(bad(looked(std::nullopt)), "note run_dir " + at("run")));
  plan.edge_must_run = true;
  EXPECT_EQ(exit_code_of(looked(std::nullopt)), 2) << "but it cannot be looked at";
  std::filesystem::create_directory(at("run"));
  EXPECT_EQ(exit_code_of(looked(std::nullopt)), 2);
  plan.arena_bytes = std::size_t{1} << 60;
  EXPECT_TRUE(holds(bad(looked(std::nullopt)), "page and arena need")) << bad(looked(std::nullopt));
  write(at("run/page"), "no page");
  EXPECT_EQ(exit_code_of(looked(answer)), 1) << bad(looked(answer));

  {
    auto arena = ArenaWriter::create({at("run/arena"), Boot{5}, kArenaBytesMin});
    ASSERT_TRUE(arena) << arena.error().message;
    PageOptions options;
    options.path = at("run/page");
    options.edge_boot = Boot{5};
    auto page = PageWriter::create(options);
    ASSERT_TRUE(page) << page.error().message;
    page->publish_fresh_at(ElapsedClock().now());
    page->set_breaker(namespace_number(default_namespaces(), "model:m:current@default"), Breaker::kOpen);  // M10
    EXPECT_EQ(exit_code_of(looked(answer)), 0) << "to refuse is no broken promise";
    EXPECT_TRUE(holds(bad(looked(answer)), "note the breaker of 'model:' is open: apps' frames are refused"))
        << bad(looked(answer));
    page->set_breaker(namespace_number(default_namespaces(), "model:m:current@default"), Breaker::kClosed);
  }
  const Findings alive = looked(answer);
  EXPECT_EQ(exit_code_of(alive), 0) << bad(alive);
  EXPECT_TRUE(holds(alive.back().what, "page and arena are mapped and alive: session with hub-1, newest proof "))
      << alive.back().what;
  EXPECT_EQ(exit_code_of(looked(std::nullopt)), 2) << "mapped, and nobody answers";
  answer.session_open = false;
  EXPECT_TRUE(holds(bad(looked(answer)), "broken page and arena are mapped; the edge has no session"));
  ASSERT_TRUE(ArenaWriter::create({at("run/arena"), Boot{6}, kArenaBytesMin}));
  EXPECT_TRUE(holds(bad(looked(answer)), "broken " + at("run/arena") + " is not of the edge that wrote the page"));
  ASSERT_TRUE(PageWriter::revoke(at("run/page")));
  EXPECT_TRUE(holds(bad(looked(answer)), "the page was replaced just now"));
  EXPECT_TRUE(holds(bad(look_at_memory(at("no"), plan, answer)), "note " + at("no") + ": No such file"));
}

TEST_F(DoctorFolder, AConfigurationIsKnownByItsKeys) {
  const auto edge = plan_of_config(edge_toml_);
  ASSERT_TRUE(edge) << edge.error().message;
  EXPECT_EQ(edge->identity, edge_);
  EXPECT_FALSE(edge->place.run_dir.empty() || edge->data_dir.empty());
  EXPECT_EQ(edge->hubs.size(), 1u);
  const auto hub = plan_of_config(cluster_ + "/hub-1/hub.toml");
  ASSERT_TRUE(hub) << hub.error().message;
  EXPECT_EQ(hub->identity, (PeerIdentity{NodeRole::kHub, "hub-1"}));
  EXPECT_TRUE(hub->place.run_dir.empty());
  const auto client = plan_of_config(cluster_ + "/client.toml");
  ASSERT_TRUE(client) << client.error().message;
  EXPECT_FALSE(client->identity || !client->data_dir.empty() || !client->tls);
  write(at("broken.toml"), "  run_dir = \"x\"\nid = 5\n");
  const auto broken = plan_of_config(at("broken.toml"));
  ASSERT_FALSE(broken);
  EXPECT_TRUE(holds(broken.error().message, "id = 5: must be a string")) << broken.error().message;
  EXPECT_FALSE(plan_of_config(at("none.toml")));
}

TEST_F(DoctorFolder, OfTheCommandLine) {
  const Ran nowhere = run({"doctor"});
  EXPECT_EQ(nowhere.code, 2);
  EXPECT_TRUE(holds(nowhere.err, "give --config FILE")) << nowhere.err;
  EXPECT_EQ(run({"doctor", "--config", at("none.toml")}).code, 2);
  const Ran absent = run({"--json", "doctor", "--run-dir", at("no")});
  EXPECT_EQ(absent.code, 2) << absent.out;
  EXPECT_TRUE(holds(absent.out, "no edge at unix:" + at("no"))) << absent.out;

  auto settings = read_edge_config(edge_toml_);
  ASSERT_TRUE(settings);
  settings->edge.arena_bytes = 4u << 20;
  const auto edge = Edge::start(settings->edge);
  ASSERT_TRUE(edge) << edge.error().message;
  const Ran alone = run({"--json", "doctor", "--config", edge_toml_});
  EXPECT_EQ(alone.code, 1) << alone.out;
  const Json json = alone.json();
  ASSERT_TRUE(json.is_object()) << alone.out;
  EXPECT_EQ(json["ok"], false);
  std::set<std::string> broken, seen;
  for (const Json& one : json["findings"]) {
    seen.insert(one["check"]);
    if (one["health"] == "broken") broken.insert(one["check"]);
  }
  EXPECT_EQ(seen, (std::set<std::string>{"clock", "memory", "limits", "io", "certificates", "hubs", "disk", "bounds"}))
      << json;
  EXPECT_TRUE(broken.contains("memory") && broken.contains("hubs")) << json;
  EXPECT_FALSE(broken.contains("certificates")) << json;
}

TEST_F(DoctorFolder, AnEdgeThatIsNoneIsNotBelieved) {
  ScriptedEdge odd;
  odd.answer("TL.INFO", "+nonsense\r\n");
  odd.answer("INFO", "+nonsense\r\n");
  const Ran ran = run({"doctor", "--run-dir", odd.run_dir()});
  EXPECT_EQ(ran.code, 2) << ran.out;
  EXPECT_TRUE(holds(ran.out, "the answer to TL.INFO is not that of an edge")) << ran.out;
  odd.answer(
      "TL.INFO",
      "+{\"edge\":\"e\",\"clock_fault\":true,\"namespaces\":[5,{\"consistency\":\"bounded\",\"prefix\":7}]}\r\n");
  const Ran fault = run({"doctor", "--run-dir", odd.run_dir()});
  EXPECT_EQ(fault.code, 1) << fault.out;
  EXPECT_TRUE(holds(fault.out, "BROKEN   clock")) << fault.out;
}

}  // namespace
}  // namespace tidelock
