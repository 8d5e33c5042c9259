// Both sides of `join` over real HTTP: a token serves once, and each refusal says what to do.

#include "hub/join.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/wall_clock.h"
#include "codec/archive.h"
#include "hub/hub.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

class JoinTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto now_s = static_cast<std::int64_t>(wall_ms_now() / 1000);
    const auto ca = make_ca("test", {now_s - 3600, now_s + 3600});
    ASSERT_TRUE(ca);
    config_.tls.ca_file = write("ca.pem", ca->certificate_pem);
    config_.ca_key_file = write("ca-key.pem", ca->key_pem);
    token_ = *make_join_token(NodeRole::kEdge, "edge-7", now_s + 600);
    config_.join_tokens_file = write("tokens", token_text(token_) + "\n");
    auto server = HttpServer::listen(
        {}, {{"POST", "/join", [this](const HttpRequest& request) { return answer_join(config_, request); }}});
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }
  Result<Joined> join() { return join_cluster(server_->address(), token_text(token_), {NodeRole::kEdge, "edge-7"}); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_.path() + "/" + name, std::ios::binary) << text;
    return folder_.path() + "/" + name;
  }
  void refused(const std::string& says, const std::string& why) {
    const auto joined = join();
    ASSERT_FALSE(joined) << why;
    EXPECT_EQ(joined.error().code, Code::kDenied) << why;
    EXPECT_TRUE(joined.error().message.starts_with(server_->address() + " refused to enrol this node: ")) << why;
    EXPECT_NE(joined.error().message.find(says), std::string::npos) << why << ": " << joined.error().message;
  }

  TestFolder folder_;
  HubConfig config_;  // changed only between requests
  JoinToken token_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(JoinTest, ATokenServesOnce) {
  const auto joined = join();
  ASSERT_TRUE(joined) << joined.error().message;
  EXPECT_EQ(check_key_pair(joined->pair).value(), (PeerIdentity{NodeRole::kEdge, "edge-7"}));
  refused("the token is unknown or was used already", "the second time");
}

TEST_F(JoinTest, AHubThatCannotSignSaysSoAndKeepsTheToken) {
  const std::string key = config_.ca_key_file;
  config_.ca_key_file = "";
  refused("ask the hub that was set up with `hub init`", "it has no CA key");
  config_.ca_key_file = folder_.path() + "/absent.pem";
  refused("the CA's files cannot be read: " + config_.tls.ca_file + ", " + config_.ca_key_file, "the key is gone");
  config_.ca_key_file = key;
  const auto joined = join();
  EXPECT_TRUE(joined) << "mended, it takes the token that it refused: " << joined.error().message;
}

}  // namespace
}  // namespace tidelock
