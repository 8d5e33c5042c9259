// ONNX Runtime through its C API, whose table of functions is append-only: a library at least as new as the header we
// were built with serves. The header is optional (TIDELOCK_ONNXRUNTIME_DIR at configure time), the library too
// (dlopen).
#include "infer/engines_internal.h"

#ifdef TIDELOCK_HAVE_ONNXRUNTIME_HEADER

#include <dlfcn.h>
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <mutex>

#include "infer/onnx_file.h"
#include "infer/shared_weights.h"
#include "infer/tensor_values.h"

namespace tidelock {
namespace {

ONNXTensorElementDataType element_type(TensorType type) {
  switch (type) {
    case TensorType::kF32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case TensorType::kU8: return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    case TensorType::kI64: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    case TensorType::kF16: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
  }
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

struct Library {
  const OrtApi* api = nullptr;
  OrtEnv* env = nullptr;
  OrtMemoryInfo* cpu_memory = nullptr;
  std::string version;
};

// Consumes the status. Nothing when it is a success.
Result<void> check(const OrtApi& api, OrtStatus* status, Code code, const char* doing) {
  if (status == nullptr) return {};
  std::string message = std::string("onnxruntime: ") + doing + ": " + api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  return fail(code, std::move(message));
}

template <class T>
class Owned {
 public:
  Owned(void (*release)(T*)) : release_(release) {}
  ~Owned() { reset(); }
  Owned(Owned&& other) noexcept : release_(other.release_), value_(std::exchange(other.value_, nullptr)) {}
  Owned& operator=(Owned&&) = delete;
  T* get() const { return value_; }
  T** out() {
    reset();
    return &value_;
  }

 private:
  void reset() {
    if (value_ != nullptr) release_(std::exchange(value_, nullptr));
  }
  void (*release_)(T*);
  T* value_ = nullptr;
};

class OnnxruntimeModel final : public Model {
 public:
  OnnxruntimeModel(const Library& library, OnnxPorts ports, std::shared_ptr<const SharedWeights> weights,
                   std::vector<Owned<OrtValue>> shared, Owned<OrtSession> session)
      : library_(library),
        weights_(std::move(weights)),
        shared_(std::move(shared)),
        session_(std::move(session)),
        ports_(std::move(ports)) {
    for (const ModelPort& port : ports_.outputs) output_names_.push_back(port.name.c_str());
  }
  const std::vector<ModelPort>& inputs() const override { return ports_.inputs; }
  const std::vector<ModelPort>& outputs() const override { return ports_.outputs; }

  Result<std::vector<Tensor>> run(std::span<const TensorView> inputs) override {
    if (const auto ok = check_inputs(ports_.inputs, inputs); !ok) return fail(ok.error());
    const OrtApi& api = *library_.api;
    std::vector<std::string> names;
    std::vector<const char*> name_pointers;
    std::vector<Owned<OrtValue>> values;
    std::vector<const OrtValue*> value_pointers;
    for (const TensorView& input : inputs) names.emplace_back(input.name);
    std::vector<Bytes> converted(inputs.size());  // of those that are not float32 in the model
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      name_pointers.push_back(names[i].c_str());
      OrtValue** value = values.emplace_back(api.ReleaseValue).out();
      const TensorType type = type_of(inputs[i].name);
      // ONNX Runtime only reads an input tensor; the cast satisfies an API without a const form.
      void* data = const_cast<float*>(inputs[i].values.data());
      std::size_t size_bytes = inputs[i].values.size_bytes();
      if (type != TensorType::kF32) {
        converted[i] = bytes_of(type, inputs[i].values);
        data = converted[i].data();
        size_bytes = converted[i].size();
      }
      OrtStatus* status =
          api.CreateTensorWithDataAsOrtValue(library_.cpu_memory, data, size_bytes, inputs[i].shape.data(),
                                             inputs[i].shape.size(), element_type(type), value);
      if (const auto ok = check(api, status, Code::kInvalid, "input"); !ok) return fail(ok.error());
      value_pointers.push_back(*value);
    }
    std::vector<OrtValue*> results(output_names_.size(), nullptr);
    OrtStatus* status = api.Run(session_.get(), nullptr, name_pointers.data(), value_pointers.data(),
                                value_pointers.size(), output_names_.data(), output_names_.size(), results.data());
    std::vector<Owned<OrtValue>> owned;
    for (OrtValue* result : results) *owned.emplace_back(api.ReleaseValue).out() = result;
    if (const auto ok = check(api, status, Code::kInvalid, "run"); !ok) return fail(ok.error());
    std::vector<Tensor> out;
    for (std::size_t i = 0; i < results.size(); ++i) {
      auto tensor = copy(results[i], ports_.outputs[i].name);
      if (!tensor) return fail(tensor.error());
      out.push_back(std::move(*tensor));
    }
    return out;
  }

 private:
  TensorType type_of(std::string_view input) const {
    for (const ModelPort& port : ports_.inputs) {
      if (port.name == input) return port.type;
    }
    return TensorType::kF32;
  }
  Result<Tensor> copy(OrtValue* value, const std::string& name) const {
    const OrtApi& api = *library_.api;
    Owned<OrtTensorTypeAndShapeInfo> info(api.ReleaseTensorTypeAndShapeInfo);
    if (const auto ok = check(api, api.GetTensorTypeAndShape(value, info.out()), Code::kCorrupt, "output"); !ok)
      return fail(ok.error());
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    std::size_t rank = 0, count = 0;
    Tensor out;
    out.name = name;
    if (const auto ok = check(api, api.GetTensorElementType(info.get(), &type), Code::kCorrupt, "output"); !ok)
      return fail(ok.error());
    constexpr TensorType kKnown[] = {TensorType::kF32, TensorType::kU8, TensorType::kI64, TensorType::kF16};
    const auto* known =
        std::find_if(std::begin(kKnown), std::end(kKnown), [&](TensorType one) { return element_type(one) == type; });
    if (known == std::end(kKnown))
      return fail(Code::kCorrupt, "onnxruntime: output '" + name + "' is not float32, uint8, int64 or float16");
    if (const auto ok = check(api, api.GetDimensionsCount(info.get(), &rank), Code::kCorrupt, "output"); !ok)
      return fail(ok.error());
    out.shape.resize(rank);
    if (const auto ok = check(api, api.GetDimensions(info.get(), out.shape.data(), rank), Code::kCorrupt, "output");
        !ok)
      return fail(ok.error());
    if (const auto ok = check(api, api.GetTensorShapeElementCount(info.get(), &count), Code::kCorrupt, "output"); !ok)
      return fail(ok.error());
    void* data = nullptr;
    if (const auto ok = check(api, api.GetTensorMutableData(value, &data), Code::kCorrupt, "output"); !ok)
      return fail(ok.error());
    auto values =
        floats_of(*known, BytesView(static_cast<const char*>(data), count * tensor_element_bytes(*known)), name);
    if (!values) return fail(values.error());
    out.values = std::move(*values);
    return out;
  }

  const Library& library_;
  const std::shared_ptr<const SharedWeights> weights_;  // null: the session has copies of its own
  const std::vector<Owned<OrtValue>> shared_;           // tensors over `weights_`, which the session reads
  const Owned<OrtSession> session_;
  const OnnxPorts ports_;
  std::vector<const char*> output_names_;
};

class OnnxruntimeEngine final : public Engine {
 public:
  explicit OnnxruntimeEngine(const Library& library) : library_(library) {}
  std::string_view name() const override { return "onnxruntime"; }
  const std::string& version() const override { return library_.version; }

