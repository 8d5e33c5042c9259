#include "infer/engine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "infer/engines_internal.h"
#include "infer/tensor_values.h"

namespace tidelock {
namespace {

std::string onnxruntime_path(const EngineOptions& options) {
  if (!options.onnxruntime_library.empty()) return options.onnxruntime_library;
  const char* path = std::getenv("TIDELOCK_ONNXRUNTIME");
  return path == nullptr ? "" : path;
}
std::string shape_text(std::span<const std::int64_t> shape) {
  std::string out;
  for (const std::int64_t extent : shape)
    out += (out.empty() ? "" : "x") + (extent < 0 ? std::string("?") : std::to_string(extent));
  return out.empty() ? "scalar" : out;
}

}  // namespace

const Tensor* find_tensor(const std::vector<Tensor>& tensors, std::string_view name) {
  const auto it =
      std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& tensor) { return tensor.name == name; });
  return it == tensors.end() ? nullptr : &*it;
}

Result<void> check_inputs(const std::vector<ModelPort>& ports, std::span<const TensorView> inputs) {
  if (inputs.size() != ports.size()) {
    return fail(Code::kInvalid, "run: " + std::to_string(inputs.size()) + " inputs given, the model has " +
                                    std::to_string(ports.size()));
  }
  for (const ModelPort& port : ports) {
    const auto given =
        std::find_if(inputs.begin(), inputs.end(), [&](const TensorView& input) { return input.name == port.name; });
    if (given == inputs.end()) return fail(Code::kInvalid, "run: no input '" + port.name + "' given");
    const auto& shape = given->shape;
    const bool fits = !shape.empty() && shape.size() <= kTensorRankMax &&
                      (port.shape.empty() || shape.size() == port.shape.size()) &&
                      std::equal(port.shape.begin(), port.shape.end(), shape.begin(),
                                 [](std::int64_t want, std::int64_t got) { return want < 0 || want == got; });
    if (!fits) {
      return fail(Code::kInvalid, "run: input '" + port.name + "' has shape " + shape_text(shape) +
                                      ", the model wants " + shape_text(port.shape));
    }
    std::uint64_t elements = 1;
    for (const std::int64_t extent : shape) {
      if (extent < 1 || extent > static_cast<std::int64_t>(kTensorElementsMax)) {
        return fail(Code::kInvalid, "run: input '" + port.name + "' has an extent of " + std::to_string(extent) +
                                        "; each must be 1 to " + std::to_string(kTensorElementsMax));
      }
      elements *= static_cast<std::uint64_t>(extent);
      if (elements > kTensorElementsMax)
        return fail(Code::kInvalid, "run: input '" + port.name + "' of shape " + shape_text(shape) + " has more than " +
                                        std::to_string(kTensorElementsMax) + " elements");
    }
    if (given->values.size() != elements) {
      return fail(Code::kInvalid, "run: input '" + port.name + "' has " + std::to_string(given->values.size()) +
                                      " values, its shape " + shape_text(shape) + " needs " + std::to_string(elements));
    }
    if (const auto ok = check_values(port.type, given->values, port.name); !ok) return ok;
  }
  return {};
}

Result<std::unique_ptr<Model>> Engine::load_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return fail(errno == ENOENT ? Code::kNotFound : Code::kUnavailable, "model " + path + ": " + std::strerror(errno));
  struct stat info{};
  const bool plain = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  if (!plain || info.st_size == 0) {
    ::close(fd);
    return fail(Code::kCorrupt, "model " + path + (plain ? ": is empty" : ": not a plain file"));
  }
  // M9: mapped rather than read: the pages are those of every other process that loads this version.
  const auto size = static_cast<std::size_t>(info.st_size);
  void* at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  const int map_error = errno;
  ::close(fd);
  if (at == MAP_FAILED) return fail(Code::kUnavailable, "model " + path + ": " + std::strerror(map_error));
  auto model = load(BytesView(static_cast<const char*>(at), size));
  ::munmap(at, size);
  if (!model) model.error().message = "model " + path + ": " + model.error().message;
  return model;
}

std::vector<EngineInfo> engines(const EngineOptions& options) {
  std::vector<EngineInfo> out;
  out.push_back({"opencv", true, make_opencv_engine()->version()});
  const auto onnxruntime = make_onnxruntime_engine(onnxruntime_path(options));
  out.push_back(
      {"onnxruntime", onnxruntime.has_value(), onnxruntime ? (*onnxruntime)->version() : onnxruntime.error().message});
  return out;
}

