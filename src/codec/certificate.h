// Certificates of nodes, and the tokens with which a node asks for one. PEM strings in, PEM strings out.
//
// A node certificate (ECDSA P-256) binds one name to one node: the DNS name `<role>.<id>`, for example `hub.hub-1`. It
// also carries `<role>.node.tidelock`, by which a client that knows no id yet asks TLS for "any hub of this cluster".
//
// Joining: the hub makes a token (`make_join_token`) and keeps its secret. The new node makes a key and a request
// (`make_csr`), binds the request to the token with `join_proof`, and gets `{certificate, CA}` back, bound to the same
// token with `join_answer_proof`. The token itself never travels, the private key never leaves its node, and an answer
// from anyone who does not hold the token is refused, so the exchange may run over a link that is not yet trusted.
//
// Threads: pure functions; randomness comes from OpenSSL. Cost: a signature takes about 0.1 ms. Wall time is unix
// seconds, handed in (C4: it decides expiry of certificates and tokens, never safety of a read).
// Limits: PEM inputs above 64 KiB are refused. Errors: kInvalid what is ours or the operator's to get right, kCorrupt
// bytes that do not parse, kDenied a signature, proof or expiry that does not hold.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace tidelock {

enum class NodeRole : std::uint8_t { kHub = 0, kEdge, kClient };
constexpr NodeRole last_enumerator(NodeRole) { return NodeRole::kClient; }
std::string_view role_name(NodeRole role);  // "hub", "edge", "client"
Result<NodeRole> parse_role(std::string_view name);

// Who a certificate says its holder is.
struct PeerIdentity {
  NodeRole role = NodeRole::kClient;
  NodeId id;
  friend bool operator==(const PeerIdentity&, const PeerIdentity&) = default;
};

// 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-' (it is one label of a DNS name).
Result<void> check_node_id(std::string_view id);

std::string identity_name(const PeerIdentity& identity);  // "edge.edge-3"
std::string any_of_role_name(NodeRole role);              // "hub.node.tidelock"
// The identity among the DNS names of a certificate: exactly one must read `<role>.<id>`, else kDenied.
Result<PeerIdentity> identity_of_names(const std::vector<std::string>& dns_names);
// As above, out of a PEM certificate. Checks no signature.
Result<PeerIdentity> identity_of_certificate(std::string_view certificate_pem);

struct KeyPair {
  std::string certificate_pem;
  std::string key_pem;  // a secret: a file with it has mode 0600
};

// What a node is about to present: both parts parse, belong together, and name a node.
Result<PeerIdentity> check_key_pair(const KeyPair& pair);
// A PEM bundle of one or more CA certificates (two while a CA is being replaced).
Result<void> check_ca_bundle(std::string_view ca_pem);

struct Validity {
  std::int64_t not_before_s = 0;  // unix seconds; issue an hour early so that a slow clock still accepts
  std::int64_t not_after_s = 0;
};

// A self-signed certificate authority. `cluster` only names it ("tidelock CA of <cluster>").
Result<KeyPair> make_ca(std::string_view cluster, Validity validity);

struct NodeNames {
  std::vector<std::string> dns;  // further DNS names, e.g. "localhost"
  std::vector<std::string> ip;   // e.g. "127.0.0.1"
};

// Makes a key and a certificate for it, signed by `ca`. The identity must pass check_node_id.
Result<KeyPair> issue_certificate(const KeyPair& ca, const PeerIdentity& identity, const NodeNames& names,
                                  Validity validity);

struct CertificateRequest {
  std::string csr_pem;
  std::string key_pem;  // a secret that stays where it was made
};
Result<CertificateRequest> make_csr(const PeerIdentity& identity);
Result<PeerIdentity> identity_of_csr(std::string_view csr_pem);  // checks that the request is signed by its own key
// Signs a request. The names come from `identity`, never from the request: a request that asks for another identity is
// kDenied.
Result<std::string> sign_csr(const KeyPair& ca, std::string_view csr_pem, const PeerIdentity& identity,
                             const NodeNames& names, Validity validity);

// ------------------------------------------------------------------------------------------------- join tokens

// A token lets one node, of one role and optionally one id, ask for a certificate until it expires. Text form, one
// line: `tljoin1.<role>.<id or *>.<expires, unix s>.<number, hex>.<secret, hex>`.
struct JoinToken {
  NodeRole role = NodeRole::kEdge;
  NodeId id;  // empty: the node chooses
  std::int64_t expires_s = 0;
  std::string number;  // 16 hex digits, public: under it the hub finds the secret and remembers that it was used
  Bytes secret;        // 32 bytes
  friend bool operator==(const JoinToken&, const JoinToken&) = default;
};
Result<JoinToken> make_join_token(NodeRole role, NodeId id, std::int64_t expires_s);
std::string token_text(const JoinToken& token);  // holds the secret: show it once, log it never
Result<JoinToken> parse_join_token(std::string_view text);

// HMAC-SHA-256 under the token's secret of purpose "join request", the token's public fields and the request.
Bytes join_proof(const JoinToken& token, std::string_view csr_pem);
// What the hub checks before sign_csr: the proof (in constant time), the expiry, and that the request asks for the role
// and id the token is for. Returns the identity to sign. Single use is the caller's: remember `token.number`.
Result<PeerIdentity> verify_join(const JoinToken& token, std::string_view csr_pem, BytesView proof, std::int64_t now_s);
// The hub's answer, bound to the request it answers.
Bytes join_answer_proof(const JoinToken& token, std::string_view csr_pem, std::string_view certificate_pem,
                        std::string_view ca_pem);
Result<void> verify_join_answer(const JoinToken& token, std::string_view csr_pem, std::string_view certificate_pem,
                                std::string_view ca_pem, BytesView proof);

}  // namespace tidelock
