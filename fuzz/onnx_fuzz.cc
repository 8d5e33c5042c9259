// ONNX files of a publisher, or of whoever got at the disk. The scan finds what the builder wrote, and of anything else
// at most as many ports as it allows, each with a name.
#include "fuzz/fuzz.h"
#include "infer/onnx_file.h"

namespace tidelock::fuzz {
namespace {

Bytes model() {
  OnnxBuilder b;
  const std::int64_t in[] = {1, 3, -1, 2}, weights[] = {2}, out[] = {1, 2};
  const float values[] = {0.5F, 1.5F};
  b.input("images", in);
  b.input("w", weights);
  b.output("scores", out);
  b.weights("w", weights, values);
  b.integers("shape", out);
  b.node("Reshape", {"images", "shape"}, {"flat"});
  b.node("Mul", {"flat", "w"}, {"scores"}, {onnx_int("axis", 1), onnx_ints("pads", {0, 0, 1, 1})});
  return b.finish("graph");
}

}  // namespace

std::vector<Seed> seeds() {
  const Bytes whole = model();
  return {{"model", whole},
          {"cut", whole.substr(0, whole.size() * 2 / 3)},
          {"no_graph", Bytes("\x08\x07\x12\x02hi", 6)},
          {"long_length", Bytes("\x3A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 10)},
          {"group", Bytes("\x3B\x08\x01\x3C", 4)}};
}

void run(BytesView input) {
  static const bool builder_is_read = [] {
    const auto ports = scan_onnx(model());
    TIDELOCK_ASSERT(ports && ports->inputs.size() == 1 && ports->inputs[0].name == "images");
    TIDELOCK_ASSERT((ports->inputs[0].shape == std::vector<std::int64_t>{1, 3, -1, 2}));
    TIDELOCK_ASSERT(ports->outputs.size() == 1 && ports->outputs[0].name == "scores");
    return true;
  }();
  (void)builder_is_read;
  const auto ports = scan_onnx(input);
  if (!ports) return;
  for (const auto* list : {&ports->inputs, &ports->outputs}) {
    TIDELOCK_ASSERT(!list->empty() && list->size() <= 256);
    for (const ModelPort& port : *list) {
      TIDELOCK_ASSERT(!port.name.empty() && port.shape.size() <= kTensorRankMax);
      for (const std::int64_t extent : port.shape) TIDELOCK_ASSERT(extent == -1 || extent > 0);
    }
  }
  // Later fields win and unknown ones are skipped: the same bytes with an unknown field behind them say the same.
  const auto same = scan_onnx(Bytes(input) + Bytes("\xF8\x3F\x01", 3));
  TIDELOCK_ASSERT(same && same->inputs.size() == ports->inputs.size() && same->outputs.size() == ports->outputs.size());
}

}  // namespace tidelock::fuzz
