#include "codec/manifest.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "codec/archive.h"
#include "codec/signature.h"

namespace tidelock {
namespace {

// What is signed begins with this, so that a signature made for something else never passes for a manifest's.
constexpr std::string_view kSignedPrefix = "tidelock manifest 1\n";

constexpr std::size_t kShownBytesMax = 80;
// A foreign text in an error message: cut, and without control characters.
std::string shown(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, kShownBytesMax)) out.push_back(c >= 0x20 && c < 0x7F ? c : '?');
  return out + (text.size() > kShownBytesMax ? "...'" : "'");
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_alnum(char c) { return is_digit(c) || is_lower(c) || (c >= 'A' && c <= 'Z'); }

tl::unexpected<Error> refuse(const std::string& field, const std::string& value, const std::string& right) {
  return fail(Code::kInvalid, "manifest: " + field + " is " + value + "; " + right);
}

// "0", "17": no leading zero, no sign. Nothing here is ever compared as a number.
bool is_version_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit) && (text.size() == 1 || text[0] != '0');
}
// "rc.1", "build-7": parts of [A-Za-z0-9-] between dots.
bool is_version_label(std::string_view text) {
  bool part_empty = true;
  for (const char c : text) {
    if (c == '.') {
      if (part_empty) return false;
      part_empty = true;
    } else if (is_alnum(c) || c == '-') {
      part_empty = false;
    } else {
      return false;
    }
  }
  return !part_empty;
}

Result<void> validate_spec(const std::string& field, const TensorSpec& spec) {
  if (spec.name.empty() || spec.name.size() > kTensorNameBytesMax) {
    return refuse(field + ".name", shown(spec.name),
                  "a tensor name has 1 to " + std::to_string(kTensorNameBytesMax) + " bytes");
  }
  if (spec.shape.empty() || spec.shape.size() > kTensorRankMax) {
    return refuse(field + ".shape", std::to_string(spec.shape.size()) + " dimensions",
                  "a tensor has 1 to " + std::to_string(kTensorRankMax));
  }
  std::uint64_t elements = 1;
  for (const std::uint32_t extent : spec.shape) {
    elements *= extent;  // no overflow: both factors are below 2^32
    if (elements == 0 || elements > kTensorElementsMax) {
      return refuse(field + ".shape", "of " + (elements == 0 ? std::string("no") : "too many") + " elements",
                    "a tensor has 1 to " + std::to_string(kTensorElementsMax));
    }
  }
  return {};
}
std::uint64_t bytes_of(const TensorSpec& spec) {
  std::uint64_t bytes = tensor_element_bytes(spec.type);
  for (const std::uint32_t extent : spec.shape) bytes *= extent;
  return bytes;
}

Result<void> validate_golden_tensor(const std::string& field, const GoldenTensor& golden, const Manifest& manifest) {
  if (const auto ok = validate_spec(field + ".tensor", golden.tensor); !ok) return ok;
  const std::uint64_t want = bytes_of(golden.tensor);
  if (golden.file.empty()) {
    if (golden.inline_values.size() > kGoldenInlineBytesMax) {
      return refuse(field + ".inline_values", std::to_string(golden.inline_values.size()) + " bytes",
                    "above " + std::to_string(kGoldenInlineBytesMax) + " put it into a file of the release");
    }
    if (golden.inline_values.size() != want) {
      return refuse(field + ".inline_values", std::to_string(golden.inline_values.size()) + " bytes",
                    "its shape needs " + std::to_string(want));
    }
    return {};
  }
  if (!golden.inline_values.empty())
    return refuse(field, "both inline and in file " + shown(golden.file), "give one of the two");
  const ManifestFile* file = find_file(manifest, golden.file);
  if (file == nullptr) return refuse(field + ".file", shown(golden.file), "no file of the release has this path");
  if (file->size_bytes != want) {
    return refuse(field + ".file", shown(golden.file) + " of " + std::to_string(file->size_bytes) + " bytes",
                  "its shape needs " + std::to_string(want));
  }
  return {};
}

