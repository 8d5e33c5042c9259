// The Redis protocol over real TLS: who is let in, that bytes of any number arrive, that a renewed certificate is taken
// up, and that nothing of it can hold up others.
#include "wire/resp/tls.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/wall_clock.h"
#include "codec/certificate.h"
#include "wire/resp/peer_fixture.h"
#include "wire/resp/server_fixture.h"
#include "wire/resp/socket.h"

namespace tidelock {
namespace {

Validity around_now(std::int64_t from_s = -3'600, std::int64_t to_s = 3'600) {
  const auto now = static_cast<std::int64_t>(wall_ms_now() / 1'000);
  return {now + from_s, now + to_s};
}

// Certificates as the nodes of a cluster have them, in files.
class Papers {
 public:
  explicit Papers(const std::string& cluster) : ca_(make_ca(cluster, around_now()).value()) {
    write("ca.pem", ca_.certificate_pem);
  }
  std::string ca() const { return path("ca.pem"); }
  std::string certificate(const std::string& name) const { return path(name + ".pem"); }
  std::string key(const std::string& name) const { return path(name + ".key"); }
  // Replaces what was there under this name, as a renewal does.
  void issue(const std::string& name, NodeRole role, const NodeId& id, Validity validity = around_now()) const {
    const KeyPair pair = issue_certificate(ca_, {role, id}, {{"localhost"}, {"127.0.0.1"}}, validity).value();
    write(name + ".key", pair.key_pem);
    write(name + ".pem", pair.certificate_pem);
  }
  void write(const std::string& file, const std::string& text) const {
    std::ofstream(path(file) + ".new", std::ios::binary) << text;
    std::filesystem::rename(path(file) + ".new", path(file));
  }
  RespTls server(TlsClients clients) const { return {certificate("edge"), key("edge"), ca(), clients}; }

 private:
  std::string path(const std::string& file) const { return folder_.path() + "/" + file; }
  TemporaryFolder folder_;
  KeyPair ca_;
};

// A blocking client over OpenSSL.
class TlsClient {
 public:
  struct Options {
    std::string certificate, key;  // empty: none is shown
    int version_max = TLS1_3_VERSION;
  };
  TlsClient(int port, const Options& options)
      : context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free), ssl_(nullptr, SSL_free) {
    SSL_CTX_set_security_level(context_.get(), 0);  // so that it would speak old versions
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context_.get(), options.version_max);
    if (!options.certificate.empty()) {
      EXPECT_EQ(SSL_CTX_use_certificate_chain_file(context_.get(), options.certificate.c_str()), 1);
      EXPECT_EQ(SSL_CTX_use_PrivateKey_file(context_.get(), options.key.c_str(), SSL_FILETYPE_PEM), 1);
    }
    ssl_.reset(SSL_new(context_.get()));
    fd_ = connect_socket("127.0.0.1:" + std::to_string(port), kPatience).value();
    ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) & ~O_NONBLOCK);
    SSL_set_fd(ssl_.get(), fd_);
  }
  ~TlsClient() {
    ssl_.reset();
    ::close(fd_);
  }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  bool send(const std::string& bytes) {
    ERR_clear_error();
    if (SSL_connect(ssl_.get()) != 1) return false;
    for (std::size_t sent = 0; sent < bytes.size();) {
      const int put = SSL_write(ssl_.get(), bytes.data() + sent, static_cast<int>(bytes.size() - sent));
      if (put <= 0) return false;
      sent += static_cast<std::size_t>(put);
    }
    return true;
  }
  // So many bytes, or what came before the end.
  std::string receive(std::size_t bytes) {
    std::string text(bytes, '\0');
    std::size_t got = 0;
    while (got < bytes) {
      const int more = SSL_read(ssl_.get(), text.data() + got, static_cast<int>(bytes - got));
      if (more <= 0) break;
      got += static_cast<std::size_t>(more);
    }
    text.resize(got);
    return text;
  }
  std::string ask(const std::string& bytes, std::size_t answer_bytes) {
    return send(bytes) ? receive(answer_bytes) : std::string();
  }
  void say_goodbye() { SSL_shutdown(ssl_.get()); }
  bool said_goodbye() { return receive(1).empty() && (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0; }
  std::string server_name() const {  // of the certificate
    X509* certificate = SSL_get1_peer_certificate(ssl_.get());
    if (certificate == nullptr) return {};
    char name[256] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, sizeof name);
    X509_free(certificate);
    return name;
  }

 private:
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
  std::unique_ptr<SSL, void (*)(SSL*)> ssl_;
  int fd_ = -1;
};

