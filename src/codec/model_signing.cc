#include "codec/model_signing.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "codec/hmac.h"
#include "codec/pem_key.h"
#include "codec/signature.h"

namespace tidelock {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kBundleType[] = "application/vnd.dev.sigstore.bundle.v0.3+json";
constexpr char kBundleTypePrefix[] = "application/vnd.dev.sigstore.bundle";
constexpr char kPayloadType[] = "application/vnd.in-toto+json";
constexpr char kStatementType[] = "https://in-toto.io/Statement/v1";
constexpr char kPredicateType[] = "https://model_signing/signature/v1.0";
constexpr std::size_t kDepthMax = 16;

struct FreeDigest {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using DigestContext = std::unique_ptr<EVP_MD_CTX, FreeDigest>;

const unsigned char* raw(std::string_view bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

auto not_one(const std::string& why) { return fail(Code::kCorrupt, "OpenSSF model signature: " + why); }
auto denied(const std::string& why) { return fail(Code::kDenied, "OpenSSF model signature: " + why); }

// ---- keys

struct CurveKey {
  PemKey key;
  const EVP_MD* digest = nullptr;
};

Result<CurveKey> parse_key(std::string_view pem, bool is_private) {
  auto key = parse_pem_key(pem, is_private);
  if (!key) return fail(key.error());
  CurveKey out;
  out.key = std::move(*key);
  char curve[64] = {};
  if (EVP_PKEY_get_base_id(out.key.get()) == EVP_PKEY_EC)
    EVP_PKEY_get_group_name(out.key.get(), curve, sizeof curve, nullptr);
  ERR_clear_error();
  const std::string_view name = curve;
  if (name == "prime256v1") out.digest = EVP_sha256();
  if (name == "secp384r1") out.digest = EVP_sha384();
  if (name == "secp521r1") out.digest = EVP_sha512();
  if (out.digest == nullptr) {
    return fail(Code::kInvalid,
                std::string(is_private ? "private" : "public") +
                    " key: OpenSSF model signatures are made with a key on P-256, P-384 or P-521; this is " +
                    (name.empty() ? std::string("of another kind") : "on " + std::string(name)));
  }
  return out;
}

// By which a bundle names the key that it was signed with. It proves nothing.
Result<std::string> hint_of(EVP_PKEY* key) {
  const auto pem = to_public_pem(key);
  if (!pem) return pem;
  return to_hex(sha256(*pem));
}

// ---- JSON from a stranger

// Brackets within brackets, so that what is read next has a bound of its own.
bool too_deep(std::string_view json) {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDepthMax) return true;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}

std::optional<Json> parse(std::string_view text) {
  if (too_deep(text)) return std::nullopt;
  auto json = Json::parse(text, nullptr, false);
  return json.is_object() ? std::optional(std::move(json)) : std::nullopt;
}

const Json* member(const Json* of, const char* name) {
  if (of == nullptr || !of->is_object()) return nullptr;
  const auto found = of->find(name);
  return found == of->end() ? nullptr : &*found;
}
const std::string* text(const Json* of, const char* name) {
  const Json* value = member(of, name);
  return value != nullptr && value->is_string() ? value->get_ptr<const std::string*>() : nullptr;
}
bool says(const Json* of, const char* name, std::string_view what) {
  const std::string* value = text(of, name);
  return value != nullptr && *value == what;
}
// For a message: what a stranger wrote, cut, and without what a terminal would obey.
std::string shown(const std::string* value) {
  if (value == nullptr) return "none";
  std::string out = "'";
  for (const char c : value->substr(0, 80)) out.push_back(c >= ' ' && c < 127 ? c : '?');
  return out + "'";
}

std::optional<Bytes> digest_of(const std::string* hex) {
  if (hex == nullptr || hex->size() != 2 * kSha256Bytes) return std::nullopt;
  Bytes out;
  for (std::size_t i = 0; i < hex->size(); i += 2) {
    unsigned byte = 0;
    for (const char c : {(*hex)[i], (*hex)[i + 1]}) {
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
      if (digit < 0) return std::nullopt;
      byte = byte * 16 + static_cast<unsigned>(digit);
    }
    out.push_back(static_cast<char>(byte));
  }
  return out;
}

// Below the folder, whoever joins it to a folder's name.
bool is_path(std::string_view path) {
  if (path == ".") return true;
  if (path.empty() || path.size() > kModelSigningPathBytesMax || path.find('\0') != std::string_view::npos)
    return false;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (part.empty() || part == "." || part == "..") return false;
    at = end + 1;
  }
  return true;
}

// ---- DSSE

// Pre-authentication encoding: what is signed in place of the payload alone.
std::string signed_bytes(std::string_view payload_type, std::string_view payload) {
  return "DSSEv1 " + std::to_string(payload_type.size()) + " " + std::string(payload_type) + " " +
         std::to_string(payload.size()) + " " + std::string(payload);
}

Bytes root_of(const std::vector<SignedFiles::File>& files) {
  Sha256 root;
  for (const auto& file : files) root.update(file.sha256);
  return root.finish();
}

}  // namespace

