// The inference server is a stand-in: what Triton documents of its model repository and health APIs, over real HTTP and
// a real folder. The first test holds the stand-in against those documents, the others hold us against it. They are:
//   [R] "Model Repository Extension", docs/protocol/extension_model_repository.md of triton-inference-server/server at
//       commit 226759603e11ef2aa2255c0eb7f404951606f70d: POST v2/repository/index, .../load and .../unload
//   [P] "Predict Protocol - Version 2", docs/predict-api/v2/required_api.md of kserve/kserve at commit
//       00c994162ae1acdeca5738971f5aed08f3cdbbfc: GET v2/models/NAME/versions/VERSION/ready
//   [M] "Model Management", docs/user_guide/model_management.md of triton-inference-server/server at commit
//       017a76c505079419404df436aa0e77e0581418eb: control mode EXPLICIT
// [R] names no values of `state`; those here are the ones of [M] and of servers in the field: READY and UNAVAILABLE.
#include "edge/model_server.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/elapsed_clock.h"
#include "codec/signature.h"
#include "store/models/test_folder.h"
#include "wire/http/server_fixture.h"
#include "wire/http/web_client.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

class StandIn {
 public:
  explicit StandIn(std::string folder) : folder_(std::move(folder)) {}
  std::string url() const { return server_.url(); }

  // Of `name`, what is served; 0: nothing.
  std::uint64_t served(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto it = loaded_.find(name);
    return it == loaded_.end() ? 0 : it->second;
  }
  void restart() {  // in explicit mode: it comes back with nothing loaded
    const std::lock_guard lock(mutex_);
    loaded_.clear();
    unloaded_.clear();
  }
  void refuse(std::string why) {
    const std::lock_guard lock(mutex_);
    refusal_ = std::move(why);
  }
  std::size_t loads() const {
    const auto heads = server_.heads();
    return static_cast<std::size_t>(std::count_if(heads.begin(), heads.end(), [](const std::string& head) {
      return head.starts_with("POST /v2/repository/models/") && head.find("/load ") != std::string::npos;
    }));
  }

 private:
  static std::string json_error(const std::string& why) {
    return ScriptedServer::answer(400, "{\"error\":\"" + why + "\"}", "Content-Type: application/json\r\n");
  }
  // Latest 1, Triton's default version policy.
  std::uint64_t newest(const std::string& name) const {
    std::uint64_t highest = 0;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder_ + "/" + name, ignored)) {
      const std::string version = entry.path().filename().string();
      if (version.find_first_not_of("0123456789") == std::string::npos && fs::exists(entry.path() / "model.onnx")) {
        highest = std::max<std::uint64_t>(highest, std::stoull(version));
      }
    }
    return highest;
  }
  // [R] Every model of the repository, loaded or not; with `ready` only those that are. The version is optional.
  std::string index(bool only_ready) const {
    std::set<std::string> names;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder_, ignored)) names.insert(entry.path().filename().string());
    for (const auto& [name, version] : unloaded_) names.insert(name);
    std::string list;
    const auto add = [&](const std::string& name, std::uint64_t version, const char* state, const char* reason) {
      list += std::string(list.empty() ? "" : ",") + "{\"name\":\"" + name + "\"" +
              (version == 0 ? "" : ",\"version\":\"" + std::to_string(version) + "\"") + ",\"state\":\"" + state +
              "\",\"reason\":\"" + reason + "\"}";
    };
    for (const std::string& name : names) {
      const auto loaded = loaded_.find(name);
      const auto unloaded = unloaded_.find(name);
      if (loaded != loaded_.end()) {
        add(name, loaded->second, "READY", "");
      } else if (!only_ready) {
        const bool was_here = unloaded != unloaded_.end();
        add(name, was_here ? unloaded->second : 0, "UNAVAILABLE", was_here ? "unloaded" : "");
      }
    }
    return "[" + list + "]";
  }
  // [R] The body is required: a JSON object with an optional boolean.
  std::string answer_index(const std::string& body) const {
    const bool ready = body == "{\"ready\":true}";
    if (!ready && body != "{\"ready\":false}" && body != "{}")
      return json_error("failed to parse the request JSON buffer");
    return ScriptedServer::answer(200, index(ready), "Content-Type: application/json\r\n");
  }
  std::string answer(const std::string& head, const std::string& body) {
    const std::lock_guard lock(mutex_);
    const std::string method = head.substr(0, head.find(' '));
    const std::string path = head.substr(method.size() + 1, head.find(' ', method.size() + 1) - method.size() - 1);
    const auto between = [&](const std::string& before, const std::string& after) -> std::string {
      if (!path.starts_with(before) || !path.ends_with(after)) return {};
      return path.substr(before.size(), path.size() - before.size() - after.size());
    };
    if (method == "POST" && path == "/v2/repository/index") return answer_index(body);
    const std::string load = between("/v2/repository/models/", "/load");
    if (method == "POST" && !load.empty()) {
      if (!refusal_.empty()) return json_error(refusal_);
      const std::uint64_t version = newest(load);
      if (version == 0) return json_error("failed to load '" + load + "', failed to poll from model repository");
      loaded_[load] = version;
      unloaded_.erase(load);
      return ScriptedServer::answer(200, "");
    }
    const std::string unload = between("/v2/repository/models/", "/unload");
    if (method == "POST" && !unload.empty()) {
      if (const auto it = loaded_.find(unload); it != loaded_.end()) {
        unloaded_[unload] = it->second;
        loaded_.erase(it);
      }
      return ScriptedServer::answer(200, "");
    }
    const std::string ready = between("/v2/models/", "/ready");
    if (method == "GET" && !ready.empty()) {
      const std::size_t at = ready.find("/versions/");
      const auto it = loaded_.find(ready.substr(0, at));
      const bool there =
          it != loaded_.end() && (at == std::string::npos || ready.substr(at + 10) == std::to_string(it->second));
      return ScriptedServer::answer(there ? 200 : 400, "");
    }
    return ScriptedServer::answer(404, "");
  }

  const std::string folder_;
  mutable std::mutex mutex_;
  std::map<std::string, std::uint64_t> loaded_, unloaded_;  // and with which version
  std::string refusal_;
  ScriptedServer server_{
      [this](const std::string& head, const std::string& body) { return ScriptedServer::Plan{answer(head, body)}; }};
};

