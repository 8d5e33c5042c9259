// The command line inside the test: what it refuses, with which code, and that the words name what was given and what
// would be right. Nobody listens where the configuration of the fixture points to, unless a test says so.

#include "cli/cli.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/failing_call_fixture.h"
#include "cli/common.h"
#include "cli/config.h"
#include "cli/dev.h"
#include "cli/run_fixture.h"
#include "codec/archive.h"
#include "hub/restore.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

Json answer(std::vector<std::string> words) {
  words.insert(words.begin(), "--json");
  const Ran ran = run(words);
  EXPECT_EQ(ran.err, "") << words.back();
  const Json json = Json::parse(ran.out, nullptr, false);
  if (!json.is_object()) return {{"ok", nullptr}, {"code", ""}, {"message", "no JSON: " + ran.out}};
  EXPECT_EQ(ran.code, json["ok"] == true ? 0 : 1) << ran.out;
  return json;
}
void refused(const Json& said, const std::string& code, const std::string& part, const std::string& why) {
  EXPECT_EQ(said["ok"], false) << why << ": " << said;
  EXPECT_EQ(said["code"], code) << why << ": " << said;
  EXPECT_NE(said["message"].get<std::string>().find(part), std::string::npos) << why << ": " << said;
}

// Answers as a hub that leads, and gives `bytes` for a backup; `at_end` runs when they have been sent.
class Played : public NodeService {
 public:
  void on_session_open(SessionPtr) override {}
  void on_session_frame(SessionId, Bytes) override {}
  void on_session_closed(SessionId, const std::string&) override {}
  void on_raft_frame(const NodeId&, Bytes) override {}
  void on_call(const PeerIdentity&, Bytes, Reply reply) override {
    AdminAnswer said;
    said.active = true;
    said.value = encode(HubsView{});
    reply(encode(said));
  }
  Result<ChunkSource> on_download(const PeerIdentity&, Bytes) override {
    return ChunkSource([this, sent = false]() mutable -> Result<std::optional<Bytes>> {
      if (!std::exchange(sent, true)) return std::optional<Bytes>(bytes);
      at_end();
      return std::optional<Bytes>{};
    });
  }
  Result<std::unique_ptr<UploadConsumer>> on_upload(const PeerIdentity&, Bytes) override {
    return fail(Code::kInvalid, "no uploads here");
  }
  void on_refused(const std::string&, const std::string&) override {}

  Bytes bytes;  // set, as what follows, before the server starts
  std::function<void()> at_end = [] {};
};

class CliTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto made = make_dev_cluster({cluster_, 1, 1, 1});
    ASSERT_TRUE(made) << made.error().message;
  }
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(at(name), std::ios::binary) << text;
    return at(name);
  }
  Json as_operator(std::vector<std::string> words) const {
    words.insert(words.begin(), {"--config", client_});
    return answer(std::move(words));
  }
  std::unique_ptr<Hub> start_hub() const {
    const auto settings = read_hub_config(hub_);
    EXPECT_TRUE(settings) << settings.error().message;
    auto hub = Hub::start(settings->hub);
    EXPECT_TRUE(hub) << hub.error().message;
    return hub ? std::move(*hub) : nullptr;
  }
  // From now on as_operator asks it.
  std::unique_ptr<NodeServer> play(Played& hub) {
    NodeServerOptions options;
    const std::string tls = cluster_ + "/hub-1/tls/";
    options.tls = {tls + "ca.pem", tls + "cert.pem", tls + "key.pem"};
    auto server = NodeServer::start(options, hub);
    EXPECT_TRUE(server) << server.error().message;
    const std::string own = cluster_ + "/client/tls/";
    client_ =
        write("played.toml", "hubs = [\"hub-1=" + (*server)->address() + "\"]\n[tls]\nca = \"" + own +
                                 "ca.pem\"\ncertificate = \"" + own + "cert.pem\"\nkey = \"" + own + "key.pem\"\n");
    return std::move(*server);
  }

  const TestFolder folder_;
  const std::string cluster_ = at("cluster"), hub_ = cluster_ + "/hub-1/hub.toml";
  std::string client_ = cluster_ + "/client.toml";
};

