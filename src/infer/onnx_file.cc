// Protobuf by hand (codec/protobuf.h). Field numbers are those of onnx.proto3 (IR version 7).
#include "infer/onnx_file.h"

#include <set>
#include <type_traits>

#include "codec/protobuf.h"

namespace tidelock {
namespace {

// onnx.proto3
constexpr int kModelIrVersion = 1, kModelProducer = 2, kModelGraph = 7, kModelOpset = 8;
constexpr int kOpsetVersion = 2;
constexpr int kGraphNode = 1, kGraphName = 2, kGraphInitializer = 5, kGraphInput = 11, kGraphOutput = 12;
constexpr int kNodeInput = 1, kNodeOutput = 2, kNodeOp = 4, kNodeAttribute = 5;
constexpr int kAttributeName = 1, kAttributeInt = 3, kAttributeInts = 8, kAttributeType = 20;
constexpr int kAttributeTypeInt = 2, kAttributeTypeInts = 7;
constexpr int kTensorDims = 1, kTensorType = 2, kTensorName = 8, kTensorRaw = 9;
constexpr int kTypeFloat = 1, kTypeUint8 = 2, kTypeInt64 = 7, kTypeFloat16 = 10;
constexpr int kValueName = 1, kValueType = 2, kTypeTensor = 1, kTensorElement = 1, kTensorShape = 2, kShapeDim = 1,
              kDimValue = 1;
constexpr int kIrVersion = 7, kOpset = 12;
constexpr std::size_t kPortsMax = 256;

// ---------------------------------------------------------------------------------------------------------- reading

using Field = ProtobufField;
using Fields = ProtobufFields;

// The payload of the last field with this number, or nothing.
BytesView child(BytesView message, int number) {
  Fields fields(message);
  Field field;
  BytesView out;
  while (fields.next(field)) {
    if (field.number == number) out = field.bytes;
  }
  return out;
}

ModelPort parse_port(BytesView value_info) {
  ModelPort port;
  port.name = std::string(child(value_info, kValueName));
  const BytesView tensor_type = child(child(value_info, kValueType), kTypeTensor);
  Fields parts(tensor_type);
  Field part;
  while (parts.next(part)) {
    if (part.number != kTensorElement) continue;
    port.type = part.varint == kTypeUint8     ? TensorType::kU8
                : part.varint == kTypeInt64   ? TensorType::kI64
                : part.varint == kTypeFloat16 ? TensorType::kF16
                                              : TensorType::kF32;
  }
  Fields dims(child(tensor_type, kTensorShape));
  Field dim;
  while (dims.next(dim) && port.shape.size() < kTensorRankMax) {
    if (dim.number != kShapeDim) continue;
    std::int64_t extent = -1;  // a symbolic or missing extent
    Fields inner(dim.bytes);
    Field field;
    while (inner.next(field)) {
      if (field.number == kDimValue) extent = static_cast<std::int64_t>(field.varint);
    }
    port.shape.push_back(extent > 0 ? extent : -1);
  }
  return port;
}

// ---------------------------------------------------------------------------------------------------------- writing

void put_varint(Bytes& out, std::uint64_t v) {
  while (v >= 0x80) {
    out.push_back(static_cast<char>(v | 0x80));
    v >>= 7;
  }
  out.push_back(static_cast<char>(v));
}
void put_int(Bytes& out, int number, std::int64_t value) {
  put_varint(out, static_cast<std::uint64_t>(number) << 3);
  put_varint(out, static_cast<std::uint64_t>(value));
}
void put_bytes(Bytes& out, int number, BytesView bytes) {
  put_varint(out, static_cast<std::uint64_t>(number) << 3 | 2);
  put_varint(out, bytes.size());
  out.append(bytes);
}
template <class T>
BytesView raw(std::span<const T> values) {
  static_assert(std::is_trivially_copyable_v<T>);
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}
Bytes tensor(std::string_view name, int type, std::span<const std::int64_t> shape, BytesView values) {
  Bytes out;
  for (const std::int64_t extent : shape) put_int(out, kTensorDims, extent);
  put_int(out, kTensorType, type);
  put_bytes(out, kTensorName, name);
  put_bytes(out, kTensorRaw, values);
  return out;
}
int element_number(TensorType type) {
  switch (type) {
    case TensorType::kF32: return kTypeFloat;
    case TensorType::kU8: return kTypeUint8;
    case TensorType::kI64: return kTypeInt64;
    case TensorType::kF16: return kTypeFloat16;
  }
  return kTypeFloat;
}
Bytes value_info(std::string_view name, std::span<const std::int64_t> shape, TensorType type_of_elements) {
  Bytes dims;
  for (const std::int64_t extent : shape) {
    Bytes dim;
    if (extent > 0) put_int(dim, kDimValue, extent);
    put_bytes(dims, kShapeDim, dim);
  }
  Bytes tensor_type, type, out;
  put_int(tensor_type, kTensorElement, element_number(type_of_elements));
  put_bytes(tensor_type, kTensorShape, dims);
  put_bytes(type, kTypeTensor, tensor_type);
  put_bytes(out, kValueName, name);
  put_bytes(out, kValueType, type);
  return out;
}

}  // namespace

Result<OnnxPorts> scan_onnx(BytesView onnx) {
  if (onnx.size() > kOnnxBytesMax) {
    return fail(Code::kCorrupt,
                "onnx: " + std::to_string(onnx.size()) + " bytes; at most " + std::to_string(kOnnxBytesMax));
  }
  BytesView graph;
  Fields model(onnx);
  Field field;
  while (model.next(field)) {
    if (field.number == kModelGraph) graph = field.bytes;
  }
  if (!model.ok()) return fail(Code::kCorrupt, "onnx: truncated or not a protobuf message");
  if (graph.empty()) return fail(Code::kCorrupt, "onnx: no graph in it");
  OnnxPorts ports;
  std::set<std::string, std::less<>> filled;
  Fields fields(graph);
  while (fields.next(field)) {
    if (field.number == kGraphInitializer) filled.emplace(child(field.bytes, kTensorName));
    if (field.number == kGraphInput) ports.inputs.push_back(parse_port(field.bytes));
    if (field.number == kGraphOutput) ports.outputs.push_back(parse_port(field.bytes));
  }
  if (!fields.ok()) return fail(Code::kCorrupt, "onnx: its graph is truncated or malformed");
  std::erase_if(ports.inputs, [&](const ModelPort& port) { return filled.contains(port.name); });
  const auto usable = [](const std::vector<ModelPort>& list) {
    std::set<std::string_view> names;
    for (const ModelPort& port : list) {
      if (port.name.empty() || !names.insert(port.name).second) return false;
    }
    return !list.empty() && list.size() <= kPortsMax;
  };
  if (!usable(ports.inputs)) return fail(Code::kCorrupt, "onnx: its graph has no inputs, too many, or two of one name");
  if (!usable(ports.outputs))
    return fail(Code::kCorrupt, "onnx: its graph has no outputs, too many, or two of one name");
  return ports;
}

void OnnxBuilder::input(std::string_view name, std::span<const std::int64_t> shape, TensorType type) {
  put_bytes(inputs_, kGraphInput, value_info(name, shape, type));
}
void OnnxBuilder::output(std::string_view name, std::span<const std::int64_t> shape, TensorType type) {
  put_bytes(outputs_, kGraphOutput, value_info(name, shape, type));
}
void OnnxBuilder::weights(std::string_view name, std::span<const std::int64_t> shape, std::span<const float> values) {
  put_bytes(initializers_, kGraphInitializer, tensor(name, kTypeFloat, shape, raw(values)));
}
void OnnxBuilder::integers(std::string_view name, std::span<const std::int64_t> values) {
  const std::int64_t shape[] = {static_cast<std::int64_t>(values.size())};
  put_bytes(initializers_, kGraphInitializer, tensor(name, kTypeInt64, shape, raw(values)));
}
void OnnxBuilder::node(std::string_view op, const std::vector<std::string>& inputs,
                       const std::vector<std::string>& outputs, const std::vector<OnnxAttribute>& attributes) {
  Bytes node;
  for (const std::string& name : inputs) put_bytes(node, kNodeInput, name);
  for (const std::string& name : outputs) put_bytes(node, kNodeOutput, name);
  put_bytes(node, kNodeOp, op);
  for (const OnnxAttribute& attribute : attributes) {
    Bytes out;
    put_bytes(out, kAttributeName, attribute.name);
    for (const std::int64_t value : attribute.ints)
      put_int(out, attribute.is_list ? kAttributeInts : kAttributeInt, value);
    put_int(out, kAttributeType, attribute.is_list ? kAttributeTypeInts : kAttributeTypeInt);
    put_bytes(node, kNodeAttribute, out);
  }
  put_bytes(nodes_, kGraphNode, node);
}
Bytes OnnxBuilder::finish(std::string_view graph_name) const {
  Bytes graph = nodes_;
  put_bytes(graph, kGraphName, graph_name);
  graph += initializers_ + inputs_ + outputs_;
  Bytes opset, out;
  put_int(opset, kOpsetVersion, kOpset);
  put_int(out, kModelIrVersion, kIrVersion);
  put_bytes(out, kModelProducer, "tidelock");
  put_bytes(out, kModelGraph, graph);
  put_bytes(out, kModelOpset, opset);
  return out;
}

}  // namespace tidelock
