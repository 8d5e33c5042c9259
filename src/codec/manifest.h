// The manifest of a model version (M1): which files belong together, what they hash to, how to run them and what must
// come out, signed with an Ed25519 key.
//
// Threads: pure functions. Cost: open_manifest is one signature check (0.1 ms) plus one pass over the bytes.
// Limits:  below; validate_manifest enforces them on what is written as on what is read.
// Errors:  kDenied signature or key; kCorrupt bytes that do not parse; kInvalid a field against the rules. Each names
//          field, value and what would be right.
// No promise: an order of versions. The order of activations is by ledger index, never by semantic version (S5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tidelock {

inline constexpr std::size_t kManifestBytesMax = 512u << 10;  // a signed manifest, whole: it is a value in the ledger
inline constexpr std::size_t kManifestFilesMax = 64;
inline constexpr std::size_t kManifestPathBytesMax = 200;
inline constexpr std::size_t kManifestPathDepthMax = 8;
inline constexpr std::uint64_t kModelFileBytesMax = 4ull << 30;
inline constexpr std::size_t kGoldenCasesMax = 16;
inline constexpr std::size_t kGoldenTensorsMax = 16;             // inputs, and outputs, of one case
inline constexpr std::size_t kGoldenInlineBytesMax = 64u << 10;  // of one tensor; larger ones are files of the release
inline constexpr std::size_t kTensorRankMax = 8;
inline constexpr std::uint64_t kTensorElementsMax = 64u << 20;
inline constexpr std::uint32_t kToleranceMillionths = 1'000;  // where a publisher declares none
inline constexpr std::uint32_t kToleranceMillionthsMax = 1'000'000;
inline constexpr std::size_t kTensorNameBytesMax = 256;
inline constexpr std::size_t kModelNameBytesMax = 64;
inline constexpr std::size_t kModelVersionBytesMax = 64;
inline constexpr std::size_t kManifestNoteBytesMax = 1024;
inline constexpr std::uint32_t kManifestFormat = 1;

// The file with role kModel has this path, so that the release lies ready for inference servers (M11).
inline constexpr std::string_view kModelFileName = "model.onnx";
// Paths that begin with this are ours (the signed manifest lies beside the files, store/models/layout.h).
inline constexpr std::string_view kReservedPathPrefix = "tidelock.";

enum class FileRole : std::uint8_t { kModel, kLabels, kThresholds, kFeatureSchema, kGolden, kOther };
constexpr FileRole last_enumerator(FileRole) { return FileRole::kOther; }
std::string_view file_role_name(FileRole role);  // "model", "labels", "thresholds", "feature_schema", "golden", "other"

enum class TensorType : std::uint8_t { kF32, kU8, kI64, kF16 };
constexpr TensorType last_enumerator(TensorType) { return TensorType::kF16; }
std::string_view tensor_type_name(TensorType type);  // "f32", "u8", "i64", "f16": how golden files end
std::size_t tensor_element_bytes(TensorType type);

struct ManifestFile {
  std::string path;  // relative, '/' between parts of [A-Za-z0-9._-], none of them "." or ".."
  FileRole role = FileRole::kOther;
  std::uint64_t size_bytes = 0;
  Bytes sha256;  // kSha256Bytes, raw
  friend bool operator==(const ManifestFile&, const ManifestFile&) = default;
  template <class A>
  void fields(A& a) {
    a(path, role, size_bytes, sha256);
  }
};

struct TensorSpec {  // runtime hint
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::uint32_t> shape;
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
  template <class A>
  void fields(A& a) {
    a(name, type, shape);
  }
};

// Elements of the tensor's type, little-endian, dense: in `inline_values`, or in the file of the release that `file`
// names. One of the two. The type is that of these bytes: what the model takes may be another (infer/engine.h).
struct GoldenTensor {
  TensorSpec tensor;
  std::string file;
  Bytes inline_values;
  friend bool operator==(const GoldenTensor&, const GoldenTensor&) = default;
  template <class A>
  void fields(A& a) {
    a(tensor, file, inline_values);
  }
};

// M4: running `inputs` must give `outputs`: |got - expected| <= tolerance * max(1, |expected|) for every element. Where
// uint8 or int64 are expected the tolerance is absolute, or a class of 5000 would be as good as its neighbour.
struct GoldenCase {
  std::vector<GoldenTensor> inputs;
  std::vector<GoldenTensor> outputs;
  std::uint32_t tolerance_millionths = kToleranceMillionths;
  friend bool operator==(const GoldenCase&, const GoldenCase&) = default;
  template <class A>
  void fields(A& a) {
    a(inputs, outputs, tolerance_millionths);
  }
};

struct Manifest {
  std::uint32_t format = kManifestFormat;
  std::string name;     // [a-z0-9._-]{1,64}, begins with a letter or digit
  std::string version;  // semantic version text, "2.0.0" or "2.1.0-rc.1"
  std::vector<ManifestFile> files;
  std::vector<TensorSpec> inputs;
  std::vector<std::string> outputs;
  std::vector<GoldenCase> golden;
  std::string note;  // free text: who, why, from what
  friend bool operator==(const Manifest&, const Manifest&) = default;
  template <class A>
  void fields(A& a) {
    a(format, name, version, files, inputs, outputs, golden, note);
  }
};

// What travels and rests in the ledger. The signature covers a fixed prefix and the bytes of `manifest`.
struct SignedManifest {
  Bytes manifest;   // an encoded Manifest
  Bytes signature;  // kSignatureBytes
  Bytes key_id;     // key_id_of(public key), a hint for choosing the key
  friend bool operator==(const SignedManifest&, const SignedManifest&) = default;
  template <class A>
  void fields(A& a) {
    a(manifest, signature, key_id);
  }
};

Result<void> validate_model_name(std::string_view name);
Result<void> validate_model_version(std::string_view version);
Result<void> validate_manifest_path(std::string_view path);
Result<void> validate_manifest(const Manifest& manifest);
// "0.002" is 2000 millionths. kInvalid unless it is a whole number of millionths that a golden case may have.
Result<std::uint32_t> parse_tolerance(std::string_view text);

// Null when there is none.
const ManifestFile* find_file(const Manifest& manifest, std::string_view path);
const ManifestFile* find_role(const Manifest& manifest, FileRole role);
std::uint64_t manifest_files_bytes(const Manifest& manifest);  // sum of all files

// Validates, encodes, signs. The same manifest and key give the same bytes, so publishing twice is harmless.
Result<SignedManifest> sign_manifest(const Manifest& manifest, std::string_view private_pem);
// M4: the signature is checked before a byte of the manifest is parsed. kDenied also when `public_pem` is empty (no key
// enrolled) or the manifest was signed with another key.
Result<Manifest> open_manifest(const SignedManifest& signed_manifest, std::string_view public_pem);
// The same from encode(SignedManifest). The digest that names this content is sha256(encoded).
Result<Manifest> open_manifest(BytesView encoded, std::string_view public_pem);

}  // namespace tidelock