struct Tls : testing::Test {
  Tls() {
    ::signal(SIGPIPE, SIG_IGN);  // as the process of an edge does
    ours.issue("edge", NodeRole::kEdge, "edge-1");
    ours.issue("app", NodeRole::kClient, "app-1");
  }
  static int listen(RunningServer& running, const RespTls& files) {
    return running.on_loop([&] { return running.server().listen_tls("127.0.0.1", 0, files); }).value();
  }
  TlsClient::Options app() const { return {ours.certificate("app"), ours.key("app")}; }
  Papers ours{"ours"};
};

constexpr char kPing[] = "*1\r\n$4\r\nPING\r\n";

TEST_F(Tls, LetsInWhomItShould) {
  Papers theirs("theirs");
  theirs.issue("app", NodeRole::kClient, "app-1");
  ours.issue("old", NodeRole::kClient, "app-1", around_now(-7'200, -3'600));
  const TlsClient::Options none;
  const TlsClient::Options stranger{theirs.certificate("app"), theirs.key("app")};
  const TlsClient::Options expired{ours.certificate("old"), ours.key("old")};
  TlsClient::Options tls_1_2 = app(), tls_1_1 = app();
  tls_1_2.version_max = TLS1_2_VERSION;
  tls_1_1.version_max = TLS1_1_VERSION;
  struct Case {
    const char* what;
    TlsClients clients;
    TlsClient::Options client;
    bool served;
  };
  const Case cases[] = {
      {"a certificate, and one is wanted", TlsClients::kCertified, app(), true},
      {"TLS 1.2", TlsClients::kCertified, tls_1_2, true},
      {"TLS 1.1", TlsClients::kCertified, tls_1_1, false},
      {"none, and one is wanted", TlsClients::kCertified, none, false},
      {"of another CA", TlsClients::kCertified, stranger, false},
      {"expired", TlsClients::kCertified, expired, false},
      {"none, and one may be shown", TlsClients::kOptional, none, true},
      {"one, and one may be shown", TlsClients::kOptional, app(), true},
      {"of another CA, though none was needed", TlsClients::kOptional, stranger, false},
      {"none, and nobody asks", TlsClients::kAny, none, true},
      {"of another CA, and nobody asks", TlsClients::kAny, stranger, true},
  };
  for (const Case& c : cases) {
    RunningServer running;
    TlsClient client(listen(running, ours.server(c.clients)), c.client);
    EXPECT_EQ(client.ask(kPing, 7), c.served ? "+PONG\r\n" : "") << c.what;
    EXPECT_EQ(running.stats().refused_tls, c.served ? 0u : 1u) << c.what;
  }
}

TEST_F(Tls, BytesOfAnyNumberArriveInOrder) {
  RunningServer running;
  TlsClient client(listen(running, ours.server(TlsClients::kCertified)), app());
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{16'383}, std::size_t{16'385}, std::size_t{8} << 20}) {
    std::string value(bytes, '\0');
    for (std::size_t i = 0; i < bytes; ++i) value[i] = static_cast<char>('a' + i % 23);
    const std::string bulk = "$" + std::to_string(bytes) + "\r\n" + value + "\r\n";
    EXPECT_EQ(client.ask("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n" + bulk, 5), "+OK\r\n");
    EXPECT_TRUE(client.ask("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", bulk.size()) == bulk) << bytes;
  }
  std::string pings, pongs;
  for (int i = 0; i < 50'000; ++i) {  // more than one read, and one turn's share of commands
    pings += kPing;
    pongs += "+PONG\r\n";
  }
  EXPECT_TRUE(client.ask(pings, pongs.size()) == pongs);
  EXPECT_EQ(client.ask("*1\r\n$4\r\nQUIT\r\n", 5), "+OK\r\n");
  EXPECT_TRUE(client.said_goodbye()) << "what was cut off could not be told from the end";
}