Result<SignedFiles> read_signed_list(std::string_view payload) {
  const auto statement = parse(payload);
  if (!statement) return not_one("the signed statement is no JSON object of at most 16 levels");
  if (!says(&*statement, "_type", kStatementType))
    return not_one("_type is " + shown(text(&*statement, "_type")) + ", want " + kStatementType);
  if (!says(&*statement, "predicateType", kPredicateType))
    return not_one("predicateType is " + shown(text(&*statement, "predicateType")) + ", want " + kPredicateType);
  const Json* subjects = member(&*statement, "subject");
  if (subjects == nullptr || !subjects->is_array() || subjects->size() != 1)
    return not_one("subject is not a list of one");
  const Json* predicate = member(&*statement, "predicate");
  const Json* how = member(predicate, "serialization");
  if (!says(how, "method", "files") || !says(how, "hash_type", "sha256")) {
    return not_one("the list was made by method " + shown(text(how, "method")) + " with " +
                   shown(text(how, "hash_type")) + "; only 'files' with 'sha256' can be compared here");
  }
  SignedFiles out;
  if (const std::string* name = text(&subjects->front(), "name")) out.name = *name;
  if (const Json* ignored = member(how, "ignore_paths"); ignored != nullptr && ignored->is_array()) {
    for (const Json& path : *ignored) {
      if (!path.is_string()) return not_one("ignore_paths: not a list of paths");
      out.ignored.push_back(path.get<std::string>());
    }
  }
  const Json* resources = member(predicate, "resources");
  if (resources == nullptr || !resources->is_array() || resources->empty() ||
      resources->size() > kModelSigningFilesMax) {
    return not_one("resources: not a list of 1 to " + std::to_string(kModelSigningFilesMax) + " files");
  }
  std::set<std::string_view> paths;
  out.files.reserve(resources->size());
  for (const Json& resource : *resources) {
    const std::string* path = text(&resource, "name");
    if (path == nullptr || !is_path(*path)) return not_one("resources: " + shown(path) + " is no path of a file");
    auto digest = digest_of(text(&resource, "digest"));
    if (!digest || !says(&resource, "algorithm", "sha256"))
      return not_one("resources: " + shown(path) + " has no SHA-256 in 64 small hexadecimal digits");
    out.files.push_back({*path, std::move(*digest)});
    if (!paths.insert(*path).second) return denied("it lists " + shown(path) + " twice");
  }
  const auto root = digest_of(text(member(&subjects->front(), "digest"), "sha256"));
  if (!root || *root != root_of(out.files)) return denied("the digest of its subject is not that of its list");
  return out;
}

