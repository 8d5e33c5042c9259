// OpenSSL 3 behind owning pointers. Every step that can fail goes through `openssl_error`, which names the step and
// drains OpenSSL's error queue, so that a leftover error cannot be blamed on the next call.
#include "codec/certificate.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "codec/archive.h"

namespace tidelock {
namespace {

constexpr std::size_t kPemBytesMax = 64u << 10;
constexpr std::size_t kTokenBytesMax = 512;
constexpr std::size_t kSecretBytes = 32;
constexpr std::size_t kTokenNumberBytes = 8;
constexpr std::size_t kNamesMax = 16;
constexpr std::string_view kTokenPrefix = "tljoin1";
constexpr std::string_view kRoles[] = {"hub", "edge", "client"};

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};
using X509Ptr = std::unique_ptr<X509, Freer<X509_free>>;
using ReqPtr = std::unique_ptr<X509_REQ, Freer<X509_REQ_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Freer<BIO_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, Freer<GENERAL_NAMES_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;

tl::unexpected<Error> openssl_error(Code code, const std::string& step) {
  const unsigned long number = ERR_peek_last_error();
  std::array<char, 256> text{};
  ERR_error_string_n(number, text.data(), text.size());
  ERR_clear_error();
  return fail(code, step + (number != 0 ? std::string(": ") + text.data() : std::string()));
}

Result<BioPtr> open_pem(std::string_view pem, const char* what) {
  if (pem.size() > kPemBytesMax) {
    return fail(Code::kInvalid, std::string(what) + " has " + std::to_string(pem.size()) + " bytes; at most " +
                                    std::to_string(kPemBytesMax) + " are taken");
  }
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!bio) return openssl_error(Code::kInvalid, std::string("cannot hold ") + what);
  return bio;
}

// Without this OpenSSL would ask the terminal for the pass phrase of an encrypted key.
int no_pass_phrase(char*, int, int, void*) { return 0; }

Result<X509Ptr> read_certificate(std::string_view pem) {
  auto bio = open_pem(pem, "certificate");
  if (!bio) return fail(bio.error());
  X509Ptr certificate(PEM_read_bio_X509(bio->get(), nullptr, no_pass_phrase, nullptr));
  if (!certificate) return openssl_error(Code::kCorrupt, "not a PEM certificate");
  return certificate;
}
Result<KeyPtr> read_key(std::string_view pem) {
  auto bio = open_pem(pem, "private key");
  if (!bio) return fail(bio.error());
  KeyPtr key(PEM_read_bio_PrivateKey(bio->get(), nullptr, no_pass_phrase, nullptr));
  if (!key) return openssl_error(Code::kCorrupt, "not a PEM private key");
  return key;
}
Result<ReqPtr> read_request(std::string_view pem) {
  auto bio = open_pem(pem, "certificate request");
  if (!bio) return fail(bio.error());
  ReqPtr request(PEM_read_bio_X509_REQ(bio->get(), nullptr, no_pass_phrase, nullptr));
  if (!request) return openssl_error(Code::kCorrupt, "not a PEM certificate request");
  return request;
}

template <class Write>
Result<std::string> write_pem(const char* what, Write&& write) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || write(bio.get()) != 1) return openssl_error(Code::kInvalid, std::string("cannot write ") + what);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}
Result<std::string> certificate_pem(X509* certificate) {
  return write_pem("certificate", [&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}
Result<std::string> key_pem(EVP_PKEY* key) {
  return write_pem("private key", [&](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

Result<KeyPtr> make_key() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return openssl_error(Code::kUnavailable, "cannot make an ECDSA P-256 key");
  return key;
}

Result<Bytes> random_bytes(std::size_t size) {
  Bytes bytes(size, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(size)) != 1) {
    return openssl_error(Code::kUnavailable, "no randomness");
  }
  return bytes;
}

bool set_common_name(X509_NAME* name, const std::string& text) {
  return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.data()),
                                    static_cast<int>(text.size()), -1, 0) == 1;
}

bool add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

Result<void> check_validity(Validity validity) {
  if (validity.not_after_s > validity.not_before_s) return {};
  return fail(Code::kInvalid, "validity: not_after " + std::to_string(validity.not_after_s) +
                                  " must be later than not_before " + std::to_string(validity.not_before_s));
}

// Version, serial number, dates and key: what a CA and a node certificate have in common.
Result<X509Ptr> blank_certificate(EVP_PKEY* key, Validity validity) {
  if (auto ok = check_validity(validity); !ok) return fail(ok.error());
  auto serial = random_bytes(16);
  if (!serial) return fail(serial.error());
  (*serial)[0] = static_cast<char>(((*serial)[0] & 0x3F) | 0x40);  // positive, and never zero
  using NumberPtr = std::unique_ptr<BIGNUM, Freer<BN_free>>;
  const NumberPtr number(
      BN_bin2bn(reinterpret_cast<const unsigned char*>(serial->data()), static_cast<int>(serial->size()), nullptr));
  X509Ptr certificate(X509_new());
  if (!certificate || !number || X509_set_version(certificate.get(), X509_VERSION_3) != 1 ||
      BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get())) == nullptr ||
      ASN1_TIME_set(X509_getm_notBefore(certificate.get()), static_cast<time_t>(validity.not_before_s)) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(certificate.get()), static_cast<time_t>(validity.not_after_s)) == nullptr ||
      X509_set_pubkey(certificate.get(), key) != 1) {
    return openssl_error(Code::kInvalid, "cannot fill in a certificate");
  }
  return certificate;
}