TEST_F(Tls, WhoSpeaksNoTlsIsTurnedAwayAndOthersGoOn) {
  RunningServer running;
  const int port = listen(running, ours.server(TlsClients::kCertified));
  TlsClient other(port, app());
  EXPECT_EQ(other.ask(kPing, 7), "+PONG\r\n");
  RespClientOptions plain;
  plain.address = "127.0.0.1:" + std::to_string(port);
  auto client = RespClient::connect(plain);
  ASSERT_TRUE(client);
  EXPECT_FALSE(client->call({"PING"}, kPatience));
  EXPECT_EQ(running.stats().refused_tls, 1u);
  EXPECT_EQ(other.ask(kPing, 7), "+PONG\r\n");
  RespClient inside = running.connect();
  EXPECT_EQ(ask(inside, "CONFIG GET tls-port"), "[\"tls-port\", \"" + std::to_string(port) + "\"]");
}

TEST_F(Tls, APartOfARecordIsWaitedFor) {  // and not asked for again and again
  std::atomic<int> turns{0};
  RespServerOptions options;
  options.cheap_now = [&turns, clock = std::make_shared<ElapsedClock>()] {
    ++turns;
    return clock->now();
  };
  RunningServer running(options);
  const int port = listen(running, ours.server(TlsClients::kCertified));
  const int fd = connect_socket("127.0.0.1:" + std::to_string(port), kPatience).value();
  const std::string begun("\x16\x03\x01\x02\x00\x01\x00\x01", 8);  // of a ClientHello
  ASSERT_EQ(::send(fd, begun.data(), begun.size(), MSG_NOSIGNAL), static_cast<ssize_t>(begun.size()));
  ASSERT_TRUE(running.eventually([&] { return turns.load() > 0; }));
  const int before = turns.load();
  for (int i = 0; i < 1'000; ++i) running.on_loop([] { return 0; });
  EXPECT_LE(turns.load() - before, 2);
  ::close(fd);
}

TEST_F(Tls, AGoodbyeBehindBytesIsHeard) {
  RunningServer running;
  const int port = listen(running, ours.server(TlsClients::kCertified));
  TlsClient client(port, app());
  ASSERT_TRUE(client.send(kPing));
  client.say_goodbye();
  EXPECT_EQ(client.receive(7), "+PONG\r\n");
  EXPECT_TRUE(client.said_goodbye());
  ::close(connect_socket("127.0.0.1:" + std::to_string(port), kPatience).value());  // as a health check does
  EXPECT_TRUE(running.eventually([&] { return running.server().stats().connections == 0; }));
  EXPECT_EQ(running.stats().refused_tls, 0u);
}

TEST_F(Tls, WhoDoesNotEndItsHandshakeIsDisconnected) {  // X6
  MovedClock clock;
  RunningServer running({}, &clock);
  const int port = listen(running, ours.server(TlsClients::kAny));
  const int silent = connect_socket("127.0.0.1:" + std::to_string(port), kPatience).value();
  ::fcntl(silent, F_SETFL, ::fcntl(silent, F_GETFL) & ~O_NONBLOCK);
  TlsClient busy(port, {});
  ASSERT_EQ(busy.ask(kPing, 7), "+PONG\r\n");
  ASSERT_TRUE(running.eventually([&] { return running.server().stats().connections == 2; }));
  clock.advance(11 * kSecond);
  running.on_loop([] { return 0; });
  char byte = 0;
  EXPECT_EQ(::recv(silent, &byte, 1, 0), 0);
  ::close(silent);
  EXPECT_EQ(busy.ask(kPing, 7), "+PONG\r\n") << "it has ended its own";
  EXPECT_EQ(running.stats().refused_tls, 1u);
}

TEST_F(Tls, ARenewedCertificateIsTakenUp) {
  MovedClock clock;
  std::vector<std::string> complaints;
  RespServerOptions options;
  options.complain = [&](const std::string& what) { complaints.push_back(what); };
  RunningServer running(options, &clock);
  const int port = listen(running, ours.server(TlsClients::kCertified));
  const auto seen = [&] {
    clock.advance(2 * kSecond);
    TlsClient client(port, app());
    EXPECT_EQ(client.ask(kPing, 7), "+PONG\r\n");
    return client.server_name();
  };
  const std::string first = seen();
  ours.write("edge.pem", "not a certificate");
  EXPECT_EQ(seen(), first);
  EXPECT_EQ(seen(), first);
  ASSERT_EQ(complaints.size(), 1u) << "once for one cause";
  EXPECT_NE(complaints[0].find(ours.certificate("edge")), std::string::npos) << complaints[0];
  ours.issue("edge", NodeRole::kEdge, "edge-2");
  const std::string second = seen();
  EXPECT_NE(second, first);
  EXPECT_NE(second.find("edge-2"), std::string::npos) << second;
}

TEST_F(Tls, SaysWhichFileIsWrong) {
  Papers theirs("theirs");
  theirs.issue("edge", NodeRole::kEdge, "edge-1");
  const RespTls good = ours.server(TlsClients::kCertified);
  struct Case {
    RespTls files;
    std::string named;
  };
  const Case cases[] = {
      {{"/nowhere/c.pem", good.key_file, good.ca_file}, "certificate file \"/nowhere/c.pem\""},
      {{good.certificate_file, "/nowhere/k.pem", good.ca_file}, "key file \"/nowhere/k.pem\""},
      {{good.certificate_file, theirs.key("edge"), good.ca_file}, "key file \"" + theirs.key("edge") + "\""},
      {{good.certificate_file, good.key_file, "/nowhere/ca.pem"}, "CA file \"/nowhere/ca.pem\""},
      {{good.certificate_file, good.key_file, good.key_file}, "CA file"},
  };
  for (const Case& c : cases) {
    const auto made = TlsContext::make(c.files);
    ASSERT_FALSE(made) << c.named;
    EXPECT_EQ(made.error().code, Code::kInvalid);
    EXPECT_NE(made.error().message.find(c.named), std::string::npos) << made.error().message;
  }
  EXPECT_TRUE(TlsContext::make({good.certificate_file, good.key_file, "", TlsClients::kAny}));
}

TEST_F(Tls, ToolsOfRedis) {
  if (!installed("redis-cli")) GTEST_SKIP() << "NOT TESTED: redis-cli is not installed";
  RunningServer running;
  const std::string port = std::to_string(listen(running, ours.server(TlsClients::kCertified)));
  const std::vector<std::string> where = {
      "-h",    "127.0.0.1",    "-p", port, "--tls", "--cacert", ours.ca(), "--cert", ours.certificate("app"),
      "--key", ours.key("app")};
  const auto with = [&](std::vector<std::string> command, const std::vector<std::string>& words) {
    command.insert(command.end(), where.begin(), where.end());
    command.insert(command.end(), words.begin(), words.end());
    int status = 0;
    return run(command, &status);
  };
  EXPECT_EQ(with({"redis-cli"}, {"SET", "k", "v"}), "OK\n");
  EXPECT_EQ(with({"redis-cli"}, {"GET", "k"}), "v\n");
  const std::string text = with({"redis-benchmark"}, {"-q", "-n", "2000", "-c", "10", "-P", "16", "-t", "set,get"});
  for (const char* expected : {"SET:", "GET:"}) EXPECT_NE(text.find(expected), std::string::npos) << text;
}

}  // namespace
}  // namespace tidelock
