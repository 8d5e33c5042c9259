// What the transport says when the other side is full, slow, gone or of another make.
#include <cerrno>
#include <optional>
#include <utility>

#include "base/failing_call_fixture.h"
#include "wire/grpc/internal.h"
#include "wire/grpc/transport_fixture.h"

namespace tidelock {
namespace {

using ErrorsTest = TransportTest;

TEST(FromStatus, WhatGrpcSaysByItselfBecomesACodeByWhatMayHaveHappened) {
  struct Case {
    grpc::StatusCode status;
    const char* text;
    Code code;
    const char* message;
  };
  const Case cases[] = {
      {grpc::StatusCode::UNAVAILABLE, "Socket closed", Code::kMaybeApplied, "h:1: connection lost: Socket closed"},
      {grpc::StatusCode::UNAVAILABLE, "failed to connect to all addresses; Connection refused", Code::kUnavailable,
       "h:1: failed to connect to all addresses; Connection refused"},
      {grpc::StatusCode::UNAVAILABLE, "DNS resolution failed for h:1", Code::kUnavailable,
       "h:1: DNS resolution failed for h:1"},
      {grpc::StatusCode::PERMISSION_DENIED, "not you", Code::kDenied, "h:1: not you"},
      {grpc::StatusCode::UNAUTHENTICATED, "who are you", Code::kDenied, "h:1: who are you"},
      {grpc::StatusCode::UNIMPLEMENTED, "no such method", Code::kInvalid, "h:1: no such method"},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, "message too large", Code::kInvalid, "h:1: message too large"},
      {grpc::StatusCode::CANCELLED, "cancelled", Code::kMaybeApplied, "h:1: cancelled"},
      {grpc::StatusCode::INTERNAL, "broken", Code::kMaybeApplied, "h:1: broken"},
  };
  for (const Case& c : cases) {
    for (const char* details : {"", "not an error of ours"}) {
      const Error error = wire::from_status(grpc::Status(c.status, c.text, details), "h:1");
      EXPECT_EQ(error.code, c.code) << c.message;
      EXPECT_EQ(error.message, c.message);
    }
  }
}

// Speaks our protocol and little of it: takes every session, ends it without a word, and has no method beside.
class CurtHub final : public v1::Node::Service {
 public:
  explicit CurtHub(const TlsFiles& files) {
    const auto tls = wire::load_tls(files).value();
    grpc::SslServerCredentialsOptions credentials(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    credentials.pem_root_certs = tls.ca;
    credentials.pem_key_cert_pairs.push_back({tls.key, tls.certificate});
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(credentials), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  grpc::Status Session(grpc::ServerContext*, grpc::ServerReaderWriter<wire::Frame, wire::Frame>*) override {
    return grpc::Status::OK;
  }
  const std::string& address() const { return address_; }

 private:
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

TEST_F(ErrorsTest, AHubOfAnotherMakeIsToldFromAFailure) {
  const CurtHub hub(ca_->files(NodeRole::kHub, "hub-1"));
  EdgeEnd edge;
  ASSERT_TRUE(edge.connect(hub.address(), ca_->files(NodeRole::kEdge, "edge-1")));
  const Error ended = edge.wait_closed();
  EXPECT_EQ(ended.code, Code::kUnavailable);
  EXPECT_EQ(ended.message, hub.address() + ": the peer ended the stream");
  const auto unknown = client(hub.address())->call("who", 5'000);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::kInvalid) << "repeating it cannot help";
  EXPECT_TRUE(unknown.error().message.starts_with(hub.address() + ": ")) << unknown.error().message;
}

TEST_F(ErrorsTest, AFullHubSaysHowMuchItServes) {  // I11
  EchoService service;
  NodeServerOptions options;
  options.tls = ca_->files(NodeRole::kHub, "hub-1");
  options.sessions_max = options.calls_max = options.transfers_max = 1;
  const auto server = NodeServer::start(options, service).value();
  const auto busy = [](const char* what) {
    return Error{Code::kBusy, std::string("this hub serves 1 ") + what + " already", {}, 1'000'000'000};
  };
  EdgeEnd first, second;
  ASSERT_TRUE(first.connect(server->address(), ca_->files(NodeRole::kEdge, "edge-1")));
  ASSERT_TRUE(first.wait_open());
  ASSERT_TRUE(second.connect(server->address(), ca_->files(NodeRole::kEdge, "edge-2")));
  EXPECT_EQ(second.wait_closed(), busy("sessions"));

  const auto alice = client(server->address()), bob = client(server->address());
  Result<Bytes> answer = Bytes("none");
  std::thread caller([&] { answer = alice->call("later", 20'000); });
  ASSERT_TRUE(service.watched.wait([&] { return service.pending.size() == 1; }));
  EXPECT_EQ(bob->call("who", 5'000).error(), busy("calls"));
  service.pending[0](Bytes("now"));
  caller.join();
  EXPECT_EQ(answer.value(), "now") << "who was served is not disturbed";

  Result<void> refused;
  Result<Bytes> upload = Bytes("none");
  const ChunkSource nothing = []() -> Result<std::optional<Bytes>> { return std::optional<Bytes>(); };
  const auto stopped = alice->download(
      "900000",
      [&](Bytes) -> Result<void> {
        refused = bob->download("1", [](Bytes) -> Result<void> { return {}; }, 5'000);
        upload = bob->upload("model", nothing, 5'000);
        return fail(Code::kInvalid, "enough");
      },
      20'000);
  EXPECT_EQ(stopped.error().message, "enough");
  EXPECT_EQ(refused.error(), busy("transfers"));
  EXPECT_EQ(upload.error(), busy("transfers"));
}

// One fetch of a peer that stays open, on a thread of its own, until the hub or the test ends it.
class OpenFetch {
 public:
  explicit OpenFetch(NodeClient& client, Bytes first = "numbers")
      : thread_([this, &client, first = std::move(first)] {
          ended_ = client.fetch(first, [this](std::optional<Bytes> came) -> Result<FetchTurn> {
            FetchTurn turn;
            if (came) watched_.change([&] { came_.push_back(std::move(*came)); });
            if (!came && !std::exchange(asked_, true)) turn.say = "1";
            turn.wake_ms = 10;
            watched_.change([&] { turn.done = enough_; });
            return turn;
          });
          watched_.change([&] { over_ = true; });
        }) {}
  ~OpenFetch() {
    watched_.change([&] { enough_ = true; });
    thread_.join();
  }
  bool wait_came(std::size_t frames) {
    return watched_.wait([&] { return came_.size() >= frames; });
  }
  Result<void> wait_over() {
    EXPECT_TRUE(watched_.wait([&] { return over_; })) << "the fetch goes on";
    return ended_;
  }
  const std::vector<Bytes>& came() const { return came_; }

 private:
  Watched watched_;
  std::vector<Bytes> came_;
  bool asked_ = false, enough_ = false, over_ = false;
  Result<void> ended_;
  std::thread thread_;
};

Result<void> one_frame(NodeClient& client) {
  bool asked = false;
  return client.fetch("numbers", [&](std::optional<Bytes> came) -> Result<FetchTurn> {
    FetchTurn turn{{}, 1'000, came.has_value()};
    if (!std::exchange(asked, true)) turn.say = "1";
    return turn;
  });
}

// What is left of a peer that lost its link takes no room from what it does now.
TEST_F(ErrorsTest, OneMoreFetchOfAPeerEndsItsOldest) {
  EchoService service;
  NodeServerOptions options;
  options.tls = ca_->files(NodeRole::kHub, "hub-1");
  options.fetches_of_peer_max = 2;
  const auto server = NodeServer::start(options, service).value();
  const auto alice = client(server->address());
  const auto edge = [&] {
    NodeClientOptions of_edge;
    of_edge.address = server->address();
    of_edge.tls = ca_->files(NodeRole::kEdge, "edge-1");
    return std::move(*NodeClient::make(of_edge));
  }();
  OpenFetch others(*edge);
  ASSERT_TRUE(others.wait_came(1));
  OpenFetch first(*alice);
  ASSERT_TRUE(first.wait_came(1));
  OpenFetch second(*alice);
  ASSERT_TRUE(second.wait_came(1));
  OpenFetch third(*alice);
  ASSERT_TRUE(third.wait_came(1));
  const auto ended = first.wait_over();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, Code::kUnavailable) << "it may ask again: " << ended.error().message;
  EXPECT_TRUE(service.watched.wait([&] { return service.fetches == 3; })) << "those of another peer are not touched";
}

TEST_F(ErrorsTest, AFetchThatIsSilentMakesRoomWhenThereIsNone) {  // I11
  EchoService service;
  NodeServerOptions options;
  options.tls = ca_->files(NodeRole::kHub, "hub-1");
  options.transfers_max = 1;
  options.fetch_idle_ns = 0;
  const auto server = NodeServer::start(options, service).value();
  const auto alice = client(server->address()), bob = client(server->address());
  OpenFetch silent(*alice);
  ASSERT_TRUE(silent.wait_came(1));
  const auto refused = one_frame(*bob);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kBusy) << refused.error().message;
  EXPECT_FALSE(silent.wait_over());
  ASSERT_TRUE(service.watched.wait([&] { return service.fetches == 0; }));
  Result<void> served;
  for (int i = 0; i < 1'000 && (i == 0 || !served); ++i) served = one_frame(*bob);  // its place is free a moment later
  EXPECT_TRUE(served) << served.error().message;
}

TEST_F(ErrorsTest, WhatTakesLongBeforeItCanBeSentIsSentWhenItIsThere) {
  EchoService service;
  NodeServerOptions options;
  options.tls = ca_->files(NodeRole::kHub, "hub-1");
  options.bulk_threads = 1;
  const auto server = NodeServer::start(options, service).value();
  const auto alice = client(server->address()), bob = client(server->address());
  std::function<void()> come;
  {
    OpenFetch late(*alice, "late");
    ASSERT_TRUE(service.watched.wait([&] { return service.late != nullptr; }));
    OpenFetch other(*bob);
    EXPECT_TRUE(other.wait_came(1)) << "nobody waits behind it, for all that there is one bulk thread";
    come = service.late;
    come();
    ASSERT_TRUE(late.wait_came(1));
    EXPECT_EQ(late.came()[0], "at last");
  }
  come();  // the fetch is gone: nothing happens
}

TEST_F(ErrorsTest, AnEdgeServesCallsAndFetchesToEdgesOnly) {  // X1
  EchoService service;
  NodeServerOptions options;
  options.role = NodeRole::kEdge;
  options.tls = ca_->files(NodeRole::kHub, "hub-1");
  EXPECT_EQ(NodeServer::start(options, service).error().code, Code::kInvalid) << "with a hub's certificate";
  options.tls = ca_->files(NodeRole::kEdge, "edge-1");
  const auto server = NodeServer::start(options, service).value();
  const auto as = [&](NodeRole role, const NodeId& id, const NodeId& expected) {
    NodeClientOptions of;
    of.address = server->address();
    of.tls = ca_->files(role, id);
    of.expected_hub = expected;
    of.role = NodeRole::kEdge;
    return std::move(*NodeClient::make(of));
  };
  const auto neighbour = as(NodeRole::kEdge, "edge-2", "edge-1");
  EXPECT_EQ(neighbour->call("who", 5'000).value(), "edge.edge-2");
  EXPECT_TRUE(one_frame(*neighbour));
  EXPECT_FALSE(as(NodeRole::kEdge, "edge-2", "edge-3")->call("who", 5'000)) << "it is not the one that is asked for";
  EXPECT_EQ(neighbour->download("1", [](Bytes) -> Result<void> { return {}; }, 5'000).error().code, Code::kDenied);
  for (const NodeRole role : {NodeRole::kHub, NodeRole::kClient}) {
    const auto stranger = as(role, "other-1", "edge-1");
    EXPECT_EQ(stranger->call("who", 5'000).error().code, Code::kDenied);
    EXPECT_EQ(one_frame(*stranger).error().code, Code::kDenied);
  }
  EdgeEnd session;
  ASSERT_TRUE(session.connect(server->address(), ca_->files(NodeRole::kEdge, "edge-2")));
  EXPECT_EQ(session.wait_closed().code, Code::kUnavailable) << "no edge passes for a hub";
}

// A hub whose disk answers when the test says so.
class SlowHub : public EchoService {
 public:
  void disk(bool answers) {
    watched.change([&] { answers_ = answers; });
  }
  void read() {
    EXPECT_TRUE(watched.wait([&] { return answers_; }));
  }
  Result<ChunkSource> on_download(const PeerIdentity&, Bytes) override {
    return ChunkSource([this]() -> Result<std::optional<Bytes>> {
      read();
      return std::optional<Bytes>();
    });
  }
  class Consumer : public UploadConsumer {
   public:
    explicit Consumer(SlowHub& hub) : hub_(hub) {
      hub_.watched.change([&] { ++hub_.uploads_begun; });
    }
    ~Consumer() override {
      hub_.watched.change([&] { ++(finished_ ? hub_.uploads_finished : hub_.uploads_broken); });
    }
    Result<void> chunk(Bytes) override {
      hub_.read();
      return {};
    }
    void finish(Reply reply) override {
      finished_ = true;
      reply("whole");
    }

   private:
    SlowHub& hub_;
    bool finished_ = false;
  };
  Result<std::unique_ptr<UploadConsumer>> on_upload(const PeerIdentity&, Bytes) override {
    return std::make_unique<Consumer>(*this);
  }

 private:
  bool answers_ = false;
};

TEST_F(ErrorsTest, ADownloadThatStandsStillEndsAndMayBeRepeated) {
  SlowHub service;
  const auto server = serve(service);
  const auto alice = client(server->address());
  ASSERT_EQ(alice->call("who", 5'000).value(), "client.alice") << "what follows waits for chunks, not for a connection";
  const auto late = alice->download("file", [](Bytes) -> Result<void> { return {}; }, 100);
  service.disk(true);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kUnavailable);
  EXPECT_EQ(late.error().message, server->address() + ": no chunk within 100 ms");
}

TEST_F(ErrorsTest, AnUploadWhoseCallerGaveUpIsNotFinished) {
  SlowHub service;
  const auto server = serve(service);
  const auto alice = client(server->address());
  ASSERT_EQ(alice->call("who", 5'000).value(), "client.alice");
  const auto broken = [&] {
    int count = 0;
    service.watched.change([&] { count = service.uploads_broken; });
    return count;
  };
  // The caller goes while the hub writes the last chunk down. No event tells a test that the hub has heard of it: some
  // answers on the same connection come later than the news, as a rule; else it is another try.
  for (int i = 0; i < 100 && broken() == 0; ++i) {
    service.disk(false);
    bool more = true;
    const ChunkSource one = [&more]() -> Result<std::optional<Bytes>> {
      return std::exchange(more, false) ? std::optional<Bytes>("chunk") : std::nullopt;
    };
    const auto late = alice->upload("model", one, 100);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().message, server->address() + ": no progress within 100 ms");
    const bool all_sent = late.error().code == Code::kMaybeApplied;  // a loaded machine may not have come so far
    EXPECT_TRUE(all_sent || late.error().code == Code::kUnavailable) << late.error().message;
    for (int k = 0; k < 10; ++k) EXPECT_TRUE(alice->call("who", 5'000));
    service.disk(true);
    if (!all_sent) continue;
    ASSERT_TRUE(service.watched.wait(
        [&] { return service.uploads_finished + service.uploads_broken == service.uploads_begun; }));
  }
  EXPECT_GE(broken(), 1) << "nobody waits for its answer, so it is dropped as one that broke";
}

TEST_F(ErrorsTest, AnEdgeThatGoesWithFramesOnTheirWayIsALostConnection) {
  EchoService service;
  const auto server = serve(service, "hub-1", 64u << 20);
  EdgeEnd edge;
  Watched gate;
  bool may_read = false;
  bool reading = false;
  ASSERT_TRUE(edge.connect(server->address(), ca_->files(NodeRole::kEdge, "edge-1"), "", [&](const Bytes&) {
    gate.change([&] { reading = true; });
    EXPECT_TRUE(gate.wait([&] { return may_read; }));
  }));
  ASSERT_TRUE(edge.wait_open());
  ASSERT_TRUE(service.watched.wait([&] { return !service.sessions.empty(); }));
  const SessionPtr session = service.sessions.begin()->second;
  ASSERT_TRUE(session->send("first"));
  ASSERT_TRUE(gate.wait([&] { return reading; }));
  // More than any window holds, so that one is half way when the edge goes.
  for (int i = 0; i < 700; ++i) ASSERT_TRUE(session->send(Bytes(64 << 10, 'x')));
  edge.client->close();
  ASSERT_TRUE(service.watched.wait([&] { return service.closed.size() == 1; }));
  // By which of its ends the loss is noticed first is not ours to say.
  const std::string why = service.closed.begin()->second;
  EXPECT_TRUE(why == "connection lost" || why == "the edge ended the session or was lost") << why;
  EXPECT_EQ(session->queued_bytes(), 0u);
  const auto late = session->send("x");
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kUnavailable);
  EXPECT_EQ(late.error().message, "session 1 of edge.edge-1 has ended: " + why);
  gate.change([&] { may_read = true; });
  edge.wait_closed();
}

TEST_F(ErrorsTest, AServerNamesTheOptionThatItCannotServe) {
  EchoService service;
  const std::string endless(64, 'x');  // a label of a name has at most 63 bytes, so nobody is asked for it
  struct Case {
    std::string host;
    int port;
    int bulk_threads;
    std::string says;
  };
  const Case cases[] = {{"127.0.0.1", -1, 2, "listen port -1: want 0 to 65535"},
                        {"127.0.0.1", 65'536, 2, "listen port 65536: want 0 to 65535"},
                        {"127.0.0.1", 0, 0, "bulk_threads 0: want 1 to 64"},
                        {"127.0.0.1", 0, 65, "bulk_threads 65: want 1 to 64"},
                        {endless, 0, 2, "listen address " + endless + ":0: "}};
  for (const Case& c : cases) {
    NodeServerOptions options;
    options.tls = ca_->files(NodeRole::kHub, "hub-1");
    options.host = c.host;
    options.port = c.port;
    options.bulk_threads = c.bulk_threads;
    const auto refused = NodeServer::start(options, service);
    ASSERT_FALSE(refused) << c.says;
    EXPECT_EQ(refused.error().code, Code::kInvalid) << c.says;
    EXPECT_TRUE(refused.error().message.starts_with(c.says)) << refused.error().message;
  }
}

TEST_F(ErrorsTest, AnAddressThatIsFreeAgainIsAConflictThatMayBeTriedAgain) {
  EchoService service;
  NodeServerOptions options;
  options.tls = ca_->files(NodeRole::kHub, "hub-1");
  std::optional<Error> error;
  const auto start = [&] {
    const auto refused = NodeServer::start(options, service);
    if (!refused) error = refused.error();
  };
  // gRPC listens with a long backlog, and who asks why it could not with one of 1: so only the former is refused, as if
  // another process had left in between.
  if (!with_failing_call({SYS_listen, EADDRINUSE, 1}, start)) {
    GTEST_SKIP() << "NOT TESTED: this kernel has no seccomp filters";
  }
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, Code::kConflict);
  EXPECT_EQ(error->message, "listen address 127.0.0.1:0 could not be had; it was free a moment later");
}

}  // namespace
}  // namespace tidelock
