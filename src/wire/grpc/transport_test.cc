#include "wire/grpc/transport.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "wire/grpc/transport_fixture.h"

namespace tidelock {
namespace {

TEST_F(TransportTest, SessionEchoesTenThousandFramesInOrder) {
  EchoService service;
  const auto server = serve(service);
  EdgeEnd edge;
  ASSERT_TRUE(edge.connect(server->address(), ca_->files(NodeRole::kEdge, "edge-3"), "hub-1"));
  constexpr std::size_t kFrames = 10'000;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < kFrames; ++i) {  // begins before the session is open: those frames wait
    const Bytes frame = std::to_string(i) + std::string(i % 200, '.');
    bytes += frame.size();
    ASSERT_TRUE(edge.client->send(frame));
  }
  ASSERT_TRUE(edge.watched.wait([&] { return edge.frames.size() == kFrames; }));
  for (std::size_t i = 0; i < kFrames; ++i) {
    ASSERT_EQ(edge.frames[i], std::to_string(i) + std::string(i % 200, '.')) << i;
  }
  EXPECT_EQ(edge.hub, (PeerIdentity{NodeRole::kHub, "hub-1"}));
  ASSERT_EQ(service.sessions.size(), 1u);
  const SessionPtr session = service.sessions.begin()->second;
  EXPECT_EQ(session->peer(), (PeerIdentity{NodeRole::kEdge, "edge-3"}));
  EXPECT_EQ(session->bytes_received(), bytes);
  EXPECT_EQ(edge.client->bytes_received(), bytes);
  edge.client.reset();
  ASSERT_TRUE(service.watched.wait([&] { return service.closed.size() == 1; }));
  EXPECT_EQ(session->send("too late").error().code, Code::kUnavailable);
  EXPECT_EQ(service.frames_after_close, 0u);
}

TEST_F(TransportTest, FrameOfFourMebibytesPassesAndOneByteMoreIsRefused) {
  EchoService service;
  const auto server = serve(service);
  EdgeEnd edge;
  ASSERT_TRUE(edge.connect(server->address(), ca_->files(NodeRole::kEdge, "edge-1")));
  ASSERT_TRUE(edge.client->send(Bytes(kFrameBytesMax, 'x')));
  ASSERT_TRUE(edge.watched.wait([&] { return edge.frames.size() == 1; }));
  EXPECT_EQ(edge.frames[0].size(), kFrameBytesMax);
  EXPECT_EQ(edge.client->send(Bytes(kFrameBytesMax + 1, 'x')).error().code, Code::kInvalid);
}

TEST_F(TransportTest, WrongPapersAreRefused) {
  EchoService service;
  const auto server = serve(service);
  struct Case {
    const char* why;
    TlsFiles tls;
    NodeId expected;
    Code code;
    const char* says;
  };
  const Case cases[] = {
      {"our CA does not know the edge's", other_->files_trusting(*ca_, NodeRole::kEdge, "edge-1"), "",
       Code::kUnavailable, "certificate refused"},
      {"the edge's CA does not know the hub's", ca_->files_trusting(*other_, NodeRole::kEdge, "edge-1"), "",
       Code::kUnavailable, "certificate refused"},
      {"the edge's certificate has expired", ca_->expired(NodeRole::kEdge, "edge-1"), "", Code::kUnavailable,
       "certificate refused"},
      {"another hub answers", ca_->files(NodeRole::kEdge, "edge-1"), "hub-2", Code::kUnavailable,
       "certificate refused"},
      {"a client is no edge", ca_->files(NodeRole::kClient, "alice"), "", Code::kDenied,
       "client.alice may not open a session"},
      {"a hub is no edge", ca_->files(NodeRole::kHub, "hub-2"), "", Code::kDenied, "hub.hub-2 may not open a session"}};
  for (const Case& c : cases) {
    EdgeEnd edge;
    ASSERT_TRUE(edge.connect(server->address(), c.tls, c.expected)) << c.why;
    const Error error = edge.wait_closed();
    EXPECT_EQ(error.code, c.code) << c.why << ": " << error.message;
    EXPECT_NE(error.message.find(c.says), std::string::npos) << c.why << ": " << error.message;
    EXPECT_FALSE(edge.open) << c.why;
  }
  EXPECT_TRUE(service.sessions.empty());
  EXPECT_EQ(service.refused.size(), 2u) << "those with good certificates and wrong roles are told to the shell";
}

// Our own classes always have a certificate, so TLS is spoken by hand. A client of TLS 1.3 believes the handshake is
// over before the server has judged it, so what counts is that not one byte of HTTP/2 comes back.
TEST_F(TransportTest, ClientWithoutACertificateIsRefused) {
  EchoService service;
  const auto server = serve(service);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(server->port()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  const unsigned char h2[] = "\x02h2";
  SSL_CTX_set_alpn_protos(context, h2, 3);
  SSL* tls = SSL_new(context);
  SSL_set_fd(tls, fd);
  char byte = 0;
  EXPECT_TRUE(SSL_connect(tls) != 1 || SSL_read(tls, &byte, 1) <= 0);
  ERR_clear_error();
  SSL_free(tls);
  SSL_CTX_free(context);
  ::close(fd);
  EXPECT_TRUE(service.sessions.empty());
  EXPECT_TRUE(wait_log("peer did not return a certificate"));
}

TEST_F(TransportTest, ServerOfAWrongRoleCannotStart) {
  EchoService service;
  NodeServerOptions options;
  options.tls = ca_->files(NodeRole::kEdge, "edge-1");
  const auto server = NodeServer::start(std::move(options), service);
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().code, Code::kInvalid);
  EXPECT_NE(server.error().message.find("only a hub serves"), std::string::npos);
}

TEST_F(TransportTest, BadTlsFilesAreNamed) {
  const TlsFiles good = ca_->files(NodeRole::kEdge, "edge-1");
  const TlsFiles hub = ca_->files(NodeRole::kHub, "hub-1");
  struct Case {
    const char* why;
    TlsFiles tls;
    std::string says;
  };
  const Case cases[] = {
      {"no such file", {"/nonexistent/ca.pem", good.certificate_file, good.key_file}, "/nonexistent/ca.pem"},
      {"a node's certificate is no CA", {good.certificate_file, good.certificate_file, good.key_file}, "CA file"},
      {"key of another", {good.ca_file, good.certificate_file, hub.key_file}, hub.key_file},
      {"not PEM", {good.ca_file, ca_->folder().write("x.pem", "nonsense"), good.key_file}, "x.pem"},
      {"a file that is no key at all",
       {good.ca_file, good.certificate_file, ca_->folder().write("large.key", std::string((64u << 10) + 1, 'x'))},
       "large.key\" is larger than 64 KiB"}};
  for (const Case& c : cases) {
    EdgeEnd edge;
    const auto made = edge.connect("127.0.0.1:1", c.tls);
    ASSERT_FALSE(made) << c.why;
    EXPECT_EQ(made.error().code, Code::kInvalid) << c.why;
    EXPECT_NE(made.error().message.find(c.says), std::string::npos) << c.why << ": " << made.error().message;
  }
}

TEST_F(TransportTest, PortInUseIsAConflictThatNamesTheAddress) {
  EchoService service;
  const auto server = serve(service);
  NodeServerOptions options;
  options.tls = ca_->files(NodeRole::kHub, "hub-2");
  options.port = server->port();
  const auto second = NodeServer::start(options, service);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
  EXPECT_NE(second.error().message.find(server->address()), std::string::npos) << second.error().message;

  options.host = "192.0.2.1";  // of a network that is nobody's
  const auto foreign = NodeServer::start(options, service);
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, Code::kInvalid) << foreign.error().message;
}