TEST_F(CliTest, WhatIsRefusedIsNamedWithWhatWouldBeRight) {
  const std::string file = write("file", ""), fresh = at("fresh");
  const std::string odd_log = write("odd-log.toml", *read_file(hub_) + "[log]\nformat = \"xml\"\n");
  struct Case {
    const char* why;
    std::vector<std::string> words;
    const char* code;
    std::string says;
  };
  const Case cases[] = {
      {"no configuration", {"status"}, "invalid", "give --config client.toml"},
      {"a hub without its file", {"hub"}, "invalid", "tidelock hub needs --config FILE"},
      {"an edge without its file", {"edge"}, "invalid", "tidelock edge needs --config FILE"},
      {"a log of no known kind",
       {"hub", "--config", odd_log},
       "invalid",
       "log.format = \"xml\": must be auto, json or text"},
      {"a path that is not UTF-8", {"status", "--config", fresh + "\xFF"}, "invalid", fresh + "\xEF\xBF\xBD:"},
      {"two hubs", {"dev", "init", "--dir", fresh, "--hubs", "2"}, "invalid", "--hubs 2: must be 1, 3 or 5"},
      {"many edges", {"dev", "init", "--dir", fresh, "--edges", "1001"}, "invalid", "--edges 1001: must be 0 to 1000"},
      {"no site", {"dev", "init", "--dir", fresh, "--sites", "0"}, "invalid", "--sites 0: must be 1 to 1000"},
      {"a second cluster in one folder",
       {"dev", "init", "--dir", cluster_},
       "conflict",
       cluster_ + " holds a cluster already; remove it or choose another --dir"},
      {"a first hub where one is",
       {"hub", "init", "--dir", cluster_},
       "conflict",
       cluster_ + " holds a cluster already; choose another --dir"},
      {"a folder below a file", {"hub", "init", "--dir", file + "/x"}, "invalid", file + "/x: Not a directory"},
      {"no name of a hub", {"hub", "init", "--dir", fresh, "--id", "Hub 1"}, "invalid", "--id: node id \"Hub 1\""},
      {"a token that is over at once",
       {"hub", "token", "--tokens", fresh, "--minutes", "0"},
       "invalid",
       "--minutes 0: must be 1 to 10080"},
      {"tokens where no hub looks",
       {"hub", "token", "--tokens", fresh + "/tokens"},
       "invalid",
       fresh + "/tokens: cannot be written; run this on the hub"},
  };
  for (const Case& c : cases) refused(answer(c.words), c.code, c.says, c.why);
  EXPECT_FALSE(fs::exists(fresh)) << "a refusal leaves nothing behind";
}

TEST_F(CliTest, WhatNeedsAHubSaysWhatIsMissing) {
  const std::string there = write("there", "a backup of yesterday");
  fs::create_directory(at("release"));
  write("release/model.onnx", "model");
  const std::string key = cluster_ + "/model-key.pem";
  struct Case {
    const char* why;
    std::vector<std::string> words;
    const char* code;
    std::string says;
  };
  const Case cases[] = {
      {"a hub without an address", {"hub", "add", "hub-4"}, "invalid", "'hub-4': must be ID=HOST:PORT, for example"},
      {"a hub without a port", {"hub", "add", "hub-4=h"}, "invalid", "'hub-4=h': must be ID=HOST:PORT, for example"},
      {"a hub without an id", {"hub", "replace", "hub-1", "=h:1"}, "invalid", "'=h:1': must be ID=HOST:PORT"},
      {"over another backup", {"backup", "--out", there}, "conflict", there + " exists; a backup overwrites nothing"},
      {"into no folder", {"backup", "--out", at("no/backup")}, "invalid", at("no/backup.part") + ": cannot be written"},
      {"of no hub", {"backup", "--out", at("backup")}, "unavailable", "127.0.0.1:"},
      {"to no hub",
       {"model", "publish", at("release"), "--name", "detector", "--version", "1.0.0", "--key", key},
       "unavailable",
       "model.onnx reached 0 of 1 hubs, a majority is needed; hub-1: 127.0.0.1:"},
      {"a tolerance that is none",
       {"model", "publish", at("release"), "--name", "detector", "--version", "1.0.0", "--key", key, "--tolerance",
        "1%"},
       "invalid",
       "--tolerance: tolerance '1%': give 0.000001 to 1, in steps of 0.000001"},
      {"a tolerance of no golden case",
       {"model", "publish", at("release"), "--name", "detector", "--version", "1.0.0", "--key", key, "--tolerance",
        "0.01"},
       "invalid",
       "a tolerance is given and no golden case"},
  };
  for (const Case& c : cases) refused(as_operator(c.words), c.code, c.says, c.why);
  EXPECT_EQ(*read_file(there), "a backup of yesterday");
  EXPECT_FALSE(fs::exists(at("backup")) || fs::exists(at("backup.part"))) << "what is not whole is not left there";
}

TEST_F(CliTest, AReleaseWithoutAGoldenCaseIsSignedWithAWarning) {  // M4
  fs::create_directory(at("release"));
  write("release/model.onnx", "model");
  const std::vector<std::string> words{"model",  "sign",      at("release"),
                                       "--name", "detector",  "--version",
                                       "1.0.0",  "--key",     cluster_ + "/model-key.pem",
                                       "--out",  at("upload")};
  const auto with = [&](const char* word) {
    std::vector<std::string> all{word};
    all.insert(all.end(), words.begin(), words.end());
    return run(all);
  };
  const std::string part = "detector 1.0.0 has no golden case";
  const Ran said = run(words);
  EXPECT_EQ(said.code, 0) << said.err;
  EXPECT_NE(said.err.find("tidelock: warning: " + part), std::string::npos) << said.err;
  const Ran machine = with("--json");
  EXPECT_EQ(machine.err, "") << "one place for it";
  EXPECT_NE(machine.json().value("warning", "").find(part), std::string::npos) << machine.out;
  EXPECT_EQ(machine.json()["golden_cases"], 0);

  fs::create_directories(at("release/golden/a"));
  write("release/golden/a/input.x.1.f32", "abcd");
  write("release/golden/a/output.y.1.f32", "abcd");
  EXPECT_EQ(run(words).err, "");
  const Json good = with("--json").json();
  EXPECT_FALSE(good.contains("warning")) << good;
  EXPECT_EQ(good["golden_cases"], 1);
}

