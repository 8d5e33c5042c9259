// ONNX: a ModelProto, whose graph holds its weights as TensorProto messages, in a list of its own and in the attributes
// of nodes (constants, and the graphs of branches and loops). Field numbers are those of onnx.proto3.
//
// Messages lie inside one another and beside one another, never across, so the ranges found cannot overlap.
#include <algorithm>

#include "codec/protobuf.h"
#include "codec/tensor_map.h"

namespace tidelock {
namespace {

constexpr int kModelGraph = 7, kModelFunction = 25;
constexpr int kFunctionNode = 7;
constexpr int kGraphNode = 1, kGraphInitializer = 5, kGraphSparse = 15;
constexpr int kSparseValues = 1, kSparseIndices = 2;
constexpr int kNodeOutput = 2, kNodeName = 3, kNodeAttribute = 5;
constexpr int kAttributeTensor = 5, kAttributeGraph = 6, kAttributeTensors = 10, kAttributeGraphs = 11;
constexpr int kAttributeSparse = 22, kAttributeSparses = 23;
constexpr int kTensorDims = 1, kTensorType = 2, kTensorFloats = 4, kTensorName = 8, kTensorRaw = 9;
constexpr std::uint64_t kTypeFloat = 1;

ElementType element_type(std::uint64_t onnx_type) {
  switch (onnx_type) {
    case kTypeFloat: return ElementType::kF32;
    case 2:
    case 3: return ElementType::kI8;  // uint8 and int8: the difference of two is the same
    case 4:
    case 5: return ElementType::kI16;
    case 6:
    case 12: return ElementType::kI32;
    case 10: return ElementType::kF16;
    case 16: return ElementType::kBf16;
    default: return ElementType::kOpaque;
  }
}

class OnnxScan {
 public:
  explicit OnnxScan(BytesView file) : file_(file) {}

  Result<TensorMap> run() {
    bool has_graph = false;
    ProtobufFields model(file_);
    ProtobufField field;
    while (ok_ && model.next(field)) {
      if (field.wire_type != 2) continue;
      if (field.number == kModelGraph) {
        has_graph = true;
        graph(field.bytes, 0);
      } else if (field.number == kModelFunction) {
        each_node(field.bytes, kFunctionNode, 0);
      }
    }
    if (!ok_) return fail(Code::kCorrupt, "onnx: " + why_);
    if (!model.ok()) return fail(Code::kCorrupt, "onnx: truncated or not a protobuf message");
    if (!has_graph) return fail(Code::kCorrupt, "onnx: no graph in it");
    std::sort(map_.tensors.begin(), map_.tensors.end(),
              [](const TensorRange& a, const TensorRange& b) { return a.offset < b.offset; });
    map_.format = ModelFormat::kOnnx;
    return std::move(map_);
  }