bool valid_dns_name(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  for (const char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.')) {
      return false;
    }
  }
  return true;
}
bool valid_ip(const std::string& text) {
  std::array<unsigned char, 16> out{};
  return inet_pton(AF_INET, text.c_str(), out.data()) == 1 || inet_pton(AF_INET6, text.c_str(), out.data()) == 1;
}
// Does a further DNS name look like an identity? Such a name would speak for another node.
bool names_an_identity(std::string_view name) {
  if (name.ends_with(".node.tidelock")) return true;
  const std::size_t dot = name.find('.');
  return dot != std::string_view::npos && name.find('.', dot + 1) == std::string_view::npos &&
         parse_role(name.substr(0, dot)).has_value();
}

// The value of subjectAltName. Names are checked first: this text is parsed by OpenSSL, so a comma would be an
// injection.
Result<std::string> alternative_names(const PeerIdentity& identity, const NodeNames& names) {
  if (names.dns.size() + names.ip.size() > kNamesMax) {
    return fail(Code::kInvalid, "a certificate takes at most " + std::to_string(kNamesMax) + " further names");
  }
  std::string text = "DNS:" + identity_name(identity) + ",DNS:" + any_of_role_name(identity.role);
  for (const std::string& name : names.dns) {
    if (!valid_dns_name(name) || names_an_identity(name)) {
      return fail(Code::kInvalid, "further DNS name \"" + name + "\": want a host name that is not a node's identity");
    }
    text += ",DNS:" + name;
  }
  for (const std::string& ip : names.ip) {
    if (!valid_ip(ip)) return fail(Code::kInvalid, "further IP \"" + ip + "\": want an IPv4 or IPv6 address");
    text += ",IP:" + ip;
  }
  return text;
}

Result<std::string> sign_node(const KeyPair& ca, EVP_PKEY* key, const PeerIdentity& identity, const NodeNames& names,
                              Validity validity) {
  if (auto ok = check_node_id(identity.id); !ok) return fail(ok.error());
  auto ca_certificate = read_certificate(ca.certificate_pem);
  if (!ca_certificate) return fail(ca_certificate.error());
  auto ca_key = read_key(ca.key_pem);
  if (!ca_key) return fail(ca_key.error());
  if (X509_check_private_key(ca_certificate->get(), ca_key->get()) != 1) {
    return openssl_error(Code::kInvalid, "the key is not that of the CA's certificate");
  }
  auto alternative = alternative_names(identity, names);
  if (!alternative) return fail(alternative.error());
  auto blank = blank_certificate(key, validity);
  if (!blank) return fail(blank.error());
  X509* certificate = blank->get();
  X509* issuer = ca_certificate->get();
  if (!set_common_name(X509_get_subject_name(certificate), identity_name(identity)) ||
      X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) != 1 ||
      !add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature") ||
      !add_extension(certificate, issuer, NID_ext_key_usage, "serverAuth,clientAuth") ||
      !add_extension(certificate, issuer, NID_subject_key_identifier, "hash") ||
      !add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always") ||
      !add_extension(certificate, issuer, NID_subject_alt_name, *alternative) ||
      X509_sign(certificate, ca_key->get(), EVP_sha256()) == 0) {
    return openssl_error(Code::kInvalid, "cannot sign the certificate of " + identity_name(identity));
  }
  return certificate_pem(certificate);
}

