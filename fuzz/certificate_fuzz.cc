// PEM files and join tokens from operators and strangers. Whatever parses has a well-formed identity, and a token's
// text is the token's only text; nothing that strangers send passes for what our own key signed.
#include "codec/certificate.h"
#include "codec/signature.h"
#include "fuzz/fuzz.h"

namespace tidelock::fuzz {
namespace {

constexpr Validity kAlways{0, 4'000'000'000};

struct Ours {
  KeyPair ca = *make_ca("cluster", kAlways);
  KeyPair node = *issue_certificate(ca, {NodeRole::kEdge, "edge-1"}, {{"localhost"}, {"127.0.0.1"}}, kAlways);
  CertificateRequest request = *make_csr({NodeRole::kEdge, "edge-1"});
  SigningKey signing = *make_signing_key();
  JoinToken token = *make_join_token(NodeRole::kEdge, "", 2'000'000'000);
};
const Ours& ours() {
  static const Ours made;
  return made;
}

void well_formed(const Result<PeerIdentity>& identity) {
  if (!identity) return TIDELOCK_ASSERT(!identity.error().message.empty());
  TIDELOCK_ASSERT(check_node_id(identity->id));
  TIDELOCK_ASSERT(*identity_of_names({identity_name(*identity), "localhost"}) == *identity);
}

}  // namespace

std::vector<Seed> seeds() {
  JoinToken token;
  token.role = NodeRole::kHub;
  token.id = "hub-2";
  token.expires_s = 2'000'000'000;
  token.number = "0123456789abcdef";
  token.secret = Bytes(32, 'x');
  return {{"certificate", number(0, 1) + ours().node.certificate_pem},
          {"request", number(1, 1) + ours().request.csr_pem},
          {"bundle", number(2, 1) + ours().ca.certificate_pem + ours().node.certificate_pem},
          {"token", number(3, 1) + token_text(token)},
          {"public_key", number(4, 1) + ours().signing.public_pem},
          {"names", number(5, 1) + "hub.hub-1\nhub.node.tidelock\nlocalhost"}};
}

void run(BytesView input) {
  Input in(input);
  const std::uint8_t what = in.byte() % 6;
  const BytesView bytes = in.rest();
  switch (what) {
    case 0:
      well_formed(identity_of_certificate(bytes));
      (void)check_key_pair({Bytes(bytes), ours().node.key_pem});
      break;
    case 1: {
      const auto identity = identity_of_csr(bytes);
      well_formed(identity);
      if (!identity) break;
      const auto signed_pem = sign_csr(ours().ca, bytes, *identity, {}, kAlways);
      TIDELOCK_ASSERT(signed_pem && *identity_of_certificate(*signed_pem) == *identity);
      const Bytes proof = join_proof(ours().token, bytes);
      const bool wanted = identity->role == NodeRole::kEdge;  // the token's role
      TIDELOCK_ASSERT(verify_join(ours().token, bytes, proof, 1).has_value() == wanted);
      TIDELOCK_ASSERT(!verify_join(ours().token, bytes, proof.substr(1), 1));
      TIDELOCK_ASSERT(!verify_join(ours().token, bytes, proof, ours().token.expires_s + 1));
      break;
    }
    case 2: (void)check_ca_bundle(bytes); break;
    case 3:
      if (const auto token = parse_join_token(bytes)) {
        TIDELOCK_ASSERT(token->secret.size() == 32 && token->number.size() == 16);
        TIDELOCK_ASSERT(*parse_join_token(token_text(*token)) == *token);
        TIDELOCK_ASSERT(token_text(*token) == bytes);
      }
      break;
    case 4:
      if (const auto id = key_id_of(bytes)) {
        TIDELOCK_ASSERT(id->size() == kKeyIdBytes);
        TIDELOCK_ASSERT(!verify_bytes(bytes, "message", Bytes(kSignatureBytes, 's')));
      }
      TIDELOCK_ASSERT(!verify_bytes(ours().signing.public_pem, "message", bytes.substr(0, 200)));
      break;
    default: {
      std::vector<std::string> names;
      for (BytesView rest = bytes; !rest.empty() && names.size() < 64;) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        names.emplace_back(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
      well_formed(identity_of_names(names));
    }
  }
}

}  // namespace tidelock::fuzz
