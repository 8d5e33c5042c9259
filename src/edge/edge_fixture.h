// A real edge in a folder of its own, with no hub to be had, and a client of it.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/wall_clock.h"
#include "codec/certificate.h"
#include "edge/edge.h"
#include "edge/l2_store.h"
#include "edge/policies_row.h"
#include "store/kv/kv.h"
#include "store/models/files.h"
#include "wire/resp/client.h"

namespace tidelock {

class EdgeFixture : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = (std::filesystem::temp_directory_path() / "tidelock-edge-XXXXXX").string();
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    home_ = path;
    const auto now = static_cast<std::int64_t>(wall_ms_now() / 1000);
    const Validity validity{now - 3600, now + 3600};
    const auto ca = make_ca("test", validity);
    ASSERT_TRUE(ca);
    const auto pair = issue_certificate(*ca, {NodeRole::kEdge, "edge-1"}, {{"localhost"}, {"127.0.0.1"}}, validity);
    ASSERT_TRUE(pair);
    config_.id = "edge-1";
    config_.site = "site-1";
    config_.data_dir = home_ + "/data";
    config_.run_dir = home_ + "/run";
    config_.hubs = {{"hub-1", "127.0.0.1:1"}};  // nobody listens there
    config_.redis_address = "127.0.0.1:0";
    config_.http_address = "127.0.0.1:0";
    config_.tls = {home_ + "/ca.pem", home_ + "/cert.pem", home_ + "/key.pem"};
    config_.arena_bytes = 4u << 20;
    ASSERT_TRUE(files::replace(config_.tls.ca_file, ca->certificate_pem));
    ASSERT_TRUE(files::replace(config_.tls.certificate_file, pair->certificate_pem));
    ASSERT_TRUE(files::replace(config_.tls.key_file, pair->key_pem));
  }
  void TearDown() override {
    client_.reset();
    edge_.reset();
    std::filesystem::remove_all(home_);
  }

  // As an earlier run leaves its folder.
  void joined_before() const {
    std::filesystem::create_directories(config_.data_dir);
    auto kv = Kv::open(config_.data_dir + "/db", {kL2Family, kOutboxFamily, kMetaFamily});
    ASSERT_TRUE(kv);
    KvBatch batch;
    keep_policies(batch, {{}, default_namespaces()});
    ASSERT_TRUE((*kv)->commit(batch, Sync::kNone));
  }
  // A value as it lies in L2 after an earlier run: of any kind, an own write or a copy of what a hub has.
  void plant(const std::string& key, const Bytes& stored, bool local) const {
    std::filesystem::create_directories(config_.data_dir);
    auto kv = Kv::open(config_.data_dir + "/db", {kL2Family, kOutboxFamily, kMetaFamily});
    ASSERT_TRUE(kv);
    EdgeEntry entry;
    entry.version = Index{5};
    entry.value = stored;
    entry.local = local;
    KvBatch batch;
    batch.put(kL2Family, key, encode_l2_row(entry, {}));
    ASSERT_TRUE((*kv)->commit(batch, Sync::kNone));
  }
  void start() {
    client_.reset();
    edge_.reset();
    auto edge = Edge::start(config_);
    ASSERT_TRUE(edge) << edge.error().message;
    edge_ = std::move(*edge);
    auto client = RespClient::connect({.address = "unix:" + config_.run_dir + "/redis.sock", .protocol = 3});
    ASSERT_TRUE(client) << client.error().message;
    client_.emplace(std::move(*client));
  }
  RespValue ask(const std::vector<std::string>& command) {
    auto reply = client_->call(command, kPatience);
    EXPECT_TRUE(reply) << reply.error().message;
    return reply ? *reply : RespValue{};
  }
  std::string text(const std::vector<std::string>& command) { return to_text(ask(command)); }
  // Each command in turn, and what its answer must read like.
  struct Said {
    std::vector<std::string> command;
    std::string answer;
  };
  void expect(const std::vector<Said>& script) {
    for (const Said& said : script) {
      std::string line;
      for (const std::string& word : said.command) line += word.substr(0, 40) + " ";
      EXPECT_EQ(text(said.command), said.answer) << line;
    }
  }

  static constexpr Nanos kPatience = 20 * kSecond;
  std::string home_;
  EdgeConfig config_;
  std::unique_ptr<Edge> edge_;
  std::optional<RespClient> client_;
};

}  // namespace tidelock
