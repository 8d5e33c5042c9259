// Real TLS and real sockets on loopback. Nothing sleeps: each wait ends with the event it waits for, and its limit only
// turns a hang into a failure.
#include "wire/grpc/transport.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

namespace tidelock {
namespace {

constexpr auto kHang = std::chrono::seconds(20);

// A lock with a condition that tests wait for.
class Watched {
 public:
  template <class F>
  void change(F&& f) {
    const std::lock_guard lock(mutex_);
    f();
    changed_.notify_all();
  }
  template <class F>
  [[nodiscard]] bool wait(F&& f) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kHang, f);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

class Folder {
 public:
  Folder() {
    std::string pattern = std::filesystem::temp_directory_path() / "tidelock-transport-XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string write(const std::string& name, const std::string& text) const {
    const std::string path = path_ + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

 private:
  std::string path_;
};

class Authority {
 public:
  explicit Authority(std::string name) : name_(std::move(name)), ca_(make_ca(name_, validity()).value()) {
    ca_file_ = folder_.write("ca.pem", ca_.certificate_pem);
  }
  TlsFiles files(NodeRole role, const NodeId& id) const {
    const KeyPair pair = issue_certificate(ca_, {role, id}, {{"localhost"}, {"127.0.0.1"}}, validity()).value();
    const std::string stem = identity_name({role, id});
    return {ca_file_, folder_.write(stem + ".pem", pair.certificate_pem), folder_.write(stem + ".key", pair.key_pem)};
  }
  // A node certificate for which we are the CA, held by someone who trusts another one.
  TlsFiles files_trusting(const Authority& other, NodeRole role, const NodeId& id) const {
    TlsFiles mixed = files(role, id);
    mixed.ca_file = other.ca_file_;
    return mixed;
  }
  TlsFiles expired(NodeRole role, const NodeId& id) const {
    const auto now = static_cast<std::int64_t>(std::time(nullptr));
    const KeyPair pair = issue_certificate(ca_, {role, id}, {}, {now - 7'200, now - 3'600}).value();
    return {ca_file_, folder_.write("old.pem", pair.certificate_pem), folder_.write("old.key", pair.key_pem)};
  }
  const Folder& folder() const { return folder_; }

 private:
  static Validity validity() {
    const auto now = static_cast<std::int64_t>(std::time(nullptr));
    return {now - 3'600, now + 3'600};
  }
  Folder folder_;
  std::string name_;
  KeyPair ca_;
  std::string ca_file_;
};

// Accepts connections into its backlog and never says a word: a handshake with it hangs.
class Mute {
 public:
  Mute() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(fd_, 16), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  ~Mute() { ::close(fd_); }
  const std::string& address() const { return address_; }

 private:
  int fd_;
  std::string address_;
};

// Echoes frames, answers calls with what they asked, serves N chunks, adds up uploads.
class EchoService : public NodeService {
 public:
  void on_session_open(SessionPtr session) override {
    const SessionId id = session->id();
    watched.change([&] { sessions[id] = std::move(session); });
  }
  void on_session_frame(SessionId id, Bytes frame) override {
    SessionPtr session;
    watched.change([&] {
      session = sessions[id];
      ++frames;
      frames_after_close += closed.count(id);
    });
    if (frame == "close me") {
      session->close("as you wished");
    } else if (echo) {
      static_cast<void>(session->send(std::move(frame)));
    }
  }
  void on_session_closed(SessionId id, const std::string& reason) override {
    watched.change([&] { closed.emplace(id, reason); });
  }
  void on_raft_frame(const NodeId& peer, Bytes frame) override {
    watched.change([&] { raft[peer].push_back(std::move(frame)); });
  }
  void on_call(const PeerIdentity& peer, Bytes request, Reply reply) override {
    if (request == "who") return reply(identity_name(peer));
    if (request == "fail") return reply(fail(Error{Code::kNotActive, "not me", "127.0.0.1:9", 7}));
    if (request == "drop") return;
    if (request == "later") return watched.change([&] { pending.push_back(std::move(reply)); });
    if (request == "huge") return reply(Bytes(kFrameBytesMax + 1, 'x'));
    reply(std::move(request));
  }
  Result<ChunkSource> on_download(const PeerIdentity&, Bytes request) override {
    if (request == "none") return fail(Code::kNotFound, "no such thing");
    const int count = std::stoi(request);
    return ChunkSource([this, count, next = 0]() mutable -> Result<std::optional<Bytes>> {
      if (next == 1'000'000) return fail(Code::kCorrupt, "bad block");
      if (next == count) return std::optional<Bytes>();
      watched.change([&] { ++chunks_made; });
      return std::optional<Bytes>(Bytes(64 << 10, static_cast<char>(next++)));
    });
  }
  class Sum : public UploadConsumer {
   public:
    explicit Sum(EchoService& owner) : owner_(owner) {
      owner_.watched.change([&] { ++owner_.uploads_begun; });
    }
    ~Sum() override {
      owner_.watched.change([&] { ++(finished_ ? owner_.uploads_finished : owner_.uploads_broken); });
    }
    Result<void> chunk(Bytes bytes) override {
      if (bytes == "bad") return fail(Code::kCorrupt, "chunk 2 does not match its hash");
      total_ += bytes.size();
      return {};
    }
    void finish(Reply reply) override {
      finished_ = true;
      reply(std::to_string(total_));
    }