std::string common_name(X509_NAME* name) {
  std::array<char, 256> text{};
  const int size = X509_NAME_get_text_by_NID(name, NID_commonName, text.data(), static_cast<int>(text.size()));
  return size > 0 ? std::string(text.data(), static_cast<std::size_t>(size)) : std::string();
}

std::optional<Bytes> from_hex(std::string_view hex) {
  if (hex.size() % 2 != 0) return std::nullopt;
  Bytes out;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    unsigned byte = 0;
    const auto [end, error] = std::from_chars(hex.data() + i, hex.data() + i + 2, byte, 16);
    if (error != std::errc() || end != hex.data() + i + 2) return std::nullopt;
    out.push_back(static_cast<char>(byte));
  }
  return out;
}

Bytes hmac(const Bytes& secret, BytesView message) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned size = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(), out.data(), &size);
  return Bytes(reinterpret_cast<const char*>(out.data()), size);
}

// Purpose first and every field with its length, so that no proof of one kind can be read as one of another.
Bytes proof(const JoinToken& token, std::string purpose, std::initializer_list<std::string_view> texts) {
  Encoder encoder;
  std::string role(role_name(token.role));
  NodeId id = token.id;
  std::string number = token.number;
  std::int64_t expires = token.expires_s;
  encoder(purpose, role, id, number, expires);
  for (const std::string_view text : texts) {
    std::string owned(text);
    encoder(owned);
  }
  return hmac(token.secret, encoder.take());
}

bool same_secret_bytes(BytesView a, BytesView b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

std::string_view role_name(NodeRole role) { return kRoles[static_cast<std::size_t>(role)]; }

Result<NodeRole> parse_role(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kRoles); ++i) {
    if (kRoles[i] == name) return static_cast<NodeRole>(i);
  }
  return fail(Code::kInvalid, "role \"" + std::string(name.substr(0, 64)) + "\": want hub, edge or client");
}

Result<void> check_node_id(std::string_view id) {
  bool good = !id.empty() && id.size() <= 63 && id.front() != '-' && id.back() != '-';
  for (const char c : id) good = good && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-');
  if (good) return {};
  return fail(Code::kInvalid, "node id \"" + std::string(id.substr(0, 80)) +
                                  "\": want 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-'");
}

std::string identity_name(const PeerIdentity& identity) {
  return std::string(role_name(identity.role)) + "." + identity.id;
}
std::string any_of_role_name(NodeRole role) { return std::string(role_name(role)) + ".node.tidelock"; }

Result<PeerIdentity> identity_of_names(const std::vector<std::string>& dns_names) {
  std::optional<PeerIdentity> found;
  for (const std::string& name : dns_names) {
    const std::size_t dot = name.find('.');
    if (dot == std::string::npos) continue;
    const auto role = parse_role(std::string_view(name).substr(0, dot));
    const std::string_view id = std::string_view(name).substr(dot + 1);
    if (!role || !check_node_id(id)) continue;
    if (found) {
      return fail(Code::kDenied, "certificate names two nodes: " + identity_name(*found) + " and " + name);
    }
    found = PeerIdentity{*role, NodeId(id)};
  }
  if (!found) return fail(Code::kDenied, "certificate names no node: want a DNS name like hub.hub-1 or edge.edge-3");
  return *found;
}

Result<PeerIdentity> identity_of_certificate(std::string_view pem) {
  auto certificate = read_certificate(pem);
  if (!certificate) return fail(certificate.error());
  const NamesPtr names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate->get(), NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> dns;
  const int count = names ? sk_GENERAL_NAME_num(names.get()) : 0;
  for (int i = 0; i < count; ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS) continue;
    const ASN1_IA5STRING* text = name->d.dNSName;
    dns.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                     static_cast<std::size_t>(ASN1_STRING_length(text)));
  }
  ERR_clear_error();
  return identity_of_names(dns);
}

Result<PeerIdentity> check_key_pair(const KeyPair& pair) {
  auto certificate = read_certificate(pair.certificate_pem);
  if (!certificate) return fail(certificate.error());
  auto key = read_key(pair.key_pem);
  if (!key) return fail(key.error());
  if (X509_check_private_key(certificate->get(), key->get()) != 1) {
    return openssl_error(Code::kInvalid, "the private key is not that of the certificate");
  }
  return identity_of_certificate(pair.certificate_pem);
}

