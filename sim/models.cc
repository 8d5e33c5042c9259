#include "sim/models.h"

#include <map>

#include "base/assert.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"

namespace tidelock::sim {
namespace {
// The bytes 1 to 32 as an Ed25519 key: it protects nothing.
constexpr const char* kPrivateKey =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g\n"
    "-----END PRIVATE KEY-----\n";

Bytes sign_model(int number) {
  Manifest manifest;
  manifest.name = kModelName;
  manifest.version = model_version(number);
  manifest.files = {{"model.onnx", FileRole::kModel, 3, sha256(manifest.version)}};
  manifest.inputs = {{"x", TensorType::kF32, {1}}};
  manifest.outputs = {"y"};
  manifest.golden = {{{{{"x", TensorType::kF32, {1}}, "", Bytes(4, '\0')}},
                      {{{"y", TensorType::kF32, {1}}, "", Bytes(4, '\0')}},
                      1000}};
  const auto made = sign_manifest(manifest, kPrivateKey);
  TIDELOCK_ASSERT(made.has_value());
  return encode(*made);
}
}  // namespace

std::string model_version(int number) { return std::to_string(number) + ".0.0"; }

const std::string& model_public_key() {
  static const std::string kPem = *public_key_of(kPrivateKey);
  return kPem;
}

const Bytes& signed_model(int number) {
  static std::map<int, Bytes> made;
  const auto it = made.find(number);
  return it != made.end() ? it->second : made.emplace(number, sign_model(number)).first->second;
}

}  // namespace tidelock::sim