TEST_F(TransportTest, NobodyListeningIsSaidAtOnce) {
  int port = 0;
  {
    EchoService service;
    port = serve(service)->port();
  }
  const std::string address = "127.0.0.1:" + std::to_string(port);
  EdgeEnd edge;
  ASSERT_TRUE(edge.connect(address, ca_->files(NodeRole::kEdge, "edge-1")));
  const Error error = edge.wait_closed();
  EXPECT_EQ(error.code, Code::kUnavailable);
  EXPECT_NE(error.message.find(address), std::string::npos) << error.message;
  EXPECT_NE(error.message.find("onnection refused"), std::string::npos) << error.message;

  const auto answer = client(address)->call("x", 5'000);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kUnavailable) << answer.error().message;
  EXPECT_EQ(answer.error().message.find("certificate"), std::string::npos) << answer.error().message;
}

TEST_F(TransportTest, FullQueueClosesTheSession) {
  EchoService service;
  const auto server = serve(service, "hub-1", 1u << 20);
  EdgeEnd edge;
  Watched gate;
  bool may_read = false;
  bool reading = false;
  // The edge's first frame holds its reader up, so nothing more is taken off the wire.
  ASSERT_TRUE(edge.connect(server->address(), ca_->files(NodeRole::kEdge, "edge-1"), "", [&](const Bytes&) {
    gate.change([&] { reading = true; });
    EXPECT_TRUE(gate.wait([&] { return may_read; }));
  }));
  ASSERT_TRUE(edge.wait_open());
  ASSERT_TRUE(service.watched.wait([&] { return !service.sessions.empty(); }));
  const SessionPtr session = service.sessions.begin()->second;
  ASSERT_TRUE(session->send("first"));
  ASSERT_TRUE(gate.wait([&] { return reading; }));
  Result<void> sent;
  int frames = 0;
  while (sent && frames < 10'000) {
    sent = session->send(Bytes(64 << 10, 'x'));
    EXPECT_LE(session->queued_bytes(), 1u << 20);
    ++frames;
  }
  ASSERT_FALSE(sent) << "640 MB went into a queue of one";
  EXPECT_EQ(sent.error().code, Code::kBusy);
  EXPECT_EQ(session->send("x").error().code, Code::kUnavailable);
  EXPECT_EQ(session->queued_bytes(), 0u);
  ASSERT_TRUE(service.watched.wait([&] { return service.closed.size() == 1; }));
  EXPECT_EQ(service.closed.begin()->second, "outgoing queue full");
  gate.change([&] { may_read = true; });
  edge.wait_closed();
}

TEST_F(TransportTest, FullQueueOfAnEdgeClosesItsSession) {
  const Mute mute;  // the session never opens, so everything waits
  SessionClientOptions options;
  options.address = mute.address();
  options.connect_timeout_ms = 20'000;
  options.tls = ca_->files(NodeRole::kEdge, "edge-1");
  options.queue_bytes = 1'000;
  Watched watched;
  std::optional<Error> closed;
  auto made = SessionClient::connect(std::move(options),
                                     {{}, {}, [&](const Error& why) { watched.change([&] { closed = why; }); }});
  ASSERT_TRUE(made);
  EXPECT_TRUE((*made)->send(Bytes(1'000, 'x')));
  const auto full = (*made)->send("x");
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Code::kBusy) << full.error().message;
  EXPECT_EQ((*made)->send("x").error().code, Code::kUnavailable);
  ASSERT_TRUE(watched.wait([&] { return closed.has_value(); }));
  EXPECT_NE(closed->message.find("outgoing queue full"), std::string::npos) << closed->message;
}

TEST_F(TransportTest, CloseCarriesItsReason) {
  EchoService service;
  const auto server = serve(service);
  EdgeEnd edge;
  ASSERT_TRUE(edge.connect(server->address(), ca_->files(NodeRole::kEdge, "edge-1")));
  ASSERT_TRUE(edge.client->send("close me"));
  EXPECT_NE(edge.wait_closed().message.find("as you wished"), std::string::npos) << edge.closed->message;
  ASSERT_TRUE(service.watched.wait([&] { return service.closed.size() == 1; }));
  EXPECT_EQ(service.closed.begin()->second, "as you wished");
  EXPECT_EQ(edge.client->send("x").error().code, Code::kUnavailable);
}

TEST_F(TransportTest, StopEndsSessionsAndCallsAndWaitsForTheLastCallback) {
  EchoService service;
  auto server = serve(service);
  std::vector<std::unique_ptr<EdgeEnd>> edges;
  for (int i = 0; i < 4; ++i) {
    edges.push_back(std::make_unique<EdgeEnd>());
    ASSERT_TRUE(edges.back()->connect(server->address(), ca_->files(NodeRole::kEdge, "edge-" + std::to_string(i))));
    ASSERT_TRUE(edges.back()->wait_open());
  }
  Result<Bytes> answer = Bytes("none");
  std::thread caller([&] { answer = client(server->address())->call("later", 20'000); });
  ASSERT_TRUE(service.watched.wait([&] { return service.pending.size() == 1; }));
  server->stop();
  EXPECT_EQ(service.closed.size(), 4u) << "every on_session_closed comes before stop returns";
  for (const auto& edge : edges) EXPECT_EQ(edge->wait_closed().code, Code::kUnavailable);
  caller.join();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kMaybeApplied) << "it was sent, nobody knows what became of it";
  service.pending[0](Bytes("too late"));
  // A stopped server's port is free at once, for a restart.
  const int port = server->port();
  server.reset();
  EXPECT_EQ(serve(service, "hub-1", 1u << 20, port)->port(), port);
}

TEST_F(TransportTest, CallAnswersAndErrorsTravelWhole) {
  EchoService service;
  const auto server = serve(service);
  const auto alice = client(server->address());
  EXPECT_EQ(alice->call("who", 5'000).value(), "client.alice");
  EXPECT_EQ(alice->call(Bytes(kFrameBytesMax, 'x'), 5'000).value().size(), kFrameBytesMax);
  EXPECT_EQ(alice->call("fail", 5'000).error(), (Error{Code::kNotActive, "not me", "127.0.0.1:9", 7}));
  EXPECT_EQ(alice->call("drop", 5'000).error().code, Code::kMaybeApplied);
  EXPECT_EQ(alice->call("huge", 5'000).error().code, Code::kInvalid);
  EXPECT_EQ(alice->call(Bytes(kFrameBytesMax + 1, 'x'), 5'000).error().code, Code::kInvalid);
  const auto late = alice->call("later", 50);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kMaybeApplied) << late.error().message;
}

TEST_F(TransportTest, ClientFindsAHubThatCameBack) {
  EchoService service;
  auto server = serve(service);
  const int port = server->port();
  const auto alice = client(server->address());
  ASSERT_EQ(alice->call("who", 5'000).value(), "client.alice");
  server.reset();
  EXPECT_FALSE(alice->call("who", 5'000));
  server = serve(service, "hub-1", 1u << 20, port);
  EXPECT_EQ(alice->call("who", 5'000).value(), "client.alice") << "no back-off stands between a call and a live hub";
}

TEST_F(TransportTest, DownloadStreamsWithFlowControl) {
  EchoService service;
  const auto server = serve(service);
  const auto alice = client(server->address());
  int next = 0;
  ASSERT_TRUE(alice->download(
      "200",
      [&](Bytes chunk) -> Result<void> {
        EXPECT_EQ(chunk, Bytes(64 << 10, static_cast<char>(next)));
        ++next;
        return {};
      },
      20'000));
  EXPECT_EQ(next, 200);
  EXPECT_EQ(alice->download(
                     "none", [](Bytes) -> Result<void> { return {}; }, 5'000)
                .error(),
            (Error{Code::kNotFound, "no such thing", {}, 0}));

  // A reader that stops reading stops the source: buffers fill, and of two million chunks few are made.
  service.watched.change([&] { service.chunks_made = 0; });
  const auto stopped =
      alice->download("900000", [&](Bytes) -> Result<void> { return fail(Code::kInvalid, "enough"); }, 5'000);
  EXPECT_EQ(stopped.error().message, "enough");
  EXPECT_LT(service.chunks_made, 1'000);
}

TEST_F(TransportTest, FetchSendsAsMuchAsItIsAskedForAndNoMore) {
  EchoService service;
  auto server = serve(service);
  const auto alice = client(server->address());
  EXPECT_TRUE(alice->connect(5'000)) << "and again while it stands";
  EXPECT_TRUE(alice->connect(5'000));
  struct Case {
    const char* why;
    Bytes first;
    std::vector<std::string> says;  // one after each frame that came
    int frames;                     // after which the caller is content
    std::optional<Code> ends;
  };
  const Case cases[] = {
      {"asked once", "go", {"3"}, 3, {}},
      {"asked again while it comes", "go", {"2", "1", "40"}, 43, {}},
      {"content at once", "go", {}, 0, {}},
      {"asked for less than is waited for", "go", {"2"}, 3, Code::kBusy},
      {"refused from the beginning", "none", {"1"}, 1, Code::kNotFound},
      {"refused on the way", "go", {"1", "bad"}, 9, Code::kCorrupt},
  };
  for (const Case& c : cases) {
    int came = 0;
    std::size_t said = 0;
    const auto done = alice->fetch(c.first, [&](std::optional<Bytes> frame) -> Result<FetchTurn> {
      if (frame) {
        EXPECT_EQ(*frame, std::to_string(++came)) << c.why;
      }
      if (!frame && said > 0) return fail(Code::kBusy, "nothing more comes");  // only the first call, and after a wait
      FetchTurn turn;
      turn.done = came == c.frames;
      turn.wake_ms = c.ends == Code::kBusy ? 50 : 10'000;
      if (said < c.says.size()) turn.say = c.says[said++];
      return turn;
    });
    ASSERT_EQ(done.has_value(), !c.ends.has_value()) << c.why << (done ? "" : ": " + done.error().message);
    if (c.ends) {
      EXPECT_EQ(done.error().code, *c.ends) << c.why << ": " << done.error().message;
    } else {
      EXPECT_EQ(came, c.frames) << c.why;
    }
    EXPECT_TRUE(service.watched.wait([&] { return service.fetches == 0; })) << c.why << ": the hub's end goes too";
  }
  // The hub goes in the middle.
  bool unknown = true;
  const auto cut = alice->fetch(
      "go",
      [&](std::optional<Bytes> frame) -> Result<FetchTurn> {
        if (frame) server->stop();
        return FetchTurn{frame ? std::nullopt : std::optional<Bytes>("1"), 10'000, false};
      },
      &unknown);
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, Code::kUnavailable) << cut.error().message;
  EXPECT_FALSE(unknown);
  EXPECT_EQ(alice->connect(2'000).error().code, Code::kUnavailable);
}

TEST_F(TransportTest, UploadEndsOneWayOrTheOther) {
  EchoService service;
  const auto server = serve(service);
  const auto alice = client(server->address());
  const auto chunks = [&](std::vector<Bytes> list, bool broken = false) {
    return ChunkSource(
        [&service, list = std::move(list), broken, at = std::size_t{0}]() mutable -> Result<std::optional<Bytes>> {
          if (at == list.size() && broken) {
            EXPECT_TRUE(service.watched.wait([&] { return service.uploads_begun == 4; }))
                << "the hub has a consumer by now";
            return fail(Code::kCorrupt, "cannot read my file");
          }
          if (at == list.size()) return std::optional<Bytes>();
          return std::optional<Bytes>(list[at++]);
        });
  };
  EXPECT_EQ(alice->upload("model", chunks({Bytes(kFrameBytesMax, 'x'), Bytes(3, 'y')}), 20'000).value(),
            std::to_string(kFrameBytesMax + 3));
  EXPECT_EQ(alice->upload("model", chunks({}), 20'000).value(), "0");
  EXPECT_EQ(alice->upload("no", chunks({"x", "y"}), 20'000).error().code, Code::kConflict);
  EXPECT_EQ(alice->upload("model", chunks({"good", "bad", "good"}), 20'000).error().message,
            "chunk 2 does not match its hash");
  EXPECT_EQ(alice->upload("model", chunks({"good"}, true), 20'000).error().message, "cannot read my file");
  ASSERT_TRUE(service.watched.wait([&] { return service.uploads_broken == 2 && service.uploads_finished == 2; }))
      << "an upload without its end is dropped, never finished";
}

}  // namespace
}  // namespace tidelock
