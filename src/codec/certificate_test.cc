#include "codec/certificate.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidelock {
namespace {

constexpr Validity kYear{1'700'000'000, 1'731'536'000};

KeyPair test_ca() { return make_ca("test", kYear).value(); }

TEST(NodeId, IsOneDnsLabel) {
  struct Case {
    const char* why;
    std::string id;
    bool good;
  };
  const Case cases[] = {{"the usual", "hub-1", true},
                        {"one letter", "a", true},
                        {"as long as a label", std::string(63, 'a'), true},
                        {"longer than a label", std::string(64, 'a'), false},
                        {"empty", "", false},
                        {"a dot would change the role", "edge.1", false},
                        {"DNS names ignore case, so ids have none", "Hub-1", false},
                        {"a comma would end the name in OpenSSL's text", "a,DNS:hub.hub-1", false},
                        {"begins with a dash", "-a", false},
                        {"ends with a dash", "a-", false}};
  for (const Case& c : cases) EXPECT_EQ(check_node_id(c.id).has_value(), c.good) << c.why;
}

TEST(Identity, ExactlyOneNameBindsIt) {
  struct Case {
    const char* why;
    std::vector<std::string> names;
    std::string identity;  // empty: refused
  };
  const Case cases[] = {{"a hub", {"hub.hub-1", "hub.node.tidelock", "localhost"}, "hub.hub-1"},
                        {"an edge, last", {"localhost", "edge.edge-3"}, "edge.edge-3"},
                        {"no names", {}, ""},
                        {"only the role", {"hub.node.tidelock"}, ""},
                        {"a role we do not know", {"root.hub-1"}, ""},
                        {"two nodes in one certificate", {"hub.hub-1", "edge.edge-1"}, ""},
                        {"the same node twice is still two names", {"hub.hub-1", "hub.hub-1"}, ""}};
  for (const Case& c : cases) {
    const auto identity = identity_of_names(c.names);
    if (c.identity.empty()) {
      ASSERT_FALSE(identity) << c.why;
      EXPECT_EQ(identity.error().code, Code::kDenied) << c.why;
    } else {
      ASSERT_TRUE(identity) << c.why;
      EXPECT_EQ(identity_name(*identity), c.identity) << c.why;
    }
  }
}

TEST(Certificate, CarriesTheIdentityItWasIssuedFor) {
  const KeyPair ca = test_ca();
  const PeerIdentity hub{NodeRole::kHub, "hub-1"};
  const auto pair = issue_certificate(ca, hub, {{"localhost"}, {"127.0.0.1", "::1"}}, kYear);
  ASSERT_TRUE(pair) << pair.error().message;
  EXPECT_EQ(identity_of_certificate(pair->certificate_pem).value(), hub);
  EXPECT_NE(pair->key_pem.find("BEGIN PRIVATE KEY"), std::string::npos);
  EXPECT_EQ(pair->certificate_pem.find("PRIVATE"), std::string::npos);
  const auto of_ca = identity_of_certificate(ca.certificate_pem);
  ASSERT_FALSE(of_ca) << "the CA is no node";
}

TEST(Certificate, RefusesWhatWouldNotHold) {
  const KeyPair ca = test_ca();
  const KeyPair other = test_ca();
  const PeerIdentity hub{NodeRole::kHub, "hub-1"};
  struct Case {
    const char* why;
    KeyPair ca;
    PeerIdentity identity;
    NodeNames names;
    Validity validity;
    Code code;
  };
  const Case cases[] = {{"id is no label", ca, {NodeRole::kHub, "hub.1"}, {}, kYear, Code::kInvalid},
                        {"expires before it begins", ca, hub, {}, {10, 10}, Code::kInvalid},
                        {"further name is another node", ca, hub, {{"hub.hub-2"}, {}}, kYear, Code::kInvalid},
                        {"further name is a role", ca, hub, {{"edge.node.tidelock"}, {}}, kYear, Code::kInvalid},
                        {"further name smuggles a second", ca, hub, {{"a,DNS:hub.hub-2"}, {}}, kYear, Code::kInvalid},
                        {"not an address", ca, hub, {{}, {"127.0.0.1,DNS:x"}}, kYear, Code::kInvalid},
                        {"too many names", ca, hub, {std::vector<std::string>(17, "host"), {}}, kYear, Code::kInvalid},
                        {"key of another CA", {ca.certificate_pem, other.key_pem}, hub, {}, kYear, Code::kInvalid},
                        {"CA is no certificate", {"nonsense", ca.key_pem}, hub, {}, kYear, Code::kCorrupt},
                        {"CA key is no key", {ca.certificate_pem, "nonsense"}, hub, {}, kYear, Code::kCorrupt},
                        {"CA file is huge", {std::string(1 << 20, 'x'), ca.key_pem}, hub, {}, kYear, Code::kInvalid}};
  for (const Case& c : cases) {
    const auto pair = issue_certificate(c.ca, c.identity, c.names, c.validity);
    ASSERT_FALSE(pair) << c.why;
    EXPECT_EQ(pair.error().code, c.code) << c.why << ": " << pair.error().message;
  }
}

TEST(Certificate, FilesOfANodeMustFitTogether) {
  const KeyPair ca = test_ca();
  const KeyPair hub = issue_certificate(ca, {NodeRole::kHub, "hub-1"}, {}, kYear).value();
  const KeyPair edge = issue_certificate(ca, {NodeRole::kEdge, "edge-1"}, {}, kYear).value();
  EXPECT_EQ(check_key_pair(hub).value().id, "hub-1");
  EXPECT_EQ(check_key_pair({hub.certificate_pem, edge.key_pem}).error().code, Code::kInvalid);
  EXPECT_EQ(check_key_pair({hub.key_pem, hub.key_pem}).error().code, Code::kCorrupt) << "files mixed up";
  EXPECT_EQ(check_key_pair(ca).error().code, Code::kDenied) << "the CA's own files are no node's";
  EXPECT_TRUE(check_ca_bundle(ca.certificate_pem + test_ca().certificate_pem));
  EXPECT_EQ(check_ca_bundle(hub.certificate_pem).error().code, Code::kInvalid) << "a node's certificate is no CA";
  EXPECT_EQ(check_ca_bundle("").error().code, Code::kCorrupt);
}

TEST(Certificate, RequestIsSignedOnlyForWhomItNames) {
  const KeyPair ca = test_ca();
  const PeerIdentity edge{NodeRole::kEdge, "edge-3"};
  const auto request = make_csr(edge);
  ASSERT_TRUE(request);
  EXPECT_EQ(identity_of_csr(request->csr_pem).value(), edge);
  const auto certificate = sign_csr(ca, request->csr_pem, edge, {}, kYear);
  ASSERT_TRUE(certificate) << certificate.error().message;
  EXPECT_EQ(identity_of_certificate(*certificate).value(), edge);

  const auto wrong = sign_csr(ca, request->csr_pem, {NodeRole::kHub, "hub-1"}, {}, kYear);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Code::kDenied);