   private:
    EchoService& owner_;
    std::size_t total_ = 0;
    bool finished_ = false;
  };
  Result<std::unique_ptr<UploadConsumer>> on_upload(const PeerIdentity&, Bytes first) override {
    if (first == "no") return fail(Code::kConflict, "same version with other content");
    return std::make_unique<Sum>(*this);
  }
  void on_refused(const std::string&, const std::string& why) override {
    watched.change([&] { refused.push_back(why); });
  }

  bool echo = true;  // set before the server starts
  Watched watched;   // guards what follows
  std::map<SessionId, SessionPtr> sessions;
  std::map<SessionId, std::string> closed;
  std::map<NodeId, std::vector<Bytes>> raft;
  std::vector<Reply> pending;
  std::vector<std::string> refused;
  std::size_t frames = 0;
  std::size_t frames_after_close = 0;
  int chunks_made = 0;
  int uploads_begun = 0;
  int uploads_finished = 0;
  int uploads_broken = 0;
};

// One edge's session, remembering what it heard.
struct Edge {
  Watched watched;
  bool open = false;
  PeerIdentity hub;
  std::vector<Bytes> frames;
  std::optional<Error> closed;
  std::unique_ptr<SessionClient> client;

  Result<void> connect(const std::string& address, TlsFiles tls, NodeId expected = {},
                       std::function<void(Bytes)> on_frame = {}) {
    SessionClientOptions options;
    options.address = address;
    options.tls = std::move(tls);
    options.expected_hub = std::move(expected);
    SessionCallbacks callbacks;
    callbacks.on_open = [this](const PeerIdentity& who) {
      watched.change([&] {
        open = true;
        hub = who;
      });
    };
    callbacks.on_frame = [this, on_frame](Bytes frame) {
      if (on_frame) on_frame(frame);
      watched.change([&] { frames.push_back(std::move(frame)); });
    };
    callbacks.on_closed = [this](const Error& why) { watched.change([&] { closed = why; }); };
    auto made = SessionClient::connect(std::move(options), std::move(callbacks));
    if (!made) return fail(made.error());
    client = std::move(*made);
    return {};
  }
  bool wait_open() {
    return watched.wait([&] { return open || closed; }) && open;
  }
  Error wait_closed() {
    EXPECT_TRUE(watched.wait([&] { return closed.has_value(); })) << "on_closed never came";
    return closed.value_or(Error{});
  }
};

class TransportTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ca_ = new Authority("test");
    other_ = new Authority("other");
    // Refused handshakes are part of these tests: gRPC's words about them are checked, not shown.
    set_transport_log([](bool is_error, const std::string& line) {
      log_->change([&] {
        if (is_error) log_lines_->push_back(line);
      });
    });
  }
  static bool wait_log(const std::string& part) {
    return log_->wait([&] {
      for (const std::string& line : *log_lines_) {
        if (line.find(part) != std::string::npos) return true;
      }
      return false;
    });
  }
  static void TearDownTestSuite() {
    delete ca_;
    delete other_;
  }
  std::unique_ptr<NodeServer> serve(NodeService& service, NodeId id = "hub-1", std::size_t queue_bytes = 16u << 20,
                                    int port = 0) {
    NodeServerOptions options;
    options.tls = ca_->files(NodeRole::kHub, id);
    options.port = port;
    options.session_queue_bytes = queue_bytes;
    auto server = NodeServer::start(std::move(options), service);
    EXPECT_TRUE(server) << server.error().message;
    return std::move(*server);
  }
  std::unique_ptr<NodeClient> client(const std::string& address) {
    NodeClientOptions options;
    options.address = address;
    options.tls = ca_->files(NodeRole::kClient, "alice");
    return std::move(*NodeClient::make(std::move(options)));
  }
  // gRPC may still log while the process ends, so these two are never freed.
  static inline Watched* const log_ = new Watched;
  static inline std::vector<std::string>* const log_lines_ = new std::vector<std::string>;
  static inline Authority* ca_ = nullptr;
  static inline Authority* other_ = nullptr;
};

TEST_F(TransportTest, SessionEchoesTenThousandFramesInOrder) {
  EchoService service;
  const auto server = serve(service);
  Edge edge;
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
  Edge edge;
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
    Edge edge;
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
      {"not PEM", {good.ca_file, ca_->folder().write("x.pem", "nonsense"), good.key_file}, "x.pem"}};
  for (const Case& c : cases) {
    Edge edge;
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
  Edge edge;
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
  Edge edge;
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
  Edge edge;
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
  std::vector<std::unique_ptr<Edge>> edges;
  for (int i = 0; i < 4; ++i) {
    edges.push_back(std::make_unique<Edge>());
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

TEST_F(TransportTest, RaftFramesArriveInOrderAndLinksComeBack) {
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

TEST_F(TransportTest, RaftStreamIsForHubsAndForTheRightOne) {
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

TEST_F(TransportTest, FullRaftQueueDropsTheOldest) {
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