  bool shares_for_free() const override { return false; }
  Result<std::unique_ptr<Model>> load(BytesView onnx) override { return load_shared(onnx, nullptr); }
  Result<std::unique_ptr<Model>> load_shared(BytesView onnx, std::shared_ptr<const SharedWeights> weights) override {
    auto ports = scan_onnx(onnx);
    if (!ports) return fail(ports.error());
    const OrtApi& api = *library_.api;
    Owned<OrtSessionOptions> options(api.ReleaseSessionOptions);
    if (const auto ok = check(api, api.CreateSessionOptions(options.out()), Code::kUnavailable, "options"); !ok)
      return fail(ok.error());
    // The last level lays weights out anew for the processor: a copy of them in each process.
    const GraphOptimizationLevel level = weights ? ORT_ENABLE_EXTENDED : ORT_ENABLE_ALL;
    for (OrtStatus* status : {api.SetIntraOpNumThreads(options.get(), 1), api.SetInterOpNumThreads(options.get(), 1),
                              api.SetSessionGraphOptimizationLevel(options.get(), level)}) {
      if (const auto ok = check(api, status, Code::kUnavailable, "options"); !ok) return fail(ok.error());
    }
    std::vector<Owned<OrtValue>> shared;
    if (weights) {
      // So would weights packed ahead be.
      if (const auto ok = check(api, api.AddSessionConfigEntry(options.get(), "session.disable_prepacking", "1"),
                                Code::kUnavailable, "options");
          !ok)
        return fail(ok.error());
      for (const SharedWeights::Piece& piece : weights->pieces()) {
        if (piece.tensor.type != ElementType::kF32 || piece.tensor.name.empty()) continue;
        OrtValue** value = shared.emplace_back(api.ReleaseValue).out();
        // The session only reads its weights; the cast satisfies an API without a const form.
        OrtStatus* made = api.CreateTensorWithDataAsOrtValue(
            library_.cpu_memory, const_cast<void*>(weights->data(piece)), piece.tensor.size_bytes,
            piece.tensor.shape.data(), piece.tensor.shape.size(), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, value);
        if (const auto ok = check(api, made, Code::kCorrupt, "weights"); !ok) return fail(ok.error());
        if (const auto ok = check(api, api.AddInitializer(options.get(), piece.tensor.name.c_str(), *value),
                                  Code::kCorrupt, "weights");
            !ok)
          return fail(ok.error());
      }
    }
    Owned<OrtSession> session(api.ReleaseSession);
    OrtStatus* status =
        api.CreateSessionFromArray(library_.env, onnx.data(), onnx.size(), options.get(), session.out());
    if (const auto ok = check(api, status, Code::kCorrupt, "load"); !ok) return fail(ok.error());
    return std::make_unique<OnnxruntimeModel>(library_, std::move(*ports), std::move(weights), std::move(shared),
                                              std::move(session));
  }

