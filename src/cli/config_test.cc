// Configuration files: what is read, and that every mistake is named by file, line, key, value and what would be right.

#include "cli/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace tidelock {
namespace {

class Folder {
 public:
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "tidelock-config-XXXXXX";
    path = ::mkdtemp(name.data());
  }
  ~Folder() {
    ::unlink(file().c_str());
    ::rmdir(path.c_str());
  }
  std::string file() const { return path + "/hub.toml"; }
  std::string write(const std::string& text) const {
    EXPECT_TRUE(write_file(file(), text, 0600).has_value());
    return file();
  }
  std::string path;
};

const std::string kGood =
    "id = \"hub-1\"\ndata_dir = \"/x\"\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\nhubs = "
    "[\"hub-1=127.0.0.1:1\"]\n"
    "[tls]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"\n";

TEST(Config, AHubsFileSeedsTheNamespacesOfAnEmptyCluster) {
  Folder folder;
  const auto plain = read_hub_config(folder.write(kGood));
  ASSERT_TRUE(plain.has_value()) << plain.error().message;
  EXPECT_EQ(plain->hub.seed.namespaces, default_namespaces());
  const auto more = read_hub_config(folder.write(
      kGood +
      "[[namespace]]\nprefix = \"limits:\"\nconsistency = \"strong\"\nscope = \"region\"\n"
      "write_mode = \"through\"\n[[namespace]]\nprefix = \"feature:\"\nconsistency = \"bounded\"\n"
      "bound_ms = 2000\nbound_floor_ms = 100\nscope = \"region\"\nwrite_mode = \"behind\"\nflush_age_ms = 500\n"));
  ASSERT_TRUE(more.has_value()) << more.error().message;
  EXPECT_EQ(more->hub.seed.namespaces.size(), default_namespaces().size() + 1);
  EXPECT_EQ(namespace_of(more->hub.seed.namespaces, "limits:speed").consistency, Consistency::kStrong);
  EXPECT_EQ(namespace_of(more->hub.seed.namespaces, "feature:x").bound_ns, 2 * kSecond);
  const auto stops = read_hub_config(folder.write(
      kGood +
      "[[namespace]]\nprefix = \"model:\"\nconsistency = \"strong\"\nscope = \"region\"\nwrite_mode = \"through\"\n"
      "on_stale = [\"wait\", \"fail\"]\n"));  // M6: a gateway that is cut off stops
  ASSERT_TRUE(stops.has_value()) << stops.error().message;
  EXPECT_EQ(namespace_of(stops->hub.seed.namespaces, "model:x").on_stale,
            (std::vector<OnStale>{OnStale::kWait, OnStale::kFail}));
  EXPECT_NE(print_config(*stops).find("\"on_stale\""), std::string::npos);
}

TEST(Config, AHubsFileSaysWhereModelsRest) {
  Folder folder;
  const auto plain = read_hub_config(folder.write(kGood));
  ASSERT_TRUE(plain.has_value()) << plain.error().message;
  EXPECT_FALSE(plain->hub.models.used);
  const auto s3 = read_hub_config(folder.write(
      kGood +
      "[models]\nstore = \"s3\"\nurl = \"https://s3.example/bucket\"\nprefix = \"fleet\"\nregion = \"eu-central-1\"\n"
      "credentials = \"file\"\ncredentials_file = \"/secret\"\nquota_mib = 512\n"));
  ASSERT_TRUE(s3.has_value()) << s3.error().message;
  EXPECT_TRUE(s3->hub.models.used);
  EXPECT_EQ(s3->hub.models.store.engine, ObjectEngine::kS3);
  EXPECT_EQ(s3->hub.models.store.credentials, CredentialKind::kFile);
  EXPECT_EQ(s3->hub.models.quota_bytes, 512u << 20);
  EXPECT_NE(print_config(*s3).find("\"url\": \"https://s3.example/bucket\""), std::string::npos) << print_config(*s3);
  const struct {
    const char* why;
    std::string text, says;
  } cases[] = {
      {"nowhere", "[models]\nstore = \"s3\"\n", ": [models] url is missing"},
      {"another kind", "[models]\nstore = \"gcs\"\n", ":11: models.store = \"gcs\": must be one of folder, s3, azure"},
      {"a file that is not named", "[models]\nurl = \"/x\"\ncredentials = \"file\"\n", "credentials_file belongs to"},
      {"a file that nobody reads", "[models]\nurl = \"/x\"\ncredentials_file = \"/y\"\n",
       "credentials_file belongs to"},
      {"a quota of originals", "[models]\nquota_mib = 5\n", "quota_mib bounds copies"},
  };
  for (const auto& c : cases) {
    const auto wrong = read_hub_config(folder.write(kGood + c.text));
    ASSERT_FALSE(wrong.has_value()) << c.why;
    EXPECT_NE(wrong.error().message.find(c.says), std::string::npos) << c.why << ": " << wrong.error().message;
  }
}