  std::string bent = request->csr_pem;
  bent[bent.size() / 2] = bent[bent.size() / 2] == 'A' ? 'B' : 'A';
  EXPECT_FALSE(sign_csr(ca, bent, edge, {}, kYear)) << "a flipped byte breaks the parse or the signature";

  // Of edge.edge-3 too, and signed by its own key, but an Ed25519 one: TLS here speaks P-256.
  constexpr const char* kEd25519 =
      "-----BEGIN CERTIFICATE REQUEST-----\n"
      "MIGVMEkCAQAwFjEUMBIGA1UEAwwLZWRnZS5lZGdlLTMwKjAFBgMrZXADIQAUwgPj\nwzW6ge8Fzu394VT/MrCf42AetKyTHA2/"
      "p6MfBKAAMAUGAytlcANBAG+sQTV3nJIH\n"
      "ZzECN2Id5hl+hJd2C6wv+Tl+9F86W4xvMXKzf3PXYu5zyESoIdkmztnVId8Uokk7\nL75IH14viww=\n"
      "-----END CERTIFICATE REQUEST-----\n";
  const auto other_kind = sign_csr(ca, kEd25519, edge, {}, kYear);
  ASSERT_FALSE(other_kind);
  EXPECT_EQ(other_kind.error().code, Code::kDenied);
  EXPECT_NE(other_kind.error().message.find("want an ECDSA P-256 key"), std::string::npos)
      << other_kind.error().message;
}

TEST(Certificate, AuthorityIsOfANamedCluster) {
  for (const std::size_t bytes : {0u, 1u, 40u, 41u}) {
    const auto ca = make_ca(std::string(bytes, 'c'), kYear);
    EXPECT_EQ(ca.has_value(), bytes == 1 || bytes == 40) << bytes;
    if (ca) continue;
    EXPECT_EQ(ca.error().code, Code::kInvalid);
    EXPECT_EQ(ca.error().message, "cluster name of " + std::to_string(bytes) + " bytes: want 1 to 40");
  }
}

