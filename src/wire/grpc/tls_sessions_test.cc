// X1 on connections that resume a TLS session.
#include "wire/grpc/tls_sessions.h"

#include "base/wall_clock.h"
#include "wire/grpc/transport_fixture.h"

namespace tidelock {
namespace {

class TlsSessionsTest : public TransportTest {
 protected:
  struct Asked {
    grpc::Status status;
    std::string who;
    bool resumed = false;
  };
  // One question over a connection of its own, as `tls`, of the node that `expected` names.
  Asked ask(const std::string& address, const TlsFiles& tls, const NodeId& expected = {}) {
    Asked asked;
    const auto loaded = wire::load_tls(tls);
    EXPECT_TRUE(loaded) << loaded.error().message;
    wire::ChannelOptions options;
    options.address = address;
    options.expected_hub = expected;
    const auto channel = wire::make_channel(*loaded, options);
    EXPECT_TRUE(channel) << channel.error().message;
    grpc::ClientContext context;
    context.set_wait_for_ready(false);
    v1::Frame question, answer;
    question.set_body("who");
    asked.status = v1::Node::NewStub(*channel)->Call(&context, question, &answer);
    asked.who = answer.body();
    if (const auto auth = context.auth_context()) {
      for (const auto& value : auth->FindPropertyValues("ssl_session_reused"))
        asked.resumed = std::string(value.data(), value.size()) == "true";
    }
    channels_.push_back(*channel);
    return asked;
  }
  // The certificate of `id`, good for so many seconds from now.
  TlsFiles files_until(std::int64_t seconds, NodeRole role, const NodeId& id) {
    const auto now = static_cast<std::int64_t>(wall_ms_now() / 1000);
    return ca_->files_valid(role, id, {now - 3'600, now + seconds});
  }
  std::vector<std::shared_ptr<grpc::Channel>> channels_;  // still open: a connection that was cut says no farewell
};

TEST_F(TlsSessionsTest, AConnectionResumesTheSessionOfTheOneBefore) {
  EchoService service;
  const auto server = serve(service);
  const TlsFiles edge = ca_->files(NodeRole::kEdge, "edge-1");
  const Asked first = ask(server->address(), edge);
  ASSERT_TRUE(first.status.ok()) << first.status.error_message();
  EXPECT_FALSE(first.resumed);
  for (int i = 0; i < 5; ++i) {
    const Asked next = ask(server->address(), edge);
    ASSERT_TRUE(next.status.ok()) << next.status.error_message();
    EXPECT_TRUE(next.resumed) << "connection " << i << " after the first";
    EXPECT_EQ(next.who, "edge.edge-1") << "the name is that of the certificate";
    if (i == 2) channels_.clear();  // and after a farewell
  }
}

TEST_F(TlsSessionsTest, ASessionIsOfOneCertificateAndOneNode) {
  EchoService service;
  const auto server = serve(service);
  const TlsFiles one = ca_->files(NodeRole::kEdge, "edge-1"), two = ca_->files(NodeRole::kEdge, "edge-2");
  ASSERT_TRUE(ask(server->address(), one, "hub-1").status.ok());
  EXPECT_TRUE(ask(server->address(), one, "hub-1").resumed);
  const Asked other = ask(server->address(), two, "hub-1");
  EXPECT_FALSE(other.resumed) << "nobody comes in on the session of another";
  EXPECT_EQ(other.who, "edge.edge-2");
  EXPECT_FALSE(ask(server->address(), one, "hub-2").status.ok()) << "X1: it is not the node that is expected";
  const Asked renewed = ask(server->address(), ca_->files(NodeRole::kEdge, "edge-1"), "hub-1");
  EXPECT_TRUE(renewed.status.ok());
  EXPECT_FALSE(renewed.resumed) << "a renewed certificate is shown";
}

TEST_F(TlsSessionsTest, AServerThatWasStartedAnewKnowsNoSession) {
  EchoService service;
  const TlsFiles edge = ca_->files(NodeRole::kEdge, "edge-1");
  int port = 0;
  {
    const auto server = serve(service);
    port = server->port();
    ASSERT_TRUE(ask(server->address(), edge).status.ok());
    channels_.clear();
  }
  const auto server = serve(service, "hub-1", 16u << 20, port);
  const Asked again = ask(server->address(), edge);
  ASSERT_TRUE(again.status.ok()) << again.status.error_message();
  EXPECT_FALSE(again.resumed);
  EXPECT_TRUE(ask(server->address(), edge).resumed);
}

// X1: on a resumed connection each request is judged by the name, as on any other.
TEST_F(TlsSessionsTest, WhoMayNotIsRefusedOnAResumedConnectionToo) {
  EchoService service;
  const auto server = serve(service);
  const TlsFiles alice = ca_->files(NodeRole::kClient, "alice");
  ASSERT_TRUE(ask(server->address(), alice).status.ok());
  ASSERT_TRUE(ask(server->address(), alice).resumed);
  EdgeEnd intruder;
  ASSERT_TRUE(intruder.connect(server->address(), alice));
  EXPECT_FALSE(intruder.wait_open());
  EXPECT_EQ(intruder.wait_closed().code, Code::kDenied);
}

// X1: nobody looks at a certificate that was shown before, so its end has to end the session.
TEST_F(TlsSessionsTest, ACertificateThatExpiresEndsItsSession) {
  EchoService service;
  const auto server = serve(service);
  // So long that the first connection is made in time on any machine; what follows waits for the end itself.
  const TlsFiles brief = files_until(5, NodeRole::kEdge, "edge-1");
  ASSERT_TRUE(ask(server->address(), brief).status.ok());
  const std::uint64_t begin_ms = wall_ms_now();
  Asked last;
  do {
    last = ask(server->address(), brief);
    channels_.clear();
  } while (last.status.ok() && wall_ms_now() - begin_ms < 20'000);
  EXPECT_FALSE(last.status.ok()) << "it came in on a session after its certificate had expired";
  const TlsFiles renewed = ca_->files(NodeRole::kEdge, "edge-1");
  EXPECT_TRUE(ask(server->address(), renewed).status.ok());
}

}  // namespace
}  // namespace tidelock
