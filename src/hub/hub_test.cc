// Whole hubs inside the test, asked over real TLS: what a start refuses, and what is refused by whom one is. A wait
// ends with the answer that it asks for; its limit only turns a hang into a failure.

#include "hub/hub.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "codec/archive.h"
#include "hub/restore.h"
#include "protocol/admin.h"
#include "store/models/test_folder.h"
#include "wire/grpc/transport_fixture.h"

namespace tidelock {
namespace {

class HubTest : public testing::Test {
 protected:
  static const Authority& ca() {
    static const Authority made("test");
    return made;
  }
  // Once for each identity: a hub that runs reads its files again.
  const TlsFiles& papers(NodeRole role, const NodeId& id) {
    const std::string name = identity_name({role, id});
    const auto known = papers_.find(name);
    return known != papers_.end() ? known->second : papers_.emplace(name, ca().files(role, id)).first->second;
  }
  HubConfig config(const NodeId& id) {
    HubConfig config;
    config.id = id;
    config.data_dir = folder_.path() + "/" + id;
    config.grpc_address = config.http_address = "127.0.0.1:0";
    config.hubs = {{id, config.grpc_address}};
    config.tls = papers(NodeRole::kHub, id);
    config.seed.namespaces = default_namespaces();
    return config;
  }
  // On a port that was free a moment ago; should somebody have taken it meanwhile, on another one.
  std::unique_ptr<Hub> start(HubConfig& config) {
    for (int attempt = 0; attempt < 10; ++attempt) {
      config.grpc_address = Mute().address();
      config.hubs[config.id] = config.grpc_address;
      auto hub = Hub::start(config);
      if (hub) return std::move(*hub);
      EXPECT_EQ(hub.error().code, Code::kConflict) << hub.error().message;
    }
    ADD_FAILURE() << config.id << " found no port";
    return nullptr;
  }
  std::unique_ptr<NodeClient> client(const HubConfig& config, NodeRole role, const NodeId& id) {
    NodeClientOptions options;
    options.address = config.grpc_address;
    options.tls = papers(role, id);
    options.expected_hub = config.id;
    return std::move(*NodeClient::make(options));
  }
  // Asks as an operator, again and again until `good`.
  AdminAnswer ask_until(const HubConfig& config, const NodeCall& call, const std::function<bool(AdminAnswer&)>& good) {
    const auto asks = client(config, NodeRole::kClient, "operator");
    const ElapsedClock clock;
    const Nanos give_up = clock.now() + 20 * kSecond;
    std::string last;
    do {
      const auto raw = asks->call(encode(call), 10'000);
      if (auto answer = raw ? decode<AdminAnswer>(*raw, "answer") : Result<AdminAnswer>(fail(raw.error()))) {
        if (good(*answer)) return *answer;
        last = answer->message;
      } else {
        last = answer.error().message;
      }
    } while (clock.now() < give_up);
    ADD_FAILURE() << config.id << ": " << last;
    return {};
  }
  // It is active and its cluster is seeded: only then it can say that nobody wrote this key.
  void wait_active(const HubConfig& config) {
    ask_until(config, {AdminRequest{CommandId{7, 1}, ReadKey{"feature:x"}}},
              [](const AdminAnswer& answer) { return answer.code == Code::kNotFound; });
  }
  void wait_view(const HubConfig& config, const std::function<bool(const HubsView&)>& good) {
    ask_until(config, {HubsCall{}},
              [&](AdminAnswer& answer) { return answer.value && good(*decode<HubsView>(*answer.value, "hubs")); });
  }

  TestFolder folder_;
  std::map<std::string, TlsFiles> papers_;
};

TEST_F(HubTest, StartNamesTheKeyAndTheValueThatAreWrong) {
  struct Case {
    const char* why;
    std::function<void(HubConfig&)> change;
    std::string says;
  };
  const Case cases[] = {
      {"no port", [](HubConfig& c) { c.grpc_address = "nonsense"; }, "grpc = \"nonsense\": must be host:port"},
      {"no host", [](HubConfig& c) { c.grpc_address = ":7400"; }, "grpc = \":7400\": must be host:port"},
      {"nothing after the colon", [](HubConfig& c) { c.http_address = "h:"; }, "http = \"h:\": must be host:port"},
      {"no number", [](HubConfig& c) { c.http_address = "h:7x"; }, "http = \"h:7x\": must be host:port"},
      {"too large", [](HubConfig& c) { c.http_address = "h:70000"; }, "http = \"h:70000\": must be host:port"},
      {"not one of the hubs", [](HubConfig& c) { c.hubs = {{"hub-9", "127.0.0.1:1"}}; },
       "hubs does not name this hub (id = \"hub-1\")"},
  };
  for (const Case& c : cases) {
    HubConfig wrong = config("hub-1");
    c.change(wrong);
    const auto hub = Hub::start(wrong);
    ASSERT_FALSE(hub) << c.why;
    EXPECT_EQ(hub.error().code, Code::kInvalid) << c.why;
    EXPECT_NE(hub.error().message.find(c.says), std::string::npos) << c.why << ": " << hub.error().message;
  }
}

TEST_F(HubTest, SettingsOtherThanTheClustersAreAConflict) {  // A2
  HubConfig config = this->config("hub-1");
  auto hub = start(config);
  ASSERT_TRUE(hub);
  wait_active(config);
  hub.reset();
  ++config.seed.settings.rho_ppm;
  const auto again = Hub::start(config);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kConflict);
  EXPECT_NE(again.error().message.find("take [cluster] out of the configuration"), std::string::npos)
      << again.error().message;
  --config.seed.settings.rho_ppm;
  EXPECT_TRUE(start(config)) << "nothing was changed by the refusal";
}

TEST_F(HubTest, OnlyAnOperatorMayTakeABackup) {
  HubConfig config = this->config("hub-1");
  const auto hub = start(config);
  ASSERT_TRUE(hub);
  wait_active(config);
  Bytes bytes;
  const auto take = [&](NodeRole role, const NodeId& id) {
    return client(config, role, id)
        ->download(
            kBackupRequest,
            [&](Bytes chunk) -> Result<void> {
              bytes += chunk;
              return {};
            },
            20'000);
  };
  for (const NodeRole role : {NodeRole::kEdge, NodeRole::kHub}) {
    const auto taken = take(role, "other-1");
    ASSERT_FALSE(taken) << role_name(role);
    EXPECT_EQ(taken.error().code, Code::kDenied) << role_name(role);
    EXPECT_NE(taken.error().message.find("(role client) may take a backup"), std::string::npos)
        << taken.error().message;
  }
  EXPECT_TRUE(bytes.empty());
  const auto taken = take(NodeRole::kClient, "operator");
  ASSERT_TRUE(taken) << taken.error().message;
  const auto info = check_backup(ca().folder().write("backup", bytes));
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->header.hub, "hub-1");
}

TEST_F(HubTest, AHubThatCannotShareTheLedgerIsNotAdded) {
  HubConfig leader = config("hub-1");
  auto leads = start(leader);
  ASSERT_TRUE(leads);
  wait_active(leader);
  leads.reset();  // a ledger that is seeded when the hub becomes active is raised at once, not five seconds later
  leads = start(leader);
  ASSERT_TRUE(leads);
  wait_view(leader, [](const HubsView& view) { return view.ledger_version_now == kLedgerVersion; });
  struct Case {
    const char* why;
    NodeId id;
    bool joins;
    std::uint32_t ledger_version;
    std::string says;
  };
  const Case cases[] = {
      {"a build of yesterday", "hub-2", true, kLedgerVersion - 1,
       "hub-2 reads ledger versions up to " + std::to_string(kLedgerVersion - 1) + ", the ledger is at " +
           std::to_string(kLedgerVersion) + "; install a newer build there"},
      {"a cluster of its own", "hub-3", false, kLedgerVersion,
       "hub-3 holds a ledger of its own; stop it, empty its data_dir"},
  };
  for (const Case& c : cases) {
    HubConfig other = config(c.id);
    other.joins = c.joins;
    other.ledger_version = c.ledger_version;
    const auto hub = start(other);
    ASSERT_TRUE(hub) << c.why;
    wait_view(other, [&](const HubsView& view) { return c.joins || view.last_index.value > 0; });
    const AdminAnswer answer = ask_until(leader, {HubsCall{HubsCall::What::kAdd, c.id, other.grpc_address}},
                                         [](const AdminAnswer&) { return true; });
    EXPECT_EQ(answer.code, Code::kConflict) << c.why << ": " << answer.message;
    EXPECT_NE(answer.message.find(c.says), std::string::npos) << c.why << ": " << answer.message;
  }
  wait_view(leader, [](const HubsView& view) { return view.hubs.size() == 1; });
}

}  // namespace
}  // namespace tidelock