const std::string kGoodEdge =
    "id = \"edge-1\"\nsite = \"s\"\ndata_dir = \"/x\"\nrun_dir = \"/y\"\nhubs = [\"hub-1=127.0.0.1:1\"]\n"
    "[tls]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"\n";

TEST(Config, AnEdgesFileSaysWhereItsCopiesLie) {
  Folder folder;
  const auto plain = read_edge_config(folder.write(kGoodEdge));
  ASSERT_TRUE(plain.has_value()) << plain.error().message;
  EXPECT_EQ(plain->edge.l2.engine, L2Engine::kRocksDb);
  EXPECT_EQ(plain->edge.l2.bytes_max, 1u << 30);
  const auto redis = read_edge_config(
      folder.write(kGoodEdge + "[l2]\nengine = \"redis\"\naddress = \"unix:/r\"\npassword = \"p\"\ndeadline_us = 300\n"
                               "max_bytes = 2097152\n"));
  ASSERT_TRUE(redis.has_value()) << redis.error().message;
  EXPECT_EQ(redis->edge.l2.engine, L2Engine::kRedis);
  EXPECT_EQ(redis->edge.l2.address, "unix:/r");
  EXPECT_EQ(redis->edge.l2.deadline_ns, 300 * kMicrosecond);
  EXPECT_EQ(redis->edge.l2.bytes_max, 2u << 20);
  const std::string printed = print_config(*redis);
  EXPECT_EQ(printed.find("\"p\""), std::string::npos) << "a password is not printed";
  EXPECT_NE(printed.find("\"engine\": \"redis\""), std::string::npos);
  const struct {
    const char* why;
    const char* text;
    const char* says;
  } mistakes[] = {
      {"an engine that is not there", "[l2]\nengine = \"sqlite\"\n",
       ":11: l2.engine = \"sqlite\": must be one of rocksdb, redis, memcached"},
      {"a server that is nowhere", "[l2]\nengine = \"redis\"\n", "l2.address = \"\": must be where the cache server"},
      {"out of range", "[l2]\ndeadline_us = 1\n", "l2.deadline_us = 1: must be a whole number from 50 to 100000"},
      {"no number", "[l2]\nmax_bytes = \"1G\"\n", ":11: l2.max_bytes = \"1G\": must be a whole number from 1048576"},
  };
  for (const auto& c : mistakes) {
    const auto settings = read_edge_config(folder.write(kGoodEdge + c.text));
    ASSERT_FALSE(settings.has_value()) << c.why;
    EXPECT_NE(settings.error().message.find(c.says), std::string::npos) << c.why << ": " << settings.error().message;
  }
}

TEST(Config, AnEdgesFileSaysWhenFramesAreRefused) {  // M10
  Folder folder;
  const auto plain = read_edge_config(folder.write(kGoodEdge));
  ASSERT_TRUE(plain.has_value()) << plain.error().message;
  EXPECT_EQ(plain->edge.breaker, BreakerSettings{});
  const auto strict = read_edge_config(
      folder.write(kGoodEdge + "[breaker]\nwindow_ms = 2000\nframes_min = 5\nfailed_percent = 0\nlate_after_ms = 40\n"
                               "late_percent = 20\nopen_ms = 1000\nprobes = 3\n"));
  ASSERT_TRUE(strict.has_value()) << strict.error().message;
  EXPECT_EQ(strict->edge.breaker, (BreakerSettings{2 * kSecond, 5, 0, 40 * kMillisecond, 20, kSecond, 3}));
  EXPECT_TRUE(validate_breaker(strict->edge.breaker));
  EXPECT_NE(print_config(*strict).find("\"late_after_ms\": 40"), std::string::npos) << print_config(*strict);
  for (const char* wrong : {"window_ms = 999", "frames_min = 0", "failed_percent = 101", "late_after_ms = -1",
                            "late_percent = 101", "open_ms = 99", "probes = 0", "probe = 1"}) {
    EXPECT_FALSE(read_edge_config(folder.write(kGoodEdge + "[breaker]\n" + wrong + "\n"))) << wrong;
  }
}

