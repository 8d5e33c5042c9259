#include "store/models/release.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>

#include "codec/signature.h"
#include "store/models/files.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kReadBytes = 1u << 20;
constexpr std::size_t kEntriesMax = 4096;  // folders included; a release has far fewer

FileRole role_of(std::string_view path) {
  if (path == kModelFileName) return FileRole::kModel;
  if (path == "labels.txt") return FileRole::kLabels;
  if (path.starts_with("thresholds.")) return FileRole::kThresholds;
  if (path.starts_with("feature_schema.")) return FileRole::kFeatureSchema;
  if (path.starts_with("golden/")) return FileRole::kGolden;
  return FileRole::kOther;
}

Result<ManifestFile> describe(const std::string& folder, const std::string& path) {
  ManifestFile file;
  file.path = path;
  file.role = role_of(path);
  const std::string full = folder + "/" + path;
  const auto fd = files::open_plain(full, file.size_bytes);
  if (!fd) return fail(fd.error());
  if (file.size_bytes > kModelFileBytesMax) {
    return fail(Code::kInvalid, full + ": " + std::to_string(file.size_bytes) +
                                    " bytes; a file of a release has at most " + std::to_string(kModelFileBytesMax));
  }
  Sha256 hasher;
  for (std::uint64_t at = 0; at < file.size_bytes;) {
    const auto piece = files::read_at(fd->get(), full, at, kReadBytes);
    if (!piece) return fail(piece.error());
    if (piece->empty()) return fail(Code::kCorrupt, full + ": became shorter while it was read");
    hasher.update(*piece);
    at += piece->size();
  }
  file.sha256 = hasher.finish();
  return file;
}

// "1x3x160x160"
bool parse_shape(std::string_view text, std::vector<std::uint32_t>& shape) {
  while (true) {
    const std::size_t end = std::min(text.find('x'), text.size());
    std::uint32_t extent = 0;
    const auto [last, error] = std::from_chars(text.data(), text.data() + end, extent);
    if (error != std::errc{} || last != text.data() + end || extent == 0 || shape.size() == kTensorRankMax)
      return false;
    shape.push_back(extent);
    if (end == text.size()) return true;
    text.remove_prefix(end + 1);
  }
}

bool parse_type(std::string_view text, TensorType& type) {
  for (const TensorType one : {TensorType::kF32, TensorType::kU8, TensorType::kI64, TensorType::kF16}) {
    if (tensor_type_name(one) != text) continue;
    type = one;
    return true;
  }
  return false;
}

struct GoldenName {
  std::string case_name;
  bool is_input = false;
  TensorSpec tensor;
};
// golden/<case>/<input|output>.<tensor>.<shape>.<f32|u8|i64|f16>
Result<GoldenName> parse_golden(const std::string& path) {
  const auto bad = [&] {
    return fail(Code::kInvalid, "file " + path +
                                    ": name golden tensors golden/<case>/input.<tensor>.<AxBxC>.f32 or "
                                    "golden/<case>/output.<tensor>.<AxBxC>.f32; u8, i64 and f16 in place of f32 for "
                                    "files of uint8, int64 and float16");
  };
  GoldenName out;
  const std::size_t first = path.find('/'), second = path.find('/', first + 1);
  if (second == std::string::npos || path.find('/', second + 1) != std::string::npos) return bad();
  out.case_name = path.substr(first + 1, second - first - 1);
  std::vector<std::string> parts;
  for (std::size_t at = second + 1; at <= path.size();) {
    const std::size_t dot = std::min(path.find('.', at), path.size());
    parts.push_back(path.substr(at, dot - at));
    at = dot + 1;
  }
  if (parts.size() != 4 || !parse_type(parts[3], out.tensor.type) || parts[1].empty() ||
      (parts[0] != "input" && parts[0] != "output"))
    return bad();
  out.is_input = parts[0] == "input";
  out.tensor.name = parts[1];
  if (!parse_shape(parts[2], out.tensor.shape)) return bad();
  return out;
}