Result<void> validate_files(const Manifest& manifest) {
  if (manifest.files.empty() || manifest.files.size() > kManifestFilesMax) {
    return refuse("files", std::to_string(manifest.files.size()) + " entries",
                  "a release has 1 to " + std::to_string(kManifestFilesMax));
  }
  std::set<std::string> paths, folders;
  std::size_t models = 0;
  for (std::size_t i = 0; i < manifest.files.size(); ++i) {
    const ManifestFile& file = manifest.files[i];
    const std::string field = "files[" + std::to_string(i) + "]";
    if (const auto ok = validate_manifest_path(file.path); !ok) {
      return fail(Code::kInvalid, "manifest: " + field + ": " + ok.error().message);
    }
    if (!paths.insert(file.path).second) return refuse(field + ".path", shown(file.path), "each path may occur once");
    for (std::size_t slash = file.path.find('/'); slash != std::string::npos; slash = file.path.find('/', slash + 1)) {
      folders.insert(file.path.substr(0, slash));
    }
    if (file.size_bytes > kModelFileBytesMax) {
      return refuse(field + ".size_bytes", std::to_string(file.size_bytes),
                    "a file has at most " + std::to_string(kModelFileBytesMax));
    }
    if (file.sha256.size() != kSha256Bytes) {
      return refuse(field + ".sha256", std::to_string(file.sha256.size()) + " bytes", "a SHA-256 has 32");
    }
    if (file.role == FileRole::kModel) {
      ++models;
      if (file.path != kModelFileName)
        return refuse(field + ".path", shown(file.path), "the model file is named 'model.onnx'");
      if (file.size_bytes == 0) return refuse(field + ".size_bytes", "0", "a model has at least one byte");
    }
  }
  if (models != 1)
    return refuse("files", std::to_string(models) + " of role model", "a release has exactly one, 'model.onnx'");
  for (const std::string& folder : folders) {
    if (paths.contains(folder))
      return refuse("files", shown(folder) + " both as file and as folder", "give one of them another name");
  }
  return {};
}

}  // namespace

std::string_view file_role_name(FileRole role) {
  switch (role) {
    case FileRole::kModel: return "model";
    case FileRole::kLabels: return "labels";
    case FileRole::kThresholds: return "thresholds";
    case FileRole::kFeatureSchema: return "feature_schema";
    case FileRole::kGolden: return "golden";
    case FileRole::kOther: return "other";
  }
  return "unknown";
}

std::string_view tensor_type_name(TensorType type) {
  switch (type) {
    case TensorType::kF32: return "f32";
    case TensorType::kU8: return "u8";
    case TensorType::kI64: return "i64";
    case TensorType::kF16: return "f16";
  }
  return "unknown";
}
std::size_t tensor_element_bytes(TensorType type) {
  switch (type) {
    case TensorType::kF32: return 4;
    case TensorType::kU8: return 1;
    case TensorType::kI64: return 8;
    case TensorType::kF16: return 2;
  }
  return 1;
}

Result<void> validate_model_name(std::string_view name) {
  const bool good = !name.empty() && name.size() <= kModelNameBytesMax && (is_lower(name[0]) || is_digit(name[0])) &&
                    std::all_of(name.begin(), name.end(),
                                [](char c) { return is_lower(c) || is_digit(c) || c == '.' || c == '_' || c == '-'; });
  if (good) return {};
  return fail(Code::kInvalid, "model name " + shown(name) + ": give 1 to " + std::to_string(kModelNameBytesMax) +
                                  " of a-z, 0-9, '.', '_', '-', beginning with a letter or digit");
}

Result<void> validate_model_version(std::string_view version) {
  const auto bad = [&] {
    return fail(Code::kInvalid, "model version " + shown(version) + ": give a semantic version of at most " +
                                    std::to_string(kModelVersionBytesMax) + " bytes, like 2.0.0 or 2.1.0-rc.1");
  };
  if (version.size() > kModelVersionBytesMax) return bad();
  std::string_view core = version;
  if (const std::size_t plus = core.find('+'); plus != std::string_view::npos) {
    if (!is_version_label(core.substr(plus + 1))) return bad();
    core = core.substr(0, plus);
  }
  if (const std::size_t dash = core.find('-'); dash != std::string_view::npos) {
    if (!is_version_label(core.substr(dash + 1))) return bad();
    core = core.substr(0, dash);
  }
  for (int i = 0; i < 3; ++i) {
    const std::size_t dot = i < 2 ? core.find('.') : core.size();
    if (dot == std::string_view::npos || !is_version_number(core.substr(0, dot))) return bad();
    core = core.substr(std::min(core.size(), dot + 1));
  }
  return {};
}