TEST(Config, AnEdgesFileLimitsTheTransferOfModels) {  // M3
  Folder folder;
  const auto plain = read_edge_config(folder.write(kGoodEdge));
  ASSERT_TRUE(plain.has_value()) << plain.error().message;
  EXPECT_EQ(plain->edge.transfer, TransferLimits{}) << "unlimited, at all times";
  const auto limited = read_edge_config(folder.write(
      kGoodEdge +
      "[transfer]\nrate_bytes_per_s = 100000\ndaily_budget_bytes = 50_000_000\n"
      "monthly_budget_bytes = 1_000_000_000\nwindows = [\"22:00-06:00\", \"12:00-13:30\"]\nfull_fallback = false\n"
      "neighbours = false\nlisten = \"0.0.0.0:7430\"\naddress = \"10.0.0.7:7430\"\n"));
  ASSERT_TRUE(limited.has_value()) << limited.error().message;
  EXPECT_EQ(limited->edge.transfer, (TransferLimits{100'000, 50'000'000, 1'000'000'000, {{1'320, 360}, {720, 810}}}));
  EXPECT_NE(print_config(*limited).find("\"12:00-13:30\""), std::string::npos);
  EXPECT_TRUE(plain->edge.transfer_full_fallback);
  EXPECT_TRUE(plain->edge.site_neighbours);
  EXPECT_EQ(plain->edge.site_listen + plain->edge.site_address, "") << "it serves nobody";
  EXPECT_FALSE(limited->edge.transfer_full_fallback);
  EXPECT_FALSE(limited->edge.site_neighbours);
  EXPECT_EQ(limited->edge.site_listen, "0.0.0.0:7430");
  EXPECT_EQ(limited->edge.site_address, "10.0.0.7:7430");
  const struct {
    const char* why;
    const char* text;
    const char* says;
  } mistakes[] = {
      {"less than nothing", "daily_budget_bytes = -1",
       ":11: transfer.daily_budget_bytes = -1: must be a whole number from 0"},
      {"a unit", "rate_bytes_per_s = \"1M\"", ":11: transfer.rate_bytes_per_s = \"1M\": must be a whole number from 0"},
      {"half a number", "monthly_budget_bytes = 0.5",
       ":11: transfer.monthly_budget_bytes = 0.5: must be a whole number"},
      {"no list", "windows = \"22:00-06:00\"", ":11: transfer.windows = \"22:00-06:00\": must be a list of up to 16"},
      {"no time", "windows = [\"22-6\"]", ":11: transfer.windows = [ \"22-6\" ]: must be a list of up to 16"},
      {"never or always", "windows = [\"06:00-06:00\"]", "different times of the day, UTC, as in [\"22:00-06:00\"]"},
      {"no text", "windows = [7]", "transfer.windows = [ 7 ]: must be"},
      {"another key", "budget = 7", "unknown key 'transfer.budget' = 7"},
  };
  for (const auto& c : mistakes) {
    const auto settings = read_edge_config(folder.write(kGoodEdge + "[transfer]\n" + c.text + "\n"));
    ASSERT_FALSE(settings.has_value()) << c.why;
    EXPECT_NE(settings.error().message.find(c.says), std::string::npos) << c.why << ": " << settings.error().message;
  }
}

TEST(Config, TheDoorForTlsIsReadAndCheckedAsAWhole) {
  const Folder folder;
  const std::string door = "redis_tls = \"127.0.0.1:6380\"\n";
  const auto good = read_edge_config(
      folder.write(door + kGoodEdge + "[redis_door]\ncertificate = \"/c\"\nkey = \"/k\"\nclients = \"optional\"\n"));
  ASSERT_TRUE(good) << good.error().message;
  EXPECT_EQ(good->edge.redis_tls_address, "127.0.0.1:6380");
  EXPECT_EQ(good->edge.redis_tls.certificate_file, "/c");
  EXPECT_EQ(good->edge.redis_tls.clients, TlsClients::kOptional);
  EXPECT_NE(print_config(*good).find("\"clients\": \"optional\""), std::string::npos);
  const struct {
    const char* why;
    std::string text;
    const char* says;
  } mistakes[] = {
      {"no address", kGoodEdge + std::string("[redis_door]\nca = \"/ca\"\n"), "[redis_door] is for redis_tls"},
      {"half a pair", door + kGoodEdge + "[redis_door]\nkey = \"/k\"\n",
       "[redis_door]: certificate = \"\", key = \"/k\": give both or neither"},
      {"who is that", door + kGoodEdge + "[redis_door]\nclients = \"all\"\n",
       "redis_door.clients = \"all\": must be one of any, optional, certified"},
  };
  for (const auto& c : mistakes) {
    const auto settings = read_edge_config(folder.write(c.text));
    ASSERT_FALSE(settings.has_value()) << c.why;
    EXPECT_NE(settings.error().message.find(c.says), std::string::npos) << c.why << ": " << settings.error().message;
  }
}

TEST(Config, WhatTheRedisProtocolWaitsOnNeedsNoTls) {
  const Folder folder;
  EXPECT_EQ(read_edge_config(folder.write(kGoodEdge))->edge.redis_io, LoopBackEnd::kAuto);
  const auto chosen = read_edge_config(folder.write(kGoodEdge + std::string("[redis_door]\nio = \"epoll\"\n")));
  ASSERT_TRUE(chosen) << chosen.error().message;
  EXPECT_EQ(chosen->edge.redis_io, LoopBackEnd::kEpoll);
  EXPECT_NE(print_config(*chosen).find("\"io\": \"epoll\""), std::string::npos);
  const auto wrong = read_edge_config(folder.write(kGoodEdge + std::string("[redis_door]\nio = \"kqueue\"\n")));
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("redis_door.io = \"kqueue\": must be one of auto, epoll, io_uring"),
            std::string::npos)
      << wrong.error().message;
}

TEST(Config, MistakesAreNamedByLineKeyAndValue) {
  struct Case {
    const char* why;
    std::string text;
    const char* says;
  };
  const Case cases[] = {
      {"a missing key", "id = \"hub-1\"\n", "key 'data_dir' is missing; it must be a string"},
      {"a key that is not known", kGood + "grcp = 1\n", ":10: unknown key 'tls.grcp' = 1; known keys are"},
      {"a number for a string", "id = 7\n" + kGood.substr(kGood.find('\n') + 1), ":1: id = 7: must be a string"},
      {"not TOML", "id = \n", ":1: "},
      {"a letter outside of quotes", "# \u00fc\n'\u00fc' = \"\u00fc\"\n\u00fc = 1\n",
       ":3: Error while parsing root table: expected keys, tables, whitespace or comments, saw '` or a letter that is "
       "not ASCII'"},
      {"a key and a value of letters", kGood + "'\u00fc`' = '\u00e4`61'\n",
       ":10: unknown key 'tls.\u00fc`' = \"\u00e4`61\""},
      {"lists in lists", "id = [1, {a = inf, 'b c' = [[], {}]}, 1979-05-27]\n",
       ":1: id = [ 1, { a = inf, b c = [ [], {} ] }, 1979-05-27 ]: must be a string"},
      {"a long value", "id = ['" + std::string(1'000, 'x') + "']\n", "x...: must be a string"},
      {"what is not UTF-8", "# \xc3\xa4\n# \xc3\n", ":2: not UTF-8"},
      {"an escape that is not needed", "id = \"\\u006041\"\n", ": \\u0060: write ` itself"},
      {"half a letter before a digit",
       "id = '\xc9"
       "0\xa6'\n",
       ":1: not UTF-8"},
      {"letters behind what only looks like quotes", "hubs = [1\"\u0444]\n", ":1: Error while parsing"},
      {"what toml++ does not expect", "[#\n]\n", ": not TOML; look for a name that is missing"},
      {"a list without ids",
       kGood.substr(0, kGood.find("hubs")) + "hubs = [\"127.0.0.1:1\"]\n" + kGood.substr(kGood.find("[tls]")),
       ":5: hubs = [ \"127.0.0.1:1\" ]: must be a list like"},
      {"out of range", kGood + "[cluster]\nrho_ppm = 0\n",
       ":11: cluster.rho_ppm = 0: must be a whole number from 1 to 99999"},
      {"an unknown choice", kGood + "[[namespace]]\nprefix = \"a:\"\nconsistency = \"sometimes\"\n",
       ":12: consistency = \"sometimes\": must be one of eventual, bounded, strong"},
      {"a step that there is not", kGood + "[[namespace]]\nprefix = \"a:\"\non_stale = [\"wait\", \"hope\"]\n",
       ":12: on_stale = [ \"wait\", \"hope\" ]: must be a list of different ones of refresh, wait, fallback, fail"},
      {"a step twice", kGood + "[[namespace]]\nprefix = \"a:\"\non_stale = [\"wait\", \"wait\"]\n",
       ":12: on_stale = [ \"wait\", \"wait\" ]: must be a list of different"},
      {"no step at all", kGood + "[[namespace]]\nprefix = \"a:\"\non_stale = []\n", ":12: on_stale = []: must be"},
      {"a namespace that makes no sense", kGood + "[[namespace]]\nprefix = \"a:\"\nconsistency = \"strong\"\n",
       "namespace 'a:':"},
  };
  for (const Case& c : cases) {
    Folder folder;
    const auto settings = read_hub_config(folder.write(c.text));
    ASSERT_FALSE(settings.has_value()) << c.why;
    EXPECT_NE(settings.error().message.find(c.says), std::string::npos) << c.why << ": " << settings.error().message;
    EXPECT_TRUE(settings.error().message.starts_with(folder.file())) << c.why;
  }
  EXPECT_FALSE(read_hub_config("/nowhere/hub.toml").has_value());
}

TEST(Config, LettersOfAnyLanguageStandInQuotesAndComments) {
  const Folder folder;
  std::string text = "\xEF\xBB\xBF# \u00fcber\n" + kGood;
  text.replace(text.find("\"/x\""), 4, "\"/t\u00fcr\\\\\"  # \u00fc");
  const auto settings = read_hub_config(folder.write(text));
  ASSERT_TRUE(settings.has_value()) << settings.error().message;
  EXPECT_EQ(settings->hub.data_dir, "/t\u00fcr\\");
}

// ---- CONFIG REWRITE of an edge -------------------------------------------------------------------------------------

const std::string kEdge =
    "# of the gateway at the gate\nid = \"edge-1\"\nsite = \"s\"\ndata_dir = \"/x\"  # on flash\nrun_dir = "
    "\"/y\"\nhubs = [\"hub-1=127.0.0.1:1\"]\nrequirepass = \"secret\"\n\n[tls]\nca = \"a\"\ncertificate = "
    "\"b\"\nkey = \"c\"\n";
const std::string kUsers =
    "\n[users]  # who may what\n# the dashboard\nalice = \"on nopass +get\"   # Alice's\n\"b.c\" = \"off\"\ngone = "
    "'off'\n\n[config]\ntimeout = 5 # seconds\n# last words\n\n[log]\nlevel = \"warn\"\n";

TEST(Config, AnEdgesFileNamesUsersAndParameters) {
  Folder folder;
  const auto settings = read_edge_config(folder.write(kEdge + kUsers));
  ASSERT_TRUE(settings.has_value()) << settings.error().message;
  EXPECT_EQ(settings->edge.users, (std::vector<std::string>{"alice on nopass +get", "b.c off", "gone off"}));
  EXPECT_EQ(settings->edge.parameters, (std::vector<std::pair<std::string, std::string>>{{"timeout", "5"}}));
  EXPECT_EQ(print_config(*settings).find("nopass"), std::string::npos);  // rules may hold hashes
  struct Case {
    const char* text;
    const char* says;
  };
  const Case cases[] = {
      {"[users]\nalice = \"on +nope\"\n",
       ": [users]: user 'alice', rule '+nope': Unknown command or category name in ACL"},
      {"[users]\n\"a b\" = \"on\"\n", ": [users]: the name \"a b\" must have no blanks"},
      {"[users]\nalice = 1.5\n", ": users.alice = 1.5: must be a string, a whole number, true or false"},
      {"[config]\nx = [1]\n", ": config.x = [ 1 ]: must be a string, a whole number, true or false"},
      {"[[config]]\nx = 1\n", ": config must be written as [config] with up to 256 entries"},
  };
  for (const Case& c : cases) {
    const auto wrong = read_edge_config(folder.write(kEdge + c.text));
    ASSERT_FALSE(wrong.has_value()) << c.text;
    EXPECT_NE(wrong.error().message.find(c.says), std::string::npos) << wrong.error().message;
  }
}

TEST(Config, RewriteChangesItsLinesAndNoOthers) {
  struct Case {
    const char* why;
    std::string before;
    EdgeRedisSettings kept;
    std::string after;
  };
  const Case cases[] = {
      {"nothing to say, nothing changed", kEdge, {}, kEdge},
      {"values change, comments stay, who is gone goes, who is new comes last",
       kEdge + kUsers,
       {{{"slowlog-max-len", "7"}, {"timeout", "9"}}, {"alice off", "b.c off", "d\"e on ~\\*x"}},
       kEdge + "\n[users]  # who may what\n# the dashboard\nalice = \"off\"   # Alice's\n\"b.c\" = \"off\"\n"
               "\"d\\\"e\" = \"on ~\\\\*x\"\n\n[config]\ntimeout = \"9\" # seconds\n# last words\n"
               "slowlog-max-len = \"7\"\n\n[log]\nlevel = \"warn\"\n"},
      {"tables that are not there yet",
       kEdge,
       {{{"timeout", "9"}}, {"alice on"}},
       kEdge + "\n[config]  # kept by CONFIG REWRITE\ntimeout = \"9\"\n\n[users]  # kept by CONFIG REWRITE\n"
               "alice = \"on\"\n"},
  };
  for (const Case& c : cases) {
    Folder folder;
    const std::string path = folder.write(c.before);
    const auto written = rewrite_edge_config(path, c.kept);
    ASSERT_TRUE(written.has_value()) << c.why << ": " << written.error().message;
    EXPECT_EQ(*read_file(path), c.after) << c.why;
    EXPECT_FALSE(std::filesystem::exists(path + ".new")) << c.why;
    // What was read back says so again, and a second time changes nothing.
    ASSERT_TRUE(rewrite_edge_config(path, c.kept).has_value()) << c.why;
    EXPECT_EQ(*read_file(path), c.after) << c.why;
  }
}

TEST(Config, RewriteRefusesWhatItCannotEditSafely) {
  struct Case {
    const char* why;
    std::string before;
    EdgeRedisSettings kept;
  };
  const Case cases[] = {
      {"a value over several lines", kEdge + "[users]\nalice = \"\"\"on\n+get\"\"\"\n", {{}, {"alice off"}}},
      {"a dotted key in another place", kEdge + "[log]\nlevel = \"\"\"\n[users]\n\"\"\"\n", {{}, {"alice off"}}},
      {"a name that is no UTF-8", kEdge, {{}, {"\xff off"}}},
      {"not the file of an edge", "id = 1\n", {{}, {"alice off"}}},
  };
  for (const Case& c : cases) {
    Folder folder;
    const std::string path = folder.write(c.before);
    EXPECT_FALSE(rewrite_edge_config(path, c.kept).has_value()) << c.why;
    EXPECT_EQ(*read_file(path), c.before) << c.why;
    EXPECT_FALSE(std::filesystem::exists(path + ".new")) << c.why;
  }
  EXPECT_FALSE(rewrite_edge_config("/nowhere/edge.toml", {}).has_value());
}

}  // namespace
}  // namespace tidelock
