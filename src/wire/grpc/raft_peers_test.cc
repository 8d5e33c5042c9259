#include "wire/grpc/transport_fixture.h"

namespace tidelock {
namespace {

using RaftPeersTest = TransportTest;

TEST_F(RaftPeersTest, RaftFramesArriveInOrderAndLinksComeBack) {
  EchoService service;
  auto server = serve(service, "hub-2");
  const int port = server->port();
  Watched watched;
  std::vector<bool> links;
  RaftPeersOptions options;
  options.tls = ca_->files(NodeRole::kHub, "hub-1");
  options.peers = {{"hub-2", server->address()}, {"hub-3", "127.0.0.1:1"}};
  auto peers = RaftPeers::start(std::move(options), [&](const NodeId& id, bool up, const std::string&) {
    if (id == "hub-2") watched.change([&] { links.push_back(up); });
  });
  ASSERT_TRUE(peers) << peers.error().message;
  ASSERT_TRUE(watched.wait([&] { return links == std::vector<bool>{true}; }));
  for (int i = 0; i < 1'000; ++i) EXPECT_TRUE((*peers)->send("hub-2", std::to_string(i)));
  ASSERT_TRUE(service.watched.wait([&] { return service.raft["hub-1"].size() == 1'000; }));
  for (int i = 0; i < 1'000; ++i) ASSERT_EQ(service.raft["hub-1"][static_cast<std::size_t>(i)], std::to_string(i));
  EXPECT_TRUE((*peers)->send("hub-3", "nobody there")) << "never blocks, never fails";
  EXPECT_FALSE((*peers)->send("hub-9", "unknown"));

  server.reset();
  ASSERT_TRUE(watched.wait([&] { return links == std::vector<bool>({true, false}); })) << "told once per outage";
  EXPECT_FALSE((*peers)->up("hub-2"));
  server = serve(service, "hub-2", 1u << 20, port);
  ASSERT_TRUE(watched.wait([&] { return links == std::vector<bool>({true, false, true}); }));
  EXPECT_TRUE((*peers)->send("hub-2", "again"));
  ASSERT_TRUE(service.watched.wait([&] { return service.raft["hub-1"].size() == 1'001; }));
}

TEST_F(RaftPeersTest, PeersComeGoAndMove) {
  EchoService second, third;
  const auto server_2 = serve(second, "hub-2");
  const auto server_3 = serve(third, "hub-3");
  Watched watched;
  std::map<NodeId, bool> up;
  RaftPeersOptions options;
  options.tls = ca_->files(NodeRole::kHub, "hub-1");
  options.peers = {{"hub-2", "127.0.0.1:1"}};
  auto peers = RaftPeers::start(std::move(options), [&](const NodeId& id, bool is_up, const std::string&) {
    watched.change([&] { up[id] = is_up; });
  });
  ASSERT_TRUE(peers) << peers.error().message;
  EXPECT_FALSE((*peers)->send("hub-3", "not one yet"));
  ASSERT_TRUE((*peers)->set_peers({{"hub-2", server_2->address()}, {"hub-3", server_3->address()}}));
  ASSERT_TRUE(watched.wait([&] { return up["hub-2"] && up["hub-3"]; })) << "one moved, one came";
  EXPECT_TRUE((*peers)->send("hub-3", "welcome"));
  ASSERT_TRUE(third.watched.wait([&] { return third.raft["hub-1"].size() == 1; }));
  EXPECT_FALSE((*peers)->set_peers({{"hub-2", "nowhere"}})) << "refused as a whole";
  EXPECT_TRUE((*peers)->up("hub-3"));
  ASSERT_TRUE((*peers)->set_peers({{"hub-2", server_2->address()}}));
  EXPECT_FALSE((*peers)->send("hub-3", "gone"));
  EXPECT_TRUE((*peers)->send("hub-2", "still here")) << "its stream was not touched";
  ASSERT_TRUE(second.watched.wait([&] { return second.raft["hub-1"].size() == 1; }));
}

TEST_F(RaftPeersTest, RaftStreamIsForHubsAndForTheRightOne) {
  EchoService service;
  const auto server = serve(service, "hub-2");
  struct Case {
    const char* why;
    TlsFiles tls;
    NodeId expected;
    const char* says;
  };
  const Case cases[] = {
      {"an edge", ca_->files(NodeRole::kEdge, "edge-1"), "hub-2", "edge.edge-1 may not open a Raft stream"},
      {"another hub at that address", ca_->files(NodeRole::kHub, "hub-1"), "hub-3", "certificate refused"}};
  for (const Case& c : cases) {
    Watched watched;
    std::optional<std::string> down;
    RaftPeersOptions options;
    options.tls = c.tls;
    options.peers = {{c.expected, server->address()}};
    const auto peers = RaftPeers::start(std::move(options), [&](const NodeId&, bool up, const std::string& why) {
      EXPECT_FALSE(up) << c.why;
      watched.change([&] { down = why; });
    });
    ASSERT_TRUE(peers) << c.why;
    ASSERT_TRUE(watched.wait([&] { return down.has_value(); })) << c.why;
    EXPECT_NE(down->find(c.says), std::string::npos) << c.why << ": " << *down;
  }
  EXPECT_TRUE(service.raft.empty());
}

TEST_F(RaftPeersTest, AReconnectWaitThatCannotBeIsNamed) {
  struct Case {
    int min_ms;
    int max_ms;
    const char* message;
  };
  const Case cases[] = {{0, 200, "reconnect_min_ms 0: want at least 1 and at most reconnect_max_ms, 200"},
                        {20, 10, "reconnect_min_ms 20: want at least 1 and at most reconnect_max_ms, 10"}};
  for (const Case& c : cases) {
    RaftPeersOptions options;
    options.tls = ca_->files(NodeRole::kHub, "hub-1");
    options.reconnect_min_ms = c.min_ms;
    options.reconnect_max_ms = c.max_ms;
    const auto refused = RaftPeers::start(std::move(options), {});
    ASSERT_FALSE(refused) << c.message;
    EXPECT_EQ(refused.error().code, Code::kInvalid);
    EXPECT_EQ(refused.error().message, c.message);
  }
}

TEST_F(RaftPeersTest, FullRaftQueueDropsTheOldest) {
  const Mute mute;  // the stream never opens, so everything waits
  RaftPeersOptions options;
  options.tls = ca_->files(NodeRole::kHub, "hub-1");
  options.peers = {{"hub-2", mute.address()}};
  options.queue_bytes = 100;
  const auto peers = RaftPeers::start(std::move(options), {});
  ASSERT_TRUE(peers);
  for (int i = 0; i < 1'000; ++i) EXPECT_TRUE((*peers)->send("hub-2", Bytes(10, 'x')));
  EXPECT_GE((*peers)->dropped(), 980u);
}

}  // namespace
}  // namespace tidelock