Result<void> check_ca_bundle(std::string_view ca_pem) {
  auto first = read_certificate(ca_pem);
  if (!first) return fail(first.error());
  if (X509_check_ca(first->get()) == 0) return fail(Code::kInvalid, "the certificate is not one of an authority");
  return {};
}

Result<KeyPair> make_ca(std::string_view cluster, Validity validity) {
  if (cluster.empty() || cluster.size() > 40) {
    return fail(Code::kInvalid, "cluster name of " + std::to_string(cluster.size()) + " bytes: want 1 to 40");
  }
  auto key = make_key();
  if (!key) return fail(key.error());
  auto blank = blank_certificate(key->get(), validity);
  if (!blank) return fail(blank.error());
  X509* certificate = blank->get();
  if (!set_common_name(X509_get_subject_name(certificate), "tidelock CA of " + std::string(cluster)) ||
      X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) != 1 ||
      !add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(certificate, certificate, NID_subject_key_identifier, "hash") ||
      X509_sign(certificate, key->get(), EVP_sha256()) == 0) {
    return openssl_error(Code::kInvalid, "cannot sign the CA's certificate");
  }
  auto text = certificate_pem(certificate);
  if (!text) return fail(text.error());
  auto secret = key_pem(key->get());
  if (!secret) return fail(secret.error());
  return KeyPair{std::move(*text), std::move(*secret)};
}

Result<KeyPair> issue_certificate(const KeyPair& ca, const PeerIdentity& identity, const NodeNames& names,
                                  Validity validity) {
  auto key = make_key();
  if (!key) return fail(key.error());
  auto text = sign_node(ca, key->get(), identity, names, validity);
  if (!text) return fail(text.error());
  auto secret = key_pem(key->get());
  if (!secret) return fail(secret.error());
  return KeyPair{std::move(*text), std::move(*secret)};
}

Result<CertificateRequest> make_csr(const PeerIdentity& identity) {
  if (auto ok = check_node_id(identity.id); !ok) return fail(ok.error());
  auto key = make_key();
  if (!key) return fail(key.error());
  const ReqPtr request(X509_REQ_new());
  if (!request || X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) != 1 ||
      !set_common_name(X509_REQ_get_subject_name(request.get()), identity_name(identity)) ||
      X509_REQ_set_pubkey(request.get(), key->get()) != 1 ||
      X509_REQ_sign(request.get(), key->get(), EVP_sha256()) == 0) {
    return openssl_error(Code::kInvalid, "cannot make a certificate request");
  }
  auto text = write_pem("request", [&](BIO* bio) { return PEM_write_bio_X509_REQ(bio, request.get()); });
  if (!text) return fail(text.error());
  auto secret = key_pem(key->get());
  if (!secret) return fail(secret.error());
  return CertificateRequest{std::move(*text), std::move(*secret)};
}

namespace {
// A request is signed by the key it carries: who sent it holds that key.
Result<PeerIdentity> identity_of_request(X509_REQ* request) {
  EVP_PKEY* key = X509_REQ_get0_pubkey(request);
  if (key == nullptr) return openssl_error(Code::kCorrupt, "certificate request without a key");
  if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC || EVP_PKEY_get_bits(key) != 256) {
    return fail(Code::kDenied, "certificate request: want an ECDSA P-256 key");
  }
  if (X509_REQ_verify(request, key) != 1) {
    return openssl_error(Code::kDenied, "certificate request is not signed by its own key");
  }
  return identity_of_names({common_name(X509_REQ_get_subject_name(request))});
}
}  // namespace

Result<PeerIdentity> identity_of_csr(std::string_view csr_pem) {
  auto request = read_request(csr_pem);
  if (!request) return fail(request.error());
  return identity_of_request(request->get());
}

Result<std::string> sign_csr(const KeyPair& ca, std::string_view csr_pem, const PeerIdentity& identity,
                             const NodeNames& names, Validity validity) {
  auto request = read_request(csr_pem);
  if (!request) return fail(request.error());
  const auto asked = identity_of_request(request->get());
  if (!asked) return fail(asked.error());
  if (*asked != identity) {
    return fail(Code::kDenied,
                "the request asks for " + identity_name(*asked) + ", not for " + identity_name(identity));
  }
  return sign_node(ca, X509_REQ_get0_pubkey(request->get()), identity, names, validity);
}