Result<void> validate_manifest_path(std::string_view path) {
  const auto bad = [&](const char* right) { return fail(Code::kInvalid, "path " + shown(path) + ": " + right); };
  if (path.empty() || path.size() > kManifestPathBytesMax) return bad("give 1 to 200 bytes");
  if (path.starts_with(kReservedPathPrefix)) return bad("names that begin with 'tidelock.' are reserved");
  std::size_t depth = 0;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, slash - at);
    if (part.empty()) return bad("give a relative path without empty parts");
    if (part == "." || part == "..") return bad("a path must stay inside the release, without '.' and '..'");
    if (!std::all_of(part.begin(), part.end(),
                     [](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; })) {
      return bad("use A-Z, a-z, 0-9, '.', '_', '-' between the slashes");
    }
    if (++depth > kManifestPathDepthMax) return bad("at most 8 parts");
    at = slash + 1;
  }
  return {};
}

Result<void> validate_manifest(const Manifest& manifest) {
  if (manifest.format != kManifestFormat) {
    return refuse("format", std::to_string(manifest.format),
                  "this program reads format " + std::to_string(kManifestFormat));
  }
  if (const auto ok = validate_model_name(manifest.name); !ok) return ok;
  if (const auto ok = validate_model_version(manifest.version); !ok) return ok;
  if (const auto ok = validate_files(manifest); !ok) return ok;
  if (manifest.inputs.size() > kGoldenTensorsMax || manifest.outputs.size() > kGoldenTensorsMax) {
    return refuse("inputs and outputs",
                  std::to_string(std::max(manifest.inputs.size(), manifest.outputs.size())) + " names",
                  "at most " + std::to_string(kGoldenTensorsMax) + " each");
  }
  for (std::size_t i = 0; i < manifest.inputs.size(); ++i) {
    if (const auto ok = validate_spec("inputs[" + std::to_string(i) + "]", manifest.inputs[i]); !ok) return ok;
  }
  for (std::size_t i = 0; i < manifest.outputs.size(); ++i) {
    if (manifest.outputs[i].empty() || manifest.outputs[i].size() > kTensorNameBytesMax) {
      return refuse("outputs[" + std::to_string(i) + "]", shown(manifest.outputs[i]),
                    "a tensor name has 1 to 256 bytes");
    }
  }
  if (manifest.golden.size() > kGoldenCasesMax) {
    return refuse("golden", std::to_string(manifest.golden.size()) + " cases",
                  "at most " + std::to_string(kGoldenCasesMax));
  }
  for (std::size_t i = 0; i < manifest.golden.size(); ++i) {
    const GoldenCase& golden = manifest.golden[i];
    const std::string field = "golden[" + std::to_string(i) + "]";
    const auto check = [&](const char* side, const std::vector<GoldenTensor>& tensors) -> Result<void> {
      if (tensors.empty() || tensors.size() > kGoldenTensorsMax) {
        return refuse(field + side, std::to_string(tensors.size()) + " tensors",
                      "a case has 1 to " + std::to_string(kGoldenTensorsMax));
      }
      std::set<std::string> names;
      for (std::size_t t = 0; t < tensors.size(); ++t) {
        const std::string each = field + side + "[" + std::to_string(t) + "]";
        if (const auto ok = validate_golden_tensor(each, tensors[t], manifest); !ok) return ok;
        if (!names.insert(tensors[t].tensor.name).second) {
          return refuse(each + ".tensor.name", shown(tensors[t].tensor.name), "each tensor may occur once");
        }
      }
      return {};
    };
    if (const auto ok = check(".inputs", golden.inputs); !ok) return ok;
    if (const auto ok = check(".outputs", golden.outputs); !ok) return ok;
    if (golden.tolerance_millionths == 0 || golden.tolerance_millionths > kToleranceMillionthsMax) {
      return refuse(field + ".tolerance_millionths", std::to_string(golden.tolerance_millionths),
                    "give 1 to " + std::to_string(kToleranceMillionthsMax));
    }
  }
  if (manifest.note.size() > kManifestNoteBytesMax) {
    return refuse("note", std::to_string(manifest.note.size()) + " bytes",
                  "at most " + std::to_string(kManifestNoteBytesMax));
  }
  return {};
}