TEST(JoinToken, TextRoundTrip) {
  for (const NodeId& id : {NodeId("edge-3"), NodeId()}) {
    const JoinToken token = make_join_token(NodeRole::kEdge, id, 1'700'000'600).value();
    EXPECT_EQ(parse_join_token(token_text(token)).value(), token);
  }
  EXPECT_NE(make_join_token(NodeRole::kEdge, "", 1).value().secret,
            make_join_token(NodeRole::kEdge, "", 1).value().secret);
}

TEST(JoinToken, RefusesBadTextAndRepeatsNoneOfIt) {
  const std::string good = token_text(make_join_token(NodeRole::kEdge, "edge-3", 1'700'000'600).value());
  const std::string secret = good.substr(good.rfind('.') + 1);
  struct Case {
    const char* why;
    std::string text;
  };
  const Case cases[] = {{"empty", ""},
                        {"cut", good.substr(0, good.size() - 1)},
                        {"one part more", good + ".00"},
                        {"another kind", "x" + good},
                        {"unknown role", "tljoin1.root.a.1.0011223344556677." + secret},
                        {"bad id", "tljoin1.edge.A.1.0011223344556677." + secret},
                        {"bad expiry", "tljoin1.edge.a.1x.0011223344556677." + secret},
                        {"expiry with a zero in front", "tljoin1.edge.a.01.0011223344556677." + secret},
                        {"expiry of minus zero", "tljoin1.edge.a.-0.0011223344556677." + secret},
                        {"number in capitals", "tljoin1.edge.a.1.00112233445566AA." + secret},
                        {"bad number", "tljoin1.edge.a.1.00." + secret},
                        {"not hex", "tljoin1.edge.a.1.0011223344556677." + std::string(64, 'z')},
                        {"huge", std::string(1 << 20, '.')}};
  for (const Case& c : cases) {
    const auto token = parse_join_token(c.text);
    ASSERT_FALSE(token) << c.why;
    EXPECT_EQ(token.error().code, Code::kInvalid) << c.why;
    EXPECT_EQ(token.error().message.find(secret), std::string::npos) << c.why;
  }
}

TEST(Join, WholeExchange) {
  const KeyPair ca = test_ca();
  const JoinToken token = make_join_token(NodeRole::kEdge, "", 1'700'000'600).value();
  const PeerIdentity edge{NodeRole::kEdge, "edge-3"};
  const CertificateRequest request = make_csr(edge).value();
  const auto identity = verify_join(token, request.csr_pem, join_proof(token, request.csr_pem), 1'700'000'599);
  ASSERT_TRUE(identity) << identity.error().message;
  EXPECT_EQ(*identity, edge);
  const std::string certificate = sign_csr(ca, request.csr_pem, *identity, {}, kYear).value();
  const Bytes answer = join_answer_proof(token, request.csr_pem, certificate, ca.certificate_pem);
  EXPECT_TRUE(verify_join_answer(token, request.csr_pem, certificate, ca.certificate_pem, answer));
  EXPECT_FALSE(verify_join_answer(token, request.csr_pem, certificate, test_ca().certificate_pem, answer))
      << "another CA slipped in on the way";
  EXPECT_FALSE(
      verify_join_answer(token, request.csr_pem, certificate, ca.certificate_pem, join_proof(token, request.csr_pem)))
      << "a request's proof is not an answer's";
}

TEST(Join, IsDenied) {
  const JoinToken token = make_join_token(NodeRole::kEdge, "edge-3", 1'000).value();
  const std::string csr = make_csr({NodeRole::kEdge, "edge-3"}).value().csr_pem;
  const std::string other_id = make_csr({NodeRole::kEdge, "edge-4"}).value().csr_pem;
  const std::string other_role = make_csr({NodeRole::kHub, "edge-3"}).value().csr_pem;
  JoinToken longer = token;
  longer.expires_s = 2'000;
  struct Case {
    const char* why;
    JoinToken token;
    std::string csr;
    Bytes proof;
    std::int64_t now_s;
  };
  const Case cases[] = {{"expired, to the second", token, csr, join_proof(token, csr), 1'000},
                        {"expiry moved by the holder", token, csr, join_proof(longer, csr), 500},
                        {"proof of another token", token, csr,
                         join_proof(make_join_token(NodeRole::kEdge, "edge-3", 1'000).value(), csr), 500},
                        {"proof of another request", token, csr, join_proof(token, other_id), 500},
                        {"no proof", token, csr, "", 500},
                        {"proof cut short", token, csr, join_proof(token, csr).substr(0, 31), 500},
                        {"token is for another id", token, other_id, join_proof(token, other_id), 500},
                        {"token is for another role", token, other_role, join_proof(token, other_role), 500}};
  for (const Case& c : cases) {
    const auto identity = verify_join(c.token, c.csr, c.proof, c.now_s);
    ASSERT_FALSE(identity) << c.why;
    EXPECT_EQ(identity.error().code, Code::kDenied) << c.why << ": " << identity.error().message;
  }
}

}  // namespace
}  // namespace tidelock