Result<std::unique_ptr<Engine>> open_engine(const EngineOptions& options) {
  if (options.name == "opencv") return make_opencv_engine();
  if (options.name != "onnxruntime" && !options.name.empty()) {
    return fail(Code::kInvalid,
                "engine '" + options.name + "': give opencv, onnxruntime, or nothing for the best one here");
  }
  auto onnxruntime = make_onnxruntime_engine(onnxruntime_path(options));
  if (!onnxruntime && options.name.empty()) return make_opencv_engine();
  return onnxruntime;
}

// ----------------------------------------------------------------------------------------------------------- golden

namespace {

Result<Tensor> golden_tensor(const Manifest& manifest, const GoldenTensor& golden, const ReadReleaseFile& read) {
  Tensor out;
  out.name = golden.tensor.name;
  std::uint64_t want = tensor_element_bytes(golden.tensor.type);
  for (const std::uint32_t extent : golden.tensor.shape) {
    out.shape.push_back(extent);
    want *= extent;
  }
  Bytes bytes = golden.inline_values;
  if (!golden.file.empty()) {
    const ManifestFile* file = find_file(manifest, golden.file);
    if (file == nullptr) return fail(Code::kInvalid, "no file '" + golden.file + "' in the manifest");
    auto content = read(*file);
    if (!content) return fail(content.error());
    bytes = std::move(*content);
  }
  if (bytes.size() != want) {
    return fail(Code::kCorrupt, "tensor '" + out.name + "' has " + std::to_string(bytes.size()) +
                                    " bytes, its shape needs " + std::to_string(want));
  }
  auto values = floats_of(golden.tensor.type, bytes, out.name);
  if (!values) return fail(values.error());
  out.values = std::move(*values);
  return out;
}

Result<void> compare(const Tensor& expected, TensorType type, const Tensor& got, double tolerance) {
  if (got.shape != expected.shape) {
    return fail(Code::kCorrupt, "output '" + expected.name + "' has shape " + shape_text(got.shape) + ", expected " +
                                    shape_text(expected.shape));
  }
  const bool whole = type == TensorType::kU8 || type == TensorType::kI64;
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    const double want = expected.values[i], have = got.values[i];
    if (have == want) continue;  // an infinity is only itself
    if (std::isfinite(have) && std::isfinite(want) &&
        std::abs(have - want) <= tolerance * (whole ? 1.0 : std::max(1.0, std::abs(want))))
      continue;
    return fail(Code::kCorrupt, "output '" + expected.name + "' element " + std::to_string(i) + " is " +
                                    std::to_string(have) + ", expected " + std::to_string(want) + " within " +
                                    std::to_string(tolerance));
  }
  return {};
}

Result<void> run_case(const Manifest& manifest, const GoldenCase& golden, Model& model, const ReadReleaseFile& read) {
  std::vector<Tensor> inputs;
  std::vector<TensorView> views;
  for (const GoldenTensor& one : golden.inputs) {
    auto tensor = golden_tensor(manifest, one, read);
    if (!tensor) return fail(tensor.error());
    inputs.push_back(std::move(*tensor));
  }
  for (const Tensor& input : inputs) views.push_back(input.view());
  const auto outputs = model.run(views);
  if (!outputs) return fail(outputs.error());
  for (const GoldenTensor& one : golden.outputs) {
    const auto expected = golden_tensor(manifest, one, read);
    if (!expected) return fail(expected.error());
    const Tensor* got = find_tensor(*outputs, one.tensor.name);
    if (got == nullptr) return fail(Code::kCorrupt, "the model has no output '" + one.tensor.name + "'");
    if (const auto ok = compare(*expected, one.tensor.type, *got, golden.tolerance_millionths / 1e6); !ok) return ok;
  }
  return {};
}

}  // namespace

Result<void> verify_golden_case(const Manifest& manifest, std::size_t number, Model& model,
                                const ReadReleaseFile& read) {
  auto ok = run_case(manifest, manifest.golden[number], model, read);
  if (ok) return ok;
  return fail(ok.error().code, "golden case " + std::to_string(number) + " of " + manifest.name + " " +
                                   manifest.version + ": " + ok.error().message);
}
Result<void> verify_golden(const Manifest& manifest, Model& model, const ReadReleaseFile& read) {
  for (std::size_t i = 0; i < manifest.golden.size(); ++i) {
    if (auto ok = verify_golden_case(manifest, i, model, read); !ok) return ok;
  }
  return {};
}

}  // namespace tidelock