Result<std::uint32_t> parse_tolerance(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const double millionths = value * 1e6;
  // Decimal fractions are seldom doubles; what is off by more than that was written with more digits.
  const bool good = error == std::errc{} && end == text.data() + text.size() && millionths > 0.5 &&
                    millionths <= kToleranceMillionthsMax && std::abs(millionths - std::round(millionths)) < 1e-6;
  if (good) return static_cast<std::uint32_t>(std::lround(millionths));
  return fail(Code::kInvalid, "tolerance " + shown(text) +
                                  ": give 0.000001 to 1, in steps of 0.000001, like 0.002: golden outputs may "
                                  "differ by that much times max(1, |expected|)");
}

const ManifestFile* find_file(const Manifest& manifest, std::string_view path) {
  const auto it =
      std::find_if(manifest.files.begin(), manifest.files.end(), [&](const ManifestFile& f) { return f.path == path; });
  return it == manifest.files.end() ? nullptr : &*it;
}
const ManifestFile* find_role(const Manifest& manifest, FileRole role) {
  const auto it =
      std::find_if(manifest.files.begin(), manifest.files.end(), [&](const ManifestFile& f) { return f.role == role; });
  return it == manifest.files.end() ? nullptr : &*it;
}
std::uint64_t manifest_files_bytes(const Manifest& manifest) {
  std::uint64_t sum = 0;  // no overflow: at most 64 files of 4 GiB
  for (const ManifestFile& file : manifest.files) sum += file.size_bytes;
  return sum;
}

Result<SignedManifest> sign_manifest(const Manifest& manifest, std::string_view private_pem) {
  if (const auto ok = validate_manifest(manifest); !ok) return fail(ok.error());
  const auto public_pem = public_key_of(private_pem);
  if (!public_pem) return fail(public_pem.error());
  SignedManifest out;
  out.manifest = encode(manifest);
  auto key_id = key_id_of(*public_pem);
  if (!key_id) return fail(key_id.error());
  out.key_id = std::move(*key_id);
  auto signature = sign_bytes(private_pem, Bytes(kSignedPrefix) + out.manifest);
  if (!signature) return fail(signature.error());
  out.signature = std::move(*signature);
  if (const std::size_t size = encode(out).size(); size > kManifestBytesMax) {
    return refuse("size", std::to_string(size) + " bytes",
                  "at most " + std::to_string(kManifestBytesMax) + "; put golden tensors into files of the release");
  }
  return out;
}

Result<Manifest> open_manifest(const SignedManifest& signed_manifest, std::string_view public_pem) {
  if (signed_manifest.manifest.size() > kManifestBytesMax) {
    return fail(Code::kCorrupt, "manifest: " + std::to_string(signed_manifest.manifest.size()) + " bytes; at most " +
                                    std::to_string(kManifestBytesMax));
  }
  if (public_pem.empty())
    return fail(Code::kDenied, "manifest: no model key is enrolled; enrol the publisher's public key first");
  const auto key_id = key_id_of(public_pem);
  if (!key_id) return fail(key_id.error());
  if (signed_manifest.key_id != *key_id) {
    return fail(Code::kDenied, "manifest: signed with key " +
                                   to_hex(BytesView(signed_manifest.key_id).substr(0, kKeyIdBytes)) +
                                   "; the key enrolled here is " + to_hex(*key_id));
  }
  // M4: up to here and through this check not a byte of the manifest has been looked at.
  if (const auto ok =
          verify_bytes(public_pem, Bytes(kSignedPrefix) + signed_manifest.manifest, signed_manifest.signature);
      !ok) {
    return fail(ok.error().code, "manifest: " + ok.error().message);
  }
  auto manifest = decode<Manifest>(signed_manifest.manifest, "manifest");
  if (!manifest) return manifest;
  if (const auto ok = validate_manifest(*manifest); !ok) return fail(ok.error());
  return manifest;
}

Result<Manifest> open_manifest(BytesView encoded, std::string_view public_pem) {
  if (encoded.size() > kManifestBytesMax) {
    return fail(Code::kCorrupt, "signed manifest: " + std::to_string(encoded.size()) + " bytes; at most " +
                                    std::to_string(kManifestBytesMax));
  }
  const auto envelope = decode<SignedManifest>(encoded, "signed manifest");
  if (!envelope) return fail(envelope.error());
  return open_manifest(*envelope, public_pem);
}

}  // namespace tidelock