 private:
  void broken(std::string why) {
    if (ok_) why_ = std::move(why);
    ok_ = false;
  }
  // The graph's lists; nodes of it may hold graphs again.
  void graph(BytesView message, int depth) {
    if (depth >= kTensorMapDepthMax) {
      return broken("graphs nested more than " + std::to_string(kTensorMapDepthMax) + " deep");
    }
    ProtobufFields fields(message);
    ProtobufField field;
    while (ok_ && fields.next(field)) {
      if (field.wire_type != 2) continue;
      if (field.number == kGraphNode) node(field.bytes, depth);
      if (field.number == kGraphInitializer) tensor(field.bytes, {});
      if (field.number == kGraphSparse) sparse(field.bytes, {});
    }
    if (!fields.ok()) broken("a graph is truncated or malformed");
  }
  void each_node(BytesView message, int number, int depth) {
    ProtobufFields fields(message);
    ProtobufField field;
    while (ok_ && fields.next(field)) {
      if (field.wire_type == 2 && field.number == number) node(field.bytes, depth);
    }
    if (!fields.ok()) broken("a function is truncated or malformed");
  }
  void node(BytesView message, int depth) {
    BytesView name;  // a constant is often known by the node's output alone
    ProtobufFields names(message);
    ProtobufField field;
    while (names.next(field)) {
      if (field.wire_type != 2) continue;
      if (field.number == kNodeOutput && name.empty()) name = field.bytes;
      if (field.number == kNodeName && name.empty()) name = field.bytes;
    }
    if (!names.ok()) return broken("a node is truncated or malformed");
    ProtobufFields fields(message);
    while (ok_ && fields.next(field)) {
      if (field.wire_type == 2 && field.number == kNodeAttribute) attribute(field.bytes, name, depth);
    }
  }
  void attribute(BytesView message, BytesView node_name, int depth) {
    ProtobufFields fields(message);
    ProtobufField field;
    while (ok_ && fields.next(field)) {
      if (field.wire_type != 2) continue;
      switch (field.number) {
        case kAttributeTensor:
        case kAttributeTensors: tensor(field.bytes, node_name); break;
        case kAttributeGraph:
        case kAttributeGraphs: graph(field.bytes, depth + 1); break;
        case kAttributeSparse:
        case kAttributeSparses: sparse(field.bytes, node_name); break;
        default: break;
      }
    }
    if (!fields.ok()) broken("an attribute is truncated or malformed");
  }
  void sparse(BytesView message, BytesView name) {
    ProtobufFields fields(message);
    ProtobufField field;
    while (ok_ && fields.next(field)) {
      if (field.wire_type == 2 && (field.number == kSparseValues || field.number == kSparseIndices)) {
        tensor(field.bytes, name);
      }
    }
    if (!fields.ok()) broken("a sparse tensor is truncated or malformed");
  }
  void tensor(BytesView message, BytesView fallback_name) {
    TensorRange out;
    BytesView name = fallback_name, raw, floats;
    std::uint64_t type = 0;
    int float_fields = 0;  // the list may be written in parts: then it is no one range
    ProtobufFields fields(message);
    ProtobufField field;
    while (fields.next(field)) {
      if (field.number == kTensorType && field.wire_type == 0) type = field.varint;
      if (field.number == kTensorName && field.wire_type == 2 && !field.bytes.empty()) name = field.bytes;
      if (field.number == kTensorRaw && field.wire_type == 2) raw = field.bytes;
      if (field.number == kTensorFloats) {
        ++float_fields;
        if (field.wire_type == 2) floats = field.bytes;
      }
      if (field.number == kTensorDims) dims(field, out.shape);
    }
    if (!fields.ok()) return broken("a tensor is truncated or malformed");
    if (out.shape.size() > kTensorMapRankMax) {
      return broken("a tensor of more than " + std::to_string(kTensorMapRankMax) + " dimensions");
    }
    if (name.size() > kTensorMapNameBytesMax) {
      return broken("a tensor's name of " + std::to_string(name.size()) + " bytes; at most " +
                    std::to_string(kTensorMapNameBytesMax));
    }
    const bool typed = raw.empty() && type == kTypeFloat && float_fields == 1;
    const BytesView bytes = typed ? floats : raw;
    if (bytes.empty()) return;  // in another file, in a list of varints, or of no elements
    if (map_.tensors.size() >= kTensorMapTensorsMax) {
      return broken("more than " + std::to_string(kTensorMapTensorsMax) + " tensors");
    }
    out.name = name;
    out.type = element_type(type);
    if (bytes.size() % element_bytes(out.type) != 0) out.type = ElementType::kOpaque;
    out.offset = static_cast<std::uint64_t>(bytes.data() - file_.data());
    out.size_bytes = bytes.size();
    map_.tensors.push_back(std::move(out));
  }
  // One by one, or packed into one field. One more than allowed is enough to see that there are too many.
  void dims(const ProtobufField& field, std::vector<std::int64_t>& shape) {
    const auto add = [&](std::uint64_t extent) {
      if (shape.size() <= kTensorMapRankMax) shape.push_back(static_cast<std::int64_t>(extent));
    };
    if (field.wire_type == 0) return add(field.varint);
    if (field.wire_type != 2) return;
    std::uint64_t value = 0;
    int shift = 0;
    for (const char c : field.bytes) {
      const auto byte = static_cast<unsigned char>(c);
      if (shift < 64) value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      shift += 7;
      if ((byte & 0x80) != 0) continue;
      add(value);
      value = 0;
      shift = 0;
    }
  }

  BytesView file_;
  TensorMap map_;
  bool ok_ = true;
  std::string why_;
};

}  // namespace

Result<TensorMap> parse_onnx_tensors(BytesView file) { return OnnxScan(file).run(); }

}  // namespace tidelock
