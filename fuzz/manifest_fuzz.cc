// Manifests, and the names in them that become paths. A manifest that validates is encoded in one way, and every path
// it names stays inside its release; one whose bytes were touched after it was signed does not open.
#include <filesystem>

#include "codec/manifest.h"
#include "codec/signature.h"
#include "fuzz/fuzz.h"

namespace tidelock::fuzz {
namespace {

namespace fs = std::filesystem;

Manifest sample() {
  Manifest m;
  m.name = "camera";
  m.version = "2.1.0-rc.1";
  m.files = {{"model.onnx", FileRole::kModel, 100, Bytes(kSha256Bytes, 'a')},
             {"labels.txt", FileRole::kLabels, 10, Bytes(kSha256Bytes, 'b')},
             {"golden/one/input.f32", FileRole::kGolden, 16, Bytes(kSha256Bytes, 'c')}};
  m.inputs = {{"images", TensorType::kF32, {1, 2, 2}}};
  m.outputs = {"scores"};
  m.golden = {{{{{"images", TensorType::kF32, {1, 2, 2}}, "golden/one/input.f32", {}}},
               {{{"scores", TensorType::kF32, {1}}, {}, Bytes(4, '\0')}},
               1000}};
  m.note = "from the fuzzer";
  return m;
}

const SigningKey& key() {
  static const SigningKey made = *make_signing_key();
  return made;
}

void stays_inside(std::string_view path) {
  const fs::path folder = "root/camera/1.0.0";
  const fs::path joined = (folder / path).lexically_normal();
  TIDELOCK_ASSERT(!fs::path(path).is_absolute());
  TIDELOCK_ASSERT(joined.string().starts_with(folder.string() + "/"));
}

}  // namespace

std::vector<Seed> seeds() {
  const Bytes whole = encode(sample());
  Manifest least;
  least.name = "a";
  least.version = "0.0.0";
  least.files = {{"model.onnx", FileRole::kModel, 1, Bytes(kSha256Bytes, 'a')}};
  return {
      {"manifest", number(0, 1) + whole},
      {"least", number(0, 1) + encode(least)},
      {"path", number(1, 1) + "golden/one/input.images.1x2x2.f32"},
      {"climbing", number(1, 1) + "golden/../../../etc/passwd"},
      {"version", number(1, 1) + "10.2.33-rc.1+build.5"},
      {"touched", number(2, 1) + number(3, 2) + number(1, 1)},
      {"envelope", number(3, 1) + encode(SignedManifest{whole, Bytes(kSignatureBytes, 's'), Bytes(kKeyIdBytes, 'k')})}};
}

void run(BytesView input) {
  Input in(input);
  switch (in.byte() % 4) {
    case 0: {
      const auto manifest = decode_checked<Manifest>(in.rest());
      if (!manifest || !validate_manifest(*manifest)) return;
      for (const ManifestFile& file : manifest->files) {
        stays_inside(file.path);
        TIDELOCK_ASSERT(find_file(*manifest, file.path) == &file);
      }
      TIDELOCK_ASSERT(find_role(*manifest, FileRole::kModel)->path == kModelFileName);
      TIDELOCK_ASSERT(manifest_files_bytes(*manifest) <= kManifestFilesMax * kModelFileBytesMax);
      if (encode(*manifest).size() > kManifestBytesMax / 2) return;
      const auto signed_manifest = sign_manifest(*manifest, key().private_pem);
      TIDELOCK_ASSERT(signed_manifest && *open_manifest(encode(*signed_manifest), key().public_pem) == *manifest);
      break;
    }
    case 1: {  // names that become folders and files
      const BytesView name = in.rest();
      if (validate_manifest_path(name)) stays_inside(name);
      if (validate_model_name(name)) TIDELOCK_ASSERT(name != "." && name != ".." && name.find('/') == name.npos);
      if (validate_model_version(name)) {
        TIDELOCK_ASSERT(name.size() <= kModelVersionBytesMax && name.find('/') == name.npos && name[0] != '.');
      }
      break;
    }
    case 2: {  // one byte changed anywhere
      static const Bytes good = encode(*sign_manifest(sample(), key().private_pem));
      TIDELOCK_ASSERT(open_manifest(good, key().public_pem).has_value());
      Bytes touched = good;
      const std::size_t at = static_cast<std::size_t>(in.number(2)) % touched.size();
      touched[at] = static_cast<char>(touched[at] ^ in.byte());
      TIDELOCK_ASSERT(open_manifest(touched, key().public_pem).has_value() == (touched == good));
      break;
    }
    default: {
      const BytesView bytes = in.rest();
      (void)decode_checked<SignedManifest>(bytes);
      TIDELOCK_ASSERT(!open_manifest(bytes, key().public_pem));  // nobody else has the key
    }
  }
}

}  // namespace tidelock::fuzz