 private:
  const Library& library_;
};

Result<Library> load_library(const std::string& path) {
  const auto absent = [&](const std::string& why) {
    return fail(Code::kUnavailable, "onnxruntime: " + path + ": " + why);
  };
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return absent(::dlerror());
  const auto base_function = reinterpret_cast<const OrtApiBase* (*)()>(::dlsym(handle, "OrtGetApiBase"));
  if (base_function == nullptr) return absent("has no OrtGetApiBase; name libonnxruntime.so");
  const OrtApiBase* base = base_function();
  Library library;
  library.version = base->GetVersionString();
  library.api = base->GetApi(ORT_API_VERSION);
  if (library.api == nullptr) {
    return absent("version " + library.version + " is too old; 1." + std::to_string(ORT_API_VERSION) +
                  " or newer is needed");
  }
  if (const auto ok = check(*library.api, library.api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "tidelock", &library.env),
                            Code::kUnavailable, "environment");
      !ok) {
    return fail(ok.error());
  }
  if (const auto ok = check(*library.api,
                            library.api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &library.cpu_memory),
                            Code::kUnavailable, "memory");
      !ok) {
    return fail(ok.error());
  }
  return library;
}

}  // namespace

Result<std::unique_ptr<Engine>> make_onnxruntime_engine(const std::string& path) {
  if (path.empty()) {
    return fail(Code::kUnavailable,
                "onnxruntime: no library named; set TIDELOCK_ONNXRUNTIME to the path of libonnxruntime.so (./dev setup "
                "--with onnxruntime fetches one)");
  }
  // One Library per path for the life of the process: models refer to it.
  static std::mutex mutex;
  static auto& loaded = *new std::map<std::string, Library>;
  const std::lock_guard lock(mutex);
  auto it = loaded.find(path);
  if (it == loaded.end()) {
    auto library = load_library(path);
    if (!library) return fail(library.error());
    it = loaded.emplace(path, std::move(*library)).first;
  }
  return std::make_unique<OnnxruntimeEngine>(it->second);
}

}  // namespace tidelock

#else

namespace tidelock {
Result<std::unique_ptr<Engine>> make_onnxruntime_engine(const std::string&) {
  return fail(
      Code::kUnavailable,
      "onnxruntime: this program was built without its header; run ./dev setup --with onnxruntime and build again");
}
}  // namespace tidelock

#endif
