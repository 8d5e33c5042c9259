// The little of the ONNX file format that we need ourselves: a writer for models that the project builds (tests, the
// example), and a scan that finds the names and shapes of a model's inputs and outputs. No protobuf library.
//
// Threads: pure. Limits: the scan allocates nothing from a length field, and follows no more than the six levels it
// knows.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "infer/engine.h"

namespace tidelock {

struct OnnxPorts {
  std::vector<ModelPort> inputs;  // without those that initializers fill
  std::vector<ModelPort> outputs;
};
// kCorrupt when the bytes are not a model with at least one input and one output.
Result<OnnxPorts> scan_onnx(BytesView onnx);

struct OnnxAttribute {
  std::string name;
  std::vector<std::int64_t> ints;
  bool is_list = false;  // INTS rather than INT
};
inline OnnxAttribute onnx_int(std::string name, std::int64_t value) { return {std::move(name), {value}, false}; }
inline OnnxAttribute onnx_ints(std::string name, std::vector<std::int64_t> values) {
  return {std::move(name), std::move(values), true};
}

// Builds a model with float32 weights, opset 12, in the order of the calls.
class OnnxBuilder {
 public:
  void input(std::string_view name, std::span<const std::int64_t> shape, TensorType type = TensorType::kF32);
  void output(std::string_view name, std::span<const std::int64_t> shape, TensorType type = TensorType::kF32);
  void weights(std::string_view name, std::span<const std::int64_t> shape, std::span<const float> values);
  void integers(std::string_view name, std::span<const std::int64_t> values);  // int64, one dimension
  void node(std::string_view op, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
            const std::vector<OnnxAttribute>& attributes = {});
  Bytes finish(std::string_view graph_name) const;

 private:
  Bytes nodes_, initializers_, inputs_, outputs_;
};

}  // namespace tidelock
