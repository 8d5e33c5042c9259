// X2: lists of files that others signed. What we sign is read back; what nobody signed, or signed otherwise, is refused
// with words that say what it is.
#include "codec/model_signing.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "codec/hmac.h"
#include "codec/model_signing_fixture.h"

namespace tidelock {
namespace {

using Json = nlohmann::json;

SignedFiles some_files() {
  SignedFiles files;
  files.name = "detector";
  files.files = {{"golden/day/input.x.1x2.f32", sha256("golden")},
                 {"labels.txt", sha256("cat")},
                 {"model.onnx", sha256("weights")}};
  files.ignored = {"model.sig", ".git"};
  return files;
}

// A statement of our own making, signed as it stands: what an owner of the key could have signed elsewhere.
std::string signed_statement(const SigningKey& key, const std::string& payload) {
  auto bundle = Json::parse(*sign_model_files(some_files(), key.private_pem));
  const std::string type = "application/vnd.in-toto+json";
  const std::string message =
      "DSSEv1 " + std::to_string(type.size()) + " " + type + " " + std::to_string(payload.size()) + " " + payload;
  BIO* bio = BIO_new_mem_buf(key.private_pem.data(), static_cast<int>(key.private_pem.size()));
  EVP_PKEY* secret = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  Bytes signature(256, '\0');
  std::size_t size = signature.size();
  EXPECT_EQ(EVP_DigestSignInit(context, nullptr, EVP_sha256(), nullptr, secret), 1);
  EXPECT_EQ(EVP_DigestSign(context, reinterpret_cast<unsigned char*>(signature.data()), &size,
                           reinterpret_cast<const unsigned char*>(message.data()), message.size()),
            1);
  signature.resize(size);
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(secret);
  BIO_free(bio);
  bundle["dsseEnvelope"]["payload"] = to_base64(payload);
  bundle["dsseEnvelope"]["signatures"][0]["sig"] = to_base64(signature);
  return bundle.dump();
}

Json statement_of(const std::string& bundle) {
  return Json::parse(*from_base64(Json::parse(bundle)["dsseEnvelope"]["payload"].get<std::string>()));
}

TEST(ModelSigning, GivesBackWhatWasSignedOnEachCurve) {
  for (const char* curve : {"P-256", "P-384", "P-521"}) {
    const SigningKey key = make_curve_key(curve);
    SignedFiles files = some_files();
    std::swap(files.files[0], files.files[2]);
    const auto bundle = sign_model_files(files, key.private_pem);
    ASSERT_TRUE(bundle) << curve << bundle.error().message;
    const auto read = verify_model_signing(*bundle, key.public_pem);
    ASSERT_TRUE(read) << curve << read.error().message;
    EXPECT_EQ(*read, some_files()) << "in the order of their paths";
    EXPECT_EQ(Json::parse(*bundle)["verificationMaterial"]["publicKey"]["hint"], to_hex(sha256(key.public_pem)));
  }
}

TEST(ModelSigning, SaysWhatASignerLeftOut) {
  const SignedFiles files = some_files();
  EXPECT_TRUE(is_ignored(files, "model.sig"));
  EXPECT_TRUE(is_ignored(files, ".git/config"));
  EXPECT_FALSE(is_ignored(files, ".gitignore"));
  EXPECT_FALSE(is_ignored(files, "model.onnx"));
  EXPECT_FALSE(is_ignored(files, "below/model.sig"));
}

TEST(ModelSigning, ASignatureHoldsForItsListAndKeyAlone) {
  const SigningKey key = make_curve_key("P-256"), other = make_curve_key("P-256"), wide = make_curve_key("P-384");
  const std::string good = *sign_model_files(some_files(), key.private_pem);
  const auto refused = [&](const Json& bundle, const std::string& pem, const std::string& why) {
    const auto read = verify_model_signing(bundle.dump(), pem);
    ASSERT_FALSE(read) << why;
    EXPECT_EQ(read.error().code, Code::kDenied) << read.error().message;
    EXPECT_NE(read.error().message.find(why), std::string::npos) << read.error().message;
  };
  const Json bundle = Json::parse(good);
  refused(bundle, other.public_pem, "made with another key");
  Json nameless = bundle;
  nameless["verificationMaterial"]["publicKey"].erase("hint");  // as older tools wrote it
  EXPECT_TRUE(verify_model_signing(nameless.dump(), key.public_pem));
  refused(nameless, other.public_pem, "does not match its list and this key");
  refused(nameless, wide.public_pem, "does not match its list and this key");
  Json touched = bundle;
  Json statement = statement_of(good);
  statement["predicate"]["resources"][1]["digest"] = to_hex(sha256("other weights"));
  touched["dsseEnvelope"]["payload"] = to_base64(statement.dump());
  refused(touched, key.public_pem, "does not match its list and this key");
  touched = bundle;
  touched["dsseEnvelope"]["signatures"][0]["sig"] = "";
  refused(touched, key.public_pem, "does not match its list and this key");
}

TEST(ModelSigning, KeysOfOtherKindsAreRefused) {
  const SigningKey key = make_curve_key("P-256"), koblitz = make_curve_key("secp256k1");
  const SigningKey ed25519 = *make_signing_key();
  const std::string good = *sign_model_files(some_files(), key.private_pem);
  struct Case {
    std::string pem, why;
  };
  for (const Case& c : {Case{ed25519.public_pem, "of another kind"}, Case{koblitz.public_pem, "on secp256k1"},
                        Case{"", "0 bytes"}, Case{"text", "not an unencrypted PEM"}}) {
    const auto read = verify_model_signing(good, c.pem);
    ASSERT_FALSE(read) << c.why;
    EXPECT_EQ(read.error().code, Code::kInvalid) << c.why;
    EXPECT_NE(read.error().message.find(c.why), std::string::npos) << read.error().message;
  }
  EXPECT_FALSE(sign_model_files(some_files(), ed25519.private_pem));
  EXPECT_FALSE(sign_model_files({}, key.private_pem)) << "no files";
}

TEST(ModelSigning, RefusesToSignWhatCouldNotBeRead) {
  const SigningKey key = make_curve_key("P-256");
  for (const char* path : {"", "/etc/passwd", "a/../b", "./a", "a//b", "a/", "..", "\xff"}) {
    SignedFiles files = some_files();
    files.files[0].path = path;
    const auto made = sign_model_files(files, key.private_pem);
    ASSERT_FALSE(made) << path;
    EXPECT_EQ(made.error().code, Code::kInvalid) << path;
  }
}

TEST(ModelSigning, NamesWhatItCannotRead) {
  const SigningKey key = make_curve_key("P-256");
  const std::string good = *sign_model_files(some_files(), key.private_pem);
  struct Case {
    std::string bundle, why;
  };
  std::vector<Case> cases = {{"", "no JSON object"},
                             {"[]", "no JSON object"},
                             {std::string(20, '[') + std::string(20, ']'), "no JSON object of at most 16 levels"},
                             {"{}", "mediaType is none"},
                             {R"({"mediaType": "text/\u001b[31m"})", "mediaType is 'text/?[31m'"}};
  const auto changed = [&](const std::string& why, auto&& change) {
    Json bundle = Json::parse(good);
    change(bundle);
    cases.push_back({bundle.dump(), why});
  };
  changed("signed with a certificate",
          [](Json& b) { b["verificationMaterial"] = {{"certificate", {{"rawBytes", "AAAA"}}}}; });
  changed("payloadType is 'text/plain'", [](Json& b) { b["dsseEnvelope"]["payloadType"] = "text/plain"; });
  changed("signatures is not a list of one", [](Json& b) { b["dsseEnvelope"]["signatures"] = Json::array(); });
  changed("payload or sig is missing", [](Json& b) { b["dsseEnvelope"].erase("payload"); });
  changed("payload or sig is no Base64", [](Json& b) { b["dsseEnvelope"]["payload"] = "?"; });
  const auto restated = [&](const std::string& why, auto&& change) {
    Json statement = statement_of(good);
    change(statement);
    cases.push_back({signed_statement(key, statement.dump()), why});
  };
  cases.push_back({signed_statement(key, "text"), "the signed statement is no JSON object"});
  restated("_type is", [](Json& s) { s["_type"] = "https://in-toto.io/Statement/v0.1"; });
  restated("predicateType is 'https://slsa.dev'", [](Json& s) { s["predicateType"] = "https://slsa.dev"; });
  restated("subject is not a list of one", [](Json& s) { s["subject"].push_back(s["subject"][0]); });
  restated("method 'shards'", [](Json& s) { s["predicate"]["serialization"]["method"] = "shards"; });
  restated("with 'blake2b'", [](Json& s) { s["predicate"]["serialization"]["hash_type"] = "blake2b"; });
  restated("ignore_paths", [](Json& s) { s["predicate"]["serialization"]["ignore_paths"] = {1}; });
  restated("not a list of 1 to", [](Json& s) { s["predicate"]["resources"] = Json::array(); });
  restated("'../up' is no path", [](Json& s) { s["predicate"]["resources"][0]["name"] = "../up"; });
  restated("has no SHA-256", [](Json& s) { s["predicate"]["resources"][0]["digest"] = "AB"; });
  restated("has no SHA-256", [](Json& s) { s["predicate"]["resources"][0]["algorithm"] = "md5"; });
  restated("lists 'labels.txt' twice", [](Json& s) { s["predicate"]["resources"][0]["name"] = "labels.txt"; });
  restated("not that of its list", [](Json& s) { s["predicate"]["resources"].erase(0); });
  for (const Case& c : cases) {
    const auto read = verify_model_signing(c.bundle, key.public_pem);
    ASSERT_FALSE(read) << c.why;
    EXPECT_NE(read.error().message.find(c.why), std::string::npos) << read.error().message << ", want: " << c.why;
    EXPECT_TRUE(read.error().code == Code::kCorrupt || read.error().code == Code::kDenied) << c.why;
  }
  const auto large = verify_model_signing(std::string(kModelSigningBytesMax + 1, ' '), key.public_pem);
  ASSERT_FALSE(large);
  EXPECT_NE(large.error().message.find("at most"), std::string::npos);
}

}  // namespace
}  // namespace tidelock
