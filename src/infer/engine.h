// Engines run ONNX models. OpenCV is always there; ONNX Runtime is used when its library can be loaded (DESIGN 10: the
// same outputs to six digits, three times the speed).
//
// Threads:   an Engine may be used from any thread. A Model belongs to one thread at a time; different models may run
// side
//            by side. Engines run a model on the calling thread alone.
// Cost:      load parses and prepares (10-200 ms); the first run also allocates, so warm a model before it is needed
// (M10). Ownership: load copies what it needs; views handed to run must live until it returns. A Model may outlive its
// Engine. Errors:    kCorrupt bytes that are no model, or one this engine cannot run, with the engine's own words;
// kInvalid inputs
//            that do not fit; kUnavailable an engine that is not on this machine. No exception leaves this room.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/manifest.h"

namespace tidelock {

class SharedWeights;  // shared_weights.h

inline constexpr std::uint64_t kOnnxBytesMax = 2ull << 30;  // protobuf's own limit

// Dense, row-major float32, whatever type the model's port has: a port of uint8, int64 or float16 is given, and gives,
// the same numbers. What does not fit is refused: a fraction for an int64, or an int64 that float32 does not hold.
struct TensorView {
  std::string_view name;
  std::span<const std::int64_t> shape;
  std::span<const float> values;
};
struct Tensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<float> values;
  TensorView view() const { return {name, shape, values}; }
};
// Null when there is none.
const Tensor* find_tensor(const std::vector<Tensor>& tensors, std::string_view name);

struct ModelPort {
  std::string name;
  std::vector<std::int64_t> shape;     // -1: any
  TensorType type = TensorType::kF32;  // for what the list does not have, too: then the engine judges
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const std::vector<ModelPort>& inputs() const = 0;
  virtual const std::vector<ModelPort>& outputs() const = 0;
  // All outputs, in the order of outputs(). Every input must be given once.
  virtual Result<std::vector<Tensor>> run(std::span<const TensorView> inputs) = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string_view name() const = 0;       // "opencv", "onnxruntime"
  virtual const std::string& version() const = 0;  // of the library
  virtual Result<std::unique_ptr<Model>> load(BytesView onnx) = 0;
  // M9: as load, and the large weights lie in pages that every process of the machine that does the same has in common.
  // `weights` is of this model (shared_weights.h); the model keeps it as long as it needs it.
  // With ONNX Runtime it costs speed: weights are not reordered for the processor, which would be a copy.
  virtual Result<std::unique_ptr<Model>> load_shared(BytesView onnx, std::shared_ptr<const SharedWeights> weights) = 0;
  virtual bool shares_for_free() const = 0;
  Result<std::unique_ptr<Model>> load_file(const std::string& path);
};

struct EngineInfo {
  std::string name;
  bool available = false;
  std::string detail;  // the version, or why it is not there
};
struct EngineOptions {
  std::string name;  // empty: onnxruntime when available, else opencv
  // libonnxruntime.so; empty: the environment's TIDELOCK_ONNXRUNTIME, and without it ONNX Runtime is absent.
  std::string onnxruntime_library;
};
std::vector<EngineInfo> engines(const EngineOptions& options = {});
Result<std::unique_ptr<Engine>> open_engine(const EngineOptions& options = {});

// M4: runs every golden case of a manifest in a loaded model; kCorrupt names case, tensor, element, got and expected.
// `read` gives the bytes of a file of the release (store/models/release.h: read_release_file).
using ReadReleaseFile = std::function<Result<Bytes>(const ManifestFile& file)>;
Result<void> verify_golden(const Manifest& manifest, Model& model, const ReadReleaseFile& read);
// One of them, below manifest.golden.size().
Result<void> verify_golden_case(const Manifest& manifest, std::size_t number, Model& model,
                                const ReadReleaseFile& read);

}  // namespace tidelock
