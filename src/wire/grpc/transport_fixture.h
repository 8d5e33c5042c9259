// What the tests of this room share. Real TLS and real sockets on loopback. Nothing sleeps: each wait ends with the
// event it waits for, and its limit only turns a hang into a failure.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "wire/grpc/transport.h"

namespace tidelock {

inline constexpr auto kHang = std::chrono::seconds(20);

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
  TlsFiles files(NodeRole role, const NodeId& id) const { return files_valid(role, id, validity()); }
  TlsFiles files_valid(NodeRole role, const NodeId& id, Validity valid) const {
    const KeyPair pair = issue_certificate(ca_, {role, id}, {{"localhost"}, {"127.0.0.1"}}, valid).value();
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
  // Sends "1", "2", ... as many as the peer has asked for by then: "3" and "2" are five. "late" asks for what comes
  // when the test says so.
  class Counting : public FetchSource {
   public:
    explicit Counting(EchoService& owner) : owner_(owner) {
      owner_.watched.change([&] { ++owner_.fetches; });
    }
    ~Counting() override {
      owner_.watched.change([&] { --owner_.fetches; });
    }
    Result<void> take(Bytes said) override {
      if (said == "bad") return fail(Code::kCorrupt, "that is no number");
      until_ += std::stoi(said);
      return {};
    }
    Result<std::optional<Bytes>> next() override {
      if (sent_ == until_) return std::optional<Bytes>{};
      return std::optional<Bytes>(std::to_string(++sent_));
    }

   private:
    EchoService& owner_;
    int sent_ = 0, until_ = 0;
  };
  class Late : public FetchSource {
   public:
    explicit Late(std::shared_ptr<std::atomic<bool>> here) : here_(std::move(here)) {}
    Result<void> take(Bytes) override { return {}; }
    Result<std::optional<Bytes>> next() override {
      return here_->exchange(false) ? std::optional<Bytes>("at last") : std::nullopt;
    }

   private:
    const std::shared_ptr<std::atomic<bool>> here_;
  };
  Result<std::unique_ptr<FetchSource>> on_fetch(const PeerIdentity&, Bytes first, std::function<void()> more) override {
    if (first == "none") return fail(Code::kNotFound, "no such thing");
    if (first == "late") {
      const auto here = std::make_shared<std::atomic<bool>>(false);
      watched.change([&] {
        late = [here, more = std::move(more)] {
          here->store(true);
          more();
        };
      });
      return std::make_unique<Late>(here);
    }
    return std::make_unique<Counting>(*this);
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
  int fetches = 0;
  std::function<void()> late;  // lets it come
};

// One edge's session, remembering what it heard.
struct EdgeEnd {
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

}  // namespace tidelock
