#include <mutex>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/dnn.hpp>
#include <optional>

#include "infer/engines_internal.h"
#include "infer/onnx_file.h"
#include "infer/opencv_pages.h"

namespace tidelock {
namespace {

int swallow(int, const char*, const char*, const char*, int, void*) { return 0; }

// OpenCV's switches are of the whole process: one thread per inference (two are slower on a busy box, and apps share
// the machine), an allocator that can share weights (M9), and silence: what goes wrong comes back as an Error, not as
// lines on stderr.
void set_up_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    cv::setNumThreads(1);
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
    cv::redirectError(swallow);
    install_opencv_pages();
  });
}

// Runs `work` and turns whatever it throws into an Error.
template <class Work>
auto guarded(Code code, const char* doing, Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const cv::Exception& error) {
    return fail(code, std::string("opencv: ") + doing + ": " + error.err);
  } catch (const std::exception& error) {
    return fail(code, std::string("opencv: ") + doing + ": " + error.what());
  } catch (...) {
    return fail(code, std::string("opencv: ") + doing + ": unknown exception");
  }
}

class OpencvModel final : public Model {
 public:
  OpencvModel(cv::dnn::Net net, OnnxPorts ports, std::vector<cv::String> layers)
      : net_(std::move(net)), ports_(std::move(ports)), layers_(std::move(layers)) {}

  const std::vector<ModelPort>& inputs() const override { return ports_.inputs; }
  const std::vector<ModelPort>& outputs() const override { return ports_.outputs; }

  Result<std::vector<Tensor>> run(std::span<const TensorView> inputs) override {
    if (const auto ok = check_inputs(ports_.inputs, inputs); !ok) return fail(ok.error());
    return guarded(Code::kInvalid, "run", [&]() -> Result<std::vector<Tensor>> {
      for (const TensorView& input : inputs) {
        const std::vector<int> shape(input.shape.begin(), input.shape.end());
        // The net copies it; the cast only satisfies a constructor without a const form.
        const cv::Mat blob(shape, CV_32F, const_cast<float*>(input.values.data()));
        net_.setInput(blob, std::string(input.name));
      }
      std::vector<cv::Mat> blobs;
      net_.forward(blobs, layers_);
      if (blobs.size() != layers_.size()) return fail(Code::kCorrupt, "opencv: run: an output is missing");
      std::vector<Tensor> out(blobs.size());
      for (std::size_t i = 0; i < blobs.size(); ++i) {
        cv::Mat dense = blobs[i];
        if (dense.depth() != CV_32F) dense.convertTo(dense, CV_32F);
        if (!dense.isContinuous()) dense = dense.clone();
        out[i].name = ports_.outputs[i].name;
        for (int d = 0; d < dense.dims; ++d) out[i].shape.push_back(dense.size[d]);
        out[i].values.assign(dense.ptr<float>(), dense.ptr<float>() + dense.total());
      }
      return out;
    });
  }

 private:
  cv::dnn::Net net_;
  const OnnxPorts ports_;
  const std::vector<cv::String> layers_;  // in the order of ports_.outputs
};

class OpencvEngine final : public Engine {
 public:
  std::string_view name() const override { return "opencv"; }
  const std::string& version() const override { return version_; }

  Result<std::unique_ptr<Model>> load(BytesView onnx) override { return load_with(onnx, nullptr); }
  Result<std::unique_ptr<Model>> load_shared(BytesView onnx, std::shared_ptr<const SharedWeights> weights) override {
    return load_with(onnx, weights.get());
  }
  bool shares_for_free() const override { return true; }

 private:
  static Result<std::unique_ptr<Model>> load_with(BytesView onnx, const SharedWeights* weights) {
    auto ports = scan_onnx(onnx);
    if (!ports) return fail(ports.error());
    return guarded(Code::kCorrupt, "load", [&]() -> Result<std::unique_ptr<Model>> {
      std::optional<PagesScope> pages;
      if (weights != nullptr) pages.emplace();
      cv::dnn::Net net = cv::dnn::readNetFromONNX(onnx.data(), onnx.size());
      if (pages) (void)weights->take_place_of(pages->live());
      pages.reset();
      if (net.empty()) return fail(Code::kCorrupt, "opencv: load: the model has no layers");
      net.setPreferableBackend(cv::dnn::DNN_BACKEND_OPENCV);
      net.setPreferableTarget(cv::dnn::DNN_TARGET_CPU);
      std::vector<cv::String> layers;
      for (const ModelPort& output : ports->outputs) {
        const auto layer = layer_of(net, output.name);
        if (!layer) return fail(layer.error());
        layers.push_back(*layer);
      }
      return std::make_unique<OpencvModel>(std::move(net), std::move(*ports), std::move(layers));
    });
  }

  // The importer names a layer after the first output of its node, with a prefix since 4.5.5.
  static Result<cv::String> layer_of(const cv::dnn::Net& net, const std::string& output) {
    for (const std::string& candidate : {output, "onnx_node_output_0!" + output, "onnx_node!" + output}) {
      if (net.getLayerId(candidate) >= 0) return cv::String(candidate);
    }
    return fail(Code::kCorrupt, "opencv: load: no layer gives output '" + output + "'; name the node after its output");
  }

  const std::string version_ = cv::getVersionString();
};

}  // namespace

std::unique_ptr<Engine> make_opencv_engine() {
  set_up_once();
  return std::make_unique<OpencvEngine>();
}

}  // namespace tidelock