// ------------------------------------------------------------------------------------------------- join tokens

Result<JoinToken> make_join_token(NodeRole role, NodeId id, std::int64_t expires_s) {
  if (!id.empty()) {
    if (auto ok = check_node_id(id); !ok) return fail(ok.error());
  }
  auto number = random_bytes(kTokenNumberBytes);
  if (!number) return fail(number.error());
  auto secret = random_bytes(kSecretBytes);
  if (!secret) return fail(secret.error());
  return JoinToken{role, std::move(id), expires_s, to_hex(*number), std::move(*secret)};
}

std::string token_text(const JoinToken& token) {
  return std::string(kTokenPrefix) + "." + std::string(role_name(token.role)) + "." +
         (token.id.empty() ? "*" : token.id) + "." + std::to_string(token.expires_s) + "." + token.number + "." +
         to_hex(token.secret);
}

Result<JoinToken> parse_join_token(std::string_view text) {
  // The text may be a secret with a typing error in it, so no part of it is repeated in an error.
  const auto bad = [](const char* what) {
    return fail(Code::kInvalid, std::string("join token: ") + what +
                                    "; want tljoin1.ROLE.ID.EXPIRES.NUMBER.SECRET as the hub printed it");
  };
  if (text.size() > kTokenBytesMax) return bad("too long");
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t dot = std::min(text.find('.', at), text.size());
    parts.push_back(text.substr(at, dot - at));
    at = dot + 1;
  }
  if (parts.size() != 6) return bad("not six parts");
  if (parts[0] != kTokenPrefix) return bad("unknown kind");
  JoinToken token;
  const auto role = parse_role(parts[1]);
  if (!role) return bad("unknown role");
  token.role = *role;
  if (parts[2] != "*") {
    if (!check_node_id(parts[2])) return bad("bad node id");
    token.id = NodeId(parts[2]);
  }
  const auto [end, error] = std::from_chars(parts[3].data(), parts[3].data() + parts[3].size(), token.expires_s);
  if (error != std::errc() || end != parts[3].data() + parts[3].size()) return bad("bad expiry");
  const auto number = from_hex(parts[4]);
  const auto secret = from_hex(parts[5]);
  if (!number || number->size() != kTokenNumberBytes) return bad("bad number");
  if (!secret || secret->size() != kSecretBytes) return bad("bad secret");
  token.number = to_hex(*number);
  token.secret = *secret;
  if (token_text(token) != text) return bad("not as the hub printed it");  // "-0", "007", "AB"
  return token;
}

Bytes join_proof(const JoinToken& token, std::string_view csr_pem) {
  return proof(token, "tidelock join request", {csr_pem});
}

Result<PeerIdentity> verify_join(const JoinToken& token, std::string_view csr_pem, BytesView given,
                                 std::int64_t now_s) {
  if (csr_pem.size() > kPemBytesMax) return fail(Code::kInvalid, "certificate request: more than 64 KiB");
  // The proof first: whoever does not hold the token learns nothing else.
  if (!same_secret_bytes(join_proof(token, csr_pem), given)) {
    return fail(Code::kDenied, "join: the proof does not fit token " + token.number);
  }
  if (now_s >= token.expires_s) {
    return fail(Code::kDenied, "join: token " + token.number + " expired at unix second " +
                                   std::to_string(token.expires_s) + "; make a new one on a hub");
  }
  auto asked = identity_of_csr(csr_pem);
  if (!asked) return asked;
  if (asked->role != token.role || (!token.id.empty() && asked->id != token.id)) {
    return fail(Code::kDenied, "join: token " + token.number + " is for " + std::string(role_name(token.role)) + "." +
                                   (token.id.empty() ? "*" : token.id) + ", the request is for " +
                                   identity_name(*asked));
  }
  return asked;
}

Bytes join_answer_proof(const JoinToken& token, std::string_view csr_pem, std::string_view certificate,
                        std::string_view ca) {
  return proof(token, "tidelock join answer", {csr_pem, certificate, ca});
}

Result<void> verify_join_answer(const JoinToken& token, std::string_view csr_pem, std::string_view certificate,
                                std::string_view ca, BytesView given) {
  if (same_secret_bytes(join_answer_proof(token, csr_pem, certificate, ca), given)) return {};
  return fail(Code::kDenied, "join: the answer does not come from a hub that holds token " + token.number);
}

}  // namespace tidelock