TEST_F(CliTest, PeopleReadWhatIsWrongAndThenTheNextStep) {
  const Ran ran = run({"hub"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.out, "");
  EXPECT_EQ(ran.err, "tidelock: tidelock hub needs --config FILE\n  `tidelock hub init --dir DIR` makes one\n");
}

TEST_F(CliTest, AnAnswerThatIsNotUtf8IsAnErrorAndNoCrash) {
  refused(answer({"dev", "init", "--dir", at("odd\xFF"), "--hubs", "1", "--edges", "0"}), "invalid", "UTF-8",
          "JSON cannot hold this name");
}

TEST_F(CliTest, WithoutAFreePortNoClusterIsMade) {
  const int lowest = ::dup(1);
  ::close(lowest);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit tight{static_cast<rlim_t>(lowest + 2), before.rlim_max};  // room for two of the three ports
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  const Json said = answer({"dev", "init", "--dir", at("fresh"), "--hubs", "3"});
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  refused(said, "busy", "no free port on 127.0.0.1: Too many open files", "no more sockets");
  const Json again = answer({"dev", "init", "--dir", at("fresh"), "--hubs", "3"});
  EXPECT_EQ(again["ok"], true) << "the folder may be used again: " << again;
}

TEST_F(CliTest, AnOperatorKnowsOnlyTheHubsOfItsConfiguration) {
  const auto cluster = Operator::connect(*read_operator_config(client_), 1'000);
  ASSERT_TRUE(cluster) << cluster.error().message;
  const auto asked = (*cluster)->ask_one("hub-9", DescribeCluster{}, 1'000);
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.error().code, Code::kNotFound);
  EXPECT_EQ(asked.error().message, "no hub 'hub-9' in the configuration");
}

TEST_F(CliTest, WithoutChanceNoOperatorAsks) {  // two with one number would be taken for one, and a write be lost
  const auto config = read_operator_config(client_);
  ASSERT_TRUE(config) << config.error().message;
  const bool filtered = with_failing_call({SYS_getrandom, ENOSYS}, [&] {
    const auto cluster = Operator::connect(*config, 1'000);
    ASSERT_FALSE(cluster);
    EXPECT_EQ(cluster.error().code, Code::kUnavailable);
    EXPECT_EQ(cluster.error().message, "the system gave no random number");
  });
  if (!filtered) GTEST_SKIP() << "NOT TESTED: this kernel has no seccomp filters";
}

TEST_F(CliTest, ABackupForWhichThereIsNoRoomIsNotKept) {
  for (const std::size_t size : {std::size_t{10}, std::size_t{2} << 20}) {  // seen at the end, and at once
    Played hub;
    hub.bytes = Bytes(size, 'x');
    const auto server = play(hub);
    fs::create_symlink("/dev/full", at("backup.part"));
    refused(as_operator({"backup", "--out", at("backup")}), "busy",
            at("backup.part") + ": cannot be written; free some space", std::to_string(size) + " bytes");
    EXPECT_FALSE(fs::exists(at("backup")) || fs::is_symlink(at("backup.part")));
  }
}

TEST_F(CliTest, OfAHubThatRunsAndThenOfItsFolder) {
  auto hub = start_hub();
  ASSERT_TRUE(hub);
  refused(as_operator({"model", "status", "nobody"}), "not_found",
          "no model 'nobody'; `tidelock model list` shows what is published", "no such model");
  const Json made = as_operator({"backup", "--out", at("backup")});
  ASSERT_EQ(made["ok"], true) << made;
  hub.reset();
  refused(answer({"--config", hub_, "hub", "recover"}), "denied", "hub-1 holds everything up to index ",
          "nobody said that writes may be lost");
  refused(answer({"--config", hub_, "restore", at("backup")}), "conflict", "holds a ledger", "the folder is not empty");

  Played played;  // a folder comes under the backup's name while it is fetched
  played.bytes = *read_file(at("backup"));
  played.at_end = [&] { fs::create_directory(at("taken")); };
  const auto server = play(played);
  refused(as_operator({"backup", "--out", at("taken")}), "busy",
          at("taken") + ": Is a directory; the backup is in " + at("taken.part"), "the name is taken");
  EXPECT_EQ(*read_file(at("taken.part")), played.bytes) << "what was fetched is where the message says";
}

}  // namespace
}  // namespace tidelock