Result<std::vector<std::string>> list_files(const std::string& folder) {
  std::vector<std::string> paths;
  try {
    if (!fs::is_directory(folder)) return fail(Code::kNotFound, "release folder " + folder + ": not a folder");
    std::size_t entries = 0;
    for (auto it = fs::recursive_directory_iterator(folder); it != fs::recursive_directory_iterator(); ++it) {
      if (++entries > kEntriesMax)
        return fail(Code::kInvalid,
                    "release folder " + folder + ": more than " + std::to_string(kEntriesMax) + " entries");
      const std::string name = it->path().filename().string();
      if (name.starts_with(".")) {
        it.disable_recursion_pending();
        continue;
      }
      if (!it->is_symlink() && it->is_directory()) continue;
      const std::string path = it->path().lexically_relative(folder).string();
      if (it->is_symlink() || !it->is_regular_file()) {
        return fail(Code::kInvalid,
                    "release folder " + folder + ": " + path + " is not a plain file; links and devices are refused");
      }
      if (path == "tidelock.manifest") continue;  // the folder of a placed version, published again
      paths.push_back(path);
    }
  } catch (const fs::filesystem_error& error) {
    return fail(files::error_of(error.code().value(), "read folder", folder));
  }
  std::sort(paths.begin(), paths.end());  // the order of a folder is chance: the same files must give the same manifest
  return paths;
}

}  // namespace

Result<Release> build_release(const std::string& folder, std::string_view name, std::string_view version,
                              std::string_view private_pem, std::string_view note,
                              std::optional<std::uint32_t> tolerance_millionths) {
  Release release;
  Manifest& manifest = release.manifest;
  manifest.name = name;
  manifest.version = version;
  manifest.note = note;
  if (const auto ok = validate_model_name(name); !ok) return fail(ok.error());
  if (const auto ok = validate_model_version(version); !ok) return fail(ok.error());
  const auto paths = list_files(folder);
  if (!paths) return fail(paths.error());
  if (!std::binary_search(paths->begin(), paths->end(), kModelFileName)) {
    return fail(Code::kNotFound, "release folder " + folder + ": no model.onnx in it");
  }
  if (paths->size() > kManifestFilesMax) {
    return fail(Code::kInvalid, "release folder " + folder + ": " + std::to_string(paths->size()) + " files; at most " +
                                    std::to_string(kManifestFilesMax));
  }
  std::map<std::string, GoldenCase> golden;
  for (const std::string& path : *paths) {
    auto file = describe(folder, path);
    if (!file) return fail(file.error());
    if (file->role == FileRole::kGolden) {
      auto parsed = parse_golden(path);
      if (!parsed) return fail(parsed.error());
      GoldenCase& one = golden[parsed->case_name];
      (parsed->is_input ? one.inputs : one.outputs).push_back({std::move(parsed->tensor), path, {}});
    }
    manifest.files.push_back(std::move(*file));
  }
  if (tolerance_millionths && golden.empty()) {
    return fail(Code::kInvalid, "release folder " + folder +
                                    ": a tolerance is given and no golden case that it could be of; add "
                                    "golden/<case>/ with its inputs and outputs, or leave the tolerance out");
  }
  for (auto& [case_name, one] : golden) {
    if (tolerance_millionths) one.tolerance_millionths = *tolerance_millionths;
    if (manifest.inputs.empty()) {
      for (const GoldenTensor& tensor : one.inputs) manifest.inputs.push_back(tensor.tensor);
      for (const GoldenTensor& tensor : one.outputs) manifest.outputs.push_back(tensor.tensor.name);
    }
    manifest.golden.push_back(std::move(one));
  }
  auto signed_manifest = sign_manifest(manifest, private_pem);
  if (!signed_manifest) return fail(signed_manifest.error());
  release.signed_manifest = std::move(*signed_manifest);
  return release;
}

Result<Bytes> read_release_file(const std::string& folder, const ManifestFile& file) {
  const std::string path = folder + "/" + file.path;
  std::uint64_t size = 0;
  const auto fd = files::open_plain(path, size);
  if (!fd) return fail(fd.error());
  if (size != file.size_bytes) {
    return fail(Code::kCorrupt,
                path + ": " + std::to_string(size) + " bytes, the manifest says " + std::to_string(file.size_bytes));
  }
  return files::read_at(fd->get(), path, 0, static_cast<std::size_t>(size));
}

}  // namespace tidelock