class ModelServerTest : public testing::Test {
 protected:
  std::string model_folder() const { return root_.path() + "/models"; }
  // A verified release on this gateway; its bytes are its version.
  void in_force(ModelServer& server, std::uint64_t index, const std::string& version, const std::string& name = "cam") {
    const std::string folder = root_.path() + "/room/" + name + "/" + version;
    fs::create_directories(folder);
    std::ofstream(folder + "/model.onnx") << version;
    Manifest manifest;
    manifest.name = name;
    manifest.version = version;
    manifest.files = {{"model.onnx", FileRole::kModel, version.size(), sha256(version)}};
    server.in_force(Index{index}, folder, manifest);
  }
  std::string laid_out(const std::string& name = "cam") const {
    std::set<std::uint64_t> versions;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(model_folder() + "/" + name, ignored)) {
      versions.insert(std::stoull(entry.path().filename().string()));
    }
    std::string text;
    for (const std::uint64_t version : versions) text += std::to_string(version) + " ";
    return text;
  }
  std::unique_ptr<ModelServer> open(const std::string& url, Nanos look_again_ns = 10 * kSecond) {
    auto server = ModelServer::open({model_folder(), url, 5'000, look_again_ns}, clock_, metrics_);
    EXPECT_TRUE(server) << server.error().message;
    return server ? std::move(*server) : nullptr;
  }
  bool has_metric(const std::string& line) const { return metrics_.expose().find(line) != std::string::npos; }

  TestFolder root_;
  ElapsedClock clock_;
  Metrics metrics_;
};

TEST_F(ModelServerTest, TheStandInAnswersAsDocumented) {
  fs::create_directories(model_folder() + "/mymodel/3");
  std::ofstream(model_folder() + "/mymodel/3/model.onnx") << "m";
  fs::create_directories(model_folder() + "/other/1");
  const StandIn triton(model_folder());
  WebClient web{WebOptions{}};
  const struct {
    const char* why;
    const char* method;
    const char* path;
    int status;
    const char* body;
    const char* sent = "";
  } documented[] = {
      {"[M] nothing is loaded at the start", "POST", "/v2/repository/index", 200, "[]", "{\"ready\":true}"},
      {"[R] and the index has all that could be", "POST", "/v2/repository/index", 200,
       "[{\"name\":\"mymodel\",\"state\":\"UNAVAILABLE\",\"reason\":\"\"},"
       "{\"name\":\"other\",\"state\":\"UNAVAILABLE\",\"reason\":\"\"}]",
       "{}"},
      {"[P] not ready", "GET", "/v2/models/mymodel/ready", 400, ""},
      {"[R] a load is answered by 200", "POST", "/v2/repository/models/mymodel/load", 200, ""},
      {"[P] the version policy serves the latest", "GET", "/v2/models/mymodel/versions/3/ready", 200, ""},
      {"[P] no other version", "GET", "/v2/models/mymodel/versions/2/ready", 400, ""},
      {"[R] the index names name, version, state and reason", "POST", "/v2/repository/index", 200,
       "[{\"name\":\"mymodel\",\"version\":\"3\",\"state\":\"READY\",\"reason\":\"\"}]", "{\"ready\":true}"},
      {"[R] `ready` is false by default", "POST", "/v2/repository/index", 200,
       "[{\"name\":\"mymodel\",\"version\":\"3\",\"state\":\"READY\",\"reason\":\"\"},"
       "{\"name\":\"other\",\"state\":\"UNAVAILABLE\",\"reason\":\"\"}]",
       "{\"ready\":false}"},
      {"[R] a failed index has an error in its body", "POST", "/v2/repository/index", 400,
       "{\"error\":\"failed to parse the request JSON buffer\"}", "ready"},
      {"[R] a failed load has an error in its body", "POST", "/v2/repository/models/none/load", 400,
       "{\"error\":\"failed to load 'none', failed to poll from model repository\"}"},
      {"[R] an unload is answered by 200", "POST", "/v2/repository/models/mymodel/unload", 200, ""},
      {"[P] and it is gone", "GET", "/v2/models/mymodel/ready", 400, ""},
      {"[R] and in the index still", "POST", "/v2/repository/index", 200,
       "[{\"name\":\"mymodel\",\"version\":\"3\",\"state\":\"UNAVAILABLE\",\"reason\":\"unloaded\"},"
       "{\"name\":\"other\",\"state\":\"UNAVAILABLE\",\"reason\":\"\"}]",
       "{}"},
      {"[R] unless only those that are ready are asked for", "POST", "/v2/repository/index", 200, "[]",
       "{\"ready\":true}"},
  };
  for (const auto& c : documented) {
    WebRequest request;
    request.method = c.method;
    request.url = triton.url() + c.path;
    request.body = c.sent;
    const auto answer = web.perform(request);
    ASSERT_TRUE(answer) << c.why << ": " << answer.error().message;
    EXPECT_EQ(answer->status, c.status) << c.why;
    EXPECT_EQ(answer->body, c.body) << c.why;
  }
}

TEST_F(ModelServerTest, WhatIsInForceIsServedAndARollbackIsAHigherVersion) {  // M11, S5
  StandIn triton(model_folder());
  auto server = open(triton.url());
  in_force(*server, 12, "1.0.0");
  ASSERT_TRUE(comes_up([&] { return has_metric("tidelock_model_server_index{model=\"cam\"} 12\n"); }));
  EXPECT_EQ(triton.served("cam"), 12u);
  in_force(*server, 20, "2.0.0");
  ASSERT_TRUE(comes_up([&] { return has_metric("tidelock_model_server_index{model=\"cam\"} 20\n"); }));
  EXPECT_EQ(laid_out(), "12 20 ");
  in_force(*server, 12, "1.0.0");  // told again, late
  in_force(*server, 31, "1.0.0");
  ASSERT_TRUE(comes_up([&] { return has_metric("tidelock_model_server_index{model=\"cam\"} 31\n"); }));
  EXPECT_EQ(triton.served("cam"), 31u);
  ASSERT_TRUE(comes_up([&] { return laid_out() == "20 31 "; })) << laid_out() << "the one before stays, no others";
  EXPECT_EQ(triton.loads(), 3u);

  server = open(triton.url());  // the edge starts anew: the server serves it already
  in_force(*server, 31, "1.0.0");
  in_force(*server, 40, "1.0.0", "other");
  ASSERT_TRUE(comes_up([&] { return has_metric("tidelock_model_server_index{model=\"other\"} 40\n"); }));
  EXPECT_EQ(triton.loads(), 4u) << "nothing is loaded twice";
}

TEST_F(ModelServerTest, WhatWasRecalledIsServedToNobody) {  // M7, M11
  StandIn triton(model_folder());
  const auto server = open(triton.url());
  server->recalled("cam", "0.9.0");  // before anything was in force
  in_force(*server, 12, "1.0.0");
  ASSERT_TRUE(comes_up([&] { return triton.served("cam") == 12; }));
  in_force(*server, 20, "2.0.0");
  ASSERT_TRUE(comes_up([&] { return triton.served("cam") == 20; }));
  ASSERT_TRUE(comes_up([&] { return laid_out() == "20 "; })) << laid_out() << "who recalls keeps nothing behind";
  server->recalled("cam", "2.0.0");
  ASSERT_TRUE(comes_up([&] { return triton.served("cam") == 0 && laid_out().empty(); })) << laid_out();
  in_force(*server, 25, "2.0.0");  // somebody who has not heard
  in_force(*server, 31, "1.0.0");
  ASSERT_TRUE(comes_up([&] { return triton.served("cam") == 31; }));
  EXPECT_EQ(laid_out(), "31 ");
}

TEST_F(ModelServerTest, AServerThatCannotLoadKeepsTheOneBeforeUntilItCan) {
  StandIn triton(model_folder());
  const auto server = open(triton.url());
  in_force(*server, 5, "1.0.0");
  ASSERT_TRUE(comes_up([&] { return triton.served("cam") == 5; }));
  triton.refuse("out of memory\\n on GPU 0");
  in_force(*server, 9, "2.0.0");
  ASSERT_TRUE(comes_up([&] { return triton.loads() >= 3; })) << "it is told again and again";
  EXPECT_EQ(triton.served("cam"), 5u);
  EXPECT_EQ(laid_out(), "5 9 ") << "what it serves is not taken away";
  EXPECT_FALSE(has_metric("tidelock_model_server_failures_total 0\n"));
  triton.refuse({});
  ASSERT_TRUE(comes_up([&] { return triton.served("cam") == 9; }));
}

TEST_F(ModelServerTest, AServerThatWasStartedAnewIsToldAgain) {
  StandIn triton(model_folder());
  const auto server = open(triton.url(), 20 * kMillisecond);
  in_force(*server, 5, "1.0.0");
  ASSERT_TRUE(comes_up([&] { return triton.served("cam") == 5; }));
  triton.restart();
  ASSERT_TRUE(comes_up([&] { return triton.served("cam") == 5; }));
  EXPECT_EQ(triton.loads(), 2u);
}

TEST_F(ModelServerTest, AServerThatIsNotThereIsToldWhenItComes) {
  const int port = free_port();
  const auto server = open("http://127.0.0.1:" + std::to_string(port));
  in_force(*server, 5, "1.0.0");
  ASSERT_TRUE(comes_up([&] { return !has_metric("tidelock_model_server_failures_total 0\n"); }));
  EXPECT_EQ(laid_out(), "5 ") << "the folder waits for it";
}

TEST_F(ModelServerTest, AFolderThatCannotBeIsAnError) {
  std::ofstream(model_folder()) << "a file in the way";
  const auto server = ModelServer::open({model_folder(), "", 5'000, kSecond}, clock_, metrics_);
  ASSERT_FALSE(server);
  EXPECT_NE(server.error().message.find(model_folder()), std::string::npos) << server.error().message;
}

TEST_F(ModelServerTest, WithoutAUrlTheFolderIsAllThatIsDone) {
  const auto server = open("");
  for (std::uint64_t index : {3u, 4u, 8u}) {
    in_force(*server, index, std::to_string(index) + ".0.0");
    ASSERT_TRUE(comes_up([&] { return laid_out().find(std::to_string(index)) != std::string::npos; }));
  }
  ASSERT_TRUE(comes_up([&] { return laid_out() == "4 8 "; })) << laid_out();
}

TEST(ModelServerSettingsCheck, NamesWhatIsWrong) {
  const struct {
    ModelServerSettings settings;
    const char* says;
  } cases[] = {
      {{"", "http://127.0.0.1:8000", 60'000, kSecond},
       "model_server.url = 'http://127.0.0.1:8000' without model_server.folder"},
      {{"models", "", 60'000, kSecond}, "model_server.folder = 'models': must be an absolute path"},
      {{"/m", "ftp://x", 60'000, kSecond}, "model_server.url"},
      {{"/m", "http://10.0.0.1:8000", 60'000, kSecond}, "model_server.url"},
      {{"/m", "", 1, kSecond}, "model_server.timeout_ms = 1: must be 100 to 3600000"},
  };
  for (const auto& c : cases) {
    const auto checked = check_model_server(c.settings);
    ASSERT_FALSE(checked) << c.says;
    EXPECT_NE(checked.error().message.find(c.says), std::string::npos) << checked.error().message;
  }
  EXPECT_TRUE(check_model_server({}));
}

}  // namespace
}  // namespace tidelock