Result<SignedFiles> verify_model_signing(std::string_view bundle, std::string_view public_key) {
  const auto key = parse_key(public_key, false);
  if (!key) return fail(key.error());
  if (bundle.size() > kModelSigningBytesMax)
    return not_one(std::to_string(bundle.size()) + " bytes, at most " + std::to_string(kModelSigningBytesMax));
  const auto json = parse(bundle);
  if (!json) return not_one("no JSON object of at most 16 levels");
  const std::string* media = text(&*json, "mediaType");
  if (media == nullptr || !media->starts_with(kBundleTypePrefix))
    return not_one("mediaType is " + shown(media) + ", want " + kBundleType);
  const Json* material = member(&*json, "verificationMaterial");
  const Json* named = member(material, "publicKey");
  if (named == nullptr)
    return not_one("it is signed with a certificate; only bundles that were signed with a key can be verified here");
  const auto hint = hint_of(key->key.get());
  if (!hint) return fail(hint.error());
  if (const std::string* said = text(named, "hint"); said != nullptr && !said->empty() && *said != *hint)
    return denied("it was made with another key: it names " + shown(said) + ", this one is '" + *hint + "'");
  const Json* envelope = member(&*json, "dsseEnvelope");
  if (!says(envelope, "payloadType", kPayloadType))
    return not_one("payloadType is " + shown(text(envelope, "payloadType")) + ", want " + kPayloadType);
  const Json* signatures = member(envelope, "signatures");
  if (signatures == nullptr || !signatures->is_array() || signatures->size() != 1)
    return not_one("signatures is not a list of one");
  const std::string *payload_text = text(envelope, "payload"), *signature_text = text(&signatures->front(), "sig");
  if (payload_text == nullptr || signature_text == nullptr) return not_one("payload or sig is missing");
  const auto payload = from_base64(*payload_text), signature = from_base64(*signature_text);
  if (!payload || !signature) return not_one("payload or sig is no Base64");

  // The signature before a byte of what was signed is read (M4).
  const std::string message = signed_bytes(kPayloadType, *payload);
  const DigestContext context(EVP_MD_CTX_new());
  const bool holds =
      EVP_DigestVerifyInit(context.get(), nullptr, key->digest, nullptr, key->key.get()) == 1 &&
      EVP_DigestVerify(context.get(), raw(*signature), signature->size(), raw(message), message.size()) == 1;
  ERR_clear_error();
  if (!holds) return denied("it does not match its list and this key");
  return read_signed_list(*payload);
}

Result<std::string> sign_model_files(SignedFiles files, std::string_view private_pem) {
  const auto key = parse_key(private_pem, true);
  if (!key) return fail(key.error());
  if (files.files.empty() || files.files.size() > kModelSigningFilesMax) {
    return fail(Code::kInvalid, "model to sign: " + std::to_string(files.files.size()) + " files, give 1 to " +
                                    std::to_string(kModelSigningFilesMax));
  }
  std::sort(files.files.begin(), files.files.end(), [](const auto& x, const auto& y) { return x.path < y.path; });
  Json resources = Json::array();
  for (const auto& file : files.files) {
    if (!is_path(file.path) || file.sha256.size() != kSha256Bytes)
      return fail(Code::kInvalid, "model to sign: " + shown(&file.path) + " is no path below a folder");
    resources.push_back({{"name", file.path}, {"algorithm", "sha256"}, {"digest", to_hex(file.sha256)}});
  }
  const Json statement = {
      {"_type", kStatementType},
      {"subject", Json::array({{{"name", files.name}, {"digest", {{"sha256", to_hex(root_of(files.files))}}}}})},
      {"predicateType", kPredicateType},
      {"predicate",
       {{"serialization",
         {{"method", "files"}, {"hash_type", "sha256"}, {"allow_symlinks", false}, {"ignore_paths", files.ignored}}},
        {"resources", resources}}}};
  std::string payload;
  try {
    payload = statement.dump();
  } catch (const Json::exception&) {
    return fail(Code::kInvalid, "model to sign: its name or a path is not UTF-8, which JSON needs");
  }
  const std::string message = signed_bytes(kPayloadType, payload);
  const DigestContext context(EVP_MD_CTX_new());
  std::size_t size = 0;
  Bytes signature;
  bool made = EVP_DigestSignInit(context.get(), nullptr, key->digest, nullptr, key->key.get()) == 1 &&
              EVP_DigestSign(context.get(), nullptr, &size, raw(message), message.size()) == 1;
  if (made) {
    signature.resize(size);
    made = EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, raw(message),
                          message.size()) == 1;
    signature.resize(size);
  }
  ERR_clear_error();
  if (!made) return fail(Code::kUnavailable, "model to sign: OpenSSL could not sign with this key");
  const auto hint = hint_of(key->key.get());
  if (!hint) return fail(hint.error());
  const Json bundle = {{"mediaType", kBundleType},
                       {"verificationMaterial", {{"publicKey", {{"hint", *hint}}}, {"tlogEntries", Json::array()}}},
                       {"dsseEnvelope",
                        {{"payload", to_base64(payload)},
                         {"payloadType", kPayloadType},
                         {"signatures", Json::array({{{"sig", to_base64(signature)}, {"keyid", ""}}})}}}};
  return bundle.dump();
}

bool is_ignored(const SignedFiles& files, std::string_view path) {
  return std::any_of(files.ignored.begin(), files.ignored.end(), [&](const std::string& one) {
    return path == one || (path.size() > one.size() && path.starts_with(one) && path[one.size()] == '/');
  });
}

}  // namespace tidelock
